use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::proto::dns::message::{Flags, Message, Question, Srv};

/// A network with some hosts and a listener who hears all that is sent to everybody.
struct Wire {
    start: Instant,
    now: Instant,
    links: Vec<(Link, SocketAddr)>,
    /// When, from whom, to whom, what.
    heard: Vec<(u128, usize, To, Message)>,
    told: Vec<(usize, Told)>,
    rng: u64,
}

/// Somebody else on the network.
const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66)), PORT);
/// The same, who does not speak multicast.
const LEGACY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66)), 40_000);

impl Wire {
    fn new(hosts: &[&str]) -> Self {
        let now = Instant::now();
        let link = |(n, host): (usize, &&str)| {
            let ip = IpAddr::from([10, 0, 0, 1 + n as u8]);
            (Link::new(1, host, vec![Net { ip, prefix: 24 }], PORT, 32, now), SocketAddr::new(ip, PORT))
        };
        let links = hosts.iter().enumerate().map(link).collect();
        Self { start: now, now, links, heard: Vec::new(), told: Vec::new(), rng: 7 }
    }

    fn ms(&self) -> u128 {
        self.now.duration_since(self.start).as_millis()
    }

    fn announce(&mut self, host: usize, name: &str) {
        self.add(host, 1, Service::new(name, "_http._tcp", 80).txt("path", "/"));
    }

    fn add(&mut self, host: usize, id: u64, service: Service) {
        let (rng, now) = (&mut self.rng, self.now);
        self.links[host].0.add(id, service, now, &mut || xorshift(rng));
    }

    /// A datagram comes from somebody else.
    fn hear(&mut self, host: usize, from: SocketAddr, bytes: &[u8]) {
        let (rng, now) = (&mut self.rng, self.now);
        let own = self.links[host].1.ip();
        self.links[host].0.handle_datagram(from, bytes, now, |ip| ip == own, &mut || xorshift(rng));
    }

    fn hear_message(&mut self, host: usize, from: SocketAddr, message: &Message) {
        self.hear(host, from, &message.encode_compressed().unwrap());
    }

    /// Has everything happen until then.
    fn run(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        loop {
            for n in 0..self.links.len() {
                let now = self.now;
                self.links[n].0.handle_timeout(now);
            }
            self.deliver();
            let next = self.links.iter().filter_map(|(link, _)| link.poll_timeout()).min();
            match next.filter(|at| *at <= until) {
                Some(at) => {
                    // Whoever is called in time has moved on.
                    assert!(at > self.now || self.ms() == 0 || !self.links.is_empty());
                    self.now = self.now.max(at);
                }
                None => {
                    self.now = until;
                    return;
                }
            }
        }
    }

    fn deliver(&mut self) {
        loop {
            let mut all = Vec::new();
            for (n, (link, addr)) in self.links.iter_mut().enumerate() {
                while let Some(output) = link.poll_output() {
                    all.push((n, *addr, output));
                }
                while let Some(told) = link.poll_told() {
                    self.told.push((n, told));
                }
            }
            if all.is_empty() {
                return;
            }
            for (n, from, Output { to, bytes }) in all {
                let message = Message::decode(&bytes).unwrap();
                self.heard.push((self.ms(), n, to, message));
                for host in 0..self.links.len() {
                    if to == To::Group || to == To::One(self.links[host].1) {
                        self.hear(host, from, &bytes);
                    }
                }
            }
        }
    }

    /// What was sent since the last time.
    fn sent(&mut self) -> Vec<(u128, usize, To, Message)> {
        std::mem::take(&mut self.heard)
    }

    fn labels(&self, host: usize) -> Vec<String> {
        self.links[host].0.labels().map(|(_, label, _)| label).collect()
    }

    fn counters(&self, host: usize) -> Counters {
        self.links[host].0.counters()
    }
}

fn xorshift(rng: &mut u64) -> u64 {
    *rng ^= *rng << 13;
    *rng ^= *rng >> 7;
    *rng ^= *rng << 17;
    *rng
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn below(label: &str) -> Name {
    Name::from_labels([label.as_bytes()]).unwrap().below(&kind()).unwrap()
}

fn kind() -> Name {
    name("_http._tcp.local")
}

fn ask(questions: &[(Name, Type)]) -> Message {
    let questions = questions.iter().map(|(name, rtype)| Question::new(name.clone(), *rtype)).collect();
    Message { questions, ..Message::default() }
}

fn tell(records: Vec<Record>) -> Message {
    Message { flags: Flags(Flags::RESPONSE | Flags::AUTHORITATIVE), answers: records, ..Message::default() }
}

fn flush(record: Record) -> Record {
    Record { class: record.class | TOP_BIT, ..record }
}

fn a(host: &str, last: u8, ttl: u32) -> Record {
    flush(Record::new(name(host), ttl, Data::A([10, 0, 0, last].into())))
}

fn aaaa(host: &str, ttl: u32) -> Record {
    flush(Record::new(name(host), ttl, Data::Aaaa("fd00::1".parse().unwrap())))
}

fn ptr(label: &str, ttl: u32) -> Record {
    Record::new(kind(), ttl, Data::Ptr(below(label)))
}

fn service(label: &str, host: &str, last: u8) -> Message {
    let srv = Srv { priority: 0, weight: 0, port: 80, target: name(host) };
    tell(vec![
        ptr(label, 4500),
        flush(Record::new(below(label), 120, Data::Srv(srv))),
        flush(Record::new(below(label), 4500, Data::Txt(vec![b"path=/"[..].into()]))),
        a(host, last, 120),
    ])
}

/// A host that has announced a service, as it is some seconds later.
fn settled() -> Wire {
    let mut wire = Wire::new(&["kitchen"]);
    wire.announce(0, "light");
    wire.run(10_000);
    wire.sent();
    wire
}

fn kinds(records: &[Record]) -> Vec<(Type, bool, u32)> {
    records.iter().map(|record| (record.data.rtype(), record.class & TOP_BIT != 0, record.ttl)).collect()
}

#[test]
fn rfc_6762_section_8_names_are_made_sure_of_three_times_and_told_twice() {
    let mut wire = Wire::new(&["kitchen"]);
    wire.announce(0, "light");
    wire.run(10_000);
    let sent = wire.sent();
    let probes: Vec<_> = sent.iter().filter(|(.., message)| !message.flags.has(Flags::RESPONSE)).collect();
    let of_host: Vec<u128> =
        probes.iter().filter(|(.., m)| m.questions[0].name == name("kitchen.local")).map(|(at, ..)| *at).collect();
    assert_eq!(of_host.len(), 3, "RFC 6762 §8.1");
    assert!(of_host[0] <= 250 && of_host[1] - of_host[0] == 250 && of_host[2] - of_host[1] == 250, "{of_host:?}");
    assert_eq!(probes.len(), 6, "one for each name");
    for (.., to, probe) in &probes {
        assert_eq!((*to, probe.questions[0].rtype, probe.questions[0].class), (To::Group, ANY, CLASS_IN));
        assert!(
            !probe.authority.is_empty() && probe.authority.iter().all(|r| r.class == CLASS_IN),
            "RFC 6762 §8.2, §10.2"
        );
    }
    let told: Vec<_> = sent.iter().filter(|(.., message)| message.flags.has(Flags::RESPONSE)).collect();
    assert_eq!(told.len(), 2, "RFC 6762 §8.3");
    assert_eq!((told[0].0 - of_host[2], told[1].0 - told[0].0), (250, 1000));
    assert!(told[0].3.flags.has(Flags::AUTHORITATIVE) && told[0].3.id == 0, "RFC 6762 §18.1, §18.4");
    let expected = [
        (Type::A, true, 120),
        (Type::SRV, true, 120),
        (Type::TXT, true, 4500),
        (Type::PTR, false, 4500),
        (Type::PTR, false, 4500),
    ];
    assert_eq!(kinds(&told[0].3.answers), expected, "RFC 6762 §10, §10.2");
    assert_eq!(wire.labels(0), ["kitchen", "light"]);
}

#[test]
fn rfc_6762_section_9_a_taken_name_gets_a_number() {
    let mut wire = settled();
    let mut newcomer = Wire::new(&["kitchen"]);
    newcomer.announce(0, "light");
    // The newcomer moves to the network of the first.
    let (mut link, _) = newcomer.links.pop().unwrap();
    let now = wire.now;
    link.set_nets(vec![Net { ip: [10, 0, 0, 2].into(), prefix: 24 }], now);
    wire.links.push((link, SocketAddr::from(([10, 0, 0, 2], PORT))));
    wire.run(10_000);
    assert_eq!(wire.labels(0), ["kitchen", "light"]);
    assert_eq!(wire.labels(1), ["kitchen-2", "light (2)"]);
    assert_eq!(wire.counters(1).conflicts, 2);
    assert_eq!(wire.counters(0).conflicts, 0, "who has a name keeps it");
    let target = wire.sent().into_iter().rev().find_map(|(_, n, _, m)| {
        let srv = |record: Record| match record.data {
            Data::Srv(srv) => Some(srv.target),
            _ => None,
        };
        (n == 1 && m.flags.has(Flags::RESPONSE)).then(|| m.answers.into_iter().find_map(srv)).flatten()
    });
    assert_eq!(target, Some(name("kitchen-2.local")), "a service is where its host is");
}

#[test]
fn rfc_6762_section_8_2_of_two_who_ask_at_once_one_has_the_name() {
    for seed in 1..20 {
        let mut wire = Wire::new(&["kitchen", "kitchen"]);
        wire.rng = seed;
        wire.announce(0, "light");
        wire.announce(1, "light");
        wire.run(30_000);
        let mut hosts = [wire.labels(0)[0].clone(), wire.labels(1)[0].clone()];
        hosts.sort();
        assert_eq!(hosts, ["kitchen", "kitchen-2"], "seed {seed}");
        // The later address wins: its set of records is the later one.
        let mut names = [wire.labels(0)[1].clone(), wire.labels(1)[1].clone()];
        names.sort();
        assert_eq!(names, ["light", "light (2)"], "seed {seed}");
    }
}

#[test]
fn rfc_6762_section_9_a_name_that_somebody_else_claims_is_asked_for_anew() {
    let mut wire = settled();
    wire.hear_message(0, OTHER, &tell(vec![a("kitchen.local", 66, 120)]));
    wire.run(100);
    assert!(wire.sent().iter().any(|(.., m)| m.questions.iter().any(|q| q.name == name("kitchen.local"))));
    assert_eq!(wire.labels(0)[0], "kitchen", "nobody has answered");
    wire.run(10_000);
    assert_eq!(wire.labels(0)[0], "kitchen");
    // Somebody who insists.
    wire.hear_message(0, OTHER, &tell(vec![a("kitchen.local", 66, 120)]));
    wire.run(10);
    wire.hear_message(0, OTHER, &tell(vec![a("kitchen.local", 66, 120)]));
    wire.run(10_000);
    assert_eq!((wire.labels(0)[0].as_str(), wire.counters(0).conflicts), ("kitchen-2", 3));
    // What is the same, or taken back, is no conflict.
    for record in [a("kitchen-2.local", 1, 120), a("kitchen-2.local", 9, 0), ptr("light", 120)] {
        wire.hear_message(0, OTHER, &tell(vec![record]));
    }
    assert_eq!(wire.counters(0).conflicts, 3);
}

#[test]
fn rfc_6762_section_8_1_who_loses_every_name_slows_down() {
    let mut wire = Wire::new(&["kitchen"]);
    wire.announce(0, "light");
    let mut probes = 0;
    for _ in 0..30_000 / 10 {
        wire.run(10);
        for (.., message) in wire.sent() {
            for question in message.questions.iter().filter(|question| question.name != below("light")) {
                probes += 1;
                let taken = Record::new(question.name.clone(), 120, Data::Txt(vec![b"mine"[..].into()]));
                wire.hear_message(0, OTHER, &tell(vec![taken]));
            }
        }
    }
    assert!((20..80).contains(&probes), "{probes} probes in 30 s");
}

#[test]
fn rfc_6762_section_6_shared_answers_come_with_a_delay_and_unique_ones_at_once() {
    let mut wire = settled();
    let start = wire.ms();
    wire.hear_message(0, OTHER, &ask(&[(name("KITCHEN.local"), Type::A)]));
    wire.run(500);
    let sent = wire.sent();
    assert_eq!((sent.len(), sent[0].0, sent[0].2), (1, start, To::Group));
    assert_eq!(kinds(&sent[0].3.answers), [(Type::A, true, 120)]);
    assert!(sent[0].3.questions.is_empty(), "RFC 6762 §6");
    let mut delays = Vec::new();
    for _ in 0..20 {
        wire.run(2000);
        let start = wire.ms();
        wire.hear_message(0, OTHER, &ask(&[(kind(), Type::PTR)]));
        wire.run(500);
        let sent = wire.sent();
        assert_eq!(sent.len(), 1);
        delays.push(sent[0].0 - start);
        assert_eq!(kinds(&sent[0].3.answers), [(Type::PTR, false, 4500)]);
        let additional: Vec<Type> = sent[0].3.additional.iter().map(|record| record.data.rtype()).collect();
        assert_eq!(additional, [Type::SRV, Type::TXT, Type::A], "RFC 6763 §12.1");
    }
    assert!(delays.iter().all(|delay| (20..=120).contains(delay)), "{delays:?}");
    delays.dedup();
    assert!(delays.len() > 5, "they are random: {delays:?}");
}

#[test]
fn rfc_6762_section_6_no_record_is_sent_to_all_twice_in_a_second_but_to_defend_it() {
    let mut wire = settled();
    for _ in 0..100 {
        wire.hear_message(0, OTHER, &ask(&[(name("kitchen.local"), Type::A), (kind(), ANY)]));
        wire.run(50);
    }
    let at: Vec<u128> = wire
        .sent()
        .iter()
        .filter(|(.., m)| m.answers.iter().chain(&m.additional).any(|r| r.data.rtype() == Type::A))
        .map(|(at, ..)| *at)
        .collect();
    assert!((5..=6).contains(&at.len()), "5 s: {at:?}");
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{at:?}");
    wire.run(5000);
    wire.sent();
    let mut probe = ask(&[(name("kitchen.local"), ANY)]);
    probe.authority = vec![Record::new(name("kitchen.local"), 120, Data::A([10, 0, 0, 66].into()))];
    for _ in 0..20 {
        wire.hear_message(0, OTHER, &probe);
        wire.run(50);
    }
    let at: Vec<u128> = wire.sent().iter().map(|(at, ..)| *at).collect();
    assert!((4..=5).contains(&at.len()) && at.windows(2).all(|pair| pair[1] - pair[0] >= 250), "{at:?}");
}

#[test]
fn rfc_6762_section_7_1_what_is_known_is_not_told() {
    let mut wire = settled();
    let mut query = ask(&[(kind(), Type::PTR)]);
    for (ttl, answers) in [(4500, 0), (2250, 0), (2249, 1)] {
        query.answers = vec![ptr("light", ttl)];
        wire.hear_message(0, OTHER, &query);
        wire.run(2000);
        assert_eq!(wire.sent().len(), answers, "known for {ttl} s");
    }
    query.answers = vec![ptr("other", 4500)];
    wire.hear_message(0, OTHER, &query);
    wire.run(2000);
    assert_eq!(wire.sent().len(), 1, "another record is");
}

#[test]
fn rfc_6762_section_7_2_who_knows_more_is_heard_out() {
    let mut wire = settled();
    let mut query = ask(&[(kind(), Type::PTR)]);
    query.flags.0 |= Flags::TRUNCATED;
    let more = Message { answers: vec![ptr("light", 4500)], ..Message::default() };
    let stranger = SocketAddr::from(([10, 0, 0, 67], PORT));
    for (from, told) in [(OTHER, false), (stranger, true)] {
        let start = wire.ms();
        wire.hear_message(0, OTHER, &query);
        wire.run(300);
        assert!(wire.sent().is_empty(), "an answer waits 400 ms and more");
        wire.hear_message(0, from, &more);
        wire.run(3000);
        let sent = wire.sent();
        assert_eq!(sent.len(), usize::from(told), "from {from}");
        assert!(sent.iter().all(|(at, ..)| (400..=500).contains(&(at - start))));
    }
}

#[test]
fn rfc_6762_section_7_4_what_somebody_else_says_is_not_said_again() {
    let mut wire = settled();
    for (ttl, told) in [(4500, 0), (4499, 1)] {
        wire.hear_message(0, OTHER, &ask(&[(kind(), Type::PTR)]));
        wire.hear_message(0, OTHER, &tell(vec![ptr("light", ttl)]));
        wire.run(2000);
        assert_eq!(wire.sent().len(), told, "said with {ttl} s");
    }
}

#[test]
fn rfc_6762_section_5_4_who_asks_for_himself_is_answered_alone_if_all_know() {
    let mut wire = settled();
    let mut query = ask(&[(name("kitchen.local"), Type::A)]);
    query.questions[0].class |= TOP_BIT;
    wire.hear_message(0, OTHER, &query);
    wire.run(10);
    let sent = wire.sent();
    assert_eq!((sent.len(), sent[0].2), (1, To::One(OTHER)));
    assert_eq!(kinds(&sent[0].3.answers), [(Type::A, true, 120)]);
    wire.run(31_000);
    wire.hear_message(0, OTHER, &query);
    wire.run(10);
    let sent = wire.sent();
    assert_eq!((sent.len(), sent[0].2), (1, To::Group), "not all have heard it in a quarter of its time");
}

#[test]
fn rfc_6762_section_6_7_who_does_not_speak_multicast_is_answered_as_by_a_server() {
    let mut wire = settled();
    let mut query = ask(&[(kind(), Type::PTR)]);
    query.id = 4711;
    wire.hear_message(0, LEGACY, &query);
    wire.run(10);
    let sent = wire.sent();
    let (.., to, answer) = &sent[0];
    assert_eq!((sent.len(), *to, answer.id), (1, To::One(LEGACY), 4711));
    assert_eq!(answer.questions, query.questions);
    assert_eq!(kinds(&answer.answers), [(Type::PTR, false, 10)], "10 s at the most, without the bit");
    wire.hear_message(0, LEGACY, &ask(&[(name("kitchen.local"), Type::A)]));
    wire.run(10);
    assert_eq!(kinds(&wire.sent()[0].3.answers), [(Type::A, false, 10)]);
}

#[test]
fn rfc_6762_section_6_1_what_a_name_has_not_is_told() {
    let mut wire = settled();
    wire.hear_message(0, OTHER, &ask(&[(name("kitchen.local"), Type::AAAA)]));
    wire.run(10);
    let sent = wire.sent();
    let nsec = &sent[0].3.answers[0];
    assert_eq!(
        (sent.len(), nsec_has(&nsec.data, Type::A), nsec_has(&nsec.data, Type::AAAA)),
        (1, Some(true), Some(false))
    );
    wire.hear_message(0, OTHER, &ask(&[(name("bath.local"), Type::A), (below("other"), Type::SRV)]));
    wire.run(1000);
    assert!(wire.sent().is_empty(), "of other names nothing is told");
}

#[test]
fn rfc_6762_section_10_1_what_ends_is_taken_back() {
    let mut wire = settled();
    wire.add(0, 2, Service::new("heating", "_http._tcp", 81));
    wire.run(10_000);
    wire.sent();
    wire.links[0].0.remove(1);
    wire.run(10);
    let sent = wire.sent();
    assert_eq!(kinds(&sent[0].3.answers), [(Type::SRV, true, 0), (Type::TXT, true, 0), (Type::PTR, false, 0)]);
    assert_eq!(sent[0].3.answers[2].data, Data::Ptr(below("light")), "the kind is still there");
    wire.links[0].0.stop();
    wire.run(10);
    let sent = wire.sent();
    assert_eq!(sent[0].3.answers.len(), 5);
    assert!(sent[0].3.answers.iter().all(|record| record.ttl == 0));
    wire.hear_message(0, OTHER, &ask(&[(name("kitchen.local"), Type::A)]));
    wire.run(5000);
    assert!(wire.sent().is_empty());
}

#[test]
fn rfc_6762_section_11_nobody_from_elsewhere_is_answered_or_believed() {
    let mut wire = settled();
    wire.links[0].0.resolve(1, name("bath.local"), wire.now);
    wire.run(10);
    wire.sent();
    let answer = tell(vec![a("bath.local", 9, 120), aaaa("bath.local", 120)]);
    let far = SocketAddr::from(([192, 0, 2, 1], PORT));
    let query = ask(&[(name("kitchen.local"), Type::A)]);
    let odd = |flags: u16| Message { flags: Flags(flags), ..query.clone() };
    let table: [(&str, SocketAddr, Message); 6] = [
        ("a question from elsewhere", far, query.clone()),
        ("one from elsewhere on another port", SocketAddr::new(far.ip(), 999), query.clone()),
        ("an answer from elsewhere", far, answer.clone()),
        ("RFC 6762 §6, an answer from another port", LEGACY, answer.clone()),
        ("RFC 6762 §18.3, another opcode", OTHER, odd(1 << 11)),
        ("RFC 6762 §18.11, an error", OTHER, odd(2)),
    ];
    for (n, (row, from, message)) in table.into_iter().enumerate() {
        wire.hear_message(0, from, &message);
        wire.run(10);
        assert_eq!((wire.sent().len(), wire.told.len()), (0, 0), "{row}");
        assert_eq!(wire.counters(0).strays, 1 + n as u64, "{row}");
    }
    wire.hear(0, OTHER, &[0; 11]);
    wire.hear(0, OTHER, &vec![0; MESSAGE_MAX + 1]);
    assert_eq!(wire.counters(0).strays, 8);
    wire.hear_message(0, OTHER, &answer);
    wire.run(10);
    assert_eq!(wire.told.len(), 1);
}

#[test]
fn nobody_is_flooded_in_the_name_of_another() {
    let mut wire = settled();
    let query = ask(&[(kind(), Type::PTR)]).encode().unwrap();
    for _ in 0..1000 {
        wire.hear(0, LEGACY, &query);
    }
    wire.run(900);
    assert_eq!((wire.sent().len(), wire.counters(0).limited), (50, 950));
    wire.run(200);
    wire.hear(0, LEGACY, &query);
    wire.run(1);
    assert_eq!(wire.sent().len(), 1, "a second later there is room");
}

#[test]
fn a_host_is_asked_for_and_remembered_for_its_time() {
    let mut wire = Wire::new(&["me"]);
    let resolve = |wire: &mut Wire, ticket| {
        let now = wire.now;
        wire.links[0].0.resolve(ticket, name("Bath.local"), now);
        wire.run(10);
        wire.sent().into_iter().flat_map(|(.., m)| m.questions).map(|q| (q.rtype, q.class)).collect::<Vec<_>>()
    };
    assert_eq!(resolve(&mut wire, 1), [(Type::A, CLASS_IN), (Type::AAAA, CLASS_IN)]);
    wire.hear_message(0, OTHER, &tell(vec![a("bath.local", 9, 120), aaaa("bath.local", 120)]));
    wire.run(10);
    let addrs: Vec<IpAddr> = vec!["fd00::1".parse().unwrap(), [10, 0, 0, 9].into()];
    assert_eq!(wire.told.pop(), Some((0, Told::Addrs { ticket: 1, addrs: addrs.clone() })));
    wire.run(119_900);
    assert_eq!(resolve(&mut wire, 2), [], "RFC 6762 §7.1: from memory");
    assert_eq!(wire.told.pop(), Some((0, Told::Addrs { ticket: 2, addrs })));
    wire.run(200);
    assert_eq!(resolve(&mut wire, 3).len(), 2, "its time is over");
    // RFC 6762 §5.2: asked again after 1 s and 2 s more, given up after 3 s.
    let start = wire.ms() - 10;
    wire.run(10_000);
    let at: Vec<u128> = wire.sent().iter().map(|(at, ..)| at - start).collect();
    assert_eq!(at, [1000, 3000][..at.len()], "{at:?}");
    assert_eq!(wire.told, [(0, Told::Silence { ticket: 3 })]);
    assert_eq!(wire.links[0].0.poll_timeout(), None);
}

#[test]
fn half_of_the_addresses_is_not_waited_for_for_long() {
    let mut wire = Wire::new(&["me"]);
    for (record, millis) in [(a("bath.local", 9, 120), 200), (nsec_of("bath.local"), 0)] {
        let now = wire.now;
        wire.links[0].0.resolve(1, name("bath.local"), now);
        wire.run(0);
        wire.hear_message(0, OTHER, &tell(vec![a("bath.local", 9, 5), record]));
        wire.run(millis + 1);
        assert!(matches!(&wire.told[..], [(0, Told::Addrs { addrs, .. })] if addrs.len() == 1), "{:?}", wire.told);
        wire.told.clear();
        wire.run(600_000);
    }
}

/// It has an IPv4 address and nothing else.
fn nsec_of(host: &str) -> Record {
    flush(Record::new(name(host), 120, nsec(&name(host), [Type::A])))
}

#[test]
fn rfc_6762_section_10_what_is_taken_back_or_replaced_is_forgotten_a_second_later() {
    for (message, row) in
        [(tell(vec![a("bath.local", 9, 0)]), "taken back"), (tell(vec![a("bath.local", 10, 120)]), "replaced")]
    {
        let mut wire = Wire::new(&["me"]);
        let resolve = |wire: &mut Wire, ticket| {
            let now = wire.now;
            wire.links[0].0.resolve(ticket, name("bath.local"), now);
            wire.run(1);
        };
        resolve(&mut wire, 1);
        wire.hear_message(0, OTHER, &tell(vec![a("bath.local", 9, 120), nsec_of("bath.local")]));
        wire.run(5000);
        wire.hear_message(0, OTHER, &message);
        wire.run(900);
        wire.told.clear();
        resolve(&mut wire, 2);
        let nine = IpAddr::from([10, 0, 0, 9]);
        let has_nine =
            |told: &[(usize, Told)]| matches!(told, [(_, Told::Addrs { addrs, .. })] if addrs.contains(&nine));
        assert!(has_nine(&wire.told), "{row}: {:?}", wire.told);
        wire.run(200);
        wire.told.clear();
        resolve(&mut wire, 3);
        assert!(!has_nine(&wire.told), "{row}: {:?}", wire.told);
    }
}

#[test]
fn services_are_found_changed_and_lost() {
    let mut wire = Wire::new(&["me"]);
    let now = wire.now;
    assert!(wire.links[0].0.browse(5, kind(), now));
    wire.run(10);
    assert_eq!(wire.sent()[0].3.questions, [Question::new(kind(), Type::PTR)]);
    wire.hear_message(0, OTHER, &tell(vec![ptr("Kitchen light", 4500)]));
    wire.run(10);
    let asked: Vec<Type> = wire.sent().iter().flat_map(|(.., m)| m.questions.iter().map(|q| q.rtype)).collect();
    assert_eq!(asked, [Type::TXT, Type::SRV], "what is missing is asked for");
    wire.hear_message(0, OTHER, &service("Kitchen light", "kitchen.local", 7));
    wire.run(10);
    let Some((_, Told::Found { ticket: 5, found })) = wire.told.pop() else { panic!("nothing found") };
    assert_eq!((found.name.as_str(), found.host.as_str(), found.port), ("Kitchen light", "kitchen.local", 80));
    assert_eq!((found.addrs, found.txt), (vec![IpAddr::from([10, 0, 0, 7])], vec![b"path=/"[..].into()]));
    wire.hear_message(0, OTHER, &service("Kitchen light", "kitchen.local", 7));
    wire.run(2000);
    assert_eq!(wire.told, [], "nothing new");
    wire.sent();
    wire.hear_message(0, OTHER, &service("Kitchen light", "kitchen.local", 8));
    wire.run(2000);
    let addrs = |told: &Told| match told {
        Told::Found { found, .. } => found.addrs.clone(),
        _ => Vec::new(),
    };
    assert_eq!(wire.told.last().map(|(_, told)| addrs(told)), Some(vec![IpAddr::from([10, 0, 0, 8])]), "it has moved");
    wire.told.clear();
    // RFC 6762 §7.1: what is known is said with the question.
    wire.run(10_000);
    let again = wire.sent().into_iter().rev().find(|(.., m)| !m.questions.is_empty()).unwrap().3;
    assert_eq!((again.questions.len(), &again.answers[0].data), (1, &Data::Ptr(below("Kitchen light"))));
    wire.hear_message(0, OTHER, &tell(vec![ptr("Kitchen light", 0)]));
    wire.run(1100);
    assert_eq!(wire.told, [(0, Told::Lost { ticket: 5, name: "Kitchen light".into() })]);
    let now = wire.now;
    wire.links[0].0.cancel(5, now);
    wire.run(10);
    assert_eq!(wire.links[0].0.poll_timeout(), None, "nothing is left to be done");
}

#[test]
fn two_hosts_find_each_other() {
    let mut wire = Wire::new(&["kitchen", "bath"]);
    wire.announce(0, "light");
    wire.run(3000);
    let now = wire.now;
    assert!(wire.links[1].0.browse(1, kind(), now));
    wire.links[1].0.resolve(2, name("kitchen.local"), now);
    wire.run(1000);
    let found =
        wire.told.iter().any(|(n, told)| *n == 1 && matches!(told, Told::Found { found, .. } if found.port == 80));
    let resolved = wire.told.iter().any(|(n, told)| *n == 1 && matches!(told, Told::Addrs { ticket: 2, .. }));
    assert!(found && resolved, "{:?}", wire.told);
    wire.links[0].0.stop();
    wire.run(1500);
    assert!(wire.told.iter().any(|(_, told)| matches!(told, Told::Lost { .. })), "{:?}", wire.told);
}

#[test]
fn what_others_say_takes_a_bounded_room() {
    let mut wire = Wire::new(&["me"]);
    let now = wire.now;
    assert!((0..16).all(|n| wire.links[0].0.browse(n, kind(), now)));
    assert!(!wire.links[0].0.browse(16, kind(), now), "kinds that are looked for are counted");
    wire.run(10);
    for n in 0..200u32 {
        // Along with an answer anything may come.
        let extra = (0..20).map(|m| a(&format!("h{n}-{m}.local"), 1, 120));
        wire.hear_message(0, OTHER, &tell([ptr(&format!("s{n}"), 4500)].into_iter().chain(extra).collect()));
        // Nothing that nobody asked for.
        wire.hear_message(0, OTHER, &tell(vec![a("unasked.local", 1, 120)]));
    }
    wire.run(10);
    assert!(wire.counters(0).forgotten > 1000, "{:?}", wire.counters(0));
    let messages: Vec<usize> = wire.sent().iter().map(|(.., m)| m.questions.len()).collect();
    assert!(messages.iter().all(|questions| *questions <= 16) && messages.iter().sum::<usize>() < 200, "{messages:?}");
}

/// Messages that have something to do with what the host has and asks.
fn any_message() -> impl Strategy<Value = Message> {
    let names = || {
        prop_oneof![
            Just(name("kitchen.local")),
            Just(name("kitchen-2.local")),
            Just(below("light")),
            Just(below("light (2)")),
            Just(kind()),
            Just(name("bath.local")),
            Just(name("_services._dns-sd._udp.local")),
            Just(name("example.org")),
        ]
    };
    let types = prop_oneof![Just(Type::A), Just(Type::PTR), Just(Type::SRV), Just(Type::TXT), Just(ANY), Just(NSEC)];
    let class = prop_oneof![Just(1u16), Just(1 | TOP_BIT), Just(255), Just(3)];
    let question = (names(), types, class.clone()).prop_map(|(name, rtype, class)| Question { name, rtype, class });
    let data = prop_oneof![
        any::<u8>().prop_map(|last| Data::A([10, 0, 0, last % 3].into())),
        names().prop_map(Data::Ptr),
        names().prop_map(|target| Data::Srv(Srv { priority: 0, weight: 0, port: 80, target })),
        any::<u8>().prop_map(|byte| Data::Txt(vec![[byte % 2][..].into()])),
        vec(any::<u8>(), 0..20).prop_map(|bytes| Data::Other(NSEC, bytes.into())),
    ];
    let ttl = prop_oneof![Just(0u32), Just(1), Just(120), Just(4500), any::<u32>()];
    let record = (names(), class, ttl, data).prop_map(|(name, class, ttl, data)| Record { name, class, ttl, data });
    let records = || vec(record.clone(), 0..4);
    let flags = prop_oneof![Just(0u16), Just(0x8400), Just(Flags::TRUNCATED), any::<u16>()];
    (flags, vec(question, 0..3), records(), records(), records()).prop_map(
        |(flags, questions, answers, authority, additional)| Message {
            id: 0,
            flags: Flags(flags),
            questions,
            answers,
            authority,
            additional,
        },
    )
}

proptest! {
    #[test]
    fn whatever_comes_answers_are_few_and_small(
        messages in vec((any_message(), 0u64..700, any::<bool>()), 1..60),
        noise in vec(vec(any::<u8>(), 0..80), 0..10),
        seed in 1u64..,
    ) {
        let mut wire = Wire::new(&["kitchen"]);
        wire.rng = seed;
        wire.announce(0, "light");
        let now = wire.now;
        wire.links[0].0.resolve(1, name("bath.local"), now);
        wire.links[0].0.browse(2, kind(), now);
        wire.run(1100);
        for (message, millis, legacy) in &messages {
            wire.hear_message(0, if *legacy { LEGACY } else { OTHER }, message);
            wire.run(*millis);
        }
        for bytes in &noise {
            wire.hear(0, OTHER, bytes);
        }
        wire.run(20_000);
        // RFC 6762 §6: in any second a record goes to everybody once, but to defend it, to take it back or as another name's.
        let mut last: std::collections::HashMap<(Name, Vec<u8>), u128> = Default::default();
        for (at, _, to, message) in wire.sent() {
            let size = message.encode_compressed().unwrap().len();
            prop_assert!(size <= 1500, "{size}");
            for record in message.answers.iter().chain(&message.additional).filter(|_| to == To::Group) {
                if message.flags.has(Flags::RESPONSE)
                    && record.ttl > 0
                    && let Some(before) = last.insert((record.name.clone(), record.data.to_wire()), at)
                {
                    prop_assert!(at - before >= 250, "{record:?} {before} {at}");
                }
            }
        }
    }
}

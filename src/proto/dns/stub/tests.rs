use std::time::Duration;

use super::*;
use crate::proto::dns::NameError;
use crate::proto::dns::message::{Record, Soa, Srv};

/// A resolver in virtual time, with the queries that it has sent.
struct Play {
    stub: Stub,
    zero: Instant,
    at: u64,
    rng: u64,
    sent: Vec<SentQuery>,
    closed: Vec<u64>,
    told: Vec<String>,
}

#[derive(Clone, Debug)]
struct SentQuery {
    channel: u64,
    server: SocketAddr,
    over: Over,
    message: Message,
}

fn play(conf: &str) -> Play {
    play_with(conf, "", |_| {})
}

fn play_with(conf: &str, hosts: &str, edit: impl FnOnce(&mut Ways)) -> Play {
    let mut ways = Ways { random_case: false, lookups_max: 1000, cache_max: 100 };
    edit(&mut ways);
    let stub = Stub::new(Conf::parse(conf, |_| None), Hosts::parse(hosts), ways);
    Play { stub, zero: Instant::now(), at: 0, rng: 1, sent: Vec::new(), closed: Vec::new(), told: Vec::new() }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn addr(owner: &str, ttl: u32, ip: &str) -> Record {
    let data = match ip.parse().unwrap() {
        IpAddr::V4(ip) => Data::A(ip),
        IpAddr::V6(ip) => Data::Aaaa(ip),
    };
    Record::new(name(owner), ttl, data)
}

impl Play {
    fn now(&self) -> Instant {
        self.zero + Duration::from_millis(self.at)
    }

    fn outputs(&mut self) {
        let rng = &mut self.rng;
        let mut bits = || {
            *rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *rng >> 13
        };
        while let Some(output) = self.stub.poll_output(&mut bits) {
            let at = self.at;
            match output {
                Output::Open { channel, server, over, query } => {
                    let bytes = if over == Over::Tcp { &query[2..] } else { &query };
                    self.sent.push(SentQuery { channel, server, over, message: Message::decode(bytes).unwrap() });
                }
                Output::Close(channel) => self.closed.push(channel),
                Output::Addrs { ticket, addrs, last } => {
                    let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
                    self.told.push(format!("{at} {ticket}: {}{}", addrs.join(" "), if last { "." } else { "..." }));
                }
                Output::Records { ticket, data } => self.told.push(format!("{at} {ticket}: {} records", data.len())),
                Output::Failed { ticket, error } => self.told.push(format!("{at} {ticket}: {error:?}")),
            }
        }
    }

    fn resolve(&mut self, ticket: u64, text: &str) {
        self.stub.resolve(ticket, text, Want::Addrs, self.now()).unwrap();
        self.outputs();
    }

    /// Lets time pass, in the steps that the resolver asks for.
    fn pass(&mut self, ms: u64) {
        let end = self.at + ms;
        while let Some(due) = self.stub.poll_timeout() {
            let due = due.duration_since(self.zero).as_millis() as u64;
            if due > end {
                break;
            }
            assert!(due >= self.at || self.at == end, "a deadline in the past: {due} at {}", self.at);
            self.at = self.at.max(due);
            self.stub.handle_timeout(self.now());
            self.outputs();
        }
        self.at = end;
    }

    /// The queries sent since the last call, as "server over name type".
    fn queries(&mut self) -> Vec<SentQuery> {
        std::mem::take(&mut self.sent)
    }

    fn asked(&mut self) -> Vec<String> {
        let line = |q: &SentQuery| {
            let question = &q.message.questions[0];
            let over = if q.over == Over::Tcp { " tcp" } else { "" };
            let edns = if q.message.additional.is_empty() { " plain" } else { "" };
            let kind = if question.rtype == Type::A {
                "A"
            } else if question.rtype == Type::AAAA {
                "AAAA"
            } else {
                "?"
            };
            format!("{} {kind}{over}{edns}@{}", question.name, q.server.ip())
        };
        self.sent.iter().map(line).collect()
    }

    fn reply(&mut self, to: &SentQuery, edit: impl FnOnce(&mut Message)) {
        let mut message = response(to);
        edit(&mut message);
        let bytes = message.encode().unwrap();
        self.hear(to.channel, to.server, &bytes);
    }

    fn hear(&mut self, channel: u64, from: SocketAddr, bytes: &[u8]) {
        self.stub.handle_message(channel, from, bytes, self.now());
        self.outputs();
    }

    /// Answers each query that was sent with those records whose name and type it asks for; else with "no data".
    fn serve(&mut self, records: &[Record]) {
        while !self.sent.is_empty() {
            for query in self.queries() {
                let question = query.message.questions[0].clone();
                let fits =
                    |r: &&Record| r.name == question.name && [question.rtype, Type::CNAME].contains(&r.data.rtype());
                let found: Vec<Record> = records.iter().filter(fits).cloned().collect();
                let exists = records.iter().any(|record| record.name == question.name);
                self.reply(&query, |m| {
                    if found.is_empty() {
                        m.authority = vec![soa_root()];
                        m.flags.0 |= if exists { 0 } else { 3 };
                    }
                    m.answers = found;
                });
            }
        }
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Every channel that was opened is closed, and nothing is left to be done.
    fn is_over(&mut self, opened: u64) {
        self.closed.sort();
        self.closed.dedup();
        assert_eq!(self.closed.len() as u64, opened, "{:?}", self.closed);
        assert_eq!(self.stub.last_channel, opened);
        assert!(self.stub.poll_timeout().is_none() && !self.stub.has_output());
        assert!(self.stub.queries.is_empty() && self.stub.lookups.is_empty() && self.stub.channels.is_empty());
        assert!(self.stub.waiting.is_empty());
    }
}

fn soa_root() -> Record {
    let soa = Soa { server: name("ns"), mailbox: name("root"), numbers: [1; 4], minimum: 60 };
    Record::new(Name::root(), 600, Data::Soa(Box::new(soa)))
}

/// An empty answer to a query.
fn response(to: &SentQuery) -> Message {
    let flags = Flags(Flags::RESPONSE | Flags::RECURSION_DESIRED | Flags::RECURSION_AVAILABLE);
    Message { id: to.message.id, flags, questions: to.message.questions.clone(), ..Message::default() }
}

const ONE: &str = "nameserver 10.0.0.1";
const TWO: &str = "nameserver 10.0.0.1\nnameserver 10.0.0.2";

#[test]
fn rfc_8305_section_3_both_families_are_asked_at_once() {
    let mut p = play(ONE);
    p.resolve(1, "h.lan");
    assert_eq!(p.asked(), ["h.lan AAAA@10.0.0.1", "h.lan A@10.0.0.1"]);
    p.serve(&[addr("h.lan", 60, "fd00::1"), addr("h.lan", 60, "10.0.0.9"), addr("h.lan", 60, "10.0.0.8")]);
    assert_eq!(p.told(), ["0 1: fd00::1...", "0 1: 10.0.0.9 10.0.0.8."]);
    p.is_over(2);
}

#[test]
fn rfc_8305_section_3_ipv4_waits_50_ms_for_ipv6() {
    let v6 = || addr("h.lan", 60, "fd00::1");
    let v4 = || addr("h.lan", 60, "10.0.0.9");
    // When the answers come, and what is told when.
    type Row = (&'static str, Option<u64>, Option<u64>, &'static [&'static str]);
    let table: [Row; 6] = [
        ("together", Some(10), Some(10), &["10 1: fd00::1...", "10 1: 10.0.0.9."]),
        ("IPv6 first", Some(10), Some(500), &["10 1: fd00::1...", "500 1: 10.0.0.9."]),
        ("IPv4 first", Some(40), Some(10), &["40 1: fd00::1 10.0.0.9."]),
        ("IPv6 late", Some(100), Some(10), &["60 1: 10.0.0.9...", "100 1: fd00::1."]),
        ("IPv6 never", None, Some(10), &["60 1: 10.0.0.9...", "3000 1: ."]),
        ("IPv4 never", Some(10), None, &["10 1: fd00::1...", "3000 1: ."]),
    ];
    for (row, at6, at4, expected) in table {
        let mut p = play(ONE);
        p.resolve(1, "h.lan");
        let [q6, q4] = p.queries().try_into().unwrap();
        let mut steps: Vec<(u64, &SentQuery, Record)> = Vec::new();
        steps.extend(at6.map(|at| (at, &q6, v6())));
        steps.extend(at4.map(|at| (at, &q4, v4())));
        steps.sort_by_key(|step| step.0);
        for (at, query, record) in steps {
            p.pass(at - p.at);
            p.reply(query, |m| m.answers = vec![record]);
        }
        p.pass(5000);
        assert_eq!(p.told(), expected, "{row}");
        assert!(p.stub.lookups.is_empty() && p.stub.queries.is_empty(), "{row}");
    }
}

#[test]
fn what_fails_is_told_with_its_cause() {
    let server: SocketAddr = "10.0.0.1:53".parse().unwrap();
    type Edit = fn(&mut Message);
    let table: [(&str, Edit, LookupError); 7] = [
        ("no such name", |m| m.flags.0 |= 3, LookupError::NoName),
        ("no such record", |m| m.authority = vec![soa_root()], LookupError::NoData),
        ("a failure", |m| m.flags.0 |= 2, LookupError::Server { server, code: 2 }),
        ("a refusal", |m| m.flags.0 |= 5, LookupError::Server { server, code: 5 }),
        ("not implemented", |m| m.flags.0 |= 4, LookupError::Server { server, code: 4 }),
        (
            "D12 a name for itself",
            |m| m.answers = vec![Record::new(name("h.lan"), 60, Data::Cname(name("h.lan")))],
            LookupError::Endless,
        ),
        (
            "an endless chain",
            |m| {
                let asked = m.questions[0].name.clone();
                let next = name("x").below(&asked).unwrap_or(asked.clone());
                m.answers = vec![Record::new(asked, 60, Data::Cname(next))];
            },
            LookupError::Endless,
        ),
    ];
    for (row, edit, expected) in table {
        let mut p = play(ONE);
        p.resolve(1, "h.lan");
        for _ in 0..100 {
            for query in p.queries() {
                p.reply(&query, edit);
            }
        }
        assert_eq!(p.told(), [format!("0 1: {expected:?}")], "{row}");
        let opened = p.stub.last_channel;
        p.is_over(opened);
        assert!(opened <= 2 * (CHAIN_MAX as u64 + 1), "{row}: {opened} queries");
    }
}

#[test]
fn d9_a_silent_server_fails_after_three_seconds_in_all() {
    let table = [
        (ONE, vec![0, 1500], 3000),
        (TWO, vec![0, 750, 1500, 2250], 3000),
        ("nameserver 10.0.0.1\noptions timeout:1 attempts:3", vec![0, 1000, 2000], 3000),
        ("nameserver 10.0.0.1\noptions attempts:1", vec![0], 3000),
    ];
    for (conf, tries, end) in table {
        let mut p = play(conf);
        p.resolve(1, "h.lan");
        let mut times = Vec::new();
        while p.told.is_empty() {
            let fresh = p.queries();
            times.extend(fresh.iter().filter(|q| q.message.questions[0].rtype == Type::A).map(|_| p.at));
            let due = p.stub.poll_timeout().unwrap().duration_since(p.zero).as_millis() as u64;
            p.pass(due - p.at);
        }
        assert_eq!((p.told(), times), (vec![format!("{end} 1: TimedOut")], tries.clone()), "{conf}");
        p.is_over(2 * tries.len() as u64);
    }
}

#[test]
fn servers_are_asked_in_turn_and_the_last_time_without_edns() {
    let mut p = play(&format!("{TWO}\noptions no-aaaa"));
    p.resolve(1, "h.lan");
    p.pass(2999);
    let [a, b] = ["10.0.0.1", "10.0.0.2"];
    let order = [a, b, a, b].into_iter().enumerate();
    let order = order.map(|(n, ip)| format!("h.lan A{}@{ip}", if n < 2 { "" } else { " plain" }));
    assert_eq!(p.asked(), order.collect::<Vec<_>>());
    // The two latest may still be answered, those before them not.
    let queries = p.queries();
    p.reply(&queries[1], |m| m.answers = vec![addr("h.lan", 60, "6.6.6.6")]);
    assert!(p.told().is_empty());
    p.reply(&queries[2], |m| m.answers = vec![addr("h.lan", 60, "1.1.1.1")]);
    assert_eq!(p.told(), ["2999 1: 1.1.1.1."]);
    p.is_over(4);
    // Each query begins with another server.
    let mut p = play(&format!("{TWO}\noptions rotate no-aaaa"));
    for (n, host) in ["a", "b", "c"].iter().enumerate() {
        p.resolve(n as u64, host);
    }
    let servers: Vec<String> = p.queries().iter().map(|q| q.server.ip().to_string()).collect();
    assert_eq!(servers, [a, b, a]);
}

#[test]
fn a_server_that_cannot_tell_is_followed_by_the_next_at_once() {
    let mut p = play(&format!("{TWO}\noptions no-aaaa"));
    p.resolve(1, "h.lan");
    let first = p.queries().remove(0);
    p.reply(&first, |m| m.flags.0 |= 2);
    let second = p.queries().remove(0);
    assert_eq!(second.server.to_string(), "10.0.0.2:53");
    p.stub.handle_failed(second.channel, p.now());
    p.outputs();
    let third = p.queries().remove(0);
    assert_eq!(third.server.to_string(), "10.0.0.1:53");
    p.reply(&third, |m| m.answers = vec![addr("h.lan", 60, "1.1.1.1")]);
    assert_eq!(p.told(), ["0 1: 1.1.1.1."]);
    p.is_over(3);
    // None can be reached: that is known at once.
    let mut p = play(TWO);
    p.resolve(1, "h.lan");
    while let Some(query) = p.sent.pop() {
        p.stub.handle_failed(query.channel, p.now());
        p.outputs();
    }
    assert_eq!(p.told(), ["0 1: Unreachable(10.0.0.2:53)"]);
    p.is_over(8);
}

#[test]
fn rfc_6891_section_7_a_server_without_edns_is_asked_again() {
    for code in [1, 4] {
        let mut p = play(&format!("{ONE}\noptions no-aaaa"));
        p.resolve(1, "h.lan");
        let first = p.queries().remove(0);
        p.reply(&first, |m| m.flags.0 |= code);
        assert_eq!(p.asked(), ["h.lan A plain@10.0.0.1"]);
        let second = p.queries().remove(0);
        p.reply(&second, |m| m.answers = vec![addr("h.lan", 60, "1.1.1.1")]);
        assert_eq!(p.told(), ["0 1: 1.1.1.1."]);
        p.is_over(2);
    }
}

#[test]
fn rfc_7766_section_5_a_truncated_answer_is_fetched_over_tcp() {
    let mut p = play(&format!("{ONE}\noptions no-aaaa"));
    p.resolve(1, "h.lan");
    let first = p.queries().remove(0);
    // What it brings is not used, whole or cut in the midst of a record.
    let mut bytes = {
        let mut m = response(&first);
        m.flags.0 |= Flags::TRUNCATED;
        m.answers = vec![addr("h.lan", 60, "6.6.6.6"); 2];
        m.encode().unwrap()
    };
    bytes.truncate(bytes.len() - 3);
    p.hear(first.channel, first.server, &bytes);
    assert!(p.told().is_empty());
    assert_eq!(p.asked(), ["h.lan A tcp@10.0.0.1"]);
    let second = p.queries().remove(0);
    p.reply(&second, |m| m.answers = (0..200).map(|n| addr("h.lan", 60, &format!("10.0.1.{n}"))).collect());
    assert!(p.told()[0].starts_with("0 1: 10.0.1.0 10.0.1.1 "));
    p.is_over(2);
    // A stream that talks nonsense, or is cut short again, is given up.
    for edit in [(|m| m.id ^= 1) as fn(&mut Message), |m| m.flags.0 |= Flags::TRUNCATED] {
        let mut p = play(&format!("{ONE}\noptions no-aaaa use-vc"));
        p.resolve(1, "h.lan");
        let first = p.queries().remove(0);
        assert_eq!(first.over, Over::Tcp);
        p.reply(&first, edit);
        let second = p.queries().remove(0);
        p.reply(&second, |m| m.answers = vec![addr("h.lan", 60, "1.1.1.1")]);
        assert_eq!(p.told(), ["0 1: 1.1.1.1."]);
        p.is_over(2);
    }
}

#[test]
fn d11_what_does_not_answer_changes_nothing_but_a_counter() {
    let mut p = play_with(&format!("{ONE}\noptions no-aaaa"), "", |ways| ways.random_case = true);
    p.resolve(1, "www.example.org");
    let query = p.queries().remove(0);
    let good = |edit: fn(&mut Message)| {
        let mut m = response(&query);
        m.answers = vec![addr("www.example.org", 60, "6.6.6.6")];
        edit(&mut m);
        m.encode().unwrap()
    };
    let mut folded = good(|_| {});
    let at = folded.iter().position(|b| b.eq_ignore_ascii_case(&b'w')).unwrap();
    folded[at] ^= 0x20;
    let mut pointer = good(|m| m.answers.clear());
    pointer[7] = 1;
    pointer.extend([0xc0, pointer.len() as u8]);
    let mut big = good(|_| {});
    big.resize(65_507, 0);
    let mut bomb = response(&query).encode().unwrap();
    bomb[6..8].copy_from_slice(&[0xff, 0xff]);
    let stranger = SocketAddr::from(([10, 6, 6, 6], 53));
    let server = query.server;
    let table: Vec<(&str, u64, SocketAddr, Vec<u8>)> = vec![
        ("D11 wrong source", query.channel, stranger, good(|_| {})),
        ("D11 wrong id", query.channel, server, good(|m| m.id ^= 0x100)),
        ("D11 wrong question", query.channel, server, good(|m| m.questions[0].name = name("bank.example"))),
        ("another type", query.channel, server, good(|m| m.questions[0].rtype = Type::AAAA)),
        ("0x20, another case", query.channel, server, folded),
        ("a query", query.channel, server, good(|m| m.flags = Flags(0))),
        ("D11 a stray packet", query.channel, server, b"hello".to_vec()),
        ("a socket of nobody", 99, server, good(|_| {})),
        ("D12 a pointer to itself", query.channel, server, pointer),
        ("D12 64 KiB", query.channel, server, big),
        ("a count of 65,535", query.channel, server, bomb),
    ];
    let deadline = p.stub.poll_timeout();
    for (n, (row, channel, from, bytes)) in table.into_iter().enumerate() {
        p.hear(channel, from, &bytes);
        assert_eq!(p.stub.counters().strays, n as u64 + 1, "{row}");
        assert!(p.told.is_empty() && p.sent.is_empty() && p.closed.is_empty(), "{row}");
        assert_eq!((p.stub.poll_timeout(), p.stub.cache.len()), (deadline, 0), "{row}");
    }
    // The answer is still taken, once; a second one has nobody to come to.
    p.reply(&query, |m| m.answers = vec![addr("www.example.org", 60, "1.1.1.1")]);
    assert_eq!(p.told(), ["0 1: 1.1.1.1."]);
    p.reply(&query, |m| m.answers = vec![addr("www.example.org", 60, "6.6.6.6")]);
    assert!(p.told().is_empty());
    p.is_over(1);
    // Later queries still go to the configured server, and what was kept is the answer.
    p.resolve(2, "www.example.org");
    p.resolve(3, "other.example.org");
    assert_eq!(p.told(), ["0 2: 1.1.1.1."]);
    assert_eq!(p.queries()[0].server, server);
}

#[test]
fn ids_are_as_random_as_the_bits_that_are_given() {
    let mut p = play(&format!("{ONE}\noptions no-aaaa"));
    for n in 0..60 {
        p.resolve(n, &format!("h{n}"));
    }
    let mut ids: Vec<u16> = p.queries().iter().map(|q| q.message.id).collect();
    let sorted = ids.is_sorted();
    ids.sort();
    ids.dedup();
    assert!(ids.len() > 55 && !sorted);
}

#[test]
fn questions_under_way_are_shared() {
    let mut p = play(ONE);
    p.resolve(1, "h.lan");
    p.resolve(2, "H.LAN.");
    assert_eq!(p.sent.len(), 2);
    p.stub.cancel(1, p.now());
    p.outputs();
    assert!(p.closed.is_empty());
    p.resolve(3, "h.lan");
    p.serve(&[addr("h.lan", 60, "1.1.1.1")]);
    assert_eq!(p.told(), ["0 2: 1.1.1.1.", "0 3: 1.1.1.1."]);
    p.is_over(2);
}

#[test]
fn d10_a_cancelled_lookup_has_no_result() {
    let mut p = play(ONE);
    // Before anything was sent.
    p.stub.resolve(1, "h.lan", Want::Addrs, p.now()).unwrap();
    p.stub.cancel(1, p.now());
    p.outputs();
    assert!(p.sent.is_empty() && p.told.is_empty());
    p.is_over(2);
    // With a result that waits to be taken.
    p.stub.resolve(2, "127.0.0.1", Want::Addrs, p.now()).unwrap();
    p.stub.cancel(2, p.now());
    // On its way.
    p.resolve(3, "h.lan");
    let query = p.queries().remove(0);
    p.stub.cancel(3, p.now());
    p.reply(&query, |m| m.answers = vec![addr("h.lan", 60, "1.1.1.1")]);
    p.stub.cancel(77, p.now());
    p.pass(5000);
    assert!(p.told().is_empty());
    p.is_over(4);
}

#[test]
fn answers_are_kept_for_their_ttl_and_no_longer() {
    let mut p = play(&format!("{ONE}\noptions no-aaaa"));
    let known = [addr("h.lan", 2, "1.1.1.1"), addr("now.lan", 0, "2.2.2.2")];
    // RFC 2308: what does not exist is kept as well.
    for (at, ticket, host, told, asks) in [
        (0, 1, "h.lan", "1.1.1.1.", true),
        (1999, 2, "h.lan", "1.1.1.1.", false),
        (2000, 3, "h.lan", "1.1.1.1.", true),
        (2100, 4, "no.lan", "NoName", true),
        (62_099, 5, "no.lan", "NoName", false),
        (62_100, 6, "no.lan", "NoName", true),
        (62_100, 7, "now.lan", "2.2.2.2.", true),
        (62_100, 8, "now.lan", "2.2.2.2.", true),
    ] {
        p.pass(at - p.at);
        p.resolve(ticket, host);
        assert_eq!(!p.sent.is_empty(), asks, "{ticket} {host} at {at}");
        p.serve(&known);
        assert_eq!(p.told(), [format!("{at} {ticket}: {told}")]);
    }
    // Other servers may know otherwise.
    p.stub.set_conf(Conf::parse("nameserver 10.0.0.7\noptions no-aaaa", |_| None));
    p.resolve(9, "no.lan");
    assert_eq!(p.asked(), ["no.lan A@10.0.0.7"]);
}

#[test]
fn the_ttl_of_an_alias_counts_as_well() {
    let mut p = play(&format!("{ONE}\noptions no-aaaa"));
    let alias = |ttl| Record::new(name("h.lan"), ttl, Data::Cname(name("b.org")));
    p.resolve(1, "h.lan");
    p.serve(&[alias(1), addr("b.org", 600, "1.1.1.1")]);
    assert_eq!(p.told(), ["0 1: 1.1.1.1."]);
    p.pass(999);
    p.resolve(2, "h.lan");
    assert_eq!(p.told(), ["999 2: 1.1.1.1."]);
    p.pass(1);
    p.resolve(3, "h.lan");
    assert_eq!(p.asked(), ["h.lan A@10.0.0.1"]);
}

#[test]
fn names_are_looked_for_in_the_domains_while_there_is_none() {
    let conf = format!("{ONE}\nsearch a.lan b.lan\noptions no-aaaa");
    let mut p = play(&conf);
    p.resolve(1, "h");
    p.serve(&[addr("h.b.lan", 60, "1.1.1.1"), addr("h", 60, "2.2.2.2")]);
    assert_eq!((p.told(), p.stub.last_channel), (vec!["0 1: 1.1.1.1.".into()], 2));
    p.resolve(2, "none");
    p.serve(&[addr("none.a.lan", 60, "fd00::1")]);
    assert_eq!(p.told(), ["0 2: NoName"]);
    // A server that cannot tell is no reason to go to another host.
    p.resolve(3, "x");
    while !p.sent.is_empty() {
        for query in p.queries() {
            p.reply(&query, |m| m.flags.0 |= 2);
        }
    }
    let asked = 2 + 3 + 2;
    assert!(p.told()[0].starts_with("0 3: Server {"));
    assert_eq!(p.stub.last_channel, asked);
}

#[test]
fn some_names_need_no_server() {
    let mut p = play_with(ONE, "10.0.0.5 printer\nfd00::5 printer\n6.6.6.6 localhost 1.2.3.4", |_| {});
    for (text, expected) in [
        ("127.0.0.1", "127.0.0.1."),
        ("::1", "::1."),
        ("1.2.3.4", "1.2.3.4."),
        ("RFC 6761 §6.3", ""),
        ("localhost", "127.0.0.1 ::1."),
        ("LOCALHOST.", "127.0.0.1 ::1."),
        ("app.localhost", "127.0.0.1 ::1."),
        ("RFC 6761 §6.4", ""),
        ("x.invalid", "NoName"),
        ("RFC 7686 §2", ""),
        ("x.onion", "NoName"),
        ("/etc/hosts", ""),
        ("Printer", "10.0.0.5 fd00::5."),
    ] {
        if !expected.is_empty() {
            p.resolve(1, text);
            assert_eq!(p.told(), [format!("0 1: {expected}")], "{text}");
        }
    }
    p.stub.set_hosts(Hosts::parse("10.0.0.6 printer"));
    p.resolve(1, "printer");
    assert_eq!(p.told(), ["0 1: 10.0.0.6."]);
    p.is_over(0);
}

#[test]
fn what_cannot_be_asked_is_refused_at_once() {
    let mut p = play_with("nameserver 10.0.0.1", "", |ways| ways.lookups_max = 2);
    let now = p.now();
    let table = [
        ("bücher.example", LookupError::BadName(NameError::NotAscii)),
        ("a b", LookupError::BadName(NameError::BadCharacter(' '))),
        ("", LookupError::BadName(NameError::LabelEmpty)),
        ("a\0b", LookupError::BadName(NameError::BadCharacter('\0'))),
    ];
    for (text, expected) in table {
        assert_eq!(p.stub.resolve(1, text, Want::Addrs, now), Err(expected), "{text}");
    }
    p.resolve(1, "a");
    p.resolve(2, "b");
    assert_eq!(p.stub.resolve(3, "c", Want::Addrs, now), Err(LookupError::Full));
    p.stub.cancel(1, now);
    p.resolve(3, "c");
    // Without a server.
    let mut p = play(ONE);
    p.stub.set_conf(Conf { servers: vec![], ..Conf::default() });
    p.resolve(1, "a");
    assert_eq!(p.told(), ["0 1: NoServer"]);
    p.is_over(0);
}

#[test]
fn questions_wait_when_too_many_are_asked() {
    let mut p = play(&format!("{ONE}\noptions no-aaaa"));
    for n in 0..200u64 {
        p.resolve(n, &format!("h{n}"));
    }
    assert_eq!(p.sent.len(), QUERIES_MAX);
    // Those that are answered or cancelled make room, in order.
    p.stub.cancel(3, p.now());
    p.stub.cancel(100, p.now());
    p.outputs();
    assert_eq!(p.sent.len(), QUERIES_MAX + 1);
    let records: Vec<Record> = (0..200).map(|n| addr(&format!("h{n}"), 60, "1.1.1.1")).collect();
    p.serve(&records);
    assert_eq!(p.told().len(), 198);
    p.is_over(199);
    // Silence: all of them end in their time.
    for n in 0..200u64 {
        p.resolve(n, &format!("silent{n}"));
    }
    p.pass(3000);
    assert!(p.told().iter().all(|line| line.starts_with("3000 ") && line.ends_with("TimedOut")));
    assert!(p.stub.queries.is_empty() && p.stub.channels.is_empty());
}

#[test]
fn rfc_2782_services_are_asked_for_on_demand() {
    let mut p = play(&format!("{ONE}\nsearch lan"));
    p.stub.resolve(1, "_mqtt._tcp.example.org", Want::Records(Type::SRV), p.now()).unwrap();
    p.outputs();
    let query = p.queries().remove(0);
    assert_eq!(query.message.questions[0].rtype, Type::SRV);
    let srv = |port| Data::Srv(Srv { priority: 1, weight: 1, port, target: name("broker.example.org") });
    let of = |port| Record::new(name("_mqtt._tcp.example.org"), 60, srv(port));
    p.reply(&query, |m| m.answers = vec![of(1883), of(8883)]);
    assert_eq!(p.told(), ["0 1: 2 records"]);
    p.is_over(1);
    p.stub.resolve(2, "_none._tcp.example.org", Want::Records(Type::SRV), p.now()).unwrap();
    p.outputs();
    p.serve(&[]);
    assert_eq!(p.told(), ["0 2: NoName"]);
}

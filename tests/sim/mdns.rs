//! Multicast DNS on a network that loses, doubles and delays: what is announced is found and reached, names that two have taken come
//! apart, and nobody from another network has a say.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use vansire::dns::{Data, Flags, Message, Name, Question, Record, Type};
use vansire::mdns::{Browsed, Found, Options, Service};
use vansire::sim::{Faults, Rng, Sim, SimUdp};
use vansire::{Ctx, DnsOptions, Event, Manager, Stats};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};

const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353);
/// Somebody on another network.
const FAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 66)), 5353);
/// Somebody on this one.
const NEAR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 66)), 5353);
const FORGED: [u8; 4] = [6, 6, 6, 6];
const KIND: &str = "_http._tcp";
/// The bits of a response that speaks for itself (RFC 6762 §18.2, §18.4).
const ANSWER: Flags = Flags(Flags::RESPONSE | Flags::AUTHORITATIVE);
/// In a class: what was known before is no longer good (RFC 6762 §10.2).
const FLUSH: u16 = 1 << 15;

type Told = Rc<RefCell<Vec<Browsed>>>;

fn manager(sim: &Sim, host: &str) -> Manager<()> {
    let dns = DnsOptions::new().servers([] as [SocketAddr; 0]).multicast(true);
    Manager::builder().sim(sim).mdns(Options::new().host(host)).resolver(dns).build(()).expect("a manager")
}

fn browse(manager: &mut Manager<()>) -> Told {
    let told = Told::default();
    let log = told.clone();
    manager.net().mdns_browse(KIND, move |_, browsed| log.borrow_mut().push(browsed)).expect("browsing");
    told
}

fn found(told: &Told) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for browsed in told.borrow().iter() {
        match browsed {
            Browsed::Found(one) => {
                found.retain(|other| other.name != one.name);
                found.push(one.clone());
            }
            Browsed::Lost(name) => found.retain(|other| other.name != *name),
            _ => {}
        }
    }
    found
}

fn lossy(sim: &Sim, rng: &mut Rng) {
    let mut faults = if rng.chance(0.3) { Faults::none() } else { Faults::benign(rng) };
    faults.datagram_lost = 0.3 * rng.below(3) as f64 / 2.0;
    faults.datagram_twice = 0.3 * rng.below(2) as f64;
    sim.set_faults(faults);
}

#[test]
fn mdns_what_is_announced_is_found_and_reached_and_nobody_from_elsewhere_has_a_say() {
    for_each_seed("mdns_what_is_announced", |sim, rng| announced(sim, rng, FAR));
}

/// The proof that the scenario can fail: on the same network anybody can speak for anybody.
#[test]
fn mdns_scenario_notices_a_lie() {
    assert!(some_seed_fails(|sim, rng| announced(sim, rng, NEAR)));
}

fn announced(sim: &Sim, rng: &mut Rng, liar: SocketAddr) -> Outcome {
    lossy(sim, rng);
    // Questions come less and less often: on a network that loses most of them for ever, nothing needs to be found.
    sim.after(Duration::from_secs(60), |sim| sim.set_faults(Faults::none()));
    let (mut kitchen, mut bath) = (manager(sim, "kitchen"), manager(sim, "bath"));
    kitchen.net().listen("tcp://0.0.0.0:80", |_: &mut Ctx<'_, ()>, _: Event<'_>| {}).map_err(|e| e.to_string())?;
    let light = Service::new("Kitchen light", KIND, 80).txt("path", "/");
    let id = kitchen.net().mdns_announce(light).map_err(|e| e.to_string())?;
    let told = browse(&mut bath);
    let liar = Rc::new(sim.udp(liar).map_err(|e| e.to_string())?);
    for _ in 0..rng.below(20) {
        let (liar, bytes) = (liar.clone(), lie(rng));
        sim.after(up_to(rng, 20_000), move |_| liar.send_to(&bytes, GROUP));
    }
    let failed = |e: vansire::sim::Failure| e.to_string();
    sim.run(&mut [&mut kitchen, &mut bath], || !found(&told).is_empty(), FOREVER).map_err(failed)?;
    // All that the liar has to say.
    sim.run_for(&mut [&mut kitchen, &mut bath], Duration::from_secs(25)).map_err(failed)?;
    let expected = "kitchen.local";
    match &found(&told)[..] {
        [one] if one.name == "Kitchen light" && one.host == expected && one.port == 80 => {
            let is_path = one.txt.iter().map(|text| &text[..]).eq([&b"path=/"[..]]);
            if !is_path || one.addrs.len() != 1 || one.addrs.contains(&IpAddr::from(FORGED)) {
                return Err(format!("{one:?}"));
            }
        }
        other => return Err(format!("{other:?}")),
    }
    reached(sim, &mut kitchen, &mut bath)?;
    kitchen.net().mdns_withdraw(id);
    // Where the goodbye is lost, its time has to run out.
    sim.run(&mut [&mut kitchen, &mut bath], || found(&told).is_empty(), FOREVER).map_err(failed)
}

/// A name below `.local` connects, at the latest when nothing is lost any more.
fn reached(sim: &Sim, kitchen: &mut Manager<()>, bath: &mut Manager<()>) -> Outcome {
    for attempt in 0..2 {
        let end = Rc::new(RefCell::new(None));
        let log = end.clone();
        let handler = move |_: &mut Ctx<'_, ()>, event: Event<'_>| match event {
            Event::Connected => *log.borrow_mut() = Some(Ok(())),
            Event::Closed(reason) => _ = log.borrow_mut().get_or_insert(Err(reason.to_string())),
            _ => {}
        };
        let id = bath.net().connect("tcp://kitchen.local:80", handler).map_err(|e| e.to_string())?;
        sim.run(&mut [&mut *kitchen, &mut *bath], || end.borrow().is_some(), FOREVER).map_err(|e| e.to_string())?;
        bath.net().close(id);
        match end.take() {
            Some(Err(why)) if attempt > 0 => return Err(format!("not reached: {why}")),
            Some(Err(_)) => sim.set_faults(Faults::none()),
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Another address, another place, no such thing, or a claim to the name.
fn lie(rng: &mut Rng) -> Vec<u8> {
    let kind = name("_http._tcp.local");
    let light = Name::from_labels([&b"Kitchen light"[..], b"_http", b"_tcp", b"local"]).expect("a name");
    let host = name("kitchen.local");
    let ttl = *rng.pick(&[0, 120, 4500]);
    let record = match rng.below(3) {
        0 => flush(Record::new(host.clone(), 4500, Data::A(FORGED.into()))),
        1 => Record::new(kind, ttl, Data::Ptr(light)),
        _ => Record::new(kind, ttl, Data::Ptr(name("forged._http._tcp.local"))),
    };
    let mut message = Message { flags: ANSWER, answers: vec![record], ..Message::default() };
    if rng.chance(0.2) {
        message.flags = Flags(0);
        message.questions = vec![Question::new(host, Type(255))];
        message.authority = std::mem::take(&mut message.answers);
    }
    message.encode().expect("a message")
}

fn flush(record: Record) -> Record {
    Record { class: record.class | FLUSH, ..record }
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

#[test]
fn rfc_6762_section_9_names_that_two_have_taken_come_apart() {
    for_each_seed("rfc_6762_section_9_names", |sim, rng| {
        lossy(sim, rng);
        let mut hosts = [manager(sim, "kitchen"), manager(sim, "kitchen")];
        let mut third = manager(sim, "bath");
        if rng.chance(0.5) {
            // On two networks that become one.
            let ips = [1, 2].map(|last| IpAddr::from([10, 90, 0, last]));
            sim.partition(ips[0], ips[1], up_to(rng, 20_000));
        }
        for host in &mut hosts {
            host.net().mdns_announce(Service::new("light", KIND, 80)).map_err(|e| e.to_string())?;
        }
        let [a, b] = &mut hosts;
        sim.run_for(&mut [&mut *a, &mut *b, &mut third], Duration::from_secs(60)).map_err(|e| e.to_string())?;
        // What nobody heard shows when somebody asks.
        sim.set_faults(Faults::none());
        let told = browse(&mut third);
        let names = || found(&told).iter().filter(|found| found.name.starts_with("light")).count();
        sim.run(&mut [&mut *a, &mut *b, &mut third], || names() == 2, Duration::from_secs(60))
            .map_err(|e| format!("{e}: {:?}", found(&told)))?;
        sim.run_for(&mut [&mut *a, &mut *b, &mut third], Duration::from_secs(30)).map_err(|e| e.to_string())?;
        let mut labels: Vec<(Option<String>, Vec<String>)> = Vec::new();
        for host in [a, b] {
            let status = host.net().mdns_status().ok_or("no status")?;
            labels.push((status.host, status.services.into_iter().map(|(_, name)| name).collect()));
        }
        labels.sort();
        let hosts_differ = labels[0].0 != labels[1].0;
        if hosts_differ && labels[0].1 != labels[1].1 { Ok(()) } else { Err(format!("{labels:?}")) }
    });
}

/// A manager that speaks, some seconds later, and somebody who hears what it sends to everybody.
fn settled(sim: &Sim) -> (Manager<()>, SimUdp, SocketAddr) {
    let ear = sim.udp(([10, 0, 0, 99], 5353)).unwrap();
    ear.join(GROUP);
    let mut host = manager(sim, "kitchen");
    host.net().mdns_announce(Service::new("light", KIND, 80)).unwrap();
    sim.run_for(&mut [&mut host], Duration::from_secs(10)).unwrap();
    let (addr, _) = ear.take().expect("it has spoken");
    while ear.take().is_some() {}
    (host, ear, addr)
}

#[test]
fn mdns_attackers_change_a_counter_and_nothing_else() {
    let query = |rtype| Message { questions: vec![Question::new(name("kitchen.local"), rtype)], ..Message::default() };
    let asks = query(Type::A).encode().unwrap();
    let answers = Message {
        flags: ANSWER,
        answers: vec![flush(Record::new(name("kitchen.local"), 120, Data::A(FORGED.into())))],
        ..Message::default()
    };
    let answers = answers.encode().unwrap();
    let mut looped = asks.clone();
    looped.truncate(12);
    looped.extend([0xc0, 12, 0, 1, 0, 1]);
    // 32 names, each made of all before it.
    let mut bomb = vec![0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 63];
    bomb.extend([b'a'; 63]);
    for n in 0..32u16 {
        bomb.extend([63; 64]);
        bomb.extend((0xc000 | (12 + 64 * n)).to_be_bytes());
    }
    let mut error = asks.clone();
    error[3] |= 3;
    let mut update = asks.clone();
    update[2] |= 5 << 3;
    let table: [(&str, SocketAddr, Vec<u8>); 10] = [
        ("RFC 6762 §11, a question from another network", FAR, asks.clone()),
        ("RFC 6762 §11, an answer from another network", FAR, answers.clone()),
        ("RFC 6762 §6, an answer from another port", SocketAddr::new(NEAR.ip(), 9999), answers.clone()),
        ("RFC 6762 §18.3, another opcode", NEAR, update),
        ("RFC 6762 §18.11, an error", NEAR, error),
        ("cut short", NEAR, asks[..asks.len() - 1].to_vec()),
        ("nothing", NEAR, Vec::new()),
        ("a name that leads to itself", NEAR, looped),
        ("a compression bomb", NEAR, bomb),
        ("64 KiB", NEAR, [&answers[..], &vec![0; 65_000 - answers.len()]].concat()),
    ];
    let sim = Sim::new(1);
    let (mut host, ear, addr) = settled(&sim);
    let before = host.stats();
    let status = host.net().mdns_status();
    for (at, (row, from, bytes)) in table.into_iter().enumerate() {
        let attacker = sim.udp(from).unwrap();
        for to in [GROUP, addr] {
            attacker.send_to(&bytes, to);
            sim.run_for(&mut [&mut host], Duration::from_secs(3)).unwrap();
        }
        assert_eq!((attacker.take(), ear.take().filter(|(from, _)| *from == addr)), (None, None), "{row}");
        let after = host.stats();
        assert_eq!(after.mdns_strays - before.mdns_strays, 2 * (at as u64 + 1), "{row}");
        let same = |stats: &Stats| (stats.mdns_sent, stats.mdns_heard, stats.mdns_conflicts, stats.mdns_forgotten);
        assert_eq!(same(&after), same(&before), "{row}");
        assert_eq!(host.net().mdns_status(), status, "{row}");
        while ear.take().is_some() {}
    }
    // The same question from the network is answered: the attackers' could have been.
    ear.send_to(&asks, GROUP);
    sim.run_for(&mut [&mut host], Duration::from_secs(3)).unwrap();
    let answer = std::iter::from_fn(|| ear.take()).find(|(from, _)| *from == addr);
    assert!(answer.is_some());
}

#[test]
fn nobody_is_flooded_by_questions_in_his_name() {
    let sim = Sim::new(1);
    let (mut host, ear, _) = settled(&sim);
    let victim = sim.udp(([10, 0, 0, 66], 4000)).unwrap();
    let ptr = Message { questions: vec![Question::new(name("_http._tcp.local"), Type::PTR)], ..Message::default() };
    let question = ptr.encode().unwrap();
    for _ in 0..200 {
        victim.send_to(&question, GROUP);
    }
    sim.run_for(&mut [&mut host], Duration::from_millis(900)).unwrap();
    let answers: Vec<Vec<u8>> = std::iter::from_fn(|| victim.take()).map(|(_, bytes)| bytes).collect();
    assert_eq!((answers.len(), host.stats().mdns_limited), (50, 150));
    assert!(answers.iter().all(|bytes| bytes.len() <= 1232));
    // RFC 6762 §6: everybody is told once in a second.
    while ear.take().is_some() {}
    for _ in 0..200 {
        ear.send_to(&question, GROUP);
    }
    sim.run_for(&mut [&mut host], Duration::from_millis(900)).unwrap();
    let told = std::iter::from_fn(|| ear.take()).filter(|(from, _)| from.ip() != ear.local_addr().ip()).count();
    assert_eq!(told, 1);
}

#[test]
fn nothing_is_sent_before_it_is_asked_for_and_local_names_are_like_others_by_default() {
    let sim = Sim::new(1);
    let ear = sim.udp(([10, 0, 0, 99], 5353)).unwrap();
    ear.join(GROUP);
    let server = sim.udp(([10, 0, 0, 53], 53)).unwrap();
    let dns = DnsOptions::new().servers([server.local_addr()]);
    let mut manager = Manager::builder().sim(&sim).resolver(dns).build(()).unwrap();
    let told = Rc::new(RefCell::new(None));
    let log = told.clone();
    manager.net().resolve("kitchen.local", move |_, result| *log.borrow_mut() = Some(result)).unwrap();
    sim.run_for(&mut [&mut manager], Duration::from_secs(5)).unwrap();
    let (_, query) = server.take().expect("the name server is asked");
    assert_eq!(Message::decode(&query).unwrap().questions[0].name, name("kitchen.local"));
    assert!(ear.take().is_none(), "nobody else is");
    assert!(told.take().is_some_and(|result| result.is_err()));
    assert!(manager.net().mdns_status().is_none());
}

/// RFC 6762 §10.1.
#[test]
fn who_ends_says_goodbye() {
    for ends_by_drop in [false, true] {
        let sim = Sim::new(1);
        let (mut host, _ear, _) = settled(&sim);
        let mut other = manager(&sim, "bath");
        let told = browse(&mut other);
        sim.run(&mut [&mut host, &mut other], || found(&told).len() == 1, FOREVER).unwrap();
        if ends_by_drop {
            drop(host);
        } else {
            host.shutdown(Duration::from_secs(1)).unwrap();
        }
        sim.run_for(&mut [&mut other], Duration::from_secs(2)).unwrap();
        assert_eq!(told.borrow().last(), Some(&Browsed::Lost("light".into())), "{ends_by_drop}");
    }
}

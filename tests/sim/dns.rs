//! Names over a network that loses, doubles and delays, from a server that is slow, silent or out of order, with a forger who
//! sees every query but does not know its id: what is told is right, or an error, once.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use vansire::dns::{Data, Flags, Message, Name, Question, Record, Soa, Type};
use vansire::sim::{Faults, Rng, Route, Sim, SimListener, SimSocket, SimUdp};
use vansire::{CloseReason, Ctx, DnsOptions, Event, Manager, Result};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};

#[test]
fn d11_d12_dns_tells_what_the_server_said_and_nothing_else() {
    for_each_seed("d11_d12_dns", |sim, rng| scenario(sim, rng, false));
}

/// The proof that the scenario can fail: the forger knows the id.
#[test]
fn dns_scenario_notices_a_forged_answer() {
    assert!(some_seed_fails(|sim, rng| scenario(sim, rng, true)));
}

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 53)), 53);
const FORGED: [u8; 4] = [6, 6, 6, 6];
const NAMES: usize = 6;

/// Which name, and what came of it.
type Told = (usize, std::result::Result<Vec<IpAddr>, String>);

struct Stage {
    sim: Sim,
    rng: RefCell<Rng>,
    udp: SimUdp,
    tcp: SimListener,
    streams: RefCell<Vec<(SimSocket, Vec<u8>)>>,
    /// Nothing goes wrong that would keep an answer from coming in time.
    honest: bool,
    forger_knows: bool,
    forged: Cell<u64>,
    begun: Cell<usize>,
    told: RefCell<Vec<Told>>,
    complaints: RefCell<Vec<String>>,
    over: Cell<bool>,
}

fn scenario(sim: &Sim, rng: &mut Rng, forger_knows: bool) -> Outcome {
    let honest = rng.chance(0.5);
    let mut faults = if rng.chance(0.3) { Faults::none() } else { Faults::benign(rng) };
    if honest {
        // A stream that holds a few bytes at a time takes longer than a lookup may.
        faults.buffer = 0..0;
        faults.segment = 0..0;
    } else {
        faults.datagram_lost = 0.3 * rng.below(3) as f64 / 2.0;
        faults.datagram_twice = 0.3;
        faults.reset = 0.02;
    }
    sim.set_faults(faults);
    let options = DnsOptions::new().servers([SERVER]).random_case(rng.chance(0.5)).cache_max(rng.below(20));
    let mut manager = Manager::builder().sim(sim).resolver(options).build(()).map_err(|e| e.to_string())?;
    let stage = Rc::new(Stage {
        sim: sim.clone(),
        rng: RefCell::new(rng.fork()),
        udp: sim.udp(SERVER).map_err(|e| e.to_string())?,
        tcp: sim.listen(SERVER).map_err(|e| e.to_string())?,
        streams: RefCell::default(),
        honest,
        forger_knows,
        forged: Cell::new(0),
        begun: Cell::new(0),
        told: RefCell::default(),
        complaints: RefCell::default(),
        over: Cell::new(false),
    });
    stage.clone().serve_later();
    let count = 1 + rng.below(12);
    for _ in 0..count {
        let at = stage.clone();
        let number = rng.below(NAMES);
        let cancels = rng.chance(0.1);
        manager.net().timer_after(up_to(rng, 2000), move |cx| {
            let calls = Cell::new(0);
            let tell = at.clone();
            let found = move |_: &mut vansire::LookupCtx<'_, ()>, result: Result<Vec<IpAddr>>| {
                calls.set(calls.get() + 1);
                tell.told.borrow_mut().push((number, result.map_err(|e| e.to_string())));
            };
            match cx.net.resolve(&format!("h{number}.lan"), found) {
                Ok(id) if cancels => {
                    if !cx.net.cancel_resolve(id) {
                        at.complain("a lookup that has just begun cannot be cancelled");
                    }
                }
                Ok(_) => at.begun.set(at.begun.get() + 1),
                Err(e) => at.complain(&e.to_string()),
            }
        });
    }
    let all_told = || stage.told.borrow().len() >= stage.begun.get() && sim.elapsed() > Duration::from_secs(3);
    sim.run(&mut [&mut manager], all_told, FOREVER).map_err(|e| e.to_string())?;
    stage.over.set(true);
    match sim.run(&mut [&mut manager], || false, FOREVER) {
        Err(failure) if failure.is_stuck() => {}
        other => return Err(format!("something is left to happen: {other:?}")),
    }
    stage.streams.borrow_mut().clear();
    let _ = sim.run(&mut [&mut manager], || false, FOREVER);
    if sim.open_sockets() != 2 {
        return Err(format!("{} sockets are left over", sim.open_sockets() - 2));
    }
    let stats = manager.stats();
    // One that is overtaken by the answer finds nobody.
    if !forger_knows && honest && stage.forged.get() >= 20 && stats.dns_strays == 0 {
        return Err(format!("{} were forged: {stats:?}", stage.forged.get()));
    }
    stage.check(&manager)
}

/// What the server knows: one name has no address, one is an alias, one does not exist.
fn addrs_of(number: usize) -> Option<Vec<IpAddr>> {
    let v4 = IpAddr::from([10, 1, 0, number as u8]);
    let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number as u16]);
    match number {
        0 => Some(vec![v6, v4]),
        1 => Some(vec![v4]),
        2 => Some(vec![v6]),
        // An alias of 0.
        3 => addrs_of(0),
        // It exists, and has no address.
        4 => Some(vec![]),
        _ => None,
    }
}

fn name(number: usize) -> Name {
    format!("h{number}.lan").parse().expect("a name")
}

impl Stage {
    fn complain(&self, what: &str) {
        self.complaints.borrow_mut().push(what.to_owned());
    }

    /// The server looks at what has come, again and again.
    fn serve_later(self: Rc<Self>) {
        let wait = up_to(&mut self.rng.borrow_mut(), 20);
        self.sim.clone().after(wait, move |_| {
            while let Some((from, query)) = self.udp.take() {
                self.clone().answer(from, &query);
            }
            self.serve_streams();
            if !self.over.get() {
                self.serve_later();
            }
        });
    }

    fn answer(self: Rc<Self>, to: SocketAddr, query: &[u8]) {
        let query = match Message::decode(query) {
            Ok(query) if query.questions.len() == 1 => query,
            other => return self.complain(&format!("a query that is none: {other:?}")),
        };
        let rng = &mut *self.rng.borrow_mut();
        for _ in 0..rng.below(4) {
            let lie = self.lie(&query, rng);
            self.udp.send_to(&lie, to);
            self.forged.set(self.forged.get() + 1);
        }
        let mut message = truth(&query);
        let silent = !self.honest && rng.chance(0.2);
        if !self.honest && rng.chance(0.1) {
            message.answers.clear();
            message.flags.0 |= 2;
        } else if rng.chance(0.2) {
            // What a truncated answer says does not count.
            message.flags.0 |= Flags::TRUNCATED;
            message.answers = vec![Record::new(query.questions[0].name.clone(), 60, Data::A(FORGED.into()))];
        }
        let bytes = message.encode().expect("a message");
        let late = if self.honest { up_to(rng, 100) } else { up_to(rng, 4000) };
        let copies = if silent { 0 } else { 1 + usize::from(rng.chance(0.2)) };
        let at = self.clone();
        self.sim.after(late, move |_| (0..copies).for_each(|_| at.udp.send_to(&bytes, to)));
    }

    /// Something that looks like an answer, and is none.
    fn lie(&self, query: &Message, rng: &mut Rng) -> Vec<u8> {
        let mut message = Message { answers: Vec::new(), ..truth(query) };
        message.flags = Flags(Flags::RESPONSE | Flags::RECURSION_AVAILABLE);
        message.authority.clear();
        let asked = query.questions[0].clone();
        let data = if asked.rtype == Type::A { Data::A(FORGED.into()) } else { Data::Aaaa([0x66; 16].into()) };
        message.answers = vec![Record::new(asked.name.clone(), 600, data)];
        let kinds = if self.forger_knows { 7 } else { 6 };
        let mut bytes = message.encode().expect("a message");
        match rng.below(kinds) {
            0 => bytes[rng.below(2)] ^= 1 << rng.below(8),
            1 => {
                message.questions = vec![Question::new(name(9), asked.rtype)];
                bytes = message.encode().expect("a message");
            }
            2 => bytes.truncate(rng.below(bytes.len() - 1)),
            3 => {
                // A record whose name is a pointer to itself.
                let end = 12 + asked.name.as_wire().len() + 4;
                bytes.truncate(end);
                bytes.extend([0xc0, end as u8, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                bytes.extend(FORGED);
            }
            4 => {
                // As long as datagrams get.
                bytes.resize(65_507, 0xc0);
                bytes[6..8].copy_from_slice(&[0xff, 0xff]);
            }
            5 => {
                let len = rng.below(200);
                bytes = rng.bytes(len);
            }
            _ => {}
        }
        bytes
    }

    fn serve_streams(&self) {
        let mut streams = self.streams.borrow_mut();
        streams.extend(std::iter::from_fn(|| self.tcp.accept()).map(|stream| (stream, Vec::new())));
        streams.retain(|(stream, _)| !stream.is_over());
        for (stream, got) in streams.iter_mut() {
            got.extend(stream.take());
            let Some((len, rest)) = got.split_first_chunk::<2>() else { continue };
            let Some(query) = rest.get(..u16::from_be_bytes(*len).into()) else { continue };
            match Message::decode(query) {
                Ok(query) => {
                    let bytes = truth(&query).encode().expect("a message");
                    stream.send(&(bytes.len() as u16).to_be_bytes());
                    stream.send(&bytes);
                }
                Err(e) => self.complain(&format!("over TCP comes what is no query: {e}")),
            }
            got.clear();
        }
    }

    fn check(&self, manager: &Manager<()>) -> Outcome {
        if let Some(complaint) = self.complaints.borrow().first() {
            return Err(complaint.clone());
        }
        if self.told.borrow().len() != self.begun.get() {
            return Err(format!("{} begun, {} told", self.begun.get(), self.told.borrow().len()));
        }
        for (number, result) in self.told.borrow().iter() {
            let truth = addrs_of(*number).unwrap_or_default();
            let right = match result {
                // One family may have come, and the other not.
                Ok(addrs) if !self.honest => !addrs.is_empty() && addrs.iter().all(|ip| truth.contains(ip)),
                Ok(addrs) => addrs.len() == truth.len() && addrs.iter().all(|ip| truth.contains(ip)),
                Err(_) => !self.honest || truth.is_empty(),
            };
            if !right {
                return Err(format!(
                    "h{number}.lan is {truth:?}, and was told to be {result:?}: {:?}",
                    manager.stats()
                ));
            }
        }
        Ok(())
    }
}

/// The answer to a query.
fn truth(query: &Message) -> Message {
    let asked = &query.questions[0];
    let mut message = Message { id: query.id, questions: query.questions.clone(), ..Message::default() };
    message.flags = Flags(Flags::RESPONSE | Flags::RECURSION_DESIRED | Flags::RECURSION_AVAILABLE);
    let number = (0..NAMES).find(|number| name(*number) == asked.name).unwrap_or(NAMES);
    let mut owner = asked.name.clone();
    if number == 3 {
        message.answers.push(Record::new(owner, 1, Data::Cname(name(0))));
        owner = name(0);
    }
    for ip in addrs_of(number).unwrap_or_default() {
        let data = match ip {
            IpAddr::V4(ip) => Data::A(ip),
            IpAddr::V6(ip) => Data::Aaaa(ip),
        };
        if data.rtype() == asked.rtype {
            message.answers.push(Record::new(owner.clone(), 1, data));
        }
    }
    if addrs_of(number).is_none() {
        message.flags.0 |= 3;
    }
    if message.answers.is_empty() {
        let lan: Name = "lan".parse().expect("a name");
        let soa = Soa { server: lan.clone(), mailbox: lan.clone(), numbers: [1; 4], minimum: 1 };
        message.authority.push(Record::new(lan, 1, Data::Soa(Box::new(soa))));
    }
    message
}

/// RFC 8305 §5, and the promise of 300 ms: to the nanosecond, since time is simulated.
#[test]
fn b3_a_name_whose_first_address_is_a_black_hole_connects_through_the_second() {
    for_each_seed("b3_a_name_whose_first_address", |sim, rng| {
        let ms = Duration::from_millis;
        sim.set_faults(Faults::none().latency(ms(1)..ms(10)));
        let [hole, good] = [IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]), IpAddr::from([10, 1, 0, 1])];
        sim.set_route(hole, Route::Blackhole);
        let listener = sim.listen((good, 7)).map_err(|e| e.to_string())?;
        let server = Rc::new(sim.udp(SERVER).map_err(|e| e.to_string())?);
        let options = DnsOptions::new().servers([SERVER]);
        let mut manager = Manager::builder().sim(sim).resolver(options).build(()).map_err(|e| e.to_string())?;
        let (connected, closed) = (Rc::new(Cell::new(None)), Rc::new(RefCell::new(None)));
        let (at, end, world) = (connected.clone(), closed.clone(), sim.clone());
        let handler = move |_: &mut Ctx<'_, ()>, event: Event<'_>| match event {
            Event::Connected => at.set(Some(world.elapsed())),
            Event::Closed(CloseReason::Stopped) => {}
            Event::Closed(reason) => *end.borrow_mut() = Some(reason),
            _ => {}
        };
        let begun = sim.elapsed();
        manager.net().connect("tcp://host.lan:7", handler).map_err(|e| e.to_string())?;
        // The two families are answered in any order, within the delay that one waits for the other.
        let delays = [up_to(rng, 10), up_to(rng, 10)];
        let serve = || {
            while let Some((from, query)) = server.take() {
                let Ok(query) = Message::decode(&query) else { continue };
                let asked = &query.questions[0];
                let v6 = asked.rtype == Type::AAAA;
                let data = match if v6 { hole } else { good } {
                    IpAddr::V4(ip) => Data::A(ip),
                    IpAddr::V6(ip) => Data::Aaaa(ip),
                };
                let mut message = Message { id: query.id, questions: query.questions.clone(), ..Message::default() };
                message.flags = Flags(Flags::RESPONSE);
                message.answers = vec![Record::new(asked.name.clone(), 60, data)];
                let (udp, bytes) = (server.clone(), message.encode().unwrap_or_default());
                sim.after(delays[usize::from(v6)], move |_| udp.send_to(&bytes, from));
            }
            connected.get().is_some() || closed.borrow().is_some()
        };
        sim.run(&mut [&mut manager], serve, FOREVER).map_err(|e| e.to_string())?;
        let took = connected.get().ok_or_else(|| format!("{:?}", closed.borrow()))? - begun;
        // The delay of a quarter of a second; with it the names, at most 30 ms, and the way there and back, at most 20.
        let (least, most) = (ms(250), ms(300));
        drop(listener);
        if took < least || took > most { Err(format!("connected after {took:?}")) } else { Ok(()) }
    });
}

/// What is told of a name, when, and all that is counted, while somebody sends these datagrams beside the server's answer. Each
/// datagram: from where, how long after the question, and what.
fn told_beside(
    attack: impl Fn(&Message) -> Vec<(SocketAddr, u64, Vec<u8>)>,
) -> (Vec<IpAddr>, Duration, vansire::Stats) {
    let (sim, ms) = (Sim::new(1), Duration::from_millis);
    let server = Rc::new(sim.udp(SERVER).expect("a socket"));
    let options = DnsOptions::new().servers([SERVER]);
    let mut manager = Manager::builder().sim(&sim).resolver(options).build(()).expect("a manager");
    let told = Rc::new(RefCell::new(None));
    let (log, world) = (told.clone(), sim.clone());
    let found = move |_: &mut vansire::LookupCtx<'_, ()>, result: Result<Vec<IpAddr>>| {
        *log.borrow_mut() = Some((result.expect("the truth"), world.elapsed()));
    };
    manager.net().resolve("h1.lan", found).expect("begun");
    // Whoever sends for another has a socket of the same address for as long.
    let others: RefCell<Vec<(SocketAddr, Rc<SimUdp>)>> = RefCell::default();
    let serve = || {
        while let Some((from, bytes)) = server.take() {
            let query = Message::decode(&bytes).expect("a query");
            let answer = truth(&query).encode().expect("a message");
            let udp = server.clone();
            sim.after(ms(100), move |_| udp.send_to(&answer, from));
            if query.questions[0].rtype != Type::A {
                continue;
            }
            for (source, wait, bytes) in attack(&query) {
                let mut others = others.borrow_mut();
                let known = others.iter().find(|(addr, _)| *addr == source).map(|(_, udp)| udp.clone());
                let udp = if source == SERVER { Some(server.clone()) } else { known };
                let udp = udp.unwrap_or_else(|| {
                    let udp = Rc::new(sim.udp(source).expect("a socket"));
                    others.push((source, udp.clone()));
                    udp
                });
                sim.after(ms(wait), move |_| udp.send_to(&bytes, from));
            }
        }
        sim.elapsed() > ms(6000)
    };
    sim.after(ms(6001), |_| {});
    sim.run(&mut [&mut manager], serve, FOREVER).expect("an end");
    let (addrs, at) = told.take().expect("told");
    (addrs, at, manager.stats())
}

#[test]
fn d11_d12_each_attacker_changes_a_counter_and_nothing_else() {
    let (addrs, at, quiet) = told_beside(|_| Vec::new());
    assert_eq!((addrs.len(), quiet.dns_strays), (1, 0));
    let forged = |query: &Message, edit: &dyn Fn(&mut Message)| {
        let mut message = truth(query);
        message.answers = vec![Record::new(query.questions[0].name.clone(), 600, Data::A(FORGED.into()))];
        edit(&mut message);
        message.encode().expect("a message")
    };
    let other = |ip: [u8; 4], port: u16| SocketAddr::from((ip, port));
    /// The forgery, when it is sent, and whether it is heard at all.
    type Attack<'a> = (&'a str, SocketAddr, u64, bool, Box<dyn Fn(&Message) -> Vec<u8> + 'a>);
    let table: [Attack<'_>; 14] = [
        ("a wrong source", other([10, 0, 0, 66], 53), 10, false, Box::new(|q| forged(q, &|_| {}))),
        ("a wrong port of the source", other([10, 0, 0, 53], 54), 10, false, Box::new(|q| forged(q, &|_| {}))),
        ("a wrong id", SERVER, 10, true, Box::new(|q| forged(q, &|m| m.id ^= 1))),
        (
            "a wrong question",
            SERVER,
            10,
            true,
            Box::new(|q| forged(q, &|m| m.questions[0].name = "h9.lan".parse().expect("a name"))),
        ),
        ("a wrong type", SERVER, 10, true, Box::new(|q| forged(q, &|m| m.questions[0].rtype = Type::AAAA))),
        ("no question", SERVER, 10, true, Box::new(|q| forged(q, &|m| m.questions.clear()))),
        ("a question", SERVER, 10, true, Box::new(|q| forged(q, &|m| m.flags = Flags(0)))),
        ("late", SERVER, 5000, false, Box::new(|q| forged(q, &|_| {}))),
        ("duplicated", SERVER, 101, false, Box::new(|q| truth(q).encode().expect("a message"))),
        (
            "truncated",
            SERVER,
            10,
            true,
            Box::new(|q| {
                let bytes = forged(q, &|_| {});
                bytes[..bytes.len() - 1].to_vec()
            }),
        ),
        (
            "a name that leads to itself",
            SERVER,
            10,
            true,
            Box::new(|q| {
                let mut bytes = forged(q, &|m| m.answers.clear());
                bytes[7] = 1;
                let end = bytes.len() as u8;
                bytes.extend([0xc0, end, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 6, 6, 6, 6]);
                bytes
            }),
        ),
        (
            "a compression bomb",
            SERVER,
            10,
            true,
            Box::new(|q| {
                let mut bytes = forged(q, &|m| m.answers.clear());
                bytes[7] = 100;
                for _ in 0..100 {
                    // Each owner is a label before all of the owner before it.
                    let last = bytes.len() as u16 - if bytes.len() < 60 { 0 } else { 80 };
                    bytes.push(63);
                    bytes.extend([b'a'; 63]);
                    bytes.extend((0xc000 | last.max(12)).to_be_bytes());
                    bytes.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 6, 6, 6, 6]);
                }
                bytes
            }),
        ),
        (
            "64 KiB",
            SERVER,
            10,
            true,
            Box::new(|q| {
                let mut bytes = forged(q, &|_| {});
                bytes.resize(65_507, 0);
                bytes
            }),
        ),
        ("noise", SERVER, 10, true, Box::new(|_| vec![0xc0; 300])),
    ];
    for (row, source, wait, is_heard, forge) in table {
        let (told, when, stats) = told_beside(|query| vec![(source, wait, forge(query))]);
        assert_eq!((&told, when), (&addrs, at), "{row}");
        assert_eq!(stats.dns_strays, u64::from(is_heard), "{row}");
        let same = |stats: &vansire::Stats| (stats.dns_queries, stats.dns_answers, stats.dns_cached, stats.closed);
        assert_eq!(same(&stats), same(&quiet), "{row}");
    }
    // The table can fail: without a mistake the forger is believed.
    let (told, ..) = told_beside(|query| vec![(SERVER, 10, forged(query, &|_| {}))]);
    assert_eq!(told, [IpAddr::from(FORGED)]);
}

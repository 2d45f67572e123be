//! Outbound connections: names with several addresses, of which some answer.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use vansire::sim::{Faults, Rng, Route, Sim, SimListener, SimSocket};
use vansire::{CloseReason, ConnId, ConnectOptions, Ctx, Deadline, Event, Limits, Manager};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};
use crate::life::Lives;

#[test]
fn connects_reach_an_address_that_answers() {
    for_each_seed("connects", |sim, rng| play(sim, rng, false));
}

/// The proof that the scenario can fail: an address that never answers is expected to.
#[test]
fn connect_scenario_notices_a_wrong_expectation() {
    assert!(some_seed_fails(|sim, rng| play(sim, rng, true)));
}

/// What an address does with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Answers,
    Refuses,
    Silent,
    Unreachable,
}

/// One call of `connect`.
struct Call {
    lives: Lives,
    sim: Sim,
    /// In the order in which they are to be tried.
    addrs: Vec<(IpAddr, Fate)>,
    literal: bool,
    known: bool,
    started: Duration,
    timeout: Duration,
    /// The test closes it then, if it is not over.
    cancel: Option<Duration>,
    hello: Vec<u8>,
    resolved: Cell<bool>,
    connected: Cell<Option<Duration>>,
    closed: RefCell<Option<(Duration, CloseReason)>>,
}

const PORT: u16 = 7;

fn play(sim: &Sim, rng: &mut Rng, wrong: bool) -> Outcome {
    let faults = faults(rng);
    sim.set_faults(faults.clone());
    let lives = Lives::default();
    let mut manager = Manager::builder().limits(limits(rng)).sim(sim).build(()).map_err(|e| e.to_string())?;
    let addrs = addresses(rng);
    let listeners: Vec<SimListener> = addrs
        .iter()
        .filter(|(_, fate)| *fate == Fate::Answers)
        .map(|(ip, _)| sim.listen((*ip, PORT)).unwrap())
        .collect();
    for (ip, fate) in &addrs {
        match fate {
            Fate::Answers => {}
            Fate::Refuses if rng.chance(0.5) => {}
            Fate::Refuses => sim.set_route(*ip, Route::Refuse),
            Fate::Silent => sim.set_route(*ip, Route::Blackhole),
            Fate::Unreachable => sim.set_route(*ip, Route::Unreachable),
        }
    }
    let calls: Vec<Rc<Call>> = (0..1 + rng.below(4)).map(|n| call(sim, rng, &mut manager, &addrs, &lives, n)).collect();
    // The other side takes what comes, and keeps it until the end.
    let accepted: RefCell<Vec<(SimSocket, Vec<u8>)>> = RefCell::default();
    let is_over = || {
        let mut accepted = accepted.borrow_mut();
        accepted.extend(listeners.iter().filter_map(SimListener::accept).map(|socket| (socket, Vec::new())));
        for (socket, got) in accepted.iter_mut() {
            got.extend(socket.take());
        }
        lives.open() == 0 && calls.iter().all(|call| call.closed.borrow().is_some())
    };
    sim.run(&mut [&mut manager], is_over, FOREVER).map_err(|e| e.to_string())?;
    lives.check()?;
    for call in &calls {
        call.check(&faults, wrong).map_err(|what| format!("{what}\n{call:?}"))?;
    }
    if manager.net().connection_count() != 0 {
        return Err(format!("{} connections are left", manager.net().connection_count()));
    }
    // Every attempt that reached the other side has ended there too; a request may still be on its way.
    sim.run_for(&mut [&mut manager], Duration::from_secs(300)).map_err(|e| e.to_string())?;
    let mut accepted = accepted.into_inner();
    for (socket, got) in &mut accepted {
        got.extend(socket.take());
        if !socket.is_over() {
            return Err(format!("a connection from {} is left open", socket.local_addr()));
        }
    }
    for call in calls.iter().filter(|call| call.connected.get().is_some()) {
        let told = accepted.iter().any(|(_, got)| *got == call.hello);
        let cut = faults.reset > 0.0 || call.cancel.is_some();
        if !told && !cut {
            return Err(format!("what was sent before Connected did not arrive: {call:?}"));
        }
    }
    drop((accepted, listeners));
    let nothing_left = || sim.open_sockets() == 0;
    sim.run(&mut [&mut manager], nothing_left, Duration::from_secs(600))
        .map_err(|e| format!("{} sockets are left: {e}", sim.open_sockets()))
}

/// No fault here may delay an attempt by more than is reckoned with.
fn faults(rng: &mut Rng) -> Faults {
    let mut faults = Faults::none();
    if rng.chance(0.7) {
        faults = faults.spurious(0.2).shuffle(0.3).interrupted(0.1).latency(Duration::ZERO..LATENCY);
    }
    if rng.chance(0.3) {
        faults = faults.lookup(Duration::ZERO..Duration::from_secs(8));
    }
    if rng.chance(0.2) {
        faults = faults.reset(0.1);
    }
    faults
}

const LATENCY: Duration = Duration::from_millis(20);

fn limits(rng: &mut Rng) -> Limits {
    if rng.chance(0.5) { Limits::new() } else { Limits::new().resolve_timeout(up_to(rng, 9000)) }
}

/// Up to eight addresses of both families, each once.
fn addresses(rng: &mut Rng) -> Vec<(IpAddr, Fate)> {
    (0..1 + rng.below(8) as u8)
        .map(|n| {
            let ip = if rng.chance(0.5) { IpAddr::from([10, 0, 0, n + 1]) } else { v6(n) };
            (ip, *rng.pick(&[Fate::Answers, Fate::Refuses, Fate::Silent, Fate::Unreachable]))
        })
        .collect()
}

fn v6(n: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(n) + 1).into()
}

fn call(
    sim: &Sim,
    rng: &mut Rng,
    manager: &mut Manager,
    addrs: &[(IpAddr, Fate)],
    lives: &Lives,
    n: usize,
) -> Rc<Call> {
    let literal = rng.chance(0.3);
    let known = literal || rng.chance(0.9);
    let mut tried = addrs.to_vec();
    let host = if literal {
        tried = vec![*rng.pick(addrs)];
        match tried[0].0 {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }
    } else {
        rng.shuffle(&mut tried);
        let name = format!("host-{n}.lan");
        if known {
            sim.host(&name, &tried.iter().map(|(ip, _)| *ip).collect::<Vec<_>>());
        }
        name
    };
    // RFC 8305 §4: both families in turn, IPv6 first.
    let (v6, v4): (Vec<_>, Vec<_>) = tried.into_iter().partition(|(ip, _)| ip.is_ipv6());
    let mut ordered = Vec::new();
    for n in 0..v6.len().max(v4.len()) {
        ordered.extend(v6.get(n));
        ordered.extend(v4.get(n));
    }
    let timeout = if rng.chance(0.5) { Duration::from_secs(10) } else { up_to(rng, 4000) };
    let cancel = rng.chance(0.2).then(|| up_to(rng, 3000));
    let call = Rc::new(Call {
        lives: lives.clone(),
        sim: sim.clone(),
        addrs: ordered,
        literal,
        known,
        started: sim.elapsed(),
        timeout,
        cancel,
        hello: format!("hello {n} {}", rng.next_u64()).into_bytes(),
        resolved: Cell::new(false),
        connected: Cell::new(None),
        closed: RefCell::new(None),
    });
    let at = call.clone();
    let options = ConnectOptions::new(format!("tcp://{host}:{PORT}")).timeout(timeout);
    let id = manager.net().connect(options, move |cx: &mut Ctx<'_, ()>, event: Event<'_>| at.told(cx, &event)).unwrap();
    if let Some(after) = cancel {
        manager.net().timer_after(after, move |cx| cx.net.close(id));
    }
    call
}

impl Call {
    fn told(&self, cx: &mut Ctx<'_, ()>, event: &Event<'_>) {
        self.lives.see(cx, event);
        match event {
            Event::Opened if !cx.send(&self.hello).is_queued() => {
                self.lives.complain("no send before Connected".into())
            }
            Event::Resolved(ip) => {
                if self.resolved.replace(true) || Some(ip) != self.addrs.first().map(|(ip, _)| ip) {
                    self.lives.complain(format!("resolved to {ip}"));
                }
            }
            Event::Connected => {
                self.connected.set(Some(self.sim.elapsed()));
                let answers = |addr: SocketAddr| self.addrs.contains(&(addr.ip(), Fate::Answers));
                if !cx.remote_addr().is_some_and(answers) {
                    self.lives.complain(format!("connected to {:?}", cx.remote_addr()));
                }
                cx.drain();
            }
            Event::Closed(reason) => *self.closed.borrow_mut() = Some((self.sim.elapsed(), reason.clone())),
            _ => {}
        }
    }

    /// What must have come of it.
    fn check(&self, faults: &Faults, wrong: bool) -> Outcome {
        let closed = self.closed.borrow();
        let Some((at, reason)) = &*closed else { return Err("it never closed".into()) };
        let took = *at - self.started;
        let cut = faults.reset > 0.0;
        if let Some(connected) = self.connected.get() {
            let fits = match reason {
                CloseReason::Local => true,
                CloseReason::Reset(_) => cut,
                _ => false,
            };
            let took = connected - self.started;
            return if !fits || took > self.timeout {
                Err(format!("connected, and closed with {reason:?}"))
            } else {
                Ok(())
            };
        }
        let fits = match reason {
            CloseReason::Connect(e) if e.is_resolve() => !self.literal,
            CloseReason::Connect(e) => e.is_connect() || e.is_timed_out(),
            // To the nanosecond: nothing here takes time but waiting.
            CloseReason::TimedOut(Deadline::Connect) => took == self.timeout,
            CloseReason::Local => self.cancel == Some(took),
            _ => false,
        };
        if !fits {
            return Err(format!("closed with {reason:?} after {took:?}"));
        }
        if took > self.timeout {
            return Err(format!("closed {took:?} after it began"));
        }
        if matches!(reason, CloseReason::Connect(e) if e.is_resolve()) {
            return if self.known && faults.lookup.is_empty() {
                Err("a known name was not found".into())
            } else {
                Ok(())
            };
        }
        // An attempt begins 250 ms after the one before at the latest, and needs two ways.
        let fate = if wrong { Fate::Silent } else { Fate::Answers };
        let answers = self.addrs.iter().position(|(_, other)| *other == fate);
        let needs = |position: usize| faults.lookup.end + STAGGER * position as u32 + 2 * LATENCY;
        match answers.filter(|position| self.known && needs(*position) < took) {
            Some(position) if !cut => Err(format!("address {position} answers and was not waited for: {reason:?}")),
            _ => Ok(()),
        }
    }
}

const STAGGER: Duration = Duration::from_millis(250);

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call")
            .field("addrs", &self.addrs)
            .field("known", &self.known)
            .field("timeout", &self.timeout)
            .field("cancel", &self.cancel)
            .field("connected", &self.connected)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

/// A server behind a partition is reached when the partition is over, and what was on its way goes on.
#[test]
fn a_partition_delays_and_loses_nothing() {
    for_each_seed("a_partition", |sim, rng| {
        let here = Ipv4Addr::new(10, 0, 0, 1);
        let there = Ipv4Addr::new(10, 0, 0, 2);
        let server = sim.listen((there, PORT)).unwrap();
        let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
        let got = Rc::new(RefCell::new(Vec::new()));
        let log = got.clone();
        let options = ConnectOptions::new(format!("tcp://{there}:{PORT}")).local_addr((here, 0));
        let id: ConnId = manager
            .net()
            .connect(options, move |_: &mut Ctx<'_, ()>, event: Event<'_>| {
                if let Event::Data(data) = event {
                    log.borrow_mut().extend_from_slice(&data);
                }
            })
            .map_err(|e| e.to_string())?;
        let mut peer = None;
        sim.run(
            &mut [&mut manager],
            || {
                peer = peer.take().or_else(|| server.accept());
                peer.is_some()
            },
            FOREVER,
        )
        .map_err(|e| e.to_string())?;
        let peer = peer.ok_or("not accepted")?;
        sim.partition(here, there, Duration::from_secs(1) + up_to(rng, 5000));
        peer.send(b"one ");
        manager.net().send(id, b"question");
        let until = up_to(rng, 800);
        sim.run_for(&mut [&mut manager], until).map_err(|e| e.to_string())?;
        if !got.borrow().is_empty() || peer.arrived() > 0 {
            return Err("something came through the partition".into());
        }
        if rng.chance(0.5) {
            sim.heal(here, there);
        }
        peer.send(b"two");
        sim.run(&mut [&mut manager], || got.borrow().len() == 7 && peer.arrived() == 8, FOREVER)
            .map_err(|e| e.to_string())?;
        if *got.borrow() != b"one two" { Err("another order".into()) } else { Ok(()) }
    });
}

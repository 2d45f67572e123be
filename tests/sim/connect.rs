//! Outbound connections: names and literal addresses, of which some answer, some refuse and some say nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use vansire::sim::{Faults, Rng, Route, Sim, SimListener, SimSocket};
use vansire::{CloseReason, ConnId, ConnectOptions, Ctx, Deadline, Event, Limits, Manager, Net};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};
use vansire::world::Lives;

#[test]
fn connect_succeeds_iff_an_address_answers_in_time() {
    for_each_seed("connect_succeeds", |sim, rng| scenario(sim, rng, false));
}

/// The proof that the scenario can fail: it takes addresses that refuse for some that answer.
#[test]
fn connect_scenario_notices_a_wrong_outcome() {
    assert!(some_seed_fails(|sim, rng| scenario(sim, rng, true)));
}

/// Addresses of each kind: 10.KIND.0.N, and fd00:KIND::N.
const KINDS: [Kind; 4] = [Kind::Answers, Kind::Refuses, Kind::Silent, Kind::Unreachable];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Answers = 1,
    Refuses,
    Silent,
    Unreachable,
}

const PORT: u16 = 7;
const PER_KIND: u16 = 3;
const MS: Duration = Duration::from_millis(1);
/// What the network and the calls may add to any of the times.
const SLACK: Duration = Duration::from_millis(500);

struct Stage {
    sim: Sim,
    lives: Lives,
    rng: RefCell<Rng>,
    calls: RefCell<Vec<Call>>,
    listeners: Vec<SimListener>,
    accepted: RefCell<Vec<(Option<SimSocket>, Vec<u8>)>>,
    over: Cell<bool>,
}

/// One connect.
#[derive(Default)]
struct Call {
    begun: Duration,
    timeout: Duration,
    addrs: Vec<IpAddr>,
    /// What must come of it, where that is certain.
    connects: Option<bool>,
    /// What the peer must get.
    sent: Vec<u8>,
    resolved: bool,
    connected: bool,
    close_called: bool,
    closed: Option<CloseReason>,
}

fn scenario(sim: &Sim, rng: &mut Rng, wrong: bool) -> Outcome {
    let mut faults = if rng.chance(0.3) { Faults::none() } else { Faults::benign(rng) };
    let slowest = *rng.pick(&[MS, 200 * MS, 2000 * MS, 8000 * MS]);
    let lookup = slowest / 2..slowest;
    faults.lookup = lookup.clone();
    sim.set_faults(faults);
    let mut listeners = Vec::new();
    for kind in KINDS {
        for ip in addrs_of(kind) {
            match kind {
                Kind::Answers => listeners.push(sim.listen((ip, PORT)).map_err(|e| e.to_string())?),
                // Nobody listens there.
                Kind::Refuses => {}
                Kind::Silent => sim.set_route(ip, Route::Blackhole),
                Kind::Unreachable => sim.set_route(ip, Route::Unreachable),
            }
        }
    }
    let day = Duration::from_secs(86_400);
    let limits = Limits::new().drain_timeout(day);
    let mut manager = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let stage = Rc::new(Stage {
        sim: sim.clone(),
        lives: Lives::default(),
        rng: RefCell::new(rng.fork()),
        calls: RefCell::default(),
        listeners,
        accepted: RefCell::default(),
        over: Cell::new(false),
    });
    stage.clone().accept_later();
    let count = 1 + rng.below(6);
    for n in 0..count {
        let (at, lookup) = (stage.clone(), lookup.clone());
        manager.net().timer_after(up_to(rng, 500), move |cx| {
            let (url, call) = at.plan(n, &lookup, wrong);
            at.start(&mut cx.net, &url, call);
        });
    }
    let is_over = || {
        let calls = stage.calls.borrow();
        calls.len() == count && calls.iter().all(|call| call.closed.is_some())
    };
    sim.run(&mut [&mut manager], is_over, FOREVER).map_err(|e| e.to_string())?;
    stage.lives.check_all_over()?;
    let stats = manager.stats();
    let connected = stage.calls.borrow().iter().filter(|call| call.connected).count();
    if manager.net().connection_count() != 0 || stats.opened != stats.closed || stats.connected != connected as u64 {
        return Err(format!("{connected} were connected, {} are left: {stats:?}", manager.net().connection_count()));
    }
    let all_ended = || stage.accepted.borrow().iter().all(|(socket, _)| socket.is_none());
    sim.run(&mut [&mut manager], all_ended, FOREVER).map_err(|e| e.to_string())?;
    stage.over.set(true);
    match sim.run(&mut [&mut manager], || false, FOREVER) {
        Err(failure) if failure.is_stuck() => {}
        other => return Err(format!("something is left to happen: {other:?}")),
    }
    let (open, expected) = (sim.open_sockets(), stage.listeners.len());
    if open != expected {
        return Err(format!("{} sockets are left over from attempts", open - expected));
    }
    stage.check()
}

fn addrs_of(kind: Kind) -> Vec<IpAddr> {
    let v4 = (1..=PER_KIND).map(|n| IpAddr::from([10, kind as u8, 0, n as u8]));
    let v6 = (1..=PER_KIND).map(|n| IpAddr::from([0xfd00, kind as u16, 0, 0, 0, 0, 0, n]));
    v4.chain(v6).collect()
}

fn kind_of(ip: IpAddr) -> Kind {
    let number = match ip {
        IpAddr::V4(ip) => ip.octets()[1].into(),
        IpAddr::V6(ip) => ip.segments()[1],
    };
    KINDS.into_iter().find(|kind| *kind as u16 == number).unwrap_or(Kind::Refuses)
}

impl Stage {
    /// Chooses where to connect to, and says what must come of it.
    fn plan(&self, n: usize, lookup: &std::ops::Range<Duration>, wrong: bool) -> (String, Call) {
        let rng = &mut *self.rng.borrow_mut();
        let timeout = MS * *rng.pick(&[300, 1000, 3000, 10_000, 30_000]);
        let by_name = rng.chance(0.7);
        let unknown = by_name && rng.chance(0.1);
        // Half of the names have no address that answers.
        let kinds = if rng.chance(0.5) { &KINDS[..] } else { &KINDS[1..] };
        let mut addrs = Vec::new();
        for _ in 0..if by_name { rng.below(6) } else { 1 } {
            let kind = *rng.pick(kinds);
            let ip = *rng.pick(&addrs_of(kind));
            if !addrs.contains(&ip) {
                addrs.push(ip);
            }
        }
        let url = if by_name {
            let name = format!("host{n}.sim");
            if !unknown {
                self.sim.host(&name, &addrs);
            }
            format!("tcp://{name}:{PORT}")
        } else {
            format!("tcp://{}", SocketAddr::new(addrs[0], PORT))
        };
        let (fast, slow) = if by_name { (lookup.start, lookup.end) } else { Default::default() };
        let answers = |ip: &IpAddr| kind_of(*ip) == Kind::Answers || (wrong && kind_of(*ip) == Kind::Refuses);
        let limit = timeout.min(if by_name { Limits::new().resolve_timeout } else { timeout });
        // RFC 8305 §5: an address has 250 ms before the next one is tried as well.
        let last_begins = slow + 250 * MS * (addrs.len().max(1) as u32 - 1);
        let connects = if unknown || !addrs.iter().any(answers) || fast >= limit {
            Some(false)
        } else if last_begins + SLACK <= timeout && slow + SLACK <= limit {
            Some(true)
        } else {
            None
        };
        (url, Call { begun: self.sim.elapsed(), timeout, addrs, connects, ..Call::default() })
    }

    fn start(self: &Rc<Self>, net: &mut Net<'_, ()>, url: &str, mut call: Call) {
        let n = self.calls.borrow().len();
        // The peer learns from the first byte whom it is talking to.
        let mut first = vec![n as u8];
        let len = self.rng.borrow_mut().below(3000);
        first.extend(self.rng.borrow_mut().bytes(len));
        let at = self.clone();
        let options = ConnectOptions::new(url).timeout(call.timeout);
        let close_at = {
            let rng = &mut *self.rng.borrow_mut();
            rng.chance(0.3).then(|| up_to(rng, call.timeout.as_millis() as u64 + 500))
        };
        match net.connect(options, move |cx: &mut Ctx<'_, ()>, event: Event<'_>| at.told(n, cx, event)) {
            Ok(id) => {
                if !net.send(id, &first).is_queued() {
                    self.lives.complain(format!("{n}: the bytes cannot wait for the connection"));
                }
                call.sent = first;
                self.close_later(net, n, id, close_at);
            }
            Err(e) => self.lives.complain(format!("{url}: {e}")),
        }
        self.calls.borrow_mut().push(call);
    }

    fn close_later(self: &Rc<Self>, net: &mut Net<'_, ()>, n: usize, id: ConnId, after: Option<Duration>) {
        let Some(after) = after else { return };
        let at = self.clone();
        net.timer_after(after, move |cx| {
            at.calls.borrow_mut()[n].close_called = true;
            cx.net.close(id);
        });
    }

    /// The handler of a connection.
    fn told(&self, n: usize, cx: &mut Ctx<'_, ()>, event: Event<'_>) {
        self.lives.see(cx, &event);
        let call = &mut self.calls.borrow_mut()[n];
        let took = self.sim.elapsed() - call.begun;
        let complain = |what: String| self.lives.complain(format!("connect {n}: {what} after {took:?}"));
        let late = took > call.timeout + SLACK;
        match event {
            Event::Resolved(ip) => {
                if call.resolved || call.connected || call.close_called || !call.addrs.contains(&ip) {
                    complain(format!("resolved to {ip}"));
                }
                call.resolved = true;
            }
            Event::Connected => {
                call.connected = true;
                let peer = cx.remote_addr().map(|addr| addr.ip());
                let right = peer.is_some_and(|ip| call.addrs.contains(&ip) && kind_of(ip) == Kind::Answers);
                if !right || !call.resolved || call.close_called || late || call.connects == Some(false) {
                    complain(format!("connected to {peer:?}"));
                }
                let len = self.rng.borrow_mut().below(3000);
                let more = self.rng.borrow_mut().bytes(len);
                if cx.send(&more).is_queued() {
                    call.sent.extend(more);
                }
                cx.drain();
            }
            Event::Closed(reason) => {
                let fits = match &reason {
                    CloseReason::Local => call.connected || call.close_called,
                    CloseReason::Connect(_) => !call.connected,
                    CloseReason::TimedOut(Deadline::Connect) => !call.connected && took >= call.timeout,
                    _ => false,
                };
                let gave_up = !call.connected && !call.close_called;
                if !fits || (gave_up && (late || call.connects == Some(true))) {
                    complain(format!("closed with {reason:?}"));
                }
                call.closed = Some(reason);
            }
            Event::Opened => {}
            other => complain(format!("told of {}", other.name())),
        }
    }

    /// The peers: they accept, and read whatever comes.
    fn accept_later(self: Rc<Self>) {
        let wait = up_to(&mut self.rng.borrow_mut(), 40);
        self.sim.clone().after(wait, move |_| {
            let accepted = &mut *self.accepted.borrow_mut();
            for listener in &self.listeners {
                accepted.extend(std::iter::from_fn(|| listener.accept()).map(|socket| (Some(socket), Vec::new())));
            }
            for (socket, got) in accepted {
                got.extend(socket.iter().flat_map(|socket| socket.take()));
                socket.take_if(|socket| socket.is_over() && socket.arrived() == 0);
            }
            if !self.over.get() {
                self.clone().accept_later();
            }
        });
    }

    /// What the peers got is what was sent, once; all of it where nobody closed before its time.
    fn check(&self) -> Outcome {
        let accepted = self.accepted.borrow();
        let mut by_call: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for (_, got) in accepted.iter() {
            if let Some(n) = got.first() {
                by_call.entry((*n).into()).or_default().push(got);
            }
        }
        for (n, call) in self.calls.borrow().iter().enumerate() {
            let got = by_call.remove(&n).unwrap_or_default();
            let whole = call.connected && !call.close_called;
            let right = match got[..] {
                [] => !whole,
                [got] => call.connected && call.sent.starts_with(got) && (!whole || got.len() == call.sent.len()),
                _ => false,
            };
            if !right {
                let lens: Vec<_> = got.iter().map(|got| got.len()).collect();
                return Err(format!("connect {n} sent {} bytes, and its peers got {lens:?}", call.sent.len()));
            }
        }
        Ok(())
    }
}

//! Bare bytes: an echo server that pauses, drains, closes, panics and changes its handler as it likes, and raw clients that
//! send, take, shut, reset and leave as they like.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use vansire::sim::{Faults, Rng, Sim, SimSocket};
use vansire::{CloseReason, ConnId, Ctx, Deadline, Event, Limits, Manager, Net, Sent};

use crate::harness::{FOREVER, Outcome, PLANNED, for_each_seed, random_faults, some_seed_fails, up_to};
use vansire::world::{Lives, Pace};

#[test]
fn raw_bytes_arrive_whole_and_in_order() {
    for_each_seed("raw_bytes", |sim, rng| {
        let faults = random_faults(sim, rng);
        echo(sim, rng, &faults)
    });
}

/// The proof that the scenario can fail: a network that forgets to tell of some readiness, as no real one does, hangs it.
#[test]
fn raw_scenario_notices_a_lost_wakeup() {
    assert!(some_seed_fails(|sim, rng| {
        let mut faults = Faults::benign(rng);
        faults.lose_edge = 0.05;
        sim.set_faults(faults.clone());
        echo(sim, rng, &faults)
    }));
}

/// The same for a model that is wrong: bytes that the client never sent are expected.
#[test]
fn raw_scenario_notices_a_wrong_byte() {
    assert!(some_seed_fails(|sim, rng| {
        let stage = Stage::new(rng, Limits::new(), &Faults::none());
        stage.wrong.set(true);
        play(sim, rng, &Faults::none(), stage)
    }));
}

/// What the server and the clients know of each other.
struct Stage {
    lives: Lives,
    rng: RefCell<Rng>,
    /// By the client's address.
    pairs: RefCell<BTreeMap<SocketAddr, Pair>>,
    limits: Limits,
    listener: Cell<Option<ConnId>>,
    /// The server is left to do strange things with this probability at each event.
    mischief: f64,
    panics: Cell<u64>,
    /// Bytes that it may send unasked.
    junk: usize,
    wrong: Cell<bool>,
}

/// One connection.
#[derive(Default)]
struct Pair {
    conn: Option<ConnId>,
    /// By the client.
    sent: Vec<u8>,
    /// Of it the server has used so much.
    used: usize,
    /// What the server has queued for the client, and how much of it the client got.
    echoed: Vec<u8>,
    got: usize,
    paused: bool,
    pauses: u32,
    high: bool,
    /// Others act on it: they cannot know whether its end has come.
    may_be_over: bool,
    /// Of the handler that is to be told.
    tag: u32,
    fate: Fate,
    /// The client has left in disorder.
    rough: bool,
}

/// What the server did with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Fate {
    #[default]
    Open,
    Drained,
    Closed,
    Panicked,
    /// The manager was dropped.
    Stopped,
}

impl Pair {
    /// The first decision counts.
    fn decide(&mut self, fate: Fate) {
        if self.fate == Fate::Open || (self.fate == Fate::Drained && fate != Fate::Drained) {
            self.fate = fate;
        }
        self.may_be_over = true;
    }
}

fn echo(sim: &Sim, rng: &mut Rng, faults: &Faults) -> Outcome {
    let limits = random_limits(rng);
    let stage = Stage::new(rng, limits, faults);
    play(sim, rng, faults, stage)
}

fn random_limits(rng: &mut Rng) -> Limits {
    // Deadlines have scenarios of their own; here a slow network is no reason to close.
    let day = Duration::from_secs(86_400);
    let limits = Limits::new().drain_timeout(day).linger_timeout(day);
    if rng.chance(0.5) {
        let high = 1 + rng.below(5000);
        let limits = limits.write_high(high).write_low(rng.below(high)).accepts_per_turn(1 + rng.below(3));
        limits.turn_bytes(1 + rng.below(2000))
    } else {
        limits
    }
}

fn play(sim: &Sim, rng: &mut Rng, faults: &Faults, stage: Rc<Stage>) -> Outcome {
    let mut server = Manager::builder().limits(stage.limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let panics = Rc::new(Cell::new(0));
    let told = panics.clone();
    server.on_panic(move |_, panic| {
        assert_eq!(panic.message(), PLANNED);
        told.set(told.get() + 1);
    });
    let unix = rng.chance(0.1);
    let url = if unix { "unix:/run/echo.sock" } else { "tcp://10.0.0.1:7" };
    let own_handlers = rng.chance(0.5);
    let listener = if own_handlers {
        let at = stage.clone();
        server.on_event(serve(stage.clone(), 0));
        server.net().listen_with(url, move || serve(at.clone(), 0))
    } else {
        server.net().listen(url, serve(stage.clone(), 0))
    };
    stage.listener.set(Some(listener.map_err(|e| e.to_string())?));

    let clients: Vec<Rc<Client>> = (0..if unix { 1 } else { 1 + rng.below(4) })
        .map(|_| {
            let socket =
                if unix { sim.connect_unix("/run/echo.sock").unwrap() } else { sim.connect(([10, 0, 0, 1], 7)) };
            Client::start(sim, rng, socket, stage.clone())
        })
        .collect();
    let all_done = || clients.iter().all(|client| client.is_done());
    let stop_early = rng.chance(0.15);
    if stop_early {
        let _ = sim.run_for(&mut [&mut server], up_to(rng, 500));
    } else {
        sim.run(&mut [&mut server], || all_done() && stage.lives.open() <= 1, FOREVER).map_err(|e| e.to_string())?;
        if server.net().connection_count() != 1 {
            return Err(format!("{} connections are left of 1", server.net().connection_count()));
        }
    }
    for pair in stage.pairs.borrow_mut().values_mut().filter(|_| stop_early) {
        pair.fate = Fate::Stopped;
    }
    drop(server);
    sim.run(&mut [], all_done, FOREVER).map_err(|e| e.to_string())?;
    stage.lives.check_all_over()?;
    if panics.get() != stage.panics.get() {
        return Err(format!("{} panics told of {}", panics.get(), stage.panics.get()));
    }
    for client in &clients {
        client.check(faults)?;
    }
    Ok(())
}

impl Stage {
    fn new(rng: &mut Rng, limits: Limits, faults: &Faults) -> Rc<Self> {
        Rc::new(Self {
            lives: Lives::default(),
            rng: RefCell::new(rng.fork()),
            pairs: RefCell::default(),
            limits,
            listener: Cell::new(None),
            mischief: if rng.chance(0.5) { 0.0 } else { 0.02 },
            panics: Cell::new(0),
            // A network that carries a byte at a time need not carry many.
            junk: if faults.buffer.is_empty() || faults.buffer.start > 100 { 100_000 } else { 500 },
            wrong: Cell::new(false),
        })
    }

    fn complain(&self, cx: &Ctx<'_, ()>, what: &str) {
        self.lives.complain(format!("{}: {what}", cx.conn));
    }

    fn chance(&self, probability: f64) -> bool {
        self.rng.borrow_mut().chance(probability)
    }

    fn with_pair<T>(&self, addr: SocketAddr, act: impl FnOnce(&mut Pair) -> T) -> T {
        act(self.pairs.borrow_mut().entry(addr).or_default())
    }

    /// Checks what came against what the client sent, and answers every whole frame.
    fn take(&self, cx: &mut Ctx<'_, ()>, addr: SocketAddr, tag: u32, bytes: &[u8]) -> usize {
        let wrong = self.with_pair(addr, |pair| {
            let expected = pair.sent.get(pair.used..pair.used + bytes.len());
            if expected != Some(bytes) {
                Some("bytes that the client did not send there")
            } else if pair.paused {
                Some("Data while paused")
            } else if pair.high {
                Some("Data above the high-water mark")
            } else if pair.tag != tag {
                Some("Data for the handler before")
            } else if pair.fate != Fate::Open {
                Some("Data after the end was decided")
            } else {
                None
            }
        });
        if let Some(wrong) = wrong {
            self.complain(cx, wrong);
        }
        let mut used = 0;
        while let Some(frame) =
            bytes.get(used..).filter(|rest| rest.first().is_some_and(|len| rest.len() > *len as usize))
        {
            let frame = &frame[..=frame[0] as usize];
            used += frame.len();
            self.queue(&mut cx.net, cx.conn, addr, frame);
        }
        self.with_pair(addr, |pair| pair.used += used);
        used
    }

    fn queue(&self, net: &mut Net<'_, ()>, conn: ConnId, addr: SocketAddr, bytes: &[u8]) {
        let shared = self.chance(0.2);
        let sent = if shared { net.send_shared(conn, Bytes::copy_from_slice(bytes)) } else { net.send(conn, bytes) };
        self.with_pair(addr, |pair| {
            if sent.is_queued() && pair.fate != Fate::Open {
                self.lives.complain(format!("{conn}: a send after {:?} answered {sent:?}", pair.fate));
            }
            if sent.is_queued() {
                pair.echoed.extend_from_slice(bytes);
                pair.high |= sent == Sent::High;
            } else if !pair.may_be_over {
                self.lives.complain(format!("{conn}: a send answered {sent:?}"));
            }
        });
    }

    /// Something that a handler or a timer might do, to its own connection or to another.
    fn mischief(self: &Rc<Self>, net: &mut Net<'_, ()>, own: Option<(ConnId, SocketAddr)>) {
        if !self.chance(self.mischief * 5.0) {
            return;
        }
        let of_another = own.is_none() || self.chance(0.3);
        let Some((conn, addr)) = (if of_another { self.any_open(net) } else { own }) else { return };
        let dice = self.rng.borrow_mut().below(13);
        match dice {
            0..=3 => self.pause(net, conn, addr),
            4..=6 => {
                let len = self.rng.borrow_mut().below(self.junk);
                let junk = self.rng.borrow_mut().bytes(len);
                self.with_pair(addr, |pair| pair.may_be_over |= of_another);
                self.queue(net, conn, addr, &junk);
            }
            7 | 8 => {
                let tag = self.with_pair(addr, |pair| {
                    pair.tag += 1;
                    pair.tag
                });
                net.set_handler(conn, serve(self.clone(), tag));
            }
            9 => {
                net.drain(conn);
                self.with_pair(addr, |pair| pair.decide(Fate::Drained));
            }
            10 => {
                net.close(conn);
                self.with_pair(addr, |pair| pair.decide(Fate::Closed));
            }
            11 => {
                // The listener has a rest.
                let Some(listener) = self.listener.get() else { return };
                net.pause_read(listener);
                let wait = up_to(&mut self.rng.borrow_mut(), 100);
                net.timer_after(wait, move |cx| cx.net.resume_read(listener));
            }
            _ => {
                let Some((_, addr)) = own else { return };
                self.with_pair(addr, |pair| pair.decide(Fate::Panicked));
                self.panics.set(self.panics.get() + 1);
                std::panic::panic_any(PLANNED);
            }
        }
    }

    fn any_open(&self, net: &Net<'_, ()>) -> Option<(ConnId, SocketAddr)> {
        let pairs = self.pairs.borrow();
        let open: Vec<(ConnId, SocketAddr)> = pairs
            .iter()
            .filter_map(|(addr, pair)| Some((pair.conn.filter(|conn| net.is_open(*conn))?, *addr)))
            .collect();
        if open.is_empty() { None } else { Some(*self.rng.borrow_mut().pick(&open)) }
    }

    fn pause(self: &Rc<Self>, net: &mut Net<'_, ()>, conn: ConnId, addr: SocketAddr) {
        net.pause_read(conn);
        let pauses = self.with_pair(addr, |pair| {
            pair.paused = true;
            pair.pauses += 1;
            pair.pauses
        });
        let stage = self.clone();
        let wait = up_to(&mut self.rng.borrow_mut(), 100);
        net.timer_after(wait, move |cx| {
            // Unless it was paused again meanwhile.
            if stage.with_pair(addr, |pair| pair.pauses == pauses) {
                stage.with_pair(addr, |pair| pair.paused = false);
                cx.net.resume_read(conn);
            }
            stage.mischief(&mut cx.net, None);
        });
    }

    fn check_reason(&self, cx: &Ctx<'_, ()>, addr: SocketAddr, reason: &CloseReason) {
        let fate = self.with_pair(addr, |pair| pair.fate);
        let fits = match reason {
            // What had been decided before stands.
            _ if fate == Fate::Stopped => true,
            CloseReason::Local => matches!(fate, Fate::Closed | Fate::Drained),
            CloseReason::HandlerPanicked => fate == Fate::Panicked,
            // The peer may be quicker than what was decided here.
            CloseReason::Peer | CloseReason::Reset(_) => fate != Fate::Panicked,
            CloseReason::TimedOut(Deadline::Drain) => fate == Fate::Drained,
            _ => false,
        };
        if !fits {
            self.complain(cx, &format!("closed with {reason:?} when {fate:?}"));
        }
    }
}

/// The handler, with the number that it was given.
fn serve(stage: Rc<Stage>, tag: u32) -> impl FnMut(&mut Ctx<'_, ()>, Event<'_>) + 'static {
    move |cx, event| {
        stage.lives.see(cx, &event);
        if stage.listener.get() == Some(cx.conn) {
            return;
        }
        let addr = cx.remote_addr().unwrap_or(UNIX);
        match event {
            Event::Accepted { listener } => {
                if Some(listener) != stage.listener.get() {
                    stage.complain(cx, "accepted by an unknown listener");
                }
                stage.with_pair(addr, |pair| pair.conn = Some(cx.conn));
                stage.mischief(&mut cx.net, Some((cx.conn, addr)));
            }
            Event::Data(data) => {
                let mut used = stage.take(cx, addr, tag, &data);
                if stage.wrong.get() {
                    used = used.saturating_sub(1);
                }
                data.consume(used);
                stage.mischief(&mut cx.net, Some((cx.conn, addr)));
            }
            Event::Drained => {
                if !stage.with_pair(addr, |pair| std::mem::replace(&mut pair.high, false)) {
                    stage.complain(cx, "Drained and was never High");
                }
                stage.mischief(&mut cx.net, Some((cx.conn, addr)));
            }
            Event::Closed(reason) => {
                stage.check_reason(cx, addr, &reason);
                if cx.send(b"too late").is_queued() {
                    stage.complain(cx, "a send in Closed was queued");
                }
            }
            _ => {}
        }
    }
}

/// What stands for the client of a Unix socket, which has no address.
const UNIX: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 1);

/// A client that acts at random times.
struct Client {
    addr: SocketAddr,
    stage: Rc<Stage>,
    rng: RefCell<Rng>,
    socket: RefCell<Option<SimSocket>>,
    to_send: RefCell<Vec<u8>>,
    roughness: f64,
    pace: Pace,
    error: Cell<Option<std::io::ErrorKind>>,
}

impl Client {
    fn start(sim: &Sim, rng: &mut Rng, socket: SimSocket, stage: Rc<Stage>) -> Rc<Self> {
        let addr = match socket.local_addr() {
            vansire::Address::Inet(addr) => addr,
            vansire::Address::Unix(_) => UNIX,
        };
        stage.with_pair(addr, |_| {});
        let mut payload = Vec::new();
        for _ in 0..rng.below(if stage.junk < 1000 { 8 } else { 60 }) {
            let len = rng.below(256);
            payload.push(len as u8);
            payload.extend(rng.bytes(len));
        }
        let client = Rc::new(Self {
            addr,
            stage,
            rng: RefCell::new(rng.fork()),
            socket: RefCell::new(Some(socket)),
            to_send: RefCell::new(payload),
            roughness: *rng.pick(&[0.0, 0.0, 0.01]),
            pace: Pace::pick(rng, &[0.05, 0.3, 1.0], &[0, 1, 20, 300]),
            error: Cell::new(None),
        });
        client.clone().act_later(sim);
        client
    }

    fn act_later(self: Rc<Self>, sim: &Sim) {
        let wait = self.pace.wait(&mut self.rng.borrow_mut());
        sim.after(wait, move |sim| {
            if self.act() {
                self.act_later(sim);
            }
        });
    }

    /// Does something. False when there is nothing left to do.
    fn act(&self) -> bool {
        let mut guard = self.socket.borrow_mut();
        let Some(socket) = guard.as_ref() else { return false };
        let rng = &mut *self.rng.borrow_mut();
        let mut to_send = self.to_send.borrow_mut();
        self.pace.acts(socket.arrived() > 0);
        if !to_send.is_empty() && rng.chance(0.7) {
            self.pace.is_busy();
            let n = 1 + rng.below(to_send.len());
            let piece: Vec<u8> = to_send.drain(..n).collect();
            socket.send(&piece);
            self.stage.with_pair(self.addr, |pair| pair.sent.extend(piece));
        } else if to_send.is_empty() && rng.chance(0.3) {
            socket.shutdown();
        }
        if let Some(max) = self.pace.takes(rng) {
            self.got(&socket.take_at_most(max));
        }
        if socket.is_over() {
            self.got(&socket.take());
            self.error.set(socket.error());
            *guard = None;
        } else if rng.chance(self.roughness) {
            self.stage.with_pair(self.addr, |pair| pair.rough = true);
            if rng.chance(0.5) {
                socket.reset();
            }
            *guard = None;
        }
        guard.is_some()
    }

    fn got(&self, bytes: &[u8]) {
        self.stage.with_pair(self.addr, |pair| {
            if pair.echoed.get(pair.got..pair.got + bytes.len()) != Some(bytes) {
                self.stage.lives.complain(format!("{}: other bytes than the server sent, at {}", self.addr, pair.got));
            }
            pair.got += bytes.len();
        });
    }

    fn is_done(&self) -> bool {
        self.socket.borrow().is_none()
    }

    /// What must have arrived, when all is over.
    fn check(&self, faults: &Faults) -> Outcome {
        let pairs = self.stage.pairs.borrow();
        let pair = &pairs[&self.addr];
        let cut_off = faults.reset > 0.0 || faults.accept_aborted > 0.0;
        let say = |what: &str| {
            let conn = pair.conn.map_or("(never accepted)".into(), |conn| conn.to_string());
            let counts =
                format!("sent {} used {} echoed {} got {}", pair.sent.len(), pair.used, pair.echoed.len(), pair.got);
            Err(format!("{conn} from {}: {what}: {:?}, {counts}, {:?}", self.addr, pair.fate, self.error.get()))
        };
        if pair.rough {
            return Ok(());
        }
        if let Some(error) = self.error.get() {
            // Only a server that gives up may leave its client with unread input.
            let gave_up = matches!(pair.fate, Fate::Closed | Fate::Panicked | Fate::Stopped);
            return if cut_off || gave_up { Ok(()) } else { say(&format!("cut off: {error}")) };
        }
        match pair.fate {
            Fate::Open if !cut_off && pair.used != pair.sent.len() => say("the server did not use all"),
            Fate::Open | Fate::Drained if pair.got != pair.echoed.len() => say("the client did not get all"),
            Fate::Open | Fate::Drained | Fate::Closed | Fate::Panicked | Fate::Stopped => Ok(()),
        }
    }
}

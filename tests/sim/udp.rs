//! Datagrams over a network that loses, doubles and delays them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use vansire::sim::{Faults, Rng, Sim, SimUdp};
use vansire::{CloseReason, ConnId, Ctx, Event, Limits, Manager, Sent};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};
use crate::life::Lives;

#[test]
fn udp_datagrams_are_answered_or_lost_and_never_changed() {
    for_each_seed("udp", |sim, rng| play(sim, rng, 0.0));
}

/// The proof that the scenario can fail: without faults nothing may be lost, and here something is.
#[test]
fn udp_scenario_notices_a_lost_wakeup() {
    assert!(some_seed_fails(|sim, rng| play(sim, rng, 0.05)));
}

struct Stage {
    /// Of the server's connections, and of the client's.
    lives: Lives,
    client_lives: Lives,
    /// Sent, by its number: who sent it, and how many answers came.
    sent: RefCell<BTreeMap<u32, Ask>>,
    received: Cell<u64>,
    full: Cell<u64>,
    /// Answers that were refused because the queue was full, until `Drained`.
    is_full: Cell<bool>,
}

struct Ask {
    from: SocketAddr,
    data: Vec<u8>,
    received: u32,
    answers: u32,
}

fn play(sim: &Sim, rng: &mut Rng, lose_edge: f64) -> Outcome {
    let mut faults = Faults::none();
    if rng.chance(0.7) {
        faults = Faults::benign(rng);
        if rng.chance(0.5) {
            faults = faults.datagram_lost(0.2).datagram_twice(0.2);
        }
    }
    faults.lose_edge = lose_edge;
    sim.set_faults(faults.clone());
    let limits = if rng.chance(0.5) { Limits::new() } else { Limits::new().datagrams_max(1 + rng.below(5)) };
    let limits = if rng.chance(0.5) { limits } else { limits.turn_messages(1 + rng.below(3)) };
    let mut server = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let stage = Rc::new(Stage {
        lives: Lives::default(),
        client_lives: Lives::default(),
        sent: RefCell::default(),
        received: Cell::new(0),
        full: Cell::new(0),
        is_full: Cell::new(false),
    });
    let at = stage.clone();
    server
        .net()
        .listen("udp://10.0.0.1:53", move |cx: &mut Ctx<'_, ()>, event: Event<'_>| at.serve(cx, &event))
        .map_err(|e| e.to_string())?;
    let mut client = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
    let at = stage.clone();
    let connected = client
        .net()
        .connect("udp://10.0.0.1:53", move |cx: &mut Ctx<'_, ()>, event: Event<'_>| at.asked(cx, &event))
        .map_err(|e| e.to_string())?;
    let raw: Vec<SimUdp> = (0..1 + rng.below(3) as u8).map(|n| sim.udp(([10, 0, 1, n], 0)).unwrap()).collect();

    let mut number = 0;
    for _ in 0..rng.below(30) {
        for _ in 0..1 + rng.below(4) {
            let len = if rng.chance(0.1) { rng.below(60_000) } else { rng.below(100) };
            let mut data = u32::to_be_bytes(number).to_vec();
            data.extend(rng.bytes(len));
            stage.send(&mut client, connected, &raw, rng, number, data);
            number += 1;
        }
        let wait = up_to(rng, 20);
        sim.run_for(&mut [&mut server, &mut client], wait).map_err(|e| e.to_string())?;
        raw.iter().for_each(|socket| stage.take(socket));
    }
    sim.run_for(&mut [&mut server, &mut client], Duration::from_secs(10)).map_err(|e| e.to_string())?;
    raw.iter().for_each(|socket| stage.take(socket));
    let stats = server.stats();
    stage.check(&faults, stats.datagrams_dropped)?;
    if stats.datagrams_in != stage.received.get() {
        return Err(format!("{} datagrams counted of {}", stats.datagrams_in, stage.received.get()));
    }
    drop((server, client));
    stage.client_lives.check_all_over()?;
    stage.lives.check_all_over()
}

impl Stage {
    fn send(&self, client: &mut Manager, conn: ConnId, raw: &[SimUdp], rng: &mut Rng, number: u32, data: Vec<u8>) {
        let from = if rng.chance(0.3) {
            // Before it is connected it has no address that is known here.
            let addr = client.net().local_addr(conn).and_then(|addr| Some(SocketAddr::new(addr.ip()?, addr.port()?)));
            let Some(addr) = addr else { return };
            if client.net().send(conn, &data) != Sent::Queued {
                return;
            }
            addr
        } else {
            let socket = rng.pick(raw);
            socket.send_to(&data, ([10, 0, 0, 1], 53));
            socket.local_addr()
        };
        self.sent.borrow_mut().insert(number, Ask { from, data, received: 0, answers: 0 });
    }

    /// The server echoes each datagram to who sent it.
    fn serve(&self, cx: &mut Ctx<'_, ()>, event: &Event<'_>) {
        self.lives.see(cx, event);
        match event {
            Event::Datagram { from, data } => {
                self.received.set(self.received.get() + 1);
                if let Err(what) = self.known(data, *from, |ask| ask.received += 1) {
                    self.lives.complain(format!("received {what}"));
                }
                match cx.send_to(*from, data) {
                    Sent::Queued => {}
                    Sent::High => self.is_full.set(true),
                    Sent::Full => {
                        self.full.set(self.full.get() + 1);
                        self.is_full.set(true);
                    }
                    other => self.lives.complain(format!("an answer answered {other:?}")),
                }
            }
            Event::Drained => {
                if !self.is_full.replace(false) {
                    self.lives.complain("Drained and was never full".into());
                }
            }
            _ => {}
        }
    }

    /// What the connected socket is told.
    fn asked(&self, cx: &mut Ctx<'_, ()>, event: &Event<'_>) {
        self.client_lives.see(cx, event);
        match event {
            Event::Datagram { from, data } => {
                let own = cx.net.local_addr(cx.conn).and_then(|addr| Some(SocketAddr::new(addr.ip()?, addr.port()?)));
                if *from != SocketAddr::from(([10, 0, 0, 1], 53)) {
                    self.client_lives.complain(format!("a datagram from {from} on a connected socket"));
                }
                self.answered(data, own);
            }
            Event::Closed(reason) if !matches!(reason, CloseReason::Stopped | CloseReason::Reset(_)) => {
                self.client_lives.complain(format!("the client closed: {reason}"));
            }
            _ => {}
        }
    }

    fn take(&self, socket: &SimUdp) {
        while let Some((_, data)) = socket.take() {
            self.answered(&data, Some(socket.local_addr()));
        }
    }

    fn answered(&self, data: &[u8], to: Option<SocketAddr>) {
        let known = to.ok_or("no address".into()).and_then(|to| self.known(data, to, |ask| ask.answers += 1));
        if let Err(what) = known {
            self.lives.complain(format!("answered {what}"));
        }
    }

    fn known(&self, data: &[u8], peer: SocketAddr, count: impl FnOnce(&mut Ask)) -> Outcome {
        let number = data.first_chunk().map(|number| u32::from_be_bytes(*number)).ok_or("a short datagram")?;
        match self.sent.borrow_mut().get_mut(&number) {
            Some(ask) if ask.data == data && ask.from == peer => {
                count(ask);
                Ok(())
            }
            Some(_) => Err(format!("number {number} otherwise than it was sent")),
            None => Err(format!("number {number}, which nobody sent")),
        }
    }

    fn check(&self, faults: &Faults, dropped: u64) -> Outcome {
        self.lives.check()?;
        if self.full.get() > dropped {
            return Err(format!("{dropped} drops counted of {}", self.full.get()));
        }
        for (number, ask) in &*self.sent.borrow() {
            let most = if faults.datagram_twice > 0.0 { 2 } else { 1 };
            if ask.received > most || ask.answers > most * ask.received {
                return Err(format!("number {number} received {} times, answered {}", ask.received, ask.answers));
            }
            let may_lack = faults.datagram_lost > 0.0;
            if !may_lack && ask.received == 0 {
                return Err(format!("number {number} was not received"));
            }
            if !may_lack && self.full.get() == 0 && ask.answers < ask.received {
                return Err(format!("number {number} was not answered"));
            }
        }
        Ok(())
    }
}

/// RFC 1122 §4.1.3.3: where nobody listens, a connected socket is told so and a bound one goes on.
#[test]
fn a_datagram_to_nobody_ends_a_connected_socket_only() {
    let sim = Sim::new(1);
    let mut manager = Manager::builder().sim(&sim).build(()).unwrap();
    let closed = Rc::new(RefCell::new(Vec::new()));
    let told = closed.clone();
    let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
        if let Event::Closed(reason) = event {
            told.borrow_mut().push((cx.conn, format!("{reason:?}")));
        }
    };
    let bound = manager.net().listen("udp://10.0.0.1:1", handler.clone()).unwrap();
    let connected = manager.net().connect("udp://10.0.0.2:1", handler).unwrap();
    assert!(manager.net().send_to(bound, ([10, 0, 0, 2], 1).into(), b"x").is_queued());
    assert!(manager.net().send(connected, b"x").is_queued());
    sim.run(&mut [&mut manager], || !closed.borrow().is_empty(), FOREVER).unwrap();
    assert_eq!(*closed.borrow(), [(connected, "Reset(ConnectionRefused)".into())]);
    sim.run_for(&mut [&mut manager], Duration::from_secs(1)).unwrap();
    assert!(manager.net().is_open(bound));
}

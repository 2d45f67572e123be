//! Datagrams: an echo server and its clients on a network that loses, doubles and reorders them, and a bounded queue.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use vansire::sim::{Faults, Rng, Sim, SimUdp};
use vansire::{Ctx, Event, Limits, Manager, Sent};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};
use vansire::world::Lives;

#[test]
fn datagrams_come_from_the_right_peer_and_the_queue_is_bounded() {
    for_each_seed("datagrams", |sim, rng| scenario(sim, rng, false));
}

#[test]
fn a_connected_socket_gets_every_answer() {
    for_each_seed("a_connected_socket", |sim, rng| {
        sim.set_faults(Faults::benign(rng));
        let peer = sim.udp(SERVER).map_err(|e| e.to_string())?;
        let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
        let answers = Rc::new(RefCell::new(Vec::new()));
        let lives = Lives::default();
        let (log, at) = (answers.clone(), lives.clone());
        let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
            at.see(cx, &event);
            match event {
                Event::Datagram { from: SERVER, data } => log.borrow_mut().push(data.to_vec()),
                Event::Datagram { from, .. } => at.complain(format!("a datagram from {from}")),
                Event::Closed(vansire::CloseReason::Stopped) => {}
                Event::Closed(reason) => at.complain(format!("closed with {reason:?}")),
                _ => {}
            }
        };
        let id = manager.net().connect(format!("udp://{SERVER}").as_str(), handler).map_err(|e| e.to_string())?;
        let stranger = sim.udp(([10, 9, 9, 9], 9)).map_err(|e| e.to_string())?;
        let mut asked = Vec::new();
        for n in 0..1 + rng.below(40) as u8 {
            if !manager.net().send(id, &[n]).is_queued() {
                return Err(format!("question {n} was not queued"));
            }
            asked.push(vec![n]);
            let wait = up_to(rng, 10);
            sim.run_for(&mut [&mut manager], wait).map_err(|e| e.to_string())?;
            while let Some((from, data)) = peer.take() {
                stranger.send_to(b"forged", from);
                peer.send_to(&data, from);
            }
        }
        let mut is_answered = || {
            while let Some((from, data)) = peer.take() {
                peer.send_to(&data, from);
            }
            answers.borrow().len() == asked.len()
        };
        sim.run(&mut [&mut manager], &mut is_answered, FOREVER).map_err(|e| e.to_string())?;
        drop(manager);
        lives.check_all_over()?;
        answers.borrow_mut().sort();
        if *answers.borrow() == asked { Ok(()) } else { Err(format!("{:?} answered of {asked:?}", answers.borrow())) }
    });
}

/// The proof that the scenario can fail: the network doubles datagrams, and the model does not know.
#[test]
fn datagram_scenario_notices_one_too_many() {
    assert!(some_seed_fails(|sim, rng| scenario(sim, rng, true)));
}

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 7);

/// A client, and what it sent.
type Datagram = (SocketAddr, Vec<u8>);

struct Stage {
    lives: Lives,
    rng: RefCell<Rng>,
    /// Datagrams that the clients sent, by sender.
    sent: RefCell<BTreeMap<SocketAddr, Vec<Vec<u8>>>>,
    /// How often each was queued as an echo, and how often it came back.
    echoed: RefCell<BTreeMap<Datagram, (u64, u64)>>,
    queued: Cell<u64>,
    refused: Cell<u64>,
    /// `Drained` is owed.
    full: Cell<bool>,
    /// Datagrams may be doubled.
    twice: bool,
}

fn scenario(sim: &Sim, rng: &mut Rng, wrong: bool) -> Outcome {
    let mut faults = if rng.chance(0.3) { Faults::none() } else { Faults::benign(rng) };
    let lossy = rng.chance(0.5);
    let twice = rng.chance(0.5) || wrong;
    faults.datagram_lost = if lossy { 0.3 } else { 0.0 };
    faults.datagram_twice = if twice { 0.3 } else { 0.0 };
    sim.set_faults(faults);
    let limits = Limits::new().datagrams_max(1 + rng.below(20)).turn_messages(1 + rng.below(40));
    let mut manager = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let stage = Rc::new(Stage {
        lives: Lives::default(),
        rng: RefCell::new(rng.fork()),
        sent: RefCell::default(),
        echoed: RefCell::default(),
        queued: Cell::new(0),
        refused: Cell::new(0),
        full: Cell::new(false),
        twice: twice && !wrong,
    });
    let at = stage.clone();
    let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| at.serve(cx, event);
    manager.net().listen(format!("udp://{SERVER}").as_str(), handler).map_err(|e| e.to_string())?;
    let mut clients = Vec::new();
    for n in 0..1 + rng.below(4) {
        let client = Rc::new(sim.udp(([10, 1, 0, n as u8], 7)).map_err(|e| e.to_string())?);
        stage.sent.borrow_mut().insert(client.local_addr(), Vec::new());
        for number in 0..rng.below(30) {
            let (at, client) = (stage.clone(), client.clone());
            // Many come at once.
            let when = if rng.chance(0.5) { Duration::ZERO } else { up_to(rng, 100) };
            sim.after(when, move |_| at.ask(&client, number));
        }
        clients.push(client);
    }
    let failure = sim.run(&mut [&mut manager], || false, FOREVER).err();
    if !failure.as_ref().is_some_and(|failure| failure.is_stuck()) {
        return Err(format!("the run does not come to its end: {failure:?}"));
    }
    clients.iter().for_each(|client| stage.take(client));
    stage.lives.check()?;
    if stage.full.get() {
        return Err("a full queue was never Drained".into());
    }
    let stats = manager.stats();
    if (stats.datagrams_out, stats.datagrams_dropped) != (stage.queued.get(), stage.refused.get()) {
        let (queued, refused) = (stage.queued.get(), stage.refused.get());
        return Err(format!("{queued} queued, {refused} refused: {stats:?}"));
    }
    // Nothing is lost that the network did not lose.
    let asked: u64 = stage.sent.borrow().values().map(|sent| sent.len() as u64).sum();
    let came: u64 = stage.echoed.borrow().values().map(|(_, came)| came).sum();
    if !lossy && (stats.datagrams_in < asked || came < stage.queued.get()) {
        return Err(format!("{asked} asked, {came} came back: {stats:?}"));
    }
    drop(manager);
    stage.lives.check_all_over()
}

impl Stage {
    /// A client sends a datagram that nobody else sends.
    fn ask(&self, client: &SimUdp, number: usize) {
        self.take(client);
        let mut rng = self.rng.borrow_mut();
        let len = rng.below(100);
        let mut data = format!("{} {number} ", client.local_addr()).into_bytes();
        data.extend(rng.bytes(len));
        client.send_to(&data, SERVER);
        self.sent.borrow_mut().entry(client.local_addr()).or_default().push(data);
    }

    /// A client looks at what has come back.
    fn take(&self, client: &SimUdp) {
        while let Some((from, data)) = client.take() {
            let copies = if self.twice { 2 } else { 1 };
            let addr = client.local_addr();
            let echoed = &mut *self.echoed.borrow_mut();
            let (queued, came) = echoed.entry((addr, data)).or_default();
            *came += 1;
            if from != SERVER || *came > *queued * copies {
                self.lives
                    .complain(format!("{addr} gets from {from} for the {came}th time what was sent {queued} times"));
            }
        }
    }

    fn serve(&self, cx: &mut Ctx<'_, ()>, event: Event<'_>) {
        self.lives.see(cx, &event);
        match event {
            Event::Datagram { from, data } => {
                let known = self.sent.borrow().get(&from).is_some_and(|sent| sent.iter().any(|sent| sent == data));
                if !known {
                    self.lives.complain(format!("{} bytes from {from}, which sent no such thing", data.len()));
                }
                let times = 1 + self.rng.borrow_mut().below(3);
                for _ in 0..times {
                    self.echo(cx, from, data);
                }
                let queued = self.echoed.borrow().get(&(from, data.to_vec())).map_or(0, |(queued, _)| *queued);
                // Each of two copies is echoed three times at the most.
                if queued > if self.twice { 6 } else { 3 } {
                    self.lives.complain(format!("a datagram came more often than the network doubled it: {queued}"));
                }
            }
            Event::Drained if !self.full.replace(false) => self.lives.complain("Drained, and was not full".into()),
            _ => {}
        }
    }

    fn echo(&self, cx: &mut Ctx<'_, ()>, to: SocketAddr, data: &[u8]) {
        let sent = cx.send_to(to, data);
        match sent {
            Sent::Queued | Sent::High => {
                self.queued.set(self.queued.get() + 1);
                self.echoed.borrow_mut().entry((to, data.to_vec())).or_default().0 += 1;
            }
            Sent::Full => self.refused.set(self.refused.get() + 1),
            Sent::Gone | Sent::Invalid => self.lives.complain(format!("send_to answered {sent:?}")),
        }
        self.full.set(self.full.get() || matches!(sent, Sent::High | Sent::Full));
    }
}

//! Wakeups to connections that are open, closing and gone: in order, once, and none unaccounted for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use vansire::sim::{Rng, Sim, SimSocket};
use vansire::{ConnId, Ctx, Event, Limits, Manager, Waker};

use crate::harness::{FOREVER, Outcome, PLANNED, for_each_seed, random_faults, some_seed_fails, up_to};
use vansire::world::Lives;

#[test]
fn wakeups_are_delivered_in_order_or_counted() {
    for_each_seed("wakeups", |sim, rng| scenario(sim, rng, false));
}

/// The proof that the scenario can fail: one wakeup is sent that the model knows nothing of.
#[test]
fn wakeup_scenario_notices_one_too_many() {
    assert!(some_seed_fails(|sim, rng| scenario(sim, rng, true)));
}

type Mail = (Vec<Vec<u8>>, usize);

struct Stage {
    lives: Lives,
    rng: RefCell<Rng>,
    waker: Waker,
    ids: RefCell<Vec<ConnId>>,
    /// What was queued for each, and how much of it came.
    mail: RefCell<BTreeMap<ConnId, Mail>>,
    listener: Cell<Option<ConnId>>,
    /// The connection whose `Closed` is being told.
    closing: Cell<Option<ConnId>>,
    left: Cell<u32>,
    small: bool,
    stopped: Cell<bool>,
}

fn scenario(sim: &Sim, rng: &mut Rng, wrong: bool) -> Outcome {
    _ = random_faults(sim, rng);
    let small = rng.chance(0.3);
    let limits = Limits::new().linger_timeout(Duration::from_secs(1));
    let limits = if small { limits.wakeup_bytes_max(100 + rng.below(1000)) } else { limits };
    let mut manager = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let stage = Rc::new(Stage {
        lives: Lives::default(),
        rng: RefCell::new(rng.fork()),
        waker: manager.waker(),
        ids: RefCell::default(),
        mail: RefCell::default(),
        listener: Cell::new(None),
        closing: Cell::new(None),
        left: Cell::new(rng.below(200) as u32),
        small,
        stopped: Cell::new(false),
    });
    let at = stage.clone();
    let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| at.told(cx, event);
    let listener = manager.net().listen("tcp://10.0.0.1:7", handler).map_err(|e| e.to_string())?;
    stage.listener.set(Some(listener));
    stage.ids.borrow_mut().push(listener);
    let peers: Vec<Rc<SimSocket>> = (0..1 + rng.below(5)).map(|_| Rc::new(sim.connect(([10, 0, 0, 1], 7)))).collect();
    for peer in &peers {
        peer_acts(sim, rng.fork(), Rc::downgrade(peer));
    }
    stage.clone().wake_later(sim);
    if wrong {
        stage.waker.wakeup(listener, b"unheard of").map_err(|e| e.to_string())?;
    }
    if rng.chance(0.3) {
        // What was queued and not told when the manager closes is missed as well.
        drop(sim.run_for(&mut [&mut manager], up_to(rng, 200)));
        stage.wake(None);
        stage.stopped.set(true);
        manager.close();
        stage.wake(None);
    } else {
        sim.run(&mut [&mut manager], || stage.left.get() == 0, FOREVER).map_err(|e| e.to_string())?;
        // A wakeup sent in `Closed` waits for the next turn, to be missed.
        while manager.poll(Some(Duration::ZERO)).map_err(|e| e.to_string())?.more {}
    }
    stage.lives.check()?;
    let (mut queued, mut told) = (0, 0);
    for (sent, came) in stage.mail.borrow().values() {
        queued += sent.len() as u64;
        told += *came as u64;
    }
    let stats = manager.stats();
    if (stats.wakeups, queued) != (told, told + stats.wakeups_missed) {
        let (counted, missed) = (stats.wakeups, stats.wakeups_missed);
        return Err(format!("{queued} queued, {told} told, {counted} counted, {missed} missed"));
    }
    stage.stopped.set(true);
    drop(manager);
    stage.lives.check_all_over()
}

/// A peer sends, and at some time leaves.
fn peer_acts(sim: &Sim, mut rng: Rng, peer: Weak<SimSocket>) {
    sim.after(up_to(&mut rng, 30), move |sim| {
        let Some(socket) = peer.upgrade() else { return };
        match rng.below(20) {
            0 => return socket.reset(),
            1 => return socket.shutdown(),
            _ => socket.send(b"x"),
        }
        peer_acts(sim, rng, peer);
    });
}

impl Stage {
    fn below(&self, n: usize) -> usize {
        self.rng.borrow_mut().below(n)
    }

    /// Sends some wakeups between the turns, and goes on so.
    fn wake_later(self: Rc<Self>, sim: &Sim) {
        let wait = up_to(&mut self.rng.borrow_mut(), 20);
        sim.after(wait, move |sim| {
            for _ in 0..self.below(6) {
                self.wake(None);
            }
            if self.left.get() > 0 {
                self.wake_later(sim);
            }
        });
    }

    /// Sends one wakeup to this connection, or to any that ever was.
    fn wake(&self, to: Option<ConnId>) {
        self.left.set(self.left.get().saturating_sub(1));
        let ids = self.ids.borrow();
        let id = to.unwrap_or_else(|| ids[self.below(ids.len())]);
        let len = self.below(50);
        let bytes = self.rng.borrow_mut().bytes(len);
        let gone = self.lives.closed(id).is_some() && self.closing.get() != Some(id);
        match self.waker.wakeup(id, &bytes) {
            Ok(()) if gone => self.lives.complain(format!("{id} is closed, and a wakeup for it was queued")),
            Ok(()) => self.mail.borrow_mut().entry(id).or_default().0.push(bytes),
            Err(e) if e.is_gone() && gone => {}
            Err(e) if e.is_limit_reached() && self.small => {}
            Err(e) if e.is_stopped() && self.stopped.get() => {}
            Err(e) => self.lives.complain(format!("{id}: {e}")),
        }
    }

    fn told(&self, cx: &mut Ctx<'_, ()>, event: Event<'_>) {
        self.lives.see(cx, &event);
        let id = cx.conn;
        match event {
            Event::Opened if self.listener.get() != Some(id) => self.ids.borrow_mut().push(id),
            Event::Wakeup(bytes) => {
                let mail = &mut *self.mail.borrow_mut();
                let (sent, came) = mail.entry(id).or_default();
                // Those of a connection that wait are told in order; only the last may be missed.
                if sent.get(*came).map(Vec::as_slice) != Some(bytes) {
                    self.lives.complain(format!("{id}: wakeup {came} of {} is another", sent.len()));
                }
                *came += 1;
            }
            Event::Closed(_) => {
                self.closing.set(Some(id));
                self.wake(Some(id));
                self.closing.set(None);
                return;
            }
            _ => {}
        }
        match self.below(40) {
            0..=7 if self.left.get() > 0 => self.wake(None),
            8..=9 if self.left.get() > 0 => self.wake(Some(id)),
            10 if self.listener.get() != Some(id) => cx.close(),
            11 if self.listener.get() != Some(id) => cx.drain(),
            12 if self.listener.get() != Some(id) => panic!("{PLANNED}"),
            _ => {}
        }
    }
}

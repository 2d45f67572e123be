//! Wakeups from the loop's own thread: from handlers, timers and between turns, to connections that come and go.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use vansire::sim::{Rng, Sim};
use vansire::{ConnId, Ctx, Event, Limits, Manager, Net, Waker};

use crate::harness::{FOREVER, Outcome, PLANNED, for_each_seed, some_seed_fails, up_to};
use crate::life::Lives;

#[test]
fn wakeups_come_in_order_and_once() {
    for_each_seed("wakeups", |sim, rng| play(sim, rng, false));
}

/// The proof that the scenario can fail: one wakeup that was never sent is expected.
#[test]
fn wakeups_scenario_notices_a_missing_one() {
    assert!(some_seed_fails(|sim, rng| play(sim, rng, true)));
}

struct Stage {
    lives: Lives,
    sim: Sim,
    rng: RefCell<Rng>,
    waker: Waker,
    budget: Cell<u32>,
    /// Every connection there ever was.
    conns: RefCell<Vec<ConnId>>,
    /// Those that are told no more: closing, or closed.
    ending: RefCell<Vec<ConnId>>,
    /// Sent and not delivered, in the order of all.
    queue: RefCell<VecDeque<(ConnId, Vec<u8>)>>,
    next: Cell<u64>,
    delivered: Cell<u64>,
    missed: Cell<u64>,
    bytes_max: usize,
}

/// The system's queue, as a user has to imagine it.
const ENTRY: usize = 64;

fn play(sim: &Sim, rng: &mut Rng, wrong: bool) -> Outcome {
    let bytes_max = if rng.chance(0.5) { 64 << 20 } else { 200 + rng.below(3000) };
    let mut manager = Manager::builder().limits(Limits::new().wakeup_bytes_max(bytes_max)).sim(sim).build(()).unwrap();
    let stage = Rc::new(Stage {
        lives: Lives::default(),
        sim: sim.clone(),
        rng: RefCell::new(rng.fork()),
        waker: manager.waker(),
        budget: Cell::new(30 + rng.below(200) as u32),
        conns: RefCell::default(),
        ending: RefCell::default(),
        queue: RefCell::default(),
        next: Cell::new(0),
        delivered: Cell::new(0),
        missed: Cell::new(0),
        bytes_max,
    });
    for _ in 0..2 + rng.below(4) {
        stage.open(&mut manager.net());
    }
    if wrong {
        stage.queue.borrow_mut().push_back((stage.conns.borrow()[0], b"never sent".to_vec()));
    }
    let at = stage.clone();
    let period = up_to(rng, 20);
    let ticker = manager.net().timer_every(period, move |cx| at.act(&mut cx.net, None));
    stage.clone().outside(sim);
    let is_over = || stage.budget.get() == 0;
    sim.run(&mut [&mut manager], is_over, FOREVER).map_err(|e| e.to_string())?;
    manager.net().cancel(ticker);
    // What was sent last.
    sim.run_for(&mut [&mut manager], up_to(rng, 50)).map_err(|e| e.to_string())?;
    stage.skip_missed();
    stage.lives.check()?;
    if let Some((id, bytes)) = stage.queue.borrow().front() {
        return Err(format!("{id} was not woken with {bytes:?}"));
    }
    let stats = manager.stats();
    if (stats.wakeups, stats.wakeups_missed) != (stage.delivered.get(), stage.missed.get()) {
        let counted = (stats.wakeups, stats.wakeups_missed);
        return Err(format!("{counted:?} counted of {:?}", (stage.delivered.get(), stage.missed.get())));
    }
    let id = stage.conns.borrow()[0];
    drop(manager);
    if !stage.waker.wakeup(id, b"x").is_err_and(|e| e.is_stopped()) {
        return Err("a wakeup for a manager that is gone is no error".into());
    }
    stage.lives.check_all_over()
}

impl Stage {
    /// UDP sockets are the cheapest connections.
    fn open(self: &Rc<Self>, net: &mut Net<'_, ()>) {
        let stage = self.clone();
        let id = net
            .listen("udp://10.0.0.1:0", move |cx: &mut Ctx<'_, ()>, event: Event<'_>| stage.told(cx, &event))
            .unwrap();
        self.conns.borrow_mut().push(id);
    }

    fn told(self: &Rc<Self>, cx: &mut Ctx<'_, ()>, event: &Event<'_>) {
        self.lives.see(cx, event);
        match event {
            Event::Wakeup(bytes) => {
                self.skip_missed();
                let first = self.queue.borrow_mut().pop_front();
                if first != Some((cx.conn, bytes.to_vec())) {
                    self.lives.complain(format!("{} woken with {bytes:?} instead of {first:?}", cx.conn));
                }
                self.delivered.set(self.delivered.get() + 1);
                if self.rng.borrow_mut().chance(0.3) {
                    let own = cx.conn;
                    self.act(&mut cx.net, Some(own));
                }
                if self.rng.borrow_mut().chance(0.02) {
                    self.ending.borrow_mut().push(cx.conn);
                    std::panic::panic_any(PLANNED);
                }
            }
            Event::Closed(_) => self.ending.borrow_mut().push(cx.conn),
            _ => {}
        }
    }

    /// Those at the front whose connection ended before their turn came.
    fn skip_missed(&self) {
        let mut queue = self.queue.borrow_mut();
        let ending = self.ending.borrow();
        while queue.pop_front_if(|(id, _)| ending.contains(id)).is_some() {
            self.missed.set(self.missed.get() + 1);
        }
    }

    /// Something that a handler, a timer or the owner may do.
    fn act(self: &Rc<Self>, net: &mut Net<'_, ()>, own: Option<ConnId>) {
        self.budget.set(self.budget.get().saturating_sub(1));
        let dice = self.rng.borrow_mut().below(20);
        match dice {
            0 => self.open(net),
            1 => {
                let id = own.unwrap_or_else(|| self.any());
                net.close(id);
                self.ending.borrow_mut().push(id);
            }
            _ => self.wake(Some(net)),
        }
    }

    fn any(&self) -> ConnId {
        *self.rng.borrow_mut().pick(&self.conns.borrow())
    }

    /// From outside of any turn.
    fn outside(self: Rc<Self>, sim: &Sim) {
        if self.budget.get() > 0 {
            let count = self.rng.borrow_mut().below(10);
            for _ in 0..count {
                self.wake(None);
            }
            let wait = up_to(&mut self.rng.borrow_mut(), 50);
            sim.after(wait, move |sim| self.outside(sim));
        }
    }

    fn wake(&self, net: Option<&Net<'_, ()>>) {
        let id = self.any();
        let len = self.rng.borrow_mut().below(300);
        let number = self.next.get();
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.resize(8 + len, 0);
        let waiting: usize = self.queue.borrow().iter().map(|(_, bytes)| bytes.len() + ENTRY).sum();
        match self.waker.wakeup(id, &bytes) {
            Ok(()) => {
                self.next.set(number + 1);
                self.queue.borrow_mut().push_back((id, bytes));
            }
            Err(e) if e.is_gone() => {
                if net.is_some_and(|net| net.is_open(id)) {
                    self.lives.complain(format!("{id} is open and cannot be woken: {e}"));
                }
            }
            Err(e) if e.is_limit_reached() => {
                if waiting + bytes.len() + ENTRY <= self.bytes_max {
                    self.lives.complain(format!("{waiting} bytes wait of {}: {e}", self.bytes_max));
                }
            }
            Err(e) => self.lives.complain(format!("{id} cannot be woken: {e} at {:?}", self.sim.elapsed())),
        }
    }
}

//! Timers against a model: every callback comes at its time, in its order, and as often as it should.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use vansire::sim::{Rng, Sim};
use vansire::{Manager, Net, TimerCtx, TimerId, Waker};

use crate::harness::{FOREVER, Outcome, PLANNED, for_each_seed, some_seed_fails, up_to};

#[test]
fn timers_keep_their_times() {
    for_each_seed("timers", |sim, rng| play(sim, rng, Duration::ZERO));
}

/// The proof that the scenario can fail: a model that takes every period for a little longer than it is.
#[test]
fn timers_scenario_notices_a_drift() {
    assert!(some_seed_fails(|sim, rng| play(sim, rng, Duration::from_nanos(1))));
}

/// What should happen, kept beside what does.
struct Model {
    sim: Sim,
    rng: RefCell<Rng>,
    start: Cell<Option<Instant>>,
    timers: RefCell<Vec<Timer>>,
    order: Cell<u64>,
    /// Turns that have ended.
    turn: Cell<u64>,
    /// When the machine was last busy until.
    busy_until: Cell<Duration>,
    /// The same when this turn began.
    was_busy_until: Cell<Duration>,
    /// Things that may still be done.
    budget: Cell<u32>,
    panics: Cell<u64>,
    fired: Cell<u64>,
    drift: Duration,
    wrong: RefCell<Option<String>>,
    waker: RefCell<Option<Waker>>,
    /// Captured by every callback: how many of them live.
    captured: Rc<()>,
}

struct Timer {
    id: TimerId,
    due: Duration,
    period: Option<Duration>,
    /// Equal times come in the order in which they were set.
    order: u64,
    /// The turn that it was set in, in which it cannot fire.
    set_in: u64,
    /// The turn in which somebody asked through the waker to cancel it.
    cancelled_in: Option<u64>,
}

fn play(sim: &Sim, rng: &mut Rng, drift: Duration) -> Outcome {
    let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
    let model = Rc::new(Model {
        sim: sim.clone(),
        rng: RefCell::new(rng.fork()),
        start: Cell::new(None),
        timers: RefCell::default(),
        order: Cell::new(0),
        turn: Cell::new(0),
        busy_until: Cell::new(Duration::ZERO),
        was_busy_until: Cell::new(Duration::ZERO),
        budget: Cell::new(rng.below(120) as u32),
        panics: Cell::new(0),
        fired: Cell::new(0),
        drift,
        wrong: RefCell::default(),
        waker: RefCell::new(Some(manager.waker())),
        captured: Rc::new(()),
    });
    let at = model.clone();
    manager.on_turn(move |_, _| {
        at.turn.set(at.turn.get() + 1);
        at.was_busy_until.set(at.busy_until.get());
    });
    // What the first turn calls zero.
    model.start.set(Some(manager.net().now()));
    for _ in 0..1 + rng.below(5) {
        model.add(&mut manager.net());
    }
    let is_over = || model.timers.borrow().is_empty() || model.wrong.borrow().is_some();
    if rng.chance(0.3) {
        // A loop as programs have it: a poll that may wait never sleeps past a timer.
        while !is_over() {
            let timeout = if rng.chance(0.2) { None } else { Some(up_to(rng, 200)) };
            manager.poll(timeout).map_err(|e| e.to_string())?;
        }
    } else {
        sim.run(&mut [&mut manager], is_over, FOREVER).map_err(|e| e.to_string())?;
    }
    if let Some(wrong) = model.wrong.borrow_mut().take() {
        return Err(wrong);
    }
    // A callback that was cancelled last is dropped at the end of its turn; nothing else is left to happen.
    sim.run(&mut [&mut manager], || Rc::strong_count(&model.captured) == 1, FOREVER).map_err(|e| e.to_string())?;
    if manager.next_deadline().is_some() {
        return Err("a deadline is left and no timer".into());
    }
    let stats = manager.stats();
    if (stats.handler_panics, stats.timers_fired) != (model.panics.get(), model.fired.get()) {
        return Err(format!(
            "{} of {} fired, {} panicked",
            stats.timers_fired,
            model.fired.get(),
            stats.handler_panics
        ));
    }
    model.waker.take();
    Ok(())
}

impl Model {
    fn spend(&self) -> bool {
        let left = self.budget.get();
        self.budget.set(left.saturating_sub(1));
        left > 0
    }

    fn next_order(&self) -> u64 {
        self.order.set(self.order.get() + 1);
        self.order.get()
    }

    fn complain(&self, what: String) {
        self.wrong.borrow_mut().get_or_insert(what);
    }

    /// Sets a random timer.
    fn add(self: &Rc<Self>, net: &mut Net<'_, ()>) {
        let rng = &mut *self.rng.borrow_mut();
        let most = *rng.pick(&[1, 10, 10, 1000, 100_000]);
        let after = if rng.chance(0.15) { Duration::ZERO } else { up_to(rng, most) };
        // Round times meet each other.
        let after = if rng.chance(0.3) { Duration::from_millis(after.as_millis() as u64) } else { after };
        let period = rng.chance(0.4).then(|| up_to(rng, 30));
        let (model, captured) = (self.clone(), self.captured.clone());
        let tick = move |cx: &mut TimerCtx<'_, ()>| {
            let _captured = &captured;
            model.fire(cx);
        };
        let id = match period {
            None => net.timer_after(after, tick),
            Some(period) if after == period => net.timer_every(period, tick),
            Some(period) => net.timer_from(after, period, tick),
        };
        let timer = Timer {
            id,
            due: self.sim.elapsed() + after,
            period: period.map(|period| period.max(Duration::from_millis(1)) + self.drift),
            order: self.next_order(),
            set_in: self.turn.get(),
            cancelled_in: None,
        };
        self.timers.borrow_mut().push(timer);
    }

    fn fire(self: &Rc<Self>, cx: &mut TimerCtx<'_, ()>) {
        self.fired.set(self.fired.get() + 1);
        self.check(cx);
        let timer = cx.timer;
        let acts = self.rng.borrow_mut().below(4);
        for _ in 0..acts {
            if self.spend() {
                self.act(cx, timer);
            }
        }
        // In the end everything that repeats has to stop.
        if self.budget.get() == 0 || self.fired.get() > 500 {
            self.cancel(cx, timer);
        }
        if self.rng.borrow_mut().chance(0.03) {
            self.panics.set(self.panics.get() + 1);
            std::panic::panic_any(PLANNED);
        }
    }

    /// This timer, now, and no other before it.
    fn check(&self, cx: &TimerCtx<'_, ()>) {
        let now = self.start.get().map_or(Duration::ZERO, |start| cx.now - start);
        let mut timers = self.timers.borrow_mut();
        let Some(index) = timers.iter().position(|timer| timer.id == cx.timer) else {
            return self.complain(format!("{} fired and is over, at {now:?}", cx.timer));
        };
        let turn = self.turn.get();
        let timer = &timers[index];
        let busy = self.was_busy_until.get();
        let expected = if timer.due < busy { busy } else { timer.due };
        if now != expected {
            self.complain(format!("{} was due at {:?} and fired at {now:?}, busy until {busy:?}", timer.id, timer.due));
        }
        if timer.set_in == turn && turn > 0 {
            self.complain(format!("{} fired in the turn that it was set in", timer.id));
        }
        if timer.cancelled_in.is_some_and(|cancelled| cancelled < turn) {
            self.complain(format!("{} fired a turn after it was cancelled", timer.id));
        }
        let first = timers.iter().filter(|timer| timer.set_in < turn && timer.due <= now);
        if let Some(first) = first.min_by_key(|timer| (timer.due, timer.order)).filter(|first| first.id != cx.timer) {
            self.complain(format!("{} fired before {}", cx.timer, first.id));
        }
        match timers[index].period {
            None => drop(timers.remove(index)),
            Some(period) => {
                let order = self.next_order();
                let timer = &mut timers[index];
                let missed = (now - timer.due).as_nanos() / period.as_nanos();
                timer.due += period * (missed as u32 + 1);
                (timer.order, timer.set_in) = (order, turn);
            }
        }
    }

    /// Something that a callback may do.
    fn act(self: &Rc<Self>, cx: &mut TimerCtx<'_, ()>, own: TimerId) {
        let dice = self.rng.borrow_mut().below(10);
        match dice {
            0..=5 => self.add(&mut cx.net),
            6 => self.cancel(cx, own),
            7 => {
                if let Some(id) = self.any() {
                    self.cancel(cx, id);
                }
            }
            8 => {
                // From another thread, as it were.
                let id = self.any();
                let turn = self.turn.get();
                if let (Some(id), Some(waker)) = (id, &*self.waker.borrow()) {
                    waker.cancel(id).unwrap();
                    let mut timers = self.timers.borrow_mut();
                    if let Some(timer) = timers.iter_mut().find(|timer| timer.id == id) {
                        timer.cancelled_in.get_or_insert(turn);
                    }
                }
                // It is over when the mail of the next turn is read.
                let model = self.clone();
                self.sim.after(Duration::ZERO, move |_| {
                    let turn = model.turn.get();
                    model
                        .timers
                        .borrow_mut()
                        .retain(|timer| timer.cancelled_in.is_none_or(|cancelled| cancelled >= turn));
                });
            }
            _ => {
                let busy = up_to(&mut self.rng.borrow_mut(), 50);
                self.sim.advance(busy);
                self.busy_until.set(self.sim.elapsed());
            }
        }
    }

    fn any(&self) -> Option<TimerId> {
        let timers = self.timers.borrow();
        if timers.is_empty() { None } else { Some(self.rng.borrow_mut().pick(&timers).id) }
    }

    fn cancel(&self, cx: &mut TimerCtx<'_, ()>, id: TimerId) {
        let mut timers = self.timers.borrow_mut();
        let before = timers.len();
        // What the waker was asked to cancel may be over already, or not yet.
        let asked = timers.iter().any(|timer| timer.id == id && timer.cancelled_in.is_some());
        timers.retain(|timer| timer.id != id);
        let was_active = cx.net.is_active(id);
        let cancelled = cx.net.cancel(id);
        if cancelled != was_active || cx.net.is_active(id) {
            self.complain(format!("cancelling {id} answered {cancelled}"));
        }
        // The one that runs is still there to be cancelled, if it repeats or not.
        let expected = timers.len() < before || id == cx.timer;
        if !asked && cancelled != expected && id != cx.timer {
            self.complain(format!("cancelling {id} answered {cancelled}, which is not so"));
        }
    }
}

//! Timers against a model: set, cancelled and repeated from callbacks, from handlers, from between the turns and by mail, on
//! a loop that is in time or late.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use vansire::sim::{Rng, Sim, SimSocket};
use vansire::{Ctx, Event, Manager, Net, TimerCtx, TimerId, Waker};

use crate::harness::{FOREVER, Outcome, for_each_seed, random_faults, some_seed_fails, up_to};

#[test]
fn timers_fire_in_time_and_in_order() {
    for_each_seed("timers", |sim, rng| scenario(sim, rng, false));
}

/// The proof that the scenario can fail: a model that takes each timer for a nanosecond later than it is.
#[test]
fn timer_scenario_notices_an_early_timer() {
    assert!(some_seed_fails(|sim, rng| scenario(sim, rng, true)));
}

/// What the timers ought to do.
struct Model {
    sim: Sim,
    epoch: Instant,
    waker: Waker,
    rng: RefCell<Rng>,
    timers: RefCell<BTreeMap<u32, Timer>>,
    /// The next of each kind of number.
    number: Cell<u32>,
    order: Cell<u64>,
    to_set: Cell<u32>,
    /// Turns that are over.
    turn: Cell<u64>,
    /// Nothing takes time, and nobody is late.
    exact: Cell<bool>,
    fired: Cell<u64>,
    early: Duration,
    broken: RefCell<Vec<String>>,
}

#[derive(Clone)]
struct Timer {
    id: TimerId,
    due: Duration,
    /// Among equal deadlines the one that was set first fires first.
    order: u64,
    period: Option<Duration>,
    ticks_left: u32,
    state: State,
    /// Set while the timers of this turn were firing: it need not fire before the next.
    excused_in: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    /// A one-shot timer whose callback runs.
    Runs,
    Over,
    /// Cancelled by mail, which is read when the next turn begins: it may fire in the turns before this one.
    Doubtful(u64),
}

/// Who acts on the timers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Outside,
    Handler,
    Timer,
}

fn scenario(sim: &Sim, rng: &mut Rng, wrong: bool) -> Outcome {
    let faults = random_faults(sim, rng);
    let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
    let model = Rc::new(Model {
        sim: sim.clone(),
        epoch: manager.net().now(),
        waker: manager.waker(),
        rng: RefCell::new(rng.fork()),
        timers: RefCell::default(),
        number: Cell::new(0),
        order: Cell::new(0),
        to_set: Cell::new(10 + rng.below(60) as u32),
        turn: Cell::new(0),
        exact: Cell::new(faults.call_time.is_empty()),
        fired: Cell::new(0),
        early: Duration::from_nanos(wrong.into()),
        broken: RefCell::default(),
    });
    let at = model.clone();
    manager.on_turn(move |(), net| at.turn_ends(net));
    let at = model.clone();
    let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
        if let Event::Data(_) = event {
            at.act(&mut cx.net, From::Handler);
        }
    };
    manager.net().listen("tcp://10.0.0.1:7", handler).map_err(|e| e.to_string())?;
    let peer = Rc::new(sim.connect(([10, 0, 0, 1], 7)));
    chatter(sim, rng.fork(), &peer);

    for _ in 0..5 + rng.below(20) {
        match rng.below(6) {
            0 => drop(sim.run_for(&mut [&mut manager], up_to(rng, 100))),
            1 => drop(manager.poll(Some(up_to(rng, 50))).map_err(|e| e.to_string())?),
            2 if rng.chance(0.1) => {
                // Nobody polls: whatever is due meanwhile will be late.
                model.exact.set(false);
                drop(sim.run_for(&mut [], up_to(rng, 300)));
            }
            _ => model.act(&mut manager.net(), From::Outside),
        }
    }
    model.to_set.set(0);
    sim.run(&mut [&mut manager], || model.is_over(), FOREVER).map_err(|e| e.to_string())?;
    if let Some(what) = model.broken.borrow().first() {
        return Err(what.clone());
    }
    if manager.stats().timers_fired != model.fired.get() {
        return Err(format!("{} timers counted, {} fired", manager.stats().timers_fired, model.fired.get()));
    }
    // Nothing is left in the heap.
    drop(peer);
    for conn in manager.net().connections() {
        manager.net().close(conn.id);
    }
    for _ in 0..2 {
        manager.poll(Some(Duration::ZERO)).map_err(|e| e.to_string())?;
    }
    match manager.next_deadline() {
        Some(at) => Err(format!("a deadline is left, at {:?}", at - model.epoch)),
        None => Ok(()),
    }
}

/// Traffic, so that handlers run and turns take their time.
fn chatter(sim: &Sim, mut rng: Rng, peer: &Rc<SimSocket>) {
    let peer = Rc::downgrade(peer);
    sim.after(up_to(&mut rng, 20), move |sim| {
        if let Some(peer) = peer.upgrade()
            && rng.chance(0.95)
        {
            peer.send(b"tick");
            chatter(sim, rng, &peer);
        }
    });
}

impl Model {
    fn complain(&self, what: String) {
        self.broken.borrow_mut().push(format!("at {:?}: {what}", self.sim.elapsed()));
    }

    /// No timer will fire any more.
    fn is_over(&self) -> bool {
        let is_over = |timer: &Timer| match timer.state {
            State::Waits | State::Runs => false,
            State::Over => true,
            State::Doubtful(before) => self.turn.get() > before,
        };
        self.timers.borrow().values().all(is_over)
    }

    fn below(&self, n: usize) -> usize {
        self.rng.borrow_mut().below(n)
    }

    fn next_order(&self) -> u64 {
        self.order.set(self.order.get() + 1);
        self.order.get()
    }

    /// Does something to the timers.
    fn act(self: &Rc<Self>, net: &mut Net<'_, ()>, from: From) {
        for _ in 0..self.below(4) {
            match self.below(5) {
                0..=2 => {}
                3 => {
                    self.cancel(net);
                    continue;
                }
                _ => {
                    self.cancel_by_mail(from);
                    continue;
                }
            }
            if self.to_set.get() > 0 {
                self.to_set.set(self.to_set.get() - 1);
                self.set(net, from);
            }
        }
    }

    fn set(self: &Rc<Self>, net: &mut Net<'_, ()>, from: From) {
        let number = self.number.get();
        self.number.set(number + 1);
        let (after, period, every, ticks) = {
            let rng = &mut *self.rng.borrow_mut();
            let mut wait = || match rng.below(4) {
                0 => Duration::ZERO,
                // Many deadlines are equal.
                1 | 2 => Duration::from_millis(5 * rng.below(6) as u64),
                _ => up_to(rng, 50),
            };
            let after = wait();
            let period = wait();
            let repeats = rng.chance(0.4);
            (after, repeats.then_some(period), rng.chance(0.5), 1 + rng.below(8) as u32)
        };
        let now = self.sim.elapsed();
        let model = self.clone();
        let tick = move |cx: &mut TimerCtx<'_, ()>| model.fires(cx, number);
        let least = |period: Duration| period.max(Duration::from_millis(1));
        let (id, due) = match period {
            None => (net.timer_after(after, tick), now + after),
            // For a period that is too short the manual says 1 ms instead, the first tick included.
            Some(period) if every => (net.timer_every(period, tick), now + least(period)),
            Some(period) => (net.timer_from(after, period, tick), now + after),
        };
        let (due, period) = (due + self.early, period.map(least));
        if !net.is_active(id) {
            self.complain(format!("timer {number} is not active"));
        }
        let excused_in = (from == From::Timer).then(|| self.turn.get());
        let timer =
            Timer { id, due, order: self.next_order(), period, ticks_left: ticks, state: State::Waits, excused_in };
        self.timers.borrow_mut().insert(number, timer);
    }

    fn pick(&self) -> Option<(u32, Timer)> {
        let number = self.below(self.number.get().max(1) as usize) as u32;
        Some((number, self.timers.borrow().get(&number)?.clone()))
    }

    fn set_state(&self, number: u32, state: State) {
        if let Some(timer) = self.timers.borrow_mut().get_mut(&number) {
            timer.state = state;
        }
    }

    fn cancel(&self, net: &mut Net<'_, ()>) {
        let Some((number, timer)) = self.pick() else { return };
        let cancelled = net.cancel(timer.id);
        let expected = match timer.state {
            State::Waits | State::Runs => true,
            State::Over => false,
            State::Doubtful(_) => cancelled,
        };
        if cancelled != expected || net.is_active(timer.id) {
            self.complain(format!("cancelling timer {number} answered {cancelled}"));
        }
        self.set_state(number, State::Over);
    }

    fn cancel_by_mail(&self, from: From) {
        let Some((number, timer)) = self.pick() else { return };
        if self.waker.cancel(timer.id).is_err() {
            self.complain(format!("timer {number} cannot be cancelled by mail"));
        }
        // The mail of this turn was read before its handlers were called.
        let before = self.turn.get() + u64::from(from != From::Outside);
        match timer.state {
            State::Waits => self.set_state(number, State::Doubtful(before)),
            State::Runs | State::Over | State::Doubtful(_) => {}
        }
    }

    /// A timer's callback.
    fn fires(self: &Rc<Self>, cx: &mut TimerCtx<'_, ()>, number: u32) {
        self.fired.set(self.fired.get() + 1);
        let now = cx.now - self.epoch;
        let Some(timer) = self.timers.borrow().get(&number).cloned() else {
            return self.complain(format!("timer {number} fires before it was set"));
        };
        if timer.id != cx.timer {
            self.complain(format!("timer {number} fires as {} and is {}", cx.timer, timer.id));
        }
        match timer.state {
            State::Waits => {}
            State::Doubtful(before) if self.turn.get() < before => {}
            State::Runs | State::Over | State::Doubtful(_) => {
                self.complain(format!("timer {number} fires and is over"));
            }
        }
        if now < timer.due || self.sim.elapsed() < timer.due {
            self.complain(format!("timer {number} fires at {now:?} and is due at {:?}", timer.due));
        }
        if self.exact.get() && now != timer.due {
            self.complain(format!("timer {number} fires at {now:?}, late: it is due at {:?}", timer.due));
        }
        for (other, earlier) in self.timers.borrow().iter() {
            if earlier.state == State::Waits && (earlier.due, earlier.order) < (timer.due, timer.order) {
                self.complain(format!("timer {number} fires before timer {other}"));
            }
        }
        if let Some(timer) = self.timers.borrow_mut().get_mut(&number) {
            timer.ticks_left = timer.ticks_left.saturating_sub(1);
            match timer.period {
                Some(period) => {
                    while timer.due <= now {
                        timer.due += period;
                    }
                    timer.order = self.next_order();
                    timer.excused_in = None;
                }
                None if timer.state == State::Waits => timer.state = State::Runs,
                None => {}
            }
        }
        self.act(&mut cx.net, From::Timer);
        let Some(timer) = self.timers.borrow().get(&number).cloned() else { return };
        match timer.state {
            State::Waits if timer.ticks_left == 0 => {
                if !cx.net.cancel(cx.timer) {
                    self.complain(format!("timer {number} cannot cancel itself"));
                }
                self.set_state(number, State::Over);
            }
            State::Runs => self.set_state(number, State::Over),
            State::Waits | State::Over | State::Doubtful(_) => {}
        }
    }

    /// Whatever was due when the timers of this turn fired has fired.
    fn turn_ends(&self, net: &Net<'_, ()>) {
        let now = net.now() - self.epoch;
        let turn = self.turn.get();
        for (number, timer) in self.timers.borrow().iter() {
            if timer.state == State::Waits && timer.due <= now && timer.excused_in != Some(turn) {
                self.complain(format!("timer {number} is due at {:?} and was left out", timer.due));
            }
        }
        self.turn.set(turn + 1);
    }
}

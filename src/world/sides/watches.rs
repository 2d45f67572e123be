//! Timers of the server's, and wakeups from elsewhere.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::manager::Net;
use crate::reactor::Waker;

use super::Echo;
use crate::world::play::Scene;
use crate::world::story::Promise;

/// What a turn of the loop takes at most, with its system calls.
const SLACK: Duration = Duration::from_millis(500);

/// A timer that was set.
struct Timer {
    time: Duration,
    /// By the loop's clock, and by the world's.
    begun: Instant,
    begun_at: Duration,
    /// The last tick of it, counted in its times since then.
    last: Cell<u32>,
}

/// What is set, and what is sent.
pub(crate) struct Watches {
    scene: Rc<Scene>,
    waker: Waker,
    echo: Rc<Echo>,
    woken: Cell<u32>,
    running: Cell<u32>,
}

impl Watches {
    pub(crate) fn new(scene: &Rc<Scene>, waker: Waker, echo: &Rc<Echo>) -> Self {
        Self { scene: scene.clone(), waker, echo: echo.clone(), woken: Cell::new(0), running: Cell::new(0) }
    }

    pub(crate) fn are_over(&self) -> bool {
        self.running.get() == 0 && self.woken.get() == self.echo.wakeups()
    }

    /// So many wakeups, each with its number.
    pub(crate) fn wake(&self, count: u32) {
        for _ in 0..count {
            let number = self.woken.get();
            self.woken.set(number + 1);
            let Some(to) = self.echo.conn() else { continue };
            if let Err(e) = self.waker.wakeup(to, &number.to_be_bytes()) {
                self.scene.complain(Promise::Wakeups, format!("wakeup {number}: {e}"));
            }
        }
    }

    /// A timer of so many ticks; of none: it is cancelled before the first.
    pub(crate) fn set(self: &Rc<Self>, net: &mut Net<'_, ()>, time: Duration, ticks: u32) {
        // A repeating timer has a least period.
        let time = time.max(Duration::from_millis(1));
        let timer = Rc::new(Timer { time, begun: net.now(), begun_at: self.scene.sim.elapsed(), last: Cell::new(0) });
        self.running.set(self.running.get() + 1);
        match ticks {
            0 => self.set_and_cancel(net, timer),
            1 => {
                let me = self.clone();
                net.timer_after(time, move |cx| {
                    let _inside = me.scene.enter("a timer");
                    me.ticks(&timer, cx.now);
                    me.running.set(me.running.get() - 1);
                });
            }
            _ => self.set_repeating(net, timer, ticks),
        }
    }

    fn set_repeating(self: &Rc<Self>, net: &mut Net<'_, ()>, timer: Rc<Timer>, ticks: u32) {
        let (me, mut left) = (self.clone(), ticks);
        net.timer_every(timer.time, move |cx| {
            let _inside = me.scene.enter("a timer");
            me.ticks(&timer, cx.now);
            left = left.saturating_sub(1);
            if left == 0 {
                if !cx.net.cancel(cx.timer) {
                    me.complain(format!("a timer every {:?} is over before it is cancelled", timer.time));
                }
                me.running.set(me.running.get() - 1);
            }
        });
    }

    fn set_and_cancel(self: &Rc<Self>, net: &mut Net<'_, ()>, timer: Rc<Timer>) {
        let (is_over, time) = (Rc::new(Cell::new(false)), timer.time);
        let (me, over) = (self.clone(), is_over.clone());
        let id = net.timer_after(time, move |cx| {
            let _inside = me.scene.enter("a timer");
            if over.replace(true) {
                me.complain(format!("a timer of {time:?} fires, and was cancelled"));
            }
            me.ticks(&timer, cx.now);
        });
        let me = self.clone();
        net.timer_after(time / 2, move |cx| {
            let _inside = me.scene.enter("a timer");
            me.running.set(me.running.get() - 1);
            // Where both are late the other may have been first.
            if cx.net.cancel(id) == is_over.replace(true) {
                me.complain(format!("a timer of {time:?} has fired and can be cancelled, or neither"));
            }
        });
    }

    /// A timer fires: not early, not late but by what all stood still, and in its phase.
    fn ticks(&self, timer: &Timer, now: Instant) {
        let (time, since) = (timer.time, now.duration_since(timer.begun));
        // Ticks that were missed are not made up for.
        let tick = (since.as_nanos() / time.as_nanos()) as u32;
        let last = timer.last.replace(tick);
        if tick <= last {
            self.complain(format!("tick {tick} of {time:?} comes after tick {last}, {since:?} after the beginning"));
        }
        let due = timer.begun_at + time * (last + 1);
        let late = self.scene.sim.elapsed().saturating_sub(due);
        if late > SLACK + self.scene.slept_since(due) {
            self.complain(format!("tick {} of {time:?} comes {late:?} late", last + 1));
        }
    }

    fn complain(&self, what: String) {
        self.scene.complain(Promise::Timers, what);
    }
}

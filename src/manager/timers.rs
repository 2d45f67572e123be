//! Callbacks at a time.

use std::time::Duration;

use crate::id::TimerId;
use crate::time::{Moment, Owner};

use super::core::Core;
use super::ctx::TimerCtx;
use super::dispatch;
use super::net::Net;

pub(crate) type BoxTick<S> = Box<dyn FnMut(&mut TimerCtx<'_, S>)>;

pub(crate) struct TimerEntry<S> {
    due: Moment,
    period: Option<Duration>,
    /// Out while it runs.
    tick: Option<BoxTick<S>>,
}

/// The shortest period: a repeating timer of zero would be due again for ever within one turn.
const PERIOD_MIN: Duration = Duration::from_millis(1);

impl<S> Net<'_, S> {
    /// Calls back once, after this long; zero means in the next turn. O(log n), as is [`cancel`](Self::cancel).
    ///
    /// It never fires early, and late only by what the loop is late. The timer is owned by the manager: forgetting the
    /// id does not stop it.
    pub fn timer_after(&mut self, after: Duration, f: impl FnMut(&mut TimerCtx<'_, S>) + 'static) -> TimerId {
        self.core.add_timer(after, None, Box::new(f))
    }

    /// Calls back every `period` (at least 1 ms), for the first time after one period.
    ///
    /// Ticks keep their phase: they do not drift, and ticks that were missed are not replayed.
    pub fn timer_every(&mut self, period: Duration, f: impl FnMut(&mut TimerCtx<'_, S>) + 'static) -> TimerId {
        let period = period.max(PERIOD_MIN);
        self.timer_from(period, period, f)
    }

    /// Calls back after `first`, then every `period` (at least 1 ms). A `first` of zero fires in the next turn.
    pub fn timer_from(
        &mut self,
        first: Duration,
        period: Duration,
        f: impl FnMut(&mut TimerCtx<'_, S>) + 'static,
    ) -> TimerId {
        self.core.add_timer(first, Some(period.max(PERIOD_MIN)), Box::new(f))
    }

    /// Cancels a timer, from anywhere, also from inside its own callback. False when it is over already.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        self.core.cancel_timer(id)
    }

    /// How many timers there are that will fire (again).
    pub fn timer_count(&self) -> usize {
        self.core.timers.len()
    }

    /// The timer will fire (again).
    pub fn is_active(&self, id: TimerId) -> bool {
        self.core.timers.get(id.0).is_some()
    }
}

impl<S> Core<S> {
    fn add_timer(&mut self, after: Duration, period: Option<Duration>, tick: BoxTick<S>) -> TimerId {
        // Counted from now, not from the beginning of the turn: a handler that ran for long must not shorten it.
        let due = self.clock.now().after(after);
        let key = self.timers.insert(TimerEntry { due, period, tick: Some(tick) });
        self.deadlines.set(Owner::Timer(key.index()), due);
        TimerId(key)
    }

    pub(crate) fn cancel_timer(&mut self, id: TimerId) -> bool {
        let Some(entry) = self.timers.remove(id.0) else { return false };
        self.deadlines.cancel(Owner::Timer(id.0.index()));
        // Its captures are the user's: they are dropped where a panic is caught, at the end of the turn.
        self.dropped_ticks.extend(entry.tick);
        true
    }

    /// Runs a timer that is due.
    pub(crate) fn fire(&mut self, state: &mut S, slot: usize) {
        let Some(key) = self.timers.key_at(slot) else { return };
        let Some(entry) = self.timers.get_mut(key) else { return };
        let Some(mut tick) = entry.tick.take() else { return };
        let again = entry.period.map(|period| entry.due.next_tick(period, self.now));
        if let Some(due) = again {
            entry.due = due;
            self.deadlines.set(Owner::Timer(slot), due);
        }
        self.stats.timers_fired += 1;
        dispatch::tick(state, self, TimerId(key), &mut tick);
        match self.timers.get_mut(key) {
            Some(entry) if again.is_some() => entry.tick = Some(tick),
            found => {
                if found.is_some() {
                    self.timers.remove(key);
                }
                dispatch::drop_user(state, self, Some(tick));
            }
        }
    }
}

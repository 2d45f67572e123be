//! How long handlers take: each call that takes long, and a sample of the others.
//!
//! A look at the clock costs 20 to 60 ns, a tenth of a pipelined request. So one call in 256 is timed, at random, and counts for
//! 256. The turn looks at the clock twice in any case: where a call that was not timed stands alone between two looks that
//! are a millisecond or more apart, that was its time. Where several share such a gap, the next calls are all timed.

use std::sync::Arc;
use std::time::Duration;

use crate::event::What;
use crate::id::Key;
use crate::time::{Clock, Moment};

use super::super::info::ConnKind;
use super::Watch;
use super::histogram::Histogram;

/// How long the handlers of one listener, or of one kind of connection, took for one kind of event:
/// [`Manager::latencies`](crate::Manager::latencies).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// The URL of the listener that accepted the connections, or that they are. Handlers of listeners with the same URL
    /// share it.
    pub listener: Option<Arc<str>>,
    /// What the connections are. None for timers, hooks, and closures of other threads.
    pub kind: Option<ConnKind>,
    /// What they were told of, as in [`Running`](super::Running); "other" for all that came when there were too many
    /// kinds already.
    pub event: &'static str,
    /// How long that took. Calls of a millisecond or more count once each, of the shorter ones one in 256 is timed and
    /// counts for 256.
    pub times: Histogram,
}

/// Whose call it is.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    pub(crate) conn: Option<Key>,
    pub(crate) listener: Option<Key>,
    pub(crate) what: What,
}

/// The loop's side of it.
pub(super) struct Latencies {
    entries: Vec<Latency>,
    /// Where the last calls went, so that not each is looked up by its URL.
    recent: Vec<(Place, usize)>,
    /// Calls to leave out before the next is timed.
    skip: u32,
    /// Calls to be timed without exception.
    closely: u32,
    random: u32,
    turn_began: Moment,
    /// When the clock was last looked at (`NEVER`: too long ago to tell anything), how many calls were not timed since, and
    /// the last of those.
    looked: Moment,
    untimed: u32,
    last: Call,
    kind: Option<ConnKind>,
    /// When the call that runs began, if it is timed.
    began: Option<Moment>,
}

/// Calls with the same listener, of the same kind, for the same event.
type Place = (Option<Key>, Option<ConnKind>, What);

/// Calls for one that is timed, on average.
const SAMPLE: u32 = 256;
/// What takes this long is never left to chance.
const LONG: Duration = Duration::from_millis(1);
/// Calls that are timed after a long one hid among others.
const CLOSELY: u32 = 64;
/// Kinds of calls that are told apart.
const ENTRIES_MAX: usize = 128;
const RECENT_MAX: usize = 32;

impl Latencies {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            recent: Vec::new(),
            skip: 0,
            closely: 0,
            random: 0x9e37_79b9,
            turn_began: Moment::START,
            looked: Moment::NEVER,
            untimed: 0,
            last: Call { conn: None, listener: None, what: What::Other },
            kind: None,
            began: None,
        }
    }

    pub(super) fn entries(&self) -> &[Latency] {
        &self.entries
    }

    /// The turn begins, at this time.
    #[inline]
    pub(super) fn begin(&mut self, now: Moment) {
        self.turn_began = now;
        self.set_looked(now);
    }

    /// The loop does something else that may take long: the time since the last look is nobody's.
    #[inline]
    pub(super) fn forget(&mut self) {
        self.set_looked(Moment::NEVER);
    }

    /// Somebody has looked at the clock between two calls.
    #[inline]
    pub(super) fn look(&mut self, watch: &Watch, now: Moment, kind: impl FnOnce(Key) -> Option<ConnKind>) {
        if self.untimed > 0 && now.since(self.looked) >= LONG {
            self.kind = self.last.conn.and_then(kind);
            self.find_long(watch, now);
        }
        self.set_looked(now);
    }

    #[inline]
    fn set_looked(&mut self, now: Moment) {
        self.looked = now;
        self.untimed = 0;
    }

    #[inline]
    pub(super) fn enter(
        &mut self,
        watch: &Watch,
        call: Call,
        clock: &mut Clock,
        kind: impl Fn(Key) -> Option<ConnKind>,
    ) {
        if self.skip > 0 {
            self.skip -= 1;
            self.untimed += 1;
            self.last = call;
            return;
        }
        let now = clock.now();
        self.look(watch, now, &kind);
        self.last = call;
        self.kind = call.conn.and_then(kind);
        self.began = Some(now);
    }

    /// A call that is not timed is followed by another of the same connection. False, and nothing is done, where one of the two
    /// is timed.
    #[cfg(feature = "http")]
    #[inline]
    pub(super) fn goes_on(&mut self, what: What) -> bool {
        if self.began.is_some() || self.skip == 0 {
            return false;
        }
        self.skip -= 1;
        self.untimed += 1;
        self.last.what = what;
        true
    }

    #[inline]
    pub(super) fn leave(&mut self, watch: &Watch, clock: &mut Clock) {
        if let Some(began) = self.began.take() {
            self.end(watch, began, clock.now());
        }
    }

    /// The call that has just returned took long, as somebody else has seen: it began at the last look, or a little later.
    pub(super) fn end_stall(&mut self, watch: &Watch, clock: &mut Clock) {
        let began =
            self.began.take().unwrap_or(if self.looked == Moment::NEVER { self.turn_began } else { self.looked });
        self.end(watch, began, clock.now());
    }

    #[inline(never)]
    fn end(&mut self, watch: &Watch, began: Moment, now: Moment) {
        let time = now.since(began);
        let each = self.closely > 0 || time >= LONG;
        self.record(watch, time, if each { 1 } else { SAMPLE });
        self.set_looked(now);
        // One long call is seldom the last.
        if self.closely > 0 {
            self.closely = if time >= LONG { CLOSELY } else { self.closely - 1 };
        }
        self.skip = if self.closely > 0 { 0 } else { self.pause() };
    }

    #[cold]
    fn find_long(&mut self, watch: &Watch, now: Moment) {
        if self.untimed == 1 {
            self.record(watch, now.since(self.looked), 1);
        } else {
            self.closely = CLOSELY;
            self.skip = 0;
        }
    }

    /// How many calls to leave out: at random, since calls come in patterns.
    fn pause(&mut self) -> u32 {
        // xorshift32
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % (2 * SAMPLE - 1)
    }

    fn record(&mut self, watch: &Watch, time: Duration, weight: u32) {
        let place = (self.last.listener, self.kind, self.last.what);
        let at = match self.recent.iter().find(|(known, _)| *known == place) {
            Some((_, at)) => *at,
            None => self.find(watch, place),
        };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.times.record(time, weight);
        }
    }

    #[cold]
    fn find(&mut self, watch: &Watch, place: Place) -> usize {
        let (listener, kind, what) = place;
        let listener = listener.and_then(|key| watch.listener(key.to_bits()));
        let (url, event) = (listener.as_deref(), what.name());
        let is_it = |entry: &Latency| entry.event == event && entry.kind == kind && entry.listener.as_deref() == url;
        let at = match self.entries.iter().position(is_it) {
            Some(at) => at,
            None => self.add(Latency { listener, kind, event, times: Histogram::new() }),
        };
        if self.recent.len() == RECENT_MAX {
            self.recent.clear();
        }
        self.recent.push((place, at));
        at
    }

    /// Where it has been added, or what takes its place.
    fn add(&mut self, entry: Latency) -> usize {
        let last = ENTRIES_MAX - 1;
        if self.entries.len() < last {
            self.entries.push(entry);
            return self.entries.len() - 1;
        }
        if self.entries.len() == last {
            let event = What::Other.name();
            self.entries.push(Latency { listener: None, kind: None, event, times: Histogram::new() });
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::id::Table;
    use crate::time::ManualClock;

    const SHORT: Duration = Duration::from_micros(3);

    struct Loop {
        watch: Watch,
        times: Latencies,
        hand: ManualClock,
        clock: Clock,
    }

    impl Loop {
        fn new() -> Self {
            let hand = ManualClock::new();
            Self {
                watch: Watch::new(Instant::now()),
                times: Latencies::new(),
                clock: Clock::manual(hand.clone()),
                hand,
            }
        }

        fn call(&mut self, what: What, time: Duration) {
            let call = Call { conn: None, listener: None, what };
            self.times.enter(&self.watch, call, &mut self.clock, |_| None);
            self.hand.advance(time);
            self.times.leave(&self.watch, &mut self.clock);
        }

        fn turn(&mut self, calls: &[(What, Duration)]) {
            self.times.begin(self.clock.now());
            for (what, time) in calls {
                self.call(*what, *time);
            }
            self.times.look(&self.watch, self.clock.now(), |_| None);
            // The flush.
            self.times.forget();
            self.hand.advance(10 * LONG);
            self.call(What::Turn, SHORT);
        }

        fn of(&self, what: What) -> Option<&Histogram> {
            self.times.entries().iter().find(|entry| entry.event == what.name()).map(|entry| &entry.times)
        }
    }

    #[test]
    fn a_sample_stands_for_all_short_calls_whatever_their_pattern() {
        let mut it = Loop::new();
        for _ in 0..100_000 {
            it.turn(&[(What::Opened, SHORT), (What::Data, 2 * SHORT), (What::Data, 2 * SHORT), (What::Closed, SHORT)]);
        }
        for (event, count, time) in
            [(What::Opened, 100_000, SHORT), (What::Data, 200_000, 2 * SHORT), (What::Closed, 100_000, SHORT)]
        {
            let times = it.of(event).unwrap();
            assert!(
                times.count().abs_diff(count) < count / 5,
                "{event:?}: {count} calls, counted as {}",
                times.count()
            );
            assert!(times.max() == time && times.percentile(50.0) == time, "{event:?}: {times:?}");
        }
    }

    #[test]
    fn each_long_call_that_is_alone_is_counted_and_once() {
        let mut it = Loop::new();
        for round in 0..1_000u32 {
            it.turn(&[(What::Data, SHORT)]);
            if round % 10 == 0 {
                it.turn(&[(What::Data, Duration::from_millis(7))]);
            }
        }
        let long = it.of(What::Data).unwrap().buckets().filter(|(end, _)| *end > LONG).map(|(_, count)| count);
        assert_eq!(long.collect::<Vec<_>>(), [100]);
    }

    #[test]
    fn after_a_long_call_among_others_all_are_timed() {
        let mut it = Loop::new();
        let long = Duration::from_millis(20);
        while it.times.skip < 10 {
            it.turn(&[(What::Data, SHORT)]);
        }
        it.turn(&[(What::Data, SHORT), (What::Wakeup, long), (What::Data, SHORT)]);
        assert_eq!(it.of(What::Wakeup), None, "nobody knows which it was");
        for _ in 0..50 {
            it.turn(&[(What::Data, SHORT), (What::Wakeup, long), (What::Data, SHORT)]);
        }
        let times = it.of(What::Wakeup).unwrap();
        assert_eq!((times.count(), times.max()), (50, long));
    }

    #[test]
    fn a_stall_counts_from_the_last_look() {
        let mut it = Loop::new();
        while it.times.skip == 0 {
            it.turn(&[(What::Data, SHORT)]);
        }
        it.times.begin(it.clock.now());
        let call = Call { conn: None, listener: None, what: What::Timer };
        it.times.enter(&it.watch, call, &mut it.clock, |_| None);
        it.hand.advance(Duration::from_secs(2));
        it.times.end_stall(&it.watch, &mut it.clock);
        it.times.look(&it.watch, it.clock.now(), |_| None);
        let times = it.of(What::Timer).unwrap();
        assert_eq!((times.count(), times.max()), (1, Duration::from_secs(2)));
    }

    #[test]
    fn what_is_too_much_to_tell_apart_is_counted_together() {
        let mut it = Loop::new();
        let mut table = Table::new();
        let listeners: Vec<_> = (0..ENTRIES_MAX + 10).map(|_| table.insert(())).collect();
        for (n, key) in listeners.into_iter().enumerate() {
            it.watch.listeners().insert(key.to_bits(), format!("tcp://127.0.0.1:{n}").into());
            it.times.last = Call { conn: None, listener: Some(key), what: What::Data };
            it.times.record(&it.watch, SHORT, 1);
        }
        assert_eq!(it.times.entries().len(), ENTRIES_MAX);
        assert_eq!(it.times.entries()[3].listener.as_deref(), Some("tcp://127.0.0.1:3"));
        assert_eq!(it.of(What::Other).map(Histogram::count), Some(11));
    }
}

//! Where time comes from: the system, or a hand.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

#[cfg(feature = "sntp")]
use super::Wall;

/// A point in a manager's time: nanoseconds since it was made. Eight bytes, where an `Instant` has sixteen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Moment(u64);

impl Moment {
    pub(crate) const START: Self = Self(0);
    /// Later than any deadline: nothing is due.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) fn as_nanos(self) -> u64 {
        self.0
    }

    pub(crate) fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(nanos(wait)))
    }

    /// So long ago.
    #[cfg(feature = "sntp")]
    pub(crate) fn before(self, ago: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(ago)))
    }

    /// How long from `earlier` until this; zero when it is not later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The first of `self + n * period` (n >= 1) that lies after `now`: a late timer keeps its phase and misses
    /// what it missed.
    pub(crate) fn next_tick(self, period: Duration, now: Self) -> Self {
        let period = nanos(period).max(1);
        let late = now.0.saturating_sub(self.0);
        Self(self.0.saturating_add((late / period).saturating_add(1).saturating_mul(period)))
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is told to move: for tests of time without waiting.
///
/// Copies share the same time. A manager that was given one ([`Builder::clock`](crate::Builder::clock)) never sleeps
/// in `poll` for the sake of a timer; it fires what is due when the clock says so.
#[derive(Clone, Debug)]
pub struct ManualClock {
    elapsed: Rc<Cell<Duration>>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock at zero.
    pub fn new() -> Self {
        Self { elapsed: Rc::new(Cell::new(Duration::ZERO)) }
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        self.elapsed.set(self.elapsed.get().saturating_add(by));
    }

    /// Sets the time since zero. Backwards is allowed and counts as no time at all: what is due stays due, and ticks go
    /// on from here.
    pub fn set(&self, elapsed: Duration) {
        self.elapsed.set(elapsed);
    }

    /// The time since zero.
    pub fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }
}

/// A manager's clock. It never runs backwards, whatever its source does.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    source: Source,
    /// The last reading of the source and the time that it was taken to be.
    last: (u64, u64),
    /// The wall clock, once it is set by us instead of the system.
    #[cfg(feature = "sntp")]
    wall: Option<Wall>,
}

#[derive(Debug)]
enum Source {
    System,
    Manual(ManualClock),
    /// As a hand's, but it moves on while a manager waits, and what its wall clock showed at zero may change.
    #[cfg(feature = "sim")]
    Simulated(ManualClock, Rc<Cell<Duration>>),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::new(Instant::now(), Source::System, 0)
    }

    pub(crate) fn manual(clock: ManualClock) -> Self {
        let raw = nanos(clock.elapsed());
        Self::new(Instant::now(), Source::Manual(clock), raw)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn simulated(clock: ManualClock, wall: Rc<Cell<Duration>>, epoch: Instant) -> Self {
        let raw = nanos(clock.elapsed());
        Self::new(epoch, Source::Simulated(clock, wall), raw)
    }

    fn new(epoch: Instant, source: Source, raw: u64) -> Self {
        Self {
            epoch,
            source,
            last: (raw, raw),
            #[cfg(feature = "sntp")]
            wall: None,
        }
    }

    /// It stands still while we wait.
    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.source, Source::Manual(_))
    }

    /// Its time is that of `Instant::now`.
    pub(crate) fn is_of_the_system(&self) -> bool {
        matches!(self.source, Source::System)
    }

    pub(crate) fn now(&mut self) -> Moment {
        let (raw, now) = self.reading();
        self.last = (raw, now);
        Moment(now)
    }

    /// What the source says, and what that is taken to be.
    fn reading(&self) -> (u64, u64) {
        let raw = match &self.source {
            Source::System => nanos(self.epoch.elapsed()),
            Source::Manual(clock) => nanos(clock.elapsed()),
            #[cfg(feature = "sim")]
            Source::Simulated(clock, _) => nanos(clock.elapsed()),
        };
        let (last_raw, last) = self.last;
        (raw, last.saturating_add(raw.saturating_sub(last_raw)))
    }

    pub(crate) fn instant(&self, at: Moment) -> Instant {
        self.epoch.checked_add(Duration::from_nanos(at.0)).unwrap_or(self.epoch)
    }

    /// The wall clock as the time since 1970; zero before. A manual clock stands at 2000-01-01 when it is at zero.
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(crate) fn wall(&self) -> Duration {
        #[cfg(feature = "sntp")]
        if let Some(wall) = &self.wall {
            return Duration::from_nanos(u64::try_from(wall.read(Moment(self.reading().1))).unwrap_or(0));
        }
        self.own_wall().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The system's wall clock, or the hand's.
    #[cfg_attr(not(any(feature = "http", feature = "sntp")), allow(dead_code))]
    fn own_wall(&self) -> SystemTime {
        match &self.source {
            Source::System => SystemTime::now(),
            Source::Manual(clock) => UNIX_EPOCH + Y2K.saturating_add(clock.elapsed()).min(YEAR_9999),
            #[cfg(feature = "sim")]
            Source::Simulated(clock, wall) => UNIX_EPOCH + wall.get().saturating_add(clock.elapsed()).min(YEAR_9999),
        }
    }
}

#[cfg(feature = "sntp")]
impl Clock {
    /// What the wall clock showed at a moment, in nanoseconds since 1970, negative before. `at` is now, or a moment ago.
    pub(crate) fn wall_at(&self, at: Moment) -> i64 {
        if let Some(wall) = &self.wall {
            return wall.read(at);
        }
        let ago = Moment(self.reading().1).since(at);
        let own = match self.own_wall().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        };
        own.saturating_sub(i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX))
    }

    /// The time, without taking notice of it.
    pub(crate) fn reading_now(&self) -> Moment {
        Moment(self.reading().1)
    }

    /// The wall clock that we set; none while it is the system's.
    pub(crate) fn set_wall(&self) -> Option<&Wall> {
        self.wall.as_ref()
    }

    /// The wall clock, to set. From now on it runs with the monotonic clock, and the system's is not asked any more.
    pub(crate) fn wall_mut(&mut self) -> &mut Wall {
        let now = self.now();
        let shows = self.wall_at(now);
        self.wall.get_or_insert_with(|| Wall::new(now, shows))
    }
}

/// Where a clock that is moved by hand begins.
#[cfg_attr(not(any(feature = "http", feature = "sntp")), allow(dead_code))]
pub(crate) const Y2K: Duration = Duration::from_secs(946_684_800);
/// Where it ends: later a system may have no name for the time.
#[cfg_attr(not(any(feature = "http", feature = "sntp")), allow(dead_code))]
const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards_and_goes_on_after_a_jump_back() {
        let hand = ManualClock::new();
        let mut clock = Clock::manual(hand.clone());
        hand.set(Duration::from_secs(10));
        let ten = clock.now();
        hand.set(Duration::from_secs(3));
        assert_eq!(clock.now(), ten);
        hand.advance(Duration::from_secs(1));
        assert_eq!(clock.now().since(ten), Duration::from_secs(1));
    }

    #[test]
    fn a_late_tick_keeps_its_phase_and_is_not_replayed() {
        let ms = Duration::from_millis;
        let due = Moment::START.after(ms(5));
        for (now, next) in [(5, 10), (9, 10), (10, 15), (101, 105)] {
            assert_eq!(due.next_tick(ms(5), Moment::START.after(ms(now))), Moment::START.after(ms(next)), "at {now}");
        }
    }
}

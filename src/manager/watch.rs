//! Which handler runs now, for other threads to look at, and how long they take: who waits for a loop that does not come
//! back wants a name.

mod gate;
mod histogram;
mod latency;
mod stall;
/// What the gate is made of.
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::event::What;
use crate::id::{ConnId, Key};
use crate::time::{Clock, Moment};

use super::core::Core;
use super::info::ConnKind;
use super::stats::Stats;

use self::latency::Latencies;
use self::stall::Watchdog;

pub use self::histogram::Histogram;
pub(crate) use self::latency::Call;
pub use self::latency::Latency;
pub use self::stall::{Stall, StallWatch};

/// A handler, a callback or a closure that is running, as another thread sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// Its connection; none for a timer, a hook, or a closure of another thread.
    pub conn: Option<ConnId>,
    /// The URL of the listener that accepted the connection, or that it is, as is a UDP socket that was bound.
    pub listener: Option<Arc<str>>,
    /// What it was told of ([`Event::name`](crate::Event::name)), or "timer", "turn", "with", "factory", "drop".
    pub event: &'static str,
    /// For how long, counted from the beginning of the loop's turn.
    pub elapsed: Duration,
}

impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.conn {
            Some(conn) => write!(f, "the handler of connection {conn}")?,
            None => write!(f, "user code")?,
        }
        if let Some(listener) = &self.listener {
            write!(f, " (listener {listener})")?;
        }
        write!(f, " in {} for {}", self.event, Time(self.elapsed))
    }
}

/// A time as a person reads it.
struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            ms @ ..100 => write!(f, "{ms} ms"),
            _ => write!(f, "{:.1} s", self.0.as_secs_f64()),
        }
    }
}

/// Looks from any thread at what a manager runs: [`Manager::observer`](super::Manager::observer).
#[derive(Clone)]
pub struct Observer {
    watch: Arc<Watch>,
}

/// What is shared: numbers that the loop stores and anybody may read.
struct Watch {
    epoch: Instant,
    /// When the turn began, in nanoseconds after `epoch`.
    turn_began: AtomicU64,
    /// Odd while the loop writes: whoever reads tries again. No two calls have the same.
    version: AtomicU32,
    conn: AtomicU64,
    listener: AtomicU64,
    what: AtomicU8,
    /// The URLs of listeners, by their keys.
    listeners: Mutex<HashMap<u64, Arc<str>>>,
}

/// The numbers of one call.
struct Seen {
    version: u32,
    conn: u64,
    listener: u64,
    what: u8,
}

/// The `what` of a time in which no user code runs.
const NOTHING: u8 = u8::MAX;

/// The loop's half.
pub(crate) struct Watched {
    watch: Arc<Watch>,
    version: u32,
    /// Odd within a turn.
    turn: u64,
    stalls: Option<Box<Stalls>>,
}

/// What a stall watch adds.
struct Stalls {
    watchdog: Watchdog,
    times: Latencies,
}

impl Observer {
    /// What runs now. None between handlers, and while the manager waits.
    pub fn running(&self) -> Option<Running> {
        let seen = self.watch.read()?;
        self.watch.running(&seen, self.watch.turn_began().elapsed())
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("running", &self.running()).finish()
    }
}

impl Watch {
    fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            turn_began: AtomicU64::new(0),
            version: AtomicU32::new(0),
            conn: AtomicU64::new(0),
            listener: AtomicU64::new(0),
            what: AtomicU8::new(NOTHING),
            listeners: Mutex::default(),
        }
    }

    /// The call that runs, or ran last.
    fn read(&self) -> Option<Seen> {
        // Each try takes nanoseconds, and what blocks does not write: one of them sees a whole picture.
        (0..1000).find_map(|_| self.try_read())
    }

    fn try_read(&self) -> Option<Seen> {
        let version = self.version.load(Ordering::Acquire);
        let seen = Seen {
            version,
            conn: self.conn.load(Ordering::Relaxed),
            listener: self.listener.load(Ordering::Relaxed),
            what: self.what.load(Ordering::Relaxed),
        };
        fence(Ordering::Acquire);
        (version & 1 == 0 && self.version.load(Ordering::Relaxed) == version).then_some(seen)
    }

    fn running(&self, seen: &Seen, elapsed: Duration) -> Option<Running> {
        Some(Running {
            event: What::name_of(usize::from(seen.what))?,
            conn: Key::from_bits(seen.conn).map(ConnId),
            listener: self.listener(seen.listener),
            elapsed,
        })
    }

    fn turn_began(&self) -> Instant {
        let after = Duration::from_nanos(self.turn_began.load(Ordering::Relaxed));
        self.epoch.checked_add(after).unwrap_or(self.epoch)
    }

    fn listener(&self, key: u64) -> Option<Arc<str>> {
        self.listeners().get(&key).cloned()
    }

    fn listeners(&self) -> MutexGuard<'_, HashMap<u64, Arc<str>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// `epoch` is the moment zero of the loop's clock, if that is the system's, or now.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { watch: Arc::new(Watch::new(epoch)), version: 0, turn: 0, stalls: None }
    }

    pub(crate) fn observer(&self) -> Observer {
        Observer { watch: Arc::clone(&self.watch) }
    }

    /// A turn begins.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: Moment, clock: &Clock) {
        // Whoever watches from another thread has no other clock than the system's.
        let began = match clock.is_of_the_system() {
            true => now,
            false => Moment::START.after(self.watch.epoch.elapsed()),
        };
        self.watch.turn_began.store(began.as_nanos(), Ordering::Relaxed);
        self.turn = self.turn.wrapping_add(1) | 1;
        if let Some(stalls) = &mut self.stalls {
            stalls.times.begin(now);
            stalls.watchdog.begin(self.turn);
        }
    }

    /// Somebody has looked at the clock, between two calls.
    #[inline]
    pub(crate) fn look(&mut self, now: Moment, kind: impl FnOnce(Key) -> Option<ConnKind>) {
        if let Some(stalls) = &mut self.stalls {
            stalls.times.look(&self.watch, now, kind);
        }
    }

    /// The loop does something else than calling handlers.
    #[inline]
    pub(crate) fn forget(&mut self) {
        if let Some(stalls) = &mut self.stalls {
            stalls.times.forget();
        }
    }

    /// The turn is over.
    #[inline]
    pub(crate) fn end_turn(&mut self, stats: &mut Stats) {
        self.turn = self.turn.wrapping_add(1);
        let Some(stalls) = &mut self.stalls else { return };
        let seen = stalls.watchdog.take_stalls();
        if seen > 0 {
            let took = self.watch.turn_began().elapsed();
            crate::trace::trace_event!(warn, "the loop goes on after {:.2} s", took.as_secs_f64());
            stats.stalls += seen;
            stats.stall_longest = stats.stall_longest.max(took);
        }
        stalls.watchdog.end(self.turn);
    }

    /// User code is about to run.
    #[inline]
    pub(crate) fn enter(&mut self, call: Call, clock: &mut Clock, kind: impl Fn(Key) -> Option<ConnKind>) {
        let watch = &*self.watch;
        watch.version.store(self.version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        watch.conn.store(call.conn.map_or(0, Key::to_bits), Ordering::Relaxed);
        watch.listener.store(call.listener.map_or(0, Key::to_bits), Ordering::Relaxed);
        watch.what.store(call.what.code(), Ordering::Relaxed);
        self.version = self.version.wrapping_add(2);
        watch.version.store(self.version, Ordering::Release);
        if let Some(stalls) = &mut self.stalls {
            stalls.times.enter(watch, call, clock, kind);
        }
    }

    /// It has returned, and runs again at once for the same connection, told of something else. False, and nothing is done,
    /// where the clock must be looked at in between: then it leaves and enters.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn goes_on(&mut self, what: What) -> bool {
        if let Some(stalls) = &mut self.stalls
            && (stalls.watchdog.has_caught(self.version) || !stalls.times.goes_on(what))
        {
            return false;
        }
        let watch = &*self.watch;
        watch.version.store(self.version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        watch.what.store(what.code(), Ordering::Relaxed);
        self.version = self.version.wrapping_add(2);
        watch.version.store(self.version, Ordering::Release);
        true
    }

    /// It has returned.
    #[inline]
    pub(crate) fn leave(&mut self, clock: &mut Clock) {
        let watch = &*self.watch;
        if let Some(stalls) = &mut self.stalls {
            if stalls.watchdog.has_caught(self.version) {
                stalls.times.end_stall(watch, clock);
            } else {
                stalls.times.leave(watch, clock);
            }
        }
        watch.what.store(NOTHING, Ordering::Relaxed);
    }

    pub(crate) fn listens(&self, key: Key, url: &str) {
        self.watch.listeners().insert(key.to_bits(), url.into());
    }

    pub(crate) fn listens_no_more(&self, key: Key) {
        self.watch.listeners().remove(&key.to_bits());
    }
}

impl<S> Core<S> {
    /// Others will want to know which handler runs.
    pub(crate) fn be_watched(&mut self) -> Observer {
        self.watched().observer()
    }

    /// Has a thread see to it that the loop comes back.
    pub(crate) fn watch_stalls(&mut self, options: StallWatch) -> Result<()> {
        let watched = self.watched();
        let watchdog = Watchdog::start(Arc::clone(&watched.watch), options)?;
        let times = watched.stalls.take().map_or_else(Latencies::new, |before| before.times);
        watched.stalls = Some(Box::new(Stalls { watchdog, times }));
        Ok(())
    }

    pub(crate) fn latencies(&self) -> &[Latency] {
        let stalls = self.watch.as_ref().and_then(|watched| watched.stalls.as_ref());
        stalls.map_or(&[], |stalls| stalls.times.entries())
    }

    fn watched(&mut self) -> &mut Watched {
        let (conns, clock) = (&self.conns, &self.clock);
        self.watch.get_or_insert_with(|| {
            let epoch = if clock.is_of_the_system() { clock.instant(Moment::START) } else { Instant::now() };
            let watched = Box::new(Watched::new(epoch));
            for (key, conn) in conns.iter() {
                if let Some(url) = conn.io.listens_on() {
                    watched.listens(key, url);
                }
            }
            watched
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Table;
    use crate::time::ManualClock;

    #[test]
    fn what_runs_is_seen_from_another_thread_until_it_returns() {
        let mut table = Table::new();
        let (listener, conn) = (table.insert(()), table.insert(()));
        let mut clock = Clock::manual(ManualClock::new());
        let mut watched = Watched::new(Instant::now());
        let observer = watched.observer();
        let seen = || {
            let observer = observer.clone();
            std::thread::spawn(move || observer.running()).join().unwrap()
        };
        watched.listens(listener, "tcp://[::1]:7");
        assert_eq!(seen(), None);
        watched.begin_turn(Moment::START, &clock);
        let call = Call { conn: Some(conn), listener: Some(listener), what: What::Data };
        watched.enter(call, &mut clock, |_| None);
        let running = seen().unwrap();
        assert_eq!((running.conn, running.event), (Some(ConnId(conn)), "Data"));
        assert_eq!(running.listener.as_deref(), Some("tcp://[::1]:7"));
        assert!(running.to_string().contains("(listener tcp://[::1]:7) in Data for "), "{running}");
        watched.leave(&mut clock);
        assert_eq!(observer.running(), None);
        watched.listens_no_more(listener);
        watched.enter(Call { conn: None, what: What::Timer, ..call }, &mut clock, |_| None);
        assert_eq!(seen().map(|running| (running.conn, running.listener)), Some((None, None)));
    }
}

//! Which handler runs now, for other threads to look at: who waits for a loop that does not come back wants a name.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::id::{ConnId, Key};

use super::core::Core;

/// A handler, a callback or a closure that is running, as another thread sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// Its connection; none for a timer, a hook, or a closure of another thread.
    pub conn: Option<ConnId>,
    /// The URL of the listener that accepted the connection, or that it is.
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
        write!(f, " in {} for {:.1} s", self.event, self.elapsed.as_secs_f64())
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
    /// Odd while the loop writes: whoever reads tries again.
    version: AtomicU32,
    conn: AtomicU64,
    listener: AtomicU64,
    /// Zero while no user code runs.
    name: AtomicUsize,
    /// Nanoseconds after `epoch`.
    since: AtomicU64,
    known: Mutex<Known>,
}

/// What the numbers stand for.
#[derive(Default)]
struct Known {
    names: Vec<&'static str>,
    listeners: HashMap<u64, Arc<str>>,
}

/// The loop's half.
pub(crate) struct Watched {
    watch: Arc<Watch>,
    /// The names that have a number, so that no lock is needed for those seen before.
    names: Vec<&'static str>,
}

impl Observer {
    /// What runs now. None between handlers, and while the manager waits.
    pub fn running(&self) -> Option<Running> {
        let watch = &*self.watch;
        // Each try takes nanoseconds, and what blocks does not write: one of them sees a whole picture.
        let (conn, listener, name, since) = (0..1000).find_map(|_| watch.read())?;
        let known = watch.known();
        let event = *known.names.get(name.checked_sub(1)?)?;
        Some(Running {
            conn: Key::from_bits(conn).map(ConnId),
            listener: known.listeners.get(&listener).cloned(),
            event,
            elapsed: watch.epoch.elapsed().saturating_sub(Duration::from_nanos(since)),
        })
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").field("running", &self.running()).finish()
    }
}

impl Watch {
    fn read(&self) -> Option<(u64, u64, usize, u64)> {
        let before = self.version.load(Ordering::Acquire);
        let seen = (
            self.conn.load(Ordering::Relaxed),
            self.listener.load(Ordering::Relaxed),
            self.name.load(Ordering::Relaxed),
            self.since.load(Ordering::Relaxed),
        );
        fence(Ordering::Acquire);
        (before & 1 == 0 && self.version.load(Ordering::Relaxed) == before).then_some(seen)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    pub(crate) fn new() -> Self {
        let watch = Watch {
            epoch: Instant::now(),
            version: AtomicU32::new(0),
            conn: AtomicU64::new(0),
            listener: AtomicU64::new(0),
            name: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            known: Mutex::default(),
        };
        Self { watch: Arc::new(watch), names: Vec::new() }
    }

    pub(crate) fn observer(&self) -> Observer {
        Observer { watch: Arc::clone(&self.watch) }
    }

    /// User code is about to run.
    #[inline]
    pub(crate) fn enter(&mut self, conn: Option<Key>, listener: Option<Key>, name: &'static str, now: Instant) {
        // Names are few, and the same ones each time: comparing where they lie is enough.
        let known = self.names.iter().position(|known| std::ptr::eq(known.as_ptr(), name.as_ptr()));
        let name = known.map_or_else(|| self.learn(name), |at| at + 1);
        let since = now.saturating_duration_since(self.watch.epoch);
        let watch = &*self.watch;
        let version = watch.version.load(Ordering::Relaxed);
        watch.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        watch.conn.store(conn.map_or(0, Key::to_bits), Ordering::Relaxed);
        watch.listener.store(listener.map_or(0, Key::to_bits), Ordering::Relaxed);
        watch.name.store(name, Ordering::Relaxed);
        watch.since.store(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        watch.version.store(version.wrapping_add(2), Ordering::Release);
    }

    /// It has returned.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.watch.name.store(0, Ordering::Relaxed);
    }

    #[cold]
    fn learn(&mut self, name: &'static str) -> usize {
        self.names.push(name);
        self.watch.known().names.push(name);
        self.names.len()
    }

    pub(crate) fn listens(&self, key: Key, url: &str) {
        self.watch.known().listeners.insert(key.to_bits(), url.into());
    }

    pub(crate) fn listens_no_more(&self, key: Key) {
        self.watch.known().listeners.remove(&key.to_bits());
    }
}

impl<S> Core<S> {
    /// Others will want to know which handler runs.
    pub(crate) fn be_watched(&mut self) -> Observer {
        self.watch.get_or_insert_with(|| Box::new(Watched::new())).observer()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Table;

    #[test]
    fn what_runs_is_seen_from_another_thread_until_it_returns() {
        let mut table = Table::new();
        let (listener, conn) = (table.insert(()), table.insert(()));
        let mut watched = Watched::new();
        let observer = watched.observer();
        let seen = || {
            let observer = observer.clone();
            std::thread::spawn(move || observer.running()).join().unwrap()
        };
        watched.listens(listener, "tcp://[::1]:7");
        assert_eq!(seen(), None);
        watched.enter(Some(conn), Some(listener), "Data", Instant::now());
        let running = seen().unwrap();
        assert_eq!((running.conn, running.event), (Some(ConnId(conn)), "Data"));
        assert_eq!(running.listener.as_deref(), Some("tcp://[::1]:7"));
        assert!(running.to_string().contains("(listener tcp://[::1]:7) in Data for 0.0 s"), "{running}");
        watched.leave();
        assert_eq!(observer.running(), None);
        watched.listens_no_more(listener);
        watched.enter(None, Some(listener), "timer", Instant::now());
        assert_eq!(seen().map(|running| (running.conn, running.listener)), Some((None, None)));
    }
}

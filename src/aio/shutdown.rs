//! The end of the loop's thread: who asks for it, who waits, and who is told that it takes long.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use crate::error::Result;
use crate::manager::{Observer, Running, Stopped, discard, message};
use crate::reactor::Waker;

use super::incident::{Hook, Incident, tell};

/// How long the end of an [`AsyncManager`](super::AsyncManager) may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Shutdown {
    pub(super) limit: Duration,
    pub(super) retry: Duration,
    pub(super) grace: Duration,
}

impl Default for Shutdown {
    /// 30 s in all, a warning every 5 s, and 1 s more at the end.
    fn default() -> Self {
        Self { limit: Duration::from_secs(30), retry: Duration::from_secs(5), grace: Duration::from_secs(1) }
    }
}

impl Shutdown {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long connections may finish what they are doing; then they are closed (30 s). Zero closes them at once.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// How often somebody is told that the thread is still there, and the thread is asked again (5 s; at least 1 ms).
    pub fn retry(mut self, every: Duration) -> Self {
        self.retry = every.max(Duration::from_millis(1));
        self
    }

    /// How long the thread has, after the limit, to close everything; then it is left to itself (1 s).
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

/// How the loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// How often the thread was asked to stop. Zero: it ended by itself.
    pub attempts: u32,
    /// Connections that finished what they were doing.
    pub drained: usize,
    /// Connections that were closed in the midst of something, because the time was up.
    pub aborted: usize,
    /// A handler still ran: the thread was left to itself. It closes everything when the handler returns.
    pub abandoned: bool,
    /// The handler that the thread was left in.
    pub running: Option<Running>,
    /// What the thread died of, if it did not end in order.
    pub died: Option<String>,
    /// From the first request to stop to the end.
    pub elapsed: Duration,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { drained, aborted, elapsed, .. } = self;
        match (&self.died, self.abandoned) {
            (Some(why), _) => write!(f, "the loop died: {why}"),
            (None, true) => {
                write!(f, "the loop did not stop within {:.1} s and is left to itself", elapsed.as_secs_f64())?;
                self.running.iter().try_for_each(|running| write!(f, "; running: {running}"))
            }
            (None, false) => {
                write!(
                    f,
                    "stopped in {:.1} s: {drained} connections finished, {aborted} cut off",
                    elapsed.as_secs_f64()
                )
            }
        }
    }
}

/// What the handles, the thread and those who wait for its end share.
pub(super) struct Shared {
    pub(super) waker: Waker,
    pub(super) observer: Observer,
    pub(super) runtime: tokio::runtime::Handle,
    /// One for each place in the queue. Who sends a closure forgets his, and the loop gives back as many as it has run.
    pub(super) permits: Arc<Semaphore>,
    pub(super) shutdown: Shutdown,
    hook: Option<Hook>,
    running: AtomicBool,
    asked: AtomicBool,
    ladder: Mutex<Ladder>,
    /// Something in `ladder` has changed.
    changed: Condvar,
    report: watch::Sender<Option<ShutdownReport>>,
}

/// How far the end has come.
#[derive(Default)]
struct Ladder {
    began: Option<Instant>,
    attempts: u32,
    ended: bool,
    abandoned: bool,
}

/// How the thread ended.
pub(super) struct Ended {
    stopped: Stopped,
    died: Option<String>,
}

impl Ended {
    pub(super) fn of(served: std::thread::Result<Result<Stopped>>) -> Self {
        match served {
            Ok(Ok(stopped)) => Self { stopped, died: None },
            Ok(Err(e)) => Self { stopped: Stopped::default(), died: Some(e.to_string()) },
            Err(payload) => {
                let why = format!("its thread panicked: {}", message(&*payload));
                discard(payload);
                Self { stopped: Stopped::default(), died: Some(why) }
            }
        }
    }
}

impl Shared {
    pub(super) fn new(
        waker: Waker,
        observer: Observer,
        runtime: tokio::runtime::Handle,
        permits: Arc<Semaphore>,
        hook: Option<Hook>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            waker,
            observer,
            runtime,
            permits,
            shutdown,
            hook,
            running: AtomicBool::new(true),
            asked: AtomicBool::new(false),
            ladder: Mutex::default(),
            changed: Condvar::new(),
            report: watch::Sender::new(None),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Acquire)
    }

    pub(super) fn tell(&self, incident: &Incident) {
        tell(self.hook.as_ref(), incident);
    }

    /// The loop has begun to stop.
    pub(super) fn stopping(&self) {
        self.running.store(false, Ordering::Release);
        self.ladder().began.get_or_insert_with(Instant::now);
    }

    /// Asks the loop to stop, once, and has a thread see to it that it does: neither depends on who waits for the end.
    pub(super) fn begin_shutdown(self: &Arc<Self>) {
        if self.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        self.stopping();
        self.ladder().attempts = 1;
        // An error means that the loop has stopped already.
        let _ = self.waker.stop();
        if self.ladder().ended {
            return;
        }
        let shared = Arc::clone(self);
        let climber = std::thread::Builder::new().name("vansire-stop".to_owned()).spawn(move || shared.climb());
        if let Err(e) = climber {
            crate::trace::trace_event!(warn, "nobody watches the loop's thread stop: {e}");
        }
    }

    /// Asks again from time to time, louder in the end.
    fn climb(&self) {
        let Shutdown { limit, retry, grace } = self.shutdown;
        let began = self.ladder().began.unwrap_or_else(Instant::now);
        let mut next = retry;
        while next < limit {
            if self.ends_before(began, next) {
                return;
            }
            self.ladder().attempts += 1;
            self.tell(&Incident::StopDelayed { after: began.elapsed(), running: self.observer.running() });
            self.waker.nudge();
            next = next.saturating_add(retry);
        }
        if self.ends_before(began, limit) {
            return;
        }
        // The second request closes everything at once.
        self.ladder().attempts += 1;
        let _ = self.waker.stop();
        self.waker.nudge();
        if self.ends_before(began, limit.saturating_add(grace)) {
            return;
        }
        let attempts = {
            let mut ladder = self.ladder();
            if ladder.ended {
                return;
            }
            // From here on the report is ours, whenever the thread ends.
            ladder.abandoned = true;
            ladder.attempts
        };
        let elapsed = began.elapsed();
        // Whoever waits for the report knows of the incident then.
        let running = self.observer.running();
        self.tell(&Incident::Abandoned { after: elapsed, running: running.clone() });
        let report = ShutdownReport { attempts, drained: 0, aborted: 0, abandoned: true, running, died: None, elapsed };
        self.report.send_replace(Some(report));
    }

    /// Waits for the end of the thread, until this long after the beginning.
    fn ends_before(&self, began: Instant, after: Duration) -> bool {
        let mut ladder = self.ladder();
        loop {
            let left = after.saturating_sub(began.elapsed());
            if ladder.ended || left.is_zero() {
                return ladder.ended;
            }
            ladder = self.changed.wait_timeout(ladder, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The thread has closed everything and ends.
    pub(super) fn end(&self, ended: Ended) {
        self.running.store(false, Ordering::Release);
        // Whoever waits for a place waits for nothing.
        self.permits.close();
        let Ended { stopped, died } = ended;
        if let Some(why) = &died {
            self.tell(&Incident::Died(why.clone()));
        }
        let mut ladder = self.ladder();
        ladder.ended = true;
        let report = ShutdownReport {
            attempts: ladder.attempts,
            drained: stopped.drained,
            aborted: stopped.aborted,
            abandoned: false,
            running: None,
            died,
            elapsed: ladder.began.map_or(Duration::ZERO, |began| began.elapsed()),
        };
        let was_abandoned = ladder.abandoned;
        drop(ladder);
        if !was_abandoned {
            self.report.send_replace(Some(report));
        }
        self.changed.notify_all();
    }

    pub(super) async fn ended(&self) -> ShutdownReport {
        let mut report = self.report.subscribe();
        loop {
            if let Some(report) = &*report.borrow_and_update() {
                return report.clone();
            }
            // The sender is here with us: it cannot go away.
            let _ = report.changed().await;
        }
    }

    fn ladder(&self) -> MutexGuard<'_, Ladder> {
        self.ladder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! A thread that sees a loop that does not come back, and names who holds it up while he still does.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::trace::trace_event;

use super::super::dispatch::discard;
use super::gate::Gate;
use super::{NOTHING, Running, Time, Watch};

/// What a watchdog has to know: when a loop is held up, and who is told. See
/// [`Manager::watch_stalls`](crate::Manager::watch_stalls).
#[derive(Clone)]
#[must_use = "nothing is watched before Manager::watch_stalls or AsyncBuilder::watch_stalls"]
pub struct StallWatch {
    threshold: Duration,
    hook: Option<Hook>,
}

type Hook = Arc<dyn Fn(&Stall) + Send + Sync>;

/// A loop is held up: other connections and timers wait.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// The handler that runs. None: the loop itself works or waits, for a disk for example.
    pub running: Option<Running>,
    /// No single handler took all the time: the turn has many, or much to do.
    pub is_of_many: bool,
    /// For how long so far.
    pub elapsed: Duration,
}

impl StallWatch {
    /// A loop is held up when a turn takes more than 250 ms; `tracing` is told.
    pub fn new() -> Self {
        Self { threshold: Duration::from_millis(250), hook: None }
    }

    /// How long a turn of the loop may take before somebody is told (250 ms; at least 1 ms).
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.threshold = threshold.max(Duration::from_millis(1));
        self
    }

    /// Is told of each stall while it lasts, and again whenever it has become four times as long. It runs on the
    /// watchdog's thread, which sees nothing else meanwhile.
    pub fn on_stall(mut self, hook: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Tells one more.
    #[cfg(feature = "async")]
    pub(crate) fn and_then(mut self, next: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        let first = self.hook.take();
        self.on_stall(move |stall| {
            if let Some(first) = &first {
                first(stall);
            }
            next(stall);
        })
    }
}

impl Default for StallWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StallWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StallWatch").field("threshold", &self.threshold).finish_non_exhaustive()
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.running {
            Some(running) if !self.is_of_many => write!(f, "the loop is held up by {running}"),
            running => {
                write!(f, "the loop is held up for {} by much work in one turn", Time(self.elapsed))?;
                match running {
                    Some(Running { event, .. }) => write!(f, ", now in {event}"),
                    None => write!(f, ", or a slow disk"),
                }
            }
        }
    }
}

/// The loop's end of a watchdog. Dropping it ends the thread, without waiting for it.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    gate: Gate,
    ended: AtomicBool,
    /// Stalls that the loop has not counted yet.
    stalls: AtomicU64,
    /// The call that was seen to hold up the loop: it is timed when it returns.
    caught: AtomicU32,
}

impl Watchdog {
    /// Fails where the system refuses a thread.
    pub(super) fn start(watch: Arc<Watch>, options: StallWatch) -> Result<Self> {
        let shared = Arc::new(Shared {
            gate: Gate::new(),
            ended: AtomicBool::new(false),
            stalls: AtomicU64::new(0),
            caught: AtomicU32::new(0),
        });
        let eyes = Eyes::new(watch, Arc::clone(&shared), options);
        let thread = thread::Builder::new()
            .name("vansire-watch".to_owned())
            .spawn(move || eyes.watch())
            .map_err(|e| Error::io("cannot start the thread that watches for stalls", e))?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    #[inline]
    pub(super) fn begin(&self, turn: u64) {
        self.shared.gate.begin(turn, || self.thread.unpark());
    }

    #[inline]
    pub(super) fn end(&self, turn: u64) {
        self.shared.gate.end(turn);
    }

    /// This call was caught.
    #[inline]
    pub(super) fn has_caught(&self, version: u32) -> bool {
        self.shared.caught.load(Ordering::Relaxed) == version
    }

    /// Stalls since the last time.
    #[inline]
    pub(super) fn take_stalls(&self) -> u64 {
        match self.shared.stalls.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.shared.stalls.swap(0, Ordering::Relaxed),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// The thread's end: what it has seen so far.
struct Eyes {
    watch: Arc<Watch>,
    shared: Arc<Shared>,
    threshold: Duration,
    hook: Option<Hook>,
    /// The turn that was seen last.
    turn: u64,
    /// The call that was seen last, and since when.
    call: Option<u32>,
    call_since: Instant,
    /// Since when the loop is late, and how late it has to be for somebody to be told.
    late_since: Instant,
    tell_at: Duration,
    has_told: bool,
}

impl Eyes {
    fn new(watch: Arc<Watch>, shared: Arc<Shared>, options: StallWatch) -> Self {
        let StallWatch { threshold, hook } = options;
        let now = Instant::now();
        Self {
            watch,
            shared,
            threshold,
            hook,
            turn: 0,
            call: None,
            call_since: now,
            late_since: now,
            tell_at: threshold,
            has_told: false,
        }
    }

    /// While turns come it looks every half of the threshold; then it sleeps until the next one begins.
    fn watch(mut self) {
        let shared = Arc::clone(&self.shared);
        while !shared.ended.load(Ordering::Acquire) {
            let turn = shared.gate.turn();
            let nap = if turn % 2 == 1 {
                self.look(turn)
            } else {
                // An end that is asked for before this wakes it as a turn does.
                shared.gate.sleep(turn, thread::park);
                self.threshold / 2
            };
            if shared.ended.load(Ordering::Acquire) {
                return;
            }
            thread::park_timeout(nap);
        }
    }

    /// Looks at the turn, tells what there is to tell, and says how long to wait before the next look.
    fn look(&mut self, turn: u64) -> Duration {
        let now = Instant::now();
        let call = self.watch.read().filter(|seen| seen.what != NOTHING);
        let version = call.as_ref().map(|call| call.version);
        let is_new_turn = turn != self.turn;
        if is_new_turn || version != self.call {
            (self.call, self.call_since) = (version, now);
        }
        if is_new_turn || (self.has_told && self.call_since == now) {
            self.late_since = if is_new_turn { self.watch.turn_began() } else { now };
            (self.turn, self.tell_at, self.has_told) = (turn, self.threshold, false);
        }
        let elapsed = now.saturating_duration_since(self.late_since);
        let is_of_one = call.is_some() && now.saturating_duration_since(self.call_since) >= self.threshold / 4;
        if elapsed < self.tell_at {
            return (self.tell_at - elapsed).min(self.threshold / 2);
        }
        // Whether it is one that takes so long, or many, shows soon.
        if !is_of_one && elapsed < self.tell_at.saturating_add(self.threshold / 2) {
            return self.threshold / 4;
        }
        // What was read may be older than a turn that has begun since.
        if self.shared.gate.turn() == turn {
            let running = call.and_then(|seen| self.watch.running(&seen, elapsed));
            if let (Some(version), true) = (version, is_of_one) {
                self.shared.caught.store(version, Ordering::Relaxed);
            }
            if !self.has_told {
                self.shared.stalls.fetch_add(1, Ordering::Relaxed);
            }
            self.tell_at = elapsed.saturating_mul(4);
            self.has_told = true;
            self.tell(&Stall { running, is_of_many: !is_of_one, elapsed });
        }
        self.threshold / 2
    }

    fn tell(&self, stall: &Stall) {
        trace_event!(warn, "{stall}");
        if let Some(hook) = &self.hook
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook(stall)))
        {
            trace_event!(error, "the hook for stalls panicked itself");
            discard(payload);
        }
    }
}

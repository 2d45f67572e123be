//! Whether the loop is in a turn, and whether its watchdog sleeps: no turn goes unwatched, and an idle loop wakes nobody.

// The model in `loom/` compiles this very file, with atomics of its own kind.
use super::sync::{AtomicBool, AtomicU64, Ordering, fence};

/// What the loop and its watchdog tell each other.
///
/// The order of the steps is all there is to it, and the model in `loom/` keeps it: each side says what it does before it
/// looks at the other, with a fence in between. So at least one of the two sees the other.
pub(crate) struct Gate {
    /// Counts beginnings and ends of turns: odd within one.
    turn: AtomicU64,
    /// The watchdog sleeps, or is about to.
    sleeps: AtomicBool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { turn: AtomicU64::new(0), sleeps: AtomicBool::new(false) }
    }

    /// A turn begins: its number is odd. Wakes the watchdog if it sleeps.
    #[inline]
    pub(crate) fn begin(&self, turn: u64, wake: impl FnOnce()) {
        self.turn.store(turn, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.sleeps.load(Ordering::Acquire) && self.sleeps.swap(false, Ordering::AcqRel) {
            wake();
        }
    }

    /// The turn is over: the number is even until the next.
    #[inline]
    pub(crate) fn end(&self, turn: u64) {
        self.turn.store(turn, Ordering::Release);
    }

    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Acquire)
    }

    /// Sleeps until a turn begins, unless one has since `turn` was read. `sleep` may return early, and must return at once
    /// where its wake came first.
    pub(crate) fn sleep(&self, turn: u64, sleep: impl FnOnce()) {
        self.sleeps.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.turn() == turn {
            sleep();
        }
        self.sleeps.store(false, Ordering::Release);
    }
}

//! A queue that several threads fill and one empties, and the flag that spares them system calls.

use std::sync::PoisonError;

// The model in `loom/` compiles this very file, with the locks and atomics of its own kind.
use super::sync::{AtomicU8, Mutex, MutexGuard, Ordering};

/// What is queued, behind a lock, and whether its reader has to be woken for it.
///
/// The order of the steps is all there is to it, and the model in `loom/` keeps it: who puts something in marks the mailbox
/// afterwards, and wakes if the reader rests; the reader says that it rests, and then looks once more whether there is
/// mail. Every step changes the one word, or finds it marked, so none can miss the other.
pub(crate) struct Mailbox<Q> {
    queue: Mutex<Q>,
    state: AtomicU8,
}

/// Something was put in since the reader last took.
const MAIL: u8 = 1;
/// The reader is at work, or somebody has woken it: it looks again before it rests.
const AWAKE: u8 = 2;

impl<Q> Mailbox<Q> {
    pub(crate) fn new(queue: Q) -> Self {
        Self { queue: Mutex::new(queue), state: AtomicU8::new(0) }
    }

    /// The queue, for what concerns its reader only later.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Q> {
        // Nothing under this lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the queue, then wakes the reader if it rests and nobody else has woken it. A change that fails wakes nobody.
    pub(crate) fn put<E>(
        &self,
        change: impl FnOnce(&mut Q) -> Result<(), E>,
        wake: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        change(&mut self.lock())?;
        // The reader takes the mark before the lock. Where it was not taken when we had the lock, what we put in is still to be
        // found, and whoever has made the mark wakes the reader. So a burst pays for the lock alone.
        if self.has_mail() {
            return Ok(());
        }
        let before = self.state.fetch_or(MAIL | AWAKE, Ordering::AcqRel);
        if before & AWAKE == 0 { wake() } else { Ok(()) }
    }

    /// Somebody has put something in since the reader last took.
    pub(crate) fn has_mail(&self) -> bool {
        self.state.load(Ordering::Acquire) & MAIL != 0
    }

    /// The reader's first half, when it wakes up: empties the queue, if there is mail, and spares others the wake until
    /// [`rest`](Self::rest).
    pub(crate) fn take(&self, empty: impl FnOnce(&mut Q)) {
        // The mark goes before the queue is looked at: what comes after that is marked again.
        if self.state.swap(AWAKE, Ordering::AcqRel) & MAIL != 0 {
            empty(&mut self.lock());
        }
    }

    /// The reader's second half, before it may sleep: from here on it has to be woken. Not where there is mail already, which
    /// [`has_mail`](Self::has_mail) tells: then the reader does not sleep, and nobody wakes it. Tells whether it rests.
    pub(crate) fn rest(&self) -> bool {
        self.state.compare_exchange(AWAKE, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

//! A queue that several threads fill and one empties, and the flag that spares them system calls.

use std::sync::PoisonError;

// The model in `loom/` compiles this very file, with the locks and atomics of its own kind.
use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering};

/// What is queued, behind a lock, and whether its reader has been woken for it.
///
/// The order of the steps is all there is to it, and the model in `loom/` keeps it: who puts something in
/// raises the flag afterwards and wakes if it was down; who takes lowers the flag first.
pub(crate) struct Mailbox<Q> {
    queue: Mutex<Q>,
    /// Raised by the first who puts something in after it was emptied, who alone wakes.
    woken: AtomicBool,
}

impl<Q> Mailbox<Q> {
    pub(crate) fn new(queue: Q) -> Self {
        Self { queue: Mutex::new(queue), woken: AtomicBool::new(false) }
    }

    /// The queue, for what concerns its reader only later.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Q> {
        // Nothing under this lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the queue, then wakes the reader unless somebody has since it last took. A change that fails wakes nobody.
    pub(crate) fn put<E>(
        &self,
        change: impl FnOnce(&mut Q) -> Result<(), E>,
        wake: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        change(&mut self.lock())?;
        if self.woken.swap(true, Ordering::AcqRel) { Ok(()) } else { wake() }
    }

    /// Somebody has put something in since the reader last took.
    pub(crate) fn has_mail(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// The reader's half: empties the queue, if there is mail.
    pub(crate) fn take(&self, empty: impl FnOnce(&mut Q)) {
        // The flag falls before the queue is looked at: whoever puts something in after that wakes again. The other order
        // would lose the wake of what comes between the two.
        if self.woken.swap(false, Ordering::AcqRel) {
            empty(&mut self.lock());
        }
    }
}

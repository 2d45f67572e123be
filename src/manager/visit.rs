//! Closures that other threads send to the loop.

use std::any::Any;
use std::fmt;
use std::time::Instant;

use crate::error::Result;
use crate::reactor::Job;

use super::watch::Observer;
use super::{Manager, Net, dispatch};

/// Lent to a closure that another thread sent: your state and the network.
#[non_exhaustive]
pub struct LoopCtx<'a, S> {
    /// The state that the manager was made with.
    pub state: &'a mut S,
    /// Everything that can be done to connections and timers.
    pub net: Net<'a, S>,
    /// The time of this turn.
    pub now: Instant,
}

impl<S> fmt::Debug for LoopCtx<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopCtx").field("now", &self.now).finish_non_exhaustive()
    }
}

/// The manager as a job gets it, which knows its type.
pub(crate) type AsAny<S> = fn(&mut Manager<S>) -> &mut dyn Any;

impl<S> Manager<S> {
    pub(super) fn run_job(&mut self, job: Job) {
        match self.core.as_any {
            Some(as_any) => job(as_any(self)),
            // Who pushes jobs has opened the manager for them.
            None => drop(job),
        }
    }
}

impl<S: 'static> Manager<S> {
    /// Takes jobs from now on, and lets other threads see what runs.
    pub(crate) fn open_to_jobs(&mut self) -> Observer {
        self.core.as_any = Some(|manager| manager);
        self.core.be_watched()
    }

    /// Runs a closure as handlers are run: a panic is told to `on_panic` and becomes an error.
    pub(crate) fn visit<R>(&mut self, f: impl FnOnce(&mut LoopCtx<'_, S>) -> R) -> Result<R> {
        dispatch::visit(&mut self.state, &mut self.core, f)
    }

    /// Drops a value of the user's.
    pub(crate) fn drop_user<T>(&mut self, value: T) {
        dispatch::drop_user(&mut self.state, &mut self.core, Some(value));
    }
}

/// A job for a manager with this state.
pub(crate) fn job<S: 'static>(f: impl FnOnce(&mut Manager<S>) + Send + 'static) -> Job {
    Box::new(move |manager| {
        if let Some(manager) = manager.downcast_mut::<Manager<S>>() {
            f(manager);
        }
    })
}

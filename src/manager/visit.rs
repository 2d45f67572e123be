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

/// What a manager needs that is sent jobs.
pub(crate) struct Jobs<S> {
    /// The manager as a job gets it, which knows its type.
    as_any: fn(&mut Manager<S>) -> &mut dyn Any,
    places: Places,
}

/// The places of jobs that have run, on their way back to those who wait for one: several at a time, since each way
/// back takes the count of free places from the core of whoever sends.
struct Places {
    free: Box<dyn Fn(usize)>,
    /// Not given back yet.
    kept: usize,
    kept_max: usize,
}

impl Places {
    fn free(&mut self) {
        if self.kept > 0 {
            (self.free)(std::mem::take(&mut self.kept));
        }
    }
}

impl<S> Manager<S> {
    pub(super) fn run_job(&mut self, job: Job) {
        match self.core.jobs.as_ref().map(|jobs| jobs.as_any) {
            Some(as_any) => job(as_any(self)),
            // Who pushes jobs has opened the manager for them.
            None => drop(job),
        }
    }

    /// Runs a job that has taken a place in the queue.
    pub(super) fn run_in_place(&mut self, job: Job) {
        // Counted first: a job that is awaited gives its place back before it answers.
        if let Some(jobs) = &mut self.core.jobs {
            jobs.places.kept += 1;
        }
        self.run_job(job);
        if let Some(jobs) = &mut self.core.jobs
            && jobs.places.kept >= jobs.places.kept_max
        {
            jobs.places.free();
        }
    }

    /// Gives back the places of all jobs that have run, and of the one that runs.
    pub(crate) fn free_places(&mut self) {
        if let Some(jobs) = &mut self.core.jobs {
            jobs.places.free();
        }
    }
}

impl<S: 'static> Manager<S> {
    /// Takes jobs from now on, and lets other threads see what runs. Of `places` in the queue, `free` is told how many are
    /// free again.
    pub(crate) fn open_to_jobs(&mut self, places: usize, free: impl Fn(usize) + 'static) -> Observer {
        let kept_max = (places / KEPT).clamp(1, KEPT_MAX);
        self.core.jobs =
            Some(Jobs { as_any: |manager| manager, places: Places { free: Box::new(free), kept: 0, kept_max } });
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

/// While a job blocks the loop, one place in this many at most is still kept by jobs that have run before it.
const KEPT: usize = 16;
/// More at a time save nothing.
const KEPT_MAX: usize = 64;

/// A job for a manager with this state.
pub(crate) fn job<S: 'static>(f: impl FnOnce(&mut Manager<S>) + Send + 'static) -> Job {
    Box::new(move |manager| {
        if let Some(manager) = manager.downcast_mut::<Manager<S>>() {
            f(manager);
        }
    })
}

//! What the owner of a loop on another thread has to be told, because nobody stands beside it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::manager::{Running, Stall, discard};
use crate::trace::trace_event;

/// Something went wrong on the loop's thread, or with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Incident {
    /// A handler, a timer, a hook or a closure panicked: its connection is closed, the loop goes on.
    HandlerPanicked {
        /// Who it was: a connection and its event, or a timer or hook.
        who: String,
        /// What it panicked with.
        message: String,
    },
    /// A task of [`Handle::schedule`](super::Handle::schedule) failed, panicked, or was dropped by its runtime.
    TaskFailed(String),
    /// A handler, or much work, holds up the loop: told where [`AsyncBuilder::watch_stalls`](super::AsyncBuilder::watch_stalls)
    /// asks for it.
    Stalled(Stall),
    /// The thread has not ended although it was asked to; it is asked again.
    StopDelayed {
        /// Since it was asked first.
        after: Duration,
        /// The handler that blocks it. None: connections still have something to finish.
        running: Option<Running>,
    },
    /// The thread has not ended and is not waited for any longer. It ends when the handler returns.
    Abandoned {
        /// Since it was asked first.
        after: Duration,
        /// The handler that blocks it.
        running: Option<Running>,
    },
    /// The thread has ended although nobody asked it to.
    Died(String),
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |running: &Option<Running>| match running {
            Some(running) => running.to_string(),
            None => "no handler; connections still drain".to_owned(),
        };
        match self {
            Incident::HandlerPanicked { who, message } => write!(f, "{who} panicked: {message}"),
            Incident::Stalled(stall) => stall.fmt(f),
            Incident::TaskFailed(why) => write!(f, "a scheduled task failed: {why}"),
            Incident::StopDelayed { after, running } => {
                let after = after.as_secs_f64();
                write!(
                    f,
                    "the loop's thread has not stopped after {after:.1} s, and is asked again; running: {}",
                    who(running)
                )
            }
            Incident::Abandoned { after, running } => {
                let after = after.as_secs_f64();
                write!(
                    f,
                    "the loop's thread did not stop within {after:.1} s and is left to itself; running: {}",
                    who(running)
                )
            }
            Incident::Died(why) => write!(f, "the loop's thread has ended: {why}"),
        }
    }
}

/// Told of incidents, on whichever thread they are seen.
pub(super) type Hook = Arc<dyn Fn(&Incident) + Send + Sync>;

/// Tells the log and the hook.
pub(super) fn tell(hook: Option<&Hook>, incident: &Incident) {
    match incident {
        Incident::StopDelayed { .. } => trace_event!(warn, "{incident}"),
        // These are in the log already.
        Incident::HandlerPanicked { .. } | Incident::Stalled(_) => {}
        Incident::TaskFailed(_) | Incident::Abandoned { .. } | Incident::Died(_) => trace_event!(error, "{incident}"),
    }
    if let Some(hook) = hook
        && let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook(incident)))
    {
        trace_event!(error, "the hook for incidents panicked itself");
        discard(payload);
    }
}

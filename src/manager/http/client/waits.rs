//! How long a client's connection may take for what it waits for.

use crate::event::CloseReason;
use crate::id::Key;
use crate::manager::conn::{Due, Flags, Io};
use crate::manager::core::Core;
use crate::time::Moment;

use super::super::deadlines::OUTPUT_WINDOWS;
use super::Phase;

impl<S> Core<S> {
    /// Sets the deadline that fits what the connection waits for now.
    pub(crate) fn settle_client(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.takes_output() || !matches!(conn.io, Io::Stream(_)) {
            return;
        }
        let queued = conn.queued();
        let paused = conn.flags.has(Flags::PAUSED);
        let was = conn.due;
        let uploads = conn.uploads();
        let Some(client) = conn.client() else { return };
        let due = match client.phase {
            _ if queued > 0 => Due::Output,
            // The server is not to blame for what the handler does not take, or does not give.
            _ if paused => Due::Nothing,
            Phase::Head if client.held.is_some() => Due::Continue,
            Phase::Head | Phase::Body if uploads => Due::Reply,
            Phase::Head => Due::Response,
            Phase::Body => Due::Rate,
            Phase::Idle | Phase::Over => Due::Idle,
        };
        let limits = &conn.limits;
        let wait = match due {
            // These run on from where they began.
            Due::Idle | Due::Response | Due::Continue | Due::Rate | Due::Output | Due::Reply if due == was => return,
            Due::Idle => limits.idle_timeout,
            Due::Response => limits.response_timeout,
            Due::Continue => limits.continue_timeout,
            Due::Reply => limits.reply_timeout,
            Due::Rate => limits.rate_grace,
            Due::Output => limits.rate_grace.saturating_mul(OUTPUT_WINDOWS),
            #[cfg(feature = "sntp")]
            Due::Sntp => return,
            Due::Nothing | Due::Connect | Due::Retry | Due::Drain | Due::Linger | Due::Head => {
                return self.set_due(key, Due::Nothing, Moment::NEVER);
            }
            #[cfg(feature = "mqtt")]
            Due::Mqtt | Due::Redial => return self.set_due(key, Due::Nothing, Moment::NEVER),
        };
        conn.moved = 0;
        self.set_due(key, due, now.after(wait));
    }

    /// A deadline of a client has passed.
    pub(crate) fn client_overdue(&mut self, key: Key, due: Due) {
        match due {
            Due::Rate | Due::Output if self.keeps_pace(key, due) => {}
            Due::Continue => {
                self.release_held(key);
                self.settle_client(key);
            }
            other => {
                if let Some(deadline) = other.deadline() {
                    self.close(key, CloseReason::TimedOut(deadline));
                }
            }
        }
    }

    /// Ends a connection on which nothing is asked; another ends with its response.
    pub(crate) fn stop_client(&mut self, key: Key) {
        let Some(client) = self.client_mut(key) else { return };
        client.queue.clear();
        client.bits.ours = true;
        if client.is_at_rest() {
            self.drain(key);
        }
    }
}

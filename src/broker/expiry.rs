//! What waits for clients ends with its life (MQTT-3.3.2-5), and does not take the room of what is alive until its client comes.

use std::time::Duration;

use crate::time::Moment;

use super::core::Core;
use super::events::DropReason;

/// When the queues are looked through, and how far that has come.
#[derive(Debug)]
pub(super) struct Expiry {
    pub(super) due: Moment,
    /// The next round does not begin earlier.
    not_before: Moment,
    /// The session that is next.
    at: u32,
    /// Something waits that ends some time.
    has_mortal: bool,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { due: Moment::NEVER, not_before: Moment::START, at: 0, has_mortal: false }
    }
}

impl Expiry {
    /// A message waits that ends then.
    pub(super) fn note(&mut self, expires: Moment) {
        if expires != Moment::NEVER {
            self.has_mortal = true;
            self.due = self.due.min(expires.max(self.not_before));
        }
    }
}

impl Core {
    /// Looks through the queues of some sessions.
    pub(super) fn expire_queues(&mut self, now: Moment) {
        let Expiry { at, .. } = self.expiry;
        if at == 0 {
            self.expiry.has_mortal = false;
        }
        let end = self.sessions.end().min(at.saturating_add(SESSIONS));
        let mut over = Vec::new();
        for who in at..end {
            let Some(outbound) = self.sessions.get_mut(who).and_then(|session| session.outbound.as_mut()) else {
                continue;
            };
            self.expiry.has_mortal |= outbound.expire(now, &mut over);
            for item in over.drain(..) {
                self.stats.queued -= 1;
                self.stats.queued_bytes -= item.message.size();
                self.forgotten(who, &item);
                self.dropped(who, DropReason::Expired);
            }
        }
        let expiry = &mut self.expiry;
        if end < self.sessions.end() {
            (expiry.at, expiry.due) = (end, now.after(Duration::from_millis(1)));
            return;
        }
        (expiry.at, expiry.not_before) = (0, now.after(PAUSE));
        expiry.due = if expiry.has_mortal { expiry.not_before } else { Moment::NEVER };
    }
}

/// Sessions that are looked at together, and the pause between two rounds.
const SESSIONS: u32 = 256;
const PAUSE: Duration = Duration::from_secs(10);

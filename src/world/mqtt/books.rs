//! What sessions and groups are to get, as the model writes it down for the judge.

use std::net::SocketAddr;
use std::time::Duration;

use crate::mqtt::{Filter, QoS};

use super::users::User;

/// What one session is to get.
pub(super) struct Book {
    pub(super) client: String,
    pub(super) entries: Vec<Entry>,
    pub(super) replays: Vec<Replay>,
    /// It has been in a group: what it gets besides is a matter between its members.
    pub(super) is_member: bool,
    pub(super) has_ended: bool,
}

/// A message that a session is to get.
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The client's address on the connection that it had then.
    pub(super) at: Option<SocketAddr>,
    pub(super) made: Duration,
    /// It may have waited for somebody else than who has come.
    pub(super) is_withdrawn: bool,
    /// QoS 0 at the moment in which the client's connection ended: if that was first, it was for nobody.
    pub(super) may_be_late: bool,
}

/// A subscription that is to be sent what is retained.
pub(super) struct Replay {
    pub(super) filter: String,
    pub(super) qos: QoS,
    pub(super) at: Duration,
    pub(super) until: Option<Duration>,
    /// Who has been there since then.
    pub(super) users: Vec<User>,
}

/// A message for one member of a group.
pub(super) struct Shared {
    pub(super) number: u32,
    pub(super) qos: QoS,
    pub(super) topic: String,
    pub(super) filter: String,
    pub(super) group: usize,
    /// Who may get it: those who were members, and may read it, when it came, and when it was handed on.
    pub(super) members: Vec<(usize, QoS)>,
    /// How often it may have been handed on because a session ended, or is another user's.
    pub(super) handed_on: usize,
    /// It may have waited for somebody else than who has come, or for one whose session has ended and left it to nobody.
    pub(super) may_be_lost: bool,
}

/// What was retained from some time on.
pub(super) struct Value {
    pub(super) at: Duration,
    pub(super) number: u32,
    pub(super) qos: QoS,
}

impl Replay {
    pub(super) fn covers(&self, topic: &str) -> bool {
        Filter::parse(&self.filter).is_ok_and(|filter| filter.matches(topic))
    }
}

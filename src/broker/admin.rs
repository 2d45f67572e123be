//! Looking into a broker: who is there, and who has subscribed what.

use std::time::Duration;

use crate::id::ConnId;
use crate::proto::mqtt::Version;
use crate::time::Moment;

use super::connect::is_sys;
use super::core::Core;
use super::events::Drops;
use super::session::Session;
use super::store::Change;

/// What is known of a client, connected or not.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientInfo {
    /// The client identifier.
    pub id: Box<str>,
    /// The user name that it connected with last.
    pub username: Option<Box<str>>,
    /// Its connection, while it has one: [`Net::info`](crate::Net::info) knows more of it.
    pub conn: Option<ConnId>,
    /// The version that it speaks.
    pub version: Version,
    /// Its keep-alive in seconds; 0: none, or it is not connected.
    pub keep_alive: u16,
    /// How many seconds its session outlives the connection; `u32::MAX`: for ever.
    pub session_expiry: u32,
    /// How long the session has left, if it is not connected and does not last for ever.
    pub ends_in: Option<Duration>,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// Messages of QoS 1 and 2 that were sent and are not acknowledged.
    pub inflight: usize,
    /// Messages that wait.
    pub queued: usize,
    /// Bytes of those.
    pub queued_bytes: usize,
    /// Messages that did not reach it, by reason.
    pub dropped: Drops,
    /// It has left a will.
    pub has_will: bool,
}

impl Core {
    fn client_info(&self, session: &Session, now: Moment) -> ClientInfo {
        let outbound = session.outbound.as_ref();
        let queued = outbound.map_or(0, |outbound| outbound.queue_len());
        ClientInfo {
            id: (*session.id).into(),
            username: session.username.as_deref().map(Into::into),
            conn: session.conn,
            version: session.version,
            keep_alive: session.conn.and_then(|conn| self.link(conn)).map_or(0, |link| link.keep_alive),
            session_expiry: session.expiry,
            ends_in: (session.ends != Moment::NEVER).then(|| session.ends.since(now)),
            subscriptions: session.subscriptions.len(),
            inflight: outbound.map_or(0, |outbound| outbound.len() - queued),
            queued,
            queued_bytes: outbound.map_or(0, |outbound| outbound.bytes()),
            dropped: session.rare.as_ref().map_or(Drops::default(), |rare| rare.drops),
            has_will: session.will.is_some(),
        }
    }

    pub(super) fn clients(&self, now: Moment) -> Vec<ClientInfo> {
        self.sessions.iter().map(|session| self.client_info(session, now)).collect()
    }

    pub(super) fn client(&self, id: &str, now: Moment) -> Option<ClientInfo> {
        let session = self.sessions.get(self.sessions.find(id)?)?;
        Some(self.client_info(session, now))
    }

    pub(super) fn subscriptions(&self, mut found: impl FnMut(&str, &str)) {
        for session in self.sessions.iter() {
            session.subscriptions.iter().for_each(|filter| found(&session.id, filter));
        }
    }

    pub(super) fn clear_retained(&mut self, topic: &str) -> bool {
        let existed = self.retained.remove(topic);
        if existed && !is_sys(topic) {
            self.record(&Change::RetainedCleared { topic });
            self.ticket = None;
        }
        existed
    }
}

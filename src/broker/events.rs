//! What the embedding program is told, and what it can count.

use std::net::SocketAddr;

use crate::proto::mqtt::{ReasonCode, Version};

/// What happened to a client. See [`Options::on_event`](super::Options::on_event).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A client has connected, and was told so.
    Connected {
        /// The client identifier.
        client: Box<str>,
        /// The user name.
        username: Option<Box<str>>,
        /// Where it comes from.
        remote: Option<SocketAddr>,
        /// The version it speaks.
        version: Version,
        /// It goes on with a session that was there.
        session_present: bool,
    },
    /// A connection was refused.
    Refused {
        /// The client identifier that it asked for.
        client: Box<str>,
        /// Why.
        reason: ReasonCode,
    },
    /// A client's connection is over. Its session may go on.
    Disconnected {
        /// The client identifier.
        client: Box<str>,
        /// Why.
        why: Parting,
    },
    /// A session is over, and nothing is left of it.
    SessionEnded {
        /// The client identifier.
        client: Box<str>,
    },
    /// A retained message was not kept, for want of room: [`Options::retained_max`](super::Options::retained_max),
    /// [`Options::retained_bytes_max`](super::Options::retained_bytes_max).
    NotRetained {
        /// Its topic.
        topic: Box<str>,
    },
    /// A client was refused something.
    Denied {
        /// The client identifier.
        client: Box<str>,
        /// The user name.
        username: Option<Box<str>>,
        /// What it wanted.
        action: Action,
        /// The topic or filter; empty for connecting.
        topic: Box<str>,
        /// Which rule refused it.
        rule: Box<str>,
    },
}

/// What a client wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The words of `Access`.
#[non_exhaustive]
pub enum Action {
    Connect,
    Publish,
    Subscribe,
    Will,
}

impl Action {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Will => "leave a will",
        }
    }
}

/// Why a client's connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parting {
    /// The client said so.
    Disconnect(ReasonCode),
    /// It went without a word.
    Lost,
    /// The broker ended it, for this reason, which a 5.0 client was told.
    Ended(ReasonCode),
}

/// Why a message did not reach a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum DropReason {
    /// QoS 0, and the client does not read as fast as it is sent to.
    Slow,
    /// The client's queue is full.
    QueueFull,
    /// All queues together are.
    TotalFull,
    /// It is longer than the client takes.
    TooLarge,
    /// Its life ended while it waited.
    Expired,
    /// The client may not be sent it.
    Denied,
    /// The session ended while it waited, or before it was acknowledged.
    SessionEnded,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Slow, Self::QueueFull, Self::TotalFull, Self::TooLarge, Self::Expired, Self::Denied, Self::SessionEnded];

    /// A word for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::QueueFull => "queue_full",
            Self::TotalFull => "total_full",
            Self::TooLarge => "too_large",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::SessionEnded => "session_ended",
        }
    }
}

/// Messages that were dropped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

impl Drops {
    /// Those for this reason.
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(super) fn add(&mut self, reason: DropReason, n: u64) {
        self.0[reason as usize] += n;
    }
}

/// A broker's counters. They only grow, but for those that say how many there are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// Bytes of packets from clients.
    pub bytes_in: u64,
    /// Bytes of packets to clients.
    pub bytes_out: u64,
    /// Messages published by clients and by the program.
    pub publish_in: u64,
    /// Messages sent to clients.
    pub publish_out: u64,
    /// Bytes of payloads of messages that came.
    pub publish_bytes_in: u64,
    /// Bytes of payloads of messages that went.
    pub publish_bytes_out: u64,
    /// Messages that were meant for a client: one for each that had subscribed, a shared subscription counted as one, and one for each
    /// retained message that a new subscription found. What has QoS 0 is not meant for a client that is away.
    ///
    /// Nothing gets lost on the way: at any time `routed == delivered + queued + dropped.total()`.
    pub routed: u64,
    /// Those that have arrived: at QoS 0 handed to the connection, at QoS 1 and 2 acknowledged.
    pub delivered: u64,
    /// Messages that did not reach a client.
    pub dropped: Drops,
    /// Retained messages that were not kept, for want of room.
    pub retained_refused: u64,
    /// Times that as many acknowledgements to a client waited for the store as may, so that it was not read.
    pub reads_held: u64,
    /// Connections that were accepted with success.
    pub connected: u64,
    /// Connections that were refused.
    pub refused: u64,
    /// Requests that access control refused.
    pub denied: u64,
    /// Connections that ended because a peer broke the protocol.
    pub protocol_errors: u64,
    /// Wills that were published.
    pub wills: u64,
    /// Sessions that expired.
    pub expired_sessions: u64,
    /// Clients connected now.
    pub clients_connected: usize,
    /// The most that were at once.
    pub clients_connected_max: usize,
    /// Sessions now, connected or not.
    pub sessions: usize,
    /// Subscriptions now, shared ones included.
    pub subscriptions: usize,
    /// Shared subscriptions now.
    pub shared_subscriptions: usize,
    /// Retained messages now.
    pub retained: usize,
    /// Bytes of retained messages now.
    pub retained_bytes: usize,
    /// Messages queued or in flight to clients now.
    pub queued: usize,
    /// Bytes of messages queued for clients now.
    pub queued_bytes: usize,
}

//! What outlives the process, and when it is safe.

use crate::proto::mqtt::{PacketId, Subscription};

use super::message::Message;

/// Where sessions and retained messages are written down.
///
/// The broker keeps everything in memory and tells its store of each change of what is to last. Each change gets an answer:
/// it is safe already, or it will be once the store has come to a [`Ticket`]. What a client is told of its message (PUBACK, PUBREC)
/// waits until all changes that the message has caused are safe; messages go to other clients at once. A client that has
/// [`Options::unsafe_acks_max`](super::Options::unsafe_acks_max) acknowledgements waiting is not read meanwhile. One may wait for what a
/// message of another client has caused as well.
///
/// Tickets count upwards, so that one `Broker::stored` tells of all that have become safe together.
pub trait Store {
    /// Writes a change down, or begins to. Must not block.
    fn record(&mut self, change: &Change<'_>) -> Saved;
}

/// When a change is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// It is.
    Now,
    /// Once the store has come so far, which `Broker::stored` tells.
    At(Ticket),
}

/// A point in the order of a store's changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What has changed. Only sessions that outlive their connections are told of.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Change<'a> {
    /// A session began, or lasts differently.
    Session {
        /// The client identifier.
        client: &'a str,
        /// How many seconds it outlives its connection.
        expiry: u32,
    },
    /// A session ended, with all that belongs to it.
    SessionEnded {
        /// The client identifier.
        client: &'a str,
    },
    /// A subscription, new or in the place of one with the same filter.
    Subscribed {
        /// The client identifier.
        client: &'a str,
        /// What it subscribed.
        subscription: &'a Subscription<'a>,
    },
    /// A subscription less.
    Unsubscribed {
        /// The client identifier.
        client: &'a str,
        /// As it was subscribed.
        filter: &'a str,
    },
    /// A message of QoS 1 or 2 for a session.
    Queued {
        /// The client identifier.
        client: &'a str,
        /// The message.
        message: &'a Message,
    },
    /// A session's oldest message with this address in memory is delivered, or dropped.
    Delivered {
        /// The client identifier.
        client: &'a str,
        /// The message.
        message: &'a Message,
    },
    /// A message of QoS 2 has come from a client: its packet identifier is taken.
    Received {
        /// The client identifier.
        client: &'a str,
        /// The packet identifier.
        id: PacketId,
    },
    /// The client has released it (PUBREL).
    Released {
        /// The client identifier.
        client: &'a str,
        /// The packet identifier.
        id: PacketId,
    },
    /// A message is retained, in the place of the one before it.
    Retained {
        /// The message.
        message: &'a Message,
    },
    /// A topic has no retained message any more.
    RetainedCleared {
        /// The topic.
        topic: &'a str,
    },
}

/// Writes nothing down: what the process knows ends with it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory;

impl Store for Memory {
    fn record(&mut self, _: &Change<'_>) -> Saved {
        Saved::Now
    }
}

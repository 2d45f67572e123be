//! What the broker knows of a client, connected or not.

use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::rc::Rc;

use crate::id::ConnId;
use crate::proto::mqtt::{QoS, Subscription, SubscriptionId, Version};
use crate::time::Moment;

use super::events::Drops;
use super::filters::Filters;
use super::message::Message;
use super::queue::Outbound;
use super::store::Ticket;

/// One client's session. An idle one owns its identifier and nothing else: what is rare is in boxes.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: Rc<str>,
    pub(super) username: Option<Rc<str>>,
    /// Its connection, while it has one.
    pub(super) conn: Option<ConnId>,
    /// When it ends; `NEVER` while it is connected, or lasts for ever.
    pub(super) ends: Moment,
    /// Seconds that it outlives its connection; `u32::MAX`: for ever.
    pub(super) expiry: u32,
    /// The longest packet that the client takes.
    pub(super) packet_max: u32,
    pub(super) version: Version,
    pub(super) flags: Flags,
    /// Messages of QoS 1 and 2 that may be under way to it.
    pub(super) inflight_max: u16,
    /// Aliases that it takes.
    pub(super) alias_max: u16,
    pub(super) subscriptions: Filters,
    pub(super) outbound: Option<Box<Outbound>>,
    pub(super) inbound: Option<Box<Inbound>>,
    pub(super) will: Option<Box<Will>>,
    pub(super) rare: Option<Box<Rare>>,
}

/// Bits of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    /// More waits in the connection's output than it should: QoS 0 is dropped, the rest is queued.
    pub(super) const HIGH: Self = Self(1);
    /// Its walk through the retained messages waits for its turn.
    pub(super) const WALKS: Self = Self(2);

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn put(&mut self, flag: Self, on: bool) {
        if on { self.0 |= flag.0 } else { self.0 &= !flag.0 }
    }
}

/// What comes from a client beside single packets.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// Messages of QoS 2 that have come and are not released, in order of their numbers.
    pub(super) received: Vec<u16>,
    /// What the client's topic aliases stand for, from 1. Ends with the connection.
    pub(super) aliases: Vec<Option<Box<str>>>,
    /// PUBACKs that wait for the store.
    pub(super) waiting: u32,
    /// All acknowledgements of its connection that do.
    pub(super) unsafe_acks: u32,
    /// What the latest of its acknowledgements waits for, or has waited for.
    pub(super) unsafe_until: Option<Ticket>,
}

/// What few clients have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) drops: Drops,
    /// Topics that the client knows by an alias, which is their place, from 1. Ends with the connection.
    pub(super) aliases: Vec<Box<str>>,
    /// Subscriptions that are still being sent their retained messages.
    pub(super) replays: VecDeque<Replay>,
}

/// How far the retained messages for a subscription have been sent.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) filter: Box<str>,
    pub(super) wanted: Wanted,
    /// The last topic that was.
    pub(super) after: Option<Box<str>>,
}

/// A will (section 3.1.2.5).
#[derive(Debug)]
pub(super) struct Will {
    pub(super) message: Rc<Message>,
    /// Its life in seconds, which begins when it is published (section 3.1.3.2.4).
    pub(super) expiry: Option<u32>,
    /// Seconds until it is published.
    pub(super) delay: u32,
    /// When it will be; `NEVER` while its client is connected.
    pub(super) due: Moment,
}

/// What a subscription asks for: eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// QoS, no local, retain as published.
    bits: u8,
    id: Option<SubscriptionId>,
}

impl Wanted {
    const NO_LOCAL: u8 = 4;
    const AS_PUBLISHED: u8 = 8;

    #[cfg(test)]
    pub(super) fn new(qos: QoS) -> Self {
        Self::of(&Subscription::new("", qos), None)
    }

    pub(super) fn of(subscription: &Subscription<'_>, id: Option<SubscriptionId>) -> Self {
        let no_local = if subscription.no_local { Self::NO_LOCAL } else { 0 };
        let as_published = if subscription.retain_as_published { Self::AS_PUBLISHED } else { 0 };
        Self { bits: subscription.qos.to_u8() | no_local | as_published, id }
    }

    pub(super) fn qos(self) -> QoS {
        QoS::from_u8(self.bits & 3).unwrap_or_default()
    }

    pub(super) fn no_local(self) -> bool {
        self.bits & Self::NO_LOCAL != 0
    }

    pub(super) fn as_published(self) -> bool {
        self.bits & Self::AS_PUBLISHED != 0
    }

    pub(super) fn id(self) -> Option<SubscriptionId> {
        self.id
    }

    /// As one that stands for both, where a message matches both (MQTT-3.3.4-2).
    pub(super) fn merge(&mut self, other: Self) {
        let qos = self.qos().max(other.qos());
        self.bits = qos.to_u8() | (self.bits | other.bits) & Self::AS_PUBLISHED;
    }
}

impl Session {
    pub(super) fn new(id: Rc<str>, version: Version) -> Self {
        Self {
            id,
            username: None,
            conn: None,
            ends: Moment::NEVER,
            expiry: 0,
            packet_max: u32::MAX,
            version,
            flags: Flags::default(),
            inflight_max: 0,
            alias_max: 0,
            subscriptions: Filters::default(),
            outbound: None,
            inbound: None,
            will: None,
            rare: None,
        }
    }

    /// It outlives its connection.
    pub(super) fn is_persistent(&self) -> bool {
        self.expiry > 0
    }

    /// When something is to be done about it: the will is published, or it ends.
    pub(super) fn due(&self) -> Moment {
        self.will.as_ref().map_or(Moment::NEVER, |will| will.due).min(self.ends)
    }

    /// A new message of QoS 1 or 2 can go at once.
    pub(super) fn is_open(&self) -> bool {
        self.outbound.as_ref().is_none_or(|outbound| outbound.is_open(self.inflight_max))
    }

    pub(super) fn outbound(&mut self) -> &mut Outbound {
        self.outbound.get_or_insert_default()
    }

    pub(super) fn inbound(&mut self) -> &mut Inbound {
        self.inbound.get_or_insert_default()
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Messages of QoS 1 and 2 under way from the client.
    pub(super) fn receiving(&self) -> usize {
        self.inbound.as_ref().map_or(0, |inbound| inbound.received.len() + inbound.waiting as usize)
    }

    /// Forgets what belongs to the connection. The store has come as far as `stored`.
    pub(super) fn detach(&mut self, stored: Option<Ticket>) {
        self.conn = None;
        self.flags.put(Flags::HIGH, false);
        if let Some(inbound) = &mut self.inbound {
            inbound.aliases = Vec::new();
            (inbound.waiting, inbound.unsafe_acks) = (0, 0);
            if inbound.received.is_empty() && inbound.unsafe_until <= stored {
                self.inbound = None;
            }
        }
        if let Some(rare) = &mut self.rare {
            rare.aliases = Vec::new();
            // Nothing of QoS 0 waits for a client that is away.
            rare.replays.retain(|replay| replay.wanted.qos() != QoS::AtMostOnce);
            rare.replays.shrink_to_fit();
        }
        if self.outbound.as_ref().is_some_and(|outbound| outbound.is_empty()) {
            self.outbound = None;
        }
    }

    /// How the client is told a topic: by an alias, if it takes any and there is one left.
    pub(super) fn alias_for(&mut self, topic: &str) -> crate::proto::mqtt::TopicAs {
        use crate::proto::mqtt::TopicAs;
        if self.alias_max == 0 {
            return TopicAs::Name;
        }
        let max = usize::from(self.alias_max);
        let aliases = &mut self.rare().aliases;
        let number = |at: usize| u16::try_from(at + 1).ok().and_then(NonZeroU16::new);
        match aliases.iter().position(|known| &**known == topic) {
            Some(at) => number(at).map_or(TopicAs::Name, TopicAs::Alias),
            // A short name is no longer than its alias.
            None if aliases.len() < max && topic.len() > 3 => {
                aliases.push(topic.into());
                number(aliases.len() - 1).map_or(TopicAs::Name, TopicAs::Both)
            }
            None => TopicAs::Name,
        }
    }
}

impl Inbound {
    /// Takes note of a message of QoS 2; false when it is there already.
    pub(super) fn receive(&mut self, id: u16) -> bool {
        match self.received.binary_search(&id) {
            Ok(_) => false,
            Err(at) => {
                self.received.insert(at, id);
                true
            }
        }
    }

    pub(super) fn release(&mut self, id: u16) -> bool {
        match self.received.binary_search(&id) {
            Ok(at) => {
                self.received.remove(at);
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        let (session, link) = (size_of::<Option<Session>>(), size_of::<Option<super::super::core::Link>>());
        assert!(session <= 136 && link <= 40, "a session takes {session} bytes, a connection {link}");
    }
}

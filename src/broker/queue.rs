//! What is under way to one client, and what waits: QoS 1 and 2.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::proto::mqtt::{PacketId, QoS, SubscriptionId};

use super::message::Message;

/// Messages of QoS 1 and 2 to one client, in their order: first those in flight, then those that wait.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    inflight: VecDeque<InFlight>,
    queue: VecDeque<Item>,
    /// Of what waits.
    bytes: usize,
    /// How many of those in flight are to be sent again on this connection.
    unsent: usize,
    /// Messages sent on this connection whose acknowledgement is not complete (section 4.9).
    under_way: u16,
    last_id: u16,
}

/// A message on its way to one client.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) message: Rc<Message>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The group that it is sent for.
    pub(super) share: Option<u32>,
    pub(super) ids: Ids,
}

/// The subscription identifiers that a message bears: mostly none.
#[derive(Debug, Clone, Default)]
pub(super) enum Ids {
    #[default]
    None,
    One(SubscriptionId),
    Many(Box<[SubscriptionId]>),
}

/// A message that has been given a packet identifier.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: PacketId,
    pub(super) stage: Stage,
    /// On this connection.
    sent: bool,
    /// What it takes to send it again; `None` where that will not be needed.
    pub(super) item: Option<Item>,
}

/// Which acknowledgement is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Ack,
    Rec,
    Comp,
}

/// What an acknowledgement belongs to.
#[derive(Debug)]
pub(super) enum Acked {
    /// Something that was awaited.
    Known(Option<Item>),
    /// Nothing with this number is under way.
    Unknown,
    /// Another acknowledgement was awaited.
    Wrong,
}

impl Ids {
    pub(super) fn of(ids: &[SubscriptionId]) -> Self {
        match ids {
            [] => Self::None,
            [id] => Self::One(*id),
            _ => Self::Many(ids.into()),
        }
    }

    pub(super) fn as_slice(&self) -> &[SubscriptionId] {
        match self {
            Self::None => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.inflight.is_empty() && self.queue.is_empty()
    }

    /// There is nothing to be sent, now or again.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.unsent == 0
    }

    /// Messages, in flight or waiting.
    pub(super) fn len(&self) -> usize {
        self.inflight.len() + self.queue.len()
    }

    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn under_way(&self) -> u16 {
        self.under_way
    }

    /// Nothing is before a new message, and the window has room for it.
    pub(super) fn is_open(&self, window: u16) -> bool {
        self.queue.is_empty() && self.unsent == 0 && self.has_window(window)
    }

    pub(super) fn has_window(&self, window: u16) -> bool {
        self.under_way < window
    }

    /// A number that is not in use; `None` if all are.
    pub(super) fn next_id(&mut self) -> Option<PacketId> {
        if self.inflight.len() >= usize::from(u16::MAX) {
            return None;
        }
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            let id = PacketId::new(self.last_id)?;
            if !self.inflight.iter().any(|other| other.id == id) {
                return Some(id);
            }
        }
    }

    /// A message has been sent for the first time.
    pub(super) fn sent(&mut self, id: PacketId, qos: QoS, item: Option<Item>) {
        let stage = if qos == QoS::AtLeastOnce { Stage::Ack } else { Stage::Rec };
        self.inflight.push_back(InFlight { id, stage, sent: true, item });
        self.under_way = self.under_way.saturating_add(1);
    }

    pub(super) fn push(&mut self, item: Item) {
        self.bytes += item.message.size();
        self.queue.push_back(item);
    }

    /// The next one that waits.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.queue.pop_front()?;
        self.bytes -= item.message.size();
        Some(item)
    }

    /// PUBACK, PUBREC with an error, or PUBCOMP: the message is done.
    pub(super) fn done(&mut self, id: PacketId, stages: &[Stage]) -> Acked {
        let Some(at) = self.inflight.iter().position(|entry| entry.id == id) else { return Acked::Unknown };
        if !self.inflight.get(at).is_some_and(|entry| stages.contains(&entry.stage)) {
            return Acked::Wrong;
        }
        let entry = self.inflight.remove(at);
        // What was not sent on this connection took no room in its window.
        match &entry {
            Some(entry) if entry.sent => self.under_way = self.under_way.saturating_sub(1),
            Some(_) => self.unsent -= 1,
            None => {}
        }
        Acked::Known(entry.and_then(|entry| entry.item))
    }

    /// PUBREC: the receiver has the message, and PUBREL is next (MQTT-4.3.3-4). A repeated one is fine.
    pub(super) fn received(&mut self, id: PacketId) -> Acked {
        match self.inflight.iter_mut().find(|entry| entry.id == id) {
            Some(entry) if entry.stage != Stage::Ack => {
                entry.stage = Stage::Comp;
                Acked::Known(entry.item.take())
            }
            Some(_) => Acked::Wrong,
            None => Acked::Unknown,
        }
    }

    /// The connection is new: all that is in flight is to be sent again, in its order (MQTT-4.4.0-1, MQTT-4.6.0-1).
    pub(super) fn begin_again(&mut self) {
        self.under_way = 0;
        self.unsent = self.inflight.len();
        self.inflight.iter_mut().for_each(|entry| entry.sent = false);
    }

    /// The next one that is to be sent again; it counts as sent.
    pub(super) fn next_unsent(&mut self) -> Option<&InFlight> {
        if self.unsent == 0 {
            return None;
        }
        let entry = self.inflight.iter_mut().find(|entry| !entry.sent)?;
        entry.sent = true;
        self.unsent -= 1;
        self.under_way = self.under_way.saturating_add(1);
        Some(entry)
    }

    /// All of them, as the session ends.
    pub(super) fn into_items(self) -> impl Iterator<Item = (Option<Stage>, Item)> {
        let inflight = self.inflight.into_iter().filter_map(|entry| entry.item.map(|item| (Some(entry.stage), item)));
        inflight.chain(self.queue.into_iter().map(|item| (None, item)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    #[test]
    fn h4_numbers_are_never_zero_and_never_in_use_twice() {
        let mut out = Outbound { last_id: u16::MAX - 1, ..Outbound::default() };
        assert_eq!(out.next_id(), Some(id(u16::MAX)));
        assert_eq!(out.next_id(), Some(id(1)));
        out.sent(id(2), QoS::AtLeastOnce, None);
        out.sent(id(3), QoS::ExactlyOnce, None);
        assert_eq!(out.next_id(), Some(id(4)));
        assert!(matches!(out.done(id(2), &[Stage::Ack]), Acked::Known(None)));
        assert!(matches!(out.done(id(2), &[Stage::Ack]), Acked::Unknown));
        // PUBACK is no answer to QoS 2.
        assert!(matches!(out.done(id(3), &[Stage::Ack]), Acked::Wrong));
        assert!(matches!(out.received(id(3)), Acked::Known(None)));
        assert!(matches!(out.received(id(3)), Acked::Known(None)));
        assert!(matches!(out.done(id(3), &[Stage::Comp]), Acked::Known(None)));
        assert_eq!((out.len(), out.under_way()), (0, 0));
        for n in 1..=u16::MAX {
            out.sent(id(n), QoS::AtLeastOnce, None);
        }
        assert_eq!(out.next_id(), None);
    }

    #[test]
    fn what_is_sent_again_takes_its_place_in_the_window() {
        let mut out = Outbound::default();
        (1..=3).for_each(|n| out.sent(id(n), QoS::AtLeastOnce, None));
        out.begin_again();
        assert!(!out.is_open(2) && out.has_window(2));
        assert_eq!(out.next_unsent().map(|entry| entry.id), Some(id(1)));
        assert_eq!(out.next_unsent().map(|entry| entry.id), Some(id(2)));
        assert!(!out.has_window(2));
        // An acknowledgement that crossed the end of the last connection.
        assert!(matches!(out.done(id(3), &[Stage::Ack]), Acked::Known(None)));
        assert_eq!((out.under_way(), out.next_unsent().is_none()), (2, true));
    }
}

//! What is under way to one client, and what waits: QoS 1 and 2.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::id::Key;
use crate::proto::mqtt::{PacketId, QoS, SubscriptionId};
use crate::time::Moment;

use super::message::Message;

/// Messages of QoS 1 and 2 to one client, in their order: first those in flight, then those that wait.
///
/// Packet identifiers are given in turn, so those in flight are found by counting from the oldest. A client that leaves its oldest
/// message open (it must not: MQTT-4.6.0-2) gets nothing new once all numbers have had their turn.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// One place for each number from `first` on; empty where a later message was done before the first.
    inflight: VecDeque<Option<InFlight>>,
    /// The number of the first place, counted from 0.
    first: u16,
    /// The places in use, and those of them that are given up.
    inflight_len: u16,
    given_up: u16,
    /// How many of those in flight are to be sent again on this connection: none is in a place before `again`.
    unsent: u16,
    again: u16,
    /// Messages sent on this connection whose acknowledgement is not complete (section 4.9).
    under_way: u16,
    queue: VecDeque<Item>,
    /// Of what waits.
    bytes: usize,
}

/// A message on its way to one client.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) message: Rc<Message>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The group that it is sent for.
    pub(super) share: Option<Key>,
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
    /// PUBCOMP, for a message that was given up after it had been sent: it is counted already.
    GivenUp,
}

/// What an acknowledgement belongs to.
#[derive(Debug)]
pub(super) enum Acked {
    /// Something that was awaited.
    Known(Option<Item>),
    /// Something that was awaited of a message that was given up.
    GivenUp,
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

/// So many packet identifiers there are.
const IDS: u16 = u16::MAX;

impl Outbound {
    pub(super) fn is_empty(&self) -> bool {
        self.inflight.is_empty() && self.queue.is_empty()
    }

    /// There is nothing to be sent, now or again.
    pub(super) fn is_drained(&self) -> bool {
        self.queue.is_empty() && self.unsent == 0
    }

    /// Messages, in flight or waiting, without those that were given up.
    pub(super) fn len(&self) -> usize {
        usize::from(self.inflight_len - self.given_up) + self.queue.len()
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

    /// What is counted is what is there.
    #[cfg(test)]
    pub(super) fn check_counts(&self, window: u16) {
        let count = |is_meant: fn(&InFlight) -> bool| self.inflight.iter().flatten().filter(|e| is_meant(e)).count();
        let counted = [self.inflight_len, self.given_up, self.unsent, self.under_way].map(usize::from);
        let there = [count(|_| true), count(|e| e.stage == Stage::GivenUp), count(|e| !e.sent), count(|e| e.sent)];
        assert_eq!(counted, there, "{self:?}");
        assert!(self.under_way <= window && !matches!(self.inflight.front(), Some(None)), "{self:?}");
        let mut before = self.inflight.iter().take(self.again.into()).flatten();
        assert!(self.unsent == 0 || before.all(|e| e.sent), "{self:?}");
        assert_eq!(self.bytes, self.queue.iter().map(|item| item.message.size()).sum::<usize>());
    }

    /// Nothing is before a new message, and the window has room for it.
    pub(super) fn is_open(&self, window: u16) -> bool {
        self.queue.is_empty() && self.unsent == 0 && self.has_window(window)
    }

    /// ... for so many new messages.
    pub(super) fn is_open_for(&self, count: usize, window: u16) -> bool {
        self.is_open(window)
            && usize::from(self.under_way) + count <= usize::from(window)
            && self.inflight.len() + count <= usize::from(IDS)
    }

    /// One more can be under way, and there is a number for it.
    pub(super) fn has_window(&self, window: u16) -> bool {
        self.under_way < window && (self.unsent > 0 || self.inflight.len() < usize::from(IDS))
    }

    /// The number of the next message; `None` if none is free.
    pub(super) fn next_id(&self) -> Option<PacketId> {
        let len = u16::try_from(self.inflight.len()).ok().filter(|&len| len < IDS)?;
        let before_wrap = IDS - self.first;
        let next = if len < before_wrap { self.first + len } else { len - before_wrap };
        PacketId::new(next + 1)
    }

    /// The place of a number, if it is one of those in flight.
    fn place(&mut self, id: PacketId) -> Option<(usize, &mut Option<InFlight>)> {
        let number = id.get() - 1;
        let at = if number >= self.first { number - self.first } else { number + (IDS - self.first) };
        self.inflight.get_mut(usize::from(at)).map(|place| (usize::from(at), place))
    }

    /// A message has been sent for the first time, with the next number.
    pub(super) fn sent(&mut self, id: PacketId, qos: QoS, item: Option<Item>) {
        debug_assert_eq!(Some(id), self.next_id());
        let stage = if qos == QoS::AtLeastOnce { Stage::Ack } else { Stage::Rec };
        self.inflight.push_back(Some(InFlight { stage, sent: true, item }));
        self.inflight_len += 1;
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
        let Some((at, place)) = self.place(id) else { return Acked::Unknown };
        let Some(entry) = place else { return Acked::Unknown };
        if !stages.contains(&entry.stage) {
            return Acked::Wrong;
        }
        let (sent, stage, item) = (entry.sent, entry.stage, entry.item.take());
        *place = None;
        // What was not sent on this connection took no room in its window.
        if sent {
            self.under_way = self.under_way.saturating_sub(1);
        } else {
            self.unsent -= 1;
        }
        self.inflight_len -= 1;
        if at == 0 {
            self.advance();
        }
        if stage == Stage::GivenUp {
            self.given_up -= 1;
            return Acked::GivenUp;
        }
        Acked::Known(item)
    }

    /// Takes back a message that was sent, and whose acknowledgement is awaited.
    ///
    /// One of QoS 2 keeps its number until PUBCOMP, and PUBREL takes its turn: its receiver may have the message, and would take the
    /// next one with that number for the same (MQTT-4.3.3-10).
    pub(super) fn give_up(&mut self, id: PacketId) -> Option<Item> {
        let (_, place) = self.place(id)?;
        let entry = place.as_mut()?;
        match entry.stage {
            Stage::Ack => match self.done(id, &[Stage::Ack]) {
                Acked::Known(item) => item,
                _ => None,
            },
            Stage::Rec => {
                entry.stage = Stage::GivenUp;
                let item = entry.item.take();
                self.given_up += 1;
                item
            }
            Stage::Comp | Stage::GivenUp => None,
        }
    }

    /// Gives up the places before the oldest message.
    fn advance(&mut self) {
        while let Some(None) = self.inflight.front() {
            self.inflight.pop_front();
            self.first = if self.first + 1 == IDS { 0 } else { self.first + 1 };
            self.again = self.again.saturating_sub(1);
        }
    }

    /// PUBREC: the receiver has the message, and PUBREL is next (MQTT-4.3.3-4). A repeated one is fine.
    pub(super) fn received(&mut self, id: PacketId) -> Acked {
        match self.place(id) {
            Some((_, Some(entry))) if entry.stage == Stage::GivenUp => Acked::GivenUp,
            Some((_, Some(entry))) if entry.stage != Stage::Ack => {
                entry.stage = Stage::Comp;
                Acked::Known(entry.item.take())
            }
            Some((_, Some(_))) => Acked::Wrong,
            Some((_, None)) | None => Acked::Unknown,
        }
    }

    /// The connection is new: all that is in flight is to be sent again, in its order (MQTT-4.4.0-1, MQTT-4.6.0-1).
    pub(super) fn begin_again(&mut self) {
        (self.under_way, self.unsent, self.again) = (0, self.inflight_len, 0);
        self.inflight.iter_mut().flatten().for_each(|entry| entry.sent = false);
    }

    /// The next one that is to be sent again; it counts as sent.
    pub(super) fn next_unsent(&mut self) -> Option<(PacketId, &InFlight)> {
        if self.unsent == 0 {
            return None;
        }
        while let Some(place) = self.inflight.get(usize::from(self.again))
            && place.as_ref().is_none_or(|entry| entry.sent)
        {
            self.again += 1;
        }
        let number = (u32::from(self.first) + u32::from(self.again)) % u32::from(IDS);
        let id = PacketId::new(number as u16 + 1)?;
        let entry = self.inflight.get_mut(usize::from(self.again))?.as_mut()?;
        entry.sent = true;
        self.unsent -= 1;
        self.under_way = self.under_way.saturating_add(1);
        Some((id, entry))
    }

    /// Takes out the messages that are meant: true with those that were sent, and have not been acknowledged.
    pub(super) fn take_out(&mut self, mut is_meant: impl FnMut(&Item) -> bool) -> Vec<(bool, Item)> {
        let mut out = Vec::new();
        let numbers = (self.first..IDS).chain(0..self.first);
        let sent = self.inflight.iter().zip(numbers).filter_map(|(place, number)| {
            let item = place.as_ref().filter(|entry| matches!(entry.stage, Stage::Ack | Stage::Rec))?.item.as_ref()?;
            if is_meant(item) { PacketId::new(number + 1) } else { None }
        });
        for id in sent.collect::<Vec<_>>() {
            out.extend(self.give_up(id).map(|item| (true, item)));
        }
        for item in std::mem::take(&mut self.queue) {
            if is_meant(&item) {
                self.bytes -= item.message.size();
                out.push((false, item));
            } else {
                self.queue.push_back(item);
            }
        }
        out
    }

    /// Takes out what waits and is over; whether something is left that will be.
    pub(super) fn expire(&mut self, now: Moment, over: &mut Vec<Item>) -> bool {
        let is_over = |item: &Item| item.message.expires() <= now;
        if self.queue.iter().any(is_over) {
            for item in std::mem::take(&mut self.queue) {
                if is_over(&item) {
                    self.bytes -= item.message.size();
                    over.push(item);
                } else {
                    self.queue.push_back(item);
                }
            }
        }
        self.queue.iter().any(|item| item.message.expires() != Moment::NEVER)
    }

    /// All of them, as the session ends: how far each had come, and what it takes to send it again.
    pub(super) fn into_items(self) -> impl Iterator<Item = (Option<Stage>, Option<Item>)> {
        let inflight = self.inflight.into_iter().flatten().map(|entry| (Some(entry.stage), entry.item));
        inflight.chain(self.queue.into_iter().map(|item| (None, Some(item))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    /// Sends one of the quality, and says which number it has.
    fn send(out: &mut Outbound, qos: QoS) -> u16 {
        let id = out.next_id().unwrap();
        out.sent(id, qos, None);
        id.get()
    }

    fn ack(out: &mut Outbound, n: u16) {
        assert!(matches!(out.done(id(n), &[Stage::Ack]), Acked::Known(None)), "{n}");
    }

    #[test]
    fn h4_numbers_are_never_zero_and_never_in_use_twice() {
        let mut out = Outbound { first: u16::MAX - 2, ..Outbound::default() };
        assert_eq!(send(&mut out, QoS::AtLeastOnce), u16::MAX - 1);
        assert_eq!(send(&mut out, QoS::AtLeastOnce), u16::MAX);
        assert_eq!(send(&mut out, QoS::AtLeastOnce), 1);
        assert_eq!(send(&mut out, QoS::ExactlyOnce), 2);
        ack(&mut out, 1);
        assert!(matches!(out.done(id(1), &[Stage::Ack]), Acked::Unknown));
        assert!(matches!(out.done(id(3), &[Stage::Ack]), Acked::Unknown));
        assert!(matches!(out.received(id(1)), Acked::Unknown));
        assert_eq!(out.next_id(), Some(id(3)));
        // PUBACK is no answer to QoS 2, nor PUBREC to QoS 1.
        assert!(matches!(out.done(id(2), &[Stage::Ack]), Acked::Wrong));
        assert!(matches!(out.received(id(u16::MAX)), Acked::Wrong));
        assert!(matches!(out.received(id(2)), Acked::Known(None)));
        assert!(matches!(out.received(id(2)), Acked::Known(None)));
        assert!(matches!(out.done(id(2), &[Stage::Comp]), Acked::Known(None)));
        assert_eq!((out.len(), out.under_way()), (2, 2));
        ack(&mut out, u16::MAX - 1);
        ack(&mut out, u16::MAX);
        assert_eq!((out.len(), out.under_way(), out.is_empty()), (0, 0, true));
        assert_eq!(out.next_id(), Some(id(3)));
    }

    #[test]
    fn what_is_given_up_at_qos_2_keeps_its_number_until_its_end() {
        let mut out = Outbound::default();
        assert_eq!([QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce].map(|qos| send(&mut out, qos)), [1, 2, 3]);
        assert!(matches!(out.received(id(3)), Acked::Known(None)));
        (1..=3).for_each(|n| assert!(out.give_up(id(n)).is_none()));
        // What its receiver has is not given up.
        assert_eq!((out.len(), out.under_way()), (1, 2));
        assert!(matches!(out.received(id(2)), Acked::GivenUp));
        out.begin_again();
        assert_eq!(out.next_unsent().map(|(id, entry)| (id, entry.stage)), Some((id(2), Stage::GivenUp)));
        assert_eq!(out.next_unsent().map(|(id, entry)| (id, entry.stage)), Some((id(3), Stage::Comp)));
        assert!(matches!(out.done(id(2), &[Stage::Comp, Stage::GivenUp]), Acked::GivenUp));
        assert_eq!((out.len(), out.under_way(), send(&mut out, QoS::ExactlyOnce)), (1, 1, 4));
    }

    #[test]
    fn a_message_that_stays_open_keeps_its_number_and_holds_the_others_up_when_their_turn_is_over() {
        let mut out = Outbound::default();
        assert_eq!(send(&mut out, QoS::AtLeastOnce), 1);
        for n in 2..=u16::MAX {
            assert!(out.is_open(2));
            assert_eq!(send(&mut out, QoS::AtLeastOnce), n);
            ack(&mut out, n);
        }
        assert_eq!((out.next_id(), out.is_open(2), out.has_window(2)), (None, false, false));
        assert_eq!((out.len(), out.under_way()), (1, 1));
        ack(&mut out, 1);
        assert!(out.is_open(2) && out.is_empty());
        assert_eq!(send(&mut out, QoS::AtLeastOnce), 1);
    }

    #[test]
    fn what_is_sent_again_takes_its_place_in_the_window() {
        let mut out = Outbound::default();
        (1..=4).for_each(|n| assert_eq!(send(&mut out, QoS::AtLeastOnce), n));
        ack(&mut out, 2);
        out.begin_again();
        assert!(!out.is_open(2) && out.has_window(2));
        assert_eq!(out.next_unsent().map(|(id, _)| id), Some(id(1)));
        // The first place goes, and with it the empty one behind it.
        ack(&mut out, 1);
        assert_eq!(out.next_unsent().map(|(id, _)| id), Some(id(3)));
        assert!(out.has_window(2) && !out.has_window(1));
        // An acknowledgement that crossed the end of the last connection.
        ack(&mut out, 4);
        assert_eq!((out.under_way(), out.next_unsent().is_none()), (1, true));
        assert!(out.is_open(2));
    }

    proptest::proptest! {
        /// Against the plain way: a list that is searched.
        #[test]
        fn places_are_found_as_in_a_list(
            first in proptest::prelude::any::<u16>(),
            steps in proptest::collection::vec((0..4u8, 0..12usize), 0..200),
        ) {
            let mut out = Outbound { first: first % IDS, ..Outbound::default() };
            let mut list: Vec<(u16, bool)> = Vec::new();
            for (what, at) in steps {
                match what {
                    0 | 1 if out.is_drained() => list.push((send(&mut out, QoS::AtLeastOnce), true)),
                    0 | 1 => {
                        let next = list.iter_mut().find(|(_, sent)| !sent).unwrap();
                        next.1 = true;
                        assert_eq!(out.next_unsent().map(|(id, _)| id.get()), Some(next.0));
                    }
                    2 if at < list.len() => ack(&mut out, list.remove(at).0),
                    2 => {}
                    _ if at == 0 => {
                        out.begin_again();
                        list.iter_mut().for_each(|(_, sent)| *sent = false);
                    }
                    _ => {}
                }
                let under_way = list.iter().filter(|(_, sent)| *sent).count();
                assert_eq!((out.len(), usize::from(out.under_way())), (list.len(), under_way));
                assert_eq!(out.is_drained(), under_way == list.len());
                assert_eq!(out.is_empty(), list.is_empty());
            }
        }
    }
}

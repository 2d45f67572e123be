//! What is sent to one client in its order: what is in flight, what waits, and the retained messages of its new
//! subscriptions; as fast as its window and its connection admit.

use std::ops::ControlFlow;
use std::rc::Rc;

use crate::id::ConnId;
use crate::proto::mqtt::{Ack, Packet, QoS, ReasonCode, Version};
use crate::time::Moment;

use super::core::{Core, Flow, Sink};
use super::events::DropReason;
use super::message::{Message, seconds_left};
use super::queue::{Acked, Item, Stage};
use super::router::{Telling, may_have};
use super::session::{Flags, Replay};
use super::store::Change;

/// Retained messages that are looked up at once.
const REPLAY_LEN: usize = 64;

impl Core {
    /// The connection's output has drained: what waited for that goes on.
    pub(super) fn handle_drained(&mut self, conn: ConnId, now: Moment, sink: &mut dyn Sink) {
        let Some((who, _)) = self.session_of(conn) else { return };
        if let Some(session) = self.sessions.get_mut(who) {
            session.flags.put(Flags::HIGH, false);
        }
        self.pump(who, now, sink);
    }

    /// PUBACK or PUBCOMP: a message is delivered (section 4.3.2, 4.3.3).
    pub(super) fn acked(
        &mut self,
        conn: ConnId,
        ack: &Ack<'_>,
        stages: &[Stage],
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Flow {
        let Some((who, _)) = self.session_of(conn) else { return Flow::Next };
        let Some(session) = self.sessions.get_mut(who) else { return Flow::Next };
        match session.outbound.as_mut().map_or(Acked::Unknown, |outbound| outbound.done(ack.id, stages)) {
            Acked::Known(item) => {
                self.landed(who, item);
                self.pump(who, now, sink);
                Flow::Next
            }
            Acked::Unknown => Flow::Next,
            Acked::Wrong => self.breach(conn, ReasonCode::ProtocolError, now, sink),
        }
    }

    /// A message is done with, whatever became of it.
    fn landed(&mut self, who: u32, item: Option<Item>) {
        self.stats.queued -= 1;
        if let Some(item) = item {
            self.forgotten(who, &item);
        }
    }

    /// The receiver has the message: the store need not keep it.
    fn forgotten(&mut self, who: u32, item: &Item) {
        if let Some(session) = self.sessions.get(who).filter(|session| session.is_persistent()) {
            // Nobody waits for this one to be safe: what is lost of it is sent twice.
            let _ = self.store.record(&Change::Delivered { client: &session.id, message: &item.message });
        }
    }

    /// PUBREC: PUBREL follows (MQTT-4.3.3-4), unless the client has refused the message.
    pub(super) fn pub_rec(&mut self, conn: ConnId, ack: &Ack<'_>, now: Moment, sink: &mut dyn Sink) -> Flow {
        if ack.reason.is_error() {
            // MQTT-4.3.3: the exchange ends here.
            return self.acked(conn, ack, &[Stage::Rec], now, sink);
        }
        let Some((who, version)) = self.session_of(conn) else { return Flow::Next };
        let Some(session) = self.sessions.get_mut(who) else { return Flow::Next };
        match session.outbound.as_mut().map_or(Acked::Unknown, |outbound| outbound.received(ack.id)) {
            Acked::Known(item) => {
                if let Some(item) = item {
                    self.forgotten(who, &item);
                }
                self.ack(conn, version, Packet::PubRel(Ack::new(ack.id)), sink);
                Flow::Next
            }
            Acked::Unknown => {
                let reason = ReasonCode::PacketIdentifierNotFound;
                self.ack(conn, version, Packet::PubRel(Ack { reason, ..Ack::new(ack.id) }), sink);
                Flow::Next
            }
            Acked::Wrong => self.breach(conn, ReasonCode::ProtocolError, now, sink),
        }
    }

    pub(super) fn ack(&mut self, conn: ConnId, version: Version, packet: Packet<'_>, sink: &mut dyn Sink) {
        let (first, id) = match &packet {
            Packet::PubAck(ack) if ack.reason == ReasonCode::Success => (0x40, ack.id),
            Packet::PubRec(ack) if ack.reason == ReasonCode::Success => (0x50, ack.id),
            Packet::PubRel(ack) if ack.reason == ReasonCode::Success => (0x62, ack.id),
            Packet::PubComp(ack) if ack.reason == ReasonCode::Success => (0x70, ack.id),
            _ => return self.send_packet(conn, &packet, version, sink),
        };
        // What nearly all of them look like, in all versions.
        let [high, low] = id.get().to_be_bytes();
        self.send(conn, &[first, 2, high, low], sink);
    }

    /// Sends what a client has room for.
    pub(super) fn pump(&mut self, who: u32, now: Moment, sink: &mut dyn Sink) {
        loop {
            let Some(session) = self.sessions.get_mut(who) else { return };
            let Some(conn) = session.conn.filter(|_| !session.flags.has(Flags::HIGH)) else { return };
            let (window, version) = (session.inflight_max, session.version);
            let Some(outbound) = session.outbound.as_mut().filter(|outbound| !outbound.is_drained()) else { break };
            if !outbound.has_window(window) {
                return;
            }
            if let Some(entry) = outbound.next_unsent() {
                let (id, stage, item) = (entry.id, entry.stage, entry.item.clone());
                match item.filter(|_| stage != Stage::Comp) {
                    Some(item) => {
                        // MQTT-3.3.1-1
                        if self.tell_item(who, conn, &item, true, id, now, sink).is_err() {
                            self.give_up(who, id, item);
                        }
                    }
                    None => self.ack(conn, version, Packet::PubRel(Ack::new(id)), sink),
                }
                continue;
            }
            let Some(item) = outbound.pop() else { break };
            // MQTT-3.3.2-5
            let id = if item.message.expires() <= now { None } else { outbound.next_id() };
            self.stats.queued -= 1;
            self.stats.queued_bytes -= item.message.size();
            let told = match id {
                Some(id) => self.tell_item(who, conn, &item, false, id, now, sink).map(|()| id),
                // Numbers never run out: the window has room.
                None => Err(DropReason::Expired),
            };
            match told {
                Ok(id) => {
                    self.stats.queued += 1;
                    let Some(session) = self.sessions.get_mut(who) else { return };
                    let keeps = session.is_persistent() || item.share.is_some();
                    session.outbound().sent(id, item.qos, keeps.then_some(item));
                }
                Err(reason) => {
                    self.forgotten(who, &item);
                    self.dropped(who, reason);
                }
            }
        }
        self.replay(who, now, sink);
    }

    #[allow(clippy::too_many_arguments)] // What one packet is made of.
    fn tell_item(
        &mut self,
        who: u32,
        conn: ConnId,
        item: &Item,
        dup: bool,
        id: crate::proto::mqtt::PacketId,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let told = Telling { qos: item.qos, retain: item.retain, dup, id: Some(id), ids: item.ids.as_slice() };
        let left = seconds_left(item.message.expires(), now);
        let payload = (item.message.payload().len() > SHARE_MIN).then(|| item.message.shared_payload());
        self.put_one(who, conn, told, &item.message.publication(), left, payload, sink)
    }

    /// A message that was in flight has become too long for its receiver: it counts as delivered (MQTT-3.1.2-25).
    fn give_up(&mut self, who: u32, id: crate::proto::mqtt::PacketId, item: Item) {
        if let Some(outbound) = self.sessions.get_mut(who).and_then(|session| session.outbound.as_mut()) {
            outbound.done(id, &[Stage::Ack, Stage::Rec]);
        }
        self.landed(who, Some(item));
        self.dropped(who, DropReason::TooLarge);
    }

    // ---- retained messages for new subscriptions

    /// Has the retained messages that a new subscription matches sent (MQTT-3.3.1-9 to -11).
    pub(super) fn begin_replay(&mut self, who: u32, replay: Replay) {
        if let Some(session) = self.sessions.get_mut(who) {
            session.rare().replays.push(replay);
        }
    }

    /// Goes on with it, as far as the client has room.
    pub(super) fn replay(&mut self, who: u32, now: Moment, sink: &mut dyn Sink) {
        let mut batch: Vec<Rc<Message>> = Vec::new();
        loop {
            let Some(session) = self.sessions.get_mut(who) else { return };
            let Some(rare) = &mut session.rare else { return };
            let Some(replay) = rare.replays.first() else { return };
            batch.clear();
            self.retained.matching(&replay.filter, replay.after.as_deref(), |message| {
                batch.push(Rc::clone(message));
                if batch.len() < REPLAY_LEN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            let wanted = replay.wanted;
            let ids = wanted.id();
            let mut last = None;
            let mut is_held_up = false;
            for message in &batch {
                match self.replay_one(who, message, wanted.qos(), ids.as_slice(), now, sink) {
                    ControlFlow::Continue(()) => last = Some(message),
                    ControlFlow::Break(()) => {
                        is_held_up = true;
                        break;
                    }
                }
            }
            let replays =
                self.sessions.get_mut(who).and_then(|session| session.rare.as_mut()).map(|rare| &mut rare.replays);
            let Some(replays) = replays.filter(|replays| !replays.is_empty()) else { return };
            if is_held_up || batch.len() == REPLAY_LEN {
                if let (Some(replay), Some(last)) = (replays.first_mut(), last) {
                    replay.after = Some(last.topic().into());
                }
            } else {
                replays.remove(0);
            }
            if is_held_up {
                return;
            }
        }
    }

    /// Break: the client has no room for it now.
    fn replay_one(
        &mut self,
        who: u32,
        message: &Rc<Message>,
        max: QoS,
        ids: &[crate::proto::mqtt::SubscriptionId],
        now: Moment,
        sink: &mut dyn Sink,
    ) -> ControlFlow<()> {
        let Some(session) = self.sessions.get_mut(who) else { return ControlFlow::Break(()) };
        let Some(conn) = session.conn.filter(|_| !session.flags.has(Flags::HIGH)) else {
            return ControlFlow::Break(());
        };
        if message.expires() <= now {
            return ControlFlow::Continue(());
        }
        if self.checks_deliveries && !may_have(&mut *self.access, session, message.topic()) {
            self.dropped(who, DropReason::Denied);
            return ControlFlow::Continue(());
        }
        let qos = message.qos().min(max);
        // MQTT-3.3.1-8
        let mut told = Telling { qos, retain: true, dup: false, id: None, ids };
        if qos != QoS::AtMostOnce {
            let window = session.inflight_max;
            if !session.outbound().is_open(window) {
                return ControlFlow::Break(());
            }
            told.id = session.outbound().next_id();
        }
        let keeps = session.is_persistent();
        let left = seconds_left(message.expires(), now);
        let payload = (message.payload().len() > SHARE_MIN).then(|| message.shared_payload());
        match (self.put_one(who, conn, told, &message.publication(), left, payload, sink), told.id) {
            (Ok(()), Some(id)) => {
                let ids = super::queue::Ids::of(ids);
                let item = keeps.then(|| Item { message: Rc::clone(message), qos, retain: true, share: None, ids });
                self.took_off(who, id, qos, item);
            }
            (Ok(()), None) => {}
            (Err(reason), _) => self.dropped(who, reason),
        }
        ControlFlow::Continue(())
    }
}

/// A kept payload of more bytes is shared with the output rather than copied to it.
const SHARE_MIN: usize = 8 * 1024;

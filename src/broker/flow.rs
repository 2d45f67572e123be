//! What is sent to one client in its order: what is in flight, what waits, and the retained messages of its new
//! subscriptions; as fast as its window and its connection admit.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use crate::id::ConnId;
use crate::proto::mqtt::{Ack, Packet, PacketId, QoS, ReasonCode, Version};
use crate::time::Moment;

use super::core::{Core, Flow, PUBACK, PUBACK_LEN, Sink};
use super::events::DropReason;
use super::message::{Message, seconds_left};
use super::queue::{Acked, Item, Stage};
use super::router::{Telling, may_have};
use super::session::{Flags, Replay, Session};
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
                self.stats.delivered += 1;
                self.landed(who, item);
                self.pump(who, now, sink);
                Flow::Next
            }
            Acked::GivenUp => {
                self.pump(who, now, sink);
                Flow::Next
            }
            Acked::Unknown => Flow::Next,
            Acked::Wrong => self.breach(conn, ReasonCode::ProtocolError, now, sink),
        }
    }

    /// PUBACKs in a row: how many have been dealt with. What is wrong with the next one is not looked into here.
    pub(super) fn acked_row(&mut self, conn: ConnId, bytes: &[u8], now: Moment, sink: &mut dyn Sink) -> usize {
        let Some((who, _)) = self.session_of(conn) else { return 0 };
        let mut count = 0;
        for packet in bytes.as_chunks::<PUBACK_LEN>().0.iter().take_while(|packet| packet.starts_with(&PUBACK)) {
            let &[_, _, high, low] = packet;
            let Some(id) = PacketId::new(u16::from_be_bytes([high, low])) else { break };
            let Some(outbound) = self.sessions.get_mut(who).and_then(|session| session.outbound.as_mut()) else {
                break;
            };
            match outbound.done(id, &[Stage::Ack]) {
                Acked::Known(item) => {
                    self.stats.delivered += 1;
                    self.landed(who, item);
                }
                Acked::Unknown => {}
                Acked::GivenUp | Acked::Wrong => break,
            }
            count += 1;
        }
        if count > 0 {
            self.pump(who, now, sink);
        }
        count
    }

    /// A message is done with, whatever became of it.
    fn landed(&mut self, who: u32, item: Option<Item>) {
        self.stats.queued -= 1;
        if let Some(item) = item {
            self.forgotten(who, &item);
        }
    }

    /// The receiver has the message: the store need not keep it.
    pub(super) fn forgotten(&mut self, who: u32, item: &Item) {
        if let Some(session) = self.sessions.get(who).filter(|session| session.is_persistent()) {
            // Nobody waits for this one to be safe: what is lost of it is sent twice.
            let _ = self.store.record(&Change::Delivered { client: &session.id, message: &item.message });
        }
    }

    /// PUBREC: PUBREL follows (MQTT-4.3.3-4), unless the client has refused the message.
    pub(super) fn pub_rec(&mut self, conn: ConnId, ack: &Ack<'_>, now: Moment, sink: &mut dyn Sink) -> Flow {
        if ack.reason.is_error() {
            // MQTT-4.3.3: the exchange ends here, that of a message that was given up as well: it is no breach to refuse that one late.
            return self.acked(conn, ack, &[Stage::Rec, Stage::GivenUp], now, sink);
        }
        let Some((who, version)) = self.session_of(conn) else { return Flow::Next };
        let Some(session) = self.sessions.get_mut(who) else { return Flow::Next };
        match session.outbound.as_mut().map_or(Acked::Unknown, |outbound| outbound.received(ack.id)) {
            Acked::Known(item) => {
                if let Some(item) = item {
                    self.forgotten(who, &item);
                }
                self.ack(conn, version, &Packet::PubRel(Ack::new(ack.id)), sink);
                Flow::Next
            }
            Acked::GivenUp => {
                self.ack(conn, version, &Packet::PubRel(Ack::new(ack.id)), sink);
                Flow::Next
            }
            Acked::Unknown => {
                let reason = ReasonCode::PacketIdentifierNotFound;
                self.ack(conn, version, &Packet::PubRel(Ack { reason, ..Ack::new(ack.id) }), sink);
                Flow::Next
            }
            Acked::Wrong => self.breach(conn, ReasonCode::ProtocolError, now, sink),
        }
    }

    pub(super) fn ack(&mut self, conn: ConnId, version: Version, packet: &Packet<'_>, sink: &mut dyn Sink) {
        let (first, id) = match packet {
            Packet::PubAck(ack) if ack.reason == ReasonCode::Success => (0x40, ack.id),
            Packet::PubRec(ack) if ack.reason == ReasonCode::Success => (0x50, ack.id),
            Packet::PubRel(ack) if ack.reason == ReasonCode::Success => (0x62, ack.id),
            Packet::PubComp(ack) if ack.reason == ReasonCode::Success => (0x70, ack.id),
            _ => return self.send_packet(conn, packet, version, sink),
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
            if let Some((id, entry)) = outbound.next_unsent() {
                let (stage, item) = (entry.stage, entry.item.clone());
                match item.filter(|_| stage != Stage::Comp) {
                    Some(item) => {
                        // MQTT-3.3.1-1
                        if self.tell_item(who, conn, &item, true, id, now, sink).is_err() {
                            self.give_up(who, id, &item);
                            if item.qos == QoS::ExactlyOnce {
                                self.ack(conn, version, &Packet::PubRel(Ack::new(id)), sink);
                            }
                        }
                    }
                    None => self.ack(conn, version, &Packet::PubRel(Ack::new(id)), sink),
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

    /// Drops what waits for a client that may not have it: it may be another user by now than when it subscribed. What it had for a
    /// group is another member's.
    pub(super) fn drop_denied(&mut self, who: u32, now: Moment, sink: &mut dyn Sink) {
        if !self.checks_deliveries {
            return;
        }
        let Some(session) = self.sessions.get_mut(who) else { return };
        let Some(mut outbound) = session.outbound.take() else { return };
        let access = &mut *self.access;
        let denied = outbound.take_out(|item| !may_have(access, session, item.message.topic()));
        session.outbound = Some(outbound);
        for (was_sent, item) in denied {
            self.stats.queued -= 1;
            if !was_sent {
                self.stats.queued_bytes -= item.message.size();
            }
            self.forgotten(who, &item);
            // MQTT-4.8.2-5: of QoS 2 nobody else is sent what one has been.
            let group = item.share.filter(|_| !was_sent || item.qos == QoS::AtLeastOnce);
            let shared = match group {
                Some(group) => self.share_again(group, item, DropReason::Denied, now, sink),
                None => Err(DropReason::Denied),
            };
            if let Err(reason) = shared {
                self.dropped(who, reason);
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // What one packet is made of.
    fn tell_item(
        &mut self,
        who: u32,
        conn: ConnId,
        item: &Item,
        dup: bool,
        id: PacketId,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let told = Telling { qos: item.qos, retain: item.retain, dup, id: Some(id), ids: item.ids.as_slice() };
        let left = seconds_left(item.message.expires(), now);
        let payload = (item.message.payload().len() > SHARE_MIN).then(|| item.message.shared_payload());
        self.put_one(who, conn, told, &item.message.publication(), left, payload, sink)
    }

    /// A message that was in flight has become too long for its receiver: it is not sent again (MQTT-3.1.2-25).
    fn give_up(&mut self, who: u32, id: PacketId, item: &Item) {
        if let Some(outbound) = self.sessions.get_mut(who).and_then(|session| session.outbound.as_mut()) {
            outbound.give_up(id);
        }
        self.stats.queued -= 1;
        self.forgotten(who, item);
        self.dropped(who, DropReason::TooLarge);
    }

    // ---- retained messages for new subscriptions

    /// Has the retained messages that a new subscription matches sent (MQTT-3.3.1-9 to -11).
    pub(super) fn begin_replay(&mut self, who: u32, replay: Replay) {
        let Some(session) = self.sessions.get_mut(who) else { return };
        let most = 2 * session.subscriptions.len() + REPLAYS_SPARE;
        let replays = &mut session.rare().replays;
        replays.push_back(replay);
        // More than there are subscriptions: some are there several times. The last of each covers those before it.
        if replays.len() > most {
            let mut known = HashSet::new();
            let last = std::mem::take(replays).into_iter().rev().filter(|replay| known.insert(replay.filter.clone()));
            *replays = last.collect();
            replays.make_contiguous().reverse();
        }
    }

    /// Goes on with it, as far as the client has room, and the turn has steps left.
    #[inline]
    pub(super) fn replay(&mut self, who: u32, now: Moment, sink: &mut dyn Sink) {
        if self.sessions.get(who).is_some_and(|session| session.rare.is_some()) {
            self.replay_on(who, now, sink);
        }
    }

    fn replay_on(&mut self, who: u32, now: Moment, sink: &mut dyn Sink) {
        let mut batch: Vec<Rc<Message>> = Vec::new();
        loop {
            let Some(session) = self.sessions.get_mut(who) else { return };
            let Some(replay) = session.rare.as_ref().and_then(|rare| rare.replays.front()) else { return };
            if session.flags.has(Flags::WALKS) {
                return;
            }
            let steps = self.walks.steps(now);
            if *steps == 0 {
                return self.walks.wait(who, session, now);
            }
            batch.clear();
            let stopped = self.retained.walk(&replay.filter, replay.after.as_deref(), steps, |message| {
                batch.push(Rc::clone(message));
                if batch.len() < REPLAY_LEN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            let stopped = stopped.map(Box::<str>::from);
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
                if let (Some(replay), Some(last)) = (replays.front_mut(), last) {
                    replay.after = Some(last.topic().into());
                }
            } else if let (Some(replay), Some(_)) = (replays.front_mut(), &stopped) {
                replay.after = stopped;
            } else {
                replays.pop_front();
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
            self.stats.routed += 1;
            self.dropped(who, DropReason::Denied);
            self.walks.tire();
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
        self.stats.routed += 1;
        let left = seconds_left(message.expires(), now);
        let payload = (message.payload().len() > SHARE_MIN).then(|| message.shared_payload());
        match (self.put_one(who, conn, told, &message.publication(), left, payload, sink), told.id) {
            (Ok(()), Some(id)) => {
                let ids = super::queue::Ids::of(ids);
                let item = keeps.then(|| Item { message: Rc::clone(message), qos, retain: true, share: None, ids });
                self.took_off(who, id, qos, item);
            }
            (Ok(()), None) => self.stats.delivered += 1,
            (Err(reason), _) => _ = self.dropped(who, reason),
        }
        ControlFlow::Continue(())
    }
}

/// Walks through the retained messages, for new subscriptions.
///
/// A subscription that matches little may have all of them looked at, and a packet may have thousands of such subscriptions. So there are
/// so many steps in a turn for all clients together; who needs more waits for a later turn, and nobody else does.
#[derive(Debug)]
pub(super) struct Walks {
    /// When those who wait go on.
    pub(super) due: Moment,
    waiting: VecDeque<u32>,
    /// Steps that are left in the turn of this moment.
    left: usize,
    turn: Moment,
}

impl Default for Walks {
    fn default() -> Self {
        Self { due: Moment::NEVER, waiting: VecDeque::new(), left: STEPS, turn: Moment::START }
    }
}

impl Walks {
    /// What is left for this turn.
    fn steps(&mut self, now: Moment) -> &mut usize {
        if self.turn != now {
            (self.turn, self.left) = (now, STEPS);
        }
        &mut self.left
    }

    /// A message was looked at for longer than others: somebody was asked about it.
    fn tire(&mut self) {
        self.left = self.left.saturating_sub(QUESTION_STEPS);
    }

    fn wait(&mut self, who: u32, session: &mut Session, now: Moment) {
        session.flags.put(Flags::WALKS, true);
        self.waiting.push_back(who);
        self.due = self.due.min(now.after(WALK_PAUSE));
    }

    /// The session ends.
    pub(super) fn forget(&mut self, who: u32, session: &Session) {
        if session.flags.has(Flags::WALKS) {
            self.waiting.retain(|waiting| *waiting != who);
        }
        if self.waiting.is_empty() {
            self.due = Moment::NEVER;
        }
    }
}

impl Core {
    /// Those who wait go on in turn; half of the steps are for those who come.
    pub(super) fn walk_on(&mut self, now: Moment, sink: &mut dyn Sink) {
        self.walks.due = Moment::NEVER;
        let for_others = (*self.walks.steps(now)).min(STEPS / 2);
        self.walks.left -= for_others;
        for _ in 0..self.walks.waiting.len() {
            if self.walks.left == 0 {
                break;
            }
            let Some(who) = self.walks.waiting.pop_front() else { break };
            if let Some(session) = self.sessions.get_mut(who) {
                session.flags.put(Flags::WALKS, false);
            }
            self.pump(who, now, sink);
        }
        self.walks.left += for_others;
        if !self.walks.waiting.is_empty() {
            self.walks.due = now.after(WALK_PAUSE);
        }
    }
}

/// Steps in a turn, of 0.1 to 0.2 us, and the pause before those who need more go on.
const STEPS: usize = 32 * 1024;
const WALK_PAUSE: Duration = Duration::from_millis(1);
const QUESTION_STEPS: usize = 8;

/// How many may be there several times before somebody looks.
const REPLAYS_SPARE: usize = 16;

/// A kept payload of more bytes is shared with the output rather than copied to it.
const SHARE_MIN: usize = 8 * 1024;

//! From one message to all who want it.
//!
//! A message is encoded once for all receivers that are told the same (version, quality, retain flag); what differs then is
//! the packet identifier, which is written over. A long payload is shared instead of copied.

use std::rc::Rc;

use bytes::Bytes;

use crate::event::Sent;
use crate::id::ConnId;
use crate::proto::mqtt::{Delivery, PacketId, PublishParts, QoS, SubscriptionId, TopicAs, Version};
use crate::time::Moment;

use super::access::{AccessToken, Client};
use super::core::{Core, Sink};
use super::events::DropReason;
use super::local::is_local;
use super::message::{Message, Publication, seconds_left};
use super::options::Overflow;
use super::queue::{Ids, Item};
use super::session::{Flags, Session, Wanted};
use super::share::FITTEST;
use super::store::Change;

/// Memory that routing uses again and again.
#[derive(Default)]
pub(super) struct FanOut {
    targets: Vec<(u32, Wanted)>,
    groups: Vec<u32>,
    ids: Vec<SubscriptionId>,
    /// Packets, or their heads where the payload is shared.
    frames: Vec<u8>,
}

/// A message that is being routed.
struct Routing<'a> {
    publication: &'a Publication<'a>,
    /// What is left of its life.
    left: Option<u32>,
    /// Where in `FanOut::frames` it stands encoded, by class; nothing is at 0..0.
    frames: [(u32, u32); CLASSES],
    /// Once somebody keeps it.
    message: Option<Rc<Message>>,
    /// Once somebody shares it.
    payload: Option<Bytes>,
    is_shared: bool,
}

/// How one receiver is told a message.
#[derive(Clone, Copy)]
pub(super) struct Telling<'a> {
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) dup: bool,
    pub(super) id: Option<PacketId>,
    pub(super) ids: &'a [SubscriptionId],
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Routed {
    /// How many subscribers it is for.
    pub(super) receivers: usize,
    /// A queue had no room for it, and the publisher is to be told.
    pub(super) is_refused: bool,
}

/// 5.0 or not, three qualities, retained or not.
const CLASSES: usize = 12;

/// A payload of more bytes is shared by several receivers.
const COPY_MAX: usize = 1024;
/// And by a single one above this.
const COPY_MAX_SINGLE: usize = 32 * 1024;

impl<'a> Routing<'a> {
    fn new(publication: &'a Publication<'a>, receivers: usize, now: Moment) -> Self {
        let len = publication.payload.len();
        Self {
            publication,
            left: seconds_left(publication.expires, now),
            frames: [(0, 0); CLASSES],
            message: None,
            payload: None,
            is_shared: len > COPY_MAX_SINGLE || len > COPY_MAX && receivers > 1,
        }
    }

    fn message(&mut self) -> &Rc<Message> {
        self.message.get_or_insert_with(|| self.publication.keep())
    }

    fn payload(&mut self) -> Bytes {
        let message = &self.message;
        let shared = self.payload.get_or_insert_with(|| match message {
            Some(message) => message.shared_payload(),
            None => Bytes::copy_from_slice(self.publication.payload),
        });
        shared.clone()
    }
}

impl Core {
    /// Hands a message to all who have subscribed to it, and retains it if it asks for that. `from` is the session that has
    /// published it.
    pub(super) fn route(
        &mut self,
        from: Option<u32>,
        publication: &Publication<'_>,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Routed {
        self.stats.publish_in += 1;
        self.stats.publish_bytes_in += publication.payload.len() as u64;
        let mut fan = std::mem::take(&mut self.fan_out);
        fan.targets.clear();
        fan.frames.clear();
        self.subscriptions.matches(publication.topic, |&who, &wanted| fan.targets.push((who, wanted)));
        // Filters that overlap may find a session several times: it is sent one copy (section 3.3.4).
        if !fan.targets.is_sorted_by(|one, next| one.0 < next.0) {
            fan.targets.sort_unstable_by_key(|(who, _)| *who);
        }
        let mut routing = Routing::new(publication, fan.targets.len(), now);
        if publication.retain {
            self.retain(&mut routing, now);
        }
        let mut routed = Routed::default();
        let targets = std::mem::take(&mut fan.targets);
        for same in targets.chunk_by(|one, next| one.0 == next.0) {
            let Some(&(who, first)) = same.first() else { continue };
            fan.ids.clear();
            // MQTT-3.8.3-3
            let mut heard = same.iter().map(|(_, wanted)| wanted).filter(|w| !(w.no_local() && from == Some(who)));
            let Some(mut wanted) = heard.next().copied() else { continue };
            // MQTT-3.3.4-3, MQTT-3.3.4-4: one copy bears the identifiers of all the subscriptions.
            fan.ids.extend(wanted.id());
            if same.len() > 1 {
                for other in heard {
                    wanted.merge(*other);
                    fan.ids.extend(other.id());
                }
            } else {
                debug_assert_eq!(wanted, first);
            }
            routed.receivers += 1;
            routed.is_refused |= self.deliver(who, wanted, None, &mut routing, &mut fan, sink);
        }
        fan.targets = targets;
        if !self.shares.is_empty() {
            self.route_shared(&mut routing, &mut fan, &mut routed, sink);
        }
        self.fan_out = fan;
        routed
    }

    /// MQTT-4.8.2: each group gets a copy, and one of its members.
    fn route_shared(&mut self, routing: &mut Routing<'_>, fan: &mut FanOut, routed: &mut Routed, sink: &mut dyn Sink) {
        fan.groups.clear();
        self.shares.matching(routing.publication.topic, |group| fan.groups.push(group));
        for at in 0..fan.groups.len() {
            let Some(&group) = fan.groups.get(at) else { continue };
            match self.member_for(group, routing.publication.qos) {
                Some((who, wanted)) => {
                    fan.ids.clear();
                    fan.ids.extend(wanted.id());
                    routed.receivers += 1;
                    routed.is_refused |= self.deliver(who, wanted, Some(group), routing, fan, sink);
                }
                None => self.stats.dropped.add(DropReason::QueueFull, 1),
            }
        }
    }

    /// The member of a group whose turn it is: connected and with room if there is such a one, then those whose queue has
    /// room.
    fn member_for(&mut self, group: u32, qos: QoS) -> Option<(u32, Wanted)> {
        let (sessions, max) = (&self.sessions, self.bounds.queue_messages_max);
        self.shares.choose(group, |who, wanted| {
            let Some(session) = sessions.get(who) else { return 0 };
            let outbound = session.outbound.as_ref();
            let keeps = qos.min(wanted.qos()) != QoS::AtMostOnce;
            let has_room = keeps && outbound.is_none_or(|outbound| outbound.queue_len() < max);
            let is_open = outbound.is_none_or(|outbound| outbound.is_open(session.inflight_max));
            match session.conn {
                Some(_) if !session.flags.has(Flags::HIGH) && (!keeps || is_open) => FITTEST,
                Some(_) if has_room => 2,
                None if has_room => 1,
                _ => 0,
            }
        })
    }

    /// Retains a message (MQTT-3.3.1-5), or clears its topic (MQTT-3.3.1-6).
    fn retain(&mut self, routing: &mut Routing<'_>, now: Moment) {
        let topic = routing.publication.topic;
        if routing.publication.payload.is_empty() {
            // MQTT-3.3.1-7: an empty payload is not kept.
            if self.retained.remove(topic) {
                self.record(&Change::RetainedCleared { topic });
            }
            return;
        }
        let (old, old_len) = self.retained.get(topic).map_or((0, 0), |old| (1, old.size()));
        let size = topic.len() + routing.publication.payload.len();
        let has_room = self.retained.len() - old < self.bounds.retained_max
            && self.retained.bytes() - old_len + size <= self.bounds.retained_bytes_max;
        if !has_room {
            self.stats.retained_refused += 1;
            return;
        }
        let message = Rc::clone(routing.message());
        self.record(&Change::Retained { message: &message });
        if message.expires() != Moment::NEVER && self.sweep_due == Moment::NEVER {
            self.sweep_due = now.after(std::time::Duration::from_secs(1));
        }
        self.retained.set(message);
    }

    /// Hands a new message to one receiver: sends it, or queues it. True: its queue is full, and the publisher is to know.
    #[allow(clippy::too_many_arguments)] // The state of one loop.
    fn deliver(
        &mut self,
        who: u32,
        wanted: Wanted,
        share: Option<u32>,
        routing: &mut Routing<'_>,
        fan: &mut FanOut,
        sink: &mut dyn Sink,
    ) -> bool {
        let publication = routing.publication;
        // MQTT-3.8.4-8
        let qos = publication.qos.min(wanted.qos());
        if is_local(who) {
            self.locals.push(who, Rc::clone(routing.message()), qos, false);
            return false;
        }
        let Some(session) = self.sessions.get_mut(who) else { return false };
        if self.checks_deliveries && !may_have(&mut *self.access, session, publication.topic) {
            self.dropped(who, DropReason::Denied);
            return false;
        }
        // MQTT-3.3.1-12, MQTT-3.3.1-13
        let retain = publication.retain && wanted.as_published();
        let is_high = session.flags.has(Flags::HIGH);
        let told = Telling { qos, retain, dup: false, id: None, ids: &[] };
        let ids = std::mem::take(&mut fan.ids);
        let mut refused = false;
        match (session.conn, qos) {
            // Nothing of QoS 0 waits for a client that is away.
            (None, QoS::AtMostOnce) => {}
            (Some(_), QoS::AtMostOnce) if is_high => self.dropped(who, DropReason::Slow),
            (Some(conn), QoS::AtMostOnce) => {
                if let Err(reason) = self.put(who, conn, Telling { ids: &ids, ..told }, routing, fan, sink) {
                    self.dropped(who, reason);
                }
            }
            (Some(conn), _) if !is_high && session.is_open() => {
                let keeps = session.is_persistent() || share.is_some();
                let id = session.outbound().next_id();
                let Some(id) = id else { return false };
                match self.put(who, conn, Telling { id: Some(id), ids: &ids, ..told }, routing, fan, sink) {
                    Ok(()) => {
                        let item = keeps.then(|| {
                            let message = Rc::clone(routing.message());
                            Item { message, qos, retain, share, ids: Ids::of(&ids) }
                        });
                        self.took_off(who, id, qos, item);
                    }
                    Err(reason) => self.dropped(who, reason),
                }
            }
            _ => {
                let message = Rc::clone(routing.message());
                refused = self.enqueue(who, Item { message, qos, retain, share, ids: Ids::of(&ids) });
            }
        }
        fan.ids = ids;
        refused
    }

    /// A message of QoS 1 or 2 has been sent for the first time.
    pub(super) fn took_off(&mut self, who: u32, id: PacketId, qos: QoS, item: Option<Item>) {
        let Some(session) = self.sessions.get_mut(who) else { return };
        let (name, is_persistent) = (Rc::clone(&session.id), session.is_persistent());
        let message = item.as_ref().filter(|_| is_persistent).map(|item| Rc::clone(&item.message));
        session.outbound().sent(id, qos, item);
        self.stats.queued += 1;
        if let Some(message) = message {
            self.record(&Change::Queued { client: &name, message: &message });
        }
    }

    /// Has a message wait for its receiver. True: there is no room, and the publisher is to know.
    pub(super) fn enqueue(&mut self, who: u32, item: Item) -> bool {
        let size = item.message.size();
        let bounds = self.bounds;
        let Some(session) = self.sessions.get_mut(who) else { return false };
        let (is_persistent, name) = (session.is_persistent(), Rc::clone(&session.id));
        let full = loop {
            let outbound = session.outbound();
            let is_full =
                outbound.queue_len() >= bounds.queue_messages_max || outbound.bytes() + size > bounds.queue_bytes_max;
            let reason = match is_full {
                true => DropReason::QueueFull,
                false if self.stats.queued_bytes + size > bounds.queue_total_max => DropReason::TotalFull,
                false => break None,
            };
            // The oldest make room, if that helps.
            let oldest = if bounds.overflow == Overflow::DropOldest { outbound.pop() } else { None };
            let Some(oldest) = oldest else { break Some(reason) };
            self.stats.queued -= 1;
            self.stats.queued_bytes -= oldest.message.size();
            self.stats.dropped.add(reason, 1);
            session.rare().drops.add(reason, 1);
            if is_persistent {
                // Nothing waits for this one to be safe.
                let _ = self.store.record(&Change::Delivered { client: &name, message: &oldest.message });
            }
        };
        if let Some(reason) = full {
            self.dropped(who, reason);
            return bounds.overflow == Overflow::Reject;
        }
        let message = Rc::clone(&item.message);
        session.outbound().push(item);
        self.stats.queued += 1;
        self.stats.queued_bytes += size;
        if is_persistent {
            self.record(&Change::Queued { client: &name, message: &message });
        }
        false
    }

    /// Sends a message to a receiver that takes it now.
    fn put(
        &mut self,
        who: u32,
        conn: ConnId,
        told: Telling<'_>,
        routing: &mut Routing<'_>,
        fan: &mut FanOut,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let Some(session) = self.sessions.get_mut(who) else { return Ok(()) };
        let publication = routing.publication;
        let is_5 = session.version.is_5();
        if is_5 && (!told.ids.is_empty() || session.alias_max > 0) {
            return self.put_own(who, conn, told, routing, sink);
        }
        let class = usize::from(is_5) * 6 + usize::from(told.qos.to_u8()) * 2 + usize::from(told.retain);
        let (start, end) = match routing.frames.get(class) {
            Some(&(start, end)) if end > 0 => (start as usize, end as usize),
            _ => {
                let start = fan.frames.len();
                let to = Delivery {
                    qos: told.qos,
                    retain: told.retain,
                    id: told.id,
                    expiry: routing.left,
                    ..Delivery::default()
                };
                let version = if is_5 { Version::Mqtt5 } else { Version::Mqtt311 };
                let len = publication.payload.len();
                let parts = PublishParts::new(version, publication.topic, publication.properties, len);
                // What could be decoded can be encoded, but for lengths at the very limit.
                let encoded = parts.and_then(|parts| parts.encode_head(&to, &mut fan.frames));
                encoded.map_err(|_| DropReason::TooLarge)?;
                if !routing.is_shared {
                    fan.frames.extend_from_slice(publication.payload);
                }
                if let Some(frame) = routing.frames.get_mut(class) {
                    *frame = (start as u32, fan.frames.len() as u32);
                }
                (start, fan.frames.len())
            }
        };
        let Some(frame) = fan.frames.get_mut(start..end) else { return Ok(()) };
        let payload_len = publication.payload.len();
        let len = frame.len() + if routing.is_shared { payload_len } else { 0 };
        // MQTT-3.1.2-24, MQTT-3.1.2-25
        if len > session.packet_max as usize {
            return Err(DropReason::TooLarge);
        }
        if let Some(id) = told.id {
            let header_len = frame.iter().skip(1).position(|byte| byte & 0x80 == 0).unwrap_or_default() + 2;
            let at = header_len + 2 + publication.topic.len();
            if let Some(place) = frame.get_mut(at..at + 2) {
                place.copy_from_slice(&id.get().to_be_bytes());
            }
        }
        let mut sent = sink.write(conn, frame);
        if routing.is_shared {
            sent = sink.write_shared(conn, routing.payload());
        }
        if sent == Sent::High {
            session.flags.put(Flags::HIGH, true);
        }
        self.went_out(len, payload_len);
        Ok(())
    }

    /// ... that is told something of its own.
    fn put_own(
        &mut self,
        who: u32,
        conn: ConnId,
        told: Telling<'_>,
        routing: &mut Routing<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let payload = routing.is_shared.then(|| routing.payload());
        self.put_one(who, conn, told, routing.publication, routing.left, payload, sink)
    }

    /// Sends a message to one receiver, encoded for it alone. `payload` is the message's, where it is shared.
    #[allow(clippy::too_many_arguments)] // What one packet is made of.
    pub(super) fn put_one(
        &mut self,
        who: u32,
        conn: ConnId,
        told: Telling<'_>,
        publication: &Publication<'_>,
        left: Option<u32>,
        payload: Option<Bytes>,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let Some(session) = self.sessions.get_mut(who) else { return Ok(()) };
        let is_5 = session.version.is_5();
        let version = if is_5 { Version::Mqtt5 } else { Version::Mqtt311 };
        let payload_len = publication.payload.len();
        let topic = if is_5 { session.alias_for(publication.topic) } else { TopicAs::Name };
        let to = Delivery {
            qos: told.qos,
            retain: told.retain,
            dup: told.dup,
            id: told.id,
            topic,
            expiry: left,
            subscription_ids: if is_5 { told.ids } else { &[] },
        };
        let parts = PublishParts::new(version, publication.topic, publication.properties, payload_len);
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let fits = |len: usize| len <= session.packet_max as usize;
        let encoded = parts.ok().filter(|parts| parts.packet_len(&to).is_ok_and(fits));
        let head = encoded.and_then(|parts| parts.encode_head(&to, &mut out).ok());
        let result = match head {
            None => {
                if let (TopicAs::Both(_), Some(rare)) = (topic, &mut session.rare) {
                    // The client has not been told of it.
                    rare.aliases.pop();
                }
                Err(DropReason::TooLarge)
            }
            Some(head) => {
                let sent = match payload {
                    Some(payload) => {
                        sink.write(conn, &out);
                        sink.write_shared(conn, payload)
                    }
                    None => {
                        out.extend_from_slice(publication.payload);
                        sink.write(conn, &out)
                    }
                };
                if sent == Sent::High {
                    session.flags.put(Flags::HIGH, true);
                }
                self.went_out(head + payload_len, payload_len);
                Ok(())
            }
        };
        self.out = out;
        result
    }

    #[inline]
    fn went_out(&mut self, len: usize, payload_len: usize) {
        self.stats.packets_out += 1;
        self.stats.bytes_out += len as u64;
        self.stats.publish_out += 1;
        self.stats.publish_bytes_out += payload_len as u64;
    }

    /// Gives a message to another member of the group that it was meant for, as the first one is gone.
    pub(super) fn share_again(&mut self, group: u32, item: Item, now: Moment, sink: &mut dyn Sink) {
        let Some((who, wanted)) = self.member_for(group, item.qos) else {
            return self.stats.dropped.add(DropReason::SessionEnded, 1);
        };
        let qos = item.message.qos().min(wanted.qos());
        let ids = wanted.id().map_or(Ids::None, Ids::One);
        if qos != QoS::AtMostOnce {
            self.enqueue(who, Item { qos, ids, ..item });
            self.pump(who, now, sink);
        } else if let Some(conn) = self.sessions.get(who).and_then(|session| session.conn) {
            let told = Telling { qos, retain: item.retain, dup: false, id: None, ids: ids.as_slice() };
            let left = seconds_left(item.message.expires(), now);
            if let Err(reason) = self.put_one(who, conn, told, &item.message.publication(), left, None, sink) {
                self.dropped(who, reason);
            }
        }
    }
}

/// Whether a client may be sent messages of a topic.
pub(super) fn may_have(access: &mut dyn super::access::Access, session: &Session, topic: &str) -> bool {
    access.deliver(&Client::new(AccessToken::dangling(), &session.id, session.username.as_deref()), topic)
}

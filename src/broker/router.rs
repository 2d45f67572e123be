//! From one message to all who want it.
//!
//! The head of a message is encoded once for all receivers that are told the same (version, quality, retain flag); what differs
//! then is the packet identifier, which is written over. The payload goes from the input to each output, or is shared if it is long.

use std::rc::Rc;

use bytes::Bytes;

use crate::event::Sent;
use crate::id::{ConnId, Key};
use crate::proto::mqtt::{Delivery, PacketId, PublishParts, QoS, SubscriptionId, TopicAs, Version, id_at};
use crate::time::Moment;

use super::access::{AccessToken, Client};
use super::connect::is_sys;
use super::core::{Core, Sink};
use super::events::{DropReason, Event};
use super::local::is_local;
use super::matches::Target;
use super::message::{Message, Publication, Run, seconds_left};
use super::options::Overflow;
use super::queue::{Ids, Item};
use super::session::{Flags, Session, Wanted};
use super::share::FITTEST;
use super::store::Change;

/// Memory that routing uses again and again.
#[derive(Default)]
pub(super) struct Space {
    groups: Vec<Key>,
    ids: Vec<SubscriptionId>,
    heads: Heads,
}

/// Packets without their payload, by class.
#[derive(Default)]
struct Heads {
    bytes: Vec<u8>,
    known: Vec<Head>,
}

#[derive(Clone, Copy)]
struct Head {
    class: u8,
    start: usize,
    end: usize,
    /// Where the packet identifier is.
    id: usize,
}

/// A message that is being routed.
struct Routing<'a> {
    publication: &'a Publication<'a>,
    /// It, and those behind it that go the same way.
    run: Option<Run<'a>>,
    /// What is left of its life.
    left: Option<u32>,
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
    /// Somebody has it, or will: it was sent, it waits, it is retained.
    is_taken: bool,
    /// A queue had no room for it.
    is_full: bool,
}

impl Routed {
    /// The publisher may be told that it was not taken: whoever publishes it again does so to nobody twice.
    pub(super) fn is_refused(self) -> bool {
        self.is_full && !self.is_taken
    }

    fn add(&mut self, end: End) {
        self.receivers += 1;
        match end {
            End::Taken => self.is_taken = true,
            End::Full => self.is_full = true,
            End::Dropped => {}
        }
    }
}

/// What became of a message at one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Taken,
    /// Its queue has no room.
    Full,
    /// For another reason, or not meant for it.
    Dropped,
}

/// A payload of more bytes is shared by several receivers.
pub(super) const COPY_MAX: usize = 1024;
/// A run that is told at more length is sent message by message, so that the output's mark is looked at after each. What one read brings
/// takes less, unless its topic came as an alias.
const RUN_MAX: usize = 128 * 1024;
/// And by a single one above this.
const COPY_MAX_SINGLE: usize = 32 * 1024;

impl<'a> Routing<'a> {
    fn new(publication: &'a Publication<'a>, run: Option<Run<'a>>, receivers: usize, now: Moment) -> Self {
        let len = publication.payload.len();
        Self {
            publication,
            run,
            left: seconds_left(publication.expires, now),
            message: None,
            payload: None,
            is_shared: len > COPY_MAX_SINGLE || len > COPY_MAX && receivers > 1,
        }
    }

    /// How many messages they are.
    #[inline]
    fn count(&self) -> usize {
        self.run.map_or(1, |run| run.count)
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

impl Heads {
    fn clear(&mut self) {
        self.bytes.clear();
        self.known.clear();
    }

    /// What stands before the payload, for all who are told the message like this: encoded for the first of them.
    #[inline]
    fn of(&mut self, is_5: bool, told: &Telling<'_>, routing: &Routing<'_>) -> Result<Head, DropReason> {
        // 5.0 or not, three qualities, retained or not.
        let class = u8::from(is_5) << 3 | told.qos.to_u8() << 1 | u8::from(told.retain);
        match self.known.iter().find(|head| head.class == class) {
            Some(head) => Ok(*head),
            None => self.encode(class, is_5, told, routing),
        }
    }

    fn encode(&mut self, class: u8, is_5: bool, told: &Telling<'_>, routing: &Routing<'_>) -> Result<Head, DropReason> {
        let Publication { topic, properties, payload, .. } = *routing.publication;
        let version = if is_5 { Version::Mqtt5 } else { Version::Mqtt311 };
        let to =
            Delivery { qos: told.qos, retain: told.retain, id: told.id, expiry: routing.left, ..Delivery::default() };
        let start = self.bytes.len();
        let parts = PublishParts::of_checked(version, topic, properties, payload.len());
        // What could be decoded can be encoded, but for lengths at the very limit.
        let encoded = parts.and_then(|parts| parts.encode_head(&to, &mut self.bytes));
        let len = encoded.map_err(|_| DropReason::TooLarge)?;
        let bytes = self.bytes.get(start..).unwrap_or_default();
        let head = Head { class, start, end: start + len, id: start + id_at(bytes, topic) };
        self.known.push(head);
        Ok(head)
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
        self.route_run(from, publication, None, now, sink)
    }

    /// ... and those behind it in a run: of QoS 0 or 1, not retained, and for no group. What became of them is that of the first.
    pub(super) fn route_run(
        &mut self,
        from: Option<u32>,
        publication: &Publication<'_>,
        run: Option<Run<'_>>,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Routed {
        let count = run.map_or(1, |run| run.count);
        self.stats.publish_in += count as u64;
        self.stats.publish_bytes_in += (count * publication.payload.len()) as u64;
        self.tidy_locals();
        self.space.heads.clear();
        let matches = self.subscriptions.take_matches(publication.topic);
        let targets = &matches.targets[..];
        let routed = match run {
            Some(run) if publication.qos != QoS::AtMostOnce => {
                match self.send_run(from, publication, run, targets, now, sink) {
                    Some(routed) => routed,
                    // They have the heads in common.
                    None => {
                        let each = run.each(publication).map(|one| self.route_to(from, &one, None, targets, now, sink));
                        each.last().unwrap_or_default()
                    }
                }
            }
            _ => self.route_to(from, publication, run, targets, now, sink),
        };
        self.subscriptions.give_back(matches);
        routed
    }

    fn route_to(
        &mut self,
        from: Option<u32>,
        publication: &Publication<'_>,
        run: Option<Run<'_>>,
        targets: &[Target],
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Routed {
        let mut routing = Routing::new(publication, run, targets.len(), now);
        let mut routed = Routed::default();
        if publication.retain {
            routed.is_taken = self.retain(&mut routing, now);
        }
        let mut ids = std::mem::take(&mut self.space.ids);
        // Filters that overlap may find a session several times: it is sent one copy (section 3.3.4).
        for same in targets.chunk_by(|one, next| one.0 == next.0) {
            let Some(&(who, _)) = same.first() else { continue };
            ids.clear();
            // MQTT-3.8.3-3
            let mut heard = same.iter().map(|(_, wanted)| wanted).filter(|w| !(w.no_local() && from == Some(who)));
            let Some(mut wanted) = heard.next().copied() else { continue };
            // MQTT-3.3.4-3, MQTT-3.3.4-4: one copy bears the identifiers of all the subscriptions.
            ids.extend(wanted.id());
            for other in heard {
                wanted.merge(*other);
                ids.extend(other.id());
            }
            routed.add(self.deliver(who, wanted, None, &ids, &mut routing, sink));
        }
        self.space.ids = ids;
        if !self.shares.is_empty() {
            self.route_shared(&mut routing, &mut routed, sink);
        }
        routed
    }

    /// Sends a run of QoS 1 in one piece, if there is one receiver, which takes all of it now, and nothing of it has to be kept.
    fn send_run(
        &mut self,
        from: Option<u32>,
        publication: &Publication<'_>,
        run: Run<'_>,
        targets: &[Target],
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Option<Routed> {
        let &[(who, wanted)] = targets else { return None };
        let session = self.sessions.get_mut(who)?;
        let (is_5, window) = (session.version.is_5(), session.inflight_max);
        let conn = session.conn.filter(|_| !session.flags.has(Flags::HIGH))?;
        let is_own = is_5 && (wanted.id().is_some() || session.alias_max > 0);
        let is_deaf = wanted.qos() == QoS::AtMostOnce || wanted.no_local() && from == Some(who);
        if is_own || is_deaf || session.is_persistent() || !session.outbound().is_open_for(run.count, window) {
            return None;
        }
        let id = session.outbound().next_id();
        let told = Telling { qos: QoS::AtLeastOnce, retain: false, dup: false, id, ids: &[] };
        let head = self.space.heads.of(is_5, &told, &Routing::new(publication, Some(run), 1, now)).ok()?;
        let bytes = self.space.heads.bytes.get(head.start..head.end)?;
        let len = bytes.len() + publication.payload.len();
        if len > session.packet_max as usize || run.count * len > RUN_MAX {
            return None;
        }
        self.out.clear();
        for one in run.each(publication) {
            let id = session.outbound().next_id()?;
            let at = self.out.len() + head.id - head.start;
            self.out.extend_from_slice(bytes);
            self.out.extend_from_slice(one.payload);
            self.out.get_mut(at..at + 2)?.copy_from_slice(&id.get().to_be_bytes());
            session.outbound().sent(id, QoS::AtLeastOnce, None);
        }
        let sent = sink.write(conn, &self.out, &[]);
        if sent == Sent::High {
            session.flags.put(Flags::HIGH, true);
        }
        self.stats.routed += run.count as u64;
        self.stats.queued += run.count;
        self.went_out(run.count, len, publication.payload.len());
        let mut routed = Routed::default();
        routed.add(End::Taken);
        Some(routed)
    }

    /// MQTT-4.8.2: each group gets a copy, and one of its members.
    fn route_shared(&mut self, routing: &mut Routing<'_>, routed: &mut Routed, sink: &mut dyn Sink) {
        let mut groups = std::mem::take(&mut self.space.groups);
        groups.clear();
        self.shares.matching(routing.publication.topic, |group| groups.push(group));
        for &group in groups.iter() {
            let publication = routing.publication;
            match self.member_for(group, publication.topic, publication.qos, publication.size()) {
                Ok((who, wanted)) => {
                    let id = wanted.id();
                    routed.add(self.deliver(who, wanted, Some(group), id.as_slice(), routing, sink));
                }
                Err(reason) => {
                    routed.add(if reason == DropReason::QueueFull { End::Full } else { End::Dropped });
                    self.stats.routed += 1;
                    self.stats.dropped.add(reason, 1);
                }
            }
        }
        self.space.groups = groups;
    }

    /// The member of a group whose turn it is: connected and with room if there is such a one, then those whose queue has
    /// room, then those who drop their oldest message for it. Who may not have the message has no turn.
    fn member_for(&mut self, group: Key, topic: &str, qos: QoS, size: usize) -> Result<(u32, Wanted), DropReason> {
        let (sessions, access, bounds) = (&self.sessions, &mut self.access, self.bounds);
        let checks = self.checks_deliveries;
        let mut is_full = false;
        let member = self.shares.choose(group, |who, wanted| {
            let Some(session) = sessions.get(who) else { return 0 };
            let outbound = session.outbound.as_ref();
            let keeps = qos.min(wanted.qos()) != QoS::AtMostOnce;
            let has_room = keeps
                && outbound.is_none_or(|outbound| {
                    outbound.queue_len() < bounds.queue_messages_max
                        && outbound.bytes() + size <= bounds.queue_bytes_max
                });
            let is_open = outbound.is_none_or(|outbound| outbound.is_open(session.inflight_max));
            let makes_room = keeps && bounds.overflow == Overflow::DropOldest;
            let fitness = match session.conn {
                Some(_) if !session.flags.has(Flags::HIGH) && (!keeps || is_open) => FITTEST,
                Some(_) if has_room => 4,
                None if has_room => 3,
                Some(_) if makes_room => 2,
                None if makes_room => 1,
                _ => 0,
            };
            if checks && !may_have(&mut **access, session, topic) {
                return 0;
            }
            is_full |= fitness == 0;
            fitness
        });
        member.ok_or(if is_full { DropReason::QueueFull } else { DropReason::Denied })
    }

    /// Retains a message (MQTT-3.3.1-5), or clears its topic (MQTT-3.3.1-6). False: there is no room.
    fn retain(&mut self, routing: &mut Routing<'_>, now: Moment) -> bool {
        let topic = routing.publication.topic;
        // Figures are of this run, and take nobody's room.
        let is_figure = is_sys(topic);
        if routing.publication.payload.is_empty() {
            // MQTT-3.3.1-7: an empty payload is not kept.
            if self.retained.remove(topic) && !is_figure {
                self.record(&Change::RetainedCleared { topic });
            }
            return true;
        }
        let has_room = || {
            let (old, old_len) = self.retained.get(topic).map_or((0, 0), |old| (1, old.size()));
            let size = routing.publication.size();
            self.retained.len() - old < self.bounds.retained_max
                && self.retained.bytes() - old_len + size <= self.bounds.retained_bytes_max
        };
        if !is_figure && !has_room() {
            self.stats.retained_refused += 1;
            self.tell(|| Event::NotRetained { topic: topic.into() });
            return false;
        }
        let message = Rc::clone(routing.message());
        if !is_figure {
            self.record(&Change::Retained { message: &message });
        }
        if message.expires() != Moment::NEVER && self.sweep_due == Moment::NEVER {
            self.sweep_due = now.after(std::time::Duration::from_secs(1));
        }
        self.retained.set(message);
        true
    }

    /// Hands a new message to one receiver: sends it, or queues it.
    #[allow(clippy::too_many_arguments)] // The state of one loop.
    fn deliver(
        &mut self,
        who: u32,
        wanted: Wanted,
        share: Option<Key>,
        ids: &[SubscriptionId],
        routing: &mut Routing<'_>,
        sink: &mut dyn Sink,
    ) -> End {
        let publication = routing.publication;
        // MQTT-3.8.4-8
        let qos = publication.qos.min(wanted.qos());
        if is_local(who) {
            let Some(run) = routing.run else { return self.locals.push(who, Rc::clone(routing.message()), qos, false) };
            let ends = run.each(publication).map(|one| self.locals.push(who, one.keep(), qos, false));
            return ends.last().unwrap_or(End::Dropped);
        }
        let Some(session) = self.sessions.get_mut(who) else { return End::Dropped };
        if session.conn.is_none() && qos == QoS::AtMostOnce {
            // Nothing of QoS 0 waits for a client that is away.
            return End::Dropped;
        }
        let count = routing.count();
        self.stats.routed += count as u64;
        if self.checks_deliveries && !may_have(&mut *self.access, session, publication.topic) {
            return self.dropped(who, DropReason::Denied);
        }
        // MQTT-3.3.1-12, MQTT-3.3.1-13
        let retain = publication.retain && wanted.as_published();
        let is_high = session.flags.has(Flags::HIGH);
        let (conn, id) = match (session.conn, qos) {
            (Some(_), QoS::AtMostOnce) if is_high => return self.dropped_all(who, DropReason::Slow, count),
            (Some(conn), QoS::AtMostOnce) => (conn, None),
            (Some(conn), _) if !is_high && session.is_open() => match session.outbound().next_id() {
                Some(id) => (conn, Some(id)),
                None => return End::Dropped,
            },
            _ => {
                let message = Rc::clone(routing.message());
                return self.enqueue(who, Item { message, qos, retain, share, ids: Ids::of(ids) });
            }
        };
        let keeps = session.is_persistent() || share.is_some();
        let sent = match self.put(who, conn, Telling { qos, retain, dup: false, id, ids }, routing, sink) {
            Ok(sent) => sent,
            Err(reason) => return self.dropped_all(who, reason, count),
        };
        match id {
            None => {
                self.stats.delivered += sent as u64;
                // The mark was passed within a run.
                if sent < count {
                    self.dropped_all(who, DropReason::Slow, count - sent);
                }
            }
            Some(id) => {
                let item = keeps.then(|| {
                    let message = Rc::clone(routing.message());
                    Item { message, qos, retain, share, ids: Ids::of(ids) }
                });
                self.took_off(who, id, qos, item);
            }
        }
        End::Taken
    }

    /// A message of QoS 1 or 2 has been sent for the first time.
    pub(super) fn took_off(&mut self, who: u32, id: PacketId, qos: QoS, item: Option<Item>) {
        let Some(session) = self.sessions.get_mut(who) else { return };
        let lasts = session.is_persistent();
        let lasting = item.as_ref().filter(|_| lasts).map(|item| (Rc::clone(&session.id), Rc::clone(&item.message)));
        session.outbound().sent(id, qos, item);
        self.stats.queued += 1;
        if let Some((client, message)) = lasting {
            self.record(&Change::Queued { client: &client, message: &message });
        }
    }

    /// Has a message wait for its receiver.
    pub(super) fn enqueue(&mut self, who: u32, item: Item) -> End {
        let size = item.message.size();
        let bounds = self.bounds;
        let Some(session) = self.sessions.get_mut(who) else { return End::Dropped };
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
            return End::Full;
        }
        let message = Rc::clone(&item.message);
        session.outbound().push(item);
        self.expiry.note(message.expires());
        self.stats.queued += 1;
        self.stats.queued_bytes += size;
        if is_persistent {
            self.record(&Change::Queued { client: &name, message: &message });
        }
        End::Taken
    }

    /// Sends a message to a receiver that takes it now, or as many of a run as it takes; how many.
    fn put(
        &mut self,
        who: u32,
        conn: ConnId,
        told: Telling<'_>,
        routing: &mut Routing<'_>,
        sink: &mut dyn Sink,
    ) -> Result<usize, DropReason> {
        let Some(session) = self.sessions.get_mut(who) else { return Ok(0) };
        let is_5 = session.version.is_5();
        if is_5 && (!told.ids.is_empty() || session.alias_max > 0) {
            return self.put_own(who, conn, told, routing, sink);
        }
        let head = self.space.heads.of(is_5, &told, routing)?;
        let payload = routing.publication.payload;
        let len = head.end - head.start + payload.len();
        // MQTT-3.1.2-24, MQTT-3.1.2-25
        if len > session.packet_max as usize {
            return Err(DropReason::TooLarge);
        }
        if let Some(id) = told.id
            && let Some(place) = self.space.heads.bytes.get_mut(head.id..head.id + 2)
        {
            place.copy_from_slice(&id.get().to_be_bytes());
        }
        let bytes = self.space.heads.bytes.get(head.start..head.end).unwrap_or_default();
        let mut count = routing.count();
        let sent = if routing.is_shared {
            sink.write(conn, bytes, &[]);
            sink.write_shared(conn, routing.payload())
        } else {
            match routing.run {
                None => sink.write(conn, bytes, payload),
                // They are told as they came.
                Some(run) if run.wire.starts_with(bytes) => sink.write(conn, run.wire, &[]),
                Some(run) => {
                    // A topic that came as an alias may make each far longer than it came: the mark is looked at after each.
                    let (mut last, mut written) = (Sent::Queued, 0);
                    for one in run.each(routing.publication) {
                        last = sink.write(conn, bytes, one.payload);
                        written += 1;
                        if last == Sent::High {
                            break;
                        }
                    }
                    count = written;
                    last
                }
            }
        };
        if sent == Sent::High {
            session.flags.put(Flags::HIGH, true);
        }
        self.went_out(count, len, payload.len());
        Ok(count)
    }

    /// ... that is told something of its own.
    fn put_own(
        &mut self,
        who: u32,
        conn: ConnId,
        told: Telling<'_>,
        routing: &mut Routing<'_>,
        sink: &mut dyn Sink,
    ) -> Result<usize, DropReason> {
        if let Some(run) = routing.run {
            let mut sent = 0;
            for one in run.each(routing.publication) {
                if self.sessions.get(who).is_none_or(|session| session.flags.has(Flags::HIGH)) {
                    break;
                }
                self.put_one(who, conn, told, &one, routing.left, None, sink)?;
                sent += 1;
            }
            return Ok(sent);
        }
        let payload = routing.is_shared.then(|| routing.payload());
        self.put_one(who, conn, told, routing.publication, routing.left, payload, sink).map(|()| 1)
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
        let parts = PublishParts::of_checked(version, publication.topic, publication.properties, payload_len);
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
                        sink.write(conn, &out, &[]);
                        sink.write_shared(conn, payload)
                    }
                    None => sink.write(conn, &out, publication.payload),
                };
                if sent == Sent::High {
                    session.flags.put(Flags::HIGH, true);
                }
                self.went_out(1, head + payload_len, payload_len);
                Ok(())
            }
        };
        self.out = out;
        result
    }

    #[inline]
    fn went_out(&mut self, count: usize, len: usize, payload_len: usize) {
        self.stats.packets_out += count as u64;
        self.stats.bytes_out += (count * len) as u64;
        self.stats.publish_out += count as u64;
        self.stats.publish_bytes_out += (count * payload_len) as u64;
    }

    /// Gives a message to another member of the group that it was meant for, as the first one does not get it for this reason. If
    /// nobody else may have it, that stays the reason why it is dropped.
    pub(super) fn share_again(
        &mut self,
        group: Key,
        item: Item,
        reason: DropReason,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Result<(), DropReason> {
        let message = &item.message;
        let member = self.member_for(group, message.topic(), item.qos, message.size());
        let (who, wanted) = member.map_err(|e| if e == DropReason::QueueFull { e } else { reason })?;
        let qos = item.message.qos().min(wanted.qos());
        let ids = wanted.id().map_or(Ids::None, Ids::One);
        if qos != QoS::AtMostOnce {
            self.enqueue(who, Item { qos, ids, ..item });
            self.pump(who, now, sink);
        } else if let Some(conn) = self.sessions.get(who).and_then(|session| session.conn) {
            let told = Telling { qos, retain: item.retain, dup: false, id: None, ids: ids.as_slice() };
            let left = seconds_left(item.message.expires(), now);
            match self.put_one(who, conn, told, &item.message.publication(), left, None, sink) {
                Ok(()) => self.stats.delivered += 1,
                Err(reason) => _ = self.dropped(who, reason),
            }
        }
        Ok(())
    }
}

/// Whether a client may be sent messages of a topic.
pub(super) fn may_have(access: &mut dyn super::access::Access, session: &Session, topic: &str) -> bool {
    access.deliver(&Client::new(AccessToken::dangling(), &session.id, session.username.as_deref()), topic)
}

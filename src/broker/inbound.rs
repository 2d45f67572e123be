//! PUBLISH and PUBREL: what clients publish.

use std::rc::Rc;

use crate::id::ConnId;
use crate::proto::mqtt::{Ack, Packet, PacketId, PropertyId, Publish, QoS, ReasonCode, Version, id_at, id_of_like};
use crate::time::Moment;

use super::access::{Access, AccessToken, Answer, Client, Denied, PublishQuestion};
use super::connect::{Asked, SYS_RULE, is_sys};
use super::core::{Core, Flow, Sink, UnsafeAck, Wire};
use super::events::Action;
use super::message::{Publication, Run};
use super::options::Overflow;
use super::router::COPY_MAX;
use super::session::Inbound;
use super::store::{Change, Ticket};

impl Core {
    pub(super) fn publish(
        &mut self,
        conn: ConnId,
        publish: &Publish<'_>,
        wire: Wire<'_>,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Flow {
        let Some((who, version)) = self.session_of(conn) else { return Flow::Next };
        // MQTT-3.3.4-6
        if publish.properties.has(PropertyId::SubscriptionIdentifier) {
            return self.breach(conn, ReasonCode::ProtocolError, now, sink);
        }
        let Some(alias) = publish.properties.topic_alias() else {
            return self.publish_to(conn, who, version, publish, publish.topic, wire, now, sink);
        };
        // MQTT-3.3.2-9
        if alias.get() > self.bounds.topic_alias_max {
            return self.breach(conn, ReasonCode::TopicAliasInvalid, now, sink);
        }
        let Some(session) = self.sessions.get_mut(who) else { return Flow::Next };
        let aliases = &mut session.inbound().aliases;
        let at = usize::from(alias.get()) - 1;
        if aliases.len() <= at {
            aliases.resize(at + 1, None);
        }
        let Some(known) = aliases.get_mut(at) else { return Flow::Next };
        if !publish.topic.is_empty() && known.as_deref() != Some(publish.topic) {
            *known = Some(publish.topic.into());
        }
        match known.clone() {
            Some(topic) => self.publish_to(conn, who, version, publish, &topic, wire, now, sink),
            // Section 3.3.2.3.4: an alias that stands for nothing yet.
            None => self.breach(conn, ReasonCode::ProtocolError, now, sink),
        }
    }

    #[allow(clippy::too_many_arguments)] // A message and where it comes from.
    fn publish_to(
        &mut self,
        conn: ConnId,
        who: u32,
        version: Version,
        publish: &Publish<'_>,
        topic: &str,
        wire: Wire<'_>,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Flow {
        let Some(session) = self.sessions.get(who) else { return Flow::Next };
        if let Some(id) = publish.id {
            let received = session.inbound.as_ref().is_some_and(|inbound| inbound.has_received(id));
            if publish.qos == QoS::ExactlyOnce && received {
                // MQTT-4.3.3-10: not a new message, whatever its DUP flag says.
                self.ticket = None;
                self.ack_when_safe(conn, who, version, &Packet::PubRec(Ack::new(id)), sink);
                return Flow::Next;
            }
            // MQTT-3.3.4-7, MQTT-3.3.4-9
            if version.is_5() && session.receiving() >= usize::from(self.bounds.inflight_max.max(1)) {
                return self.breach(conn, ReasonCode::ReceiveMaximumExceeded, now, sink);
            }
        }
        let question = PublishQuestion::new(topic, publish.qos, publish.retain);
        let (id, username) = (Rc::clone(&session.id), session.username.clone());
        let ask =
            |access: &mut dyn Access, token| access.publish(&Client::new(token, &id, username.as_deref()), &question);
        let asked = if topic.starts_with('$') && is_sys(topic) {
            Asked::Denied(Denied::not_authorized(SYS_RULE))
        } else {
            self.ask_last(conn, sink, ask)
        };
        let mut run = None;
        let reason = match asked {
            Asked::Allowed => {
                let mut space = std::mem::take(&mut self.properties);
                let publication = Publication::of(publish, topic, &mut space, now);
                run = self.run(conn, who, publish, wire, &ask, sink);
                self.ticket = None;
                let routed = self.route_run(Some(who), &publication, run, now, sink);
                self.properties = space;
                match routed.receivers {
                    _ if self.bounds.overflow == Overflow::Reject && routed.is_refused() => ReasonCode::QuotaExceeded,
                    // Section 3.4.2.1
                    0 => ReasonCode::NoMatchingSubscribers,
                    _ => ReasonCode::Success,
                }
            }
            Asked::Later => return Flow::Wait,
            Asked::Denied(denied) => {
                self.denied(&id, username.as_deref(), Action::Publish, topic, &denied);
                self.ticket = None;
                denied.reason
            }
        };
        match (run, publish.id) {
            (Some(run), Some(_)) => {
                let id_at = id_at(wire.bytes, publish.topic);
                self.acknowledge_run(conn, who, version, run, id_at, reason, sink);
            }
            (None, Some(id)) => self.acknowledge(conn, who, version, publish.qos, id, reason, sink),
            (_, None) => {}
        }
        run.map_or(Flow::Next, |run| Flow::Run(run.count))
    }

    /// Messages that come right behind one and differ from it in their payloads only, and their packet identifiers, are handed on with
    /// it, where nobody can tell: a burst is all that a publisher sends at once. Of QoS 2 each is looked up by itself.
    #[inline]
    fn run<'a>(
        &mut self,
        conn: ConnId,
        who: u32,
        publish: &Publish<'_>,
        wire: Wire<'a>,
        ask: &impl Fn(&mut dyn Access, AccessToken) -> Answer,
        sink: &mut dyn Sink,
    ) -> Option<Run<'a>> {
        let is_plain = publish.qos != QoS::ExactlyOnce && !publish.retain && publish.payload.len() <= COPY_MAX;
        if !is_plain || self.checks_deliveries || !self.shares.is_empty() {
            return None;
        }
        let most = match publish.qos {
            QoS::AtMostOnce => usize::MAX,
            // Each is answered by what has become of it.
            _ if self.bounds.overflow == Overflow::Reject => return None,
            // Their acknowledgements may have to wait.
            _ => {
                let session = self.sessions.get(who)?;
                let unsafe_acks = session.inbound.as_ref().map_or(0, |inbound| inbound.unsafe_acks);
                let room = usize::from(self.bounds.inflight_max).saturating_sub(session.receiving());
                room.min(self.bounds.unsafe_acks().saturating_sub(unsafe_acks) as usize)
            }
        };
        let head = wire.bytes.get(..wire.len - publish.payload.len())?;
        let id_at = id_at(head, publish.topic);
        let is_like = |next: &[u8]| match publish.id {
            None => next.starts_with(head),
            Some(_) => next.get(..head.len()).is_some_and(|next| id_of_like(head, id_at, next).is_some()),
        };
        let mut count = 1;
        for _ in wire.bytes.chunks_exact(wire.len).take(most).skip(1).take_while(|next| is_like(next)) {
            match self.ask_last(conn, sink, ask) {
                Asked::Allowed => count += 1,
                Asked::Denied(denied) => {
                    // For when that message is looked at.
                    let link = self.link_mut(conn)?;
                    link.open.get_or_insert_default().answers.push(Answer::Deny(denied));
                    break;
                }
                Asked::Later => break,
            }
        }
        Some(Run { wire: wire.bytes.get(..count * wire.len)?, count }).filter(|run| run.count > 1)
    }

    /// PUBACK or PUBREC: once what the message has caused is safe.
    #[allow(clippy::too_many_arguments)] // What the answer is made of.
    fn acknowledge(
        &mut self,
        conn: ConnId,
        who: u32,
        version: Version,
        qos: QoS,
        id: PacketId,
        reason: ReasonCode,
        sink: &mut dyn Sink,
    ) {
        let Some(session) = self.sessions.get_mut(who) else { return };
        let is_persistent = session.is_persistent();
        // MQTT-4.3.2-4; before 5.0 every answer is a success, and the message is not sent again.
        let ack = Ack { reason: if version.is_5() { reason } else { ReasonCode::Success }, ..Ack::new(id) };
        let packet = match qos {
            QoS::ExactlyOnce => {
                // MQTT-4.3.3-9: a refusal ends the exchange.
                if !ack.reason.is_error() {
                    session.inbound().receive(id.get());
                    if is_persistent {
                        let client = Rc::clone(&session.id);
                        self.record(&Change::Received { client: &client, id });
                    }
                }
                Packet::PubRec(ack)
            }
            _ => Packet::PubAck(ack),
        };
        self.ack_when_safe(conn, who, version, &packet, sink);
    }

    /// PUBACK for each of a run.
    #[allow(clippy::too_many_arguments)] // What the answers are made of.
    fn acknowledge_run(
        &mut self,
        conn: ConnId,
        who: u32,
        version: Version,
        run: Run<'_>,
        id_at: usize,
        reason: ReasonCode,
        sink: &mut dyn Sink,
    ) {
        let ids = run.packets().filter_map(|packet| packet.get(id_at..)?.first_chunk());
        let is_short = reason == ReasonCode::Success || !version.is_5();
        if !is_short || self.ticket.max(self.unsafe_until(who)).is_some() {
            let ticket = self.ticket;
            for id in ids.filter_map(|id| PacketId::new(u16::from_be_bytes(*id))) {
                self.ticket = ticket;
                self.acknowledge(conn, who, version, QoS::AtLeastOnce, id, reason, sink);
            }
            return;
        }
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        ids.for_each(|&[high, low]| out.extend_from_slice(&[0x40, 2, high, low]));
        self.send_all(conn, &out, run.count, sink);
        self.out = out;
    }

    /// Sends an acknowledgement once what its packet has caused is safe, and behind the earlier ones (MQTT-4.6.0-2): one that
    /// is sent again says that the first was right.
    fn ack_when_safe(&mut self, conn: ConnId, who: u32, version: Version, packet: &Packet<'_>, sink: &mut dyn Sink) {
        match self.ticket.take().max(self.unsafe_until(who)) {
            None => self.ack(conn, version, packet, sink),
            Some(ticket) => self.wait_for_store(conn, who, version, packet, ticket, sink),
        }
    }

    /// What the latest acknowledgement to a client waits for.
    #[inline]
    fn unsafe_until(&self, who: u32) -> Option<Ticket> {
        self.sessions.get(who)?.inbound.as_ref()?.unsafe_until.filter(|until| Some(*until) > self.stored)
    }

    fn wait_for_store(
        &mut self,
        conn: ConnId,
        who: u32,
        version: Version,
        packet: &Packet<'_>,
        ticket: Ticket,
        sink: &mut dyn Sink,
    ) {
        let max = self.bounds.unsafe_acks();
        // In order: one that waits behind another's goes out with that, and so those after it must not be sent before.
        let ticket = self.unsafe_acks.back().map_or(ticket, |last| last.ticket.max(ticket));
        let mut bytes = Vec::new();
        if crate::proto::mqtt::encode(packet, version, &mut bytes).is_err() {
            return;
        }
        if let Some(session) = self.sessions.get_mut(who) {
            let inbound = session.inbound();
            inbound.unsafe_until = Some(ticket);
            inbound.waiting += u32::from(matches!(packet, Packet::PubAck(_)));
            inbound.unsafe_acks += 1;
            // It is not read on: before 5.0 nothing else bounds them, and nothing bounds those of packets that are repeated.
            if inbound.unsafe_acks == max
                && let Some(link) = self.link_mut(conn)
            {
                link.open.get_or_insert_default().is_held = true;
                self.stats.reads_held += 1;
                sink.pause(conn);
            }
        }
        self.unsafe_acks.push_back(UnsafeAck { ticket, conn, packet: bytes });
    }

    /// The store has come so far: the acknowledgements that waited for that go out.
    pub(super) fn stored(&mut self, until: Ticket, sink: &mut dyn Sink) {
        self.stored = self.stored.max(Some(until));
        let max = self.bounds.unsafe_acks();
        while self.unsafe_acks.front().is_some_and(|ack| ack.ticket <= until) {
            let Some(ack) = self.unsafe_acks.pop_front() else { return };
            let Some((who, _)) = self.session_of(ack.conn) else {
                self.stale_acks -= 1;
                continue;
            };
            if let Some(inbound) = self.sessions.get_mut(who).and_then(|session| session.inbound.as_mut()) {
                inbound.waiting = inbound.waiting.saturating_sub(u32::from(ack.packet.first() == Some(&0x40)));
                inbound.unsafe_acks = inbound.unsafe_acks.saturating_sub(1);
                let has_room = inbound.unsafe_acks < max;
                let open = self.link_mut(ack.conn).and_then(|link| link.open.as_mut());
                if has_room && open.is_some_and(|open| std::mem::take(&mut open.is_held)) {
                    self.go_on(ack.conn, sink);
                }
            }
            self.send(ack.conn, &ack.packet, sink);
        }
    }

    /// So many acknowledgements that wait are for a connection that has ended. They are thrown out once half of all are stale, so that
    /// many connections that end at once do not walk all that wait each.
    pub(super) fn acks_went_stale(&mut self, n: u32) {
        self.stale_acks += n as usize;
        if self.stale_acks * 2 > self.unsafe_acks.len() {
            let mut acks = std::mem::take(&mut self.unsafe_acks);
            acks.retain(|ack| self.session_of(ack.conn).is_some());
            self.unsafe_acks = acks;
            self.stale_acks = 0;
        }
    }

    /// Reads on from a connection, unless it waits for something else.
    pub(super) fn go_on(&mut self, conn: ConnId, sink: &mut dyn Sink) {
        let Some(link) = self.link_mut(conn).filter(|link| !link.is_waiting()) else { return };
        link.open.get_or_insert_default().has_waited = true;
        sink.resume(conn);
    }

    /// PUBREL: PUBCOMP follows in any case (MQTT-4.3.3-11).
    pub(super) fn pub_rel(&mut self, conn: ConnId, ack: &Ack<'_>, sink: &mut dyn Sink) -> Flow {
        let Some((who, version)) = self.session_of(conn) else { return Flow::Next };
        let Some(session) = self.sessions.get_mut(who) else { return Flow::Next };
        let known = session.inbound.as_mut().is_some_and(|inbound| inbound.release(ack.id.get()));
        self.ticket = None;
        if known && session.is_persistent() {
            // Forgotten by a store, the identifier would make the next message that bears it a repeated one.
            let client = Rc::clone(&session.id);
            self.record(&Change::Released { client: &client, id: ack.id });
        }
        let reason = if known || !version.is_5() { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        self.ack_when_safe(conn, who, version, &Packet::PubComp(Ack { reason, ..Ack::new(ack.id) }), sink);
        Flow::Next
    }
}

impl Inbound {
    fn has_received(&self, id: PacketId) -> bool {
        self.received.binary_search(&id.get()).is_ok()
    }
}

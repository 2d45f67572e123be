//! What a client says.

use std::time::Instant;

use crate::proto::mqtt::decode::{DecodeLimits, decode};
use crate::proto::mqtt::encode::{EncodeError, encoded_len};
use crate::proto::mqtt::list::List;
use crate::proto::mqtt::packet::{
    Ack, Auth, Disconnect, Packet, PacketId, Publish, QoS, Subscribe, Subscription, Unsubscribe,
};
use crate::proto::mqtt::property::{Properties, Property, PropertyBuf, PropertyId};
use crate::proto::mqtt::publish::{Delivery, PublishParts, TopicAs};
use crate::proto::mqtt::reason::ReasonCode;
use crate::proto::mqtt::topic::Filter;

use super::outbox::{Queued, Stage, Waiting, expiry, life_left};
use super::{AckId, Client, Failure, Phase, SendError, Token};

/// The packet identifier of messages that have none yet.
const NO_ID: PacketId = PacketId::MIN;

/// Whether there is room for more output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Free,
    /// There is not: what can wait waits, until [`Client::pump`] is called.
    Full,
}

impl Client {
    /// Publishes a message: at once, or when there is a connection and room for it. Its packet identifier is the client's affair.
    ///
    /// Returns a token at QoS 1 and 2. At QoS 0 nobody ever knows what becomes of a message, so there is none. Fails if it cannot
    /// be said at all, if the server has said that it does not take such messages, or if too many wait already and the policy is to
    /// reject it.
    #[inline]
    pub fn publish(
        &mut self,
        publish: &Publish<'_>,
        room: Room,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Option<Token>, SendError> {
        if publish.id.is_some() || publish.dup || publish.properties.has(PropertyId::TopicAlias) {
            return Err(SendError::NotYours);
        }
        // MQTT-3.3.4-6: only a server says them.
        if publish.properties.has(PropertyId::SubscriptionIdentifier) {
            return Err(SendError::NotYours);
        }
        if self.phase == Phase::Left {
            return Err(SendError::NotConnected);
        }
        let is_free = self.phase == Phase::Open && room == Room::Free && self.outbox.is_queue_empty();
        if self.phase == Phase::Open {
            self.check_server_takes(publish)?;
        }
        if publish.qos == QoS::AtMostOnce && is_free {
            self.send_message(publish, &Delivery::of(publish), now, out)?;
            return Ok(None);
        }
        self.publish_kept(publish, is_free, now, out)
    }

    /// ... one that has to be kept: for its acknowledgement, or for better times.
    fn publish_kept(
        &mut self,
        publish: &Publish<'_>,
        is_free: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Option<Token>, SendError> {
        let has_token = publish.qos != QoS::AtMostOnce;
        let kept = Publish { id: has_token.then_some(NO_ID), ..*publish };
        let mut packet = Vec::new();
        crate::proto::mqtt::encode::encode(&Packet::Publish(kept), self.version(), &mut packet)?;
        let packet = packet.into_boxed_slice();
        let expires = expiry(publish.properties.message_expiry_interval(), now);
        if is_free && self.outbox.has_room(self.window()) {
            let id = self.outbox.new_id().ok_or(SendError::QueueFull)?;
            self.send_message(publish, &Delivery { id: Some(id), ..Delivery::of(publish) }, now, out)?;
            let token = self.new_token();
            self.outbox.sent(id, publish.qos, token, expires, packet);
            return Ok(Some(token));
        }
        let token = if has_token { Some(self.new_token()) } else { None };
        match self.outbox.queue(Waiting { token, qos: publish.qos, expires, packet }, &self.bounds()) {
            Queued::Yes => {}
            Queued::Rejected => return Err(SendError::QueueFull),
            Queued::Dropped(nameless, tokens) => {
                self.dropped += nameless + tokens.len() as u64;
                self.ended.extend(tokens.into_iter().map(|token| (token, Failure::Dropped)));
            }
        }
        Ok(token)
    }

    /// MQTT-3.2.2-11, MQTT-3.2.2-14.
    fn check_server_takes(&self, publish: &Publish<'_>) -> Result<(), SendError> {
        if publish.qos > self.server.qos_max {
            return Err(SendError::NotSupported(ReasonCode::QoSNotSupported));
        }
        if publish.retain && !self.server.retain {
            return Err(SendError::NotSupported(ReasonCode::RetainNotSupported));
        }
        Ok(())
    }

    /// Messages of QoS 1 and 2 that may be under way at once (MQTT-3.3.4-9).
    pub(super) fn window(&self) -> usize {
        self.server.window.min(usize::from(self.limits.inflight_max.get()))
    }

    /// Says a message, with an alias for its topic where there is one.
    #[inline]
    fn send_message(
        &mut self,
        publish: &Publish<'_>,
        to: &Delivery<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let Publish { topic, properties, payload, .. } = *publish;
        let parts = PublishParts::new(self.version(), topic, properties, payload.len())?;
        let to = Delivery { topic: self.given.say(topic), ..*to };
        let fits = |to: &Delivery<'_>| Ok::<bool, EncodeError>(parts.packet_len(to)? <= self.server.packet_max);
        // MQTT-3.2.2-15
        let to = match fits(&to)? {
            true => to,
            false if to.topic != TopicAs::Name && fits(&Delivery { topic: TopicAs::Name, ..to })? => {
                Delivery { topic: TopicAs::Name, ..to }
            }
            false => return Err(SendError::TooLong),
        };
        parts.encode_head(&to, out)?;
        out.extend_from_slice(payload);
        self.given.keep(topic, to.topic);
        self.note_sent(now);
        Ok(())
    }

    /// Says what has waited, as far as the server and the room for output admit it: after each change of either. It stops when
    /// `out` has grown by `most` bytes.
    pub fn pump(&mut self, most: usize, now: Instant, out: &mut Vec<u8>) {
        if self.phase != Phase::Open {
            return;
        }
        let window = self.window();
        let end = out.len().saturating_add(most);
        while out.len() < end {
            let Some(id) = self.outbox.next_resend(window) else { break };
            let Some(message) = self.outbox.message(id) else { continue };
            let (packet, expires, token) = (message.packet.clone(), message.expires, message.token);
            // What the server may have already is not for us to give up.
            if let Err(why) = self.send_kept(&packet, Some(id), true, expires, now, out) {
                self.outbox.complete(id);
                self.ended.push_back((token, why));
            }
        }
        while out.len() < end {
            let Some(Waiting { token, qos, expires, packet }) = self.outbox.next_waiting(window) else { break };
            if expires.is_some_and(|at| life_left(at, now) == 0) {
                self.ended.extend(token.map(|token| (token, Failure::Expired)));
                continue;
            }
            let id = if token.is_some() { self.outbox.new_id() } else { None };
            match (self.send_kept(&packet, id, false, expires, now, out), token, id) {
                (Ok(()), Some(token), Some(id)) => self.outbox.sent(id, qos, token, expires, packet),
                (Ok(()), ..) => {}
                (Err(why), token, _) => self.ended.extend(token.map(|token| (token, why))),
            }
        }
    }

    /// Says a message that was kept.
    fn send_kept(
        &mut self,
        packet: &[u8],
        id: Option<PacketId>,
        dup: bool,
        expires: Option<Instant>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let unsendable = |e: SendError| match e {
            SendError::NotSupported(reason) => Failure::Unsendable(reason),
            _ => Failure::Unsendable(ReasonCode::PacketTooLarge),
        };
        let limits = DecodeLimits { packet_max: u32::MAX };
        let Ok(Some((Packet::Publish(publish), _))) = decode(packet, self.version(), &limits) else {
            // It was encoded by us.
            return Err(Failure::Unsendable(ReasonCode::UnspecifiedError));
        };
        self.check_server_takes(&publish).map_err(unsendable)?;
        let to = Delivery { id, dup, ..Delivery::of(&publish) };
        let Some(at) = expires else {
            return self.send_message(&publish, &to, now, out).map_err(unsendable);
        };
        // MQTT-3.3.2-6: what has waited is older. What may be there already has to arrive, however old.
        let left = life_left(at, now).max(1);
        let mut properties = PropertyBuf::new();
        if properties.forward(&publish.properties).is_err() {
            return Err(Failure::Unsendable(ReasonCode::UnspecifiedError));
        }
        let publish = Publish { properties: properties.as_properties(), ..publish };
        self.send_message(&publish, &Delivery { expiry: Some(left), ..to }, now, out).map_err(unsendable)
    }

    /// Subscribes: at once, or as soon as there is a connection. Asked again on each connection until it is answered.
    pub fn subscribe(
        &mut self,
        subscriptions: List<'_, Subscription<'_>>,
        properties: Properties<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Token, SendError> {
        if self.phase == Phase::Open {
            self.check_subscriptions(subscriptions, &properties)?;
        }
        self.request(false, subscriptions.iter().count(), now, out, |id| {
            Packet::Subscribe(Subscribe { id, subscriptions, properties })
        })
    }

    /// Sections 3.2.2.3.11 to 3.2.2.3.13.
    fn check_subscriptions(
        &self,
        subscriptions: List<'_, Subscription<'_>>,
        properties: &Properties<'_>,
    ) -> Result<(), SendError> {
        if !self.server.subscription_ids && properties.has(PropertyId::SubscriptionIdentifier) {
            return Err(SendError::NotSupported(ReasonCode::SubscriptionIdentifiersNotSupported));
        }
        for subscription in subscriptions {
            let Filter { levels, group } = Filter::parse(subscription.filter).map_err(EncodeError::BadFilter)?;
            if !self.server.shared && group.is_some() {
                return Err(SendError::NotSupported(ReasonCode::SharedSubscriptionsNotSupported));
            }
            if !self.server.wildcards && levels.contains(['+', '#']) {
                return Err(SendError::NotSupported(ReasonCode::WildcardSubscriptionsNotSupported));
            }
        }
        Ok(())
    }

    /// Unsubscribes, in the same way.
    pub fn unsubscribe(
        &mut self,
        filters: List<'_, &str>,
        properties: Properties<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Token, SendError> {
        self.request(true, filters.iter().count(), now, out, |id| {
            Packet::Unsubscribe(Unsubscribe { id, filters, properties })
        })
    }

    fn request<'p>(
        &mut self,
        is_unsubscribe: bool,
        filters: usize,
        now: Instant,
        out: &mut Vec<u8>,
        packet: impl Fn(PacketId) -> Packet<'p>,
    ) -> Result<Token, SendError> {
        if self.phase == Phase::Left {
            return Err(SendError::NotConnected);
        }
        let len = encoded_len(&packet(NO_ID), self.version())?;
        if self.phase == Phase::Open && len > self.server.packet_max {
            return Err(SendError::TooLong);
        }
        if self.outbox.requests() >= self.limits.queued_max.min(MANY_REQUESTS) {
            return Err(SendError::QueueFull);
        }
        let id = self.outbox.new_id().ok_or(SendError::QueueFull)?;
        let mut kept = Vec::with_capacity(len);
        crate::proto::mqtt::encode::encode(&packet(id), self.version(), &mut kept)?;
        let token = self.new_token();
        self.outbox.add_request(id, token, is_unsubscribe, filters, kept.into_boxed_slice());
        if self.phase == Phase::Open {
            self.send_request(id, now, out);
        }
        Ok(token)
    }

    /// Says what is asked and not answered, for the first time on this connection.
    pub(super) fn send_requests(&mut self, now: Instant, out: &mut Vec<u8>) {
        for id in self.outbox.open_requests() {
            self.send_request(id, now, out);
        }
    }

    fn send_request(&mut self, id: PacketId, now: Instant, out: &mut Vec<u8>) {
        let packet_max = self.server.packet_max;
        let Some(request) = self.outbox.request_mut(id) else { return };
        if request.packet.len() <= packet_max {
            request.was_sent = true;
            out.extend_from_slice(&request.packet);
            self.note_sent(now);
        } else if let Some(request) = self.outbox.take_request(id) {
            self.ended.push_back((request.token, Failure::Unsendable(ReasonCode::PacketTooLarge)));
        }
    }

    /// Says PUBREL again for the messages of an earlier connection that the server has.
    pub(super) fn send_releases(&mut self, ids: Vec<PacketId>, now: Instant, out: &mut Vec<u8>) {
        for id in ids.into_iter().filter(|id| self.outbox.stage(*id) == Some(Stage::PubComp)).collect::<Vec<_>>() {
            _ = self.say(&Packet::PubRel(Ack::new(id)), now, out);
        }
    }

    /// The application has a message: acknowledges it, once those before it are acknowledged.
    ///
    /// Fails for one of an earlier connection, which will come again, and for one that is acknowledged already.
    pub fn ack(&mut self, ack: AckId, now: Instant, out: &mut Vec<u8>) -> Result<(), SendError> {
        if self.phase != Phase::Open || !self.inbox.ack(ack) {
            return Err(SendError::Stale);
        }
        self.say_acked(now, out)
    }

    /// Says the acknowledgements whose turn has come.
    pub(super) fn say_acked(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), SendError> {
        while let Some((id, qos)) = self.inbox.next_acked() {
            let packet = match qos {
                QoS::ExactlyOnce => Packet::PubRec(Ack::new(id)),
                QoS::AtMostOnce | QoS::AtLeastOnce => Packet::PubAck(Ack::new(id)),
            };
            self.say(&packet, now, out)?;
        }
        Ok(())
    }

    /// A step of the authentication, or (`ReAuthenticate`) the beginning of another one, by the method of the options.
    pub fn auth(
        &mut self,
        reason: ReasonCode,
        data: Option<&[u8]>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        let is_now = match reason {
            ReasonCode::ContinueAuthentication => matches!(self.phase, Phase::Connecting | Phase::Open),
            // MQTT-4.12.1-1
            ReasonCode::ReAuthenticate => self.phase == Phase::Open,
            // MQTT-3.15.2-1: the rest is the server's.
            other => return Err(SendError::Encode(EncodeError::BadReason(other))),
        };
        if !is_now {
            return Err(SendError::NotConnected);
        }
        let mut properties = PropertyBuf::new();
        let missing = EncodeError::PropertyMissing(PropertyId::AuthenticationMethod);
        let method = self.options.auth_method.as_deref().ok_or(missing)?;
        properties.push(Property::AuthenticationMethod(method))?;
        if let Some(data) = data {
            properties.push(Property::AuthenticationData(data))?;
        }
        let packet = Packet::Auth(Auth { reason, properties: properties.as_properties() });
        if encoded_len(&packet, self.version())? > self.server.packet_max {
            return Err(SendError::TooLong);
        }
        Ok(self.say(&packet, now, out)?)
    }

    /// Ends the connection in order. Nothing is said after it (MQTT-3.14.4-1).
    pub fn disconnect(
        &mut self,
        disconnect: &Disconnect<'_>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<(), SendError> {
        if !matches!(self.phase, Phase::Connecting | Phase::Open) {
            return Err(SendError::NotConnected);
        }
        let expiry = disconnect.properties.session_expiry_interval();
        // MQTT-3.14.2-2, section 3.14.2.2.2: a session that ends with its connection cannot begin to last.
        if expiry.is_some_and(|seconds| seconds > 0) && self.options.session_expiry == 0 {
            return Err(EncodeError::PropertyValue(PropertyId::SessionExpiryInterval).into());
        }
        let packet = Packet::Disconnect(*disconnect);
        if encoded_len(&packet, self.version())? > self.server.packet_max {
            return Err(SendError::TooLong);
        }
        self.say(&packet, now, out)?;
        self.phase = Phase::Left;
        Ok(())
    }
}

/// However much may wait: packet identifiers are left for messages.
const MANY_REQUESTS: usize = 10_000;

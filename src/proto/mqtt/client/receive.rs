//! What a client is told.

use std::time::Instant;

use crate::proto::mqtt::decode::{DecodeLimits, decode};
use crate::proto::mqtt::error::DecodeError;
use crate::proto::mqtt::packet::{Ack, Auth, ConnAck, Disconnect, Packet, PacketType, Publish, QoS, SubAck, UnsubAck};
use crate::proto::mqtt::reason::ReasonCode;

use super::inbox::{Arrival, Release};
use super::outbox::Stage;
use super::{Arrived, Client, Failure, Fault, Input, Phase, Server, keep_alive};

impl Client {
    /// Deals with the packet at the start of `bytes`: what it means to the application, and how many bytes it took.
    ///
    /// `Ok(None)` asks for more bytes. What is to be answered is said at once, but for the acknowledgement of messages, which
    /// leaves with [`ack`](Client::ack). A fault is final; the server has been told, where the version has words for it. Neither
    /// copies nor allocates for a message, but for the first one with a new topic alias.
    #[inline]
    pub fn handle_packet<'a>(
        &mut self,
        bytes: &'a [u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Option<(Input<'a>, usize)>, Fault> {
        match self.next_packet(bytes, now, out) {
            Ok(done) => Ok(done),
            Err(fault) => {
                self.complain(fault, now, out);
                Err(fault)
            }
        }
    }

    /// MQTT-4.13.1-1: tells the server why, in 5.0.
    #[cold]
    fn complain(&mut self, fault: Fault, now: Instant, out: &mut Vec<u8>) {
        let reason = fault.reason_code();
        if self.version().is_5() && self.phase == Phase::Open && reason.is_allowed_in(PacketType::Disconnect) {
            _ = self.say(&Packet::Disconnect(Disconnect::new(reason)), now, out);
        }
        self.phase = Phase::Ending;
    }

    fn next_packet<'a>(
        &mut self,
        bytes: &'a [u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Option<(Input<'a>, usize)>, Fault> {
        if matches!(self.phase, Phase::Offline | Phase::Ending | Phase::Left) {
            return Ok(Some((Input::Nothing, bytes.len())));
        }
        let limits = DecodeLimits { packet_max: self.limits.packet_max.get() };
        let Some((packet, used)) = decode(bytes, self.version(), &limits).map_err(Fault::Malformed)? else {
            return Ok(None);
        };
        if let Some(clock) = &mut self.clock {
            clock.heard = now;
            clock.pinged = false;
        }
        let input = match packet {
            Packet::Publish(publish) if self.phase == Phase::Open => self.take_message(publish, now, out)?,
            _ => self.take_other(packet, now, out)?,
        };
        Ok(Some((input, used)))
    }

    #[inline]
    fn take_message<'a>(&mut self, publish: Publish<'a>, now: Instant, out: &mut Vec<u8>) -> Result<Input<'a>, Fault> {
        let topic = self.taken.resolve(&publish, self.limits.aliases_max)?;
        let Some(id) = publish.id else {
            return Ok(Input::Message(Arrived { publish, topic, ack: None }));
        };
        // Before 5.0 a server is not told how many it may have under way; 65,535 numbers are enough of a bound.
        let max = if self.version().is_5() { self.limits.inflight_max.get() } else { u16::MAX };
        match self.inbox.arrive(id, publish.qos, max.into()) {
            Arrival::New(ack) => Ok(Input::Message(Arrived { publish, topic, ack: Some(ack) })),
            Arrival::Waits => Ok(Input::Nothing),
            Arrival::Again => {
                _ = self.say(&Packet::PubRec(Ack::new(id)), now, out);
                Ok(Input::Nothing)
            }
            Arrival::Done => {
                _ = self.say_acked(now, out);
                Ok(Input::Nothing)
            }
            Arrival::InUse => Err(broken("a packet identifier that is in use")),
            // MQTT-3.3.4-9, section 4.9
            Arrival::TooMany => Err(Fault::Broken(
                ReasonCode::ReceiveMaximumExceeded,
                "more messages under way than the receive maximum",
            )),
        }
    }

    fn take_other<'a>(&mut self, packet: Packet<'a>, now: Instant, out: &mut Vec<u8>) -> Result<Input<'a>, Fault> {
        if self.phase == Phase::Connecting {
            return match packet {
                Packet::ConnAck(conn_ack) => self.take_conn_ack(conn_ack, now, out),
                Packet::Auth(auth) => self.take_auth(auth),
                // MQTT-3.2.0-1, MQTT-3.14.0-1
                _ => Err(broken("a packet before CONNACK")),
            };
        }
        match packet {
            Packet::PubAck(ack) => self.take_pub_ack(ack, Stage::PubAck),
            Packet::PubComp(ack) => self.take_pub_ack(ack, Stage::PubComp),
            Packet::PubRec(ack) => self.take_pub_rec(ack, now, out),
            Packet::PubRel(ack) => self.take_pub_rel(ack, now, out),
            Packet::SubAck(ack) => self.take_sub_ack(ack),
            Packet::UnsubAck(ack) => self.take_unsub_ack(ack),
            Packet::PingResp => Ok(Input::Nothing),
            Packet::Auth(auth) => self.take_auth(auth),
            Packet::Disconnect(disconnect) if self.version().is_5() => {
                self.phase = Phase::Ending;
                Ok(Input::Disconnected(disconnect))
            }
            // MQTT-3.2.0-2
            Packet::ConnAck(_) => Err(broken("a second CONNACK")),
            Packet::Connect(_)
            | Packet::Publish(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Disconnect(_) => Err(broken("a packet that only clients send")),
        }
    }

    fn take_conn_ack<'a>(
        &mut self,
        conn_ack: ConnAck<'a>,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Input<'a>, Fault> {
        if conn_ack.reason.is_error() {
            self.phase = Phase::Ending;
            return Ok(Input::Refused(conn_ack));
        }
        // MQTT-3.2.2-2 (3.1.1: MQTT-3.2.2-1); MQTT-3.2.2-4, for a first connection that asks for an earlier session knows of one.
        let asked_for_none = self.options.clean_start && !(self.is_resuming && self.options.has_lasting_session());
        if conn_ack.session_present && asked_for_none {
            return Err(broken("a session is present, and none was asked for"));
        }
        let properties = &conn_ack.properties;
        if properties.authentication_method() != self.options.auth_method.as_deref()
            && properties.authentication_method().is_some()
        {
            return Err(broken("another authentication method"));
        }
        if let Some(id) = properties.assigned_client_identifier() {
            self.assigned = Some(id.into());
        }
        if let Some(seconds) = properties.server_keep_alive() {
            self.keep_alive = keep_alive(seconds);
        }
        self.server = Server {
            window: properties.receive_maximum().map_or(usize::from(u16::MAX), |max| max.get().into()),
            packet_max: properties.maximum_packet_size().map_or(usize::MAX, |max| max.get() as usize),
            qos_max: properties.maximum_qos().unwrap_or(QoS::ExactlyOnce),
            retain: properties.retain_available().unwrap_or(true),
            wildcards: properties.wildcard_subscription_available().unwrap_or(true),
            shared: properties.shared_subscription_available().unwrap_or(true),
            subscription_ids: properties.subscription_identifier_available().unwrap_or(true),
        };
        self.given.begin(properties.topic_alias_maximum().unwrap_or(0).min(self.limits.aliases_max));
        self.phase = Phase::Open;
        self.is_resuming = true;
        if conn_ack.session_present {
            let releases = self.outbox.resume();
            self.send_releases(releases, now, out);
        } else {
            // MQTT-3.2.2-5
            self.inbox.forget();
            self.ended.extend(self.outbox.restart().into_iter().map(|token| (token, Failure::SessionLost)));
        }
        self.pump_resent(now, out);
        self.send_requests(now, out);
        Ok(Input::Opened(conn_ack))
    }

    /// What was under way comes before anything new, whatever room there is: a new connection has an empty output.
    fn pump_resent(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.pump(RESENT_MAX, now, out);
    }

    fn take_auth<'a>(&mut self, auth: Auth<'a>) -> Result<Input<'a>, Fault> {
        // MQTT-4.12.0-6, MQTT-4.12.0-5
        let Some(method) = self.options.auth_method.as_deref() else {
            return Err(broken("AUTH, and no method was asked for"));
        };
        if auth.properties.authentication_method().is_some_and(|other| other != method) {
            return Err(broken("another authentication method"));
        }
        match (auth.reason, self.phase) {
            (ReasonCode::ContinueAuthentication, _) | (ReasonCode::Success, Phase::Open) => Ok(Input::Auth(auth)),
            _ => Err(broken("AUTH with a reason that it cannot have now")),
        }
    }

    /// PUBACK or PUBCOMP.
    fn take_pub_ack<'a>(&mut self, ack: Ack<'a>, stage: Stage) -> Result<Input<'a>, Fault> {
        match self.outbox.stage(ack.id) {
            None => Ok(self.stray()),
            Some(actual) if actual != stage => Err(broken("an acknowledgement of another quality of service")),
            Some(_) => Ok(match self.outbox.complete(ack.id) {
                // Without the message at the server there would have been no PUBREC.
                Some(token) if stage == Stage::PubComp => Input::Delivered(token, ReasonCode::Success),
                Some(token) if ack.reason.is_error() => Input::Failed(token, Failure::Refused(ack.reason)),
                Some(token) => Input::Delivered(token, ack.reason),
                None => Input::Nothing,
            }),
        }
    }

    fn take_pub_rec<'a>(&mut self, ack: Ack<'a>, now: Instant, out: &mut Vec<u8>) -> Result<Input<'a>, Fault> {
        match self.outbox.stage(ack.id) {
            Some(Stage::PubAck) => Err(broken("an acknowledgement of another quality of service")),
            // MQTT-4.3.3-4: it is over without PUBREL.
            Some(Stage::PubRec) if ack.reason.is_error() => Ok(match self.outbox.complete(ack.id) {
                Some(token) => Input::Failed(token, Failure::Refused(ack.reason)),
                None => Input::Nothing,
            }),
            Some(Stage::PubRec | Stage::PubComp) => {
                self.outbox.received(ack.id);
                _ = self.say(&Packet::PubRel(Ack::new(ack.id)), now, out);
                Ok(Input::Nothing)
            }
            None if ack.reason.is_error() => Ok(self.stray()),
            None => {
                // Section 4.3.3: it has to be released all the same.
                let reason = ReasonCode::PacketIdentifierNotFound;
                _ = self.say(&Packet::PubRel(Ack { reason, ..Ack::new(ack.id) }), now, out);
                Ok(self.stray())
            }
        }
    }

    fn take_pub_rel<'a>(&mut self, ack: Ack<'a>, now: Instant, out: &mut Vec<u8>) -> Result<Input<'a>, Fault> {
        let reason = match self.inbox.release(ack.id) {
            Release::Known => ReasonCode::Success,
            Release::Unknown => ReasonCode::PacketIdentifierNotFound,
            Release::TooEarly => return Err(broken("PUBREL before PUBREC")),
        };
        // MQTT-4.3.3-11
        _ = self.say(&Packet::PubComp(Ack { reason, ..Ack::new(ack.id) }), now, out);
        Ok(Input::Nothing)
    }

    fn take_sub_ack<'a>(&mut self, ack: SubAck<'a>) -> Result<Input<'a>, Fault> {
        match self.outbox.request(ack.id) {
            None => Ok(self.stray()),
            // MQTT-3.8.4-6
            Some(request) if request.is_unsubscribe || request.filters != ack.reasons.iter().count() => {
                Err(broken("SUBACK does not fit its SUBSCRIBE"))
            }
            Some(_) => Ok(match self.outbox.take_request(ack.id) {
                Some(request) => Input::Subscribed(request.token, ack),
                None => Input::Nothing,
            }),
        }
    }

    fn take_unsub_ack<'a>(&mut self, ack: UnsubAck<'a>) -> Result<Input<'a>, Fault> {
        let is_5 = self.version().is_5();
        match self.outbox.request(ack.id) {
            None => Ok(self.stray()),
            // MQTT-3.11.3-1
            Some(request) if !request.is_unsubscribe || is_5 && request.filters != ack.reasons.iter().count() => {
                Err(broken("UNSUBACK does not fit its UNSUBSCRIBE"))
            }
            Some(_) => Ok(match self.outbox.take_request(ack.id) {
                Some(request) => Input::Unsubscribed(request.token, ack),
                None => Input::Nothing,
            }),
        }
    }

    /// An answer to nothing: perhaps a repetition, and no harm.
    #[cold]
    fn stray(&mut self) -> Input<'static> {
        self.strays += 1;
        Input::Nothing
    }
}

/// Bytes that are said with CONNACK's arrival; what is left follows as the output empties.
const RESENT_MAX: usize = 64 * 1024;

#[cold]
fn broken(what: &'static str) -> Fault {
    Fault::Broken(ReasonCode::ProtocolError, what)
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

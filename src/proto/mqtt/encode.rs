//! Packets to bytes.
//!
//! What a packet consists of is written down once, for any [`Sink`]: one of them measures and checks, the other one writes.
//! So the length in front cannot disagree with what follows, and nothing is written of a packet that cannot be.

use std::fmt;

use super::packet::{Ack, ConnAck, Connect, Packet, PacketType, Subscribe, Version};
use super::property::{Place, Properties, PropertyId};
use super::publish::{Delivery, PublishParts};
use super::reason::ReasonCode;
use super::topic::{Filter, TopicError, check_topic};
use super::wire::{VARINT_MAX, has_byte, put_varint, varint_len};

/// Why a packet cannot be encoded. Nothing has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// More than 268,435,455 bytes after the header.
    PacketTooLong,
    /// Text or data of more than 65,535 bytes, where two bytes hold the length.
    FieldTooLong,
    /// U+0000 in text (MQTT-1.5.4-2).
    NulInText,
    /// The topic of a message, will or response is not one.
    BadTopic(TopicError),
    /// The filter of a subscription is not one.
    BadFilter(TopicError),
    /// A message of QoS 1 or 2 without a packet identifier (MQTT-2.2.1-4).
    PacketIdMissing,
    /// A packet identifier or DUP at QoS 0 (MQTT-2.2.1-2, MQTT-3.3.1-2).
    NotAtQoS0,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter, SUBACK or UNSUBACK without a reason code.
    EmptyList,
    /// No Local on a shared subscription (MQTT-3.8.3-4).
    NoLocalShared,
    /// A property that this packet cannot have.
    PropertyNotAllowed(PropertyId),
    /// A property that comes once was given twice.
    PropertyRepeated(PropertyId),
    /// A property with a value that it cannot have.
    PropertyValue(PropertyId),
    /// A property that the packet needs, or another one needs, is not there.
    PropertyMissing(PropertyId),
    /// A reason code that this packet cannot have, or that the version has no number for.
    BadReason(ReasonCode),
    /// A session present with a refusal (MQTT-3.2.2-6).
    SessionWithRefusal,
    /// A password without a user name, before 5.0 (3.1.1: MQTT-3.1.2-22).
    PasswordWithoutUsername,
    /// An empty client identifier where the version does not take one (3.1.1: MQTT-3.1.3-8).
    ClientIdMissing,
    /// AUTH, a topic alias in the place of a topic: the version does not have it.
    NotInVersion,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PacketTooLong => f.write_str("the packet is longer than 268,435,455 bytes"),
            Self::FieldTooLong => f.write_str("text or data is longer than 65,535 bytes"),
            Self::NulInText => f.write_str("U+0000 in text"),
            Self::BadTopic(error) => write!(f, "not a topic name: {error}"),
            Self::BadFilter(error) => write!(f, "not a topic filter: {error}"),
            Self::PacketIdMissing => f.write_str("no packet identifier at QoS 1 or 2"),
            Self::NotAtQoS0 => f.write_str("a packet identifier or DUP at QoS 0"),
            Self::EmptyList => f.write_str("no filter, or no reason code"),
            Self::NoLocalShared => f.write_str("No Local on a shared subscription"),
            Self::PropertyNotAllowed(id) => write!(f, "a property that the packet cannot have: {id:?}"),
            Self::PropertyRepeated(id) => write!(f, "a property twice: {id:?}"),
            Self::PropertyValue(id) => write!(f, "a value that the property cannot have: {id:?}"),
            Self::PropertyMissing(id) => write!(f, "a property is missing: {id:?}"),
            Self::BadReason(reason) => write!(f, "a reason code that the packet cannot have: {reason}"),
            Self::SessionWithRefusal => f.write_str("a session present with a refusal"),
            Self::PasswordWithoutUsername => f.write_str("a password without a user name"),
            Self::ClientIdMissing => f.write_str("an empty client identifier"),
            Self::NotInVersion => f.write_str("the version of the protocol does not have it"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Appends a packet, and says how many bytes it took.
///
/// An error means that nothing was appended. CONNECT is encoded in its own version. What a version before 5.0 has no place for is
/// left out: properties, the reasons of acknowledgements, subscription options; so one value serves clients of all versions. An
/// error is what cannot be left out: AUTH, a topic alias without a topic, a refusal that CONNACK has no number for.
///
/// Allocates only if `out` has to grow.
#[inline]
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
    match packet {
        Packet::Publish(publish) => {
            let parts = PublishParts::of(publish, version)?;
            let to = Delivery::of(publish);
            let head = parts.encode_head_and(&to, publish.payload.len(), out)?;
            out.extend_from_slice(publish.payload);
            Ok(head + publish.payload.len())
        }
        // What nearly all acknowledgements look like, in all versions.
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack)
            if ack.reason == ReasonCode::Success && ack.properties.is_empty() =>
        {
            let [high, low] = ack.id.get().to_be_bytes();
            out.extend_from_slice(&[first_byte(packet.packet_type()), 2, high, low]);
            Ok(4)
        }
        _ => encode_other(packet, version, out),
    }
}

#[inline]
fn first_byte(packet_type: PacketType) -> u8 {
    (packet_type as u8) << 4 | packet_type.flags()
}

fn encode_other(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
    let len = body_len(packet, version)?;
    let total = 1 + varint_len(len) + len;
    out.reserve(total);
    out.push(first_byte(packet.packet_type()));
    put_varint(out, len);
    body(packet, version, out);
    Ok(total)
}

/// How many bytes [`encode`] would append: what a peer's Maximum Packet Size is compared with.
pub fn encoded_len(packet: &Packet<'_>, version: Version) -> Result<usize, EncodeError> {
    if let Packet::Publish(publish) = packet {
        return PublishParts::of(publish, version)?.packet_len(&Delivery::of(publish));
    }
    let len = body_len(packet, version)?;
    Ok(1 + varint_len(len) + len)
}

fn body_len(packet: &Packet<'_>, version: Version) -> Result<usize, EncodeError> {
    let mut measure = Measure::default();
    body(packet, version, &mut measure);
    match measure.finish()? {
        len if len > VARINT_MAX => Err(EncodeError::PacketTooLong),
        len => Ok(len),
    }
}

/// Where the pieces of a packet go.
pub(super) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);
    fn varint(&mut self, value: usize);
    /// Text or data with its length in two bytes.
    fn binary(&mut self, bytes: &[u8]);
    /// What has to hold for the packet to exist.
    fn check(&mut self, verdict: impl FnOnce() -> Result<(), EncodeError>);

    #[inline]
    fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    #[inline]
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    #[inline]
    fn require(&mut self, holds: bool, error: EncodeError) {
        self.check(|| if holds { Ok(()) } else { Err(error) });
    }

    #[inline]
    fn text(&mut self, text: &str) {
        self.check(|| if has_byte(text.as_bytes(), [0]) { Err(EncodeError::NulInText) } else { Ok(()) });
        self.binary(text.as_bytes());
    }

    /// A property section with its length.
    #[inline]
    fn properties(&mut self, properties: &Properties<'_>, place: Place, version: Version) {
        if version.is_5() {
            self.check(|| properties.fit(place));
            self.varint(properties.raw().len());
            self.bytes(properties.raw());
        }
    }
}

/// Counts and checks.
#[derive(Debug, Default)]
pub(super) struct Measure {
    len: usize,
    error: Option<EncodeError>,
}

impl Measure {
    /// The length, or the first thing that was wrong.
    #[inline]
    pub(super) fn finish(self) -> Result<usize, EncodeError> {
        match self.error {
            None => Ok(self.len),
            Some(error) => Err(error),
        }
    }
}

impl Sink for Measure {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
    }

    #[inline]
    fn varint(&mut self, value: usize) {
        self.require(value <= VARINT_MAX, EncodeError::PacketTooLong);
        self.len += varint_len(value);
    }

    #[inline]
    fn binary(&mut self, bytes: &[u8]) {
        self.require(bytes.len() <= usize::from(u16::MAX), EncodeError::FieldTooLong);
        self.len += 2 + bytes.len();
    }

    #[inline]
    fn check(&mut self, verdict: impl FnOnce() -> Result<(), EncodeError>) {
        if self.error.is_none() {
            self.error = verdict().err();
        }
    }
}

/// Writes what has been measured and checked.
impl Sink for Vec<u8> {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn varint(&mut self, value: usize) {
        put_varint(self, value);
    }

    #[inline]
    fn binary(&mut self, bytes: &[u8]) {
        self.u16(bytes.len() as u16);
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn check(&mut self, _: impl FnOnce() -> Result<(), EncodeError>) {}
}

/// All but PUBLISH, after the header.
fn body(packet: &Packet<'_>, version: Version, sink: &mut impl Sink) {
    let packet_type = packet.packet_type();
    let place = Place::Packet(packet_type);
    match packet {
        Packet::Connect(connect) => connect_body(connect, sink),
        Packet::ConnAck(conn_ack) => conn_ack_body(conn_ack, version, sink),
        // Has an encoder of its own.
        Packet::Publish(_) => {}
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            let Ack { id, reason, properties } = ack;
            sink.u16(id.get());
            ending(packet_type, *reason, properties, version, sink);
        }
        Packet::Subscribe(subscribe) => subscribe_body(subscribe, version, sink),
        Packet::SubAck(sub_ack) => {
            sink.u16(sub_ack.id.get());
            sink.properties(&sub_ack.properties, place, version);
            sink.require(!sub_ack.reasons.is_empty(), EncodeError::EmptyList);
            for reason in sub_ack.reasons {
                allowed(reason, packet_type, sink);
                sink.u8(if version.is_5() { reason.to_u8() } else { reason.suback_v3() });
            }
        }
        Packet::Unsubscribe(unsubscribe) => {
            sink.u16(unsubscribe.id.get());
            sink.properties(&unsubscribe.properties, place, version);
            sink.require(!unsubscribe.filters.is_empty(), EncodeError::EmptyList);
            for filter in unsubscribe.filters {
                sink.check(|| Filter::parse(filter).map(|_| ()).map_err(EncodeError::BadFilter));
                sink.binary(filter.as_bytes());
            }
        }
        Packet::UnsubAck(unsub_ack) => {
            sink.u16(unsub_ack.id.get());
            if version.is_5() {
                sink.properties(&unsub_ack.properties, place, version);
                sink.require(!unsub_ack.reasons.is_empty(), EncodeError::EmptyList);
                for reason in unsub_ack.reasons {
                    allowed(reason, packet_type, sink);
                    sink.u8(reason.to_u8());
                }
            }
        }
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(disconnect) => ending(packet_type, disconnect.reason, &disconnect.properties, version, sink),
        Packet::Auth(auth) => {
            sink.require(version.is_5(), EncodeError::NotInVersion);
            let bare = auth.reason == ReasonCode::Success && auth.properties.is_empty();
            let has_method = auth.properties.has(PropertyId::AuthenticationMethod);
            sink.require(bare || has_method, EncodeError::PropertyMissing(PropertyId::AuthenticationMethod));
            ending(packet_type, auth.reason, &auth.properties, version, sink);
        }
    }
}

fn connect_body(connect: &Connect<'_>, sink: &mut impl Sink) {
    let version = connect.version;
    sink.binary(version.protocol_name().as_bytes());
    sink.u8(version.level());
    let will_flags = connect.will.map_or(0, |will| 1 << 2 | will.qos.to_u8() << 3 | u8::from(will.retain) << 5);
    let flags = u8::from(connect.clean_start) << 1
        | will_flags
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.username.is_some()) << 7;
    sink.u8(flags);
    sink.u16(connect.keep_alive);
    authenticated(&connect.properties, sink);
    sink.properties(&connect.properties, Place::Packet(PacketType::Connect), version);
    let may_be_nobody = match version {
        Version::Mqtt31 => false,
        Version::Mqtt311 => connect.clean_start,
        Version::Mqtt5 => true,
    };
    sink.require(may_be_nobody || !connect.client_id.is_empty(), EncodeError::ClientIdMissing);
    sink.text(connect.client_id);
    if let Some(will) = &connect.will {
        sink.properties(&will.properties, Place::Will, version);
        sink.check(|| check_topic(will.topic).map_err(EncodeError::BadTopic));
        sink.binary(will.topic.as_bytes());
        sink.binary(will.payload);
    }
    if let Some(username) = connect.username {
        sink.text(username);
    }
    if let Some(password) = connect.password {
        let alone = connect.username.is_none() && !version.is_5();
        sink.require(!alone, EncodeError::PasswordWithoutUsername);
        sink.binary(password);
    }
}

fn conn_ack_body(conn_ack: &ConnAck<'_>, version: Version, sink: &mut impl Sink) {
    let ConnAck { session_present, reason, properties } = conn_ack;
    sink.require(!session_present || *reason == ReasonCode::Success, EncodeError::SessionWithRefusal);
    sink.u8(u8::from(*session_present && version != Version::Mqtt31));
    if version.is_5() {
        allowed(*reason, PacketType::ConnAck, sink);
        sink.u8(reason.to_u8());
        authenticated(properties, sink);
        sink.properties(properties, Place::Packet(PacketType::ConnAck), version);
    } else {
        let code = reason.connack_v3();
        sink.require(code.is_some(), EncodeError::BadReason(*reason));
        sink.u8(code.unwrap_or_default());
    }
}

fn subscribe_body(subscribe: &Subscribe<'_>, version: Version, sink: &mut impl Sink) {
    sink.u16(subscribe.id.get());
    sink.properties(&subscribe.properties, Place::Packet(PacketType::Subscribe), version);
    sink.require(!subscribe.subscriptions.is_empty(), EncodeError::EmptyList);
    for subscription in subscribe.subscriptions {
        sink.check(|| match Filter::parse(subscription.filter).map_err(EncodeError::BadFilter)? {
            Filter { group: Some(_), .. } if subscription.no_local => Err(EncodeError::NoLocalShared),
            _ => Ok(()),
        });
        sink.binary(subscription.filter.as_bytes());
        sink.u8(subscription.options(version));
    }
}

/// Reason and properties, as far as the version has them and they say something.
fn ending(
    packet_type: PacketType,
    reason: ReasonCode,
    properties: &Properties<'_>,
    version: Version,
    sink: &mut impl Sink,
) {
    allowed(reason, packet_type, sink);
    if !version.is_5() || reason == ReasonCode::Success && properties.is_empty() {
        return;
    }
    sink.u8(reason.to_u8());
    if !properties.is_empty() {
        sink.properties(properties, Place::Packet(packet_type), version);
    }
}

fn allowed(reason: ReasonCode, packet_type: PacketType, sink: &mut impl Sink) {
    sink.require(reason.is_allowed_in(packet_type), EncodeError::BadReason(reason));
}

fn authenticated(properties: &Properties<'_>, sink: &mut impl Sink) {
    let alone = properties.has(PropertyId::AuthenticationData) && !properties.has(PropertyId::AuthenticationMethod);
    sink.require(!alone, EncodeError::PropertyMissing(PropertyId::AuthenticationMethod));
}

//! Bytes to packets.

use super::error::DecodeError;
use super::list::List;
use super::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, Publish, QoS, SubAck, Subscribe,
    Subscription, UnsubAck, Unsubscribe, Version, Will,
};
use super::property::{Place, Properties, PropertyId};
use super::reason::ReasonCode;
use super::topic::{Filter, check_topic};
use super::wire::{Reader, varint};

/// Bounds on what is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The most bytes of a packet, counted as in the property Maximum Packet Size: from its first byte to its last. 1 MiB.
    pub packet_max: u32,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { packet_max: 1024 * 1024 }
    }
}

/// Where a packet ends: what its first bytes say (section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub packet_type: PacketType,
    flags: u8,
    // As wide as registers: narrow ones are stored one by one and loaded together at once, which stalls.
    header_len: usize,
    packet_len: usize,
}

impl Frame {
    /// The bytes of the whole packet.
    #[inline]
    pub fn packet_len(&self) -> usize {
        self.packet_len
    }
}

/// Reads the header of the packet at the start of `bytes`: two to five bytes.
///
/// A type or flags that cannot be, and a packet larger than the limit, are errors as soon as the header shows them. `Ok(None)`:
/// the header is not complete. [`decode`] does this itself; call it to judge a packet before the rest of it has come.
#[inline]
pub fn frame(bytes: &[u8], version: Version, limits: &DecodeLimits) -> Result<Option<Frame>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let packet_type = match PacketType::from_first_byte(first) {
        Some(PacketType::Auth) if !version.is_5() => return Err(DecodeError::UnknownType(first)),
        Some(packet_type) => packet_type,
        None => return Err(DecodeError::UnknownType(first)),
    };
    let flags = first & 0x0f;
    check_flags(packet_type, flags, version)?;
    let Some((remaining_len, len_len)) = varint(rest)? else { return Ok(None) };
    let header_len = 1 + len_len;
    let packet_len = header_len + remaining_len as usize;
    if packet_len > limits.packet_max as usize {
        return Err(DecodeError::PacketTooLarge);
    }
    Ok(Some(Frame { packet_type, flags, header_len, packet_len }))
}

/// MQTT-2.1.3-1, and for PUBLISH MQTT-3.3.1-4 and MQTT-3.3.1-2.
#[inline]
fn check_flags(packet_type: PacketType, flags: u8, version: Version) -> Result<(), DecodeError> {
    const DUP: u8 = 0b1000;
    if packet_type == PacketType::Publish {
        return match flags & 0b0110 {
            0b0110 => Err(DecodeError::BadQoS),
            0 if flags & DUP != 0 => Err(DecodeError::DupAtQoS0),
            _ => Ok(()),
        };
    }
    // 3.1 sends these at QoS 1, and may send them again.
    let ignored = if version == Version::Mqtt31 && packet_type.flags() != 0 { DUP } else { 0 };
    if flags & !ignored == packet_type.flags() { Ok(()) } else { Err(DecodeError::BadFlags(flags)) }
}

/// Decodes the packet at the start of `bytes`, and says how many bytes it takes.
///
/// `Ok(None)` asks for more: call again with the same bytes and those that follow. Any error is final. `version` is that of the
/// conversation; CONNECT brings its own, so that for the first packet of a client any will do.
///
/// Allocates nothing. A packet is not looked into before it is complete, but for its header (see [`frame`]), so that one that
/// comes byte by byte costs no more than its length. Which packets may come when, and from which side, is the caller's to
/// judge.
#[inline]
pub fn decode<'a>(
    bytes: &'a [u8],
    version: Version,
    limits: &DecodeLimits,
) -> Result<Option<(Packet<'a>, usize)>, DecodeError> {
    let Some(frame) = frame(bytes, version, limits)? else { return Ok(None) };
    let len = frame.packet_len();
    let Some(body) = bytes.get(frame.header_len..len) else { return Ok(None) };
    let mut reader = Reader::new(body);
    // The results are built in their places: a packet on its way through a variable would be copied, and it is large.
    if frame.packet_type == PacketType::Publish {
        return Ok(Some((Packet::Publish(publish(frame.flags, &mut reader, version)?), len)));
    }
    other(frame.packet_type, reader, version, len)
}

/// The message at the start of `bytes`, and its length, if it differs in packet identifier and payload only from one that came as
/// `packet`, of the same conversation: then all that was checked there holds for it as well.
#[cfg(feature = "broker")]
#[inline]
pub(crate) fn decode_like<'a>(publish: Publish<'a>, packet: &[u8], bytes: &'a [u8]) -> Option<(Publish<'a>, usize)> {
    let payload_at = packet.len() - publish.payload.len();
    let (head, payload) = bytes.get(..packet.len())?.split_at_checked(payload_at)?;
    if publish.id.is_none() {
        return packet.starts_with(head).then_some((Publish { payload, ..publish }, packet.len()));
    }
    let id = Some(id_of_like(packet.get(..payload_at)?, id_at(packet, publish.topic), head)?);
    Some((Publish { id, payload, ..publish }, packet.len()))
}

/// The packet identifier in the head of a message of QoS 1 or 2, if it differs in that only from another, which has it at this place.
#[cfg(feature = "broker")]
#[inline]
pub(crate) fn id_of_like(other: &[u8], id_at: usize, head: &[u8]) -> Option<PacketId> {
    let (start, rest) = head.split_at_checked(id_at)?;
    let (id, properties) = rest.split_first_chunk()?;
    let is_like = other.len() == head.len() && other.starts_with(start) && other.ends_with(properties);
    PacketId::new(u16::from_be_bytes(*id)).filter(|_| is_like)
}

/// Where the packet identifier stands in a message of QoS 1 or 2 with this topic.
#[cfg(feature = "broker")]
#[inline]
pub(crate) fn id_at(packet: &[u8], topic: &str) -> usize {
    let len_len = packet.iter().skip(1).position(|byte| byte & 0x80 == 0).unwrap_or_default() + 1;
    1 + len_len + 2 + topic.len()
}

/// The version that a CONNECT asks for, whatever else is in it. `None`: it cannot be told, or is none of ours.
///
/// With it a server can answer a CONNECT that does not decode in the form that its client understands.
pub fn connect_version(bytes: &[u8]) -> Option<Version> {
    let frame = frame(bytes, Version::Mqtt5, &DecodeLimits { packet_max: u32::MAX }).ok()??;
    let body = bytes.get(frame.header_len..).filter(|_| frame.packet_type == PacketType::Connect)?;
    version(&mut Reader::new(body)).ok()
}

fn other<'a>(
    packet_type: PacketType,
    mut reader: Reader<'a>,
    version: Version,
    len: usize,
) -> Result<Option<(Packet<'a>, usize)>, DecodeError> {
    let reader = &mut reader;
    let packet = match packet_type {
        PacketType::PubAck => return Ok(Some((Packet::PubAck(ack(packet_type, reader, version)?), len))),
        PacketType::PubRec => return Ok(Some((Packet::PubRec(ack(packet_type, reader, version)?), len))),
        PacketType::PubRel => return Ok(Some((Packet::PubRel(ack(packet_type, reader, version)?), len))),
        PacketType::PubComp => return Ok(Some((Packet::PubComp(ack(packet_type, reader, version)?), len))),
        PacketType::Connect => Packet::Connect(connect(reader)?),
        PacketType::ConnAck => Packet::ConnAck(conn_ack(reader, version)?),
        PacketType::Publish => Packet::Publish(publish(0, reader, version)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe(reader, version)?),
        PacketType::SubAck => Packet::SubAck(sub_ack(reader, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe(reader, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsub_ack(reader, version)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => {
            let (reason, properties) = ending(packet_type, reader, version)?;
            Packet::Disconnect(Disconnect { reason, properties })
        }
        PacketType::Auth => Packet::Auth(auth(reader, version)?),
    };
    reader.end()?;
    Ok(Some((packet, len)))
}

/// Section 3.3.
#[inline]
fn publish<'a>(flags: u8, reader: &mut Reader<'a>, version: Version) -> Result<Publish<'a>, DecodeError> {
    let qos = QoS::from_u8(flags >> 1 & 0b11).ok_or(DecodeError::BadQoS)?;
    let topic = reader.text_with_nul()?;
    // MQTT-2.2.1-2
    let id = if qos == QoS::AtMostOnce { None } else { Some(packet_id(reader)?) };
    let properties = properties(reader, PacketType::Publish, version)?;
    if !topic.is_empty() {
        check_topic(topic).map_err(|error| error.in_name())?;
    } else if !version.is_5() {
        return Err(DecodeError::BadTopic(super::TopicError::Empty));
    } else if !properties.has(PropertyId::TopicAlias) {
        // Section 3.3.2.1
        return Err(DecodeError::TopicMissing);
    }
    let payload = reader.take_rest();
    Ok(Publish { topic, payload, qos, retain: flags & 1 != 0, dup: flags & 0b1000 != 0, id, properties })
}

/// Sections 3.4 to 3.7.
#[inline]
fn ack<'a>(packet_type: PacketType, reader: &mut Reader<'a>, version: Version) -> Result<Ack<'a>, DecodeError> {
    let id = packet_id(reader)?;
    // What nearly all of them look like.
    if reader.is_empty() {
        return Ok(Ack::new(id));
    }
    let (reason, properties) = ending(packet_type, reader, version)?;
    reader.end()?;
    Ok(Ack { id, reason, properties })
}

/// The end of the acknowledgements, of DISCONNECT and AUTH: 5.0 leaves out what is `Success` and has no properties.
fn ending<'a>(
    packet_type: PacketType,
    reader: &mut Reader<'a>,
    version: Version,
) -> Result<(ReasonCode, Properties<'a>), DecodeError> {
    if !version.is_5() || reader.is_empty() {
        return Ok((ReasonCode::Success, Properties::default()));
    }
    let reason = reason(packet_type, reader.u8()?)?;
    if reader.is_empty() {
        return Ok((reason, Properties::default()));
    }
    Ok((reason, properties(reader, packet_type, version)?))
}

/// MQTT-3.2.2-8, -3.4.2-1, -3.5.2-1, -3.6.2-1, -3.7.2-1, -3.9.3-2, -3.11.3-2, -3.14.2-1, -3.15.2-1.
fn reason(packet_type: PacketType, code: u8) -> Result<ReasonCode, DecodeError> {
    ReasonCode::from_u8(code).filter(|reason| reason.is_allowed_in(packet_type)).ok_or(DecodeError::BadReason(code))
}

#[inline]
fn packet_id(reader: &mut Reader<'_>) -> Result<PacketId, DecodeError> {
    // MQTT-2.2.1-3, -4
    PacketId::new(reader.u16()?).ok_or(DecodeError::PacketIdZero)
}

#[inline]
fn properties<'a>(
    reader: &mut Reader<'a>,
    packet_type: PacketType,
    version: Version,
) -> Result<Properties<'a>, DecodeError> {
    if version.is_5() { Properties::decode(reader, Place::Packet(packet_type)) } else { Ok(Properties::default()) }
}

/// Sections 3.1.2.1 and 3.1.2.2.
fn version(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    match (name, level) {
        (b"MQTT", 4) => Ok(Version::Mqtt311),
        (b"MQTT", 5) => Ok(Version::Mqtt5),
        (b"MQIsdp", 3) => Ok(Version::Mqtt31),
        // MQTT-3.1.2-2
        (b"MQTT" | b"MQIsdp", _) => Err(DecodeError::UnsupportedLevel(level)),
        // MQTT-3.1.2-1
        _ => Err(DecodeError::BadProtocolName),
    }
}

/// Section 3.1.
fn connect<'a>(reader: &mut Reader<'a>) -> Result<Connect<'a>, DecodeError> {
    let version = version(reader)?;
    let flags = reader.u8()?;
    let flag = |bit: u8| flags & (1 << bit) != 0;
    let (has_username, has_password, will_retain, has_will, clean_start) =
        (flag(7), flag(6), flag(5), flag(2), flag(1));
    let will_qos = QoS::from_u8(flags >> 3 & 0b11);
    // MQTT-3.1.2-3; 3.1 says nothing of the bit.
    let reserved = flag(0) && version != Version::Mqtt31;
    // MQTT-3.1.2-11, MQTT-3.1.2-13, MQTT-3.1.2-12
    let bad_will = !has_will && (will_retain || will_qos != Some(QoS::AtMostOnce));
    let (Some(will_qos), false, false) = (will_qos, reserved, bad_will) else {
        return Err(DecodeError::BadConnectFlags);
    };
    // 3.1.1: MQTT-3.1.2-22; 5.0 allows it.
    if has_password && !has_username && !version.is_5() {
        return Err(DecodeError::PasswordWithoutUsername);
    }
    let keep_alive = reader.u16()?;
    let properties = authenticated(properties(reader, PacketType::Connect, version)?)?;
    // MQTT-3.1.3-1: in this order.
    let client_id = reader.text()?;
    let will = if has_will { Some(will(reader, version, will_qos, will_retain)?) } else { None };
    let username = if has_username { Some(reader.text()?) } else { None };
    let password = if has_password { Some(reader.binary()?) } else { None };
    let needs_id = match version {
        Version::Mqtt31 => true,
        // 3.1.1: MQTT-3.1.3-7, MQTT-3.1.3-8
        Version::Mqtt311 => !clean_start,
        Version::Mqtt5 => false,
    };
    if client_id.is_empty() && needs_id {
        return Err(DecodeError::ClientIdMissing);
    }
    Ok(Connect { version, clean_start, keep_alive, client_id, will, username, password, properties })
}

/// Sections 3.1.3.2 to 3.1.3.4.
fn will<'a>(reader: &mut Reader<'a>, version: Version, qos: QoS, retain: bool) -> Result<Will<'a>, DecodeError> {
    let properties = if version.is_5() { Properties::decode(reader, Place::Will)? } else { Properties::default() };
    let topic = reader.text_with_nul()?;
    check_topic(topic).map_err(|error| error.in_name())?;
    let payload = reader.binary()?;
    Ok(Will { topic, payload, qos, retain, properties })
}

/// Section 3.1.2.11.10: data needs a method.
fn authenticated(properties: Properties<'_>) -> Result<Properties<'_>, DecodeError> {
    if properties.has(PropertyId::AuthenticationData) && !properties.has(PropertyId::AuthenticationMethod) {
        return Err(DecodeError::PropertyMissing(PropertyId::AuthenticationMethod));
    }
    Ok(properties)
}

/// Section 3.2.
fn conn_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<ConnAck<'a>, DecodeError> {
    let flags = reader.u8()?;
    let code = reader.u8()?;
    let reason = match version {
        Version::Mqtt5 => reason(PacketType::ConnAck, code)?,
        _ => ReasonCode::from_connack_v3(code).ok_or(DecodeError::BadReason(code))?,
    };
    let session_present = match flags {
        0 => false,
        // MQTT-3.2.2-6; 3.1 has no such flag.
        1 if reason == ReasonCode::Success && version != Version::Mqtt31 => true,
        // MQTT-3.2.2-1
        _ => return Err(DecodeError::BadConnAckFlags),
    };
    let properties = authenticated(properties(reader, PacketType::ConnAck, version)?)?;
    Ok(ConnAck { session_present, reason, properties })
}

/// Section 3.8.
fn subscribe<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Subscribe<'a>, DecodeError> {
    let id = packet_id(reader)?;
    let properties = properties(reader, PacketType::Subscribe, version)?;
    let wire = reader.rest();
    if wire.is_empty() {
        // MQTT-3.8.3-2
        return Err(DecodeError::NoFilters);
    }
    while !reader.is_empty() {
        let filter = filter(reader)?;
        let options = reader.u8()?;
        let reserved = if version.is_5() { 0b1100_0000 } else { 0b1111_1100 };
        if options & reserved != 0 {
            // MQTT-3.8.3-5
            return Err(DecodeError::BadSubscribeOptions);
        }
        let subscription = Subscription::from_options(filter.levels, options)?;
        if subscription.no_local && filter.group.is_some() {
            // MQTT-3.8.3-4
            return Err(DecodeError::NoLocalShared);
        }
    }
    Ok(Subscribe { id, subscriptions: List::of_wire(wire), properties })
}

/// MQTT-3.8.3-1, section 4.7.
fn filter<'a>(reader: &mut Reader<'a>) -> Result<Filter<'a>, DecodeError> {
    Filter::parse(reader.text_with_nul()?).map_err(|error| error.in_filter())
}

/// Section 3.9.
fn sub_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<SubAck<'a>, DecodeError> {
    let id = packet_id(reader)?;
    let properties = properties(reader, PacketType::SubAck, version)?;
    let wire = reader.take_rest();
    for &code in wire {
        let reason = reason(PacketType::SubAck, code)?;
        // 3.1.1: MQTT-3.9.3-2 has one failure.
        if !version.is_5() && reason.is_error() && reason != ReasonCode::UnspecifiedError {
            return Err(DecodeError::BadReason(code));
        }
    }
    if wire.is_empty() {
        return Err(DecodeError::NoReasons);
    }
    Ok(SubAck { id, reasons: List::of_wire(wire), properties })
}

/// Section 3.10.
fn unsubscribe<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Unsubscribe<'a>, DecodeError> {
    let id = packet_id(reader)?;
    let properties = properties(reader, PacketType::Unsubscribe, version)?;
    let wire = reader.rest();
    if wire.is_empty() {
        // MQTT-3.10.3-2
        return Err(DecodeError::NoFilters);
    }
    while !reader.is_empty() {
        filter(reader)?;
    }
    Ok(Unsubscribe { id, filters: List::of_wire(wire), properties })
}

/// Section 3.11.
fn unsub_ack<'a>(reader: &mut Reader<'a>, version: Version) -> Result<UnsubAck<'a>, DecodeError> {
    let id = packet_id(reader)?;
    if !version.is_5() {
        return Ok(UnsubAck { id, reasons: List::default(), properties: Properties::default() });
    }
    let properties = properties(reader, PacketType::UnsubAck, version)?;
    let wire = reader.take_rest();
    for &code in wire {
        reason(PacketType::UnsubAck, code)?;
    }
    if wire.is_empty() {
        return Err(DecodeError::NoReasons);
    }
    Ok(UnsubAck { id, reasons: List::of_wire(wire), properties })
}

/// Section 3.15.
fn auth<'a>(reader: &mut Reader<'a>, version: Version) -> Result<Auth<'a>, DecodeError> {
    // Section 3.15.2.1: without anything it is a success.
    let bare = reader.is_empty();
    let (reason, properties) = ending(PacketType::Auth, reader, version)?;
    if !bare && !properties.has(PropertyId::AuthenticationMethod) {
        // Section 3.15.2.2.2
        return Err(DecodeError::PropertyMissing(PropertyId::AuthenticationMethod));
    }
    Ok(Auth { reason, properties })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt::{Property, PropertyBuf, RetainHandling, SubscriptionId, TopicError, encode, encoded_len};
    use Version::{Mqtt5, Mqtt31, Mqtt311};

    const LIMITS: DecodeLimits = DecodeLimits { packet_max: 300_000_000 };

    fn id(value: u16) -> PacketId {
        PacketId::new(value).unwrap()
    }

    fn buf(properties: &[Property<'_>]) -> PropertyBuf {
        let mut buf = PropertyBuf::new();
        for &property in properties {
            buf.push(property).unwrap();
        }
        buf
    }

    #[test]
    fn every_packet_goes_both_ways() {
        let user = buf(&[Property::UserProperty(("k", "v"))]);
        let user = user.as_properties();
        let expiry = buf(&[Property::SessionExpiryInterval(10)]);
        let delay = buf(&[Property::WillDelayInterval(5)]);
        let ids = buf(&[7, 300].map(|id| Property::SubscriptionIdentifier(SubscriptionId::new(id).unwrap())));
        let alias = buf(&[Property::TopicAlias(id(3))]);
        let method = buf(&[Property::AuthenticationMethod("m"), Property::AuthenticationData(b"\x01")]);
        let will = Will { qos: QoS::ExactlyOnce, retain: true, ..Will::new("w", b"\0") };
        let full = Connect {
            clean_start: false,
            keep_alive: 0x0102,
            will: Some(will),
            username: Some("u"),
            password: Some(b"\xff"),
            ..Connect::new(Mqtt311, "c")
        };
        let v5 = Connect {
            version: Mqtt5,
            client_id: "",
            username: None,
            properties: expiry.as_properties(),
            will: Some(Will { properties: delay.as_properties(), ..will }),
            ..full
        };
        let publish = Publish { id: Some(id(10)), qos: QoS::AtLeastOnce, ..Publish::new("a/b", b"hi") };
        let (ok, bad) = (ReasonCode::Success, ReasonCode::NotAuthorized);
        let lines = [
            Subscription::new("a/+", QoS::AtLeastOnce),
            Subscription {
                retain_handling: RetainHandling::DontSend,
                retain_as_published: true,
                ..Subscription::new("#", QoS::ExactlyOnce)
            },
        ];
        let no_local = [Subscription { no_local: true, ..lines[0] }];
        let old = [lines[0]];
        let (codes, old_codes) = ([ok, bad], [ok, ReasonCode::GrantedQoS2, ReasonCode::UnspecifiedError]);
        let unsubscribed = [ok, ReasonCode::NoSubscriptionExisted];
        let none = Properties::default();
        let ack = Ack::new(id(0x0102));
        let refused = Ack { reason: ReasonCode::QuotaExceeded, ..ack };
        let lost = Ack { reason: ReasonCode::PacketIdentifierNotFound, properties: user, ..ack };
        let table: &[(&str, Version, Packet<'_>, &[u8])] = &[
            (
                "3.1 CONNECT",
                Mqtt31,
                Packet::Connect(Connect::new(Mqtt31, "c")),
                b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c",
            ),
            (
                "3.1.1 CONNECT, nobody",
                Mqtt311,
                Packet::Connect(Connect::new(Mqtt311, "")),
                b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0",
            ),
            (
                "3.1.1 CONNECT, all",
                Mqtt311,
                Packet::Connect(full),
                b"\x10\x19\0\x04MQTT\x04\xf4\x01\x02\0\x01c\0\x01w\0\x01\0\0\x01u\0\x01\xff",
            ),
            (
                "5.0 CONNECT, all",
                Mqtt5,
                Packet::Connect(v5),
                b"\x10\x21\0\x04MQTT\x05\x74\x01\x02\x05\x11\0\0\0\x0a\0\0\x05\x18\0\0\0\x05\0\x01w\0\x01\0\0\x01\xff",
            ),
            (
                "3.1.1 CONNACK",
                Mqtt311,
                Packet::ConnAck(ConnAck { session_present: true, ..ConnAck::new(ok) }),
                b"\x20\x02\x01\0",
            ),
            ("H1, 3.1.1 CONNACK, refused", Mqtt311, Packet::ConnAck(ConnAck::new(bad)), b"\x20\x02\0\x05"),
            (
                "5.0 CONNACK",
                Mqtt5,
                Packet::ConnAck(ConnAck { properties: user, ..ConnAck::new(bad) }),
                b"\x20\x0a\0\x87\x07\x26\0\x01k\0\x01v",
            ),
            ("PUBLISH, QoS 0", Mqtt311, Packet::Publish(Publish::new("a/b", b"hi")), b"\x30\x07\0\x03a/bhi"),
            (
                "PUBLISH, empty, retained",
                Mqtt311,
                Packet::Publish(Publish { retain: true, ..Publish::new("a", b"") }),
                b"\x31\x03\0\x01a",
            ),
            ("PUBLISH, QoS 1", Mqtt311, Packet::Publish(publish), b"\x32\x09\0\x03a/b\0\x0ahi"),
            (
                "PUBLISH, QoS 2, DUP",
                Mqtt311,
                Packet::Publish(Publish { qos: QoS::ExactlyOnce, dup: true, ..publish }),
                b"\x3c\x09\0\x03a/b\0\x0ahi",
            ),
            ("5.0 PUBLISH", Mqtt5, Packet::Publish(publish), b"\x32\x0a\0\x03a/b\0\x0a\0hi"),
            (
                "H13, 5.0 PUBLISH, identifiers",
                Mqtt5,
                Packet::Publish(Publish { properties: ids.as_properties(), ..publish }),
                b"\x32\x0f\0\x03a/b\0\x0a\x05\x0b\x07\x0b\xac\x02hi",
            ),
            (
                "5.0 PUBLISH, alias alone",
                Mqtt5,
                Packet::Publish(Publish { properties: alias.as_properties(), ..Publish::new("", b"hi") }),
                b"\x30\x08\0\0\x03\x23\0\x03hi",
            ),
            ("3.1.1 PUBACK", Mqtt311, Packet::PubAck(ack), b"\x40\x02\x01\x02"),
            ("5.0 PUBACK, success", Mqtt5, Packet::PubAck(ack), b"\x40\x02\x01\x02"),
            ("5.0 PUBACK, reason", Mqtt5, Packet::PubAck(refused), b"\x40\x03\x01\x02\x97"),
            ("3.1.1 PUBREC", Mqtt311, Packet::PubRec(ack), b"\x50\x02\x01\x02"),
            (
                "5.0 PUBREC, success with properties",
                Mqtt5,
                Packet::PubRec(Ack { properties: user, ..ack }),
                b"\x50\x0b\x01\x02\0\x07\x26\0\x01k\0\x01v",
            ),
            ("3.1.1 PUBREL", Mqtt311, Packet::PubRel(ack), b"\x62\x02\x01\x02"),
            ("5.0 PUBREL", Mqtt5, Packet::PubRel(lost), b"\x62\x0b\x01\x02\x92\x07\x26\0\x01k\0\x01v"),
            ("3.1.1 PUBCOMP", Mqtt311, Packet::PubComp(ack), b"\x70\x02\x01\x02"),
            ("5.0 PUBCOMP", Mqtt5, Packet::PubComp(lost), b"\x70\x0b\x01\x02\x92\x07\x26\0\x01k\0\x01v"),
            (
                "3.1.1 SUBSCRIBE",
                Mqtt311,
                Packet::Subscribe(Subscribe { id: id(1), subscriptions: (&old).into(), properties: none }),
                b"\x82\x08\0\x01\0\x03a/+\x01",
            ),
            (
                "5.0 SUBSCRIBE",
                Mqtt5,
                Packet::Subscribe(Subscribe { id: id(1), subscriptions: (&lines).into(), properties: user }),
                b"\x82\x14\0\x01\x07\x26\0\x01k\0\x01v\0\x03a/+\x01\0\x01#\x2a",
            ),
            (
                "5.0 SUBSCRIBE, no local",
                Mqtt5,
                Packet::Subscribe(Subscribe { id: id(1), subscriptions: (&no_local).into(), properties: none }),
                b"\x82\x09\0\x01\0\0\x03a/+\x05",
            ),
            (
                "H5, 3.1.1 SUBACK",
                Mqtt311,
                Packet::SubAck(SubAck { id: id(1), reasons: (&old_codes).into(), properties: none }),
                b"\x90\x05\0\x01\0\x02\x80",
            ),
            (
                "H5, 5.0 SUBACK",
                Mqtt5,
                Packet::SubAck(SubAck { id: id(1), reasons: (&codes).into(), properties: user }),
                b"\x90\x0c\0\x01\x07\x26\0\x01k\0\x01v\0\x87",
            ),
            (
                "3.1.1 UNSUBSCRIBE",
                Mqtt311,
                Packet::Unsubscribe(Unsubscribe { id: id(1), filters: (&["a", "+/b"]).into(), properties: none }),
                b"\xa2\x0a\0\x01\0\x01a\0\x03+/b",
            ),
            (
                "5.0 UNSUBSCRIBE",
                Mqtt5,
                Packet::Unsubscribe(Unsubscribe { id: id(1), filters: (&["a"]).into(), properties: none }),
                b"\xa2\x06\0\x01\0\0\x01a",
            ),
            (
                "H5, 3.1.1 UNSUBACK",
                Mqtt311,
                Packet::UnsubAck(UnsubAck { id: id(1), reasons: List::default(), properties: none }),
                b"\xb0\x02\0\x01",
            ),
            (
                "H5, 5.0 UNSUBACK",
                Mqtt5,
                Packet::UnsubAck(UnsubAck { id: id(1), reasons: (&unsubscribed).into(), properties: none }),
                b"\xb0\x05\0\x01\0\0\x11",
            ),
            ("PINGREQ", Mqtt311, Packet::PingReq, b"\xc0\0"),
            ("PINGRESP", Mqtt5, Packet::PingResp, b"\xd0\0"),
            ("3.1.1 DISCONNECT", Mqtt311, Packet::Disconnect(Disconnect::new(ok)), b"\xe0\0"),
            ("5.0 DISCONNECT, normal", Mqtt5, Packet::Disconnect(Disconnect::new(ok)), b"\xe0\0"),
            (
                "5.0 DISCONNECT, reason",
                Mqtt5,
                Packet::Disconnect(Disconnect::new(ReasonCode::ServerShuttingDown)),
                b"\xe0\x01\x8b",
            ),
            (
                "5.0 DISCONNECT, properties",
                Mqtt5,
                Packet::Disconnect(Disconnect { reason: ok, properties: expiry.as_properties() }),
                b"\xe0\x07\0\x05\x11\0\0\0\x0a",
            ),
            ("AUTH, bare", Mqtt5, Packet::Auth(Auth { reason: ok, properties: none }), b"\xf0\0"),
            (
                "AUTH",
                Mqtt5,
                Packet::Auth(Auth { reason: ReasonCode::ContinueAuthentication, properties: method.as_properties() }),
                b"\xf0\x0a\x18\x08\x15\0\x01m\x16\0\x01\x01",
            ),
        ];
        for (name, version, packet, bytes) in table {
            let mut out = b"before".to_vec();
            assert_eq!(encode(packet, *version, &mut out), Ok(bytes.len()), "{name}");
            assert_eq!(&out[6..], *bytes, "{name}");
            assert_eq!(encoded_len(packet, *version), Ok(bytes.len()), "{name}");
            let followed = [bytes, &b"\x30"[..]].concat();
            assert_eq!(decode(&followed, *version, &LIMITS), Ok(Some((*packet, bytes.len()))), "{name}");
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut], *version, &LIMITS), Ok(None), "{name}, {cut} bytes of it");
            }
        }
    }

    /// What one value says in a version that has no place for all of it.
    #[test]
    fn what_a_version_lacks_is_left_out() {
        let user = buf(&[Property::UserProperty(("k", "v"))]);
        let properties = user.as_properties();
        let table: &[(&str, Version, Packet<'_>, &[u8])] = &[
            ("PUBLISH", Mqtt311, Packet::Publish(Publish { properties, ..Publish::new("a", b"") }), b"\x30\x03\0\x01a"),
            (
                "PUBREC",
                Mqtt31,
                Packet::PubRec(Ack { id: id(1), reason: ReasonCode::QuotaExceeded, properties }),
                b"\x50\x02\0\x01",
            ),
            (
                "SUBACK",
                Mqtt311,
                Packet::SubAck(SubAck { id: id(1), reasons: (&[ReasonCode::NotAuthorized]).into(), properties }),
                b"\x90\x03\0\x01\x80",
            ),
            (
                "UNSUBACK",
                Mqtt311,
                Packet::UnsubAck(UnsubAck { id: id(1), reasons: (&[ReasonCode::Success]).into(), properties }),
                b"\xb0\x02\0\x01",
            ),
            (
                "DISCONNECT",
                Mqtt311,
                Packet::Disconnect(Disconnect { reason: ReasonCode::DisconnectWithWill, properties }),
                b"\xe0\0",
            ),
            (
                "CONNACK",
                Mqtt311,
                Packet::ConnAck(ConnAck { properties, ..ConnAck::new(ReasonCode::Banned) }),
                b"\x20\x02\0\x05",
            ),
            (
                "3.1 CONNACK",
                Mqtt31,
                Packet::ConnAck(ConnAck { session_present: true, ..ConnAck::new(ReasonCode::Success) }),
                b"\x20\x02\0\0",
            ),
        ];
        for (name, version, packet, bytes) in table {
            let mut out = Vec::new();
            assert_eq!(encode(packet, *version, &mut out), Ok(bytes.len()), "{name}");
            assert_eq!(&out, bytes, "{name}");
        }
    }

    /// H12, and the rest of what the standard forbids.
    #[test]
    fn what_is_wrong_is_named() {
        use DecodeError as E;
        let wildcard = E::BadTopic(TopicError::Wildcard);
        let table: &[(&str, Version, &[u8], DecodeError)] = &[
            ("H12: type 0", Mqtt311, b"\0", E::UnknownType(0)),
            ("H12: type 0, with a body", Mqtt5, b"\x0f\x01\0", E::UnknownType(0x0f)),
            ("AUTH before 5.0", Mqtt311, b"\xf0", E::UnknownType(0xf0)),
            ("H12, MQTT-1.5.5: a length of five bytes", Mqtt311, b"\x30\xff\xff\xff\xff\x01", E::BadLength),
            ("MQTT-1.5.5: seen at the fourth", Mqtt311, b"\x30\xff\xff\xff\xff", E::BadLength),
            ("MQTT-2.1.3-1: CONNECT", Mqtt311, b"\x11", E::BadFlags(1)),
            ("MQTT-2.1.3-1: PUBACK", Mqtt311, b"\x42", E::BadFlags(2)),
            ("MQTT-3.6.1-1: PUBREL", Mqtt311, b"\x60", E::BadFlags(0)),
            ("MQTT-3.8.1-1: SUBSCRIBE", Mqtt5, b"\x80", E::BadFlags(0)),
            ("MQTT-3.8.1-1: SUBSCRIBE, DUP", Mqtt311, b"\x8a", E::BadFlags(0x0a)),
            ("MQTT-3.10.1-1: UNSUBSCRIBE", Mqtt5, b"\xa3", E::BadFlags(3)),
            ("MQTT-3.14.1-1: DISCONNECT", Mqtt311, b"\xe1", E::BadFlags(1)),
            ("MQTT-3.15.1-1: AUTH", Mqtt5, b"\xf1", E::BadFlags(1)),
            ("H12, MQTT-3.3.1-4: QoS 3", Mqtt311, b"\x36", E::BadQoS),
            ("MQTT-3.3.1-2: DUP at QoS 0", Mqtt311, b"\x38", E::DupAtQoS0),
            ("H12, MQTT-3.3.2-2: wildcard topic", Mqtt311, b"\x30\x03\0\x01#", wildcard),
            ("H12, MQTT-3.3.2-2: + in a topic", Mqtt5, b"\x30\x06\0\x03a/+\0", wildcard),
            ("H12, MQTT-4.7.3-1: no topic", Mqtt311, b"\x30\x02\0\0", E::BadTopic(TopicError::Empty)),
            ("section 3.3.2.1: neither topic nor alias", Mqtt5, b"\x30\x03\0\0\0", E::TopicMissing),
            ("H12, MQTT-1.5.4-2: NUL in a topic", Mqtt311, b"\x30\x03\0\x01\0", E::NulInText),
            ("MQTT-1.5.4-1: a topic that is not UTF-8", Mqtt311, b"\x30\x03\0\x01\xff", E::BadUtf8),
            ("MQTT-1.5.4-1: a surrogate", Mqtt311, b"\x30\x05\0\x03\xed\xa0\x80", E::BadUtf8),
            ("a topic longer than the packet", Mqtt311, b"\x30\x03\0\x05a", E::Truncated),
            ("PUBLISH without anything", Mqtt311, b"\x30\0", E::Truncated),
            ("H12, MQTT-2.2.1-3: id 0", Mqtt311, b"\x32\x05\0\x01a\0\0", E::PacketIdZero),
            ("PUBLISH without its id", Mqtt311, b"\x32\x04\0\x01a\0", E::Truncated),
            ("5.0 PUBLISH without its properties", Mqtt5, b"\x30\x03\0\x01a", E::Truncated),
            ("5.0 PUBLISH, properties too long", Mqtt5, b"\x30\x05\0\x01a\x05\x01", E::Truncated),
            ("MQTT-2.2.1-3: PUBACK 0", Mqtt5, b"\x40\x02\0\0", E::PacketIdZero),
            ("PUBACK of one byte", Mqtt311, b"\x40\x01\0", E::Truncated),
            ("3.1.1 PUBACK with a reason", Mqtt311, b"\x40\x03\0\x01\0", E::TrailingBytes),
            ("PUBACK with a tail", Mqtt5, b"\x40\x05\0\x01\0\0\0", E::TrailingBytes),
            ("MQTT-3.4.2-1: not of PUBACK", Mqtt5, b"\x40\x03\0\x01\x92", E::BadReason(0x92)),
            ("MQTT-3.5.2-1: unknown", Mqtt5, b"\x50\x03\0\x01\x03", E::BadReason(3)),
            ("MQTT-3.6.2-1: not of PUBREL", Mqtt5, b"\x62\x03\0\x01\x80", E::BadReason(0x80)),
            ("MQTT-3.7.2-1: not of PUBCOMP", Mqtt5, b"\x70\x03\0\x01\x10", E::BadReason(0x10)),
            ("MQTT-3.8.3-2: SUBSCRIBE to nothing", Mqtt311, b"\x82\x02\0\x01", E::NoFilters),
            ("MQTT-3.8.3-2: 5.0", Mqtt5, b"\x82\x03\0\x01\0", E::NoFilters),
            ("MQTT-2.2.1-3: SUBSCRIBE 0", Mqtt311, b"\x82\x06\0\0\0\x01a\0", E::PacketIdZero),
            ("SUBSCRIBE without options", Mqtt311, b"\x82\x05\0\x01\0\x01a", E::Truncated),
            ("MQTT-4.7.1-1", Mqtt311, b"\x82\x09\0\x01\0\x04a/b#\0", E::BadFilter(TopicError::Wildcard)),
            ("MQTT-4.7.3-1: an empty filter", Mqtt311, b"\x82\x05\0\x01\0\0\0", E::BadFilter(TopicError::Empty)),
            ("MQTT-1.5.4-2: NUL in a filter", Mqtt311, b"\x82\x06\0\x01\0\x01\0\0", E::NulInText),
            ("MQTT-3.8.3-5, 3.1.1", Mqtt311, b"\x82\x06\0\x01\0\x01a\x04", E::BadSubscribeOptions),
            ("MQTT-3.8.3-5, 5.0", Mqtt5, b"\x82\x07\0\x01\0\0\x01a\x40", E::BadSubscribeOptions),
            ("3.8.3.1: QoS 3", Mqtt311, b"\x82\x06\0\x01\0\x01a\x03", E::BadSubscribeValue),
            ("3.8.3.1: retain handling 3", Mqtt5, b"\x82\x07\0\x01\0\0\x01a\x30", E::BadSubscribeValue),
            ("MQTT-3.8.3-4: no local, shared", Mqtt5, b"\x82\x10\0\x01\0\0\x0a$share/g/a\x04", E::NoLocalShared),
            ("MQTT-4.8.2-2", Mqtt5, b"\x82\x0e\0\x01\0\0\x08$share/g\0", E::BadFilter(TopicError::Share)),
            ("SUBACK without codes", Mqtt311, b"\x90\x02\0\x01", E::NoReasons),
            ("3.1.1 SUBACK, a code of 5.0", Mqtt311, b"\x90\x03\0\x01\x87", E::BadReason(0x87)),
            ("MQTT-3.9.3-2", Mqtt5, b"\x90\x04\0\x01\0\x03", E::BadReason(3)),
            ("MQTT-3.10.3-2: UNSUBSCRIBE of nothing", Mqtt311, b"\xa2\x02\0\x01", E::NoFilters),
            ("UNSUBSCRIBE, bad filter", Mqtt311, b"\xa2\x06\0\x01\0\x02#a", E::BadFilter(TopicError::Wildcard)),
            ("3.1.1 UNSUBACK with a code", Mqtt311, b"\xb0\x03\0\x01\0", E::TrailingBytes),
            ("5.0 UNSUBACK without codes", Mqtt5, b"\xb0\x03\0\x01\0", E::NoReasons),
            ("MQTT-3.11.3-2", Mqtt5, b"\xb0\x04\0\x01\0\x01", E::BadReason(1)),
            ("PINGREQ with a body", Mqtt311, b"\xc0\x01\0", E::TrailingBytes),
            ("PINGRESP with a body", Mqtt5, b"\xd0\x01\0", E::TrailingBytes),
            ("3.1.1 DISCONNECT with a body", Mqtt311, b"\xe0\x01\0", E::TrailingBytes),
            ("MQTT-3.14.2-1", Mqtt5, b"\xe0\x01\x84", E::BadReason(0x84)),
            ("MQTT-3.15.2-1", Mqtt5, b"\xf0\x01\x80", E::BadReason(0x80)),
            ("section 3.15.2.2.2", Mqtt5, b"\xf0\x01\x18", E::PropertyMissing(PropertyId::AuthenticationMethod)),
            ("MQTT-3.2.2-1", Mqtt311, b"\x20\x02\x02\0", E::BadConnAckFlags),
            ("MQTT-3.2.2-6", Mqtt5, b"\x20\x03\x01\x87\0", E::BadConnAckFlags),
            ("3.1.1 CONNACK 6", Mqtt311, b"\x20\x02\0\x06", E::BadReason(6)),
            ("MQTT-3.2.2-8", Mqtt5, b"\x20\x03\0\x01\0", E::BadReason(1)),
            ("CONNACK cut", Mqtt311, b"\x20\x01\0", E::Truncated),
            ("MQTT-3.1.2-1", Mqtt311, b"\x10\x0c\0\x04mqtt\x04\x02\0\0\0\0", E::BadProtocolName),
            ("MQTT-3.1.2-2: level 6", Mqtt311, b"\x10\x0c\0\x04MQTT\x06\x02\0\0\0\0", E::UnsupportedLevel(6)),
            ("MQTT-3.1.2-2: level 3", Mqtt311, b"\x10\x0c\0\x04MQTT\x03\x02\0\0\0\0", E::UnsupportedLevel(3)),
            ("MQTT-3.1.2-2: MQIsdp 4", Mqtt311, b"\x10\x0e\0\x06MQIsdp\x04\x02\0\0\0\0", E::UnsupportedLevel(4)),
            ("MQTT-3.1.2-3", Mqtt311, b"\x10\x0c\0\x04MQTT\x04\x03\0\0\0\0", E::BadConnectFlags),
            ("MQTT-3.1.2-11", Mqtt311, b"\x10\x0c\0\x04MQTT\x04\x0a\0\0\0\0", E::BadConnectFlags),
            ("MQTT-3.1.2-12", Mqtt311, b"\x10\x12\0\x04MQTT\x04\x1e\0\0\0\0\0\x01w\0\x01m", E::BadConnectFlags),
            ("MQTT-3.1.2-13", Mqtt5, b"\x10\x0d\0\x04MQTT\x05\x22\0\0\0\0\0", E::BadConnectFlags),
            ("3.1.1 MQTT-3.1.2-22", Mqtt311, b"\x10\x0f\0\x04MQTT\x04\x42\0\0\0\0\0\x01p", E::PasswordWithoutUsername),
            ("3.1.1 MQTT-3.1.3-8", Mqtt311, b"\x10\x0c\0\x04MQTT\x04\0\0\0\0\0", E::ClientIdMissing),
            ("3.1: nobody", Mqtt31, b"\x10\x0e\0\x06MQIsdp\x03\x02\0\0\0\0", E::ClientIdMissing),
            ("wildcard will", Mqtt311, b"\x10\x12\0\x04MQTT\x04\x06\0\0\0\0\0\x01#\0\x01m", wildcard),
            ("CONNECT without its user name", Mqtt311, b"\x10\x0c\0\x04MQTT\x04\x82\0\0\0\0", E::Truncated),
            ("CONNECT with a tail", Mqtt311, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\0x", E::TrailingBytes),
            ("NUL in a client identifier", Mqtt311, b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01\0", E::NulInText),
            (
                "section 3.1.2.11.10",
                Mqtt5,
                b"\x10\x11\0\x04MQTT\x05\x02\0\0\x04\x16\0\x01x\0\0",
                E::PropertyMissing(PropertyId::AuthenticationMethod),
            ),
        ];
        for (name, version, bytes, expected) in table {
            assert_eq!(decode(bytes, *version, &LIMITS), Err(*expected), "{name}");
        }
    }

    #[test]
    fn what_is_legal_but_odd_is_taken() {
        let lines = [Subscription::new("a", QoS::AtMostOnce)];
        let subscribe = Packet::Subscribe(Subscribe {
            id: id(1),
            subscriptions: (&lines).into(),
            properties: Properties::default(),
        });
        let table: &[(&str, Version, &[u8], Packet<'_>)] = &[
            ("a length longer than need be", Mqtt5, b"\xc0\x80\x80\x00", Packet::PingReq),
            (
                "a long length in the properties",
                Mqtt5,
                b"\x30\x05\0\x01a\x80\0",
                Packet::Publish(Publish::new("a", b"")),
            ),
            ("a reason of success, said", Mqtt5, b"\x40\x03\0\x01\0", Packet::PubAck(Ack::new(id(1)))),
            ("... and no properties, said", Mqtt5, b"\x40\x04\0\x01\0\0", Packet::PubAck(Ack::new(id(1)))),
            ("3.1: SUBSCRIBE again", Mqtt31, b"\x8a\x06\0\x01\0\x01a\0", subscribe),
            ("3.1: PUBREL again", Mqtt31, b"\x6a\x02\0\x01", Packet::PubRel(Ack::new(id(1)))),
            (
                "MQTT-1.5.4-3: BOM",
                Mqtt311,
                b"\x30\x05\0\x03\xef\xbb\xbf",
                Packet::Publish(Publish::new("\u{feff}", b"")),
            ),
            (
                "DISCONNECT, nothing said at length",
                Mqtt5,
                b"\xe0\x02\0\0",
                Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
            ),
        ];
        for (name, version, bytes, packet) in table {
            assert_eq!(decode(bytes, *version, &LIMITS), Ok(Some((*packet, bytes.len()))), "{name}");
        }
        // 3.1 does not say what bit 0 of the flags is.
        assert!(decode(b"\x10\x0f\0\x06MQIsdp\x03\x03\0\x3c\0\x01c", Mqtt31, &LIMITS).is_ok());
    }

    #[test]
    fn a_packet_over_the_limit_is_refused_by_its_header() {
        let limits = DecodeLimits { packet_max: 200 };
        for (name, header, expected) in [
            ("the limit", &b"\x30\xc5\x01"[..], Ok(None)),
            ("one more", b"\x30\xc6\x01", Err(DecodeError::PacketTooLarge)),
            ("the longest there is", b"\x30\xff\xff\xff\x7f", Err(DecodeError::PacketTooLarge)),
            ("a length that goes on", b"\x30\xff", Ok(None)),
        ] {
            assert_eq!(decode(header, Mqtt311, &limits), expected, "{name}");
        }
        assert_eq!(DecodeError::PacketTooLarge.reason_code(), ReasonCode::PacketTooLarge);
    }

    /// Each byte that a topic cannot have, and a letter of two bytes, at each place of topics around one, two and three words.
    #[test]
    fn a_topic_is_judged_alike_wherever_a_byte_stands() {
        let wildcard = Err(DecodeError::BadTopic(TopicError::Wildcard));
        let table: &[(&str, &[u8], Result<(), DecodeError>)] = &[
            ("a letter", b"b", Ok(())),
            ("the last of ASCII", b"\x7f", Ok(())),
            ("a letter of two bytes", "\u{a3}".as_bytes(), Ok(())),
            ("the bytes of # and + with their high bits", "\u{2ab}".as_bytes(), Ok(())),
            ("MQTT-1.5.4-2: NUL", b"\0", Err(DecodeError::NulInText)),
            ("MQTT-3.3.2-2: +", b"+", wildcard),
            ("MQTT-3.3.2-2: #", b"#", wildcard),
            ("MQTT-1.5.4-1: half a letter", b"\xc3", Err(DecodeError::BadUtf8)),
            ("MQTT-1.5.4-1: the other half", b"\xa3", Err(DecodeError::BadUtf8)),
            ("MQTT-1.5.4-1: a byte that is none of UTF-8", b"\xff", Err(DecodeError::BadUtf8)),
        ];
        for (name, bytes, expected) in table {
            for (before, after) in (0..26).flat_map(|before| (0..26).map(move |after| (before, after))) {
                let topic = [&vec![b'a'; before], *bytes, &vec![b'a'; after]].concat();
                for (version, properties) in [(Mqtt311, &b""[..]), (Mqtt5, b"\0")] {
                    let len = 2 + topic.len() + properties.len() + 1;
                    // Behind it is what would be wrong in it.
                    let head = [0x30, len as u8, 0, topic.len() as u8];
                    let packet = [&head, &topic[..], properties, b"\0+#\xff"].concat();
                    let found = decode(&packet, version, &LIMITS).map(|found| match found {
                        Some((Packet::Publish(publish), used)) => {
                            assert_eq!((publish.topic.as_bytes(), publish.payload), (&topic[..], &b"\0"[..]), "{name}");
                            assert_eq!(used, packet.len() - 3, "{name}");
                        }
                        other => panic!("{name}: {other:?}"),
                    });
                    assert_eq!(found, *expected, "{name}, {before} before it and {after} after it");
                }
            }
        }
    }

    #[test]
    fn the_peer_is_told_why() {
        use ReasonCode as R;
        let table = [
            (DecodeError::TrailingBytes, R::MalformedPacket),
            (DecodeError::BadQoS, R::MalformedPacket),
            (DecodeError::PropertyNotAllowed(PropertyId::TopicAlias), R::MalformedPacket),
            (DecodeError::PropertyRepeated(PropertyId::TopicAlias), R::ProtocolError),
            (DecodeError::PropertyValue(PropertyId::ReceiveMaximum), R::ProtocolError),
            (DecodeError::PropertyValue(PropertyId::TopicAlias), R::TopicAliasInvalid),
            (DecodeError::PacketIdZero, R::ProtocolError),
            (DecodeError::BadTopic(TopicError::TooDeep), R::TopicNameInvalid),
            (DecodeError::BadFilter(TopicError::TooDeep), R::TopicFilterInvalid),
            (DecodeError::UnsupportedLevel(9), R::UnsupportedProtocolVersion),
            (DecodeError::ClientIdMissing, R::ClientIdentifierNotValid),
        ];
        for (error, reason) in table {
            assert_eq!(error.reason_code(), reason, "{error}");
        }
        // The exact answer to a level that is not ours, in the form its client reads.
        let five = decode(DecodeError::UnsupportedLevel(6).connack().unwrap(), Mqtt5, &LIMITS);
        assert_eq!(five, Ok(Some((Packet::ConnAck(ConnAck::new(R::UnsupportedProtocolVersion)), 5))));
        for level in [0, 2, 0x84] {
            let four = decode(DecodeError::UnsupportedLevel(level).connack().unwrap(), Mqtt311, &LIMITS);
            assert_eq!(four, Ok(Some((Packet::ConnAck(ConnAck::new(R::UnsupportedProtocolVersion)), 4))), "{level}");
        }
        assert_eq!(DecodeError::BadUtf8.connack(), None);
    }

    #[test]
    fn the_version_of_a_bad_connect_can_be_told() {
        assert_eq!(connect_version(b"\x10\x0d\0\x04MQTT\x05\x03"), Some(Mqtt5));
        assert_eq!(connect_version(b"\x10\x0d\0\x06MQIsdp\x03"), Some(Mqtt31));
        assert_eq!(connect_version(b"\x10\x0d\0\x04MQTT"), None);
        assert_eq!(connect_version(b"\x10\x0d\0\x04MQTT\x06"), None);
        assert_eq!(connect_version(b"\x30\x0d\0\x04MQTT\x05"), None);
    }

    #[test]
    fn a_password_is_not_printed() {
        let connect = Connect { username: Some("u"), password: Some(b"secret"), ..Connect::new(Mqtt5, "c") };
        let text = format!("{connect:?}");
        assert!(text.contains("password: Some(..)") && !text.contains("115"), "{text}");
    }

    #[cfg(feature = "broker")]
    proptest::proptest! {
        /// With one byte of the second packet changed, or none.
        #[test]
        fn a_message_like_the_one_before_is_what_decoding_it_says(
            is_5 in proptest::bool::ANY,
            qos in 0..3u8,
            payload in "[ab]{0,3}",
            change in proptest::option::of((0..20usize, proptest::prelude::any::<u8>())),
        ) {
            let version = if is_5 { Mqtt5 } else { Mqtt311 };
            let qos = QoS::from_u8(qos).unwrap();
            let properties = buf(&[Property::ContentType("t")]);
            let [first, mut next] = [1, 258].map(|number| {
                let id = (qos != QoS::AtMostOnce).then_some(id(number));
                let text = payload.replace('a', if number == 1 { "x" } else { "y" });
                let properties = properties.as_properties();
                let publish = Publish { qos, id, properties, ..Publish::new("a/b", text.as_bytes()) };
                let mut out = Vec::new();
                encode(&Packet::Publish(publish), version, &mut out).unwrap();
                out
            });
            if let Some((at, byte)) = change
                && let Some(place) = next.get_mut(at)
            {
                *place = byte;
            }
            next.extend_from_slice(&first);
            let Ok(Some((Packet::Publish(publish), len))) = decode(&first, version, &LIMITS) else { panic!("a message") };
            match decode_like(publish, &first[..len], &next) {
                Some((publish, len)) => {
                    proptest::prop_assert_eq!(decode(&next, version, &LIMITS), Ok(Some((Packet::Publish(publish), len))));
                }
                None => proptest::prop_assert!(change.is_some()),
            }
        }
    }
}

//! Packets of all kinds and versions, as the bytes that the codec makes of them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vansire::mqtt::{
    Ack, Auth, ConnAck, Connect, DecodeLimits, Disconnect, List, Packet, PacketId, PacketType, Properties, Property,
    PropertyBuf, Publish, QoS, ReasonCode, RetainHandling, SubAck, Subscribe, Subscription, SubscriptionId, UnsubAck,
    Unsubscribe, Version, Will, decode, encode,
};

pub(crate) const LIMITS: DecodeLimits = DecodeLimits { packet_max: 1024 * 1024 };

/// A packet on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) version: Version,
    pub(crate) packet_type: PacketType,
    pub(crate) bytes: Vec<u8>,
}

impl Wire {
    pub(crate) fn packet(&self) -> Packet<'_> {
        let (packet, used) = decode(&self.bytes, self.version, &LIMITS).unwrap().unwrap();
        assert_eq!(used, self.bytes.len());
        packet
    }
}

pub(crate) fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::Mqtt31), Just(Version::Mqtt311), Just(Version::Mqtt5)]
}

/// Any packet of any version.
pub(crate) fn any_wire() -> impl Strategy<Value = Wire> {
    version().prop_flat_map(wire)
}

/// Any packet of this version.
pub(crate) fn wire(version: Version) -> impl Strategy<Value = Wire> {
    (0u8..15, any::<prop::sample::Index>(), pieces()).prop_map(move |(kind, index, pieces)| {
        let packet_type = PacketType::from_first_byte((kind + 1) << 4).unwrap();
        let packet_type = if packet_type == PacketType::Auth && version != Version::Mqtt5 {
            PacketType::PingReq
        } else {
            packet_type
        };
        pieces.wire(version, packet_type, index)
    })
}

/// What packets are made of.
#[derive(Debug, Clone)]
struct Pieces {
    flags: [bool; 4],
    qos: QoS,
    id: PacketId,
    number: u16,
    texts: [String; 3],
    username: Option<String>,
    data: Vec<u8>,
    password: Option<Vec<u8>>,
    topic: String,
    filters: Vec<(String, QoS, bool, bool, RetainHandling)>,
    properties: Vec<Piece>,
    will_properties: Vec<Piece>,
    reasons: Vec<prop::sample::Index>,
}

fn pieces() -> impl Strategy<Value = Pieces> {
    let texts = [text(), text(), text()];
    let small = (any::<[bool; 4]>(), qos(), id(), any::<u16>(), texts);
    let login = (option::of(text()), vec(any::<u8>(), 0..200), option::of(vec(any::<u8>(), 0..20)), topic());
    let lists = (vec(filter(), 1..6), vec(piece(), 0..8), vec(piece(), 0..4), vec(any::<prop::sample::Index>(), 1..6));
    (small, login, lists).prop_map(
        |(
            (flags, qos, id, number, texts),
            (username, data, password, topic),
            (filters, properties, will_properties, reasons),
        )| Pieces {
            flags,
            qos,
            id,
            number,
            texts,
            username,
            data,
            password,
            topic,
            filters,
            properties,
            will_properties,
            reasons,
        },
    )
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z]{0,12}", 1 => "[^\0]{0,30}", 1 => Just("\u{feff}\u{10ffff}\n".to_owned())]
}

pub(crate) fn topic() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-c$/]{1,12}", 1 => "[^\0+#]{1,80}"]
}

fn filter() -> impl Strategy<Value = (String, QoS, bool, bool, RetainHandling)> {
    let level = prop_oneof![2 => "[^\0+#/$]{0,6}", 1 => Just("+".to_owned())];
    let text =
        (option::weighted(0.3, "[a-z]{1,5}"), vec(level, 1..5), any::<bool>()).prop_map(|(group, levels, hash)| {
            let group = group.map_or(String::new(), |group| format!("$share/{group}/"));
            let levels = levels.join("/") + if hash { "/#" } else { "" };
            format!("{group}{}", if levels.is_empty() { "x" } else { &levels })
        });
    let handling =
        prop_oneof![Just(RetainHandling::Send), Just(RetainHandling::SendIfNew), Just(RetainHandling::DontSend)];
    (text, qos(), any::<bool>(), any::<bool>(), handling)
}

pub(crate) fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

/// A property, owned: its number, and values to choose from.
#[derive(Debug, Clone)]
struct Piece {
    which: u8,
    number: u32,
    text: String,
    topic: String,
    data: Vec<u8>,
}

fn piece() -> impl Strategy<Value = Piece> {
    let number = prop_oneof![any::<u32>(), 0u32..300];
    (1u8..0x2b, number, text(), topic(), vec(any::<u8>(), 0..20)).prop_map(|(which, number, text, topic, data)| Piece {
        which,
        number,
        text,
        topic,
        data,
    })
}

impl Piece {
    fn property(&self) -> Option<Property<'_>> {
        let Self { number, text, topic, data, .. } = self;
        let flag = number & 1 == 1;
        let id = PacketId::new(*number as u16 | 1)?;
        Some(match self.which {
            0x01 => Property::PayloadFormatIndicator(flag),
            0x02 => Property::MessageExpiryInterval(*number),
            0x03 => Property::ContentType(text),
            0x08 => Property::ResponseTopic(topic),
            0x09 => Property::CorrelationData(data),
            0x0b => Property::SubscriptionIdentifier(SubscriptionId::new(number & 0xfff_ffff | 1)?),
            0x11 => Property::SessionExpiryInterval(*number),
            0x12 => Property::AssignedClientIdentifier(text),
            0x13 => Property::ServerKeepAlive(*number as u16),
            0x15 => Property::AuthenticationMethod(text),
            0x16 => Property::AuthenticationData(data),
            0x17 => Property::RequestProblemInformation(flag),
            0x18 => Property::WillDelayInterval(*number),
            0x19 => Property::RequestResponseInformation(flag),
            0x1a => Property::ResponseInformation(text),
            0x1c => Property::ServerReference(text),
            0x1f => Property::ReasonString(text),
            0x21 => Property::ReceiveMaximum(id),
            0x22 => Property::TopicAliasMaximum(*number as u16),
            0x23 => Property::TopicAlias(id),
            0x24 => Property::MaximumQoS(if flag { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            0x25 => Property::RetainAvailable(flag),
            0x26 => Property::UserProperty((text, topic)),
            0x27 => Property::MaximumPacketSize((number | 1).try_into().ok()?),
            0x28 => Property::WildcardSubscriptionAvailable(flag),
            0x29 => Property::SubscriptionIdentifierAvailable(flag),
            0x2a => Property::SharedSubscriptionAvailable(flag),
            _ => return None,
        })
    }
}

/// Those of the pieces that may stand there, as the encoder itself judges.
fn fitting(mut chosen: PropertyBuf, pieces: &[Piece], fits: impl Fn(&PropertyBuf) -> bool) -> PropertyBuf {
    for property in pieces.iter().filter_map(Piece::property) {
        let mut more = chosen.clone();
        if more.push(property).is_ok() && fits(&more) {
            chosen = more;
        }
    }
    chosen
}

impl Pieces {
    fn wire(&self, version: Version, packet_type: PacketType, index: prop::sample::Index) -> Wire {
        let encode = |properties: &PropertyBuf, will: &PropertyBuf| {
            let mut bytes = Vec::new();
            let (properties, will) = (properties.as_properties(), will.as_properties());
            self.encode(version, packet_type, index, properties, will, &mut bytes).then_some(bytes)
        };
        let none = PropertyBuf::new();
        let mut base = PropertyBuf::new();
        if packet_type == PacketType::Auth {
            base.push(Property::AuthenticationMethod(&self.texts[0])).unwrap();
        }
        let five = version == Version::Mqtt5;
        let (properties, will): (&[_], &[_]) =
            if five { (&self.properties, &self.will_properties) } else { (&[], &[]) };
        let properties = fitting(base, properties, |properties| encode(properties, &none).is_some());
        let will = fitting(PropertyBuf::new(), will, |will| encode(&properties, will).is_some());
        let bytes = encode(&properties, &will).unwrap_or_else(|| panic!("{packet_type:?} of {self:?}"));
        Wire { version, packet_type, bytes }
    }

    fn encode(
        &self,
        version: Version,
        packet_type: PacketType,
        index: prop::sample::Index,
        properties: Properties<'_>,
        will_properties: Properties<'_>,
        out: &mut Vec<u8>,
    ) -> bool {
        let five = version == Version::Mqtt5;
        let allowed = |packet_type: PacketType| -> Vec<ReasonCode> {
            let before_5 = |reason: &ReasonCode| match packet_type {
                PacketType::ConnAck => reason.connack_v3().and_then(ReasonCode::from_connack_v3) == Some(*reason),
                PacketType::SubAck => reason.suback_v3() == reason.to_u8(),
                _ => *reason == ReasonCode::Success,
            };
            (0..=u8::MAX)
                .filter_map(ReasonCode::from_u8)
                .filter(|reason| reason.is_allowed_in(packet_type) && (five || before_5(reason)))
                .collect()
        };
        let reasons = allowed(packet_type);
        let reason = if reasons.is_empty() { ReasonCode::Success } else { *index.get(&reasons) };
        let id = self.id;
        let ack = Ack { id, reason, properties };
        let [a, b, c, d] = self.flags;
        let packet = match packet_type {
            PacketType::Connect => {
                let nobody = five || version == Version::Mqtt311 && a;
                let client_id = if self.texts[0].is_empty() && !nobody { "c" } else { &self.texts[0] };
                let username = self.username.as_deref();
                let will = Will {
                    qos: self.qos,
                    retain: b,
                    properties: will_properties,
                    ..Will::new(&self.topic, &self.data)
                };
                Packet::Connect(Connect {
                    clean_start: a,
                    keep_alive: self.number,
                    will: c.then_some(will),
                    username,
                    password: self.password.as_deref().filter(|_| five || username.is_some()),
                    properties,
                    ..Connect::new(version, client_id)
                })
            }
            PacketType::ConnAck => {
                let session_present = a && reason == ReasonCode::Success && version != Version::Mqtt31;
                Packet::ConnAck(ConnAck { session_present, reason, properties })
            }
            PacketType::Publish => {
                let some = self.qos != QoS::AtMostOnce;
                let topic = if d && properties.topic_alias().is_some() { "" } else { &self.topic };
                Packet::Publish(Publish {
                    qos: self.qos,
                    retain: a,
                    dup: b && some,
                    id: some.then_some(id),
                    properties,
                    ..Publish::new(topic, &self.data)
                })
            }
            PacketType::PubAck => Packet::PubAck(ack),
            PacketType::PubRec => Packet::PubRec(ack),
            PacketType::PubRel => Packet::PubRel(ack),
            PacketType::PubComp => Packet::PubComp(ack),
            PacketType::Subscribe => {
                let lines: Vec<_> = self
                    .filters
                    .iter()
                    .map(|(filter, qos, no_local, retain_as_published, retain_handling)| {
                        let plain = Subscription::new(filter, *qos);
                        if !five {
                            return plain;
                        }
                        Subscription {
                            no_local: *no_local && !filter.starts_with("$share/"),
                            retain_as_published: *retain_as_published,
                            retain_handling: *retain_handling,
                            ..plain
                        }
                    })
                    .collect();
                let packet = Packet::Subscribe(Subscribe { id, subscriptions: lines.as_slice().into(), properties });
                return same(&packet, version, out);
            }
            PacketType::Unsubscribe => {
                let filters: Vec<_> = self.filters.iter().map(|(filter, ..)| filter.as_str()).collect();
                let packet = Packet::Unsubscribe(Unsubscribe { id, filters: filters.as_slice().into(), properties });
                return same(&packet, version, out);
            }
            PacketType::SubAck | PacketType::UnsubAck => {
                let allowed = allowed(packet_type);
                let reasons: Vec<_> = self.reasons.iter().map(|index| *index.get(&allowed)).collect();
                let reasons: List<'_, _> = reasons.as_slice().into();
                let packet = match packet_type {
                    PacketType::SubAck => Packet::SubAck(SubAck { id, reasons, properties }),
                    _ if five => Packet::UnsubAck(UnsubAck { id, reasons, properties }),
                    _ => Packet::UnsubAck(UnsubAck { id, reasons: List::default(), properties }),
                };
                return same(&packet, version, out);
            }
            PacketType::PingReq => Packet::PingReq,
            PacketType::PingResp => Packet::PingResp,
            PacketType::Disconnect => Packet::Disconnect(Disconnect { reason, properties }),
            PacketType::Auth => Packet::Auth(Auth { reason, properties }),
        };
        same(&packet, version, out)
    }
}

/// Encodes it, if it can be; then decoding gives the same packet.
fn same(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) -> bool {
    if encode(packet, version, out).is_err() {
        return false;
    }
    assert_eq!(decode(out, version, &LIMITS), Ok(Some((*packet, out.len()))));
    true
}

//! The known defects of mqttbytes 0.6.0: what it does, and that we do not.

use bytes::{Bytes, BytesMut};
use mqttbytes::{v4, v5};
use vansire::mqtt::topic::matches;
use vansire::mqtt::{
    DecodeError, DecodeLimits, Disconnect, EncodeError, Packet, PacketType, PropertyId, Publish, ReasonCode,
    TopicError, Version, decode, encode,
};

const MAX: usize = 1024 * 1024;

fn ours(bytes: &[u8], version: Version) -> Result<Packet<'_>, DecodeError> {
    decode(bytes, version, &DecodeLimits::default()).map(|packet| packet.expect("a whole packet").0)
}

fn theirs_v4(bytes: &[u8]) -> Result<v4::Packet, mqttbytes::Error> {
    v4::read(&mut BytesMut::from(bytes), MAX)
}

fn theirs_v5(bytes: &[u8]) -> Result<v5::Packet, mqttbytes::Error> {
    v5::read(&mut BytesMut::from(bytes), MAX)
}

/// A topic that begins with a letter of two bytes ends a broker that matches with it.
#[test]
fn matching_a_topic_that_is_not_ascii_does_not_panic() {
    assert!(std::panic::catch_unwind(|| mqttbytes::matches("é/a", "#")).is_err());
    assert!(matches("#", "é/a") && matches("+/a", "é/a") && !matches("+", "é/a"));
}

#[test]
fn the_two_byte_disconnect_of_5_0_is_read() {
    assert!(theirs_v5(b"\xe0\0").is_err());
    assert_eq!(ours(b"\xe0\0", Version::Mqtt5), Ok(Packet::Disconnect(Disconnect::new(ReasonCode::Success))));
}

/// It asks for more bytes than the packet has, and has taken it off the buffer by then.
#[test]
fn a_disconnect_without_properties_is_complete() {
    assert!(matches!(theirs_v5(b"\xe0\x01\x8b"), Err(mqttbytes::Error::InsufficientBytes(_))));
    let expected = Packet::Disconnect(Disconnect::new(ReasonCode::ServerShuttingDown));
    assert_eq!(ours(b"\xe0\x01\x8b", Version::Mqtt5), Ok(expected));
}

/// H13.
#[test]
fn h13_three_subscription_identifiers_leave_the_payload_alone() {
    let bytes = b"\x30\x0c\0\x01a\x06\x0b\x01\x0b\x02\x0b\x03xy";
    let Ok(v5::Packet::Publish(publish)) = theirs_v5(bytes) else { panic!("it reads this") };
    assert_ne!(&publish.payload[..], b"xy");
    let Ok(Packet::Publish(publish)) = ours(bytes, Version::Mqtt5) else { panic!("we read this") };
    assert_eq!(publish.payload, b"xy");
    assert!(publish.properties.subscription_ids().map(|id| id.get()).eq([1, 2, 3]));
}

#[test]
fn auth_is_read() {
    let bytes = b"\xf0\x06\x18\x04\x15\0\x01m";
    assert!(theirs_v5(bytes).is_err());
    let packet = ours(bytes, Version::Mqtt5).unwrap();
    assert_eq!(packet.packet_type(), PacketType::Auth);
}

#[test]
fn what_it_lets_pass_is_refused() {
    use DecodeError as E;
    let table: &[(&str, &[u8], DecodeError)] = &[
        ("flags of SUBSCRIBE", b"\x80\x06\0\x01\0\x01a\0", E::BadFlags(0)),
        ("flags of PUBACK", b"\x4f\x02\0\x01", E::BadFlags(0x0f)),
        ("DUP at QoS 0", b"\x38\x03\0\x01a", E::DupAtQoS0),
        ("packet id 0 in PUBACK", b"\x40\x02\0\0", E::PacketIdZero),
        ("packet id 0 in SUBSCRIBE", b"\x82\x06\0\0\0\x01a\0", E::PacketIdZero),
        ("NUL in a topic", b"\x30\x03\0\x01\0", E::NulInText),
        ("a wildcard topic", b"\x30\x03\0\x01#", E::BadTopic(TopicError::Wildcard)),
        ("no topic", b"\x30\x02\0\0", E::BadTopic(TopicError::Empty)),
        ("a bad filter", b"\x82\x08\0\x01\0\x03#/a\0", E::BadFilter(TopicError::Wildcard)),
        ("SUBSCRIBE to nothing", b"\x82\x02\0\x01", E::NoFilters),
        ("reserved options", b"\x82\x06\0\x01\0\x01a\xfc", E::BadSubscribeOptions),
        ("bytes after PUBACK", b"\x40\x04\0\x01ab", E::TrailingBytes),
        ("bytes after CONNECT", b"\x10\x0e\0\x04MQTT\x04\x02\0\0\0\0ab", E::TrailingBytes),
        ("reserved flags of CONNECT", b"\x10\x0c\0\x04MQTT\x04\x03\0\0\0\0", E::BadConnectFlags),
        ("reserved flags of CONNACK", b"\x20\x02\xfe\0", E::BadConnAckFlags),
        ("a password alone", b"\x10\x0f\0\x04MQTT\x04\x42\0\0\0\0\0\x01p", E::PasswordWithoutUsername),
    ];
    for (name, bytes, error) in table {
        assert!(theirs_v4(bytes).is_ok(), "{name}: mqttbytes has learned it");
        assert_eq!(ours(bytes, Version::Mqtt311), Err(*error), "{name}");
    }
    let twice = b"\x30\x0a\0\x01a\x06\x23\0\x01\x23\0\x02";
    assert!(theirs_v5(twice).is_ok());
    assert_eq!(ours(twice, Version::Mqtt5), Err(DecodeError::PropertyRepeated(PropertyId::TopicAlias)));
}

/// The length wraps, and the rest of the topic is taken for payload by whoever reads it.
#[test]
fn a_topic_of_65536_bytes_is_not_cut() {
    let topic = "x".repeat(65_536);
    let mut cut = BytesMut::new();
    let publish = v4::Publish::from_bytes(&topic[..], mqttbytes::QoS::AtMostOnce, Bytes::from_static(b"p"));
    assert!(publish.write(&mut cut).is_ok());
    let mut out = b"before".to_vec();
    let ours = encode(&Packet::Publish(Publish::new(&topic, b"p")), Version::Mqtt311, &mut out);
    assert_eq!(ours, Err(EncodeError::BadTopic(TopicError::TooLong)));
    assert_eq!(out, b"before");
}

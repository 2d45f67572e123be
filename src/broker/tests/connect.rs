//! CONNECT and the end of connections.

use super::*;

fn with(properties: &[Property<'_>]) -> PropertyBuf {
    let mut buf = PropertyBuf::new();
    for property in properties {
        buf.push(*property).unwrap();
    }
    buf
}

#[test]
fn h1_a_connection_is_answered_in_its_version() {
    let mut world = World::open();
    for (version, expected) in [
        (Version::Mqtt31, "connack Success"),
        (Version::Mqtt311, "connack Success"),
        // What mosquitto 2.0 announces.
        (Version::Mqtt5, "connack Success ReceiveMaximum(20) MaximumPacketSize(2000000) TopicAliasMaximum(10)"),
    ] {
        let (_, heard) = world.join(Connect::new(version, &format!("{version:?}")));
        assert_eq!(heard, [expected], "{version:?}");
    }
    assert_eq!(world.core.stats().clients_connected, 3);
}

#[test]
fn what_a_client_asks_for_is_granted_within_the_bounds() {
    let options = Options::new()
        .keep_alive_max(Duration::from_secs(60))
        .session_expiry_max(Duration::from_secs(50))
        .response_information("re/");
    let mut world = World::new(options);
    let properties = with(&[Property::SessionExpiryInterval(100), Property::RequestResponseInformation(true)]);
    let connect =
        Connect { keep_alive: 300, properties: properties.as_properties(), ..Connect::new(Version::Mqtt5, "c") };
    let (_, heard) = world.join(connect);
    for part in ["SessionExpiryInterval(50)", "ServerKeepAlive(60)", "ResponseInformation(\"re/\")"] {
        assert!(heard[0].contains(part), "{part}: {heard:?}");
    }
    // MQTT-3.1.3-6: an identifier is assigned, and told.
    let (_, heard) = world.join(Connect::new(Version::Mqtt5, ""));
    assert!(heard[0].contains("AssignedClientIdentifier(\"auto-"), "{heard:?}");
    assert_eq!(world.join(Connect::new(Version::Mqtt311, "")).1, ["connack Success"]);
    assert_eq!(world.core.stats().sessions, 3);
}

#[test]
fn h12_what_breaks_the_rules_ends_the_connection() {
    let connect = |version: Version| {
        let mut out = Vec::new();
        encode(&Packet::Connect(Connect::new(version, "c")), version, &mut out).unwrap();
        out
    };
    // (name, bytes before CONNECT, the answer)
    let first: &[(&str, &[u8], &[&str])] = &[
        ("PUBLISH before CONNECT", b"\x30\x03\0\x01t", &[]),
        ("SUBSCRIBE before CONNECT", b"\x82\x06\0\x01\0\x01a\0", &[]),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n", &[]),
        ("MQTT-3.1.2-2: version 6", b"\x10\x0d\0\x04MQTT\x06\x02\0\0\0\x01c", &["connack UnsupportedProtocolVersion"]),
        (
            "MQTT-3.1.2-3: a reserved flag of 5.0",
            b"\x10\x0e\0\x04MQTT\x05\x03\0\0\0\0\x01c",
            &["connack MalformedPacket"],
        ),
        (
            "MQTT-4.12.0-1: an unknown method",
            b"\x10\x12\0\x04MQTT\x05\x02\0\0\x04\x15\0\x01x\0\x01c",
            &["connack BadAuthenticationMethod"],
        ),
        ("a length of five bytes", b"\x10\xff\xff\xff\xff\x01", &[]),
    ];
    for (name, bytes, expected) in first {
        let mut world = World::open();
        let conn = world.accept();
        world.bytes(conn, bytes);
        assert!(world.is_closed(conn), "{name}");
        assert_eq!(world.heard(conn), *expected, "{name}");
    }
    // (name, bytes after CONNECT of 3.1.1 and 5.0; what 5.0 is told)
    let then: &[(&str, &[u8], &[u8], &str)] = &[
        ("MQTT-3.1.0-2: CONNECT twice", &connect(Version::Mqtt311), &connect(Version::Mqtt5), "ProtocolError"),
        ("QoS 3", b"\x36\x05\0\x01t\0\x01", b"\x36\x06\0\x01t\0\x01\0", "MalformedPacket"),
        ("packet identifier 0", b"\x32\x05\0\x01t\0\0", b"\x32\x06\0\x01t\0\0\0", "ProtocolError"),
        ("type 0", b"\0\0", b"\0\0", "MalformedPacket"),
        ("an empty topic", b"\x30\x02\0\0", b"\x30\x03\0\0\0", "ProtocolError"),
        ("a wildcard in a topic", b"\x30\x05\0\x03a/+", b"\x30\x06\0\x03a/+\0", "MalformedPacket"),
        ("NUL in a topic", b"\x30\x04\0\x02a\0", b"\x30\x05\0\x02a\0\0", "MalformedPacket"),
        ("a length of five bytes", b"\x30\xff\xff\xff\xff\x01", b"\x30\xff\xff\xff\xff\x01", "MalformedPacket"),
        ("CONNACK from a client", b"\x20\x02\0\0", b"\x20\x03\0\0\0", "ProtocolError"),
        ("PINGRESP from a client", b"\xd0\0", b"\xd0\0", "ProtocolError"),
        ("AUTH unasked", b"\xf0\0", b"\xf0\0", "ProtocolError"),
        ("MQTT-3.3.4-6: a subscription identifier", b"\0\0", b"\x30\x06\0\x01t\x02\x0b\x01", "ProtocolError"),
        ("MQTT-3.3.2-9: an alias above the maximum", b"\0\0", b"\x30\x07\0\x01t\x03\x23\0\x0b", "TopicAliasInvalid"),
        ("an alias that stands for nothing", b"\0\0", b"\x30\x06\0\0\x03\x23\0\x05", "ProtocolError"),
        ("MQTT-3.14.2-2: a session after all", b"\0\0", b"\xe0\x07\0\x05\x11\0\0\0\x09", "ProtocolError"),
        ("a packet above the limit", b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff\xff\x7f", "PacketTooLarge"),
    ];
    for (name, v3, v5, told) in then {
        let mut world = World::open();
        let (old, new) = (world.v3("old"), world.v5("new"));
        world.bytes(old, v3);
        assert!(world.is_closed(old) && world.heard(old).is_empty(), "{name}");
        world.bytes(new, v5);
        assert!(world.is_closed(new), "{name}");
        assert_eq!(world.heard(new), [format!("disconnect {told}")], "{name}");
    }
}

#[test]
fn h6_silence_ends_a_connection_after_one_and_a_half_keep_alives() {
    let mut world = World::open();
    let [old, new, never] =
        [(Version::Mqtt311, 10), (Version::Mqtt5, 10), (Version::Mqtt5, 0)].map(|(version, keep_alive)| {
            world.joined(Connect { keep_alive, ..Connect::new(version, &format!("{version:?}{keep_alive}")) })
        });
    world.pass(secs(14));
    world.packet(new, Packet::PingReq);
    assert_eq!(world.heard(new), ["pingresp"]);
    assert!(!world.is_closed(old));
    world.pass(secs(1));
    // MQTT-3.1.2-22
    assert!(world.is_closed(old) && !world.is_closed(new));
    world.pass(secs(14));
    assert!(world.is_closed(new));
    assert_eq!(world.heard(new), ["disconnect KeepAliveTimeout"]);
    world.pass(secs(1_000_000));
    assert!(!world.is_closed(never));
}

/// MQTT-3.1.2-22: it is packets that count, and not their pieces.
#[test]
fn h6_a_packet_that_comes_byte_by_byte_is_silence_but_a_long_one_may_take_its_time() {
    let ping = b"\xc0\0".to_vec();
    let publish = |len: u8| [&[0x30, len, 0x20, 0, 1, b't', 0][..], &[b'x'; 20]].concat();
    for (name, bytes, is_silence) in [
        ("a whole packet and a piece of one", [ping, publish(0x80)].concat(), false),
        ("the header of one of 4,096 bytes", publish(0x80), false),
        ("one of 4,096 bytes, but for 500", [publish(0x80), vec![b'x'; 3_600 - 27]].concat(), true),
        ("a piece of a short one", publish(0x7f)[..1].to_vec(), true),
    ] {
        let mut world = World::open();
        let conn = world.joined(Connect { keep_alive: 10, ..Connect::new(Version::Mqtt5, "c") });
        world.pass(secs(10));
        world.bytes(conn, &bytes);
        world.pass(secs(6));
        assert_eq!(world.is_closed(conn), is_silence, "{name}");
    }
}

#[test]
fn a_connection_that_does_not_introduce_itself_is_closed() {
    let mut world = World::open();
    let conn = world.accept();
    world.bytes(conn, b"\x10\x0d\0\x04MQ");
    world.pass(secs(9));
    assert!(!world.is_closed(conn));
    world.pass(secs(1));
    assert!(world.is_closed(conn));
}

#[test]
fn h10_the_second_of_one_name_takes_over() {
    let mut world = World::open();
    let first = world.lasting(Version::Mqtt5, "c");
    world.subscribe(first, "t", 1);
    let (second, heard) = world.join(Connect { clean_start: false, ..Connect::new(Version::Mqtt5, "c") });
    // MQTT-3.1.4-3
    assert_eq!(world.heard(first), ["disconnect SessionTakenOver"]);
    assert!(world.is_closed(first));
    assert!(heard[0].starts_with("connack Success present"), "{heard:?}");
    world.publish(second, "t", "x", 0);
    assert_eq!(world.heard(second), ["t x"]);
    // The end of the first one's connection is told late, and is no news.
    world.cut(first);
    world.publish(second, "t", "y", 0);
    assert_eq!(world.heard(second), ["t y"]);
    // A clean start ends the session.
    let (third, heard) = world.join(Connect::new(Version::Mqtt311, "c"));
    assert_eq!(heard, ["connack Success"]);
    world.publish(third, "t", "z", 0);
    assert!(world.heard(third).is_empty());
    assert_eq!(world.core.stats().sessions, 1);
}

#[test]
fn sessions_are_bounded() {
    let mut world = World::new(Options::new().sessions_max(1));
    world.v3("a");
    assert_eq!(world.join(Connect::new(Version::Mqtt311, "b")).1, ["connack ServerUnavailable"]);
    assert_eq!(world.join(Connect::new(Version::Mqtt5, "b")).1, ["connack QuotaExceeded"]);
    world.v5("a");
    assert_eq!(world.core.stats().refused, 2);
}

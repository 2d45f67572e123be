//! What a server must not do.

use super::*;

#[test]
fn h12_what_a_server_must_not_send_ends_the_connection() {
    let none = crate::proto::mqtt::Properties::default();
    let one = [ReasonCode::Success];
    let two = [ReasonCode::Success; 2];
    let filters = [Subscription::new("a", QoS::AtMostOnce)];
    let names = ["a"];
    let sub_ack = |n, reasons| Packet::SubAck(SubAck { id: id(n), reasons: List::from(reasons), properties: none });
    let unsub_ack =
        |n, reasons| Packet::UnsubAck(UnsubAck { id: id(n), reasons: List::from(reasons), properties: none });
    // Under way: 1 at QoS 1, 2 at QoS 2, 3 is a SUBSCRIBE of one filter, 4 an UNSUBSCRIBE.
    let table: Vec<(&str, Packet<'_>)> = vec![
        ("MQTT-3.2.0-2: a second CONNACK", Packet::ConnAck(ConnAck::new(ReasonCode::Success))),
        ("CONNECT", Packet::Connect(crate::proto::mqtt::Connect::new(Version::Mqtt5, "x"))),
        ("PINGREQ", Packet::PingReq),
        (
            "SUBSCRIBE",
            Packet::Subscribe(crate::proto::mqtt::Subscribe {
                id: id(1),
                subscriptions: List::from(&filters),
                properties: none,
            }),
        ),
        (
            "UNSUBSCRIBE",
            Packet::Unsubscribe(crate::proto::mqtt::Unsubscribe {
                id: id(1),
                filters: List::from(&names),
                properties: none,
            }),
        ),
        ("PUBACK of QoS 2", Packet::PubAck(Ack::new(id(2)))),
        ("PUBREC of QoS 1", Packet::PubRec(Ack::new(id(1)))),
        ("PUBCOMP of QoS 1", Packet::PubComp(Ack::new(id(1)))),
        ("PUBCOMP before PUBREC", Packet::PubComp(Ack::new(id(2)))),
        ("MQTT-3.8.4-6: too many reasons", sub_ack(3, &two[..])),
        ("SUBACK of UNSUBSCRIBE", sub_ack(4, &one[..])),
        ("MQTT-3.11.3-1: too many reasons", unsub_ack(4, &two[..])),
        ("UNSUBACK of SUBSCRIBE", unsub_ack(3, &one[..])),
        ("AUTH without a method", Packet::Auth(Auth { reason: ReasonCode::Success, properties: none })),
    ];
    for (name, packet) in table {
        let mut talk = Talk::open(ClientOptions::new());
        talk.publish(QoS::AtLeastOnce, "a", "").unwrap();
        talk.publish(QoS::ExactlyOnce, "a", "").unwrap();
        let now = talk.now;
        talk.client.subscribe(List::from(&filters), none, now, &mut talk.out).unwrap();
        talk.client.unsubscribe(List::from(&names), none, now, &mut talk.out).unwrap();
        talk.said();
        talk.hear(&packet);
        assert_eq!(talk.fault.map(Fault::reason_code), Some(ReasonCode::ProtocolError), "{name}");
        assert_eq!(talk.said(), "DISCONNECT:0x82", "{name}");
        // Whatever comes then is nothing.
        talk.hear(&Packet::PubAck(Ack::new(id(1))));
        assert_eq!(talk.told(), "", "{name}");
        // What is published now waits for a better connection.
        assert_eq!((talk.publish(QoS::AtMostOnce, "a", ""), talk.client.queued()), (Ok(None), 1));
    }
}

#[test]
fn h12_bytes_that_are_no_packet_end_the_connection() {
    // (name, version, bytes, the DISCONNECT that says so)
    let table: [(&str, Version, &[u8], &str); 7] = [
        ("type 0", Version::Mqtt5, &[0, 0], "DISCONNECT:0x81"),
        ("QoS 3", Version::Mqtt5, &[0x36, 5, 0, 1, b'a', 0, 1], "DISCONNECT:0x81"),
        ("number 0", Version::Mqtt5, &[0x40, 2, 0, 0], "DISCONNECT:0x82"),
        ("a wildcard", Version::Mqtt5, &[0x30, 4, 0, 1, b'#', 0], "DISCONNECT:0x81"),
        ("five bytes of length", Version::Mqtt5, &[0x30, 0x80, 0x80, 0x80, 0x80, 1], "DISCONNECT:0x81"),
        ("too long", Version::Mqtt5, &[0x30, 0x80, 0x80, 0x40], "DISCONNECT:0x95"),
        ("before 5.0 there are no words", Version::Mqtt311, &[0, 0], ""),
    ];
    for (name, version, bytes, said) in table {
        let mut talk = Talk::open(ClientOptions::new().version(version).client_id("c"));
        talk.hear_bytes(bytes);
        assert!(talk.fault.is_some(), "{name}");
        assert_eq!(talk.said(), said, "{name}");
    }
    // 5.0 has DISCONNECT of a server, and 3.1.1 not.
    for (version, is_fault) in [(Version::Mqtt5, false), (Version::Mqtt311, true)] {
        let mut talk = Talk::open(ClientOptions::new().version(version).client_id("c"));
        talk.hear_bytes(&[0xe0, 0]);
        assert_eq!(talk.fault.is_some(), is_fault);
    }
}

#[test]
fn mqtt_3_2_0_1_nothing_comes_before_connack() {
    for packet in [
        Packet::Publish(Publish::new("a", "")),
        Packet::PingResp,
        Packet::Disconnect(Disconnect::new(ReasonCode::ServerBusy)),
        Packet::PubAck(Ack::new(id(1))),
    ] {
        let mut talk = Talk::new(ClientOptions::new());
        talk.client.handle_connected(talk.now, &mut talk.out);
        talk.said();
        talk.hear(&packet);
        assert!(talk.fault.is_some(), "{:?}", packet.packet_type());
        assert_eq!((talk.said(), talk.told()), (String::new(), String::new()));
    }
    // H1: a refusal is told once.
    let mut talk = Talk::new(v4());
    talk.client.handle_connected(talk.now, &mut talk.out);
    talk.hear_bytes(&[0x20, 2, 0, 5]);
    assert_eq!(talk.told(), "refused NotAuthorized");
    assert!(!talk.client.is_open());
}

#[test]
fn mqtt_3_3_4_9_a_server_that_sends_more_than_the_receive_maximum_is_told() {
    let limits = ClientLimits { inflight_max: NonZeroU16::new(3).unwrap(), ..ClientLimits::default() };
    let mut talk = Talk::with(lasting(), limits);
    talk.connect(false, &[]);
    for n in 1..=4 {
        assert_eq!(talk.fault, None, "{n}");
        let publish = Publish { qos: QoS::ExactlyOnce, id: Some(id(n)), ..Publish::new("a", "") };
        talk.hear(&Packet::Publish(publish));
    }
    assert_eq!(talk.fault.map(Fault::reason_code), Some(ReasonCode::ReceiveMaximumExceeded));
    assert_eq!(talk.said(), "PUBREC:1 PUBREC:2 PUBREC:3 DISCONNECT:0x93");
}

//! Where mqttbytes (3.1.1) and rumqttc (5.0) are right, they agree with us.

use std::collections::HashSet;

use bytes::BytesMut;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rumqttc::v5::mqttbytes::v5;
use vansire::mqtt::{Connect, Packet, Property, Publish, ReasonCode, Version, decode, from_mqttbytes, to_mqttbytes};

use crate::generate::{LIMITS, wire};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Both ways, with the conversions between the two models, which are tested at the same time.
    #[test]
    fn mqttbytes_agrees_on_3_1_1(wire in wire(Version::Mqtt311)) {
        let packet = wire.packet();
        let converted = match to_mqttbytes(&packet) {
            Ok(converted) => converted,
            // What it cannot hold is named, and is only this.
            Err(error) => {
                let unlike = matches!(packet, Packet::Connect(Connect { username: Some(""), .. }))
                    || matches!(packet, Packet::Connect(Connect { password: Some(p), .. }) if p.is_empty() || std::str::from_utf8(p).is_err());
                prop_assert!(unlike, "{} {:?}", error, packet);
                return Ok(());
            }
        };
        let theirs = mqttbytes::v4::read(&mut BytesMut::from(&wire.bytes[..]), 1024 * 1024);
        prop_assert_eq!(theirs.as_ref(), Ok(&converted));
        prop_assert_eq!(from_mqttbytes(&converted, |ours| ours == packet), Ok(true));
        let mut out = BytesMut::new();
        write(&converted, &mut out);
        prop_assert_eq!(&out[..], &wire.bytes[..]);
    }

    /// rumqttc reads what we write, and we read what it makes of it; it orders properties its own way.
    #[test]
    fn rumqttc_agrees_on_5_0(wire in wire(Version::Mqtt5)) {
        let packet = wire.packet();
        if rumqttc_is_wrong(&packet) {
            return Ok(());
        }
        let theirs = v5::Packet::read(&mut BytesMut::from(&wire.bytes[..]), None);
        let Ok(theirs) = theirs else { panic!("{theirs:?} for {packet:?}") };
        let mut out = BytesMut::new();
        theirs.write(&mut out, None).unwrap();
        let again = decode(&out, Version::Mqtt5, &LIMITS);
        let Ok(Some((again, _))) = again else { panic!("{again:?} of {out:?} for {packet:?}") };
        prop_assert_eq!(sorted(&again), sorted(&packet));
    }
}

/// Its known defects, each a reason to have a codec of our own.
fn rumqttc_is_wrong(packet: &Packet<'_>) -> bool {
    let has_ids = |publish: &Publish<'_>| publish.properties.subscription_ids().count() > 0;
    match packet {
        // It cannot read AUTH at all.
        Packet::Auth(_) => true,
        // It takes a DISCONNECT without properties for an error, and does not know all its reasons.
        Packet::Disconnect(disconnect) => {
            disconnect.properties.is_empty() || disconnect.reason == ReasonCode::BadAuthenticationMethod
        }
        // It counts the bytes of subscription identifiers wrong, and loses properties or payload.
        Packet::Publish(publish) => has_ids(publish),
        // It takes empty credentials for none, and passwords for text.
        Packet::Connect(connect) => {
            connect.username == Some("")
                || connect
                    .password
                    .is_some_and(|password| password.is_empty() || std::str::from_utf8(password).is_err())
        }
        _ => false,
    }
}

/// A packet as text, its properties in order of their numbers.
fn sorted(packet: &Packet<'_>) -> String {
    let mut text = format!("{packet:?}");
    let sections: Vec<Vec<Property<'_>>> = match packet {
        Packet::Connect(connect) => {
            let will = connect.will.map(|will| will.properties).unwrap_or_default();
            vec![connect.properties.iter().collect(), will.iter().collect()]
        }
        Packet::ConnAck(p) => vec![p.properties.iter().collect()],
        Packet::Publish(p) => vec![p.properties.iter().collect()],
        Packet::PubAck(p) | Packet::PubRec(p) | Packet::PubRel(p) | Packet::PubComp(p) => {
            vec![p.properties.iter().collect()]
        }
        Packet::Subscribe(p) => vec![p.properties.iter().collect()],
        Packet::SubAck(p) => vec![p.properties.iter().collect()],
        Packet::Unsubscribe(p) => vec![p.properties.iter().collect()],
        Packet::UnsubAck(p) => vec![p.properties.iter().collect()],
        Packet::PingReq | Packet::PingResp => vec![],
        Packet::Disconnect(p) => vec![p.properties.iter().collect()],
        Packet::Auth(p) => vec![p.properties.iter().collect()],
    };
    for mut section in sections {
        let before = format!("{section:?}");
        section.sort_by_key(Property::id);
        text = text.replace(&before, &format!("{section:?}"));
    }
    text
}

fn write(packet: &mqttbytes::v4::Packet, out: &mut BytesMut) {
    use mqttbytes::v4::Packet;
    match packet {
        Packet::Connect(p) => p.write(out),
        Packet::ConnAck(p) => p.write(out),
        Packet::Publish(p) => p.write(out),
        Packet::PubAck(p) => p.write(out),
        Packet::PubRec(p) => p.write(out),
        Packet::PubRel(p) => p.write(out),
        Packet::PubComp(p) => p.write(out),
        Packet::Subscribe(p) => p.write(out),
        Packet::SubAck(p) => p.write(out),
        Packet::Unsubscribe(p) => p.write(out),
        Packet::UnsubAck(p) => p.write(out),
        Packet::PingReq => mqttbytes::v4::PingReq.write(out),
        Packet::PingResp => mqttbytes::v4::PingResp.write(out),
        Packet::Disconnect => mqttbytes::v4::Disconnect.write(out),
    }
    .unwrap();
}

/// So that none is left out by chance.
#[test]
fn all_packets_are_generated() {
    let mut runner = TestRunner::deterministic();
    for (version, types) in [(Version::Mqtt31, 14), (Version::Mqtt311, 14), (Version::Mqtt5, 15)] {
        let mut one = || wire(version).new_tree(&mut runner).unwrap().current().packet_type;
        let seen: HashSet<_> = (0..300).map(|_| one()).collect();
        assert_eq!(seen.len(), types, "{version:?}: {seen:?}");
    }
}

//! What the MQTT codec and the subscriptions allocate: nothing for packets and matches, little for each subscription, and
//! what is removed is given back to the last byte.

#[path = "common/heap.rs"]
mod heap;

use std::hint::black_box;

use heap::{BYTES, CALLS};
use vansire::mqtt::{
    Ack, DecodeLimits, Delivery, Packet, PacketId, Properties, Property, PropertyBuf, Publish, PublishParts, QoS,
    SubscriptionId, Trie, Version, decode, encode,
};

/// Calls of the allocator, and the bytes that are left of them.
fn counted(f: impl FnOnce()) -> (u64, i64) {
    let before = (CALLS.get(), BYTES.get());
    f();
    (CALLS.get() - before.0, BYTES.get() - before.1)
}

#[test]
fn packets_are_decoded_and_encoded_without_allocation() {
    let id = PacketId::MAX;
    let mut buf = PropertyBuf::new();
    buf.push(Property::UserProperty(("name", "value"))).unwrap();
    buf.push(Property::MessageExpiryInterval(60)).unwrap();
    let payload = [b'x'; 64];
    let publish = Publish { qos: QoS::AtLeastOnce, id: Some(id), ..Publish::new("plant/7/line/3/temp", &payload) };
    let packets = [
        Packet::Publish(Publish { qos: QoS::AtMostOnce, id: None, ..publish }),
        Packet::Publish(publish),
        Packet::Publish(Publish { properties: buf.as_properties(), ..publish }),
        Packet::PubAck(Ack::new(id)),
        Packet::PubRec(Ack::new(id)),
        Packet::PubRel(Ack::new(id)),
        Packet::PubComp(Ack::new(id)),
        Packet::PingReq,
    ];
    let limits = DecodeLimits::default();
    for version in [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5] {
        for packet in &packets {
            let mut wire = Vec::new();
            encode(packet, version, &mut wire).unwrap();
            let mut out = Vec::with_capacity(1024);
            let (calls, _) = counted(|| {
                let Ok(Some((packet, _))) = decode(black_box(&wire), version, &limits) else { unreachable!() };
                if let Packet::Publish(publish) = &packet {
                    black_box(publish.properties.message_expiry_interval());
                    black_box(publish.properties.user_properties().count());
                }
                encode(&packet, version, &mut out).unwrap();
            });
            assert_eq!(calls, 0, "{version:?} {packet:?}");
        }
    }
}

#[test]
fn a_message_goes_to_many_without_allocation() {
    let ids = [SubscriptionId::new(1).unwrap(), SubscriptionId::new(300).unwrap()];
    let mut out = Vec::with_capacity(64 * 1024);
    let (calls, _) = counted(|| {
        let parts = PublishParts::new(Version::Mqtt5, "plant/7/temp", Properties::default(), 4).unwrap();
        for id in 1..=100 {
            let qos = if id % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            let to = Delivery { qos, id: PacketId::new(id), subscription_ids: &ids, ..Delivery::default() };
            parts.encode_head(&to, &mut out).unwrap();
            out.extend_from_slice(b"21.5");
        }
    });
    assert_eq!(calls, 0);
}

const SUBSCRIPTIONS: u32 = 100_000;

/// Kinds of filters, by number, and the most bytes for each of 100,000.
type Kind = (&'static str, fn(u32) -> String, i64);

const KINDS: &[Kind] = &[
    ("one level of its own", |n| format!("bench/sub/{n}"), 130),
    ("two levels of their own", |n| format!("plant/{n}/temp"), 250),
    ("wildcards", |n| format!("plant/{n}/+"), 250),
    ("shared levels", |n| format!("site/{}/line/{}/temp", n / 1000, n % 1000), 250),
    ("a name that is long", |n| format!("device/0123456789abcdef-0123456789-{n}"), 200),
    ("one filter for all", |_| "news/today".into(), 40),
];

#[test]
fn a_subscription_takes_at_most_250_bytes_and_leaves_none() {
    for (name, filter, most) in KINDS {
        let filters: Vec<String> = (0..SUBSCRIPTIONS).map(filter).collect();
        let mut trie = Trie::new();
        let (_, bytes) = counted(|| {
            for (key, filter) in (0u32..).zip(&filters) {
                trie.insert(filter, key, 1u8).unwrap();
            }
        });
        let each = bytes / i64::from(SUBSCRIPTIONS);
        println!("{name}: {each} bytes a subscription");
        assert!(each <= *most, "{name}: {each} bytes a subscription, {most} at most");

        let topic = filters[777].replace('+', "x");
        let (calls, _) = counted(|| trie.matches(&topic, |key, _| _ = black_box(key)));
        assert_eq!(calls, 0, "{name}: matching");

        // Every other one, then the rest, so that no order helps.
        let (_, removed) = counted(|| {
            for step in [0, 1] {
                for (key, filter) in (0u32..).zip(&filters).skip(step).step_by(2) {
                    assert_eq!(trie.remove(filter, &key), Some(1));
                }
            }
        });
        assert_eq!(removed, -bytes, "{name}: what is left");
    }
}

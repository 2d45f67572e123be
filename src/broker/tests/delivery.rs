//! Messages from one client to others, at each quality.

use super::*;
use crate::broker::{DropReason, Overflow};

#[test]
fn h2_h8_a_message_reaches_those_who_subscribed_and_nobody_else() {
    let mut world = World::open();
    let (one, two, from) = (world.v3("one"), world.v5("two"), world.v5("from"));
    assert_eq!(world.subscribe(one, "a/+", 0), "suback #999 Success");
    assert_eq!(world.subscribe(two, "b", 2), "suback #999 GrantedQoS2");
    let all: Vec<u8> = (0..=255).collect();
    for n in 0..5 {
        world.publish(from, "a/x", &n.to_string(), 0);
    }
    world.publish_as(from, Publish::new("b", &all));
    assert_eq!(world.heard(one), ["a/x 0", "a/x 1", "a/x 2", "a/x 3", "a/x 4"]);
    assert_eq!(world.heard(two), [format!("b {}", String::from_utf8_lossy(&all))]);
    assert!(world.heard(from).is_empty());
}

#[test]
fn h3_each_quality_has_its_handshake_both_ways() {
    for version in [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5] {
        let mut world = World::open();
        let to = world.joined(Connect::new(version, "to"));
        let from = world.joined(Connect::new(version, "from"));
        world.subscribe(to, "t", 2);
        world.publish(from, "t", "one", 1);
        assert_eq!(world.heard(from), ["puback #7"]);
        assert_eq!(world.heard(to), ["t one q1 #1"]);
        world.pub_ack(to, 1);
        // MQTT-4.3.3-10: the same number is the same message until PUBREL, whatever DUP says.
        for dup in [false, true, true] {
            world.publish_as(from, Publish { qos: QoS::ExactlyOnce, dup, ..Publish::new("t", "two") });
            assert_eq!(world.heard(from), ["pubrec #7"]);
        }
        assert_eq!(world.heard(to), ["t two q2 #2"]);
        for _ in 0..2 {
            world.packet(from, Packet::PubRel(Ack::new(packet_id(7))));
        }
        let again = if version.is_5() { "pubcomp #7 PacketIdentifierNotFound" } else { "pubcomp #7" };
        assert_eq!(world.heard(from), ["pubcomp #7", again]);
        world.publish(from, "t", "three", 2);
        assert_eq!(world.heard(to), ["t three q2 #3"]);
        // The way out: PUBREC twice, then PUBCOMP.
        for _ in 0..2 {
            world.packet(to, Packet::PubRec(Ack::new(packet_id(2))));
            assert_eq!(world.heard(to), ["pubrel #2"]);
        }
        world.packet(to, Packet::PubComp(Ack::new(packet_id(2))));
        assert_eq!(world.core.stats().queued, 1);
        // PUBACK is no answer to QoS 2.
        world.pub_ack(to, 3);
        assert!(world.is_closed(to), "{version:?}");
    }
}

#[test]
fn the_lesser_quality_counts() {
    let mut world = World::open();
    let from = world.v5("from");
    for (granted, expected) in [(0, "t x"), (1, "t x q1 #1"), (2, "t x q2 #1")] {
        let to = world.v5(&format!("to{granted}"));
        world.subscribe(to, "t", granted);
        world.publish(from, "t", "x", 2);
        world.packet(from, Packet::PubRel(Ack::new(packet_id(7))));
        // MQTT-3.8.4-8
        assert_eq!(world.heard(to), [expected]);
        world.cut(to);
    }
    world.heard(from);
    // Section 3.4.2.1: nobody is left.
    world.publish(from, "t", "x", 1);
    assert_eq!(world.heard(from), ["puback #7 NoMatchingSubscribers"]);
}

#[test]
fn subscriptions_that_overlap_give_one_copy() {
    let mut world = World::open();
    let (to, old, from) = (world.v5("to"), world.v3("old"), world.v3("from"));
    let sub = |filter, qos| Subscription::new(filter, qos);
    world.subscribe_as(to, sub("a/#", QoS::AtMostOnce), Some(1));
    world.subscribe_as(to, sub("a/+", QoS::AtLeastOnce), Some(2));
    world.subscribe_as(to, sub("a/b", QoS::AtMostOnce), None);
    world.subscribe(old, "#", 0);
    world.subscribe(old, "a/b", 1);
    world.publish(from, "a/b", "x", 1);
    // MQTT-3.3.4-2, MQTT-3.3.4-3
    let heard = world.heard(to);
    assert_eq!(heard.len(), 1);
    assert!(
        heard[0].starts_with("a/b x q1 #1") && heard[0].matches("SubscriptionIdentifier").count() == 2,
        "{heard:?}"
    );
    assert_eq!(world.heard(old), ["a/b x q1 #1"]);
    // MQTT-3.8.4-3: the same filter replaces it.
    world.subscribe_as(to, sub("a/+", QoS::AtMostOnce), Some(3));
    world.publish(from, "a/b", "y", 0);
    let heard = world.heard(to);
    assert!(heard[0].contains("Id(3)") && !heard[0].contains("Id(2)"), "{heard:?}");
}

#[test]
fn no_local_and_retain_as_published() {
    let mut world = World::open();
    let (one, two) = (world.v5("one"), world.v5("two"));
    let own = Subscription { no_local: true, ..Subscription::new("t", QoS::AtMostOnce) };
    world.subscribe_as(one, own, None);
    let plain = Subscription { retain_as_published: true, ..Subscription::new("t", QoS::AtMostOnce) };
    world.subscribe_as(two, plain, None);
    world.retain(one, "t", "x");
    world.retain(two, "t", "y");
    // MQTT-3.8.3-3, MQTT-3.3.1-12, MQTT-3.3.1-13
    assert_eq!(world.heard(one), ["t y"]);
    assert_eq!(world.heard(two), ["t x retained", "t y retained"]);
}

#[test]
fn h13_properties_are_handed_on_and_kept_from_older_clients() {
    let mut world = World::open();
    let (old, new, from) = (world.v3("old"), world.v5("new"), world.v5("from"));
    world.subscribe(old, "t", 0);
    world.subscribe(new, "t", 0);
    let mut properties = PropertyBuf::new();
    for property in [
        Property::TopicAlias(std::num::NonZeroU16::MIN),
        Property::MessageExpiryInterval(60),
        Property::ContentType("text/x"),
        Property::UserProperty(("a", "1")),
        Property::UserProperty(("a", "2")),
    ] {
        properties.push(property).unwrap();
    }
    let publish = Publish { properties: properties.as_properties(), ..Publish::new("t", "x") };
    world.publish_as(from, publish);
    world.publish_as(from, Publish { topic: "", ..publish });
    let told = "t x MessageExpiryInterval(60) ContentType(\"text/x\") UserProperty((\"a\", \"1\")) \
                UserProperty((\"a\", \"2\"))";
    assert_eq!(world.heard(new), [told, told]);
    assert_eq!(world.heard(old), ["t x", "t x"]);
}

#[test]
fn topic_aliases_are_used_with_those_who_take_them() {
    let mut world = World::open();
    let mut properties = PropertyBuf::new();
    properties.push(Property::TopicAliasMaximum(1)).unwrap();
    let connect = Connect { properties: properties.as_properties(), ..Connect::new(Version::Mqtt5, "to") };
    let (to, from) = (world.joined(connect), world.v3("from"));
    world.subscribe(to, "#", 0);
    for topic in ["long/topic", "long/topic", "other/topic", "long/topic"] {
        world.publish(from, topic, "x", 0);
    }
    let alias = "TopicAlias(1)";
    assert_eq!(
        world.heard(to),
        [format!("long/topic x {alias}"), format!(" x {alias}"), "other/topic x".into(), format!(" x {alias}")]
    );
}

#[test]
fn packets_longer_than_a_client_takes_are_dropped_for_it() {
    let mut world = World::open();
    let mut properties = PropertyBuf::new();
    properties.push(Property::MaximumPacketSize(std::num::NonZeroU32::new(40).unwrap())).unwrap();
    let connect = Connect { properties: properties.as_properties(), ..Connect::new(Version::Mqtt5, "small") };
    let (small, large, from) = (world.joined(connect), world.v5("large"), world.v3("from"));
    for conn in [small, large] {
        world.subscribe(conn, "t", 1);
    }
    world.publish(from, "t", &"x".repeat(40), 1);
    world.publish(from, "t", "y", 1);
    // MQTT-3.1.2-24, MQTT-3.1.2-25
    assert_eq!(world.heard(small).len(), 1);
    assert_eq!(world.heard(large).len(), 2);
    assert_eq!(world.core.stats().dropped.get(DropReason::TooLarge), 1);
}

#[test]
fn what_has_become_too_long_is_not_sent_again_and_at_qos_2_is_released() {
    let mut world = World::open();
    let again = |world: &mut World, max: u32| {
        let mut properties = PropertyBuf::new();
        properties.push(Property::SessionExpiryInterval(100)).unwrap();
        properties.push(Property::MaximumPacketSize(max.try_into().unwrap())).unwrap();
        properties.push(Property::ReceiveMaximum(4.try_into().unwrap())).unwrap();
        let properties = properties.as_properties();
        let (conn, mut heard) =
            world.join(Connect { clean_start: false, properties, ..Connect::new(Version::Mqtt5, "to") });
        assert!(heard.remove(0).starts_with("connack Success"));
        (conn, heard)
    };
    let counts = |world: &World| {
        let stats = world.core.stats();
        assert_eq!(stats.routed, stats.delivered + stats.queued as u64 + stats.dropped.total());
        (stats.queued, stats.queued_bytes, stats.delivered, stats.dropped.get(DropReason::TooLarge))
    };
    let (to, _) = again(&mut world, 100);
    let from = world.v5("from");
    world.subscribe(to, "t", 2);
    let long = "x".repeat(40);
    for (n, (payload, qos)) in (1..).zip([(&*long, 1), (&*long, 2), ("a", 1), (&*long, 2), (&*long, 1), ("b", 2)]) {
        let qos = QoS::from_u8(qos).unwrap();
        world.publish_as(from, Publish { qos, id: PacketId::new(n), ..Publish::new("t", payload.as_bytes()) });
    }
    assert_eq!((world.heard(to).len(), counts(&world)), (4, (6, 43, 0, 0)));
    // PUBREC has said that it is there: that one is delivered.
    world.packet(to, Packet::PubRec(Ack::new(packet_id(4))));
    world.cut(to);
    // MQTT-3.1.2-25: two that were in flight, and one that has waited. What is to be released takes its place in the window.
    let (to, heard) = again(&mut world, 40);
    assert_eq!(heard, ["pubrel #2", "t a q1 #3 dup", "pubrel #4", "t b q2 #5"]);
    assert_eq!(counts(&world), (3, 0, 0, 3));
    world.cut(to);
    // It stays so, whatever the next connection takes.
    let (to, heard) = again(&mut world, 100);
    assert_eq!(heard, ["pubrel #2", "t a q1 #3 dup", "pubrel #4", "t b q2 #5 dup"]);
    world.publish(from, "t", "c", 1);
    assert!(world.heard(to).is_empty());
    world.packet(to, Packet::PubComp(Ack { reason: ReasonCode::PacketIdentifierNotFound, ..Ack::new(packet_id(2)) }));
    assert_eq!((world.heard(to), counts(&world)), (vec!["t c q1 #6".to_owned()], (4, 0, 0, 3)));
    world.packet(to, Packet::PubComp(Ack::new(packet_id(4))));
    [3, 6].into_iter().for_each(|id| world.pub_ack(to, id));
    world.packet(to, Packet::PubRec(Ack::new(packet_id(5))));
    world.packet(to, Packet::PubComp(Ack::new(packet_id(5))));
    assert_eq!(counts(&world), (0, 0, 4, 3));
}

/// MQTT-3.1.2-24
#[test]
fn no_answer_is_longer_than_a_client_takes() {
    let max = |max: u32| {
        let mut properties = PropertyBuf::new();
        properties.push(Property::MaximumPacketSize(max.try_into().unwrap())).unwrap();
        properties
    };
    let mut world = World::open();
    // CONNACK takes 16 bytes; the refusal 5.
    for (bytes, expected) in [
        (16, &["connack Success ReceiveMaximum(20) MaximumPacketSize(2000000) TopicAliasMaximum(10)"][..]),
        (15, &["connack ImplementationSpecificError"]),
        (5, &["connack ImplementationSpecificError"]),
        (4, &[]),
    ] {
        let properties = max(bytes);
        let will = Some(Will::new("will", b"x"));
        let properties = properties.as_properties();
        let (conn, heard) = world.join(Connect { properties, will, ..Connect::new(Version::Mqtt5, "c") });
        let heard: Vec<_> = heard.iter().map(String::as_str).collect();
        assert_eq!((heard.as_slice(), world.is_closed(conn)), (expected, bytes < 16), "{bytes} bytes");
    }
    // Nobody was let in by that, so nobody is gone.
    assert_eq!((world.core.stats().wills, world.core.stats().clients_connected), (0, 1));
    let properties = max(20);
    // SUBACK and UNSUBACK take 5 bytes and one for each filter.
    for (count, unsubscribes) in [(15, false), (16, false), (15, true), (16, true)] {
        let properties = properties.as_properties();
        let conn = world.joined(Connect { properties, ..Connect::new(Version::Mqtt5, "c") });
        let subscriptions = vec![Subscription::new("t", QoS::AtMostOnce); count];
        let filters = vec!["t"; count];
        let (id, properties) = (packet_id(1), Properties::default());
        world.packet(
            conn,
            match unsubscribes {
                true => Packet::Unsubscribe(Unsubscribe { id, filters: filters.as_slice().into(), properties }),
                false => {
                    Packet::Subscribe(Subscribe { id, subscriptions: subscriptions.as_slice().into(), properties })
                }
            },
        );
        let heard = world.heard(conn);
        match count {
            15 => assert!(heard.len() == 1 && heard[0].contains("suback #1"), "{heard:?}"),
            _ => assert_eq!(heard, ["disconnect PacketTooLarge"], "unsubscribes: {unsubscribes}"),
        }
    }
}

#[test]
fn the_window_of_a_client_is_kept_to_and_the_rest_waits_in_order() {
    let mut world = World::open();
    let mut properties = PropertyBuf::new();
    properties.push(Property::ReceiveMaximum(std::num::NonZeroU16::new(2).unwrap())).unwrap();
    let connect = Connect { properties: properties.as_properties(), ..Connect::new(Version::Mqtt5, "to") };
    let (to, from) = (world.joined(connect), world.v3("from"));
    world.subscribe(to, "t", 2);
    for n in 0..5 {
        world.publish_as(
            from,
            Publish { qos: QoS::AtLeastOnce, id: PacketId::new(n + 1), ..Publish::new("t", &n.to_string()) },
        );
    }
    // MQTT-3.3.4-9
    assert_eq!(world.heard(to), ["t 0 q1 #1", "t 1 q1 #2"]);
    world.pub_ack(to, 2);
    world.pub_ack(to, 1);
    assert_eq!(world.heard(to), ["t 2 q1 #3", "t 3 q1 #4"]);
    world.pub_ack(to, 3);
    world.pub_ack(to, 4);
    world.pub_ack(to, 5);
    assert_eq!(world.heard(to), ["t 4 q1 #5"]);
    assert_eq!(world.core.stats().queued, 0);
}

#[test]
fn a_client_keeps_to_the_window_that_it_was_told() {
    let mut world = World::new(Options::new().inflight_max(2));
    let from = world.v5("from");
    for id in 1..=3 {
        world.publish_as(from, Publish { qos: QoS::ExactlyOnce, id: PacketId::new(id), ..Publish::new("t", "x") });
    }
    let heard = world.heard(from);
    assert_eq!(heard.last().map(String::as_str), Some("disconnect ReceiveMaximumExceeded"));
}

#[test]
fn h16_a_slow_subscriber_holds_up_nobody_and_what_it_misses_is_counted() {
    for (overflow, kept, told) in [
        (Overflow::DropNewest, ["1", "2"], "puback #7"),
        (Overflow::DropOldest, ["4", "5"], "puback #7"),
        // The fast one has them all.
        (Overflow::Reject, ["1", "2"], "puback #7"),
    ] {
        let mut world = World::new(Options::new().queue_messages_max(2).overflow(overflow));
        let (slow, fast, from) = (world.v5("slow"), world.v5("fast"), world.v5("from"));
        world.subscribe(slow, "t", 1);
        world.subscribe(fast, "t", 0);
        world.wire.slow.push(slow);
        for n in 0..=5 {
            world.publish(from, "t", &n.to_string(), 1);
            world.publish(from, "t", "zero", 0);
        }
        assert_eq!(world.heard(fast).len(), 12, "{overflow:?}");
        assert_eq!(world.heard(from).last().map(String::as_str), Some(told), "{overflow:?}");
        assert_eq!(world.heard(slow), ["t 0 q1 #1"], "{overflow:?}");
        world.drained(slow);
        let expected = kept.map(|n| n.to_string());
        let heard: Vec<String> =
            world.heard(slow).iter().map(|text| text.split(' ').nth(1).unwrap_or_default().to_owned()).collect();
        assert_eq!(heard, expected, "{overflow:?}");
        let dropped = world.core.client("slow", world.now).unwrap().dropped;
        assert_eq!((dropped.get(DropReason::QueueFull), dropped.get(DropReason::Slow)), (3, 6), "{overflow:?}");
        assert_eq!(world.core.stats().dropped, dropped, "{overflow:?}");
    }
}

#[test]
fn a_message_is_rejected_only_if_nobody_has_it() {
    // Who else is there; how the message is published; what its publisher is told.
    for (name, other, qos, retain, told) in [
        ("nobody else", None, 1, false, "puback #7 QuotaExceeded"),
        ("nobody else, QoS 2", None, 2, false, "pubrec #7 QuotaExceeded"),
        ("another client", Some("t"), 1, false, "puback #7"),
        ("another client of QoS 2", Some("t"), 2, false, "pubrec #7"),
        ("a group whose members are full", Some("$share/g/t"), 1, false, "puback #7 QuotaExceeded"),
        ("it is retained", None, 1, true, "puback #7"),
    ] {
        let mut world = World::new(Options::new().inflight_max(1).queue_messages_max(1).overflow(Overflow::Reject));
        let (full, from) = (world.v5("full"), world.v5("from"));
        world.subscribe(full, "t", 2);
        (0..2).for_each(|n| world.publish(from, "t", &n.to_string(), 1));
        if let Some(filter) = other {
            let who = if filter.starts_with('$') { full } else { world.v5("other") };
            world.subscribe(who, filter, 2);
        }
        world.heard(from);
        let qos = QoS::from_u8(qos).unwrap();
        world.publish_as(from, Publish { qos, retain, id: PacketId::new(7), ..Publish::new("t", "2") });
        assert_eq!(world.heard(from), [told], "{name}");
        // Whatever is told, what the full one misses is counted.
        assert!(world.core.stats().dropped.get(DropReason::QueueFull) > 0, "{name}");
    }
    // The program is somebody, too, as long as its own queue has room.
    let mut world = World::new(Options::new().inflight_max(1).queue_messages_max(0).overflow(Overflow::Reject));
    let (full, from) = (world.v5("full"), world.v5("from"));
    world.subscribe(full, "t", 1);
    world.publish(from, "t", "0", 1);
    let (_, inbox) = world.core.subscribe_inbox("t", QoS::AtLeastOnce, 1).unwrap();
    world.heard(from);
    (1..3).for_each(|n| world.publish(from, "t", &n.to_string(), 1));
    assert_eq!(world.heard(from), ["puback #7", "puback #7 QuotaExceeded"]);
    assert_eq!((inbox.len(), inbox.dropped()), (1, 1));
}

#[test]
fn queues_are_bounded_by_bytes_each_and_together() {
    for options in [Options::new().queue_bytes_max(25), Options::new().queue_total_max(25)] {
        let mut world = World::new(options);
        let to = world.lasting(Version::Mqtt311, "to");
        world.subscribe(to, "t", 1);
        world.cut(to);
        let from = world.v3("from");
        for _ in 0..5 {
            world.publish(from, "t", "123456789", 1);
        }
        let stats = world.core.stats();
        assert_eq!((stats.queued, stats.queued_bytes, stats.dropped.total()), (2, 20, 3));
        let to = world.lasting(Version::Mqtt311, "to");
        assert_eq!(world.heard(to).len(), 0);
        assert_eq!(world.core.stats().queued_bytes, 0);
    }
}

#[test]
fn a_long_payload_is_shared() {
    let mut world = World::open();
    let from = world.v3("from");
    let conns: Vec<_> = (0..3).map(|n| world.v5(&n.to_string())).collect();
    for &conn in &conns {
        world.subscribe(conn, "t", 1);
    }
    let long = "x".repeat(5000);
    world.publish(from, "t", &long, 1);
    for conn in conns {
        assert_eq!(world.heard(conn), [format!("t {long} q1 #1")]);
    }
    assert_eq!(world.wire.shared, 3);
}

#[test]
fn h5_h11_subscriptions_are_answered_one_by_one() {
    let mut world = World::open();
    let (new, old) = (world.v5("new"), world.v3("old"));
    let filters: Vec<String> = (0..40).map(|n| format!("a long enough filter/{n}")).collect();
    let subscriptions: Vec<_> = filters.iter().map(|filter| Subscription::new(filter, QoS::AtLeastOnce)).collect();
    let list = subscriptions.as_slice();
    for conn in [new, old] {
        let (id, properties) = (packet_id(3), Properties::default());
        world.packet(conn, Packet::Subscribe(Subscribe { id, subscriptions: list.into(), properties }));
        assert_eq!(world.heard(conn), [format!("suback #3{}", " GrantedQoS1".repeat(40))]);
    }
    assert_eq!(world.core.stats().subscriptions, 80);
    let filters: Vec<&str> = filters.iter().map(String::as_str).chain(["another"]).collect();
    for (conn, told) in [(new, format!("{} NoSubscriptionExisted", " Success".repeat(40))), (old, " ".into())] {
        let (id, properties) = (packet_id(4), Properties::default());
        world.packet(conn, Packet::Unsubscribe(Unsubscribe { id, filters: filters.as_slice().into(), properties }));
        let heard = world.heard(conn);
        assert_eq!(heard.last(), Some(&format!("unsuback #4{told}")), "{heard:?}");
        // MQTT-3.10.4-2
        world.publish(conn, filters[0], "x", 0);
        assert!(world.heard(conn).is_empty());
    }
    assert_eq!(world.core.stats().subscriptions, 0);
}

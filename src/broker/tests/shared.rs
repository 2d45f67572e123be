//! Shared subscriptions (section 4.8.2).

use super::*;
use crate::broker::{DropReason, Overflow};

fn payloads(heard: &[String]) -> Vec<&str> {
    heard.iter().map(|text| text.split(' ').nth(1).unwrap_or_default()).collect()
}

#[test]
fn a_group_gets_each_message_once_in_turn() {
    let mut world = World::open();
    let (one, two, alone, from) = (world.v5("one"), world.v3("two"), world.v3("alone"), world.v3("from"));
    for conn in [one, two] {
        assert_eq!(world.subscribe(conn, "$share/g/t/+", 1), "suback #999 GrantedQoS1");
    }
    world.subscribe(alone, "t/#", 0);
    for n in 0..4 {
        world.publish(from, "t/x", &n.to_string(), 0);
    }
    assert_eq!(payloads(&world.heard(one)), ["0", "2"]);
    assert_eq!(payloads(&world.heard(two)), ["1", "3"]);
    assert_eq!(payloads(&world.heard(alone)), ["0", "1", "2", "3"]);
    assert_eq!(world.core.stats().shared_subscriptions, 2);
    world.cut(one);
    for n in 4..6 {
        world.publish(from, "t/x", &n.to_string(), 0);
    }
    assert_eq!(payloads(&world.heard(two)), ["4", "5"]);
}

#[test]
fn those_who_are_offline_or_full_are_passed_over() {
    let mut world = World::new(Options::new().inflight_max(1));
    let (busy, free, away) = (world.v5("busy"), world.v5("free"), world.lasting(Version::Mqtt5, "away"));
    let from = world.v3("from");
    for conn in [busy, away, free] {
        world.subscribe(conn, "$share/g/t", 1);
    }
    world.cut(away);
    world.publish(from, "t", "0", 1);
    assert_eq!(payloads(&world.heard(busy)), ["0"]);
    for n in 1..4 {
        world.publish(from, "t", &n.to_string(), 1);
        if n < 3 {
            world.pub_ack(free, n);
        }
    }
    assert_eq!(payloads(&world.heard(free)), ["1", "2", "3"]);
    // Nobody is free now, but two have a queue, and are connected.
    world.publish(from, "t", "4", 1);
    world.pub_ack(busy, 1);
    assert_eq!(payloads(&world.heard(busy)), ["4"]);
    world.cut(busy);
    world.cut(free);
    // One is left, and it is away: the message waits for it.
    world.publish(from, "t", "5", 1);
    let (_, heard) = world.join(Connect { clean_start: false, ..Connect::new(Version::Mqtt5, "away") });
    assert_eq!(heard.last().map(String::as_str), Some("t 3 q1 #1"), "what `free` did not acknowledge: {heard:?}");
}

#[test]
fn what_a_member_did_not_acknowledge_goes_to_another_when_its_session_ends() {
    for (qos, expected) in [(1, vec!["t x q1 #1"]), (2, vec![])] {
        let mut world = World::open();
        let (one, two, from) = (world.v5("one"), world.v5("two"), world.v5("from"));
        for conn in [one, two] {
            world.subscribe(conn, "$share/g/t", 2);
        }
        world.publish(from, "t", "x", qos);
        assert_eq!(world.heard(one).len(), 1);
        world.cut(one);
        // MQTT-4.8.2-5: at QoS 2 only what was never sent.
        assert_eq!(world.heard(two), expected, "QoS {qos}");
        world.cut(two);
        assert_eq!(world.core.stats().subscriptions, 0);
    }
}

#[test]
fn what_waits_for_a_group_that_ended_is_not_given_to_a_later_one() {
    let mut world = World::open();
    let (first, from) = (world.v5("first"), world.v5("from"));
    world.subscribe(first, "$share/g1/secret", 1);
    world.publish(from, "secret", "x", 1);
    let filters = ["$share/g1/secret"];
    let unsubscribe = Unsubscribe { id: packet_id(4), filters: (&filters).into(), properties: Properties::default() };
    world.packet(first, Packet::Unsubscribe(unsubscribe));
    let other = world.v5("other");
    world.subscribe(other, "$share/g2/other", 1);
    world.cut(first);
    assert!(world.heard(other).is_empty());
    assert_eq!(world.core.stats().dropped.get(DropReason::SessionEnded), 1);
}

#[test]
fn a_member_whose_queue_has_no_room_for_the_bytes_is_passed_over() {
    let long = "x".repeat(300);
    for (payload, content_type) in [(&*long, ""), ("", &*long)] {
        let mut world = World::new(Options::new().inflight_max(1).queue_bytes_max(1000));
        let (full, free, from) = (world.v5("full"), world.v5("free"), world.v5("from"));
        world.subscribe(full, "own", 1);
        world.publish(from, "own", "0", 1);
        world.publish(from, "own", &"x".repeat(900), 1);
        for conn in [full, free] {
            world.subscribe(conn, "$share/g/t", 1);
        }
        let mut properties = PropertyBuf::new();
        properties.push(Property::ContentType(content_type)).unwrap();
        let (qos, properties) = (QoS::AtLeastOnce, properties.as_properties());
        for _ in 0..3 {
            world.publish_as(from, Publish { qos, properties, ..Publish::new("t", payload.as_bytes()) });
        }
        // One is under way to it, two wait.
        assert_eq!((world.heard(free).len(), world.core.stats().dropped.get(DropReason::QueueFull)), (1, 0));
    }
}

#[test]
fn a_group_whose_queues_are_full_does_with_a_message_what_its_members_would() {
    for (overflow, kept, told) in [
        (Overflow::DropNewest, ["0", "1"], "puback #7"),
        (Overflow::DropOldest, ["2", "3"], "puback #7"),
        (Overflow::Reject, ["0", "1"], "puback #7 QuotaExceeded"),
    ] {
        let mut world = World::new(Options::new().queue_messages_max(1).overflow(overflow));
        let lasting = |id| Connect { clean_start: false, ..Connect::new(Version::Mqtt311, id) };
        for id in ["a", "b"] {
            let member = world.joined(lasting(id));
            world.subscribe(member, "$share/g/t", 1);
            world.cut(member);
        }
        let from = world.v5("from");
        for n in 0..4 {
            world.publish(from, "t", &n.to_string(), 1);
        }
        assert_eq!(world.heard(from).last().map(String::as_str), Some(told), "{overflow:?}");
        assert_eq!(world.core.stats().dropped.get(DropReason::QueueFull), 2, "{overflow:?}");
        let mut heard = Vec::new();
        for id in ["a", "b"] {
            let (_, all) = world.join(lasting(id));
            heard.extend(payloads(&all[1..]).into_iter().map(str::to_owned));
        }
        heard.sort_unstable();
        assert_eq!(heard, kept, "{overflow:?}");
    }
}

#[test]
fn what_a_member_leaves_and_the_others_have_no_room_for_is_counted_as_that() {
    let options = Options::new().inflight_max(1).queue_messages_max(0).overflow(Overflow::Reject);
    let mut world = World::new(options);
    let (one, two, from) = (world.v5("one"), world.v5("two"), world.v5("from"));
    for conn in [one, two] {
        world.subscribe(conn, "$share/g/t", 1);
    }
    (0..2).for_each(|n| world.publish(from, "t", &n.to_string(), 1));
    world.cut(one);
    let counts = |world: &World| {
        let dropped = world.core.stats().dropped;
        (dropped.get(DropReason::QueueFull), dropped.get(DropReason::SessionEnded))
    };
    assert_eq!(counts(&world), (1, 0));
    // Nobody is left who might have had room.
    world.cut(two);
    assert_eq!(counts(&world), (1, 1));
}

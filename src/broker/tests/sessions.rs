//! Sessions, wills, and what outlives a connection.

use super::*;
use crate::broker::{Change, DropReason, Saved, Store, Ticket};

fn bye(reason: ReasonCode) -> Packet<'static> {
    Packet::Disconnect(Disconnect::new(reason))
}

#[test]
fn h10_a_session_keeps_what_its_client_misses() {
    for version in [Version::Mqtt311, Version::Mqtt5] {
        let mut world = World::open();
        let from = world.v3("from");
        let to = world.lasting(version, "to");
        world.subscribe(to, "t", 2);
        world.publish(from, "t", "sent", 1);
        world.publish(from, "t", "half", 2);
        world.packet(to, Packet::PubRec(Ack::new(packet_id(2))));
        world.packet(from, Packet::PubRel(Ack::new(packet_id(7))));
        world.heard(to);
        world.cut(to);
        for qos in 0..3 {
            world.publish(from, "t", &format!("missed {qos}"), qos);
        }
        let (to, heard) = world.join(Connect { clean_start: false, ..Connect::new(version, "to") });
        // MQTT-4.4.0-1, MQTT-4.6.0-1: first what was under way, in its order, then what waited; nothing of QoS 0.
        let (first, rest) = heard.split_first().unwrap();
        assert!(first.starts_with("connack Success present"), "{heard:?}");
        assert_eq!(rest, ["t sent q1 #1 dup", "pubrel #2", "t missed 1 q1 #3", "t missed 2 q2 #4"], "{version:?}");
        world.pub_ack(to, 1);
        world.packet(to, Packet::PubComp(Ack::new(packet_id(2))));
        assert_eq!(world.core.stats().queued, 2);
    }
}

#[test]
fn h3_a_message_of_qos_2_comes_once_over_two_connections() {
    let mut world = World::open();
    let to = world.v5("to");
    world.subscribe(to, "t", 2);
    let from = world.lasting(Version::Mqtt311, "from");
    world.publish(from, "t", "x", 2);
    world.cut(from);
    let from = world.lasting(Version::Mqtt311, "from");
    world.publish_as(from, Publish { qos: QoS::ExactlyOnce, dup: true, ..Publish::new("t", "x") });
    assert_eq!(world.heard(from), ["pubrec #7"]);
    assert_eq!(world.heard(to), ["t x q2 #1"]);
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let mut world = World::open();
    let from = world.v3("from");
    let to = world.lasting(Version::Mqtt5, "to");
    world.subscribe(to, "t", 1);
    world.pass(secs(40));
    world.packet(from, Packet::PingReq);
    world.cut(to);
    world.publish(from, "t", "x", 1);
    assert_eq!(world.core.stats().queued, 1);
    for _ in 0..4 {
        world.pass(secs(20));
        world.packet(from, Packet::PingReq);
    }
    assert_eq!(world.core.stats().sessions, 2);
    world.pass(secs(20));
    // MQTT-4.1.0-2
    let stats = world.core.stats();
    assert_eq!((stats.sessions, stats.subscriptions, stats.queued, stats.queued_bytes), (1, 0, 0, 0));
    assert_eq!((stats.expired_sessions, stats.dropped.get(DropReason::SessionEnded)), (1, 1));
    let (_, heard) = world.join(Connect { clean_start: false, ..Connect::new(Version::Mqtt5, "to") });
    assert!(!heard[0].contains("present"));
}

#[test]
fn disconnect_may_change_how_long_a_session_lasts() {
    let mut world = World::open();
    let to = world.lasting(Version::Mqtt5, "to");
    let mut properties = PropertyBuf::new();
    properties.push(Property::SessionExpiryInterval(0)).unwrap();
    let properties = properties.as_properties();
    world.packet(to, Packet::Disconnect(Disconnect { properties, ..Disconnect::new(ReasonCode::Success) }));
    assert!(world.is_closed(to));
    assert_eq!(world.core.stats().sessions, 0);
}

#[test]
fn a_message_ages_while_it_waits() {
    let mut world = World::open();
    let from = world.joined(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt5, "from") });
    let to = world.lasting(Version::Mqtt5, "to");
    world.subscribe(to, "t", 1);
    world.cut(to);
    for (seconds, payload) in [(1, "short"), (60, "long")] {
        let mut properties = PropertyBuf::new();
        properties.push(Property::MessageExpiryInterval(seconds)).unwrap();
        let properties = properties.as_properties();
        world.publish_as(from, Publish { qos: QoS::AtLeastOnce, properties, ..Publish::new("t", payload) });
    }
    world.pass(secs(2));
    let (_, heard) = world.join(Connect { clean_start: false, ..Connect::new(Version::Mqtt5, "to") });
    // MQTT-3.3.2-5, MQTT-3.3.2-6
    assert_eq!(heard[1..], ["t long q1 #1 MessageExpiryInterval(58)"]);
    assert_eq!(world.core.stats().dropped.get(DropReason::Expired), 1);
}

#[test]
fn h9_a_will_is_published_when_its_client_is_gone() {
    // (name, will delay, session expiry, the end, published at once, published after 5 s)
    type End = fn(&mut World, ConnId);
    let table: &[(&str, u32, u32, End, bool, bool)] = &[
        ("cut", 0, 0, |world, conn| world.cut(conn), true, true),
        ("DISCONNECT", 0, 0, |world, conn| world.packet(conn, bye(ReasonCode::Success)), false, false),
        (
            "DISCONNECT with will",
            0,
            0,
            |world, conn| world.packet(conn, bye(ReasonCode::DisconnectWithWill)),
            true,
            true,
        ),
        ("a broken rule", 0, 0, |world, conn| assert_eq!(world.bytes(conn, b"\0\0"), 2), true, true),
        ("delayed", 5, 100, |world, conn| world.cut(conn), false, true),
        ("the session is shorter than the delay", 5, 0, |world, conn| world.cut(conn), true, true),
        (
            "taken over",
            0,
            100,
            |world, _| assert!(!world.lasting(Version::Mqtt5, "c").to_string().is_empty()),
            true,
            true,
        ),
        (
            "taken over within the delay",
            5,
            100,
            |world, _| assert!(!world.lasting(Version::Mqtt5, "c").to_string().is_empty()),
            false,
            false,
        ),
        (
            "a clean start within the delay",
            5,
            100,
            |world, _| drop(world.join(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt5, "c") })),
            true,
            true,
        ),
        (
            "back within the delay",
            5,
            100,
            |world, conn| {
                world.cut(conn);
                world.lasting(Version::Mqtt5, "c");
            },
            false,
            false,
        ),
    ];
    for (name, delay, lasts, end, at_once, later) in table {
        let mut world = World::open();
        let watcher = world.joined(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt5, "watcher") });
        world.subscribe(watcher, "gone/#", 1);
        let mut of_will = PropertyBuf::new();
        of_will.push(Property::WillDelayInterval(*delay)).unwrap();
        of_will.push(Property::ContentType("x")).unwrap();
        let mut properties = PropertyBuf::new();
        properties.push(Property::SessionExpiryInterval(*lasts)).unwrap();
        let will = Will { properties: of_will.as_properties(), ..Will::new("gone/c", b"bye") };
        let properties = properties.as_properties();
        let connect = Connect { keep_alive: 0, will: Some(will), properties, ..Connect::new(Version::Mqtt5, "c") };
        let conn = world.joined(connect);
        end(&mut world, conn);
        let expected = "gone/c bye ContentType(\"x\")";
        let heard = world.heard(watcher);
        assert_eq!(heard, if *at_once { vec![expected] } else { vec![] }, "{name}");
        world.pass(secs(5));
        let heard_later = world.heard(watcher);
        assert_eq!(heard.len() + heard_later.len(), usize::from(*later), "{name}");
    }
}

#[test]
fn a_silent_client_leaves_its_will() {
    let mut world = World::open();
    let watcher = world.joined(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt311, "watcher") });
    world.subscribe(watcher, "gone", 1);
    let will = Will { qos: QoS::AtLeastOnce, retain: true, ..Will::new("gone", b"c") };
    world.joined(Connect { keep_alive: 10, will: Some(will), ..Connect::new(Version::Mqtt311, "c") });
    world.pass(secs(15));
    assert_eq!(world.heard(watcher), ["gone c q1 #1"]);
    // MQTT-3.1.2-15
    assert_eq!(world.core.stats().retained, 1);
}

/// A store that is slow.
struct Slow(u64);

impl Store for Slow {
    fn record(&mut self, change: &Change<'_>) -> Saved {
        match change {
            Change::Queued { .. } | Change::Retained { .. } | Change::Received { .. } => {
                self.0 += 1;
                Saved::At(Ticket(self.0))
            }
            _ => Saved::Now,
        }
    }
}

#[test]
fn an_acknowledgement_waits_until_its_message_is_safe() {
    let mut world = World::new(Options::new().store(Slow(0)));
    let to = world.lasting(Version::Mqtt5, "to");
    world.subscribe(to, "t", 1);
    let from = world.lasting(Version::Mqtt5, "from");
    world.publish(from, "nobody", "x", 1);
    assert_eq!(world.heard(from), ["puback #7 NoMatchingSubscribers"]);
    world.publish(from, "t", "one", 1);
    world.publish_as(from, Publish { qos: QoS::ExactlyOnce, id: PacketId::new(8), ..Publish::new("t", "two") });
    // The receiver does not wait.
    assert_eq!(world.heard(to).len(), 2);
    assert!(world.heard(from).is_empty());
    world.core.stored(Ticket(1), &mut world.wire);
    assert_eq!(world.heard(from), ["puback #7"]);
    world.core.stored(Ticket(3), &mut world.wire);
    assert_eq!(world.heard(from), ["pubrec #8"]);
    // One that has gone meanwhile is told nothing, and sends it again.
    world.publish(from, "t", "three", 1);
    world.cut(from);
    world.core.stored(Ticket(9), &mut world.wire);
    assert!(world.core.unsafe_acks.is_empty());
}

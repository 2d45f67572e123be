//! Sessions, wills, and what outlives a connection.

use super::*;
use crate::broker::{DropReason, Ticket};

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

/// MQTT-3.3.2-5: it is deleted, whether its client comes or not.
#[test]
fn what_is_over_takes_nobodys_room() {
    let mut world = World::new(Options::new().queue_messages_max(2));
    let from = world.joined(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt5, "from") });
    // More sessions than are looked at together.
    for n in 0..600 {
        let conn = world.joined(Connect { clean_start: false, ..Connect::new(Version::Mqtt311, &format!("c{n}")) });
        world.subscribe(conn, "t", 1);
        world.cut(conn);
    }
    let publish = |world: &mut World, payload: &str, seconds: Option<u32>| {
        let mut properties = PropertyBuf::new();
        if let Some(seconds) = seconds {
            properties.push(Property::MessageExpiryInterval(seconds)).unwrap();
        }
        let properties = properties.as_properties();
        let payload = payload.as_bytes();
        world.publish_as(from, Publish { qos: QoS::AtLeastOnce, properties, ..Publish::new("t", payload) });
    };
    publish(&mut world, "short", Some(1));
    publish(&mut world, "long", Some(15));
    assert_eq!(world.core.stats().queued, 1200);
    (0..10).for_each(|_| world.pass(Duration::from_millis(200)));
    let stats = world.core.stats();
    assert_eq!((stats.queued, stats.dropped.get(DropReason::Expired)), (600, 600));
    // There is room for this one, so nothing is full.
    publish(&mut world, "live", None);
    (0..3000).for_each(|_| world.pass(Duration::from_millis(10)));
    let stats = world.core.stats();
    assert_eq!((stats.queued, stats.queued_bytes, stats.dropped.total()), (600, 600 * 5, 1200));
    // Nothing is left that could end, and nobody looks for it.
    assert_eq!(world.core.next_due(), Moment::NEVER);
    let (_, heard) = world.join(Connect { clean_start: false, ..Connect::new(Version::Mqtt5, "c7") });
    assert_eq!(heard[1..], ["t live q1 #1"]);
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

/// Before 5.0 no receive maximum bounds what is under way, and what is repeated has none in any version.
#[test]
fn a_client_is_not_read_while_many_of_its_acknowledgements_wait_for_the_store() {
    let message =
        |id: u16| Packet::Publish(Publish { qos: QoS::AtLeastOnce, id: PacketId::new(id), ..Publish::new("t", b"x") });
    let release = |_| Packet::PubRel(Ack::new(packet_id(9)));
    type Make<'a> = &'a dyn Fn(u16) -> Packet<'static>;
    let (message, release): (Make<'_>, Make<'_>) = (&message, &release);
    for (name, version, packet) in [("messages", Version::Mqtt311, message), ("releases", Version::Mqtt5, release)] {
        let mut world = World::new(Options::new().queue_messages_max(10_000).store(Slow(0)));
        let to = world.lasting(Version::Mqtt311, "to");
        world.subscribe(to, "t", 1);
        world.cut(to);
        let from = world.lasting(version, "from");
        // So that the releases have something to wait for.
        world.publish_as(from, Publish { qos: QoS::ExactlyOnce, id: PacketId::new(9), ..Publish::new("t", b"x") });
        let mut rest = Vec::new();
        for id in 1001..6001 {
            encode(&packet(id), version, &mut rest).unwrap();
        }
        let mut answers = 0;
        loop {
            let used = world.bytes(from, &rest);
            rest.drain(..used);
            assert!(world.core.unsafe_acks.len() <= 1024, "{name}");
            assert_eq!(world.wire.paused.contains(&from), !rest.is_empty(), "{name}");
            if rest.is_empty() {
                break;
            }
            assert_eq!(world.bytes(from, &rest), 0, "{name}");
            assert!(world.heard(from).is_empty(), "{name}");
            let latest = world.core.unsafe_acks.back().unwrap().ticket;
            world.core.stored(latest, &mut world.wire);
            answers += world.heard(from).len();
            assert!(!world.wire.paused.contains(&from), "{name}");
        }
        assert!(answers >= 1024, "{name}: {answers}");
        // Releases wait only for what the first of them waits for.
        assert_eq!(world.core.stats().reads_held, if version.is_5() { 1 } else { 4 }, "{name}");
        // What waits for nobody is nobody's burden.
        world.cut(from);
        assert!(world.core.unsafe_acks.is_empty(), "{name}");
    }
}

/// MQTT-4.6.0-2
#[test]
fn an_acknowledgement_behind_a_later_one_of_another_client_is_not_overtaken() {
    let mut world = World::new(Options::new().store(Slow(0)));
    let to = world.lasting(Version::Mqtt5, "to");
    world.subscribe(to, "t", 1);
    let [one, other] = ["one", "other"].map(|id| world.lasting(Version::Mqtt5, id));
    let message = |id, topic| Publish { qos: QoS::AtLeastOnce, id: PacketId::new(id), ..Publish::new(topic, b"x") };
    world.publish_as(one, message(1, "t"));
    world.publish_as(other, message(1, "t"));
    world.publish_as(one, message(2, "nobody"));
    world.core.stored(Ticket(1), &mut world.wire);
    world.publish_as(one, message(3, "nobody"));
    assert_eq!(world.heard(one), ["puback #1"]);
    world.core.stored(Ticket(2), &mut world.wire);
    assert_eq!(world.heard(one), ["puback #2 NoMatchingSubscribers", "puback #3 NoMatchingSubscribers"]);
}

#[test]
fn a_repeated_message_behind_another_clients_does_not_acknowledge_a_new_one_that_is_not_safe() {
    let mut world = World::new(Options::new().store(Slow(0)));
    let to = world.lasting(Version::Mqtt5, "to");
    world.subscribe(to, "t", 1);
    let [one, other] = ["one", "other"].map(|id| world.v3(id));
    let twice = Publish { qos: QoS::ExactlyOnce, id: PacketId::new(8), ..Publish::new("t", b"x") };
    world.publish_as(one, twice);
    world.publish(other, "t", "x", 1);
    world.publish_as(one, Publish { dup: true, ..twice });
    world.core.stored(Ticket(1), &mut world.wire);
    assert_eq!(world.heard(one), ["pubrec #8"]);
    world.packet(one, Packet::PubRel(Ack::new(packet_id(8))));
    // The identifier is not free before the answer to the repeated message is out.
    assert!(world.heard(one).is_empty());
    world.core.stored(Ticket(2), &mut world.wire);
    assert_eq!(world.heard(one), ["pubrec #8", "pubcomp #8"]);
    world.publish_as(one, twice);
    assert!(world.heard(one).is_empty());
    world.core.stored(Ticket(3), &mut world.wire);
    assert_eq!(world.heard(one), ["pubrec #8"]);
}

/// MQTT-3.1.2-22
#[test]
fn a_client_that_was_not_read_for_long_is_read_before_it_counts_as_silent() {
    for speaks in [true, false] {
        let mut world = World::new(Options::new().unsafe_acks_max(1).store(Slow(0)));
        let to = world.lasting(Version::Mqtt5, "to");
        world.subscribe(to, "t", 1);
        let from = world.joined(Connect { keep_alive: 10, ..Connect::new(Version::Mqtt5, "from") });
        world.publish(from, "t", "x", 1);
        (0..100).for_each(|_| world.pass(secs(1)));
        world.core.stored(Ticket(1), &mut world.wire);
        world.pass(secs(1));
        assert!(!world.is_closed(from));
        if speaks {
            world.packet(from, Packet::PingReq);
        }
        world.pass(secs(2));
        assert_eq!(world.is_closed(from), !speaks);
    }
}

#[test]
fn acknowledgements_of_connections_that_ended_do_not_pile_up_among_those_that_wait() {
    let mut world = World::new(Options::new().store(Slow(0)));
    let to = world.lasting(Version::Mqtt5, "to");
    world.subscribe(to, "t", 1);
    let lasting = world.v3("lasting");
    let acks = |world: &mut World, conn, n: usize| (0..n).for_each(|_| world.publish(conn, "t", "x", 1));
    acks(&mut world, lasting, 10);
    for _ in 0..100 {
        let coming_and_going = world.v3("coming and going");
        acks(&mut world, coming_and_going, 7);
        world.cut(coming_and_going);
        assert!(world.core.unsafe_acks.len() <= 2 * 10 + 7, "{}", world.core.unsafe_acks.len());
    }
    assert!(world.heard(lasting).is_empty());
    let latest = world.core.unsafe_acks.back().unwrap().ticket;
    world.core.stored(latest, &mut world.wire);
    assert_eq!(world.heard(lasting).len(), 10);
    assert_eq!((world.core.unsafe_acks.len(), world.core.stale_acks), (0, 0));
}

/// MQTT-4.6.0-2
#[test]
fn no_acknowledgement_overtakes_one_that_waits_and_a_repeated_message_is_not_safe_sooner() {
    let mut world = World::new(Options::new().store(Slow(0)));
    let to = world.lasting(Version::Mqtt5, "to");
    world.subscribe(to, "t", 0);
    let from = world.lasting(Version::Mqtt5, "from");
    let twice = Publish { qos: QoS::ExactlyOnce, id: PacketId::new(8), ..Publish::new("t", "two") };
    world.publish_as(from, twice);
    world.publish(from, "nobody", "x", 1);
    world.publish_as(from, Publish { dup: true, ..twice });
    assert!(world.heard(from).is_empty());
    // Nor on its next connection.
    world.cut(from);
    let from = world.lasting(Version::Mqtt5, "from");
    world.heard(from);
    world.publish_as(from, Publish { dup: true, ..twice });
    assert!(world.heard(from).is_empty());
    world.core.stored(Ticket(1), &mut world.wire);
    assert_eq!(world.heard(from), ["pubrec #8"]);
    // The identifier is free once the store knows that it is.
    world.packet(from, Packet::PubRel(Ack::new(packet_id(8))));
    assert!(world.heard(from).is_empty());
    // Nor is that told sooner on the next connection.
    world.cut(from);
    let from = world.lasting(Version::Mqtt5, "from");
    world.heard(from);
    world.packet(from, Packet::PubRel(Ack::new(packet_id(8))));
    assert!(world.heard(from).is_empty());
    world.core.stored(Ticket(2), &mut world.wire);
    assert_eq!(world.heard(from), ["pubcomp #8 PacketIdentifierNotFound"]);
    world.publish(from, "nobody", "y", 1);
    assert_eq!(world.heard(from), ["puback #7 NoMatchingSubscribers"]);
    assert!(world.core.unsafe_acks.is_empty());
}

/// MQTT-3.1.3-9: a machine that was asleep hears of the client before its timers, and yet time has passed.
#[test]
fn a_client_that_comes_back_too_late_does_not_undo_what_time_has_done() {
    // (name, will delay, seconds that the session lasts, seconds away, session present, will published)
    let rows = [
        ("before both", 5, 10, 4, true, false),
        ("after the will's delay", 5, 10, 6, true, true),
        ("after the session's end", 50, 10, 11, false, true),
    ];
    for (name, delay, lasts, away, present, published) in rows {
        let mut world = World::open();
        let watcher = world.v3("watcher");
        world.subscribe(watcher, "gone/#", 0);
        let (mut of_will, mut of_session) = (PropertyBuf::new(), PropertyBuf::new());
        of_will.push(Property::WillDelayInterval(delay)).unwrap();
        of_session.push(Property::SessionExpiryInterval(lasts)).unwrap();
        let properties = of_session.as_properties();
        let connect = Connect { clean_start: false, properties, ..Connect::new(Version::Mqtt5, "c") };
        let will = Will { properties: of_will.as_properties(), ..Will::new("gone/c", b"bye") };
        let conn = world.joined(Connect { will: Some(will), ..connect });
        world.cut(conn);
        world.now = world.now.after(secs(away));
        let (_, heard) = world.join(connect);
        assert_eq!(heard[0].starts_with("connack Success present"), present, "{name}: {heard:?}");
        world.pass(secs(100));
        let heard = world.heard(watcher);
        assert_eq!(heard.iter().any(|text| text == "gone/c bye"), published, "{name}: {heard:?}");
    }
}

/// What a machine that was asleep has missed it does in the order in which it was due.
#[test]
fn a_will_that_was_due_before_its_session_ended_is_published_before() {
    let mut world = World::open();
    let (mut of_will, mut of_session) = (PropertyBuf::new(), PropertyBuf::new());
    of_will.push(Property::WillDelayInterval(5)).unwrap();
    of_session.push(Property::SessionExpiryInterval(10)).unwrap();
    let will = Will { properties: of_will.as_properties(), ..Will::new("gone/c", b"bye") };
    let properties = of_session.as_properties();
    let will = Some(Will { qos: QoS::AtLeastOnce, ..will });
    let conn = world.joined(Connect { clean_start: false, will, properties, ..Connect::new(Version::Mqtt5, "c") });
    world.subscribe(conn, "gone/#", 1);
    world.cut(conn);
    world.now = world.now.after(secs(60));
    world.pass(secs(1));
    // Its own session was there for it, and took it along.
    assert_eq!(world.core.stats().dropped.get(DropReason::SessionEnded), 1);
}

#[test]
fn a_session_that_is_ended_by_hand_leaves_nothing_behind() {
    // (connected, what its client is told)
    for (is_connected, told) in [(true, &["disconnect AdministrativeAction"][..]), (false, &[])] {
        let mut world = World::open();
        let (watcher, other) = (world.v5("watcher"), world.lasting(Version::Mqtt5, "other"));
        world.subscribe(watcher, "will", 1);
        let mut properties = PropertyBuf::new();
        properties.push(Property::WillDelayInterval(3600)).unwrap();
        let will = Will { properties: properties.as_properties(), ..Will::new("will", b"gone") };
        let mut lasts = PropertyBuf::new();
        lasts.push(Property::SessionExpiryInterval(3600)).unwrap();
        let connect = Connect {
            clean_start: false,
            will: Some(will),
            properties: lasts.as_properties(),
            ..Connect::new(Version::Mqtt5, "ended")
        };
        let conn = world.joined(connect);
        for (who, filter) in [(conn, "own"), (conn, "$share/g/all"), (other, "$share/g/all")] {
            world.subscribe(who, filter, 1);
        }
        world.publish(watcher, "own", "x", 1);
        world.publish(watcher, "all", "y", 1);
        world.heard(conn);
        if !is_connected {
            world.cut(conn);
            assert!(world.heard(watcher).iter().all(|said| !said.starts_with("will")), "it waits");
        }
        let reason = ReasonCode::AdministrativeAction;
        assert!(world.core.end_client("ended", reason, world.now, &mut world.wire), "connected: {is_connected}");
        assert_eq!(world.heard(conn), told, "connected: {is_connected}");
        assert_eq!(world.heard(watcher).last().map(String::as_str), Some("will gone"), "connected: {is_connected}");
        // Its part of the group's work is another's.
        assert_eq!(world.heard(other), ["all y q1 #1"], "connected: {is_connected}");
        let stats = world.core.stats();
        assert_eq!((stats.sessions, stats.subscriptions, stats.queued), (2, 2, 1), "connected: {is_connected}");
        assert!(!world.core.end_client("ended", reason, world.now, &mut world.wire));
        assert!(world.core.client("ended", world.now).is_none());
    }
}

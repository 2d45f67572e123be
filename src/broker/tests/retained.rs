//! Retained messages on their way to subscribers.

use super::*;
use crate::broker::local::is_local;

fn subscription(filter: &str, retain_handling: RetainHandling) -> Subscription<'_> {
    Subscription { retain_handling, ..Subscription::new(filter, QoS::AtLeastOnce) }
}

#[test]
fn h9_a_retained_message_waits_for_those_who_come_later() {
    let mut world = World::open();
    let from = world.v3("from");
    world.retain(from, "a", "1");
    world.retain(from, "a", "2");
    world.retain(from, "b/c", "3");
    let to = world.v5("to");
    assert_eq!(world.subscribe(to, "#", 1), "suback #999 GrantedQoS1");
    // MQTT-3.3.1-5, MQTT-3.3.1-8
    assert_eq!(world.heard(to), ["a 2 retained", "b/c 3 retained"]);
    // MQTT-3.3.1-6, MQTT-3.3.1-7: an empty one clears, and is delivered.
    world.retain(from, "a", "");
    assert_eq!(world.heard(to), ["a "]);
    let other = world.v3("other");
    world.subscribe(other, "+", 0);
    assert!(world.heard(other).is_empty());
    assert_eq!(world.core.stats().retained, 1);
}

#[test]
fn retain_handling_is_the_subscribers_choice() {
    let mut world = World::open();
    let from = world.v3("from");
    world.retain(from, "t", "x");
    let to = world.v5("to");
    // MQTT-3.3.1-9, -10, -11
    for (handling, expected) in [
        (RetainHandling::DontSend, 0),
        (RetainHandling::SendIfNew, 0),
        (RetainHandling::Send, 1),
        (RetainHandling::SendIfNew, 0),
    ] {
        world.subscribe_as(to, subscription("t", handling), None);
        assert_eq!(world.heard(to).len(), expected, "{handling:?}");
    }
    world.subscribe_as(to, subscription("+", RetainHandling::SendIfNew), Some(5));
    assert!(world.heard(to)[0].contains("Id(5)"));
    // Section 4.8.2: none for a shared one.
    world.subscribe(to, "$share/g/t", 1);
    assert!(world.heard(to).is_empty());
}

#[test]
fn retained_messages_expire() {
    let mut world = World::open();
    let from = world.joined(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt5, "from") });
    let mut properties = PropertyBuf::new();
    properties.push(Property::MessageExpiryInterval(10)).unwrap();
    let properties = properties.as_properties();
    world.publish_as(from, Publish { retain: true, properties, ..Publish::new("t", "x") });
    world.pass(secs(3));
    world.subscribe(from, "t", 0);
    assert_eq!(world.heard(from), ["t x retained MessageExpiryInterval(7)"]);
    world.pass(secs(7));
    world.subscribe(from, "t", 0);
    assert!(world.heard(from).is_empty());
    world.pass(secs(20));
    assert_eq!((world.core.stats().retained, world.core.stats().retained_bytes), (0, 0));
}

#[test]
fn all_of_them_arrive_however_many_there_are_and_however_slow_the_client() {
    for (qos, keeps) in [(0, false), (1, false), (1, true)] {
        let mut world = World::open();
        let from = world.joined(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt311, "from") });
        for n in 0..300 {
            world.publish_as(
                from,
                Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new(&format!("t/{n:03}"), "x") },
            );
        }
        let to = if keeps { world.lasting(Version::Mqtt5, "to") } else { world.v5("to") };
        world.wire.slow.push(to);
        world.subscribe(to, "t/#", qos);
        let mut heard = Vec::new();
        for turn in 0.. {
            assert!(turn < 1000, "only {} have come", heard.len());
            let now = world.heard(to);
            if now.is_empty() && heard.len() >= 300 {
                break;
            }
            for text in now {
                if let Some((_, id)) = text.split_once('#') {
                    let id = id.split(' ').next().unwrap().parse().unwrap();
                    world.pub_ack(to, id);
                }
                heard.push(text[..5].to_owned());
            }
            world.core.handle_drained(to, world.now, &mut world.wire);
        }
        let expected: Vec<String> = (0..300).map(|n| format!("t/{n:03}")).collect();
        assert_eq!(heard, expected, "QoS {qos}, lasting {keeps}");
        assert_eq!(world.core.stats().dropped.total(), 0);
    }
}

#[test]
fn they_are_bounded() {
    let mut world = World::new(Options::new().retained_max(2).retained_bytes_max(100));
    let from = world.v3("from");
    for topic in ["a", "b", "c"] {
        world.retain(from, topic, "x");
    }
    world.retain(from, "a", "y");
    world.retain(from, "b", &"x".repeat(100));
    let stats = world.core.stats();
    assert_eq!((stats.retained, stats.retained_bytes, stats.retained_refused), (2, 4, 2));
}

#[test]
fn sys_costs_nothing_until_somebody_asks() {
    let mut world = World::open();
    let from = world.joined(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt311, "from") });
    world.subscribe(from, "#", 0);
    assert_eq!(world.core.next_due(), Moment::NEVER);
    let to = world.joined(Connect { keep_alive: 0, ..Connect::new(Version::Mqtt311, "to") });
    world.subscribe(to, "$SYS/#", 0);
    let heard = world.heard(to);
    for text in ["$SYS/broker/clients/connected 2 retained", "$SYS/broker/subscriptions/count 2 retained"] {
        assert!(heard.iter().any(|said| said == text), "{text}: {heard:#?}");
    }
    assert!(heard.iter().any(|said| said.starts_with("$SYS/broker/version vansire ")));
    // MQTT-4.7.2-1
    assert!(world.heard(from).is_empty());
    world.publish(from, "t", "x", 0);
    world.heard(from);
    world.pass(secs(10));
    let heard = world.heard(to);
    assert!(heard.iter().any(|said| said == "$SYS/broker/publish/messages/received 1"), "{heard:#?}");
    assert!(heard.iter().any(|said| said == "$SYS/broker/uptime 10 seconds"), "{heard:#?}");
    assert!(!heard.iter().any(|said| said.starts_with("$SYS/broker/version")), "unchanged: {heard:#?}");
    // MQTT-4.7.2-2: it is the broker's.
    world.retain(from, "$SYS/broker/version", "mine");
    assert!(world.heard(to).is_empty());
    world.cut(to);
    assert_eq!(world.core.next_due(), Moment::NEVER);
}

#[test]
fn the_program_subscribes_and_publishes_without_a_connection() {
    let mut world = World::open();
    let client = world.v5("client");
    world.retain(client, "t/0", "old");
    let (who, inbox) = world.core.subscribe_inbox("t/+", QoS::AtLeastOnce, 2).unwrap();
    assert!(is_local(who));
    world.publish(client, "t/1", "new", 2);
    world.publish(client, "t/2", "dropped", 0);
    assert_eq!((inbox.len(), inbox.dropped()), (2, 1));
    let (old, new) = (inbox.next().unwrap(), inbox.next().unwrap());
    assert_eq!((old.topic(), old.payload(), old.retain, old.qos), ("t/0", &b"old"[..], true, QoS::AtMostOnce));
    assert_eq!((new.topic(), new.payload(), new.retain, new.qos), ("t/1", &b"new"[..], false, QoS::AtLeastOnce));
    drop(inbox);
    world.core.tidy_locals();
    assert_eq!(world.core.stats().subscriptions, 0);
    assert!(world.core.subscribe_inbox("t/#/x", QoS::AtLeastOnce, 2).is_err());
}

//! Retained messages on their way to subscribers.

use std::rc::Rc;

use super::*;
use crate::broker::Message;
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

/// MQTT-3.3.1-9: the session has subscribed, and will not do so again when it comes back.
#[test]
fn what_could_not_be_sent_before_the_connection_was_lost_is_sent_on_the_next() {
    for (qos, expected) in [(1, 5), (0, 0)] {
        let mut world = World::new(Options::new().access(AllowAll).inflight_max(2));
        let from = world.v3("from");
        for n in 0..5 {
            let topic = format!("t/{n}");
            world.publish_as(from, Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new(&topic, "x") });
        }
        let to = world.lasting(Version::Mqtt311, "to");
        world.wire.slow.push(to);
        world.subscribe(to, "t/+", qos);
        world.heard(to);
        world.cut(to);
        let (to, mut heard) = world.join(Connect { clean_start: false, ..Connect::new(Version::Mqtt311, "to") });
        let mut topics = std::collections::BTreeSet::new();
        for _ in 0..5 {
            for text in heard.iter().filter(|text| text.starts_with("t/")) {
                topics.insert(text[..3].to_owned());
                let id = text.split_once('#').and_then(|(_, id)| id.split(' ').next()?.parse().ok()).unwrap();
                world.pub_ack(to, id);
            }
            heard = world.heard(to);
        }
        // Nothing of QoS 0 waits for a client that is away.
        assert_eq!(topics.len(), expected, "QoS {qos}: {topics:?}");
    }
}

#[test]
fn a_client_that_subscribes_again_and_again_and_acknowledges_nothing_takes_no_more_memory() {
    let mut world = World::new(Options::new().access(AllowAll).inflight_max(1));
    let from = world.v3("from");
    for topic in ["t/0", "t/1"] {
        world.publish_as(from, Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new(topic, "x") });
    }
    let to = world.v3("to");
    for n in 0..1000 {
        world.subscribe(to, ["t/#", "t/+", "t/1"][n % 3], 1);
        world.heard(to);
    }
    let who = world.core.sessions.find("to").unwrap();
    let waiting = world.core.sessions.get(who).unwrap().rare.as_ref().unwrap().replays.len();
    assert!(waiting < 40, "{waiting} subscriptions wait for what is retained");
}

#[test]
fn a_filter_that_has_everything_looked_at_holds_up_nobody() {
    let mut world = World::open();
    let from = world.v3("from");
    let topics: Vec<String> = (0..2_000).map(|n| format!("t/{n:04}/v")).chain(["t/9999/w".into()]).collect();
    topics.iter().for_each(|topic| world.retain(from, topic, "x"));
    let (walker, other) = (world.v5("walker"), world.v5("other"));
    world.heard(walker);
    // Each has all topics looked at, and the last one matches one of them.
    let filters: Vec<String> = (0..50).map(|n| format!("t/+/{n}")).chain(["t/+/w".into()]).collect();
    let subscriptions: Vec<_> = filters.iter().map(|filter| Subscription::new(filter, QoS::AtMostOnce)).collect();
    let subscriptions = subscriptions.as_slice().into();
    let (id, properties) = (packet_id(1), Properties::default());
    world.packet(walker, Packet::Subscribe(Subscribe { id, subscriptions, properties }));
    let heard = world.heard(walker);
    assert!(heard.len() == 1 && heard[0].starts_with("suback #1"), "it waits for its turn: {heard:?}");
    // Whoever comes while that goes on waits for none of it.
    let mut turns = 0;
    let mut heard = Vec::new();
    while heard.is_empty() {
        turns += 1;
        assert!(turns < 100, "it never ends");
        world.pass(Duration::from_millis(1));
        heard = world.heard(walker);
        world.subscribe(other, "t/0007/#", 0);
        assert_eq!(world.heard(other), ["t/0007/v x retained"], "turn {turns}");
    }
    assert_eq!(heard, ["t/9999/w x retained"]);
    assert!(turns > 10, "51 times 2,001 topics in {turns} turns");
    world.pass(secs(1));
    assert!(world.heard(walker).is_empty());
    // A client that goes meanwhile leaves nothing behind.
    world.packet(walker, Packet::Subscribe(Subscribe { id, subscriptions, properties }));
    world.cut(walker);
    world.cut(other);
    world.cut(from);
    assert_eq!(world.core.next_due(), Moment::NEVER);
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
    // Properties are part of it.
    let from = world.v5("from5");
    let mut properties = PropertyBuf::new();
    properties.push(Property::ContentType(&"x".repeat(100))).unwrap();
    let properties = properties.as_properties();
    world.publish_as(from, Publish { retain: true, properties, ..Publish::new("b", b"x") });
    let stats = world.core.stats();
    assert_eq!((stats.retained, stats.retained_bytes, stats.retained_refused), (2, 4, 3));
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
fn sys_takes_nobodys_room_and_is_refused_none() {
    for options in [Options::new().retained_max(2), Options::new().retained_bytes_max(4)] {
        let mut world = World::new(options.access(AllowAll));
        let client = world.v5("client");
        world.retain(client, "a", "x");
        world.subscribe(client, "$SYS/#", 0);
        assert!(world.heard(client).iter().any(|said| said.starts_with("$SYS/broker/clients/connected 1")));
        world.retain(client, "b", "x");
        let stats = world.core.stats();
        assert_eq!((stats.retained, stats.retained_bytes, stats.retained_refused), (2, 4, 0));
        world.retain(client, "c", "x");
        assert_eq!(world.core.stats().retained_refused, 1);
        // They are retained all the same.
        let late = world.v5("late");
        world.pass(secs(10));
        world.subscribe(late, "$SYS/broker/clients/+", 0);
        assert!(world.heard(late).iter().any(|said| said == "$SYS/broker/clients/connected 2 retained"));
    }
}

#[test]
fn who_begins_to_watch_hears_each_figure_once() {
    let mut world = World::open();
    let (first, second) = (world.v5("first"), world.v5("second"));
    for conn in [first, second] {
        world.subscribe(conn, "$SYS/#", 0);
        let heard = world.heard(conn);
        let mut topics: Vec<_> = heard.iter().filter_map(|said| said.rsplit_once(' ')?.0.rsplit_once(' ')).collect();
        assert!(heard.iter().all(|said| said.ends_with(" retained")), "{heard:#?}");
        let count = topics.len();
        topics.sort_unstable();
        topics.dedup_by_key(|(topic, _)| *topic);
        assert!(count > 40 && topics.len() == count, "{heard:#?}");
    }
}

#[test]
fn figures_that_nobody_keeps_up_are_not_kept() {
    let mut world = World::open();
    let (client, other) = (world.v5("client"), world.v5("other"));
    for conn in [client, other] {
        world.subscribe(conn, "$SYS/broker/#", 0);
    }
    let kept = |world: &World| world.core.retained_page("$SYS/#", None, 100, usize::MAX).unwrap().messages.len();
    world.cut(client);
    assert!(kept(&world) > 40);
    world.cut(other);
    assert_eq!((kept(&world), world.core.next_due()), (0, Moment::NEVER));
}

#[test]
fn the_program_is_told_the_figures_without_any_client() {
    let mut world = World::open();
    let (_, inbox) = world.core.subscribe_inbox("$SYS/broker/clients/+", QoS::AtMostOnce, 100).unwrap();
    let (_, other) = world.core.subscribe_inbox("#", QoS::AtMostOnce, 100).unwrap();
    let figure = |name: &str| {
        let topic = format!("$SYS/broker/clients/{name}");
        let last = std::iter::from_fn(|| inbox.next()).filter(|message| message.topic() == topic).last()?;
        Some(String::from_utf8_lossy(last.payload()).into_owned())
    };
    // At once, and then as often as clients are.
    assert!(world.core.next_due() <= world.now);
    world.pass(secs(0));
    assert_eq!(figure("connected").as_deref(), Some("0"));
    let client = world.v5("client");
    world.pass(secs(9));
    assert_eq!(figure("connected"), None);
    world.pass(secs(1));
    assert_eq!(figure("connected").as_deref(), Some("1"));
    assert!(other.is_empty(), "MQTT-4.7.2-1");
    world.cut(client);
    drop(inbox);
    world.pass(secs(10));
    assert_eq!(world.core.next_due(), Moment::NEVER);
    assert!(world.core.retained_page("$SYS/#", None, 100, usize::MAX).unwrap().messages.is_empty());
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
    assert!(world.core.subscribe_inbox("t/#/x", QoS::AtLeastOnce, 2).is_err());
}

#[test]
fn an_inbox_that_is_dropped_subscribes_to_nothing() {
    let mut world = World::open();
    let client = world.v5("client");
    let (_, first) = world.core.subscribe_inbox("t", QoS::AtLeastOnce, 2).unwrap();
    let (_, second) = world.core.subscribe_inbox("t", QoS::AtLeastOnce, 2).unwrap();
    let mut acknowledged = |subscriptions| {
        assert_eq!(world.core.stats().subscriptions, subscriptions);
        world.publish(client, "t", "x", 1);
        assert_eq!(world.core.stats().subscriptions, subscriptions);
        world.heard(client)
    };
    assert_eq!(acknowledged(2), ["puback #7"]);
    drop(first);
    assert_eq!(acknowledged(1), ["puback #7"]);
    drop(second);
    // Section 3.4.2.1: nobody is told that somebody subscribes.
    assert_eq!(acknowledged(0), ["puback #7 NoMatchingSubscribers"]);
    let (_, third) = world.core.subscribe_inbox("t", QoS::AtLeastOnce, 2).unwrap();
    assert_eq!(world.core.stats().subscriptions, 1);
    drop(third);
    assert_eq!(world.core.stats().subscriptions, 0);
}

#[test]
fn a_page_takes_so_many_steps_at_most_and_the_pages_together_have_all() {
    let mut world = World::open();
    let from = world.v3("from");
    for n in 0..300 {
        let name = if n == 250 { "y" } else { "x" };
        world.retain(from, &format!("a/{n:03}/{name}"), "v");
    }
    let pages = |filter: &str, max: usize, steps: usize| {
        let (mut topics, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let page = world.core.retained_page(filter, after.as_deref(), max, steps).unwrap();
            assert!(page.messages.len() <= max);
            topics.extend(page.messages.iter().map(|message| message.topic().to_owned()));
            pages += 1;
            after = page.next;
            if after.is_none() {
                return (topics, pages);
            }
        }
    };
    assert_eq!(pages("+/+/y", 10, usize::MAX), (vec!["a/250/y".to_owned()], 1));
    let (topics, count) = pages("+/+/y", 10, 100);
    assert_eq!(topics, ["a/250/y"]);
    assert!(count > 10, "{count} pages");
    let (topics, count) = pages("a/#", 7, 1000);
    assert_eq!((topics.len(), count), (300, 300 / 7 + 1));
    assert!(topics.is_sorted());
    // A page that is full exactly at the end cannot know.
    assert_eq!(pages("a/#", 100, usize::MAX).1, 4);
    assert!(world.core.retained_page("a/#/b", None, 1, 1).is_err());
    let none = world.core.retained_page("a/#", Some("a/100/x"), 0, 1).unwrap();
    assert_eq!((none.messages.len(), none.next.as_deref()), (0, Some("a/100/x")));
}

#[test]
fn pages_go_on_where_the_last_topic_of_a_page_is_gone_and_miss_nothing_that_stays() {
    let topics = ["$x/a", "$x/b", "/", "/a", "a", "a!", "a!/b", "a/b", "a/b/c", "a/c", "a0", "b/b", "b/c/b", "b/d"];
    for filter in ["#", "+", "+/b", "+/b/#", "a/#", "a/+", "+/+/c", "$x/+", "none/#", "+/none"] {
        for (max, steps) in [(1, 0), (1, 1), (1, 100), (2, 9), (3, 17), (100, 0), (100, 20), (100, usize::MAX)] {
            let mut world = World::open();
            let from = world.v3("from");
            topics.iter().for_each(|topic| world.retain(from, topic, "x"));
            let all = world.core.retained_page(filter, None, 100, usize::MAX).unwrap().messages;
            let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = world.core.retained_page(filter, after.as_deref(), max, steps).unwrap();
                found.extend(page.messages);
                pages += 1;
                assert!(pages <= topics.len() + 1, "{filter} {max} {steps}");
                after = page.next;
                let Some(after) = &after else { break };
                world.core.clear_retained(after);
            }
            let names =
                |page: &[Rc<Message>]| page.iter().map(|message| message.topic().to_owned()).collect::<Vec<_>>();
            assert_eq!(names(&found), names(&all), "{filter} {max} {steps}");
        }
    }
}

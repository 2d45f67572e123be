//! Access control at once and later.

use super::*;
use crate::broker::{
    Access, AccessToken, Answer, Client, Denied, DropReason, Login, Overflow, PublishQuestion, SubscribeQuestion,
};
use std::cell::RefCell;
use std::rc::Rc;

/// Answers by what the names say, and notes the questions.
#[derive(Clone, Default)]
struct Rules {
    asked: Rc<RefCell<Vec<(String, AccessToken)>>>,
}

impl Rules {
    fn judge(&self, name: &str, token: AccessToken) -> Answer {
        self.asked.borrow_mut().push((name.to_owned(), token));
        match name {
            name if name.contains("forbidden") => Denied::not_authorized("rules:1").into(),
            name if name.contains("wrong") => Denied::bad_credentials("rules:2").into(),
            name if name.contains("later") => Answer::Later,
            _ => Answer::Allow,
        }
    }

    fn last(&self) -> AccessToken {
        self.asked.borrow().last().unwrap().1
    }
}

impl Access for Rules {
    fn connect(&mut self, login: &Login<'_>) -> Answer {
        self.judge(login.client_id, login.token)
    }

    fn publish(&mut self, client: &Client<'_>, publish: &PublishQuestion<'_>) -> Answer {
        self.judge(publish.topic, client.token)
    }

    fn subscribe(&mut self, client: &Client<'_>, subscribe: &SubscribeQuestion<'_>) -> Answer {
        self.judge(subscribe.filter, client.token)
    }

    fn deliver(&mut self, _: &Client<'_>, topic: &str) -> bool {
        !topic.contains("secret")
    }

    fn checks_deliveries(&self) -> bool {
        true
    }
}

fn world() -> (World, Rules) {
    let rules = Rules::default();
    (World::new(Options::new().access(rules.clone())), rules)
}

#[test]
fn h1_a_refused_connection_is_told_why() {
    for (id, v3, v5) in
        [("forbidden", "NotAuthorized", "NotAuthorized"), ("wrong", "BadUserNameOrPassword", "BadUserNameOrPassword")]
    {
        let (mut world, _) = world();
        for (version, expected) in [(Version::Mqtt311, v3), (Version::Mqtt5, v5)] {
            let (conn, heard) = world.join(Connect::new(version, id));
            assert_eq!(heard, [format!("connack {expected}")], "{id}");
            assert!(world.is_closed(conn));
        }
        let will = Some(Will::new("forbidden", b"x"));
        let (_, heard) = world.join(Connect { will, ..Connect::new(Version::Mqtt311, "c") });
        assert_eq!(heard, ["connack NotAuthorized"]);
        let stats = world.core.stats();
        assert_eq!((stats.denied, stats.refused, stats.sessions), (3, 3, 0));
    }
}

#[test]
fn what_a_client_may_not_do_is_refused_and_counted() {
    let (mut world, _) = world();
    let (old, new) = (world.v3("old"), world.v5("new"));
    assert_eq!(world.subscribe(old, "forbidden/#", 1), "suback #999 UnspecifiedError");
    assert_eq!(world.subscribe(new, "forbidden/#", 1), "suback #999 NotAuthorized");
    assert_eq!(world.subscribe(new, "#", 1), "suback #999 GrantedQoS1");
    for (qos, v3, v5) in [
        (0, vec![], vec![]),
        (1, vec!["puback #7"], vec!["puback #7 NotAuthorized"]),
        (2, vec!["pubrec #7"], vec!["pubrec #7 NotAuthorized"]),
    ] {
        world.publish(old, "forbidden/x", "x", qos);
        assert_eq!(world.heard(old), v3, "QoS {qos}");
        world.publish(new, "forbidden/x", "x", qos);
        assert_eq!(world.heard(new), v5, "QoS {qos}");
    }
    world.publish(old, "secret", "x", 0);
    assert!(world.heard(new).is_empty());
    let stats = world.core.stats();
    assert_eq!((stats.denied, stats.dropped.total()), (8, 1));
}

#[test]
fn an_answer_may_come_later_and_holds_up_its_client_only() {
    let (mut world, rules) = world();
    let other = world.v3("other");
    let conn = world.accept();
    let mut bytes = Vec::new();
    let will = Some(Will::new("later/will", b"x"));
    let connect = Packet::Connect(Connect { will, ..Connect::new(Version::Mqtt5, "later") });
    encode(&connect, Version::Mqtt5, &mut bytes).unwrap();
    let subscriptions =
        ["a", "later/1", "forbidden", "later/2"].map(|filter| Subscription::new(filter, QoS::AtMostOnce));
    let subscribe =
        Subscribe { id: packet_id(1), subscriptions: (&subscriptions).into(), properties: Default::default() };
    encode(&Packet::Subscribe(subscribe), Version::Mqtt5, &mut bytes).unwrap();
    encode(&Packet::Publish(Publish::new("later/1", "x")), Version::Mqtt5, &mut bytes).unwrap();
    let mut input = &bytes[..];
    let mut answers =
        [Answer::Allow, Answer::Allow, Answer::Allow, Denied::not_authorized("2").into(), Answer::Allow].into_iter();
    loop {
        let used = world.bytes(conn, input);
        input = &input[used..];
        if input.is_empty() {
            break;
        }
        assert_eq!(world.wire.paused, [conn]);
        assert_eq!(world.bytes(conn, input), 0, "it waits");
        world.publish(other, "a", "x", 0);
        // Other clients are asked about meanwhile.
        let question =
            rules.asked.borrow().iter().rev().find(|(name, _)| name.contains("later")).map(|(_, token)| *token);
        let question = question.unwrap();
        assert!(world.core.answer(question, answers.next().expect("no more questions"), &mut world.wire));
        assert!(!world.core.answer(question, Answer::Allow, &mut world.wire), "once");
        assert!(world.wire.paused.is_empty());
    }
    assert_eq!(answers.next(), None);
    world.versions.insert(conn, Version::Mqtt5);
    let heard = world.heard(conn);
    assert!(heard[0].starts_with("connack Success"));
    assert_eq!(heard[1], "suback #1 Success Success NotAuthorized NotAuthorized");
    assert!(heard.contains(&"later/1 x".to_owned()));
    // A client that has gone is answered for in vain.
    let late = world.accept();
    let mut again = Vec::new();
    encode(&connect, Version::Mqtt5, &mut again).unwrap();
    assert_eq!(world.bytes(late, &again), 0);
    let token = rules.last();
    world.cut(late);
    assert!(!world.core.answer(token, Answer::Allow, &mut world.wire));
}

/// What is below `own/` is for alice alone.
struct Owner;

impl Access for Owner {
    fn connect(&mut self, _: &Login<'_>) -> Answer {
        Answer::Allow
    }

    fn deliver(&mut self, client: &Client<'_>, topic: &str) -> bool {
        client.username == Some("alice") || !topic.starts_with("own/")
    }

    fn checks_deliveries(&self) -> bool {
        true
    }
}

fn of_user<'a>(id: &'a str, user: &'a str) -> Connect<'a> {
    Connect { clean_start: false, username: Some(user), ..Connect::new(Version::Mqtt311, id) }
}

#[test]
fn a_message_for_a_group_goes_only_to_members_that_may_have_it() {
    let mut world = World::new(Options::new().access(Owner));
    let (alice, bob) = (world.joined(of_user("a", "alice")), world.joined(of_user("b", "bob")));
    let from = world.v5("from");
    for conn in [alice, bob] {
        world.subscribe(conn, "$share/g/+/1", 1);
    }
    for n in 0..4 {
        world.publish(from, "own/1", &n.to_string(), 1);
    }
    assert_eq!((world.heard(alice).len(), world.heard(bob).len()), (4, 0));
    assert_eq!(world.core.stats().dropped.get(DropReason::Denied), 0);
    // Nor when she ends her session with all of them under way.
    let clean = Connect { clean_start: true, ..of_user("a", "alice") };
    let alice = world.joined(clean);
    assert!(world.heard(bob).is_empty());
    assert_eq!(world.core.stats().dropped.get(DropReason::SessionEnded), 4);
    // Where nobody may have it, that is what is counted.
    world.cut(alice);
    world.publish(from, "own/1", "4", 1);
    assert!(world.heard(bob).is_empty());
    assert_eq!(world.core.stats().dropped.get(DropReason::Denied), 1);
}

#[test]
fn who_takes_over_a_session_gets_only_what_he_may_have_of_what_waited() {
    let mut world = World::new(Options::new().access(Owner).inflight_max(2));
    let alice = world.joined(of_user("id", "alice"));
    let from = world.v5("from");
    world.subscribe(alice, "#", 2);
    for (topic, qos) in [("own/1", 1), ("own/2", 2), ("own/3", 1), ("all/4", 1)] {
        world.publish(from, topic, "x", qos);
    }
    assert_eq!(world.heard(alice).len(), 2);
    world.cut(alice);
    let (_, heard) = world.join(of_user("id", "bob"));
    assert_eq!(heard, ["connack Success present", "pubrel #2", "all/4 x q1 #3"]);
    assert_eq!(world.core.stats().dropped.get(DropReason::Denied), 3);
    let stats = world.core.stats();
    assert_eq!((stats.queued, stats.queued_bytes), (1, 0));
}

#[test]
fn what_a_receiver_may_have_already_keeps_its_number_until_it_is_released() {
    let mut world = World::new(Options::new().access(Owner));
    let alice = world.joined(of_user("id", "alice"));
    let from = world.v5("from");
    world.subscribe(alice, "#", 2);
    world.publish(from, "own/1", "x", 2);
    assert_eq!(world.heard(alice), ["own/1 x q2 #1"]);
    world.cut(alice);
    // PUBCOMP does not come: PUBREL comes again (MQTT-4.4.0-1).
    for _ in 0..2 {
        let (bob, heard) = world.join(of_user("id", "bob"));
        assert_eq!(heard, ["connack Success present", "pubrel #1"]);
        world.cut(bob);
    }
    let (bob, heard) = world.join(of_user("id", "bob"));
    assert_eq!(heard, ["connack Success present", "pubrel #1"]);
    // MQTT-4.3.3-10: he would take another #1 for the same message.
    let id = PacketId::new(8);
    world.publish_as(from, Publish { qos: QoS::ExactlyOnce, id, ..Publish::new("all/2", "y") });
    assert_eq!(world.heard(bob), ["all/2 y q2 #2"]);
    let counts = |world: &World| {
        let stats = world.core.stats();
        (stats.queued, stats.delivered, stats.dropped.get(DropReason::Denied), stats.routed)
    };
    assert_eq!(counts(&world), (1, 0, 1, 2));
    // A late PUBREC has the same answer, and changes nothing.
    world.packet(bob, Packet::PubRec(Ack::new(packet_id(1))));
    world.packet(bob, Packet::PubComp(Ack::new(packet_id(1))));
    assert_eq!(world.heard(bob), ["pubrel #1"]);
    assert_eq!(counts(&world), (1, 0, 1, 2));
    world.packet(bob, Packet::PubRec(Ack::new(packet_id(2))));
    world.packet(bob, Packet::PubComp(Ack::new(packet_id(2))));
    assert_eq!((world.heard(bob), counts(&world)), (vec!["pubrel #2".to_owned()], (0, 1, 1, 2)));
    world.cut(bob);
    assert_eq!(world.join(of_user("id", "bob")).1, ["connack Success present"]);
}

#[test]
fn a_late_refusal_of_what_was_given_up_ends_it() {
    // Before PUBREL has had its turn, and after.
    for inflight_max in [1, 2] {
        let mut world = World::new(Options::new().access(Owner).inflight_max(2));
        let of_user = |user, max: u16| {
            let mut properties = PropertyBuf::new();
            properties.push(Property::SessionExpiryInterval(100)).unwrap();
            properties.push(Property::ReceiveMaximum(max.try_into().unwrap())).unwrap();
            (properties, Connect { version: Version::Mqtt5, ..of_user("id", user) })
        };
        let (properties, connect) = of_user("alice", 2);
        let alice = world.joined(Connect { properties: properties.as_properties(), ..connect });
        let from = world.v5("from");
        world.subscribe(alice, "#", 2);
        world.publish(from, "all/1", "x", 1);
        world.publish(from, "own/2", "x", 2);
        world.cut(alice);
        let (properties, connect) = of_user("bob", inflight_max);
        let (bob, heard) = world.join(Connect { properties: properties.as_properties(), ..connect });
        assert_eq!(heard.len(), 1 + usize::from(inflight_max), "{heard:?}");
        world.packet(bob, Packet::PubRec(Ack { reason: ReasonCode::NotAuthorized, ..Ack::new(packet_id(2)) }));
        assert!(!world.is_closed(bob) && world.heard(bob).is_empty());
        world.pub_ack(bob, 1);
        // The answer to a PUBREL that has crossed it.
        world.packet(bob, Packet::PubComp(Ack::new(packet_id(2))));
        assert!(!world.is_closed(bob) && world.heard(bob).is_empty());
        let stats = world.core.stats();
        assert_eq!((stats.queued, stats.delivered, stats.dropped.get(DropReason::Denied)), (0, 1, 1));
    }
}

#[test]
fn a_session_that_ends_before_its_release_is_counted_once() {
    let mut world = World::new(Options::new().access(Owner));
    let alice = world.joined(of_user("id", "alice"));
    let from = world.v5("from");
    world.subscribe(alice, "#", 2);
    world.publish(from, "own/1", "x", 2);
    world.cut(alice);
    let bob = world.joined(of_user("id", "bob"));
    world.cut(bob);
    world.joined(Connect { clean_start: true, ..of_user("id", "bob") });
    let stats = world.core.stats();
    assert_eq!(
        (stats.queued, stats.delivered, stats.dropped.get(DropReason::Denied), stats.dropped.total()),
        (0, 0, 1, 1)
    );
}

#[test]
fn a_group_is_full_if_those_are_who_may_have_the_message() {
    let options = Options::new().access(Owner).inflight_max(1).queue_messages_max(0).overflow(Overflow::Reject);
    let mut world = World::new(options);
    let (alice, bob, from) = (world.joined(of_user("a", "alice")), world.joined(of_user("b", "bob")), world.v5("from"));
    for conn in [alice, bob] {
        world.subscribe(conn, "$share/g/own/1", 1);
    }
    (0..2).for_each(|n| world.publish(from, "own/1", &n.to_string(), 1));
    assert_eq!(world.heard(from), ["puback #7", "puback #7 QuotaExceeded"]);
    let dropped = world.core.stats().dropped;
    assert_eq!((dropped.get(DropReason::QueueFull), dropped.get(DropReason::Denied)), (1, 0));
}

#[test]
fn what_waits_for_a_group_is_another_members_if_the_next_user_may_not_have_it() {
    let mut world = World::new(Options::new().access(Owner).inflight_max(2));
    let (first, from) = (world.joined(of_user("a", "alice")), world.v3("from"));
    world.subscribe(first, "$share/g/own/+", 2);
    // Two are sent, one of each quality, and two wait.
    for (id, topic, qos) in [(1, "own/1", 1), (2, "own/2", 2), (3, "own/3", 2), (4, "own/4", 1)] {
        let qos = QoS::from_u8(qos).unwrap();
        world.publish_as(from, Publish { qos, id: PacketId::new(id), ..Publish::new(topic, "x") });
    }
    assert_eq!(world.heard(first), ["own/1 x q1 #1", "own/2 x q2 #2"]);
    world.cut(first);
    let other = world.joined(of_user("b", "alice"));
    world.subscribe(other, "$share/g/own/+", 2);
    assert!(world.heard(other).is_empty());
    let (_, heard) = world.join(of_user("a", "bob"));
    assert_eq!(heard, ["connack Success present", "pubrel #2"]);
    // MQTT-4.8.2-5: but not what has been sent at QoS 2.
    assert_eq!(world.heard(other), ["own/1 x q1 #1", "own/3 x q2 #2"]);
    world.pub_ack(other, 1);
    assert_eq!(world.heard(other), ["own/4 x q1 #3"]);
    let stats = world.core.stats();
    assert_eq!((stats.queued, stats.dropped.get(DropReason::Denied), stats.dropped.total()), (2, 1, 1));
}

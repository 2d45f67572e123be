//! Access control at once and later.

use super::*;
use crate::broker::{Access, AccessToken, Answer, Client, Denied, Login, PublishQuestion, SubscribeQuestion};
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

//! Our client and our broker, over real sockets, in one loop.

mod common;

use std::net::SocketAddr;

use common::{addr, ms, until};
use vansire::broker::{Broker, Options};
use vansire::mqtt::{
    ClientOptions, Property, PropertyBuf, PropertyId, Publish, QoS, ReasonCode, Reconnect, SubscriptionId, Version,
    Will,
};
use vansire::{ConnId, Ctx, Event, Manager, Net};

const VERSIONS: [Version; 3] = [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5];
const QUALITIES: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// What the clients were told.
#[derive(Default)]
struct Told(Vec<(ConnId, String)>);

impl Told {
    fn of(&self, id: ConnId) -> Vec<&str> {
        self.0.iter().filter(|line| line.0 == id).map(|line| line.1.as_str()).collect()
    }

    fn count(&self, id: ConnId, start: &str) -> usize {
        self.of(id).iter().filter(|line| line.starts_with(start)).count()
    }

    /// The messages, without the word before them.
    fn messages(&self, id: ConnId) -> Vec<&str> {
        self.of(id).iter().filter_map(|line| line.strip_prefix("message ")).collect()
    }
}

fn told(cx: &mut Ctx<'_, Told>, ev: Event<'_>) {
    let line = match &ev {
        Event::MqttOpened(ack) => format!("open{}", if ack.session_present { " present" } else { "" }),
        Event::MqttMessage(message, _) => {
            let flags = if message.retain { " retained" } else { "" };
            let dup = if message.dup { " dup" } else { "" };
            let mut line = format!("message {} {}", message.topic, String::from_utf8_lossy(message.payload));
            line += &format!(" q{}{flags}{dup}", message.qos.to_u8());
            // Aliases are between the two, and change nothing.
            for property in message.properties.into_iter().filter(|property| property.id() != PropertyId::TopicAlias) {
                line += &format!(" {property:?}");
            }
            line
        }
        Event::MqttSubscribed { ack, .. } => {
            format!("subscribed{}", ack.reasons.iter().map(|reason| format!(" {reason:?}")).collect::<String>())
        }
        Event::MqttDelivered { reason, .. } => format!("delivered {reason:?}"),
        Event::MqttFailed { why, .. } => format!("failed {why:?}"),
        Event::MqttDisconnected(disconnect) => format!("disconnected {:?}", disconnect.reason),
        Event::MqttLost { .. } => "lost".into(),
        Event::Closed(_) => "closed".into(),
        _ => return,
    };
    cx.state.0.push((cx.conn, line));
}

struct World {
    manager: Manager<Told>,
    broker: Broker,
    to: SocketAddr,
}

impl World {
    fn new() -> Self {
        let mut manager = Manager::new(Told::default()).unwrap();
        let broker = Broker::new(Options::new());
        let listener = broker.listen(&mut manager.net(), "mqtt://127.0.0.1:0").unwrap();
        let to = addr(&mut manager, listener);
        Self { manager, broker, to }
    }

    fn net(&mut self) -> Net<'_, Told> {
        self.manager.net()
    }

    fn connect(&mut self, options: ClientOptions) -> ConnId {
        let url = format!("mqtt://{}", self.to);
        self.net().mqtt_connect(url, options, told).unwrap()
    }

    fn client(&mut self, version: Version, id: &str) -> ConnId {
        self.connect(ClientOptions::new().version(version).client_id(id))
    }

    fn subscribe(&mut self, id: ConnId, filter: &str, qos: QoS) {
        let before = self.manager.state().count(id, "subscribed");
        self.net().subscribe(id, &[vansire::mqtt::Subscription::new(filter, qos)]).unwrap();
        until(&mut self.manager, filter, |manager| manager.state().count(id, "subscribed") > before);
    }

    fn publish(&mut self, id: ConnId, topic: &str, text: &str, qos: QoS) {
        self.net().publish(id, &Publish { qos, ..Publish::new(topic, text) }).unwrap();
    }

    /// Polls until a client has been told so many lines that begin like this.
    fn waits(&mut self, id: ConnId, start: &str, count: usize) {
        until(&mut self.manager, start, |manager| manager.state().count(id, start) >= count);
    }

    fn messages(&self, id: ConnId) -> Vec<&str> {
        self.manager.state().messages(id)
    }
}

#[test]
fn h2_h3_messages_of_every_quality_arrive_in_order_between_all_versions() {
    for theirs in VERSIONS {
        for ours in VERSIONS {
            let mut world = World::new();
            let (to, from) = (world.client(theirs, "to"), world.client(ours, "from"));
            world.subscribe(to, "t/+", QoS::ExactlyOnce);
            for qos in QUALITIES {
                let q = qos.to_u8();
                let before = world.messages(to).len();
                for n in 0..100 {
                    world.publish(from, "t/x", &n.to_string(), qos);
                }
                world.waits(to, "message", before + 100);
                if q > 0 {
                    world.waits(from, "delivered Success", 100 * usize::from(q));
                }
                let expected: Vec<String> = (0..100).map(|n| format!("t/x {n} q{q}")).collect();
                assert_eq!(world.messages(to)[before..], expected, "{ours:?} to {theirs:?}");
            }
            assert!(world.messages(from).is_empty());
            assert_eq!(world.broker.stats().dropped.total(), 0);
        }
    }
}

#[test]
fn h9_retained_messages_wait_and_are_cleared() {
    for version in VERSIONS {
        let mut world = World::new();
        let from = world.client(version, "from");
        for (topic, text) in [("r/1", "old"), ("r/1", "new"), ("r/2", "two")] {
            let publish = Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new(topic, text) };
            world.net().publish(from, &publish).unwrap();
        }
        world.waits(from, "delivered", 3);
        let to = world.client(version, "to");
        world.subscribe(to, "r/#", QoS::AtLeastOnce);
        world.waits(to, "message", 2);
        assert_eq!(world.messages(to), ["r/1 new q1 retained", "r/2 two q1 retained"], "{version:?}");
        let clear = Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new("r/1", "") };
        world.net().publish(from, &clear).unwrap();
        world.waits(to, "message", 3);
        assert_eq!(world.messages(to)[2], "r/1  q1");
        let late = world.client(version, "late");
        world.subscribe(late, "r/#", QoS::AtMostOnce);
        world.waits(late, "message", 1);
        assert_eq!(world.messages(late), ["r/2 two q0 retained"]);
    }
}

#[test]
fn h9_a_will_is_published_for_who_vanishes_and_not_for_who_leaves() {
    for version in VERSIONS {
        let mut world = World::new();
        let watch = world.client(version, "watch");
        world.subscribe(watch, "w/#", QoS::AtLeastOnce);
        let mortal = |world: &mut World, name: &str| {
            let topic = format!("w/{name}");
            let will = Will { qos: QoS::AtLeastOnce, ..Will::new(&topic, b"bye") };
            let options = ClientOptions::new().version(version).client_id(name).will(&will).unwrap();
            let id = world.connect(options);
            world.waits(id, "open", 1);
            id
        };
        let leaves = mortal(&mut world, "leaves");
        world.net().mqtt_disconnect(leaves, ReasonCode::Success).unwrap();
        world.waits(leaves, "closed", 1);
        let vanishes = mortal(&mut world, "vanishes");
        world.net().close(vanishes);
        world.waits(watch, "message", 1);
        assert_eq!(world.messages(watch), ["w/vanishes bye q1"], "{version:?}");
        assert_eq!(world.broker.stats().wills, 1);
    }
}

#[test]
fn h10_a_session_goes_on_with_what_it_missed() {
    for version in VERSIONS {
        let mut world = World::new();
        let lasting = || {
            let options = ClientOptions::new().version(version).client_id("to").clean_start(false);
            options.session_expiry(ms(100_000))
        };
        let to = world.connect(lasting());
        world.subscribe(to, "t", QoS::ExactlyOnce);
        assert_eq!(world.manager.state().of(to)[0], "open");
        world.net().mqtt_disconnect(to, ReasonCode::Success).unwrap();
        world.waits(to, "closed", 1);
        let from = world.client(version, "from");
        for (n, qos) in QUALITIES.into_iter().enumerate() {
            world.publish(from, "t", &format!("missed {n}"), qos);
        }
        world.waits(from, "delivered", 2);
        let again = world.connect(lasting());
        world.waits(again, "message", 2);
        // 3.1 has no flag for it.
        let present = if version == Version::Mqtt31 { "open" } else { "open present" };
        assert_eq!(world.manager.state().of(again)[0], present, "{version:?}");
        assert_eq!(world.messages(again), ["t missed 1 q1", "t missed 2 q2"], "{version:?}: and nothing of QoS 0");
        // And a clean start forgets it.
        world.net().close(again);
        world.waits(again, "closed", 1);
        let clean = world.client(version, "to");
        world.waits(clean, "open", 1);
        world.publish(from, "t", "unheard", QoS::AtLeastOnce);
        world.waits(from, "delivered", 3);
        assert!(world.messages(clean).is_empty());
    }
}

#[test]
fn h3_h10_a_lost_connection_loses_and_doubles_nothing() {
    for version in [Version::Mqtt311, Version::Mqtt5] {
        let mut world = World::new();
        let quick = Reconnect { min: ms(1), max: ms(5) };
        let lasting = |id: &str| {
            let options = ClientOptions::new().version(version).client_id(id).clean_start(false).reconnect(quick);
            options.session_expiry(ms(100_000))
        };
        let (to, from) = (world.connect(lasting("to")), world.connect(lasting("from")));
        world.subscribe(to, "t", QoS::ExactlyOnce);
        world.waits(from, "open", 1);
        for n in 0..300 {
            world.publish(from, "t", &n.to_string(), QoS::ExactlyOnce);
            if n % 50 == 25 {
                let connections = n / 50 + 1;
                world.waits(to, "open", connections);
                world.waits(from, "open", connections);
                // Some of it is under way.
                world.manager.poll(Some(ms(1))).unwrap();
                for client in ["to", "from"] {
                    assert!(world.broker.kick(&mut world.manager.net(), client, ReasonCode::ServerBusy), "{client}");
                }
            }
        }
        world.waits(to, "message", 300);
        world.waits(from, "delivered", 300);
        let texts: Vec<String> =
            world.messages(to).iter().map(|line| line.split(' ').nth(1).unwrap_or_default().to_owned()).collect();
        let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
        assert_eq!(texts, expected, "{version:?}");
        assert_eq!([to, from].map(|id| world.manager.state().count(id, "lost")), [6, 6], "{version:?}");
    }
}

#[test]
fn h13_properties_of_5_arrive_and_older_clients_do_not_see_them() {
    let mut world = World::new();
    let (new, old) = (world.client(Version::Mqtt5, "new"), world.client(Version::Mqtt311, "old"));
    let from = world.client(Version::Mqtt5, "from");
    let mut of_subscription = PropertyBuf::new();
    of_subscription.push(Property::SubscriptionIdentifier(SubscriptionId::new(9).unwrap())).unwrap();
    let filters = [vansire::mqtt::Subscription::new("p", QoS::AtLeastOnce)];
    world.net().subscribe_with(new, &filters, of_subscription.as_properties()).unwrap();
    world.waits(new, "subscribed GrantedQoS1", 1);
    world.subscribe(old, "p", QoS::AtLeastOnce);
    let mut properties = PropertyBuf::new();
    for property in [
        Property::PayloadFormatIndicator(true),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answer/1"),
        Property::CorrelationData(b"\x01\x02"),
        Property::UserProperty(("a", "1")),
        Property::UserProperty(("a", "2")),
    ] {
        properties.push(property).unwrap();
    }
    // More often than once: from the second on the topic is an alias.
    for n in 0..3 {
        let text = n.to_string();
        let publish =
            Publish { qos: QoS::AtLeastOnce, properties: properties.as_properties(), ..Publish::new("p", &text) };
        world.net().publish(from, &publish).unwrap();
    }
    world.waits(new, "message", 3);
    world.waits(old, "message", 3);
    let what = "PayloadFormatIndicator(true) ContentType(\"text/plain\") ResponseTopic(\"answer/1\") \
                CorrelationData([1, 2]) UserProperty((\"a\", \"1\")) UserProperty((\"a\", \"2\")) \
                SubscriptionIdentifier(SubscriptionId(9))";
    for n in 0..3 {
        // The identifier stands where the broker puts it.
        let mut heard: Vec<&str> = world.messages(new)[n].split(' ').collect();
        let mut expected: Vec<&str> = what.split(' ').collect();
        let text = format!("p {n} q1");
        assert_eq!(heard[..3].join(" "), text);
        let mut heard = heard.split_off(3);
        heard.sort_unstable();
        expected.sort_unstable();
        assert_eq!(heard, expected);
        assert_eq!(world.messages(old)[n], text);
    }
}

#[test]
fn a_shared_subscription_is_served_in_turn() {
    for version in VERSIONS {
        let mut world = World::new();
        let group = [world.client(version, "one"), world.client(version, "two"), world.client(version, "three")];
        for id in group {
            world.subscribe(id, "$share/g/t", QoS::AtLeastOnce);
        }
        let alone = world.client(version, "alone");
        world.subscribe(alone, "t", QoS::AtLeastOnce);
        let from = world.client(version, "from");
        for n in 0..30 {
            world.publish(from, "t", &n.to_string(), QoS::AtLeastOnce);
        }
        world.waits(alone, "message", 30);
        world.waits(from, "delivered", 30);
        until(&mut world.manager, "the group", |manager| {
            group.iter().map(|id| manager.state().count(*id, "message")).sum::<usize>() >= 30
        });
        let counts = group.map(|id| world.messages(id).len());
        assert_eq!(counts, [10, 10, 10], "{version:?}");
        // Of one that is gone, the others take the part.
        world.net().close(group[0]);
        world.waits(group[0], "closed", 1);
        until(&mut world.manager, "two clients", |manager| manager.state().count(group[0], "closed") == 1);
        for n in 30..36 {
            world.publish(from, "t", &n.to_string(), QoS::AtLeastOnce);
        }
        world.waits(alone, "message", 36);
        until(&mut world.manager, "the rest of the group", |manager| {
            group[1..].iter().map(|id| manager.state().count(*id, "message")).sum::<usize>() >= 26
        });
    }
}

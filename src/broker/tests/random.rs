//! Any history of clients leaves nothing behind, and keeps to the counters.

use super::*;
use crate::broker::{Access, Answer, Client, Login};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Join {
        client: usize,
        version: usize,
        lasts: bool,
        will: bool,
        user: &'static str,
        small: bool,
    },
    Cut {
        client: usize,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: u8,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish {
        client: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        long: bool,
    },
    Ack {
        client: usize,
        kind: u8,
        id: u16,
    },
    Slow {
        client: usize,
    },
    Drained {
        client: usize,
    },
    Pass {
        seconds: u64,
    },
    /// The store has come so far: that many of the changes that acknowledgements wait for, or all.
    Stored {
        acks: usize,
    },
    Bytes {
        client: usize,
        bytes: Vec<u8>,
    },
}

/// The longer topics are for alice alone.
struct ForAlice;

impl Access for ForAlice {
    fn connect(&mut self, _: &Login<'_>) -> Answer {
        Answer::Allow
    }

    fn deliver(&mut self, client: &Client<'_>, topic: &str) -> bool {
        client.username == Some("alice") || !topic.starts_with("a/b")
    }

    fn checks_deliveries(&self) -> bool {
        true
    }
}

const CLIENTS: usize = 4;
const FILTERS: [&str; 6] = ["a", "a/+", "#", "$share/g/a/#", "$share/h/+", "$SYS/#"];
const TOPICS: [&str; 4] = ["a", "a/b", "a/b/c", "b"];

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        3 => (client.clone(), 0..3_usize, 0..4_u8, any::<bool>(), prop::sample::select(&["alice", "bob"][..]), any::<bool>())
            .prop_map(|(client, version, lasts, will, user, small)| Step::Join {
                client,
                version,
                lasts: lasts > 0,
                will,
                user,
                small,
            }),
        1 => client.clone().prop_map(|client| Step::Cut { client }),
        4 => (client.clone(), 0..FILTERS.len(), 0..3_u8)
            .prop_map(|(client, filter, qos)| Step::Subscribe { client, filter, qos }),
        1 => (client.clone(), 0..FILTERS.len()).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        8 => (client.clone(), 0..TOPICS.len(), 0..3_u8, any::<bool>(), any::<bool>())
            .prop_map(|(client, topic, qos, retain, long)| Step::Publish { client, topic, qos, retain, long }),
        6 => (client.clone(), 0..5_u8, 1..9_u16).prop_map(|(client, kind, id)| Step::Ack { client, kind, id }),
        1 => client.clone().prop_map(|client| Step::Slow { client }),
        1 => client.clone().prop_map(|client| Step::Drained { client }),
        1 => (0..200_u64).prop_map(|seconds| Step::Pass { seconds }),
        2 => (0..9_usize).prop_map(|acks| Step::Stored { acks }),
        1 => (client, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(client, bytes)| Step::Bytes { client, bytes }),
    ]
}

fn take(world: &mut World, conns: &mut [Option<ConnId>; CLIENTS], step: Step, id: &mut u16) {
    match step {
        Step::Join { client, version, lasts, will, user, small } => {
            let version = [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5][version];
            let name = format!("c{client}");
            let will = will.then(|| Will { qos: QoS::AtLeastOnce, ..Will::new("a/will", b"x") });
            let mut properties = PropertyBuf::new();
            if lasts && version.is_5() {
                properties.push(Property::SessionExpiryInterval(90)).unwrap();
            }
            if small && version.is_5() {
                properties.push(Property::MaximumPacketSize(std::num::NonZeroU32::new(30).unwrap())).unwrap();
            }
            let (properties, username) = (properties.as_properties(), Some(user));
            let connect = Connect { clean_start: !lasts, will, properties, username, ..Connect::new(version, &name) };
            let (conn, _) = world.join(connect);
            conns[client] = Some(conn);
        }
        Step::Cut { client } => conns[client].take().into_iter().for_each(|conn| world.cut(conn)),
        Step::Subscribe { client, filter, qos } => {
            let Some(conn) = conns[client] else { return };
            let subscriptions = [Subscription::new(FILTERS[filter], QoS::from_u8(qos).unwrap())];
            let (id, properties) = (packet_id(9), Properties::default());
            world.packet(conn, Packet::Subscribe(Subscribe { id, subscriptions: (&subscriptions).into(), properties }));
        }
        Step::Unsubscribe { client, filter } => {
            let Some(conn) = conns[client] else { return };
            let filters = [FILTERS[filter]];
            let (id, properties) = (packet_id(9), Properties::default());
            world.packet(conn, Packet::Unsubscribe(Unsubscribe { id, filters: (&filters).into(), properties }));
        }
        Step::Publish { client, topic, qos, retain, long } => {
            let Some(conn) = conns[client] else { return };
            *id = id.checked_add(1).unwrap_or(1);
            let qos = QoS::from_u8(qos).unwrap();
            let payload = if long { &[b'x'; 30][..] } else { b"x" };
            world.publish_as(
                conn,
                Publish { qos, retain, id: PacketId::new(*id), ..Publish::new(TOPICS[topic], payload) },
            );
        }
        Step::Ack { client, kind, id } => {
            let Some(conn) = conns[client] else { return };
            let ack = Ack::new(packet_id(id));
            let refused = Ack { reason: ReasonCode::NotAuthorized, ..ack };
            let acks = [Packet::PubAck, Packet::PubRec, Packet::PubRel, Packet::PubComp];
            world.packet(conn, acks.get(usize::from(kind)).map_or(Packet::PubRec(refused), |packet| packet(ack)));
        }
        Step::Slow { client } => world.wire.slow.extend(conns[client]),
        Step::Drained { client } => conns[client].into_iter().for_each(|conn| world.drained(conn)),
        Step::Pass { seconds } => world.pass(secs(seconds)),
        Step::Stored { acks } => {
            let waiting = &world.core.unsafe_acks;
            if let Some(ack) = waiting.get(acks).or(waiting.back()) {
                let until = ack.ticket;
                world.core.stored(until, &mut world.wire);
            }
        }
        Step::Bytes { client, bytes } => {
            if let Some(conn) = conns[client] {
                world.bytes(conn, &bytes);
            }
        }
    }
}

fn check(world: &World) {
    world.check_balance();
    let stats = world.core.stats();
    let clients = world.core.clients(world.now);
    assert_eq!(stats.subscriptions, clients.iter().map(|client| client.subscriptions).sum::<usize>());
    assert_eq!(stats.clients_connected, clients.iter().filter(|client| client.conn.is_some()).count());
    assert!(clients.iter().all(|client| client.queued <= 4));
}

/// Two clients that come and go, now as one user and now as another, and a third one that publishes.
fn come_and_go() -> impl Strategy<Value = Step> {
    let client = 0..2_usize;
    let join = (client.clone(), 0..8_u8, prop::sample::select(&["alice", "bob"][..]), any::<bool>());
    prop_oneof![
        3 => join.prop_map(|(client, lasts, user, small)| Step::Join {
            client,
            version: 2,
            lasts: lasts > 0,
            will: false,
            user,
            small,
        }),
        1 => client.clone().prop_map(|client| Step::Cut { client }),
        1 => (client.clone(), prop::sample::select(&[2, 3][..]))
            .prop_map(|(client, filter)| Step::Subscribe { client, filter, qos: 2 }),
        4 => (1..TOPICS.len(), 1..3_u8, any::<bool>())
            .prop_map(|(topic, qos, long)| Step::Publish { client: 3, topic, qos, retain: false, long }),
        3 => (client.clone(), 0..5_u8, 1..6_u16).prop_map(|(client, kind, id)| Step::Ack { client, kind, id }),
        1 => client.clone().prop_map(|client| Step::Slow { client }),
        1 => client.prop_map(|client| Step::Drained { client }),
        1 => (0..60_u64).prop_map(|seconds| Step::Pass { seconds }),
    ]
}

proptest! {
    #[test]
    fn what_is_taken_back_is_counted_once(steps in proptest::collection::vec(come_and_go(), 0..60)) {
        let mut world = World::new(Options::new().access(ForAlice).inflight_max(3).queue_messages_max(4));
        let (mut conns, mut id) = ([None; CLIENTS], 0);
        for (client, lasts) in [(0, true), (1, true), (3, false)] {
            let join = Step::Join { client, version: 2, lasts, will: false, user: "alice", small: false };
            take(&mut world, &mut conns, join, &mut id);
        }
        for (client, filter) in [(0, 2), (0, 3), (1, 3)] {
            take(&mut world, &mut conns, Step::Subscribe { client, filter, qos: 2 }, &mut id);
        }
        for step in steps {
            take(&mut world, &mut conns, step, &mut id);
            check(&world);
        }
    }

    #[test]
    fn nothing_is_left_behind(steps in proptest::collection::vec(step(), 0..60), is_durable in any::<bool>()) {
        let options = Options::new().access(ForAlice).inflight_max(3).queue_messages_max(4);
        let mut world = World::new(if is_durable { options.store(Slow(0)) } else { options });
        let mut conns = [None; CLIENTS];
        let mut id = 0;
        for step in steps {
            take(&mut world, &mut conns, step, &mut id);
            check(&world);
        }
        // The last of each ends its session.
        let last = |client| Step::Join { client, version: 1, lasts: false, will: false, user: "bob", small: false };
        for client in 0..CLIENTS {
            take(&mut world, &mut conns, last(client), &mut id);
        }
        for client in 0..CLIENTS {
            take(&mut world, &mut conns, Step::Cut { client }, &mut id);
        }
        for topic in TOPICS {
            world.core.clear_retained(topic);
        }
        let stats = world.core.stats();
        prop_assert_eq!(
            (stats.sessions, stats.subscriptions, stats.queued, stats.queued_bytes, stats.clients_connected),
            (0, 0, 0, 0, 0)
        );
        prop_assert_eq!(world.core.deadlines.len(), 0);
        prop_assert_eq!((world.core.unsafe_acks.len(), world.core.stale_acks), (0, 0));
    }
}

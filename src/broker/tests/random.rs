//! Any history of clients leaves nothing behind, and keeps to the counters.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Join { client: usize, version: usize, lasts: bool, will: bool },
    Cut { client: usize },
    Subscribe { client: usize, filter: usize, qos: u8 },
    Unsubscribe { client: usize, filter: usize },
    Publish { client: usize, topic: usize, qos: u8, retain: bool },
    Ack { client: usize, kind: u8, id: u16 },
    Slow { client: usize },
    Drained { client: usize },
    Pass { seconds: u64 },
    Bytes { client: usize, bytes: Vec<u8> },
}

const CLIENTS: usize = 4;
const FILTERS: [&str; 6] = ["a", "a/+", "#", "$share/g/a/#", "$share/h/+", "$SYS/#"];
const TOPICS: [&str; 4] = ["a", "a/b", "a/b/c", "b"];

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    prop_oneof![
        3 => (client.clone(), 0..3_usize, any::<bool>(), any::<bool>())
            .prop_map(|(client, version, lasts, will)| Step::Join { client, version, lasts, will }),
        1 => client.clone().prop_map(|client| Step::Cut { client }),
        4 => (client.clone(), 0..FILTERS.len(), 0..3_u8)
            .prop_map(|(client, filter, qos)| Step::Subscribe { client, filter, qos }),
        1 => (client.clone(), 0..FILTERS.len()).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        8 => (client.clone(), 0..TOPICS.len(), 0..3_u8, any::<bool>())
            .prop_map(|(client, topic, qos, retain)| Step::Publish { client, topic, qos, retain }),
        6 => (client.clone(), 0..4_u8, 1..9_u16).prop_map(|(client, kind, id)| Step::Ack { client, kind, id }),
        1 => client.clone().prop_map(|client| Step::Slow { client }),
        1 => client.clone().prop_map(|client| Step::Drained { client }),
        1 => (0..200_u64).prop_map(|seconds| Step::Pass { seconds }),
        1 => (client, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(client, bytes)| Step::Bytes { client, bytes }),
    ]
}

fn take(world: &mut World, conns: &mut [Option<ConnId>; CLIENTS], step: Step, id: &mut u16) {
    match step {
        Step::Join { client, version, lasts, will } => {
            let version = [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5][version];
            let name = format!("c{client}");
            let will = will.then(|| Will { qos: QoS::AtLeastOnce, ..Will::new("a/will", b"x") });
            let mut properties = PropertyBuf::new();
            if lasts && version.is_5() {
                properties.push(Property::SessionExpiryInterval(90)).unwrap();
            }
            let properties = properties.as_properties();
            let (conn, _) =
                world.join(Connect { clean_start: !lasts, will, properties, ..Connect::new(version, &name) });
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
        Step::Publish { client, topic, qos, retain } => {
            let Some(conn) = conns[client] else { return };
            *id = id.checked_add(1).unwrap_or(1);
            let qos = QoS::from_u8(qos).unwrap();
            world.publish_as(conn, Publish { qos, retain, id: PacketId::new(*id), ..Publish::new(TOPICS[topic], "x") });
        }
        Step::Ack { client, kind, id } => {
            let Some(conn) = conns[client] else { return };
            let ack = Ack::new(packet_id(id));
            let packet = [Packet::PubAck(ack), Packet::PubRec(ack), Packet::PubRel(ack), Packet::PubComp(ack)];
            world.packet(conn, packet[usize::from(kind)]);
        }
        Step::Slow { client } => world.wire.slow.extend(conns[client]),
        Step::Drained { client } => conns[client].into_iter().for_each(|conn| world.drained(conn)),
        Step::Pass { seconds } => world.pass(secs(seconds)),
        Step::Bytes { client, bytes } => {
            if let Some(conn) = conns[client] {
                world.bytes(conn, &bytes);
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_left_behind(steps in proptest::collection::vec(step(), 0..60)) {
        let mut world = World::new(Options::new().inflight_max(3).queue_messages_max(4));
        let mut conns = [None; CLIENTS];
        let mut id = 0;
        for step in steps {
            take(&mut world, &mut conns, step, &mut id);
            let stats = world.core.stats();
            let clients = world.core.clients(world.now);
            prop_assert_eq!(stats.queued, clients.iter().map(|client| client.queued + client.inflight).sum::<usize>());
            // Nothing gets lost, whatever happens.
            prop_assert_eq!(stats.routed, stats.delivered + stats.queued as u64 + stats.dropped.total());
            prop_assert_eq!(stats.queued_bytes, clients.iter().map(|client| client.queued_bytes).sum::<usize>());
            prop_assert_eq!(stats.subscriptions, clients.iter().map(|client| client.subscriptions).sum::<usize>());
            prop_assert_eq!(stats.clients_connected, clients.iter().filter(|client| client.conn.is_some()).count());
            prop_assert!(clients.iter().all(|client| client.queued <= 4));
        }
        // The last of each ends its session.
        for client in 0..CLIENTS {
            take(&mut world, &mut conns, Step::Join { client, version: 1, lasts: false, will: false }, &mut id);
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
    }
}

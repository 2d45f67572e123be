//! Messages in a row, in one piece and one by one.

use super::*;
use crate::broker::{
    Access, AccessToken, Answer, Change, Client, Denied, Login, PublishQuestion, Saved, Store, Ticket,
};
use std::cell::Cell;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;

/// Refuses every fifth message, and thinks about every seventh.
#[derive(Clone, Default)]
pub(super) struct Moody {
    asked: u32,
    pub(super) later: Rc<Cell<Option<AccessToken>>>,
}

impl Access for Moody {
    fn connect(&mut self, _: &Login<'_>) -> Answer {
        Answer::Allow
    }

    fn publish(&mut self, client: &Client<'_>, _: &PublishQuestion<'_>) -> Answer {
        self.asked += 1;
        match self.asked {
            n if n % 7 == 0 => {
                self.later.set(Some(client.token));
                Answer::Later
            }
            n if n % 5 == 0 => Denied::not_authorized("every fifth").into(),
            _ => Answer::Allow,
        }
    }
}

/// A broker with receivers of every kind, and one who publishes.
struct Rows {
    world: World,
    later: Rc<Cell<Option<AccessToken>>>,
    from: ConnId,
    receivers: Vec<ConnId>,
    inbox: crate::broker::Inbox,
}

impl Rows {
    fn new(version: Version, is_shared: bool, is_moody: bool) -> Self {
        let moody = Moody::default();
        let later = Rc::clone(&moody.later);
        let mut world = if is_moody { World::new(Options::new().access(moody)) } else { World::open() };
        let plain = [Version::Mqtt311, Version::Mqtt5].map(|version| {
            let conn = world.joined(Connect::new(version, if version.is_5() { "five" } else { "three" }));
            world.subscribe(conn, "a/+", 0);
            conn
        });
        let mut properties = PropertyBuf::new();
        properties.push(Property::TopicAliasMaximum(1)).unwrap();
        properties.push(Property::MaximumPacketSize(NonZeroU32::new(20).unwrap())).unwrap();
        let properties = properties.as_properties();
        let picky = world.joined(Connect { properties, ..Connect::new(Version::Mqtt5, "picky") });
        world.subscribe(picky, "a/#", 1);
        let numbered = world.v5("numbered");
        world.subscribe_as(numbered, Subscription::new("a/b", QoS::ExactlyOnce), Some(5));
        world.subscribe_as(numbered, Subscription::new("#", QoS::AtMostOnce), Some(6));
        let away = world.lasting(Version::Mqtt311, "away");
        world.subscribe(away, "a/#", 1);
        world.cut(away);
        if is_shared {
            world.subscribe(plain[0], "$share/g/a/#", 0);
            world.subscribe(picky, "$share/g/a/#", 0);
        }
        let (_, inbox) = world.core.subscribe_inbox("a/#", QoS::ExactlyOnce, 20).unwrap();
        let from = world.joined(Connect::new(version, "from"));
        Self { world, later, from, receivers: vec![plain[0], plain[1], picky, numbered, from], inbox }
    }

    /// Bytes that come at once. What waits for an answer gets it.
    fn come(&mut self, bytes: &[u8]) {
        let mut used = 0;
        while used < bytes.len() {
            used += self.world.bytes(self.from, &bytes[used..]);
            match self.later.take() {
                Some(token) => assert!(self.world.core.answer(token, Answer::Allow, &mut self.world.wire)),
                None => assert_eq!(used, bytes.len()),
            }
        }
    }

    /// What all have got by now, and what was counted.
    fn outcome(mut self) -> impl PartialEq + std::fmt::Debug {
        let heard: Vec<_> = self.receivers.iter().map(|&conn| self.world.heard(conn)).collect();
        let inbox: Vec<_> =
            std::iter::from_fn(|| self.inbox.next()).map(|received| received.payload().to_vec()).collect();
        let waiting = self.world.core.client("away", self.world.now).unwrap().queued;
        (heard, inbox, waiting, self.world.core.stats())
    }
}

proptest::proptest! {
    #[test]
    fn messages_that_come_in_one_piece_fare_as_those_that_come_alone(
        is_5 in proptest::bool::ANY,
        is_shared in proptest::bool::weighted(0.2),
        is_moody in proptest::bool::ANY,
        rows in proptest::collection::vec((1..9u32, 0..2u8, 0..3u8, proptest::bool::weighted(0.2), 0..12usize), 1..8),
    ) {
        let version = if is_5 { Version::Mqtt5 } else { Version::Mqtt311 };
        let mut number = 0;
        let mut packets = Vec::new();
        for (count, topic, qos, retain, len) in rows {
            for _ in 0..count {
                number += 1;
                let payload = format!("{number:0len$}");
                let qos = QoS::from_u8(qos).unwrap();
                let id = if qos == QoS::AtMostOnce { None } else { PacketId::new(number as u16) };
                let topic = ["a/b", "a/c"][usize::from(topic)];
                let mut properties = PropertyBuf::new();
                if is_5 && len % 4 == 3 {
                    properties.push(Property::TopicAlias(NonZeroU16::MIN)).unwrap();
                    properties.push(Property::ContentType("t")).unwrap();
                }
                let properties = properties.as_properties();
                let publish = Publish { qos, id, retain, properties, ..Publish::new(topic, payload.as_bytes()) };
                let mut out = Vec::new();
                encode(&Packet::Publish(publish), version, &mut out).unwrap();
                packets.push(out);
            }
        }
        let (mut whole, mut alone) = (Rows::new(version, is_shared, is_moody), Rows::new(version, is_shared, is_moody));
        whole.come(&packets.concat());
        packets.iter().for_each(|packet| alone.come(packet));
        proptest::prop_assert_eq!(whole.outcome(), alone.outcome());
    }
    /// One receiver, which is sent as much as its window admits, and acknowledges it now and then.
    #[test]
    fn messages_of_qos_1_in_one_piece_reach_a_single_receiver_as_those_that_come_alone(
        is_5 in proptest::bool::ANY,
        receiver in 0..7u8,
        is_late in proptest::bool::ANY,
        rows in proptest::collection::vec((0..12u16, 0..2u8, 0..9usize, 0..16usize), 1..12),
    ) {
        let [whole, alone] = [true, false].map(|is_whole| {
            let options = Options::new().access(crate::broker::AllowAll).inflight_max(8);
            let mut world = World::new(if is_late { options.store(Late(0)) } else { options });
            let (from, to) = sender_and_receiver(&mut world, is_5, receiver);
            let (mut number, mut sent, mut acked) = (0, 0, 0);
            let mut heard = Vec::new();
            for &(count, topic, acks, len) in &rows {
                let packets: Vec<_> = (0..count).map(|_| {
                    number += 1;
                    let payload = format!("{number:0len$}");
                    let id = PacketId::new(number);
                    // Nobody wants the other one.
                    let topic = if topic == 0 { "a/b" } else { "b" };
                    let publish = Publish { qos: QoS::AtLeastOnce, id, ..Publish::new(topic, payload.as_bytes()) };
                    let mut out = Vec::new();
                    encode(&Packet::Publish(publish), world.versions[&from], &mut out).unwrap();
                    out
                }).collect();
                let until = sent.min(acked + acks);
                let acks: Vec<_> = (acked + 1..=until).map(|id| [0x40, 2, 0, id as u8]).collect();
                acked = until;
                if is_whole {
                    world.bytes(from, &packets.concat());
                    world.bytes(to, &acks.concat());
                } else {
                    packets.iter().for_each(|packet| _ = world.bytes(from, packet));
                    acks.iter().for_each(|ack| _ = world.bytes(to, ack));
                }
                heard.push((world.heard(from), world.heard(to)));
                sent += heard.last().map_or(0, |(_, heard)| heard.len());
            }
            world.core.stored(Ticket(u64::MAX), &mut world.wire);
            (heard, world.heard(from), world.heard(to), world.wire.closed.clone(), world.core.stats())
        });
        proptest::prop_assert_eq!(whole, alone);
    }
}

/// A store that is never ready by itself.
struct Late(u64);

impl Store for Late {
    fn record(&mut self, change: &Change<'_>) -> Saved {
        let Change::Queued { .. } = change else { return Saved::Now };
        self.0 += 1;
        Saved::At(Ticket(self.0))
    }
}

/// Who publishes, and the only one who hears it.
fn sender_and_receiver(world: &mut World, is_5: bool, kind: u8) -> (ConnId, ConnId) {
    let version = if is_5 { Version::Mqtt5 } else { Version::Mqtt311 };
    let from = world.joined(Connect::new(version, "from"));
    let mut properties = PropertyBuf::new();
    properties.push(Property::ReceiveMaximum(NonZeroU16::new(5).unwrap())).unwrap();
    match kind {
        3 => _ = properties.push(Property::MaximumPacketSize(NonZeroU32::new(20).unwrap())).unwrap(),
        4 => _ = properties.push(Property::TopicAliasMaximum(1)).unwrap(),
        _ => {}
    }
    let five = Connect { properties: properties.as_properties(), ..Connect::new(Version::Mqtt5, "to") };
    let to = match kind {
        0 => world.v3("to"),
        1 => world.lasting(version, "to"),
        _ => world.joined(five),
    };
    let no_local = Subscription { no_local: true, ..Subscription::new("a/+", QoS::AtLeastOnce) };
    match kind {
        5 => _ = world.subscribe_as(to, Subscription::new("a/+", QoS::ExactlyOnce), Some(9)),
        6 if is_5 => _ = world.subscribe_as(from, no_local, None),
        _ => _ = world.subscribe(to, "a/+", 1),
    }
    (from, to)
}

#[test]
fn acknowledgements_in_one_piece_are_judged_as_those_that_come_alone() {
    // What comes, how much of it is used, and whether the connection ends. Messages 1, 2 and 4 are of QoS 1, the third of QoS 2.
    let table: &[(&str, &[u8], usize, bool)] = &[
        ("all of QoS 1", b"\x40\x02\0\x01\x40\x02\0\x02\x40\x02\0\x04", 3, false),
        ("one that is not complete", b"\x40\x02\0\x01\x40\x02\0", 1, false),
        ("twice, and one that was not sent", b"\x40\x02\0\x01\x40\x02\0\x01\x40\x02\0\x09", 1, false),
        ("MQTT-2.2.1-3: number 0", b"\x40\x02\0\x01\x40\x02\0\0\x40\x02\0\x02", 1, true),
        ("of QoS 2", b"\x40\x02\0\x01\x40\x02\0\x03\x40\x02\0\x02", 1, true),
        ("with a reason", b"\x40\x02\0\x01\x40\x04\0\x02\0\0\x40\x02\0\x04", 3, false),
        ("with flags", b"\x40\x02\0\x01\x41\x02\0\x02", 1, true),
    ];
    for (name, bytes, delivered, is_end) in table {
        let mut world = World::open();
        let (from, to) = (world.v3("from"), world.v5("to"));
        world.subscribe(to, "t", 2);
        for qos in [1, 1, 2, 1] {
            world.publish(from, "t", "x", qos);
        }
        let before = world.core.stats();
        world.bytes(to, bytes);
        assert_eq!(world.core.stats().delivered - before.delivered, *delivered as u64, "{name}");
        assert_eq!(world.wire.closed.contains(&to), *is_end, "{name}");
    }
}

//! Messages in a row, in one piece and one by one.

use super::*;
use crate::broker::{Access, AccessToken, Answer, Client, Denied, Login, PublishQuestion};
use std::cell::Cell;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;

/// Refuses every fifth message, and thinks about every seventh.
#[derive(Clone, Default)]
struct Moody {
    asked: u32,
    later: Rc<Cell<Option<AccessToken>>>,
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
}

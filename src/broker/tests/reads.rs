//! Everything that a client may send in one read, in one piece, packet by packet, and byte by byte: it fares the same.

use super::rows::Moody;
use super::*;
use crate::broker::{AccessToken, Answer, Change, Overflow, Saved, Store, Ticket};
use std::cell::Cell;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;

use proptest::prelude::*;

/// Every change has a ticket, or none.
struct Late(u64, Rc<Cell<u64>>, bool);

impl Store for Late {
    fn record(&mut self, change: &Change<'_>) -> Saved {
        if !self.2 {
            return Saved::Now;
        }
        match change {
            Change::Queued { .. } | Change::Received { .. } | Change::Released { .. } | Change::Retained { .. } => {
                self.0 += 1;
                self.1.set(self.0);
                Saved::At(Ticket(self.0))
            }
            _ => Saved::Now,
        }
    }
}

#[derive(Debug, Clone)]
enum Say {
    Row {
        count: u8,
        topic: u8,
        qos: u8,
        retain: bool,
        dup: bool,
        len: usize,
        alias: u8,
        expiry: u8,
        prop: bool,
    },
    /// The same packet identifier all the time.
    SameId {
        count: u8,
    },
    Ping,
    Rel,
    Sub {
        filter: u8,
        qos: u8,
        no_local: bool,
    },
    Unsub {
        filter: u8,
    },
    /// Acknowledges what it has been sent itself.
    Acks(u8),
    Bad(u8),
    Disconnect,
}

#[derive(Debug, Clone)]
enum Step {
    Read { says: Vec<Say>, corrupt: Option<(u16, u8)> },
    Ack { who: u8, n: u8 },
    Stored,
    Pass(u64),
    Cut(u8),
    Back(u8),
}

#[derive(Debug, Clone)]
struct Setup {
    is_5: bool,
    moody: bool,
    late: bool,
    unsafe_acks: u32,
    inflight: u16,
    queue: usize,
    queue_bytes: usize,
    overflow: u8,
    receivers: u8,
    alias_max: u16,
    packet_max: u32,
    receive_max: u16,
    own: u8,
    qos: u8,
    inbox: bool,
    share: bool,
}

fn say() -> impl Strategy<Value = Say> {
    prop_oneof![
        12 => (1..12u8, 0..3u8, prop::sample::select(&[0, 1, 1, 1, 1, 2][..]), prop::bool::weighted(0.1), prop::bool::weighted(0.1), 0..24usize, 0..8u8, 0..6u8, prop::bool::weighted(0.1))
            .prop_map(|(count, topic, qos, retain, dup, len, alias, expiry, prop)| Say::Row { count, topic, qos, retain, dup, len, alias, expiry, prop }),
        1 => (1..5u8).prop_map(|count| Say::SameId { count }),
        1 => Just(Say::Ping),
        2 => Just(Say::Rel),
        1 => (0..3u8, 0..3u8, any::<bool>()).prop_map(|(filter, qos, no_local)| Say::Sub { filter, qos, no_local }),
        1 => (0..3u8).prop_map(|filter| Say::Unsub { filter }),
        3 => (0..12u8).prop_map(Say::Acks),
        1 => prop::bool::weighted(0.1).prop_flat_map(|b| (0..4u8).prop_map(move |k| if b { Say::Bad(k) } else { Say::Ping })),
        1 => prop::bool::weighted(0.1).prop_map(|b| if b { Say::Disconnect } else { Say::Rel }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::collection::vec(say(), 1..6), prop::option::weighted(0.05, (any::<u16>(), any::<u8>())))
            .prop_map(|(says, corrupt)| Step::Read { says, corrupt }),
        6 => (0..5u8, 0..12u8).prop_map(|(who, n)| Step::Ack { who, n }),
        2 => Just(Step::Stored),
        1 => (0..4u64).prop_map(Step::Pass),
        1 => (0..4u8).prop_map(Step::Cut),
        2 => (0..4u8).prop_map(Step::Back),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        (any::<bool>(), prop::bool::weighted(0.3), any::<bool>(), 1..12u16, prop::sample::select(&[3, 8, 1000][..])),
        (
            prop::sample::select(&[60, 100_000][..]),
            0..3u8,
            prop::sample::select(&[1, 2, 2, 2, 2, 4, 4, 8, 3, 6, 10, 15, 0][..]),
        ),
        (prop::sample::select(&[0, 0, 0, 2][..]), prop::sample::select(&[u32::MAX, u32::MAX, 28, 22][..]), 1..9u16),
        (
            0..5u8,
            0..3u8,
            prop::bool::weighted(0.15),
            prop::bool::weighted(0.15),
            prop::sample::select(&[1, 3, 1000][..]),
        ),
    )
        .prop_map(
            |(
                (is_5, moody, late, inflight, queue),
                (queue_bytes, overflow, receivers),
                (alias_max, packet_max, receive_max),
                (own, qos, inbox, share, unsafe_acks),
            )| Setup {
                is_5,
                moody,
                late,
                unsafe_acks,
                inflight,
                queue,
                queue_bytes,
                overflow,
                receivers,
                alias_max,
                packet_max,
                receive_max,
                own,
                qos,
                inbox,
                share,
            },
        )
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Whole,
    Packets,
    /// Packet by packet, and acknowledgements of 5.0 in a form that is not taken in rows.
    Plain,
    Bytes,
    /// Pieces of this length.
    Pieces(usize),
}

struct Side {
    mode: Mode,
    world: World,
    later: Rc<Cell<Option<AccessToken>>>,
    tickets: Rc<Cell<u64>>,
    from: ConnId,
    /// By number: the connection, if there is one; the last is `from`.
    conns: [Option<ConnId>; 5],
    /// To be acknowledged: quality (3: PUBREL is out), number.
    open: [Vec<(u8, u16)>; 5],
    pending: HashMap<ConnId, Vec<u8>>,
    inbox: Option<crate::broker::Inbox>,
    setup: Setup,
    number: u16,
    qos2: Vec<u16>,
    lines: [Vec<String>; 5],
}

impl Side {
    fn new(setup: &Setup, mode: Mode) -> Self {
        let moody = Moody::default();
        let later = Rc::clone(&moody.later);
        let tickets = Rc::new(Cell::new(0));
        let options = Options::new()
            .inflight_max(setup.inflight)
            .queue_messages_max(setup.queue)
            .queue_bytes_max(setup.queue_bytes)
            .topic_alias_max(2)
            .overflow([Overflow::DropNewest, Overflow::DropOldest, Overflow::Reject][usize::from(setup.overflow)])
            .unsafe_acks_max(setup.unsafe_acks)
            .store(Late(0, Rc::clone(&tickets), setup.late));
        let options = if setup.moody { options.access(moody) } else { options.access(AllowAll) };
        let mut world = World::new(options);
        let version = if setup.is_5 { Version::Mqtt5 } else { Version::Mqtt311 };
        let from = world.joined(Connect::new(version, "from"));
        let mut side = Self {
            mode,
            world,
            later,
            tickets,
            from,
            conns: [None, None, None, None, Some(from)],
            open: Default::default(),
            pending: HashMap::new(),
            inbox: None,
            setup: setup.clone(),
            number: 0,
            qos2: Vec::new(),
            lines: Default::default(),
        };
        for who in 0..4 {
            if setup.receivers & 1 << who != 0 {
                side.join(who);
            }
        }
        let own = match setup.own {
            0 => Some(Subscription::new("a/+", QoS::AtLeastOnce)),
            1 if setup.is_5 => Some(Subscription { no_local: true, ..Subscription::new("a/+", QoS::AtLeastOnce) }),
            _ => None,
        };
        if let Some(own) = own {
            side.world.subscribe_as(from, own, None);
        }
        if setup.inbox {
            side.inbox = Some(side.world.core.subscribe_inbox("a/#", QoS::ExactlyOnce, 7).unwrap().1);
        }
        side
    }

    fn join(&mut self, who: usize) {
        if self.conns[who].is_some() {
            return;
        }
        let setup = self.setup.clone();
        let qos = QoS::from_u8(setup.qos.max(1)).unwrap();
        let mut properties = PropertyBuf::new();
        properties.push(Property::ReceiveMaximum(NonZeroU16::new(setup.receive_max).unwrap())).unwrap();
        if setup.packet_max != u32::MAX {
            properties.push(Property::MaximumPacketSize(NonZeroU32::new(setup.packet_max).unwrap())).unwrap();
        }
        if setup.alias_max > 0 {
            properties.push(Property::TopicAliasMaximum(setup.alias_max)).unwrap();
        }
        let conn = match who {
            0 => self.world.v3("three"),
            1 => self
                .world
                .joined(Connect { properties: properties.as_properties(), ..Connect::new(Version::Mqtt5, "five") }),
            2 => {
                properties.push(Property::SessionExpiryInterval(3)).unwrap();
                let connect = Connect {
                    clean_start: false,
                    properties: properties.as_properties(),
                    ..Connect::new(Version::Mqtt5, "lasting")
                };
                let conn = self.world.accept();
                self.world.versions.insert(conn, Version::Mqtt5);
                self.world.packet(conn, Packet::Connect(connect));
                conn
            }
            _ => self.world.v5("numbered"),
        };
        self.conns[who] = Some(conn);
        self.open[who].clear();
        self.hear(who);
        let mut sub = |filter: &str, qos, id: Option<u32>, as_published| {
            let subscription = Subscription { retain_as_published: as_published, ..Subscription::new(filter, qos) };
            let mut properties = PropertyBuf::new();
            if let Some(id) = id.and_then(SubscriptionId::new) {
                properties.push(Property::SubscriptionIdentifier(id)).unwrap();
            }
            let subscriptions = [subscription];
            let subscribe = Subscribe {
                id: packet_id(999),
                subscriptions: (&subscriptions).into(),
                properties: properties.as_properties(),
            };
            self.world.packet(conn, Packet::Subscribe(subscribe));
        };
        match who {
            0 => sub("a/+", qos, None, false),
            1 => sub("a/+", qos, None, true),
            2 => sub("a/#", qos, None, false),
            _ if setup.own == 4 => sub("a/b", qos, Some(5), false),
            _ => {
                sub("a/b", qos, Some(5), false);
                sub("#", QoS::AtMostOnce, Some(6), true);
            }
        }
        if setup.share && who == 1 {
            sub("$share/g/a/#", qos, None, false);
        }
        self.hear(who);
    }

    fn hear(&mut self, who: usize) {
        let Some(conn) = self.conns[who] else { return };
        for line in self.world.heard(conn) {
            let id_of = |rest: &str| rest.split(' ').next().unwrap().parse::<u16>().unwrap();
            if let Some((_, rest)) = line.split_once(" q1 #") {
                self.open[who].push((1, id_of(rest)));
            } else if let Some((_, rest)) = line.split_once(" q2 #") {
                self.open[who].push((2, id_of(rest)));
            } else if let Some(rest) = line.strip_prefix("pubrel #") {
                self.open[who].push((3, id_of(rest)));
            }
            self.lines[who].push(line);
        }
        if self.world.is_closed(conn) {
            self.conns[who] = None;
        }
    }

    fn acks(&mut self, who: usize, n: usize) -> Vec<Vec<u8>> {
        self.hear(who);
        let n = n.min(self.open[who].len());
        let is_long = self.mode == Mode::Plain && self.conns[who].is_some_and(|conn| self.world.versions[&conn].is_5());
        self.open[who]
            .drain(..n)
            .map(|(what, id)| {
                let [high, low] = id.to_be_bytes();
                let first = match what {
                    1 => 0x40,
                    2 => 0x50,
                    _ => 0x70,
                };
                if is_long {
                    return vec![first, 3, high, low, 0];
                }
                vec![first, 2, high, low]
            })
            .collect()
    }

    fn feed(&mut self, conn: ConnId, packets: &[Vec<u8>]) {
        let all = packets.concat();
        match self.mode {
            Mode::Whole => self.offer(conn, &all),
            Mode::Packets | Mode::Plain => packets.iter().for_each(|packet| self.offer(conn, packet)),
            Mode::Bytes => all.chunks(1).for_each(|piece| self.offer(conn, piece)),
            Mode::Pieces(n) => all.chunks(n).for_each(|piece| self.offer(conn, piece)),
        }
    }

    fn offer(&mut self, conn: ConnId, piece: &[u8]) {
        if self.world.is_closed(conn) {
            return;
        }
        let mut pending = self.pending.remove(&conn).unwrap_or_default();
        pending.extend_from_slice(piece);
        while !pending.is_empty() {
            let used = self.world.bytes(conn, &pending);
            pending.drain(..used);
            match self.later.take() {
                Some(token) => _ = self.world.core.answer(token, Answer::Allow, &mut self.world.wire),
                None => break,
            }
        }
        if !pending.is_empty() {
            self.pending.insert(conn, pending);
        }
        self.world.check_balance();
    }

    fn packets(&mut self, says: &[Say], corrupt: Option<(u16, u8)>) -> Vec<Vec<u8>> {
        let version = if self.setup.is_5 { Version::Mqtt5 } else { Version::Mqtt311 };
        let mut out: Vec<Vec<u8>> = Vec::new();
        let bytes_of = |packet: Packet<'_>| {
            let mut bytes = Vec::new();
            encode(&packet, version, &mut bytes).unwrap();
            bytes
        };
        let mut acks = 0;
        for say in says {
            match *say {
                Say::Row { count, topic, qos, retain, dup, len, alias, expiry, prop } => {
                    for _ in 0..count {
                        self.number = self.number % 60_000 + 1;
                        let number = self.number;
                        let payload = format!("{number:0len$}");
                        let qos = QoS::from_u8(qos).unwrap();
                        let id = if qos == QoS::AtMostOnce { None } else { PacketId::new(number) };
                        if qos == QoS::ExactlyOnce {
                            self.qos2.push(number);
                        }
                        let mut topic = ["a/b", "a/c", "b"][usize::from(topic)];
                        let mut properties = PropertyBuf::new();
                        if self.setup.is_5 {
                            // 0..3: none; 3, 4: name and alias; 5, 6: alias alone; 7: too great.
                            if alias >= 3 {
                                let n = match alias {
                                    3 | 5 => 1,
                                    4 | 6 => 2,
                                    _ => {
                                        if number.is_multiple_of(10) {
                                            3
                                        } else {
                                            2
                                        }
                                    }
                                };
                                properties.push(Property::TopicAlias(NonZeroU16::new(n).unwrap())).unwrap();
                                if alias >= 5 && self.number > 40 {
                                    topic = "";
                                }
                            }
                            if expiry >= 3 {
                                properties.push(Property::MessageExpiryInterval(u32::from(expiry) - 3)).unwrap();
                            }
                            if prop {
                                properties.push(Property::UserProperty(("k", "v"))).unwrap();
                            }
                        }
                        let dup = dup && qos != QoS::AtMostOnce;
                        let properties = properties.as_properties();
                        out.push(bytes_of(Packet::Publish(Publish {
                            qos,
                            id,
                            retain,
                            dup,
                            properties,
                            topic,
                            payload: payload.as_bytes(),
                        })));
                    }
                }
                Say::SameId { count } => {
                    for n in 0..count {
                        let payload = n.to_string();
                        out.push(bytes_of(Packet::Publish(Publish {
                            qos: QoS::AtLeastOnce,
                            id: PacketId::new(65_000),
                            ..Publish::new("a/b", payload.as_bytes())
                        })));
                    }
                }
                Say::Ping => out.push(bytes_of(Packet::PingReq)),
                Say::Rel => {
                    for id in self.qos2.drain(..) {
                        out.push(bytes_of(Packet::PubRel(Ack::new(packet_id(id)))));
                    }
                }
                Say::Sub { filter, qos, no_local } => {
                    let filter = ["a/+", "a/b", "b"][usize::from(filter)];
                    let subscriptions = [Subscription {
                        no_local: no_local && self.setup.is_5,
                        ..Subscription::new(filter, QoS::from_u8(qos).unwrap())
                    }];
                    out.push(bytes_of(Packet::Subscribe(Subscribe {
                        id: packet_id(998),
                        subscriptions: (&subscriptions).into(),
                        properties: Properties::default(),
                    })));
                }
                Say::Unsub { filter } => {
                    let filters = [["a/+", "a/b", "b"][usize::from(filter)]];
                    out.push(bytes_of(Packet::Unsubscribe(Unsubscribe {
                        id: packet_id(997),
                        filters: (&filters).into(),
                        properties: Properties::default(),
                    })));
                }
                Say::Acks(n) => acks += usize::from(n),
                Say::Bad(kind) => {
                    let mut bytes = Vec::new();
                    out.push(bytes_of(Packet::PingReq));
                    encode(
                        &Packet::Publish(Publish {
                            qos: QoS::AtLeastOnce,
                            id: PacketId::new(1),
                            ..Publish::new("a/b", b"1")
                        }),
                        version,
                        &mut bytes,
                    )
                    .unwrap();
                    match kind {
                        0 => bytes[7..9].copy_from_slice(&[0, 0]),
                        1 => bytes[5] = 0xff,
                        2 => bytes[0] = 0x36,
                        _ => bytes[5] = b'+',
                    }
                    out.push(bytes);
                }
                Say::Disconnect => out.push(bytes_of(Packet::Disconnect(Disconnect::new(ReasonCode::Success)))),
            }
        }
        let mode = self.mode;
        if corrupt.is_some() || says.iter().any(|say| matches!(say, Say::Bad(_) | Say::Disconnect)) {
            self.mode = Mode::Packets;
        }
        let own = self.acks(4, acks);
        self.mode = mode;
        // In the middle of it.
        let at = out.len() / 2;
        out.splice(at..at, own);
        if let Some((at, byte)) = corrupt {
            let all: usize = out.iter().map(Vec::len).sum();
            if all > 0 {
                let mut at = usize::from(at) % all;
                for packet in &mut out {
                    if at < packet.len() {
                        packet[at] = byte;
                        break;
                    }
                    at -= packet.len();
                }
            }
        }
        out
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Read { says, corrupt } => {
                if self.conns[4].is_none() {
                    return;
                }
                let packets = self.packets(says, *corrupt);
                self.feed(self.from, &packets);
            }
            Step::Ack { who, n } => {
                let who = usize::from(*who);
                if who == 4 && !self.pending.is_empty() {
                    return;
                }
                let acks = self.acks(who, usize::from(*n));
                if let Some(conn) = self.conns[who] {
                    self.feed(conn, &acks);
                }
            }
            Step::Stored => {
                self.world.core.stored(Ticket(self.tickets.get()), &mut self.world.wire);
                // What was held is read on.
                self.offer(self.from, &[]);
            }
            Step::Pass(seconds) => self.world.pass(secs(*seconds)),
            Step::Cut(who) => {
                let who = usize::from(*who);
                self.hear(who);
                if let Some(conn) = self.conns[who].take() {
                    self.world.cut(conn);
                    self.lines[who].push("cut".into());
                }
            }
            Step::Back(who) => {
                let who = usize::from(*who);
                self.hear(who);
                if self.setup.receivers & 1 << who != 0 {
                    self.join(who);
                }
            }
        }
        (0..5).for_each(|who| self.hear(who));
        self.world.check_balance();
    }

    /// What has happened since.
    fn outcome(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for who in 0..5 {
            let lines = std::mem::take(&mut self.lines[who]);
            // Its own messages may come between other acknowledgements.
            let (messages, others): (Vec<_>, Vec<_>) =
                lines.into_iter().partition(|line| line.starts_with("a/") || line.starts_with("b "));
            all.push(format!("{who} messages {messages:?}"));
            all.push(format!("{who} others {others:?}"));
        }
        if let Some(inbox) = &self.inbox {
            all.push(format!(
                "inbox {:?}",
                std::iter::from_fn(|| inbox.next()).map(|m| m.payload().to_vec()).collect::<Vec<_>>()
            ));
            all.push(format!("inbox dropped {}", inbox.dropped()));
        }
        all.push(format!("closed {:?}", self.world.wire.closed));
        let mut stats = self.world.core.stats();
        // Some acknowledge at more length.
        stats.bytes_in = 0;
        all.push(format!("{stats:?}"));
        let mut clients: Vec<_> =
            self.world.core.clients(self.world.now).iter().map(|client| format!("{client:?}")).collect();
        clients.sort();
        all.extend(clients);
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_in_one_read_fares_as_in_any_pieces(
        setup in setup(),
        pieces in 1..200usize,
        steps in prop::collection::vec(step(), 1..14),
    ) {
        let mut setup = setup;
        if setup.receivers == 8 {
            setup.qos = 2;
        }
        let mut sides = [Mode::Whole, Mode::Packets, Mode::Plain, Mode::Bytes, Mode::Pieces(pieces)].map(|mode| Side::new(&setup, mode));
        for step in &steps {
            sides.iter_mut().for_each(|side| side.take(step));
            let [whole, others @ ..] = &mut sides;
            let expected = whole.outcome();
            for other in others {
                let is = other.outcome();
                prop_assert_eq!(&expected, &is, "{:?} after {:?}", other.mode, step);
            }
        }
    }

    /// Acknowledgements of anything: what is counted is what is there.
    #[test]
    fn any_acknowledgements_in_a_row_keep_the_counts(
        setup in setup(),
        steps in prop::collection::vec((step(), 0..4u8, prop::collection::vec((prop::sample::select(&[0x40u8, 0x40, 0x40, 0x40, 0x50, 0x62, 0x70][..]), 1..24u8), 0..10), any::<bool>()), 1..20),
    ) {
        let mut side = Side::new(&setup, Mode::Whole);
        for (step, who, acks, again) in &steps {
            side.take(step);
            if let Some(conn) = side.conns[usize::from(*who)] {
                let acks: Vec<Vec<u8>> = acks.iter().map(|&(first, id)| vec![first, 2, 0, id]).collect();
                side.feed(conn, &acks);
                side.take(&Step::Ack { who: *who, n: 0 });
            }
            if *again {
                side.take(&Step::Cut(2));
                side.take(&Step::Back(2));
            }
        }
    }

    /// A receiver whose output is high for a while is sent the same in the end, of QoS 1 and 2.
    #[test]
    fn a_receiver_that_is_slow_for_a_while_misses_nothing(
        mut setup in setup(),
        rows in prop::collection::vec((1..12u8, 0..2u8, 1..3u8, 0..24usize, any::<bool>(), 0..12u8), 1..10),
    ) {
        (setup.queue, setup.queue_bytes, setup.late, setup.own) = (1000, 100_000, false, 4);
        let mut sides = [Mode::Whole, Mode::Packets].map(|mode| Side::new(&setup, mode));
        for &(count, topic, qos, len, slow, n) in &rows {
            for side in &mut sides {
                let conns = [0, 1, 2].map(|who| side.conns[who]);
                if slow {
                    side.world.wire.slow.extend(conns.iter().flatten());
                }
                side.take(&Step::Read { says: vec![Say::Row { count, topic, qos, retain: false, dup: false, len, alias: 0, expiry: 0, prop: false }, Say::Rel], corrupt: None });
                conns.into_iter().flatten().for_each(|conn| side.world.drained(conn));
                (0..5).for_each(|who| side.hear(who));
                for who in 0..3 {
                    side.take(&Step::Ack { who, n });
                }
            }
            let [whole, alone] = &mut sides;
            // The numbered one is of QoS 0 in part.
            if setup.receivers & 8 == 0 {
                prop_assert_eq!(whole.outcome(), alone.outcome());
            }
        }
    }
}

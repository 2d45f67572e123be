//! Sessions of whole packets: four clients come and go, subscribe, publish, acknowledge, stop reading and come back, all with the
//! options of 5.0, while time passes. The broker neither panics nor hangs, its counters balance after each step, what it keeps has
//! its bounds, and when everybody has gone nothing is left.
#![no_main]

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::num::NonZeroU32;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vansire::broker::{AllowAll, Broker, Inbox, Options, Overflow};
use vansire::mqtt::{
    Ack, Auth, Connect, DecodeLimits, Disconnect, Packet, PacketId, Property, PropertyBuf, Publish, QoS, ReasonCode,
    RetainHandling, Subscribe, Subscription, SubscriptionId, Unsubscribe, Version, Will, decode, encode,
};
use vansire::sim::{Faults, Sim, SimSocket};
use vansire::{Limits, ListenOptions, Manager};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const CLIENTS: usize = 4;
const INFLIGHT_MAX: usize = 3;
const QUEUE_MAX: usize = 5;
const RETAINED_MAX: usize = 6;
const EXPIRY_MAX: u32 = 1000;
const FILTERS: [&str; 8] = ["a", "a/+", "#", "$share/g/a", "$share/g/#", "+/b/#", "$SYS/#", "$share/h/a/+"];
const TOPICS: [&str; 8] = ["a", "a/b", "b/b/c", "c", "$x", "a//", "a/b/c/d/e", ""];
const NAMES: [&str; 5] = ["one", "two", "three", "four", ""];
const VERSIONS: [Version; 4] = [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5, Version::Mqtt5];

/// The input, from which everything is chosen; zeros once it is used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn chance(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }

    fn qos(&mut self) -> QoS {
        self.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
    }

    fn id(&mut self) -> PacketId {
        PacketId::new(u16::from(self.byte() % 8) + 1).unwrap()
    }
}

struct Client {
    socket: SimSocket,
    version: Version,
    got: Vec<u8>,
    /// It takes nothing: what is sent to it piles up.
    is_slow: bool,
    /// What it has not answered.
    unanswered: Vec<Unanswered>,
}

enum Unanswered {
    Publish(QoS, PacketId),
    PubRec(PacketId),
    PubRel(PacketId),
}

struct World {
    sim: Sim,
    manager: Manager<()>,
    broker: Broker,
    clients: [Option<Client>; CLIENTS],
    inbox: Option<Inbox>,
}

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices(input);
    let mut world = World::new(&mut choices);
    while !choices.0.is_empty() {
        world.step(&mut choices);
        world.settle(Duration::ZERO);
        world.check();
    }
    world.end();
});

impl World {
    fn new(choices: &mut Choices<'_>) -> Self {
        let sim = Sim::new(0);
        sim.set_faults(Faults::none().buffer(600..601));
        let mut manager = Manager::builder().sim(&sim).build(()).unwrap();
        let options = Options::new()
            .access(AllowAll)
            .queue_messages_max(QUEUE_MAX)
            .queue_bytes_max(2000)
            .inflight_max(INFLIGHT_MAX as u16)
            .retained_max(RETAINED_MAX)
            .sessions_max(6)
            .subscriptions_max(5)
            .topic_alias_max(2)
            .session_expiry_max(Duration::from_secs(EXPIRY_MAX.into()))
            .packet_max(4096)
            .overflow(choices.pick(&[Overflow::DropNewest, Overflow::DropOldest, Overflow::Reject]));
        let broker = Broker::new(options);
        let listen = ListenOptions::new(format!("mqtt://{HERE}:1883")).limits(Limits::new().write_high(500));
        broker.listen(&mut manager.net(), listen).unwrap();
        Self { sim, manager, broker, clients: [const { None }; CLIENTS], inbox: None }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let (step, who) = (choices.byte() % 20, usize::from(choices.byte()) % CLIENTS);
        match (step, &mut self.clients[who]) {
            (0, _) => {
                let by = Duration::from_millis(u64::from(choices.byte()).pow(2) * 10);
                self.sim.run_for(&mut [&mut self.manager], by).expect("time passes");
            }
            (1, _) => self.by_hand(choices),
            (2, client) => match (client.take(), choices.byte() % 3) {
                (Some(client), 0) => client.socket.reset(),
                (Some(client), 1) => client.socket.shutdown(),
                _ => {}
            },
            (_, None) | (3, _) => {
                let socket = self.sim.connect_from((Ipv4Addr::new(10, 0, 1, who as u8), 0), (HERE, 1883));
                let version = choices.pick(&VERSIONS);
                let client = Client { socket, version, got: Vec::new(), is_slow: false, unanswered: Vec::new() };
                client.introduce(choices);
                self.clients[who] = Some(client);
            }
            (4, Some(client)) => client.is_slow = !client.is_slow,
            (5..9, Some(client)) => client.answer(choices),
            (_, Some(client)) => client.say_something(step, choices),
        }
    }

    /// What the program does, and who administers it.
    fn by_hand(&mut self, choices: &mut Choices<'_>) {
        let mut net = self.manager.net();
        match choices.byte() % 5 {
            0 => {
                let (qos, retain) = (choices.qos(), choices.chance());
                let topic = choices.pick(&TOPICS);
                let _ = self.broker.publish(&mut net, &Publish { qos, retain, ..Publish::new(topic, "by hand") });
            }
            1 => _ = self.broker.kick(&mut net, choices.pick(&NAMES), ReasonCode::AdministrativeAction),
            2 => _ = self.broker.clear_retained(choices.pick(&TOPICS)),
            3 => self.inbox = self.broker.subscribe(choices.pick(&FILTERS), choices.qos(), 4).ok(),
            _ => {
                self.broker.set_access(AllowAll);
                while self.inbox.as_ref().is_some_and(|inbox| inbox.next().is_some()) {}
            }
        }
    }

    /// Lets everybody get what they take.
    fn settle(&mut self, time: Duration) {
        self.sim.run_for(&mut [&mut self.manager], time).expect("time passes");
        for _ in 0..20 {
            let mut is_new = false;
            for client in self.clients.iter_mut().flatten() {
                is_new |= client.hear();
            }
            if !is_new {
                return;
            }
            self.sim.run_for(&mut [&mut self.manager], time).expect("time passes");
        }
    }

    fn check(&self) {
        let stats = self.broker.stats();
        let dropped = stats.dropped.total();
        assert_eq!(stats.routed, stats.delivered + stats.queued as u64 + dropped, "{stats:?}");
        let is_bounded = stats.sessions <= 6
            && stats.queued <= stats.sessions * (QUEUE_MAX + INFLIGHT_MAX)
            && stats.queued_bytes <= stats.sessions * 2000 + stats.queued * 4096
            && stats.subscriptions <= stats.sessions * 5 + 1
            && stats.retained <= RETAINED_MAX
            && stats.clients_connected <= stats.sessions;
        assert!(is_bounded, "{stats:?}");
    }

    fn end(mut self) {
        self.clients = [const { None }; CLIENTS];
        self.inbox = None;
        // Timers that are due, and no others: it comes to rest by itself.
        let all = Duration::from_secs(2 * u64::from(EXPIRY_MAX));
        self.sim.run_for(&mut [&mut self.manager], all).expect("time passes");
        self.check();
        // A wildcard finds nothing below `$`.
        for filter in ["#", "$x", "$SYS/#"] {
            for message in self.broker.retained(filter, None, usize::MAX).unwrap() {
                assert!(self.broker.clear_retained(message.topic()));
            }
        }
        // The next one who comes is served, and leaves nothing either.
        let last = self.sim.connect((HERE, 1883));
        last.send(b"\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04last\xe0\0");
        self.sim.run_for(&mut [&mut self.manager], Duration::from_secs(1)).expect("time passes");
        assert_eq!(last.take(), b"\x20\x02\0\0");
        drop(last);
        self.sim.run_for(&mut [&mut self.manager], Duration::from_secs(100)).expect("time passes");
        let stats = self.broker.stats();
        let left = [stats.sessions, stats.queued, stats.queued_bytes, stats.retained, stats.retained_bytes];
        assert_eq!((left, stats.clients_connected), ([0; 5], 0), "{stats:?}");
        assert_eq!((stats.subscriptions, self.sim.open_sockets()), (0, 1), "{stats:?}");
        self.check();
    }
}

impl Client {
    fn say(&self, packet: &Packet<'_>) {
        let mut out = Vec::new();
        // What cannot be said is not.
        if encode(packet, self.version, &mut out).is_ok() {
            self.socket.send(&out);
        }
    }

    fn introduce(&self, choices: &mut Choices<'_>) {
        let (mut properties, mut of_will) = (PropertyBuf::new(), PropertyBuf::new());
        if self.version.is_5() {
            let bits = choices.byte();
            let mut add = |bit: u8, property: Property<'_>| {
                if bits & bit != 0 {
                    properties.push(property).unwrap();
                }
            };
            add(1, Property::SessionExpiryInterval(u32::from(choices.byte()) * 8));
            add(2, Property::ReceiveMaximum(NonZeroU16::new(u16::from(choices.byte() % 4) + 1).unwrap()));
            add(4, Property::TopicAliasMaximum(u16::from(choices.byte() % 4)));
            add(8, Property::MaximumPacketSize(NonZeroU32::new(u32::from(choices.byte()) + 20).unwrap()));
            add(16, Property::RequestProblemInformation(false));
            if bits & 32 != 0 {
                of_will.push(Property::WillDelayInterval(choices.byte().into())).unwrap();
            }
            if bits & 64 != 0 {
                of_will.push(Property::MessageExpiryInterval(choices.byte().into())).unwrap();
            }
        }
        let will = choices.chance().then(|| Will {
            qos: choices.qos(),
            retain: choices.chance(),
            properties: of_will.as_properties(),
            ..Will::new(choices.pick(&TOPICS), b"gone")
        });
        let (clean_start, keep_alive) = (choices.chance(), choices.pick(&[0, 2, 60]));
        let name = choices.pick(&NAMES);
        let properties = properties.as_properties();
        self.say(&Packet::Connect(Connect {
            will,
            clean_start,
            keep_alive,
            properties,
            ..Connect::new(self.version, name)
        }));
    }

    fn say_something(&self, step: u8, choices: &mut Choices<'_>) {
        let id = choices.id();
        let mut properties = PropertyBuf::new();
        match step {
            9..11 => {
                let filters = [choices.pick(&FILTERS), choices.pick(&FILTERS)];
                let both = filters.map(|filter| Subscription {
                    no_local: choices.byte().is_multiple_of(4),
                    retain_as_published: choices.chance(),
                    retain_handling: choices.pick(&[
                        RetainHandling::Send,
                        RetainHandling::SendIfNew,
                        RetainHandling::DontSend,
                    ]),
                    ..Subscription::new(filter, choices.qos())
                });
                if self.version.is_5() && choices.chance() {
                    let number = SubscriptionId::new(u32::from(choices.byte()) + 1).unwrap();
                    properties.push(Property::SubscriptionIdentifier(number)).unwrap();
                }
                let subscriptions = both[..1 + usize::from(choices.chance())].into();
                let properties = properties.as_properties();
                self.say(&Packet::Subscribe(Subscribe { id, subscriptions, properties }));
            }
            11 => {
                let filters = [choices.pick(&FILTERS)];
                let properties = properties.as_properties();
                self.say(&Packet::Unsubscribe(Unsubscribe { id, filters: (&filters).into(), properties }));
            }
            12 => {
                if self.version.is_5() && choices.chance() {
                    properties.push(Property::SessionExpiryInterval(choices.byte().into())).unwrap();
                }
                let reason = choices.pick(&[ReasonCode::Success, ReasonCode::DisconnectWithWill]);
                let reason = if self.version.is_5() { reason } else { ReasonCode::Success };
                self.say(&Packet::Disconnect(Disconnect { reason, properties: properties.as_properties() }));
            }
            13 => {
                // Out of turn.
                let reason = if self.version.is_5() && choices.byte().is_multiple_of(4) {
                    ReasonCode::UnspecifiedError
                } else {
                    ReasonCode::Success
                };
                let ack = Ack { reason, ..Ack::new(id) };
                let all =
                    [Packet::PubAck(ack), Packet::PubRec(ack), Packet::PubComp(ack), Packet::PubRel(Ack::new(id))];
                self.say(&all[usize::from(choices.byte()) % all.len()]);
            }
            14 => {
                let auth = Auth { reason: ReasonCode::ReAuthenticate, properties: properties.as_properties() };
                let all = [Packet::PingReq, Packet::PingResp, Packet::Auth(auth)];
                self.say(&all[usize::from(choices.byte() / 100)]);
            }
            _ => {
                let (qos, bits) = (choices.qos(), choices.byte());
                if self.version.is_5() {
                    if bits & 1 != 0 {
                        let alias = NonZeroU16::new(u16::from(choices.byte() % 3) + 1).unwrap();
                        properties.push(Property::TopicAlias(alias)).unwrap();
                    }
                    if bits & 2 != 0 {
                        properties.push(Property::MessageExpiryInterval(choices.byte().into())).unwrap();
                    }
                    if bits & 4 != 0 {
                        properties.push(Property::UserProperty(("k", "v"))).unwrap();
                    }
                }
                let payload = [b'x'; 700];
                let len = choices.pick(&[0, 1, 1, 10, 300, 700]);
                self.say(&Packet::Publish(Publish {
                    qos,
                    retain: bits & 8 != 0,
                    dup: qos != QoS::AtMostOnce && bits & 16 != 0,
                    id: (qos != QoS::AtMostOnce).then_some(id),
                    properties: properties.as_properties(),
                    ..Publish::new(choices.pick(&TOPICS), &payload[..len])
                }));
            }
        }
    }

    /// Takes what has come; false: nothing.
    fn hear(&mut self) -> bool {
        if self.is_slow {
            return false;
        }
        let new = self.socket.take();
        self.got.extend_from_slice(&new);
        while let Some((packet, used)) = decode(&self.got, self.version, &DecodeLimits::default()).unwrap() {
            match packet {
                Packet::Publish(Publish { qos, id: Some(id), .. }) => {
                    self.unanswered.push(Unanswered::Publish(qos, id));
                }
                Packet::PubRec(ack) => self.unanswered.push(Unanswered::PubRec(ack.id)),
                Packet::PubRel(ack) => self.unanswered.push(Unanswered::PubRel(ack.id)),
                Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
                    panic!("a broker says {packet:?}")
                }
                _ => {}
            }
            self.got.drain(..used);
        }
        !new.is_empty()
    }

    /// Answers some of what has come, as the standard asks for.
    fn answer(&mut self, choices: &mut Choices<'_>) {
        let count = self.unanswered.len().min(1 + usize::from(choices.byte() % 8));
        for unanswered in self.unanswered.drain(..count).collect::<Vec<_>>() {
            self.say(&match unanswered {
                Unanswered::Publish(QoS::ExactlyOnce, id) => Packet::PubRec(Ack::new(id)),
                Unanswered::Publish(_, id) => Packet::PubAck(Ack::new(id)),
                Unanswered::PubRec(id) => Packet::PubRel(Ack::new(id)),
                Unanswered::PubRel(id) => Packet::PubComp(Ack::new(id)),
            });
        }
    }
}

//! A broker and twenty clients of all kinds, on a network that fails: whatever happens, what it promised is kept. A model that
//! knows no bytes, windows or queues is shown each packet that the broker has accepted, and says what everybody is to get.

mod books;
pub(super) mod hostile;
mod judge;
mod model;
pub(super) mod ours;
pub(super) mod plain;
mod users;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::broker::{self, AllowAll, Broker, Inbox, Options, Overflow, Parting};
use crate::mqtt::{
    Connect, DecodeLimits, Disconnect, Packet, Publish, QoS, ReasonCode, RetainHandling, Subscription, Version,
    connect_version, decode, encode,
};
use crate::sim::{Faults, Rng, Sim, SimSocket};
use crate::{Ctx, Event, Limits, ListenOptions, Manager, Net};

pub(super) use self::judge::Broken;
pub use self::model::RULES;
use self::model::{Model, Tapped, number_of};
use self::users::Rules;
use super::play::{Scene, Side};
use super::{FOREVER, Outcome, Promise, up_to};

/// What somebody does wrong, as the proof that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Nobody.
    None,
    /// A message of QoS 2 that comes again is taken for a new one.
    TakesTwice,
    /// A message of QoS 1 or 2 gets lost on its last step.
    LosesOne,
    /// The model believes that a polite client's will is published.
    ForgetsWill,
    /// The model is not told of PUBREL.
    LosesPubRel,
}

/// The broker's address.
const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

const TOPICS: [&str; 6] = ["t/0", "t/1", "t/2", "t/0/deep", "s/a", "s/b"];
/// Those of groups match topics that no others do.
const FILTERS: [&str; 11] = ["t/0", "t/1", "t/+", "t/#", "+/0", "t/0/#", "w/#", "w/+", GROUPS[0], GROUPS[1], GROUPS[2]];

/// Those of groups again: they end and come back the more often.
const GROUPS: [&str; 3] = ["$share/g/s/#", "$share/h/s/a", "$share/h/s/b"];

/// How long everybody misbehaves, and how long what is left may take afterwards.
const CHAOS: Duration = Duration::from_secs(25);
const CALM: Duration = Duration::from_secs(120);

/// How often the clock jumps at most, where it does.
const JUMPS: u32 = 4;

/// What all know of each other.
pub(crate) struct Stage {
    bug: Bug,
    model: RefCell<Model>,
    broker: Broker,
    /// Everything that the broker routes, in its order.
    inbox: Inbox,
    told: Rc<RefCell<Vec<(Duration, broker::Event)>>>,
    seen: RefCell<Vec<Seen>>,
    /// What publishers were told has arrived.
    acked: RefCell<Vec<u32>>,
    /// What they were told they may not publish.
    refused: RefCell<Vec<u32>>,
    /// Clients have names, and rules by which they are allowed some things.
    has_rules: bool,
    pub(super) is_calm: Cell<bool>,
    /// Messages of QoS 1 and 2 under way, at most, and those that wait.
    window: u16,
    queue_max: usize,
    rng: RefCell<Rng>,
    last_number: Cell<u32>,
    wrong: RefCell<Option<String>>,
    clock: Sim,
    longest_jump: Duration,
    jumps_left: Cell<u32>,
    /// A plan says what happens, and nobody does anything by himself.
    is_planned: bool,
    /// The world that this is a part of.
    scene: Option<Rc<Scene>>,
    is_told: bool,
}

/// A handler of any kind.
type Watched = Box<dyn FnMut(&mut Ctx<'_, ()>, Event<'_>)>;

/// A message that an application was given.
pub(super) struct Seen {
    /// The client's address, which tells its session.
    at: SocketAddr,
    number: u32,
    topic: String,
    qos: QoS,
    retain: bool,
    dup: bool,
}

impl Stage {
    pub(super) fn complain(&self, promise: Promise, what: String) {
        if let Some(scene) = &self.scene {
            scene.complain(promise, what.clone());
        }
        self.wrong.borrow_mut().get_or_insert(what);
    }

    /// A line of the story, if somebody listens.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if let Some(scene) = &self.scene {
            scene.tell(what);
        } else if self.is_told {
            eprintln!("{:?} {}", self.clock.elapsed(), what());
        }
    }

    /// A handler, watched where the world watches all of them.
    fn watched(&self, side: Side, handler: impl FnMut(&mut Ctx<'_, ()>, Event<'_>) + 'static) -> Watched {
        match &self.scene {
            Some(scene) => Box::new(scene.handler(side, handler)),
            None => Box::new(handler),
        }
    }

    fn check(&self) -> Outcome {
        self.wrong.borrow().clone().map_or(Ok(()), Err)
    }

    /// The number of a new message.
    pub(super) fn number(&self) -> u32 {
        self.last_number.set(self.last_number.get() + 1);
        self.last_number.get()
    }

    /// Has the clock jump, if it does so in this world.
    pub(super) fn jump(&self) {
        if self.jumps_left.get() > 0 && !self.longest_jump.is_zero() && !self.is_calm.get() {
            self.jumps_left.set(self.jumps_left.get() - 1);
            self.clock.advance(self.rng.borrow_mut().time(&(Duration::ZERO..self.longest_jump)));
        }
    }

    pub(super) fn jump_soon(self: &Rc<Self>) {
        let stage = self.clone();
        self.clock.after(Duration::ZERO, move |_| stage.jump());
    }

    /// The same bytes for the same number, few of them long.
    pub(super) fn payload(&self, number: u32) -> String {
        match number {
            0 => String::new(),
            _ if number.is_multiple_of(64) => format!("{number} {:1100}", ""),
            _ => number.to_string(),
        }
    }

    pub(super) fn topic(&self, rng: &mut Rng) -> &'static str {
        rng.pick::<&str>(&TOPICS)
    }

    pub(super) fn see(&self, at: Option<SocketAddr>, number: u32, topic: String, publish: &Publish<'_>) {
        let Some(at) = at else { return };
        let Publish { qos, retain, dup, .. } = *publish;
        self.tell(|| format!("  {at} is given {number} on {topic}, {qos:?}, retain {retain}, {:?}", publish.id));
        self.seen.borrow_mut().push(Seen { at, number, topic, qos, retain, dup });
    }

    /// Shows the model what the broker has done since it was shown something last.
    fn settle(&self, now: Duration) -> Outcome {
        self.told.borrow().iter().for_each(|(_, event)| self.tell(|| format!("{event:?}")));
        let mut model = self.model.borrow_mut();
        self.tap(&mut model)?;
        model.settle(&mut self.told.borrow_mut(), now)?;
        let (stats, (subscriptions, shared, connected)) = (self.broker.stats(), model.counts());
        let broker = [stats.sessions, stats.subscriptions, stats.shared_subscriptions, stats.clients_connected];
        // The inbox has one as well.
        let ought = [model.sessions.len(), subscriptions + 1, shared, connected];
        if broker != ought || (stats.publish_in, stats.wills) != (model.routed, model.wills) {
            return Err(format!("{ought:?}, {} messages, {} wills, but: {stats:?}", model.routed, model.wills));
        }
        if stats.denied != model.denied {
            return Err(format!("{} things were denied, but: {stats:?}", model.denied));
        }
        if stats.routed != stats.delivered + stats.queued as u64 + stats.dropped.total() {
            return Err(format!("the counters do not balance: {stats:?}"));
        }
        let bound = stats.sessions * (self.queue_max + usize::from(self.window));
        if stats.queued > bound {
            Err(format!("{} messages are kept, more than {bound}", stats.queued))
        } else {
            Ok(())
        }
    }

    fn tap(&self, model: &mut Model) -> Outcome {
        while let Some(message) = self.inbox.next() {
            let number = number_of(message.payload()).ok_or("a payload that nobody has sent")?;
            model.tap(Tapped { number, topic: message.topic().to_owned(), qos: message.message.qos() });
        }
        if self.inbox.dropped() > 0 { Err("the inbox is full".to_owned()) } else { Ok(()) }
    }

    /// Hands an event to the broker, and then to the model what the broker made of it.
    fn serve(&self, cx: &mut Ctx<'_, ()>, event: Event<'_>, version: &mut Version, now: Duration) -> Outcome {
        self.settle(now)?;
        let (conn, from) = (cx.conn, cx.remote_addr());
        let (bytes, is_closed) = match &event {
            Event::Data(data) => (data.bytes(), false),
            Event::Closed(_) => (&[][..], true),
            _ => (&[][..], false),
        };
        if !bytes.is_empty() {
            self.model.borrow_mut().stirs(conn, now);
        }
        let before = self.broker.stats().packets_in;
        let mine = self.model.borrow().client(conn).map(str::to_owned);
        self.broker.handle(cx, event);
        let count = self.broker.stats().packets_in - before;
        let mut model = self.model.borrow_mut();
        self.tap(&mut model)?;
        model.told_ended = self
            .told
            .borrow()
            .iter()
            .filter_map(|(_, event)| match event {
                broker::Event::SessionEnded { client } => Some((**client).to_owned()),
                _ => None,
            })
            .collect();
        if is_closed {
            model.closed(conn, now)?;
        }
        let (mut packets, mut rest) = (Vec::new(), bytes);
        for _ in 0..count {
            *version = connect_version(rest).unwrap_or(*version);
            let (packet, used) = decode(rest, *version, &DecodeLimits::default())
                .map_err(|e| e.to_string())?
                .ok_or("the broker counts a packet that is not there")?;
            packets.push(packet);
            rest = &rest[used..];
        }
        // The last one may have broken a rule: then it has had no other effect. What is malformed behind it may have, as well.
        let is_malformed = decode(rest, *version, &DecodeLimits::default()).is_err();
        let is_forbidden = match packets.last() {
            Some(Packet::Connect(_)) => packets.len() > 1 || mine.is_some(),
            Some(Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp | Packet::Auth(_)) => {
                true
            }
            _ => false,
        };
        let mine = packets
            .iter()
            .find_map(|packet| match packet {
                Packet::Connect(connect) => Some(connect.client_id.to_owned()),
                _ => None,
            })
            .or(mine);
        let is_breach = |(_, event): &(Duration, broker::Event)| {
            matches!(event, broker::Event::Disconnected { client, why: Parting::Ended(reason) }
                if Some(&**client) == mine.as_deref() && *reason != ReasonCode::SessionTakenOver)
        };
        if (is_forbidden || !is_malformed) && self.told.borrow().iter().any(is_breach) {
            packets.pop();
        }
        for packet in &packets {
            self.tell(|| format!("{} says {packet:?}", mine.as_deref().unwrap_or("?")));
            if self.bug == Bug::LosesPubRel && matches!(packet, Packet::PubRel(_)) {
                continue;
            }
            let lies = Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill));
            let is_polite = matches!(packet, Packet::Disconnect(d) if d.reason == ReasonCode::Success);
            let packet = if self.bug == Bug::ForgetsWill && is_polite { &lies } else { packet };
            model.packet(conn, from, packet, now)?;
        }
        drop(model);
        self.settle(now)
    }
}

pub(super) fn random_subscription(rng: &mut Rng, version: Version) -> Subscription<'static> {
    let subscription = Subscription::new(rng.pick::<&str>(&FILTERS), plain::random_qos(rng));
    if !version.is_5() {
        return subscription;
    }
    Subscription {
        no_local: !subscription.filter.starts_with('$') && rng.chance(0.3),
        retain_as_published: rng.chance(0.3),
        retain_handling: *rng.pick(&[RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DontSend]),
        ..subscription
    }
}

/// A broker and twenty clients that do as they like; tells in the end which rules have applied, and how often. `is_told`: its
/// story is printed to the standard error.
pub fn play(
    sim: &Sim,
    rng: &mut Rng,
    bug: Bug,
    is_told: bool,
    at_the_end: impl FnOnce(&BTreeMap<&'static str, u32>),
) -> Outcome {
    let err = |e: crate::Error| e.to_string();
    sim.set_faults(match rng.below(4) {
        0 => Faults::none(),
        1 => Faults::benign(rng),
        _ => Faults::harsh(rng),
    });
    let mut server = Manager::builder().sim(sim).build(()).map_err(err)?;
    let mut clients = Manager::builder().sim(sim).build(()).map_err(err)?;
    let longest_jump = Duration::from_secs(*rng.pick(&[0, 0, 5, 20]));
    let stage = Stage::new(sim, rng, bug, JUMPS * longest_jump, None);
    let stage = Rc::new(Stage { longest_jump, is_told, ..stage });
    stage.listen(&mut server.net(), rng).map_err(err)?;

    let plains: Vec<_> = (0..12).map(|at| plain::Plain::new(&stage, at, rng)).collect();
    plains.iter().for_each(|plain| plain::start(&mut clients.net(), plain));
    let mut ours = Vec::new();
    for at in 0..4 {
        ours.push(ours::Ours::start(&mut clients.net(), &stage, at, rng).map_err(err)?);
    }
    (0..4).for_each(|at| hostile::plan(sim, &stage, at, rng, CHAOS));
    let ips: Vec<_> = plains.iter().map(|p| p.borrow().ip()).chain(ours.iter().map(|o| o.borrow().ip())).collect();
    for _ in 0..rng.below(4) {
        let (at, ip, during) = (rng.time(&(Duration::ZERO..CHAOS)), *rng.pick(&ips), up_to(rng, 20_000));
        sim.after(at, move |sim| sim.partition(HERE, ip, during));
    }
    // The machine was busy, or asleep.
    let (at, jumping) = (rng.time(&(Duration::ZERO..CHAOS)), stage.clone());
    sim.after(at, move |_| jumping.jump());
    let mut kicks: Vec<_> = (0..rng.below(3)).map(|_| rng.time(&(Duration::ZERO..CHAOS))).collect();
    kicks.sort_unstable();
    for wait in kicks {
        let (stage, name) = (stage.clone(), format!("{}{}", rng.pick(&["o", "p"]), rng.below(4)));
        server
            .net()
            .timer_after(wait, move |cx| _ = stage.broker.kick(&mut cx.net, &name, ReasonCode::AdministrativeAction));
    }
    let (calm, gentle) = (stage.clone(), Faults::none().short_read(0.2).short_write(0.2));
    sim.after(CHAOS, move |sim| {
        sim.set_faults(gentle);
        ips.iter().for_each(|ip| sim.heal(HERE, *ip));
        calm.is_calm.set(true);
    });

    let fails = || stage.wrong.borrow().is_some();
    sim.run(&mut [&mut server, &mut clients], || stage.is_calm.get() || fails(), 2 * CHAOS + JUMPS * longest_jump)
        .map_err(|e| e.to_string())?;
    stage.check()?;
    let is_quiet = || {
        stage.broker.stats().queued == 0
            && plains.iter().all(|plain| plain.borrow().is_quiet())
            && ours.iter().all(|ours| ours.borrow().is_quiet())
    };
    sim.run(&mut [&mut server, &mut clients], || fails() || is_quiet(), CALM)
        .map_err(|e| format!("{e}: {} messages are left, {:?}", stage.broker.stats().queued, stage.broker))?;
    // What goes at QoS 0 is on its way.
    sim.run_for(&mut [&mut server, &mut clients], Duration::from_secs(8)).map_err(|e| e.to_string())?;
    stage.settle(sim.elapsed())?;
    stage.check()?;
    judge::all(&stage, &server.net()).map_err(|(promise, what)| format!("{promise}: {what}"))?;

    at_the_end(&stage.model.borrow().applied);
    drop(clients);
    leave(sim, &mut server, &stage)
}

impl Stage {
    /// A broker. The clock jumps by so much at most, all in all.
    pub(super) fn new(sim: &Sim, rng: &mut Rng, bug: Bug, jumps: Duration, scene: Option<&Rc<Scene>>) -> Self {
        let window = 1 + rng.below(6) as u16;
        let queue_max = *rng.pick(&[3, 20, 1000]);
        let session_expiry_max = *rng.pick(&[u32::MAX, 3600]);
        let told = Rc::new(RefCell::new(Vec::new()));
        let (tell, clock) = (told.clone(), sim.clone());
        let options = Options::new()
            .inflight_max(window)
            .queue_messages_max(queue_max)
            .overflow(*rng.pick(&[Overflow::DropNewest, Overflow::DropOldest]))
            .session_expiry_max(Duration::from_secs(session_expiry_max.into()))
            .on_event(move |event| tell.borrow_mut().push((clock.elapsed(), event.clone())));
        let has_rules = rng.chance(0.5);
        let options = if has_rules { options.access(Rules::new()) } else { options.access(AllowAll) };
        let broker = Broker::new(options);
        let inbox = broker.subscribe("#", QoS::ExactlyOnce, 10_000).expect("a filter");
        Self {
            bug,
            model: RefCell::new(Model::new(session_expiry_max, window, jumps)),
            broker,
            inbox,
            told,
            seen: RefCell::default(),
            acked: RefCell::default(),
            refused: RefCell::default(),
            has_rules,
            is_calm: Cell::new(false),
            window,
            queue_max,
            rng: RefCell::new(rng.fork()),
            last_number: Cell::new(0),
            wrong: RefCell::new(None),
            clock: sim.clone(),
            longest_jump: Duration::ZERO,
            jumps_left: Cell::new(JUMPS),
            is_planned: scene.is_some(),
            scene: scene.cloned(),
            is_told: false,
        }
    }

    /// As [`Broker::listen`], but the model looks on.
    pub(super) fn listen(self: &Rc<Self>, net: &mut Net<'_, ()>, rng: &mut Rng) -> crate::Result<()> {
        let mut limits = Limits::new().read_max(4_000_000);
        if rng.chance(0.5) {
            limits = limits.write_high(1 + rng.below(2000));
        }
        let listen = ListenOptions::new(format!("tcp://{HERE}:1883")).limits(limits);
        // The broker goes by the time at which its turn began.
        let (stage, begin, elapsed) = (self.clone(), net.now(), self.clock.elapsed());
        let serve = move || {
            let (watching, stage, mut version) = (stage.clone(), stage.clone(), Version::Mqtt5);
            watching.watched(Side::Server, move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
                if stage.wrong.borrow().is_some() {
                    return;
                }
                let now = elapsed + cx.net.now().duration_since(begin);
                if let Err(what) = stage.serve(cx, event, &mut version, now) {
                    stage.complain(Promise::MqttRules, what);
                }
            })
        };
        net.listen_with(listen, serve).map(drop)
    }

    /// Nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.broker.stats().queued == 0
    }

    pub(super) fn messages(&self) -> u64 {
        self.broker.stats().publish_in
    }

    /// The broker ends a client's connection.
    pub(super) fn kick(&self, net: &mut Net<'_, ()>, client: &str) {
        self.broker.kick(net, client, ReasonCode::AdministrativeAction);
    }

    /// Compares what everybody has got with what the model says.
    pub(super) fn judge(&self, net: &Net<'_, ()>) -> Result<(), Broken> {
        self.settle(self.clock.elapsed()).map_err(|what| (Promise::MqttRules, what))?;
        judge::all(self, net)
    }

    /// Everybody ends their session. The connections that do so are to be kept for a while.
    pub(super) fn end_sessions(&self) -> Vec<SimSocket> {
        let say = |name: &String| {
            let mut out = Vec::new();
            let all = [
                Packet::Connect(Connect::new(Version::Mqtt311, name)),
                Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
            ];
            for packet in &all {
                encode(packet, Version::Mqtt311, &mut out).expect("a packet");
            }
            let socket = self.clock.connect_from((Ipv4Addr::new(10, 0, 4, 1), 0), (HERE, 1883));
            socket.send(&out);
            socket
        };
        self.model.borrow().sessions.keys().map(say).collect()
    }

    /// Clears what is retained.
    pub(super) fn forget_retained(&self) -> Outcome {
        for topic in self.model.borrow().retained_now().into_keys() {
            if !self.broker.clear_retained(&topic) {
                return Err(format!("nothing is retained on {topic}"));
            }
        }
        Ok(())
    }

    /// When all have left: nothing of them is there.
    pub(super) fn nothing_left(&self) -> Outcome {
        self.settle(self.clock.elapsed())?;
        self.check()?;
        let stats = self.broker.stats();
        let left = [
            stats.sessions,
            stats.subscriptions - 1,
            stats.queued,
            stats.queued_bytes,
            stats.retained,
            stats.retained_bytes,
        ];
        if left == [0; 6] { Ok(()) } else { Err(format!("left behind: {stats:?}")) }
    }
}

/// Everybody ends their session: then nothing is left.
fn leave(sim: &Sim, server: &mut Manager<()>, stage: &Rc<Stage>) -> Outcome {
    let sockets = stage.end_sessions();
    sim.run_for(&mut [server], Duration::from_secs(5)).map_err(|e| e.to_string())?;
    stage.check()?;
    drop(sockets);
    stage.forget_retained()?;
    // Whatever timer is left fires, and then none is.
    match sim.run(&mut [server], || false, FOREVER) {
        Err(e) if e.is_stuck() => {}
        other => return Err(format!("something is still going on: {other:?}")),
    }
    stage.nothing_left()?;
    if sim.open_sockets() == 1 { Ok(()) } else { Err(format!("{} sockets are left behind", sim.open_sockets())) }
}

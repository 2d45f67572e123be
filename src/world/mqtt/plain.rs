//! A client played by hand: it keeps to the standard, remembers its session, and is otherwise as unreliable as can be. It
//! crashes, comes back, takes its own session over, leaves acknowledgements for later, and stops reading for a while.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::mqtt::{
    Ack, Connect, DecodeLimits, Disconnect, Packet, PacketId, Property, PropertyBuf, Publish, QoS, ReasonCode,
    Subscribe, Subscription, Unsubscribe, Version, Will, decode, encode,
};
use crate::sim::Rng;
use crate::{Address, ConnId, ConnectOptions, Ctx, Event, Net};

use super::model::number_of;
use super::users::{User, WILL_TOPICS, may_connect, may_subscribe, random_user};
use super::{Bug, FILTERS, GROUPS, HERE, Stage, random_subscription};
use crate::world::play::Side;
use crate::world::{Outcome, Promise, up_to};

pub(crate) type Shared = Rc<RefCell<Plain>>;

pub(crate) struct Plain {
    stage: Rc<Stage>,
    rng: Rng,
    name: String,
    ip: Ipv4Addr,
    version: Version,
    user: User,
    /// Its session outlives its connections, in 5.0 by so many seconds.
    lasts: Option<u32>,
    /// It leaves acknowledgements for later.
    is_lazy: bool,
    /// What it does before the others calm down.
    steps: usize,
    conn: Option<ConnId>,
    addr: Option<SocketAddr>,
    is_in: bool,
    kept: Vec<u8>,
    talk: Talk,
    /// The session: which one, what has come of QoS 2, and what is under way to the broker.
    book: Option<usize>,
    has_let_go: bool,
    received: BTreeSet<PacketId>,
    under_way: VecDeque<UnderWay>,
    last_id: u16,
}

/// What belongs to a connection, and ends with it.
#[derive(Default)]
struct Talk {
    aliases: BTreeMap<u16, String>,
    /// What the broker was told: how many messages, and how many aliases, at most.
    receive_max: Option<u16>,
    alias_max: u16,
    /// Acknowledgements for later, and of what.
    held: Vec<u8>,
    held_ids: Vec<PacketId>,
    /// Messages that are not acknowledged.
    unacked: BTreeSet<PacketId>,
    /// What was asked, and the answers that it must get; none for UNSUBSCRIBE.
    asked: BTreeMap<PacketId, Vec<ReasonCode>>,
    pings: u32,
}

struct UnderWay {
    id: PacketId,
    number: u32,
    topic: &'static str,
    qos: QoS,
    retain: bool,
    is_released: bool,
}

impl Plain {
    pub(crate) fn new(stage: &Rc<Stage>, at: usize, rng: &mut Rng) -> Shared {
        let lasts = rng.chance(0.6).then(|| 2 + rng.below(40) as u32);
        Rc::new(RefCell::new(Self {
            stage: stage.clone(),
            name: format!("p{at}"),
            ip: Ipv4Addr::new(10, 0, 1, at as u8),
            version: *rng.pick(&[Version::Mqtt31, Version::Mqtt311, Version::Mqtt5, Version::Mqtt5]),
            user: None,
            lasts,
            is_lazy: rng.chance(0.2),
            steps: if stage.is_planned { 0 } else { 2 + rng.below(8) },
            rng: rng.fork(),
            conn: None,
            addr: None,
            is_in: false,
            kept: Vec::new(),
            talk: Talk::default(),
            book: None,
            has_let_go: false,
            received: BTreeSet::new(),
            under_way: VecDeque::new(),
            last_id: 0,
        }))
    }

    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Nothing is under way, and if its session lasts it is there.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_away = self.conn.is_none() && self.lasts.is_none();
        let Talk { held, asked, pings, .. } = &self.talk;
        is_away || self.is_in && self.under_way.is_empty() && held.is_empty() && asked.is_empty() && *pings == 0
    }

    /// Where it is.
    pub(crate) fn state(&self) -> String {
        let (Self { name, is_in, under_way, talk, .. }, pings) = (self, self.talk.pings);
        let (under_way, asked) = (under_way.len(), talk.asked.len());
        format!("{name}: let in {is_in}, {under_way} messages under way, {asked} questions, {pings} pings unanswered")
    }

    fn forget(&mut self) {
        self.received.clear();
        self.under_way.clear();
    }
}

/// Begins what it does.
pub(crate) fn start(net: &mut Net<'_, ()>, me: &Shared) {
    let wait = up_to(&mut me.borrow_mut().rng, 3000);
    again(net, me, wait);
}

fn again(net: &mut Net<'_, ()>, me: &Shared, wait: Duration) {
    let me = me.clone();
    net.timer_after(wait, move |cx| step(&mut cx.net, &me));
}

fn step(net: &mut Net<'_, ()>, me: &Shared) {
    let mut plain = me.borrow_mut();
    let is_calm = plain.stage.is_calm.get();
    if let Some(conn) = plain.conn {
        net.resume_read(conn);
        let talk = &mut plain.talk;
        talk.held_ids.drain(..).for_each(|id| _ = talk.unacked.remove(&id));
        net.send(conn, &std::mem::take(&mut talk.held));
    }
    let is_busy = !is_calm && plain.steps > 0;
    match plain.conn {
        None if is_busy || plain.lasts.is_some() => {
            plain.steps = plain.steps.saturating_sub(1);
            connect(net, me, &mut plain);
        }
        Some(conn) if plain.is_in && is_busy => {
            plain.steps -= 1;
            act(net, me, &mut plain, conn);
        }
        Some(conn) if plain.is_in => plain.ping(net, conn),
        _ => {}
    }
    let wait = Duration::from_millis(200) + up_to(&mut plain.rng, 3000);
    drop(plain);
    again(net, me, wait);
}

/// Does something that a plan says.
pub(crate) fn act_once(net: &mut Net<'_, ()>, me: &Shared, seed: u64) {
    let mut plain = me.borrow_mut();
    plain.rng = Rng::new(seed);
    match plain.conn {
        None => connect(net, me, &mut plain),
        Some(conn) if plain.is_in => act(net, me, &mut plain, conn),
        Some(_) => {}
    }
}

fn act(net: &mut Net<'_, ()>, me: &Shared, plain: &mut Plain, conn: ConnId) {
    match plain.rng.below(100) {
        0..50 => {
            for _ in 0..=plain.rng.below(3) {
                plain.publish(net, conn);
            }
        }
        50..72 => plain.subscribe(net, conn),
        72..78 => {
            plain.unsubscribe(net, conn);
        }
        78..83 => plain.disconnect(net, conn),
        83..88 => {
            // A crash: not a word more, and what has come is not read.
            net.close(conn);
            (plain.conn, plain.is_in) = (None, false);
        }
        88..92 => connect(net, me, plain),
        92..95 => net.pause_read(conn),
        _ => plain.ping(net, conn),
    }
}

fn connect(net: &mut Net<'_, ()>, me: &Shared, plain: &mut Plain) {
    let options = ConnectOptions::new(format!("tcp://{HERE}:1883")).local_addr((plain.ip, 0));
    let mine = me.clone();
    let handler = plain.stage.watched(Side::Clients, move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
        let mut plain = mine.borrow_mut();
        if let Err(what) = plain.hear(cx, &event) {
            let what = format!("{}: {what}", plain.name);
            plain.stage.complain(Promise::MqttRules, what);
            cx.close();
        }
    });
    let new = net.connect(options.timeout(Duration::from_secs(5)), handler);
    if let Some(old) = plain.conn.take() {
        // The broker ends it, if it hears of the new one.
        net.timer_after(Duration::from_secs(2), move |cx| cx.net.close(old));
    }
    (plain.conn, plain.is_in) = (new.ok(), false);
}

impl Plain {
    fn hear(&mut self, cx: &mut Ctx<'_, ()>, event: &Event<'_>) -> Outcome {
        if self.conn != Some(cx.conn) {
            return Ok(());
        }
        match event {
            Event::Connected => {
                self.addr = match cx.net.local_addr(cx.conn) {
                    Some(Address::Inet(addr)) => Some(addr),
                    _ => None,
                };
                (self.kept, self.talk) = Default::default();
                self.introduce(cx);
            }
            Event::Data(data) => {
                self.kept.extend_from_slice(data);
                let kept = std::mem::take(&mut self.kept);
                let mut used = 0;
                while let Some((packet, len)) =
                    decode(&kept[used..], self.version, &DecodeLimits::default()).map_err(|e| e.to_string())?
                {
                    used += len;
                    self.take(cx, &packet)?;
                }
                self.kept.extend_from_slice(&kept[used..]);
            }
            Event::Closed(_) => (self.conn, self.is_in) = (None, false),
            _ => {}
        }
        Ok(())
    }

    fn introduce(&mut self, cx: &mut Ctx<'_, ()>) {
        let rng = &mut self.rng;
        // Its program may be another user's the next time.
        if self.stage.has_rules && (self.book.is_none() || rng.chance(0.2)) {
            self.user = random_user(rng);
        }
        let is_5 = self.version.is_5();
        // Once it has let go of its session it does so until the broker has as well.
        let clean_start = match self.lasts {
            Some(_) => self.has_let_go || rng.chance(0.05),
            None => !is_5 || rng.chance(0.7),
        };
        let (mut properties, mut will_properties) = (PropertyBuf::new(), PropertyBuf::new());
        let mut add = |property| _ = properties.push(property).is_ok();
        if is_5 {
            self.lasts.into_iter().for_each(|lasts| add(Property::SessionExpiryInterval(lasts)));
            if rng.chance(0.3) {
                self.talk.alias_max = 1 + rng.below(3) as u16;
                add(Property::TopicAliasMaximum(self.talk.alias_max));
            }
            if rng.chance(0.3) {
                let max = 1 + rng.below(3) as u16;
                self.talk.receive_max = Some(max);
                add(Property::ReceiveMaximum(std::num::NonZeroU16::new(max).unwrap_or(std::num::NonZeroU16::MIN)));
            }
            if rng.chance(0.7) {
                _ = will_properties.push(Property::WillDelayInterval(rng.below(12) as u32));
            }
        }
        let payload = self.stage.number().to_string();
        let will = rng.chance(0.5).then(|| Will {
            qos: random_qos(rng),
            retain: rng.chance(0.3),
            properties: will_properties.as_properties(),
            ..Will::new(rng.pick::<&str>(&WILL_TOPICS), payload.as_bytes())
        });
        let keep_alive = *rng.pick(&[0, 6, 60]);
        if clean_start {
            self.has_let_go = true;
            self.forget();
        }
        let connect = Connect {
            clean_start,
            keep_alive,
            will,
            username: self.user,
            properties: properties.as_properties(),
            ..Connect::new(self.version, &self.name)
        };
        let (conn, packet) = (cx.conn, Packet::Connect(connect));
        let mut out = Vec::new();
        encode(&packet, self.version, &mut out).expect("a CONNECT");
        cx.net.send(conn, &out);
        if self.book.is_some() && self.rng.chance(0.5) {
            // The broker hears of it when other things have become due.
            self.stage.jump_soon();
        }
    }

    fn take(&mut self, cx: &mut Ctx<'_, ()>, packet: &Packet<'_>) -> Outcome {
        let conn = cx.conn;
        match packet {
            Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => {
                (self.is_in, self.has_let_go) = (true, false);
                let let_in = self.addr.and_then(|addr| self.stage.model.borrow().by_addr.get(&addr).copied());
                let book = let_in.map(|let_in| let_in.book);
                // MQTT-3.2.2-2, MQTT-3.2.2-3
                let ought = let_in.is_some_and(|let_in| let_in.session_present) && self.version != Version::Mqtt31;
                if answer.session_present != ought {
                    return Err(format!("the broker says that a session is present: {}", answer.session_present));
                }
                // A session may have ended and begun unnoticed, if its first CONNACK was lost: the standard has no answer to that.
                // MQTT 3.1 does not tell.
                if book != self.book || !answer.session_present && self.version != Version::Mqtt31 {
                    self.forget();
                }
                self.book = book;
                let again: Vec<_> = self.under_way.drain(..).collect();
                for message in again {
                    self.send(&mut cx.net, conn, &message, true);
                    self.under_way.push_back(message);
                }
                if self.rng.chance(0.5) {
                    self.subscribe(&mut cx.net, conn);
                }
            }
            // It is another one the next time, or has no will.
            Packet::ConnAck(_) if self.stage.has_rules => {
                if !may_connect(self.user) {
                    self.user = random_user(&mut self.rng);
                }
            }
            Packet::Publish(publish) => self.take_message(cx, publish)?,
            Packet::PubAck(ack) | Packet::PubRec(ack) if ack.reason.is_error() => self.is_refused(ack)?,
            Packet::PubAck(ack) => self.is_taken(ack, QoS::AtLeastOnce),
            Packet::PubRec(ack) => {
                let known = self.under_way.iter_mut().find(|message| message.id == ack.id);
                if let Some(message) = known {
                    message.is_released = true;
                    self.stage.acked.borrow_mut().push(message.number);
                }
                self.say(&mut cx.net, conn, &Packet::PubRel(Ack::new(ack.id)));
            }
            Packet::PubComp(ack) => self.is_taken(ack, QoS::ExactlyOnce),
            Packet::PubRel(ack) => {
                self.received.remove(&ack.id);
                self.answer(&mut cx.net, conn, &Packet::PubComp(Ack::new(ack.id)));
            }
            Packet::SubAck(ack) => {
                let expected = self.talk.asked.remove(&ack.id).ok_or("an answer to no SUBSCRIBE")?;
                // MQTT-3.8.4-6, MQTT-3.9.3-1
                if !ack.reasons.iter().eq(expected.iter().copied()) {
                    return Err(format!("a subscription is answered with {:?}, not {expected:?}", ack.reasons));
                }
            }
            Packet::UnsubAck(ack) => {
                let asked = self.talk.asked.remove(&ack.id).ok_or("an answer to no UNSUBSCRIBE")?;
                // MQTT-3.11.3-1
                if !asked.is_empty() || self.version.is_5() && ack.reasons.iter().count() != UNSUBSCRIBED {
                    return Err(format!("what is no UNSUBSCRIBE is answered with {ack:?}"));
                }
            }
            // MQTT-3.12.4-1
            Packet::PingResp => self.talk.pings = self.talk.pings.checked_sub(1).ok_or("an answer to no PINGREQ")?,
            Packet::Disconnect(_) => {}
            other => return Err(format!("the broker says {other:?}")),
        }
        Ok(())
    }

    fn is_taken(&mut self, ack: &Ack<'_>, qos: QoS) {
        let Some(at) = self.under_way.iter().position(|message| message.id == ack.id && message.qos == qos) else {
            return;
        };
        let number = self.under_way.remove(at).map_or(0, |message| message.number);
        self.stage.acked.borrow_mut().push(number);
    }

    fn is_refused(&mut self, ack: &Ack<'_>) -> Outcome {
        if ack.reason != ReasonCode::NotAuthorized {
            return Err(format!("a message is refused: {ack:?}"));
        }
        if let Some(at) = self.under_way.iter().position(|message| message.id == ack.id) {
            let number = self.under_way.remove(at).map_or(0, |message| message.number);
            self.stage.refused.borrow_mut().push(number);
        }
        Ok(())
    }

    fn take_message(&mut self, cx: &mut Ctx<'_, ()>, publish: &Publish<'_>) -> Outcome {
        let mut topic = publish.topic.to_owned();
        if let Some(alias) = publish.properties.topic_alias() {
            // MQTT-3.1.2-26, MQTT-3.1.2-27
            if alias.get() > self.talk.alias_max {
                return Err(format!("alias {alias} of {}", self.talk.alias_max));
            }
            if topic.is_empty() {
                topic = self.talk.aliases.get(&alias.get()).cloned().ok_or("an alias for nothing")?;
            } else {
                self.talk.aliases.insert(alias.get(), topic.clone());
            }
        }
        if let Some(id) = publish.id {
            self.is_under_way(id)?;
        }
        let number = number_of(publish.payload).ok_or("a payload that nobody has sent")?;
        let is_new = match (publish.qos, publish.id) {
            (QoS::ExactlyOnce, Some(id)) => self.received.insert(id) || self.stage.bug == Bug::TakesTwice,
            _ => self.stage.bug != Bug::LosesOne || publish.qos == QoS::AtMostOnce || !self.rng.chance(0.01),
        };
        // MQTT-3.3.1-1
        if !is_new && !publish.dup {
            return Err(format!("{number} comes again and does not say so"));
        }
        if is_new {
            self.stage.see(self.addr, number, topic, publish);
        }
        match (publish.qos, publish.id) {
            (QoS::AtLeastOnce, Some(id)) => self.answer(&mut cx.net, cx.conn, &Packet::PubAck(Ack::new(id))),
            (QoS::ExactlyOnce, Some(id)) => self.answer(&mut cx.net, cx.conn, &Packet::PubRec(Ack::new(id))),
            _ => {}
        }
        Ok(())
    }

    /// MQTT-3.3.4-9 and MQTT-2.2.1-4: no more at once than was said, each with a number of its own.
    fn is_under_way(&mut self, id: PacketId) -> Outcome {
        let (unacked, window) = (&mut self.talk.unacked, self.stage.window);
        let most = usize::from(self.talk.receive_max.map_or(window, |max| max.min(window)));
        if !unacked.insert(id) {
            return Err(format!("number {id} is given to a second message before the first is acknowledged"));
        }
        if unacked.len() > most { Err(format!("{} messages at once, more than {most}", unacked.len())) } else { Ok(()) }
    }

    // ---- what it says

    fn say(&self, net: &mut Net<'_, ()>, conn: ConnId, packet: &Packet<'_>) {
        let mut out = Vec::new();
        encode(packet, self.version, &mut out).expect("a packet that can be said");
        net.send(conn, &out);
    }

    /// Says it, or leaves it for later, in its order.
    fn answer(&mut self, net: &mut Net<'_, ()>, conn: ConnId, packet: &Packet<'_>) {
        // That is the end of a message.
        let ended = match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => Some(ack.id),
            _ => None,
        };
        if self.is_lazy && (!self.talk.held.is_empty() || self.rng.chance(0.5)) {
            encode(packet, self.version, &mut self.talk.held).expect("a packet that can be said");
            self.talk.held_ids.extend(ended);
        } else {
            self.say(net, conn, packet);
            ended.iter().for_each(|id| _ = self.talk.unacked.remove(id));
        }
    }

    fn ping(&mut self, net: &mut Net<'_, ()>, conn: ConnId) {
        self.talk.pings += 1;
        self.say(net, conn, &Packet::PingReq);
    }

    fn next_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id % 12 + 1;
            let id = PacketId::new(self.last_id).unwrap_or(PacketId::MIN);
            if !self.under_way.iter().any(|message| message.id == id) && !self.talk.asked.contains_key(&id) {
                return id;
            }
        }
    }

    fn publish(&mut self, net: &mut Net<'_, ()>, conn: ConnId) {
        let qos = random_qos(&mut self.rng);
        if qos != QoS::AtMostOnce && self.under_way.len() >= usize::from(self.stage.window) {
            return;
        }
        let (topic, retain) = (self.stage.topic(&mut self.rng), self.rng.chance(0.25));
        let number = if retain && self.rng.chance(0.2) { 0 } else { self.stage.number() };
        let message = UnderWay { id: self.next_id(), number, topic, qos, retain, is_released: false };
        self.send(net, conn, &message, false);
        if qos != QoS::AtMostOnce {
            self.under_way.push_back(message);
        }
    }

    fn send(&self, net: &mut Net<'_, ()>, conn: ConnId, message: &UnderWay, dup: bool) {
        let UnderWay { id, topic, qos, retain, is_released, .. } = *message;
        if is_released {
            return self.say(net, conn, &Packet::PubRel(Ack::new(id)));
        }
        let payload = self.stage.payload(message.number);
        let id = (qos != QoS::AtMostOnce).then_some(id);
        self.say(net, conn, &Packet::Publish(Publish { qos, retain, dup, id, ..Publish::new(topic, &payload) }));
    }

    fn unsubscribe(&mut self, net: &mut Net<'_, ()>, conn: ConnId) {
        let filters: [&str; UNSUBSCRIBED] = [*self.rng.pick(&FILTERS), *self.rng.pick(&GROUPS)];
        if self.talk.asked.len() >= ASKED_MAX {
            return;
        }
        let id = self.next_id();
        self.talk.asked.insert(id, Vec::new());
        let unsubscribe = Unsubscribe { id, filters: (&filters).into(), properties: Default::default() };
        self.say(net, conn, &Packet::Unsubscribe(unsubscribe));
    }

    /// How the broker must answer.
    fn answer_to(&self, subscription: &Subscription<'_>) -> ReasonCode {
        match may_subscribe(self.user, subscription.filter) {
            // MQTT-3.8.4-7: the broker grants what it is asked for.
            true => ReasonCode::granted(subscription.qos),
            false if self.version.is_5() => ReasonCode::NotAuthorized,
            false => ReasonCode::UnspecifiedError,
        }
    }

    fn subscribe(&mut self, net: &mut Net<'_, ()>, conn: ConnId) {
        if self.talk.asked.len() >= ASKED_MAX {
            return;
        }
        let id = self.next_id();
        let subscriptions =
            [random_subscription(&mut self.rng, self.version), random_subscription(&mut self.rng, self.version)];
        let count = 1 + self.rng.below(2);
        let answers = subscriptions[..count].iter().map(|subscription| self.answer_to(subscription)).collect();
        self.talk.asked.insert(id, answers);
        let subscribe = Subscribe { id, subscriptions: subscriptions[..count].into(), properties: Default::default() };
        self.say(net, conn, &Packet::Subscribe(subscribe));
    }

    fn disconnect(&mut self, net: &mut Net<'_, ()>, conn: ConnId) {
        let mut properties = PropertyBuf::new();
        let is_5 = self.version.is_5();
        if is_5 && self.lasts.is_some() && self.rng.chance(0.3) {
            _ = properties.push(Property::SessionExpiryInterval(self.rng.below(3) as u32 * 5));
        }
        let reason = if is_5 && self.rng.chance(0.4) { ReasonCode::DisconnectWithWill } else { ReasonCode::Success };
        self.say(net, conn, &Packet::Disconnect(Disconnect { reason, properties: properties.as_properties() }));
        net.drain(conn);
        (self.conn, self.is_in) = (None, false);
    }
}

/// Filters that it unsubscribes from at once.
const UNSUBSCRIBED: usize = 2;
/// Questions that it has open at a time: they share twelve numbers with its messages.
const ASKED_MAX: usize = 4;

pub(crate) fn random_qos(rng: &mut Rng) -> QoS {
    *rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

//! An MQTT client of ours and a server that is played here: whatever the network and the server do, a message of QoS 1 arrives at
//! least once and one of QoS 2 exactly once, in both directions and in order, and every token has exactly one end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use vansire::mqtt::{
    Ack, AckId, Acks, ClientOptions, ConnAck, DecodeLimits, Disconnect, Failure, List, Packet, PacketId, Properties,
    Publish, QoS, ReasonCode, Reconnect, SubAck, Subscription, Token, Version, decode, encode,
};
use vansire::sim::{Faults, Rng, Sim};
use vansire::{CloseReason, ConnId, Ctx, Event, Limits, ListenOptions, Manager, Net};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};
use vansire::world::Lives;

#[test]
fn mqtt_client_messages_arrive_as_their_quality_promises() {
    for_each_seed("mqtt_client_messages", |sim, rng| scenario(sim, rng, Bug::None));
}

/// The proof that the scenario can fail: the server is wrong, or the client is told something wrong.
#[test]
fn mqtt_client_scenario_notices_a_server_that_forgets_or_repeats() {
    for bug in [Bug::TakesTwice, Bug::LosesOne, Bug::SendsTwice] {
        assert!(some_seed_fails(|sim, rng| scenario(sim, rng, bug)), "{bug:?}");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    /// A repeated message of QoS 2 is taken for a new one.
    TakesTwice,
    /// A message of QoS 1 is acknowledged and not taken.
    LosesOne,
    /// A message of QoS 2 is sent under two numbers.
    SendsTwice,
}

const URL: &str = "mqtt://10.0.0.1:1883";
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// The server's side of the session, and its bad habits.
struct Server {
    rng: Rng,
    bug: Bug,
    version: Version,
    conn: Option<ConnId>,
    /// Chances of the things that it does at its worst.
    cuts: f64,
    refuses: f64,
    deaf: f64,
    forgets: f64,
    window: usize,
    has_session: bool,
    has_forgotten: bool,
    /// What has come, by quality.
    taken: [Vec<u32>; 3],
    released: BTreeSet<PacketId>,
    /// What it has to say.
    to_send: VecDeque<(QoS, u32)>,
    sent: BTreeMap<PacketId, (QoS, u32, u64)>,
    comps: BTreeSet<PacketId>,
    next_id: u16,
    order: u64,
}

/// The client's side.
struct App {
    rng: Rng,
    acks: Acks,
    to_publish: Vec<(QoS, u32)>,
    tokens: BTreeMap<Token, (QoS, u32)>,
    ends: BTreeMap<Token, Result<ReasonCode, Failure>>,
    has_subscribed: bool,
    asked: BTreeSet<Token>,
    subscriptions: usize,
    /// Told, and to be acknowledged by hand.
    held: VecDeque<(AckId, usize, u32)>,
    got: [Vec<u32>; 3],
    expected: usize,
    is_leaving: bool,
    closed: Option<CloseReason>,
}

impl App {
    fn is_done(&self) -> bool {
        let distinct = |qos: usize| self.got[qos].iter().collect::<BTreeSet<_>>().len();
        self.to_publish.is_empty()
            && self.ends.len() == self.tokens.len()
            && self.subscriptions > 0
            && distinct(1) + distinct(2) >= self.expected
    }
}

fn scenario(sim: &Sim, rng: &mut Rng, bug: Bug) -> Outcome {
    let is_harsh = rng.chance(0.4);
    sim.set_faults(if is_harsh { Faults::harsh(rng) } else { Faults::benign(rng) });
    let calm = Faults::none().short_read(0.3).short_write(0.3);
    let limits = Limits::new().mqtt_inflight_max(1 + rng.below(5) as u16).write_high(1 + rng.below(3000));
    let limits = limits.connect_timeout(Duration::from_secs(5));
    let mut client = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let mut server = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
    let version = *rng.pick(&[Version::Mqtt311, Version::Mqtt5]);
    let is_bad = rng.chance(0.6);
    let mut chance = |most: f64| if is_bad && rng.chance(0.7) { most * rng.below(1000) as f64 / 1000.0 } else { 0.0 };
    let (cuts, refuses, deaf) = (chance(0.2), chance(0.4), chance(0.2));
    let forgets = if rng.chance(0.2) { 0.3 } else { 0.0 };
    let inbound: Vec<_> = (0..rng.below(15) as u32).map(|n| (*rng.pick(&QOS[1..]), n)).collect();
    let outbound: Vec<_> = (0..rng.below(15) as u32).map(|n| (*rng.pick(&QOS), n)).rev().collect();
    let expected = inbound.len();
    let played = Rc::new(RefCell::new(Server {
        rng: rng.fork(),
        bug,
        version,
        conn: None,
        cuts,
        refuses,
        deaf,
        forgets,
        window: usize::from(limits.mqtt_inflight_max),
        has_session: false,
        has_forgotten: false,
        taken: Default::default(),
        released: BTreeSet::new(),
        to_send: inbound.into(),
        sent: BTreeMap::new(),
        comps: BTreeSet::new(),
        next_id: 0,
        order: 0,
    }));
    // After a while everything gets better, so that there is an end.
    let better = played.clone();
    sim.after(Duration::from_secs(60), move |sim| {
        sim.set_faults(calm);
        let mut server = better.borrow_mut();
        (server.cuts, server.refuses, server.deaf, server.forgets) = (0.0, 0.0, 0.0, 0.0);
    });
    let shared = played.clone();
    let listen = ListenOptions::new(URL.replace("mqtt", "tcp"));
    let serve = move || {
        let (shared, mut kept) = (shared.clone(), Vec::new());
        move |cx: &mut Ctx<'_, ()>, ev: Event<'_>| serve(cx, ev, &mut kept, &mut shared.borrow_mut())
    };
    server.net().listen_with(listen, serve).map_err(|e| e.to_string())?;

    let acks = *rng.pick(&[Acks::Auto, Acks::Manual]);
    let app = Rc::new(RefCell::new(App {
        rng: rng.fork(),
        acks,
        to_publish: outbound,
        tokens: BTreeMap::new(),
        ends: BTreeMap::new(),
        has_subscribed: false,
        asked: BTreeSet::new(),
        subscriptions: 0,
        held: VecDeque::new(),
        got: Default::default(),
        expected,
        is_leaving: false,
        closed: None,
    }));
    let lives = Lives::default();
    let (seen, mine) = (lives.clone(), app.clone());
    let handler = move |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        seen.see(cx, &ev);
        if let Err(what) = take(cx, &ev, &mine) {
            seen.complain(what);
            cx.close();
        }
    };
    let options = ClientOptions::new()
        .version(version)
        .client_id("c")
        .clean_start(false)
        .session_expiry(Duration::from_secs(86_400))
        .keep_alive(Duration::from_secs(5))
        .acks(acks)
        .connack_timeout(Duration::from_secs(5))
        .reconnect(Reconnect { min: Duration::from_millis(100), max: Duration::from_secs(3) });
    let id = client.net().mqtt_connect(URL, options, handler).map_err(|e| e.to_string())?;
    publish_some(&mut client.net(), id, &app)?;

    if rng.chance(0.15) {
        // It is dropped in the midst of things.
        let time = up_to(rng, 5000);
        sim.run_for(&mut [&mut client, &mut server], time)
            .or_else(|e| if e.is_stuck() { Ok(()) } else { Err(e.to_string()) })?;
        drop(client);
    } else {
        sim.run(&mut [&mut client, &mut server], || app.borrow().closed.is_some(), FOREVER)
            .map_err(|e| format!("{e}; {}", state(&app.borrow(), &played.borrow())))?;
        drop(client);
        lives.check()?;
        if !app.borrow().is_done() {
            return Err(format!("it ended too early: {}", state(&app.borrow(), &played.borrow())));
        }
    }
    lives.check_all_over()?;
    judge(&app.borrow(), &played.borrow())
}

fn state(app: &App, server: &Server) -> String {
    format!(
        "{:?}, tokens {}, ends {:?}, got {:?} of {}, taken {:?}",
        app.closed,
        app.tokens.len(),
        app.ends,
        app.got,
        app.expected,
        server.taken
    )
}

fn judge(app: &App, server: &Server) -> Outcome {
    if !app.asked.is_empty() {
        return Err("a subscription has no end".to_owned());
    }
    if app.ends.len() != app.tokens.len() {
        return Err(format!("{} tokens have {} ends", app.tokens.len(), app.ends.len()));
    }
    for (token, (qos, number)) in &app.tokens {
        let count = server.taken[usize::from(qos.to_u8())].iter().filter(|taken| *taken == number).count();
        let fits = match (qos, &app.ends[token]) {
            (QoS::AtLeastOnce, Ok(_)) => count >= 1,
            (QoS::ExactlyOnce, Ok(_)) => count == 1,
            (_, Err(Failure::Unsent)) => count == 0,
            (QoS::ExactlyOnce, Err(Failure::SessionLost)) => server.has_forgotten && count <= 1,
            (QoS::ExactlyOnce, Err(Failure::Unanswered)) => count <= 1,
            (_, Err(Failure::Unanswered)) => true,
            _ => false,
        };
        if !fits {
            return Err(format!("{number} of {qos:?} was taken {count} times: {:?}", app.ends[token]));
        }
    }
    // A server that has forgotten may send what it had sent.
    for (name, lists, exact) in [("taken", &server.taken, true), ("got", &app.got, !server.has_forgotten)] {
        let once = |list: &[u32]| list.windows(2).all(|pair| pair[0] < pair[1]);
        if exact && !once(&lists[2]) {
            return Err(format!("QoS 2 {name}: {:?}", lists[2]));
        }
        let mut first = BTreeSet::new();
        let firsts: Vec<u32> = lists[1].iter().copied().filter(|number| first.insert(*number)).collect();
        if !once(&firsts) {
            return Err(format!("QoS 1 {name} out of order: {:?}", lists[1]));
        }
        if !once(&lists[0]) {
            return Err(format!("QoS 0 {name}: {:?}", lists[0]));
        }
    }
    Ok(())
}

// ---- the client's application

fn publish_some(net: &mut Net<'_, ()>, id: ConnId, app: &Rc<RefCell<App>>) -> Outcome {
    let mut app = app.borrow_mut();
    for _ in 0..=app.rng.below(4) {
        let Some((qos, number)) = app.to_publish.pop() else { break };
        let payload = number.to_string();
        match net.publish(id, &Publish { qos, ..Publish::new("up/topic", &payload) }) {
            Ok(None) if qos == QoS::AtMostOnce => {}
            Ok(Some(token)) if app.tokens.insert(token, (qos, number)).is_none() => {}
            other => return Err(format!("publishing at {qos:?}: {other:?}")),
        }
    }
    Ok(())
}

fn take(cx: &mut Ctx<'_, ()>, ev: &Event<'_>, app: &Rc<RefCell<App>>) -> Outcome {
    let end = |token: &Token, result| match app.borrow_mut().ends.insert(*token, result) {
        None => Ok(()),
        Some(before) => Err(format!("a second end of {token:?}, after {before:?}")),
    };
    match ev {
        Event::MqttOpened(conn_ack) => {
            publish_some(&mut cx.net, cx.conn, app)?;
            let is_first = !std::mem::replace(&mut app.borrow_mut().has_subscribed, true);
            if is_first || !conn_ack.session_present {
                let token =
                    cx.subscribe(&[Subscription::new("down/#", QoS::ExactlyOnce)]).map_err(|e| e.to_string())?;
                app.borrow_mut().asked.insert(token);
            }
            let (id, wait, shared) = (cx.conn, up_to(&mut app.borrow_mut().rng, 4000), app.clone());
            cx.timer_after(wait, move |cx| {
                if cx.net.is_open(id) && !shared.borrow().is_leaving {
                    _ = publish_some(&mut cx.net, id, &shared);
                }
            });
        }
        Event::MqttSubscribed { token, .. } => {
            let mut app = app.borrow_mut();
            app.subscriptions += 1;
            if !app.asked.remove(token) {
                return Err(format!("an answer to {token:?}, which nobody asked"));
            }
        }
        Event::MqttFailed { token, .. } if app.borrow().asked.contains(token) => {
            app.borrow_mut().asked.remove(token);
        }
        Event::MqttMessage(message, ack) => {
            let shared = app;
            let mut app = app.borrow_mut();
            let number = std::str::from_utf8(message.payload).ok().and_then(|text| text.parse().ok());
            let number: u32 = number.ok_or("a payload that nobody sent")?;
            if message.topic != "down/topic" {
                return Err(format!("the topic is {}", message.topic));
            }
            let qos = usize::from(message.qos.to_u8());
            match (app.acks, ack) {
                (Acks::Auto, _) | (_, None) => app.got[qos].push(number),
                (Acks::Manual, Some(ack)) => {
                    app.held.push_back((*ack, qos, number));
                    let (id, wait, shared) = (cx.conn, up_to(&mut app.rng, 300), shared.clone());
                    cx.timer_after(wait, move |cx| acknowledge(&mut cx.net, id, &shared));
                }
            }
        }
        Event::MqttDelivered { token, reason } => end(token, Ok(*reason))?,
        Event::MqttFailed { token, why } => end(token, Err(*why))?,
        Event::Closed(reason) => app.borrow_mut().closed = Some(reason.clone()),
        _ => {}
    }
    if matches!(ev, Event::MqttLost { .. } | Event::Closed(_)) || app.borrow().is_leaving {
        return Ok(());
    }
    if !matches!(ev, Event::MqttFailed { .. }) {
        publish_some(&mut cx.net, cx.conn, app)?;
    }
    leave(&mut cx.net, cx.conn, app);
    Ok(())
}

/// The application has a message once it has acknowledged it: what it has only been told may come again.
fn acknowledge(net: &mut Net<'_, ()>, id: ConnId, app: &Rc<RefCell<App>>) {
    let Some((ack, qos, number)) = app.borrow_mut().held.pop_front() else { return };
    if net.mqtt_ack(id, ack).is_ok() {
        app.borrow_mut().got[qos].push(number);
    }
    if !app.borrow().is_leaving {
        leave(net, id, app);
    }
}

fn leave(net: &mut Net<'_, ()>, id: ConnId, app: &Rc<RefCell<App>>) {
    if app.borrow().is_done() && net.is_open(id) {
        app.borrow_mut().is_leaving = true;
        _ = net.mqtt_disconnect(id, ReasonCode::Success);
    }
}

// ---- the server

fn serve(cx: &mut Ctx<'_, ()>, ev: Event<'_>, kept: &mut Vec<u8>, server: &mut Server) {
    match ev {
        Event::Data(data) => kept.extend_from_slice(&data),
        _ => return,
    }
    let mut used = 0;
    loop {
        match decode(&kept[used..], server.version, &DecodeLimits::default()) {
            Ok(Some((packet, len))) => {
                used += len;
                let is_mine = server.conn == Some(cx.conn) || matches!(packet, Packet::Connect(_));
                if !is_mine || server.rng.chance(server.cuts) {
                    let is_polite = is_mine && server.version.is_5() && server.rng.chance(0.3);
                    if is_polite && server.conn == Some(cx.conn) {
                        say(cx, server, &Packet::Disconnect(Disconnect::new(ReasonCode::ServerBusy)));
                        return cx.drain();
                    }
                    return cx.close();
                }
                if !hear(cx, server, &packet) {
                    return;
                }
            }
            Ok(None) => break,
            Err(e) => panic!("the client is wrong: {e}"),
        }
    }
    kept.drain(..used);
}

fn say(cx: &mut Ctx<'_, ()>, server: &Server, packet: &Packet<'_>) {
    let mut out = Vec::new();
    encode(packet, server.version, &mut out).unwrap();
    cx.send(&out);
}

/// False: nothing more is to be heard on this connection.
fn hear(cx: &mut Ctx<'_, ()>, server: &mut Server, packet: &Packet<'_>) -> bool {
    match packet {
        Packet::Connect(_) => return open(cx, server),
        Packet::Publish(publish) => take_message(cx, server, publish),
        Packet::PubRel(ack) => {
            server.released.remove(&ack.id);
            say(cx, server, &Packet::PubComp(Ack::new(ack.id)));
        }
        Packet::PubAck(ack) => {
            server.sent.remove(&ack.id);
        }
        Packet::PubRec(ack) => {
            server.comps.insert(ack.id);
            say(cx, server, &Packet::PubRel(Ack::new(ack.id)));
        }
        Packet::PubComp(ack) => {
            server.comps.remove(&ack.id);
            server.sent.remove(&ack.id);
        }
        Packet::Subscribe(subscribe) => {
            let reasons = [ReasonCode::GrantedQoS2];
            let (id, properties) = (subscribe.id, Properties::default());
            say(cx, server, &Packet::SubAck(SubAck { id, reasons: List::from(&reasons), properties }));
        }
        Packet::PingReq => say(cx, server, &Packet::PingResp),
        Packet::Disconnect(_) => {
            cx.drain();
            return false;
        }
        other => panic!("the client says {other:?}"),
    }
    send_more(cx, server);
    true
}

fn open(cx: &mut Ctx<'_, ()>, server: &mut Server) -> bool {
    if server.rng.chance(server.deaf) {
        return false;
    }
    if server.rng.chance(server.refuses) {
        say(cx, server, &Packet::ConnAck(ConnAck::new(ReasonCode::ServerUnavailable)));
        cx.drain();
        return false;
    }
    server.conn = Some(cx.conn);
    if server.has_session && server.rng.chance(server.forgets) {
        server.has_session = false;
        server.has_forgotten = true;
        server.released.clear();
        server.comps.clear();
        // What it was to send it still knows, from elsewhere.
        let mut sent: Vec<_> = std::mem::take(&mut server.sent).into_values().collect();
        sent.sort_by_key(|(.., order)| *order);
        sent.into_iter().rev().for_each(|(qos, number, _)| server.to_send.push_front((qos, number)));
    }
    let session_present = server.has_session;
    server.has_session = true;
    say(cx, server, &Packet::ConnAck(ConnAck { session_present, ..ConnAck::new(ReasonCode::Success) }));
    let mut sent: Vec<_> = server.sent.iter().map(|(id, (qos, number, order))| (*order, *id, *qos, *number)).collect();
    sent.sort_unstable_by_key(|(order, ..)| *order);
    for (_, id, qos, number) in sent {
        if server.comps.contains(&id) {
            say(cx, server, &Packet::PubRel(Ack::new(id)));
        } else {
            send(cx, server, id, qos, number, true);
        }
    }
    send_more(cx, server);
    true
}

fn take_message(cx: &mut Ctx<'_, ()>, server: &mut Server, publish: &Publish<'_>) {
    let number = std::str::from_utf8(publish.payload).unwrap().parse().unwrap();
    assert_eq!(publish.topic, "up/topic");
    let list = &mut server.taken[usize::from(publish.qos.to_u8())];
    match (publish.qos, publish.id) {
        (QoS::AtLeastOnce, Some(id)) => {
            if server.bug != Bug::LosesOne || number != 1 {
                list.push(number);
            }
            say(cx, server, &Packet::PubAck(Ack::new(id)));
        }
        (QoS::ExactlyOnce, Some(id)) => {
            if server.released.insert(id) || server.bug == Bug::TakesTwice {
                list.push(number);
            }
            say(cx, server, &Packet::PubRec(Ack::new(id)));
        }
        _ => list.push(number),
    }
}

fn send(cx: &mut Ctx<'_, ()>, server: &Server, id: PacketId, qos: QoS, number: u32, dup: bool) {
    let payload = number.to_string();
    let publish = Publish { qos, id: Some(id), dup, ..Publish::new("down/topic", &payload) };
    say(cx, server, &Packet::Publish(publish));
}

fn send_more(cx: &mut Ctx<'_, ()>, server: &mut Server) {
    while server.sent.len() < server.window {
        let Some((qos, number)) = server.to_send.pop_front() else { return };
        if server.bug == Bug::SendsTwice && qos == QoS::ExactlyOnce && server.rng.chance(0.2) {
            server.to_send.push_front((qos, number));
        }
        server.next_id += 1;
        let id = PacketId::new(server.next_id).unwrap();
        server.order += 1;
        let order = server.order;
        server.sent.insert(id, (qos, number, order));
        send(cx, server, id, qos, number, false);
    }
}

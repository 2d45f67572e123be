//! Publishers and subscribers: how many messages arrive, how late, at what cost, and whether all do and in order.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use vansire::mqtt::{Ack, Packet, PacketId, Publish, QoS, Version};
use vansire::{ConnId, Manager, Net};
use vansire_peers::histogram::Histogram;
use vansire_peers::{procfs, source};

use crate::client::{Broker, Player, TICK, WAVE, accepted, manager, put, subscribe, wait};
use crate::flags::{Flags, MARK_LEN};
use crate::other;
use crate::usage::{Mark, latencies, round};

/// Runs before the measurement.
const WARM_UP: Duration = Duration::from_millis(300);

/// Nothing has arrived for so long: what is on its way counts as lost, and the publishers go on.
const STALLED: Duration = Duration::from_secs(1);

/// Filters of one SUBSCRIBE.
const FILTERS: usize = 50;

pub(crate) fn run(flags: &Flags) -> io::Result<Value> {
    let broker = Broker::of(flags);
    let mut manager = manager(Steady::new(flags))?;
    let mut ids = Vec::new();
    for client in 0..flags.subscribers {
        ids.push(broker.open(&mut manager.net(), client)?);
        wait(&mut manager, "a subscriber", |steady| steady.connected == client + 1)?;
    }
    let before = procfs::resident(&flags.pids)?;
    for (client, id) in ids.into_iter().enumerate() {
        let mut out = Vec::new();
        manager.state_mut().subscribe(client, &mut out);
        manager.net().send(id, &out);
    }
    wait(&mut manager, "the subscriptions", |steady| steady.subscribed == flags.subscribers)?;
    let after = procfs::resident(&flags.pids)?;
    for index in 0..flags.publishers {
        let client = flags.subscribers + index;
        let id = broker.open(&mut manager.net(), client)?;
        wait(&mut manager, "a publisher", |steady| steady.connected == client + 1)?;
        manager.state_mut().publishers[index].conn = Some(id);
    }

    let crowd = gather(&mut manager, &broker, flags)?;

    manager.state_mut().begin();
    turn_for(&mut manager, WARM_UP)?;
    manager.state_mut().measure();
    let mark = Mark::now(&flags.pids)?;
    turn_for(&mut manager, flags.seconds)?;
    let spent = mark.until_now(&flags.pids)?;
    let delivered = manager.state().delivered;
    manager.state_mut().publishing = false;
    let end = Instant::now() + STALLED * 5;
    while !manager.state().is_settled() && Instant::now() < end {
        manager.poll(Some(TICK)).map_err(other)?;
        if manager.state().last_delivery.elapsed() > STALLED {
            break;
        }
    }

    let steady = manager.state();
    let mut figures = spent.figures(delivered);
    latencies(&mut figures, &steady.latency);
    figures.insert("deliveries".into(), json!(delivered));
    figures.insert("lost".into(), json!((steady.sent() * steady.fan).saturating_sub(steady.arrived())));
    figures.insert("disordered".into(), json!(steady.disordered));
    figures.insert("stalls".into(), json!(steady.stalls));
    if let Some(filters) = flags.filters {
        let bytes = after.saturating_sub(before) as f64 / filters as f64;
        figures.insert("bytes_each".into(), json!(round(bytes, 1.0)));
    }
    figures.extend(crowd);
    // Not dropped: that would close thousands of connections one by one.
    std::mem::forget(manager);
    Ok(figures.into())
}

/// Connects the clients that idle: what each of them costs.
fn gather(manager: &mut Manager<Steady>, broker: &Broker, flags: &Flags) -> io::Result<Map<String, Value>> {
    let mut figures = Map::new();
    if flags.among == 0 {
        return Ok(figures);
    }
    let first = flags.subscribers + flags.publishers;
    let all = first + flags.among;
    let (before, mark) = (procfs::resident(&flags.pids)?, Mark::now(&flags.pids)?);
    for client in first..all {
        broker.open_from(&mut manager.net(), client, source(broker.addr, client))?;
        if client % WAVE == 0 || client + 1 == all {
            wait(manager, "the clients that idle", |steady| steady.connected == client + 1)?;
        }
    }
    let spent = mark.until_now(&flags.pids)?.figures(flags.among as u64);
    let grown = procfs::resident(&flags.pids)? as f64 - before as f64;
    figures.insert("among".into(), json!(flags.among));
    figures.insert("bytes_each".into(), json!(round(grown / flags.among as f64, 1.0)));
    figures.insert("accepts_per_s".into(), spent["per_s"].clone());
    figures.insert("accept_cpu_us".into(), spent["cpu_us"].clone());
    Ok(figures)
}

fn turn_for(manager: &mut Manager<Steady>, time: Duration) -> io::Result<()> {
    let end = Instant::now() + time;
    let paced = manager.state().interval.is_some();
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        // At a given rate there is no time to sleep: waking up would take longer than the interval.
        let timeout = if paced { Duration::ZERO } else { TICK };
        manager.poll(Some(timeout)).map_err(other)?;
        if paced || now - manager.state().last_delivery > STALLED {
            manager.state_mut().write_off(now);
            let steady = manager.state_mut();
            let mut publishers = std::mem::take(&mut steady.publishers);
            for (index, publisher) in publishers.iter_mut().enumerate() {
                let due = publisher.publish(index, &manager.state().plan(now));
                if let (Some(conn), true) = (publisher.conn, due) {
                    manager.net().send(conn, &publisher.out);
                }
            }
            manager.state_mut().publishers = publishers;
        }
    }
}

struct Steady {
    version: Version,
    qos: QoS,
    window: u64,
    /// Between two messages of one publisher, at a given rate.
    interval: Option<Duration>,
    /// How many subscribers a message goes to.
    fan: u64,
    /// Each subscriber has some of the topics only, and so not every number.
    is_spread: bool,
    connected: usize,
    subscribed: usize,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    publishing: bool,
    start: Instant,
    latency: Histogram,
    /// Since the measurement began.
    delivered: u64,
    disordered: u64,
    stalls: u64,
    last_delivery: Instant,
}

struct Publisher {
    conn: Option<ConnId>,
    topics: Vec<String>,
    payload: Vec<u8>,
    out: Vec<u8>,
    sent: u64,
    /// By the broker.
    acked: u64,
    /// At all subscribers together.
    delivered: u64,
    /// At all subscribers together: later ones have arrived there.
    missed: u64,
    /// Not waited for any more.
    written_off: u64,
    next_id: PacketId,
}

struct Subscriber {
    filters: Vec<String>,
    /// How many of them the broker has been told.
    told: usize,
    /// By publisher: the number of the message that is next, at least.
    next: Vec<u32>,
}

/// What a publisher needs to know.
struct Plan {
    version: Version,
    qos: QoS,
    window: u64,
    interval: Option<Duration>,
    fan: u64,
    start: Instant,
    now: Instant,
}

impl Steady {
    fn new(flags: &Flags) -> Self {
        let topics = |publisher: usize| match flags.filters {
            Some(filters) => (0..filters).map(topic).collect(),
            None => vec![topic(publisher)],
        };
        let filters = |subscriber: usize| match flags.filters {
            Some(filters) => (0..filters).skip(subscriber).step_by(flags.subscribers).map(topic).collect(),
            None if flags.publishers == 1 => vec![topic(0)],
            None => vec!["site/0/dev/+/temp".into()],
        };
        let now = Instant::now();
        let publisher = |index| Publisher {
            conn: None,
            topics: topics(index),
            payload: vec![b'x'; flags.payload_len],
            out: Vec::new(),
            sent: 0,
            acked: 0,
            delivered: 0,
            missed: 0,
            written_off: 0,
            next_id: PacketId::MIN,
        };
        let subscriber = |index| Subscriber { filters: filters(index), told: 0, next: vec![0; flags.publishers] };
        Self {
            version: flags.version,
            qos: flags.qos,
            window: flags.window,
            interval: flags.rate.map(|rate| Duration::from_secs_f64(flags.publishers as f64 / rate)),
            fan: if flags.filters.is_some() { 1 } else { flags.subscribers as u64 },
            is_spread: flags.filters.is_some(),
            connected: 0,
            subscribed: 0,
            publishers: (0..flags.publishers).map(publisher).collect(),
            subscribers: (0..flags.subscribers).map(subscriber).collect(),
            publishing: false,
            start: now,
            latency: Histogram::new(),
            delivered: 0,
            disordered: 0,
            stalls: 0,
            last_delivery: now,
        }
    }

    /// The next SUBSCRIBE of a subscriber, or the note that it has told all.
    fn subscribe(&mut self, client: usize, out: &mut Vec<u8>) {
        let subscriber = &mut self.subscribers[client];
        let rest = &subscriber.filters[subscriber.told..];
        if rest.is_empty() {
            self.subscribed += 1;
            return;
        }
        let part = &rest[..rest.len().min(FILTERS)];
        subscribe(1, part, self.qos, self.version, out);
        subscriber.told += part.len();
    }

    /// The publishers may; the first messages leave with the next turn.
    fn begin(&mut self) {
        let now = Instant::now();
        self.publishing = true;
        self.start = now;
        // Long ago, so that the first messages do not wait for others.
        self.last_delivery = now.checked_sub(STALLED * 2).unwrap_or(now);
    }

    fn measure(&mut self) {
        self.latency.clear();
        self.delivered = 0;
        self.stalls = 0;
    }

    fn plan(&self, now: Instant) -> Plan {
        let Self { version, qos, window, interval, fan, start, .. } = *self;
        Plan { version, qos, window, interval, fan, start, now }
    }

    /// Gives up what has not arrived, if nothing does any more.
    fn write_off(&mut self, now: Instant) {
        if now - self.last_delivery <= STALLED {
            return;
        }
        self.stalls += 1;
        self.last_delivery = now;
        for publisher in &mut self.publishers {
            publisher.written_off = publisher.sent.saturating_sub(publisher.done(self.qos, self.fan));
        }
    }

    fn arrive(&mut self, client: usize, publish: &Publish<'_>) {
        let Some((nanos, publisher, number)) = read_mark(publish.payload) else { return };
        let Some(next) = self.subscribers[client].next.get_mut(publisher) else { return };
        let now = Instant::now();
        self.last_delivery = now;
        self.latency.add((now - self.start).as_nanos() as u64 - nanos, 1);
        if number < *next {
            self.disordered += 1;
        } else if !self.is_spread {
            // What was dropped must not narrow the window for the rest of the run.
            self.publishers[publisher].missed += u64::from(number - *next);
        }
        *next = number.wrapping_add(1);
        self.delivered += 1;
        self.publishers[publisher].delivered += 1;
    }

    fn sent(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.sent).sum()
    }

    fn arrived(&self) -> u64 {
        self.publishers.iter().map(|publisher| publisher.delivered).sum()
    }

    fn is_settled(&self) -> bool {
        self.arrived() >= self.sent() * self.fan
    }
}

impl Player for Steady {
    fn packet(&mut self, client: usize, packet: &Packet<'_>, out: &mut Vec<u8>) {
        let version = self.version;
        match packet {
            Packet::Publish(publish) => {
                self.arrive(client, publish);
                match (publish.qos, publish.id) {
                    (QoS::AtLeastOnce, Some(id)) => put(&Packet::PubAck(Ack::new(id)), version, out),
                    (QoS::ExactlyOnce, Some(id)) => put(&Packet::PubRec(Ack::new(id)), version, out),
                    _ => {}
                }
            }
            Packet::PubRec(ack) => put(&Packet::PubRel(Ack::new(ack.id)), version, out),
            Packet::PubRel(ack) => put(&Packet::PubComp(Ack::new(ack.id)), version, out),
            Packet::PubAck(_) | Packet::PubComp(_) => self.publishers[client - self.subscribers.len()].acked += 1,
            Packet::SubAck(_) => self.subscribe(client, out),
            Packet::ConnAck(connack) => {
                accepted(connack);
                self.connected += 1;
            }
            _ => {}
        }
    }

    fn settle(&mut self, net: &mut Net<'_, Self>) {
        if !self.publishing || self.interval.is_some() {
            return;
        }
        let plan = self.plan(Instant::now());
        for (index, publisher) in self.publishers.iter_mut().enumerate() {
            if let (true, Some(conn)) = (publisher.publish(index, &plan), publisher.conn) {
                net.send(conn, &publisher.out);
            }
        }
    }
}

impl Publisher {
    /// Messages that need not be waited for.
    fn done(&self, qos: QoS, fan: u64) -> u64 {
        let delivered = (self.delivered + self.missed) / fan;
        if qos == QoS::AtMostOnce { delivered } else { delivered.min(self.acked) }
    }

    /// Puts the messages into `out` that may be sent now; whether there are any.
    fn publish(&mut self, index: usize, plan: &Plan) -> bool {
        self.out.clear();
        let elapsed = plan.now - plan.start;
        let count = match plan.interval {
            Some(interval) => ((elapsed.as_nanos() / interval.as_nanos()) as u64).saturating_sub(self.sent),
            None => {
                let on_their_way = self.sent.saturating_sub(self.done(plan.qos, plan.fan) + self.written_off);
                plan.window.saturating_sub(on_their_way)
            }
        };
        for _ in 0..count {
            let since = match plan.interval {
                Some(interval) => interval.as_nanos() as u64 * (self.sent + 1),
                None => elapsed.as_nanos() as u64,
            };
            write_mark(&mut self.payload, since, index, self.sent as u32);
            // Neighbours in time are not neighbours in the broker's tables.
            let topic = &self.topics[(self.sent as usize).wrapping_mul(STRIDE) % self.topics.len()];
            let id = (plan.qos != QoS::AtMostOnce).then_some(self.next_id);
            let publish = Publish { qos: plan.qos, id, ..Publish::new(topic, &self.payload) };
            put(&Packet::Publish(publish), plan.version, &mut self.out);
            self.next_id = self.next_id.checked_add(1).unwrap_or(PacketId::MIN);
            self.sent += 1;
        }
        count > 0
    }
}

/// A prime, so that all topics have their turn.
const STRIDE: usize = 7919;

fn topic(index: usize) -> String {
    format!("site/{}/dev/{}/temp", index / 1000, index % 1000)
}

fn write_mark(payload: &mut [u8], nanos: u64, publisher: usize, number: u32) {
    payload[..8].copy_from_slice(&nanos.to_le_bytes());
    payload[8..12].copy_from_slice(&(publisher as u32).to_le_bytes());
    payload[12..MARK_LEN].copy_from_slice(&number.to_le_bytes());
}

fn read_mark(payload: &[u8]) -> Option<(u64, usize, u32)> {
    let (nanos, rest) = payload.split_first_chunk()?;
    let (publisher, rest) = rest.split_first_chunk()?;
    let number = rest.first_chunk()?;
    Some((u64::from_le_bytes(*nanos), u32::from_le_bytes(*publisher) as usize, u32::from_le_bytes(*number)))
}

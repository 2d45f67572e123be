//! The clients: tasks of one thread, on an `AsyncManager` without a thread of its own.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use vansire::aio::{Handle, HttpClient};
use vansire::http::Request;
use vansire::mqtt::{QoS, Version};
use vansire::{AsyncManager, Limits};

use crate::ledger::{Ledger, add};
use crate::mqtt::Cut;
use crate::report::Report;
use crate::watch::{Sample, Watch};
use crate::{Urls, http, mqtt};

/// What all tasks share.
pub(crate) struct World {
    pub(crate) handle: Handle<()>,
    pub(crate) urls: Urls,
    pub(crate) ledger: Ledger,
    /// For who watches: the one connection that stays.
    control: HttpClient<()>,
    is_over: Cell<bool>,
}

/// The longest that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

impl World {
    /// There is to be more traffic.
    pub(crate) fn goes_on(&self) -> bool {
        !self.is_over.get()
    }

    /// Waits, but not beyond the end.
    pub(crate) async fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while self.goes_on() && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(Duration::from_millis(500))).await;
        }
    }

    /// Asks the server about itself, or for something, on a connection of its own.
    pub(crate) async fn ask(&self, path: &str) -> Option<Value> {
        self.ask_on(&HttpClient::new(&self.handle), path).await
    }

    async fn ask_on(&self, client: &HttpClient<()>, path: &str) -> Option<Value> {
        match client.request(Request::get(format!("{}{path}", self.urls.http))).await {
            Ok(response) => {
                add(&self.ledger.answered, 1);
                if response.status != 200 {
                    return None;
                }
                serde_json::from_slice(&response.body).ok()
            }
            Err(e) => {
                self.ledger.broken(format!("GET {path}: {e}"));
                None
            }
        }
    }

    /// The server's counters; what it says none of is a broken promise.
    pub(crate) async fn stats(&self) -> Value {
        self.ask_on(&self.control, "/stats").await.unwrap_or_else(|| {
            self.ledger.broken("the server tells no counters");
            Value::Null
        })
    }

    /// What has to come in time.
    pub(crate) async fn within<T>(&self, what: &str, wait: impl Future<Output = T>) -> Option<T> {
        let result = tokio::time::timeout(PATIENCE, wait).await.ok();
        if result.is_none() {
            self.ledger.broken(format!("{what}: not within {PATIENCE:?}"));
        }
        result
    }
}

/// A rhythm that is not made up for after a pause.
pub(crate) fn every(time: Duration) -> Interval {
    let mut every = tokio::time::interval(time);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    every
}

/// Numbers that look like chance, and are the same in each run.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// One of `0..sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64* (Vigna 2016).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

pub(crate) async fn run(urls: Urls, pid: u32, time: Duration) -> io::Result<Report> {
    let limits = Limits::new().mqtt_packet_max(mqtt::LARGEST);
    let (manager, turns) = AsyncManager::builder(|| ()).limits(limits).inline().map_err(io::Error::other)?;
    let turns = tokio::task::spawn_local(turns);
    let handle = manager.handle();
    let control = HttpClient::new(&handle);
    let world = Rc::new(World { handle, urls, ledger: Ledger::default(), control, is_over: Cell::new(false) });
    // The connection that asks is there at both ends.
    world.stats().await;
    let before = world.stats().await;
    let mut watch = Watch::new(pid, time)?;

    let mut tasks = JoinSet::new();
    http_tasks(&world, &mut tasks);
    mqtt_tasks(&world, &mut tasks);
    let mut second = every(Duration::from_secs(1));
    while watch.since_start() < time {
        second.tick().await;
        let stats = world.stats().await;
        balance(&world.ledger, &stats);
        watch.take(&stats, &world.handle).await?;
    }
    world.is_over.set(true);
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE * 3, all).await.is_err() {
        world.ledger.broken("the clients do not come to an end");
    }
    let after = settled(&world, &before).await;
    settle_up(&world, &before, &after);
    let end = watch.look(&after, &world.handle).await?;
    Sample::same_things(&watch, &end, &world.ledger);
    let report = Report::new(&watch, &end, &world.ledger, &before, &after)?;
    manager.shutdown().await;
    turns.await.map_err(io::Error::other)?;
    Ok(report)
}

fn http_tasks(world: &Rc<World>, tasks: &mut JoinSet<()>) {
    for n in 0..6 {
        tasks.spawn_local(http::kept(Rc::clone(world), Dice(n + 1)));
    }
    for n in 0..4 {
        tasks.spawn_local(http::pipelined(Rc::clone(world), Dice(n + 11)));
    }
    for _ in 0..2 {
        tasks.spawn_local(http::once(Rc::clone(world)));
    }
    tasks.spawn_local(http::later(Rc::clone(world)));
    tasks.spawn_local(http::torn(Rc::clone(world)));
    tasks.spawn_local(http::time(Rc::clone(world)));
}

fn mqtt_tasks(world: &Rc<World>, tasks: &mut JoinSet<()>) {
    use QoS::{AtLeastOnce, AtMostOnce, ExactlyOnce};
    let (v3, v4, v5) = (Version::Mqtt31, Version::Mqtt311, Version::Mqtt5);
    let streams = [
        ("q0-old", v3, AtMostOnce, Cut::Nobody),
        ("q0", v5, AtMostOnce, Cut::Nobody),
        ("q1", v5, AtLeastOnce, Cut::Nobody),
        ("q1-sub", v5, AtLeastOnce, Cut::Subscriber),
        ("q1-sub-old", v4, AtLeastOnce, Cut::Subscriber),
        ("q1-pub", v4, AtLeastOnce, Cut::Publisher),
        ("q2", v4, ExactlyOnce, Cut::Nobody),
        ("q2-both", v5, ExactlyOnce, Cut::Both),
        ("q2-both-old", v4, ExactlyOnce, Cut::Both),
    ];
    for (n, (name, version, qos, cut)) in streams.into_iter().enumerate() {
        tasks.spawn_local(mqtt::stream(Rc::clone(world), name, version, qos, cut, Dice(n as u64 + 101)));
    }
    for n in 0..8 {
        tasks.spawn_local(mqtt::passing(Rc::clone(world), n));
    }
    for (n, version) in [v4, v5].into_iter().enumerate() {
        tasks.spawn_local(mqtt::away(Rc::clone(world), version, n));
    }
    tasks.spawn_local(mqtt::wills(Rc::clone(world)));
    tasks.spawn_local(mqtt::shared(Rc::clone(world), Dice(301)));
    tasks.spawn_local(mqtt::flood(Rc::clone(world)));
    tasks.spawn_local(mqtt::program(Rc::clone(world)));
}

/// Nothing gets lost in the broker, at any moment.
fn balance(ledger: &Ledger, stats: &Value) {
    let broker = &stats["broker"];
    let count = |name: &str| broker[name].as_u64().unwrap_or_default();
    let (routed, ends) = (count("routed"), count("delivered") + count("queued") + count("dropped_total"));
    ledger.same("delivered + queued + dropped of what was routed", ends, routed);
    ledger.same("rounds of commands that do not balance", stats["commands"]["unbalanced"].as_u64(), Some(0));
}

/// Waits until the server has seen all clients go.
async fn settled(world: &World, before: &Value) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let stats = world.stats().await;
        let is_at_rest = stats["commands"]["rests"] == true && stats["conns"] == before["conns"];
        if is_at_rest || Instant::now() > end {
            return stats;
        }
        world.ask("/rest").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the server has counted is what the clients have seen.
fn settle_up(world: &World, before: &Value, after: &Value) {
    let ledger = &world.ledger;
    balance(ledger, after);
    let of = |stats: &Value, path: &str| stats.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let more = |path: &str| of(after, path) - of(before, path);
    let program = more("/published");
    let dropped = [
        ("slow", &ledger.slow),
        ("queue_full", &ledger.queue_full),
        ("too_large", &ledger.too_large),
        ("expired", &ledger.expired),
        ("session_ended", &ledger.session_ended),
    ];
    // The first two are those by which it was asked how things were before.
    ledger.same("HTTP requests", more("/http_requests"), ledger.answered.get() - 2);
    ledger.same("SNTP questions", more("/sntp_served"), ledger.told.get());
    ledger.same("messages in", more("/broker/publish_in"), ledger.published.get() + program);
    ledger.same("messages times receivers", more("/broker/routed"), ledger.routed.get());
    ledger.same("messages delivered", more("/broker/delivered"), ledger.delivered.get());
    for (reason, expected) in dropped {
        ledger.same(&format!("dropped: {reason}"), more(&format!("/broker/dropped/{reason}")), expected.get());
    }
    let all: u64 = dropped.iter().map(|(_, count)| count.get()).sum();
    ledger.same("dropped", more("/broker/dropped_total"), all);
    ledger.same("wills", more("/broker/wills"), ledger.wills.get());
    for path in ["/http_unanswered", "/sntp_refused", "/sntp_limited", "/slow_consumers", "/handler_panics"] {
        ledger.same(path, more(path), 0);
    }
    for path in ["/broker/protocol_errors", "/broker/refused", "/broker/retained_refused"] {
        ledger.same(path, more(path), 0);
    }
    // As it was, but for what the program retains.
    for name in ["/conns", "/broker/clients", "/broker/sessions", "/broker/subscriptions", "/broker/shared"] {
        ledger.same(&format!("{name} at the end"), of(after, name), of(before, name));
    }
    // The program's, and the one of the broker, which is not taken back when nobody needs it any more.
    if of(after, "/timers") > 2 {
        ledger.broken(format!("timers at the end: {}", of(after, "/timers")));
    }
    ledger.same("queued at the end", (of(after, "/broker/queued"), of(after, "/broker/queued_bytes")), (0, 0));
    ledger.same("retained at the end", of(after, "/broker/retained"), 1);
}

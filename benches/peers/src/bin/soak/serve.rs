//! The server: HTTP, a broker, the time, and a task that has the loop do things, all on one `AsyncManager`.
//!
//! Beside `/` and `/echo` it tells its own counters (`/stats`), those of a client of the broker (`/client/ID`), cuts a client off
//! (`/cut/ID`) or ends its connection in order (`/kick/ID`), and has its own task come to rest (`/rest`).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use vansire::aio::Handle;
use vansire::broker::{Broker, DropReason, Drops, Options};
use vansire::mqtt::{Publish, QoS, ReasonCode};
use vansire::{AsyncManager, Ctx, Event, Limits, TimerCtx, http};
use vansire_peers::BODY;

use crate::Urls;

/// Messages that wait for one client: what is more is dropped, which the load counts upon.
pub(crate) const QUEUE: u64 = 200;

/// The state of the loop.
struct Served {
    broker: Broker,
    /// Closures that have run.
    ran: u64,
    /// Timers that have fired once, and those that were cancelled and fired all the same.
    fired: u64,
    haunted: u64,
    /// Messages of the program.
    published: u64,
}

/// What the task has done from outside.
#[derive(Default)]
struct Commands {
    sent: AtomicU64,
    timers: AtomicU64,
    /// Rounds after which something did not balance.
    unbalanced: AtomicU64,
    is_resting: AtomicBool,
    rests: AtomicBool,
}

pub(crate) async fn run(urls: Urls) -> io::Result<()> {
    serve(urls).await.map_err(io::Error::other)
}

async fn serve(urls: Urls) -> vansire::Result<()> {
    let broker = || Broker::new(Options::new().queue_messages_max(QUEUE as usize));
    let manager =
        AsyncManager::builder(move || Served { broker: broker(), ran: 0, fired: 0, haunted: 0, published: 0 })
            // All clients here have one address.
            .limits(Limits::new().sntp_rate(10_000).sntp_burst(10_000))
            .on_incident(|incident| eprintln!("{incident}"))
            .start()
            .await?;
    let commands = Arc::new(Commands::default());
    let (handle, told) = (manager.handle(), Arc::clone(&commands));
    let answer = move |cx: &mut Ctx<'_, Served>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            answer(cx, request, &handle, &told);
        }
    };
    let _http = manager.listen(urls.http, answer).await?;
    let _mqtt = manager.mqtt_listen(urls.mqtt, |served| served.broker.clone()).await?;
    manager.with(move |cx| cx.net.sntp_listen(urls.sntp, |_: &mut Ctx<'_, Served>, _: Event<'_>| {})).await??;
    let rests = Arc::clone(&commands);
    let tick = move |cx: &mut TimerCtx<'_, Served>| publish(cx, &rests);
    let _ticking = manager.timer_every(Duration::from_millis(100), tick).await?;
    command(&manager, &commands).await?;
    manager.ended().await;
    Ok(())
}

/// The program's own part in the traffic: a number, retained.
fn publish(cx: &mut TimerCtx<'_, Served>, commands: &Commands) {
    if commands.is_resting.load(Ordering::Relaxed) {
        return;
    }
    let number = cx.state.published.to_le_bytes();
    let message = Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new("program/tick", &number) };
    let broker = cx.state.broker.clone();
    if broker.publish(&mut cx.net, &message).is_ok() {
        cx.state.published += 1;
    }
}

fn answer(cx: &mut Ctx<'_, Served>, request: &http::Request<'_>, handle: &Handle<Served>, commands: &Commands) {
    let target = request.target();
    let (path, name) = target.get(1..).and_then(|rest| rest.split_once('/')).unwrap_or((target, ""));
    let broker = cx.state.broker.clone();
    let client = broker.client(&cx.net, name);
    let conn = client.as_ref().and_then(|client| client.conn);
    match (path, client) {
        ("/", _) => _ = cx.reply(http::Response::text(200, BODY)),
        ("/echo", _) => _ = cx.reply(http::Response::new(200).body(request.body())),
        ("/later", _) => {
            let Some(reply) = cx.defer() else { return };
            let back = handle.clone();
            handle.schedule(async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                back.with(move |cx| _ = cx.net.reply(reply, http::Response::text(200, BODY))).await
            });
        }
        ("/stats", _) => {
            let text = stats(cx, commands).to_string();
            cx.reply(http::Response::text(200, &text));
        }
        ("/rest", _) => {
            commands.is_resting.store(true, Ordering::Relaxed);
            cx.reply(http::Response::text(200, ""));
        }
        ("client", Some(client)) => {
            let open = client.inflight + client.queued;
            let text = json!({ "open": open, "dropped": drops(&client.dropped) }).to_string();
            cx.reply(http::Response::text(200, &text));
        }
        ("cut", Some(_)) => {
            // Acknowledgements come meanwhile, and are lost with the connection.
            std::thread::sleep(Duration::from_millis(3));
            conn.into_iter().for_each(|conn| cx.net.close(conn));
            cx.reply(http::Response::text(200, ""));
        }
        ("kick", Some(_)) => {
            broker.kick(&mut cx.net, name, ReasonCode::ServerBusy);
            cx.reply(http::Response::text(200, ""));
        }
        _ => _ = cx.reply(http::Response::text(404, "")),
    }
}

fn drops(drops: &Drops) -> Value {
    DropReason::ALL
        .iter()
        .map(|&reason| (reason.as_str().to_owned(), json!(drops.get(reason))))
        .collect::<Map<_, _>>()
        .into()
}

/// All counters at one moment: nothing else runs on the loop meanwhile.
fn stats(cx: &Ctx<'_, Served>, commands: &Commands) -> Value {
    let (loops, broker) = (cx.net.stats(), cx.state.broker.stats());
    json!({
        "heap": crate::HEAP.allocated(),
        "conns": cx.net.connection_count(),
        "timers": cx.net.timer_count(),
        "accepted": loops.accepted,
        "http_requests": loops.http_requests,
        "http_refused": loops.http_refused,
        "http_unanswered": loops.http_unanswered,
        "sntp_served": loops.sntp_served,
        "sntp_refused": loops.sntp_refused,
        "sntp_limited": loops.sntp_limited,
        "slow_consumers": loops.slow_consumers,
        "timeouts": loops.timeouts,
        "resets": loops.resets,
        "handler_panics": loops.handler_panics,
        "timers_fired": loops.timers_fired,
        "turns": loops.turns,
        "published": cx.state.published,
        "commands": {
            "sent": commands.sent.load(Ordering::Relaxed),
            "timers": commands.timers.load(Ordering::Relaxed),
            "unbalanced": commands.unbalanced.load(Ordering::Relaxed),
            "rests": commands.rests.load(Ordering::Relaxed),
        },
        "broker": {
            "publish_in": broker.publish_in,
            "publish_out": broker.publish_out,
            "routed": broker.routed,
            "delivered": broker.delivered,
            "queued": broker.queued,
            "queued_bytes": broker.queued_bytes,
            "dropped": drops(&broker.dropped),
            "dropped_total": broker.dropped.total(),
            "retained": broker.retained,
            "retained_refused": broker.retained_refused,
            "connected": broker.connected,
            "refused": broker.refused,
            "protocol_errors": broker.protocol_errors,
            "wills": broker.wills,
            "clients": broker.clients_connected,
            "sessions": broker.sessions,
            "subscriptions": broker.subscriptions,
            "shared": broker.shared_subscriptions,
        },
    })
}

/// Has the loop do things from outside, each round of which has to balance: what one task sends runs in its order, so the answer to the
/// last command has seen all of them.
async fn command(manager: &AsyncManager<Served>, commands: &Commands) -> vansire::Result<()> {
    let mut every = tokio::time::interval(Duration::from_millis(20));
    let (mut sent, mut begun) = (0u64, 0u64);
    while !commands.is_resting.load(Ordering::Relaxed) {
        every.tick().await;
        for _ in 0..6 {
            manager.submit(|cx| cx.state.ran += 1).await?;
            manager.post(|cx| cx.state.ran += 1)?;
            sent += 2;
        }
        let distant = manager.timer_after(Duration::from_secs(3600), |cx| cx.state.haunted += 1).await?;
        let periodic = manager.timer_every(Duration::from_secs(3600), |cx| cx.state.haunted += 1).await?;
        manager.timer_after(Duration::from_millis(2), |cx| cx.state.fired += 1).await?.detach();
        begun += 1;
        let (distant_id, periodic_id) = (distant.id(), periodic.id());
        drop((distant, periodic));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let (ran, fired, haunted, active) = manager
            .with(move |cx| {
                let active = cx.net.is_active(distant_id) || cx.net.is_active(periodic_id);
                (cx.state.ran, cx.state.fired, cx.state.haunted, active)
            })
            .await?;
        if (ran, haunted, active) != (sent, 0, false) || fired < begun.saturating_sub(1) || fired > begun {
            commands.unbalanced.fetch_add(1, Ordering::Relaxed);
        }
        commands.sent.store(sent, Ordering::Relaxed);
        commands.timers.store(begun * 3, Ordering::Relaxed);
    }
    commands.rests.store(true, Ordering::Relaxed);
    Ok(())
}

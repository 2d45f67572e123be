//! A tokio service with HTTP and MQTT on the side: `cargo run --features async --example async_service -- --listen http://127.0.0.1:8080
//! --mqtt mqtt://127.0.0.1:1883`.
//!
//! `GET /jobs/NAME` has a task of the runtime do the work and answers when it is done; `GET /ticks` tells how often a timer fired. It is an
//! MQTT broker, too, on which the ticks are published (`service/ticks`, retained), and a client of it: what is published to `jobs/NAME`
//! is done by a task, and answered on `done/NAME`. Ctrl-C drains: requests in progress are answered, then it ends.

mod common;

use std::time::Duration;

use vansire::aio::{Handle, MqttClient, MqttMessages, Overflow, Shutdown};
use vansire::broker::{Broker, Options};
use vansire::mqtt::{ClientOptions, Publish, QoS, Reconnect, Subscription};
use vansire::{AsyncManager, Ctx, Event, TimerCtx, http};

/// Lives on the loop's thread. It needs no lock.
struct Service {
    ticks: u64,
    broker: Broker,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = AsyncManager::builder(|| Service { ticks: 0, broker: Broker::new(Options::new()) })
        .shutdown(Shutdown::new().limit(Duration::from_secs(10)))
        .on_incident(|incident| eprintln!("{incident}"))
        .start()
        .await?;
    let handle = manager.handle();
    let serve = move |cx: &mut Ctx<'_, Service>, ev: Event<'_>| {
        let Event::HttpRequest(request) = ev else { return };
        match request.target().strip_prefix("/jobs/") {
            Some(name) => answer_later(cx, &handle, name.to_owned()),
            None if request.target() == "/ticks" => {
                let text = format!("{} ticks\n", cx.state.ticks);
                cx.reply(http::Response::text(200, &text));
            }
            None => _ = cx.reply(http::Response::text(404, "there is /jobs/NAME and /ticks\n")),
        }
    };
    let url = common::listen_url("http://127.0.0.1:8080");
    let server = manager.listen(url.as_str(), serve).await?;
    let url = common::flag("--mqtt", "mqtt://127.0.0.1:1883".to_owned());
    let broker = manager.mqtt_listen(url, |service| service.broker.clone()).await?;
    let _ticking = manager.timer_every(Duration::from_millis(100), tick).await?;

    // A client of whichever broker; here it is our own.
    let url = format!("mqtt://{}", broker.local_addr().ok_or("the broker has no address")?);
    let options = ClientOptions::new().client_id("service").reconnect(Reconnect::default());
    let client = MqttClient::connect(&manager, &url, options).await?;
    let jobs = client.subscribe(Subscription::new("jobs/+", QoS::AtLeastOnce), 100, Overflow::Pause).await?;
    let doing = tokio::spawn(do_jobs(client, jobs));
    println!("listening on http://{}", server.local_addr().ok_or("the listener has no address")?);
    println!("listening on {url}");

    let report = manager.run(tokio::signal::ctrl_c()).await;
    println!("{report}");
    // It has seen the end of its connection.
    doing.await??;
    Ok(())
}

/// The request waits, the loop does not: a task does the work, and sends the answer back by a closure.
fn answer_later(cx: &mut Ctx<'_, Service>, handle: &Handle<Service>, name: String) {
    let Some(reply) = cx.defer() else { return };
    let back = handle.clone();
    handle.schedule(async move {
        let text = work(&name).await;
        back.with(move |cx| _ = cx.net.reply(reply, http::Response::text(200, &text))).await
    });
}

/// Ends with the stream, which ends with the connection.
async fn do_jobs(client: MqttClient<Service>, mut jobs: MqttMessages) -> vansire::Result<()> {
    while let Some(job) = jobs.next().await {
        let Some(name) = job.topic().strip_prefix("jobs/") else { continue };
        let text = work(name).await;
        client.publish(&Publish { qos: QoS::AtLeastOnce, ..Publish::new(&format!("done/{name}"), &text) }).await?;
    }
    Ok(())
}

async fn work(name: &str) -> String {
    tokio::time::sleep(Duration::from_millis(50)).await;
    format!("{name} is done\n")
}

fn tick(cx: &mut TimerCtx<'_, Service>) {
    cx.state.ticks += 1;
    let text = cx.state.ticks.to_string();
    let told = Publish { retain: true, ..Publish::new("service/ticks", &text) };
    if let Err(e) = cx.state.broker.publish(&mut cx.net, &told) {
        eprintln!("{e}");
    }
}

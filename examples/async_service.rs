//! A tokio service with HTTP on the side: `cargo run --features async --example async_service -- --listen http://127.0.0.1:8080`.
//!
//! `GET /jobs/NAME` has a task of the runtime do the work and answers when it is done; `GET /ticks` tells how often a timer fired.
//! Ctrl-C drains: requests in progress are answered, then it ends.

mod common;

use std::time::Duration;

use vansire::aio::{Handle, Shutdown};
use vansire::{AsyncManager, Ctx, Event, http};

/// Lives on the loop's thread. It needs no lock.
#[derive(Default)]
struct Service {
    ticks: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = AsyncManager::builder(Service::default)
        .shutdown(Shutdown::new().limit(Duration::from_secs(10)))
        .on_incident(|incident| eprintln!("{incident}"))
        .start()
        .await?;
    let handle = manager.handle();
    let serve = move |cx: &mut Ctx<'_, Service>, ev: Event<'_>| {
        let Event::HttpRequest(request) = ev else { return };
        match request.target().strip_prefix("/jobs/") {
            Some(name) => work(cx, &handle, name.to_owned()),
            None if request.target() == "/ticks" => {
                let text = format!("{} ticks\n", cx.state.ticks);
                cx.reply(http::Response::text(200, &text));
            }
            None => _ = cx.reply(http::Response::text(404, "there is /jobs/NAME and /ticks\n")),
        }
    };
    let url = common::listen_url("http://127.0.0.1:8080");
    let server = manager.listen(url.as_str(), serve).await?;
    let _ticking = manager.timer_every(Duration::from_millis(10), |cx| cx.state.ticks += 1).await?;
    println!("listening on http://{}", server.local_addr().ok_or("the listener has no address")?);

    let report = manager.run(tokio::signal::ctrl_c()).await;
    println!("{report}");
    Ok(())
}

/// The request waits, the loop does not: a task does the work, and sends the answer back by a closure.
fn work(cx: &mut Ctx<'_, Service>, handle: &Handle<Service>, name: String) {
    let Some(reply) = cx.defer() else { return };
    let back = handle.clone();
    handle.schedule(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let text = format!("{name} is done\n");
        back.with(move |cx| _ = cx.net.reply(reply, http::Response::text(200, &text))).await
    });
}

//! Tells the time: `cargo run --example sntp_server -- --listen sntp://127.0.0.1:11123 --from HOST,HOST,HOST`.
//!
//! Without `--from` it tells the system's time. With it, it has the time from these servers, and says that it does not know the time
//! until they do. Try it with `cargo run --example sntp_client 127.0.0.1:11123`.

mod common;

use std::time::Duration;

use vansire::sntp::SyncOptions;
use vansire::{Ctx, Event, Manager};

fn main() -> vansire::Result<()> {
    let url = common::listen_url("sntp://127.0.0.1:11123");
    let from = common::flag("--from", String::new());
    let servers: Vec<String> = from.split_terminator(',').map(|host| format!("sntp://{host}")).collect();
    let mut manager = Manager::new(())?;
    // Who asks is answered by the protocol; the handler is told of the socket's beginning and end only.
    let socket = manager.net().sntp_listen(&url, |_: &mut Ctx<'_, ()>, _: Event<'_>| {})?;
    common::announce(&mut manager, &url, socket);
    if !servers.is_empty() {
        let sync = manager.net().sync_time(SyncOptions::new(servers))?;
        let mut told = 0;
        manager.net().timer_every(Duration::from_millis(100), move |cx| {
            let status = sync.status(&cx.net);
            let corrections = status.steps + status.slews;
            if let Some(last) = status.synchronised
                && corrections > told
            {
                told = corrections;
                println!("corrected by {}, as {} says", last.offset, status.servers[last.best].url);
            }
        });
    }
    manager.run()
}

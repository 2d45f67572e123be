//! Tells the time, and has it from others: `cargo run --example sntp_server [ADDRESS [SERVER...]]`.
//!
//! Without servers it tells the system's time, with them it says that it does not know the time until they do.

use std::time::Duration;

use vansire::sntp::SyncOptions;
use vansire::{Ctx, Event, Manager};

fn main() -> vansire::Result<()> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or("127.0.0.1:11123".into());
    let servers: Vec<String> = args.map(|server| format!("sntp://{server}")).collect();
    let mut manager = Manager::new(())?;
    let id = manager.net().sntp_listen(format!("sntp://{address}"), |_: &mut Ctx<'_, ()>, _: Event<'_>| {})?;
    if let Some(bound) = manager.net().local_addr(id) {
        println!("telling the time at {bound}");
    }
    if !servers.is_empty() {
        let sync = manager.net().sync_time(SyncOptions::new(servers))?;
        manager.net().timer_every(Duration::from_secs(10), move |cx| {
            let status = sync.status(&cx.net);
            match status.synchronised {
                Some(last) => println!("right by {}, last corrected by {}", status.servers[last.best].url, last.offset),
                None => println!("no server has told the time yet"),
            }
        });
    }
    manager.run()
}

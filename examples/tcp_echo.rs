//! Sends back what comes: `cargo run --example tcp_echo -- --listen tcp://127.0.0.1:9000`.
//!
//! Try it with `nc 127.0.0.1 9000`.

mod common;

use vansire::{Ctx, Event, Manager};

/// The state: whatever your handlers share. Here, how many bytes came.
#[derive(Default)]
struct Echo {
    bytes: u64,
}

fn main() -> vansire::Result<()> {
    let url = common::listen_url("tcp://127.0.0.1:9000");
    let mut manager = Manager::new(Echo::default())?;
    let listener = manager.net().listen(&url, echo)?;
    common::announce(&mut manager, &url, listener);
    manager.run()?;
    println!("{} bytes", manager.state().bytes);
    Ok(())
}

/// One handler serves the listener and everything that it accepts: `cx.conn` says who an event is about.
fn echo(cx: &mut Ctx<'_, Echo>, ev: Event<'_>) {
    match ev {
        Event::Data(data) => {
            // Queued now, sent when the handler has returned. A peer that does not read gets no more to echo: above the
            // high-water mark its input waits with the system.
            cx.send(&data);
            cx.state.bytes += data.len() as u64;
        }
        Event::Closed(reason) => println!("{}: {reason}", cx.conn),
        // There will be more kinds of events: handlers look at those they care for.
        _ => {}
    }
}

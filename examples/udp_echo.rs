//! Sends datagrams back: `cargo run --example udp_echo -- --listen udp://127.0.0.1:9000`.
//!
//! Try it with `nc -u 127.0.0.1 9000`.

mod common;

use vansire::{Ctx, Event, Manager, Sent};

fn main() -> vansire::Result<()> {
    let url = common::listen_url("udp://127.0.0.1:9000");
    let mut manager = Manager::new(())?;
    let socket = manager.net().listen(&url, |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::Datagram { from, data } = ev {
            // A UDP socket has many peers, so each datagram says where it goes. It keeps its borders: one in, one out.
            if cx.send_to(from, data) == Sent::Full {
                // As UDP is: what there is no room for is lost. `Stats::datagrams_dropped` counts it.
                eprintln!("no room for {} bytes to {from}", data.len());
            }
        }
    })?;
    common::announce(&mut manager, &url, socket);
    manager.run()
}

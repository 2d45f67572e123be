//! The smallest HTTP server: `cargo run --example http_hello -- --listen http://127.0.0.1:8080`.

mod common;

use vansire::{Ctx, Event, Manager, http};

fn main() -> vansire::Result<()> {
    let url = common::listen_url("http://127.0.0.1:8080");
    let mut manager = Manager::new(())?;
    let listener = manager.net().listen(&url, |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            cx.reply(http::Response::text(200, "Hello, World!"));
        }
    })?;
    common::announce(&mut manager, &url, listener);
    // Until somebody stops it: SIGTERM and SIGINT do, with the feature `signals`.
    manager.run()
}

//! The smallest HTTP server: `http URL`.

use vansire::{Ctx, Event, Manager, http};

fn main() -> vansire::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8080".into());
    let mut manager = Manager::new(())?;
    manager.net().listen(url, |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            cx.reply(http::Response::text(200, "Hello, World!"));
        }
    })?;
    manager.run()
}

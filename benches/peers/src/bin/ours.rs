//! vansire: `ours ADDR`.

use vansire::{Ctx, Event, Manager, http};

fn main() -> vansire::Result<()> {
    let address = std::env::args().nth(1).expect("usage: ours ADDR");
    let mut manager = Manager::new(())?;
    manager.net().listen(format!("http://{address}"), |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            cx.reply(http::Response::text(200, "Hello, World!"));
        }
    })?;
    loop {
        manager.poll(None)?;
    }
}

//! vansire: `ours ADDR [FOLDER]`. With a folder it serves the files in it, and nothing else.

use vansire::files::Dir;
use vansire::{Ctx, Event, Manager, http};
use vansire_peers::arguments;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (addr, folder) = arguments()?;
    let url = format!("http://{addr}");
    let mut manager = Manager::new(())?;
    match folder {
        None => manager.net().listen(url, |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
            if let Event::HttpRequest(_) = ev {
                cx.reply(http::Response::text(200, "Hello, World!"));
            }
        })?,
        Some(folder) => {
            let files = Dir::new(folder)?;
            manager.net().listen(url, move |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
                if let Event::HttpRequest(request) = ev {
                    files.serve(cx, request);
                }
            })?
        }
    };
    loop {
        manager.poll(None)?;
    }
}

//! A folder over HTTP: `cargo run --example static_files --features static -- [FOLDER] [ADDRESS]`.
//!
//! Lists folders without an index, and serves `/built-in/source.rs` from the program itself. Prints where it listens.

use vansire::files::{Dir, Embedded, Options};
use vansire::{Address, Ctx, Event, Manager};

fn main() -> vansire::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or(".".into());
    let address = args.next().unwrap_or("127.0.0.1:8080".into());
    serve(&folder, &address, |at| println!("{folder} is on http://{at}/"))
}

/// Serves until the program is interrupted. Says where.
pub(crate) fn serve(folder: &str, address: &str, listening: impl FnOnce(Address)) -> vansire::Result<()> {
    let files = Dir::with(folder, Options::new().listing(true).header("X-Content-Type-Options", "nosniff"))?;
    // Any file can be a part of the program: here it is its own source.
    let source = include_bytes!("static_files.rs");
    let built_in =
        Embedded::new(&[("source.rs", source)], Options::new().prefix("/built-in").mime("rs", "text/plain"))?;

    let mut manager = Manager::new(())?;
    let listener = manager.net().listen(format!("http://{address}"), move |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            if request.raw_path().starts_with("/built-in/") {
                built_in.serve(cx, request);
            } else {
                files.serve(cx, request);
            }
        }
    })?;
    if let Some(at) = manager.net().local_addr(listener) {
        listening(at);
    }
    manager.run()
}

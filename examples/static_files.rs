//! A folder over HTTP: `cargo run --example static_files --features static -- [FOLDER] [ADDRESS]`.
//!
//! Lists folders without an index, and serves `/about` from the program itself. Prints where it listens.

use vansire::files::{Dir, Embedded, Options};
use vansire::{Ctx, Event, Manager};

fn main() -> vansire::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or(".".into());
    let address = args.next().unwrap_or("127.0.0.1:8080".into());

    let files = Dir::with(&folder, Options::new().listing(true).header("X-Content-Type-Options", "nosniff"))?;
    // The program's own source stands for any file that is built in.
    let built_in =
        Embedded::new(&[("about", include_bytes!("static_files.rs"))], Options::new().mime("*", "text/plain"))?;

    let mut manager = Manager::new(())?;
    let listener = manager.net().listen(format!("http://{address}"), move |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            match request.raw_path() {
                "/about" => built_in.serve(cx, request),
                _ => files.serve(cx, request),
            };
        }
    })?;
    if let Some(address) = manager.net().local_addr(listener) {
        println!("{folder} is on http://{address}/");
    }
    manager.run()
}

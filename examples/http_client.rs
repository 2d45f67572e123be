//! An HTTP client: `cargo run --example http_client [--data TEXT] URL...` asks each URL, follows redirects, and prints the
//! status and the body. Ends with 1 where one of them failed.

use std::io::Write;

use vansire::http::{Body, Request};
use vansire::{CloseReason, Ctx, Event, Manager};

#[derive(Default)]
struct Errands {
    open: usize,
    failed: bool,
}

fn main() -> vansire::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let data = match args.first().map(String::as_str) {
        Some("--data") if args.len() > 1 => Some(args.drain(..2).nth(1).unwrap_or_default()),
        _ => None,
    };
    let mut manager = Manager::new(Errands::default())?;
    for url in &args {
        let request = match &data {
            Some(data) => Request::post(url).body(data).content_type("text/plain; charset=utf-8"),
            None => Request::get(url),
        };
        let name = url.clone();
        let handler = move |cx: &mut Ctx<'_, Errands>, ev: Event<'_>| told(cx, &name, ev);
        match manager.net().fetch(request.header("Accept", "*/*").redirects(5), handler) {
            Ok(_) => manager.state_mut().open += 1,
            Err(e) => {
                eprintln!("{url}: {e}");
                manager.state_mut().failed = true;
            }
        }
    }
    while manager.state().open > 0 {
        manager.poll(None)?;
    }
    std::process::exit(i32::from(manager.state().failed));
}

fn told(cx: &mut Ctx<'_, Errands>, url: &str, ev: Event<'_>) {
    match ev {
        Event::HttpResponseHead(response) => {
            println!("{url}: {} {}", response.status(), response.reason());
            cx.state.failed |= !response.is_success();
            // However long it is, it needs no room.
            cx.body(Body::Stream);
        }
        Event::HttpBody(piece) if std::io::stdout().write_all(piece).is_err() => cx.close(),
        Event::HttpResponse(_) => println!(),
        Event::Closed(reason) => {
            cx.state.open -= 1;
            if !matches!(reason, CloseReason::Local) {
                eprintln!("{url}: {reason}");
                cx.state.failed = true;
            }
        }
        _ => {}
    }
}

//! The server that the conformance scripts drive: `cargo run --release --example conformance -- --http 127.0.0.1:8080`.
//!
//! `--echo` answers every path with the body that came. `--mqtt ADDRESS` is an MQTT broker, `--sntp ADDRESS` tells the time there.
//! Prints `ready` when it listens, and before that, where port 0 was asked for, `http ADDRESS`, `mqtt ADDRESS` and
//! `sntp ADDRESS`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use vansire::broker::{self, Broker};
use vansire::http::{Params, Router, sse};
use vansire::{ConnId, ConnMap, Ctx, Event, Handler, Limits, ListenOptions, Manager, Sent, http};

/// Larger than any body of the scripts but those that should be refused.
const BODY_MAX: usize = 16 * 1024 * 1024;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("{what}\nusage: conformance [--http ADDRESS] [--echo] [--mqtt ADDRESS] [--sntp ADDRESS]");
            return ExitCode::from(2);
        }
    };
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Options {
    http: Option<String>,
    mqtt: Option<String>,
    echo: bool,
    sntp: Option<String>,
}

impl Options {
    fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--http" => options.http = Some(args.next().ok_or("--http wants an address")?),
                "--mqtt" => options.mqtt = Some(args.next().ok_or("--mqtt wants an address")?),
                "--echo" => options.echo = true,
                "--sntp" => options.sntp = Some(args.next().ok_or("--sntp wants an address")?),
                other => return Err(format!("unknown argument {other:?}")),
            }
        }
        Ok(options)
    }
}

fn serve(options: Options) -> vansire::Result<()> {
    let mut manager = Manager::builder().limits(Limits::new().body_max(BODY_MAX)).build(App::default())?;
    if let Some(address) = options.http {
        let url = ListenOptions::new(format!("http://{address}"));
        let listener =
            if options.echo { manager.net().listen(url, echo)? } else { manager.net().listen(url, routes()?)? };
        tell_port("http", &address, &mut manager, listener);
    }
    if let Some(address) = options.mqtt {
        // As many messages as the reference configuration of the scripts lets wait.
        let broker = Broker::new(broker::Options::new().queue_messages_max(5_000));
        let listener = broker.listen(&mut manager.net(), format!("mqtt://{address}"))?;
        tell_port("mqtt", &address, &mut manager, listener);
    }
    if let Some(address) = options.sntp {
        let listener = manager.net().sntp_listen(format!("sntp://{address}"), |_: &mut Cx<'_>, _: Event<'_>| {})?;
        tell_port("sntp", &address, &mut manager, listener);
    }
    println!("ready");
    manager.run()
}

fn tell_port(what: &str, asked_for: &str, manager: &mut Manager<App>, listener: ConnId) {
    if asked_for.ends_with(":0")
        && let Some(bound) = manager.net().local_addr(listener)
    {
        println!("{what} {bound}");
    }
}

#[derive(Default)]
struct App {
    /// Replies of `/chunked` that wait until their client has read some.
    counting: ConnMap<Counting>,
}

type Cx<'a> = Ctx<'a, App>;

fn echo(cx: &mut Cx<'_>, ev: Event<'_>) {
    if let Event::HttpRequest(request) = ev {
        reply_with_body(cx, request);
    }
}

fn reply_with_body(cx: &mut Cx<'_>, request: &http::Request<'_>) {
    let content_type = request.header("content-type").unwrap_or("application/octet-stream");
    cx.reply(http::Response::new(200).content_type(content_type).body(request.body()));
}

fn routes() -> vansire::Result<impl Handler<App>> {
    let routes = Router::<App>::new();
    #[cfg(feature = "static")]
    let routes = {
        let files = files()?;
        routes.any("/static/*path", move |cx, request, _| {
            files.serve(cx, request);
        })
    };
    routes
        .get("/", |cx, _, _| {
            cx.reply(http::Response::text(200, "vansire\n"));
        })
        .any("/echo", |cx, request, _| reply_with_body(cx, request))
        .get("/headers", |cx, request, _| {
            cx.reply(http::Response::json(200, &headers_as_json(request)));
        })
        .get("/redirect", |cx, _, _| {
            cx.reply(http::Response::new(302).header("Location", "/"));
        })
        .get("/sse", |cx, _, _| send_events(cx))
        .get("/bytes/:n", |cx, _, params| {
            let Some(n) = number(params).filter(|&n| n <= BODY_MAX) else { return not_found(cx) };
            let bytes: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
            cx.reply(http::Response::new(200).content_type("application/octet-stream").shared(bytes.into()));
        })
        .get("/chunked/:n", |cx, _, params| {
            let Some(end) = number(params) else { return not_found(cx) };
            cx.net.start(cx.conn, http::Response::new(200));
            cx.state.counting.insert(cx.conn, Counting { next: 0, end });
            count_on(cx);
        })
        .any("/status/:n", |cx, _, params| match number(params) {
            Some(status @ 200..=599) => drop(cx.reply(http::Response::new(status as u16))),
            _ => not_found(cx),
        })
        .get("/slow/:n", |cx, _, params| {
            let Some(ms) = number(params) else { return not_found(cx) };
            let Some(later) = cx.defer() else { return };
            cx.timer_after(Duration::from_millis(ms as u64), move |cx| {
                cx.net.reply(later, http::Response::text(200, "slow"));
            });
        })
        .otherwise(|cx, ev| match ev {
            Event::Drained => count_on(cx),
            Event::Closed(_) => drop(cx.state.counting.remove(cx.conn)),
            _ => {}
        })
        .into_handler()
}

fn number(params: &Params<'_>) -> Option<usize> {
    params.raw("n")?.parse().ok()
}

fn not_found(cx: &mut Cx<'_>) {
    cx.reply(http::Response::text(404, "Not here.\n"));
}

/// A folder with `file.bin`: 1 MiB, in which each byte is its place modulo 251.
#[cfg(feature = "static")]
fn files() -> vansire::Result<vansire::files::Dir> {
    use std::time::SystemTime;
    use vansire::files::{Dir, Options};
    let folder = std::env::temp_dir().join(format!("vansire-conformance-{}", std::process::id()));
    let make = || {
        std::fs::create_dir_all(&folder)?;
        let bytes: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
        let path = folder.join("file.bin");
        std::fs::write(&path, bytes)?;
        let file = std::fs::File::options().write(true).open(&path)?;
        // Old enough for a strong entity tag.
        file.set_modified(SystemTime::now() - Duration::from_secs(3600))
    };
    if let Err(e) = make() {
        eprintln!("{}: {e}", folder.display());
    }
    Dir::with(&folder, Options::new().prefix("/static"))
}

/// A reply that counts its own chunks.
struct Counting {
    next: usize,
    end: usize,
}

/// Writes until all is written, or until the client must read first.
fn count_on(cx: &mut Cx<'_>) {
    let Some(counting) = cx.state.counting.get_mut(cx.conn) else { return };
    while counting.next < counting.end {
        let sent = cx.net.write(cx.conn, format!("chunk {}\n", counting.next).as_bytes());
        counting.next += 1;
        match sent {
            Sent::Queued => {}
            Sent::High => return,
            Sent::Full | Sent::Gone | Sent::Invalid => break,
        }
    }
    cx.net.finish(cx.conn, &[]);
    cx.state.counting.remove(cx.conn);
}

fn send_events(cx: &mut Cx<'_>) {
    cx.net.start_events(cx.conn);
    for i in 0..5 {
        let (id, data) = (i.to_string(), format!("line {i}\nsecond"));
        let mut event = Vec::new();
        if sse::Event::new(&data).event("tick").id(&id).encode(&mut event).is_ok() {
            cx.net.write(cx.conn, &event);
        }
    }
    cx.net.finish(cx.conn, &[]);
}

/// The fields of the request, of one name joined by commas (RFC 9110 §5.3).
fn headers_as_json(request: &http::Request<'_>) -> String {
    let mut fields: BTreeMap<String, Cow<'_, str>> = BTreeMap::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value);
        fields
            .entry(name.to_ascii_lowercase())
            .and_modify(|all| *all = format!("{all}, {value}").into())
            .or_insert(value);
    }
    let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{}:{}", json(name), json(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn json(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

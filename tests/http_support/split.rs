//! One stream of bytes, cut in two ways, through two connections of one manager: the fuzz target `http_conn` uses it too.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use vansire::http::{Body, Response};
use vansire::net::Scheme;
use vansire::{ConnId, ConnMap, Ctx, Event, Limits, Manager, ManualClock};

/// What a stream led to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What the handler was told, pieces of a body put together.
    pub(crate) events: Vec<String>,
    /// What the client got, but for `100 Continue`, which is sent only where the body lets wait for itself, and for the
    /// date: an unfinished head that is cut may be found bad only when its time is over.
    pub(crate) output: String,
}

/// How the client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It says that nothing more will come.
    Shut,
    /// It says nothing more.
    Silence,
}

/// Small limits, so that short streams reach them.
pub(crate) fn limits() -> Limits {
    Limits::new().head_max(300).headers_max(6).target_max(60).body_max(100).requests_max(Some(20)).turn_messages(3)
}

/// Sends the stream in these pieces and answers what came of it.
pub(crate) fn run<'b>(pieces: impl Iterator<Item = &'b [u8]>, end: End) -> Outcome {
    let clock = ManualClock::new();
    let mut manager = Manager::builder().limits(limits()).clock(clock.clone()).build(Log::default()).unwrap();
    let (ours, mut client) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let conn = manager.net().adopt(Scheme::Http, ours, handler).unwrap();
    let mut output = Vec::new();
    for piece in pieces {
        let mut rest = piece;
        while !rest.is_empty() {
            match client.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => settle(&mut manager, &mut client, &mut output),
                // The server has had enough.
                Err(_) => break,
            }
        }
        settle(&mut manager, &mut client, &mut output);
    }
    if end == End::Shut {
        // It fails where the server is gone already.
        let _ = client.shutdown(Shutdown::Write);
    }
    // Longer than all deadlines together.
    for _ in 0..40 {
        settle(&mut manager, &mut client, &mut output);
        clock.advance(Duration::from_secs(5));
    }
    assert!(!manager.net().is_open(conn), "it never ends: {:?}", manager.state().events);
    let mut output = String::from_utf8_lossy(&output).replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    while let Some(at) = output.find("Date: Sat, 01 Jan 2000") {
        let len = output[at..].find('\n').map_or(output.len() - at, |end| end + 1);
        output.replace_range(at..at + len, "");
    }
    Outcome { events: std::mem::take(&mut manager.state_mut().events), output }
}

/// Turns the loop until nothing moves, and takes what comes.
fn settle(manager: &mut Manager<Log>, client: &mut UnixStream, output: &mut Vec<u8>) {
    loop {
        let turn = manager.poll(Some(Duration::ZERO)).unwrap();
        let before = output.len();
        match client.read_to_end(output) {
            Ok(_) => {}
            Err(e) => assert!(matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset), "{e}"),
        }
        if turn.events == 0 && !turn.more && output.len() == before {
            return;
        }
    }
}

#[derive(Default)]
struct Log {
    events: Vec<String>,
    /// What was chosen for the request in progress.
    ways: ConnMap<Way>,
}

/// What the handler does with a request: its path says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Echo,
    Stream,
    Pause,
    Defer,
    Chunked,
    Close,
    Early,
    Never,
    Bounded,
}

impl Way {
    fn of(path: &str) -> Self {
        match path.as_bytes().get(1) {
            Some(b's') => Self::Stream,
            Some(b'p') => Self::Pause,
            Some(b'd') => Self::Defer,
            Some(b'c') => Self::Chunked,
            Some(b'x') => Self::Close,
            Some(b'e') => Self::Early,
            Some(b'n') => Self::Never,
            Some(b'm') => Self::Bounded,
            _ => Self::Echo,
        }
    }
}

fn handler(cx: &mut Ctx<'_, Log>, ev: Event<'_>) {
    match ev {
        Event::HttpHead(request) => {
            cx.state.events.push(format!("head {} {}", request.method(), request.target()));
            let way = Way::of(request.raw_path());
            cx.state.ways.insert(cx.conn, way);
            match way {
                Way::Stream => cx.body(Body::Stream),
                Way::Bounded => cx.body(Body::CollectUpTo(3)),
                Way::Pause => {
                    cx.body(Body::Stream);
                    pause(cx);
                }
                // With a body on its way the connection would close, else not: a legal difference.
                Way::Early if request.body_len() == vansire::http::BodyLen::None => {
                    cx.reply(Response::text(403, "early"));
                }
                Way::Defer => drop(cx.defer()),
                Way::Early | Way::Echo | Way::Chunked | Way::Close | Way::Never => {}
            }
        }
        Event::HttpBody(piece) => {
            // A byte is a character here: a piece may begin or end within one of UTF-8.
            let text: String = piece.iter().copied().map(char::from).collect();
            match cx.state.events.last_mut() {
                Some(last) if last.starts_with("body ") => last.push_str(&text),
                _ => cx.state.events.push(format!("body {text}")),
            }
            if cx.state.ways.get(cx.conn) == Some(&Way::Pause) {
                pause(cx);
            }
        }
        Event::HttpRequest(request) => {
            let text = format!("request {} {}", request.target(), String::from_utf8_lossy(request.body()));
            answer(cx, &text);
            cx.state.events.push(text);
        }
        Event::Closed(reason) => cx.state.events.push(format!("closed: {reason}")),
        _ => {}
    }
}

fn answer(cx: &mut Ctx<'_, Log>, text: &str) {
    match cx.state.ways.get(cx.conn) {
        Some(Way::Never) => {}
        Some(Way::Close) => {
            cx.reply(Response::text(200, text).close());
        }
        Some(Way::Chunked) => {
            cx.net.start(cx.conn, Response::new(200));
            cx.net.write(cx.conn, text.as_bytes());
            cx.net.write(cx.conn, b"more");
            cx.net.finish(cx.conn, &[("X-End", "yes")]);
        }
        Some(Way::Defer) => {
            let Some(promise) = cx.defer() else { return };
            let text = text.to_owned();
            cx.timer_after(Duration::ZERO, move |cx| {
                cx.net.reply(promise, Response::text(200, &text));
            });
        }
        Some(Way::Echo | Way::Stream | Way::Pause | Way::Early | Way::Bounded) | None => {
            cx.reply(Response::text(200, text));
        }
    }
}

fn pause(cx: &mut Ctx<'_, Log>) {
    let conn: ConnId = cx.conn;
    cx.net.pause_read(conn);
    cx.timer_after(Duration::ZERO, move |cx| cx.net.resume_read(conn));
}

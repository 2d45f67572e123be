//! The server: what `vansire run` does.

use std::cell::Cell;
use std::io::{self, Write};
use std::process;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::access::{self, Entry};
use super::config::{Config, Level};
use super::files;
use super::pages::{self, Connection, Connections, Health, Listener, Status};
use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Event, Sent};
use crate::files::Dir;
use crate::id::ConnMap;
use crate::manager::{ConnKind, Ctx, Manager};
use crate::proto::http::{Request, Response, Version};

/// What the handlers share.
struct Site {
    root: Option<Dir>,
    level: Level,
    access: access::Format,
    log: Log,
    line: String,
    started: Instant,
    /// When the head of the request in progress came.
    began: ConnMap<Instant>,
}

/// Serves until SIGINT or SIGTERM, then ends gracefully.
pub(super) fn serve(config: &Config) -> Result<()> {
    let root = config.http.root.as_deref().map(|folder| files::open(folder, &config.http.index)).transpose()?;
    let site = Site {
        root,
        level: config.log.level,
        access: config.log.access,
        log: Log::start()?,
        line: String::new(),
        started: Instant::now(),
        began: ConnMap::new(),
    };
    let limits = config.limits().drain_timeout(config.shutdown_timeout);
    let mut manager = Manager::builder().limits(limits).build(site)?;
    manager.on_panic(|site, panic| {
        site.note(Level::Error, || format!("a handler panicked on {}: {}", panic.event, panic.message()));
    });
    for url in &config.http.listen {
        manager.net().listen(url.as_str(), handle)?;
    }
    let listeners = manager.net().connections();
    for listener in listeners.iter().filter_map(Listener::of) {
        manager
            .state()
            .note(Level::Info, || format!("listening on {} - reachable from: {}", listener.url, listener.reach));
    }
    let result = manager.run();
    let stats = manager.stats();
    manager
        .state()
        .note(Level::Info, || format!("stopped: {} requests on {} connections", stats.http_requests, stats.accepted));
    result
}

fn handle(cx: &mut Ctx<'_, Site>, event: Event<'_>) {
    match event {
        Event::HttpHead(_) => {
            cx.state.began.insert(cx.conn, cx.now);
        }
        Event::HttpRequest(request) => answer(cx, request),
        Event::Closed(reason) => {
            cx.state.began.remove(cx.conn);
            if let CloseReason::Protocol(why) = reason {
                let conn = cx.conn;
                cx.state.note(Level::Debug, || format!("connection {conn}: {why}"));
            }
        }
        _ => {}
    }
}

fn answer(cx: &mut Ctx<'_, Site>, request: &Request<'_>) {
    let is_read = matches!(request.method(), "GET" | "HEAD");
    let Ok(path) = request.path() else {
        return reply(cx, request, Response::text(400, "The path cannot be decoded.\n"));
    };
    match &*path {
        "/healthz" | "/api/v1/status" | "/api/v1/connections" if !is_read => {
            reply(cx, request, Response::text(405, "Only GET and HEAD.\n").header("Allow", "GET, HEAD"));
        }
        "/healthz" => json(cx, request, pages::to_json(&Health::OK)),
        "/api/v1/status" => {
            let status = status(cx);
            json(cx, request, pages::to_json(&status));
        }
        "/api/v1/connections" => {
            let connections = cx.net.connections().iter().map(Connection::from).collect();
            json(cx, request, pages::to_json(&Connections { connections }));
        }
        path => match cx.state.root.clone() {
            Some(root) => {
                let served = root.serve(cx, request);
                if served.status >= 500 {
                    let target = request.target().escape_default();
                    cx.state.note(Level::Warn, || format!("{target}: the system failed to read it"));
                }
                told(cx, request, served.status, served.len, served.sent);
            }
            None if path == "/" && is_read => {
                let page = pages::welcome();
                let policy = pages::WELCOME_POLICY;
                reply(cx, request, Response::html(200, &page).header("Content-Security-Policy", policy));
            }
            None if path == "/" => {
                reply(cx, request, Response::text(405, "Only GET and HEAD.\n").header("Allow", "GET, HEAD"));
            }
            None => reply(cx, request, Response::text(404, "Nothing is here.\n")),
        },
    }
}

fn status(cx: &mut Ctx<'_, Site>) -> Status {
    let stats = cx.net.stats();
    let all = cx.net.connections();
    let listeners: Vec<_> = all.iter().filter_map(Listener::of).collect();
    Status {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: cx.now.saturating_duration_since(cx.state.started).as_secs(),
        pid: process::id(),
        connections: all.iter().filter(|info| info.kind != ConnKind::Listener).count(),
        requests_total: stats.http_requests,
        bytes_in: stats.bytes_in,
        bytes_out: stats.bytes_out,
        listeners,
        turns: stats.into(),
    }
}

fn json(cx: &mut Ctx<'_, Site>, request: &Request<'_>, body: Option<Vec<u8>>) {
    match body {
        Some(body) => reply(cx, request, Response::json(200, &body).header("Cache-Control", "no-store")),
        None => reply(cx, request, Response::text(500, "The answer cannot be written.\n")),
    }
}

/// Answers, and writes the line of the access log.
fn reply(cx: &mut Ctx<'_, Site>, request: &Request<'_>, response: Response<'_>) {
    let (status, bytes) = (response.status(), response.body_len() as u64);
    let bytes = if request.is_head() { 0 } else { bytes };
    let sent = cx.reply(response);
    told(cx, request, status, bytes, sent);
}

/// Writes the line of the access log for a reply.
fn told(cx: &mut Ctx<'_, Site>, request: &Request<'_>, status: u16, bytes: u64, sent: Sent) {
    let Site { access, log, line, began, .. } = cx.state;
    if *access == access::Format::Off || !sent.is_queued() {
        return;
    }
    let now = Instant::now();
    let entry = Entry {
        remote: request.remote_addr(),
        method: request.method().as_bytes(),
        target: request.target().as_bytes(),
        version: if request.version() == Version::Http11 { 1 } else { 0 },
        status,
        bytes,
        duration: began.get(cx.conn).map(|began| now.saturating_duration_since(*began)).unwrap_or_default(),
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    };
    line.clear();
    access::write_line(*access, &entry, line);
    log.access(line);
}

impl Site {
    fn note(&self, level: Level, what: impl FnOnce() -> String) {
        if self.level >= level {
            self.log.note(what());
        }
    }
}

/// Lines to stdout and stderr, written by a thread of their own: a reader that stalls must not stall the loop. Lines that
/// find the queue full are dropped and counted.
struct Log {
    lines: Option<SyncSender<Line>>,
    /// Says that the thread has ended.
    ended: Receiver<()>,
    dropped: Cell<u64>,
}

enum Line {
    /// Of the access log, as it is.
    Access(String),
    Note(String),
}

/// Lines that may wait.
const LINES_MAX: usize = 4096;

impl Log {
    fn start() -> Result<Self> {
        let (lines, queue) = sync_channel(LINES_MAX);
        let (end, ended) = sync_channel(1);
        let write = move || {
            let mut out = io::BufWriter::new(io::stdout());
            let mut write = |line| match line {
                // Nobody is left to tell that stdout is gone.
                Line::Access(line) => drop(out.write_all(line.as_bytes()).and_then(|()| out.flush())),
                Line::Note(line) => super::note(&line),
            };
            for line in queue {
                write(line);
            }
            let _ = end.send(());
        };
        let thread = thread::Builder::new().name("vansire-log".into()).spawn(write);
        thread.map_err(|e| Error::with_source(Kind::Io, "cannot start the log's thread", e))?;
        Ok(Self { lines: Some(lines), ended, dropped: Cell::new(0) })
    }

    fn access(&self, line: &str) {
        self.write(Line::Access(line.to_owned()));
    }

    fn note(&self, line: String) {
        self.write(Line::Note(line));
    }

    fn write(&self, line: Line) {
        let Some(lines) = &self.lines else { return };
        match lines.try_send(line) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => self.dropped.set(self.dropped.get() + 1),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let dropped = self.dropped.get();
        if dropped > 0 {
            self.note(format!("{dropped} lines of the log were dropped: nobody read them in time"));
        }
        // The thread ends with the queue, once what waits is written. A reader that stalls does not keep us here.
        self.lines = None;
        let _ = self.ended.recv_timeout(Duration::from_secs(1));
    }
}

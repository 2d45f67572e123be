//! The server: what `vansire run` does.

use std::process;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::access::{self, Entry, Format};
use super::api::{self, Refusal, Reply, Token};
use super::clock::{self, Keeper, Kept, Machine};
use super::config::{Api, Config, Level, items};
use super::counted;
use super::folders::Folders;
use super::hangup::Hangup;
use super::log::Log;
use super::mdns;
use super::mqtt;
use super::pages::{self, Health, Listener, Status};
use super::reach::Reach;
use super::redirect::Redirects;
use super::time_notes::{self, ANSWER_WITHIN, Notes};
use crate::broker::Broker;
use crate::broker::access::FileAccess;
use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Deadline, Event, Sent};
use crate::files::Dir;
use crate::id::{ConnId, ConnMap};
use crate::manager::sntp::SyncOptions;
use crate::manager::{ConnInfo, Ctx, Manager, Stall, StallWatch};
use crate::options::ListenOptions;
use crate::proto::dns::mdns::Service;
use crate::proto::http::{BodyLen, Request, Response, Version};

/// What the handlers share.
pub(super) struct Site {
    folders: Folders,
    redirects: Redirects,
    pub(super) api: Api,
    pub(super) token: Option<Token>,
    pub(super) broker: Broker,
    level: Level,
    log: Rc<Log>,
    line: String,
    started: Instant,
    /// With the schemes of their URLs.
    listeners: Vec<(ConnId, &'static str)>,
    asked: ConnMap<Asked>,
}

/// A request whose head came, and that is not answered.
struct Asked {
    began: Instant,
    /// Kept where a body has to come first: it may be refused, and then nobody else knows what was asked.
    request: Option<Box<Line>>,
}

/// A request line, and what the log tells besides.
struct Line {
    method: String,
    target: String,
    version: u8,
    referer: Vec<u8>,
    user_agent: Vec<u8>,
}

/// Serves until SIGINT or SIGTERM, then ends gracefully.
pub(super) fn serve(config: &Config) -> Result<()> {
    let not_watched = |e| Error::io("cannot watch for SIGHUP", e);
    let mut hangup = Hangup::catch().map_err(not_watched)?;
    let folders = Folders::open(&config.http.folders).map_err(|why| Error::new(Kind::Io, why))?;
    let token = match &config.http.api_token_file {
        path if path.as_os_str().is_empty() => None,
        path => Some(api::read_token(path).map_err(|why| Error::new(Kind::Io, why))?),
    };
    let who = mqtt::access(&config.mqtt)?;
    let log = Rc::new(Log::start(&config.log.access_to, config.log.level)?);
    let site = Site {
        folders,
        redirects: Redirects::new(&config.http.redirects),
        api: config.http.api,
        token,
        broker: mqtt::broker(&config.mqtt, &who, config.log.level, Rc::clone(&log)),
        level: config.log.level,
        log,
        line: String::new(),
        started: Instant::now(),
        listeners: Vec::new(),
        asked: ConnMap::new(),
    };
    let builder = Manager::builder().limits(config.limits).resolver(mdns::resolver(&config.mdns)?);
    let mut manager = builder.mdns(mdns::options(&config.mdns)).build(site)?;
    manager.on_panic(|site, panic| {
        site.note(Level::Error, || format!("a handler panicked on {}: {}", panic.event, panic.message()));
    });
    if !config.log.stall_after.is_zero() {
        let level = config.log.level;
        let warn = move |stall: &Stall| {
            // Not by way of the log's thread: that one has lines of the loop to write, and ends with the loop.
            if level >= Level::Warn {
                super::note(&stall.to_string());
            }
        };
        manager.watch_stalls(StallWatch::new().threshold(config.log.stall_after).on_stall(warn))?;
    }
    for listen in &config.http.listen {
        let access = listen.access.unwrap_or(config.log.access);
        let mut options = ListenOptions::new(&listen.url);
        if let Some(mode) = listen.mode {
            options = options.unix_mode(mode);
        }
        let handler = move |cx: &mut Ctx<'_, Site>, event: Event<'_>| handle(cx, event, access);
        let id = manager.net().listen(options, handler)?;
        listens(&mut manager, id, "http", "");
    }
    let broker = manager.state().broker.clone();
    for listen in &config.mqtt.listen {
        let mut options = ListenOptions::new(&listen.url);
        if let Some(mode) = listen.mode {
            options = options.unix_mode(mode);
        }
        let id = broker.listen(&mut manager.net(), options)?;
        let only_here = if mqtt::is_for_here(&config.mqtt) { "; clients on this machine only may connect" } else { "" };
        let (answers, waker) = (who.answers(), manager.waker());
        answers.on_ready(move || drop(waker.wakeup(id, b"")));
        listens(&mut manager, id, "mqtt", only_here);
    }
    if !config.time.servers.is_empty() {
        let servers = config.time.servers.iter().map(|server| items::time_server_url(server));
        let options = SyncOptions::new(servers).every(config.time.interval).floor(config.time.interval.min(FLOOR));
        manager.net().sync_time(options)?;
        manager.net().timer_after(ANSWER_WITHIN, |cx| time_notes::tell_silent(cx.state, &cx.net));
    }
    if config.time.set_system_clock {
        keep_system_clock(&mut manager)?;
    }
    for url in &config.time.serve {
        let id = manager.net().sntp_listen(url, |_: &mut Ctx<'_, Site>, _: Event<'_>| {})?;
        listens(&mut manager, id, "sntp", "");
    }
    // Any listener will do to wake us.
    let (waker, first) = (manager.waker(), manager.state().listeners.first().map(|(id, _)| *id));
    let wake = move || drop(first.map(|id| waker.wakeup(id, b"")));
    hangup.wake_by(wake).map_err(not_watched)?;
    let answers = who.answers();
    let has_files = !config.mqtt.listen.is_empty() && mqtt::has_files(&config.mqtt);
    let mut notes = Notes::default();
    manager.on_turn(move |site, net| {
        notes.tell(site, net);
        if hangup.take() {
            read_again(site, has_files.then_some(&who));
        }
        // Passwords that take long to check are checked elsewhere.
        while let Some((token, answer)) = answers.next() {
            broker.answer(net, token, answer);
        }
    });
    // Whoever reads that it listens may stop it.
    let _watching = manager.watch_signals()?;
    announce(&mut manager, config)?;
    let result = manager.run_and_tell();
    let (stats, site) = (manager.stats(), manager.state());
    if let Some(gone) = mqtt::in_memory(&site.broker.stats()) {
        site.note(Level::Info, || format!("in memory, and gone with it: {gone}"));
    }
    let cut_off = result.as_ref().map_or(0, |stopped| stopped.aborted);
    site.note(if cut_off > 0 { Level::Warn } else { Level::Info }, || {
        let (requests, connections) =
            (counted(stats.http_requests, "HTTP request"), counted(stats.accepted, "connection"));
        let but = match cut_off {
            0 => String::new(),
            _ => format!("; {} cut off before the end", counted(cut_off as u64, "connection")),
        };
        format!("stopped: {requests}, {connections}{but}")
    });
    result.map(drop)
}

/// What SIGHUP asks for.
fn read_again(site: &Site, who: Option<&FileAccess>) {
    let is_opened = site.log.reopen();
    match who.map(FileAccess::reload) {
        Some(Ok(())) => site.note(Level::Info, || "mqtt: users and rules are read again".into()),
        Some(Err(error)) => site.note(Level::Error, || format!("mqtt: {error}; users and rules stay as they were")),
        None if is_opened => {}
        None => site.note(Level::Info, || {
            "SIGHUP: there is nothing to read again: no access log in a file, no users, no rules".into()
        }),
    }
}

/// Sets the machine's clock by the program's, once that is right.
fn keep_system_clock(manager: &mut Manager<Site>) -> Result<()> {
    let mut keeper = Keeper::new(Machine)?;
    manager.net().timer_every(clock::EVERY, move |cx| {
        if cx.net.time_sync().is_none_or(|sync| sync.status(&cx.net).synchronised.is_none()) {
            return;
        }
        match keeper.keep(cx.net.wall_clock()) {
            Kept::Alone => {}
            Kept::Set(off) => cx.state.note(Level::Info, || format!("the system's clock was off by {off}, and is set")),
            Kept::Failed(e) => cx.state.note(Level::Error, || format!("the system's clock cannot be set: {e}")),
        }
    });
    Ok(())
}

/// Tells the local network of the listeners that it reaches.
fn announce(manager: &mut Manager<Site>, config: &Config) -> Result<()> {
    let mut told: Vec<Service> = Vec::new();
    for (id, scheme) in manager.state().listeners.clone() {
        let Some(local) = manager.net().info(id).and_then(|info| info.local) else { continue };
        let service = local.port().and_then(|port| mdns::service(config, scheme, Reach::of(&local), port));
        // One port may be listened on for IPv4 and for IPv6.
        let Some(service) = service.filter(|service| !told.contains(service)) else { continue };
        manager.net().mdns_announce(service.clone())?;
        let (name, kind, port) = (service.name(), service.kind(), service.port());
        manager.state().note(Level::Info, || format!("announcing {name:?} ({kind}, port {port}) on the local network"));
        told.push(service);
    }
    Ok(())
}

/// Says that somebody listens, and who can reach it; `but` is added where not all of those are served.
fn listens(manager: &mut Manager<Site>, id: ConnId, scheme: &'static str, but: &str) {
    let info = manager.net().info(id);
    let site = manager.state_mut();
    site.listeners.push((id, scheme));
    let Some((info, listener)) = info.and_then(|info| Listener::of(&info, scheme).map(|listener| (info, listener)))
    else {
        return;
    };
    let but = if info.local.is_some_and(|local| Reach::of(&local).is_from_outside()) { but } else { "" };
    site.note(Level::Info, || format!("listening on {} - reachable from: {}{but}", listener.url, listener.reach));
}

fn handle(cx: &mut Ctx<'_, Site>, event: Event<'_>, access: Format) {
    match event {
        Event::HttpHead(request) => {
            let has_body = request.body_len() != BodyLen::None;
            let line = (access != Format::Off && has_body).then(|| Box::new(Line::of(request)));
            cx.state.asked.insert(cx.conn, Asked { began: cx.now, request: line });
        }
        Event::HttpRequest(request) => answer(cx, request, access),
        Event::Closed(reason) => closed(cx, &reason, access),
        _ => {}
    }
}

/// Logs what was refused or given up before it could be answered.
fn closed(cx: &mut Ctx<'_, Site>, reason: &CloseReason, access: Format) {
    let asked = cx.state.asked.remove(cx.conn);
    let conn = cx.conn;
    if let CloseReason::Refused { .. } | CloseReason::Protocol(_) = reason {
        cx.state.note(Level::Debug, || format!("connection {conn}: {reason}"));
    }
    let status = match reason {
        CloseReason::Refused { status, .. } => *status,
        // These were answered 408: a head that had begun, a body that came too slowly.
        CloseReason::TimedOut(Deadline::Head) if cx.net.info(conn).is_some_and(|info| info.bytes_in > 0) => 408,
        CloseReason::TimedOut(Deadline::Rate) if asked.is_some() => 408,
        _ => return,
    };
    let remote = cx.net.remote_addr(conn);
    let began = asked.as_ref().map(|asked| asked.began);
    let line = asked.and_then(|asked| asked.request);
    let line = line.as_deref();
    let entry = Entry {
        remote,
        method: line.map_or(b"", |line| line.method.as_bytes()),
        target: line.map_or(b"", |line| line.target.as_bytes()),
        version: line.map_or(1, |line| line.version),
        referer: line.map_or(b"", |line| &line.referer),
        user_agent: line.map_or(b"", |line| &line.user_agent),
        status,
        bytes: 0,
        duration: began.map(|began| cx.now.saturating_duration_since(began)).unwrap_or_default(),
        unix_time: unix_time(),
    };
    cx.state.write(access, &entry);
}

fn answer(cx: &mut Ctx<'_, Site>, request: &Request<'_>, access: Format) {
    let is_read = matches!(request.method(), "GET" | "HEAD");
    let Ok(path) = request.path() else {
        return reply(cx, request, Response::text(400, "The path cannot be decoded.\n"), access);
    };
    match &*path {
        "/healthz" if !is_read => read_only(cx, request, access),
        "/healthz" => json(cx, request, pages::to_json(&Health::OK), access),
        path if path.starts_with("/api/v1/") => match api::answer(cx, request, path) {
            Reply::Json(body) => json(cx, request, body, access),
            Reply::Done => reply(cx, request, Response::new(204), access),
            Reply::Refused(refusal) => refused(cx, request, &refusal, access),
        },
        path => match cx.state.redirects.find(request.raw_path(), request.query_string()) {
            Some((status, place)) => redirect(cx, request, status, &place, access),
            None => content(cx, request, path, access),
        },
    }
}

/// Files, or the welcome page where there are none.
fn content(cx: &mut Ctx<'_, Site>, request: &Request<'_>, path: &str, access: Format) {
    match cx.state.folders.find(request) {
        Some(folder) => file(cx, request, &folder, access),
        None if cx.state.folders.is_empty() && path == "/" => {
            if !matches!(request.method(), "GET" | "HEAD") {
                return read_only(cx, request, access);
            }
            let page = pages::welcome();
            let policy = pages::WELCOME_POLICY;
            reply(cx, request, Response::html(200, &page).header("Content-Security-Policy", policy), access);
        }
        None => nothing(cx, request, access),
    }
}

fn refused(cx: &mut Ctx<'_, Site>, request: &Request<'_>, refusal: &Refusal, access: Format) {
    let body = refusal.body().unwrap_or_default();
    let mut response = Response::json(refusal.status, &body);
    if !refusal.allow.is_empty() {
        response = response.header("Allow", refusal.allow);
    }
    if refusal.status == 401 {
        response = response.header("WWW-Authenticate", "Bearer");
    }
    reply(cx, request, response, access);
}

fn nothing(cx: &mut Ctx<'_, Site>, request: &Request<'_>, access: Format) {
    reply(cx, request, Response::text(404, "Nothing is here.\n"), access);
}

fn read_only(cx: &mut Ctx<'_, Site>, request: &Request<'_>, access: Format) {
    reply(cx, request, Response::text(405, "Only GET and HEAD.\n").header("Allow", "GET, HEAD"), access);
}

fn redirect(cx: &mut Ctx<'_, Site>, request: &Request<'_>, status: u16, place: &str, access: Format) {
    reply(cx, request, Response::text(status, "It is elsewhere.\n").header("Location", place), access);
}

/// How the program is doing.
pub(super) fn status(cx: &Ctx<'_, Site>) -> Status {
    let stats = cx.net.stats();
    let listener = |(id, scheme): &(ConnId, &str)| Listener::of(&cx.net.info(*id)?, scheme);
    let listeners: Vec<Listener> = cx.state.listeners.iter().filter_map(listener).collect();
    Status {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: cx.now.saturating_duration_since(cx.state.started).as_secs(),
        pid: process::id(),
        connections: cx.net.connection_count().saturating_sub(listeners.len()),
        requests_total: stats.http_requests,
        bytes_in: stats.bytes_in,
        bytes_out: stats.bytes_out,
        log_lines_dropped_total: cx.state.log.dropped(),
        listeners,
        mqtt: cx.state.broker.stats().into(),
        turns: stats.into(),
    }
}

fn json(cx: &mut Ctx<'_, Site>, request: &Request<'_>, body: Option<Vec<u8>>, access: Format) {
    let response = match &body {
        Some(body) => Response::json(200, body).header("Cache-Control", "no-store"),
        None => Response::text(500, "The answer cannot be written.\n"),
    };
    reply(cx, request, response, access);
}

fn file(cx: &mut Ctx<'_, Site>, request: &Request<'_>, folder: &Dir, access: Format) {
    let served = folder.serve(cx, request);
    if served.status >= 500 {
        cx.state.note(Level::Warn, || format!("{}: it cannot be read", request.target().escape_default()));
    }
    told(cx, request, served.status, served.len, served.sent, access);
}

/// Answers, and writes the line of the access log.
fn reply(cx: &mut Ctx<'_, Site>, request: &Request<'_>, response: Response<'_>, access: Format) {
    let bytes = if request.is_head() { 0 } else { response.body_len() as u64 };
    let status = response.status();
    let sent = cx.reply(response);
    told(cx, request, status, bytes, sent, access);
}

/// Writes the line of the access log for a reply.
fn told(cx: &mut Ctx<'_, Site>, request: &Request<'_>, status: u16, bytes: u64, sent: Sent, access: Format) {
    let asked = cx.state.asked.remove(cx.conn);
    if access == Format::Off || !sent.is_queued() {
        return;
    }
    let entry = Entry {
        remote: request.remote_addr(),
        method: request.method().as_bytes(),
        target: request.target().as_bytes(),
        version: minor_version(request),
        referer: request.header_bytes("referer").unwrap_or_default(),
        user_agent: request.header_bytes("user-agent").unwrap_or_default(),
        status,
        bytes,
        duration: asked.map(|asked| asked.began.elapsed()).unwrap_or_default(),
        unix_time: unix_time(),
    };
    cx.state.write(access, &entry);
}

fn minor_version(request: &Request<'_>) -> u8 {
    if request.version() == Version::Http11 { 1 } else { 0 }
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Time servers of others are not asked more often, unless their user says so.
const FLOOR: Duration = Duration::from_secs(64);

impl Line {
    fn of(request: &Request<'_>) -> Self {
        Self {
            method: request.method().into(),
            target: request.target().into(),
            version: minor_version(request),
            referer: request.header_bytes("referer").unwrap_or_default().into(),
            user_agent: request.header_bytes("user-agent").unwrap_or_default().into(),
        }
    }
}

impl Site {
    /// What is spoken on a connection: the broker reads bare bytes.
    pub(super) fn protocol(&self, info: &ConnInfo) -> &'static str {
        let mut listeners = self.listeners.iter();
        let found = listeners.find(|(id, _)| *id == info.id || Some(*id) == info.listener);
        found.map_or(info.protocol, |(_, scheme)| scheme)
    }

    fn write(&mut self, access: Format, entry: &Entry<'_>) {
        self.line.clear();
        access::write_line(access, entry, &mut self.line);
        if !self.line.is_empty() {
            self.log.access(&self.line);
        }
    }

    pub(super) fn note(&self, level: Level, what: impl FnOnce() -> String) {
        if self.level >= level {
            self.log.note(what());
        }
    }
}

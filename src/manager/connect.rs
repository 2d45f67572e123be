//! Outbound connections: the name, then every address within one deadline, then the stream.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

#[cfg(any(feature = "http", feature = "mqtt"))]
use crate::error::Kind;
use crate::error::{Error, Result};
use crate::event::{CloseReason, Event};
use crate::id::{ConnId, Key};
use crate::net::{Happy, Step, Stream, Target, Transport, Udp, Url, connect_error, order, resolve_error};
use crate::options::ConnectOptions;
use crate::reactor::{Token, Watch};
use crate::time::Moment;

use super::conn::{Conn, Datagrams, Due, Flags, Io, Proto, Speaks};
use super::core::{Core, Notice};
use super::dispatch;
use super::handlers::Handler;
#[cfg(feature = "http")]
use super::http::{ClientConn, Origin};
use super::names::Wanted;
use super::net::Net;
use super::udp::Outgoing;

/// A connection that is not established yet.
pub(crate) struct Connecting {
    url: Url,
    options: ConnectOptions,
    deadline: Moment,
    stage: Stage,
    /// Datagrams that wait for the socket, where it is to be one of UDP.
    pub(crate) outgoing: Outgoing,
}

impl Connecting {
    pub(crate) fn is_udp(&self) -> bool {
        self.url.transport() == Transport::Udp
    }
}

enum Stage {
    /// It will start in this turn or the next.
    New,
    /// The name is being looked up, at most until then.
    Resolving(u64, Moment),
    Racing {
        race: Happy,
        attempts: Vec<Key>,
        /// The lookup that goes on: more addresses may come.
        more: Option<u64>,
    },
}

/// One address that is being tried.
pub(crate) struct Attempt {
    conn: Key,
    stream: Stream,
    addr: SocketAddr,
}

impl<S> Net<'_, S> {
    /// Connects to a URL; the handler is told of everything from `Opened` on. With `http://` it is an HTTP client's:
    /// [`http_connect`](Self::http_connect).
    ///
    /// Returns at once. Names are looked up as the manager's [`Resolver`](crate::Resolver) says, every address is tried
    /// (RFC 8305), and all of it has one deadline (`ConnectOptions::timeout`). What fails later comes as
    /// `Closed(CloseReason::Connect(..))` or `TimedOut(Deadline::Connect)`. Bytes sent before `Connected` wait for it.
    pub fn connect(
        &mut self,
        options: impl Into<ConnectOptions>,
        handler: impl Handler<S> + 'static,
    ) -> Result<ConnId> {
        self.core.connect(options.into(), Box::new(handler))
    }
}

impl<S> Core<S> {
    pub(crate) fn connect(
        &mut self,
        options: ConnectOptions,
        handler: super::handlers::BoxHandler<S>,
    ) -> Result<ConnId> {
        let url = Url::parse(options.url.as_str())?;
        let speaks = if options.raw { Ok(Speaks::Raw) } else { super::net::speaks(url.scheme()) };
        let (proto, url) = match speaks {
            #[cfg(feature = "mqtt")]
            _ if !options.raw && url.scheme() == crate::net::Scheme::Mqtt => {
                let what =
                    "what it says of itself is missing: use mqtt_connect, or ConnectOptions::raw for the bare bytes";
                return Err(Error::new(Kind::Unsupported, format!("cannot connect to {url}: {what}")));
            }
            #[cfg(feature = "sntp")]
            Ok(speaks @ Speaks::Sntp) => (speaks.start(), url),
            #[cfg(feature = "http")]
            Ok(Speaks::Raw) if options.proxy.is_some() => {
                let what = "only HTTP goes through a proxy";
                return Err(Error::new(Kind::Unsupported, format!("cannot connect to {url}: {what}")));
            }
            Ok(Speaks::Raw) => (Speaks::Raw.start(), url),
            #[cfg(feature = "http")]
            Ok(Speaks::Http) => {
                let (origin, dial) = Origin::new(&url, &options)?;
                (Proto::Client(Box::new(ClientConn::new(origin))), dial)
            }
            Err(e) => return Err(Error::with_source(e.kind(), format!("cannot connect to {url}"), e.to_string())),
        };
        self.connect_as(proto, url, options, handler)
    }

    /// Begins a connection on which this protocol is spoken.
    pub(crate) fn connect_as(
        &mut self,
        proto: Proto,
        url: Url,
        options: ConnectOptions,
        handler: super::handlers::BoxHandler<S>,
    ) -> Result<ConnId> {
        self.check_room(options.url.as_str())?;
        url.connect_target()?;
        self.reach_out();
        let limits = options.limits.map_or_else(|| Rc::clone(&self.limits), |limits| Rc::new(limits.in_order()));
        let now = self.clock.now();
        let deadline = now.after(options.timeout.unwrap_or(limits.connect_timeout));
        let connecting = Connecting { url, options, deadline, stage: Stage::New, outgoing: Outgoing::default() };
        let handler = self.handlers.add(handler);
        let io = Io::Connecting(Box::new(connecting));
        let mut conn = Conn::new(io, proto, handler, limits, now);
        conn.flags.set(Flags::OUTBOUND);
        let key = self.insert(conn);
        self.set_due(key, Due::Connect, deadline);
        self.notify(key, Notice::Start);
        #[cfg(feature = "http")]
        self.ask_for_tunnel(key);
        Ok(ConnId(key))
    }

    /// Has a connection leave its peer for another.
    #[cfg(any(feature = "http", feature = "mqtt"))]
    pub(crate) fn redial(&mut self, key: Key, url: Url, options: ConnectOptions) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else { return };
        let deadline = now.after(options.timeout.unwrap_or(conn.limits.connect_timeout));
        let connecting = Connecting { url, options, deadline, stage: Stage::New, outgoing: Outgoing::default() };
        conn.io = Io::Connecting(Box::new(connecting));
        self.set_due(key, Due::Connect, deadline);
        self.notify(key, Notice::Start);
        #[cfg(feature = "http")]
        self.ask_for_tunnel(key);
    }

    fn connecting(&mut self, key: Key) -> Option<&mut Connecting> {
        let conn = self.conns.get_mut(key).filter(|conn| !conn.flags.has(Flags::CLOSING))?;
        match &mut conn.io {
            Io::Connecting(connecting) => Some(connecting),
            Io::Stream(_) | Io::Listener(_) | Io::Udp(_) | Io::None => None,
        }
    }

    /// Looks the name up, or goes straight to the address.
    pub(crate) fn start_connecting(&mut self, state: &mut S, key: Key) {
        // Mail may have come first.
        if self.conns.get(key).is_some_and(|conn| !conn.flags.has(Flags::OPENED)) {
            dispatch::call(state, self, key, Event::Opened);
        }
        let resolve_until = match self.conns.get(key) {
            Some(conn) => self.now.after(conn.limits.resolve_timeout).min(conn.deadline),
            None => return,
        };
        let Some(connecting) = self.connecting(key) else { return };
        let url = connecting.url.clone();
        let udp = connecting.is_udp();
        match url.connect_target() {
            Ok(Target::Inet(addr)) if udp => self.connect_udp(state, key, vec![addr], None),
            Ok(Target::Inet(addr)) => self.race(state, key, vec![addr], None),
            Ok(Target::Name { host, port }) => match self.look_up(host, port, Wanted::Conn(key)) {
                Ok(ticket) => {
                    if let Some(connecting) = self.connecting(key) {
                        connecting.stage = Stage::Resolving(ticket, resolve_until);
                    }
                    self.set_due(key, Due::Connect, resolve_until);
                }
                Err(refused) => {
                    let e = refused.into_error(format_args!("cannot connect to {url}"));
                    self.close(key, CloseReason::Connect(e));
                }
            },
            Ok(Target::Unix(path)) => match self.sockets.connect_path(path) {
                Ok(stream) => self.established(state, key, stream, None, None),
                Err(e) => self.close(key, CloseReason::Connect(connect_error(&url, e))),
            },
            Err(e) => self.close(key, CloseReason::Connect(e)),
        }
    }

    /// A lookup has brought addresses, or its end. `more` is its ticket where others may follow.
    pub(crate) fn resolved(&mut self, state: &mut S, key: Key, result: io::Result<Vec<SocketAddr>>, more: Option<u64>) {
        let Some(connecting) = self.connecting(key) else { return };
        let udp = connecting.is_udp();
        let port = connecting.url.port();
        let addrs = result.map(|addrs| {
            // The resolver of the loop knows no ports.
            let with_port = |mut addr: SocketAddr| {
                if addr.port() == 0 {
                    addr.set_port(port);
                }
                addr
            };
            addrs.into_iter().map(with_port).collect::<Vec<_>>()
        });
        match (addrs, &mut connecting.stage) {
            (Ok(addrs), Stage::Racing { race, more: pending, .. }) => {
                race.add(addrs, more.is_none());
                *pending = more;
                self.go_on_racing(key);
            }
            (Ok(addrs), _) if addrs.is_empty() && more.is_none() => {
                let e = resolve_error(&connecting.url, io::Error::other("the name has no address"));
                self.close(key, CloseReason::Connect(e));
            }
            // No race tells which one answers: the resolver's order counts.
            (Ok(addrs), _) if udp => self.connect_udp(state, key, addrs, more),
            (Ok(addrs), _) => self.race(state, key, order(addrs), more),
            (Err(e), _) => {
                let e = resolve_error(&connecting.url, e);
                self.close(key, CloseReason::Connect(e));
            }
        }
    }

    fn race(&mut self, state: &mut S, key: Key, addrs: Vec<SocketAddr>, more: Option<u64>) {
        let Some(first) = addrs.first().copied() else { return };
        let now = self.instant();
        let Some(connecting) = self.connecting(key) else { return };
        let at = connecting.deadline;
        let deadline = self.clock.instant(at);
        let Some(connecting) = self.connecting(key) else { return };
        let mut race = Happy::new(addrs, now, deadline);
        if more.is_some() {
            race.expect_more();
        }
        connecting.stage = Stage::Racing { race, attempts: Vec::new(), more };
        dispatch::call(state, self, key, Event::Resolved(first.ip()));
        self.go_on_racing(key);
    }

    /// Starts the attempts that are due, and sets the time of the next.
    fn go_on_racing(&mut self, key: Key) {
        let now = self.instant();
        loop {
            let Some(connecting) = self.connecting(key) else { return };
            let Stage::Racing { race, .. } = &mut connecting.stage else { return };
            match race.poll(now) {
                Step::Start(addr) => {
                    let options = connecting.options.clone();
                    let begun = self.begin_attempt(key, addr, &options);
                    let Some(connecting) = self.connecting(key) else { return };
                    let Stage::Racing { race, attempts, .. } = &mut connecting.stage else { return };
                    match begun {
                        Ok(attempt) => attempts.push(attempt),
                        Err(e) => race.handle_failed(addr, e, now),
                    }
                }
                Step::Wait(at) => {
                    let at = self.now.after(at.saturating_duration_since(now));
                    return self.set_due(key, Due::Connect, at);
                }
                Step::Failed(e) => {
                    let reason = if e.kind() == io::ErrorKind::TimedOut && self.is_overdue(key) {
                        CloseReason::TimedOut(crate::event::Deadline::Connect)
                    } else {
                        match self.connecting(key) {
                            Some(connecting) => CloseReason::Connect(connect_error(&connecting.url, e)),
                            None => return,
                        }
                    };
                    return self.close(key, reason);
                }
            }
        }
    }

    /// Begins to connect to one address.
    fn begin_attempt(&mut self, conn: Key, addr: SocketAddr, options: &ConnectOptions) -> io::Result<Key> {
        let stream = self.sockets.connect(addr, options)?;
        let key = self.attempts.insert(Attempt { conn, stream, addr });
        let Some(attempt) = self.attempts.get_mut(key) else { return Ok(key) };
        match self.reactor.register(attempt.stream.source(), Token::Attempt(key.index()), Watch::Both) {
            Ok(()) => Ok(key),
            Err(e) => {
                self.attempts.remove(key);
                Err(e)
            }
        }
    }

    fn is_overdue(&mut self, key: Key) -> bool {
        let now = self.now;
        self.connecting(key).is_some_and(|connecting| connecting.deadline <= now)
    }

    /// The deadline of a connection that is being established: of all of it, of the lookup, or of the next attempt.
    pub(crate) fn connect_overdue(&mut self, key: Key) {
        let now = self.now;
        let Some(connecting) = self.connecting(key) else { return };
        match connecting.stage {
            Stage::Racing { .. } => self.go_on_racing(key),
            Stage::New | Stage::Resolving(..) if connecting.deadline <= now => {
                self.close(key, CloseReason::TimedOut(crate::event::Deadline::Connect));
            }
            Stage::New => {}
            Stage::Resolving(_, until) if until <= now => {
                let e = resolve_error(&connecting.url, io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
                self.close(key, CloseReason::Connect(e));
            }
            Stage::Resolving(_, until) => self.set_due(key, Due::Connect, until),
        }
    }

    /// The system has something to tell of an attempt.
    pub(crate) fn attempt_ready(&mut self, state: &mut S, slot: usize) {
        let Some((attempt_key, attempt)) = self.attempts.at(slot) else { return };
        let key = attempt.conn;
        let addr = attempt.addr;
        match attempt.stream.is_connected() {
            // Readiness may be spurious.
            Ok(false) => {}
            Ok(true) => {
                let Some(attempt) = self.attempts.remove(attempt_key) else { return };
                self.established(state, key, attempt.stream, Some(addr), Some(attempt_key));
            }
            Err(e) => {
                self.attempts.remove(attempt_key);
                let now = self.instant();
                let Some(connecting) = self.connecting(key) else { return };
                if let Stage::Racing { race, attempts, .. } = &mut connecting.stage {
                    attempts.retain(|other| *other != attempt_key);
                    race.handle_failed(addr, e, now);
                }
                self.go_on_racing(key);
            }
        }
    }

    /// The stream stands: gives it to its connection.
    fn established(&mut self, state: &mut S, key: Key, stream: Stream, addr: Option<SocketAddr>, won: Option<Key>) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.flags.has(Flags::CLOSING)) else { return };
        conn.remote = addr.into();
        conn.flags.set(Flags::ESTABLISHED | Flags::WRITABLE | Flags::READABLE);
        if let Io::Connecting(connecting) = std::mem::replace(&mut conn.io, Io::Stream(stream)) {
            self.abandon(*connecting);
        }
        // An attempt is watched already, under its own token: from now on its events are the connection's.
        let token = Token::Conn(key.index());
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.flags.set(Flags::WATCH_BOTH);
        let Io::Stream(stream) = &mut conn.io else { return };
        let watched = match won {
            Some(_) => self.reactor.reregister(stream.source(), token, Watch::Both),
            None => self.reactor.register(stream.source(), token, Watch::Both),
        };
        if let Err(e) = watched {
            return self.close(key, CloseReason::Reset(e.kind()));
        }
        let drained_by = self.now.after(conn.limits.drain_timeout);
        match conn.flags.has(Flags::DRAINING) {
            true => self.set_due(key, Due::Drain, drained_by),
            false => self.set_due(key, Due::Nothing, Moment::NEVER),
        }
        self.stats.connected += 1;
        #[cfg(feature = "mqtt")]
        self.greet_mqtt(key);
        if !self.conns.get(key).is_some_and(Conn::is_tunnelling) {
            dispatch::call(state, self, key, Event::Connected);
        }
        self.settle(key);
        // Bytes may have been queued before, and may have arrived by now.
        self.mark_dirty(key);
        self.make_ready(key);
    }

    /// Connects to the first of the addresses to which there is a way.
    fn connect_udp(&mut self, state: &mut S, key: Key, addrs: Vec<SocketAddr>, more: Option<u64>) {
        let Some(connecting) = self.connecting(key) else { return };
        let url = connecting.url.clone();
        let options = connecting.options.clone();
        let mut failed = None;
        for addr in addrs {
            match self.sockets.connect_udp(addr, &options) {
                Ok(socket) => {
                    let connected = self.udp_connected(state, key, socket, addr);
                    return connected.unwrap_or_else(|e| {
                        self.close(key, CloseReason::Connect(connect_error(&url, e)));
                    });
                }
                Err(e) => failed = Some(e),
            }
        }
        if let (Some(e), None) = (failed, more) {
            self.close(key, CloseReason::Connect(connect_error(&url, e)));
        }
    }

    fn udp_connected(&mut self, state: &mut S, key: Key, socket: Udp, addr: SocketAddr) -> io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        #[cfg(feature = "sntp")]
        if matches!(conn.proto, Proto::Sntp(_)) {
            socket.note_arrivals();
        }
        let mut datagrams = Datagrams::new(socket);
        let before = std::mem::replace(&mut conn.io, Io::None);
        if let Io::Connecting(mut connecting) = before {
            datagrams.outgoing = std::mem::take(&mut connecting.outgoing);
            self.abandon(*connecting);
        }
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        conn.io = Io::Udp(Box::new(datagrams));
        conn.remote = addr.into();
        conn.flags.set(Flags::ESTABLISHED | Flags::WRITABLE);
        let drains = conn.flags.has(Flags::DRAINING);
        self.register(key, Watch::Read)?;
        self.set_due(key, Due::Nothing, Moment::NEVER);
        self.stats.connected += 1;
        dispatch::call(state, self, key, Event::Resolved(addr.ip()));
        dispatch::call(state, self, key, Event::Connected);
        // What was sent beforehand leaves at the end of this turn, before a close.
        self.mark_dirty(key);
        if drains {
            self.close(key, CloseReason::Local);
        }
        #[cfg(feature = "sntp")]
        self.sntp_due(key);
        Ok(())
    }

    /// Gives up what a connection was still doing to be established.
    pub(crate) fn abandon(&mut self, connecting: Connecting) {
        match connecting.stage {
            Stage::New => {}
            Stage::Resolving(ticket, _) => drop(self.forget_lookup(ticket)),
            Stage::Racing { attempts, more, .. } => {
                if let Some(ticket) = more {
                    drop(self.forget_lookup(ticket));
                }
                for attempt in attempts {
                    self.attempts.remove(attempt);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! What handlers and owners do to connections.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Sent};
use crate::id::{ConnId, Key};
use crate::net::{Address, Listener, Scheme, StdSocket, Stream, Target, Transport, Udp, Url, listen_error};
use crate::options::{Limits, ListenOptions};
use crate::reactor::Watch;

use super::conn::{Conn, Datagrams, Flags, Io, Listening, Maker, Proto, Speaks};
use super::core::{Core, Notice, Stop};
use super::handlers::{Handler, HandlerRef, Released};
use super::info::ConnInfo;
use super::stats::Stats;
use super::watch::Latency;

/// The network as a handler, a timer or the manager's owner is lent it.
///
/// Nothing that is done through it runs a handler: tables and queues change, and handlers are told in the turn's order.
pub struct Net<'a, S> {
    pub(crate) core: &'a mut Core<S>,
}

impl<S> fmt::Debug for Net<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("core", &self.core).finish()
    }
}

impl<S> Net<'_, S> {
    /// The time of this turn.
    pub fn now(&self) -> Instant {
        self.core.instant()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.core.stats
    }

    /// How long handlers took: [`Manager::latencies`](crate::Manager::latencies).
    pub fn latencies(&self) -> &[Latency] {
        self.core.latencies()
    }

    /// Listens on a URL; the handler serves the listener and all that it accepts.
    ///
    /// `http://127.0.0.1:8080`, `tcp://[::]:9000`, `udp://0.0.0.0:53`, `unix:/run/x.sock`, `http+unix:/run/x.sock`. Port 0
    /// takes a free port: [`local_addr`](Self::local_addr) tells which. Errors name the URL: a bad one
    /// ([`is_bad_url`](Error::is_bad_url)), an address in use, no permission, a protocol that this build has not. Nothing
    /// ever falls back to another port or to plain text.
    ///
    /// ```
    /// use vansire::{Ctx, Event, Manager, http};
    ///
    /// # fn main() -> vansire::Result<()> {
    /// let mut manager = Manager::new(())?;
    /// let id = manager.net().listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
    ///     if let Event::HttpRequest(_) = ev {
    ///         cx.reply(http::Response::text(200, "hello\n"));
    ///     }
    /// })?;
    /// println!("listening on {}", manager.net().local_addr(id).unwrap());
    /// # Ok(()) }
    /// ```
    pub fn listen(&mut self, options: impl Into<ListenOptions>, handler: impl Handler<S> + 'static) -> Result<ConnId> {
        let (socket, options, speaks) = self.core.bind(options.into())?;
        let handler = self.core.handlers.add(Box::new(handler));
        self.core.add_listener(socket, &options, speaks, handler, Maker::Shared)
    }

    /// Listens on a URL; each accepted connection gets a handler of its own from `make`, so that what the handler captures
    /// is the connection's. A UDP socket gets one. The listener itself is told of through the default handler.
    pub fn listen_with<H: Handler<S> + 'static>(
        &mut self,
        options: impl Into<ListenOptions>,
        mut make: impl FnMut() -> H + 'static,
    ) -> Result<ConnId> {
        let (socket, options, speaks) = self.core.bind(options.into())?;
        if let Socket::Udp(_) = socket {
            let handler = self.core.handlers.add(Box::new(make()));
            return self.core.add_listener(socket, &options, speaks, handler, Maker::Shared);
        }
        let factory = self.core.factories.add(Box::new(move || Box::new(make())));
        self.core.add_listener(socket, &options, speaks, HandlerRef::NONE, Maker::Factory(factory))
    }

    /// Listens without a handler: connections are served by the default one ([`Manager::on_event`](crate::Manager::on_event)).
    pub fn listen_default(&mut self, options: impl Into<ListenOptions>) -> Result<ConnId> {
        let (socket, options, speaks) = self.core.bind(options.into())?;
        self.core.add_listener(socket, &options, speaks, HandlerRef::NONE, Maker::Shared)
    }

    /// Takes over a socket that exists: from systemd's socket activation, or from another library. It speaks the protocol
    /// of `scheme` (`Scheme::Tcp`: none). A path that a Unix listener is bound to is left alone when it closes.
    pub fn adopt(
        &mut self,
        scheme: Scheme,
        socket: impl Into<StdSocket>,
        handler: impl Handler<S> + 'static,
    ) -> Result<ConnId> {
        self.core.check_room("the socket")?;
        let socket = socket.into();
        let what = || format!("cannot take over the socket as {}", scheme.as_str());
        let udp = matches!(socket, StdSocket::Udp(_));
        let speaks = if udp {
            match scheme {
                #[cfg(feature = "sntp")]
                Scheme::Sntp => Speaks::Sntp,
                _ => Speaks::Raw,
            }
        } else if scheme == Scheme::Sntp {
            return Err(Error::new(Kind::Unsupported, format!("{}: it is no UDP socket", what())));
        } else {
            speaks(scheme).map_err(|e| Error::with_source(e.kind(), what(), e.to_string()))?
        };
        let options = ListenOptions::new(String::new());
        let failed = |e| Error::io(what(), e);
        let socket = match socket {
            StdSocket::TcpListener(socket) => Socket::Listener(Listener::from_tcp(socket).map_err(failed)?),
            #[cfg(unix)]
            StdSocket::UnixListener(socket) => Socket::Listener(Listener::from_unix(socket).map_err(failed)?),
            StdSocket::Udp(socket) => Socket::Udp(Udp::from_std(socket).map_err(failed)?),
            StdSocket::TcpStream(socket) => Socket::Stream(Stream::from_tcp(socket).map_err(failed)?),
            #[cfg(unix)]
            StdSocket::UnixStream(socket) => Socket::Stream(Stream::from_unix(socket).map_err(failed)?),
        };
        let handler = self.core.handlers.add(Box::new(handler));
        let id = self.core.add_listener(socket, &options, speaks, handler, Maker::Shared)?;
        if let Some(conn) = self.core.conns.get_mut(id.0) {
            conn.flags.set(Flags::TAKEN_OVER);
        }
        Ok(id)
    }

    /// Queues bytes for the peer; they leave at the end of this turn. `High` means: wait for `Drained`.
    ///
    /// On a connected UDP socket it is one datagram. A listener, or a connection that is closing or draining, answers
    /// `Gone`. While a connection is being established, bytes wait for it. In the midst of HTTP it would break the framing
    /// of a reply, so there it answers `Invalid`: use [`reply`](Self::reply) or [`write`](Self::write).
    pub fn send(&mut self, id: ConnId, bytes: &[u8]) -> Sent {
        match self.core.carrier(id.0) {
            Carrier::Stream => self.core.send(id.0, bytes),
            Carrier::Datagrams => self.core.send_datagram(id.0, None, bytes),
            #[cfg(any(feature = "http", feature = "mqtt", feature = "sntp"))]
            Carrier::Protocol => Sent::Invalid,
            Carrier::None => Sent::Gone,
        }
    }

    /// As [`send`](Self::send), for bytes in two pieces, and for streams only.
    #[cfg(feature = "broker")]
    pub(crate) fn send_parts(&mut self, id: ConnId, head: &[u8], rest: &[u8]) -> Sent {
        match self.core.carrier(id.0) {
            Carrier::Stream => self.core.send_parts(id.0, head, rest),
            Carrier::Datagrams | Carrier::Protocol => Sent::Invalid,
            Carrier::None => Sent::Gone,
        }
    }

    /// As [`send`](Self::send), without copying: for large bodies, and for one message to many connections.
    pub fn send_shared(&mut self, id: ConnId, bytes: Bytes) -> Sent {
        match self.core.carrier(id.0) {
            Carrier::Stream => self.core.send_shared(id.0, bytes),
            Carrier::Datagrams => self.core.send_datagram(id.0, None, &bytes),
            #[cfg(any(feature = "http", feature = "mqtt", feature = "sntp"))]
            Carrier::Protocol => Sent::Invalid,
            Carrier::None => Sent::Gone,
        }
    }

    /// Queues one datagram from a UDP socket. `Invalid` when it is larger than `Limits::datagram_max`; `High` when it is
    /// the last for which there is room, `Full` when there was none (`Limits::datagrams_max`, counted in
    /// `Stats::datagrams_dropped`). After either, `Drained` tells that all have left.
    pub fn send_to(&mut self, id: ConnId, to: SocketAddr, datagram: &[u8]) -> Sent {
        match self.core.carrier(id.0) {
            Carrier::Datagrams => self.core.send_datagram(id.0, Some(to), datagram),
            Carrier::Stream => Sent::Invalid,
            #[cfg(any(feature = "http", feature = "mqtt", feature = "sntp"))]
            Carrier::Protocol => Sent::Invalid,
            Carrier::None => Sent::Gone,
        }
    }

    /// Stops reading from a connection: the peer feels back-pressure. What was read already waits.
    pub fn pause_read(&mut self, id: ConnId) {
        if let Some(conn) = self.core.conns.get_mut(id.0) {
            conn.flags.set(Flags::PAUSED);
        }
    }

    /// Goes on reading.
    pub fn resume_read(&mut self, id: ConnId) {
        if let Some(conn) = self.core.conns.get_mut(id.0)
            && conn.flags.has(Flags::PAUSED)
        {
            conn.flags.clear(Flags::PAUSED);
            self.core.make_ready(id.0);
        }
    }

    /// Sends what is queued, then closes. Nothing more is delivered to the handler but `Closed`; nothing more is sent.
    /// Takes at most `Limits::drain_timeout`. A listener closes.
    pub fn drain(&mut self, id: ConnId) {
        self.core.drain(id.0);
    }

    /// The peer has said by its protocol what the end of its stream would say, that nothing more comes: sends what is queued,
    /// then closes.
    #[cfg(feature = "broker")]
    pub(crate) fn peer_is_done(&mut self, id: ConnId) {
        self.core.peer_is_done(id.0);
    }

    /// Closes at the end of this turn. What is queued is offered to the system once; [`drain`](Self::drain) waits for it.
    pub fn close(&mut self, id: ConnId) {
        self.core.close(id.0, CloseReason::Local);
    }

    /// Closes and gives a reason, which the handler is told: `CloseReason::Failed(why)`.
    pub fn fail(&mut self, id: ConnId, why: impl Into<String>) {
        self.core.close(id.0, CloseReason::Failed(why.into().into_boxed_str()));
    }

    /// Closes a connection whose events are not taken.
    #[cfg(feature = "async")]
    pub(crate) fn end_slow(&mut self, id: ConnId) {
        // It may be told of more in the turn that closes it.
        if self.is_open(id) {
            self.core.stats.slow_consumers += 1;
            self.core.close(id.0, CloseReason::SlowConsumer);
        }
    }

    /// Replaces a connection's handler. Of a listener: the handler of what it accepts from now on. False when it is closed.
    pub fn set_handler(&mut self, id: ConnId, handler: impl Handler<S> + 'static) -> bool {
        let handler = self.core.handlers.add(Box::new(handler));
        self.core.replace_handler(id.0, handler)
    }

    /// Takes a connection's handler away: the default one serves it from now on, and what a listener accepts.
    pub fn clear_handler(&mut self, id: ConnId) -> bool {
        self.core.replace_handler(id.0, HandlerRef::NONE)
    }

    /// The connection is open. One that will close at the end of this turn is not.
    pub fn is_open(&self, id: ConnId) -> bool {
        self.core.conns.get(id.0).is_some_and(|conn| !conn.flags.has(Flags::CLOSING))
    }

    /// Bytes queued for the peer; 0 when it is closed.
    pub fn queued(&self, id: ConnId) -> usize {
        self.core.conns.get(id.0).map_or(0, Conn::queued)
    }

    /// Where the peer is, as far as there is an address.
    pub fn remote_addr(&self, id: ConnId) -> Option<SocketAddr> {
        self.core.conns.get(id.0)?.remote.addr()
    }

    /// The connection's own address; of a listener on port 0 the port that it got. Costs a system call.
    pub fn local_addr(&self, id: ConnId) -> Option<Address> {
        self.core.conns.get(id.0)?.local_addr()
    }

    /// What is known of a connection. Costs a system call for the local address.
    pub fn info(&self, id: ConnId) -> Option<ConnInfo> {
        self.core.conns.get(id.0).map(|conn| ConnInfo::of(id, conn, conn.local_addr(), self.core.now))
    }

    /// Every connection, listener and socket, as they are now. Costs a system call for the local address of each, but for
    /// what was accepted by a listener on a single address.
    pub fn connections(&self) -> Vec<ConnInfo> {
        self.infos(0).collect()
    }

    /// At most so many of them, those behind that one, which may be gone. What is opened meanwhile may come before it or behind.
    #[cfg(feature = "app")]
    pub(crate) fn connections_page(&self, after: Option<ConnId>, max: usize) -> Vec<ConnInfo> {
        self.infos(after.map_or(0, |id| id.0.index().saturating_add(1))).take(max).collect()
    }

    fn infos(&self, first: usize) -> impl Iterator<Item = ConnInfo> {
        let mut single: HashMap<ConnId, Option<Address>> = HashMap::new();
        self.core.conns.iter_from(first).map(move |(key, conn)| {
            let same =
                conn.listener.and_then(|id| single.entry(id).or_insert_with(|| self.core.single_addr(id.0)).clone());
            ConnInfo::of(ConnId(key), conn, same.or_else(|| conn.local_addr()), self.core.now)
        })
    }

    /// How many connections, listeners and sockets there are.
    pub fn connection_count(&self) -> usize {
        self.core.conns.len()
    }

    /// Ends [`Manager::run`](crate::Manager::run): stop accepting, drain, close. A second call closes at once.
    pub fn stop(&mut self) {
        self.core.ask_to_stop();
    }
}

/// A socket that listens, or one that is to be served.
pub(crate) enum Socket {
    Listener(Listener),
    Udp(Udp),
    Stream(Stream),
}

/// What `send` means for a connection.
enum Carrier {
    Stream,
    Datagrams,
    /// Bytes belong to a protocol.
    #[cfg(any(feature = "http", feature = "mqtt", feature = "sntp"))]
    Protocol,
    None,
}

impl<S> Core<S> {
    fn carrier(&self, key: Key) -> Carrier {
        let Some(conn) = self.conns.get(key) else { return Carrier::None };
        match (&conn.io, &conn.proto) {
            #[cfg(feature = "sntp")]
            (Io::Udp(_) | Io::Connecting(_), Proto::Sntp(_)) => Carrier::Protocol,
            (Io::Udp(_), _) => Carrier::Datagrams,
            (Io::Connecting(connecting), _) if connecting.is_udp() => Carrier::Datagrams,
            (Io::Stream(_) | Io::Connecting(_), Proto::Raw) => Carrier::Stream,
            #[cfg(feature = "http")]
            (Io::Stream(_) | Io::Connecting(_), Proto::Http(_) | Proto::Client(_)) => Carrier::Protocol,
            #[cfg(feature = "mqtt")]
            (Io::Stream(_) | Io::Connecting(_), Proto::MqttClient(_)) => Carrier::Protocol,
            #[cfg(feature = "sntp")]
            (Io::Stream(_), Proto::Sntp(_)) => Carrier::None,
            (Io::Listener(_) | Io::None, _) => Carrier::None,
        }
    }

    /// The address of a listener that can be no other for what it accepts. One that was made elsewhere may be set up to
    /// accept for others.
    fn single_addr(&self, listener: Key) -> Option<Address> {
        let conn = self.conns.get(listener).filter(|conn| !conn.flags.has(Flags::TAKEN_OVER))?;
        conn.local_addr().filter(|local| local.ip().is_none_or(|ip| !ip.is_unspecified()))
    }

    /// Opens the socket that the options ask for.
    fn bind(&mut self, options: ListenOptions) -> Result<(Socket, ListenOptions, Speaks)> {
        self.check_room(options.url.as_str())?;
        let url = Url::parse(options.url.as_str())?;
        let speaks = if options.raw {
            Speaks::Raw
        } else {
            speaks(url.scheme())
                .map_err(|e| Error::with_source(e.kind(), format!("cannot listen on {url}"), e.to_string()))?
        };
        // Whoever writes one may think that it is asked for.
        if url.user().is_some() {
            let what =
                format!("cannot listen on {url}: a listener's URL has no user; who may is for the handler to say");
            return Err(Error::new(Kind::BadUrl, what));
        }
        let target = url.listen_target()?;
        let socket = match (url.transport(), target) {
            (Transport::Udp, Target::Inet(addr)) => self.sockets.bind_udp(addr, &options).map(Socket::Udp),
            _ => self.sockets.listen(target, &options).map(Socket::Listener),
        };
        let socket = socket.map_err(|e| listen_error(&url, e))?;
        Ok((socket, options, speaks))
    }

    /// Nothing new may start once the manager is stopping, or its table is full.
    pub(crate) fn check_room(&self, url: &str) -> Result<()> {
        if self.stop != Stop::Running {
            return Err(Error::new(Kind::Stopped, format!("cannot open {url}: the manager is stopping")));
        }
        if self.conns.len() >= self.limits.connections_max {
            let max = self.limits.connections_max;
            return Err(Error::new(
                Kind::LimitReached,
                format!("cannot open {url}: {max} connections are open already"),
            ));
        }
        Ok(())
    }

    fn add_listener(
        &mut self,
        socket: Socket,
        options: &ListenOptions,
        speaks: Speaks,
        handler: HandlerRef,
        maker: Maker,
    ) -> Result<ConnId> {
        let limits = options.limits.map_or_else(|| Rc::clone(&self.limits), |limits| Rc::new(limits.in_order()));
        let mut established = Flags::default();
        let (io, proto) = match socket {
            Socket::Listener(socket) => {
                let listening = Listening { socket, speaks, handlers: maker, options: options.clone(), accepted: 0 };
                (Io::Listener(Box::new(listening)), Speaks::Raw.start())
            }
            Socket::Udp(socket) => {
                let proto = self.speak_datagrams(speaks, &socket, &limits)?;
                let url = Some(options.url.clone());
                (Io::Udp(Box::new(Datagrams { url, ..Datagrams::new(socket) })), proto)
            }
            Socket::Stream(stream) => {
                established = Flags::ESTABLISHED | Flags::WRITABLE;
                (Io::Stream(stream), speaks.start())
            }
        };
        let now = self.clock.now();
        let mut conn = Conn::new(io, proto, handler, limits, now);
        conn.flags.set(established);
        conn.remote = conn.peer_addr().into();
        let key = self.insert(conn);
        if let Some(watch) = &self.watch
            && let Some(url) = self.conns.get(key).and_then(|conn| conn.io.listens_on())
        {
            watch.listens(key, url);
        }
        if let Err(e) = self.register(key, Watch::Read) {
            self.discard(key);
            return Err(Error::io(format!("cannot watch {}", options.url.as_str()), e));
        }
        self.notify(key, Notice::Opened);
        self.settle(key);
        Ok(ConnId(key))
    }

    /// What is spoken on a bound UDP socket.
    fn speak_datagrams(&mut self, speaks: Speaks, socket: &Udp, limits: &Limits) -> Result<Proto> {
        match speaks {
            #[cfg(feature = "sntp")]
            Speaks::Sntp => {
                socket.note_arrivals();
                self.serve_sntp(limits)
            }
            _ => {
                // Without protocols there is nothing to bound.
                let _ = (socket, limits);
                Ok(Speaks::Raw.start())
            }
        }
    }

    /// Frees a slot that nobody has been told of.
    pub(crate) fn discard(&mut self, key: Key) {
        self.inbox.closed(key);
        self.stats.closed += 1;
        self.deadlines.cancel(crate::time::Owner::Conn(key.index()));
        if let Some(conn) = self.conns.remove(key) {
            self.release_handler(conn.handler);
        }
    }

    pub(crate) fn release_handler(&mut self, handler: HandlerRef) {
        let released = self.handlers.release(handler);
        self.released.extend(released.map(Released::Handler));
    }

    pub(crate) fn release_factory(&mut self, factory: HandlerRef) {
        let released = self.factories.release(factory);
        self.released.extend(released.map(Released::Factory));
    }

    fn replace_handler(&mut self, key: Key, handler: HandlerRef) -> bool {
        let Some(conn) = self.conns.get_mut(key) else {
            self.release_handler(handler);
            return false;
        };
        let old = std::mem::replace(&mut conn.handler, handler);
        self.release_handler(old);
        if let Some(Conn { io: Io::Listener(listening), .. }) = self.conns.get_mut(key)
            && let Maker::Factory(factory) = std::mem::replace(&mut listening.handlers, Maker::Shared)
        {
            self.release_factory(factory);
        }
        true
    }

    pub(crate) fn ask_to_stop(&mut self) {
        self.stop = match self.stop {
            Stop::Running => Stop::Asked,
            Stop::Asked | Stop::Now => Stop::Now,
            Stop::Closed => Stop::Closed,
        };
    }
}

/// The protocol that a scheme's connections speak here.
pub(crate) fn speaks(scheme: Scheme) -> Result<Speaks> {
    match scheme {
        Scheme::Tcp | Scheme::Udp | Scheme::Unix => Ok(Speaks::Raw),
        #[cfg(feature = "http")]
        Scheme::Http => Ok(Speaks::Http),
        #[cfg(not(feature = "http"))]
        Scheme::Http => Err(Error::new(Kind::Unsupported, "this build has no HTTP: build with the feature `http`")),
        Scheme::Https | Scheme::Wss | Scheme::Mqtts | Scheme::MqttWss => Err(Error::new(
            Kind::Unsupported,
            "this version has no TLS; plain text is never a substitute, so choose a scheme without it or put a TLS proxy in front",
        )),
        #[cfg(feature = "sntp")]
        Scheme::Sntp => Ok(Speaks::Sntp),
        #[cfg(not(feature = "sntp"))]
        Scheme::Sntp => Err(Error::new(Kind::Unsupported, "this build has no SNTP: build with the feature `sntp`")),
        #[cfg(feature = "mqtt")]
        Scheme::Mqtt => Err(Error::new(
            Kind::Unsupported,
            "MQTT has calls of its own: Broker::listen (feature `broker`) for a server, Net::mqtt_connect for a client",
        )),
        #[cfg(not(feature = "mqtt"))]
        Scheme::Mqtt => Err(Error::new(
            Kind::Unsupported,
            "this build has no MQTT: build with the feature `mqtt`, or `broker` to listen",
        )),
        Scheme::Ws | Scheme::MqttWs => Err(Error::new(
            Kind::Unsupported,
            format!("this version does not speak {}: WebSocket is still to come", scheme.as_str()),
        )),
    }
}

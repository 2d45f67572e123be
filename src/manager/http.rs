//! HTTP on a connection: between the parsers of `proto::http`, the handler, and the output.

mod client;
mod deadlines;
mod hub;
#[cfg(feature = "static")]
mod parts;
mod reply;

#[cfg(feature = "static")]
pub use parts::Part;

use std::ops::ControlFlow;

use crate::event::{CloseReason, Event};
use crate::id::{ConnId, Key};
use crate::options::Limits;
use crate::proto::http::body::{BodyDecoder, Piece};
use crate::proto::http::encode;
use crate::proto::http::head::{self, HeaderSpace, Scan};
use crate::proto::http::{BodyLen, Expect, Head, HeadLimits, Request, Response, Version};

use super::conn::{Conn, Due, Flags, Proto};
use super::core::Core;
use super::dispatch;
use super::handlers::HandlerRef;
use super::net::Net;

pub(crate) use self::client::{ClientConn, Origin};
pub use self::hub::{EventHub, Subscribed};

/// How a body comes to the handler. Chosen in `Event::HttpHead`, or of a response in `Event::HttpResponseHead`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Body {
    /// Whole, in `Event::HttpRequest` or `Event::HttpResponse`. More than `Limits::body_max` bytes are answered 413, or are
    /// an error in a response.
    #[default]
    Collect,
    /// Whole, with a bound of its own for this request.
    CollectUpTo(usize),
    /// In pieces, each an `Event::HttpBody`, with no bound on their sum; then `Event::HttpRequest` or `Event::HttpResponse`
    /// without a body says that all of it has come. `pause_read` holds the sender back.
    Stream,
}

/// Names a request that is not answered yet, on any thread and for as long as it is unanswered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplyId {
    conn: ConnId,
    /// Zero: whichever request of the connection is unanswered.
    seq: u32,
}

impl ReplyId {
    /// The request's connection.
    pub fn conn(self) -> ConnId {
        self.conn
    }
}

impl From<ConnId> for ReplyId {
    fn from(conn: ConnId) -> Self {
        Self { conn, seq: 0 }
    }
}

/// The HTTP state of a connection.
pub(crate) struct HttpConn {
    scan: Scan,
    /// Of the request in progress, or of the last one.
    seq: u32,
    phase: Phase,
    reply: Reply,
    version: Version,
    bits: Bits,
    body: Option<Box<Incoming>>,
}

/// Where the request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Between requests, or inside a head.
    Head,
    /// Inside a body.
    Body,
    /// The request is whole; its reply is not.
    Answer,
}

/// Where the reply is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reply {
    /// None, and none promised.
    None,
    Deferred,
    /// Begun with `start`; the framing of what follows.
    Chunked,
    UntilClose,
    /// Begun with `start`, for a HEAD request: what follows is counted as sent.
    Bodiless,
    Done,
}

/// The bits of a request.
#[derive(Clone, Copy, Default)]
struct Bits(u16);

impl Bits {
    const KEEP_ALIVE: Self = Self(1);
    /// The client asked for the connection to stay.
    const WANTS_MORE: Self = Self(1 << 1);
    const HEAD_REQUEST: Self = Self(1 << 2);
    /// The handler runs below `serve_http`, which draws the consequences of a reply itself.
    const BUSY: Self = Self(1 << 3);
    /// The request has a body, of which not all is used.
    const BODY_PENDING: Self = Self(1 << 4);
    /// The client waits for 100 before it sends the body.
    const EXPECTS: Self = Self(1 << 5);
    /// `HttpHead` is being told: the body can be chosen.
    const CHOOSING: Self = Self(1 << 6);
    /// An event stream: silence is no failure.
    const ENDLESS: Self = Self(1 << 7);
    /// Input was thrown away: more may be on its way, which would make a close a reset.
    const UNREAD: Self = Self(1 << 8);

    fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    fn set(&mut self, bits: Self) {
        self.0 |= bits.0;
    }

    fn clear(&mut self, bits: Self) {
        self.0 &= !bits.0;
    }

    fn put(&mut self, bits: Self, on: bool) {
        self.0 = self.0 & !bits.0 | bits.when(on).0;
    }

    /// The bits, or none.
    fn when(self, on: bool) -> Self {
        Self(self.0 * u16::from(on))
    }
}

/// A body that comes in pieces.
struct Incoming {
    /// A copy of the head, parsed again when the body is whole.
    head: Vec<u8>,
    /// Collected so far.
    bytes: Vec<u8>,
    decoder: BodyDecoder,
    choice: Choice,
}

#[derive(Clone, Copy)]
enum Choice {
    Collect(usize),
    Stream,
}

impl Choice {
    fn max(self) -> u64 {
        match self {
            Choice::Collect(max) => max as u64,
            Choice::Stream => u64::MAX,
        }
    }
}

/// Room for a body is made as it comes, this much at first: an announced length is no reason to believe it.
const BODY_ROOM: usize = 64 * 1024;

impl HttpConn {
    pub(crate) fn new() -> Self {
        Self {
            scan: Scan::default(),
            seq: 0,
            phase: Phase::Head,
            reply: Reply::None,
            version: Version::Http11,
            bits: Bits::default(),
            body: None,
        }
    }

    /// More input can be used: no reply is outstanding.
    pub(crate) fn wants_input(&self) -> bool {
        self.phase != Phase::Answer
    }

    /// No part of a request is on its way, as far as we know.
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.bits.has(Bits::BODY_PENDING) && !self.bits.has(Bits::UNREAD)
    }

    #[inline]
    fn begin(&mut self, head: &Head<'_>) {
        // Zero stands for "whichever".
        self.seq = self.seq.wrapping_add(1).max(1);
        self.reply = Reply::None;
        self.version = head.version();
        self.bits = Bits::BUSY;
        self.bits.set(Bits::KEEP_ALIVE.when(head.keep_alive()));
        self.bits.set(Bits::WANTS_MORE.when(head.keep_alive()));
        self.bits.set(Bits::HEAD_REQUEST.when(head.is_head()));
    }

    /// The reply is complete: makes the connection fit for its next request. False where there is to be none.
    #[inline(always)]
    fn finish(&mut self) -> bool {
        self.phase = Phase::Head;
        self.reply = Reply::None;
        self.body = None;
        self.bits.clear(Bits::BUSY);
        self.bits.clear(Bits::ENDLESS);
        self.bits.has(Bits::KEEP_ALIVE)
    }

    /// As [`finish`](Self::finish), in the usual case that the reply is complete and the connection goes on. False, and nothing
    /// is done, in all others.
    #[inline(always)]
    fn concludes(&mut self) -> bool {
        self.reply == Reply::Done && self.bits.has(Bits::KEEP_ALIVE) && self.finish()
    }

    fn is_replied(&self) -> bool {
        self.reply == Reply::Done
    }

    /// A request has come and is not done with.
    fn is_in_request(&self) -> bool {
        self.bits.has(Bits::BUSY) || self.phase != Phase::Head
    }

    /// There is a request, and its reply has not begun.
    fn is_asked(&self) -> bool {
        self.is_in_request() && matches!(self.reply, Reply::None | Reply::Deferred)
    }

    /// All of the body is used, and the handler has not been told that the request is whole.
    fn has_body_end(&self) -> bool {
        self.phase == Phase::Body && !self.bits.has(Bits::BODY_PENDING)
    }
}

fn head_limits(limits: &Limits) -> HeadLimits {
    HeadLimits { head_max: limits.head_max, headers_max: limits.headers_max, target_max: limits.target_max }
}

/// What comes after a head.
enum Asks {
    /// Nothing, so that it is a whole request. With whom to tell of it: the connection's handler, where that has been told of
    /// the connection.
    Nothing(Option<HandlerRef>),
    /// A body, of this length if that is known.
    Body(Option<u64>),
    /// What nobody does here: the status that says so, and why.
    TooMuch(u16, &'static str),
}

impl Conn {
    /// A head has come, and `rest` bytes behind it.
    #[inline(always)]
    fn begin(&mut self, head: &Head<'_>, rest: usize) -> Asks {
        // Each request has its own time for what it waits for.
        self.due = Due::Nothing;
        let whom = self.flags.has(Flags::OPENED).then_some(self.handler);
        let most = self.limits.requests_max;
        let Some(http) = self.http() else { return Asks::Nothing(None) };
        http.begin(head);
        if most.is_some_and(|max| http.seq >= max) {
            http.bits.clear(Bits::KEEP_ALIVE);
        }
        let len = match head.body_len() {
            BodyLen::None => Some(0),
            BodyLen::Length(len) => Some(len),
            BodyLen::Chunked | BodyLen::UntilClose => None,
        };
        http.bits.put(Bits::BODY_PENDING, len.is_none_or(|len| len > rest as u64));
        if head.expect() == Expect::Unknown {
            // RFC 9110 §10.1.1
            return Asks::TooMuch(417, "an expectation that is not known");
        }
        if head.is_connect() {
            // RFC 9110 §9.3.6: what would follow a 2xx is a tunnel's, and there is none here.
            return Asks::TooMuch(501, "there are no tunnels here");
        }
        http.bits.set(Bits::CHOOSING);
        http.body = None;
        if len == Some(0) { Asks::Nothing(whom) } else { Asks::Body(len) }
    }

    fn http(&mut self) -> Option<&mut HttpConn> {
        match &mut self.proto {
            Proto::Http(http) => Some(http),
            Proto::Raw | Proto::Client(_) => None,
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => None,
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => None,
        }
    }
}

impl<S> Core<S> {
    fn http_mut(&mut self, key: Key) -> Option<&mut HttpConn> {
        self.conns.get_mut(key).and_then(Conn::http)
    }

    /// Uses what it can of the connection's input; returns how much that was.
    pub(crate) fn serve_http(&mut self, state: &mut S, key: Key, bytes: &[u8]) -> usize {
        let mut space = self.header_space.take().unwrap_or_default();
        let used = self.serve_requests(state, key, bytes, &mut space);
        self.header_space = Some(space);
        used
    }

    fn serve_requests(&mut self, state: &mut S, key: Key, bytes: &[u8], space: &mut HeaderSpace) -> usize {
        let mut used = 0;
        let mut served = 0;
        let Some(conn) = self.conns.get_mut(key) else { return bytes.len() };
        conn.flags.clear(Flags::BACKLOG);
        // All requests of one read have these.
        let (limits, remote, most) = (head_limits(&conn.limits), conn.remote.addr(), conn.limits.turn_messages);
        let mut is_told = false;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return bytes.len() };
            let is_free = !conn.is_ending() && conn.takes_input();
            let Proto::Http(http) = &mut conn.proto else { return bytes.len() };
            if std::mem::take(&mut is_told) && !(is_free && http.concludes()) {
                self.conclude(key);
                continue;
            }
            if !is_free || http.phase != Phase::Head || served >= most {
                match self.serve_apart(state, key, &bytes[used..], served >= most) {
                    ControlFlow::Continue(more) => used += more,
                    ControlFlow::Break(more) => return used + more,
                }
                continue;
            }
            if used == bytes.len() {
                return used;
            }
            match head::parse(&bytes[used..], &mut http.scan, &limits, space) {
                Ok(None) => return used,
                Ok(Some((head, len))) => {
                    used += len;
                    served += 1;
                    let mut request = Request::new(head, &[], remote);
                    match conn.begin(&head, bytes.len() - used) {
                        Asks::Nothing(whom) => is_told = self.take_simple(state, key, whom, &mut request),
                        Asks::Body(len) => used += self.take_request(state, key, &mut request, len, &bytes[used..]),
                        Asks::TooMuch(status, why) => self.refuse(key, status, &why),
                    }
                }
                Err(e) => {
                    self.refuse(key, e.status(), &e);
                    return bytes.len();
                }
            }
        }
    }

    /// Where no request may begin: the connection ends, or something waits, or a body goes on. Returns how much of the bytes
    /// was used, and whether that is all for now.
    fn serve_apart(&mut self, state: &mut S, key: Key, bytes: &[u8], over: bool) -> ControlFlow<usize, usize> {
        let Some(conn) = self.conns.get_mut(key) else { return ControlFlow::Break(bytes.len()) };
        if conn.is_ending() {
            // The connection is on its way out: what else the peer sent is nothing to us.
            if let Some(http) = conn.http().filter(|_| !bytes.is_empty()) {
                http.bits.set(Bits::UNREAD);
            }
            return ControlFlow::Break(bytes.len());
        }
        if bytes.is_empty() && !conn.http().is_some_and(|http| http.has_body_end()) {
            return ControlFlow::Break(0);
        }
        let may = conn.takes_input() && !over;
        let Some(http) = conn.http() else { return ControlFlow::Break(bytes.len()) };
        if !may || http.phase == Phase::Answer {
            conn.flags.set(Flags::BACKLOG);
            if over {
                self.make_ready(key);
            }
            return ControlFlow::Break(0);
        }
        ControlFlow::Continue(self.take_body(state, key, bytes))
    }

    /// A request of nothing but its head has come: tells of the head and of the request. True where both were told, and the
    /// consequences are to be drawn.
    #[inline(always)]
    fn take_simple(&mut self, state: &mut S, key: Key, whom: Option<HandlerRef>, request: &mut Request<'_>) -> bool {
        self.stats.http_requests += 1;
        let mut is_told = false;
        let (first, second) = (|| Event::HttpHead(request), || Event::HttpRequest(request));
        dispatch::call_both(state, self, key, whom, first, second, |core| {
            let asked = core.asks_at_once(key);
            is_told = asked.is_some();
            asked
        });
        if !is_told {
            self.go_on(state, key, request, Some(0), &[]);
        }
        is_told
    }

    /// The head of a request with a body has come: tells of it, and of the whole request if the rest is there as well. Returns
    /// how much of the rest was used.
    fn take_request<'a>(
        &mut self,
        state: &mut S,
        key: Key,
        request: &mut Request<'a>,
        len: Option<u64>,
        rest: &'a [u8],
    ) -> usize {
        self.stats.http_requests += 1;
        dispatch::call(state, self, key, Event::HttpHead(request));
        self.go_on(state, key, request, len, rest)
    }

    /// A head has been told: does as the handler has chosen. Returns how much of the rest was used.
    fn go_on<'a>(
        &mut self,
        state: &mut S,
        key: Key,
        request: &mut Request<'a>,
        len: Option<u64>,
        rest: &'a [u8],
    ) -> usize {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.takes_output()) else { return 0 };
        let (is_paused, body_max) = (conn.flags.has(Flags::PAUSED), conn.limits.body_max);
        let Some(http) = conn.http() else { return 0 };
        http.bits.clear(Bits::CHOOSING);
        // `Net::body` leaves the choice in a box only where it is not the default.
        let choice = http.body.take().map_or(Choice::Collect(body_max), |incoming| incoming.choice);
        if http.is_replied() {
            if http.bits.has(Bits::BODY_PENDING) {
                // Answered before the body came: nobody will read it.
                self.end_http(key);
                return 0;
            }
            self.finish_reply(key);
            return len.unwrap_or(0) as usize;
        }
        let decoder = match BodyDecoder::new(request.body_len(), choice.max()) {
            Ok(decoder) => decoder,
            Err(e) => {
                self.refuse(key, e.status(), &e);
                return 0;
            }
        };
        if matches!(choice, Choice::Collect(_)) && !is_paused && !http.bits.has(Bits::BODY_PENDING) {
            let len = len.unwrap_or(0) as usize;
            request.set_body(&rest[..len]);
            self.complete(state, key, request);
            return len;
        }
        let room = match (choice, len) {
            (Choice::Collect(max), Some(len)) => (len as usize).min(max).min(BODY_ROOM),
            _ => 0,
        };
        let head_bytes = request.raw().to_vec();
        http.phase = Phase::Body;
        http.bits.clear(Bits::BUSY);
        http.bits.put(Bits::BODY_PENDING, !decoder.is_done());
        http.bits.put(Bits::EXPECTS, request.expect() == Expect::Continue);
        http.body = Some(Box::new(Incoming { head: head_bytes, bytes: Vec::with_capacity(room), decoder, choice }));
        0
    }

    /// The head of a request without a body has been told: who is to be told of the request itself, if that is to be now.
    fn asks_at_once(&mut self, key: Key) -> Option<HandlerRef> {
        let conn = self.conns.get_mut(key).filter(|conn| conn.takes_output())?;
        let (is_paused, handler) = (conn.flags.has(Flags::PAUSED), conn.handler);
        let http = conn.http()?;
        if is_paused || http.is_replied() {
            return None;
        }
        http.bits.clear(Bits::CHOOSING);
        http.body = None;
        http.phase = Phase::Answer;
        Some(handler)
    }

    /// More of a body has come. Returns how much of it was used.
    fn take_body(&mut self, state: &mut S, key: Key, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return bytes.len() };
            if !conn.takes_input() {
                return bytes.len() - rest.len();
            }
            if conn.due == Due::Reply {
                // It was paused, and goes on.
                conn.due = Due::Nothing;
            }
            let Some(http) = conn.http() else { return bytes.len() };
            // RFC 9110 §10.1.1: no 100 to a client that did not wait for it.
            if !bytes.is_empty() {
                http.bits.clear(Bits::EXPECTS);
            }
            let Some(incoming) = http.body.as_deref_mut() else { return bytes.len() };
            let piece = match incoming.decoder.next(&mut rest) {
                Ok(piece) => piece,
                Err(e) => {
                    self.refuse(key, e.status(), &e);
                    return bytes.len();
                }
            };
            http.bits.put(Bits::BODY_PENDING, !incoming.decoder.is_done());
            match (piece, incoming.choice) {
                (Piece::NeedMore, _) => return bytes.len() - rest.len(),
                (Piece::End, _) => {
                    self.complete_body(state, key);
                    return bytes.len() - rest.len();
                }
                (Piece::Data(data), Choice::Collect(_)) => incoming.bytes.extend_from_slice(data),
                (Piece::Data(data), Choice::Stream) => {
                    self.set_busy(key, true);
                    dispatch::call(state, self, key, Event::HttpBody(data));
                    self.set_busy(key, false);
                    let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.takes_output()) else {
                        return bytes.len();
                    };
                    let Some(http) = conn.http() else { return bytes.len() };
                    match (http.is_replied(), http.bits.has(Bits::BODY_PENDING)) {
                        (false, _) => {}
                        // Nobody will read the rest.
                        (true, true) => {
                            self.end_http(key);
                            return bytes.len();
                        }
                        (true, false) => {
                            self.finish_reply(key);
                            return bytes.len() - rest.len();
                        }
                    }
                }
            }
        }
    }

    fn set_busy(&mut self, key: Key, busy: bool) {
        if let Some(http) = self.http_mut(key) {
            http.bits.put(Bits::BUSY, busy);
        }
    }

    /// A body that came in pieces is whole.
    fn complete_body(&mut self, state: &mut S, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let remote = conn.remote.addr();
        let Some(http) = conn.http() else { return };
        let Some(incoming) = http.body.take() else { return };
        http.bits.set(Bits::BUSY);
        let mut space = HeaderSpace::new();
        // It was parsed and accepted under the limits of its time; those do not shrink afterwards.
        let limits =
            HeadLimits { head_max: incoming.head.len() + 1, headers_max: head::HEADERS_CAP, target_max: usize::MAX };
        match head::parse(&incoming.head, &mut Scan::default(), &limits, &mut space) {
            Ok(Some((head, _))) => self.complete(state, key, &Request::new(head, &incoming.bytes, remote)),
            Ok(None) | Err(_) => self.close(key, CloseReason::Protocol("a head that does not parse twice".into())),
        }
    }

    /// The request is whole: has it answered, now or later.
    fn complete(&mut self, state: &mut S, key: Key, request: &Request<'_>) {
        let Some(http) = self.http_mut(key) else { return };
        if !http.is_replied() {
            http.phase = Phase::Answer;
            dispatch::call(state, self, key, Event::HttpRequest(request));
        }
        self.conclude(key);
    }

    /// A whole request has been told: goes on, waits for the rest of its reply, or makes up for the lack of one.
    fn conclude(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.takes_output()) else { return };
        let Some(http) = conn.http() else { return };
        http.bits.clear(Bits::BUSY);
        match http.reply {
            Reply::Done => {
                if !http.finish() {
                    self.end_http(key);
                }
            }
            Reply::Deferred | Reply::Chunked | Reply::UntilClose | Reply::Bodiless => http.phase = Phase::Answer,
            Reply::None => self.answer_for_the_handler(key),
        }
    }

    /// The handler has neither answered nor promised to; or there is none.
    #[cold]
    fn answer_for_the_handler(&mut self, key: Key) {
        self.stats.http_unanswered += 1;
        let own = self.conns.get(key).map_or(HandlerRef::NONE, |conn| conn.handler);
        let handled = own != HandlerRef::NONE || self.default_handler != HandlerRef::NONE;
        let status = if handled { 500 } else { 404 };
        self.reply(key, 0, &Response::text(status, "No answer.\n"));
    }

    /// Refuses what the peer sent, and ends the connection once it has been told.
    fn refuse(&mut self, key: Key, status: u16, why: &dyn std::fmt::Display) {
        self.stats.http_refused += 1;
        let date = *self.date.get(self.now, &self.clock);
        let Some(http) = self.http_mut(key) else { return };
        let is_head = http.is_in_request() && http.bits.has(Bits::HEAD_REQUEST);
        let reason = match http.reply {
            Reply::None | Reply::Deferred => {
                let text = if is_head { String::new() } else { why.to_string() };
                self.queue(key, |output| encode::refusal(output.tail(), status, &text, &date));
                CloseReason::Refused { status, why: why.to_string().into() }
            }
            // A second head would be taken for a part of the body. That the reply never ends must say enough.
            Reply::Chunked | Reply::UntilClose | Reply::Bodiless | Reply::Done => {
                CloseReason::Protocol(format!("{status}: {why}").into())
            }
        };
        if let Some(conn) = self.conns.get_mut(key) {
            conn.reason.get_or_insert_with(|| Box::new(reason));
            if let Some(http) = conn.http() {
                http.bits.set(Bits::BODY_PENDING);
                http.body = None;
            }
        }
        self.end_http(key);
    }
}

impl<S> Net<'_, S> {
    /// Chooses how the body of the connection's request, or of the response to it, comes. Only while its `HttpHead` or
    /// `HttpResponseHead` is told; later it has no effect.
    pub fn body(&mut self, conn: ConnId, body: Body) {
        let Some(http) = self.core.http_mut(conn.0) else { return self.core.choose_response_body(conn.0, body) };
        if !http.bits.has(Bits::CHOOSING) {
            return;
        }
        let choice = match body {
            Body::Collect => {
                http.body = None;
                return;
            }
            Body::CollectUpTo(max) => Choice::Collect(max),
            Body::Stream => Choice::Stream,
        };
        if let Ok(decoder) = BodyDecoder::new(BodyLen::None, 0) {
            http.body = Some(Box::new(Incoming { head: Vec::new(), bytes: Vec::new(), decoder, choice }));
        }
    }
}

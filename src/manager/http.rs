//! HTTP on a connection: between the parsers of `proto::http`, the handler, and the output.

use bytes::Bytes;

use crate::event::{CloseReason, Deadline, Event, Sent};
use crate::id::{ConnId, Key};
use crate::proto::http::body::{BodyDecoder, Piece};
use crate::proto::http::encode::{self, Framing, ReplyTo};
use crate::proto::http::head::{self, HeaderSpace, Scan};
use crate::proto::http::{BodyLen, Expect, Head, HeadLimits, Request, Response, Version};

use super::conn::{Conn, Due, Flags, Proto};
use super::core::{Core, Stop};
use super::dispatch;
use super::handlers::HandlerRef;
use super::net::Net;

/// How a request's body comes to the handler. Chosen in `Event::HttpHead`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Body {
    /// Whole, in `Event::HttpRequest`. More than `Limits::body_max` bytes are answered 413.
    #[default]
    Collect,
    /// Whole, with a bound of its own for this request.
    CollectUpTo(usize),
    /// In pieces, each an `Event::HttpBody`, with no bound on their sum; then `Event::HttpRequest` without a body says that
    /// all of it has come. `pause_read` holds the sender back.
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

#[derive(Clone, Copy, Default)]
struct Bits {
    keep_alive: bool,
    head_request: bool,
    /// The handler runs below `serve_http`, which draws the consequences of a reply itself.
    busy: bool,
    /// The request has a body that has not come whole.
    body_pending: bool,
    /// `HttpHead` is being told: the body can be chosen.
    choosing: bool,
    /// An event stream: silence is no failure.
    endless: bool,
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
        !self.bits.body_pending
    }

    fn begin(&mut self, head: &Head<'_>) {
        // Zero stands for "whichever".
        self.seq = self.seq.wrapping_add(1).max(1);
        self.reply = Reply::None;
        self.version = head.version();
        self.bits = Bits { keep_alive: head.keep_alive(), head_request: head.is_head(), busy: true, ..Bits::default() };
    }

    fn is_replied(&self) -> bool {
        self.reply == Reply::Done
    }

    /// There is a request, and its reply has not begun.
    fn is_asked(&self) -> bool {
        (self.bits.busy || self.phase != Phase::Head) && matches!(self.reply, Reply::None | Reply::Deferred)
    }
}

impl Conn {
    fn http(&mut self) -> Option<&mut HttpConn> {
        match &mut self.proto {
            Proto::Http(http) => Some(http),
            Proto::Raw => None,
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
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return bytes.len() };
            conn.flags.clear(Flags::BACKLOG);
            if !conn.takes_output() {
                // The connection is on its way out: what else the peer sent is nothing to us.
                return bytes.len();
            }
            if used == bytes.len() {
                return used;
            }
            let over = served >= conn.limits.turn_messages;
            let may = conn.takes_input() && !over;
            let limits = HeadLimits {
                head_max: conn.limits.head_max,
                headers_max: conn.limits.headers_max,
                target_max: conn.limits.target_max,
            };
            let Some(http) = conn.http() else { return bytes.len() };
            if !may || http.phase == Phase::Answer {
                conn.flags.set(Flags::BACKLOG);
                if over {
                    self.make_ready(key);
                }
                return used;
            }
            if http.phase == Phase::Body {
                used += self.take_body(state, key, &bytes[used..]);
                continue;
            }
            match head::parse(&bytes[used..], &mut http.scan, &limits, space) {
                Ok(None) => return used,
                Ok(Some((head, len))) => {
                    used += len;
                    served += 1;
                    used += self.take_request(state, key, &head, &bytes[used..]);
                }
                Err(e) => {
                    self.refuse(key, e.status(), &e);
                    return bytes.len();
                }
            }
        }
    }

    /// A head has come: tells of it, and of the whole request if the rest is there as well. Returns how much of the rest
    /// was used.
    fn take_request(&mut self, state: &mut S, key: Key, head: &Head<'_>, rest: &[u8]) -> usize {
        let Some(conn) = self.conns.get_mut(key) else { return 0 };
        let remote = conn.remote;
        let body_max = conn.limits.body_max;
        let last = conn.limits.requests_max.is_some_and(|max| conn.http().is_some_and(|http| http.seq + 1 >= max));
        let Some(http) = conn.http() else { return 0 };
        http.begin(head);
        if last || self.stop != Stop::Running {
            http.bits.keep_alive = false;
        }
        let len = match head.body_len() {
            BodyLen::None => Some(0),
            BodyLen::Length(len) => Some(len),
            BodyLen::Chunked => None,
        };
        http.bits.body_pending = len.is_none_or(|len| len > rest.len() as u64);
        if head.expect() == Expect::Unknown {
            // RFC 9110 §10.1.1
            self.refuse(key, 417, &"an expectation that is not known");
            return 0;
        }
        http.bits.choosing = true;
        http.body = None;
        self.stats.http_requests += 1;
        dispatch::call(state, self, key, Event::HttpHead(&Request::new(*head, &[], remote)));

        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.takes_output()) else { return 0 };
        let Some(http) = conn.http() else { return 0 };
        http.bits.choosing = false;
        // `Net::body` leaves the choice in a box only where it is not the default.
        let choice = http.body.take().map_or(Choice::Collect(body_max), |incoming| incoming.choice);
        if http.is_replied() {
            if http.bits.body_pending {
                // Answered before the body came: nobody will read it.
                self.drain(key);
                return 0;
            }
            self.finish_reply(key);
            return len.unwrap_or(0) as usize;
        }
        let decoder = match BodyDecoder::new(head.body_len(), choice.max()) {
            Ok(decoder) => decoder,
            Err(e) => {
                self.refuse(key, e.status(), &e);
                return 0;
            }
        };
        if !http.bits.body_pending {
            let len = len.unwrap_or(0) as usize;
            let body = match choice {
                Choice::Collect(_) => &rest[..len],
                Choice::Stream => {
                    if len > 0 {
                        dispatch::call(state, self, key, Event::HttpBody(&rest[..len]));
                    }
                    &[]
                }
            };
            self.complete(state, key, &Request::new(*head, body, remote));
            return len;
        }
        let room = match (choice, len) {
            (Choice::Collect(max), Some(len)) => (len as usize).min(max).min(BODY_ROOM),
            _ => 0,
        };
        let head_bytes = head.raw().to_vec();
        http.body = Some(Box::new(Incoming { head: head_bytes, bytes: Vec::with_capacity(room), decoder, choice }));
        http.phase = Phase::Body;
        http.bits.busy = false;
        if head.expect() == Expect::Continue && rest.is_empty() && http.reply == Reply::None {
            self.send(key, encode::CONTINUE);
        }
        0
    }

    /// More of a body has come. Returns how much of it was used.
    fn take_body(&mut self, state: &mut S, key: Key, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return bytes.len() };
            if !conn.takes_input() {
                return bytes.len() - rest.len();
            }
            let Some(incoming) = conn.http().and_then(|http| http.body.as_deref_mut()) else { return bytes.len() };
            let piece = match incoming.decoder.next(&mut rest) {
                Ok(piece) => piece,
                Err(e) => {
                    self.refuse(key, e.status(), &e);
                    return bytes.len();
                }
            };
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
                    if conn.http().is_some_and(|http| http.is_replied()) {
                        self.drain(key);
                        return bytes.len();
                    }
                }
            }
        }
    }

    fn set_busy(&mut self, key: Key, busy: bool) {
        if let Some(http) = self.http_mut(key) {
            http.bits.busy = busy;
        }
    }

    /// A body that came in pieces is whole.
    fn complete_body(&mut self, state: &mut S, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let remote = conn.remote;
        let Some(http) = conn.http() else { return };
        let Some(incoming) = http.body.take() else { return };
        http.bits.body_pending = false;
        http.bits.busy = true;
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
        http.bits.body_pending = false;
        if !http.is_replied() {
            http.phase = Phase::Answer;
            dispatch::call(state, self, key, Event::HttpRequest(request));
        }
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.takes_output()) else { return };
        let handled = conn.handler != HandlerRef::NONE || self.default_handler != HandlerRef::NONE;
        let Some(http) = conn.http() else { return };
        http.bits.busy = false;
        match http.reply {
            Reply::Done => self.finish_reply(key),
            Reply::Deferred | Reply::Chunked | Reply::UntilClose | Reply::Bodiless => http.phase = Phase::Answer,
            Reply::None => {
                self.stats.http_unanswered += 1;
                let status = if handled { 500 } else { 404 };
                self.reply(key, 0, &Response::text(status, "No answer.\n"));
            }
        }
    }

    /// Refuses what the peer sent, and ends the connection once it has been told.
    fn refuse(&mut self, key: Key, status: u16, why: &dyn std::fmt::Display) {
        self.stats.http_refused += 1;
        let date = *self.date.get(self.now, &self.clock);
        let silent = self.http_mut(key).is_none_or(|http| http.phase != Phase::Head && http.bits.head_request);
        let text = if silent { String::new() } else { why.to_string() };
        self.queue(key, |output| encode::refusal(output.tail(), status, &text, &date));
        if let Some(conn) = self.conns.get_mut(key) {
            if conn.reason.is_none() {
                conn.reason = Some(Box::new(CloseReason::Protocol(format!("{status}: {why}").into())));
            }
            if let Some(http) = conn.http() {
                http.bits.body_pending = true;
                http.body = None;
            }
        }
        self.drain(key);
    }

    /// Answers the request `seq` (0: whichever is unanswered) of a connection.
    fn reply(&mut self, key: Key, seq: u32, response: &Response<'_>) -> Sent {
        let mut shared = None;
        let sent = self.begin_reply(key, seq, |out, to| {
            let (encoded, body) = encode::encode_reply(out, response, to).ok()?;
            shared = body;
            Some((encoded.keep_alive, Reply::Done))
        });
        if !sent.is_queued() {
            return sent;
        }
        let sent = match shared {
            Some(body) => self.send_shared(key, body),
            None => sent,
        };
        self.end_reply(key);
        sent
    }

    /// Queues the beginning of a reply, or nothing: `encode` says what becomes of the connection and of the reply.
    fn begin_reply(
        &mut self,
        key: Key,
        seq: u32,
        encode: impl FnOnce(&mut Vec<u8>, &ReplyTo<'_>) -> Option<(bool, Reply)>,
    ) -> Sent {
        let date = *self.date.get(self.now, &self.clock);
        let Some(conn) = self.conns.get_mut(key) else { return Sent::Gone };
        if !conn.takes_output() {
            return Sent::Gone;
        }
        let Some(http) = conn.http() else { return Sent::Invalid };
        if seq != 0 && seq != http.seq {
            return Sent::Gone;
        }
        if !http.is_asked() {
            return Sent::Invalid;
        }
        let to = ReplyTo {
            version: http.version,
            head_request: http.bits.head_request,
            keep_alive: http.bits.keep_alive && !http.bits.body_pending,
            date: &date,
        };
        let mut begun = None;
        let sent = self.queue(key, |output| begun = encode(output.tail(), &to));
        match (begun, self.http_mut(key)) {
            (Some((keep_alive, reply)), Some(http)) if sent.is_queued() => {
                http.bits.keep_alive = keep_alive;
                http.reply = reply;
                sent
            }
            _ if sent.is_queued() => Sent::Invalid,
            _ => sent,
        }
    }

    /// The reply is complete: goes on, unless `serve_http` stands above us and will.
    fn end_reply(&mut self, key: Key) {
        let Some(http) = self.http_mut(key) else { return };
        http.reply = Reply::Done;
        if http.bits.busy {
            return;
        }
        match http.phase {
            Phase::Answer => self.finish_reply(key),
            // Answered from elsewhere before the body came.
            Phase::Body => self.drain(key),
            Phase::Head => {}
        }
    }

    /// Makes the connection ready for its next request, or ends it.
    fn finish_reply(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(http) = conn.http() else { return };
        http.phase = Phase::Head;
        http.reply = Reply::None;
        http.bits.busy = false;
        http.bits.endless = false;
        if !http.bits.keep_alive {
            self.drain(key);
        } else if conn.flags.has(Flags::BACKLOG | Flags::READABLE | Flags::EOF) {
            self.make_ready(key);
        }
    }

    /// Sets the deadline that fits what the connection waits for now.
    pub(crate) fn settle_http(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.takes_output() {
            return;
        }
        let queued = conn.queued();
        let kept = conn.has_input();
        let paused = conn.flags.has(Flags::PAUSED);
        let ended = conn.flags.has(Flags::EOF) && !conn.flags.has(Flags::BACKLOG);
        let limits = &conn.limits;
        let (head, idle, reply, rate) =
            (limits.head_timeout, limits.idle_timeout, limits.reply_timeout, limits.rate_grace);
        let was = conn.due;
        let Some(http) = conn.http() else { return };
        if ended && http.phase != Phase::Answer {
            // RFC 9112 §8: a body cut short is never whole, and nothing more will come.
            return self.close_after_output(key, CloseReason::Peer);
        }
        let due = match http.phase {
            _ if queued > 0 => Due::Rate,
            Phase::Head if kept || http.seq == 0 => Due::Head,
            Phase::Head => Due::Idle,
            Phase::Body if paused => Due::Reply,
            Phase::Body => Due::Rate,
            Phase::Answer if http.bits.endless => Due::Nothing,
            Phase::Answer => Due::Reply,
        };
        let wait = match due {
            Due::Idle => idle,
            Due::Reply => reply,
            // These run on from where they began.
            Due::Head | Due::Rate if due == was => return,
            Due::Head => head,
            Due::Rate => {
                conn.moved = 0;
                rate
            }
            Due::Nothing | Due::Connect | Due::Retry | Due::Drain | Due::Linger => {
                return self.set_due(key, Due::Nothing, crate::time::Moment::NEVER);
            }
        };
        self.set_due(key, due, now.after(wait));
    }

    /// A deadline of HTTP has passed.
    pub(crate) fn http_overdue(&mut self, key: Key, due: Due) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match due {
            Due::Rate => {
                let floor = u64::from(conn.limits.rate_floor) * conn.limits.rate_grace.as_secs().max(1);
                if u64::from(conn.moved) >= floor {
                    conn.moved = 0;
                    let at = self.now.after(conn.limits.rate_grace);
                    return self.set_due(key, Due::Rate, at);
                }
                let waits_for_body = conn.queued() == 0;
                conn.reason = Some(Box::new(CloseReason::TimedOut(Deadline::Rate)));
                if waits_for_body {
                    self.refuse(key, 408, &"");
                } else {
                    self.close(key, CloseReason::TimedOut(Deadline::Rate));
                }
            }
            // RFC 9110 §15.5.9: told only where there is a request to tell it of.
            Due::Head if conn.has_input() => {
                conn.reason = Some(Box::new(CloseReason::TimedOut(Deadline::Head)));
                self.refuse(key, 408, &"");
            }
            other => {
                if let Some(deadline) = other.deadline() {
                    self.close(key, CloseReason::TimedOut(deadline));
                }
            }
        }
    }

    /// Ends the connections that only wait for a next request; the others end with their reply.
    pub(crate) fn stop_http(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let kept = conn.has_input();
        let Some(http) = conn.http() else { return };
        http.bits.keep_alive = false;
        if http.phase == Phase::Head && !kept && !http.bits.busy {
            self.drain(key);
        }
    }
}

impl<S> Net<'_, S> {
    /// Answers a request: the connection's unanswered one, or the one that a [`ReplyId`] names.
    ///
    /// `Gone` when the connection, or the named request, is over; `Invalid`, and nothing is sent, when no request is
    /// unanswered or the response has a header that may not be sent ([`Response::validate`] names it). Answering in
    /// `HttpHead` refuses the body: `HttpRequest` does not come.
    pub fn reply(&mut self, to: impl Into<ReplyId>, response: Response<'_>) -> Sent {
        let to = to.into();
        self.core.reply(to.conn.0, to.seq, &response)
    }

    /// Promises to answer the connection's request later. Requests behind it wait, unread.
    ///
    /// `None` when there is no unanswered request. A promise that is not kept within `Limits::reply_timeout` closes the
    /// connection.
    pub fn defer(&mut self, conn: ConnId) -> Option<ReplyId> {
        let http = self.core.http_mut(conn.0)?;
        if !http.is_asked() {
            return None;
        }
        http.reply = Reply::Deferred;
        Some(ReplyId { conn, seq: http.seq })
    }

    /// Chooses how the body of the connection's request comes. Only while its `HttpHead` is told; later it has no effect.
    pub fn body(&mut self, conn: ConnId, body: Body) {
        let Some(http) = self.core.http_mut(conn.0) else { return };
        if !http.bits.choosing {
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

    /// Begins a reply whose body follows in pieces: [`write`](Self::write), then [`finish`](Self::finish). Chunked for
    /// HTTP/1.1; for HTTP/1.0 the connection closes behind it. The response's own body is not used.
    ///
    /// A reply in progress to which nothing is written for `Limits::reply_timeout` closes the connection.
    pub fn start(&mut self, to: impl Into<ReplyId>, response: Response<'_>) -> Sent {
        let to = to.into();
        self.core.start(to, &response)
    }

    /// Begins a stream of server-sent events: as [`start`](Self::start), of `text/event-stream`, and never closed for
    /// its silence. Send comments to learn of clients that are gone.
    pub fn start_events(&mut self, to: impl Into<ReplyId>) -> Sent {
        let to = to.into();
        let response = Response::new(200).content_type("text/event-stream").header("Cache-Control", "no-cache");
        let sent = self.core.start(to, &response);
        if let Some(http) = self.core.http_mut(to.conn.0).filter(|_| sent.is_queued()) {
            http.bits.endless = true;
        }
        sent
    }

    /// Writes a piece of a reply that was begun with [`start`](Self::start). An empty piece is nothing.
    pub fn write(&mut self, to: impl Into<ReplyId>, bytes: &[u8]) -> Sent {
        let to = to.into();
        self.core.write_piece(to, bytes.len(), |core, key| core.send(key, bytes))
    }

    /// As [`write`](Self::write), without copying.
    pub fn write_shared(&mut self, to: impl Into<ReplyId>, bytes: Bytes) -> Sent {
        let to = to.into();
        self.core.write_piece(to, bytes.len(), |core, key| core.send_shared(key, bytes))
    }

    /// Ends a reply that was begun with [`start`](Self::start), with trailers (`&[]` for none), which HTTP/1.0 and HEAD
    /// drop.
    pub fn finish(&mut self, to: impl Into<ReplyId>, trailers: &[(&str, &str)]) -> Sent {
        let to = to.into();
        self.core.finish(to, trailers)
    }
}

impl<S> Core<S> {
    fn start(&mut self, to: ReplyId, response: &Response<'_>) -> Sent {
        self.begin_reply(to.conn.0, to.seq, |out, ask| {
            let len = out.len();
            let encoded = encode::encode_head(out, response, ask, Framing::Chunked).ok()?;
            let reply = match encoded.framing {
                Some(Framing::Chunked) => Reply::Chunked,
                Some(Framing::UntilClose) => Reply::UntilClose,
                None if ask.head_request => Reply::Bodiless,
                // A status that has no body cannot be streamed.
                Some(Framing::Length(_)) | None => {
                    out.truncate(len);
                    return None;
                }
            };
            Some((encoded.keep_alive, reply))
        })
    }

    fn stream_of(&mut self, to: ReplyId) -> Result<Reply, Sent> {
        let Some(conn) = self.conns.get_mut(to.conn.0).filter(|conn| conn.takes_output()) else {
            return Err(Sent::Gone);
        };
        let Some(http) = conn.http() else { return Err(Sent::Invalid) };
        if to.seq != 0 && to.seq != http.seq {
            return Err(Sent::Gone);
        }
        match http.reply {
            reply @ (Reply::Chunked | Reply::UntilClose | Reply::Bodiless) => Ok(reply),
            Reply::None | Reply::Deferred | Reply::Done => Err(Sent::Invalid),
        }
    }

    fn write_piece(&mut self, to: ReplyId, len: usize, write: impl FnOnce(&mut Self, Key) -> Sent) -> Sent {
        let key = to.conn.0;
        let reply = match self.stream_of(to) {
            Ok(reply) => reply,
            Err(sent) => return sent,
        };
        if len == 0 || reply == Reply::Bodiless {
            // An empty chunk would end the body.
            return Sent::Queued;
        }
        if reply == Reply::Chunked {
            let sent = self.queue(key, |output| encode::put_chunk_prefix(output.tail(), len));
            if !sent.is_queued() {
                return sent;
            }
        }
        let mut sent = write(self, key);
        if reply == Reply::Chunked && sent.is_queued() {
            sent = self.send(key, encode::CHUNK_SUFFIX);
        }
        sent
    }

    fn finish(&mut self, to: ReplyId, trailers: &[(&str, &str)]) -> Sent {
        let key = to.conn.0;
        let reply = match self.stream_of(to) {
            Ok(reply) => reply,
            Err(sent) => return sent,
        };
        let mut sent = Sent::Queued;
        if reply == Reply::Chunked {
            let mut encoded = Ok(());
            sent = self.queue(key, |output| encoded = encode::put_last_chunk(output.tail(), trailers));
            if encoded.is_err() {
                return Sent::Invalid;
            }
        }
        if sent.is_queued() {
            self.end_reply(key);
        }
        sent
    }
}

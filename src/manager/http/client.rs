//! HTTP as a client: between the connection, the parsers of `proto::http`, and the handler.
//!
//! One request is under way at a time; those behind it wait for the end of its response. Here is what comes in; `ask` has
//! what goes out, `origin` where to, `fetch` and `redirect` whole errands, `waits` the deadlines.

mod ask;
mod fetch;
mod origin;
mod redirect;
mod waits;

use std::collections::VecDeque;
use std::rc::Rc;

use crate::buf::WriteBuf;
use crate::error::{Error, Kind};
use crate::event::{CloseReason, Event};
use crate::id::Key;
use crate::manager::conn::{Conn, Flags, Io, Proto};
use crate::manager::core::{Core, Stop};
use crate::manager::dispatch;
use crate::proto::http::body::{BodyDecoder, Piece};
use crate::proto::http::head::{self, Asked, HeaderSpace, ResponseHead, Scan};
use crate::proto::http::{BodyLen, HeadLimits, ResponseView};

use super::{BODY_ROOM, Body, Choice, Due, Incoming, head_limits};

pub(crate) use self::origin::Origin;

/// The HTTP state of a connection that we made.
pub(crate) struct ClientConn {
    scan: Scan,
    phase: Phase,
    /// What the response under way answers.
    asked: Asked,
    upload: Upload,
    bits: Bits,
    /// Bytes that the connection sends before those of the request under way.
    sent_before: u64,
    /// Interim responses to the request under way.
    interims: usize,
    /// How the body comes, where the handler has chosen.
    choice: Option<Choice>,
    body: Option<Box<Incoming>>,
    /// What waits for a 100.
    held: Option<Box<WriteBuf>>,
    /// Requests that wait for the response before theirs.
    queue: VecDeque<ask::Pending>,
    origin: Rc<Origin>,
    fetch: Option<Box<fetch::Fetch>>,
}

/// Where the response is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing was asked.
    Idle,
    /// A request is under way; the head of its response is not here.
    Head,
    Body,
    /// The last response of this connection has come.
    Over,
}

/// What is still to come of a request whose body is streamed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Upload {
    Done,
    Chunked,
    Length(u64),
}

#[derive(Clone, Copy, Default)]
struct Bits {
    /// So far, the connection can go on after the response under way.
    keep_alive: bool,
    /// It is this side that ends it.
    ours: bool,
    /// `HttpResponseHead` is being told: the body can be chosen.
    choosing: bool,
    /// Closes after one response.
    one_shot: bool,
}

impl ClientConn {
    pub(crate) fn new(origin: Origin) -> Self {
        // The proxy is asked before anybody else.
        let (phase, asked) = match origin.tunnel() {
            Some(_) => (Phase::Head, Asked::Connect),
            None => (Phase::Idle, Asked::Other),
        };
        Self {
            scan: Scan::default(),
            phase,
            asked,
            upload: Upload::Done,
            bits: Bits { keep_alive: true, ..Bits::default() },
            sent_before: 0,
            interims: 0,
            choice: None,
            body: None,
            held: None,
            queue: VecDeque::new(),
            origin: Rc::new(origin),
            fetch: None,
        }
    }

    /// A tunnel is being asked for: nothing else is established before.
    pub(crate) fn is_tunnelling(&self) -> bool {
        self.asked == Asked::Connect
    }

    /// Nothing is asked, so nothing is on its way.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Over)
    }

    /// A response is still to come, in whole or in part.
    pub(crate) fn awaits(&self) -> bool {
        matches!(self.phase, Phase::Head | Phase::Body)
    }

    /// All of the body has come, and the handler has not been told that the response is whole.
    fn has_body_end(&self) -> bool {
        self.phase == Phase::Body && self.body.as_ref().is_some_and(|incoming| incoming.decoder.is_done())
    }
}

impl Conn {
    pub(super) fn client(&mut self) -> Option<&mut ClientConn> {
        match &mut self.proto {
            Proto::Client(client) => Some(client),
            Proto::Raw | Proto::Http(_) => None,
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => None,
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => None,
        }
    }

    fn is_served(&self) -> bool {
        self.takes_output() && matches!(self.io, Io::Stream(_))
    }
}

impl<S> Core<S> {
    fn client_mut(&mut self, key: Key) -> Option<&mut ClientConn> {
        self.conns.get_mut(key).and_then(Conn::client)
    }

    /// Uses what it can of the connection's input; returns how much that was.
    pub(crate) fn serve_client(&mut self, state: &mut S, key: Key, bytes: &[u8]) -> usize {
        let mut space = self.header_space.take().unwrap_or_default();
        let used = self.take_responses(state, key, bytes, &mut space);
        self.header_space = Some(space);
        used
    }

    fn take_responses(&mut self, state: &mut S, key: Key, bytes: &[u8], space: &mut HeaderSpace) -> usize {
        let mut used = 0;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return bytes.len() };
            conn.flags.clear(Flags::BACKLOG);
            if !conn.is_served() {
                // On its way out, or on its way to another server.
                return bytes.len();
            }
            let takes_input = conn.takes_input();
            let limits = head_limits(&conn.limits);
            let sent = conn.bytes_out;
            let Some(client) = conn.client() else { return bytes.len() };
            if used == bytes.len() && !client.has_body_end() {
                return used;
            }
            if !takes_input {
                conn.flags.set(Flags::BACKLOG);
                return used;
            }
            match client.phase {
                Phase::Idle | Phase::Over => {
                    self.bad_response(key, &"bytes that nobody asked for");
                    return bytes.len();
                }
                // RFC 9112 §9.2: the request is still here.
                Phase::Head if sent <= client.sent_before => {
                    self.bad_response(key, &"it came before it was asked for");
                    return bytes.len();
                }
                Phase::Body => used += self.take_response_body(state, key, &bytes[used..]),
                Phase::Head => {
                    match head::parse_response(&bytes[used..], &mut client.scan, &limits, space, client.asked) {
                        Ok(None) => return used,
                        Ok(Some((head, len))) => {
                            used += len;
                            used += self.take_response(state, key, &head, &bytes[used..]);
                        }
                        Err(e) => {
                            self.bad_response(key, &e);
                            return bytes.len();
                        }
                    }
                }
            }
        }
    }

    /// A head has come: tells of it, and of the whole response if the rest is there as well. Returns how much of the rest
    /// was used.
    fn take_response(&mut self, state: &mut S, key: Key, head: &ResponseHead<'_>, rest: &[u8]) -> usize {
        if head.status() < 200 {
            self.take_interim(key, head.status());
            return 0;
        }
        let Some(conn) = self.conns.get_mut(key) else { return 0 };
        let remote = conn.remote.addr();
        let body_max = conn.limits.body_max;
        let Some(client) = conn.client() else { return 0 };
        if client.is_tunnelling() {
            self.take_tunnel(state, key, head, !rest.is_empty());
            return 0;
        }
        client.bits.keep_alive &= head.keep_alive();
        if client.held.take().is_some() {
            // RFC 9110 §10.1.1: answered without the body, which the server may or may not still expect.
            client.bits.keep_alive = false;
        }
        if client.fetch.is_some() && self.follow(key, head) {
            return rest.len();
        }
        let Some(client) = self.client_mut(key) else { return 0 };
        client.choice = None;
        client.bits.choosing = true;
        let mut view = ResponseView::new(*head, &[], remote);
        dispatch::call(state, self, key, Event::HttpResponseHead(&view));

        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.is_served()) else { return 0 };
        let is_paused = conn.flags.has(Flags::PAUSED);
        let Some(client) = conn.client() else { return 0 };
        client.bits.choosing = false;
        let choice = client.choice.unwrap_or(Choice::Collect(body_max));
        let decoder = match BodyDecoder::new(head.body_len(), choice.max()) {
            Ok(decoder) => decoder,
            Err(e) => {
                self.bad_response(key, &e);
                return 0;
            }
        };
        let len = match head.body_len() {
            BodyLen::None => Some(0),
            BodyLen::Length(len) => Some(len),
            BodyLen::Chunked | BodyLen::UntilClose => None,
        };
        let is_plain = len == Some(0) || matches!(choice, Choice::Collect(_));
        if is_plain && !is_paused && len.is_some_and(|len| len <= rest.len() as u64) {
            let len = len.unwrap_or(0) as usize;
            view.set_body(&rest[..len]);
            self.complete_response(state, key, &view, rest.len() > len);
            return len;
        }
        let room = match (choice, len) {
            (Choice::Collect(max), Some(len)) => (len as usize).min(max).min(BODY_ROOM),
            _ => 0,
        };
        let bytes = Vec::with_capacity(room);
        client.phase = Phase::Body;
        client.body = Some(Box::new(Incoming { head: head.raw().to_vec(), bytes, decoder, choice }));
        0
    }

    /// RFC 9110 §15.2: any number of them may come first, but nobody needs many.
    #[cold]
    fn take_interim(&mut self, key: Key, status: u16) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let interims_max = conn.limits.interims_max;
        // The server has shown that it is at work.
        conn.due = Due::Nothing;
        let Some(client) = conn.client() else { return };
        client.interims += 1;
        if status == 101 {
            return self.bad_response(key, &"it changes to a protocol that nobody asked for");
        }
        if client.interims > interims_max {
            return self.bad_response(key, &"too many interim responses");
        }
        if status == 100 {
            self.release_held(key);
        }
    }

    /// The proxy has answered: the way to the server is free, or it is not.
    #[cold]
    fn take_tunnel(&mut self, state: &mut S, key: Key, head: &ResponseHead<'_>, surplus: bool) {
        let Some(client) = self.client_mut(key) else { return };
        if !head.is_success() {
            let why = format!("cannot connect to {}: the proxy answered {}", client.origin.url(), head.status());
            return self.close(key, CloseReason::Connect(Error::new(Kind::Connect, why)));
        }
        if surplus {
            return self.bad_response(key, &"bytes that nobody asked for");
        }
        client.asked = Asked::Other;
        client.phase = Phase::Idle;
        dispatch::call(state, self, key, Event::Connected);
        self.start_next(key);
    }

    /// More of a body has come. Returns how much of it was used.
    fn take_response_body(&mut self, state: &mut S, key: Key, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        loop {
            let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.is_served()) else { return bytes.len() };
            if !conn.takes_input() {
                return bytes.len() - rest.len();
            }
            let Some(client) = conn.client() else { return bytes.len() };
            let Some(incoming) = client.body.as_deref_mut() else { return bytes.len() };
            match (incoming.decoder.next(&mut rest), incoming.choice) {
                (Ok(Piece::NeedMore), _) => return bytes.len() - rest.len(),
                (Ok(Piece::End), _) => {
                    self.complete_response_body(state, key, !rest.is_empty());
                    return bytes.len() - rest.len();
                }
                (Ok(Piece::Data(data)), Choice::Collect(_)) => incoming.bytes.extend_from_slice(data),
                (Ok(Piece::Data(data)), Choice::Stream) => dispatch::call(state, self, key, Event::HttpBody(data)),
                (Err(e), _) => {
                    self.bad_response(key, &e);
                    return bytes.len();
                }
            }
        }
    }

    /// A body that came in pieces is whole.
    fn complete_response_body(&mut self, state: &mut S, key: Key, surplus: bool) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let remote = conn.remote.addr();
        let Some(client) = conn.client() else { return };
        let Some(incoming) = client.body.take() else { return };
        // It was parsed and accepted under the limits of its time; those do not shrink afterwards.
        let limits =
            HeadLimits { head_max: incoming.head.len() + 1, headers_max: head::HEADERS_CAP, target_max: usize::MAX };
        let mut space = HeaderSpace::new();
        let asked = client.asked;
        match head::parse_response(&incoming.head, &mut Scan::default(), &limits, &mut space, asked) {
            Ok(Some((head, _))) => {
                self.complete_response(state, key, &ResponseView::new(head, &incoming.bytes, remote), surplus);
            }
            Ok(None) | Err(_) => self.bad_response(key, &"its head does not parse twice"),
        }
    }

    /// The response is whole: tells of it, and goes on with the next request, or ends. `surplus`: there are bytes behind it.
    fn complete_response(&mut self, state: &mut S, key: Key, view: &ResponseView<'_>, surplus: bool) {
        let is_running = self.stop == Stop::Running;
        self.stats.http_responses += 1;
        let Some(client) = self.client_mut(key) else { return };
        client.bits.ours |= client.bits.one_shot || client.upload != Upload::Done || !is_running;
        let goes_on = client.bits.keep_alive && !client.bits.ours && !surplus;
        client.phase = if goes_on { Phase::Idle } else { Phase::Over };
        let reason = if client.bits.ours { CloseReason::Local } else { CloseReason::Peer };
        dispatch::call(state, self, key, Event::HttpResponse(view));

        if !self.conns.get(key).is_some_and(Conn::is_served) {
            return;
        }
        match goes_on {
            true => self.start_next(key),
            false if surplus => self.bad_response(key, &"bytes behind it that nobody asked for"),
            false => self.close(key, reason),
        }
    }

    /// The server has sent all that it will. That ends a body which has no other end; anything else was cut short.
    pub(crate) fn end_of_response(&mut self, state: &mut S, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let kept = conn.has_input();
        let Some(client) = conn.client() else { return };
        match client.phase {
            Phase::Idle | Phase::Over => self.close(key, CloseReason::Peer),
            Phase::Body if client.body.as_mut().is_some_and(|incoming| incoming.decoder.end()) => {
                self.complete_response_body(state, key, false);
                self.close(key, CloseReason::Peer);
            }
            Phase::Head if !kept && client.interims == 0 => {
                self.bad_response(key, &"the connection ended before it began");
            }
            // RFC 9112 §8: never taken for whole.
            Phase::Head | Phase::Body => self.bad_response(key, &"it was cut short"),
        }
    }

    /// A write has failed. The server may have answered before it stopped reading: that is worth more than the failure.
    #[cold]
    pub(crate) fn client_write_failed(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let Some(client) = conn.client().filter(|client| client.awaits()) else { return false };
        client.bits.keep_alive = false;
        client.held = None;
        conn.flags.clear(Flags::WRITABLE | Flags::HIGH);
        conn.flags.set(Flags::READABLE | Flags::READ_CLOSED);
        self.make_ready(key);
        true
    }

    #[cold]
    fn bad_response(&mut self, key: Key, why: &dyn std::fmt::Display) {
        self.stats.http_bad_responses += 1;
        self.close(key, CloseReason::Protocol(format!("response: {why}").into()));
    }

    /// Chooses how the body of the response comes, while its head is told.
    pub(super) fn choose_response_body(&mut self, key: Key, body: Body) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let body_max = conn.limits.body_max;
        let Some(client) = conn.client().filter(|client| client.bits.choosing) else { return };
        client.choice = Some(match body {
            Body::Collect => Choice::Collect(body_max),
            Body::CollectUpTo(max) => Choice::Collect(max),
            Body::Stream => Choice::Stream,
        });
    }
}

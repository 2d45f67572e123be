//! Requests of a client: whole, in pieces, now or behind others.

use std::rc::Rc;

use bytes::Bytes;

use crate::buf::WriteBuf;
use crate::error::{Error, Kind, Result};
use crate::event::Sent;
use crate::id::{ConnId, Key};
use crate::manager::conn::{Conn, Due, Io};
use crate::manager::core::Core;
use crate::manager::net::Net;
use crate::net::Url;
use crate::proto::http::encode::request::whole_body;
use crate::proto::http::encode::{self, RequestBody, RequestTo, encode_request};
use crate::proto::http::head::{Asked, Scan};
use crate::proto::http::{EncodeError, RequestBuilder, Upload as Given};

use super::{Phase, Upload, origin};

/// A request that waits for its turn.
pub(super) struct Pending {
    head: Vec<u8>,
    body: Bytes,
    what: What,
}

/// What must be known of a request while it is under way.
#[derive(Clone, Copy)]
struct What {
    asked: Asked,
    upload: Upload,
    expects: bool,
    close: bool,
}

impl<S> Net<'_, S> {
    /// Sends a request on a connection made with [`http_connect`](Self::http_connect): at once, or after the response to
    /// the one before it. What answers it comes as `HttpResponseHead` and `HttpResponse`, in the order of the requests.
    ///
    /// Its URL is a path (`/a?b`), or whole and of the connection's origin. It may be sent before `Connected`. Fails, and
    /// sends nothing, when the connection is gone or is no HTTP client's; when the request may not be sent
    /// ([`is_bad_value`](Error::is_bad_value), [`is_bad_url`](Error::is_bad_url)); and when `Limits::requests_queued_max`
    /// wait already ([`is_limit_reached`](Error::is_limit_reached)), or any at all in the case of one whose body is
    /// streamed. Whatever is unanswered when the connection closes stays so.
    ///
    /// On a kept-alive connection, a request to a path allocates nothing once the one before it is answered.
    pub fn request(&mut self, conn: ConnId, request: RequestBuilder<'_>) -> Result<()> {
        self.core.ask(conn.0, &request)
    }
}

impl<S> Core<S> {
    pub(super) fn ask(&mut self, key: Key, request: &RequestBuilder<'_>) -> Result<()> {
        let gone = || Error::new(Kind::Gone, "cannot send the request: the connection is closed, or takes no more");
        let conn = self.conns.get_mut(key).filter(|conn| conn.takes_output()).ok_or_else(gone)?;
        let queued_max = conn.limits.requests_queued_max;
        let no_client = || Error::new(Kind::BadValue, "cannot send the request: the connection is no HTTP client's");
        let client = conn.client().ok_or_else(no_client)?;
        let is_last = client.queue.back().map_or(client.bits.ours, |last| last.what.close);
        if client.phase == Phase::Over || is_last {
            return Err(gone());
        }
        let is_next = client.phase == Phase::Idle && client.queue.is_empty();
        let is_streamed = matches!(request.upload(), Given::Stream(_));
        if !is_next && (is_streamed || client.queue.len() >= queued_max) {
            self.stats.http_queues_full += 1;
            let why = if is_streamed { "one that is streamed has to be the only one" } else { "too many wait already" };
            return Err(Error::new(Kind::LimitReached, format!("cannot send the request: {why}")));
        }
        let origin = Rc::clone(&client.origin);
        let url = request.url();
        let parsed;
        let own_authorization;
        let (target, authorization) = if url.starts_with('/') || url == "*" {
            (url, &*origin.authorization)
        } else {
            parsed = Url::parse(url)?;
            if !origin.is_of(&parsed) {
                let here = origin.url();
                return Err(Error::new(Kind::BadUrl, format!("cannot ask for {parsed} on a connection to {here}")));
            }
            own_authorization = origin::authorization("Authorization", &parsed)?;
            let own = if own_authorization.is_empty() { &origin.authorization } else { &own_authorization };
            (parsed.path(), &**own)
        };
        let (base, more) = origin.forwarded();
        let to = RequestTo { target, base, host: origin.host_line(), authorization, more };
        let bad = |e: EncodeError| Error::with_source(Kind::BadValue, "cannot send the request", e);
        if !is_next {
            let mut head = Vec::new();
            let body = encode_request(&mut head, request, &to).map_err(bad)?;
            let pending = Pending { head, body: whole_body(request), what: What::of(request, body) };
            if let Some(client) = self.client_mut(key) {
                client.queue.push_back(pending);
            }
            return Ok(());
        }
        let holds = request.expects();
        let sent_before = self.will_have_sent(key);
        let mut encoded = Ok(RequestBody::None);
        let sent = self.queue(key, |output| {
            encoded = encode_request(output.tail(), request, &to);
            if encoded.is_ok() && !holds {
                match request.upload() {
                    Given::None | Given::Stream(_) => {}
                    Given::Slice(body) => output.push(body),
                    Given::Shared(body) => output.push_shared(body.clone()),
                }
            }
        });
        let body = encoded.map_err(bad)?;
        if !sent.is_queued() {
            return Err(gone());
        }
        let held = if holds { whole_body(request) } else { Bytes::new() };
        self.begin_request(key, What::of(request, body), held, sent_before);
        Ok(())
    }

    /// Bytes that the connection has sent when its output is gone.
    fn will_have_sent(&self, key: Key) -> u64 {
        self.conns.get(key).map_or(0, |conn| conn.bytes_out + conn.queued() as u64)
    }

    /// A request's head is queued, and its body too unless the server is to be asked first.
    fn begin_request(&mut self, key: Key, what: What, held: Bytes, sent_before: u64) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        // Each request has its own time for what it waits for.
        if matches!(conn.io, Io::Stream(_)) {
            conn.due = Due::Nothing;
        }
        let Some(client) = conn.client() else { return };
        client.scan = Scan::default();
        client.phase = Phase::Head;
        client.asked = what.asked;
        client.upload = what.upload;
        client.sent_before = sent_before;
        client.interims = 0;
        client.bits.keep_alive = true;
        client.bits.ours = what.close;
        client.held = what.expects.then(|| {
            let mut buf = Box::new(WriteBuf::default());
            buf.push_shared(held);
            buf
        });
    }

    /// Where the way leads through a tunnel: asks for that before anything else.
    pub(crate) fn ask_for_tunnel(&mut self, key: Key) {
        let sent_before = self.will_have_sent(key);
        let Some(client) = self.client_mut(key) else { return };
        client.sent_before = sent_before;
        let origin = Rc::clone(&client.origin);
        if let Some(request) = origin.tunnel() {
            self.send(key, request.as_bytes());
        }
    }

    /// The connection is free: sends what waits, if anything does.
    pub(super) fn start_next(&mut self, key: Key) {
        let Some(client) = self.client_mut(key).filter(|client| client.phase == Phase::Idle) else { return };
        let Some(Pending { head, body, what }) = client.queue.pop_front() else { return };
        let mut held = Bytes::new();
        let sent_before = self.will_have_sent(key);
        let sent = self.queue(key, |output| {
            output.push(&head);
            if what.expects { held = body } else { output.push_shared(body) }
        });
        if sent.is_queued() {
            self.begin_request(key, what, held, sent_before);
        }
    }

    /// The server wants the body, or has had its time to refuse it.
    pub(super) fn release_held(&mut self, key: Key) {
        let Some(client) = self.client_mut(key) else { return };
        let Some(mut held) = client.held.take() else { return };
        // What was admitted before has no cap.
        self.queue_end(key, |output| output.append(&mut held));
    }

    /// A piece of a request's body. `Invalid`: no client's request is being streamed here, or it promised less.
    pub(in crate::manager::http) fn write_upload(
        &mut self,
        key: Key,
        len: usize,
        write: impl FnOnce(&mut WriteBuf),
    ) -> Sent {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.takes_output()) else { return Sent::Gone };
        let (high, max) = (conn.limits.write_high, conn.limits.write_max);
        let at = self.now.after(conn.limits.reply_timeout);
        let is_ours = conn.due == Due::Reply;
        let Some(client) = conn.client() else { return Sent::Invalid };
        let chunked = match &mut client.upload {
            Upload::Done => return Sent::Invalid,
            Upload::Chunked => true,
            Upload::Length(left) => match left.checked_sub(len as u64) {
                Some(rest) => {
                    *left = rest;
                    false
                }
                None => return Sent::Invalid,
            },
        };
        if len == 0 {
            // An empty chunk would end the body.
            return Sent::Queued;
        }
        let write = |output: &mut WriteBuf| {
            if !chunked {
                return write(output);
            }
            encode::put_chunk_prefix(output.tail(), len);
            write(output);
            output.push(encode::CHUNK_SUFFIX);
        };
        if let Some(held) = &mut client.held {
            if held.len() >= max {
                return Sent::Full;
            }
            write(held);
            return if held.len() > high { Sent::High } else { Sent::Queued };
        }
        if is_ours {
            self.set_due(key, Due::Reply, at);
        }
        self.queue(key, write)
    }

    /// The end of a request's body.
    pub(in crate::manager::http) fn finish_upload(&mut self, key: Key, trailers: &[(&str, &str)]) -> Sent {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.takes_output()) else { return Sent::Gone };
        let Some(client) = conn.client() else { return Sent::Invalid };
        match client.upload {
            Upload::Chunked if encode::check_trailers(trailers).is_ok() => {}
            Upload::Length(0) if trailers.is_empty() => {}
            Upload::Done | Upload::Chunked | Upload::Length(_) => return Sent::Invalid,
        }
        let is_chunked = client.upload == Upload::Chunked;
        client.upload = Upload::Done;
        let end = |output: &mut WriteBuf| drop(encode::put_last_chunk(output.tail(), trailers));
        let sent = match (is_chunked, &mut client.held) {
            (false, _) => Sent::Queued,
            (true, Some(held)) => {
                end(held);
                Sent::Queued
            }
            (true, None) => self.queue_end(key, end),
        };
        // Also where nothing is to be flushed: the connection waits for something else now.
        self.mark_dirty(key);
        sent
    }
}

impl What {
    fn of(request: &RequestBuilder<'_>, body: RequestBody) -> Self {
        let asked = if request.method() == "HEAD" { Asked::Head } else { Asked::Other };
        let upload = match (request.upload(), body) {
            (Given::Stream(_), RequestBody::Chunked) => Upload::Chunked,
            (Given::Stream(_), RequestBody::Length(len)) => Upload::Length(len),
            _ => Upload::Done,
        };
        Self { asked, upload, expects: request.expects(), close: request.wants_close() }
    }
}

impl Conn {
    /// The request is being streamed, and not finished.
    pub(super) fn uploads(&mut self) -> bool {
        self.client().is_some_and(|client| client.upload != Upload::Done)
    }
}

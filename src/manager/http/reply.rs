//! Replies to HTTP requests: whole, in pieces, now or later.

use bytes::Bytes;

use crate::buf::WriteBuf;
use crate::event::Sent;
use crate::id::{ConnId, Key};
use crate::manager::conn::{Conn, Due, Flags, Proto};
use crate::manager::core::{Core, Stop};
use crate::manager::net::Net;
use crate::proto::http::encode::{self, Framing, ReplyTo, UsualHead};
use crate::proto::http::{Response, Version};

use super::{Bits, HttpConn, Phase, Reply, ReplyId};

impl<S> Net<'_, S> {
    /// Answers a request: the connection's unanswered one, or the one that a [`ReplyId`] names.
    ///
    /// `Gone` when the connection, or the named request, is over; `Invalid`, and nothing is sent, when no request is
    /// unanswered or the response has a header that may not be sent ([`Response::validate`] names it). Answering in
    /// `HttpHead` refuses the body: `HttpRequest` does not come.
    ///
    /// An interim reply, of status 100 or 102 to 199, leaves the request unanswered; HTTP/1.0 clients do not get it.
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

    /// Begins a reply whose body follows in pieces: [`write`](Self::write), then [`finish`](Self::finish). Chunked for
    /// HTTP/1.1; for HTTP/1.0 the connection closes behind it. The response's own body is not used.
    ///
    /// A reply in progress to which nothing is written for `Limits::reply_timeout` closes the connection.
    pub fn start(&mut self, to: impl Into<ReplyId>, response: Response<'_>) -> Sent {
        let to = to.into();
        self.core.start(to, &response)
    }

    /// Begins a stream of server-sent events: as [`start`](Self::start), of `text/event-stream`, and never closed for
    /// its silence. Send comments to learn of clients that are gone. It ends when the manager stops. For the same events
    /// to many clients there is [`EventHub`](super::EventHub).
    pub fn start_events(&mut self, to: impl Into<ReplyId>) -> Sent {
        let to = to.into();
        self.core.start_events(to)
    }

    /// Writes a piece of a reply that was begun with [`start`](Self::start), or of a client's request whose body is
    /// streamed. An empty piece is nothing. `Invalid` where neither is under way, and for more than a request promised.
    pub fn write(&mut self, to: impl Into<ReplyId>, bytes: &[u8]) -> Sent {
        let to = to.into();
        self.core.write_piece(to, bytes.len(), |output| output.push(bytes))
    }

    /// As [`write`](Self::write), without copying.
    pub fn write_shared(&mut self, to: impl Into<ReplyId>, bytes: Bytes) -> Sent {
        let to = to.into();
        self.core.write_piece(to, bytes.len(), |output| output.push_shared(bytes))
    }

    /// Ends a reply that was begun with [`start`](Self::start), or a client's request that is streamed, with trailers (`&[]` for none), which HTTP/1.0 and HEAD
    /// drop.
    pub fn finish(&mut self, to: impl Into<ReplyId>, trailers: &[(&str, &str)]) -> Sent {
        let to = to.into();
        self.core.finish(to, trailers)
    }
}

impl HttpConn {
    /// The request of this number (0: whichever there is) is done with.
    fn is_over(&self, seq: u32) -> bool {
        seq != 0 && (seq != self.seq || !self.is_in_request())
    }
}

impl<S> Core<S> {
    /// Answers the request `seq` (0: whichever is unanswered) of a connection.
    pub(super) fn reply(&mut self, key: Key, seq: u32, response: &Response<'_>) -> Sent {
        if matches!(response.status(), 100..=199) {
            return self.interim_reply(key, seq, response);
        }
        self.begin_reply(key, seq, |output, to, last| {
            let (encoded, body) = encode::encode_again(output.tail(), response, to, last).ok()?;
            if let Some(body) = body {
                output.push_shared(body);
            }
            Some((encoded.keep_alive, Reply::Done))
        })
    }

    /// Sends an interim reply (RFC 9110 §15.2): the request stays unanswered.
    #[cold]
    fn interim_reply(&mut self, key: Key, seq: u32, response: &Response<'_>) -> Sent {
        let date = *self.date.get(self.now, &self.clock);
        let http = match self.request_of(key, seq) {
            Ok(http) if http.is_asked() => http,
            Ok(_) => return Sent::Invalid,
            Err(sent) => return sent,
        };
        let is_10 = http.version == Version::Http10;
        if response.status() == 101 || response.validate().is_err() {
            return Sent::Invalid;
        }
        if response.status() == 100 {
            http.bits.clear(Bits::EXPECTS);
        }
        if is_10 {
            // An HTTP/1.0 client would take it for the reply.
            return Sent::Queued;
        }
        let to = ReplyTo { version: Version::Http11, head_request: false, keep_alive: true, date: &date };
        let mut encoded = Ok(());
        let sent = self.queue(key, |output| encoded = encode::encode_reply(output.tail(), response, &to).map(drop));
        if encoded.is_err() { Sent::Invalid } else { sent }
    }

    /// The connection's request, if it is the one of this number (0: whichever there is).
    fn request_of(&mut self, key: Key, seq: u32) -> Result<&mut HttpConn, Sent> {
        let conn = self.conns.get_mut(key).filter(|conn| conn.takes_output()).ok_or(Sent::Gone)?;
        let http = conn.http().ok_or(Sent::Invalid)?;
        if http.is_over(seq) { Err(Sent::Gone) } else { Ok(http) }
    }

    /// Queues the beginning of a reply, or all of it, or nothing: `encode` says what becomes of the connection and of the
    /// reply.
    pub(super) fn begin_reply(
        &mut self,
        key: Key,
        seq: u32,
        encode: impl FnOnce(&mut WriteBuf, &ReplyTo<'_>, &mut UsualHead) -> Option<(bool, Reply)>,
    ) -> Sent {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.takes_output()) else { return Sent::Gone };
        let Conn { proto: Proto::Http(http), output, limits, .. } = conn else { return Sent::Invalid };
        if http.is_over(seq) {
            return Sent::Gone;
        }
        if !http.is_asked() {
            return Sent::Invalid;
        }
        let output = output.get_or_insert_with(|| self.pool.take_write());
        if output.len() >= limits.write_max {
            return self.is_slow(key);
        }
        let goes_on = self.stop == Stop::Running;
        let to = ReplyTo {
            version: http.version,
            head_request: http.bits.has(Bits::HEAD_REQUEST),
            keep_alive: goes_on && http.bits.has(Bits::KEEP_ALIVE) && !http.bits.has(Bits::BODY_PENDING),
            date: self.date.get(self.now, &self.clock),
        };
        let begun = encode(output, &to, &mut self.usual_head);
        if let Some((keep_alive, reply)) = begun {
            // A client that did not ask for the close may have sent more already, which would make it a reset and cost
            // the client what it has not read yet (RFC 9112 §9.6).
            if http.bits.has(Bits::WANTS_MORE) && !keep_alive {
                http.bits.set(Bits::UNREAD);
            }
            http.bits.put(Bits::KEEP_ALIVE, keep_alive);
            http.reply = reply;
        }
        let ends = http.reply == Reply::Done && !http.bits.has(Bits::BUSY);
        let sent = conn.appended(key, &mut self.dirty, &mut self.stats);
        if begun.is_none() {
            return Sent::Invalid;
        }
        if ends {
            self.end_reply(key);
        }
        sent
    }

    /// The reply is complete: goes on, unless `serve_http` stands above us and will.
    pub(super) fn end_reply(&mut self, key: Key) {
        let Some(http) = self.http_mut(key) else { return };
        http.reply = Reply::Done;
        if http.bits.has(Bits::BUSY) {
            return;
        }
        match http.phase {
            // Answered from elsewhere before the body came.
            Phase::Body if http.bits.has(Bits::BODY_PENDING) => self.end_http(key),
            Phase::Body | Phase::Answer => {
                self.finish_reply(key);
                // What is there already waits for nothing else.
                let waits = Flags::BACKLOG | Flags::READABLE | Flags::EOF;
                if self.conns.get(key).is_some_and(|conn| conn.flags.has(waits)) {
                    self.make_ready(key);
                }
            }
            Phase::Head => {}
        }
    }

    /// Makes the connection fit for its next request, or ends it. Where it is served, that goes on with what is there.
    pub(super) fn finish_reply(&mut self, key: Key) {
        if self.http_mut(key).is_some_and(|http| !http.finish()) {
            self.end_http(key);
        }
    }

    fn start(&mut self, to: ReplyId, response: &Response<'_>) -> Sent {
        // What has no body cannot be streamed, whatever the method.
        let has_body = !matches!(response.status(), 100..=199 | 204 | 205 | 304);
        self.begin_reply(to.conn.0, to.seq, |output, ask, _| {
            let encoded =
                has_body.then(|| encode::encode_head(output.tail(), response, ask, Framing::Chunked).ok())??;
            let reply = match encoded.framing {
                Some(Framing::Chunked) => Reply::Chunked,
                Some(Framing::Length(_) | Framing::UntilClose) => Reply::UntilClose,
                None => Reply::Bodiless,
            };
            Some((encoded.keep_alive, reply))
        })
    }

    pub(super) fn start_events(&mut self, to: ReplyId) -> Sent {
        let response = Response::new(200).content_type("text/event-stream").header("Cache-Control", "no-cache");
        let sent = self.start(to, &response);
        if let Some(http) = self.http_mut(to.conn.0).filter(|_| sent.is_queued()) {
            http.bits.set(Bits::ENDLESS);
        }
        sent
    }

    pub(super) fn stream_of(&mut self, to: ReplyId) -> Result<Reply, Sent> {
        match self.request_of(to.conn.0, to.seq)?.reply {
            reply @ (Reply::Chunked | Reply::UntilClose | Reply::Bodiless) => Ok(reply),
            Reply::None | Reply::Deferred | Reply::Done => Err(Sent::Invalid),
        }
    }

    fn write_piece(&mut self, to: ReplyId, len: usize, write: impl FnOnce(&mut WriteBuf)) -> Sent {
        let key = to.conn.0;
        let reply = match self.stream_of(to) {
            Ok(reply) => reply,
            Err(Sent::Invalid) => return self.write_upload(key, len, write),
            Err(sent) => return sent,
        };
        if let Some(conn) = self.conns.get_mut(key)
            && conn.due == Due::Reply
        {
            let at = self.now.after(conn.limits.reply_timeout);
            self.set_due(key, Due::Reply, at);
        }
        if len == 0 || reply == Reply::Bodiless {
            // An empty chunk would end the body.
            return Sent::Queued;
        }
        self.queue(key, |output| {
            if reply != Reply::Chunked {
                return write(output);
            }
            encode::put_chunk_prefix(output.tail(), len);
            write(output);
            output.push(encode::CHUNK_SUFFIX);
        })
    }

    pub(super) fn finish(&mut self, to: ReplyId, trailers: &[(&str, &str)]) -> Sent {
        let key = to.conn.0;
        let reply = match self.stream_of(to) {
            Ok(reply) => reply,
            Err(Sent::Invalid) => return self.finish_upload(key, trailers),
            Err(sent) => return sent,
        };
        if encode::check_trailers(trailers).is_err() {
            return Sent::Invalid;
        }
        let sent = match reply {
            Reply::Chunked => self.queue_end(key, |output| drop(encode::put_last_chunk(output.tail(), trailers))),
            _ => Sent::Queued,
        };
        if sent.is_queued() {
            self.end_reply(key);
            // Also where nothing is to be flushed: the connection waits for something else now.
            self.mark_dirty(key);
        }
        sent
    }
}

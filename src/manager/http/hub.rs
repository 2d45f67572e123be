//! One stream of server-sent events for many clients.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::event::{CloseReason, Sent};
use crate::id::Key;
use crate::manager::core::Core;
use crate::manager::net::Net;
use crate::proto::http::{encode, sse};

use super::{Bits, Reply, ReplyId};

/// Sends events to every client that subscribed, and to those that come back what they missed meanwhile.
///
/// Lives in your state. An event is encoded once, however many clients there are, and kept for a while: a browser whose
/// connection broke says by `Last-Event-ID` which event it saw last. The hub numbers the events; the numbers grow with the
/// time of day, so that one of an earlier run of the program is older than all of this one.
///
/// A client that does not read has at most [`queue_max`](Self::queue_max) bytes waiting, then it is closed
/// (`CloseReason::SlowConsumer`, `Stats::slow_consumers`) and no event is left out behind its back: it comes back by
/// itself and is told what it missed. A client that left is forgotten at the next event or comment; comments are what
/// finds it while there are no events.
///
/// ```
/// use std::time::Duration;
/// use vansire::http::{EventHub, sse};
/// use vansire::{Ctx, Event, Manager};
///
/// # fn main() -> vansire::Result<()> {
/// let mut manager = Manager::new(EventHub::new())?;
/// manager.net().listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, EventHub>, ev: Event<'_>| {
///     if let Event::HttpRequest(request) = ev {
///         cx.state.subscribe(&mut cx.net, cx.conn, request.header("last-event-id"));
///     }
/// })?;
/// manager.net().timer_every(Duration::from_secs(15), |cx| cx.state.keep_alive(&mut cx.net));
/// manager.net().timer_every(Duration::from_secs(1), |cx| {
///     let sent = cx.state.publish(&mut cx.net, sse::Event::new("21.5").event("reading"));
///     debug_assert!(sent.is_ok(), "the name of the event is one line");
/// });
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct EventHub {
    clients: Vec<ReplyId>,
    /// How many clients there may be before those that left are looked for.
    sweep_at: usize,
    /// What can be sent again, the oldest first.
    kept: VecDeque<(u64, Frame)>,
    kept_bytes: usize,
    replay_events: usize,
    replay_bytes: usize,
    queue_max: usize,
    /// The number of the last event.
    last: u64,
    /// Who saw this event, or a later one, can be told everything since. None has this number before the first event.
    from: u64,
}

/// What became of a request that subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subscribed {
    /// The client gets every event from now on.
    New,
    /// It was here before, and was sent again what it had missed: this many events.
    Resumed(usize),
    /// It was here before, but longer ago than the hub remembers: it was sent what is left, this many events, and does not
    /// know what came before them.
    Behind(usize),
    /// It is not subscribed, because its reply could not begin. `Queued` is for HEAD, which has its whole reply.
    Not(Sent),
}

/// A piece of a body, ready to be queued for any number of clients.
#[derive(Debug, Clone)]
struct Frame {
    /// As a chunk (RFC 9112 §7.1).
    chunk: Bytes,
    /// As it is, which HTTP/1.0 gets: a part of the same memory.
    payload: Bytes,
}

/// Clients below which nobody looks for those that left.
const SWEEP_MIN: usize = 64;

impl Default for EventHub {
    fn default() -> Self {
        Self::new()
    }
}

impl EventHub {
    /// A hub without clients, which keeps 1,000 events or 256 KiB of them, and at most 256 KiB waiting for each client.
    pub fn new() -> Self {
        Self {
            clients: Vec::new(),
            sweep_at: SWEEP_MIN,
            kept: VecDeque::new(),
            kept_bytes: 0,
            replay_events: 1000,
            replay_bytes: 256 * 1024,
            queue_max: 256 * 1024,
            last: 0,
            from: u64::MAX,
        }
    }

    /// Sets how many events, and how many bytes of them, are kept for clients that come back. 0 keeps none.
    pub fn replay(mut self, events: usize, bytes: usize) -> Self {
        (self.replay_events, self.replay_bytes) = (events, bytes);
        self
    }

    /// Sets how many bytes may wait for one client; above it the client is closed at the next event. What may be sent
    /// again to a client that came back is granted on top.
    pub fn queue_max(mut self, bytes: usize) -> Self {
        self.queue_max = bytes;
        self
    }

    /// How many clients there are. Those that left since the last event or comment still count.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// There are no clients.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Answers a request with the stream of events, beginning behind the one that the client saw last: the value of its
    /// `Last-Event-ID` header, if it has one.
    ///
    /// Begins the reply as [`Net::start_events`] does, or goes on with one that was begun with [`Net::start`], for headers
    /// of your own. Who subscribes twice gets each event once. The stream ends when the client leaves, at [`Net::finish`], or when the manager stops.
    pub fn subscribe<S>(
        &mut self,
        net: &mut Net<'_, S>,
        to: impl Into<ReplyId>,
        last_event_id: Option<&str>,
    ) -> Subscribed {
        let to = to.into();
        let is_begun = net.core.is_streaming(to);
        let to = match net.core.join(to) {
            Ok(to) => to,
            Err(sent) => return Subscribed::Not(sent),
        };
        if self.clients.len() >= self.sweep_at {
            self.clients.retain(|client| net.core.is_streaming(*client));
            self.sweep_at = SWEEP_MIN.max(2 * self.clients.len());
        }
        // Only a stream that was begun before can be here already.
        if !is_begun || !self.clients.contains(&to) {
            self.clients.push(to);
        }
        let Some(id) = last_event_id else { return Subscribed::New };
        let known = id.parse().ok().filter(|id| (self.from..=self.last).contains(id));
        let first = self.kept.partition_point(|(id, _)| known.is_some_and(|seen| *id <= seen));
        let missed = self.kept.len() - first;
        for (_, frame) in self.kept.range(first..) {
            net.core.write_frame(to, frame, usize::MAX);
        }
        if known.is_some() { Subscribed::Resumed(missed) } else { Subscribed::Behind(missed) }
    }

    /// Sends an event to every client. Answers its number, which is its id: one of its own is replaced.
    ///
    /// On error, for a name of more than one line, nothing is sent. Costs one encoding, and for each client a copy of up
    /// to 1 KiB or, where the event is longer, a reference.
    pub fn publish<S>(&mut self, net: &mut Net<'_, S>, event: sse::Event<'_>) -> Result<u64, sse::BadField> {
        let id = net.core.unix_millis().max(self.last.saturating_add(1));
        let mut text = Vec::new();
        event.id(itoa::Buffer::new().format(id)).encode(&mut text)?;
        let frame = Frame::new(&text);
        let queue_max = self.queue_max.saturating_add(self.replay_bytes);
        self.clients.retain(|client| net.core.write_frame(*client, &frame, queue_max).is_queued());
        // Moves once, at the first event.
        self.from = self.from.min(id);
        self.last = id;
        self.keep(id, frame);
        Ok(id)
    }

    /// Sends a comment to every client for which nothing waits. Clients ignore it; it keeps proxies from closing a quiet
    /// connection, and finds out who left. Every 15 s is usual (HTML Standard §9.2.7).
    pub fn keep_alive<S>(&mut self, net: &mut Net<'_, S>) {
        let comment = Frame { chunk: Bytes::from_static(b"3\r\n:\n\n\r\n"), payload: Bytes::from_static(b":\n\n") };
        self.clients.retain(|client| {
            net.queued(client.conn) > 0 && net.core.is_streaming(*client)
                || net.core.write_frame(*client, &comment, usize::MAX).is_queued()
        });
    }

    fn keep(&mut self, id: u64, frame: Frame) {
        self.kept_bytes += frame.payload.len();
        self.kept.push_back((id, frame));
        while self.kept.len() > self.replay_events || self.kept_bytes > self.replay_bytes {
            let Some((id, frame)) = self.kept.pop_front() else { break };
            self.kept_bytes -= frame.payload.len();
            self.from = id;
        }
    }
}

impl Frame {
    fn new(payload: &[u8]) -> Self {
        let mut chunk = Vec::with_capacity(payload.len() + 20);
        encode::put_chunk_prefix(&mut chunk, payload.len());
        let start = chunk.len();
        chunk.extend_from_slice(payload);
        chunk.extend_from_slice(encode::CHUNK_SUFFIX);
        let chunk = Bytes::from(chunk);
        let payload = chunk.slice(start..start + payload.len());
        Self { chunk, payload }
    }
}

impl<S> Core<S> {
    /// Begins a stream of events, unless the reply is a stream already. The answer names the request for good.
    fn join(&mut self, to: ReplyId) -> Result<ReplyId, Sent> {
        let key = to.conn.0;
        if self.stream_of(to).is_err() {
            let sent = self.start_events(to);
            if !sent.is_queued() {
                return Err(sent);
            }
        }
        let seq = self.http_mut(key).map_or(0, |http| {
            http.bits.set(Bits::ENDLESS);
            http.seq
        });
        let to = ReplyId { conn: to.conn, seq };
        match self.stream_of(to)? {
            Reply::Bodiless => Err(self.finish(to, &[])),
            _ => Ok(to),
        }
    }

    /// The request is still answered by a stream.
    fn is_streaming(&mut self, to: ReplyId) -> bool {
        self.stream_of(to).is_ok()
    }

    /// Queues a piece of a stream, or closes a client for which more than this waits already.
    fn write_frame(&mut self, to: ReplyId, frame: &Frame, queue_max: usize) -> Sent {
        let key: Key = to.conn.0;
        let reply = match self.stream_of(to) {
            Ok(reply) => reply,
            Err(sent) => return sent,
        };
        if self.conns.get(key).is_some_and(|conn| conn.queued() > queue_max) {
            self.stats.slow_consumers += 1;
            self.close(key, CloseReason::SlowConsumer);
            return Sent::Gone;
        }
        let bytes = if reply == Reply::Chunked { &frame.chunk } else { &frame.payload };
        self.queue(key, |output| output.push_shared(bytes.clone()))
    }

    /// The time of day in milliseconds.
    fn unix_millis(&self) -> u64 {
        u64::try_from(self.clock.wall().as_millis()).unwrap_or(u64::MAX)
    }
}

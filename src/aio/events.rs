//! A connection's events as a stream, for async code that wants to be its handler.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::{fmt, mem};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Event};
use crate::id::ConnId;
use crate::manager::{Ctx, Manager, job};
#[cfg(feature = "http")]
use crate::proto::http;
use crate::reactor::{Command, Job, Waker};

use super::Handle;

/// What becomes of events that come faster than they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Nothing more is read from the connection until half of the events have been taken: its peer feels back-pressure.
    Pause,
    /// What comes is dropped and counted ([`EventStream::dropped`]), but for what becomes of connections that have been told of: their
    /// end always is. A connection that was accepted meanwhile is told of by its first event that finds room, or not at all. A
    /// request is answered with 503.
    DropNewest,
    /// The connection is closed: `CloseReason::SlowConsumer`. One that has just been accepted is not told of at all.
    Close,
}

/// An event that belongs to whoever took it. Heads and pieces of streamed bodies are not among them: a body comes whole. Nor
/// are those of MQTT, which [`MqttClient`](super::MqttClient) has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum OwnedEvent {
    /// The connection exists.
    Opened,
    /// The name of the peer has been looked up.
    Resolved(IpAddr),
    /// An outbound connection is established.
    Connected,
    /// A listener accepted the connection.
    Accepted {
        /// The listener that accepted it.
        listener: ConnId,
    },
    /// Bytes from a connection without a protocol of its own.
    Data(Bytes),
    /// One datagram.
    Datagram {
        /// Who sent it.
        from: SocketAddr,
        /// Its payload.
        data: Bytes,
    },
    /// A whole request.
    #[cfg(feature = "http")]
    Request(Request),
    /// A whole response.
    #[cfg(feature = "http")]
    Response(super::Response),
    /// A time server has answered.
    #[cfg(feature = "sntp")]
    SntpTime(crate::proto::sntp::Sample),
    /// Bytes from a wakeup.
    Wakeup(Bytes),
    /// Output has left: go on sending.
    Drained,
    /// The connection is over.
    Closed(CloseReason),
}

/// A whole request, which belongs to whoever took it.
#[cfg(feature = "http")]
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target, as it was sent.
    pub target: String,
    /// The headers in their order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
    /// Names the request for the answer: `handle.with(move |cx| cx.net.reply(id, ..))`, within `Limits::reply_timeout`.
    pub reply: crate::manager::http::ReplyId,
}

/// The events of a connection, or of all that a listener accepts: [`Handle::events`].
///
/// It ends (`None`) when nothing can come any more. Dropped earlier, it leaves the connections to the default handler.
#[must_use = "dropping it ends the stream"]
pub struct EventStream {
    told: mpsc::UnboundedReceiver<(ConnId, OwnedEvent)>,
    queue: Arc<Queue>,
    waker: Waker,
    resume: fn(Vec<ConnId>) -> Job,
}

/// What both ends know.
struct Queue {
    capacity: usize,
    len: AtomicUsize,
    dropped: AtomicU64,
    paused: Mutex<Vec<ConnId>>,
}

impl<S: 'static> Handle<S> {
    /// Has the events of a connection come as a stream, from now on; of a listener, those of what it accepts from now on. It
    /// replaces their handler.
    ///
    /// `capacity` events (at least 1) wait to be taken; then `overflow` says what happens. With `Overflow::Pause` a few more may come,
    /// of what was read already, and the beginning and the end of what is accepted. Fails when the connection is gone.
    ///
    /// Cancel safety: a stream made for a caller that is gone is dropped.
    pub async fn events(&self, id: ConnId, capacity: usize, overflow: Overflow) -> Result<EventStream> {
        let (tell, told) = mpsc::unbounded_channel();
        let queue = Arc::new(Queue {
            capacity: capacity.max(1),
            len: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            paused: Mutex::default(),
        });
        let shared = Arc::clone(&queue);
        let mut told_of = HashSet::from([id]);
        let handler = move |cx: &mut Ctx<'_, S>, ev: Event<'_>| shared.handle(cx, ev, overflow, &tell, &mut told_of);
        if !self.with(move |cx| cx.net.set_handler(id, handler)).await? {
            return Err(Error::new(Kind::Gone, format!("connection {id} has no events: it is closed")));
        }
        Ok(EventStream { told, queue, waker: self.waker().clone(), resume: resume::<S> })
    }
}

/// Reads on from these connections.
fn resume<S: 'static>(paused: Vec<ConnId>) -> Job {
    job(move |manager: &mut Manager<S>| {
        for id in paused {
            manager.net().resume_read(id);
        }
    })
}

impl Queue {
    fn handle<S>(
        &self,
        cx: &mut Ctx<'_, S>,
        ev: Event<'_>,
        overflow: Overflow,
        tell: &mpsc::UnboundedSender<(ConnId, OwnedEvent)>,
        told_of: &mut HashSet<ConnId>,
    ) {
        if tell.is_closed() {
            cx.net.clear_handler(cx.conn);
            return;
        }
        if !is_handed_on(&ev) {
            return;
        }
        let is_full = self.len.load(Ordering::Acquire) >= self.capacity;
        let is_payload = !matches!(
            ev,
            Event::Opened | Event::Resolved(_) | Event::Connected | Event::Accepted { .. } | Event::Closed(_)
        );
        // Peers that come and go would fill the queue with nothing but that: once it is full, none is told of anew.
        let has_no_room = is_full && (is_payload || !told_of.contains(&cx.conn));
        if has_no_room && overflow != Overflow::Pause {
            match overflow {
                Overflow::Close => cx.net.end_slow(cx.conn),
                Overflow::DropNewest | Overflow::Pause => self.drop_event(cx, &ev),
            }
            return;
        }
        if let Event::Closed(_) = ev {
            if !told_of.remove(&cx.conn) {
                return self.drop_event(cx, &ev);
            }
        } else {
            told_of.insert(cx.conn);
        }
        let Some(event) = OwnedEvent::of(cx, ev) else { return };
        self.len.fetch_add(1, Ordering::AcqRel);
        // Whoever takes events lowers the number before it looks at who is paused, and we look at the number with that list in
        // hand: one of the two sees the other.
        if overflow == Overflow::Pause {
            let mut paused = self.paused();
            if self.len.load(Ordering::Acquire) >= self.capacity && !paused.contains(&cx.conn) {
                cx.net.pause_read(cx.conn);
                paused.push(cx.conn);
            }
        }
        // It fails where the stream is gone: the next event finds that out.
        let _ = tell.send((cx.conn, event));
    }

    fn drop_event<S>(&self, cx: &mut Ctx<'_, S>, ev: &Event<'_>) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        #[cfg(feature = "http")]
        if let Event::HttpRequest(_) = ev {
            cx.reply(http::Response::text(503, "too many requests wait\n"));
        }
        #[cfg(not(feature = "http"))]
        let _ = (cx, ev);
    }

    fn paused(&self) -> MutexGuard<'_, Vec<ConnId>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The event has an owned form.
fn is_handed_on(ev: &Event<'_>) -> bool {
    match ev {
        Event::Opened
        | Event::Resolved(_)
        | Event::Connected
        | Event::Accepted { .. }
        | Event::Data(_)
        | Event::Datagram { .. }
        | Event::Wakeup(_)
        | Event::Drained
        | Event::Closed(_) => true,
        #[cfg(feature = "http")]
        Event::HttpRequest(_) | Event::HttpResponse(_) => true,
        #[cfg(feature = "sntp")]
        Event::SntpTime(_) => true,
        // Nobody answers in time from afar.
        Event::Stopping => false,
        #[cfg(any(feature = "http", feature = "mqtt"))]
        _ => false,
    }
}

impl OwnedEvent {
    /// None for what is not handed on.
    fn of<S>(cx: &mut Ctx<'_, S>, ev: Event<'_>) -> Option<Self> {
        #[cfg(not(feature = "http"))]
        let _ = cx;
        Some(match ev {
            Event::Opened => Self::Opened,
            Event::Resolved(ip) => Self::Resolved(ip),
            Event::Connected => Self::Connected,
            Event::Accepted { listener } => Self::Accepted { listener },
            Event::Data(data) => Self::Data(Bytes::copy_from_slice(&data)),
            Event::Datagram { from, data } => Self::Datagram { from, data: Bytes::copy_from_slice(data) },
            #[cfg(feature = "http")]
            Event::HttpRequest(request) => Self::Request(Request {
                method: request.method().to_owned(),
                target: request.target().to_owned(),
                headers: request.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
                body: Bytes::copy_from_slice(request.body()),
                reply: cx.defer()?,
            }),
            #[cfg(feature = "http")]
            Event::HttpResponse(response) => Self::Response(super::Response::of(response)),
            #[cfg(feature = "sntp")]
            Event::SntpTime(sample) => Self::SntpTime(sample),
            Event::Wakeup(bytes) => Self::Wakeup(Bytes::copy_from_slice(bytes)),
            Event::Drained => Self::Drained,
            Event::Closed(reason) => Self::Closed(reason),
            Event::Stopping => return None,
            #[cfg(any(feature = "http", feature = "mqtt"))]
            _ => return None,
        })
    }
}

impl EventStream {
    /// The next event, and whose it is. None when there will be no more.
    ///
    /// Cancel safety: no event is lost.
    pub async fn next(&mut self) -> Option<(ConnId, OwnedEvent)> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// How many events were dropped, by `Overflow::DropNewest`.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped.load(Ordering::Relaxed)
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<(ConnId, OwnedEvent)>> {
        let next = self.told.poll_recv(cx);
        if let Poll::Ready(Some(_)) = &next {
            let left = self.queue.len.fetch_sub(1, Ordering::AcqRel) - 1;
            let mut paused = self.queue.paused();
            if left <= self.queue.capacity / 2 && !paused.is_empty() {
                // A loop that has stopped reads no more.
                let _ = self.waker.push(Command::Run((self.resume)(mem::take(&mut paused))));
            }
        }
        next
    }
}

impl Stream for EventStream {
    type Item = (ConnId, OwnedEvent);

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.told.close();
        let paused = mem::take(&mut *self.queue.paused());
        if !paused.is_empty() {
            // A loop that has stopped reads no more.
            let _ = self.waker.push(Command::Run((self.resume)(paused)));
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream")
            .field("len", &self.queue.len)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

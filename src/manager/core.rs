//! Everything that a manager owns, except the user's state and the handler that runs.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;

use crate::buf::{Pool, WriteBuf};
use crate::event::{CloseReason, Event, Sent};
use crate::id::{Key, Table};
use crate::net::Sockets;
use crate::options::Limits;
use crate::reactor::{Command, Inbox, Reactor, Ready, Token, Watch};
#[cfg(feature = "http")]
use crate::time::DateCache;
use crate::time::{Clock, Deadlines, Moment, Owner};

use super::conn::{Conn, Due, Flags, Io, Maker};
use super::connect::Attempt;
use super::dispatch::{self, HandlerPanic};
use super::handlers::{BoxFactory, BoxHandler, HandlerRef, Released, Slots};
use super::names::Names;
use super::net::Net;
use super::outbound::Outbound;
use super::stats::Stats;
use super::timers::{BoxTick, TimerEntry};
use super::watch::Watched;

pub(crate) type TurnHook<S> = Box<dyn FnMut(&mut S, &mut Net<'_, S>)>;
pub(crate) type PanicHook<S> = Box<dyn FnMut(&mut S, &HandlerPanic<'_>)>;

pub(crate) struct Core<S> {
    pub(crate) conns: Table<Conn>,
    pub(crate) attempts: Table<Attempt>,
    pub(crate) handlers: Slots<BoxHandler<S>>,
    pub(crate) factories: Slots<BoxFactory<S>>,
    pub(crate) default_handler: HandlerRef,
    pub(crate) timers: Table<TimerEntry<S>>,
    /// Callbacks and handlers that nobody uses any more, to be dropped where a panic is caught.
    pub(crate) dropped_ticks: Vec<BoxTick<S>>,
    pub(crate) released: Vec<Released<S>>,
    pub(crate) deadlines: Deadlines,
    pub(crate) on_turn: Option<TurnHook<S>>,
    pub(crate) on_panic: Option<PanicHook<S>>,
    /// What the jobs of other threads need. None where nobody sends any.
    #[cfg(feature = "async")]
    pub(crate) jobs: Option<super::visit::Jobs<S>>,
    /// Tells others which handler runs.
    pub(crate) watch: Option<Box<Watched>>,

    pub(crate) reactor: Reactor,
    pub(crate) sockets: Sockets,
    pub(crate) events: Vec<Ready>,
    pub(crate) inbox: Inbox,
    pub(crate) mail: VecDeque<Command>,
    pub(crate) names: Names<S>,
    pub(crate) outbound: Option<Outbound<S>>,
    #[cfg(feature = "signals")]
    pub(crate) signals: Option<super::signals::Signals>,
    pub(crate) clock: Clock,
    /// The time of this turn.
    pub(crate) now: Moment,
    /// The same, as handlers are told it.
    pub(crate) instant: Instant,
    #[cfg(feature = "http")]
    pub(crate) date: DateCache,
    /// Of the last reply without headers of its own.
    #[cfg(feature = "http")]
    pub(crate) usual_head: crate::proto::http::encode::UsualHead,
    /// Room for the headers of the request that is being parsed. Out while handlers borrow from it.
    #[cfg(feature = "http")]
    pub(crate) header_space: Option<Box<crate::proto::http::head::HeaderSpace>>,
    /// What the wall clock follows, as servers tell it.
    #[cfg(feature = "sntp")]
    pub(crate) time_source: super::sntp::TimeSource,
    #[cfg(feature = "sntp")]
    pub(crate) time_sync: Option<super::sntp::Sync>,

    pub(crate) limits: Rc<Limits>,
    pub(crate) pool: Pool,
    /// Where sockets are read to. Out while handlers borrow from it.
    pub(crate) scratch: Vec<u8>,

    /// Slots with readiness, or input left over, to look at.
    pub(crate) ready: VecDeque<u32>,
    /// Lifecycle events to deliver.
    pub(crate) notices: VecDeque<(Key, Notice)>,
    /// Connections with output to flush.
    pub(crate) dirty: Vec<Key>,
    /// Connections to close at the end of the turn.
    pub(crate) closing: Vec<Key>,
    /// Connections whose output did not leave in time, of all times.
    pub(crate) undrained: usize,
    pub(crate) stop: Stop,
    pub(crate) stats: Stats,
}

/// A lifecycle event that waits for its place in the turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    Opened,
    /// An outbound connection with a literal address, or a name already looked up, may start.
    Start,
    Drained,
    /// There are ends of an MQTT client to be told.
    #[cfg(feature = "mqtt")]
    MqttEnds,
}

impl<S> fmt::Debug for Core<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("connections", &self.conns.len())
            .field("timers", &self.timers.len())
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    Running,
    /// Asked to stop gracefully.
    Asked,
    /// Asked a second time: at once.
    Now,
    /// The manager is being closed; nothing new may start.
    Closed,
}

impl<S> Core<S> {
    /// Takes the time anew.
    pub(crate) fn tick(&mut self) {
        self.now = self.clock.now();
        self.instant = self.clock.instant(self.now);
    }

    /// The time of this turn.
    #[inline]
    pub(crate) fn instant(&self) -> Instant {
        self.instant
    }

    /// Stores a connection and tells the other threads' half that it lives.
    pub(crate) fn insert(&mut self, conn: Conn) -> Key {
        let key = self.conns.insert(conn);
        self.inbox.opened(key);
        self.stats.opened += 1;
        key
    }

    pub(crate) fn notify(&mut self, key: Key, notice: Notice) {
        self.notices.push_back((key, notice));
    }

    /// There is something to do without waiting for the system.
    pub(crate) fn has_work(&self) -> bool {
        !self.ready.is_empty()
            || !self.notices.is_empty()
            || !self.dirty.is_empty()
            || !self.closing.is_empty()
            || self.inbox.has_mail()
            || self.names.has_work()
    }

    /// Puts a connection into the ready queue, once.
    pub(crate) fn make_ready(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && conn.flags.raise(Flags::QUEUED)
        {
            self.ready.push_back(key.index() as u32);
        }
    }

    /// Queues bytes for a stream's peer.
    pub(crate) fn send(&mut self, key: Key, bytes: &[u8]) -> Sent {
        self.queue(key, |output| output.push(bytes))
    }

    #[cfg(feature = "broker")]
    #[inline]
    pub(crate) fn send_parts(&mut self, key: Key, head: &[u8], rest: &[u8]) -> Sent {
        self.queue(key, |output| output.push_parts(head, rest))
    }

    pub(crate) fn send_shared(&mut self, key: Key, bytes: Bytes) -> Sent {
        self.queue(key, |output| output.push_shared(bytes))
    }

    /// Has a connection flushed at the end of this turn.
    pub(crate) fn mark_dirty(&mut self, key: Key) {
        if self.conns.get_mut(key).is_some_and(|conn| conn.flags.raise(Flags::DIRTY)) {
            self.dirty.push(key);
        }
    }

    /// Appends to a stream's output and says how full it is now.
    #[inline]
    pub(crate) fn queue(&mut self, key: Key, write: impl FnOnce(&mut WriteBuf)) -> Sent {
        self.queue_up_to(key, true, write)
    }

    /// As [`queue`](Self::queue), for the end of a message whose beginning was admitted: that has no cap.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn queue_end(&mut self, key: Key, write: impl FnOnce(&mut WriteBuf)) -> Sent {
        self.queue_up_to(key, false, write)
    }

    #[inline]
    fn queue_up_to(&mut self, key: Key, capped: bool, write: impl FnOnce(&mut WriteBuf)) -> Sent {
        let Some(conn) = self.conns.get_mut(key) else { return Sent::Gone };
        if !conn.takes_output() {
            return Sent::Gone;
        }
        let pool = &mut self.pool;
        let output = conn.output.get_or_insert_with(|| pool.take_write());
        // Looked at before the write: one message larger than the cap is no slow consumer.
        if capped && output.len() >= conn.limits.write_max {
            return self.is_slow(key);
        }
        write(output);
        conn.appended(key, &mut self.dirty, &mut self.stats)
    }

    /// The peer does not read what it asked for.
    #[cold]
    pub(crate) fn is_slow(&mut self, key: Key) -> Sent {
        self.stats.slow_consumers += 1;
        self.close(key, CloseReason::SlowConsumer);
        Sent::Gone
    }

    /// Marks a connection to be closed at the end of the turn. The first reason counts.
    pub(crate) fn close(&mut self, key: Key, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.flags.raise(Flags::CLOSING) {
            if conn.reason.is_none() && !matches!(reason, CloseReason::Local) {
                conn.reason = Some(Box::new(reason));
            }
            self.closing.push(key);
        }
    }

    /// Sets a connection's deadline. Cheap when it only moves away: the heap is not touched.
    #[inline]
    pub(crate) fn set_due(&mut self, key: Key, due: Due, at: Moment) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.due = due;
        conn.deadline = at;
        if at < conn.armed {
            conn.armed = at;
            self.deadlines.set(Owner::Conn(key.index()), at);
        }
    }

    /// Delivers the lifecycle events that were queued before this stage.
    pub(crate) fn deliver_notices(&mut self, state: &mut S) {
        for _ in 0..self.notices.len() {
            let Some((key, notice)) = self.notices.pop_front() else { break };
            match notice {
                // `call` tells of `Opened` by itself; here it is only for those that nothing else happened to.
                Notice::Opened => {
                    if self.conns.get(key).is_some_and(|conn| !conn.flags.has(Flags::OPENED)) {
                        dispatch::call(state, self, key, Event::Opened);
                    }
                }
                Notice::Start => {
                    if let Some(Outbound { start, .. }) = self.outbound {
                        start(self, state, key);
                    }
                }
                #[cfg(feature = "mqtt")]
                Notice::MqttEnds => self.tell_ends(state, key),
                Notice::Drained => {
                    let Some(conn) = self.conns.get_mut(key) else { continue };
                    conn.flags.clear(Flags::DRAINED);
                    // Filled again since: another one will come.
                    if !conn.flags.has(Flags::HIGH | Flags::FULL) {
                        dispatch::call(state, self, key, Event::Drained);
                    }
                    // Requests may be waiting behind the output.
                    self.make_ready(key);
                }
            }
        }
    }

    /// Tells of the ends that were decided before this stage, and frees the slots.
    pub(crate) fn reap(&mut self, state: &mut S) {
        for key in std::mem::take(&mut self.closing) {
            let Some(conn) = self.conns.get_mut(key) else { continue };
            let reason = conn.reason.take().map_or(CloseReason::Local, |reason| *reason);
            trace_close(key, &reason);
            self.stats.count_close(&reason);
            // The socket goes first: when the handler is told, the port is free and the peer knows.
            let io = std::mem::replace(&mut conn.io, Io::None);
            self.shut(key, io);
            #[cfg(feature = "mqtt")]
            if self.mqtt_lost(state, key, &reason) {
                continue;
            }
            dispatch::call(state, self, key, Event::Closed(reason));
            self.free(state, key);
        }
        for tick in std::mem::take(&mut self.dropped_ticks) {
            dispatch::drop_user(state, self, Some(tick));
        }
        for handler in std::mem::take(&mut self.released) {
            dispatch::drop_user(state, self, Some(handler));
        }
    }

    /// Closes what a connection stands on.
    fn shut(&mut self, key: Key, mut io: Io) {
        if self.conns.get(key).is_some_and(|conn| conn.flags.has(Flags::TAKEN_OVER)) {
            // A copy of the socket would keep it watched, and wake us for whoever has the slot by then.
            match &mut io {
                Io::Stream(stream) => self.reactor.deregister(stream.source()),
                Io::Listener(listening) => self.reactor.deregister(listening.socket.source()),
                Io::Udp(datagrams) => self.reactor.deregister(datagrams.socket.source()),
                Io::Connecting(_) | Io::None => {}
            }
        }
        if let (Some(watch), Some(_)) = (&self.watch, io.listens_on()) {
            watch.listens_no_more(key);
        }
        match io {
            Io::Stream(_) | Io::Udp(_) | Io::None => {}
            Io::Listener(listening) => {
                if let Maker::Factory(factory) = listening.handlers {
                    self.release_factory(factory);
                }
            }
            Io::Connecting(connecting) => {
                if let Some(Outbound { abandon, .. }) = self.outbound {
                    abandon(self, *connecting);
                }
            }
        }
        self.deadlines.cancel(Owner::Conn(key.index()));
        if let Some(conn) = self.conns.get_mut(key) {
            conn.armed = Moment::NEVER;
        }
    }

    fn free(&mut self, state: &mut S, key: Key) {
        // A handler may have set a deadline while it was told of the end.
        self.deadlines.cancel(Owner::Conn(key.index()));
        self.inbox.closed(key);
        let Some(conn) = self.conns.remove(key) else { return };
        self.stats.closed += 1;
        if let Some(input) = conn.input {
            self.pool.give_read(input);
        }
        if let Some(output) = conn.output {
            self.pool.give_write(output);
        }
        let released = self.handlers.release(conn.handler);
        dispatch::drop_user(state, self, released);
    }

    pub(crate) fn register(&mut self, key: Key, watch: Watch) -> std::io::Result<()> {
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        let token = Token::Conn(key.index());
        match &mut conn.io {
            Io::Stream(stream) => self.reactor.register(stream.source(), token, watch),
            Io::Listener(listening) => self.reactor.register(listening.socket.source(), token, watch),
            Io::Udp(datagrams) => self.reactor.register(datagrams.socket.source(), token, watch),
            Io::Connecting(_) | Io::None => Ok(()),
        }
    }
}

fn trace_close(key: Key, reason: &CloseReason) {
    crate::trace::trace_event!(debug, "connection {key}: {reason}");
}

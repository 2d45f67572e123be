//! The manager: one loop, its connections, timers and handlers. Start with [`Manager::poll`], which is the whole turn.

mod accept;
mod conn;
mod connect;
mod core;
mod ctx;
mod dispatch;
#[cfg(feature = "dns")]
mod dns;
mod handlers;
#[cfg(feature = "http")]
pub(crate) mod http;
mod info;
#[cfg(feature = "mqtt")]
mod mqtt_client;
mod names;
mod net;
mod resolver;
#[cfg(feature = "http")]
pub(crate) mod router;
mod run;
#[cfg(feature = "signals")]
mod signals;
#[cfg(feature = "sim")]
mod sim;
#[cfg(feature = "sntp")]
pub(crate) mod sntp;
mod stats;
mod stream;
mod timers;
mod udp;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::buf::Pool;
use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Event};
use crate::id::Table;
use crate::net::Sockets;
use crate::options::Limits;
use crate::reactor::{Command, Reactor, Ready, Token, Waker};
#[cfg(feature = "http")]
use crate::time::DateCache;
use crate::time::{Clock, Deadlines, ManualClock, Moment, Owner};

use self::conn::{Due, Flags, Io};
use self::core::{Core, Stop};
use self::handlers::{HandlerRef, Handlers};
use self::names::Names;

pub use self::ctx::{Ctx, TimerCtx};
pub use self::dispatch::HandlerPanic;
pub use self::handlers::Handler;
pub use self::info::{ConnInfo, ConnKind, ConnState};
pub use self::names::{LookupCtx, LookupId};
pub use self::net::Net;
#[cfg(feature = "dns")]
pub use self::resolver::DnsOptions;
pub use self::resolver::Resolver;
pub use self::stats::Stats;

/// An event loop and everything on it: connections, listeners, timers, handlers, and your state `S`.
///
/// It lives on one thread. Other threads reach it through its [`Waker`].
///
/// ```no_run
/// use vansire::{Ctx, Event, Manager, http};
///
/// fn main() -> vansire::Result<()> {
///     let mut manager = Manager::new(0u64)?;
///     manager.net().listen("http://127.0.0.1:8080", |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
///         if let Event::HttpRequest(_) = ev {
///             *cx.state += 1;
///             let text = format!("You are visitor {}.\n", cx.state);
///             cx.reply(http::Response::text(200, &text));
///         }
///     })?;
///     loop {
///         manager.poll(None)?;
///     }
/// }
/// ```
///
/// A handler cannot wait: it is not given the manager, so this does not compile.
///
/// ```compile_fail
/// # use vansire::{Ctx, Event, Manager};
/// let mut manager = Manager::new(()).unwrap();
/// manager.net().listen("tcp://127.0.0.1:0", |_: &mut Ctx<'_, ()>, _: Event<'_>| {
///     manager.poll(None);
/// });
/// ```
///
/// Nor can two threads poll it.
///
/// ```compile_fail
/// # use vansire::Manager;
/// let mut manager = Manager::new(()).unwrap();
/// std::thread::spawn(move || manager.poll(None));
/// ```
pub struct Manager<S = ()> {
    state: S,
    core: Core<S>,
}

/// What one turn of the loop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Turn {
    /// Readiness events taken from the system.
    pub events: usize,
    /// There is more to do at once: the next `poll` will not wait.
    pub more: bool,
    /// The manager was asked to stop ([`Net::stop`], [`Waker::stop`], a signal): [`Manager::shutdown`] does it.
    pub stop: bool,
}

/// Makes a [`Manager`] with other limits, or another clock.
pub struct Builder {
    limits: Limits,
    clock: Option<ManualClock>,
    resolver: Option<Resolver>,
    #[cfg(feature = "sim")]
    sim: Option<crate::sim::Sim>,
}

impl Builder {
    /// The bounds of this manager and of its connections, unless their own options say otherwise.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Time is what this clock says. `poll` then waits for sockets as long as it is told to, never for a timer.
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// How names are looked up. Default: [`Resolver::default`]; in a simulation [`Resolver::System`], which is what
    /// `Sim::host` says.
    pub fn resolver(mut self, resolver: impl Into<Resolver>) -> Self {
        self.resolver = Some(resolver.into());
        self
    }

    /// Makes the manager. Fails when the system has no descriptor for it.
    pub fn build<S>(mut self, state: S) -> Result<Manager<S>> {
        let failed = |e| Error::io("cannot make an event loop", e);
        let limits = self.limits.in_order();
        let resolver = self.resolver.take();
        let (mut reactor, sockets, clock) = self.grounds().map_err(failed)?;
        let inbox = reactor.inbox(limits.wakeup_bytes_max).map_err(failed)?;
        let mut core = Core {
            conns: Table::new(),
            attempts: Table::new(),
            handlers: Handlers::new(),
            default_handler: HandlerRef::NONE,
            timers: Table::new(),
            dropped_ticks: Vec::new(),
            released: Vec::new(),
            deadlines: Deadlines::default(),
            on_turn: None,
            on_panic: None,
            reactor,
            sockets,
            events: Vec::new(),
            inbox,
            mail: VecDeque::new(),
            names: Names::new(resolver),
            #[cfg(feature = "signals")]
            signals: None,
            now: Moment::START,
            instant: clock.instant(Moment::START),
            clock,
            #[cfg(feature = "http")]
            date: DateCache::new(),
            #[cfg(feature = "http")]
            header_space: None,
            #[cfg(feature = "sntp")]
            time_source: Default::default(),
            #[cfg(feature = "sntp")]
            time_sync: None,
            limits: Rc::new(limits),
            pool: Pool::default(),
            scratch: vec![0; stream::SCRATCH_LEN.max(limits.datagram_max)],
            ready: VecDeque::new(),
            notices: VecDeque::new(),
            dirty: Vec::new(),
            closing: Vec::new(),
            stop: Stop::Running,
            stats: Stats::default(),
        };
        core.tick();
        Ok(Manager { state, core })
    }

    /// What the manager stands on.
    fn grounds(self) -> std::io::Result<(Reactor, Sockets, Clock)> {
        #[cfg(feature = "sim")]
        if let Some(sim) = &self.sim {
            return Ok(sim::grounds(sim));
        }
        Ok((Reactor::new()?, Sockets::default(), self.clock.map_or_else(Clock::system, Clock::manual)))
    }
}

impl Manager<()> {
    /// Sets limits or a clock first.
    pub fn builder() -> Builder {
        Builder {
            limits: Limits::new(),
            clock: None,
            resolver: None,
            #[cfg(feature = "sim")]
            sim: None,
        }
    }
}

impl<S> Manager<S> {
    /// A manager with the default limits. Fails when the system has no descriptor for it.
    pub fn new(state: S) -> Result<Self> {
        Manager::builder().build(state)
    }

    /// Your state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Your state, to change.
    pub fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// Everything that can be done to connections and timers.
    pub fn net(&mut self) -> Net<'_, S> {
        Net { core: &mut self.core }
    }

    /// Wakes this manager from other threads.
    pub fn waker(&self) -> Waker {
        self.core.inbox.waker()
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.core.stats
    }

    /// When `poll` must be called again at the latest, for the sake of timers and deadlines.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.core.deadlines.next().map(|at| self.core.clock.instant(at))
    }

    /// Serves the connections that have no handler of their own.
    pub fn on_event(&mut self, handler: impl Handler<S> + 'static) {
        let handler = self.core.handlers.add(Box::new(handler));
        let old = std::mem::replace(&mut self.core.default_handler, handler);
        self.core.release_handler(old);
    }

    /// Is called once in each turn, at its end.
    pub fn on_turn(&mut self, hook: impl FnMut(&mut S, &mut Net<'_, S>) + 'static) {
        self.core.on_turn = Some(Box::new(hook));
    }

    /// Is told of handlers that panicked, and with what. Without it the panic is only counted and traced.
    pub fn on_panic(&mut self, hook: impl FnMut(&mut S, &HandlerPanic<'_>) + 'static) {
        self.core.on_panic = Some(Box::new(hook));
    }

    /// One turn of the loop: waits for something to do, at most `timeout` (`None`: as long as it takes; zero: not at all)
    /// and never past a timer, then does it.
    ///
    /// In order: readiness, mail from other threads, ready connections (accept, read, parse, dispatch), due timers,
    /// lifecycle events, one flush of each connection with output, closes. Errors mean that the loop itself is broken, or
    /// that it was closed ([`is_stopped`](Error::is_stopped)); what goes wrong with a connection is told to its handler.
    pub fn poll(&mut self, timeout: Option<Duration>) -> Result<Turn> {
        let Self { state, core } = self;
        if core.stop == Stop::Closed {
            return Err(Error::new(Kind::Stopped, "the manager is closed"));
        }
        let timeout = core.wait_for(timeout);
        let mut events = std::mem::take(&mut core.events);
        events.clear();
        core.reactor.wait(timeout, &mut events).map_err(|e| Error::io("the event loop cannot wait", e))?;
        core.tick();
        core.stats.turns += 1;
        for event in &events {
            core.note(*event);
        }
        let mut turn = Turn { events: events.len(), more: false, stop: false };
        core.read_mail(state);
        // Attempts have no slot of their own in the ready queue: there are few.
        for event in &events {
            if let Token::Attempt(slot) = event.token {
                core.attempt_ready(state, slot);
            }
        }
        core.events = events;
        core.serve_ready(state);
        core.fire_due(state);
        core.deliver_notices(state);
        core.serve_names(state);
        core.flush_dirty();
        core.reap(state);
        dispatch::turn(state, core);
        turn.more = core.has_work();
        turn.stop = core.stop != Stop::Running;
        Ok(turn)
    }

    /// Closes everything at once: each connection is told `Closed(CloseReason::Stopped)`. Afterwards `poll` fails. A
    /// second call does nothing; dropping the manager calls it.
    pub fn close(&mut self) {
        let Self { state, core } = self;
        if core.stop == Stop::Closed {
            return;
        }
        core.stop = Stop::Closed;
        core.stats.wakeups_missed += core.inbox.stop();
        // Handlers may still send; what the system takes at once is sent. They cannot open anything.
        for key in core.conns.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            core.close(key, CloseReason::Stopped);
        }
        core.flush_dirty();
        while !core.closing.is_empty() {
            core.reap(state);
        }
        for timer in core.timers.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            core.cancel_timer(crate::id::TimerId(timer));
        }
        let default = std::mem::replace(&mut core.default_handler, HandlerRef::NONE);
        core.release_handler(default);
        core.reap(state);
        let callbacks = core.names.close();
        dispatch::drop_user(state, core, Some(callbacks));
        let hook = core.on_turn.take();
        dispatch::drop_user(state, core, hook);
        let hook = core.on_panic.take();
        dispatch::drop_user(state, core, hook);
    }
}

impl<S> Drop for Manager<S> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<S> Core<S> {
    /// How long the turn may wait.
    fn wait_for(&mut self, timeout: Option<Duration>) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let due = match self.deadlines.next() {
            Some(_) if self.clock.is_manual() => None,
            Some(at) => Some(at.since(self.clock.now())),
            None => None,
        };
        match (timeout, due) {
            (Some(timeout), Some(due)) => Some(timeout.min(due)),
            (timeout, due) => timeout.or(due),
        }
    }

    /// Keeps what the system told of a connection, and queues it.
    fn note(&mut self, event: Ready) {
        match event.token {
            Token::Conn(slot) => {
                let Some(key) = self.conns.key_at(slot) else { return };
                let Some(conn) = self.conns.get_mut(key) else { return };
                if event.readable || event.read_closed {
                    conn.flags.set(Flags::READABLE);
                }
                if event.writable {
                    conn.flags.set(Flags::WRITABLE);
                }
                if event.read_closed {
                    conn.flags.set(Flags::READ_CLOSED);
                }
                if event.hung_up {
                    conn.flags.set(Flags::HUNG_UP | Flags::READABLE | Flags::WRITABLE | Flags::READ_CLOSED);
                }
                self.make_ready(key);
            }
            #[cfg(feature = "dns")]
            Token::Name(slot) => self.names.note(slot),
            #[cfg(feature = "signals")]
            Token::Signal => self.read_signals(),
            Token::Attempt(_) => {}
        }
    }

    fn read_mail(&mut self, state: &mut S) {
        if !self.inbox.has_mail() {
            return;
        }
        let mut mail = std::mem::take(&mut self.mail);
        self.inbox.drain(&mut mail);
        for command in mail.drain(..) {
            match command {
                Command::Wakeup { id, bytes } => {
                    if self.conns.get(id.0).is_some_and(|conn| !conn.is_ending()) {
                        self.stats.wakeups += 1;
                        dispatch::call(state, self, id.0, Event::Wakeup(&bytes));
                    } else {
                        self.stats.wakeups_missed += 1;
                    }
                }
                Command::Resolved { ticket, result } => self.lookup_done(state, ticket, result, true),
                Command::CancelTimer(id) => {
                    self.cancel_timer(id);
                }
                Command::Stop => self.ask_to_stop(),
            }
        }
        self.mail = mail;
    }

    /// Serves the connections that were in the queue when the turn began; those that come back wait for the next.
    fn serve_ready(&mut self, state: &mut S) {
        for _ in 0..self.ready.len() {
            let Some(slot) = self.ready.pop_front() else { break };
            let Some(key) = self.conns.key_at(slot as usize) else { continue };
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.flags.clear(Flags::QUEUED);
            if conn.flags.has(Flags::CLOSING) {
                continue;
            }
            match conn.io {
                Io::Stream(_) => self.serve_stream(state, key),
                Io::Listener(_) => self.accept(state, key),
                Io::Udp(_) => self.serve_datagrams(state, key),
                Io::Connecting(_) | Io::None => {}
            }
        }
    }

    /// Fires the timers that are due, and draws the consequences of passed deadlines.
    fn fire_due(&mut self, state: &mut S) {
        // Handlers took time.
        self.tick();
        let now = self.now;
        // What a callback sets for "now" waits for the next turn, or two could keep each other going.
        let mark = self.deadlines.mark();
        while let Some(owner) = self.deadlines.pop_due(now, mark) {
            match owner {
                Owner::Timer(slot) => self.fire(state, slot),
                Owner::Conn(slot) => self.overdue(slot),
                Owner::Names => self.names.set_overdue(),
            }
        }
    }

    /// The heap has woken us for a connection: its deadline has passed, or traffic has moved it.
    fn overdue(&mut self, slot: usize) {
        let Some(key) = self.conns.key_at(slot) else { return };
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.armed = Moment::NEVER;
        if conn.flags.has(Flags::CLOSING) {
            return;
        }
        let (due, at) = (conn.due, conn.deadline);
        if at > self.now {
            if at < Moment::NEVER {
                self.set_due(key, due, at);
            }
            return;
        }
        conn.due = Due::Nothing;
        conn.deadline = Moment::NEVER;
        match due {
            Due::Nothing => {}
            Due::Connect => self.connect_overdue(key),
            Due::Retry => self.make_ready(key),
            Due::Linger => self.close(key, CloseReason::Local),
            Due::Drain => self.close(key, CloseReason::TimedOut(crate::event::Deadline::Drain)),
            #[cfg(feature = "mqtt")]
            Due::Mqtt => self.mqtt_overdue(key),
            #[cfg(feature = "mqtt")]
            Due::Redial => self.mqtt_redial(key),
            #[cfg(feature = "sntp")]
            Due::Sntp => self.sntp_due(key),
            #[cfg(feature = "http")]
            _ if matches!(conn.proto, conn::Proto::Client(_)) => self.client_overdue(key, due),
            #[cfg(feature = "http")]
            Due::Head | Due::Idle | Due::Reply | Due::Rate | Due::Output | Due::Response | Due::Continue => {
                self.http_overdue(key, due);
            }
        }
    }
}

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
#[cfg(feature = "mdns")]
pub(crate) mod mdns;
#[cfg(feature = "mqtt")]
mod mqtt_client;
mod names;
mod nested;
mod net;
mod outbound;
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
#[cfg(feature = "async")]
mod visit;
mod watch;

use std::collections::VecDeque;
use std::fmt;
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
use self::handlers::{HandlerRef, Slots};
use self::names::Names;
use self::outbound::Outbound;

pub use self::ctx::{Ctx, TimerCtx};
pub use self::dispatch::HandlerPanic;
#[cfg(feature = "async")]
pub(crate) use self::dispatch::{discard, message};
pub use self::handlers::Handler;
pub use self::info::{ConnInfo, ConnKind, ConnState};
pub use self::names::{LookupCtx, LookupId};
pub use self::net::Net;
#[cfg(feature = "dns")]
pub use self::resolver::DnsOptions;
pub use self::resolver::Resolver;
#[cfg(feature = "async")]
pub(crate) use self::run::Stopped;
#[cfg(feature = "tokio-fd")]
pub(crate) use self::run::Stopping;
pub use self::stats::Stats;
#[cfg(feature = "async")]
pub use self::visit::LoopCtx;
#[cfg(feature = "async")]
pub(crate) use self::visit::job;
pub use self::watch::{Histogram, Latency, Observer, Running, Stall, StallWatch};

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

impl<S> fmt::Debug for Manager<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("core", &self.core).finish_non_exhaustive()
    }
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
#[derive(Debug)]
#[must_use = "nothing is made before build()"]
pub struct Builder {
    limits: Limits,
    clock: Option<ManualClock>,
    resolver: Option<Resolver>,
    #[cfg(feature = "mdns")]
    mdns: Option<mdns::Options>,
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

    /// How multicast DNS is spoken, once it is asked for. Default: [`mdns::Options::new`].
    #[cfg(feature = "mdns")]
    pub fn mdns(mut self, options: mdns::Options) -> Self {
        self.mdns = Some(options);
        self
    }

    /// Makes the manager. Fails when the system has no descriptor for it.
    pub fn build<S>(mut self, state: S) -> Result<Manager<S>> {
        let failed = |e| Error::io("cannot make an event loop", e);
        let limits = self.limits.in_order();
        let resolver = self.resolver.take();
        #[cfg(feature = "mdns")]
        let mdns = self.mdns.take();
        let (mut reactor, sockets, clock) = self.grounds().map_err(failed)?;
        let inbox = reactor.inbox(limits.wakeup_bytes_max).map_err(failed)?;
        let mut core = Core {
            conns: Table::new(),
            attempts: Table::new(),
            handlers: Slots::new(),
            factories: Slots::new(),
            default_handler: HandlerRef::NONE,
            timers: Table::new(),
            dropped_ticks: Vec::new(),
            released: Vec::new(),
            deadlines: Deadlines::default(),
            on_turn: None,
            on_panic: None,
            #[cfg(feature = "async")]
            jobs: None,
            watch: None,
            reactor,
            sockets,
            events: Vec::new(),
            inbox,
            mail: VecDeque::new(),
            names: Names::new(resolver),
            outbound: None,
            #[cfg(feature = "signals")]
            signals: None,
            now: Moment::START,
            instant: clock.instant(Moment::START),
            clock,
            #[cfg(feature = "http")]
            date: DateCache::new(),
            #[cfg(feature = "http")]
            usual_head: crate::proto::http::encode::UsualHead::new(),
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
            undrained: 0,
            stop: Stop::Running,
            stats: Stats::default(),
        };
        #[cfg(feature = "mdns")]
        {
            core.names.mdns_options = mdns;
        }
        core.tick();
        Ok(Manager { state, core })
    }

    /// What the manager stands on.
    fn grounds(self) -> std::io::Result<(Reactor, Sockets, Clock)> {
        #[cfg(feature = "sim")]
        if let Some(sim) = &self.sim {
            return sim::grounds(sim);
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
            #[cfg(feature = "mdns")]
            mdns: None,
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

    /// Lets other threads see which handler runs, from the next turn on. Costs a few nanoseconds for each event.
    pub fn observer(&mut self) -> Observer {
        self.core.be_watched()
    }

    /// Has a thread watch over the loop, from the next turn on: whoever holds it up is named while he still does, to `tracing`
    /// and to [`StallWatch::on_stall`], and counted ([`Stats::stalls`]); and how long handlers take is kept in
    /// [`latencies`](Self::latencies). Called again, it watches by the new rules.
    ///
    /// Costs about 5 ns for each event and 15 for each turn; while the loop has something to do the thread wakes up twice in
    /// each threshold, and while it is idle never. Fails where the system refuses a thread.
    ///
    /// ```
    /// use std::time::Duration;
    /// use vansire::{Manager, StallWatch};
    ///
    /// # fn main() -> vansire::Result<()> {
    /// let mut manager = Manager::new(())?;
    /// manager.watch_stalls(StallWatch::new().threshold(Duration::from_millis(10)).on_stall(|stall| eprintln!("{stall}")))?;
    /// manager.net().timer_after(Duration::ZERO, |_| std::thread::sleep(Duration::from_millis(50)));
    /// while manager.stats().stalls == 0 {
    ///     manager.poll(None)?; // the loop is held up by user code in timer for 10 ms
    /// }
    /// let timers = manager.latencies().iter().find(|latency| latency.event == "timer").unwrap();
    /// assert!(timers.times.max() >= Duration::from_millis(50));
    /// # Ok(()) }
    /// ```
    pub fn watch_stalls(&mut self, options: StallWatch) -> Result<()> {
        self.core.watch_stalls(options)
    }

    /// How long handlers took since [`watch_stalls`](Self::watch_stalls), by listener or kind of connection, and by event: at
    /// most 128 kinds, of 1.7 KB each. Empty without it.
    pub fn latencies(&self) -> &[Latency] {
        self.core.latencies()
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
        let core = &mut self.core;
        if core.stop == Stop::Closed {
            return Err(Error::new(Kind::Stopped, "the manager is closed"));
        }
        let timeout = core.wait_for(timeout);
        let mut events = std::mem::take(&mut core.events);
        events.clear();
        core.reactor.wait(timeout, &mut events).map_err(|e| Error::io("the event loop cannot wait", e))?;
        core.tick();
        core.stats.turns += 1;
        if let Some(watch) = &mut core.watch {
            watch.begin_turn(core.now, &core.clock);
        }
        for event in &events {
            core.note(*event);
        }
        let mut turn = Turn { events: events.len(), more: false, stop: false };
        self.read_mail();
        let Self { state, core } = self;
        // Attempts have no slot of their own in the ready queue: there are few.
        for event in &events {
            if let (Token::Attempt(slot), Some(Outbound { attempt_ready, .. })) = (event.token, &core.outbound) {
                attempt_ready(core, state, slot);
            }
        }
        core.events = events;
        core.serve_ready(state);
        core.fire_due(state);
        core.deliver_notices(state);
        if let Some(Outbound { serve_names, .. }) = core.outbound {
            serve_names(core, state);
        }
        if let Some(watch) = &mut core.watch {
            watch.forget();
        }
        core.flush_dirty();
        core.reap(state);
        dispatch::turn(state, core);
        core.inbox.rest();
        turn.more = core.has_work() || core.reactor.is_full();
        turn.stop = core.stop != Stop::Running;
        if let Some(watch) = &mut core.watch {
            watch.end_turn(&mut core.stats);
        }
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
        for command in core.inbox.stop() {
            core.stats.wakeups_missed += u64::from(matches!(command, Command::Wakeup { .. }));
            dispatch::drop_user(state, core, Some(command));
        }
        // Handlers may still send; what the system takes at once is sent. They cannot open anything.
        for key in core.conns.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            #[cfg(feature = "mqtt")]
            core.part_mqtt(key);
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
        #[cfg(feature = "mdns")]
        core.stop_mdns();
        if let Some(Outbound { close_names, .. }) = core.outbound {
            close_names(core, state);
        }
        let hook = core.on_turn.take();
        dispatch::drop_user(state, core, hook);
        let hook = core.on_panic.take();
        dispatch::drop_user(state, core, hook);
    }

    fn read_mail(&mut self) {
        let mut mail = std::mem::take(&mut self.core.mail);
        self.core.inbox.drain(&mut mail);
        if !mail.is_empty() {
            self.core.stats.wakes = self.core.inbox.wakes();
        }
        for command in mail.drain(..) {
            let Self { state, core } = self;
            match command {
                Command::Wakeup { id, bytes } => {
                    if core.conns.get(id.0).is_some_and(|conn| !conn.is_ending()) {
                        core.stats.wakeups += 1;
                        dispatch::call(state, core, id.0, Event::Wakeup(&bytes));
                    } else {
                        core.stats.wakeups_missed += 1;
                    }
                }
                Command::Resolved { ticket, result } => {
                    if let Some(Outbound { lookup_done, .. }) = core.outbound {
                        lookup_done(core, state, ticket, result, true);
                    }
                }
                Command::CancelTimer(id) => {
                    core.cancel_timer(id);
                }
                Command::Stop => core.ask_to_stop(),
                #[cfg(feature = "async")]
                Command::Close(id) => core.close(id.0, CloseReason::Local),
                #[cfg(feature = "async")]
                Command::Run(job) => self.run_job(job),
                #[cfg(feature = "async")]
                Command::RunInPlace(job) => self.run_in_place(job),
            }
        }
        self.core.mail = mail;
        #[cfg(feature = "async")]
        self.free_places();
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
            #[cfg(feature = "mdns")]
            Token::Mdns(slot) => {
                if let Some(mdns) = &mut self.names.mdns {
                    mdns.note(slot);
                }
            }
            #[cfg(feature = "signals")]
            Token::Signal => self.read_signals(),
            Token::Attempt(_) => {}
        }
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
        if let Some(watch) = &mut self.watch {
            watch.look(now, |conn| self.conns.get(conn).map(conn::Conn::kind));
        }
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
            Due::Connect => {
                if let Some(Outbound { overdue, .. }) = self.outbound {
                    overdue(self, key);
                }
            }
            Due::Retry => self.make_ready(key),
            Due::Linger => self.close(key, CloseReason::Local),
            Due::Drain => {
                self.undrained += 1;
                self.close(key, CloseReason::TimedOut(crate::event::Deadline::Drain));
            }
            #[cfg(feature = "mqtt")]
            Due::Mqtt => self.mqtt_overdue(key),
            #[cfg(feature = "mqtt")]
            Due::Redial => self.mqtt_redial(key),
            #[cfg(feature = "sntp")]
            Due::Sntp => self.sntp_due(key),
            #[cfg(feature = "http")]
            _ if matches!(conn.proto, conn::Proto::Client(_)) => {
                if let Some(Outbound { client, .. }) = &self.outbound {
                    (client.overdue)(self, key, due);
                }
            }
            #[cfg(feature = "http")]
            Due::Head | Due::Idle | Due::Reply | Due::Rate | Due::Output | Due::Response | Due::Continue => {
                self.http_overdue(key, due);
            }
        }
    }
}

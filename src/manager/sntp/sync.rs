//! A service that keeps the manager's wall clock right by several servers.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Event};
use crate::id::{ConnId, TimerId};
use crate::manager::net::Net;
use crate::proto::sntp::packet::wall_time;
use crate::proto::sntp::{Correction, Discipline, Leap, Offset, Poll, SERVERS_MAX, Sample, Source, Synchronised};

use super::{ClientOptions, SyncOptions, TimeSource, fresh_for};

/// The service that keeps a manager's wall clock right, made by [`Net::sync_time`]. Copies are the same service; dropping them does not
/// stop it.
#[derive(Clone)]
pub struct Sync {
    inner: Rc<RefCell<Inner>>,
}

impl fmt::Debug for Sync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A handler may print it while the service has it in use.
        let servers = self.inner.try_borrow().map(|inner| inner.servers.len()).ok();
        f.debug_struct("Sync").field("servers", &servers).finish_non_exhaustive()
    }
}

struct Inner {
    discipline: Discipline,
    servers: Vec<Server>,
    steps: u64,
    slews: u64,
    /// For the first decision, which does not wait for servers that are silent.
    patience: Option<TimerId>,
    is_stopped: bool,
    /// Answers that came and connections that ended.
    changes: u64,
}

struct Server {
    options: ClientOptions,
    conn: Option<ConnId>,
    retry: Option<TimerId>,
    /// Connections in a row that ended without a sample.
    failures: u32,
    /// Why the last one ended.
    trouble: Option<CloseReason>,
    /// It does not want to be asked.
    is_dropped: bool,
    addr: Option<IpAddr>,
}

/// How right the wall clock is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SyncStatus {
    /// Since the clock was right for the first time: what it was last corrected by, and by whom.
    pub synchronised: Option<Synchronised>,
    /// What it has still to gain or to lose.
    pub owed: Offset,
    /// Corrections made at once.
    pub steps: u64,
    /// Corrections made little by little.
    pub slews: u64,
    /// The servers, in the order in which they were given.
    pub servers: Vec<ServerStatus>,
}

/// What is known of one server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Its URL, as it was given.
    pub url: String,
    /// Its last answer that counts.
    pub sample: Option<Sample>,
    /// It agreed with most of the others when the clock was last corrected.
    pub agrees: bool,
    /// It does not want to be asked, and is not asked any more (kiss of death).
    pub is_dropped: bool,
    /// Why it was given up the last time.
    pub trouble: Option<CloseReason>,
}

impl<S> Net<'_, S> {
    /// Keeps [`wall_clock`](Self::wall_clock) right by these servers, from now on and until [`Sync::stop`]. The system's clock is never set.
    ///
    /// The first time that most of them agree the clock is set at once, then it is corrected by one second in 2000 at most; more than
    /// a second is believed when it is measured twice, and made at once. A server that disagrees with most others is ignored, one that says DENY
    /// or RSTR is dropped, one that is gone is looked up and asked again. A leap second that most announce is observed: the
    /// clock stands still while it lasts.
    ///
    /// Fails when a URL is bad, when there is none, or more than 16. There is one such service: a second one takes over.
    pub fn sync_time(&mut self, options: impl Into<SyncOptions>) -> Result<Sync> {
        let SyncOptions { servers, every, floor } = options.into();
        if servers.is_empty() || servers.len() > SERVERS_MAX {
            let what = format!("cannot keep the time by {} servers: one to {SERVERS_MAX} can be asked", servers.len());
            return Err(Error::new(Kind::LimitReached, what));
        }
        let now = self.now();
        let servers: Vec<_> = servers.into_iter().map(|options| Server::new(options, every, floor)).collect();
        let longest = servers.iter().map(Server::interval).max().unwrap_or(every);
        let inner = Inner {
            discipline: Discipline::new(servers.len(), fresh_for(longest), now),
            servers,
            steps: 0,
            slews: 0,
            patience: None,
            is_stopped: false,
            changes: 0,
        };
        let count = inner.servers.len();
        let sync = Sync { inner: Rc::new(RefCell::new(inner)) };
        for server in 0..count {
            if let Err(e) = sync.dial(self, server) {
                sync.stop(self);
                return Err(e);
            }
        }
        let until = sync.inner.borrow().discipline.poll_timeout();
        let later = sync.clone();
        let patience = self.timer_after(until.saturating_duration_since(now), move |cx| later.decide(&mut cx.net));
        sync.inner.borrow_mut().patience = Some(patience);
        if let Some(old) = self.core.time_sync.replace(sync.clone()) {
            old.stop(self);
        }
        if matches!(self.core.time_source, TimeSource::System) {
            self.core.time_source = TimeSource::Awaited;
        }
        Ok(sync)
    }

    /// The service that keeps the wall clock right, if there is one.
    pub fn time_sync(&self) -> Option<Sync> {
        self.core.time_sync.clone()
    }
}

impl Sync {
    /// How right the clock is, and by whom.
    pub fn status<S>(&self, net: &Net<'_, S>) -> SyncStatus {
        let inner = self.inner.borrow();
        let synchronised = inner.discipline.synchronised().copied();
        let agreeing = synchronised.map_or(0, |synchronised| synchronised.agreeing);
        let servers = inner.servers.iter().enumerate().map(|(at, server)| ServerStatus {
            url: format!("{}", crate::options::redacted(server.options.connect.url.as_str())),
            sample: inner.discipline.sample(at).copied(),
            agrees: agreeing >> at & 1 == 1,
            is_dropped: server.is_dropped,
            trouble: server.trouble.clone(),
        });
        let clock = &net.core.clock;
        let owed = clock.set_wall().map_or(0, |wall| wall.owed(clock.reading_now()));
        SyncStatus {
            synchronised,
            owed: Offset::from_nanos(owed),
            steps: inner.steps,
            slews: inner.slews,
            servers: servers.collect(),
        }
    }

    /// Grows whenever [`status`](Self::status) may tell something new.
    #[cfg_attr(not(feature = "app"), allow(dead_code))]
    pub(crate) fn changes(&self) -> u64 {
        self.inner.borrow().changes
    }

    /// Asks nobody any more. The wall clock goes on as it is.
    pub fn stop<S>(&self, net: &mut Net<'_, S>) {
        let (conns, timers) = {
            let inner = &mut *self.inner.borrow_mut();
            inner.is_stopped = true;
            let conns: Vec<_> = inner.servers.iter_mut().filter_map(|server| server.conn.take()).collect();
            let timers = inner.servers.iter_mut().filter_map(|server| server.retry.take());
            (conns, timers.chain(inner.patience.take()).collect::<Vec<_>>())
        };
        conns.into_iter().for_each(|id| net.close(id));
        timers.into_iter().for_each(|id| _ = net.cancel(id));
        if net.core.time_sync.as_ref().is_some_and(|sync| Rc::ptr_eq(&sync.inner, &self.inner)) {
            net.core.time_sync = None;
            if matches!(net.core.time_source, TimeSource::Awaited) {
                net.core.time_source = TimeSource::System;
            }
        }
    }

    /// Connects to a server.
    fn dial<S>(&self, net: &mut Net<'_, S>, server: usize) -> Result<()> {
        let Some(options) = self.with(server, |server| server.options.clone()) else { return Ok(()) };
        let sync = self.clone();
        let id = net.sntp_connect(options, move |cx: &mut crate::Ctx<'_, S>, ev: Event<'_>| match ev {
            Event::Resolved(addr) => sync.with(server, |server| server.addr = Some(addr)).unwrap_or(()),
            Event::SntpTime(sample) => {
                sync.with(server, |server| (server.failures, server.trouble) = (0, None));
                {
                    let inner = &mut *sync.inner.borrow_mut();
                    inner.changes += 1;
                    inner.discipline.handle_sample(server, sample);
                }
                sync.decide(&mut cx.net);
            }
            Event::Closed(reason) => sync.closed(&mut cx.net, server, reason),
            _ => {}
        })?;
        self.with(server, |server| server.conn = Some(id));
        Ok(())
    }

    /// A server's connection is over: it is tried again, later and later, unless it does not want to be.
    fn closed<S>(&self, net: &mut Net<'_, S>, at: usize, reason: CloseReason) {
        if self.inner.borrow().is_stopped || matches!(reason, CloseReason::Stopped) {
            return;
        }
        {
            let inner = &mut *self.inner.borrow_mut();
            inner.changes += 1;
            inner.discipline.handle_silence(at);
        }
        let wait = self.with(at, |server| {
            server.conn = None;
            server.is_dropped = matches!(reason, CloseReason::Failed(_));
            server.trouble = Some(reason);
            let wait = RETRY.saturating_mul(1 << server.failures.min(16)).min(RETRY_MAX);
            server.failures = server.failures.saturating_add(1);
            (!server.is_dropped).then_some(wait)
        });
        if let Some(wait) = wait.flatten() {
            let sync = self.clone();
            let retry = net.timer_after(wait, move |cx| {
                sync.with(at, |server| server.retry = None);
                let dialled = sync.dial(&mut cx.net, at);
                if let Err(e) = dialled {
                    // The table is full, or the manager stops.
                    sync.closed(&mut cx.net, at, CloseReason::Connect(e));
                }
            });
            self.with(at, |server| server.retry = Some(retry));
        }
        self.decide(net);
    }

    /// Corrects the clock, if there is news.
    fn decide<S>(&self, net: &mut Net<'_, S>) {
        let inner = &mut *self.inner.borrow_mut();
        if inner.is_stopped {
            return;
        }
        let clock = &mut net.core.clock;
        let at = clock.now();
        let now = clock.instant(at);
        // While a leap second lasts, servers tell different times and are all right.
        if clock.set_wall().is_some_and(|wall| wall.is_near_leap(at)) {
            return;
        }
        inner.changes += 1;
        match inner.discipline.decide(now, wall_time(clock.wall_at(at))) {
            Correction::None => return,
            Correction::Step(offset) => {
                inner.steps += 1;
                clock.wall_mut().step(at, offset.as_nanos());
            }
            Correction::Slew(offset) => {
                inner.slews += 1;
                clock.wall_mut().slew(at, offset.as_nanos());
            }
        }
        let Some(synchronised) = inner.discipline.synchronised() else { return };
        clock.wall_mut().set_leap(
            at,
            match synchronised.leap {
                Leap::Add => Some(true),
                Leap::Remove => Some(false),
                Leap::None | Leap::Unknown => None,
            },
        );
        let addr = inner.servers.get(synchronised.best).and_then(|server| server.addr);
        net.core.time_source = TimeSource::Following(*synchronised, addr);
    }

    fn with<T>(&self, server: usize, act: impl FnOnce(&mut Server) -> T) -> Option<T> {
        self.inner.borrow_mut().servers.get_mut(server).map(act)
    }
}

impl Server {
    fn new(mut options: ClientOptions, every: Duration, floor: Option<Duration>) -> Self {
        // A server's own interval stands.
        if options.policy.poll == Poll::Once {
            options.policy.poll = Poll::Every(every);
        }
        options.policy.floor = floor.unwrap_or(options.policy.floor);
        Self { options, conn: None, retry: None, failures: 0, trouble: None, is_dropped: false, addr: None }
    }

    fn interval(&self) -> Duration {
        match self.options.policy.poll {
            Poll::Once => Duration::ZERO,
            Poll::Every(interval) => interval.max(self.options.policy.floor),
        }
    }
}

impl Synchronised {
    /// What a server says of a clock that was put right by another one (RFC 5905 §11.2.3).
    pub(super) fn source(&self, now: Instant, server: Option<IpAddr>) -> Source {
        let age = now.saturating_duration_since(self.at);
        let mut source = Source::unsynchronised();
        if self.sample.stratum >= 15 {
            return source;
        }
        source.leap = self.leap;
        source.stratum = self.sample.stratum + 1;
        source.reference = match server.map(|addr| addr.to_canonical()) {
            Some(IpAddr::V4(addr)) => addr.octets(),
            // A word that tells servers from each other, which is all that it is for.
            Some(IpAddr::V6(addr)) => addr.octets().chunks(4).fold([0xfd, 0, 0, 0], |mut all: [u8; 4], part| {
                all.iter_mut().zip(part).for_each(|(all, part)| *all ^= part);
                all
            }),
            None => [127, 127, 1, 1],
        };
        source.reference_time = self.sample.time;
        source.root_delay = self.sample.delay;
        source.root_dispersion = self.sample.root_distance + self.offset.abs().min(MAX_OFFSET) + age.mul_f64(DRIFT);
        source
    }
}

/// How long after its end a connection is made anew, at first; twice as long each time.
const RETRY: Duration = Duration::from_secs(4);
const RETRY_MAX: Duration = Duration::from_secs(1024);
/// How fast a clock drifts at the most (RFC 5905 §7.2, PHI).
const DRIFT: f64 = 15e-6;
/// A correction that is larger was made at once: nothing is left of it.
const MAX_OFFSET: Duration = Duration::from_secs(1);

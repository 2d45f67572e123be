//! Names being looked up, and for whom: connections that wait for their peer's address, and callbacks.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::id::Key;
use crate::net::{self, Refused};
#[cfg(feature = "dns")]
use crate::proto::dns;
use crate::reactor::Command;
use crate::time::{Moment, Owner};

use super::core::{Core, Stop};
use super::dispatch;
#[cfg(feature = "dns")]
use super::dns::Dns;
#[cfg(feature = "mdns")]
use super::mdns::{self, BoxBrowsed, Browsed, Mdns};
use super::net::Net;
use super::resolver::Resolver;

/// Names one lookup until its callback is called, or it is cancelled.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LookupId(u64);

#[cfg(feature = "mdns")]
impl LookupId {
    pub(super) fn new(ticket: u64) -> Self {
        Self(ticket)
    }
}

/// Lent to the callback of a lookup.
#[non_exhaustive]
pub struct LookupCtx<'a, S> {
    /// The state that the manager was made with.
    pub state: &'a mut S,
    /// Everything that can be done to connections and timers.
    pub net: Net<'a, S>,
    /// The time of this turn.
    pub now: Instant,
}

impl<S> fmt::Debug for LookupCtx<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupCtx").field("now", &self.now).finish_non_exhaustive()
    }
}

/// What is told the result of a lookup.
pub(crate) type BoxFound<S, T> = Box<dyn FnOnce(&mut LookupCtx<'_, S>, Result<T>)>;

pub(crate) struct Names<S> {
    pub(super) chosen: Option<Resolver>,
    pub(super) system: Option<net::Names>,
    #[cfg(feature = "dns")]
    pub(super) dns: Option<Box<Dns>>,
    #[cfg(feature = "mdns")]
    pub(super) mdns_options: Option<mdns::Options>,
    #[cfg(feature = "mdns")]
    pub(super) mdns: Option<Box<Mdns>>,
    /// What was counted before it was put away for want of use.
    #[cfg(feature = "mdns")]
    pub(super) mdns_past: crate::proto::dns::mdns::Counters,
    /// The ticket whose callback runs, and is not in `waiting`.
    #[cfg(feature = "mdns")]
    running: Option<u64>,
    pub(super) waiting: HashMap<u64, Wanted<S>>,
    last_ticket: u64,
    /// A deadline has passed, or may have come nearer.
    unsettled: bool,
    /// Callbacks that will not be called, to be dropped where a panic is caught.
    dropped: Vec<Wanted<S>>,
}

/// Who wants to know.
pub(crate) enum Wanted<S> {
    Conn(Key),
    Addrs {
        name: Box<str>,
        call: BoxFound<S, Vec<IpAddr>>,
        got: Vec<IpAddr>,
        until: Moment,
    },
    #[cfg(feature = "dns")]
    Services {
        name: Box<str>,
        call: BoxFound<S, Vec<dns::Srv>>,
        until: Moment,
    },
    #[cfg(feature = "mdns")]
    Browse {
        call: BoxBrowsed<S>,
    },
}

/// Why a name is not looked up.
pub(crate) enum NotAsked {
    System(Refused),
    #[cfg(feature = "dns")]
    Dns(dns::LookupError),
    #[cfg(feature = "mdns")]
    Mdns(Error),
}

impl NotAsked {
    /// The error of whoever wanted the name, which begins with `what` cannot be done.
    pub(crate) fn into_error(self, what: impl fmt::Display) -> Error {
        match self {
            Self::System(refused) => refused.into_error(what),
            #[cfg(feature = "dns")]
            Self::Dns(e @ dns::LookupError::Full) => Error::with_source(Kind::LimitReached, what.to_string(), e),
            #[cfg(feature = "dns")]
            Self::Dns(e) => Error::with_source(Kind::Resolve, what.to_string(), e),
            #[cfg(feature = "mdns")]
            Self::Mdns(e) => Error::with_source(e.kind(), what.to_string(), e),
        }
    }
}

impl<S> Net<'_, S> {
    /// Looks up the addresses of a host, then calls back: never from within this call, at the earliest in this turn.
    ///
    /// An address itself, `localhost` and the names in the table of hosts need no server. The result has IPv6 addresses before
    /// IPv4 ones, as a rule, and at least one; or an error ([`is_resolve`](Error::is_resolve)) that says why there is none.
    /// It takes `Limits::resolve_timeout` at the most. Fails at once where the name is none (one with characters outside of
    /// ASCII is to be written in its `xn--` form), and where too many are being looked up
    /// ([`is_limit_reached`](Error::is_limit_reached)). When the manager is closed before, the callback is dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use vansire::Manager;
    ///
    /// # fn main() -> vansire::Result<()> {
    /// let mut manager = Manager::new(None)?;
    /// manager.net().resolve("localhost", |cx, result| *cx.state = result.ok())?;
    /// while manager.state().is_none() {
    ///     manager.poll(Some(Duration::from_secs(1)))?;
    /// }
    /// assert!(manager.state().as_ref().unwrap().iter().all(|ip| ip.is_loopback()));
    /// # Ok(()) }
    /// ```
    pub fn resolve(
        &mut self,
        name: &str,
        f: impl FnOnce(&mut LookupCtx<'_, S>, Result<Vec<IpAddr>>) + 'static,
    ) -> Result<LookupId> {
        let until = self.core.check_lookup(name)?;
        let wanted = Wanted::Addrs { name: name.into(), call: Box::new(f), got: Vec::new(), until };
        let ticket = self.core.look_up(name, 0, wanted).map_err(|e| e.into_error(cannot(name)))?;
        Ok(LookupId(ticket))
    }

    /// Looks up where a service is (SRV, RFC 2782), such as `_mqtt._tcp.example.org`, then calls back as
    /// [`resolve`](Self::resolve) does. The result has the services in the order in which to try them. Asks the name
    /// servers only: with [`Resolver::System`] it fails ([`is_unsupported`](Error::is_unsupported)).
    #[cfg(feature = "dns")]
    pub fn resolve_service(
        &mut self,
        name: &str,
        f: impl FnOnce(&mut LookupCtx<'_, S>, Result<Vec<dns::Srv>>) + 'static,
    ) -> Result<LookupId> {
        let until = self.core.check_lookup(name)?;
        let wanted = Wanted::Services { name: name.into(), call: Box::new(f), until };
        if self.core.names_are_of_the_system() {
            let what = format!("{}: the system's resolver tells addresses only; use Resolver::Stub", cannot(name));
            return Err(Error::new(Kind::Unsupported, what));
        }
        let ticket = self.core.look_up(name, 0, wanted).map_err(|e| e.into_error(cannot(name)))?;
        Ok(LookupId(ticket))
    }

    /// Forgets a lookup: its callback is dropped. False when it has been called already.
    pub fn cancel_resolve(&mut self, id: LookupId) -> bool {
        #[cfg(feature = "mdns")]
        if self.core.names.running == Some(id.0) {
            self.core.cancel_mdns(id.0);
            return self.core.names.running.take().is_some();
        }
        match self.core.forget_lookup(id.0) {
            Some(wanted) => {
                self.core.names.dropped.push(wanted);
                true
            }
            None => false,
        }
    }
}

impl<S> Names<S> {
    pub(super) fn new(chosen: Option<Resolver>) -> Self {
        Self {
            chosen,
            system: None,
            #[cfg(feature = "dns")]
            dns: None,
            #[cfg(feature = "mdns")]
            mdns_options: None,
            #[cfg(feature = "mdns")]
            mdns: None,
            #[cfg(feature = "mdns")]
            mdns_past: Default::default(),
            #[cfg(feature = "mdns")]
            running: None,
            waiting: HashMap::new(),
            last_ticket: 0,
            unsettled: false,
            dropped: Vec::new(),
        }
    }

    /// There is something to do without waiting.
    pub(crate) fn has_work(&self) -> bool {
        #[cfg(feature = "dns")]
        if self.dns.as_ref().is_some_and(|dns| dns.has_work()) {
            return true;
        }
        #[cfg(feature = "mdns")]
        if self.mdns.as_ref().is_some_and(|mdns| mdns.has_work()) {
            return true;
        }
        self.unsettled || !self.dropped.is_empty()
    }

    /// A deadline has passed.
    pub(super) fn set_overdue(&mut self) {
        self.unsettled = true;
    }

    /// Forgets everything; what comes back is to be dropped where a panic is caught.
    fn close(&mut self) -> Vec<Wanted<S>> {
        self.system = None;
        #[cfg(feature = "dns")]
        {
            self.dns = None;
        }
        #[cfg(feature = "mdns")]
        {
            (self.mdns, self.running) = (None, None);
        }
        self.unsettled = false;
        self.dropped.drain(..).chain(self.waiting.drain().map(|(_, wanted)| wanted)).collect()
    }
}

impl<S> Core<S> {
    pub(super) fn check_lookup(&mut self, name: &str) -> Result<Moment> {
        if self.stop != Stop::Running {
            return Err(Error::new(Kind::Stopped, format!("{}: the manager is stopping", cannot(name))));
        }
        Ok(self.clock.now().after(self.limits.resolve_timeout))
    }

    pub(super) fn names_are_of_the_system(&self) -> bool {
        match &self.names.chosen {
            #[cfg(feature = "dns")]
            Some(Resolver::Stub(_)) => false,
            Some(Resolver::System) => true,
            #[cfg(feature = "dns")]
            None => self.sockets.is_simulated() || matches!(Resolver::default(), Resolver::System),
            #[cfg(not(feature = "dns"))]
            None => true,
        }
    }

    /// Begins to look a name up. What comes of it comes with the ticket, never before this returns.
    pub(crate) fn look_up(&mut self, host: &str, port: u16, wanted: Wanted<S>) -> std::result::Result<u64, NotAsked> {
        let is_service = wanted.is_service();
        self.look_up_by(|core, ticket| core.ask_name(ticket, host, port, is_service), wanted)
    }

    /// The same, asked for in a way of its own.
    pub(super) fn look_up_by(
        &mut self,
        ask: impl FnOnce(&mut Self, u64) -> std::result::Result<(), NotAsked>,
        wanted: Wanted<S>,
    ) -> std::result::Result<u64, NotAsked> {
        self.reach_out();
        let ticket = self.names.last_ticket + 1;
        let asked = ask(self, ticket);
        if asked.is_err() {
            self.stats.lookups_refused += 1;
        }
        asked?;
        self.names.last_ticket = ticket;
        self.names.waiting.insert(ticket, wanted);
        self.names.unsettled = true;
        Ok(ticket)
    }

    fn ask_name(&mut self, ticket: u64, host: &str, port: u16, is_service: bool) -> std::result::Result<(), NotAsked> {
        #[cfg(feature = "mdns")]
        if self.is_for_mdns(host) && !is_service {
            return self.ask_mdns(ticket, host);
        }
        if self.names_are_of_the_system() {
            let system = self.names.system.get_or_insert_with(|| {
                let send = self.inbox.sender();
                self.sockets.names(Arc::new(move |ticket, result| send(Command::Resolved { ticket, result })))
            });
            system.resolve(ticket, host, port).map_err(NotAsked::System)
        } else {
            self.ask_dns(ticket, host, is_service)
        }
    }

    #[cfg(not(feature = "dns"))]
    fn ask_dns(&mut self, _: u64, _: &str, _: bool) -> std::result::Result<(), NotAsked> {
        Ok(())
    }

    /// Nobody wants to know any more.
    pub(crate) fn forget_lookup(&mut self, ticket: u64) -> Option<Wanted<S>> {
        let wanted = self.names.waiting.remove(&ticket)?;
        if let Some(system) = &mut self.names.system {
            system.cancel(ticket);
        }
        #[cfg(feature = "dns")]
        self.cancel_dns(ticket);
        #[cfg(feature = "mdns")]
        self.cancel_mdns(ticket);
        self.names.unsettled = true;
        Some(wanted)
    }

    /// Looks nothing up any more.
    pub(super) fn close_names(&mut self, state: &mut S) {
        let callbacks = self.names.close();
        dispatch::drop_user(state, self, Some(callbacks));
    }

    /// Does what is due for names: sockets to servers, results, deadlines.
    pub(crate) fn serve_names(&mut self, state: &mut S) {
        if !self.names.has_work() {
            return;
        }
        self.names.unsettled = false;
        #[cfg(feature = "dns")]
        self.serve_dns(state);
        #[cfg(feature = "mdns")]
        self.serve_mdns(state);
        let now = self.now;
        let late = self.names.waiting.iter().filter(|(_, wanted)| wanted.until() <= now);
        let mut late: Vec<u64> = late.map(|(ticket, _)| *ticket).collect();
        late.sort_unstable();
        for ticket in late {
            self.forget_lookup(ticket).into_iter().for_each(|wanted| {
                let late = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                self.tell(state, ticket, wanted, Err(late), true);
            });
        }
        for wanted in std::mem::take(&mut self.names.dropped) {
            dispatch::drop_user(state, self, Some(wanted));
        }
        self.arm_names();
    }

    /// Sets the deadline of everything that is being looked up.
    fn arm_names(&mut self) {
        let at = self.names.waiting.values().map(Wanted::until).min().unwrap_or(Moment::NEVER);
        #[cfg(feature = "dns")]
        let at = at.min(self.dns_due());
        #[cfg(feature = "mdns")]
        let at = at.min(self.mdns_due());
        if at < Moment::NEVER {
            self.deadlines.set(Owner::Names, at);
        } else {
            self.deadlines.cancel(Owner::Names);
        }
    }

    /// A lookup has a result: addresses, of which others may follow unless they are the last.
    pub(crate) fn lookup_done(&mut self, state: &mut S, ticket: u64, result: io::Result<Vec<SocketAddr>>, last: bool) {
        if let Some(wanted) = self.names.waiting.remove(&ticket) {
            self.names.unsettled = true;
            self.tell(state, ticket, wanted, result, last);
        }
    }

    fn tell(&mut self, state: &mut S, ticket: u64, wanted: Wanted<S>, result: io::Result<Vec<SocketAddr>>, last: bool) {
        match wanted {
            Wanted::Conn(key) => {
                if !last {
                    self.names.waiting.insert(ticket, wanted);
                }
                self.resolved(state, key, result, (!last).then_some(ticket));
            }
            Wanted::Addrs { name, call, mut got, until } => {
                let result = result.map(|addrs| got.extend(addrs.iter().map(SocketAddr::ip)));
                if !last {
                    self.names.waiting.insert(ticket, Wanted::Addrs { name, call, got, until });
                    return;
                }
                let found = match result {
                    // The time was up for the other half.
                    _ if !got.is_empty() => {
                        let mut once = Vec::with_capacity(got.len());
                        got.into_iter().for_each(|ip| {
                            if !once.contains(&ip) {
                                once.push(ip)
                            }
                        });
                        Ok(once)
                    }
                    Ok(()) => Err(not_found(&name, io::Error::other("the name has no address"))),
                    Err(e) => Err(not_found(&name, e)),
                };
                dispatch::found(state, self, call, found);
            }
            #[cfg(feature = "dns")]
            Wanted::Services { name, call, .. } => {
                let e = result.err().unwrap_or_else(|| io::Error::other("no answer"));
                dispatch::found(state, self, call, Err(not_found(&name, e)));
            }
            // It is told of services only, and has no end but its cancellation.
            #[cfg(feature = "mdns")]
            Wanted::Browse { .. } => _ = self.names.waiting.insert(ticket, wanted),
        }
    }

    /// A service has been found, or lost.
    #[cfg(feature = "mdns")]
    pub(super) fn browsed(&mut self, state: &mut S, ticket: u64, browsed: Browsed) {
        let Some(Wanted::Browse { mut call }) = self.names.waiting.remove(&ticket) else { return };
        self.names.running = Some(ticket);
        dispatch::browsed(state, self, &mut call, browsed);
        let wanted = Wanted::Browse { call };
        // It may have been cancelled, or the manager closed.
        if self.names.running.take().is_some() {
            self.names.waiting.insert(ticket, wanted);
        } else {
            dispatch::drop_user(state, self, Some(wanted));
        }
    }

    /// A service has been found.
    #[cfg(feature = "dns")]
    pub(super) fn services_done(&mut self, state: &mut S, ticket: u64, services: Vec<dns::Srv>) {
        if let Some(Wanted::Services { name, call, .. }) = self.names.waiting.remove(&ticket) {
            let sockets = &self.sockets;
            let mut services = dns::order_services(services, &mut || sockets.bits());
            // RFC 2782, "Target": the root says that there is decidedly no such service.
            services.retain(|srv| srv.target != dns::Name::root());
            let none = || not_found(&name, io::Error::other("the service is not offered there"));
            let found = if services.is_empty() { Err(none()) } else { Ok(services) };
            dispatch::found(state, self, call, found);
        }
    }
}

impl<S> Wanted<S> {
    /// When it is too late; a connection has a deadline of its own.
    fn until(&self) -> Moment {
        match self {
            Self::Conn(_) => Moment::NEVER,
            Self::Addrs { until, .. } => *until,
            #[cfg(feature = "dns")]
            Self::Services { until, .. } => *until,
            #[cfg(feature = "mdns")]
            Self::Browse { .. } => Moment::NEVER,
        }
    }

    fn is_service(&self) -> bool {
        match self {
            #[cfg(feature = "dns")]
            Self::Services { .. } => true,
            _ => false,
        }
    }
}

pub(super) fn cannot(name: &str) -> String {
    format!("cannot look up {}", crate::options::redacted(name))
}

fn not_found(name: &str, e: io::Error) -> Error {
    Error::with_source(Kind::Resolve, cannot(name), e)
}

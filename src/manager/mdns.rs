//! Multicast DNS between the protocol and the loop: a link for each network interface, with its sockets.

mod links;
mod options;

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::net::Sockets;
use crate::proto::dns::mdns::{Found, Service, Told, is_local, kind_name};
use crate::proto::dns::{LookupError, Name};
use crate::time::Moment;
use crate::trace::trace_event;

use self::links::{Asked, IDLE, LOOK_EVERY};
use super::core::{Core, Stop};
use super::names::{LookupCtx, LookupId, NotAsked, Wanted, cannot};
use super::net::Net;

pub(crate) use self::links::Mdns;
pub use self::options::Options;

/// Names a service that is announced, until it is withdrawn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceId(u64);

/// What is told of services that are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Browsed {
    /// A service is there, or says something else of itself than before.
    Found(Found),
    /// The service of this name is gone.
    Lost(String),
}

/// What is announced, and on which interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The interfaces that are spoken on.
    pub interfaces: Vec<String>,
    /// What this host answers to, without `.local`: with a number where another host had the name. None: nothing is announced.
    pub host: Option<String>,
    /// Services, by the names that they have now.
    pub services: Vec<(ServiceId, String)>,
    /// The host's name and those of all services are made sure of on every interface.
    pub is_settled: bool,
}

/// What is told of services.
pub(crate) type BoxBrowsed<S> = Box<dyn FnMut(&mut LookupCtx<'_, S>, Browsed)>;

/// Services that can be announced at a time.
const SERVICES_MAX: usize = 32;
/// Hosts that are asked for at a time.
const ASKED_MAX: usize = 256;

impl<S> Net<'_, S> {
    /// Announces a service of this program on the local network, and this host's name, until it is withdrawn or the manager
    /// stops; both are taken back then.
    ///
    /// First others are asked whether the names are theirs, for about a second; one that is taken gets a number
    /// ([`mdns_status`](Self::mdns_status) tells). Interfaces that come later are served as well. Only hosts on the same link are
    /// answered. What is announced has to be listened on besides.
    ///
    /// Fails for a service that cannot be one ([`is_bad_value`](Error::is_bad_value)), for the 33rd, and when there is no socket
    /// to be had on any interface. With no interface there, it waits for one.
    ///
    /// ```no_run
    /// use vansire::Manager;
    /// use vansire::mdns::Service;
    ///
    /// # fn main() -> vansire::Result<()> {
    /// let mut manager = Manager::new(())?;
    /// manager.net().mdns_announce(Service::new("Kitchen light", "_http._tcp", 8080).txt("path", "/"))?;
    /// # Ok(()) }
    /// ```
    pub fn mdns_announce(&mut self, service: Service) -> Result<ServiceId> {
        let what = format!("cannot announce {:?}", service.name());
        service.check().map_err(|e| Error::with_source(Kind::BadValue, what.clone(), e))?;
        let (mdns, sockets, now) = self.core.mdns(&what)?;
        if mdns.services.len() >= SERVICES_MAX {
            return Err(Error::new(
                Kind::LimitReached,
                format!("{what}: {SERVICES_MAX} services are announced already"),
            ));
        }
        let id = mdns.services.last_key_value().map_or(1, |(id, _)| id + 1);
        for io in &mut mdns.links {
            io.link.add(id, service.clone(), now, &mut || sockets.bits());
        }
        mdns.claims_host = true;
        mdns.services.insert(id, (service, 1));
        Ok(ServiceId(id))
    }

    /// Answers to this host's name, `NAME.local`, without a service to announce. Fails as [`mdns_announce`](Self::mdns_announce).
    pub fn mdns_announce_host(&mut self) -> Result<()> {
        let (mdns, sockets, now) = self.core.mdns("cannot announce this host")?;
        mdns.claims_host = true;
        mdns.links.iter_mut().for_each(|io| io.link.claim_host(now, &mut || sockets.bits()));
        Ok(())
    }

    /// Takes a service back: those who know of it are told. False when that was done before.
    pub fn mdns_withdraw(&mut self, id: ServiceId) -> bool {
        let Some(mdns) = &mut self.core.names.mdns else { return false };
        mdns.is_stirred = true;
        mdns.links.iter_mut().for_each(|io| io.link.remove(id.0));
        mdns.services.remove(&id.0).is_some()
    }

    /// What is announced; none before the first use.
    pub fn mdns_status(&self) -> Option<Status> {
        let mdns = self.core.names.mdns.as_ref()?;
        let mut status = Status { is_settled: mdns.claims_host && !mdns.links.is_empty(), ..Status::default() };
        for io in &mdns.links {
            status.interfaces.push(io.interface.name.clone());
            for (id, label, is_sure) in io.link.labels() {
                status.is_settled &= is_sure;
                match id.map(ServiceId) {
                    None => status.host = Some(label),
                    Some(id) if status.services.iter().any(|(other, _)| *other == id) => {}
                    Some(id) => status.services.push((id, label)),
                }
            }
        }
        Some(status)
    }

    /// Looks up the addresses of a host below `.local`, by asking everybody on the local network; then calls back as
    /// [`resolve`](Self::resolve) does. Nobody answers to a name that is not there: that is told after 3 s.
    ///
    /// With [`DnsOptions::multicast`](crate::DnsOptions::multicast), `resolve` and `connect` do so for such names by themselves.
    /// Link-local IPv6 addresses come last; alone they do not say on which interface.
    pub fn mdns_resolve(
        &mut self,
        name: &str,
        f: impl FnOnce(&mut LookupCtx<'_, S>, Result<Vec<IpAddr>>) + 'static,
    ) -> Result<LookupId> {
        let until = self.core.check_lookup(name)?;
        let wanted = Wanted::Addrs { name: name.into(), call: Box::new(f), got: Vec::new(), until };
        let asked = |core: &mut Core<S>, ticket| core.ask_mdns(ticket, name);
        self.core.look_up_by(asked, wanted).map(LookupId::new).map_err(|e| e.into_error(cannot(name)))
    }

    /// Looks for services of a kind, such as `_http._tcp`, on the local network, and calls back for each that is found, changed
    /// or lost, until [`cancel_resolve`](Self::cancel_resolve). Each has its addresses, its port and its texts.
    ///
    /// Questions come less and less often, up to an hour apart. What is said here can be said by anybody on the network. Fails
    /// for what is no kind, and when too many are looked for.
    pub fn mdns_browse(
        &mut self,
        kind: &str,
        f: impl FnMut(&mut LookupCtx<'_, S>, Browsed) + 'static,
    ) -> Result<LookupId> {
        let what = || format!("cannot look for {kind:?}");
        let name = kind_name(kind).map_err(|e| Error::with_source(Kind::BadValue, what(), e))?;
        let asked = |core: &mut Core<S>, ticket| core.browse_mdns(ticket, name);
        let wanted = Wanted::Browse { call: Box::new(f) };
        self.core.look_up_by(asked, wanted).map(LookupId::new).map_err(|e| e.into_error(what()))
    }
}

impl<S> Core<S> {
    /// Everything of multicast DNS, made when it is first wanted.
    fn mdns(&mut self, what: &str) -> Result<(&mut Mdns, &Sockets, Instant)> {
        if self.stop != Stop::Running {
            return Err(Error::new(Kind::Stopped, format!("{what}: the manager is stopping")));
        }
        let now = self.clock.now();
        let instant = self.clock.instant(now);
        if self.names.mdns.is_none() {
            let options = self.names.mdns_options.clone().unwrap_or_default();
            let mut mdns = Mdns::new(options, self.names.mdns_past, now)?;
            mdns.look(&self.sockets, &mut self.reactor, instant).map_err(|e| Error::io(what, e))?;
            mdns.look_at = now.after(LOOK_EVERY);
            self.reach_out();
            self.names.mdns = Some(Box::new(mdns));
        }
        match &mut self.names.mdns {
            Some(mdns) => {
                mdns.is_stirred = true;
                Ok((mdns, &self.sockets, instant))
            }
            None => Err(Error::new(Kind::Gone, what)),
        }
    }

    /// The name is one that is asked for by multicast.
    pub(super) fn is_for_mdns(&self, host: &str) -> bool {
        let is_on = match &self.names.chosen {
            Some(super::Resolver::Stub(options)) => options.multicast,
            Some(super::Resolver::System) | None => false,
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        is_on && host.len() > ".local".len() && host.to_ascii_lowercase().ends_with(".local")
    }

    /// Asks for the addresses of a host.
    pub(super) fn ask_mdns(&mut self, ticket: u64, host: &str) -> std::result::Result<(), NotAsked> {
        let name: Name = host.parse().map_err(|e| NotAsked::Dns(LookupError::BadName(e)))?;
        if !is_local(&name) {
            let why = "only names below .local are asked for on the local network";
            return Err(NotAsked::Mdns(Error::new(Kind::BadValue, why)));
        }
        let (mdns, _, now) = self.mdns("multicast DNS cannot be spoken").map_err(NotAsked::Mdns)?;
        if mdns.links.is_empty() {
            let why = "there is no network interface to ask on";
            return Err(NotAsked::Mdns(Error::new(Kind::Unsupported, why)));
        }
        if mdns.asked.len() >= ASKED_MAX {
            return Err(NotAsked::Dns(LookupError::Full));
        }
        mdns.links.iter_mut().for_each(|io| io.link.resolve(ticket, name.clone(), now));
        let links = mdns.links.iter().map(|io| io.interface.index).collect();
        mdns.asked.insert(ticket, Asked::Host(name, links));
        Ok(())
    }

    fn browse_mdns(&mut self, ticket: u64, kind: Name) -> std::result::Result<(), NotAsked> {
        let (mdns, _, now) = self.mdns("multicast DNS cannot be spoken").map_err(NotAsked::Mdns)?;
        let is_full = mdns.links.iter_mut().any(|io| !io.link.browse(ticket, kind.clone(), now));
        if is_full {
            mdns.links.iter_mut().for_each(|io| io.link.cancel(ticket, now));
            return Err(NotAsked::Dns(LookupError::Full));
        }
        mdns.asked.insert(ticket, Asked::Kind(kind));
        Ok(())
    }

    pub(super) fn cancel_mdns(&mut self, ticket: u64) {
        let now = self.instant();
        if let Some(mdns) = &mut self.names.mdns
            && mdns.asked.remove(&ticket).is_some()
        {
            mdns.links.iter_mut().for_each(|io| io.link.cancel(ticket, now));
            mdns.is_stirred = true;
        }
    }

    pub(super) fn mdns_due(&self) -> Moment {
        self.names.mdns.as_ref().map_or(Moment::NEVER, |mdns| mdns.due(self.now, self.instant))
    }

    /// Reads, answers, asks and tells what is due.
    pub(super) fn serve_mdns(&mut self, state: &mut S) {
        let (at, now) = (self.now, self.instant());
        let Some(mdns) = &mut self.names.mdns else { return };
        mdns.is_stirred = false;
        mdns.receive(&self.sockets, &mut self.scratch, now);
        if mdns.look_at <= at && mdns.idle_since.is_none() {
            mdns.look_at = at.after(LOOK_EVERY);
            if let Err(e) = mdns.look(&self.sockets, &mut self.reactor, now) {
                trace_event!(warn, "multicast DNS has no interface: {e}");
            }
        }
        let told = mdns.go_on(now);
        self.flush_mdns();
        for (index, told) in told {
            self.tell_mdns(state, index, told);
        }
        self.flush_mdns();
        let Some(mdns) = &mut self.names.mdns else { return };
        let counters = mdns.counters();
        self.stats.mdns_heard = counters.heard;
        self.stats.mdns_strays = counters.strays;
        self.stats.mdns_limited = counters.limited;
        self.stats.mdns_conflicts = counters.conflicts;
        self.stats.mdns_forgotten = counters.forgotten;
        match (mdns.is_idle(), mdns.idle_since) {
            (false, _) => mdns.idle_since = None,
            (true, None) => mdns.idle_since = Some(at),
            (true, Some(since)) if since.after(IDLE) <= at => {
                self.names.mdns_past = counters;
                self.names.mdns = None;
            }
            (true, Some(_)) => {}
        }
    }

    /// Sends what there is to be sent.
    fn flush_mdns(&mut self) {
        if let Some(mdns) = &mut self.names.mdns {
            let (sent, lost) = mdns.send();
            self.stats.mdns_sent += sent;
            self.stats.datagrams_dropped += lost;
        }
    }

    /// The end: whoever knows of this host and its services is told that they are gone.
    pub(super) fn stop_mdns(&mut self) {
        if let Some(mdns) = &mut self.names.mdns {
            mdns.claims_host = false;
            mdns.services.clear();
            mdns.links.iter_mut().for_each(|io| io.link.stop());
        }
        self.flush_mdns();
    }

    fn tell_mdns(&mut self, state: &mut S, index: u32, told: Told) {
        match told {
            Told::Addrs { ticket, mut addrs } => {
                self.cancel_mdns(ticket);
                let is_link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
                addrs.sort_by_key(is_link_local);
                let addrs = addrs.into_iter().map(|ip| match ip {
                    IpAddr::V6(ip) if ip.is_unicast_link_local() => SocketAddrV6::new(ip, 0, 0, index).into(),
                    ip => SocketAddr::new(ip, 0),
                });
                let addrs = addrs.collect();
                self.lookup_done(state, ticket, Ok(addrs), true);
            }
            Told::Silence { ticket } => {
                let Some(mdns) = &mut self.names.mdns else { return };
                let Some(Asked::Host(_, links)) = mdns.asked.get_mut(&ticket) else { return };
                links.retain(|link| *link != index);
                if links.is_empty() {
                    mdns.asked.remove(&ticket);
                    let e = io::Error::new(io::ErrorKind::NotFound, "nobody on the local network answers to it");
                    self.lookup_done(state, ticket, Err(e), true);
                }
            }
            Told::Found { ticket, found } => self.browsed(state, ticket, Browsed::Found(found)),
            Told::Lost { ticket, name } => self.browsed(state, ticket, Browsed::Lost(name)),
        }
    }
}

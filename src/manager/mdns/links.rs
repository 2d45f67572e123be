//! The network interfaces that multicast DNS is spoken on, each with its link and its sockets.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::id::{Key, Table};
use crate::net::multicast::{self, Interface};
use crate::net::{Sockets, Udp};
use crate::proto::dns::Name;
use crate::proto::dns::mdns::{
    Counters, GROUP_V4, GROUP_V6, Link, Net as LinkNet, Output, Service, To, Told, host_label,
};
use crate::reactor::{Reactor, Token, Watch};
use crate::time::Moment;
use crate::trace::trace_event;

use super::Options;

/// Everything, from the first use on.
pub(crate) struct Mdns {
    pub(super) options: Options,
    host: String,
    pub(super) links: Vec<LinkIo>,
    sockets: Table<SocketIo>,
    /// Slots of sockets to read from.
    ready: VecDeque<usize>,
    /// Something was asked for: deadlines are to be looked at.
    pub(super) is_stirred: bool,
    pub(super) claims_host: bool,
    pub(super) services: BTreeMap<u64, (Service, u32)>,
    host_number: u32,
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Of links that are gone.
    past: Counters,
    /// When the interfaces are to be looked at again.
    pub(super) look_at: Moment,
    /// Since when nobody has wanted anything.
    pub(super) idle_since: Option<Moment>,
}

pub(super) struct LinkIo {
    pub(super) interface: Interface,
    pub(super) link: Link,
    /// For IPv4 and IPv6.
    sockets: [Option<Key>; 2],
}

struct SocketIo {
    /// The number of the interface.
    index: u32,
    udp: Udp,
    queued: bool,
}

/// Who wants to know what.
pub(super) enum Asked {
    /// A host, of those links that have not said that nobody answers.
    Host(Name, Vec<u32>),
    Kind(Name),
}

/// Datagrams taken from one socket in a turn.
const DATAGRAMS_PER_TURN: usize = 32;
/// How often the interfaces are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(10);
/// What was heard is kept for so long when nobody wants anything: as long as hosts' addresses are good.
pub(super) const IDLE: Duration = Duration::from_secs(120);
impl Mdns {
    /// As the options say; `past` was counted before.
    pub(super) fn new(options: Options, past: Counters, now: Moment) -> Result<Self> {
        let host = match &options.host {
            Some(host) => host_label(host).map_err(|e| {
                Error::with_source(Kind::BadValue, format!("cannot be called {host:?} on the local network"), e)
            })?,
            None => multicast::machine_name().and_then(|name| host_label(&name).ok()).unwrap_or("vansire".into()),
        };
        Ok(Self {
            options,
            host,
            links: Vec::new(),
            sockets: Table::new(),
            ready: VecDeque::new(),
            is_stirred: false,
            claims_host: false,
            services: BTreeMap::new(),
            host_number: 1,
            asked: BTreeMap::new(),
            past,
            look_at: now,
            idle_since: None,
        })
    }

    /// There is something to do without waiting.
    pub(in crate::manager) fn has_work(&self) -> bool {
        self.is_stirred || !self.ready.is_empty()
    }

    /// The system has told of a socket.
    pub(in crate::manager) fn note(&mut self, slot: usize) {
        if let Some(key) = self.sockets.key_at(slot)
            && let Some(socket) = self.sockets.get_mut(key)
            && !std::mem::replace(&mut socket.queued, true)
        {
            self.ready.push_back(slot);
        }
    }

    /// Takes up interfaces that have come, leaves those that have gone. Fails where none can be used, and says why.
    pub(super) fn look(&mut self, sockets: &Sockets, reactor: &mut Reactor, now: Instant) -> io::Result<()> {
        let Options { interfaces: chosen, .. } = &self.options;
        let is_chosen = |interface: &Interface| {
            let is_named = |name: &String| {
                let by_addr = || interface.addrs.iter().any(|(ip, _)| name.parse() == Ok(*ip));
                *name == interface.name || by_addr()
            };
            if chosen.is_empty() { interface.is_shared } else { chosen.iter().any(is_named) }
        };
        let found: Vec<Interface> = sockets.interfaces()?.into_iter().filter(is_chosen).collect();
        let mut kept = Vec::new();
        for io in std::mem::take(&mut self.links) {
            if found
                .iter()
                .any(|interface| interface.index == io.interface.index && interface.name == io.interface.name)
            {
                kept.push(io);
            } else {
                io.sockets.into_iter().flatten().for_each(|key| _ = self.sockets.remove(key));
                self.past = self.past.and(io.link.counters());
                self.nobody_there(io.interface.index);
            }
        }
        self.links = kept;
        let mut failure = None;
        for interface in found {
            let nets = nets(&interface);
            match self.links.iter_mut().find(|io| io.interface.index == interface.index) {
                Some(io) if io.link.nets() == nets => {}
                Some(io) => {
                    io.link.set_nets(nets, now);
                    io.interface = interface;
                }
                None => failure = self.open(interface, sockets, reactor, now).err().or(failure),
            }
        }
        match failure {
            Some(e) if self.links.is_empty() => Err(e),
            Some(e) => {
                trace_event!(warn, "multicast DNS leaves an interface out: {e}");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Speaks on an interface from now on.
    fn open(&mut self, interface: Interface, sockets: &Sockets, reactor: &mut Reactor, now: Instant) -> io::Result<()> {
        let index = interface.index;
        let groups = [(self.options.ipv4, IpAddr::from(GROUP_V4)), (self.options.ipv6, IpAddr::from(GROUP_V6))];
        let mut keys = [None, None];
        let mut failure = None;
        for (at, (_, ip)) in groups.into_iter().enumerate().filter(|(_, (is_on, _))| *is_on) {
            if !interface.addrs.iter().any(|(own, _)| own.is_ipv4() == ip.is_ipv4()) {
                continue;
            }
            let group = multicast::group(ip, self.options.port, index);
            let opened = sockets.join(group, &interface).and_then(|udp| {
                let key = self.sockets.insert(SocketIo { index, udp, queued: false });
                let Some(socket) = self.sockets.get_mut(key) else { return Ok(key) };
                match reactor.register(socket.udp.source(), Token::Mdns(key.index()), Watch::Read) {
                    Ok(()) => Ok(key),
                    Err(e) => {
                        self.sockets.remove(key);
                        Err(e)
                    }
                }
            });
            match opened {
                Ok(key) => keys[at] = Some(key),
                Err(e) => failure = Some(e),
            }
        }
        if keys.iter().all(Option::is_none) {
            let none = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the interface has no address to speak from");
            return Err(failure.unwrap_or_else(none));
        }
        let mut link = Link::new(index, &self.host, nets(&interface), self.options.port, self.options.cache_max, now);
        if self.claims_host {
            link.claim_host(now, &mut || sockets.bits());
            link.renumber(None, self.host_number, now);
        }
        for (id, (service, number)) in &self.services {
            link.add(*id, service.clone(), now, &mut || sockets.bits());
            link.renumber(Some(*id), *number, now);
        }
        for (ticket, asked) in &mut self.asked {
            match asked {
                Asked::Host(name, links) => {
                    link.resolve(*ticket, name.clone(), now);
                    links.push(index);
                }
                Asked::Kind(kind) => _ = link.browse(*ticket, kind.clone(), now),
            }
        }
        self.links.push(LinkIo { interface, link, sockets: keys });
        Ok(())
    }

    /// Nobody will answer on a link.
    fn nobody_there(&mut self, index: u32) {
        for asked in self.asked.values_mut() {
            if let Asked::Host(_, links) = asked {
                links.retain(|link| *link != index);
            }
        }
    }

    /// Reads what has come.
    pub(super) fn receive(&mut self, sockets: &Sockets, scratch: &mut [u8], now: Instant) {
        let own: Vec<IpAddr> = self.links.iter().flat_map(|io| io.link.nets()).map(|net| net.ip).collect();
        for _ in 0..self.ready.len() {
            let Some(slot) = self.ready.pop_front() else { break };
            let Some(key) = self.sockets.key_at(slot) else { continue };
            let Some(socket) = self.sockets.get_mut(key) else { continue };
            socket.queued = false;
            let Some(io) = self.links.iter_mut().find(|io| io.interface.index == socket.index) else { continue };
            let mut left = DATAGRAMS_PER_TURN;
            while left > 0 {
                match socket.udp.recv_from(scratch) {
                    Ok((n, from)) => {
                        left -= 1;
                        let is_ours = |ip| own.contains(&ip);
                        io.link.handle_datagram(from, &scratch[..n], now, is_ours, &mut || sockets.bits());
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    // An answer to something that was sent before; it concerns one of many.
                    Err(_) => left -= 1,
                }
            }
            if left == 0 {
                self.note(slot);
            }
        }
    }

    /// Does what is due on every link; answers what came of it.
    pub(super) fn go_on(&mut self, now: Instant) -> Vec<(u32, Told)> {
        let mut told = Vec::new();
        let mut renamed = Vec::new();
        for io in &mut self.links {
            io.link.handle_timeout(now);
            while let Some((id, number)) = io.link.poll_renamed() {
                renamed.push((id, number));
            }
            while let Some(one) = io.link.poll_told() {
                told.push((io.interface.index, one));
            }
        }
        // A name is the same on all links.
        for (id, number) in renamed {
            match id {
                None => self.host_number = self.host_number.max(number),
                Some(id) => {
                    if let Some((_, known)) = self.services.get_mut(&id) {
                        *known = number.max(*known);
                    }
                }
            }
            self.links.iter_mut().for_each(|io| io.link.renumber(id, number, now));
        }
        // Those for which there is no link left.
        for (ticket, asked) in &self.asked {
            if matches!(asked, Asked::Host(_, links) if links.is_empty()) {
                told.push((0, Told::Silence { ticket: *ticket }));
            }
        }
        told
    }

    /// Sends what there is to be sent; what a socket does not take at once is lost, as the network may lose it.
    pub(super) fn send(&mut self) -> (u64, u64) {
        let (mut sent, mut lost) = (0, 0);
        for io in &mut self.links {
            while let Some(Output { to, bytes }) = io.link.poll_output() {
                for (at, key) in io.sockets.iter().enumerate() {
                    let Some(socket) = key.and_then(|key| self.sockets.get(key)) else { continue };
                    let group = if at == 0 { IpAddr::from(GROUP_V4) } else { IpAddr::from(GROUP_V6) };
                    let to = match to {
                        To::Group => multicast::group(group, self.options.port, io.interface.index),
                        To::One(to) if to.is_ipv4() == group.is_ipv4() => to,
                        To::One(_) => continue,
                    };
                    let mut result = socket.udp.send_to(&bytes, to);
                    if matches!(&result, Err(e) if e.kind() == io::ErrorKind::Interrupted) {
                        result = socket.udp.send_to(&bytes, to);
                    }
                    *(if result.is_ok() { &mut sent } else { &mut lost }) += 1;
                }
            }
        }
        (sent, lost)
    }

    pub(super) fn counters(&self) -> Counters {
        self.links.iter().fold(self.past, |sum, io| sum.and(io.link.counters()))
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.claims_host && self.asked.is_empty()
    }

    /// When there is something to do, `now` being both of these.
    pub(super) fn due(&self, now: Moment, instant: Instant) -> Moment {
        let links = self.links.iter().filter_map(|io| io.link.poll_timeout()).min();
        let links = links.map_or(Moment::NEVER, |at| now.after(at.saturating_duration_since(instant)));
        let look = self.idle_since.map_or(self.look_at, |since| since.after(IDLE));
        links.min(look)
    }
}

fn nets(interface: &Interface) -> Vec<LinkNet> {
    interface.addrs.iter().map(|&(ip, prefix)| LinkNet { ip, prefix }).collect()
}

impl Counters {
    fn and(self, other: Self) -> Self {
        Self {
            heard: self.heard + other.heard,
            strays: self.strays + other.strays,
            limited: self.limited + other.limited,
            conflicts: self.conflicts + other.conflicts,
            forgotten: self.forgotten + other.forgotten,
        }
    }
}

//! Everything on one link of the network: who is heard, what is answered and asked.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::super::message::{Flags, Message};
use super::super::name::Name;
use super::super::query::Bits;
use super::MESSAGE_MAX;
use super::querier::{Querier, Told};
use super::responder::Responder;
use super::service::Service;

/// An address of this host on the link, and how many of its bits others there have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net {
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

/// What to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) to: To,
    pub(crate) bytes: Vec<u8>,
}

/// Whom to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    /// Everybody.
    Group,
    One(SocketAddr),
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Messages that were read.
    pub(crate) heard: u64,
    /// Bytes from elsewhere than this link, that are no message, or that break a rule: nothing was done about them.
    pub(crate) strays: u64,
    /// Answers to single askers that were not sent because there were too many.
    pub(crate) limited: u64,
    /// Names that others had as well.
    pub(crate) conflicts: u64,
    /// Records that were forgotten, or not kept, for want of room.
    pub(crate) forgotten: u64,
}

/// One link. Inputs are given, then outputs are taken until there are none; `handle_timeout` is to be called at the time of
/// `poll_timeout`.
#[derive(Debug)]
pub(crate) struct Link {
    port: u16,
    nets: Vec<Net>,
    responder: Responder,
    querier: Querier,
    out: VecDeque<Output>,
    heard: u64,
    strays: u64,
}

impl Link {
    /// A link of this number (of the interface), to whose neighbours this host is called so.
    pub(crate) fn new(interface: u32, host: &str, nets: Vec<Net>, port: u16, cache_max: usize, now: Instant) -> Self {
        let addrs = nets.iter().map(|net| net.ip).collect();
        Self {
            port,
            nets,
            responder: Responder::new(host, addrs, now),
            querier: Querier::new(interface, cache_max),
            out: VecDeque::new(),
            heard: 0,
            strays: 0,
        }
    }

    pub(crate) fn nets(&self) -> &[Net] {
        &self.nets
    }

    /// The host has other addresses now.
    pub(crate) fn set_nets(&mut self, nets: Vec<Net>, now: Instant) {
        self.responder.set_addrs(nets.iter().map(|net| net.ip).collect(), now);
        self.nets = nets;
    }

    /// Answers to the name of this host.
    pub(crate) fn claim_host(&mut self, now: Instant, bits: Bits<'_>) {
        self.responder.claim_host(now, bits);
    }

    /// Announces a service of this host.
    pub(crate) fn add(&mut self, id: u64, service: Service, now: Instant, bits: Bits<'_>) {
        self.responder.add(id, service, now, bits);
    }

    /// Takes a service back.
    pub(crate) fn remove(&mut self, id: u64) {
        self.responder.remove(id, &mut self.out);
    }

    /// Takes everything back.
    pub(crate) fn stop(&mut self) {
        self.responder.stop(&mut self.out);
    }

    /// A name was taken on another link; it is to have this number here as well.
    pub(crate) fn renumber(&mut self, id: Option<u64>, number: u32, now: Instant) {
        self.responder.renumber(id, number, now, &mut self.out);
    }

    /// A name that was taken here: whose, and the number that it has now.
    pub(crate) fn poll_renamed(&mut self) -> Option<(Option<u64>, u32)> {
        self.responder.renamed.pop_front()
    }

    /// The labels that are in use, of the host (no id) and of services, and whether they are made sure of.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (Option<u64>, String, bool)> {
        self.responder.labels()
    }

    /// Asks for the addresses of a host below `.local`.
    pub(crate) fn resolve(&mut self, ticket: u64, name: Name, now: Instant) {
        self.querier.resolve(ticket, name, now);
    }

    /// Looks for services. False where too many kinds are looked for.
    pub(crate) fn browse(&mut self, ticket: u64, kind: Name, now: Instant) -> bool {
        self.querier.browse(ticket, kind, now)
    }

    /// Nobody wants to know any more.
    pub(crate) fn cancel(&mut self, ticket: u64, now: Instant) {
        self.querier.cancel(ticket, now);
    }

    /// A datagram has come.
    pub(crate) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
        is_ours: impl Fn(IpAddr) -> bool,
        bits: Bits<'_>,
    ) {
        let message = self.is_near(from.ip()).then_some(bytes).filter(|bytes| bytes.len() <= MESSAGE_MAX);
        let message = message.and_then(|bytes| Message::decode(bytes).ok());
        // RFC 6762 §18.3, §18.11.
        let Some(message) = message.filter(|m| m.flags.opcode() == 0 && m.flags.rcode() == 0) else {
            self.strays += 1;
            return;
        };
        let is_spoken_here = from.port() == self.port;
        if !message.flags.has(Flags::RESPONSE) {
            self.heard += 1;
            return self.responder.handle_query(&message, from, !is_spoken_here, now, bits, &mut self.out);
        }
        if !is_spoken_here {
            // RFC 6762 §6: an answer comes from the port, or is none.
            self.strays += 1;
            return;
        }
        self.heard += 1;
        self.responder.handle_response(&message, now, is_ours, &mut self.out);
        self.querier.handle_response(&message, now);
    }

    /// Whether an address is of this link (RFC 6762 §11): nobody from elsewhere is answered or believed.
    fn is_near(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let is_link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        is_link_local || self.nets.iter().any(|net| net.holds(ip))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.responder.poll_timeout().into_iter().chain(self.querier.poll_timeout()).min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.responder.handle_timeout(now, &mut self.out);
        self.querier.handle_timeout(now, &mut self.out);
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    pub(crate) fn poll_told(&mut self) -> Option<Told> {
        self.querier.told.pop_front()
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            heard: self.heard,
            strays: self.strays,
            limited: self.responder.counters.limited,
            conflicts: self.responder.counters.conflicts,
            forgotten: self.querier.forgotten,
        }
    }
}

impl Net {
    fn holds(&self, other: IpAddr) -> bool {
        let (a, b, bits) = match (self.ip, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let differing = bits - u32::from(self.prefix).min(bits);
        (a ^ b).checked_shr(differing).unwrap_or(0) == 0
    }
}

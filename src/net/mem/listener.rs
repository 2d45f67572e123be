//! Listening, connecting, accepting.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::net::Address;

use super::peer::same_family;
use super::route::{REQUEST_TRIES, no_descriptor};
use super::stream::{Phase, Seg};
use super::{Happening, Kind, Mask, Route, SockId, World, bound};

/// A socket that connections wait at.
pub(super) struct Listen {
    pub(super) local: Address,
    /// Established and not accepted.
    waiting: VecDeque<SockId>,
    backlog: usize,
}

impl Listen {
    pub(super) fn mask(&self) -> Mask {
        Mask::default().with(Mask::IN, !self.waiting.is_empty())
    }
}

impl World {
    /// Listens on an address; on a free port where it names none.
    pub(super) fn bind_tcp(&mut self, addr: SocketAddr, backlog: usize) -> io::Result<SockId> {
        let addr = if addr.port() == 0 { self.free_port(addr.ip()) } else { addr };
        if self.tcp.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = self.add_listener(addr.into(), backlog);
        self.tcp.insert(addr, id);
        Ok(id)
    }

    pub(super) fn bind_unix(&mut self, path: &Path, backlog: usize) -> io::Result<SockId> {
        if self.unix.contains_key(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = self.add_listener(Address::Unix(Some(path.to_path_buf())), backlog);
        self.unix.insert(path.to_path_buf(), id);
        Ok(id)
    }

    fn add_listener(&mut self, local: Address, backlog: usize) -> SockId {
        self.add(Kind::Listener(Listen { local, waiting: VecDeque::new(), backlog: backlog.max(1) }))
    }

    /// Sends a connection request. It may fail at once.
    pub(super) fn connect_tcp(&mut self, from: SocketAddr, to: SocketAddr) -> io::Result<SockId> {
        if self.route(to.ip()) == Route::Unreachable {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let from = if from.port() == 0 { self.free_port(from.ip()) } else { from };
        let id = self.add_end(from.into(), to.into(), Phase::Connecting);
        let lost = self.rng.chance(self.faults.blackhole) || self.route(to.ip()) == Route::Blackhole;
        self.log(id, || format!("connects from {from} to {to}"));
        if !lost {
            let at = self.later();
            self.plan(at, Happening::Request { from: id, to, tries: 1 });
        }
        Ok(id)
    }

    /// Connects to a path, which succeeds or fails at once.
    pub(super) fn connect_unix(&mut self, path: &Path) -> io::Result<SockId> {
        let Some(&listener) = self.unix.get(path) else { return Err(io::ErrorKind::NotFound.into()) };
        if self.rng.chance(self.faults.refuse) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if self.is_full(listener) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let path = Address::Unix(Some(path.to_path_buf()));
        let id = self.add_end(Address::Unix(None), path.clone(), Phase::Up);
        self.wait_at(listener, id, path, Address::Unix(None));
        Ok(id)
    }

    fn is_full(&mut self, listener: SockId) -> bool {
        self.listen(listener).is_some_and(|listen| listen.waiting.len() >= listen.backlog)
    }

    /// The other end of a connection comes to be, and waits to be accepted.
    fn wait_at(&mut self, listener: SockId, from: SockId, local: Address, remote: Address) {
        let other = self.add_end(local, remote, Phase::Up);
        if let Some(end) = self.end(from) {
            end.peer = Some(other);
        }
        if let Some(end) = self.end(other) {
            end.peer = Some(from);
        }
        if let Some(listen) = self.listen(listener) {
            listen.waiting.push_back(other);
        }
        self.log(listener, || format!("has {other} waiting"));
        self.edge(listener, Mask::IN);
    }

    pub(super) fn request_arrives(&mut self, from: SockId, to: SocketAddr, tries: u32) {
        let Some(end) = self.end(from).filter(|end| end.phase == Phase::Connecting) else { return };
        let local = end.local.clone();
        if let Some(until) = self.cut_until(local.ip(), Some(to.ip())) {
            return self.try_again(from, to, tries, until);
        }
        match bound(&self.tcp, to) {
            Some(listener) if self.route(to.ip()) == Route::Open && !self.rng.chance(self.faults.refuse) => {
                if self.is_full(listener) {
                    let now = self.now();
                    return self.try_again(from, to, tries, now);
                }
                self.wait_at(listener, from, to.into(), local);
                self.send_seg(from, Seg::Up);
            }
            _ => self.send_seg(from, Seg::Refused(io::ErrorKind::ConnectionRefused)),
        }
    }

    /// A request got no answer.
    fn try_again(&mut self, from: SockId, to: SocketAddr, tries: u32, until: Duration) {
        if tries >= REQUEST_TRIES {
            return self.send_seg(from, Seg::Refused(io::ErrorKind::TimedOut));
        }
        let mut at = self.now() + Duration::from_secs(1 << (tries - 1));
        if until < Duration::MAX {
            at = at.max(until);
        }
        self.plan(at, Happening::Request { from, to, tries: tries + 1 });
    }

    /// Takes what waits, for a host that has so many sockets open.
    pub(super) fn accept(&mut self, id: SockId, open: usize) -> io::Result<SockId> {
        self.enter_call();
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.listen(id).is_none_or(|listen| listen.waiting.is_empty()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if open >= self.faults.descriptors || self.rng.chance(self.faults.accept_fails) {
            return Err(no_descriptor());
        }
        if self.rng.chance(self.faults.would_block) {
            let at = self.later();
            self.plan(at, Happening::Ready(id));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let aborted = self.rng.chance(self.faults.accept_aborted);
        let Some(end) = self.listen(id).and_then(|listen| listen.waiting.pop_front()) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        if aborted {
            self.reset_peer(end);
            self.close_end(end);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        self.log(id, || format!("accepts {end}"));
        Ok(end)
    }

    /// What a raw listener accepts.
    pub(super) fn take_waiting(&mut self, id: SockId) -> Option<SockId> {
        self.listen(id)?.waiting.pop_front()
    }

    pub(super) fn close_listener(&mut self, id: SockId) {
        let Some(listen) = self.listen(id) else { return };
        let local = listen.local.clone();
        for end in std::mem::take(&mut listen.waiting) {
            self.reset_peer(end);
            self.close_end(end);
        }
        match local {
            Address::Inet(addr) => drop(self.tcp.remove(&addr)),
            Address::Unix(Some(path)) => drop(self.unix.remove(&path)),
            Address::Unix(None) => {}
        }
        self.unwatch(id);
        self.socks.remove(id);
    }

    /// The address that a connection comes from: the host's own, unless one was chosen.
    pub(super) fn source(&mut self, local: Option<SocketAddr>, ip: IpAddr, to: SocketAddr) -> io::Result<SocketAddr> {
        match local {
            Some(local) if local.is_ipv4() != to.is_ipv4() => Err(io::ErrorKind::AddrNotAvailable.into()),
            Some(local) if !local.ip().is_unspecified() => Ok(local),
            Some(local) => Ok(SocketAddr::new(same_family(ip, to), local.port())),
            None => Ok(SocketAddr::new(same_family(ip, to), 0)),
        }
    }
}

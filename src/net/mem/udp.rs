//! Datagrams: lost, doubled, late and out of order, as the faults say.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Happening, Kind, Mask, SockId, World, bound};

pub(super) struct UdpSock {
    pub(super) local: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    queue: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Nobody listens there.
    refused: bool,
}

/// Datagrams that a socket holds unread; more are lost.
const QUEUE_MAX: usize = 256;
/// By how much one is late that others overtake, at most.
const LATE: Duration = Duration::from_millis(100);

impl UdpSock {
    pub(super) fn mask(&self) -> Mask {
        Mask::default().with(Mask::IN, !self.queue.is_empty()).with(Mask::OUT, true).with(Mask::ERR, self.refused)
    }

    fn take_refused(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.refused) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }
}

impl World {
    /// A socket on an address; on a free port where it names none.
    pub(super) fn bind_udp(&mut self, addr: SocketAddr, remote: Option<SocketAddr>) -> io::Result<SockId> {
        let local = if addr.port() == 0 { self.free_port(addr.ip()) } else { addr };
        if self.udp.contains_key(&local) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = self.add(Kind::Udp(UdpSock { local, remote, queue: VecDeque::new(), refused: false }));
        self.udp.insert(local, id);
        Ok(id)
    }

    pub(super) fn send_datagram(&mut self, id: SockId, to: Option<SocketAddr>, data: &[u8]) -> io::Result<usize> {
        self.enter_call();
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.rng.chance(self.faults.would_block) {
            let at = self.later();
            self.plan(at, Happening::Ready(id));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(sock) = self.udp_sock(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        sock.take_refused()?;
        let from = sock.local;
        let Some(to) = to.or(sock.remote) else { return Err(io::ErrorKind::NotConnected.into()) };
        if data.len() > 65_507 {
            return Err(io::Error::other("a datagram of more than 65,507 bytes"));
        }
        self.transmit_datagram(id, from, to, data);
        Ok(data.len())
    }

    /// Has a socket hear what is sent to a group.
    pub(super) fn join(&mut self, id: SockId, group: SocketAddr) {
        if let Some(local) = self.udp_sock(id).map(|sock| sock.local) {
            self.groups.entry(group).or_default().insert(local);
        }
    }

    fn transmit_datagram(&mut self, id: SockId, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        if to.ip().is_multicast() {
            // To each by a way of its own, and to the sender as well.
            for member in self.groups.get(&to).cloned().unwrap_or_default() {
                self.transmit_datagram(id, from, member, data);
            }
            return;
        }
        let copies = match (self.rng.chance(self.faults.datagram_lost), self.rng.chance(self.faults.datagram_twice)) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        for _ in 0..copies {
            let mut at = self.later();
            if self.rng.chance(self.faults.datagram_late) {
                at += self.rng.time(&(Duration::ZERO..LATE));
            }
            self.plan(at, Happening::Datagram { from, to, sender: id, data: data.to_vec() });
        }
        self.log(id, || format!("sends {copies} datagrams of {} bytes to {to}", data.len()));
    }

    /// What a raw socket sends.
    pub(super) fn raw_datagram(&mut self, id: SockId, to: SocketAddr, data: &[u8]) {
        if let Some(from) = self.udp_sock(id).map(|sock| sock.local) {
            self.transmit_datagram(id, from, to, data);
        }
    }

    pub(super) fn datagram_arrives(&mut self, from: SocketAddr, to: SocketAddr, sender: SockId, data: Vec<u8>) {
        if self.cut_until(Some(from.ip()), Some(to.ip())).is_some() {
            return;
        }
        let Some(id) = bound(&self.udp, to) else {
            let at = self.later();
            return self.plan(at, Happening::Unreachable(sender));
        };
        let Some(sock) = self.udp_sock(id) else { return };
        if sock.remote.is_some_and(|remote| remote != from) || sock.queue.len() >= QUEUE_MAX {
            return;
        }
        sock.queue.push_back((from, data));
        self.edge(id, Mask::IN);
    }

    pub(super) fn tell_unreachable(&mut self, id: SockId) {
        // Only a connected socket is told.
        if let Some(sock) = self.udp_sock(id).filter(|sock| sock.remote.is_some()) {
            sock.refused = true;
            self.edge(id, Mask::ALL);
        }
    }

    /// Takes the next datagram, cut off at the end of the buffer.
    pub(super) fn receive(&mut self, id: SockId, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.enter_call();
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let late = self.rng.chance(self.faults.would_block);
        let Some(sock) = self.udp_sock(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        sock.take_refused()?;
        if sock.queue.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if late {
            let at = self.later();
            self.plan(at, Happening::Ready(id));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some((from, data)) = sock.queue.pop_front() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let n = data.len().min(buf.len());
        buf[..n].copy_from_slice(&data[..n]);
        Ok((n, from))
    }

    pub(super) fn take_datagram(&mut self, id: SockId) -> Option<(SocketAddr, Vec<u8>)> {
        self.udp_sock(id)?.queue.pop_front()
    }

    pub(super) fn close_udp(&mut self, id: SockId) {
        let Some(sock) = self.udp_sock(id) else { return };
        let local = sock.local;
        self.udp.remove(&local);
        self.groups.values_mut().for_each(|members| _ = members.remove(&local));
        self.unwatch(id);
        self.socks.remove(id);
    }
}

//! Sockets in the hands of a test.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::net::Address;

use super::stream::Phase;
use super::{Sim, SockId, World};

/// One end of a stream that the test plays itself. No fault but those of the network befalls it.
///
/// It never blocks: what is sent waits until the other side has room for it, and what has arrived waits until it is taken,
/// which is what gives the other side room. Dropping it closes it, as a program that exits would: with input that was not
/// taken, the other side is cut off.
///
/// ```
/// use std::time::Duration;
/// use vansire::sim::Sim;
/// use vansire::{Ctx, Event, Manager};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Sim::new(1);
/// let mut manager = Manager::builder().sim(&sim).build(())?;
/// manager.net().listen("tcp://10.0.0.1:7", |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
///     if let Event::Data(data) = ev {
///         cx.send(&data);
///     }
/// })?;
/// let peer = sim.connect(([10, 0, 0, 1], 7));
/// peer.send(b"hello");
/// peer.shutdown();
/// sim.run(&mut [&mut manager], || peer.has_ended(), Duration::from_secs(1))?;
/// assert_eq!(peer.take(), b"hello");
/// # Ok(()) }
/// ```
pub struct SimSocket {
    sim: Sim,
    id: SockId,
}

/// A listener that the test accepts from itself.
pub struct SimListener {
    sim: Sim,
    id: SockId,
    local: Address,
}

/// A UDP socket in the test's hands.
pub struct SimUdp {
    sim: Sim,
    id: SockId,
    local: SocketAddr,
}

impl Sim {
    /// Connects to an address, from one that nobody else has. It may fail later, or already have failed:
    /// [`SimSocket::error`] tells.
    pub fn connect(&self, to: impl Into<SocketAddr>) -> SimSocket {
        let ip = self.world().new_ip();
        self.connect_from((ip, 0), to)
    }

    /// Connects from an address of the test's choice; port 0 takes a free one.
    pub fn connect_from(&self, from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> SimSocket {
        let id = self.world().raw_connect(from.into(), to.into());
        SimSocket { sim: self.clone(), id }
    }

    /// Connects to the path of a Unix socket. Fails when nobody listens there.
    pub fn connect_unix(&self, path: impl AsRef<Path>) -> io::Result<SimSocket> {
        let id = self.world().connect_unix(path.as_ref())?;
        Ok(SimSocket { sim: self.clone(), id })
    }

    /// Listens on an address; port 0 takes a free one. Fails when it is in use.
    pub fn listen(&self, addr: impl Into<SocketAddr>) -> io::Result<SimListener> {
        let mut world = self.world();
        let id = world.bind_tcp(addr.into(), usize::MAX)?;
        let local = world.listen(id).map_or(Address::Unix(None), |listen| listen.local.clone());
        Ok(SimListener { sim: self.clone(), id, local })
    }

    /// Makes a UDP socket on an address; port 0 takes a free one. Fails when it is in use.
    pub fn udp(&self, addr: impl Into<SocketAddr>) -> io::Result<SimUdp> {
        let mut world = self.world();
        let id = world.bind_udp(addr.into(), None)?;
        let local = world.udp_sock(id).map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |sock| sock.local);
        Ok(SimUdp { sim: self.clone(), id, local })
    }
}

impl SimSocket {
    fn with<T>(&self, act: impl FnOnce(&mut World, SockId) -> T) -> T {
        act(&mut self.sim.world(), self.id)
    }

    /// Its own address.
    pub fn local_addr(&self) -> Address {
        self.with(|world, id| world.end(id).map_or(Address::Unix(None), |end| end.local.clone()))
    }

    /// The connection stands: it was made, and is neither cut off nor over in both directions.
    pub fn is_connected(&self) -> bool {
        self.with(|world, id| world.end(id).is_some_and(|end| end.is_up()))
    }

    /// It was refused, or cut off, and why.
    pub fn error(&self) -> Option<io::ErrorKind> {
        self.with(|world, id| world.end(id)?.error())
    }

    /// The other side has sent its last: its end of the stream has arrived. What came before it may still be there to take.
    pub fn has_ended(&self) -> bool {
        self.with(|world, id| world.end(id).is_some_and(|end| end.has_ended()))
    }

    /// Nothing more will come: the stream has ended, or was cut off or refused.
    pub fn is_over(&self) -> bool {
        self.with(|world, id| world.end(id).is_none_or(|end| end.has_ended() || end.phase == Phase::Dead))
    }

    /// Sends bytes, as soon as there is room for them. When the connection is over they are lost.
    pub fn send(&self, bytes: &[u8]) {
        self.with(|world, id| world.send(id, bytes));
    }

    /// Everything that was sent has been read by the other side.
    pub fn is_read(&self) -> bool {
        self.with(|world, id| world.end(id).is_none_or(|end| end.is_read()))
    }

    /// Ends this side's direction, behind what was sent. The other side may still send.
    pub fn shutdown(&self) {
        self.with(World::shut);
    }

    /// Cuts the connection off. What is still to be sent is lost.
    pub fn reset(&self) {
        self.with(World::reset_peer);
    }

    /// Bytes that have arrived and were not taken.
    pub fn arrived(&self) -> usize {
        self.with(|world, id| world.end(id).map_or(0, |end| end.arrived_len()))
    }

    /// Takes all that has arrived, which gives the other side room to send more.
    pub fn take(&self) -> Vec<u8> {
        self.take_at_most(usize::MAX)
    }

    /// Takes so many bytes at most.
    pub fn take_at_most(&self, max: usize) -> Vec<u8> {
        self.with(|world, id| world.take(id, max))
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.with(World::close_end);
    }
}

impl SimListener {
    /// Where it listens.
    pub fn local_addr(&self) -> Address {
        self.local.clone()
    }

    /// Takes the next connection that waits.
    pub fn accept(&self) -> Option<SimSocket> {
        let id = self.sim.world().take_waiting(self.id)?;
        Some(SimSocket { sim: self.sim.clone(), id })
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.sim.world().close_listener(self.id);
    }
}

impl SimUdp {
    /// Its own address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Sends a datagram.
    pub fn send_to(&self, data: &[u8], to: impl Into<SocketAddr>) {
        self.sim.world().raw_datagram(self.id, to.into(), data);
    }

    /// Hears what is sent to this multicast address, too.
    pub fn join(&self, group: impl Into<SocketAddr>) {
        self.sim.world().join(self.id, group.into());
    }

    /// Takes the next datagram that has arrived, with its sender.
    pub fn take(&self) -> Option<(SocketAddr, Vec<u8>)> {
        self.sim.world().take_datagram(self.id)
    }
}

impl Drop for SimUdp {
    fn drop(&mut self) {
        self.sim.world().close_udp(self.id);
    }
}

impl World {
    fn raw_connect(&mut self, from: SocketAddr, to: SocketAddr) -> SockId {
        let from = self.source(Some(from), from.ip(), to).unwrap_or(from);
        self.connect_tcp(from, to).unwrap_or_else(|e| {
            let id = self.add_end(from.into(), to.into(), Phase::Connecting);
            self.refuse(id, e.kind());
            id
        })
    }
}

/// The family of an address that somebody comes from follows where he goes.
pub(super) fn same_family(ip: IpAddr, to: SocketAddr) -> IpAddr {
    match (ip, to) {
        (IpAddr::V4(ip), SocketAddr::V6(_)) => ip.to_ipv6_mapped().into(),
        _ => ip,
    }
}

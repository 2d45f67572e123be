//! The sockets as the manager holds them: handles that close when dropped.

use std::cell::Cell;
use std::io::{self, IoSlice, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use crate::net::Address;
use crate::options::{ConnectOptions, ListenOptions};

use super::route::no_descriptor;
use super::{Sim, SimListener, SimSocket, SimUdp, SockId, World};

/// Where a manager lives: a place in the world, with an address of its own.
#[derive(Clone)]
pub(crate) struct Host {
    sim: Sim,
    ip: IpAddr,
    /// Its sockets that are open.
    open: Rc<Cell<usize>>,
}

/// A socket of any kind, as the reactor is given it.
pub(crate) struct MemSocket {
    sim: Sim,
    id: SockId,
    /// How many its host has open.
    open: Rc<Cell<usize>>,
}

pub(crate) struct MemStream(MemSocket);

pub(crate) struct MemListener {
    socket: MemSocket,
    local: Address,
}

pub(crate) struct MemUdp(MemSocket);

impl Host {
    pub(crate) fn new(sim: &Sim) -> Self {
        Self { sim: sim.clone(), ip: sim.world().new_ip(), open: Rc::default() }
    }

    pub(crate) fn sim(&self) -> &Sim {
        &self.sim
    }

    /// A socket of this host, if it may have one more.
    fn socket(&self, make: impl FnOnce(&mut World) -> io::Result<SockId>) -> io::Result<MemSocket> {
        let mut world = self.sim.world();
        if self.open.get() >= world.faults_mut().descriptors {
            return Err(no_descriptor());
        }
        let id = make(&mut world)?;
        Ok(MemSocket::new(&self.sim, id, &self.open))
    }

    pub(crate) fn listen_tcp(&self, addr: SocketAddr, o: &ListenOptions) -> io::Result<MemListener> {
        self.socket(|world| world.bind_tcp(addr, o.backlog as usize)).map(MemListener::new)
    }

    pub(crate) fn listen_unix(&self, path: &Path, o: &ListenOptions) -> io::Result<MemListener> {
        self.socket(|world| world.bind_unix(path, o.backlog as usize)).map(MemListener::new)
    }

    pub(crate) fn connect_tcp(&self, to: SocketAddr, o: &ConnectOptions) -> io::Result<MemStream> {
        let socket = self.socket(|world| {
            world.enter_call();
            let from = world.source(o.local_addr, self.ip, to)?;
            world.connect_tcp(from, to)
        });
        socket.map(MemStream)
    }

    pub(crate) fn connect_unix(&self, path: &Path) -> io::Result<MemStream> {
        let socket = self.socket(|world| {
            world.enter_call();
            world.connect_unix(path)
        });
        socket.map(MemStream)
    }

    pub(crate) fn bind_udp(&self, addr: SocketAddr) -> io::Result<MemUdp> {
        self.socket(|world| world.bind_udp(addr, None)).map(MemUdp)
    }

    /// A socket on this host's address that hears a group as well.
    #[cfg(feature = "mdns")]
    pub(crate) fn join(&self, group: SocketAddr) -> io::Result<MemUdp> {
        let socket = self.socket(|world| {
            let id = world.bind_udp(SocketAddr::new(self.ip, group.port()), None)?;
            world.join(id, group);
            Ok(id)
        });
        socket.map(MemUdp)
    }

    #[cfg(feature = "mdns")]
    pub(crate) fn ip(&self) -> IpAddr {
        self.ip
    }

    pub(crate) fn connect_udp(&self, to: SocketAddr, o: &ConnectOptions) -> io::Result<MemUdp> {
        let socket = self.socket(|world| {
            let from = world.source(o.local_addr, self.ip, to)?;
            world.bind_udp(from, Some(to))
        });
        socket.map(MemUdp)
    }
}

impl MemSocket {
    fn new(sim: &Sim, id: SockId, open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self { sim: sim.clone(), id, open: open.clone() }
    }

    pub(crate) fn id(&self) -> SockId {
        self.id
    }

    fn with<T>(&self, act: impl FnOnce(&mut World, SockId) -> T) -> T {
        act(&mut self.sim.world(), self.id)
    }
}

impl Drop for MemSocket {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl MemStream {
    pub(crate) fn socket(&self) -> &MemSocket {
        &self.0
    }

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.with(|world, id| world.read(id, buf))
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.0.with(|world, id| match world.end(id) {
            Some(end) if end.is_up() => {
                world.shut(id);
                Ok(())
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        self.0.with(|world, id| world.end(id).map(|end| end.local.clone()).ok_or_else(not_connected))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        self.0.with(|world, id| {
            world.end(id).filter(|end| end.is_up()).map(|end| end.remote.clone()).ok_or_else(not_connected)
        })
    }

    pub(crate) fn take_error(&self) -> Option<io::Error> {
        self.0.with(|world, id| world.end(id)?.take_error().map(io::Error::from))
    }
}

impl Write for MemStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.with(|world, id| world.write(id, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write(&bufs.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for MemStream {
    fn drop(&mut self) {
        self.0.with(World::close_end);
    }
}

impl MemListener {
    fn new(socket: MemSocket) -> Self {
        let local = socket.with(|world, id| world.listen(id).map(|listen| listen.local.clone()));
        Self { socket, local: local.unwrap_or(Address::Unix(None)) }
    }

    pub(crate) fn socket(&self) -> &MemSocket {
        &self.socket
    }

    pub(crate) fn accept(&self) -> io::Result<(MemStream, Address)> {
        let open = &self.socket.open;
        let id = self.socket.with(|world, id| world.accept(id, open.get()))?;
        let stream = MemStream(MemSocket::new(&self.socket.sim, id, open));
        let remote = stream.0.with(|world, id| world.end(id).map(|end| end.remote.clone()));
        Ok((stream, remote.unwrap_or(Address::Unix(None))))
    }

    pub(crate) fn local_addr(&self) -> Address {
        self.local.clone()
    }
}

impl Drop for MemListener {
    fn drop(&mut self) {
        self.socket.with(World::close_listener);
    }
}

impl MemUdp {
    pub(crate) fn socket(&self) -> &MemSocket {
        &self.0
    }

    pub(crate) fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.0.with(|world, id| world.receive(id, buf))
    }

    pub(crate) fn send(&self, data: &[u8], to: Option<SocketAddr>) -> io::Result<usize> {
        self.0.with(|world, id| world.send_datagram(id, to, data))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.with(|world, id| world.udp_sock(id).map(|sock| sock.local).ok_or_else(not_connected))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.with(|world, id| world.udp_sock(id).and_then(|sock| sock.remote).ok_or_else(not_connected))
    }
}

impl Drop for MemUdp {
    fn drop(&mut self) {
        self.0.with(World::close_udp);
    }
}

fn not_connected() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

macro_rules! opaque {
    ($($name:ident),+) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        })+
    };
}

opaque!(Host, MemSocket, MemStream, MemListener, MemUdp, Sim, SimSocket, SimListener, SimUdp);

//! UDP sockets, bound or connected.

use std::io;
#[cfg(feature = "sntp")]
use std::net::IpAddr;
use std::net::SocketAddr;

use socket2::Type;

#[cfg(feature = "sim")]
use crate::net::mem::MemUdp;
#[cfg(feature = "sntp")]
use crate::net::noted::{self, Noted};
use crate::net::sockopt::{self, Common};
use crate::options::{ConnectOptions, ListenOptions};
use crate::reactor::Source;

/// A non-blocking UDP socket. Sending and receiving answer `WouldBlock` where they would wait.
#[derive(Debug)]
pub(crate) enum Udp {
    System(mio::net::UdpSocket),
    #[cfg(feature = "sim")]
    Mem(MemUdp),
}

impl Udp {
    /// Receives on the address, from anybody.
    pub(crate) fn bind(addr: SocketAddr, o: &ListenOptions) -> io::Result<Self> {
        let socket = sockopt::socket(addr, Type::DGRAM, &Common::from(o))?;
        // With it two programs get one port, and one of them no datagrams: only on demand.
        sockopt::share(&socket, o.reuse_address.unwrap_or(false), o.reuse_port)?;
        sockopt::set_v6only(&socket, addr, o.v6only)?;
        socket.bind(&addr.into())?;
        Ok(Self::System(mio::net::UdpSocket::from_std(socket.into())))
    }

    /// Sends to the address, and receives from there only.
    pub(crate) fn connect(addr: SocketAddr, o: &ConnectOptions) -> io::Result<Self> {
        let socket = sockopt::socket(addr, Type::DGRAM, &Common::from(o))?;
        sockopt::bind_local(&socket, addr, o.local_addr)?;
        socket.connect(&addr.into())?;
        Ok(Self::System(mio::net::UdpSocket::from_std(socket.into())))
    }

    /// Takes over a socket, its options as they are.
    pub(crate) fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self::System(mio::net::UdpSocket::from_std(socket)))
    }

    pub(crate) fn source(&mut self) -> Source<'_> {
        match self {
            Self::System(socket) => Source::Mio(socket),
            #[cfg(feature = "sim")]
            Self::Mem(socket) => Source::Mem(socket.socket()),
        }
    }

    /// Receives one datagram. What does not fit into the buffer is cut off without a word (on Windows: an error), so
    /// that a buffer one byte longer than the longest welcome datagram tells.
    pub(crate) fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self {
            Self::System(socket) => socket.recv_from(buf),
            #[cfg(feature = "sim")]
            Self::Mem(socket) => socket.recv_from(buf),
        }
    }

    /// Has the system note when datagrams come, and to which address, where it can.
    #[cfg(feature = "sntp")]
    pub(crate) fn note_arrivals(&self) {
        match self {
            // Without it they are timed as they are read.
            Self::System(socket) => _ = noted::enable(socket),
            #[cfg(feature = "sim")]
            Self::Mem(_) => {}
        }
    }

    /// As [`recv_from`](Self::recv_from), and what was noted of it.
    #[cfg(feature = "sntp")]
    pub(crate) fn recv_noted(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr, Noted)> {
        match self {
            Self::System(socket) => noted::recv_from(socket, buf),
            #[cfg(feature = "sim")]
            Self::Mem(socket) => socket.recv_from(buf).map(|(n, from)| (n, from, Noted::default())),
        }
    }

    /// As [`send_to`](Self::send_to), from the address that was asked, where the socket has more than one: whoever asked believes
    /// no other.
    #[cfg(feature = "sntp")]
    pub(crate) fn send_from(&self, data: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<usize> {
        match (self, from) {
            (Self::System(socket), Some(from)) => noted::send_from(socket, data, to, from),
            _ => self.send_to(data, to),
        }
    }

    pub(crate) fn send_to(&self, data: &[u8], to: SocketAddr) -> io::Result<usize> {
        match self {
            Self::System(socket) => socket.send_to(data, to),
            #[cfg(feature = "sim")]
            Self::Mem(socket) => socket.send(data, Some(to)),
        }
    }

    /// Sends to the address that the socket is connected to.
    pub(crate) fn send(&self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::System(socket) => socket.send(data),
            #[cfg(feature = "sim")]
            Self::Mem(socket) => socket.send(data, None),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::System(socket) => socket.local_addr(),
            #[cfg(feature = "sim")]
            Self::Mem(socket) => socket.local_addr(),
        }
    }

    /// The address that the socket is connected to; `NotConnected` when it is not.
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::System(socket) => socket.peer_addr(),
            #[cfg(feature = "sim")]
            Self::Mem(socket) => socket.peer_addr(),
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(feature = "sntp", target_os = "linux"))]
    use std::time::Duration;

    use mio::Interest;
    use socket2::SockRef;

    use super::*;
    use crate::net::testing::ready;

    fn bind(addr: &str, o: ListenOptions) -> io::Result<Udp> {
        Udp::bind(addr.parse().unwrap(), &o)
    }

    fn options() -> ListenOptions {
        ListenOptions::new("udp://127.0.0.1:0")
    }

    fn system(socket: &Udp) -> &mio::net::UdpSocket {
        match socket {
            Udp::System(socket) => socket,
            #[cfg(feature = "sim")]
            Udp::Mem(_) => panic!("not of the system"),
        }
    }

    fn receive(socket: &mut Udp) -> (Vec<u8>, SocketAddr) {
        let mut buf = [0; 64];
        loop {
            match socket.recv_from(&mut buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready(socket.source(), Interest::READABLE),
                received => {
                    let (n, from) = received.unwrap();
                    return (buf[..n].to_vec(), from);
                }
            }
        }
    }

    #[test]
    fn d8_each_client_gets_its_own_datagram() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let mut server = bind(addr, options()).unwrap();
            let to = server.local_addr().unwrap();
            let mut clients = [b"one", b"two"].map(|text| {
                let client = Udp::connect(to, &ConnectOptions::new("udp://h:1")).unwrap();
                assert_eq!(client.send(text).unwrap(), 3, "{addr}");
                client
            });
            for _ in 0..2 {
                let (data, from) = receive(&mut server);
                server.send_to(&data, from).unwrap();
            }
            for (client, text) in clients.iter_mut().zip([b"one", b"two"]) {
                assert_eq!(receive(client), (text.to_vec(), to), "{addr}");
            }
        }
    }

    #[test]
    fn d11_a_connected_socket_hears_nobody_else() {
        let mut server = bind("127.0.0.1:0", options()).unwrap();
        let stranger = bind("127.0.0.1:0", options()).unwrap();
        let mut client = Udp::connect(server.local_addr().unwrap(), &ConnectOptions::new("udp://h:1")).unwrap();
        client.send(b"ask").unwrap();
        let (_, from) = receive(&mut server);
        stranger.send_to(b"forged", from).unwrap();
        server.send_to(b"answer", from).unwrap();
        assert_eq!(receive(&mut client).0, b"answer");
        assert_eq!(client.recv_from(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn d4_a_busy_port_is_an_error_unless_shared_on_demand() {
        let first = bind("127.0.0.1:0", options()).unwrap();
        let addr = first.local_addr().unwrap().to_string();
        assert_eq!(bind(&addr, options()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let shared = bind("127.0.0.1:0", options().reuse_address(true)).unwrap();
        bind(&shared.local_addr().unwrap().to_string(), options().reuse_address(true)).unwrap();
    }

    #[cfg(all(feature = "sntp", target_os = "linux"))]
    #[test]
    fn a_datagram_is_timed_when_it_comes_however_late_it_is_read() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let mut server = bind(addr, options()).unwrap();
            server.note_arrivals();
            let client = Udp::connect(server.local_addr().unwrap(), &ConnectOptions::new("udp://h:1")).unwrap();
            // The system begins to note when it is first asked to, a moment later.
            let mut buf = [0; 64];
            let late = Duration::from_millis(30);
            let age = (0..100).find_map(|_| {
                client.send(b"one").unwrap();
                ready(server.source(), Interest::READABLE);
                // The handler of somebody else.
                let busy = std::time::Instant::now();
                while busy.elapsed() < late {}
                let (n, from, Noted { age, .. }) = server.recv_noted(&mut buf).unwrap();
                assert_eq!((&buf[..n], from), (&b"one"[..], client.local_addr().unwrap()), "{addr}");
                age.filter(|age| *age >= late)
            });
            let age = age.expect("noted");
            assert!(age < late * 10, "{addr}: {age:?}");
            let nothing = server.recv_noted(&mut buf).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "{addr}");
        }
    }

    #[test]
    fn options_reach_the_socket() {
        let socket = bind("[::1]:0", options().v6only(true).dscp(46)).unwrap();
        assert!(SockRef::from(system(&socket)).only_v6().unwrap());
        assert_eq!(SockRef::from(system(&socket)).tclass_v6().unwrap(), 46 << 2);
        let socket = bind("127.0.0.1:0", options().tos(8)).unwrap();
        assert_eq!(SockRef::from(system(&socket)).tos_v4().unwrap(), 8);
    }

    #[test]
    fn an_adopted_socket_does_not_block() {
        let socket = Udp::from_std(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        assert_eq!(socket.recv_from(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

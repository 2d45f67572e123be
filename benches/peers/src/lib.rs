//! What the servers and the tools of this comparison share: the answer, the listener, the measures.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

pub mod client;
pub mod histogram;
pub mod procfs;
pub mod runs;
pub mod targets;

/// The body that every server answers with at `/`.
pub const BODY: &str = "Hello, World!";

/// The data of the event that the servers of the row `sse1000` send.
pub const EVENT: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// How often they do.
pub const EVENT_EVERY: Duration = Duration::from_millis(20);

/// The address in the only argument of a server program.
///
/// Fails with a usage text when there is no argument, more than one, or one that is not `IP:PORT`.
pub fn addr_argument() -> io::Result<SocketAddr> {
    match arguments()? {
        (addr, None) => Ok(addr),
        (_, Some(_)) => Err(io::Error::new(io::ErrorKind::InvalidInput, "this server has no files")),
    }
}

/// The address, and the folder of the files to serve, if there is a second argument.
pub fn arguments() -> io::Result<(SocketAddr, Option<String>)> {
    let mut args = std::env::args().skip(1);
    match (args.next().map(|a| a.parse()), args.next(), args.next()) {
        (Some(Ok(addr)), folder, None) => Ok((addr, folder)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: SERVER IP:PORT [FOLDER]")),
    }
}

/// Listens without blocking, with room for a burst of connections and with `TCP_NODELAY`.
///
/// The accepted sockets inherit `TCP_NODELAY` on Linux, which saves one system call for each.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Where the connection `index` of very many comes from: one address has not enough ports for all, and a port that was used a minute
/// ago is not free yet. `None` where the server is not on 127.0.0.0/8.
pub fn source(server: SocketAddr, index: usize) -> Option<SocketAddr> {
    let IpAddr::V4(ip) = server.ip() else { return None };
    let host = u8::try_from(index / PORTS + 1).ok()?;
    ip.is_loopback().then(|| (Ipv4Addr::new(127, 0, 1, host), 0).into())
}

/// Connections from one address: a fraction of its ports, so that a free one is found soon.
const PORTS: usize = 4096;

/// Enough for any burst measured here; the system caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn many_connections_come_from_several_addresses_of_this_machine() {
        let server: SocketAddr = "127.0.0.1:80".parse().expect("an address");
        let sources: std::collections::HashSet<_> = (0..18_000).map(|index| source(server, index)).collect();
        assert!(sources.len() >= 2 && !sources.contains(&None), "{sources:?}");
        assert_eq!(source("192.0.2.1:80".parse().expect("an address"), 0), None);
    }

    #[test]
    fn accepted_sockets_inherit_nodelay() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        listener.set_nonblocking(false).expect("a blocking listener");
        let _client = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (accepted, _) = listener.accept().expect("an accepted connection");
        assert!(accepted.nodelay().expect("the option"));
    }
}

//! What the servers and the tools of this comparison share: the answer, the listener, the measures.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

pub mod client;
pub mod histogram;
pub mod procfs;
pub mod runs;

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

/// Enough for any burst measured here; the system caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn accepted_sockets_inherit_nodelay() {
        let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("a listener");
        listener.set_nonblocking(false).expect("a blocking listener");
        let _client = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (accepted, _) = listener.accept().expect("an accepted connection");
        assert!(accepted.nodelay().expect("the option"));
    }
}

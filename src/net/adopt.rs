//! Sockets that exist already.

use std::net;
#[cfg(unix)]
use std::os::unix::net as unix;

/// A socket that was made elsewhere, to be served by a manager: by systemd's socket activation, by a privileged parent, or
/// by another library.
///
/// It is set to non-blocking; its other options stay as they are.
#[derive(Debug)]
#[non_exhaustive]
pub enum StdSocket {
    /// Accepts TCP connections.
    TcpListener(net::TcpListener),
    /// A TCP connection.
    TcpStream(net::TcpStream),
    /// Sends and receives datagrams.
    Udp(net::UdpSocket),
    /// Accepts connections on a Unix socket. Its path stays when it closes.
    #[cfg(unix)]
    UnixListener(unix::UnixListener),
    /// A connection of a Unix socket.
    #[cfg(unix)]
    UnixStream(unix::UnixStream),
}

impl From<net::TcpListener> for StdSocket {
    fn from(socket: net::TcpListener) -> Self {
        Self::TcpListener(socket)
    }
}

impl From<net::TcpStream> for StdSocket {
    fn from(socket: net::TcpStream) -> Self {
        Self::TcpStream(socket)
    }
}

impl From<net::UdpSocket> for StdSocket {
    fn from(socket: net::UdpSocket) -> Self {
        Self::Udp(socket)
    }
}

#[cfg(unix)]
impl From<unix::UnixListener> for StdSocket {
    fn from(socket: unix::UnixListener) -> Self {
        Self::UnixListener(socket)
    }
}

#[cfg(unix)]
impl From<unix::UnixStream> for StdSocket {
    fn from(socket: unix::UnixStream) -> Self {
        Self::UnixStream(socket)
    }
}

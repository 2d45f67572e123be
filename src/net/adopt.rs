//! Sockets that exist already.

/// A socket of the standard library to be taken over: see [`Net::adopt`](crate::Net::adopt).
#[derive(Debug)]
#[non_exhaustive]
pub enum StdSocket {
    /// A TCP listener.
    TcpListener(std::net::TcpListener),
    /// A connected TCP stream.
    TcpStream(std::net::TcpStream),
    /// A UDP socket, bound or connected.
    Udp(std::net::UdpSocket),
    /// A Unix listener.
    #[cfg(unix)]
    UnixListener(std::os::unix::net::UnixListener),
    /// A connected Unix stream.
    #[cfg(unix)]
    UnixStream(std::os::unix::net::UnixStream),
}

macro_rules! from {
    ($($(#[$cfg:meta])* $variant:ident($ty:ty);)+) => {
        $($(#[$cfg])* impl From<$ty> for StdSocket {
            fn from(socket: $ty) -> Self {
                Self::$variant(socket)
            }
        })+
    };
}

from! {
    TcpListener(std::net::TcpListener);
    TcpStream(std::net::TcpStream);
    Udp(std::net::UdpSocket);
    #[cfg(unix)] UnixListener(std::os::unix::net::UnixListener);
    #[cfg(unix)] UnixStream(std::os::unix::net::UnixStream);
}

//! One connected stream, or one that is being connected: TCP or a Unix socket.

use std::io::{self, IoSlice, Write};
use std::net::{Shutdown, SocketAddr};

use socket2::{SockRef, Type};

use crate::buf::Sink;
use crate::net::addr::Address;
#[cfg(feature = "sim")]
use crate::net::mem::MemStream;
use crate::net::sockopt::{self, Common};
use crate::net::syscall;
use crate::options::{ConnectOptions, ListenOptions};
use crate::reactor::Source;

/// A non-blocking stream. Reads and writes answer `WouldBlock` where they would wait.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
    #[cfg(feature = "sim")]
    Mem(Box<MemStream>),
}

impl Stream {
    /// Begins a TCP connection to one address. It stands once [`is_connected`](Self::is_connected) says so.
    pub(crate) fn connect_tcp(addr: SocketAddr, o: &ConnectOptions) -> io::Result<Self> {
        let socket = sockopt::socket(addr, Type::STREAM, &Common::from(o))?;
        sockopt::bind_local(&socket, addr, o.local_addr)?;
        match socket.connect(&addr.into()) {
            Err(e) if !sockopt::is_in_progress(&e) => Err(e),
            Ok(()) | Err(_) => Ok(Self::Tcp(mio::net::TcpStream::from_std(socket.into()))),
        }
    }

    /// Connects to a Unix socket.
    #[cfg(unix)]
    pub(crate) fn connect_unix(path: &std::path::Path) -> io::Result<Self> {
        match mio::net::UnixStream::connect(path) {
            Ok(stream) => Ok(Self::Unix(stream)),
            // Nothing would tell when to try again.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections wait there already"))
            }
            Err(e) => Err(e),
        }
    }

    pub(crate) fn source(&mut self) -> Source<'_> {
        match self {
            Self::Tcp(stream) => Source::Mio(stream),
            #[cfg(unix)]
            Self::Unix(stream) => Source::Mio(stream),
            #[cfg(feature = "sim")]
            Self::Mem(stream) => Source::Mem(stream.socket()),
        }
    }

    /// Takes over a connected TCP stream.
    pub(crate) fn from_tcp(stream: std::net::TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Tcp(mio::net::TcpStream::from_std(stream)))
    }

    /// Takes over a connected Unix stream.
    #[cfg(unix)]
    pub(crate) fn from_unix(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Unix(mio::net::UnixStream::from_std(stream)))
    }

    /// Sets on an accepted connection what its listener's options say, where the system has not done so already.
    pub(crate) fn tune_accepted(&self, o: &ListenOptions) -> io::Result<()> {
        match self {
            Self::Tcp(stream) if !sockopt::ACCEPTED_INHERIT => {
                sockopt::tune_stream(&SockRef::from(stream), o.nodelay, o.keepalive)
            }
            Self::Tcp(_) => Ok(()),
            #[cfg(unix)]
            Self::Unix(_) => Ok(()),
            #[cfg(feature = "sim")]
            Self::Mem(_) => Ok(()),
        }
    }

    #[inline(always)]
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => syscall::recv(stream, buf),
            #[cfg(unix)]
            Self::Unix(stream) => syscall::recv(stream, buf),
            #[cfg(feature = "sim")]
            Self::Mem(stream) => stream.read(buf),
        }
    }

    /// Whether a read of less than was asked for has emptied the socket: with epoll and kqueue, unless the peer has closed
    /// its side. A Unix socket also stops behind bytes that a descriptor was passed with.
    #[inline]
    pub(crate) fn short_read_drains(&self) -> bool {
        match self {
            Self::Tcp(_) => cfg!(unix),
            #[cfg(unix)]
            Self::Unix(_) => false,
            #[cfg(feature = "sim")]
            Self::Mem(_) => true,
        }
    }

    /// Tells the peer that nothing more comes. Its own bytes can still be read.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(feature = "sim")]
            Self::Mem(stream) => stream.shutdown_write(),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.local_addr().map(Into::into),
            #[cfg(unix)]
            Self::Unix(stream) => stream.local_addr().map(Into::into),
            #[cfg(feature = "sim")]
            Self::Mem(stream) => stream.local_addr(),
        }
    }

    pub(crate) fn peer_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(Into::into),
            #[cfg(unix)]
            Self::Unix(stream) => stream.peer_addr().map(Into::into),
            #[cfg(feature = "sim")]
            Self::Mem(stream) => stream.peer_addr(),
        }
    }

    /// The error that the system keeps for the socket, which is then forgotten.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            #[cfg(unix)]
            Self::Unix(stream) => stream.take_error(),
            #[cfg(feature = "sim")]
            Self::Mem(stream) => Ok(stream.take_error()),
        }
    }

    /// Whether the attempt has succeeded; fails with its error when it has not and will not. To ask at every
    /// readiness while connecting: readiness may be spurious.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(e) = self.take_error()? {
            return Err(e);
        }
        match self.peer_addr() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(e) => Err(e),
        }
    }
}

impl<'a> From<&'a ConnectOptions> for Common<'a> {
    fn from(o: &'a ConnectOptions) -> Self {
        Self { nodelay: o.nodelay, keepalive: o.keepalive, bind_device: o.bind_device.as_deref(), tos: o.tos }
    }
}

impl Write for Stream {
    #[inline(always)]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => syscall::send(stream, buf),
            #[cfg(unix)]
            Self::Unix(stream) => syscall::send(stream, buf),
            #[cfg(feature = "sim")]
            Self::Mem(stream) => stream.write(buf),
        }
    }

    #[inline(always)]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => syscall::send_vectored(stream, bufs),
            #[cfg(unix)]
            Self::Unix(stream) => syscall::send_vectored(stream, bufs),
            #[cfg(feature = "sim")]
            Self::Mem(stream) => stream.write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Stream {
    #[cfg(all(feature = "static", any(target_os = "linux", target_os = "android")))]
    fn write_more(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => syscall::send_more(stream, bytes),
            Self::Unix(_) => self.write(bytes),
            #[cfg(feature = "sim")]
            Self::Mem(_) => self.write(bytes),
        }
    }

    #[cfg(all(feature = "static", any(target_os = "linux", target_os = "android")))]
    fn send_file(&mut self, file: &std::fs::File, mut offset: u64, max: usize) -> Option<io::Result<usize>> {
        use rustix::io::Errno;
        let sent = match self {
            Self::Tcp(stream) => rustix::fs::sendfile(stream, file, Some(&mut offset), max),
            Self::Unix(stream) => rustix::fs::sendfile(stream, file, Some(&mut offset), max),
            #[cfg(feature = "sim")]
            Self::Mem(_) => return None,
        };
        match sent {
            // A file system that cannot, or a kernel that may not.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => None,
            sent => Some(sent.map_err(Into::into)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::Interest;

    use super::*;
    use crate::net::listener::Listener;
    use crate::net::testing::{accept, ready};

    fn listen(addr: &str) -> (Listener, SocketAddr) {
        let listener = Listener::bind_tcp(addr.parse().unwrap(), &ListenOptions::new("tcp://:0")).unwrap();
        let Ok(Address::Inet(addr)) = listener.local_addr() else { panic!("no address") };
        (listener, addr)
    }

    fn options() -> ConnectOptions {
        ConnectOptions::new("tcp://127.0.0.1:1")
    }

    /// Waits for the end of the attempt.
    fn connected(mut stream: Stream) -> io::Result<Stream> {
        loop {
            match stream.is_connected() {
                Ok(true) => return Ok(stream),
                Ok(false) => ready(stream.source(), Interest::WRITABLE),
                Err(e) => return Err(e),
            }
        }
    }

    fn read(stream: &mut Stream, buf: &mut [u8]) -> usize {
        loop {
            match stream.read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready(stream.source(), Interest::READABLE),
                read => return read.unwrap(),
            }
        }
    }

    fn talk(mut client: Stream, mut server: Stream) {
        let mut buf = [0; 16];
        assert_eq!(server.read(&mut buf).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(client.write_vectored(&[IoSlice::new(b"ab"), IoSlice::new(b"cd")]).unwrap(), 4);
        assert_eq!(client.write(b"e").unwrap(), 1);
        client.shutdown_write().unwrap();
        let mut got = Vec::new();
        loop {
            match read(&mut server, &mut buf) {
                0 => break,
                n => got.extend_from_slice(&buf[..n]),
            }
        }
        assert_eq!(got, b"abcde");
        assert_eq!(server.write(b"still open").unwrap(), 10);
        assert_eq!(read(&mut client, &mut buf), 10);
        assert!(client.take_error().unwrap().is_none());
    }

    #[cfg(all(target_os = "linux", not(debug_assertions), not(feature = "sim")))]
    #[test]
    fn a_stream_takes_eight_bytes() {
        assert_eq!(size_of::<Stream>(), 8);
    }

    #[test]
    fn tcp_connects_with_its_options() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let (mut listener, addr) = listen(addr);
            let o = options().keepalive(Duration::from_secs(30)).dscp(10);
            let client = connected(Stream::connect_tcp(addr, &o).unwrap()).unwrap();
            let (server, peer) = accept(&mut listener);
            assert_eq!(client.local_addr().unwrap(), peer, "{addr}");
            assert_eq!(client.peer_addr().unwrap(), addr.into(), "{addr}");
            let Stream::Tcp(tcp) = &client else { panic!("not TCP") };
            let socket = SockRef::from(tcp);
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap(), "{addr}");
            let tos = if addr.is_ipv4() { socket.tos_v4() } else { socket.tclass_v6() };
            assert_eq!(tos.unwrap(), 10 << 2, "{addr}");
            talk(client, server);
        }
    }

    #[test]
    fn b3_a_closed_port_refuses() {
        // Bound and not listening: nobody else gets the port.
        let closed = socket2::Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
        closed.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let addr = closed.local_addr().unwrap().as_socket().unwrap();
        // Some systems refuse at once, others when asked.
        let error = Stream::connect_tcp(addr, &options()).and_then(connected).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let url = crate::net::Url::parse(&format!("tcp://{addr}")).unwrap();
        let error = sockopt::connect_error(&url, error);
        assert!(error.is_connect() && error.to_string().contains(&addr.to_string()), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_connection_comes_from_the_chosen_address() {
        let (mut listener, addr) = listen("127.0.0.1:0");
        let o = options().local_addr(([127, 0, 0, 2], 0));
        let _client = connected(Stream::connect_tcp(addr, &o).unwrap()).unwrap();
        assert!(accept(&mut listener).1.to_string().starts_with("127.0.0.2:"));
        let o = options().local_addr(([0, 0, 0, 0, 0, 0, 0, 1], 0));
        let error = Stream::connect_tcp(addr, &o).unwrap_err();
        assert!(error.to_string().contains("local_addr"), "{error}");
    }

    #[test]
    fn adopted_streams_do_not_block() {
        let (mut listener, addr) = listen("127.0.0.1:0");
        let client = Stream::from_tcp(std::net::TcpStream::connect(addr).unwrap()).unwrap();
        let (server, _) = accept(&mut listener);
        server.tune_accepted(&ListenOptions::new("tcp://:0")).unwrap();
        talk(client, server);
        #[cfg(unix)]
        {
            let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
            talk(Stream::from_unix(a).unwrap(), Stream::from_unix(b).unwrap());
        }
    }

    #[cfg(unix)]
    #[test]
    fn unix_sockets_connect() {
        let dir = crate::net::testing::TempDir::new();
        let path = dir.path("a.sock");
        assert_eq!(Stream::connect_unix(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let mut listener = Listener::bind_unix(&path, &ListenOptions::new("unix:x")).unwrap();
        let client = connected(Stream::connect_unix(&path).unwrap()).unwrap();
        assert_eq!(client.peer_addr().unwrap(), Address::Unix(Some(path)));
        assert_eq!(client.local_addr().unwrap(), Address::Unix(None));
        let (server, _) = accept(&mut listener);
        talk(client, server);
    }
}

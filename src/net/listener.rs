//! Listening sockets: TCP and Unix streams.

use std::io;
use std::net::SocketAddr;

use socket2::Type;

use crate::net::addr::Address;
#[cfg(feature = "sim")]
use crate::net::mem::MemListener;
use crate::net::sockopt::{self, Common};
use crate::net::stream::Stream;
#[cfg(unix)]
use crate::net::unix::UnixListener;
use crate::options::ListenOptions;
use crate::reactor::Source;

/// A non-blocking listener.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(mio::net::TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
    #[cfg(feature = "sim")]
    Mem(Box<MemListener>),
}

impl Listener {
    /// Listens on the address. On Linux the options hold for accepted connections as well, elsewhere
    /// [`Stream::tune_accepted`] sets them.
    pub(crate) fn bind_tcp(addr: SocketAddr, o: &ListenOptions) -> io::Result<Self> {
        let socket = sockopt::socket(addr, Type::STREAM, &Common::from(o))?;
        // On Windows the option lets two programs listen on one address.
        sockopt::share(&socket, o.reuse_address.unwrap_or(cfg!(unix)), o.reuse_port)?;
        sockopt::set_v6only(&socket, addr, o.v6only)?;
        socket.bind(&addr.into())?;
        socket.listen(backlog(o))?;
        Ok(Self::Tcp(mio::net::TcpListener::from_std(socket.into())))
    }

    /// Listens on the path of a Unix socket, which is removed when the listener is dropped.
    #[cfg(unix)]
    pub(crate) fn bind_unix(path: &std::path::Path, o: &ListenOptions) -> io::Result<Self> {
        UnixListener::bind(path, o.unix_mode, backlog(o)).map(Self::Unix)
    }

    /// Takes over a TCP listener, its options as they are.
    pub(crate) fn from_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Tcp(mio::net::TcpListener::from_std(listener)))
    }

    /// Takes over a Unix listener. Its path stays when it is dropped: it belongs to who made it.
    #[cfg(unix)]
    pub(crate) fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        UnixListener::from_std(listener).map(Self::Unix)
    }

    pub(crate) fn source(&mut self) -> Source<'_> {
        match self {
            Self::Tcp(listener) => Source::Mio(listener),
            #[cfg(unix)]
            Self::Unix(listener) => Source::Mio(listener),
            #[cfg(feature = "sim")]
            Self::Mem(listener) => Source::Mem(listener.socket()),
        }
    }

    /// Takes one waiting connection; [`AcceptError::of`] says what an error means for the next.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Address)> {
        match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, peer)| (Stream::Tcp(stream), peer.into())),
            #[cfg(unix)]
            Self::Unix(listener) => listener.accept(),
            #[cfg(feature = "sim")]
            Self::Mem(listener) => listener.accept().map(|(stream, peer)| (Stream::Mem(Box::new(stream)), peer)),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Into::into),
            #[cfg(unix)]
            Self::Unix(listener) => listener.local_addr(),
            #[cfg(feature = "sim")]
            Self::Mem(listener) => Ok(listener.local_addr()),
        }
    }
}

/// What a failed `accept` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptError {
    /// None waits: readiness will tell of the next.
    Empty,
    /// That connection is gone: ask again at once.
    Skip,
    /// The system is short of something, descriptors for the most part: connections still wait, and readiness will
    /// not tell of them again. Ask later.
    Later,
}

impl AcceptError {
    pub(crate) fn of(error: &io::Error) -> Self {
        use io::ErrorKind as K;
        match error.kind() {
            K::WouldBlock => Self::Empty,
            // Linux hands the errors of the new connection to its accept(2).
            K::Interrupted
            | K::ConnectionAborted
            | K::ConnectionReset
            | K::PermissionDenied
            | K::NetworkDown
            | K::NetworkUnreachable
            | K::HostUnreachable
            | K::TimedOut => Self::Skip,
            _ => Self::Later,
        }
    }
}

fn backlog(o: &ListenOptions) -> i32 {
    i32::try_from(o.backlog).unwrap_or(i32::MAX)
}

impl<'a> From<&'a ListenOptions> for Common<'a> {
    fn from(o: &'a ListenOptions) -> Self {
        Self { nodelay: o.nodelay, keepalive: o.keepalive, bind_device: o.bind_device.as_deref(), tos: o.tos }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener as StdListener, TcpStream as StdStream};
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;
    use crate::net::Url;
    use crate::net::testing::accept;

    fn listen(addr: &str, o: ListenOptions) -> io::Result<Listener> {
        Listener::bind_tcp(addr.parse().unwrap(), &o)
    }

    fn options() -> ListenOptions {
        ListenOptions::new("tcp://127.0.0.1:0")
    }

    fn port(listener: &Listener) -> u16 {
        listener.local_addr().unwrap().port().unwrap()
    }

    #[test]
    fn d5_port_0_becomes_a_real_port() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let mut listener = listen(addr, options()).unwrap();
            let local = listener.local_addr().unwrap();
            assert_ne!(local.port(), Some(0), "{addr}");
            assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "{addr}");
            let client = StdStream::connect((local.ip().unwrap(), local.port().unwrap())).unwrap();
            let (stream, peer) = accept(&mut listener);
            assert_eq!(peer, client.local_addr().unwrap().into(), "{addr}");
            assert_eq!(stream.local_addr().unwrap(), local, "{addr}");
        }
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn accepted_connections_have_the_options_of_their_listener() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let set = options().keepalive(Duration::from_secs(90)).tos(0x20);
            let unset = options().nodelay(false).keepalive(None);
            for (o, on) in [(set, true), (unset, false)] {
                let mut listener = listen(addr, o).unwrap();
                let local = listener.local_addr().unwrap();
                let _client = StdStream::connect((local.ip().unwrap(), local.port().unwrap())).unwrap();
                let (Stream::Tcp(stream), _) = accept(&mut listener) else { panic!("not TCP") };
                let socket = SockRef::from(&stream);
                assert_eq!(socket.tcp_nodelay().unwrap(), on, "{addr}");
                assert_eq!(socket.keepalive().unwrap(), on, "{addr}");
                let tos = if local.ip().unwrap().is_ipv4() { socket.tos_v4() } else { socket.tclass_v6() };
                assert_eq!(tos.unwrap(), if on { 0x20 } else { 0 }, "{addr}");
                if on {
                    assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(90), "{addr}");
                    assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(15), "{addr}");
                }
            }
        }
    }

    #[test]
    fn d4_a_busy_port_is_an_error_that_names_the_url() {
        let first = listen("127.0.0.1:0", options()).unwrap();
        let addr = format!("127.0.0.1:{}", port(&first));
        let url = Url::parse(&format!("http://{addr}")).unwrap();
        let error = sockopt::listen_error(&url, listen(&addr, options()).unwrap_err());
        assert!(error.is_address_in_use(), "{error}");
        assert!(error.to_string().starts_with(&format!("cannot listen on http://{addr}/: ")), "{error}");
        assert!(error.to_string().ends_with("choose another port (port 0 picks a free one)"), "{error}");
    }

    #[test]
    fn a_foreign_address_is_an_error() {
        // RFC 5737 §3: nobody has it.
        let url = Url::parse("tcp://192.0.2.1:9000").unwrap();
        let error = sockopt::listen_error(&url, listen("192.0.2.1:9000", options()).unwrap_err());
        assert!(error.to_string().contains("no network interface of this system has the address"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn an_address_is_taken_again_while_old_connections_linger() {
        use std::io::Read;
        // No other test takes a port of this address in between.
        let ip = if cfg!(target_os = "linux") { "127.0.0.7" } else { "127.0.0.1" };
        let mut first = listen(&format!("{ip}:0"), options()).unwrap();
        let port = port(&first);
        let mut client = StdStream::connect((ip, port)).unwrap();
        let (stream, _) = accept(&mut first);
        // The side that closes first keeps the port in TIME_WAIT.
        drop((stream, first));
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        listen(&format!("{ip}:{port}"), options()).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn reuse_port_shares_a_port() {
        let first = listen("127.0.0.1:0", options().reuse_port(true)).unwrap();
        let addr = format!("127.0.0.1:{}", port(&first));
        listen(&addr, options().reuse_port(true)).unwrap();
        assert_eq!(listen(&addr, options()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn v6only_decides_about_ipv4() {
        let mut both = listen("[::]:0", options().v6only(false)).unwrap();
        let _client = StdStream::connect(("127.0.0.1", port(&both))).unwrap();
        let (_, peer) = accept(&mut both);
        assert!(peer.to_string().starts_with("127.0.0.1:"), "{peer}");
        let only = listen("[::]:0", options().v6only(true)).unwrap();
        let error = StdStream::connect(("127.0.0.1", port(&only))).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_the_only_one_served() {
        let mut listener = match listen("127.0.0.1:0", options().bind_device("lo")) {
            Ok(listener) => listener,
            // Older systems let only the administrator choose.
            Err(e) => {
                assert_eq!(e.kind(), io::ErrorKind::PermissionDenied);
                assert!(e.to_string().contains("CAP_NET_RAW"), "{e}");
                return;
            }
        };
        let Listener::Tcp(tcp) = &listener else { panic!("not TCP") };
        assert_eq!(SockRef::from(tcp).device().unwrap().as_deref(), Some(&b"lo"[..]));
        let _client = StdStream::connect(("127.0.0.1", port(&listener))).unwrap();
        accept(&mut listener);
    }

    #[test]
    fn an_adopted_listener_does_not_block() {
        let std = StdListener::bind("127.0.0.1:0").unwrap();
        let mut listener = Listener::from_tcp(std).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = StdStream::connect(("127.0.0.1", port(&listener))).unwrap();
        accept(&mut listener);
    }

    #[test]
    fn a_failed_accept_says_when_to_ask_again() {
        use io::ErrorKind as K;
        let table = [
            ("none waits", io::Error::from(K::WouldBlock), AcceptError::Empty),
            ("a signal", K::Interrupted.into(), AcceptError::Skip),
            ("the peer left", K::ConnectionAborted.into(), AcceptError::Skip),
            ("a firewall", K::PermissionDenied.into(), AcceptError::Skip),
            ("no memory", K::OutOfMemory.into(), AcceptError::Later),
            #[cfg(unix)]
            ("A25 no descriptor left here", io::Error::from_raw_os_error(libc::EMFILE), AcceptError::Later),
            #[cfg(unix)]
            ("A25 no descriptor left at all", io::Error::from_raw_os_error(libc::ENFILE), AcceptError::Later),
        ];
        for (name, error, expected) in table {
            assert_eq!(AcceptError::of(&error), expected, "{name}");
        }
    }
}

//! Socket options, applied before a socket is bound or connected; and what the system's refusals mean.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::error::{Error, Kind};
use crate::net::addr::Url;

/// Whether an accepted TCP connection has its listener's options, so that accepting needs no further system call.
///
/// Linux copies them all. Elsewhere [`tune_stream`] sets them on each connection.
pub(crate) const ACCEPTED_INHERIT: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The options that `listen` and `connect` have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Common<'a> {
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) bind_device: Option<&'a str>,
    pub(crate) tos: Option<u16>,
}

/// A non-blocking socket for the address, closed on exec, with the options that come before binding.
pub(crate) fn socket(addr: SocketAddr, ty: Type, o: &Common<'_>) -> io::Result<Socket> {
    let protocol = if ty == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(addr), ty, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if let Some(device) = o.bind_device {
        named("bind_device", bind_device(&socket, device))?;
    }
    if let Some(tos) = o.tos {
        named("tos", set_tos(&socket, addr, tos))?;
    }
    if ty == Type::STREAM {
        tune_stream(&socket, o.nodelay, o.keepalive)?;
    }
    Ok(socket)
}

/// Sets what TCP connections have, on a listener or a connection.
pub(crate) fn tune_stream(socket: &Socket, nodelay: bool, keepalive: Option<Duration>) -> io::Result<()> {
    if nodelay {
        named("nodelay", socket.set_tcp_nodelay(true))?;
    }
    if let Some(after) = keepalive {
        named("keepalive", socket.set_tcp_keepalive(&keepalive_params(after)))?;
    }
    Ok(())
}

fn keepalive_params(after: Duration) -> TcpKeepalive {
    // The system counts whole seconds: up to 32,767 of them on Linux, and none is refused.
    let seconds = |duration: Duration| Duration::from_secs(duration.as_secs().clamp(1, 32_767));
    let params = TcpKeepalive::new().with_time(seconds(after));
    #[cfg(not(any(target_os = "openbsd", target_os = "haiku", target_os = "solaris", target_os = "redox")))]
    let params = params.with_interval(seconds(after / 6));
    params
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "fuchsia"))]
fn bind_device(socket: &Socket, device: &str) -> io::Result<()> {
    if device.is_empty() {
        // The system would take it for "no device at all".
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a network interface has a name"));
    }
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "fuchsia")))]
fn bind_device(_: &Socket, _: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn set_tos(socket: &Socket, addr: SocketAddr, tos: u16) -> io::Result<()> {
    let Ok(tos) = u8::try_from(tos) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a code point (dscp) is 0 to 63"));
    };
    match addr {
        SocketAddr::V4(_) => set_tos_v4(socket, tos.into()),
        SocketAddr::V6(_) => {
            // The socket may carry IPv4 as well, which has an option of its own.
            if ACCEPTED_INHERIT {
                set_tos_v4(socket, tos.into())?;
            }
            set_tos_v6(socket, tos.into())
        }
    }
}

#[cfg(not(any(target_os = "fuchsia", target_os = "redox", target_os = "solaris", target_os = "haiku")))]
fn set_tos_v4(socket: &Socket, tos: u32) -> io::Result<()> {
    socket.set_tos_v4(tos)
}

#[cfg(any(target_os = "fuchsia", target_os = "redox", target_os = "solaris", target_os = "haiku"))]
fn set_tos_v4(_: &Socket, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
))]
fn set_tos_v6(socket: &Socket, tos: u32) -> io::Result<()> {
    socket.set_tclass_v6(tos)
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly",
)))]
fn set_tos_v6(_: &Socket, _: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What several sockets may share.
pub(crate) fn share(socket: &Socket, reuse_address: bool, reuse_port: bool) -> io::Result<()> {
    if reuse_address {
        named("reuse_address", socket.set_reuse_address(true))?;
    }
    if reuse_port {
        named("reuse_port", set_reuse_port(socket))?;
    }
    Ok(())
}

#[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin"))))]
fn set_reuse_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(unix, not(any(target_os = "solaris", target_os = "illumos", target_os = "cygwin")))))]
fn set_reuse_port(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// IPv6 alone or with IPv4, where it was chosen.
pub(crate) fn set_v6only(socket: &Socket, addr: SocketAddr, only: Option<bool>) -> io::Result<()> {
    match (addr, only) {
        (SocketAddr::V6(_), Some(only)) => named("v6only", socket.set_only_v6(only)),
        (SocketAddr::V6(_), None) | (SocketAddr::V4(_), _) => Ok(()),
    }
}

/// Takes the address to come from, where it was chosen.
pub(crate) fn bind_local(socket: &Socket, peer: SocketAddr, local: Option<SocketAddr>) -> io::Result<()> {
    match local {
        None => Ok(()),
        Some(local) if local.is_ipv4() == peer.is_ipv4() => named("local_addr", socket.bind(&local.into())),
        Some(_) => {
            let other = "it is IPv4 and the peer IPv6, or the other way round";
            named("local_addr", Err(io::Error::new(io::ErrorKind::AddrNotAvailable, other)))
        }
    }
}

/// Says which option the system refused.
fn named(option: &'static str, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|source| io::Error::new(source.kind(), Refused { option, source }))
}

#[derive(Debug)]
struct Refused {
    option: &'static str,
    source: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hint = match self.source.kind() {
            io::ErrorKind::PermissionDenied => " (it needs the capability CAP_NET_RAW or CAP_NET_ADMIN)",
            _ => "",
        };
        write!(f, "the option {} was refused: {}{hint}", self.option, self.source)
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

/// An error of `listen`: names the URL and the way out.
pub(crate) fn listen_error(url: &Url, source: io::Error) -> Error {
    let refused_option = source.get_ref().is_some_and(|inner| inner.is::<Refused>());
    let hint = match (source.kind(), url.unix_path()) {
        _ if refused_option => "",
        (io::ErrorKind::AddrInUse, Some(_)) => "another program listens there; stop it or choose another path",
        (io::ErrorKind::AddrInUse, None) => {
            "another program listens there; stop it or choose another port (port 0 picks a free one)"
        }
        (io::ErrorKind::PermissionDenied, None) if (1..1024).contains(&url.port()) => {
            "ports below 1024 need a privilege (on Linux CAP_NET_BIND_SERVICE); choose a higher one"
        }
        (io::ErrorKind::PermissionDenied, Some(_)) => "this user must be allowed to write to the directory",
        (io::ErrorKind::NotFound, Some(_)) => "the directory must exist",
        (io::ErrorKind::AddrNotAvailable, None) => "no network interface of this system has the address",
        _ => "",
    };
    let source = if hint.is_empty() { source } else { io::Error::new(source.kind(), format!("{source}: {hint}")) };
    Error::io(format!("cannot listen on {url}"), source)
}

/// An error of `connect`: names the URL.
pub(crate) fn connect_error(url: &Url, source: io::Error) -> Error {
    let kind = match source.kind() {
        io::ErrorKind::TimedOut => Kind::TimedOut,
        _ => Kind::Connect,
    };
    Error::with_source(kind, format!("cannot connect to {url}"), source)
}

/// Whether a connection attempt has only begun.
pub(crate) fn is_in_progress(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == IN_PROGRESS
}

#[cfg(unix)]
const IN_PROGRESS: Option<i32> = Some(libc::EINPROGRESS);
#[cfg(not(unix))]
const IN_PROGRESS: Option<i32> = None;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d4_a_listen_error_names_the_url_and_the_way_out() {
        use io::ErrorKind::*;
        let table = [
            ("in use", "tcp://127.0.0.1:9000", AddrInUse, "tcp://127.0.0.1:9000: address in use: another program"),
            ("in use, path", "unix:/x", AddrInUse, "choose another path"),
            ("low port", "http://127.0.0.1", PermissionDenied, "ports below 1024 need"),
            ("high port", "tcp://127.0.0.1:9000", PermissionDenied, "127.0.0.1:9000: permission denied"),
            ("directory", "unix:/x", PermissionDenied, "allowed to write to the directory"),
            ("no directory", "unix:/x/y", NotFound, "the directory must exist"),
            ("not ours", "tcp://192.0.2.1:9000", AddrNotAvailable, "no network interface"),
        ];
        for (name, url, kind, expected) in table {
            let error = listen_error(&Url::parse(url).unwrap(), kind.into());
            assert!(error.to_string().contains(expected), "{name}: {error}");
            assert_eq!(error.io_kind(), Some(kind), "{name}");
        }
    }

    #[test]
    fn a_refused_option_is_named() {
        let addr = "127.0.0.1:0".parse().unwrap();
        let common = Common { nodelay: true, keepalive: None, bind_device: None, tos: None };
        let table = [
            ("interface", Common { bind_device: Some("nosuchif0"), ..common }, "the option bind_device was refused: "),
            ("empty interface", Common { bind_device: Some(""), ..common }, "the option bind_device was refused: "),
            ("code point", Common { tos: Some(64 << 2), ..common }, "the option tos was refused: "),
        ];
        for (name, common, expected) in table {
            let error = socket(addr, Type::STREAM, &common).unwrap_err();
            let error = listen_error(&Url::parse("tcp://127.0.0.1:9000").unwrap(), error);
            assert!(error.to_string().contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn options_reach_the_socket() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let keepalive = Some(Duration::from_secs(60));
            let common = Common { nodelay: true, keepalive, bind_device: None, tos: Some(46 << 2) };
            let socket = socket(addr, Type::STREAM, &common).unwrap();
            assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap(), "{addr}");
            assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(60), "{addr}");
            assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10), "{addr}");
            let tos = if addr.is_ipv4() { socket.tos_v4() } else { socket.tclass_v6() };
            assert_eq!(tos.unwrap(), 46 << 2, "{addr}");
        }
    }

    #[test]
    fn keepalive_stays_within_what_the_system_takes() {
        let addr = "127.0.0.1:0".parse().unwrap();
        for (after, expected) in [(Duration::ZERO, 1), (Duration::from_millis(1500), 1), (Duration::MAX, 32_767)] {
            let common = Common { nodelay: false, keepalive: Some(after), bind_device: None, tos: None };
            let socket = socket(addr, Type::STREAM, &common).unwrap();
            assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), expected, "{after:?}");
        }
    }
}

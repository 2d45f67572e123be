//! Sockets that hear what is sent to all on one link, and which links there are.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::Type;

use super::sockopt::{self, Common};
use super::udp::Udp;

/// A network interface with its addresses, each with the length of its net's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) addrs: Vec<(IpAddr, u8)>,
    /// Everybody else may be on it: it is up, and neither this machine alone nor one other.
    pub(crate) is_shared: bool,
}

/// The interfaces of this machine.
pub(crate) fn interfaces() -> io::Result<Vec<Interface>> {
    let mut all: Vec<Interface> = Vec::new();
    for found in if_addrs::get_if_addrs()? {
        let Some(index) = found.index else { continue };
        let prefix = match &found.addr {
            if_addrs::IfAddr::V4(addr) => addr.prefixlen,
            if_addrs::IfAddr::V6(addr) => addr.prefixlen,
        };
        let is_shared = found.is_oper_up() && !found.is_loopback() && !found.is_p2p();
        let addr = (found.ip(), prefix);
        match all.iter_mut().find(|interface| interface.index == index) {
            Some(interface) => interface.addrs.push(addr),
            None => all.push(Interface { name: found.name, index, addrs: vec![addr], is_shared }),
        }
    }
    all.iter_mut().for_each(|interface| interface.addrs.sort_unstable());
    Ok(all)
}

/// A socket on a port that others may have too, which hears what is sent to a group on this interface and sends to it there.
pub(crate) fn join(group: SocketAddr, interface: &Interface) -> io::Result<Udp> {
    let local: SocketAddr = match group {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, group.port()).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, group.port()).into(),
    };
    let socket =
        sockopt::socket(local, Type::DGRAM, &Common { nodelay: false, keepalive: None, bind_device: None, tos: None })?;
    // Linux shares a port by the one option, the BSDs by the other.
    sockopt::share(&socket, true, !cfg!(any(target_os = "linux", target_os = "android", windows)))?;
    sockopt::set_v6only(&socket, local, Some(true))?;
    // Where the system grants it, nothing is heard that came in elsewhere, not even what was sent to us alone.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.bind_device(Some(interface.name.as_bytes()));
    socket.bind(&local.into())?;
    match group {
        SocketAddr::V4(group) => {
            let own = interface.addrs.iter().find_map(|(ip, _)| match ip {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            });
            let own = own.ok_or(io::ErrorKind::AddrNotAvailable)?;
            // Otherwise what other sockets of this machine have joined is heard as well.
            #[cfg(any(target_os = "linux", target_os = "android"))]
            socket.set_multicast_all_v4(false)?;
            socket.join_multicast_v4(group.ip(), &own)?;
            socket.set_multicast_if_v4(&own)?;
            socket.set_multicast_loop_v4(true)?;
            // RFC 6762 §11.
            socket.set_multicast_ttl_v4(255)?;
            socket.set_ttl_v4(255)?;
        }
        SocketAddr::V6(group) => {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            socket.set_multicast_all_v6(false)?;
            socket.join_multicast_v6(group.ip(), interface.index)?;
            socket.set_multicast_if_v6(interface.index)?;
            socket.set_multicast_loop_v6(true)?;
            socket.set_multicast_hops_v6(255)?;
            socket.set_unicast_hops_v6(255)?;
        }
    }
    Udp::from_std(socket.into())
}

/// The address of a group on an interface.
pub(crate) fn group(ip: IpAddr, port: u16, interface: u32) -> SocketAddr {
    match ip {
        IpAddr::V4(ip) => (ip, port).into(),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, interface).into(),
    }
}

/// What this machine is called, as far as it is known.
pub(crate) fn machine_name() -> Option<String> {
    #[cfg(unix)]
    return rustix::system::uname().nodename().to_str().ok().map(str::to_owned).filter(|name| !name.is_empty());
    #[cfg(not(unix))]
    std::env::var("COMPUTERNAME").ok()
}

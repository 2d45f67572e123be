//! Where a peer is, in half the room of a `SocketAddr`: connections are many, and most of them idle.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// The address of a connection's peer. What is long in one of IPv6 is on the heap: with it, it takes what it would in place.
#[derive(Debug, Default)]
pub(crate) enum Remote {
    #[default]
    None,
    V4(SocketAddrV4),
    V6 {
        port: u16,
        host: Box<HostV6>,
    },
}

#[derive(Debug)]
pub(crate) struct HostV6 {
    ip: Ipv6Addr,
    flowinfo: u32,
    scope_id: u32,
}

impl Remote {
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        match self {
            Self::None => None,
            Self::V4(addr) => Some(SocketAddr::V4(*addr)),
            Self::V6 { port, host } => {
                Some(SocketAddr::V6(SocketAddrV6::new(host.ip, *port, host.flowinfo, host.scope_id)))
            }
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        !matches!(self, Self::None)
    }
}

impl From<SocketAddr> for Remote {
    fn from(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self::V4(addr),
            SocketAddr::V6(addr) => {
                let host = HostV6 { ip: *addr.ip(), flowinfo: addr.flowinfo(), scope_id: addr.scope_id() };
                Self::V6 { port: addr.port(), host: Box::new(host) }
            }
        }
    }
}

impl From<Option<SocketAddr>> for Remote {
    fn from(addr: Option<SocketAddr>) -> Self {
        addr.map_or(Self::None, Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_whole_from_half_the_room() {
        assert_eq!(size_of::<Remote>(), 16);
        let scoped = SocketAddrV6::new("fe80::1".parse().unwrap(), 1883, 7, 2).into();
        for addr in
            [None, Some("192.0.2.1:80".parse().unwrap()), Some("[2001:db8::1]:80".parse().unwrap()), Some(scoped)]
        {
            let remote = Remote::from(addr);
            assert_eq!((remote.addr(), remote.is_known()), (addr, addr.is_some()));
        }
    }
}

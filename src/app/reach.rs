//! Who can reach a listener, in one line.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::net::{Address, Target, Url};

/// Who can reach it, as far as the address tells: a firewall may let in fewer, a router may carry it further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nobody outside.
    ThisMachine,
    /// The machines of the network that this address belongs to.
    LocalNetwork(IpAddr),
    /// Whoever has a route to it.
    Routed(IpAddr),
    /// Everybody above, on every network.
    EveryNetwork,
    /// Processes of this machine that may open the path.
    UnixSocket,
}

impl Reach {
    /// Of a listener bound there.
    pub fn of(bound: &Address) -> Self {
        let Some(ip) = bound.ip() else { return Self::UnixSocket };
        if ip.is_unspecified() {
            return Self::EveryNetwork;
        }
        if ip.is_loopback() {
            return Self::ThisMachine;
        }
        let local = match ip {
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || is_shared(v4),
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        if local { Self::LocalNetwork(ip) } else { Self::Routed(ip) }
    }

    /// Of a listener that would be bound to this URL; none where it cannot be listened on.
    pub fn of_url(url: &Url) -> Option<Self> {
        match url.listen_target().ok()? {
            Target::Inet(addr) => Some(Self::of(&Address::Inet(addr))),
            Target::Unix(_) => Some(Self::UnixSocket),
            Target::Name { .. } => None,
        }
    }

    /// Whether machines other than this one can reach it.
    pub fn is_from_outside(&self) -> bool {
        match self {
            Self::ThisMachine | Self::UnixSocket => false,
            Self::LocalNetwork(_) | Self::Routed(_) | Self::EveryNetwork => true,
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisMachine => f.write_str("this machine only"),
            Self::LocalNetwork(ip) => write!(f, "the local network: machines that reach {ip}"),
            Self::Routed(ip) => write!(f, "whoever has a route to {ip}, which may be the Internet"),
            Self::EveryNetwork => f.write_str("every network this machine is on"),
            Self::UnixSocket => f.write_str("unix socket: processes with access to the path"),
        }
    }
}

/// RFC 6598: addresses that a provider or an overlay network shares among its customers.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_who_can_reach_it() {
        let local = |ip: &str| format!("the local network: machines that reach {ip}");
        let routed = |ip: &str| format!("whoever has a route to {ip}, which may be the Internet");
        let table = [
            ("127.0.0.1:80", "this machine only".into(), false),
            ("127.9.9.9:80", "this machine only".into(), false),
            ("[::1]:80", "this machine only".into(), false),
            ("[::ffff:127.0.0.1]:80", "this machine only".into(), false),
            ("0.0.0.0:80", "every network this machine is on".into(), true),
            ("[::]:80", "every network this machine is on".into(), true),
            ("[::ffff:0.0.0.0]:80", "every network this machine is on".into(), true),
            ("192.168.1.5:80", local("192.168.1.5"), true),
            ("10.0.0.1:80", local("10.0.0.1"), true),
            ("172.31.0.1:80", local("172.31.0.1"), true),
            ("172.32.0.1:80", routed("172.32.0.1"), true),
            ("169.254.3.4:80", local("169.254.3.4"), true),
            ("100.64.0.1:80", local("100.64.0.1"), true),
            ("100.127.255.255:80", local("100.127.255.255"), true),
            ("100.128.0.1:80", routed("100.128.0.1"), true),
            ("203.0.113.5:80", routed("203.0.113.5"), true),
            ("[fe80::1]:80", local("fe80::1"), true),
            ("[fd00::1]:80", local("fd00::1"), true),
            ("[2001:db8::1]:80", routed("2001:db8::1"), true),
        ];
        for (address, expected, outside) in table {
            let reach = Reach::of(&Address::Inet(address.parse().expect(address)));
            assert_eq!(reach.to_string(), expected, "{address}");
            assert_eq!(reach.is_from_outside(), outside, "{address}");
        }
        let unix = Reach::of(&Address::Unix(Some("/run/v.sock".into())));
        assert_eq!(unix.to_string(), "unix socket: processes with access to the path");
        assert!(!unix.is_from_outside());
    }
}

//! Where a manager's sockets and addresses come from: the system, or a simulation.

#[cfg(feature = "dns")]
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;

#[cfg(feature = "mdns")]
use crate::net::multicast;
use crate::net::resolve::{Deliver, Refused, Resolver};
use crate::net::{Listener, Stream, Target, Udp};
use crate::options::{ConnectOptions, ListenOptions};

/// Opens sockets. Without the feature `sim` there is only the system, and this is nothing at all.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    #[cfg(feature = "sim")]
    pub(crate) host: Option<crate::net::mem::Host>,
}

/// Looks names up for one manager.
pub(crate) enum Names {
    System(Resolver),
    #[cfg(feature = "sim")]
    Mem(crate::net::mem::MemNames),
}

impl Sockets {
    /// Listens for streams at an address or a path.
    pub(crate) fn listen(&self, target: Target<'_>, o: &ListenOptions) -> io::Result<Listener> {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            return match target {
                Target::Inet(addr) => host.listen_tcp(addr, o),
                Target::Unix(path) => host.listen_unix(path, o),
                Target::Name { .. } => Err(io::ErrorKind::Unsupported.into()),
            }
            .map(|listener| Listener::Mem(Box::new(listener)));
        }
        match target {
            Target::Inet(addr) => Listener::bind_tcp(addr, o),
            #[cfg(unix)]
            Target::Unix(path) => Listener::bind_unix(path, o),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Begins a TCP connection.
    pub(crate) fn connect(&self, addr: SocketAddr, o: &ConnectOptions) -> io::Result<Stream> {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            return host.connect_tcp(addr, o).map(|stream| Stream::Mem(Box::new(stream)));
        }
        Stream::connect_tcp(addr, o)
    }

    /// Connects to a Unix socket.
    pub(crate) fn connect_path(&self, path: &std::path::Path) -> io::Result<Stream> {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            return match host.connect_unix(path) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::ConnectionRefused.into()),
                connected => connected.map(|stream| Stream::Mem(Box::new(stream))),
            };
        }
        #[cfg(unix)]
        return Stream::connect_unix(path);
        #[cfg(not(unix))]
        Err(io::Error::new(io::ErrorKind::Unsupported, format!("no Unix sockets here: {}", path.display())))
    }

    pub(crate) fn bind_udp(&self, addr: SocketAddr, o: &ListenOptions) -> io::Result<Udp> {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            return host.bind_udp(addr).map(Udp::Mem);
        }
        Udp::bind(addr, o)
    }

    pub(crate) fn connect_udp(&self, addr: SocketAddr, o: &ConnectOptions) -> io::Result<Udp> {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            return host.connect_udp(addr, o).map(Udp::Mem);
        }
        Udp::connect(addr, o)
    }

    /// The interfaces of this machine; in a simulation the one that every host there has.
    #[cfg(feature = "mdns")]
    pub(crate) fn interfaces(&self) -> io::Result<Vec<multicast::Interface>> {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            let addrs = vec![(host.ip(), 8)];
            return Ok(vec![multicast::Interface { name: "sim".into(), index: 1, addrs, is_shared: true }]);
        }
        multicast::interfaces()
    }

    /// A socket that hears a group on an interface.
    #[cfg(feature = "mdns")]
    pub(crate) fn join(&self, group: SocketAddr, interface: &multicast::Interface) -> io::Result<Udp> {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            return host.join(group).map(Udp::Mem);
        }
        multicast::join(group, interface)
    }

    /// 64 bits that nobody can guess; in a simulation those that its seed decides. Fails where the system has none.
    #[cfg(any(feature = "dns", feature = "mqtt", feature = "sntp"))]
    pub(crate) fn random(&self) -> io::Result<u64> {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            return Ok(host.sim().world().rng().next_u64());
        }
        getrandom::u64().map_err(|e| io::Error::other(format!("no random numbers: {e}")))
    }

    /// The same, from the keys of our hash tables where the system has none for us: those it has seeded.
    #[cfg(feature = "dns")]
    pub(crate) fn bits(&self) -> u64 {
        self.random().unwrap_or_else(|_| RandomState::new().hash_one(0u64))
    }

    /// This is a world of its own, where nothing of the machine's settings counts.
    #[cfg(feature = "dns")]
    pub(crate) fn is_simulated(&self) -> bool {
        #[cfg(feature = "sim")]
        return self.host.is_some();
        #[cfg(not(feature = "sim"))]
        false
    }

    /// Looks names up, and gives each result to `deliver`.
    pub(crate) fn names(&self, deliver: Deliver) -> Names {
        #[cfg(feature = "sim")]
        if let Some(host) = &self.host {
            return Names::Mem(crate::net::mem::MemNames::new(host.sim().clone(), deliver));
        }
        Names::System(Resolver::new(deliver))
    }
}

impl Names {
    /// Looks names up in a test's own way.
    #[cfg(test)]
    pub(crate) fn with_lookup(lookup: crate::net::resolve::Lookup, deliver: Deliver) -> Self {
        Self::System(Resolver::with_lookup(lookup, deliver, std::time::Duration::from_secs(10)))
    }

    /// Looks the name up; the result comes with the ticket, which is never used twice.
    pub(crate) fn resolve(&mut self, ticket: u64, host: &str, port: u16) -> Result<(), Refused> {
        match self {
            Self::System(resolver) => resolver.resolve(ticket, host, port),
            #[cfg(feature = "sim")]
            Self::Mem(names) => {
                names.resolve(ticket, host, port);
                Ok(())
            }
        }
    }

    /// Forgets a name.
    pub(crate) fn cancel(&mut self, ticket: u64) {
        match self {
            Self::System(resolver) => resolver.cancel(ticket),
            #[cfg(feature = "sim")]
            Self::Mem(names) => names.cancel(ticket),
        }
    }
}

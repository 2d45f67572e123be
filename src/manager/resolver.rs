//! How a manager looks names up: what its owner chooses.

#[cfg(feature = "dns")]
use std::net::SocketAddr;
#[cfg(feature = "dns")]
use std::path::PathBuf;
#[cfg(feature = "dns")]
use std::time::Duration;

/// Who looks names up for a manager. The choice is kept: where one cannot find a name, the other is not asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Resolver {
    /// The manager itself, on its loop: it asks name servers (DNS), after the table of hosts. No thread, nothing blocks,
    /// answers are kept for as long as they are good, and IPv4 and IPv6 addresses are used as they come.
    #[cfg(feature = "dns")]
    Stub(DnsOptions),
    /// The system's `getaddrinfo`, on up to four threads: whatever `nsswitch.conf` says (LDAP, multicast DNS, VPNs).
    System,
}

impl Default for Resolver {
    /// The manager's own on Unix, where the feature `dns` is built; else the system's.
    fn default() -> Self {
        #[cfg(all(feature = "dns", unix))]
        return Self::Stub(DnsOptions::new());
        #[cfg(not(all(feature = "dns", unix)))]
        Self::System
    }
}

#[cfg(feature = "dns")]
impl From<DnsOptions> for Resolver {
    fn from(options: DnsOptions) -> Self {
        Self::Stub(options)
    }
}

/// How a manager asks name servers. What is not set is as the system's files say, which are read again when they change.
///
/// ```
/// use std::time::Duration;
/// use vansire::{DnsOptions, Manager};
///
/// # fn main() -> vansire::Result<()> {
/// let dns = DnsOptions::new().servers([([192, 168, 1, 1], 53)]).timeout(Duration::from_millis(500));
/// let manager = Manager::builder().resolver(dns).build(())?;
/// # Ok(()) }
/// ```
#[cfg(feature = "dns")]
#[derive(Debug, Clone)]
#[must_use]
pub struct DnsOptions {
    pub(crate) servers: Option<Vec<SocketAddr>>,
    pub(crate) search: Option<Vec<String>>,
    pub(crate) resolv_conf: Option<PathBuf>,
    pub(crate) hosts: Option<PathBuf>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) attempts: Option<u32>,
    pub(crate) random_case: bool,
    pub(crate) lookups_max: usize,
    pub(crate) cache_max: usize,
    #[cfg(feature = "mdns")]
    pub(crate) multicast: bool,
}

#[cfg(feature = "dns")]
impl DnsOptions {
    /// As the system's files say.
    pub fn new() -> Self {
        Self {
            servers: None,
            search: None,
            resolv_conf: None,
            hosts: None,
            timeout: None,
            attempts: None,
            random_case: false,
            lookups_max: 256,
            cache_max: 512,
            #[cfg(feature = "mdns")]
            multicast: false,
        }
    }

    /// The servers to ask, in this order. With none, nothing but the table of hosts is known. Default: those of
    /// `resolv.conf`, at most three; this machine's where it names none.
    pub fn servers(mut self, servers: impl IntoIterator<Item = impl Into<SocketAddr>>) -> Self {
        self.servers = Some(servers.into_iter().map(Into::into).collect());
        self
    }

    /// Domains in which a short name is looked for. Default: those of `resolv.conf`. What is no domain name is left out.
    pub fn search(mut self, domains: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.search = Some(domains.into_iter().map(Into::into).collect());
        self
    }

    /// The file with the settings (`resolv.conf(5)`: `nameserver`, `search`, `domain`, and of the options `ndots`,
    /// `timeout`, `attempts`, `rotate`, `no-aaaa` and `use-vc`). Default: `/etc/resolv.conf`; in a simulation none.
    ///
    /// It is looked at when a name is looked up, once a second at most, and read again when it has changed. One that
    /// cannot be read counts as empty.
    pub fn resolv_conf(mut self, path: impl Into<PathBuf>) -> Self {
        self.resolv_conf = Some(path.into());
        self
    }

    /// The file with the table of hosts (`hosts(5)`), looked at as [`resolv_conf`](Self::resolv_conf) is. Default:
    /// `/etc/hosts`; in a simulation none.
    pub fn hosts(mut self, path: impl Into<PathBuf>) -> Self {
        self.hosts = Some(path.into());
        self
    }

    /// The time for one try at one server. Default: as `resolv.conf` says, or as long as all tries together take 3 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How often each server is asked, from 1 to 5 times. Default: as `resolv.conf` says, or twice.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Gives the letters of each question a random case, which an answer has to repeat: some ten bits more that a forger has
    /// to guess (DNS 0x20). Default: off, since a few servers do not repeat it.
    pub fn random_case(mut self, on: bool) -> Self {
        self.random_case = on;
        self
    }

    /// Names that may be looked up at a time; more are refused. Default: 256.
    pub fn lookups_max(mut self, lookups: usize) -> Self {
        self.lookups_max = lookups;
        self
    }

    /// Asks for the addresses of names below `.local` on the local network, and no server for them (RFC 6762 §3). Default: off,
    /// as anybody on that network can answer. [`Builder::mdns`](crate::Builder::mdns) says where and how.
    #[cfg(feature = "mdns")]
    pub fn multicast(mut self, on: bool) -> Self {
        self.multicast = on;
        self
    }

    /// Answers that are kept; 0 keeps none. Default: 512.
    pub fn cache_max(mut self, answers: usize) -> Self {
        self.cache_max = answers;
        self
    }
}

#[cfg(feature = "dns")]
impl Default for DnsOptions {
    fn default() -> Self {
        Self::new()
    }
}

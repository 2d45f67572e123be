//! How a manager speaks multicast DNS: what its owner chooses.

/// How a manager speaks multicast DNS, once it is asked to: nothing is sent or heard before
/// [`Net::mdns_announce`](crate::Net::mdns_announce), [`mdns_resolve`](crate::Net::mdns_resolve) or
/// [`mdns_browse`](crate::Net::mdns_browse).
///
/// ```
/// use vansire::Manager;
/// use vansire::mdns::Options;
///
/// # fn main() -> vansire::Result<()> {
/// let manager = Manager::builder().mdns(Options::new().host("kitchen").interface("eth0")).build(())?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    pub(crate) host: Option<String>,
    pub(crate) interfaces: Vec<String>,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    pub(crate) port: u16,
    pub(crate) cache_max: usize,
}

impl Options {
    /// On all interfaces that others may be on, under the name that this machine has.
    pub fn new() -> Self {
        Self {
            host: None,
            interfaces: Vec::new(),
            ipv4: true,
            ipv6: true,
            port: crate::proto::dns::mdns::PORT,
            cache_max: 512,
        }
    }

    /// What this host answers to, as `NAME.local`; where it is taken, a number is added. Default: the name of this machine.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.host = Some(name.into());
        self
    }

    /// An interface to speak on, by its name (`eth0`) or one of its addresses; may be repeated. Default: all that are up, but the
    /// loopback and those that lead to a single other host. They are looked at every 10 s.
    pub fn interface(mut self, interface: impl Into<String>) -> Self {
        self.interfaces.push(interface.into());
        self
    }

    /// Speaks over IPv4. Default: yes.
    pub fn ipv4(mut self, on: bool) -> Self {
        self.ipv4 = on;
        self
    }

    /// Speaks over IPv6. Default: yes.
    pub fn ipv6(mut self, on: bool) -> Self {
        self.ipv6 = on;
        self
    }

    /// The port, on which everybody has to agree. Default: 5353.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Records of others that are kept, for each interface. Default: 512.
    pub fn cache_max(mut self, records: usize) -> Self {
        self.cache_max = records;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

//! What the caller chooses.

use std::time::Duration;

use crate::options::{ConnectOptions, ListenOptions};
use crate::proto::sntp::{Policy, Poll};

/// Which server to ask, and how often. A URL alone is enough: `sntp://192.0.2.1`.
///
/// ```
/// use std::time::Duration;
/// use vansire::sntp::ClientOptions;
///
/// let public = ClientOptions::new("sntp://pool.ntp.org").every(Duration::from_secs(1024));
/// let own = ClientOptions::new("sntp://clock.lan").every(Duration::from_secs(8)).floor(Duration::from_secs(8));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientOptions {
    pub(crate) connect: ConnectOptions,
    pub(crate) policy: Policy,
}

impl ClientOptions {
    /// Asks this server once.
    pub fn new(url: impl Into<String>) -> Self {
        Self { connect: ConnectOptions::new(url), policy: Policy::default() }
    }

    /// Asks again and again, this long after each answer: at least 64 s, unless [`floor`](Self::floor) says less. While the server is
    /// silent the time doubles each round; after eight rounds it is given up.
    pub fn every(mut self, interval: Duration) -> Self {
        self.policy.poll = Poll::Every(interval);
        self
    }

    #[cfg(feature = "async")]
    pub(crate) fn once(mut self) -> Self {
        self.policy.poll = Poll::Once;
        self
    }

    /// The shortest interval, at least 1 s. Default: 64 s. Less is for servers of one's own.
    pub fn floor(mut self, floor: Duration) -> Self {
        self.policy.floor = floor;
        self
    }

    /// How long the first answer is waited for; the second twice as long, and so on. Default: 1 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout = timeout;
        self
    }

    /// Questions until the server counts as silent. Default: 2.
    pub fn tries(mut self, tries: u32) -> Self {
        self.policy.tries = tries.max(1);
        self
    }

    /// How wrong the server may be by its own account: half its root delay, and its root dispersion. Default: 1 s.
    pub fn root_distance_max(mut self, distance: Duration) -> Self {
        self.policy.root_distance_max = distance;
        self
    }
}

impl From<ConnectOptions> for ClientOptions {
    fn from(connect: ConnectOptions) -> Self {
        Self { connect, policy: Policy::default() }
    }
}

/// Where to tell the time, and how well it is known. A URL alone is enough: `sntp://0.0.0.0:123`.
#[derive(Debug, Clone)]
#[must_use]
pub struct ServerOptions {
    pub(crate) listen: ListenOptions,
    pub(crate) stratum: u8,
}

impl ServerOptions {
    /// Listens on this URL.
    pub fn new(url: impl Into<String>) -> Self {
        ListenOptions::new(url).into()
    }

    /// The stratum of the system's clock, as long as no time service runs: 1 to 15. Default: 10, so that clients prefer any server
    /// that follows a reference clock. 1 says that this machine has one.
    pub fn stratum(mut self, stratum: u8) -> Self {
        self.stratum = stratum.clamp(1, 15);
        self
    }
}

impl From<ListenOptions> for ServerOptions {
    fn from(listen: ListenOptions) -> Self {
        Self { listen, stratum: STRATUM }
    }
}

/// Which servers keep the wall clock right, and how often they are asked.
///
/// Take one, or three or more: of two that disagree nobody knows which is right, and the clock then goes on by itself.
#[derive(Debug, Clone)]
#[must_use]
pub struct SyncOptions {
    pub(crate) servers: Vec<ClientOptions>,
    pub(crate) every: Duration,
    pub(crate) floor: Option<Duration>,
}

impl SyncOptions {
    /// Servers by their URLs, 16 at the most.
    pub fn new<T: Into<ClientOptions>>(servers: impl IntoIterator<Item = T>) -> Self {
        let servers = servers.into_iter().map(Into::into).collect();
        Self { servers, every: Duration::from_secs(256), floor: None }
    }

    /// How often each server is asked. Default: 256 s; at least 64 s, unless [`floor`](Self::floor) says less.
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
        self
    }

    /// The shortest interval of all servers, at least 1 s. Less than 64 s is for servers of one's own.
    pub fn floor(mut self, floor: Duration) -> Self {
        self.floor = Some(floor);
        self
    }
}

impl From<&str> for SyncOptions {
    fn from(url: &str) -> Self {
        Self::new([url])
    }
}

/// The stratum of a clock that nobody vouches for.
pub(super) const STRATUM: u8 = 10;

macro_rules! from_url {
    ($($options:ident),+) => {
        $(
            impl From<&str> for $options {
                fn from(url: &str) -> Self {
                    Self::new(url)
                }
            }
            impl From<String> for $options {
                fn from(url: String) -> Self {
                    Self::new(url)
                }
            }
            impl From<&String> for $options {
                fn from(url: &String) -> Self {
                    Self::new(url)
                }
            }
        )+
    };
}

from_url!(ClientOptions, ServerOptions);

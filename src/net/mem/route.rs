//! Which addresses can be reached.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::{Happening, World};

/// What becomes of connections to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Route {
    /// They reach whoever listens there; where nobody does they are refused.
    #[default]
    Open,
    /// They are refused.
    Refuse,
    /// They get no answer.
    Blackhole,
    /// The system knows no way there and says so at once.
    Unreachable,
}

/// Two addresses that do not hear each other.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    a: IpAddr,
    b: IpAddr,
    until: Duration,
}

impl World {
    pub(crate) fn set_route(&mut self, ip: IpAddr, route: Route) {
        self.routes.insert(ip, route);
    }

    pub(super) fn route(&self, ip: IpAddr) -> Route {
        self.routes.get(&ip).copied().unwrap_or_default()
    }

    /// Cuts two addresses off from each other until then.
    pub(crate) fn cut(&mut self, a: IpAddr, b: IpAddr, until: Duration) {
        self.cuts.push(Cut { a, b, until });
    }

    /// Mends every cut between the two. What was held up on the way goes on.
    pub(crate) fn mend(&mut self, a: IpAddr, b: IpAddr) {
        self.cuts.retain(|cut| !cut.is_between(a, b));
        let now = self.now();
        for id in self.socks.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            self.plan(now, Happening::Wire(id));
            self.plan(now, Happening::Space(id, 0));
        }
    }

    /// When what goes between the two now will arrive at the earliest, if they are cut off. `Duration::MAX`: not before
    /// somebody mends it.
    pub(super) fn cut_until(&self, a: Option<IpAddr>, b: Option<IpAddr>) -> Option<Duration> {
        let (a, b) = (a?, b?);
        let now = self.now();
        let cuts = self.cuts.iter().filter(|cut| cut.until > now && cut.is_between(a, b));
        cuts.map(|cut| cut.until).max()
    }
}

impl Cut {
    fn is_between(&self, a: IpAddr, b: IpAddr) -> bool {
        (self.a, self.b) == (a, b) || (self.a, self.b) == (b, a)
    }
}

/// Linux tries a connection request again after 1 s, 2 s, 4 s... and gives up after the sixth time.
pub(super) const REQUEST_TRIES: u32 = 7;

pub(super) fn no_descriptor() -> io::Error {
    #[cfg(unix)]
    return io::Error::from_raw_os_error(libc::EMFILE);
    #[cfg(not(unix))]
    io::Error::other("too many open files")
}

//! The system's settings of names, `resolv.conf(5)`: a text to settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::name::Name;

/// Which servers to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    /// The servers, at most three.
    pub servers: Vec<SocketAddr>,
    /// Domains in which a short name is looked for.
    pub search: Vec<Name>,
    /// A name with fewer dots is looked for in the domains first.
    pub ndots: usize,
    /// The time for one try, where the text says it.
    pub timeout: Option<Duration>,
    /// How often each server is asked.
    pub attempts: u32,
    /// Each query begins with another server.
    pub rotate: bool,
    /// Ask for IPv4 addresses only.
    pub no_aaaa: bool,
    /// Ask over TCP.
    pub use_tcp: bool,
}

/// The time for all tries of a question, where no text says otherwise.
const TOTAL: Duration = Duration::from_secs(3);
/// The bounds of the C library (`resolv.h`): servers, domains, dots, seconds, tries.
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;
const NDOTS_MAX: usize = 15;
const TIMEOUT_MAX: u64 = 30;
const ATTEMPTS_MAX: u32 = 5;

impl Default for Conf {
    /// The server of this machine, as where there is no text.
    fn default() -> Self {
        Self {
            servers: vec![(Ipv4Addr::LOCALHOST, PORT).into()],
            search: Vec::new(),
            ndots: 1,
            timeout: None,
            attempts: 2,
            rotate: false,
            no_aaaa: false,
            use_tcp: false,
        }
    }
}

const PORT: u16 = 53;

impl Conf {
    /// Reads `nameserver`, `search`, `domain` and `options` (`ndots`, `timeout`, `attempts`, `rotate`, `no-aaaa`,
    /// `use-vc`). Other lines and options mean nothing here. A server on another port is written `[address]:port`. Without
    /// a server it is this machine's. `interface` tells the number of a network interface, for servers with a link-local
    /// address (`fe80::1%eth0`).
    pub fn parse(text: &str, interface: impl Fn(&str) -> Option<u32>) -> Self {
        let mut conf = Self { servers: Vec::new(), ..Self::default() };
        for line in text.lines() {
            // A comment stands in the first column, or behind the last word.
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if conf.servers.len() < SERVERS_MAX => {
                    conf.servers.extend(words.next().and_then(|word| server(word, &interface)));
                }
                // The last line of either counts.
                Some("search") => conf.search = domains(words).take(SEARCH_MAX).collect(),
                Some("domain") => conf.search = domains(words).take(1).collect(),
                Some("options") => words.for_each(|option| conf.set(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers = Self::default().servers;
        }
        conf
    }

    fn set(&mut self, option: &str) {
        let (key, value) = option.split_once(':').unwrap_or((option, ""));
        match (key, value.parse::<u64>()) {
            ("ndots", Ok(n)) => self.ndots = usize::try_from(n).unwrap_or(NDOTS_MAX).min(NDOTS_MAX),
            ("timeout", Ok(n)) => self.timeout = Some(Duration::from_secs(n.clamp(1, TIMEOUT_MAX))),
            ("attempts", Ok(n)) => self.attempts = u32::try_from(n).unwrap_or(ATTEMPTS_MAX).clamp(1, ATTEMPTS_MAX),
            ("rotate", _) => self.rotate = true,
            ("no-aaaa", _) => self.no_aaaa = true,
            ("use-vc", _) => self.use_tcp = true,
            _ => {}
        }
    }

    /// How often a question is asked in all.
    pub(super) fn tries(&self) -> u32 {
        self.attempts.max(1) * (self.servers.len().max(1) as u32)
    }

    /// The time for one try.
    pub(super) fn try_time(&self) -> Duration {
        self.timeout.unwrap_or(TOTAL / self.tries())
    }

    /// The time for all of them.
    pub(super) fn total_time(&self) -> Duration {
        self.timeout.map_or(TOTAL, |timeout| timeout * self.tries())
    }

    /// The names that a name may stand for, in the order in which they are looked for.
    pub(super) fn candidates(&self, text: &str, name: &Name) -> Vec<Name> {
        if text.ends_with('.') {
            return vec![name.clone()];
        }
        let below = self.search.iter().filter_map(|domain| name.below(domain).ok());
        let dots = name.labels().count().saturating_sub(1);
        if dots >= self.ndots {
            std::iter::once(name.clone()).chain(below).collect()
        } else {
            below.chain([name.clone()]).collect()
        }
    }
}

fn domains<'a>(words: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Name> {
    words.filter_map(|word| word.parse().ok())
}

fn server(word: &str, interface: &impl Fn(&str) -> Option<u32>) -> Option<SocketAddr> {
    if word.starts_with('[') {
        // OpenBSD's way, also for IPv4.
        let (ip, port) = word.strip_prefix('[')?.rsplit_once("]:")?;
        return Some(here(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?)));
    }
    match word.split_once('%') {
        None => Some(here(SocketAddr::new(word.parse().ok()?, PORT))),
        Some((ip, zone)) => {
            let scope = zone.parse().ok().or_else(|| interface(zone))?;
            Some(SocketAddrV6::new(ip.parse().ok()?, PORT, 0, scope).into())
        }
    }
}

/// An address that names none stands for this machine's (`resolv.conf(5)` of the BSDs), from which its answers come.
pub(crate) fn here(mut server: SocketAddr) -> SocketAddr {
    match server.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => server.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => server.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Conf {
        Conf::parse(text, |name| (name == "eth7").then_some(7))
    }

    fn servers(text: &str) -> String {
        let servers: Vec<String> = parse(text).servers.iter().map(ToString::to_string).collect();
        servers.join(" ")
    }

    #[test]
    fn servers_are_read() {
        let table = [
            ("none", "", "127.0.0.1:53"),
            ("one", "nameserver 10.0.0.1", "10.0.0.1:53"),
            ("blanks, comments, line ends", " # x\n\tnameserver\t10.0.0.1 # y\r\n;nameserver 9.9.9.9\n", "10.0.0.1:53"),
            (
                "the first three",
                "nameserver 1.1.1.1\nnameserver ::1\nnameserver 3.3.3.3\nnameserver 4.4.4.4",
                "1.1.1.1:53 [::1]:53 3.3.3.3:53",
            ),
            ("none that can be read", "nameserver dns.example\nnameserver\nnameserver 1.2.3", "127.0.0.1:53"),
            (
                "this machine",
                "nameserver 0.0.0.0\nnameserver ::\nnameserver [0.0.0.0]:54",
                "127.0.0.1:53 [::1]:53 127.0.0.1:54",
            ),
            ("an interface by name", "nameserver fe80::1%eth7", "[fe80::1%7]:53"),
            ("an interface by number", "nameserver fe80::1%2", "[fe80::1%2]:53"),
            ("an unknown interface", "nameserver fe80::1%eth9\nnameserver 1.1.1.1", "1.1.1.1:53"),
            ("a port", "nameserver [127.0.0.1]:5300\nnameserver [::1]:53", "127.0.0.1:5300 [::1]:53"),
        ];
        for (name, text, expected) in table {
            assert_eq!(servers(text), expected, "{name}");
        }
    }

    #[test]
    fn options_are_read_within_their_bounds() {
        let seconds = |n| Some(Duration::from_secs(n));
        let read = |conf: Conf| (conf.ndots, conf.timeout, conf.attempts, conf.rotate);
        let table = [
            ("none", "", (1, None, 2, false)),
            ("all", "options ndots:3 timeout:1 attempts:4 rotate", (3, seconds(1), 4, true)),
            ("in two lines", "options ndots:0\noptions rotate edns0 trust-ad", (0, None, 2, true)),
            ("too large", "options ndots:99 timeout:99 attempts:99", (15, seconds(30), 5, false)),
            ("too small", "options timeout:0 attempts:0", (1, seconds(1), 1, false)),
            ("not to be read", "options ndots:x timeout: attempts:-1 ndots", (1, None, 2, false)),
            (
                "as large as numbers go",
                "options attempts:18446744073709551615 ndots:18446744073709551616",
                (1, None, 5, false),
            ),
        ];
        for (name, text, expected) in table {
            assert_eq!(read(parse(text)), expected, "{name}");
        }
        assert!(parse("options no-aaaa").no_aaaa && parse("options use-vc").use_tcp);
    }

    #[test]
    fn three_seconds_in_total_by_default() {
        let times = |text: &str| {
            let conf = parse(text);
            (conf.try_time().as_millis(), conf.total_time().as_millis())
        };
        assert_eq!(times(""), (1500, 3000));
        assert_eq!(times("nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3"), (500, 3000));
        assert_eq!(times("options timeout:2 attempts:1"), (2000, 2000));
        assert_eq!(times("options timeout:30 attempts:5\nnameserver 1.1.1.1\nnameserver 2.2.2.2"), (30_000, 300_000));
    }

    #[test]
    fn short_names_are_looked_for_in_the_domains() {
        let table = [
            ("no domain", "", "printer", "printer"),
            ("a short one", "search lan example.org", "printer", "printer.lan printer.example.org printer"),
            ("one with a dot", "search lan", "a.b", "a.b a.b.lan"),
            ("the root's dot", "search lan", "printer.", "printer"),
            ("ndots", "search lan\noptions ndots:2", "a.b", "a.b.lan a.b"),
            ("ndots of zero", "search lan\noptions ndots:0", "a", "a a.lan"),
            ("domain", "domain lan more", "a", "a.lan a"),
            ("the last line counts", "search x\ndomain y", "a", "a.y a"),
            ("six of them", "search a b c d e f g", "x", "x.a x.b x.c x.d x.e x.f x"),
            ("one that is no name", "search a..b lan", "x", "x.lan x"),
        ];
        for (name, text, asked, expected) in table {
            let candidates = parse(text).candidates(asked, &asked.parse().unwrap());
            let candidates: Vec<String> = candidates.iter().map(ToString::to_string).collect();
            assert_eq!(candidates.join(" "), expected, "{name}");
        }
    }
}

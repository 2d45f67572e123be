//! The system's table of hosts, `/etc/hosts`: a text to a table.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names with their addresses, in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    addrs: BTreeMap<Box<str>, Vec<IpAddr>>,
}

impl Hosts {
    /// Reads a table: an address in each line, then its names; `#` begins a comment. Lines that begin with no address are
    /// left out, as is the interface of a link-local address (`%eth0`), which a table of addresses cannot hold; so is what a
    /// name has beyond 64 addresses.
    pub fn parse(text: &str) -> Self {
        let mut addrs: BTreeMap<Box<str>, Vec<IpAddr>> = BTreeMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(ip) = words.next().and_then(|ip| ip.parse::<IpAddr>().ok()) else { continue };
            for name in words {
                let known = addrs.entry(folded(name)).or_default();
                if known.len() < ADDRS_MAX && !known.contains(&ip) {
                    known.push(ip);
                }
            }
        }
        Self { addrs }
    }

    /// The addresses of a name, in any letter case, with or without a dot at its end.
    pub fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.addrs.get(&folded(name)).map(Vec::as_slice)
    }
}

/// Addresses of a name: as many as anybody tries, and few enough to look for one among them.
const ADDRS_MAX: usize = 64;

fn folded(name: &str) -> Box<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_hosts_is_read_line_by_line() {
        let hosts = Hosts::parse(
            "127.0.0.1\tlocalhost\n# a comment\n\n10.0.0.1  Printer.lan printer # on the second floor\r\n\
             fd00::1 printer\n10.0.0.2 printer\n10.0.0.1 printer\nnonsense line\n10.0.0.3\n300.0.0.1 bad\nfe80::1%eth0 scoped",
        );
        let ips = |text: &[&str]| Some(text.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>());
        for (name, expected) in [
            ("localhost", ips(&["127.0.0.1"])),
            ("printer", ips(&["10.0.0.1", "fd00::1", "10.0.0.2"])),
            ("PRINTER.LAN.", ips(&["10.0.0.1"])),
            ("line", None),
            ("bad", None),
            ("scoped", None),
            ("on", None),
            ("", None),
        ] {
            assert_eq!(hosts.get(name).map(<[IpAddr]>::to_vec), expected, "{name}");
        }
    }

    #[test]
    fn a_name_has_64_addresses_at_the_most() {
        // Each was once compared to all that came before.
        let text: String = (0..100_000u32).map(|n| format!("{} h\n", std::net::Ipv4Addr::from_bits(n))).collect();
        let hosts = Hosts::parse(&text);
        assert_eq!(hosts.get("h").map(<[IpAddr]>::len), Some(64));
        assert_eq!(hosts.get("h").and_then(<[IpAddr]>::first), Some(&IpAddr::from([0, 0, 0, 0])));
    }
}

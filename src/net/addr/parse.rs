//! The text of a URL, read strictly: what is not clear is refused, with what to write instead.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::{Host, Scheme, Url};

/// Why a text is no URL. Of what follows the scheme, it repeats nothing: that might be a password.
type Reason = String;

pub(super) fn url(text: &str) -> std::result::Result<Url, Reason> {
    if text.chars().any(|c| c == ' ' || c.is_control()) {
        return Err("it has a space or a control character; write a space as %20".into());
    }
    let Some((name, rest)) = text.split_once(':').filter(|(name, rest)| is_scheme(name, rest)) else {
        return Err("it has no scheme; write for example tcp://127.0.0.1:9000 or http://127.0.0.1:8080".into());
    };
    let Some((scheme, unix)) = Scheme::find(name) else {
        let known = Scheme::ALL.map(Scheme::as_str).join(", ");
        return Err(format!("unknown scheme `{name}`; known are {known}, and http+unix, ws+unix, mqtt+unix"));
    };
    let rest = rest.split_once('#').map_or(rest, |(rest, _fragment)| rest);
    if unix {
        return unix_url(scheme, rest);
    }
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(format!("after the scheme comes `//`; write {scheme}://host:port"));
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = match path.as_bytes().first() {
        None => "/".into(),
        Some(b'?') => format!("/{path}"),
        Some(_) => path.to_owned(),
    };
    if !path.is_ascii() {
        return Err("its path has characters outside of ASCII; write them percent-encoded".into());
    }
    let (user_info, host_port) = match authority.rsplit_once('@') {
        Some((user_info, host_port)) => (Some(user_info), host_port),
        None => (None, authority),
    };
    let (user, password) = match user_info {
        None => (None, None),
        Some(user_info) => match user_info.split_once(':') {
            Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
            None => (Some(decoded(user_info)?), None),
        },
    };
    let (host, port) = host_and_port(scheme, host_port).map_err(|reason| {
        // `mqtt://me:pa/ss@host`: the authority ended inside of the password.
        let early = user_info.is_none() && text.contains('@');
        let hint = if early { "; in a password, `/`, `?` and `#` are written %2F, %3F and %23" } else { "" };
        reason + hint
    })?;
    Ok(Url { scheme, host, port, user: user.map(Into::into), password: password.map(Into::into), path: path.into() })
}

/// Whether this is a scheme (RFC 3986 §3.1) and not the host of `localhost:8080`.
fn is_scheme(name: &str, rest: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
        && (rest.starts_with("//") || Scheme::find(name).is_some())
}

fn unix_url(scheme: Scheme, rest: &str) -> std::result::Result<Url, Reason> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err("a Unix socket has no host; write three slashes, or one: unix:///run/x.sock".into()),
        None => rest,
    };
    if path.contains('?') {
        return Err("the path of a Unix socket has no query; in a file name, `?` is written %3F".into());
    }
    let path = decoded(path)?;
    if path.is_empty() || path.ends_with('/') {
        return Err("it names no socket; write for example unix:///run/x.sock".into());
    }
    Ok(Url { scheme, host: Host::Unix(path.into()), port: 0, user: None, password: None, path: "/".into() })
}

fn host_and_port(scheme: Scheme, text: &str) -> std::result::Result<(Host, u16), Reason> {
    const BRACKETS: &str = "an IPv6 address stands in brackets: [::1]:8080";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(BRACKETS)?;
            let port = match after.strip_prefix(':') {
                None if after.is_empty() => None,
                None => return Err("after `]` comes `:` and the port, or nothing".into()),
                Some(port) => Some(port),
            };
            (ipv6(host)?, port)
        }
        None => {
            let (host, port) = match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            };
            if port.is_some_and(|port| port.contains(':')) {
                return Err(if text.parse::<Ipv6Addr>().is_ok() { BRACKETS } else { BAD_PORT }.into());
            }
            let host = match (host.is_empty(), port) {
                (true, None) => return Err(format!("it has no host; write {scheme}://host:port")),
                (true, Some(_)) => Host::Any,
                (false, _) => address_or_name(host)?,
            };
            (host, port)
        }
    };
    let port = match port {
        Some(port) => port_number(port).ok_or(BAD_PORT)?,
        None => {
            scheme.default_port().ok_or_else(|| format!("{scheme} has no default port; write {scheme}://host:port"))?
        }
    };
    Ok((host, port))
}

const BAD_PORT: &str = "the port after `:` must be a number from 0 to 65535";

fn port_number(text: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// An address or a name without brackets.
fn address_or_name(text: &str) -> std::result::Result<Host, Reason> {
    if let Ok(ip) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Ip { ip: ip.into(), scope: 0 });
    }
    if !text.is_ascii() {
        return Err("its host has characters outside of ASCII; write the name in its xn-- form".into());
    }
    // RFC 1123 §2.1, and the underscores that names on local networks have.
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("its host is neither a name nor an address".into());
    }
    // The system would take `0`, `127.1` and `0x7f000001` for addresses: no top-level domain is a number.
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|b| b.is_ascii_digit()) || last.get(..2).is_some_and(|hex| hex.eq_ignore_ascii_case("0x")) {
        return Err("an IPv4 address is four numbers from 0 to 255, without leading zeros: 127.0.0.1".into());
    }
    Ok(Host::Name(text.to_ascii_lowercase().into()))
}

/// An address that stood in brackets, with the interface it belongs to.
fn ipv6(text: &str) -> std::result::Result<Host, Reason> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let ip: Ipv6Addr = address.parse().map_err(|_| "what stands in brackets is not an IPv6 address")?;
    let scope = match zone {
        None => 0,
        Some(zone) if !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_digit()) => {
            zone.parse().map_err(|_| "the number of a network interface has at most 32 bits")?
        }
        // RFC 6874 §2 wrote the percent sign as %25; RFC 9844 took that back.
        Some(zone) => interface(ip, zone.strip_prefix("25").unwrap_or(zone))?,
    };
    Ok(Host::Ip { ip: ip.into(), scope })
}

/// The number of a network interface. The system's resolver knows it, and asks no server about a literal address.
fn interface(ip: Ipv6Addr, name: &str) -> std::result::Result<u32, Reason> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err("after `%` comes the name or number of a network interface: [fe80::1%eth0]".into());
    }
    let is_multicast_link_local = ip.segments()[0] & 0xff0f == 0xff02;
    if !ip.is_unicast_link_local() && !is_multicast_link_local {
        return Err("only a link-local address (fe80::) belongs to a network interface".into());
    }
    interface_number(name).ok_or_else(|| "this system has no such network interface".into())
}

/// What the system calls the network interface of this name.
pub(crate) fn interface_number(name: &str) -> Option<u32> {
    let scope = match (format!("fe80::1%{name}"), 0).to_socket_addrs().ok()?.next()? {
        SocketAddr::V6(addr) => addr.scope_id(),
        SocketAddr::V4(_) => return None,
    };
    (scope != 0).then_some(scope)
}

/// Percent-decodes (RFC 3986 §2.1).
fn decoded(text: &str) -> std::result::Result<String, Reason> {
    const ESCAPE: &str = "a percent sign is written %25, and stands otherwise before two hexadecimal digits";
    let hex = |b: Option<u8>| char::from(b?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        match b {
            b'%' => {
                let high = hex(rest.next()).ok_or(ESCAPE)?;
                let low = hex(rest.next()).ok_or(ESCAPE)?;
                bytes.push((high * 16 + low) as u8);
            }
            _ => bytes.push(b),
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text),
        Ok(_) => Err("it has an encoded control character".into()),
        Err(_) => Err("its escapes are not UTF-8".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddrV6};

    use super::super::Target;
    use super::*;
    use crate::options::redacted;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn d2_d3_a_good_url_gives_its_parts() {
        let table = [
            // (name, URL, shown, port, user, password, path)
            ("D2 http", "http://h", "http://h:80/", 80, None, None, "/"),
            ("D2 https", "https://h", "https://h:443/", 443, None, None, "/"),
            ("D2 ws", "ws://h", "ws://h:80/", 80, None, None, "/"),
            ("D2 wss", "wss://h", "wss://h:443/", 443, None, None, "/"),
            ("D2 mqtt", "mqtt://h", "mqtt://h:1883/", 1883, None, None, "/"),
            ("D2 mqtts", "mqtts://h", "mqtts://h:8883/", 8883, None, None, "/"),
            ("D2 mqtt+ws", "mqtt+ws://h", "mqtt+ws://h:80/", 80, None, None, "/"),
            ("D2 mqtt+wss", "mqtt+wss://h", "mqtt+wss://h:443/", 443, None, None, "/"),
            ("D2 sntp", "sntp://h", "sntp://h:123", 123, None, None, "/"),
            ("D2 port", "tcp://h:65535", "tcp://h:65535", 65535, None, None, "/"),
            ("D2 port 0", "tcp://h:0", "tcp://h:0", 0, None, None, "/"),
            ("D2 port and path", "tcp://1.2.3.4:1234/xx", "tcp://1.2.3.4:1234/xx", 1234, None, None, "/xx"),
            ("D2 path", "http://h/a/b?c=d", "http://h:80/a/b?c=d", 80, None, None, "/a/b?c=d"),
            ("D2 path escapes stay", "http://h/%2e%2E", "http://h:80/%2e%2E", 80, None, None, "/%2e%2E"),
            ("D2 slash only", "http://h:81/", "http://h:81/", 81, None, None, "/"),
            ("D2 IPv6", "http://[::1]", "http://[::1]:80/", 80, None, None, "/"),
            ("D2 IPv6 port", "http://[2001:DB8::0:1]:81/x", "http://[2001:db8::1]:81/x", 81, None, None, "/x"),
            ("D2 user", "mqtt://u@h", "mqtt://u@h:1883/", 1883, Some("u"), None, "/"),
            ("D2 password", "mqtt://u:p@h:1", "mqtt://u:***@h:1/", 1, Some("u"), Some("p"), "/"),
            ("D2 empty password", "mqtt://u:@h:1", "mqtt://u:***@h:1/", 1, Some("u"), Some(""), "/"),
            ("D2 password only", "mqtt://:p@h:1", "mqtt://:***@h:1/", 1, Some(""), Some("p"), "/"),
            ("D2 last at-sign", "mqtt://u@x:p@w:d@h:1", "mqtt://u@x:***@h:1/", 1, Some("u@x"), Some("p@w:d"), "/"),
            ("D2 escapes", "mqtt://a%3Ab:%2f%25@h", "mqtt://a:b:***@h:1883/", 1883, Some("a:b"), Some("/%"), "/"),
            ("D2 UTF-8 user", "mqtt://\u{e9}@h", "mqtt://\u{e9}@h:1883/", 1883, Some("\u{e9}"), None, "/"),
            ("D2 user and IPv6", "mqtt://u:p@[::1]:9", "mqtt://u:***@[::1]:9/", 9, Some("u"), Some("p"), "/"),
            ("D2 path with colon", "http://h/a:b", "http://h:80/a:b", 80, None, None, "/a:b"),
            ("D2 path with at-sign", "http://h/a@b", "http://h:80/a@b", 80, None, None, "/a@b"),
            (
                "D2 path with URL",
                "http://h:1/http://u:p@x/",
                "http://h:1/http://u:p@x/",
                1,
                None,
                None,
                "/http://u:p@x/",
            ),
            ("D2 query with at-sign", "http://h?a@b:c", "http://h:80/?a@b:c", 80, None, None, "/?a@b:c"),
            ("D2 any interface", "http://:8080", "http://:8080/", 8080, None, None, "/"),
            ("D3 upper-case scheme", "HTTP://h", "http://h:80/", 80, None, None, "/"),
            ("D3 mixed case", "Mqtt+Ws://HOST.Lan", "mqtt+ws://host.lan:80/", 80, None, None, "/"),
            ("D3 query at host", "http://h?x=1", "http://h:80/?x=1", 80, None, None, "/?x=1"),
            ("D3 query at port", "http://h:81?x=/", "http://h:81/?x=/", 81, None, None, "/?x=/"),
            ("D3 fragment at host", "http://h#x", "http://h:80/", 80, None, None, "/"),
            ("D3 fragment at path", "http://h/a?b#c?d/e", "http://h:80/a?b", 80, None, None, "/a?b"),
            ("D3 leading zeros", "tcp://h:00080", "tcp://h:80", 80, None, None, "/"),
        ];
        for (name, text, shown, port, user, password, path) in table {
            let url = url(text);
            assert_eq!(url.to_string(), shown, "{name}");
            assert_eq!((url.port(), url.path()), (port, path), "{name}");
            assert_eq!((url.user(), url.password()), (user, password), "{name}");
            assert_eq!(format!("{url:?}"), format!("Url({shown})"), "{name}");
            assert_eq!(text.parse::<Url>().ok(), Some(url), "{name}");
        }
    }

    #[test]
    fn d3_a_bad_url_is_refused_by_name_and_with_a_way_out() {
        let table = [
            ("empty", "", "no scheme"),
            ("no scheme", "localhost:8080", "no scheme"),
            ("address only", "127.0.0.1:8080", "no scheme"),
            ("scheme only", "http", "no scheme"),
            ("empty scheme", "://h", "no scheme"),
            ("unknown scheme", "htp://x", "unknown scheme `htp`; known are tcp, udp, unix, http"),
            ("theirs: invalid", "invalid://address", "unknown scheme `invalid`"),
            ("theirs: invalid:31:14", "invalid:31:14", "no scheme"),
            ("TLS over unix", "https+unix:///x", "unknown scheme `https+unix`"),
            ("missing slashes", "http:/x", "write http://host:port"),
            ("no host", "http://", "no host"),
            ("no host, path", "http:///x", "no host"),
            ("no host, query", "http://?x", "no host"),
            ("no host, user", "http://u@", "no host"),
            ("D3 port too large", "http://h:99999", "0 to 65535"),
            ("D3 port 65536", "http://h:65536", "0 to 65535"),
            ("D3 port abc", "http://h:abc", "0 to 65535"),
            ("D3 port empty", "http://h:", "0 to 65535"),
            ("D3 port empty, path", "http://h:/x", "0 to 65535"),
            ("D3 port signed", "http://h:+80", "0 to 65535"),
            ("D3 port negative", "http://h:-1", "0 to 65535"),
            ("D3 two ports", "http://h:80:81", "0 to 65535"),
            ("D3 IPv6 port", "http://[::1]:x", "0 to 65535"),
            ("tcp has no default port", "tcp://h", "write tcp://host:port"),
            ("udp has no default port", "udp://127.0.0.1/", "write udp://host:port"),
            ("space", "http://h/a b", "%20"),
            ("space before", " http://h", "%20"),
            ("line feed", "http://h/\n", "control character"),
            ("NUL in host", "http://h\0", "control character"),
            ("delete", "http://h\u{7f}", "control character"),
            ("path not ASCII", "http://h/\u{e9}", "percent-encoded"),
            ("host not ASCII", "http://\u{e9}.lan", "xn--"),
            ("host with percent", "http://a%20b", "neither a name nor an address"),
            ("host with empty label", "http://a..b", "neither a name nor an address"),
            ("host of a dot", "http://.", "neither a name nor an address"),
            ("host with backslash", "http://a\\b", "neither a name nor an address"),
            ("IPv6 without brackets", "http://::1", "brackets"),
            ("IPv6 without closing bracket", "http://[::1", "brackets"),
            ("text after bracket", "http://[::1]x", "after `]`"),
            ("name in brackets", "http://[localhost]", "not an IPv6 address"),
            ("IPv4 in brackets", "http://[127.0.0.1]", "not an IPv6 address"),
            ("user escape", "http://a%zz@h", "%25"),
            ("user escape cut", "http://a%4@h", "%25"),
            ("user escape of control", "http://a%0d%0ab@h", "encoded control character"),
            ("user escape not UTF-8", "http://%ff@h", "UTF-8"),
            ("slash in password", "mqtt://u:se/cret@h", "%2F"),
            ("hash in password", "mqtt://u:se#cret@h", "%23"),
            ("unix host", "unix://run/x.sock", "three slashes"),
            ("unix without path", "unix:", "names no socket"),
            ("unix directory", "unix:///run/", "names no socket"),
            ("unix query", "unix:///run/x?y", "%3F"),
            ("unix NUL", "unix:///run/%00", "encoded control character"),
        ];
        for (name, text, expected) in table {
            let error = match Url::parse(text) {
                Ok(url) => panic!("{name}: taken as {url}"),
                Err(error) => error,
            };
            let shown = error.to_string();
            assert!(error.is_bad_url(), "{name}");
            assert!(shown.starts_with(&format!("bad URL `{}`: ", redacted(text))), "{name}: {shown}");
            assert!(shown.contains(expected), "{name}: {shown}");
            assert!(!shown.contains("cret") && !shown.contains("`se"), "{name}: {shown}");
        }
    }

    #[test]
    fn d15_addresses_are_read_strictly() {
        let v4 = |text: &str| Some(Host::Ip { ip: IpAddr::V4(text.parse().unwrap()), scope: 0 });
        let v6 = |text: &str, scope| Some(Host::Ip { ip: IpAddr::V6(text.parse().unwrap()), scope });
        let name = |text: &str| Some(Host::Name(text.into()));
        let table = [
            ("D15 four numbers", "1.2.3.4", v4("1.2.3.4")),
            ("D15 largest", "255.255.255.255", v4("255.255.255.255")),
            ("D15 number only", "0", None),
            ("D15 dot at the end", "0.0.0.", None),
            ("D15 dot after four", "1.2.3.4.", None),
            ("D15 three numbers", "1.2.3", None),
            ("D15 five numbers", "1.2.3.4.5", None),
            ("D15 two numbers", "127.1", None),
            ("D15 too large", "1.2.3.256", None),
            ("D15 octal", "010.0.0.1", None),
            ("D15 hexadecimal", "0x7f000001", None),
            ("D15 hexadecimal part", "127.0.0.0x1", None),
            ("D15 negative", "1.2.3.-4", None),
            ("D15 name", "a-b_c.Example.org.", name("a-b_c.example.org.")),
            ("D15 name that begins with digits", "3com.example", name("3com.example")),
            ("D15 IPv6 any", "[::]", v6("::", 0)),
            ("D15 IPv6 full", "[1:2:3:4:5:6:7:8]", v6("1:2:3:4:5:6:7:8", 0)),
            ("D15 IPv6 scope", "[fe80::1%2]", v6("fe80::1", 2)),
            ("D15 IPv6 scope 255", "[fe80::1%255]", v6("fe80::1", 255)),
            ("D15 IPv6 scope 0", "[fe80::1%0]", v6("fe80::1", 0)),
            ("D15 IPv6 scope of 32 bits", "[fe80::1%4294967295]", v6("fe80::1", u32::MAX)),
            ("D15 IPv6 scope of 33 bits", "[fe80::1%4294967296]", None),
            ("D15 IPv6 scope empty", "[fe80::1%]", None),
            ("D15 IPv6 scope signed", "[fe80::1%+2]", None),
            ("D15 IPv6 unknown interface", "[fe80::1%nosuchif0]", None),
            ("D15 IPv6 interface of a global address", "[2001:db8::1%lo]", None),
            ("D15 v4-mapped", "[::ffff:1.2.3.4]", v6("::ffff:102:304", 0)),
            ("D15 IPv6 three colons", "[1:::2]", None),
            ("D15 IPv6 two gaps", "[1::2::3]", None),
            ("D15 IPv6 seven groups", "[1:2:3:4:5:6:7]", None),
            ("D15 IPv6 nine groups", "[1:2:3:4:5:6:7:8:9]", None),
            ("D15 IPv6 five digits", "[12345::]", None),
            ("D15 IPv6 empty", "[]", None),
        ];
        for (row, host, expected) in table {
            let url = Url::parse(&format!("http://{host}:80"));
            assert_eq!(url.as_ref().ok().map(Url::host), expected.as_ref(), "{row}: {url:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn d15_an_interface_has_a_number_and_a_name() {
        let lo = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
        let lo: u32 = lo.trim().parse().unwrap();
        for text in ["http://[fe80::1%lo]:80", "http://[fe80::1%25lo]:80"] {
            let ip = "fe80::1".parse().unwrap();
            assert_eq!(url(text).host(), &Host::Ip { ip, scope: lo }, "{text}");
            let addr = SocketAddrV6::new(ip_v6("fe80::1"), 80, 0, lo);
            assert_eq!(url(text).connect_target().ok(), Some(Target::Inet(addr.into())), "{text}");
            assert_eq!(url(text).to_string(), format!("http://[fe80::1%{lo}]:80/"));
        }
    }

    #[cfg(target_os = "linux")]
    fn ip_v6(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_url_that_reads_back_or_an_error(
            text in "(http|tcp|unix|mqtt\\+ws)?:?/?/?[a-z0-9:@/?#%.\\[\\] \u{0}\u{e9}-]{0,24}",
        ) {
            if let Ok(first) = Url::parse(&text) {
                // The password and decoded characters are not shown as they were written.
                if first.user().is_none() && first.unix_path().is_none() {
                    proptest::prop_assert_eq!(Url::parse(&first.to_string()).unwrap(), first);
                }
            }
        }
    }
}

//! Addresses: URLs as users write them, and the two ends of a socket as the system tells them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Kind, Result};
use crate::options::redacted;

/// What a connection speaks, as the scheme of its URL says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `tcp`: bytes, as they come.
    Tcp,
    /// `udp`: datagrams.
    Udp,
    /// `unix`: bytes, over a Unix socket.
    Unix,
    /// `http`, and `http+unix` over a Unix socket.
    Http,
    /// `https`: HTTP over TLS.
    Https,
    /// `ws`: WebSocket, and `ws+unix` over a Unix socket.
    Ws,
    /// `wss`: WebSocket over TLS.
    Wss,
    /// `mqtt`, and `mqtt+unix` over a Unix socket.
    Mqtt,
    /// `mqtts`: MQTT over TLS.
    Mqtts,
    /// `mqtt+ws`: MQTT over WebSocket.
    MqttWs,
    /// `mqtt+wss`: MQTT over WebSocket over TLS.
    MqttWss,
    /// `sntp`: the time, over UDP.
    Sntp,
}

impl Scheme {
    const ALL: [Self; 12] = [
        Self::Tcp,
        Self::Udp,
        Self::Unix,
        Self::Http,
        Self::Https,
        Self::Ws,
        Self::Wss,
        Self::Mqtt,
        Self::Mqtts,
        Self::MqttWs,
        Self::MqttWss,
        Self::Sntp,
    ];

    /// The scheme as it is written, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Unix => "unix",
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::MqttWs => "mqtt+ws",
            Self::MqttWss => "mqtt+wss",
            Self::Sntp => "sntp",
        }
    }

    /// The port where the URL names none; `tcp` and `udp` have none, and `unix` knows no ports.
    pub const fn default_port(self) -> Option<u16> {
        match self {
            Self::Tcp | Self::Udp | Self::Unix => None,
            Self::Http | Self::Ws | Self::MqttWs => Some(80),
            Self::Https | Self::Wss | Self::MqttWss => Some(443),
            Self::Mqtt => Some(1883),
            Self::Mqtts => Some(8883),
            Self::Sntp => Some(123),
        }
    }

    /// Whether the bytes are encrypted.
    pub const fn is_tls(self) -> bool {
        match self {
            Self::Https | Self::Wss | Self::Mqtts | Self::MqttWss => true,
            Self::Tcp | Self::Udp | Self::Unix | Self::Http | Self::Ws | Self::Mqtt | Self::MqttWs | Self::Sntp => {
                false
            }
        }
    }

    /// Whether a connection begins with HTTP: WebSocket does as well.
    pub const fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Https | Self::Ws | Self::Wss | Self::MqttWs | Self::MqttWss => true,
            Self::Tcp | Self::Udp | Self::Unix | Self::Mqtt | Self::Mqtts | Self::Sntp => false,
        }
    }

    /// The scheme of this name, in any letter case (RFC 3986 §3.1), and whether it is over a Unix socket.
    fn find(name: &str) -> Option<(Self, bool)> {
        let named = |name: &str| Self::ALL.into_iter().find(|scheme| name.eq_ignore_ascii_case(scheme.as_str()));
        if let Some(scheme) = named(name) {
            return Some((scheme, scheme == Self::Unix));
        }
        let (name, over) = name.rsplit_once('+')?;
        match named(name)? {
            scheme @ (Self::Http | Self::Ws | Self::Mqtt) if over.eq_ignore_ascii_case("unix") => Some((scheme, true)),
            _ => None,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A TCP connection.
    Tcp,
    /// A UDP socket.
    Udp,
    /// A Unix stream socket.
    Unix,
}

/// The host of a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// None was written (`http://:8080`): every IPv4 interface, for listening only.
    Any,
    /// An address.
    Ip {
        /// The address.
        ip: IpAddr,
        /// The network interface that a link-local IPv6 address belongs to, 0 for none.
        scope: u32,
    },
    /// A name to look up, in lower case.
    Name(Box<str>),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// A URL that says where to listen or to connect, and what to speak there.
///
/// `scheme://[user[:password]@]host[:port][/path][?query]`, or `unix:/path` and `http+unix:/path` (also with `//` before
/// the path). Schemes and hosts take any letter case. The user ends at the last `@` before the path. User, password and
/// the path of a Unix socket are percent-decoded; the path of any other URL stays as it is written. A fragment (`#...`)
/// is dropped: it is never sent (RFC 9110 §4.2.5). An IPv6 address stands in brackets and may name its interface, as a
/// number or a name: `[fe80::1%eth0]`.
///
/// Shown (`Display`, `Debug`), the password is `***`.
///
/// ```
/// use vansire::net::{Scheme, Url};
///
/// let url = Url::parse("mqtt://me:pass@Broker.lan")?;
/// assert_eq!((url.scheme(), url.port(), url.user()), (Scheme::Mqtt, 1883, Some("me")));
/// assert_eq!(url.to_string(), "mqtt://me:***@broker.lan:1883/");
/// assert!(Url::parse("htp://x").unwrap_err().to_string().contains("unknown scheme `htp`"));
/// # Ok::<(), vansire::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Url {
    scheme: Scheme,
    host: Host,
    port: u16,
    user: Option<Box<str>>,
    password: Option<Box<str>>,
    path: Box<str>,
}

impl Url {
    /// Reads a URL. Fails with an error that names the URL, its password left out, and what to write instead.
    pub fn parse(text: &str) -> Result<Self> {
        parse(text).map_err(|reason| bad_url(redacted(text), reason))
    }

    /// What to speak.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        match (&self.host, self.scheme) {
            (Host::Unix(_), _) => Transport::Unix,
            (_, Scheme::Udp | Scheme::Sntp) => Transport::Udp,
            _ => Transport::Tcp,
        }
    }

    /// The host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, written or the scheme's; 0 for a Unix socket, and for "any free port" when listening.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The user, decoded.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, decoded.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The path with its query, as written; `/` where there is none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path of the Unix socket, decoded.
    pub fn unix_path(&self) -> Option<&Path> {
        match &self.host {
            Host::Unix(path) => Some(path),
            Host::Any | Host::Ip { .. } | Host::Name(_) => None,
        }
    }

    /// The address to listen on: never a name, for a name may come to mean another machine.
    pub(crate) fn listen_target(&self) -> Result<Target<'_>> {
        match self.target() {
            Some(Target::Name { host: "localhost", port }) => Ok(Target::Inet((Ipv4Addr::LOCALHOST, port).into())),
            Some(Target::Name { .. }) => Err(bad_url(
                self,
                "listening needs an address: 127.0.0.1, 0.0.0.0 (every interface), [::] or localhost",
            )),
            Some(target @ (Target::Inet(_) | Target::Unix(_))) => Ok(target),
            None => Ok(Target::Inet((Ipv4Addr::UNSPECIFIED, self.port).into())),
        }
    }

    /// What to connect to.
    pub(crate) fn connect_target(&self) -> Result<Target<'_>> {
        let target = self.target().ok_or_else(|| bad_url(self, "it names no host to connect to"))?;
        match target {
            Target::Inet(_) | Target::Name { .. } if self.port == 0 => {
                Err(bad_url(self, "port 0 is for listening only; write the port to connect to"))
            }
            Target::Inet(_) | Target::Name { .. } | Target::Unix(_) => Ok(target),
        }
    }

    fn target(&self) -> Option<Target<'_>> {
        let port = self.port;
        match &self.host {
            Host::Any => None,
            Host::Ip { ip: IpAddr::V4(ip), .. } => Some(Target::Inet((*ip, port).into())),
            Host::Ip { ip: IpAddr::V6(ip), scope } => {
                Some(Target::Inet(SocketAddrV6::new(*ip, port, 0, *scope).into()))
            }
            Host::Name(host) => Some(Target::Name { host, port }),
            Host::Unix(path) => Some(Target::Unix(path)),
        }
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme.as_str())?;
        if let Host::Unix(path) = &self.host {
            let over = if self.scheme == Scheme::Unix { "" } else { "+unix" };
            return write!(f, "{over}:{}", path.display());
        }
        f.write_str("://")?;
        if self.user.is_some() || self.password.is_some() {
            let hidden = if self.password.is_some() { ":***" } else { "" };
            write!(f, "{}{hidden}@", self.user.as_deref().unwrap_or_default())?;
        }
        match &self.host {
            Host::Any | Host::Unix(_) => {}
            Host::Ip { ip: IpAddr::V4(ip), .. } => write!(f, "{ip}")?,
            Host::Ip { ip: IpAddr::V6(ip), scope: 0 } => write!(f, "[{ip}]")?,
            Host::Ip { ip: IpAddr::V6(ip), scope } => write!(f, "[{ip}%{scope}]")?,
            Host::Name(name) => f.write_str(name)?,
        }
        write!(f, ":{}", self.port)?;
        match (self.scheme, &*self.path) {
            (Scheme::Tcp | Scheme::Udp | Scheme::Sntp, "/") => Ok(()),
            (_, path) => f.write_str(path),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({self})")
    }
}

/// What a URL comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Inet(SocketAddr),
    Name { host: &'a str, port: u16 },
    Unix(&'a Path),
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// The path of a Unix socket; clients usually have none.
    Unix(Option<PathBuf>),
}

impl Address {
    /// The IP address; one of IPv4 stays so, also where it came through an IPv6 socket (`::ffff:192.0.2.1`).
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(addr) => Some(addr.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }

    /// The port.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(addr) => Some(addr.port()),
            Self::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Inet(addr)
    }
}

#[cfg(unix)]
impl From<std::os::unix::net::SocketAddr> for Address {
    fn from(addr: std::os::unix::net::SocketAddr) -> Self {
        Self::Unix(addr.as_pathname().map(Path::to_path_buf))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => match addr.ip().to_canonical() {
                IpAddr::V4(ip) => write!(f, "{ip}:{}", addr.port()),
                IpAddr::V6(_) => write!(f, "{addr}"),
            },
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
        }
    }
}

/// Why a text is no URL. Of what follows the scheme, it repeats nothing: that might be a password.
type Reason = String;

fn bad_url(url: impl fmt::Display, reason: impl fmt::Display) -> Error {
    Error::new(Kind::BadUrl, format!("bad URL `{url}`: {reason}"))
}

fn parse(text: &str) -> std::result::Result<Url, Reason> {
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
        return parse_unix(scheme, rest);
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
    let (host, port) = parse_host_port(scheme, host_port).map_err(|reason| {
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

fn parse_unix(scheme: Scheme, rest: &str) -> std::result::Result<Url, Reason> {
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

fn parse_host_port(scheme: Scheme, text: &str) -> std::result::Result<(Host, u16), Reason> {
    const BRACKETS: &str = "an IPv6 address stands in brackets: [::1]:8080";
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(BRACKETS)?;
            let port = match after.strip_prefix(':') {
                None if after.is_empty() => None,
                None => return Err("after `]` comes `:` and the port, or nothing".into()),
                Some(port) => Some(port),
            };
            (parse_ipv6(host)?, port)
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
                (false, _) => parse_host(host)?,
            };
            (host, port)
        }
    };
    let port = match port {
        Some(port) => parse_port(port).ok_or(BAD_PORT)?,
        None => {
            scheme.default_port().ok_or_else(|| format!("{scheme} has no default port; write {scheme}://host:port"))?
        }
    };
    Ok((host, port))
}

const BAD_PORT: &str = "the port after `:` must be a number from 0 to 65535";

fn parse_port(text: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// An address or a name without brackets.
fn parse_host(text: &str) -> std::result::Result<Host, Reason> {
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
fn parse_ipv6(text: &str) -> std::result::Result<Host, Reason> {
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
    let scope = (format!("{ip}%{name}"), 0).to_socket_addrs().ok().and_then(|mut found| match found.next() {
        Some(SocketAddr::V6(addr)) => Some(addr.scope_id()),
        Some(SocketAddr::V4(_)) | None => None,
    });
    scope.filter(|scope| *scope != 0).ok_or_else(|| "this system has no such network interface".into())
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
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn d1_the_scheme_says_what_to_speak() {
        use Scheme::*;
        use Transport as T;
        let table = [
            // (name, URL, scheme, transport, begins with HTTP, TLS)
            ("D1 http", "http://h", Http, T::Tcp, true, false),
            ("D1 https", "https://h", Https, T::Tcp, true, true),
            ("D1 ws", "ws://h", Ws, T::Tcp, true, false),
            ("D1 wss", "wss://h", Wss, T::Tcp, true, true),
            ("D1 tcp", "tcp://h:1", Tcp, T::Tcp, false, false),
            ("D1 udp", "udp://h:1", Udp, T::Udp, false, false),
            ("D1 mqtt", "mqtt://h", Mqtt, T::Tcp, false, false),
            ("D1 mqtts", "mqtts://h", Mqtts, T::Tcp, false, true),
            ("D1 mqtt+ws", "mqtt+ws://h", MqttWs, T::Tcp, true, false),
            ("D1 mqtt+wss", "mqtt+wss://h", MqttWss, T::Tcp, true, true),
            ("D1 sntp", "sntp://h", Sntp, T::Udp, false, false),
            ("D1 unix", "unix:///s", Unix, T::Unix, false, false),
            ("D1 http over unix", "http+unix:///s", Http, T::Unix, true, false),
            ("D1 ws over unix", "ws+unix:/s", Ws, T::Unix, true, false),
            ("D1 mqtt over unix", "mqtt+unix:/s", Mqtt, T::Unix, false, false),
        ];
        for (name, text, scheme, transport, is_http, is_tls) in table {
            let url = url(text);
            assert_eq!((url.scheme(), url.transport()), (scheme, transport), "{name}");
            assert_eq!((url.scheme().is_http(), url.scheme().is_tls()), (is_http, is_tls), "{name}");
        }
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
    fn d2_unix_urls_give_a_path() {
        let table = [
            ("three slashes", "unix:///run/x.sock", "/run/x.sock", "unix:/run/x.sock"),
            ("one slash", "unix:/run/x.sock", "/run/x.sock", "unix:/run/x.sock"),
            ("relative", "unix:x.sock", "x.sock", "unix:x.sock"),
            ("upper case", "UNIX:/Run/X", "/Run/X", "unix:/Run/X"),
            ("escapes", "unix:/run/a%20b%3f%25", "/run/a b?%", "unix:/run/a b?%"),
            ("UTF-8", "unix:/run/\u{e9}", "/run/\u{e9}", "unix:/run/\u{e9}"),
            ("at-sign and colon", "unix:/run/a@b:c", "/run/a@b:c", "unix:/run/a@b:c"),
            ("http", "http+unix:///run/x.sock", "/run/x.sock", "http+unix:/run/x.sock"),
            ("http, other case", "Http+Unix:/run/x", "/run/x", "http+unix:/run/x"),
        ];
        for (name, text, path, shown) in table {
            let url = url(text);
            assert_eq!(url.unix_path(), Some(Path::new(path)), "{name}");
            assert_eq!((url.to_string().as_str(), url.port(), url.path()), (shown, 0, "/"), "{name}");
            let target = Target::Unix(Path::new(path));
            assert_eq!(url.listen_target().ok(), Some(target), "{name}");
            assert_eq!(url.connect_target().ok(), Some(target), "{name}");
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

    #[test]
    fn d4_listening_takes_addresses_and_connecting_takes_names() {
        let inet = |text: &str| Ok(Target::Inet(text.parse().unwrap()));
        let table = [
            ("address", "tcp://10.0.0.1:5", inet("10.0.0.1:5"), inet("10.0.0.1:5")),
            ("IPv6", "tcp://[::1]:5", inet("[::1]:5"), inet("[::1]:5")),
            ("any interface", "tcp://:5", inet("0.0.0.0:5"), Err("no host to connect to")),
            ("any free port", "tcp://127.0.0.1:0", inet("127.0.0.1:0"), Err("port 0")),
            ("localhost", "tcp://LocalHost:5", inet("127.0.0.1:5"), Ok(Target::Name { host: "localhost", port: 5 })),
            (
                "D4 name",
                "http://example.org",
                Err("needs an address"),
                Ok(Target::Name { host: "example.org", port: 80 }),
            ),
        ];
        for (name, text, listen, connect) in table {
            let url = url(text);
            for (got, expected) in [(url.listen_target(), listen), (url.connect_target(), connect)] {
                match (got, expected) {
                    (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{name}"),
                    (Err(error), Err(expected)) => {
                        let shown = error.to_string();
                        assert!(error.is_bad_url() && shown.contains(expected), "{name}: {shown}");
                        assert!(shown.contains(&url.to_string()), "{name}: {shown}");
                    }
                    (got, expected) => panic!("{name}: {got:?} instead of {expected:?}"),
                }
            }
        }
    }

    #[test]
    fn an_address_shows_ipv4_as_ipv4() {
        let table = [
            ("IPv4", Address::Inet("1.2.3.4:5".parse().unwrap()), "1.2.3.4:5", Some("1.2.3.4")),
            ("mapped", Address::Inet("[::ffff:1.2.3.4]:5".parse().unwrap()), "1.2.3.4:5", Some("1.2.3.4")),
            ("IPv6", Address::Inet("[2001:db8::1]:5".parse().unwrap()), "[2001:db8::1]:5", Some("2001:db8::1")),
            ("path", Address::Unix(Some("/run/x".into())), "unix:/run/x", None),
            ("no path", Address::Unix(None), "unix:", None),
        ];
        for (name, address, shown, ip) in table {
            assert_eq!(address.to_string(), shown, "{name}");
            assert_eq!(address.ip(), ip.map(|ip| ip.parse().unwrap()), "{name}");
            assert_eq!(address.port(), ip.map(|_| 5), "{name}");
        }
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

//! Addresses: URLs as users write them, and the two ends of a socket as the system tells them.

mod parse;

#[cfg(feature = "dns")]
pub(crate) use parse::interface_number;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
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
#[non_exhaustive]
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
        parse::url(text).map_err(|reason| bad_url(redacted(text), reason))
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

    /// The same place with another path, which is checked as in a URL.
    #[cfg(feature = "http")]
    pub(crate) fn with_path(&self, path: &str) -> Result<Self> {
        let path = path.split_once('#').map_or(path, |(path, _)| path);
        if path.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self { path: path.into(), ..self.clone() });
        }
        Err(bad_url(redacted(path), "its path has a space or a character outside of ASCII; write them percent-encoded"))
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

fn bad_url(url: impl fmt::Display, reason: impl fmt::Display) -> Error {
    Error::new(Kind::BadUrl, format!("bad URL `{url}`: {reason}"))
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
}

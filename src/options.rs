//! What the caller chooses: options of one `listen` or `connect`, and the bounds that hold for all.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// What to listen on, and how. A URL alone is enough: every `listen` takes `"http://127.0.0.1:8080"` as well.
///
/// The URL is read by `listen`, which names it in its error when it cannot be used.
///
/// ```
/// use vansire::ListenOptions;
///
/// let options = ListenOptions::new("tcp://127.0.0.1:0").backlog(64).keepalive(None);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ListenOptions {
    pub(crate) url: UrlText,
    pub(crate) raw: bool,
    pub(crate) reuse_address: Option<bool>,
    pub(crate) reuse_port: bool,
    pub(crate) backlog: u32,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) v6only: Option<bool>,
    pub(crate) bind_device: Option<Box<str>>,
    pub(crate) tos: Option<u16>,
    pub(crate) unix_mode: Option<u32>,
    pub(crate) limits: Option<Limits>,
}

impl ListenOptions {
    /// Listens on this URL with the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: UrlText(url.into()),
            raw: false,
            reuse_address: None,
            reuse_port: false,
            backlog: 4096,
            nodelay: true,
            keepalive: Some(KEEPALIVE),
            v6only: None,
            bind_device: None,
            tos: None,
            unix_mode: None,
            limits: None,
        }
    }

    /// Takes the bytes as they come, whatever protocol the scheme names. Default: the scheme's protocol.
    pub fn raw(mut self, raw: bool) -> Self {
        self.raw = raw;
        self
    }

    /// Lets a restarted program take its address back while old connections still linger (`SO_REUSEADDR`).
    ///
    /// Default: on for TCP on Unix systems, where it never lets two programs listen on one address; off for UDP and
    /// on Windows, where it does. Switch it on for UDP to share a multicast port.
    pub fn reuse_address(mut self, reuse: bool) -> Self {
        self.reuse_address = Some(reuse);
        self
    }

    /// Lets several sockets of one user listen on the address, the system spreading connections over them
    /// (`SO_REUSEPORT`). Default: off. Listening fails where the system has no such option.
    pub fn reuse_port(mut self, reuse: bool) -> Self {
        self.reuse_port = reuse;
        self
    }

    /// How many connections the system may hold until they are accepted. Default: 4096. The system may cap it (on
    /// Linux at `net.core.somaxconn`).
    pub fn backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sends small packets at once (`TCP_NODELAY`). Default: on.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Probes a silent peer after this time, and then at a sixth of it, until the system's number of probes went
    /// unanswered (nine on Linux). Default: 60 s, so that a dead peer is noticed after two and a half minutes. `None`
    /// never probes. Counted in whole seconds, at least one.
    pub fn keepalive(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.keepalive = after.into();
        self
    }

    /// Whether a listener on an IPv6 address refuses IPv4. Default: as the system is set (on Linux
    /// `net.ipv6.bindv6only`, which takes both).
    pub fn v6only(mut self, only: bool) -> Self {
        self.v6only = Some(only);
        self
    }

    /// Serves one network interface only, such as `eth0`. Listening fails where the system has no such option
    /// (anything but Linux and Android).
    pub fn bind_device(mut self, interface: impl Into<String>) -> Self {
        self.bind_device = Some(interface.into().into_boxed_str());
        self
    }

    /// The whole type-of-service byte (traffic class in IPv6) of what is sent. Default: the system's, zero.
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = Some(tos.into());
        self
    }

    /// The differentiated services code point (RFC 2474) of what is sent, such as 46 for expedited forwarding. It has
    /// six bits: listening fails with more than 63.
    pub fn dscp(mut self, dscp: u8) -> Self {
        self.tos = Some(u16::from(dscp) << 2);
        self
    }

    /// The permission bits of a Unix socket's path, such as `0o660`. They hold before the first connection is taken.
    /// Default: what the process's umask leaves.
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = Some(mode);
        self
    }

    /// Bounds for the connections of this listener. Default: those of the manager.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }
}

/// Where to connect to, and how. A URL alone is enough: every `connect` takes `"tcp://127.0.0.1:7"` as well.
///
/// The URL is read by `connect`, which names it in its error when it cannot be used.
///
/// ```
/// use std::time::Duration;
/// use vansire::ConnectOptions;
///
/// let options = ConnectOptions::new("tcp://broker.lan:1883").timeout(Duration::from_secs(3));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct ConnectOptions {
    pub(crate) url: UrlText,
    pub(crate) raw: bool,
    pub(crate) timeout: Option<Duration>,
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) bind_device: Option<Box<str>>,
    pub(crate) tos: Option<u16>,
    pub(crate) local_addr: Option<SocketAddr>,
    pub(crate) limits: Option<Limits>,
    #[cfg(feature = "http")]
    pub(crate) proxy: Option<Proxy>,
}

/// What to dial instead of the server.
#[cfg(feature = "http")]
#[derive(Debug, Clone)]
pub(crate) enum Proxy {
    /// It is told whole URLs.
    Forward(UrlText),
    /// It is asked for a tunnel.
    Tunnel(UrlText),
}

impl ConnectOptions {
    /// Connects to this URL with the defaults.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: UrlText(url.into()),
            raw: false,
            timeout: None,
            nodelay: true,
            keepalive: Some(KEEPALIVE),
            bind_device: None,
            tos: None,
            local_addr: None,
            limits: None,
            #[cfg(feature = "http")]
            proxy: None,
        }
    }

    /// Takes the bytes as they come, whatever protocol the scheme names. Default: the scheme's protocol.
    pub fn raw(mut self, raw: bool) -> Self {
        self.raw = raw;
        self
    }

    /// The deadline for everything until the connection stands: the name, and every address tried. Default:
    /// [`Limits::connect_timeout`], 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends small packets at once (`TCP_NODELAY`). Default: on.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Sends HTTP requests to this proxy, with whole URLs (RFC 9112 §3.2.2): for plain text. A user and password in its URL
    /// are told to the proxy alone. Connecting fails for anything but HTTP.
    #[cfg(feature = "http")]
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(Proxy::Forward(UrlText(url.into())));
        self
    }

    /// Asks this proxy for a tunnel to the server (CONNECT, RFC 9110 §9.3.6), and speaks HTTP through it. `Connected` is
    /// told when the tunnel stands; wait for it before a request whose body is streamed.
    #[cfg(feature = "http")]
    pub fn tunnel(mut self, url: impl Into<String>) -> Self {
        self.proxy = Some(Proxy::Tunnel(UrlText(url.into())));
        self
    }

    /// Probes a silent peer, as [`ListenOptions::keepalive`] says. Default: after 60 s.
    pub fn keepalive(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.keepalive = after.into();
        self
    }

    /// Uses one network interface only, such as `eth0`. Connecting fails where the system has no such option
    /// (anything but Linux and Android).
    pub fn bind_device(mut self, interface: impl Into<String>) -> Self {
        self.bind_device = Some(interface.into().into_boxed_str());
        self
    }

    /// The whole type-of-service byte (traffic class in IPv6) of what is sent. Default: the system's, zero.
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = Some(tos.into());
        self
    }

    /// The differentiated services code point (RFC 2474) of what is sent. It has six bits: connecting fails with
    /// more than 63.
    pub fn dscp(mut self, dscp: u8) -> Self {
        self.tos = Some(u16::from(dscp) << 2);
        self
    }

    /// The address to come from; port 0 takes any free port. Addresses of the peer that are of the other family
    /// cannot be reached from it, and fail.
    pub fn local_addr(mut self, addr: impl Into<SocketAddr>) -> Self {
        self.local_addr = Some(addr.into());
        self
    }

    /// Bounds for this connection. Default: those of the manager.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }
}

macro_rules! from_url {
    ($options:ident: $($text:ty),+) => {
        $(impl From<$text> for $options {
            fn from(url: $text) -> Self {
                Self::new(url)
            }
        })+
    };
}

from_url!(ListenOptions: &str, String, &String);
from_url!(ConnectOptions: &str, String, &String);

macro_rules! limits {
    ($($(#[$doc:meta])* $field:ident: $ty:ty = $default:expr;)+) => {
        /// Hard bounds: nothing that a peer can send, ask for or leave undone grows past them.
        ///
        /// Set what differs from the defaults. Counts and sizes of zero count as one, durations of more than ten years
        /// as ten years, and marks out of order are put into order (`write_low` <= `write_high` <= `write_max`).
        ///
        /// ```
        /// use vansire::Limits;
        ///
        /// let limits = Limits::new().body_max(64 * 1024).connections_max(200);
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        #[must_use]
        pub struct Limits {
            $($(#[$doc])* pub $field: $ty,)+
        }

        impl Limits {
            /// The defaults.
            pub const fn new() -> Self {
                Self { $($field: $default,)+ }
            }

            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self#structfield.", stringify!($field), ").")]
                pub const fn $field(mut self, value: $ty) -> Self {
                    self.$field = value;
                    self
                }
            )+
        }
    };
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The silence after which a peer is probed.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// No duration is longer, so that adding one to the time of day never overflows.
const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The shortest window over which a rate is measured.
const RATE_GRACE_MIN: Duration = Duration::from_millis(100);

limits! {
    /// Connections of the manager, listeners included. Above it none can be opened, and those that come wait with the
    /// system. Default: 100,000.
    connections_max: usize = 100_000;
    /// Connections accepted from one listener before others get a turn. Default: 64.
    accepts_per_turn: usize = 64;
    /// Bytes read from one connection before others get a turn. Default: 64 KiB.
    turn_bytes: usize = 64 * KIB;
    /// Messages of one connection given to its handler before others get a turn. Default: 32.
    turn_messages: usize = 32;
    /// Bytes of a raw connection that its handler has left unread; above it the connection is closed. Default: 1 MiB.
    read_max: usize = MIB;
    /// Bytes waiting to be sent at which `send` answers `High`, and requests of that connection wait. Default: 64 KiB.
    write_high: usize = 64 * KIB;
    /// Bytes waiting to be sent at which a connection that was above `write_high` counts as drained. Default: 16 KiB.
    write_low: usize = 16 * KIB;
    /// Bytes waiting to be sent at which the connection is closed as too slow. Default: 16 MiB.
    write_max: usize = 16 * MIB;
    /// Datagrams waiting to be sent on one UDP socket; more are refused (`Sent::Full`). Default: 256.
    datagrams_max: usize = 256;
    /// The longest datagram sent or received; longer ones are dropped. Default: 65,507 bytes, the most that UDP over IPv4 has.
    datagram_max: usize = 65_507;
    /// Bytes of wakeups that were sent and not yet delivered. Default: 64 MiB.
    wakeup_bytes_max: usize = 64 * MIB;
    /// The time that connecting may take, the name and every address together. Default: 10 s.
    connect_timeout: Duration = Duration::from_secs(10);
    /// The time that looking up a name may take. Default: 5 s.
    resolve_timeout: Duration = Duration::from_secs(5);
    /// The time that a draining connection has for sending what waits, before it is closed. Default: 5 s.
    drain_timeout: Duration = Duration::from_secs(5);
    /// The time that a peer has for reading a last reply, before a connection closed on error goes. Default: 2 s.
    linger_timeout: Duration = Duration::from_secs(2);
    /// Bytes per second that a peer must send or take while a message is under way; 0 lets it dawdle. Default: 100.
    rate_floor: u32 = 100;
    /// The time over which `rate_floor` is asked for, at least 100 ms. Default: 10 s. For what a peer takes it is six times as long: the
    /// system's buffers hide the progress of a slow reader.
    rate_grace: Duration = Duration::from_secs(10);
    /// Bytes of an HTTP head, first line and headers together; above it the answer to a request is 431, and a response is
    /// in error. Default: 16 KiB; never more
    /// than 64 KiB.
    head_max: usize = 16 * KIB;
    /// Header fields of an HTTP message; above it the answer is 431, and a response is in error. Default: 64.
    headers_max: usize = 64;
    /// Bytes of an HTTP request target; above it the answer is 414. Default: 8 KiB.
    target_max: usize = 8 * KIB;
    /// Bytes of an HTTP body that is collected for its handler; above it the answer is 413, and a response is in error. 0
    /// takes none. Default: 1 MiB.
    body_max: usize = MIB;
    /// The time from the first byte of an HTTP head to its last; then the answer is 408. Default: 10 s.
    head_timeout: Duration = Duration::from_secs(10);
    /// The time that an HTTP connection may wait for its next request, of a client's too. Default: 75 s.
    idle_timeout: Duration = Duration::from_secs(75);
    /// The time that a handler has for finishing an HTTP reply, or between two pieces of a request that it streams.
    /// Default: 60 s.
    reply_timeout: Duration = Duration::from_secs(60);
    /// Questions of one address that an SNTP server answers per second. An IPv6 network counts as one address. Default: 8.
    sntp_rate: u32 = 8;
    /// Questions of one address that an SNTP server answers at once, after a pause. Default: 64.
    sntp_burst: u32 = 64;
    /// Addresses that an SNTP server remembers to hold `sntp_rate`, 48 bytes each; above it those that asked longest ago are
    /// forgotten. Default: 1024.
    sntp_addresses_max: usize = 1024;
    /// HTTP requests of one connection, the last of which is answered with `Connection: close`. Default: no limit.
    requests_max: Option<u32> = None;
    /// The time that a server has from the end of an HTTP request to the last byte of its response's head. Default: 60 s.
    response_timeout: Duration = Duration::from_secs(60);
    /// The time that a server has for asking for the body of a request that offered to wait (`Expect: 100-continue`);
    /// then the body goes unasked. Default: 1 s.
    continue_timeout: Duration = Duration::from_secs(1);
    /// HTTP requests of a client's connection that wait for the response before theirs; more are refused. Default: 32.
    requests_queued_max: usize = 32;
    /// Bytes of an MQTT packet that comes in; a longer one is an error. At most 256 MiB. Default: 1 MiB.
    mqtt_packet_max: usize = MIB;
    /// MQTT messages of QoS 1 and 2 under way at once, in each direction of a connection (Receive Maximum). Default: 20.
    mqtt_inflight_max: u16 = 20;
    /// MQTT topic aliases, in each direction of a connection. Default: 10.
    mqtt_aliases_max: u16 = 10;
    /// Messages of an MQTT client that wait for a connection, or for room on it. Default: 1000.
    mqtt_queued_max: usize = 1000;
    /// Bytes of such messages. Default: 4 MiB.
    mqtt_queued_bytes_max: usize = 4 * MIB;
    /// Interim (1xx) responses to one HTTP request; more are an error. Default: 16.
    interims_max: usize = 16;
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

impl Limits {
    /// The bounds as they are used: nothing is zero that would stop the loop, and nothing overflows.
    pub(crate) fn in_order(mut self) -> Self {
        for size in [
            &mut self.connections_max,
            &mut self.accepts_per_turn,
            &mut self.turn_bytes,
            &mut self.turn_messages,
            &mut self.read_max,
            &mut self.write_max,
            &mut self.datagrams_max,
            &mut self.datagram_max,
            &mut self.wakeup_bytes_max,
            &mut self.head_max,
            &mut self.headers_max,
            &mut self.target_max,
            &mut self.mqtt_packet_max,
            &mut self.sntp_addresses_max,
        ] {
            *size = (*size).max(1);
        }
        self.mqtt_inflight_max = self.mqtt_inflight_max.max(1);
        self.write_high = self.write_high.clamp(1, self.write_max);
        self.write_low = self.write_low.min(self.write_high);
        self.requests_max = self.requests_max.map(|requests| requests.max(1));
        // A window of no length would be over again at once, for ever.
        self.rate_grace = self.rate_grace.max(RATE_GRACE_MIN);
        for duration in [
            &mut self.connect_timeout,
            &mut self.resolve_timeout,
            &mut self.drain_timeout,
            &mut self.linger_timeout,
            &mut self.rate_grace,
            &mut self.head_timeout,
            &mut self.idle_timeout,
            &mut self.reply_timeout,
            &mut self.response_timeout,
            &mut self.continue_timeout,
        ] {
            *duration = (*duration).min(DURATION_MAX);
        }
        self
    }
}

/// The text of a URL, not yet understood, that never shows its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct UrlText(String);

impl UrlText {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UrlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", redacted(&self.0))
    }
}

/// Shows a text that should be a URL: no password, nothing that a terminal obeys, no more than a line.
pub(crate) fn redacted(url: &str) -> impl fmt::Display + '_ {
    Redacted(url)
}

struct Redacted<'a>(&'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0;
        // A scheme has no colon: `://` behind one belongs to a password.
        let start = match text.find("://") {
            Some(end) if !text[..end].contains(':') => end + 3,
            _ => 0,
        };
        // What stands between the first colon and the last at-sign may be a password, wherever the authority ends: the
        // text is shown because it is not a good URL.
        let hidden = text[start..].rfind('@').and_then(|at| {
            let colon = text[start..start + at].find(':')?;
            Some((start + colon + 1, start + at))
        });
        match hidden {
            Some((from, to)) => {
                shown(f, &text[..from])?;
                f.write_str("***")?;
                shown(f, &text[to..])
            }
            None => shown(f, text),
        }
    }
}

fn shown(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut chars = text.chars();
    for c in chars.by_ref().take(SHOWN_MAX) {
        write!(f, "{}", c.escape_debug())?;
    }
    if chars.next().is_some() { f.write_str("...") } else { Ok(()) }
}

/// Characters of a bad URL that an error shows, on each side of a password.
const SHOWN_MAX: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_from_a_url_alone() {
        let text = String::from("http://127.0.0.1:80");
        assert_eq!(ListenOptions::from(&text).url, ListenOptions::from(text.as_str()).url);
        assert_eq!(ConnectOptions::from(&text).url, ConnectOptions::from(text.clone()).url);
        assert_eq!(ListenOptions::from(text).url.as_str(), "http://127.0.0.1:80");
    }

    #[test]
    fn a_password_is_never_shown() {
        let long = format!("http://u:{}@{}", "p".repeat(300), "h".repeat(300));
        let shown_long = format!("http://u:***@{}...", "h".repeat(SHOWN_MAX - 1));
        let table = [
            ("none", "http://h:80/x", "http://h:80/x"),
            ("plain", "mqtt://u:secret@h", "mqtt://u:***@h"),
            ("no user", "mqtt://:secret@h", "mqtt://:***@h"),
            ("at-sign in it", "mqtt://u:se@cret@h", "mqtt://u:***@h"),
            ("slash in it", "mqtt://u:se/cret@h", "mqtt://u:***@h"),
            ("hash in it", "mqtt://u:se#cret@h:1", "mqtt://u:***@h:1"),
            ("scheme mark in it", "mqtt:u:s://ecret@h", "mqtt:***@h"),
            ("no scheme", "u:secret@h", "u:***@h"),
            ("no slashes", "mqtt:u:secret@h", "mqtt:***@h"),
            ("user only", "mqtt://user@h", "mqtt://user@h"),
            ("terminal codes", "http://\u{1b}[2J\r\n", "http://\\u{1b}[2J\\r\\n"),
            ("long", long.as_str(), shown_long.as_str()),
            ("empty", "", ""),
        ];
        for (name, url, expected) in table {
            assert_eq!(redacted(url).to_string(), expected, "{name}");
            assert!(!format!("{:?}", ListenOptions::new(url)).contains("ecret"), "{name}");
            assert!(!format!("{:?}", ConnectOptions::new(url)).contains("ecret"), "{name}");
        }
    }

    #[test]
    fn limits_out_of_order_are_put_into_order() {
        assert_eq!(Limits::new().in_order(), Limits::default());
        let limits = Limits::new()
            .write_max(10)
            .write_high(20)
            .write_low(30)
            .turn_bytes(0)
            .requests_max(Some(0))
            .idle_timeout(Duration::MAX)
            .in_order();
        assert_eq!((limits.write_low, limits.write_high, limits.write_max), (10, 10, 10));
        assert_eq!((limits.turn_bytes, limits.requests_max), (1, Some(1)));
        assert_eq!(limits.idle_timeout, DURATION_MAX);
    }
}

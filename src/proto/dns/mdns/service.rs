//! Services as programs name them, and as others are found.

use std::fmt;
use std::net::IpAddr;

use super::super::name::{Name, NameError};

/// A service that this program offers, to be announced on the local network (DNS-SD, RFC 6763).
///
/// ```
/// use vansire::mdns::Service;
///
/// let service = Service::new("Kitchen light", "_http._tcp", 8080).txt("path", "/light");
/// assert!(service.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Service {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) port: u16,
    pub(crate) txt: Vec<Vec<u8>>,
}

/// A service that was found, as others announce it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// What people call it: "Kitchen light".
    pub name: String,
    /// The host that offers it.
    pub host: String,
    /// Its port there.
    pub port: u16,
    /// What it says of itself, each as `key=value` or `key` (RFC 6763 §6.3), as it came.
    pub txt: Vec<Box<[u8]>>,
    /// The addresses of the host, at least one.
    pub addrs: Vec<IpAddr>,
    /// The number of the network interface that it was found on; the scope of its link-local addresses.
    pub interface: u32,
}

/// Why a service cannot be announced, or not be looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceError {
    /// A name is empty, has more than 63 bytes, or has control characters (RFC 6763 §4.1.1).
    BadName(String),
    /// A kind is not like `_http._tcp` (RFC 6763 §7).
    BadKind(String),
    /// The key of a text has an `=`, or characters outside of printable ASCII, or none (RFC 6763 §6.4).
    BadKey(String),
    /// A text has more than 255 bytes (RFC 6763 §6.1), or all have more than 1,300 together (§6.2).
    TextTooLong,
    /// Port 0 is none.
    NoPort,
}

/// Bytes of a label (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;
/// Bytes of a service's short name (RFC 6335 §5.1).
const SHORT_MAX: usize = 15;
/// Bytes of one text, its length left out.
const TEXT_MAX: usize = 255;
/// Bytes of all texts of a service, for them to fit into one packet (RFC 6763 §6.2).
const TEXTS_MAX: usize = 1300;

impl Service {
    /// A service by the name that people call it, of a kind such as `_http._tcp`, at a port of this machine.
    ///
    /// The name may have any characters but control ones, in up to 63 bytes. It need not be unique: where it is taken, a number
    /// is added.
    pub fn new(name: impl Into<String>, kind: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), kind: kind.into(), port, txt: Vec::new() }
    }

    /// Adds what others may want to know before they connect: `path=/light`.
    pub fn txt(mut self, key: impl AsRef<str>, value: impl AsRef<[u8]>) -> Self {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.txt.push([key.as_bytes(), b"=", value].concat());
        self
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Where it is.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it can be announced.
    pub fn check(&self) -> Result<(), ServiceError> {
        if !is_label(&self.name) {
            return Err(ServiceError::BadName(self.name.clone()));
        }
        kind_name(&self.kind)?;
        if self.port == 0 {
            return Err(ServiceError::NoPort);
        }
        for text in &self.txt {
            let key = text.split(|byte| *byte == b'=').next().unwrap_or_default();
            if key.is_empty() || !key.iter().all(|byte| (b' '..=b'~').contains(byte)) {
                return Err(ServiceError::BadKey(String::from_utf8_lossy(key).into_owned()));
            }
            if text.len() > TEXT_MAX {
                return Err(ServiceError::TextTooLong);
            }
        }
        if self.txt.iter().map(|text| text.len() + 1).sum::<usize>() > TEXTS_MAX {
            return Err(ServiceError::TextTooLong);
        }
        Ok(())
    }

    /// The data of its TXT record, which has one text at least (RFC 6763 §6.1).
    pub(super) fn texts(&self) -> Vec<Box<[u8]>> {
        if self.txt.is_empty() {
            return vec![Box::default()];
        }
        self.txt.iter().map(|text| text[..].into()).collect()
    }
}

fn is_label(text: &str) -> bool {
    (1..=LABEL_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The name of a kind of services, `_http._tcp.local`; what follows the second label may be `local` or nothing.
pub(crate) fn kind_name(kind: &str) -> Result<Name, ServiceError> {
    let bad = || ServiceError::BadKind(kind.into());
    let text = kind.strip_suffix('.').unwrap_or(kind);
    let text = match text.len().checked_sub(".local".len()).and_then(|at| text.split_at_checked(at)) {
        Some((front, end)) if end.eq_ignore_ascii_case(".local") => front,
        _ => text,
    };
    let (short, proto) = text.split_once('.').ok_or_else(bad)?;
    let is_short = short.strip_prefix('_').is_some_and(|short| {
        (1..=SHORT_MAX).contains(&short.len())
            && short.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !short.starts_with('-')
            && !short.ends_with('-')
    });
    if !is_short || !(proto.eq_ignore_ascii_case("_tcp") || proto.eq_ignore_ascii_case("_udp")) {
        return Err(bad());
    }
    Name::from_labels([short.as_bytes(), proto.as_bytes(), b"local"]).map_err(|_| bad())
}

/// The label of a host: of `kitchen`, `kitchen.local` and `kitchen.example.org` the first.
pub(crate) fn host_label(text: &str) -> Result<String, NameError> {
    let label = text.split('.').next().unwrap_or_default();
    label.parse::<Name>()?;
    Ok(label.into())
}

/// A label with a number behind it, cut so that both fit: how a name that is taken is changed (RFC 6762 §9).
pub(super) fn numbered(base: &str, number: u32, is_host: bool) -> String {
    let suffix = match (number, is_host) {
        (..=1, _) => String::new(),
        (_, true) => format!("-{number}"),
        (_, false) => format!(" ({number})"),
    };
    let mut end = base.len().min(LABEL_MAX - suffix.len());
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(name) => {
                write!(f, "{name:?} cannot be the name of a service: 1 to 63 bytes without control characters can")
            }
            Self::BadKind(kind) => write!(f, "{kind:?} is no kind of services: they are like _http._tcp"),
            Self::BadKey(key) => write!(f, "{key:?} cannot be a key: printable ASCII without = can"),
            Self::TextTooLong => {
                write!(f, "what a service says of itself is too long: {TEXT_MAX} bytes a text, {TEXTS_MAX} in all")
            }
            Self::NoPort => f.write_str("a service has a port, and 0 is none"),
        }
    }
}

impl std::error::Error for ServiceError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6763_sections_4_6_and_7_bound_what_can_be_announced() {
        let service = |name: &str, kind: &str| Service::new(name, kind, 80);
        let long = "a".repeat(64);
        let table: [(&str, Service, bool); 17] = [
            ("usual", service("vansire", "_http._tcp"), true),
            ("any characters", service("Küche: 2. Licht", "_http._tcp"), true),
            ("with local", service("a", "_http._tcp.local."), true),
            ("UDP", service("a", "_ntp._UDP"), true),
            ("no name", service("", "_http._tcp"), false),
            ("a long name", service(&long, "_http._tcp"), false),
            ("a control character", service("a\n", "_http._tcp"), false),
            ("no protocol", service("a", "_http"), false),
            ("another protocol", service("a", "_http._sctp"), false),
            ("no underscore", service("a", "http._tcp"), false),
            ("a long kind", service("a", "_abcdefghijklmnop._tcp"), false),
            ("a kind of a domain", service("a", "_http._tcp.example.org"), false),
            ("a hyphen at the end", service("a", "_a-._tcp"), false),
            ("no port", Service::new("a", "_http._tcp", 0), false),
            ("a text", service("a", "_http._tcp").txt("path", "/").txt("x", [0xff; 253]), true),
            ("a long text", service("a", "_http._tcp").txt("x", [0; 254]), false),
            ("no key", service("a", "_http._tcp").txt("", "x"), false),
        ];
        for (name, service, expected) in table {
            assert_eq!(service.check().is_ok(), expected, "{name}: {:?}", service.check());
        }
        let mut much = service("a", "_http._tcp");
        for _ in 0..6 {
            much = much.txt("x", [0; 250]);
        }
        assert_eq!(much.check(), Err(ServiceError::TextTooLong));
        assert_eq!(service("a", "_http._tcp").texts(), [Box::default()], "RFC 6763 §6.1: one empty text");
    }

    #[test]
    fn rfc_6762_section_9_a_taken_name_gets_a_number_that_fits() {
        assert_eq!(numbered("light", 1, false), "light");
        assert_eq!(numbered("light", 2, false), "light (2)");
        assert_eq!(numbered("kitchen", 13, true), "kitchen-13");
        let long = "ü".repeat(31);
        assert_eq!(numbered(&long, 2, false), format!("{} (2)", "ü".repeat(29)));
        assert_eq!(numbered(&"a".repeat(63), u32::MAX, true).len(), 63);
    }

    #[test]
    fn the_first_label_of_a_host_counts() {
        assert_eq!(host_label("kitchen.example.org").as_deref(), Ok("kitchen"));
        assert_eq!(host_label("kitchen").as_deref(), Ok("kitchen"));
        assert!(host_label("").is_err() && host_label("a b").is_err() && host_label(".local").is_err());
    }
}

//! Hosts and ports as they stand in Host headers and targets (RFC 3986 §3.2).

use std::net::Ipv6Addr;

use super::syntax::{hex_digit, is_host_byte};
use super::words::host;

/// The two parts of `uri-host [ ":" port ]`. The host keeps the brackets of an IPv6 literal and may be empty; an empty
/// port (`a:`) is legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: &'a [u8],
    pub(crate) port: Option<&'a [u8]>,
}

impl<'a> Authority<'a> {
    /// Whether [`parse`](Self::parse) accepts the text.
    #[inline]
    pub(crate) fn is_valid(text: &'a [u8]) -> bool {
        // Most are a name without a port, or an address.
        host(text) == text.len() || Self::parse(text).is_some()
    }

    /// None where the text is neither a name, an address nor a bracketed literal with an optional decimal port: user
    /// info, whitespace, a broken escape. What is accepted is ASCII.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        if text.first() == Some(&b'[') {
            let end = text.iter().position(|&b| b == b']')?;
            let (literal, rest) = text.split_at(end + 1);
            return if is_ip_literal(&literal[1..end]) { Self::with_port(literal, rest) } else { None };
        }
        let mut at = host(text);
        while let Some(b'%') = text.get(at) {
            hex_digit(*text.get(at + 1)?)?;
            hex_digit(*text.get(at + 2)?)?;
            at += 3;
            at += host(&text[at..]);
        }
        let (host, rest) = text.split_at(at);
        Self::with_port(host, rest)
    }

    fn with_port(host: &'a [u8], rest: &'a [u8]) -> Option<Self> {
        match rest {
            [] => Some(Self { host, port: None }),
            [b':', port @ ..] if port.iter().all(u8::is_ascii_digit) => Some(Self { host, port: Some(port) }),
            _ => None,
        }
    }
}

fn is_ip_literal(literal: &[u8]) -> bool {
    let [b'v' | b'V', future @ ..] = literal else {
        return str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    };
    let Some(dot) = future.iter().position(|&b| b == b'.') else { return false };
    let (version, address) = (&future[..dot], &future[dot + 1..]);
    !version.is_empty()
        && version.iter().all(|&b| hex_digit(b).is_some())
        && !address.is_empty()
        && address.iter().all(|&b| b == b':' || is_host_byte(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_an_address_or_a_bracketed_literal_with_an_optional_port() {
        let good = [
            ("", "", None),
            ("a", "a", None),
            ("a:80", "a", Some("80")),
            ("a:", "a", Some("")),
            ("127.0.0.1:8080", "127.0.0.1", Some("8080")),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some("80")),
            ("[2001:db8::1.2.3.4]", "[2001:db8::1.2.3.4]", None),
            ("[v1.fe:d]", "[v1.fe:d]", None),
            ("a%2Db", "a%2Db", None),
            ("a_b~c!$&'()*+,;=", "a_b~c!$&'()*+,;=", None),
        ];
        for (text, host, port) in good {
            let expected = Authority { host: host.as_bytes(), port: port.map(str::as_bytes) };
            assert_eq!(Authority::parse(text.as_bytes()), Some(expected), "{text:?}");
            assert!(Authority::is_valid(text.as_bytes()), "{text:?}");
        }
        let bad = [
            "a b",
            "a, b",
            "u@a",
            "a\"b",
            "a:80x",
            "a:-1",
            "a?x",
            "a#x",
            "a/x",
            "a%zz",
            "a%2",
            "a%",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "[::1]]",
            "::1",
            "a:1:2",
            "[::1%25eth0]",
            "[v.x]",
            "[v1.]",
            "[g::1]",
            "a\\b",
            "ü",
            "<a>",
            "[1.2.3.4]",
        ];
        for text in bad {
            assert_eq!(Authority::parse(text.as_bytes()), None, "{text:?}");
            assert!(!Authority::is_valid(text.as_bytes()), "{text:?}");
        }
    }
}

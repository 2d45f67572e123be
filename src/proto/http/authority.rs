//! Hosts and ports as they stand in Host headers and targets (RFC 3986 §3.2).

use std::net::Ipv6Addr;

use super::syntax::hex_digit;

/// The two parts of `uri-host [ ":" port ]`. The host keeps the brackets of an IPv6 literal and may be empty; an empty
/// port (`a:`) is legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Authority<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: Option<&'a str>,
}

impl<'a> Authority<'a> {
    /// None where the text is neither a name, an address nor a bracketed literal with an optional decimal port: user
    /// info, whitespace, commas and spaces, a broken escape.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.first() == Some(&b'[') {
            let end = bytes.iter().position(|&b| b == b']')?;
            let literal = text.get(1..end)?;
            if !is_ip_literal(literal) {
                return None;
            }
            return Self::with_port(text.get(..=end)?, text.get(end + 1..)?);
        }
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match CLASS[byte as usize] {
                Class::Name => at += 1,
                Class::Percent => {
                    hex_digit(*bytes.get(at + 1)?)?;
                    hex_digit(*bytes.get(at + 2)?)?;
                    at += 3;
                }
                Class::Colon => break,
                Class::Other => return None,
            }
        }
        Self::with_port(text.get(..at)?, text.get(at..)?)
    }

    fn with_port(host: &'a str, rest: &'a str) -> Option<Self> {
        if rest.is_empty() {
            return Some(Self { host, port: None });
        }
        let port = rest.strip_prefix(':')?;
        port.bytes().all(|b| b.is_ascii_digit()).then_some(Self { host, port: Some(port) })
    }
}

fn is_ip_literal(literal: &str) -> bool {
    match literal.strip_prefix(['v', 'V']) {
        Some(future) => match future.split_once('.') {
            Some((version, address)) => {
                !version.is_empty()
                    && version.bytes().all(|b| hex_digit(b).is_some())
                    && !address.is_empty()
                    && address.bytes().all(|b| matches!(CLASS[b as usize], Class::Name | Class::Colon))
            }
            None => false,
        },
        None => literal.parse::<Ipv6Addr>().is_ok(),
    }
}

#[derive(Clone, Copy)]
enum Class {
    /// unreserved or sub-delims.
    Name,
    Percent,
    Colon,
    Other,
}

const CLASS: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut i = 0;
    while i < 256 {
        if (i as u8).is_ascii_alphanumeric() {
            table[i] = Class::Name;
        }
        i += 1;
    }
    let names = b"-._~!$&'()*+,;=";
    let mut i = 0;
    while i < names.len() {
        table[names[i] as usize] = Class::Name;
        i += 1;
    }
    table[b'%' as usize] = Class::Percent;
    table[b':' as usize] = Class::Colon;
    table
};

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
            assert_eq!(Authority::parse(text), Some(Authority { host, port }), "{text:?}");
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
            assert_eq!(Authority::parse(text), None, "{text:?}");
        }
    }
}

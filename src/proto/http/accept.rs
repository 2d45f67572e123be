//! The Accept-Encoding header (RFC 9110 §12.5.3): which content coding a client prefers.

use super::head::Head;
use super::syntax::{members, trim_ows};

/// The content coding to send: one of `offered`, which stand in the server's order of preference, or none (`identity`).
///
/// The client's weights decide, then the server's order; a coding goes before `identity` where both weigh the same. Without
/// the header nothing is encoded. `identity` is also what remains when the client wants nothing that there is.
///
/// ```
/// use vansire::http::content_coding;
///
/// # use vansire::http::head::{HeaderSpace, Scan, parse};
/// # let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip;q=0.5, br\r\n\r\n";
/// # let mut space = HeaderSpace::new();
/// # let (head, _) = parse(bytes, &mut Scan::default(), &Default::default(), &mut space)?.unwrap();
/// // Accept-Encoding: gzip;q=0.5, br
/// assert_eq!(content_coding(&head, &["gzip", "br"]), Some("br"));
/// # Ok::<(), vansire::http::ParseError>(())
/// ```
pub fn content_coding<'c>(head: &Head<'_>, offered: &[&'c str]) -> Option<&'c str> {
    let mut best = None;
    let mut weight = weight_of(head, "identity").unwrap_or(0);
    for &coding in offered {
        let Some(its) = weight_of(head, coding) else { continue };
        if its > 0 && (its > weight || its == weight && best.is_none()) {
            (best, weight) = (Some(coding), its);
        }
    }
    best
}

/// The weight of a coding in thousandths: its own, else that of `*`. None: it is not mentioned.
fn weight_of(head: &Head<'_>, coding: &str) -> Option<u16> {
    let mut any = None;
    for member in head.header_all("accept-encoding").flat_map(members) {
        let (name, weight) = match member.iter().position(|&b| b == b';') {
            Some(at) => (trim_ows(&member[..at]), weight(&member[at + 1..])),
            None => (member, 1000),
        };
        if name.eq_ignore_ascii_case(coding.as_bytes()) || coding == "gzip" && name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(weight);
        }
        if name == b"*" {
            any = Some(weight);
        }
    }
    any
}

/// `q=0.5` in thousandths (RFC 9110 §12.4.2). A malformed weight wants nothing.
fn weight(parameter: &[u8]) -> u16 {
    let value = match trim_ows(parameter) {
        [b'q' | b'Q', b'=', value @ ..] => value,
        _ => return 0,
    };
    let (whole, fraction) = match value {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return 0,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |b| u16::from(b - b'0'));
    match (whole, digit(0) * 100 + digit(1) * 10 + digit(2)) {
        (b'1', 0) => 1000,
        (b'0', thousandths) => thousandths,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, HeaderSpace, Scan, parse};
    use super::*;

    #[test]
    fn f7_rfc_9110_12_5_3_the_heaviest_coding_that_there_is() {
        // (Accept-Encoding, chosen of br, zstd and gzip)
        let table = [
            ("", None),
            ("gzip", Some("gzip")),
            ("GZip", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("deflate", None),
            ("identity", None),
            ("gzip, deflate, br, zstd", Some("br")),
            ("gzip, deflate", Some("gzip")),
            ("br;q=0.5, gzip", Some("gzip")),
            ("br;q=0.5, gzip;q=0.501", Some("gzip")),
            ("br ; q=1.000 , gzip;q=0.9", Some("br")),
            ("gzip;q=0", None),
            ("gzip;q=0.000", None),
            ("*", Some("br")),
            ("*;q=0", None),
            ("*, br;q=0", Some("zstd")),
            ("*;q=0.1, gzip;q=0.2", Some("gzip")),
            ("identity;q=0, *", Some("br")),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some("gzip")),
            ("identity;q=0", None),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.0001", None),
            ("gzip;q=-1", None),
            ("gzip;q=", None),
            ("gzip;x=1", None),
            ("gzip;q=0.5;x", None),
            (",, gzip ,", Some("gzip")),
            ("gzipped", None),
        ];
        for (value, expected) in table {
            let header = if value.is_empty() { String::new() } else { format!("Accept-Encoding: {value}\r\n") };
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n");
            let mut space = HeaderSpace::new();
            let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space);
            let head = parsed.unwrap().unwrap().0;
            assert_eq!(content_coding(&head, &["br", "zstd", "gzip"]), expected, "{value}");
        }
    }
}

//! The lines of a request head, strictly by RFC 9112, in one pass and without copying: where the method, the target and
//! each field stand.
//!
//! The pass stops at the first byte that no continuation could make right, and names the fact.

pub(super) mod status;

use super::error::ParseError;
use super::rules::Version;
use super::syntax::trim_ows;
use super::words::{token, value, visible};

/// Where a field stands in its head. Offsets of 16 bits: no head is longer ([`HEAD_CAP`]).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Field {
    name: Span,
    pub(super) value: Span,
}

/// From where to where something stands in its head.
pub(super) type Span = [u16; 2];

/// The longest head that any limits can admit.
pub const HEAD_CAP: usize = u16::MAX as usize;

/// Longer than any method of the IANA registry (`UPDATEREDIRECTREF`).
const METHOD_MAX: usize = 32;

impl Field {
    #[inline]
    pub(super) fn name<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        text(head, self.name)
    }

    #[inline]
    pub(super) fn value<'a>(&self, head: &'a [u8]) -> &'a [u8] {
        text(head, self.value)
    }
}

#[inline]
pub(super) fn text(head: &[u8], [from, to]: Span) -> &[u8] {
    head.get(from as usize..to as usize).unwrap_or_default()
}

/// A head whose lines are well-formed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub(super) method_len: usize,
    pub(super) target_len: usize,
    pub(super) version: Version,
    pub(super) fields: usize,
    /// With the blank line.
    pub(super) len: usize,
}

/// Splits the head at the start of `bytes`, which is not longer than [`HEAD_CAP`]. `Ok(None)`: so far it is the beginning
/// of one.
#[inline]
pub(super) fn split(bytes: &[u8], target_max: usize, fields: &mut [Field]) -> Result<Option<Lines>, ParseError> {
    let Some(method_len) = method(bytes)? else { return Ok(None) };
    let after_method = method_len + 1;
    let Some(target_len) = target(&bytes[after_method..], target_max)? else { return Ok(None) };
    let mut at = after_method + target_len + 1;
    let Some(version) = version(&bytes[at..])? else { return Ok(None) };
    at += "HTTP/1.1\r\n".len();
    let Some((fields, len)) = split_fields(bytes, at, fields)? else { return Ok(None) };
    Ok(Some(Lines { method_len, target_len, version, fields, len }))
}

/// Splits the field lines that begin at `at`, up to the blank line (RFC 9112 §5): name, colon, value with optional
/// whitespace around it, line end. Answers how many there are and where the blank line ends.
#[inline(always)]
fn split_fields(bytes: &[u8], mut at: usize, fields: &mut [Field]) -> Result<Option<(usize, usize)>, ParseError> {
    let mut count = 0;
    loop {
        let line = &bytes[at..];
        match line {
            [b'\r', b'\n', ..] => return Ok(Some((count, at + 2))),
            [] | [b'\r'] => return Ok(None),
            _ => {}
        }
        let name_len = token(line);
        let Some(&colon) = line.get(name_len) else { return Ok(None) };
        if colon != b':' || name_len == 0 {
            return Err(bad_name(name_len, colon));
        }
        let mut from = name_len + 1;
        while let Some(b' ' | b'\t') = line.get(from) {
            from += 1;
        }
        let rest = &line[from..];
        let (value, after) = rest.split_at(value(rest));
        let [b'\r', b'\n', ..] = after else { return bad_end(after).map(|()| None) };
        let value_len = match value {
            [.., b' ' | b'\t'] => trim_ows(value).len(),
            _ => value.len(),
        };
        let Some(slot) = fields.get_mut(count) else { return Err(ParseError::TooManyHeaders) };
        let place = |from: usize, len: usize| [(at + from) as u16, (at + from + len) as u16];
        *slot = Field { name: place(0, name_len), value: place(from, value_len) };
        count += 1;
        at += from + value.len() + 2;
    }
}

/// RFC 9112 §3.1: a token and one space. Answers the token's length.
#[inline]
fn method(bytes: &[u8]) -> Result<Option<usize>, ParseError> {
    // Almost all requests.
    if bytes.starts_with(b"GET ") {
        return Ok(Some(3));
    }
    let len = token(bytes);
    match bytes.get(len) {
        _ if len > METHOD_MAX => Err(ParseError::MethodTooLong),
        Some(b' ') if len > 0 => Ok(Some(len)),
        Some(_) => Err(ParseError::BadMethod),
        None => Ok(None),
    }
}

/// RFC 9112 §3.2: visible ASCII and one space. Which form it has is looked at later. Answers its length.
#[inline]
fn target(bytes: &[u8], target_max: usize) -> Result<Option<usize>, ParseError> {
    let len = visible(bytes);
    match bytes.get(len) {
        _ if len > target_max => Err(ParseError::TargetTooLong),
        Some(b' ') if len > 0 => Ok(Some(len)),
        Some(_) => Err(ParseError::BadTarget),
        None => Ok(None),
    }
}

/// RFC 9112 §2.3, with the line end.
#[inline]
fn version(bytes: &[u8]) -> Result<Option<Version>, ParseError> {
    // Compared whole: a pattern is compared byte by byte.
    let line = bytes.first_chunk::<10>();
    if line == Some(b"HTTP/1.1\r\n") {
        Ok(Some(Version::Http11))
    } else if line == Some(b"HTTP/1.0\r\n") {
        Ok(Some(Version::Http10))
    } else {
        odd_version(bytes).map(|()| None)
    }
}

/// RFC 9110 §15.6.6: a version that is well-formed but not ours has a status of its own. Ok for the beginning of one.
#[cold]
fn odd_version(bytes: &[u8]) -> Result<(), ParseError> {
    let fits = |(byte, pattern): (&u8, &u8)| if *pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern };
    if !bytes.iter().zip(b"HTTP/0.0").all(fits) {
        return Err(ParseError::BadVersion);
    }
    let ours = matches!(bytes, [_, _, _, _, _, b'1', _, b'0' | b'1', ..]);
    match bytes.get("HTTP/1.1".len()..).unwrap_or_default() {
        [] => Ok(()),
        [b'\r' | b'\n', ..] if !ours => Err(ParseError::UnsupportedVersion),
        [b'\r'] => Ok(()),
        [b'\r', ..] => Err(ParseError::BareCr),
        [b'\n', ..] => Err(ParseError::BareLf),
        _ => Err(ParseError::BadVersion),
    }
}

#[cold]
fn bad_name(name_len: usize, byte: u8) -> ParseError {
    match (name_len, byte) {
        (0, b' ' | b'\t') => ParseError::ObsFold,
        (0, b'\n') => ParseError::BareLf,
        (0, b'\r') => ParseError::BareCr,
        (1.., b' ' | b'\t') => ParseError::SpaceBeforeColon,
        _ => ParseError::BadHeaderName,
    }
}

/// What stands after a value instead of a line end. Ok for the beginning of one.
#[cold]
fn bad_end(after: &[u8]) -> Result<(), ParseError> {
    match after {
        [] | [b'\r'] => Ok(()),
        [b'\r', ..] => Err(ParseError::BareCr),
        [b'\n', ..] => Err(ParseError::BareLf),
        _ => Err(ParseError::BadHeaderValue),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// httparse is the oracle of what is well-formed at all: where it and the rules that it leaves to others accept,
        /// so do we, and we find the same.
        #[test]
        fn what_we_accept_is_what_httparse_accepts_less_what_it_is_lenient_about(bytes in prop::collection::vec(
            prop_oneof![
                20 => Just(&b"GET / HTTP/1.1\r\n"[..]), 8 => Just(&b"Host: a\r\n"[..]), 8 => Just(&b"X:\t b c \t\r\n"[..]),
                8 => Just(&b"Y: \xff\xfe\r\n"[..]), 4 => Just(&b"\r\n"[..]), 1 => Just(&b"\n"[..]), 1 => Just(&b" "[..]),
                1 => Just(&b":"[..]), 1 => Just(&b"\0"[..]), 1 => Just(&b"Z"[..]), 1 => Just(&b"\r"[..]),
            ], 1..8,
        )) {
            let bytes = bytes.concat();
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut theirs = httparse::Request::new(&mut headers);
            let parsed = theirs.parse(&bytes);
            let mut fields = [Field::default(); 16];
            if let Ok(Some(lines)) = split(&bytes, 100, &mut fields) {
                prop_assert_eq!(parsed, Ok(httparse::Status::Complete(lines.len)));
                prop_assert_eq!(theirs.headers.len(), lines.fields);
                for (ours, theirs) in fields.iter().zip(theirs.headers.iter()) {
                    prop_assert_eq!((ours.name(&bytes), ours.value(&bytes)), (theirs.name.as_bytes(), theirs.value));
                }
            } else if let Ok(httparse::Status::Complete(len)) = parsed {
                let lenient = memchr::memchr_iter(b'\n', &bytes[..len]).any(|at| at == 0 || bytes[at - 1] != b'\r')
                    || bytes.starts_with(b"\r\n");
                prop_assert!(lenient, "refused {:?}", bytes.escape_ascii().to_string());
            }
        }
    }
}

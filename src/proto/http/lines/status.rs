//! The lines of a response head: a status line, then the same fields as in a request.

use super::{Field, split_fields};
use crate::proto::http::error::ParseError;
use crate::proto::http::rules::Version;
use crate::proto::http::words::value;

/// A response head whose lines are well-formed.
#[derive(Debug, Clone, Copy)]
pub(in crate::proto::http) struct StatusLines {
    pub(in crate::proto::http) version: Version,
    pub(in crate::proto::http) status: u16,
    /// Where the reason phrase stands.
    pub(in crate::proto::http) reason: [u16; 2],
    pub(in crate::proto::http) fields: usize,
    /// So far: at last with the blank line.
    pub(in crate::proto::http) len: usize,
}

/// Splits the response head at the start of `bytes`, which is not longer than [`HEAD_CAP`](super::HEAD_CAP). `Ok(None)`:
/// so far it is the beginning of one.
#[inline]
pub(in crate::proto::http) fn split_response(
    bytes: &[u8],
    fields: &mut [Field],
) -> Result<Option<StatusLines>, ParseError> {
    let Some(line) = status_line(bytes)? else { return Ok(None) };
    let Some((fields, len)) = split_fields(bytes, line.len, fields)? else { return Ok(None) };
    Ok(Some(StatusLines { fields, len, ..line }))
}

/// RFC 9112 §4: version, space, three digits, space, reason phrase. A line without the last space, which servers exist
/// that send, has no other meaning and is taken.
#[inline]
fn status_line(bytes: &[u8]) -> Result<Option<StatusLines>, ParseError> {
    let version = match bytes.first_chunk() {
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some(b"HTTP/1.0 ") => Version::Http10,
        _ => return odd_version(bytes).map(|()| None),
    };
    let mut status = 0;
    for at in CODE..CODE + 3 {
        match bytes.get(at) {
            // RFC 9110 §15: no code begins with 0. Those from 600 on are none either, but stand for a failure.
            Some(b'0') if at == CODE => return Err(ParseError::BadStatus),
            Some(digit @ b'0'..=b'9') => status = status * 10 + u16::from(digit - b'0'),
            Some(_) => return Err(ParseError::BadStatus),
            None => return Ok(None),
        }
    }
    let after = CODE + 3;
    let (from, to) = match bytes.get(after) {
        Some(b' ') => (after + 1, after + 1 + value(&bytes[after + 1..])),
        Some(b'\r' | b'\n') | None => (after, after),
        Some(_) => return Err(ParseError::BadStatus),
    };
    match bytes.get(to..).unwrap_or_default() {
        [b'\r', b'\n', ..] => {
            Ok(Some(StatusLines { version, status, reason: [from as u16, to as u16], fields: 0, len: to + 2 }))
        }
        [] | [b'\r'] => Ok(None),
        [b'\r', ..] => Err(ParseError::BareCr),
        [b'\n', ..] => Err(ParseError::BareLf),
        _ => Err(ParseError::BadStatus),
    }
}

/// Where the status code begins.
const CODE: usize = "HTTP/1.1 ".len();

/// Ok for the beginning of a version, else what is wrong with it.
#[cold]
fn odd_version(bytes: &[u8]) -> Result<(), ParseError> {
    let fits = |(byte, pattern): (&u8, &u8)| if *pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern };
    match bytes.iter().zip(b"HTTP/0.0 ").all(fits) {
        false => Err(ParseError::BadVersion),
        true if bytes.len() < CODE => Ok(()),
        true => Err(ParseError::UnsupportedVersion),
    }
}

//! Response heads, as a client reads them: as strict as request heads.

use std::fmt;

use super::{HEAD_CAP, HEADERS_CAP, HeadLimits, HeaderSpace, Scan, ascii};
use crate::proto::http::error::ParseError;
use crate::proto::http::lines::{Field, status};
use crate::proto::http::rules::response::{Asked, ResponseFacts, check_response};
use crate::proto::http::rules::{BodyLen, Version};

/// A response head: a view into the buffer that it was parsed from.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    raw: &'a [u8],
    fields: &'a [Field],
    status: u16,
    reason: [u16; 2],
    facts: ResponseFacts,
}

/// Parses the response head at the start of `buf`, the answer to a request of the method `asked`.
///
/// As [`parse`](super::parse) does for requests: `Ok(None)` asks for more bytes, any error is final, and the verdict does
/// not depend on how the bytes were cut. No empty line may come before a response. Of the limits, the target's does not
/// matter. Whatever two readers could understand differently is an error.
///
/// ```
/// use vansire::http::head::{Asked, HeaderSpace, Scan, parse_response};
/// use vansire::http::{BodyLen, HeadLimits};
///
/// let mut space = HeaderSpace::new();
/// let bytes = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nsorry";
/// let parsed = parse_response(bytes, &mut Scan::default(), &HeadLimits::default(), &mut space, Asked::Other)?;
/// let (head, used) = parsed.unwrap();
/// assert_eq!((head.status(), head.reason(), head.body_len()), (404, "Not Found", BodyLen::Length(5)));
/// assert_eq!(&bytes[used..], b"sorry");
/// # Ok::<(), vansire::http::ParseError>(())
/// ```
#[inline]
pub fn parse_response<'h>(
    buf: &'h [u8],
    scan: &mut Scan,
    limits: &HeadLimits,
    space: &'h mut HeaderSpace,
    asked: Asked,
) -> Result<Option<(ResponseHead<'h>, usize)>, ParseError> {
    let head_max = limits.head_max.min(HEAD_CAP);
    if scan.searched != 0 && !scan.is_due(buf, head_max) {
        return Ok(None);
    }
    let room = limits.headers_max.min(HEADERS_CAP);
    let Some(lines) = status::split_response(&buf[..buf.len().min(head_max)], space.room(room))? else {
        if buf.len() >= head_max {
            return Err(ParseError::HeadTooLarge);
        }
        scan.stopped_at(buf);
        return Ok(None);
    };
    scan.searched = 0;
    let raw = &buf[..lines.len];
    let fields = &space.fields[..lines.fields];
    let pairs = fields.iter().map(|field| (field.name(raw), field.value(raw)));
    let facts = check_response(lines.version, lines.status, asked, pairs)?;
    Ok(Some((ResponseHead { raw, fields, status: lines.status, reason: lines.reason, facts }, lines.len)))
}

impl<'a> ResponseHead<'a> {
    #[inline]
    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let raw = self.raw;
        self.fields.iter().map(move |field| (field.name(raw), field.value(raw)))
    }

    /// The status code. One from 600 on is no HTTP status: take it for a 5xx (RFC 9110 §15).
    #[inline]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The status is one of success: 2xx.
    pub fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The reason phrase, which may be empty and means nothing. Empty also where it is not UTF-8.
    pub fn reason(&self) -> &'a str {
        let [from, to] = self.reason.map(usize::from);
        self.raw.get(from..to).and_then(|reason| str::from_utf8(reason).ok()).unwrap_or_default()
    }

    /// The version of the response.
    #[inline]
    pub fn version(&self) -> Version {
        self.facts.version
    }

    /// The headers in their order: names in the server's letter case, values without the whitespace around them.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        self.fields().map(|(name, value)| (ascii(name), value))
    }

    /// The first header of this name in any letter case. None also where its value is not UTF-8: see
    /// [`header_bytes`](Self::header_bytes).
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.header_bytes(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// The value of the first header of this name in any letter case.
    pub fn header_bytes(&self, name: &str) -> Option<&'a [u8]> {
        self.header_all(name).next()
    }

    /// The values of all headers of this name in any letter case, in their order.
    pub fn header_all<'n>(&self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.fields().filter(move |(field, _)| field.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Where the body ends.
    #[inline]
    pub fn body_len(&self) -> BodyLen {
        self.facts.body_len
    }

    /// The server lets the connection go on after the response (RFC 9112 §9.3).
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.facts.keep_alive
    }

    /// The bytes of the head, from the version to the blank line.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.headers().map(|(name, value)| (name, value.escape_ascii().to_string()));
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("reason", &self.reason())
            .field("headers", &fields.collect::<Vec<_>>())
            .field("facts", &self.facts)
            .finish()
    }
}

#[cfg(test)]
mod tests;

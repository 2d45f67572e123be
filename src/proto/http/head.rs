//! Request heads: their lines, and the rules of RFC 9112 that need the whole head.
//!
//! [`parse`] also decides how a head that comes in pieces is read: after a piece that did not complete the head only the
//! new bytes are searched for the end, so that a head that arrives byte by byte costs linear time.
//!
//! A verdict never depends on how the bytes were cut: an error is the one that stands first in the bytes, then come the
//! rules that need the whole head.

mod response;

use std::fmt;

use super::error::ParseError;
use super::lines::{self, Field, text};
use super::rules::{BodyLen, Expect, Facts, Version, check};

pub use self::response::{ResponseHead, parse_response};
pub use super::lines::HEAD_CAP;
pub use super::rules::response::Asked;

/// The most header lines that any [`HeadLimits`] can admit.
pub const HEADERS_CAP: usize = 256;

/// Empty lines before a request line: clients that end a body with one too many CRLF exist (RFC 9112 §2.2).
const LEADING_LINES_MAX: usize = 4;

/// Bounds on a request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// The most bytes of a head, with the blank line that ends it. 16 KiB; never more than [`HEAD_CAP`].
    pub head_max: usize,
    /// The most header lines. 64; never more than [`HEADERS_CAP`].
    pub headers_max: usize,
    /// The most bytes of a request target. 8 KiB.
    pub target_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_max: 16 * 1024, headers_max: 64, target_max: 8 * 1024 }
    }
}

/// Where the search for the end of an unfinished head goes on. A new one for each connection; [`parse`] resets it when
/// a head is complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scan {
    searched: u32,
}

/// Room for the header lines of one [`Head`]: 2.4 KiB, to be used again and again.
///
/// Clients repeat themselves: a head of the same bytes as the one before has the same verdict, and is not looked at again.
pub struct HeaderSpace {
    fields: [Field; HEADERS_CAP],
    /// The head that `fields` are of, if that is to be known again.
    last: Option<Parts>,
    last_raw: [u8; REPEATED_MAX],
}

/// A longer head is not known again.
const REPEATED_MAX: usize = 256;

/// A head without its bytes.
#[derive(Debug, Clone, Copy)]
struct Parts {
    len: u16,
    fields: u16,
    method_len: u16,
    target_len: u16,
    facts: Facts,
}

impl Default for HeaderSpace {
    fn default() -> Self {
        Self::new()
    }
}

/// Without the bytes that it remembers: there may be credentials among them.
impl fmt::Debug for HeaderSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeaderSpace").finish_non_exhaustive()
    }
}

impl HeaderSpace {
    /// Empty room.
    pub fn new() -> Self {
        Self { fields: [Field::default(); HEADERS_CAP], last: None, last_raw: [0; REPEATED_MAX] }
    }

    /// Room for other fields than those that are there.
    fn room(&mut self, len: usize) -> &mut [Field] {
        self.last = None;
        &mut self.fields[..len]
    }

    /// The bytes begin with the same head as before, and the limits admit it.
    #[inline]
    fn repeated(&self, buf: &[u8], limits: &HeadLimits) -> Option<Parts> {
        let parts = self.last?;
        let len = usize::from(parts.len);
        let is_repeated = buf.get(..len)? == &self.last_raw[..len]
            && len <= limits.head_max
            && usize::from(parts.fields) <= limits.headers_max
            && usize::from(parts.target_len) <= limits.target_max;
        is_repeated.then_some(parts)
    }

    #[inline]
    fn remember(&mut self, raw: &[u8], parts: Parts) {
        if let Some(last) = self.last_raw.get_mut(..raw.len()) {
            last.copy_from_slice(raw);
            self.last = Some(parts);
        }
    }
}

/// A request head: a view into the buffer that it was parsed from.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    raw: &'a [u8],
    fields: &'a [Field],
    method_len: u16,
    target_len: u16,
    facts: Facts,
}

/// Parses the request head at the start of `buf`.
///
/// `Ok(None)` asks for more bytes: call again with the same `scan` and a `buf` that begins with the same bytes. A head
/// comes with the number of bytes that it took, blank line and leading empty lines included. Any error is final.
///
/// Allocates nothing. The cost is linear in the length of the head, however it is cut.
///
/// ```
/// use vansire::http::HeadLimits;
/// use vansire::http::head::{HeaderSpace, Scan, parse};
///
/// let mut space = HeaderSpace::new();
/// let bytes = b"GET /a?b=c HTTP/1.1\r\nHost: example.org\r\n\r\n";
/// let (head, used) = parse(bytes, &mut Scan::default(), &HeadLimits::default(), &mut space)?.unwrap();
/// assert_eq!((head.method(), head.target(), head.header("HOST")), ("GET", "/a?b=c", Some("example.org")));
/// assert_eq!(used, bytes.len());
/// # Ok::<(), vansire::http::ParseError>(())
/// ```
#[inline]
pub fn parse<'h>(
    buf: &'h [u8],
    scan: &mut Scan,
    limits: &HeadLimits,
    space: &'h mut HeaderSpace,
) -> Result<Option<(Head<'h>, usize)>, ParseError> {
    let head_max = limits.head_max.min(HEAD_CAP);
    if scan.searched != 0 {
        if !scan.is_due(buf, head_max) {
            return Ok(None);
        }
    } else if let Some(parts) = space.repeated(buf, limits) {
        return Ok(Some((Head::new(buf, &space.fields, parts), usize::from(parts.len))));
    }
    let bounded = &buf[..buf.len().min(head_max)];
    let lead = match bounded.first() {
        Some(b'\r' | b'\n') => leading_lines(bounded)?,
        Some(_) => 0,
        None => return Ok(None),
    };
    let head = &bounded[lead..];
    let room = limits.headers_max.min(HEADERS_CAP);
    let split = match head {
        // It may become one more empty line.
        [b'\r'] => None,
        _ => lines::split(head, limits.target_max, space.room(room))?,
    };
    if let Some(lines) = split {
        scan.searched = 0;
        let raw = &head[..lines.len];
        let facts = check(raw, &lines, &space.fields[..lines.fields])?;
        let [len, fields, method_len, target_len] =
            [lines.len, lines.fields, lines.method_len, lines.target_len].map(|len| len as u16);
        let parts = Parts { len, fields, method_len, target_len, facts };
        space.remember(raw, parts);
        return Ok(Some((Head::new(raw, &space.fields, parts), lead + lines.len)));
    }
    if buf.len() >= head_max {
        return Err(ParseError::HeadTooLarge);
    }
    scan.stopped_at(buf);
    Ok(None)
}

#[inline]
fn fields_of<'a>(raw: &'a [u8], fields: &'a [Field]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    fields.iter().map(move |field| (field.name(raw), field.value(raw)))
}

impl<'a> Head<'a> {
    /// Of the bytes that begin with it.
    #[inline]
    fn new(buf: &'a [u8], fields: &'a [Field; HEADERS_CAP], parts: Parts) -> Self {
        let Parts { len, fields: fields_len, method_len, target_len, facts } = parts;
        let (raw, fields) = (&buf[..usize::from(len)], &fields[..usize::from(fields_len)]);
        Self { raw, fields, method_len, target_len, facts }
    }

    #[inline]
    fn target_bytes(&self) -> &'a [u8] {
        let from = usize::from(self.method_len) + 1;
        &self.raw[from..from + usize::from(self.target_len)]
    }

    #[inline]
    fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        fields_of(self.raw, self.fields)
    }

    /// The method, in the client's letter case: methods are case-sensitive.
    #[inline]
    pub fn method(&self) -> &'a str {
        ascii(&self.raw[..usize::from(self.method_len)])
    }

    /// The method is HEAD: the reply has no body.
    #[inline]
    pub fn is_head(&self) -> bool {
        self.raw.starts_with(b"HEAD ")
    }

    /// The method is CONNECT: it asks for a tunnel.
    #[inline]
    pub fn is_connect(&self) -> bool {
        self.raw.starts_with(b"CONNECT ")
    }

    /// The request target as it came: origin-form (`/a?b`), absolute-form (`http://h/a`), authority-form (CONNECT only)
    /// or `*` (OPTIONS only).
    #[inline]
    pub fn target(&self) -> &'a str {
        ascii(self.target_bytes())
    }

    /// The version of the request.
    #[inline]
    pub fn version(&self) -> Version {
        self.facts.version
    }

    /// The headers in their order: names in the client's letter case, values without the whitespace around them.
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

    /// The host and port that the request is for: of the target where it names them (RFC 9112 §3.2.2), else of the Host
    /// header. None in HTTP/1.0 without Host.
    #[inline]
    pub fn host(&self) -> Option<&'a str> {
        self.facts.host.and_then(|host| str::from_utf8(text(self.raw, host)).ok())
    }

    /// How the request says where its body ends.
    #[inline]
    pub fn body_len(&self) -> BodyLen {
        self.facts.body_len
    }

    /// The client wants the connection to go on after the reply (RFC 9112 §9.3).
    #[inline]
    pub fn keep_alive(&self) -> bool {
        self.facts.keep_alive
    }

    /// What the client waits for before it sends the body.
    #[inline]
    pub fn expect(&self) -> Expect {
        self.facts.expect
    }

    /// The protocols that the client would change to: the first Upgrade header, where Connection names it too and the
    /// version is 1.1 (RFC 9110 §7.8).
    #[inline]
    pub fn upgrade(&self) -> Option<&'a str> {
        self.facts.upgrade.and_then(|protocols| str::from_utf8(text(self.raw, protocols)).ok())
    }

    /// The bytes of the head, from the method to the blank line.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

impl Scan {
    /// Whether it is worth parsing again: the end has come, or a bound, or a bare LF (which has a verdict), or twice the
    /// bytes of the last time (so that a hostile head is refused long before it ends, at a linear cost).
    #[inline]
    fn is_due(&mut self, buf: &[u8], head_max: usize) -> bool {
        let from = self.searched as usize;
        let is_due = buf.len() >= head_max
            || buf.len().checked_ilog2() > from.checked_ilog2()
            || line_ends(buf, from).any(|end| end.is_last || end.is_bare);
        if !is_due {
            self.stopped_at(buf);
        }
        is_due
    }

    /// A line end that the last two bytes may still turn into the end of the head is searched again.
    fn stopped_at(&mut self, buf: &[u8]) {
        let back = match buf {
            [.., b'\n', b'\r'] => 2,
            [.., b'\n'] => 1,
            _ => 0,
        };
        self.searched = u32::try_from(buf.len() - back).unwrap_or(u32::MAX);
    }
}

struct LineEnd {
    /// No CR stands before the LF.
    is_bare: bool,
    /// A blank line follows.
    is_last: bool,
}

/// The line ends of `buf` at and after `from`.
fn line_ends(buf: &[u8], from: usize) -> impl Iterator<Item = LineEnd> {
    memchr::memchr_iter(b'\n', buf.get(from..).unwrap_or_default()).map(move |at| {
        let at = from + at;
        LineEnd {
            is_bare: at == 0 || buf[at - 1] != b'\r',
            is_last: matches!(buf[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]),
        }
    })
}

/// The length of the empty lines before the request line.
#[cold]
fn leading_lines(buf: &[u8]) -> Result<usize, ParseError> {
    let mut len = 0;
    while let [b'\r', b'\n', ..] = buf[len..] {
        len += 2;
        if len > 2 * LEADING_LINES_MAX {
            return Err(ParseError::TooManyLeadingLines);
        }
    }
    match buf[len..] {
        [b'\n', ..] => Err(ParseError::BareLf),
        [b'\r', _, ..] => Err(ParseError::BareCr),
        _ => Ok(len),
    }
}

/// Text that was checked to be ASCII when the head was split.
#[inline]
fn ascii(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap_or_default()
}

impl fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.headers().map(|(name, value)| (name, value.escape_ascii().to_string()));
        f.debug_struct("Head")
            .field("method", &self.method())
            .field("target", &self.target())
            .field("headers", &fields.collect::<Vec<_>>())
            .field("version", &self.version())
            .field("host", &self.host())
            .field("body_len", &self.body_len())
            .field("keep_alive", &self.keep_alive())
            .field("expect", &self.expect())
            .field("upgrade", &self.upgrade())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: HeadLimits = HeadLimits { head_max: 1024, headers_max: 8, target_max: 256 };

    /// In a form that outlives the buffer.
    type Verdict = Result<Option<(String, usize)>, ParseError>;

    fn verdict(buf: &[u8], scan: &mut Scan) -> Verdict {
        verdict_in(buf, scan, &LIMITS, &mut HeaderSpace::new())
    }

    fn verdict_in(buf: &[u8], scan: &mut Scan, limits: &HeadLimits, space: &mut HeaderSpace) -> Verdict {
        let parsed = parse(buf, scan, limits, space)?;
        Ok(parsed.map(|(head, used)| (format!("{head:?}"), used)))
    }

    fn error_of(bytes: &[u8]) -> Option<ParseError> {
        verdict(bytes, &mut Scan::default()).err()
    }

    #[test]
    fn a_head_is_a_view_of_its_bytes() {
        let bytes = b"\r\nPOST /a?b HTTP/1.1\r\nHost: a:80\r\nX-A:\t1 \r\nx-a: \xff\r\nConnection: x, Upgrade\r\n\
            Upgrade: websocket\r\nContent-Length: 5 \r\nExpect: 100-Continue\r\n\r\nhello";
        let mut space = HeaderSpace::new();
        let (head, used) = parse(bytes, &mut Scan::default(), &LIMITS, &mut space).unwrap().unwrap();
        assert_eq!(&bytes[used..], b"hello");
        assert_eq!(head.raw(), &bytes[2..used]);
        assert_eq!((head.method(), head.target(), head.version()), ("POST", "/a?b", Version::Http11));
        assert_eq!(head.host(), Some("a:80"));
        assert_eq!((head.body_len(), head.expect()), (BodyLen::Length(5), Expect::Continue));
        assert_eq!((head.keep_alive(), head.upgrade(), head.is_head()), (true, Some("websocket"), false));
        // E2: any letter case; missing is None; all in their order.
        for name in ["X-A", "x-a", "X-a"] {
            assert_eq!(head.header(name), Some("1"), "{name}");
        }
        assert_eq!(head.header("X-B").unwrap_or("default"), "default");
        assert_eq!(head.header_all("x-A").collect::<Vec<_>>(), [&b"1"[..], b"\xff"]);
        assert_eq!(head.headers().count(), 7);
        assert_eq!(head.headers().nth(1), Some(("X-A", &b"1"[..])));
    }

    #[test]
    fn a_value_that_is_not_utf_8_is_bytes_only() {
        let mut space = HeaderSpace::new();
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: \xff\r\n\r\n";
        let (head, _) = parse(bytes, &mut Scan::default(), &LIMITS, &mut space).unwrap().unwrap();
        assert_eq!((head.header("x"), head.header_bytes("x")), (None, Some(&b"\xff"[..])));
    }

    /// The rest of a request line and its headers, each by a rule of RFC 9112.
    #[test]
    fn hostile_heads_are_refused_by_name() {
        use ParseError::*;
        let long = |prefix: &str, len: usize, rest: &str| format!("{prefix}{}{rest}", "a".repeat(len)).into_bytes();
        let nine = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(9)).into_bytes();
        let table: &[(&str, &[u8], ParseError)] = &[
            ("E11 no version", b"GET /\r\nHost: a\r\n\r\n", BadTarget),
            ("E11 HTTP/0.9", b"GET /\r\n\r\n", BadTarget),
            ("E11 HTTP/1", b"GET / HTTP/1\r\nHost: a\r\n\r\n", BadVersion),
            ("HTTP/1.", b"GET / HTTP/1.\r\nHost: a\r\n\r\n", BadVersion),
            ("HTTP/1.10", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", BadVersion),
            ("HTTP/01.1", b"GET / HTTP/01.1\r\nHost: a\r\n\r\n", BadVersion),
            ("HTTP/-1.1", b"GET / HTTP/-1.1\r\nHost: a\r\n\r\n", BadVersion),
            ("http/1.1", b"GET / http/1.1\r\nHost: a\r\n\r\n", BadVersion),
            ("RTSP", b"OPTIONS / RTSP/1.0\r\nHost: a\r\n\r\n", BadVersion),
            ("three parts", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", BadVersion),
            ("HTTP/2.0 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UnsupportedVersion),
            ("HTTP/3.0", b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", UnsupportedVersion),
            ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", UnsupportedVersion),
            ("HTTP/2x", b"GET / HTTP/2x\r\n", BadVersion),
            ("empty method", b" / HTTP/1.1\r\nHost: a\r\n\r\n", BadMethod),
            ("method with a colon", b"GET: / HTTP/1.1\r\nHost: a\r\n\r\n", BadMethod),
            ("a status line", b"HTTP/1.1 200 OK\r\nHost: a\r\n\r\n", BadMethod),
            ("TLS on a plain port", b"\x16\x03\x01\x02\x00\x01", BadMethod),
            ("an MQTT CONNECT", b"\x10\x0c\x00\x04MQTT", BadMethod),
            ("empty target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("E27 NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("CR in the target", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("fragment", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("UTF-8 in the target", "GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(), BadTarget),
            ("obs-text in the target", b"GET /\xfc HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("no slash", b"GET x HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("asterisk of GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("path of CONNECT", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("CONNECT without port", b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("authority-form of GET", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("URI without host", b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("user info in the target", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", BadTarget),
            ("bare CR after the version", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BareCr),
            ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", BareCr),
            ("E11 bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", BareCr),
            ("bare CR in the blank line", b"GET / HTTP/1.1\r\nHost: a\r\n\rZ", BareCr),
            ("bare LF", b"GET / HTTP/1.1\nHost: a\n\n", BareLf),
            ("bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", BareLf),
            ("bare LF after a header", b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", BareLf),
            ("bare LF after whitespace", b"GET / HTTP/1.1\r\nHost: a \nX: y\r\n\r\n", BareLf),
            ("bare LF after an empty value", b"GET / HTTP/1.1\r\nHost: a\r\nX:\n\r\n", BareLf),
            ("bare LF as the blank line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", BareLf),
            ("bare LF in an unfinished head", b"GET / HTTP/1.1\r\nHost: a\nX", BareLf),
            ("LF before the request line", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareLf),
            ("LF after an empty line", b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareLf),
            ("CR before the request line", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", BareCr),
            ("five empty lines", b"\r\n\r\n\r\n\r\n\r\n", TooManyLeadingLines),
            ("E11 obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", ObsFold),
            ("obs-fold by tab", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n", ObsFold),
            ("space before the first header", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", ObsFold),
            ("E11 space before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", SpaceBeforeColon),
            ("tab before the colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n", SpaceBeforeColon),
            ("E11 empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", BadHeaderName),
            ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", BadHeaderName),
            ("E11 control in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\x01: y\r\n\r\n", BadHeaderName),
            ("E11 bad UTF-8 in a name", b"GET / HTTP/1.1\r\nHost: a\r\nX\xff: y\r\n\r\n", BadHeaderName),
            ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", BadHeaderValue),
            ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", BadHeaderValue),
            ("E11 control in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", BadHeaderValue),
            ("too many headers", &nine, TooManyHeaders),
            ("method too long", &long("", 33, " / HTTP/1.1\r\n"), MethodTooLong),
            ("endless method", &long("", 33, ""), MethodTooLong),
            ("target too long", &long("GET /", 256, " HTTP/1.1\r\n"), TargetTooLong),
            ("endless target", &long("GET /", 256, ""), TargetTooLong),
            ("target too long, then garbage", &long("GET /", 256, "\x01"), TargetTooLong),
            ("E27 head too large", &long("GET / HTTP/1.1\r\nHost: a\r\nX: ", 1024, "\r\n\r\n"), HeadTooLarge),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(error_of(bytes), Some(*expected), "{name}");
        }
    }

    /// RFC 9112 §2.5, §3.2: what a strict reader must still accept.
    #[test]
    fn odd_but_legal_heads_are_accepted() {
        let eight = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(7));
        let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(255));
        let exact = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(1024 - 32));
        assert_eq!(exact.len(), 1024);
        let table: &[(&str, &[u8])] = &[
            ("no space after the colon", b"GET / HTTP/1.1\r\nHost:a\r\n\r\n"),
            ("tabs around a value", b"GET / HTTP/1.1\r\nHost:\ta\t \r\n\r\n"),
            ("every tchar in a name", b"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09azAZ: v\r\n\r\n"),
            ("E27 unknown method", b"A-B_C!~ / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("empty lines first", b"\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("HTTP/1.0 without headers", b"GET / HTTP/1.0\r\n\r\n"),
            ("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
            ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("CONNECT", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
            ("absolute-form", b"GET HTTP://a:80/x?y HTTP/1.1\r\nHost: b\r\n\r\n"),
            ("absolute-form without path", b"GET http://[::1]?q HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("as many headers as allowed", eight.as_bytes()),
            ("as long a target as allowed", target.as_bytes()),
            ("as long a head as allowed", exact.as_bytes()),
        ];
        for (name, bytes) in table {
            let used = verdict(bytes, &mut Scan::default()).unwrap().map(|(_, used)| used);
            assert_eq!(used, Some(bytes.len()), "{name}");
        }
    }

    /// E13: no header is dropped, wherever it stands; HEADERS_CAP bounds every limit.
    #[test]
    fn a_length_after_many_headers_counts() {
        let limits = HeadLimits { headers_max: usize::MAX, ..HeadLimits::default() };
        for (before, expected) in [(30, true), (100, true), (HEADERS_CAP - 2, true), (HEADERS_CAP - 1, false)] {
            let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\n{}Content-Length: 7\r\n\r\n", "A: b\r\n".repeat(before));
            let mut space = HeaderSpace::new();
            let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &limits, &mut space);
            match parsed {
                Ok(Some((head, _))) => assert!(expected && head.body_len() == BodyLen::Length(7), "{before}"),
                other => assert!(!expected && other.is_err_and(|e| e == ParseError::TooManyHeaders), "{before}"),
            }
        }
    }

    /// E10: a head cut at every byte asks for more, and the bytes that follow it change nothing.
    #[test]
    fn every_prefix_of_a_head_asks_for_more() {
        let heads: &[&[u8]] = &[
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\r\n\r\nPOST http://a/b HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nX:\r\nY: \t \r\n\r\n",
            b"OPTIONS * HTTP/1.0\r\n\r\n",
        ];
        for head in heads {
            let mut kept = Scan::default();
            for len in 0..head.len() {
                assert_eq!(verdict(&head[..len], &mut Scan::default()), Ok(None), "cut at {len}");
                assert_eq!(verdict(&head[..len], &mut kept), Ok(None), "cut at {len}");
            }
            let whole = verdict(head, &mut kept).unwrap().unwrap();
            assert_eq!(whole.1, head.len());
            assert_eq!(kept, Scan::default());
            let followed = [head, &b"\n\0GET"[..]].concat();
            assert_eq!(verdict(&followed, &mut Scan::default()), Ok(Some(whole)));
        }
    }

    #[test]
    fn a_head_that_comes_again_has_the_same_verdict_unless_the_limits_are_others() {
        let head = b"GET http://b/c HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let followed = [&head[..], b"GET"].concat();
        let mut space = HeaderSpace::new();
        let mut again = |buf: &[u8], limits: &HeadLimits| verdict_in(buf, &mut Scan::default(), limits, &mut space);
        let first = again(head, &LIMITS);
        assert_eq!(first, verdict(head, &mut Scan::default()));
        assert_eq!((again(&followed, &LIMITS), again(&head[..20], &LIMITS)), (first.clone(), Ok(None)));
        assert_eq!(again(head, &HeadLimits { head_max: 10, ..LIMITS }), Err(ParseError::HeadTooLarge));
        again(head, &LIMITS).unwrap();
        assert_eq!(again(head, &HeadLimits { headers_max: 2, ..LIMITS }), Err(ParseError::TooManyHeaders));
        again(head, &LIMITS).unwrap();
        assert_eq!(again(head, &HeadLimits { target_max: 9, ..LIMITS }), Err(ParseError::TargetTooLong));
        assert_eq!(again(head, &LIMITS), first);
        // The room was used for something else meanwhile, which failed.
        assert_eq!(again(b"GET / HTTP/1.1\r\nX: y\r\n\r\n", &LIMITS), Err(ParseError::HostMissing));
        assert_eq!(again(head, &LIMITS), first);
        let response = b"HTTP/1.1 200 OK\r\nA: b\r\n";
        parse_response(response, &mut Scan::default(), &LIMITS, &mut space, Asked::Other).unwrap();
        assert_eq!(verdict_in(head, &mut Scan::default(), &LIMITS, &mut space), first);
    }

    /// E24: the bytes parsed in all stay below four times the bytes received.
    #[test]
    fn a_head_that_comes_byte_by_byte_is_parsed_a_few_times_only() {
        let limits = HeadLimits { head_max: HEAD_CAP, headers_max: 64, target_max: HEAD_CAP };
        let bytes =
            [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &vec![b'a'; HEAD_CAP - 100][..], b"\r\nY: z\r\n\r\n"].concat();
        let mut scan = Scan::default();
        let mut parsed = 0;
        for len in 1..=bytes.len() {
            let due = scan.searched == 0 || { scan }.is_due(&bytes[..len], limits.head_max);
            if due {
                parsed += len;
            }
            let mut space = HeaderSpace::new();
            let done = parse(&bytes[..len], &mut scan, &limits, &mut space).unwrap().is_some();
            assert_eq!(done, len == bytes.len());
        }
        assert!(parsed < 4 * bytes.len(), "{parsed} bytes parsed for {}", bytes.len());
    }

    /// The verdict for bytes that come in the given pieces.
    fn verdict_in_pieces(bytes: &[u8], cuts: &[usize]) -> Result<Option<(String, usize)>, ParseError> {
        let mut scan = Scan::default();
        let mut len = 0;
        for cut in cuts.iter().copied().chain([bytes.len()]) {
            len = bytes.len().min(len + cut);
            match verdict(&bytes[..len], &mut scan) {
                Ok(None) => {}
                done => return done,
            }
        }
        Ok(None)
    }

    /// Lines that are often legal, so that errors meet each other in every order.
    fn head_bytes() -> impl Strategy<Value = Vec<u8>> {
        let request_line = prop::sample::select(vec![
            "GET / HTTP/1.1",
            "POST /a HTTP/1.1",
            "GET / HTTP/1.0",
            "GET /# HTTP/1.1",
            "PRI * HTTP/2.0",
            "GET /",
            "G@T / HTTP/1.1",
            "GET http://a HTTP/1.1",
            "GET /\x01 HTTP/1.1",
            "GET / HTTP/2",
            "\r\nGET / HTTP/1.1",
            "\nGET / HTTP/1.1",
        ]);
        let line = prop::sample::select(vec![
            "Host: a",
            "Host: b",
            "Host: a b",
            "Content-Length: 5",
            "Content-Length: x",
            "Transfer-Encoding: chunked",
            "X: y",
            "Transfer-Encoding: gzip",
            "X : y",
            " fold",
            "X: \x01",
            "X: a\rb",
            "Connection: close",
            "X",
            ": y",
            "X:",
            "Y: \t",
            "Expect: 100-continue",
            "Upgrade: x",
            "",
        ]);
        let end = prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r"]);
        let lines = prop::collection::vec((line, end.clone()), 0..12);
        (request_line, end, lines, any::<bool>()).prop_map(|(request_line, end, lines, is_ended)| {
            let mut text = format!("{request_line}{end}");
            lines.iter().for_each(|(line, end)| text.extend([*line, *end]));
            text.push_str(if is_ended { "\r\n" } else { "" });
            text.into_bytes()
        })
    }

    /// Pieces may find an error later than the whole does, but never another one.
    fn assert_same_verdict(bytes: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
        let whole = verdict(bytes, &mut Scan::default());
        let mut pieces = verdict_in_pieces(bytes, cuts);
        if pieces == Ok(None) && whole.is_err() {
            let mut ended = [bytes, b"\r\n\r\n"].concat();
            ended.resize(ended.len().max(LIMITS.head_max), b'.');
            pieces = verdict_in_pieces(&ended, cuts);
        }
        prop_assert_eq!(pieces, whole);
        Ok(())
    }

    proptest! {
        #[test]
        fn what_was_there_before_does_not_change_a_verdict(
            heads in prop::collection::vec(head_bytes(), 1..4),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut space = HeaderSpace::new();
            for at in order {
                let bytes = at.get(&heads);
                let found = verdict_in(bytes, &mut Scan::default(), &LIMITS, &mut space);
                prop_assert_eq!(found, verdict(bytes, &mut Scan::default()));
            }
        }

        #[test]
        fn any_cut_gives_the_same_verdict(bytes in head_bytes(), cuts in prop::collection::vec(1usize..40, 0..40)) {
            assert_same_verdict(&bytes, &cuts)?;
            assert_same_verdict(&bytes, &vec![1; bytes.len()])?;
        }

        #[test]
        fn any_bytes_give_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            assert_same_verdict(&bytes, &vec![1; bytes.len()])?;
        }
    }
}

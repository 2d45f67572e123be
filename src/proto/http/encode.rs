//! Messages as bytes: the heads of replies and requests, chunks, the refusal of a request.
//!
//! Every function checks before it writes: an error leaves the buffer as it was.

pub(crate) mod request;

use std::fmt;

use bytes::Bytes;

pub use self::request::{RequestBody, RequestTo, encode_request};
use super::response::{Body, ContentType, Response};
use super::rules::Version;
use super::status::{reason, status_line};
use super::syntax::{is_token, is_value_byte};

/// Why a message cannot be sent. Nothing of it went to the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// A header name that is not a token (RFC 9110 §5.1).
    BadHeaderName(String),
    /// The header of this name has a control character in its value: CR, LF, NUL or another (RFC 9110 §5.5).
    BadHeaderValue(String),
    /// The header of this name is not the caller's to set: it says where the message ends, or what becomes of the
    /// connection.
    ReservedHeader(String),
    /// A field that may not stand in a trailer (RFC 9110 §6.5.1).
    NotATrailer(String),
    /// A method that is not a token, or that a client may not send by itself (RFC 9110 §9.1).
    BadMethod(String),
    /// A request target with a byte that may not stand there, or of a form that does not fit the method (RFC 9112 §3.2).
    BadTarget(String),
    /// A status code that is not in 100..=599 (RFC 9110 §15).
    BadStatus(u16),
}

/// What the encoder must know of the request.
#[derive(Debug, Clone, Copy)]
pub struct ReplyTo<'a> {
    /// The version of the request.
    pub version: Version,
    /// The method was HEAD.
    pub head_request: bool,
    /// The client and the server would let the connection go on.
    pub keep_alive: bool,
    /// The value of the Date header.
    pub date: &'a [u8; 29],
}

/// How the peer learns where the body ends (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

/// What must follow a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoded {
    /// The connection goes on after the reply.
    pub keep_alive: bool,
    /// None: no byte of a body may follow (HEAD, 204, 304...). It differs from what was asked for where an HTTP/1.0
    /// client would not understand chunks.
    pub framing: Option<Framing>,
}

/// The interim reply to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Response<'_> {
    /// Says what would keep this reply from being sent: a bad status, a bad header, one that is the server's to set. A
    /// Content-Length passes where it may stand in a reply to HEAD.
    ///
    /// ```
    /// use vansire::http::Response;
    ///
    /// assert!(Response::new(200).header("X-Name", "a\r\nSet-Cookie: b").validate().is_err());
    /// ```
    pub fn validate(&self) -> Result<(), EncodeError> {
        let to = ReplyTo { version: Version::Http11, head_request: true, keep_alive: true, date: &[0; 29] };
        survey(self, &to).map(drop)
    }
}

/// Appends a whole reply, but for a shared body, which is handed back to be queued behind it.
#[inline(always)]
pub fn encode_reply(
    out: &mut Vec<u8>,
    r: &Response<'_>,
    to: &ReplyTo<'_>,
) -> Result<(Encoded, Option<Bytes>), EncodeError> {
    encode_again(out, r, to, &mut UsualHead::new())
}

/// As [`encode_reply`], where `last` is the head of the usual reply before: it is mostly the same.
#[inline(always)]
pub(crate) fn encode_again(
    out: &mut Vec<u8>,
    r: &Response<'_>,
    to: &ReplyTo<'_>,
    last: &mut UsualHead,
) -> Result<(Encoded, Option<Bytes>), EncodeError> {
    if let Some(body) = usual(r, to) {
        out.reserve(UsualHead::MAX + body.len());
        out.extend_from_slice(last.of(r.type_of_body(), body.len(), to.date));
        out.extend_from_slice(body);
        return Ok((Encoded { keep_alive: true, framing: Some(Framing::Length(body.len() as u64)) }, None));
    }
    encode_any(out, r, to)
}

/// Appends a reply of any kind. Apart from the usual one, which is so short that it is encoded where it is asked for.
#[inline(never)]
fn encode_any(out: &mut Vec<u8>, r: &Response<'_>, to: &ReplyTo<'_>) -> Result<(Encoded, Option<Bytes>), EncodeError> {
    let encoded = encode_head(out, r, to, Framing::Length(r.body_len() as u64))?;
    match r.the_body() {
        _ if encoded.framing.is_none() => Ok((encoded, None)),
        Body::None => Ok((encoded, None)),
        Body::Slice(body) => {
            out.extend_from_slice(body);
            Ok((encoded, None))
        }
        Body::Shared(body) => Ok((encoded, Some(body.clone()))),
    }
}

/// The body of the usual reply: 200 to GET on a connection that goes on, with no header of the caller's.
#[inline]
fn usual<'r>(r: &'r Response<'_>, to: &ReplyTo<'_>) -> Option<&'r [u8]> {
    let is_usual = r.status() == 200
        && to.keep_alive
        && !to.head_request
        && to.version == Version::Http11
        && !r.wants_close()
        && r.has_no_headers();
    match r.the_body() {
        Body::Slice(body) if is_usual && !body.is_empty() => Some(body),
        Body::Slice(_) | Body::None | Body::Shared(_) => None,
    }
}

/// The head of the usual reply. Many in a row differ in nothing.
#[derive(Debug)]
pub(crate) struct UsualHead {
    text: [u8; Self::MAX],
    len: usize,
    /// What it is made of, besides the date in it.
    of: (usize, usize),
}

impl UsualHead {
    /// The longest: 23 bytes, the date, 18, 20 digits, 45.
    const MAX: usize = 135;
    const BEFORE_DATE: &'static [u8] = b"HTTP/1.1 200 OK\r\nDate: ";
    const TYPES: [&'static [u8]; 3] = [
        b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n",
        b"\r\nContent-Type: text/html; charset=utf-8\r\n\r\n",
        b"\r\nContent-Type: application/json\r\n\r\n",
    ];

    pub(crate) const fn new() -> Self {
        Self { text: [0; Self::MAX], len: 0, of: (0, 0) }
    }

    /// What the long way would write for a body of this type and length, which is not empty.
    #[inline]
    fn of(&mut self, content_type: ContentType<'_>, body_len: usize, date: &[u8; 29]) -> &[u8] {
        let of = match content_type {
            ContentType::Default | ContentType::Text => (0, body_len),
            ContentType::Html => (1, body_len),
            ContentType::Json | ContentType::Given(_) => (2, body_len),
        };
        if self.of != of || self.text[Self::BEFORE_DATE.len()..][..date.len()] != *date {
            self.renew(of, date);
        }
        &self.text[..self.len]
    }

    #[inline(never)]
    fn renew(&mut self, of: (usize, usize), date: &[u8; 29]) {
        let (content_type, body_len) = of;
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(body_len).as_bytes();
        let parts = [Self::BEFORE_DATE, date, b"\r\nContent-Length: ", digits, Self::TYPES[content_type]];
        self.len = 0;
        for part in parts {
            self.text[self.len..][..part.len()].copy_from_slice(part);
            self.len += part.len();
        }
        self.of = of;
    }
}

/// Appends the head of a reply whose body comes in the given framing.
pub fn encode_head(
    out: &mut Vec<u8>,
    r: &Response<'_>,
    to: &ReplyTo<'_>,
    framing: Framing,
) -> Result<Encoded, EncodeError> {
    let status = r.status();
    let found = survey(r, to)?;
    let framing = match framing {
        // RFC 9112 §6.1: no Transfer-Encoding to a client that did not say HTTP/1.1.
        Framing::Chunked if to.version == Version::Http10 => Framing::UntilClose,
        // RFC 9110 §15.3.6: a 205 has no content.
        _ if status == 205 => Framing::Length(0),
        other => other,
    };
    // RFC 9110 §6.4.1.
    let is_bodyless = matches!(status, 100..=199 | 204 | 304);
    let sends_body = !is_bodyless && !to.head_request && status != 205;
    let keep_alive = to.keep_alive && !found.close && !(sends_body && framing == Framing::UntilClose);

    out.reserve(256);
    put_status(out, status);
    if !found.date && status >= 200 {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(to.date);
        out.extend_from_slice(b"\r\n");
    }
    match (keep_alive, to.version) {
        (true, Version::Http11) => {}
        _ if status < 200 => {}
        (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
    }
    match (found.length, framing) {
        (Some(length), _) => put_length(out, length),
        // RFC 9110 §8.6: no Content-Length in 1xx and 204; in 304 only what GET would send, which we do not know.
        _ if is_bodyless => {}
        (None, Framing::Length(length)) => put_length(out, length),
        (None, Framing::Chunked) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        (None, Framing::UntilClose) => {}
    }
    let has_content = !is_bodyless && framing != Framing::Length(0);
    match r.type_of_body() {
        _ if found.content_type => {}
        ContentType::Default if !has_content => {}
        ContentType::Default | ContentType::Text => {
            out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n");
        }
        ContentType::Html => out.extend_from_slice(b"Content-Type: text/html; charset=utf-8\r\n"),
        ContentType::Json => out.extend_from_slice(b"Content-Type: application/json\r\n"),
        ContentType::Given(value) => put_header(out, "Content-Type", value),
    }
    for (name, value) in r.headers() {
        if !is_framing(name, status) {
            put_header(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(Encoded { keep_alive, framing: sends_body.then_some(framing) })
}

/// Appends a small complete reply that refuses a request and ends the connection. An empty `why` sends no body, as a
/// reply to HEAD must.
pub fn refusal(out: &mut Vec<u8>, status: u16, why: &str, date: &[u8; 29]) {
    put_status(out, status);
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\nConnection: close\r\n");
    if why.is_empty() {
        out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        return;
    }
    let phrase = reason(status);
    put_length(out, (phrase.len() + ": ".len() + why.len() + "\n".len()) as u64);
    out.extend_from_slice(b"Content-Type: text/plain; charset=utf-8\r\n\r\n");
    for part in [phrase, ": ", why, "\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends one chunk (RFC 9112 §7.1). No data is no chunk: an empty one would end the body.
pub fn put_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if !data.is_empty() {
        put_chunk_prefix(out, data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(CHUNK_SUFFIX);
    }
}

/// Appends what precedes the data of a chunk that is not empty, for data that is queued by itself.
pub fn put_chunk_prefix(out: &mut Vec<u8>, len: usize) {
    debug_assert_ne!(len, 0, "an empty chunk ends the body");
    let digits = (len.max(1).ilog2() / 4 + 1) as usize;
    out.extend((0..digits).rev().map(|at| b"0123456789abcdef"[(len >> (4 * at)) & 0xf]));
    out.extend_from_slice(b"\r\n");
}

/// What follows the data of a chunk.
pub const CHUNK_SUFFIX: &[u8] = b"\r\n";

/// Says what would keep these fields from being sent as trailers.
pub fn check_trailers(trailers: &[(&str, &str)]) -> Result<(), EncodeError> {
    for (name, value) in trailers {
        check_header(name, value)?;
        if NOT_TRAILERS.iter().any(|no| no.eq_ignore_ascii_case(name)) {
            return Err(EncodeError::NotATrailer((*name).to_owned()));
        }
    }
    Ok(())
}

/// Appends the last chunk and the trailer fields.
pub fn put_last_chunk(out: &mut Vec<u8>, trailers: &[(&str, &str)]) -> Result<(), EncodeError> {
    check_trailers(trailers)?;
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        put_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// RFC 9110 §6.5.1: what a recipient needs before the content (framing, routing, request modifiers, authentication,
/// content format, control data) comes too late in a trailer.
const NOT_TRAILERS: &[&str] = &[
    "Transfer-Encoding",
    "Content-Length",
    "Trailer",
    "Connection",
    "Keep-Alive",
    "TE",
    "Upgrade",
    "Host",
    "Date",
    "Content-Encoding",
    "Content-Type",
    "Content-Range",
    "Location",
    "Cache-Control",
    "Expires",
    "Vary",
    "Retry-After",
    "Set-Cookie",
    "WWW-Authenticate",
    "Proxy-Authenticate",
    "Authentication-Info",
];

/// What the caller's headers decide.
struct Survey {
    content_type: bool,
    date: bool,
    close: bool,
    length: Option<u64>,
}

fn survey(r: &Response<'_>, to: &ReplyTo<'_>) -> Result<Survey, EncodeError> {
    if !(100..=599).contains(&r.status()) {
        return Err(EncodeError::BadStatus(r.status()));
    }
    let mut found = Survey { content_type: false, date: false, close: r.wants_close(), length: None };
    if let ContentType::Given(value) = r.type_of_body() {
        check_header("Content-Type", value)?;
    }
    for (name, value) in r.headers() {
        check_header(name, value)?;
        let reserved = || EncodeError::ReservedHeader(name.to_owned());
        match name.len() {
            4 if name.eq_ignore_ascii_case("date") => found.date = true,
            12 if name.eq_ignore_ascii_case("content-type") => found.content_type = true,
            10 if name.eq_ignore_ascii_case("connection") => match value {
                _ if r.status() == 101 => {}
                _ if value.eq_ignore_ascii_case("close") => found.close = true,
                _ => return Err(reserved()),
            },
            14 if name.eq_ignore_ascii_case("content-length") => {
                let is_told = to.head_request && !matches!(r.status(), 100..=199 | 204) || r.status() == 304;
                if !is_told || found.length.is_some() || !value.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(reserved());
                }
                found.length = Some(value.parse().map_err(|_| reserved())?);
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => return Err(reserved()),
            _ => {}
        }
    }
    Ok(found)
}

fn check_header(name: &str, value: &str) -> Result<(), EncodeError> {
    if !is_token(name.as_bytes()) {
        return Err(EncodeError::BadHeaderName(name.to_owned()));
    }
    // Without an early exit the loop is vectorised.
    if !value.bytes().fold(true, |ok, byte| ok & is_value_byte(byte)) {
        return Err(EncodeError::BadHeaderValue(name.to_owned()));
    }
    Ok(())
}

/// The headers of the caller that the encoder has turned into its own.
fn is_framing(name: &str, status: u16) -> bool {
    match name.len() {
        10 => name.eq_ignore_ascii_case("connection") && status != 101,
        14 => name.eq_ignore_ascii_case("content-length"),
        _ => false,
    }
}

fn put_header(out: &mut Vec<u8>, name: &str, value: &str) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn put_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn put_status(out: &mut Vec<u8>, status: u16) {
    match status_line(status) {
        // Of known length, so that no call is needed to copy the usual one.
        Some(_) if status == 200 => out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        Some(line) => out.extend_from_slice(line.as_bytes()),
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
            out.extend_from_slice(b" \r\n");
        }
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadHeaderName(name) => write!(f, "the header name {name:?} is not a token"),
            Self::BadHeaderValue(name) => write!(f, "the value of the header {name} holds a control character"),
            Self::ReservedHeader(name) => write!(f, "the header {name} comes by itself"),
            Self::NotATrailer(name) => write!(f, "the field {name} may not stand in a trailer"),
            Self::BadMethod(method) => write!(f, "{method:?} is not a method to send"),
            Self::BadTarget(target) => write!(f, "{target:?} is not a request target"),
            Self::BadStatus(status) => write!(f, "{status} is not a status code"),
        }
    }
}

impl std::error::Error for EncodeError {}

impl From<EncodeError> for crate::Error {
    fn from(error: EncodeError) -> Self {
        Self::with_source(crate::error::Kind::BadValue, "cannot send the reply", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const GET: ReplyTo<'_> = ReplyTo { version: Version::Http11, head_request: false, keep_alive: true, date: DATE };
    const HEAD: ReplyTo<'_> = ReplyTo { head_request: true, ..GET };
    const GET_10: ReplyTo<'_> = ReplyTo { version: Version::Http10, ..GET };

    fn reply(r: Response<'_>, to: &ReplyTo<'_>) -> String {
        let mut out = Vec::new();
        let (_, shared) = encode_reply(&mut out, &r, to).unwrap();
        out.extend_from_slice(&shared.unwrap_or_default());
        String::from_utf8(out).unwrap().replace("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "D\r\n").replace("\r\n", "|")
    }

    #[test]
    fn the_usual_reply_is_what_the_long_way_writes() {
        for body in ["x".to_owned(), "y".repeat(10), "z".repeat(123_456)] {
            let bare = Response::new(200).body(&body);
            for response in [Response::text(200, &body), Response::html(200, &body), Response::json(200, &body), bare] {
                assert!(usual(&response, &GET).is_some());
                let (mut short, mut long) = (Vec::new(), Vec::new());
                let (encoded, shared) = encode_reply(&mut short, &response, &GET).unwrap();
                let head = encode_head(&mut long, &response, &GET, Framing::Length(body.len() as u64)).unwrap();
                long.extend_from_slice(body.as_bytes());
                assert_eq!((encoded, shared), (head, None));
                assert_eq!(short.escape_ascii().to_string(), long.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn the_head_before_is_used_again_only_where_it_is_the_same() {
        let mut last = UsualHead::new();
        let dates = [*b"Sun, 06 Nov 1994 08:49:37 GMT", *b"Sun, 06 Nov 1994 08:49:38 GMT"];
        let bodies = ["a", "b", "ab", "0123456789"];
        let responses = bodies.iter().flat_map(|body| [Response::text(200, body), Response::json(200, body)]);
        let longest = Response::html(200, bodies[3]).header("X", "y");
        for response in responses.chain([longest]).cycle().take(100) {
            for date in dates.iter().cycle().take(3) {
                let to = ReplyTo { date, ..GET };
                let (mut again, mut anew) = (Vec::new(), Vec::new());
                let as_before = encode_again(&mut again, &response, &to, &mut last).unwrap();
                assert_eq!(as_before, encode_reply(&mut anew, &response, &to).unwrap());
                assert_eq!(again.escape_ascii().to_string(), anew.escape_ascii().to_string());
            }
        }
        assert!(last.of(ContentType::Text, usize::MAX, &dates[0]).len() <= UsualHead::MAX);
    }

    #[test]
    fn replies_are_framed_by_status_method_and_version() {
        let closing = ReplyTo { keep_alive: false, ..GET };
        let table = [
            (
                "plain",
                Response::text(200, "hi"),
                GET,
                "HTTP/1.1 200 OK|D|Content-Length: 2|Content-Type: text/plain; charset=utf-8||hi",
            ),
            (
                "E6 type by default",
                Response::new(200).body("hi"),
                GET,
                "HTTP/1.1 200 OK|D|Content-Length: 2|Content-Type: text/plain; charset=utf-8||hi",
            ),
            (
                "E6 lower-case type",
                Response::new(200).body("hi").header("content-type", "a/b"),
                GET,
                "HTTP/1.1 200 OK|D|Content-Length: 2|content-type: a/b||hi",
            ),
            (
                "header type wins",
                Response::html(200, "hi").header("Content-Type", "a/b"),
                GET,
                "HTTP/1.1 200 OK|D|Content-Length: 2|Content-Type: a/b||hi",
            ),
            (
                "E7 json",
                Response::json(404, b"{}"),
                GET,
                "HTTP/1.1 404 Not Found|D|Content-Length: 2|Content-Type: application/json||{}",
            ),
            ("no body, no type", Response::new(200), GET, "HTTP/1.1 200 OK|D|Content-Length: 0||"),
            (
                "shared",
                Response::new(200).shared(Bytes::from_static(b"abc")).content_type("a/b"),
                GET,
                "HTTP/1.1 200 OK|D|Content-Length: 3|Content-Type: a/b||abc",
            ),
            (
                "E9 three cookies",
                Response::new(200)
                    .header("Set-Cookie", "a=1")
                    .header("Set-Cookie", "b=2")
                    .header("Set-Cookie", "c=3".to_owned()),
                GET,
                "HTTP/1.1 200 OK|D|Content-Length: 0|Set-Cookie: a=1|Set-Cookie: b=2|Set-Cookie: c=3||",
            ),
            (
                "six headers",
                ["a", "b", "c", "d", "e", "f"].iter().fold(Response::new(200), |r, n| r.header(n, "")),
                GET,
                "HTTP/1.1 200 OK|D|Content-Length: 0|a: |b: |c: |d: |e: |f: ||",
            ),
            (
                "E21 HEAD",
                Response::text(200, "hi"),
                HEAD,
                "HTTP/1.1 200 OK|D|Content-Length: 2|Content-Type: text/plain; charset=utf-8||",
            ),
            (
                "E21 HEAD 404",
                Response::text(404, "no"),
                HEAD,
                "HTTP/1.1 404 Not Found|D|Content-Length: 2|Content-Type: text/plain; charset=utf-8||",
            ),
            (
                "HEAD with the length of GET",
                Response::new(200).header("Content-Length", "12"),
                HEAD,
                "HTTP/1.1 200 OK|D|Content-Length: 12||",
            ),
            (
                "204",
                Response::text(204, "no"),
                GET,
                "HTTP/1.1 204 No Content|D|Content-Type: text/plain; charset=utf-8||",
            ),
            (
                "304",
                Response::new(304).body("no").header("ETag", "\"a\""),
                GET,
                "HTTP/1.1 304 Not Modified|D|ETag: \"a\"||",
            ),
            (
                "304 with length",
                Response::new(304).header("Content-Length", "7"),
                GET,
                "HTTP/1.1 304 Not Modified|D|Content-Length: 7||",
            ),
            ("205", Response::new(205).body("no"), GET, "HTTP/1.1 205 Reset Content|D|Content-Length: 0||"),
            (
                "101",
                Response::new(101).header("Connection", "Upgrade").header("Upgrade", "x"),
                GET,
                "HTTP/1.1 101 Switching Protocols|Connection: Upgrade|Upgrade: x||",
            ),
            ("unregistered", Response::new(299), GET, "HTTP/1.1 299 |D|Content-Length: 0||"),
            (
                "E20 close by request",
                Response::new(200),
                closing,
                "HTTP/1.1 200 OK|D|Connection: close|Content-Length: 0||",
            ),
            (
                "close by handler",
                Response::new(200).close(),
                GET,
                "HTTP/1.1 200 OK|D|Connection: close|Content-Length: 0||",
            ),
            (
                "close by header",
                Response::new(200).header("connection", "Close"),
                GET,
                "HTTP/1.1 200 OK|D|Connection: close|Content-Length: 0||",
            ),
            (
                "HTTP/1.0 keep-alive",
                Response::new(200),
                GET_10,
                "HTTP/1.1 200 OK|D|Connection: keep-alive|Content-Length: 0||",
            ),
            ("own Date", Response::new(200).header("Date", "x"), GET, "HTTP/1.1 200 OK|Content-Length: 0|Date: x||"),
            (
                "tab and obs-text",
                Response::new(200).header("X", "a\tü"),
                GET,
                "HTTP/1.1 200 OK|D|Content-Length: 0|X: a\tü||",
            ),
        ];
        for (name, response, to, expected) in table {
            assert_eq!(reply(response, &to), expected, "{name}");
        }
    }

    #[test]
    fn e5_a_body_is_sent_byte_for_byte() {
        let body: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        encode_reply(&mut out, &Response::new(200).body(&body), &GET).unwrap();
        assert!(out.ends_with(&body));
        assert!(out.windows(21).any(|w| w == b"Content-Length: 256\r\n"));
    }

    #[test]
    fn streams_are_framed_as_the_client_understands() {
        let table = [
            ("chunked", GET, Framing::Chunked, true, Some(Framing::Chunked), "Transfer-Encoding: chunked|"),
            ("HTTP/1.0", GET_10, Framing::Chunked, false, Some(Framing::UntilClose), "Connection: close|"),
            ("until close", GET, Framing::UntilClose, false, Some(Framing::UntilClose), "Connection: close|"),
            ("HEAD", HEAD, Framing::Chunked, true, None, "Transfer-Encoding: chunked|"),
            (
                "HEAD in HTTP/1.0",
                ReplyTo { head_request: true, ..GET_10 },
                Framing::Chunked,
                true,
                None,
                "Connection: keep-alive|",
            ),
            ("length", GET, Framing::Length(9), true, Some(Framing::Length(9)), "Content-Length: 9|"),
        ];
        for (name, to, asked, keep_alive, framing, expected) in table {
            let mut out = Vec::new();
            let encoded = encode_head(&mut out, &Response::new(200).content_type("a"), &to, asked).unwrap();
            assert_eq!(encoded, Encoded { keep_alive, framing }, "{name}");
            let text = String::from_utf8(out).unwrap().replace("\r\n", "|");
            let expected = format!("HTTP/1.1 200 OK|Date: Sun, 06 Nov 1994 08:49:37 GMT|{expected}Content-Type: a||");
            assert_eq!(text, expected, "{name}");
        }
    }

    #[test]
    fn e8_a_value_that_would_break_the_message_is_an_error_and_nothing_is_written() {
        use EncodeError::*;
        let s = str::to_owned;
        let table = [
            ("CR in a value", Response::new(200).header("A", "a\rb"), GET, BadHeaderValue(s("A"))),
            ("LF in a value", Response::new(200).header("A", "a\nb"), GET, BadHeaderValue(s("A"))),
            ("CRLF in a value", Response::new(200).header("A", "a\r\nB: c"), GET, BadHeaderValue(s("A"))),
            ("NUL in a value", Response::new(200).header("A", "a\0"), GET, BadHeaderValue(s("A"))),
            ("DEL in a value", Response::new(200).header("A", "\x7f"), GET, BadHeaderValue(s("A"))),
            (
                "LF in the type",
                Response::new(200).content_type("a\nb").body("x"),
                GET,
                BadHeaderValue(s("Content-Type")),
            ),
            ("CRLF in a name", Response::new(200).header("A\r\nB", "c"), GET, BadHeaderName(s("A\r\nB"))),
            ("colon in a name", Response::new(200).header("A:", "c"), GET, BadHeaderName(s("A:"))),
            ("empty name", Response::new(200).header("", "c"), GET, BadHeaderName(s(""))),
            (
                "the fifth header",
                (0..4).fold(Response::new(200), |r, _| r.header("A", "b")).header("X", "\n"),
                GET,
                BadHeaderValue(s("X")),
            ),
            ("own length", Response::new(200).header("Content-Length", "5"), GET, ReservedHeader(s("Content-Length"))),
            (
                "two lengths",
                Response::new(200).header("Content-Length", "5").header("content-length", "5"),
                HEAD,
                ReservedHeader(s("content-length")),
            ),
            (
                "signed length",
                Response::new(200).header("Content-Length", "+5"),
                HEAD,
                ReservedHeader(s("Content-Length")),
            ),
            (
                "length in 204",
                Response::new(204).header("Content-Length", "0"),
                HEAD,
                ReservedHeader(s("Content-Length")),
            ),
            (
                "own coding",
                Response::new(200).header("transfer-encoding", "chunked"),
                GET,
                ReservedHeader(s("transfer-encoding")),
            ),
            (
                "own connection",
                Response::new(200).header("Connection", "keep-alive"),
                GET,
                ReservedHeader(s("Connection")),
            ),
            ("status 99", Response::new(99), GET, BadStatus(99)),
            ("status 600", Response::new(600), GET, BadStatus(600)),
        ];
        for (name, response, to, expected) in table {
            let mut out = b"before".to_vec();
            assert_eq!(encode_reply(&mut out, &response, &to).map(|_| ()), Err(expected), "{name}");
            assert_eq!(out, b"before", "{name}");
        }
    }

    #[test]
    fn rfc_9112_7_1_chunks_carry_their_size_in_hexadecimal() {
        let mut out = Vec::new();
        put_chunk(&mut out, b"");
        put_chunk(&mut out, b"hello");
        put_chunk(&mut out, &[b'x'; 16]);
        put_last_chunk(&mut out, &[("X-Sum", "1")]).unwrap();
        assert_eq!(out, b"5\r\nhello\r\n10\r\nxxxxxxxxxxxxxxxx\r\n0\r\nX-Sum: 1\r\n\r\n");
        for len in [1, 15, 16, 255, 256, 65535, 65536, usize::MAX] {
            out.clear();
            put_chunk_prefix(&mut out, len);
            assert_eq!(out, format!("{len:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn rfc_9110_6_5_1_a_trailer_neither_frames_nor_breaks_the_message() {
        use EncodeError::*;
        let table = [
            (("content-length", "1"), NotATrailer("content-length".to_owned())),
            (("X", "a\r\nb"), BadHeaderValue("X".to_owned())),
            (("X Y", "a"), BadHeaderName("X Y".to_owned())),
        ];
        for (trailer, expected) in table {
            let mut out = Vec::new();
            assert_eq!(put_last_chunk(&mut out, &[("Good", "1"), trailer]), Err(expected));
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_refusal_is_a_complete_reply_that_closes() {
        let mut out = Vec::new();
        refusal(&mut out, 400, "bad Host header", DATE);
        let expected = "HTTP/1.1 400 Bad Request\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\
            Content-Length: 29\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nBad Request: bad Host header\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        refusal(&mut out, 417, "", DATE);
        assert!(out.ends_with(b"Content-Length: 0\r\n\r\n"));
    }

    #[test]
    fn an_error_of_the_caller_names_the_header() {
        let error = crate::Error::from(EncodeError::BadHeaderValue("X".to_owned()));
        assert!(error.is_bad_value());
        assert_eq!(error.to_string(), "cannot send the reply: the value of the header X holds a control character");
    }
}

//! Requests as bytes.

use bytes::Bytes;

use super::{EncodeError, check_header, put_header, put_length};
use crate::proto::http::authority::Authority;
use crate::proto::http::builder::{RequestBuilder, Upload};
use crate::proto::http::syntax::is_token;

/// What the encoder must know of where a request goes. Lines come with their line end.
#[derive(Debug, Clone, Copy)]
pub struct RequestTo<'a> {
    /// The target in origin-form, or `*`.
    pub target: &'a str,
    /// What stands before the target in absolute-form, for a proxy (RFC 9112 §3.2.2): `http://host:port`. Else empty.
    pub base: &'a str,
    /// The Host line, unless the request has its own.
    pub host: &'a str,
    /// The Authorization line, unless the request has its own; or empty.
    pub authorization: &'a str,
    /// Any other lines.
    pub more: &'a str,
}

/// What must follow the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// Nothing.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Appends the head of a request. Checks before it writes: an error leaves the buffer as it was.
pub fn encode_request(
    out: &mut Vec<u8>,
    r: &RequestBuilder<'_>,
    to: &RequestTo<'_>,
) -> Result<RequestBody, EncodeError> {
    let method = r.method();
    // RFC 9110 §9.3.6: what follows a CONNECT is no HTTP.
    if !is_token(method.as_bytes()) || method == "CONNECT" {
        return Err(EncodeError::BadMethod(method.to_owned()));
    }
    check_target(method, to.target)?;
    let found = survey(r)?;
    let body = match r.upload() {
        // RFC 9110 §8.6: a method that usually has a body says so where it has none.
        Upload::None if matches!(method, "POST" | "PUT" | "PATCH") => RequestBody::Length(0),
        Upload::None => RequestBody::None,
        Upload::Slice(body) => RequestBody::Length(body.len() as u64),
        Upload::Shared(body) => RequestBody::Length(body.len() as u64),
        Upload::Stream(Some(len)) => RequestBody::Length(*len),
        Upload::Stream(None) => RequestBody::Chunked,
    };

    out.reserve(128 + to.target.len());
    for part in [method, " ", to.base, to.target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    // RFC 9110 §7.2: the first line.
    match found.host {
        Some(host) => put_header(out, "Host", host),
        None => out.extend_from_slice(to.host.as_bytes()),
    }
    if !found.authorization {
        out.extend_from_slice(to.authorization.as_bytes());
    }
    out.extend_from_slice(to.more.as_bytes());
    match body {
        RequestBody::None => {}
        RequestBody::Length(len) => put_length(out, len),
        RequestBody::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
    if let Some(value) = r.media_type() {
        put_header(out, "Content-Type", value);
    }
    if r.expects() {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if r.wants_close() {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    for (name, value) in r.headers() {
        if !name.eq_ignore_ascii_case("host") {
            put_header(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(body)
}

/// The body that stands in the request itself, to be queued behind its head.
pub(crate) fn whole_body(r: &RequestBuilder<'_>) -> Bytes {
    match r.upload() {
        Upload::Slice(body) => Bytes::copy_from_slice(body),
        Upload::Shared(body) => body.clone(),
        Upload::None | Upload::Stream(_) => Bytes::new(),
    }
}

/// RFC 9112 §3.2.
fn check_target(method: &str, target: &str) -> Result<(), EncodeError> {
    let is_form = target.starts_with('/') || target == "*" && method == "OPTIONS";
    if is_form && target.bytes().fold(true, |ok, byte| ok & byte.is_ascii_graphic() & (byte != b'#')) {
        return Ok(());
    }
    Err(EncodeError::BadTarget(target.to_owned()))
}

/// What the caller's headers decide.
struct Survey<'a> {
    host: Option<&'a str>,
    authorization: bool,
}

fn survey<'r>(r: &'r RequestBuilder<'_>) -> Result<Survey<'r>, EncodeError> {
    let mut found = Survey { host: None, authorization: false };
    if let Some(value) = r.media_type() {
        check_header("Content-Type", value)?;
    }
    for (name, value) in r.headers() {
        check_header(name, value)?;
        let is_host = name.eq_ignore_ascii_case("host");
        if is_host && (found.host.is_some() || !Authority::is_valid(value.as_bytes())) {
            return Err(EncodeError::BadHeaderValue(name.to_owned()));
        }
        let is_twice = r.media_type().is_some() && name.eq_ignore_ascii_case("content-type");
        if is_twice || RESERVED.iter().any(|no| no.eq_ignore_ascii_case(name)) {
            return Err(EncodeError::ReservedHeader(name.to_owned()));
        }
        if is_host {
            found.host = Some(value);
        }
        found.authorization |= name.eq_ignore_ascii_case("authorization");
    }
    Ok(found)
}

/// They say where the message ends, or what becomes of the connection.
const RESERVED: &[&str] = &[
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Upgrade",
    "TE",
    "Trailer",
    "Expect",
    "Proxy-Authorization",
];

#[cfg(test)]
mod tests {
    use super::super::super::Request;
    use super::*;

    const TO: RequestTo<'_> =
        RequestTo { target: "/a", base: "", host: "Host: h\r\n", authorization: "Authorization: x\r\n", more: "" };

    fn text(r: &RequestBuilder<'_>, to: &RequestTo<'_>) -> Result<String, EncodeError> {
        let mut out = Vec::new();
        let encoded = encode_request(&mut out, r, to);
        assert!(encoded.is_ok() || out.is_empty(), "an error leaves the buffer as it was");
        encoded.map(|_| String::from_utf8(out).unwrap().replace("\r\n", "|"))
    }

    #[test]
    fn a_request_is_written_as_rfc_9112_says() {
        let bare = RequestTo { authorization: "", ..TO };
        let table = [
            ("get", Request::get("x"), "GET /a HTTP/1.1|Host: h||"),
            ("post without body", Request::post("x"), "POST /a HTTP/1.1|Host: h|Content-Length: 0||"),
            (
                "json",
                Request::put("x").json("{}"),
                "PUT /a HTTP/1.1|Host: h|Content-Length: 2|Content-Type: application/json||",
            ),
            ("chunked", Request::post("x").streamed(None), "POST /a HTTP/1.1|Host: h|Transfer-Encoding: chunked||"),
            ("known length", Request::post("x").streamed(7), "POST /a HTTP/1.1|Host: h|Content-Length: 7||"),
            (
                "expecting",
                Request::post("x").body("b").expect_continue(),
                "POST /a HTTP/1.1|Host: h|Content-Length: 1|Expect: 100-continue||",
            ),
            ("nothing to expect for", Request::get("x").expect_continue(), "GET /a HTTP/1.1|Host: h||"),
            ("closing", Request::delete("x").close(), "DELETE /a HTTP/1.1|Host: h|Connection: close||"),
            (
                "headers, some twice",
                Request::get("x").header("A", "1").header("a", "2").header("C", "").header("D", "4").header("E", "5"),
                "GET /a HTTP/1.1|Host: h|A: 1|a: 2|C: |D: 4|E: 5||",
            ),
            ("own host", Request::get("x").header("host", "other:1"), "GET /a HTTP/1.1|Host: other:1||"),
        ];
        for (name, request, expected) in table {
            assert_eq!(text(&request, &bare).as_deref(), Ok(expected), "{name}");
        }
        let proxied = RequestTo { base: "http://h:81", more: "Proxy-Authorization: y\r\n", ..TO };
        let expected = "GET http://h:81/a HTTP/1.1|Host: h|Authorization: x|Proxy-Authorization: y||";
        assert_eq!(text(&Request::get("x"), &proxied).as_deref(), Ok(expected), "RFC 9112 §3.2.2");
        let own = Request::get("x").header("Authorization", "z");
        assert_eq!(text(&own, &TO).as_deref(), Ok("GET /a HTTP/1.1|Host: h|Authorization: z||"));
    }

    #[test]
    fn an_injection_is_refused_before_the_first_byte() {
        use EncodeError::*;
        let get = || Request::get("x");
        let table = [
            ("LF in a value", get().header("X", "a\nb"), TO, BadHeaderValue("X".into())),
            ("CRLF in a value", get().header("X", "a\r\nY: b"), TO, BadHeaderValue("X".into())),
            ("NUL in a value", get().header("X", "a\0"), TO, BadHeaderValue("X".into())),
            ("CR in a name", get().header("X\r", "a"), TO, BadHeaderName("X\r".into())),
            ("empty name", get().header("", "a"), TO, BadHeaderName(String::new())),
            ("CRLF in the type", get().content_type("a\r\nb"), TO, BadHeaderValue("Content-Type".into())),
            ("space in the method", Request::of("GET /x", "x"), TO, BadMethod("GET /x".into())),
            ("empty method", Request::of("", "x"), TO, BadMethod(String::new())),
            ("CONNECT", Request::of("CONNECT", "x"), TO, BadMethod("CONNECT".into())),
            ("space in the target", get(), RequestTo { target: "/a b", ..TO }, BadTarget("/a b".into())),
            ("CRLF in the target", get(), RequestTo { target: "/\r\n", ..TO }, BadTarget("/\r\n".into())),
            ("fragment", get(), RequestTo { target: "/#a", ..TO }, BadTarget("/#a".into())),
            ("no path", get(), RequestTo { target: "a", ..TO }, BadTarget("a".into())),
            ("asterisk", get(), RequestTo { target: "*", ..TO }, BadTarget("*".into())),
            ("not ASCII", get(), RequestTo { target: "/ü", ..TO }, BadTarget("/ü".into())),
            ("own length", get().header("content-length", "1"), TO, ReservedHeader("content-length".into())),
            ("own coding", get().header("Transfer-Encoding", "x"), TO, ReservedHeader("Transfer-Encoding".into())),
            ("own connection", get().header("Connection", "close"), TO, ReservedHeader("Connection".into())),
            ("own expectation", get().header("Expect", "x"), TO, ReservedHeader("Expect".into())),
            ("two types", get().json("").header("Content-Type", "x"), TO, ReservedHeader("Content-Type".into())),
            ("two hosts", get().header("Host", "a").header("host", "b"), TO, BadHeaderValue("host".into())),
            ("no host", get().header("Host", "a b"), TO, BadHeaderValue("Host".into())),
        ];
        for (name, request, to, expected) in table {
            assert_eq!(text(&request, &to), Err(expected), "{name}");
        }
    }
}

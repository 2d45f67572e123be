//! A whole request: its head, its body, and who sent it.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Deref;

use super::head::Head;
use super::target::{BadEscape, Pairs};

/// A complete request. Its head's methods are its own: `request.method()`, `request.query("q")`, `request.header("Accept")`.
///
/// ```
/// use vansire::http::head::{HeaderSpace, Scan, parse};
/// use vansire::http::{HeadLimits, Request};
///
/// let bytes = b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\
///     Content-Type: application/x-www-form-urlencoded\r\n\r\nuser=a+b";
/// let mut space = HeaderSpace::new();
/// let (head, used) = parse(bytes, &mut Scan::default(), &HeadLimits::default(), &mut space)?.unwrap();
/// let request = Request::new(head, &bytes[used..], None);
/// assert_eq!(request.path()?, "/login");
/// assert_eq!(request.form("user")?.as_deref(), Some("a b"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    head: Head<'a>,
    body: &'a [u8],
    remote_addr: Option<SocketAddr>,
}

impl<'a> Request<'a> {
    /// A request of these parts.
    #[inline]
    pub fn new(head: Head<'a>, body: &'a [u8], remote_addr: Option<SocketAddr>) -> Self {
        Self { head, body, remote_addr }
    }

    #[inline]
    pub(crate) fn set_body(&mut self, body: &'a [u8]) {
        self.body = body;
    }

    /// The head alone.
    #[inline]
    pub fn head(&self) -> Head<'a> {
        self.head
    }

    /// The body, without the framing of its chunks. Empty where there is none.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The body as text. None where it is not UTF-8.
    pub fn body_text(&self) -> Option<&'a str> {
        str::from_utf8(self.body).ok()
    }

    /// The other end of the connection. None on a Unix-domain socket.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }

    /// The first form variable of this name, decoded. `a=` is present and empty; a missing one is None, and so are all
    /// where the body is not `application/x-www-form-urlencoded`. Names are case-sensitive. Fails where the value, or
    /// the body as UTF-8, cannot be decoded.
    pub fn form(&self, name: &str) -> Result<Option<Cow<'a, str>>, BadEscape> {
        self.form_pairs()?.find(name)
    }

    /// The form variables in their order; none where the body is not `application/x-www-form-urlencoded`. Fails where
    /// the body is not UTF-8.
    pub fn form_pairs(&self) -> Result<Pairs<'a>, BadEscape> {
        let media_type = self.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
        if !media_type.trim_matches([' ', '\t']).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Ok(Pairs::new(""));
        }
        self.body_text().map(Pairs::new).ok_or(BadEscape::NotUtf8)
    }
}

impl<'a> Deref for Request<'a> {
    type Target = Head<'a>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.head
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, HeaderSpace, Scan, parse};
    use super::*;

    type Found<'a> = Result<Option<&'a str>, BadEscape>;

    fn form(content_type: &str, body: &[u8]) -> Result<Option<String>, BadEscape> {
        let bytes = format!("POST /a%20b HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n\r\n");
        let mut space = HeaderSpace::new();
        let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space);
        let request = Request::new(parsed.unwrap().unwrap().0, body, None);
        assert_eq!((request.raw_path(), request.path().as_deref()), ("/a%20b", Ok("/a b")));
        request.form("b").map(|value| value.map(Cow::into_owned))
    }

    #[test]
    fn e4_form_variables_are_read_from_a_form_only() {
        let urlencoded = "application/x-www-form-urlencoded";
        let long = [b"b=", &[b'x'; 100_000][..]].concat();
        let table: [(&str, &str, &[u8], Found<'_>); 8] = [
            ("plain", urlencoded, b"a=1&b=2+3", Ok(Some("2 3"))),
            ("with charset", "Application/X-WWW-Form-Urlencoded ; charset=utf-8", b"b=2", Ok(Some("2"))),
            ("empty", urlencoded, b"b=", Ok(Some(""))),
            ("missing", urlencoded, b"a=1", Ok(None)),
            ("another type", "text/plain", b"b=2", Ok(None)),
            ("bad escape", urlencoded, b"b=%2", Err(BadEscape::NotHex)),
            ("not UTF-8", urlencoded, b"b=\xff", Err(BadEscape::NotUtf8)),
            ("100 KB", urlencoded, &long, Ok(Some(&str::from_utf8(&long).unwrap()[2..]))),
        ];
        for (name, content_type, body, expected) in table {
            let found = form(content_type, body);
            assert_eq!(found.as_ref().map(Option::as_deref).map_err(|e| *e), expected, "{name}");
        }
    }

    #[test]
    fn a_path_with_a_bad_escape_or_nul_is_an_error() {
        for (target, expected) in [("/%2", BadEscape::NotHex), ("/%00", BadEscape::Nul), ("/%ff", BadEscape::NotUtf8)] {
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut space = HeaderSpace::new();
            let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space);
            assert_eq!(parsed.unwrap().unwrap().0.path(), Err(expected), "{target}");
        }
    }
}

//! Requests as a client states them.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::Request;
use crate::options::redacted;

/// A request to be sent: made by [`Request::get`] and its like. Built in place, borrowed from the caller's data, and not
/// checked before it is sent: what is wrong with it comes as an error then, and nothing of it goes to the peer.
///
/// `Host` and `Content-Length` come by themselves, and `Authorization` from the user and password of a URL. Up to four
/// headers need no allocation.
///
/// ```
/// use vansire::http::Request;
///
/// let r = Request::post("http://device.lan/api").json(r#"{"on":true}"#).header("Accept", "application/json");
/// assert_eq!(r.method(), "POST");
/// ```
#[derive(Clone)]
#[must_use]
pub struct RequestBuilder<'a> {
    method: &'a str,
    url: Cow<'a, str>,
    first: [Option<Header<'a>>; INLINE_HEADERS],
    more: Vec<Header<'a>>,
    content_type: Option<&'a str>,
    body: Upload<'a>,
    close: bool,
    expect: bool,
    redirects: u8,
}

/// Name and value.
type Header<'a> = (&'a str, Cow<'a, str>);

const INLINE_HEADERS: usize = 4;

/// The body of a request.
#[derive(Clone)]
pub(crate) enum Upload<'a> {
    None,
    Slice(&'a [u8]),
    Shared(Bytes),
    /// It comes in pieces: of this length together, or chunked.
    Stream(Option<u64>),
}

impl Request<'_> {
    /// A GET request to a URL, or to a path (`/a?b=c`) of the origin that a connection was made to, which is cheaper.
    pub fn get<'r>(url: impl Into<Cow<'r, str>>) -> RequestBuilder<'r> {
        Self::of("GET", url)
    }

    /// A POST request.
    pub fn post<'r>(url: impl Into<Cow<'r, str>>) -> RequestBuilder<'r> {
        Self::of("POST", url)
    }

    /// A PUT request.
    pub fn put<'r>(url: impl Into<Cow<'r, str>>) -> RequestBuilder<'r> {
        Self::of("PUT", url)
    }

    /// A DELETE request.
    pub fn delete<'r>(url: impl Into<Cow<'r, str>>) -> RequestBuilder<'r> {
        Self::of("DELETE", url)
    }

    /// A request of any method but CONNECT, such as HEAD.
    #[inline]
    pub fn of<'r>(method: &'r str, url: impl Into<Cow<'r, str>>) -> RequestBuilder<'r> {
        RequestBuilder {
            method,
            url: url.into(),
            first: [const { None }; INLINE_HEADERS],
            more: Vec::new(),
            content_type: None,
            body: Upload::None,
            close: false,
            expect: false,
            redirects: 0,
        }
    }
}

impl<'a> RequestBuilder<'a> {
    /// Adds a header. The same name may come several times: each makes a line.
    ///
    /// Sending fails where the name is not a token or the value holds a control character, and for the headers that
    /// frame the message or steer the connection: Content-Length, Transfer-Encoding, Connection, Keep-Alive, Upgrade, TE,
    /// Expect and Proxy-Authorization. A Host or an Authorization replaces the one of the URL.
    #[inline]
    pub fn header(mut self, name: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        let header = (name, value.into());
        match self.first.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(header),
            None => self.more.push(header),
        }
        self
    }

    /// Sets the type of the body. Default: none is sent.
    pub fn content_type(mut self, value: &'a str) -> Self {
        self.content_type = Some(value);
        self
    }

    /// Sets the body: it is copied to the connection's buffer.
    pub fn body(mut self, body: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.body = Upload::Slice(body.as_ref());
        self
    }

    /// Sets the body: it is shared and not copied. Worth it from some kilobytes on.
    pub fn shared(mut self, body: Bytes) -> Self {
        self.body = Upload::Shared(body);
        self
    }

    /// Sets the body to JSON text, which is sent as it is.
    pub fn json(self, body: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.content_type("application/json").body(body)
    }

    /// The body follows in pieces: [`Net::write`](crate::Net::write), then [`Net::finish`](crate::Net::finish). Of a
    /// known length, which `finish` insists on; else chunked.
    pub fn streamed(mut self, len: impl Into<Option<u64>>) -> Self {
        self.body = Upload::Stream(len.into());
        self
    }

    /// Holds the body back until the server asks for it (`Expect: 100-continue`), or has said nothing for
    /// `Limits::continue_timeout`. A server that refuses is spared the body.
    pub fn expect_continue(mut self) -> Self {
        self.expect = true;
        self
    }

    /// Asks the server to close the connection after the response.
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Has [`Net::fetch`](crate::Net::fetch) follow at most this many redirects. Default: none; the response that
    /// redirects is told like any other.
    pub fn redirects(mut self, max: u8) -> Self {
        self.redirects = max;
        self
    }

    /// The method.
    pub fn method(&self) -> &'a str {
        self.method
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn media_type(&self) -> Option<&'a str> {
        self.content_type
    }

    pub(crate) fn upload(&self) -> &Upload<'a> {
        &self.body
    }

    pub(crate) fn wants_close(&self) -> bool {
        self.close
    }

    /// There is a body to hold back.
    pub(crate) fn expects(&self) -> bool {
        let has_body = match &self.body {
            Upload::None => false,
            Upload::Slice(body) => !body.is_empty(),
            Upload::Shared(body) => !body.is_empty(),
            Upload::Stream(len) => *len != Some(0),
        };
        self.expect && has_body
    }

    pub(crate) fn redirects_max(&self) -> u8 {
        self.redirects
    }

    #[inline]
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a str, &str)> {
        self.first.iter().map_while(Option::as_ref).chain(&self.more).map(|(name, value)| (*name, &**value))
    }
}

impl fmt::Debug for RequestBuilder<'_> {
    /// Headers may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBuilder({} {})", self.method, redacted(&self.url))
    }
}

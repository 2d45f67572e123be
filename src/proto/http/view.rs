//! A response as a client is told of it: its head, its body, and who sent it.

use std::net::SocketAddr;
use std::ops::Deref;

use super::head::ResponseHead;

/// A response. Its head's methods are its own: `response.status()`, `response.header("ETag")`.
///
/// ```
/// use vansire::http::head::{Asked, HeaderSpace, Scan, parse_response};
/// use vansire::http::{HeadLimits, ResponseView};
///
/// let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
/// let mut space = HeaderSpace::new();
/// let parsed = parse_response(bytes, &mut Scan::default(), &HeadLimits::default(), &mut space, Asked::Other)?;
/// let (head, used) = parsed.unwrap();
/// let response = ResponseView::new(head, &bytes[used..], None);
/// assert_eq!((response.status(), response.body_text()), (200, Some("hello")));
/// # Ok::<(), vansire::http::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ResponseView<'a> {
    head: ResponseHead<'a>,
    body: &'a [u8],
    remote_addr: Option<SocketAddr>,
}

impl<'a> ResponseView<'a> {
    /// A response of these parts.
    #[inline]
    pub fn new(head: ResponseHead<'a>, body: &'a [u8], remote_addr: Option<SocketAddr>) -> Self {
        Self { head, body, remote_addr }
    }

    #[inline]
    pub(crate) fn set_body(&mut self, body: &'a [u8]) {
        self.body = body;
    }

    /// The head alone.
    #[inline]
    pub fn head(&self) -> ResponseHead<'a> {
        self.head
    }

    /// The body, without the framing of its chunks. Empty where there is none, and where it was streamed.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The body as text. None where it is not UTF-8.
    pub fn body_text(&self) -> Option<&'a str> {
        str::from_utf8(self.body).ok()
    }

    /// The other end of the connection: the server, or a proxy. None on a Unix-domain socket.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }
}

impl<'a> Deref for ResponseView<'a> {
    type Target = ResponseHead<'a>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.head
    }
}

//! Replies as a handler states them.

use std::borrow::Cow;

use bytes::Bytes;

/// A reply: status, headers and body. Built in place, borrowed from the handler's data, and not checked before it is
/// sent: see [`EncodeError`](super::EncodeError) for what is refused then.
///
/// `Content-Length`, `Date` and `Connection` come by themselves, and `Content-Type: text/plain; charset=utf-8` where
/// there is a body and no other type was given. Up to four headers need no allocation.
///
/// ```
/// use vansire::http::Response;
///
/// let r = Response::json(201, r#"{"id":7}"#).header("Location", "/things/7").header("X-Count", 7.to_string());
/// assert_eq!(r.status(), 201);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Response<'a> {
    status: u16,
    close: bool,
    content_type: ContentType<'a>,
    headers: Headers<'a>,
    body: Body<'a>,
}

/// Most replies have no header of their own, and pay for none.
#[derive(Debug, Clone)]
enum Headers<'a> {
    None,
    Few([Option<Header<'a>>; INLINE_HEADERS]),
    Many(Vec<Header<'a>>),
}

/// Name and value.
type Header<'a> = (&'a str, Cow<'a, str>);

const INLINE_HEADERS: usize = 4;

#[derive(Debug, Clone)]
pub(crate) enum Body<'a> {
    None,
    Slice(&'a [u8]),
    Shared(Bytes),
}

/// The usual types are known to be well-formed and are copied as whole lines.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ContentType<'a> {
    /// Plain text where there is a body.
    Default,
    Text,
    Html,
    Json,
    Given(&'a str),
}

impl<'a> Response<'a> {
    /// A reply without body.
    #[inline]
    pub fn new(status: u16) -> Self {
        Self::of(status, ContentType::Default, Body::None)
    }

    #[inline]
    fn of(status: u16, content_type: ContentType<'a>, body: Body<'a>) -> Self {
        Self { status, close: false, content_type, headers: Headers::None, body }
    }

    /// A reply of plain text.
    #[inline]
    pub fn text(status: u16, body: &'a str) -> Self {
        Self::of(status, ContentType::Text, Body::Slice(body.as_bytes()))
    }

    /// A reply of HTML.
    #[inline]
    pub fn html(status: u16, body: &'a str) -> Self {
        Self::of(status, ContentType::Html, Body::Slice(body.as_bytes()))
    }

    /// A reply of JSON text, which is sent as it is.
    #[inline]
    pub fn json(status: u16, body: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self::of(status, ContentType::Json, Body::Slice(body.as_ref()))
    }

    /// Adds a header. The same name may come several times: each makes a line.
    ///
    /// Sending fails where the name is not a token or the value holds a control character, and for the headers that
    /// frame the message: Transfer-Encoding, Connection (but `close`, which is [`close`](Self::close), and in a 101) and
    /// Content-Length (but in a reply to HEAD and in a 304, where it tells the length of what GET would send).
    /// A Date replaces the server's.
    #[inline]
    pub fn header(mut self, name: &'a str, value: impl Into<Cow<'a, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the type of the body. A `Content-Type` among the headers wins.
    #[inline]
    pub fn content_type(mut self, value: &'a str) -> Self {
        self.content_type = ContentType::Given(value);
        self
    }

    /// Sets the body: it is copied to the connection's buffer.
    #[inline]
    pub fn body(mut self, body: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        self.body = Body::Slice(body.as_ref());
        self
    }

    /// Sets the body: it is shared and not copied. Worth it from some kilobytes on.
    #[inline]
    pub fn shared(mut self, body: Bytes) -> Self {
        self.body = Body::Shared(body);
        self
    }

    /// Asks to close the connection after this reply.
    #[inline]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// The status code.
    #[inline]
    pub fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn wants_close(&self) -> bool {
        self.close
    }

    /// The caller has given no header, and no type of its own.
    #[inline]
    pub(crate) fn has_no_headers(&self) -> bool {
        matches!(self.headers, Headers::None) && !matches!(self.content_type, ContentType::Given(_))
    }

    pub(crate) fn type_of_body(&self) -> ContentType<'a> {
        self.content_type
    }

    #[inline]
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a str, &str)> {
        let (few, many) = match &self.headers {
            Headers::None => (&[][..], &[][..]),
            Headers::Few(few) => (&few[..], &[][..]),
            Headers::Many(many) => (&[][..], &many[..]),
        };
        few.iter().map_while(Option::as_ref).chain(many).map(|(name, value)| (*name, &**value))
    }

    #[inline]
    pub(crate) fn the_body(&self) -> &Body<'a> {
        &self.body
    }

    #[inline]
    pub(crate) fn body_len(&self) -> usize {
        match &self.body {
            Body::None => 0,
            Body::Slice(body) => body.len(),
            Body::Shared(body) => body.len(),
        }
    }
}

impl<'a> Headers<'a> {
    fn push(&mut self, header: Header<'a>) {
        match self {
            Self::None => *self = Self::Few([Some(header), None, None, None]),
            Self::Few(few) => match few.iter_mut().find(|slot| slot.is_none()) {
                Some(slot) => *slot = Some(header),
                None => *self = Self::Many(few.iter_mut().filter_map(Option::take).chain([header]).collect()),
            },
            Self::Many(many) => many.push(header),
        }
    }
}

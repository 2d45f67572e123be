//! Whole errands: connect, ask, follow redirects, close.

use std::rc::Rc;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::event::CloseReason;
use crate::id::{ConnId, Key};
use crate::manager::conn::Flags;
use crate::manager::core::{Core, Stop};
use crate::manager::handlers::{BoxHandler, Handler};
use crate::manager::net::{Net, speaks};
use crate::net::{Remote, Scheme, Url};
use crate::options::ConnectOptions;
use crate::proto::http::encode::request::whole_body;
use crate::proto::http::{Request, RequestBuilder, ResponseHead, Upload as Given};

use super::{ClientConn, Origin, redirect};

/// A request that may have to be sent again, elsewhere.
pub(super) struct Fetch {
    options: ConnectOptions,
    url: Url,
    method: Box<str>,
    headers: Vec<(Box<str>, Box<str>)>,
    content_type: Option<Box<str>>,
    /// None: it was streamed, and is gone.
    body: Option<Bytes>,
    expects: bool,
    /// Redirects that may be followed, and how many of them still.
    max: u8,
    left: u8,
}

impl Fetch {
    fn new(options: ConnectOptions, request: &RequestBuilder<'_>) -> Result<Self> {
        let text = request.url();
        let mut url = Url::parse(options.url.as_str())?;
        if text.starts_with('/') {
            // Of the same origin: only the path matters.
            url = url.with_path(text)?;
        } else if text != "*" {
            url = Url::parse(text)?;
        }
        let max = request.redirects_max();
        // Nothing is kept that will not be sent again.
        let headers = request.headers().filter(|_| max > 0).map(|(name, value)| (name.into(), value.into()));
        let body = match request.upload() {
            Given::Stream(_) => None,
            _ if max == 0 => None,
            Given::None | Given::Slice(_) | Given::Shared(_) => Some(whole_body(request)),
        };
        Ok(Self {
            options,
            url,
            method: request.method().into(),
            headers: headers.collect(),
            content_type: request.media_type().map(Into::into),
            body,
            expects: request.expects(),
            max,
            left: max,
        })
    }

    /// Leaves behind what the next server must not get (RFC 9110 §15.4).
    fn go_on(&mut self, to_get: bool, leaves: bool) {
        self.left -= 1;
        if to_get {
            self.method = "GET".into();
            self.body = Some(Bytes::new());
            self.content_type = None;
            self.expects = false;
            self.headers.retain(|(name, _)| !starts_with(name, "content-"));
        }
        if leaves {
            let secrets = ["authorization", "cookie", "host", "origin", "referer"];
            self.headers.retain(|(name, _)| !secrets.iter().any(|secret| name.eq_ignore_ascii_case(secret)));
        }
    }

    fn request<'r>(&'r self, path: &'r str) -> RequestBuilder<'r> {
        let mut request = Request::of(&self.method, path).close();
        for (name, value) in &self.headers {
            request = request.header(name, &**value);
        }
        if let Some(content_type) = &self.content_type {
            request = request.content_type(content_type);
        }
        if self.expects {
            request = request.expect_continue();
        }
        match &self.body {
            Some(body) if !body.is_empty() => request.shared(body.clone()),
            Some(_) | None => request,
        }
    }
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

impl<S> Net<'_, S> {
    /// Connects as an HTTP client: [`connect`](Self::connect) with a URL that must be `http://` or `http+unix:`. Requests
    /// go out with [`request`](Self::request), any number of them, also before `Connected`.
    ///
    /// Where a response may be silent for long, as an event stream is, lift the floor of bytes per second for this connection:
    /// `ConnectOptions::limits` with `Limits::rate_floor(0)`.
    ///
    /// A user and password in the URL become an `Authorization` header. Behind a proxy (`ConnectOptions::proxy`,
    /// `ConnectOptions::tunnel`) everything else stays the same. `https://` fails: there is no TLS here, and plain text is
    /// never a substitute.
    ///
    /// ```no_run
    /// use vansire::{Ctx, Event, Manager, http::Request};
    ///
    /// # fn main() -> vansire::Result<()> {
    /// let mut manager = Manager::new(())?;
    /// let id = manager.net().http_connect("http://device.lan", |_: &mut Ctx<'_, ()>, ev: Event<'_>| match ev {
    ///     Event::HttpResponse(response) => println!("{} {:?}", response.status(), response.body_text()),
    ///     Event::Closed(reason) => println!("{reason}"),
    ///     _ => {}
    /// })?;
    /// manager.net().request(id, Request::get("/state"))?;
    /// manager.net().request(id, Request::post("/led").json(r#"{"on":true}"#))?;
    /// # Ok(()) }
    /// ```
    pub fn http_connect(
        &mut self,
        options: impl Into<ConnectOptions>,
        handler: impl Handler<S> + 'static,
    ) -> Result<ConnId> {
        self.core.http_connect(options.into(), Box::new(handler))
    }

    /// Runs one errand: connects to the request's URL, sends it, tells of the response, and closes. Follows redirects
    /// where the request says so ([`RequestBuilder::redirects`]).
    ///
    /// The handler is told `HttpResponse`, and then `Closed(CloseReason::Local)`; without the former, the reason says what
    /// went wrong. A redirect keeps the connection's id: the handler is told `Resolved` and `Connected` again. To another
    /// origin it leaves `Authorization`, `Cookie` and the credentials of the URL behind.
    ///
    /// ```no_run
    /// use vansire::{Ctx, Event, Manager, http::Request};
    ///
    /// # fn main() -> vansire::Result<()> {
    /// # let mut manager = Manager::new(())?;
    /// let request = Request::get("http://device.lan/state").redirects(5);
    /// manager.net().fetch(request, |_: &mut Ctx<'_, ()>, ev: Event<'_>| {
    ///     if let Event::HttpResponse(response) = ev {
    ///         println!("{} {:?}", response.status(), response.body_text());
    ///     }
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn fetch(&mut self, request: RequestBuilder<'_>, handler: impl Handler<S> + 'static) -> Result<ConnId> {
        let options = ConnectOptions::new(request.url());
        self.fetch_with(options, request, handler)
    }

    /// As [`fetch`](Self::fetch), connecting with these options: a proxy, limits, a timeout. Their URL has the origin; the
    /// request's may be a path.
    pub fn fetch_with(
        &mut self,
        options: impl Into<ConnectOptions>,
        request: RequestBuilder<'_>,
        handler: impl Handler<S> + 'static,
    ) -> Result<ConnId> {
        self.core.fetch(options.into(), request.close(), Box::new(handler))
    }
}

impl<S> Core<S> {
    fn http_connect(&mut self, options: ConnectOptions, handler: BoxHandler<S>) -> Result<ConnId> {
        let url = Url::parse(options.url.as_str())?;
        if !matches!(url.scheme(), Scheme::Http | Scheme::Https) {
            return Err(Error::new(Kind::BadUrl, format!("cannot ask {url}: an HTTP client needs an http:// URL")));
        }
        self.connect(options.raw(false), handler)
    }

    fn fetch(
        &mut self,
        options: ConnectOptions,
        request: RequestBuilder<'_>,
        handler: BoxHandler<S>,
    ) -> Result<ConnId> {
        let id = self.http_connect(options.clone(), handler)?;
        let asked = self.ask(id.0, &request).and_then(|()| Fetch::new(options, &request));
        match (asked, self.client_mut(id.0)) {
            (Ok(fetch), Some(client)) => {
                client.bits.one_shot = true;
                client.fetch = Some(Box::new(fetch));
                Ok(id)
            }
            (Ok(_), None) => Ok(id),
            (Err(e), _) => {
                // Nobody has been told of it.
                self.discard(id.0);
                Err(e)
            }
        }
    }

    /// Follows a redirect, if this is one and it may be. False: the handler is to be told of it.
    pub(super) fn follow(&mut self, key: Key, head: &ResponseHead<'_>) -> bool {
        if self.stop != Stop::Running {
            return false;
        }
        let Some(client) = self.client_mut(key) else { return false };
        let Some(fetch) = &client.fetch else { return false };
        if fetch.max == 0 {
            return false;
        }
        let location = match head.header_all("location").count() {
            // Two readers could go two ways.
            2.. => return self.give_up(key, "a redirect with several Locations".to_owned()),
            _ => head.header("location"),
        };
        let next = match redirect::next(&fetch.url, &fetch.method, head.status(), location) {
            Ok(Some(next)) => next,
            Ok(None) => return false,
            Err(e) => return self.give_up(key, e.to_string()),
        };
        if fetch.body.is_none() && !next.to_get {
            return false;
        }
        if fetch.left == 0 {
            let max = fetch.max;
            return self.give_up(key, format!("more than {max} redirects"));
        }
        let origin = Rc::clone(&client.origin);
        let Some(mut fetch) = client.fetch.take() else { return false };
        fetch.go_on(next.to_get, next.leaves);
        let authorization = if next.leaves { "".into() } else { origin.authorization.clone() };
        if let Err(e) = self.go_to(key, next.url, authorization, fetch) {
            self.close(key, CloseReason::Connect(e));
        }
        true
    }

    fn give_up(&mut self, key: Key, why: String) -> bool {
        self.close(key, CloseReason::Failed(why.into()));
        true
    }

    /// Has the connection leave its server for another.
    fn go_to(&mut self, key: Key, url: Url, authorization: Box<str>, mut fetch: Box<Fetch>) -> Result<()> {
        speaks(url.scheme())
            .map_err(|e| Error::with_source(e.kind(), format!("cannot follow a redirect to {url}"), e.to_string()))?;
        let (origin, dial) = Origin::with_authorization(&url, authorization, &fetch.options)?;
        dial.connect_target()?;
        let Some(conn) = self.conns.get_mut(key) else { return Ok(()) };
        // What the old server sent or was to be sent means nothing to the new one.
        conn.flags.clear(Flags::HIGH | Flags::BACKLOG | Flags::READABLE | Flags::WRITABLE | Flags::READ_CLOSED);
        conn.flags.clear(Flags::EOF | Flags::HUNG_UP | Flags::WATCH_BOTH | Flags::ESTABLISHED);
        conn.remote = Remote::None;
        let (input, output) = (conn.input.take(), conn.output.take());
        let mut client = ClientConn::new(origin);
        client.bits.one_shot = true;
        if let Some(slot) = conn.client() {
            *slot = client;
        }
        input.into_iter().for_each(|input| self.pool.give_read(input));
        output.into_iter().for_each(|output| self.pool.give_write(output));
        self.redial(key, dial, fetch.options.clone());
        fetch.url = url.clone();
        let asked = self.ask(key, &fetch.request(url.path()));
        if let Some(client) = self.client_mut(key) {
            client.fetch = Some(fetch);
        }
        asked
    }
}

//! HTTP requests as futures, over connections that are kept.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Event};
use crate::id::ConnId;
use crate::manager::{Ctx, LoopCtx, Net};
use crate::net::{Scheme, Url};
use crate::proto::http::{Request, RequestBuilder, ResponseView, Upload};
use crate::reactor::{Command, Waker};

use super::Handle;
use super::handle::stopped;

/// Sends requests and awaits their responses. Connections are kept and used again; a clone shares them.
///
/// ```
/// use vansire::aio::HttpClient;
/// use vansire::{AsyncManager, Ctx, Event, http};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vansire::Result<()> {
/// let manager = AsyncManager::builder(|| ()).start().await?;
/// let server = manager
///     .listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
///         if let Event::HttpRequest(request) = ev {
///             cx.reply(http::Response::text(200, request.target()));
///         }
///     })
///     .await?;
/// let client = HttpClient::new(&manager);
/// let url = format!("http://{}/state", server.local_addr().unwrap());
/// let response = client.request(http::Request::get(url)).await?;
/// assert_eq!((response.status, response.text()), (200, Some("/state")));
/// # Ok(()) }
/// ```
pub struct HttpClient<S: 'static = ()> {
    handle: Handle<S>,
    pool: Arc<Pool>,
}

/// A whole response, which belongs to whoever asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in their order, names in the server's letter case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body, without the framing of its chunks.
    pub body: Bytes,
}

impl Response {
    pub(super) fn of(view: &ResponseView<'_>) -> Self {
        Self {
            status: view.status(),
            headers: view.headers().map(|(name, value)| (name.to_owned(), value.to_vec())).collect(),
            body: Bytes::copy_from_slice(view.body()),
        }
    }

    /// The first header of this name in any letter case. None also where its value is not UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|header| header.0.eq_ignore_ascii_case(name))?;
        str::from_utf8(value).ok()
    }

    /// The body as text. None where it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(&self.body).ok()
    }
}

/// Idle connections, by the origin that they lead to.
struct Pool {
    idle: Mutex<HashMap<String, Vec<Idle>>>,
    /// Closes the idle ones when the last client is gone.
    waker: Waker,
}

/// A connection that waits for a request, and where its handler looks for whom to answer.
struct Idle {
    id: ConnId,
    asker: Asker,
}

/// Who waits for the response on a connection.
type Asker = Arc<Mutex<Option<Waiting>>>;

struct Waiting {
    tell: oneshot::Sender<Answer>,
    /// Bytes that had come from the server when the request was sent.
    bytes_in: u64,
}

enum Answer {
    Response(Response),
    /// The connection ended without a byte of the response. If it was idle before, the server may not have seen the request.
    Lost(Error),
    Failed(Error),
}

/// Idle connections kept for one origin.
const PER_ORIGIN: usize = 8;

impl<S: 'static> HttpClient<S> {
    /// A client on this loop, without connections yet. It does not keep the loop running.
    pub fn new(handle: &Handle<S>) -> Self {
        let pool = Pool { idle: Mutex::default(), waker: handle.waker().clone() };
        Self { handle: handle.clone(), pool: Arc::new(pool) }
    }

    /// Sends a request to its URL and awaits the whole response, over a connection to that origin that is idle, or a new one.
    /// Limits and deadlines are those of the manager's connections.
    ///
    /// Redirects are followed where the request says so; such a request, and one to `http+unix:`, has a connection of its own. Up
    /// to 8 idle connections are kept for each origin. Where one turns out to have been closed by the server, a request that may be repeated
    /// (RFC 9110 §9.2.2) is sent once more, over another.
    ///
    /// Fails when the request breaks the protocol ([`is_bad_value`](Error::is_bad_value)), has a streamed body
    /// ([`is_unsupported`](Error::is_unsupported)), when no connection comes about, when it ends before the response does
    /// ([`is_gone`](Error::is_gone), [`is_timed_out`](Error::is_timed_out)), and when the loop stops.
    ///
    /// Cancel safety: the request may have been sent; its connection is closed, so that nobody else gets its response.
    pub async fn request(&self, request: RequestBuilder<'_>) -> Result<Response> {
        let errand = Errand::new(&request)?;
        loop {
            let (errand, pool, waker) = (errand.clone(), Arc::clone(&self.pool), self.handle.waker().clone());
            let may_repeat = errand.may_repeat();
            let begin = move |cx: &mut LoopCtx<'_, S>| begin(cx, &pool, &errand, waker);
            let (reused, mut in_flight) = self.handle.with(begin).await??;
            match (&mut in_flight.told).await {
                Ok(Answer::Response(response)) => return Ok(response),
                // Each time there is one idle connection less.
                Ok(Answer::Lost(_)) if reused && may_repeat => {}
                Ok(Answer::Lost(e) | Answer::Failed(e)) => return Err(e),
                Err(_) => return Err(stopped()),
            }
        }
    }

    /// Connections that wait for a request.
    pub fn idle(&self) -> usize {
        self.pool.lock().values().map(Vec::len).sum()
    }
}

/// Sends the request on an idle connection or a new one. True: it was used before.
fn begin<S: 'static>(
    cx: &mut LoopCtx<'_, S>,
    pool: &Arc<Pool>,
    errand: &Errand,
    waker: Waker,
) -> Result<(bool, InFlight)> {
    let (tell, told) = oneshot::channel();
    let Some(origin) = &errand.origin else {
        let asker = Mutex::new(Some(tell));
        let handler = move |_: &mut Ctx<'_, S>, ev: Event<'_>| {
            let Some(answer) = answer_of(&ev) else { return };
            // Nobody listens to the end that follows the response.
            let _ = lock(&asker).take().map(|tell: oneshot::Sender<_>| tell.send(answer));
        };
        let id = cx.net.fetch(errand.request(&errand.url), handler)?;
        return Ok((false, InFlight { id, told, waker }));
    };
    while let Some(Idle { id, asker }) = pool.take(origin) {
        if cx.net.is_open(id) {
            // What cannot be sent leaves the connection as it was.
            if let Err(e) = cx.net.request(id, errand.request(&errand.path)) {
                pool.put(origin, Idle { id, asker });
                return Err(e);
            }
            *lock(&asker) = Some(Waiting { tell, bytes_in: bytes_in(&cx.net, id) });
            return Ok((true, InFlight { id, told, waker }));
        }
    }
    let asker: Asker = Arc::new(Mutex::new(Some(Waiting { tell, bytes_in: 0 })));
    let (home, key) = (Arc::downgrade(pool), origin.clone());
    let handler = move |cx: &mut Ctx<'_, S>, ev: Event<'_>| {
        let Some(answer) = answer_of(&ev) else { return };
        let pool = home.upgrade();
        // Idle before the answer is told: whoever gets it may ask again at once.
        let kept = match (&ev, &pool) {
            (Event::HttpResponse(response), Some(pool)) if response.keep_alive() => {
                pool.put(&key, Idle { id: cx.conn, asker: Arc::clone(&asker) })
            }
            _ => false,
        };
        let heard = lock(&asker).take().is_some_and(|Waiting { tell, bytes_in: before }| {
            let answer = match answer {
                Answer::Failed(e) if e.is_gone() && bytes_in(&cx.net, cx.conn) == before => Answer::Lost(e),
                answer => answer,
            };
            tell.send(answer).is_ok()
        });
        // One whose caller is gone is about to be closed.
        if !(kept && heard) {
            if let Some(pool) = pool {
                pool.remove(&key, cx.conn);
            }
            cx.close();
        }
    };
    let id = cx.net.http_connect(origin.as_str(), handler)?;
    if let Err(e) = cx.net.request(id, errand.request(&errand.path)) {
        cx.net.close(id);
        return Err(e);
    }
    Ok((false, InFlight { id, told, waker }))
}

/// Bytes that have come so far.
fn bytes_in<S>(net: &Net<'_, S>, id: ConnId) -> u64 {
    net.core.conns.get(id.0).map_or(0, |conn| conn.bytes_in)
}

/// What an event means to whoever waits for the response.
fn answer_of(ev: &Event<'_>) -> Option<Answer> {
    match ev {
        Event::HttpResponse(response) => Some(Answer::Response(Response::of(response))),
        Event::Closed(reason) => {
            let failed = |kind| Error::new(kind, format!("there is no response: {reason}"));
            Some(match reason {
                CloseReason::Connect(e) => Answer::Failed(e.clone()),
                CloseReason::TimedOut(_) => Answer::Failed(failed(Kind::TimedOut)),
                CloseReason::Stopped => Answer::Failed(failed(Kind::Stopped)),
                CloseReason::Local
                | CloseReason::Peer
                | CloseReason::Reset(_)
                | CloseReason::Protocol(_)
                | CloseReason::Failed(_)
                | CloseReason::SlowConsumer
                | CloseReason::ReadFull
                | CloseReason::Refused { .. }
                | CloseReason::HandlerPanicked => Answer::Failed(failed(Kind::Gone)),
                #[cfg(feature = "mqtt")]
                CloseReason::Mqtt(_) => Answer::Failed(failed(Kind::Gone)),
            })
        }
        _ => None,
    }
}

/// A request under way. Whoever drops it before its answer came closes the connection.
struct InFlight {
    id: ConnId,
    told: oneshot::Receiver<Answer>,
    waker: Waker,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        // Terminated, it has been taken.
        let waits = !self.told.is_terminated();
        // From here on an answer cannot be told, and the handler will not keep the connection; one that was told before has
        // set it free for others.
        self.told.close();
        if waits && self.told.try_recv().is_err() {
            // A loop that has stopped has closed it.
            let _ = self.waker.push(Command::Close(self.id));
        }
    }
}

/// A request that can be sent more than once.
#[derive(Clone)]
struct Errand {
    /// Where a connection of the pool leads to. None: it gets one of its own.
    origin: Option<String>,
    url: String,
    path: String,
    method: String,
    headers: Vec<(String, String)>,
    content_type: Option<String>,
    body: Bytes,
    close: bool,
    expect: bool,
    redirects: u8,
}

impl Errand {
    fn new(request: &RequestBuilder<'_>) -> Result<Self> {
        let text = request.url();
        let url = Url::parse(text)?;
        let body = match request.upload() {
            Upload::None => Bytes::new(),
            Upload::Slice(body) => Bytes::copy_from_slice(body),
            Upload::Shared(body) => body.clone(),
            Upload::Stream(_) => {
                let why = "a streamed body has to be written by a handler: use http_connect";
                return Err(Error::new(Kind::Unsupported, why));
            }
        };
        let redirects = request.redirects_max();
        let is_pooled =
            redirects == 0 && !request.wants_close() && url.scheme() == Scheme::Http && url.unix_path().is_none();
        // The scheme, whoever asks, and the authority: all that the connection depends on.
        let end =
            text.find("://").map(|at| at + 3).and_then(|from| Some(from + text.get(from..)?.find(['/', '?', '#'])?));
        let origin = text.get(..end.unwrap_or(text.len())).filter(|_| is_pooled).map(str::to_owned);
        Ok(Self {
            origin,
            url: text.to_owned(),
            path: url.path().to_owned(),
            method: request.method().to_owned(),
            headers: request.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            content_type: request.media_type().map(str::to_owned),
            body,
            close: request.wants_close(),
            expect: request.expects(),
            redirects,
        })
    }

    fn request<'r>(&'r self, target: &'r str) -> RequestBuilder<'r> {
        let mut request = Request::of(&self.method, target).redirects(self.redirects);
        for (name, value) in &self.headers {
            request = request.header(name, value.as_str());
        }
        if let Some(content_type) = &self.content_type {
            request = request.content_type(content_type);
        }
        if self.close {
            request = request.close();
        }
        if self.expect {
            request = request.expect_continue();
        }
        if self.body.is_empty() { request } else { request.shared(self.body.clone()) }
    }

    /// RFC 9110 §9.2.2.
    fn may_repeat(&self) -> bool {
        matches!(&*self.method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE")
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Idle>>> {
        lock(&self.idle)
    }

    /// The connection that was used last: the others may time out.
    fn take(&self, origin: &str) -> Option<Idle> {
        let mut pool = self.lock();
        let idle = pool.get_mut(origin)?;
        let found = idle.pop();
        if idle.is_empty() {
            pool.remove(origin);
        }
        found
    }

    /// False when there are enough already.
    fn put(&self, origin: &str, one: Idle) -> bool {
        let mut pool = self.lock();
        let idle = pool.entry(origin.to_owned()).or_default();
        let room = idle.len() < PER_ORIGIN;
        if room {
            idle.push(one);
        }
        room
    }

    /// It is closed.
    fn remove(&self, origin: &str, id: ConnId) {
        let mut pool = self.lock();
        if let Some(idle) = pool.get_mut(origin) {
            idle.retain(|one| one.id != id);
            if idle.is_empty() {
                pool.remove(origin);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for idle in self.lock().values().flatten() {
            // A loop that has stopped has closed it.
            let _ = self.waker.push(Command::Close(idle.id));
        }
    }
}

impl<S: 'static> Clone for HttpClient<S> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), pool: Arc::clone(&self.pool) }
    }
}

impl<S: 'static> fmt::Debug for HttpClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("idle", &self.idle()).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

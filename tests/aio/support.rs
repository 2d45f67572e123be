//! What the tests of `AsyncManager` share.

#[cfg(feature = "tokio-fd")]
use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
#[cfg(feature = "tokio-fd")]
use tokio::task::LocalSet;
use tokio::task::{Unconstrained, unconstrained};
use vansire::aio::{AsyncBuilder, Conn, Incident};
use vansire::{Address, AsyncManager, Ctx, Event, http};

use crate::common::DEADLINE;

/// A runtime of one thread, and one of two.
pub(crate) fn runtimes() -> [(&'static str, Runtime); 2] {
    let current = Builder::new_current_thread().enable_time().build().unwrap();
    let multi = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    [("current-thread", current), ("multi-thread", multi)]
}

/// Runs it on both kinds of runtime, each with a deadline.
pub(crate) fn on_each_runtime<F: Future<Output = ()>>(test: impl Fn() -> F) {
    for (name, runtime) in runtimes() {
        let done = runtime.block_on(async { tokio::time::timeout(DEADLINE, test()).await });
        assert!(done.is_ok(), "{name}: not done within {DEADLINE:?}");
    }
}

/// As [`on_each_runtime`], and once more with [`launch`](Launch::launch) making loops without threads. For tests that do not
/// block while the loop has something to do.
pub(crate) fn in_each_way<F: Future<Output = ()>>(test: impl Fn() -> F) {
    on_each_runtime(&test);
    #[cfg(feature = "tokio-fd")]
    inline(test());
}

/// Runs it on a current-thread runtime, with loops that have no threads.
#[cfg(feature = "tokio-fd")]
pub(crate) fn inline(test: impl Future<Output = ()>) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    INLINE.set(true);
    let done = LocalSet::new().block_on(&runtime, async { tokio::time::timeout(DEADLINE, test).await });
    INLINE.set(false);
    assert!(done.is_ok(), "inline: not done within {DEADLINE:?}");
}

#[cfg(feature = "tokio-fd")]
thread_local! {
    /// Loops that are launched by the test on this thread have none of their own.
    static INLINE: Cell<bool> = const { Cell::new(false) };
}

/// Starts a manager as the test is run: with or without a thread.
pub(crate) trait Launch<S: 'static> {
    async fn launch(self) -> vansire::Result<AsyncManager<S>>;
}

impl<S: 'static> Launch<S> for AsyncBuilder<S> {
    async fn launch(self) -> vansire::Result<AsyncManager<S>> {
        #[cfg(feature = "tokio-fd")]
        if INLINE.get() {
            let (manager, turns) = self.inline()?;
            tokio::task::spawn_local(turns);
            return Ok(manager);
        }
        self.start().await
    }
}

/// Runs it on a current-thread runtime, with a deadline.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, test).await }).expect("done within the deadline")
}

/// A manager that counts.
pub(crate) fn counter() -> AsyncBuilder<u64> {
    AsyncManager::builder(|| 0)
}

pub(crate) fn hello(cx: &mut Ctx<'_, u64>, ev: Event<'_>) {
    if let Event::HttpRequest(_) = ev {
        *cx.state += 1;
        cx.reply(http::Response::text(200, "hello"));
    }
}

pub(crate) fn nothing(_: &mut Ctx<'_, u64>, _: Event<'_>) {}

pub(crate) fn addr(conn: &Conn) -> SocketAddr {
    match conn.local_addr() {
        Some(Address::Inet(addr)) => *addr,
        other => panic!("{conn:?} has the address {other:?}"),
    }
}

/// Looks again and again, in another thread than the test's own runtime, until it holds.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "waited {DEADLINE:?} for: {what}");
        std::thread::yield_now();
    }
}

/// The same without blocking: the test's own runtime goes on.
pub(crate) async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "waited {DEADLINE:?} for: {what}");
        tokio::task::yield_now().await;
    }
}

/// The incidents of a manager, in order.
#[derive(Clone, Default)]
pub(crate) struct Incidents(Arc<Mutex<Vec<Incident>>>);

impl Incidents {
    pub(crate) fn hook(&self) -> impl Fn(&Incident) + Send + Sync + 'static {
        let list = Arc::clone(&self.0);
        move |incident| list.lock().unwrap().push(incident.clone())
    }

    pub(crate) fn all(&self) -> Vec<Incident> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.all().iter().map(ToString::to_string).collect()
    }
}

/// A handler that blocks: it says when it is inside, and returns when it is told to.
pub(crate) struct Blocker {
    pub(crate) inside: Receiver<()>,
    pub(crate) release: Sender<()>,
}

impl Blocker {
    /// The other half goes into the handler.
    pub(crate) fn new() -> (Self, impl Fn() + Send + 'static) {
        let (enter, inside) = channel();
        let (release, released) = channel();
        let block = move || {
            let _ = enter.send(());
            // Also over when the test is.
            let _ = released.recv_timeout(DEADLINE);
        };
        (Self { inside, release }, block)
    }

    pub(crate) fn wait_until_inside(&self) {
        self.inside.recv_timeout(DEADLINE).expect("the handler runs");
    }

    pub(crate) fn release(&self) {
        let _ = self.release.send(());
    }
}

/// Polls a future by hand, and knows how often it was woken.
pub(crate) struct Hand<F> {
    /// Outside of tokio's budget: when that is spent, a wake waits for a scheduler that is not run meanwhile.
    future: Pin<Box<Unconstrained<F>>>,
    woken: Arc<Count>,
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F: Future> Hand<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Box::pin(unconstrained(future)), woken: Arc::default() }
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn wakes(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }

    /// Waits until somebody has woken it this often in all.
    pub(crate) fn wait_for_wakes(&self, n: usize) {
        until("a wake", || self.wakes() >= n);
    }
}

/// From here on it is awaited.
impl<F: Future> IntoFuture for Hand<F> {
    type Output = F::Output;
    type IntoFuture = Pin<Box<Unconstrained<F>>>;

    fn into_future(self) -> Self::IntoFuture {
        self.future
    }
}

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

//! The loop on a thread of its own, for programs on tokio. Start with [`AsyncManager`].

mod builder;
mod events;
mod guard;
mod handle;
#[cfg(feature = "http")]
mod http;
mod incident;
#[cfg(all(unix, feature = "tokio-fd"))]
mod inline;
#[cfg(feature = "mqtt")]
mod mqtt;
mod schedule;
mod shutdown;
#[cfg(feature = "sntp")]
mod sntp;
#[cfg(test)]
mod tests;
mod thread;

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::pin::pin;
use std::task::Poll;

pub use self::builder::AsyncBuilder;
#[cfg(feature = "http")]
pub use self::events::Request;
pub use self::events::{EventStream, Overflow, OwnedEvent};
pub use self::guard::{Conn, Timer};
pub use self::handle::Handle;
#[cfg(feature = "http")]
pub use self::http::{HttpClient, Response};
pub use self::incident::Incident;
#[cfg(all(unix, feature = "tokio-fd"))]
pub use self::inline::Inline;
#[cfg(feature = "mqtt")]
pub use self::mqtt::{MqttClient, MqttMessage, MqttMessages, MqttState};
pub use self::schedule::Outcome;
pub use self::shutdown::{Shutdown, ShutdownReport};
#[cfg(feature = "sntp")]
pub use self::sntp::SntpClient;

/// A [`Manager`](crate::Manager) on a thread of its own, and what async code does with it: everything that a [`Handle`] can,
/// and the end.
///
/// Handlers run on that thread and are the same as everywhere else; async code never blocks on them. Closures go over by
/// [`with`](Handle::with), bytes by [`wakeup`](Handle::wakeup); handlers start tasks by [`schedule`](Handle::schedule).
/// Dropping it stops the thread, as [`shutdown`](Self::shutdown) does, without waiting for it.
///
/// ```
/// use vansire::{AsyncManager, Ctx, Event, http};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vansire::Result<()> {
/// let manager = AsyncManager::builder(|| 0u64).start().await?;
/// let server = manager
///     .listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
///         if let Event::HttpRequest(_) = ev {
///             *cx.state += 1;
///             cx.reply(http::Response::text(200, "hello\n"));
///         }
///     })
///     .await?;
/// println!("listening on {}", server.local_addr().unwrap());
/// let served = manager.with(|cx| *cx.state).await?;
/// assert_eq!(served, 0);
/// let report = manager.shutdown().await;
/// assert!(!report.abandoned);
/// # Ok(()) }
/// ```
///
/// It starts once: the builder is gone then.
///
/// ```compile_fail,E0382
/// # use vansire::AsyncManager;
/// # async fn twice() {
/// let builder = AsyncManager::builder(|| ());
/// let first = builder.start().await;
/// let second = builder.start().await;
/// # }
/// ```
pub struct AsyncManager<S: 'static = ()> {
    handle: Handle<S>,
}

impl<S: 'static> AsyncManager<S> {
    /// Begins with the state, which is made on the loop's thread and need not be `Send`.
    pub fn builder(state: impl FnOnce() -> S + Send + 'static) -> AsyncBuilder<S> {
        AsyncBuilder::new(Box::new(state))
    }

    /// A handle to keep elsewhere. It does not keep the loop running.
    pub fn handle(&self) -> Handle<S> {
        self.handle.clone()
    }

    /// Stops accepting, lets what is in progress finish, closes the rest, and waits for the thread to end: within the times
    /// of [`AsyncBuilder::shutdown`]. A handler that blocks is warned of by name; in the end the thread is left to itself, and
    /// frees its sockets when the handler returns.
    ///
    /// Cancel safety: the stop has begun with the first poll, and goes on without whoever waits for it. Called again, it
    /// waits for the same end and tells the same.
    pub async fn shutdown(&self) -> ShutdownReport {
        self.handle.shared.begin_shutdown();
        self.handle.ended().await
    }

    /// Waits until `until` is over, or the loop has ended by itself; then shuts down.
    ///
    /// Cancel safety: dropped before `until` is over, it changes nothing; afterwards as [`shutdown`](Self::shutdown).
    ///
    /// ```no_run
    /// # async fn run(manager: vansire::AsyncManager) {
    /// let report = manager.run(async { tokio::time::sleep(std::time::Duration::from_secs(60)).await }).await;
    /// println!("{report}");
    /// # }
    /// ```
    pub async fn run(&self, until: impl Future) -> ShutdownReport {
        {
            let mut until = pin!(until);
            let mut ended = pin!(self.handle.ended());
            poll_fn(|cx| match (until.as_mut().poll(cx), ended.as_mut().poll(cx)) {
                (Poll::Pending, Poll::Pending) => Poll::Pending,
                _ => Poll::Ready(()),
            })
            .await;
        }
        self.shutdown().await
    }
}

impl<S: 'static> Deref for AsyncManager<S> {
    type Target = Handle<S>;

    fn deref(&self) -> &Handle<S> {
        &self.handle
    }
}

impl<S: 'static> Drop for AsyncManager<S> {
    fn drop(&mut self) {
        self.handle.shared.begin_shutdown();
    }
}

impl<S: 'static> fmt::Debug for AsyncManager<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncManager").field("running", &self.running()).finish_non_exhaustive()
    }
}

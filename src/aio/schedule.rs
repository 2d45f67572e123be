//! From handlers to the runtime.

use std::fmt::Display;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;

use crate::manager::{discard, message};

use super::Handle;
use super::incident::Incident;
use super::shutdown::Shared;

/// What a scheduled task may return: nothing, or a `Result` whose error is told to
/// [`on_incident`](super::AsyncBuilder::on_incident).
pub trait Outcome {
    /// Why it failed, if it did.
    fn failure(self) -> Option<String>;
}

impl Outcome for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn failure(self) -> Option<String> {
        self.err().map(|e| e.to_string())
    }
}

impl<S: 'static> Handle<S> {
    /// Starts a task on the runtime that the manager was started on; callable from handlers and from anywhere. It never
    /// waits.
    ///
    /// An error that the task returns, its panic, and its being dropped by a runtime that shuts down are told to
    /// [`on_incident`](super::AsyncBuilder::on_incident).
    ///
    /// ```
    /// # use vansire::{AsyncManager, Ctx, Event};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> vansire::Result<()> {
    /// let manager = AsyncManager::builder(|| ()).start().await?;
    /// let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    /// let handle = manager.handle();
    /// let listener = manager
    ///     .listen("tcp://127.0.0.1:0", move |_: &mut Ctx<'_, ()>, ev: Event<'_>| {
    ///         if let Event::Wakeup(bytes) = ev {
    ///             let (bytes, tell) = (bytes.to_vec(), tell.clone());
    ///             handle.schedule(async move { tell.send(bytes).map_err(|_| "nobody listens") });
    ///         }
    ///     })
    ///     .await?;
    /// listener.wakeup(b"ping")?;
    /// assert_eq!(told.recv().await.as_deref(), Some(&b"ping"[..]));
    /// # Ok(()) }
    /// ```
    pub fn schedule<F>(&self, task: F)
    where
        F: Future<Output: Outcome> + Send + 'static,
    {
        let mut report = Report { shared: Arc::clone(&self.shared), failure: Some(DROPPED.to_owned()) };
        // The handle of a task that reports for itself has nothing to tell.
        drop(self.shared.runtime.spawn(async move {
            let mut task = Box::pin(task);
            let result = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
                Err(payload) => Poll::Ready(Err(payload)),
            })
            .await;
            // What the task holds, and how it tells its failure, is user code as well.
            let dropped = catch_unwind(AssertUnwindSafe(|| drop(task)));
            let result = result.and_then(|outcome| catch_unwind(AssertUnwindSafe(|| outcome.failure())));
            report.set(fallen(result).or_else(|| fallen(dropped.map(|()| None))));
        }));
    }

    /// Runs a closure on the runtime, as [`schedule`](Self::schedule) does with a task. It must not block.
    pub fn schedule_fn<R: Outcome>(&self, f: impl FnOnce() -> R + Send + 'static) {
        self.schedule(async move { f() });
    }
}

/// Why it failed: what it says itself, or what it panicked with.
fn fallen(result: std::thread::Result<Option<String>>) -> Option<String> {
    result.unwrap_or_else(|payload| {
        let why = format!("it panicked: {}", message(&*payload));
        discard(payload);
        Some(why)
    })
}

/// What became of a task that came to no end of its own.
const DROPPED: &str = "its runtime dropped it before it was done";

/// Tells why a task failed when it is dropped, which it is in any case.
struct Report {
    shared: Arc<Shared>,
    failure: Option<String>,
}

impl Report {
    fn set(&mut self, failure: Option<String>) {
        self.failure = failure;
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if let Some(why) = self.failure.take() {
            self.shared.tell(&Incident::TaskFailed(why));
        }
    }
}

//! The loop as a task of the caller's runtime, without a thread.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use std::{fmt, io};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::time::Sleep;

use crate::error::{Error, Kind, Result};
use crate::manager::{Manager, Stopped, Stopping, discard};

use super::shutdown::Shared;
use super::{AsyncBuilder, AsyncManager, thread};

impl<S: 'static> AsyncBuilder<S> {
    /// As [`start`](Self::start), without a thread: the loop is a future, [`Inline`], that the caller runs beside its own. For boards
    /// with one core, where another thread costs a switch each way.
    ///
    /// The manager is the same, with the same calls. What differs: a handler that blocks, blocks the caller's tasks as well, and
    /// so no shutdown can give up on it; timers are as fine as tokio's, a millisecond; the runtime takes the loop with it.
    /// `state` and `setup` run here and now.
    ///
    /// Must be called on a tokio runtime with I/O and time enabled ([`is_unsupported`](Error::is_unsupported)). Fails where the
    /// system refuses a descriptor, and with what the setup failed with; nothing is left then.
    ///
    /// ```
    /// use vansire::{AsyncManager, Ctx, Event, http};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> vansire::Result<()> {
    /// let (manager, turns) = AsyncManager::builder(|| 0u64).inline()?;
    /// let work = async {
    ///     let handler = |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
    ///         if let Event::HttpRequest(_) = ev {
    ///             *cx.state += 1;
    ///             cx.reply(http::Response::text(200, "hello\n"));
    ///         }
    ///     };
    ///     let _server = manager.listen("http://127.0.0.1:0", handler).await?;
    ///     assert_eq!(manager.with(|cx| *cx.state).await?, 0);
    ///     Ok(manager.shutdown().await)
    /// };
    /// // Or tokio::task::spawn_local(turns), within a LocalSet.
    /// let (report, ()): (vansire::Result<_>, ()) = tokio::join!(work, turns);
    /// assert!(!report?.abandoned);
    /// # Ok(()) }
    /// ```
    pub fn inline(self) -> Result<(AsyncManager<S>, Inline<S>)> {
        let unsupported = |what| Error::new(Kind::Unsupported, format!("an inline AsyncManager needs {what}"));
        let runtime = Handle::try_current().map_err(|_| unsupported("a tokio runtime; here is none"))?;
        let sleep = tried(|| Box::pin(tokio::time::sleep(Duration::ZERO)))
            .ok_or_else(|| unsupported("a runtime with its time enabled"))?;
        let poll_interval = self.poll_interval;
        let (manager, handle) = thread::prepare(self, runtime)?;
        let shared = Arc::clone(&handle.shared);
        let nest = match tried(|| nest(manager)) {
            Some(Ok(nest)) => nest,
            failed => {
                // What held the manager has dropped it.
                thread::end((), &shared, Ok(Ok(Stopped::default())));
                return Err(match failed {
                    Some(Err(e)) => Error::io("the runtime cannot watch the loop", e),
                    _ => unsupported("a runtime with its I/O enabled"),
                });
            }
        };
        let turns =
            Inline { nest: Some(nest), shared, sleep, sleeps_until: None, is_due: true, poll_interval, stopping: None };
        Ok((AsyncManager { handle }, turns))
    }
}

/// The turns of a loop without a thread ([`AsyncBuilder::inline`]): a future that is done when the loop has ended, by
/// [`AsyncManager::shutdown`] or otherwise. `spawn_local` it, or await it beside something else; it is not `Send`, as the
/// handlers of its loop need not be.
///
/// Each time that it is polled it has one turn at most, with as much work for each connection as a turn may do, so that the
/// runtime's other tasks have theirs. An idle loop wakes up for nothing.
///
/// Cancel safety: dropped, it closes everything at once, and whoever waits is told of the end.
///
/// ```compile_fail
/// # use vansire::AsyncManager;
/// # async fn spawn() {
/// let (manager, turns) = AsyncManager::builder(|| ()).inline().unwrap();
/// tokio::spawn(turns);
/// # }
/// ```
#[must_use = "the loop has its turns only while this is polled"]
pub struct Inline<S: 'static = ()> {
    /// None once it has ended.
    nest: Option<AsyncFd<Manager<S>>>,
    shared: Arc<Shared>,
    sleep: Pin<Box<Sleep>>,
    sleeps_until: Option<Instant>,
    /// There is something to do at once.
    is_due: bool,
    poll_interval: Option<Duration>,
    stopping: Option<Stopping>,
}

/// What comes after a turn.
enum Next {
    TurnNow,
    TurnAt(Option<Instant>),
    End(Stopped),
}

// Nothing in it is pinned but the sleep, which has a box of its own.
impl<S: 'static> Unpin for Inline<S> {}

impl<S: 'static> Future for Inline<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Err(e) = self.watch(cx) {
            self.end(Ok(Err(Error::io("the runtime watches the loop no more", e))));
        }
        if !self.is_due {
            return if self.nest.is_some() { Poll::Pending } else { Poll::Ready(()) };
        }
        self.is_due = false;
        match catch_unwind(AssertUnwindSafe(|| self.turn())) {
            Ok(Ok(Next::TurnNow)) => {
                self.is_due = true;
                cx.waker().wake_by_ref();
            }
            Ok(Ok(Next::TurnAt(at))) => self.sleep_until(at, cx),
            Ok(Ok(Next::End(stopped))) => self.end(Ok(Ok(stopped))),
            Ok(Err(e)) => self.end(Ok(Err(e))),
            Err(payload) => self.end(Err(payload)),
        }
        if self.nest.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl<S: 'static> Inline<S> {
    /// Looks whether the loop has something to do, and will be woken when it has.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(nest) = &self.nest else { return Ok(()) };
        // The edge is taken before the turn: what comes during the turn is a new one.
        while let Poll::Ready(guard) = nest.poll_read_ready(cx) {
            guard?.clear_ready();
            self.is_due = true;
        }
        if self.sleeps_until.is_some() && self.sleep.as_mut().poll(cx).is_ready() {
            self.sleeps_until = None;
            self.is_due = true;
        }
        Ok(())
    }

    fn turn(&mut self) -> Result<Next> {
        let Some(nest) = &mut self.nest else { return Ok(Next::End(Stopped::default())) };
        let manager = nest.get_mut();
        let turn = manager.poll(Some(Duration::ZERO))?;
        if turn.stop && self.stopping.is_none() {
            self.shared.stopping();
            self.stopping = manager.begin_shut_down(self.shared.shutdown.limit);
        }
        let mut at_most = self.poll_interval;
        if let Some(stopping) = &self.stopping {
            at_most = manager.time_to_drain(stopping);
            if at_most.is_none() {
                return Ok(Next::End(manager.end_shut_down(stopping)));
            }
        }
        if turn.more || manager.poll_timeout().is_some_and(|wait| wait.is_zero()) {
            return Ok(Next::TurnNow);
        }
        let at_most = at_most.and_then(|wait| Instant::now().checked_add(wait));
        Ok(Next::TurnAt(manager.next_deadline().into_iter().chain(at_most).min()))
    }

    fn sleep_until(&mut self, at: Option<Instant>, cx: &mut Context<'_>) {
        // Most turns leave the next deadline where it was.
        if self.sleeps_until != at {
            self.sleeps_until = at;
            if let Some(at) = at {
                self.sleep.as_mut().reset(at.into());
            }
        }
        if at.is_some() && self.sleep.as_mut().poll(cx).is_ready() {
            self.sleeps_until = None;
            self.is_due = true;
            cx.waker().wake_by_ref();
        }
    }

    fn end(&mut self, served: std::thread::Result<Result<Stopped>>) {
        self.is_due = false;
        if let Some(nest) = self.nest.take() {
            thread::end(nest, &self.shared, served);
        }
    }
}

impl<S: 'static> Drop for Inline<S> {
    fn drop(&mut self) {
        let Some(nest) = &mut self.nest else { return };
        let stopping = self.stopping.take();
        let served = catch_unwind(AssertUnwindSafe(|| {
            let manager = nest.get_mut();
            let stopping = stopping.or_else(|| manager.begin_shut_down(Duration::ZERO));
            stopping.map_or(Stopped::default(), |stopping| manager.end_shut_down(&stopping))
        }));
        self.end(served.map(Ok));
    }
}

impl<S: 'static> fmt::Debug for Inline<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inline").field("has_ended", &self.nest.is_none()).finish_non_exhaustive()
    }
}

/// Has the runtime watch the loop's descriptor. A manager that cannot be watched is dropped.
// What takes the place of this constructor is unsafe: it trusts the descriptor to stay open. Ours is the manager's own, which
// the manager keeps for as long as it lives, and this crate has no unsafe code.
#[allow(deprecated)]
fn nest<S>(manager: Manager<S>) -> io::Result<AsyncFd<Manager<S>>> {
    AsyncFd::try_with_interest(manager, Interest::READABLE).map_err(|e| e.into_parts().1)
}

/// Calls what panics where a runtime lacks something: tokio has no other way to tell.
fn tried<T>(f: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(f)).map_err(discard).ok()
}

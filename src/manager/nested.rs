//! A manager inside another event loop.

#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use super::Manager;

impl<S> Manager<S> {
    /// How long [`poll`](Self::poll) would wait now for something to become ready: zero when there is work at once, `None` when
    /// nothing is due. For other event loops: see [`AsFd`](#impl-AsFd-for-Manager%3CS%3E).
    pub fn poll_timeout(&mut self) -> Option<Duration> {
        self.core.wait_for(None)
    }
}

/// The descriptor by which another event loop (poll(2), calloop, GLib, tokio's `AsyncFd`) watches this one, without a thread: it is
/// readable when there is something for [`poll`](Manager::poll) to do.
///
/// Call `poll(Some(Duration::ZERO))` when it is readable, and when [`poll_timeout`](Manager::poll_timeout) has passed, which is
/// asked anew after each turn and after each call of [`net`](Manager::net): timers, and work that was asked for between two turns,
/// do not show in the descriptor. A loop that is told of edges only polls until [`Turn::more`](super::Turn::more) is false.
/// Nothing else may be done with the descriptor. That of a simulated manager is never readable.
///
/// ```
/// use std::os::fd::AsFd;
/// use std::time::Duration;
/// use rustix::event::{PollFd, PollFlags, Timespec, poll};
/// use vansire::Manager;
///
/// # fn main() -> vansire::Result<()> {
/// let mut manager = Manager::new(0)?;
/// manager.net().timer_after(Duration::from_millis(5), |cx| *cx.state += 1);
/// while *manager.state() == 0 {
///     // Beside it, the descriptors of everything else.
///     let timeout = manager.poll_timeout().map(|wait| Timespec::try_from(wait).unwrap());
///     poll(&mut [PollFd::new(&manager.as_fd(), PollFlags::IN)], timeout.as_ref()).unwrap();
///     manager.poll(Some(Duration::ZERO))?;
/// }
/// # Ok(()) }
/// ```
#[cfg(unix)]
impl<S> AsFd for Manager<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.reactor.as_fd()
    }
}

/// As [`AsFd`](#impl-AsFd-for-Manager%3CS%3E), for interfaces that want a number.
#[cfg(unix)]
impl<S> AsRawFd for Manager<S> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

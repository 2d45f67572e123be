//! Connections and timers that end with their owner.

use std::fmt;

use crate::error::Result;
use crate::id::{ConnId, TimerId};
use crate::net::Address;
use crate::reactor::{Command, Waker};

/// A connection, listener or socket made by async code. Dropping it closes it; [`detach`](Self::detach) leaves it open.
#[must_use = "dropping it closes the connection"]
pub struct Conn {
    id: ConnId,
    local: Option<Address>,
    waker: Waker,
    armed: bool,
}

impl Conn {
    pub(super) fn new(id: ConnId, local: Option<Address>, waker: Waker) -> Self {
        Self { id, local, waker, armed: true }
    }

    /// Names it for everything that handlers and closures do.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// Its own address when it was made: of a listener on port 0 the port that it got. None where it was not known yet.
    pub fn local_addr(&self) -> Option<&Address> {
        self.local.as_ref()
    }

    /// Hands bytes to its handler: [`Waker::wakeup`].
    pub fn wakeup(&self, bytes: &[u8]) -> Result<()> {
        self.waker.wakeup(self.id, bytes)
    }

    /// Leaves it open, for whoever knows its id.
    pub fn detach(mut self) -> ConnId {
        self.armed = false;
        self.id
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.armed {
            // A loop that has stopped has closed it.
            let _ = self.waker.push(Command::Close(self.id));
        }
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("id", &self.id).field("local", &self.local).finish_non_exhaustive()
    }
}

/// A timer made by async code. Dropping it cancels it; [`detach`](Self::detach) lets it run.
#[must_use = "dropping it cancels the timer"]
pub struct Timer {
    id: TimerId,
    waker: Waker,
    armed: bool,
}

impl Timer {
    pub(super) fn new(id: TimerId, waker: Waker) -> Self {
        Self { id, waker, armed: true }
    }

    /// Names it.
    pub fn id(&self) -> TimerId {
        self.id
    }

    /// Lets it run on.
    pub fn detach(mut self) -> TimerId {
        self.armed = false;
        self.id
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if self.armed {
            // A loop that has stopped has cancelled it.
            let _ = self.waker.cancel(self.id);
        }
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("id", &self.id).finish_non_exhaustive()
    }
}

//! Readiness in a simulated world, where waiting moves the time on.

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::net::mem::{MemSocket, Sim};

use super::{Ready, Token, Waker, Watch};

/// One manager's view of the world's sockets.
pub(crate) struct SimReactor {
    sim: Sim,
    index: usize,
    /// Tells whether there is mail for the manager, which ends a wait.
    mail: Option<Waker>,
    /// What a loop around this one may watch: nothing ever happens there.
    #[cfg(unix)]
    nothing: mio::Poll,
}

impl SimReactor {
    pub(crate) fn new(sim: &Sim) -> io::Result<Self> {
        #[cfg(unix)]
        let nothing = mio::Poll::new()?;
        Ok(Self {
            sim: sim.clone(),
            index: sim.world().add_reactor(),
            mail: None,
            #[cfg(unix)]
            nothing,
        })
    }

    pub(super) fn set_mail(&mut self, mail: Waker) {
        self.mail = Some(mail);
    }

    pub(super) fn watch(&mut self, socket: &MemSocket, token: Token, watch: Watch) {
        self.sim.world().watch(socket.id(), self.index, token, watch);
    }

    /// There is something to tell.
    pub(crate) fn is_ready(&self) -> bool {
        self.sim.world().is_ready(self.index) || self.mail.as_ref().is_some_and(Waker::has_mail)
    }

    /// As [`Reactor::wait`](super::Reactor::wait). A wait that nothing will ever end is an error.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, into: &mut Vec<Ready>) -> io::Result<()> {
        self.sim.do_due();
        let until = timeout.map(|timeout| self.sim.clock().elapsed().saturating_add(timeout));
        loop {
            self.sim.world().collect(self.index, into);
            let is_over = until.is_some_and(|until| self.sim.clock().elapsed() >= until);
            if is_over || !into.is_empty() || self.is_ready() {
                return Ok(());
            }
            if !self.sim.wait_until(until) {
                let seed = self.sim.seed();
                let what = format!("SIM_SEED={seed}: nothing is left to happen, and the wait has no end");
                return Err(io::Error::new(io::ErrorKind::Deadlock, what));
            }
        }
    }
}

#[cfg(unix)]
impl AsFd for SimReactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.nothing.registry().as_fd()
    }
}

//! Running until told to stop, and stopping with care.

use std::time::Duration;

use crate::error::Result;
use crate::event::CloseReason;

use super::Manager;
use super::conn::{Io, Proto};
use super::core::{Core, Stop};

impl<S> Manager<S> {
    /// Runs the loop until [`Net::stop`](super::Net::stop), [`Waker::stop`](crate::Waker::stop), or a signal that
    /// [`handle_signals`](Self::handle_signals) asked for; then shuts down as [`shutdown`](Self::shutdown) does, within
    /// `Limits::drain_timeout`.
    pub fn run(&mut self) -> Result<()> {
        while !self.poll(None)?.stop {}
        let within = self.core.limits.drain_timeout;
        self.shutdown(within)
    }

    /// Shuts down: stops accepting, lets requests in progress finish and output drain, at most this long, then closes
    /// what is left. Asked to stop a second time meanwhile, it closes at once.
    pub fn shutdown(&mut self, within: Duration) -> Result<()> {
        if self.core.stop == Stop::Closed {
            return Ok(());
        }
        if self.core.stop == Stop::Running {
            self.core.stop = Stop::Asked;
        }
        let until = self.core.clock.now().after(within);
        self.core.begin_stop();
        // A manual clock stands still while we wait: there only what is ready can be served.
        while self.core.stop == Stop::Asked && !self.core.is_drained() {
            let left = until.since(self.core.clock.now());
            if left.is_zero() {
                break;
            }
            let turn = self.poll(Some(left))?;
            if self.core.clock.is_manual() && !turn.more && turn.events == 0 {
                break;
            }
        }
        self.close();
        Ok(())
    }
}

impl<S> Core<S> {
    /// Closes the listeners, ends what is idle, and has the rest end with what it is doing.
    fn begin_stop(&mut self) {
        for key in self.conns.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            let Some(conn) = self.conns.get(key) else { continue };
            match (&conn.io, &conn.proto) {
                (Io::Listener(_) | Io::Udp(_) | Io::Connecting(_) | Io::None, _) => {
                    self.close(key, CloseReason::Stopped);
                }
                #[cfg(feature = "http")]
                (Io::Stream(_), Proto::Http(_)) => self.stop_http(key),
                (Io::Stream(_), Proto::Raw) => self.drain(key),
            }
        }
    }

    fn is_drained(&self) -> bool {
        // Those that only wait for the peer's goodbye do not hold us up for longer than they must.
        self.conns.len() == 0
    }

    #[cfg(not(feature = "signals"))]
    pub(crate) fn read_signals(&mut self) {}
}


//! Running until told to stop, and stopping with care.

use std::time::Duration;

use crate::error::Result;
use crate::event::CloseReason;

use super::Manager;
use super::conn::{Io, Proto};
use super::core::{Core, Stop};

impl<S> Manager<S> {
    /// Runs the loop until it is asked to stop, then shuts down as [`shutdown`](Self::shutdown) does, within
    /// `Limits::drain_timeout`.
    ///
    /// It is asked by [`Net::stop`](super::Net::stop), by [`Waker::stop`](crate::Waker::stop), and with the feature
    /// `signals` by SIGINT and SIGTERM: a first signal shuts down, a second one closes at once. Handlers that others
    /// installed for these signals still run; when `run` returns, the signals mean again what they meant before.
    pub fn run(&mut self) -> Result<()> {
        #[cfg(feature = "signals")]
        let _watching = self.core.watch_signals()?;
        // Asked already, it does not wait to be told again.
        while matches!(self.core.stop, Stop::Running | Stop::Closed) {
            self.poll(None)?;
        }
        let within = self.core.limits.drain_timeout;
        self.shutdown(within)
    }

    /// Shuts down: stops accepting, lets requests in progress finish and output drain, at most this long, then closes
    /// what is left. Asked to stop once more meanwhile, it closes at once.
    pub fn shutdown(&mut self, within: Duration) -> Result<()> {
        if self.core.stop == Stop::Closed {
            return Ok(());
        }
        if self.core.stop == Stop::Running {
            self.core.stop = Stop::Asked;
        }
        let until = self.core.clock.now().after(within);
        self.core.begin_stop();
        while self.core.stop == Stop::Asked && self.core.conns.len() > 0 {
            let left = until.since(self.core.clock.now());
            if left.is_zero() {
                break;
            }
            // A manual clock stands still while we wait: there only what is ready is served.
            let manual = self.core.clock.is_manual();
            let turn = self.poll(Some(if manual { Duration::ZERO } else { left }))?;
            if manual && !turn.more && turn.events == 0 {
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
                #[cfg(feature = "http")]
                (Io::Stream(_), Proto::Client(_)) => self.stop_client(key),
                #[cfg(feature = "mqtt")]
                (Io::Stream(_), Proto::MqttClient(_)) => self.stop_mqtt(key),
                (Io::Stream(_), Proto::Raw) => self.drain(key),
                #[cfg(feature = "sntp")]
                (Io::Stream(_), Proto::Sntp(_)) => self.drain(key),
            }
        }
    }
}

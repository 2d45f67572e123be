//! Running until told to stop, and stopping with care.

use std::time::Duration;

use crate::error::Result;
use crate::event::{CloseReason, Event};
use crate::time::Moment;

use super::Manager;
use super::conn::{Flags, Io, Proto};
use super::core::{Core, Stop};
use super::dispatch;
#[cfg(feature = "http")]
use super::outbound::Outbound;

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
        self.run_and_tell().map(drop)
    }

    /// Has signals ask it to stop as [`run`](Self::run) does, from now until the guard is dropped.
    #[cfg(feature = "app")]
    pub(crate) fn watch_signals(&mut self) -> Result<impl Sized + use<S>> {
        self.core.watch_signals()
    }

    /// As [`run`](Self::run), and tells how the connections ended. Signals are left to others.
    pub(crate) fn run_and_tell(&mut self) -> Result<Stopped> {
        // Asked already, it does not wait to be told again.
        while matches!(self.core.stop, Stop::Running | Stop::Closed) {
            self.poll(None)?;
        }
        let within = self.core.limits.drain_timeout;
        self.shut_down(within)
    }

    /// Shuts down: stops accepting, lets requests in progress finish and output drain, at most this long, then closes
    /// what is left. Asked to stop once more meanwhile, it closes at once.
    pub fn shutdown(&mut self, within: Duration) -> Result<()> {
        self.shut_down(within).map(drop)
    }

    /// As [`shutdown`](Self::shutdown), and tells how the connections ended.
    pub(crate) fn shut_down(&mut self, within: Duration) -> Result<Stopped> {
        let Some(stopping) = self.begin_shut_down(within) else { return Ok(Stopped::default()) };
        while let Some(left) = self.time_to_drain(&stopping) {
            // A manual clock stands still while we wait: there only what is ready is served.
            let manual = self.core.clock.is_manual();
            let turn = self.poll(Some(if manual { Duration::ZERO } else { left }))?;
            if manual && !turn.more && turn.events == 0 {
                break;
            }
        }
        Ok(self.end_shut_down(&stopping))
    }

    /// The first step of a shutdown; turns of the loop follow. None where everything is closed already.
    pub(crate) fn begin_shut_down(&mut self, within: Duration) -> Option<Stopping> {
        if self.core.stop == Stop::Closed {
            return None;
        }
        if self.core.stop == Stop::Running {
            self.core.stop = Stop::Asked;
        }
        let until = self.core.clock.now().after(within);
        self.core.begin_stop(&mut self.state);
        Some(Stopping { until, before: self.core.carrying(), undrained: self.core.undrained })
    }

    /// How long what is left may take still: none when nothing is left, the time is up, or a second request has come.
    pub(crate) fn time_to_drain(&mut self, stopping: &Stopping) -> Option<Duration> {
        if self.core.stop != Stop::Asked || self.core.conns.len() == 0 {
            return None;
        }
        Some(stopping.until.since(self.core.clock.now())).filter(|left| !left.is_zero())
    }

    /// The last step: closes what is left.
    pub(crate) fn end_shut_down(&mut self, stopping: &Stopping) -> Stopped {
        let aborted = self.core.carrying() + (self.core.undrained - stopping.undrained);
        self.close();
        Stopped { drained: stopping.before.saturating_sub(aborted), aborted }
    }
}

/// A shutdown under way.
pub(crate) struct Stopping {
    until: Moment,
    /// Connections that had something to finish.
    before: usize,
    /// Those whose output had not left in time before it.
    undrained: usize,
}

/// How the connections ended that had something to finish when the stop began.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(feature = "async"), allow(dead_code))]
pub(crate) struct Stopped {
    pub(crate) drained: usize,
    pub(crate) aborted: usize,
}

impl<S> Core<S> {
    /// How many connections are not about to close.
    fn carrying(&self) -> usize {
        self.conns.iter().filter(|(_, conn)| !conn.flags.has(Flags::CLOSING)).count()
    }

    /// Closes the listeners, ends what is idle, and has the rest end with what it is doing.
    fn begin_stop(&mut self, state: &mut S) {
        #[cfg(feature = "mdns")]
        self.stop_mdns();
        for key in self.conns.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            let Some(conn) = self.conns.get(key) else { continue };
            match (&conn.io, &conn.proto) {
                (Io::Listener(_) | Io::Udp(_) | Io::Connecting(_) | Io::None, _) => {
                    self.close(key, CloseReason::Stopped);
                }
                #[cfg(feature = "http")]
                (Io::Stream(_), Proto::Http(_)) => self.stop_http(key),
                #[cfg(feature = "http")]
                (Io::Stream(_), Proto::Client(_)) => {
                    if let Some(Outbound { client, .. }) = &self.outbound {
                        (client.stop)(self, key);
                    }
                }
                #[cfg(feature = "mqtt")]
                (Io::Stream(_), Proto::MqttClient(_)) => self.stop_mqtt(key),
                (Io::Stream(_), Proto::Raw) => {
                    dispatch::call(state, self, key, Event::Stopping);
                    self.drain(key);
                }
                #[cfg(feature = "sntp")]
                (Io::Stream(_), Proto::Sntp(_)) => self.drain(key),
            }
        }
    }
}

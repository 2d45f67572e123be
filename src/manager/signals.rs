//! SIGINT and SIGTERM, as long as `Manager::run` runs.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::net::UnixStream;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;

use crate::error::{Error, Result};
use crate::reactor::{Source, Token, Watch};

use super::core::Core;

/// The reading end of a pipe that signals write to.
pub(crate) struct Signals {
    pipe: UnixStream,
}

/// Takes the signals back when dropped.
pub(crate) struct Watching {
    ids: Vec<SigId>,
    over: Arc<AtomicBool>,
}

impl<S> Core<S> {
    /// Has signals ask the manager to stop, until the guard is dropped.
    pub(crate) fn watch_signals(&mut self) -> Result<Option<Watching>> {
        // A simulated manager has no pipe to watch; it is stopped through its waker.
        #[cfg(feature = "sim")]
        if let crate::reactor::Reactor::Sim(_) = self.reactor {
            return Ok(None);
        }
        let failed = |e: io::Error| Error::io("cannot watch for SIGINT and SIGTERM", e);
        let (mut read, write) = UnixStream::pair().map_err(failed)?;
        self.reactor.register(Source::Mio(&mut read), Token::Signal, Watch::Read).map_err(failed)?;
        let mut watching = Watching { ids: Vec::new(), over: Arc::new(AtomicBool::new(false)) };
        for signal in [SIGINT, SIGTERM] {
            if !is_handled(signal) {
                // The handler that is about to be installed stays for the life of the process. From the end of `run` on
                // it does what the system would have done without it.
                signal_hook::flag::register_conditional_default(signal, Arc::clone(&watching.over)).map_err(failed)?;
            }
            let end = std::os::fd::OwnedFd::from(std::os::unix::net::UnixStream::from(write.try_clone_std()?));
            watching.ids.push(low_level::pipe::register(signal, end).map_err(failed)?);
        }
        self.signals = Some(Signals { pipe: read });
        Ok(Some(watching))
    }

    /// A signal has come, or several.
    pub(crate) fn read_signals(&mut self) {
        let mut count = 0;
        if let Some(signals) = &mut self.signals {
            let mut bytes = [0; 64];
            while let Ok(n @ 1..) = signals.pipe.read(&mut bytes) {
                count += n;
            }
        }
        for _ in 0..count.min(2) {
            self.ask_to_stop();
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            low_level::unregister(id);
        }
        self.over.store(true, Ordering::SeqCst);
    }
}

//! SIGINT and SIGTERM, while a `Manager::run` runs.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

use crate::error::{Error, Result};
use crate::reactor::{Source, Token, Watch};

use super::core::Core;

/// The reading end of a pipe that signals write to.
pub(crate) type Signals = mio::net::UnixStream;

/// Takes the signals back when dropped.
pub(crate) struct Watching {
    ids: Vec<SigId>,
    defaults: Arc<AtomicBool>,
}

/// How many managers watch. Signals belong to the process.
static WATCHING: AtomicUsize = AtomicUsize::new(0);
/// Set while no manager watches: then a signal does what it would have done without us.
static DEFAULTS: OnceLock<Arc<AtomicBool>> = OnceLock::new();

impl<S> Core<S> {
    /// Has signals ask the manager to stop, until the guard is dropped.
    pub(crate) fn watch_signals(&mut self) -> Result<Option<Watching>> {
        // A simulated manager has no pipe to watch; it is stopped through its waker.
        if !self.reactor.is_of_the_system() {
            return Ok(None);
        }
        self.watch().map(Some).map_err(|e| Error::io("cannot watch for SIGINT and SIGTERM", e))
    }

    fn watch(&mut self) -> io::Result<Watching> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let mut read = mio::net::UnixStream::from_std(read);
        self.reactor.register(Source::Mio(&mut read), Token::Signal, Watch::Read)?;
        let defaults = Arc::clone(DEFAULTS.get_or_init(|| Arc::new(AtomicBool::new(true))));
        restore_defaults(&defaults)?;
        let mut watching = Watching { ids: Vec::new(), defaults };
        WATCHING.fetch_add(1, Ordering::SeqCst);
        for signal in [SIGINT, SIGTERM] {
            watching.ids.push(low_level::pipe::register(signal, OwnedFd::from(write.try_clone()?))?);
        }
        watching.defaults.store(false, Ordering::SeqCst);
        self.signals = Some(read);
        Ok(watching)
    }

    /// A signal has come, or several.
    pub(crate) fn read_signals(&mut self) {
        let mut count = 0;
        if let Some(pipe) = &mut self.signals {
            let mut bytes = [0; 64];
            while let Ok(n @ 1..) = pipe.read(&mut bytes) {
                count += n;
            }
        }
        for _ in 0..count.min(2) {
            self.ask_to_stop();
        }
    }
}

/// Has the signals that nobody handled do what the system does by default, whenever nobody watches: the handler that
/// stands behind `pipe::register` stays for the life of the process. Once per process.
fn restore_defaults(defaults: &Arc<AtomicBool>) -> io::Result<()> {
    static DONE: OnceLock<std::result::Result<(), io::ErrorKind>> = OnceLock::new();
    let done = DONE.get_or_init(|| {
        for signal in [SIGINT, SIGTERM] {
            if !is_handled(signal) {
                flag::register_conditional_default(signal, Arc::clone(defaults)).map_err(|e| e.kind())?;
            }
        }
        Ok(())
    });
    done.map_err(io::Error::from)
}

/// Whether the process handles or ignores the signal already. Only Linux tells without unsafe code; elsewhere the
/// answer is no.
fn is_handled(signal: i32) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let masks = status.lines().filter_map(|line| line.strip_prefix("SigCgt:").or(line.strip_prefix("SigIgn:")));
    masks.filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok()).any(|mask| mask & (1 << (signal - 1)) != 0)
}

impl Drop for Watching {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            low_level::unregister(id);
        }
        if WATCHING.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.defaults.store(true, Ordering::SeqCst);
        }
    }
}

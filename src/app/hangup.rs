//! SIGHUP: what the program reads again without being started anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether SIGHUP has come.
pub(super) struct Hangup(Arc<AtomicBool>);

impl Hangup {
    /// From now on SIGHUP does not end the program; a thread that waits for it calls `wake`, so that the loop looks.
    pub(super) fn watch(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        {
            use std::io::Read;

            let (read, write) = std::os::unix::net::UnixStream::pair()?;
            signal_hook::low_level::pipe::register(signal_hook::consts::SIGHUP, write)?;
            let raised = Arc::clone(&flag);
            std::thread::Builder::new().name("vansire-hangup".into()).spawn(move || {
                for _ in io::BufReader::new(read).bytes().map_while(Result::ok) {
                    raised.store(true, Ordering::Release);
                    wake();
                }
            })?;
        }
        #[cfg(not(unix))]
        drop(wake);
        Ok(Self(flag))
    }

    /// Whether it has come since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

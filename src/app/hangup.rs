//! SIGHUP: what the program reads again without being started anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// SIGHUP, which does not end the program any more.
pub(super) struct Hangup {
    has_come: Arc<AtomicBool>,
    #[cfg(unix)]
    pipe: Option<std::os::unix::net::UnixStream>,
}

impl Hangup {
    /// From now on SIGHUP does not end the program. One that comes before [`wake_by`](Self::wake_by) waits for it.
    pub(super) fn catch() -> io::Result<Self> {
        #[cfg(unix)]
        let (pipe, write) = std::os::unix::net::UnixStream::pair()?;
        #[cfg(unix)]
        signal_hook::low_level::pipe::register(signal_hook::consts::SIGHUP, write)?;
        Ok(Self {
            has_come: Arc::default(),
            #[cfg(unix)]
            pipe: Some(pipe),
        })
    }

    /// Has a thread wait for the signal and call `wake`, so that the loop looks.
    #[cfg_attr(not(unix), allow(unused_variables))]
    pub(super) fn wake_by(&mut self, wake: impl Fn() + Send + 'static) -> io::Result<()> {
        #[cfg(unix)]
        if let Some(pipe) = self.pipe.take() {
            use std::io::Read;

            let has_come = Arc::clone(&self.has_come);
            std::thread::Builder::new().name("vansire-hangup".into()).spawn(move || {
                for _ in io::BufReader::new(pipe).bytes().map_while(Result::ok) {
                    has_come.store(true, Ordering::Release);
                    wake();
                }
            })?;
        }
        Ok(())
    }

    /// Whether it has come since this was last asked.
    pub(super) fn take(&self) -> bool {
        self.has_come.swap(false, Ordering::AcqRel)
    }
}

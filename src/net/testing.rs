//! What the tests of this folder share.

use std::io;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};

use crate::net::addr::Address;
use crate::net::listener::Listener;
use crate::net::stream::Stream;
use crate::reactor::Source;

/// No test waits longer for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Waits until the source is ready.
pub(crate) fn ready(source: Source<'_>, interest: Interest) {
    #[cfg_attr(not(feature = "sim"), allow(clippy::infallible_destructuring_match))]
    let source = match source {
        Source::Mio(source) => source,
        #[cfg(feature = "sim")]
        Source::Mem(_) => panic!("not of the system"),
    };
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(1);
    poll.registry().register(source, Token(0), interest).unwrap();
    poll.poll(&mut events, Some(DEADLINE)).unwrap();
    assert!(!events.is_empty(), "nothing within {DEADLINE:?}");
    poll.registry().deregister(source).unwrap();
}

/// Accepts the next connection.
pub(crate) fn accept(listener: &mut Listener) -> (Stream, Address) {
    loop {
        match listener.accept() {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => ready(listener.source(), Interest::READABLE),
            accepted => return accepted.unwrap(),
        }
    }
}

/// A directory of one test, removed with all in it.
#[cfg(unix)]
pub(crate) struct TempDir(std::path::PathBuf);

#[cfg(unix)]
impl TempDir {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vansire-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

#[cfg(unix)]
impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

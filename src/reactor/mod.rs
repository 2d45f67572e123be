//! Readiness: which sockets can be read, written or accepted from. Edge-triggered: an event is a change, and whoever
//! is told keeps the bit until the socket says `WouldBlock` (or a short read says the same).

mod inbox;
mod mailbox;
mod mio;
#[cfg(feature = "sim")]
pub(crate) mod sim;
/// What the mailbox is made of.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU8, Ordering};
    pub(super) use std::sync::{Mutex, MutexGuard};
}

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

#[cfg(feature = "async")]
pub(crate) use self::inbox::Job;
pub use self::inbox::Waker;
pub(crate) use self::inbox::{Command, Inbox};
use self::mio::MioReactor;

/// What a readiness event names: a slot of the connection table, an attempt to connect, a socket to a name server, or the
/// signal pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    Conn(usize),
    Attempt(usize),
    #[cfg(feature = "dns")]
    Name(usize),
    #[cfg(feature = "mdns")]
    Mdns(usize),
    #[cfg(feature = "signals")]
    Signal,
}

/// One readiness event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer will send no more, or has marked a byte as urgent, at which a read stops: reading must go on until there
    /// is nothing.
    pub(crate) read_closed: bool,
    /// Both directions are over, or the socket has an error to tell.
    pub(crate) hung_up: bool,
}

/// What to be told about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watch {
    /// Only input. Connections start with it: the first `WouldBlock` of a write asks for more.
    Read,
    Both,
}

/// The system's readiness, or the simulator's.
pub(crate) enum Reactor {
    Mio(MioReactor),
    #[cfg(feature = "sim")]
    Sim(sim::SimReactor),
}

/// A socket as a reactor sees it.
pub(crate) enum Source<'a> {
    Mio(&'a mut dyn ::mio::event::Source),
    #[cfg(feature = "sim")]
    Mem(&'a crate::net::mem::MemSocket),
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::Mio(MioReactor::new()?))
    }

    /// It watches real sockets.
    #[cfg_attr(not(feature = "signals"), allow(dead_code))]
    pub(crate) fn is_of_the_system(&self) -> bool {
        matches!(self, Self::Mio(_))
    }

    pub(crate) fn register(&mut self, source: Source<'_>, token: Token, watch: Watch) -> io::Result<()> {
        match (self, source) {
            (Self::Mio(reactor), Source::Mio(source)) => reactor.register(source, token, watch),
            #[cfg(feature = "sim")]
            (Self::Sim(reactor), Source::Mem(socket)) => {
                reactor.watch(socket, token, watch);
                Ok(())
            }
            #[cfg(feature = "sim")]
            _ => Err(foreign()),
        }
    }

    pub(crate) fn reregister(&mut self, source: Source<'_>, token: Token, watch: Watch) -> io::Result<()> {
        match (self, source) {
            (Self::Mio(reactor), Source::Mio(source)) => reactor.reregister(source, token, watch),
            #[cfg(feature = "sim")]
            (Self::Sim(reactor), Source::Mem(socket)) => {
                reactor.watch(socket, token, watch);
                Ok(())
            }
            #[cfg(feature = "sim")]
            _ => Err(foreign()),
        }
    }

    /// Hears no more of a socket. Only for one that lives on elsewhere after it was closed here: the system forgets the
    /// others by itself.
    pub(crate) fn deregister(&mut self, source: Source<'_>) {
        match (self, source) {
            (Self::Mio(reactor), Source::Mio(source)) => reactor.deregister(source),
            #[cfg(feature = "sim")]
            _ => {}
        }
    }

    /// Waits for events, at most this long (`None`: until one comes), and adds them to `into`. Returns early when woken
    /// or interrupted.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, into: &mut Vec<Ready>) -> io::Result<()> {
        match self {
            Self::Mio(reactor) => reactor.wait(timeout, into),
            #[cfg(feature = "sim")]
            Self::Sim(reactor) => reactor.wait(timeout, into),
        }
    }

    /// The last wait may have left events behind.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Mio(reactor) => reactor.is_full(),
            #[cfg(feature = "sim")]
            Self::Sim(_) => false,
        }
    }

    /// The half that other threads wake the loop through.
    pub(crate) fn inbox(&mut self, bytes_max: usize) -> io::Result<Inbox> {
        match self {
            Self::Mio(reactor) => Ok(Inbox::new(Some(reactor.waker()?), bytes_max)),
            #[cfg(feature = "sim")]
            Self::Sim(reactor) => {
                let inbox = Inbox::new(None, bytes_max);
                reactor.set_mail(inbox.waker());
                Ok(inbox)
            }
        }
    }
}

/// Readable when a wait would end at once.
#[cfg(unix)]
impl AsFd for Reactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Mio(reactor) => reactor.as_fd(),
            #[cfg(feature = "sim")]
            Self::Sim(reactor) => reactor.as_fd(),
        }
    }
}

#[cfg(feature = "sim")]
fn foreign() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "a simulated manager has no real sockets, and a real one no simulated ones",
    )
}

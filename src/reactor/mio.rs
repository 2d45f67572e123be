//! The system's readiness, through mio.

use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::event::Source;
use mio::{Events, Interest, Poll};

use super::{Ready, Token, Watch};

pub(crate) struct MioReactor {
    poll: Poll,
    events: Events,
    /// The last wait took as many events as there is room for: more may wait in the kernel.
    is_full: bool,
}

/// Events taken in one turn; more wait in the kernel for the next.
const EVENTS_MAX: usize = 1024;
const WAKE: mio::Token = mio::Token(usize::MAX);
#[cfg(feature = "signals")]
const SIGNAL: mio::Token = mio::Token(usize::MAX - 1);
/// The bit that tells attempts from connections, in a word of any width.
const ATTEMPT: usize = 1 << (usize::BITS - 2);
/// The same for sockets to name servers.
#[cfg(feature = "dns")]
const NAME: usize = 1 << (usize::BITS - 3);
/// The same for those of multicast DNS.
#[cfg(feature = "mdns")]
const MDNS: usize = 1 << (usize::BITS - 4);

impl MioReactor {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(EVENTS_MAX), is_full: false })
    }

    pub(super) fn waker(&self) -> io::Result<mio::Waker> {
        mio::Waker::new(self.poll.registry(), WAKE)
    }

    pub(super) fn register(&mut self, source: &mut dyn Source, token: Token, watch: Watch) -> io::Result<()> {
        source.register(self.poll.registry(), encode(token), interest(watch))
    }

    pub(super) fn reregister(&mut self, source: &mut dyn Source, token: Token, watch: Watch) -> io::Result<()> {
        source.reregister(self.poll.registry(), encode(token), interest(watch))
    }

    pub(super) fn deregister(&mut self, source: &mut dyn Source) {
        // It can only fail for a socket that is not registered.
        let _ = source.deregister(self.poll.registry());
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>, into: &mut Vec<Ready>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            // A signal is not a failure: the turn goes on with what there is.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(e) => return Err(e),
        }
        self.is_full = self.events.iter().count() >= EVENTS_MAX;
        for event in &self.events {
            let Some(token) = decode(event.token()) else { continue };
            into.push(Ready {
                token,
                readable: event.is_readable(),
                writable: event.is_writable(),
                read_closed: event.is_read_closed() || event.is_priority(),
                hung_up: event.is_error() || event.is_write_closed(),
            });
        }
        Ok(())
    }
}

#[cfg(unix)]
impl AsFd for MioReactor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

fn interest(watch: Watch) -> Interest {
    // Urgent bytes (RFC 9293 §3.8.5) are told of nowhere else.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let read = Interest::READABLE | Interest::PRIORITY;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let read = Interest::READABLE;
    match watch {
        Watch::Read => read,
        Watch::Both => read | Interest::WRITABLE,
    }
}

fn encode(token: Token) -> mio::Token {
    match token {
        Token::Conn(slot) => mio::Token(slot),
        Token::Attempt(slot) => mio::Token(slot | ATTEMPT),
        #[cfg(feature = "dns")]
        Token::Name(slot) => mio::Token(slot | NAME),
        #[cfg(feature = "mdns")]
        Token::Mdns(slot) => mio::Token(slot | MDNS),
        #[cfg(feature = "signals")]
        Token::Signal => SIGNAL,
    }
}

/// `None` for a wakeup, which carries nothing but itself.
fn decode(token: mio::Token) -> Option<Token> {
    match token {
        WAKE => None,
        #[cfg(feature = "signals")]
        SIGNAL => Some(Token::Signal),
        mio::Token(word) if word & ATTEMPT != 0 => Some(Token::Attempt(word & !ATTEMPT)),
        #[cfg(feature = "dns")]
        mio::Token(word) if word & NAME != 0 => Some(Token::Name(word & !NAME)),
        #[cfg(feature = "mdns")]
        mio::Token(word) if word & MDNS != 0 => Some(Token::Mdns(word & !MDNS)),
        mio::Token(word) => Some(Token::Conn(word)),
    }
}

//! The connections: one epoll instance, one buffer, no parsing.
//!
//! Registered once and edge-triggered; a connection costs one `recv` and one `send` for each batch of requests, and the
//! `epoll_wait` is shared by all that are ready. Answers are counted in bytes: [`Exchange`] knows how many make one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use vansire_peers::source;

use crate::probe::Exchange;

/// The connections of a run, each known by its index.
pub(crate) struct Client {
    addr: SocketAddr,
    /// From several addresses.
    is_spread: bool,
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    /// The requests of one batch.
    batch: Vec<u8>,
    /// The bytes of their answers.
    answers_len: usize,
    response_len: usize,
    buffer: Vec<u8>,
    events: Vec<Event>,
}

struct Connection {
    socket: OwnedFd,
    /// When the connection was opened, or the batch sent: nanoseconds of the caller's clock.
    since: u64,
    /// Bytes received of the current batch.
    received: usize,
    /// The batch could not be sent when the connection was opened: the handshake was not over.
    unsent: bool,
}

/// What one readiness event brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Answers completed by it.
    pub(crate) answers: u64,
    /// When their batch was sent.
    pub(crate) since: u64,
    /// Answers were missing before it.
    pub(crate) awaited: bool,
    pub(crate) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Answers are missing, or there is nothing new.
    Waiting,
    /// The last answer of the batch has come.
    Answered,
    /// All answers are there, and the end of the stream.
    Ended,
    /// The end of the stream came too early, too many bytes came, or the system reported an error.
    Failed,
}

impl Client {
    /// A client with room for `size` connections, none of which is open.
    pub(crate) fn new(addr: SocketAddr, exchange: &Exchange, size: usize, depth: usize) -> io::Result<Self> {
        Ok(Self {
            addr,
            is_spread: false,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: std::iter::repeat_with(|| None).take(size).collect(),
            batch: exchange.request.repeat(depth),
            answers_len: exchange.response_len * depth,
            response_len: exchange.response_len,
            // Small enough for the core's own cache.
            buffer: vec![0; if exchange.is_long { 256 << 10 } else { 64 << 10 }],
            events: Vec::with_capacity(1024),
        })
    }

    /// Has connections come from several addresses, where there may be more than one has ports.
    pub(crate) fn spread(mut self) -> Self {
        self.is_spread = true;
        self
    }

    /// How many connections there is room for.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Opens the connection `index`, in the place of the one that was there, and sends a batch.
    pub(crate) fn open(&mut self, index: usize, now: u64) -> io::Result<()> {
        let family = if self.addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        if let Some(source) = source(self.addr, index).filter(|_| self.is_spread) {
            rustix::net::bind(&socket, &source)?;
        }
        match rustix::net::connect(&socket, &self.addr) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => return Err(e.into()),
        }
        // Over loopback the handshake is over when `connect` returns, unless the accept queue is full.
        let unsent = match send(&socket, &self.batch) {
            Ok(()) => false,
            Err(Errno::AGAIN | Errno::NOTCONN) => true,
            Err(e) => return Err(e.into()),
        };
        let mut interest = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        interest.set(EventFlags::OUT, unsent);
        epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), interest)?;
        self.connections[index] = Some(Connection { socket, since: now, received: 0, unsent });
        Ok(())
    }

    /// Resets every connection.
    ///
    /// An orderly close would leave each port in TIME-WAIT for a minute, and a search for a free one among ten thousand
    /// of those is work that the next run would be charged with.
    pub(crate) fn reset_all(&mut self) -> io::Result<()> {
        for connection in self.connections.iter_mut().filter_map(Option::take) {
            rustix::net::sockopt::set_socket_linger(&connection.socket, Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// Sends the next batch on a connection whose answers are all there.
    ///
    /// Nagle's algorithm does not delay it, and `TCP_NODELAY` is not needed: nothing is unacknowledged by now.
    pub(crate) fn send_batch(&mut self, index: usize, now: u64) -> State {
        let Some(connection) = &mut self.connections[index] else { return State::Failed };
        connection.since = now;
        connection.received = 0;
        match send(&connection.socket, &self.batch) {
            Ok(()) => State::Waiting,
            Err(_) => State::Failed,
        }
    }

    /// Waits for readiness; the number of events, which [`event`](Self::event) gives one by one.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(self.events.len()),
            Err(e) => Err(e.into()),
        }
    }

    /// The connection and the flags of an event of the last `wait`.
    pub(crate) fn event(&self, number: usize) -> (usize, EventFlags) {
        let event = &self.events[number];
        (event.data.u64() as usize, event.flags)
    }

    /// Reads what has come on a connection.
    pub(crate) fn receive(&mut self, index: usize, flags: EventFlags) -> Progress {
        let Some(connection) = &mut self.connections[index] else {
            return Progress { answers: 0, since: 0, awaited: false, state: State::Failed };
        };
        let before = connection.received;
        let awaited = before < self.answers_len;
        let mut failed = connection.unsent && !connection.send_late(&self.batch);
        let mut ended = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        while !failed && connection.received <= self.answers_len {
            // Nothing can be missing but the end of the stream, which the flags have told: a system call saved.
            if ended && connection.received == self.answers_len {
                break;
            }
            match rustix::net::recv(&connection.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => {
                    ended = true;
                    break;
                }
                Ok((len, _)) => {
                    connection.received += len;
                    if len < self.buffer.len() && !ended {
                        break;
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => failed = true,
            }
        }
        let received = connection.received;
        let state = match (received == self.answers_len, ended) {
            _ if failed || received > self.answers_len => State::Failed,
            (true, true) => State::Ended,
            (true, false) if awaited => State::Answered,
            (false, true) => State::Failed,
            (_, false) => State::Waiting,
        };
        let answers = (received / self.response_len - before / self.response_len) as u64;
        Progress { answers, since: connection.since, awaited, state }
    }

    /// Opens the connections of `range`, at most `WAVE` at a time, and waits until each has its answers.
    ///
    /// Small waves, because a server with a short accept queue drops what overflows it, and the client's kernel tries
    /// again a second later. The number of connections that failed, or were not answered in time.
    pub(crate) fn open_in_waves(&mut self, range: std::ops::Range<usize>) -> io::Result<u64> {
        self.in_waves(range, |client, index| client.open(index, 0))
    }

    /// Sends a batch on the open connections of `range` in the same way.
    pub(crate) fn ask_in_waves(&mut self, range: std::ops::Range<usize>) -> io::Result<u64> {
        self.in_waves(range, |client, index| match client.send_batch(index, 0) {
            State::Failed => Err(io::ErrorKind::BrokenPipe.into()),
            State::Waiting | State::Answered | State::Ended => Ok(()),
        })
    }

    fn in_waves(
        &mut self,
        mut range: std::ops::Range<usize>,
        start: impl Fn(&mut Self, usize) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut errors = 0;
        while !range.is_empty() {
            let wave = range.start..range.end.min(range.start + WAVE);
            range.start = wave.end;
            let mut missing = 0;
            for index in wave {
                match start(self, index) {
                    Ok(()) => missing += 1,
                    Err(_) => errors += 1,
                }
            }
            errors += self.await_answers(missing)?;
        }
        Ok(errors)
    }

    /// Waits until `missing` connections have their answers; the number of those that failed, or were not answered
    /// within a few seconds.
    pub(crate) fn await_answers(&mut self, mut missing: u64) -> io::Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        let mut errors = 0;
        while missing > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(errors + missing);
            }
            for number in 0..self.wait(left)? {
                let (index, flags) = self.event(number);
                let progress = self.receive(index, flags);
                match progress.state {
                    State::Waiting => continue,
                    State::Answered => {}
                    State::Ended | State::Failed => {
                        errors += 1;
                        self.connections[index] = None;
                    }
                }
                // An idle connection that the server closes is an error, yet none that was waited for.
                if progress.awaited {
                    missing = missing.saturating_sub(1);
                }
            }
        }
        Ok(errors)
    }
}

impl Connection {
    /// Sends the batch that had to wait for the end of the handshake; false when that failed.
    fn send_late(&mut self, batch: &[u8]) -> bool {
        match send(&self.socket, batch) {
            Ok(()) => {
                self.unsent = false;
                true
            }
            Err(Errno::AGAIN | Errno::NOTCONN) => true,
            Err(_) => false,
        }
    }
}

/// Sends a batch in one piece: a part of it would mean that the server does not read, which is an error here.
fn send(socket: &OwnedFd, batch: &[u8]) -> Result<(), Errno> {
    match rustix::net::send(socket, batch, SendFlags::NOSIGNAL)? {
        len if len == batch.len() => Ok(()),
        _ => Err(Errno::NOBUFS),
    }
}

const WAVE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

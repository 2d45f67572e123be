//! One entry of the connection table. Small while idle: what only traffic needs is borrowed from the pool.

use std::net::SocketAddr;
use std::rc::Rc;

use crate::buf::{ReadBuf, WriteBuf};
#[cfg(feature = "http")]
use crate::event::Deadline;
use crate::event::{CloseReason, Sent};
use crate::id::{ConnId, Key};
use crate::net::{Address, Listener, Remote, Stream, Udp};
use crate::options::{Limits, ListenOptions, UrlText};
use crate::time::Moment;

use super::connect::Connecting;
use super::handlers::HandlerRef;
#[cfg(feature = "http")]
use super::http::{ClientConn, HttpConn};
#[cfg(feature = "mqtt")]
use super::mqtt_client::MqttConn;
#[cfg(feature = "sntp")]
use super::sntp::SntpConn;
use super::stats::Stats;
use super::udp::Outgoing;

pub(crate) struct Conn {
    pub(crate) io: Io,
    pub(crate) proto: Proto,
    pub(crate) handler: HandlerRef,
    pub(crate) flags: Flags,
    /// What the deadline is for.
    pub(crate) due: Due,
    pub(crate) deadline: Moment,
    /// When the heap will wake us for it: not after the deadline, often before, because traffic moves only the deadline.
    pub(crate) armed: Moment,
    pub(crate) input: Option<Box<ReadBuf>>,
    pub(crate) output: Option<Box<WriteBuf>>,
    pub(crate) limits: Rc<Limits>,
    pub(crate) reason: Option<Box<CloseReason>>,
    pub(crate) remote: Remote,
    pub(crate) listener: Option<ConnId>,
    pub(crate) opened_at: Moment,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// Bytes moved either way since the rate was last looked at.
    pub(crate) moved: u32,
}

/// What the connection stands on.
pub(crate) enum Io {
    Stream(Stream),
    Listener(Box<Listening>),
    Udp(Box<Datagrams>),
    Connecting(Box<Connecting>),
    /// Nothing yet, or nothing any more.
    None,
}

pub(crate) struct Listening {
    pub(crate) socket: Listener,
    /// What accepted connections inherit.
    pub(crate) options: ListenOptions,
    /// The protocol that accepted connections speak.
    pub(crate) speaks: Speaks,
    pub(crate) handlers: Maker,
    pub(crate) accepted: u64,
}

/// Where accepted connections get their handler from.
pub(crate) enum Maker {
    /// They share their listener's.
    Shared,
    /// Each gets its own from this one of the stored factories.
    Factory(HandlerRef),
}

pub(crate) struct Datagrams {
    pub(crate) socket: Udp,
    pub(crate) outgoing: Outgoing,
    /// What it was bound to by `listen`. None: it was connected.
    pub(crate) url: Option<UrlText>,
}

/// The protocol of a scheme, before there is a connection to speak it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    Raw,
    #[cfg(feature = "http")]
    Http,
    #[cfg(feature = "sntp")]
    Sntp,
}

/// The protocol's state in a connection.
pub(crate) enum Proto {
    Raw,
    #[cfg(feature = "http")]
    Http(HttpConn),
    #[cfg(feature = "http")]
    Client(Box<ClientConn>),
    #[cfg(feature = "mqtt")]
    MqttClient(Box<MqttConn>),
    #[cfg(feature = "sntp")]
    Sntp(Box<SntpConn>),
}

impl Speaks {
    pub(crate) fn start(self) -> Proto {
        match self {
            Speaks::Raw => Proto::Raw,
            #[cfg(feature = "http")]
            Speaks::Http => Proto::Http(HttpConn::new()),
            #[cfg(feature = "sntp")]
            Speaks::Sntp => Proto::Sntp(Box::new(SntpConn::client(Default::default()))),
        }
    }
}

/// What a connection's deadline is for, and so what its passing means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    Connect,
    /// A listener tries to accept again.
    Retry,
    Drain,
    Linger,
    /// PINGREQ, or an answer to it or to CONNECT.
    #[cfg(feature = "mqtt")]
    Mqtt,
    /// The end of the pause before another connection.
    #[cfg(feature = "mqtt")]
    Redial,
    /// A question is to be asked, or has not been answered.
    #[cfg(feature = "sntp")]
    Sntp,
    #[cfg(feature = "http")]
    Head,
    #[cfg(feature = "http")]
    Idle,
    #[cfg(feature = "http")]
    Reply,
    /// The head of a response to a client.
    #[cfg(feature = "http")]
    Response,
    /// A 100, before the body goes without it.
    #[cfg(feature = "http")]
    Continue,
    /// The end of a window over which the rate is measured at which input comes.
    #[cfg(feature = "http")]
    Rate,
    /// The same, of output that leaves.
    #[cfg(feature = "http")]
    Output,
}

#[cfg(feature = "http")]
impl Due {
    /// What is told when the deadline has passed.
    pub(crate) fn deadline(self) -> Option<Deadline> {
        match self {
            Due::Nothing | Due::Retry | Due::Linger | Due::Continue => None,
            #[cfg(feature = "mqtt")]
            Due::Mqtt | Due::Redial => None,
            #[cfg(feature = "sntp")]
            Due::Sntp => Some(Deadline::Answer),
            Due::Connect => Some(Deadline::Connect),
            Due::Drain => Some(Deadline::Drain),
            Due::Head => Some(Deadline::Head),
            Due::Idle => Some(Deadline::Idle),
            Due::Reply => Some(Deadline::Reply),
            Due::Response => Some(Deadline::Response),
            Due::Rate | Due::Output => Some(Deadline::Rate),
        }
    }
}

/// The bits of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Flags(u32);

impl Flags {
    /// The handler has seen `Opened`.
    pub(crate) const OPENED: Self = Self(1);
    /// The socket has input, or may have: the edge came and no `WouldBlock` since.
    pub(crate) const READABLE: Self = Self(1 << 1);
    /// The socket takes output, as far as we know.
    pub(crate) const WRITABLE: Self = Self(1 << 2);
    /// The reactor has told that the peer sends no more, or of an urgent byte: short reads no longer mean "drained".
    pub(crate) const READ_CLOSED: Self = Self(1 << 3);
    /// Nothing more comes: a read returned the end of the stream, or the peer's protocol has said so.
    pub(crate) const EOF: Self = Self(1 << 4);
    /// Output readiness is watched as well.
    pub(crate) const WATCH_BOTH: Self = Self(1 << 5);
    /// `pause_read`.
    pub(crate) const PAUSED: Self = Self(1 << 6);
    /// In the ready queue.
    pub(crate) const QUEUED: Self = Self(1 << 7);
    /// In the list to flush.
    pub(crate) const DIRTY: Self = Self(1 << 8);
    /// Output went above the high-water mark and has not been below the low one since.
    pub(crate) const HIGH: Self = Self(1 << 9);
    /// `drain`: what is queued leaves, nothing more comes in or goes out.
    pub(crate) const DRAINING: Self = Self(1 << 10);
    /// Our side of the stream is shut; input is thrown away until the peer's side is, too.
    pub(crate) const LINGERING: Self = Self(1 << 11);
    /// In the list to close.
    pub(crate) const CLOSING: Self = Self(1 << 12);
    /// Outbound or accepted stream that is established.
    pub(crate) const ESTABLISHED: Self = Self(1 << 13);
    /// Input is kept that could be used already, but for a reply, a pause or the others' turn.
    pub(crate) const BACKLOG: Self = Self(1 << 15);
    /// The reactor has told that the connection is over in both directions, or in error.
    pub(crate) const HUNG_UP: Self = Self(1 << 16);
    /// A datagram was refused because the queue was full, and nobody has been told since that it is not.
    pub(crate) const FULL: Self = Self(1 << 17);
    /// It was made elsewhere, where copies of it may live on.
    pub(crate) const TAKEN_OVER: Self = Self(1 << 18);
    /// `Drained` is still to be told. What came meanwhile waits: a handler that was told `High` gets no input before it.
    pub(crate) const DRAINED: Self = Self(1 << 19);
    /// The reactor does not know of it yet.
    pub(crate) const UNWATCHED: Self = Self(1 << 20);
    /// We connected to the peer, not the peer to us.
    pub(crate) const OUTBOUND: Self = Self(1 << 14);

    pub(crate) fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    pub(crate) fn set(&mut self, bits: Self) {
        self.0 |= bits.0;
    }

    pub(crate) fn clear(&mut self, bits: Self) {
        self.0 &= !bits.0;
    }

    /// Those of the bits that are set.
    #[cfg(feature = "mqtt")]
    pub(crate) fn kept(self, bits: Self) -> Self {
        Self(self.0 & bits.0)
    }

    /// Sets the bits; true when they were not set before.
    pub(crate) fn raise(&mut self, bits: Self) -> bool {
        let was = self.has(bits);
        self.set(bits);
        !was
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Io {
    /// The URL that it was bound to by `listen`.
    pub(crate) fn listens_on(&self) -> Option<&str> {
        match self {
            Io::Listener(listening) => Some(listening.options.url.as_str()),
            Io::Udp(datagrams) => datagrams.url.as_ref().map(UrlText::as_str),
            Io::Stream(_) | Io::Connecting(_) | Io::None => None,
        }
    }
}

impl Datagrams {
    pub(crate) fn new(socket: Udp) -> Self {
        Self { socket, outgoing: Outgoing::default(), url: None }
    }
}

impl Conn {
    pub(crate) fn new(io: Io, proto: Proto, handler: HandlerRef, limits: Rc<Limits>, now: Moment) -> Self {
        Self {
            io,
            proto,
            handler,
            flags: Flags::default(),
            due: Due::Nothing,
            deadline: Moment::NEVER,
            armed: Moment::NEVER,
            input: None,
            output: None,
            limits,
            reason: None,
            remote: Remote::None,
            listener: None,
            opened_at: now,
            bytes_in: 0,
            bytes_out: 0,
            moved: 0,
        }
    }

    /// Its end is decided: nothing comes in or goes out any more but what is queued.
    pub(crate) fn is_ending(&self) -> bool {
        self.flags.has(Flags::CLOSING | Flags::DRAINING | Flags::LINGERING)
    }

    /// Bytes can be queued for the peer.
    pub(crate) fn takes_output(&self) -> bool {
        !self.is_ending() && matches!(self.io, Io::Stream(_) | Io::Connecting(_))
    }

    /// Input is delivered to the handler.
    pub(crate) fn takes_input(&self) -> bool {
        let is_full = self.flags.has(Flags::HIGH | Flags::DRAINED);
        // RFC 9112 §9.3: a client that is still sending looks out for the response.
        !self.is_ending() && !self.flags.has(Flags::PAUSED) && (!is_full || self.is_client())
    }

    fn is_client(&self) -> bool {
        match &self.proto {
            #[cfg(feature = "http")]
            Proto::Client(_) => true,
            // Two sides that both wait for the other to read would wait for ever.
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => true,
            #[cfg(feature = "http")]
            Proto::Http(_) => false,
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => false,
            Proto::Raw => false,
        }
    }

    /// A proxy is being asked for a tunnel: the connection is not established before that.
    pub(crate) fn is_tunnelling(&self) -> bool {
        match &self.proto {
            #[cfg(feature = "http")]
            Proto::Client(client) => client.is_tunnelling(),
            #[cfg(feature = "http")]
            Proto::Http(_) => false,
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => false,
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => false,
            Proto::Raw => false,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        match &self.io {
            Io::Udp(datagrams) => datagrams.outgoing.bytes(),
            Io::Connecting(connecting) if connecting.is_udp() => connecting.outgoing.bytes(),
            _ => self.output.as_ref().map_or(0, |output| output.len()),
        }
    }

    /// Output was appended: has it flushed at the end of this turn, and says how full it is now.
    #[inline]
    pub(crate) fn appended(&mut self, key: Key, dirty: &mut Vec<Key>, stats: &mut Stats) -> Sent {
        let len = self.output.as_ref().map_or(0, |output| output.len());
        if self.flags.raise(Flags::DIRTY) {
            dirty.push(key);
        }
        if len > self.limits.write_high && self.flags.raise(Flags::HIGH) {
            stats.high_waters += 1;
        }
        if self.flags.has(Flags::HIGH) { Sent::High } else { Sent::Queued }
    }

    pub(crate) fn local_addr(&self) -> Option<Address> {
        match &self.io {
            Io::Stream(stream) => stream.local_addr().ok(),
            Io::Listener(listening) => listening.socket.local_addr().ok(),
            Io::Udp(datagrams) => datagrams.socket.local_addr().ok().map(Into::into),
            Io::Connecting(_) | Io::None => None,
        }
    }

    /// Asks the system where the peer is.
    pub(crate) fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.io {
            Io::Stream(stream) => match stream.peer_addr().ok()? {
                Address::Inet(addr) => Some(addr),
                Address::Unix(_) => None,
            },
            Io::Udp(datagrams) => datagrams.socket.peer_addr().ok(),
            Io::Listener(_) | Io::Connecting(_) | Io::None => None,
        }
    }

    #[cfg(feature = "http")]
    pub(crate) fn has_input(&self) -> bool {
        self.input.as_ref().is_some_and(|input| !input.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_takes_at_most_160_bytes_of_the_table() {
        let size = std::mem::size_of::<Conn>();
        assert!(size <= 160, "a connection takes {size} bytes");
    }
}

//! Snapshots of connections.

use std::net::SocketAddr;
use std::time::Duration;

use crate::id::ConnId;
use crate::net::Address;
use crate::time::Moment;

use super::conn::{Conn, Flags, Io, Proto, Speaks};

/// What a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnKind {
    /// It accepts connections.
    Listener,
    /// A stream that a listener accepted, or that was taken over.
    Accepted,
    /// A stream to where we connected.
    Outbound,
    /// A UDP socket, bound or connected.
    Udp,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnState {
    /// Being established.
    Connecting,
    /// Open.
    Open,
    /// Sending what is left.
    Draining,
    /// It ends with this turn.
    Closing,
}

/// What is known of a connection: a copy, which does not change with it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnInfo {
    /// Which it is.
    pub id: ConnId,
    /// What it is.
    pub kind: ConnKind,
    /// How far it is.
    pub state: ConnState,
    /// What is spoken on it: "tcp" for bare bytes, "udp", "http", "mqtt", "sntp".
    pub protocol: &'static str,
    /// The listener that accepted it.
    pub listener: Option<ConnId>,
    /// Its own address.
    pub local: Option<Address>,
    /// The peer's address. None for Unix sockets.
    pub remote: Option<SocketAddr>,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Bytes queued for the peer.
    pub queued: usize,
    /// Connections accepted, of a listener.
    pub accepted: u64,
    /// How long it has been open.
    pub age: Duration,
    /// Nothing is read from it now, by `pause_read`.
    pub is_paused: bool,
}

impl ConnInfo {
    pub(crate) fn of(id: ConnId, conn: &Conn, local: Option<Address>, now: Moment) -> Self {
        let state = match &conn.io {
            _ if conn.flags.has(Flags::CLOSING) => ConnState::Closing,
            _ if conn.flags.has(Flags::DRAINING) => ConnState::Draining,
            Io::Connecting(_) => ConnState::Connecting,
            Io::Stream(_) | Io::Listener(_) | Io::Udp(_) | Io::None => ConnState::Open,
        };
        let (protocol, accepted) = match &conn.io {
            Io::Listener(listening) => (listening.speaks.name(), listening.accepted),
            Io::Udp(_) if matches!(conn.proto, Proto::Raw) => ("udp", 0),
            Io::Udp(_) => (conn.proto.name(), 0),
            Io::Stream(_) | Io::Connecting(_) | Io::None => (conn.proto.name(), 0),
        };
        Self {
            id,
            kind: conn.kind(),
            state,
            protocol,
            listener: conn.listener,
            local,
            remote: conn.remote.addr(),
            bytes_in: conn.bytes_in,
            bytes_out: conn.bytes_out,
            queued: conn.queued(),
            accepted,
            age: now.since(conn.opened_at),
            is_paused: conn.flags.has(Flags::PAUSED),
        }
    }
}

impl Conn {
    /// What it is.
    pub(crate) fn kind(&self) -> ConnKind {
        match &self.io {
            Io::Listener(_) => ConnKind::Listener,
            Io::Udp(_) => ConnKind::Udp,
            Io::Stream(_) | Io::Connecting(_) | Io::None if self.flags.has(Flags::OUTBOUND) => ConnKind::Outbound,
            Io::Stream(_) | Io::Connecting(_) | Io::None => ConnKind::Accepted,
        }
    }
}

impl Speaks {
    fn name(self) -> &'static str {
        match self {
            Speaks::Raw => "tcp",
            #[cfg(feature = "http")]
            Speaks::Http => "http",
            #[cfg(feature = "sntp")]
            Speaks::Sntp => "sntp",
        }
    }
}

impl Proto {
    fn name(&self) -> &'static str {
        match self {
            Proto::Raw => "tcp",
            #[cfg(feature = "http")]
            Proto::Http(_) | Proto::Client(_) => "http",
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => "mqtt",
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => "sntp",
        }
    }
}

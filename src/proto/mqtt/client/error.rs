//! Why a client does not do what it is asked, what became of it, and what a server did wrong.

use std::fmt;

use crate::proto::mqtt::encode::EncodeError;
use crate::proto::mqtt::error::DecodeError;
use crate::proto::mqtt::reason::ReasonCode;

/// Why something was not taken to be sent. Nothing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// It cannot be said in the protocol, or in this version of it.
    Encode(EncodeError),
    /// A packet identifier, DUP or a topic alias is given: the client chooses them.
    NotYours,
    /// As much waits already as may.
    QueueFull,
    /// Longer than the server accepts packets.
    TooLong,
    /// The server has said that it does not do that.
    NotSupported(ReasonCode),
    /// There is no connection to say it on, or it is about to end.
    NotConnected,
    /// The acknowledgement belongs to a connection that is gone, or was given already.
    Stale,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::NotYours => f.write_str("packet identifiers, DUP and topic aliases are the client's own affair"),
            Self::QueueFull => f.write_str("as much waits already as may"),
            Self::TooLong => f.write_str("longer than the packets that the server accepts"),
            Self::NotSupported(reason) => write!(f, "the server does not do that: {reason}"),
            Self::NotConnected => f.write_str("there is no connection to the server"),
            Self::Stale => f.write_str("the message was acknowledged already, or its connection is gone"),
        }
    }
}

impl std::error::Error for SendError {}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// Why something that was taken was not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The server refused it.
    Refused(ReasonCode),
    /// It made room for others, or there was none for it ([`QueueFull`](super::QueueFull)). It never left.
    Dropped,
    /// It cannot be sent to the server that it waited for. It never left.
    Unsendable(ReasonCode),
    /// Its life was over before it could be sent (Message Expiry Interval). It never left.
    Expired,
    /// The connection ended first. It never left.
    Unsent,
    /// The connection ended first. Whether the server has it is unknown.
    Unanswered,
    /// The server has forgotten the session that a message of QoS 2 belonged to. Whether it has taken the message before is
    /// unknown, and sending it again might make two of it.
    SessionLost,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the server refused it: {reason}"),
            Self::Dropped => f.write_str("dropped, because too much waited"),
            Self::Unsendable(reason) => write!(f, "it cannot be sent to this server: {reason}"),
            Self::Expired => f.write_str("it expired before it could be sent"),
            Self::Unsent => f.write_str("the connection ended before it was sent"),
            Self::Unanswered => f.write_str("the connection ended before it was acknowledged"),
            Self::SessionLost => f.write_str("the server has lost the session"),
        }
    }
}

impl std::error::Error for Failure {}

/// What a server did that it must not: the connection cannot go on. A 5.0 server has been told the reason, in DISCONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Bytes that are no packet.
    Malformed(DecodeError),
    /// A packet that may not come now, or not like this.
    Broken(ReasonCode, &'static str),
}

impl Fault {
    /// What it did, in the words of MQTT 5.0.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::Malformed(error) => error.reason_code(),
            Self::Broken(reason, _) => reason,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Broken(_, what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

/// What a server did not do in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overdue {
    /// CONNACK, or a step of the authentication before it.
    ConnAck,
    /// Anything at all after PINGREQ.
    Ping,
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnAck => "the server has not answered CONNECT in time",
            Self::Ping => "the server has not answered PINGREQ in time",
        })
    }
}

impl std::error::Error for Overdue {}

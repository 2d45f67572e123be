//! DNS (RFC 1035) as a stub resolver speaks it: messages, the system's settings, and the state of lookups.
//!
//! Start with [`Message`] for the bytes, and with `stub` for what a resolver does.

mod answer;
mod cache;
mod conf;
mod hosts;
mod lookup;
#[cfg(feature = "mdns")]
pub(crate) mod mdns;
mod message;
mod name;
mod query;
mod srv;
pub(crate) mod stub;
mod wire;

use std::fmt;
use std::net::SocketAddr;

pub use conf::Conf;
pub(crate) use conf::here;
pub use hosts::Hosts;
pub use message::{CLASS_IN, Data, Flags, Message, Question, Record, Soa, Srv, Type};
pub use name::{Name, NameError};
pub(crate) use query::Over;
pub(crate) use srv::order_services;
pub use wire::DecodeError;

/// Why a lookup has no result. It is the source of the [`Error`](crate::Error) that tells so.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupError {
    /// There is no such name.
    NoName,
    /// The name exists, but has no record of the kind.
    NoData,
    /// No server has answered in time.
    TimedOut,
    /// A server was asked last that could not tell, or would not; its response code (RFC 1035 §4.1.1).
    Server {
        /// Which one.
        server: SocketAddr,
        /// The code: 2 is a failure, 5 a refusal.
        code: u16,
    },
    /// A server was asked last that could not be reached.
    Unreachable(SocketAddr),
    /// The name leads to another, and that to another, and on.
    Endless,
    /// The name is none.
    BadName(NameError),
    /// There is no server to ask.
    NoServer,
    /// As many names are being looked up as may.
    Full,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("there is no such name"),
            Self::NoData => f.write_str("the name exists, but has no such record"),
            Self::TimedOut => f.write_str("no name server answered in time"),
            Self::Server { server, code: 2 } => write!(f, "the name server {server} failed to look it up"),
            Self::Server { server, code: 5 } => write!(f, "the name server {server} refused to answer"),
            Self::Server { server, code } => write!(f, "the name server {server} answered with error {code}"),
            Self::Unreachable(server) => write!(f, "the name server {server} cannot be reached"),
            Self::Endless => write!(f, "the name leads through more than {} others", answer::CHAIN_MAX),
            Self::BadName(e) => e.fmt(f),
            Self::NoServer => f.write_str("there is no name server to ask"),
            Self::Full => f.write_str("too many names are being looked up already"),
        }
    }
}

impl std::error::Error for LookupError {}

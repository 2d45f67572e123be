//! SNTP (RFC 4330), the simple use of NTP version 4 (RFC 5905): what time it is, asked of somebody who is not trusted.
//!
//! Start with [`Client`], which asks one server and judges what comes back, and [`Server`], which answers. [`packet`] is the
//! format and its arithmetic. [`Discipline`] makes one time of the answers of several servers: [`select`](select::select) says
//! which of them to believe.
//!
//! Nothing here reads a clock or draws a random number: both are arguments. A client is given the wall clock of the moment at
//! which a reply arrived, as wrong as that clock may be, and the monotonic time, by which it measures how long the reply took.

mod client;
mod discipline;
pub mod packet;
mod sample;
mod select;
mod server;

pub use client::{Client, GivenUp, Policy, Poll, Refusal, Step, Verdict};
pub use discipline::{Correction, Discipline, Synchronised};
pub use packet::{Leap, Packet, Timestamp};
pub use sample::{Offset, Sample};
pub(crate) use select::SERVERS_MAX;
pub use select::{Selected, select};
pub use server::{Limiter, Request, Server, Source, Unanswered};

/// No server's clock is right that shows a time before this: 2025-01-01, before which nobody had this program. In seconds since
/// 1970.
pub(crate) const OLDEST: i64 = 1_735_689_600;

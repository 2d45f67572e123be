//! Protocols without I/O: bytes and `now` in, events and bytes out.

#[cfg(feature = "dns")]
pub mod dns;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "sntp")]
pub mod sntp;

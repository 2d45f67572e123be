//! Protocols without I/O: bytes and `now` in, events and bytes out.

#[cfg(feature = "dns")]
pub(crate) mod dns;
#[cfg(feature = "http")]
pub(crate) mod http;
#[cfg(feature = "mqtt")]
pub(crate) mod mqtt;
#[cfg(feature = "sntp")]
pub(crate) mod sntp;

//! Protocols without I/O: bytes and `now` in, events and bytes out.

pub mod http;

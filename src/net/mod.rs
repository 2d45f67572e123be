//! Addresses, sockets and their options.

mod addr;
pub(crate) mod happy;
pub(crate) mod listener;
pub(crate) mod resolve;
pub(crate) mod sockopt;
pub(crate) mod stream;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod udp;
#[cfg(unix)]
mod unix;

pub(crate) use addr::Target;
pub use addr::{Address, Host, Scheme, Transport, Url};

//! Addresses, sockets and their options.

mod addr;

pub use addr::{Address, Host, Scheme, Transport, Url};

//! Addresses, sockets and their options.

mod addr;
mod adopt;
mod happy;
mod listener;
#[cfg(feature = "sim")]
pub(crate) mod mem;
#[cfg(feature = "mdns")]
pub(crate) mod multicast;
#[cfg(feature = "sntp")]
mod noted;
mod remote;
mod resolve;
mod sockets;
mod sockopt;
mod stream;
mod syscall;
#[cfg(test)]
mod testing;
mod udp;
#[cfg(unix)]
mod unix;

pub(crate) use addr::Target;
#[cfg(feature = "dns")]
pub(crate) use addr::interface_number;
pub use addr::{Address, Host, Scheme, Transport, Url};
pub use adopt::StdSocket;
pub(crate) use happy::{Happy, Step};
pub(crate) use listener::{AcceptError, Listener};
pub(crate) use remote::Remote;
pub(crate) use resolve::{Refused, order, resolve_error};
pub(crate) use sockets::{Names, Sockets};
pub(crate) use sockopt::{connect_error, listen_error};
pub(crate) use stream::Stream;
pub(crate) use udp::Udp;

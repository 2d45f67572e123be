//! An embedded networking event loop.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "app")]
#[doc(hidden)]
pub mod app;
mod error;
mod id;
#[allow(dead_code, unused_imports)]
pub mod net;
#[allow(dead_code)]
mod options;
#[cfg(feature = "http")]
pub mod proto;

pub use error::{Error, Result};
pub use id::{ConnId, ConnMap, TimerId};
pub use net::{Address, Url};
pub use options::{ConnectOptions, Limits, ListenOptions};

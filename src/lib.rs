//! An embedded networking event loop.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "app")]
#[doc(hidden)]
pub mod app;
mod error;
mod id;
pub mod net;
#[cfg(feature = "http")]
pub mod proto;

pub use error::{Error, Result};
pub use id::{ConnId, ConnMap, TimerId};

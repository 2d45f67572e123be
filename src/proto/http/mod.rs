//! HTTP/1.1 (RFC 9110, RFC 9112): bytes in, values out, and back.
//!
//! Start with [`head`], which turns bytes into a [`Head`], and [`encode`], which turns a [`Response`] into bytes.

mod authority;
pub mod encode;
mod error;
pub mod head;
mod response;
mod rules;
mod status;
mod syntax;

pub use encode::EncodeError;
pub use error::ParseError;
pub use head::{Head, HeadLimits};
pub use response::Response;
pub use rules::{BodyLen, Expect, Version};
pub use status::reason;

//! HTTP/1.1 (RFC 9110, RFC 9112): bytes in, values out, and back.
//!
//! Start with [`head`], which turns bytes into a [`Head`], then [`body`], which finds the end of its body, and
//! [`encode`], which turns a [`Response`] into bytes. The rest reads what is inside: `target` paths and variables,
//! `field` header values, [`sse`] event streams.

mod authority;
mod base64;
pub mod body;
pub mod encode;
mod error;
mod field;
mod glob;
pub mod head;
mod lines;
mod request;
mod response;
mod rules;
pub mod sse;
mod status;
mod syntax;
mod target;

pub use body::BodyError;
pub use encode::EncodeError;
pub use error::ParseError;
pub use field::{Credentials, TokenFrom, basic_auth, param};
pub use glob::{Captures, glob};
pub use head::{Head, HeadLimits};
pub use request::Request;
pub use response::Response;
pub use rules::{BodyLen, Expect, Version};
pub use status::reason;
pub use target::{BadEscape, Pairs, form_encode, percent_decode, percent_encode};

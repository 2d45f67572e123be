//! HTTP/1.1 (RFC 9110, RFC 9112): bytes in, values out, and back.
//!
//! Start with [`head`], which turns bytes into a [`Head`], then [`body`], which finds the end of its body, and
//! [`encode`], which turns a [`Response`] into bytes. A client turns a [`RequestBuilder`] into bytes, and bytes into a
//! [`ResponseHead`]. The rest reads what is inside: `target` paths and variables, `field` header values, `conditional`,
//! `range` and `accept` what a client says of the representation that it wants, [`sse`] event streams.

mod accept;
mod authority;
pub(crate) mod base64;
pub mod body;
mod builder;
mod conditional;
pub mod encode;
mod error;
mod field;
mod glob;
pub mod head;
mod lines;
mod range;
mod request;
mod response;
mod rules;
pub mod sse;
mod status;
mod syntax;
mod target;
mod view;
mod words;

pub use accept::content_coding;
pub use body::BodyError;
pub use builder::RequestBuilder;
pub(crate) use builder::Upload;
pub use conditional::{Validators, Verdict};
pub use encode::EncodeError;
pub use error::ParseError;
pub use field::{Credentials, TokenFrom, basic_auth, param};
pub use glob::{Captures, glob};
pub use head::{Head, HeadLimits, ResponseHead};
pub use range::{ByteRanges, RANGES_MAX, byte_ranges};
pub use request::Request;
pub use response::Response;
pub use rules::{BodyLen, Expect, Version};
pub use status::reason;
pub use target::{BadEscape, Pairs, form_encode, percent_decode, percent_encode};
pub use view::ResponseView;

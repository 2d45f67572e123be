//! HTTP/1.1 (RFC 9110, RFC 9112).

mod authority;
mod error;
mod head;
mod rules;
mod syntax;

pub use error::ParseError;
pub use head::{HEADERS_CAP, Head, HeadLimits, HeaderSpace, Scan, parse};
pub use rules::{BodyLen, Expect, Version};

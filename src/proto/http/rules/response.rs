//! The rules for response heads: framing and persistence.

use super::{BodyLen, Codings, Connection, Version, is_name, parse_length};
use crate::proto::http::error::ParseError;

/// What a response answers, as far as its framing depends on it (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asked {
    /// Any other method.
    #[default]
    Other,
    /// HEAD: the response has no body, whatever it says.
    Head,
    /// CONNECT: behind a 2xx comes a tunnel.
    Connect,
}

/// What one pass over the headers of a response finds.
#[derive(Debug, Clone, Copy)]
pub(in crate::proto::http) struct ResponseFacts {
    pub(in crate::proto::http) version: Version,
    pub(in crate::proto::http) body_len: BodyLen,
    pub(in crate::proto::http) keep_alive: bool,
}

/// RFC 9112 §6.3, strictly: what a lenient reader would have to choose is an error.
#[inline]
pub(in crate::proto::http) fn check_response<'a>(
    version: Version,
    status: u16,
    asked: Asked,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<ResponseFacts, ParseError> {
    let mut length = None;
    let mut codings = Codings::default();
    let mut connection = Connection::default();
    for (name, value) in fields {
        match name.len() {
            10 if is_name(name, b"connection") => connection.add(value),
            14 if is_name(name, b"content-length") => {
                if length.is_some() {
                    return Err(ParseError::LengthRepeated);
                }
                length = Some(parse_length(value)?);
            }
            17 if is_name(name, b"transfer-encoding") => codings.add(value)?,
            _ => {}
        }
    }
    let is_11 = version == Version::Http11;
    let said = match (length, codings.seen) {
        (None, false) => BodyLen::UntilClose,
        (Some(length), false) => BodyLen::Length(length),
        (_, true) if !is_11 => return Err(ParseError::TransferEncodingInHttp10),
        (Some(_), true) => return Err(ParseError::LengthWithTransferEncoding),
        (None, true) => codings.finish()?,
    };
    let body_len = match status {
        // RFC 9110 §8.6, RFC 9112 §6.1: neither field may stand in these. A zero is harmless, and common in a 204.
        100..=199 | 204 if !matches!(said, BodyLen::UntilClose | BodyLen::Length(0)) => {
            return Err(ParseError::BodyForbidden);
        }
        100..=199 | 204 | 304 => BodyLen::None,
        // RFC 9110 §9.3.6: both fields are ignored there.
        200..=299 if asked == Asked::Connect => BodyLen::None,
        _ if asked == Asked::Head => BodyLen::None,
        _ => said,
    };
    let persists = !connection.close && (is_11 || connection.keep_alive);
    Ok(ResponseFacts { version, body_len, keep_alive: persists && body_len != BodyLen::UntilClose })
}

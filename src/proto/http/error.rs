//! Why a head was refused, and the status that tells the peer.

use std::fmt;

/// A fact about a head that makes it unacceptable. The connection cannot go on after one: where the next message begins
/// is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParseError {
    /// The head is longer than [`HeadLimits::head_max`](super::HeadLimits::head_max).
    HeadTooLarge,
    /// More header lines than [`HeadLimits::headers_max`](super::HeadLimits::headers_max).
    TooManyHeaders,
    /// The target is longer than [`HeadLimits::target_max`](super::HeadLimits::target_max).
    TargetTooLong,
    /// The method is longer than any that is registered (RFC 9112 §3).
    MethodTooLong,
    /// More empty lines before the request line than a sloppy client would send (RFC 9112 §2.2).
    TooManyLeadingLines,
    /// A line ends with LF alone (RFC 9112 §2.2).
    BareLf,
    /// A CR that LF does not follow (RFC 9112 §2.2).
    BareCr,
    /// A line begins with whitespace: obsolete line folding (RFC 9112 §5.2).
    ObsFold,
    /// Whitespace between a field name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// The method is not a token.
    BadMethod,
    /// The target has none of the four forms (RFC 9112 §3.2), or the wrong one for its method, or an illegal byte.
    BadTarget,
    /// What follows the target is not an HTTP version.
    BadVersion,
    /// An HTTP version other than 1.0 and 1.1.
    UnsupportedVersion,
    /// A status line without a status of three digits, or with a control character (RFC 9112 §4).
    BadStatus,
    /// A field name is not a token.
    BadHeaderName,
    /// A field value with a control character.
    BadHeaderValue,
    /// An HTTP/1.1 request without Host (RFC 9112 §3.2).
    HostMissing,
    /// More than one Host (RFC 9112 §3.2).
    HostRepeated,
    /// A Host that is no `uri-host [ ":" port ]` (RFC 9110 §7.2).
    BadHost,
    /// More than one Content-Length, of the same value or not (RFC 9112 §6.3).
    LengthRepeated,
    /// A Content-Length that is not decimal digits below 2^64 (RFC 9110 §8.6).
    BadLength,
    /// Both Content-Length and Transfer-Encoding (RFC 9112 §6.1).
    LengthWithTransferEncoding,
    /// Transfer-Encoding in an HTTP/1.0 request (RFC 9112 §6.1).
    TransferEncodingInHttp10,
    /// A transfer coding other than chunked, with chunked last (RFC 9112 §6.1).
    UnknownTransferEncoding,
    /// A Transfer-Encoding that is no list of codings, or a parameter of chunked (RFC 9112 §7.1).
    BadTransferEncoding,
    /// The final transfer coding is not chunked, or chunked is applied twice (RFC 9112 §6.3).
    ChunkedNotFinal,
    /// A response that has no body by its status says that it has one (RFC 9112 §6.1, RFC 9110 §8.6).
    BodyForbidden,
}

impl ParseError {
    /// The status of the reply that refuses the request.
    pub fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyHeaders => 431,
            Self::TargetTooLong => 414,
            Self::MethodTooLong | Self::UnknownTransferEncoding => 501,
            Self::UnsupportedVersion => 505,
            // Of responses only: what a gateway would tell of them.
            Self::BadStatus | Self::BodyForbidden => 502,
            Self::TooManyLeadingLines
            | Self::BareLf
            | Self::BareCr
            | Self::ObsFold
            | Self::SpaceBeforeColon
            | Self::BadMethod
            | Self::BadTarget
            | Self::BadVersion
            | Self::BadHeaderName
            | Self::BadHeaderValue
            | Self::HostMissing
            | Self::HostRepeated
            | Self::BadHost
            | Self::LengthRepeated
            | Self::BadLength
            | Self::LengthWithTransferEncoding
            | Self::TransferEncodingInHttp10
            | Self::BadTransferEncoding
            | Self::ChunkedNotFinal => 400,
        }
    }

    /// The fact as a phrase, for logs and for the body of the refusal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "head too large",
            Self::TooManyHeaders => "too many header lines",
            Self::TargetTooLong => "request target too long",
            Self::MethodTooLong => "method too long",
            Self::TooManyLeadingLines => "too many empty lines before the request line",
            Self::BareLf => "line ends with LF alone",
            Self::BareCr => "CR without LF",
            Self::ObsFold => "line begins with whitespace",
            Self::SpaceBeforeColon => "whitespace before the colon of a header",
            Self::BadMethod => "method is not a token",
            Self::BadTarget => "bad request target",
            Self::BadVersion => "bad HTTP version",
            Self::UnsupportedVersion => "HTTP version other than 1.0 and 1.1",
            Self::BadStatus => "bad status line",
            Self::BadHeaderName => "header name is not a token",
            Self::BadHeaderValue => "control character in a header value",
            Self::HostMissing => "no Host header",
            Self::HostRepeated => "more than one Host header",
            Self::BadHost => "bad Host header",
            Self::LengthRepeated => "more than one Content-Length",
            Self::BadLength => "bad Content-Length",
            Self::LengthWithTransferEncoding => "both Content-Length and Transfer-Encoding",
            Self::TransferEncodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::UnknownTransferEncoding => "transfer coding other than chunked",
            Self::BadTransferEncoding => "bad Transfer-Encoding",
            Self::ChunkedNotFinal => "chunked is not the final transfer coding",
            Self::BodyForbidden => "a body where the status allows none",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for ParseError {}

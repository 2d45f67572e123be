//! The rules of RFC 9112 that need a whole head: the target's form, Host, framing, persistence.

pub(super) mod response;

use super::authority::Authority;
use super::error::ParseError;
use super::lines::{Field, Lines, Span};
use super::syntax::{is_token, members};

/// The version of a request. Others are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How a message says where its body ends (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLen {
    /// There is no body: a request with neither Content-Length nor Transfer-Encoding, a response that never has one.
    None,
    /// Content-Length, which may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The end of the connection: a response with neither.
    UntilClose,
}

/// What the client waits for before it sends the body (RFC 9110 §10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing. Always so in HTTP/1.0.
    None,
    /// `100-continue`.
    Continue,
    /// Something else: the answer is 417.
    Unknown,
}

/// What one pass over the headers finds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// ASCII, as [`Authority`] checked. Most handlers never ask for it as text.
    pub(super) host: Option<Span>,
    pub(super) upgrade: Option<Span>,
    pub(super) body_len: BodyLen,
    pub(super) version: Version,
    pub(super) expect: Expect,
    pub(super) keep_alive: bool,
}

/// The rules that need the whole head, in one pass over the fields.
#[inline]
pub(super) fn check(head: &[u8], lines: &Lines, fields: &[Field]) -> Result<Facts, ParseError> {
    let version = lines.version;
    let (method, rest) = head.split_at(lines.method_len);
    let authority = check_target(method, &rest[1..=lines.target_len])?.map(|[from, to]| {
        let before = lines.method_len as u16 + 1;
        [before + from, before + to]
    });
    let mut host = None;
    let mut length = None;
    let mut codings = Codings::default();
    let mut connection = Connection::default();
    let mut upgrade = None;
    let mut expect = Expect::None;
    for field in fields {
        let (name, value) = (field.name(head), field.value(head));
        match name.len() {
            4 if is_name(name, b"host") => {
                if host.is_some() {
                    return Err(ParseError::HostRepeated);
                }
                if !Authority::is_valid(value) {
                    return Err(ParseError::BadHost);
                }
                host = Some(field.value);
            }
            6 if is_name(name, b"expect") => expect = expectation(value, expect),
            7 if is_name(name, b"upgrade") => upgrade = upgrade.or(Some(field.value)),
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
    if host.is_none() && version == Version::Http11 {
        return Err(ParseError::HostMissing);
    }
    let body_len = match (length, codings.seen) {
        (None, false) => BodyLen::None,
        (Some(length), false) => BodyLen::Length(length),
        (_, true) if version == Version::Http10 => return Err(ParseError::TransferEncodingInHttp10),
        (Some(_), true) => return Err(ParseError::LengthWithTransferEncoding),
        (None, true) => codings.finish()?,
    };
    let is_11 = version == Version::Http11;
    Ok(Facts {
        host: authority.or(host),
        upgrade: if is_11 && connection.upgrade { upgrade } else { None },
        body_len,
        version,
        // RFC 9110 §10.1.1: a server ignores the expectation of an HTTP/1.0 request.
        expect: if is_11 { expect } else { Expect::None },
        keep_alive: !connection.close && (is_11 || connection.keep_alive),
    })
}

/// Whether a field name is this one, in any letter case; for names of the right length. Neither has control characters,
/// so that setting the bit of lower case makes no other two bytes equal.
#[inline(always)]
fn is_name<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    match <&[u8; N]>::try_from(name) {
        Ok(name) => name.map(|byte| byte | 0x20) == lower.map(|byte| byte | 0x20),
        Err(_) => false,
    }
}

/// RFC 9112 §3.2: the form of the target must fit the method. Answers where in it the authority stands, if it names one.
#[inline]
fn check_target(method: &[u8], target: &[u8]) -> Result<Option<Span>, ParseError> {
    match target {
        [b'/'] if method != b"CONNECT" => Ok(None),
        _ if memchr::memchr(b'#', target).is_some() => Err(ParseError::BadTarget),
        _ if method == b"CONNECT" => match Authority::parse(target) {
            Some(Authority { host, port: Some(port) }) if !host.is_empty() && !port.is_empty() => {
                Ok(Some([0, target.len() as u16]))
            }
            _ => Err(ParseError::BadTarget),
        },
        [b'/', ..] => Ok(None),
        b"*" if method == b"OPTIONS" => Ok(None),
        _ => absolute_authority(target).map(Some).ok_or(ParseError::BadTarget),
    }
}

/// The authority of an absolute-form target, which an `http` URI must have (RFC 9110 §4.2.1).
#[cold]
fn absolute_authority(target: &[u8]) -> Option<Span> {
    let colon = memchr::memchr(b':', target)?;
    let (scheme, rest) = target.split_at(colon);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let rest = rest.strip_prefix(b"://")?;
    let authority = &rest[..memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len())];
    let from = target.len() - rest.len();
    let span = [from, from + authority.len()].map(|at| at as u16);
    Authority::parse(authority).filter(|a| !a.host.is_empty()).map(|_| span)
}

fn parse_length(value: &[u8]) -> Result<u64, ParseError> {
    if value.is_empty() {
        return Err(ParseError::BadLength);
    }
    value.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(ParseError::BadLength);
        }
        length.checked_mul(10).and_then(|l| l.checked_add(u64::from(digit))).ok_or(ParseError::BadLength)
    })
}

fn expectation(value: &[u8], so_far: Expect) -> Expect {
    match value {
        _ if so_far == Expect::Unknown => Expect::Unknown,
        b"" => so_far,
        _ if value.eq_ignore_ascii_case(b"100-continue") => Expect::Continue,
        _ => Expect::Unknown,
    }
}

/// The connection options that concern us (RFC 9110 §7.6.1).
#[derive(Default)]
struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl Connection {
    fn add(&mut self, value: &[u8]) {
        for option in members(value) {
            match option.len() {
                5 => self.close |= option.eq_ignore_ascii_case(b"close"),
                7 => self.upgrade |= option.eq_ignore_ascii_case(b"upgrade"),
                10 => self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive"),
                _ => {}
            }
        }
    }
}

/// The transfer codings of all Transfer-Encoding lines, which make one list (RFC 9112 §6.1).
#[derive(Default)]
struct Codings {
    seen: bool,
    chunked: bool,
    others: bool,
}

impl Codings {
    #[cold]
    fn add(&mut self, value: &[u8]) -> Result<(), ParseError> {
        self.seen = true;
        for coding in members(value) {
            // A parameter of another coding may follow a semicolon; chunked has none (RFC 9112 §7.1).
            let name = coding.split(|&b| b == b';' || b == b' ' || b == b'\t').next().unwrap_or_default();
            if !is_token(name) {
                return Err(ParseError::BadTransferEncoding);
            }
            if self.chunked {
                return Err(ParseError::ChunkedNotFinal);
            }
            if !name.eq_ignore_ascii_case(b"chunked") {
                self.others = true;
            } else if name.len() == coding.len() {
                self.chunked = true;
            } else {
                return Err(ParseError::BadTransferEncoding);
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<BodyLen, ParseError> {
        match (self.chunked, self.others) {
            (true, false) => Ok(BodyLen::Chunked),
            (true, true) => Err(ParseError::UnknownTransferEncoding),
            (false, _) => Err(ParseError::ChunkedNotFinal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, HeaderSpace, Scan, parse};
    use super::*;

    /// Parses a head with these header lines and asks it something.
    fn with_head<R>(
        line: &str,
        headers: &str,
        ask: impl FnOnce(&super::super::Head<'_>) -> R,
    ) -> Result<R, ParseError> {
        let bytes = format!("{line}\r\n{headers}\r\n");
        let mut space = HeaderSpace::new();
        let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space)?;
        Ok(ask(&parsed.expect("a whole head").0))
    }

    #[test]
    fn rfc_9112_6_3_framing_is_one_length_or_one_final_chunked() {
        use ParseError::*;
        let table = [
            ("none", "", Ok(BodyLen::None)),
            ("zero", "Content-Length: 0\r\n", Ok(BodyLen::Length(0))),
            ("E12 trimmed", "Content-Length: \t5 \r\n", Ok(BodyLen::Length(5))),
            ("leading zeros", "Content-Length: 0005\r\n", Ok(BodyLen::Length(5))),
            ("the largest", "Content-Length: 18446744073709551615\r\n", Ok(BodyLen::Length(u64::MAX))),
            ("E12 overflow", "Content-Length: 18446744073709551616\r\n", Err(BadLength)),
            ("E12 19e18", "Content-Length: 19000000000000000000\r\n", Err(BadLength)),
            ("E12 -1", "Content-Length: -1\r\n", Err(BadLength)),
            ("E12 +5", "Content-Length: +5\r\n", Err(BadLength)),
            ("empty", "Content-Length:\r\n", Err(BadLength)),
            ("inner space", "Content-Length: 5 5\r\n", Err(BadLength)),
            ("hexadecimal", "Content-Length: 0x5\r\n", Err(BadLength)),
            ("list", "Content-Length: 5, 5\r\n", Err(BadLength)),
            ("E12 twice, same", "Content-Length: 5\r\ncontent-length: 5\r\n", Err(LengthRepeated)),
            ("E12 twice, different", "Content-Length: 5\r\nContent-Length: 6\r\n", Err(LengthRepeated)),
            ("chunked", "transfer-encoding: Chunked\r\n", Ok(BodyLen::Chunked)),
            ("E12 both", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(LengthWithTransferEncoding)),
            (
                "E12 both, other order",
                "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
                Err(LengthWithTransferEncoding),
            ),
            ("E12 twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(ChunkedNotFinal)),
            ("twice in one", "Transfer-Encoding: chunked, chunked\r\n", Err(ChunkedNotFinal)),
            ("not final", "Transfer-Encoding: chunked, gzip\r\n", Err(ChunkedNotFinal)),
            (
                "not final, two lines",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                Err(ChunkedNotFinal),
            ),
            ("no chunked", "Transfer-Encoding: gzip\r\n", Err(ChunkedNotFinal)),
            ("almost chunked", "Transfer-Encoding: xchunked\r\n", Err(ChunkedNotFinal)),
            ("unknown, then chunked", "Transfer-Encoding: gzip, chunked\r\n", Err(UnknownTransferEncoding)),
            ("unknown with parameter", "Transfer-Encoding: a;b=c, chunked\r\n", Err(UnknownTransferEncoding)),
            (
                "two lines",
                "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
                Err(UnknownTransferEncoding),
            ),
            ("empty coding", "Transfer-Encoding:\r\n", Err(BadTransferEncoding)),
            ("empty members", "Transfer-Encoding: , , chunked\r\n", Err(BadTransferEncoding)),
            ("parameter of chunked", "Transfer-Encoding: chunked;q=1\r\n", Err(BadTransferEncoding)),
            ("semicolon", "Transfer-Encoding: chunked;\r\n", Err(BadTransferEncoding)),
            ("tab inside", "Transfer-Encoding: chun\tked\r\n", Err(ChunkedNotFinal)),
            ("not a token", "Transfer-Encoding: \"chunked\"\r\n", Err(BadTransferEncoding)),
            ("Kelvin sign", "Transfer-Encoding: chun\u{212a}ed\r\n", Err(BadTransferEncoding)),
        ];
        for (name, headers, expected) in table {
            let headers = format!("Host: a\r\n{headers}");
            assert_eq!(with_head("POST / HTTP/1.1", &headers, |head| head.body_len()), expected, "{name}");
        }
        // E15: RFC 9112 §6.1.
        for headers in ["Transfer-Encoding: chunked\r\n", "Content-Length: 15\r\nTransfer-Encoding: chunked\r\n"] {
            let refused = with_head("POST / HTTP/1.0", headers, |_| ());
            assert_eq!(refused, Err(TransferEncodingInHttp10), "{headers}");
        }
    }

    #[test]
    fn rfc_9112_9_3_persistence_follows_version_and_options() {
        let table = [
            ("HTTP/1.1", "", true),
            ("HTTP/1.1", "Connection: close\r\n", false),
            ("HTTP/1.1", "Connection: Close, TE\r\n", false),
            ("HTTP/1.1", "Connection: x\r\nConnection: ,\tclose ,\r\n", false),
            ("HTTP/1.1", "Connection: keep-alive, close\r\n", false),
            ("HTTP/1.1", "Connection: closed\r\n", true),
            ("HTTP/1.0", "", false),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
            ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
        ];
        for (version, headers, expected) in table {
            let kept =
                with_head(&format!("GET / {version}"), &format!("Host: a\r\n{headers}"), |head| head.keep_alive());
            assert_eq!(kept, Ok(expected), "{version} {headers}");
        }
    }

    #[test]
    fn rfc_9112_3_2_one_valid_host() {
        use ParseError::*;
        let table = [
            ("GET / HTTP/1.1", "", Err(HostMissing)),
            ("GET http://a/ HTTP/1.1", "", Err(HostMissing)),
            ("GET / HTTP/1.0", "", Ok(None)),
            ("GET / HTTP/1.1", "Host: a\r\nhost: a\r\n", Err(HostRepeated)),
            ("GET / HTTP/1.0", "Host: a\r\nHost: b\r\n", Err(HostRepeated)),
            ("GET / HTTP/1.1", "Host: a, b\r\n", Err(BadHost)),
            ("GET / HTTP/1.1", "Host: u@a\r\n", Err(BadHost)),
            ("GET / HTTP/1.0", "Host: a/b\r\n", Err(BadHost)),
            ("GET / HTTP/1.1", "Host:\r\n", Ok(Some(""))),
            ("GET / HTTP/1.1", "Host: a:80\r\n", Ok(Some("a:80"))),
            // RFC 9112 §3.2.2: the target's authority wins.
            ("GET http://b:8080?x HTTP/1.1", "Host: a\r\n", Ok(Some("b:8080"))),
            ("CONNECT b:443 HTTP/1.1", "Host: a\r\n", Ok(Some("b:443"))),
        ];
        for (line, headers, expected) in table {
            let host = with_head(line, headers, |head| head.host().map(str::to_owned));
            assert_eq!(host.as_ref().map(Option::as_deref).map_err(|e| *e), expected, "{line} {headers}");
        }
    }

    #[test]
    fn rfc_9110_expectations_and_upgrades_are_of_http_1_1() {
        let table = [
            ("HTTP/1.1", "", Expect::None, None),
            ("HTTP/1.1", "Expect: 100-CONTINUE\r\n", Expect::Continue, None),
            ("HTTP/1.1", "Expect: banana\r\n", Expect::Unknown, None),
            ("HTTP/1.1", "Expect: banana\r\nExpect: 100-continue\r\n", Expect::Unknown, None),
            ("HTTP/1.1", "Expect: 100-continue, a\r\n", Expect::Unknown, None),
            ("HTTP/1.0", "Expect: 100-continue\r\n", Expect::None, None),
            ("HTTP/1.1", "Connection: Upgrade\r\nUpgrade: h2c\r\n", Expect::None, Some("h2c")),
            ("HTTP/1.1", "Upgrade: h2c\r\n", Expect::None, None),
            ("HTTP/1.1", "Connection: upgrade\r\n", Expect::None, None),
            ("HTTP/1.0", "Connection: Upgrade\r\nUpgrade: h2c\r\n", Expect::None, None),
        ];
        for (version, headers, expect, upgrade) in table {
            with_head(&format!("GET / {version}"), &format!("Host: a\r\n{headers}"), |head| {
                assert_eq!((head.expect(), head.upgrade()), (expect, upgrade), "{version} {headers}");
            })
            .unwrap();
        }
    }
}

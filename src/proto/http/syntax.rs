//! The grammar that every HTTP field shares (RFC 9110 §5.6): tokens, whitespace, lists.

/// Whether the byte may stand in a token (RFC 9110 §5.6.2): methods, field names, list members.
pub(crate) const fn is_tchar(byte: u8) -> bool {
    TCHAR[byte as usize]
}

/// Whether the bytes are a token: not empty, and nothing but tchar.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| is_tchar(b))
}

/// Whether the byte may stand in a host name: unreserved and sub-delims (RFC 3986 §2).
pub(crate) const fn is_host_byte(byte: u8) -> bool {
    HOST[byte as usize]
}

/// Whether the byte may stand in a field value (RFC 9110 §5.5): no control character but the tab, so neither CR, LF
/// nor NUL; bytes from 0x80 on are obs-text.
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// The value without its optional whitespace (RFC 9110 §5.6.3) at both ends.
pub(crate) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list (RFC 9110 §5.6.1), without their whitespace; empty members included.
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim_ows)
}

/// The value of a hexadecimal digit.
pub(crate) const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

const TCHAR: [bool; 256] = alphanumerics_and(b"!#$%&'*+-.^_`|~");
const HOST: [bool; 256] = alphanumerics_and(b"-._~!$&'()*+,;=");

const fn alphanumerics_and(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = (i as u8).is_ascii_alphanumeric();
        i += 1;
    }
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = true;
        i += 1;
    }
    table
}

//! Bytes of a message to numbers and names, and back. Nothing here reads past the end, and nothing loops.

use std::collections::BTreeMap;
use std::fmt;

use super::name::{NAME_MAX, Name};

/// Why bytes are no DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// It ends in the midst of something.
    Truncated,
    /// A compression pointer does not point to an earlier name (RFC 1035 §4.1.4).
    BadPointer,
    /// A name follows more pointers than any encoder writes.
    TooManyPointers,
    /// A label's length has bits that nothing uses (RFC 1035 §4.1.4, RFC 6891 §5).
    BadLabel,
    /// A name has more than 255 bytes (RFC 1035 §3.1).
    NameTooLong,
    /// A record's data has another length than its type asks for.
    BadData,
    /// It has more records than anybody needs.
    TooManyRecords,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "it ends too early",
            Self::BadPointer => "a compression pointer does not point backwards",
            Self::TooManyPointers => "a name follows too many compression pointers",
            Self::BadLabel => "a label has an unknown type",
            Self::NameTooLong => "a name has more than 255 bytes",
            Self::BadData => "a record's data does not fit its type",
            Self::TooManyRecords => "it has too many records",
        })
    }
}

impl std::error::Error for DecodeError {}

/// Pointers that one name may follow. A name of 127 labels, each of which an encoder found in another place, has as many;
/// real ones have two or three. Without a bound, a chain of bare pointers costs as much as the message is long, for each
/// record again.
const POINTERS_MAX: usize = 127;

/// Reads a message from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    /// The whole message: names point into it.
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).ok_or(DecodeError::Truncated)?;
        let bytes = self.message.get(self.at..end).ok_or(DecodeError::Truncated)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Truncated)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads a name that may be compressed (RFC 1035 §4.1.4). Each pointer leads further back than the one before it: there
    /// is no loop.
    pub(super) fn name(&mut self) -> Result<Name, DecodeError> {
        let mut wire = [0; NAME_MAX];
        let mut len = 0;
        let mut at = self.at;
        // Where the run of labels began that is being read.
        let mut run = at;
        let mut pointers = 0;
        loop {
            let first = *self.message.get(at).ok_or(DecodeError::Truncated)?;
            at += 1;
            match first >> 6 {
                0b00 => {
                    let label = usize::from(first);
                    let bytes = self.message.get(at..at + label).ok_or(DecodeError::Truncated)?;
                    let room = wire.get_mut(len..len + 1 + label).ok_or(DecodeError::NameTooLong)?;
                    room[0] = first;
                    room[1..].copy_from_slice(bytes);
                    at += label;
                    len += 1 + label;
                    if label == 0 {
                        break;
                    }
                }
                0b11 => {
                    let low = *self.message.get(at).ok_or(DecodeError::Truncated)?;
                    if pointers == 0 {
                        self.at = at + 1;
                    }
                    pointers += 1;
                    if pointers > POINTERS_MAX {
                        return Err(DecodeError::TooManyPointers);
                    }
                    at = usize::from(u16::from_be_bytes([first & 0x3f, low]));
                    if at >= run {
                        return Err(DecodeError::BadPointer);
                    }
                    run = at;
                }
                _ => return Err(DecodeError::BadLabel),
            }
        }
        if pointers == 0 {
            self.at = at;
        }
        Name::from_wire(&wire[..len]).ok_or(DecodeError::Truncated)
    }
}

/// Writes a message.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
    /// Ends of names that were written, with their places; none where names are not compressed.
    ends: Option<BTreeMap<Vec<u8>, u16>>,
}

/// Pointers have 14 bits (RFC 1035 §4.1.4).
const POINTER_END: usize = 1 << 14;

impl Writer {
    pub(super) fn new(compresses: bool) -> Self {
        Self { out: Vec::with_capacity(512), ends: compresses.then(BTreeMap::new) }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    /// Writes a name, its end as a pointer to where it stands already.
    pub(super) fn name(&mut self, name: &Name) {
        let mut rest = name.as_wire();
        let Some(ends) = &mut self.ends else { return self.out.extend_from_slice(rest) };
        while let Some((label, tail)) = rest.first().and_then(|len| rest.split_at_checked(1 + usize::from(*len))) {
            if tail.is_empty() {
                break;
            }
            let end = rest.to_ascii_lowercase();
            if let Some(place) = ends.get(&end) {
                return self.out.extend_from_slice(&(0xc000 | place).to_be_bytes());
            }
            if self.out.len() < POINTER_END {
                ends.insert(end, self.out.len() as u16);
            }
            self.out.extend_from_slice(label);
            rest = tail;
        }
        self.out.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(message: &[u8], start: usize) -> Result<(String, usize), DecodeError> {
        let mut reader = Reader { message, at: start };
        reader.name().map(|name| (name.to_string(), reader.at()))
    }

    #[test]
    fn d12_rfc_1035_section_4_1_4_compression_has_no_loops() {
        use DecodeError::*;
        let named = |text: &str, end: usize| Ok((text.to_owned(), end));
        type Row<'a> = (&'a str, &'a [u8], usize, Result<(String, usize), DecodeError>);
        let table: [Row<'_>; 15] = [
            ("plain", b"\x01a\x03lan\0", 0, named("a.lan", 7)),
            ("the root", b"\0", 0, named(".", 1)),
            ("a pointer", b"\x03lan\0\x01b\xc0\x00", 5, named("b.lan", 9)),
            ("a pointer alone", b"\x03lan\0\xc0\x00", 5, named("lan", 7)),
            ("two pointers", b"\x03lan\0\x01b\xc0\x00\x01c\xc0\x05", 9, named("c.b.lan", 13)),
            ("D12 a name that points to itself", b"\xc0\x00", 0, Err(BadPointer)),
            ("into its own labels", b"\x01a\xc0\x00", 0, Err(BadPointer)),
            ("forwards", b"\xc0\x02\x00", 0, Err(BadPointer)),
            ("two that point to each other", b"\xc0\x02\xc0\x00", 2, Err(BadPointer)),
            ("past the end", b"\x00\xff\xff", 1, Err(BadPointer)),
            ("half a pointer", b"\x00\xc0", 1, Err(Truncated)),
            ("half a label", b"\x05abc", 0, Err(Truncated)),
            ("without its root", b"\x01a", 0, Err(Truncated)),
            ("RFC 6891 §5, extended label", b"\x41a\0", 0, Err(BadLabel)),
            ("reserved label", b"\x81a\0", 0, Err(BadLabel)),
        ];
        for (name, bytes, start, expected) in table {
            assert_eq!(at(bytes, start), expected, "{name}");
        }
    }

    #[test]
    fn d12_compression_bombs_are_bounded() {
        // A pointer to a pointer to a pointer...
        let mut chain = b"\x00".to_vec();
        for n in 0..POINTERS_MAX as u16 + 1 {
            let to = if n == 0 { 0 } else { 2 * n - 1 };
            chain.extend_from_slice(&(0xc000 | to).to_be_bytes());
        }
        let last = chain.len() - 2;
        assert_eq!(at(&chain, last), Err(DecodeError::TooManyPointers));
        assert_eq!(at(&chain, last - 2), Ok((".".into(), last)));
        // Labels that grow the name past its bound.
        let mut long = Vec::new();
        for _ in 0..5 {
            long.push(63);
            long.extend_from_slice(&[b'a'; 63]);
        }
        long.push(0);
        assert_eq!(at(&long, 0), Err(DecodeError::NameTooLong));
        let mut longest = Vec::new();
        for len in [63u8, 63, 63, 61] {
            longest.push(len);
            longest.extend(std::iter::repeat_n(b'a', len.into()));
        }
        longest.push(0);
        assert_eq!(at(&longest, 0).unwrap().1, 255);
    }
}

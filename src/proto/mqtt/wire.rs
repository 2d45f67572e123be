//! The data representations of section 1.5: integers, lengths, text, binary data.

use super::error::DecodeError;

/// The largest variable byte integer: four bytes of seven bits (MQTT-1.5.5).
pub(super) const VARINT_MAX: usize = 268_435_455;

/// Takes values off the front of a packet's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// All that is left.
    #[inline]
    pub(super) fn take_rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A packet that goes on after its last field is malformed.
    #[inline]
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes) }
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// MQTT-1.5.2.
    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// MQTT-1.5.3.
    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// MQTT-1.5.5; the shortest form is not asked for.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        let (value, used) = varint(self.rest)?.ok_or(DecodeError::Truncated)?;
        self.rest = self.rest.get(used..).unwrap_or_default();
        Ok(value)
    }

    /// MQTT-1.5.6.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// MQTT-1.5.4-1: well-formed UTF-8, which has no surrogates. MQTT-1.5.4-2: no U+0000. MQTT-1.5.4-3: a byte order mark is a
    /// character like others, and stays.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.text_with_nul()?;
        if has_byte(text.as_bytes(), [0]) { Err(DecodeError::NulInText) } else { Ok(text) }
    }

    /// Text whose caller looks for U+0000.
    #[inline]
    pub(super) fn text_with_nul(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.binary()?).map_err(|_| DecodeError::BadUtf8)
    }
}

/// The variable byte integer at the start of `bytes`, and its length. `Ok(None)`: it goes on after them.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    // Most lengths are of one byte.
    if let Some(&byte) = bytes.first()
        && byte < 0x80
    {
        return Ok(Some((u32::from(byte), 1)));
    }
    long_varint(bytes)
}

fn long_varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            return Ok(Some((value, at + 1)));
        }
    }
    // MQTT-1.5.5: the fourth byte is the last one.
    if bytes.len() < 4 { Ok(None) } else { Err(DecodeError::BadLength) }
}

/// How many bytes a variable byte integer takes.
#[inline]
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// Appends a variable byte integer in its shortest form (MQTT-1.5.5-1).
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Whether one of `wanted` is among the bytes. Eight at a time: topics are short, and a call of `memchr` costs more.
#[inline]
pub(super) fn has_byte<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    // The classic test for a zero byte in `word ^ pattern`: exact as a yes or no for the whole word.
    let in_word = |word: [u8; 8]| {
        let word = u64::from_ne_bytes(word);
        let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGHS;
        wanted.iter().fold(0, |found, &byte| found | zero(word ^ (ONES * u64::from(byte)))) != 0
    };
    let (words, tail) = bytes.as_chunks::<8>();
    // The tail is looked at as a whole word too, with bytes that have been seen before.
    match bytes.last_chunk::<8>() {
        Some(&last) => words.iter().any(|&word| in_word(word)) || !tail.is_empty() && in_word(last),
        None => tail.iter().any(|byte| wanted.contains(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn variable_byte_integers_are_those_of_the_table() {
        // (name, value, bytes): the limits of each length, MQTT-1.5.5 table 1-1.
        let table: &[(&str, u32, &[u8])] = &[
            ("one byte, least", 0, &[0x00]),
            ("one byte, most", 127, &[0x7f]),
            ("two bytes, least", 128, &[0x80, 0x01]),
            ("two bytes, most", 16_383, &[0xff, 0x7f]),
            ("three bytes, least", 16_384, &[0x80, 0x80, 0x01]),
            ("three bytes, most", 2_097_151, &[0xff, 0xff, 0x7f]),
            ("four bytes, least", 2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            ("four bytes, most", 268_435_455, &[0xff, 0xff, 0xff, 0x7f]),
        ];
        for (name, value, bytes) in table {
            let mut out = Vec::new();
            put_varint(&mut out, *value as usize);
            assert_eq!(&out, bytes, "{name}");
            assert_eq!(varint_len(*value as usize), bytes.len(), "{name}");
            assert_eq!(varint(bytes), Ok(Some((*value, bytes.len()))), "{name}");
            for cut in 0..bytes.len() {
                assert_eq!(varint(&bytes[..cut]), Ok(None), "{name}, {cut} bytes of it");
            }
        }
        // The shortest form is not asked for.
        assert_eq!(varint(&[0x80, 0x80, 0x00]), Ok(Some((0, 3))));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff]), Err(DecodeError::BadLength));
        assert_eq!(varint(&[0x80, 0x80, 0x80, 0x80, 0x01]), Err(DecodeError::BadLength));
    }

    #[test]
    fn text_is_well_formed_utf8_without_nul() {
        let table: &[(&str, &[u8], Result<&str, DecodeError>)] = &[
            ("empty", b"\0\0", Ok("")),
            ("ascii", b"\0\x03abc", Ok("abc")),
            ("MQTT-1.5.4-3: a byte order mark stays", b"\0\x04\xef\xbb\xbfa", Ok("\u{feff}a")),
            ("MQTT-1.5.4-2: NUL", b"\0\x03a\0b", Err(DecodeError::NulInText)),
            ("MQTT-1.5.4-1: a surrogate", b"\0\x03\xed\xa0\x80", Err(DecodeError::BadUtf8)),
            ("MQTT-1.5.4-1: an overlong form", b"\0\x02\xc0\x80", Err(DecodeError::BadUtf8)),
            ("MQTT-1.5.4-1: cut in a character", b"\0\x01\xc3", Err(DecodeError::BadUtf8)),
            ("shorter than it says", b"\0\x05abc", Err(DecodeError::Truncated)),
            ("half a length", b"\0", Err(DecodeError::Truncated)),
            ("a control character is taken", b"\0\x02a\x01", Ok("a\u{1}")),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(Reader::new(bytes).text(), *expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn has_byte_is_any(bytes in proptest::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..40)) {
            let wanted = [0, b'+', b'#'];
            prop_assert_eq!(has_byte(&bytes, wanted), bytes.iter().any(|byte| wanted.contains(byte)));
        }
    }
}

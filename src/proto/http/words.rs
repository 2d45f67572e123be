//! Runs of bytes of one kind, looked at eight at a time.

use super::syntax::{is_host_byte, is_tchar, is_value_byte};

/// How many bytes at the start are of a token (RFC 9110 §5.6.2).
#[inline]
pub(super) fn token(bytes: &[u8]) -> usize {
    run(bytes, special, is_tchar)
}

/// How many bytes at the start are of a name, or of an address that is no literal (RFC 3986 §3.2.2).
#[inline]
pub(super) fn host(bytes: &[u8]) -> usize {
    run(bytes, special, is_host_byte)
}

/// How many bytes at the start are visible ASCII.
#[inline]
pub(super) fn visible(bytes: &[u8]) -> usize {
    // Not visible: up to 0x20, 0x7f, and what has the highest bit.
    run(bytes, |word| below(word, 0x21) | is(word, 0x7f) | word, |byte| byte.is_ascii_graphic())
}

/// How many bytes at the start may stand in a field value (RFC 9110 §5.5).
#[inline]
pub(super) fn value(bytes: &[u8]) -> usize {
    run(bytes, |word| below(word, 0x20) | is(word, 0x7f), is_value_byte)
}

/// How many bytes at the start fit: eight at a time while `suspects` raises the highest bit of no byte in the word, then
/// one by one. A suspect may fit after all (the tab in a value).
#[inline]
fn run(bytes: &[u8], suspects: impl Fn(u64) -> u64, fits: impl Fn(u8) -> bool) -> usize {
    let mut at = 0;
    while let Some(word) = bytes.get(at..at + 8).and_then(|word| <[u8; 8]>::try_from(word).ok()) {
        let found = suspects(u64::from_le_bytes(word)) & HIGH;
        if found == 0 {
            at += 8;
            continue;
        }
        at += found.trailing_zeros() as usize / 8;
        if !fits(bytes[at]) {
            return at;
        }
        at += 1;
    }
    at + bytes[at..].iter().position(|&byte| !fits(byte)).unwrap_or(bytes.len() - at)
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Raises the highest bit of each byte that is less than `n` (at most 0x80); above the first such byte it may raise
/// others as well.
#[inline]
const fn below(word: u64, n: u8) -> u64 {
    word.wrapping_sub(ONES * n as u64) & !word
}

/// Raises the highest bit of each byte that equals `n`; above the first such byte it may raise others as well.
#[inline]
const fn is(word: u64, n: u8) -> u64 {
    below(word ^ (ONES * n as u64), 1)
}

/// Raises the highest bit of each byte, of those below 0x80, that is from `first` to `last`, and of no other such byte.
#[inline]
const fn among(word: u64, first: u8, last: u8) -> u64 {
    let low = word & !HIGH;
    (low + ONES * (0x80 - first as u64)) & !(low + ONES * (0x7f - last as u64))
}

/// Raises the highest bit of each byte that is no letter, digit, `-` or `.`, which most bytes of names are; above the
/// first such byte it may raise others as well.
#[inline]
const fn special(word: u64) -> u64 {
    // From '-' to '9' there is one that does not fit.
    let usual = among(word | (ONES * 0x20), b'a', b'z') | among(word, b'-', b'9');
    !usual | word | is(word, b'/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn eight_at_a_time_finds_what_one_by_one_finds(bytes in prop::collection::vec(
            prop_oneof![4 => 0x1e..0x24u8, 4 => 0x7c..0x84u8, 2 => Just(b'\t'), 30 => Just(b'a'), 1 => any::<u8>()], 0..80,
        )) {
            let first = |fits: fn(u8) -> bool| bytes.iter().position(|&b| !fits(b)).unwrap_or(bytes.len());
            prop_assert_eq!(visible(&bytes), first(|b| b.is_ascii_graphic()));
            prop_assert_eq!(value(&bytes), first(is_value_byte));
            prop_assert_eq!(token(&bytes), first(is_tchar));
            prop_assert_eq!(host(&bytes), first(is_host_byte));
        }
    }

    /// Each byte in each place, among others of every kind.
    #[test]
    fn no_byte_is_taken_for_another() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                for around in [b'a', b'-', b'9', b'Z', b'.'] {
                    let mut bytes = [around; 8];
                    bytes[place] = byte;
                    let expected = |fits: fn(u8) -> bool| if fits(byte) { 8 } else { place };
                    assert_eq!(token(&bytes), expected(is_tchar), "{bytes:?}");
                    assert_eq!(host(&bytes), expected(is_host_byte), "{bytes:?}");
                    assert_eq!(visible(&bytes), expected(|b| b.is_ascii_graphic()), "{bytes:?}");
                    assert_eq!(value(&bytes), expected(is_value_byte), "{bytes:?}");
                }
            }
        }
    }
}

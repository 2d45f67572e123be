//! The Range header (RFC 9110 §14): which bytes of a representation are asked for.

use std::ops::Range;

use super::syntax::{members, trim_ows};

/// What a Range header asks of a representation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ByteRanges {
    /// No part: send all, with 200. So also for a header that is malformed, of another unit, or abusive (RFC 9110 §14.2).
    All,
    /// This part, with 206.
    One(Range<u64>),
    /// These parts in this order, with 206 as `multipart/byteranges`: two at least, [`RANGES_MAX`] at most, together no
    /// longer than the whole.
    Several(Vec<Range<u64>>),
    /// Nothing that there is: 416, with `Content-Range: bytes */LEN`.
    Unsatisfiable,
}

/// More parts than these are not served in one reply: the whole is sent instead.
pub const RANGES_MAX: usize = 16;

/// Reads a Range header for a representation of this length.
///
/// Ends past the last byte are moved to it. Ranges that overlap so that they repeat more than they leave out are not served
/// (RFC 9110 §17.15): the answer is then [`ByteRanges::All`].
///
/// ```
/// use vansire::http::{ByteRanges, byte_ranges};
///
/// assert_eq!(byte_ranges(b"bytes=-5", 100), ByteRanges::One(95..100));
/// assert_eq!(byte_ranges(b"bytes=200-", 100), ByteRanges::Unsatisfiable);
/// ```
pub fn byte_ranges(value: &[u8], len: u64) -> ByteRanges {
    // RFC 9110 §14.1: names of units are case-insensitive.
    let Some((unit, set)) = value.iter().position(|&b| b == b'=').map(|at| (&value[..at], &value[at + 1..])) else {
        return ByteRanges::All;
    };
    if !trim_ows(unit).eq_ignore_ascii_case(b"bytes") {
        return ByteRanges::All;
    }
    let mut first = None;
    let mut more = Vec::new();
    let mut count = 0;
    for spec in members(set).filter(|spec| !spec.is_empty()) {
        count += 1;
        let Some(range) = read(spec, len).filter(|_| count <= RANGES_MAX) else { return ByteRanges::All };
        // RFC 9110 §14.1.2: what is unsatisfiable among others is left out.
        match (range, &first) {
            (Wanted::Nothing, _) => {}
            // A suffix of an empty representation: there is no Content-Range that could say so.
            (Wanted::Range(range), _) if range.is_empty() => return ByteRanges::All,
            (Wanted::Range(range), None) => first = Some(range),
            (Wanted::Range(range), Some(_)) => more.push(range),
        }
    }
    match first {
        _ if count == 0 => ByteRanges::All,
        None => ByteRanges::Unsatisfiable,
        Some(range) if more.is_empty() => ByteRanges::One(range),
        Some(range) => {
            more.insert(0, range);
            let sum = more.iter().try_fold(0u64, |sum, range| sum.checked_add(range.end - range.start));
            if sum.is_none_or(|sum| sum > len) { ByteRanges::All } else { ByteRanges::Several(more) }
        }
    }
}

enum Wanted {
    Range(Range<u64>),
    Nothing,
}

/// One range-spec. None: it is malformed.
fn read(spec: &[u8], len: u64) -> Option<Wanted> {
    let dash = spec.iter().position(|&b| b == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let suffix = number(last)?;
        // RFC 9110 §14.1.2: a suffix of no bytes is unsatisfiable, and one longer than all is all.
        return Some(if suffix == 0 { Wanted::Nothing } else { Wanted::Range(len.saturating_sub(suffix)..len) });
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < first {
        return None;
    }
    Some(if first >= len { Wanted::Nothing } else { Wanted::Range(first..last.saturating_add(1).min(len)) })
}

/// A decimal number; one that is larger than any file is the largest there is.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0'))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f6_rfc_9110_14_1_2_ranges_are_read_and_clamped() {
        use ByteRanges::{All, One, Several, Unsatisfiable};
        let many = |n: u32| format!("bytes={}", (0..n).map(|i| format!("{i}-{i}")).collect::<Vec<_>>().join(","));
        let (most, too_many) = (many(RANGES_MAX as u32), many(RANGES_MAX as u32 + 1));
        let table: &[(&str, u64, ByteRanges)] = &[
            ("bytes=5-10", 312, One(5..11)),
            ("bytes=300-", 312, One(300..312)),
            ("bytes=-5", 312, One(307..312)),
            ("bytes=0-0", 312, One(0..1)),
            ("bytes=5-99", 10, One(5..10)),
            ("bytes=999-", 312, Unsatisfiable),
            ("bytes=312-", 312, Unsatisfiable),
            ("bytes=311-", 312, One(311..312)),
            ("bytes=0-312", 312, One(0..312)),
            ("bytes=-999", 312, One(0..312)),
            ("bytes=-0", 312, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, All),
            ("bytes=0-1,4-5", 10, Several(vec![0..2, 4..6])),
            ("bytes= 0-1 ,\t4-5 ", 10, Several(vec![0..2, 4..6])),
            ("bytes=,0-1,,4-5,", 10, Several(vec![0..2, 4..6])),
            ("bytes=4-5,0-1", 10, Several(vec![4..6, 0..2])),
            ("bytes=0-1,99-", 10, One(0..2)),
            ("bytes=98-,99-", 10, Unsatisfiable),
            // Two that overlap a little are fine; more than the whole is abuse (RFC 9110 §17.15).
            ("bytes=0-4,3-6", 10, Several(vec![0..5, 3..7])),
            ("bytes=0-,0-,0-", 10, All),
            ("bytes=0-9,-1", 10, All),
            (&too_many, 1000, All),
            ("BYTES=0-0", 10, One(0..1)),
            ("items=0-1", 10, All),
            ("bytes", 10, All),
            ("bytes=", 10, All),
            ("bytes=,", 10, All),
            ("bytes=-", 10, All),
            ("bytes=5-4", 10, All),
            ("bytes=a-b", 10, All),
            ("bytes=1-2x", 10, All),
            ("bytes=+1-2", 10, All),
            ("bytes=1 - 2", 10, All),
            ("bytes=--1", 10, All),
            ("bytes=0-1;4-5", 10, All),
            ("bytes=0-1,x", 10, All),
            ("0-1", 10, All),
            ("", 10, All),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=1-99999999999999999999999", 10, One(1..10)),
            ("bytes=-99999999999999999999999", 10, One(0..10)),
            ("bytes=18446744073709551615-18446744073709551615", u64::MAX, Unsatisfiable),
        ];
        for (value, len, expected) in table {
            assert_eq!(byte_ranges(value.as_bytes(), *len), *expected, "{value} of {len}");
        }
        assert!(matches!(byte_ranges(most.as_bytes(), 1000), Several(ranges) if ranges.len() == RANGES_MAX));
    }

    proptest! {
        #[test]
        fn what_is_served_lies_inside_and_is_no_more_than_all(value in "bytes=[0-9,\\- ]{0,40}", len in 0u64..2000) {
            let ranges = match byte_ranges(value.as_bytes(), len) {
                ByteRanges::All | ByteRanges::Unsatisfiable => Vec::new(),
                ByteRanges::One(range) => vec![range],
                ByteRanges::Several(ranges) => {
                    prop_assert!((2..=RANGES_MAX).contains(&ranges.len()));
                    ranges
                }
            };
            prop_assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len));
            prop_assert!(ranges.iter().map(|range| range.end - range.start).sum::<u64>() <= len);
        }

        #[test]
        fn any_bytes_are_read(value in proptest::collection::vec(any::<u8>(), 0..64), len in any::<u64>()) {
            byte_ranges(&value, len);
        }
    }
}

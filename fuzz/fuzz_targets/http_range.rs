//! Ranges are those of RFC 9110 §14 and lie inside of what there is, however they are asked for; conditions and codings are judged
//! without a panic, and by nothing that the client has not said.
#![no_main]

use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use vansire::http::head::{HeaderSpace, Scan, parse};
use vansire::http::{ByteRanges, HeadLimits, RANGES_MAX, Validators, Verdict, byte_ranges, content_coding};

const NAMES: [&str; 6] =
    ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Accept-Encoding"];

// A Range header and a length, and which of the other headers there are, with what value.
fuzz_target!(|input: (&[u8], u64, u8, &str)| {
    let (range, len, which, value) = input;
    let ours = byte_ranges(range, len);
    let ranges: &[Range<u64>] = match &ours {
        ByteRanges::One(range) => std::slice::from_ref(range),
        ByteRanges::Several(ranges) => ranges,
        _ => &[],
    };
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len));
    assert!(ranges.iter().map(|range| range.end - range.start).sum::<u64>() <= len);
    assert_eq!(ours, by_sets(range, len));

    if value.contains(['\r', '\n']) {
        return;
    }
    let is_there = |name: &str| NAMES.iter().position(|n| *n == name).is_some_and(|at| which >> at & 1 == 1);
    let headers: String = NAMES.iter().filter(|n| is_there(n)).map(|name| format!("{name}: {value}\r\n")).collect();
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let mut space = HeaderSpace::new();
    let Ok(Some((head, _))) = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space) else {
        return;
    };
    let modified = UNIX_EPOCH + Duration::from_secs(len >> 32);
    let has = Validators { etag: Some("\"a\""), modified: Some(modified) };
    let names_it = trim(value) == "*" || value.contains("\"a\"");
    match head.conditions(&has) {
        Verdict::Failed => assert!(is_there("If-Match") || is_there("If-Unmodified-Since")),
        Verdict::NotModified if is_there("If-None-Match") => assert!(names_it),
        Verdict::NotModified => assert!(is_there("If-Modified-Since")),
        Verdict::Proceed => assert!(!is_there("If-Match") || names_it),
    }
    let now = modified + Duration::from_secs(which.into());
    if head.range_applies(&has, now) && is_there("If-Range") {
        assert!(trim(value) == "\"a\"" || !value.contains('"'));
    }
    if let Some(coding) = content_coding(&head, &["br", "gzip"]) {
        let value = value.to_ascii_lowercase();
        assert!(is_there("Accept-Encoding") && (value.contains(coding) || value.contains('*')));
    }
});

/// The same ranges, member by member, in numbers that no header can make overflow.
fn by_sets(value: &[u8], len: u64) -> ByteRanges {
    let read = || {
        let (unit, set) = str::from_utf8(value).ok()?.split_once('=')?;
        let members: Vec<_> = set.split(',').map(trim).filter(|member| !member.is_empty()).collect();
        let is_legal = trim(unit).eq_ignore_ascii_case("bytes") && (1..=RANGES_MAX).contains(&members.len());
        is_legal.then(|| members.iter().map(|member| member_range(member, len.into())).collect::<Option<Vec<_>>>())?
    };
    let Some(ranges) = read() else { return ByteRanges::All };
    let ranges: Vec<_> = ranges.into_iter().flatten().collect();
    if ranges.iter().any(Range::is_empty)
        || ranges.iter().map(|range| range.end - range.start).sum::<u128>() > len.into()
    {
        return ByteRanges::All;
    }
    let mut ranges: Vec<_> = ranges.into_iter().map(|range| range.start as u64..range.end as u64).collect();
    match ranges.len() {
        0 => ByteRanges::Unsatisfiable,
        1 => ByteRanges::One(ranges.remove(0)),
        _ => ByteRanges::Several(ranges),
    }
}

/// None: malformed. Some(None): nothing that there is. An empty range: a suffix of nothing.
#[allow(clippy::option_option)]
fn member_range(member: &str, len: u128) -> Option<Option<Range<u128>>> {
    let (first, last) = member.split_once('-')?;
    Some(match (number(first), number(last)) {
        (None, Some(0)) if first.is_empty() => None,
        (None, Some(suffix)) if first.is_empty() => Some(len - suffix.min(len)..len),
        (Some(first), None) if last.is_empty() => (first < len).then_some(first..len),
        (Some(first), Some(last)) if first <= last => (first < len).then(|| first..(last + 1).min(len)),
        _ => return None,
    })
}

fn number(digits: &str) -> Option<u128> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    // What is larger than any length is all the same.
    let digits = digits.trim_start_matches('0');
    let is_huge = digits.len() > 20;
    Some(if is_huge { u64::MAX.into() } else { format!("0{digits}").parse::<u128>().ok()?.min(u64::MAX.into()) })
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

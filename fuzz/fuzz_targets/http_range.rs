//! Ranges lie inside of what there is, however they are asked for; conditions and codings are judged without a panic.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use vansire::proto::http::head::{HeaderSpace, Scan, parse};
use vansire::proto::http::{ByteRanges, HeadLimits, RANGES_MAX, Validators, byte_ranges, content_coding};

fuzz_target!(|input: (Vec<u8>, u64, String)| {
    let (range, len, value) = input;
    let ranges = match byte_ranges(&range, len) {
        ByteRanges::One(range) => vec![range],
        ByteRanges::Several(ranges) => {
            assert!((2..=RANGES_MAX).contains(&ranges.len()));
            ranges
        }
        _ => Vec::new(),
    };
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= len));
    assert!(ranges.iter().map(|range| range.end - range.start).sum::<u64>() <= len);

    let names = ["If-Match", "If-None-Match", "If-Modified-Since", "If-Range", "Accept-Encoding"];
    let headers: String = names.iter().map(|name| format!("{name}: {value}\r\n")).collect();
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let mut space = HeaderSpace::new();
    let Ok(Some((head, _))) = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space) else {
        return;
    };
    let has = Validators { etag: Some("\"a\""), modified: Some(UNIX_EPOCH + Duration::from_secs(len >> 32)) };
    let _ = (head.conditions(&has), head.range_applies(&has, UNIX_EPOCH), content_coding(&head, &["br", "gzip"]));
});

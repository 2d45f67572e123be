//! A whole connection: any cut of its input leads to the same events and the same output, and it always ends.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/http_support/split.rs"]
mod split;

// The first byte says how the client ends, and counts the cuts that follow it; the rest is the stream.
fuzz_target!(|input: &[u8]| {
    let [first, rest @ ..] = input else { return };
    let end = if first & 16 == 0 { split::End::Shut } else { split::End::Silence };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(first % 16)));
    let whole = split::run([bytes].into_iter(), end);
    let mut left = bytes;
    let mut pieces = Vec::new();
    for &cut in cuts {
        let (piece, rest) = left.split_at(left.len().min(usize::from(cut)));
        pieces.push(piece);
        left = rest;
    }
    pieces.push(left);
    assert_eq!(split::run(pieces.into_iter(), end), whole);
});

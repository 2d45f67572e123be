//! Any cut of a chunked body gives the same data and the same verdict.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vansire::proto::http::BodyLen;
use vansire::proto::http::body::{BodyDecoder, BodyError};

const BODY_MAX: u64 = 300;

// The first byte counts the cuts that follow it; the rest is the input.
fuzz_target!(|input: &[u8]| {
    let [count, rest @ ..] = input else { return };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(count % 16)));
    let whole = decode(bytes, &[]);
    assert_eq!(decode(bytes, cuts), whole);
    assert_eq!(decode(bytes, &vec![1; bytes.len()]), whole);
});

fn decode(bytes: &[u8], cuts: &[u8]) -> Result<(Vec<u8>, Option<usize>), BodyError> {
    let mut decoder = BodyDecoder::new(BodyLen::Chunked, BODY_MAX)?;
    let mut body = Vec::new();
    let mut at = 0;
    for cut in cuts.iter().map(|&cut| usize::from(cut)).chain([bytes.len()]) {
        let end = bytes.len().min(at + cut);
        let mut input = &bytes[at..end];
        let is_done = decoder.collect(&mut input, &mut body)?;
        assert!(body.len() as u64 <= BODY_MAX);
        at = end - input.len();
        if is_done {
            return Ok((body, Some(at)));
        }
        assert!(input.is_empty());
    }
    Ok((body, None))
}

//! Any cut of a chunked body gives the same data and the same verdict, and a body is whole where one who reads it line by line says so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vansire::http::BodyLen;
use vansire::http::body::{BodyDecoder, BodyError};

const BODY_MAX: u64 = 300;
/// The decoder's own bounds: of one size line, of all extensions, of all trailers.
const SIZE_LINE_MAX: usize = 1024;
const EXTENSIONS_MAX: usize = 16 * 1024;
const TRAILERS_MAX: usize = 8 * 1024;

// The first byte counts the cuts that follow it; the rest is the input.
fuzz_target!(|input: &[u8]| {
    let [count, rest @ ..] = input else { return };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(count % 16)));
    let whole = decode(bytes, &[]);
    assert_eq!(decode(bytes, cuts), whole);
    assert_eq!(decode(bytes, &vec![1; bytes.len()]), whole);
    let complete = whole.ok().and_then(|(body, end)| Some((body, end?)));
    assert_eq!(complete, by_lines(bytes));
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

/// The body and where it ends, by the grammar of RFC 9112 §7.1. None: there is no whole body, or more than may be.
fn by_lines(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let (mut rest, mut extensions_len, mut trailers_len) = (bytes, 0, 0);
    loop {
        let line = line(&mut rest)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let size = usize::from_str_radix(str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
        let extensions = line[digits..].trim_ascii_start();
        let is_fine = digits == line.len() || extensions.starts_with(b";") && line[digits..].iter().all(is_text);
        extensions_len += line.len() - digits;
        let is_long = line.len() > SIZE_LINE_MAX || extensions_len > EXTENSIONS_MAX;
        if !is_fine || is_long || body.len().checked_add(size)? > BODY_MAX as usize {
            return None;
        }
        if size == 0 {
            break;
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    loop {
        let line = line(&mut rest)?;
        if line.is_empty() {
            return Some((body, bytes.len() - rest.len()));
        }
        let (name, value) = line.split_at(line.iter().position(|&byte| byte == b':')?);
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        trailers_len += line.len() + 1;
        if trailers_len > TRAILERS_MAX || name.is_empty() || !name.iter().all(is_token) || !value.iter().all(is_text) {
            return None;
        }
    }
}

fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = rest.windows(2).position(|two| two == b"\r\n")?;
    let line = &rest[..len];
    *rest = &rest[len + 2..];
    Some(line)
}

fn is_text(byte: &u8) -> bool {
    *byte == b'\t' || *byte >= b' ' && *byte != 0x7f
}

//! Any cut of a head gives the same verdict, and what is accepted obeys RFC 9112 byte by byte and is the same to httparse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vansire::http::head::{HeaderSpace, Scan, parse};
use vansire::http::{HeadLimits, ParseError};

const LIMITS: HeadLimits = HeadLimits { head_max: 512, headers_max: 8, target_max: 128 };

type Verdict = Result<Option<(String, usize)>, ParseError>;

// The first byte counts the cuts that follow it; the rest is the input.
fuzz_target!(|input: &[u8]| {
    let [count, rest @ ..] = input else { return };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(count % 16)));
    let whole = verdict(bytes, &mut Scan::default());
    let mut pieces = in_pieces(bytes, cuts);
    if pieces == Ok(None) && whole.is_err() {
        // Pieces may find an error later, when more has come, but never another one.
        let mut ended = [bytes, b"\r\n\r\n"].concat();
        ended.resize(ended.len().max(LIMITS.head_max), b'.');
        pieces = in_pieces(&ended, cuts);
    }
    assert_eq!(pieces, whole);
});

fn in_pieces(bytes: &[u8], cuts: &[u8]) -> Verdict {
    let mut scan = Scan::default();
    let mut len = 0;
    for cut in cuts.iter().map(|&cut| usize::from(cut)).chain([bytes.len()]) {
        len = bytes.len().min(len + cut);
        match verdict(&bytes[..len], &mut scan) {
            Ok(None) => {}
            done => return done,
        }
    }
    Ok(None)
}

fn verdict(bytes: &[u8], scan: &mut Scan) -> Verdict {
    let mut space = HeaderSpace::new();
    let Some((head, used)) = parse(bytes, scan, &LIMITS, &mut space)? else { return Ok(None) };
    let raw = head.raw();
    assert!(used <= LIMITS.head_max && bytes[..used].ends_with(raw) && used - raw.len() <= 8);
    assert!(head.target().len() <= LIMITS.target_max && head.target().bytes().all(|b| b.is_ascii_graphic()));
    let text = raw.strip_suffix(b"\r\n\r\n").expect("a blank line");
    let mut lines = text.split(|&b| b == b'\n').enumerate();
    let count = text.iter().filter(|&&b| b == b'\n').count();
    assert_eq!(count, head.headers().count());
    assert!(lines.all(|(at, line)| {
        let line = if at < count { line.strip_suffix(b"\r").expect("CRLF") } else { line };
        let is_folded = at > 0 && matches!(line.first(), Some(b' ' | b'\t'));
        !is_folded && line.iter().all(|&b| b == b'\t' || b >= b' ' && b != 0x7f)
    }));
    let mut fields = [httparse::EMPTY_HEADER; 8];
    let mut theirs = httparse::Request::new(&mut fields);
    assert_eq!(theirs.parse(raw), Ok(httparse::Status::Complete(raw.len())));
    assert_eq!((theirs.method, theirs.path), (Some(head.method()), Some(head.target())));
    assert!(head.headers().eq(theirs.headers.iter().map(|field| (field.name, field.value))));
    Ok(Some((format!("{head:?}"), used)))
}

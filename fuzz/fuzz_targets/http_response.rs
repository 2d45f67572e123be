//! Any cut of a response gives the same head, body and verdict, and what is accepted obeys RFC 9112 and has the same head to httparse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vansire::http::body::{BodyDecoder, BodyError};
use vansire::http::head::{Asked, HeaderSpace, Scan, parse_response};
use vansire::http::{BodyLen, HeadLimits, ParseError};

const LIMITS: HeadLimits = HeadLimits { head_max: 512, headers_max: 8, target_max: 0 };

const BODY_MAX: u64 = 300;

#[derive(Debug, PartialEq)]
enum Verdict {
    Unfinished,
    BadHead(ParseError),
    BadBody(String, BodyError),
    /// The head, the body so far, and how many bytes both took where the body is whole.
    Response(String, Vec<u8>, Option<usize>),
}

// The first byte counts the cuts that follow the second, which says what was asked; the rest is the input.
fuzz_target!(|input: &[u8]| {
    let [count, asked, rest @ ..] = input else { return };
    let asked = [Asked::Other, Asked::Head, Asked::Connect][usize::from(asked % 3)];
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(count % 16)));
    let whole = read(bytes, &[], asked);
    let mut pieces = read(bytes, cuts, asked);
    if pieces == Verdict::Unfinished && matches!(whole, Verdict::BadHead(_)) {
        // Pieces may find an error later, when more has come, but never another one.
        let mut ended = [bytes, b"\r\n\r\n"].concat();
        ended.resize(ended.len().max(LIMITS.head_max), b'.');
        pieces = read(&ended, cuts, asked);
    }
    assert_eq!(pieces, whole);
});

fn read(bytes: &[u8], cuts: &[u8], asked: Asked) -> Verdict {
    let mut scan = Scan::default();
    let mut space = HeaderSpace::new();
    let mut len = 0;
    let mut begun: Option<(String, BodyDecoder, usize)> = None;
    let mut body = Vec::new();
    for cut in cuts.iter().map(|&cut| usize::from(cut)).chain([bytes.len()]) {
        len = bytes.len().min(len + cut);
        if begun.is_none() {
            begun = match parse_response(&bytes[..len], &mut scan, &LIMITS, &mut space, asked) {
                Ok(None) => continue,
                Err(e) => return Verdict::BadHead(e),
                Ok(Some((head, used))) => {
                    assert!(
                        used <= LIMITS.head_max && head.raw() == &bytes[..used] && head.raw().ends_with(b"\r\n\r\n")
                    );
                    assert!((100..=999).contains(&head.status()));
                    assert!(!(head.keep_alive() && head.body_len() == BodyLen::UntilClose));
                    let mut fields = [httparse::EMPTY_HEADER; 8];
                    let mut theirs = httparse::Response::new(&mut fields);
                    assert_eq!(theirs.parse(head.raw()), Ok(httparse::Status::Complete(used)));
                    assert_eq!(theirs.code, Some(head.status()));
                    assert!(head.headers().eq(theirs.headers.iter().map(|field| (field.name, field.value))));
                    let shown = format!("{head:?}");
                    match BodyDecoder::new(head.body_len(), BODY_MAX) {
                        Ok(decoder) => Some((shown, decoder, used)),
                        Err(e) => return Verdict::BadBody(shown, e),
                    }
                }
            };
        }
        if let Some((head, decoder, at)) = &mut begun {
            let mut input = &bytes[*at..len];
            let is_done = match decoder.collect(&mut input, &mut body) {
                Ok(is_done) => is_done,
                Err(e) => return Verdict::BadBody(std::mem::take(head), e),
            };
            assert!(body.len() as u64 <= BODY_MAX);
            *at = len - input.len();
            if is_done {
                return Verdict::Response(std::mem::take(head), body, Some(*at));
            }
        }
    }
    match begun {
        Some((head, ..)) => Verdict::Response(head, body, None),
        None => Verdict::Unfinished,
    }
}

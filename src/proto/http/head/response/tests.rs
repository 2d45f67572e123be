use proptest::prelude::*;

use super::*;

const LIMITS: HeadLimits = HeadLimits { head_max: 512, headers_max: 8, target_max: 0 };

/// The verdict in a form that outlives the buffer.
fn verdict(buf: &[u8], scan: &mut Scan, asked: Asked) -> Result<Option<(String, usize)>, ParseError> {
    let mut space = HeaderSpace::new();
    let parsed = parse_response(buf, scan, &LIMITS, &mut space, asked)?;
    Ok(parsed.map(|(head, used)| (format!("{head:?}"), used)))
}

fn with_head<R>(bytes: &[u8], asked: Asked, ask: impl FnOnce(&ResponseHead<'_>) -> R) -> Result<R, ParseError> {
    let mut space = HeaderSpace::new();
    let parsed = parse_response(bytes, &mut Scan::default(), &LIMITS, &mut space, asked)?;
    Ok(ask(&parsed.expect("a whole head").0))
}

#[test]
fn a_head_is_a_view_of_its_bytes() {
    let bytes = b"HTTP/1.1 200 Fine\tby \xffme\r\nX-A: 1 \r\nx-a:\xff\r\nContent-Length: 2\r\n\r\nhi";
    let mut space = HeaderSpace::new();
    let parsed = parse_response(bytes, &mut Scan::default(), &LIMITS, &mut space, Asked::Other);
    let (head, used) = parsed.unwrap().unwrap();
    assert_eq!((&bytes[used..], head.raw()), (&b"hi"[..], &bytes[..used]));
    assert_eq!((head.status(), head.is_success(), head.reason()), (200, true, ""));
    assert_eq!((head.version(), head.body_len(), head.keep_alive()), (Version::Http11, BodyLen::Length(2), true));
    assert_eq!((head.header("X-a"), head.header_bytes("x-A"), head.header("b")), (Some("1"), Some(&b"1"[..]), None));
    assert_eq!(head.header_all("X-A").collect::<Vec<_>>(), [&b"1"[..], b"\xff"]);
    assert_eq!(head.headers().count(), 3);
}

#[test]
fn rfc_9112_4_a_status_line_is_a_version_three_digits_and_a_phrase() {
    let table: [(&str, u16, &str); 5] = [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.1 404 ", 404, ""),
        // 1.8 of the reference: no phrase, and not even its space.
        ("HTTP/1.1 204", 204, ""),
        ("HTTP/1.0 999 Request  denied", 999, "Request  denied"),
        ("HTTP/1.1 500 : x\t", 500, ": x\t"),
    ];
    for (line, status, reason) in table {
        let bytes = format!("{line}\r\n\r\n");
        let found = with_head(bytes.as_bytes(), Asked::Other, |head| (head.status(), head.reason().to_owned()));
        assert_eq!(found, Ok((status, reason.to_owned())), "{line}");
    }
}

#[test]
fn hostile_heads_are_refused_by_name() {
    use ParseError::*;
    let long = format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(512)).into_bytes();
    let nine = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(9)).into_bytes();
    let table: &[(&str, &[u8], ParseError)] = &[
        ("E11 a request", b"GET / HTTP/1.1\r\n\r\n", BadVersion),
        ("empty line first", b"\r\nHTTP/1.1 200 OK\r\n\r\n", BadVersion),
        ("HTTP/0.9", b"<html>", BadVersion),
        ("lower case", b"http/1.1 200 OK\r\n\r\n", BadVersion),
        ("HTTP/1", b"HTTP/1 200 OK\r\n\r\n", BadVersion),
        ("HTTP/1.10", b"HTTP/1.10 200 OK\r\n\r\n", BadVersion),
        ("HTTP/2.0", b"HTTP/2.0 200 OK\r\n\r\n", UnsupportedVersion),
        ("HTTP/1.2", b"HTTP/1.2 200 OK\r\n\r\n", UnsupportedVersion),
        ("ICY", b"ICY 200 OK\r\n\r\n", BadVersion),
        ("two spaces", b"HTTP/1.1  200 OK\r\n\r\n", BadStatus),
        ("two digits", b"HTTP/1.1 20 OK\r\n\r\n", BadStatus),
        ("four digits", b"HTTP/1.1 2000 OK\r\n\r\n", BadStatus),
        ("below 100", b"HTTP/1.1 099 OK\r\n\r\n", BadStatus),
        ("a sign", b"HTTP/1.1 +20 OK\r\n\r\n", BadStatus),
        ("no status", b"HTTP/1.1 OK\r\n\r\n", BadStatus),
        ("NUL in the phrase", b"HTTP/1.1 200 O\0K\r\n\r\n", BadStatus),
        ("bare LF in the status line", b"HTTP/1.1 200 OK\nA: b\n\n", BareLf),
        ("bare LF behind the status", b"HTTP/1.1 200\n\n", BareLf),
        ("bare CR in the phrase", b"HTTP/1.1 200 O\rK\r\n\r\n", BareCr),
        ("bare CR behind the status", b"HTTP/1.1 200\rX", BareCr),
        ("bare LF in a field", b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", BareLf),
        ("bare CR in a field", b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", BareCr),
        ("bare LF at the end", b"HTTP/1.1 200 OK\r\nA: b\r\n\n", BareLf),
        ("obs-fold", b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", ObsFold),
        ("folded first line", b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", ObsFold),
        ("space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", SpaceBeforeColon),
        ("no colon", b"HTTP/1.1 200 OK\r\nabc\r\n\r\n", BadHeaderName),
        ("no name", b"HTTP/1.1 200 OK\r\n: b\r\n\r\n", BadHeaderName),
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", BadHeaderValue),
        ("too long", &long, HeadTooLarge),
        ("too many", &nine, TooManyHeaders),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(verdict(bytes, &mut Scan::default(), Asked::Other), Err(*expected), "{name}");
    }
}

#[test]
fn rfc_9112_6_3_a_response_says_once_and_clearly_where_it_ends() {
    use Asked::*;
    use BodyLen::{Chunked, Length, UntilClose};
    use ParseError::*;
    let none = BodyLen::None;
    let table = [
        ("E30 neither", 200, "", Other, Ok(UntilClose)),
        ("length", 200, "Content-Length: 5\r\n", Other, Ok(Length(5))),
        ("chunked", 200, "Transfer-Encoding: Chunked\r\n", Other, Ok(Chunked)),
        ("E30 HEAD", 200, "Content-Length: 5\r\n", Head, Ok(none)),
        ("E30 HEAD, chunked", 200, "Transfer-Encoding: chunked\r\n", Head, Ok(none)),
        ("E30 HEAD, neither", 200, "", Head, Ok(none)),
        ("E30 204", 204, "", Other, Ok(none)),
        ("204 and a zero", 204, "Content-Length: 0\r\n", Other, Ok(none)),
        ("204 with a body", 204, "Content-Length: 5\r\n", Other, Err(BodyForbidden)),
        ("204 with chunks", 204, "Transfer-Encoding: chunked\r\n", Other, Err(BodyForbidden)),
        ("E30 304", 304, "", Other, Ok(none)),
        ("304 tells the length of 200", 304, "Content-Length: 5\r\n", Other, Ok(none)),
        ("304, chunked", 304, "Transfer-Encoding: chunked\r\n", Other, Ok(none)),
        ("E30 100", 100, "", Other, Ok(none)),
        ("100 with a body", 100, "Content-Length: 5\r\n", Other, Err(BodyForbidden)),
        ("205 has what it says", 205, "Content-Length: 0\r\n", Other, Ok(Length(0))),
        ("2xx to CONNECT", 200, "Content-Length: 5\r\n", Connect, Ok(none)),
        ("407 to CONNECT", 407, "Content-Length: 5\r\n", Connect, Ok(Length(5))),
        ("both", 200, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Other, Err(LengthWithTransferEncoding)),
        (
            "both, to HEAD",
            200,
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            Head,
            Err(LengthWithTransferEncoding),
        ),
        ("two lengths", 200, "Content-Length: 5\r\nContent-Length: 6\r\n", Other, Err(LengthRepeated)),
        ("two lengths, same", 200, "Content-Length: 5\r\ncontent-length: 5\r\n", Other, Err(LengthRepeated)),
        ("a list", 200, "Content-Length: 5, 5\r\n", Other, Err(BadLength)),
        ("a sign", 200, "Content-Length: +5\r\n", Other, Err(BadLength)),
        ("overflow", 200, "Content-Length: 18446744073709551616\r\n", Other, Err(BadLength)),
        ("chunked not last", 200, "Transfer-Encoding: chunked, gzip\r\n", Other, Err(ChunkedNotFinal)),
        ("no chunked", 200, "Transfer-Encoding: gzip\r\n", Other, Err(ChunkedNotFinal)),
        ("gzip, chunked", 200, "Transfer-Encoding: gzip, chunked\r\n", Other, Err(UnknownTransferEncoding)),
        (
            "chunked twice",
            200,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Other,
            Err(ChunkedNotFinal),
        ),
        ("almost chunked", 200, "Transfer-Encoding: xchunked\r\n", Other, Err(ChunkedNotFinal)),
    ];
    for (name, status, fields, asked, expected) in table {
        let bytes = format!("HTTP/1.1 {status} X\r\n{fields}\r\n");
        assert_eq!(with_head(bytes.as_bytes(), asked, |head| head.body_len()), expected, "{name}");
    }
    let old = with_head(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Other, |_| ());
    assert_eq!(old, Err(TransferEncodingInHttp10));
}

#[test]
fn rfc_9112_9_3_a_connection_goes_on_where_both_can_tell_the_end() {
    let table = [
        ("1.1", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        ("1.1, close", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", false),
        ("1.1, until close", "HTTP/1.1 200 OK\r\n\r\n", false),
        ("1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ("1.0, keep-alive", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", true),
        ("both options", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, close\r\n\r\n", false),
        ("204", "HTTP/1.1 204\r\n\r\n", true),
    ];
    for (name, bytes, expected) in table {
        assert_eq!(with_head(bytes.as_bytes(), Asked::Other, |head| head.keep_alive()), Ok(expected), "{name}");
    }
}

proptest! {
    /// Any cut of the bytes gives the same verdict, and httparse accepts what we accept.
    #[test]
    fn any_split_gives_the_same_verdict(bytes in likely(), cuts in prop::collection::vec(0usize..40, 0..12)) {
        let whole = verdict(&bytes, &mut Scan::default(), Asked::Other);
        let mut scan = Scan::default();
        let mut len = 0;
        let mut pieces = Ok(None);
        for cut in cuts.into_iter().chain([bytes.len()]) {
            len = bytes.len().min(len + cut);
            pieces = verdict(&bytes[..len], &mut scan, Asked::Other);
            if pieces != Ok(None) {
                break;
            }
        }
        if pieces == Ok(None) && whole.is_err() {
            // Pieces may find an error later, when more has come, but never another one.
            let mut ended = [&bytes[..], b"\r\n\r\n"].concat();
            ended.resize(ended.len().max(LIMITS.head_max), b'.');
            pieces = verdict(&ended, &mut scan, Asked::Other);
        }
        prop_assert_eq!(&pieces, &whole);
        if let Ok(Some((_, used))) = whole {
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut theirs = httparse::Response::new(&mut headers);
            prop_assert_eq!(theirs.parse(&bytes), Ok(httparse::Status::Complete(used)));
        }
    }
}

/// Heads made of parts that are mostly right.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => prop::sample::select(vec![
            &b"HTTP/1.1 200 OK\r\n"[..], b"HTTP/1.0 404\r\n", b"A: b\r\n", b"Content-Length: 5\r\n", b"\r\n",
            b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"HTTP/1.1 ", b"X:\t\xff \r\n",
        ]).prop_map(<[u8]>::to_vec),
        1 => prop::sample::select(vec![&b"\n"[..], b"\r", b" ", b":", b"\0", b"HTTP/1.", b"2"]).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    let rest = prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat());
    (any::<bool>(), rest).prop_map(|(is_right, rest)| {
        let first: &[u8] = if is_right { b"HTTP/1.1 200 OK\r\n" } else { b"" };
        [first, &rest].concat()
    })
}

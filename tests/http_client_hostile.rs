//! What a server may do wrong, and what a client makes of it: a response is whole, or an error that says why.

mod http_support;

use std::time::Duration;

use http_support::script::{Script, record};
use http_support::{Cx, describe};
use proptest::prelude::*;
use vansire::http::{Body, Request};
use vansire::{Event, Limits};

const LIMITS: Limits = Limits::new().head_max(1024).headers_max(8).body_max(100).interims_max(3);

/// How the server ends what it says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Stay,
    Close,
}
use End::{Close, Stay};

/// The log of a client that asked for this and got that.
fn exchange(method: &str, bytes: &[u8], cut: usize, end: End) -> Vec<String> {
    let mut script = Script::within(LIMITS);
    let (_, mut peer) = script.ask(Request::of(method, "/x"));
    script.expect(&mut peer, "\r\n\r\n");
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    script.say(&mut peer, first);
    script.loop_.settle();
    // A client that has seen enough closes, which may reset what follows.
    if script.loop_.count("Closed") == 0 && !second.is_empty() {
        script.say(&mut peer, second);
    }
    if end == Close {
        drop(peer);
        return script.until_closed();
    }
    script.loop_.settle();
    script.loop_.until("the client has an opinion", |s| !s.log().is_empty());
    script.loop_.settle();
    script.told()
}

#[test]
fn e30_every_framing_of_rfc_9112_6_3_has_its_end() {
    let big = format!("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "x".repeat(100));
    let hundred = format!("HttpResponse 200 {}", "x".repeat(100));
    // (name, method, bytes, end, what is told)
    let table: &[(&str, &str, &str, End, &[&str])] = &[
        ("length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Stay, &["HttpResponse 200 hello"]),
        ("as much as may be", "GET", &big, Stay, &[&hundred]),
        ("nothing", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Stay, &["HttpResponse 200 "]),
        (
            "chunks and trailers",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n",
            Stay,
            &["HttpResponse 200 hello"],
        ),
        (
            "until close",
            "GET",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            Close,
            &["HttpResponse 200 hello", "Closed: closed by the peer"],
        ),
        (
            "until close, HTTP/1.0",
            "GET",
            "HTTP/1.0 200 OK\r\n\r\nhello",
            Close,
            &["HttpResponse 200 hello", "Closed: closed by the peer"],
        ),
        (
            "until close, nothing",
            "GET",
            "HTTP/1.1 200 OK\r\n\r\n",
            Close,
            &["HttpResponse 200 ", "Closed: closed by the peer"],
        ),
        ("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", Stay, &["HttpResponse 204 "]),
        ("304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Stay, &["HttpResponse 304 "]),
        ("HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Stay, &["HttpResponse 200 "]),
        (
            "100, then 200",
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi",
            Stay,
            &["HttpResponse 200 hi"],
        ),
        (
            "as many interim responses as may be",
            "GET",
            "HTTP/1.1 102 \r\n\r\nHTTP/1.1 103 \r\nLink: x\r\n\r\nHTTP/1.1 100 \r\n\r\nHTTP/1.1 204 \r\n\r\n",
            Stay,
            &["HttpResponse 204 "],
        ),
        (
            "closing",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            Stay,
            &["HttpResponse 200 hi", "Closed: closed by the peer"],
        ),
    ];
    for (name, method, bytes, end, expected) in table {
        for cut in [0, 1, 12, 17, 30, bytes.len() - 1] {
            assert_eq!(exchange(method, bytes.as_bytes(), cut, *end), *expected, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn what_two_readers_could_understand_differently_is_an_error() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(9));
    // (name, method, bytes, end, what the reason says)
    let table: &[(&str, &str, &str, End, &str)] = &[
        ("no HTTP", "GET", "SSH-2.0-x\r\n", Stay, "bad HTTP version"),
        ("bare LF", "GET", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", Stay, "LF alone"),
        ("obs-fold", "GET", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Stay, "begins with whitespace"),
        ("space before a colon", "GET", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi", Stay, "before the colon"),
        (
            "length and coding",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            Stay,
            "both Content-Length",
        ),
        (
            "two lengths",
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
            Stay,
            "more than one Content-Length",
        ),
        ("unknown coding", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", Close, "not the final"),
        ("chunked in HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Stay, "HTTP/1.0"),
        ("204 with a body", "GET", "HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\nhi", Stay, "allows none"),
        ("head too long", "GET", &long, Stay, "head too large"),
        ("too many headers", "GET", &many, Stay, "too many header lines"),
        ("too long a body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", Stay, "body too large"),
        (
            "too long a chunk",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n",
            Stay,
            "body too large",
        ),
        ("bad chunk", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", Stay, "bad chunk size"),
        ("too long until close", "GET", &format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(101)), Stay, "body too large"),
        ("cut head", "GET", "HTTP/1.1 200 OK\r\nContent-Le", Close, "cut short"),
        ("cut body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", Close, "cut short"),
        ("no body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Close, "cut short"),
        (
            "cut chunks",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            Close,
            "cut short",
        ),
        (
            "cut before the last line end",
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            Close,
            "cut short",
        ),
        ("only an interim response", "GET", "HTTP/1.1 100 Continue\r\n\r\n", Close, "cut short"),
        ("nothing at all", "GET", "", Close, "ended before it began"),
        ("101", "GET", "HTTP/1.1 101 X\r\nUpgrade: y\r\n\r\n", Stay, "nobody asked for"),
        ("too many interim responses", "GET", &"HTTP/1.1 100 \r\n\r\n".repeat(4), Stay, "too many interim"),
    ];
    for (name, method, bytes, end, expected) in table {
        for cut in [0, 1, 20, bytes.len().saturating_sub(1)] {
            let told = exchange(method, bytes.as_bytes(), cut, *end);
            assert_eq!(told.len(), 1, "{name}: {told:?}");
            let is_right = told[0].starts_with("Closed: protocol error: response: ") && told[0].contains(expected);
            assert!(is_right, "{name}, cut at {cut}: {told:?}");
        }
    }
}

#[test]
fn bytes_that_nobody_asked_for_are_an_error_and_answer_nothing() {
    // Behind a response that is whole: told, but nothing else is asked there.
    for (name, bytes) in [
        ("a second response", "HTTP/1.1 204 \r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a longer body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nx"),
        ("a body to HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx"),
    ] {
        let mut script = Script::new();
        let (id, mut peer) = script.ask(Request::get("/1"));
        script.loop_.net().request(id, Request::get("/2")).unwrap();
        script.expect(&mut peer, "\r\n\r\n");
        script.say(&mut peer, bytes.as_bytes());
        let told = script.until_closed();
        assert!(told[0].starts_with("HttpResponse 20") && told.len() == 2, "{name}: {told:?}");
        assert!(told[1].ends_with("bytes behind it that nobody asked for"), "{name}: {told:?}");
        assert_eq!(script.loop_.manager.stats().http_bad_responses, 1);
    }
    // On a connection that rests.
    let mut script = Script::new();
    script.connect();
    let mut peer = script.accept();
    script.say(&mut peer, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(script.until_closed(), ["Closed: protocol error: response: bytes that nobody asked for"]);
    // RFC 9112 §9.2: before the request has left, on a new connection and on one that rested.
    for rested in [false, true] {
        let mut script = Script::new();
        let id = script.connect();
        let mut peer = script.accept();
        if rested {
            script.loop_.net().request(id, Request::get("/1")).unwrap();
            script.expect(&mut peer, "\r\n\r\n");
            script.say(&mut peer, b"HTTP/1.1 204 \r\n\r\n");
            script.loop_.until_logged("HttpResponse 204");
            script.told();
        } else {
            script.loop_.settle();
        }
        assert!(peer.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") > 0);
        script.loop_.net().request(id, Request::get("/2")).unwrap();
        assert_eq!(script.until_closed(), ["Closed: protocol error: response: it came before it was asked for"]);
    }
}

#[test]
fn a_body_cut_short_is_never_told_as_whole_when_it_is_streamed() {
    let mut script = Script::new();
    let url = script.url();
    let handler = |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpResponseHead(_) = ev {
            cx.body(Body::Stream);
        }
        record(cx, ev);
    };
    let id = script.loop_.net().http_connect(url, handler).unwrap();
    script.loop_.net().request(id, Request::get("/")).unwrap();
    let mut peer = script.accept();
    script.expect(&mut peer, "\r\n\r\n");
    script.say(&mut peer, b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\nhello");
    script.loop_.until_logged("HttpBody");
    drop(peer);
    assert_eq!(script.until_closed(), ["HttpBody hello", "Closed: protocol error: response: it was cut short"]);
}

#[test]
fn a_server_that_takes_too_long_is_left() {
    let second = Duration::from_secs(1);
    // (name, what the server says, seconds, what is told)
    let table = [
        ("no response", "", 60, "Closed: timed out: waiting for a response"),
        ("half a head", "HTTP/1.1 200 OK\r\nA", 60, "Closed: timed out: waiting for a response"),
        (
            "half a body",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nx",
            10,
            "Closed: timed out: below the floor of bytes per second",
        ),
        ("until close", "HTTP/1.1 200 OK\r\n\r\nx", 10, "Closed: timed out: below the floor of bytes per second"),
    ];
    for (name, bytes, seconds, expected) in table {
        let mut script = Script::new();
        let (_, mut peer) = script.ask(Request::get("/"));
        script.expect(&mut peer, "\r\n\r\n");
        script.say(&mut peer, bytes.as_bytes());
        script.loop_.until("it has come", |s| s.manager.stats().bytes_in == bytes.len() as u64);
        script.loop_.advance(second * (seconds - 1));
        assert_eq!(script.told(), [""; 0], "{name}");
        script.loop_.advance(second * 2);
        assert_eq!(script.told(), [expected], "{name}");
    }
    // Nothing asked.
    let mut script = Script::new();
    script.connect();
    let _peer = script.accept();
    script.loop_.until("connected", |s| s.manager.stats().connected == 1);
    script.loop_.advance(second * 76);
    assert_eq!(script.told(), ["Closed: timed out: idle"]);
}

#[test]
fn readiness_without_a_byte_does_not_prolong_the_idle_timeout() {
    let mut script = Script::new();
    script.connect();
    let peer = script.accept();
    script.loop_.until("connected", |s| s.manager.stats().connected == 1);
    for _ in 0..5 {
        script.loop_.advance(Duration::from_secs(14));
        peer.send_urgent();
    }
    script.loop_.advance(Duration::from_secs(4));
    assert_eq!(script.told(), [""; 0]);
    script.loop_.advance(Duration::from_secs(2));
    assert_eq!(script.told(), ["Closed: timed out: idle"]);
}

/// What is told does not depend on how the bytes come.
#[test]
fn any_split_of_a_response_tells_the_same() {
    let responses: [&[u8]; 4] = [
        b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 204 X\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX",
    ];
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(60));
    let cuts = prop::collection::vec(1usize..20, 0..8);
    runner
        .run(&((0..responses.len()), cuts, any::<bool>()), |(which, cuts, streamed)| {
            let bytes = responses[which];
            let whole = in_pieces(bytes, &[], streamed);
            prop_assert_eq!(in_pieces(bytes, &cuts, streamed), whole);
            Ok(())
        })
        .unwrap();
}

/// Status and body, or why there is none.
fn in_pieces(bytes: &[u8], cuts: &[usize], streamed: bool) -> String {
    let mut script = Script::new();
    let url = script.url();
    let mut body = String::new();
    let handler = move |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpResponseHead(_) if streamed => cx.body(Body::Stream),
        Event::HttpBody(piece) => body.push_str(str::from_utf8(piece).unwrap()),
        Event::HttpResponse(response) => {
            body.push_str(response.body_text().unwrap());
            cx.state.push(format!("{} {body}", response.status()));
        }
        Event::Closed(_) => cx.state.push(describe(&ev)),
        _ => {}
    };
    let id = script.loop_.net().http_connect(url, handler).unwrap();
    script.loop_.net().request(id, Request::get("/")).unwrap();
    let mut peer = script.accept();
    script.expect(&mut peer, "\r\n\r\n");
    let mut rest = bytes;
    for cut in cuts {
        let (piece, after) = rest.split_at(rest.len().min(*cut));
        script.say(&mut peer, piece);
        let sent = (bytes.len() - after.len()) as u64;
        script.loop_.until("the piece is read", |s| s.manager.stats().bytes_in >= sent || !s.log().is_empty());
        rest = after;
    }
    if script.loop_.log().is_empty() {
        script.say(&mut peer, rest);
    }
    script.loop_.until("the client has an opinion", |s| !s.log().is_empty());
    script.told().remove(0)
}

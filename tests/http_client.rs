//! A client on one connection: what it sends, in which order, and when; against scripts and against our own server.

mod http_support;

use std::net::SocketAddr;
use std::time::Duration;

use http_support::script::{Script, record};
use http_support::{Cx, describe, echo, serve, serve_within};
use vansire::http::{Body, Request, Response};
use vansire::{CloseReason, ConnectOptions, Event, Limits, Sent};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_go_out_one_by_one_and_their_responses_come_in_their_order() {
    let mut server = serve(echo);
    let url = format!("http://{}", server.addr);
    let id = server.net().http_connect(url.clone(), record).unwrap();
    // Before the connection stands; by path, and by whole URL.
    server.net().request(id, Request::get("/1?a=b")).unwrap();
    server.net().request(id, Request::post(format!("{url}/2")).body("two")).unwrap();
    server.net().request(id, Request::of("HEAD", "/3")).unwrap();
    server.net().request(id, Request::put("/4").shared(vec![b'4'; 3].into())).unwrap();
    server.net().request(id, Request::of("OPTIONS", "*")).unwrap();
    server.until("five responses", |s| s.count("HttpResponse") == 5);
    let told: Vec<_> = server.log().iter().filter(|line| line.starts_with("Http")).cloned().collect();
    let expected = [
        "HttpResponse 200 GET /1?a=b ",
        "HttpResponse 200 POST /2 two",
        "HttpResponse 200 ",
        "HttpResponse 200 PUT /4 444",
        "HttpResponse 200 OPTIONS * ",
    ];
    assert_eq!(told, expected);
    let stats = server.manager.stats();
    assert_eq!((stats.accepted, stats.http_responses, stats.http_bad_responses), (1, 5, 0), "one connection");
}

#[test]
fn the_next_request_waits_for_the_end_of_the_response() {
    let mut script = Script::new();
    let (id, mut peer) = script.ask(Request::get("/1"));
    script.loop_.net().request(id, Request::get("/2")).unwrap();
    let host = script.url().replace("http://", "");
    assert_eq!(script.expect(&mut peer, "\r\n\r\n"), format!("GET /1 HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    script.say(&mut peer, &OK[..OK.len() - 1]);
    script.loop_.settle();
    peer.receive();
    assert_eq!((peer.shown().as_str(), script.told()), ("", vec![]));
    script.say(&mut peer, b"k");
    assert!(script.expect(&mut peer, "\r\n\r\n").starts_with("GET /2 "));
    // A server that closes has the rest unanswered.
    script.loop_.net().request(id, Request::get("/3")).unwrap();
    script.say(&mut peer, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let told = script.until_closed();
    assert_eq!(told, ["HttpResponse 200 ok", "HttpResponse 200 ", "Closed: closed by the peer"]);
    let refused = script.loop_.net().request(id, Request::get("/4")).unwrap_err();
    assert!(refused.is_gone(), "{refused}");
}

#[test]
fn a_handler_asks_again_where_it_is_told_of_the_response() {
    let mut server = serve(echo);
    let url = format!("http://{}", server.addr);
    let handler = |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpResponse(response) = ev {
            cx.state.push(describe(&ev));
            match response.body_text() {
                Some("GET /20 ") => cx.close(),
                Some(text) => {
                    let n: u32 = text.trim_start_matches("GET /").trim().parse().unwrap();
                    cx.request(Request::get(format!("/{}", n + 1))).unwrap();
                }
                None => unreachable!(),
            }
        }
    };
    let id = server.net().http_connect(url, handler).unwrap();
    server.net().request(id, Request::get("/1")).unwrap();
    server.until("twenty responses", |s| s.count("HttpResponse 200") == 20);
}

#[test]
fn what_may_not_be_sent_is_refused_before_the_first_byte_and_hurts_nothing() {
    let mut script = Script::within(Limits::new().requests_queued_max(2));
    let (id, mut peer) = script.ask(Request::get("/1"));
    let raw = script.loop_.listener;
    let mut net = script.loop_.manager.net();
    let table = [
        ("header", id, Request::get("/").header("X", "a\r\nb")),
        ("method", id, Request::of("A B", "/")),
        ("target", id, Request::get("/a b")),
        ("another origin", id, Request::get("http://example.org/")),
        ("another scheme", id, Request::get("https://127.0.0.1/")),
        ("no URL", id, Request::get("x")),
        ("no client", raw, Request::get("/")),
    ];
    for (name, id, request) in table {
        let refused = net.request(id, request).unwrap_err();
        assert!(refused.is_bad_value() || refused.is_bad_url() || refused.is_gone(), "{name}: {refused}");
    }
    // The queue has an end, and a streamed request is alone.
    net.request(id, Request::get("/2")).unwrap();
    assert!(net.request(id, Request::post("/s").streamed(None)).unwrap_err().is_limit_reached());
    net.request(id, Request::get("/3")).unwrap();
    assert!(net.request(id, Request::get("/4")).unwrap_err().is_limit_reached());
    assert_eq!(
        (net.send(id, b"raw"), net.write(id, b"x"), net.finish(id, &[])),
        (Sent::Invalid, Sent::Invalid, Sent::Invalid)
    );
    assert_eq!(net.stats().http_queues_full, 2);
    for n in 1..=3 {
        assert!(script.expect(&mut peer, "\r\n\r\n").starts_with(&format!("GET /{n} ")));
        script.say(&mut peer, OK);
    }
    script.loop_.until("all are answered", |s| s.count("HttpResponse") == 3);
    // Also as the first thing on a connection, before any byte.
    let id = script.connect();
    assert!(script.loop_.net().request(id, Request::get("/").header("X", "\n")).is_err());
    let mut peer = script.accept();
    script.loop_.net().request(id, Request::get("/ok").close()).unwrap();
    assert!(script.loop_.net().request(id, Request::get("/more")).unwrap_err().is_gone(), "behind the last");
    let sent = script.expect(&mut peer, "\r\n\r\n");
    assert!(sent.starts_with("GET /ok ") && sent.contains("Connection: close\r\n"), "{sent}");
    script.told();
    script.say(&mut peer, OK);
    assert_eq!(script.until_closed(), ["HttpResponse 200 ok", "Closed: closed by this side"]);
}

#[test]
fn only_http_urls_make_a_client_and_none_falls_back_to_plain_text() {
    let mut script = Script::new();
    let mut net = script.loop_.manager.net();
    for (url, word) in [("https://127.0.0.1:1", "TLS"), ("tcp://127.0.0.1:1", "http://"), ("127.0.0.1", "scheme")] {
        let refused = net.http_connect(url, record).unwrap_err().to_string();
        assert!(refused.contains(word), "{url}: {refused}");
    }
    let refused =
        net.connect(ConnectOptions::new("tcp://127.0.0.1:1").proxy("http://127.0.0.1:1"), record).unwrap_err();
    assert!(refused.is_unsupported(), "{refused}");
    assert!(net.http_connect("http://127.0.0.1:0", record).unwrap_err().is_bad_url());
    // Nobody there: the port is taken by a socket that does not listen.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap().as_socket().unwrap());
    let id = script.loop_.net().http_connect(url, record).unwrap();
    script.loop_.net().request(id, Request::get("/")).unwrap();
    assert!(script.until_closed()[0].starts_with("Closed: cannot connect to http://127.0.0.1:"));
}

#[test]
fn credentials_of_the_url_become_basic_authorization() {
    let mut script = Script::new();
    let url = script.url().replace("http://", "http://Aladdin:open%20sesame@");
    let id = script.loop_.net().http_connect(url, record).unwrap();
    let mut peer = script.accept();
    let other = script.url().replace("http://", "http://other:@");
    // (request, what is sent)
    let table = [
        (Request::get("/"), "\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"),
        (Request::get("/").header("authorization", "Bearer x"), "\r\nauthorization: Bearer x\r\n"),
        (Request::get(other), "\r\nAuthorization: Basic b3RoZXI6\r\n"),
    ];
    for (request, expected) in table {
        script.loop_.net().request(id, request).unwrap();
        let sent = script.expect(&mut peer, "\r\n\r\n");
        assert!(sent.contains(expected) && sent.to_lowercase().matches("authorization").count() == 1, "{sent}");
        script.say(&mut peer, OK);
        script.loop_.until_logged("HttpResponse");
        script.told();
    }
}

#[test]
fn f12_a_streamed_request_is_chunked_or_as_long_as_it_said() {
    // (name, length, pieces, trailers, what is sent behind the head)
    type Row<'a> = (&'a str, Option<u64>, &'a [&'a str], &'a [(&'a str, &'a str)], &'a str);
    let table: [Row<'_>; 5] = [
        ("chunked", None, &["hello", "", " world"], &[], "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        ("trailers", None, &["x"], &[("X-Sum", "1")], "1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"),
        ("empty", None, &[], &[], "0\r\n\r\n"),
        ("known", Some(5), &["he", "llo"], &[], "hello"),
        ("known to be empty", Some(0), &[], &[], ""),
    ];
    for (name, len, pieces, trailers, expected) in table {
        let mut script = Script::new();
        let (id, mut peer) = script.ask(Request::post("/up").streamed(len));
        let head = script.expect(&mut peer, "\r\n\r\n");
        assert_eq!(head.contains("Transfer-Encoding: chunked"), len.is_none(), "{name}: {head}");
        let mut net = script.loop_.manager.net();
        assert!(net.request(id, Request::get("/next")).is_ok(), "others wait behind it");
        for piece in pieces {
            assert_eq!(net.write(id, piece.as_bytes()), Sent::Queued, "{name}");
        }
        if len.is_some() {
            assert_eq!(net.write(id, b"more than promised"), Sent::Invalid, "{name}");
            assert_eq!(net.finish(id, &[("X", "y")]), Sent::Invalid, "{name}: trailers need chunks");
        }
        assert_eq!(net.finish(id, &[("X", "\n")]), Sent::Invalid, "{name}");
        assert_eq!(net.finish(id, trailers), Sent::Queued, "{name}");
        assert_eq!((net.write(id, b"late"), net.finish(id, &[])), (Sent::Invalid, Sent::Invalid), "{name}");
        assert_eq!(script.expect(&mut peer, expected), expected, "{name}");
        script.say(&mut peer, OK);
        assert!(script.expect(&mut peer, "\r\n\r\n").starts_with("GET /next "), "{name}");
    }
    let mut script = Script::new();
    let (id, _peer) = script.ask(Request::post("/up").streamed(5));
    assert_eq!(script.loop_.net().finish(id, &[]), Sent::Invalid, "less than promised");
}

#[test]
fn f14_f16_an_upload_to_a_slow_server_is_held_up_and_bounded() {
    const TOTAL: usize = 20 << 20;
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpHead(_) => cx.body(Body::Stream),
        Event::HttpBody(piece) => cx.state.push(format!("got {}", piece.len())),
        Event::HttpRequest(_) => {
            let sum: usize = cx.state.iter().filter_map(|line| line.strip_prefix("got ")?.parse::<usize>().ok()).sum();
            cx.reply(Response::text(200, &sum.to_string()));
        }
        _ => {}
    });
    let url = format!("http://{}", server.addr);
    let mut left = TOTAL;
    let mut highest = 0;
    let handler = move |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::Connected | Event::Drained => {
            while left > 0 {
                let sent = cx.net.write(cx.conn, &[b'x'; 10_000][..left.min(10_000)]);
                assert!(sent.is_queued());
                left -= left.min(10_000);
                highest = highest.max(cx.net.queued(cx.conn));
                assert!(highest < 100_000, "{highest} bytes wait");
                if sent == Sent::High {
                    return;
                }
            }
            cx.net.finish(cx.conn, &[]);
        }
        Event::HttpResponse(_) | Event::Closed(_) => cx.state.push(describe(&ev)),
        _ => {}
    };
    let id = server.net().http_connect(url, handler).unwrap();
    server.net().request(id, Request::post("/up").streamed(None)).unwrap();
    server.until_logged("HttpResponse");
    assert_eq!(server.log().last().unwrap(), &format!("HttpResponse 200 {TOTAL}"));
}

#[test]
fn f14_a_download_comes_in_pieces_and_a_pause_holds_the_server_up() {
    const TOTAL: u64 = 8 << 20;
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(_) => {
            cx.net.start(cx.conn, Response::new(200));
            while cx.net.write(cx.conn, &[b'x'; 1 << 16]) == Sent::Queued {}
        }
        Event::Drained => {
            while cx.net.info(cx.conn).is_some_and(|info| info.bytes_out < TOTAL) {
                if cx.net.write(cx.conn, &[b'x'; 1 << 16]) != Sent::Queued {
                    return;
                }
            }
            cx.net.finish(cx.conn, &[]);
        }
        _ => {}
    });
    let url = format!("http://{}", server.addr);
    let mut got = 0u64;
    let handler = move |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpResponseHead(response) => {
            assert_eq!(response.body_len(), vansire::http::BodyLen::Chunked);
            cx.body(Body::Stream);
        }
        Event::HttpBody(piece) => {
            if got == 0 {
                cx.net.pause_read(cx.conn);
                cx.state.push("paused".into());
            } else {
                assert!(cx.state.iter().any(|line| line == "resumed"), "nothing comes meanwhile");
            }
            got += piece.len() as u64;
        }
        Event::HttpResponse(response) => {
            assert!(response.body().is_empty());
            cx.state.push(format!("whole {}", got >= TOTAL));
        }
        _ => {}
    };
    let id = server.net().http_connect(url, handler).unwrap();
    server.net().request(id, Request::get("/")).unwrap();
    server.until_logged("paused");
    server.settle();
    let held = server.manager.stats().bytes_in;
    assert!(held < TOTAL / 2, "{held} bytes were read though paused");
    server.manager.state_mut().push("resumed".into());
    server.net().resume_read(id);
    server.until_logged("whole true");
}

#[test]
fn e30_a_body_waits_for_100_or_for_its_time() {
    let ask = || Request::post("/").body("body").expect_continue();
    // The server asks for it.
    let mut script = Script::new();
    let (_, mut peer) = script.ask(ask());
    assert!(script.expect(&mut peer, "\r\n\r\n").contains("\r\nExpect: 100-continue\r\n"));
    script.loop_.settle();
    peer.receive();
    assert_eq!(peer.shown(), "");
    script.say(&mut peer, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(script.expect(&mut peer, "body"), "body");
    script.say(&mut peer, OK);
    script.loop_.until_logged("HttpResponse 200 ok");

    // It says nothing: RFC 9110 §10.1.1, wait no longer than you must.
    let mut script = Script::new();
    let (_, mut peer) = script.ask(ask());
    script.expect(&mut peer, "\r\n\r\n");
    script.loop_.advance(Duration::from_millis(900));
    peer.receive();
    assert_eq!(peer.shown(), "");
    script.loop_.advance(Duration::from_millis(200));
    assert_eq!(script.expect(&mut peer, "body"), "body");

    // It refuses: the body never goes, and the connection ends, for the server may still expect it.
    let mut script = Script::new();
    let (_, mut peer) = script.ask(ask());
    script.expect(&mut peer, "\r\n\r\n");
    script.say(&mut peer, b"HTTP/1.1 413 X\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(script.until_closed(), ["HttpResponse 413 ", "Closed: closed by the peer"]);
    peer.receive();
    assert_eq!((peer.shown().as_str(), peer.ended), ("", true));

    // In pieces, which wait as well; behind another request.
    let mut script = Script::new();
    let (id, mut peer) = script.ask(Request::post("/").streamed(None).expect_continue());
    script.expect(&mut peer, "\r\n\r\n");
    let mut net = script.loop_.manager.net();
    assert_eq!(net.write(id, &[b'x'; 100_000]), Sent::High);
    assert_eq!(net.finish(id, &[]), Sent::Queued);
    net.request(id, ask()).unwrap();
    script.say(&mut peer, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(script.expect(&mut peer, "\r\n0\r\n\r\n").len(), "186a0\r\n".len() + 100_000 + "\r\n0\r\n\r\n".len());
    script.say(&mut peer, OK);
    assert!(script.expect(&mut peer, "\r\n\r\n").contains("Expect"));
    script.say(&mut peer, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(script.expect(&mut peer, "body"), "body");

    // Our own server asks by itself.
    let mut server = serve(echo);
    let url = format!("http://{}", server.addr);
    let id = server.net().http_connect(url, record).unwrap();
    server.net().request(id, ask()).unwrap();
    server.until_logged("HttpResponse 200 POST / body");
}

#[test]
fn a_server_that_answers_before_the_body_is_heard() {
    // It stops reading, or closes, which resets: the response comes all the same, and nothing more is sent.
    for closes in [false, true] {
        let mut script = Script::new();
        let (id, mut peer) = script.ask(Request::post("/").streamed(None));
        script.expect(&mut peer, "\r\n\r\n");
        for _ in 0..100 {
            assert!(script.loop_.net().write(id, &[b'x'; 100_000]).is_queued());
        }
        script.loop_.settle();
        assert!(script.loop_.net().queued(id) > 1_000_000, "the socket is full");
        script.say(&mut peer, b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
        if closes {
            drop(peer);
        }
        let told = script.until_closed();
        assert_eq!(told, ["HttpResponse 413 no", "Closed: closed by this side"], "closes: {closes}");
        assert_eq!(script.loop_.net().write(id, b"x"), Sent::Gone);
    }
}

#[test]
fn a_streamed_request_that_its_handler_forgets_is_given_up() {
    let mut script = Script::within(Limits::new().reply_timeout(Duration::from_secs(5)));
    let (id, mut peer) = script.ask(Request::post("/").streamed(None));
    script.expect(&mut peer, "\r\n\r\n");
    for _ in 0..3 {
        script.loop_.advance(Duration::from_secs(4));
        assert_eq!(script.loop_.net().write(id, b"x"), Sent::Queued, "each piece has its time");
    }
    script.loop_.advance(Duration::from_secs(6));
    assert_eq!(script.told(), ["Closed: timed out: waiting for a reply to be finished"]);
}

#[test]
fn stopping_waits_for_the_response_and_closes_what_rests() {
    let mut server = serve_within(Limits::new(), |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            cx.net.stop();
            cx.reply(Response::text(200, "last"));
        }
    });
    let url = format!("http://{}", server.addr);
    let resting = server.net().http_connect(url.clone(), record).unwrap();
    server.until("one stands", |s| s.manager.stats().connected == 1);
    let asking = server.net().http_connect(url, record).unwrap();
    server.net().request(asking, Request::get("/")).unwrap();
    server.manager.run().unwrap();
    assert!(server.log().contains(&"HttpResponse 200 last".to_owned()), "{:?}", server.log());
    assert_eq!(server.count("Closed: closed by this side"), 2, "{:?}", server.log());
    assert!(!server.net().is_open(resting));
}

#[test]
fn f13_an_event_stream_may_be_silent_where_the_floor_is_lifted() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            cx.net.start_events(cx.conn);
            cx.net.write(cx.conn, b"data: 1\n\n");
            let conn = cx.conn;
            cx.timer_after(Duration::from_secs(3600), move |cx| {
                cx.net.write(conn, b"data: 2\n\n");
                cx.net.finish(conn, &[]);
            });
        }
    });
    let url = format!("http://{}", server.addr);
    let handler = |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpResponseHead(_) = ev {
            cx.body(Body::Stream);
        }
        record(cx, ev);
    };
    let options = ConnectOptions::new(url).limits(Limits::new().rate_floor(0));
    let id = server.net().http_connect(options, handler).unwrap();
    server.net().request(id, Request::get("/events")).unwrap();
    server.until_logged("HttpBody data: 1");
    for _ in 0..60 {
        server.advance(Duration::from_secs(60));
    }
    server.until_logged("HttpResponse");
    assert_eq!(server.log(), ["HttpBody data: 1\n\n", "HttpBody data: 2\n\n", "HttpResponse 200 "]);
}

#[test]
fn a_limit_of_its_own_for_one_response() {
    for (max, whole) in [(2, true), (1, false)] {
        let mut script = Script::new();
        let url = script.url();
        let handler = move |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
            Event::HttpResponseHead(_) => cx.body(Body::CollectUpTo(max)),
            Event::HttpResponse(_) | Event::Closed(CloseReason::Protocol(_)) => cx.state.push(describe(&ev)),
            _ => {}
        };
        let id = script.loop_.net().http_connect(url, handler).unwrap();
        script.loop_.net().request(id, Request::get("/")).unwrap();
        let mut peer = script.accept();
        script.expect(&mut peer, "\r\n\r\n");
        script.say(&mut peer, OK);
        script.loop_.until("an opinion", |s| !s.log().is_empty());
        assert_eq!(script.told()[0] == "HttpResponse 200 ok", whole);
    }
}

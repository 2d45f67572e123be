//! Request bodies over real sockets: collected, streamed, refused, expected, cut short.

mod http_support;

use std::time::Duration;

use http_support::{Client, Cx, Server, describe, echo, serve, serve_within};
use vansire::http::{Body, Response};
use vansire::{Event, Limits};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Writes down what it is told of HTTP, takes bodies as they come, and answers whole requests.
fn streaming(cx: &mut Cx<'_>, ev: Event<'_>) {
    if matches!(ev, Event::HttpHead(_) | Event::HttpBody(_) | Event::HttpRequest(_) | Event::Closed(_)) {
        cx.state.push(describe(&ev));
    }
    match ev {
        Event::HttpHead(_) => cx.body(Body::Stream),
        Event::HttpRequest(_) => drop(cx.reply(Response::text(200, "all of it"))),
        _ => {}
    }
}

/// The pieces of the body that were told, put together.
fn streamed(server: &Server) -> String {
    server.log().iter().filter_map(|line| line.strip_prefix("HttpBody ")).collect()
}

#[test]
fn b5_a_body_in_ten_pieces_is_one_request() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if matches!(ev, Event::HttpHead(_) | Event::HttpRequest(_)) {
            cx.state.push(describe(&ev));
        }
        echo(cx, ev);
    });
    let mut client = server.connect();
    server.send(&mut client, b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\n");
    for _ in 0..10 {
        server.send(&mut client, b"abc");
        server.settle();
    }
    assert_eq!(server.reply(&mut client).text(), format!("POST /p {}", "abc".repeat(10)));
    assert_eq!((server.count("HttpHead"), server.count("HttpRequest")), (1, 1));
}

#[test]
fn e16_a_body_cut_short_is_never_whole() {
    let table: [(&str, &[u8]); 4] = [
        ("length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc"),
        ("chunk", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"),
        ("no last chunk", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        ("no end of trailers", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n"),
    ];
    for (name, bytes) in table {
        for stream in [false, true] {
            let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
                cx.state.push(describe(&ev));
                if stream && matches!(ev, Event::HttpHead(_)) {
                    cx.body(Body::Stream);
                }
            });
            let mut client = server.connect();
            server.send(&mut client, bytes);
            client.shut();
            assert_eq!(server.end(&mut client), "", "{name}");
            server.until_logged("Closed");
            assert_eq!(server.count("HttpHead"), 1, "{name}");
            assert_eq!(server.count("HttpRequest"), 0, "{name}");
            assert_eq!(server.log().last().unwrap(), "Closed: closed by the peer", "{name}");
        }
    }
}

#[test]
fn e22_chunks_extensions_and_trailers_are_accepted_and_joined() {
    let table: [(&str, &[u8]); 4] = [
        ("two chunks", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        ("extensions", b"5;a=b;c\r\nhello\r\n6 ;d=\"e\"\r\n world\r\n0;last\r\n\r\n"),
        ("trailers", b"B\r\nhello world\r\n0\r\nX-Sum: 1\r\nX-Two: 2\r\n\r\n"),
        ("leading zeros", b"000B\r\nhello world\r\n000\r\n\r\n"),
    ];
    for (name, chunks) in table {
        let mut server = serve(echo);
        let mut client = server.connect();
        server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(server.ask(&mut client, chunks).text(), "POST / hello world", "{name}");
        assert_eq!(server.ask(&mut client, b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").text(), "GET /2 ", "{name}");
    }
}

#[test]
fn e23_bad_chunks_are_refused_and_the_connection_ends() {
    let table: [(&str, &[u8]); 7] = [
        ("no size", b"\r\nhello\r\n0\r\n\r\n"),
        ("not hexadecimal", b"xyz\r\nhello\r\n0\r\n\r\n"),
        ("no CRLF behind the data", b"5\r\nhello0\r\n\r\n"),
        ("LF behind the data", b"5\r\nhello\n0\r\n\r\n"),
        ("2^63", b"8000000000000000\r\n"),
        ("2^64", b"10000000000000000\r\n"),
        ("bad trailer", b"0\r\nnot a header\r\n\r\n"),
    ];
    for (name, chunks) in table {
        let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| cx.state.push(describe(&ev)));
        let mut client = server.connect();
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        server.send(&mut client, head);
        server.send(&mut client, chunks);
        let reply = server.reply(&mut client);
        let expected = if name == "2^63" { 413 } else { 400 };
        assert_eq!((reply.status, reply.closes()), (expected, true), "{name}");
        client.shut();
        assert_eq!(server.end(&mut client), "", "{name}");
        server.until_logged(&format!("Closed: refused with {expected}: "));
        assert_eq!(server.count("HttpRequest"), 0, "{name}");
    }
}

#[test]
fn e24_twenty_thousand_chunks_of_a_byte_are_one_body() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            let right = request.body().len() == 20_000 && request.body().iter().all(|&b| b == b'x');
            cx.reply(Response::text(200, if right { "right" } else { "wrong" }));
        }
    });
    let mut client = server.connect();
    let mut bytes = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    bytes.extend(b"1\r\nx\r\n".repeat(20_000));
    bytes.extend(b"0\r\n\r\n");
    assert_eq!(server.ask(&mut client, &bytes).text(), "right");
}

#[test]
fn e25_a_body_above_the_limit_is_413_and_the_client_reads_it() {
    let big = vec![b'x'; 4 << 20];
    let chunked = |size: usize| [format!("{size:x}\r\n").as_bytes(), &big[..size], b"\r\n0\r\n\r\n"].concat();
    let table: [(&str, &str, Vec<u8>); 3] = [
        ("length", "Content-Length: 4194304", big.clone()),
        ("one chunk", "Transfer-Encoding: chunked", chunked(4 << 20)),
        (
            "many chunks",
            "Transfer-Encoding: chunked",
            [b"8\r\n12345678\r\n".repeat(200), b"0\r\n\r\n".to_vec()].concat(),
        ),
    ];
    for (name, header, body) in table {
        let mut server = serve_within(Limits::new().body_max(1000), |cx: &mut Cx<'_>, ev: Event<'_>| {
            cx.state.push(describe(&ev));
        });
        let mut client = server.connect();
        server.send(&mut client, format!("PUT / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n").as_bytes());
        // The client sends all of it before it reads anything.
        server.send(&mut client, &body);
        let reply = server.reply(&mut client);
        assert_eq!((reply.status, reply.closes()), (413, true), "{name}");
        client.shut();
        assert_eq!(server.end(&mut client), "", "{name}");
        assert_eq!(server.count("HttpRequest"), 0, "{name}");
    }
}

#[test]
fn a_body_of_its_own_bound_may_be_larger_or_smaller_than_the_limit() {
    let mut server = serve_within(Limits::new().body_max(4), |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpHead(request) = ev {
            let max = request.query("max").unwrap().unwrap().parse().unwrap();
            cx.body(Body::CollectUpTo(max));
        }
        echo(cx, ev);
    });
    for (max, expected) in [(5, 200), (4, 413), (0, 413), (usize::MAX, 200)] {
        for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            let mut client = server.connect();
            let request = format!("POST /?max={max} HTTP/1.1\r\nHost: a\r\n{body}");
            assert_eq!(server.ask(&mut client, request.as_bytes()).status, expected, "{max} {body:?}");
        }
    }
}

#[test]
fn e29_100_is_sent_before_the_body_is_read_and_only_where_it_is_waited_for() {
    let mut server = serve(echo);
    let mut client = server.connect();
    let head = b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    server.send(&mut client, head);
    server.until("100", |_| {
        client.receive();
        client.shown() == CONTINUE
    });
    client.got.clear();
    assert_eq!(server.ask(&mut client, b"hello").text(), "POST /e hello");
    // RFC 9110 §10.1.1: not where the body is there already, and never in HTTP/1.0.
    assert_eq!(server.ask(&mut client, &[head, &b"hello"[..]].concat()).text(), "POST /e hello");
    let old = b"POST /e HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    server.send(&mut client, old);
    server.settle();
    assert_eq!(server.ask(&mut client, b"hello").text(), "POST /e hello");
}

#[test]
fn e29_no_100_where_the_request_is_answered_or_refused_instead() {
    let refusing = |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpHead(request) = ev {
            cx.state.push("HttpHead".into());
            if request.target() == "/no" {
                cx.reply(Response::text(403, "no"));
            }
        }
    };
    let table = [
        ("answered", "/no", "Expect: 100-continue\r\nContent-Length: 5", 403, 1),
        ("too large", "/", "Expect: 100-continue\r\nContent-Length: 99999999", 413, 1),
        ("unknown", "/", "Expect: something\r\nContent-Length: 5", 417, 0),
        ("unknown, no body", "/", "Expect: 200-ok", 417, 0),
    ];
    for (name, target, headers, status, heads) in table {
        let mut server = serve(refusing);
        let mut client = server.connect();
        let reply =
            server.ask(&mut client, format!("PUT {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n").as_bytes());
        assert_eq!((reply.status, reply.closes()), (status, true), "{name}");
        client.shut();
        assert_eq!(server.end(&mut client), "", "{name}");
        assert_eq!(server.count("HttpHead"), heads, "{name}");
    }
}

#[test]
fn e29_a_deferred_request_still_gets_its_100() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpHead(_) => drop(cx.defer()),
        Event::HttpRequest(request) => drop(cx.reply(Response::text(200, request.body_text().unwrap()))),
        _ => {}
    });
    let mut client = server.connect();
    server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    server.until("100", |_| {
        client.receive();
        client.shown() == CONTINUE
    });
    client.got.clear();
    assert_eq!(server.ask(&mut client, b"hello").text(), "hello");
}

#[test]
fn e29_a_paused_body_is_asked_for_when_reading_goes_on() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpHead(_) => {
            cx.net.pause_read(cx.conn);
            let conn = cx.conn;
            cx.timer_after(Duration::from_secs(1), move |cx| cx.net.resume_read(conn));
        }
        Event::HttpRequest(request) => drop(cx.reply(Response::text(200, request.body_text().unwrap()))),
        _ => {}
    });
    let mut client = server.connect();
    server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    server.settle();
    client.receive();
    assert_eq!(client.shown(), "");
    server.advance(Duration::from_secs(1));
    server.until("100", |_| {
        client.receive();
        client.shown() == CONTINUE
    });
    client.got.clear();
    assert_eq!(server.ask(&mut client, b"hello").text(), "hello");
}

#[test]
fn a_streamed_body_comes_in_pieces_and_then_the_request_without_it() {
    let table: [(&str, &[u8]); 3] = [
        ("none", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world"),
        (
            "chunks",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        ),
    ];
    for (name, bytes) in table {
        for step in [1, 7, bytes.len()] {
            let mut server = serve(streaming);
            let mut client = server.connect();
            for part in bytes.chunks(step) {
                server.send(&mut client, part);
                server.settle();
            }
            assert_eq!(server.reply(&mut client).text(), "all of it", "{name} by {step}");
            assert_eq!(streamed(&server), if name == "none" { "" } else { "hello world" }, "{name} by {step}");
            assert_eq!(server.log().last().unwrap(), "HttpRequest / ", "{name} by {step}");
            assert_eq!(server.count("HttpHead"), 1, "{name} by {step}");
            let again = server.ask(&mut client, b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(again.status, 200, "{name} by {step}");
        }
    }
}

/// Pauses at every piece, and at the head if asked to; a wakeup resumes.
fn pausing(cx: &mut Cx<'_>, ev: Event<'_>) {
    let pauses = match &ev {
        Event::HttpHead(request) => request.target() == "/head",
        Event::HttpBody(_) => true,
        Event::HttpRequest(_) | Event::Closed(_) => false,
        _ => return,
    };
    if pauses {
        cx.net.pause_read(cx.conn);
        cx.state.push(format!("pause {}", cx.conn));
    }
    streaming(cx, ev);
}

fn resume(server: &mut Server) {
    let paused =
        server.manager.net().connections().into_iter().find(|info| info.is_paused).expect("a paused connection");
    server.net().resume_read(paused.id);
    server.settle();
}

#[test]
fn nothing_of_a_request_is_told_while_reading_is_paused() {
    let head = "POST /piece HTTP/1.1\r\nHost: a\r\n";
    let table = [
        ("length", format!("{head}Content-Length: 5\r\n\r\nhello")),
        ("chunks", format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")),
    ];
    for (name, bytes) in table {
        for step in [1, 20, bytes.len()] {
            let mut server = serve(pausing);
            let mut client = server.connect();
            for part in bytes.as_bytes().chunks(step) {
                server.send(&mut client, part);
                server.settle();
            }
            server.until_logged("HttpBody");
            for pieces in 1.. {
                server.settle();
                assert_eq!(server.count("HttpBody"), pieces, "{name} by {step}");
                assert_eq!(server.count("HttpRequest"), 0, "{name} by {step}");
                resume(&mut server);
                if server.count("HttpBody") == pieces {
                    break;
                }
            }
            assert_eq!((streamed(&server).as_str(), server.count("HttpRequest")), ("hello", 1), "{name} by {step}");
            assert_eq!(server.reply(&mut client).text(), "all of it", "{name} by {step}");
        }
    }
}

#[test]
fn a_pause_at_the_head_holds_the_rest_of_the_request_back() {
    let head = "POST /head HTTP/1.1\r\nHost: a\r\n";
    for rest in ["\r\n", "Content-Length: 5\r\n\r\nhello"] {
        let mut server = serve(pausing);
        let mut client = server.connect();
        server.send(&mut client, format!("{head}{rest}").as_bytes());
        server.until_logged("HttpHead");
        server.settle();
        assert_eq!((server.count("HttpBody"), server.count("HttpRequest")), (0, 0), "{rest:?}");
        resume(&mut server);
        if server.count("HttpBody") > 0 {
            resume(&mut server);
        }
        assert_eq!(server.reply(&mut client).text(), "all of it", "{rest:?}");
    }
}

#[test]
fn a_paused_reader_holds_the_sender_back() {
    let mut server = serve(pausing);
    let mut client = server.connect();
    server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 104857600\r\n\r\n");
    let piece = vec![b'x'; 1 << 16];
    server.until_logged("HttpHead");
    // The socket buffers take some megabytes at the most; the server takes one read.
    let mut sent = 0;
    loop {
        server.settle();
        match client.try_send(&piece) {
            0 => break,
            n => sent += n,
        }
        assert!(sent < 64 << 20, "nothing holds the sender back");
    }
    assert_eq!(server.count("HttpBody"), 1);
    assert!(streamed(&server).len() <= 1 << 16);
    resume(&mut server);
    assert_eq!(server.count("HttpBody"), 2);
}

#[test]
fn an_early_reply_refuses_the_body() {
    let early = |cx: &mut Cx<'_>, ev: Event<'_>| {
        cx.state.push(describe(&ev));
        match ev {
            Event::HttpHead(request) if request.target() == "/head" => drop(cx.reply(Response::text(403, "no"))),
            Event::HttpHead(_) => cx.body(Body::Stream),
            Event::HttpBody(_) => drop(cx.reply(Response::text(403, "no"))),
            _ => {}
        }
    };
    for target in ["/head", "/piece"] {
        let mut server = serve(early);
        let mut client = server.connect();
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nabc");
        let reply = server.ask(&mut client, head.as_bytes());
        assert_eq!((reply.status, reply.closes()), (403, true), "{target}");
        // It goes on sending, and is not reset for it.
        server.send(&mut client, &vec![b'x'; 5_000_000]);
        client.shut();
        assert_eq!(server.end(&mut client), "", "{target}");
        server.until_logged("Closed");
        assert_eq!(server.count("HttpRequest"), 0, "{target}");
        assert_eq!(server.count("HttpBody"), usize::from(target == "/piece"), "{target}");
    }
}

#[test]
fn an_early_reply_to_a_body_that_is_there_keeps_the_connection() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpHead(request) if request.target() == "/head" => drop(cx.reply(Response::text(403, "no"))),
        Event::HttpHead(_) => cx.body(Body::Stream),
        Event::HttpBody(_) => drop(cx.reply(Response::text(403, "no"))),
        _ => {}
    });
    for target in ["/head", "/piece"] {
        let mut client = server.connect();
        for _ in 0..3 {
            let request = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
            let reply = server.ask(&mut client, request.as_bytes());
            assert_eq!((reply.status, reply.closes()), (403, false), "{target}");
        }
    }
}

#[test]
fn a_body_that_breaks_after_the_reply_began_does_not_get_a_second_head() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpHead(_) = ev {
            cx.net.start(cx.conn, Response::new(200));
            cx.net.write(cx.conn, b"so far");
        }
        cx.state.push(describe(&ev));
    });
    let mut client = server.connect();
    server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    server.until_logged("HttpHead");
    server.send(&mut client, b"nonsense\r\n");
    client.shut();
    let all = server.end(&mut client);
    assert!(all.ends_with("\r\n\r\n6\r\nso far\r\n"), "{all}");
    server.until_logged("Closed: protocol error: 400");
}

#[test]
fn e14_a_post_without_length_has_no_body() {
    let mut server = serve(echo);
    let mut client = server.connect();
    server.send(
        &mut client,
        b"POST /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for expected in ["POST /1 ", "GET /2 ", "GET /3 "] {
        assert_eq!(server.reply(&mut client).text(), expected);
    }
    assert_eq!(server.log(), ["POST /1 ", "GET /2 ", "GET /3 "]);
}

#[test]
fn bodies_with_nul_bytes_arrive_and_leave_whole() {
    let all: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            cx.reply(Response::new(200).body(request.body()));
        }
    });
    let mut client = server.connect();
    let request =
        [format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", all.len()).into_bytes(), all.clone()];
    let reply = server.ask(&mut client, &request.concat());
    assert_eq!(reply.header("content-length"), Some("100000"));
    assert_eq!(reply.body, all);
}

#[test]
fn a_client_that_leaves_in_the_midst_of_a_body_is_told_of_once() {
    let mut server = serve(streaming);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        server.send(client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    }
    server.until("all pieces are told", |server| server.count("HttpBody") == 20);
    drop(clients);
    server.until("all ends are told", |server| server.count("Closed") == 20);
    assert_eq!(server.count("HttpRequest"), 0);
    assert_eq!(server.net().connection_count(), 1);
}

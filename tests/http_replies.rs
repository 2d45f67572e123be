//! Replies over real sockets: framing, order, deferral, streams, persistence.

mod http_support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http_support::{Cx, Server, describe, echo, serve, serve_within};
use vansire::http::{self, ReplyId, Response, sse};
use vansire::{Event, Limits, Sent};

const SECOND: Duration = Duration::from_secs(1);

/// Makes the reply of a test.
type Make = fn() -> Response<'static>;

/// Answers with what the test has made for it.
fn answering(make: Make) -> Server {
    serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            let sent = cx.reply(make());
            cx.state.push(format!("{sent:?}"));
        }
    })
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn e5_bodies_arrive_as_they_are_with_the_right_length() {
    static BINARY: [u8; 512] = {
        let mut bytes = [0; 512];
        let mut at = 0;
        while at < 512 {
            bytes[at] = at as u8;
            at += 1;
        }
        bytes
    };
    let table: [(&str, Make, &[u8]); 5] = [
        ("text", || Response::text(200, "plain"), b"plain"),
        ("UTF-8", || Response::text(200, "zwölf €"), "zwölf €".as_bytes()),
        ("NUL", || Response::new(200).body(b"a\0b\0"), b"a\0b\0"),
        ("binary", || Response::new(200).body(&BINARY), &BINARY),
        ("empty", || Response::new(200), b""),
    ];
    for (name, make, expected) in table {
        let mut server = answering(make);
        let mut client = server.connect();
        let reply = server.ask(&mut client, &get("/"));
        assert_eq!(reply.body, expected, "{name}");
        assert_eq!(reply.header("content-length"), Some(expected.len().to_string().as_str()), "{name}");
    }
    let shared = || Response::new(200).shared(vec![7; 3_000_000].into());
    let mut server = answering(shared);
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, &get("/")).body, vec![7; 3_000_000]);
}

#[test]
fn e6_the_content_type_comes_by_itself_only_where_none_is_given() {
    let table: [(&str, Make, Option<&str>); 5] = [
        ("default", || Response::new(200).body("x"), Some("text/plain; charset=utf-8")),
        ("given", || Response::new(200).body("x").header("Content-Type", "a/b"), Some("a/b")),
        ("lower case", || Response::new(200).body("x").header("content-type", "a/b"), Some("a/b")),
        ("html", || Response::html(200, "x"), Some("text/html; charset=utf-8")),
        ("no body", || Response::new(200), None),
    ];
    for (name, make, expected) in table {
        let mut server = answering(make);
        let mut client = server.connect();
        assert_eq!(server.ask(&mut client, &get("/")).header("Content-Type"), expected, "{name}");
    }
}

#[test]
fn e7_json_is_sent_as_json() {
    let table: [(&str, Make, u16); 4] = [
        (r#"{"a":1}"#, || Response::json(200, r#"{"a":1}"#), 200),
        ("[1,2]", || Response::json(200, "[1,2]").header("X-A", "b"), 200),
        (r#""text""#, || Response::json(200, r#""text""#), 200),
        (r#"{"error":"none"}"#, || Response::json(404, r#"{"error":"none"}"#), 404),
    ];
    for (text, make, status) in table {
        let mut server = answering(make);
        let mut client = server.connect();
        let reply = server.ask(&mut client, &get("/"));
        assert_eq!((reply.text().as_str(), reply.status), (text, status));
        assert_eq!(reply.header("content-type"), Some("application/json"), "{text}");
        assert_eq!(reply.header("x-a"), text.starts_with('[').then_some("b"), "{text}");
    }
}

#[test]
fn e8_a_reply_with_a_bad_header_is_not_sent_and_the_request_stays_open() {
    let table: [(&str, Make); 8] = [
        ("CR", || Response::new(200).header("X", "a\rb")),
        ("LF", || Response::new(200).header("X", "a\nSet-Cookie: b")),
        ("CRLF", || Response::new(200).header("X", "a\r\n\r\n<script>")),
        ("NUL", || Response::new(200).header("X", "a\0")),
        ("in the name", || Response::new(200).header("X\r\nY", "a")),
        ("in the type", || Response::new(200).body("x").content_type("a\r\nX: b")),
        ("framing", || Response::new(200).header("Transfer-Encoding", "chunked")),
        ("bad status", || Response::new(99)),
    ];
    for (name, make) in table {
        assert!(make().validate().is_err(), "{name}");
        // Without another answer it is a 500.
        let mut server = answering(make);
        let mut client = server.connect();
        let reply = server.ask(&mut client, &get("/"));
        assert_eq!((reply.status, server.log()), (500, &["Invalid".to_owned()][..]), "{name}");
        assert_eq!(reply.header_all("set-cookie").len(), 0, "{name}");
        // A later correct one is the answer.
        let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
            if let Event::HttpRequest(_) = ev {
                assert_eq!(cx.reply(make()), Sent::Invalid);
                assert_eq!(cx.net.start(cx.conn, make()), Sent::Invalid);
                assert_eq!(cx.reply(Response::text(200, "right")), Sent::Queued);
                assert_eq!(cx.reply(Response::text(200, "twice")), Sent::Invalid);
            }
        });
        let mut client = server.connect();
        server.send(&mut client, &get("/").repeat(2));
        for _ in 0..2 {
            assert_eq!(server.reply(&mut client).text(), "right", "{name}");
        }
        assert_eq!(server.manager.stats().handler_panics, 0, "{name}");
    }
}

#[test]
fn e9_a_repeated_header_is_sent_as_often_as_it_was_given() {
    let mut server = answering(|| {
        let reply = Response::new(200).header("Set-Cookie", "a=1").header("Set-Cookie", "b=2").header("X", "y");
        reply.header("Set-Cookie", "c=3").header("X-5", "5").header("X-6", "6")
    });
    let mut client = server.connect();
    let reply = server.ask(&mut client, &get("/"));
    assert_eq!(reply.header_all("set-cookie"), ["a=1", "b=2", "c=3"]);
    assert_eq!((reply.header("x-5"), reply.header("x-6")), (Some("5"), Some("6")));
}

#[test]
fn e21_a_reply_to_head_has_the_length_and_no_body() {
    let table: [(&str, Make, Option<&str>); 5] = [
        ("text", || Response::text(200, "hello"), Some("5")),
        ("404", || Response::text(404, "not here"), Some("8")),
        ("204", || Response::new(204), None),
        ("304", || Response::new(304).header("ETag", "\"x\""), None),
        ("told", || Response::new(200).header("Content-Length", "1000000"), Some("1000000")),
    ];
    for (name, make, length) in table {
        let mut server = answering(make);
        let mut client = server.connect();
        // Two of them on one connection: a body of the first would be taken for the second reply.
        server.send(&mut client, &b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2));
        for _ in 0..2 {
            assert_eq!(server.reply_to(&mut client, "HEAD").header("content-length"), length, "{name}");
        }
        server.settle();
        client.receive();
        assert_eq!(client.shown(), "", "{name}");
    }
}

#[test]
fn rfc_9110_6_4_1_replies_of_204_and_304_have_no_body() {
    for make in [|| Response::text(204, "never"), || Response::text(304, "never")] {
        let mut server = answering(make);
        let mut client = server.connect();
        server.send(&mut client, &get("/").repeat(2));
        for _ in 0..2 {
            let reply = server.reply(&mut client);
            assert_eq!((reply.header("content-length"), reply.closes()), (None, false), "{}", reply.head);
        }
        server.settle();
        client.receive();
        assert_eq!(client.shown(), "");
    }
}

#[test]
fn rfc_9110_15_2_an_interim_reply_is_followed_by_the_final_one() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            let hints = || Response::new(103).header("Link", "</a.css>; rel=preload");
            assert_eq!(cx.reply(hints()), Sent::Queued);
            assert_eq!(cx.reply(Response::new(102)), Sent::Queued);
            assert_eq!(cx.reply(hints().header("X", "\n")), Sent::Invalid);
            // Nobody could speak the other protocol, and an interim reply has no body to stream.
            assert_eq!(cx.reply(Response::new(101).header("Upgrade", "x")), Sent::Invalid);
            assert_eq!(cx.net.start(cx.conn, hints()), Sent::Invalid);
            assert_eq!(cx.reply(Response::text(200, "final")), Sent::Queued);
            assert_eq!(cx.reply(hints()), Sent::Invalid);
        }
    });
    let mut client = server.connect();
    for _ in 0..2 {
        let first = server.ask(&mut client, &get("/"));
        assert_eq!((first.status, first.header("link")), (103, Some("</a.css>; rel=preload")));
        assert_eq!((first.header("content-length"), first.header("connection")), (None, None));
        assert_eq!(server.reply(&mut client).status, 102);
        assert_eq!(server.reply(&mut client).text(), "final");
    }
    // HTTP/1.0 has no interim replies.
    assert_eq!(server.ask(&mut client, b"GET / HTTP/1.0\r\n\r\n").text(), "final");
    let mut client = server.connect();
    for expected in [103, 102, 200] {
        let request = if expected == 103 { &b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"[..] } else { b"" };
        server.send(&mut client, request);
        assert_eq!(server.reply_to(&mut client, "HEAD").status, expected);
    }
    assert_eq!(server.manager.stats().handler_panics, 0);
}

/// Answers `/later` when the test says so, in the order it says; others at once.
fn deferring() -> (Server, Rc<RefCell<Vec<ReplyId>>>) {
    let waiting = Rc::new(RefCell::new(Vec::new()));
    let promises = Rc::clone(&waiting);
    let server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(request) if request.raw_path() == "/later" => {
            cx.state.push(request.target().to_owned());
            promises.borrow_mut().push(cx.defer().unwrap());
        }
        ev => echo(cx, ev),
    });
    (server, waiting)
}

#[test]
fn e18_e19_a_deferred_reply_keeps_its_place_and_the_connection() {
    let (mut server, waiting) = deferring();
    let mut client = server.connect();
    server.send(&mut client, &[get("/later?1"), get("/2"), get("/later?3"), get("/4")].concat());
    server.until_logged("/later?1");
    server.settle();
    client.receive();
    assert_eq!((client.shown().as_str(), server.log()), ("", &["/later?1".to_owned()][..]));
    let first = waiting.borrow_mut().remove(0);
    assert_eq!(first.conn(), server.net().connections()[1].id);
    assert_eq!(server.net().reply(first, Response::text(200, "one")), Sent::Queued);
    assert_eq!(server.reply(&mut client).text(), "one");
    assert_eq!(server.reply(&mut client).text(), "GET /2 ");
    server.until_logged("/later?3");
    let third = waiting.borrow_mut().remove(0);
    // The first one is over: it answers nothing of another request.
    assert_eq!(server.net().reply(first, Response::text(200, "again")), Sent::Gone);
    assert_eq!(server.net().start(first, Response::new(200)), Sent::Gone);
    assert_eq!(server.net().write(first, b"x"), Sent::Gone);
    assert_eq!(server.net().finish(first, &[]), Sent::Gone);
    assert_eq!(server.net().reply(third, Response::text(200, "three")), Sent::Queued);
    assert_eq!(server.reply(&mut client).text(), "three");
    assert_eq!(server.reply(&mut client).text(), "GET /4 ");
    // The last one is over too, and no other has come.
    assert_eq!(server.net().reply(third, Response::text(200, "again")), Sent::Gone);
    assert_eq!(server.net().reply(third.conn(), Response::text(200, "nothing asked")), Sent::Invalid);
    assert!(server.net().defer(third.conn()).is_none());
}

#[test]
fn a_reply_id_of_a_closed_connection_is_gone() {
    let (mut server, waiting) = deferring();
    let mut client = server.connect();
    server.send(&mut client, &get("/later"));
    server.until_logged("/later");
    let promise = waiting.borrow_mut().remove(0);
    server.net().close(promise.conn());
    assert_eq!(server.net().reply(promise, Response::text(200, "late")), Sent::Gone);
    assert_eq!(server.end(&mut client), "");
    assert_eq!(server.net().reply(promise, Response::text(200, "late")), Sent::Gone);
}

#[test]
fn replies_come_from_timers_wakeups_and_handlers_of_other_connections() {
    let waiting = Rc::new(RefCell::new(Vec::<ReplyId>::new()));
    let promises = Rc::clone(&waiting);
    let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(request) => match request.raw_path() {
            "/timer" => {
                let promise = cx.defer().unwrap();
                cx.timer_after(SECOND, move |cx| {
                    cx.net.reply(promise, Response::text(200, "from a timer"));
                });
            }
            "/wakeup" => {
                let _ = cx.defer();
                cx.state.push(format!("waits {}", cx.conn));
            }
            "/other" => {
                promises.borrow_mut().push(cx.defer().unwrap());
                cx.state.push("other waits".into());
            }
            _ => {
                for promise in promises.borrow_mut().drain(..) {
                    cx.net.reply(promise, Response::text(200, "from another"));
                }
                cx.reply(Response::text(200, "direct"));
            }
        },
        Event::Wakeup(bytes) => {
            let text = format!("woken by {}", String::from_utf8_lossy(bytes));
            cx.reply(Response::text(200, &text));
        }
        _ => {}
    });
    let mut client = server.connect();
    server.send(&mut client, &get("/timer"));
    server.settle();
    server.advance(SECOND);
    assert_eq!(server.reply(&mut client).text(), "from a timer");

    server.send(&mut client, &get("/wakeup"));
    server.until_logged("waits");
    let conn = server.net().connections()[1].id;
    let waker = server.manager.waker();
    std::thread::spawn(move || waker.wakeup(conn, b"a thread").unwrap()).join().unwrap();
    assert_eq!(server.reply(&mut client).text(), "woken by a thread");

    server.send(&mut client, &get("/other"));
    server.until_logged("other waits");
    let mut second = server.connect();
    assert_eq!(server.ask(&mut second, &get("/")).text(), "direct");
    assert_eq!(server.reply(&mut client).text(), "from another");
    assert!(waiting.borrow().is_empty());
}

#[test]
fn e17_pipelined_requests_are_answered_in_order_and_those_before_garbage_are_served() {
    let mut server = serve(echo);
    let mut client = server.connect();
    let requests: Vec<u8> = (0..200).flat_map(|i| get(&format!("/{i}"))).collect();
    server.send(&mut client, &[requests, b"garbage\x01\r\n\r\n".to_vec(), get("/never")].concat());
    for i in 0..200 {
        assert_eq!(server.reply(&mut client).text(), format!("GET /{i} "));
    }
    let refusal = server.reply(&mut client);
    assert_eq!((refusal.status, refusal.closes()), (400, true));
    client.shut();
    assert_eq!(server.end(&mut client), "");
    assert_eq!(server.count("GET /never"), 0);
}

#[test]
fn a_pipeline_behind_a_deferred_reply_is_bounded() {
    let (mut server, waiting) = deferring();
    let mut client = server.connect();
    server.send(&mut client, &get("/later"));
    server.until_logged("/later");
    let flood = get("/x").repeat(1000);
    let mut sent = 0;
    loop {
        server.settle();
        match client.try_send(&flood) {
            0 => break,
            n => sent += n,
        }
        assert!(sent < 64 << 20, "nothing bounds the pipeline");
    }
    // The rest waits in the system's buffers: none of it was read.
    let info = server.net().connections().remove(1);
    assert!(info.bytes_in <= 64 << 10, "{info:?}");
    let promise = waiting.borrow_mut().remove(0);
    server.net().reply(promise, Response::new(200));
    server.until("the pipeline moves", |server| {
        client.receive();
        client.got.clear();
        server.count("GET /x") > 1000
    });
}

#[test]
fn e20_persistence_follows_version_and_connection_for_replies_now_and_later() {
    let table = [
        ("1.1", "GET {} HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ("close", "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Some("close")),
        ("close in a list", "GET {} HTTP/1.1\r\nHost: a\r\nConnection: close, TE\r\n\r\n", Some("close")),
        (
            "close on two lines",
            "GET {} HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nConnection: Close\r\n\r\n",
            Some("close"),
        ),
        ("1.0", "GET {} HTTP/1.0\r\n\r\n", Some("close")),
        ("1.0 keep-alive", "GET {} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Some("keep-alive")),
    ];
    for (name, request, connection) in table {
        for way in ["/now", "/later", "/stream"] {
            let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
                if let Event::HttpRequest(request) = ev {
                    match request.target() {
                        "/now" => drop(cx.reply(Response::text(200, "body"))),
                        "/later" => {
                            let promise = cx.defer().unwrap();
                            cx.timer_after(SECOND, move |cx| {
                                cx.net.reply(promise, Response::text(200, "body"));
                            });
                        }
                        _ => {
                            let promise = cx.defer().unwrap();
                            cx.timer_after(SECOND, move |cx| {
                                cx.net.start(promise, Response::new(200));
                                cx.net.write(promise, b"body");
                                cx.net.finish(promise, &[]);
                            });
                        }
                    }
                }
            });
            let mut client = server.connect();
            server.send(&mut client, request.replace("{}", way).as_bytes());
            server.settle();
            server.advance(SECOND);
            // A stream to an HTTP/1.0 client can only end with the connection.
            let expected = if way == "/stream" && name.starts_with("1.0") { Some("close") } else { connection };
            let reply = server.reply(&mut client);
            assert_eq!((reply.header("connection"), reply.text().as_str()), (expected, "body"), "{name} {way}");
            if expected == Some("close") {
                assert_eq!(server.end(&mut client), "", "{name} {way}");
            } else {
                server.send(&mut client, request.replace("{}", "/now").as_bytes());
                assert_eq!(server.reply(&mut client).status, 200, "{name} {way}");
            }
        }
    }
}

#[test]
fn what_is_pipelined_behind_close_is_not_served_and_resets_nothing() {
    let mut server = serve(echo);
    let mut client = server.connect();
    let close = b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    server.send(&mut client, &[&close[..], &get("/2")].concat());
    server.settle();
    // More that was on its way when the reply left.
    server.send(&mut client, &get("/3"));
    server.settle();
    server.send(&mut client, &get("/4"));
    assert_eq!(server.reply(&mut client).text(), "GET /1 ");
    assert_eq!(server.end(&mut client), "");
    assert_eq!(server.log(), ["GET /1 "]);
}

#[test]
fn e28_drain_in_a_handler_completes_its_reply_and_dispatches_no_other() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        cx.state.push(describe(&ev));
        if let Event::HttpRequest(_) = ev {
            cx.reply(Response::new(200).shared(vec![b'x'; 2_000_000].into()));
            cx.drain();
            assert_eq!(cx.reply(Response::new(200)), Sent::Gone);
        }
    });
    let mut client = server.connect();
    server.send(&mut client, &get("/").repeat(2));
    assert_eq!(server.reply(&mut client).body.len(), 2_000_000);
    client.shut();
    assert_eq!(server.end(&mut client), "");
    server.until_logged("Closed");
    assert_eq!(server.count("HttpHead"), 1);
    assert_eq!(server.log().last().unwrap(), "Closed: closed by this side");
}

#[test]
fn a_handler_may_close_after_its_reply() {
    let mut server = answering(|| Response::text(200, "last").close());
    let mut client = server.connect();
    let reply = server.ask(&mut client, &get("/"));
    assert!(reply.closes());
    assert_eq!(server.end(&mut client), "");
}

#[test]
fn an_unanswered_request_is_500_and_one_without_handler_404() {
    let mut server = serve(|_: &mut Cx<'_>, _: Event<'_>| {});
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(server.ask(&mut client, &get("/")).status, 500);
    }
    assert_eq!(server.manager.stats().http_unanswered, 2);
    let listener = server.listener;
    server.net().clear_handler(listener);
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, &get("/")).status, 404);
}

#[test]
fn a_streamed_reply_is_chunked_with_trailers() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            assert_eq!(cx.net.write(cx.conn, b"too early"), Sent::Invalid);
            assert_eq!(cx.net.finish(cx.conn, &[]), Sent::Invalid);
            assert_eq!(cx.net.start(cx.conn, Response::new(200).header("Trailer", "X-Sum")), Sent::Queued);
            assert_eq!(cx.net.start(cx.conn, Response::new(200)), Sent::Invalid);
            assert_eq!(cx.reply(Response::new(200)), Sent::Invalid);
            for piece in [&b"one, "[..], b"", b"t\0o, ", b"three"] {
                assert_eq!(cx.net.write(cx.conn, piece), Sent::Queued);
            }
            assert_eq!(cx.net.write_shared(cx.conn, vec![b'x'; 5000].into()), Sent::Queued);
            assert_eq!(cx.net.finish(cx.conn, &[("X-Sum", "a\r\nb")]), Sent::Invalid);
            assert_eq!(cx.net.finish(cx.conn, &[("Content-Length", "1")]), Sent::Invalid);
            assert_eq!(cx.net.finish(cx.conn, &[("X-Sum", "7"), ("X-More", "")]), Sent::Queued);
            assert_eq!(cx.net.write(cx.conn, b"too late"), Sent::Invalid);
            assert_eq!(cx.net.finish(cx.conn, &[]), Sent::Invalid);
        }
    });
    let mut client = server.connect();
    for _ in 0..2 {
        let reply = server.ask(&mut client, &get("/"));
        assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
        assert_eq!(reply.body, [&b"one, t\0o, three"[..], &[b'x'; 5000]].concat());
        assert_eq!(reply.trailers, "X-Sum: 7\r\nX-More: \r\n");
    }
    // HTTP/1.0 gets the same until the connection closes; HEAD gets the head.
    let head = server.ask(&mut client, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    let old = server.ask(&mut client, b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!((old.header("transfer-encoding"), old.closes()), (None, true));
    assert_eq!(old.body.len(), 15 + 5000);
    assert_eq!(server.manager.stats().handler_panics, 0);
}

#[test]
fn a_streamed_reply_without_a_body_is_refused() {
    for status in [100, 101, 204, 205, 304] {
        let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
            if let Event::HttpRequest(_) = ev {
                let sent = cx.net.start(cx.conn, Response::new(status));
                cx.state.push(format!("{sent:?}"));
            }
        });
        let mut client = server.connect();
        assert_eq!(server.ask(&mut client, &get("/")).status, 500, "{status}");
        assert_eq!(server.ask(&mut client, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").status, 500, "{status}");
        assert_eq!(server.log(), ["Invalid", "Invalid"], "{status}");
    }
}

#[test]
fn a_stream_waits_for_a_slow_reader() {
    let total = 400;
    let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
        match ev {
            Event::HttpRequest(_) => drop(cx.net.start(cx.conn, Response::new(200))),
            Event::Drained => cx.state.push("drained".into()),
            _ => return,
        }
        loop {
            if cx.state.iter().filter(|line| *line == "piece").count() == total {
                cx.net.finish(cx.conn, &[]);
                return;
            }
            cx.state.push("piece".into());
            if cx.net.write(cx.conn, &[b'x'; 50_000]) != Sent::Queued {
                return;
            }
        }
    });
    let mut client = server.connect();
    server.send(&mut client, &get("/"));
    server.until_logged("piece");
    server.settle();
    let conn = server.net().connections()[1].id;
    // Twenty megabytes are too many for the socket; what waits here is bounded by the high-water mark and one piece.
    assert!(server.count("piece") < total);
    assert!(server.net().queued(conn) <= (64 << 10) + 50_020, "{}", server.net().queued(conn));
    assert_eq!(server.reply(&mut client).body.len(), total * 50_000);
    assert!(server.count("drained") > 1);
    assert_eq!(server.manager.stats().slow_consumers, 0);
}

#[test]
fn a_stream_to_a_client_that_left_answers_gone() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(_) => {
            let promise = cx.defer().unwrap();
            cx.net.start(promise, Response::new(200));
            cx.net.timer_every(Duration::from_millis(10), move |cx| {
                let sent = cx.net.write(promise, &[b'x'; 1000]);
                if sent == Sent::Gone {
                    cx.state.push("gone".into());
                    cx.net.cancel(cx.timer);
                }
            });
        }
        Event::Closed(_) => cx.state.push(describe(&ev)),
        _ => {}
    });
    let mut client = server.connect();
    server.send(&mut client, &get("/"));
    server.settle();
    drop(client);
    let clock = server.clock.clone();
    server.until("the stream is told", |server| {
        clock.advance(Duration::from_millis(10));
        server.count("gone") == 1
    });
    assert_eq!(server.count("Closed"), 1);
}

#[test]
fn f13_every_line_of_an_event_is_prefixed() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            assert_eq!(cx.net.start_events(cx.conn), Sent::Queued);
            let mut out = Vec::new();
            sse::Event::new("a\r\nb\nc").event("e").id("1").encode(&mut out).unwrap();
            sse::encode_comment(&mut out, "x\ny");
            sse::Event::new("").encode(&mut out).unwrap();
            assert_eq!(cx.net.write(cx.conn, &out), Sent::Queued);
            cx.net.finish(cx.conn, &[]);
        }
    });
    let mut client = server.connect();
    let reply = server.ask(&mut client, &get("/"));
    assert_eq!(
        (reply.header("content-type"), reply.header("cache-control")),
        (Some("text/event-stream"), Some("no-cache"))
    );
    assert_eq!(reply.text(), "event: e\nid: 1\ndata: a\ndata: b\ndata: c\n\n: x\n: y\n\ndata: \n\n");
}

#[test]
fn requests_of_a_connection_are_bounded_and_the_last_one_says_so() {
    let mut server = serve_within(Limits::new().requests_max(Some(3)), echo);
    let mut client = server.connect();
    server.send(&mut client, &get("/").repeat(5));
    for closes in [false, false, true] {
        assert_eq!(server.reply(&mut client).closes(), closes);
    }
    client.shut();
    assert_eq!(server.end(&mut client), "");
    assert_eq!(server.log().len(), 3);
}

#[test]
fn the_date_is_made_once_per_second() {
    let mut server = serve(echo);
    let mut client = server.connect();
    let date = |server: &mut Server, client: &mut _| server.ask(client, &get("/")).header("date").unwrap().to_owned();
    assert_eq!(date(&mut server, &mut client), "Sat, 01 Jan 2000 00:00:00 GMT");
    server.advance(Duration::from_millis(999));
    assert_eq!(date(&mut server, &mut client), "Sat, 01 Jan 2000 00:00:00 GMT");
    server.advance(Duration::from_millis(1));
    assert_eq!(date(&mut server, &mut client), "Sat, 01 Jan 2000 00:00:01 GMT");
    // A handler's own replaces it, and refusals have one.
    let mut own = answering(|| Response::new(200).header("Date", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let mut client = own.connect();
    assert_eq!(own.ask(&mut client, &get("/")).header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let mut client = own.connect();
    assert!(own.ask(&mut client, b"GET / HTTP/3.0\r\n\r\n").header("date").is_some());
}

#[test]
fn a_half_closed_client_gets_what_it_asked_for() {
    let (mut server, waiting) = deferring();
    let mut client = server.connect();
    server.send(&mut client, &[get("/1"), get("/later"), get("/2")].concat());
    client.shut();
    server.until_logged("/later");
    server.settle();
    let promise = waiting.borrow_mut().remove(0);
    assert_eq!(server.net().reply(promise, Response::text(200, "later")), Sent::Queued);
    for expected in ["GET /1 ", "later", "GET /2 "] {
        assert_eq!(server.reply(&mut client).text(), expected);
    }
    assert_eq!(server.end(&mut client), "");
}

#[test]
fn bytes_sent_past_http_are_refused() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            assert_eq!(cx.send(b"HTTP/1.1 200 OK\r\n\r\n"), Sent::Invalid);
            assert_eq!(cx.send_shared(vec![1].into()), Sent::Invalid);
            cx.reply(Response::text(200, "right"));
        }
    });
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, &get("/")).text(), "right");
    assert_eq!(server.manager.stats().handler_panics, 0);
}

#[test]
fn a_panic_in_a_handler_closes_its_connection_and_no_other() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::Closed(reason) = &ev {
            cx.state.push(reason.to_string());
        }
        if let Event::HttpRequest(request) = &ev {
            assert_ne!(request.target(), "/panic", "on purpose");
        }
        echo(cx, ev);
    });
    let (mut bad, mut good) = (server.connect(), server.connect());
    server.send(&mut bad, &get("/panic"));
    server.until_logged("its handler panicked");
    assert_eq!(server.ask(&mut good, &get("/fine")).text(), "GET /fine ");
    assert_eq!(server.end(&mut bad), "");
}

#[test]
fn a_stop_lets_requests_in_flight_finish() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(_) => {
            cx.state.push("request".into());
            let promise = cx.defer().unwrap();
            cx.net.stop();
            cx.timer_after(Duration::ZERO, move |cx| {
                cx.net.reply(promise, Response::text(200, "in time"));
            });
        }
        Event::Closed(_) => cx.state.push(describe(&ev)),
        _ => {}
    });
    let (mut idle, mut busy) = (server.connect(), server.connect());
    server.settle();
    server.send(&mut busy, &get("/"));
    server.until("it is asked to stop", |server| server.manager.poll(Some(Duration::ZERO)).unwrap().stop);
    server.manager.shutdown(SECOND).unwrap();
    for client in [&mut idle, &mut busy] {
        while !client.ended {
            client.receive();
        }
        assert!(!client.was_reset);
    }
    assert_eq!(idle.shown(), "");
    assert!(busy.shown().contains("Connection: close\r\n") && busy.shown().ends_with("in time"), "{}", busy.shown());
    assert_eq!(server.count("Closed"), 3);
}

#[test]
fn the_remote_address_is_the_clients() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            assert_eq!(request.remote_addr(), cx.remote_addr());
            cx.reply(http::Response::text(200, &request.remote_addr().unwrap().to_string()));
        }
    });
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, &get("/")).text(), client.addr().to_string());
}

#[test]
fn rfc_9112_9_6_a_close_that_the_client_did_not_ask_for_lets_the_whole_reply_arrive() {
    const SIZE: usize = 1 << 20;
    type Close = fn(&mut Cx<'_>) -> bool;
    let table: [(&str, Limits, Close); 3] = [
        ("the last request of a connection", Limits::new().requests_max(Some(1)), |_| false),
        ("a handler's own choice", Limits::new(), |_| true),
        ("the manager stops", Limits::new(), |cx| {
            cx.net.stop();
            false
        }),
    ];
    for (name, limits, close) in table {
        let mut server = serve_within(limits, move |cx: &mut Cx<'_>, ev: Event<'_>| {
            if let Event::HttpRequest(_) = ev {
                let header = close(cx).then_some(("Connection", "close"));
                let response = Response::new(200).shared(vec![b'x'; SIZE].into());
                let response =
                    header.into_iter().fold(response, |response, (name, value)| response.header(name, value));
                cx.reply(response);
            }
        });
        let mut client = server.connect();
        server.send(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        // All of it has left the server, and little of it has come: the client does not read yet.
        server.until("the reply has left", |server| {
            if server.manager.stats().bytes_out < SIZE as u64 {
                client.receive_some(4096);
            }
            server.manager.stats().bytes_out > SIZE as u64
        });
        server.settle();
        // A client that keeps several requests under way does not know yet.
        assert!(client.try_send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n") > 0, "{name}");
        server.settle();
        let reply = server.reply(&mut client);
        assert_eq!((reply.body.len(), reply.closes()), (SIZE, true), "{name}");
        client.shut();
        assert_eq!(server.end(&mut client), "", "{name}");
    }
}

//! Replies over real sockets: what is in them, and what may not be.

mod http_support;

use std::time::Duration;

use http_support::{Cx, Server, echo, serve, serve_within};
use vansire::http::{self, Response};
use vansire::{Event, Limits, Sent};

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

#[test]
fn a_client_that_has_spoken_is_answered_in_the_turn_that_accepts_it() {
    let requests = |head: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n").into_bytes();
    let mut server = serve(echo);
    let (mut once, mut kept, mut shut) = (server.connect(), server.connect(), server.connect());
    once.try_send(&requests("Connection: close\r\n"));
    kept.try_send(&requests(""));
    shut.try_send(&requests(""));
    shut.shut();

    server.manager.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(server.manager.stats().http_requests, 3);
    for client in [&mut once, &mut kept, &mut shut] {
        assert_eq!(server.reply(client).text(), "GET / ");
    }
    assert_eq!((server.end(&mut once), server.end(&mut shut)), (String::new(), String::new()));
    assert_eq!(server.ask(&mut kept, &requests("Connection: close\r\n")).text(), "GET / ");
    assert_eq!(server.end(&mut kept), "");
    server.settle();
    assert_eq!(server.net().connections().len(), 1, "only the listener is left");
}

#[test]
fn a_reply_to_the_first_and_last_request_arrives_whole_and_is_not_reset() {
    const SIZE: usize = 8 << 20;
    for asked in ["Connection: close\r\n", ""] {
        let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
            if let Event::HttpRequest(_) = ev {
                cx.reply(Response::new(200).shared(vec![b'x'; SIZE].into()).header("Connection", "close"));
            }
        });
        let mut client = server.connect();
        client.try_send(format!("GET / HTTP/1.1\r\nHost: a\r\n{asked}\r\n").as_bytes());
        server.settle();
        assert!(server.manager.stats().bytes_out < SIZE as u64, "the socket takes all of it: the test shows nothing");
        if asked.is_empty() {
            client.try_send(&get("/next"));
        }
        assert_eq!(server.reply(&mut client).body.len(), SIZE);
        client.shut();
        assert_eq!(server.end(&mut client), "");
        server.settle();
        assert_eq!(server.net().connections().len(), 1, "only the listener is left");
    }
}

#[test]
fn a_client_that_is_paused_as_it_is_accepted_is_read_when_it_is_resumed() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::Accepted { .. } => {
            cx.net.pause_read(cx.conn);
            cx.state.push("paused".into());
        }
        Event::Wakeup(_) => cx.net.resume_read(cx.conn),
        other => echo(cx, other),
    });
    let mut client = server.connect();
    client.try_send(&get("/"));
    server.settle();
    assert_eq!(server.log(), ["paused"]);
    let conn = server.net().connections().iter().find(|info| info.listener.is_some()).unwrap().id;
    server.manager.waker().wakeup(conn, b"go".as_slice()).unwrap();
    assert_eq!(server.reply(&mut client).text(), "GET / ");
}

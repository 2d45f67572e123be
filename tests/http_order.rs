//! The order of replies over real sockets: deferral, pipelines, persistence, and the stop of the manager.

mod http_support;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http_support::{Cx, Server, describe, echo, serve, serve_within};
use vansire::http::{ReplyId, Response};
use vansire::{Event, Limits, Manager, Sent};

const SECOND: Duration = Duration::from_secs(1);

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
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

/// Pipelined, so that the connection is in the midst of its life, and more waits behind.
#[test]
fn a_panic_is_named_by_its_event_and_nothing_is_told_after_it_but_the_end() {
    for event in ["HttpHead", "HttpRequest"] {
        let mut server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| {
            cx.state.push(describe(&ev));
            match &ev {
                Event::HttpHead(request) | Event::HttpRequest(request) => {
                    assert!(request.target() != "/panic" || ev.name() != event, "on purpose");
                }
                _ => {}
            }
            if let Event::HttpRequest(_) = ev {
                cx.reply(Response::text(200, "fine"));
            }
        });
        server.manager.on_panic(|log, panic| log.push(format!("panic at {}", panic.event)));
        let mut client = server.connect();
        assert_eq!(server.ask(&mut client, &get("/first")).text(), "fine", "{event}");
        let conn = server.net().connections()[1].id;
        server.manager.state_mut().clear();
        server.send(&mut client, &[get("/before"), get("/panic"), get("/behind")].concat());
        server.until_logged("Closed");
        let mut expected = vec!["HttpHead GET /before", "HttpRequest /before ", "HttpHead GET /panic"];
        expected.extend((event == "HttpRequest").then_some("HttpRequest /panic "));
        let named = format!("panic at {event}");
        expected.extend([named.as_str(), "Closed: its handler panicked"]);
        assert_eq!(server.log(), expected);
        assert_eq!((server.manager.stats().handler_panics, server.net().info(conn).is_none()), (1, true), "{event}");
        assert_eq!(server.reply(&mut client).text(), "fine", "{event}");
        assert_eq!(server.end(&mut client), "", "{event}");
    }
}

#[test]
fn a_handler_that_is_replaced_at_the_head_is_not_told_of_the_request() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| {
        cx.state.push(format!("old {}", describe(&ev)));
        if let Event::HttpHead(request) = &ev
            && request.target() == "/swap"
        {
            let new = |cx: &mut Cx<'_>, ev: Event<'_>| {
                cx.state.push(format!("new {}", describe(&ev)));
                if let Event::HttpRequest(_) = ev {
                    cx.reply(Response::text(200, "new"));
                }
            };
            cx.net.set_handler(cx.conn, new);
        }
        if let Event::HttpRequest(_) = ev {
            cx.reply(Response::text(200, "old"));
        }
    });
    for before in ["", "/before"] {
        server.manager.state_mut().clear();
        let mut client = server.connect();
        let mut expected = Vec::new();
        if !before.is_empty() {
            server.send(&mut client, &get(before));
            assert_eq!(server.reply(&mut client).text(), "old");
            expected.extend(["old HttpHead GET /before", "old HttpRequest /before "]);
        }
        server.send(&mut client, &[get("/swap"), get("/after")].concat());
        assert_eq!(server.reply(&mut client).text(), "new", "{before}");
        assert_eq!(server.reply(&mut client).text(), "new", "{before}");
        expected.extend(["old HttpHead GET /swap", "new HttpRequest /swap "]);
        expected.extend(["new HttpHead GET /after", "new HttpRequest /after "]);
        let told: Vec<_> = server.log().iter().filter(|line| line.contains(" Http")).collect();
        assert_eq!(told, expected);
        client.shut();
        server.until_logged("new Closed");
    }
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

/// Real time, and a client on a thread of its own: what is in flight when the stop comes needs both sides to move.
#[test]
fn a_stop_lets_bodies_and_streams_in_flight_finish_and_idle_clients_go() {
    let mut manager = Manager::new(Vec::new()).unwrap();
    let handler = |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpHead(request) => cx.state.push(request.target().to_owned()),
        Event::HttpRequest(request) if request.target() == "/upload" => {
            cx.reply(Response::text(200, request.body_text().unwrap()));
        }
        Event::HttpRequest(_) => {
            let promise = cx.defer().unwrap();
            cx.net.start(promise, Response::new(200));
            cx.net.write(promise, b"begun, ");
            cx.timer_after(Duration::from_millis(50), move |cx| {
                cx.net.write(promise, b"done");
                cx.net.finish(promise, &[]);
            });
        }
        _ => {}
    };
    let listener = manager.net().listen("http://127.0.0.1:0", handler).unwrap();
    let addr = manager.net().local_addr(listener).unwrap().to_string();
    let (stopping, stopped) = std::sync::mpsc::channel();
    let client = std::thread::spawn(move || {
        let connect = || {
            let stream = TcpStream::connect(&addr).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream
        };
        let (mut idle, mut upload, mut stream) = (connect(), connect(), connect());
        upload.write_all(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").unwrap();
        stream.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stopped.recv().unwrap();
        upload.write_all(b"llo").unwrap();
        [&mut idle, &mut upload, &mut stream].map(|stream| {
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            all
        })
    });
    while manager.state().len() < 2 {
        manager.poll(Some(SECOND)).unwrap();
    }
    stopping.send(()).unwrap();
    let begun = Instant::now();
    manager.shutdown(20 * SECOND).unwrap();
    assert!(begun.elapsed() < 15 * SECOND, "it ended by its deadline");
    let [idle, upload, stream] = client.join().unwrap();
    assert_eq!(idle, "");
    assert!(upload.contains("Connection: close\r\n") && upload.ends_with("\r\n\r\nhello"), "{upload}");
    assert!(stream.ends_with("7\r\nbegun, \r\n4\r\ndone\r\n0\r\n\r\n"), "{stream}");
}

#[test]
fn a_second_stop_and_a_deadline_end_what_does_not_finish() {
    for twice in [false, true] {
        let (mut server, waiting) = deferring();
        let mut client = server.connect();
        server.send(&mut client, &get("/later"));
        server.until_logged("/later");
        if twice {
            server.net().stop();
            server.net().stop();
        }
        // The manual clock stands still: nothing more can happen, so the deadline counts as passed.
        server.manager.shutdown(SECOND).unwrap();
        assert_eq!(server.net().reply(waiting.borrow()[0], Response::new(200)), Sent::Gone);
        client.receive();
        assert!(client.ended && client.got.is_empty());
    }
}

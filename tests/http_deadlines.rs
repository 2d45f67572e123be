//! Deadlines of HTTP connections: real sockets, and time that moves only when a test moves it.

mod http_support;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http_support::{Client, Cx, Server, describe, echo, serve, serve_within};
use vansire::http::{Body, ReplyId, Response};
use vansire::{Event, Limits, Sent};

const SECOND: Duration = Duration::from_secs(1);

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

/// Echoes, and writes the ends of connections down.
fn ending(cx: &mut Cx<'_>, ev: Event<'_>) {
    if let Event::Closed(_) = ev {
        cx.state.push(describe(&ev));
    }
    echo(cx, ev);
}

/// Goes on for this long, a second at a time; true when the connection is open after it.
fn lasts(server: &mut Server, seconds: u32) -> bool {
    for _ in 0..seconds {
        server.advance(SECOND);
    }
    server.count("Closed") == 0
}

#[test]
fn e26_a_head_that_is_never_finished_is_408() {
    let mut server = serve(ending);
    let mut client = server.connect();
    server.send(&mut client, b"GET / HTTP/1.1\r\nHost: a\r\n");
    // More of it does not move the deadline.
    for second in 0..9 {
        assert!(lasts(&mut server, 1));
        server.send(&mut client, format!("X-{second}: y\r\n").as_bytes());
    }
    client.receive();
    assert_eq!(client.shown(), "");
    server.advance(SECOND);
    let reply = server.reply(&mut client);
    assert_eq!((reply.status, reply.closes()), (408, true));
    client.shut();
    assert_eq!(server.end(&mut client), "");
    server.until_logged("Closed: timed out: waiting for a request head");
}

#[test]
fn an_unfinished_head_that_could_never_be_good_is_told_why() {
    let mut server = serve(ending);
    let mut client = server.connect();
    for byte in b"GET /\r\nHost: a\r\n" {
        server.send(&mut client, &[*byte]);
        server.settle();
    }
    server.advance(10 * SECOND);
    assert_eq!(server.reply(&mut client).status, 400);
}

#[test]
fn a_client_that_never_sends_is_closed_without_a_word() {
    let mut server = serve(ending);
    let mut client = server.connect();
    server.settle();
    assert!(lasts(&mut server, 9));
    server.advance(SECOND);
    assert_eq!(server.end(&mut client), "");
    assert_eq!(server.log(), ["Closed: timed out: waiting for a request head"]);
}

#[test]
fn the_deadline_of_a_head_begins_with_its_first_byte() {
    let mut server = serve(ending);
    let mut client = server.connect();
    // Each segment ends one request and begins the next.
    server.send(&mut client, b"GET /0 HTTP/1.1\r\n");
    for i in 1..10 {
        assert!(lasts(&mut server, 6), "at request {i}");
        server.send(&mut client, format!("Host: a\r\n\r\nGET /{i} HTTP/1.1\r\n").as_bytes());
        assert_eq!(server.reply(&mut client).text(), format!("GET /{} ", i - 1));
    }
    assert!(lasts(&mut server, 9));
    server.advance(SECOND);
    assert_eq!(server.reply(&mut client).status, 408);
}

#[test]
fn an_idle_connection_is_closed_after_the_idle_timeout() {
    let mut server = serve(ending);
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(server.ask(&mut client, &get("/")).status, 200);
        assert!(lasts(&mut server, 74));
    }
    assert_eq!(server.ask(&mut client, &get("/")).status, 200);
    assert!(lasts(&mut server, 74));
    server.advance(SECOND);
    assert_eq!(server.end(&mut client), "");
    assert_eq!(server.log().last().unwrap(), "Closed: timed out: idle");
}

#[test]
fn readiness_without_a_byte_does_not_prolong_the_idle_timeout() {
    let mut server = serve(ending);
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, &get("/")).status, 200);
    // Not many, as the system may keep what is not acknowledged yet, and send it on as plain bytes.
    for _ in 0..5 {
        assert!(lasts(&mut server, 14));
        client.send_urgent();
    }
    assert!(lasts(&mut server, 4));
    server.advance(SECOND);
    assert_eq!(server.end(&mut client), "");
    assert_eq!(server.log(), ["GET / ", "Closed: timed out: idle"]);
}

/// Defers every request; the test has the tokens.
fn deferring() -> (Server, Rc<RefCell<Vec<ReplyId>>>) {
    let waiting = Rc::new(RefCell::new(Vec::new()));
    let promises = Rc::clone(&waiting);
    let server = serve(move |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(_) => {
            promises.borrow_mut().push(cx.defer().unwrap());
            cx.state.push("request".into());
        }
        ev => ending(cx, ev),
    });
    (server, waiting)
}

/// Sends a request and waits until it is deferred.
fn promised(server: &mut Server, client: &mut Client, waiting: &RefCell<Vec<ReplyId>>, request: &[u8]) -> ReplyId {
    server.send(client, request);
    server.until("the request is deferred", |_| !waiting.borrow().is_empty());
    waiting.borrow_mut().remove(0)
}

#[test]
fn a_promise_that_is_not_kept_ends_the_connection() {
    let (mut server, waiting) = deferring();
    let mut client = server.connect();
    let promise = promised(&mut server, &mut client, &waiting, &get("/"));
    for _ in 0..59 {
        // What the client sends meanwhile does not move the deadline.
        server.send(&mut client, b"G");
        assert!(lasts(&mut server, 1));
    }
    server.advance(SECOND);
    assert_eq!(server.count("Closed: timed out: waiting for a reply"), 1);
    assert_eq!(server.net().reply(promise, Response::new(200)), Sent::Gone);
    client.receive();
    assert_eq!(client.shown(), "");
}

#[test]
fn each_request_has_the_whole_time_for_its_reply() {
    let (mut server, waiting) = deferring();
    let mut client = server.connect();
    server.send(&mut client, &get("/").repeat(5));
    for _ in 0..5 {
        server.until("the request is deferred", |_| !waiting.borrow().is_empty());
        assert!(lasts(&mut server, 59));
        let promise = waiting.borrow_mut().remove(0);
        assert_eq!(server.net().reply(promise, Response::new(200)), Sent::Queued);
        assert_eq!(server.reply(&mut client).status, 200);
    }
}

#[test]
fn a_stream_is_closed_when_nothing_is_written_for_the_reply_timeout() {
    for method in ["GET", "HEAD"] {
        let (mut server, waiting) = deferring();
        let mut client = server.connect();
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let promise = promised(&mut server, &mut client, &waiting, request.as_bytes());
        assert_eq!(server.net().start(promise, Response::new(200)), Sent::Queued);
        for _ in 0..5 {
            assert!(lasts(&mut server, 59), "{method}");
            assert_eq!(server.net().write(promise, b"x"), Sent::Queued, "{method}");
        }
        assert!(lasts(&mut server, 59), "{method}");
        server.advance(SECOND);
        let got = server.end(&mut client);
        assert!(!got.contains("0\r\n\r\n"), "a stream cut short must not look whole: {got}");
        assert_eq!(server.log().last().unwrap(), "Closed: timed out: waiting for a reply to be finished", "{method}");
    }
}

#[test]
fn a_stream_that_ended_leaves_an_idle_connection() {
    for method in ["GET", "HEAD"] {
        let (mut server, waiting) = deferring();
        let mut client = server.connect();
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let promise = promised(&mut server, &mut client, &waiting, request.as_bytes());
        assert_eq!(server.net().start(promise, Response::new(200)), Sent::Queued);
        server.settle();
        assert_eq!(server.net().finish(promise, &[]), Sent::Queued);
        assert!(lasts(&mut server, 74), "{method}");
        server.advance(SECOND);
        server.until_logged("Closed: timed out: idle");
    }
}

#[test]
fn a_silent_event_stream_is_left_alone() {
    let (mut server, waiting) = deferring();
    let mut client = server.connect();
    let promise = promised(&mut server, &mut client, &waiting, &get("/"));
    assert_eq!(server.net().start_events(promise), Sent::Queued);
    assert!(lasts(&mut server, 1000));
    assert_eq!(server.net().write(promise, b": still here\n\n"), Sent::Queued);
    assert!(lasts(&mut server, 1000));
    assert_eq!(server.net().finish(promise, &[]), Sent::Queued);
    assert_eq!(server.reply(&mut client).text(), ": still here\n\n");
}

/// Takes bodies as they come.
fn streaming(cx: &mut Cx<'_>, ev: Event<'_>) {
    match ev {
        Event::HttpHead(_) => cx.body(Body::Stream),
        Event::HttpBody(_) => cx.state.push("piece".into()),
        ev => ending(cx, ev),
    }
}

#[test]
fn a_body_below_the_floor_of_bytes_per_second_is_408() {
    for collect in [false, true] {
        let mut server = if collect { serve(ending) } else { serve(streaming) };
        let mut client = server.connect();
        server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        server.settle();
        // A hundred bytes per second are enough.
        for _ in 0..40 {
            server.send(&mut client, &[b'x'; 101]);
            assert!(lasts(&mut server, 1));
        }
        for _ in 0..20 {
            if client.try_send(&[b'x'; 90]) < 90 {
                break;
            }
            server.advance(SECOND);
            client.receive();
            if !client.got.is_empty() {
                break;
            }
        }
        let reply = server.reply(&mut client);
        assert_eq!((reply.status, reply.closes()), (408, true));
        client.shut();
        assert_eq!(server.end(&mut client), "");
        server.until_logged("Closed: timed out: below the floor");
        assert_eq!(server.count("POST"), 0);
    }
}

#[test]
fn a_body_that_is_whole_as_its_window_ends_is_answered_and_not_refused() {
    for collect in [false, true] {
        let mut server = if collect { serve(ending) } else { serve(streaming) };
        let mut client = server.connect();
        server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
        server.settle();
        // Far below the floor; but in the turn in which the window ends, nothing is missing any more.
        server.clock.advance(10 * SECOND);
        server.send(&mut client, b"abc");
        assert_eq!(server.reply(&mut client).status, 200);
        assert_eq!(server.ask(&mut client, &get("/next")).text(), "GET /next ", "collect: {collect}");
        assert_eq!(server.count("Closed"), 0);
    }
}

#[test]
fn the_floor_holds_for_windows_shorter_than_a_second() {
    let limits = Limits::new().rate_floor(1000).rate_grace(Duration::from_millis(500)).head_timeout(100 * SECOND);
    let mut server = serve_within(limits, ending);
    let mut client = server.connect();
    server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    server.settle();
    for _ in 0..20 {
        server.send(&mut client, &[b'x'; 510]);
        server.advance(Duration::from_millis(500));
        assert_eq!(server.count("Closed"), 0);
    }
    server.send(&mut client, &[b'x'; 490]);
    server.advance(Duration::from_millis(500));
    assert_eq!(server.reply(&mut client).status, 408);
}

#[test]
fn a_window_of_no_length_does_not_spin() {
    let mut server = serve_within(Limits::new().rate_grace(Duration::ZERO).rate_floor(0), ending);
    let mut client = server.connect();
    server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab");
    server.settle();
    let turns = server.manager.stats().turns;
    for _ in 0..10 {
        server.advance(Duration::from_millis(10));
    }
    assert!(server.manager.next_deadline().is_some_and(|at| at > server.net().now()));
    assert!(server.manager.stats().turns - turns < 50);
}

#[test]
fn a_floor_of_zero_lets_a_body_dawdle() {
    let mut server = serve_within(Limits::new().rate_floor(0), ending);
    let mut client = server.connect();
    server.send(&mut client, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab");
    assert!(lasts(&mut server, 500));
    server.send(&mut client, b"c");
    assert_eq!(server.reply(&mut client).text(), "POST / abc");
}

#[test]
fn a_client_that_does_not_read_its_reply_is_closed() {
    let big = |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(_) => drop(cx.reply(Response::new(200).shared(vec![b'x'; 50_000_000].into()))),
        ev => ending(cx, ev),
    };
    let mut server = serve(big);
    let mut client = server.connect();
    server.send(&mut client, &get("/"));
    server.until("the reply is queued", |server| server.net().connections().iter().any(|info| info.queued > 0));
    assert!(lasts(&mut server, 59));
    // What the system took in the first window counts.
    for _ in 0..61 {
        server.advance(SECOND);
    }
    assert_eq!(server.log(), ["Closed: timed out: below the floor of bytes per second"]);
    drop(client);
}

#[test]
fn a_slow_reader_gets_all_of_the_last_reply() {
    let requests = [
        ("close", &b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"[..], false),
        ("half closed", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("stream", b"GET /stream HTTP/1.0\r\n\r\n", false),
    ];
    for (name, request, shuts) in requests {
        let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
            Event::HttpRequest(request) if request.target() == "/" => {
                cx.reply(Response::new(200).shared(vec![b'x'; 15_000_000].into()));
            }
            Event::HttpRequest(_) => {
                cx.net.start(cx.conn, Response::new(200));
                cx.net.write_shared(cx.conn, vec![b'x'; 15_000_000].into());
                cx.net.finish(cx.conn, &[]);
            }
            ev => ending(cx, ev),
        });
        let mut client = server.connect();
        server.send(&mut client, request);
        if shuts {
            client.shut();
        }
        server.until("the reply is queued", |server| server.net().connections().iter().any(|info| info.queued > 0));
        // Far longer than `drain_timeout`.
        for _ in 0..20 {
            assert!(lasts(&mut server, 1), "{name}: {:?}", server.log());
            client.receive_some(200_000);
        }
        assert_eq!(server.reply(&mut client).body.len(), 15_000_000, "{name}");
        assert_eq!(server.end(&mut client), "", "{name}");
    }
}

#[test]
fn a_reader_that_stops_in_the_midst_of_the_last_reply_is_closed() {
    let mut server = serve(|cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(_) => drop(cx.reply(Response::new(200).shared(vec![b'x'; 50_000_000].into()).close())),
        ev => ending(cx, ev),
    });
    let mut client = server.connect();
    server.send(&mut client, &get("/"));
    server.until("the reply is queued", |server| server.net().connections().iter().any(|info| info.queued > 0));
    for _ in 0..121 {
        server.advance(SECOND);
    }
    assert_eq!(server.log(), ["Closed: timed out: below the floor of bytes per second"]);
    drop(client);
}

#[test]
fn a_refused_client_that_neither_reads_nor_leaves_is_dropped_after_lingering() {
    let mut server = serve(ending);
    let mut client = server.connect();
    assert_eq!(server.ask(&mut client, b"nonsense\r\n\r\n").status, 400);
    server.advance(Duration::from_millis(1999));
    assert_eq!(server.count("Closed"), 0);
    server.send(&mut client, b"more");
    server.advance(Duration::from_millis(1));
    assert_eq!(server.count("Closed: refused with 400"), 1);
}

/// Pauses where the target says, for two hours.
fn pausing(cx: &mut Cx<'_>, ev: Event<'_>) {
    let pauses = match &ev {
        Event::HttpHead(request) => request.target() == "/head",
        Event::HttpBody(_) => true,
        Event::HttpRequest(request) => request.target() == "/answered",
        _ => false,
    };
    if pauses {
        cx.state.push("paused".into());
        cx.net.pause_read(cx.conn);
    }
    streaming(cx, ev);
}

#[test]
fn a_client_is_not_blamed_for_a_pause_of_the_handlers() {
    let table = [
        ("in a body", "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx"),
        ("at the head", "POST /head HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"),
        ("between requests", "GET /answered HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (name, request) in table {
        let mut server = serve(pausing);
        let mut client = server.connect();
        server.send(&mut client, request.as_bytes());
        server.until_logged("paused");
        // The handler has as long as for a reply.
        assert!(lasts(&mut server, 59), "{name}");
        server.advance(SECOND);
        assert_eq!(server.count("Closed: timed out: waiting for a reply to be finished"), 1, "{name}");
        client.receive();
        assert!(!client.shown().contains("408"), "{name}");
    }
}

#[test]
fn a_body_that_is_paused_and_resumed_for_hours_goes_on() {
    let mut server = serve(pausing);
    let mut client = server.connect();
    server.send(&mut client, b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n");
    for piece in 1..=200 {
        server.send(&mut client, b"x");
        server.until("a piece comes", |server| server.count("piece") == piece);
        server.advance(40 * SECOND);
        assert_eq!(server.count("Closed"), 0, "at piece {piece}");
        let conn = server.net().connections()[1].id;
        server.net().resume_read(conn);
    }
    assert_eq!(server.reply(&mut client).text(), "POST /body ");
}

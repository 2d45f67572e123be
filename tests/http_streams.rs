//! Replies in pieces over real sockets.

mod http_support;

use std::io::{Read, Write};
use std::time::Duration;

use http_support::{Cx, describe, serve, serve_within};
use vansire::http::{Response, sse};
use vansire::{Ctx, Event, Limits, Manager, Sent};

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
}

#[test]
fn f12_a_streamed_reply_is_chunked_with_trailers() {
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
fn f16_a_stream_waits_for_a_slow_reader() {
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
    // Meanwhile there is nothing to do, and nothing is done.
    for _ in 0..3 {
        let turn = server.manager.poll(Some(Duration::ZERO)).unwrap();
        assert_eq!((turn.events, turn.more), (0, false));
    }
    assert_eq!(server.reply(&mut client).body.len(), total * 50_000);
    assert!(server.count("drained") > 1);
    assert_eq!(server.manager.stats().slow_consumers, 0);
}

#[test]
fn one_piece_may_be_larger_than_the_cap() {
    let mut server = serve_within(Limits::new().write_max(1000), |cx: &mut Cx<'_>, ev: Event<'_>| {
        let Event::HttpRequest(request) = ev else { return };
        if request.target() == "/whole" {
            cx.reply(Response::new(200).body(&vec![b'x'; 100_000]));
            return;
        }
        assert!(cx.net.start(cx.conn, Response::new(200)).is_queued());
        assert_eq!(cx.net.write_shared(cx.conn, vec![b'x'; 100_000].into()), Sent::High);
        assert_eq!(cx.net.finish(cx.conn, &[]), Sent::High);
    });
    for target in ["/whole", "/piece"] {
        let mut client = server.connect();
        assert_eq!(server.ask(&mut client, &get(target)).body.len(), 100_000, "{target}");
        assert_eq!(server.ask(&mut client, &get(target)).body.len(), 100_000, "{target}");
    }
}

#[test]
fn f16_a_writer_that_does_not_wait_is_cut_off_at_the_cap() {
    let mut server = serve_within(Limits::new().write_max(1 << 20), |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
        Event::HttpRequest(_) => {
            cx.net.start(cx.conn, Response::new(200));
            let pieces = (0..).take_while(|_| cx.net.write(cx.conn, &[b'x'; 10_000]).is_queued()).count();
            cx.state.push(format!("{pieces} pieces"));
        }
        Event::Closed(_) => cx.state.push(describe(&ev)),
        _ => {}
    });
    let mut client = server.connect();
    server.send(&mut client, &get("/"));
    server.until_logged("Closed");
    assert_eq!(server.log(), ["105 pieces", "Closed: the peer reads too slowly"]);
    assert_eq!(server.manager.stats().slow_consumers, 1);
}

/// A producer: what it has made so far, and for whom.
#[derive(Default)]
struct Producer {
    made: usize,
    waits: bool,
    over: Option<String>,
}

/// Streams pieces of different lengths, and waits for `Drained` at each `High`.
fn produce(cx: &mut Ctx<'_, Producer>, ev: Event<'_>, total: usize) {
    match ev {
        Event::HttpRequest(_) => drop(cx.net.start(cx.conn, Response::new(200))),
        Event::Drained => assert!(std::mem::take(&mut cx.state.waits), "only who was told High is told Drained"),
        Event::Closed(_) => return cx.state.over = Some(describe(&ev)),
        _ => return,
    }
    while cx.state.made < total {
        let piece = vec![b'a' + (cx.state.made % 26) as u8; 1 + cx.state.made * 37 % 500];
        cx.state.made += 1;
        match cx.net.write(cx.conn, &piece) {
            Sent::Queued => {}
            Sent::High => return cx.state.waits = true,
            other => panic!("{other:?}"),
        }
    }
    cx.net.finish(cx.conn, &[]);
}

#[test]
fn f14_sixty_four_pieces_with_room_for_a_few_come_in_order() {
    // Marks so low that every few pieces have to wait; with 1, every single one.
    for high in [1, 2000] {
        let total = 64;
        let limits = Limits::new().write_high(high).write_low(high / 2);
        let mut manager = Manager::builder().limits(limits).build(Producer::default()).unwrap();
        let listener = manager.net().listen("http://127.0.0.1:0", move |cx: &mut Ctx<'_, Producer>, ev: Event<'_>| {
            produce(cx, ev, total);
        });
        let addr: std::net::SocketAddr =
            manager.net().local_addr(listener.unwrap()).unwrap().to_string().parse().unwrap();
        let client = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(addr).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            // HTTP/1.0: the body as it is, until the end.
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).unwrap();
            reply
        });
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while manager.state().over.is_none() {
            assert!(std::time::Instant::now() < end, "the stream never ends: {} pieces", manager.state().made);
            manager.poll(Some(Duration::from_millis(5))).unwrap();
        }
        let reply = client.join().unwrap();
        let expected: Vec<u8> = (0..total).flat_map(|i| vec![b'a' + (i % 26) as u8; 1 + i * 37 % 500]).collect();
        assert!(reply.ends_with(&expected) && reply.len() < expected.len() + 300, "high at {high}");
        assert!(manager.stats().high_waters >= 5, "high at {high}: {}", manager.stats().high_waters);
    }
}

#[test]
fn f15_a_producer_that_waits_is_told_when_its_client_leaves() {
    let mut manager = Manager::new(Producer::default()).unwrap();
    let listener = manager.net().listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, Producer>, ev: Event<'_>| {
        produce(cx, ev, usize::MAX);
    });
    let addr: std::net::SocketAddr = manager.net().local_addr(listener.unwrap()).unwrap().to_string().parse().unwrap();
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    let mut last = usize::MAX;
    // Until the producer waits, and goes on waiting.
    while last != manager.state().made || last == 0 {
        assert!(std::time::Instant::now() < end, "the producer never waits");
        last = manager.state().made;
        manager.poll(Some(Duration::from_millis(20))).unwrap();
    }
    assert!(manager.state().waits && manager.state().over.is_none());
    drop(client);
    while manager.state().over.is_none() {
        assert!(std::time::Instant::now() < end, "the producer is never told");
        manager.poll(Some(Duration::from_millis(5))).unwrap();
    }
    assert_eq!(manager.net().connection_count(), 1);
}

#[test]
fn f15_a_stream_to_a_client_that_left_answers_gone() {
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

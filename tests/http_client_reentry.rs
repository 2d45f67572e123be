//! A client's handler may do anything in any of its events: end its connection, panic, ask, leave. Nothing is told after
//! that which it should not be told, and the loop comes to rest.

mod http_support;

use std::net::TcpListener;

use http_support::{Client, Cx, Server, describe, serve};
use vansire::http::{Body, Request};
use vansire::{ConnectOptions, Event};

/// What the handler does when it is told of the event.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Close,
    Drain,
    Fail,
    Panic,
    CloseAndAsk,
    Leave,
    Replace,
    Stop,
    Pause,
    Ask,
}

const ACTS: [Act; 10] = [
    Act::Close,
    Act::Drain,
    Act::Fail,
    Act::Panic,
    Act::CloseAndAsk,
    Act::Leave,
    Act::Replace,
    Act::Stop,
    Act::Pause,
    Act::Ask,
];

/// How the connection is made, and how bodies come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Streamed,
    Tunnel,
    Redirect,
    Upload,
}

const WAYS: [Way; 5] = [Way::Plain, Way::Streamed, Way::Tunnel, Way::Redirect, Way::Upload];

const EVENTS: [&str; 7] = ["Opened", "Resolved", "Connected", "HttpResponseHead", "HttpBody", "HttpResponse", "Closed"];

const BODIES: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 103 \r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\nhello",
    "HTTP/1.1 204 \r\n\r\n",
];

fn act(cx: &mut Cx<'_>, what: Act) {
    let conn = cx.conn;
    match what {
        Act::Close => cx.close(),
        Act::Drain => cx.drain(),
        Act::Fail => cx.fail("on purpose"),
        Act::Panic => panic!("on purpose"),
        Act::CloseAndAsk => {
            cx.close();
            assert!(cx.request(Request::get("/late")).unwrap_err().is_gone());
            assert!(!cx.net.write(conn, b"late").is_queued());
            cx.body(Body::Stream);
        }
        Act::Leave => drop(cx.net.clear_handler(conn)),
        Act::Replace => {
            cx.net.set_handler(conn, |cx: &mut Cx<'_>, ev: Event<'_>| cx.state.push(describe(&ev)));
        }
        Act::Stop => cx.net.stop(),
        Act::Pause => cx.net.pause_read(conn),
        Act::Ask => drop(cx.request(Request::get("/more"))),
    }
}

/// The handler acts when it is told of the event for the first time, or later.
fn run(way: Way, event: &'static str, earlier: usize, what: Act, body: &str) {
    let name = format!("{way:?}: {what:?} in {event} {earlier}, {body:?}");
    let mut server: Server = serve(|_: &mut Cx<'_>, _: Event<'_>| ());
    server.manager.on_panic(|_, _| {});
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut seen = 0;
    let handler = move |cx: &mut Cx<'_>, ev: Event<'_>| {
        cx.state.push(describe(&ev));
        if matches!(ev, Event::HttpResponseHead(_)) && way == Way::Streamed {
            cx.body(Body::Stream);
        }
        if ev.name() == event {
            seen += 1;
            if seen == earlier + 1 {
                cx.state.push("acts".into());
                act(cx, what);
            }
        }
    };
    let mut net = server.net();
    let id = match way {
        Way::Plain | Way::Streamed | Way::Upload => net.http_connect(&*url, handler),
        Way::Tunnel => net.http_connect(ConnectOptions::new("http://device.invalid").tunnel(&*url), handler),
        Way::Redirect => net.fetch(Request::get(format!("{url}/1")).redirects(3), handler),
    };
    let id = id.unwrap();
    match way {
        Way::Redirect => {}
        Way::Upload => {
            net.request(id, Request::post("/1").streamed(None)).unwrap();
            net.request(id, Request::get("/2")).unwrap();
        }
        _ => {
            net.request(id, Request::get("/1")).unwrap();
            net.request(id, Request::get("/2")).unwrap();
        }
    }
    // The server: answers each head that it gets.
    let mut peers: Vec<Client> = Vec::new();
    for _ in 0..60 {
        server.settle();
        if let Ok((stream, _)) = listener.accept() {
            peers.push(Client::new(stream));
        }
        for peer in &mut peers {
            peer.receive();
            if peer.ended || !peer.got.windows(4).any(|four| four == b"\r\n\r\n") {
                continue;
            }
            let asked = peer.shown();
            peer.got.clear();
            let answer = match (way, &asked) {
                (Way::Tunnel, asked) if asked.starts_with("CONNECT") => "HTTP/1.1 200 OK\r\n\r\n",
                (Way::Redirect, asked) if asked.starts_with("GET /1") => {
                    "HTTP/1.1 302 Found\r\nLocation: /2\r\nContent-Length: 9\r\n\r\n"
                }
                _ => body,
            };
            peer.try_send(answer.as_bytes());
        }
        if !body.contains("Length") && !body.contains("chunked") {
            server.settle();
            peers.retain(|peer| !peer.got.is_empty());
        }
    }
    if what == Act::Pause {
        server.net().resume_read(id);
    }
    peers.clear();
    server.settle();
    server.net().close(id);
    server.settle();

    let log = server.log().to_vec();
    let closed = log.iter().filter(|line| line.starts_with("Closed")).count();
    let Some(at) = log.iter().position(|line| line == "acts") else {
        assert_eq!(closed, 1, "{name}: {log:?}");
        return;
    };
    let after = &log[at + 1..];
    let tells_more = after.iter().any(|line| !line.starts_with("Closed"));
    match what {
        Act::Close | Act::Fail | Act::Panic | Act::CloseAndAsk => {
            assert!(!tells_more, "{name}: {log:?}");
            assert_eq!(closed, 1, "{name}: {log:?}");
        }
        Act::Leave => assert!(after.is_empty(), "{name}: {log:?}"),
        Act::Drain | Act::Replace | Act::Stop | Act::Pause | Act::Ask => assert_eq!(closed, 1, "{name}: {log:?}"),
    }
    assert!(
        log.last().unwrap().starts_with("Closed") || matches!(what, Act::Leave) || event == "Closed",
        "{name}: {log:?}"
    );
    assert_eq!(server.manager.stats().handler_panics, u64::from(what == Act::Panic), "{name}: {log:?}");
    assert!(server.net().connection_count() <= 1, "{name}: {:?}", server.net().connections());
}

#[test]
fn a_handler_may_do_anything_in_any_event() {
    for way in WAYS {
        for event in EVENTS {
            for what in ACTS {
                for body in BODIES {
                    run(way, event, 0, what, body);
                    // Behind a redirect, and of the second response.
                    if way == Way::Redirect || event.starts_with("HttpResponse") {
                        run(way, event, 1, what, body);
                    }
                }
            }
        }
    }
}

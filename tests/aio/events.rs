//! Events as a stream.

use std::io::{Read, Write};

use vansire::aio::{Overflow, OwnedEvent};
use vansire::{CloseReason, http};

use crate::common::{client, pattern, read_all};
use crate::support::{Launch, addr, block_on, counter, in_each_way, nothing};

#[test]
fn a_task_is_the_handler_of_what_a_listener_accepts() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let server = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap();
        let mut events = manager.events(server.id(), 16, Overflow::Pause).await.unwrap();
        let mut stream = client(addr(&server));
        stream.write_all(b"hello").unwrap();
        let mut seen = Vec::new();
        while let Some((id, event)) = events.next().await {
            match event {
                // The listener's own may be among them, where it had not been told yet.
                OwnedEvent::Opened => {}
                OwnedEvent::Accepted { listener } => assert_eq!(listener, server.id()),
                OwnedEvent::Data(data) => {
                    seen.extend_from_slice(&data);
                    if seen == b"hello" {
                        manager.with(move |cx| cx.net.send(id, b"bye")).await.unwrap();
                        manager.submit(move |cx| cx.net.drain(id)).await.unwrap();
                        let rest = tokio::task::spawn_blocking(move || read_all(&mut stream));
                        assert_eq!(rest.await.unwrap(), b"bye");
                        break;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        let e = manager.events(vansire::ConnId::clone(&server.detach()), 1, Overflow::Pause).await;
        assert!(e.is_ok());
    });
}

/// Nothing is lost or doubled, and the loop holds no more than it was told to.
#[test]
fn a_slow_taker_is_felt_by_the_peer() {
    block_on(async {
        let manager = counter().launch().await.unwrap();
        let server = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap();
        let mut events = manager.events(server.id(), 2, Overflow::Pause).await.unwrap();
        let sent = pattern(8_000_000);
        let bytes = sent.clone();
        let mut stream = client(addr(&server));
        let writer = std::thread::spawn(move || {
            stream.write_all(&bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Until the other side is done.
            let _ = stream.read(&mut [0]);
        });
        let mut got = Vec::new();
        while got.len() < sent.len() {
            match events.next().await.unwrap().1 {
                OwnedEvent::Data(data) => got.extend_from_slice(&data),
                OwnedEvent::Closed(reason) => panic!("{reason}"),
                _ => {}
            }
        }
        assert!(got == sent);
        drop(events);
        writer.join().unwrap();
    });
}

#[test]
fn what_does_not_fit_is_dropped_and_counted_or_closes() {
    block_on(async {
        for overflow in [Overflow::DropNewest, Overflow::Close] {
            let manager = counter().launch().await.unwrap();
            let server = manager.listen("http://127.0.0.1:0", nothing).await.unwrap();
            let mut events = manager.events(server.id(), 3, overflow).await.unwrap();
            // Its beginning, and one request: three.
            let mut stream = client(addr(&server));
            stream.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            while manager.stats().await.unwrap().http_requests == 0 {}
            let mut requests = Vec::new();
            let mut second = client(addr(&server));
            if overflow == Overflow::DropNewest {
                // It waits in nobody's queue: that is full.
                second.write_all(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                let mut head = [0; 12];
                second.read_exact(&mut head).unwrap();
                assert_eq!(&head, b"HTTP/1.1 503");
                // Its beginning, told in two events, as well.
                assert_eq!(events.dropped(), 3);
            } else {
                second.write_all(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                // Closed without an answer.
                let mut rest = Vec::new();
                let _ = second.read_to_end(&mut rest);
                assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
                assert_eq!(manager.stats().await.unwrap().slow_consumers, 1);
            }
            while requests.is_empty() {
                match events.next().await.unwrap().1 {
                    OwnedEvent::Request(request) => requests.push(request),
                    OwnedEvent::Closed(reason) => assert!(matches!(reason, CloseReason::SlowConsumer), "{reason}"),
                    _ => {}
                }
            }
            let request = requests.remove(0);
            assert_eq!((&*request.method, &*request.target), ("GET", "/1"));
            let reply = request.reply;
            manager.with(move |cx| cx.net.reply(reply, http::Response::text(200, "one").close())).await.unwrap();
            let text = String::from_utf8(read_all(&mut stream)).unwrap();
            assert!(text.ends_with("one"), "{text}");
        }
    });
}

/// Nobody takes anything, and peers come and go: the queue stays short, and tells of whole connections.
#[test]
fn peers_that_come_and_go_do_not_fill_the_queue() {
    const PEERS: u64 = 100;
    block_on(async {
        for overflow in [Overflow::DropNewest, Overflow::Close] {
            let manager = counter().launch().await.unwrap();
            let server = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap();
            let mut events = manager.events(server.id(), 4, overflow).await.unwrap();
            for n in 1..=PEERS {
                drop(client(addr(&server)));
                while manager.stats().await.unwrap().closed < n {}
            }
            manager.shutdown().await;
            let (mut len, mut open) = (0, vec![server.id()]);
            while let Some((id, event)) = events.next().await {
                len += 1;
                match event {
                    OwnedEvent::Opened if id != server.id() => open.push(id),
                    OwnedEvent::Closed(_) => open.retain(|other| *other != id),
                    _ => assert!(open.contains(&id), "{overflow:?}: {event:?} of {id}"),
                }
            }
            // Two peers, with their beginnings and ends, and the end of the listener.
            assert!(len <= 8, "{overflow:?}: {len} events wait");
            assert!(open.is_empty(), "{overflow:?}: no end of {open:?}");
            assert!(overflow == Overflow::Close || events.dropped() >= PEERS, "{} dropped", events.dropped());
        }
    });
}

#[test]
fn a_stream_ends_after_its_connection_and_leaves_it_alone_when_it_is_dropped() {
    in_each_way(|| async {
        let manager = counter().on_event(|cx, _| *cx.state += 1).launch().await.unwrap();
        let socket = manager.listen("udp://127.0.0.1:0", nothing).await.unwrap();
        let mut events = manager.events(socket.id(), 4, Overflow::Pause).await.unwrap();
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(b"one", addr(&socket)).unwrap();
        loop {
            match events.next().await.unwrap().1 {
                OwnedEvent::Datagram { from, data } => {
                    assert_eq!((from, &data[..]), (peer.local_addr().unwrap(), &b"one"[..]));
                    break;
                }
                OwnedEvent::Opened => {}
                other => panic!("{other:?}"),
            }
        }
        drop(events);
        // The first finds out; the default handler gets those behind it.
        while manager.with(|cx| *cx.state).await.unwrap() == 0 {
            peer.send_to(b"two", addr(&socket)).unwrap();
        }
        let mut events = manager.events(socket.id(), 4, Overflow::Pause).await.unwrap();
        let id = socket.id();
        drop(socket);
        let mut last = None;
        while let Some((whose, event)) = events.next().await {
            assert_eq!(whose, id);
            last = Some(event);
        }
        assert!(matches!(last, Some(OwnedEvent::Closed(CloseReason::Local))), "{last:?}");
        assert!(manager.events(id, 4, Overflow::Pause).await.unwrap_err().is_gone());
    });
}

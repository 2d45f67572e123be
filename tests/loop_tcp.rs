//! TCP connections: cases A23, A24 and D1-D7 of the reference, and what reading, draining and closing promise.
//! D2 and D3 are tables beside the URL parser in `src/net/addr.rs`, met here through `listen` and `connect`; D7 and the
//! water marks are in `send.rs`.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use common::{
    DEADLINE, Log, ZERO, addr, client, echo, helper, manager, ms, note, pattern, read_all, read_n, record, until,
};
use socket2::SockRef;
use vansire::{CloseReason, ConnId, ConnectOptions, Ctx, Event, Limits, ListenOptions, Manager, Sent};

#[test]
fn a23_two_thousand_short_connections_in_a_row_are_all_served() {
    let mut manager = Manager::new(0u32).unwrap();
    let addr = counting_echo(&mut manager);
    helper(move || (0..2000).for_each(|n| short_talk(addr, n))).wait(&mut manager, "2000 connections");
    let served = |m: &mut Manager<u32>| *m.state() == 2000 && m.net().connection_count() == 1;
    until(&mut manager, "no stale entries", served);
    let stats = manager.stats();
    assert_eq!((stats.accepted, stats.resets, stats.handler_panics), (2000, 0, 0));
}

#[test]
fn a23_five_clients_of_four_hundred_connections_each_are_all_served() {
    let mut manager = Manager::new(0u32).unwrap();
    let addr = counting_echo(&mut manager);
    let clients: Vec<_> =
        (0..5).map(|client| helper(move || (0..400).for_each(|n| short_talk(addr, client * 1000 + n)))).collect();
    for client in clients {
        client.wait(&mut manager, "400 connections");
    }
    until(&mut manager, "no stale entries", |m| *m.state() == 2000 && m.net().connection_count() == 1);
}

#[test]
fn a24_connections_that_wait_are_accepted_in_a_few_turns() {
    // (clients, the bound of one turn, turns that they may take)
    for (clients, bound, turns) in [(50, 64, 3), (130, 64, 5), (10, 3, 6)] {
        let mut manager =
            Manager::builder().limits(Limits::new().accepts_per_turn(bound)).build(Log::default()).unwrap();
        let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
        let addr = addr(&mut manager, id);
        let streams: Vec<_> = (0..clients).map(|_| client(addr)).collect();
        let mut most = 0;
        for turn in 0.. {
            assert!(turn < turns, "{clients} clients, {} accepted after {turn} turns", manager.stats().accepted);
            let before = manager.stats().accepted;
            manager.poll(Some(ZERO)).unwrap();
            most = most.max(manager.stats().accepted - before);
            if manager.stats().accepted == clients {
                break;
            }
        }
        assert!(most <= bound as u64, "{most} accepted in one turn, of at most {bound}");
        drop(streams);
    }
}

#[cfg(feature = "http")]
#[test]
fn d1_the_scheme_chooses_the_protocol_and_raw_overrides_it() {
    let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    let table = [
        ("http", ListenOptions::new("http://127.0.0.1:0"), "HttpRequest GET /x"),
        ("upper-case scheme", ListenOptions::new("HTTP://127.0.0.1:0"), "HttpRequest GET /x"),
        ("tcp", ListenOptions::new("tcp://127.0.0.1:0"), "Data GET /x"),
        ("http, raw", ListenOptions::new("http://127.0.0.1:0").raw(true), "Data GET /x"),
    ];
    for (name, options, expected) in table {
        let mut manager = manager();
        let id = manager.net().listen(options, record).unwrap();
        let addr = addr(&mut manager, id);
        let mut stream = client(addr);
        stream.write_all(request.as_bytes()).unwrap();
        until(&mut manager, name, |m| m.state().count("Data") + m.state().count("HttpRequest") > 0);
        assert_eq!(manager.state().count(expected), 1, "{name}: {:?}", manager.state());
    }
}

#[test]
fn d4_a_bad_url_or_address_is_an_error_that_names_it() {
    let mut manager = manager();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    type Check = fn(&vansire::Error) -> bool;
    let bad: Check = vansire::Error::is_bad_url;
    let table: [(&str, &str, Check); 14] = [
        ("no scheme", "127.0.0.1:80", bad),
        ("unknown scheme", "htp://127.0.0.1:80", bad),
        ("port too large", "tcp://127.0.0.1:99999", bad),
        ("port no number", "tcp://127.0.0.1:abc", bad),
        ("no port", "tcp://127.0.0.1", bad),
        ("a host name", "tcp://example.org:80", bad),
        ("empty", "", bad),
        ("busy port", &format!("tcp://{taken}"), vansire::Error::is_address_in_use),
        ("foreign address", "tcp://192.0.2.1:8080", |e| e.io_kind() == Some(ErrorKind::AddrNotAvailable)),
        ("no TLS here", "https://127.0.0.1:0", vansire::Error::is_unsupported),
        ("no such directory", "unix:/nowhere/at/all.sock", |e| e.io_kind() == Some(ErrorKind::NotFound)),
        ("user and password", "tcp://me:secret@127.0.0.1:99999", bad),
        ("a user nobody would ask for", "tcp://me:secret@127.0.0.1:0", bad),
        ("a broker's", "mqtt://127.0.0.1:0", |e| e.is_unsupported() && e.to_string().contains("roker")),
    ];
    for (name, url, is_right) in table {
        let e = manager.net().listen(url, record).unwrap_err();
        assert!(is_right(&e), "{name}: {e:?}");
        let shown = url.replace("secret", "***");
        assert!(e.to_string().contains(&shown), "{name}: {e} does not name {shown}");
        let factory = manager.net().listen_with(url, || record).unwrap_err();
        assert_eq!(factory.to_string(), e.to_string(), "{name}");
    }
    for (name, url) in [("port 0", "tcp://127.0.0.1:0"), ("no host", "tcp://:80"), ("unknown", "x://127.0.0.1:1")] {
        let e = manager.net().connect(url, record).unwrap_err();
        assert!(e.is_bad_url() && e.to_string().contains(url), "{name}: {e}");
    }
    assert_eq!(manager.net().connection_count(), 0, "what failed left nothing behind");
    common::poll_for(&mut manager, ms(10));
    assert!(manager.state().lines.is_empty(), "nobody is told of what never was");
}

#[test]
fn d4_what_the_options_ask_for_and_the_system_refuses_is_named() {
    let mut manager = manager();
    let table = [
        ("dscp", ListenOptions::new("tcp://127.0.0.1:0").dscp(64)),
        ("bind_device", ListenOptions::new("tcp://127.0.0.1:0").bind_device("nosuch0")),
    ];
    for (option, options) in table {
        let e = manager.net().listen(options, record).unwrap_err();
        assert!(e.to_string().contains("tcp://127.0.0.1:0"), "{option}: {e}");
        let named = if option == "dscp" { "tos" } else { option };
        assert!(e.to_string().contains(named), "{option}: {e}");
    }
}

#[test]
fn d5_port_zero_gives_a_port_that_is_there_to_read() {
    let mut manager = manager();
    for url in ["tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp://localhost:0", "udp://127.0.0.1:0", "udp://[::1]:0"] {
        let id = manager.net().listen(url, echo).unwrap();
        let port = manager.net().local_addr(id).unwrap().port().unwrap();
        assert_ne!(port, 0, "{url}");
        assert_eq!(manager.net().info(id).unwrap().local.unwrap().port(), Some(port), "{url}");
        if url.starts_with("tcp") {
            client(addr(&mut manager, id));
        }
    }
}

#[test]
fn d6_an_echo_gives_back_exactly_what_it_was_given() {
    for url in ["tcp://127.0.0.1:0", "tcp://[::1]:0"] {
        let mut manager = manager();
        let id = manager.net().listen(url, echo).unwrap();
        let addr = addr(&mut manager, id);
        let talk = helper(move || {
            let mut stream = client(addr);
            for round in 0..5u8 {
                let sent: Vec<u8> = (round * 10..round * 10 + 10).collect();
                stream.write_all(&sent).unwrap();
                assert_eq!(read_n(&mut stream, 10), sent);
            }
            stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_all(&mut stream), b"", "nothing more comes than was sent");
        });
        talk.wait(&mut manager, "five echoes");
    }
}

#[test]
fn bytes_arrive_in_order_whatever_their_number() {
    let mut manager = Manager::new(Vec::new()).unwrap();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Vec<u8>>, ev: Event<'_>| {
        if let Event::Data(data) = ev {
            cx.state.extend_from_slice(&data);
            cx.send(&data);
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let sent = pattern(5_000_000);
    let copy = sent.clone();
    let talk = helper(move || {
        let mut stream = client(addr);
        let mut reader = stream.try_clone().unwrap();
        let read = std::thread::spawn(move || read_all(&mut reader));
        for piece in copy.chunks(77_777) {
            stream.write_all(piece).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        read.join().unwrap()
    });
    let back = talk.wait(&mut manager, "5 MB there and back");
    assert!(back == sent, "what came back differs: {} bytes of {}", back.len(), sent.len());
    assert!(*manager.state() == sent);
}

#[test]
fn a_peer_that_shuts_only_its_own_side_still_gets_what_is_queued() {
    let mut manager = manager();
    let body = pattern(3_000_000);
    let reply = body.clone();
    let id = manager.net().listen("tcp://127.0.0.1:0", move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(_) = ev {
            cx.send(&reply);
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let talk = helper(move || {
        let mut stream = client(addr);
        stream.write_all(b"ask").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream)
    });
    assert!(talk.wait(&mut manager, "the reply") == body);
    until(&mut manager, "its end", |m| m.state().count("Closed") == 1);
    let conn = manager.state().who("Accepted")[0];
    assert_eq!(manager.state().end_of(conn), Some("Closed: closed by the peer"));
}

#[test]
fn a_drained_connection_sends_everything_and_hears_nothing_more() {
    let mut manager = manager();
    let body = pattern(3_000_000);
    let reply = body.clone();
    let id = manager.net().listen("tcp://127.0.0.1:0", move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(_) = ev {
            cx.send(&reply);
            cx.drain();
            assert_eq!(cx.send(b"late"), Sent::Gone);
            cx.drain();
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let waker = manager.waker();
    let talk = helper(move || {
        let mut stream = client(addr);
        stream.write_all(b"ask").unwrap();
        let first = read_n(&mut stream, 1_000);
        // This is not delivered any more, and must not turn the end into a reset.
        stream.write_all(b"and more").unwrap();
        let rest = read_all(&mut stream);
        [first, rest].concat()
    });
    until(&mut manager, "the drain", |m| m.state().count("Data") == 1);
    let conn = manager.state().who("Data")[0];
    // A wakeup is nothing that a drained connection is told of either.
    waker.wakeup(conn, b"hello?").unwrap();
    assert!(talk.wait(&mut manager, "the reply") == body);
    until(&mut manager, "its end", |m| m.state().end_of(conn).is_some());
    assert_eq!(manager.state().of(conn), ["Opened", "Accepted", "Data ask", "Closed: closed by this side"]);
    assert_eq!(manager.stats().wakeups_missed, 1);
}

#[test]
fn a_drain_that_the_peer_does_not_follow_ends_in_time() {
    let limits = Limits::new().drain_timeout(ms(60));
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Accepted { .. } = ev {
            cx.send(&vec![b'x'; 12_000_000]);
            cx.drain();
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let stream = client(addr);
    until(&mut manager, "its end", |m| m.state().count("Closed") == 1);
    let conn = manager.state().who("Accepted")[0];
    assert_eq!(manager.state().end_of(conn), Some("Closed: timed out: draining"));
    assert_eq!(manager.stats().timeouts, 1);
    drop(stream);
}

#[test]
fn a_drain_before_the_connection_stands_sends_first_and_closes_then() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let mut manager = manager();
    let id = manager.net().connect(&url, record).unwrap();
    assert_eq!(manager.net().send(id, b"farewell"), Sent::Queued);
    manager.net().drain(id);
    assert_eq!(manager.net().send(id, b"late"), Sent::Gone);
    let accepted = helper(move || {
        let (mut stream, _) = listener.accept().unwrap();
        common::patient(&stream);
        read_all(&mut stream)
    });
    assert_eq!(accepted.wait(&mut manager, "what was sent"), b"farewell");
    until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
    assert_eq!(manager.state().of(id), ["Opened", "Closed: closed by this side"]);
    // With nothing to send there is nothing to wait for.
    let id = manager.net().connect(&url, record).unwrap();
    manager.net().drain(id);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(id), ["Opened", "Closed: closed by this side"]);
}

#[test]
fn a_last_reply_is_read_though_input_was_left_unread() {
    // Closing a socket with unread input resets the connection, and the reset may overtake the reply.
    for round in 0..20 {
        let mut manager = manager();
        let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
            note(cx, &ev);
            if let Event::Data(_) = ev {
                cx.send(b"no, thank you");
                cx.drain();
            }
        });
        let addr = addr(&mut manager, id.unwrap());
        let talk = helper(move || {
            let mut stream = client(addr);
            // Far more than one turn reads.
            let mut writer = stream.try_clone().unwrap();
            let write = std::thread::spawn(move || writer.write_all(&[b'x'; 1_000_000]).is_ok());
            let said = read_all(&mut stream);
            (said, write.join().unwrap())
        });
        let (said, _) = talk.wait(&mut manager, "the reply");
        assert_eq!(said, b"no, thank you", "round {round}");
    }
}

#[test]
fn a_peer_that_never_ends_is_not_lingered_for() {
    let limits = Limits::new().linger_timeout(ms(60));
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(_) = ev {
            cx.drain();
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    // It sends until it cannot.
    let flood = helper(move || {
        let mut stream = client(addr);
        while stream.write_all(&[b'x'; 1000]).is_ok() {}
    });
    flood.wait(&mut manager, "the end of the flood");
    until(&mut manager, "its end", |m| m.state().count("Closed") == 1);
}

#[test]
fn close_offers_what_is_queued_to_the_system_once() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        if let Event::Accepted { .. } = ev {
            cx.send(b"last words");
            cx.close();
            assert_eq!(cx.send(b"late"), Sent::Gone);
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let said = helper(move || read_all(&mut client(addr))).wait(&mut manager, "the last words");
    assert_eq!(said, b"last words");
}

#[test]
fn a_peer_that_cuts_the_connection_off_is_told_as_a_reset() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let addr = addr(&mut manager, id);
    // (name, paused when it happens)
    for (name, paused) in [("reading", false), ("paused", true)] {
        let stream = client(addr);
        let before = manager.state().count("Closed");
        until(&mut manager, "an accept", |m| m.state().count("Accepted") > before);
        let conn = *manager.state().who("Accepted").last().unwrap();
        if paused {
            manager.net().pause_read(conn);
        }
        SockRef::from(&stream).set_linger(Some(ZERO)).unwrap();
        drop(stream);
        until(&mut manager, name, |m| m.state().end_of(conn).is_some());
        assert_eq!(manager.state().end_of(conn), Some("Closed: cut off: connection reset"), "{name}");
    }
    assert_eq!(manager.stats().resets, 2);
}

#[test]
fn input_that_is_not_consumed_comes_again_in_front_of_the_next() {
    let mut manager = manager();
    // A protocol of lines.
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        if let Event::Data(data) = ev {
            let end = data.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            for line in data[..end].split_inclusive(|b| *b == b'\n') {
                cx.state.lines.push((cx.conn, common::text(line)));
            }
            data.consume(end);
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let mut stream = client(addr);
    let text = b"one\ntwo\n\nthree and a half\nno end";
    for (n, byte) in text.iter().enumerate() {
        stream.write_all(&[*byte]).unwrap();
        until(&mut manager, "the byte", |m| m.stats().bytes_in == n as u64 + 1);
    }
    assert_eq!(manager.state().all(), ["one\n", "two\n", "\n", "three and a half\n"]);
}

#[test]
fn input_kept_unread_has_a_bound() {
    let limits = Limits::new().read_max(10_000);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(data) = ev {
            data.consume(0);
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let mut stream = client(addr);
    stream.write_all(&[b'x'; 10_000]).unwrap();
    until(&mut manager, "10,000 bytes", |m| m.stats().bytes_in == 10_000);
    common::poll_for(&mut manager, ms(10));
    assert_eq!(manager.state().count("Closed"), 0, "the bound itself is allowed");
    stream.write_all(b"x").unwrap();
    until(&mut manager, "its end", |m| m.state().count("Closed: too much input kept unread") == 1);
    assert_eq!(manager.stats().reads_full, 1);
}

#[test]
fn a_paused_connection_delivers_nothing_until_it_is_resumed() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Accepted { .. } = ev {
            cx.net.pause_read(cx.conn);
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let mut stream = client(addr);
    stream.write_all(b"early").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    until(&mut manager, "an accept", |m| m.state().count("Accepted") == 1);
    let conn = manager.state().who("Accepted")[0];
    // The edge comes while nobody wants it.
    common::poll_for(&mut manager, ms(20));
    assert_eq!(manager.state().of(conn), ["Opened", "Accepted"]);
    assert!(manager.net().info(conn).unwrap().is_paused);
    manager.net().resume_read(conn);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(conn)[..3], ["Opened", "Accepted", "Data early"]);
    until(&mut manager, "its end", |m| m.state().end_of(conn).is_some());
    assert_eq!(manager.state().end_of(conn), Some("Closed: closed by the peer"));
}

#[test]
fn what_a_paused_handler_left_comes_again_when_it_is_resumed() {
    let mut manager = manager();
    // One byte at a time, each on demand.
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(data) = ev {
            data.consume(1);
            cx.net.pause_read(cx.conn);
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let mut stream = client(addr);
    stream.write_all(b"abc").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    until(&mut manager, "the first", |m| m.state().count("Data") == 1);
    let conn = manager.state().who("Data")[0];
    for (count, seen) in [(2, "Data bc"), (3, "Data c")] {
        common::poll_for(&mut manager, ms(5));
        assert_eq!(manager.state().count("Data"), count - 1);
        manager.net().resume_read(conn);
        until(&mut manager, seen, |m| m.state().of(conn).contains(&seen));
    }
    assert_eq!(manager.state().end_of(conn), None);
    manager.net().resume_read(conn);
    until(&mut manager, "its end", |m| m.state().end_of(conn).is_some());
}

#[test]
fn a_paused_listener_accepts_nothing_until_it_is_resumed() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let addr = addr(&mut manager, id);
    manager.net().pause_read(id);
    let stream = client(addr);
    common::poll_for(&mut manager, ms(20));
    assert_eq!(manager.stats().accepted, 0);
    manager.net().resume_read(id);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.stats().accepted, 1);
    drop(stream);
}

#[test]
fn listen_options_reach_the_system() {
    let mut manager = manager();
    // Two listeners on one port, only where both ask for it.
    let shared = |addr: &str| ListenOptions::new(format!("tcp://{addr}")).reuse_port(true);
    let first = manager.net().listen(shared("127.0.0.1:0"), record).unwrap();
    let to = addr(&mut manager, first);
    manager.net().listen(shared(&to.to_string()), record).unwrap();
    let alone = manager.net().listen(format!("tcp://{to}"), record).unwrap_err();
    assert!(alone.is_address_in_use(), "{alone}");

    // IPv6 with and without IPv4 beside it.
    for only in [true, false] {
        let options = ListenOptions::new("tcp://[::]:0").v6only(only);
        let id = manager.net().listen(options, record).unwrap();
        let port = addr(&mut manager, id).port();
        let v4 = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), DEADLINE);
        assert_eq!(v4.is_err(), only, "v6only({only})");
        if let Ok(v4) = v4 {
            let before = manager.state().count("Accepted");
            until(&mut manager, "an accept", |m| m.state().count("Accepted") > before);
            let conn = *manager.state().who("Accepted").last().unwrap();
            let remote = manager.net().info(conn).unwrap().remote.unwrap();
            assert_eq!(remote.ip().to_canonical(), v4.local_addr().unwrap().ip());
        }
        client(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
    }
}

#[test]
fn a_restarted_server_gets_its_port_back_while_old_connections_are_there() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, id);
    // It stays open, as those of a program that ended linger; and unlike those, for certain.
    let _old = client(to);
    until(&mut manager, "an accept", |m| m.stats().accepted == 1);
    manager.net().close(id);
    manager.poll(Some(ZERO)).unwrap();
    let without = ListenOptions::new(format!("tcp://{to}")).reuse_address(false);
    assert!(manager.net().listen(without, record).unwrap_err().is_address_in_use());
    manager.net().listen(format!("tcp://{to}"), record).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_listeners_backlog_and_device_are_the_ones_it_was_given() {
    let mut manager = manager();
    let options = ListenOptions::new("tcp://127.0.0.1:0").backlog(2).bind_device("lo");
    let id = manager.net().listen(options, record).unwrap();
    let to = addr(&mut manager, id);
    manager.net().pause_read(id);
    let waiting: Vec<_> = (0..6).map_while(|_| TcpStream::connect_timeout(&to, ms(100)).ok()).collect();
    assert_eq!(waiting.len(), 3, "Linux holds one more than it is told to");
    manager.net().resume_read(id);
    until(&mut manager, "the accepts", |m| m.stats().accepted >= 3);
}

#[test]
fn a_listeners_limits_are_those_of_its_connections_and_of_no_other() {
    let mut manager = manager();
    let keeps = |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(data) = ev {
            data.consume(0);
        }
    };
    let strict = ListenOptions::new("tcp://127.0.0.1:0").limits(Limits::new().read_max(10));
    let (strict, lax) =
        (manager.net().listen(strict, keeps).unwrap(), manager.net().listen("tcp://127.0.0.1:0", keeps).unwrap());
    let mut streams = [strict, lax].map(|id| client(addr(&mut manager, id)));
    for stream in &mut streams {
        stream.write_all(b"more than ten bytes").unwrap();
    }
    until(&mut manager, "the bytes", |m| m.stats().bytes_in == 38);
    until(&mut manager, "an end", |m| m.state().count("Closed") == 1);
    let ended = manager.state().who("Closed")[0];
    assert_eq!(manager.state().end_of(ended), Some("Closed: too much input kept unread"));
    let left: Vec<_> = manager.net().connections().into_iter().filter_map(|info| info.listener).collect();
    assert_eq!(left, [lax]);
    // The same for what is connected to.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let id = manager.net().connect(ConnectOptions::new(url).limits(Limits::new().write_max(5)), record).unwrap();
    assert_eq!(manager.net().send(id, b"12345"), Sent::Queued);
    assert_eq!(manager.net().send(id, b"6"), Sent::Gone);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().end_of(id), Some("Closed: the peer reads too slowly"));
}

#[cfg(target_os = "linux")]
#[test]
fn connect_options_reach_the_system() {
    // What an outbound connection was made with, as its peer or the system sees it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let mut manager = manager();
    let options = ConnectOptions::new(format!("tcp://{to}")).local_addr(([127, 0, 0, 3], 0)).bind_device("lo");
    let id = manager.net().connect(options, record).unwrap();
    until(&mut manager, "Connected", |m| m.state().count("Connected") == 1);
    let (_stream, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), "127.0.0.3");
    assert_eq!(addr(&mut manager, id), from);
    assert_eq!(manager.net().remote_addr(id), Some(to));
    let options = ConnectOptions::new(format!("tcp://{to}")).bind_device("nosuch0");
    let id = manager.net().connect(options, record).unwrap();
    until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
    let end = manager.state().end_of(id).unwrap();
    assert!(end.contains("bind_device") && end.contains(&format!("tcp://{to}")), "{end}");
}

#[test]
fn a_taken_over_listener_and_stream_are_served_like_others() {
    use vansire::net::Scheme;
    let mut manager = manager();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let waiting = client(to);
    let id = manager.net().adopt(Scheme::Tcp, listener, echo).unwrap();
    assert_eq!(addr(&mut manager, id), to);
    until(&mut manager, "the client that waited", |m| m.state().count("Accepted") == 1);
    drop(waiting);

    // A stream that has had its first bytes already.
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = client(outside.local_addr().unwrap());
    peer.write_all(b"early").unwrap();
    let (stream, from) = outside.accept().unwrap();
    let view = stream.try_clone().unwrap();
    SockRef::from(&view).set_tcp_nodelay(true).unwrap();
    let id = manager.net().adopt(Scheme::Tcp, stream, echo).unwrap();
    assert_eq!(manager.net().remote_addr(id), Some(from));
    let talk = helper(move || {
        assert_eq!(read_n(&mut peer, 5), b"early");
        peer.write_all(b"late").unwrap();
        assert_eq!(read_n(&mut peer, 4), b"late");
    });
    talk.wait(&mut manager, "an echo of a taken-over stream");
    assert!(SockRef::from(&view).tcp_nodelay().unwrap(), "its options stay as they were");
    assert!(SockRef::from(&view).nonblocking().unwrap());
    until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
    assert_eq!(manager.state().of(id)[0], "Opened");
}

#[cfg(feature = "http")]
#[test]
fn a_taken_over_socket_speaks_what_it_is_told_to() {
    use vansire::net::Scheme;
    let mut manager = Manager::new(()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let hello = |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            cx.reply(vansire::http::Response::text(200, "hello"));
        }
    };
    manager.net().adopt(Scheme::Http, listener, hello).unwrap();
    let answer = helper(move || common::get(to, "/")).wait(&mut manager, "an answer");
    assert_eq!(answer, Some((200, "hello".into())));
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(manager.net().adopt(Scheme::Mqtts, other, hello).unwrap_err().is_unsupported());
}

#[test]
fn a_taken_over_socket_that_lives_on_elsewhere_troubles_nobody_after_its_close() {
    let mut manager = manager();
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = client(outside.local_addr().unwrap());
    let (stream, _) = outside.accept().unwrap();
    let other = stream.try_clone().unwrap();
    common::patient(&other);
    let id = manager.net().adopt(vansire::net::Scheme::Tcp, stream, record).unwrap();
    manager.poll(Some(ZERO)).unwrap();
    manager.net().close(id);
    manager.poll(Some(ZERO)).unwrap();
    // An innocent connection in the slot of the one that is gone.
    let listener = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, listener);
    let innocent = client(to);
    until(&mut manager, "an accept", |m| m.state().count("Accepted") == 1);
    let conn = manager.state().who("Accepted")[0];
    manager.net().pause_read(conn);
    let turns = common::poll_for(&mut manager, ms(20));
    assert!(turns <= 2, "{turns} turns without a reason");
    // What happens to the other's half is no business of the loop: the system must not wake it.
    peer.write_all(b"not for you").unwrap();
    SockRef::from(&peer).set_linger(Some(ZERO)).unwrap();
    drop(peer);
    let turns = common::poll_for(&mut manager, ms(50));
    assert!(turns <= 1, "{turns} turns for a socket that was given back");
    assert!(manager.net().is_open(conn));
    assert_eq!(manager.state().count("Data"), 0);
    drop((innocent, other));
}

#[cfg(target_os = "linux")]
#[test]
fn a_byte_that_is_urgent_holds_up_nothing_behind_it() {
    // A read stops at the urgent mark, so that a short one does not mean that the socket is empty.
    for gap in [false, true] {
        let mut manager = manager();
        let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
        let mut stream = client(addr(&mut manager, id));
        until(&mut manager, "an accept", |m| m.stats().accepted == 1);
        stream.write_all(b"before").unwrap();
        if gap {
            until(&mut manager, "what comes before", |m| m.stats().bytes_in == 6);
        }
        SockRef::from(&stream).send_out_of_band(b"!").unwrap();
        stream.write_all(b"behind").unwrap();
        until(&mut manager, "what comes behind", |m| m.stats().bytes_in == 12);
        assert_eq!(manager.state().lines.last().unwrap().1, "Data behind");
    }
}

#[test]
fn the_peers_end_comes_after_everything_it_sent() {
    let mut manager = Manager::new((0usize, None::<String>)).unwrap();
    type State = (usize, Option<String>);
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, State>, ev: Event<'_>| match ev {
        Event::Data(data) => {
            assert!(cx.state.1.is_none());
            cx.state.0 += data.len();
        }
        Event::Closed(reason) if cx.net.info(cx.conn).unwrap().listener.is_some() => {
            assert!(matches!(reason, CloseReason::Peer), "{reason}");
            cx.state.1 = Some(reason.to_string());
        }
        _ => {}
    });
    let addr = addr(&mut manager, id.unwrap());
    for size in [1, 65_535, 65_536, 65_537, 131_072, 1_000_000] {
        *manager.state_mut() = (0, None);
        let sent = helper(move || client(addr).write_all(&vec![b'x'; size]).unwrap());
        sent.wait(&mut manager, "the write");
        until(&mut manager, "its end", |m| m.state().1.is_some());
        assert_eq!(manager.state().0, size);
    }
}

/// A listener that counts the connections that it echoed to.
fn counting_echo(manager: &mut Manager<u32>) -> SocketAddr {
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, u32>, ev: Event<'_>| match ev {
        Event::Data(data) => {
            cx.send(&data);
        }
        Event::Closed(CloseReason::Peer) => *cx.state += 1,
        _ => {}
    });
    addr(manager, id.unwrap())
}

fn short_talk(addr: SocketAddr, n: u32) {
    let mut stream = client(addr);
    stream.write_all(&n.to_be_bytes()).unwrap();
    assert_eq!(read_n(&mut stream, 4), n.to_be_bytes());
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = [0];
    assert_eq!(stream.read(&mut rest).unwrap(), 0);
}

/// Ids are compared, kept and shown.
#[test]
fn an_id_is_shown_with_its_generation() {
    let mut manager = manager();
    let a: ConnId = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    manager.net().close(a);
    manager.poll(Some(ZERO)).unwrap();
    let b = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    assert_eq!((a.to_string().as_str(), b.to_string().as_str()), ("0.1", "0.3"));
    assert!(a != b && format!("{b:?}") == "ConnId(0.3)");
}

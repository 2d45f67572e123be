//! The lives of managers, connections and handlers: cases A of the reference.
//!
//! | case | where |
//! |---|---|
//! | A1, A2, A5-A20, A22, B4 | here |
//! | A3, A4, A5, B6 | cannot be written: `src/wont_compile.rs`; that a wakeup ends a poll is C16 in `loop_wakeup.rs` |
//! | A21 | `loop_run.rs` |
//! | A23, A24 | `loop_tcp.rs` |
//! | A25 | `loop_limits.rs` |
//! | B3 | `loop_connect.rs` |

mod common;

use std::cell::RefCell;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use bytes::Bytes;
use common::{DEADLINE, Log, ZERO, addr, client, echo, helper, manager, ms, note, process, read_n, record, until};
use vansire::{CloseReason, ConnId, ConnKind, ConnState, Ctx, Event, Manager, Net, Sent};

#[test]
fn a1_a_closed_manager_says_so_and_closes_once() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    manager.poll(Some(ZERO)).unwrap();
    manager.close();
    assert_eq!(manager.state().of(id), ["Opened", "Closed: the manager stopped"]);
    manager.close();
    assert_eq!(manager.state().lines.len(), 2);
    assert!(manager.poll(Some(ZERO)).unwrap_err().is_stopped());
    assert!(manager.poll(None).unwrap_err().is_stopped());
    assert!(manager.run().unwrap_err().is_stopped());
    manager.shutdown(ms(1)).unwrap();
    assert!(manager.net().listen("tcp://127.0.0.1:0", record).unwrap_err().is_stopped());
    assert!(manager.net().connect("tcp://127.0.0.1:1", record).unwrap_err().is_stopped());
    assert_eq!(manager.net().connection_count(), 0);
    assert_eq!(manager.state().lines.len(), 2, "nothing more is told");
}

#[test]
fn a2_leaving_the_scope_closes_the_manager_however_it_is_left() {
    fn leave(how: &str, told: &Rc<RefCell<Vec<String>>>) -> Result<std::net::SocketAddr, String> {
        let mut manager = Manager::new(()).unwrap();
        let told = Rc::clone(told);
        let id = manager
            .net()
            .listen("tcp://127.0.0.1:0", move |_: &mut Ctx<'_, ()>, ev: Event<'_>| {
                told.borrow_mut().push(common::line(&ev));
            })
            .unwrap();
        let addr = addr(&mut manager, id);
        match how {
            "normally" => Ok(addr),
            "by an error" => Err(format!("{addr}")),
            _ => panic!("{addr}"),
        }
    }
    for how in ["normally", "by an error", "by a panic"] {
        let told = Rc::default();
        let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| leave(how, &told)));
        let addr = match (how, left) {
            ("normally", Ok(Ok(addr))) => addr,
            ("by an error", Ok(Err(addr))) => addr.parse().unwrap(),
            ("by a panic", Err(panic)) => panic.downcast_ref::<String>().unwrap().parse().unwrap(),
            (how, left) => panic!("{how}: {left:?}"),
        };
        assert_eq!(*told.borrow(), ["Opened", "Closed: the manager stopped"], "{how}");
        assert!(TcpStream::connect_timeout(&addr, DEADLINE).is_err(), "{how}: the port is still served");
    }
}

#[cfg(feature = "http")]
#[test]
fn a6_a_failing_handler_costs_its_connection_and_no_other() {
    let mut manager = Manager::new(Failures::default()).unwrap();
    manager.on_panic(|state: &mut Failures, panic| state.reports.push(Report::of(panic)));
    let id = manager.net().listen("http://127.0.0.1:0", fails_at_first).unwrap();
    let addr = addr(&mut manager, id);
    let first = helper(move || common::get(addr, "/1")).wait(&mut manager, "the end of request 1");
    assert_eq!(first, None, "no answer came from a handler that failed");
    let second = helper(move || common::get(addr, "/2")).wait(&mut manager, "request 2");
    assert_eq!(second, Some((200, "fine".into())));
    until(&mut manager, "the end of both", |m| m.net().connection_count() == 1);
    let state = manager.state();
    let broken = state.log.who("HttpRequest GET /1")[0];
    assert_eq!(state.reports, [Report { conn: Some(broken), event: "HttpRequest", message: "request 1".into() }]);
    assert_eq!(state.log.end_of(broken), Some("Closed: its handler panicked"));
    assert_eq!(manager.stats().handler_panics, 1);
}

#[cfg(feature = "http")]
#[test]
fn a7_a_failing_error_hook_does_not_stop_the_loop() {
    let mut manager = Manager::new(Failures::default()).unwrap();
    manager.on_panic(|state: &mut Failures, panic| {
        state.reports.push(Report::of(panic));
        panic!("the hook as well");
    });
    let id = manager.net().listen("http://127.0.0.1:0", fails_at_first).unwrap();
    let addr = addr(&mut manager, id);
    for _ in 0..2 {
        let failed = helper(move || common::get(addr, "/1")).wait(&mut manager, "the end of request 1");
        assert_eq!(failed, None);
        let fine = helper(move || common::get(addr, "/2")).wait(&mut manager, "request 2");
        assert_eq!(fine, Some((200, "fine".into())));
    }
    assert_eq!(manager.state().reports.len(), 2, "the hook is asked again after it failed");
    assert_eq!(manager.stats().handler_panics, 4);
}

#[cfg(feature = "http")]
#[test]
fn a8_a_listeners_handler_comes_before_the_default_one() {
    let mut manager = manager();
    manager.on_event(|cx: &mut Ctx<'_, Log>, ev: Event<'_>| cx.state.lines.push((cx.conn, format!("A {}", ev.name()))));
    let id = manager.net().listen("http://127.0.0.1:0", answers("B")).unwrap();
    let addr = addr(&mut manager, id);
    let answer = helper(move || common::get(addr, "/")).wait(&mut manager, "an answer");
    assert_eq!(answer, Some((200, "B".into())));
    assert_eq!(manager.state().count("A "), 0, "{:?}", manager.state());
}

#[cfg(feature = "http")]
#[test]
fn a9_each_listener_answers_with_its_own_handler() {
    let mut manager = manager();
    for name in ["B", "C"] {
        let id = manager.net().listen("http://127.0.0.1:0", answers(name)).unwrap();
        let addr = addr(&mut manager, id);
        let answer = helper(move || common::get(addr, "/")).wait(&mut manager, "an answer");
        assert_eq!(answer, Some((200, name.into())));
    }
}

#[cfg(feature = "http")]
#[test]
fn a10_a_listeners_new_handler_serves_what_it_accepts_from_then_on() {
    let mut manager = manager();
    manager.on_event(answers("default"));
    let id = manager.net().listen("http://127.0.0.1:0", answers("first")).unwrap();
    let addr = addr(&mut manager, id);
    let ask = |manager: &mut Manager<Log>| {
        helper(move || common::get(addr, "/")).wait(manager, "an answer").map(|(_, body)| body)
    };
    assert_eq!(ask(&mut manager).as_deref(), Some("first"));
    assert!(manager.net().set_handler(id, answers("X")));
    assert_eq!(ask(&mut manager).as_deref(), Some("X"));
    assert!(manager.net().clear_handler(id));
    assert_eq!(ask(&mut manager).as_deref(), Some("default"));
}

#[test]
fn a10_a_connection_keeps_its_handler_when_its_listener_gets_another() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        if let Event::Data(_) = ev {
            cx.send(b"old");
        }
    });
    let id = id.unwrap();
    let addr = addr(&mut manager, id);
    let mut old = client(addr);
    until(&mut manager, "an accept", |m| m.stats().accepted == 1);
    manager.net().set_handler(id, |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        if let Event::Data(_) = ev {
            cx.send(b"new");
            // Also a handler that runs can be replaced: by itself, for its own connection.
            cx.net.set_handler(cx.conn, |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
                if let Event::Data(_) = ev {
                    cx.send(b"own");
                }
            });
        }
    });
    let mut new = client(addr);
    old.write_all(b"?").unwrap();
    new.write_all(b"?").unwrap();
    let talk = helper(move || {
        let first = (read_n(&mut old, 3), read_n(&mut new, 3));
        new.write_all(b"?").unwrap();
        (first, read_n(&mut new, 3))
    });
    let (first, own) = talk.wait(&mut manager, "three answers");
    assert_eq!(first, (b"old".to_vec(), b"new".to_vec()));
    assert_eq!(own, b"own");
}

#[test]
fn a11_without_any_handler_the_listener_goes_on() {
    let mut manager = Manager::new(()).unwrap();
    let raw = manager.net().listen_default("tcp://127.0.0.1:0").unwrap();
    let to = addr(&mut manager, raw);
    let mut stream = client(to);
    stream.write_all(b"anybody?").unwrap();
    drop(stream);
    until(&mut manager, "the end of the raw connection", |m| m.stats().closed == 1);
    #[cfg(feature = "http")]
    {
        let http = manager.net().listen_default("http://127.0.0.1:0").unwrap();
        let to = addr(&mut manager, http);
        let answer = helper(move || common::get(to, "/")).wait(&mut manager, "an answer");
        assert_eq!(answer.map(|(status, _)| status), Some(404));
        assert!(manager.net().is_open(http));
    }
    assert!(manager.net().is_open(raw));
}

#[test]
fn a12_a_connects_handler_sees_everything_from_opened_on() {
    let mut manager = manager();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let id = manager.net().connect(&url, record).unwrap();
    assert!(manager.state().lines.is_empty(), "no operation dispatches");
    until(&mut manager, "Connected", |m| m.state().count("Connected") == 1);
    drop(listener.accept().unwrap());
    until(&mut manager, "Closed", |m| m.state().end_of(id).is_some());
    assert_eq!(manager.state().of(id), ["Opened", "Resolved 127.0.0.1", "Connected", "Closed: closed by the peer"]);
}

#[test]
fn a13_data_of_a_connection_is_found_at_its_later_events() {
    struct App {
        names: vansire::ConnMap<u32>,
        next: u32,
        found: Vec<u32>,
    }
    let mut manager = Manager::new(App { names: vansire::ConnMap::new(), next: 0, found: Vec::new() }).unwrap();
    let mapped = |cx: &mut Ctx<'_, App>, ev: Event<'_>| match ev {
        Event::Accepted { .. } => {
            cx.state.next += 1;
            cx.state.names.insert(cx.conn, cx.state.next);
        }
        Event::Data(data) => {
            let name = cx.state.names.get(cx.conn).copied().unwrap_or(0);
            assert_eq!(data.bytes(), name.to_string().as_bytes());
            cx.state.found.push(name);
        }
        Event::Closed(_) => {
            cx.state.names.remove(cx.conn);
        }
        _ => {}
    };
    let id = manager.net().listen("tcp://127.0.0.1:0", mapped).unwrap();
    let addr = addr(&mut manager, id);
    let clients: Vec<_> = (1..=3)
        .map(|name| {
            let stream = client(addr);
            until(&mut manager, "an accept", |m| m.state().next == name);
            (name, stream)
        })
        .collect();
    for (name, stream) in clients.iter().rev() {
        (&*stream).write_all(name.to_string().as_bytes()).unwrap();
        until(&mut manager, "its data", |m| m.state().found.contains(name));
    }
    assert_eq!(manager.state().found, [3, 2, 1]);
    drop(clients);
    until(&mut manager, "the ends", |m| m.net().connection_count() == 1);
    assert_eq!(manager.state().names.iter().count(), 0);
}

#[test]
fn a13_a_handler_made_for_each_connection_keeps_its_own_captures() {
    let mut manager = manager();
    let id = manager
        .net()
        .listen_with("tcp://127.0.0.1:0", || {
            let mut count = 0;
            move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
                if let Event::Data(data) = ev {
                    count += data.len();
                    cx.send(&[b'0' + count as u8]);
                }
            }
        })
        .unwrap();
    let addr = addr(&mut manager, id);
    let talk = helper(move || {
        let (mut a, mut b) = (client(addr), client(addr));
        let ask = |stream: &mut TcpStream, bytes: &[u8]| {
            stream.write_all(bytes).unwrap();
            read_n(stream, 1)[0]
        };
        [ask(&mut a, b"1"), ask(&mut b, b"22"), ask(&mut a, b"333"), ask(&mut b, b"4444")]
    });
    assert_eq!(talk.wait(&mut manager, "the counts"), *b"1246");
}

#[test]
fn a14_a_snapshot_follows_what_is_open() {
    let mut manager = manager();
    assert!(manager.net().connections().is_empty());
    let id = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let addr = addr(&mut manager, id);
    let infos = manager.net().connections();
    assert_eq!(infos.len(), 1);
    assert_eq!((infos[0].id, infos[0].kind, infos[0].protocol), (id, ConnKind::Listener, "tcp"));
    assert_eq!(infos[0].local, Some(addr.into()));

    let mut stream = client(addr);
    stream.write_all(b"12345").unwrap();
    until(&mut manager, "the echo", |m| m.stats().bytes_out == 5);
    let infos = manager.net().connections();
    assert_eq!(infos.len(), 2);
    let accepted = infos.iter().find(|info| info.kind == ConnKind::Accepted).unwrap();
    assert_eq!((accepted.listener, accepted.state), (Some(id), ConnState::Open));
    assert_eq!(accepted.remote, Some(stream.local_addr().unwrap()));
    assert_eq!((accepted.bytes_in, accepted.bytes_out, accepted.queued), (5, 5, 0));
    assert_eq!(manager.net().info(id).unwrap().accepted, 1);

    // A listener on every address says nothing of where its connections are.
    let every = manager.net().listen("tcp://0.0.0.0:0", echo).unwrap();
    let port = manager.net().local_addr(every).and_then(|addr| addr.port()).unwrap();
    let other = client(([127, 0, 0, 1], port).into());
    until(&mut manager, "an accept", |m| m.net().connection_count() == 4);
    let net = manager.net();
    for info in net.connections() {
        assert_eq!(info.local, net.info(info.id).unwrap().local, "{:?}", info.kind);
        if info.listener.is_some() {
            assert_eq!(
                info.local.and_then(|addr| addr.ip()),
                Some(std::net::Ipv4Addr::LOCALHOST.into()),
                "{:?}",
                info.kind
            );
        }
    }
    manager.net().close(every);
    drop(other);
    until(&mut manager, "the end", |m| m.net().connection_count() == 2);

    drop(stream);
    until(&mut manager, "the end", |m| m.state().end_of(accepted.id).is_some());
    assert_eq!(manager.net().connections().len(), 1);
    assert!(manager.net().info(accepted.id).is_none());
}

/// A connection that is over: its id, and whether its slot serves another now.
fn over(manager: &mut Manager<Log>, reused: bool) -> ConnId {
    let id = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let to = addr(manager, id);
    let stream = client(to);
    until(manager, "an accept", |m| m.state().count("Accepted") > 0);
    let gone = *manager.state().who("Accepted").last().unwrap();
    drop(stream);
    until(manager, "its end", |m| m.state().end_of(gone).is_some());
    if reused {
        let count = manager.net().connection_count();
        let stream = client(to);
        until(manager, "another accept", |m| m.net().connection_count() > count);
        let slot = |id: ConnId| id.to_string().split('.').next().unwrap().to_owned();
        let newer = *manager.state().who("Accepted").last().unwrap();
        assert_eq!(slot(newer), slot(gone), "the slot is used again");
        assert_ne!(newer, gone);
        // It stays open behind the test's back.
        std::mem::forget(stream);
    }
    gone
}

#[test]
fn a15_every_way_of_sending_to_a_closed_connection_says_so() {
    for reused in [false, true] {
        let mut manager = manager();
        let gone = over(&mut manager, reused);
        let lines = manager.state().lines.len();
        let stats = manager.stats();
        let to = "127.0.0.1:9".parse().unwrap();
        let net = &mut manager.net();
        assert_eq!(net.send(gone, b"x"), Sent::Gone);
        assert_eq!(net.send_shared(gone, Bytes::from_static(b"x")), Sent::Gone);
        assert_eq!(net.send_to(gone, to, b"x"), Sent::Gone);
        #[cfg(feature = "http")]
        {
            use vansire::http::Response;
            assert_eq!(net.reply(gone, Response::text(200, "x")), Sent::Gone);
            assert_eq!(net.start(gone, Response::new(200)), Sent::Gone);
            assert_eq!(net.start_events(gone), Sent::Gone);
            assert_eq!(net.write(gone, b"x"), Sent::Gone);
            assert_eq!(net.write_shared(gone, Bytes::from_static(b"x")), Sent::Gone);
            assert_eq!(net.finish(gone, &[]), Sent::Gone);
            assert!(net.defer(gone).is_none());
            net.body(gone, vansire::http::Body::Stream);
        }
        net.close(gone);
        net.drain(gone);
        net.fail(gone, "late");
        net.pause_read(gone);
        net.resume_read(gone);
        assert!(!net.set_handler(gone, record));
        assert!(!net.clear_handler(gone));
        assert!(manager.waker().wakeup(gone, b"x").unwrap_err().is_gone());
        common::poll_for(&mut manager, ms(20));
        assert_eq!(manager.state().lines.len(), lines, "nobody was told anything");
        assert_eq!(manager.stats().closed, stats.closed);
    }
}

#[test]
fn a16_every_question_about_a_closed_connection_has_an_empty_answer() {
    for reused in [false, true] {
        let mut manager = manager();
        let gone = over(&mut manager, reused);
        let net = manager.net();
        assert!(!net.is_open(gone));
        assert_eq!(net.queued(gone), 0);
        assert_eq!(net.remote_addr(gone), None);
        assert_eq!(net.local_addr(gone), None);
        assert!(net.info(gone).is_none());
        assert!(net.connections().iter().all(|info| info.id != gone));
    }
}

#[test]
fn a17_a_connection_that_is_given_up_ends_with_the_reason() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(_) = ev {
            cx.fail("enough");
            cx.fail("more than enough");
            cx.close();
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let mut stream = client(addr);
    stream.write_all(b"x").unwrap();
    until(&mut manager, "Closed", |m| m.state().count("Closed") == 1);
    let conn = manager.state().who("Accepted")[0];
    assert_eq!(manager.state().of(conn), ["Opened", "Accepted", "Data x", "Closed: given up: enough"]);
}

#[cfg(feature = "http")]
#[test]
fn a18_close_in_a_request_ends_the_connection_before_its_second_request() {
    if !process::alone("a18_close_in_a_request_ends_the_connection_before_its_second_request") {
        return;
    }
    let mut manager = manager();
    let id = manager.net().listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::HttpRequest(_) = ev {
            cx.close();
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let before = process::descriptors();
    let mut stream = client(addr);
    stream.write_all(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    until(&mut manager, "Closed", |m| m.state().count("Closed") == 1);
    assert_eq!(manager.state().count("HttpRequest"), 1);
    assert_eq!(process::descriptors(), before + 1, "only the client's own is left");
    let conn = manager.state().who("Accepted")[0];
    assert_eq!(manager.state().end_of(conn), Some("Closed: closed by this side"));
}

#[test]
fn a18_close_from_a_timer_and_from_another_connection() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(_) = ev {
            for other in cx.state.who("Accepted") {
                if other != cx.conn {
                    cx.net.close(other);
                    cx.net.close(other);
                }
            }
        }
    });
    let addr = addr(&mut manager, id.unwrap());
    let streams = [client(addr), client(addr)];
    until(&mut manager, "two accepts", |m| m.state().count("Accepted") == 2);
    let conns = manager.state().who("Accepted");
    // Whose is whose: the first to connect is the first to be accepted.
    (&streams[1]).write_all(b"close the other").unwrap();
    until(&mut manager, "the first end", |m| m.state().end_of(conns[0]).is_some());
    assert!(manager.net().is_open(conns[1]));
    let one = conns[1];
    manager.net().timer_after(ZERO, move |cx| cx.net.close(one));
    until(&mut manager, "the second end", |m| m.state().end_of(one).is_some());
    let [mut a, mut b] = streams;
    for (name, stream) in [("other", &mut a), ("timer", &mut b)] {
        assert_eq!(common::read_all(stream), b"", "{name}");
    }
    for conn in conns {
        assert_eq!(manager.state().of(conn).iter().filter(|line| line.starts_with("Closed")).count(), 1);
    }
}

#[test]
fn a19_a_closed_listener_refuses_and_gives_its_descriptor_back() {
    if !process::alone("a19_a_closed_listener_refuses_and_gives_its_descriptor_back") {
        return;
    }
    let mut manager = manager();
    let before = process::descriptors();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let addr = addr(&mut manager, id);
    assert_eq!(process::descriptors(), before + 1);
    manager.poll(Some(ZERO)).unwrap();
    manager.net().close(id);
    assert!(!manager.net().is_open(id));
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(id), ["Opened", "Closed: closed by this side"]);
    assert_eq!(process::descriptors(), before);
    let refused = TcpStream::connect_timeout(&addr, DEADLINE).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // The port is free.
    manager.net().listen(format!("tcp://{addr}"), record).unwrap();
}

#[test]
fn a20_nothing_can_be_opened_while_the_manager_closes_and_nothing_leaks() {
    if !process::alone("a20_nothing_can_be_opened_while_the_manager_closes_and_nothing_leaks") {
        return;
    }
    let before = process::descriptors();
    let fired = Rc::new(RefCell::new(0));
    {
        let mut manager = manager();
        let fires = Rc::clone(&fired);
        let opens = move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
            note(cx, &ev);
            let Event::Closed(CloseReason::Stopped) = ev else { return };
            assert!(cx.net.listen("tcp://127.0.0.1:0", record).unwrap_err().is_stopped());
            assert!(cx.net.listen_with("tcp://127.0.0.1:0", || record).unwrap_err().is_stopped());
            assert!(cx.net.listen_default("udp://127.0.0.1:0").unwrap_err().is_stopped());
            assert!(cx.net.connect("tcp://127.0.0.1:1", record).unwrap_err().is_stopped());
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            assert!(cx.net.adopt(vansire::net::Scheme::Tcp, socket, record).unwrap_err().is_stopped());
            let fires = Rc::clone(&fires);
            cx.net.timer_after(ZERO, move |_| *fires.borrow_mut() += 1);
        };
        let id = manager.net().listen("tcp://127.0.0.1:0", opens).unwrap();
        let to = addr(&mut manager, id);
        let stream = client(to);
        until(&mut manager, "an accept", |m| m.state().count("Accepted") == 1);
        manager.close();
        manager.state().check_lives();
        assert_eq!(manager.state().count("Closed"), 2);
        assert_eq!(manager.net().connection_count(), 0);
        drop(stream);
    }
    assert_eq!(*fired.borrow(), 0);
    assert_eq!(Rc::strong_count(&fired), 1, "the timers and handlers are dropped, with what they captured");
    assert_eq!(process::descriptors(), before);
}

#[test]
fn a22_the_turn_hook_runs_once_in_each_turn() {
    let mut manager = Manager::new(0).unwrap();
    manager.net().listen("tcp://127.0.0.1:0", |_: &mut Ctx<'_, i32>, _: Event<'_>| {}).unwrap();
    manager.on_turn(|count: &mut i32, _: &mut Net<'_, i32>| *count += 1);
    for _ in 0..10 {
        manager.poll(Some(ZERO)).unwrap();
    }
    assert_eq!(*manager.state(), 10);
    assert_eq!(manager.stats().turns, 10);
}

#[test]
fn the_turn_hook_may_do_what_handlers_may() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let addr = addr(&mut manager, id);
    manager.on_turn(|log: &mut Log, net: &mut Net<'_, Log>| {
        for conn in log.who("Accepted") {
            if net.is_open(conn) {
                net.send(conn, b"bye");
                net.drain(conn);
            }
        }
    });
    let said = helper(move || common::read_all(&mut client(addr))).wait(&mut manager, "what the hook sent");
    assert_eq!(said, b"bye");
}

#[test]
fn b4_an_events_name_is_the_one_it_is_written_with() {
    let mut manager = Manager::new(Vec::new()).unwrap();
    let names = |cx: &mut Ctx<'_, Vec<&'static str>>, ev: Event<'_>| {
        assert!(format!("{ev:?}").starts_with(ev.name()), "{} is shown as {ev:?}", ev.name());
        if !cx.state.contains(&ev.name()) {
            cx.state.push(ev.name());
        }
        match ev {
            Event::Connected => {
                cx.send(b"raw");
            }
            Event::Data(_) => {
                cx.close();
            }
            Event::Datagram { from, .. } => {
                cx.send_to(from, b"back");
            }
            _ => {}
        }
    };
    let tcp = manager.net().listen("tcp://127.0.0.1:0", names).unwrap();
    let tcp_addr = addr(&mut manager, tcp);
    manager.net().connect(format!("tcp://{tcp_addr}"), names).unwrap();
    let udp = manager.net().listen("udp://127.0.0.1:0", names).unwrap();
    let udp_addr = addr(&mut manager, udp);
    manager.net().connect(format!("udp://{udp_addr}"), names).unwrap();
    manager.waker().wakeup(tcp, b"").unwrap();
    let expected = ["Opened", "Resolved", "Connected", "Accepted", "Data", "Datagram", "Wakeup", "Closed"];
    #[cfg(not(feature = "http"))]
    let of_http = [];
    #[cfg(feature = "http")]
    let of_http = ["HttpHead", "HttpRequest"];
    #[cfg(feature = "http")]
    {
        let http = manager.net().listen("http://127.0.0.1:0", names).unwrap();
        let http_addr = addr(&mut manager, http);
        let asks = |cx: &mut Ctx<'_, Vec<_>>, ev: Event<'_>| {
            if let Event::Connected = ev {
                cx.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            }
        };
        manager.net().connect(format!("tcp://{http_addr}"), asks).unwrap();
    }
    let all: Vec<&str> = expected.into_iter().chain(of_http).collect();
    until(&mut manager, "every event", |m| all.iter().all(|name| m.state().contains(name)));
}

/// What a handler that fails leaves behind.
#[cfg(feature = "http")]
#[derive(Default)]
struct Failures {
    log: Log,
    reports: Vec<Report>,
}

#[cfg(feature = "http")]
#[derive(Debug, PartialEq)]
struct Report {
    conn: Option<ConnId>,
    event: &'static str,
    message: String,
}

#[cfg(feature = "http")]
impl Report {
    fn of(panic: &vansire::HandlerPanic<'_>) -> Self {
        Self { conn: panic.conn, event: panic.event, message: panic.message().to_owned() }
    }
}

#[cfg(feature = "http")]
fn fails_at_first(cx: &mut Ctx<'_, Failures>, ev: Event<'_>) {
    cx.state.log.lines.push((cx.conn, common::line(&ev)));
    if let Event::HttpRequest(request) = ev {
        if request.target() == "/1" {
            panic!("request 1");
        }
        cx.reply(vansire::http::Response::text(200, "fine"));
    }
}

#[cfg(feature = "http")]
fn answers(with: &'static str) -> impl FnMut(&mut Ctx<'_, Log>, Event<'_>) {
    move |cx, ev| {
        note(cx, &ev);
        if let Event::HttpRequest(_) = ev {
            cx.reply(vansire::http::Response::text(200, with));
        }
    }
}

//! What ARCHITECTURE.md promises of the loop, point by point.
//!
//! | promise | where |
//! |---|---|
//! | handlers 1-7 | here, by number |
//! | handler 8: waiting inside a handler does not compile | `src/wont_compile.rs` |
//! | the order of a turn, edges kept, fairness | here |
//! | accepts in a turn; descriptors; idle; a zero timeout; the cost to others | `loop_tcp.rs` (A24), `loop_limits.rs` |
//! | water marks, `Drained`, the cap, back-pressure of pipelines | `send.rs` |
//! | timers | `loop_timers.rs` |
//! | no allocation while requests are served | `alloc.rs` |
#![cfg(unix)]

mod common;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{DEADLINE, Log, ZERO, addr, client, echo, helper, manager, ms, note, pattern, record, until};
use vansire::net::Scheme;
use vansire::{ConnId, ConnState, Ctx, Event, Handler, Limits, Manager, ManualClock, Net, Sent};

/// A connection of the manager, and its peer: of a Unix socket, where what is written is there to read at once.
fn pair<S>(manager: &mut Manager<S>, handler: impl Handler<S> + 'static) -> (ConnId, UnixStream) {
    pair_of(manager, Scheme::Unix, handler)
}

fn pair_of<S>(manager: &mut Manager<S>, scheme: Scheme, handler: impl Handler<S> + 'static) -> (ConnId, UnixStream) {
    let (peer, stream) = UnixStream::pair().unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer.set_write_timeout(Some(DEADLINE)).unwrap();
    (manager.net().adopt(scheme, stream, handler).unwrap(), peer)
}

#[test]
fn invariant_1_no_operation_dispatches() {
    struct App {
        inside: bool,
        calls: u32,
        others: Vec<ConnId>,
    }
    fn handler(cx: &mut Ctx<'_, App>, ev: Event<'_>) {
        assert!(!cx.state.inside, "a handler inside a handler, for {}", ev.name());
        cx.state.calls += 1;
        if !matches!(ev, Event::Data(_)) {
            return;
        }
        cx.state.inside = true;
        everything(&mut cx.net, &cx.state.others, cx.conn);
        cx.state.inside = false;
    }
    /// Every operation that could tempt to call somebody.
    fn everything(net: &mut Net<'_, App>, others: &[ConnId], own: ConnId) {
        let tcp = net.listen("tcp://127.0.0.1:0", handler).unwrap();
        let to = net.local_addr(tcp).unwrap();
        net.listen_with("tcp://127.0.0.1:0", || handler).unwrap();
        net.listen("udp://127.0.0.1:0", handler).unwrap();
        let connecting = net.connect(format!("tcp://{to}"), handler).unwrap();
        net.send(connecting, b"x");
        let (_peer, stream) = UnixStream::pair().unwrap();
        net.adopt(Scheme::Unix, stream, handler).unwrap();
        let timer = net.timer_after(ZERO, |cx| {
            assert!(!cx.state.inside);
            cx.state.calls += 1;
        });
        net.timer_after(ZERO, |_| {});
        net.cancel(timer);
        for conn in [others[0], own, tcp] {
            net.send(conn, &[b'x'; 200_000]);
            net.send_shared(conn, Bytes::from(vec![b'x'; 200_000]));
            net.pause_read(conn);
            net.resume_read(conn);
            net.set_handler(conn, handler);
        }
        net.close(others[0]);
        net.drain(others[1]);
        net.fail(others[2], "enough");
        net.clear_handler(others[3]);
        net.close(connecting);
        net.fail(tcp, "no more");
        net.drain(own);
    }
    let mut manager = Manager::new(App { inside: false, calls: 0, others: Vec::new() }).unwrap();
    manager.on_panic(|_: &mut App, panic| panic!("{}: {}", panic.event, panic.message()));
    let others: Vec<_> = (0..4).map(|_| pair(&mut manager, handler)).collect();
    manager.state_mut().others = others.iter().map(|other| other.0).collect();
    manager.poll(Some(ZERO)).unwrap();
    // From outside.
    let ids = manager.state().others.clone();
    let calls = manager.state().calls;
    manager.state_mut().inside = true;
    let (own, _peer) = pair(&mut manager, handler);
    everything(&mut manager.net(), &ids, own);
    assert_eq!(manager.state().calls, calls, "a handler was called by an operation");
    manager.state_mut().inside = false;
    common::poll_for(&mut manager, ms(20));
    // From a handler.
    let others: Vec<_> = (0..4).map(|_| pair(&mut manager, handler)).collect();
    manager.state_mut().others = others.iter().map(|other| other.0).collect();
    let (own, mut peer) = pair(&mut manager, handler);
    peer.write_all(b"go").unwrap();
    common::poll_for(&mut manager, ms(20));
    assert_eq!(manager.net().info(own).unwrap().state, ConnState::Draining, "it did all of that");
    assert_eq!(manager.stats().handler_panics, 0);
}

#[test]
fn invariant_2_a_slot_is_not_used_again_in_the_turn_that_frees_it() {
    fn slot(id: ConnId) -> String {
        id.to_string().split('.').next().unwrap().to_owned()
    }
    // Several connections are ready in one turn; whoever comes first closes the others and opens new ones.
    let mut manager = manager();
    let conns: Rc<RefCell<Vec<ConnId>>> = Rc::default();
    let opened: Rc<RefCell<Vec<ConnId>>> = Rc::default();
    let mut peers = Vec::new();
    for _ in 0..10 {
        let (all, new) = (Rc::clone(&conns), Rc::clone(&opened));
        let (id, peer) = pair(&mut manager, move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
            note(cx, &ev);
            if let Event::Data(_) = ev {
                for conn in all.borrow().iter().filter(|conn| **conn != cx.conn) {
                    cx.net.close(*conn);
                    new.borrow_mut().push(cx.net.listen("udp://127.0.0.1:0", record).unwrap());
                }
            }
        });
        conns.borrow_mut().push(id);
        peers.push(peer);
    }
    manager.poll(Some(ZERO)).unwrap();
    for peer in &mut peers {
        peer.write_all(b"for the old one").unwrap();
    }
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().count("Data"), 1, "who is closed is told nothing more");
    let old: Vec<String> = conns.borrow().iter().copied().map(slot).collect();
    assert_eq!(opened.borrow().len(), 9);
    for new in opened.borrow().iter() {
        assert!(!old.contains(&slot(*new)), "{new} has a slot of this turn");
    }
    // In the next turn the slots are free; who has them now has nothing of the old ones.
    manager.poll(Some(ZERO)).unwrap();
    let next: Vec<ConnId> = (0..9).map(|_| manager.net().listen("udp://127.0.0.1:0", record).unwrap()).collect();
    assert!(next.iter().all(|id| old.contains(&slot(*id))), "{next:?} are not {old:?}");
    for id in conns.borrow().iter().filter(|id| !next.contains(id)) {
        if manager.state().end_of(*id).is_some() {
            assert!(!manager.net().is_open(*id));
            assert_eq!(manager.net().send(*id, b"stale"), Sent::Gone);
            manager.net().close(*id);
        }
    }
    common::poll_for(&mut manager, ms(10));
    for id in &next {
        assert_eq!(manager.state().of(*id), ["Opened"], "{id}");
    }
}

#[test]
fn invariant_3_opened_is_first_and_closed_is_last_however_a_connection_ends() {
    let limits = Limits::new().write_max(100_000).read_max(10).linger_timeout(ms(20)).drain_timeout(ms(50));
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    // What each of these makes of a connection, from its own handler or from outside.
    type Act = fn(&mut Ctx<'_, Log>, &Event<'_>);
    let acts: [(&str, Act); 14] = [
        ("nothing", |_, _| {}),
        ("close in Opened", |cx, ev| {
            if let Event::Opened = ev {
                cx.close()
            }
        }),
        ("fail in Opened", |cx, ev| {
            if let Event::Opened = ev {
                cx.fail("no")
            }
        }),
        ("drain in Opened", |cx, ev| {
            if let Event::Opened = ev {
                cx.drain()
            }
        }),
        ("panic in Opened", |_, ev| {
            if let Event::Opened = ev {
                panic!("in Opened")
            }
        }),
        ("close in Accepted", |cx, ev| {
            if let Event::Accepted { .. } = ev {
                cx.close()
            }
        }),
        ("close in Data", |cx, ev| {
            if let Event::Data(_) = ev {
                cx.close()
            }
        }),
        ("drain in Data", |cx, ev| {
            if let Event::Data(_) = ev {
                cx.drain()
            }
        }),
        ("fail in Data", |cx, ev| {
            if let Event::Data(_) = ev {
                cx.fail("no")
            }
        }),
        ("panic in Data", |_, ev| {
            if let Event::Data(_) = ev {
                panic!("in Data")
            }
        }),
        ("panic in Closed", |_, ev| {
            if let Event::Closed(_) = ev {
                panic!("in Closed")
            }
        }),
        ("slow consumer", |cx, ev| {
            if let Event::Data(_) = ev {
                cx.send(&vec![b'x'; 50_000_000]);
                cx.send(b"x");
            }
        }),
        ("read full", |_, ev| {
            if let Event::Data(data) = ev {
                data.consume(0)
            }
        }),
        ("everything in Closed", |cx, ev| {
            if let Event::Closed(_) = ev {
                cx.send(b"x");
                cx.close();
                cx.drain();
                cx.fail("again");
                cx.net.resume_read(cx.conn);
            }
        }),
    ];
    let mut clients = Vec::new();
    for (_, act) in acts {
        let handler = move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
            note(cx, &ev);
            act(cx, &ev);
        };
        let id = manager.net().listen("tcp://127.0.0.1:0", handler).unwrap();
        // A wakeup may be the first thing that happens to it.
        manager.waker().wakeup(id, b"first").unwrap();
        let to = addr(&mut manager, id);
        for end in ["stays", "closes", "resets", "half"] {
            let Ok(mut stream) = std::net::TcpStream::connect(to) else { continue };
            common::patient(&stream);
            let _ = stream.write_all(b"more than ten bytes");
            match end {
                "stays" => clients.push(stream),
                "half" => {
                    let _ = stream.shutdown(Shutdown::Write);
                    clients.push(stream);
                }
                "resets" => socket2::SockRef::from(&stream).set_linger(Some(ZERO)).unwrap(),
                _ => {}
            }
        }
        let (outbound, udp) = (handler, handler);
        let id = manager.net().connect(format!("tcp://{to}"), outbound).unwrap();
        manager.waker().wakeup(id, b"before Opened").unwrap();
        manager.net().connect("tcp://localhost:9", handler).unwrap();
        manager.net().connect("unix:/nowhere", handler).unwrap();
        let id = manager.net().listen("udp://127.0.0.1:0", udp).unwrap();
        let url = format!("udp://{}", addr(&mut manager, id));
        manager.net().connect(url, handler).unwrap();
        let unborn = manager.net().connect(format!("tcp://{to}"), handler).unwrap();
        manager.net().close(unborn);
        manager.poll(Some(ZERO)).unwrap();
    }
    common::poll_for(&mut manager, ms(100));
    // The rest ends with the manager.
    manager.close();
    manager.state().check_lives();
    let stats = manager.stats();
    assert_eq!(stats.opened, stats.closed);
    assert!(stats.opened > 100, "{stats:?}");
    drop(clients);
}

#[test]
fn invariant_3_a_wakeup_before_opened_does_not_double_it() {
    let mut manager = manager();
    let server = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let url = format!("tcp://{}", addr(&mut manager, server));
    let id = manager.net().connect(url, record).unwrap();
    for id in [server, id] {
        manager.waker().wakeup(id, b"early").unwrap();
    }
    until(&mut manager, "Connected", |m| m.state().of(id).contains(&"Connected"));
    assert_eq!(manager.state().of(id), ["Opened", "Wakeup early", "Resolved 127.0.0.1", "Connected"]);
    assert_eq!(manager.state().of(server), ["Opened", "Wakeup early"]);
}

#[test]
fn invariant_3_who_closes_in_its_first_event_is_told_no_second() {
    for (how, end) in [("close", "closed by this side"), ("fail", "given up: no"), ("panic", "its handler panicked")] {
        let mut manager = manager();
        let id = manager
            .net()
            .listen_with("tcp://127.0.0.1:0", move || {
                move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
                    note(cx, &ev);
                    match (how, ev) {
                        ("close", Event::Opened) => cx.close(),
                        ("fail", Event::Opened) => cx.fail("no"),
                        ("panic", Event::Opened) => panic!("in Opened"),
                        _ => {}
                    }
                }
            })
            .unwrap();
        let mut stream = client(addr(&mut manager, id));
        let _ = stream.write_all(b"hello");
        until(&mut manager, "Closed", |m| m.state().count("Closed") == 1);
        assert_eq!(manager.state().all(), ["Opened", &format!("Closed: {end}")], "{how}");
    }
}

#[cfg(feature = "http")]
#[test]
fn invariant_4_a_message_cut_short_is_not_told_as_whole() {
    let requests = [
        ("a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123"),
        ("a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123"),
        ("the last chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n"),
        ("a head", "GET / HTTP/1.1\r\nHost: a\r\n"),
    ];
    for (name, bytes) in requests {
        let mut manager = manager();
        let (id, mut peer) = pair_of(&mut manager, Scheme::Http, record);
        peer.write_all(bytes.as_bytes()).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
        assert_eq!(manager.state().count("HttpRequest"), 0, "{name}: {:?}", manager.state());
    }
}

#[test]
fn invariant_4_bytes_come_in_the_order_of_the_wire_through_every_pause() {
    let mut manager = Manager::new(Vec::new()).unwrap();
    let (id, mut peer) = pair(&mut manager, |cx: &mut Ctx<'_, Vec<u8>>, ev: Event<'_>| {
        if let Event::Data(data) = ev {
            // It takes what it likes, and pauses when it likes.
            let take = (data.len() / 3).max(1);
            cx.state.extend_from_slice(&data[..take]);
            data.consume(take);
            if cx.state.len().is_multiple_of(7) {
                cx.net.pause_read(cx.conn);
            }
        }
    });
    let sent = pattern(400_000);
    let copy = sent.clone();
    let write = helper(move || {
        for piece in copy.chunks(1001) {
            peer.write_all(piece).unwrap();
        }
        peer
    });
    // It is given the rest again only with new bytes; so the last ones may stay, which the peer's byte by byte end shows.
    until(&mut manager, "most of it", |m| {
        m.net().resume_read(id);
        m.stats().bytes_in == 400_000
    });
    let mut peer = write.wait(&mut manager, "the writer");
    let mut more = 0;
    while manager.state().len() < sent.len() {
        manager.net().resume_read(id);
        peer.write_all(b".").unwrap();
        more += 1;
        manager.poll(Some(ZERO)).unwrap();
        assert!(more < 10_000, "{} of {} bytes", manager.state().len(), sent.len());
    }
    assert!(manager.state()[..sent.len()] == sent, "the order is lost");
}

#[test]
fn invariant_5_an_accepted_connection_has_its_listeners_handler_or_one_of_its_own() {
    let mut manager = manager();
    // One that is shared counts them all.
    let mut count = 0;
    let shared = manager.net().listen("tcp://127.0.0.1:0", move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        if let Event::Accepted { .. } = ev {
            count += 1;
            cx.send(&[b'0' + count]);
        }
    });
    let to_shared = addr(&mut manager, shared.unwrap());
    // One of its own counts itself.
    let made = Rc::new(Cell::new(0));
    let makes = Rc::clone(&made);
    let own = manager.net().listen_with("tcp://127.0.0.1:0", move || {
        makes.set(makes.get() + 1);
        let mut count = 0;
        move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
            if let Event::Accepted { .. } = ev {
                count += 1;
                cx.send(&[b'0' + count]);
            }
        }
    });
    let to_own = addr(&mut manager, own.unwrap());
    let read = helper(move || {
        [to_shared, to_own].map(|to| {
            let clients = [client(to), client(to), client(to)];
            let mut got = clients.map(|mut stream| common::read_n(&mut stream, 1)[0]);
            got.sort();
            got
        })
    });
    assert_eq!(read.wait(&mut manager, "the counts"), [*b"123", *b"111"]);
    assert_eq!(made.get(), 3);
    assert!(manager.state().lines.is_empty());
}

#[test]
fn invariant_6_a_panic_anywhere_in_user_code_costs_only_what_it_belongs_to() {
    #[derive(Default)]
    struct App {
        log: Log,
        reports: Vec<String>,
    }
    let mut manager = Manager::new(App::default()).unwrap();
    manager.on_panic(|app: &mut App, panic| {
        let whose = match (panic.conn, panic.timer) {
            (Some(_), None) => "connection",
            (None, Some(_)) => "timer",
            (None, None) => "manager",
            (Some(_), Some(_)) => "both?",
        };
        app.reports.push(format!("{whose}, {}: {}", panic.event, panic.message()));
    });
    fn breaks(at: &'static str) -> impl FnMut(&mut Ctx<'_, App>, Event<'_>) {
        move |cx, ev| {
            cx.state.log.lines.push((cx.conn, common::line(&ev)));
            assert!(ev.name() != at, "at {at}");
        }
    }
    // A connection that outlives them all.
    let (witness, mut peer) = pair(&mut manager, |cx: &mut Ctx<'_, App>, ev: Event<'_>| {
        if let Event::Data(data) = ev {
            cx.send(&data);
        }
    });
    let check = |manager: &mut Manager<App>, peer: &mut UnixStream, report: &str, ends: usize| {
        until(manager, report, |m| m.state().reports.len() == 1 && m.state().log.count("Closed") == ends);
        let mut app = std::mem::take(manager.state_mut());
        assert!(app.reports.remove(0).contains(report), "{report}");
        app.log.check_lives();
        peer.write_all(b"alive?").unwrap();
        let back = peer.try_clone().unwrap();
        let back = helper(move || common::read_n(&mut &back, 6));
        assert_eq!(back.wait(manager, "the witness"), b"alive?");
    };
    for at in ["Opened", "Data", "Wakeup", "Drained", "Closed"] {
        let (id, mut other) = pair(&mut manager, breaks(at));
        match at {
            "Data" => other.write_all(b"x").unwrap(),
            "Wakeup" => manager.waker().wakeup(id, b"x").unwrap(),
            "Drained" => _ = manager.net().send(id, &[b'x'; 100_000]),
            "Closed" => manager.net().close(id),
            _ => {}
        }
        check(&mut manager, &mut peer, &format!("connection, {at}: at {at}"), 1);
    }
    let (id, _other) = pair(&mut manager, breaks("Opened"));
    manager.net().fail(id, "for a reason of its own");
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().log.end_of(id), Some("Closed: given up: for a reason of its own"));
    *manager.state_mut() = App::default();

    // A value of another type than text.
    let (_, mut other) = pair(&mut manager, |_: &mut Ctx<'_, App>, ev: Event<'_>| {
        if let Event::Data(_) = ev {
            std::panic::panic_any(42);
        }
    });
    other.write_all(b"x").unwrap();
    check(&mut manager, &mut peer, "connection, Data: (no message)", 0);

    manager.net().timer_after(ZERO, |_| panic!("a timer"));
    check(&mut manager, &mut peer, "timer, timer: a timer", 0);

    // A factory: the client is turned away, the listener goes on.
    let id =
        manager.net().listen_with("tcp://127.0.0.1:0", || -> fn(&mut Ctx<'_, App>, Event<'_>) { panic!("a factory") });
    let to = addr(&mut manager, id.unwrap());
    let turned_away = helper(move || common::read_all(&mut client(to)));
    assert_eq!(turned_away.wait(&mut manager, "the client's end"), b"");
    check(&mut manager, &mut peer, "connection, factory: a factory", 0);

    // What handlers and timers captured.
    struct Bomb(&'static str);
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("{}", self.0);
        }
    }
    let bomb = Bomb("a capture of a handler");
    let (id, _other) = pair(&mut manager, move |_: &mut Ctx<'_, App>, _: Event<'_>| {
        let _ = &bomb;
    });
    manager.net().close(id);
    check(&mut manager, &mut peer, "manager, drop: a capture of a handler", 0);
    let bomb = Bomb("a capture of a timer");
    let timer = manager.net().timer_after(Duration::from_secs(1000), move |_| {
        let _ = &bomb;
    });
    manager.net().cancel(timer);
    check(&mut manager, &mut peer, "manager, drop: a capture of a timer", 0);
    let bomb = Bomb("a handler that was replaced");
    manager.net().set_handler(witness, move |_: &mut Ctx<'_, App>, _: Event<'_>| {
        let _ = &bomb;
    });
    manager.net().set_handler(witness, |cx: &mut Ctx<'_, App>, ev: Event<'_>| {
        if let Event::Data(data) = ev {
            cx.send(&data);
        }
    });
    check(&mut manager, &mut peer, "manager, drop: a handler that was replaced", 0);

    manager.on_turn(|app: &mut App, _: &mut Net<'_, App>| {
        if app.reports.is_empty() {
            panic!("a hook");
        }
    });
    until(&mut manager, "the hook", |m| !m.state().reports.is_empty());
    assert!(manager.state().reports[0].contains("manager, turn: a hook"));
    // It is called again in the next turn.
    manager.state_mut().reports.clear();
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().reports.len(), 1);
}

#[test]
fn invariant_7_handlers_need_not_be_send() {
    let seen: Rc<Cell<u32>> = Rc::default();
    let mut manager = Manager::new(Rc::clone(&seen)).unwrap();
    let count = Rc::clone(&seen);
    let (_, mut peer) = pair(&mut manager, move |cx: &mut Ctx<'_, Rc<Cell<u32>>>, ev: Event<'_>| {
        if let Event::Data(_) = ev {
            count.set(count.get() + 1);
            assert_eq!(cx.state.get(), count.get());
        }
    });
    let count = Rc::clone(&seen);
    manager.net().timer_after(ZERO, move |_| count.set(count.get() + 10));
    let count = Rc::clone(&seen);
    manager.on_turn(move |_: &mut Rc<Cell<u32>>, _: &mut Net<'_, _>| count.set(count.get() + 100));
    peer.write_all(b"x").unwrap();
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(seen.get(), 111);
}

#[test]
fn a_turn_has_its_order() {
    // Mail, then what is ready, then timers, then lifecycle events, then the ends, then the hook.
    let mut manager = Manager::new(Vec::new()).unwrap();
    type Lines = Vec<String>;
    let (conn, mut peer) = pair(&mut manager, |cx: &mut Ctx<'_, Lines>, ev: Event<'_>| {
        cx.state.push(common::line(&ev));
        if let Event::Data(_) = ev {
            cx.send(b"answer");
            cx.close();
        }
    });
    manager.poll(Some(ZERO)).unwrap();
    manager.on_turn(|lines: &mut Lines, _: &mut Net<'_, Lines>| lines.push("turn".into()));
    manager.state_mut().clear();
    peer.write_all(b"x").unwrap();
    manager.net().timer_after(ZERO, |cx| cx.state.push("timer".into()));
    let opened = |cx: &mut Ctx<'_, Lines>, ev: Event<'_>| cx.state.push(format!("another's {}", ev.name()));
    manager.net().listen("udp://127.0.0.1:0", opened).unwrap();
    manager.waker().wakeup(conn, b"mail").unwrap();
    manager.poll(Some(ZERO)).unwrap();
    let expected = ["Wakeup mail", "Data x", "timer", "another's Opened", "Closed: closed by this side", "turn"];
    assert_eq!(*manager.state(), expected);
    assert_eq!(common::read_n(&mut peer, 6), b"answer", "what it sent left before it closed");
}

#[test]
fn an_edge_is_kept_for_whoever_cannot_use_it_yet() {
    // Each time the bytes are there before, and nothing new comes that would tell of them again.
    let mut manager = manager();
    let (paused, mut peer) = pair(&mut manager, record);
    manager.net().pause_read(paused);
    peer.write_all(b"for later").unwrap();
    (0..3).for_each(|_| _ = manager.poll(Some(ZERO)).unwrap());
    manager.net().resume_read(paused);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(paused), ["Opened", "Data for later"]);

    // One that waits for its output to drain.
    let (high, peer) = pair(&mut manager, |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(_) = ev {
            cx.send(&[b'x'; 1_000_000]);
        }
    });
    (&peer).write_all(b"ask").unwrap();
    until(&mut manager, "the request", |m| m.state().of(high).contains(&"Data ask"));
    (&peer).write_all(b"again").unwrap();
    common::poll_for(&mut manager, ms(20));
    assert!(!manager.state().of(high).contains(&"Data again"), "it is not read above the mark");
    let read = helper(move || {
        common::read_n(&mut &peer, 2_000_000);
        peer
    });
    let _peer = read.wait(&mut manager, "both answers");
    assert!(manager.state().of(high).contains(&"Data again"));
}

#[test]
fn fairness_bytes_one_connection_reads_64_kib_in_a_turn() {
    for (limit, most) in [(None, 65_536), (Some(10_000), 10_000), (Some(1), 1), (Some(100_000), 100_000)] {
        let limits = limit.map_or(Limits::new(), |limit| Limits::new().turn_bytes(limit));
        let mut manager = Manager::builder().limits(limits).build((0usize, 0usize)).unwrap();
        type State = (usize, usize);
        let (_, mut much) = pair(&mut manager, |cx: &mut Ctx<'_, State>, ev: Event<'_>| {
            if let Event::Data(data) = ev {
                cx.state.0 += data.len();
            }
        });
        let (_, mut little) = pair(&mut manager, |cx: &mut Ctx<'_, State>, ev: Event<'_>| {
            if let Event::Data(data) = ev {
                cx.state.1 += data.len();
            }
        });
        manager.poll(Some(ZERO)).unwrap();
        much.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(n) = much.write(&[b'x'; 16_384]) {
            sent += n;
        }
        assert!(sent > 100_000, "the socket holds {sent} bytes: the test proves nothing");
        little.write_all(b"x").unwrap();
        let turn = manager.poll(Some(ZERO)).unwrap();
        assert_eq!(*manager.state(), (most, 1), "of at most {most}, and the other's");
        assert!(turn.more, "the rest needs no new edge");
        // No edge comes for what is there already.
        let sent = sent.min(most * 50);
        while manager.state().0 < sent {
            let before = manager.state().0;
            assert!(manager.poll(Some(DEADLINE)).unwrap().more || manager.state().0 >= sent);
            assert!((1..=most).contains(&(manager.state().0 - before)));
        }
    }
}

#[cfg(feature = "http")]
#[test]
fn fairness_messages_one_connection_has_32_requests_served_in_a_turn() {
    use vansire::http::Response;
    let mut manager = manager();
    let serve = |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            cx.state.lines.push((cx.conn, request.target().to_string()));
            cx.reply(Response::text(200, "x"));
        }
    };
    let (many, mut pipeline) = pair_of(&mut manager, Scheme::Http, serve);
    let (one, mut single) = pair_of(&mut manager, Scheme::Http, serve);
    manager.poll(Some(ZERO)).unwrap();
    let requests: String = (0..100).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    pipeline.write_all(requests.as_bytes()).unwrap();
    single.write_all(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    for served in [32, 64, 96, 100] {
        let turn = manager.poll(Some(ZERO)).unwrap();
        assert_eq!(manager.state().of(many).len(), served);
        assert_eq!(manager.state().of(one), ["/one"], "after {served} of the other's");
        assert_eq!(turn.more, served < 100);
    }
    let expected: Vec<_> = (0..100).map(|n| format!("/{n}")).collect();
    assert_eq!(manager.state().of(many), expected);
}

#[test]
fn a_manual_clock_never_waits_for_time() {
    let clock = ManualClock::new();
    let mut manager = Manager::builder().clock(clock.clone()).build(Log::default()).unwrap();
    manager.net().timer_after(ms(50), |_| panic!("it is not time"));
    let start = Instant::now();
    manager.poll(Some(ms(100))).unwrap();
    assert!(start.elapsed() >= ms(100), "it waits for sockets as long as it is told to");
    assert_eq!(manager.stats().timers_fired, 0);
}

#[test]
fn stats_count_what_happened() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let to = addr(&mut manager, id);
    let talk = helper(move || {
        for _ in 0..3 {
            let mut stream = client(to);
            stream.write_all(b"12345").unwrap();
            common::read_n(&mut stream, 5);
        }
    });
    talk.wait(&mut manager, "three talks");
    until(&mut manager, "their ends", |m| m.net().connection_count() == 1);
    let stats = manager.stats();
    assert_eq!((stats.opened, stats.closed, stats.accepted), (4, 3, 3));
    assert_eq!((stats.bytes_in, stats.bytes_out), (15, 15));
    assert_eq!((stats.resets, stats.timeouts, stats.handler_panics, stats.slow_consumers), (0, 0, 0, 0));
    assert_eq!(manager.net().stats(), stats);
}

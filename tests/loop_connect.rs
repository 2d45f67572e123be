//! Outbound connections: case B3 of the reference, deadlines and cancelling. Names with several addresses, and lookups that
//! fail or hang, are beside the code in `src/manager/connect/tests.rs`.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use common::{DEADLINE, Log, ZERO, addr, echo, helper, manager, ms, note, process, record, until};
use socket2::{Domain, Socket, Type};
use vansire::{CloseReason, ConnId, ConnState, ConnectOptions, Ctx, Event, Limits, Manager, Resolver};

#[test]
fn b3_a_closed_port_is_one_closed_and_no_connected() {
    for local in ["127.0.0.1:0", "[::1]:0"] {
        let (to, _socket) = closed_port(local);
        let mut manager = Manager::new((Vec::new(), None)).unwrap();
        type State = (Vec<&'static str>, Option<CloseReason>);
        let id = manager
            .net()
            .connect(format!("tcp://{to}"), |cx: &mut Ctx<'_, State>, ev: Event<'_>| {
                cx.state.0.push(ev.name());
                if let Event::Closed(reason) = ev {
                    cx.state.1 = Some(reason);
                }
            })
            .unwrap();
        manager.net().send(id, b"never sent");
        until(&mut manager, "Closed", |m| m.state().1.is_some());
        common::poll_for(&mut manager, ms(20));
        assert_eq!(manager.state().0, ["Opened", "Resolved", "Closed"]);
        let Some(CloseReason::Connect(e)) = &manager.state().1 else { panic!("{:?}", manager.state().1) };
        assert!(e.is_connect() && e.to_string().contains(&format!("tcp://{to}")), "{e}");
        assert_eq!(e.io_kind(), Some(std::io::ErrorKind::ConnectionRefused));
        let stats = manager.stats();
        assert_eq!((stats.connected, stats.connect_failures, stats.opened, stats.closed), (0, 1, 1, 1));
    }
}

#[test]
fn a_name_that_the_system_knows_connects() {
    let mut manager = manager();
    let server = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let port = addr(&mut manager, server).port();
    for host in ["localhost", "LocalHost"] {
        let id = manager.net().connect(format!("tcp://{host}:{port}"), record).unwrap();
        manager.net().send(id, b"by name");
        until(&mut manager, "the echo", |m| m.state().of(id).contains(&"Data by name"));
        let life = manager.state().of(id);
        assert!(life[0] == "Opened" && life[1].starts_with("Resolved ") && life[2] == "Connected", "{life:?}");
    }
}

#[test]
fn an_address_that_does_not_answer_ends_at_the_deadline() {
    let hole = Blackhole::new();
    let mut manager = manager();
    let start = Instant::now();
    let own = ConnectOptions::new(format!("tcp://{}", hole.addr)).timeout(ms(150));
    let id = manager.net().connect(own, record).unwrap();
    manager.net().send(id, b"waits");
    manager.poll(Some(ZERO)).unwrap();
    let info = manager.net().info(id).unwrap();
    assert_eq!((info.state, info.queued, info.local), (ConnState::Connecting, 5, None));
    until(&mut manager, "the deadline", |m| m.state().end_of(id).is_some());
    assert!((ms(150)..ms(2000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(manager.state().of(id), ["Opened", "Resolved 127.0.0.1", "Closed: timed out: connecting"]);
    assert_eq!(manager.stats().connect_failures, 1);
    assert!(manager.stats().turns < 100, "{} turns", manager.stats().turns);

    // The manager's own deadline holds where the options have none.
    let mut manager = Manager::builder().limits(Limits::new().connect_timeout(ms(60))).build(Log::default()).unwrap();
    let id = manager.net().connect(format!("tcp://{}", hole.addr), record).unwrap();
    until(&mut manager, "the deadline", |m| m.state().end_of(id).is_some());
    assert_eq!(manager.state().end_of(id), Some("Closed: timed out: connecting"));
}

#[test]
fn a_connect_is_cancelled_by_close_at_any_moment() {
    if !process::alone("a_connect_is_cancelled_by_close_at_any_moment") {
        return;
    }
    let hole = Blackhole::new();
    // Of the names, only those that the system looks up take any time here.
    let mut manager = Manager::builder().resolver(Resolver::System).build(Log::default()).unwrap();
    // The first lookup starts a thread, and the system may keep something open for it.
    let first = manager.net().connect(format!("tcp://localhost:{}", hole.addr.port()), record).unwrap();
    until(&mut manager, "the lookup", |m| m.state().of(first).len() == 2);
    manager.net().close(first);
    manager.poll(Some(ZERO)).unwrap();
    let before = process::descriptors();
    let closed = "Closed: closed by this side";
    for (name, host, polls, told) in [
        ("before it starts", "127.0.0.1", 0, vec!["Opened", closed]),
        ("in the midst", "127.0.0.1", 1, vec!["Opened", "Resolved 127.0.0.1", closed]),
        ("a name, before it starts", "localhost", 0, vec!["Opened", closed]),
        ("a name, while it is looked up", "localhost", 1, vec!["Opened", closed]),
    ] {
        let id = manager.net().connect(format!("tcp://{host}:{}", hole.addr.port()), record).unwrap();
        (0..polls).for_each(|_| _ = manager.poll(Some(ZERO)).unwrap());
        manager.net().close(id);
        manager.poll(Some(ZERO)).unwrap();
        assert_eq!(manager.state().of(id), told, "{name}");
        // A result that was on its way troubles nobody.
        common::poll_for(&mut manager, ms(20));
        assert_eq!(manager.state().of(id), told, "{name}");
        assert_eq!(process::descriptors(), before, "{name}");
    }
    // Dropped with connections under way.
    let held = std::rc::Rc::new(());
    for host in ["127.0.0.1", "localhost"] {
        let held = held.clone();
        let handler = move |_: &mut Ctx<'_, Log>, _: Event<'_>| {
            let _ = &held;
        };
        manager.net().connect(format!("tcp://{host}:{}", hole.addr.port()), handler).unwrap();
    }
    manager.poll(Some(ZERO)).unwrap();
    drop(manager);
    assert_eq!(std::rc::Rc::strong_count(&held), 1);
}

#[test]
fn a_handler_may_close_at_every_step_of_a_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let whole = ["Opened", "Resolved 127.0.0.1", "Connected"];
    for (n, step) in ["Opened", "Resolved", "Connected"].into_iter().enumerate() {
        for panics in [false, true] {
            let mut manager = manager();
            let id = manager
                .net()
                .connect(&url, move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
                    note(cx, &ev);
                    if ev.name() == step {
                        assert!(!panics, "at {step}");
                        cx.close();
                    }
                })
                .unwrap();
            until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
            let end = if panics { "Closed: its handler panicked" } else { "Closed: closed by this side" };
            assert_eq!(manager.state().of(id), [&whole[..=n], &[end]].concat(), "{step}");
            assert_eq!(manager.net().connection_count(), 0);
        }
    }
}

#[test]
fn a_handler_that_connects_again_each_time_does_so_turn_by_turn() {
    let (to, _socket) = closed_port("127.0.0.1:0");
    let mut manager = Manager::new(0).unwrap();
    fn again(cx: &mut Ctx<'_, u32>, ev: Event<'_>, to: SocketAddr) {
        if let Event::Closed(_) = ev {
            *cx.state += 1;
            if *cx.state < 200 {
                cx.net
                    .connect(format!("tcp://{to}"), move |cx: &mut Ctx<'_, u32>, ev: Event<'_>| again(cx, ev, to))
                    .unwrap();
            }
        }
    }
    manager
        .net()
        .connect(format!("tcp://{to}"), move |cx: &mut Ctx<'_, u32>, ev: Event<'_>| again(cx, ev, to))
        .unwrap();
    until(&mut manager, "200 failures", |m| *m.state() == 200);
    assert!(manager.stats().turns >= 100, "a turn tries a connection once: {} turns", manager.stats().turns);
    until(&mut manager, "nothing left", |m| m.net().connection_count() == 0);
}

#[test]
fn hundreds_of_connects_at_once_all_stand() {
    let mut manager = manager();
    let server = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let url = format!("tcp://{}", addr(&mut manager, server));
    let ids: Vec<ConnId> = (0..300).map(|_| manager.net().connect(&url, record).unwrap()).collect();
    for (n, id) in ids.iter().enumerate() {
        manager.net().send(*id, n.to_string().as_bytes());
    }
    until(&mut manager, "300 echoes", |m| ids.iter().all(|id| m.state().of(*id).len() == 4));
    for (n, id) in ids.iter().enumerate() {
        let life = ["Opened", "Resolved 127.0.0.1", "Connected", &format!("Data {n}")];
        assert_eq!(manager.state().of(*id), life);
    }
    ids.iter().for_each(|id| manager.net().close(*id));
    until(&mut manager, "their ends", |m| m.net().connection_count() == 1);
    manager.close();
    manager.state().check_lives();
}

#[test]
fn a_local_address_of_the_other_family_is_an_error_that_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let mut manager = manager();
    let v6: SocketAddr = "[::1]:0".parse().unwrap();
    let id = manager.net().connect(ConnectOptions::new(&url).local_addr(v6), record).unwrap();
    until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
    let end = manager.state().end_of(id).unwrap();
    assert!(end.contains(&url) && end.contains("local_addr"), "{end}");
}

#[test]
fn what_the_peer_says_at_once_is_told_after_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let server = helper(move || {
        for _ in 0..50 {
            let (mut stream, _) = listener.accept().unwrap();
            common::patient(&stream);
            stream.write_all(b"welcome").unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    });
    let mut manager = manager();
    for _ in 0..50 {
        let id = manager.net().connect(format!("tcp://{to}"), record).unwrap();
        until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
        let life = ["Opened", "Resolved 127.0.0.1", "Connected", "Data welcome", "Closed: closed by the peer"];
        assert_eq!(manager.state().of(id), life);
    }
    server.wait(&mut manager, "the server");
}

/// A port that refuses, and that nobody else gets while the socket lives: bound, and not listening.
fn closed_port(local: &str) -> (SocketAddr, Socket) {
    let local: SocketAddr = local.parse().unwrap();
    let socket = Socket::new(Domain::for_address(local), Type::STREAM, None).unwrap();
    socket.bind(&local.into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// An address that takes no connection and refuses none: the queue of its listener is full.
struct Blackhole {
    addr: SocketAddr,
    _listener: Socket,
    _queue: Vec<Socket>,
}

impl Blackhole {
    fn new() -> Self {
        let (addr, listener) = closed_port("127.0.0.1:0");
        listener.listen(0).unwrap();
        let mut queue = Vec::new();
        let end = Instant::now() + DEADLINE;
        loop {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let taken = socket.connect_timeout(&addr.into(), Duration::from_millis(40)).is_ok();
            queue.push(socket);
            if !taken {
                return Self { addr, _listener: listener, _queue: queue };
            }
            assert!(Instant::now() < end, "the queue does not fill up");
        }
    }
}

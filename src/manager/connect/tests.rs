//! Names and several addresses, with a lookup of the test's own: `tests/loop_connect.rs` has what needs none.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::manager::resolver::Resolver;
use crate::manager::{Ctx, Manager};
use crate::net;
use crate::options::Limits;
use crate::reactor::Command;
use crate::time::ManualClock;

/// No test waits longer for anything.
const DEADLINE: Duration = Duration::from_secs(20);

type Lines = Vec<(ConnId, String)>;

fn record(cx: &mut Ctx<'_, Lines>, ev: Event<'_>) {
    let line = match &ev {
        Event::Resolved(ip) => format!("Resolved {ip}"),
        Event::Closed(reason) => format!("Closed: {reason}"),
        ev => ev.name().to_owned(),
    };
    cx.state.push((cx.conn, line));
}

fn told(manager: &Manager<Lines>, id: ConnId) -> Vec<&str> {
    manager.state().iter().filter(|line| line.0 == id).map(|line| line.1.as_str()).collect()
}

/// Has a manager look names up in its own way.
fn look_up_with<S>(
    manager: &mut Manager<S>,
    lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
) {
    let send = manager.core.inbox.sender();
    let deliver = Arc::new(move |ticket, result| send(Command::Resolved { ticket, result }));
    manager.core.names.chosen = Some(Resolver::System);
    manager.core.names.system = Some(net::Names::with_lookup(Arc::new(lookup), deliver));
}

/// A manager for which every name has these addresses.
fn knows(ips: &[&str]) -> Manager<Lines> {
    let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    let mut manager = Manager::new(Lines::new()).unwrap();
    look_up_with(&mut manager, move |_, port| Ok(ips.iter().map(|ip| (*ip, port).into()).collect()));
    manager
}

/// A manager whose lookups say that they began, and end when told to.
fn asks(manager: &mut Manager<Lines>) -> (Receiver<String>, Sender<io::Result<Vec<SocketAddr>>>) {
    let (tell_began, began) = channel();
    let (go, wait) = channel::<io::Result<Vec<SocketAddr>>>();
    let wait = Mutex::new(wait);
    look_up_with(manager, move |host, _| {
        tell_began.send(host.to_owned()).unwrap();
        wait.lock().unwrap().recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    });
    (began, go)
}

fn until<S>(manager: &mut Manager<S>, what: &str, done: impl Fn(&Manager<S>) -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done(manager) {
        assert!(Instant::now() < end, "waited for {what}");
        manager.poll(Some(Duration::from_millis(5))).unwrap();
    }
}

/// A port on 127.0.0.1 that somebody listens on, and on ::1 nobody does, nor will while the socket lives.
fn v4_only() -> (TcpListener, Socket, u16) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        // Another test may have the port already.
        if taken.bind(&SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)).into()).is_ok() {
            return (listener, taken, port);
        }
    }
}

/// An address that takes no connection and refuses none: its queue is full.
fn blackhole(ip: IpAddr, port: u16) -> (Socket, Vec<Socket>, SocketAddr) {
    let addr = SocketAddr::from((ip, port));
    let listener = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    listener.bind(&addr.into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    for _ in 0..20 {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        let taken = socket.connect_timeout(&addr.into(), Duration::from_millis(40)).is_ok();
        queue.push(socket);
        if !taken {
            return (listener, queue, addr);
        }
    }
    panic!("the queue of {addr} does not fill up");
}

#[test]
fn a_name_connects_to_its_address_and_bytes_sent_before_wait() {
    let (listener, _taken, port) = v4_only();
    let mut manager = knows(&["127.0.0.1"]);
    let id = manager.net().connect(format!("tcp://Some.Name:{port}"), record).unwrap();
    assert!(manager.net().send(id, b"early").is_queued());
    until(&mut manager, "Connected", |m| told(m, id).contains(&"Connected"));
    assert_eq!(told(&manager, id), ["Opened", "Resolved 127.0.0.1", "Connected"]);
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut buf = [0; 5];
    io::Read::read_exact(&mut stream, &mut buf).unwrap();
    assert_eq!(&buf, b"early");
    assert_eq!(manager.net().remote_addr(id), Some(listener.local_addr().unwrap()));
}

#[test]
fn an_address_that_refuses_makes_way_for_the_next_at_once() {
    let (listener, _taken, port) = v4_only();
    let mut manager = knows(&["127.0.0.1", "::1"]);
    let start = Instant::now();
    let id = manager.net().connect(format!("tcp://both:{port}"), record).unwrap();
    until(&mut manager, "Connected", |m| told(m, id).contains(&"Connected"));
    // RFC 8305 §4: IPv6 first; §5: the next one does not wait for its time when the one before has failed.
    assert_eq!(told(&manager, id), ["Opened", "Resolved ::1", "Connected"]);
    assert_eq!(manager.net().remote_addr(id), Some(listener.local_addr().unwrap()));
    assert!(start.elapsed() < Duration::from_millis(250), "{:?}", start.elapsed());
    assert_eq!(manager.core.attempts.len(), 0);
}

#[test]
fn an_address_that_does_not_answer_is_overtaken_by_the_next() {
    let (listener, taken, port) = v4_only();
    drop(taken);
    let (_hole, _queue, silent) = blackhole("::1".parse().unwrap(), port);
    let mut manager = knows(&["::1", "127.0.0.1"]);
    let start = Instant::now();
    let id = manager.net().connect(format!("tcp://both:{port}"), record).unwrap();
    until(&mut manager, "Connected", |m| told(m, id).contains(&"Connected"));
    assert_eq!(told(&manager, id), ["Opened", "Resolved ::1", "Connected"]);
    assert_eq!(manager.net().remote_addr(id), Some(listener.local_addr().unwrap()), "not {silent}");
    // RFC 8305 §5
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    assert_eq!(manager.core.attempts.len(), 0, "the attempt that lost is given up");
}

#[test]
fn when_every_address_refuses_the_last_error_is_told_once() {
    let (listener, _taken, port) = v4_only();
    drop(listener);
    let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let mut manager = knows(&["127.0.0.1", "::1"]);
    let id = manager.net().connect(format!("tcp://both:{port}"), record).unwrap();
    until(&mut manager, "the end", |m| told(m, id).len() == 3);
    let told = told(&manager, id);
    assert_eq!(told[..2], ["Opened", "Resolved ::1"]);
    assert!(told[2].contains(&format!("tcp://both:{port}")) && told[2].contains("127.0.0.1"), "{told:?}");
    assert_eq!(manager.stats().connect_failures, 1);
}

#[test]
fn names_that_have_no_address_or_no_answer_end_with_the_reason() {
    type Lookup = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;
    let table: [(&str, Lookup, &str); 3] = [
        ("none", |_, _| Ok(Vec::new()), "the name has no address"),
        ("error", |_, _| Err(io::Error::other("no such host")), "no such host"),
        ("panic", |_, _| panic!("broken"), "the lookup panicked"),
    ];
    for (name, lookup, reason) in table {
        for scheme in ["tcp", "udp"] {
            let mut manager = Manager::new(None).unwrap();
            look_up_with(&mut manager, lookup);
            let keep = |cx: &mut Ctx<'_, Option<CloseReason>>, ev: Event<'_>| {
                assert!(matches!(ev, Event::Opened | Event::Closed(_)), "{ev:?}");
                if let Event::Closed(reason) = ev {
                    *cx.state = Some(reason);
                }
            };
            manager.net().connect(format!("{scheme}://nowhere:80"), keep).unwrap();
            until(&mut manager, "the end", |m| m.state().is_some());
            let Some(CloseReason::Connect(e)) = manager.state() else { panic!("{name}: {:?}", manager.state()) };
            assert!(e.is_resolve() && e.to_string().contains(reason), "{name}: {e}");
            assert!(e.to_string().contains(&format!("{scheme}://nowhere:80")), "{name}: {e}");
        }
    }
}

#[test]
fn a_lookup_that_hangs_ends_at_its_deadline_or_at_that_of_the_connection() {
    let seconds = Duration::from_secs;
    // (name, its deadline, that of the connection, what is told, after)
    let table = [
        ("the lookup's", seconds(2), seconds(5), "its name could not be looked up: no answer in time", seconds(2)),
        ("the connection's", seconds(5), seconds(2), "timed out: connecting", seconds(2)),
    ];
    for (name, lookup, connection, reason, after) in table {
        let clock = ManualClock::new();
        let limits = Limits::new().resolve_timeout(lookup).connect_timeout(connection);
        let mut manager = Manager::builder().clock(clock.clone()).limits(limits).build(Lines::new()).unwrap();
        let (began, go) = asks(&mut manager);
        let id = manager.net().connect("tcp://slow:80", record).unwrap();
        manager.poll(Some(Duration::ZERO)).unwrap();
        assert_eq!(began.recv_timeout(DEADLINE).unwrap(), "slow", "{name}");
        clock.advance(after - Duration::from_millis(1));
        manager.poll(Some(Duration::ZERO)).unwrap();
        assert_eq!(told(&manager, id), ["Opened"], "{name}");
        clock.advance(Duration::from_millis(1));
        until(&mut manager, "the end", |m| told(m, id).len() == 2);
        assert!(told(&manager, id)[1].contains(reason), "{name}: {:?}", told(&manager, id));
        assert_eq!(manager.core.names.waiting.len(), 0, "{name}");
        drop(go);
    }
}

#[test]
fn d10_a_connection_closed_while_its_name_is_looked_up_hears_nothing_of_it() {
    let mut manager = Manager::new(Lines::new()).unwrap();
    let (began, go) = asks(&mut manager);
    let id = manager.net().connect("tcp://slow:80", record).unwrap();
    manager.poll(Some(Duration::ZERO)).unwrap();
    began.recv_timeout(DEADLINE).unwrap();
    manager.net().close(id);
    manager.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(told(&manager, id), ["Opened", "Closed: closed by this side"]);
    // One that has its slot by now hears nothing of the result either.
    let next = manager.net().connect("tcp://other:80", record).unwrap();
    manager.poll(Some(Duration::ZERO)).unwrap();
    began.recv_timeout(DEADLINE).unwrap();
    go.send(Ok(vec!["127.0.0.1:1".parse().unwrap()])).unwrap();
    go.send(Err(io::Error::other("its own"))).unwrap();
    until(&mut manager, "the end of the other", |m| told(m, next).len() >= 2);
    // The thread of the first lookup waits in front.
    assert!(told(&manager, next)[1].contains("its own"), "{:?}", told(&manager, next));
    assert_eq!(told(&manager, id), ["Opened", "Closed: closed by this side"]);
}

#[test]
fn a_result_on_its_way_when_the_connection_closes_is_dropped() {
    let mut manager = knows(&["127.0.0.1"]);
    let id = manager.net().connect("tcp://quick:80", record).unwrap();
    manager.poll(Some(Duration::ZERO)).unwrap();
    // The result is in the mail, and the close comes first.
    let end = Instant::now() + DEADLINE;
    while !manager.core.inbox.has_mail() {
        assert!(Instant::now() < end, "no result came");
        std::thread::yield_now();
    }
    manager.net().close(id);
    manager.poll(Some(Duration::ZERO)).unwrap();
    assert_eq!(told(&manager, id), ["Opened", "Closed: closed by this side"]);
}

#[test]
fn too_many_names_at_once_are_refused_and_say_so() {
    let mut manager = Manager::new(Lines::new()).unwrap();
    let (_began, go) = asks(&mut manager);
    let ids: Vec<_> = (0..400).map(|n| manager.net().connect(format!("tcp://n{n}:80"), record).unwrap()).collect();
    manager.poll(Some(Duration::ZERO)).unwrap();
    let refused = manager.state().iter().filter(|line| line.1.contains("names wait already")).count();
    assert!((100..=144).contains(&refused), "{refused} of 400 refused");
    manager.close();
    assert!(ids.iter().all(|id| told(&manager, *id).len() == 2));
    drop(go);
}

#[cfg(target_os = "linux")]
#[test]
fn options_of_listeners_and_connects_reach_their_sockets() {
    use crate::manager::conn::Io;
    use crate::options::{ConnectOptions, ListenOptions};
    use socket2::SockRef;

    /// (no delay, keepalive after, type of service)
    type Options = (bool, Option<Duration>, u32);
    fn options_of(manager: &Manager<Lines>, id: ConnId) -> Options {
        let Io::Stream(Stream::Tcp(stream)) = &manager.core.conns.get(id.0).unwrap().io else {
            panic!("no TCP stream")
        };
        let socket = SockRef::from(stream);
        let keepalive = socket.keepalive().unwrap().then(|| socket.tcp_keepalive_time().unwrap());
        (socket.tcp_nodelay().unwrap(), keepalive, socket.tos_v4().unwrap())
    }
    let seconds = Duration::from_secs;
    let url = "tcp://127.0.0.1:0";
    let table: [(&str, ListenOptions, Options); 3] = [
        ("defaults", ListenOptions::new(url), (true, Some(seconds(60)), 0)),
        ("off", ListenOptions::new(url).nodelay(false).keepalive(None), (false, None, 0)),
        ("others", ListenOptions::new(url).keepalive(seconds(99)).dscp(46), (true, Some(seconds(99)), 46 << 2)),
    ];
    for (name, listen, expected) in table {
        let mut manager = Manager::new(Lines::new()).unwrap();
        let server = manager.net().listen(listen, record).unwrap();
        let to = manager.net().local_addr(server).unwrap();
        let connect = ConnectOptions::new(format!("tcp://{to}"));
        let connect = match name {
            "off" => connect.nodelay(false).keepalive(None),
            "others" => connect.keepalive(seconds(99)).dscp(46),
            _ => connect,
        };
        let outbound = manager.net().connect(connect, record).unwrap();
        until(&mut manager, "both ends", |m| m.stats().accepted == 1 && m.stats().connected == 1);
        let accepted = manager.state().iter().find(|line| line.1 == "Accepted").unwrap().0;
        assert_eq!(options_of(&manager, accepted), expected, "{name}, accepted");
        assert_eq!(options_of(&manager, outbound), expected, "{name}, outbound");
    }
}

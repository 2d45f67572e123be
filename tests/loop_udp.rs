//! UDP sockets: case D8 of the reference, connected sockets, and what is dropped where.

mod common;

use std::net::{SocketAddr, UdpSocket};

use common::{DEADLINE, Log, ZERO, addr, echo, helper, manager, ms, note, record, until};
use vansire::{ConnKind, ConnectOptions, Ctx, Event, Limits, ListenOptions, Manager, Sent};

#[test]
fn d8_each_of_two_clients_gets_its_own_datagram() {
    for (url, local) in [("udp://127.0.0.1:0", "127.0.0.1:0"), ("udp://[::1]:0", "[::1]:0")] {
        let mut manager = manager();
        let id = manager.net().listen(url, echo).unwrap();
        let to = addr(&mut manager, id);
        let clients = ["one", "two"].map(|name| {
            helper(move || {
                let socket = socket(local);
                for round in 0..100 {
                    let sent = format!("{name} {round}");
                    socket.send_to(sent.as_bytes(), to).unwrap();
                    assert_eq!(receive(&socket), (sent, to));
                }
            })
        });
        for client in clients {
            client.wait(&mut manager, "100 echoes");
        }
        assert_eq!((manager.stats().datagrams_in, manager.stats().datagrams_out), (200, 200));
        assert_eq!(manager.net().info(id).unwrap().kind, ConnKind::Udp);
        assert_eq!(manager.net().connection_count(), 1, "one connection for the bound socket, whoever sends");
    }
}

#[test]
fn a_connected_socket_is_told_of_everything_in_order() {
    let peer = socket("127.0.0.1:0");
    let mut manager = manager();
    let url = format!("udp://{}", peer.local_addr().unwrap());
    let id = manager
        .net()
        .connect(&url, |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
            note(cx, &ev);
            if let Event::Connected = ev {
                assert_eq!(cx.send(b"ping"), Sent::Queued);
            }
        })
        .unwrap();
    let answer = helper(move || {
        let (ping, from) = receive(&peer);
        peer.send_to(b"pong", from).unwrap();
        (ping, from)
    });
    let (ping, from) = answer.wait(&mut manager, "a ping");
    until(&mut manager, "a pong", |m| m.state().count("Datagram") == 1);
    assert_eq!(ping, "ping");
    assert_eq!(addr(&mut manager, id), from);
    manager.net().close(id);
    manager.poll(Some(ZERO)).unwrap();
    let expected = ["Opened", "Resolved 127.0.0.1", "Connected", "Datagram pong", "Closed: closed by this side"];
    assert_eq!(manager.state().of(id), expected);
}

#[test]
fn datagrams_that_are_sent_before_connected_wait_for_it() {
    // (name, URL's host, drained at once)
    for (name, host, drain) in
        [("address", "127.0.0.1", false), ("name", "localhost", false), ("drained", "127.0.0.1", true)]
    {
        let peer = socket("127.0.0.1:0");
        let mut manager = manager();
        let url = format!("udp://{host}:{}", peer.local_addr().unwrap().port());
        let id = manager.net().connect(&url, record).unwrap();
        assert_eq!(manager.net().send(id, b"one"), Sent::Queued, "{name}");
        assert_eq!(manager.net().send(id, b"two"), Sent::Queued, "{name}");
        assert_eq!(manager.net().queued(id), 6, "{name}");
        if drain {
            manager.net().drain(id);
        }
        let got = helper(move || [receive(&peer).0, receive(&peer).0]);
        assert_eq!(got.wait(&mut manager, "two datagrams"), ["one", "two"], "{name}");
        assert_eq!(manager.net().queued(id), 0, "{name}");
        if drain {
            until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
            assert_eq!(manager.state().of(id), ["Opened", "Closed: closed by this side"]);
        }
    }
}

#[test]
fn an_answer_never_comes_before_connected() {
    // The answer to what was sent beforehand may be there before the next turn.
    for _ in 0..50 {
        let mut manager = manager();
        let server = manager.net().listen("udp://127.0.0.1:0", echo).unwrap();
        let url = format!("udp://{}", addr(&mut manager, server));
        let id = manager.net().connect(&url, record).unwrap();
        manager.net().send(id, b"ping");
        until(&mut manager, "the answer", |m| m.state().of(id).contains(&"Datagram ping"));
        assert_eq!(manager.state().of(id), ["Opened", "Resolved 127.0.0.1", "Connected", "Datagram ping"]);
    }
}

#[test]
fn a_refused_datagram_ends_a_connected_socket_and_not_a_bound_one() {
    let nobody = socket("127.0.0.1:0");
    let to = nobody.local_addr().unwrap();
    drop(nobody);
    let mut manager = manager();
    let bound = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    assert_eq!(manager.net().send_to(bound, to, b"anybody?"), Sent::Queued);
    // The refusal of the first is told by the sending of the second, or where there is none, by a receive.
    for count in [1, 2] {
        let connected = manager.net().connect(format!("udp://{to}"), record).unwrap();
        (0..count).for_each(|_| assert!(manager.net().send(connected, b"anybody?").is_queued()));
        until(&mut manager, "its end", |m| m.state().end_of(connected).is_some());
        assert_eq!(manager.state().end_of(connected), Some("Closed: cut off: connection refused"), "{count} sent");
    }
    common::poll_for(&mut manager, ms(20));
    assert!(manager.net().is_open(bound));
}

#[test]
fn the_bound_of_a_datagram_holds_both_ways() {
    let limits = Limits::new().datagram_max(100);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, id);
    let peer = socket("127.0.0.1:0");
    for len in [100, 101, 1000, 5, 0] {
        peer.send_to(&vec![b'x'; len], to).unwrap();
    }
    until(&mut manager, "the short ones", |m| m.state().count("Datagram") == 3);
    let long: Vec<_> = manager.state().of(id).into_iter().map(|line| line.trim_end().len()).collect();
    assert_eq!(manager.state().of(id), ["Opened", "Datagram (100 bytes)", "Datagram xxxxx", "Datagram "], "{long:?}");
    assert_eq!(manager.stats().datagrams_dropped, 2);
    let to = peer.local_addr().unwrap();
    assert_eq!(manager.net().send_to(id, to, &[b'x'; 101]), Sent::Invalid);
    assert_eq!(manager.net().send_to(id, to, &[b'x'; 100]), Sent::Queued);
    assert_eq!(manager.net().send(id, b"to whom?"), Sent::Invalid);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(receive(&peer).0.len(), 100);
}

#[test]
fn the_longest_datagram_of_all_goes_both_ways() {
    let mut manager = manager();
    let id = manager.net().listen("udp://127.0.0.1:0", echo).unwrap();
    let to = addr(&mut manager, id);
    let len = 65_507;
    let talk = helper(move || {
        let socket = socket("127.0.0.1:0");
        socket.send_to(&common::pattern(len), to).unwrap();
        let mut buf = vec![0; 70_000];
        let n = socket.recv(&mut buf).unwrap();
        buf[..n] == common::pattern(len)
    });
    assert!(talk.wait(&mut manager, "the echo"));
}

#[test]
fn a_full_queue_says_so_and_tells_when_it_is_not() {
    let limits = Limits::new().datagrams_max(4);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let peer = socket("127.0.0.1:0");
    let to = peer.local_addr().unwrap();
    manager.poll(Some(ZERO)).unwrap();
    let sent: Vec<_> = (0..7).map(|n| manager.net().send_to(id, to, format!("{n}").as_bytes())).collect();
    use Sent::{Full, High, Queued};
    assert_eq!(sent, [Queued, Queued, Queued, High, Full, Full, Full]);
    assert_eq!(sent.iter().filter(|sent| sent.is_queued()).count(), 4, "what is said to be queued is");
    assert_eq!(manager.stats().datagrams_dropped, 3);
    until(&mut manager, "Drained", |m| m.state().count("Drained") == 1);
    assert_eq!([(); 4].map(|()| receive(&peer).0), ["0", "1", "2", "3"]);
    assert_eq!(manager.net().send_to(id, to, b"again"), Queued);
    common::poll_for(&mut manager, ms(10));
    assert_eq!(receive(&peer).0, "again");
    assert_eq!(manager.state().count("Drained"), 1);
}

#[test]
fn a_closed_socket_sends_what_was_queued_and_frees_its_port() {
    let mut manager = manager();
    let id = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let from = addr(&mut manager, id);
    let peer = socket("127.0.0.1:0");
    manager.net().send_to(id, peer.local_addr().unwrap(), b"bye");
    manager.net().drain(id);
    assert_eq!(manager.net().send_to(id, peer.local_addr().unwrap(), b"late"), Sent::Gone);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(receive(&peer), ("bye".into(), from));
    assert_eq!(manager.state().of(id), ["Opened", "Closed: closed by this side"]);
    UdpSocket::bind(from).unwrap();
}

#[test]
fn a_flood_on_one_socket_leaves_turns_to_the_others() {
    let mut manager = manager();
    let flooded = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let quiet = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, flooded);
    let peer = socket("127.0.0.1:0");
    for n in 0..100 {
        peer.send_to(format!("{n}").as_bytes(), to).unwrap();
    }
    peer.send_to(b"me too", addr(&mut manager, quiet)).unwrap();
    let turn = manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(flooded).iter().filter(|line| line.starts_with("Datagram")).count(), 32);
    assert!(manager.state().of(quiet).contains(&"Datagram me too"));
    assert!(turn.more, "the rest needs no new edge");
    until(&mut manager, "all of them", |m| m.state().count("Datagram") == 101);
    let got: Vec<_> =
        manager.state().of(flooded).into_iter().filter(|line| *line != "Opened").map(str::to_owned).collect();
    assert_eq!(got, (0..100).map(|n| format!("Datagram {n}")).collect::<Vec<_>>());
}

#[test]
fn large_datagrams_use_up_a_turn_sooner() {
    let mut manager = manager();
    let id = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, id);
    let peer = socket("127.0.0.1:0");
    for _ in 0..6 {
        peer.send_to(&[b'x'; 20_000], to).unwrap();
    }
    manager.poll(Some(ZERO)).unwrap();
    let bytes = manager.stats().bytes_in;
    assert!((1..=80_000).contains(&bytes), "{bytes} bytes in one turn");
    until(&mut manager, "all of them", |m| m.state().count("Datagram") == 6);
}

#[test]
fn a_paused_socket_leaves_its_datagrams_to_the_system() {
    let mut manager = manager();
    let id = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, id);
    manager.net().pause_read(id);
    socket("127.0.0.1:0").send_to(b"early", to).unwrap();
    common::poll_for(&mut manager, ms(20));
    assert_eq!(manager.state().of(id), ["Opened"]);
    manager.net().resume_read(id);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(id), ["Opened", "Datagram early"]);
}

#[test]
fn listen_with_gives_a_socket_one_handler() {
    let mut manager = manager();
    let id = manager
        .net()
        .listen_with("udp://127.0.0.1:0", || {
            let mut count = 0;
            move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
                note(cx, &ev);
                if let Event::Datagram { from, .. } = ev {
                    count += 1;
                    cx.send_to(from, format!("{count}").as_bytes());
                }
            }
        })
        .unwrap();
    let to = addr(&mut manager, id);
    let talk = helper(move || {
        [(); 3].map(|()| {
            let socket = socket("127.0.0.1:0");
            socket.send_to(b"?", to).unwrap();
            receive(&socket).0
        })
    });
    assert_eq!(talk.wait(&mut manager, "three counts"), ["1", "2", "3"]);
}

#[test]
fn a_taken_over_socket_keeps_its_options() {
    let mut manager = manager();
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    outside.set_broadcast(true).unwrap();
    let view = outside.try_clone().unwrap();
    let to = outside.local_addr().unwrap();
    let id = manager.net().adopt(vansire::net::Scheme::Udp, outside, echo).unwrap();
    let talk = helper(move || {
        let socket = socket("127.0.0.1:0");
        socket.send_to(b"hello", to).unwrap();
        receive(&socket)
    });
    assert_eq!(talk.wait(&mut manager, "an echo"), ("hello".into(), to));
    assert!(view.broadcast().unwrap());
    // A connected one sends to its peer.
    let peer = socket("127.0.0.1:0");
    let outside = UdpSocket::bind("127.0.0.1:0").unwrap();
    outside.connect(peer.local_addr().unwrap()).unwrap();
    let connected = manager.net().adopt(vansire::net::Scheme::Udp, outside, echo).unwrap();
    assert_eq!(manager.net().remote_addr(connected), Some(peer.local_addr().unwrap()));
    assert_eq!(manager.net().send(connected, b"to you"), Sent::Queued);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(receive(&peer).0, "to you");
    assert!(manager.net().is_open(id));
}

#[test]
fn options_reach_the_system() {
    let mut manager = manager();
    let first = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, first);
    let again = manager.net().listen(format!("udp://{to}"), record).unwrap_err();
    assert!(again.is_address_in_use() && again.to_string().contains(&format!("udp://{to}")), "{again}");
    let shared = |addr: SocketAddr| ListenOptions::new(format!("udp://{addr}")).reuse_port(true);
    let a = manager.net().listen(shared(([127, 0, 0, 1], 0).into()), record).unwrap();
    let b = addr(&mut manager, a);
    manager.net().listen(shared(b), record).unwrap();
    let peer = socket("127.0.0.1:0");
    let options =
        ConnectOptions::new(format!("udp://{}", peer.local_addr().unwrap())).local_addr(([127, 0, 0, 7], 0)).tos(0x20);
    let id = manager.net().connect(options, record).unwrap();
    manager.net().send(id, b"x");
    manager.poll(Some(ZERO)).unwrap();
    assert!(receive(&peer).1.to_string().starts_with("127.0.0.7:"));
}

fn socket(local: &str) -> UdpSocket {
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut buf = [0; 2000];
    let (n, from) = socket.recv_from(&mut buf).unwrap();
    (String::from_utf8_lossy(&buf[..n]).into_owned(), from)
}

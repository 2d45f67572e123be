//! Sending: water marks, `Drained`, the hard cap, shared bytes, back-pressure. Case D7 of the reference, and what F16 asks
//! of the loop.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use common::{DEADLINE, Log, ZERO, addr, client, helper, manager, ms, note, pattern, process, read_all, read_n, until};
use vansire::{ConnId, Ctx, Event, Limits, Manager, Sent};

const MIB: usize = 1024 * 1024;

#[test]
fn above_the_high_mark_send_says_so_and_below_the_low_one_drained_comes_once() {
    let limits = Limits::new().write_high(100_000).write_low(10_000);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let (conn, mut peer) = accepted(&mut manager);
    // Much more than the system takes: the rest waits here.
    let mut queued = 0;
    let mut answers = Vec::new();
    while queued < 8 * MIB {
        let piece = vec![b'x'; 50_000];
        answers.push(manager.net().send(conn, &piece));
        queued += piece.len();
    }
    assert_eq!(answers[..2], [Sent::Queued, Sent::Queued], "up to the mark itself nothing is said");
    assert!(answers[2..].iter().all(|sent| *sent == Sent::High));
    assert_eq!(manager.net().queued(conn), queued);
    assert_eq!(manager.stats().high_waters, 1);
    manager.poll(Some(ZERO)).unwrap();
    assert!(manager.net().queued(conn) > 100_000, "the system took all of it: the test proves nothing");
    let read = helper(move || {
        let mut taken = 0;
        let mut buf = [0; 65_536];
        while taken < queued {
            taken += peer.read(&mut buf).unwrap();
        }
        peer
    });
    // Above the low mark there is no Drained, below it there is one.
    until(&mut manager, "Drained", |m| {
        let (left, told) = (m.net().queued(conn), m.state().count("Drained"));
        assert!(told == 0 || left <= 10_000, "Drained with {left} bytes in the queue");
        assert!(told == 1 || left > 0 || m.stats().bytes_out as usize == queued);
        told == 1
    });
    assert_eq!(manager.net().send(conn, b"x"), Sent::Queued);
    let _peer = read.wait(&mut manager, "the bytes");
    until(&mut manager, "the last byte", |m| m.net().queued(conn) == 0);
    common::poll_for(&mut manager, ms(20));
    assert_eq!(manager.state().count("Drained"), 1, "{:?}", manager.state());
}

#[test]
fn each_time_above_the_mark_has_its_own_drained() {
    let limits = Limits::new().write_high(100_000).write_low(0);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let (conn, mut peer) = accepted(&mut manager);
    for round in 1..=5 {
        assert_eq!(manager.net().send(conn, &vec![b'x'; 8 * MIB]), Sent::High);
        let read = helper(move || {
            read_n(&mut peer, 8 * MIB);
            peer
        });
        peer = read.wait(&mut manager, "8 MiB");
        until(&mut manager, "Drained", |m| m.state().count("Drained") == round);
        assert_eq!(manager.stats().high_waters, round as u64);
    }
}

#[test]
fn drained_is_not_told_while_the_queue_is_above_the_mark_again() {
    let mut manager = manager();
    let (conn, mut peer) = accepted(&mut manager);
    manager.poll(Some(ZERO)).unwrap();
    // In a timer, so that the flush of this turn empties the queue, and the next turn refills it before it tells.
    assert_eq!(manager.net().send(conn, &[b'x'; 70_000]), Sent::High);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.net().queued(conn), 0, "the system took it at once");
    assert_eq!(manager.state().count("Drained"), 0, "it is told in the next turn");
    assert_eq!(manager.net().send(conn, &vec![b'x'; 8 * MIB]), Sent::High);
    manager.poll(Some(ZERO)).unwrap();
    assert!(manager.net().queued(conn) > 65_536);
    assert_eq!(manager.state().count("Drained"), 0, "the queue is full again");
    let read = helper(move || read_n(&mut peer, 8 * MIB + 70_000).len());
    read.wait(&mut manager, "all of it");
    until(&mut manager, "Drained", |m| m.state().count("Drained") == 1);
}

#[test]
fn a_producer_that_waits_for_drained_keeps_memory_small() {
    // The pattern that `High` and `Drained` are for.
    const TOTAL: usize = 20 * MIB;
    struct Feed {
        left: usize,
        most: usize,
    }
    fn feed(cx: &mut Ctx<'_, Feed>, ev: Event<'_>) {
        if !matches!(ev, Event::Accepted { .. } | Event::Drained) {
            return;
        }
        while cx.state.left > 0 {
            cx.state.left -= 16 * 1024;
            let sent = cx.send(&[b'x'; 16 * 1024]);
            cx.state.most = cx.state.most.max(cx.net.queued(cx.conn));
            if sent == Sent::High {
                return;
            }
        }
        cx.drain();
    }
    let mut manager = Manager::new(Feed { left: TOTAL, most: 0 }).unwrap();
    let id = manager.net().listen("tcp://127.0.0.1:0", feed).unwrap();
    let to = addr(&mut manager, id);
    let read = helper(move || read_all(&mut client(to)).len());
    assert_eq!(read.wait(&mut manager, "20 MiB"), TOTAL);
    let most = manager.state().most;
    assert!(most <= 96 * 1024, "{most} bytes waited at once");
    assert_eq!(manager.stats().slow_consumers, 0);
}

#[test]
fn f16_a_reader_that_never_reads_is_cut_off_at_the_cap_and_costs_no_more() {
    let mut manager = manager();
    let (conn, peer) = accepted(&mut manager);
    let mut most = 0;
    // What the system takes, and then 16 MiB.
    for piece in 0.. {
        assert!(piece < 1000, "{} MiB were taken for a peer that reads nothing", piece / 16);
        let sent = manager.net().send(conn, &[b'x'; 64 * 1024]);
        most = most.max(manager.net().queued(conn));
        if sent == Sent::Gone {
            break;
        }
        manager.poll(Some(ZERO)).unwrap();
    }
    assert!((16 * MIB..=16 * MIB + 64 * 1024).contains(&most), "{most} bytes were kept");
    until(&mut manager, "its end", |m| m.state().end_of(conn).is_some());
    assert_eq!(manager.state().end_of(conn), Some("Closed: the peer reads too slowly"));
    assert_eq!((manager.stats().slow_consumers, manager.net().queued(conn)), (1, 0));
    drop(peer);
}

#[test]
fn the_hard_cap_is_what_it_is_set_to() {
    let limits = Limits::new().write_max(1_000_000);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let (conn, _peer) = accepted(&mut manager);
    // One message may be larger than the cap: it is no sign of a slow reader.
    assert_eq!(manager.net().send(conn, &vec![b'x'; 10_000_000]), Sent::High);
    manager.poll(Some(ZERO)).unwrap();
    assert!(manager.net().queued(conn) > 1_000_000);
    assert!(manager.net().is_open(conn));
    // But nothing comes behind it.
    assert_eq!(manager.net().send(conn, b"x"), Sent::Gone);
    assert!(!manager.net().is_open(conn));
    assert_eq!(manager.net().send(conn, b"x"), Sent::Gone);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().end_of(conn), Some("Closed: the peer reads too slowly"));
    assert_eq!(manager.stats().slow_consumers, 1);
    assert_eq!(manager.net().queued(conn), 0);
}

#[test]
fn one_slow_reader_of_a_broadcast_is_cut_off_and_the_others_get_everything() {
    let limits = Limits::new().write_max(2 * MIB);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let (slow, _peer) = accepted(&mut manager);
    let mut conns = vec![slow];
    let mut readers = Vec::new();
    const MESSAGES: usize = 200;
    let message = Bytes::from(pattern(64 * 1024));
    for _ in 0..2 {
        let (conn, mut peer) = accepted(&mut manager);
        conns.push(conn);
        let message = message.clone();
        readers.push(helper(move || (0..MESSAGES).all(|_| read_n(&mut peer, message.len()) == message)));
    }
    for _ in 0..MESSAGES {
        for &conn in &conns {
            manager.net().send_shared(conn, message.clone());
        }
        // A feed at the pace of those that read.
        until(&mut manager, "the readers", |m| conns[1..].iter().all(|conn| m.net().queued(*conn) < MIB));
    }
    for reader in readers {
        assert!(reader.wait(&mut manager, "200 messages"), "a reader got something else");
    }
    until(&mut manager, "the end of the slow one", |m| m.state().end_of(slow).is_some());
    assert!(manager.state().end_of(slow).unwrap().contains("too slowly"));
    assert_eq!(manager.stats().slow_consumers, 1);
}

#[test]
fn shared_and_copied_bytes_keep_their_order() {
    let mut manager = manager();
    let (conn, mut peer) = accepted(&mut manager);
    let big = Bytes::from(pattern(300_000));
    let mut expected = Vec::new();
    for round in 0..20u8 {
        let small = vec![round; usize::from(round) * 7];
        manager.net().send(conn, &small);
        expected.extend_from_slice(&small);
        // Short ones are copied, long ones are not.
        for len in [0, 1, 1024, 1025, 300_000] {
            manager.net().send_shared(conn, big.slice(..len));
            expected.extend_from_slice(&big[..len]);
        }
        if round % 5 == 4 {
            manager.poll(Some(ZERO)).unwrap();
        }
    }
    manager.net().drain(conn);
    let read = helper(move || read_all(&mut peer));
    let got = read.wait(&mut manager, "all of it");
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "the order is lost");
}

#[test]
fn shared_bytes_are_not_copied_and_let_go_when_they_are_sent() {
    let mut manager = manager();
    let (conn, mut peer) = accepted(&mut manager);
    let shared = Bytes::from(vec![b'x'; 4 * MIB]);
    manager.net().send_shared(conn, shared.clone());
    manager.poll(Some(ZERO)).unwrap();
    assert!(!shared.is_unique(), "the queue holds the bytes themselves");
    let read = helper(move || read_n(&mut peer, 4 * MIB).len());
    read.wait(&mut manager, "4 MiB");
    until(&mut manager, "the last byte", |m| m.net().queued(conn) == 0);
    assert!(shared.is_unique());
}

#[test]
fn nothing_leaves_before_the_turn_ends_and_all_of_it_then() {
    // Handlers make no system call.
    let mut manager = manager();
    let (mut peer, stream) = std::os::unix::net::UnixStream::pair().unwrap();
    peer.set_nonblocking(true).unwrap();
    let conn = manager.net().adopt(vansire::net::Scheme::Unix, stream, common::record).unwrap();
    manager.poll(Some(ZERO)).unwrap();
    let mut view = peer.try_clone().unwrap();
    manager.net().timer_after(ZERO, move |cx| {
        for n in 0..100u8 {
            cx.net.send(conn, &[n]);
        }
        let early = view.read(&mut [0]).unwrap_err();
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    });
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.stats().handler_panics, 0);
    let mut buf = [0; 200];
    assert_eq!(peer.read(&mut buf).unwrap(), 100);
    assert!(buf[..100].iter().copied().eq(0..100));
}

#[test]
fn d7_six_megabytes_pass_a_reader_that_pauses_and_the_loop_is_idle_meanwhile() {
    const TOTAL: usize = 6 * MIB;
    struct Reader {
        got: Vec<u8>,
        pauses: u32,
        conn: Option<ConnId>,
    }
    let mut manager = Manager::new(Reader { got: Vec::new(), pauses: 0, conn: None }).unwrap();
    let pauses = |cx: &mut Ctx<'_, Reader>, ev: Event<'_>| {
        if let Event::Data(data) = ev {
            cx.state.got.extend_from_slice(&data);
            // Each megabyte it needs a break.
            if cx.state.got.len() / MIB > cx.state.pauses as usize {
                cx.state.pauses += 1;
                cx.state.conn = Some(cx.conn);
                cx.net.pause_read(cx.conn);
            }
        }
    };
    let id = manager.net().listen("tcp://127.0.0.1:0", pauses).unwrap();
    let to = addr(&mut manager, id);
    let sent = pattern(TOTAL);
    let copy = sent.clone();
    let write = helper(move || {
        let mut stream = client(to);
        for piece in copy.chunks(100_000) {
            stream.write_all(piece).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream)
    });
    let time = process::CpuTime::of(&process::this_thread());
    let mut breaks = 0;
    while manager.state().got.len() < TOTAL {
        until(&mut manager, "a pause or the end", |m| m.state().conn.is_some() || m.state().got.len() == TOTAL);
        let Some(conn) = manager.state_mut().conn.take() else { break };
        // The system's own buffer fills up meanwhile; then nothing happens at all, but for a probe now and then.
        let len = manager.state().got.len();
        let end = Instant::now() + DEADLINE;
        loop {
            let before = time.get();
            let turns = common::poll_for(&mut manager, ms(30));
            let busy = time.get() - before;
            if turns <= 2 && busy < ms(10) {
                break;
            }
            assert!(Instant::now() < end, "{turns} turns and {busy:?} of processor time in 30 ms of pause");
        }
        assert_eq!(manager.state().got.len(), len, "paused, and told of data");
        breaks += 1;
        manager.net().resume_read(conn);
    }
    assert!(breaks >= 5, "{breaks} breaks in 6 MiB");
    assert!(manager.state().got == sent, "what arrived differs");
    assert_eq!(write.wait(&mut manager, "the end"), b"");
}

#[cfg(feature = "http")]
#[test]
fn pipelined_requests_wait_while_their_replies_do() {
    // A client that asks and does not read: without a bound each small request would pile up a large reply.
    let mut manager = Manager::new(0u32).unwrap();
    let big = Bytes::from(vec![b'x'; 100_000]);
    let id = manager.net().listen("http://127.0.0.1:0", move |cx: &mut Ctx<'_, u32>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            *cx.state += 1;
            cx.reply(vansire::http::Response::new(200).body(&big));
        }
    });
    let to = addr(&mut manager, id.unwrap());
    const ASKED: u32 = 500;
    let mut stream = client(to);
    for _ in 0..ASKED {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    until(&mut manager, "the first request", |m| *m.state() > 0);
    let mut before = 0;
    until(&mut manager, "a standstill", |m| {
        common::poll_for(m, ms(30));
        std::mem::replace(&mut before, *m.state()) == *m.state()
    });
    let stalled = *manager.state();
    assert!(stalled < ASKED, "the system took every reply: the test proves nothing");
    let queued: usize = manager.net().connections().iter().map(|info| info.queued).sum();
    assert!(queued <= 200_000, "{queued} bytes of replies wait");
    // Once it reads, it gets all of them.
    let read = helper(move || {
        stream.shutdown(Shutdown::Write).unwrap();
        read_all(&mut stream).len()
    });
    let got = read.wait(&mut manager, "every reply");
    assert!(got > ASKED as usize * 100_000, "{got} bytes");
    assert_eq!(*manager.state(), ASKED);
}

#[test]
fn a_stalled_reader_costs_no_turns() {
    let mut manager = manager();
    let (conn, _peer) = accepted(&mut manager);
    manager.net().send(conn, &vec![b'x'; 10 * MIB]);
    until(&mut manager, "a full socket", |m| common::poll_for(m, ms(20)) <= 1);
    assert!(manager.net().queued(conn) > 0);
    let turns = common::poll_for(&mut manager, ms(100));
    assert!(turns <= 2, "{turns} turns for a peer that does nothing");
}

/// A connection of the manager and its blocking peer.
fn accepted(manager: &mut Manager<Log>) -> (ConnId, std::net::TcpStream) {
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| note(cx, &ev)).unwrap();
    let to: SocketAddr = addr(manager, id);
    let stream = client(to);
    let before = manager.state().count("Accepted");
    until(manager, "an accept", |m| m.state().count("Accepted") > before);
    let conn = *manager.state().who("Accepted").last().unwrap();
    (conn, stream)
}

//! Wakeups from other threads: cases C12-C16 of the reference, and A3's other half: a wakeup ends a poll.

mod common;

use std::sync::mpsc::channel;
use std::time::Instant;

use common::{DEADLINE, Log, ZERO, manager, ms, note, pattern, record, until};
use vansire::{ConnId, Ctx, Event, Limits, Manager, Waker};

/// A manager with a listener that takes wakeups.
fn woken() -> (Manager<Log>, ConnId, Waker) {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let waker = manager.waker();
    manager.poll(Some(ZERO)).unwrap();
    (manager, id, waker)
}

#[test]
fn c12_wakeups_arrive_as_they_were_sent_and_in_order() {
    let (mut manager, id, waker) = woken();
    waker.wakeup(id, b"payload").unwrap();
    waker.wakeup(id, b"").unwrap();
    let clone = waker.clone();
    std::thread::spawn(move || clone.wakeup(id, b"from a thread")).join().unwrap().unwrap();
    for text in ["one", "two", "three"] {
        waker.wakeup(id, text.as_bytes()).unwrap();
    }
    manager.poll(Some(ZERO)).unwrap();
    let expected =
        ["Opened", "Wakeup payload", "Wakeup ", "Wakeup from a thread", "Wakeup one", "Wakeup two", "Wakeup three"];
    assert_eq!(manager.state().of(id), expected);
    assert_eq!(manager.stats().wakeups, 6);
    assert!(!format!("{waker:?}").is_empty());
}

#[test]
fn a_waker_goes_anywhere() {
    fn goes_anywhere<T: Clone + Send + Sync + 'static>(_: &T) {}
    goes_anywhere(&manager().waker());
}

#[test]
fn c12_a_wakeup_reaches_each_kind_of_connection() {
    let mut manager = manager();
    let listener = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let udp = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let to = common::addr(&mut manager, listener);
    let outbound = manager.net().connect(format!("tcp://{to}"), record).unwrap();
    let waker = manager.waker();
    until(&mut manager, "the connection", |m| m.state().count("Accepted") == 1 && m.state().count("Connected") == 1);
    let accepted = manager.state().who("Accepted")[0];
    for id in [listener, udp, outbound, accepted] {
        waker.wakeup(id, b"hello").unwrap();
        manager.poll(Some(ZERO)).unwrap();
        assert_eq!(manager.state().of(id).last(), Some(&"Wakeup hello"));
    }
    // A handler may answer to whoever is connected.
    assert_eq!(manager.state().count("Wakeup"), 4);
}

#[test]
fn c13_a_wakeup_for_nobody_is_an_error() {
    let (mut manager, id, waker) = woken();
    let other = {
        // An id that this manager never gave.
        let mut elsewhere = Manager::new(()).unwrap();
        (0..5).map(|_| elsewhere.net().listen_default("udp://127.0.0.1:0").unwrap()).last().unwrap()
    };
    let unknown = waker.wakeup(other, b"x").unwrap_err();
    assert!(unknown.is_gone() && unknown.to_string().contains(&other.to_string()), "{unknown}");
    manager.net().close(id);
    manager.poll(Some(ZERO)).unwrap();
    assert!(waker.wakeup(id, b"x").unwrap_err().is_gone());
    // Its slot serves another now, which must not get it.
    let next = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    assert!(waker.wakeup(id, b"x").unwrap_err().is_gone());
    waker.wakeup(next, b"y").unwrap();
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(next), ["Opened", "Wakeup y"]);
    drop(manager);
    for e in [waker.wakeup(next, b"x").unwrap_err(), waker.stop().unwrap_err()] {
        assert!(e.is_stopped(), "{e}");
    }
}

#[test]
fn c13_a_wakeup_whose_connection_closes_first_is_counted() {
    let (mut manager, id, waker) = woken();
    waker.wakeup(id, b"late").unwrap();
    manager.net().close(id);
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(id), ["Opened", "Closed: closed by this side"]);
    assert_eq!((manager.stats().wakeups, manager.stats().wakeups_missed), (0, 1));
}

#[test]
fn c14_payloads_of_any_size_are_whole() {
    for size in [16 * 1024, 64 * 1024, 65_536 + 1, 5_000_000] {
        let mut manager = Manager::new(Vec::new()).unwrap();
        let id = manager.net().listen("udp://127.0.0.1:0", |cx: &mut Ctx<'_, Vec<u8>>, ev: Event<'_>| {
            if let Event::Wakeup(bytes) = ev {
                *cx.state = bytes.to_vec();
            }
        });
        let id = id.unwrap();
        let waker = manager.waker();
        let sent = pattern(size);
        let copy = sent.clone();
        std::thread::spawn(move || waker.wakeup(id, &copy)).join().unwrap().unwrap();
        manager.poll(Some(ZERO)).unwrap();
        assert!(*manager.state() == sent, "{size} bytes");
    }
}

#[test]
fn c14_more_than_the_budget_is_refused_and_said_so() {
    let limits = Limits::new().wakeup_bytes_max(10_000);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("udp://127.0.0.1:0", record).unwrap();
    let waker = manager.waker();
    let full = waker.wakeup(id, &[0; 10_001]).unwrap_err();
    assert!(full.is_limit_reached() && full.to_string().contains("10000"), "{full}");
    waker.wakeup(id, &[0; 6_000]).unwrap();
    assert!(waker.wakeup(id, &[0; 6_000]).unwrap_err().is_limit_reached());
    waker.wakeup(id, b"small").unwrap();
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.state().of(id), ["Opened", "Wakeup (6000 bytes)", "Wakeup small"]);
    // Delivered, they take no room any more.
    waker.wakeup(id, &[0; 6_000]).unwrap();
    // A flood of empty ones is bounded as well.
    let empty = (0..100_000).take_while(|_| waker.wakeup(id, b"").is_ok()).count();
    assert!(empty < 10_000, "{empty} empty wakeups were queued");
    manager.poll(Some(ZERO)).unwrap();
    assert_eq!(manager.stats().wakeups as usize, 3 + empty);
}

#[test]
fn c15_five_thousand_wakeups_before_a_poll_all_arrive_in_order() {
    let (mut manager, id, waker) = woken();
    for n in 0..5000 {
        waker.wakeup(id, format!("{n}").as_bytes()).unwrap();
    }
    let turns = manager.stats().turns;
    until(&mut manager, "5000 wakeups", |m| m.stats().wakeups == 5000);
    assert!(manager.stats().turns - turns <= 2, "{} turns", manager.stats().turns - turns);
    let expected: Vec<_> = (0..5000).map(|n| format!("Wakeup {n}")).collect();
    assert_eq!(manager.state().of(id)[1..], expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn c15_wakeups_of_several_threads_keep_the_order_of_each() {
    let (mut manager, id, waker) = woken();
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let waker = waker.clone();
            std::thread::spawn(move || {
                (0..2500).for_each(|n| waker.wakeup(id, format!("{thread} {n}").as_bytes()).unwrap())
            })
        })
        .collect();
    // While they send, the loop waits for them: whatever wake is lost would leave something behind.
    while manager.stats().wakeups < 10_000 {
        let start = Instant::now();
        manager.poll(Some(DEADLINE)).unwrap();
        assert!(start.elapsed() < DEADLINE, "a wake was lost, with {} of 10,000 delivered", manager.stats().wakeups);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let mut next = [0; 4];
    for line in &manager.state().of(id)[1..] {
        let (thread, n) = line.strip_prefix("Wakeup ").unwrap().split_once(' ').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(n.parse::<i32>().unwrap(), *next, "thread {thread}");
        *next += 1;
    }
}

#[test]
fn c16_a_wakeup_ends_a_poll_at_once() {
    let (mut manager, id, waker) = woken();
    let start = Instant::now();
    let (tell, wait) = channel::<()>();
    let thread = std::thread::spawn(move || {
        // Nobody tells: the time passes.
        let _ = wait.recv_timeout(ms(100));
        waker.wakeup(id, b"now").unwrap();
        Instant::now()
    });
    while manager.stats().wakeups == 0 {
        manager.poll(Some(ms(20_000))).unwrap();
        assert!(start.elapsed() < ms(10_000), "the poll slept on");
    }
    let woken_at = Instant::now();
    let sent_at = thread.join().unwrap();
    assert!(woken_at.saturating_duration_since(sent_at) < ms(1000));
    assert!(start.elapsed() >= ms(100));
    drop(tell);
}

#[test]
fn a_wakeup_wakes_a_loop_that_has_no_other_reason() {
    // Each wakeup waits until the loop is asleep again, which is where a lost wake would show.
    let (tell_ready, ready) = channel();
    let (tell_told, told) = channel();
    let thread = std::thread::spawn(move || {
        let mut manager = Manager::new(0u32).unwrap();
        let id = manager.net().listen("udp://127.0.0.1:0", move |cx: &mut Ctx<'_, u32>, ev: Event<'_>| {
            if let Event::Wakeup(_) = ev {
                *cx.state += 1;
                tell_told.send(*cx.state).unwrap();
            }
        });
        tell_ready.send((id.unwrap(), manager.waker())).unwrap();
        while !manager.poll(None).unwrap().stop {}
        manager.stats()
    });
    let (id, waker) = ready.recv_timeout(DEADLINE).unwrap();
    for n in 1..=2000 {
        waker.wakeup(id, b"x").unwrap();
        assert_eq!(told.recv_timeout(DEADLINE), Ok(n));
    }
    waker.stop().unwrap();
    let stats = thread.join().unwrap();
    assert_eq!(stats.wakeups, 2000);
    assert!(stats.turns <= 2 * 2000 + 10, "{} turns for 2000 wakeups", stats.turns);
}

#[test]
fn a_loop_that_rests_is_woken_once_and_one_that_has_mail_not_at_all() {
    let mut manager = Manager::new(0).unwrap();
    let waker = manager.waker();
    let own = waker.clone();
    let id = manager.net().listen("tcp://127.0.0.1:0", move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
        if let Event::Wakeup(bytes) = ev {
            *cx.state += 1;
            if bytes == b"again" {
                own.wakeup(cx.conn, b"").unwrap();
            }
        }
    });
    let id = id.unwrap();
    manager.poll(Some(ZERO)).unwrap();
    for round in 1..=3 {
        waker.wakeup(id, b"again").unwrap();
        let other = waker.clone();
        std::thread::spawn(move || (0..10_000).try_for_each(|_| other.wakeup(id, b""))).join().unwrap().unwrap();
        assert!(manager.poll(Some(ZERO)).unwrap().more, "its own is still there");
        for _ in 0..100 {
            waker.wakeup(id, b"").unwrap();
        }
        manager.poll(Some(ZERO)).unwrap();
        assert_eq!((*manager.state(), manager.stats().wakes), (round * 10_102, round));
    }
}

#[test]
fn a_wakeup_from_a_handler_waits_for_the_next_turn() {
    let mut manager = manager();
    let waker = manager.waker();
    let id = manager.net().listen("udp://127.0.0.1:0", move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Wakeup(_) = ev {
            waker.wakeup(cx.conn, b"again").unwrap();
        }
    });
    manager.waker().wakeup(id.unwrap(), b"first").unwrap();
    for turn in 1..=5 {
        // It has something to do, so it does not wait.
        manager.poll(None).unwrap();
        assert_eq!(manager.state().count("Wakeup"), turn);
    }
}

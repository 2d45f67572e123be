//! A handler that holds up the loop is named while it still does, by a thread that costs an idle loop nothing.

mod common;

use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use common::{DEADLINE, addr, client, ms, until};
use vansire::{ConnKind, Ctx, Event, Manager, Stall, StallWatch};

/// What the hook told, and how it tells.
fn told() -> (Receiver<Stall>, impl Fn(&Stall) + Send + Sync + 'static) {
    let (tell, told): (Sender<Stall>, _) = channel();
    // Nobody listens any more once the test has what it wanted.
    (told, move |stall: &Stall| drop(tell.send(stall.clone())))
}

#[test]
fn a_handler_that_blocks_is_named_while_it_blocks() {
    let (told, hook) = told();
    let mut manager = Manager::new(None).unwrap();
    let url = "tcp://127.0.0.1:0";
    let handler = move |cx: &mut Ctx<'_, Option<Stall>>, ev: Event<'_>| {
        if let Event::Data(_) = ev {
            let began = Instant::now();
            // It returns only once it has been named; what held the loop up before it counts there, and not below.
            *cx.state = Some(told.recv_timeout(DEADLINE).expect("somebody says that this blocks"));
            while began.elapsed() < ms(20) {
                std::hint::spin_loop();
            }
        }
    };
    // The listener is older than the watch.
    let listener = manager.net().listen(url, handler).unwrap();
    manager.watch_stalls(StallWatch::new().threshold(ms(20)).on_stall(hook)).unwrap();
    let mut stream = client(addr(&mut manager, listener));
    stream.write_all(b"x").unwrap();
    until(&mut manager, "the stall", |manager| manager.state().is_some());
    let stall = manager.state_mut().take().unwrap();
    assert!(!stall.is_of_many && stall.elapsed >= ms(20), "{stall:?}");
    let running = stall.running.clone().expect("a handler ran");
    let accepted = manager.net().connections().iter().map(|info| info.id).find(|id| *id != listener);
    assert_eq!((running.conn, running.event), (accepted, "Data"));
    assert_eq!(running.listener.as_deref(), Some(url));
    let text = stall.to_string();
    assert!(text.starts_with("the loop is held up by the handler of connection ") && text.contains(url), "{text}");
    let stats = manager.stats();
    assert!(stats.stalls == 1 && stats.stall_longest >= stall.elapsed, "{stats:?}");
    let latency = manager.latencies().iter().find(|latency| latency.event == "Data").unwrap();
    assert_eq!((latency.listener.as_deref(), latency.kind), (Some(url), Some(ConnKind::Accepted)));
    assert!(latency.times.max() >= ms(20), "{latency:?}");
}

/// The two are told in one go.
#[cfg(feature = "http")]
#[test]
fn the_head_of_a_request_is_not_blamed_for_the_request_nor_the_other_way_round() {
    for event in ["HttpHead", "HttpRequest"] {
        let (told, hook) = told();
        let mut manager = Manager::new(None).unwrap();
        let handler = move |cx: &mut Ctx<'_, Option<Stall>>, ev: Event<'_>| {
            if let Event::HttpHead(request) | Event::HttpRequest(request) = &ev
                && request.target() == "/blocks"
                && ev.name() == event
            {
                *cx.state = Some(told.recv_timeout(DEADLINE).expect("somebody says that this blocks"));
            }
            if let Event::HttpRequest(_) = ev {
                cx.reply(vansire::http::Response::text(200, "done"));
            }
        };
        let listener = manager.net().listen("http://127.0.0.1:0", handler).unwrap();
        manager.watch_stalls(StallWatch::new().threshold(ms(100)).on_stall(hook)).unwrap();
        let mut stream = client(addr(&mut manager, listener));
        // Behind another one, the connection is known.
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /blocks HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        until(&mut manager, "the stall", |manager| manager.state().is_some());
        let running = manager.state_mut().take().and_then(|stall| stall.running).expect("a handler ran");
        assert_eq!(running.event, event);
        assert_eq!(manager.stats().stalls, 1, "{event}");
        for name in ["HttpHead", "HttpRequest"] {
            let mut long = manager.latencies().iter().filter(|latency| latency.times.max() >= ms(100));
            assert_eq!(long.any(|latency| latency.event == name), name == event, "{event}: {name}");
        }
    }
}

#[test]
fn a_udp_socket_is_named_by_its_url() {
    let url = "udp://127.0.0.1:0";
    for is_older_than_the_watch in [true, false] {
        let (told, hook) = told();
        let mut manager = Manager::new(None).unwrap();
        let handler = move |cx: &mut Ctx<'_, Option<Stall>>, ev: Event<'_>| {
            if let Event::Datagram { .. } = ev {
                *cx.state = Some(told.recv_timeout(DEADLINE).expect("somebody says that this blocks"));
            }
        };
        let watch = StallWatch::new().threshold(ms(10)).on_stall(hook);
        let socket = if is_older_than_the_watch {
            let socket = manager.net().listen(url, handler).unwrap();
            manager.watch_stalls(watch).unwrap();
            socket
        } else {
            manager.watch_stalls(watch).unwrap();
            manager.net().listen(url, handler).unwrap()
        };
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.send_to(b"x", addr(&mut manager, socket)).unwrap();
        until(&mut manager, "the stall", |manager| manager.state().is_some());
        let running = manager.state_mut().take().and_then(|stall| stall.running).expect("a handler ran");
        assert_eq!((running.conn, running.listener.as_deref()), (Some(socket), Some(url)));
        let latency = manager.latencies().iter().find(|latency| latency.event == "Datagram").unwrap();
        assert_eq!((latency.listener.as_deref(), latency.kind), (Some(url), Some(ConnKind::Udp)));
    }
}

#[test]
fn timers_and_hooks_are_named_as_well() {
    let (told, hook) = told();
    let mut manager = Manager::new(Vec::new()).unwrap();
    manager.watch_stalls(StallWatch::new().threshold(ms(10)).on_stall(hook)).unwrap();
    manager.net().timer_after(Duration::ZERO, move |cx| {
        cx.state.push(told.recv_timeout(DEADLINE).expect("somebody says that this blocks"));
        // As long as it blocks it is told again, less and less often.
        cx.state.push(told.recv_timeout(DEADLINE).expect("somebody says that this still blocks"));
    });
    until(&mut manager, "both", |manager: &mut Manager<Vec<Stall>>| manager.state().len() == 2);
    let [first, second] = &manager.state()[..] else { panic!("{:?}", manager.state()) };
    for stall in [first, second] {
        let running = stall.running.as_ref().expect("a timer ran");
        assert_eq!((running.conn, running.event, running.listener.as_deref()), (None, "timer", None));
        assert!(stall.to_string().starts_with("the loop is held up by user code in timer for "), "{stall}");
    }
    assert!(second.elapsed >= 4 * first.elapsed, "{second:?} after {first:?}");
    assert_eq!(manager.stats().stalls, 1, "it was one stall");
    let (told, hook) = self::told();
    // Watched anew, by other rules.
    manager.watch_stalls(StallWatch::new().threshold(ms(15)).on_stall(hook)).unwrap();
    let mut told = Some(told);
    manager.on_turn(move |state, _| {
        if let Some(told) = told.take() {
            state.push(told.recv_timeout(DEADLINE).expect("somebody says that this blocks"));
        }
    });
    until(&mut manager, "the hook", |manager| manager.state().len() == 3);
    assert_eq!(manager.state()[2].running.as_ref().map(|running| running.event), Some("turn"));
    assert_eq!(manager.stats().stalls, 2);
}

#[test]
fn a_turn_of_many_handlers_is_told_without_blaming_one() {
    let (told, hook) = told();
    let mut manager = Manager::new(None).unwrap();
    let handler = move |cx: &mut Ctx<'_, Option<Stall>>, ev: Event<'_>| {
        if let (Event::Wakeup(_), None) = (ev, &cx.state) {
            // Each takes a moment; there is no end of them.
            *cx.state = told.recv_timeout(ms(1)).ok();
        }
    };
    let id = manager.net().listen("tcp://127.0.0.1:0", handler).unwrap();
    // A single call would have to take a quarter of this to be taken for the one.
    manager.watch_stalls(StallWatch::new().threshold(ms(400)).on_stall(hook)).unwrap();
    let waker = manager.waker();
    for _ in 0..10_000 {
        waker.wakeup(id, b"").unwrap();
    }
    manager.poll(Some(Duration::ZERO)).unwrap();
    let stall = manager.state_mut().take().expect("it took long enough");
    assert!(stall.is_of_many && stall.elapsed >= ms(400), "{stall:?}");
    assert!(stall.to_string().contains("by much work in one turn"), "{stall}");
    assert_eq!(manager.stats().stalls, 1);
}

#[test]
fn a_hook_that_panics_is_heard_again() {
    let (told, hook) = told();
    let mut manager = Manager::new(0).unwrap();
    let hook = move |stall: &Stall| {
        hook(stall);
        panic!("the hook fell");
    };
    manager.watch_stalls(StallWatch::new().threshold(ms(10)).on_stall(hook)).unwrap();
    manager.net().timer_every(ms(1), move |cx| {
        told.recv_timeout(DEADLINE).expect("somebody says that this blocks");
        *cx.state += 1;
    });
    until(&mut manager, "two stalls", |manager| *manager.state() == 2);
}

#[test]
fn nobody_who_did_not_ask_pays() {
    let mut manager = Manager::new(()).unwrap();
    manager.net().timer_after(Duration::ZERO, |_| {});
    until(&mut manager, "the timer", |manager| manager.stats().timers_fired == 1);
    assert!(manager.latencies().is_empty());
    assert_eq!(manager.stats().stalls, 0);
}

#[cfg(target_os = "linux")]
mod threads {
    use super::*;

    /// The thread that watches, if there is one: its voluntary context switches, each of which ends with a wakeup.
    fn wakeups() -> Option<u64> {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        tasks
            .filter_map(|task| {
                let task = task.unwrap().path();
                // A thread may end while it is looked at.
                let name = std::fs::read_to_string(task.join("comm")).ok()?;
                let status = std::fs::read_to_string(task.join("status")).ok()?;
                let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
                (name.trim_end() == "vansire-watch").then(|| line.trim().parse().unwrap())
            })
            .next()
    }

    #[test]
    fn the_watchdog_of_an_idle_loop_sleeps_and_ends_with_the_loop() {
        if !common::process::alone("threads::the_watchdog_of_an_idle_loop_sleeps_and_ends_with_the_loop") {
            return;
        }
        let mut manager = Manager::new(()).unwrap();
        assert_eq!(wakeups(), None, "nobody has asked yet");
        manager.watch_stalls(StallWatch::new().threshold(ms(2))).unwrap();
        // While there is something to do, it looks. Each poll ends with a turn, for which it may be woken.
        let slept = |manager: &mut Manager| {
            let before = wakeups();
            manager.poll(Some(ms(300))).unwrap();
            wakeups().zip(before).is_some_and(|(after, before)| after - before <= 3)
        };
        until(&mut manager, "the watchdog's sleep", slept);
        // And wakes up when there is something to see.
        let before = wakeups().unwrap();
        manager.net().timer_after(Duration::ZERO, move |_| {
            let end = std::time::Instant::now() + DEADLINE;
            while wakeups().unwrap() == before {
                assert!(std::time::Instant::now() < end, "it sleeps on");
                std::thread::yield_now();
            }
        });
        until(&mut manager, "the timer", |manager| manager.stats().timers_fired == 1);
        assert_eq!(manager.stats().handler_panics, 0);
        drop(manager);
        let end = std::time::Instant::now() + DEADLINE;
        while wakeups().is_some() {
            assert!(std::time::Instant::now() < end, "the thread is still there");
            std::thread::yield_now();
        }
    }
}

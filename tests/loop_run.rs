//! `Manager::run`, `shutdown` and what asks for them; with the feature `signals`, case A21 of the reference.
#![cfg(unix)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{Log, addr, client, helper, manager, ms, note, read_all, record, until};
use vansire::{Ctx, Event, Limits, Manager, Net};

#[test]
fn run_ends_when_a_handler_a_timer_a_hook_or_a_thread_asks_it_to() {
    for who in ["handler", "timer", "hook", "thread", "before"] {
        let mut manager = manager();
        let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
            note(cx, &ev);
            if let Event::Accepted { .. } = ev {
                cx.net.stop();
            }
        });
        let id = id.unwrap();
        let to = addr(&mut manager, id);
        // Nothing is left that would end a wait by itself.
        manager.poll(Some(ms(0))).unwrap();
        let mut stream = None;
        match who {
            "handler" => stream = Some(client(to)),
            "timer" => _ = manager.net().timer_after(ms(5), |cx| cx.net.stop()),
            "hook" => {
                manager.on_turn(|_: &mut Log, net: &mut Net<'_, Log>| net.stop());
                manager.net().timer_after(ms(5), |_| {});
            }
            "thread" => {
                let waker = manager.waker();
                std::thread::spawn(move || waker.stop().unwrap());
            }
            _ => manager.net().stop(),
        }
        // Whatever happens, it does not wait for ever.
        manager.net().timer_after(Duration::from_secs(10), |cx| cx.net.stop());
        // The peer of an accepted connection is waited for, for a moment: it goes.
        let gone = helper(move || stream.map(|mut stream| read_all(&mut stream)));
        let start = Instant::now();
        manager.run().unwrap();
        assert!(start.elapsed() < Duration::from_secs(4), "{who}: {:?}", start.elapsed());
        gone.join("the end of the client");
        manager.state().check_lives();
        assert_eq!(manager.state().end_of(id), Some("Closed: the manager stopped"), "{who}");
        assert!(TcpStream::connect(to).is_err(), "{who}: the port is still served");
        assert!(manager.poll(None).unwrap_err().is_stopped(), "{who}");
    }
}

#[test]
fn shutdown_refuses_new_connections_and_sends_what_is_queued() {
    let mut manager = manager();
    let body = common::pattern(5_000_000);
    let reply = body.clone();
    let id = manager.net().listen("tcp://127.0.0.1:0", move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Data(_) = ev {
            cx.send(&reply);
        }
    });
    let to = addr(&mut manager, id.unwrap());
    let read = helper(move || {
        let mut stream = client(to);
        stream.write_all(b"x").unwrap();
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        let refused = loop {
            // Until the listener is closed, there may be room in its queue.
            match TcpStream::connect(to) {
                Ok(_) => std::thread::yield_now(),
                Err(e) => break e.kind(),
            }
        };
        ([&first[..], &read_all(&mut stream)].concat(), refused)
    });
    until(&mut manager, "the request", |m| m.state().count("Data") == 1);
    manager.shutdown(Duration::from_secs(10)).unwrap();
    let (got, refused) = read.join("the reply");
    assert!(got == body, "{} bytes of {}", got.len(), body.len());
    // A reset, where the listener went in the midst of a handshake.
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};
    assert!(matches!(refused, ConnectionRefused | ConnectionReset), "{refused:?}");
    manager.state().check_lives();
}

#[test]
fn a_raw_stream_is_told_of_the_stop_and_its_last_words_leave() {
    let mut manager = manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::Stopping = ev {
            cx.send(b"bye");
        }
    });
    let to = addr(&mut manager, id.unwrap());
    let mut stream = client(to);
    until(&mut manager, "an accept", |m| m.state().count("Accepted") == 1);
    let conn = manager.state().who("Accepted")[0];
    let read = helper(move || read_all(&mut stream));
    manager.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(read.join("the last words"), b"bye");
    assert_eq!(manager.state().who("Stopping"), [conn], "not the listener");
    manager.state().check_lives();
}

#[test]
fn shutdown_waits_no_longer_than_it_is_told_to() {
    let limits = Limits::new().drain_timeout(Duration::from_secs(60));
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, id);
    let stream = client(to);
    until(&mut manager, "an accept", |m| m.state().count("Accepted") == 1);
    let conn = manager.state().who("Accepted")[0];
    manager.net().send(conn, &vec![b'x'; 10_000_000]);
    let start = Instant::now();
    manager.shutdown(ms(100)).unwrap();
    assert!(start.elapsed() >= ms(100) && start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(manager.state().end_of(conn), Some("Closed: the manager stopped"));
    drop(stream);
}

#[test]
fn asked_a_second_time_it_closes_at_once() {
    let limits = Limits::new().drain_timeout(Duration::from_secs(60));
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, id);
    let stream = client(to);
    until(&mut manager, "an accept", |m| m.state().count("Accepted") == 1);
    let conn = manager.state().who("Accepted")[0];
    // It would take a minute: the client does not read.
    manager.net().send(conn, &vec![b'x'; 10_000_000]);
    manager.net().timer_after(ms(5), |cx| cx.net.stop());
    manager.net().timer_after(ms(50), |cx| cx.net.stop());
    let start = Instant::now();
    manager.run().unwrap();
    assert!(start.elapsed() >= ms(50) && start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(manager.state().end_of(conn), Some("Closed: the manager stopped"));
    drop(stream);
}

#[cfg(feature = "http")]
#[test]
fn requests_in_progress_are_answered_while_it_shuts_down() {
    let mut manager = manager();
    let id = manager.net().listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
        note(cx, &ev);
        if let Event::HttpRequest(_) = ev {
            let to = cx.defer().unwrap();
            cx.net.timer_after(ms(60), move |cx| {
                assert!(cx.net.reply(to, vansire::http::Response::text(200, "late but whole")).is_queued());
            });
            cx.net.stop();
        }
    });
    let to = addr(&mut manager, id.unwrap());
    let ask = helper(move || common::get(to, "/slow"));
    manager.run().unwrap();
    assert_eq!(ask.join("the answer"), Some((200, "late but whole".into())));
    assert_eq!(manager.stats().handler_panics, 0);
}

/// SIGINT and SIGTERM, each in a process of its own.
#[cfg(feature = "signals")]
mod signals {
    use std::net::SocketAddr;
    use std::os::unix::process::ExitStatusExt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::common::process::{self, Copy};
    use super::*;

    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;

    /// A server that runs, and then waits for its input to end.
    fn server(limits: Limits) {
        let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
        let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
            note(cx, &ev);
            if let Event::Data(_) = ev {
                // More than the system takes.
                cx.send(&[b'x'; 12_000_000]);
                process::say("busy");
            }
        });
        let id = id.unwrap();
        process::say(addr(&mut manager, id));
        manager.net().timer_after(Duration::ZERO, |_| process::say("running"));
        manager.run().unwrap();
        manager.state().check_lives();
        assert_eq!(manager.state().end_of(id), Some("Closed: the manager stopped"));
        process::say("returned");
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        process::say("done");
    }

    fn started(test: &str, role: &str, before: &str) -> (Copy, SocketAddr) {
        let child = process::copy(&format!("signals::{test}"), role, before);
        let to = child.hears("its address").parse().unwrap();
        assert_eq!(child.hears("that it runs"), "running");
        (child, to)
    }

    #[test]
    fn a21_a_signal_ends_run_and_means_again_what_it_meant() {
        if process::role().is_some() {
            return server(Limits::new());
        }
        for (name, number) in [("INT", SIGINT), ("TERM", SIGTERM)] {
            let (child, to) = started("a21_a_signal_ends_run_and_means_again_what_it_meant", "server", "");
            child.signal(name);
            assert_eq!(child.hears("that run has returned"), "returned", "{name}");
            assert!(TcpStream::connect(to).is_err(), "{name}: the port is still served");
            // Nobody handles it now: it does what the system does.
            child.signal(name);
            assert_eq!(child.wait().signal(), Some(number), "{name}");
        }
    }

    #[test]
    fn a21_a_process_that_is_told_to_stop_ends_in_order() {
        if process::role().is_some() {
            return server(Limits::new());
        }
        let (mut child, _) = started("a21_a_process_that_is_told_to_stop_ends_in_order", "server", "");
        child.signal("TERM");
        assert_eq!(child.hears("that run has returned"), "returned");
        child.hang_up();
        assert_eq!(child.hears("the end"), "done");
        assert_eq!(child.wait().code(), Some(0));
    }

    #[test]
    fn a21_handlers_of_others_still_run_and_stay() {
        if process::role().is_some() {
            let seen = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(SIGTERM, Arc::clone(&seen)).unwrap();
            let mut manager = manager();
            manager.net().timer_after(Duration::ZERO, |_| process::say("running"));
            manager.run().unwrap();
            process::say(format!("returned {}", seen.swap(false, Ordering::SeqCst)));
            // The second signal finds the other handler alone.
            let end = Instant::now() + common::DEADLINE;
            while !seen.load(Ordering::SeqCst) && Instant::now() < end {
                std::thread::yield_now();
            }
            process::say(format!("alive {}", seen.load(Ordering::SeqCst)));
            return;
        }
        let child = process::copy("signals::a21_handlers_of_others_still_run_and_stay", "server", "");
        assert_eq!(child.hears("that it runs"), "running");
        child.signal("TERM");
        assert_eq!(child.hears("that run has returned"), "returned true");
        child.signal("TERM");
        assert_eq!(child.hears("the end"), "alive true");
        assert_eq!(child.wait().code(), Some(0));
    }

    #[test]
    fn a21_a_signal_that_was_ignored_is_ignored_again() {
        if process::role().is_some() {
            return server(Limits::new());
        }
        let test = "a21_a_signal_that_was_ignored_is_ignored_again";
        let (mut child, _) = started(test, "server", "trap '' TERM");
        // While it runs, it is asked all the same: who starts it with nohup can still stop it.
        child.signal("TERM");
        assert_eq!(child.hears("that run has returned"), "returned");
        child.signal("TERM");
        child.hang_up();
        assert_eq!(child.hears("the end"), "done");
        assert_eq!(child.wait().code(), Some(0));
    }

    #[test]
    fn a21_a_second_signal_closes_at_once() {
        if process::role().is_some() {
            return server(Limits::new().drain_timeout(Duration::from_secs(60)));
        }
        let (mut child, to) = started("a21_a_second_signal_closes_at_once", "server", "");
        let mut stream = client(to);
        stream.write_all(b"x").unwrap();
        assert_eq!(child.hears("that it has work"), "busy");
        child.signal("TERM");
        assert!(child.is_silent(ms(200)), "it did not wait for what is queued");
        let start = Instant::now();
        child.signal("TERM");
        assert_eq!(child.hears("that run has returned"), "returned");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        child.hang_up();
        assert_eq!(child.hears("the end"), "done");
    }

    #[test]
    fn a21_what_does_not_drain_is_closed_at_the_deadline() {
        if process::role().is_some() {
            return server(Limits::new().drain_timeout(ms(150)));
        }
        let (mut child, to) = started("a21_what_does_not_drain_is_closed_at_the_deadline", "server", "");
        let mut stream = client(to);
        stream.write_all(b"x").unwrap();
        assert_eq!(child.hears("that it has work"), "busy");
        let start = Instant::now();
        child.signal("INT");
        assert_eq!(child.hears("that run has returned"), "returned");
        assert!((ms(150)..Duration::from_secs(5)).contains(&start.elapsed()), "{:?}", start.elapsed());
        child.hang_up();
        assert_eq!(child.hears("the end"), "done");
    }

    #[test]
    fn a_signal_for_somebody_else_does_not_break_a_poll() {
        if process::role().is_some() {
            let seen = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&seen)).unwrap();
            let mut manager = manager();
            let fired = manager.net().timer_after(ms(300), |_| process::say("timer"));
            process::say("running");
            while manager.net().is_active(fired) {
                manager.poll(None).unwrap();
            }
            process::say(seen.load(Ordering::SeqCst));
            return;
        }
        let child = process::copy("signals::a_signal_for_somebody_else_does_not_break_a_poll", "polls", "");
        assert_eq!(child.hears("that it runs"), "running");
        (0..5).for_each(|_| child.signal("USR1"));
        assert_eq!(child.hears("its timer"), "timer");
        assert_eq!(child.hears("that the signal came"), "true");
        assert!(child.wait().success());
    }

    #[test]
    fn a21_one_signal_ends_every_manager_that_runs() {
        if process::role().is_some() {
            let threads: Vec<_> = (0..3)
                .map(|_| {
                    std::thread::spawn(|| {
                        let mut manager = manager();
                        manager.net().timer_after(Duration::ZERO, |_| process::say("running"));
                        manager.run().unwrap();
                    })
                })
                .collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            process::say("returned");
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            return;
        }
        let child = process::copy("signals::a21_one_signal_ends_every_manager_that_runs", "server", "");
        (0..3).for_each(|_| assert_eq!(child.hears("that it runs"), "running"));
        child.signal("TERM");
        assert_eq!(child.hears("that all have returned"), "returned");
        child.signal("TERM");
        assert_eq!(child.wait().signal(), Some(SIGTERM));
    }
}

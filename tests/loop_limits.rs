//! What happens at the bounds: case A25 of the reference (no descriptors left), and that whoever is at a bound costs the
//! others nothing.
#![cfg(target_os = "linux")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::{DEADLINE, Log, ZERO, addr, client, echo, helper, ms, process, read_n, record, until};
use vansire::{Ctx, Event, Limits, Manager};

#[test]
fn a25_without_descriptors_the_loop_idles_and_accepts_again_when_there_are() {
    const NAME: &str = "a25_without_descriptors_the_loop_idles_and_accepts_again_when_there_are";
    const CLIENTS: usize = 100;
    if process::role().is_some() {
        return starved_server();
    }
    let mut server = process::copy(NAME, "starved", "ulimit -n 64");
    let to: SocketAddr = server.hears("its address").parse().unwrap();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| client(to)).collect();
    for stream in &mut clients {
        stream.write_all(b"hello").unwrap();
    }
    let report = server.hears("how it stalls");
    let numbers: Vec<u64> = report.split(' ').map(|number| number.parse().unwrap()).collect();
    let [accepted, turns, cpu_ms, window_ms] = numbers[..] else { panic!("{report}") };
    assert!((20..64).contains(&accepted), "{accepted} accepted with 64 descriptors");
    // A retry each 100 ms, of a turn or two.
    assert!(turns <= window_ms / 100 * 3 + 5, "{turns} turns in {window_ms} ms");
    assert!(cpu_ms <= window_ms / 10, "{cpu_ms} ms of processor time in {window_ms} ms");
    // Those that it has are served all the while, and as they leave, the others are.
    for mut stream in clients {
        assert_eq!(read_n(&mut stream, 5), b"hello");
    }
    server.hang_up();
    assert_eq!(server.hears("what it did").parse::<usize>().unwrap(), CLIENTS);
    assert!(server.wait().success());
}

/// An echo server with few descriptors; it reports how it does without.
fn starved_server() {
    let mut manager = common::manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    process::say(addr(&mut manager, id));
    let time = process::CpuTime::of(&process::this_thread());
    // Its input ends when the test does.
    let waker = manager.waker();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        waker.stop()
    });
    until(&mut manager, "the bound", |m| m.stats().accept_stalls > 0);
    // Let those it has be served.
    common::poll_for(&mut manager, ms(50));
    let (start, before) = (Instant::now(), time.get());
    let turns = common::poll_for(&mut manager, ms(700));
    let cpu = time.get() - before;
    let accepted = manager.stats().accepted;
    process::say(format!("{accepted} {turns} {} {}", cpu.as_millis(), start.elapsed().as_millis()));
    let end = Instant::now() + DEADLINE;
    while !manager.poll(Some(DEADLINE)).unwrap().stop {
        assert!(Instant::now() < end, "nobody ended the server");
    }
    process::say(manager.stats().accepted);
}

#[test]
fn without_descriptors_a_connect_fails_and_says_why() {
    const NAME: &str = "without_descriptors_a_connect_fails_and_says_why";
    if process::role().is_none() {
        let status = process::copy(NAME, "starved", "ulimit -n 32").wait();
        assert!(status.success(), "{status}");
        return;
    }
    let mut manager = common::manager();
    let server = manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    let url = format!("tcp://{}", addr(&mut manager, server));
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    let id = manager.net().connect(&url, record).unwrap();
    until(&mut manager, "its end", |m| m.state().end_of(id).is_some());
    let end = manager.state().end_of(id).unwrap().to_owned();
    assert!(end.contains(&url) && end.contains("Too many open files"), "{end}");
    let e = manager.net().listen("tcp://127.0.0.1:0", record).unwrap_err();
    assert!(e.to_string().contains("tcp://127.0.0.1:0"), "{e}");
    assert!(Manager::new(()).is_err());
    drop(taken);
    manager.net().connect(&url, record).unwrap();
    until(&mut manager, "Connected", |m| m.state().count("Connected") == 1);
}

#[test]
fn a_full_table_leaves_clients_waiting_until_there_is_a_place() {
    let limits = Limits::new().connections_max(3);
    let mut manager = Manager::builder().limits(limits).build(Log::default()).unwrap();
    let id = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let to = addr(&mut manager, id);
    let mut clients: Vec<_> = (0..4).map(|_| client(to)).collect();
    for stream in &mut clients {
        stream.write_all(b"hello").unwrap();
    }
    until(&mut manager, "two echoes", |m| m.stats().bytes_out == 10);
    let turns = common::poll_for(&mut manager, ms(250));
    assert!(turns <= 12, "{turns} turns in 250 ms");
    assert_eq!((manager.stats().accepted, manager.net().connection_count()), (2, 3));
    assert!(manager.stats().accept_stalls > 0);
    // Nothing else can be opened either, and that is an error that says so.
    for e in [
        manager.net().listen("tcp://127.0.0.1:0", record).unwrap_err(),
        manager.net().connect(format!("tcp://{to}"), record).unwrap_err(),
        manager.net().listen("udp://127.0.0.1:0", record).unwrap_err(),
    ] {
        assert!(e.is_limit_reached() && e.to_string().contains("3 connections"), "{e}");
    }
    let served = helper(move || {
        for mut stream in clients {
            assert_eq!(read_n(&mut stream, 5), b"hello");
        }
    });
    served.wait(&mut manager, "all four");
    assert_eq!(manager.stats().accepted, 4);
}

#[test]
fn stalled_and_hostile_connections_cost_the_others_nothing() {
    // A hundred that never say anything, some that flood, some that read nothing of what they asked for, some that come
    // and go: meanwhile each round trip of a well-behaved client takes as long as a few turns, not as a timeout.
    struct Server {
        answers: bool,
    }
    let mut manager = Manager::new(Server { answers: true }).unwrap();
    let serve = |cx: &mut Ctx<'_, Server>, ev: Event<'_>| {
        if let Event::Data(data) = ev {
            match data[0] {
                b'!' if cx.state.answers => _ = cx.send(&data[..1]),
                // A megabyte for each read.
                b'?' => _ = cx.send(&[b'?'; 1_000_000]),
                _ => {}
            }
        }
    };
    let id = manager.net().listen("tcp://127.0.0.1:0", serve).unwrap();
    let to = addr(&mut manager, id);
    let silent: Vec<_> = (0..100).map(|_| client(to)).collect();
    let (stop, stopped) = {
        let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        (flag.clone(), move || flag.load(std::sync::atomic::Ordering::Relaxed))
    };
    let mut enemies = Vec::new();
    for kind in [b'x', b'?'] {
        let stopped = stopped.clone();
        enemies.push(helper(move || {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.set_write_timeout(Some(ms(20))).unwrap();
            // What it asked for is never read; so its writes stop, or its connection does.
            while !stopped() {
                let _ = stream.write(&[kind; 65_536]);
            }
        }));
    }
    enemies.push(helper(move || {
        while !stopped() {
            let stream = client(to);
            let _ = socket2::SockRef::from(&stream).set_linger(Some(ZERO));
        }
    }));
    let polite = helper(move || {
        let mut stream = client(to);
        let mut times: Vec<Duration> = (0..300)
            .map(|_| {
                let start = Instant::now();
                stream.write_all(b"!").unwrap();
                assert_eq!(read_n(&mut stream, 1), b"!");
                start.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    });
    let median = polite.wait(&mut manager, "300 round trips among enemies");
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for enemy in enemies {
        enemy.wait(&mut manager, "the end of an enemy");
    }
    assert!(median < ms(50), "a round trip takes {median:?}");
    drop(silent);
}

#[test]
fn nothing_left_behind_takes_memory_or_descriptors() {
    if !process::alone("nothing_left_behind_takes_memory_or_descriptors") {
        return;
    }
    let mut manager = common::manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let to = addr(&mut manager, id);
    let before = process::descriptors();
    for round in 0..3 {
        let clients: Vec<_> = (0..200).map(|_| client(to)).collect();
        for mut stream in &clients {
            stream.write_all(&[b'x'; 3000]).unwrap();
        }
        until(&mut manager, "the echoes", |m| m.stats().bytes_out == (round + 1) * 200 * 3000);
        assert_eq!(process::descriptors(), before + 400);
        drop(clients);
        until(&mut manager, "their ends", |m| m.net().connection_count() == 1);
        assert_eq!(process::descriptors(), before);
        assert_eq!(manager.stats().opened - manager.stats().closed, 1);
    }
}

#[test]
fn an_idle_manager_makes_no_turn_and_uses_no_time() {
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut manager = common::manager();
        let id = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
        manager.net().listen("udp://127.0.0.1:0", echo).unwrap();
        #[cfg(feature = "http")]
        manager.net().listen("http://127.0.0.1:0", record).unwrap();
        manager.net().timer_after(Duration::from_secs(3600), |_| {});
        // Connections that have had traffic, and rest.
        let to = addr(&mut manager, id);
        let mut clients: Vec<_> = (0..10).map(|_| client(to)).collect();
        for stream in &mut clients {
            stream.write_all(b"hello").unwrap();
        }
        until(&mut manager, "the echoes", |m| m.stats().bytes_out == 50);
        // What is under way arrives.
        while common::poll_for(&mut manager, ms(20)) > 1 {}
        let before = manager.stats().turns;
        tell.send((manager.waker(), process::this_thread())).unwrap();
        while !manager.poll(None).unwrap().stop {}
        let turns = manager.stats().turns - before;
        tell.send((manager.waker(), turns.to_string())).unwrap();
        drop(clients);
    });
    let (waker, name) = told.recv_timeout(DEADLINE).unwrap();
    // It says that it will sleep; whether it does already is seen by its not running any more.
    let end = Instant::now() + DEADLINE;
    let time = process::CpuTime::of(&name);
    let counts = || (process::voluntary_switches(&name), time.get());
    let mut before = counts();
    loop {
        assert!(Instant::now() < end, "the loop never came to rest: {before:?}");
        // Nothing is told: the time passes.
        assert!(told.recv_timeout(ms(300)).is_err());
        let now = counts();
        if now == before {
            break;
        }
        before = now;
    }
    waker.stop().unwrap();
    let (_, turns) = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!(turns, "1", "the only turn is the one that stops");
    thread.join().unwrap();
}

#[test]
fn a_poll_of_zero_never_blocks() {
    let mut manager = common::manager();
    let id = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let stream = client(addr(&mut manager, id));
    until(&mut manager, "an accept", |m| m.stats().accepted == 1);
    manager.net().timer_after(Duration::from_secs(3600), |_| {});
    let thread = process::this_thread();
    let before = process::voluntary_switches(&thread);
    let start = Instant::now();
    for _ in 0..1000 {
        assert_eq!(manager.poll(Some(ZERO)).unwrap().events, 0);
    }
    // To wait is to give the processor away.
    assert_eq!(process::voluntary_switches(&thread), before);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?} for 1000 turns of nothing", start.elapsed());
    drop(stream);
}

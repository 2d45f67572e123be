//! The loop allocates nothing while it serves connections that are open: echoes and kept-alive HTTP requests.
//!
//! The counter stands before the system's allocator and counts what one thread does while it is told to: the clients run
//! on another.

// An allocator cannot be written without; this one passes everything on.
#![allow(unsafe_code)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use common::{addr, client};
use vansire::{Ctx, Event, Manager};

#[global_allocator]
static COUNTER: Counter = Counter;

struct Counter;

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

impl Counter {
    fn count() {
        if COUNTING.get() {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        }
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        Self::count();
        unsafe { System.realloc(old, layout, len) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { System.dealloc(old, layout) }
    }
}

/// How many allocations this thread makes in there.
fn allocations(f: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    COUNTING.set(true);
    f();
    COUNTING.set(false);
    ALLOCATIONS.get() - before
}

/// Rounds of a client: some to warm up, and those that count.
const WARM_UP: u64 = 200;
const ROUNDS: u64 = 1_500;

/// Polls until a handler has counted so many.
fn poll_until(manager: &mut Manager<u64>, count: u64) {
    let end = Instant::now() + common::DEADLINE;
    while *manager.state() < count {
        assert!(Instant::now() < end, "{} rounds of {count}", manager.state());
        manager.poll(Some(common::ms(100))).unwrap();
    }
}

/// Has clients go through their rounds, for each of which the handler counts `unit`. Returns the allocations of the loop's
/// thread after the warm-up, and until they close.
fn measure<R: FnMut()>(
    manager: &mut Manager<u64>,
    clients: u64,
    unit: u64,
    open: impl Fn() -> R + Clone + Send + 'static,
) -> u64 {
    let warm = Arc::new(Barrier::new(clients as usize));
    let done = Arc::new(Barrier::new(clients as usize + 1));
    let threads: Vec<_> = (0..clients)
        .map(|_| {
            let (open, warm, done) = (open.clone(), Arc::clone(&warm), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut round = open();
                (0..WARM_UP).for_each(|_| round());
                warm.wait();
                (0..ROUNDS).for_each(|_| round());
                done.wait();
            })
        })
        .collect();
    poll_until(manager, clients * unit * WARM_UP);
    let count = allocations(|| poll_until(manager, clients * unit * (WARM_UP + ROUNDS)));
    done.wait();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    count
}

/// Several clients need several buffers only when they are served in one turn, which may happen for the first time after the
/// warm-up: each is two allocations, once and for all.
fn buffers(clients: u64) -> u64 {
    2 * (clients - 1)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn echoes_allocate_nothing() {
    // (bytes of a message, clients).
    for (len, clients) in [(1, 1), (64, 3), (10_000, 1)] {
        let mut manager = Manager::new(0).unwrap();
        let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::Data(data) = ev {
                cx.send(&data);
                *cx.state += data.len() as u64;
            }
        });
        let to = addr(&mut manager, id.unwrap());
        let open = move || {
            let (mut stream, sent, mut back) = (client(to), vec![b'x'; len], vec![0; len]);
            move || {
                stream.write_all(&sent).unwrap();
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, sent);
            }
        };
        let count = measure(&mut manager, clients, len as u64, open);
        assert!(
            count <= buffers(clients),
            "{count} allocations in {ROUNDS} echoes of {len} bytes to {clients} clients"
        );
    }
}

#[cfg(feature = "http")]
#[test]
fn kept_alive_requests_allocate_nothing() {
    use vansire::http::Response;
    // (name, request)
    let table = [
        ("GET", "GET /hello?name=x HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"),
        ("HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("POST", "POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n12345"),
    ];
    for (name, request) in table {
        let mut manager = Manager::new(0).unwrap();
        let id = manager.net().listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::HttpRequest(request) = ev {
                assert!(request.header("host").is_some());
                *cx.state += 1;
                cx.reply(Response::text(200, "Hello, world!").header("X-Test", "yes"));
            }
        });
        let to = addr(&mut manager, id.unwrap());
        let open = move || {
            let mut stream = client(to);
            move || ask(&mut stream, request)
        };
        let count = measure(&mut manager, 2, 1, open);
        assert!(count <= buffers(2), "{count} allocations in {ROUNDS} {name} requests");
        assert_eq!(manager.stats().handler_panics, 0);
    }
}

/// Questions that a client asks and a server answers, 64 s apart by a clock that is moved by hand.
#[cfg(feature = "sntp")]
#[test]
fn samples_and_answers_allocate_nothing() {
    use vansire::ManualClock;
    use vansire::sntp::ClientOptions;
    let clock = ManualClock::new();
    let mut manager = Manager::builder().clock(clock.clone()).build(0u64).unwrap();
    let time = std::time::SystemTime::now();
    manager.net().set_wall_clock(time);
    // Bound to every address: its answers have to say from which they leave.
    let server = manager.net().sntp_listen("sntp://0.0.0.0:0", |_: &mut Ctx<'_, u64>, _: Event<'_>| {}).unwrap();
    let url = format!("sntp://127.0.0.1:{}", addr(&mut manager, server).port());
    let options = ClientOptions::new(url).every(std::time::Duration::from_secs(64));
    let handler = |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
        if let Event::SntpTime(sample) = ev {
            *cx.state += u64::from(sample.offset.abs() < common::ms(500));
        }
    };
    manager.net().sntp_connect(options, handler).unwrap();
    let mut rounds = |count| {
        for _ in 0..count {
            let (wanted, end) = (*manager.state() + 1, Instant::now() + common::DEADLINE);
            while *manager.state() < wanted {
                assert!(Instant::now() < end, "no sample");
                manager.poll(Some(common::ms(1))).unwrap();
            }
            clock.advance(std::time::Duration::from_secs(100));
        }
    };
    rounds(10);
    assert_eq!(allocations(|| rounds(100)), 0);
    assert_eq!((manager.stats().sntp_samples, manager.stats().sntp_served), (110, 110));
}

#[cfg(feature = "static")]
#[test]
fn files_in_memory_allocate_nothing() {
    use vansire::files::{Dir, Options};
    let folder = common::TempDir::new();
    let path = folder.path("hello.txt");
    std::fs::write(&path, "Hello, world!").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(60)).unwrap();
    // Looked at once: each look at the folder costs allocations.
    let hour = std::time::Duration::from_secs(3600);
    let files = Dir::with(folder.path(""), Options::new().cache(1 << 20, 1 << 16, hour)).unwrap();
    // (name, request)
    let table = [
        ("GET", "GET /hello.txt HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n"),
        ("HEAD", "HEAD /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (name, request) in table {
        let mut manager = Manager::new(0).unwrap();
        let files = files.clone();
        let id = manager.net().listen("http://127.0.0.1:0", move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::HttpRequest(request) = ev {
                *cx.state += 1;
                files.serve(cx, request);
            }
        });
        let to = addr(&mut manager, id.unwrap());
        let open = move || {
            let mut stream = client(to);
            move || ask(&mut stream, request)
        };
        let count = measure(&mut manager, 2, 1, open);
        assert!(count <= buffers(2), "{count} allocations in {ROUNDS} {name} requests");
    }
}

/// A client of ours on one connection, asking again as soon as it is answered.
#[cfg(feature = "http")]
#[test]
fn kept_alive_requests_of_a_client_allocate_nothing() {
    use vansire::http::Request;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        common::patient(&stream);
        let mut buf = [0; 4096];
        let mut len = 0;
        loop {
            match stream.read(&mut buf[len..]) {
                Ok(0) | Err(_) => return,
                Ok(n) => len += n,
            }
            if buf[..len].ends_with(b"\r\n\r\n") {
                len = 0;
                stream.write_all(b"HTTP/1.1 200 OK\r\nX-Test: yes\r\nContent-Length: 13\r\n\r\nHello, World!").unwrap();
            }
        }
    });
    let ask = || Request::get("/hello?name=x").header("Accept", "*/*");
    let mut manager = Manager::new(0).unwrap();
    let handler = move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
        if let Event::HttpResponse(response) = ev {
            assert_eq!((response.header("x-test"), response.body_text()), (Some("yes"), Some("Hello, World!")));
            *cx.state += 1;
            cx.request(ask()).unwrap();
        }
    };
    let id = manager.net().http_connect(url, handler).unwrap();
    manager.net().request(id, ask()).unwrap();
    poll_until(&mut manager, WARM_UP);
    let count = allocations(|| poll_until(&mut manager, WARM_UP + ROUNDS));
    assert_eq!(count, 0, "allocations in {ROUNDS} requests of a client");
    assert_eq!(manager.stats().handler_panics, 0);
}

#[cfg(feature = "http")]
#[test]
fn an_event_is_encoded_once_however_many_clients_it_has() {
    use vansire::http::{EventHub, sse};
    // Short ones are copied into the output of each client, long ones are shared.
    for data in ["x".repeat(50), "x".repeat(3000)] {
        let counts = [1, 300].map(|clients| {
            let mut manager = Manager::new(EventHub::new()).unwrap();
            let id = manager.net().listen("http://127.0.0.1:0", |cx: &mut Ctx<'_, EventHub>, ev: Event<'_>| {
                if let Event::HttpRequest(_) = ev {
                    cx.state.subscribe(&mut cx.net, cx.conn, None);
                }
            });
            let to = addr(&mut manager, id.unwrap());
            let streams: Vec<_> = (0..clients)
                .map(|_| {
                    let mut stream = client(to);
                    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                    stream
                })
                .collect();
            common::until(&mut manager, "all have subscribed", |manager| manager.state().len() == clients);
            let data = data.clone();
            let sent = std::rc::Rc::new(Cell::new(0));
            let counter = std::rc::Rc::clone(&sent);
            manager.net().timer_every(common::ms(1), move |cx| {
                cx.state.publish(&mut cx.net, sse::Event::new(&data)).unwrap();
                counter.set(counter.get() + 1);
            });
            // What the system takes at once without anybody reading: nothing of it waits.
            let mut publish = |until| {
                while sent.get() < until {
                    manager.poll(Some(common::ms(100))).unwrap();
                }
            };
            publish(4);
            let count = allocations(|| publish(24));
            assert_eq!(manager.state().len(), clients);
            drop(streams);
            count
        });
        assert_eq!(counts[0], counts[1], "allocations for one client, and for 300, of {} bytes", data.len());
    }
}

/// A client of ours that publishes again as soon as it is told something, at QoS 0.
#[cfg(feature = "mqtt")]
#[test]
fn messages_of_qos_0_allocate_nothing_in_either_direction() {
    use vansire::mqtt::{ClientOptions, Publish, Version};
    // (name, version, CONNACK, the first message of the server, the others): in 5.0 with aliases both ways.
    type Row = (&'static str, Version, &'static [u8], &'static [u8], &'static [u8]);
    let table: [Row; 2] = [
        ("3.1.1", Version::Mqtt311, b"\x20\x02\0\0", b"\x30\x09\0\x04a/bchey", b"\x30\x09\0\x04a/bchey"),
        (
            "5.0",
            Version::Mqtt5,
            b"\x20\x06\0\0\x03\x22\0\x0a",
            b"\x30\x0d\0\x04a/bc\x03\x23\0\x01hey",
            b"\x30\x09\0\0\x03\x23\0\x01hey",
        ),
    ];
    for (name, version, conn_ack, first, others) in table {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            common::patient(&stream);
            let mut buf = [0; 4096];
            // CONNECT, then a message in each: the client does not say two things at once.
            for answer in [conn_ack, first].into_iter().chain(std::iter::repeat(others)) {
                match stream.read(&mut buf) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => stream.write_all(answer).unwrap(),
                }
            }
        });
        let mut manager = Manager::new(0).unwrap();
        let handler = |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
            match ev {
                Event::MqttMessage(message, _) => {
                    assert_eq!((message.topic, message.payload), ("a/bc", &b"hey"[..]));
                    *cx.state += 1;
                }
                Event::MqttOpened(_) => {}
                _ => return,
            }
            assert_eq!(cx.publish(&Publish::new("plant/7/temp", "21.5")).unwrap(), None);
        };
        let options = ClientOptions::new().version(version).client_id("c");
        manager.net().mqtt_connect(url, options, handler).unwrap();
        poll_until(&mut manager, WARM_UP);
        let count = allocations(|| poll_until(&mut manager, WARM_UP + ROUNDS));
        assert_eq!(count, 0, "allocations in {ROUNDS} messages of {name} each way");
        assert_eq!(manager.stats().handler_panics, 0);
    }
}

#[test]
fn ticks_and_idle_turns_allocate_nothing() {
    let mut manager = Manager::new(0u64).unwrap();
    for n in 1..=10 {
        manager.net().timer_every(common::ms(n), |cx| *cx.state += 1);
    }
    poll_until(&mut manager, 100);
    assert_eq!(allocations(|| poll_until(&mut manager, 300)), 0);
    // Turns of nothing.
    let idle = allocations(|| (0..1000).for_each(|_| _ = manager.poll(Some(common::ZERO)).unwrap()));
    assert_eq!(idle, 0);
}

/// Asks once, and reads the reply to its last byte.
#[cfg(feature = "http")]
fn ask(stream: &mut std::net::TcpStream, request: &str) {
    stream.write_all(request.as_bytes()).unwrap();
    let end = if request.starts_with("HEAD") { &b"\r\n\r\n"[..] } else { b"Hello, world!" };
    let mut buf = [0; 4096];
    let mut len = 0;
    while !buf[..len].ends_with(end) {
        len += stream.read(&mut buf[len..]).unwrap();
    }
    assert!(buf.starts_with(b"HTTP/1.1 200 "));
}

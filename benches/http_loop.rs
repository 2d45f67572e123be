//! A request through the whole loop, with the allocations it makes: `cargo bench --bench http_loop`.
//!
//! The client is the other end of a Unix socket pair on the same thread, so that each round is one request, one turn of
//! the loop (`epoll_wait`, `recvfrom`, `sendto`) and one reply, and so that every allocation is counted. Each with nobody
//! watching the loop, with a stall watch, and with a second thread that does nothing at all: the system takes longer for each
//! call of a process with two.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use divan::{AllocProfiler, Bencher};
use vansire::net::Scheme;
use vansire::{Ctx, Event, Limits, Manager, StallWatch, http};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// Who sees how long handlers take.
#[derive(Debug, Clone, Copy)]
enum Watch {
    Nobody,
    SecondThread,
    Stalls,
}

const WATCHES: [Watch; 3] = [Watch::Nobody, Watch::SecondThread, Watch::Stalls];

/// One request and its reply on a connection that is kept.
#[divan::bench(args = WATCHES, sample_count = 200, sample_size = 200)]
fn get_keep_alive(bencher: Bencher<'_, '_>, watch: Watch) {
    rounds(bencher, watch, GET.to_vec());
}

/// Sixteen requests in one write, sixteen replies in another.
#[divan::bench(args = WATCHES, sample_count = 200, sample_size = 50)]
fn get_pipelined_16(bencher: Bencher<'_, '_>, watch: Watch) {
    rounds(bencher, watch, GET.repeat(16));
}

fn rounds(bencher: Bencher<'_, '_>, watch: Watch, requests: Vec<u8>) {
    let (mut manager, mut client) = serve();
    // Its thread ends with the sender.
    let (_sender, receiver) = mpsc::channel::<()>();
    match watch {
        Watch::Nobody => {}
        Watch::SecondThread => drop(thread::spawn(move || receiver.recv())),
        Watch::Stalls => manager.watch_stalls(StallWatch::new()).expect("a thread"),
    }
    let mut replies = vec![0; 64 * 1024];
    let mut round = || {
        client.write_all(&requests).expect("the pair is open");
        manager.poll(Some(Duration::ZERO)).expect("the loop runs");
        client.read(&mut replies).expect("the reply is there")
    };
    // The first rounds fill the pools.
    let len = round();
    assert!(len > 0 && (0..100).all(|_| round() == len));
    bencher.bench_local(round);
}

fn serve() -> (Manager, UnixStream) {
    let limits = Limits::new().idle_timeout(Duration::from_secs(3600));
    let mut manager = Manager::builder().limits(limits).build(()).expect("a loop");
    let (ours, client) = UnixStream::pair().expect("a pair");
    client.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    let answer = |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
        if let Event::HttpRequest(_) = event {
            cx.reply(http::Response::text(200, "Hello, World!"));
        }
    };
    manager.net().adopt(Scheme::Http, ours, answer).expect("the pair can be watched");
    (manager, client)
}

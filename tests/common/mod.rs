//! What the tests of the loop share: a deadline for everything, clients with timeouts, threads and processes that report
//! back, and what the system knows of this process.

// Each test file is a program of its own, and uses a part of this.
#![allow(dead_code)]

pub(crate) mod process;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vansire::{ConnId, Ctx, Event, Manager};

/// No test waits longer for anything. Long, because it only matters when something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Conditions that the loop is not woken for are looked at this often.
const SLICE: Duration = Duration::from_millis(5);

pub(crate) const ZERO: Duration = Duration::ZERO;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Polls until the condition holds.
pub(crate) fn until<S>(manager: &mut Manager<S>, what: &str, mut done: impl FnMut(&mut Manager<S>) -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done(manager) {
        assert!(Instant::now() < end, "waited {DEADLINE:?} for: {what}");
        manager.poll(Some(SLICE)).unwrap();
    }
}

/// Polls for this long, whatever happens, and returns the number of turns.
pub(crate) fn poll_for<S>(manager: &mut Manager<S>, time: Duration) -> u64 {
    let end = Instant::now() + time;
    let before = manager.stats().turns;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return manager.stats().turns - before;
        }
        manager.poll(Some(left)).unwrap();
    }
}

/// What handlers were told, in order: the state of most managers here.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) lines: Vec<(ConnId, String)>,
}

impl Log {
    /// What one connection was told.
    pub(crate) fn of(&self, id: ConnId) -> Vec<&str> {
        self.lines.iter().filter(|line| line.0 == id).map(|line| line.1.as_str()).collect()
    }

    /// Everything, without saying who was told.
    pub(crate) fn all(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line.1.as_str()).collect()
    }

    /// How many lines begin like this.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.lines.iter().filter(|line| line.1.starts_with(start)).count()
    }

    /// The connections that were told of something that begins like this, in order.
    pub(crate) fn who(&self, start: &str) -> Vec<ConnId> {
        self.lines.iter().filter(|line| line.1.starts_with(start)).map(|line| line.0).collect()
    }

    /// How a connection ended, if it has.
    pub(crate) fn end_of(&self, id: ConnId) -> Option<&str> {
        self.of(id).into_iter().find(|line| line.starts_with("Closed"))
    }

    /// Opened first, Closed last, each once, for every connection that the log knows.
    pub(crate) fn check_lives(&self) {
        let mut ids: Vec<ConnId> = self.lines.iter().map(|line| line.0).collect();
        ids.sort();
        ids.dedup();
        for id in ids {
            let life = self.of(id);
            let count = |start: &str| life.iter().filter(|line| line.starts_with(start)).count();
            assert_eq!((count("Opened"), count("Closed")), (1, 1), "{id}: {life:?}");
            assert!(life[0] == "Opened" && life[life.len() - 1].starts_with("Closed"), "{id}: {life:?}");
        }
    }
}

/// A handler that only writes down what it is told.
pub(crate) fn record(cx: &mut Ctx<'_, Log>, ev: Event<'_>) {
    note(cx, &ev);
}

/// A handler that writes down what it is told, and sends bytes back.
pub(crate) fn echo(cx: &mut Ctx<'_, Log>, ev: Event<'_>) {
    note(cx, &ev);
    match ev {
        Event::Data(data) => {
            cx.send(&data);
        }
        Event::Datagram { from, data } => {
            cx.send_to(from, data);
        }
        _ => {}
    }
}

/// Writes down what a handler was told.
pub(crate) fn note(cx: &mut Ctx<'_, Log>, ev: &Event<'_>) {
    let line = line(ev);
    cx.state.lines.push((cx.conn, line));
}

/// An event in a line.
pub(crate) fn line(ev: &Event<'_>) -> String {
    let name = ev.name();
    match ev {
        Event::Resolved(ip) => format!("{name} {ip}"),
        Event::Data(data) => format!("{name} {}", text(data)),
        Event::Datagram { data, .. } => format!("{name} {}", text(data)),
        #[cfg(feature = "http")]
        Event::HttpHead(request) | Event::HttpRequest(request) => {
            format!("{name} {} {}", request.method(), request.target())
        }
        #[cfg(feature = "http")]
        Event::HttpBody(bytes) => format!("{name} {}", text(bytes)),
        Event::Wakeup(bytes) => format!("{name} {}", text(bytes)),
        Event::Closed(reason) => format!("{name}: {reason}"),
        _ => name.to_owned(),
    }
}

/// Short bytes as text, long ones as their number.
pub(crate) fn text(bytes: &[u8]) -> String {
    if bytes.len() > 64 { format!("({} bytes)", bytes.len()) } else { String::from_utf8_lossy(bytes).into_owned() }
}

/// A manager that logs.
pub(crate) fn manager() -> Manager<Log> {
    Manager::new(Log::default()).unwrap()
}

/// The IP address of a listener or a socket.
pub(crate) fn addr<S>(manager: &mut Manager<S>, id: ConnId) -> SocketAddr {
    match manager.net().local_addr(id) {
        Some(vansire::Address::Inet(addr)) => addr,
        other => panic!("connection {id} has the address {other:?}"),
    }
}

/// A blocking client.
pub(crate) fn client(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&addr, DEADLINE).unwrap();
    patient(&stream);
    stream
}

/// Gives a stream its timeouts.
pub(crate) fn patient(stream: &TcpStream) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
}

/// Reads exactly this many bytes.
pub(crate) fn read_n(stream: &mut impl Read, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads to the end of the stream, which must come in order, not as a reset.
pub(crate) fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Asks an HTTP server once; returns the status and the body. `None` when it closed without an answer.
pub(crate) fn get(addr: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = client(addr);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = Vec::new();
    // A reset is as good as an end here: who cares for it reads for itself.
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8(reply).unwrap();
    let status = reply.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let body = reply.split_once("\r\n\r\n")?.1.to_owned();
    Some((status, body))
}

/// A thread that does what blocks, while the test polls.
pub(crate) struct Helper<T> {
    result: Receiver<T>,
    thread: JoinHandle<()>,
}

/// Starts a thread.
pub(crate) fn helper<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Helper<T> {
    let (tell, result) = channel();
    // Nobody listens when the test has failed already.
    let thread = std::thread::spawn(move || tell.send(f()).unwrap_or(()));
    Helper { result, thread }
}

impl<T> Helper<T> {
    /// Polls until the thread has its result. Its panic is the test's.
    pub(crate) fn wait<S>(self, manager: &mut Manager<S>, what: &str) -> T {
        let mut result = None;
        let mut gone = false;
        until(manager, what, |_| {
            match self.result.try_recv() {
                Ok(value) => result = Some(value),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => gone = true,
            }
            result.is_some() || gone
        });
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
        result.expect("a thread that did not panic has a result")
    }

    /// Waits without polling.
    pub(crate) fn join(self, what: &str) -> T {
        match self.result.recv_timeout(DEADLINE) {
            Ok(value) => value,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("waited {DEADLINE:?} for: {what}"),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => match self.thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => panic!("no result of: {what}"),
            },
        }
    }
}

/// Bytes that differ from their neighbours, to tell when some are lost, doubled or moved.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut word = 0x2545_f491u32;
    (0..len)
        .map(|_| {
            word ^= word << 13;
            word ^= word >> 17;
            word ^= word << 5;
            word as u8
        })
        .collect()
}

/// A directory of one test, removed with all in it.
pub(crate) struct TempDir(std::path::PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vansire-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

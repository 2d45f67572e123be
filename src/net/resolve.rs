//! Names to addresses, off the loop: a few threads around the system's resolver, which may block for long.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::error::{Error, Kind};
use crate::net::addr::Url;

/// Finds the addresses of a name. Called on a thread of the resolver.
pub(crate) type Lookup = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Takes the result for a ticket. Called on a thread of the resolver.
pub(crate) type Deliver = Arc<dyn Fn(u64, io::Result<Vec<SocketAddr>>) + Send + Sync>;

/// Looks names up without blocking the caller.
///
/// Threads start when there is work and end when there was none for a while, or when the resolver is dropped. One that
/// hangs in the system's resolver is left to itself, and its result is dropped.
pub(crate) struct Resolver {
    shared: Arc<Shared>,
}

/// Why a name is not looked up.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many names wait already.
    Full,
    /// The system gave no thread.
    Thread(io::Error),
}

impl Resolver {
    /// Uses the system's resolver. No thread starts before the first name.
    pub(crate) fn new(deliver: Deliver) -> Self {
        Self::with_lookup(Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect)), deliver, IDLE)
    }

    /// Uses another lookup; threads end when they were idle for the given time.
    pub(crate) fn with_lookup(lookup: Lookup, deliver: Deliver, idle: Duration) -> Self {
        let state = State { queue: VecDeque::new(), running: Vec::new(), threads: 0, idle: 0, closed: false };
        Self { shared: Arc::new(Shared { lookup, deliver, idle, state: Mutex::new(state), changed: Condvar::new() }) }
    }

    /// Looks the name up; the result comes with the ticket, which is never used twice. It may come after
    /// [`cancel`](Self::cancel), when it was on its way already.
    pub(crate) fn resolve(&self, ticket: u64, host: &str, port: u16) -> Result<(), Refused> {
        let mut state = self.shared.lock();
        if state.queue.len() >= QUEUE_MAX {
            return Err(Refused::Full);
        }
        state.queue.push_back(Job { ticket, host: host.into(), port });
        if state.queue.len() > state.idle && state.threads < THREADS_MAX {
            let shared = self.shared.clone();
            match thread::Builder::new().name("vansire-resolve".into()).spawn(move || shared.work()) {
                Ok(_) => state.threads += 1,
                Err(e) if state.threads == 0 => {
                    state.queue.pop_back();
                    return Err(Refused::Thread(e));
                }
                // The threads that there are come to it.
                Err(_) => {}
            }
        }
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Forgets a name: it is not looked up any more, or its result is dropped.
    pub(crate) fn cancel(&self, ticket: u64) {
        let mut state = self.shared.lock();
        state.queue.retain(|job| job.ticket != ticket);
        state.running.retain(|running| *running != ticket);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue.clear();
        state.running.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Refused {
    /// The error of whoever needed the name, which begins with `what` cannot be done.
    pub(crate) fn into_error(self, what: impl fmt::Display) -> Error {
        match self {
            Self::Full => Error::new(Kind::LimitReached, format!("{what}: {QUEUE_MAX} names wait already")),
            Self::Thread(e) => Error::with_source(Kind::Io, format!("{what}: no thread to look up"), e),
        }
    }
}

/// The error of a name without an address.
pub(crate) fn resolve_error(url: &Url, source: io::Error) -> Error {
    Error::with_source(Kind::Resolve, format!("cannot connect to {url}: its name could not be looked up"), source)
}

/// The order in which addresses are tried (RFC 8305 §4): IPv6 and IPv4 in turn, each in the system's order, so that a
/// family that does not work costs one attempt. Each once, and no more than 16.
pub(crate) fn order(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addrs.into_iter().partition(SocketAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut ordered = Vec::new();
    let mut add = |addr: Option<SocketAddr>| {
        if let Some(addr) = addr
            && ordered.len() < ADDRS_MAX
            && !ordered.contains(&addr)
        {
            ordered.push(addr);
        }
    };
    while v6.len() + v4.len() > 0 {
        add(v6.next());
        add(v4.next());
    }
    ordered
}

struct Job {
    ticket: u64,
    host: Box<str>,
    port: u16,
}

struct Shared {
    lookup: Lookup,
    deliver: Deliver,
    idle: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    queue: VecDeque<Job>,
    /// The tickets being looked up; a cancelled one is taken out.
    running: Vec<u64>,
    threads: usize,
    /// Those of them that wait for work.
    idle: usize,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a thread.
    fn work(&self) {
        let mut state = self.lock();
        while !state.closed {
            if let Some(job) = state.queue.pop_front() {
                state.running.push(job.ticket);
                drop(state);
                self.look_up(&job);
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (woken, wait) = self.changed.wait_timeout(state, self.idle).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            // A name may have come in together with the end of the wait.
            if wait.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        // Under the same lock as the decision: who adds a name now starts another thread.
        state.threads -= 1;
        drop(state);
        self.changed.notify_all();
    }

    fn look_up(&self, job: &Job) {
        let found = catch_unwind(AssertUnwindSafe(|| (self.lookup)(&job.host, job.port)))
            .unwrap_or_else(|_| Err(io::Error::other("the lookup panicked")));
        let mut state = self.lock();
        let wanted = state.running.iter().position(|ticket| *ticket == job.ticket);
        if let Some(at) = wanted {
            state.running.swap_remove(at);
            drop(state);
            // A panic of the receiver is reported by its own hook, and must not cost a thread.
            let _ = catch_unwind(AssertUnwindSafe(|| (self.deliver)(job.ticket, found)));
        }
    }
}

const THREADS_MAX: usize = 4;
const QUEUE_MAX: usize = 256;
const ADDRS_MAX: usize = 16;
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

    use super::*;
    use crate::net::testing::DEADLINE;

    /// A resolver whose lookups say that they began, and end when told to.
    struct Bench {
        resolver: Option<Resolver>,
        began: Receiver<String>,
        go: Sender<io::Result<Vec<SocketAddr>>>,
        results: Receiver<(u64, io::Result<Vec<SocketAddr>>)>,
    }

    impl Bench {
        fn new(idle: Duration) -> Self {
            let (tell_began, began) = channel();
            let (go, wait_go) = channel();
            let (tell, results) = channel();
            let wait_go = Mutex::new(wait_go);
            let lookup: Lookup = Arc::new(move |host, port| {
                tell_began.send(format!("{host}:{port}")).unwrap();
                // The bench ends: so do the lookups.
                wait_go.lock().unwrap().recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
            });
            let deliver: Deliver = Arc::new(move |ticket, result| tell.send((ticket, result)).unwrap());
            let resolver = Some(Resolver::with_lookup(lookup, deliver, idle));
            Self { resolver, began, go, results }
        }

        fn resolver(&self) -> &Resolver {
            self.resolver.as_ref().unwrap()
        }

        fn began(&self) -> String {
            self.began.recv_timeout(DEADLINE).unwrap()
        }

        fn finish(&self, addr: &str) {
            self.go.send(Ok(vec![addr.parse().unwrap()])).unwrap();
        }

        fn result(&self) -> (u64, io::Result<Vec<SocketAddr>>) {
            self.results.recv_timeout(DEADLINE).unwrap()
        }

        fn no_result_comes(self) {
            drop(self.resolver);
            // Threads that are gone have dropped the other end.
            drop(self.go);
            assert_eq!(self.results.recv_timeout(DEADLINE).unwrap_err(), RecvTimeoutError::Disconnected);
        }
    }

    fn addrs(text: &[&str]) -> Vec<SocketAddr> {
        text.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    #[test]
    fn a_result_comes_with_its_ticket() {
        let bench = Bench::new(DEADLINE);
        bench.resolver().resolve(7, "a.lan", 80).unwrap();
        assert_eq!(bench.began(), "a.lan:80");
        bench.finish("1.2.3.4:80");
        let (ticket, result) = bench.result();
        assert_eq!((ticket, result.unwrap()), (7, addrs(&["1.2.3.4:80"])));
        bench.resolver().resolve(8, "b.lan", 80).unwrap();
        bench.began();
        bench.go.send(Err(io::ErrorKind::NotFound.into())).unwrap();
        let (ticket, result) = bench.result();
        assert_eq!((ticket, result.unwrap_err().kind()), (8, io::ErrorKind::NotFound));
        bench.no_result_comes();
    }

    #[test]
    fn threads_and_queue_are_bounded() {
        let bench = Bench::new(DEADLINE);
        for ticket in 0..THREADS_MAX as u64 {
            bench.resolver().resolve(ticket, "busy", 1).unwrap();
        }
        for _ in 0..THREADS_MAX {
            bench.began();
        }
        for ticket in 0..QUEUE_MAX as u64 {
            bench.resolver().resolve(100 + ticket, "queued", 1).unwrap();
        }
        let refused = bench.resolver().resolve(999, "too many", 1).unwrap_err();
        assert!(matches!(refused, Refused::Full));
        let error = refused.into_error("cannot connect to tcp://a.lan:1");
        assert!(error.is_limit_reached() && error.to_string().contains("tcp://a.lan:1"), "{error}");
        assert_eq!(bench.resolver().shared.lock().threads, THREADS_MAX);
        // One cancelled makes room for one.
        bench.resolver().cancel(100);
        bench.resolver().resolve(1000, "room", 1).unwrap();
        assert!(matches!(bench.resolver().resolve(1001, "too many", 1), Err(Refused::Full)));
        bench.no_result_comes();
    }

    #[test]
    fn d10_a_cancelled_name_has_no_result() {
        let bench = Bench::new(DEADLINE);
        for ticket in 0..THREADS_MAX as u64 {
            bench.resolver().resolve(ticket, "running", 1).unwrap();
            assert_eq!(bench.began(), "running:1");
        }
        bench.resolver().resolve(10, "skipped", 1).unwrap();
        bench.resolver().resolve(11, "wanted", 1).unwrap();
        bench.resolver().cancel(10);
        for ticket in 0..THREADS_MAX as u64 {
            bench.resolver().cancel(ticket);
        }
        for _ in 0..=THREADS_MAX {
            bench.finish("1.1.1.1:1");
        }
        assert_eq!(bench.began(), "wanted:1", "a name cancelled in the queue is not looked up");
        let (ticket, result) = bench.result();
        assert_eq!((ticket, result.unwrap()), (11, addrs(&["1.1.1.1:1"])));
        bench.no_result_comes();
    }

    #[test]
    fn dropping_does_not_wait_for_a_stuck_lookup() {
        let mut bench = Bench::new(DEADLINE);
        bench.resolver().resolve(1, "stuck", 1).unwrap();
        bench.began();
        bench.resolver().resolve(2, "never", 1).unwrap();
        // Stuck as long as nobody tells it to go on: a join would hang here.
        bench.resolver = None;
        bench.finish("1.1.1.1:1");
        bench.no_result_comes();
    }

    #[test]
    fn idle_threads_end_and_start_again() {
        let bench = Bench::new(Duration::ZERO);
        for ticket in 1..=3 {
            bench.resolver().resolve(ticket, "a", 1).unwrap();
            bench.began();
            bench.finish("1.1.1.1:1");
            assert_eq!(bench.result().0, ticket);
            let shared = &bench.resolver().shared;
            let (state, wait) =
                shared.changed.wait_timeout_while(shared.lock(), DEADLINE, |state| state.threads > 0).unwrap();
            assert!(!wait.timed_out() && state.idle == 0);
        }
        bench.no_result_comes();
    }

    #[test]
    fn a_panic_in_a_lookup_is_a_result() {
        let (tell, results) = channel();
        let deliver: Deliver = Arc::new(move |ticket, result| tell.send((ticket, result)).unwrap());
        let resolver = Resolver::with_lookup(Arc::new(|host, _| panic!("no {host}")), deliver, DEADLINE);
        for ticket in [1, 2] {
            resolver.resolve(ticket, "a", 1).unwrap();
            let (got, result) = results.recv_timeout(DEADLINE).unwrap();
            assert_eq!((got, result.unwrap_err().to_string().as_str()), (ticket, "the lookup panicked"));
        }
    }

    #[test]
    fn the_system_knows_addresses_without_a_network() {
        let (tell, results) = channel();
        let resolver = Resolver::new(Arc::new(move |ticket, result| tell.send((ticket, result)).unwrap()));
        resolver.resolve(1, "127.0.0.1", 80).unwrap();
        let (ticket, result) = results.recv_timeout(DEADLINE).unwrap();
        assert_eq!((ticket, result.unwrap()), (1, addrs(&["127.0.0.1:80"])));
    }

    #[test]
    fn addresses_are_tried_in_turn() {
        let many: Vec<String> = (0..40).map(|n| format!("10.0.0.{n}:1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let table: [(&str, &[&str], &[&str]); 7] = [
            ("none", &[], &[]),
            ("one", &["1.1.1.1:1"], &["1.1.1.1:1"]),
            ("IPv6 first", &["1.1.1.1:1", "[::1]:1"], &["[::1]:1", "1.1.1.1:1"]),
            (
                "in turn",
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"],
            ),
            ("the system's order within a family", &["2.2.2.2:1", "1.1.1.1:1"], &["2.2.2.2:1", "1.1.1.1:1"]),
            ("each once", &["1.1.1.1:1", "[::1]:1", "1.1.1.1:1", "[::1]:1"], &["[::1]:1", "1.1.1.1:1"]),
            ("no more than 16", &many, &many[..ADDRS_MAX]),
        ];
        for (name, given, expected) in table {
            assert_eq!(order(addrs(given)), addrs(expected), "RFC 8305 §4, {name}");
        }
    }

    #[test]
    fn a_resolve_error_names_the_url_and_no_password() {
        let url = Url::parse("mqtt://u:secret@nowhere.lan").unwrap();
        let error = resolve_error(&url, io::Error::other("Name or service not known"));
        assert!(error.is_resolve());
        let expected = "cannot connect to mqtt://u:***@nowhere.lan:1883/: its name could not be looked up: Name or service not known";
        assert_eq!(error.to_string(), expected);
    }
}

//! Work that takes long, on threads of its own, while the loop goes on:
//! `cargo run --example multi_threaded -- --listen http://127.0.0.1:8080 --workers 2 --queue 16`.
//!
//! `curl http://127.0.0.1:8080/primes/100000` counts the primes below that number. A handler must never wait, so it promises
//! the answer (`defer`) and gives the job to a worker, who wakes the loop with the result (`Waker`). The queue of jobs
//! is bounded: a server that takes on more than it can do helps nobody, so it answers 503 when it is full.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use vansire::http::{ReplyId, Response, Router};
use vansire::{ConnId, ConnMap, Ctx, Event, Manager, Waker};

struct App {
    jobs: SyncSender<Job>,
    /// Who waits for a worker. One connection waits for one thing at a time.
    waiting: ConnMap<Waiting>,
}

struct Waiting {
    /// Names the request that the answer belongs to.
    reply: ReplyId,
    /// Tells the worker that nobody wants the result any more.
    cancelled: Arc<AtomicBool>,
}

/// What a worker needs to know. It goes to another thread, so it owns everything.
struct Job {
    below: u64,
    conn: ConnId,
    cancelled: Arc<AtomicBool>,
}

fn main() -> vansire::Result<()> {
    let url = common::listen_url("http://127.0.0.1:8080");
    let (workers, queue) = (common::flag("--workers", 2), common::flag("--queue", 16));
    let (jobs, todo) = sync_channel(queue);
    let mut manager = Manager::new(App { jobs, waiting: ConnMap::new() })?;

    let todo = Arc::new(Mutex::new(todo));
    for _ in 0..workers {
        let (todo, waker) = (Arc::clone(&todo), manager.waker());
        // Not joined: when `main` returns, nobody wants a result.
        std::thread::spawn(move || work(&todo, &waker));
    }

    let router = Router::new()
        .get("/", |cx, _, _| {
            cx.reply(Response::text(200, "The loop goes on, whatever the workers do.\n"));
        })
        .get("/primes/:below", |cx, _, params| match params.raw("below").and_then(|n| n.parse().ok()) {
            Some(below) => begin(cx, below),
            None => drop(cx.reply(Response::text(400, "A number, please.\n"))),
        })
        // What is no request comes here.
        .otherwise(|cx: &mut Ctx<'_, App>, ev: Event<'_>| match ev {
            // A worker is done.
            Event::Wakeup(result) => {
                if let Some(waiting) = cx.state.waiting.remove(cx.conn) {
                    cx.net.reply(waiting.reply, Response::new(200).content_type("text/plain").body(result));
                }
            }
            // The client is cut off, or has waited for `Limits::reply_timeout`: its job is not worth finishing. (One that only
            // closes its side may still want the answer.)
            Event::Closed(_) => {
                if let Some(waiting) = cx.state.waiting.remove(cx.conn) {
                    waiting.cancelled.store(true, Ordering::Relaxed);
                }
            }
            _ => {}
        });
    let listener = manager.net().listen(&url, router.into_handler()?)?;
    common::announce(&mut manager, &url, listener);
    manager.run()
}

fn begin(cx: &mut Ctx<'_, App>, below: u64) {
    let cancelled = Arc::new(AtomicBool::new(false));
    let job = Job { below, conn: cx.conn, cancelled: Arc::clone(&cancelled) };
    if cx.state.jobs.try_send(job).is_err() {
        cx.reply(Response::text(503, "Busy.\n").header("Retry-After", "1"));
        return;
    }
    // Requests behind this one wait until it is answered. So does the client, for at most `Limits::reply_timeout`.
    if let Some(reply) = cx.defer() {
        cx.state.waiting.insert(cx.conn, Waiting { reply, cancelled });
    }
}

/// A worker: takes jobs until there is nobody to give it any.
fn work(todo: &Mutex<Receiver<Job>>, waker: &Waker) {
    loop {
        // The lock is held while this one waits for a job; the others wait for the lock.
        let job = todo.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let Some(count) = primes_below(job.below, &job.cancelled) else { continue };
        // Fails when the client has left meanwhile, or the manager has stopped: then it is nobody's loss.
        let _ = waker.wakeup(job.conn, format!("{count} primes\n").as_bytes());
    }
}

/// How many primes there are below a number; none when nobody wants to know.
fn primes_below(end: u64, cancelled: &AtomicBool) -> Option<u64> {
    let mut count = 0;
    for n in 2..end {
        if n % 1024 == 0 && cancelled.load(Ordering::Relaxed) {
            return None;
        }
        count += u64::from((2..).take_while(|d| d * d <= n).all(|d| n % d != 0));
    }
    Some(count)
}

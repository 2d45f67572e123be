//! Round trips between a tokio task and the loop's thread, beside what else could be used, and commands in one direction.
//!
//! `cargo bench --features async --bench wakeup`; with `taskset -c 0` before it, everything on one core. The floor is two bare
//! threads that wake each other's mio `Poll`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use vansire::AsyncManager;

const WARMUP: usize = 2_000;
const ROUNDS: usize = 20_000;
const COMMANDS: u64 = 2_000_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let floor = floor();
    row("floor: mio Waker, two threads", &floor, &floor);
    row("tokio mpsc, runtime and std thread", &runtime.block_on(mpsc()), &floor);
    row("tokio spawn_blocking", &runtime.block_on(spawn_blocking()), &floor);
    row("AsyncManager::with", &runtime.block_on(with()), &floor);
    let (time, wakes) = runtime.block_on(submit());
    let rate = COMMANDS as f64 / time.as_secs_f64() / 1e6;
    println!("AsyncManager::submit, one producer: {rate:.1} million commands/s, {wakes} turns found mail");
    println!("idle for 2 s with poll_interval unset: {} turns", runtime.block_on(idle()));
}

fn row(name: &str, times: &[Duration], floor: &[Duration]) {
    let us = |times: &[Duration], percent: usize| times[times.len() * percent / 100].as_nanos() as f64 / 1e3;
    let (p50, p99) = (us(times, 50), us(times, 99));
    println!("{name:36} p50 {p50:7.2} us ({:4.2})  p99 {p99:7.2} us", p50 / us(floor, 50));
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.drain(..WARMUP);
    times.sort();
    times
}

/// One side that sleeps in a poll until it is woken.
fn side() -> (Poll, Arc<Waker>) {
    let poll = Poll::new().expect("a poll");
    let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
    (poll, Arc::new(waker))
}

fn floor() -> Vec<Duration> {
    let ((mut here, wake_here), (mut there, wake_there)) = (side(), side());
    std::thread::spawn(move || {
        let mut events = Events::with_capacity(8);
        for _ in 0..WARMUP + ROUNDS {
            there.poll(&mut events, None).expect("a wake");
            wake_here.wake().expect("to wake");
        }
    });
    let mut events = Events::with_capacity(8);
    let round = |_| {
        let start = Instant::now();
        wake_there.wake().expect("to wake");
        here.poll(&mut events, None).expect("a wake");
        start.elapsed()
    };
    sorted((0..WARMUP + ROUNDS).map(round).collect())
}

async fn mpsc() -> Vec<Duration> {
    let (ask, asked) = std::sync::mpsc::channel::<u64>();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || asked.iter().try_for_each(|n| tell.send(n)));
    let mut times = Vec::new();
    for n in 0..(WARMUP + ROUNDS) as u64 {
        let start = Instant::now();
        ask.send(n).expect("a thread");
        black_box(told.recv().await);
        times.push(start.elapsed());
    }
    sorted(times)
}

async fn spawn_blocking() -> Vec<Duration> {
    let mut times = Vec::new();
    for n in 0..WARMUP + ROUNDS {
        let start = Instant::now();
        black_box(tokio::task::spawn_blocking(move || n).await.expect("an answer"));
        times.push(start.elapsed());
    }
    sorted(times)
}

async fn with() -> Vec<Duration> {
    let manager = AsyncManager::builder(|| 0u64).start().await.expect("a manager");
    let mut times = Vec::new();
    for _ in 0..WARMUP + ROUNDS {
        let start = Instant::now();
        black_box(manager.with(|cx| *cx.state).await.expect("an answer"));
        times.push(start.elapsed());
    }
    sorted(times)
}

/// How long many commands take until the last has run, and how often the loop found mail.
async fn submit() -> (Duration, u64) {
    let manager = AsyncManager::builder(|| 0u64).commands(65_536).start().await.expect("a manager");
    let start = Instant::now();
    for _ in 0..COMMANDS {
        manager.submit(|cx| *cx.state += 1).await.expect("a place");
    }
    assert_eq!(manager.with(|cx| *cx.state).await.expect("an answer"), COMMANDS);
    (start.elapsed(), manager.stats().await.expect("an answer").mail_turns)
}

async fn idle() -> u64 {
    let manager = AsyncManager::builder(|| 0u64).start().await.expect("a manager");
    let before = manager.stats().await.expect("an answer").turns;
    std::thread::sleep(Duration::from_secs(2));
    // The question itself is one.
    manager.stats().await.expect("an answer").turns - before - 1
}

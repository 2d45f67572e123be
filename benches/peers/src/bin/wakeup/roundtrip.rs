//! A question and its answer, each of which wakes a sleeper.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use mio::{Events, Poll, Token, Waker};
use serde_json::Value;
use tokio::sync::mpsc;
use vansire::AsyncManager;
use vansire_peers::histogram::Histogram;

use crate::flags::Flags;
use crate::{not_for, quantiles, runtime, stay_on};

/// Rounds before the first that counts.
const WARMUP: u64 = 2_000;

pub(crate) fn measure(flags: &Flags) -> io::Result<Value> {
    stay_on(flags.cpus.0);
    let times = match flags.way.as_str() {
        "floor" => floor(flags)?,
        "mpsc" => runtime()?.block_on(channel(flags)),
        "spawn_blocking" => runtime()?.block_on(spawn_blocking(flags)),
        "ours" => runtime()?.block_on(with_thread(flags)),
        "inline" => runtime()?.block_on(inline(flags)),
        _ => return Err(not_for(flags)),
    };
    Ok(quantiles(&times))
}

/// Times of rounds; those to warm up are left out.
struct Times {
    histogram: Histogram,
    seen: u64,
}

impl Times {
    fn new() -> Self {
        Self { histogram: Histogram::new(), seen: 0 }
    }

    fn add(&mut self, start: Instant) {
        let nanos = start.elapsed().as_nanos() as u64;
        self.seen += 1;
        if self.seen > WARMUP {
            self.histogram.add(nanos, 1);
        }
    }
}

/// One side that sleeps in a poll until it is woken.
fn side() -> io::Result<(Poll, Arc<Waker>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), Token(0))?;
    Ok((poll, Arc::new(waker)))
}

fn floor(flags: &Flags) -> io::Result<Histogram> {
    let ((mut here, wake_here), (mut there, wake_there)) = (side()?, side()?);
    // A poll may return for nothing: these tell.
    let (asked, answered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (question, answer, cpu) = (Arc::clone(&asked), Arc::clone(&answered), flags.cpus.1);
    std::thread::spawn(move || {
        stay_on(cpu);
        let mut events = Events::with_capacity(8);
        for n in 1.. {
            while question.load(Ordering::Acquire) != n {
                there.poll(&mut events, None).expect("a wake");
            }
            answer.store(n, Ordering::Release);
            wake_here.wake().expect("to wake");
        }
    });
    let mut events = Events::with_capacity(8);
    let mut times = Times::new();
    for n in 1..=WARMUP + flags.rounds {
        let start = Instant::now();
        asked.store(n, Ordering::Release);
        wake_there.wake()?;
        while answered.load(Ordering::Acquire) != n {
            here.poll(&mut events, None)?;
        }
        times.add(start);
    }
    Ok(times.histogram)
}

async fn channel(flags: &Flags) -> Histogram {
    let (ask, asked) = std::sync::mpsc::channel::<u64>();
    let (tell, mut told) = mpsc::unbounded_channel();
    let cpu = flags.cpus.1;
    std::thread::spawn(move || {
        stay_on(cpu);
        asked.iter().try_for_each(|n| tell.send(n))
    });
    let mut times = Times::new();
    for n in 0..WARMUP + flags.rounds {
        let start = Instant::now();
        ask.send(n).expect("a thread");
        black_box(told.recv().await);
        times.add(start);
    }
    times.histogram
}

async fn spawn_blocking(flags: &Flags) -> Histogram {
    let cpu = flags.cpus.1;
    let mut times = Times::new();
    // One thread is enough for one question at a time.
    tokio::task::spawn_blocking(move || stay_on(cpu)).await.expect("an answer");
    for n in 0..WARMUP + flags.rounds {
        let start = Instant::now();
        black_box(tokio::task::spawn_blocking(move || n).await.expect("an answer"));
        times.add(start);
    }
    times.histogram
}

async fn with_thread(flags: &Flags) -> Histogram {
    let cpu = flags.cpus.1;
    let builder = AsyncManager::builder(|| 0u64).setup(move |_, _| {
        stay_on(cpu);
        Ok(())
    });
    with(&builder.start().await.expect("a manager"), flags).await
}

async fn inline(flags: &Flags) -> Histogram {
    let (manager, turns) = AsyncManager::builder(|| 0u64).inline().expect("a manager");
    let work = async {
        let times = with(&manager, flags).await;
        manager.shutdown().await;
        times
    };
    tokio::join!(work, turns).0
}

async fn with(manager: &AsyncManager<u64>, flags: &Flags) -> Histogram {
    let mut times = Times::new();
    for _ in 0..WARMUP + flags.rounds {
        let start = Instant::now();
        black_box(manager.with(|cx| *cx.state).await.expect("an answer"));
        times.add(start);
    }
    times.histogram
}

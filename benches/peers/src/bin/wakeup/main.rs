//! What it costs to ask another thread, in each of several ways: `wakeup WAY ROW [OPTIONS]`, for wakeup.sh. Prints JSON.
//!
//! Ways: `floor` (two bare threads, each in the poll of a mio that the other wakes), `mpsc` (tokio's channel back, std's there),
//! `spawn_blocking`, `sync` (a `Manager`, for the rows without tokio), `ours` (`AsyncManager`), `inline` (the same without a
//! thread).
//!
//! Rows: `roundtrip` (`--rounds`, `--cpus ASKS,ANSWERS`), `commands` (`--rounds`, `--cpus`), `idle` (`--seconds`), and `http`
//! (`--addr`), which serves until it is killed.

mod commands;
mod flags;
mod roundtrip;
mod serve;

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use vansire_peers::histogram::Histogram;

use flags::Flags;

fn main() -> io::Result<()> {
    let flags = Flags::parse(std::env::args().skip(1))?;
    let result = match flags.row.as_str() {
        "roundtrip" => roundtrip::measure(&flags)?,
        "commands" => commands::measure(&flags)?,
        "idle" => serve::idle(&flags)?,
        "http" => return serve::http(&flags),
        row => return Err(flags::wrong(format!("no row is called {row}"))),
    };
    println!("{result}");
    Ok(())
}

/// Makes this thread stay on a core.
fn stay_on(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).expect("the core is there: wakeup.sh has looked");
}

/// A runtime of one thread.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    // One thread, or what `spawn_blocking` has another do would be done now here and now there.
    tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build()
}

/// What does not happen for this way.
fn not_for(flags: &Flags) -> io::Error {
    flags::wrong(format!("{} has no row {}", flags.way, flags.row))
}

fn quantiles(times: &Histogram) -> Value {
    let us = |q| times.quantile(q).unwrap_or(Duration::ZERO).as_nanos() as f64 / 1e3;
    json!({ "p50_us": us(0.5), "p99_us": us(0.99) })
}

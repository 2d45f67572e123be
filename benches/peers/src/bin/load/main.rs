//! A load generator for HTTP/1.1 servers that answer every request with the same bytes.
//!
//! One thread, no parsing: it learns the length of the answer from the first one, and then counts bytes. It reads the
//! server's CPU time itself, at both ends of the measured span, and prints one line of JSON.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::Value;
use vansire_peers::procfs;

use crate::flags::{Flags, Mode, USAGE};

mod burst;
mod client;
mod flags;
mod idle;
mod probe;
mod steady;

fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args().skip(1)) {
        Ok(flags) => flags,
        Err(e) => {
            eprintln!("load: {e}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match flags.mode {
        Mode::KeepAlive | Mode::Close => steady::run(&flags),
        Mode::Idle => idle::run(&flags),
        Mode::Burst => burst::run(&flags),
    };
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("load: {e}");
            ExitCode::FAILURE
        }
    }
}

/// The time and what both sides had spent by then.
struct Sample {
    at: Instant,
    server_cpu: Duration,
    /// How often the server had gone to sleep.
    sleeps: u64,
    own_cpu: Duration,
    /// What all programs together had spent.
    machine_cpu: Duration,
}

impl Sample {
    fn take(pids: &[u32]) -> io::Result<Self> {
        let own_cpu = procfs::cpu_time(&[std::process::id()])?;
        let machine_cpu = procfs::machine_time()?;
        let sleeps = procfs::voluntary_switches(pids)?;
        Ok(Self { at: Instant::now(), sleeps, server_cpu: procfs::cpu_time(pids)?, own_cpu, machine_cpu })
    }
}

/// A figure with three digits after the point: more would be noise.
fn rounded(figure: f64) -> Value {
    Value::from((figure * 1e3).round() / 1e3)
}

/// A figure about the server, which is known only when its processes are.
fn of_server(pids: &[u32], figure: f64) -> Value {
    if pids.is_empty() { Value::Null } else { rounded(figure) }
}

fn micros(duration: Option<Duration>) -> Value {
    duration.map_or(Value::Null, |d| rounded(d.as_secs_f64() * 1e6))
}

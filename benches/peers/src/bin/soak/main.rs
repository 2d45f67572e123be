//! Everything at once for half an hour, for soak.sh: a server that holds all of the library, and clients that come and go.
//!
//! `soak serve HTTP MQTT SNTP` serves on three ports of 127.0.0.1 until it is killed. `soak load HTTP MQTT SNTP PID SECONDS JSON`
//! loads it, watches the process, prints a table and writes the same as JSON; it fails when a promise is broken.

mod fit;
mod http;
mod ledger;
mod load;
mod mqtt;
mod report;
mod serve;
mod watch;

use std::alloc::System;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use cap::Cap;

/// Counts what is allocated: a leak shows here that resident memory has room for.
#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Where the server listens.
#[derive(Debug, Clone)]
struct Urls {
    http: String,
    mqtt: String,
    sntp: String,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("soak: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &[&str]) -> io::Result<ExitCode> {
    let wrong =
        || io::Error::new(io::ErrorKind::InvalidInput, "usage: soak serve|load HTTP MQTT SNTP [PID SECONDS JSON]");
    let &[what, http, mqtt, sntp, ref rest @ ..] = args else { return Err(wrong()) };
    let urls = Urls {
        http: format!("http://127.0.0.1:{http}"),
        mqtt: format!("mqtt://127.0.0.1:{mqtt}"),
        sntp: format!("sntp://127.0.0.1:{sntp}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (what, rest) {
        ("serve", []) => runtime.block_on(serve::run(urls)).map(|()| ExitCode::SUCCESS),
        ("load", &[pid, seconds, json]) => {
            let pid = pid.parse().map_err(|_| wrong())?;
            let time = Duration::from_secs(seconds.parse().map_err(|_| wrong())?);
            let result = tokio::task::LocalSet::new().block_on(&runtime, load::run(urls, pid, time))?;
            std::fs::write(json, format!("{:#}\n", result.json()))?;
            print!("{}", result.markdown());
            Ok(if result.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        _ => Err(wrong()),
    }
}

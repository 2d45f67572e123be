//! Connections that have carried one request and now do nothing: what do they cost?

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use vansire_peers::procfs;

use crate::client::Client;
use crate::flags::Flags;
use crate::probe::{Exchange, Persistence, probe};
use crate::{of_server, rounded};

/// Reports the server's memory per connection, its wakeups while it has nothing to do, and whether it still answers on
/// every connection afterwards.
pub(crate) fn run(flags: &Flags) -> io::Result<Value> {
    let exchange = probe(flags, Persistence::KeepAlive)?;
    let mut client = Client::new(flags.addr, &exchange, flags.conns, 1)?;
    // The first connection has been and gone: what the first request allocates once is not the price of a connection.
    thread::sleep(SETTLE);
    let before = procfs::resident(&flags.pids)?;
    let failed = client.open_in_waves(0..flags.conns)?;
    thread::sleep(SETTLE);
    let after = procfs::resident(&flags.pids)?;

    let (start, sleeps) = (Instant::now(), procfs::voluntary_switches(&flags.pids)?);
    thread::sleep(flags.seconds);
    let wakeups = procfs::voluntary_switches(&flags.pids)? - sleeps;
    let seconds = start.elapsed().as_secs_f64();

    let unanswered = client.ask_in_waves(0..flags.conns)?;
    client.reset_all()?;
    Ok(json!({
        "mode": "idle",
        "conns": flags.conns,
        "rss_before": before,
        "rss_after": after,
        "bytes_per_conn": of_server(&flags.pids, (after as f64 - before as f64) / flags.conns as f64),
        "wakeups_per_s": of_server(&flags.pids, wakeups as f64 / seconds),
        "answered_after": flags.conns as u64 - unanswered.min(flags.conns as u64),
        "errors": failed + unanswered,
    }))
}

/// Idle connections beside those that are measured.
pub(crate) struct Crowd {
    client: Client,
    failed: u64,
    bytes_each: f64,
    seconds: f64,
    server_cpu: f64,
}

impl Crowd {
    /// Opens as many as the flags say, each of which carries one request: what that costs is measured.
    pub(crate) fn gather(flags: &Flags, exchange: &Exchange) -> io::Result<Self> {
        let mut client = Client::new(flags.addr, exchange, flags.among, 1)?.spread();
        thread::sleep(SETTLE);
        let before = procfs::resident(&flags.pids)?;
        let (start, cpu) = (Instant::now(), procfs::cpu_time(&flags.pids)?);
        let failed = client.open_in_waves(0..flags.among)?;
        let seconds = start.elapsed().as_secs_f64();
        thread::sleep(SETTLE);
        let server_cpu = (procfs::cpu_time(&flags.pids)? - cpu).as_secs_f64();
        let grown = procfs::resident(&flags.pids)? as f64 - before as f64;
        Ok(Self { client, failed, bytes_each: grown / flags.among as f64, seconds, server_cpu })
    }

    /// Whether all are still answered, and what they have cost.
    pub(crate) fn dismiss(mut self, flags: &Flags) -> io::Result<Map<String, Value>> {
        let count = flags.among as f64;
        let unanswered = self.client.ask_in_waves(0..flags.among)?;
        self.client.reset_all()?;
        let mut figures = Map::new();
        figures.insert("among".into(), json!(flags.among));
        figures.insert("bytes_each".into(), of_server(&flags.pids, self.bytes_each));
        figures.insert("accepts_per_s".into(), rounded(count / self.seconds));
        figures.insert("accept_cpu_us".into(), of_server(&flags.pids, self.server_cpu * 1e6 / count));
        figures.insert("crowd_errors".into(), json!(self.failed + unanswered));
        Ok(figures)
    }
}

/// Time for the server to finish what it does after an answer, before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

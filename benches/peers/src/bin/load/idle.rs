//! Connections that have carried one request and now do nothing: what do they cost?

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vansire_peers::procfs;

use crate::client::Client;
use crate::flags::Flags;
use crate::of_server;
use crate::probe::{Persistence, probe};

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

/// Time for the server to finish what it does after an answer, before its memory is read.
const SETTLE: Duration = Duration::from_millis(500);

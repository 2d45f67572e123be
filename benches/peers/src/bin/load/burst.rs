//! Many connections opened at once: how fast does the server accept them all?

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::flags::Flags;
use crate::probe::{Persistence, probe};
use crate::rounded;

/// Opens all connections in one go and waits until each has one answer; repeats that for the time asked for.
///
/// A server whose accept queue overflows shows it here: the kernel of the client asks again after a second.
pub(crate) fn run(flags: &Flags) -> io::Result<Value> {
    let exchange = probe(flags, Persistence::KeepAlive)?;
    let mut client = Client::new(flags.addr, &exchange, flags.conns, 1)?;
    let mut rates = Vec::new();
    let mut errors = 0;
    let start = Instant::now();
    while rates.len() < BURSTS_MIN || start.elapsed() < flags.seconds {
        let opened = Instant::now();
        for index in 0..flags.conns {
            client.open(index, 0)?;
        }
        let failed = client.await_answers(flags.conns as u64)?;
        rates.push((flags.conns as u64 - failed.min(flags.conns as u64)) as f64 / opened.elapsed().as_secs_f64());
        errors += failed;
        client.reset_all()?;
        // The server has to notice, or the next burst would pay for the end of this one.
        thread::sleep(PAUSE);
    }
    rates.sort_by(f64::total_cmp);
    Ok(json!({
        "mode": "burst",
        "conns": flags.conns,
        "bursts": rates.len(),
        "accepts_per_s": rounded(rates[rates.len() / 2]),
        "accepts_per_s_min": rounded(rates[0]),
        "errors": errors,
    }))
}

const BURSTS_MIN: usize = 3;
const PAUSE: Duration = Duration::from_millis(20);

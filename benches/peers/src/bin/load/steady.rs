//! Requests at full speed: on persistent connections, or one for each connection.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use vansire_peers::histogram::Histogram;

use crate::client::{Client, State};
use crate::flags::{Flags, Mode};
use crate::idle::Crowd;
use crate::probe::{Persistence, probe};
use crate::{Sample, micros, of_server, rounded};

/// Runs for the time asked for, after a short warm-up, and reports rates, latencies and CPU time per request.
pub(crate) fn run(flags: &Flags) -> io::Result<Value> {
    let persistence = if flags.mode == Mode::Close { Persistence::Close } else { Persistence::KeepAlive };
    let exchange = probe(flags, persistence)?;
    let crowd = (flags.among > 0).then(|| Crowd::gather(flags, &exchange)).transpose()?;
    let mut load = Load {
        client: Client::new(flags.addr, &exchange, flags.conns, flags.depth)?,
        persistence,
        origin: Instant::now(),
        histogram: Histogram::new(),
        requests: 0,
        errors: 0,
    };
    load.start()?;
    load.run_until(load.origin.elapsed() + WARM_UP)?;
    load.histogram.clear();
    (load.requests, load.errors) = (0, 0);
    let first = Sample::take(&flags.pids)?;
    load.run_until(load.origin.elapsed() + flags.seconds)?;
    let last = Sample::take(&flags.pids)?;
    let mut figures = load.report(flags, &first, &last)?;
    if let Some(crowd) = crowd {
        figures.extend(crowd.dismiss(flags)?);
    }
    Ok(figures.into())
}

struct Load {
    client: Client,
    persistence: Persistence,
    origin: Instant,
    histogram: Histogram,
    requests: u64,
    errors: u64,
}

impl Load {
    /// Opens the connections; the answers to their first requests are not counted.
    fn start(&mut self) -> io::Result<()> {
        let conns = 0..self.client.len();
        match self.persistence {
            Persistence::KeepAlive => {
                let failed = self.client.open_in_waves(conns.clone())?;
                if failed > 0 {
                    return Err(io::Error::other(format!("{failed} of {} connections failed", conns.len())));
                }
                for index in conns {
                    if self.client.send_batch(index, self.now()) == State::Failed {
                        self.reopen(index)?;
                    }
                }
            }
            Persistence::Close => {
                for index in conns {
                    self.client.open(index, self.now())?;
                }
            }
        }
        Ok(())
    }

    /// Keeps every connection busy until the clock shows `end`.
    fn run_until(&mut self, end: Duration) -> io::Result<()> {
        let end = nanos(end);
        loop {
            let count = self.client.wait(TICK)?;
            // One look at the clock for all events of a turn: what it adds to a request sent late in the turn, it takes
            // from an answer read late in a turn.
            let now = self.now();
            for number in 0..count {
                self.turn(number, now)?;
            }
            if now >= end {
                return Ok(());
            }
        }
    }

    fn turn(&mut self, number: usize, now: u64) -> io::Result<()> {
        let (index, flags) = self.client.event(number);
        let progress = self.client.receive(index, flags);
        let next = match (self.persistence, progress.state) {
            (Persistence::KeepAlive, State::Answered) => {
                self.count(progress.answers, now - progress.since);
                self.client.send_batch(index, now)
            }
            (Persistence::KeepAlive, State::Waiting) => {
                self.count(progress.answers, now - progress.since);
                State::Waiting
            }
            // Counted when the server has closed, too: that is a part of what is measured.
            (Persistence::Close, State::Ended) => {
                self.count(1, now - progress.since);
                return self.client.open(index, now);
            }
            (Persistence::Close, State::Waiting | State::Answered) => State::Waiting,
            (Persistence::KeepAlive, State::Ended) | (_, State::Failed) => State::Failed,
        };
        match next {
            State::Failed => self.reopen(index),
            State::Waiting | State::Answered | State::Ended => Ok(()),
        }
    }

    fn count(&mut self, answers: u64, nanos: u64) {
        if answers > 0 {
            self.requests += answers;
            self.histogram.add(nanos, answers);
        }
    }

    fn reopen(&mut self, index: usize) -> io::Result<()> {
        self.errors += 1;
        self.client.open(index, self.now())
    }

    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    fn report(&self, flags: &Flags, first: &Sample, last: &Sample) -> io::Result<Map<String, Value>> {
        if self.requests == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer, {} errors", self.errors)));
        }
        let seconds = (last.at - first.at).as_secs_f64();
        let server = (last.server_cpu - first.server_cpu).as_secs_f64();
        let own = (last.own_cpu - first.own_cpu).as_secs_f64();
        let machine = (last.machine_cpu - first.machine_cpu).as_secs_f64();
        let requests = self.requests as f64;
        let figures = json!({
            "mode": if flags.mode == Mode::Close { "close" } else { "keep-alive" },
            "conns": flags.conns,
            "depth": flags.depth,
            "requests": self.requests,
            "seconds": rounded(seconds),
            "req_per_s": rounded(requests / seconds),
            "p50_us": micros(self.histogram.quantile(0.5)),
            "p99_us": micros(self.histogram.quantile(0.99)),
            "server_cpu_us_per_req": of_server(&flags.pids, server * 1e6 / requests),
            "server_cpu_share": of_server(&flags.pids, server / seconds),
            "client_cpu_share": rounded(own / seconds),
            "others_cpu_share": of_server(&flags.pids, (machine - server - own).max(0.0) / seconds),
            "sleeps_each": of_server(&flags.pids, (last.sleeps - first.sleeps) as f64 / requests),
            "errors": self.errors,
        });
        let Value::Object(figures) = figures else { unreachable!("it is written as one") };
        Ok(figures)
    }
}

fn nanos(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

/// Long enough for the first touch of every page and for the server's caches.
const WARM_UP: Duration = Duration::from_millis(300);
/// A turn lasts no longer, so that a server that stops answering does not stop the run.
const TICK: Duration = Duration::from_millis(50);

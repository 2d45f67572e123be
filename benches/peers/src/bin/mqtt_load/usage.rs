//! What a stretch of time cost the broker, and this program.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use vansire_peers::histogram::Histogram;
use vansire_peers::procfs;

/// A moment, and the CPU time spent until then.
#[derive(Debug)]
pub(crate) struct Mark {
    at: Instant,
    broker: Duration,
    own: Duration,
    machine: Duration,
}

/// What lies between two moments.
#[derive(Debug)]
pub(crate) struct Spent {
    pub(crate) seconds: f64,
    broker: f64,
    own: f64,
    machine: f64,
}

impl Mark {
    pub(crate) fn now(pids: &[u32]) -> io::Result<Self> {
        Ok(Self {
            broker: procfs::cpu_time(pids)?,
            own: procfs::cpu_time(&[std::process::id()])?,
            machine: procfs::machine_time()?,
            at: Instant::now(),
        })
    }

    pub(crate) fn until_now(&self, pids: &[u32]) -> io::Result<Spent> {
        let now = Self::now(pids)?;
        Ok(Spent {
            seconds: (now.at - self.at).as_secs_f64(),
            broker: now.broker.saturating_sub(self.broker).as_secs_f64(),
            own: now.own.saturating_sub(self.own).as_secs_f64(),
            machine: now.machine.saturating_sub(self.machine).as_secs_f64(),
        })
    }
}

impl Spent {
    /// The figures of `units` of work.
    pub(crate) fn figures(&self, units: u64) -> Map<String, Value> {
        let others = (self.machine - self.broker - self.own).max(0.0) / self.seconds;
        let mut figures = Map::new();
        figures.insert("per_s".into(), json!((units as f64 / self.seconds).round()));
        if units > 0 {
            figures.insert("cpu_us".into(), json!(round(self.broker * 1e6 / units as f64, 1e4)));
        }
        figures.insert("server_cpu_share".into(), json!(round(self.broker / self.seconds, 1e3)));
        figures.insert("client_cpu_share".into(), json!(round(self.own / self.seconds, 1e3)));
        figures.insert("others_cpu_share".into(), json!(round(others, 1e3)));
        figures
    }
}

/// Adds the quantiles in microseconds.
pub(crate) fn latencies(figures: &mut Map<String, Value>, histogram: &Histogram) {
    for (name, q) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
        if let Some(quantile) = histogram.quantile(q) {
            figures.insert(name.into(), json!(round(quantile.as_secs_f64() * 1e6, 10.0)));
        }
    }
}

pub(crate) fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

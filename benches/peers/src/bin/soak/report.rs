//! What is told at the end.

use std::fmt::Write as _;
use std::io;

use serde_json::{Map, Value, json};

use crate::fit::{Slope, slope};
use crate::ledger::Ledger;
use crate::watch::{Sample, Watch};

/// What resident memory may grow, by the upper end of the interval: KB in an hour. That is less than a tenth of a byte for each of
/// some seven million events.
const GROWTH_MAX: f64 = 512.0;
/// What the number of connections, descriptors, timers and sessions may grow in an hour, in which some 200,000 come and go.
const THINGS_MAX: f64 = 12.0;

pub(crate) struct Report {
    seconds: f64,
    warm_up: f64,
    cpu: [f64; 2],
    /// Name, unit, mean, least, most, slope in an hour, most that it may be.
    rows: Vec<Row>,
    counts: Vec<(&'static str, u64)>,
    server: Value,
    pub(crate) broken: Vec<String>,
}

struct Row {
    name: &'static str,
    first: f64,
    last: f64,
    least: f64,
    most: f64,
    slope: Option<Slope>,
    bound: f64,
}

impl Report {
    pub(crate) fn new(watch: &Watch, end: &Sample, ledger: &Ledger, before: &Value, after: &Value) -> io::Result<Self> {
        let samples = watch.warm();
        let row = |name, bound, of: fn(&Sample) -> f64| Row::of(name, bound, samples, of);
        let rows = vec![
            row("memory of the server, KB", GROWTH_MAX, |s| s.server_kb),
            row("memory of the clients, KB", GROWTH_MAX, |s| s.clients_kb),
            row("allocated by the server, KB", GROWTH_MAX, |s| s.server_heap),
            row("allocated by the clients, KB", GROWTH_MAX, |s| s.clients_heap),
            row("descriptors of the server", THINGS_MAX, |s| s.server_fds),
            row("descriptors of the clients", THINGS_MAX, |s| s.clients_fds),
            row("connections of the server", THINGS_MAX, |s| s.server_conns),
            row("connections of the clients", THINGS_MAX, |s| s.clients_conns),
            row("timers of the server", THINGS_MAX, |s| s.server_timers),
            row("timers of the clients", THINGS_MAX, |s| s.clients_timers),
            row("sessions of the broker", THINGS_MAX, |s| s.sessions),
        ];
        for row in &rows {
            if let Some(grown) = row.growth() {
                ledger.broken(grown);
            }
        }
        let of = |path: &str| {
            let count = |stats: &Value| stats.pointer(path).and_then(Value::as_u64).unwrap_or_default();
            count(after) - count(before)
        };
        let counts = vec![
            ("HTTP requests", ledger.answered.get()),
            ("connections accepted", of("/accepted")),
            ("... of which cut off", of("/resets")),
            ("SNTP questions", ledger.told.get()),
            ("commands from outside", of("/commands/sent")),
            ("timers started, fired or cancelled", of("/commands/timers")),
            ("MQTT connects", of("/broker/connected")),
            ("... cut off by the server", ledger.cuts.get()),
            ("messages in", of("/broker/publish_in")),
            ("... times receivers", of("/broker/routed")),
            ("... delivered", of("/broker/delivered")),
            ("... dropped, slow", of("/broker/dropped/slow")),
            ("... dropped, queue full", of("/broker/dropped/queue_full")),
            ("... dropped, too large", of("/broker/dropped/too_large")),
            ("... dropped, expired", of("/broker/dropped/expired")),
            ("... dropped, session ended", of("/broker/dropped/session_ended")),
            ("... queued at the end", of("/broker/queued")),
            ("messages of QoS 1 that came again", ledger.again.get()),
            ("wills", ledger.wills.get()),
            ("turns of the loop", of("/turns")),
        ];
        Ok(Self {
            seconds: end.at,
            warm_up: watch.warm_up().as_secs_f64(),
            cpu: watch.cpu_shares()?,
            rows,
            counts,
            server: after.clone(),
            broken: ledger.take_broken(),
        })
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "{:.0} s, of which {:.0} s to warm up; CPU of the server {:.0} %, of the clients {:.0} % of a core\n\n",
            self.seconds,
            self.warm_up,
            self.cpu[0] * 100.0,
            self.cpu[1] * 100.0
        );
        text += "| what | first | last | least | most | slope in an hour | at most |\n|---|---:|---:|---:|---:|---:|---:|\n";
        for row in &self.rows {
            let slope = row.slope.map_or("-".into(), |s| format!("{:+.1} ± {:.1}", s.per_x, s.error));
            let Row { name, first, last, least, most, bound, .. } = row;
            let _ =
                writeln!(text, "| {name} | {first:.0} | {last:.0} | {least:.0} | {most:.0} | {slope} | {bound:.0} |");
        }
        text += "\n| counted | |\n|---|---:|\n";
        for (name, count) in &self.counts {
            let _ = writeln!(text, "| {name} | {count} |");
        }
        match self.broken.as_slice() {
            [] => text += "\nEvery promise was kept.\n",
            broken => broken.iter().for_each(|what| _ = writeln!(text, "\n- **broken**: {what}")),
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let rows: Map<String, Value> = self.rows.iter().map(|row| (row.name.into(), row.json())).collect();
        let counts: Map<String, Value> = self.counts.iter().map(|(name, n)| ((*name).into(), json!(n))).collect();
        json!({
            "seconds": self.seconds,
            "warm_up": self.warm_up,
            "cpu_share": { "server": self.cpu[0], "clients": self.cpu[1] },
            "rows": rows,
            "counts": counts,
            "server": self.server,
            "broken": self.broken,
        })
    }
}

impl Row {
    fn of(name: &'static str, bound: f64, samples: &[Sample], of: fn(&Sample) -> f64) -> Self {
        let points: Vec<(f64, f64)> = samples.iter().map(|sample| (sample.at / 3600.0, of(sample))).collect();
        let values = || samples.iter().map(of);
        Self {
            name,
            first: values().next().unwrap_or_default(),
            last: values().next_back().unwrap_or_default(),
            least: values().fold(f64::INFINITY, f64::min),
            most: values().fold(0.0, f64::max),
            slope: slope(&points),
            bound,
        }
    }

    /// It grows, and not by chance, or may grow by more than it may.
    fn growth(&self) -> Option<String> {
        let Some(slope) = self.slope else { return Some(format!("{}: too few samples", self.name)) };
        let highest = slope.per_x + slope.error;
        let is_flat = highest <= self.bound;
        (!is_flat).then(|| {
            format!("{}: may grow by {highest:.1} in an hour, and at most {} is allowed", self.name, self.bound)
        })
    }

    fn json(&self) -> Value {
        json!({
            "first": self.first,
            "last": self.last,
            "least": self.least,
            "most": self.most,
            "slope_per_hour": self.slope.map(|slope| slope.per_x),
            "slope_error": self.slope.map(|slope| slope.error),
            "bound": self.bound,
        })
    }
}

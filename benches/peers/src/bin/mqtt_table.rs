//! Turns the measurements of mqtt.sh into medians: a Markdown table with a line for each row, and the same as JSON.
//!
//! `mqtt_table RESULTS.jsonl SUMMARY.json` reads what [`Runs`] describes.

use std::fmt::Write as _;
use std::io;

use serde_json::Value;
use vansire_peers::runs::{FLOOR, Runs, bullets, cell, plain, thousands};

fn main() -> io::Result<()> {
    vansire_peers::runs::main("mqtt_table", |runs| {
        let mqtt = Mqtt(runs);
        (mqtt.markdown(), mqtt.summary())
    })
}

/// A row of the comparison.
struct Row {
    name: &'static str,
    title: &'static str,
    kind: Kind,
    /// The most that the project asks of itself; none: there is no such figure.
    target: Option<Target>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Messages or connects in a stretch of time: CPU time, rate, latency.
    Steady,
    /// Bytes for each of many.
    Bytes,
    /// Both: many subscriptions, and what a message among them costs.
    Both,
    /// Both: retained messages, and how fast they are sent to one who subscribes.
    Replay,
}

#[derive(Clone, Copy)]
enum Target {
    /// CPU time as a multiple of the floor's.
    OfFloor(f64),
    Bytes(f64),
}

const fn steady(name: &'static str, title: &'static str, of_floor: f64) -> Row {
    Row { name, title, kind: Kind::Steady, target: Some(Target::OfFloor(of_floor)) }
}

/// The names are those of mqtt.sh.
const ROWS: [Row; 14] = [
    steady("qos0", "QoS 0, 1 to 1, window 256", 2.5),
    steady("qos1", "QoS 1, 1 to 1, window 64", 1.5),
    steady("qos2", "QoS 2, 1 to 1, window 64", 1.5),
    steady("fanout", "QoS 0, 1 to 100", 1.25),
    steady("fanin", "QoS 0, 100 to 1", 1.25),
    steady("fanin1", "QoS 1, 100 to 1", 1.25),
    steady("kilobyte", "1 KB, QoS 0, 1 to 1", 3.0),
    steady("paced", "20,000/s, QoS 0, 1 to 1", 1.12),
    steady("connects", "connects", 1.2),
    Row { name: "idle", title: "idle client", kind: Kind::Bytes, target: Some(Target::Bytes(400.0)) },
    Row { name: "idlesub", title: "... with a subscription", kind: Kind::Bytes, target: Some(Target::Bytes(650.0)) },
    Row {
        name: "retained",
        title: "100,000 retained of 64 bytes",
        kind: Kind::Replay,
        target: Some(Target::Bytes(250.0)),
    },
    Row { name: "subs10", title: "publish among 10 subscriptions", kind: Kind::Steady, target: None },
    Row { name: "subs100k", title: "... among 100,000", kind: Kind::Both, target: Some(Target::Bytes(250.0)) },
];

const CPU: &str = "cpu_us";
const BYTES: &str = "bytes_each";

struct Mqtt(Runs);

impl Mqtt {
    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(|row| self.0.has(row.name))
    }

    fn markdown(&self) -> String {
        let mut text = String::from("Broker CPU per delivery in microseconds (ratio to the floor):\n\n");
        text += &self.table(|row| row.kind != Kind::Bytes, |server, row| self.cpu_cell(server, row), of_floor);
        text += "\nDeliveries per second; latency p50, p99 and p99.9 in milliseconds:\n\n";
        text += &self.table(|row| row.kind != Kind::Bytes, |server, row| self.rate_cell(server, row), |_| None);
        if self.rows().any(|row| row.kind != Kind::Steady) {
            text += "\nResident memory of the broker in bytes, for each:\n\n";
            let bytes = |server: &str, row: &Row| cell(self.0.median(server, row.name, BYTES), |b| format!("{b:.0}"));
            text += &self.table(|row| row.kind != Kind::Steady, bytes, most_bytes);
        }
        text + &self.notes()
    }

    /// A line for each row, a column for each server, and what is aimed at, if there is any such figure.
    fn table(
        &self,
        wanted: impl Fn(&Row) -> bool,
        show: impl Fn(&str, &Row) -> String,
        target: impl Fn(&Row) -> Option<String>,
    ) -> String {
        let rows: Vec<&Row> = self.rows().filter(|row| wanted(row)).collect();
        let with_target = rows.iter().any(|row| target(row).is_some());
        let last = if with_target { " target |" } else { "" };
        let columns = self.0.servers.len() + usize::from(with_target);
        let mut text = format!("| row | {} |{last}\n|---|{}\n", self.0.servers.join(" | "), "---:|".repeat(columns));
        for row in rows {
            let cells: Vec<String> = self.0.servers.iter().map(|server| show(server, row)).collect();
            let last = if with_target { format!(" {} |", target(row).unwrap_or_default()) } else { String::new() };
            let _ = writeln!(text, "| {} | {} |{last}", row.title, cells.join(" | "));
        }
        text
    }

    fn cpu_cell(&self, server: &str, row: &Row) -> String {
        let cpu = self.0.median(server, row.name, CPU);
        match self.0.ratio(FLOOR, server, row.name, CPU) {
            Some(ratio) if server != FLOOR => cell(cpu, |us| format!("{us:.2} ({ratio:.2})")),
            _ => cell(cpu, |us| format!("{us:.2}")),
        }
    }

    fn rate_cell(&self, server: &str, row: &Row) -> String {
        let rate = cell(self.0.median(server, row.name, "per_s"), thousands);
        let quantiles = ["p50_us", "p99_us", "p999_us"].map(|name| self.0.median(server, row.name, name));
        match quantiles {
            [Some(p50), Some(p99), Some(p999)] => {
                format!("{rate}; {:.2} {:.2} {:.2}", p50 / 1e3, p99 / 1e3, p999 / 1e3)
            }
            _ => rate,
        }
    }

    /// What a reader must know beside the figures: who is missing and why, what was lost, how busy the generator was.
    fn notes(&self) -> String {
        let mut notes = self.0.skips();
        for line in &self.0.lines {
            for (name, what) in [("lost", "lost"), ("disordered", "out of order"), ("stalls", "stalls of a second")] {
                if let Some(count @ 1..) = line["result"][name].as_u64() {
                    let (server, row) = (plain(&line["server"]), plain(&line["row"]));
                    notes.push(format!("{server}, {row}, round {}: {count} {what}", line["round"]));
                }
            }
        }
        let steady = self.rows().filter(|row| row.kind != Kind::Bytes);
        notes.extend(steady.map(|row| self.0.generator(row.name, row.title)));
        notes.extend(self.0.disturbance());
        bullets(&notes)
    }

    fn summary(&self) -> Value {
        self.0.summary(ROWS.iter().map(|row| (row.name, FLOOR, CPU)))
    }
}

fn of_floor(row: &Row) -> Option<String> {
    match row.target? {
        Target::OfFloor(ratio) => Some(format!("({ratio})")),
        Target::Bytes(_) => None,
    }
}

fn most_bytes(row: &Row) -> Option<String> {
    match row.target? {
        Target::Bytes(bytes) => Some(format!("{bytes}")),
        Target::OfFloor(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_has_ratios_targets_and_what_was_lost() {
        let line = |server: &str, cpu: f64, lost: u64| {
            let result =
                json!({ CPU: cpu, "per_s": 1e5, "p50_us": 100.0, "p99_us": 500.0, "p999_us": 900.0, "lost": lost });
            json!({ "round": 1, "server": server, "row": "qos1", "result": result }).to_string() + "\n"
        };
        let text = line("peer", 3.0, 7) + &line(FLOOR, 2.0, 0);
        let text = Mqtt(Runs::parse(&text).expect("lines")).markdown();
        for part in [
            "| row | floor | peer | target |\n",
            "| QoS 1, 1 to 1, window 64 | 2.00 | 3.00 (1.50) | (1.5) |\n",
            "100.0 k; 0.10 0.50 0.90",
            "- peer, qos1, round 1: 7 lost\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn memory_is_a_table_of_its_own() {
        let text = r#"{"round":1,"server":"peer","row":"idle","result":{"bytes_each":734.0}}"#;
        let text = Mqtt(Runs::parse(text).expect("lines")).markdown();
        assert!(text.contains("| idle client | 734 | 400 |\n"), "{text}");
    }
}

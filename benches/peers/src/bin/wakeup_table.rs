//! Turns the measurements of wakeup.sh into medians: a Markdown table with a line for each way, and the same as JSON.
//!
//! `wakeup_table RESULTS.jsonl SUMMARY.json` reads what [`Runs`] describes.

use std::fmt::Write as _;
use std::io;

use serde_json::{Map, Value};
use vansire_peers::runs::{FLOOR, Runs, cell, plain};

fn main() -> io::Result<()> {
    vansire_peers::runs::main("wakeup_table", |runs| {
        let table = Table(runs);
        (table.markdown(), table.summary())
    })
}

/// A column: a row of wakeup.sh, and one figure of it.
struct Column {
    row: &'static str,
    title: &'static str,
    figure: &'static str,
    /// What the figure is divided by to be shown.
    unit: f64,
    digits: usize,
    /// Whose ratio is shown beside it.
    base: Option<&'static str>,
}

const COLUMNS: [Column; 8] = [
    Column { row: "two", title: "across two cores: p50 us", figure: "p50_us", unit: 1.0, digits: 1, base: Some(FLOOR) },
    Column { row: "two", title: "p99", figure: "p99_us", unit: 1.0, digits: 1, base: None },
    Column { row: "one", title: "on one core: p50 us", figure: "p50_us", unit: 1.0, digits: 1, base: Some(FLOOR) },
    Column { row: "one", title: "p99", figure: "p99_us", unit: 1.0, digits: 1, base: None },
    Column {
        row: "commands",
        title: "million commands/s, two cores",
        figure: "commands_per_s",
        unit: 1e6,
        digits: 1,
        base: None,
    },
    Column { row: "commands1", title: "one core", figure: "commands_per_s", unit: 1e6, digits: 1, base: None },
    Column {
        row: "http",
        title: "HTTP: CPU us per request",
        figure: "server_cpu_us_per_req",
        unit: 1.0,
        digits: 2,
        base: Some("sync"),
    },
    Column { row: "idle", title: "idle: wakeups/s", figure: "wakeups_per_s", unit: 1.0, digits: 1, base: None },
];

struct Table(Runs);

impl Table {
    fn columns(&self) -> impl Iterator<Item = &'static Column> {
        COLUMNS.iter().filter(|column| self.0.has(column.row))
    }

    fn markdown(&self) -> String {
        let titles: Vec<&str> = self.columns().map(|column| column.title).collect();
        let mut text = format!("| way | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
        for way in &self.0.servers {
            let cells: Vec<String> = self.columns().map(|column| self.cell(way, column)).collect();
            let _ = writeln!(text, "| {} | {} |", title(way), cells.join(" | "));
        }
        let mut notes = Vec::new();
        for line in self.0.lines.iter().filter(|line| line["skip"].is_string()) {
            let note = format!("{}, {}: {}", plain(&line["server"]), plain(&line["row"]), plain(&line["skip"]));
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes.extend(self.0.disturbance());
        for note in notes {
            let _ = write!(text, "\n- {note}");
        }
        text + "\n"
    }

    fn cell(&self, way: &str, column: &Column) -> String {
        let Column { row, figure, unit, digits, base, .. } = *column;
        cell(self.0.median(way, row, figure), |value| {
            let value = value / unit;
            match base.and_then(|base| self.0.ratio(base, way, row, figure)) {
                Some(ratio) => format!("{value:.digits$} ({ratio:.2})"),
                None => format!("{value:.digits$}"),
            }
        })
    }

    /// The medians, and every run.
    fn summary(&self) -> Value {
        let of = |way: &String| {
            let figures = self.columns().filter_map(|column| {
                let median = self.0.median(way, column.row, column.figure)?;
                Some((format!("{}.{}", column.row, column.figure), median.into()))
            });
            (way.clone(), Value::Object(figures.collect()))
        };
        let medians: Map<String, Value> = self.0.servers.iter().map(of).collect();
        serde_json::json!({ "medians": medians, "runs": self.0.lines })
    }
}

fn title(way: &str) -> &str {
    match way {
        "floor" => "floor: two threads, mio's Waker and Poll",
        "mpsc" => "tokio mpsc, and std's to a thread",
        "spawn_blocking" => "tokio `spawn_blocking`",
        "sync" => "`Manager`, without tokio",
        "ours" => "`AsyncManager`",
        "inline" => "`AsyncManager`, inline",
        "cymongoose" => "cymongoose's AsyncManager",
        other => other,
    }
}

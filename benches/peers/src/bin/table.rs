//! Turns the measurements of http.sh into medians: two Markdown tables, and the same as JSON.
//!
//! `table RESULTS.jsonl SUMMARY.json` reads one measurement per line, `{"round", "server", "row", "result"}`, or the
//! reason why there is none, `{"server", "row", "skip"}`.

use std::io;
use std::{env, fs};

use serde_json::{Map, Value, json};
use vansire_peers::runs::{FLOOR, Runs, cell, plain, thousands};

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [results, summary] = args.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: table RESULTS.jsonl SUMMARY.json"));
    };
    let runs = Http(Runs::parse(&fs::read_to_string(results)?)?);
    fs::write(summary, format!("{:#}\n", runs.summary()))?;
    print!("{}", runs.markdown());
    Ok(())
}

/// A row of the comparison: what the load generator was asked for.
struct Row {
    name: &'static str,
    title: &'static str,
    kind: Kind,
    /// The server that the others are compared with.
    base: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Steady,
    Idle,
    Burst,
}

/// In the order of the columns; the names are those of http.sh.
const ROWS: [Row; 9] = [
    Row { name: "keepalive64", title: "keep-alive, 64", kind: Kind::Steady, base: FLOOR },
    Row { name: "keepalive512", title: "keep-alive, 512", kind: Kind::Steady, base: FLOOR },
    Row { name: "pipeline16", title: "pipeline of 16, 64", kind: Kind::Steady, base: FLOOR },
    Row { name: "close64", title: "connection per request, 64", kind: Kind::Steady, base: FLOOR },
    Row { name: "static1k", title: "file of 1 KB, 64", kind: Kind::Steady, base: "nginx" },
    Row { name: "static100k", title: "file of 100 KB, 64", kind: Kind::Steady, base: "nginx" },
    Row { name: "static10m", title: "file of 10 MB, 16", kind: Kind::Steady, base: "nginx" },
    Row { name: "idle", title: "idle", kind: Kind::Idle, base: FLOOR },
    Row { name: "burst128", title: "burst of 128", kind: Kind::Burst, base: FLOOR },
];

/// The lines as the tables of HTTP.
struct Http(Runs);

impl Http {
    fn measured(&self, kind: Kind) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(move |row| row.kind == kind && self.0.has(row.name))
    }

    fn markdown(&self) -> String {
        let steady: Vec<&Row> = self.measured(Kind::Steady).collect();
        let idle: Vec<&Row> = self.measured(Kind::Idle).collect();
        let burst: Vec<&Row> = self.measured(Kind::Burst).collect();

        let mut titles: Vec<String> = steady.iter().map(|row| format!("{}: us", row.title)).collect();
        titles.extend(idle.iter().flat_map(|_| ["idle: bytes/connection".into(), "idle: wakeups/s".into()]));
        titles.extend(burst.iter().map(|row| format!("{}: accepts/s", row.title)));
        let mut text =
            String::from("Server CPU per request in microseconds (ratio to the floor; for files, to nginx):\n\n");
        text += &self.0.table(&titles, |server| {
            let mut cells: Vec<String> = steady.iter().map(|row| self.cpu_cell(server, row.name)).collect();
            for row in &idle {
                cells.push(cell(self.0.median(server, row.name, "bytes_per_conn"), |bytes| format!("{bytes:.0}")));
                cells.push(cell(self.0.median(server, row.name, "wakeups_per_s"), |rate| format!("{rate:.1}")));
            }
            cells.extend(burst.iter().map(|row| cell(self.0.median(server, row.name, "accepts_per_s"), thousands)));
            cells
        });
        if !steady.is_empty() {
            text += "\nRequests per second, and the 99th percentile of the latency:\n\n";
            let titles: Vec<String> = steady.iter().map(|row| row.title.into()).collect();
            text +=
                &self.0.table(&titles, |server| steady.iter().map(|row| self.rate_cell(server, row.name)).collect());
        }
        text + &self.notes()
    }

    /// To the row's base.
    fn ratio(&self, server: &str, row: &str) -> Option<f64> {
        let base = ROWS.iter().find(|known| known.name == row)?.base;
        self.0.ratio(base, server, row, CPU)
    }

    fn cpu_cell(&self, server: &str, row: &str) -> String {
        let cpu = self.0.median(server, row, CPU);
        match self.ratio(server, row) {
            Some(ratio) => cell(cpu, |us| format!("{us:.2} ({ratio:.2})")),
            None => cell(cpu, |us| format!("{us:.2}")),
        }
    }

    fn rate_cell(&self, server: &str, row: &str) -> String {
        let p99 = self.0.median(server, row, "p99_us");
        cell(self.0.median(server, row, "req_per_s"), |rate| {
            format!("{}, {}", thousands(rate), cell(p99, |us| format!("{:.2} ms", us / 1e3)))
        })
    }

    /// What a reader must know beside the figures: who is missing and why, what failed, how busy the generator was.
    fn notes(&self) -> String {
        let mut notes = self.0.skips();
        for line in self.0.lines.iter().filter(|line| line["result"]["errors"].as_u64() > Some(0)) {
            let (server, row) = (plain(&line["server"]), plain(&line["row"]));
            notes.push(format!("{server}, {row}, round {}: {} errors", line["round"], line["result"]["errors"]));
        }
        for row in self.measured(Kind::Steady) {
            notes.push(self.0.generator(row.name, row.title));
        }
        notes.extend(self.0.disturbance());
        notes.iter().fold(String::from("\n"), |text, note| text + "- " + note + "\n")
    }

    /// Medians of every figure by server and row, and the lines that they come from.
    fn summary(&self) -> Value {
        let mut servers = Map::new();
        for server in &self.0.servers {
            let mut rows = Map::new();
            for row in &ROWS {
                let Some(first) = self.0.of(server, row.name).find_map(|line| line["result"].as_object()) else {
                    continue;
                };
                let mut figures: Map<String, Value> = first
                    .keys()
                    .filter_map(|figure| Some((figure.clone(), self.0.median(server, row.name, figure)?.into())))
                    .collect();
                if let Some(ratio) = self.ratio(server, row.name) {
                    figures.insert(format!("ratio_to_{}", row.base), ratio.into());
                }
                rows.insert(row.name.into(), figures.into());
            }
            servers.insert(server.clone(), rows.into());
        }
        json!({ "medians": servers, "runs": self.0.lines })
    }
}

const CPU: &str = "server_cpu_us_per_req";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(round: u64, server: &str, cpu: f64) -> String {
        let result = json!({ CPU: cpu, "req_per_s": 1e5, "p99_us": 500.0, "client_cpu_share": 0.5, "errors": 0 });
        json!({ "round": round, "server": server, "row": "keepalive64", "result": result }).to_string() + "\n"
    }

    #[test]
    fn ratios_are_taken_to_the_base_of_the_row() {
        let rounds = [(1, 4.0, 8.0), (2, 8.0, 16.0), (3, 5.0, 5.0)];
        let text: String =
            rounds.map(|(round, floor, peer)| line(round, "peer", peer) + &line(round, FLOOR, floor)).concat();
        let runs = Http(Runs::parse(&text).expect("lines"));
        assert_eq!(runs.ratio("peer", "keepalive64"), Some(2.0));
        assert_eq!(runs.0.servers, [FLOOR, "peer"]);
        assert!(runs.markdown().contains("| peer | 8.00 (2.00) |"), "{}", runs.markdown());
        assert_eq!(runs.summary()["medians"]["peer"]["keepalive64"]["ratio_to_floor"], 2.0);
    }

    #[test]
    fn a_server_that_is_missing_is_a_dash_and_a_note() {
        let text = line(1, FLOOR, 4.0) + r#"{"server":"peer","row":"keepalive64","skip":"cannot be built"}"#;
        let text = Http(Runs::parse(&text).expect("lines")).markdown();
        assert!(text.contains("| peer | - |"), "{text}");
        assert!(text.contains("- peer, keepalive64: cannot be built\n"), "{text}");
    }
}

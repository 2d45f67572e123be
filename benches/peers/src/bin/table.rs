//! Turns the measurements of http.sh into medians: two Markdown tables, and the same as JSON.
//!
//! `table RESULTS.jsonl SUMMARY.json` reads one measurement per line, `{"round", "server", "row", "result"}`, or the
//! reason why there is none, `{"server", "row", "skip"}`.

use std::fmt::Write as _;
use std::io;
use std::{env, fs};

use serde_json::{Map, Value, json};

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [results, summary] = args.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: table RESULTS.jsonl SUMMARY.json"));
    };
    let runs = Runs::parse(&fs::read_to_string(results)?)?;
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
    Events,
    Client,
    Idle,
    Burst,
}

/// In the order of the columns; the names are those of http.sh.
const ROWS: [Row; 11] = [
    Row { name: "keepalive64", title: "keep-alive, 64", kind: Kind::Steady, base: FLOOR },
    Row { name: "keepalive512", title: "keep-alive, 512", kind: Kind::Steady, base: FLOOR },
    Row { name: "pipeline16", title: "pipeline of 16, 64", kind: Kind::Steady, base: FLOOR },
    Row { name: "close64", title: "connection per request, 64", kind: Kind::Steady, base: FLOOR },
    Row { name: "static1k", title: "file of 1 KB, 64", kind: Kind::Steady, base: "nginx" },
    Row { name: "static100k", title: "file of 100 KB, 64", kind: Kind::Steady, base: "nginx" },
    Row { name: "static10m", title: "file of 10 MB, 16", kind: Kind::Steady, base: "nginx" },
    Row { name: "sse1000", title: "event to 1,000 clients, each", kind: Kind::Events, base: FLOOR },
    Row { name: "client", title: "as a client", kind: Kind::Client, base: "hyper" },
    Row { name: "idle", title: "idle", kind: Kind::Idle, base: FLOOR },
    Row { name: "burst128", title: "burst of 128", kind: Kind::Burst, base: FLOOR },
];

impl Kind {
    /// The figure that is compared: processor time for one of what the row is about.
    fn figure(self) -> &'static str {
        match self {
            Self::Steady | Self::Idle | Self::Burst => "server_cpu_us_per_req",
            Self::Events => "server_cpu_us_per_event",
            Self::Client => "client_cpu_us_per_req",
        }
    }
}

/// The server that the others are compared with where nothing else is said.
const FLOOR: &str = "floor";

struct Runs {
    lines: Vec<Value>,
    /// In the order of their first appearance.
    servers: Vec<String>,
}

impl Runs {
    fn parse(text: &str) -> io::Result<Self> {
        let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let mut servers: Vec<String> = Vec::new();
        for line in &lines {
            match line["server"].as_str() {
                Some(server) if servers.iter().any(|s| s == server) => {}
                Some(server) => servers.push(server.into()),
                None => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no server: {line}"))),
            }
        }
        // The floor comes first: it is what the others are compared with, wherever the rotation began.
        servers.sort_by_key(|server| server != FLOOR);
        Ok(Self { lines, servers })
    }

    fn of<'a>(&'a self, server: &'a str, row: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["server"] == server && line["row"] == row)
    }

    /// The median of a figure over the rounds.
    fn median(&self, server: &str, row: &str, figure: &str) -> Option<f64> {
        median(self.of(server, row).filter_map(|line| line["result"][figure].as_f64()).collect())
    }

    /// The median of the ratio to the row's base within a round: what disturbs a round disturbs both sides of it.
    fn ratio(&self, server: &str, row: &Row) -> Option<f64> {
        let figure = row.kind.figure();
        let ratio = |line: &Value| {
            let floor = self.of(row.base, row.name).find(|other| other["round"] == line["round"])?;
            Some(line["result"][figure].as_f64()? / floor["result"][figure].as_f64()?)
        };
        median(self.of(server, row.name).filter_map(ratio).collect())
    }

    fn measured(&self, kind: Kind) -> impl Iterator<Item = &'static Row> {
        let has = |row: &Row| self.lines.iter().any(|line| line["row"] == row.name && line["result"].is_object());
        ROWS.iter().filter(move |row| row.kind == kind && has(row))
    }

    fn markdown(&self) -> String {
        let steady: Vec<&Row> = self.measured(Kind::Steady).collect();
        let costs: Vec<&Row> =
            [Kind::Steady, Kind::Events, Kind::Client].into_iter().flat_map(|kind| self.measured(kind)).collect();
        let idle: Vec<&Row> = self.measured(Kind::Idle).collect();
        let burst: Vec<&Row> = self.measured(Kind::Burst).collect();

        let mut titles: Vec<String> = costs.iter().map(|row| format!("{}: us", row.title)).collect();
        titles.extend(idle.iter().flat_map(|_| ["idle: bytes/connection".into(), "idle: wakeups/s".into()]));
        titles.extend(burst.iter().map(|row| format!("{}: accepts/s", row.title)));
        let mut text = String::from(
            "CPU per request in microseconds (ratio to the floor; for files, to nginx; of clients, to hyper):\n\n",
        );
        text += &self.table(&titles, |server| {
            let mut cells: Vec<String> = costs.iter().map(|row| self.cpu_cell(server, row)).collect();
            for row in &idle {
                cells.push(cell(self.median(server, row.name, "bytes_per_conn"), |bytes| format!("{bytes:.0}")));
                cells.push(cell(self.median(server, row.name, "wakeups_per_s"), |rate| format!("{rate:.1}")));
            }
            cells.extend(burst.iter().map(|row| cell(self.median(server, row.name, "accepts_per_s"), thousands)));
            cells
        });
        if !steady.is_empty() {
            text += "\nRequests per second, and the 99th percentile of the latency:\n\n";
            let titles: Vec<String> = steady.iter().map(|row| row.title.into()).collect();
            text += &self.table(&titles, |server| steady.iter().map(|row| self.rate_cell(server, row.name)).collect());
        }
        text + &self.notes()
    }

    fn table(&self, titles: &[String], cells: impl Fn(&str) -> Vec<String>) -> String {
        let mut text = format!("| server | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
        for server in &self.servers {
            let _ = writeln!(text, "| {server} | {} |", cells(server).join(" | "));
        }
        text
    }

    fn cpu_cell(&self, server: &str, row: &Row) -> String {
        let cpu = self.median(server, row.name, row.kind.figure());
        match self.ratio(server, row) {
            Some(ratio) => cell(cpu, |us| format!("{us:.2} ({ratio:.2})")),
            None => cell(cpu, |us| format!("{us:.2}")),
        }
    }

    fn rate_cell(&self, server: &str, row: &str) -> String {
        let p99 = self.median(server, row, "p99_us");
        cell(self.median(server, row, "req_per_s"), |rate| {
            format!("{}, {}", thousands(rate), cell(p99, |us| format!("{:.2} ms", us / 1e3)))
        })
    }

    /// What a reader must know beside the figures: who is missing and why, what failed, how busy the generator was.
    fn notes(&self) -> String {
        let mut notes = Vec::new();
        for line in self.lines.iter().filter(|line| line["skip"].is_string()) {
            let note = format!("{}, {}: {}", plain(&line["server"]), plain(&line["row"]), plain(&line["skip"]));
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        for line in self.lines.iter().filter(|line| line["result"]["errors"].as_u64() > Some(0)) {
            let (server, row) = (plain(&line["server"]), plain(&line["row"]));
            notes.push(format!("{server}, {row}, round {}: {} errors", line["round"], line["result"]["errors"]));
        }
        for row in self.measured(Kind::Steady) {
            let busy = |server: &String| Some(self.median(server, row.name, "client_cpu_share")? * 100.0);
            let shares: Vec<f64> = self.servers.iter().filter_map(busy).collect();
            let (low, high) =
                (shares.iter().copied().fold(100.0, f64::min), shares.iter().copied().fold(0.0, f64::max));
            notes.push(format!("the generator's core, {}: {low:.0} to {high:.0} % busy", row.title));
        }
        let others = self.lines.iter().filter_map(|line| line["result"]["others_cpu_share"].as_f64());
        if let Some(share) = others.max_by(f64::total_cmp).filter(|&share| share > QUIET) {
            notes.push(format!("not a quiet machine: other programs took up to {:.0} % of a core", share * 100.0));
        }
        notes.iter().fold(String::from("\n"), |text, note| text + "- " + note + "\n")
    }

    /// Medians of every figure by server and row, and the lines that they come from.
    fn summary(&self) -> Value {
        let mut servers = Map::new();
        for server in &self.servers {
            let mut rows = Map::new();
            for row in &ROWS {
                let Some(first) = self.of(server, row.name).find_map(|line| line["result"].as_object()) else {
                    continue;
                };
                let mut figures: Map<String, Value> = first
                    .keys()
                    .filter_map(|figure| Some((figure.clone(), self.median(server, row.name, figure)?.into())))
                    .collect();
                if let Some(ratio) = self.ratio(server, row) {
                    figures.insert(format!("ratio_to_{}", row.base), ratio.into());
                }
                rows.insert(row.name.into(), figures.into());
            }
            servers.insert(server.clone(), rows.into());
        }
        json!({ "medians": servers, "runs": self.lines })
    }
}

/// What the rest of the system may take of a core: timers and the kernel's own threads.
const QUIET: f64 = 0.05;

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        1 => figures.get(middle).copied(),
        _ => Some((figures.get(middle.checked_sub(1)?)? + figures.get(middle)?) / 2.0),
    }
}

fn cell(figure: Option<f64>, show: impl FnOnce(f64) -> String) -> String {
    figure.map_or_else(|| "-".into(), show)
}

fn thousands(rate: f64) -> String {
    if rate < 10_000.0 { format!("{rate:.0}") } else { format!("{:.1} k", rate / 1e3) }
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(round: u64, server: &str, cpu: f64) -> String {
        let result = json!({ "server_cpu_us_per_req": cpu, "req_per_s": 1e5, "p99_us": 500.0, "client_cpu_share": 0.5, "errors": 0 });
        json!({ "round": round, "server": server, "row": "keepalive64", "result": result }).to_string() + "\n"
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let rows: [(&[f64], Option<f64>); 5] = [
            (&[], None),
            (&[3.0], Some(3.0)),
            (&[4.0, 1.0], Some(2.5)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[1.0; 4], Some(1.0)),
        ];
        for (figures, expected) in rows {
            assert_eq!(median(figures.to_vec()), expected, "{figures:?}");
        }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rounds = [(1, 4.0, 8.0), (2, 8.0, 16.0), (3, 5.0, 5.0)];
        let text: String =
            rounds.map(|(round, floor, peer)| line(round, "peer", peer) + &line(round, FLOOR, floor)).concat();
        let runs = Runs::parse(&text).expect("lines");
        assert_eq!(runs.ratio("peer", &ROWS[0]), Some(2.0));
        assert_eq!(runs.servers, [FLOOR, "peer"]);
        assert!(runs.markdown().contains("| peer | 8.00 (2.00) |"), "{}", runs.markdown());
        assert_eq!(runs.summary()["medians"]["peer"]["keepalive64"]["ratio_to_floor"], 2.0);
    }

    #[test]
    fn events_and_clients_have_figures_of_their_own() {
        let of = |server: &str, row: &str, figure: &str, us: f64| {
            json!({ "round": 1, "server": server, "row": row, "result": { figure: us } }).to_string() + "\n"
        };
        let text = [
            of(FLOOR, "sse1000", "server_cpu_us_per_event", 5.0),
            of("ours", "sse1000", "server_cpu_us_per_event", 6.0),
            of("ours", "client", "client_cpu_us_per_req", 4.0),
            of("hyper", "client", "client_cpu_us_per_req", 8.0),
        ];
        let text = Runs::parse(&text.concat()).expect("lines").markdown();
        assert!(text.contains("| ours | 6.00 (1.20) | 4.00 (0.50) |"), "{text}");
        assert!(text.contains("| floor | 5.00 (1.00) | - |"), "{text}");
    }

    #[test]
    fn a_server_that_is_missing_is_a_dash_and_a_note() {
        let text = line(1, FLOOR, 4.0) + r#"{"server":"peer","row":"keepalive64","skip":"cannot be built"}"#;
        let text = Runs::parse(&text).expect("lines").markdown();
        assert!(text.contains("| peer | - |"), "{text}");
        assert!(text.contains("- peer, keepalive64: cannot be built\n"), "{text}");
    }
}

//! Turns the measurements of http.sh into medians: two Markdown tables, and the same as JSON.
//!
//! `table RESULTS.jsonl SUMMARY.json` reads what [`Runs`] describes.

use std::io;

use serde_json::Value;
use vansire_peers::runs::{FLOOR, Runs, bullets, cell, plain, thousands};

fn main() -> io::Result<()> {
    vansire_peers::runs::main("table", |runs| {
        let http = Http(runs);
        (http.markdown(), http.summary())
    })
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

struct Http(Runs);

impl Http {
    fn measured(&self, kind: Kind) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(move |row| row.kind == kind && self.0.has(row.name))
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
        text += &self.0.table(&titles, |server| {
            let mut cells: Vec<String> = costs.iter().map(|row| self.cpu_cell(server, row)).collect();
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

    fn cpu_cell(&self, server: &str, row: &Row) -> String {
        let cpu = self.0.median(server, row.name, row.kind.figure());
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

    fn ratio(&self, server: &str, row: &Row) -> Option<f64> {
        self.0.ratio(row.base, server, row.name, row.kind.figure())
    }

    /// What a reader must know beside the figures: who is missing and why, what failed, how busy the generator was.
    fn notes(&self) -> String {
        let mut notes = self.0.skips();
        for line in self.0.lines.iter().filter(|line| line["result"]["errors"].as_u64() > Some(0)) {
            let (server, row) = (plain(&line["server"]), plain(&line["row"]));
            notes.push(format!("{server}, {row}, round {}: {} errors", line["round"], line["result"]["errors"]));
        }
        notes.extend(self.measured(Kind::Steady).map(|row| self.0.generator(row.name, row.title)));
        notes.extend(self.0.disturbance());
        bullets(&notes)
    }

    fn summary(&self) -> Value {
        self.0.summary(ROWS.iter().map(|row| (row.name, row.base, row.kind.figure())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(round: u64, server: &str, cpu: f64) -> String {
        let result = json!({ "server_cpu_us_per_req": cpu, "req_per_s": 1e5, "p99_us": 500.0, "client_cpu_share": 0.5, "errors": 0 });
        json!({ "round": round, "server": server, "row": "keepalive64", "result": result }).to_string() + "\n"
    }

    fn http(text: &str) -> Http {
        Http(Runs::parse(text).expect("lines"))
    }

    #[test]
    fn ratios_are_shown_beside_the_figures() {
        let http = http(&(line(1, "peer", 8.0) + &line(1, FLOOR, 4.0)));
        assert!(http.markdown().contains("| peer | 8.00 (2.00) |"), "{}", http.markdown());
        assert_eq!(http.summary()["medians"]["peer"]["keepalive64"]["ratio_to_floor"], 2.0);
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
        let text = http(&text.concat()).markdown();
        assert!(text.contains("| ours | 6.00 (1.20) | 4.00 (0.50) |"), "{text}");
        assert!(text.contains("| floor | 5.00 (1.00) | - |"), "{text}");
    }

    #[test]
    fn a_server_that_is_missing_is_a_dash_and_a_note() {
        let text = line(1, FLOOR, 4.0) + r#"{"server":"peer","row":"keepalive64","skip":"cannot be built"}"#;
        let text = http(&text).markdown();
        assert!(text.contains("| peer | - |"), "{text}");
        assert!(text.contains("- peer, keepalive64: cannot be built\n"), "{text}");
    }
}

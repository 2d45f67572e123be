//! The measurements of a comparison: one line of JSON each, and the medians over the rounds.

use std::fmt::Write as _;
use std::io;
use std::{env, fs};

use serde_json::{Map, Value, json};

/// The server that the others are compared with where nothing else is said.
pub const FLOOR: &str = "floor";

/// What the rest of the system may take of a core: timers and the kernel's own threads.
const QUIET: f64 = 0.05;

/// `PROGRAM RESULTS.jsonl SUMMARY.json`: reads the lines, prints what is shown of them, and writes the summary.
pub fn main(program: &str, show: impl FnOnce(Runs) -> (String, Value)) -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [results, summary] = args.as_slice() else {
        let usage = format!("usage: {program} RESULTS.jsonl SUMMARY.json");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, usage));
    };
    let (text, all) = show(Runs::parse(&fs::read_to_string(results)?)?);
    fs::write(summary, format!("{all:#}\n"))?;
    print!("{text}");
    Ok(())
}

/// The lines of a run: `{"round", "server", "row", "result"}`, or the reason why there is no figure,
/// `{"server", "row", "skip"}`.
#[derive(Debug)]
pub struct Runs {
    /// In their order.
    pub lines: Vec<Value>,
    /// The floor, then the others in the order of their first appearance.
    pub servers: Vec<String>,
}

impl Runs {
    /// Reads the lines; an error names the first that is none.
    pub fn parse(text: &str) -> io::Result<Self> {
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

    /// A server's lines of a row.
    pub fn of<'a>(&'a self, server: &'a str, row: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["server"] == server && line["row"] == row)
    }

    /// A server's lines of all rows.
    pub fn of_all<'a>(&'a self, server: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["server"] == server)
    }

    /// Whether anybody has a figure in this row.
    pub fn has(&self, row: &str) -> bool {
        self.lines.iter().any(|line| line["row"] == row && line["result"].is_object())
    }

    /// The median of a figure over the rounds.
    pub fn median(&self, server: &str, row: &str, figure: &str) -> Option<f64> {
        median(self.of(server, row).filter_map(|line| line["result"][figure].as_f64()).collect())
    }

    /// The median of the ratio to `base` within a round: what disturbs a round disturbs both sides of it.
    pub fn ratio(&self, base: &str, server: &str, row: &str, figure: &str) -> Option<f64> {
        let ratio = |line: &Value| {
            let floor = self.of(base, row).find(|other| other["round"] == line["round"])?;
            Some(line["result"][figure].as_f64()? / floor["result"][figure].as_f64()?)
        };
        median(self.of(server, row).filter_map(ratio).collect())
    }

    /// Medians of every figure by server and row, and the lines that they come from. Of each row its name, whom its servers are
    /// compared with, and in which figure.
    pub fn summary<'a>(&self, rows: impl Iterator<Item = (&'a str, &'a str, &'a str)> + Clone) -> Value {
        let mut servers = Map::new();
        for server in &self.servers {
            let mut medians = Map::new();
            for (row, base, compared) in rows.clone() {
                let Some(first) = self.of(server, row).find_map(|line| line["result"].as_object()) else { continue };
                let median = |figure: &String| Some((figure.clone(), self.median(server, row, figure)?.into()));
                let mut figures: Map<String, Value> = first.keys().filter_map(median).collect();
                if let Some(ratio) = self.ratio(base, server, row, compared) {
                    figures.insert(format!("ratio_to_{base}"), ratio.into());
                }
                medians.insert(row.into(), figures.into());
            }
            servers.insert(server.clone(), medians.into());
        }
        json!({ "medians": servers, "runs": self.lines })
    }

    /// A Markdown table with a line for each server.
    pub fn table(&self, titles: &[String], cells: impl Fn(&str) -> Vec<String>) -> String {
        let mut text = format!("| server | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
        for server in &self.servers {
            let _ = writeln!(text, "| {server} | {} |", cells(server).join(" | "));
        }
        text
    }

    /// Who is missing, and why.
    pub fn skips(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for line in self.lines.iter().filter(|line| line["skip"].is_string()) {
            let note = format!("{}, {}: {}", plain(&line["server"]), plain(&line["row"]), plain(&line["skip"]));
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    /// How busy the generator's core was in a row, and with whom.
    pub fn generator(&self, row: &str, title: &str) -> String {
        let busy = |server: &String| Some(self.median(server, row, "client_cpu_share")? * 100.0);
        let shares: Vec<f64> = self.servers.iter().filter_map(busy).collect();
        let (low, high) = (shares.iter().copied().fold(100.0, f64::min), shares.iter().copied().fold(0.0, f64::max));
        format!("the generator's core, {title}: {low:.0} to {high:.0} % busy")
    }

    /// A note if other programs were at work.
    pub fn disturbance(&self) -> Option<String> {
        let others = self.lines.iter().filter_map(|line| line["result"]["others_cpu_share"].as_f64());
        let share = others.max_by(f64::total_cmp).filter(|&share| share > QUIET)?;
        Some(format!("not a quiet machine: other programs took up to {:.0} % of a core", share * 100.0))
    }
}

/// The one in the middle, or what is between the two in the middle.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        1 => figures.get(middle).copied(),
        _ => Some((figures.get(middle.checked_sub(1)?)? + figures.get(middle)?) / 2.0),
    }
}

/// A figure as it is shown; a dash if there is none.
pub fn cell(figure: Option<f64>, show: impl FnOnce(f64) -> String) -> String {
    figure.map_or_else(|| "-".into(), show)
}

/// A rate: in thousands where it is large.
pub fn thousands(rate: f64) -> String {
    if rate < 10_000.0 { format!("{rate:.0}") } else { format!("{:.1} k", rate / 1e3) }
}

/// Notes under a table.
pub fn bullets(notes: &[String]) -> String {
    notes.iter().fold(String::from("\n"), |text, note| text + "- " + note + "\n")
}

/// The text in a value.
pub fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let line = |round: u64, server: &str, cpu: f64| {
            format!("{{\"round\":{round},\"server\":\"{server}\",\"row\":\"r\",\"result\":{{\"cpu\":{cpu}}}}}\n")
        };
        let rounds = [(1, 4.0, 8.0), (2, 8.0, 16.0), (3, 5.0, 5.0)];
        let text: String =
            rounds.map(|(round, floor, peer)| line(round, "peer", peer) + &line(round, FLOOR, floor)).concat();
        let runs = Runs::parse(&text).expect("lines");
        assert_eq!(runs.ratio(FLOOR, "peer", "r", "cpu"), Some(2.0));
        assert_eq!(runs.servers, [FLOOR, "peer"]);
    }
}

//! Turns the measurements of micro.sh into a Markdown table, and the same as JSON.
//!
//! `micro_table RESULTS.jsonl SUMMARY.json` reads what [`Runs`] describes.

use std::fmt::Write as _;
use std::io;

use vansire_peers::runs::{bullets, cell};

fn main() -> io::Result<()> {
    vansire_peers::runs::main("micro_table", |runs| {
        let mut rows: Vec<&str> = Vec::new();
        for row in runs.lines.iter().filter_map(|line| line["row"].as_str()) {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        let mut text = format!(
            "| what, on one core: ns | {} |\n|---|{}\n",
            runs.servers.join(" | "),
            "---:|".repeat(runs.servers.len())
        );
        for row in &rows {
            let ns = |server: &String| cell(runs.median(server, row, "ns"), |ns| format!("{ns:.1}"));
            let cells: Vec<String> = runs.servers.iter().map(ns).collect();
            let _ = writeln!(text, "| {row} | {} |", cells.join(" | "));
        }
        text += &bullets(&runs.skips());
        let summary = runs.summary(rows.iter().map(|row| (*row, "ours", "ns")));
        (text, summary)
    })
}

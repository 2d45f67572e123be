//! Turns the measurements of size.sh into Markdown tables, and the same as JSON.
//!
//! `size_table RESULTS.jsonl SUMMARY.json` reads what [`Runs`] describes.

use std::fmt::Write as _;
use std::io;

use serde_json::Value;
use vansire_peers::runs::{Runs, bullets, cell};

fn main() -> io::Result<()> {
    vansire_peers::runs::main("size_table", |runs| {
        let table = Table(runs);
        (table.markdown(), table.summary())
    })
}

struct Table(Runs);

/// The program that all others are heavier than.
const EMPTY: &str = "empty";

impl Table {
    fn markdown(&self) -> String {
        let mut text = String::new();
        if self.0.has("size") || self.0.has("build") {
            text += "Bytes without symbols, and how many more than those of an empty `main` built alike. `release`: fat LTO, one \
                codegen unit. `small`: also `opt-level = \"z\"` and `panic = \"abort\"`, with which the panic of a handler ends the \
                program, where it otherwise ends its connection. Crates: what is linked beside vansire's own. Build: from \
                nothing but the downloaded sources.\n\n\
                | program | release | more | small | more | crates | build, release: s |\n|---|---:|---:|---:|---:|---:|---:|\n";
            let bytes = |figure: Option<f64>| cell(figure, kilobytes);
            for name in self
                .0
                .servers
                .iter()
                .filter(|name| self.0.of(name, "size").chain(self.0.of(name, "build")).next().is_some())
            {
                let figure = |figure: &str| self.0.median(name, "size", figure);
                let more = |figure: &str| self.more(name, figure);
                let _ = writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {} | {} |",
                    title(name),
                    bytes(figure("release")),
                    bytes(more("release")),
                    bytes(figure("small")),
                    bytes(more("small")),
                    cell(figure("crates"), |n| format!("{n:.0}")),
                    cell(self.0.median(name, "build", "s"), |s| format!("{s:.0}")),
                );
            }
        }
        text += &self.parts().unwrap_or_default();
        if self.0.has("start") {
            text += "\nFrom the start of the process to the first reply (`GET /`, or CONNACK), and the memory of the idle program \
                afterwards, its children included:\n\n\
                | program | first reply: ms | PSS | RSS |\n|---|---:|---:|---:|\n";
            for name in self.0.servers.iter().filter(|name| self.0.of(name, "start").next().is_some()) {
                let figure = |figure: &str| self.0.median(name, "start", figure);
                let ms = cell(figure("ms"), |ms| format!("{ms:.2}"));
                let memory = |name: &str| cell(figure(name), kilobytes);
                let _ = writeln!(text, "| {} | {ms} | {} | {} |", title(name), memory("pss"), memory("rss"));
            }
        }
        text + &bullets(&self.0.skips())
    }

    /// What a program has more than the empty one.
    fn more(&self, name: &str, figure: &str) -> Option<f64> {
        let of = |name: &str| self.0.median(name, "size", figure);
        (name != EMPTY).then(|| Some(of(name)? - of(EMPTY)?))?
    }

    /// Where the bytes of the smallest HTTP server go.
    fn parts(&self) -> Option<String> {
        let parts = self.0.of("http", "parts").next()?["result"].as_object()?;
        let mut text = String::from(
            "\nWhat the smallest HTTP server has more than the empty program (`small`):\n\n| what | bytes |\n|---|---:|\n",
        );
        let mut rest = self.more("http", "small")?;
        for (what, bytes) in parts {
            let bytes = bytes.as_f64()?;
            rest -= bytes;
            let _ = writeln!(text, "| {what} | {} |", kilobytes(bytes));
        }
        let _ = writeln!(text, "| the rest: alignment, data | {} |", kilobytes(rest));
        Some(text)
    }

    fn summary(&self) -> Value {
        self.0.summary([("size", EMPTY, "small"), ("build", EMPTY, "s"), ("start", EMPTY, "ms")].into_iter())
    }
}

fn kilobytes(bytes: f64) -> String {
    format!("{:.1} KB", bytes / 1e3)
}

fn title(name: &str) -> &str {
    match name {
        "empty" => "an empty `main`",
        "http" => "an HTTP server of 12 lines (`http` alone)",
        "broker" => "an MQTT broker of 6 lines (`broker` alone)",
        "all" => "both, with the default features",
        "vansire" => "the program `vansire`",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_stand_beside_what_they_are_more_than_the_empty_program() {
        let text = r#"{"round":1,"server":"empty","row":"size","result":{"release":300000,"small":200000,"crates":0}}
{"round":1,"server":"http","row":"size","result":{"release":500000,"small":350000,"crates":9}}
{"round":1,"server":"http","row":"parts","result":{"texts":100000}}
{"round":1,"server":"http","row":"start","result":{"ms":1.5,"pss":1000000,"rss":2000000}}"#;
        let text = Table(Runs::parse(text).expect("lines")).markdown();
        for part in [
            "| an empty `main` | 300.0 KB | - | 200.0 KB | - | 0 | - |\n",
            "| 500.0 KB | 200.0 KB | 350.0 KB | 150.0 KB | 9 | - |\n",
            "| texts | 100.0 KB |\n| the rest: alignment, data | 50.0 KB |\n",
            "| 1.50 | 1000.0 KB | 2000.0 KB |\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

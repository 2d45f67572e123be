//! Turns the measurements of scale.sh into a table, plots and a verdict: `scale_table RESULTS.jsonl SUMMARY.json PLOTS`.
//!
//! The plots go to the folder PLOTS. Fails with 1 where an event among many connections costs more than it may, and with 2 on errors.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, io};

use plotters::prelude::*;
use serde_json::{Value, json};
use vansire_peers::runs::{FLOOR, Runs, bullets, cell, median, thousands};

/// How many times as much an event among the most connections may cost as among the fewest.
const RATIO_MAX: f64 = 1.3;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [results, summary, plots] = args.as_slice() else {
        eprintln!("usage: scale_table RESULTS.jsonl SUMMARY.json PLOTS");
        return ExitCode::from(2);
    };
    match run(results, summary, Path::new(plots)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("scale_table: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(results: &str, summary: &str, plots: &Path) -> io::Result<bool> {
    let scale = Scale(Runs::parse(&fs::read_to_string(results)?)?);
    let grown = scale.grown();
    let of =
        |kind: &'static Kind| scale.counts(kind).into_iter().map(|count| (format!("{}{count}", kind.row), kind.cost));
    let rows: Vec<(String, &str)> = scale.kinds().flat_map(of).collect();
    let all = scale.0.summary(rows.iter().map(|(row, cost)| (row.as_str(), FLOOR, *cost)));
    fs::write(summary, format!("{:#}\n", json!({ "ratios": scale.ratios_json(), "all": all })))?;
    print!("{}", scale.markdown());
    fs::create_dir_all(plots)?;
    scale.plot(plots).map_err(|e| io::Error::other(e.to_string()))?;
    grown.iter().for_each(|what| eprintln!("scale_table: {what}"));
    Ok(grown.is_empty())
}

/// A kind of rows: one for each number of connections.
struct Kind {
    row: &'static str,
    title: &'static str,
    /// What is asked again and again, and what the load generator calls its cost.
    event: &'static str,
    cost: &'static str,
    columns: &'static [(&'static str, &'static str, usize)],
}

/// The names are those of scale.sh.
const KINDS: [Kind; 3] = [
    Kind {
        row: "http",
        title: "HTTP, idle connections",
        event: "a request",
        cost: "server_cpu_us_per_req",
        columns: &[
            ("server_cpu_us_per_req", "CPU per request, us", 2),
            ("p50_us", "p50, us", 1),
            ("p99_us", "p99, us", 1),
            ("sleeps_each", "sleeps per request", 2),
            ("accept_cpu_us", "CPU per accept and first request, us", 1),
            ("accepts_per_s", "accepts per second", 0),
            ("bytes_each", "bytes per connection", 0),
        ],
    },
    Kind {
        row: "mqtt",
        title: "MQTT, idle clients",
        event: "a message",
        cost: "cpu_us",
        columns: &[
            ("cpu_us", "CPU per delivery, us", 2),
            ("p50_us", "p50, us", 1),
            ("p99_us", "p99, us", 1),
            ("accept_cpu_us", "CPU per connect, us", 1),
            ("accepts_per_s", "connects per second", 0),
            ("bytes_each", "bytes per client", 0),
        ],
    },
    Kind {
        row: "sim",
        title: "HTTP in the simulator",
        event: "a simulated request",
        cost: "cpu_us",
        columns: &[
            ("cpu_us", "CPU per request, us", 2),
            ("each_cpu_us", "... of each in turn, us", 2),
            ("turns_each", "turns per request", 2),
            ("bytes_each", "bytes per connection", 0),
            ("network_bytes_each", "... and of the network", 0),
        ],
    },
];

const OURS: &str = "ours";

struct Scale(Runs);

impl Scale {
    fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        KINDS.iter().filter(|kind| !self.counts(kind).is_empty())
    }

    /// The numbers of connections for which there are figures.
    fn counts(&self, kind: &Kind) -> Vec<u64> {
        let rows =
            self.0.lines.iter().filter(|line| line["result"].is_object()).filter_map(|line| line["row"].as_str());
        let mut counts: Vec<u64> = rows.filter_map(|row| row.strip_prefix(kind.row)?.parse().ok()).collect();
        counts.sort_unstable();
        counts.dedup();
        counts
    }

    fn figure(&self, server: &str, kind: &Kind, count: u64, figure: &str) -> Option<f64> {
        self.0.median(server, &format!("{}{count}", kind.row), figure)
    }

    /// How many times as much an event costs among the most as among the fewest: the median over the rounds.
    fn ratio(&self, server: &str, kind: &Kind) -> Option<f64> {
        let (counts, figure) = (self.counts(kind), kind.cost);
        let (few, many) = (format!("{}{}", kind.row, counts.first()?), format!("{}{}", kind.row, counts.last()?));
        let ratio = |line: &Value| {
            let other = self.0.of(server, &few).find(|other| other["round"] == line["round"])?;
            Some(line["result"][figure].as_f64()? / other["result"][figure].as_f64()?)
        };
        median(self.0.of(server, &many).filter_map(ratio).collect())
    }

    fn ratios_json(&self) -> Value {
        let of = |kind: &Kind| (kind.row.to_owned(), self.ratio(OURS, kind).into());
        Value::Object(self.kinds().map(of).collect())
    }

    /// What is not flat.
    fn grown(&self) -> Vec<String> {
        let judge = |kind: &'static Kind| match self.ratio(OURS, kind) {
            Some(ratio) if ratio <= RATIO_MAX => None,
            Some(ratio) => {
                Some(format!("{} costs {ratio:.2} times as much, and at most {RATIO_MAX} is allowed", kind.event))
            }
            None => Some(format!("{}: there is nothing to compare", kind.title)),
        };
        self.kinds().filter_map(judge).collect()
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        for kind in self.kinds() {
            let titles: Vec<&str> = kind.columns.iter().map(|(_, title, _)| *title).collect();
            let has_floor = self.0.servers.iter().any(|server| server == FLOOR) && kind.row == "http";
            let floor = if has_floor { " the floor's |" } else { "" };
            let columns = titles.len() + usize::from(has_floor);
            let _ =
                writeln!(text, "| {} | {} |{floor}\n|---:|{}", kind.title, titles.join(" | "), "---:|".repeat(columns));
            for count in self.counts(kind) {
                let show = |(name, _, digits): &(&str, &str, usize)| {
                    cell(self.figure(OURS, kind, count, name), |value| match digits {
                        0 if value >= 10_000.0 => thousands(value),
                        digits => format!("{value:.digits$}"),
                    })
                };
                let cells: Vec<String> = kind.columns.iter().map(show).collect();
                let _ = write!(text, "| {count} | {} |", cells.join(" | "));
                if has_floor {
                    let _ = write!(
                        text,
                        " {} |",
                        cell(self.figure(FLOOR, kind, count, kind.cost), |us| format!("{us:.2}"))
                    );
                }
                text.push('\n');
            }
            text.push('\n');
        }
        text + &self.notes()
    }

    fn notes(&self) -> String {
        let mut notes = self.0.skips();
        for kind in self.kinds() {
            let counts = self.counts(kind);
            if let (Some(ratio), Some(few), Some(many)) = (self.ratio(OURS, kind), counts.first(), counts.last()) {
                let verdict = if ratio <= RATIO_MAX { "flat" } else { "**not flat**" };
                notes.push(format!(
                    "{} among {many} costs {ratio:.2} times as much as among {few}: {verdict} (at most {RATIO_MAX})",
                    kind.event
                ));
            }
        }
        if let Some(ratio) = self.ratio(FLOOR, &KINDS[0]) {
            notes.push(format!("the floor, which looks at nothing: {ratio:.2} times"));
        }
        notes.extend(self.0.disturbance());
        bullets(&notes)
    }

    // ---- plots

    fn plot(&self, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let line = |kind: &'static Kind, figure: &str| {
            self.counts(kind)
                .into_iter()
                .filter_map(|count| Some((count as f64, self.figure(OURS, kind, count, figure)?)))
                .collect()
        };
        let [http, mqtt, sim] = &KINDS;
        let cost = [
            Line { name: "HTTP request", points: line(http, http.cost) },
            Line { name: "MQTT delivery", points: line(mqtt, mqtt.cost) },
            Line { name: "request in the simulator", points: line(sim, sim.cost) },
        ];
        draw(&folder.join("scale-cost.svg"), "CPU time of one event", "microseconds", &cost)?;
        let latency = [
            Line { name: "HTTP, p50", points: line(http, "p50_us") },
            Line { name: "HTTP, p99", points: line(http, "p99_us") },
            Line { name: "MQTT, p50", points: line(mqtt, "p50_us") },
            Line { name: "MQTT, p99", points: line(mqtt, "p99_us") },
        ];
        draw(&folder.join("scale-latency.svg"), "Latency of one active client", "microseconds", &latency)?;
        let memory = [
            Line { name: "HTTP connection", points: line(http, "bytes_each") },
            Line { name: "MQTT client", points: line(mqtt, "bytes_each") },
            Line { name: "HTTP in the simulator", points: line(sim, "bytes_each") },
        ];
        draw(&folder.join("scale-memory.svg"), "Resident memory of one idle connection", "bytes", &memory)
    }
}

struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// Dark enough on white for everybody.
const COLORS: [RGBColor; 4] =
    [RGBColor(0, 90, 181), RGBColor(200, 60, 20), RGBColor(20, 120, 60), RGBColor(120, 60, 150)];

/// Lines over the number of connections, which is drawn by its logarithm.
fn draw(path: &Path, title: &str, unit: &str, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = points().map(|point| point.1).fold(0.0, f64::max) * 1.6;
    let (from, to) = points().fold((f64::INFINITY, 0.0), |(low, high), point| (point.0.min(low), point.0.max(high)));
    if points().next().is_none() {
        return Ok(());
    }
    let area = SVGBackend::new(path, (760, 400)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(64)
        .build_cartesian_2d((from * 0.8..to * 1.25).log_scale(), 0.0..most)?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc("idle connections (logarithmic)")
        .y_desc(unit)
        .label_style(("sans-serif", 14))
        .x_label_formatter(&|count| format!("{count:.0}"))
        .draw()?;
    for (line, color) in lines.iter().zip(COLORS).filter(|(line, _)| !line.points.is_empty()) {
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)).point_size(3))?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(("sans-serif", 14))
        .background_style(WHITE.mix(0.85))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(costs: &[(u64, u64, f64)]) -> Scale {
        let line = |(round, count, cost): &(u64, u64, f64)| {
            format!(
                r#"{{"round":{round},"server":"ours","row":"http{count}","result":{{"server_cpu_us_per_req":{cost},"bytes_each":300}}}}"#
            )
        };
        let lines: Vec<String> = costs.iter().map(line).collect();
        Scale(Runs::parse(&lines.join("\n")).expect("lines"))
    }

    #[test]
    fn the_ratio_is_the_median_of_those_within_a_round() {
        let flat =
            scale(&[(1, 100, 10.0), (1, 18000, 11.0), (2, 100, 5.0), (2, 18000, 6.0), (3, 100, 9.0), (3, 18000, 9.0)]);
        assert_eq!(flat.ratio(OURS, &KINDS[0]), Some(1.1));
        assert!(flat.grown().is_empty());
        assert!(flat.markdown().contains("a request among 18000 costs 1.10 times as much as among 100: flat"));
    }

    #[test]
    fn what_grows_is_named_and_so_is_what_cannot_be_compared() {
        let grown = scale(&[(1, 100, 10.0), (1, 18000, 13.5)]).grown();
        assert!(matches!(&grown[..], [what] if what.contains("1.35")), "{grown:?}");
        let missing = scale(&[(1, 100, 10.0), (2, 18000, 10.0)]).grown();
        assert!(matches!(&missing[..], [what] if what.contains("nothing to compare")), "{missing:?}");
    }
}

//! What the project asks of itself, and whether the measurements reach it.

use crate::runs::{FLOOR, Runs};

/// Ours, in the results of every script.
const OURS: &str = "ours";

/// Within this of the best peer nobody is ahead: runs differ by more.
const LEVEL: f64 = 1.05;

/// One thing that is asked.
#[derive(Debug)]
pub struct Target {
    /// The script whose results tell.
    pub bench: &'static str,
    /// Of that script's rows.
    pub row: &'static str,
    /// What a reader sees.
    pub what: &'static str,
    /// What is asked.
    pub aim: Aim,
}

/// What is asked of a figure. Figures are medians over the rounds, ratios are taken within a round.
#[derive(Clone, Copy, Debug)]
pub enum Aim {
    /// At most so many times another's.
    Of(&'static str, &'static str, f64),
    /// At most that.
    Most(&'static str, &'static str, f64, Unit),
    /// At least that.
    Least(&'static str, f64, Unit),
    /// Less than any peer's, the floor apart.
    Ahead(&'static str),
    /// At most so much more of a figure than in another row, or than another program has.
    More(&'static str, Than, f64, Unit),
    /// Nothing counted in any round.
    None(&'static [&'static str]),
}

/// What something is compared with.
#[derive(Clone, Copy, Debug)]
pub enum Than {
    /// Our own figure in this row.
    Row(&'static str),
    /// The figure of `.1` in the same row, for `.0`.
    Server(&'static str, &'static str),
}

/// How a figure is shown.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// As it is: a count, bytes.
    Plain,
    /// Bytes as kilobytes.
    Kilobytes,
    /// As it is, with its unit.
    Named(&'static str),
}

/// How it came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The figure is what is asked, or better.
    Reached,
    /// Nobody is ahead.
    Level,
    /// It is not.
    Missed,
    /// There is no figure.
    Unknown,
}

impl Verdict {
    /// As a reader sees it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Level => "level",
            Self::Missed => "**missed**",
            Self::Unknown => "not measured",
        }
    }
}

impl Target {
    /// Names the target: in a file that says why it is missed, for one.
    pub fn key(&self) -> String {
        let kind = match self.aim {
            Aim::Of(..) => "ratio",
            Aim::Most(_, figure, ..) | Aim::Least(figure, ..) => figure,
            Aim::Ahead(_) => "ahead",
            Aim::More(..) => "more",
            Aim::None(_) => "none",
        };
        format!("{}.{}.{kind}", self.bench, self.row)
    }

    /// What is asked, in words.
    pub fn asked(&self) -> String {
        match self.aim {
            Aim::Of(base, _, most) => format!("at most {most} of {}", named(base)),
            Aim::Most(_, _, most, unit) if most == 0.0 => unit.show(most),
            Aim::Most(_, _, most, unit) => format!("at most {}", unit.show(most)),
            Aim::Least(_, least, unit) => format!("at least {}", unit.show(least)),
            Aim::Ahead(_) => "ahead of every peer".into(),
            Aim::More(_, _, most, unit) => format!("at most {} more", unit.show(most)),
            Aim::None(_) => "none".into(),
        }
    }

    /// What was measured, and whether that is what was asked.
    pub fn judge(&self, runs: &Runs) -> (Verdict, String) {
        self.measure(runs).unwrap_or((Verdict::Unknown, "-".into()))
    }

    fn measure(&self, runs: &Runs) -> Option<(Verdict, String)> {
        let row = self.row;
        match self.aim {
            Aim::Of(base, figure, most) => {
                let ratio = runs.ratio(base, OURS, row, figure)?;
                // As it is shown: a ratio has no third digit worth the name.
                Some((verdict(hundredths(ratio) <= most), format!("{ratio:.2}")))
            }
            Aim::Most(server, figure, most, unit) => {
                let got = runs.median(server, row, figure)?;
                Some((verdict(got <= most), unit.show(got)))
            }
            Aim::Least(figure, least, unit) => {
                let got = runs.median(OURS, row, figure)?;
                Some((verdict(got >= least), unit.show(got)))
            }
            Aim::Ahead(figure) => {
                let peers = runs.servers.iter().filter(|server| ![FLOOR, OURS].contains(&server.as_str()));
                let ratio = |server: &String| Some((runs.ratio(server, OURS, row, figure)?, server.clone()));
                let (ratio, best) = peers.filter_map(ratio).max_by(|a, b| a.0.total_cmp(&b.0))?;
                let verdict = match hundredths(ratio) {
                    ratio if ratio < 1.0 => Verdict::Reached,
                    ratio if ratio <= LEVEL => Verdict::Level,
                    _ => Verdict::Missed,
                };
                Some((verdict, format!("{ratio:.2} of {best}'s")))
            }
            Aim::More(figure, than, most, unit) => {
                let more = match than {
                    Than::Row(other) => runs.median(OURS, row, figure)? - runs.median(OURS, other, figure)?,
                    Than::Server(one, other) => runs.median(one, row, figure)? - runs.median(other, row, figure)?,
                };
                Some((verdict(more <= most), unit.show(more)))
            }
            Aim::None(figures) => {
                let lines: Vec<_> = runs.of_all(OURS).filter(|line| line["result"].is_object()).collect();
                let count = |line: &&serde_json::Value| -> u64 {
                    figures.iter().filter_map(|figure| line["result"][*figure].as_u64()).sum()
                };
                let total: u64 = lines.iter().map(count).sum();
                (!lines.is_empty()).then(|| (verdict(total == 0), total.to_string()))
            }
        }
    }
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::Plain => number(figure),
            Self::Kilobytes => format!("{:.0} KB", figure / 1e3),
            Self::Named(unit) => format!("{} {unit}", number(figure)),
        }
    }
}

fn verdict(reached: bool) -> Verdict {
    if reached { Verdict::Reached } else { Verdict::Missed }
}

fn hundredths(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

/// With as many digits as mean something.
fn number(figure: f64) -> String {
    match figure {
        f if f == f.trunc() && f < 10_000.0 => format!("{f:.0}"),
        f if f < 100.0 => format!("{f:.2}"),
        f if f < 10_000.0 => format!("{f:.0}"),
        f if f < 1e6 => format!("{:.0},000", f / 1e3),
        f => format!("{:.1} million", f / 1e6),
    }
}

fn named(server: &str) -> String {
    match server {
        FLOOR => "the floor".into(),
        "sync" => "`Manager` alone".into(),
        other => format!("{other}'s"),
    }
}

const fn target(bench: &'static str, row: &'static str, what: &'static str, aim: Aim) -> Target {
    Target { bench, row, what, aim }
}

const REQ: &str = "server_cpu_us_per_req";
const CPU: &str = "cpu_us";
const BYTES: &str = "bytes_each";

/// All of them, in the order of the document.
pub const TARGETS: &[Target] = &[
    target("http", "keepalive64", "keep-alive, 64 connections: CPU", Aim::Of(FLOOR, REQ, 1.08)),
    target("http", "keepalive64", "keep-alive, 64 connections: CPU", Aim::Ahead(REQ)),
    target("http", "keepalive512", "keep-alive, 512 connections: CPU", Aim::Of(FLOOR, REQ, 1.08)),
    target("http", "keepalive512", "keep-alive, 512 connections: CPU", Aim::Ahead(REQ)),
    target("http", "pipeline16", "pipeline of 16: CPU", Aim::Of(FLOOR, REQ, 1.27)),
    target("http", "pipeline16", "pipeline of 16: CPU", Aim::Ahead(REQ)),
    target("http", "close64", "connection per request: CPU", Aim::Of(FLOOR, REQ, 1.07)),
    target("http", "close64", "connection per request: CPU", Aim::Ahead(REQ)),
    target(
        "http",
        "idle",
        "memory of an idle connection",
        Aim::Most(OURS, "bytes_per_conn", 256.0, Unit::Named("bytes")),
    ),
    target("http", "idle", "memory of an idle connection", Aim::Ahead("bytes_per_conn")),
    target("http", "idle", "wakeups per second while idle", Aim::Most(OURS, "wakeups_per_s", 0.0, Unit::Plain)),
    target(
        "http",
        "burst128",
        "burst of 128 connects: accepts per second",
        Aim::Least("accepts_per_s", 20_000.0, Unit::Plain),
    ),
    target("http", "static1k", "file of 1 KB: CPU", Aim::Of("nginx", REQ, 1.0)),
    target("http", "static1k", "file of 1 KB: CPU", Aim::Ahead(REQ)),
    target("http", "static100k", "file of 100 KB: CPU", Aim::Of("nginx", REQ, 1.0)),
    target("http", "static100k", "file of 100 KB: CPU", Aim::Ahead(REQ)),
    target("http", "static10m", "file of 10 MB: CPU", Aim::Of("nginx", REQ, 1.0)),
    target("http", "static10m", "file of 10 MB: CPU", Aim::Ahead(REQ)),
    target("http", "client", "HTTP as a client: CPU", Aim::Of("hyper", "client_cpu_us_per_req", 1.0)),
    target("mqtt", "qos0", "QoS 0, 1 to 1: CPU", Aim::Of(FLOOR, CPU, 2.5)),
    target("mqtt", "qos1", "QoS 1, 1 to 1: CPU", Aim::Of(FLOOR, CPU, 1.5)),
    target("mqtt", "qos2", "QoS 2, 1 to 1: CPU", Aim::Of(FLOOR, CPU, 1.5)),
    target("mqtt", "fanout", "QoS 0, 1 to 100: CPU", Aim::Of(FLOOR, CPU, 1.25)),
    target("mqtt", "fanin", "QoS 0, 100 to 1: CPU", Aim::Of(FLOOR, CPU, 1.25)),
    target("mqtt", "fanin1", "QoS 1, 100 to 1: CPU", Aim::Of(FLOOR, CPU, 1.25)),
    target("mqtt", "kilobyte", "1 KB, QoS 0, 1 to 1: CPU", Aim::Of(FLOOR, CPU, 3.0)),
    target("mqtt", "paced", "20,000 a second: CPU", Aim::Of(FLOOR, CPU, 1.12)),
    target("mqtt", "connects", "connects: CPU", Aim::Of(FLOOR, CPU, 1.2)),
    target("mqtt", "qos0", "QoS 0, 1 to 1: p99", Aim::Ahead("p99_us")),
    target("mqtt", "qos1", "QoS 1, 1 to 1: p99", Aim::Ahead("p99_us")),
    target("mqtt", "qos2", "QoS 2, 1 to 1: p99", Aim::Ahead("p99_us")),
    target("mqtt", "fanout", "QoS 0, 1 to 100: p99", Aim::Ahead("p99_us")),
    target("mqtt", "fanin", "QoS 0, 100 to 1: p99", Aim::Ahead("p99_us")),
    target("mqtt", "fanin1", "QoS 1, 100 to 1: p99", Aim::Ahead("p99_us")),
    target("mqtt", "kilobyte", "1 KB, QoS 0, 1 to 1: p99", Aim::Ahead("p99_us")),
    target("mqtt", "paced", "20,000 a second: p99", Aim::Ahead("p99_us")),
    target("mqtt", "all", "messages lost or out of order, in all rows", Aim::None(&["lost", "disordered"])),
    target("mqtt", "idle", "memory of an idle client", Aim::Most(OURS, BYTES, 400.0, Unit::Named("bytes"))),
    target("mqtt", "idlesub", "... with a subscription", Aim::Most(OURS, BYTES, 650.0, Unit::Named("bytes"))),
    target(
        "mqtt",
        "retained",
        "memory of a retained message of 64 bytes",
        Aim::Most(OURS, BYTES, 250.0, Unit::Named("bytes")),
    ),
    target(
        "mqtt",
        "subs100k",
        "memory of a subscription, of 100,000",
        Aim::Most(OURS, BYTES, 250.0, Unit::Named("bytes")),
    ),
    target(
        "mqtt",
        "subs100k",
        "a publish among 100,000 subscriptions, not 10: CPU",
        Aim::More(CPU, Than::Row("subs10"), 1.5, Unit::Named("us")),
    ),
    target(
        "mqtt",
        "retained",
        "retained messages sent to a subscriber, per second",
        Aim::Least("per_s", 500_000.0, Unit::Plain),
    ),
    target(
        "micro",
        "decode_publish.Mqtt311",
        "decoding a PUBLISH of 64 bytes",
        Aim::Most(OURS, "ns", 30.0, Unit::Named("ns")),
    ),
    target("micro", "encode_publish.Mqtt311", "encoding it", Aim::Most(OURS, "ns", 30.0, Unit::Named("ns"))),
    target("wakeup", "two", "tokio to the loop and back, two cores: p50", Aim::Of(FLOOR, "p50_us", 1.15)),
    target("wakeup", "one", "... on one core: p50", Aim::Of(FLOOR, "p50_us", 1.6)),
    target("wakeup", "commands", "commands per second of one producer", Aim::Least("commands_per_s", 5e6, Unit::Plain)),
    target("wakeup", "http", "HTTP through `AsyncManager`: CPU", Aim::Of("sync", REQ, 1.03)),
    target("wakeup", "idle", "wakeups per second while idle", Aim::Most(OURS, "wakeups_per_s", 0.0, Unit::Plain)),
    target(
        "size",
        "size",
        "the smallest HTTP server, beside an empty `main` (`small`)",
        Aim::More("small", Than::Server("http", "empty"), 100_000.0, Unit::Kilobytes),
    ),
    target(
        "size",
        "start",
        "start to first reply, smallest HTTP server",
        Aim::Most("http", "ms", 10.0, Unit::Named("ms")),
    ),
    target("size", "start", "start to CONNACK, smallest broker", Aim::Most("broker", "ms", 10.0, Unit::Named("ms"))),
    target("size", "start", "start to first reply, the program", Aim::Most("vansire", "ms", 10.0, Unit::Named("ms"))),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn runs(lines: &[(&str, &str, f64)]) -> Runs {
        let line = |(server, row, figure): &(&str, &str, f64)| {
            json!({ "round": 1, "server": server, "row": row, "result": { "f": figure } }).to_string() + "\n"
        };
        Runs::parse(&lines.iter().map(line).collect::<String>()).expect("lines")
    }

    #[test]
    fn a_target_is_reached_missed_level_or_not_measured() {
        let runs = runs(&[
            (FLOOR, "r", 4.0),
            (OURS, "r", 5.0),
            ("slow", "r", 9.0),
            ("equal", "r", 5.0),
            (OURS, "s", 7.0),
            ("fast", "s", 5.0),
            ("slow", "s", 8.0),
        ]);
        let unit = Unit::Plain;
        let more = |most| Aim::More("f", Than::Row("r"), most, unit);
        for (row, aim, verdict, text) in [
            ("r", Aim::Of(FLOOR, "f", 1.25), Verdict::Reached, "1.25"),
            ("r", Aim::Of(FLOOR, "f", 1.24), Verdict::Missed, "1.25"),
            ("r", Aim::Most(OURS, "f", 5.0, unit), Verdict::Reached, "5"),
            ("r", Aim::Most(OURS, "f", 4.9, unit), Verdict::Missed, "5"),
            ("r", Aim::Least("f", 5.1, unit), Verdict::Missed, "5"),
            ("r", Aim::Ahead("f"), Verdict::Level, "1.00 of equal's"),
            ("s", Aim::Ahead("f"), Verdict::Missed, "1.40 of fast's"),
            ("s", more(2.0), Verdict::Reached, "2"),
            ("s", more(1.9), Verdict::Missed, "2"),
            ("r", Aim::None(&["f"]), Verdict::Reached, "0"),
            ("t", Aim::Ahead("f"), Verdict::Unknown, "-"),
        ] {
            let got = target("bench", row, "it", aim).judge(&runs);
            assert_eq!(got, (verdict, text.to_owned()), "{row}, {aim:?}");
        }
    }

    #[test]
    fn no_two_targets_have_the_same_name() {
        let mut keys: Vec<String> = TARGETS.iter().map(|target| format!("{} {}", target.key(), target.what)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), TARGETS.len());
    }
}

//! Puts together what the scripts here have measured: `report FOLDER REASONS.md` prints docs/benchmarks.md.
//!
//! The folder has NAME.md, NAME.jsonl and NAME.cmd of each script that ran: its tables, its measurements, its command. REASONS.md
//! has a section for each target that is missed, `## KEY`, where the keys are those of `targets.rs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

use vansire_peers::runs::Runs;
use vansire_peers::targets::{TARGETS, Target, Verdict};

/// The scripts, in the order of the document.
const BENCHES: [(&str, &str); 7] = [
    ("http", "HTTP"),
    ("mqtt", "MQTT"),
    ("wakeup", "Another thread and back"),
    ("micro", "Single packets and requests"),
    ("size", "Size, start, memory"),
    ("soak", "Soak"),
    ("scale", "Scale"),
];

fn main() -> io::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [folder, reasons] = args.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: report FOLDER REASONS.md"));
    };
    let benches: Vec<Bench> = BENCHES
        .iter()
        .filter_map(|bench| Bench::read(folder.as_ref(), *bench).transpose())
        .collect::<io::Result<_>>()?;
    print!("{}", document(&machine()?, &benches, &fs::read_to_string(reasons)?));
    Ok(())
}

/// What a script has left.
struct Bench {
    name: &'static str,
    title: &'static str,
    command: String,
    tables: String,
    runs: Runs,
}

impl Bench {
    /// None: it did not run.
    fn read(folder: &Path, (name, title): (&'static str, &'static str)) -> io::Result<Option<Self>> {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        let read = |path: PathBuf| match fs::read_to_string(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read,
        };
        let tables = read(file("md"))?;
        if tables.trim().is_empty() {
            return Ok(None);
        }
        let (command, runs) = (read(file("cmd"))?, Runs::parse(&read(file("jsonl"))?)?);
        let release = kernel()?;
        let tables = tables.replace(&release, version(&release));
        Ok(Some(Self { name, title, command: command.trim().into(), tables, runs }))
    }
}

/// The processor, the kernel, the compiler.
fn machine() -> io::Result<String> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let cores = std::thread::available_parallelism()?;
    let release = kernel()?;
    let rustc = Command::new("rustc").arg("--version").output()?.stdout;
    let rustc = String::from_utf8_lossy(&rustc);
    let rustc: Vec<&str> = rustc.split(' ').take(2).collect();
    Ok(format!("{model}, {cores} cores; Linux {}; {}", version(&release), rustc.join(" ")))
}

fn kernel() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().into())
}

/// A kernel's release without what whoever built it has appended.
fn version(release: &str) -> &str {
    release.split('-').next().unwrap_or(release)
}

fn document(machine: &str, benches: &[Bench], reasons: &str) -> String {
    let mut text = format!(
        "# Benchmarks\n\nMade by `benches/peers/all.sh`: every figure and verdict here is computed from its measurements. How they are \
         taken, and what the rows mean, is in [benches/peers/README.md](../benches/peers/README.md).\n\n{machine}. Versions of the peers \
         and dates stand above each table.\n\n"
    );
    let judged: Vec<(&Target, Verdict, String)> = TARGETS.iter().map(|target| judge(target, benches)).collect();
    text += "## Targets\n\n";
    let count = |verdict| judged.iter().filter(|(_, v, _)| *v == verdict).count();
    let _ = writeln!(
        text,
        "{} of {} are reached; in {} nobody is ahead (\"level\": within 5 % of the best peer); {} are missed; {} were not measured. \
         Medians over the rounds, ratios taken within a round.\n",
        count(Verdict::Reached),
        judged.len(),
        count(Verdict::Level),
        count(Verdict::Missed),
        count(Verdict::Unknown),
    );
    text += "| what | asked | measured | |\n|---|---|---:|---|\n";
    for (target, verdict, got) in &judged {
        let _ = writeln!(text, "| {} | {} | {got} | {} |", target.what, target.asked(), verdict.text());
    }
    text += &why(&judged, reasons);
    for bench in benches {
        let _ = write!(text, "\n## {}\n\n", bench.title);
        if !bench.command.is_empty() {
            let commands: Vec<&str> = bench.command.lines().map(str::trim).collect();
            let _ = write!(text, "`{}`\n\n", commands.join("`, then `"));
        }
        text += bench.tables.trim();
        text += "\n";
    }
    text
}

fn judge<'a>(target: &'a Target, benches: &[Bench]) -> (&'a Target, Verdict, String) {
    let bench = benches.iter().find(|bench| bench.name == target.bench);
    let (verdict, got) = bench.map_or((Verdict::Unknown, "-".into()), |bench| target.judge(&bench.runs));
    (target, verdict, got)
}

/// Of each target that is not reached, why.
fn why(judged: &[(&Target, Verdict, String)], reasons: &str) -> String {
    let mut text = String::new();
    for (target, verdict, got) in judged {
        if !matches!(verdict, Verdict::Missed | Verdict::Level) {
            continue;
        }
        let why = section(reasons, &target.key()).unwrap_or("Not looked into yet.");
        let _ = write!(
            text,
            "\n**{}** ({}; {got}, {}). {why}\n",
            target.what,
            target.asked(),
            verdict.text().trim_matches('*')
        );
    }
    if text.is_empty() { text } else { format!("\n### What is not reached, and why\n{text}") }
}

/// What stands below `## KEY`.
fn section<'a>(reasons: &'a str, key: &str) -> Option<&'a str> {
    let mut sections = reasons.split("\n## ").map(|section| section.strip_prefix("## ").unwrap_or(section));
    let (_, text) = sections.find_map(|section| section.split_once('\n').filter(|(name, _)| name.trim() == key))?;
    Some(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(jsonl: &str) -> Bench {
        let runs = Runs::parse(jsonl).expect("lines");
        Bench { name: "http", title: "HTTP", command: "./http.sh".into(), tables: "| a |\n".into(), runs }
    }

    #[test]
    fn what_is_missed_stands_there_with_its_reason() {
        let line = |server: &str, us: f64| {
            format!(
                "{{\"round\":1,\"server\":\"{server}\",\"row\":\"pipeline16\",\"result\":{{\"server_cpu_us_per_req\":{us}}}}}\n"
            )
        };
        let benches = [bench(&(line("floor", 1.0) + &line("ours", 2.0) + &line("may", 3.0)))];
        let reasons = "# Reasons\n\n## http.pipeline16.ratio\nBecause\nof it.\n\n## http.close64.ratio\nNot shown.\n";
        let text = document("a machine", &benches, reasons);
        for part in [
            "| pipeline of 16: CPU | at most 1.27 of the floor | 2.00 | **missed** |\n",
            "| pipeline of 16: CPU | ahead of every peer | 0.67 of may's | reached |\n",
            "**pipeline of 16: CPU** (at most 1.27 of the floor; 2.00, missed). Because\nof it.\n",
            "\n## HTTP\n\n`./http.sh`\n\n| a |\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("Not shown."), "{text}");
    }
}

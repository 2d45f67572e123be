//! Where the bytes of a program go that an empty one does not have: `weigh EMPTY PROGRAM`, both with their symbols.
//!
//! Asks `nm` and `size` (binutils), and prints one line of JSON: bytes for each kind of code, and for what is no code.

use std::collections::HashMap;
use std::io;
use std::process::{Command, ExitCode};

use serde_json::{Map, Value};

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("weigh: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Kinds of code, by what a symbol's name contains; the first that fits.
const CODE: [(&str, &[&str]); 7] = [
    ("HTTP: parsing and encoding (`proto::http`)", &["vansire::proto::http"]),
    ("HTTP on the loop (`manager::http`)", &["vansire::manager::http"]),
    ("the loop, with `main`, into which its making is inlined", &["vansire::manager", "http::main"]),
    ("URLs, sockets and their options (`net`)", &["vansire::net"]),
    ("buffers, clock, deadlines, options, errors", &["vansire"]),
    (
        "memchr, httpdate, itoa, bytes, mio, socket2",
        &["memchr", "httpdate", "itoa", "bytes::", "mio::", "socket2", "std_detect"],
    ),
    ("std: what an empty program does not use of it", &[""]),
];

/// What a program consists of beside code, by section.
const REST: [(&str, &[&str]); 3] = [
    ("unwind tables, which fat LTO takes from std also where a panic aborts", &[".eh_frame", ".gcc_except_table"]),
    ("constants: texts, tables", &[".rodata"]),
    ("pointers, and their relocations", &[".rela.dyn", ".data.rel.ro", ".got", ".relr.dyn"]),
];

fn run() -> io::Result<Value> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [empty, program] = args.as_slice() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: weigh EMPTY PROGRAM"));
    };
    let mut parts = Map::new();
    let (before, after) = (symbols(empty)?, symbols(program)?);
    let mut code = [0; CODE.len()];
    for name in before.keys().chain(after.keys().filter(|name| !before.contains_key(*name))) {
        let len = |all: &HashMap<String, i64>| all.get(name).copied().unwrap_or(0);
        code[kind(name)] += len(&after) - len(&before);
    }
    parts.extend(CODE.iter().zip(code).map(|((title, _), bytes)| ((*title).to_owned(), bytes.into())));

    let (before, after) = (sections(empty)?, sections(program)?);
    for (title, prefixes) in REST {
        let sum = |all: &[(String, i64)]| -> i64 {
            all.iter().filter(|(name, _)| prefixes.iter().any(|p| name.starts_with(p))).map(|(_, len)| len).sum()
        };
        parts.insert(title.into(), (sum(&after) - sum(&before)).into());
    }
    Ok(parts.into())
}

fn kind(name: &str) -> usize {
    CODE.iter().position(|(_, parts)| parts.iter().any(|part| name.contains(part))).unwrap_or(CODE.len() - 1)
}

/// The length of each function; those of one name together.
fn symbols(program: &str) -> io::Result<HashMap<String, i64>> {
    let mut lens = HashMap::new();
    for line in output("nm", &["--print-size", "--demangle", program])?.lines() {
        // "ADDRESS LENGTH TYPE NAME", in which text is T or t; what has no length has three columns.
        let mut columns = line.splitn(4, ' ');
        let (Some(_), Some(len), Some("t" | "T" | "W"), Some(name)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        else {
            continue;
        };
        // Compilations differ in the hash at the end.
        let name = match name.rsplit_once("::h") {
            Some((name, hash)) if hash.len() == 16 => name,
            _ => name,
        };
        *lens.entry(name.to_owned()).or_default() += i64::from_str_radix(len, 16).map_err(io::Error::other)?;
    }
    Ok(lens)
}

fn sections(program: &str) -> io::Result<Vec<(String, i64)>> {
    let text = output("size", &["-A", program])?;
    let section = |line: &str| {
        let mut columns = line.split_whitespace();
        Some((columns.next()?.to_owned(), columns.next()?.parse().ok()?))
    };
    Ok(text.lines().filter_map(section).collect())
}

fn output(tool: &str, args: &[&str]) -> io::Result<String> {
    let output = Command::new(tool).args(args).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{tool}: {}", String::from_utf8_lossy(&output.stderr))));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

//! The command line.

use std::io;
use std::net::SocketAddr;

pub(crate) struct Flags {
    pub(crate) way: String,
    pub(crate) row: String,
    pub(crate) rounds: u64,
    /// Where who asks runs, and where who answers.
    pub(crate) cpus: (usize, usize),
    pub(crate) seconds: f64,
    pub(crate) addr: Option<SocketAddr>,
}

impl Flags {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> io::Result<Self> {
        let (Some(way), Some(row)) = (args.next(), args.next()) else {
            return Err(wrong("usage: wakeup WAY ROW [--rounds N] [--cpus A,B] [--seconds S] [--addr IP:PORT]".into()));
        };
        let mut flags = Self { way, row, rounds: 20_000, cpus: (0, 0), seconds: 3.0, addr: None };
        while let Some(name) = args.next() {
            let value = args.next().unwrap_or_default();
            let known = match name.as_str() {
                "--rounds" => value.parse().ok().map(|rounds| flags.rounds = rounds),
                "--seconds" => value.parse().ok().map(|seconds| flags.seconds = seconds),
                "--addr" => value.parse().ok().map(|addr| flags.addr = Some(addr)),
                "--cpus" => cpus(&value).map(|cpus| flags.cpus = cpus),
                _ => None,
            };
            known.ok_or_else(|| wrong(format!("{name} {value}: not understood")))?;
        }
        Ok(flags)
    }
}

fn cpus(value: &str) -> Option<(usize, usize)> {
    let (asks, answers) = value.split_once(',')?;
    Some((asks.parse().ok()?, answers.parse().ok()?))
}

pub(crate) fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

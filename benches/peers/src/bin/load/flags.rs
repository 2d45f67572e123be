//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

/// What is asked of one run.
#[derive(Debug, PartialEq)]
pub(crate) struct Flags {
    pub(crate) addr: SocketAddr,
    pub(crate) mode: Mode,
    pub(crate) conns: usize,
    pub(crate) seconds: Duration,
    /// Requests in one write, on persistent connections.
    pub(crate) depth: usize,
    /// Idle connections beside those.
    pub(crate) among: usize,
    /// What is asked for.
    pub(crate) path: String,
    /// The length of the answer's body, whatever is in it; none: it is the usual one.
    pub(crate) body_len: Option<usize>,
    /// The processes of the server; none: its figures are left out.
    pub(crate) pids: Vec<u32>,
}

/// What the connections do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Each connection sends `depth` requests, waits for all answers, and starts again.
    KeepAlive,
    /// Each connection carries one request, with `Connection: close`.
    Close,
    /// The connections carry one request each and stay.
    Idle,
    /// All connections are opened at once, again and again.
    Burst,
}

pub(crate) const USAGE: &str = "\
usage: load --addr IP:PORT [--conns N] [--seconds S] [--depth D | --close | --idle | --burst] [--path P] [--len N]
            [--among N] [--pid PID[,PID...]]
  --depth D   D requests in one write on persistent connections (1 when nothing else is asked)
  --close     one request for each connection, with `Connection: close`
  --idle      opens the connections, sends one request on each, holds them
  --burst     opens the connections all at once, again and again
  --among N   N connections that have carried a request and stay, beside those on persistent connections
  --path P    asks for P instead of /
  --len N     any body of N bytes will do
  --pid       the processes of the server, for its CPU time, memory and wakeups";

impl Flags {
    /// Reads the arguments; the error is a sentence for the user.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let mut addr = None;
        let mut mode = None;
        let (mut conns, mut seconds, mut pids) = (64, 2.0, Vec::new());
        let mut depth = None;
        let (mut path, mut body_len, mut among) = (String::from("/"), None, 0);
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{flag}: a value is missing"));
            match flag.as_str() {
                "--addr" => addr = Some(parse(&flag, &value()?)?),
                "--conns" => conns = parse(&flag, &value()?)?,
                "--seconds" => seconds = parse(&flag, &value()?)?,
                "--path" => path = value()?,
                "--len" => body_len = Some(parse(&flag, &value()?)?),
                "--among" => among = parse(&flag, &value()?)?,
                "--depth" => depth = Some(parse(&flag, &value()?)?),
                "--pid" => pids = value()?.split(',').map(|pid| parse(&flag, pid)).collect::<Result<_, _>>()?,
                "--close" => set_mode(&mut mode, Mode::Close)?,
                "--idle" => set_mode(&mut mode, Mode::Idle)?,
                "--burst" => set_mode(&mut mode, Mode::Burst)?,
                _ => return Err(format!("{flag}: unknown")),
            }
        }
        if (depth.is_some() || among > 0) && mode.is_some() {
            return Err("--depth and --among are for persistent connections".into());
        }
        let depth = depth.unwrap_or(1);
        if conns == 0 || depth == 0 || depth > DEPTH_MAX {
            return Err(format!("--conns must be at least 1, --depth 1 to {DEPTH_MAX}"));
        }
        Ok(Self {
            addr: addr.ok_or("--addr is missing")?,
            mode: mode.unwrap_or(Mode::KeepAlive),
            conns,
            seconds: Duration::try_from_secs_f64(seconds).map_err(|e| format!("--seconds: {e}"))?,
            depth,
            among,
            path,
            body_len,
            pids,
        })
    }
}

/// A batch must fit into the socket buffers of both sides, as it is written in one piece before anything is read.
const DEPTH_MAX: usize = 256;

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|e| format!("{flag} {value}: {e}"))
}

fn set_mode(mode: &mut Option<Mode>, to: Mode) -> Result<(), String> {
    match mode.replace(to) {
        None => Ok(()),
        Some(_) => Err("--close, --idle and --burst exclude each other".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood_or_named_in_the_error() {
        let base = Flags {
            addr: "127.0.0.1:80".parse().expect("an address"),
            mode: Mode::KeepAlive,
            conns: 64,
            seconds: Duration::from_secs(2),
            depth: 1,
            among: 0,
            path: "/".into(),
            body_len: None,
            pids: Vec::new(),
        };
        let rows: [(&str, Result<Flags, &str>); 9] = [
            ("--addr 127.0.0.1:80 --conns 64 --seconds 2", Ok(base)),
            ("--conns 3", Err("--addr is missing")),
            ("--addr nowhere", Err("--addr nowhere")),
            ("--addr 127.0.0.1:80 --close --idle", Err("exclude each other")),
            ("--addr 127.0.0.1:80 --burst --depth 2", Err("--depth and --among are for")),
            ("--addr 127.0.0.1:80 --close --among 2", Err("--depth and --among are for")),
            ("--addr 127.0.0.1:80 --depth 0", Err("at least 1")),
            ("--addr 127.0.0.1:80 --seconds -1", Err("--seconds")),
            ("--addr 127.0.0.1:80 --pid", Err("a value is missing")),
        ];
        for (line, expected) in rows {
            match (Flags::parse(line.split(' ').map(String::from)), expected) {
                (Ok(flags), Ok(expected)) => assert_eq!(flags, expected, "{line}"),
                (Err(e), Err(part)) => assert!(e.contains(part), "{line}: {e}"),
                (other, _) => panic!("{line}: {other:?}"),
            }
        }
    }
}

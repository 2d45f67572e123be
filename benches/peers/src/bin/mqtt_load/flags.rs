//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use vansire::mqtt::{QoS, Version};

/// What is asked of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flags {
    pub(crate) addr: SocketAddr,
    pub(crate) mode: Mode,
    pub(crate) version: Version,
    pub(crate) seconds: Duration,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) qos: QoS,
    pub(crate) payload_len: usize,
    /// Messages of one publisher that are on their way.
    pub(crate) window: u64,
    /// Messages a second of all publishers together, instead of as fast as the window lets.
    pub(crate) rate: Option<f64>,
    /// Filters in all, spread over the subscribers, each with a topic of its own; none: all topics go to all.
    pub(crate) filters: Option<usize>,
    /// Clients that idle beside publishers and subscribers.
    pub(crate) among: usize,
    /// Clients that idle; connections that are opened at the same time.
    pub(crate) clients: usize,
    /// Idle clients have a subscription each.
    pub(crate) subscribe: bool,
    /// Retained messages.
    pub(crate) messages: usize,
    /// The processes of the broker.
    pub(crate) pids: Vec<u32>,
}

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Publishers publish, subscribers receive.
    Steady,
    /// Clients connect, are accepted and leave.
    Connects,
    /// Clients connect and stay.
    Idle,
    /// Messages are retained, and then sent to one who subscribes.
    Retained,
}

pub(crate) const USAGE: &str = "\
usage: mqtt_load --addr IP:PORT --pid PID[,PID...] [--v5] [--seconds S] [MODE]
  --publishers P --subscribers S --qos Q --payload BYTES (--window MESSAGES | --rate MESSAGES/S) [--filters N]
  [--among N]
                    the mode if no other is chosen; with --filters, of which each subscriber has its share, every message goes
                    to one of as many topics; with --among, N clients idle beside them
  --connects [--clients N]                 N at the same time (64)
  --idle [--clients N] [--subscribe]       N in all (10,000)
  --retained [--messages N] [--payload B]  N topics (100,000)";

impl Flags {
    /// Reads the arguments; the error is a sentence for the user.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut args = args.into_iter();
        let (mut addr, mut mode, mut clients, mut rate, mut filters) = (None, None, None, None, None);
        let (mut version, mut seconds, mut qos, mut subscribe) = (Version::Mqtt311, 2.0, 0, false);
        let (mut publishers, mut subscribers, mut payload_len, mut window) = (1, 1, 64, 256);
        let (mut messages, mut among, mut pids) = (100_000, 0, Vec::new());
        while let Some(flag) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{flag}: a value is missing"));
            match flag.as_str() {
                "--addr" => addr = Some(parse(&flag, &value()?)?),
                "--pid" => pids = value()?.split(',').map(|pid| parse(&flag, pid)).collect::<Result<_, _>>()?,
                "--v5" => version = Version::Mqtt5,
                "--seconds" => seconds = parse(&flag, &value()?)?,
                "--publishers" => publishers = parse(&flag, &value()?)?,
                "--subscribers" => subscribers = parse(&flag, &value()?)?,
                "--qos" => qos = parse(&flag, &value()?)?,
                "--payload" => payload_len = parse(&flag, &value()?)?,
                "--window" => window = parse(&flag, &value()?)?,
                "--rate" => rate = Some(parse(&flag, &value()?)?),
                "--among" => among = parse(&flag, &value()?)?,
                "--filters" => filters = Some(parse(&flag, &value()?)?),
                "--clients" => clients = Some(parse(&flag, &value()?)?),
                "--subscribe" => subscribe = true,
                "--messages" => messages = parse(&flag, &value()?)?,
                "--connects" => set_mode(&mut mode, Mode::Connects)?,
                "--idle" => set_mode(&mut mode, Mode::Idle)?,
                "--retained" => set_mode(&mut mode, Mode::Retained)?,
                _ => return Err(format!("{flag}: unknown")),
            }
        }
        let mode = mode.unwrap_or(Mode::Steady);
        let clients = clients.unwrap_or(if mode == Mode::Idle { 10_000 } else { 64 });
        if [publishers, subscribers, clients, messages, filters.unwrap_or(1)].contains(&0) {
            return Err("every number must be at least 1".into());
        }
        if payload_len < MARK_LEN {
            return Err(format!("--payload must be at least {MARK_LEN}: time, publisher and number of the message"));
        }
        if !(1..=WINDOW_MAX).contains(&window) {
            return Err(format!("--window must be 1 to {WINDOW_MAX}: packet identifiers are not used twice"));
        }
        if rate.is_some_and(|rate: f64| !(rate > 0.0 && rate.is_finite())) {
            return Err("--rate must be more than 0".into());
        }
        Ok(Self {
            addr: addr.ok_or("--addr is missing")?,
            mode,
            version,
            seconds: Duration::try_from_secs_f64(seconds).map_err(|e| format!("--seconds: {e}"))?,
            publishers,
            subscribers,
            qos: QoS::from_u8(qos).ok_or_else(|| format!("--qos {qos}: 0, 1 or 2"))?,
            payload_len,
            window,
            rate,
            filters,
            among,
            clients,
            subscribe,
            messages,
            pids,
        })
    }
}

/// What the generator writes at the start of a payload.
pub(crate) const MARK_LEN: usize = 16;

/// Half of the packet identifiers: one is free again long before its turn comes.
const WINDOW_MAX: u64 = 32_000;

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|e| format!("{flag} {value}: {e}"))
}

fn set_mode(mode: &mut Option<Mode>, to: Mode) -> Result<(), String> {
    match mode.replace(to) {
        None => Ok(()),
        Some(_) => Err("--connects, --idle and --retained exclude each other".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_understood_or_named_in_the_error() {
        let parse = |line: &str| Flags::parse(line.split(' ').map(String::from));
        let flags = parse("--addr 127.0.0.1:1883 --qos 1 --window 64 --v5 --pid 7,8").expect("flags");
        assert_eq!((flags.mode, flags.qos, flags.window), (Mode::Steady, QoS::AtLeastOnce, 64));
        assert_eq!((flags.version, flags.pids), (Version::Mqtt5, vec![7, 8]));
        assert_eq!(parse("--addr 127.0.0.1:1883 --idle").map(|flags| flags.clients), Ok(10_000));
        for (line, part) in [
            ("--qos 1", "--addr is missing"),
            ("--addr nowhere", "--addr nowhere"),
            ("--addr 127.0.0.1:1883 --qos 3", "--qos 3"),
            ("--addr 127.0.0.1:1883 --payload 15", "--payload"),
            ("--addr 127.0.0.1:1883 --window 65535", "--window"),
            ("--addr 127.0.0.1:1883 --rate 0", "--rate"),
            ("--addr 127.0.0.1:1883 --clients 0", "at least 1"),
            ("--addr 127.0.0.1:1883 --idle --retained", "exclude each other"),
            ("--addr 127.0.0.1:1883 --pid", "a value is missing"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}

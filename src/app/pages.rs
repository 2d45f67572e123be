//! What the program answers by itself: the welcome page, and the shapes of its JSON.

use serde::Serialize;

use crate::app::api::Mqtt;
use crate::app::reach::Reach;
use crate::manager::{ConnInfo, ConnKind, ConnState, Stats};
use crate::net::Address;

/// The welcome page: one HTML file that needs nothing else, with the version in it. Built once, at the start.
pub fn welcome() -> String {
    PAGE.replace("{{version}}", env!("CARGO_PKG_VERSION"))
}

/// The `Content-Security-Policy` of the welcome page: its own style and script by their hashes, requests to this server,
/// and nothing else.
pub const WELCOME_POLICY: &str = "default-src 'none'; \
    style-src 'sha256-rCSNRuJcl7R1BBXNfmdwRoG2Oq+MWcSiA5Lj0GBDu+g='; \
    script-src 'sha256-1Abk2r/ozHmj7teIStiTSpN32w66pCbzUqnpktyd0BU='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The body of `/healthz`.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// `ok`; a server that is not well does not answer.
    pub status: &'static str,
}

impl Health {
    /// All is well.
    pub const OK: Health = Health { status: "ok" };
}

/// The body of `/api/v1/status`.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// The program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// Whole seconds since the start.
    pub uptime_seconds: u64,
    /// The process.
    pub pid: u32,
    /// Connections open now, listeners not counted.
    pub connections: usize,
    /// Requests answered since the start.
    pub requests_total: u64,
    /// Bytes read from peers since the start.
    pub bytes_in: u64,
    /// Bytes sent to peers since the start.
    pub bytes_out: u64,
    /// Lines of the log that were dropped since the start, because nobody took them in time.
    pub log_lines_dropped_total: u64,
    /// What is listened on.
    pub listeners: Vec<Listener>,
    /// The MQTT broker.
    pub mqtt: Mqtt,
    /// The event loop.
    #[serde(rename = "loop")]
    pub turns: Loop,
}

/// A listener, in [`Status`].
#[derive(Debug, Clone, Serialize)]
pub struct Listener {
    /// Where, with the port the system gave.
    pub url: String,
    /// Who can reach it.
    pub reach: String,
}

impl Listener {
    /// That connection, if it is a listener; its URLs have this scheme.
    pub fn of(info: &ConnInfo, scheme: &str) -> Option<Self> {
        let local = match (info.kind, &info.local) {
            // A server of datagrams has no connections: its socket is who listens.
            (ConnKind::Listener | ConnKind::Udp, Some(local)) => local,
            _ => return None,
        };
        let url = match local {
            Address::Inet(_) => format!("{scheme}://{local}"),
            Address::Unix(_) => format!("{scheme}+{local}"),
        };
        Some(Self { url, reach: Reach::of(local).to_string() })
    }
}

/// The event loop, in [`Status`]: counts since the start.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Loop {
    /// Turns.
    pub turns_total: u64,
    /// Connections accepted.
    pub accepted_total: u64,
    /// Times that accepting had to wait for descriptors or a place.
    pub accept_stalls_total: u64,
    /// Requests refused before a handler saw them.
    pub requests_refused_total: u64,
    /// Connections closed by a deadline.
    pub timeouts_total: u64,
    /// Connections closed because the peer did not read.
    pub slow_consumers_total: u64,
    /// Timers that came due.
    pub timers_fired_total: u64,
    /// Handlers that panicked.
    pub handler_panics_total: u64,
    /// Times that the loop was held up for longer than `log.stall_after`.
    pub stalls_total: u64,
    /// The longest time that it was.
    pub stall_longest_seconds: f64,
}

impl From<Stats> for Loop {
    fn from(stats: Stats) -> Self {
        Self {
            turns_total: stats.turns,
            accepted_total: stats.accepted,
            accept_stalls_total: stats.accept_stalls,
            requests_refused_total: stats.http_refused,
            timeouts_total: stats.timeouts,
            slow_consumers_total: stats.slow_consumers,
            timers_fired_total: stats.timers_fired,
            handler_panics_total: stats.handler_panics,
            stalls_total: stats.stalls,
            stall_longest_seconds: stats.stall_longest.as_secs_f64(),
        }
    }
}

/// A connection or a listener, in `/api/v1/connections`.
#[derive(Debug, Clone, Serialize)]
pub struct Connection {
    /// Its id; never reused while the program runs.
    pub id: String,
    /// `listener`, `accepted`, `outbound` or `udp`.
    pub kind: &'static str,
    /// What it speaks: `http`, `tcp`...
    pub protocol: &'static str,
    /// The id of the listener that accepted it.
    pub listener: Option<String>,
    /// The peer; none on Unix sockets.
    pub remote: Option<String>,
    /// This end.
    pub local: Option<String>,
    /// `connecting`, `open`, `draining` or `closing`.
    pub state: &'static str,
    /// Bytes read from the peer.
    pub bytes_in: u64,
    /// Bytes sent to the peer.
    pub bytes_out: u64,
    /// Seconds since it was opened.
    pub age_seconds: f64,
    /// Bytes that wait to be sent.
    pub queued: usize,
}

impl From<&ConnInfo> for Connection {
    fn from(info: &ConnInfo) -> Self {
        Self {
            id: info.id.to_string(),
            kind: match info.kind {
                ConnKind::Listener => "listener",
                ConnKind::Accepted => "accepted",
                ConnKind::Outbound => "outbound",
                ConnKind::Udp => "udp",
            },
            protocol: info.protocol,
            listener: info.listener.map(|id| id.to_string()),
            remote: info.remote.map(|remote| Address::Inet(remote).to_string()),
            local: info.local.as_ref().map(Address::to_string),
            state: match info.state {
                ConnState::Connecting => "connecting",
                ConnState::Open => "open",
                ConnState::Draining => "draining",
                ConnState::Closing => "closing",
            },
            bytes_in: info.bytes_in,
            bytes_out: info.bytes_out,
            // Milliseconds are enough, and shorter to read.
            age_seconds: info.age.as_millis() as f64 / 1000.0,
            queued: info.queued,
        }
    }
}

/// A shape as the bytes of a reply.
///
/// Answers none where it cannot be written, which the shapes of this file never are: every key is a string.
pub fn to_json(shape: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(shape).ok()
}

const PAGE: &str = include_str!("welcome.html");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ctx, Event, Manager};

    fn text(shape: &impl Serialize) -> String {
        String::from_utf8(to_json(shape).expect("a shape")).expect("UTF-8")
    }

    #[test]
    fn health() {
        assert_eq!(text(&Health::OK), r#"{"status":"ok"}"#);
    }

    #[test]
    fn status() {
        let status = Status {
            name: "vansire",
            version: "0.1.0",
            uptime_seconds: 5,
            pid: 42,
            connections: 2,
            requests_total: 7,
            bytes_in: 100,
            bytes_out: 200,
            log_lines_dropped_total: 0,
            listeners: vec![Listener { url: "http://127.0.0.1:8080".into(), reach: "this machine only".into() }],
            mqtt: Mqtt::default(),
            turns: Loop { turns_total: 9, accepted_total: 3, handler_panics_total: 1, ..Loop::default() },
        };
        assert_eq!(
            text(&status),
            concat!(
                r#"{"name":"vansire","version":"0.1.0","uptime_seconds":5,"pid":42,"connections":2,"requests_total":7,"#,
                r#""bytes_in":100,"bytes_out":200,"log_lines_dropped_total":0,"#,
                r#""listeners":[{"url":"http://127.0.0.1:8080","reach":"this machine only"}],"#,
                r#""mqtt":{"clients":0,"clients_max":0,"sessions":0,"subscriptions":0,"retained":0,"retained_bytes":0,"#,
                r#""queued":0,"queued_bytes":0,"connected_total":0,"refused_total":0,"denied_total":0,"#,
                r#""protocol_errors_total":0,"packets_in_total":0,"packets_out_total":0,"messages_in_total":0,"#,
                r#""messages_out_total":0,"messages_routed_total":0,"messages_delivered_total":0,"wills_total":0,"#,
                r#""sessions_expired_total":0,"retained_refused_total":0,"#,
                r#""dropped_total":{"slow":0,"queue_full":0,"total_full":0,"too_large":0,"expired":0,"denied":0,"#,
                r#""session_ended":0}},"#,
                r#""loop":{"turns_total":9,"accepted_total":3,"accept_stalls_total":0,"requests_refused_total":0,"#,
                r#""timeouts_total":0,"slow_consumers_total":0,"timers_fired_total":0,"handler_panics_total":1,"#,
                r#""stalls_total":0,"stall_longest_seconds":0.0}}"#
            )
        );
    }

    #[test]
    fn connections() {
        let accepted = Connection {
            id: "7.1".into(),
            kind: "accepted",
            protocol: "http",
            listener: Some("1.1".into()),
            remote: Some("127.0.0.1:40000".into()),
            local: Some("127.0.0.1:8080".into()),
            state: "open",
            bytes_in: 10,
            bytes_out: 20,
            age_seconds: 1.5,
            queued: 3,
        };
        let unix = Connection { remote: None, local: Some("unix:/run/v.sock".into()), ..accepted.clone() };
        assert_eq!(
            text(&[accepted, unix]),
            concat!(
                r#"[{"id":"7.1","kind":"accepted","protocol":"http","listener":"1.1","#,
                r#""remote":"127.0.0.1:40000","local":"127.0.0.1:8080","state":"open","#,
                r#""bytes_in":10,"bytes_out":20,"age_seconds":1.5,"queued":3},"#,
                r#"{"id":"7.1","kind":"accepted","protocol":"http","listener":"1.1","#,
                r#""remote":null,"local":"unix:/run/v.sock","state":"open","#,
                r#""bytes_in":10,"bytes_out":20,"age_seconds":1.5,"queued":3}]"#
            )
        );
    }

    #[test]
    fn a_listener_is_shown_with_its_real_port_and_its_reach() {
        let mut manager = Manager::new(()).expect("a manager");
        let mut net = manager.net();
        let id = net.listen("http://127.0.0.1:0", |_: &mut Ctx<'_, ()>, _: Event<'_>| {}).expect("a free port");
        let info = net.info(id).expect("the listener");
        let port = info.local.as_ref().and_then(Address::port).expect("a port");
        let listener = Listener::of(&info, "http").expect("a listener");
        assert_eq!(listener.url, format!("http://127.0.0.1:{port}"));
        assert_eq!(listener.reach, "this machine only");
        let shown = Connection::from(&info);
        assert_eq!((shown.kind, shown.protocol, shown.state), ("listener", "http", "open"));
        assert_eq!((shown.id, shown.local), (id.to_string(), Some(format!("127.0.0.1:{port}"))));
        let out = net.connect(listener.url.as_str(), |_: &mut Ctx<'_, ()>, _: Event<'_>| {}).expect("it begins");
        assert!(Listener::of(&net.info(out).expect("the connection"), "http").is_none());
    }

    #[test]
    fn the_welcome_page_is_small_and_needs_nothing_else() {
        let page = welcome();
        assert!(page.len() < 8 * 1024, "{} bytes", page.len());
        assert!(page.contains(env!("CARGO_PKG_VERSION")) && !page.contains("{{"));
        for outside in
            ["http://", "https://", "src=", "@import", "url(", "stylesheet", "innerHTML", " style=", " onclick="]
        {
            assert!(!page.contains(outside), "the page contains {outside}");
        }
        for part in ["<html lang=", "<title>", "name=\"viewport\"", "/api/v1/status", "/healthz", "/api/v1/connections"]
        {
            assert!(page.contains(part), "the page lacks {part}");
        }
    }

    #[test]
    fn the_policy_allows_exactly_the_style_and_the_script_of_the_page() {
        for (directive, open, close) in [("style-src", "<style>", "</style>"), ("script-src", "<script>", "</script>")]
        {
            let mut inside = PAGE.split(open).skip(1).map(|rest| rest.split(close).next().unwrap_or(""));
            let content = inside.next().expect(open);
            assert_eq!(inside.next(), None, "one {open} only");
            let allowed = format!("{directive} 'sha256-{}'", base64(&sha256(content.as_bytes())));
            assert!(WELCOME_POLICY.contains(&allowed), "the policy wants: {allowed}");
        }
    }

    #[test]
    fn the_hash_is_sha256() {
        let hex: String = sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(base64(b"Man"), "TWFu");
        assert_eq!(base64(b"Ma"), "TWE=");
    }

    /// FIPS 180-4, for the test above only: the constants are the roots of the first primes, which it computes.
    fn sha256(message: &[u8]) -> Vec<u8> {
        let primes: Vec<u64> = (2u64..).filter(|n| (2..*n).all(|d| n % d != 0)).take(64).collect();
        // The first 32 bits of the fraction of a root, by a search in integers.
        let fraction = |prime: u64, power: u32| -> u32 {
            let (mut low, mut high) = (0u128, 1u128 << 40);
            while high - low > 1 {
                let middle = (low + high) / 2;
                if middle.pow(power) <= u128::from(prime) << (32 * power) { low = middle } else { high = middle }
            }
            low as u32
        };
        let mut hash: Vec<u32> = primes.iter().take(8).map(|p| fraction(*p, 2)).collect();
        let rounds: Vec<u32> = primes.iter().map(|p| fraction(*p, 3)).collect();
        let mut padded = message.to_vec();
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(64), 0);
        if padded.len() - message.len() < 9 {
            padded.resize(padded.len() + 64, 0);
        }
        let length_at = padded.len() - 8;
        padded[length_at..].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
        for block in padded.chunks(64) {
            let mut w: Vec<u32> = block.chunks(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]])).collect();
            for i in 16..64 {
                let s0 = w[i - 15].rotate_right(7) ^ w[i - 15].rotate_right(18) ^ (w[i - 15] >> 3);
                let s1 = w[i - 2].rotate_right(17) ^ w[i - 2].rotate_right(19) ^ (w[i - 2] >> 10);
                w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
            }
            let mut v = hash.clone();
            for i in 0..64 {
                let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
                let choose = (v[4] & v[5]) ^ (!v[4] & v[6]);
                let t1 = [s1, choose, rounds[i], w[i]].iter().fold(v[7], |sum, n| sum.wrapping_add(*n));
                let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
                let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
                v.rotate_right(1);
                v[4] = v[4].wrapping_add(t1);
                v[0] = t1.wrapping_add(s0).wrapping_add(majority);
            }
            hash.iter_mut().zip(v).for_each(|(old, new)| *old = old.wrapping_add(new));
        }
        hash.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().chain(&[0, 0]).take(3).fold(0usize, |word, byte| word << 8 | usize::from(*byte));
            for i in 0..4 {
                let letter = char::from(LETTERS[word >> (18 - 6 * i) & 63]);
                out.push(if i <= chunk.len() { letter } else { '=' });
            }
        }
        out
    }
}

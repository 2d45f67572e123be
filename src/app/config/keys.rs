//! The table of everything that can be set: one row a key.

use std::time::Duration;

use super::value::{Problem, Raw, quoted, show_duration, show_size, show_text};
use super::{Config, Level};
use crate::app::access;
use crate::net::{Scheme, Url};

/// One thing that can be set.
pub struct Key {
    /// Where it stands, as `table.table.key`.
    pub path: &'static str,
    /// What it does, for a person who meets it for the first time.
    pub help: &'static str,
    pub(super) set: fn(&mut Config, &Raw<'_>) -> Result<(), Problem>,
    /// The value as TOML, or none where it is not set.
    pub(super) show: fn(&Config) -> Option<String>,
}

/// The key of that path.
pub fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Every key, those of one table together, the ones without a table first (TOML wants it so).
pub(super) static KEYS: [Key; 15] = [
    Key {
        path: "shutdown_timeout",
        help: "How long open connections may take to finish after SIGTERM.",
        set: |config, raw| put(&mut config.shutdown_timeout, raw.duration(Duration::ZERO..=DAY)),
        show: |config| Some(time(config.shutdown_timeout)),
    },
    Key {
        path: "http.listen",
        help: "Addresses to listen on. 127.0.0.1 is this machine only, 0.0.0.0 every network it is on; port 0 is any free one.",
        set: |config, raw| put(&mut config.http.listen, raw.texts(listen)),
        show: |config| {
            let urls: Vec<String> = config.http.listen.iter().map(|url| show_text(url)).collect();
            Some(format!("[{}]", urls.join(", ")))
        },
    },
    Key {
        path: "http.root",
        help: "The folder whose files are served at /. Without it: the built-in welcome page.",
        set: |config, raw| put(&mut config.http.root, raw.path().map(Some)),
        show: |config| config.http.root.as_ref().map(|path| show_text(&path.to_string_lossy())),
    },
    Key {
        path: "http.index",
        help: "The file of a folder that answers for the folder.",
        set: |config, raw| put(&mut config.http.index, raw.text().and_then(file_name)),
        show: |config| Some(show_text(&config.http.index)),
    },
    Key {
        path: "http.limits.head_max",
        help: "Bytes of a request line and its header fields; more are answered 431.",
        set: |config, raw| put(&mut config.http.limits.head_max, raw.size(256..=1 << 20).and_then(to_usize)),
        show: |config| Some(size(config.http.limits.head_max)),
    },
    Key {
        path: "http.limits.headers_max",
        help: "Header fields of a request; more are answered 431.",
        set: |config, raw| put(&mut config.http.limits.headers_max, raw.count(1..=1000).and_then(to_usize)),
        show: |config| Some(config.http.limits.headers_max.to_string()),
    },
    Key {
        path: "http.limits.target_max",
        help: "Bytes of a request target (path and query); more are answered 414.",
        set: |config, raw| put(&mut config.http.limits.target_max, raw.size(16..=1 << 20).and_then(to_usize)),
        show: |config| Some(size(config.http.limits.target_max)),
    },
    Key {
        path: "http.limits.body_max",
        help: "Bytes of a request body; more are answered 413.",
        set: |config, raw| put(&mut config.http.limits.body_max, raw.size(0..=1 << 30).and_then(to_usize)),
        show: |config| Some(size(config.http.limits.body_max)),
    },
    Key {
        path: "http.limits.requests_max",
        help: "Requests on one connection before it is closed. Without it: no bound.",
        set: |config, raw| put(&mut config.http.limits.requests_max, raw.count(1..=MAX).and_then(to_u32).map(Some)),
        show: |config| config.http.limits.requests_max.map(|count| count.to_string()),
    },
    Key {
        path: "http.limits.rate_floor",
        help: "Bytes a second that a client sends or takes while a message is under way; slower ones are cut off. 0: no floor.",
        set: |config, raw| put(&mut config.http.limits.rate_floor, raw.size(0..=MAX).and_then(to_u32)),
        show: |config| Some(show_text(&show_size(config.http.limits.rate_floor.into()))),
    },
    Key {
        path: "http.limits.head_timeout",
        help: "From the first byte of a request's head to its last; then it is answered 408.",
        set: |config, raw| put(&mut config.http.limits.head_timeout, raw.duration(TICK..=DAY)),
        show: |config| Some(time(config.http.limits.head_timeout)),
    },
    Key {
        path: "http.limits.idle_timeout",
        help: "Silence between two requests, after which a connection is closed.",
        set: |config, raw| put(&mut config.http.limits.idle_timeout, raw.duration(TICK..=DAY)),
        show: |config| Some(time(config.http.limits.idle_timeout)),
    },
    Key {
        path: "log.level",
        help: "How much the program says: error, warn, info, debug or trace.",
        set: |config, raw| put(&mut config.log.level, raw.choice(&Level::ALL)),
        show: |config| Some(word(&Level::ALL, config.log.level)),
    },
    Key {
        path: "log.access",
        help: "A line for each request: off, common (as web servers write it) or json.",
        set: |config, raw| put(&mut config.log.access, raw.choice(&access::Format::ALL)),
        show: |config| Some(word(&access::Format::ALL, config.log.access)),
    },
    Key {
        path: "limits.connections_max",
        help: "Connections open at once, listeners included; more are closed at once.",
        set: |config, raw| put(&mut config.limits.connections_max, raw.count(1..=10_000_000).and_then(to_usize)),
        show: |config| Some(config.limits.connections_max.to_string()),
    },
];

/// TOML's integers are signed 64 bits; these counts are unsigned 32.
const MAX: u64 = u32::MAX as u64;
const TICK: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

fn put<T>(field: &mut T, value: Result<T, Problem>) -> Result<(), Problem> {
    value.map(|value| *field = value)
}

fn to_usize(number: u64) -> Result<usize, Problem> {
    usize::try_from(number).map_err(|_| format!("{number} is too large for this machine").into())
}

fn to_u32(number: u64) -> Result<u32, Problem> {
    u32::try_from(number).map_err(|_| format!("{number} is too large").into())
}

/// Refuses what cannot be listened on; whether the address is free shows when it is bound.
fn listen(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|e| e.to_string())?;
    url.listen_target().map_err(|e| e.to_string())?;
    if url.scheme() != Scheme::Http {
        return Err(format!("bad URL `{url}`: this version listens on http only"));
    }
    if url.user().is_some() || (url.unix_path().is_none() && url.path() != "/") {
        return Err(format!("bad URL `{url}`: to listen takes a host and a port only"));
    }
    Ok(())
}

fn file_name(text: &str) -> Result<String, Problem> {
    if matches!(text, "." | "..") || text.contains(['/', '\\', '\0']) {
        return Err(format!("{} is not the name of a file", quoted(text)).into());
    }
    Ok(text.into())
}

fn time(value: Duration) -> String {
    show_text(&show_duration(value))
}

fn size(bytes: usize) -> String {
    show_text(&show_size(bytes as u64))
}

fn word<T: Copy + PartialEq>(choices: &[(&'static str, T)], value: T) -> String {
    let found = choices.iter().find(|(_, choice)| *choice == value);
    show_text(found.map_or("", |(word, _)| word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_is_a_host_and_a_port() {
        let table: &[(&str, Result<(), &str>)] = &[
            ("http://127.0.0.1:8080", Ok(())),
            ("HTTP://localhost:0/", Ok(())),
            ("http://0.0.0.0", Ok(())),
            ("http://:8080", Ok(())),
            ("http://[::1]:8080", Ok(())),
            ("http+unix:/run/v.sock", Ok(())),
            ("127.0.0.1:8080", Err("no scheme")),
            ("8080", Err("no scheme")),
            ("htp://localhost", Err("unknown scheme `htp`")),
            ("https://localhost:8443", Err("http only")),
            ("tcp://localhost:8443", Err("http only")),
            ("http://", Err("no host")),
            ("http://example.org:80", Err("listening needs an address")),
            ("http://127.0.0.1:80/app", Err("a host and a port only")),
            ("http://user:secret@127.0.0.1:80", Err("a host and a port only")),
            ("http://127.0.0.1:65536", Err("65535")),
        ];
        for (url, expected) in table {
            match (listen(url), expected) {
                (Ok(()), Ok(())) => {}
                (Err(why), Err(part)) => assert!(why.contains(part) && !why.contains("secret"), "{url}: {why}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }

    #[test]
    fn keys_of_a_table_stand_together_and_bare_ones_first() {
        let tables: Vec<&str> =
            KEYS.iter().map(|key| key.path.rsplit_once('.').map_or("", |(table, _)| table)).collect();
        let mut runs = tables.clone();
        runs.dedup();
        let mut distinct = runs.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(runs.len(), distinct.len(), "a table is opened twice: {runs:?}");
        assert_eq!(runs[0], "");
        for key in &KEYS {
            assert!(key.help.ends_with('.'), "{}", key.path);
        }
    }
}

//! The configuration: a TOML file, environment variables and flags, each value with its origin.
//!
//! Start with [`Loader`]: it is fed the sources from the weakest to the strongest and answers [`Loaded`], or every
//! problem it found, each with its place. The tables in `keys.rs` and `items.rs` are the one place of what can be set: a new
//! key is a field of [`Config`] and a row there, from which the loader, `vansire check` and `docs/config.md` follow. Nothing
//! here panics, whatever the file holds.

mod find;
mod items;
mod keys;
mod loader;
mod print;
mod slot;
mod suggest;
mod value;
mod verify;

pub use find::{Chosen, Surroundings, choose, read};
pub use items::{FolderConfig, ListenConfig, RedirectConfig};
pub use loader::{Loaded, Loader, Origin, Problems};
pub use print::reference;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::app::access;
use crate::options::Limits;

/// What the program does: every value is checked, and has its default where nobody set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The HTTP server.
    pub http: HttpConfig,
    /// What is written about the work.
    pub log: LogConfig,
    /// The bounds of the loop. `shutdown_timeout` is their `drain_timeout`.
    pub limits: Limits,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens; at least one place.
    pub listen: Vec<ListenConfig>,
    /// Who is told how the program is doing.
    pub api: Api,
    /// Folders whose files are served; none: the built-in welcome page.
    pub folders: Vec<FolderConfig>,
    /// Paths that are elsewhere now.
    pub redirects: Vec<RedirectConfig>,
}

/// What is written about the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How much the program says.
    pub level: Level,
    /// A line for each request.
    pub access: access::Format,
    /// Where these lines go.
    pub access_to: Output,
}

/// Who is answered at `/api/v1/`: its pages name the peers of every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Nobody.
    Off,
    /// Peers on this machine: a loopback address, or a Unix socket.
    Local,
    /// Everybody who reaches the server.
    All,
}

/// Where lines are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The standard output.
    Stdout,
    /// The standard error stream, among the program's own lines.
    Stderr,
    /// The end of that file.
    File(PathBuf),
}

/// How much the program says, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Failures only.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what the program does: the default.
    Info,
    /// And why it does it.
    Debug,
    /// And everything else.
    Trace,
}

impl Api {
    /// Whether a peer there is answered; one without an address is on a Unix socket.
    pub fn admits(self, peer: Option<IpAddr>) -> bool {
        match self {
            Api::Off => false,
            Api::Local => peer.is_none_or(|ip| ip.to_canonical().is_loopback()),
            Api::All => true,
        }
    }
}

impl Level {
    /// Every level with its name, from the least to the most.
    pub const ALL: [(&'static str, Level); 5] = [
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("info", Level::Info),
        ("debug", Level::Debug),
        ("trace", Level::Trace),
    ];

    /// The level that many steps up (or, negative, down), as far as there are steps.
    pub fn step(self, by: i32) -> Self {
        let last = Self::ALL.len() as i64 - 1;
        let index = (self as i64 + i64::from(by)).clamp(0, last);
        Self::ALL[index as usize].1
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            http: HttpConfig {
                // This machine only: a server that nobody configured must not be reachable from outside.
                listen: vec![ListenConfig { url: "http://127.0.0.1:8080".into(), ..ListenConfig::default() }],
                api: Api::Local,
                folders: Vec::new(),
                redirects: Vec::new(),
            },
            log: LogConfig { level: Level::Info, access: access::Format::Common, access_to: Output::Stdout },
            limits: Limits::new().drain_timeout(Duration::from_secs(10)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_for_this_machine_unless_asked() {
        let table = [
            (Some("127.0.0.1"), true),
            (Some("::1"), true),
            (Some("::ffff:127.0.0.1"), true),
            (None, true),
            (Some("192.168.1.5"), false),
            (Some("::ffff:10.0.0.1"), false),
            (Some("fe80::1"), false),
        ];
        for (peer, is_local) in table {
            let peer: Option<IpAddr> = peer.map(|peer| peer.parse().expect(peer));
            assert_eq!(Config::default().http.api.admits(peer), is_local, "{peer:?}");
            assert!(Api::All.admits(peer) && !Api::Off.admits(peer), "{peer:?}");
        }
    }

    #[test]
    fn levels_step_and_stop_at_the_ends() {
        assert_eq!(Level::Info.step(1), Level::Debug);
        assert_eq!(Level::Info.step(99), Level::Trace);
        assert_eq!(Level::Info.step(i32::MAX), Level::Trace);
        assert_eq!(Level::Info.step(-1), Level::Warn);
        assert_eq!(Level::Info.step(i32::MIN), Level::Error);
    }
}

//! The configuration: a TOML file, environment variables and flags, each value with its origin.
//!
//! Start with [`Loader`]: it is fed the sources from the weakest to the strongest and answers [`Loaded`], or every
//! problem it found, each with its place. The table in `keys.rs` is the one place of what can be set: a new key is a
//! field of [`Config`] and a row there. Nothing here panics, whatever the file holds.

mod find;
mod keys;
mod loader;
mod suggest;
mod value;

pub use find::{Chosen, Surroundings, choose, read};
pub use keys::{Key, key};
pub use loader::{Loaded, Loader, Origin, Problems};
pub use value::{Problem, Raw, Value};

use std::path::PathBuf;
use std::time::Duration;

use crate::app::access;
use crate::options::Limits;

/// What the program does: every value is checked, and has its default where nobody set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long connections may take to finish after SIGTERM; then they are closed.
    pub shutdown_timeout: Duration,
    /// The HTTP server.
    pub http: HttpConfig,
    /// What is written about the work.
    pub log: LogConfig,
    /// Bounds of the whole program.
    pub limits: LimitsConfig,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// URLs to listen on; at least one.
    pub listen: Vec<String>,
    /// The folder whose files are served; `None`: the built-in welcome page.
    pub root: Option<PathBuf>,
    /// The file that answers for a folder.
    pub index: String,
    /// Bounds of one connection.
    pub limits: HttpLimits,
}

/// Bounds of one HTTP connection: those of [`Limits`] that a person may want to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of a request line with its header fields.
    pub head_max: usize,
    /// Header fields of a request.
    pub headers_max: usize,
    /// Bytes of a request target.
    pub target_max: usize,
    /// Bytes of a request body.
    pub body_max: usize,
    /// Requests on one connection; `None`: no bound.
    pub requests_max: Option<u32>,
    /// Bytes per second that a peer sends or takes while a message is under way.
    pub rate_floor: u32,
    /// From the first byte of a head to its last.
    pub head_timeout: Duration,
    /// Silence between two requests.
    pub idle_timeout: Duration,
}

/// What is written about the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// How much the program says.
    pub level: Level,
    /// A line for each request.
    pub access: access::Format,
}

/// Bounds of the whole program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Connections open at once.
    pub connections_max: usize,
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

impl Config {
    /// The bounds of the loop: its own, but for those that are set here.
    pub fn limits(&self) -> Limits {
        let HttpLimits {
            head_max,
            headers_max,
            target_max,
            body_max,
            requests_max,
            rate_floor,
            head_timeout,
            idle_timeout,
        } = self.http.limits;
        Limits::new()
            .connections_max(self.limits.connections_max)
            .head_max(head_max)
            .headers_max(headers_max)
            .target_max(target_max)
            .body_max(body_max)
            .requests_max(requests_max)
            .rate_floor(rate_floor)
            .head_timeout(head_timeout)
            .idle_timeout(idle_timeout)
    }
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::new();
        Self {
            shutdown_timeout: Duration::from_secs(10),
            http: HttpConfig {
                // This machine only: a server that nobody configured must not be reachable from outside.
                listen: vec!["http://127.0.0.1:8080".into()],
                root: None,
                index: "index.html".into(),
                limits: HttpLimits {
                    head_max: limits.head_max,
                    headers_max: limits.headers_max,
                    target_max: limits.target_max,
                    body_max: limits.body_max,
                    requests_max: limits.requests_max,
                    rate_floor: limits.rate_floor,
                    head_timeout: limits.head_timeout,
                    idle_timeout: limits.idle_timeout,
                },
            },
            log: LogConfig { level: Level::Info, access: access::Format::Common },
            limits: LimitsConfig { connections_max: limits.connections_max },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_configured_is_as_the_loop_has_it() {
        assert_eq!(Config::default().limits(), Limits::new());
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

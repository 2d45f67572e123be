//! The configuration: a TOML file, environment variables and flags, each value with its origin.
//!
//! Start with [`Loader`]: it is fed the sources from the weakest to the strongest and answers [`Loaded`], or every
//! problem it found, each with its place. The tables in `keys.rs` and `items.rs` are the one place of what can be set: a new
//! key is a field of [`Config`] and a row there, from which the loader, `vansire check` and `docs/config.md` follow. Nothing
//! here panics, whatever the file holds.

mod find;
pub(super) mod items;
mod keys;
mod loader;
mod print;
mod slot;
mod suggest;
mod value;
mod verify;

pub use find::{Chosen, Surroundings, choose, read};
pub use items::{FolderConfig, ListenConfig, MqttListenConfig, RedirectConfig};
pub use loader::{Loaded, Loader, Origin, Problems};
pub use print::reference;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::app::access;
use crate::broker::Overflow;
pub use crate::broker::access::Anonymous;
use crate::options::Limits;

/// What the program does: every value is checked, and has its default where nobody set it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The HTTP server.
    pub http: HttpConfig,
    /// The MQTT broker.
    pub mqtt: MqttConfig,
    /// The clock.
    pub time: TimeConfig,
    /// The local network.
    pub mdns: MdnsConfig,
    /// What is written about the work.
    pub log: LogConfig,
    /// The bounds of the loop. `shutdown_timeout` is their `drain_timeout`.
    pub limits: Limits,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens; nowhere: there is none.
    pub listen: Vec<ListenConfig>,
    /// Who is told how the program is doing.
    pub api: Api,
    /// The file with the token of those who may use the API from elsewhere; empty: nobody may.
    pub api_token_file: PathBuf,
    /// Folders whose files are served; none: the built-in welcome page.
    pub folders: Vec<FolderConfig>,
    /// Paths that are elsewhere now.
    pub redirects: Vec<RedirectConfig>,
}

/// The MQTT broker. What its fields do is told by their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // The words of `broker::Options`.
pub struct MqttConfig {
    /// Where it listens; nowhere: there is none.
    pub listen: Vec<MqttListenConfig>,
    /// Clients without a user name; `None`: as the broker has it.
    pub anonymous: Option<Anonymous>,
    /// Empty: nobody's name is checked.
    pub password_file: PathBuf,
    /// Empty: who may connect may do anything.
    pub acl_file: PathBuf,
    pub packet_max: u32,
    pub connect_timeout: Duration,
    pub keep_alive_max: Option<Duration>,
    pub inflight_max: u16,
    pub topic_alias_max: u16,
    pub sessions_max: usize,
    pub session_expiry_max: Option<Duration>,
    pub subscriptions_max: usize,
    pub queue_messages_max: usize,
    pub queue_bytes_max: usize,
    pub queue_total_max: usize,
    pub queue_overflow: Overflow,
    pub retained_max: usize,
    pub retained_bytes_max: usize,
    pub sys_interval: Duration,
}

/// The clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeConfig {
    /// Who keeps it right; nobody: it is the system's.
    pub servers: Vec<String>,
    /// How often each is asked.
    pub interval: Duration,
    /// Where the time is told to others.
    pub serve: Vec<String>,
    /// The machine's clock is set as well.
    pub set_system_clock: bool,
}

/// The local network: multicast DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MdnsConfig {
    /// Others are told what the program serves.
    pub announce: bool,
    /// What it is called there.
    pub name: String,
    /// What this machine is called there; empty: as it is called anyway.
    pub host: String,
    /// On which interfaces; none: on all that others may be on.
    pub interfaces: Vec<String>,
    /// Names below `.local` are asked for there.
    pub resolve: bool,
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
    /// How long the loop may be held up before it is said by whom; zero: nobody watches.
    pub stall_after: Duration,
}

/// Who is answered at `/api/v1/`: its pages name the peers of every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Nobody.
    Off,
    /// Peers on this machine: a loopback address, or a Unix socket, and no proxy that says it asks for others.
    Local,
    /// Everybody who reaches the server.
    All,
    /// Who has the token, wherever he is.
    Token,
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

impl Config {
    /// The URLs of every listener.
    pub fn listen_urls(&self) -> impl Iterator<Item = &str> {
        let http = self.http.listen.iter().map(|listen| &*listen.url);
        let mqtt = self.mqtt.listen.iter().map(|listen| &*listen.url);
        http.chain(mqtt).chain(self.time.serve.iter().map(|url| &**url))
    }
}

impl Api {
    /// Whether a peer without the token is answered that is on this machine, or is not.
    pub fn admits(self, is_here: bool) -> bool {
        match self {
            Api::Off | Api::Token => false,
            Api::Local => is_here,
            Api::All => true,
        }
    }
}

/// Whether a peer there is on this machine; one without an address is on a Unix socket.
pub fn is_here(peer: Option<IpAddr>) -> bool {
    peer.is_none_or(|ip| ip.to_canonical().is_loopback())
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
    #[must_use]
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
                api_token_file: PathBuf::new(),
                folders: Vec::new(),
                redirects: Vec::new(),
            },
            mqtt: MqttConfig::default(),
            time: TimeConfig {
                servers: Vec::new(),
                interval: Duration::from_secs(256),
                serve: Vec::new(),
                set_system_clock: false,
            },
            mdns: MdnsConfig {
                announce: false,
                name: "vansire".into(),
                host: String::new(),
                interfaces: Vec::new(),
                resolve: false,
            },
            log: LogConfig {
                level: Level::Info,
                access: access::Format::Common,
                access_to: Output::Stdout,
                stall_after: Duration::from_millis(250),
            },
            limits: Limits::new().drain_timeout(Duration::from_secs(10)),
        }
    }
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self {
            listen: vec![MqttListenConfig { url: "mqtt://127.0.0.1:1883".into(), mode: None }],
            anonymous: None,
            password_file: PathBuf::new(),
            acl_file: PathBuf::new(),
            packet_max: 2_000_000,
            connect_timeout: Duration::from_secs(10),
            keep_alive_max: None,
            inflight_max: 20,
            topic_alias_max: 10,
            sessions_max: 100_000,
            session_expiry_max: None,
            subscriptions_max: 50_000,
            queue_messages_max: 1_000,
            queue_bytes_max: 64 << 20,
            queue_total_max: 256 << 20,
            queue_overflow: Overflow::DropNewest,
            retained_max: 1_000_000,
            retained_bytes_max: 256 << 20,
            sys_interval: Duration::from_secs(10),
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
            assert_eq!(Config::default().http.api.admits(is_here(peer)), is_local, "{peer:?}");
            assert!(Api::All.admits(is_here(peer)), "{peer:?}");
            assert!(!Api::Off.admits(is_here(peer)) && !Api::Token.admits(is_here(peer)), "{peer:?}");
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

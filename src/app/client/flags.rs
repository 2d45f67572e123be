//! The flags of the connection, and what they ask for.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

use super::properties::{self, Extra};
use crate::error::{Error, Kind, Result};
use crate::mqtt::{ClientOptions, QoS, Reconnect, Version, Will};
use crate::net::Url;
use crate::options::{ConnectOptions, Limits};
use crate::proto::mqtt::topic::check_topic;

/// The flags that `pub` and `sub` share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Connection")]
pub struct ClientFlags {
    /// The server's name or address [default: localhost]
    #[arg(short = 'h', long, value_name = "HOST", allow_hyphen_values = true)]
    host: Option<String>,

    /// Its port [default: 1883]
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,

    /// User, password, host, port and topic in one: mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port", "unix"])]
    url: Option<Hidden>,

    /// Connect to this Unix socket
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    unix: Option<String>,

    /// The address of this machine to come from
    #[arg(short = 'A', value_name = "ADDRESS")]
    bind: Option<IpAddr>,

    /// The user name
    #[arg(short, long, value_name = "NAME", allow_hyphen_values = true)]
    username: Option<String>,

    /// The password; others on this machine can see it in the list of processes, so rather give --pw-file, or the variable
    /// VANSIRE_MQTT_PASSWORD
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD", allow_hyphen_values = true)]
    password: Option<Hidden>,

    /// Read the password from the first line of this file
    #[arg(long = "pw-file", value_name = "FILE", conflicts_with = "password")]
    password_file: Option<PathBuf>,

    /// The version of MQTT: mqttv31, mqttv311 or mqttv5; also 31, 311, 5 [default: mqttv311]
    #[arg(short = 'V', long, value_name = "VERSION", hide_possible_values = true, ignore_case = true)]
    protocol_version: Option<ProtocolVersion>,

    /// The client's name; without it the server chooses one
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true)]
    id: Option<String>,

    /// The client's name is this, and the number of the process
    #[arg(short = 'I', long, value_name = "PREFIX", allow_hyphen_values = true, conflicts_with = "id")]
    id_prefix: Option<String>,

    /// Seconds without a word after which the server is told that the client is still there; 0: never
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,

    /// Keep the session: the server goes on with an earlier one, and keeps it after the end; needs -i
    #[arg(short = 'c', long)]
    disable_clean_session: bool,

    /// Seconds that the session outlives its connection, with -V 5; -1: for ever, the default with -c
    #[arg(short = 'x', value_name = "SECONDS", allow_hyphen_values = true, value_parser = expiry)]
    session_expiry: Option<u32>,

    /// Messages of QoS 1 and 2 under way at once [default: 20]
    #[arg(short = 'M', value_name = "MESSAGES", value_parser = clap::value_parser!(u16).range(1..))]
    inflight_max: Option<u16>,

    /// Send small packets at once; always on
    #[arg(long)]
    nodelay: bool,

    /// A property of MQTT 5: a command, an identifier and a value (of user-property a name and a value); may be repeated
    #[arg(
        short = 'D', long = "property", num_args = 3..=4, value_names = ["COMMAND", "PROPERTY", "VALUE"],
        action = ArgAction::Append, allow_negative_numbers = true
    )]
    properties: Vec<String>,

    /// Where the server publishes a will when this client is gone without a word
    #[arg(long, value_name = "TOPIC", allow_hyphen_values = true, help_heading = "Will")]
    will_topic: Option<String>,

    /// The will's message [default: an empty one]
    #[arg(long, value_name = "MESSAGE", allow_hyphen_values = true, requires = "will_topic", help_heading = "Will")]
    will_payload: Option<OsString>,

    /// The will's quality of service [default: 0]
    #[arg(long, value_name = "QOS", value_parser = qos, requires = "will_topic", help_heading = "Will")]
    will_qos: Option<QoS>,

    /// The will is retained
    #[arg(long, requires = "will_topic", help_heading = "Will")]
    will_retain: bool,

    /// Say on stderr what happens
    #[arg(short, long)]
    pub(super) debug: bool,

    /// Say nothing of what goes wrong
    #[arg(long)]
    pub(super) quiet: bool,

    /// Print this help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// What is not to be printed, also not where arguments are.
#[derive(Clone, PartialEq, Eq)]
struct Hidden(OsString);

impl From<OsString> for Hidden {
    fn from(text: OsString) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolVersion {
    #[value(name = "mqttv31", alias = "31")]
    V31,
    #[value(name = "mqttv311", alias = "311")]
    V311,
    #[value(name = "mqttv5", aliases = ["5", "50"])]
    V5,
}

/// A quality of service from the command line.
pub(super) fn qos(text: &str) -> std::result::Result<QoS, &'static str> {
    text.parse().ok().and_then(QoS::from_u8).ok_or("it is 0, 1 or 2")
}

/// Seconds that a session lasts.
fn expiry(text: &str) -> std::result::Result<u32, &'static str> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "it is a number of seconds up to 4294967294, or -1 for ever"),
    }
}

/// A connection as the flags ask for it.
pub(super) struct Dial {
    pub(super) to: ConnectOptions,
    pub(super) options: ClientOptions,
    pub(super) version: Version,
    /// The topic that came with the URL.
    pub(super) topic: Option<String>,
    pub(super) extra: Extra,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    Publish,
    Subscribe,
}

impl ClientFlags {
    /// What to connect to and how. `password` is the environment's. Fails with what is wrong with the flags.
    pub(super) fn dial(&self, job: Job, password: Option<OsString>) -> Result<Dial> {
        let extra = properties::parse(&self.properties, job)?;
        let version = self.version();
        let (url, topic) = self.url()?;
        let mut options = ClientOptions::new()
            .version(version)
            .client_id(self.client_id(version, &extra)?)
            .clean_start(!self.disable_clean_session)
            .keep_alive(Duration::from_secs(self.keepalive.into()));
        if let Some(expiry) = self.expiry(&extra).filter(|_| version.is_5()) {
            options = options.session_expiry(Duration::from_secs(expiry.into()));
        }
        options = self.credentials(options, &url, password)?;
        for property in extra.connect.as_properties() {
            options = options.property(property).map_err(|e| bad(format!("-D connect: {e}")))?;
        }
        if let Some(topic) = &self.will_topic {
            check_topic(topic).map_err(|e| bad(format!("--will-topic {topic:?}: {e}")))?;
            let payload = self.will_payload.clone().unwrap_or_default().into_encoded_bytes();
            let (qos, retain) = (self.will_qos.unwrap_or_default(), self.will_retain);
            let will = Will { qos, retain, properties: extra.will.as_properties(), ..Will::new(topic, &payload) };
            options = options.will(&will).map_err(|e| bad(format!("the will: {e}")))?;
        } else if !extra.will.as_properties().is_empty() {
            return Err(bad("-D will: there is no will without --will-topic"));
        }
        let mut to = ConnectOptions::new(url).limits(self.limits(&extra));
        if let Some(ip) = self.bind {
            to = to.local_addr(SocketAddr::new(ip, 0));
        }
        Ok(Dial { to, options, version, topic, extra })
    }

    /// Properties exist in 5.0 only: with them it is 5.0, whatever else is said, as with mosquitto's programs.
    fn version(&self) -> Version {
        match self.protocol_version {
            _ if !self.properties.is_empty() => Version::Mqtt5,
            Some(ProtocolVersion::V31) => Version::Mqtt31,
            Some(ProtocolVersion::V311) | None => Version::Mqtt311,
            Some(ProtocolVersion::V5) => Version::Mqtt5,
        }
    }

    /// The server, and the topic that stands behind it.
    fn url(&self) -> Result<(String, Option<String>)> {
        if let Some(path) = &self.unix {
            return Ok((format!("mqtt+unix:{}", percent(path)), None));
        }
        let Some(Hidden(url)) = &self.url else {
            let host = self.host.as_deref().unwrap_or("localhost");
            // What could be taken for another part of a URL is no host.
            if host.is_empty() || host.contains(['/', '@', '?', '#']) {
                return Err(bad("-h: it is the name or address of a host; a URL is for -L"));
            }
            let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
            let host = if is_bare_ipv6 { format!("[{host}]") } else { host.to_owned() };
            return Ok((format!("mqtt://{host}:{}", self.port.unwrap_or(1883)), None));
        };
        let url = url.to_str().ok_or_else(|| bad("-L: the URL is not UTF-8"))?;
        // The topic is taken as it is written: mosquitto decodes nothing in it, and `#` is no fragment.
        let (server, topic) = match url.split_once("://") {
            Some((scheme, rest)) => match rest.split_once('/') {
                Some((server, topic)) => (format!("{scheme}://{server}"), topic),
                None => (url.to_owned(), ""),
            },
            None => (url.to_owned(), ""),
        };
        Url::parse(&server).map_err(|e| Error::with_source(e.kind(), "-L", e))?;
        if topic.is_empty() {
            return Err(bad("-L: the topic is missing; write mqtt://HOST[:PORT]/TOPIC"));
        }
        Ok((server, Some(topic.to_owned())))
    }

    fn client_id(&self, version: Version, extra: &Extra) -> Result<String> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let number = std::process::id();
        if let Some(prefix) = &self.id_prefix {
            return Ok(format!("{prefix}{number}"));
        }
        if self.disable_clean_session {
            return Err(bad("-c: a session is kept under a name; give one with -i"));
        }
        if version.is_5() && self.expiry(extra) == Some(u32::MAX) {
            return Err(bad("-x: a session is kept for ever under a name only; give one with -i"));
        }
        // 3.1 has no servers that choose (MQTT-3.1.3-6 is of 3.1.1).
        Ok(if version == Version::Mqtt31 { format!("vansire-{number}") } else { String::new() })
    }

    fn expiry(&self, extra: &Extra) -> Option<u32> {
        self.session_expiry.or(extra.session_expiry).or(self.disable_clean_session.then_some(u32::MAX))
    }

    fn credentials(&self, options: ClientOptions, url: &str, variable: Option<OsString>) -> Result<ClientOptions> {
        let url = Url::parse(url)?;
        let username = self.username.as_deref().or(url.user());
        let password = match (&self.password, &self.password_file) {
            (Some(Hidden(password)), _) => Some(password.clone().into_encoded_bytes()),
            (None, Some(path)) => Some(first_line(path)?),
            (None, None) => match url.password() {
                Some(password) => Some(password.as_bytes().to_vec()),
                // It is for a user: who names none is not to be known by a variable left over.
                None => variable.filter(|_| username.is_some()).map(OsString::into_encoded_bytes),
            },
        };
        let mut options = options;
        if let Some(username) = username {
            options = options.username(username);
        }
        if let Some(password) = password {
            options = options.password(password);
        }
        Ok(options)
    }

    /// Bounds that fit a program of one purpose: what it is given it sends, what it is sent it takes.
    fn limits(&self, extra: &Extra) -> Limits {
        let usual = if self.version().is_5() { u16::MAX } else { 20 };
        Limits::new()
            .mqtt_packet_max(extra.packet_max.map_or(PACKET_MAX, |max| max as usize))
            // A 5.0 server says what it takes itself, and mosquitto 2.0 at times sends more than it was told: it is not held to
            // a bound that nobody asked for.
            .mqtt_inflight_max(self.inflight_max.or(extra.receive_max).unwrap_or(usual))
            .mqtt_aliases_max(extra.aliases_max.unwrap_or(10))
            .mqtt_queued_bytes_max(usize::MAX / 2)
            .write_max(usize::MAX / 2)
            .drain_timeout(Duration::from_secs(3600))
    }

    /// Flags that have no meaning in this version of MQTT: mosquitto's programs ignore them, and say nothing.
    pub(super) fn without_meaning(&self, version: Version) -> Option<&'static str> {
        (!version.is_5() && self.session_expiry.is_some()).then_some("-x means nothing without -V 5")
    }
}

/// How `sub`, and `pub` with many messages, come back after a lost connection.
pub(super) const RECONNECT: Reconnect = Reconnect { min: Duration::from_secs(1), max: Duration::from_secs(30) };

/// The variable that a password is read from.
pub(in crate::app) const PASSWORD_VARIABLE: &str = "VANSIRE_MQTT_PASSWORD";

/// The longest packet there is.
pub(super) const PACKET_MAX: usize = 5 + 268_435_455;

pub(super) fn bad(what: impl Into<String>) -> Error {
    Error::new(Kind::BadValue, what)
}

fn first_line(path: &PathBuf) -> Result<Vec<u8>> {
    let mut text = fs::read(path).map_err(|e| Error::io(format!("--pw-file: cannot read {}", path.display()), e))?;
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    text.truncate(end);
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    if text.is_empty() {
        return Err(bad(format!("--pw-file: the first line of {} is empty", path.display())));
    }
    Ok(text)
}

/// A path as it stands in a URL.
fn percent(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '%' | '?' | '#' | ' ' => out.push_str(&format!("%{:02X}", c as u32)),
            _ => out.push(c),
        }
    }
    out
}

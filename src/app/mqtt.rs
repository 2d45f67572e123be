//! The broker of the program: made from the configuration, and what it says of its clients.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::config::{Anonymous, Level, MqttConfig};
use super::counted;
use super::log::Log;
use crate::broker::access::{AccessFiles, FileAccess};
use crate::broker::{Broker, Event, Options, Parting, Stats};
use crate::error::Result;
use crate::proto::mqtt::{ReasonCode, Version};

/// Who may do what. Fails where a file cannot be read, or understood.
pub(super) fn access(config: &MqttConfig) -> Result<FileAccess> {
    let mut files = AccessFiles::new();
    if !config.password_file.as_os_str().is_empty() {
        files = files.passwords(&config.password_file);
    }
    if !config.acl_file.as_os_str().is_empty() {
        files = files.acl(&config.acl_file);
    }
    if let Some(anonymous) = config.anonymous {
        files = files.anonymous(anonymous);
    }
    files.load()
}

/// What is wrong with each of these files, by its key.
pub(super) fn check(config: &MqttConfig) -> Vec<(&'static str, String)> {
    let alone = [
        ("mqtt.password_file", MqttConfig { password_file: config.password_file.clone(), ..MqttConfig::default() }),
        ("mqtt.acl_file", MqttConfig { acl_file: config.acl_file.clone(), ..MqttConfig::default() }),
    ];
    alone.iter().filter_map(|(key, config)| Some((*key, access(config).err()?.to_string()))).collect()
}

/// Whether users or rules stand in files, which can be read again.
pub(super) fn has_files(config: &MqttConfig) -> bool {
    [&config.password_file, &config.acl_file].iter().any(|path| !path.as_os_str().is_empty())
}

/// Whether nobody on another machine is let in, whoever reaches the broker.
pub(super) fn is_for_here(config: &MqttConfig) -> bool {
    let has_users = !config.password_file.as_os_str().is_empty();
    !has_users && config.anonymous != Some(Anonymous::Always)
}

/// The broker. What happens to its clients is written down as far as the level says.
pub(super) fn broker(config: &MqttConfig, access: &FileAccess, level: Level, log: Rc<Log>) -> Broker {
    let mut limits = Limits::of(config);
    let tell = move |event: &Event| {
        if let Some(line) = limits.line(event).filter(|_| level >= Level::Warn) {
            log.note(line);
        }
        if level_of(event) <= level {
            log.note(line(event));
        }
    };
    Broker::new(options(config).access(access.clone()).on_event(tell))
}

fn options(config: &MqttConfig) -> Options {
    Options::new()
        .packet_max(config.packet_max)
        .connect_timeout(config.connect_timeout)
        .keep_alive_max(config.keep_alive_max.unwrap_or(Duration::MAX))
        .inflight_max(config.inflight_max)
        .topic_alias_max(config.topic_alias_max)
        .sessions_max(config.sessions_max)
        .session_expiry_max(config.session_expiry_max.unwrap_or(Duration::MAX))
        .subscriptions_max(config.subscriptions_max)
        .queue_messages_max(config.queue_messages_max)
        .queue_bytes_max(config.queue_bytes_max)
        .queue_total_max(config.queue_total_max)
        .overflow(config.queue_overflow)
        .retained_max(config.retained_max)
        .retained_bytes_max(config.retained_bytes_max)
        .sys_interval(config.sys_interval)
}

/// Says which limit bites, each at most once in [`AGAIN`].
struct Limits {
    sessions_max: usize,
    retained_max: usize,
    sessions_told: Option<Instant>,
    retained_told: Option<Instant>,
}

const AGAIN: Duration = Duration::from_secs(3600);

impl Limits {
    fn of(config: &MqttConfig) -> Self {
        let (sessions_max, retained_max) = (config.sessions_max, config.retained_max);
        Self { sessions_max, retained_max, sessions_told: None, retained_told: None }
    }

    fn line(&mut self, event: &Event) -> Option<String> {
        let (told, line) = match event {
            Event::Refused { client, reason: ReasonCode::QuotaExceeded } => {
                let line = format!(
                    "mqtt: {client:?} was refused: there are mqtt.limits.sessions_max ({}) sessions; more are not told for an hour",
                    self.sessions_max
                );
                (&mut self.sessions_told, line)
            }
            Event::NotRetained { topic } => {
                let line = format!(
                    "mqtt: the retained message of {topic:?} is not kept: mqtt.limits.retained_max ({}) or retained_bytes_max is \
                     reached; more are not told for an hour",
                    self.retained_max
                );
                (&mut self.retained_told, line)
            }
            _ => return None,
        };
        if told.is_some_and(|at| at.elapsed() < AGAIN) {
            return None;
        }
        *told = Some(Instant::now());
        Some(line)
    }
}

fn level_of(event: &Event) -> Level {
    match event {
        Event::Denied { .. } => Level::Warn,
        // Before 5.0 the client itself is not told why.
        Event::Disconnected { why: Parting::Ended(_), .. } => Level::Info,
        Event::Connected { .. }
        | Event::NotRetained { .. }
        | Event::Refused { .. }
        | Event::Disconnected { .. }
        | Event::SessionEnded { .. } => Level::Debug,
    }
}

/// A line about it. What clients have chosen is quoted: none can forge a line.
fn line(event: &Event) -> String {
    match event {
        Event::Connected { client, remote, version, session_present, .. } => {
            let from = remote.map_or_else(|| "a Unix socket".into(), |remote| remote.to_string());
            let goes_on = if *session_present { ", with its session" } else { "" };
            format!("mqtt: {client:?} connected from {from}, MQTT {}{goes_on}", version_name(*version))
        }
        Event::Refused { client, reason } => format!("mqtt: {client:?} was refused: {reason}"),
        Event::Disconnected { client, why } => match why {
            Parting::Disconnect(ReasonCode::Success) => format!("mqtt: {client:?} disconnected"),
            Parting::Disconnect(reason) => format!("mqtt: {client:?} disconnected: {reason}"),
            Parting::Lost => format!("mqtt: {client:?} is gone without a word"),
            Parting::Ended(reason) => format!("mqtt: {client:?} was disconnected: {reason}"),
        },
        Event::SessionEnded { client } => format!("mqtt: the session of {client:?} is over"),
        Event::NotRetained { topic } => {
            format!("mqtt: the retained message of {topic:?} is not kept: there is no room")
        }
        Event::Denied { client, username, action, topic, rule } => {
            let user = username.as_ref().map_or_else(|| "no user name".into(), |name| format!("user {name:?}"));
            let topic = if topic.is_empty() { String::new() } else { format!(" {topic:?}") };
            format!("mqtt: {client:?} ({user}) may not {}{topic}: {rule}", action.word())
        }
    }
}

/// What a broker holds that the end of the program ends, in words; none where it holds nothing.
pub(super) fn in_memory(stats: &Stats) -> Option<String> {
    let sessions = (stats.sessions > 0).then(|| {
        let queued = match stats.queued {
            0 => String::new(),
            queued => format!(" with {}", counted(queued as u64, "queued message")),
        };
        format!("{}{queued}", counted(stats.sessions as u64, "session"))
    });
    let retained = (stats.retained > 0).then(|| counted(stats.retained as u64, "retained message"));
    let all: Vec<String> = sessions.into_iter().chain(retained).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// A version as people know it.
pub(super) fn version_name(version: Version) -> &'static str {
    match version {
        Version::Mqtt31 => "3.1",
        Version::Mqtt311 => "3.1.1",
        Version::Mqtt5 => "5.0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Action;

    #[test]
    fn the_defaults_are_the_brokers_own() {
        assert_eq!(format!("{:?}", options(&MqttConfig::default())), format!("{:?}", Options::new()));
    }

    #[test]
    fn who_is_cut_off_is_named_with_the_reason() {
        for (why, level, expected) in [
            (Parting::Ended(ReasonCode::PacketTooLarge), Level::Info, "was disconnected: Packet too large (0x95)"),
            (Parting::Disconnect(ReasonCode::Success), Level::Debug, "disconnected"),
            (Parting::Lost, Level::Debug, "is gone without a word"),
        ] {
            let event = Event::Disconnected { client: "c".into(), why };
            assert_eq!(level_of(&event), level, "{event:?}");
            assert_eq!(line(&event), format!("mqtt: \"c\" {expected}"));
        }
    }

    #[test]
    fn what_is_denied_is_one_line_that_nobody_forges() {
        let denied = Event::Denied {
            client: "c\nvansire: all is well".into(),
            username: Some("u".into()),
            action: Action::Publish,
            topic: "a/b".into(),
            rule: "line 3".into(),
        };
        assert_eq!(level_of(&denied), Level::Warn);
        assert_eq!(line(&denied), r#"mqtt: "c\nvansire: all is well" (user "u") may not publish "a/b": line 3"#);
    }
}

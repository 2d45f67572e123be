//! `$SYS`: the broker's own figures as retained messages, under mosquitto's names.
//!
//! They are there while somebody subscribes to them, a client or the program, and computed at the moment somebody begins to: otherwise they
//! cost nothing, not even a timer. They take no room of other retained messages, and no store is told of them.

use std::time::Duration;

use crate::proto::mqtt::{Properties, QoS};
use crate::time::Moment;

use super::core::{Core, Sink};
use super::events::Stats;
use super::message::Publication;

/// When `$SYS` is due, and what the averages need.
#[derive(Debug)]
pub(super) struct Sys {
    pub(super) due: Moment,
    subscribers: usize,
    last: Moment,
    counted: [f64; RATES.len()],
    averages: [[f64; WINDOWS.len()]; RATES.len()],
}

impl Default for Sys {
    fn default() -> Self {
        Self {
            due: Moment::NEVER,
            subscribers: 0,
            last: Moment::START,
            counted: [0.0; RATES.len()],
            averages: [[0.0; WINDOWS.len()]; RATES.len()],
        }
    }
}

type Figure = fn(&Stats) -> u64;

/// What there is, by name below `$SYS/broker/`.
const FIGURES: &[(&str, Figure)] = &[
    ("clients/total", |stats| stats.sessions as u64),
    ("clients/maximum", |stats| stats.clients_connected_max as u64),
    ("clients/connected", |stats| stats.clients_connected as u64),
    ("clients/active", |stats| stats.clients_connected as u64),
    ("clients/disconnected", |stats| (stats.sessions - stats.clients_connected.min(stats.sessions)) as u64),
    ("clients/inactive", |stats| (stats.sessions - stats.clients_connected.min(stats.sessions)) as u64),
    ("clients/expired", |stats| stats.expired_sessions),
    ("messages/received", |stats| stats.packets_in),
    ("messages/sent", |stats| stats.packets_out),
    ("messages/stored", |stats| (stats.retained + stats.queued) as u64),
    ("store/messages/count", |stats| (stats.retained + stats.queued) as u64),
    ("store/messages/bytes", |stats| (stats.retained_bytes + stats.queued_bytes) as u64),
    ("subscriptions/count", |stats| stats.subscriptions as u64),
    ("shared_subscriptions/count", |stats| stats.shared_subscriptions as u64),
    ("retained messages/count", |stats| stats.retained as u64),
    ("publish/messages/received", |stats| stats.publish_in),
    ("publish/messages/sent", |stats| stats.publish_out),
    ("publish/messages/dropped", |stats| stats.dropped.total()),
    ("publish/bytes/received", |stats| stats.publish_bytes_in),
    ("publish/bytes/sent", |stats| stats.publish_bytes_out),
    ("bytes/received", |stats| stats.bytes_in),
    ("bytes/sent", |stats| stats.bytes_out),
];

/// What there is of it in a minute, on average; by name below `$SYS/broker/load/`.
const RATES: [(&str, Figure); 9] = [
    ("messages/received", |stats| stats.packets_in),
    ("messages/sent", |stats| stats.packets_out),
    ("publish/received", |stats| stats.publish_in),
    ("publish/sent", |stats| stats.publish_out),
    ("publish/dropped", |stats| stats.dropped.total()),
    ("bytes/received", |stats| stats.bytes_in),
    ("bytes/sent", |stats| stats.bytes_out),
    ("sockets", |stats| stats.connected + stats.refused),
    ("connections", |stats| stats.connected),
];

const WINDOWS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

impl Core {
    /// A client wants to know: what is retained, and then what changes. The first one finds all there is.
    pub(super) fn sys_subscribed(&mut self, now: Moment) {
        self.sys.subscribers += 1;
        if self.sys.subscribers == 1 && self.bounds.sys_interval > Duration::ZERO {
            self.tell_sys(now, None);
        }
    }

    /// The program does, where the time is not known: as soon as it is.
    pub(super) fn sys_wanted(&mut self) {
        self.sys.subscribers += 1;
        if self.sys.subscribers == 1 && self.bounds.sys_interval > Duration::ZERO {
            self.sys.due = Moment::START;
        }
    }

    /// With the last one the figures go: they would become wrong.
    pub(super) fn sys_unsubscribed(&mut self) {
        self.sys.subscribers = self.sys.subscribers.saturating_sub(1);
        if self.sys.subscribers == 0 {
            self.sys.due = Moment::NEVER;
            for name in names() {
                self.retained.remove(&topic(&name));
            }
        }
    }

    /// Publishes what has changed.
    pub(super) fn publish_sys(&mut self, now: Moment, sink: &mut dyn Sink) {
        self.tidy_locals();
        if self.sys.subscribers > 0 {
            self.tell_sys(now, Some(sink));
        }
    }

    /// ... or, without a sink, has it there for the first who comes.
    fn tell_sys(&mut self, now: Moment, mut sink: Option<&mut dyn Sink>) {
        self.sys.due = now.after(self.bounds.sys_interval.max(Duration::from_millis(100)));
        let mut tell = |core: &mut Self, name: &str, value: &str| core.tell_figure(name, value, now, &mut sink);
        let (before, stats) = (self.stats, self.stats());
        tell(self, "version", &format!("vansire {}", env!("CARGO_PKG_VERSION")));
        tell(self, "uptime", &format!("{} seconds", now.since(Moment::START).as_secs()));
        for (name, figure) in FIGURES {
            tell(self, name, &figure(&stats).to_string());
        }
        let seconds = now.since(self.sys.last).as_secs_f64();
        self.sys.last = now;
        for (at, (name, figure)) in RATES.iter().enumerate() {
            let count = figure(&stats) as f64;
            let Some(counted) = self.sys.counted.get_mut(at) else { continue };
            let in_a_minute = if seconds > 0.0 { (count - *counted) * 60.0 / seconds } else { 0.0 };
            *counted = count;
            for (window, (label, length)) in WINDOWS.iter().enumerate() {
                let Some(average) = self.sys.averages.get_mut(at).and_then(|all| all.get_mut(window)) else { continue };
                let kept = (-seconds / length).exp();
                *average = in_a_minute + kept * (*average - in_a_minute);
                let text = format!("{:.2}", *average);
                tell(self, &format!("load/{name}/{label}"), &text);
            }
        }
        // What is said of the traffic is not part of it.
        (self.stats.publish_in, self.stats.publish_bytes_in) = (before.publish_in, before.publish_bytes_in);
    }

    fn tell_figure(&mut self, name: &str, value: &str, now: Moment, sink: &mut Option<&mut dyn Sink>) {
        let topic = topic(name);
        if self.retained.get(&topic).is_some_and(|last| last.payload() == value.as_bytes()) {
            return;
        }
        let publication = Publication {
            topic: &topic,
            payload: value.as_bytes(),
            properties: Properties::default(),
            qos: QoS::AtMostOnce,
            retain: true,
            expires: Moment::NEVER,
        };
        match sink {
            Some(sink) => {
                self.route(None, &publication, now, *sink);
                self.ticket = None;
            }
            None => self.retained.set(publication.keep()),
        }
    }
}

fn topic(name: &str) -> String {
    format!("$SYS/broker/{name}")
}

/// Of all figures.
fn names() -> impl Iterator<Item = String> {
    let plain = ["version", "uptime"].into_iter().chain(FIGURES.iter().map(|(name, _)| *name)).map(str::to_owned);
    let rates =
        RATES.iter().flat_map(|(name, _)| WINDOWS.iter().map(move |(window, _)| format!("load/{name}/{window}")));
    plain.chain(rates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Names that mosquitto has, and that are not here, with the reason.
    const LEFT_OUT: &[(&str, &str)] = &[
        ("connection/#", "the states of bridges: there are none"),
        (
            "heap/current",
            "what mosquitto's own allocator counts, where it is built with that; the program's is not ours to count",
        ),
        ("heap/current size", "another name for it, in the manual alone"),
        ("heap/maximum", "as heap/current"),
        ("heap/maximum size", "another name for it, in the manual alone"),
        ("messages/inflight", "in the manual alone: mosquitto 2.0 does not publish it"),
    ];

    #[test]
    fn the_names_are_mosquittos_but_for_those_that_have_a_reason() {
        let file = include_str!("tests/mosquitto_sys.txt");
        let theirs: BTreeSet<_> = file.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        let ours: BTreeSet<_> = names().collect();
        let left_out: BTreeSet<_> = LEFT_OUT.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(ours.difference(&theirs).collect::<Vec<_>>(), Vec::<&String>::new(), "nobody looks for these");
        assert_eq!(theirs.difference(&ours).cloned().collect::<BTreeSet<_>>(), left_out);
    }
}

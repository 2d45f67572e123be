//! `vansire sub`: subscribes, and prints what comes.

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::flags::{ClientFlags, Dial, Job, PASSWORD_VARIABLE, RECONNECT, bad, qos};
use super::format::{Format, Line, NotJson};
use super::properties::Extra;
use super::{ending, tell};
use crate::app::note;
use crate::error::Result;
use crate::event::{CloseReason, Event};
use crate::id::ConnId;
use crate::manager::{Ctx, Manager, Net};
use crate::mqtt::{
    AckId, Acks, Disconnect, Properties, Publish, QoS, ReasonCode, RetainHandling, SubAck, Subscription, Token, Version,
};
use crate::proto::mqtt::topic::{check_filter, matches};

/// The flags of `sub`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct SubscribeFlags {
    /// A filter to subscribe to, like plant/# or plant/+/state; may be repeated
    #[arg(short, long, value_name = "FILTER", allow_hyphen_values = true)]
    topic: Vec<String>,

    /// Do not print messages whose topics match this filter; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER", allow_hyphen_values = true)]
    filter_out: Vec<String>,

    /// Unsubscribe from this filter; may be repeated
    #[arg(short = 'U', long, value_name = "FILTER", allow_hyphen_values = true)]
    unsubscribe: Vec<String>,

    /// The best quality of service that messages come with: 0, 1 or 2 [default: 0]
    #[arg(short, long, value_name = "QOS", value_parser = qos, allow_hyphen_values = true)]
    qos: Option<QoS>,

    /// End after so many messages
    #[arg(short = 'C', value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..), allow_hyphen_values = true)]
    count: Option<u64>,

    /// End after so many seconds, with exit code 27
    #[arg(short = 'W', value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..), allow_hyphen_values = true)]
    timeout: Option<u32>,

    /// End as soon as the server has taken the subscriptions
    #[arg(short = 'E')]
    exit_after_subscribe: bool,

    /// Do not print retained messages
    #[arg(short = 'R')]
    no_retained: bool,

    /// Print retained messages only, and end with the first other one
    #[arg(long, conflicts_with = "no_retained")]
    retained_only: bool,

    /// Have the server forget the retained messages that come, all but those of -T
    #[arg(long)]
    remove_retained: bool,

    /// Leave the retain flag of messages as it was published, with -V 5
    #[arg(long)]
    retain_as_published: bool,

    /// Print the topic before the message
    #[arg(short, long)]
    verbose: bool,

    /// Print messages like this: see below
    #[arg(short = 'F', value_name = "FORMAT", allow_hyphen_values = true)]
    format: Option<String>,

    /// Print %j and %J in several lines
    #[arg(long)]
    pretty: bool,

    /// Print no line feed behind a message
    #[arg(short = 'N')]
    no_line_feed: bool,

    #[command(flatten)]
    client: ClientFlags,
}

/// What `vansire sub --help` says below the flags.
pub(in crate::app) const HELP: &str = "\
Examples:
  vansire sub -t 'plant/#' -v
  vansire sub -h broker.lan -u me --pw-file secret -t plant/7/state -C 1 -W 5
  vansire sub -t 'plant/#' -F '%I %t %x'
  vansire sub -t 'old/#' --remove-retained --retained-only -W 2

Format (-F): %t topic, %p payload, %x and %X payload in hexadecimal, %l its length, %q QoS, %r 1 where retained, %m packet
  identifier, %I time, %U seconds since 1970, %j all as JSON, %J with the payload as the JSON that it is; of MQTT 5 %C content
  type, %R response topic, %D correlation data, %E expiry, %F payload format, %P user properties, %S subscription identifiers,
  %A topic alias; @Y-@m-@d @H:@M:@S.@N and others of strftime, in UTC and English; %% @@ \\\\ \\0 \\a \\e \\n \\r \\t \\v. Between %
  and its letter may stand - (to the left), 0 (zeros), a width, and for %t %C %R a point and the longest width: %-20.20t.

A message of QoS 1 or 2 is acknowledged when it is printed. A lost connection is made again; the first one has to succeed.

Exit codes: 0 ended by -C, -E, --retained-only, SIGINT or SIGTERM, or its reader is gone; 27 the time of -W is over; of a
  connection that the server refuses the code of CONNACK (1 to 5; with -V 5 128 and more), of one that it ends for good that of
  DISCONNECT; of a refusal of all subscriptions its reason code, where mosquitto_sub says 0; 1 anything else.";

pub(in crate::app) fn main(flags: &SubscribeFlags) -> ExitCode {
    match subscribe(flags) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            crate::app::complain(&error);
            ExitCode::from(ending::FAILED)
        }
    }
}

struct State {
    flags: SubscribeFlags,
    filters: Vec<String>,
    format: Format,
    line: Line,
    extra: Extra,
    version: Version,
    is_open: bool,
    is_timed: bool,
    /// Messages that are still wanted.
    left: Option<u64>,
    printed: Vec<u8>,
    /// What is acknowledged once it is printed.
    acks: Vec<AckId>,
    /// What the server has been asked and has not answered.
    waiting: HashSet<Token>,
    conn: Option<ConnId>,
    /// The exit code, once the end is near.
    code: Option<u8>,
    has_left: bool,
}

fn subscribe(flags: &SubscribeFlags) -> Result<u8> {
    let mut dial = flags.client.dial(Job::Subscribe, std::env::var_os(PASSWORD_VARIABLE))?;
    let mut filters: Vec<String> = dial.topic.take().into_iter().collect();
    filters.extend(flags.topic.iter().cloned());
    if filters.is_empty() {
        return Err(bad("-t: the filter to subscribe to is missing"));
    }
    for (flag, filters) in [("-t", &filters), ("-U", &flags.unsubscribe), ("-T", &flags.filter_out)] {
        for filter in filters {
            check_filter(filter).map_err(|e| bad(format!("{flag} {filter:?}: {e}")))?;
        }
    }
    let format = match &flags.format {
        Some(format) => Format::parse(format)?,
        None if flags.verbose => Format::Verbose,
        None => Format::Payload,
    };
    if let Some(what) = flags.client.without_meaning(dial.version) {
        tell(flags.client.quiet, &what);
    }
    if flags.retain_as_published && !dial.version.is_5() {
        tell(flags.client.quiet, &"--retain-as-published means nothing without -V 5");
    }
    let Dial { to, options, version, extra, .. } = dial;
    let mut manager = Manager::new(State {
        flags: flags.clone(),
        filters,
        format,
        line: Line { ends: !flags.no_line_feed, pretty: flags.pretty },
        extra,
        version,
        is_open: false,
        is_timed: false,
        left: flags.count,
        printed: Vec::new(),
        acks: Vec::new(),
        waiting: HashSet::new(),
        conn: None,
        code: None,
        has_left: false,
    })?;
    let options = options.acks(Acks::Manual).reconnect(RECONNECT);
    let conn = manager.net().mqtt_connect(to, options, State::told)?;
    manager.state_mut().conn = Some(conn);
    manager.on_turn(State::finish_turn);
    manager.run()?;
    Ok(manager.state().code.unwrap_or(0))
}

impl State {
    fn told(cx: &mut Ctx<'_, Self>, ev: Event<'_>) {
        let quiet = cx.state.flags.client.quiet;
        match ev {
            Event::Connected => Self::start_timeout(cx),
            Event::MqttOpened(conn_ack) => {
                let is_first = !std::mem::replace(&mut cx.state.is_open, true);
                cx.state.debug(|| {
                    format!("connected, session {}", if conn_ack.session_present { "present" } else { "new" })
                });
                // Whose session is there again has its subscriptions; at first they may have been others.
                if is_first || !conn_ack.session_present {
                    Self::ask(cx);
                }
            }
            Event::MqttRefused(conn_ack) => {
                cx.state.code = Some(ending::of_refusal(conn_ack.reason, cx.state.version));
                tell(quiet, &ending::refusal(conn_ack));
            }
            Event::MqttSubscribed { token, ack } => {
                cx.state.waiting.remove(&token);
                cx.state.subscribed(ack);
                cx.state.answered();
            }
            Event::MqttUnsubscribed { token, .. } => {
                cx.state.waiting.remove(&token);
                cx.state.debug(|| "unsubscribed".into());
                cx.state.answered();
            }
            Event::MqttDelivered { token, .. } => {
                cx.state.waiting.remove(&token);
                cx.state.answered();
            }
            Event::MqttFailed { token, why } => {
                cx.state.waiting.remove(&token);
                tell(quiet, &why);
                cx.state.answered();
            }
            // What comes behind the last one that is wanted is not acknowledged, and comes again where the session is kept.
            Event::MqttMessage(message, ack) if cx.state.code.is_none() => {
                Self::take(cx, message);
                cx.state.acks.extend(ack);
            }
            Event::MqttLost { reason, retry_in } => {
                // What was not acknowledged comes again.
                cx.state.acks.clear();
                if cx.state.is_open {
                    tell(quiet, &format!("{reason}; again in {retry_in:.1?}"));
                } else {
                    cx.state.code = Some(ending::of_end(reason, cx.state.version));
                    tell(quiet, reason);
                    cx.close();
                }
            }
            Event::Closed(reason) => {
                let code = match (cx.state.code, &reason) {
                    (Some(code), _) => code,
                    (None, CloseReason::Local | CloseReason::Stopped) => 0,
                    (None, reason) => {
                        tell(quiet, reason);
                        ending::of_end(reason, cx.state.version)
                    }
                };
                cx.state.code = Some(code);
                cx.net.stop();
            }
            _ => {}
        }
    }

    /// `-W` counts from the first connection on, through all that follow.
    fn start_timeout(cx: &mut Ctx<'_, Self>) {
        let Some(seconds) = cx.state.flags.timeout else { return };
        if std::mem::replace(&mut cx.state.is_timed, true) {
            return;
        }
        cx.timer_after(Duration::from_secs(seconds.into()), |cx| {
            if cx.state.code.is_none() {
                tell(cx.state.flags.client.quiet, &"the time of -W is over");
                cx.state.code = Some(ending::TIMED_OUT);
            }
        });
    }

    /// Says what is wanted.
    fn ask(cx: &mut Ctx<'_, Self>) {
        let (conn, state) = (cx.conn, &mut *cx.state);
        let is_5 = state.version.is_5();
        let subscriptions: Vec<Subscription<'_>> = state
            .filters
            .iter()
            .map(|filter| Subscription {
                retain_as_published: is_5 && state.flags.retain_as_published,
                retain_handling: RetainHandling::Send,
                ..Subscription::new(filter, state.flags.qos.unwrap_or_default())
            })
            .collect();
        let of = |buf| if is_5 { buf } else { Properties::default() };
        let mut asked = vec![cx.net.subscribe_with(conn, &subscriptions, of(state.extra.subscribe.as_properties()))];
        if !state.flags.unsubscribe.is_empty() {
            let filters: Vec<&str> = state.flags.unsubscribe.iter().map(String::as_str).collect();
            asked.push(cx.net.unsubscribe_with(conn, &filters, of(state.extra.unsubscribe.as_properties())));
        }
        for asked in asked {
            match asked {
                Ok(token) => _ = state.waiting.insert(token),
                Err(error) => state.fail(&error),
            }
        }
    }

    fn subscribed(&mut self, ack: &SubAck<'_>) {
        let mut refused = None;
        let mut granted = false;
        for (filter, reason) in self.filters.iter().zip(ack.reasons.iter()) {
            if reason.is_error() {
                refused = Some(reason);
                tell(self.flags.client.quiet, &format!("the server refused the subscription to {filter:?}: {reason}"));
            } else {
                granted = true;
                self.debug(|| format!("subscribed to {filter:?}: {reason}"));
            }
        }
        if let (Some(reason), false) = (refused, granted) {
            self.code = Some(reason.to_u8());
        }
    }

    /// With `-E` the last answer is the end: retained messages that stand behind it are not for this run.
    fn answered(&mut self) {
        if self.flags.exit_after_subscribe && self.waiting.is_empty() && self.code.is_none() {
            self.code = Some(0);
        }
    }

    /// A message has come: prints it, if it is to be.
    fn take(cx: &mut Ctx<'_, Self>, message: &Publish<'_>) {
        let state = &mut *cx.state;
        if state.flags.retained_only && !message.retain {
            state.code = Some(0);
            return;
        }
        let is_filtered = state.flags.filter_out.iter().any(|filter| matches(filter, message.topic));
        if is_filtered {
            return;
        }
        if state.flags.remove_retained && message.retain && !message.payload.is_empty() {
            let clear = Publish { qos: QoS::AtLeastOnce, retain: true, ..Publish::new(message.topic, b"") };
            match cx.net.publish(cx.conn, &clear) {
                Ok(token) => state.waiting.extend(token),
                Err(error) => tell(state.flags.client.quiet, &error),
            }
        }
        if state.flags.no_retained && message.retain {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if let Err(NotJson) = state.format.write(message, now, &state.line, &mut state.printed) {
            tell(state.flags.client.quiet, &format!("the message of {:?} is not JSON", message.topic));
        }
        if let Some(left) = &mut state.left {
            *left -= 1;
            if *left == 0 {
                state.code = Some(0);
            }
        }
    }

    /// Prints what has come in this turn, acknowledges it, and leaves when nothing more is to be done.
    fn finish_turn(&mut self, net: &mut Net<'_, Self>) {
        let Some(conn) = self.conn else { return };
        if !self.printed.is_empty() {
            let mut out = io::stdout().lock();
            let written = out.write_all(&self.printed).and_then(|()| out.flush());
            self.printed.clear();
            if self.printed.capacity() > PRINTED_MAX {
                self.printed = Vec::new();
            }
            if let Err(error) = written {
                // What nobody has read is not acknowledged.
                self.acks.clear();
                match error.kind() {
                    io::ErrorKind::BrokenPipe => self.code = Some(0),
                    _ => self.fail(&format!("cannot write to stdout: {error}")),
                }
            }
        }
        for ack in self.acks.drain(..) {
            // Its connection is gone: then it comes again.
            let _ = net.mqtt_ack(conn, ack);
        }
        // What is to be cleared is cleared before the end, unless that is a failure.
        let is_done = self.code == Some(0) && self.waiting.is_empty() || self.code.is_some_and(|code| code > 0);
        if is_done && !self.has_left {
            self.has_left = true;
            self.leave(net, conn);
        }
    }

    fn leave(&self, net: &mut Net<'_, Self>, conn: ConnId) {
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        if self.version.is_5() {
            disconnect.properties = self.extra.disconnect.as_properties();
            if self.code == Some(ending::TIMED_OUT) {
                // As mosquitto_sub: it has not ended because all is well.
                disconnect.reason = ReasonCode::DisconnectWithWill;
            }
        }
        if net.mqtt_disconnect(conn, disconnect).is_err() {
            net.close(conn);
        }
    }

    fn fail(&mut self, why: &dyn std::fmt::Display) {
        tell(self.flags.client.quiet, why);
        self.code = Some(ending::FAILED);
    }

    fn debug(&self, what: impl FnOnce() -> String) {
        if self.flags.client.debug {
            note(&what());
        }
    }
}

/// Memory for what is printed that is kept from one turn to the next.
const PRINTED_MAX: usize = 1024 * 1024;

//! `vansire pub`: publishes a message, or a message for each line of its input.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Args;

use super::flags::{ClientFlags, Dial, Job, PACKET_MAX, PASSWORD_VARIABLE, RECONNECT, bad, qos};
use super::properties::Extra;
use super::{ending, tell};
use crate::app::note;
use crate::error::{Error, Result};
use crate::event::{CloseReason, Event};
use crate::id::ConnId;
use crate::manager::{Ctx, Manager, Net};
use crate::mqtt::{Disconnect, Failure, Properties, Publish, QoS, ReasonCode, Token, Version};
use crate::proto::mqtt::topic::check_topic;
use crate::reactor::Waker;

/// The flags of `pub`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct PublishFlags {
    /// The topic to publish to
    #[arg(short, long, value_name = "TOPIC", allow_hyphen_values = true)]
    topic: Option<String>,

    /// The message
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true, group = "payload")]
    message: Option<OsString>,

    /// The message is what the file holds
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true, group = "payload")]
    file: Option<PathBuf>,

    /// Each line of stdin is a message
    #[arg(short = 'l', long, group = "payload")]
    stdin_line: bool,

    /// All of stdin is one message
    #[arg(short = 's', long, group = "payload")]
    stdin_file: bool,

    /// An empty message: with -r it clears what is retained
    #[arg(short, long, group = "payload")]
    null_message: bool,

    /// The quality of service: 0, 1 or 2 [default: 0]
    #[arg(short, long, value_name = "QOS", value_parser = qos, allow_hyphen_values = true)]
    qos: Option<QoS>,

    /// The server keeps the message for those who subscribe later
    #[arg(short, long)]
    retain: bool,

    /// Publish the message so many times
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "stdin_line", allow_hyphen_values = true)]
    repeat: Option<u64>,

    /// Seconds between two times, like 0.5
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    repeat_delay: Option<Duration>,

    #[command(flatten)]
    client: ClientFlags,
}

/// What `vansire pub --help` says below the flags.
pub(in crate::app) const HELP: &str = "\
Examples:
  vansire pub -t plant/7/temperature -m 21.5
  vansire pub -h broker.lan -u me --pw-file secret -t plant/7/state -m on -r -q 1
  sensors | vansire pub -t plant/7/log -l
  vansire pub -t plant/7/ask -m now -D publish response-topic plant/7/answer

Properties (-D): connect, publish, disconnect and will have those that MQTT 5 gives them, under mosquitto's names; -D turns
  on -V 5. topic-alias is accepted and has no effect: topics are given their aliases by themselves.

Exit codes: 0 all is sent, and at QoS 1 and 2 acknowledged; of a connection that the server refuses the code of CONNACK (1 to 5;
  with -V 5 128 and more), of one that it ends that of DISCONNECT; of a message that it refuses its reason code, where mosquitto_pub
  says 0; 7 the connection was lost; 1 anything else.";

fn seconds(text: &str) -> std::result::Result<Duration, &'static str> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|delay| *delay < Duration::from_secs(366 * 86_400)).ok_or("it is a number of seconds")
}

pub(in crate::app) fn main(flags: &PublishFlags) -> ExitCode {
    match publish(flags) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            crate::app::complain(&error);
            ExitCode::from(ending::FAILED)
        }
    }
}

/// The messages, one after the other.
enum Source {
    One { payload: Vec<u8>, left: u64, delay: Duration, is_due: bool },
    Lines(Receiver<io::Result<Vec<u8>>>),
}

enum Next<'a> {
    Message(Cow<'a, [u8]>),
    /// There will be more.
    Later,
    End,
    Failed(io::Error),
}

struct State {
    source: Source,
    topic: String,
    qos: QoS,
    retain: bool,
    extra: Extra,
    version: Version,
    quiet: bool,
    debug: bool,
    conn: Option<ConnId>,
    is_open: bool,
    /// Bytes of the longest message so far.
    longest: usize,
    waiting: HashSet<Token>,
    /// What the server has refused.
    refused: Option<u8>,
    /// Set once the client has said what it had to say.
    code: Option<u8>,
}

fn publish(flags: &PublishFlags) -> Result<u8> {
    let mut dial = flags.client.dial(Job::Publish, std::env::var_os(PASSWORD_VARIABLE))?;
    let topic = flags.topic.clone().or(dial.topic.take()).ok_or_else(|| bad("-t: the topic is missing"))?;
    check_topic(&topic).map_err(|e| bad(format!("-t {topic:?}: {e}")))?;
    let (lines, reader) = if flags.stdin_line {
        let (lines, reader) = sync_channel(LINES_MAX);
        (Some(lines), Some(reader))
    } else {
        (None, None)
    };
    let source = match reader {
        Some(reader) => Source::Lines(reader),
        None => Source::One {
            payload: flags.payload()?,
            left: flags.repeat.unwrap_or(1),
            delay: flags.repeat_delay.unwrap_or_default(),
            is_due: true,
        },
    };
    let (quiet, debug) = (flags.client.quiet, flags.client.debug);
    if let Some(what) = flags.client.without_meaning(dial.version) {
        tell(quiet, &what);
    }
    let Dial { to, mut options, version, extra, .. } = dial;
    if lines.is_some() {
        options = options.reconnect(RECONNECT);
    }
    let mut manager = Manager::new(State {
        source,
        topic,
        qos: flags.qos.unwrap_or_default(),
        retain: flags.retain,
        extra,
        version,
        quiet,
        debug,
        conn: None,
        is_open: false,
        longest: 0,
        waiting: HashSet::new(),
        refused: None,
        code: None,
    })?;
    let conn = manager.net().mqtt_connect(to, options, State::told)?;
    manager.state_mut().conn = Some(conn);
    manager.on_turn(State::pump);
    if let Some(lines) = lines {
        let waker = manager.waker();
        let reader = thread::Builder::new().name("vansire-lines".into());
        reader.spawn(move || read_lines(lines, &waker, conn)).map_err(|e| Error::io("cannot start a thread", e))?;
    }
    manager.run()?;
    Ok(manager.state().code.unwrap_or(ending::FAILED))
}

impl PublishFlags {
    /// The one message. Fails when there is none, or it cannot be read.
    fn payload(&self) -> Result<Vec<u8>> {
        if let Some(message) = &self.message {
            return Ok(message.clone().into_encoded_bytes());
        }
        if let Some(path) = &self.file {
            let failed = |e| Error::io(format!("-f: cannot read {}", path.display()), e);
            return read_all(File::open(path).map_err(failed)?).map_err(failed);
        }
        if self.stdin_file {
            let failed = |e| Error::io("-s: cannot read stdin", e);
            let bytes = read_all(io::stdin().lock()).map_err(failed)?;
            return if bytes.is_empty() {
                Err(bad("-s: stdin is empty; -n publishes an empty message"))
            } else {
                Ok(bytes)
            };
        }
        if self.null_message {
            return Ok(Vec::new());
        }
        Err(bad("the message is missing: -m TEXT, -f FILE, -l, -s or -n"))
    }
}

/// No packet can hold more than that, and no memory what comes from an endless file.
fn read_all(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(PACKET_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > PACKET_MAX {
        return Err(too_long());
    }
    Ok(bytes)
}

fn read_lines(lines: SyncSender<io::Result<Vec<u8>>>, waker: &Waker, conn: ConnId) {
    let mut input = BufReader::new(io::stdin());
    loop {
        let mut line = Vec::new();
        let read = match input.by_ref().take(PACKET_MAX as u64 + 1).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(read) if read > PACKET_MAX => Err(too_long()),
            Ok(_) => Ok(()),
            Err(e) => Err(e),
        };
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let is_over = read.is_err();
        if lines.send(read.map(|()| line)).is_err() || is_over {
            break;
        }
        // Nobody to wake: then nobody waits for it either.
        let _ = waker.wakeup(conn, b"");
    }
    // The end of the lines has to be seen as well.
    drop(lines);
    let _ = waker.wakeup(conn, b"");
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is longer than 268435455 bytes, which is what MQTT can hold")
}

impl Source {
    fn next(&mut self) -> Next<'_> {
        match self {
            Self::One { left: 0, .. } => Next::End,
            Self::One { is_due: false, .. } => Next::Later,
            Self::One { payload, left, delay, is_due } => {
                *left -= 1;
                *is_due = delay.is_zero();
                Next::Message(Cow::Borrowed(payload))
            }
            Self::Lines(lines) => match lines.try_recv() {
                Ok(Ok(line)) => Next::Message(Cow::Owned(line)),
                Ok(Err(e)) => Next::Failed(e),
                Err(TryRecvError::Empty) => Next::Later,
                Err(TryRecvError::Disconnected) => Next::End,
            },
        }
    }

    /// When the next one is due, if it is not yet.
    fn pause(&self) -> Option<Duration> {
        match self {
            Self::One { left: 1.., delay, is_due: false, .. } => Some(*delay),
            _ => None,
        }
    }
}

impl State {
    /// Publishes what there is and has room, and ends when everything has arrived.
    fn pump(&mut self, net: &mut Net<'_, Self>) {
        let Some(conn) = self.conn.filter(|_| self.is_open && self.code.is_none()) else { return };
        loop {
            let Some((queued, inflight)) = net.mqtt_backlog(conn) else { return };
            let backlog = queued + inflight;
            if backlog >= BACKLOG_MAX || backlog.saturating_mul(self.longest) >= BACKLOG_BYTES_MAX {
                return;
            }
            match self.source.next() {
                Next::Message(payload) => {
                    let properties =
                        if self.version.is_5() { self.extra.publish.as_properties() } else { Properties::default() };
                    let (qos, retain) = (self.qos, self.retain);
                    let publish = Publish { qos, retain, properties, ..Publish::new(&self.topic, &payload) };
                    if self.debug {
                        note(&format!("publishing {} bytes to {:?}, QoS {}", payload.len(), self.topic, qos.to_u8()));
                    }
                    self.longest = self.longest.max(payload.len());
                    match net.publish(conn, &publish) {
                        Ok(token) => self.waiting.extend(token),
                        Err(error) => return self.give_up(net, conn, &error),
                    }
                    if let Some(delay) = self.source.pause() {
                        net.timer_after(delay, |cx| {
                            if let Source::One { is_due, .. } = &mut cx.state.source {
                                *is_due = true;
                            }
                        });
                    }
                }
                Next::Later => return,
                Next::Failed(error) => return self.give_up(net, conn, &format!("cannot read stdin: {error}")),
                Next::End if backlog + self.waiting.len() > 0 => return,
                Next::End => {
                    self.code = Some(self.refused.unwrap_or(0));
                    return self.leave(net, conn);
                }
            }
        }
    }

    fn give_up(&mut self, net: &mut Net<'_, Self>, conn: ConnId, why: &dyn std::fmt::Display) {
        tell(self.quiet, why);
        self.code = Some(ending::FAILED);
        self.leave(net, conn);
    }

    fn leave(&mut self, net: &mut Net<'_, Self>, conn: ConnId) {
        let mut disconnect = Disconnect::new(ReasonCode::Success);
        if self.version.is_5() {
            disconnect.properties = self.extra.disconnect.as_properties();
        }
        if let Err(error) = net.mqtt_disconnect(conn, disconnect) {
            tell(self.quiet, &error);
            self.code = Some(ending::FAILED);
            net.close(conn);
        }
    }

    fn told(cx: &mut Ctx<'_, Self>, ev: Event<'_>) {
        let state = &mut *cx.state;
        match ev {
            Event::MqttOpened(_) => {
                state.is_open = true;
                if state.debug {
                    note("connected");
                }
            }
            Event::MqttRefused(conn_ack) => {
                state.code = Some(ending::of_refusal(conn_ack.reason, state.version));
                tell(state.quiet, &ending::refusal(conn_ack));
            }
            Event::MqttDelivered { token, reason } => {
                state.waiting.remove(&token);
                if state.debug {
                    note(&match reason {
                        ReasonCode::Success => "acknowledged".into(),
                        reason => format!("acknowledged: {reason}"),
                    });
                }
            }
            Event::MqttFailed { token, why } => {
                state.waiting.remove(&token);
                state.refused = Some(match why {
                    Failure::Refused(reason) => reason.to_u8(),
                    _ => ending::LOST,
                });
                tell(state.quiet, &format!("a message was not delivered: {why}"));
            }
            Event::MqttLost { reason, retry_in } => {
                if state.is_open {
                    tell(state.quiet, &format!("{reason}; again in {retry_in:.1?}"));
                } else {
                    state.code = Some(ending::of_end(reason, state.version));
                    tell(state.quiet, reason);
                    cx.close();
                }
            }
            Event::Closed(reason) => {
                state.code = Some(state.end(&reason));
                cx.net.stop();
            }
            _ => {}
        }
    }

    /// The exit code, now that the connection is closed.
    fn end(&self, reason: &CloseReason) -> u8 {
        match (self.code, reason) {
            (Some(code), CloseReason::Local) => code,
            // At QoS 0 nothing else says that it has left; otherwise all is acknowledged.
            (Some(code), _) if code > 0 || self.qos > QoS::AtMostOnce => code,
            (None, CloseReason::Local | CloseReason::Stopped) => {
                tell(self.quiet, &"interrupted before everything had arrived");
                ending::FAILED
            }
            (_, reason) => {
                tell(self.quiet, reason);
                ending::of_end(reason, self.version)
            }
        }
    }
}

/// Lines that wait for the loop.
const LINES_MAX: usize = 64;

/// Messages that wait for the server: less than the client's queue takes.
const BACKLOG_MAX: usize = 500;

/// Bytes of those, if all were as long as the longest.
const BACKLOG_BYTES_MAX: usize = 16 * 1024 * 1024;

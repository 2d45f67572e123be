//! What is told of a run: line by line while it lasts, and how it ended.

use std::fmt;
use std::time::Duration;

/// Something that happened, and when by the world's time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The time since the world began.
    pub at: Duration,
    /// What happened.
    pub what: String,
}

/// Who is told the story.
pub type Teller = Box<dyn FnMut(&Line)>;

/// What holds whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Promise {
    /// Invariant 1.
    NoOperationDispatches,
    /// Invariants 2 and 3.
    OpenedFirstClosedLast,
    /// Invariant 4, and what HTTP adds to it.
    RepliesWholeAndInOrder,
    /// The same for our client.
    ResponsesWhole,
    /// Invariants 5 and 6.
    HandlersCounted,
    /// Datagrams come from whom they are from, and no more of them than were sent.
    Datagrams,
    /// Timers are never early, fire as often as they ought to, and keep their phase.
    Timers,
    /// Wakeups are delivered once and in order.
    Wakeups,
    /// Lookups end once, with what the name server said or an error.
    Names,
    /// The time that is told, and the time that is learnt, is right.
    Time,
    /// The broker does with each packet what the standard says: sessions, wills, subscriptions, counters.
    MqttRules,
    /// What is asked of our MQTT client ends once, as the broker says, and it comes back by itself.
    MqttClient,
    /// Nobody is given what is not for him, or the same of QoS 0 or 2 twice.
    MqttNothingElse,
    /// MQTT-4.6.0-6.
    MqttOrder,
    /// What was accepted at QoS 1 and 2 arrives, or is counted.
    MqttNothingLost,
    /// What is retained converges, and is told to new subscriptions.
    MqttRetained,
    /// Each message to one member of each group.
    MqttShared,
    /// Nothing grows without a bound.
    Bounds,
    /// All comes to its end.
    Ends,
    /// Then nothing is left: no connection, timer, socket, handler, session, message.
    NothingLeft,
    /// Nothing panics but the handlers that are to.
    NoPanic,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub promise: Promise,
    /// What was seen.
    pub what: String,
    /// When, by the world's time.
    pub at: Duration,
}

/// What a run that held has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How long it took, by the world's time.
    pub took: Duration,
    /// Turns of the server's loop.
    pub turns: u64,
    /// Steps of the plan.
    pub steps: usize,
    /// HTTP requests that were served.
    pub requests: u64,
    /// MQTT messages that the broker routed.
    pub messages: u64,
    /// Datagrams that the server got.
    pub datagrams: u64,
    /// Connections that the server accepted.
    pub accepted: u64,
    /// Connections that were cut off, at the server's end.
    pub resets: u64,
    /// Times that the server had no descriptor for who waited.
    pub accept_stalls: u64,
}

impl Summary {
    /// Counts another run.
    pub fn add(&mut self, other: &Self) {
        self.took += other.took;
        self.turns += other.turns;
        self.steps += other.steps;
        self.requests += other.requests;
        self.messages += other.messages;
        self.datagrams += other.datagrams;
        self.accepted += other.accepted;
        self.resets += other.resets;
        self.accept_stalls += other.accept_stalls;
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.6}  {}", self.at.as_secs_f64(), self.what)
    }
}

impl Promise {
    /// The promise, in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoOperationDispatches => "no operation dispatches",
            Self::OpenedFirstClosedLast => "Opened comes first, Closed last, each once",
            Self::RepliesWholeAndInOrder => "HTTP requests are told whole, and answered whole and in order",
            Self::ResponsesWhole => "HTTP responses are told whole and right, or as an error",
            Self::HandlersCounted => "handlers that panic or are no longer needed are counted and dropped",
            Self::Datagrams => "datagrams come from whom they are from, as often as they were sent",
            Self::Timers => "timers are never early, fire as often as they ought to, and keep their phase",
            Self::Wakeups => "wakeups are delivered once and in order",
            Self::Names => "lookups end once, with what the server said or an error",
            Self::Time => "the time that is told, and the time that is learnt, is right",
            Self::MqttRules => "the MQTT broker does with each packet what the standard says",
            Self::MqttClient => "MQTT: what our client is asked for ends once and rightly, and it comes back",
            Self::MqttNothingElse => "MQTT: nobody is given what is not for him, nor the same twice at QoS 0 or 2",
            Self::MqttOrder => "MQTT: messages of a publisher come in their order",
            Self::MqttNothingLost => "MQTT: what was accepted at QoS 1 and 2 arrives, or is counted",
            Self::MqttRetained => "MQTT: what is retained converges, and is told to new subscriptions",
            Self::MqttShared => "MQTT: each message to one member of each group",
            Self::Bounds => "nothing grows without a bound",
            Self::Ends => "all comes to its end",
            Self::NothingLeft => "in the end nothing is left",
            Self::NoPanic => "nothing panics",
        }
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken after {:?}: {}: {}", self.at, self.promise, self.what)
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "held for {:?} with {} steps: {} connections, {} HTTP requests, {} MQTT messages, {} datagrams, {} resets, \
             {} times no descriptor, {} turns",
            self.took,
            self.steps,
            self.accepted,
            self.requests,
            self.messages,
            self.datagrams,
            self.resets,
            self.accept_stalls,
            self.turns
        )
    }
}

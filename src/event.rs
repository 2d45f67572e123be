//! What a handler is told.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use std::cell::Cell;

#[cfg(feature = "mqtt")]
use std::time::Duration;

use crate::error::Error;
use crate::id::ConnId;
#[cfg(feature = "http")]
use crate::proto::http;
#[cfg(feature = "mqtt")]
use crate::proto::mqtt;
#[cfg(feature = "sntp")]
use crate::proto::sntp;

/// What happened to a connection. Borrowed: nothing of it outlives the handler's call, which the compiler checks.
///
/// ```compile_fail
/// # use vansire::{Ctx, Event, Manager, http};
/// let mut kept: Option<http::Request<'static>> = None;
/// let mut manager = Manager::new(()).unwrap();
/// manager.net().listen("http://127.0.0.1:0", move |_: &mut Ctx<'_, ()>, ev: Event<'_>| {
///     if let Event::HttpRequest(request) = ev {
///         kept = Some(*request); // the request lives no longer than its event
///     }
/// });
/// ```
///
/// Order: `Opened` first, `Closed` last, each exactly once; in between in the order of the wire.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The connection, listener or socket exists. Always the first event.
    Opened,
    /// The name of the peer has been looked up; this is the first address to be tried. Comes for literal addresses too.
    Resolved(IpAddr),
    /// An outbound connection is established: bytes can flow. Told again after a redirect that `Net::fetch` follows.
    Connected,
    /// A listener accepted this connection.
    Accepted {
        /// The listener that accepted it.
        listener: ConnId,
    },
    /// Bytes from a connection without a protocol of its own.
    Data(Data<'a>),
    /// One datagram.
    Datagram {
        /// Who sent it.
        from: SocketAddr,
        /// Its payload.
        data: &'a [u8],
    },
    /// A request's head is in, its body is not read yet: the moment to choose how to take the body, or to refuse it.
    #[cfg(feature = "http")]
    HttpHead(&'a http::Request<'a>),
    /// A piece of a streamed body, of a request or of a response.
    #[cfg(feature = "http")]
    HttpBody(&'a [u8]),
    /// A whole request: answer it, or defer the answer.
    #[cfg(feature = "http")]
    HttpRequest(&'a http::Request<'a>),
    /// A response's head is in, its body is not read yet: the moment to choose how to take the body. Interim responses are
    /// not told.
    #[cfg(feature = "http")]
    HttpResponseHead(&'a http::ResponseView<'a>),
    /// A whole response: everything that its framing promised has come.
    #[cfg(feature = "http")]
    HttpResponse(&'a http::ResponseView<'a>),
    /// The server has taken this MQTT client in: it says whether it goes on with an earlier session. Told again after each
    /// `MqttLost`.
    #[cfg(feature = "mqtt")]
    MqttOpened(&'a mqtt::ConnAck<'a>),
    /// The server has not. The connection is lost.
    #[cfg(feature = "mqtt")]
    MqttRefused(&'a mqtt::ConnAck<'a>),
    /// A message, its topic said in full, and at QoS 1 and 2 what to acknowledge: that is done when the handler has returned,
    /// unless the client was made with `Acks::Manual`.
    #[cfg(feature = "mqtt")]
    MqttMessage(&'a mqtt::Publish<'a>, Option<mqtt::AckId>),
    /// A message of QoS 1 or 2 has reached the server.
    #[cfg(feature = "mqtt")]
    MqttDelivered {
        /// What [`Net::publish`](crate::Net::publish) returned.
        token: mqtt::Token,
        /// `Success`, or `NoMatchingSubscribers`.
        reason: mqtt::ReasonCode,
    },
    /// What was published, or asked, has failed.
    #[cfg(feature = "mqtt")]
    MqttFailed {
        /// What [`Net::publish`](crate::Net::publish), `subscribe` or `unsubscribe` returned.
        token: mqtt::Token,
        /// Why, and whether the server may have it all the same.
        why: mqtt::Failure,
    },
    /// The server has answered a subscription: with a reason for each filter, in their order.
    #[cfg(feature = "mqtt")]
    MqttSubscribed {
        /// What [`Net::subscribe`](crate::Net::subscribe) returned.
        token: mqtt::Token,
        /// The answer.
        ack: &'a mqtt::SubAck<'a>,
    },
    /// The server has ended subscriptions: in 5.0 with a reason for each filter.
    #[cfg(feature = "mqtt")]
    MqttUnsubscribed {
        /// What [`Net::unsubscribe`](crate::Net::unsubscribe) returned.
        token: mqtt::Token,
        /// The answer.
        ack: &'a mqtt::UnsubAck<'a>,
    },
    /// A step of an enhanced authentication: answer it with [`Net::mqtt_auth`](crate::Net::mqtt_auth), or, if it is `Success`, do
    /// not.
    #[cfg(feature = "mqtt")]
    MqttAuth(&'a mqtt::Auth<'a>),
    /// The server has ended the connection, and says why. The connection is lost.
    #[cfg(feature = "mqtt")]
    MqttDisconnected(&'a mqtt::Disconnect<'a>),
    /// The connection to the server is lost, or could not be made, and will be made again. What waits or is under way is kept.
    #[cfg(feature = "mqtt")]
    MqttLost {
        /// Why.
        reason: &'a CloseReason,
        /// After which pause.
        retry_in: Duration,
    },
    /// A time server has answered ([`Net::sntp_connect`](crate::Net::sntp_connect)).
    #[cfg(feature = "sntp")]
    SntpTime(sntp::Sample),
    /// Bytes from [`Waker::wakeup`](crate::Waker::wakeup).
    Wakeup(&'a [u8]),
    /// Output fell below the low-water mark after it had been above the high one: go on sending. Of an MQTT client also: a message was
    /// rejected because too many waited, and half of their room is free again.
    Drained,
    /// The manager was asked to stop, and this is a raw stream, which only its handler can end in order: what it sends now still leaves,
    /// then the connection drains.
    Stopping,
    /// The connection is over. Always the last event.
    Closed(CloseReason),
}

impl Event<'_> {
    /// The event's name, as it is written in this type.
    pub fn name(&self) -> &'static str {
        self.what().name()
    }

    pub(crate) fn what(&self) -> What {
        match self {
            Event::Opened => What::Opened,
            Event::Resolved(_) => What::Resolved,
            Event::Connected => What::Connected,
            Event::Accepted { .. } => What::Accepted,
            Event::Data(_) => What::Data,
            Event::Datagram { .. } => What::Datagram,
            #[cfg(feature = "http")]
            Event::HttpHead(_) => What::HttpHead,
            #[cfg(feature = "http")]
            Event::HttpBody(_) => What::HttpBody,
            #[cfg(feature = "http")]
            Event::HttpRequest(_) => What::HttpRequest,
            #[cfg(feature = "http")]
            Event::HttpResponseHead(_) => What::HttpResponseHead,
            #[cfg(feature = "http")]
            Event::HttpResponse(_) => What::HttpResponse,
            #[cfg(feature = "mqtt")]
            Event::MqttOpened(_) => What::MqttOpened,
            #[cfg(feature = "mqtt")]
            Event::MqttRefused(_) => What::MqttRefused,
            #[cfg(feature = "mqtt")]
            Event::MqttMessage(..) => What::MqttMessage,
            #[cfg(feature = "mqtt")]
            Event::MqttDelivered { .. } => What::MqttDelivered,
            #[cfg(feature = "mqtt")]
            Event::MqttFailed { .. } => What::MqttFailed,
            #[cfg(feature = "mqtt")]
            Event::MqttSubscribed { .. } => What::MqttSubscribed,
            #[cfg(feature = "mqtt")]
            Event::MqttUnsubscribed { .. } => What::MqttUnsubscribed,
            #[cfg(feature = "mqtt")]
            Event::MqttAuth(_) => What::MqttAuth,
            #[cfg(feature = "mqtt")]
            Event::MqttDisconnected(_) => What::MqttDisconnected,
            #[cfg(feature = "mqtt")]
            Event::MqttLost { .. } => What::MqttLost,
            #[cfg(feature = "sntp")]
            Event::SntpTime(_) => What::SntpTime,
            Event::Wakeup(_) => What::Wakeup,
            Event::Drained => What::Drained,
            Event::Stopping => What::Stopping,
            Event::Closed(_) => What::Closed,
        }
    }
}

macro_rules! whats {
    ($($variant:ident $name:literal)*) => {
        /// What user code is called for: an event, or something else, as a small number.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        // Which of them there are depends on the features.
        #[allow(dead_code)]
        #[repr(u8)]
        pub(crate) enum What {
            $($variant,)*
        }

        impl What {
            const NAMES: &[&str] = &[$($name,)*];
        }
    };
}

whats! {
    Opened "Opened"
    Resolved "Resolved"
    Connected "Connected"
    Accepted "Accepted"
    Data "Data"
    Datagram "Datagram"
    HttpHead "HttpHead"
    HttpBody "HttpBody"
    HttpRequest "HttpRequest"
    HttpResponseHead "HttpResponseHead"
    HttpResponse "HttpResponse"
    MqttOpened "MqttOpened"
    MqttRefused "MqttRefused"
    MqttMessage "MqttMessage"
    MqttDelivered "MqttDelivered"
    MqttFailed "MqttFailed"
    MqttSubscribed "MqttSubscribed"
    MqttUnsubscribed "MqttUnsubscribed"
    MqttAuth "MqttAuth"
    MqttDisconnected "MqttDisconnected"
    MqttLost "MqttLost"
    SntpTime "SntpTime"
    Wakeup "Wakeup"
    Drained "Drained"
    Stopping "Stopping"
    Closed "Closed"
    Timer "timer"
    Lookup "lookup"
    Turn "turn"
    With "with"
    Factory "factory"
    Drop "drop"
    Other "other"
}

impl What {
    pub(crate) fn name(self) -> &'static str {
        Self::name_of(usize::from(self.code())).unwrap_or_default()
    }

    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn name_of(code: usize) -> Option<&'static str> {
        Self::NAMES.get(code).copied()
    }
}

/// Bytes from the peer, as a slice. All of them count as used unless [`consume`](Self::consume) says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    bytes: &'a [u8],
    used: &'a Cell<usize>,
}

impl<'a> Data<'a> {
    pub(crate) fn new(bytes: &'a [u8], used: &'a Cell<usize>) -> Self {
        used.set(bytes.len());
        Self { bytes, used }
    }

    /// The bytes, for as long as the event lives.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Uses only the first `n` bytes: the rest comes again at the front of the next `Data`, once more has arrived; or, where
    /// the handler paused reading or was told `High` meanwhile, once it takes input again. For parsers that wait for the
    /// end of a message, and for handlers that cannot take all at once. More than `Limits::read_max` bytes kept this way close the
    /// connection.
    pub fn consume(&self, n: usize) {
        self.used.set(n.min(self.bytes.len()));
    }
}

impl std::ops::Deref for Data<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

/// Why a connection is over.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side asked for it: `close`, or `drain` once everything was sent.
    Local,
    /// This side gave it up for a reason of its own: [`Net::fail`](crate::Net::fail).
    Failed(Box<str>),
    /// The peer closed it in order.
    Peer,
    /// The peer cut it off, or the network did.
    Reset(io::ErrorKind),
    /// It could not be established.
    Connect(Error),
    /// Something took too long.
    TimedOut(Deadline),
    /// The peer does not read what it asked for, and the queue for it is full (`Limits::write_max`).
    SlowConsumer,
    /// More input is kept unread than `Limits::read_max`.
    ReadFull,
    /// What the peer asked was refused by the protocol's rules or a limit, and it was told so. No handler was called for the
    /// request, or none was told that it is whole: this is where it can be logged.
    Refused {
        /// The status that the peer was sent.
        status: u16,
        /// What was wrong.
        why: Box<str>,
    },
    /// The MQTT server refused the client, or ended the connection, and said why.
    #[cfg(feature = "mqtt")]
    Mqtt(mqtt::ReasonCode),
    /// The peer broke the protocol's rules where it could not be told so any more.
    Protocol(Box<str>),
    /// A handler of this connection panicked.
    HandlerPanicked,
    /// The manager stopped.
    Stopped,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::Local => f.write_str("closed by this side"),
            CloseReason::Failed(why) => write!(f, "given up: {why}"),
            CloseReason::Peer => f.write_str("closed by the peer"),
            CloseReason::Reset(kind) => write!(f, "cut off: {kind}"),
            CloseReason::Connect(e) => e.fmt(f),
            CloseReason::TimedOut(what) => write!(f, "timed out: {what}"),
            CloseReason::SlowConsumer => f.write_str("the peer reads too slowly"),
            CloseReason::ReadFull => f.write_str("too much input kept unread"),
            CloseReason::Refused { status, why } => write!(f, "refused with {status}: {why}"),
            #[cfg(feature = "mqtt")]
            CloseReason::Mqtt(reason) => write!(f, "ended by the server: {reason}"),
            CloseReason::Protocol(what) => write!(f, "protocol error: {what}"),
            CloseReason::HandlerPanicked => f.write_str("its handler panicked"),
            CloseReason::Stopped => f.write_str("the manager stopped"),
        }
    }
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deadline {
    /// Establishing the connection.
    Connect,
    /// A request's head.
    Head,
    /// A message body came in, or output went out, at less than the floor of bytes per second.
    Rate,
    /// The next request on a kept-alive connection.
    Idle,
    /// A deferred or unfinished reply, or the rest of a request that a client streams.
    Reply,
    /// The head of the response to a client's request.
    Response,
    /// The MQTT server's answer to CONNECT.
    #[cfg(feature = "mqtt")]
    ConnAck,
    /// Anything from the MQTT server after PINGREQ.
    #[cfg(feature = "mqtt")]
    Ping,
    /// The answer of a server that was asked over UDP, however often it was asked.
    Answer,
    /// Sending what was left after `drain`.
    Drain,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deadline::Connect => "connecting",
            Deadline::Head => "waiting for a request head",
            Deadline::Rate => "below the floor of bytes per second",
            Deadline::Idle => "idle",
            Deadline::Reply => "waiting for a reply to be finished",
            Deadline::Response => "waiting for a response",
            #[cfg(feature = "mqtt")]
            Deadline::ConnAck => "waiting for CONNACK",
            #[cfg(feature = "mqtt")]
            Deadline::Ping => "waiting for PINGRESP",
            Deadline::Answer => "waiting for an answer",
            Deadline::Drain => "draining",
        })
    }
}

/// The answer to queuing output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Queued; it leaves at the end of this turn.
    Queued,
    /// Queued, and the queue is above `Limits::write_high`: wait for [`Event::Drained`] before sending more.
    High,
    /// Not queued: as many datagrams wait already as may (`Limits::datagrams_max`). Wait for [`Event::Drained`].
    Full,
    /// Not queued: the connection is closed, closing or draining, or is none that bytes can be sent to.
    Gone,
    /// Not queued: it would break the protocol (a control character in a header, a body where none may be, a reply that
    /// was given already). `Response::validate` names a bad header.
    Invalid,
}

impl Sent {
    /// It was queued.
    pub fn is_queued(self) -> bool {
        matches!(self, Sent::Queued | Sent::High)
    }
}

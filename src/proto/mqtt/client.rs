//! A client, without I/O: bytes and `now` in, bytes and events out.
//!
//! A [`Client`] is one session, which may have many connections, one after the other. Its user tells it what happens
//! (`handle_*`), says what is wanted ([`publish`](Client::publish), [`subscribe`](Client::subscribe), ...), and asks what follows
//! (`poll_*`). Whatever is to be sent is appended to the `out` that each call is given.
//!
//! What is promised: everything that has a [`Token`] ends in exactly one event, [`Input::Delivered`], [`Input::Subscribed`],
//! [`Input::Unsubscribed`] or [`Input::Failed`]. A message of QoS 1 reaches the server at least once, one of QoS 2 exactly once, as long
//! as the session lives; where nobody can know, the failure says so. Messages of one quality arrive in the order in which they were
//! published. An acknowledgement leaves after [`Client::ack`], and means that the application has the message.
//!
//! `receive` has what comes, `send` what goes; `outbox` and `inbox` what is under way.

mod alias;
mod error;
mod inbox;
mod options;
mod outbox;
mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU32};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::encode::{EncodeError, encode};
use super::packet::{Auth, ConnAck, Disconnect, Packet, PacketId, Publish, QoS, SubAck, UnsubAck, Version};
use super::reason::ReasonCode;

use self::inbox::Inbox;
#[cfg(feature = "async")]
pub(crate) use self::outbox::life_left;
use self::outbox::{Bounds, Outbox};

pub use self::error::{Failure, Fault, Overdue, SendError};
pub use self::options::{Acks, ClientOptions, QueueFull, Reconnect};
pub use self::send::Room;

/// Names something that was asked of a client, until it is told what became of it. Never used twice by one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// Names a message that is to be acknowledged. Good for one connection: what was not acknowledged on it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AckId {
    id: PacketId,
    connection: u32,
}

/// Bounds of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientLimits {
    /// The longest packet that is accepted. 1 MiB.
    pub packet_max: NonZeroU32,
    /// Messages of QoS 1 and 2 under way at once, in each direction. 20.
    pub inflight_max: NonZeroU16,
    /// Topic aliases, in each direction. 10.
    pub aliases_max: u16,
    /// Messages that wait, for a connection or for room; and as many subscriptions. 1000.
    pub queued_max: usize,
    /// Bytes of messages that wait. 4 MiB.
    pub queued_bytes_max: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            packet_max: NonZeroU32::MIN.saturating_add(1024 * 1024 - 1),
            inflight_max: NonZeroU16::MIN.saturating_add(19),
            aliases_max: 10,
            queued_max: 1000,
            queued_bytes_max: 4 * 1024 * 1024,
        }
    }
}

/// What a packet of the server means to the application.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Input<'a> {
    /// Nothing: the client has dealt with it.
    Nothing,
    /// The server has taken the client in.
    Opened(ConnAck<'a>),
    /// The server has not.
    Refused(ConnAck<'a>),
    /// A message.
    Message(Arrived<'a>),
    /// A message has reached the server.
    Delivered(Token, ReasonCode),
    /// Something has come to another end.
    Failed(Token, Failure),
    /// The server has answered SUBSCRIBE.
    Subscribed(Token, SubAck<'a>),
    /// The server has answered UNSUBSCRIBE.
    Unsubscribed(Token, UnsubAck<'a>),
    /// A step of the authentication.
    Auth(Auth<'a>),
    /// The server has ended the connection.
    Disconnected(Disconnect<'a>),
}

/// A message that has come.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Arrived<'a> {
    /// The packet. Its topic is empty where only the alias was said.
    pub publish: Publish<'a>,
    /// The topic that the alias stands for.
    pub topic: Option<Rc<str>>,
    /// What to acknowledge, at QoS 1 and 2.
    pub ack: Option<AckId>,
}

/// What a server has said in CONNACK of what it takes.
#[derive(Debug, Clone, Copy)]
struct Server {
    window: usize,
    packet_max: usize,
    qos_max: QoS,
    retain: bool,
    wildcards: bool,
    shared: bool,
    subscription_ids: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            window: usize::from(u16::MAX),
            packet_max: usize::MAX,
            qos_max: QoS::ExactlyOnce,
            retain: true,
            wildcards: true,
            shared: true,
            subscription_ids: true,
        }
    }
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Offline,
    /// CONNECT has been sent.
    Connecting,
    /// CONNACK has come.
    Open,
    /// The server has ended it, or broken it.
    Ending,
    /// We have ended it, and with it everything.
    Left,
}

/// One session with a server.
#[derive(Debug)]
pub struct Client {
    options: ClientOptions,
    limits: ClientLimits,
    phase: Phase,
    /// The name that the server has given.
    assigned: Option<Box<str>>,
    /// The session of an earlier connection may still be there.
    is_resuming: bool,
    server: Server,
    outbox: Outbox,
    inbox: Inbox,
    given: alias::Given,
    taken: alias::Taken,
    keep_alive: Option<Duration>,
    /// None before the first connection.
    clock: Option<Watch>,
    /// Ends that no packet has brought.
    ended: VecDeque<(Token, Failure)>,
    last_token: u64,
    dropped: u64,
    strays: u64,
}

/// What the deadlines of a connection follow from.
#[derive(Debug, Clone, Copy)]
struct Watch {
    /// The last packet left.
    sent: Instant,
    /// The last bytes came.
    heard: Instant,
    /// PINGREQ left, and nothing has come since.
    pinged: bool,
}

impl Client {
    /// A client that has no connection yet. Fails if its CONNECT cannot be said.
    pub fn new(options: ClientOptions, limits: ClientLimits) -> Result<Self, EncodeError> {
        options.encode_connect(&options.client_id, options.clean_start, &limits, &mut Vec::new())?;
        Ok(Self {
            options,
            limits,
            phase: Phase::Offline,
            assigned: None,
            is_resuming: false,
            server: Server::default(),
            outbox: Outbox::default(),
            inbox: Inbox::default(),
            given: alias::Given::default(),
            taken: alias::Taken::default(),
            keep_alive: None,
            clock: None,
            ended: VecDeque::new(),
            last_token: 0,
            dropped: 0,
            strays: 0,
        })
    }

    /// The server has taken the client in, and the connection stands.
    pub fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// It has said DISCONNECT.
    pub fn has_left(&self) -> bool {
        self.phase == Phase::Left
    }

    /// The name: its own, or the one that the server has given it.
    pub fn client_id(&self) -> &str {
        self.assigned.as_deref().unwrap_or(&self.options.client_id)
    }

    /// Messages that wait, for a connection or for room.
    pub fn queued(&self) -> usize {
        self.outbox.queued()
    }

    /// Messages of QoS 1 and 2 that have been sent and are not acknowledged.
    pub fn inflight(&self) -> usize {
        self.outbox.inflight()
    }

    /// Everything that was asked has been answered.
    pub fn is_at_rest(&self) -> bool {
        self.outbox.is_empty() && self.ended.is_empty()
    }

    /// Messages dropped by the policy for full queues, of all qualities.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Acknowledgements of what was never sent, which were ignored.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// How the connection is to be made again, if it is.
    pub fn reconnect(&self) -> Option<Reconnect> {
        self.options.reconnect
    }

    /// When messages are acknowledged.
    pub fn acks(&self) -> Acks {
        self.options.acks
    }

    /// There are ends to be told: [`poll_event`](Self::poll_event).
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.ended.is_empty()
    }

    /// A message was rejected because too many waited, and half of their room is free now: true once.
    #[inline]
    pub fn takes_more(&mut self) -> bool {
        let bounds = self.bounds();
        self.outbox.takes_more(&bounds)
    }

    /// Something waits for room: [`pump`](Self::pump).
    #[inline]
    pub fn has_work(&self) -> bool {
        self.phase == Phase::Open && self.outbox.has_work()
    }

    fn version(&self) -> Version {
        self.options.version
    }

    // ---- the life of a connection

    /// A connection stands: says CONNECT.
    pub fn handle_connected(&mut self, now: Instant, out: &mut Vec<u8>) {
        let lasting = self.options.has_lasting_session();
        // Before 5.0 the flag also decides what becomes of the session; so it stays what it was.
        let clean = if self.is_resuming && lasting { false } else { self.options.clean_start };
        // It was encoded once, when the client was made; an assigned name is the server's own.
        if self.options.encode_connect(self.client_id(), clean, &self.limits, out).is_err() {
            self.assigned = None;
            _ = self.options.encode_connect(&self.options.client_id, clean, &self.limits, out);
        }
        self.phase = Phase::Connecting;
        self.clock = Some(Watch { sent: now, heard: now, pinged: false });
        self.keep_alive = keep_alive(self.options.keep_alive);
        self.server = Server::default();
        self.taken.begin();
        self.given.begin(0);
    }

    /// The connection is gone, or there will be none. What waits and what is under way is kept for the next.
    pub fn handle_lost(&mut self) {
        self.phase = Phase::Offline;
        self.inbox.end_connection();
    }

    /// There will be no further connection: what is not done has failed, which [`poll_event`](Self::poll_event) tells.
    pub fn handle_end(&mut self) {
        self.handle_lost();
        let (nameless, ended) = self.outbox.end();
        self.dropped += nameless;
        self.ended.extend(ended);
    }

    /// Bytes have come, whole packets or not: the server is alive.
    pub fn handle_heard(&mut self, now: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.heard = now;
        }
    }

    /// What comes is not looked at, so nobody can say that the server is silent. Pings go on: it must not take us for dead.
    pub fn handle_deaf(&mut self, now: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.heard = now;
            clock.pinged = false;
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let clock = self.clock?;
        match self.phase {
            Phase::Offline | Phase::Ending | Phase::Left => None,
            // Bytes that make no packet do not move it.
            Phase::Connecting => clock.sent.checked_add(self.options.connack_timeout),
            Phase::Open if clock.pinged => clock.heard.max(clock.sent).checked_add(self.options.ping_timeout),
            // Also what only receives has to speak, and what only speaks has to listen.
            Phase::Open => clock.heard.min(clock.sent).checked_add(self.keep_alive?),
        }
    }

    /// The time has come: says PINGREQ (MQTT-3.1.2-20), or that the server is late.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<u8>) -> Result<(), Overdue> {
        if self.poll_timeout().is_none_or(|at| at > now) {
            return Ok(());
        }
        let Some(clock) = &mut self.clock else { return Ok(()) };
        match self.phase {
            Phase::Offline | Phase::Ending | Phase::Left => Ok(()),
            Phase::Connecting => Err(Overdue::ConnAck),
            Phase::Open if clock.pinged => Err(Overdue::Ping),
            Phase::Open => {
                clock.pinged = true;
                clock.sent = now;
                // Has no part that could be wrong.
                _ = encode(&Packet::PingReq, self.options.version, out);
                Ok(())
            }
        }
    }

    /// The next end of something that no packet has brought.
    pub fn poll_event(&mut self) -> Option<(Token, Failure)> {
        self.ended.pop_front()
    }

    fn bounds(&self) -> Bounds {
        let ClientLimits { queued_max, queued_bytes_max, .. } = self.limits;
        Bounds { messages: queued_max, bytes: queued_bytes_max, policy: self.options.queue_full }
    }

    fn new_token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    /// Says a packet that has been checked, or has no part that could be wrong.
    fn say(&mut self, packet: &Packet<'_>, now: Instant, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode(packet, self.options.version, out)?;
        self.note_sent(now);
        Ok(())
    }

    fn note_sent(&mut self, now: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.sent = now;
        }
    }
}

fn keep_alive(seconds: u16) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

/// Whether a server that has said this will say it again, so that there is no point in coming back by itself.
pub(crate) fn is_final(reason: ReasonCode) -> bool {
    use ReasonCode as R;
    match reason {
        R::UnsupportedProtocolVersion
        | R::ClientIdentifierNotValid
        | R::BadUserNameOrPassword
        | R::NotAuthorized
        | R::Banned
        | R::BadAuthenticationMethod
        // Another one has the name now: two that take it from each other in turn help nobody. (The manager comes back where the
        // other one may be its own.)
        | R::SessionTakenOver
        | R::TopicNameInvalid
        | R::RetainNotSupported
        | R::QoSNotSupported
        | R::UseAnotherServer
        | R::ServerMoved => true,
        R::PacketTooLarge | R::PayloadFormatInvalid => true,
        _ => false,
    }
}

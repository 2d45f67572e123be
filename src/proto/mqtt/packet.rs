//! The fifteen packets, for all versions: views of what they are made of.

use std::fmt;
use std::num::NonZeroU16;

use super::error::DecodeError;
use super::list::List;
use super::property::Properties;
use super::reason::ReasonCode;

/// The number under which a message of QoS 1 or 2, a SUBSCRIBE or an UNSUBSCRIBE is acknowledged. Never 0 (MQTT-2.2.1-3).
pub type PacketId = NonZeroU16;

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 3.1, whose protocol name is `MQIsdp`.
    Mqtt31,
    /// 3.1.1.
    Mqtt311,
    /// 5.0.
    Mqtt5,
}

impl Version {
    /// The protocol level in CONNECT.
    pub const fn level(self) -> u8 {
        match self {
            Self::Mqtt31 => 3,
            Self::Mqtt311 => 4,
            Self::Mqtt5 => 5,
        }
    }

    /// The protocol name in CONNECT (MQTT-3.1.2-1).
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Self::Mqtt31 => "MQIsdp",
            Self::Mqtt311 | Self::Mqtt5 => "MQTT",
        }
    }

    /// Whether packets have properties, and acknowledgements reason codes.
    #[inline]
    pub const fn is_5(self) -> bool {
        matches!(self, Self::Mqtt5)
    }
}

/// The type of a packet: the high half of its first byte (table 2-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // The standard's names.
pub enum PacketType {
    Connect = 1,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    PingReq,
    PingResp,
    Disconnect,
    Auth,
}

impl PacketType {
    /// The type that a packet's first byte begins.
    #[inline]
    pub const fn from_first_byte(byte: u8) -> Option<Self> {
        Some(match byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The low half of the first byte of every packet of this type but PUBLISH (table 2-2).
    #[inline]
    pub(super) const fn flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// How often a message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0.
    #[default]
    AtMostOnce = 0,
    /// QoS 1.
    AtLeastOnce = 1,
    /// QoS 2.
    ExactlyOnce = 2,
}

impl QoS {
    /// The quality with this number: 0, 1 or 2.
    #[inline]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// Its number.
    #[inline]
    pub const fn to_u8(self) -> u8 {
        self as u8
    }
}

/// One packet. The borrowed parts live in the buffer it was decoded from, or wherever you have them.
///
/// PUBACK, PUBREC, PUBREL and PUBCOMP look alike, and are all an [`Ack`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // Their types say it.
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// Its type.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// CONNECT: a client introduces itself (section 3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version of the whole conversation.
    pub version: Version,
    /// Forget what is left of an earlier session. Before 5.0 it is called Clean Session, and ends the session with the connection
    /// as well.
    pub clean_start: bool,
    /// Seconds between two packets of the client, at most. 0: as long as it likes.
    pub keep_alive: u16,
    /// Who it is. Empty: the server chooses (not in 3.1; in 3.1.1 only with `clean_start`).
    pub client_id: &'a str,
    /// What the server sends when the client is gone without a word.
    pub will: Option<Will<'a>>,
    /// The user name.
    pub username: Option<&'a str>,
    /// The password: any bytes. Before 5.0 only with a user name.
    pub password: Option<&'a [u8]>,
    /// Session expiry, receive maximum and others. 5.0.
    pub properties: Properties<'a>,
}

impl<'a> Connect<'a> {
    /// A clean start with a keep-alive of 60 seconds, without will or credentials.
    pub fn new(version: Version, client_id: &'a str) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive: 60,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: Properties::default(),
        }
    }
}

/// Says whether there is a password, and not which.
impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.map(|_| format_args!("..")))
            .field("properties", &self.properties)
            .finish()
    }
}

/// The message that a server publishes for a client that is gone (section 3.1.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// Where to.
    pub topic: &'a str,
    /// What.
    pub payload: &'a [u8],
    /// How.
    pub qos: QoS,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
    /// Will delay, and the properties of the message. 5.0.
    pub properties: Properties<'a>,
}

impl<'a> Will<'a> {
    /// A will of QoS 0 that is not retained.
    pub fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self { topic, payload, qos: QoS::AtMostOnce, retain: false, properties: Properties::default() }
    }
}

/// CONNACK: the server's answer to CONNECT (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// The server goes on with an earlier session. Never with a refusal (MQTT-3.2.2-6), and not in 3.1.
    pub session_present: bool,
    /// Success, or why not. Before 5.0 one of six ([`ReasonCode::connack_v3`]).
    pub reason: ReasonCode,
    /// What the server allows, and what it has assigned. 5.0.
    pub properties: Properties<'a>,
}

impl ConnAck<'_> {
    /// An answer without properties and without an earlier session.
    pub fn new(reason: ReasonCode) -> Self {
        Self { session_present: false, reason, properties: Properties::default() }
    }
}

/// PUBLISH: a message (section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Its topic name. Empty: the one that its topic alias stands for (5.0).
    pub topic: &'a str,
    /// Its content: any bytes, also none.
    pub payload: &'a [u8],
    /// How often it arrives.
    pub qos: QoS,
    /// To a server: keep it for later subscribers. From a server: it had been kept.
    pub retain: bool,
    /// It may have been sent before. Never at QoS 0 (MQTT-3.3.1-2).
    pub dup: bool,
    /// The number of its acknowledgement: at QoS 1 and 2, and only there (MQTT-2.2.1-2).
    pub id: Option<PacketId>,
    /// Expiry, alias, content type and others. 5.0.
    pub properties: Properties<'a>,
}

impl<'a> Publish<'a> {
    /// A message of QoS 0 that is not retained.
    pub fn new(topic: &'a str, payload: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self {
            topic,
            payload: payload.as_ref(),
            qos: QoS::AtMostOnce,
            retain: false,
            dup: false,
            id: None,
            properties: Properties::default(),
        }
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP: a step in the delivery of one message (sections 3.4 to 3.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// The number of the message.
    pub id: PacketId,
    /// How it went. Always `Success` before 5.0.
    pub reason: ReasonCode,
    /// Reason string and user properties. 5.0.
    pub properties: Properties<'a>,
}

impl Ack<'_> {
    /// It went well.
    #[inline]
    pub fn new(id: PacketId) -> Self {
        Self { id, reason: ReasonCode::Success, properties: Properties::default() }
    }
}

/// SUBSCRIBE: what a client wants to be sent (section 3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// The number of its acknowledgement.
    pub id: PacketId,
    /// At least one.
    pub subscriptions: List<'a, Subscription<'a>>,
    /// Subscription identifier and user properties. 5.0.
    pub properties: Properties<'a>,
}

/// One line of SUBSCRIBE: a filter and its options (section 3.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The filter as it was sent: with `$share/group/` where it is shared ([`Filter`](super::Filter) takes it apart).
    pub filter: &'a str,
    /// The best quality that is wanted.
    pub qos: QoS,
    /// Not what the client has published itself. 5.0.
    pub no_local: bool,
    /// Leave the retain flag as it was published. 5.0.
    pub retain_as_published: bool,
    /// Which retained messages are wanted. 5.0.
    pub retain_handling: RetainHandling,
}

/// Which retained messages a new subscription is sent (section 3.8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// Those that match.
    #[default]
    Send = 0,
    /// Those that match, unless the subscription is there already.
    SendIfNew = 1,
    /// None.
    DontSend = 2,
}

impl<'a> Subscription<'a> {
    /// A subscription with the options that versions before 5.0 have.
    pub fn new(filter: &'a str, qos: QoS) -> Self {
        Self { filter, qos, no_local: false, retain_as_published: false, retain_handling: RetainHandling::Send }
    }

    /// Takes the options byte apart.
    pub(super) fn from_options(filter: &'a str, options: u8) -> Result<Self, DecodeError> {
        let qos = QoS::from_u8(options & 0b11).ok_or(DecodeError::BadSubscribeValue)?;
        let retain_handling = match options >> 4 & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DontSend,
            _ => return Err(DecodeError::BadSubscribeValue),
        };
        let no_local = options & 0b100 != 0;
        Ok(Self { filter, qos, no_local, retain_as_published: options & 0b1000 != 0, retain_handling })
    }

    /// The options byte; only the quality before 5.0.
    pub(super) fn options(&self, version: Version) -> u8 {
        let more =
            u8::from(self.no_local) << 2 | u8::from(self.retain_as_published) << 3 | (self.retain_handling as u8) << 4;
        self.qos.to_u8() | if version.is_5() { more } else { 0 }
    }
}

/// SUBACK: the answer to each line of SUBSCRIBE (section 3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// The number of the SUBSCRIBE.
    pub id: PacketId,
    /// One for each filter, in their order. Before 5.0 every refusal is `UnspecifiedError`.
    pub reasons: List<'a, ReasonCode>,
    /// Reason string and user properties. 5.0.
    pub properties: Properties<'a>,
}

/// UNSUBSCRIBE: what a client no longer wants (section 3.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// The number of its acknowledgement.
    pub id: PacketId,
    /// At least one, as they were subscribed.
    pub filters: List<'a, &'a str>,
    /// User properties. 5.0.
    pub properties: Properties<'a>,
}

/// UNSUBACK: the answer to each filter of UNSUBSCRIBE (section 3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// The number of the UNSUBSCRIBE.
    pub id: PacketId,
    /// One for each filter, in their order. None before 5.0.
    pub reasons: List<'a, ReasonCode>,
    /// Reason string and user properties. 5.0.
    pub properties: Properties<'a>,
}

/// DISCONNECT: the last packet, of a client, and in 5.0 also of a server (section 3.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why. Always `Success`, which is a normal disconnection, before 5.0.
    pub reason: ReasonCode,
    /// Session expiry, reason string, server reference, user properties. 5.0.
    pub properties: Properties<'a>,
}

impl Disconnect<'_> {
    /// A disconnection without properties.
    pub fn new(reason: ReasonCode) -> Self {
        Self { reason, properties: Properties::default() }
    }
}

impl From<ReasonCode> for Disconnect<'_> {
    fn from(reason: ReasonCode) -> Self {
        Self::new(reason)
    }
}

/// AUTH: a step of enhanced authentication, in 5.0 only (section 3.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// `Success`, `ContinueAuthentication` or `ReAuthenticate`.
    pub reason: ReasonCode,
    /// Method and data of the authentication, reason string, user properties.
    pub properties: Properties<'a>,
}

//! Why bytes are not a packet, and what the peer is told.

use std::fmt;

use super::property::PropertyId;
use super::reason::ReasonCode;
use super::topic::TopicError;

/// Why bytes are not a packet. Final: the connection cannot go on.
///
/// [`reason_code`](Self::reason_code) is what a 5.0 peer is told before the end, in DISCONNECT, or in CONNACK where CONNECT was
/// wrong. Earlier versions are told nothing, unless [`connack`](Self::connack) has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A type that the version does not have: 0, or AUTH before 5.0.
    UnknownType(u8),
    /// The low half of the first byte is not what the type asks for (MQTT-2.1.3-1).
    BadFlags(u8),
    /// A length goes on after its fourth byte (MQTT-1.5.5).
    BadLength,
    /// The packet is longer than the limits admit; seen from its first bytes.
    PacketTooLarge,
    /// A field goes on after the end of its packet.
    Truncated,
    /// The packet goes on after its last field.
    TrailingBytes,
    /// Text that is not UTF-8 (MQTT-1.5.4-1).
    BadUtf8,
    /// U+0000 in text (MQTT-1.5.4-2).
    NulInText,
    /// QoS 3 (MQTT-3.3.1-4).
    BadQoS,
    /// DUP on a message of QoS 0 (MQTT-3.3.1-2).
    DupAtQoS0,
    /// Packet identifier 0 (MQTT-2.2.1-3).
    PacketIdZero,
    /// The topic of a message, will or response is not one.
    BadTopic(TopicError),
    /// The filter of a subscription is not one.
    BadFilter(TopicError),
    /// An empty topic, and no alias that stands for one.
    TopicMissing,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter (MQTT-3.8.3-2, MQTT-3.10.3-2).
    NoFilters,
    /// Reserved bits among the options of a subscription (MQTT-3.8.3-5).
    BadSubscribeOptions,
    /// QoS 3 or Retain Handling 3 is asked for.
    BadSubscribeValue,
    /// No Local on a shared subscription (MQTT-3.8.3-4).
    NoLocalShared,
    /// A property that does not exist.
    UnknownProperty(u8),
    /// A property that this packet cannot have.
    PropertyNotAllowed(PropertyId),
    /// A property that comes once came twice.
    PropertyRepeated(PropertyId),
    /// A property with a value that it cannot have.
    PropertyValue(PropertyId),
    /// A property that the packet needs, or another one needs, is not there.
    PropertyMissing(PropertyId),
    /// CONNECT of another protocol (MQTT-3.1.2-1).
    BadProtocolName,
    /// CONNECT of a version that is neither 3.1 (3), 3.1.1 (4) nor 5.0 (5).
    UnsupportedLevel(u8),
    /// Reserved or contradictory CONNECT flags (MQTT-3.1.2-3, -11, -12, -13).
    BadConnectFlags,
    /// A password without a user name, before 5.0 (3.1.1: MQTT-3.1.2-22).
    PasswordWithoutUsername,
    /// An empty client identifier where the version does not take one (3.1.1: MQTT-3.1.3-8).
    ClientIdMissing,
    /// Reserved CONNACK flags (MQTT-3.2.2-1), or a session present with a refusal (MQTT-3.2.2-6).
    BadConnAckFlags,
    /// A reason code that this packet cannot have.
    BadReason(u8),
    /// SUBACK or UNSUBACK without a reason code.
    NoReasons,
}

impl DecodeError {
    /// What the peer did, in the words of MQTT 5.0 (section 4.13). Where 5.0 leaves it open, what mosquitto 2.0 says.
    pub const fn reason_code(self) -> ReasonCode {
        match self {
            Self::PacketTooLarge => ReasonCode::PacketTooLarge,
            Self::PacketIdZero
            | Self::TopicMissing
            | Self::NoFilters
            | Self::BadSubscribeValue
            | Self::NoLocalShared
            | Self::PropertyRepeated(_)
            | Self::PropertyMissing(_)
            | Self::PasswordWithoutUsername
            | Self::BadReason(_)
            | Self::NoReasons => ReasonCode::ProtocolError,
            // MQTT-3.3.2-8
            Self::PropertyValue(PropertyId::TopicAlias) => ReasonCode::TopicAliasInvalid,
            Self::PropertyValue(_) => ReasonCode::ProtocolError,
            // Well-formed, but more than is accepted here.
            Self::BadTopic(TopicError::TooDeep) => ReasonCode::TopicNameInvalid,
            Self::BadFilter(TopicError::TooDeep) => ReasonCode::TopicFilterInvalid,
            Self::BadProtocolName | Self::UnsupportedLevel(_) => ReasonCode::UnsupportedProtocolVersion,
            Self::ClientIdMissing => ReasonCode::ClientIdentifierNotValid,
            Self::UnknownType(_)
            | Self::BadFlags(_)
            | Self::BadLength
            | Self::Truncated
            | Self::TrailingBytes
            | Self::BadUtf8
            | Self::NulInText
            | Self::BadQoS
            | Self::DupAtQoS0
            | Self::BadTopic(_)
            | Self::BadFilter(_)
            | Self::BadSubscribeOptions
            | Self::UnknownProperty(_)
            | Self::PropertyNotAllowed(_)
            | Self::BadConnectFlags
            | Self::BadConnAckFlags => ReasonCode::MalformedPacket,
        }
    }

    /// The CONNACK with which a server answers a CONNECT whatever its version, before it closes: for a level that it does not
    /// know, and for a client identifier that a version before 5.0 has to give.
    ///
    /// A level above 5 is answered in the form of 5.0. One with its highest bit set is a mosquitto bridge that asks for a private
    /// dialect: it expects the form of 3.1.1, and tries again without.
    pub const fn connack(self) -> Option<&'static [u8]> {
        match self {
            Self::UnsupportedLevel(6..0x80) => Some(&[0x20, 0x03, 0x00, 0x84, 0x00]),
            // 3.1.1: MQTT-3.1.2-2
            Self::UnsupportedLevel(_) => Some(&[0x20, 0x02, 0x00, 0x01]),
            // 3.1.1: MQTT-3.1.3-8
            Self::ClientIdMissing => Some(&[0x20, 0x02, 0x00, 0x02]),
            _ => None,
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::UnknownType(_) => "a packet type that the version does not have",
            Self::BadFlags(_) => "flags that the packet type does not allow",
            Self::BadLength => "a length of more than four bytes",
            Self::PacketTooLarge => "the packet is larger than the limit",
            Self::Truncated => "a field goes on after the end of its packet",
            Self::TrailingBytes => "the packet goes on after its last field",
            Self::BadUtf8 => "text is not UTF-8",
            Self::NulInText => "U+0000 in text",
            Self::BadQoS => "QoS 3",
            Self::DupAtQoS0 => "DUP on a message of QoS 0",
            Self::PacketIdZero => "packet identifier 0",
            Self::BadTopic(_) => "not a topic name",
            Self::BadFilter(_) => "not a topic filter",
            Self::TopicMissing => "neither a topic nor an alias",
            Self::NoFilters => "no topic filter",
            Self::BadSubscribeOptions => "reserved subscription options",
            Self::BadSubscribeValue => "QoS 3 or Retain Handling 3 in a subscription",
            Self::NoLocalShared => "No Local on a shared subscription",
            Self::UnknownProperty(_) => "a property that does not exist",
            Self::PropertyNotAllowed(_) => "a property that the packet cannot have",
            Self::PropertyRepeated(_) => "a property came twice",
            Self::PropertyValue(_) => "a value that the property cannot have",
            Self::PropertyMissing(_) => "a property is missing",
            Self::BadProtocolName => "not the protocol name of MQTT",
            Self::UnsupportedLevel(_) => "an unknown protocol level",
            Self::BadConnectFlags => "reserved or contradictory CONNECT flags",
            Self::PasswordWithoutUsername => "a password without a user name",
            Self::ClientIdMissing => "an empty client identifier",
            Self::BadConnAckFlags => "reserved or contradictory CONNACK flags",
            Self::BadReason(_) => "a reason code that the packet cannot have",
            Self::NoReasons => "no reason code",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Self::UnknownType(byte)
            | Self::BadFlags(byte)
            | Self::UnknownProperty(byte)
            | Self::UnsupportedLevel(byte)
            | Self::BadReason(byte) => write!(f, ": {byte:#04x}"),
            Self::BadTopic(error) | Self::BadFilter(error) => write!(f, ": {error}"),
            Self::PropertyNotAllowed(id)
            | Self::PropertyRepeated(id)
            | Self::PropertyValue(id)
            | Self::PropertyMissing(id) => write!(f, ": {id:?}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for DecodeError {}

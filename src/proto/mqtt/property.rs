//! Properties (section 2.2.2): a section of bytes, checked once and read lazily.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use super::encode::{EncodeError, Measure, Sink};
use super::error::DecodeError;
use super::packet::{PacketType, QoS};
use super::topic::check_topic;
use super::wire::{Reader, VARINT_MAX, varint_len};

/// What may have a property section: a packet, or the will inside of CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Packet(PacketType),
    Will,
}

macro_rules! properties {
    ($(#[doc = $doc:literal] $id:literal $name:ident($value:ty) $(as $get:ident)?, in $($place:ident)+;)*) => {
        /// Which property. The numbers are those of table 2-4.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum PropertyId {
            $(#[doc = $doc] $name = $id,)*
        }

        /// A property and its value.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Property<'a> {
            $(#[doc = $doc] $name($value),)*
        }

        impl PropertyId {
            /// The property with this number, if there is one.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Those that may stand there, each as the bit of its number.
            const fn allowed(place: Place) -> u64 {
                0 $(| (($(matches!(place, places::$place))||+) as u64) << $id)*
            }

            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];
        }

        impl<'a> Property<'a> {
            /// Which one it is.
            pub const fn id(&self) -> PropertyId {
                match self {
                    $(Self::$name(_) => PropertyId::$name,)*
                }
            }

            fn read(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                match id {
                    $(PropertyId::$name => Ok(Self::$name(<$value as Value<'a>>::read(id, reader)?)),)*
                }
            }

            fn write(&self, sink: &mut impl Sink) {
                sink.u8(self.id() as u8);
                match self {
                    $(Self::$name(value) => value.write(sink),)*
                }
            }
        }

        impl<'a> Properties<'a> {
            $($(
                #[doc = $doc]
                ///
                /// `None`: the section does not have it.
                #[inline]
                pub fn $get(&self) -> Option<$value> {
                    match self.get(PropertyId::$name) {
                        Some(Property::$name(value)) => Some(value),
                        _ => None,
                    }
                }
            )?)*
        }
    };
}

/// The names of the table below.
#[allow(non_upper_case_globals)]
mod places {
    use super::{PacketType, Place};

    macro_rules! packets {
        ($($name:ident)*) => { $(pub(super) const $name: Place = Place::Packet(PacketType::$name);)* };
    }
    packets! { Connect ConnAck Publish PubAck PubRec PubRel PubComp Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth }
    pub(super) const Will: Place = Place::Will;
}

properties! {
    /// Whether the payload is UTF-8 text.
    0x01 PayloadFormatIndicator(bool) as payload_format_indicator, in Publish Will;
    /// The life of the message in seconds; a server hands on what is left of it.
    0x02 MessageExpiryInterval(u32) as message_expiry_interval, in Publish Will;
    /// What the payload is, for those who read it.
    0x03 ContentType(&'a str) as content_type, in Publish Will;
    /// Where an answer goes to.
    0x08 ResponseTopic(&'a str) as response_topic, in Publish Will;
    /// Which request an answer belongs to.
    0x09 CorrelationData(&'a [u8]) as correlation_data, in Publish Will;
    /// The number of a subscription. A message bears those of all subscriptions it is sent for.
    0x0b SubscriptionIdentifier(SubscriptionId), in Publish Subscribe;
    /// How many seconds the session outlives its connection; `u32::MAX`: for ever.
    0x11 SessionExpiryInterval(u32) as session_expiry_interval, in Connect ConnAck Disconnect;
    /// The name that the server has given to a client without one.
    0x12 AssignedClientIdentifier(&'a str) as assigned_client_identifier, in ConnAck;
    /// The keep-alive in seconds that the server asks for instead.
    0x13 ServerKeepAlive(u16) as server_keep_alive, in ConnAck;
    /// The name of the enhanced authentication.
    0x15 AuthenticationMethod(&'a str) as authentication_method, in Connect ConnAck Auth;
    /// What the authentication method has to say.
    0x16 AuthenticationData(&'a [u8]) as authentication_data, in Connect ConnAck Auth;
    /// Whether reason strings and user properties may come with packets other than PUBLISH, CONNACK and DISCONNECT.
    0x17 RequestProblemInformation(bool) as request_problem_information, in Connect;
    /// How many seconds the will waits for its client to come back.
    0x18 WillDelayInterval(u32) as will_delay_interval, in Will;
    /// Whether response information is wanted.
    0x19 RequestResponseInformation(bool) as request_response_information, in Connect;
    /// What response topics are made of.
    0x1a ResponseInformation(&'a str) as response_information, in ConnAck;
    /// Another server to go to.
    0x1c ServerReference(&'a str) as server_reference, in ConnAck Disconnect;
    /// The reason in words, for people.
    0x1f ReasonString(&'a str) as reason_string,
        in ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth;
    /// How many messages of QoS 1 and 2 may be under way at once to who says it.
    0x21 ReceiveMaximum(NonZeroU16) as receive_maximum, in Connect ConnAck;
    /// The highest topic alias that who says it accepts; 0: none.
    0x22 TopicAliasMaximum(u16) as topic_alias_maximum, in Connect ConnAck;
    /// A number for the topic, for as long as the connection lasts.
    0x23 TopicAlias(NonZeroU16) as topic_alias, in Publish;
    /// The best quality that the server has: QoS 0 or 1.
    0x24 MaximumQoS(QoS) as maximum_qos, in ConnAck;
    /// Whether the server keeps retained messages.
    0x25 RetainAvailable(bool) as retain_available, in ConnAck;
    /// A name and a value. Any number of them, also of the same name, in an order that means something.
    0x26 UserProperty((&'a str, &'a str)),
        in Connect ConnAck Publish PubAck PubRec PubRel PubComp Subscribe SubAck Unsubscribe UnsubAck Disconnect Auth Will;
    /// The longest packet in bytes that who says it accepts.
    0x27 MaximumPacketSize(NonZeroU32) as maximum_packet_size, in Connect ConnAck;
    /// Whether the server takes filters with wildcards.
    0x28 WildcardSubscriptionAvailable(bool) as wildcard_subscription_available, in ConnAck;
    /// Whether the server takes subscription identifiers.
    0x29 SubscriptionIdentifierAvailable(bool) as subscription_identifier_available, in ConnAck;
    /// Whether the server takes shared subscriptions.
    0x2a SharedSubscriptionAvailable(bool) as shared_subscription_available, in ConnAck;
}

/// The number of a subscription: 1 to 268,435,455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(NonZeroU32);

impl SubscriptionId {
    /// `None` for 0, and for what four bytes of seven bits cannot hold.
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) if value.get() as usize <= VARINT_MAX => Some(Self(value)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

/// The property section of a packet, which has been checked: what is in there is known, allowed, well-formed and not
/// repeated.
///
/// 24 bytes, whatever is in it. Asking for a property that is not there costs one bit test; finding one walks the section.
/// Make one of your own with a [`PropertyBuf`]. Packets of versions before 5.0 have an empty one.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    raw: &'a [u8],
    present: u64,
}

/// The bit in `present` that stands for a second subscription identifier.
const SECOND_SUBSCRIPTION_ID: u64 = 1 << 63;

/// What may come more than once.
const REPEATABLE: u64 = 1 << PropertyId::UserProperty as u8 | 1 << PropertyId::SubscriptionIdentifier as u8;

impl PropertyId {
    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

impl<'a> Properties<'a> {
    /// Checks the section at the front, and takes it off.
    #[inline]
    pub(super) fn decode(reader: &mut Reader<'a>, place: Place) -> Result<Self, DecodeError> {
        match reader.varint()? {
            0 => Ok(Self::default()),
            len => Self::check(reader.take(len as usize)?, place),
        }
    }

    fn check(raw: &'a [u8], place: Place) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(raw);
        let mut present = 0;
        while !reader.is_empty() {
            let number = reader.u8()?;
            let id = PropertyId::from_u8(number).ok_or(DecodeError::UnknownProperty(number))?;
            if PropertyId::allowed(place) & id.bit() == 0 {
                return Err(DecodeError::PropertyNotAllowed(id));
            }
            let property = Property::read(id, &mut reader)?;
            if let Property::ResponseTopic(topic) = property {
                // MQTT-3.3.2-14
                check_topic(topic).map_err(DecodeError::BadTopic)?;
            }
            let repeated = present & id.bit() != 0;
            if repeated && (REPEATABLE & id.bit() == 0 || is_second_id(id, place)) {
                return Err(DecodeError::PropertyRepeated(id));
            }
            present |= id.bit() | if repeated { second(id) } else { 0 };
        }
        Ok(Self { raw, present })
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Whether this one is there. One bit test.
    #[inline]
    pub fn has(&self, id: PropertyId) -> bool {
        self.present & id.bit() != 0
    }

    /// This one, or the first of them.
    #[inline]
    pub fn get(&self, id: PropertyId) -> Option<Property<'a>> {
        if self.has(id) { self.find(id) } else { None }
    }

    fn find(&self, id: PropertyId) -> Option<Property<'a>> {
        self.iter().find(|property| property.id() == id)
    }

    /// All of them, in their order.
    pub fn iter(&self) -> PropertiesIter<'a> {
        PropertiesIter(Reader::new(self.raw))
    }

    /// The user properties, in their order.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let some = self.has(PropertyId::UserProperty).then(|| self.iter());
        some.into_iter().flatten().filter_map(|property| match property {
            Property::UserProperty(pair) => Some(pair),
            _ => None,
        })
    }

    /// The subscription identifiers: several in a message, at most one in SUBSCRIBE.
    pub fn subscription_ids(&self) -> impl Iterator<Item = SubscriptionId> + use<'a> {
        let some = self.has(PropertyId::SubscriptionIdentifier).then(|| self.iter());
        some.into_iter().flatten().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }

    /// The section's bytes and what is in there, for who keeps them elsewhere.
    #[cfg(feature = "broker")]
    pub(crate) fn parts(&self) -> (&'a [u8], u64) {
        (self.raw, self.present)
    }

    /// What [`parts`](Self::parts) has taken apart.
    #[cfg(feature = "broker")]
    pub(crate) fn from_parts(raw: &'a [u8], present: u64) -> Self {
        Self { raw, present }
    }

    /// The section's bytes, without their length.
    #[inline]
    pub(super) fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether all of them may stand there.
    #[inline]
    pub(super) fn fit(&self, place: Place) -> Result<(), EncodeError> {
        if self.present == 0 {
            return Ok(());
        }
        let allowed = PropertyId::allowed(place);
        match self.iter().find(|property| allowed & property.id().bit() == 0) {
            Some(property) => Err(EncodeError::PropertyNotAllowed(property.id())),
            None if self.present & SECOND_SUBSCRIPTION_ID != 0 && place != places::Publish => {
                Err(EncodeError::PropertyRepeated(PropertyId::SubscriptionIdentifier))
            }
            None => Ok(()),
        }
    }
}

/// SUBSCRIBE has one subscription identifier at most (section 3.8.2.1.2), messages any number.
fn is_second_id(id: PropertyId, place: Place) -> bool {
    id == PropertyId::SubscriptionIdentifier && place != places::Publish
}

fn second(id: PropertyId) -> u64 {
    if id == PropertyId::SubscriptionIdentifier { SECOND_SUBSCRIPTION_ID } else { 0 }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// Walks [`Properties`].
#[derive(Debug, Clone)]
pub struct PropertiesIter<'a>(Reader<'a>);

impl<'a> Iterator for PropertiesIter<'a> {
    type Item = Property<'a>;

    fn next(&mut self) -> Option<Property<'a>> {
        let id = PropertyId::from_u8(self.0.u8().ok()?)?;
        Property::read(id, &mut self.0).ok()
    }
}

/// Properties to be sent: a section in the making.
///
/// ```
/// use vansire::mqtt::{Property, PropertyBuf, Publish};
///
/// let mut properties = PropertyBuf::new();
/// properties.push(Property::ContentType("text/plain"))?.push(Property::UserProperty(("unit", "K")))?;
/// let publish = Publish { properties: properties.as_properties(), ..Publish::new("plant/7/temp", b"294.6") };
/// assert_eq!(publish.properties.content_type(), Some("text/plain"));
/// # Ok::<(), vansire::mqtt::EncodeError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PropertyBuf {
    raw: Vec<u8>,
    present: u64,
}

impl PropertyBuf {
    /// An empty one, which has not allocated.
    pub const fn new() -> Self {
        Self { raw: Vec::new(), present: 0 }
    }

    /// Adds a property. Whether a packet may have it is seen when the packet is encoded.
    ///
    /// Fails, and changes nothing, if it is there already and comes once, if text or data is longer than 65,535 bytes, if
    /// text has U+0000, if a response topic has wildcards, if a maximum QoS is 2.
    pub fn push(&mut self, property: Property<'_>) -> Result<&mut Self, EncodeError> {
        let id = property.id();
        let repeated = self.present & id.bit() != 0;
        if repeated && REPEATABLE & id.bit() == 0 {
            return Err(EncodeError::PropertyRepeated(id));
        }
        match property {
            Property::ResponseTopic(topic) => check_topic(topic).map_err(EncodeError::BadTopic)?,
            Property::MaximumQoS(QoS::ExactlyOnce) => return Err(EncodeError::PropertyValue(id)),
            _ => {}
        }
        let mut measure = Measure::default();
        property.write(&mut measure);
        let len = measure.finish()?;
        if self.raw.len() + len > VARINT_MAX {
            return Err(EncodeError::PacketTooLong);
        }
        self.raw.reserve(len);
        property.write(&mut self.raw);
        self.present |= id.bit() | if repeated { second(id) } else { 0 };
        Ok(self)
    }

    /// Adds what a server hands on of a message (MQTT-3.3.2-4, -15, -16, -17, -20): all but the alias, which is between it and the
    /// publisher, the subscription identifiers, which are the receiver's, and the expiry, which shrinks with time. Those are
    /// in [`Delivery`](super::Delivery).
    ///
    /// Fails, and keeps what it has added so far, if one is there already.
    pub fn forward(&mut self, properties: &Properties<'_>) -> Result<&mut Self, EncodeError> {
        for property in properties {
            match property {
                Property::TopicAlias(_) | Property::SubscriptionIdentifier(_) | Property::MessageExpiryInterval(_) => {}
                _ => {
                    self.push(property)?;
                }
            }
        }
        Ok(self)
    }

    /// Forgets the properties, and keeps the memory.
    pub fn clear(&mut self) {
        self.raw.clear();
        self.present = 0;
    }

    /// What is in there, to be put into a packet.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties { raw: &self.raw, present: self.present }
    }
}

impl fmt::Debug for PropertyBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_properties().fmt(f)
    }
}

impl<'a> IntoIterator for &Properties<'a> {
    type Item = Property<'a>;
    type IntoIter = PropertiesIter<'a>;

    fn into_iter(self) -> PropertiesIter<'a> {
        self.iter()
    }
}

/// A value as it stands in a property.
trait Value<'a>: Sized {
    fn read(id: PropertyId, reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    fn write(&self, sink: &mut impl Sink);
}

impl Value<'_> for bool {
    fn read(id: PropertyId, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::PropertyValue(id)),
        }
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u8(u8::from(*self));
    }
}

/// Only Maximum QoS, where 2 is the absence of the property (section 3.2.2.3.4).
impl Value<'_> for QoS {
    fn read(id: PropertyId, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            _ => Err(DecodeError::PropertyValue(id)),
        }
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u8(self.to_u8());
    }
}

impl Value<'_> for u16 {
    fn read(_: PropertyId, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u16()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(&self.to_be_bytes());
    }
}

impl Value<'_> for u32 {
    fn read(_: PropertyId, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.u32()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.bytes(&self.to_be_bytes());
    }
}

impl Value<'_> for NonZeroU16 {
    fn read(id: PropertyId, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(reader.u16()?).ok_or(DecodeError::PropertyValue(id))
    }

    fn write(&self, sink: &mut impl Sink) {
        self.get().write(sink);
    }
}

impl Value<'_> for NonZeroU32 {
    fn read(id: PropertyId, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(reader.u32()?).ok_or(DecodeError::PropertyValue(id))
    }

    fn write(&self, sink: &mut impl Sink) {
        self.get().write(sink);
    }
}

impl Value<'_> for SubscriptionId {
    fn read(id: PropertyId, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::new(reader.varint()?).ok_or(DecodeError::PropertyValue(id))
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.varint(self.get() as usize);
    }
}

impl<'a> Value<'a> for &'a str {
    fn read(_: PropertyId, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.text()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.text(self);
    }
}

impl<'a> Value<'a> for &'a [u8] {
    fn read(_: PropertyId, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.binary()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.binary(self);
    }
}

impl<'a> Value<'a> for (&'a str, &'a str) {
    fn read(_: PropertyId, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok((reader.text()?, reader.text()?))
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.text(self.0);
        sink.text(self.1);
    }
}

/// How many bytes a subscription identifier takes as a property.
pub(super) const fn subscription_id_len(id: SubscriptionId) -> usize {
    1 + varint_len(id.get() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISH: Place = Place::Packet(PacketType::Publish);
    const CONN_ACK: Place = Place::Packet(PacketType::ConnAck);
    const CONNECT: Place = Place::Packet(PacketType::Connect);

    fn decode(section: &[u8], place: Place) -> Result<Vec<Property<'_>>, DecodeError> {
        let mut reader = Reader::new(section);
        Properties::decode(&mut reader, place).map(|properties| properties.iter().collect())
    }

    /// One of each, as it stands in the section, and a place that has it. H14: all seven data types.
    fn each() -> Vec<(Property<'static>, &'static [u8], Place)> {
        let two = NonZeroU16::new(0x0102).unwrap();
        let four = NonZeroU32::new(0x0102_0304).unwrap();
        vec![
            (Property::PayloadFormatIndicator(true), b"\x01\x01", PUBLISH),
            (Property::MessageExpiryInterval(0x0102_0304), b"\x02\x01\x02\x03\x04", PUBLISH),
            (Property::ContentType("ab"), b"\x03\0\x02ab", PUBLISH),
            (Property::ResponseTopic("a/b"), b"\x08\0\x03a/b", PUBLISH),
            (Property::CorrelationData(b"\0\xff"), b"\x09\0\x02\0\xff", PUBLISH),
            (Property::SubscriptionIdentifier(SubscriptionId::new(300).unwrap()), b"\x0b\xac\x02", PUBLISH),
            (Property::SessionExpiryInterval(u32::MAX), b"\x11\xff\xff\xff\xff", CONNECT),
            (Property::AssignedClientIdentifier("x"), b"\x12\0\x01x", CONN_ACK),
            (Property::ServerKeepAlive(0x0102), b"\x13\x01\x02", CONN_ACK),
            (Property::AuthenticationMethod("m"), b"\x15\0\x01m", CONNECT),
            (Property::AuthenticationData(b"\0"), b"\x16\0\x01\0", CONNECT),
            (Property::RequestProblemInformation(false), b"\x17\0", CONNECT),
            (Property::WillDelayInterval(1), b"\x18\0\0\0\x01", Place::Will),
            (Property::RequestResponseInformation(true), b"\x19\x01", CONNECT),
            (Property::ResponseInformation(""), b"\x1a\0\0", CONN_ACK),
            (Property::ServerReference("s"), b"\x1c\0\x01s", CONN_ACK),
            (Property::ReasonString("r"), b"\x1f\0\x01r", CONN_ACK),
            (Property::ReceiveMaximum(two), b"\x21\x01\x02", CONNECT),
            (Property::TopicAliasMaximum(0), b"\x22\0\0", CONNECT),
            (Property::TopicAlias(two), b"\x23\x01\x02", PUBLISH),
            (Property::MaximumQoS(QoS::AtLeastOnce), b"\x24\x01", CONN_ACK),
            (Property::RetainAvailable(false), b"\x25\0", CONN_ACK),
            (Property::UserProperty(("k", "v")), b"\x26\0\x01k\0\x01v", Place::Will),
            (Property::MaximumPacketSize(four), b"\x27\x01\x02\x03\x04", CONNECT),
            (Property::WildcardSubscriptionAvailable(true), b"\x28\x01", CONN_ACK),
            (Property::SubscriptionIdentifierAvailable(true), b"\x29\x01", CONN_ACK),
            (Property::SharedSubscriptionAvailable(true), b"\x2a\x01", CONN_ACK),
        ]
    }

    #[test]
    fn h14_each_of_the_27_goes_both_ways_and_is_cut_nowhere() {
        let each = each();
        assert!(each.iter().map(|(property, ..)| property.id()).eq(PropertyId::ALL.iter().copied()));
        assert_eq!(each.len(), 27);
        for (property, bytes, place) in each {
            let mut out = PropertyBuf::new();
            out.push(property).unwrap();
            assert_eq!(out.raw, bytes, "{property:?}");
            let section = [&[bytes.len() as u8], bytes].concat();
            assert_eq!(decode(&section, place), Ok(vec![property]));
            // H14: truncated ones, in a section that is as long as it says.
            for cut in 1..bytes.len() {
                let section = [&[cut as u8], &bytes[..cut]].concat();
                assert_eq!(decode(&section, place), Err(DecodeError::Truncated), "{property:?}, {cut} bytes");
            }
            assert_eq!(decode(&section[..section.len() - 1], place), Err(DecodeError::Truncated), "{property:?}");
        }
    }

    #[test]
    fn what_comes_once_comes_once() {
        for (property, bytes, place) in each() {
            let section = [&[2 * bytes.len() as u8], bytes, bytes].concat();
            let repeats = matches!(property, Property::UserProperty(_) | Property::SubscriptionIdentifier(_));
            let expected =
                if repeats { Ok(vec![property; 2]) } else { Err(DecodeError::PropertyRepeated(property.id())) };
            assert_eq!(decode(&section, place), expected, "{property:?}");
            let mut out = PropertyBuf::new();
            let again = out.push(property).unwrap().push(property).map(|_| ());
            assert_eq!(again.is_ok(), repeats, "{property:?}");
        }
        // Section 3.8.2.1.2: SUBSCRIBE has one identifier.
        let id = PropertyId::SubscriptionIdentifier;
        let place = Place::Packet(PacketType::Subscribe);
        assert_eq!(decode(b"\x04\x0b\x01\x0b\x02", place), Err(DecodeError::PropertyRepeated(id)));
    }

    #[test]
    fn properties_stand_where_table_2_4_has_them() {
        use PacketType as T;
        let places = [
            T::Connect,
            T::ConnAck,
            T::Publish,
            T::PubAck,
            T::PubRec,
            T::PubRel,
            T::PubComp,
            T::Subscribe,
            T::SubAck,
            T::Unsubscribe,
            T::UnsubAck,
            T::Disconnect,
            T::Auth,
        ];
        // How many properties each packet may have, counted in the sections of the packets (3.1.2.11 and so on).
        let counts = [9, 17, 8, 2, 2, 2, 2, 2, 2, 1, 2, 4, 4];
        for (packet_type, count) in places.into_iter().zip(counts) {
            let place = Place::Packet(packet_type);
            let fit = each().into_iter().filter(|(property, bytes, _)| {
                let section = [&[bytes.len() as u8], *bytes].concat();
                match decode(&section, place) {
                    Ok(_) => true,
                    Err(error) => {
                        assert_eq!(error, DecodeError::PropertyNotAllowed(property.id()), "{packet_type:?}");
                        false
                    }
                }
            });
            assert_eq!(fit.count(), count, "{packet_type:?}");
        }
        assert_eq!(PropertyId::allowed(Place::Will).count_ones(), 7);
    }

    #[test]
    fn values_that_cannot_be_are_refused() {
        type Row = (&'static str, &'static [u8], Place, Result<(), DecodeError>);
        let value = |id| Err(DecodeError::PropertyValue(id));
        let table: &[Row] = &[
            ("a flag of 2", b"\x02\x01\x02", PUBLISH, value(PropertyId::PayloadFormatIndicator)),
            ("maximum QoS 2", b"\x02\x24\x02", CONN_ACK, value(PropertyId::MaximumQoS)),
            ("receive maximum 0", b"\x03\x21\0\0", CONNECT, value(PropertyId::ReceiveMaximum)),
            ("maximum packet size 0", b"\x05\x27\0\0\0\0", CONNECT, value(PropertyId::MaximumPacketSize)),
            ("MQTT-3.3.2-8: alias 0", b"\x03\x23\0\0", PUBLISH, value(PropertyId::TopicAlias)),
            ("identifier 0", b"\x02\x0b\0", PUBLISH, value(PropertyId::SubscriptionIdentifier)),
            ("identifier of five bytes", b"\x06\x0b\x80\x80\x80\x80\x01", PUBLISH, Err(DecodeError::BadLength)),
            (
                "MQTT-3.3.2-14: wildcard in a response topic",
                b"\x04\x08\0\x01#",
                PUBLISH,
                Err(DecodeError::BadTopic(super::super::TopicError::Wildcard)),
            ),
            ("NUL in text", b"\x04\x03\0\x01\0", PUBLISH, Err(DecodeError::NulInText)),
            ("unknown", b"\x01\x7f", PUBLISH, Err(DecodeError::UnknownProperty(0x7f))),
            ("unknown, two bytes", b"\x02\x81\x01", PUBLISH, Err(DecodeError::UnknownProperty(0x81))),
            ("longer than the packet", b"\x09\x01\x01", PUBLISH, Err(DecodeError::Truncated)),
        ];
        for (name, bytes, place, expected) in table {
            assert_eq!(decode(bytes, *place).map(|_| ()), *expected, "{name}");
        }
    }

    #[test]
    fn what_a_server_hands_on_leaves_out_what_is_its_own() {
        let mut all = PropertyBuf::new();
        for (property, _, place) in each() {
            if place == PUBLISH {
                all.push(property).unwrap();
            }
        }
        all.push(Property::UserProperty(("k", "1"))).unwrap().push(Property::UserProperty(("k", "2"))).unwrap();
        let mut forwarded = PropertyBuf::new();
        forwarded.forward(&all.as_properties()).unwrap();
        let ids: Vec<_> = forwarded.as_properties().iter().map(|property| property.id() as u8).collect();
        assert_eq!(ids, [0x01, 0x03, 0x08, 0x09, 0x26, 0x26]);
        assert!(forwarded.as_properties().user_properties().eq([("k", "1"), ("k", "2")]));
    }

    #[test]
    fn a_property_that_cannot_be_sent_changes_nothing() {
        let long = "x".repeat(65_536);
        let mut out = PropertyBuf::new();
        out.push(Property::ReasonString("r")).unwrap();
        let before = out.clone();
        let table = [
            (Property::UserProperty(("k", &long)), EncodeError::FieldTooLong),
            (Property::UserProperty(("k", "\0")), EncodeError::NulInText),
            (Property::ReasonString("s"), EncodeError::PropertyRepeated(PropertyId::ReasonString)),
            (Property::MaximumQoS(QoS::ExactlyOnce), EncodeError::PropertyValue(PropertyId::MaximumQoS)),
            (Property::ResponseTopic("+"), EncodeError::BadTopic(super::super::TopicError::Wildcard)),
        ];
        for (property, error) in table {
            assert_eq!(out.push(property).map(|_| ()), Err(error));
            assert_eq!(out, before);
        }
    }
}

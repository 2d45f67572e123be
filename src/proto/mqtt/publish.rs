//! One message for many receivers.

use std::num::NonZeroU16;

use super::encode::{EncodeError, Measure, Sink};
use super::packet::{PacketId, PacketType, Publish, QoS, Version};
use super::property::{Place, Properties, PropertyId, SubscriptionId, subscription_id_len};
use super::topic::{TopicError, check_topic};
use super::wire::{VARINT_MAX, put_varint, varint_len};

/// What all receivers of a message have in common in one version of the protocol: checked once, written to each in front of
/// the payload, which is left to the caller to share.
///
/// ```
/// use vansire::mqtt::{Delivery, PacketId, Properties, PublishParts, QoS, Version};
///
/// let payload = b"21.5";
/// let parts = PublishParts::new(Version::Mqtt311, "plant/7/temp", Properties::default(), payload.len())?;
/// for id in 1..=3 {
///     let to = Delivery { qos: QoS::AtLeastOnce, id: PacketId::new(id), ..Delivery::default() };
///     let mut out = Vec::new();
///     parts.encode_head(&to, &mut out)?;
///     out.extend_from_slice(payload);
///     assert_eq!(out.len(), parts.packet_len(&to)?);
/// }
/// # Ok::<(), vansire::mqtt::EncodeError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PublishParts<'a> {
    version: Version,
    topic: &'a str,
    properties: Properties<'a>,
    payload_len: usize,
}

/// What is each receiver's own of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivery<'a> {
    /// How often it arrives there.
    pub qos: QoS,
    /// The retain flag there.
    pub retain: bool,
    /// It may have been sent there before. Never at QoS 0.
    pub dup: bool,
    /// The number of its acknowledgement: at QoS 1 and 2, and only there.
    pub id: Option<PacketId>,
    /// How the topic is said. Before 5.0 by its name.
    pub topic: TopicAs,
    /// What is left of its life, in seconds. 5.0.
    pub expiry: Option<u32>,
    /// The subscriptions it is sent for. 5.0.
    pub subscription_ids: &'a [SubscriptionId],
}

/// How a receiver is told the topic (section 3.3.2.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TopicAs {
    /// By its name.
    #[default]
    Name,
    /// By its name, and from now on by this alias.
    Both(NonZeroU16),
    /// By an alias that it knows.
    Alias(NonZeroU16),
}

impl<'a> Delivery<'a> {
    /// What the packet itself says; its properties say the rest.
    #[inline]
    pub(super) fn of(publish: &Publish<'_>) -> Self {
        Self { qos: publish.qos, retain: publish.retain, dup: publish.dup, id: publish.id, ..Self::default() }
    }

    #[inline]
    fn alias(&self) -> Option<NonZeroU16> {
        match self.topic {
            TopicAs::Name => None,
            TopicAs::Both(alias) | TopicAs::Alias(alias) => Some(alias),
        }
    }
}

impl<'a> PublishParts<'a> {
    /// The parts that are the same for all. Neither copies nor allocates.
    ///
    /// A server passes the properties that it hands on ([`PropertyBuf::forward`](super::PropertyBuf::forward)). Before 5.0 they are
    /// left out. Fails if the topic is not one, or a message cannot have the properties.
    #[inline]
    pub fn new(
        version: Version,
        topic: &'a str,
        properties: Properties<'a>,
        payload_len: usize,
    ) -> Result<Self, EncodeError> {
        check_topic(topic).map_err(EncodeError::BadTopic)?;
        Self::of_checked(version, topic, properties, payload_len)
    }

    /// Those of a packet, whose topic may be an alias.
    #[inline]
    pub(super) fn of(publish: &Publish<'a>, version: Version) -> Result<Self, EncodeError> {
        let Publish { topic, properties, payload, .. } = *publish;
        if !topic.is_empty() {
            return Self::new(version, topic, properties, payload.len());
        }
        if !version.is_5() {
            return Err(EncodeError::NotInVersion);
        }
        if !properties.has(PropertyId::TopicAlias) {
            return Err(EncodeError::BadTopic(TopicError::Empty));
        }
        Self::of_checked(version, topic, properties, payload.len())
    }

    /// As [`new`](Self::new), where the topic has been checked: it has come in a packet.
    #[inline]
    pub(crate) fn of_checked(
        version: Version,
        topic: &'a str,
        properties: Properties<'a>,
        payload_len: usize,
    ) -> Result<Self, EncodeError> {
        let properties = if version.is_5() { properties } else { Properties::default() };
        properties.fit(Place::Packet(PacketType::Publish))?;
        Ok(Self { version, topic, properties, payload_len })
    }

    /// The bytes of the packet for this receiver, payload included: what its Maximum Packet Size is compared with.
    ///
    /// Fails where [`encode_head`](Self::encode_head) does.
    #[inline]
    pub fn packet_len(&self, to: &Delivery<'_>) -> Result<usize, EncodeError> {
        let len = self.remaining_len(to)?;
        Ok(1 + varint_len(len) + len)
    }

    /// Appends all of the packet but its payload, which has to follow, and says how many bytes that took.
    ///
    /// An error means that nothing was appended: the packet would be too long, the packet identifier and the quality contradict
    /// each other, the receiver's own properties are among the common ones too, or the version has no alias.
    #[inline]
    pub fn encode_head(&self, to: &Delivery<'_>, out: &mut Vec<u8>) -> Result<usize, EncodeError> {
        self.encode_head_and(to, 0, out)
    }

    /// ... with room for as many bytes more.
    #[inline]
    pub(super) fn encode_head_and(
        &self,
        to: &Delivery<'_>,
        more: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, EncodeError> {
        let len = self.remaining_len(to)?;
        let head_len = 1 + varint_len(len) + len - self.payload_len;
        out.reserve(head_len + more);
        out.push((PacketType::Publish as u8) << 4 | u8::from(to.dup) << 3 | to.qos.to_u8() << 1 | u8::from(to.retain));
        put_varint(out, len);
        self.head(to, out);
        Ok(head_len)
    }

    #[inline]
    fn remaining_len(&self, to: &Delivery<'_>) -> Result<usize, EncodeError> {
        let mut measure = Measure::default();
        self.head(to, &mut measure);
        match measure.finish()?.checked_add(self.payload_len) {
            Some(len) if len <= VARINT_MAX => Ok(len),
            _ => Err(EncodeError::PacketTooLong),
        }
    }

    /// What stands between header and payload.
    #[inline]
    fn head(&self, to: &Delivery<'_>, sink: &mut impl Sink) {
        if matches!(to.topic, TopicAs::Alias(_)) {
            sink.u16(0)
        } else {
            sink.binary(self.topic.as_bytes())
        }
        match to.id {
            Some(id) => {
                sink.require(to.qos != QoS::AtMostOnce, EncodeError::NotAtQoS0);
                sink.u16(id.get());
            }
            None => {
                sink.require(to.qos == QoS::AtMostOnce, EncodeError::PacketIdMissing);
                sink.require(!to.dup, EncodeError::NotAtQoS0);
            }
        }
        if self.version.is_5() {
            self.properties(to, sink);
        } else {
            sink.require(to.topic == TopicAs::Name, EncodeError::NotInVersion);
        }
    }

    #[inline]
    fn properties(&self, to: &Delivery<'_>, sink: &mut impl Sink) {
        let own = to.alias().map_or(0, |_| 3)
            + to.expiry.map_or(0, |_| 5)
            + to.subscription_ids.iter().map(|&id| subscription_id_len(id)).sum::<usize>();
        sink.varint(own + self.properties.raw().len());
        if own > 0 {
            self.own_properties(to, sink);
        }
        sink.bytes(self.properties.raw());
    }

    fn own_properties(&self, to: &Delivery<'_>, sink: &mut impl Sink) {
        if let Some(alias) = to.alias() {
            self.once(PropertyId::TopicAlias, sink);
            sink.u16(alias.get());
        }
        if let Some(expiry) = to.expiry {
            self.once(PropertyId::MessageExpiryInterval, sink);
            sink.bytes(&expiry.to_be_bytes());
        }
        for id in to.subscription_ids {
            sink.u8(PropertyId::SubscriptionIdentifier as u8);
            sink.varint(id.get() as usize);
        }
    }

    fn once(&self, id: PropertyId, sink: &mut impl Sink) {
        sink.require(!self.properties.has(id), EncodeError::PropertyRepeated(id));
        sink.u8(id as u8);
    }
}

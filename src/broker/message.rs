//! A message that is kept: retained, queued, in flight, a will, or for the embedding program.

use std::rc::Rc;

use bytes::Bytes;

use crate::proto::mqtt::{Properties, PropertyBuf, PropertyId, Publish, QoS};
use crate::time::Moment;

/// A message, shared by all who keep it: its topic, properties and payload in one piece of memory.
#[derive(Clone)]
pub struct Message {
    /// Topic, properties, payload.
    data: Bytes,
    present: u64,
    expires: Moment,
    properties_len: u32,
    topic_len: u16,
    qos: QoS,
    retain: bool,
}

/// A message on its way through the broker, whoever owns its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Publication<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    /// Those that are handed on.
    pub(super) properties: Properties<'a>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// When its life ends; `Moment::NEVER` where it does not.
    pub(super) expires: Moment,
}

/// Messages in a row that differ in their payloads only, which are as long as each other, and at QoS 1 in their packet identifiers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    /// Their packets, as they came.
    pub(super) wire: &'a [u8],
    /// How many they are.
    pub(super) count: usize,
}

impl Message {
    /// Its topic name.
    pub fn topic(&self) -> &str {
        self.data
            .get(..usize::from(self.topic_len))
            .and_then(|topic| std::str::from_utf8(topic).ok())
            .unwrap_or_default()
    }

    /// Its content.
    pub fn payload(&self) -> &[u8] {
        self.data.get(self.payload_at()..).unwrap_or_default()
    }

    /// The properties that are handed on: no topic alias, no subscription identifier, no expiry.
    pub fn properties(&self) -> Properties<'_> {
        let raw = self.data.get(usize::from(self.topic_len)..self.payload_at()).unwrap_or_default();
        Properties::from_parts(raw, self.present)
    }

    /// The quality that it was published at.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// Whether it was published to be retained.
    pub fn is_retain(&self) -> bool {
        self.retain
    }

    /// The bytes of topic, properties and payload.
    pub fn size(&self) -> usize {
        self.data.len()
    }

    fn payload_at(&self) -> usize {
        usize::from(self.topic_len) + self.properties_len as usize
    }

    /// The payload, to be shared.
    pub(super) fn shared_payload(&self) -> Bytes {
        self.data.slice(self.payload_at().min(self.data.len())..)
    }

    pub(super) fn expires(&self) -> Moment {
        self.expires
    }

    /// It as it was when it came.
    pub(super) fn publication(&self) -> Publication<'_> {
        Publication {
            topic: self.topic(),
            payload: self.payload(),
            properties: self.properties(),
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
        }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("payload_len", &self.payload().len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("properties", &self.properties())
            .finish()
    }
}

impl<'a> Run<'a> {
    /// Each of the messages, of which `first` is the first.
    pub(super) fn each(self, first: &Publication<'a>) -> impl Iterator<Item = Publication<'a>> + use<'a> {
        let first = *first;
        self.packets().map(move |packet| {
            let at = packet.len() - first.payload.len();
            Publication { payload: packet.get(at..).unwrap_or_default(), ..first }
        })
    }

    /// Each of their packets.
    pub(super) fn packets(self) -> impl Iterator<Item = &'a [u8]> {
        self.wire.chunks_exact(self.wire.len() / self.count)
    }
}

impl<'a> Publication<'a> {
    /// What is handed on of a message that has come with this topic. `space` holds the properties where some stay behind.
    pub(super) fn of(publish: &Publish<'a>, topic: &'a str, space: &'a mut PropertyBuf, now: Moment) -> Self {
        let properties = forwarded(publish.properties, space);
        let expires = expiry(publish.properties.message_expiry_interval(), now);
        let Publish { payload, qos, retain, .. } = *publish;
        Self { topic, payload, properties, qos, retain, expires }
    }

    /// What it takes to keep it: [`Message::size`].
    pub(super) fn size(&self) -> usize {
        self.topic.len() + self.properties.parts().0.len() + self.payload.len()
    }

    /// A copy that can be kept.
    pub(super) fn keep(&self) -> Rc<Message> {
        let (properties, present) = self.properties.parts();
        let mut data = Vec::with_capacity(self.size());
        data.extend_from_slice(self.topic.as_bytes());
        data.extend_from_slice(properties);
        data.extend_from_slice(self.payload);
        Rc::new(Message {
            data: data.into(),
            present,
            expires: self.expires,
            // A topic of a packet has two bytes for its length, its properties at most four of seven bits.
            properties_len: properties.len() as u32,
            topic_len: self.topic.len() as u16,
            qos: self.qos,
            retain: self.retain,
        })
    }
}

/// The properties without those that are between two parties only, or change on the way.
pub(super) fn forwarded<'a>(properties: Properties<'a>, space: &'a mut PropertyBuf) -> Properties<'a> {
    const LEFT_BEHIND: [PropertyId; 4] = [
        PropertyId::TopicAlias,
        PropertyId::MessageExpiryInterval,
        PropertyId::SubscriptionIdentifier,
        PropertyId::WillDelayInterval,
    ];
    if !LEFT_BEHIND.iter().any(|&id| properties.has(id)) {
        return properties;
    }
    space.clear();
    for property in properties {
        if !LEFT_BEHIND.contains(&property.id()) {
            // They were in one section already, so they fit into one.
            let _ = space.push(property);
        }
    }
    space.as_properties()
}

/// When a message ends that lives for so many seconds.
pub(super) fn expiry(seconds: Option<u32>, now: Moment) -> Moment {
    seconds.map_or(Moment::NEVER, |seconds| now.after(std::time::Duration::from_secs(seconds.into())))
}

/// What is left of a message's life, in seconds and rounded up; `None` for ever, or 0: it is over (MQTT-3.3.2-5, -6).
pub(super) fn seconds_left(expires: Moment, now: Moment) -> Option<u32> {
    if expires == Moment::NEVER {
        return None;
    }
    let left = expires.since(now);
    Some(u32::try_from(left.as_secs() + u64::from(left.subsec_nanos() > 0)).unwrap_or(u32::MAX))
}

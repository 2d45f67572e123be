//! MQTT 3.1, 3.1.1 and 5.0: bytes in, values out, and back.
//!
//! One model serves the three versions. [`decode`] turns the packet at the start of a buffer into a [`Packet`], a view into
//! that buffer: nothing is copied or allocated, whatever the packet holds. [`encode`] appends a packet to a `Vec`, or says why
//! it cannot before it has written a byte. Who sends one message to many uses [`PublishParts`].
//!
//! ```
//! use vansire::mqtt::{DecodeLimits, Packet, Publish, Version, decode, encode};
//!
//! let mut wire = Vec::new();
//! encode(&Packet::Publish(Publish::new("plant/7/temp", b"21.5")), Version::Mqtt5, &mut wire)?;
//!
//! let (packet, used) = decode(&wire, Version::Mqtt5, &DecodeLimits::default())?.expect("a whole packet");
//! assert_eq!(used, wire.len());
//! let Packet::Publish(publish) = packet else { unreachable!() };
//! assert_eq!((publish.topic, publish.payload), ("plant/7/temp", &b"21.5"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Decoding is strict: what a standard forbids is a [`DecodeError`], which names the fact and knows the [`ReasonCode`] for the
//! peer. Two things are left to the receiver's judgement, and taken here: lengths that are not in the shortest form, and
//! control characters in text. In topics and filters mosquitto's bound of 200 slashes holds.
//!
//! Then [`topic`] has the rules of names and filters, and [`Trie`] finds the subscriptions that a topic matches. Clause
//! numbers in this module (`MQTT-3.3.1-4`) are those of MQTT 5.0, unless 3.1.1 is named.

mod client;
#[cfg(feature = "mqttbytes")]
mod compat;
mod decode;
mod encode;
mod error;
mod index;
mod list;
mod packet;
mod property;
mod publish;
mod reason;
pub mod topic;
mod trie;
mod wire;

pub(crate) use client::is_final;
#[cfg(feature = "async")]
pub(crate) use client::life_left;
pub use client::{
    AckId, Acks, Arrived, Client, ClientLimits, ClientOptions, Failure, Fault, Input, Overdue, QueueFull, Reconnect,
    Room, SendError, Token,
};
#[cfg(feature = "mqttbytes")]
pub use compat::{NotConvertible, from_mqttbytes, to_mqttbytes};
pub use decode::{DecodeLimits, Frame, connect_version, decode, frame};
#[cfg(feature = "broker")]
pub(crate) use decode::{decode_like, id_at, id_of_like};
pub use encode::{EncodeError, encode, encoded_len};
pub use error::DecodeError;
#[cfg(feature = "broker")]
pub(crate) use index::{HashKeys, Index};
pub use list::{List, ListIter};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketId, PacketType, Publish, QoS, RetainHandling, SubAck,
    Subscribe, Subscription, UnsubAck, Unsubscribe, Version, Will,
};
pub use property::{Properties, PropertiesIter, Property, PropertyBuf, PropertyId, SubscriptionId};
pub use publish::{Delivery, PublishParts, TopicAs};
pub use reason::ReasonCode;
pub use topic::{Filter, TopicError};
pub use trie::Trie;

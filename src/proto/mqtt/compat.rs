//! To and from the 3.1.1 packets of the crate [`mqttbytes`], for programs that already use them.
//!
//! Whatever that crate would lose or garble is an error, and so is what 3.1.1 does not allow.

use std::fmt;

use mqttbytes::{Protocol, QoS as TheirQoS, v4};

use super::encode::{EncodeError, encoded_len};
use super::packet::{
    Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Publish, QoS, SubAck, Subscribe, Subscription, UnsubAck,
    Unsubscribe, Version, Will,
};
use super::property::Properties;
use super::reason::ReasonCode;

/// Why a packet cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotConvertible {
    /// It is not a packet of 3.1.1.
    Invalid(EncodeError),
    /// Packet identifier 0.
    PacketIdZero,
    /// What the other model has no place for, in a few words.
    Lost(&'static str),
}

impl fmt::Display for NotConvertible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(f, "not a packet of MQTT 3.1.1: {error}"),
            Self::PacketIdZero => f.write_str("packet identifier 0"),
            Self::Lost(what) => write!(f, "mqttbytes has no place for {what}"),
        }
    }
}

impl std::error::Error for NotConvertible {}

impl From<EncodeError> for NotConvertible {
    fn from(error: EncodeError) -> Self {
        Self::Invalid(error)
    }
}

/// Makes a packet of mqttbytes of ours. Copies what is in it.
///
/// Fails for what 5.0 has more (properties, reasons, subscription options), another version in CONNECT, a user name or password that
/// is empty or, the latter, not UTF-8: mqttbytes takes them for none.
pub fn to_mqttbytes(packet: &Packet<'_>) -> Result<v4::Packet, NotConvertible> {
    encoded_len(packet, Version::Mqtt311)?;
    Ok(match packet {
        Packet::Connect(connect) => v4::Packet::Connect(their_connect(connect)?),
        Packet::ConnAck(ConnAck { session_present, reason, properties }) => {
            none(properties)?;
            let code = match reason {
                ReasonCode::Success => v4::ConnectReturnCode::Success,
                ReasonCode::UnsupportedProtocolVersion => v4::ConnectReturnCode::RefusedProtocolVersion,
                ReasonCode::ClientIdentifierNotValid => v4::ConnectReturnCode::BadClientId,
                ReasonCode::ServerUnavailable => v4::ConnectReturnCode::ServiceUnavailable,
                ReasonCode::BadUserNameOrPassword => v4::ConnectReturnCode::BadUserNamePassword,
                ReasonCode::NotAuthorized => v4::ConnectReturnCode::NotAuthorized,
                _ => return lost("the reason"),
            };
            v4::Packet::ConnAck(v4::ConnAck { session_present: *session_present, code })
        }
        Packet::Publish(Publish { topic, payload, qos, retain, dup, id, properties }) => {
            none(properties)?;
            let mut publish = v4::Publish::new(*topic, their_qos(*qos), *payload);
            (publish.retain, publish.dup, publish.pkid) = (*retain, *dup, id.map_or(0, PacketId::get));
            v4::Packet::Publish(publish)
        }
        Packet::PubAck(ack) => v4::Packet::PubAck(v4::PubAck { pkid: their_id(ack)? }),
        Packet::PubRec(ack) => v4::Packet::PubRec(v4::PubRec { pkid: their_id(ack)? }),
        Packet::PubRel(ack) => v4::Packet::PubRel(v4::PubRel { pkid: their_id(ack)? }),
        Packet::PubComp(ack) => v4::Packet::PubComp(v4::PubComp { pkid: their_id(ack)? }),
        Packet::Subscribe(Subscribe { id, subscriptions, properties }) => {
            none(properties)?;
            let filters: Result<Vec<_>, _> = subscriptions
                .iter()
                .map(|line| {
                    if line != Subscription::new(line.filter, line.qos) {
                        return lost("subscription options");
                    }
                    Ok(v4::SubscribeFilter { path: line.filter.into(), qos: their_qos(line.qos) })
                })
                .collect();
            v4::Packet::Subscribe(v4::Subscribe { pkid: id.get(), filters: filters? })
        }
        Packet::SubAck(SubAck { id, reasons, properties }) => {
            none(properties)?;
            let return_codes: Result<Vec<_>, _> = reasons
                .iter()
                .map(|reason| match reason {
                    ReasonCode::Success => Ok(v4::SubscribeReasonCode::Success(TheirQoS::AtMostOnce)),
                    ReasonCode::GrantedQoS1 => Ok(v4::SubscribeReasonCode::Success(TheirQoS::AtLeastOnce)),
                    ReasonCode::GrantedQoS2 => Ok(v4::SubscribeReasonCode::Success(TheirQoS::ExactlyOnce)),
                    ReasonCode::UnspecifiedError => Ok(v4::SubscribeReasonCode::Failure),
                    _ => lost("the reason"),
                })
                .collect();
            v4::Packet::SubAck(v4::SubAck { pkid: id.get(), return_codes: return_codes? })
        }
        Packet::Unsubscribe(Unsubscribe { id, filters, properties }) => {
            none(properties)?;
            v4::Packet::Unsubscribe(v4::Unsubscribe {
                pkid: id.get(),
                topics: filters.iter().map(Into::into).collect(),
            })
        }
        Packet::UnsubAck(UnsubAck { id, reasons, properties }) => {
            none(properties)?;
            if !reasons.is_empty() {
                return lost("reasons");
            }
            v4::Packet::UnsubAck(v4::UnsubAck { pkid: id.get() })
        }
        Packet::PingReq => v4::Packet::PingReq,
        Packet::PingResp => v4::Packet::PingResp,
        Packet::Disconnect(Disconnect { reason, properties }) => {
            none(properties)?;
            if *reason != ReasonCode::Success {
                return lost("the reason");
            }
            v4::Packet::Disconnect
        }
        Packet::Auth(_) => return lost("AUTH"),
    })
}

/// Lends a packet of ours that is made of one of mqttbytes. Copies no text and no payload.
///
/// ```
/// use vansire::mqtt::{Packet, Version, encode, from_mqttbytes};
///
/// let theirs = mqttbytes::v4::Packet::Publish(mqttbytes::v4::Publish::new("a", mqttbytes::QoS::AtMostOnce, "x"));
/// let mut wire = Vec::new();
/// from_mqttbytes(&theirs, |packet| encode(&packet, Version::Mqtt311, &mut wire))??;
/// assert_eq!(wire, b"\x30\x04\0\x01ax");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Fails for what 3.1.1 does not allow: topics and filters that are none, packet identifier 0, text of more than 65,535 bytes,
/// a password without a user name, a CONNECT that says it is of 5.0.
pub fn from_mqttbytes<R>(packet: &v4::Packet, lend: impl FnOnce(Packet<'_>) -> R) -> Result<R, NotConvertible> {
    let properties = Properties::default();
    let ack = |pkid| our_id(pkid).map(Ack::new);
    // What lists borrow.
    let (lines, reasons, filters): (Vec<_>, Vec<_>, Vec<_>);
    let ours = match packet {
        v4::Packet::Connect(connect) => Packet::Connect(our_connect(connect)?),
        v4::Packet::ConnAck(v4::ConnAck { session_present, code }) => {
            let reason = match code {
                v4::ConnectReturnCode::Success => ReasonCode::Success,
                v4::ConnectReturnCode::RefusedProtocolVersion => ReasonCode::UnsupportedProtocolVersion,
                v4::ConnectReturnCode::BadClientId => ReasonCode::ClientIdentifierNotValid,
                v4::ConnectReturnCode::ServiceUnavailable => ReasonCode::ServerUnavailable,
                v4::ConnectReturnCode::BadUserNamePassword => ReasonCode::BadUserNameOrPassword,
                v4::ConnectReturnCode::NotAuthorized => ReasonCode::NotAuthorized,
            };
            Packet::ConnAck(ConnAck { session_present: *session_present, reason, properties })
        }
        v4::Packet::Publish(publish) => {
            let qos = our_qos(publish.qos);
            let id = if qos == QoS::AtMostOnce { None } else { Some(our_id(publish.pkid)?) };
            let (retain, dup) = (publish.retain, publish.dup);
            Packet::Publish(Publish { qos, id, retain, dup, ..Publish::new(&publish.topic, &publish.payload) })
        }
        v4::Packet::PubAck(theirs) => Packet::PubAck(ack(theirs.pkid)?),
        v4::Packet::PubRec(theirs) => Packet::PubRec(ack(theirs.pkid)?),
        v4::Packet::PubRel(theirs) => Packet::PubRel(ack(theirs.pkid)?),
        v4::Packet::PubComp(theirs) => Packet::PubComp(ack(theirs.pkid)?),
        v4::Packet::Subscribe(subscribe) => {
            lines = subscribe.filters.iter().map(|line| Subscription::new(&line.path, our_qos(line.qos))).collect();
            Packet::Subscribe(Subscribe {
                id: our_id(subscribe.pkid)?,
                subscriptions: lines.as_slice().into(),
                properties,
            })
        }
        v4::Packet::SubAck(sub_ack) => {
            reasons = sub_ack
                .return_codes
                .iter()
                .map(|code| match code {
                    v4::SubscribeReasonCode::Success(qos) => ReasonCode::granted(our_qos(*qos)),
                    v4::SubscribeReasonCode::Failure => ReasonCode::UnspecifiedError,
                })
                .collect();
            Packet::SubAck(SubAck { id: our_id(sub_ack.pkid)?, reasons: reasons.as_slice().into(), properties })
        }
        v4::Packet::Unsubscribe(unsubscribe) => {
            filters = unsubscribe.topics.iter().map(String::as_str).collect();
            Packet::Unsubscribe(Unsubscribe {
                id: our_id(unsubscribe.pkid)?,
                filters: filters.as_slice().into(),
                properties,
            })
        }
        v4::Packet::UnsubAck(theirs) => {
            Packet::UnsubAck(UnsubAck { id: our_id(theirs.pkid)?, reasons: (&[]).into(), properties })
        }
        v4::Packet::PingReq => Packet::PingReq,
        v4::Packet::PingResp => Packet::PingResp,
        v4::Packet::Disconnect => Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
    };
    encoded_len(&ours, Version::Mqtt311)?;
    Ok(lend(ours))
}

fn their_connect(connect: &Connect<'_>) -> Result<v4::Connect, NotConvertible> {
    if connect.version != Version::Mqtt311 {
        return lost("another version");
    }
    let last_will = match &connect.will {
        Some(Will { topic, payload, qos, retain, properties }) => {
            none(properties)?;
            Some(v4::LastWill::new(*topic, *payload, their_qos(*qos), *retain))
        }
        None => None,
    };
    none(&connect.properties)?;
    if connect.username == Some("") || connect.password == Some(b"") {
        return lost("an empty user name or password");
    }
    let password = std::str::from_utf8(connect.password.unwrap_or_default())
        .map_err(|_| NotConvertible::Lost("a password that is not UTF-8"))?;
    Ok(v4::Connect {
        protocol: Protocol::V4,
        keep_alive: connect.keep_alive,
        client_id: connect.client_id.into(),
        clean_session: connect.clean_start,
        last_will,
        login: connect.username.map(|username| v4::Login::new(username, password)),
    })
}

fn our_connect(connect: &v4::Connect) -> Result<Connect<'_>, NotConvertible> {
    if connect.protocol != Protocol::V4 {
        return lost("5.0");
    }
    // To mqttbytes, empty is none.
    let login = connect.login.as_ref();
    let username = login.map(|login| login.username.as_str()).filter(|text| !text.is_empty());
    let password = login.map(|login| login.password.as_bytes()).filter(|bytes| !bytes.is_empty());
    let will = connect.last_will.as_ref().map(|will| Will {
        qos: our_qos(will.qos),
        retain: will.retain,
        ..Will::new(&will.topic, &will.message)
    });
    Ok(Connect {
        clean_start: connect.clean_session,
        keep_alive: connect.keep_alive,
        will,
        username,
        password,
        ..Connect::new(Version::Mqtt311, &connect.client_id)
    })
}

fn lost<T>(what: &'static str) -> Result<T, NotConvertible> {
    Err(NotConvertible::Lost(what))
}

fn none(properties: &Properties<'_>) -> Result<(), NotConvertible> {
    if properties.is_empty() { Ok(()) } else { lost("properties") }
}

fn their_id(ack: &Ack<'_>) -> Result<u16, NotConvertible> {
    none(&ack.properties)?;
    if ack.reason == ReasonCode::Success { Ok(ack.id.get()) } else { lost("the reason") }
}

fn our_id(pkid: u16) -> Result<PacketId, NotConvertible> {
    PacketId::new(pkid).ok_or(NotConvertible::PacketIdZero)
}

fn their_qos(qos: QoS) -> TheirQoS {
    match qos {
        QoS::AtMostOnce => TheirQoS::AtMostOnce,
        QoS::AtLeastOnce => TheirQoS::AtLeastOnce,
        QoS::ExactlyOnce => TheirQoS::ExactlyOnce,
    }
}

fn our_qos(qos: TheirQoS) -> QoS {
    match qos {
        TheirQoS::AtMostOnce => QoS::AtMostOnce,
        TheirQoS::AtLeastOnce => QoS::AtLeastOnce,
        TheirQoS::ExactlyOnce => QoS::ExactlyOnce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mqttbytes_would_garble_is_an_error() {
        let connect = Connect::new(Version::Mqtt311, "c");
        let id = PacketId::MIN;
        let refused = Ack { reason: ReasonCode::QuotaExceeded, ..Ack::new(id) };
        let table = [
            (
                "a password of bytes",
                Packet::Connect(Connect { username: Some("u"), password: Some(b"\xff"), ..connect }),
            ),
            ("an empty user name", Packet::Connect(Connect { username: Some(""), ..connect })),
            ("an empty password", Packet::Connect(Connect { username: Some("u"), password: Some(b""), ..connect })),
            ("another version", Packet::Connect(Connect::new(Version::Mqtt5, "c"))),
            ("a reason", Packet::PubRec(refused)),
            ("a refusal it does not know", Packet::ConnAck(ConnAck::new(ReasonCode::Banned))),
            ("a reason to go", Packet::Disconnect(Disconnect::new(ReasonCode::DisconnectWithWill))),
        ];
        for (name, packet) in table {
            assert!(matches!(to_mqttbytes(&packet), Err(NotConvertible::Lost(_))), "{name}");
        }
        let long = "x".repeat(65_536);
        let publish = |topic: &str, qos| v4::Packet::Publish(v4::Publish::new(topic, qos, "x"));
        let table = [
            ("a topic whose tail would be payload", publish(&long, TheirQoS::AtMostOnce)),
            ("a wildcard topic", publish("a/#", TheirQoS::AtMostOnce)),
            ("id 0", publish("a", TheirQoS::AtLeastOnce)),
            ("a subscription to nothing", v4::Packet::Subscribe(v4::Subscribe::empty_subscribe())),
            ("a bad filter", v4::Packet::Unsubscribe(v4::Unsubscribe { pkid: 1, topics: vec!["#/a".into()] })),
        ];
        for (name, packet) in table {
            assert!(from_mqttbytes(&packet, |_| ()).is_err(), "{name}");
        }
    }
}

//! What the API tells of the broker, and what it has it do.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Number;

use super::Refusal;
use super::list::{Page, limit, next_page, query};
use crate::app::mqtt::version_name;
use crate::app::pages::to_json;
use crate::app::serve::Site;
use crate::broker::{ClientInfo, DropReason, Drops, Message, Stats, SubscriptionInfo};
use crate::manager::{Ctx, Net};
use crate::net::Address;
use crate::proto::http::{Request, base64};
use crate::proto::mqtt::{Publish, QoS, ReasonCode};

/// The broker, in the body of `/api/v1/status`.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Mqtt {
    /// Clients connected now.
    pub clients: usize,
    /// The most that were at once.
    pub clients_max: usize,
    /// Sessions now, connected or not.
    pub sessions: usize,
    /// Subscriptions now.
    pub subscriptions: usize,
    /// Retained messages now.
    pub retained: usize,
    /// Bytes of those.
    pub retained_bytes: usize,
    /// Messages that wait for clients now.
    pub queued: usize,
    /// Bytes of those.
    pub queued_bytes: usize,
    /// Connections that were accepted with success.
    pub connected_total: u64,
    /// Connections that were refused.
    pub refused_total: u64,
    /// Requests that access control refused.
    pub denied_total: u64,
    /// Connections that ended because a peer broke the protocol.
    pub protocol_errors_total: u64,
    /// Packets from clients.
    pub packets_in_total: u64,
    /// Packets to clients.
    pub packets_out_total: u64,
    /// Messages published.
    pub messages_in_total: u64,
    /// Messages sent to clients.
    pub messages_out_total: u64,
    /// Messages that were meant for a client, one for each: those that were delivered, are queued, or were dropped.
    pub messages_routed_total: u64,
    /// Those that have arrived: handed over at QoS 0, acknowledged at QoS 1 and 2.
    pub messages_delivered_total: u64,
    /// Wills that were published.
    pub wills_total: u64,
    /// Sessions that expired.
    pub sessions_expired_total: u64,
    /// Retained messages that were not kept, for want of room.
    pub retained_refused_total: u64,
    /// Messages that did not reach a client, by reason.
    #[serde(serialize_with = "by_reason")]
    pub dropped_total: Drops,
}

impl From<Stats> for Mqtt {
    fn from(stats: Stats) -> Self {
        Self {
            clients: stats.clients_connected,
            clients_max: stats.clients_connected_max,
            sessions: stats.sessions,
            subscriptions: stats.subscriptions,
            retained: stats.retained,
            retained_bytes: stats.retained_bytes,
            queued: stats.queued,
            queued_bytes: stats.queued_bytes,
            connected_total: stats.connected,
            refused_total: stats.refused,
            denied_total: stats.denied,
            protocol_errors_total: stats.protocol_errors,
            packets_in_total: stats.packets_in,
            packets_out_total: stats.packets_out,
            messages_in_total: stats.publish_in,
            messages_out_total: stats.publish_out,
            messages_routed_total: stats.routed,
            messages_delivered_total: stats.delivered,
            wills_total: stats.wills,
            sessions_expired_total: stats.expired_sessions,
            retained_refused_total: stats.retained_refused,
            dropped_total: stats.dropped,
        }
    }
}

fn by_reason<S: Serializer>(drops: &Drops, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(DropReason::ALL.map(|reason| (reason.as_str(), drops.get(reason))))
}

#[derive(Serialize)]
struct Client {
    id: Box<str>,
    username: Option<Box<str>>,
    connected: bool,
    remote: Option<String>,
    version: &'static str,
    keep_alive_seconds: u16,
    /// None: for ever.
    session_expiry_seconds: Option<u32>,
    /// Of one that is not connected; none: it lasts for ever.
    ends_in_seconds: Option<u64>,
    subscriptions: usize,
    inflight: usize,
    queued: usize,
    queued_bytes: usize,
    #[serde(serialize_with = "by_reason")]
    dropped_total: Drops,
    has_will: bool,
}

impl Client {
    fn of(info: ClientInfo, net: &Net<'_, Site>) -> Self {
        let remote = info.conn.and_then(|conn| net.remote_addr(conn));
        Self {
            id: info.id,
            username: info.username,
            connected: info.conn.is_some(),
            remote: remote.map(|remote| Address::Inet(remote).to_string()),
            version: version_name(info.version),
            keep_alive_seconds: info.keep_alive,
            session_expiry_seconds: (info.session_expiry != u32::MAX).then_some(info.session_expiry),
            ends_in_seconds: info.ends_in.map(|left| left.as_secs()),
            subscriptions: info.subscriptions,
            inflight: info.inflight,
            queued: info.queued,
            queued_bytes: info.queued_bytes,
            dropped_total: info.dropped,
            has_will: info.has_will,
        }
    }
}

#[derive(Serialize)]
struct Subscription {
    client: Box<str>,
    filter: Box<str>,
    qos: u8,
}

impl From<SubscriptionInfo> for Subscription {
    fn from(info: SubscriptionInfo) -> Self {
        Self { client: info.client, filter: info.filter, qos: info.qos.to_u8() }
    }
}

#[derive(Serialize)]
struct Retained {
    topic: String,
    qos: u8,
    payload_bytes: usize,
    /// Where it is text, and not too long for a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// Where it is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl Retained {
    /// With its payload, if that has at most so many bytes.
    fn of(message: &Message, max: usize) -> Self {
        let payload = Some(message.payload()).filter(|payload| payload.len() <= max);
        let text = payload.and_then(|payload| std::str::from_utf8(payload).ok());
        Self {
            topic: message.topic().into(),
            qos: message.qos().to_u8(),
            payload_bytes: message.payload().len(),
            payload: text.map(str::to_string),
            payload_base64: payload.filter(|_| text.is_none()).map(base64::encode),
        }
    }
}

/// A message to be published.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    topic: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    /// Any number: an error of a narrower type would name the type.
    #[serde(default = "at_most_once")]
    qos: Number,
    #[serde(default)]
    retain: bool,
}

fn at_most_once() -> Number {
    Number::from(QoS::AtMostOnce.to_u8())
}

#[derive(Serialize)]
struct Published {
    receivers: usize,
}

pub(super) fn clients(cx: &mut Ctx<'_, Site>, request: &Request<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let broker = cx.state.broker.clone();
    if let Some(id) = query(request, "id")? {
        let info =
            broker.client(&cx.net, &id).ok_or_else(|| Refusal::new(404, "No client of this id has a session."))?;
        return Ok(to_json(&Client::of(info, &cx.net)));
    }
    let (max, after) = (limit(request)?, query(request, "after")?);
    let found = broker.clients_page(&cx.net, after.as_deref(), max);
    let items: Vec<_> = found.into_iter().map(|info| Client::of(info, &cx.net)).collect();
    let next = items.last().filter(|_| items.len() == max);
    let next = next.map(|last| next_page("clients", &[("limit", &max.to_string()), ("after", &last.id)]));
    Ok(to_json(&Page { items, next }))
}

pub(super) fn kick(cx: &mut Ctx<'_, Site>, request: &Request<'_>) -> Result<(), Refusal> {
    let id = query(request, "id")?.ok_or_else(|| Refusal::new(400, "Which client? Say ?id=..."))?;
    let (broker, reason) = (cx.state.broker.clone(), ReasonCode::AdministrativeAction);
    // Of one that is not connected, its session is all there is to end.
    match broker.kick(&mut cx.net, &id, reason) || broker.end_session(&mut cx.net, &id, reason) {
        true => Ok(()),
        false => Err(Refusal::new(404, "No client of this id has a session.")),
    }
}

pub(super) fn subscriptions(cx: &Ctx<'_, Site>, request: &Request<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let max = limit(request)?;
    let (client, after, after_filter) =
        (query(request, "client")?, query(request, "after")?, query(request, "after_filter")?);
    let after = after.as_deref().map(|client| (client, after_filter.as_deref().unwrap_or_default()));
    let found = cx.state.broker.subscriptions_page(client.as_deref(), after, max);
    let next = found.last().filter(|_| found.len() == max).map(|last| {
        let limit = max.to_string();
        let mut pairs = vec![("limit", &*limit), ("after", &*last.client), ("after_filter", &*last.filter)];
        pairs.extend(client.as_deref().map(|client| ("client", client)));
        next_page("subscriptions", &pairs)
    });
    Ok(to_json(&Page { items: found.into_iter().map(Subscription::from).collect(), next }))
}

pub(super) fn retained(cx: &Ctx<'_, Site>, request: &Request<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let broker = &cx.state.broker;
    if let Some(topic) = query(request, "topic")? {
        // A topic is a filter that matches nothing else.
        let found = if topic.contains(['+', '#']) { Ok(Vec::new()) } else { broker.retained(&topic, None, 1) };
        let found = found.map_err(|e| Refusal::new(400, format!("The topic cannot be used: {e}.")))?;
        let message = found.first().ok_or_else(|| Refusal::new(404, "This topic has no retained message."))?;
        return Ok(to_json(&Retained::of(message, usize::MAX)));
    }
    let (filter, after, max) = (query(request, "filter")?, query(request, "after")?, limit(request)?);
    let filter = filter.as_deref().unwrap_or("#");
    let found = broker
        .retained_page(filter, after.as_deref(), max)
        .map_err(|e| Refusal::new(400, format!("The filter cannot be used: {e}.")))?;
    let items: Vec<_> = found.messages.iter().map(|message| Retained::of(message, PAYLOAD_MAX)).collect();
    let next = found.next.map(|after| {
        let limit = max.to_string();
        next_page("retained", &[("filter", filter), ("limit", &*limit), ("after", &*after)])
    });
    Ok(to_json(&Page { items, next }))
}

pub(super) fn clear(cx: &Ctx<'_, Site>, request: &Request<'_>) -> Result<(), Refusal> {
    let topic = query(request, "topic")?.ok_or_else(|| Refusal::new(400, "Which topic? Say ?topic=..."))?;
    match cx.state.broker.clear_retained(&topic) {
        true => Ok(()),
        false => Err(Refusal::new(404, "This topic has no retained message.")),
    }
}

pub(super) fn publish(cx: &mut Ctx<'_, Site>, request: &Request<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let bad = |why: &dyn std::fmt::Display| Refusal::new(400, format!("The message cannot be read: {why}."));
    // Serde takes an array for a struct as well, its items for the fields in their order.
    if request.body().trim_ascii_start().first() != Some(&b'{') {
        return Err(bad(&"it is not a JSON object"));
    }
    let wanted: Wanted = serde_json::from_slice(request.body()).map_err(|e| bad(&e))?;
    let payload = match (wanted.payload, wanted.payload_base64) {
        (Some(_), Some(_)) => return Err(bad(&"payload and payload_base64 are one too many")),
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => {
            base64::decode(text.as_bytes()).ok_or_else(|| bad(&"payload_base64 is not base64 with its padding"))?
        }
        (None, None) => Vec::new(),
    };
    let qos = wanted.qos.as_u64().and_then(|qos| QoS::from_u8(qos.try_into().ok()?));
    let qos = qos.ok_or_else(|| bad(&"qos is none of 0, 1, 2"))?;
    if wanted.topic.split('/').next() == Some("$SYS") {
        return Err(Refusal::new(403, "Only the broker publishes below $SYS.".to_owned()));
    }
    let mut message = Publish::new(&wanted.topic, &payload);
    (message.qos, message.retain) = (qos, wanted.retain);
    let broker = cx.state.broker.clone();
    let receivers = broker.publish(&mut cx.net, &message).map_err(|e| bad(&e))?;
    Ok(to_json(&Published { receivers }))
}

/// Bytes of a payload that is shown in a list.
const PAYLOAD_MAX: usize = 1024;

//! The broker without a loop: packets in, packets out, time by hand.

mod access;
mod connect;
mod delivery;
mod marks;
mod random;
mod reads;
mod retained;
mod rows;
mod sessions;
mod shared;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use crate::event::Sent;
use crate::id::{ConnId, Table};
use crate::proto::mqtt::*;
use crate::time::Moment;

use super::access::AllowAll;
use super::core::{Core, Sink};
use super::options::Options;
use super::store::{Change, Saved, Store, Ticket};

/// A store that is slow.
pub(super) struct Slow(pub(super) u64);

impl Store for Slow {
    fn record(&mut self, change: &Change<'_>) -> Saved {
        match change {
            Change::Queued { .. } | Change::Retained { .. } | Change::Received { .. } | Change::Released { .. } => {
                self.0 += 1;
                Saved::At(Ticket(self.0))
            }
            _ => Saved::Now,
        }
    }
}

/// A broker with its clients' wires.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) wire: Wire,
    pub(super) now: Moment,
    conns: Table<()>,
    versions: HashMap<ConnId, Version>,
}

/// What a broker has done to its connections.
#[derive(Default)]
pub(super) struct Wire {
    out: HashMap<ConnId, Vec<u8>>,
    pub(super) closed: Vec<ConnId>,
    pub(super) paused: Vec<ConnId>,
    /// These read nothing: their output is high from the first byte.
    pub(super) slow: Vec<ConnId>,
    pub(super) shared: usize,
}

impl Sink for Wire {
    fn write(&mut self, to: ConnId, head: &[u8], rest: &[u8]) -> Sent {
        assert!(!self.closed.contains(&to), "written to after its end");
        let out = self.out.entry(to).or_default();
        out.extend_from_slice(head);
        out.extend_from_slice(rest);
        if self.slow.contains(&to) { Sent::High } else { Sent::Queued }
    }

    fn write_shared(&mut self, to: ConnId, bytes: Bytes) -> Sent {
        self.shared += 1;
        self.write(to, &bytes, &[])
    }

    fn close(&mut self, conn: ConnId) {
        self.closed.push(conn);
    }

    fn part(&mut self, conn: ConnId) {
        self.close(conn);
    }

    fn pause(&mut self, conn: ConnId) {
        self.paused.push(conn);
    }

    fn resume(&mut self, conn: ConnId) {
        self.paused.retain(|paused| *paused != conn);
    }
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        Self {
            core: Core::new(options).0,
            wire: Wire::default(),
            now: Moment::START,
            conns: Table::new(),
            versions: HashMap::new(),
        }
    }

    /// With anybody allowed in.
    pub(super) fn open() -> Self {
        Self::new(Options::new().access(AllowAll))
    }

    /// A connection that has said nothing yet.
    pub(super) fn accept(&mut self) -> ConnId {
        let conn = ConnId(self.conns.insert(()));
        self.core.handle_accepted(conn, "127.0.0.1:50000".parse().ok(), None, self.now);
        conn
    }

    /// Bytes from a client; how many of them were used.
    /// Nothing gets lost, whatever happens, and what is counted is what is there.
    pub(super) fn check_balance(&self) {
        let stats = self.core.stats();
        let clients = self.core.clients(self.now);
        assert_eq!(stats.queued, clients.iter().map(|client| client.queued + client.inflight).sum::<usize>());
        assert_eq!(stats.routed, stats.delivered + stats.queued as u64 + stats.dropped.total());
        assert_eq!(stats.queued_bytes, clients.iter().map(|client| client.queued_bytes).sum::<usize>());
        let acks = &self.core.unsafe_acks;
        assert!(acks.iter().map(|ack| ack.ticket).is_sorted());
        let stale = acks.iter().filter(|ack| self.core.session_of(ack.conn).is_none()).count();
        assert_eq!(self.core.stale_acks, stale);
        for session in self.core.sessions.iter() {
            if let Some(outbound) = &session.outbound {
                outbound.check_counts(session.inflight_max.max(1));
            }
            let own: Vec<_> =
                acks.iter().filter(|ack| Some(ack.conn) == session.conn).map(|ack| ack.packet[0]).collect();
            let counted = session.inbound.as_ref().map_or((0, 0), |inbound| (inbound.unsafe_acks, inbound.waiting));
            assert_eq!(counted, (own.len() as u32, own.iter().filter(|first| **first == 0x40).count() as u32));
            if let Some(link) = session.conn.and_then(|conn| self.core.link(conn)) {
                let max = self.core.bounds.unsafe_acks();
                assert_eq!(
                    link.open.as_ref().is_some_and(|open| open.is_held),
                    counted.0 == max,
                    "{} of {max}",
                    counted.0
                );
                assert_eq!(self.wire.paused.contains(&link.conn), link.is_waiting());
            }
        }
    }

    pub(super) fn bytes(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        self.core.handle_input(conn, bytes, self.now, &mut self.wire)
    }

    pub(super) fn packet(&mut self, conn: ConnId, packet: Packet<'_>) {
        let version = self.versions.get(&conn).copied().unwrap_or(Version::Mqtt5);
        let mut out = Vec::new();
        encode(&packet, version, &mut out).unwrap();
        assert_eq!(self.bytes(conn, &out), out.len(), "{packet:?}");
    }

    /// Connects, and returns what the broker answers.
    pub(super) fn join(&mut self, connect: Connect<'_>) -> (ConnId, Vec<String>) {
        let conn = self.accept();
        self.versions.insert(conn, connect.version);
        self.packet(conn, Packet::Connect(connect));
        (conn, self.heard(conn))
    }

    /// A client of 3.1.1 with a clean session.
    pub(super) fn v3(&mut self, id: &str) -> ConnId {
        self.joined(Connect::new(Version::Mqtt311, id))
    }

    /// A client of 5.0 with a clean start, and no session after its connection.
    pub(super) fn v5(&mut self, id: &str) -> ConnId {
        self.joined(Connect::new(Version::Mqtt5, id))
    }

    /// One whose session lasts.
    pub(super) fn lasting(&mut self, version: Version, id: &str) -> ConnId {
        let mut properties = PropertyBuf::new();
        properties.push(Property::SessionExpiryInterval(100)).unwrap();
        let properties = if version.is_5() { properties.as_properties() } else { Properties::default() };
        self.joined(Connect { clean_start: false, properties, ..Connect::new(version, id) })
    }

    pub(super) fn joined(&mut self, connect: Connect<'_>) -> ConnId {
        let (conn, heard) = self.join(connect);
        assert!(heard[0].starts_with("connack Success"), "{heard:?}");
        conn
    }

    /// The connection is cut.
    pub(super) fn cut(&mut self, conn: ConnId) {
        self.core.handle_closed(conn, self.now, &mut self.wire);
        self.conns.remove(conn.0);
    }

    pub(super) fn subscribe(&mut self, conn: ConnId, filter: &str, qos: u8) -> String {
        self.subscribe_as(conn, Subscription::new(filter, QoS::from_u8(qos).unwrap()), None)
    }

    pub(super) fn subscribe_as(&mut self, conn: ConnId, subscription: Subscription<'_>, id: Option<u32>) -> String {
        let mut properties = PropertyBuf::new();
        if let Some(id) = id.and_then(SubscriptionId::new) {
            properties.push(Property::SubscriptionIdentifier(id)).unwrap();
        }
        let subscriptions = [subscription];
        self.packet(
            conn,
            Packet::Subscribe(Subscribe {
                id: packet_id(999),
                subscriptions: (&subscriptions).into(),
                properties: properties.as_properties(),
            }),
        );
        let out = self.wire.out.get_mut(&conn).expect("an answer");
        let version = self.versions[&conn];
        let (packet, used) = decode(out, version, &DecodeLimits::default()).unwrap().unwrap();
        let text = say(&packet);
        out.drain(..used);
        text
    }

    pub(super) fn publish(&mut self, conn: ConnId, topic: &str, payload: &str, qos: u8) {
        self.publish_as(conn, Publish { qos: QoS::from_u8(qos).unwrap(), ..Publish::new(topic, payload.as_bytes()) });
    }

    pub(super) fn retain(&mut self, conn: ConnId, topic: &str, payload: &str) {
        self.publish_as(conn, Publish { retain: true, ..Publish::new(topic, payload.as_bytes()) });
    }

    pub(super) fn publish_as(&mut self, conn: ConnId, publish: Publish<'_>) {
        let id = if publish.qos == QoS::AtMostOnce { None } else { publish.id.or(PacketId::new(7)) };
        self.packet(conn, Packet::Publish(Publish { id, ..publish }));
    }

    pub(super) fn pub_ack(&mut self, conn: ConnId, id: u16) {
        self.packet(conn, Packet::PubAck(Ack::new(packet_id(id))));
    }

    /// What the broker has sent there since it was asked last, each packet in words.
    pub(super) fn heard(&mut self, conn: ConnId) -> Vec<String> {
        let out = self.wire.out.remove(&conn).unwrap_or_default();
        let version = self.versions.get(&conn).copied().unwrap_or(Version::Mqtt5);
        let mut said = Vec::new();
        let mut rest = &out[..];
        while !rest.is_empty() {
            let (packet, used) = decode(rest, version, &DecodeLimits { packet_max: u32::MAX })
                .unwrap_or_else(|error| panic!("{error}: {rest:02x?}"))
                .expect("a whole packet");
            said.push(say(&packet));
            rest = &rest[used..];
        }
        said
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        for _ in 0..100 {
            if self.core.next_due() > self.now {
                return;
            }
            self.core.handle_timeout(self.now, &mut self.wire);
        }
        panic!("something is due for ever");
    }

    pub(super) fn is_closed(&self, conn: ConnId) -> bool {
        self.wire.closed.contains(&conn)
    }

    pub(super) fn drained(&mut self, conn: ConnId) {
        self.wire.slow.retain(|slow| *slow != conn);
        self.core.handle_drained(conn, self.now, &mut self.wire);
    }
}

pub(super) fn packet_id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A packet in words: what tests compare.
pub(super) fn say(packet: &Packet<'_>) -> String {
    let ack = |name: &str, ack: &Ack<'_>| match ack.reason {
        ReasonCode::Success => format!("{name} #{}", ack.id),
        reason => format!("{name} #{} {reason:?}", ack.id),
    };
    match packet {
        Packet::ConnAck(conn_ack) => {
            let present = if conn_ack.session_present { " present" } else { "" };
            format!("connack {:?}{present}{}", conn_ack.reason, properties(&conn_ack.properties))
        }
        Packet::Publish(publish) => {
            let mut text = format!("{} {}", publish.topic, String::from_utf8_lossy(publish.payload));
            if let Some(id) = publish.id {
                text += &format!(" q{} #{id}", publish.qos.to_u8());
            }
            text += if publish.dup { " dup" } else { "" };
            text += if publish.retain { " retained" } else { "" };
            text + &properties(&publish.properties)
        }
        Packet::PubAck(a) => ack("puback", a),
        Packet::PubRec(a) => ack("pubrec", a),
        Packet::PubRel(a) => ack("pubrel", a),
        Packet::PubComp(a) => ack("pubcomp", a),
        Packet::SubAck(sub_ack) => {
            let reasons: Vec<_> = sub_ack.reasons.into_iter().map(|reason| format!("{reason:?}")).collect();
            format!("suback #{} {}", sub_ack.id, reasons.join(" "))
        }
        Packet::UnsubAck(unsub_ack) => {
            let reasons: Vec<_> = unsub_ack.reasons.into_iter().map(|reason| format!("{reason:?}")).collect();
            format!("unsuback #{} {}", unsub_ack.id, reasons.join(" "))
        }
        Packet::Disconnect(disconnect) => format!("disconnect {:?}", disconnect.reason),
        Packet::PingResp => "pingresp".into(),
        other => format!("{other:?}"),
    }
}

fn properties(properties: &Properties<'_>) -> String {
    properties.iter().map(|property| format!(" {property:?}")).collect()
}

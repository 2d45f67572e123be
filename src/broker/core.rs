//! What a broker knows: connections, sessions, subscriptions, retained messages. Bytes and time in, bytes out through a
//! [`Sink`]; no sockets, no clock.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::event::Sent;
use crate::id::ConnId;
use crate::proto::mqtt::{
    DecodeLimits, Disconnect, Index, Packet, PropertyBuf, ReasonCode, Version, connect_version, decode, decode_like,
    encode, frame,
};
use crate::time::{Deadlines, Moment, Owner};

use super::access::{Access, Answer};
use super::events::{DropReason, Event, Parting, Stats};
use super::expiry::Expiry;
use super::flow::Walks;
use super::local::Locals;
use super::matches::Subscriptions;
use super::options::{Bounds, OnEvent, Options};
use super::queue::{Outbound, Stage};
use super::retained::Retained;
use super::router::{End, Space};
use super::session::Session;
use super::share::Shares;
use super::store::{Change, Saved, Store, Ticket};
use super::sys::Sys;

/// Where a broker's output goes. Nothing that is done here comes back to the broker before it is done itself.
pub(super) trait Sink {
    /// Queues bytes for a connection: both, one after the other.
    fn write(&mut self, to: ConnId, head: &[u8], rest: &[u8]) -> Sent;
    /// As `write`, without copying.
    fn write_shared(&mut self, to: ConnId, bytes: Bytes) -> Sent;
    /// Sends what is queued, then closes.
    fn close(&mut self, conn: ConnId);
    /// As `close`, where the peer has said that it sends nothing more: its end of the stream need not be waited for.
    fn part(&mut self, conn: ConnId);
    /// Holds the connection's input back.
    fn pause(&mut self, conn: ConnId);
    /// Offers the input again that was held back.
    fn resume(&mut self, conn: ConnId);
}

/// The broker itself, without the loop.
pub(super) struct Core {
    pub(super) bounds: Bounds,
    pub(super) access: Box<dyn Access>,
    pub(super) checks_deliveries: bool,
    pub(super) store: Box<dyn Store>,
    pub(super) response_information: Option<Box<str>>,
    /// By the connection's place in the manager's table.
    links: Vec<Option<Link>>,
    pub(super) sessions: Sessions,
    pub(super) subscriptions: Subscriptions,
    pub(super) shares: Shares,
    pub(super) retained: Retained,
    pub(super) locals: Locals,
    pub(super) deadlines: Deadlines,
    pub(super) sweep_due: Moment,
    pub(super) walks: Walks,
    pub(super) expiry: Expiry,
    pub(super) sys: Sys,
    pub(super) stats: Stats,
    /// Acknowledgements that wait for the store, in the order of their tickets.
    pub(super) unsafe_acks: VecDeque<UnsafeAck>,
    /// How many of them are for connections that have ended: kept, as to count them is to walk them all.
    pub(super) stale_acks: usize,
    /// How far the store has come.
    pub(super) stored: Option<Ticket>,
    /// The latest ticket of the changes that the packet at hand has caused.
    pub(super) ticket: Option<Ticket>,
    /// What is to be told to the program, if it wants to hear it.
    pub(super) events: Vec<Event>,
    pub(super) tells: bool,
    /// The answers so far to the questions about the packet at hand.
    pub(super) asked: Vec<Answer>,
    pub(super) serial: u32,
    pub(super) space: Space,
    pub(super) properties: PropertyBuf,
    pub(super) out: Vec<u8>,
}

/// A connection.
pub(super) struct Link {
    pub(super) conn: ConnId,
    /// `NO_SESSION` before CONNECT.
    pub(super) session: u32,
    pub(super) version: Version,
    /// Seconds.
    pub(super) keep_alive: u16,
    /// When its last packet came.
    pub(super) seen: Moment,
    /// What is known of it before CONNECT, or while a question is open.
    pub(super) open: Option<Box<Open>>,
}

/// A connection that waits for something.
#[derive(Default)]
pub(super) struct Open {
    pub(super) remote: Option<SocketAddr>,
    pub(super) listener: Option<ConnId>,
    /// The identifier that a client without one gets.
    pub(super) assigned: Option<Box<str>>,
    /// The number of the question that is open.
    pub(super) question: Option<u32>,
    /// What was answered about the packet that waits before that question.
    pub(super) asked: Vec<Answer>,
    /// All answers, for when it is looked at again.
    pub(super) answers: Vec<Answer>,
    /// Too many of its acknowledgements wait for the store.
    pub(super) is_held: bool,
    /// It has been let go on, and its keep-alive has not been looked at since.
    pub(super) has_waited: bool,
}

pub(super) const NO_SESSION: u32 = u32::MAX;

/// An acknowledgement that waits for the store.
pub(super) struct UnsafeAck {
    pub(super) ticket: Ticket,
    pub(super) conn: ConnId,
    pub(super) packet: Vec<u8>,
}

/// What becomes of the packet at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It is done with.
    Next,
    /// So many are, of which it is the first, and each as long.
    Run(usize),
    /// It waits for an answer, and is looked at again then.
    Wait,
}

/// The packet at hand as it came.
#[derive(Clone, Copy)]
pub(super) struct Wire<'a> {
    /// It, and what has come behind it.
    pub(super) bytes: &'a [u8],
    /// Where it ends.
    pub(super) len: usize,
}

/// The sessions, by number and by client identifier.
pub(super) struct Sessions {
    slots: Vec<Option<Session>>,
    free: Vec<u32>,
    by_id: Index,
}

impl Sessions {
    fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_id: Index::new() }
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&Session> {
        self.slots.get(at as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Session> {
        self.slots.get_mut(at as usize)?.as_mut()
    }

    pub(super) fn find(&self, id: &str) -> Option<u32> {
        self.by_id.find(self.by_id.hash(0, id.as_bytes()), |at| self.get(at).is_some_and(|session| &*session.id == id))
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a session, under an identifier that none has.
    pub(super) fn insert(&mut self, session: Session) -> u32 {
        let hash = self.by_id.hash(0, session.id.as_bytes());
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(slot) = self.slots.get_mut(at as usize) {
            *slot = Some(session);
        }
        self.by_id.insert(hash, at);
        at
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<Session> {
        let session = self.slots.get_mut(at as usize)?.take()?;
        self.by_id.remove(self.by_id.hash(0, session.id.as_bytes()), at);
        self.free.push(at);
        Some(session)
    }

    /// No session has this number, nor a greater one.
    pub(super) fn end(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().flatten()
    }
}

impl Core {
    pub(super) fn new(options: Options) -> (Self, Option<OnEvent>) {
        let Options { bounds, access, store, on_event, response_information } = options;
        let core = Self {
            bounds,
            checks_deliveries: access.checks_deliveries(),
            access,
            store,
            response_information,
            links: Vec::new(),
            sessions: Sessions::new(),
            subscriptions: Subscriptions::new(),
            shares: Shares::default(),
            retained: Retained::default(),
            locals: Locals::default(),
            deadlines: Deadlines::default(),
            sweep_due: Moment::NEVER,
            walks: Walks::default(),
            expiry: Expiry::default(),
            sys: Sys::default(),
            stats: Stats::default(),
            unsafe_acks: VecDeque::new(),
            stale_acks: 0,
            stored: None,
            ticket: None,
            events: Vec::new(),
            tells: on_event.is_some(),
            asked: Vec::new(),
            serial: 0,
            space: Space::default(),
            properties: PropertyBuf::new(),
            out: Vec::new(),
        };
        (core, on_event)
    }

    /// A connection has been accepted. It has to introduce itself in time.
    pub(super) fn handle_accepted(
        &mut self,
        conn: ConnId,
        remote: Option<SocketAddr>,
        listener: Option<ConnId>,
        now: Moment,
    ) {
        let at = conn.0.index();
        if self.links.len() <= at {
            self.links.resize_with(at + 1, || None);
        }
        let open = Some(Box::new(Open { remote, listener, ..Open::default() }));
        // The version is that of the first packet, which brings its own.
        let link = Link { conn, session: NO_SESSION, version: Version::Mqtt311, keep_alive: 0, seen: now, open };
        if let Some(slot) = self.links.get_mut(at) {
            *slot = Some(link);
        }
        self.deadlines.set(Owner::Conn(at), now.after(self.bounds.connect_timeout));
    }

    /// The connection is gone, by whatever end.
    pub(super) fn handle_closed(&mut self, conn: ConnId, now: Moment, sink: &mut dyn Sink) {
        self.part(conn, Parting::Lost, now, sink);
    }

    /// The server is about to stop: the client is told so, where its version has words for it.
    pub(super) fn handle_stop(&mut self, conn: ConnId, now: Moment, sink: &mut dyn Sink) {
        self.fail(conn, ReasonCode::ServerShuttingDown, now, sink);
    }

    /// Bytes from a connection: how many of them have been used. The rest is to be offered again, with what follows.
    pub(super) fn handle_input(&mut self, conn: ConnId, bytes: &[u8], now: Moment, sink: &mut dyn Sink) -> usize {
        let mut used = 0;
        // The packet before, if that was a message.
        let mut before = None;
        if let Some(link) = self.link_mut(conn)
            && is_heard(bytes, link.version)
        {
            link.seen = now;
        }
        loop {
            let Some(link) = self.link(conn) else { return bytes.len() };
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() || link.is_waiting() {
                return used;
            }
            let (version, is_new) = (link.version, link.session == NO_SESSION);
            // MQTT-3.1.0-1
            if is_new && rest.first().is_some_and(|first| first >> 4 != 1) {
                self.fail(conn, ReasonCode::ProtocolError, now, sink);
                return bytes.len();
            }
            if !is_new && rest.starts_with(&PUBACK) {
                let count = self.acked_row(conn, rest, now, sink);
                if count > 0 {
                    used += count * PUBACK_LEN;
                    self.stats.packets_in += count as u64;
                    self.stats.bytes_in += (count * PUBACK_LEN) as u64;
                    continue;
                }
            }
            let packet_max = if is_new { self.bounds.packet_max.min(CONNECT_MAX) } else { self.bounds.packet_max };
            let (flow, len) = match before.and_then(|(publish, packet)| decode_like(publish, packet, rest)) {
                Some((publish, len)) => (self.publish(conn, &publish, Wire { bytes: rest, len }, now, sink), len),
                None => match decode(rest, version, &DecodeLimits { packet_max }) {
                    Ok(Some((packet, len))) => {
                        before = match packet {
                            Packet::Publish(publish) => rest.get(..len).map(|packet| (publish, packet)),
                            _ => None,
                        };
                        (self.handle_packet(conn, &packet, Wire { bytes: rest, len }, now, sink), len)
                    }
                    Ok(None) => return used,
                    Err(error) => {
                        self.stats.protocol_errors += 1;
                        if is_new {
                            self.refuse_bytes(conn, rest, error, now, sink);
                        } else {
                            self.fail(conn, error.reason_code(), now, sink);
                        }
                        return bytes.len();
                    }
                },
            };
            let count = match flow {
                Flow::Next => 1,
                Flow::Run(count) => count,
                Flow::Wait => return used,
            };
            used += count * len;
            self.stats.packets_in += count as u64;
            self.stats.bytes_in += (count * len) as u64;
        }
    }

    #[inline]
    fn handle_packet(
        &mut self,
        conn: ConnId,
        packet: &Packet<'_>,
        wire: Wire<'_>,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Flow {
        self.asked.clear();
        match packet {
            Packet::Publish(publish) => self.publish(conn, publish, wire, now, sink),
            Packet::PubAck(ack) => self.acked(conn, ack, &[Stage::Ack], now, sink),
            Packet::PubRec(ack) => self.pub_rec(conn, ack, now, sink),
            Packet::PubRel(ack) => self.pub_rel(conn, ack, sink),
            Packet::PubComp(ack) => self.acked(conn, ack, &[Stage::Comp, Stage::GivenUp], now, sink),
            Packet::PingReq => {
                self.send(conn, &[0xd0, 0], sink);
                Flow::Next
            }
            Packet::Connect(connect) => self.connect(conn, connect, now, sink),
            Packet::Subscribe(subscribe) => self.subscribe(conn, subscribe, now, sink),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(conn, unsubscribe, now, sink),
            Packet::Disconnect(disconnect) => self.disconnect(conn, disconnect, now, sink),
            // Nobody here has begun an enhanced authentication (MQTT-4.12.0-1); the others are a server's (section 2.1.2).
            Packet::Auth(_) | Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.breach(conn, ReasonCode::ProtocolError, now, sink)
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn next_due(&self) -> Moment {
        self.deadlines
            .next()
            .unwrap_or(Moment::NEVER)
            .min(self.sweep_due)
            .min(self.walks.due)
            .min(self.expiry.due)
            .min(self.sys.due)
    }

    /// Does what is due: connections that are silent, wills, sessions and messages that end, `$SYS`.
    pub(super) fn handle_timeout(&mut self, now: Moment, sink: &mut dyn Sink) {
        let mark = self.deadlines.mark();
        while let Some(owner) = self.deadlines.pop_due(now, mark) {
            match owner {
                Owner::Conn(at) => self.link_due(at, now, sink),
                Owner::Timer(at) => self.session_due(at as u32, now, sink),
                // The manager's.
                Owner::Names => {}
            }
        }
        if self.sweep_due <= now {
            let is_round = self.retained.sweep(now, SWEEP_LEN);
            let pause = if is_round { SWEEP_PAUSE } else { std::time::Duration::from_millis(1) };
            self.sweep_due = if self.retained.has_mortal() { now.after(pause) } else { Moment::NEVER };
        }
        if self.walks.due <= now {
            self.walk_on(now, sink);
        }
        if self.expiry.due <= now {
            self.expire_queues(now);
        }
        if self.sys.due <= now {
            self.publish_sys(now, sink);
        }
    }

    fn link_due(&mut self, at: usize, now: Moment, sink: &mut dyn Sink) {
        let Some(Some(link)) = self.links.get_mut(at) else { return };
        let conn = link.conn;
        if link.session == NO_SESSION {
            // MQTT-3.1.4: no CONNECT in time.
            return self.part(conn, Parting::Ended(ReasonCode::MaximumConnectTime), now, sink);
        }
        // While it is not read, its silence is the broker's; what it sent meanwhile is read at once when it goes on.
        let was_read =
            !link.is_waiting() && !link.open.as_mut().is_some_and(|open| std::mem::take(&mut open.has_waited));
        let due = if was_read { link.silent_at() } else { link.silent_at().max(now.after(KEEP_ALIVE_MIN)) };
        if due > now {
            return self.deadlines.set(Owner::Conn(at), due);
        }
        // MQTT-3.1.2-22
        self.fail(conn, ReasonCode::KeepAliveTimeout, now, sink);
    }

    /// Has the deadline of a connection's keep-alive set.
    pub(super) fn watch(&mut self, conn: ConnId) {
        let Some(link) = self.link(conn) else { return };
        match link.keep_alive {
            0 => self.deadlines.cancel(Owner::Conn(conn.0.index())),
            _ => self.deadlines.set(Owner::Conn(conn.0.index()), link.silent_at()),
        }
    }

    // ---- the ends

    /// The peer broke a rule.
    pub(super) fn breach(&mut self, conn: ConnId, reason: ReasonCode, now: Moment, sink: &mut dyn Sink) -> Flow {
        self.stats.protocol_errors += 1;
        self.fail(conn, reason, now, sink);
        Flow::Next
    }

    /// Ends a connection and tells a 5.0 client why (section 3.14; MQTT-4.13.1-1).
    pub(super) fn fail(&mut self, conn: ConnId, reason: ReasonCode, now: Moment, sink: &mut dyn Sink) {
        let Some(link) = self.link(conn) else { return };
        if link.session != NO_SESSION && link.version.is_5() {
            self.send_packet(conn, &Packet::Disconnect(Disconnect::new(reason)), Version::Mqtt5, sink);
        }
        self.part(conn, Parting::Ended(reason), now, sink);
    }

    /// A first packet that is none: answered where its sender can understand that.
    fn refuse_bytes(
        &mut self,
        conn: ConnId,
        bytes: &[u8],
        error: crate::proto::mqtt::DecodeError,
        now: Moment,
        sink: &mut dyn Sink,
    ) {
        match error.connack() {
            Some(answer) => self.send(conn, answer, sink),
            // MQTT-3.1.4-1: what is malformed may be answered, in 5.0.
            None if connect_version(bytes) == Some(Version::Mqtt5) => {
                let answer = crate::proto::mqtt::ConnAck::new(error.reason_code());
                self.send_packet(conn, &Packet::ConnAck(answer), Version::Mqtt5, sink);
            }
            None => {}
        }
        self.part(conn, Parting::Ended(error.reason_code()), now, sink);
    }

    /// Ends a connection on this side, and draws the consequences for its session.
    pub(super) fn part(&mut self, conn: ConnId, why: Parting, now: Moment, sink: &mut dyn Sink) {
        let at = conn.0.index();
        let Some(link) = self.links.get_mut(at).and_then(|link| link.take_if(|link| link.conn == conn)) else { return };
        self.deadlines.cancel(Owner::Conn(at));
        match why {
            Parting::Lost => {}
            // MQTT-3.14.4-1
            Parting::Disconnect(_) => sink.part(conn),
            Parting::Ended(_) => sink.close(conn),
        }
        if link.session != NO_SESSION {
            self.session_parted(link.session, why, now, sink);
        }
    }

    // ---- what is sent

    /// Sends the bytes of one packet.
    pub(super) fn send(&mut self, conn: ConnId, packet: &[u8], sink: &mut dyn Sink) {
        self.send_all(conn, packet, 1, sink);
    }

    /// ... of so many.
    #[inline]
    pub(super) fn send_all(&mut self, conn: ConnId, packets: &[u8], count: usize, sink: &mut dyn Sink) {
        self.stats.packets_out += count as u64;
        self.stats.bytes_out += packets.len() as u64;
        let sent = sink.write(conn, packets, &[]);
        self.heed(conn, sent);
    }

    pub(super) fn send_packet(&mut self, conn: ConnId, packet: &Packet<'_>, version: Version, sink: &mut dyn Sink) {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        // What the broker says itself is always well-formed.
        if encode(packet, version, &mut out).is_ok() {
            self.send(conn, &out, sink);
        }
        self.out = out;
    }

    /// Remembers that a connection's output is high.
    #[inline]
    pub(super) fn heed(&mut self, conn: ConnId, sent: Sent) {
        if sent == Sent::High
            && let Some(at) = self.link(conn).map(|link| link.session)
            && let Some(session) = self.sessions.get_mut(at)
        {
            session.flags.put(super::session::Flags::HIGH, true);
        }
    }

    // ---- looking up

    #[inline]
    pub(super) fn link(&self, conn: ConnId) -> Option<&Link> {
        self.links.get(conn.0.index())?.as_ref().filter(|link| link.conn == conn)
    }

    #[inline]
    pub(super) fn link_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.links.get_mut(conn.0.index())?.as_mut().filter(|link| link.conn == conn)
    }

    /// The session of a connection that has one.
    #[inline]
    pub(super) fn session_of(&self, conn: ConnId) -> Option<(u32, Version)> {
        self.link(conn).filter(|link| link.session != NO_SESSION).map(|link| (link.session, link.version))
    }

    // ---- keeping

    /// Tells the store of a change, and remembers until when an acknowledgement has to wait.
    #[inline]
    pub(super) fn record(&mut self, change: &Change<'_>) {
        if let Saved::At(ticket) = self.store.record(change) {
            self.ticket = self.ticket.max(Some(ticket));
        }
    }

    /// A message does not reach a client, which is counted.
    pub(super) fn dropped(&mut self, session: u32, reason: DropReason) -> End {
        self.dropped_all(session, reason, 1)
    }

    /// So many messages do not.
    pub(super) fn dropped_all(&mut self, session: u32, reason: DropReason, count: usize) -> End {
        self.stats.dropped.add(reason, count as u64);
        if let Some(session) = self.sessions.get_mut(session) {
            session.rare().drops.add(reason, count as u64);
        }
        End::Dropped
    }

    pub(super) fn set_access(&mut self, access: Box<dyn Access>) {
        self.checks_deliveries = access.checks_deliveries();
        self.access = access;
    }

    pub(super) fn kick(&mut self, client: &str, reason: ReasonCode, now: Moment, sink: &mut dyn Sink) -> bool {
        let conn = self.sessions.find(client).and_then(|at| self.sessions.get(at)?.conn);
        if let Some(conn) = conn {
            self.fail(conn, reason, now, sink);
        }
        conn.is_some()
    }

    /// Ends a session by hand, and its connection if there is one.
    pub(super) fn end_client(&mut self, client: &str, reason: ReasonCode, now: Moment, sink: &mut dyn Sink) -> bool {
        let Some(at) = self.sessions.find(client) else { return false };
        self.kick(client, reason, now, sink);
        // It may have ended with its connection.
        if self.sessions.find(client) == Some(at) {
            self.end_session(at, now, sink);
        }
        // Nobody waits for that to be safe.
        self.ticket = None;
        true
    }

    /// The counters, with those that say how many there are now.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            sessions: self.sessions.len(),
            subscriptions: self.subscriptions.len() + self.shares.len() - self.locals.gone(),
            shared_subscriptions: self.shares.len(),
            retained: self.retained.len(),
            retained_bytes: self.retained.bytes(),
            ..self.stats
        }
    }

    pub(super) fn tell(&mut self, event: impl FnOnce() -> Event) {
        if self.tells {
            self.events.push(event());
        }
    }
}

impl Link {
    /// A question about its next packet is open, or the store is behind.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.question.is_some() || open.is_held)
    }

    /// When its silence has lasted too long: one and a half times the keep-alive (MQTT-3.1.2-22).
    fn silent_at(&self) -> Moment {
        match self.keep_alive {
            0 => Moment::NEVER,
            seconds => self.seen.after(std::time::Duration::from_millis(u64::from(seconds) * 1500)),
        }
    }
}

/// How much there is of a session's queue: messages, bytes.
pub(super) fn load(outbound: &Option<Box<Outbound>>) -> (usize, usize) {
    outbound.as_ref().map_or((0, 0), |outbound| (outbound.len(), outbound.bytes()))
}

/// Whether what has come is a sign of life (MQTT-3.1.2-22): a packet, or a part of one so long that it may take its time.
#[inline]
fn is_heard(bytes: &[u8], version: Version) -> bool {
    match frame(bytes, version, &DecodeLimits { packet_max: u32::MAX }) {
        Ok(Some(frame)) => bytes.len() >= frame.packet_len() || frame.packet_len() - bytes.len() > LONG,
        Ok(None) => false,
        // It ends the connection.
        Err(_) => true,
    }
}

/// How nearly all acknowledgements begin, in all versions, and how long they are.
pub(super) const PUBACK: [u8; 2] = [0x40, 2];
pub(super) const PUBACK_LEN: usize = 4;

/// Bytes to come that make a packet a long one; mosquitto's bound.
const LONG: usize = 1000;

/// The longest CONNECT: five fields of 64 KiB and room for properties.
const CONNECT_MAX: u32 = 512 * 1024;

/// Retained messages that are looked at for their end at once, and the pause between two rounds.
const SWEEP_LEN: usize = 1024;
const SWEEP_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

/// How long a silent client is spared whose packet waits for an answer.
const KEEP_ALIVE_MIN: std::time::Duration = std::time::Duration::from_secs(1);

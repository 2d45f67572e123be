//! CONNECT: who comes, with which session.

use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use crate::id::ConnId;
use crate::proto::mqtt::{
    ConnAck, Connect, EncodeError, Packet, Property, PropertyBuf, PropertyId, ReasonCode, Version, encoded_len,
};
use crate::time::{Moment, Owner};
use crate::trace::trace_event;

use super::access::{AccessToken, Answer, Client, Denied, Login, PublishQuestion};
use super::core::{Core, Flow, NO_SESSION, Sink};
use super::events::{Action, Event, Parting};
use super::message::{Publication, forwarded};
use super::session::{Session, Will};
use super::store::Change;

/// What a question about the packet at hand has come to.
pub(super) enum Asked {
    Allowed,
    Denied(Denied),
    /// The packet waits.
    Later,
}

impl Core {
    pub(super) fn connect(&mut self, conn: ConnId, connect: &Connect<'_>, now: Moment, sink: &mut dyn Sink) -> Flow {
        let Some(link) = self.link_mut(conn) else { return Flow::Next };
        // MQTT-3.1.0-2
        if link.session != NO_SESSION {
            return self.breach(conn, ReasonCode::ProtocolError, now, sink);
        }
        link.version = connect.version;
        let open = link.open.get_or_insert_default();
        let (remote, listener) = (open.remote, open.listener);
        // MQTT-3.1.3-6, MQTT-3.1.3-7; the same one while its question is open.
        let assigned = connect.client_id.is_empty().then(|| open.assigned.get_or_insert_with(new_id).clone());
        let id = assigned.as_deref().unwrap_or(connect.client_id);
        // MQTT-4.12.0-1
        if connect.properties.has(PropertyId::AuthenticationMethod) {
            return self.refuse(conn, connect, id, ReasonCode::BadAuthenticationMethod, now, sink);
        }
        let asked = self.ask(conn, sink, |access, token| {
            access.connect(&Login {
                username: connect.username,
                password: connect.password,
                remote,
                listener,
                version: connect.version,
                ..Login::new(token, id)
            })
        });
        match asked {
            Asked::Allowed => {}
            Asked::Later => return Flow::Wait,
            Asked::Denied(denied) => {
                self.denied(id, connect.username, Action::Connect, "", &denied);
                return self.refuse(conn, connect, id, denied.reason, now, sink);
            }
        }
        if let Some(will) = &connect.will {
            let asked = if is_sys(will.topic) {
                Asked::Denied(Denied::not_authorized(SYS_RULE))
            } else {
                let question = PublishQuestion::new(will.topic, will.qos, will.retain);
                self.ask(conn, sink, |access, token| access.will(&Client::new(token, id, connect.username), &question))
            };
            match asked {
                Asked::Allowed => {}
                Asked::Later => return Flow::Wait,
                Asked::Denied(denied) => {
                    self.denied(id, connect.username, Action::Will, will.topic, &denied);
                    return self.refuse(conn, connect, id, denied.reason, now, sink);
                }
            }
        }
        if self.sessions.find(id).is_none() && self.sessions.len() >= self.bounds.sessions_max {
            return self.refuse(conn, connect, id, ReasonCode::QuotaExceeded, now, sink);
        }
        let granted = self.grant(connect, assigned.as_deref());
        let answer = self.conn_ack(connect, &granted);
        let packet =
            Packet::ConnAck(ConnAck { properties: answer.as_properties(), ..ConnAck::new(ReasonCode::Success) });
        // MQTT-3.1.2-24: one that could not be told that it is let in is not.
        if !fits(connect, encoded_len(&packet, connect.version)) {
            return self.refuse(conn, connect, id, ReasonCode::ImplementationSpecificError, now, sink);
        }
        self.accept(conn, connect, id, &granted, &answer, now, sink);
        Flow::Next
    }

    /// What the server decides of a connection.
    fn grant<'a>(&self, connect: &Connect<'_>, assigned: Option<&'a str>) -> Granted<'a> {
        let asked_for = match connect.version {
            Version::Mqtt5 => connect.properties.session_expiry_interval().unwrap_or(0),
            // 3.1.1: MQTT-3.1.2-4, MQTT-3.1.2-6
            Version::Mqtt31 | Version::Mqtt311 if connect.clean_start => 0,
            Version::Mqtt31 | Version::Mqtt311 => u32::MAX,
        };
        let keep_alive = match self.bounds.keep_alive_secs() {
            u16::MAX => connect.keep_alive,
            max if connect.keep_alive == 0 => max,
            max => connect.keep_alive.min(max),
        };
        Granted { asked_for, expiry: asked_for.min(self.bounds.session_expiry_secs()), keep_alive, assigned }
    }

    /// Lets a client in.
    #[allow(clippy::too_many_arguments)] // What was decided about one packet.
    fn accept(
        &mut self,
        conn: ConnId,
        connect: &Connect<'_>,
        id: &str,
        granted: &Granted<'_>,
        answer: &PropertyBuf,
        now: Moment,
        sink: &mut dyn Sink,
    ) {
        // MQTT-3.1.4-3: a client that is connected already is told, and let go.
        if let Some(old) = self.sessions.find(id).and_then(|at| self.sessions.get(at)?.conn) {
            self.fail(old, ReasonCode::SessionTakenOver, now, sink);
        }
        // What time has brought about is not undone by a client that comes before the timer is seen (MQTT-3.1.3-9).
        if let Some(at) = self.sessions.find(id) {
            self.session_due(at, now, sink);
        }
        let Granted { expiry, keep_alive, .. } = *granted;
        let found = self.sessions.find(id);
        // MQTT-3.1.2-4
        if let Some(at) = found.filter(|_| connect.clean_start) {
            self.end_session(at, now, sink);
        }
        // MQTT-3.1.2-5
        let (at, session_present) = match found.filter(|_| !connect.clean_start) {
            Some(at) => (at, true),
            // MQTT-3.1.2-6
            None => (self.sessions.insert(Session::new(Rc::from(id), connect.version)), false),
        };
        self.deadlines.cancel(Owner::Timer(at as usize));
        let window = connect.properties.receive_maximum().map_or(u16::MAX, |max| max.get());
        let aliases = connect.properties.topic_alias_maximum().unwrap_or(0).min(self.bounds.topic_alias_max);
        let will = self.will_of(connect);
        let mut remote = None;
        if let Some(link) = self.link_mut(conn) {
            (link.session, link.keep_alive) = (at, keep_alive);
            remote = link.open.take().and_then(|open| open.remote);
        }
        if let Some(session) = self.sessions.get_mut(at) {
            session.conn = Some(conn);
            session.version = connect.version;
            session.ends = Moment::NEVER;
            session.expiry = expiry;
            session.username = connect.username.map(Rc::from);
            session.packet_max = connect.properties.maximum_packet_size().map_or(u32::MAX, |max| max.get());
            session.inflight_max = window.min(self.bounds.inflight_max.max(1));
            session.alias_max = aliases;
            // MQTT-3.1.3-9: the will of the last connection is not published any more.
            session.will = will;
            if let Some(outbound) = &mut session.outbound {
                outbound.begin_again();
            }
        }
        if session_present {
            self.drop_denied(at, now, sink);
        }
        // A session that was kept, and is to be no more, is told as well.
        if expiry > 0 || session_present {
            self.record(&Change::Session { client: id, expiry });
            self.ticket = None;
        }
        self.stats.connected += 1;
        self.stats.clients_connected += 1;
        self.stats.clients_connected_max = self.stats.clients_connected_max.max(self.stats.clients_connected);
        self.watch(conn);
        let answer = ConnAck { session_present, reason: ReasonCode::Success, properties: answer.as_properties() };
        self.send_packet(conn, &Packet::ConnAck(answer), connect.version, sink);
        self.tell(|| Event::Connected {
            client: id.into(),
            username: connect.username.map(Into::into),
            remote,
            version: connect.version,
            session_present,
        });
        self.pump(at, now, sink);
    }

    /// The properties of CONNACK.
    fn conn_ack(&self, connect: &Connect<'_>, granted: &Granted<'_>) -> PropertyBuf {
        let mut properties = PropertyBuf::new();
        if connect.version.is_5() {
            let information = self.response_information.as_deref();
            let wants = connect.properties.request_response_information() == Some(true);
            let inflight = std::num::NonZeroU16::new(self.bounds.inflight_max).unwrap_or(std::num::NonZeroU16::MIN);
            let all = [
                (granted.expiry != granted.asked_for).then_some(Property::SessionExpiryInterval(granted.expiry)),
                Some(Property::ReceiveMaximum(inflight)),
                std::num::NonZeroU32::new(self.bounds.packet_max).map(Property::MaximumPacketSize),
                // MQTT-3.1.2-21
                granted.assigned.map(Property::AssignedClientIdentifier),
                Some(Property::TopicAliasMaximum(self.bounds.topic_alias_max)),
                // MQTT-3.2.2-21
                (granted.keep_alive != connect.keep_alive).then_some(Property::ServerKeepAlive(granted.keep_alive)),
                information.filter(|_| wants).map(Property::ResponseInformation),
            ];
            for property in all.into_iter().flatten() {
                // Each comes once; a response prefix that is no text is left out.
                let _ = properties.push(property);
            }
        }
        properties
    }

    /// MQTT-3.1.2-7 to -9: what is to be published when the client is gone.
    fn will_of(&mut self, connect: &Connect<'_>) -> Option<Box<Will>> {
        let will = connect.will.as_ref()?;
        let properties = forwarded(will.properties, &mut self.properties);
        let publication = Publication {
            topic: will.topic,
            payload: will.payload,
            properties,
            qos: will.qos,
            retain: will.retain,
            expires: Moment::NEVER,
        };
        Some(Box::new(Will {
            message: publication.keep(),
            expiry: will.properties.message_expiry_interval(),
            delay: will.properties.will_delay_interval().unwrap_or(0),
            due: Moment::NEVER,
        }))
    }

    /// Refuses a connection (MQTT-3.2.2-7): with a code where the version has one.
    fn refuse(
        &mut self,
        conn: ConnId,
        connect: &Connect<'_>,
        id: &str,
        reason: ReasonCode,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Flow {
        self.stats.refused += 1;
        self.tell(|| Event::Refused { client: id.into(), reason });
        // 3.1.1: MQTT-3.2.2-6: without a code the connection closes without a word. MQTT-3.1.2-24: so it does where that does not fit.
        let answer = Packet::ConnAck(ConnAck::new(reason));
        if fits(connect, encoded_len(&answer, connect.version)) {
            self.send_packet(conn, &answer, connect.version, sink);
        }
        self.part(conn, Parting::Ended(reason), now, sink);
        Flow::Next
    }

    // ---- questions

    /// Asks access control about the packet at hand, or takes the answer that has come meanwhile. It is remembered, in case that a
    /// later question about the packet has to wait.
    pub(super) fn ask(
        &mut self,
        conn: ConnId,
        sink: &mut dyn Sink,
        question: impl FnOnce(&mut dyn super::access::Access, AccessToken) -> Answer,
    ) -> Asked {
        let asked = self.ask_last(conn, sink, question);
        match &asked {
            Asked::Allowed => self.asked.push(Answer::Allow),
            Asked::Denied(denied) => self.asked.push(Answer::Deny(denied.clone())),
            Asked::Later => {}
        }
        asked
    }

    /// ... the last thing that it is asked about it.
    #[inline]
    pub(super) fn ask_last(
        &mut self,
        conn: ConnId,
        sink: &mut dyn Sink,
        question: impl FnOnce(&mut dyn super::access::Access, AccessToken) -> Answer,
    ) -> Asked {
        let serial = self.serial;
        let Some(link) = self.link_mut(conn) else { return Asked::Later };
        let open = link.open.as_mut().filter(|open| !open.answers.is_empty());
        let answer = match open {
            Some(open) => open.answers.remove(0),
            None => question(&mut *self.access, AccessToken { conn, serial }),
        };
        match answer {
            Answer::Allow => Asked::Allowed,
            Answer::Deny(denied) => Asked::Denied(denied),
            Answer::Later => {
                self.serial = serial.wrapping_add(1);
                let asked = std::mem::take(&mut self.asked);
                if let Some(link) = self.link_mut(conn) {
                    let open = link.open.get_or_insert_default();
                    (open.question, open.asked) = (Some(serial), asked);
                }
                sink.pause(conn);
                Asked::Later
            }
        }
    }

    /// An answer that was promised. False: nobody waits for it any more.
    pub(super) fn answer(&mut self, token: AccessToken, answer: Answer, sink: &mut dyn Sink) -> bool {
        let Some(link) = self.link_mut(token.conn) else { return false };
        let Some(open) = link.open.as_mut().filter(|open| open.question == Some(token.serial)) else { return false };
        if answer == Answer::Later {
            return true;
        }
        open.question = None;
        let mut asked = std::mem::take(&mut open.asked);
        asked.push(answer);
        open.answers = asked;
        self.go_on(token.conn, sink);
        true
    }

    /// Counts a refusal, and says it in one line.
    pub(super) fn denied(&mut self, id: &str, username: Option<&str>, action: Action, topic: &str, denied: &Denied) {
        self.stats.denied += 1;
        trace_event!(
            warn,
            "client {id:?}, user {:?}, may not {} {topic:?}: {}",
            username.unwrap_or_default(),
            action.word(),
            denied.rule
        );
        self.tell(|| Event::Denied {
            client: id.into(),
            username: username.map(Into::into),
            action,
            topic: topic.into(),
            rule: (*denied.rule).into(),
        });
    }
}

/// What the server decides of a connection.
struct Granted<'a> {
    asked_for: u32,
    expiry: u32,
    keep_alive: u16,
    assigned: Option<&'a str>,
}

/// Whether a client takes a packet of this length. What cannot be encoded has none, and is not sent.
fn fits(connect: &Connect<'_>, len: Result<usize, EncodeError>) -> bool {
    let max = connect.properties.maximum_packet_size().map_or(u32::MAX, |max| max.get());
    len.is_ok_and(|len| len <= max as usize)
}

/// The rule by which `$SYS` is the broker's alone.
pub(super) const SYS_RULE: &str = "only the broker publishes below $SYS";

/// MQTT-4.7.2-2: topics that the broker keeps for itself.
pub(super) fn is_sys(topic: &str) -> bool {
    topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// An identifier that nobody can guess, as mosquitto's look: std seeds its hashes by the system's random numbers.
fn new_id() -> Box<str> {
    let (one, two) = (RandomState::new().hash_one(0), RandomState::new().hash_one(1));
    format!("auto-{:08X}-{:04X}-{:04X}-{:016X}", one >> 32, one >> 16 & 0xffff, one & 0xffff, two).into()
}

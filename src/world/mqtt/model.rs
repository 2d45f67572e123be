//! What a broker ought to do, said as simply as can be: no windows, no queues, no bytes. It is shown each packet after the broker
//! has dealt with it, and says who is to get what.

mod groups;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::ConnId;
use crate::broker::{self, Action, Parting};
use crate::mqtt::{
    Connect, Disconnect, Filter, Packet, PacketId, Publish, QoS, ReasonCode, RetainHandling, Subscription, Version,
};

use super::books::{Book, Entry, Replay, Shared, Value};
use super::users::{self, User, may_read, may_write};
use crate::world::Outcome;

/// What is due may be late by so much beside the clock's jumps: a turn of the loop, and what its calls take.
const LATE: Duration = Duration::from_secs(2);
/// And early, where it counts from something whose time is not known to the turn.
const EARLY: Duration = Duration::from_millis(500);

/// The broker as it ought to be.
#[derive(Default)]
pub(super) struct Model {
    pub(super) sessions: BTreeMap<String, Session>,
    /// The clients of connections that have been let in.
    links: BTreeMap<ConnId, Link>,
    /// What each session is to get, those included that have ended.
    pub(super) books: Vec<Book>,
    /// The connections that clients have had, by the client's address.
    pub(super) by_addr: BTreeMap<SocketAddr, LetIn>,
    /// Topics and what was retained there when: 0 stands for nothing.
    pub(super) retained: BTreeMap<String, Vec<Value>>,
    /// Messages for groups.
    pub(super) shared: Vec<Shared>,
    /// The groups that there are, by filter. One that comes back is another one.
    groups: BTreeMap<String, usize>,
    last_group: usize,
    /// Filters whose group has ended.
    ended_groups: BTreeSet<String>,
    /// What was published, and by whom.
    pub(super) published: BTreeMap<u32, String>,
    /// What was published at QoS 0 and 2, and what more than once.
    once: BTreeSet<u32>,
    pub(super) twice: BTreeSet<u32>,
    pub(super) routed: u64,
    pub(super) wills: u64,
    /// Things that somebody was not allowed to do.
    pub(super) denied: u64,
    /// Messages among them, and of those the ones whose publishers were told that all is well: before 5.0 nothing else can be said.
    pub(super) refused: BTreeSet<u32>,
    pub(super) refused_unsaid: BTreeSet<u32>,
    /// What the broker has routed, and the model has not yet.
    tapped: VecDeque<Tapped>,
    /// What the broker has to tell of.
    to_tell: VecDeque<broker::Event>,
    /// Sessions that the broker tells have ended since it was asked last.
    pub(super) told_ended: Vec<String>,
    session_expiry_max: u32,
    /// Messages of QoS 2 that one connection may have under way to the broker.
    window: usize,
    late: Duration,
    /// Rules that have applied, and how often.
    pub(super) applied: BTreeMap<&'static str, u32>,
}

/// Rules that some seed has to bring about.
pub const RULES: [&str; 33] = [
    "a will is withdrawn by DISCONNECT",
    "a will is published on DISCONNECT 0x04",
    "a will is published after a lost connection",
    "a will is published after the keep-alive",
    "a will is published on takeover",
    "a will is published after its delay",
    "a will is published when its session ends",
    "a will is cancelled by a new connection",
    "a will is due when its client comes back",
    "a will is retained",
    "a session expires",
    "a session is resumed",
    "a session is ended by a clean start",
    "a session is over when its client comes back",
    "QoS 1 comes again",
    "QoS 2 comes again",
    "retained is replaced",
    "retained is cleared",
    "a new subscription hears what is retained",
    "a subscription ends",
    "no local keeps a message away",
    "a message for a client that is away",
    "a message for a group",
    "a message for a group with somebody away",
    "a message for a group with somebody who may not read it",
    "a message for a group is handed on when a session ends",
    "a group ends",
    "a group comes back",
    "a stranger is refused",
    "a will is refused",
    "a message is refused",
    "a subscription is refused",
    "what waits is withdrawn from another user",
];

/// A connection that was let in.
#[derive(Clone, Copy)]
pub(super) struct LetIn {
    pub(super) book: usize,
    pub(super) user: User,
    pub(super) session_present: bool,
}

struct Link {
    client: String,
    version: Version,
    at: Option<SocketAddr>,
    keep_alive: Duration,
    /// When its last packet came, and when its last byte.
    heard: Duration,
    stirred: Duration,
    aliases: BTreeMap<u16, String>,
    /// Numbers of QoS 2 messages that have come on it, and are not released.
    unreleased: BTreeSet<PacketId>,
}

pub(super) struct Session {
    pub(super) book: usize,
    pub(super) conn: Option<ConnId>,
    /// Who its client was last.
    user: User,
    expiry: u32,
    ends: Option<Duration>,
    pub(super) subscriptions: BTreeMap<String, Wanted>,
    will: Option<Will>,
    /// Numbers of QoS 2 messages that are not released.
    received: BTreeSet<PacketId>,
}

#[derive(Clone, Copy)]
pub(super) struct Wanted {
    qos: QoS,
    no_local: bool,
    as_published: bool,
}

struct Will {
    number: u32,
    topic: String,
    qos: QoS,
    retain: bool,
    delay: Duration,
    due: Option<Duration>,
}

/// A message that the broker has routed.
pub(super) struct Tapped {
    pub(super) number: u32,
    pub(super) topic: String,
    pub(super) qos: QoS,
}

/// The number that is the message's content; 0 is none.
pub(super) fn number_of(payload: &[u8]) -> Option<u32> {
    if payload.is_empty() {
        return Some(0);
    }
    let digits = payload.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|number| *number > 0)
}

impl Link {
    /// When its silence since then has lasted too long, if it ever has.
    fn silent_at(&self, since: Duration) -> Option<Duration> {
        (!self.keep_alive.is_zero()).then(|| since + self.keep_alive * 3 / 2)
    }
}

impl Model {
    pub(super) fn new(session_expiry_max: u32, window: u16, jumps: Duration) -> Self {
        Self { session_expiry_max, window: window.into(), late: LATE + jumps, ..Self::default() }
    }

    fn apply(&mut self, rule: &'static str) {
        *self.applied.entry(rule).or_default() += 1;
    }

    /// Somebody is told that they may not.
    fn deny(&mut self, client: &str, user: User, action: Action, topic: &str) {
        self.denied += 1;
        let (client, username, topic) = (client.into(), user.map(Into::into), topic.into());
        self.to_tell.push_back(broker::Event::Denied { client, username, action, topic, rule: "".into() });
    }

    /// What the broker has routed, in its order.
    pub(super) fn tap(&mut self, tapped: Tapped) {
        self.tapped.push_back(tapped);
    }

    /// Whose connection it is.
    pub(super) fn client(&self, conn: ConnId) -> Option<&str> {
        self.links.get(&conn).map(|link| link.client.as_str())
    }

    /// Bytes have come from a client: a part of a packet, if it is a long one, is a sign of life as well.
    pub(super) fn stirs(&mut self, conn: ConnId, now: Duration) {
        self.links.get_mut(&conn).into_iter().for_each(|link| link.stirred = now);
    }

    /// A packet that the broker has accepted.
    pub(super) fn packet(
        &mut self,
        conn: ConnId,
        from: Option<SocketAddr>,
        packet: &Packet<'_>,
        now: Duration,
    ) -> Outcome {
        if let Packet::Connect(connect) = packet
            && !self.links.contains_key(&conn)
        {
            return self.connect(conn, from, connect, now);
        }
        let Some(link) = self.links.get_mut(&conn) else { return Ok(()) };
        link.heard = now;
        let client = link.client.clone();
        let session = self.sessions.get_mut(&client).ok_or("a connection without a session")?;
        match packet {
            Packet::Publish(publish) => self.publish(conn, &client, publish, now),
            Packet::PubRel(ack) => {
                session.received.remove(&ack.id);
                link.unreleased.remove(&ack.id);
                Ok(())
            }
            Packet::Subscribe(subscribe) => {
                for subscription in subscribe.subscriptions {
                    self.subscribe(&client, &subscription, now)?;
                }
                Ok(())
            }
            Packet::Unsubscribe(unsubscribe) => {
                let book = session.book;
                for filter in unsubscribe.filters {
                    let session = self.sessions.get_mut(&client).ok_or("no session")?;
                    if session.subscriptions.remove(filter).is_some() {
                        self.apply("a subscription ends");
                        self.left_group(filter);
                    }
                    let replays = self.books[book].replays.iter_mut();
                    replays.filter(|replay| replay.filter == filter).for_each(|replay| {
                        replay.until.get_or_insert(now);
                    });
                }
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.disconnect(&client, disconnect, now),
            Packet::PubAck(_) | Packet::PubRec(_) | Packet::PubComp(_) | Packet::PingReq => Ok(()),
            // MQTT-3.1.0-2, and what only a broker says or nobody has asked for.
            other => Err(format!("the broker accepts {other:?} of {client}")),
        }
    }

    /// The client's connection is gone without a word.
    pub(super) fn closed(&mut self, conn: ConnId, now: Duration) -> Outcome {
        match self.client(conn).map(str::to_owned) {
            Some(client) => self.part(&client, Parting::Lost, now),
            None => Ok(()),
        }
    }

    /// Compares with what the broker tells, and draws the consequences of what time alone has done.
    pub(super) fn settle(&mut self, told: &mut Vec<(Duration, broker::Event)>, now: Duration) -> Outcome {
        for (at, event) in told.drain(..) {
            if self.to_tell.is_empty() {
                // Of timers that fire at once a will's is taken to be first: who goes at the same time has no harm of it.
                self.publish_due(now)?;
                self.happened(&event, at)?;
            }
            let expected = self.to_tell.pop_front().ok_or_else(|| format!("the broker tells of {event:?}"))?;
            if expected != as_known(&event) {
                return Err(format!("the broker tells of {event:?}, not of {expected:?}"));
            }
        }
        if let Some(expected) = self.to_tell.pop_front() {
            return Err(format!("the broker does not tell of {expected:?}"));
        }
        self.publish_due(now)?;
        if let Some(tapped) = self.tapped.front() {
            return Err(format!("nobody has published {}", tapped.number));
        }
        let is_late = |due: Option<Duration>| due.is_some_and(|due| due + self.late < now);
        for (client, session) in &self.sessions {
            if is_late(session.will.as_ref().and_then(|will| will.due)) {
                return Err(format!("the will of {client} is late"));
            }
            if is_late(session.ends) {
                return Err(format!("the session of {client} does not end"));
            }
        }
        // MQTT-3.1.2-22
        match self.links.values().find(|link| is_late(link.silent_at(link.stirred))) {
            Some(Link { client, stirred, .. }) => Err(format!("{client}, last heard at {stirred:?}, is not ended")),
            None => Ok(()),
        }
    }

    /// Something happened that no packet has caused.
    fn happened(&mut self, event: &broker::Event, now: Duration) -> Outcome {
        match event {
            broker::Event::Disconnected { client, why: why @ Parting::Ended(reason) } => {
                let is_fine = matches!(reason, ReasonCode::KeepAliveTimeout | ReasonCode::AdministrativeAction);
                if !is_fine && !is_hostile(client) {
                    return Err(format!("the connection of {client} was ended: {reason:?}"));
                }
                let conn = self.sessions.get(&**client).and_then(|session| session.conn);
                if let Some(link) = conn.and_then(|conn| self.links.get(&conn))
                    && *reason == ReasonCode::KeepAliveTimeout
                    && link.silent_at(link.heard).is_none_or(|at| now + EARLY < at)
                {
                    return Err(format!("{client}, last heard at {:?}, was ended at {now:?}", link.heard));
                }
                self.part(client, *why, now)
            }
            broker::Event::SessionEnded { client } => {
                let session = self.sessions.get(&**client).filter(|session| session.conn.is_none());
                match session.and_then(|session| session.ends) {
                    Some(ends) if ends <= now + EARLY => {
                        self.apply("a session expires");
                        self.end_session(client, now)
                    }
                    other => Err(format!("the session of {client} has ended at {now:?}, not at {other:?}")),
                }
            }
            other => Err(format!("the broker tells of {other:?}")),
        }
    }

    // ---- connections

    fn connect(&mut self, conn: ConnId, from: Option<SocketAddr>, connect: &Connect<'_>, now: Duration) -> Outcome {
        let client = connect.client_id.to_owned();
        let user = users::user(connect.username);
        if let Some(reason) = self.refusal(user, connect) {
            self.to_tell.push_back(broker::Event::Refused { client: client.into(), reason });
            return Ok(());
        }
        if self.sessions.get(&client).is_some_and(|session| session.conn.is_some()) {
            self.part(&client, Parting::Ended(ReasonCode::SessionTakenOver), now)?;
        }
        self.catch_up(&client, connect.clean_start, now)?;
        if connect.clean_start && self.sessions.contains_key(&client) {
            self.apply("a session is ended by a clean start");
            self.end_session(&client, now)?;
        }
        let asked_for = match connect.version {
            Version::Mqtt5 => connect.properties.session_expiry_interval().unwrap_or(0),
            _ if connect.clean_start => 0,
            _ => u32::MAX,
        };
        let session_present = self.sessions.contains_key(&client);
        if session_present {
            self.apply("a session is resumed");
        }
        if self.sessions.get(&client).is_some_and(|session| session.will.is_some()) {
            self.apply("a will is cancelled by a new connection");
        }
        let books = &mut self.books;
        let session = self.sessions.entry(client.clone()).or_insert_with(|| {
            let replays = Vec::new();
            let (entries, is_member, has_ended) = (Vec::new(), false, false);
            books.push(Book { client: client.clone(), entries, replays, is_member, has_ended });
            Session {
                book: books.len() - 1,
                conn: None,
                user,
                expiry: 0,
                ends: None,
                subscriptions: BTreeMap::new(),
                will: None,
                received: BTreeSet::new(),
            }
        });
        session.conn = Some(conn);
        session.user = user;
        session.ends = None;
        session.expiry = asked_for.min(self.session_expiry_max);
        session.will = connect.will.map(|will| Will {
            number: number_of(will.payload).unwrap_or(0),
            topic: will.topic.to_owned(),
            qos: will.qos,
            retain: will.retain,
            delay: Duration::from_secs(will.properties.will_delay_interval().unwrap_or(0).into()),
            due: None,
        });
        if let Some(from) = from {
            self.by_addr.insert(from, LetIn { book: session.book, user, session_present });
        }
        let book = &mut self.books[session.book];
        book.replays.iter_mut().for_each(|replay| replay.users.push(user));
        let unreadable = book.entries.iter_mut().filter(|entry| !may_read(user, &entry.topic));
        let withdrawn = unreadable.map(|entry| entry.is_withdrawn = true).count();
        let at = session.book;
        self.withdraw(at, user);
        if withdrawn > 0 {
            self.apply("what waits is withdrawn from another user");
        }
        let keep_alive = Duration::from_secs(connect.keep_alive.into());
        let (client_id, version, at) = (client.clone(), connect.version, from);
        let (aliases, unreleased) = (BTreeMap::new(), BTreeSet::new());
        let link = Link { client: client_id, version, at, keep_alive, heard: now, stirred: now, aliases, unreleased };
        self.links.insert(conn, link);
        self.to_tell.push_back(broker::Event::Connected {
            client: client.into(),
            username: user.map(Into::into),
            remote: None,
            version: connect.version,
            session_present,
        });
        Ok(())
    }

    /// Why somebody is not let in, if he is not.
    fn refusal(&mut self, user: User, connect: &Connect<'_>) -> Option<ReasonCode> {
        if !users::may_connect(user) {
            self.apply("a stranger is refused");
            self.deny(connect.client_id, user, Action::Connect, "");
            return Some(ReasonCode::BadUserNameOrPassword);
        }
        let will = connect.will.as_ref().filter(|will| !may_write(user, will.topic))?;
        self.apply("a will is refused");
        self.deny(connect.client_id, user, Action::Will, will.topic);
        Some(ReasonCode::NotAuthorized)
    }

    /// What time has done to a session before its client came back, if no timer was seen in between.
    ///
    /// A clean start ends the session, and that publishes a will which is due a little later: nobody can tell whether a timer was
    /// first, and it concerns only what the session itself, which is over, would have had of it.
    fn catch_up(&mut self, client: &str, is_clean: bool, now: Duration) -> Outcome {
        let Some(session) = self.sessions.get(client).filter(|session| session.conn.is_none()) else { return Ok(()) };
        // Within the tolerance it is the broker's to say.
        let is_told = self.told_ended.iter().any(|ended| ended == client);
        if session.ends.is_some_and(|ends| ends <= now || is_told && ends <= now + EARLY) {
            self.apply("a session is over when its client comes back");
            return self.end_session(client, now);
        }
        let number = self.tapped.front().map(|tapped| tapped.number);
        let is_due = |will: &Will| {
            will.due.is_some_and(|due| due <= now || !is_clean && Some(will.number) == number && due <= now + EARLY)
        };
        if session.will.as_ref().is_some_and(is_due) {
            self.apply("a will is due when its client comes back");
            return self.publish_will(client, now);
        }
        Ok(())
    }

    fn disconnect(&mut self, client: &str, disconnect: &Disconnect<'_>, now: Duration) -> Outcome {
        if let (Some(expiry), Some(session)) =
            (disconnect.properties.session_expiry_interval(), self.sessions.get_mut(client))
        {
            session.expiry = expiry.min(self.session_expiry_max);
        }
        self.part(client, Parting::Disconnect(disconnect.reason), now)
    }

    fn part(&mut self, client: &str, why: Parting, now: Duration) -> Outcome {
        let session = self.sessions.get_mut(client).ok_or_else(|| format!("{client} has no session"))?;
        let conn = session.conn.take().ok_or_else(|| format!("{client} has no connection"))?;
        self.links.remove(&conn);
        let entries = self.books[session.book].entries.iter_mut().rev();
        let just_now = entries.take_while(|entry| entry.made + EARLY >= now);
        just_now.filter(|entry| entry.qos == QoS::AtMostOnce).for_each(|entry| entry.may_be_late = true);
        self.to_tell.push_back(broker::Event::Disconnected { client: client.into(), why });
        // MQTT-3.1.2-10: only DISCONNECT with 0x00 takes the will along.
        let had_will = session.will.is_some();
        if why == Parting::Disconnect(ReasonCode::Success) {
            session.will = None;
        }
        let delay = session.will.as_mut().map(|will| {
            will.due = Some(now + will.delay);
            will.delay
        });
        let expiry = session.expiry;
        let rule = match why {
            Parting::Disconnect(ReasonCode::Success) => Some("a will is withdrawn by DISCONNECT"),
            _ if delay.is_some_and(|delay| !delay.is_zero()) && expiry > 0 => None,
            Parting::Disconnect(_) => Some("a will is published on DISCONNECT 0x04"),
            Parting::Lost => Some("a will is published after a lost connection"),
            Parting::Ended(ReasonCode::KeepAliveTimeout) => Some("a will is published after the keep-alive"),
            Parting::Ended(ReasonCode::SessionTakenOver) => Some("a will is published on takeover"),
            Parting::Ended(_) => None,
        };
        if let Some(rule) = rule.filter(|_| had_will) {
            self.apply(rule);
        }
        let session = self.sessions.get_mut(client).ok_or("no session")?;
        if expiry == 0 {
            return self.end_session(client, now);
        }
        session.ends = (session.expiry != u32::MAX).then(|| now + Duration::from_secs(session.expiry.into()));
        if delay == Some(Duration::ZERO) { self.publish_will(client, now) } else { Ok(()) }
    }

    fn end_session(&mut self, client: &str, now: Duration) -> Outcome {
        let session = self.sessions.get_mut(client).ok_or_else(|| format!("{client} has no session"))?;
        let (book, subscriptions) = (session.book, std::mem::take(&mut session.subscriptions));
        self.books[book].has_ended = true;
        subscriptions.keys().for_each(|filter| self.left_group(filter));
        let session = self.sessions.get_mut(client).ok_or("no session")?;
        // MQTT-3.1.3-9: at the end of the session, if that is first.
        if let Some(will) = &session.will {
            if will.due.is_some_and(|due| due > now + EARLY) {
                self.apply("a will is published when its session ends");
            }
            self.publish_will(client, now)?;
        }
        self.sessions.remove(client);
        self.to_tell.push_back(broker::Event::SessionEnded { client: client.into() });
        self.hand_on(book);
        Ok(())
    }

    // ---- wills

    fn whose_will_is_due(&self, number: u32, now: Duration) -> Option<String> {
        let is_due = |will: &Will| will.number == number && will.due.is_some_and(|due| due <= now + EARLY);
        self.sessions.iter().find(|(_, session)| session.will.as_ref().is_some_and(is_due)).map(|(id, _)| id.clone())
    }

    /// Wills that the broker has published because of time alone.
    fn publish_due(&mut self, now: Duration) -> Outcome {
        while let Some(number) = self.tapped.front().map(|tapped| tapped.number)
            && let Some(client) = self.whose_will_is_due(number, now)
        {
            self.publish_will(&client, now)?;
        }
        Ok(())
    }

    fn publish_will(&mut self, client: &str, now: Duration) -> Outcome {
        let session = self.sessions.get_mut(client).ok_or_else(|| format!("{client} has no session"))?;
        let will = session.will.take().ok_or_else(|| format!("{client} has no will"))?;
        self.wills += 1;
        if !will.delay.is_zero() && will.due.is_some_and(|due| due <= now + EARLY) {
            self.apply("a will is published after its delay");
        }
        if will.retain {
            self.apply("a will is retained");
        }
        self.route(client, will.number, &will.topic, will.qos, will.retain, now)
    }

    // ---- messages

    fn publish(&mut self, conn: ConnId, client: &str, publish: &Publish<'_>, now: Duration) -> Outcome {
        let link = self.links.get_mut(&conn).ok_or("no connection")?;
        let mut topic = publish.topic.to_owned();
        if let Some(alias) = publish.properties.topic_alias() {
            if topic.is_empty() {
                topic = link.aliases.get(&alias.get()).cloned().ok_or("an alias for nothing")?;
            } else {
                link.aliases.insert(alias.get(), topic.clone());
            }
        }
        let is_5 = link.version.is_5();
        let session = self.sessions.get_mut(client).ok_or("no session")?;
        let (user, is_allowed) = (session.user, may_write(session.user, &topic));
        if let (QoS::ExactlyOnce, Some(id)) = (publish.qos, publish.id) {
            if session.received.contains(&id) {
                self.apply("QoS 2 comes again");
                return Ok(());
            }
            // MQTT-4.3.3-9: what is refused is over, where that can be said.
            if is_allowed || !is_5 {
                session.received.insert(id);
                link.unreleased.insert(id);
            }
            // MQTT-3.3.4-9
            if is_5 && link.unreleased.len() > self.window {
                return Err(format!("the broker accepts more of {client} than its receive maximum"));
            }
        }
        if publish.dup {
            self.apply("QoS 1 comes again");
        }
        // The noise of hostile clients is numbered as well, so that nobody takes it for something else.
        let number = number_of(publish.payload).ok_or("a payload that nobody has sent")?;
        if !is_allowed {
            self.apply("a message is refused");
            self.deny(client, user, Action::Publish, &topic);
            self.refused.insert(number);
            if !is_5 {
                self.refused_unsaid.insert(number);
            }
            return Ok(());
        }
        if number != 0 && publish.qos != QoS::AtLeastOnce && !self.once.insert(number) {
            self.twice.insert(number);
        }
        self.route(client, number, &topic, publish.qos, publish.retain, now)
    }

    /// A message that the broker must have handed on next, but for wills whose time has come meanwhile.
    fn take_tapped(&mut self, from: &str, number: u32, topic: &str, qos: QoS, now: Duration) -> Outcome {
        loop {
            let tapped = self.tapped.pop_front().ok_or_else(|| format!("{number} of {from} was not handed on"))?;
            if tapped.number == number && tapped.topic == topic && tapped.qos == qos {
                return Ok(());
            }
            let other = tapped.number;
            let Some(client) = self.whose_will_is_due(other, now) else {
                return Err(format!("{other} on {} was handed on, not {number} on {topic}", tapped.topic));
            };
            self.tapped.push_front(tapped);
            self.publish_will(&client, now)?;
        }
    }

    fn retain(&mut self, topic: &str, value: Value) {
        let values = self.retained.entry(topic.to_owned()).or_default();
        let is_there = values.last().is_some_and(|last| last.number != 0);
        match (is_there, value.number) {
            (true, 0) => *self.applied.entry("retained is cleared").or_default() += 1,
            (true, _) => *self.applied.entry("retained is replaced").or_default() += 1,
            (false, _) => {}
        }
        values.push(value);
    }

    fn route(&mut self, from: &str, number: u32, topic: &str, qos: QoS, retain: bool, now: Duration) -> Outcome {
        self.take_tapped(from, number, topic, qos, now)?;
        self.routed += 1;
        self.published.entry(number).or_insert_with(|| from.to_owned());
        if retain {
            self.retain(topic, Value { at: now, number, qos });
        }
        let mut groups = BTreeSet::new();
        let mut count = |rule| *self.applied.entry(rule).or_default() += 1;
        for (client, session) in &self.sessions {
            let mut best: Option<Wanted> = None;
            for (filter, wanted) in &session.subscriptions {
                let parsed = Filter::parse(filter).map_err(|e| e.to_string())?;
                if !parsed.matches(topic) {
                    continue;
                }
                if parsed.group.is_some() {
                    groups.insert(filter.clone());
                    if session.conn.is_none() {
                        count("a message for a group with somebody away");
                    }
                    if !may_read(session.user, topic) {
                        count("a message for a group with somebody who may not read it");
                    }
                } else if wanted.no_local && client == from {
                    count("no local keeps a message away");
                } else {
                    let both = best.get_or_insert(*wanted);
                    both.qos = both.qos.max(wanted.qos);
                    both.as_published |= wanted.as_published;
                }
            }
            let Some(wanted) = best.filter(|_| may_read(session.user, topic)) else { continue };
            let qos = qos.min(wanted.qos);
            if qos == QoS::AtMostOnce && session.conn.is_none() {
                continue;
            }
            if session.conn.is_none() {
                count("a message for a client that is away");
            }
            let (topic, retain) = (topic.to_owned(), retain && wanted.as_published);
            let at = session.conn.and_then(|conn| self.links.get(&conn)?.at);
            let (made, is_withdrawn, may_be_late) = (now, false, false);
            let entry = Entry { number, topic, qos, retain, at, made, is_withdrawn, may_be_late };
            self.books[session.book].entries.push(entry);
        }
        if !groups.is_empty() {
            count("a message for a group");
        }
        for filter in groups {
            let group = *self.groups.get(&filter).ok_or("a group without a beginning")?;
            let (members, topic) = (self.members(&filter, topic, qos), topic.to_owned());
            self.shared.push(Shared { number, qos, topic, filter, group, members, handed_on: 0, may_be_lost: false });
        }
        Ok(())
    }

    fn subscribe(&mut self, client: &str, subscription: &Subscription<'_>, now: Duration) -> Outcome {
        let user = self.sessions.get(client).ok_or("no session")?.user;
        if !users::may_subscribe(user, subscription.filter) {
            self.apply("a subscription is refused");
            self.deny(client, user, Action::Subscribe, subscription.filter);
            return Ok(());
        }
        let session = self.sessions.get_mut(client).ok_or("no session")?;
        let filter = subscription.filter.to_owned();
        let Subscription { qos, no_local, retain_as_published: as_published, .. } = *subscription;
        let before = session.subscriptions.insert(filter.clone(), Wanted { qos, no_local, as_published });
        let book = &mut self.books[session.book];
        if filter.starts_with("$share/") {
            book.is_member = true;
            if !self.groups.contains_key(&filter) {
                self.last_group += 1;
                if self.ended_groups.contains(&filter) {
                    self.apply("a group comes back");
                }
                self.groups.insert(filter, self.last_group);
            }
            return Ok(());
        }
        let wants_retained = match subscription.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => before.is_none(),
            RetainHandling::DontSend => false,
        };
        if wants_retained {
            if self.retained.iter().any(|(topic, values)| {
                values.last().is_some_and(|last| last.number != 0)
                    && Filter::parse(&filter).is_ok_and(|filter| filter.matches(topic))
            }) {
                *self.applied.entry("a new subscription hears what is retained").or_default() += 1;
            }
            book.replays.push(Replay { filter, qos, at: now, until: None, users: vec![user] });
        }
        Ok(())
    }

    // ---- what is there

    /// A client's address, while it is connected.
    pub(super) fn address(&self, client: &str) -> Option<SocketAddr> {
        self.links.get(&self.sessions.get(client)?.conn?)?.at
    }

    /// What is retained on a topic: 0 is nothing.
    pub(super) fn retained_now(&self) -> BTreeMap<String, u32> {
        let last = |(topic, values): (&String, &Vec<Value>)| Some((topic.clone(), values.last()?.number));
        self.retained.iter().filter_map(last).filter(|(_, number)| *number != 0).collect()
    }

    /// Whether a number was retained on a topic at some time since then.
    pub(super) fn was_retained(&self, topic: &str, number: u32, since: Duration) -> bool {
        let Some(values) = self.retained.get(topic) else { return false };
        let ends = values.iter().skip(1).map(|value| value.at).chain([Duration::MAX]);
        values.iter().zip(ends).any(|(value, end)| value.number == number && end >= since)
    }

    /// Subscriptions, shared ones, clients connected.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let filters = || self.sessions.values().flat_map(|session| session.subscriptions.keys());
        let shared = filters().filter(|filter| filter.starts_with("$share/")).count();
        (filters().count(), shared, self.sessions.values().filter(|session| session.conn.is_some()).count())
    }
}

/// Clients that keep to the rules have names of their own.
pub(super) fn is_hostile(client: &str) -> bool {
    !client.starts_with(['o', 'p'])
}

/// An event as the model knows it: not where a client comes from, nor the words of a rule.
fn as_known(event: &broker::Event) -> broker::Event {
    match event {
        broker::Event::Denied { client, username, action, topic, .. } => broker::Event::Denied {
            client: client.clone(),
            username: username.clone(),
            action: *action,
            topic: topic.clone(),
            rule: "".into(),
        },
        broker::Event::Connected { client, username, version, session_present, .. } => broker::Event::Connected {
            client: client.clone(),
            username: username.clone(),
            remote: None,
            version: *version,
            session_present: *session_present,
        },
        other => other.clone(),
    }
}

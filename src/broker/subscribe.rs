//! SUBSCRIBE and UNSUBSCRIBE.

use std::collections::HashSet;
use std::rc::Rc;

use crate::id::ConnId;
use crate::proto::mqtt::{
    Filter, Packet, ReasonCode, RetainHandling, SubAck, Subscribe, Subscription, SubscriptionId, UnsubAck, Unsubscribe,
    Version, encoded_len,
};
use crate::time::Moment;

use super::access::{Answer, Client, SubscribeQuestion};
use super::connect::{Asked, is_sys};
use super::core::{Core, Flow, Sink};
use super::events::Action;
use super::session::{Replay, Wanted};
use super::store::Change;

impl Core {
    pub(super) fn subscribe(
        &mut self,
        conn: ConnId,
        subscribe: &Subscribe<'_>,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Flow {
        let Some((who, version)) = self.session_of(conn) else { return Flow::Next };
        let Some(session) = self.sessions.get(who) else { return Flow::Next };
        let (id, username) = (Rc::clone(&session.id), session.username.clone());
        // All questions first: a packet that waits for an answer has changed nothing yet.
        let mut verdicts = Vec::new();
        for subscription in subscribe.subscriptions {
            let Ok(filter) = Filter::parse(subscription.filter) else { continue };
            let question = SubscribeQuestion::new(filter.levels, filter.group, subscription.qos);
            let client = |token| Client::new(token, &id, username.as_deref());
            match self.ask(conn, sink, |access, token| access.subscribe(&client(token), &question)) {
                Asked::Allowed => verdicts.push(Answer::Allow),
                Asked::Denied(denied) => verdicts.push(Answer::Deny(denied)),
                Asked::Later => return Flow::Wait,
            }
        }
        let mut reasons = Vec::with_capacity(verdicts.len());
        // Section 3.8.2.1.2
        let number = subscribe.properties.subscription_ids().next();
        for (subscription, verdict) in subscribe.subscriptions.into_iter().zip(verdicts) {
            reasons.push(match verdict {
                Answer::Deny(denied) => {
                    self.denied(&id, username.as_deref(), Action::Subscribe, subscription.filter, &denied);
                    denied.reason
                }
                Answer::Allow | Answer::Later => self.add_subscription(who, &subscription, number, now),
            });
        }
        self.ticket = None;
        // MQTT-3.8.4-1, MQTT-3.8.4-6
        let answer = SubAck { id: subscribe.id, reasons: reasons.as_slice().into(), properties: Default::default() };
        self.answer_list(conn, &Packet::SubAck(answer), version, now, sink);
        self.pump(who, now, sink);
        Flow::Next
    }

    fn add_subscription(
        &mut self,
        who: u32,
        subscription: &Subscription<'_>,
        number: Option<SubscriptionId>,
        now: Moment,
    ) -> ReasonCode {
        let Ok(filter) = Filter::parse(subscription.filter) else { return ReasonCode::TopicFilterInvalid };
        let Some(session) = self.sessions.get(who) else { return ReasonCode::UnspecifiedError };
        let is_full = session.subscriptions.len() >= self.bounds.subscriptions_max;
        let wanted = Wanted::of(subscription, number);
        let is_known = |core: &Self| match filter.group {
            None => core.subscriptions.get(filter.levels, who).is_some(),
            Some(group) => core.shares.has(group, filter.levels, who),
        };
        if is_full && !is_known(self) {
            return ReasonCode::QuotaExceeded;
        }
        // MQTT-3.8.4-3: one with the same filter is replaced.
        let added = match filter.group {
            None => self.subscriptions.insert(filter.levels, who, wanted).map(|old| old.is_none()),
            Some(group) => self.shares.insert(group, filter.levels, who, wanted),
        };
        let Ok(is_new) = added else { return ReasonCode::TopicFilterInvalid };
        if let Some(session) = self.sessions.get_mut(who) {
            if is_new {
                session.subscriptions.push(subscription.filter.into());
            }
            if session.is_persistent() {
                let client = Rc::clone(&session.id);
                self.record(&Change::Subscribed { client: &client, subscription });
            }
        }
        if is_new && is_sys(filter.levels) {
            self.sys_subscribed(now);
        }
        // MQTT-3.3.1-9 to -11; none for shared subscriptions (section 4.8.2).
        let wants_retained = match subscription.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DontSend => false,
        };
        if wants_retained && filter.group.is_none() && !self.retained.is_empty() {
            self.begin_replay(who, Replay { filter: filter.levels.into(), wanted, after: None });
        }
        // MQTT-3.9.3-2
        ReasonCode::granted(wanted.qos())
    }

    /// Sends an answer that is as long as its question. A client that does not take packets of that length cannot be answered, and
    /// waits for an answer.
    fn answer_list(&mut self, conn: ConnId, packet: &Packet<'_>, version: Version, now: Moment, sink: &mut dyn Sink) {
        let max = self.session_of(conn).and_then(|(who, _)| self.sessions.get(who)).map_or(0, |s| s.packet_max);
        // MQTT-3.1.2-24
        if encoded_len(packet, version).is_ok_and(|len| len <= max as usize) {
            self.send_packet(conn, packet, version, sink);
        } else {
            self.fail(conn, ReasonCode::PacketTooLarge, now, sink);
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        conn: ConnId,
        unsubscribe: &Unsubscribe<'_>,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Flow {
        let Some((who, version)) = self.session_of(conn) else { return Flow::Next };
        let mut reasons = Vec::new();
        let mut gone = HashSet::new();
        for filter in unsubscribe.filters {
            // MQTT-3.10.4-1
            let existed = self.remove_subscription(who, filter);
            if let Some(session) = self.sessions.get_mut(who).filter(|_| existed) {
                session.subscriptions.remove(filter);
                gone.insert(filter);
                if session.is_persistent() {
                    let client = Rc::clone(&session.id);
                    let _ = self.store.record(&Change::Unsubscribed { client: &client, filter });
                }
            }
            reasons.push(if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted });
        }
        if let Some(rare) = self.sessions.get_mut(who).and_then(|session| session.rare.as_mut()) {
            rare.replays.retain(|replay| !gone.contains(&*replay.filter));
        }
        // MQTT-3.10.4-4, MQTT-3.10.4-5
        let answer =
            UnsubAck { id: unsubscribe.id, reasons: reasons.as_slice().into(), properties: Default::default() };
        self.answer_list(conn, &Packet::UnsubAck(answer), version, now, sink);
        Flow::Next
    }

    /// Takes a subscription out of the tables; whether it was there.
    pub(super) fn remove_subscription(&mut self, who: u32, filter: &str) -> bool {
        let Ok(parsed) = Filter::parse(filter) else { return false };
        let existed = match parsed.group {
            None => self.subscriptions.remove(parsed.levels, who).is_some(),
            Some(group) => self.shares.remove(group, parsed.levels, who),
        };
        if existed && is_sys(parsed.levels) {
            self.sys_unsubscribed();
        }
        existed
    }
}

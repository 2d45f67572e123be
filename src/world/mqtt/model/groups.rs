//! Groups that share a subscription: who is in one, and whose a message is when somebody goes.

use crate::mqtt::QoS;

use super::super::books::Shared;
use super::super::users::{User, may_read};
use super::{Model, Session};

impl Model {
    /// Somebody is no member any more.
    pub(super) fn left_group(&mut self, filter: &str) {
        if !self.sessions.values().any(|session| session.subscriptions.contains_key(filter))
            && self.groups.remove(filter).is_some()
        {
            self.apply("a group ends");
            self.ended_groups.insert(filter.to_owned());
        }
    }

    /// Section 4.8.2: what a member has not acknowledged when its session ends is another one's, if the group is still there.
    pub(super) fn hand_on(&mut self, from: usize) {
        let mut shared = std::mem::take(&mut self.shared);
        for message in shared.iter_mut().filter(|message| message.members.iter().any(|(book, _)| *book == from)) {
            // MQTT-4.8.2-5: what was sent at QoS 2 is nobody else's.
            message.may_be_lost |= message.members.contains(&(from, QoS::ExactlyOnce));
            if self.groups.get(&message.filter) == Some(&message.group) {
                let others = self.members(&message.filter, &message.topic, message.qos);
                message.may_be_lost |= others.is_empty();
                message.members.extend(others);
                message.handed_on += 1;
                self.apply("a message for a group is handed on when a session ends");
            } else {
                message.may_be_lost = true;
            }
        }
        self.shared = shared;
    }

    /// Somebody else has come to a session: what waits for its groups may be another member's, or nobody's.
    pub(super) fn withdraw(&mut self, from: usize, user: User) {
        let mut shared = std::mem::take(&mut self.shared);
        let is_meant = |message: &&mut Shared| {
            !may_read(user, &message.topic) && message.members.iter().any(|(book, _)| *book == from)
        };
        for message in shared.iter_mut().filter(is_meant) {
            message.may_be_lost = true;
            if self.groups.get(&message.filter) == Some(&message.group) {
                message.members.extend(self.members(&message.filter, &message.topic, message.qos));
                message.handed_on += 1;
            }
        }
        self.shared = shared;
    }

    /// The members of a group who may be sent a message.
    pub(super) fn members(&self, filter: &str, topic: &str, qos: QoS) -> Vec<(usize, QoS)> {
        let member = |session: &Session| {
            let wanted = session.subscriptions.get(filter).filter(|_| may_read(session.user, topic))?;
            Some((session.book, qos.min(wanted.qos)))
        };
        self.sessions.values().filter_map(member).collect()
    }
}

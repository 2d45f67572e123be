//! Topic aliases, both ways (section 3.3.2.3.4). They live as long as a connection.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::rc::Rc;

use crate::proto::mqtt::packet::Publish;
use crate::proto::mqtt::publish::TopicAs;
use crate::proto::mqtt::reason::ReasonCode;

use super::error::Fault;

/// The aliases that we give: to the first topics that we publish to, as many as the server takes.
#[derive(Debug, Default)]
pub(super) struct Given {
    max: u16,
    topics: HashMap<Box<str>, NonZeroU16>,
}

/// An alias costs three bytes: topics up to this length are as short themselves.
const SHORT: usize = 3;

impl Given {
    /// A new connection, on which the server takes so many.
    pub(super) fn begin(&mut self, max: u16) {
        self.topics.clear();
        self.max = max;
    }

    /// How to say a topic. One that it has an alias for the first time has to be [kept](Self::keep) once it is sent.
    #[inline]
    pub(super) fn say(&self, topic: &str) -> TopicAs {
        if self.max == 0 || topic.len() <= SHORT {
            return TopicAs::Name;
        }
        match self.topics.get(topic) {
            Some(&alias) => TopicAs::Alias(alias),
            // MQTT-3.3.2-9
            None if self.topics.len() < usize::from(self.max) => {
                NonZeroU16::new(self.topics.len() as u16 + 1).map_or(TopicAs::Name, TopicAs::Both)
            }
            None => TopicAs::Name,
        }
    }

    /// The server has been told.
    #[inline]
    pub(super) fn keep(&mut self, topic: &str, said: TopicAs) {
        if let TopicAs::Both(alias) = said {
            self.topics.insert(topic.into(), alias);
        }
    }
}

/// The aliases that the server gives.
#[derive(Debug, Default)]
pub(super) struct Taken {
    topics: Vec<Option<Rc<str>>>,
}

impl Taken {
    /// A new connection.
    pub(super) fn begin(&mut self) {
        self.topics.clear();
    }

    /// The topic that a message's alias stands for, where the message does not say it itself.
    #[inline]
    pub(super) fn resolve(&mut self, publish: &Publish<'_>, max: u16) -> Result<Option<Rc<str>>, Fault> {
        match publish.properties.topic_alias() {
            None => Ok(None),
            Some(alias) => self.look_up(alias, publish.topic, max),
        }
    }

    fn look_up(&mut self, alias: NonZeroU16, topic: &str, max: u16) -> Result<Option<Rc<str>>, Fault> {
        // MQTT-3.3.2-8, MQTT-3.3.2-10
        if alias.get() > max {
            return Err(Fault::Broken(ReasonCode::TopicAliasInvalid, "a topic alias above the maximum"));
        }
        let place = usize::from(alias.get()) - 1;
        if topic.is_empty() {
            let known = self.topics.get(place).cloned().flatten();
            let unknown = Fault::Broken(ReasonCode::ProtocolError, "a topic alias that stands for nothing");
            return known.map(Some).ok_or(unknown);
        }
        if self.topics.len() <= place {
            self.topics.resize(place + 1, None);
        }
        // A server may say the same twice: nothing to remember then.
        if self.topics[place].as_deref() != Some(topic) {
            self.topics[place] = Some(topic.into());
        }
        Ok(None)
    }
}

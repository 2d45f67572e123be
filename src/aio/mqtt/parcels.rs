//! Messages on their way from whoever publishes them to the connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::proto::mqtt::{Property, PropertyBuf, PropertyId, Publish, QoS, ReasonCode, life_left};

/// A message that has left its caller.
pub(super) struct OwnPublish {
    topic: Box<str>,
    payload: Box<[u8]>,
    qos: QoS,
    retain: bool,
    properties: PropertyBuf,
    /// When it was published, which is when its life began.
    called: Instant,
}

impl OwnPublish {
    pub(super) fn of(publish: &Publish<'_>) -> Result<Self> {
        let Publish { topic, payload, qos, retain, dup, id, properties } = *publish;
        // The protocol's client would say so as well, in its turn.
        if dup || id.is_some() || properties.has(PropertyId::TopicAlias) {
            let why = "packet identifiers, DUP and topic aliases are the client's own affair";
            return Err(Error::new(Kind::BadValue, format!("cannot publish: {why}")));
        }
        let mut own = PropertyBuf::new();
        for property in properties {
            own.push(property).map_err(|e| Error::with_source(Kind::BadValue, "cannot publish", e))?;
        }
        let called = Instant::now();
        Ok(Self { topic: topic.into(), payload: payload.into(), qos, retain, properties: own, called })
    }

    fn lend<R>(&self, properties: &PropertyBuf, f: impl FnOnce(&Publish<'_>) -> R) -> R {
        let Self { topic, payload, qos, retain, .. } = self;
        let properties = properties.as_properties();
        f(&Publish { topic, payload, qos: *qos, retain: *retain, dup: false, id: None, properties })
    }
}

/// A message, and who waits for its end.
pub(super) struct Parcel {
    message: OwnPublish,
    pub(super) tell: oneshot::Sender<Result<ReasonCode>>,
    /// When its life ends, by the loop's clock.
    pub(super) expires: Option<Instant>,
}

impl Parcel {
    /// A message that has come to the loop, and now is the loop's time.
    pub(super) fn new(message: OwnPublish, tell: oneshot::Sender<Result<ReasonCode>>, now: Instant) -> Self {
        // Its caller's clock is the system's, whatever the loop's is.
        let begun = now.checked_sub(message.called.elapsed()).unwrap_or(now);
        let interval = message.properties.as_properties().message_expiry_interval();
        let expires = interval.and_then(|seconds| begun.checked_add(Duration::from_secs(seconds.into())));
        Self { message, tell, expires }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// The message as it is to be sent now: older by what it has waited (MQTT-3.3.2-6).
    pub(super) fn lend<R>(&self, now: Instant, f: impl FnOnce(&Publish<'_>) -> R) -> R {
        let own = &self.message.properties;
        let Some(left) = self.expires.map(|at| life_left(at, now)) else { return self.message.lend(own, f) };
        let mut aged = PropertyBuf::new();
        for property in own.as_properties() {
            let property = match property {
                Property::MessageExpiryInterval(_) => Property::MessageExpiryInterval(left),
                other => other,
            };
            // It takes what it has taken before.
            let _ = aged.push(property);
        }
        self.message.lend(&aged, f)
    }

    fn is_wanted(&self) -> bool {
        !self.tell.is_closed()
    }
}

/// Those that wait for room, in their order. Whoever gives up leaves nothing behind for long: there are never more than twice as many
/// as somebody waits for, or a few.
#[derive(Default)]
pub(super) struct Parcels {
    queue: VecDeque<Parcel>,
    /// So many may be here before those that nobody waits for are looked for.
    most: usize,
}

impl Parcels {
    pub(super) fn push_back(&mut self, parcel: Parcel) {
        if self.queue.len() >= self.most.max(FEW) {
            self.queue.retain(Parcel::is_wanted);
            self.most = 2 * self.queue.len();
        }
        self.queue.push_back(parcel);
    }

    pub(super) fn push_front(&mut self, parcel: Parcel) {
        self.queue.push_front(parcel);
    }

    /// The first one that somebody waits for.
    pub(super) fn pop(&mut self) -> Option<Parcel> {
        loop {
            let parcel = self.queue.pop_front()?;
            if parcel.is_wanted() {
                return Some(parcel);
            }
        }
    }

    /// Takes out those whose life is over.
    pub(super) fn take_over(&mut self, now: Instant) -> Vec<Parcel> {
        let (over, rest) = std::mem::take(&mut self.queue).into_iter().partition::<Vec<_>, _>(|p| p.is_over(now));
        self.queue = rest.into();
        over
    }

    /// When the first of them is over.
    pub(super) fn next_over(&self) -> Option<Instant> {
        self.queue.iter().filter_map(|parcel| parcel.expires).min()
    }

    /// Nobody waits.
    pub(super) fn is_empty(&mut self) -> bool {
        while self.queue.front().is_some_and(|parcel| !parcel.is_wanted()) {
            self.queue.pop_front();
        }
        self.queue.is_empty()
    }
}

const FEW: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_does_not_pile_up() {
        let mut parcels = Parcels::default();
        let parcel = |topic| {
            let (tell, told) = oneshot::channel();
            (Parcel::new(OwnPublish::of(&Publish::new(topic, "")).unwrap(), tell, Instant::now()), told)
        };
        let (first, _wanted) = parcel("first");
        parcels.push_back(first);
        for _ in 0..1000 {
            let (given_up, told) = parcel("given up");
            drop(told);
            parcels.push_back(given_up);
            assert!(parcels.queue.len() <= FEW);
        }
        let (last, _also) = parcel("last");
        parcels.push_back(last);
        let topics = [parcels.pop(), parcels.pop()].map(|parcel| parcel.unwrap().message.topic);
        assert_eq!((&*topics[0], &*topics[1], parcels.is_empty()), ("first", "last", true));
    }
}

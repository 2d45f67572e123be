//! Messages on their way from the loop to whoever takes them.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;

use crate::error::Error;
use crate::proto::mqtt::{
    AckId, Acks, Filter, Properties, PropertyBuf, Publish, QoS, ReasonCode, RetainHandling, Subscription, topic,
};
use crate::reactor::Command;

use super::Session;
use super::link::Link;
use crate::aio::events::Overflow;

/// A message that came for a stream. A clone owes no acknowledgement: that is given once.
pub struct MqttMessage {
    topic: Arc<str>,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    properties: PropertyBuf,
    ack: Option<Arc<Debt>>,
}

/// An acknowledgement that is owed to the server, once every stream that has the message has done with it.
pub(super) struct Debt {
    link: Arc<Link>,
    ack: AckId,
    left: AtomicUsize,
}

impl Debt {
    pub(super) fn new(link: Arc<Link>, ack: AckId, streams: usize) -> Arc<Self> {
        Arc::new(Self { link, ack, left: AtomicUsize::new(streams) })
    }

    /// One stream has done with it.
    fn pay(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A loop that has stopped has ended the connection: the message comes again.
            let _ = self.link.waker.push(Command::Run((self.link.jobs.ack)(&self.link, self.ack)));
        }
    }
}

impl MqttMessage {
    /// It owes this acknowledgement.
    pub(super) fn owing(mut self, ack: Option<Arc<Debt>>) -> Self {
        self.ack = ack;
        self
    }

    pub(super) fn of(publish: &Publish<'_>) -> Self {
        let mut properties = PropertyBuf::new();
        for property in publish.properties {
            // They were decoded: each may be there, and as often as it is.
            _ = properties.push(property);
        }
        Self {
            topic: publish.topic.into(),
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            properties,
            ack: None,
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Its content.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The content as text. None where it is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(&self.payload).ok()
    }

    /// How often it arrives.
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// The server had kept it.
    pub fn is_retained(&self) -> bool {
        self.retain
    }

    /// Content type, response topic, user properties and others. 5.0.
    pub fn properties(&self) -> Properties<'_> {
        self.properties.as_properties()
    }

    /// Acknowledges it, where the client was made with `Acks::Manual`; otherwise, and at QoS 0, nothing is left to be done. It never
    /// waits. Acknowledgements leave in the order of the messages: one waits for those before it. Of a connection that was lost
    /// meanwhile none is left to give: the message comes again.
    pub fn ack(mut self) {
        self.settle();
    }

    /// This stream has done with it.
    fn settle(&mut self) {
        if let Some(debt) = self.ack.take() {
            debt.pay();
        }
    }

    fn is_owed(&self) -> bool {
        self.ack.is_some()
    }
}

impl Clone for MqttMessage {
    fn clone(&self) -> Self {
        let Self { topic, payload, qos, retain, properties, ack: _ } = self;
        Self {
            topic: Arc::clone(topic),
            payload: payload.clone(),
            qos: *qos,
            retain: *retain,
            properties: properties.clone(),
            ack: None,
        }
    }
}

impl fmt::Debug for MqttMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttMessage")
            .field("topic", &self.topic)
            .field("payload", &self.payload)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

/// One subscription: what was asked of the server, and what waits to be taken.
pub(super) struct Feed {
    filter: Box<str>,
    /// Where in it that begins which is matched: behind `$share/group/`.
    levels_at: usize,
    /// Names its filter to the server: the subscription identifier of 5.0.
    number: AtomicU32,
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    retain_handling: RetainHandling,
    capacity: usize,
    overflow: Overflow,
    dropped: AtomicU64,
    /// Nobody can take anything yet: the server has not answered.
    is_awaited: AtomicBool,
    queue: Mutex<Queue>,
}

/// As many messages more have room before the answer to a subscription. It comes behind them: a connection that is not read for want of
/// room would never bring it.
const EARLY_MAX: usize = 1000;

#[derive(Default)]
struct Queue {
    items: VecDeque<MqttMessage>,
    /// What a lost connection has left unacknowledged: it comes again if the session goes on.
    aside: VecDeque<MqttMessage>,
    /// The connection is not read because of this one.
    pauses: bool,
    /// There will be no more; not, where it was not asked for.
    ended: Option<Option<Error>>,
    waiting: Option<Waker>,
}

/// What a feed makes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It is full now: read no further.
    Pause,
    /// It was full: close.
    Close,
}

impl Feed {
    pub(super) fn new(subscription: &Subscription<'_>, capacity: usize, overflow: Overflow) -> Arc<Self> {
        let Subscription { filter, qos, no_local, retain_as_published, retain_handling } = *subscription;
        // One that is none is refused before anything comes for it.
        let levels_at = Filter::parse(filter).map_or(0, |parsed| filter.len() - parsed.levels.len());
        Arc::new(Self {
            filter: filter.into(),
            levels_at,
            number: AtomicU32::new(0),
            qos,
            no_local,
            retain_as_published,
            retain_handling,
            capacity: capacity.max(1),
            overflow,
            dropped: AtomicU64::new(0),
            is_awaited: AtomicBool::new(true),
            queue: Mutex::default(),
        })
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) fn number(&self) -> u32 {
        self.number.load(Ordering::Relaxed)
    }

    pub(super) fn set_number(&self, number: u32) {
        self.number.store(number, Ordering::Relaxed);
    }

    /// The server has answered: whoever subscribed can take messages now.
    pub(super) fn set_granted(&self) {
        self.is_awaited.store(false, Ordering::Relaxed);
    }

    pub(super) fn matches(&self, topic: &str) -> bool {
        topic::matches(self.filter.get(self.levels_at..).unwrap_or_default(), topic)
    }

    pub(super) fn subscription(&self) -> Subscription<'_> {
        let Self { filter, qos, no_local, retain_as_published, retain_handling, .. } = self;
        Subscription {
            filter,
            qos: *qos,
            no_local: *no_local,
            retain_as_published: *retain_as_published,
            retain_handling: *retain_handling,
        }
    }

    /// A server with a Receive Maximum sends only so much of QoS 1 and 2: that always has a place. Otherwise whoever answers each
    /// message before taking the next could wait for ever for an acknowledgement that is not read.
    pub(super) fn push(&self, mut message: MqttMessage, receive_maximum: bool) -> Taken {
        let mut queue = self.lock();
        let is_bounded = receive_maximum && message.qos != QoS::AtMostOnce;
        let early = if self.is_awaited.load(Ordering::Relaxed) { EARLY_MAX } else { 0 };
        let room = self.capacity.saturating_add(early);
        let is_full = queue.items.len() >= room && !is_bounded;
        match self.overflow {
            Overflow::Close if is_full => return Taken::Close,
            Overflow::DropNewest if is_full && message.qos == QoS::AtMostOnce => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                // There is nothing to settle, today.
                message.settle();
                return Taken::Yes;
            }
            Overflow::Close | Overflow::DropNewest | Overflow::Pause => {}
        }
        let may_pause = self.overflow == Overflow::Pause || message.qos != QoS::AtMostOnce;
        queue.items.push_back(message);
        let is_full = queue.items.len() >= room && !is_bounded;
        let pause = may_pause && self.overflow != Overflow::Close && is_full;
        queue.pauses |= pause;
        let waiting = queue.waiting.take();
        drop(queue);
        waiting.into_iter().for_each(Waker::wake);
        if pause { Taken::Pause } else { Taken::Yes }
    }

    pub(super) fn pauses(&self) -> bool {
        self.lock().pauses
    }

    /// The connection is lost: what is owed to the server on it is not handed out before it is known whether it comes again.
    pub(super) fn set_aside(&self) {
        let mut queue = self.lock();
        queue.pauses = false;
        let (owed, kept) = std::mem::take(&mut queue.items).into_iter().partition(MqttMessage::is_owed);
        queue.items = kept;
        let owed: VecDeque<_> = owed;
        queue.aside.extend(owed);
    }

    /// What was set aside comes again, or (the server knows nothing of it any more) is handed out after all.
    pub(super) fn resolve(&self, comes_again: bool) {
        let mut queue = self.lock();
        let mut aside = std::mem::take(&mut queue.aside);
        if comes_again {
            drop(queue);
            return;
        }
        for message in &mut aside {
            message.ack = None;
        }
        aside.append(&mut queue.items);
        queue.items = aside;
        let waiting = queue.waiting.take();
        drop(queue);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Nothing will come any more.
    pub(super) fn end(&self, why: Option<Error>) {
        let mut queue = self.lock();
        queue.ended.get_or_insert(why);
        let waiting = queue.waiting.take();
        drop(queue);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Nobody will take anything any more: what waits is given up, and acknowledged.
    pub(super) fn give_up(&self) {
        let mut queue = self.lock();
        queue.pauses = false;
        let items = std::mem::take(&mut queue.items);
        drop(queue);
        for mut message in items {
            message.settle();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages of one subscription: [`MqttClient::subscribe`](super::MqttClient::subscribe).
///
/// It ends (`None`) when the connection is over for good, or the server does not renew the subscription: [`error`](Self::error) says
/// which. It keeps the connection open. Dropped earlier, it unsubscribes, and what waits in it is given up: acknowledged, and taken
/// by nobody. To leave messages to a session that lasts, end the connection first: [`MqttClient::disconnect`](super::MqttClient::disconnect).
///
/// A message whose connection is lost before it was acknowledged comes again, where the session goes on; it is not handed out from here
/// before that.
#[must_use = "dropping it ends the subscription"]
pub struct MqttMessages {
    feed: Arc<Feed>,
    session: Arc<Session>,
    granted: QoS,
}

impl MqttMessages {
    pub(super) fn new(feed: Arc<Feed>, session: Arc<Session>) -> Self {
        Self { feed, session, granted: QoS::AtMostOnce }
    }

    pub(super) fn set_granted(&mut self, reason: ReasonCode) {
        self.granted = match reason {
            ReasonCode::GrantedQoS2 => QoS::ExactlyOnce,
            ReasonCode::GrantedQoS1 => QoS::AtLeastOnce,
            _ => QoS::AtMostOnce,
        };
    }

    /// The next message. None when there will be no more.
    ///
    /// With `Acks::Auto` it is acknowledged now: it is yours.
    ///
    /// Cancel safety: no message is lost, and none acknowledged.
    pub async fn next(&mut self) -> Option<MqttMessage> {
        std::future::poll_fn(|cx| self.poll_message(cx)).await
    }

    /// The filter that was subscribed.
    pub fn filter(&self) -> &str {
        self.feed.filter()
    }

    /// The best quality that the server sends: perhaps less than was asked for.
    pub fn qos(&self) -> QoS {
        self.granted
    }

    /// How many messages of QoS 0 were dropped, by `Overflow::DropNewest`.
    pub fn dropped(&self) -> u64 {
        self.feed.dropped.load(Ordering::Relaxed)
    }

    /// Why there will be no more messages. None while there may be, and where this side has disconnected.
    pub fn error(&self) -> Option<Error> {
        self.feed.lock().ended.clone().flatten()
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<MqttMessage>> {
        let link = &self.session.link;
        let mut queue = self.feed.lock();
        let Some(mut message) = queue.items.pop_front() else {
            if queue.ended.is_some() {
                return Poll::Ready(None);
            }
            queue.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let resumes = queue.pauses && queue.items.len() <= self.feed.capacity / 2;
        queue.pauses &= !resumes;
        drop(queue);
        if link.acks == Acks::Auto {
            message.settle();
        }
        if resumes {
            // A loop that has stopped reads no more.
            let _ = link.waker.push(Command::Run((link.jobs.resume)(link)));
        }
        Poll::Ready(Some(message))
    }
}

impl Stream for MqttMessages {
    type Item = MqttMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_message(cx)
    }
}

impl Drop for MqttMessages {
    fn drop(&mut self) {
        let link = &self.session.link;
        // A loop that has stopped has ended the connection.
        let _ = link.waker.push(Command::Run((link.jobs.leave)(link, &self.feed)));
    }
}

impl fmt::Debug for MqttMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttMessages")
            .field("filter", &self.feed.filter)
            .field("qos", &self.granted)
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

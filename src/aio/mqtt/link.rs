//! The client's half on the loop's thread: it hears what the connection says, and knows who waits for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Event};
use crate::id::{ConnId, TimerId};
use crate::manager::{Ctx, Manager, Net, job};
use crate::proto::mqtt::{
    AckId, Acks, ClientOptions, ConnAck, Failure, Filter, Property, PropertyBuf, Publish, ReasonCode, SubAck,
    SubscriptionId, Token,
};
use crate::reactor::{Job, Waker};
use crate::trace::trace_event;

use super::messages::{Debt, Feed, MqttMessage, Taken};
use super::parcels::{OwnPublish, Parcel, Parcels};
use super::{ended, failed};

/// How things are between a client and its server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum MqttState {
    /// The first connection is being made.
    Connecting,
    /// The server has taken the client in.
    Open {
        /// It goes on with an earlier session.
        session_present: bool,
    },
    /// The connection is lost, or could not be made, and will be made again.
    Lost {
        /// Why.
        reason: CloseReason,
        /// After which pause.
        retry_in: Duration,
    },
    /// It is over for good.
    Closed(CloseReason),
}

/// What the loop's thread and the clients share.
pub(super) struct Link {
    pub(super) waker: Waker,
    pub(super) jobs: Jobs,
    pub(super) acks: Acks,
    pub(super) state: watch::Sender<MqttState>,
    /// The server keeps what is not acknowledged, beyond the connection's end.
    has_lasting_session: bool,
    /// How long messages of an earlier session wait for their streams.
    claims: Duration,
    is_5: bool,
    id: OnceLock<ConnId>,
    /// Touched on the loop's thread alone, but for counters.
    inside: Mutex<Inside>,
}

/// What needs to know the type of the manager.
pub(super) struct Jobs {
    pub(super) ack: fn(&Arc<Link>, AckId) -> Job,
    pub(super) resume: fn(&Arc<Link>) -> Job,
    pub(super) leave: fn(&Arc<Link>, &Arc<Feed>) -> Job,
    pub(super) disconnect: fn(&Arc<Link>) -> Job,
}

#[derive(Default)]
struct Inside {
    asked: HashMap<Token, Asked>,
    feeds: Vec<Arc<Feed>>,
    /// Subscriptions that the server knows of in its present session.
    granted: Vec<Arc<Feed>>,
    /// Messages that wait for room.
    parked: Parcels,
    /// When the first of them is over, and what looks then.
    alarm: Option<(Instant, TimerId)>,
    /// Subscriptions that wait for the connection, which says whether they may have identifiers.
    waiting: Vec<(Arc<Feed>, oneshot::Sender<Result<ReasonCode>>)>,
    /// How many filters have had an identifier.
    last_number: u32,
    server: Server,
    claims: Claims,
    /// Ends them.
    claims_timer: Option<TimerId>,
    /// Messages that waited for a stream, and their acknowledgements.
    unclaimed: Vec<(MqttMessage, AckId)>,
    unclaimed_count: u64,
    is_over: bool,
}

/// What the server can do, as far as it has said so.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Server {
    /// There is no connection.
    #[default]
    Unknown,
    Plain,
    /// It says with each message which subscriptions it is for.
    SaysWhy,
}

/// Whether messages wait for their streams.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Claims {
    /// The first connection has not been made.
    #[default]
    NotYet,
    Open,
    Over,
}

/// Who waits for the end of something.
enum Asked {
    Publish(oneshot::Sender<Result<ReasonCode>>),
    Subscribe(Arc<Feed>, oneshot::Sender<Result<ReasonCode>>),
    /// A subscription again, in a new session.
    Renew(Arc<Feed>),
}

/// The handler's hold on the link: when the handler is gone, nothing will be heard any more.
pub(super) struct Ears(pub(super) Arc<Link>);

impl Drop for Ears {
    fn drop(&mut self) {
        self.0.close(&CloseReason::Stopped);
    }
}

/// As many may wait; then the connection is not read. A 5.0 server is told of a smaller bound.
const UNCLAIMED_MAX: usize = 100;

impl Link {
    pub(super) fn new<S: 'static>(waker: Waker, options: &ClientOptions, claims: Duration) -> Arc<Self> {
        let jobs = Jobs { ack: ack::<S>, resume: resume::<S>, leave: leave::<S>, disconnect: disconnect::<S> };
        Arc::new(Self {
            waker,
            jobs,
            acks: options.wanted_acks(),
            state: watch::Sender::new(MqttState::Connecting),
            claims,
            is_5: options.speaks_5(),
            has_lasting_session: options.has_lasting_session(),
            id: OnceLock::new(),
            inside: Mutex::default(),
        })
    }

    pub(super) fn set_id(&self, id: ConnId) {
        // It is made once.
        _ = self.id.set(id);
    }

    /// There is a client only once the connection has been made.
    pub(super) fn id(&self) -> ConnId {
        self.id.get().copied().unwrap_or_else(ConnId::dangling)
    }

    pub(super) fn unclaimed(&self) -> u64 {
        self.lock().unclaimed_count
    }

    // ---- what is asked

    pub(super) fn publish<S: 'static>(
        self: &Arc<Self>,
        net: &mut Net<'_, S>,
        message: OwnPublish,
    ) -> Result<oneshot::Receiver<Result<ReasonCode>>> {
        self.check_hears()?;
        let (tell, told) = oneshot::channel();
        let parcel = Parcel::new(message, tell, net.now());
        let is_first = self.lock().parked.is_empty();
        let left = if is_first { self.send(net, parcel) } else { Some(parcel) };
        if let Some(parcel) = left {
            let expires = parcel.expires;
            self.lock().parked.push_back(parcel);
            self.watch(net, expires);
        }
        Ok(told)
    }

    /// Nobody waits for room longer than their message may live.
    fn watch<S: 'static>(self: &Arc<Self>, net: &mut Net<'_, S>, until: Option<Instant>) {
        let (Some(until), alarm) = (until, self.lock().alarm) else { return };
        match alarm {
            Some((at, _)) if at <= until => return,
            Some((_, timer)) => _ = net.cancel(timer),
            None => {}
        }
        let link = Arc::downgrade(self);
        let wait = until.saturating_duration_since(net.now());
        let timer = net.timer_after(wait, move |cx| {
            let Some(link) = link.upgrade() else { return };
            link.lock().alarm = None;
            let over = link.lock().parked.take_over(cx.net.now());
            over.into_iter().for_each(|parcel| _ = parcel.tell.send(Err(failed("publish", Failure::Expired))));
            let next = link.lock().parked.next_over();
            link.watch(&mut cx.net, next);
        });
        self.lock().alarm = Some((until, timer));
    }

    /// Sends a message on its way. It comes back where too many wait already: `Drained` will tell of room.
    fn send<S>(&self, net: &mut Net<'_, S>, parcel: Parcel) -> Option<Parcel> {
        let now = net.now();
        match parcel.lend(now, |publish| net.publish(self.id(), publish)) {
            Ok(Some(token)) => _ = self.lock().asked.insert(token, Asked::Publish(parcel.tell)),
            // That is all that will ever be known of it.
            Ok(None) => _ = parcel.tell.send(Ok(ReasonCode::Success)),
            // What has no room in an empty queue never will have.
            Err(e) if e.is_limit_reached() && net.mqtt_backlog(self.id()).is_some_and(|(queued, _)| queued > 0) => {
                return Some(parcel);
            }
            Err(e) => _ = parcel.tell.send(Err(e)),
        }
        None
    }

    /// There is room again.
    fn send_parked<S>(&self, net: &mut Net<'_, S>) {
        loop {
            let Some(parcel) = self.lock().parked.pop() else { return };
            if parcel.is_over(net.now()) {
                _ = parcel.tell.send(Err(failed("publish", Failure::Expired)));
                continue;
            }
            if let Some(parcel) = self.send(net, parcel) {
                return self.lock().parked.push_front(parcel);
            }
        }
    }

    pub(super) fn subscribe<S>(
        self: &Arc<Self>,
        net: &mut Net<'_, S>,
        feed: &Arc<Feed>,
    ) -> Result<oneshot::Receiver<Result<ReasonCode>>> {
        self.check_hears()?;
        let (tell, told) = oneshot::channel();
        self.number(feed);
        if self.lock().server == Server::Unknown {
            // What nobody could say is refused at once, as it would be later.
            Filter::parse(feed.filter()).map_err(|e| Error::with_source(Kind::BadValue, "cannot subscribe", e))?;
            self.lock().waiting.push((Arc::clone(feed), tell));
        } else {
            let token = self.ask(net, feed)?;
            self.lock().asked.insert(token, Asked::Subscribe(Arc::clone(feed), tell));
        }
        let mut inside = self.lock();
        inside.feeds.push(Arc::clone(feed));
        let (claimed, rest) = std::mem::take(&mut inside.unclaimed)
            .into_iter()
            .partition::<Vec<_>, _>(|(message, _)| feed.matches(message.topic()));
        inside.unclaimed = rest;
        drop(inside);
        for (message, ack) in claimed {
            self.hand(net, feed, message.owing(Some(Debt::new(Arc::clone(self), ack, 1))));
        }
        self.read_on(net);
        Ok(told)
    }

    /// Gives a filter its number: streams to the same filter are one subscription to the server.
    fn number(&self, feed: &Feed) {
        let mut inside = self.lock();
        let known = inside.feeds.iter().find(|other| other.filter() == feed.filter()).map(|other| other.number());
        let number = known.unwrap_or_else(|| {
            // 2^28 of them (section 3.8.2.1.2); long before that the first ones are gone.
            inside.last_number = inside.last_number % 0x0fff_ffff + 1;
            inside.last_number
        });
        feed.set_number(number);
    }

    fn ask<S>(&self, net: &mut Net<'_, S>, feed: &Feed) -> Result<Token> {
        let mut properties = PropertyBuf::new();
        if self.lock().server == Server::SaysWhy
            && let Some(id) = SubscriptionId::new(feed.number())
        {
            // The first one always fits.
            _ = properties.push(Property::SubscriptionIdentifier(id));
        }
        net.subscribe_with(self.id(), &[feed.subscription()], properties.as_properties())
    }

    /// The connection may live on with another handler, which is told instead.
    fn check_hears(&self) -> Result<()> {
        if self.lock().is_over {
            return Err(Error::new(Kind::Gone, "the MQTT connection has ended, or has another handler"));
        }
        Ok(())
    }

    // ---- what is heard

    pub(super) fn handle<S: 'static>(self: &Arc<Self>, cx: &mut Ctx<'_, S>, ev: Event<'_>) {
        match ev {
            Event::MqttMessage(publish, ack) => self.message(&mut cx.net, publish, ack),
            Event::MqttDelivered { token, reason } => self.answer(token, Ok(reason)),
            Event::MqttFailed { token, why } => self.answer(token, Err(why)),
            Event::MqttSubscribed { token, ack } => self.subscribed(token, ack),
            Event::MqttOpened(conn_ack) => self.opened(cx, conn_ack),
            Event::MqttLost { reason, retry_in } => {
                self.lock().server = Server::Unknown;
                self.lock().feeds.iter().for_each(|feed| feed.set_aside());
                self.read_on(&mut cx.net);
                self.state.send_replace(MqttState::Lost { reason: reason.clone(), retry_in });
            }
            Event::Drained => self.send_parked(&mut cx.net),
            Event::Closed(reason) => {
                // Not to hold what is over for as long as that.
                self.lock().claims_timer.take().into_iter().for_each(|timer| _ = cx.net.cancel(timer));
                self.close(&reason);
            }
            // Why a connection is refused or ended comes with its loss or its end; UNSUBACK is of no interest.
            _ => {}
        }
    }

    fn message<S>(self: &Arc<Self>, net: &mut Net<'_, S>, publish: &Publish<'_>, ack: Option<AckId>) {
        let mut inside = self.lock();
        let mut feeds: Vec<_> =
            inside.feeds.iter().filter(|feed| feed.matches(publish.topic)).map(Arc::clone).collect();
        // A server may send a message once for each subscription that it matches. One without a number that is known belongs to an
        // earlier client's subscription.
        let is_for = |feed: &Feed| publish.properties.subscription_ids().any(|id| id.get() == feed.number());
        if feeds.iter().any(|feed| is_for(feed)) {
            feeds.retain(|feed| is_for(feed));
        }
        let Some((last, others)) = feeds.split_last() else {
            if let (Some(ack), Claims::Open) = (ack, inside.claims) {
                inside.unclaimed.push((MqttMessage::of(publish), ack));
                if inside.unclaimed.len() >= UNCLAIMED_MAX {
                    net.pause_read(self.id());
                }
                return;
            }
            inside.unclaimed_count += 1;
            drop(inside);
            trace_event!(debug, "an MQTT message to {} came for no stream", publish.topic);
            self.acknowledge(net, ack);
            return;
        };
        drop(inside);
        let debt = ack.map(|ack| Debt::new(Arc::clone(self), ack, feeds.len()));
        let message = MqttMessage::of(publish);
        for feed in others {
            self.hand(net, feed, message.clone().owing(debt.clone()));
        }
        self.hand(net, last, message.owing(debt));
    }

    fn hand<S>(&self, net: &mut Net<'_, S>, feed: &Feed, message: MqttMessage) {
        match feed.push(message, self.is_5) {
            Taken::Yes => {}
            Taken::Pause => net.pause_read(self.id()),
            Taken::Close => net.end_slow(self.id()),
        }
    }

    fn answer(&self, token: Token, end: std::result::Result<ReasonCode, Failure>) {
        let Some(asked) = self.lock().asked.remove(&token) else { return };
        // Whoever does not wait any more is not told.
        match (asked, end) {
            (Asked::Publish(tell), end) => _ = tell.send(end.map_err(|why| failed("publish", why))),
            // SUBACK comes another way.
            (Asked::Subscribe(..) | Asked::Renew(_), Ok(_)) => {}
            (Asked::Subscribe(feed, tell), Err(why)) => {
                self.forget(&feed);
                _ = tell.send(Err(failed("subscribe", why)));
            }
            (Asked::Renew(feed), Err(why)) => self.lapse(&feed, failed("subscribe again", why)),
        }
    }

    fn subscribed(&self, token: Token, ack: &SubAck<'_>) {
        let Some(asked) = self.lock().asked.remove(&token) else { return };
        let reason = ack.reasons.iter().next().unwrap_or(ReasonCode::UnspecifiedError);
        match asked {
            Asked::Publish(_) => {}
            Asked::Subscribe(feed, tell) if reason.is_error() => {
                self.forget(&feed);
                _ = tell.send(Err(failed("subscribe", Failure::Refused(reason))));
            }
            Asked::Subscribe(feed, tell) => {
                self.grant(feed);
                _ = tell.send(Ok(reason));
            }
            Asked::Renew(feed) if reason.is_error() => {
                self.lapse(&feed, failed("subscribe again", Failure::Refused(reason)));
            }
            Asked::Renew(feed) => self.grant(feed),
        }
    }

    /// The server knows of a subscription, unless its stream has been dropped meanwhile.
    fn grant(&self, feed: Arc<Feed>) {
        feed.set_granted();
        let mut inside = self.lock();
        if inside.feeds.iter().any(|other| Arc::ptr_eq(other, &feed)) {
            inside.granted.push(feed);
        }
    }

    fn opened<S: 'static>(self: &Arc<Self>, cx: &mut Ctx<'_, S>, conn_ack: &ConnAck<'_>) {
        let session_present = conn_ack.session_present;
        let says_why = self.is_5 && conn_ack.properties.subscription_identifier_available().unwrap_or(true);
        let mut inside = self.lock();
        inside.server = if says_why { Server::SaysWhy } else { Server::Plain };
        let is_first = inside.claims == Claims::NotYet;
        if is_first {
            inside.claims = if session_present { Claims::Open } else { Claims::Over };
        }
        // What waited comes again with the session; without it, it is all there is.
        if session_present {
            inside.unclaimed.clear();
        }
        inside.feeds.iter().for_each(|feed| feed.resolve(session_present));
        // Those whose answer is still to come are asked for again without us.
        let lapsed = if session_present { Vec::new() } else { std::mem::take(&mut inside.granted) };
        let waiting = std::mem::take(&mut inside.waiting);
        drop(inside);
        if is_first && session_present {
            let link = Arc::clone(self);
            let timer = cx.timer_after(self.claims, move |cx| link.end_claims(&mut cx.net));
            self.lock().claims_timer = Some(timer);
        }
        for feed in lapsed {
            match self.ask(&mut cx.net, &feed) {
                Ok(token) => _ = self.lock().asked.insert(token, Asked::Renew(feed)),
                Err(e) => self.lapse(&feed, e),
            }
        }
        for (feed, tell) in waiting {
            match self.ask(&mut cx.net, &feed) {
                Ok(token) => _ = self.lock().asked.insert(token, Asked::Subscribe(feed, tell)),
                Err(e) => {
                    self.forget(&feed);
                    _ = tell.send(Err(e));
                }
            }
        }
        self.state.send_replace(MqttState::Open { session_present });
    }

    fn end_claims<S>(&self, net: &mut Net<'_, S>) {
        let mut inside = self.lock();
        inside.claims = Claims::Over;
        let unclaimed = std::mem::take(&mut inside.unclaimed);
        inside.unclaimed_count += unclaimed.len() as u64;
        drop(inside);
        if !unclaimed.is_empty() {
            trace_event!(warn, "{} MQTT messages of an earlier session came for no stream", unclaimed.len());
        }
        for (_, ack) in unclaimed {
            self.acknowledge(net, Some(ack));
        }
        self.read_on(net);
    }

    /// It is over for good.
    fn close(&self, reason: &CloseReason) {
        let mut inside = self.lock();
        if std::mem::replace(&mut inside.is_over, true) {
            return;
        }
        let count = inside.unclaimed_count;
        let Inside { asked, feeds, granted, unclaimed, waiting, mut parked, .. } = std::mem::take(&mut *inside);
        (inside.is_over, inside.unclaimed_count) = (true, count);
        drop(inside);
        let why = if matches!(reason, CloseReason::Local) { None } else { Some(ended(reason)) };
        for feed in feeds {
            feed.set_aside();
            feed.resolve(self.has_lasting_session);
            feed.end(why.clone());
        }
        self.state.send_replace(MqttState::Closed(reason.clone()));
        for (_, tell) in waiting {
            _ = tell.send(Err(ended(reason)));
        }
        while let Some(Parcel { tell, .. }) = parked.pop() {
            _ = tell.send(Err(failed("publish", Failure::Unsent)));
        }
        // Those who still wait are told so by the loss of their senders.
        drop((asked, granted, unclaimed));
    }

    // ---- help

    fn acknowledge<S>(&self, net: &mut Net<'_, S>, ack: Option<AckId>) {
        // One of an earlier connection is of no use: the message comes again.
        ack.into_iter().for_each(|ack| _ = net.mqtt_ack(self.id(), ack));
    }

    /// Reads on, unless somebody still cannot take more.
    fn read_on<S>(&self, net: &mut Net<'_, S>) {
        let inside = self.lock();
        if inside.unclaimed.len() < UNCLAIMED_MAX && !inside.feeds.iter().any(|feed| feed.pauses()) {
            drop(inside);
            net.resume_read(self.id());
        }
    }

    /// The server does not renew a subscription.
    fn lapse(&self, feed: &Arc<Feed>, why: Error) {
        self.forget(feed);
        feed.end(Some(why));
    }

    /// False: it was not among those who listen.
    fn forget(&self, feed: &Arc<Feed>) -> bool {
        let mut inside = self.lock();
        let before = inside.feeds.len();
        inside.feeds.retain(|other| !Arc::ptr_eq(other, feed));
        inside.granted.retain(|other| !Arc::ptr_eq(other, feed));
        inside.waiting.retain(|(other, _)| !Arc::ptr_eq(other, feed));
        inside.feeds.len() < before
    }

    /// A stream has been dropped.
    fn leave<S>(&self, net: &mut Net<'_, S>, feed: &Arc<Feed>) {
        let is_last = {
            let was_asked = !self.lock().waiting.iter().any(|(other, _)| Arc::ptr_eq(other, feed));
            let was_there = self.forget(feed);
            was_there && was_asked && !self.lock().feeds.iter().any(|other| other.filter() == feed.filter())
        };
        if is_last && let Err(e) = net.unsubscribe(self.id(), &[feed.filter()]) {
            // What comes for it goes to nobody.
            trace_event!(debug, "the MQTT subscription {} stays: {e}", feed.filter());
            _ = e;
        }
        feed.give_up();
        self.read_on(net);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ack<S: 'static>(link: &Arc<Link>, ack: AckId) -> Job {
    let link = Arc::clone(link);
    job(move |manager: &mut Manager<S>| link.acknowledge(&mut manager.net(), Some(ack)))
}

fn resume<S: 'static>(link: &Arc<Link>) -> Job {
    let link = Arc::clone(link);
    job(move |manager: &mut Manager<S>| link.read_on(&mut manager.net()))
}

fn leave<S: 'static>(link: &Arc<Link>, feed: &Arc<Feed>) -> Job {
    let (link, feed) = (Arc::clone(link), Arc::clone(feed));
    job(move |manager: &mut Manager<S>| link.leave(&mut manager.net(), &feed))
}

fn disconnect<S: 'static>(link: &Arc<Link>) -> Job {
    let id = link.id();
    // It fails where there is no connection any more.
    job(move |manager: &mut Manager<S>| _ = manager.net().mqtt_disconnect(id, ReasonCode::Success))
}

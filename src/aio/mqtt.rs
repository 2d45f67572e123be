//! An MQTT client as futures and streams. `link` is its half on the loop's thread, `messages` what comes, `parcels` what goes.

mod link;
mod messages;
mod parcels;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{Error, Kind, Result};
use crate::event::CloseReason;
use crate::id::ConnId;
use crate::manager::LoopCtx;
use crate::options::ConnectOptions;
use crate::proto::mqtt::{Acks, ClientOptions, Failure, Publish, ReasonCode, Subscription};
use crate::reactor::Command;

use super::Handle;
use super::events::Overflow;
use super::handle::stopped;

use self::link::{Ears, Link};
use self::parcels::OwnPublish;

pub use self::link::MqttState;
pub use self::messages::{MqttMessage, MqttMessages};

/// An MQTT client for async code: what is published is a future that ends with the acknowledgement, what is subscribed a stream.
///
/// A clone is the same client. When the last of them and the last of its streams are dropped, it says DISCONNECT and closes.
///
/// With [`ClientOptions::reconnect`] a lost connection is made again. What was published meanwhile waits, within
/// `Limits::mqtt_queued_max`, and who publishes more waits for room; where the server has forgotten the session, its subscriptions are renewed. [`state`](Self::state) shows
/// how things are.
///
/// ```
/// use vansire::AsyncManager;
/// use vansire::aio::{MqttClient, Overflow};
/// use vansire::broker::{Broker, Options};
/// use vansire::mqtt::{ClientOptions, Publish, QoS, Reconnect, Subscription};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vansire::Result<()> {
/// let manager = AsyncManager::builder(|| ()).start().await?;
/// let broker = manager.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())).await?;
/// let url = format!("mqtt://{}", broker.local_addr().unwrap());
///
/// let client = MqttClient::connect(&manager, url, ClientOptions::new().reconnect(Reconnect::default())).await?;
/// let all = Subscription::new("plant/+/temp", QoS::AtLeastOnce);
/// let mut temperatures = client.subscribe(all, 100, Overflow::Pause).await?;
/// client.publish(&Publish { qos: QoS::AtLeastOnce, ..Publish::new("plant/7/temp", "21.5") }).await?;
/// let message = temperatures.next().await.unwrap();
/// assert_eq!((message.topic(), &message.payload()[..]), ("plant/7/temp", &b"21.5"[..]));
/// client.disconnect().await?;
/// # Ok(()) }
/// ```
pub struct MqttClient<S: 'static = ()> {
    handle: Handle<S>,
    session: Arc<Session>,
}

/// The connection, for as long as a client or a stream wants it.
struct Session {
    link: Arc<Link>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // A loop that has stopped has ended it.
        let _ = self.link.waker.push(Command::Run((self.link.jobs.disconnect)(&self.link)));
    }
}

/// How long after the first connection to a session that goes on messages wait for their streams.
const CLAIMS: Duration = Duration::from_secs(10);

impl<S: 'static> MqttClient<S> {
    /// Begins to connect, and gives the client at once: publish and subscribe as you like, or wait for [`opened`](Self::opened).
    ///
    /// The options mean what they do for [`Net::mqtt_connect`](crate::Net::mqtt_connect), with one difference: with `Acks::Auto` a message
    /// is acknowledged when it is taken from its stream, with `Acks::Manual` by [`MqttMessage::ack`].
    ///
    /// With a session that goes on (`clean_start(false)`) messages may come before their stream is there. They wait, unacknowledged,
    /// for [`subscribe`](Self::subscribe); 10 s after the connection stands those that nobody wants are acknowledged and counted
    /// ([`unclaimed`](Self::unclaimed)).
    ///
    /// Fails where `mqtt_connect` does, and with enhanced authentication ([`is_unsupported`](Error::is_unsupported)), whose steps need a
    /// handler: [`Handle::mqtt_connect`].
    ///
    /// Cancel safety: a connection made for a caller that is gone is closed.
    pub async fn connect(
        handle: &Handle<S>,
        to: impl Into<ConnectOptions>,
        options: ClientOptions,
    ) -> Result<MqttClient<S>> {
        Self::connect_and_wait(handle, to.into(), options, CLAIMS).await
    }

    /// ... this long for streams to the messages of an earlier session.
    async fn connect_and_wait(
        handle: &Handle<S>,
        to: ConnectOptions,
        options: ClientOptions,
        claims: Duration,
    ) -> Result<MqttClient<S>> {
        if options.has_auth_method() {
            let why = "the steps of an enhanced authentication need a handler: use Handle::mqtt_connect";
            return Err(Error::new(Kind::Unsupported, why));
        }
        let link = Link::new::<S>(handle.waker().clone(), &options, claims);
        let begin = move |cx: &mut LoopCtx<'_, S>| {
            let ears = Ears(Arc::clone(&link));
            let handler = move |cx: &mut crate::manager::Ctx<'_, S>, ev: crate::event::Event<'_>| ears.0.handle(cx, ev);
            // Messages are acknowledged from here, when their time has come.
            let id = cx.net.mqtt_connect(to, options.acks(Acks::Manual), handler)?;
            link.set_id(id);
            Ok::<_, Error>(Session { link })
        };
        let session = handle.with(begin).await??;
        Ok(Self { handle: handle.clone(), session: Arc::new(session) })
    }

    /// Publishes a message. At QoS 1 and 2 it waits for the acknowledgement, also across lost connections, and returns its reason:
    /// `Success` or `NoMatchingSubscribers`. At QoS 0 it waits until the message is on its way, or queued for when there is a
    /// connection. Where as many are queued as may be, and `QueueFull::Reject` (the default) has it so, it waits for room first; those
    /// who wait are served in their order.
    ///
    /// A message with an expiry interval ages from the call on, also while it waits for room: the server is told what is left of it, and
    /// where nothing is before it is sent, that is the end ([`is_timed_out`](Error::is_timed_out), with [`Failure::Expired`]).
    ///
    /// Fails where [`Net::publish`](crate::Net::publish) does, but for a full queue; when the server refuses the message ([`is_refused`](Error::is_refused)), and
    /// when it comes to another end: [`Error::cause`] then is a [`Failure`], which says whether the server may have it all the same.
    ///
    /// Cancel safety: dropped before its turn or while it waits for room, nothing is published; afterwards the message goes on its way unwatched.
    pub async fn publish(&self, publish: &Publish<'_>) -> Result<ReasonCode> {
        let message = OwnPublish::of(publish)?;
        let link = Arc::clone(&self.session.link);
        let told = self.handle.with(move |cx| link.publish(&mut cx.net, message)).await??;
        told.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Subscribes to a filter, waits for the server's answer, and gives the messages that match. They come in the order of the wire; one
    /// that matches several streams of this client comes to each of them. A shared subscription (`$share/group/filter`) is one as well.
    ///
    /// Where filters overlap, a server may send a message once for each; one of 5.0 says which it is for, so that it comes to each stream
    /// once. From earlier servers it may come more often then.
    ///
    /// `capacity` messages (at least 1) wait to be taken; then `overflow` says what happens to those of QoS 0. Messages of QoS 1 and 2 are
    /// never dropped: a 5.0 server sends `Limits::mqtt_inflight_max` of them before it has acknowledgements, and they wait as well. From
    /// earlier servers, which know no such bound, nothing more is read then, also with `DropNewest`; with `Close` that is the end. Before the
    /// server's answer has come, with which this returns, 1,000 more have room: a session that goes on may have as many to deliver first.
    ///
    /// Paused reading holds up acknowledgements of what is published, too: a task that publishes at QoS 1 or 2 between one message of QoS 0
    /// and the next wants `DropNewest`, or a client for each.
    ///
    /// Acknowledgements leave in the order of the messages (MQTT-4.6.0-2), and a server sends only so many before it has them: a stream that
    /// nobody takes from holds up the messages of QoS 1 and 2 of the others. What must not wait for each other gets a client each.
    ///
    /// Fails where [`Net::subscribe`](crate::Net::subscribe) does, and when the server refuses ([`is_refused`](Error::is_refused)).
    ///
    /// Cancel safety: a subscription made for a caller that is gone is ended.
    pub async fn subscribe(
        &self,
        subscription: Subscription<'_>,
        capacity: usize,
        overflow: Overflow,
    ) -> Result<MqttMessages> {
        let feed = messages::Feed::new(&subscription, capacity, overflow);
        let session = Arc::clone(&self.session);
        let begin = move |cx: &mut LoopCtx<'_, S>| {
            let told = session.link.subscribe(&mut cx.net, &feed)?;
            Ok::<_, Error>((MqttMessages::new(feed, session), told))
        };
        let (mut messages, told) = self.handle.with(begin).await??;
        let granted = told.await.unwrap_or_else(|_| Err(stopped()))?;
        messages.set_granted(granted);
        Ok(messages)
    }

    /// Waits until the server has taken the client in. Fails when there will be no connection (any more), with the reason: a client
    /// that does not reconnect gives up at the first failure.
    ///
    /// Cancel safety: nothing is lost.
    pub async fn opened(&self) -> Result<()> {
        let mut states = self.states();
        let state = states.wait_for(|state| matches!(state, MqttState::Open { .. } | MqttState::Closed(_))).await;
        match &*state.map_err(|_| stopped())? {
            MqttState::Closed(reason) => Err(ended(reason)),
            _ => Ok(()),
        }
    }

    /// Ends the connection in order, with DISCONNECT behind what was sent, and waits for the end. What has not been acknowledged by then
    /// has failed; messages that nobody has taken stay with the server, if the session lasts. Once it has ended, this does nothing.
    ///
    /// Cancel safety: dropped before its turn, nothing has happened; afterwards the end goes on.
    pub async fn disconnect(&self) -> Result<()> {
        let id = self.id();
        match self.handle.with(move |cx| cx.net.mqtt_disconnect(id, ReasonCode::Success)).await? {
            Err(e) if !e.is_gone() => return Err(e),
            _ => {}
        }
        let mut states = self.states();
        states.wait_for(|state| matches!(state, MqttState::Closed(_))).await.map(drop).map_err(|_| stopped())
    }

    /// How things are now.
    pub fn state(&self) -> MqttState {
        self.session.link.state.borrow().clone()
    }

    /// How things are, and how they change: each change of interest can be awaited.
    pub fn states(&self) -> watch::Receiver<MqttState> {
        self.session.link.state.subscribe()
    }

    /// Messages that came for no stream.
    pub fn unclaimed(&self) -> u64 {
        self.session.link.unclaimed()
    }

    /// Names the connection, for what closures do with it. It stays the same when the connection is made again.
    pub fn id(&self) -> ConnId {
        self.session.link.id()
    }
}

/// What became of something that was asked.
fn failed(what: &str, why: Failure) -> Error {
    let kind = match why {
        Failure::Refused(_) => Kind::Refused,
        Failure::Dropped => Kind::LimitReached,
        Failure::Unsendable(_) => Kind::Unsupported,
        Failure::Expired => Kind::TimedOut,
        Failure::Unsent | Failure::Unanswered | Failure::SessionLost => Kind::Gone,
    };
    Error::with_source(kind, format!("cannot {what}"), why)
}

/// There is no connection any more.
fn ended(reason: &CloseReason) -> Error {
    match reason {
        CloseReason::Connect(e) => e.clone(),
        CloseReason::Stopped => stopped(),
        CloseReason::Mqtt(_) => Error::new(Kind::Refused, format!("the MQTT connection has ended: {reason}")),
        CloseReason::TimedOut(_) => Error::new(Kind::TimedOut, format!("the MQTT connection has ended: {reason}")),
        CloseReason::Local
        | CloseReason::Failed(_)
        | CloseReason::Peer
        | CloseReason::Reset(_)
        | CloseReason::SlowConsumer
        | CloseReason::ReadFull
        | CloseReason::Refused { .. }
        | CloseReason::Protocol(_)
        | CloseReason::HandlerPanicked => Error::new(Kind::Gone, format!("the MQTT connection has ended: {reason}")),
    }
}

impl<S: 'static> Clone for MqttClient<S> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), session: Arc::clone(&self.session) }
    }
}

impl<S: 'static> fmt::Debug for MqttClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttClient").field("id", &self.id()).field("state", &self.state()).finish_non_exhaustive()
    }
}

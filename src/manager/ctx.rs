//! What a handler is lent while it runs.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::event::Sent;
use crate::id::{ConnId, TimerId};
#[cfg(feature = "http")]
use crate::proto::http;
#[cfg(feature = "mqtt")]
use crate::proto::mqtt;

#[cfg(feature = "http")]
use super::http::{Body, ReplyId};
use super::net::Net;

/// Lent to a handler for the time of one event: your state, the network, and which connection this is about.
///
/// The fields are public so that they can be borrowed apart:
///
/// ```
/// # use vansire::{ConnId, Ctx, Event};
/// struct Chat { members: Vec<ConnId> }
///
/// fn handler(cx: &mut Ctx<'_, Chat>, ev: Event<'_>) {
///     match ev {
///         Event::Accepted { .. } => cx.state.members.push(cx.conn),
///         Event::Closed(_) => cx.state.members.retain(|id| *id != cx.conn),
///         Event::Data(data) => {
///             for &member in &cx.state.members {
///                 cx.net.send(member, &data);
///             }
///         }
///         _ => {}
///     }
/// }
/// ```
#[non_exhaustive]
pub struct Ctx<'a, S> {
    /// The state that the manager was made with.
    pub state: &'a mut S,
    /// Everything that can be done to connections and timers, this connection's included.
    pub net: Net<'a, S>,
    /// The connection that the event belongs to.
    pub conn: ConnId,
    /// The time of this turn.
    pub now: Instant,
}

impl<S> fmt::Debug for Ctx<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ctx").field("conn", &self.conn).field("now", &self.now).finish_non_exhaustive()
    }
}

impl<S> Ctx<'_, S> {
    /// Queues bytes for the peer: [`Net::send`] to this connection.
    pub fn send(&mut self, bytes: &[u8]) -> Sent {
        self.net.send(self.conn, bytes)
    }

    /// Queues bytes for the peer without copying them: [`Net::send_shared`] to this connection.
    pub fn send_shared(&mut self, bytes: Bytes) -> Sent {
        self.net.send_shared(self.conn, bytes)
    }

    /// Queues one datagram: [`Net::send_to`] from this socket.
    pub fn send_to(&mut self, to: SocketAddr, datagram: &[u8]) -> Sent {
        self.net.send_to(self.conn, to, datagram)
    }

    /// Closes the connection at the end of the turn.
    pub fn close(&mut self) {
        self.net.close(self.conn);
    }

    /// Closes the connection at the end of the turn and gives the reason: `CloseReason::Failed(why)`.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.net.fail(self.conn, why);
    }

    /// Sends what is queued, then closes. From now on nothing more comes in and nothing more goes out.
    pub fn drain(&mut self) {
        self.net.drain(self.conn);
    }

    /// Where the peer is, as far as there is an address.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.net.remote_addr(self.conn)
    }

    /// Calls back once, after this long.
    pub fn timer_after(&mut self, after: Duration, f: impl FnMut(&mut TimerCtx<'_, S>) + 'static) -> TimerId {
        self.net.timer_after(after, f)
    }
}

#[cfg(feature = "http")]
impl<S> Ctx<'_, S> {
    /// Answers the request: [`Net::reply`] to this connection.
    pub fn reply(&mut self, response: http::Response<'_>) -> Sent {
        self.net.reply(self.conn, response)
    }

    /// Promises to answer later: the token names this request, wherever it is answered from.
    ///
    /// `None` when there is no unanswered request. A promise that is not kept within `Limits::reply_timeout` closes the
    /// connection.
    pub fn defer(&mut self) -> Option<ReplyId> {
        self.net.defer(self.conn)
    }

    /// Sends a request: [`Net::request`] on this connection.
    pub fn request(&mut self, request: http::RequestBuilder<'_>) -> crate::Result<()> {
        self.net.request(self.conn, request)
    }

    /// Chooses how the body of the request or response comes. Only in `Event::HttpHead` and `Event::HttpResponseHead`.
    pub fn body(&mut self, body: Body) {
        self.net.body(self.conn, body);
    }
}

#[cfg(feature = "mqtt")]
impl<S> Ctx<'_, S> {
    /// Publishes a message: [`Net::publish`] on this connection.
    pub fn publish(&mut self, publish: &mqtt::Publish<'_>) -> crate::Result<Option<mqtt::Token>> {
        self.net.publish(self.conn, publish)
    }

    /// Subscribes: [`Net::subscribe`] on this connection.
    pub fn subscribe(&mut self, subscriptions: &[mqtt::Subscription<'_>]) -> crate::Result<mqtt::Token> {
        self.net.subscribe(self.conn, subscriptions)
    }

    /// Unsubscribes: [`Net::unsubscribe`] on this connection.
    pub fn unsubscribe(&mut self, filters: &[&str]) -> crate::Result<mqtt::Token> {
        self.net.unsubscribe(self.conn, filters)
    }

    /// Ends an MQTT connection in order: [`Net::mqtt_disconnect`] of this one.
    pub fn mqtt_disconnect<'d>(&mut self, disconnect: impl Into<mqtt::Disconnect<'d>>) -> crate::Result<()> {
        self.net.mqtt_disconnect(self.conn, disconnect)
    }
}

/// Lent to a timer's callback.
#[non_exhaustive]
pub struct TimerCtx<'a, S> {
    /// The state that the manager was made with.
    pub state: &'a mut S,
    /// Everything that can be done to connections and timers, this one included.
    pub net: Net<'a, S>,
    /// The timer that fired. Cancelling a repeating one here ends it.
    pub timer: TimerId,
    /// The time of this turn.
    pub now: Instant,
}

impl<S> fmt::Debug for TimerCtx<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimerCtx").field("timer", &self.timer).field("now", &self.now).finish_non_exhaustive()
    }
}

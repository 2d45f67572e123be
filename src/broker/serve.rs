//! A broker on a manager's connections: the only part that sees the loop.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::event::{Event as Happened, Sent};
use crate::id::{ConnId, TimerId};
use crate::manager::{Ctx, Net};
use crate::net::{Scheme, Url};
use crate::options::{Limits, ListenOptions};
use crate::proto::mqtt::{Filter, Publish, QoS, ReasonCode, TopicError};
use crate::reactor::Waker;
use crate::time::Moment;

use super::access::{Access, AccessToken, Answer};
use super::admin::ClientInfo;
use super::core::{Core, Sink};
use super::events::Stats;
use super::inspect::{RetainedPage, SubscriptionInfo};
use super::local::{Inbox, Received};
use super::message::{Message, Publication};
use super::options::{OnEvent, Options};
use super::store::Ticket;

/// An MQTT broker on the connections of a [`Manager`](crate::Manager).
///
/// A handle: clones are the same broker. It belongs to the manager that it listens on first, and to its thread. Nothing that is done
/// through it runs a handler; callbacks run when the event that caused them has been dealt with.
///
/// ```
/// use vansire::broker::{Broker, Options};
/// use vansire::mqtt::{Publish, QoS};
/// use vansire::Manager;
///
/// let mut manager = Manager::new(())?;
/// let broker = Broker::new(Options::new());
/// let listener = broker.listen(&mut manager.net(), "mqtt://127.0.0.1:0")?;
/// println!("listening on {}", manager.net().local_addr(listener).unwrap());
///
/// // The program takes part without a connection.
/// let inbox = broker.subscribe("plant/+/temp", QoS::AtMostOnce, 100)?;
/// broker.publish(&mut manager.net(), &Publish::new("plant/7/temp", b"21.5"))?;
/// assert_eq!(inbox.next().unwrap().payload(), b"21.5");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Broker {
    shared: Rc<Shared>,
}

struct Shared {
    core: RefCell<Core>,
    on_event: RefCell<Option<OnEvent>>,
    /// The timer for what is due next, and when it fires.
    timer: Cell<Option<TimerId>>,
    armed: Cell<Moment>,
    /// Brings the broker to the loop where something is asked of it without that.
    bell: RefCell<Option<(Waker, ConnId)>>,
    packet_max: usize,
}

/// The broker's output goes to connections.
impl<S> Sink for Net<'_, S> {
    fn write(&mut self, to: ConnId, head: &[u8], rest: &[u8]) -> Sent {
        self.send_parts(to, head, rest)
    }

    fn write_shared(&mut self, to: ConnId, bytes: Bytes) -> Sent {
        self.send_shared(to, bytes)
    }

    fn close(&mut self, conn: ConnId) {
        self.drain(conn);
    }

    fn part(&mut self, conn: ConnId) {
        self.peer_is_done(conn);
    }

    fn pause(&mut self, conn: ConnId) {
        self.pause_read(conn);
    }

    fn resume(&mut self, conn: ConnId) {
        self.resume_read(conn);
    }
}

/// Output leaves at the end of a turn: what publishers send in one turn to a client that reads has to fit.
const OUTPUT_HIGH: usize = 1024 * 1024;

impl Broker {
    /// A broker that nobody can reach yet.
    pub fn new(options: Options) -> Self {
        let packet_max = options.bounds.packet_max as usize;
        let (core, on_event) = Core::new(options);
        Self {
            shared: Rc::new(Shared {
                core: RefCell::new(core),
                on_event: RefCell::new(on_event),
                timer: Cell::new(None),
                armed: Cell::new(Moment::NEVER),
                bell: RefCell::new(None),
                packet_max,
            }),
        }
    }

    /// Listens on a URL: `mqtt://127.0.0.1:1883`, `mqtt+unix:/run/mqtt.sock`. All versions of MQTT are served on it, told apart by
    /// connection. Can be called for several.
    ///
    /// Port 0 takes a free port, which [`Net::local_addr`] tells. Errors name the URL: a scheme that is none of MQTT's, TLS and
    /// WebSocket, which this version has not, an address in use. `Limits::read_max` is raised to the longest packet.
    ///
    /// A client is sent nothing more of QoS 0, and it is counted, while 1 MiB waits for it, or `Limits::write_high` where that is
    /// not the default.
    pub fn listen<S>(&self, net: &mut Net<'_, S>, options: impl Into<ListenOptions>) -> Result<ConnId> {
        let mut options = options.into();
        let url = Url::parse(options.url.as_str())?;
        match url.scheme() {
            // The broker reads the bytes itself.
            Scheme::Mqtt => options = options.raw(true),
            // The manager knows why not.
            Scheme::Mqtts | Scheme::MqttWs | Scheme::MqttWss => {}
            _ => {
                let what = format!("cannot listen on {url}: a broker takes mqtt:// and mqtt+unix:");
                return Err(Error::new(Kind::BadUrl, what));
            }
        }
        let mut limits = options.limits.unwrap_or(*net.core.limits);
        limits.read_max = limits.read_max.max(self.shared.packet_max);
        if limits.write_high == Limits::default().write_high {
            limits.write_high = OUTPUT_HIGH;
        }
        options.limits = Some(limits);
        let broker = self.clone();
        let id = net.listen(options, move |cx: &mut Ctx<'_, S>, event: Happened<'_>| broker.handle(cx, event))?;
        *self.shared.bell.borrow_mut() = Some((net.core.inbox.waker(), id));
        self.settle(net);
        Ok(id)
    }

    /// Serves a connection that was not accepted by one of its listeners, as from [`Net::adopt`]: its handler has to pass every event
    /// to [`handle`](Self::handle).
    pub fn serve<S>(&self, net: &mut Net<'_, S>, conn: ConnId) {
        let (now, remote) = (net.core.now, net.remote_addr(conn));
        self.shared.core.borrow_mut().handle_accepted(conn, remote, None, now);
        self.settle(net);
    }

    /// Deals with an event of a connection: what the handler of [`listen`](Self::listen) does.
    ///
    /// For connections that another listener accepted, with a handler of your own: give it every event from `Accepted` on, and
    /// let its `Limits::read_max` admit the longest packet.
    pub fn handle<S>(&self, cx: &mut Ctx<'_, S>, event: Happened<'_>) {
        let now = cx.net.core.now;
        match event {
            Happened::Data(data) => {
                let mut core = self.shared.core.borrow_mut();
                let used = core.handle_input(cx.conn, data.bytes(), now, &mut cx.net);
                data.consume(used);
            }
            Happened::Accepted { listener } => {
                let remote = cx.remote_addr();
                self.shared.core.borrow_mut().handle_accepted(cx.conn, remote, Some(listener), now);
            }
            Happened::Drained => self.shared.core.borrow_mut().handle_drained(cx.conn, now, &mut cx.net),
            Happened::Wakeup(_) => {}
            Happened::Stopping => self.shared.core.borrow_mut().handle_stop(cx.conn, now, &mut cx.net),
            Happened::Closed(_) => self.shared.core.borrow_mut().handle_closed(cx.conn, now, &mut cx.net),
            _ => return,
        }
        self.settle(&mut cx.net);
    }

    /// Publishes a message of the program: to all who have subscribed, and to be retained if it says so. Its packet identifier and
    /// its DUP flag mean nothing.
    ///
    /// Says how many subscribers it is for, shared subscriptions counted as one. Fails if the topic is not one. Topics below `$` are
    /// allowed.
    pub fn publish<S>(&self, net: &mut Net<'_, S>, publish: &Publish<'_>) -> std::result::Result<usize, TopicError> {
        crate::proto::mqtt::topic::check_topic(publish.topic)?;
        let now = net.core.now;
        let receivers = {
            let core = &mut *self.shared.core.borrow_mut();
            let mut space = std::mem::take(&mut core.properties);
            let publication = Publication::of(publish, publish.topic, &mut space, now);
            let routed = core.route(None, &publication, now, net);
            core.properties = space;
            core.ticket = None;
            routed.receivers
        };
        self.settle(net);
        Ok(receivers)
    }

    /// Subscribes for the program: messages wait in the [`Inbox`], at most `max` of them; more are dropped, and counted there. What is
    /// retained comes first; the figures below `$SYS` come with the next turn of a loop that the broker listens on, some fifty of them.
    ///
    /// Fails if the filter is not one, or is shared.
    pub fn subscribe(&self, filter: &str, qos: QoS, max: usize) -> std::result::Result<Inbox, TopicError> {
        Filter::parse(filter)?;
        let (_, inbox) = self.shared.core.borrow_mut().subscribe_inbox(filter, qos, max)?;
        self.ring();
        Ok(inbox)
    }

    /// Calls back with each message that a filter matches, for as long as the broker lives; what is retained comes first, with the
    /// next turn of the loop.
    ///
    /// The callback runs after the broker has dealt with what has come, so it may use the broker.
    pub fn on_message(
        &self,
        filter: &str,
        qos: QoS,
        f: impl FnMut(&Received) + 'static,
    ) -> std::result::Result<(), TopicError> {
        Filter::parse(filter)?;
        self.shared.core.borrow_mut().subscribe_callback(filter, qos, Rc::new(RefCell::new(f)))?;
        self.ring();
        Ok(())
    }

    /// Answers a question to which access control said [`Answer::Later`]. False: its client has gone.
    pub fn answer<S>(&self, net: &mut Net<'_, S>, token: AccessToken, answer: Answer) -> bool {
        self.shared.core.borrow_mut().answer(token, answer, net)
    }

    /// Replaces access control. Clients that are connected stay so, and are asked about anew.
    pub fn set_access(&self, access: impl Access + 'static) {
        self.shared.core.borrow_mut().set_access(Box::new(access));
    }

    /// The store has come so far: what clients are to be told after that is sent.
    pub fn stored<S>(&self, net: &mut Net<'_, S>, until: Ticket) {
        self.shared.core.borrow_mut().stored(until, net);
    }

    /// Ends a client's connection, with this reason; its session stays for as long as it is to. False: it is not connected.
    pub fn kick<S>(&self, net: &mut Net<'_, S>, client: &str, reason: ReasonCode) -> bool {
        let now = net.core.now;
        let is_there = self.shared.core.borrow_mut().kick(client, reason, now, net);
        self.settle(net);
        is_there
    }

    /// Ends a client's session, and its connection if it has one, with this reason: its subscriptions and what waits for it go, and its
    /// will is published, if it has one that is still to come. False: it has no session.
    pub fn end_session<S>(&self, net: &mut Net<'_, S>, client: &str, reason: ReasonCode) -> bool {
        let now = net.core.now;
        let is_there = self.shared.core.borrow_mut().end_client(client, reason, now, net);
        self.settle(net);
        is_there
    }

    /// All clients that have a session, connected or not, in no order. Costs their number.
    pub fn clients<S>(&self, net: &Net<'_, S>) -> Vec<ClientInfo> {
        self.shared.core.borrow().clients(net.core.now)
    }

    /// One of them.
    pub fn client<S>(&self, net: &Net<'_, S>, id: &str) -> Option<ClientInfo> {
        self.shared.core.borrow().client(id, net.core.now)
    }

    /// A page of the clients that [`clients`](Self::clients) shows: at most `max`, in the order of their identifiers, those after one.
    pub fn clients_page<S>(&self, net: &Net<'_, S>, after: Option<&str>, max: usize) -> Vec<ClientInfo> {
        self.shared.core.borrow().clients_page(after, max, net.core.now)
    }

    /// A page of the subscriptions of clients: at most `max`, in the order of client identifiers and then of filters, those
    /// after one; `of`: those of one client. Costs the number of all.
    pub fn subscriptions_page(
        &self,
        of: Option<&str>,
        after: Option<(&str, &str)>,
        max: usize,
    ) -> Vec<SubscriptionInfo> {
        self.shared.core.borrow().subscriptions_page(of, after, max)
    }

    /// Shows each subscription of clients: the client identifier and the filter. The broker cannot be used meanwhile.
    pub fn subscriptions(&self, found: impl FnMut(&str, &str)) {
        self.shared.core.borrow().subscriptions(found);
    }

    /// Retained messages that a filter matches, in the order of their topics: at most `max`, those after a topic. Fails if the
    /// filter is not one. A filter that matches few may have all of them looked at: some 1.5 us each.
    pub fn retained(
        &self,
        filter: &str,
        after: Option<&str>,
        max: usize,
    ) -> std::result::Result<Vec<Rc<Message>>, TopicError> {
        Ok(self.shared.core.borrow().retained_page(filter, after, max, usize::MAX)?.messages)
    }

    /// As [`retained`](Self::retained), in some milliseconds however many there are: a page may have fewer than `max` messages, or
    /// none, though there are more. A page of 0 shows nothing, and its `next` is `after`.
    pub fn retained_page(
        &self,
        filter: &str,
        after: Option<&str>,
        max: usize,
    ) -> std::result::Result<RetainedPage, TopicError> {
        self.shared.core.borrow().retained_page(filter, after, max, super::inspect::STEPS)
    }

    /// Drops the retained message of a topic without telling subscribers. False: it has none.
    pub fn clear_retained(&self, topic: &str) -> bool {
        self.shared.core.borrow_mut().clear_retained(topic)
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.shared.core.borrow().stats()
    }

    /// Has the loop look here in its next turn, if there is something to do.
    fn ring(&self) {
        let is_due = {
            let core = self.shared.core.borrow();
            core.next_due() < self.shared.armed.get() || !core.locals.calls.is_empty()
        };
        if is_due && let Some((waker, listener)) = &*self.shared.bell.borrow() {
            // Without a listener any more it is done with the next event.
            let _ = waker.wakeup(*listener, b"");
        }
    }

    /// What is left to be done once the broker is no longer borrowed: callbacks, events, the timer.
    fn settle<S>(&self, net: &mut Net<'_, S>) {
        loop {
            let Some((who, received)) = self.shared.core.borrow_mut().locals.calls.pop_front() else { break };
            let callback = self.shared.core.borrow().locals.callback(who);
            // One that is running gets what it has caused itself next time.
            let Some(callback) = callback else { continue };
            let Ok(mut callback) = callback.try_borrow_mut() else {
                self.shared.core.borrow_mut().locals.calls.push_front((who, received));
                break;
            };
            callback(&received);
        }
        self.tell_events();
        let due = self.shared.core.borrow().next_due();
        if due < self.shared.armed.get() {
            self.arm(net, due);
        }
    }

    fn tell_events(&self) {
        if self.shared.core.borrow().events.is_empty() {
            return;
        }
        let events = std::mem::take(&mut self.shared.core.borrow_mut().events);
        if let Ok(mut on_event) = self.shared.on_event.try_borrow_mut()
            && let Some(on_event) = on_event.as_mut()
        {
            events.iter().for_each(on_event);
        }
    }

    fn arm<S>(&self, net: &mut Net<'_, S>, due: Moment) {
        if let Some(timer) = self.shared.timer.take() {
            net.cancel(timer);
        }
        self.shared.armed.set(due);
        if due == Moment::NEVER {
            return;
        }
        let broker = self.clone();
        let timer = net.timer_after(due.since(net.core.now), move |cx| {
            broker.shared.timer.set(None);
            broker.shared.armed.set(Moment::NEVER);
            let now = cx.net.core.now;
            broker.shared.core.borrow_mut().handle_timeout(now, &mut cx.net);
            broker.settle(&mut cx.net);
        });
        self.shared.timer.set(Some(timer));
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

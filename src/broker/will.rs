//! What happens when a connection ends, and when a session does: wills, expiry, what others get instead.

use std::rc::Rc;
use std::time::Duration;

use crate::id::ConnId;
use crate::proto::mqtt::{Disconnect, ReasonCode};
use crate::time::{Moment, Owner};

use super::core::{Core, Flow, Sink, load};
use super::events::{DropReason, Event, Parting};
use super::message::{Publication, expiry};
use super::queue::Stage;
use super::session::{Session, Will};
use super::store::Change;

impl Core {
    /// DISCONNECT (section 3.14).
    pub(super) fn disconnect(
        &mut self,
        conn: ConnId,
        disconnect: &Disconnect<'_>,
        now: Moment,
        sink: &mut dyn Sink,
    ) -> Flow {
        let Some((who, _)) = self.session_of(conn) else { return Flow::Next };
        let max = self.bounds.session_expiry_secs();
        if let Some(asked_for) = disconnect.properties.session_expiry_interval()
            && let Some(session) = self.sessions.get_mut(who)
        {
            // MQTT-3.14.2-2: a session that was to end with its connection does.
            if session.expiry == 0 && asked_for > 0 {
                return self.breach(conn, ReasonCode::ProtocolError, now, sink);
            }
            session.expiry = asked_for.min(max);
            let (client, expiry) = (Rc::clone(&session.id), session.expiry);
            let _ = self.store.record(&Change::Session { client: &client, expiry });
        }
        self.part(conn, Parting::Disconnect(disconnect.reason), now, sink);
        Flow::Next
    }

    /// A session has lost its connection.
    pub(super) fn session_parted(&mut self, at: u32, why: Parting, now: Moment, sink: &mut dyn Sink) {
        self.stats.clients_connected -= 1;
        let Some(session) = self.sessions.get_mut(at) else { return };
        let unsafe_acks = session.inbound.as_ref().map_or(0, |inbound| inbound.unsafe_acks);
        session.detach(self.stored);
        let (client, lasts) = (Rc::clone(&session.id), session.expiry);
        // MQTT-3.1.2-10, MQTT-3.14.4-3: only an ordinary DISCONNECT takes the will along.
        if why == Parting::Disconnect(ReasonCode::Success) {
            session.will = None;
        }
        session.ends = match lasts {
            u32::MAX => Moment::NEVER,
            seconds => now.after(Duration::from_secs(seconds.into())),
        };
        if let Some(will) = &mut session.will {
            // MQTT-3.1.3-9: after its delay, or when the session ends, whichever is first.
            will.due = now.after(Duration::from_secs(will.delay.into()));
        }
        self.acks_went_stale(unsafe_acks);
        self.tell(|| Event::Disconnected { client: (*client).into(), why });
        self.session_due(at, now, sink);
    }

    /// Does what is due for a session without a connection, and sets its next deadline.
    pub(super) fn session_due(&mut self, at: u32, now: Moment, sink: &mut dyn Sink) {
        let Some(session) = self.sessions.get_mut(at).filter(|session| session.conn.is_none()) else { return };
        let ends = session.ends;
        // What was due first happens first, however late the loop is: a session that lasts longer than its will's delay is there for it.
        if session.will.as_ref().is_some_and(|will| will.due <= now && will.due < ends)
            && let Some(will) = session.will.take()
        {
            self.publish_will(at, &will, now, sink);
        }
        if ends <= now {
            if self.sessions.get(at).is_some_and(|session| session.expiry > 0) {
                self.stats.expired_sessions += 1;
            }
            return self.end_session(at, now, sink);
        }
        match self.sessions.get(at).map_or(Moment::NEVER, Session::due) {
            Moment::NEVER => self.deadlines.cancel(Owner::Timer(at as usize)),
            due => self.deadlines.set(Owner::Timer(at as usize), due),
        }
    }

    fn publish_will(&mut self, at: u32, will: &Will, now: Moment, sink: &mut dyn Sink) {
        self.stats.wills += 1;
        let publication = Publication { expires: expiry(will.expiry, now), ..will.message.publication() };
        self.route(Some(at), &publication, now, sink);
        self.ticket = None;
    }

    /// Ends a session, with its subscriptions and what waits for it (MQTT-3.1.2-23, MQTT-4.1.0-2).
    pub(super) fn end_session(&mut self, at: u32, now: Moment, sink: &mut dyn Sink) {
        self.deadlines.cancel(Owner::Timer(at as usize));
        let Some(session) = self.sessions.get_mut(at) else { return };
        let (will, filters) = (session.will.take(), std::mem::take(&mut session.subscriptions));
        self.walks.forget(at, session);
        for filter in filters.iter() {
            self.remove_subscription(at, filter);
        }
        // MQTT-3.1.2-8: the will does not outlive the session.
        if let Some(will) = will {
            self.publish_will(at, &will, now, sink);
        }
        let Some(session) = self.sessions.remove(at) else { return };
        if session.is_persistent() {
            let _ = self.store.record(&Change::SessionEnded { client: &session.id });
        }
        let (len, bytes) = load(&session.outbound);
        self.stats.queued -= len;
        self.stats.queued_bytes -= bytes;
        self.tell(|| Event::SessionEnded { client: (*session.id).into() });
        for (stage, item) in session.outbound.map(|outbound| outbound.into_items()).into_iter().flatten() {
            // Section 4.8.2: another member gets what this one has not acknowledged, at QoS 2 only what it was never sent
            // (MQTT-4.8.2-5).
            let is_free = stage.is_none() || stage == Some(Stage::Ack);
            match item.and_then(|item| item.share.filter(|_| is_free).map(|group| (group, item))) {
                Some((group, item)) => {
                    if let Err(reason) = self.share_again(group, item, DropReason::SessionEnded, now, sink) {
                        self.stats.dropped.add(reason, 1);
                    }
                }
                // PUBREC has said that the receiver has it.
                None if stage == Some(Stage::Comp) => self.stats.delivered += 1,
                None if stage == Some(Stage::GivenUp) => {}
                None => self.stats.dropped.add(DropReason::SessionEnded, 1),
            }
        }
    }
}

//! Messages that have come and are not acknowledged to their end.

use std::collections::{HashMap, VecDeque};

use crate::proto::mqtt::packet::{PacketId, QoS};

use super::AckId;

/// What is known of the packet identifiers that the server uses.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    ids: HashMap<PacketId, State>,
    /// Those that the application has, in the order in which they came: acknowledgements keep it (MQTT-4.6.0-2, MQTT-4.6.0-3).
    order: VecDeque<Held>,
    /// Counts connections: what was held on an earlier one is not acknowledged on this one.
    connection: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// With the application.
    Held,
    /// Of QoS 2, and the application has done with it, but the connection ended before that could be said: earlier messages were not
    /// acknowledged. It is not to be told again.
    Done,
    /// Of QoS 2, and acknowledged: not to be told again before PUBREL (MQTT-4.3.3-10).
    Received,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    id: PacketId,
    qos: QoS,
    is_acked: bool,
}

/// What a message is to this inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// New: it is the application's until it is acknowledged.
    New(AckId),
    /// Of QoS 2, acknowledged before: PUBREC is said again.
    Again,
    /// Of QoS 2, done with on an earlier connection: PUBREC is said in its turn.
    Done,
    /// Told, and not acknowledged yet.
    Waits,
    /// Of QoS 1, and its number is in use.
    InUse,
    /// More than may be under way.
    TooMany,
}

/// What a PUBREL is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    Known,
    Unknown,
    /// The message has not been acknowledged.
    TooEarly,
}

impl Inbox {
    /// A connection has ended: what the application holds of it will come again.
    pub(super) fn end_connection(&mut self) {
        self.connection = self.connection.wrapping_add(1);
        for held in self.order.drain(..).filter(|held| held.is_acked && held.qos == QoS::ExactlyOnce) {
            self.ids.insert(held.id, State::Done);
        }
        self.ids.retain(|_, state| *state != State::Held);
    }

    /// The session is gone.
    pub(super) fn forget(&mut self) {
        self.order.clear();
        self.ids.clear();
    }

    /// A message has come.
    pub(super) fn arrive(&mut self, id: PacketId, qos: QoS, max: usize) -> Arrival {
        match self.ids.get(&id) {
            Some(State::Received) if qos == QoS::ExactlyOnce => return Arrival::Again,
            Some(State::Held) if qos == QoS::ExactlyOnce => return Arrival::Waits,
            Some(State::Done) if qos == QoS::ExactlyOnce => {
                self.ids.insert(id, State::Held);
                self.order.push_back(Held { id, qos, is_acked: true });
                return Arrival::Done;
            }
            Some(_) => return Arrival::InUse,
            None => {}
        }
        if self.ids.len() >= max {
            return Arrival::TooMany;
        }
        self.ids.insert(id, State::Held);
        self.order.push_back(Held { id, qos, is_acked: false });
        Arrival::New(AckId { id, connection: self.connection })
    }

    /// The application has done with a message. False: it has no such message.
    pub(super) fn ack(&mut self, ack: AckId) -> bool {
        if ack.connection != self.connection {
            return false;
        }
        match self.order.iter_mut().find(|held| held.id == ack.id) {
            Some(held) if !held.is_acked => {
                held.is_acked = true;
                true
            }
            _ => false,
        }
    }

    /// The next message whose acknowledgement may leave.
    pub(super) fn next_acked(&mut self) -> Option<(PacketId, QoS)> {
        let Held { id, qos, .. } = *self.order.front().filter(|held| held.is_acked)?;
        self.order.pop_front();
        match qos {
            QoS::ExactlyOnce => {
                self.ids.insert(id, State::Received);
            }
            QoS::AtMostOnce | QoS::AtLeastOnce => {
                self.ids.remove(&id);
            }
        }
        Some((id, qos))
    }

    /// PUBREL has come.
    pub(super) fn release(&mut self, id: PacketId) -> Release {
        match self.ids.get(&id) {
            None => Release::Unknown,
            Some(State::Held | State::Done) => Release::TooEarly,
            Some(State::Received) => {
                self.ids.remove(&id);
                Release::Known
            }
        }
    }
}

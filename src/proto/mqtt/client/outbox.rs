//! What has been published and is not acknowledged: waiting, under way, or to be sent again.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::proto::mqtt::packet::{PacketId, QoS};

use super::Token;
use super::error::Failure;
use super::options::QueueFull;

/// Everything that leaves under a packet identifier, and what waits for one.
///
/// Messages are kept as packets, without alias and with a packet identifier of no meaning: they are decoded again when they are
/// sent, which costs less than keeping their parts apart.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Waiting>,
    queued_bytes: usize,
    /// The length of the longest message for which there was no room, until there is.
    rejected: usize,
    inflight: HashMap<PacketId, Inflight>,
    requests: HashMap<PacketId, Request>,
    /// What is to be sent again on this connection, in order.
    resend: VecDeque<PacketId>,
    /// Messages sent on this connection that count against its receive maximum.
    unacked: usize,
    last_id: u16,
    order: u64,
}

/// A message that has not been sent.
#[derive(Debug)]
pub(super) struct Waiting {
    /// None at QoS 0.
    pub(super) token: Option<Token>,
    pub(super) qos: QoS,
    pub(super) expires: Option<Instant>,
    pub(super) packet: Box<[u8]>,
}

/// A message of QoS 1 or 2 that has been sent.
#[derive(Debug)]
pub(super) struct Inflight {
    pub(super) token: Token,
    pub(super) stage: Stage,
    pub(super) expires: Option<Instant>,
    pub(super) packet: Box<[u8]>,
    /// Its place among those of the same stage.
    order: u64,
    /// It has a share in the receive maximum of this connection.
    counts: bool,
}

/// What a message waits for, by the packet's name.
#[allow(clippy::enum_variant_names)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    PubAck,
    PubRec,
    PubComp,
}

/// SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) token: Token,
    pub(super) is_unsubscribe: bool,
    /// The number of filters.
    pub(super) filters: usize,
    pub(super) packet: Box<[u8]>,
    pub(super) was_sent: bool,
    order: u64,
}

/// Bounds of what waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) policy: QueueFull,
}

/// What became of a message that had to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Queued {
    Yes,
    Rejected,
    /// It, or older ones: so many of QoS 0, and these.
    Dropped(u64, Vec<Token>),
}

impl Outbox {
    pub(super) fn is_queue_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.resend.is_empty()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Nothing more is owed, in either direction.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.inflight.is_empty() && self.requests.is_empty()
    }

    pub(super) fn inflight(&self) -> usize {
        self.inflight.len()
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }

    // ---- waiting

    /// Has a message wait, if there is room or room is made.
    pub(super) fn queue(&mut self, message: Waiting, bounds: &Bounds) -> Queued {
        let len = message.packet.len();
        let fits = |count: usize, bytes: usize| count < bounds.messages && bytes.saturating_add(len) <= bounds.bytes;
        let mut dropped = (0, Vec::new());
        if !fits(self.queue.len(), self.queued_bytes) {
            match bounds.policy {
                QueueFull::Reject => {
                    // One that has no room in an empty queue never will.
                    if !self.queue.is_empty() {
                        self.rejected = self.rejected.max(len);
                    }
                    return Queued::Rejected;
                }
                QueueFull::DropOldest if fits(0, 0) => {
                    while !fits(self.queue.len(), self.queued_bytes) {
                        let Some(oldest) = self.pop() else { break };
                        count_drop(&mut dropped, oldest.token);
                    }
                }
                // One that has no room at all does not cost the others theirs.
                QueueFull::DropOldest | QueueFull::DropNewest => {
                    count_drop(&mut dropped, message.token);
                    return Queued::Dropped(dropped.0, dropped.1);
                }
            }
        }
        self.queued_bytes += len;
        self.queue.push_back(message);
        if dropped.0 == 0 && dropped.1.is_empty() { Queued::Yes } else { Queued::Dropped(dropped.0, dropped.1) }
    }

    /// There is room again for what was rejected, half of all at least: true once.
    pub(super) fn takes_more(&mut self, bounds: &Bounds) -> bool {
        let room = bounds.bytes - self.rejected.clamp(bounds.bytes / 2, bounds.bytes);
        let takes = self.rejected > 0 && self.queue.len() <= bounds.messages / 2 && self.queued_bytes <= room;
        if takes {
            self.rejected = 0;
        }
        takes
    }

    /// The message whose turn it is, if the receive maximum admits it.
    pub(super) fn next_waiting(&mut self, window: usize) -> Option<Waiting> {
        let front = self.queue.front()?;
        if front.qos != QoS::AtMostOnce && !self.has_room(window) {
            return None;
        }
        self.pop()
    }

    fn pop(&mut self) -> Option<Waiting> {
        let message = self.queue.pop_front()?;
        self.queued_bytes -= message.packet.len();
        if self.queue.is_empty() {
            self.queue.shrink_to(64);
        }
        Some(message)
    }

    /// Another message of QoS 1 or 2 may be sent.
    pub(super) fn has_room(&self, window: usize) -> bool {
        self.unacked < window && self.inflight.len() < window && self.resend.is_empty()
    }

    // ---- under way

    /// A packet identifier that is not in use (MQTT-2.2.1-3).
    pub(super) fn new_id(&mut self) -> Option<PacketId> {
        for _ in 0..=u16::MAX {
            self.last_id = self.last_id.wrapping_add(1);
            let Some(id) = PacketId::new(self.last_id) else { continue };
            if !self.inflight.contains_key(&id) && !self.requests.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// A message has been sent for the first time.
    pub(super) fn sent(&mut self, id: PacketId, qos: QoS, token: Token, expires: Option<Instant>, packet: Box<[u8]>) {
        let stage = if qos == QoS::ExactlyOnce { Stage::PubRec } else { Stage::PubAck };
        let order = self.next_order();
        self.inflight.insert(id, Inflight { token, stage, expires, packet, order, counts: true });
        self.unacked += 1;
    }

    /// The stage of the message with this number.
    pub(super) fn stage(&self, id: PacketId) -> Option<Stage> {
        self.inflight.get(&id).map(|message| message.stage)
    }

    /// A message has reached its end.
    pub(super) fn complete(&mut self, id: PacketId) -> Option<Token> {
        let message = self.inflight.remove(&id)?;
        self.unacked -= usize::from(message.counts);
        Some(message.token)
    }

    /// PUBREC has come: the message need not be kept, its number must.
    pub(super) fn received(&mut self, id: PacketId) {
        let order = self.next_order();
        if let Some(message) = self.inflight.get_mut(&id) {
            message.stage = Stage::PubComp;
            message.order = order;
            message.packet = Box::default();
        }
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    // ---- requests

    pub(super) fn add_request(
        &mut self,
        id: PacketId,
        token: Token,
        is_unsubscribe: bool,
        filters: usize,
        packet: Box<[u8]>,
    ) {
        let order = self.next_order();
        self.requests.insert(id, Request { token, is_unsubscribe, filters, packet, was_sent: false, order });
    }

    pub(super) fn request(&self, id: PacketId) -> Option<&Request> {
        self.requests.get(&id)
    }

    pub(super) fn request_mut(&mut self, id: PacketId) -> Option<&mut Request> {
        self.requests.get_mut(&id)
    }

    pub(super) fn take_request(&mut self, id: PacketId) -> Option<Request> {
        self.requests.remove(&id)
    }

    /// The numbers of the requests that are not answered, in the order in which they were made.
    pub(super) fn open_requests(&self) -> Vec<PacketId> {
        let mut ids: Vec<_> = self.requests.iter().map(|(id, request)| (request.order, *id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    // ---- connections

    /// A new connection goes on with the session: what has been sent is to be sent again (MQTT-4.4.0-1), in the order in which
    /// it was (MQTT-4.6.0-1). Returns the numbers of those whose PUBREL comes first, in the order of the PUBRECs
    /// (MQTT-4.6.0-4): they wait for no room.
    pub(super) fn resume(&mut self) -> Vec<PacketId> {
        self.begin_connection();
        let mut ids: Vec<_> = self.inflight.iter().map(|(id, message)| (message.order, *id, message.stage)).collect();
        ids.sort_unstable_by_key(|(order, ..)| *order);
        let (mut releases, mut messages) = (Vec::new(), VecDeque::new());
        for (_, id, stage) in ids {
            match stage {
                Stage::PubComp => releases.push(id),
                Stage::PubAck | Stage::PubRec => messages.push_back(id),
            }
        }
        self.resend = messages;
        releases
    }

    /// The next message to be sent again, if the receive maximum admits it.
    pub(super) fn next_resend(&mut self, window: usize) -> Option<PacketId> {
        loop {
            let id = *self.resend.front().filter(|_| self.unacked < window)?;
            self.resend.pop_front();
            // Its acknowledgement may have come meanwhile, of all things.
            if let Some(message) = self.inflight.get_mut(&id).filter(|message| message.stage != Stage::PubComp) {
                message.counts = true;
                self.unacked += 1;
                return Some(id);
            }
        }
    }

    pub(super) fn message(&self, id: PacketId) -> Option<&Inflight> {
        self.inflight.get(&id)
    }

    /// A new connection begins a new session. What was sent at QoS 1 waits again, before everything else, as if it were new:
    /// that is what "at least once" asks for. Returns the tokens of those of QoS 2, for which there is no right thing to do.
    pub(super) fn restart(&mut self) -> Vec<Token> {
        self.begin_connection();
        let mut messages: Vec<_> = self.inflight.drain().map(|(_, message)| message).collect();
        messages.sort_unstable_by_key(|message| message.order);
        let mut lost = Vec::new();
        let mut again = Vec::new();
        for Inflight { token, stage, expires, packet, .. } in messages {
            match stage {
                Stage::PubAck => again.push(Waiting { token: Some(token), qos: QoS::AtLeastOnce, expires, packet }),
                Stage::PubRec | Stage::PubComp => lost.push(token),
            }
        }
        for message in again.into_iter().rev() {
            self.queued_bytes += message.packet.len();
            self.queue.push_front(message);
        }
        lost
    }

    fn begin_connection(&mut self) {
        self.unacked = 0;
        self.resend.clear();
        self.inflight.values_mut().for_each(|message| message.counts = false);
    }

    /// It is all over: so many of QoS 0 were left, and this becomes of the rest.
    pub(super) fn end(&mut self) -> (u64, Vec<(Token, Failure)>) {
        let mut sent: Vec<_> = self.inflight.drain().map(|(_, message)| (message.token, Failure::Unanswered)).collect();
        sent.extend(self.requests.drain().map(|(_, request)| {
            let failure = if request.was_sent { Failure::Unanswered } else { Failure::Unsent };
            (request.token, failure)
        }));
        let nameless = self.queue.iter().filter(|waiting| waiting.token.is_none()).count() as u64;
        sent.extend(self.queue.drain(..).filter_map(|waiting| Some((waiting.token?, Failure::Unsent))));
        sent.sort_unstable_by_key(|(token, _)| *token);
        self.queued_bytes = 0;
        self.resend.clear();
        self.unacked = 0;
        (nameless, sent)
    }
}

fn count_drop(dropped: &mut (u64, Vec<Token>), token: Option<Token>) {
    match token {
        Some(token) => dropped.1.push(token),
        None => dropped.0 += 1,
    }
}

/// What is left of a message's life, in seconds; 0: nothing.
pub(crate) fn life_left(expires: Instant, now: Instant) -> u32 {
    let left = expires.saturating_duration_since(now);
    // A part of a second is one: what is not over is not 0.
    let up = u64::from(left.subsec_nanos() > 0);
    u32::try_from(left.as_secs().saturating_add(up)).unwrap_or(u32::MAX)
}

/// When a message expires that may live so long from now.
pub(super) fn expiry(seconds: Option<u32>, now: Instant) -> Option<Instant> {
    now.checked_add(Duration::from_secs(seconds?.into()))
}

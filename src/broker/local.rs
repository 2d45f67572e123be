//! Subscriptions of the embedding program.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::{Rc, Weak};

use crate::proto::mqtt::{QoS, TopicError};

use super::connect::is_sys;
use super::core::Core;
use super::message::Message;
use super::router::End;
use super::session::Wanted;

/// A message for the program.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Received {
    /// The message.
    pub message: Rc<Message>,
    /// The quality of the subscription, or of the message where that is less.
    pub qos: QoS,
    /// It had been retained before the program subscribed.
    pub retain: bool,
}

impl std::ops::Deref for Received {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// What waits for the program. See [`Broker::subscribe`](super::Broker::subscribe).
///
/// Dropping it ends the subscription.
#[must_use = "dropping it ends the subscription"]
pub struct Inbox {
    queue: Rc<RefCell<Queue>>,
    gone: Rc<Cell<usize>>,
}

/// Messages for one subscription of the program.
pub(super) struct Queue {
    messages: VecDeque<Received>,
    max: usize,
    dropped: u64,
}

impl Inbox {
    /// The next message, if one is there.
    pub fn next(&self) -> Option<Received> {
        self.queue.borrow_mut().messages.pop_front()
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        self.queue.borrow().messages.len()
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many were dropped because nobody had taken those before them.
    pub fn dropped(&self) -> u64 {
        self.queue.borrow().dropped
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // The broker may be at work, or gone: it is left a note.
        self.gone.set(self.gone.get() + 1);
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("len", &self.len()).field("dropped", &self.dropped()).finish()
    }
}

/// Called with each message of a subscription.
pub(super) type Callback = Rc<RefCell<dyn FnMut(&Received)>>;

/// The program's subscriptions.
#[derive(Default)]
pub(super) struct Locals {
    slots: Vec<Option<Local>>,
    free: Vec<u32>,
    /// Subscriptions whose inbox has been dropped since they were tidied.
    gone: Rc<Cell<usize>>,
    /// What is to be called back once the broker is done.
    pub(super) calls: VecDeque<(u32, Received)>,
}

struct Local {
    filter: Box<str>,
    to: To,
}

enum To {
    Inbox(Weak<RefCell<Queue>>),
    Callback(Callback),
}

/// The bit that tells the program's subscriptions from those of clients.
const LOCAL: u32 = 1 << 31;

/// Whether a subscriber is the program.
#[inline]
pub(super) fn is_local(who: u32) -> bool {
    who & LOCAL != 0
}

impl Locals {
    fn add(&mut self, local: Local) -> u32 {
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        if let Some(slot) = self.slots.get_mut(at as usize) {
            *slot = Some(local);
        }
        at | LOCAL
    }

    /// How many subscriptions are still in the tables whose inbox is gone.
    #[inline]
    pub(super) fn gone(&self) -> usize {
        self.gone.get()
    }

    pub(super) fn push(&mut self, who: u32, message: Rc<Message>, qos: QoS, retain: bool) -> End {
        let received = Received { message, qos, retain };
        match self.slots.get((who & !LOCAL) as usize).and_then(|slot| slot.as_ref()).map(|local| &local.to) {
            Some(To::Inbox(queue)) => {
                let Some(queue) = queue.upgrade() else { return End::Dropped };
                let mut queue = queue.borrow_mut();
                if queue.messages.len() >= queue.max {
                    queue.dropped += 1;
                    return End::Full;
                }
                queue.messages.push_back(received);
            }
            Some(To::Callback(_)) => self.calls.push_back((who, received)),
            None => return End::Dropped,
        }
        End::Taken
    }

    pub(super) fn callback(&self, who: u32) -> Option<Callback> {
        match &self.slots.get((who & !LOCAL) as usize)?.as_ref()?.to {
            To::Callback(callback) => Some(Rc::clone(callback)),
            To::Inbox(_) => None,
        }
    }
}

impl Core {
    /// Subscribes for the program, with what is retained.
    pub(super) fn subscribe_inbox(&mut self, filter: &str, qos: QoS, max: usize) -> Result<(u32, Inbox), TopicError> {
        self.tidy_locals();
        let queue = Rc::new(RefCell::new(Queue { messages: VecDeque::new(), max, dropped: 0 }));
        let who = self.subscribe_local(filter, qos, To::Inbox(Rc::downgrade(&queue)))?;
        Ok((who, Inbox { queue, gone: Rc::clone(&self.locals.gone) }))
    }

    pub(super) fn subscribe_callback(&mut self, filter: &str, qos: QoS, f: Callback) -> Result<u32, TopicError> {
        self.subscribe_local(filter, qos, To::Callback(f))
    }

    fn subscribe_local(&mut self, filter: &str, qos: QoS, to: To) -> Result<u32, TopicError> {
        let wanted = Wanted::of(&crate::proto::mqtt::Subscription::new(filter, qos), None);
        let who = self.locals.add(Local { filter: filter.into(), to });
        let inserted = self.subscriptions.insert(filter, who, wanted);
        if is_sys(filter) {
            self.sys_wanted();
        }
        if let Err(error) = inserted {
            self.unsubscribe_local(who);
            return Err(error);
        }
        let locals = &mut self.locals;
        self.retained.matching(filter, None, |message| {
            locals.push(who, Rc::clone(message), message.qos().min(qos), true);
            std::ops::ControlFlow::Continue(())
        });
        Ok(who)
    }

    pub(super) fn unsubscribe_local(&mut self, who: u32) {
        let at = who & !LOCAL;
        if let Some(local) = self.locals.slots.get_mut(at as usize).and_then(Option::take) {
            self.subscriptions.remove(&local.filter, who);
            self.locals.free.push(at);
            if is_sys(&local.filter) {
                self.sys_unsubscribed();
            }
        }
    }

    /// Forgets subscriptions whose inbox is gone.
    #[inline]
    pub(super) fn tidy_locals(&mut self) {
        if self.locals.gone() > 0 {
            self.forget_gone();
        }
    }

    #[cold]
    fn forget_gone(&mut self) {
        self.locals.gone.set(0);
        let is_gone = |local: &Local| matches!(&local.to, To::Inbox(queue) if queue.strong_count() == 0);
        let gone: Vec<u32> = (0_u32..)
            .zip(&self.locals.slots)
            .filter(|(_, slot)| slot.as_ref().is_some_and(is_gone))
            .map(|(at, _)| at | LOCAL)
            .collect();
        gone.into_iter().for_each(|who| self.unsubscribe_local(who));
    }
}

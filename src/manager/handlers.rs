//! The handlers, apart from the connections that use them: a listener's serves all that it accepted.

use super::ctx::Ctx;
use crate::event::Event;

/// Anything that can be told of events: a closure `|cx, ev| ..` or a function.
///
/// A handler gets a [`Ctx`], never the manager: waiting inside a handler does not compile.
pub trait Handler<S>: FnMut(&mut Ctx<'_, S>, Event<'_>) {}

impl<S, F: FnMut(&mut Ctx<'_, S>, Event<'_>)> Handler<S> for F {}

pub(crate) type BoxHandler<S> = Box<dyn FnMut(&mut Ctx<'_, S>, Event<'_>)>;
pub(crate) type BoxFactory<S> = Box<dyn FnMut() -> BoxHandler<S>>;

/// Names a stored handler, or a stored factory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HandlerRef(u32);

impl HandlerRef {
    /// No handler of its own: the manager's default one, if there is one, is told.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Counted slots, of handlers or of factories. What runs has left its slot, and comes back to it.
pub(crate) struct Slots<F> {
    slots: Vec<Slot<F>>,
    free: Vec<u32>,
}

struct Slot<F> {
    /// None while it runs, and while the slot is free.
    stored: Option<F>,
    users: u32,
}

/// What nobody uses any more, to be dropped where a panic in its drop is caught.
#[expect(dead_code, reason = "it is only dropped")]
pub(crate) enum Released<S> {
    Handler(BoxHandler<S>),
    Factory(BoxFactory<S>),
}

impl<F> Slots<F> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn add(&mut self, stored: F) -> HandlerRef {
        let slot = Slot { stored: Some(stored), users: 1 };
        match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = slot;
                HandlerRef(index)
            }
            None => {
                self.slots.push(slot);
                HandlerRef(self.slots.len() as u32 - 1)
            }
        }
    }

    /// One user more.
    pub(crate) fn share(&mut self, handler: HandlerRef) -> HandlerRef {
        if let Some(slot) = self.slots.get_mut(handler.0 as usize) {
            slot.users += 1;
        }
        handler
    }

    /// One user less; the last one frees it. The caller drops what comes back: user code may run in that drop.
    #[must_use]
    pub(crate) fn release(&mut self, handler: HandlerRef) -> Option<F> {
        let slot = self.slots.get_mut(handler.0 as usize)?;
        slot.users = slot.users.saturating_sub(1);
        if slot.users > 0 {
            return None;
        }
        // One that runs is not here: its slot is freed when it comes back.
        let stored = slot.stored.take()?;
        self.free.push(handler.0);
        Some(stored)
    }

    /// Takes a handler or a factory out to run it.
    #[inline(always)]
    pub(crate) fn take(&mut self, handler: HandlerRef) -> Option<F> {
        self.slots.get_mut(handler.0 as usize)?.stored.take()
    }

    /// Puts it back, unless its last user went away while it ran: then the caller drops it.
    #[inline(always)]
    #[must_use]
    pub(crate) fn put_back(&mut self, handler: HandlerRef, stored: F) -> Option<F> {
        let Some(slot) = self.slots.get_mut(handler.0 as usize) else { return Some(stored) };
        if slot.users > 0 {
            // Only what is out comes back: there is nothing to drop here.
            return slot.stored.replace(stored);
        }
        self.free.push(handler.0);
        Some(stored)
    }
}

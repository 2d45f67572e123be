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

/// Names a stored handler or factory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HandlerRef(u32);

impl HandlerRef {
    /// No handler of its own: the manager's default one, if there is one, is told.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Counted slots. A handler that runs has left its slot, and comes back to it.
pub(crate) struct Handlers<S> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
}

struct Slot<S> {
    what: What<S>,
    users: u32,
}

enum What<S> {
    Handler(BoxHandler<S>),
    Factory(BoxFactory<S>),
    /// It runs now.
    Out,
    Free,
}

impl<S> Handlers<S> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn add(&mut self, handler: BoxHandler<S>) -> HandlerRef {
        self.store(What::Handler(handler))
    }

    pub(crate) fn add_factory(&mut self, factory: BoxFactory<S>) -> HandlerRef {
        self.store(What::Factory(factory))
    }

    fn store(&mut self, what: What<S>) -> HandlerRef {
        let slot = Slot { what, users: 1 };
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
    pub(crate) fn release(&mut self, handler: HandlerRef) -> Option<Released<S>> {
        let slot = self.slots.get_mut(handler.0 as usize)?;
        slot.users = slot.users.saturating_sub(1);
        if slot.users > 0 || matches!(slot.what, What::Out | What::Free) {
            return None;
        }
        self.free.push(handler.0);
        Some(Released { _what: std::mem::replace(&mut slot.what, What::Free) })
    }

    /// Takes a handler out to run it.
    pub(crate) fn take(&mut self, handler: HandlerRef) -> Option<BoxHandler<S>> {
        let slot = self.slots.get_mut(handler.0 as usize)?;
        match std::mem::replace(&mut slot.what, What::Out) {
            What::Handler(handler) => Some(handler),
            other => {
                slot.what = other;
                None
            }
        }
    }

    /// Puts it back, unless its last user went away while it ran: then the caller drops it.
    #[must_use]
    pub(crate) fn put_back(&mut self, handler: HandlerRef, f: BoxHandler<S>) -> Option<Released<S>> {
        self.restore(handler, What::Handler(f))
    }

    /// Takes a factory out to run it.
    pub(crate) fn take_factory(&mut self, factory: HandlerRef) -> Option<BoxFactory<S>> {
        let slot = self.slots.get_mut(factory.0 as usize)?;
        match std::mem::replace(&mut slot.what, What::Out) {
            What::Factory(factory) => Some(factory),
            other => {
                slot.what = other;
                None
            }
        }
    }

    #[must_use]
    pub(crate) fn put_back_factory(&mut self, factory: HandlerRef, f: BoxFactory<S>) -> Option<Released<S>> {
        self.restore(factory, What::Factory(f))
    }

    fn restore(&mut self, handler: HandlerRef, what: What<S>) -> Option<Released<S>> {
        let released = Some(Released { _what: What::Out });
        let Some(slot) = self.slots.get_mut(handler.0 as usize) else { return released };
        if slot.users == 0 {
            slot.what = What::Free;
            self.free.push(handler.0);
            return Some(Released { _what: what });
        }
        slot.what = what;
        None
    }
}

/// A handler without users, to be dropped where a panic in its drop is caught.
pub(crate) struct Released<S> {
    _what: What<S>,
}

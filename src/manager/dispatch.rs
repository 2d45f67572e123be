//! The only place where user code runs. A panic in it ends its connection, not the loop.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Result;
use crate::event::{CloseReason, Event};
use crate::id::{ConnId, Key, TimerId};
use crate::trace::trace_event;

use super::conn::Flags;
use super::core::Core;
use super::ctx::{Ctx, TimerCtx};
use super::handlers::{BoxHandler, HandlerRef, Stored};
use super::names::{BoxFound, LookupCtx};
use super::net::Net;
use super::timers::BoxTick;

/// A handler that panicked, as the error hook is told of it.
#[derive(Debug)]
pub struct HandlerPanic<'a> {
    /// Its connection, which closes with `CloseReason::HandlerPanicked`; or none, for a timer or a hook.
    pub conn: Option<ConnId>,
    /// Its timer, which goes on ticking if it repeats.
    pub timer: Option<TimerId>,
    /// The event that it was told of ([`Event::name`]), or "timer", "lookup", "turn", "factory",
    /// "drop".
    pub event: &'static str,
    /// What it panicked with.
    pub payload: &'a (dyn Any + Send),
}

impl HandlerPanic<'_> {
    /// The message, where the panic had one.
    pub fn message(&self) -> &str {
        let text = self.payload.downcast_ref::<&str>().copied();
        text.or_else(|| self.payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
    }
}

/// Tells a connection's handler of an event, of `Opened` first if it has not been told that yet. Once the connection
/// closes or drains, it is told of nothing but `Closed`.
pub(crate) fn call<S>(state: &mut S, core: &mut Core<S>, key: Key, event: Event<'_>) {
    let Some(conn) = core.conns.get(key) else { return };
    let in_the_midst = conn.flags.has(Flags::OPENED) && !conn.is_ending();
    if in_the_midst || admit(state, core, key, &event) {
        run_handler(state, core, key, event);
    }
}

/// Whether the connection is to be told of the event, where it is its first or its last.
#[cold]
fn admit<S>(state: &mut S, core: &mut Core<S>, key: Key, event: &Event<'_>) -> bool {
    let last = is_of_the_end(event);
    let Some(conn) = core.conns.get_mut(key) else { return false };
    if conn.is_ending() && !last {
        return false;
    }
    if conn.flags.raise(Flags::OPENED) {
        run_handler(state, core, key, Event::Opened);
        let goes_on = core.conns.get(key).is_some_and(|conn| !conn.is_ending());
        return !matches!(event, Event::Opened) && (last || goes_on);
    }
    true
}

/// What is told when everything else is over: the end, and what ends with it.
fn is_of_the_end(event: &Event<'_>) -> bool {
    match event {
        Event::Closed(_) => true,
        #[cfg(feature = "mqtt")]
        Event::MqttFailed { .. } => true,
        _ => false,
    }
}

#[inline]
fn run_handler<S>(state: &mut S, core: &mut Core<S>, key: Key, event: Event<'_>) {
    let Some(conn) = core.conns.get(key) else { return };
    let handler = if conn.handler == HandlerRef::NONE { core.default_handler } else { conn.handler };
    let Some(Stored::Handler(mut f)) = core.handlers.take(handler) else { return };
    let name = event.name();
    let now = core.instant();
    let id = ConnId(key);
    let result = catch_unwind(AssertUnwindSafe(|| {
        f(&mut Ctx { state, net: Net { core }, conn: id, now }, event);
    }));
    if let Some(released) = core.handlers.put_back(handler, Stored::Handler(f)) {
        drop_user(state, core, Some(released));
    }
    if let Err(payload) = result {
        core.close(key, CloseReason::HandlerPanicked);
        report(state, core, HandlerPanic { conn: Some(id), timer: None, event: name, payload: &*payload });
    }
}

/// Runs a timer's callback.
pub(crate) fn tick<S>(state: &mut S, core: &mut Core<S>, timer: TimerId, f: &mut BoxTick<S>) {
    let now = core.instant();
    let result = catch_unwind(AssertUnwindSafe(|| f(&mut TimerCtx { state, net: Net { core }, timer, now })));
    if let Err(payload) = result {
        report(state, core, HandlerPanic { conn: None, timer: Some(timer), event: "timer", payload: &*payload });
    }
}

/// Tells a callback what came of a lookup.
pub(crate) fn found<S, T>(state: &mut S, core: &mut Core<S>, f: BoxFound<S, T>, result: Result<T>) {
    let now = core.instant();
    let called = catch_unwind(AssertUnwindSafe(|| f(&mut LookupCtx { state, net: Net { core }, now }, result)));
    if let Err(payload) = called {
        report(state, core, HandlerPanic { conn: None, timer: None, event: "lookup", payload: &*payload });
    }
}

/// Runs the hook that is called once in each turn.
pub(crate) fn turn<S>(state: &mut S, core: &mut Core<S>) {
    let Some(mut hook) = core.on_turn.take() else { return };
    let result = catch_unwind(AssertUnwindSafe(|| hook(state, &mut Net { core })));
    core.on_turn.get_or_insert(hook);
    if let Err(payload) = result {
        report(state, core, HandlerPanic { conn: None, timer: None, event: "turn", payload: &*payload });
    }
}

/// Has a listener's factory make a handler for a connection.
pub(crate) fn make<S>(state: &mut S, core: &mut Core<S>, listener: Key, factory: HandlerRef) -> Option<BoxHandler<S>> {
    let Some(Stored::Factory(mut f)) = core.handlers.take(factory) else { return None };
    let result = catch_unwind(AssertUnwindSafe(&mut f));
    let released = core.handlers.put_back(factory, Stored::Factory(f));
    drop_user(state, core, released);
    match result {
        Ok(handler) => Some(handler),
        Err(payload) => {
            let conn = Some(ConnId(listener));
            report(state, core, HandlerPanic { conn, timer: None, event: "factory", payload: &*payload });
            None
        }
    }
}

/// Drops a value of the user's.
pub(crate) fn drop_user<S, T>(state: &mut S, core: &mut Core<S>, value: Option<T>) {
    let Some(value) = value else { return };
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        report(state, core, HandlerPanic { conn: None, timer: None, event: "drop", payload: &*payload });
    }
}

fn report<S>(state: &mut S, core: &mut Core<S>, panic: HandlerPanic<'_>) {
    core.stats.handler_panics += 1;
    trace_event!(error, "a handler panicked on {}: {}", panic.event, panic.message());
    let Some(mut hook) = core.on_panic.take() else { return };
    if catch_unwind(AssertUnwindSafe(|| hook(state, &panic))).is_err() {
        // The hook for failures has failed: nobody is left to tell.
        core.stats.handler_panics += 1;
        trace_event!(error, "the hook for panics panicked itself");
    }
    core.on_panic = Some(hook);
}

//! The only place where user code runs. A panic in it ends its connection, not the loop.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::Result;
#[cfg(feature = "async")]
use crate::error::{Error, Kind};
use crate::event::{CloseReason, Event, What};
use crate::id::{ConnId, Key, TimerId};
use crate::trace::trace_event;

use super::conn::{Conn, Flags};
use super::core::Core;
use super::ctx::{Ctx, TimerCtx};
use super::handlers::{BoxHandler, HandlerRef};
#[cfg(feature = "mdns")]
use super::mdns::{BoxBrowsed, Browsed};
use super::names::{BoxFound, LookupCtx};
use super::net::Net;
use super::timers::BoxTick;
#[cfg(feature = "async")]
use super::visit::LoopCtx;
use super::watch::Call;

/// What a panic carried, which is the user's as well.
type Payload = Box<dyn Any + Send>;

/// A handler that panicked, as the error hook is told of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct HandlerPanic<'a> {
    /// Its connection, which closes with `CloseReason::HandlerPanicked`; or none, for a timer or a hook.
    pub conn: Option<ConnId>,
    /// Its timer, which goes on ticking if it repeats.
    pub timer: Option<TimerId>,
    /// The event that it was told of ([`Event::name`]), or "timer", "lookup", "turn", "factory",
    /// "drop", "with".
    pub event: &'static str,
    /// What it panicked with.
    pub payload: &'a (dyn Any + Send),
}

impl HandlerPanic<'_> {
    /// The message, where the panic had one.
    pub fn message(&self) -> &str {
        message(self.payload)
    }
}

/// Tells a connection's handler of an event, of `Opened` first if it has not been told that yet. Once the connection
/// closes or drains, it is told of nothing but `Closed`.
pub(crate) fn call<S>(state: &mut S, core: &mut Core<S>, key: Key, event: Event<'_>) {
    let Some(conn) = core.conns.get(key) else { return };
    let in_the_midst = conn.flags.has(Flags::OPENED) && !conn.is_ending();
    let handler = conn.handler;
    if in_the_midst {
        run_handler(state, core, key, handler, event);
    } else if let Some(handler) = admit(state, core, key, &event) {
        run_handler(state, core, key, handler, event);
    }
}

/// Tells of `first`, and then of `second` if `goes_on` still names a handler for it, which is the connection's. As two times
/// [`call`], but the handler does not go to its slot and back in between, which takes longer than to run a small one. Of
/// functions that make them, events are made where the handler looks for them, and not copied.
///
/// `whom`: the connection's handler, where that has been told of the connection and the connection does not end.
#[cfg(feature = "http")]
#[inline(always)]
pub(crate) fn call_both<'e, S>(
    state: &mut S,
    core: &mut Core<S>,
    key: Key,
    whom: Option<HandlerRef>,
    first: impl Fn() -> Event<'e>,
    second: impl Fn() -> Event<'e>,
    goes_on: impl FnOnce(&mut Core<S>) -> Option<HandlerRef>,
) {
    let handler = match whom {
        Some(HandlerRef::NONE) => Some(core.default_handler),
        whom => whom,
    };
    let Some((handler, mut f)) = handler.and_then(|handler| Some((handler, core.handlers.take(handler)?))) else {
        call(state, core, key, first());
        if goes_on(core).is_some() {
            call(state, core, key, second());
        }
        return;
    };
    let (now, conn) = (core.instant(), ConnId(key));
    let mut what = first().what();
    let mut next = None;
    let result = guarded(core, Some(key), what, |core| {
        f(&mut Ctx { state, net: Net { core }, conn, now }, first());
        next = goes_on(core);
        if next == whom {
            what = second().what();
            if core.watch.as_mut().is_some_and(|watch| !watch.goes_on(what)) {
                leave(core);
                enter(core, Some(key), what);
            }
            f(&mut Ctx { state, net: Net { core }, conn, now }, second());
        }
    });
    if let Err(payload) = result {
        panicked(state, core, key, what.name(), payload);
    }
    shelve(state, core, handler, f);
    if next.is_some() && next != whom {
        call(state, core, key, second());
    }
}

/// The handler that is to be told of the event, where that is the connection's first or its last; none where it is not to be
/// told.
#[cold]
fn admit<S>(state: &mut S, core: &mut Core<S>, key: Key, event: &Event<'_>) -> Option<HandlerRef> {
    let last = is_of_the_end(event);
    let conn = core.conns.get_mut(key)?;
    if conn.is_ending() && !last {
        return None;
    }
    if conn.flags.raise(Flags::OPENED) {
        let handler = conn.handler;
        run_handler(state, core, key, handler, Event::Opened);
        let goes_on = core.conns.get(key).is_some_and(|conn| !conn.is_ending());
        if matches!(event, Event::Opened) || !(last || goes_on) {
            return None;
        }
    }
    core.conns.get(key).map(|conn| conn.handler)
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

fn run_handler<S>(state: &mut S, core: &mut Core<S>, key: Key, handler: HandlerRef, event: Event<'_>) {
    let handler = if handler == HandlerRef::NONE { core.default_handler } else { handler };
    let Some(mut f) = core.handlers.take(handler) else { return };
    run(state, core, key, &mut f, event.what(), move || event);
    shelve(state, core, handler, f);
}

/// Puts a handler back that was taken out to run.
#[inline]
fn shelve<S>(state: &mut S, core: &mut Core<S>, handler: HandlerRef, f: BoxHandler<S>) {
    if let Some(released) = core.handlers.put_back(handler, f) {
        drop_user(state, core, Some(released));
    }
}

/// Runs a handler.
#[inline(always)]
fn run<'e, S>(
    state: &mut S,
    core: &mut Core<S>,
    key: Key,
    f: &mut BoxHandler<S>,
    what: What,
    event: impl FnOnce() -> Event<'e>,
) {
    let now = core.instant();
    let conn = ConnId(key);
    let result = guarded(core, Some(key), what, |core| f(&mut Ctx { state, net: Net { core }, conn, now }, event()));
    if let Err(payload) = result {
        panicked(state, core, key, what.name(), payload);
    }
}

#[cold]
fn panicked<S>(state: &mut S, core: &mut Core<S>, key: Key, event: &'static str, payload: Box<dyn Any + Send>) {
    core.close(key, CloseReason::HandlerPanicked);
    report(state, core, (Some(ConnId(key)), None, event), payload);
}

/// Runs user code, lets the watch know of it, and catches its panic.
#[inline(always)]
fn guarded<S, R>(
    core: &mut Core<S>,
    conn: Option<Key>,
    what: What,
    run: impl FnOnce(&mut Core<S>) -> R,
) -> std::thread::Result<R> {
    if core.watch.is_some() {
        enter(core, conn, what);
    }
    let result = catch_unwind(AssertUnwindSafe(|| run(core)));
    if core.watch.is_some() {
        leave(core);
    }
    result
}

/// Tells the watch whose code runs.
#[inline(never)]
fn enter<S>(core: &mut Core<S>, conn: Option<Key>, what: What) {
    let Some(watch) = &mut core.watch else { return };
    let listener = conn.and_then(|key| core.conns.get(key)?.listener).map(|id| id.0).or(conn);
    watch.enter(Call { conn, listener, what }, &mut core.clock, |conn| core.conns.get(conn).map(Conn::kind));
}

/// Tells the watch that it runs no more.
#[inline(never)]
fn leave<S>(core: &mut Core<S>) {
    if let Some(watch) = &mut core.watch {
        watch.leave(&mut core.clock);
    }
}

/// Runs a closure that another thread sent.
#[cfg(feature = "async")]
pub(crate) fn visit<S, R>(
    state: &mut S,
    core: &mut Core<S>,
    f: impl FnOnce(&mut LoopCtx<'_, S>) -> R,
) -> crate::error::Result<R> {
    let now = core.instant();
    let result = guarded(core, None, What::With, |core| f(&mut LoopCtx { state, net: Net { core }, now }));
    result.map_err(|payload| {
        let error = Error::new(Kind::Panicked, format!("the closure panicked: {}", message(&*payload)));
        report(state, core, (None, None, "with"), payload);
        error
    })
}

/// Runs a timer's callback.
pub(crate) fn tick<S>(state: &mut S, core: &mut Core<S>, timer: TimerId, f: &mut BoxTick<S>) {
    let now = core.instant();
    let result = guarded(core, None, What::Timer, |core| f(&mut TimerCtx { state, net: Net { core }, timer, now }));
    if let Err(payload) = result {
        report(state, core, (None, Some(timer), "timer"), payload);
    }
}

/// Tells a callback what came of a lookup.
pub(crate) fn found<S, T>(state: &mut S, core: &mut Core<S>, f: BoxFound<S, T>, result: Result<T>) {
    let now = core.instant();
    let called = guarded(core, None, What::Lookup, |core| f(&mut LookupCtx { state, net: Net { core }, now }, result));
    if let Err(payload) = called {
        report(state, core, (None, None, "lookup"), payload);
    }
}

/// Tells a callback of a service.
#[cfg(feature = "mdns")]
pub(crate) fn browsed<S>(state: &mut S, core: &mut Core<S>, f: &mut BoxBrowsed<S>, browsed: Browsed) {
    let now = core.instant();
    let called = guarded(core, None, What::Lookup, |core| f(&mut LookupCtx { state, net: Net { core }, now }, browsed));
    if let Err(payload) = called {
        report(state, core, (None, None, "lookup"), payload);
    }
}

/// Runs the hook that is called once in each turn.
pub(crate) fn turn<S>(state: &mut S, core: &mut Core<S>) {
    let Some(mut hook) = core.on_turn.take() else { return };
    let result = guarded(core, None, What::Turn, |core| hook(state, &mut Net { core }));
    core.on_turn.get_or_insert(hook);
    if let Err(payload) = result {
        report(state, core, (None, None, "turn"), payload);
    }
}

/// Has a listener's factory make a handler for a connection.
pub(crate) fn make<S>(state: &mut S, core: &mut Core<S>, listener: Key, factory: HandlerRef) -> Option<BoxHandler<S>> {
    let mut f = core.factories.take(factory)?;
    let result = guarded(core, Some(listener), What::Factory, |_| f());
    let released = core.factories.put_back(factory, f);
    drop_user(state, core, released);
    match result {
        Ok(handler) => Some(handler),
        Err(payload) => {
            let conn = Some(ConnId(listener));
            report(state, core, (conn, None, "factory"), payload);
            None
        }
    }
}

/// Drops a value of the user's.
pub(crate) fn drop_user<S, T>(state: &mut S, core: &mut Core<S>, value: Option<T>) {
    let Some(value) = value else { return };
    if let Err(payload) = guarded(core, None, What::Drop, |_| drop(value)) {
        report(state, core, (None, None, "drop"), payload);
    }
}

/// Whose panic it was, and on what.
type Who = (Option<ConnId>, Option<TimerId>, &'static str);

fn report<S>(state: &mut S, core: &mut Core<S>, (conn, timer, event): Who, payload: Payload) {
    core.stats.handler_panics += 1;
    trace_event!(error, "a handler panicked on {event}: {}", message(&*payload));
    if let Some(mut hook) = core.on_panic.take() {
        let panic = HandlerPanic { conn, timer, event, payload: &*payload };
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| hook(state, &panic))) {
            // The hook for failures has failed: nobody is left to tell.
            core.stats.handler_panics += 1;
            trace_event!(error, "the hook for panics panicked itself");
            discard(payload);
        }
        core.on_panic = Some(hook);
    }
    discard(payload);
}

/// The message of a panic, where it had one.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

/// Drops what a panic carried. That is user code once more, and whatever it throws is not touched again.
pub(crate) fn discard(payload: Payload) {
    if let Err(thrown) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(thrown);
    }
}

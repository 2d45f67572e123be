//! The loop's thread, and how a loop begins and ends whoever runs it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use crate::error::{Error, Kind, Result};
use crate::manager::{HandlerPanic, Manager, Stopped, discard, message};

use super::incident::{Incident, tell};
use super::shutdown::{Ended, Shared};
use super::{AsyncBuilder, AsyncManager, Handle};

/// Makes the manager, says so, serves until it is asked to stop, and says how it ended.
pub(super) fn main<S: 'static>(
    builder: AsyncBuilder<S>,
    runtime: tokio::runtime::Handle,
    started: oneshot::Sender<Result<AsyncManager<S>>>,
) {
    let poll_interval = builder.poll_interval;
    let (mut manager, handle) = match prepare(builder, runtime) {
        Ok(prepared) => prepared,
        Err(e) => return drop(started.send(Err(e))),
    };
    let shared = Arc::clone(&handle.shared);
    drop(started.send(Ok(AsyncManager { handle })));
    let served = catch_unwind(AssertUnwindSafe(|| {
        while !manager.poll(poll_interval)?.stop {}
        shared.stopping();
        manager.shut_down(shared.shutdown.limit)
    }));
    end(manager, &shared, served);
}

/// Makes the manager and sets it up. When that fails, nothing is left.
pub(super) fn prepare<S: 'static>(
    mut builder: AsyncBuilder<S>,
    runtime: tokio::runtime::Handle,
) -> Result<(Manager<S>, Handle<S>)> {
    let setup = std::mem::take(&mut builder.setup);
    let made = catch_unwind(AssertUnwindSafe(|| make(builder, runtime)));
    let (mut manager, shared) = made.unwrap_or_else(|payload| {
        let why = format!("making the state panicked: {}", message(&*payload));
        discard(payload);
        Err(Error::new(Kind::Panicked, why))
    })?;
    let handle = Handle::new(shared);
    if let Err(e) = setup.into_iter().try_for_each(|f| f(&mut manager, &handle)) {
        end(manager, &handle.shared, Ok(Ok(Stopped::default())));
        return Err(e);
    }
    Ok((manager, handle))
}

/// Drops the manager, or what holds it: there the handlers are told of the end, if they have not been, and the state goes. Then
/// those who wait are told how it ended.
pub(super) fn end<M>(manager: M, shared: &Shared, served: std::thread::Result<Result<Stopped>>) {
    shared.stopping();
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(manager)));
    shared.end(Ended::of(match (served, dropped) {
        (Ok(served), dropped) => dropped.map(|()| served),
        (Err(payload), dropped) => {
            dropped.unwrap_or_else(discard);
            Err(payload)
        }
    }));
}

fn make<S: 'static>(builder: AsyncBuilder<S>, runtime: tokio::runtime::Handle) -> Result<(Manager<S>, Arc<Shared>)> {
    let AsyncBuilder { state, hook, stalls, limits, resolver, shutdown, commands, .. } = builder;
    let mut manager = Manager::builder().limits(limits);
    if let Some(resolver) = resolver {
        manager = manager.resolver(resolver);
    }
    let mut manager = manager.build(state())?;
    let permits = Arc::new(Semaphore::new(commands));
    let places = Arc::clone(&permits);
    let observer = manager.open_to_jobs(commands, move |n| places.add_permits(n));
    if let Some(hook) = hook.clone() {
        manager.on_panic(move |_: &mut S, panic| tell(Some(&hook), &of_panic(panic)));
    }
    if let Some(stalls) = stalls {
        let hook = hook.clone();
        manager.watch_stalls(stalls.and_then(move |stall| tell(hook.as_ref(), &Incident::Stalled(stall.clone()))))?;
    }
    let shared = Shared::new(manager.waker(), observer, runtime, permits, hook, shutdown);
    Ok((manager, Arc::new(shared)))
}

fn of_panic(panic: &HandlerPanic<'_>) -> Incident {
    let who = match (panic.conn, panic.timer) {
        (Some(conn), _) => format!("the handler of connection {conn} on {}", panic.event),
        (None, Some(timer)) => format!("timer {timer}"),
        (None, None) => format!("user code ({})", panic.event),
    };
    Incident::HandlerPanicked { who, message: panic.message().to_owned() }
}

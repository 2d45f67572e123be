//! The loop's thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::manager::{HandlerPanic, Manager, Stopped};

use super::incident::{Incident, tell};
use super::schedule::message;
use super::shutdown::{Ended, Shared};
use super::{AsyncBuilder, AsyncManager, Handle};

/// Makes the manager, says so, serves until it is asked to stop, and says how it ended.
pub(super) fn main<S: 'static>(
    mut builder: AsyncBuilder<S>,
    runtime: tokio::runtime::Handle,
    started: oneshot::Sender<Result<AsyncManager<S>>>,
) {
    let setup = std::mem::take(&mut builder.setup);
    let poll_interval = builder.poll_interval;
    let made = catch_unwind(AssertUnwindSafe(|| make(builder, runtime)));
    let (mut manager, shared) = match made {
        Ok(Ok(made)) => made,
        Ok(Err(e)) => return drop(started.send(Err(e))),
        Err(payload) => {
            let why = format!("making the state panicked: {}", message(&*payload));
            return drop(started.send(Err(Error::new(Kind::Panicked, why))));
        }
    };
    let handle = Handle::new(Arc::clone(&shared));
    // Whatever happens from here on, those who wait are told of the end, after everything is closed.
    let served = setup.into_iter().try_for_each(|f| f(&mut manager, &handle));
    if let Err(e) = served {
        let result = catch_unwind(AssertUnwindSafe(|| drop(manager)));
        shared.end(Ended::of(result.map(|()| Ok(Stopped::default()))));
        return drop(started.send(Err(e)));
    }
    drop(started.send(Ok(AsyncManager { handle })));
    let served = catch_unwind(AssertUnwindSafe(|| {
        while !manager.poll(poll_interval)?.stop {}
        shared.stopping();
        manager.shut_down(shared.shutdown.limit)
    }));
    shared.stopping();
    // Here the handlers are told of the end, if they have not been, and the state goes.
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(manager)));
    shared.end(Ended::of(served.and_then(|served| dropped.map(|()| served))));
}

fn make<S: 'static>(builder: AsyncBuilder<S>, runtime: tokio::runtime::Handle) -> Result<(Manager<S>, Arc<Shared>)> {
    let AsyncBuilder { state, hook, limits, shutdown, commands, .. } = builder;
    let mut manager = Manager::builder().limits(limits).build(state())?;
    let observer = manager.open_to_jobs();
    if let Some(hook) = hook.clone() {
        manager.on_panic(move |_: &mut S, panic| tell(Some(&hook), &of_panic(panic)));
    }
    let shared = Shared::new(manager.waker(), observer, runtime, hook, shutdown, commands);
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

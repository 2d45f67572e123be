//! What a loop on a thread of its own starts with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::manager::{Handler, LoopCtx, Manager, Net, Resolver, StallWatch};
use crate::options::Limits;

use super::incident::{Hook, Incident};
use super::shutdown::Shutdown;
use super::{AsyncManager, Handle, thread};

/// Done on the loop's thread before it serves anything.
pub(super) type Setup<S> = Box<dyn FnOnce(&mut Manager<S>, &Handle<S>) -> Result<()> + Send>;

/// Makes an [`AsyncManager`].
#[must_use = "nothing runs before start()"]
pub struct AsyncBuilder<S: 'static> {
    pub(super) state: Box<dyn FnOnce() -> S + Send>,
    pub(super) setup: Vec<Setup<S>>,
    pub(super) hook: Option<Hook>,
    pub(super) stalls: Option<StallWatch>,
    pub(super) limits: Limits,
    pub(super) resolver: Option<Resolver>,
    pub(super) shutdown: Shutdown,
    pub(super) commands: usize,
    /// How long a turn may wait. None without a hook that wants turns.
    pub(super) poll_interval: Option<Duration>,
}

impl<S: 'static> fmt::Debug for AsyncBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncBuilder")
            .field("limits", &self.limits)
            .field("shutdown", &self.shutdown)
            .field("commands", &self.commands)
            .field("poll_interval", &self.poll_interval)
            .finish_non_exhaustive()
    }
}

/// Calls that may wait for the loop at once, unless told otherwise.
const COMMANDS: usize = 1024;

impl<S: 'static> AsyncBuilder<S> {
    pub(super) fn new(state: Box<dyn FnOnce() -> S + Send>) -> Self {
        Self {
            state,
            setup: Vec::new(),
            hook: None,
            stalls: None,
            limits: Limits::new(),
            resolver: None,
            shutdown: Shutdown::default(),
            commands: COMMANDS,
            poll_interval: None,
        }
    }

    /// Runs on the loop's thread before anything else: listeners whose handlers are not `Send` are made here. When it fails
    /// or panics, so does [`start`](Self::start). May be given several times.
    pub fn setup(mut self, f: impl FnOnce(&mut LoopCtx<'_, S>, &Handle<S>) -> Result<()> + Send + 'static) -> Self {
        self.setup.push(Box::new(|manager, handle| manager.visit(|cx| f(cx, handle))?));
        self
    }

    /// Serves the connections that have no handler of their own.
    pub fn on_event(mut self, handler: impl Handler<S> + Send + 'static) -> Self {
        self.setup.push(Box::new(|manager, _| {
            manager.on_event(handler);
            Ok(())
        }));
        self
    }

    /// Is called at the end of each turn, and at least once in each `poll_interval`. Without such a hook an idle loop sleeps
    /// until something happens.
    pub fn on_turn(
        mut self,
        poll_interval: Duration,
        hook: impl FnMut(&mut S, &mut Net<'_, S>) + Send + 'static,
    ) -> Self {
        self.poll_interval = Some(poll_interval);
        self.setup.push(Box::new(|manager, _| {
            manager.on_turn(hook);
            Ok(())
        }));
        self
    }

    /// Is told what goes wrong on the loop's thread or with it. It runs on whichever thread saw it, and should return soon.
    pub fn on_incident(mut self, hook: impl Fn(&Incident) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(hook));
        self
    }

    /// Has a thread watch over the loop's: who holds it up is named while he still does, and how long handlers take is kept
    /// ([`Manager::watch_stalls`]). [`on_incident`](Self::on_incident) is told as well.
    pub fn watch_stalls(mut self, options: StallWatch) -> Self {
        self.stalls = Some(options);
        self
    }

    /// The bounds of the manager and of its connections.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How names are looked up: [`Builder::resolver`](crate::Builder::resolver).
    pub fn resolver(mut self, resolver: impl Into<Resolver>) -> Self {
        self.resolver = Some(resolver.into());
        self
    }

    /// How many closures may wait for the loop at once (1024). Whoever comes then waits for a place, asynchronously; what
    /// ends something (a dropped guard, a shutdown) needs none. A future that has waited for a place and is not polled any more may keep
    /// one until it is dropped. At least 1.
    pub fn commands(mut self, max: usize) -> Self {
        self.commands = max.clamp(1, tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// How long the end may take, and how often somebody is told meanwhile.
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Starts the thread and waits, asynchronously, until it is set up. Must be called on a tokio runtime
    /// ([`is_unsupported`](Error::is_unsupported)), on which [`Handle::schedule`] will start its tasks.
    ///
    /// Fails where the system refuses a thread or a descriptor, and with what the setup failed with; nothing is left then.
    ///
    /// Cancel safety: dropped at any point, it leaves no thread behind.
    pub async fn start(self) -> Result<AsyncManager<S>> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| {
            Error::new(Kind::Unsupported, "an AsyncManager is started on a tokio runtime; here is none")
        })?;
        let (started, ready) = oneshot::channel();
        std::thread::Builder::new()
            .name("vansire".to_owned())
            .spawn(move || thread::main(self, runtime, started))
            .map_err(|e| Error::io("cannot start the loop's thread", e))?;
        ready.await.unwrap_or_else(|_| Err(Error::new(Kind::Panicked, "the loop's thread ended while it was set up")))
    }
}

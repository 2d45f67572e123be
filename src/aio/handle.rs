//! What async code can do with a loop on another thread.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, oneshot};

#[cfg(feature = "broker")]
use crate::broker::Broker;
use crate::error::{Error, Kind, Result};
use crate::id::ConnId;
#[cfg(feature = "sntp")]
use crate::manager::sntp::ClientOptions;
use crate::manager::{Handler, LoopCtx, Manager, Observer, Stats, TimerCtx, job};
use crate::options::{ConnectOptions, ListenOptions};
#[cfg(feature = "mqtt")]
use crate::proto::mqtt;
use crate::reactor::{Command, Waker};

use super::guard::{Conn, Timer};
use super::shutdown::{Shared, ShutdownReport};

/// Reaches the loop from anywhere: async code, other threads, and handlers. Clones are cheap.
///
/// It does not keep the loop running: once that has stopped, every call answers [`is_stopped`](Error::is_stopped). Nothing
/// here blocks. Where a call is async, its future may be dropped at any point; each says what becomes of it then.
pub struct Handle<S: 'static = ()> {
    pub(super) shared: Arc<Shared>,
    state: PhantomData<fn(&mut S)>,
}

impl<S: 'static> Handle<S> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, state: PhantomData }
    }

    /// The loop serves, and has not been asked to stop.
    pub fn running(&self) -> bool {
        self.shared.is_running()
    }

    /// Runs a closure on the loop's thread and waits for what it returns.
    ///
    /// Closures of one task run in the order in which they were sent, those of one burst in one turn. One that panics is an
    /// error ([`is_panicked`](Error::is_panicked)). While `AsyncBuilder::commands` wait already, this waits for a place.
    ///
    /// Cancel safety: dropped before the closure's turn has come, it does not run; afterwards its result is dropped on the
    /// loop's thread or here.
    pub async fn with<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut LoopCtx<'_, S>) -> R + Send + 'static,
    ) -> Result<R> {
        let permit = self.permit().await?;
        let (tell, told) = oneshot::channel();
        self.send(permit, move |manager| {
            if tell.is_closed() {
                return manager.drop_user(f);
            }
            let result = manager.visit(f);
            // Whoever has the answer finds the places free of all that came before it.
            manager.free_places();
            if let Err(unheard) = tell.send(result) {
                manager.drop_user(unheard);
            }
        })?;
        told.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Runs a closure on the loop's thread, and waits only for a place in its queue: many are sent in the time that one
    /// [`with`](Self::with) takes. A loop that stops before the closure's turn drops it.
    ///
    /// Cancel safety: dropped before there was a place, the closure is not sent.
    pub async fn submit(&self, f: impl FnOnce(&mut LoopCtx<'_, S>) + Send + 'static) -> Result<()> {
        let permit = self.permit().await?;
        self.send_unheard(permit, f)
    }

    /// As [`submit`](Self::submit), without waiting for a place either: for callers that are not async.
    ///
    /// Fails when `AsyncBuilder::commands` wait already ([`is_limit_reached`](Error::is_limit_reached)).
    pub fn post(&self, f: impl FnOnce(&mut LoopCtx<'_, S>) + Send + 'static) -> Result<()> {
        let permit = self.shared.permits.try_acquire().map_err(|e| match e {
            tokio::sync::TryAcquireError::Closed => stopped(),
            tokio::sync::TryAcquireError::NoPermits => {
                Error::new(Kind::LimitReached, "the loop has as many commands to do as may wait for it")
            }
        })?;
        self.send_unheard(permit, f)
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>> {
        self.shared.permits.acquire().await.map_err(|_| stopped())
    }

    fn send_unheard(
        &self,
        permit: SemaphorePermit<'_>,
        f: impl FnOnce(&mut LoopCtx<'_, S>) + Send + 'static,
    ) -> Result<()> {
        self.send(permit, move |manager| {
            // A panic is told to the hook: nobody waits for this.
            let _ = manager.visit(f);
        })
    }

    fn send(&self, permit: SemaphorePermit<'_>, f: impl FnOnce(&mut Manager<S>) + Send + 'static) -> Result<()> {
        // The loop gives the place back, also where the push says that it could not be woken. A loop that has stopped does not:
        // it closes the semaphore instead.
        permit.forget();
        self.shared.waker.push(Command::RunInPlace(job(f)))
    }

    /// Listens: [`Net::listen`](crate::Net::listen). The guard closes the listener when it is dropped.
    ///
    /// Cancel safety: a listener made for a caller that is gone is closed.
    pub async fn listen(
        &self,
        options: impl Into<ListenOptions>,
        handler: impl Handler<S> + Send + 'static,
    ) -> Result<Conn> {
        let options = options.into();
        self.open(move |cx| cx.net.listen(options, handler)).await
    }

    /// Connects: [`Net::connect`](crate::Net::connect). It answers as soon as the attempt has begun; the handler is told how
    /// it ends.
    ///
    /// Cancel safety: a connection made for a caller that is gone is closed.
    pub async fn connect(
        &self,
        options: impl Into<ConnectOptions>,
        handler: impl Handler<S> + Send + 'static,
    ) -> Result<Conn> {
        let options = options.into();
        self.open(move |cx| cx.net.connect(options, handler)).await
    }

    /// Connects as an HTTP client: [`Net::http_connect`](crate::Net::http_connect). For one request and its response,
    /// [`HttpClient`](super::HttpClient) is shorter.
    ///
    /// Cancel safety: a connection made for a caller that is gone is closed.
    #[cfg(feature = "http")]
    pub async fn http_connect(
        &self,
        options: impl Into<ConnectOptions>,
        handler: impl Handler<S> + Send + 'static,
    ) -> Result<Conn> {
        let options = options.into();
        self.open(move |cx| cx.net.http_connect(options, handler)).await
    }

    /// Connects as an MQTT client: [`Net::mqtt_connect`](crate::Net::mqtt_connect). [`MqttClient`](super::MqttClient) is one
    /// without a handler.
    ///
    /// Cancel safety: a connection made for a caller that is gone is closed.
    #[cfg(feature = "mqtt")]
    pub async fn mqtt_connect(
        &self,
        options: impl Into<ConnectOptions>,
        client: mqtt::ClientOptions,
        handler: impl Handler<S> + Send + 'static,
    ) -> Result<Conn> {
        let options = options.into();
        self.open(move |cx| cx.net.mqtt_connect(options, client, handler)).await
    }

    /// Has an MQTT broker listen: [`Broker::listen`]. The closure makes the broker, or takes it from the state, where closures and
    /// handlers find it again to publish and to look into it. Clients that have been accepted stay when the listener is closed.
    ///
    /// Cancel safety: a listener made for a caller that is gone is closed.
    #[cfg(feature = "broker")]
    pub async fn mqtt_listen(
        &self,
        options: impl Into<ListenOptions>,
        broker: impl FnOnce(&mut S) -> Broker + Send + 'static,
    ) -> Result<Conn> {
        let options = options.into();
        self.open(move |cx| broker(cx.state).listen(&mut cx.net, options)).await
    }

    /// Asks a server for the time: [`Net::sntp_connect`](crate::Net::sntp_connect). The handler is told each answer;
    /// [`SntpClient`](super::SntpClient) waits for one.
    ///
    /// Cancel safety: a socket made for a caller that is gone is closed.
    #[cfg(feature = "sntp")]
    pub async fn sntp_connect(
        &self,
        options: impl Into<ClientOptions>,
        handler: impl Handler<S> + Send + 'static,
    ) -> Result<Conn> {
        let options = options.into();
        self.open(move |cx| cx.net.sntp_connect(options, handler)).await
    }

    /// Runs a closure that opens something, and guards it from where it is made: whoever drops it closes it.
    pub(crate) async fn open(
        &self,
        f: impl FnOnce(&mut LoopCtx<'_, S>) -> Result<ConnId> + Send + 'static,
    ) -> Result<Conn> {
        let waker = self.waker().clone();
        self.with(move |cx| {
            let id = f(cx)?;
            Ok(Conn::new(id, cx.net.local_addr(id), waker))
        })
        .await?
    }

    /// Calls back once, after this long: [`Net::timer_after`](crate::Net::timer_after).
    ///
    /// Cancel safety: a timer made for a caller that is gone is cancelled.
    pub async fn timer_after(
        &self,
        after: Duration,
        f: impl FnMut(&mut TimerCtx<'_, S>) + Send + 'static,
    ) -> Result<Timer> {
        let waker = self.waker().clone();
        self.with(move |cx| Timer::new(cx.net.timer_after(after, f), waker)).await
    }

    /// Calls back again and again: [`Net::timer_every`](crate::Net::timer_every).
    ///
    /// Cancel safety: a timer made for a caller that is gone is cancelled.
    pub async fn timer_every(
        &self,
        period: Duration,
        f: impl FnMut(&mut TimerCtx<'_, S>) + Send + 'static,
    ) -> Result<Timer> {
        let waker = self.waker().clone();
        self.with(move |cx| Timer::new(cx.net.timer_every(period, f), waker)).await
    }

    /// Hands bytes to a connection's handler: [`Waker::wakeup`]. Not async: it queues them, or fails at once.
    pub fn wakeup(&self, id: ConnId, bytes: &[u8]) -> Result<()> {
        self.shared.waker.wakeup(id, bytes)
    }

    /// Closes a connection soon. One that is closed already stays so.
    pub fn close(&self, id: ConnId) -> Result<()> {
        self.shared.waker.push(Command::Close(id))
    }

    /// The loop's counters.
    ///
    /// Cancel safety: nothing is lost.
    pub async fn stats(&self) -> Result<Stats> {
        self.with(|cx| cx.net.stats()).await
    }

    /// What wakes the loop, for code that knows nothing of async.
    pub fn waker(&self) -> &Waker {
        &self.shared.waker
    }

    /// Which handler runs now.
    pub fn observer(&self) -> &Observer {
        &self.shared.observer
    }

    /// Waits for the end of the loop, whoever stops it.
    ///
    /// Cancel safety: nothing is lost.
    pub async fn ended(&self) -> ShutdownReport {
        self.shared.ended().await
    }
}

pub(super) fn stopped() -> Error {
    Error::new(Kind::Stopped, "the manager has stopped")
}

impl<S: 'static> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl<S: 'static> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("running", &self.running()).finish_non_exhaustive()
    }
}

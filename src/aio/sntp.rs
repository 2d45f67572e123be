//! The time of others, as a future.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Event};
use crate::manager::Ctx;
use crate::manager::sntp::ClientOptions;
use crate::proto::sntp::{GivenUp, Sample};

use super::Handle;
use super::handle::stopped;

/// Asks a server for the time, when it is told to. A clone is the same client.
///
/// It obeys the kiss of death (RFC 5905 §7.4): a server that said DENY or RSTR is not asked again, one that said RATE not for a minute,
/// and twice as long each time that it says so again. To follow servers, use [`Net::sync_time`](crate::Net::sync_time).
///
/// ```
/// use vansire::AsyncManager;
/// use vansire::aio::SntpClient;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> vansire::Result<()> {
/// let manager = AsyncManager::builder(|| ()).start().await?;
/// # let server = manager.with(|cx| {
/// #     let id = cx.net.sntp_listen("sntp://127.0.0.1:0", |_: &mut vansire::Ctx<'_, ()>, _: vansire::Event<'_>| {})?;
/// #     Ok::<_, vansire::Error>(format!("sntp://{}", cx.net.local_addr(id).unwrap()))
/// # }).await??;
/// let client = SntpClient::new(&manager, server);
/// let sample = client.query().await?;
/// println!("the clock is off by {}", sample.offset);
/// # Ok(()) }
/// ```
pub struct SntpClient<S: 'static = ()> {
    handle: Handle<S>,
    options: ClientOptions,
    manners: Arc<Mutex<Manners>>,
}

/// What the server has asked of us.
#[derive(Default)]
struct Manners {
    denied: Option<GivenUp>,
    not_before: Option<Instant>,
    too_often: u32,
}

/// The pause that RATE asks for; it doubles up to a day and a half (RFC 5905 §7.3).
const PAUSE: Duration = Duration::from_secs(64);
const DOUBLINGS_MAX: u32 = 11;

impl<S: 'static> SntpClient<S> {
    /// A client on this loop, which has not asked yet. It does not keep the loop running.
    pub fn new(handle: &Handle<S>, server: impl Into<ClientOptions>) -> Self {
        Self { handle: handle.clone(), options: server.into().once(), manners: Arc::default() }
    }

    /// Asks once and waits for the answer.
    ///
    /// Fails when none comes that counts ([`is_timed_out`](Error::is_timed_out)), when the server cannot be reached, when it has said that
    /// it does not want to be asked ([`is_permission_denied`](Error::is_permission_denied)) or not yet ([`is_limit_reached`](Error::is_limit_reached)),
    /// and when the loop stops.
    ///
    /// Cancel safety: the socket is closed.
    pub async fn query(&self) -> Result<Sample> {
        self.manners().check(Instant::now())?;
        let (tell, told) = oneshot::channel();
        let mut tell = Some(tell);
        let handler = move |_: &mut Ctx<'_, S>, ev: Event<'_>| {
            let result = match ev {
                Event::SntpTime(sample) => Ok(sample),
                Event::Closed(reason) => Err(reason),
                _ => return,
            };
            // The end that follows an answer is of no interest.
            drop(tell.take().map(|tell| tell.send(result)));
        };
        let _conn = self.handle.sntp_connect(self.options.clone(), handler).await?;
        match told.await {
            Ok(Ok(sample)) => {
                self.manners().too_often = 0;
                Ok(sample)
            }
            Ok(Err(CloseReason::Connect(e))) => Err(e),
            Ok(Err(CloseReason::Stopped)) | Err(_) => Err(stopped()),
            Ok(Err(reason)) => Err(self.manners().heed(&reason, Instant::now())),
        }
    }

    fn manners(&self) -> MutexGuard<'_, Manners> {
        self.manners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manners {
    fn check(&self, now: Instant) -> Result<()> {
        if let Some(why) = self.denied {
            return Err(Error::new(Kind::PermissionDenied, format!("the time server is not asked again: {why}")));
        }
        match self.not_before.map(|at| at.saturating_duration_since(now)) {
            Some(left) if !left.is_zero() => {
                let why = format!("the time server is not asked for {} s: {}", left.as_secs() + 1, GivenUp::TooOften);
                Err(Error::new(Kind::LimitReached, why))
            }
            _ => Ok(()),
        }
    }

    /// What an end without an answer means, and asks for.
    fn heed(&mut self, reason: &CloseReason, now: Instant) -> Error {
        let is = |given_up: GivenUp| matches!(reason, CloseReason::Failed(why) if **why == *given_up.to_string());
        let kind = match reason {
            CloseReason::TimedOut(_) => Kind::TimedOut,
            _ if is(GivenUp::TooOften) => {
                self.not_before = now.checked_add(PAUSE * (1 << self.too_often.min(DOUBLINGS_MAX)));
                self.too_often = self.too_often.saturating_add(1);
                Kind::LimitReached
            }
            _ => match [GivenUp::Denied, GivenUp::Restricted].into_iter().find(|given_up| is(*given_up)) {
                Some(given_up) => {
                    self.denied = Some(given_up);
                    Kind::PermissionDenied
                }
                None => Kind::Gone,
            },
        };
        Error::new(kind, format!("the time server did not answer: {reason}"))
    }
}

impl<S: 'static> Clone for SntpClient<S> {
    fn clone(&self) -> Self {
        let Self { handle, options, manners } = self;
        Self { handle: handle.clone(), options: options.clone(), manners: Arc::clone(manners) }
    }
}

impl<S: 'static> fmt::Debug for SntpClient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SntpClient").field("options", &self.options).finish_non_exhaustive()
    }
}

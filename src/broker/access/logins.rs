//! Passwords that take long to check, on a thread of their own.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::mqtt::ReasonCode;

use super::passwords::Hash;
use super::{AccessToken, Answer, Denied};

/// The answers of [`FileAccess`](super::FileAccess) that come later: give each to [`Broker::answer`](crate::broker::Broker::answer).
///
/// A handle: clones are the same answers.
#[derive(Clone, Default)]
pub struct Answers(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    ready: VecDeque<(AccessToken, Answer)>,
    on_ready: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Answers {
    /// The next one, if it is there.
    pub fn next(&self) -> Option<(AccessToken, Answer)> {
        self.lock().ready.pop_front()
    }

    /// Calls back, on another thread, whenever there is one: wake the loop, and take it there.
    pub fn on_ready(&self, f: impl Fn() + Send + Sync + 'static) {
        self.lock().on_ready = Some(Arc::new(f));
    }

    fn put(&self, token: AccessToken, answer: Answer) {
        let mut shared = self.lock();
        shared.ready.push_back((token, answer));
        let on_ready = shared.on_ready.clone();
        // Not called under the lock: it may take the answer at once.
        drop(shared);
        if let Some(on_ready) = on_ready {
            on_ready();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").field("ready", &self.lock().ready.len()).finish_non_exhaustive()
    }
}

/// The thread and the queue in front of it. One thread: hashes that are slow on purpose should not take every core. It starts with the
/// first login that needs it, and ends when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Logins {
    pub(super) answers: Answers,
    queue: Option<SyncSender<Job>>,
}

/// A password to be checked, and what the client is told if it is wrong.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) token: AccessToken,
    pub(super) hash: Arc<Hash>,
    pub(super) password: Box<[u8]>,
    pub(super) denied: Denied,
}

impl Logins {
    /// Checks it elsewhere. Where too many wait already, the client is told that the server is busy.
    pub(super) fn check(&mut self, job: Job) -> Answer {
        if self.queue.is_none() {
            let (queue, jobs) = sync_channel(WAITING_MAX);
            let answers = self.answers.clone();
            let started = thread::Builder::new().name("vansire-logins".into()).spawn(move || run(&jobs, &answers));
            if let Err(e) = started {
                return busy(format!("the thread that checks passwords does not start: {e}"));
            }
            self.queue = Some(queue);
        }
        match self.queue.as_ref().map(|queue| queue.try_send(job)) {
            Some(Ok(())) => Answer::Later,
            Some(Err(TrySendError::Full(_))) => busy(format!("{WAITING_MAX} passwords wait to be checked")),
            Some(Err(TrySendError::Disconnected(_))) | None => {
                self.queue = None;
                busy("the thread that checks passwords has ended".into())
            }
        }
    }
}

fn run(jobs: &Receiver<Job>, answers: &Answers) {
    for job in jobs {
        let answer = if job.hash.verify(&job.password) { Answer::Allow } else { job.denied.into() };
        answers.put(job.token, answer);
    }
}

fn busy(rule: String) -> Answer {
    Denied { reason: ReasonCode::ServerBusy, rule: rule.into() }.into()
}

/// With argon2id as it is usual, what is done in one to three seconds: clients wait no longer.
const WAITING_MAX: usize = 64;

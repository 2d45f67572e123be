//! What other threads tell the loop: a queue, a flag and a wake.

#[cfg(feature = "async")]
use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, io};

use crate::error::{Error, Kind, Result};
use crate::id::{ConnId, Key, TimerId};

use super::mailbox::Mailbox;

/// A message to the loop.
pub(crate) enum Command {
    Wakeup {
        id: ConnId,
        bytes: Box<[u8]>,
    },
    Resolved {
        ticket: u64,
        result: io::Result<Vec<SocketAddr>>,
    },
    CancelTimer(TimerId),
    Stop,
    #[cfg(feature = "async")]
    Close(ConnId),
    #[cfg(feature = "async")]
    Run(Job),
    /// The same, by somebody who had to have a place for it.
    #[cfg(feature = "async")]
    RunInPlace(Job),
}

/// Something to be done with the manager, whose type only the job knows: the queue is the same for all.
#[cfg(feature = "async")]
pub(crate) type Job = Box<dyn FnOnce(&mut dyn Any) + Send>;

/// Wakes a manager from any thread: with bytes for one connection, or to stop.
///
/// Clones are cheap and may go anywhere. A call costs a system call only where the loop sleeps and nobody has woken it yet.
///
/// ```
/// use std::time::Duration;
/// use vansire::{Ctx, Event, Manager};
///
/// # fn main() -> vansire::Result<()> {
/// let mut manager = Manager::new(Vec::new())?;
/// let id = manager.net().listen("tcp://127.0.0.1:0", |cx: &mut Ctx<'_, Vec<u8>>, ev: Event<'_>| {
///     if let Event::Wakeup(bytes) = ev {
///         cx.state.extend_from_slice(bytes);
///     }
/// })?;
/// let waker = manager.waker();
/// std::thread::spawn(move || waker.wakeup(id, b"done")).join().unwrap()?;
/// manager.poll(Some(Duration::ZERO))?;
/// assert_eq!(manager.state(), b"done");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

/// The loop's end of the same queue.
pub(crate) struct Inbox {
    shared: Arc<Shared>,
}

struct Shared {
    mail: Mailbox<Queue>,
    waker: Option<mio::Waker>,
    bytes_max: usize,
    /// System calls made to wake the loop.
    wakes: AtomicU64,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    /// Payload bytes in `commands`.
    bytes: usize,
    /// The generation of the connection in each slot, zero where there is none: how `wakeup` knows who is gone.
    live: Vec<u32>,
    stopped: bool,
}

impl Waker {
    /// Queues bytes for a connection, which gets them as [`Event::Wakeup`](crate::Event::Wakeup): any size, in order,
    /// from any thread.
    ///
    /// `Ok` means queued. It reaches the handler unless the connection closes before its turn comes, which
    /// [`Stats::wakeups_missed`](crate::Stats) counts. Errors: [`is_gone`](Error::is_gone) (no such connection),
    /// [`is_limit_reached`](Error::is_limit_reached) (the queue holds `Limits::wakeup_bytes_max` bytes already: try
    /// later), [`is_stopped`](Error::is_stopped).
    pub fn wakeup(&self, id: ConnId, bytes: &[u8]) -> Result<()> {
        self.shared.put(|queue| {
            queue.check_running()?;
            if queue.live.get(id.0.index()) != Some(&id.0.generation()) {
                return Err(Error::new(Kind::Gone, format!("cannot wake connection {id}: it is closed")));
            }
            // An empty wakeup takes room as well, or a flood of them would have no bound.
            let cost = bytes.len() + COMMAND_COST;
            if cost > self.shared.bytes_max.saturating_sub(queue.bytes) {
                let max = self.shared.bytes_max;
                return Err(Error::new(
                    Kind::LimitReached,
                    format!("cannot wake connection {id}: {} bytes wait already, of at most {max}", queue.bytes),
                ));
            }
            queue.bytes += cost;
            queue.commands.push_back(Command::Wakeup { id, bytes: bytes.into() });
            Ok(())
        })
    }

    /// Cancels a timer from any thread. It may fire once more if its turn has begun.
    pub fn cancel(&self, id: TimerId) -> Result<()> {
        self.shared.push(Command::CancelTimer(id))
    }

    #[cfg(feature = "sim")]
    pub(crate) fn has_mail(&self) -> bool {
        self.shared.mail.has_mail()
    }

    /// Queues a command, without a bound: whoever calls has one.
    #[cfg(feature = "async")]
    pub(crate) fn push(&self, command: Command) -> Result<()> {
        self.shared.push(command)
    }

    /// Wakes the loop although it may have been woken already.
    #[cfg(feature = "async")]
    pub(crate) fn nudge(&self) {
        // It is a second try: there is nothing more to do when it fails.
        let _ = self.shared.wake();
    }

    /// Ends [`Manager::run`](crate::Manager::run) as a signal would: stop accepting, drain, close. A second call closes
    /// at once.
    pub fn stop(&self) -> Result<()> {
        self.shared.push(Command::Stop)
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(waker: Option<mio::Waker>, bytes_max: usize) -> Self {
        let shared = Shared { mail: Mailbox::new(Queue::default()), waker, bytes_max, wakes: AtomicU64::new(0) };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared) }
    }

    /// A way in for results of the loop's own threads.
    pub(crate) fn sender(&self) -> impl Fn(Command) + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move |command| {
            // A manager that has stopped waits for no result.
            let _ = shared.push(command);
        }
    }

    pub(crate) fn has_mail(&self) -> bool {
        self.shared.mail.has_mail()
    }

    /// System calls made to wake the loop so far.
    pub(crate) fn wakes(&self) -> u64 {
        self.shared.wakes.load(Ordering::Relaxed)
    }

    /// The loop may sleep after this, unless it [has mail](Self::has_mail): whoever has some for it wakes it.
    pub(crate) fn rest(&self) {
        self.shared.mail.rest();
    }

    /// Swaps what is queued with `into`, which must be empty. Until [`rest`](Self::rest), mail wakes nobody.
    pub(crate) fn drain(&self, into: &mut VecDeque<Command>) {
        self.shared.mail.take(|queue| {
            std::mem::swap(&mut queue.commands, into);
            queue.bytes = 0;
        });
    }

    pub(crate) fn opened(&self, key: Key) {
        let mut queue = self.shared.mail.lock();
        if key.index() >= queue.live.len() {
            queue.live.resize(key.index() + 1, 0);
        }
        queue.live[key.index()] = key.generation();
    }

    pub(crate) fn closed(&self, key: Key) {
        if let Some(generation) = self.shared.mail.lock().live.get_mut(key.index()) {
            *generation = 0;
        }
    }

    /// Takes no more commands, and gives back those that wait: what is dropped with them may be the user's.
    pub(crate) fn stop(&self) -> VecDeque<Command> {
        let mut queue = self.shared.mail.lock();
        queue.stopped = true;
        queue.live = Vec::new();
        std::mem::take(&mut queue.commands)
    }
}

/// What a queued command is taken to cost beside its payload.
const COMMAND_COST: usize = 64;

impl Shared {
    fn put(&self, change: impl FnOnce(&mut Queue) -> Result<()>) -> Result<()> {
        self.mail.put(change, || self.wake())
    }

    fn push(&self, command: Command) -> Result<()> {
        // What is not taken is dropped without the lock: it may be the user's, and call us again.
        let mut command = Some(command);
        self.put(|queue| {
            queue.check_running()?;
            queue.commands.extend(command.take());
            Ok(())
        })
    }

    fn wake(&self) -> Result<()> {
        match &self.waker {
            Some(waker) => {
                self.wakes.fetch_add(1, Ordering::Relaxed);
                waker.wake().map_err(|e| Error::io("cannot wake the loop", e))
            }
            None => Ok(()),
        }
    }
}

impl Queue {
    fn check_running(&self) -> Result<()> {
        if self.stopped { Err(Error::new(Kind::Stopped, "the manager has stopped")) } else { Ok(()) }
    }
}

//! What other threads tell the loop: a queue, a flag and a wake.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use crate::error::{Error, Kind, Result};
use crate::id::{ConnId, Key, TimerId};

/// A message to the loop.
#[derive(Debug)]
pub(crate) enum Command {
    Wakeup { id: ConnId, bytes: Box<[u8]> },
    Resolved { ticket: u64, result: io::Result<Vec<SocketAddr>> },
    CancelTimer(TimerId),
    Stop,
}

/// Wakes a manager from any thread: with bytes for one connection, or to stop.
///
/// Clones are cheap and may go anywhere. A burst of calls between two turns costs one system call.
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
    queue: Mutex<Queue>,
    /// Set by the first producer after a drain, who alone makes the system call.
    woken: AtomicBool,
    waker: Option<mio::Waker>,
    bytes_max: usize,
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
        let mut queue = self.shared.lock();
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
        drop(queue);
        self.shared.wake()
    }

    /// Cancels a timer from any thread. It may fire once more if its turn has begun.
    pub fn cancel(&self, id: TimerId) -> Result<()> {
        self.shared.push(Command::CancelTimer(id))
    }

    #[cfg(feature = "sim")]
    pub(crate) fn has_mail(&self) -> bool {
        self.shared.woken.load(Ordering::Acquire)
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
        let shared = Shared { queue: Mutex::default(), woken: AtomicBool::new(false), waker, bytes_max };
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
        self.shared.woken.load(Ordering::Acquire)
    }

    /// Swaps what is queued with `into`, which must be empty.
    pub(crate) fn drain(&self, into: &mut VecDeque<Command>) {
        // The flag falls before the queue is looked at: whoever pushes after that wakes again. The other order would
        // lose the wake of a push between the two.
        if self.shared.woken.swap(false, Ordering::AcqRel) {
            let mut queue = self.shared.lock();
            std::mem::swap(&mut queue.commands, into);
            queue.bytes = 0;
        }
    }

    pub(crate) fn opened(&self, key: Key) {
        let mut queue = self.shared.lock();
        if key.index() >= queue.live.len() {
            queue.live.resize(key.index() + 1, 0);
        }
        queue.live[key.index()] = key.generation();
    }

    pub(crate) fn closed(&self, key: Key) {
        if let Some(generation) = self.shared.lock().live.get_mut(key.index()) {
            *generation = 0;
        }
    }

    /// Takes no more commands, and forgets those that wait: says how many wakeups were among them.
    pub(crate) fn stop(&self) -> u64 {
        let mut queue = self.shared.lock();
        queue.stopped = true;
        let commands = std::mem::take(&mut queue.commands);
        queue.live = Vec::new();
        commands.iter().filter(|command| matches!(command, Command::Wakeup { .. })).count() as u64
    }
}

/// What a queued command is taken to cost beside its payload.
const COMMAND_COST: usize = 64;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, command: Command) -> Result<()> {
        let mut queue = self.lock();
        queue.check_running()?;
        queue.commands.push_back(command);
        drop(queue);
        self.wake()
    }

    fn wake(&self) -> Result<()> {
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Some(waker) = &self.waker
        {
            return waker.wake().map_err(|e| Error::io("cannot wake the loop", e));
        }
        Ok(())
    }
}

impl Queue {
    fn check_running(&self) -> Result<()> {
        if self.stopped { Err(Error::new(Kind::Stopped, "the manager has stopped")) } else { Ok(()) }
    }
}

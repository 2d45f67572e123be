//! Driving managers through simulated time.

use std::fmt;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

use super::Sim;

/// What [`Sim::run`] drives: a manager, or something with a manager inside.
pub trait Pollable {
    /// Does what there is to do, without waiting.
    fn turn(&mut self) -> Result<()>;
    /// There is something to do at once.
    fn has_work(&self) -> bool;
    /// When there will be, at the latest.
    fn next_deadline(&self) -> Option<Instant>;
}

/// Why a run did not come to its end. Names the seed, and the time that it was.
#[derive(Debug, Clone)]
pub struct Failure {
    seed: u64,
    at: Duration,
    why: Why,
}

#[derive(Debug, Clone)]
enum Why {
    Stuck,
    TooLong(Duration),
    NoTimePasses,
    TooManyTurns,
    Poll(Error),
}

/// Turns within one moment that nobody needs: a body of 60,000 bytes, one by one and without latency, takes a tenth of it.
const TURNS_MAX: u32 = 1_000_000;
/// Turns that no test needs.
const ALL_TURNS_MAX: u32 = 10_000_000;

impl Sim {
    /// Polls the managers until `until` says true. While none has anything to do, time jumps to the next thing that
    /// happens.
    ///
    /// Fails when nothing is left to happen and `until` still says false, when more time than `limit` has passed, when time
    /// stands still for ever because somebody always has something to do, after ten million turns, and when a poll fails.
    pub fn run(
        &self,
        managers: &mut [&mut dyn Pollable],
        mut until: impl FnMut() -> bool,
        limit: Duration,
    ) -> std::result::Result<(), Failure> {
        let failed = |why| Failure { seed: self.seed(), at: self.elapsed(), why };
        let end = self.elapsed().saturating_add(limit);
        let mut turns = 0;
        let mut all_turns = 0;
        loop {
            if until() {
                return Ok(());
            }
            let before = self.elapsed();
            self.do_due();
            for manager in managers.iter_mut() {
                manager.turn().map_err(|e| failed(Why::Poll(e)))?;
            }
            if self.elapsed() > end {
                return Err(failed(Why::TooLong(limit)));
            }
            turns = if self.elapsed() > before { 0 } else { turns + 1 };
            if turns > TURNS_MAX {
                return Err(failed(Why::NoTimePasses));
            }
            all_turns += 1;
            if all_turns > ALL_TURNS_MAX {
                return Err(failed(Why::TooManyTurns));
            }
            if managers.iter().any(|manager| manager.has_work()) {
                continue;
            }
            if until() {
                return Ok(());
            }
            let deadline = managers.iter().filter_map(|manager| manager.next_deadline()).min();
            let deadline = deadline.map(|at| at.saturating_duration_since(self.epoch()));
            if self.world().next_at().into_iter().chain(deadline).min().is_some_and(|at| at > end) {
                return Err(failed(Why::TooLong(limit)));
            }
            let before = self.elapsed();
            if !self.wait_until(deadline) {
                return Err(failed(Why::Stuck));
            }
            if self.elapsed() > before {
                turns = 0;
            }
        }
    }

    /// Polls the managers for this long.
    pub fn run_for(&self, managers: &mut [&mut dyn Pollable], time: Duration) -> std::result::Result<(), Failure> {
        let over = std::rc::Rc::new(std::cell::Cell::new(false));
        let is_over = over.clone();
        self.after(time, move |_| is_over.set(true));
        self.run(managers, || over.get(), Duration::MAX)
    }
}

impl Failure {
    /// Nothing was left to happen: no segment on its way, no timer, no deadline.
    pub fn is_stuck(&self) -> bool {
        matches!(self.why, Why::Stuck)
    }

    /// The limit passed.
    pub fn is_too_long(&self) -> bool {
        matches!(self.why, Why::TooLong(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIM_SEED={}, after {:?}: ", self.seed, self.at)?;
        match &self.why {
            Why::Stuck => f.write_str("nothing is left to happen, and the run is not at its end"),
            Why::TooLong(limit) => write!(f, "the run is not at its end within {limit:?}"),
            Why::NoTimePasses => write!(f, "time stands still for {TURNS_MAX} turns"),
            Why::TooManyTurns => write!(f, "the run is not at its end after {ALL_TURNS_MAX} turns"),
            Why::Poll(e) => write!(f, "a poll failed: {e}"),
        }
    }
}

impl std::error::Error for Failure {}

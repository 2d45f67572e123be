//! A world with everything in it: one manager that serves HTTP, MQTT, SNTP and datagrams, looks names up and keeps timers, all at
//! once, for clients of all kinds, on a network that fails. A seed decides what happens; whatever that is, the promises hold.
//!
//! [`Schedule::of`] makes a plan of a seed: a list of [`Step`]s, each of which says on its own what it does. [`play`](fn@play) plays a plan
//! and judges it, [`shrink`](fn@shrink) leaves out of one that fails what the failure does not need. `vansire sim` is the program for it.
//!
//! Not a part of the library's promise: it may change in any release.

pub mod http;
mod lives;
pub mod mqtt;
mod pace;
mod play;
mod schedule;
mod shrink;
mod sides;
mod story;
mod wire;

use std::time::Duration;

use crate::sim::Rng;

pub use self::lives::Lives;
pub use self::pace::Pace;
pub use self::play::play;
pub use self::schedule::{Schedule, Step, What};
pub use self::shrink::shrink;
pub use self::story::{Failure, Line, Promise, Summary, Teller};

/// What a scenario ends with: nothing, or what did not hold.
pub type Outcome = Result<(), String>;

/// Where a run is taken to be hung: no scenario needs as much simulated time.
pub const FOREVER: Duration = Duration::from_secs(6 * 3600);

/// What a handler panics with on purpose.
pub const PLANNED: &str = "planned by the simulation";

/// A time below `ms` milliseconds.
pub fn up_to(rng: &mut Rng, ms: u64) -> Duration {
    rng.time(&(Duration::ZERO..Duration::from_millis(ms)))
}

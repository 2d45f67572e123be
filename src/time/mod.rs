//! The clock, the timers' heap and the cached date. Nothing else in the crate asks the system what time it is.

mod clock;
#[cfg(feature = "http")]
mod date;
mod deadlines;
#[cfg(feature = "sntp")]
mod wall;

pub use clock::ManualClock;
#[cfg(feature = "sim")]
pub(crate) use clock::Y2K;
pub(crate) use clock::{Clock, Moment};
#[cfg(feature = "http")]
pub(crate) use date::DateCache;
pub(crate) use deadlines::{Deadlines, Owner};
#[cfg(feature = "sntp")]
pub(crate) use wall::Wall;

//! When somebody acts who is in no hurry, and how much he takes at a time.

use std::cell::Cell;
use std::time::Duration;

use crate::sim::Rng;

use super::up_to;

/// Acts at random times: the later the longer nothing happens, and fast once it has taken long enough.
#[derive(Debug)]
pub struct Pace {
    /// How often it takes what has come; a slow one fills the buffers.
    eager: f64,
    /// Milliseconds that it waits at most; more while nothing happens.
    most: u64,
    idle: Cell<u32>,
    acts: Cell<u32>,
}

/// After so many acts it is in a hurry.
const PATIENCE: u32 = 300;

impl Pace {
    /// One of these: how often it takes what has come, and how many milliseconds it waits.
    pub fn pick(rng: &mut Rng, eager: &[f64], most: &[u64]) -> Self {
        Self { eager: *rng.pick(eager), most: *rng.pick(most), idle: Cell::new(0), acts: Cell::new(0) }
    }

    /// How long until it acts again.
    pub fn wait(&self, rng: &mut Rng) -> Duration {
        up_to(rng, (self.most + 1) << self.idle.get().min(7))
    }

    /// It acts; whether anything has come for it.
    pub fn acts(&self, has_come: bool) {
        self.idle.set(if has_come { 0 } else { self.idle.get() + 1 });
        self.acts.set(self.acts.get() + 1);
    }

    /// It has done something, and so something may happen.
    pub fn is_busy(&self) {
        self.idle.set(0);
    }

    /// How many bytes it takes now, at most.
    pub fn takes(&self, rng: &mut Rng) -> Option<usize> {
        if self.acts.get() > PATIENCE {
            return Some(usize::MAX);
        }
        rng.chance(self.eager).then(|| if rng.chance(0.5) { usize::MAX } else { rng.below(2000) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_long_waits_longer_and_then_takes_all() {
        let rng = &mut Rng::new(1);
        let pace = Pace::pick(rng, &[0.0], &[9]);
        let longest = |pace: &Pace, rng: &mut Rng| (0..1000).map(|_| pace.wait(rng)).max().unwrap_or_default();
        assert!(longest(&pace, rng) < Duration::from_millis(10));
        (0..5).for_each(|_| pace.acts(false));
        assert!(longest(&pace, rng) > Duration::from_millis(160));
        assert_eq!(pace.takes(rng), None);
        pace.is_busy();
        assert!(longest(&pace, rng) < Duration::from_millis(10));
        (0..PATIENCE).for_each(|_| pace.acts(true));
        assert_eq!(pace.takes(rng), Some(usize::MAX));
    }
}

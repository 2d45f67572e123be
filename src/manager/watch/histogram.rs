//! How long something took, many times: counts in log-linear buckets.

use std::fmt;
use std::time::Duration;

/// Times in buckets that are an eighth of their octave wide: what is read from them is at most 12.5 % too large, never too
/// small. From 1 us to 68 s, with everything shorter in the first and everything longer in the last; 1.7 KB.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    count: u64,
    sum: Duration,
    max: Duration,
}

/// Buckets of an octave, as a power of two.
const FINE: u32 = 3;
/// The first octave begins at 2^10 ns, the last one ends at 2^36 ns.
const FIRST: u32 = 10;
const LAST: u32 = 36;
const BUCKETS: usize = ((LAST - FIRST) << FINE) as usize;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: Box::new([0; BUCKETS]), count: 0, sum: Duration::ZERO, max: Duration::ZERO }
    }

    /// Counts a time, as one of `weight` like it.
    pub(crate) fn record(&mut self, time: Duration, weight: u32) {
        if let Some(bucket) = self.counts.get_mut(bucket(time)) {
            *bucket = bucket.saturating_add(u64::from(weight));
        }
        self.count = self.count.saturating_add(u64::from(weight));
        self.sum = self.sum.saturating_add(time.saturating_mul(weight));
        self.max = self.max.max(time);
    }

    /// How many times.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The longest, exactly.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// What `percent` of them did not exceed: the end of their bucket. Zero where there is none.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (self.count as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0u64;
        let place = self.buckets().find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= rank
        });
        // The end of the last bucket in use may lie beyond what was ever seen, or before it.
        place.filter(|_| seen < self.count).map_or(self.max, |(end, _)| end)
    }

    /// The buckets in use, shortest first: where each ends, and how many times are in it.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(|(index, count)| (end(index), *count))
    }
}

fn bucket(time: Duration) -> usize {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).clamp(1 << FIRST, (1 << LAST) - 1);
    let octave = nanos.ilog2();
    // The bits below the first one.
    let fine = (nanos >> (octave - FINE)) - (1 << FINE);
    (((octave - FIRST) << FINE) as usize) + fine as usize
}

/// Where a bucket ends: the first time that is in the next.
fn end(index: usize) -> Duration {
    let (octave, fine) = (index as u32 >> FINE, (index as u64) & ((1 << FINE) - 1));
    Duration::from_nanos(((1 << FINE) + fine + 1) << (octave + FIRST - FINE))
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.percentile(50.0), self.percentile(99.0));
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("p50", &p50)
            .field("p99", &p99)
            .field("max", &self.max)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever it is, its bucket ends behind it, and not far behind.
        #[test]
        fn a_time_is_told_to_an_eighth(nanos in 0..u64::MAX) {
            let end = end(bucket(Duration::from_nanos(nanos)));
            let (end, exact) = (end.as_nanos() as u64, nanos.clamp(1 << FIRST, (1 << LAST) - 1));
            prop_assert!(end > exact && end - exact <= exact / 8 + 1, "{exact} ns: up to {end}");
        }
    }

    #[test]
    fn buckets_lie_end_to_end() {
        for index in 0..BUCKETS {
            let begin = if index == 0 { Duration::from_nanos(1 << FIRST) } else { end(index - 1) };
            assert_eq!(bucket(begin), index);
            assert_eq!(bucket(end(index) - Duration::from_nanos(1)), index);
        }
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn percentiles_are_of_all_that_was_counted() {
        let ms = Duration::from_millis;
        let mut histogram = Histogram::new();
        assert_eq!((histogram.percentile(99.0), histogram.max()), (Duration::ZERO, Duration::ZERO));
        histogram.record(ms(1), 98);
        histogram.record(ms(50), 1);
        histogram.record(ms(700), 1);
        assert_eq!((histogram.count(), histogram.sum()), (100, ms(98 + 50 + 700)));
        // (percent, at least, at most)
        for (percent, least, most) in [
            (0.0, ms(1), ms(2)),
            (50.0, ms(1), ms(2)),
            (98.0, ms(1), ms(2)),
            (99.0, ms(50), ms(57)),
            (99.5, ms(700), ms(700)),
            (100.0, ms(700), ms(700)),
        ] {
            let time = histogram.percentile(percent);
            assert!(time >= least && time <= most, "{percent} %: {time:?}");
        }
        assert_eq!(histogram.buckets().map(|(_, count)| count).collect::<Vec<_>>(), [98, 1, 1]);
        assert_eq!(histogram.max(), ms(700));
    }
}

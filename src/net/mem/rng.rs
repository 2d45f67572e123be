//! Random numbers that a seed decides.

use std::ops::Range;
use std::time::Duration;

/// A small generator (xoshiro256++, seeded by splitmix64): the same seed gives the same numbers on every machine. Not for
/// secrets.
///
/// ```
/// use vansire::sim::Rng;
///
/// let (mut a, mut b) = (Rng::new(7), Rng::new(7));
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert!(a.below(6) < 6);
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        let mut word = seed;
        let state = std::array::from_fn(|_| {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The bias of a multiplication is n / 2^64.
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// A number of the range; its start when it is empty.
    pub fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// A time of the range; its start when it is empty.
    pub fn time(&mut self, range: &Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start).as_nanos().min(usize::MAX as u128) as usize;
        range.start + Duration::from_nanos(self.below(width) as u64)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // Without a fault there is no number drawn: switching one fault on does not change where the others strike.
        probability > 0.0 && ((self.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// One of the items, which may not be none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// This many random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next_u64() >> 56) as u8).collect()
    }

    /// Puts the items into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// Another generator, which this one's numbers decide.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_within_their_bounds_and_reach_them() {
        let mut rng = Rng::new(1);
        let mut seen = [0; 6];
        for _ in 0..600 {
            seen[rng.below(6)] += 1;
        }
        assert!(seen.iter().all(|n| (50..150).contains(n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        let range = Duration::from_millis(3)..Duration::from_millis(5);
        assert!((0..100).all(|_| range.contains(&rng.time(&range))));
        assert_eq!(rng.time(&(Duration::ZERO..Duration::ZERO)), Duration::ZERO);
        let hits = (0..1000).filter(|_| rng.chance(0.25)).count();
        assert!((200..300).contains(&hits), "{hits}");
        assert!(rng.chance(1.0) && !rng.chance(0.0));
    }

    #[test]
    fn the_sequence_is_the_same_everywhere() {
        // xoshiro256++ 1.0 from the state that splitmix64 makes of 0, as its authors' reference code gives them.
        let mut rng = Rng::new(0);
        assert_eq!(rng.state[0], 0xe220_a839_7b1d_cdaf);
        assert_eq!([rng.next_u64(), rng.next_u64()], [0x53175d61490b23df, 0x61da6f3dc380d507]);
    }
}

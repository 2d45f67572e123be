//! A hash table of numbers, for things that live in a vector and are found by a name.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Numbers by the hash of what they stand for; that itself is for the caller to compare.
///
/// Open addressing with linear probing. A slot has a number and all of its hash, eight bytes, so that hardly ever a wrong thing is
/// looked at.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    slots: Vec<Slot>,
    len: usize,
    keys: HashKeys,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    at: u32,
    hash: u32,
}

/// Stands in an empty slot, so it can be no number.
const NONE: u32 = u32::MAX;
const EMPTY: Slot = Slot { at: NONE, hash: 0 };

/// Secret, so that nobody can choose names that collide.
#[derive(Debug, Clone)]
pub(crate) struct HashKeys([u64; 2]);

impl HashKeys {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0), random.hash_one(1) | 1])
    }

    /// A keyed hash by folded multiplication: names are short, and this costs a few cycles for eight bytes.
    #[inline]
    pub(crate) fn hash(&self, salt: u32, name: &[u8]) -> u32 {
        let [first, second] = self.0;
        let mut hash = first ^ u64::from(salt);
        let (words, _) = name.as_chunks::<8>();
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word), second);
        }
        // The length changes the factor: added to the word it could be made up for by other bytes.
        hash = fold(hash ^ last_word(name), second ^ (name.len() as u64) << 1);
        (fold(hash, first | 1) >> 32) as u32
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// All bytes of a name of up to eight, and the last eight of a longer one.
#[inline]
fn last_word(name: &[u8]) -> u64 {
    if let Some(word) = name.last_chunk::<8>() {
        return u64::from_le_bytes(*word);
    }
    if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        return u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
    }
    name.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), len: 0, keys: HashKeys::new() }
    }

    /// The bytes that it holds.
    pub(crate) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// The hash of a name; the same name under another salt is another one.
    #[inline]
    pub(crate) fn hash(&self, salt: u32, name: &[u8]) -> u32 {
        self.keys.hash(salt, name)
    }

    /// Which of the numbers with this hash it is.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots.get(at)?;
            if slot.at == NONE {
                return None;
            }
            if slot.hash == hash && is_it(slot.at) {
                return Some(slot.at);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a number that is not there.
    pub(crate) fn insert(&mut self, hash: u32, number: u32) {
        // At most 7/8 full, so that a search meets an empty slot soon.
        if (self.len + 1) * 8 > self.slots.len() * 7 {
            self.resize((self.slots.len() * 2).max(8));
        }
        self.place(Slot { at: number, hash });
        self.len += 1;
    }

    fn place(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].at != NONE {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    pub(crate) fn remove(&mut self, hash: u32, number: u32) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(slot) = self.slots.get(at)
            && slot.at != NONE
        {
            if slot.at == number {
                self.close_gap(at, mask);
                self.len -= 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Moves those behind a removed slot forward that would not be found any more.
    fn close_gap(&mut self, mut gap: usize, mask: usize) {
        let mut at = (gap + 1) & mask;
        while self.slots[at].at != NONE {
            let home = self.slots[at].hash as usize & mask;
            // How far it is from its home, and from the gap, going round.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
            at = (at + 1) & mask;
        }
        self.slots[gap] = EMPTY;
    }

    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        old.into_iter().filter(|slot| slot.at != NONE).for_each(|slot| self.place(slot));
    }

    /// Empties it, with room for so many.
    pub(crate) fn clear(&mut self, numbers: usize) {
        self.len = 0;
        self.slots = vec![EMPTY; (numbers * 8 / 7 + 1).next_power_of_two().max(8)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn names_of_every_length_differ_in_every_byte() {
        let keys = HashKeys::new();
        let mut seen = HashMap::new();
        for len in 0..40 {
            let name = vec![b'a'; len];
            seen.entry(keys.hash(0, &name)).or_insert_with(Vec::new).push(name.clone());
            for at in 0..len {
                for byte in [b'b', b'c', b'a' ^ 128] {
                    let mut other = name.clone();
                    other[at] = byte;
                    seen.entry(keys.hash(0, &other)).or_insert_with(Vec::new).push(other);
                }
            }
        }
        // Of 2,380 hashes with 32 bits two are the same once in 1,500 runs.
        let same = seen.values().filter(|names| names.len() > 1).count();
        assert!(same <= 2, "{same} hashes are those of several names");
        assert_ne!(keys.hash(0, b"a"), keys.hash(1, b"a"));
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_the_standard_library(steps in proptest::collection::vec((0..2u8, 0..40u32), 0..300)) {
            let (mut index, mut map) = (Index::new(), HashMap::new());
            // Few hashes, so that numbers collide.
            let hash = |number: u32| number % 11;
            for (what, number) in steps {
                let there = index.find(hash(number), |at| at == number);
                assert_eq!(there, map.get(&number).copied());
                match what {
                    0 if there.is_none() => {
                        index.insert(hash(number), number);
                        map.insert(number, number);
                    }
                    1 => {
                        index.remove(hash(number), number);
                        map.remove(&number);
                    }
                    _ => {}
                }
                assert_eq!(index.len, map.len());
            }
            for number in 0..40 {
                assert_eq!(index.find(hash(number), |at| at == number), map.get(&number).copied());
            }
        }
    }
}

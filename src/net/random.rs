//! Random bits that nobody can guess.

use std::hash::{BuildHasher, RandomState};

/// Bits from the system. One that has none to give to programs still has seeded the keys of our hash tables with some.
pub(crate) fn bits() -> u64 {
    getrandom::u64().unwrap_or_else(|_| RandomState::new().hash_one(0x76_616e_7369_7265u64))
}

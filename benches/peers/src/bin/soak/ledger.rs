//! What has to be true: counted by the clients, and compared with what the server has counted.

use std::cell::{Cell, RefCell};

/// What the clients have done, and had done to them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// HTTP requests whose answer came, and was right.
    pub(crate) answered: Cell<u64>,
    /// Questions about the time that were answered.
    pub(crate) told: Cell<u64>,
    /// Messages that the broker was sent, wills included.
    pub(crate) published: Cell<u64>,
    /// Those times their receivers.
    pub(crate) routed: Cell<u64>,
    /// Those that have arrived.
    pub(crate) delivered: Cell<u64>,
    /// Those that must have been dropped, for each reason.
    pub(crate) slow: Cell<u64>,
    pub(crate) queue_full: Cell<u64>,
    pub(crate) too_large: Cell<u64>,
    pub(crate) expired: Cell<u64>,
    pub(crate) session_ended: Cell<u64>,
    /// Messages of QoS 1 that came again after a lost connection.
    pub(crate) again: Cell<u64>,
    /// Wills among what was published.
    pub(crate) wills: Cell<u64>,
    /// MQTT connections made, and cut off.
    pub(crate) connects: Cell<u64>,
    pub(crate) cuts: Cell<u64>,
    /// Promises that were not kept.
    broken: RefCell<Vec<String>>,
}

pub(crate) fn add(to: &Cell<u64>, n: u64) {
    to.set(to.get() + n);
}

pub(crate) fn add_all(to: &[&Cell<u64>], n: u64) {
    to.iter().for_each(|count| add(count, n));
}

/// More of them say no more.
const SHOWN: usize = 30;

impl Ledger {
    /// A promise was not kept.
    pub(crate) fn broken(&self, what: impl Into<String>) {
        let what = what.into();
        eprintln!("broken: {what}");
        let mut broken = self.broken.borrow_mut();
        if broken.len() < SHOWN {
            broken.push(what);
        }
    }

    /// Notes a difference between what is and what has to be.
    pub(crate) fn same<T: PartialEq + std::fmt::Debug>(&self, what: &str, is: T, has_to_be: T) {
        if is != has_to_be {
            self.broken(format!("{what}: {is:?}, and has to be {has_to_be:?}"));
        }
    }

    pub(crate) fn take_broken(&self) -> Vec<String> {
        self.broken.take()
    }
}

/// Which numbers of a row have come: each once, or, where that is allowed, again.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// All below have.
    next: u64,
    /// And these.
    ahead: std::collections::BTreeSet<u64>,
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    /// The next one.
    Next,
    /// A new one, but others are missing before it.
    Early,
    /// It has come before.
    Again,
}

impl Row {
    pub(crate) fn take(&mut self, number: u64) -> Number {
        if number < self.next || self.ahead.contains(&number) {
            return Number::Again;
        }
        if number > self.next {
            self.ahead.insert(number);
            return Number::Early;
        }
        self.next += 1;
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
        Number::Next
    }

    /// Up to where there is no gap.
    pub(crate) fn whole(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_knows_gaps_and_repetitions() {
        let mut row = Row::default();
        for (number, what, whole) in [
            (0, Number::Next, 1),
            (0, Number::Again, 1),
            (3, Number::Early, 1),
            (3, Number::Again, 1),
            (2, Number::Early, 1),
            (1, Number::Next, 4),
            (2, Number::Again, 4),
        ] {
            assert_eq!((row.take(number), row.whole()), (what, whole), "{number}");
        }
    }
}

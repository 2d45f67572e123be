//! One deadline for each connection and each timer: a binary heap with back-pointers.

use super::Moment;

/// Whose deadline it is: a slot of the connection table, or of the timer table, or all that is being looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Conn(usize),
    Timer(usize),
    Names,
}

/// Deadlines in the order in which they fall due; equal ones in the order in which they were set.
///
/// `set` and `cancel` are O(log n) and leave no garbage behind; the next one is there to read. An owner costs 20 bytes.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<Entry>,
    /// Where an owner stands in the heap, by its slot: `[connections, timers]`.
    places: [Vec<u32>; 2],
    order: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Moment,
    order: u32,
    owner: u32,
}

/// A point in the order in which deadlines are set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u32);

const NOWHERE: u32 = u32::MAX;
/// The bit of `Entry::owner` that says "timer".
const TIMER: u32 = 1 << 31;

impl Deadlines {
    pub(crate) fn next(&self) -> Option<Moment> {
        self.heap.first().map(|entry| entry.at)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Tells deadlines set before now from those set after it: see [`pop_due`](Self::pop_due).
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.order)
    }

    /// Sets or moves the owner's deadline.
    pub(crate) fn set(&mut self, owner: Owner, at: Moment) {
        let code = encode(owner);
        let order = self.order;
        self.order = order.wrapping_add(1);
        let entry = Entry { at, order, owner: code };
        match self.place(code) {
            NOWHERE => {
                self.heap.push(entry);
                self.up(self.heap.len() - 1);
            }
            place => {
                let place = place as usize;
                self.heap[place] = entry;
                self.up(place);
                let place = self.place(code) as usize;
                self.down(place);
            }
        }
    }

    /// Takes the owner's deadline away, if it has one.
    pub(crate) fn cancel(&mut self, owner: Owner) {
        let code = encode(owner);
        let place = self.place(code);
        if place != NOWHERE {
            self.remove(place as usize);
        }
    }

    /// Takes the first deadline out that is due at `now` and was set before `mark`. What is set after it is never due
    /// before `now`, so nothing older hides behind it.
    pub(crate) fn pop_due(&mut self, now: Moment, mark: Mark) -> Option<Owner> {
        let first = *self.heap.first()?;
        // Counted from the mark, not compared with it: an old deadline, whose order the others have passed half-way round,
        // is not new.
        let is_new = first.order.wrapping_sub(mark.0) < self.order.wrapping_sub(mark.0);
        if first.at > now || is_new {
            return None;
        }
        self.remove(0);
        Some(decode(first.owner))
    }

    fn remove(&mut self, place: usize) {
        let gone = self.heap.swap_remove(place);
        self.set_place(gone.owner, NOWHERE);
        if place < self.heap.len() {
            self.set_place(self.heap[place].owner, place as u32);
            self.up(place);
            self.down(place);
        }
    }

    fn up(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 2;
            if before(self.heap[parent], entry) {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    fn down(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let left = 2 * place + 1;
            let Some(&first) = self.heap.get(left) else { break };
            let (child, least) = match self.heap.get(left + 1) {
                Some(&second) if before(second, first) => (left + 1, second),
                _ => (left, first),
            };
            if before(entry, least) {
                break;
            }
            self.put(place, least);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.set_place(entry.owner, place as u32);
    }

    fn place(&self, code: u32) -> u32 {
        let (kind, slot) = split(code);
        self.places[kind].get(slot).copied().unwrap_or(NOWHERE)
    }

    fn set_place(&mut self, code: u32, place: u32) {
        let (kind, slot) = split(code);
        let places = &mut self.places[kind];
        if slot >= places.len() {
            places.resize(slot + 1, NOWHERE);
        }
        places[slot] = place;
    }
}

fn before(a: Entry, b: Entry) -> bool {
    a.at < b.at || (a.at == b.at && is_earlier(a.order, b.order))
}

/// The order wraps after four thousand million deadlines: compare by distance.
fn is_earlier(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn encode(owner: Owner) -> u32 {
    match owner {
        Owner::Conn(slot) => slot as u32,
        // The first place among the timers is nobody's.
        Owner::Timer(slot) => (slot as u32 + 1) | TIMER,
        Owner::Names => TIMER,
    }
}

fn decode(code: u32) -> Owner {
    match (code & TIMER, code & !TIMER) {
        (0, slot) => Owner::Conn(slot as usize),
        (_, 0) => Owner::Names,
        (_, slot) => Owner::Timer(slot as usize - 1),
    }
}

fn split(code: u32) -> (usize, usize) {
    ((code >> 31) as usize, (code & !TIMER) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: u64) -> Moment {
        Moment::START.after(Duration::from_millis(ms))
    }

    #[test]
    fn equal_deadlines_come_in_the_order_they_were_set() {
        let mut deadlines = Deadlines::default();
        for slot in 0..100 {
            deadlines.set(Owner::Timer(slot), at(7));
        }
        let order: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(at(7), deadlines.mark())).collect();
        assert_eq!(order, (0..100).map(Owner::Timer).collect::<Vec<_>>());
    }

    #[test]
    fn a_deadline_falls_due_however_many_were_set_since() {
        for since in [1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, u32::MAX - 1] {
            let mut deadlines = Deadlines::default();
            deadlines.set(Owner::Timer(1), at(7));
            deadlines.order = deadlines.order.wrapping_add(since);
            let mark = deadlines.mark();
            deadlines.set(Owner::Timer(2), at(8));
            assert_eq!(deadlines.next(), Some(at(7)), "{since}");
            let due: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(at(8), mark)).collect();
            assert_eq!(due, [Owner::Timer(1)], "{since}");
            assert_eq!(deadlines.pop_due(at(8), deadlines.mark()), Some(Owner::Timer(2)), "{since}");
        }
    }

    #[test]
    fn what_comes_out_is_what_a_sorted_list_would_give() {
        // A fixed linear congruential sequence drives set, move, cancel and pop against a model.
        let mut seed = 7u64;
        let mut next = move |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        let mut deadlines = Deadlines::default();
        let mut model: Vec<(u64, u64, usize)> = Vec::new();
        for step in 0..20_000u64 {
            let slot = next(300) as usize;
            let owner = match slot {
                299 => Owner::Names,
                slot if slot.is_multiple_of(2) => Owner::Conn(slot),
                slot => Owner::Timer(slot),
            };
            match next(4) {
                0 | 1 => {
                    let when = next(1000);
                    model.retain(|row| row.2 != slot);
                    model.push((when, step, slot));
                    deadlines.set(owner, at(when));
                }
                2 => {
                    model.retain(|row| row.2 != slot);
                    deadlines.cancel(owner);
                }
                _ => {
                    model.sort();
                    let now = next(1000);
                    let expected = model.first().filter(|row| row.0 <= now).map(|row| row.2);
                    if expected.is_some() {
                        model.remove(0);
                    }
                    let got = deadlines.pop_due(at(now), deadlines.mark()).map(|owner| match owner {
                        Owner::Conn(slot) | Owner::Timer(slot) => slot,
                        Owner::Names => 299,
                    });
                    assert_eq!(got, expected, "step {step}");
                }
            }
            assert_eq!(deadlines.len(), model.len(), "step {step}");
        }
    }
}

//! What a world allocates: no more than a budget at any time, and nothing of it is there when it is over.

#[path = "common/heap.rs"]
mod heap;

use heap::BYTES;
use vansire::world::{Schedule, play};

/// Of everything in a world: the managers, the broker, the network, both sides of each connection, and what the judges write down.
const BUDGET: i64 = 32 * 1024 * 1024;

#[test]
fn a_world_stays_within_its_budget_and_leaves_nothing_behind() {
    // What is made once for a thread is made here.
    play(&Schedule::of(0), None).unwrap();
    for seed in 1..40 {
        let plan = Schedule::of(seed);
        let before = BYTES.get();
        let most = std::rc::Rc::new(std::cell::Cell::new(0));
        let peak = most.clone();
        // A world tells something all the time.
        let told = play(&plan, Some(Box::new(move |_| peak.set(peak.get().max(BYTES.get() - before)))));
        told.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        assert!((1..BUDGET).contains(&most.get()), "seed {seed}: {} bytes at once", most.get());
        drop(most);
        assert_eq!(BYTES.get(), before, "seed {seed}: bytes before, and after");
    }
}

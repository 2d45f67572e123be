//! Every interleaving of a loop's turns and its watchdog at the gate between them (`src/manager/watch/gate.rs`, the file that
//! ships), up to three preemptions.

#[path = "../../src/manager/watch/gate.rs"]
mod shipped;
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::Wake;
use shipped::Gate;

/// The loop has a few short turns, and then one that ends only once somebody has seen it: a watchdog that slept through
/// it would be a deadlock.
#[test]
fn no_turn_that_lasts_goes_unseen() {
    for short in 0..=2 {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let gate = Arc::new(Gate::new());
            let (wake, seen, nap) = (Arc::new(Wake::new()), Arc::new(Wake::new()), Arc::new(Wake::new()));
            let over = Arc::new(AtomicBool::new(false));
            let watchdog = {
                let (gate, wake, seen, nap) = (gate.clone(), wake.clone(), seen.clone(), nap.clone());
                let over = over.clone();
                thread::spawn(move || {
                    while !over.load(Ordering::Acquire) {
                        let turn = gate.turn();
                        if turn == 2 * short + 1 {
                            over.store(true, Ordering::Release);
                            seen.wake().unwrap();
                        } else if turn % 2 == 0 {
                            gate.sleep(turn, || wake.wait());
                        } else {
                            nap.wait();
                        }
                    }
                })
            };
            for turn in 0..=short {
                gate.begin(2 * turn + 1, || wake.wake().unwrap());
                if turn == short {
                    // A nap in a short turn is over some time after that.
                    nap.wake().unwrap();
                    seen.wait();
                }
                gate.end(2 * turn + 2);
            }
            watchdog.join().unwrap();
        });
    }
}

//! Every interleaving of two producers and the loop at the queue between them (`src/reactor/mailbox.rs`, the file that
//! ships), up to three preemptions, and what the module `gate` says: `cargo test --release --manifest-path loom/Cargo.toml`.
#![cfg(test)]

mod gate;

#[path = "../../src/reactor/mailbox.rs"]
mod mailbox;
mod sync {
    pub(super) use loom::sync::atomic::{AtomicU8, Ordering};
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use mailbox::Mailbox;

/// A wake as the system does it: it is kept until a wait takes it, and several are one.
struct Wake {
    pending: Mutex<bool>,
    calls: AtomicUsize,
    changed: Condvar,
}

impl Wake {
    fn new() -> Self {
        Self { pending: Mutex::new(false), calls: AtomicUsize::new(0), changed: Condvar::new() }
    }

    fn wake(&self) -> Result<(), ()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        *self.pending.lock().unwrap() = true;
        self.changed.notify_one();
        Ok(())
    }

    fn wait(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !*pending {
            pending = self.changed.wait(pending).unwrap();
        }
        *pending = false;
    }
}

/// Two producers, two messages each. The reader waits whenever it knows of no mail: a lost wake would let it wait for
/// ever, which the model reports as a deadlock. Nobody wakes it twice for one rest; it begins with one.
#[test]
fn no_wake_is_lost_or_wasted_and_the_order_of_a_producer_stays() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let mail = Arc::new(Mailbox::new(Vec::new()));
        let wake = Arc::new(Wake::new());
        let producers: Vec<_> = (0..2)
            .map(|producer| {
                let (mail, wake) = (Arc::clone(&mail), Arc::clone(&wake));
                thread::spawn(move || {
                    for message in 0..2 {
                        let push = |queue: &mut Vec<_>| {
                            queue.push((producer, message));
                            Ok(())
                        };
                        mail.put(push, || wake.wake()).unwrap();
                    }
                })
            })
            .collect();
        let (mut seen, mut rests) = (Vec::new(), 1);
        while seen.len() < 4 {
            if !mail.has_mail() {
                wake.wait();
            }
            mail.take(|queue| seen.append(queue));
            rests += usize::from(mail.rest());
        }
        for producer in producers {
            producer.join().unwrap();
        }
        assert!(wake.calls.load(Ordering::Relaxed) <= rests);
        for producer in 0..2 {
            let of: Vec<_> = seen.iter().filter(|message| message.0 == producer).map(|message| message.1).collect();
            assert_eq!(of, [0, 1]);
        }
    });
}

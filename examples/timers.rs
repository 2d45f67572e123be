//! Timers: once, repeated, cancelled. `cargo run --example timers -- --period 1000` (milliseconds).
//!
//! It ends by itself after five ticks.

mod common;

use std::time::Duration;

use vansire::{Manager, TimerCtx};

/// The state: timers get it lent like every handler.
#[derive(Default)]
struct Clock {
    ticks: u32,
}

fn main() -> vansire::Result<()> {
    let period = Duration::from_millis(common::flag("--period", 1000));
    let mut manager = Manager::new(Clock::default())?;
    let mut net = manager.net();

    // Repeated: it keeps its phase however long a callback takes, and is never run twice for a tick that was missed.
    net.timer_every(period, tick);
    // Once, halfway to the first tick.
    net.timer_after(period / 2, |_| println!("once"));
    // Cancelled before it is due: it never runs. The id is a copy; it can be kept anywhere.
    let never = net.timer_after(period * 2, |_| println!("never"));
    net.timer_after(period, move |cx| {
        if cx.net.cancel(never) {
            println!("cancelled");
        }
    });

    // Nothing listens here: the loop sleeps from one timer to the next.
    manager.run()
}

fn tick(cx: &mut TimerCtx<'_, Clock>) {
    cx.state.ticks += 1;
    println!("tick {}", cx.state.ticks);
    if cx.state.ticks == 5 {
        // A repeated timer ends itself by its own id; here the whole loop ends, so it need not.
        cx.net.cancel(cx.timer);
        cx.net.stop();
    }
}

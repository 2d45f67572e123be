//! Runs scenarios for many seeds, and says which seed failed.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use vansire::sim::{Faults, Rng, Sim};
pub(crate) use vansire::world::{FOREVER, Outcome, PLANNED, up_to};

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 300;

/// Runs a scenario for each seed. Fails at the first one that fails, with all that is needed to run it again.
pub(crate) fn for_each_seed(scenario: &str, run: impl Fn(&Sim, &mut Rng) -> Outcome) {
    quiet_planned_panics();
    let (from, to) = seeds();
    for seed in from..to {
        if let Err(what) = run_seed(seed, &run) {
            panic!("SIM_SEED={seed} cargo test --features sim --test sim {scenario}: {what}");
        }
    }
}

/// As [`for_each_seed`], on all processors: for scenarios that take long.
pub(crate) fn for_each_seed_at_once(scenario: &str, run: impl Fn(&Sim, &mut Rng) -> Outcome + Sync) {
    quiet_planned_panics();
    let (from, to) = seeds();
    let (next, failed) = (AtomicU64::new(from), Mutex::new(None::<(u64, String)>));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(4) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    if let Err(what) = run_seed(seed, &run) {
                        next.store(to, Ordering::Relaxed);
                        // Those before it are still running, and may fail as well: the first counts.
                        let failed = &mut *failed.lock().unwrap();
                        if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *failed = Some((seed, what));
                        }
                    }
                }
            });
        }
    });
    if let Some((seed, what)) = failed.into_inner().unwrap() {
        panic!("SIM_SEED={seed} cargo test --features sim --test sim {scenario}: {what}");
    }
}

/// Runs a scenario that is wrong, or whose world is: true if some seed notices.
pub(crate) fn some_seed_fails(run: impl Fn(&Sim, &mut Rng) -> Outcome) -> bool {
    quiet_planned_panics();
    (0..SEEDS).any(|seed| run_seed(seed, &run).is_err())
}

/// Those to run: from the first to before the last.
fn seeds() -> (u64, u64) {
    match number("SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("SIM_SEEDS").unwrap_or(SEEDS)),
    }
}

/// Somebody wants to see this one.
pub(crate) fn is_the_only_seed() -> bool {
    number("SIM_SEED").is_some()
}

fn run_seed(seed: u64, run: &impl Fn(&Sim, &mut Rng) -> Outcome) -> Outcome {
    let sim = Sim::new(seed);
    sim.trace(is_told());
    let mut rng = sim.rng();
    let result = panic::catch_unwind(AssertUnwindSafe(|| run(&sim, &mut rng)));
    match result {
        Ok(outcome) => outcome.map_err(|what| format!("{what}\n{:?}", sim.faults())),
        Err(payload) => Err(format!("a panic: {}", text(&*payload))),
    }
}

/// A world where nothing is lost, or one where connections are cut off as well.
pub(crate) fn random_faults(sim: &Sim, rng: &mut Rng) -> Faults {
    let faults = match rng.below(4) {
        0 => Faults::none(),
        1 | 2 => Faults::benign(rng),
        _ => Faults::harsh(rng),
    };
    sim.set_faults(faults.clone());
    faults
}

/// Whether somebody wants to read what happens.
pub(crate) fn is_told() -> bool {
    number("SIM_TRACE").is_some()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

/// Panics that a scenario plans are caught by the loop and are nobody's news.
fn quiet_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&PLANNED) {
                others(info);
            }
        }));
    });
}

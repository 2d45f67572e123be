//! Runs scenarios for many seeds, and says which seed failed.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;
use std::time::Duration;

use vansire::sim::{Faults, Rng, Sim};

/// What a scenario ends with: nothing, or what did not hold.
pub(crate) type Outcome = Result<(), String>;

/// Where a run is taken to be hung: no scenario needs as much simulated time.
pub(crate) const FOREVER: Duration = Duration::from_secs(6 * 3600);

/// Seeds of a plain `cargo test`.
const SEEDS: u64 = 300;

/// What a handler panics with on purpose.
pub(crate) const PLANNED: &str = "planned by the simulation";

/// Runs a scenario for each seed. Fails at the first one that fails, with all that is needed to run it again.
pub(crate) fn for_each_seed(scenario: &str, run: impl Fn(&Sim, &mut Rng) -> Outcome) {
    quiet_planned_panics();
    let (from, to) = match number("SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number("SIM_SEEDS").unwrap_or(SEEDS)),
    };
    for seed in from..to {
        if let Err(what) = run_seed(seed, &run) {
            panic!("SIM_SEED={seed} cargo test --features sim --test sim {scenario}: {what}");
        }
    }
}

/// Runs a scenario that is wrong, or whose world is: true if some seed notices.
pub(crate) fn some_seed_fails(run: impl Fn(&Sim, &mut Rng) -> Outcome) -> bool {
    quiet_planned_panics();
    (0..SEEDS).any(|seed| run_seed(seed, &run).is_err())
}

fn run_seed(seed: u64, run: &impl Fn(&Sim, &mut Rng) -> Outcome) -> Outcome {
    let sim = Sim::new(seed);
    sim.trace(number("SIM_TRACE").is_some());
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

/// A time below `ms` milliseconds.
pub(crate) fn up_to(rng: &mut Rng, ms: u64) -> Duration {
    rng.time(&(Duration::ZERO..Duration::from_millis(ms)))
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

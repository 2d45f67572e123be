//! HTTP: raw clients send pipelines cut at random places, and read the replies with a reader of their own.

use vansire::sim::Faults;
use vansire::world::http::play;

use crate::harness::{for_each_seed, random_faults, some_seed_fails};

#[test]
fn http_requests_are_answered_whole_and_in_order() {
    for_each_seed("http_requests", |sim, rng| {
        let faults = random_faults(sim, rng);
        play(sim, rng, &faults)
    });
}

#[test]
fn http_scenario_notices_a_lost_wakeup() {
    assert!(some_seed_fails(|sim, rng| {
        let mut faults = Faults::benign(rng);
        faults.lose_edge = 0.05;
        sim.set_faults(faults.clone());
        play(sim, rng, &faults)
    }));
}

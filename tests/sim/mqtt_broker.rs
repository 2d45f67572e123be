//! A broker and twenty clients of all kinds, on a network that fails: whatever happens, what it promised is kept. The scenario, its
//! model and its judge are `vansire::world::mqtt`, which the world with everything in it is played with as well.

use std::cell::RefCell;
use std::collections::BTreeMap;

use vansire::sim::{Rng, Sim};
use vansire::world::mqtt::{Bug, RULES, play};

use crate::harness::{Outcome, for_each_seed_at_once, is_told, some_seed_fails};

fn scenario(sim: &Sim, rng: &mut Rng, bug: Bug) -> Outcome {
    play(sim, rng, bug, is_told(), |_| {})
}

#[test]
fn mqtt_broker_keeps_its_promises_to_twenty_clients() {
    for_each_seed_at_once("mqtt_broker_keeps", |sim, rng| scenario(sim, rng, Bug::None));
}

/// The proof that the scenario can fail: somebody does not do what the others think.
#[test]
fn mqtt_broker_scenario_notices_what_is_wrong() {
    for bug in [Bug::TakesTwice, Bug::LosesOne, Bug::ForgetsWill, Bug::LosesPubRel] {
        assert!(some_seed_fails(|sim, rng| scenario(sim, rng, bug)), "{bug:?}");
    }
}

/// Every rule that the model knows is put to the test, and not only believed to be.
#[test]
fn mqtt_broker_scenario_brings_every_rule_about() {
    let applied = RefCell::new(BTreeMap::new());
    for seed in 0..600 {
        let sim = Sim::new(seed);
        let what = play(&sim, &mut sim.rng(), Bug::None, false, |rules| {
            for (rule, times) in rules {
                *applied.borrow_mut().entry(*rule).or_insert(0) += times;
            }
        });
        what.unwrap_or_else(|what| panic!("SIM_SEED={seed}: {what}"));
    }
    let applied = applied.into_inner();
    let rare: Vec<_> = RULES.iter().filter(|rule| applied.get(*rule).is_none_or(|times| *times < 2)).collect();
    assert!(rare.is_empty() && applied.len() == RULES.len(), "{rare:?} of {applied:#?}");
}

//! One world with everything in it, by its seeds: `vansire::world`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use vansire::sim::Faults;
use vansire::world::{Schedule, What, play, shrink};

use crate::harness::{for_each_seed_at_once, is_the_only_seed, is_told};

/// One in so many is played where there are thousands.
const DIVISOR: u64 = 4;

#[test]
fn the_world_keeps_its_promises() {
    for_each_seed_at_once("the_world_keeps", |sim, _| {
        if sim.seed() >= 300 && !is_the_only_seed() && !sim.seed().is_multiple_of(DIVISOR) {
            return Ok(());
        }
        let teller: Option<vansire::world::Teller> =
            if is_told() { Some(Box::new(|line| eprintln!("{line}"))) } else { None };
        play(&Schedule::of(sim.seed()), teller).map(drop).map_err(|failure| failure.to_string())
    });
}

fn story(plan: &Schedule) -> Vec<String> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let told = lines.clone();
    let end = play(plan, Some(Box::new(move |line| told.borrow_mut().push(line.to_string()))));
    lines.borrow_mut().push(format!("{end:?}"));
    lines.take()
}

#[test]
fn a_seed_is_the_same_story_again() {
    for seed in 0..20 {
        let plan = Schedule::of(seed);
        let told = story(&plan);
        assert!(told.len() > plan.steps().len(), "seed {seed}: {} lines", told.len());
        assert_eq!(told, story(&plan), "seed {seed}");
    }
}

/// A network that forgets to tell of readiness, as no real one does: some promise breaks, and what is left of the plan has that
/// network in it, and little else.
#[test]
fn a_plan_that_fails_shrinks_to_what_it_needs() {
    let at = Duration::from_secs(1);
    let lossy = (Duration::ZERO, What::Weather(Box::new(Faults::none().lose_edge(0.3))));
    let rest = [What::Time, What::Datagrams(5, 1), What::Lookup(1), What::Fetch(3000), What::Wakeups(3), What::Http(1)];
    let broken = (0..100).find_map(|seed| {
        let steps = [lossy.clone()].into_iter().chain(rest.iter().map(|what| (at, what.clone())));
        let plan = Schedule::with(seed, steps);
        play(&plan, None).err().map(|failure| (plan, failure))
    });
    let (plan, failure) = broken.expect("some seed notices");
    let promise = failure.promise;
    let (small, failure) = shrink(&plan, failure, |part| play(part, None).err());
    assert_eq!(failure.promise, promise);
    assert!(small.steps().len() <= 3, "{:?}", small.steps());
    assert_eq!(small.steps()[0].number, 0, "{:?}", small.steps());
    let again = play(&plan.keep(&small.steps().iter().map(|step| step.number).collect::<Vec<_>>()), None);
    assert_eq!(again, Err(failure));
}

/// Without a fault everything that is asked is answered.
#[test]
fn a_world_without_faults_answers_everything() {
    let at = Duration::from_secs(1);
    let steps =
        [What::Fetch(3000), What::Http(1), What::Lookup(1), What::Time, What::Datagrams(5, 1), What::Wakeups(3)];
    let plan = Schedule::with(1, steps.map(|what| (at, what)));
    let told = story(&plan).join("\n");
    for expected in ["fetch 0: Some(200), closed by this side", "h1.lan is Ok([10.1.0.1])", "wrong by 0 ns"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert_eq!(play(&plan, None).map(|held| (held.steps, held.resets)), Ok((6, 0)));
}

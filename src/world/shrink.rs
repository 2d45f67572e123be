//! Leaving out of a plan that fails what its failure does not need.

use super::schedule::Schedule;
use super::story::{Failure, Promise};

/// How often a plan is played at most to shrink it.
const TRIES: usize = 600;

/// The smallest plan found that breaks the same promise, and how it does. `fails` plays a plan.
///
/// Delta debugging: parts of the plan are left out, halves first, then smaller ones, for as long as the promise stays broken.
pub fn shrink(
    plan: &Schedule,
    failure: Failure,
    mut fails: impl FnMut(&Schedule) -> Option<Failure>,
) -> (Schedule, Failure) {
    let mut best = (plan.clone(), failure);
    let promise: Promise = best.1.promise;
    let mut left = TRIES;
    let mut len = best.0.steps().len().div_ceil(2);
    while len > 0 {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < best.0.steps().len() && left > 0 {
            left -= 1;
            let steps = best.0.steps().iter().enumerate();
            let kept = steps.filter(|(at, _)| !(from..from + len).contains(at)).map(|(_, step)| step.number);
            let part = best.0.keep(&kept.collect::<Vec<_>>());
            match fails(&part).filter(|failure| failure.promise == promise) {
                Some(failure) => (best, has_shrunk) = ((part, failure), true),
                None => from += len,
            }
        }
        // Without one step another may be needless that was not before.
        len = if len == 1 && has_shrunk && left > 0 { 1 } else { len / 2 };
    }
    best
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn failure(promise: Promise) -> Failure {
        Failure { promise, what: String::new(), at: Duration::ZERO }
    }

    #[test]
    fn what_a_failure_needs_is_what_is_left() {
        let plan = Schedule::of(1);
        let all = plan.steps().len();
        let needed = [2, all / 2, all - 1];
        let mut plays = 0;
        let (small, _) = shrink(&plan, failure(Promise::Timers), |part| {
            plays += 1;
            let has = |number: &usize| part.steps().iter().any(|step| step.number == *number);
            match needed.iter().all(has) {
                true => Some(failure(Promise::Timers)),
                // Another failure is not the one that is looked for.
                false => Some(failure(Promise::Names)),
            }
        });
        assert_eq!(small, plan.keep(&needed));
        assert!(plays < TRIES, "{plays}");
    }
}

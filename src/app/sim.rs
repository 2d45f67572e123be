//! Worlds by their seeds: what `vansire sim` does.

use std::process::ExitCode;

use clap::Args;

/// Flags of `vansire sim`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct SimFlags {
    /// Play the world of this seed, and tell its story
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    pub seed: Option<u64>,

    /// Play these worlds, like 0..1000: from the first to before the last; stories are told of those that fail only
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    pub seeds: Option<(u64, u64)>,

    /// Play only these steps of the plan, by their numbers
    #[arg(long, value_name = "STEPS", value_delimiter = ',', conflicts_with = "seeds")]
    pub keep: Option<Vec<usize>>,

    /// Tell no story, only how it ended
    #[arg(short, long)]
    pub quiet: bool,
}

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    parsed.filter(|(from, to)| from < to).ok_or_else(|| "expected two numbers, like 0..1000".to_owned())
}

/// Behind the help.
pub const HELP: &str = "\
A world is a server with everything that this program has, and clients of all kinds, on a network in memory, in a time of its
own. Its seed decides what they do and what goes wrong: partitions, resets, slow and lossy networks, datagrams out of order,
clocks that jump, descriptors that run out. Whatever that is, what is promised is kept: every message is whole, in order and
delivered as its quality says, and in the end nothing is left. The same seed gives the same world, to the byte.

Where a promise is broken, what the failure does not need is left out of the plan, and the story of the rest is told.

Examples:
  vansire sim                           a world, and its story
  vansire sim --seed 7                  that of seed 7
  vansire sim --seed 7 --keep 3,12      only steps 3 and 12 of it
  vansire sim --seeds 0..1000           a thousand worlds

Exit codes: 0 all promises were kept; 1 one was not; 2 the command line is wrong.";

/// Plays what the flags ask for.
#[cfg(feature = "sim")]
pub(super) fn main(flags: &SimFlags) -> ExitCode {
    played::main(flags)
}

/// This build cannot.
#[cfg(not(feature = "sim"))]
pub(super) fn main(_: &SimFlags) -> ExitCode {
    super::complain(&"this build has no simulation: build with the features `app` and `sim`");
    ExitCode::from(super::FAILED)
}

#[cfg(feature = "sim")]
mod played {
    use std::io::{self, Write};
    use std::process::ExitCode;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::SimFlags;
    use crate::app::FAILED;
    use crate::world::{Failure, Schedule, Summary, Teller, play, shrink};

    pub(super) fn main(flags: &SimFlags) -> ExitCode {
        if let Some((from, to)) = flags.seeds {
            return many(from, to, flags.quiet);
        }
        let seed = flags.seed.unwrap_or(0);
        let all = Schedule::of(seed);
        let plan = flags.keep.as_ref().map_or(all.clone(), |numbers| all.keep(numbers));
        let teller = (!flags.quiet).then(teller);
        match play(&plan, teller) {
            Ok(summary) => {
                say(&format!("seed {seed} {summary}"));
                ExitCode::SUCCESS
            }
            Err(failure) => {
                tell(&plan, failure, flags.quiet);
                ExitCode::from(FAILED)
            }
        }
    }

    /// Worlds from a seed to before another, on all processors. Ends at the first that fails.
    fn many(from: u64, to: u64, is_quiet: bool) -> ExitCode {
        let next = AtomicU64::new(from);
        let failed: Mutex<Option<(u64, Failure)>> = Mutex::new(None);
        let total: Mutex<Summary> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= to {
                            return;
                        }
                        match play(&Schedule::of(seed), None) {
                            Ok(summary) => total.lock().unwrap_or_else(PoisonError::into_inner).add(&summary),
                            // Those before it are being played, and one of them may fail as well: the first counts.
                            Err(failure) => {
                                next.store(to, Ordering::Relaxed);
                                let failed = &mut *failed.lock().unwrap_or_else(PoisonError::into_inner);
                                if failed.as_ref().is_none_or(|(other, _)| seed < *other) {
                                    *failed = Some((seed, failure));
                                }
                            }
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((seed, failure)) => {
                tell(&Schedule::of(seed), failure, is_quiet);
                ExitCode::from(FAILED)
            }
            None => {
                let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
                say(&format!("seeds {from}..{to} {total}"));
                ExitCode::SUCCESS
            }
        }
    }

    /// A failure, and the story of the least that leads to it.
    fn tell(plan: &Schedule, failure: Failure, is_quiet: bool) {
        say(&format!("seed {}: {failure}", plan.seed()));
        let (small, failure) = shrink(plan, failure, |part| play(part, None).err());
        let numbers: Vec<_> = small.steps().iter().map(|step| step.number.to_string()).collect();
        say(&format!("{} of {} steps suffice:", small.steps().len(), plan.steps().len()));
        if !is_quiet {
            // The failure is known.
            drop(play(&small, Some(teller())));
        }
        say(&format!("{failure}"));
        say(&format!("again: vansire sim --seed {} --keep {}", small.seed(), numbers.join(",")));
    }

    fn teller() -> Teller {
        Box::new(|line| say(&line.to_string()))
    }

    /// A closed pipe is no failure.
    fn say(text: &str) {
        _ = writeln!(io::stdout().lock(), "{text}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_that_is_not_empty() {
        for (text, expected) in [
            ("0..10", Some((0, 10))),
            ("7..8", Some((7, 8))),
            ("8..8", None),
            ("9..8", None),
            ("7", None),
            ("a..b", None),
        ] {
            assert_eq!(seeds(text).ok(), expected, "{text}");
        }
    }
}

//! One time out of the answers of several servers, and what a clock has to do for it.

use std::time::{Duration, Instant, SystemTime};

use super::packet::{Leap, wall_nanos};
use super::sample::{Offset, Sample};
use super::select::{SERVERS_MAX, select};

/// What is known of each server, and what follows for the clock that is to be kept right.
///
/// Give it every sample; [`decide`](Self::decide) says how to correct the clock. Until it is right for the first time it is set at
/// once, afterwards it is corrected little by little; a large correction is made only when a second round confirms it.
#[derive(Debug)]
pub struct Discipline {
    servers: Vec<Heard>,
    started: Instant,
    fresh_for: Duration,
    synchronised: Option<Synchronised>,
    /// An offset too large to be believed at once, and when it was measured.
    suspect: Option<(Instant, Offset)>,
}

/// The clock's state, since it has been right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Synchronised {
    /// When the last decision was made.
    pub at: Instant,
    /// What the clock lacked then.
    pub offset: Offset,
    /// The servers that agreed, a bit for each in their order.
    pub agreeing: u32,
    /// The best of them: least distance. Its place in the order.
    pub best: usize,
    /// Its last sample.
    pub sample: Sample,
    /// The next leap second, as most of them say.
    pub leap: Leap,
}

#[derive(Debug, Clone, Copy)]
enum Heard {
    /// Still awaited.
    Nothing,
    /// It does not answer, or not any more.
    Silent,
    Sample(Sample),
}

/// What the clock has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Correction {
    /// Nothing.
    None,
    /// Be moved by this, at once.
    Step(Offset),
    /// Gain or lose this, little by little.
    Slew(Offset),
}

impl Discipline {
    /// For so many servers, 16 at the most, whose answers are good for `fresh_for`.
    pub fn new(servers: usize, fresh_for: Duration, now: Instant) -> Self {
        let servers = vec![Heard::Nothing; servers.min(SERVERS_MAX)];
        Self { servers, started: now, fresh_for, synchronised: None, suspect: None }
    }

    /// A server has answered.
    pub fn handle_sample(&mut self, server: usize, sample: Sample) {
        if let Some(heard) = self.servers.get_mut(server) {
            *heard = Heard::Sample(sample);
        }
    }

    /// A server does not answer, or wants not to be asked.
    pub fn handle_silence(&mut self, server: usize) {
        if let Some(heard @ Heard::Nothing) = self.servers.get_mut(server) {
            *heard = Heard::Silent;
        }
    }

    /// The last time that the clock was found right or put right.
    pub fn synchronised(&self) -> Option<&Synchronised> {
        self.synchronised.as_ref()
    }

    /// The last sample of a server, if it has answered.
    pub fn sample(&self, server: usize) -> Option<&Sample> {
        match self.servers.get(server)? {
            Heard::Sample(sample) => Some(sample),
            Heard::Nothing | Heard::Silent => None,
        }
    }

    /// When to call [`decide`](Self::decide) though no sample has come: servers that say nothing are not waited for any longer.
    pub fn poll_timeout(&self) -> Instant {
        self.started.checked_add(PATIENCE).unwrap_or(self.started)
    }

    /// Says what the clock lacks that shows `wall` now.
    pub fn decide(&mut self, now: Instant, wall: SystemTime) -> Correction {
        let awaits = self.servers.iter().any(|heard| matches!(heard, Heard::Nothing));
        // The first to answer is not to be believed only because the others are slower.
        if self.synchronised.is_none() && awaits && now < self.poll_timeout() {
            return Correction::None;
        }
        let mut offsets = [(Offset::default(), 0u64); SERVERS_MAX];
        let mut who = [0usize; SERVERS_MAX];
        let mut count = 0;
        for (at, heard) in self.servers.iter().enumerate() {
            let Heard::Sample(sample) = heard else { continue };
            let age = now.saturating_duration_since(sample.at);
            if age > self.fresh_for {
                continue;
            }
            let offset = wall_nanos(sample.time_at(now)).saturating_sub(wall_nanos(wall));
            // RFC 5905 §11.1: what is known grows old, and nothing is as exact as it seems.
            let radius = sample.distance() + age.mul_f64(DRIFT) + MARGIN;
            offsets[count] = (Offset::from_nanos(offset), u64::try_from(radius.as_nanos()).unwrap_or(u64::MAX));
            who[count] = at;
            count += 1;
        }
        let Some(selected) = select(&offsets[..count]) else { return Correction::None };
        let agrees = |at: &usize| selected.agreeing >> at & 1 == 1;
        let best = (0..count).filter(agrees).min_by_key(|at| offsets[*at].1).map(|at| who[at]);
        let Some((best, Heard::Sample(sample))) = best.and_then(|best| Some((best, *self.servers.get(best)?))) else {
            return Correction::None;
        };
        let correction = match self.synchronised {
            None => Correction::Step(selected.offset),
            Some(_) if selected.offset.abs() <= STEP => Correction::Slew(selected.offset),
            Some(_) => match self.suspect {
                // RFC 5905 §11.3: a spike is waited out; what comes twice is none.
                Some((at, before)) if sample.at > at && agree(before, selected.offset) => {
                    Correction::Step(selected.offset)
                }
                Some((at, before)) if sample.at <= at && agree(before, selected.offset) => return Correction::None,
                _ => {
                    self.suspect = Some((sample.at, selected.offset));
                    return Correction::None;
                }
            },
        };
        self.suspect = None;
        let says = |leap| (0..count).filter(agrees).filter(|at| self.leap_of(who[*at]) == Some(leap)).count();
        let most = selected.agreeing.count_ones() as usize / 2;
        let leap = [Leap::Add, Leap::Remove].into_iter().find(|leap| says(*leap) > most).unwrap_or(Leap::None);
        let agreeing = (0..count).filter(agrees).fold(0, |bits, at| bits | 1 << who[at]);
        let offset = selected.offset;
        self.synchronised = Some(Synchronised { at: now, offset, agreeing, best, sample, leap });
        correction
    }

    fn leap_of(&self, server: usize) -> Option<Leap> {
        self.sample(server).map(|sample| sample.leap)
    }
}

/// Two measurements of a large offset mean the same.
fn agree(a: Offset, b: Offset) -> bool {
    a.as_nanos().abs_diff(b.as_nanos()) <= STEP.as_nanos() as u64
}

/// How long the first decision waits for servers that do not answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Larger corrections are made at once, once they are believed.
const STEP: Duration = Duration::from_secs(1);
/// How fast a clock drifts at the most (RFC 5905 §7.2, PHI).
const DRIFT: f64 = 15e-6;
/// Servers that are right differ by as much beyond what they admit (RFC 5905 §7.2, MINDISP): a liar who lies by less does no harm.
const MARGIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::super::packet::wall_time;
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000_000;
    const SECOND: i64 = 1_000_000_000;

    /// A clock, a discipline that has it right, and time.
    struct Bench {
        discipline: Discipline,
        start: Instant,
        /// What the clock is ahead of the truth.
        ahead: i64,
    }

    impl Bench {
        fn new(servers: usize, ahead: i64) -> Self {
            let start = Instant::now();
            Self { discipline: Discipline::new(servers, Duration::from_secs(600), start), start, ahead }
        }

        fn hear(&mut self, server: usize, at: u64, wrong: i64, leap: Leap) {
            let sample = Sample {
                offset: Offset::from_nanos(wrong - self.ahead),
                delay: Duration::from_millis(2),
                root_distance: Duration::from_millis(1),
                stratum: 2,
                leap,
                reference: [0; 4],
                at: self.start + Duration::from_secs(at),
                time: wall_time(NOW + at as i64 * SECOND + wrong),
            };
            self.discipline.handle_sample(server, sample);
        }

        fn decide(&mut self, at: u64) -> Correction {
            let wall = wall_time(NOW + at as i64 * SECOND + self.ahead);
            let correction = self.discipline.decide(self.start + Duration::from_secs(at), wall);
            if let Correction::Step(offset) | Correction::Slew(offset) = correction {
                self.ahead += offset.as_nanos();
            }
            correction
        }
    }

    #[test]
    fn the_clock_is_set_once_and_then_corrected_little_by_little() {
        let mut bench = Bench::new(1, 40 * 365 * 86_400 * SECOND);
        assert_eq!(bench.decide(0), Correction::None, "nobody has answered");
        bench.hear(0, 1, 0, Leap::None);
        assert!(matches!(bench.decide(1), Correction::Step(_)));
        assert_eq!(bench.ahead, 0);
        bench.hear(0, 65, 3_000_000, Leap::None);
        assert_eq!(bench.decide(65), Correction::Slew(Offset::from_nanos(3_000_000)));
    }

    #[test]
    fn the_first_answer_waits_for_the_others_but_not_for_ever() {
        let mut bench = Bench::new(3, -7 * SECOND);
        // The fastest is wrong.
        bench.hear(0, 0, 3600 * SECOND, Leap::None);
        assert_eq!(bench.decide(0), Correction::None);
        bench.hear(1, 0, 0, Leap::None);
        assert_eq!(bench.decide(1), Correction::None);
        bench.discipline.handle_silence(2);
        assert_eq!(bench.decide(1), Correction::None, "one against one");
        bench.hear(2, 1, 1_000_000, Leap::None);
        assert_eq!(bench.decide(1), Correction::Step(Offset::from_nanos(7 * SECOND + 500_000)));
        assert_eq!(bench.discipline.synchronised().unwrap().agreeing, 0b110);

        let mut bench = Bench::new(2, SECOND);
        bench.hear(1, 0, 0, Leap::None);
        assert_eq!(bench.decide(3), Correction::None);
        assert_eq!(bench.decide(4), Correction::Step(Offset::from_nanos(-SECOND)), "the other is silent");
    }

    #[test]
    fn a_spike_is_waited_out_and_a_jump_is_believed_the_second_time() {
        let mut bench = Bench::new(1, 0);
        bench.hear(0, 0, 0, Leap::None);
        bench.decide(0);
        bench.hear(0, 64, 90 * SECOND, Leap::None);
        assert_eq!(bench.decide(64), Correction::None);
        assert_eq!(bench.decide(65), Correction::None, "the same sample is no confirmation");
        bench.hear(0, 128, 0, Leap::None);
        assert_eq!(bench.decide(128), Correction::Slew(Offset::from_nanos(0)), "it was a spike");
        for at in [192, 256] {
            bench.hear(0, at, 90 * SECOND, Leap::None);
            let expected = if at == 256 { Correction::Step(Offset::from_nanos(90 * SECOND)) } else { Correction::None };
            assert_eq!(bench.decide(at), expected);
        }
    }

    #[test]
    fn old_answers_count_less_and_less_and_then_not_at_all() {
        let mut bench = Bench::new(3, 0);
        (0..3).for_each(|server| bench.hear(server, 0, 0, Leap::None));
        bench.decide(0);
        bench.hear(2, 700, 4_000_000, Leap::None);
        assert_eq!(
            bench.decide(700),
            Correction::Slew(Offset::from_nanos(4_000_000)),
            "the others are older than 600 s"
        );
    }

    #[test]
    fn a_leap_second_is_announced_by_most() {
        for (name, says, expected) in [
            ("all", [Leap::Add, Leap::Add, Leap::Add], Leap::Add),
            ("most", [Leap::Remove, Leap::None, Leap::Remove], Leap::Remove),
            ("one", [Leap::None, Leap::Add, Leap::None], Leap::None),
        ] {
            let mut bench = Bench::new(3, 0);
            (0..3).for_each(|server| bench.hear(server, 0, 0, says[server]));
            bench.decide(0);
            assert_eq!(bench.discipline.synchronised().unwrap().leap, expected, "{name}");
        }
    }
}

//! The machine's clock, set by the program's where its owner wants so (`time.set_system_clock`).
//!
//! It is set, never slewed: `adjtime` has no safe binding. So what it is off by is left alone until it is worth a step.

use std::io;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Kind, Result};
use crate::proto::sntp::Offset;

/// A clock that can be set: the machine's, or a test's.
pub(super) trait Settable {
    /// Says why this process may not set it.
    fn check(&self) -> std::result::Result<(), String>;
    fn read(&self) -> SystemTime;
    fn set(&mut self, time: SystemTime) -> io::Result<()>;
}

/// The machine's.
pub(super) struct Machine;

/// Keeps a clock by one that is right.
pub(super) struct Keeper<C> {
    clock: C,
    /// It could not be set, which was told: nothing more is tried.
    has_failed: bool,
}

/// What was done.
#[derive(Debug)]
pub(super) enum Kept {
    /// Nothing: it is right, or cannot be set.
    Alone,
    /// It was set, and was off by this.
    Set(Offset),
    Failed(io::Error),
}

/// How often it is looked at.
pub(super) const EVERY: Duration = Duration::from_secs(4);
/// RFC 5905 §11.3, STEPT: what is less is not worth a step.
const STEP: Duration = Duration::from_millis(128);

impl<C: Settable> Keeper<C> {
    /// Fails where this process may not set the clock.
    pub(super) fn new(clock: C) -> Result<Self> {
        match clock.check() {
            Ok(()) => Ok(Self { clock, has_failed: false }),
            Err(why) => {
                let way_out = "give it that, or leave time.set_system_clock off";
                Err(Error::new(Kind::Io, format!("cannot set the system's clock: {why}; {way_out}")))
            }
        }
    }

    /// Sets the clock to what is right, where it is off by too much.
    pub(super) fn keep(&mut self, right: SystemTime) -> Kept {
        let shows = self.clock.read();
        let off = shows.duration_since(right).unwrap_or_else(|e| e.duration());
        if self.has_failed || off < STEP {
            return Kept::Alone;
        }
        let nanos = i64::try_from(off.as_nanos()).unwrap_or(i64::MAX);
        let off = Offset::from_nanos(if shows > right { nanos } else { -nanos });
        match self.clock.set(right) {
            Ok(()) => Kept::Set(off),
            Err(e) => {
                self.has_failed = true;
                Kept::Failed(e)
            }
        }
    }
}

impl Settable for Machine {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn check(&self) -> std::result::Result<(), String> {
        use rustix::thread::{CapabilitySet, capabilities};
        match capabilities(None) {
            Ok(sets) if sets.effective.contains(CapabilitySet::SYS_TIME) => Ok(()),
            Ok(_) => Err("this process lacks the capability CAP_SYS_TIME".into()),
            Err(e) => Err(format!("its capabilities are not known: {e}")),
        }
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn check(&self) -> std::result::Result<(), String> {
        Err("on this system the program does not, and needs one that does".into())
    }

    fn read(&self) -> SystemTime {
        SystemTime::now()
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn set(&mut self, time: SystemTime) -> io::Result<()> {
        use rustix::time::{ClockId, Timespec, clock_settime};
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| io::ErrorKind::InvalidInput)?;
        let seconds = i64::try_from(since.as_secs()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let time = Timespec { tv_sec: seconds, tv_nsec: since.subsec_nanos().into() };
        clock_settime(ClockId::Realtime, time).map_err(io::Error::from)
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn set(&mut self, _: SystemTime) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Never the machine's.
    struct Hand {
        shows: SystemTime,
        refuses: bool,
        sets: usize,
    }

    impl Settable for &mut Hand {
        fn check(&self) -> std::result::Result<(), String> {
            Ok(())
        }

        fn read(&self) -> SystemTime {
            self.shows
        }

        fn set(&mut self, time: SystemTime) -> io::Result<()> {
            self.sets += 1;
            if self.refuses {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.shows = time;
            Ok(())
        }
    }

    struct Forbidden;

    impl Settable for Forbidden {
        fn check(&self) -> std::result::Result<(), String> {
            Err("this process lacks the capability CAP_SYS_TIME".into())
        }

        fn read(&self) -> SystemTime {
            unreachable!("nobody may look")
        }

        fn set(&mut self, _: SystemTime) -> io::Result<()> {
            unreachable!("nobody may set it")
        }
    }

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn at(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(NOW.as_secs_f64() + seconds)
    }

    #[test]
    fn the_clock_is_set_when_it_is_worth_a_step() {
        let table = [(0.0, false), (0.1, false), (-0.1, false), (0.2, true), (-0.2, true), (-1.7e9, true)];
        for (off, expected) in table {
            let mut hand = Hand { shows: at(off), refuses: false, sets: 0 };
            let kept = Keeper::new(&mut hand).unwrap().keep(at(0.0));
            match kept {
                Kept::Set(by) => assert!(expected && (by.as_secs_f64() - off).abs() < 1e-3, "{off}: {by}"),
                Kept::Alone => assert!(!expected, "{off}"),
                Kept::Failed(e) => panic!("{off}: {e}"),
            }
            assert_eq!((hand.sets == 1, hand.shows == at(0.0)), (expected, expected || off == 0.0), "{off}");
        }
    }

    #[test]
    fn a_clock_that_cannot_be_set_is_tried_once_and_told_once() {
        let mut hand = Hand { shows: at(10.0), refuses: true, sets: 0 };
        let mut keeper = Keeper::new(&mut hand).unwrap();
        assert!(matches!(keeper.keep(at(0.0)), Kept::Failed(_)));
        assert!(matches!(keeper.keep(at(0.0)), Kept::Alone));
        assert_eq!(hand.sets, 1);
    }

    #[test]
    fn without_the_privilege_it_is_refused_and_the_way_out_is_told() {
        let Err(error) = Keeper::new(Forbidden) else { panic!("allowed") };
        assert_eq!(
            error.to_string(),
            "cannot set the system's clock: this process lacks the capability CAP_SYS_TIME; give it that, or leave \
             time.set_system_clock off"
        );
    }
}

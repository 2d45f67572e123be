//! Happy eyeballs (RFC 8305 §5) without I/O: which address to try, and when.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::net::order;

/// One `connect` to a name of several addresses, each tried once.
///
/// The caller asks [`poll`](Self::poll) for what to do, tells of attempts that failed, and is done when one succeeds: it
/// then drops this and the other attempts.
#[derive(Debug)]
pub(crate) struct Happy {
    left: VecDeque<SocketAddr>,
    latest: Option<SocketAddr>,
    /// When the next address is due.
    next_at: Instant,
    /// Attempts that were started and have not failed.
    pending: usize,
    /// Addresses may still come.
    more: bool,
    deadline: Instant,
    error: Option<io::Error>,
}

/// What to do now.
#[derive(Debug)]
pub(crate) enum Step {
    /// Begin an attempt, then ask again.
    Start(SocketAddr),
    /// Nothing before this time, unless an attempt ends.
    Wait(Instant),
    /// No address answered, or none in time: give up the attempts that still run. The last failure is the cause.
    Failed(io::Error),
}

impl Happy {
    /// Tries the addresses in their order until the deadline.
    pub(crate) fn new(addrs: Vec<SocketAddr>, now: Instant, deadline: Instant) -> Self {
        Self { left: addrs.into(), latest: None, next_at: now, pending: 0, more: false, deadline, error: None }
    }

    /// Others may follow: it is not over when these have failed.
    pub(crate) fn expect_more(&mut self) {
        self.more = true;
    }

    /// Adds addresses that were found later (RFC 8305 §3): those left are tried with them, the families in turn.
    pub(crate) fn add(&mut self, addrs: Vec<SocketAddr>, last: bool) {
        self.more = !last;
        let left = order(self.left.drain(..).chain(addrs).collect());
        // The family that was tried last has had its turn.
        let again = |addr: &SocketAddr| self.latest.is_some_and(|latest| latest.is_ipv6() == addr.is_ipv6());
        let (same, other): (Vec<_>, Vec<_>) = left.into_iter().partition(again);
        let (mut same, mut other) = (same.into_iter(), other.into_iter());
        while same.len() + other.len() > 0 {
            self.left.extend(other.next().into_iter().chain(same.next()));
        }
    }

    /// An attempt has failed. When it was the latest, the next address is due at once.
    pub(crate) fn handle_failed(&mut self, addr: SocketAddr, error: io::Error, now: Instant) {
        self.pending = self.pending.saturating_sub(1);
        if self.latest == Some(addr) {
            self.next_at = now;
        }
        self.error = Some(io::Error::new(error.kind(), Failure { addr, error }));
    }

    /// What to do at this time.
    pub(crate) fn poll(&mut self, now: Instant) -> Step {
        if now >= self.deadline {
            return Step::Failed(io::Error::new(io::ErrorKind::TimedOut, TooLate { last: self.error.take() }));
        }
        match self.left.front().copied() {
            Some(addr) if now >= self.next_at => {
                self.left.pop_front();
                self.latest = Some(addr);
                self.next_at = now + STAGGER;
                self.pending += 1;
                Step::Start(addr)
            }
            Some(_) => Step::Wait(self.next_at.min(self.deadline)),
            None if self.pending > 0 || self.more => Step::Wait(self.deadline),
            None => Step::Failed(self.error.take().unwrap_or_else(|| io::Error::other("there is no address to try"))),
        }
    }
}

/// RFC 8305 §5: the "Connection Attempt Delay", recommended to be 250 ms.
const STAGGER: Duration = Duration::from_millis(250);

#[derive(Debug)]
struct Failure {
    addr: SocketAddr,
    error: io::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.addr, self.error)
    }
}

impl std::error::Error for Failure {}

#[derive(Debug)]
struct TooLate {
    last: Option<io::Error>,
}

impl fmt::Display for TooLate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no address answered in time")?;
        match &self.last {
            Some(error) => write!(f, "; the last that failed was {error}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for TooLate {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a connect in virtual time: what each address does after how many milliseconds, and what comes of it.
    fn play(fates: &[Fate], deadline: u64) -> String {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let addr = |n: usize| SocketAddr::from(([10, 0, 0, 0], n as u16));
        let mut happy = Happy::new((0..fates.len()).map(addr).collect(), zero, at(deadline));
        let mut running: Vec<(u64, usize)> = Vec::new();
        let mut now = 0;
        let mut story = Vec::new();
        loop {
            match happy.poll(at(now)) {
                Step::Start(started) => {
                    let n = usize::from(started.port());
                    story.push(format!("{now} start {n}"));
                    let (Fate::Fails(after) | Fate::Answers(after)) = fates[n];
                    running.push((now + after, n));
                }
                Step::Wait(until) => {
                    let until = until.duration_since(zero).as_millis() as u64;
                    assert!(until > now, "a wait that does not wait, at {now}");
                    // What is due together with the wait comes first.
                    match running.iter().copied().min().filter(|(ends, _)| *ends <= until) {
                        Some((ends, n)) => {
                            now = ends;
                            running.retain(|running| running.1 != n);
                            match fates[n] {
                                Fate::Answers(_) => {
                                    story.push(format!("{now} connected {n}"));
                                    return story.join(", ");
                                }
                                Fate::Fails(_) => {
                                    happy.handle_failed(addr(n), io::ErrorKind::ConnectionRefused.into(), at(now));
                                }
                            }
                        }
                        None => now = until,
                    }
                }
                Step::Failed(error) => {
                    story.push(format!("{now} failed: {:?}: {error}", error.kind()));
                    return story.join(", ");
                }
            }
        }
    }

    #[derive(Clone, Copy)]
    enum Fate {
        Fails(u64),
        Answers(u64),
    }

    #[test]
    fn rfc_8305_section_5_attempts_are_staggered() {
        use Fate::*;
        const NEVER: Fate = Answers(u64::MAX / 2);
        let table: [(&str, &[Fate], u64, &str); 11] = [
            ("the first answers", &[Answers(10), Answers(0)], 10_000, "0 start 0, 10 connected 0"),
            ("the first is slow", &[Answers(300), Answers(10)], 10_000, "0 start 0, 250 start 1, 260 connected 1"),
            ("the slow first still wins", &[Answers(260), NEVER], 10_000, "0 start 0, 250 start 1, 260 connected 0"),
            (
                "each is late",
                &[NEVER, NEVER, NEVER, Answers(1)],
                10_000,
                "0 start 0, 250 start 1, 500 start 2, 750 start 3, 751 connected 3",
            ),
            ("a failure starts the next", &[Fails(20), Answers(5)], 10_000, "0 start 0, 20 start 1, 25 connected 1"),
            (
                "a failure at once",
                &[Fails(0), Fails(0), Answers(0)],
                9,
                "0 start 0, 0 start 1, 0 start 2, 0 connected 2",
            ),
            (
                "an older failure does not hurry",
                &[Fails(260), NEVER, Answers(0)],
                10_000,
                "0 start 0, 250 start 1, 500 start 2, 500 connected 2",
            ),
            (
                "all fail",
                &[Fails(10), Fails(10)],
                10_000,
                "0 start 0, 10 start 1, 20 failed: ConnectionRefused: 10.0.0.0:1: connection refused",
            ),
            (
                "none answers",
                &[NEVER, NEVER],
                1_000,
                "0 start 0, 250 start 1, 1000 failed: TimedOut: no address answered in time",
            ),
            (
                "one fails and one does not answer",
                &[Fails(10), NEVER],
                100,
                "0 start 0, 10 start 1, 100 failed: TimedOut: no address answered in time; \
                 the last that failed was 10.0.0.0:0: connection refused",
            ),
            ("no address", &[], 1_000, "0 failed: Other: there is no address to try"),
        ];
        for (name, fates, deadline, expected) in table {
            assert_eq!(play(fates, deadline), expected, "{name}");
        }
    }

    #[test]
    fn rfc_8305_section_3_addresses_that_come_late_are_tried_as_well() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let started = |happy: &mut Happy, ms| match happy.poll(at(ms)) {
            Step::Start(addr) => addr.to_string(),
            Step::Wait(until) => format!("wait until {}", until.duration_since(zero).as_millis()),
            Step::Failed(error) => format!("failed: {error}"),
        };
        let mut happy = Happy::new(vec![addr("1.0.0.1:1"), addr("1.0.0.2:1"), addr("1.0.0.3:1")], zero, at(10_000));
        happy.expect_more();
        assert_eq!(started(&mut happy, 0), "1.0.0.1:1");
        happy.add(vec![addr("[fd00::1]:1"), addr("[fd00::2]:1")], true);
        for (ms, expected) in [(250, "[fd00::1]:1"), (500, "1.0.0.2:1"), (750, "[fd00::2]:1"), (1000, "1.0.0.3:1")] {
            assert_eq!(started(&mut happy, ms), expected);
        }
        assert_eq!(started(&mut happy, 1000), "wait until 10000");
        // All have failed, and others may come; then none does.
        let mut happy = Happy::new(vec![addr("1.0.0.1:1")], zero, at(10_000));
        happy.expect_more();
        started(&mut happy, 0);
        happy.handle_failed(addr("1.0.0.1:1"), io::ErrorKind::ConnectionRefused.into(), at(5));
        assert_eq!(started(&mut happy, 5), "wait until 10000");
        happy.add(vec![addr("[fd00::1]:1")], false);
        assert_eq!(started(&mut happy, 20), "[fd00::1]:1");
        happy.handle_failed(addr("[fd00::1]:1"), io::ErrorKind::ConnectionRefused.into(), at(25));
        happy.add(Vec::new(), true);
        assert_eq!(started(&mut happy, 30), "failed: [fd00::1]:1: connection refused");
    }

    #[test]
    fn the_deadline_also_ends_the_stagger() {
        let fates = [Fate::Answers(1_000), Fate::Answers(0)];
        assert_eq!(play(&fates, 100), "0 start 0, 100 failed: TimedOut: no address answered in time");
        assert_eq!(play(&fates, 0), "0 failed: TimedOut: no address answered in time");
    }
}

//! A wall clock of our own: it runs with the monotonic clock, and is corrected without ever running backwards.

use std::time::Duration;

use super::Moment;

/// A wall clock that has been set once. Times are nanoseconds since 1970, of which a day has 86,400 thousand millions: a leap second
/// has no number, and the clock stands still while it lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall {
    /// What it showed at a moment, leap second left out.
    at: Moment,
    shows: i64,
    /// What it has still to gain or to lose.
    owed: i64,
    leap: Option<LeapSecond>,
}

/// The second that is inserted before a midnight, or left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LeapSecond {
    /// The midnight after it.
    pub(crate) midnight: i64,
    pub(crate) is_added: bool,
}

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// One part in 2000, 500 ppm: what a kernel's clock is corrected by as well, and slow enough for everybody who measures.
const RATE: i64 = 2000;

impl Wall {
    /// A clock that shows this now.
    pub(crate) fn new(now: Moment, shows: i64) -> Self {
        Self { at: now, shows, owed: 0, leap: None }
    }

    /// What it shows.
    pub(crate) fn read(&self, now: Moment) -> i64 {
        let plain = self.plain(now);
        match self.leap {
            Some(leap) => leap.apply(plain),
            None => plain,
        }
    }

    /// Has it gain or lose this, at most one second in 2000. Takes the place of what was to be gained or lost before.
    pub(crate) fn slew(&mut self, now: Moment, offset: i64) {
        self.settle(now);
        self.owed = offset;
    }

    /// Moves what it shows by this, at once. A leap second that does not lie ahead from there as it did from here is forgotten.
    pub(crate) fn step(&mut self, now: Moment, offset: i64) {
        let shows = self.read(now).saturating_add(offset);
        self.settle(now);
        (self.shows, self.owed) = (shows, 0);
        self.leap = self.leap.filter(|leap| !leap.has_begun(shows) && leap.midnight == month_end(shows));
    }

    /// What it has still to gain or to lose.
    pub(crate) fn owed(&self, now: Moment) -> i64 {
        self.owed - self.paid(now)
    }

    /// Has it observe a leap second at the end of the month (RFC 5905 §7.3), or forget one that has not begun.
    pub(crate) fn set_leap(&mut self, now: Moment, is_added: Option<bool>) {
        self.settle(now);
        if self.leap.is_some_and(|leap| leap.has_begun(self.shows)) {
            return;
        }
        self.leap = is_added.map(|is_added| LeapSecond { midnight: month_end(self.shows), is_added });
    }

    /// The leap second that lies ahead, or lasts.
    #[cfg(test)]
    pub(crate) fn leap(&self) -> Option<LeapSecond> {
        self.leap
    }

    /// A leap second lasts, or was a moment ago, or will be in a moment: what servers say now means little.
    pub(crate) fn is_near_leap(&self, now: Moment) -> bool {
        self.leap.is_some_and(|leap| (self.plain(now) - leap.midnight).abs() < NEAR)
    }

    /// The leap second left out.
    fn plain(&self, now: Moment) -> i64 {
        self.shows.saturating_add(elapsed(self.at, now)).saturating_add(self.paid(now))
    }

    /// What has been gained or lost since `at`.
    fn paid(&self, now: Moment) -> i64 {
        let most = elapsed(self.at, now) / RATE;
        self.owed.clamp(-most, most)
    }

    /// Counts from now on from now, and puts a leap second behind that is over.
    fn settle(&mut self, now: Moment) {
        let (plain, owed) = (self.plain(now), self.owed(now));
        (self.at, self.shows, self.owed) = (now, plain, owed);
        if let Some(leap) = self.leap.filter(|leap| leap.is_over(plain)) {
            self.shows = leap.apply(plain);
            self.leap = None;
        }
    }
}

impl LeapSecond {
    /// What a clock shows that would show `plain` without it.
    fn apply(self, plain: i64) -> i64 {
        match self.is_added {
            // 23:59:60 has no number of its own: the last moment before it lasts a second longer.
            true if plain < self.midnight => plain,
            true => (plain - SECOND).max(self.midnight - 1),
            false if plain < self.midnight - SECOND => plain,
            false => plain.saturating_add(SECOND),
        }
    }

    fn has_begun(self, plain: i64) -> bool {
        plain >= if self.is_added { self.midnight } else { self.midnight - SECOND }
    }

    /// It is over, and no server is confused by it any more.
    fn is_over(self, plain: i64) -> bool {
        plain >= self.midnight + NEAR
    }
}

/// The midnight (UTC) that ends the month of a time.
fn month_end(nanos: i64) -> i64 {
    let day = nanos.div_euclid(DAY);
    let month = |day| civil(day).1;
    let first = (1..=31).find(|ahead| month(day + ahead) != month(day)).unwrap_or(31);
    (day + first) * DAY
}

/// Year and month of a day counted from 1970 (the proleptic Gregorian calendar, in years that begin in March).
fn civil(day: i64) -> (i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    (era * 400 + year + i64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 })
}

fn elapsed(from: Moment, to: Moment) -> i64 {
    nanos(to.since(from))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// How long before and after a leap second servers differ about it.
const NEAR: i64 = 3 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Moment {
        Moment::START.after(Duration::from_millis(ms as u64))
    }

    const MS: i64 = 1_000_000;
    /// 2026-07-01T00:00:00Z.
    const JULY: i64 = 1_782_864_000 * SECOND;

    #[test]
    fn a_correction_is_made_little_by_little_and_never_backwards() {
        for offset in [700 * MS, -700 * MS] {
            let mut wall = Wall::new(at(0), JULY);
            wall.slew(at(0), offset);
            let mut last = wall.read(at(0));
            for second in 1..2000 {
                let shows = wall.read(at(second * 1000));
                let wanted = SECOND + offset.signum() * SECOND / RATE;
                let expected = if second <= 1400 { wanted } else { SECOND };
                assert_eq!(shows - last, expected, "second {second}");
                last = shows;
            }
            assert_eq!(last, JULY + 1999 * SECOND + offset);
            assert_eq!(wall.owed(at(700_000)), offset / 2);
            assert_eq!(wall.owed(at(1_400_000)), 0);
        }
    }

    #[test]
    fn a_new_correction_takes_the_place_of_the_old() {
        let mut wall = Wall::new(at(0), JULY);
        wall.slew(at(0), 1000 * MS);
        wall.slew(at(1000), -10 * MS);
        assert_eq!(wall.read(at(1000)), JULY + SECOND + SECOND / RATE);
        assert_eq!(wall.read(at(101_000)), JULY + 101 * SECOND + SECOND / RATE - 10 * MS);
        wall.step(at(101_000), 5 * SECOND);
        assert_eq!(wall.read(at(101_000)), JULY + 106 * SECOND + SECOND / RATE - 10 * MS);
    }

    #[test]
    fn it_stands_still_at_23_59_60_and_goes_on_at_midnight() {
        let mut wall = Wall::new(at(0), JULY - 2 * SECOND);
        wall.set_leap(at(0), Some(true));
        assert_eq!(wall.leap(), Some(LeapSecond { midnight: JULY, is_added: true }));
        // (ms, what it shows, counted from midnight)
        for (ms, shows) in [
            (0, -2 * SECOND),
            (1999, -MS),
            (2000, -1),
            (2500, -1),
            (2999, -1),
            (3000, 0),
            (3001, MS),
            (4000, SECOND),
            (60_000, 57 * SECOND),
        ] {
            assert_eq!(wall.read(at(ms)) - JULY, shows, "{ms} ms");
            // Corrections on the way change nothing about it.
            let mut corrected = wall;
            corrected.slew(at(ms / 2), 0);
            corrected.set_leap(at(ms / 2), if ms / 2 >= 2000 { None } else { Some(true) });
            corrected.slew(at(ms), 0);
            assert_eq!(corrected.read(at(ms)) - JULY, shows, "{ms} ms, corrected");
        }
        wall.slew(at(60_000), 0);
        assert_eq!((wall.leap(), wall.read(at(60_000)) - JULY), (None, 57 * SECOND));
    }

    #[test]
    fn it_leaves_out_23_59_59() {
        let mut wall = Wall::new(at(0), JULY - 3 * SECOND);
        wall.set_leap(at(0), Some(false));
        for (ms, shows) in [(1999, -1001 * MS), (2000, 0), (3000, SECOND), (60_000, 58 * SECOND)] {
            assert_eq!(wall.read(at(ms)) - JULY, shows, "{ms} ms");
        }
        wall.slew(at(60_000), 0);
        assert_eq!((wall.leap(), wall.read(at(60_000)) - JULY), (None, 58 * SECOND));
    }

    #[test]
    fn a_leap_second_that_is_called_off_does_not_come() {
        let mut wall = Wall::new(at(0), JULY - 2 * SECOND);
        wall.set_leap(at(0), Some(true));
        assert!(wall.is_near_leap(at(0)) && !Wall::new(at(0), JULY).is_near_leap(at(0)));
        wall.set_leap(at(1000), None);
        assert_eq!(wall.read(at(3000)), JULY + SECOND);
    }

    #[test]
    fn a_step_across_a_leap_second_ends_where_it_was_to() {
        const HOUR: i64 = 3600 * SECOND;
        // (which, ms, how far before midnight it is then, to what it is set, whether the leap second is still ahead)
        for (is_added, ms, shown, to, is_ahead) in [
            (true, 0, -HOUR, -HOUR / 2, true),
            (true, 0, -HOUR, HOUR, false),
            (true, 0, -HOUR, -40 * DAY, false),
            (true, 3_600_500, -1, -HOUR, true),
            (true, 3_600_500, -1, 0, false),
            (true, 3_600_500, -1, HOUR, false),
            (true, 3_602_000, SECOND, HOUR, false),
            (true, 3_602_000, SECOND, -HOUR, true),
            (false, 0, -HOUR, -HOUR / 2, true),
            (false, 0, -HOUR, HOUR, false),
            (false, 3_599_500, SECOND / 2, HOUR, false),
        ] {
            let mut wall = Wall::new(at(0), JULY - HOUR);
            wall.set_leap(at(0), Some(is_added));
            let row = format!("{is_added} {ms} {to}");
            assert_eq!(wall.read(at(ms)) - JULY, shown, "{row}");
            wall.step(at(ms), to - shown);
            assert_eq!(wall.read(at(ms)) - JULY, to, "{row}");
            assert_eq!(wall.read(at(ms + 1000)) - JULY, to + SECOND, "{row}, a second later");
            assert_eq!(wall.leap().is_some(), is_ahead, "{row}");
        }
    }

    #[test]
    fn rfc_5905_7_3_a_leap_second_comes_at_the_end_of_the_month() {
        let day = |year: i64, month: i64, day: i64| {
            (-800_000..800_000).find(|d| civil(*d) == (year, month)).unwrap() + day - 1
        };
        for (name, (from, until)) in [
            ("2016-12-31", (day(2016, 12, 31), day(2017, 1, 1))),
            ("2026-06-01", (day(2026, 6, 1), day(2026, 7, 1))),
            ("February of a leap year", (day(2028, 2, 1), day(2028, 3, 1))),
            ("2100 is none", (day(2100, 2, 28), day(2100, 3, 1))),
            ("before 1970", (day(1969, 12, 31), 0)),
        ] {
            assert_eq!(month_end(from * DAY + 5), until * DAY, "{name}");
        }
        assert_eq!(day(2026, 7, 1) * DAY, JULY);
        assert_eq!(day(2100, 3, 1) - day(2100, 2, 28), 1);
    }
}

//! The `Date` header, made once per second.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use super::{Clock, Moment};

/// An IMF-fixdate (RFC 9110 §5.6.7) that is good until the second is over.
#[derive(Debug)]
pub(crate) struct DateCache {
    text: [u8; 29],
    good_until: Moment,
}

impl DateCache {
    pub(crate) fn new() -> Self {
        Self { text: *b"Thu, 01 Jan 1970 00:00:00 GMT", good_until: Moment::START }
    }

    /// The date at `now`. Asks the wall clock at most once per second, so a step of it shows a second later.
    #[inline]
    pub(crate) fn get(&mut self, now: Moment, clock: &Clock) -> &[u8; 29] {
        if now >= self.good_until {
            self.renew(now, clock);
        }
        &self.text
    }

    #[cold]
    fn renew(&mut self, now: Moment, clock: &Clock) {
        let wall = clock.wall();
        let date = httpdate::HttpDate::from(UNIX_EPOCH + wall.min(YEAR_9999));
        // Into the text itself: not even one request in a second allocates. It always fits.
        let _ = write!(&mut self.text[..], "{date}");
        self.good_until = now.after(Duration::from_nanos(u64::from(1_000_000_000 - wall.subsec_nanos())));
    }
}

/// The last second that the four-digit year can say.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::ManualClock;

    #[test]
    fn the_date_changes_with_the_second_and_not_before() {
        let hand = ManualClock::new();
        let mut clock = Clock::manual(hand.clone());
        let mut date = DateCache::new();
        let now = clock.now();
        assert_eq!(date.get(now, &clock), b"Sat, 01 Jan 2000 00:00:00 GMT");
        hand.set(Duration::from_millis(999));
        let now = clock.now();
        assert_eq!(date.get(now, &clock), b"Sat, 01 Jan 2000 00:00:00 GMT");
        hand.set(Duration::from_millis(1000));
        let now = clock.now();
        assert_eq!(date.get(now, &clock), b"Sat, 01 Jan 2000 00:00:01 GMT");
    }
}

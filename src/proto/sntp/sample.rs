//! What a server's answer is worth.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use super::packet::{Leap, wall_nanos, wall_time};

/// How far a clock is from another: a time with a sign. Positive means that the other clock is ahead.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Offset(i64);

impl Offset {
    /// An offset of nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Its nanoseconds. Offsets of more than 292 years are cut to that.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Its seconds, for people.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Its length without the sign.
    pub const fn abs(self) -> Duration {
        Duration::from_nanos(self.0.unsigned_abs())
    }

    /// The other clock is behind.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// Seconds with a sign, `+0.000125 s`; as many digits as microseconds have, or what the format asks for.
impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(6);
        write!(f, "{:+.digits$} s", self.as_secs_f64())
    }
}

/// One answer that counts: what the server's clock said, and how well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Sample {
    /// What this machine's wall clock lacks: add it to be right (RFC 4330 §5).
    pub offset: Offset,
    /// The time to the server and back, without what the server took to answer. The offset is wrong by half of it at most, and by
    /// [`root_distance`](Self::root_distance).
    pub delay: Duration,
    /// How wrong the server may be, by its own account: half its root delay, and its root dispersion.
    pub root_distance: Duration,
    /// 1 for a server with a reference clock, up to 15.
    pub stratum: u8,
    /// The next leap second.
    pub leap: Leap,
    /// What the server follows: four letters where the stratum is 1, else mostly an IPv4 address.
    pub reference: [u8; 4],
    /// When the answer arrived.
    pub at: Instant,
    /// What the time was then: the wall clock's, put right by the offset.
    pub time: SystemTime,
}

impl Sample {
    /// Milliseconds since 1970, as the answer arrived.
    pub fn unix_ms(&self) -> i64 {
        wall_nanos(self.time).div_euclid(1_000_000)
    }

    /// The time that it is at `now`, by this answer.
    pub fn time_at(&self, now: Instant) -> SystemTime {
        let passed = i64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(i64::MAX);
        wall_time(wall_nanos(self.time).saturating_add(passed))
    }

    /// How wrong it may be in all.
    pub fn distance(&self) -> Duration {
        self.delay / 2 + self.root_distance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_shows_its_sign() {
        for (nanos, shown) in [(125_000, "+0.000125 s"), (-1_500_000_000, "-1.500000 s"), (0, "+0.000000 s")] {
            assert_eq!(Offset::from_nanos(nanos).to_string(), shown);
        }
        assert_eq!(format!("{:.1}", Offset::from_nanos(-1_500_000_000)), "-1.5 s");
        assert_eq!(Offset::from_nanos(-5).abs(), Duration::from_nanos(5));
    }
}

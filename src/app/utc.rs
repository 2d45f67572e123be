//! Dates, for people. In UTC: the zone of a small machine is rarely set, and never that of who reads its logs.

/// A moment in the Gregorian calendar.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Utc {
    pub(super) year: u64,
    pub(super) month: u8,
    pub(super) day: u8,
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
}

impl Utc {
    pub(super) fn at(unix_time: u64) -> Self {
        let (days, seconds) = (unix_time / 86_400, unix_time % 86_400);
        // Count from 0000-03-01: the leap day then ends a year, and 400 years are one cycle of 146,097 days.
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // March to January are five-month runs of 153 days.
        let shifted = (5 * day_of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * shifted + 2) / 5 + 1) as u8,
            hour: (seconds / 3_600) as u8,
            minute: (seconds / 60 % 60) as u8,
            second: (seconds % 60) as u8,
        }
    }

    /// The day of the week, 0 for Sunday.
    pub(super) fn weekday(unix_time: u64) -> usize {
        // The first day was a Thursday.
        ((unix_time / 86_400 + 4) % 7) as usize
    }

    /// The day of the year, 1 for the first of January.
    pub(super) fn day_of_year(&self) -> u16 {
        const BEFORE: [u16; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let is_leap = self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        BEFORE[usize::from(self.month - 1)] + u16::from(self.day) + u16::from(is_leap && self.month > 2)
    }
}

/// The months' short names.
pub(super) const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn days_become_dates() {
        let table: &[(u64, (u64, u8, u8))] = &[
            (0, (1970, 1, 1)),
            (951_782_400, (2000, 2, 29)),
            (951_868_800, (2000, 3, 1)),
            (4_107_456_000, (2100, 2, 28)),
            (4_107_542_400, (2100, 3, 1)),
            (1_735_603_200, (2024, 12, 31)),
            (253_402_214_400, (9999, 12, 31)),
        ];
        for (time, (year, month, day)) in table {
            let got = Utc::at(time + 86_399);
            let expected = Utc { year: *year, month: *month, day: *day, hour: 23, minute: 59, second: 59 };
            assert_eq!(got, expected, "{time}");
        }
        Utc::at(u64::MAX);
    }

    proptest! {
        #[test]
        fn dates_are_those_of_httpdate(time in 0..253_402_300_800u64) {
            let theirs = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(time));
            let Utc { year, month, day, hour, minute, second } = Utc::at(time);
            let month = MONTHS[usize::from(month - 1)];
            let ours = format!("{day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT");
            prop_assert_eq!(&theirs[5..], ours);
            let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][Utc::weekday(time)];
            prop_assert_eq!(&theirs[..3], weekday);
            let day_of_year = u64::from(Utc::at(time).day_of_year());
            let first = Utc::at(time - (day_of_year - 1) * 86_400);
            prop_assert_eq!((first.year, first.month, first.day), (year, 1, 1));
        }
    }
}

//! The 48 bytes of a packet, and the arithmetic of its timestamps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a packet without extension fields and without a signature (RFC 5905 §7.3).
pub const PACKET_LEN: usize = 48;

/// A client's question.
pub const MODE_CLIENT: u8 = 3;
/// A server's answer.
pub const MODE_SERVER: u8 = 4;
/// The newest version there is.
pub const VERSION: u8 = 4;

/// From 1900 to 1970, in seconds.
const EPOCHS_APART: i64 = 2_208_988_800;
/// Seconds of one era (RFC 5905 §6).
const ERA: i64 = 1 << 32;
const NANOS: i64 = 1_000_000_000;

/// A time as packets carry it: seconds since 1900 in the upper half, a fraction in the lower one, both modulo 2^32 (RFC 5905 §6).
/// Zero means "not known".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time in nanoseconds since 1970, negative before, as a packet carries it.
    pub fn from_nanos(nanos: i64) -> Self {
        let seconds = (nanos.div_euclid(NANOS) + EPOCHS_APART).rem_euclid(ERA) as u64;
        let fraction = ((nanos.rem_euclid(NANOS) as u64) << 32) / NANOS as u64;
        Self(seconds << 32 | fraction)
    }

    /// Nanoseconds since 1970. Timestamps with the first bit set are of 1968 to 2036, those without it of 2036 to 2104
    /// (RFC 4330 §3).
    pub fn to_nanos(self) -> i64 {
        let seconds = (self.0 >> 32) as i64;
        let era = if self.0 >> 63 == 1 { 0 } else { ERA };
        // Rounded up, as the way there rounds down: a nanosecond comes back as itself.
        let nanos = ((self.0 & 0xffff_ffff) * NANOS as u64).div_ceil(1 << 32) as i64;
        (seconds + era - EPOCHS_APART) * NANOS + nanos
    }

    /// "Not known".
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// How long from `earlier` until this, in units of 2^-32 s; right whatever eras the two are of, if they are less than 68 years
    /// apart.
    pub(crate) fn since(self, earlier: Self) -> i64 {
        self.0.wrapping_sub(earlier.0) as i64
    }
}

/// What a server knows of the next leap second (RFC 5905 §7.3, figure 9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Leap {
    /// There is none.
    #[default]
    None,
    /// The last minute of this month has 61 seconds.
    Add,
    /// The last minute of this month has 59 seconds.
    Remove,
    /// The server's clock has never been set.
    Unknown,
}

impl Leap {
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::None,
            1 => Self::Add,
            2 => Self::Remove,
            _ => Self::Unknown,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Add => 1,
            Self::Remove => 2,
            Self::Unknown => 3,
        }
    }
}

/// A packet's fields, as they are on the wire: nothing is judged yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Packet {
    /// The next leap second.
    pub leap: Leap,
    /// 0 to 7; today's is 4.
    pub version: u8,
    /// 0 to 7: 3 asks, 4 answers.
    pub mode: u8,
    /// How far the server is from a reference clock: 1 has one, 0 says that [`reference`](Self::reference) is a message.
    pub stratum: u8,
    /// The base-2 logarithm of the seconds between two questions.
    pub poll: i8,
    /// The base-2 logarithm of the seconds that the server's clock resolves.
    pub precision: i8,
    /// The time to the reference clock and back, in 2^-16 s.
    pub root_delay: u32,
    /// How wrong the reference clock may be, in 2^-16 s.
    pub root_dispersion: u32,
    /// What the server follows; a kiss code where the stratum is 0.
    pub reference: [u8; 4],
    /// When the server's clock was last set.
    pub reference_time: Timestamp,
    /// The transmit time of the question, whatever the asker wrote there.
    pub originate: Timestamp,
    /// When the question arrived.
    pub receive: Timestamp,
    /// When the packet left.
    pub transmit: Timestamp,
}

impl Packet {
    /// Reads the header that `bytes` begin with; none when they are too short.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PACKET_LEN] = bytes.get(..PACKET_LEN)?.try_into().ok()?;
        let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let time = |at: usize| Timestamp(u64::from(word(at)) << 32 | u64::from(word(at + 4)));
        Some(Self {
            leap: Leap::from_bits(bytes[0] >> 6),
            version: bytes[0] >> 3 & 7,
            mode: bytes[0] & 7,
            stratum: bytes[1],
            poll: bytes[2] as i8,
            precision: bytes[3] as i8,
            root_delay: word(4),
            root_dispersion: word(8),
            reference: word(12).to_be_bytes(),
            reference_time: time(16),
            originate: time(24),
            receive: time(32),
            transmit: time(40),
        })
    }

    /// The packet's bytes.
    pub fn encode(&self) -> [u8; PACKET_LEN] {
        let mut bytes = [0; PACKET_LEN];
        bytes[0] = self.leap.bits() << 6 | (self.version & 7) << 3 | (self.mode & 7);
        bytes[1] = self.stratum;
        bytes[2] = self.poll as u8;
        bytes[3] = self.precision as u8;
        bytes[4..8].copy_from_slice(&self.root_delay.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.root_dispersion.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.reference);
        for (at, time) in [(16, self.reference_time), (24, self.originate), (32, self.receive), (40, self.transmit)] {
            bytes[at..at + 8].copy_from_slice(&time.0.to_be_bytes());
        }
        bytes
    }
}

/// A time of 2^-16 s, as root delay and root dispersion are (RFC 5905 §6).
pub(crate) fn short_to_duration(short: u32) -> Duration {
    Duration::from_nanos((u64::from(short) * NANOS as u64) >> 16)
}

/// The other way; what does not fit is the longest.
pub(crate) fn duration_to_short(duration: Duration) -> u32 {
    u32::try_from((duration.as_nanos() << 16).div_ceil(NANOS as u128)).unwrap_or(u32::MAX)
}

/// A wall clock's time in nanoseconds since 1970; a clock may stand before that.
pub(crate) fn wall_nanos(time: SystemTime) -> i64 {
    let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    }
}

/// The other way.
pub(crate) fn wall_time(nanos: i64) -> SystemTime {
    let apart = Duration::from_nanos(nanos.unsigned_abs());
    let time = if nanos < 0 { UNIX_EPOCH.checked_sub(apart) } else { UNIX_EPOCH.checked_add(apart) };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The moment at which era 0 ends and era 1 begins: 2036-02-07T06:28:16Z.
    const ERA_1: i64 = ERA - EPOCHS_APART;

    #[test]
    fn rfc_4330_3_a_timestamp_means_a_time_between_1968_and_2104() {
        // (name, timestamp, seconds since 1970)
        let table = [
            ("1970", 0x83aa_7e80_0000_0000, 0),
            ("the first with the bit set: 1968-01-20", 0x8000_0000_0000_0000, -61_505_152),
            ("2025-01-01", 0xeb1f_0400_0000_0000, 1_735_689_600),
            ("the last second of era 0", 0xffff_ffff_0000_0000, ERA_1 - 1),
            ("2036-02-07, era 1", 0x0000_0000_0000_0000, ERA_1),
            ("one second into era 1", 0x0000_0001_0000_0000, ERA_1 + 1),
            ("the last of all: 2104-02-26", 0x7fff_ffff_0000_0000, ERA_1 + (1 << 31) - 1),
        ];
        for (name, timestamp, seconds) in table {
            let timestamp = Timestamp(timestamp);
            assert_eq!(timestamp.to_nanos(), seconds * NANOS, "{name}");
            assert_eq!(Timestamp::from_nanos(seconds * NANOS), timestamp, "{name}");
        }
    }

    #[test]
    fn rfc_5905_6_differences_are_right_across_eras() {
        let (before, after) = (Timestamp::from_nanos((ERA_1 - 1) * NANOS), Timestamp::from_nanos((ERA_1 + 1) * NANOS));
        assert_eq!(after.since(before), 2 << 32);
        assert_eq!(before.since(after), -2 << 32);
    }

    #[test]
    fn a_clock_before_1970_is_a_time_like_any_other() {
        // (name, nanoseconds since 1970)
        for (name, nanos) in [("1969", -1), ("1960", -315_619_200 * NANOS), ("1901", -2_177_452_800 * NANOS)] {
            assert_eq!(wall_nanos(wall_time(nanos)), nanos, "{name}");
            // It goes onto the wire modulo an era, and nothing overflows.
            let seconds = Timestamp::from_nanos(nanos).0 >> 32;
            assert_eq!(seconds as i64, (nanos.div_euclid(NANOS) + EPOCHS_APART).rem_euclid(ERA), "{name}");
        }
    }

    #[test]
    fn rfc_5905_7_3_fields_are_where_the_figure_has_them() {
        let mut bytes = [0u8; PACKET_LEN];
        bytes.iter_mut().zip(0..).for_each(|(byte, at)| *byte = at);
        bytes[0] = 0b01_100_011;
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!((packet.leap, packet.version, packet.mode), (Leap::Add, 4, 3));
        assert_eq!((packet.stratum, packet.poll, packet.precision), (1, 2, 3));
        assert_eq!((packet.root_delay, packet.root_dispersion), (0x0405_0607, 0x0809_0a0b));
        assert_eq!(packet.reference, [12, 13, 14, 15]);
        assert_eq!(packet.reference_time.0, 0x1011_1213_1415_1617);
        assert_eq!(packet.originate.0, 0x1819_1a1b_1c1d_1e1f);
        assert_eq!(packet.receive.0, 0x2021_2223_2425_2627);
        assert_eq!(packet.transmit.0, 0x2829_2a2b_2c2d_2e2f);
        assert_eq!(packet.encode(), bytes);
        assert_eq!(Packet::decode(&bytes[..47]), None);
    }

    #[test]
    fn short_times_have_a_resolution_of_15_us() {
        for (short, nanos) in [(0, 0), (1, 15_258), (0x1_0000, 1_000_000_000), (u32::MAX, 65_535_999_984_741)] {
            assert_eq!(short_to_duration(short), Duration::from_nanos(nanos));
            assert_eq!(duration_to_short(short_to_duration(short)), short);
        }
        assert_eq!(duration_to_short(Duration::MAX), u32::MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_encoded_as_they_were_decoded(bytes in proptest::array::uniform32(any::<u8>()), more in any::<[u8; 16]>()) {
            let bytes = [&bytes[..], &more[..]].concat();
            prop_assert_eq!(Packet::decode(&bytes).unwrap().encode().to_vec(), bytes);
        }

        #[test]
        fn a_nanosecond_survives_the_wire(nanos in -61_505_152 * NANOS..(ERA_1 + (1 << 31)) * NANOS) {
            prop_assert_eq!(Timestamp::from_nanos(nanos).to_nanos(), nanos);
        }
    }
}

//! Answers: to whom, how often, and with what.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use super::OLDEST;
use super::packet::{
    Leap, MODE_CLIENT, MODE_SERVER, PACKET_LEN, Packet, Timestamp, VERSION, duration_to_short, wall_nanos,
};

/// Where a server has its time from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Source {
    /// The next leap second; `Unknown` while the clock is not set.
    pub leap: Leap,
    /// 1 with a reference clock, else one more than that of the server that this one follows; 0 while the clock is not set.
    pub stratum: u8,
    /// What is followed (RFC 5905 §7.3).
    pub reference: [u8; 4],
    /// When the clock was last set.
    pub reference_time: SystemTime,
    /// The time to the reference clock and back.
    pub root_delay: Duration,
    /// How wrong the clock may be.
    pub root_dispersion: Duration,
}

impl Source {
    /// A clock that has not been set: clients do not use its time.
    pub fn unsynchronised() -> Self {
        Self {
            leap: Leap::Unknown,
            stratum: 0,
            // RFC 5905 §7.4: "the association has not yet synchronized for the first time".
            reference: *b"INIT",
            reference_time: SystemTime::UNIX_EPOCH,
            root_delay: Duration::ZERO,
            root_dispersion: Duration::ZERO,
        }
    }

    /// This machine's clock, on the caller's word that it is right. One that is plainly wrong is not passed on.
    pub fn local(stratum: u8, wall: SystemTime) -> Self {
        if wall_nanos(wall) < OLDEST * 1_000_000_000 {
            return Self::unsynchronised();
        }
        Self {
            leap: Leap::None,
            stratum: stratum.clamp(1, 15),
            reference: if stratum <= 1 { *b"LOCL" } else { [127, 127, 1, 0] },
            reference_time: wall,
            root_delay: Duration::ZERO,
            root_dispersion: Duration::ZERO,
        }
    }
}

/// A question, with what the answer needs of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    version: u8,
    poll: i8,
    transmit: Timestamp,
}

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Unanswered {
    /// It is no question of a client: too short, another mode, no version that there is.
    NotARequest,
    /// The address asks too often, and has been told so.
    TooOften,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotARequest => "it is no question of a client",
            Self::TooOften => "the address asks too often",
        })
    }
}

impl std::error::Error for Unanswered {}

/// Answers clients, each address so often and not more.
#[derive(Debug)]
pub struct Server {
    limiter: Limiter,
}

impl Server {
    /// A server that answers whom the limiter lets pass.
    pub fn new(limiter: Limiter) -> Self {
        Self { limiter }
    }

    /// Addresses that were forgotten because there was no room for more.
    pub fn forgotten(&self) -> u64 {
        self.limiter.forgotten
    }

    /// The answer to a datagram, which is never longer than it: 48 bytes, and whether they are a kiss of death. `received` and
    /// `sent` are the wall clock's times.
    pub fn handle(
        &mut self,
        bytes: &[u8],
        from: IpAddr,
        now: Instant,
        source: &Source,
        (received, sent): (SystemTime, SystemTime),
    ) -> Result<([u8; PACKET_LEN], bool), Unanswered> {
        let request = Request::decode(bytes).ok_or(Unanswered::NotARequest)?;
        match self.limiter.check(from, now) {
            Pass::Yes => Ok((request.answer(source, received, sent), false)),
            Pass::Told => Ok((request.kiss(b"RATE"), true)),
            Pass::No => Err(Unanswered::TooOften),
        }
    }
}

impl Request {
    /// Reads a client's question. Whatever follows the header, extension fields or a signature, is left alone.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let packet = Packet::decode(bytes)?;
        let is_question = packet.mode == MODE_CLIENT && (1..=VERSION).contains(&packet.version);
        is_question.then_some(Self { version: packet.version, poll: packet.poll, transmit: packet.transmit })
    }

    /// RFC 4330 §6: what is copied, and what is the server's.
    fn answer(&self, source: &Source, received: SystemTime, sent: SystemTime) -> [u8; PACKET_LEN] {
        let (received, sent) = (wall_nanos(received), wall_nanos(sent));
        let reference_time = match source.leap {
            Leap::Unknown => Timestamp::default(),
            Leap::None | Leap::Add | Leap::Remove => Timestamp::from_nanos(wall_nanos(source.reference_time).min(sent)),
        };
        self.packet(source.leap, source.stratum, source.reference)
            .with(|packet| {
                packet.root_delay = duration_to_short(source.root_delay);
                packet.root_dispersion = duration_to_short(source.root_dispersion);
                packet.reference_time = reference_time;
                packet.receive = Timestamp::from_nanos(received.min(sent));
                packet.transmit = Timestamp::from_nanos(sent);
            })
            .encode()
    }

    /// RFC 5905 §7.4: stratum 0 and a code; there is no time in it.
    fn kiss(&self, code: &[u8; 4]) -> [u8; PACKET_LEN] {
        self.packet(Leap::Unknown, 0, *code)
            .with(|packet| {
                packet.receive = self.transmit;
                packet.transmit = self.transmit;
            })
            .encode()
    }

    fn packet(&self, leap: Leap, stratum: u8, reference: [u8; 4]) -> Packet {
        Packet {
            leap,
            version: self.version,
            mode: MODE_SERVER,
            stratum,
            poll: self.poll.clamp(0, 17),
            precision: PRECISION,
            reference,
            originate: self.transmit,
            ..Packet::default()
        }
    }
}

impl Packet {
    fn with(mut self, set: impl FnOnce(&mut Self)) -> Self {
        set(&mut self);
        self
    }
}

/// About a microsecond: what it takes to read the clock and to send.
const PRECISION: i8 = -20;

/// How often each address may ask: a bounded table, and who has not asked for longest is forgotten first.
///
/// Addresses can be forged. That costs others at most their place in the table, and with it nothing but that they are let pass:
/// an answer is no longer than its question.
#[derive(Debug)]
pub struct Limiter {
    /// Sets of [`WAYS`] places; an address belongs to one set.
    places: Box<[Place]>,
    /// Makes it unknown which addresses share a set.
    key: u64,
    epoch: Instant,
    interval: u64,
    burst: u64,
    forgotten: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// The address; of IPv6 the network, of which one may have all addresses.
    addr: u128,
    /// When its questions so far would have been even with the rate, in nanoseconds. 0: the place is free.
    even_at: u64,
    /// Until then it is not told again.
    told_until: u64,
}

enum Pass {
    Yes,
    /// No, and it is to be told.
    Told,
    No,
}

/// Places of a set.
const WAYS: usize = 4;
/// How often an address is told that it asks too often.
const TOLD_EVERY: u64 = 1_000_000_000;

impl Limiter {
    /// Lets each address ask `per_second` times a second, and `burst` times at once. Remembers `addresses` of them, 32 bytes each.
    /// `key` are 64 bits that nobody can guess.
    pub fn new(addresses: usize, per_second: u32, burst: u32, now: Instant, key: u64) -> Self {
        let interval = 1_000_000_000 / u64::from(per_second.max(1));
        Self {
            places: vec![Place::default(); addresses.max(1).next_multiple_of(WAYS)].into_boxed_slice(),
            key,
            // So that no time is 0.
            epoch: now.checked_sub(Duration::from_nanos(1)).unwrap_or(now),
            interval,
            burst: interval.saturating_mul(u64::from(burst.max(1)) - 1),
            forgotten: 0,
        }
    }

    fn check(&mut self, from: IpAddr, now: Instant) -> Pass {
        let now = u64::try_from(now.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX).max(1);
        let addr = match from.to_canonical() {
            IpAddr::V4(addr) => u128::from(addr.to_bits()) | 1 << 32,
            // The upper half names the network (RFC 4291 §2.5.4).
            IpAddr::V6(addr) => addr.to_bits() >> 64 << 64 | 1,
        };
        let sets = self.places.len() / WAYS;
        let set = (mix((addr >> 64) as u64 ^ mix(addr as u64 ^ self.key)) % sets as u64) as usize;
        let places = &mut self.places[set * WAYS..][..WAYS];
        let at = places.iter().position(|place| place.addr == addr && place.even_at > 0).unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|at| places[*at].even_at).unwrap_or(0);
            // Who was even already is owed nothing.
            self.forgotten += u64::from(places[oldest].even_at > now);
            places[oldest] = Place { addr, even_at: 0, told_until: 0 };
            oldest
        });
        let place = &mut places[at];
        let even_at = place.even_at.max(now);
        if even_at - now <= self.burst {
            place.even_at = even_at.saturating_add(self.interval);
            return Pass::Yes;
        }
        if now < place.told_until {
            return Pass::No;
        }
        place.told_until = now.saturating_add(TOLD_EVERY);
        Pass::Told
    }
}

/// Spreads the bits of a word (the finisher of splitmix64).
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::super::packet::wall_time;
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000_000;

    fn source() -> Source {
        Source {
            leap: Leap::Add,
            stratum: 3,
            reference: [10, 0, 0, 1],
            reference_time: wall_time(NOW - 5),
            root_delay: Duration::from_millis(20),
            root_dispersion: Duration::from_millis(3),
        }
    }

    fn request(version: u8, mode: u8, len: usize) -> Vec<u8> {
        let transmit = Timestamp(0x1122_3344_5566_7788);
        let mut bytes = Packet { version, mode, poll: 6, transmit, ..Packet::default() }.encode().to_vec();
        bytes.resize(len, 0xee);
        bytes
    }

    fn limiter(epoch: Instant) -> Limiter {
        Limiter::new(8, 10, 3, epoch, 7)
    }

    fn ask(server: &mut Server, bytes: &[u8], from: IpAddr, now: Instant) -> Result<(Packet, bool), Unanswered> {
        let times = (wall_time(NOW), wall_time(NOW + 1000));
        let (answer, kiss) = server.handle(bytes, from, now, &source(), times)?;
        assert!(answer.len() <= bytes.len(), "an answer is never longer than its question");
        Ok((Packet::decode(&answer).unwrap(), kiss))
    }

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn rfc_4330_6_the_answer_copies_what_it_must() {
        for (version, len) in [(1, 48), (2, 48), (3, 68), (4, 48), (4, 52), (4, 1400)] {
            let now = Instant::now();
            let (answer, kiss) = ask(&mut Server::new(limiter(now)), &request(version, 3, len), HOME, now).unwrap();
            assert!(!kiss);
            assert_eq!((answer.version, answer.mode, answer.poll), (version, MODE_SERVER, 6));
            assert_eq!(answer.originate.0, 0x1122_3344_5566_7788, "bit for bit");
            assert_eq!((answer.leap, answer.stratum, answer.reference), (Leap::Add, 3, [10, 0, 0, 1]));
            assert_eq!((answer.receive.to_nanos(), answer.transmit.to_nanos()), (NOW, NOW + 1000));
            assert_eq!(answer.reference_time.to_nanos(), NOW - 5);
            assert_eq!(answer.precision, PRECISION);
        }
    }

    #[test]
    fn whatever_is_no_question_gets_no_answer() {
        let now = Instant::now();
        let mut server = Server::new(limiter(now));
        for (name, bytes) in [
            ("nothing", vec![]),
            ("one byte", vec![0x23]),
            ("47 bytes", request(4, 3, 47)),
            ("version 0", request(0, 3, 48)),
            ("version 5", request(5, 3, 48)),
            ("version 7", request(7, 3, 48)),
            ("mode 0", request(4, 0, 48)),
            ("symmetric active", request(4, 1, 48)),
            ("symmetric passive", request(4, 2, 48)),
            ("an answer: two servers would not stop", request(4, 4, 48)),
            ("broadcast", request(4, 5, 48)),
            ("control: what was amplified", request(4, 6, 48)),
            ("private: what was amplified most", request(4, 7, 48)),
        ] {
            assert_eq!(ask(&mut server, &bytes, HOME, now), Err(Unanswered::NotARequest), "{name}");
        }
    }

    #[test]
    fn a_clock_that_is_not_set_says_so() {
        let now = Instant::now();
        let times = (wall_time(NOW), wall_time(NOW));
        for (name, source) in [
            ("by its own account", Source::unsynchronised()),
            ("before this was written", Source::local(1, wall_time(946_684_800_000_000_000))),
            ("before 1970", Source::local(1, wall_time(-1))),
        ] {
            let answer = Server::new(limiter(now)).handle(&request(4, 3, 48), HOME, now, &source, times).unwrap().0;
            let answer = Packet::decode(&answer).unwrap();
            assert_eq!((answer.leap, answer.stratum, &answer.reference), (Leap::Unknown, 0, b"INIT"), "{name}");
            assert!(answer.reference_time.is_zero(), "{name}");
        }
        let local = Source::local(1, wall_time(NOW));
        assert_eq!((local.leap, local.stratum, &local.reference), (Leap::None, 1, b"LOCL"));
        assert_eq!(Source::local(10, wall_time(NOW)).reference, [127, 127, 1, 0]);
    }

    #[test]
    fn rfc_5905_7_4_an_address_that_asks_too_often_is_told_once_a_second() {
        let start = Instant::now();
        let mut server = Server::new(limiter(start));
        let at = |ms| start + Duration::from_millis(ms);
        let mut ask = |from: IpAddr, ms| match ask(&mut server, &request(4, 3, 48), from, at(ms)) {
            Ok((answer, true)) => {
                assert_eq!((answer.stratum, &answer.reference, answer.leap), (0, b"RATE", Leap::Unknown));
                assert_eq!(answer.originate.0, 0x1122_3344_5566_7788);
                "told"
            }
            Ok((_, false)) => "answered",
            Err(why) => {
                assert_eq!(why, Unanswered::TooOften);
                "nothing"
            }
        };
        let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
        // Three at once, then ten a second.
        let table = [
            (HOME, 0, "answered"),
            (HOME, 0, "answered"),
            (HOME, 0, "answered"),
            (HOME, 0, "told"),
            (HOME, 50, "nothing"),
            (other, 50, "answered"),
            (HOME, 100, "answered"),
            (HOME, 100, "nothing"),
            (HOME, 1000, "answered"),
            (HOME, 1000, "answered"),
            (HOME, 1000, "answered"),
            (HOME, 1001, "told"),
            (HOME, 60_000, "answered"),
        ];
        for (row, (from, ms, expected)) in table.into_iter().enumerate() {
            assert_eq!(ask(from, ms), expected, "row {row}");
        }
    }

    #[test]
    fn networks_of_ipv6_count_as_one_and_mapped_addresses_as_what_they_are() {
        let start = Instant::now();
        let mut server = Server::new(Limiter::new(64, 1, 1, start, 3));
        let mut passes = |from: IpAddr| matches!(ask(&mut server, &request(4, 3, 48), from, start), Ok((_, false)));
        let v6 = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last));
        assert!(passes(v6(1)) && !passes(v6(2)));
        assert!(passes(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1))));
        assert!(passes(HOME) && !passes(IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped())));
    }

    #[test]
    fn the_table_does_not_grow_and_forgets_who_asked_longest_ago() {
        let start = Instant::now();
        let mut limiter = Limiter::new(8, 1, 1, start, 3);
        for n in 0..10_000u32 {
            let now = start + Duration::from_millis(u64::from(n));
            limiter.check(IpAddr::V4(Ipv4Addr::from_bits(n)), now);
        }
        assert_eq!(limiter.places.len(), 8);
        assert!(limiter.forgotten > 9000, "{}", limiter.forgotten);
        // The newest is there still.
        assert!(!matches!(
            limiter.check(IpAddr::V4(Ipv4Addr::from_bits(9999)), start + Duration::from_secs(10)),
            Pass::Yes
        ));
    }

    proptest! {
        #[test]
        fn no_answer_is_longer_than_its_question(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let now = Instant::now();
            let times = (wall_time(NOW), wall_time(NOW));
            if let Ok((answer, _)) = Server::new(limiter(now)).handle(&bytes, HOME, now, &source(), times) {
                prop_assert!(answer.len() <= bytes.len());
                prop_assert_eq!(&answer[24..32], &bytes[40..48]);
            }
        }
    }
}

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000_000;
/// 2027-01-15, on the server's clock, when the question arrives there.
const SERVER: i64 = 1_800_000_000 * SECOND;
const COOKIE: u64 = 0x0123_4567_89ab_cdef;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An answer that counts.
fn good() -> Packet {
    Packet {
        leap: Leap::None,
        version: 4,
        mode: 4,
        stratum: 2,
        poll: 6,
        precision: -20,
        root_delay: 0x0000_0400,
        root_dispersion: 0x0000_0200,
        reference: [192, 0, 2, 1],
        reference_time: Timestamp::from_nanos(SERVER - 10 * SECOND),
        originate: Timestamp(COOKIE),
        receive: Timestamp::from_nanos(SERVER),
        transmit: Timestamp::from_nanos(SERVER + 1_000_000),
    }
}

fn every(seconds: u64) -> Policy {
    Policy { poll: Poll::Every(Duration::from_secs(seconds)), ..Policy::default() }
}

/// A client that has asked, and when.
fn asked(policy: Policy) -> (Client, Instant) {
    let now = Instant::now();
    let mut client = Client::new(policy);
    assert!(matches!(client.handle_timeout(now, COOKIE), Step::Send(_)));
    (client, now)
}

/// Answers the question after 11 ms: 5 there, 1 at the server, 5 back. The client's clock is `behind` the server's.
fn answer(bytes: &[u8], behind: i64) -> Result<Verdict, Refusal> {
    let (mut client, now) = asked(Policy::default());
    client.handle_reply(bytes, now + ms(11), wall_time(SERVER + 6_000_000 - behind))
}

#[test]
fn rfc_4330_5_a_question_tells_nothing_but_that_it_is_one() {
    let Step::Send(bytes) = Client::new(Policy::default()).handle_timeout(Instant::now(), COOKIE) else { panic!() };
    assert_eq!(bytes[0], 0x23, "no leap second, version 4, mode 3");
    assert_eq!(bytes[1..40], [0; 39]);
    assert_eq!(bytes[40..], COOKIE.to_be_bytes(), "the transmit time is what was drawn, fraction and all");
    // Zero is drawn once in 2^64 times, and would mean "no time".
    let Step::Send(bytes) = Client::new(Policy::default()).handle_timeout(Instant::now(), 0) else { panic!() };
    assert_ne!(bytes[40..], [0; 8]);
}

#[test]
fn d13_a_good_answer_gives_the_time() {
    for (name, behind) in [
        ("right", 0),
        ("a little behind", 250_000_000),
        ("an hour ahead", -3600 * SECOND),
        ("a board without a clock: 1970", SERVER),
        ("2000", SERVER - 946_684_800 * SECOND),
        ("a clock before 1970", SERVER + 86_400 * 365 * SECOND),
        ("1901", SERVER + 2_177_452_800 * SECOND),
        ("a clock in 2100", SERVER - 4_102_444_800 * SECOND),
    ] {
        let Ok(Verdict::Sample(sample)) = answer(&good().encode(), behind) else { panic!("{name}") };
        assert_eq!(sample.offset.as_nanos(), behind, "{name}");
        assert_eq!(sample.delay, ms(10), "{name}: without the millisecond at the server");
        assert_eq!(sample.time, wall_time(SERVER + 6_000_000), "{name}");
        assert_eq!(sample.unix_ms(), 1_800_000_000_006, "{name}");
        assert_eq!((sample.stratum, sample.reference, sample.leap), (2, [192, 0, 2, 1], Leap::None), "{name}");
        // 0x400 / 2 + 0x200 = 0x400 units of 2^-16 s.
        assert_eq!(sample.root_distance, Duration::from_nanos(15_625_000), "{name}");
        assert_eq!(sample.time_at(sample.at + ms(500)), wall_time(SERVER + 506_000_000), "{name}");
    }
}

#[test]
fn rfc_4330_3_the_rollover_of_2036_is_a_moment_like_any_other() {
    // 2036-02-07T06:28:16Z.
    let rollover = 2_085_978_496 * SECOND;
    for (name, server) in [
        ("a day before", rollover - 86_400 * SECOND),
        ("while the question is under way", rollover - 500_000),
        ("a day after", rollover + 86_400 * SECOND),
        ("2100", 4_102_444_800 * SECOND),
    ] {
        for (whose, local) in [("right", server), ("1970", 0), ("2000", 946_684_800 * SECOND)] {
            let packet = Packet {
                reference_time: Timestamp::from_nanos(server - SECOND),
                receive: Timestamp::from_nanos(server),
                transmit: Timestamp::from_nanos(server + 1_000_000),
                ..good()
            };
            let (mut client, now) = asked(Policy::default());
            let verdict = client.handle_reply(&packet.encode(), now + ms(11), wall_time(local + 6_000_000));
            let Ok(Verdict::Sample(sample)) = verdict else { panic!("{name}, {whose}: {verdict:?}") };
            assert_eq!(sample.offset.as_nanos(), server - local, "{name}, {whose}");
        }
    }
}

/// Each row breaks one field of a good answer.
#[test]
fn d14_an_answer_that_does_not_count_changes_nothing() {
    type Break = fn(&mut Packet);
    let table: &[(&str, Refusal, Break)] = &[
        ("another question's", Refusal::Originate, |p| p.originate.0 ^= 1),
        ("nobody's", Refusal::Originate, |p| p.originate.0 = 0),
        ("mode 0", Refusal::Mode, |p| p.mode = 0),
        ("mode 3: a question", Refusal::Mode, |p| p.mode = 3),
        ("mode 5: broadcast", Refusal::Mode, |p| p.mode = 5),
        ("mode 6", Refusal::Mode, |p| p.mode = 6),
        ("version 0", Refusal::Version, |p| p.version = 0),
        ("version 5", Refusal::Version, |p| p.version = 5),
        ("version 7", Refusal::Version, |p| p.version = 7),
        ("LI=3", Refusal::Unsynchronised, |p| p.leap = Leap::Unknown),
        ("stratum 0 without a code", Refusal::Kiss, |p| (p.stratum, p.reference) = (0, [0; 4])),
        ("stratum 0, a code that asks nothing", Refusal::Kiss, |p| (p.stratum, p.reference) = (0, *b"STEP")),
        ("stratum 16", Refusal::Stratum, |p| p.stratum = 16),
        ("stratum 255", Refusal::Stratum, |p| p.stratum = 255),
        ("zero transmit", Refusal::NoTime, |p| p.transmit.0 = 0),
        ("zero receive", Refusal::NoTime, |p| p.receive.0 = 0),
        ("root delay 2 s", Refusal::RootDistance, |p| p.root_delay = 0x0002_0000),
        ("root dispersion 1 s", Refusal::RootDistance, |p| p.root_dispersion = 0x0001_0000),
        ("root delay below zero", Refusal::RootDistance, |p| p.root_delay = 0xffff_fff0),
        ("answered before it was asked", Refusal::Order, |p| p.receive.0 = p.transmit.0 + 1),
        ("answered for longer than it took", Refusal::Order, |p| p.transmit.0 += 1 << 32),
        ("the clock was set afterwards", Refusal::Order, |p| p.reference_time.0 = p.transmit.0 + 1),
        ("1970", Refusal::TooOld, |p| {
            p.reference_time = Timestamp::default();
            p.receive = Timestamp::from_nanos(10 * SECOND);
            p.transmit = p.receive;
        }),
        ("2024", Refusal::TooOld, |p| {
            p.reference_time = Timestamp::default();
            p.receive = Timestamp::from_nanos(1_735_689_599 * SECOND);
            p.transmit = p.receive;
        }),
    ];
    for (name, refusal, damage) in table {
        let mut packet = good();
        damage(&mut packet);
        let (mut client, now) = asked(Policy::default());
        let wall = wall_time(SERVER);
        assert_eq!(client.handle_reply(&packet.encode(), now + ms(11), wall), Err(*refusal), "{name}");
        // The good one may still come.
        let verdict = client.handle_reply(&good().encode(), now + ms(12), wall);
        assert!(matches!(verdict, Ok(Verdict::Sample(_))), "{name}: then {verdict:?}");
    }
}

#[test]
fn d14_short_and_long_answers_do_not_count() {
    let mut bytes = good().encode().to_vec();
    bytes.resize(65_507, 0);
    for len in [0, 1, 12, 47, 49, 52, 68, 76, 248, 65_507] {
        assert_eq!(answer(&bytes[..len], 0), Err(Refusal::Length), "{len} bytes");
    }
    assert!(answer(&bytes[..48], 0).is_ok());
}

#[test]
fn versions_that_there_were_count() {
    for version in 1..=4 {
        assert!(answer(&Packet { version, ..good() }.encode(), 0).is_ok(), "version {version}");
    }
}

#[test]
fn an_answer_counts_once_and_only_while_it_is_awaited() {
    let (mut client, now) = asked(every(64));
    let wall = wall_time(SERVER);
    let bytes = good().encode();
    assert!(client.handle_reply(&bytes, now + ms(11), wall).is_ok());
    assert_eq!(client.handle_reply(&bytes, now + ms(11), wall), Err(Refusal::Unasked), "its copy");

    // Late: the question has been asked anew.
    let (mut client, now) = asked(every(64));
    assert!(matches!(client.handle_timeout(now + ms(1000), COOKIE + 1), Step::Send(_)));
    assert_eq!(client.handle_reply(&bytes, now + ms(1001), wall), Err(Refusal::Originate));
    let second = Packet { originate: Timestamp(COOKIE + 1), ..good() }.encode();
    assert!(client.handle_reply(&second, now + ms(1011), wall).is_ok());

    let mut client = Client::new(every(64));
    assert_eq!(client.handle_reply(&bytes, now, wall), Err(Refusal::Unasked), "nobody has asked");
}

#[test]
fn d14_silence_ends_a_single_question_after_3_s() {
    let (mut client, now) = asked(Policy::default());
    assert_eq!(client.poll_timeout(), Some(now + ms(1000)));
    assert_eq!(client.handle_timeout(now + ms(999), 1), Step::Wait);
    let Step::Send(again) = client.handle_timeout(now + ms(1000), 2) else { panic!() };
    assert_eq!(again[40..], 2u64.to_be_bytes(), "new random bits");
    assert_eq!(client.poll_timeout(), Some(now + ms(3000)), "twice as long");
    assert_eq!(client.handle_timeout(now + ms(3000), 3), Step::GiveUp(GivenUp::Silent));
    assert!(client.is_over() && client.poll_timeout().is_none());
    assert_eq!(client.handle_timeout(now + ms(9000), 4), Step::Wait);
    assert_eq!(client.handle_reply(&good().encode(), now + ms(9000), wall_time(SERVER)), Err(Refusal::Unasked));
}

/// When the client asks next, counted from `now`.
fn next_question(client: &Client, now: Instant) -> Duration {
    client.poll_timeout().unwrap().duration_since(now)
}

#[test]
fn rfc_4330_10_the_interval_has_a_floor() {
    // (name, every, floor, the least interval)
    for (name, interval, floor, least) in [
        ("as asked", 256, 64, 256),
        ("below the floor", 16, 64, 64),
        ("a server of one's own", 16, 4, 16),
        ("never less than a second", 0, 0, 1),
        ("never more than 36 h", u64::MAX, 64, 131_072),
    ] {
        let secs = Duration::from_secs;
        let (mut client, now) = asked(Policy { floor: secs(floor), ..every(interval) });
        client.handle_reply(&good().encode(), now, wall_time(SERVER)).unwrap();
        let next = next_question(&client, now);
        assert!(next >= secs(least) && next <= secs(least).mul_f64(1.125), "{name}: {next:?}");
        assert_eq!(client.handle_timeout(now + next - ms(1), 1), Step::Wait, "{name}");
        assert!(matches!(client.handle_timeout(now + next, 1), Step::Send(_)), "{name}");
    }
}

#[test]
fn rfc_4330_10_a_silent_server_is_asked_less_and_less_and_given_up() {
    let (mut client, _) = asked(every(64));
    let mut intervals = Vec::new();
    let given_up = loop {
        let now = client.poll_timeout().unwrap();
        match client.handle_timeout(now, COOKIE) {
            Step::Send(_) => {}
            Step::Wait => intervals.push(next_question(&client, now).as_secs()),
            Step::GiveUp(why) => break why,
        }
    };
    assert_eq!(given_up, GivenUp::Silent);
    let doubled: Vec<u64> = (1..8).map(|round| 64 << round).collect();
    assert_eq!(intervals.len(), doubled.len());
    for (got, doubled) in intervals.iter().zip(doubled) {
        assert!((doubled..=doubled * 9 / 8).contains(got), "{intervals:?}");
    }
    // An answer brings the interval back.
    let (mut client, now) = asked(every(64));
    client.handle_timeout(now + ms(1000), COOKIE);
    client.handle_timeout(now + ms(3000), COOKIE);
    let now = client.poll_timeout().unwrap();
    client.handle_timeout(now, COOKIE);
    client.handle_reply(&good().encode(), now + ms(1), wall_time(SERVER)).unwrap();
    assert!(next_question(&client, now).as_secs() <= 73);
}

#[test]
fn rfc_5905_7_4_the_kiss_of_death_is_obeyed() {
    let kiss = |code: &[u8; 4]| {
        let packet = Packet { leap: Leap::Unknown, stratum: 0, reference: *code, ..good() };
        packet.encode()
    };
    let wall = wall_time(SERVER);
    for (code, why) in [(b"DENY", GivenUp::Denied), (b"RSTR", GivenUp::Restricted)] {
        for policy in [Policy::default(), every(64)] {
            let (mut client, now) = asked(policy);
            assert_eq!(client.handle_reply(&kiss(code), now, wall), Ok(Verdict::GiveUp(why)));
            assert!(client.is_over());
        }
    }
    let (mut client, now) = asked(Policy::default());
    assert_eq!(client.handle_reply(&kiss(b"RATE"), now, wall), Ok(Verdict::GiveUp(GivenUp::TooOften)));
    // Twice as long each time, and an answer does not bring it back.
    let (mut client, mut now) = asked(every(64));
    for seconds in [128, 256] {
        let slower = client.handle_reply(&kiss(b"RATE"), now, wall);
        assert_eq!(slower, Ok(Verdict::Slower(Duration::from_secs(seconds))));
        now = client.poll_timeout().unwrap();
        client.handle_timeout(now, COOKIE);
    }
    client.handle_reply(&good().encode(), now, wall).unwrap();
    assert!(next_question(&client, now).as_secs() >= 256);
    // Forged: it does not bring back what was sent.
    let (mut client, now) = asked(every(64));
    let forged = Packet { originate: Timestamp(1), ..Packet::decode(&kiss(b"DENY")).unwrap() };
    assert_eq!(client.handle_reply(&forged.encode(), now, wall), Err(Refusal::Originate));
    assert!(!client.is_over());
}

#[test]
fn clients_that_start_together_do_not_go_on_together() {
    let next = |cookie| {
        let (mut client, now) = (Client::new(every(64)), Instant::now());
        client.handle_timeout(now, cookie);
        let bytes = Packet { originate: Timestamp(cookie), ..good() }.encode();
        client.handle_reply(&bytes, now, wall_time(SERVER)).unwrap();
        next_question(&client, now)
    };
    assert_eq!(next(1), Duration::from_secs(64));
    assert!(next(u64::MAX) > ms(71_999) && next(u64::MAX / 2) > ms(67_900) && next(u64::MAX / 2) < ms(68_100));
}

#[test]
fn a_step_of_the_wall_clock_under_way_does_no_harm() {
    // The clock was set forward by an hour after the question left: what counts is what it shows now.
    let Ok(Verdict::Sample(sample)) = answer(&good().encode(), -3600 * SECOND) else { panic!() };
    assert_eq!((sample.offset.as_nanos(), sample.delay), (-3600 * SECOND, ms(10)));
}

proptest! {
    #[test]
    fn nothing_counts_that_does_not_bring_back_the_random_bits(
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        wall in any::<i64>(),
    ) {
        let (mut client, now) = asked(Policy::default());
        let verdict = client.handle_reply(&bytes, now, wall_time(wall));
        let answers = bytes.len() == 48 && bytes[24..32] == COOKIE.to_be_bytes();
        prop_assert!(verdict.is_err() || answers);
    }

    #[test]
    fn the_offset_is_wrong_by_half_the_delay_at_most(
        (there, at, back) in (0u64..2_000_000_000, 0u64..100_000_000, 0u64..2_000_000_000),
        behind in -(1i64 << 60)..1 << 60,
    ) {
        let packet = Packet { transmit: Timestamp::from_nanos(SERVER + at as i64), ..good() };
        let (mut client, now) = asked(Policy::default());
        let arrival = SERVER + (at + back) as i64 - behind;
        let verdict = client.handle_reply(&packet.encode(), now + Duration::from_nanos(there + at + back), wall_time(arrival));
        let Ok(Verdict::Sample(sample)) = verdict else { panic!("{verdict:?}") };
        prop_assert!(sample.delay.as_nanos().abs_diff(u128::from(there + back)) <= 2);
        prop_assert!(sample.offset.as_nanos().abs_diff(behind) <= (there + back) / 2 + 2);
    }
}

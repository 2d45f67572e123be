//! Whatever a time server sends, and whatever it is asked: nothing panics, nothing counts that does not bring back the random bits,
//! no answer is longer than its question, what counts is what RFC 4330 §5 makes of it, and a client that is left alone ends.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use vansire::sntp::{Client, Limiter, Packet, Policy, Poll, Sample, Server, Source, Step, Timestamp, Verdict};

/// A clock before 2025 is not told to others, and from 2104 on it is told wrong.
const TOLD: std::ops::Range<i64> = 1_735_689_600..4_233_462_144;

fuzz_target!(|input: (u64, i64, u32, bool, bool, Vec<&[u8]>)| {
    let (random, wall_nanos, took, every, honest, datagrams) = input;
    let wall_nanos = wall_nanos.max(-i64::MAX);
    let apart = Duration::from_nanos(wall_nanos.unsigned_abs());
    let wall = if wall_nanos < 0 { SystemTime::UNIX_EPOCH - apart } else { SystemTime::UNIX_EPOCH + apart };
    let poll = if every { Poll::Every(Duration::from_secs(64)) } else { Poll::Once };
    let mut policy = Policy::default();
    policy.poll = poll;
    let start = Instant::now();
    let took = Duration::from_nanos(took.into());
    let mut client = Client::new(policy);
    let Step::Send(mut question) = client.handle_timeout(start, random) else { panic!("the first step is a question") };
    let mut now = start + took;
    let mut server = Server::new(Limiter::new(8, 1, 2, start, random));
    let source = Source::local(1, wall);

    // Our server is understood by our client.
    let is_told = TOLD.contains(&wall_nanos.div_euclid(1_000_000_000));
    if is_told && !Timestamp::from_nanos(wall_nanos).is_zero() {
        let mut other = Client::new(policy);
        assert_eq!(other.handle_timeout(start, random), Step::Send(question));
        let from = IpAddr::V4(Ipv4Addr::BROADCAST);
        let (answer, is_kiss) = server.handle(&question, from, now, &source, (wall, wall)).expect("an answer");
        assert!(!is_kiss);
        let Ok(Verdict::Sample(sample)) = other.handle_reply(&answer, now, wall) else { panic!("it counts") };
        assert_eq!((sample.delay, sample.stratum), (took, 1));
        // All of the way was the question's.
        let half = (took.as_nanos() / 2) as i64;
        assert!((0..2).contains(&(sample.offset.as_nanos() - half)), "{sample:?}");
    }

    for datagram in datagrams {
        let mut bytes = datagram.to_vec();
        // Most of what is guessed would fail at the first check.
        if honest && bytes.len() >= 32 {
            bytes[24..32].copy_from_slice(&question[40..]);
        }
        if let Ok((answer, _)) = server.handle(&bytes, IpAddr::V4(Ipv4Addr::LOCALHOST), now, &source, (wall, wall)) {
            assert!(answer.len() <= bytes.len() && answer[24..32] == bytes[40..48]);
        }
        let packet = Packet::decode(&bytes);
        if let Some(packet) = packet {
            assert_eq!(packet.encode(), bytes[..48]);
        }
        let before = client.poll_timeout();
        match client.handle_reply(&bytes, now, wall) {
            Ok(verdict) => {
                let packet = packet.expect("it has been read");
                assert!(bytes.len() == 48 && bytes[24..32] == question[40..]);
                assert!(packet.mode == 4 && (1..=4).contains(&packet.version));
                match verdict {
                    Verdict::Sample(sample) => check(&sample, &packet, wall_nanos, took),
                    Verdict::Slower(_) => assert!(packet.stratum == 0 && packet.reference == *b"RATE" && every),
                    Verdict::GiveUp(_) => assert!(packet.stratum == 0 && client.is_over()),
                }
                assert_eq!(client.is_over(), client.poll_timeout().is_none());
                // The next round, if there is one.
                let Some(due) = client.poll_timeout() else { break };
                let Step::Send(next) = client.handle_timeout(due, random) else { panic!("a round is a question") };
                question = next;
                now = due + took;
            }
            Err(_) => assert_eq!(client.poll_timeout(), before),
        }
    }
    // Eight rounds of two questions, and a rest behind each.
    for _ in 0..8 * 3 {
        let Some(due) = client.poll_timeout() else { break };
        client.handle_timeout(due, random);
        assert!(client.poll_timeout().is_none_or(|next| next > due));
    }
    assert!(client.is_over());
});

/// RFC 4330 §5: offset = ((T2 - T1) + (T3 - T4)) / 2, delay = (T4 - T1) - (T3 - T2).
fn check(sample: &Sample, packet: &Packet, wall_nanos: i64, took: Duration) {
    let nanos = |time: Timestamp| {
        let era: i128 = if time.0 >> 63 == 1 { 0 } else { 1 << 32 };
        let units = (i128::from(time.0) + (era << 32) - (2_208_988_800 << 32)) * 1_000_000_000;
        units >> 32
    };
    let (t2, t3, t4) = (nanos(packet.receive), nanos(packet.transmit), i128::from(wall_nanos));
    let took_nanos = took.as_nanos() as i128;
    let offset = (((t2 - (t4 - took_nanos)) + (t3 - t4)) / 2).clamp(i64::MIN.into(), i64::MAX.into());
    let is_near = |a: i128, b: i128| (a - b).abs() <= 2;
    assert!(is_near(sample.offset.as_nanos().into(), offset), "{sample:?}, not {offset}");
    assert!(is_near(sample.delay.as_nanos() as i128, (took_nanos - (t3 - t2)).max(0)), "{sample:?}");
    assert!(sample.delay <= took && (1..=15).contains(&sample.stratum) && sample.stratum == packet.stratum);
    assert!(sample.root_distance < Policy::default().root_distance_max);
    assert_eq!((sample.leap, sample.reference), (packet.leap, packet.reference));
    if let Ok(wall) = i64::try_from(t4 + offset) {
        assert!(sample.unix_ms().abs_diff(wall.div_euclid(1_000_000)) <= 1);
    }
    let later = sample.time_at(sample.at + Duration::from_secs(1));
    assert!(later >= sample.time && sample.distance() >= sample.root_distance);
    let _ = sample.time_at(sample.at + Duration::from_secs(1 << 40));
}

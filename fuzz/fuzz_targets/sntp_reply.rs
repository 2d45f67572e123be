//! Whatever a time server sends, and whatever it is asked: nothing panics, nothing counts that does not bring back the random bits,
//! no answer is longer than its question, and what counts is consistent.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use vansire::sntp::{Client, Limiter, Packet, Policy, Poll, Server, Source, Step, Verdict};

fuzz_target!(|input: (u64, i64, u32, bool, bool, Vec<Vec<u8>>)| {
    let (random, wall, took, every, honest, datagrams) = input;
    let apart = Duration::from_nanos(wall.unsigned_abs());
    let wall = if wall < 0 { SystemTime::UNIX_EPOCH - apart } else { SystemTime::UNIX_EPOCH + apart };
    let poll = if every { Poll::Every(Duration::from_secs(64)) } else { Poll::Once };
    let mut policy = Policy::default();
    policy.poll = poll;
    let start = Instant::now();
    let mut client = Client::new(policy);
    let Step::Send(question) = client.handle_timeout(start, random) else { panic!("the first step is a question") };
    let now = start + Duration::from_nanos(u64::from(took));
    let mut server = Server::new(Limiter::new(8, 1, 2, start, random));
    for mut bytes in datagrams {
        // Most of what is guessed would fail at the first check.
        if honest && bytes.len() >= 32 {
            bytes[24..32].copy_from_slice(&question[40..]);
        }
        let source = Source::local(1, wall);
        if let Ok((answer, _)) = server.handle(&bytes, IpAddr::V4(Ipv4Addr::LOCALHOST), now, &source, (wall, wall)) {
            assert!(answer.len() <= bytes.len() && answer[24..32] == bytes[40..48]);
        }
        if let Some(packet) = Packet::decode(&bytes) {
            assert_eq!(packet.encode(), bytes[..48]);
        }
        let before = client.poll_timeout();
        match client.handle_reply(&bytes, now, wall) {
            Ok(verdict) => {
                assert!(bytes.len() == 48 && bytes[24..32] == question[40..]);
                if let Verdict::Sample(sample) = verdict {
                    assert!(
                        sample.delay <= Duration::from_nanos(u64::from(took)) && (1..=15).contains(&sample.stratum)
                    );
                    let _ = (sample.unix_ms(), sample.distance(), sample.time_at(now + Duration::from_secs(1 << 40)));
                }
                assert_eq!(client.is_over(), client.poll_timeout().is_none());
                break;
            }
            Err(_) => assert_eq!(client.poll_timeout(), before),
        }
    }
});

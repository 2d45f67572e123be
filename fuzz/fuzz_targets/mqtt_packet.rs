//! Any cut of a packet gives the same verdict, a packet can be said again, and what is a packet of 3.1.1 is one to mqttbytes.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use vansire::mqtt::{
    DecodeLimits, NotConvertible, Packet, Version, connect_version, decode, encode, encoded_len, to_mqttbytes,
};

const LIMITS: DecodeLimits = DecodeLimits { packet_max: 512 };

// The first byte chooses the version, the second one the cut; the rest is the input.
fuzz_target!(|input: &[u8]| {
    let [version, cut, bytes @ ..] = input else { return };
    let version = [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5][usize::from(version % 3)];
    let verdict = decode(bytes, version, &LIMITS);
    let part = decode(&bytes[..bytes.len().min(usize::from(*cut))], version, &LIMITS);
    assert!(part == Ok(None) || part == verdict);
    let Ok(Some((packet, used))) = verdict else { return };
    assert!(used <= bytes.len() && used <= LIMITS.packet_max as usize);
    let _ = format!("{packet:?}");

    let version = if let Packet::Connect(connect) = &packet { connect.version } else { version };
    assert!(!matches!(packet, Packet::Connect(_)) || connect_version(bytes) == Some(version));
    let mut again = Vec::new();
    assert_eq!(encode(&packet, version, &mut again), Ok(again.len()));
    assert_eq!(encoded_len(&packet, version), Ok(again.len()));
    if version == Version::Mqtt311 {
        // All but how many bytes the length has.
        assert_eq!((again[0], body(&again)), (bytes[0], body(&bytes[..used])));
    } else {
        // 3.1 has bits that mean nothing; in 5.0 a reason that says nothing, and a length of no properties, may be left out.
        assert!(again.len() <= used);
    }
    assert_eq!(decode(&again, version, &LIMITS), Ok(Some((packet, again.len()))));

    if version == Version::Mqtt311 {
        let theirs = mqttbytes::v4::read(&mut BytesMut::from(&again[..]), 512);
        match to_mqttbytes(&packet) {
            Ok(ours) => assert_eq!(theirs, Ok(ours)),
            Err(error) => assert!(matches!(error, NotConvertible::Lost(_)) && matches!(packet, Packet::Connect(_))),
        }
    }
});

/// What follows the length.
fn body(packet: &[u8]) -> &[u8] {
    let len = packet[1..].iter().position(|byte| *byte < 0x80).expect("a length ends");
    &packet[len + 2..]
}

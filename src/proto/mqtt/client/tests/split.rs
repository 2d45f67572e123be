//! How the input is cut makes no difference.

use proptest::prelude::*;

use super::*;

/// What a server may say to a client that waits for CONNACK, and what it may not.
fn script() -> impl Strategy<Value = Vec<u8>> {
    let packet = (0..9u8, 1..4u16, 0..3usize, any::<bool>()).prop_map(|(kind, n, qos, flag)| {
        let mut bytes = Vec::new();
        let ack = Ack::new(id(n));
        let packet = match kind {
            0 | 1 => {
                let qos = QOS[qos];
                let id = (qos != QoS::AtMostOnce).then(|| id(n));
                Packet::Publish(Publish { qos, id, dup: flag && id.is_some(), ..Publish::new("some/topic", "x") })
            }
            2 => Packet::PubAck(ack),
            3 => Packet::PubRec(ack),
            4 => Packet::PubRel(ack),
            5 => Packet::PubComp(ack),
            6 => Packet::PingResp,
            7 if flag => Packet::Disconnect(Disconnect::new(ReasonCode::ServerBusy)),
            7 => Packet::PingReq,
            _ => Packet::Publish(Publish::new("x", &[b'y'; 300])),
        };
        encode(&packet, Version::Mqtt5, &mut bytes).unwrap();
        bytes
    });
    (proptest::collection::vec(packet, 0..12), proptest::collection::vec(any::<u8>(), 0..6))
        .prop_map(|(packets, noise)| [&[0x20, 3, 0, 0, 0], &packets.concat()[..], &noise].concat())
}

fn run<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, String, Option<Fault>) {
    let mut talk = Talk::new(ClientOptions::new());
    talk.publish(QoS::AtLeastOnce, "a", "1").unwrap();
    talk.publish(QoS::ExactlyOnce, "a", "2").unwrap();
    talk.client.handle_connected(talk.now, &mut talk.out);
    let mut kept = Vec::new();
    for piece in pieces {
        kept.extend_from_slice(piece);
        let used = talk.hear_bytes(&kept);
        kept.drain(..used);
    }
    (std::mem::take(&mut talk.told), talk.said(), talk.fault)
}

proptest! {
    #[test]
    fn any_split_of_the_input_gives_the_same_events(bytes in script(), cuts in proptest::collection::vec(1..9usize, 1..40)) {
        let whole = run([&bytes[..]].into_iter());
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        for &cut in cuts.iter().cycle().take(2000) {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        prop_assert_eq!(run(pieces.into_iter()), whole);
    }
}

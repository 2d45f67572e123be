//! What holds for every packet, and for any bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use vansire::mqtt::{
    DecodeLimits, Delivery, Packet, PropertyBuf, Publish, PublishParts, TopicAs, Version, decode, encode, encoded_len,
    frame,
};

use crate::generate::{LIMITS, any_wire, version, wire};

fn encoded(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut out = b"before".to_vec();
    let len = encode(packet, version, &mut out).unwrap();
    assert_eq!(out.len(), 6 + len);
    assert_eq!(encoded_len(packet, version), Ok(len));
    out.split_off(6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn encoding_undoes_decoding(wire in any_wire()) {
        let packet = wire.packet();
        prop_assert_eq!(packet.packet_type(), wire.packet_type);
        prop_assert_eq!(encoded(&packet, wire.version), &wire.bytes[..]);
    }

    #[test]
    fn a_part_of_a_packet_asks_for_more(wire in any_wire()) {
        for cut in 0..wire.bytes.len() {
            prop_assert_eq!(decode(&wire.bytes[..cut], wire.version, &LIMITS), Ok(None), "{} bytes", cut);
        }
    }

    /// Whatever the lengths of the reads.
    #[test]
    fn any_split_of_the_input_gives_the_same_packets(
        (version, wires) in version().prop_flat_map(|version| (Just(version), vec(wire(version), 1..6))),
        pieces in vec(1usize..60, 1..20),
    ) {
        let input: Vec<u8> = wires.iter().flat_map(|wire| wire.bytes.iter().copied()).collect();
        let (mut buffer, mut from, mut decoded) = (Vec::new(), 0, Vec::new());
        for piece in pieces.into_iter().cycle() {
            if from == input.len() {
                break;
            }
            let to = input.len().min(from + piece);
            buffer.extend_from_slice(&input[from..to]);
            from = to;
            while let Some((packet, used)) = decode(&buffer, version, &LIMITS).unwrap() {
                decoded.push(encoded(&packet, version));
                buffer.drain(..used);
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert!(decoded.iter().eq(wires.iter().map(|wire| &wire.bytes)));
    }

    /// A mutated packet is refused, or one that can be said again; and an error does not go away with more bytes.
    #[test]
    fn any_bytes_are_judged(
        mut wire in any_wire(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        as_version in version(),
        tail in vec(any::<u8>(), 0..10),
    ) {
        for (at, byte) in changes {
            let at = at.index(wire.bytes.len());
            wire.bytes[at] = byte;
        }
        let verdict = decode(&wire.bytes, as_version, &LIMITS);
        if let Ok(Some((packet, used))) = verdict {
            let version = if let Packet::Connect(connect) = packet { connect.version } else { as_version };
            let again = encoded(&packet, version);
            prop_assert_eq!(decode(&again, version, &LIMITS), Ok(Some((packet, again.len()))));
            prop_assert!(again.len() <= used);
            let _ = format!("{packet:?}");
        }
        let longer = [&wire.bytes[..], &tail].concat();
        if let Err(error) = verdict {
            prop_assert_eq!(decode(&longer, as_version, &LIMITS), Err(error));
            let _ = (format!("{error}"), error.reason_code(), error.connack());
        }
    }

    /// The limit is on the whole packet, and the header alone shows that it is broken.
    #[test]
    fn the_limit_is_exact(wire in any_wire()) {
        let len = wire.bytes.len();
        let limits = |packet_max: usize| DecodeLimits { packet_max: packet_max as u32 };
        prop_assert!(decode(&wire.bytes, wire.version, &limits(len)).unwrap().is_some());
        prop_assert!(decode(&wire.bytes, wire.version, &limits(len - 1)).is_err());
        let header = frame(&wire.bytes, wire.version, &LIMITS).unwrap().unwrap();
        prop_assert_eq!(header.packet_len(), len);
        prop_assert_eq!(header.packet_type, wire.packet_type);
        prop_assert!(frame(&wire.bytes[..len.min(5)], wire.version, &limits(len - 1)).is_err());
    }

    /// A message written in parts is the message written at once.
    #[test]
    fn parts_are_the_whole(wire in any_wire()) {
        let Packet::Publish(publish) = wire.packet() else { return Ok(()) };
        if publish.topic.is_empty() {
            return Ok(());
        }
        let mut common = PropertyBuf::new();
        common.forward(&publish.properties).unwrap();
        let ids: Vec<_> = publish.properties.subscription_ids().collect();
        let to = Delivery {
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            id: publish.id,
            topic: publish.properties.topic_alias().map_or(TopicAs::Name, TopicAs::Both),
            expiry: publish.properties.message_expiry_interval(),
            subscription_ids: &ids,
        };
        let parts =
            PublishParts::new(wire.version, publish.topic, common.as_properties(), publish.payload.len()).unwrap();
        let mut out = Vec::new();
        let head = parts.encode_head(&to, &mut out).unwrap();
        prop_assert_eq!(head, out.len());
        out.extend_from_slice(publish.payload);
        prop_assert_eq!(parts.packet_len(&to), Ok(out.len()));
        prop_assert_eq!(out.len(), wire.bytes.len());
        let Ok(Some((Packet::Publish(again), _))) = decode(&out, wire.version, &LIMITS) else { panic!("no message") };
        prop_assert_eq!(Publish { properties: publish.properties, ..again }, publish);
        let ids_of = |packet: &Publish<'_>| {
            let mut all: Vec<_> = packet.properties.iter().map(|property| format!("{property:?}")).collect();
            all.sort();
            all
        };
        prop_assert_eq!(ids_of(&again), ids_of(&publish));
        if let Some(alias) = publish.properties.topic_alias() {
            let mut out = Vec::new();
            parts.encode_head(&Delivery { topic: TopicAs::Alias(alias), ..to }, &mut out).unwrap();
            out.extend_from_slice(publish.payload);
            let Ok(Some((Packet::Publish(again), _))) = decode(&out, wire.version, &LIMITS) else { panic!("no message") };
            prop_assert_eq!((again.topic, again.properties.topic_alias()), ("", Some(alias)));
        }
    }
}

//! The cost of MQTT packets without I/O, with the allocations of each, beside mqttbytes: `cargo bench --bench mqtt_codec`.

use std::hint::black_box;

use bytes::{Buf, Bytes, BytesMut};
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use vansire::mqtt::{
    Ack, DecodeLimits, Delivery, Packet, PacketId, Properties, Publish, PublishParts, QoS, Trie, Version, decode,
    encode,
};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

const TOPIC: &str = "plant/7/line/3/temp";
const PAYLOAD: [u8; 64] = [b'x'; 64];
const VERSIONS: [Version; 2] = [Version::Mqtt311, Version::Mqtt5];
const LIMITS: DecodeLimits = DecodeLimits { packet_max: 1024 * 1024 };

fn main() {
    divan::main();
}

fn wire(version: Version, qos: QoS) -> Vec<u8> {
    let mut out = Vec::new();
    let id = (qos != QoS::AtMostOnce).then_some(PacketId::MAX);
    let publish = Publish { qos, id, ..Publish::new(TOPIC, &PAYLOAD) };
    if encode(&Packet::Publish(publish), version, &mut out).is_err() {
        unreachable!();
    }
    out
}

/// 64 bytes at QoS 0.
#[divan::bench(args = VERSIONS, sample_size = 1000)]
fn decode_publish(bencher: Bencher<'_, '_>, version: Version) {
    let wire = wire(version, QoS::AtMostOnce);
    bencher.bench(|| decode(black_box(&wire), version, &LIMITS).is_ok_and(|packet| black_box(packet).is_some()));
}

#[divan::bench(args = VERSIONS, sample_size = 1000)]
fn encode_publish(bencher: Bencher<'_, '_>, version: Version) {
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        encode(&Packet::Publish(Publish::new(black_box(TOPIC), black_box(&PAYLOAD))), version, &mut out).is_ok()
    });
}

#[divan::bench(args = VERSIONS, sample_size = 1000)]
fn decode_and_encode_publish(bencher: Bencher<'_, '_>, version: Version) {
    let wire = wire(version, QoS::AtMostOnce);
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        let Ok(Some((packet, _))) = decode(black_box(&wire), version, &LIMITS) else { unreachable!() };
        encode(&packet, version, &mut out).is_ok()
    });
}

/// The same in mqttbytes, which decodes out of a buffer that is read into and shares it.
#[divan::bench(sample_size = 1000)]
fn mqttbytes_decode_publish(bencher: Bencher<'_, '_>) {
    let mut input = stream();
    let len = wire(Version::Mqtt311, QoS::AtMostOnce).len();
    bencher.bench_local(|| {
        if input.len() < len {
            input = stream();
        }
        black_box(mqttbytes::v4::read(&mut input, 1024 * 1024)).is_ok()
    });
}

#[divan::bench(sample_size = 1000)]
fn mqttbytes_encode_publish(bencher: Bencher<'_, '_>) {
    let publish = mqttbytes::v4::Publish::from_bytes(TOPIC, mqttbytes::QoS::AtMostOnce, Bytes::from_static(&PAYLOAD));
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        black_box(&publish).write(&mut out).is_ok()
    });
}

#[divan::bench(sample_size = 1000)]
fn mqttbytes_decode_and_encode_publish(bencher: Bencher<'_, '_>) {
    let mut input = stream();
    let len = wire(Version::Mqtt311, QoS::AtMostOnce).len();
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        if input.remaining() < len {
            input = stream();
        }
        let Ok(mqttbytes::v4::Packet::Publish(publish)) = mqttbytes::v4::read(&mut input, 1024 * 1024) else {
            unreachable!()
        };
        publish.write(&mut out).is_ok()
    });
}

/// 100,000 packets, so that filling it does not count.
fn stream() -> BytesMut {
    BytesMut::from(&wire(Version::Mqtt311, QoS::AtMostOnce).repeat(100_000)[..])
}

#[divan::bench(args = VERSIONS, sample_size = 1000)]
fn decode_and_encode_puback(bencher: Bencher<'_, '_>, version: Version) {
    let mut out = Vec::with_capacity(64);
    bencher.bench_local(|| {
        out.clear();
        let Ok(Some((Packet::PubAck(ack), _))) = decode(black_box(b"\x40\x02\x12\x34"), version, &LIMITS) else {
            unreachable!()
        };
        encode(&Packet::PubAck(Ack::new(ack.id)), version, &mut out).is_ok()
    });
}

/// One message to a hundred, each with a packet id of its own.
#[divan::bench(args = VERSIONS, sample_size = 100)]
fn fan_out_to_100(bencher: Bencher<'_, '_>, version: Version) {
    let mut out = Vec::with_capacity(100 * 128);
    bencher.counter(ItemsCount::new(100usize)).bench_local(|| {
        out.clear();
        let Ok(parts) = PublishParts::new(version, black_box(TOPIC), Properties::default(), PAYLOAD.len()) else {
            unreachable!()
        };
        for id in 1..=100 {
            let to = Delivery { qos: QoS::AtLeastOnce, id: PacketId::new(id), ..Delivery::default() };
            if parts.encode_head(&to, &mut out).is_err() {
                unreachable!();
            }
            out.extend_from_slice(&PAYLOAD);
        }
        out.len()
    });
}

/// Matching among so many subscriptions, of which one is for the topic; topics in an order that caches do not help.
#[divan::bench(args = [10u32, 1_000, 100_000], sample_size = 1000)]
fn trie_match(bencher: Bencher<'_, '_>, subscriptions: u32) {
    let mut trie = Trie::new();
    for n in 0..subscriptions {
        if trie.insert(&format!("plant/{n}/temp"), n, ()).is_err() {
            unreachable!();
        }
    }
    let topics: Vec<_> = (0..subscriptions).map(|n| format!("plant/{n}/temp")).collect();
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7_919) % topics.len();
        let mut found = 0;
        trie.matches(&topics[n], |key, ()| found += *key);
        found
    });
}

/// Subscribing and unsubscribing among 100,000.
#[divan::bench(sample_size = 1000)]
fn trie_insert_and_remove(bencher: Bencher<'_, '_>) {
    let mut trie = Trie::new();
    let filters: Vec<_> = (0..110_000).map(|n| format!("plant/{n}/temp")).collect();
    for (n, filter) in (0u32..100_000).zip(&filters) {
        if trie.insert(filter, n, ()).is_err() {
            unreachable!();
        }
    }
    let mut n = 0;
    bencher.bench_local(|| {
        n = (n + 7_919) % 10_000;
        let filter = &filters[100_000 + n];
        trie.insert(filter, 0, ()).is_ok() && trie.remove(filter, &0).is_some()
    });
}

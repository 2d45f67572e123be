//! What one read of a publisher does to the output of a receiver, however much longer it is told than it came: it passes the mark by one
//! message or one write of a row, and then QoS 0 is dropped and QoS 1 waits.

use super::*;
use std::num::NonZeroU16;

/// Output with a mark, as a connection has it.
struct Marked {
    high: usize,
    max: usize,
    out: HashMap<ConnId, usize>,
    closed: Vec<ConnId>,
}

impl Sink for Marked {
    fn write(&mut self, to: ConnId, head: &[u8], rest: &[u8]) -> Sent {
        let len = self.out.entry(to).or_default();
        // As `Core::queue_up_to`.
        if *len >= self.max {
            self.closed.push(to);
            return Sent::Gone;
        }
        *len += head.len() + rest.len();
        if *len > self.high { Sent::High } else { Sent::Queued }
    }

    fn write_shared(&mut self, to: ConnId, bytes: Bytes) -> Sent {
        self.write(to, &bytes, &[])
    }

    fn close(&mut self, _: ConnId) {}
    fn part(&mut self, _: ConnId) {}
    fn pause(&mut self, _: ConnId) {}
    fn resume(&mut self, _: ConnId) {}
}

/// What one read of a publisher with a long aliased topic does to the output of its only receiver: what is queued, and whether the
/// connection is closed as a slow consumer's.
fn flood(qos: QoS, count: u16, in_a_row: bool) -> (usize, usize, bool) {
    let mut world = World::new(Options::new().access(AllowAll).inflight_max(u16::MAX));
    let (from, to) = (world.v5("from"), world.v3("to"));
    world.subscribe(to, "#", 1);
    let long = "t".repeat(60_000);
    let publish = |id: u16, topic: &str| {
        let mut properties = PropertyBuf::new();
        properties.push(Property::TopicAlias(NonZeroU16::MIN)).unwrap();
        let id = (qos != QoS::AtMostOnce).then(|| packet_id(id));
        let mut out = Vec::new();
        // Where they are to be no row, every second one has a byte more.
        let payload: &[u8] = if in_a_row || id.map_or(0, |id| id.get()) % 2 == 0 { b"x" } else { b"xx" };
        let packet = Packet::Publish(Publish {
            qos,
            id,
            properties: properties.as_properties(),
            ..Publish::new(topic, payload)
        });
        encode(&packet, Version::Mqtt5, &mut out).unwrap();
        out
    };
    world.bytes(from, &publish(1, &long));
    world.heard(from);
    world.heard(to);
    let packets: Vec<Vec<u8>> = (2..count + 2).map(|id| publish(id, "")).collect();
    let mut sink = Marked { high: 1 << 20, max: 16 << 20, out: HashMap::new(), closed: Vec::new() };
    let now = world.now;
    let bytes = packets.concat();
    if in_a_row {
        world.core.handle_input(from, &bytes, now, &mut sink);
    } else {
        packets.iter().for_each(|packet| _ = world.core.handle_input(from, packet, now, &mut sink));
    }
    (sink.out[&to], world.core.out.capacity(), sink.closed.contains(&to))
}

#[test]
fn a_row_with_a_topic_alias_keeps_to_the_output_mark_at_qos_0() {
    assert!(!flood(QoS::AtMostOnce, 400, false).2, "one by one");
    let (out, _, closed) = flood(QoS::AtMostOnce, 400, true);
    assert!(!closed && out <= (1 << 20) + 64 * 1024, "{out} bytes, closed: {closed}");
}

#[test]
fn a_row_with_a_topic_alias_keeps_to_the_output_mark_at_qos_1() {
    let (out, _, closed) = flood(QoS::AtLeastOnce, 2000, false);
    assert!(!closed && out <= (1 << 20) + 64 * 1024, "one by one: {out}");
    let (out, memory, closed) = flood(QoS::AtLeastOnce, 2000, true);
    assert!(
        !closed && out <= (1 << 20) + 64 * 1024 && memory < 1 << 20,
        "{out} bytes, {memory} kept, closed: {closed}"
    );
}

/// One who has many subscriptions with identifiers that a topic matches is sent all of them with each message.
fn flood_of_ids(in_a_row: bool) -> (usize, bool) {
    let mut world = World::open();
    let (from, to) = (world.v3("from"), world.v5("to"));
    for n in 0..2048u32 {
        let filter: Vec<_> = (0..11).map(|level| if n >> level & 1 == 0 { "+" } else { "l" }).collect();
        world.subscribe_as(to, Subscription::new(&filter.join("/"), QoS::AtMostOnce), Some(200_000_000 + n));
    }
    let topic = ["l"; 11].join("/");
    let packets: Vec<Vec<u8>> = (0..2400u32)
        .map(|_| {
            let mut out = Vec::new();
            encode(&Packet::Publish(Publish::new(&topic, b"x")), Version::Mqtt311, &mut out).unwrap();
            out
        })
        .collect();
    let mut sink = Marked { high: 1 << 20, max: 16 << 20, out: HashMap::new(), closed: Vec::new() };
    let now = world.now;
    if in_a_row {
        world.core.handle_input(from, &packets.concat(), now, &mut sink);
    } else {
        packets.iter().for_each(|packet| _ = world.core.handle_input(from, packet, now, &mut sink));
    }
    (sink.out[&to], sink.closed.contains(&to))
}

#[test]
fn a_row_to_one_with_many_identifiers_keeps_to_the_output_mark() {
    assert!(!flood_of_ids(false).1, "one by one");
    let (out, closed) = flood_of_ids(true);
    assert!(!closed && out <= (1 << 20) + 64 * 1024, "{out} bytes, closed: {closed}");
}

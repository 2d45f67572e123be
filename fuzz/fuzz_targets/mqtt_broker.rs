//! A broker and three clients: whatever they send, whole packets or any bytes, it neither panics nor hangs, what it sends can be
//! decoded, its queues keep to their bounds, and it serves the next one.
#![no_main]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vansire::broker::{AllowAll, Broker, Options};
use vansire::mqtt::{
    Ack, Connect, DecodeLimits, Packet, PacketId, Publish, QoS, Subscribe, Subscription, Version, Will, decode, encode,
};
use vansire::net::Scheme;
use vansire::{Ctx, Event, Manager, ManualClock};

const FILTERS: [&str; 6] = ["a", "a/+", "#", "$share/g/a", "$SYS/#", "+/b/#"];
const TOPICS: [&str; 4] = ["a", "a/b", "b/b/c", "$x"];
const VERSIONS: [Version; 3] = [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5];

struct Client {
    stream: UnixStream,
    version: Version,
    got: Vec<u8>,
}

// Two bytes are a step: what, and with which arguments. A step of raw bytes takes as many as its argument says.
fuzz_target!(|input: &[u8]| {
    let clock = ManualClock::new();
    let mut manager = Manager::builder().clock(clock.clone()).build(()).unwrap();
    let options = Options::new().access(AllowAll).queue_messages_max(5).inflight_max(3).packet_max(4096);
    let broker = Broker::new(options);
    let mut clients: [Option<Client>; 3] = [None, None, None];
    let mut rest = input;
    while let [step, argument, after @ ..] = rest {
        rest = after;
        let who = usize::from(step >> 6) % 3;
        let argument = *argument;
        if step & 0x0f == 0 || clients[who].is_none() {
            clients[who] = Some(connect(&mut manager, &broker, who, argument));
        } else if step & 0x0f == 1 {
            clients[who] = None;
        } else if step & 0x0f == 2 {
            clock.advance(Duration::from_secs(u64::from(argument)));
        } else if let Some(client) = &mut clients[who] {
            let mut out = Vec::new();
            if step & 0x0f == 3 {
                let (bytes, after) = rest.split_at(rest.len().min(usize::from(argument)));
                rest = after;
                out.extend_from_slice(bytes);
            } else {
                packet(step & 0x0f, argument, client.version, &mut out);
            }
            let _ = client.stream.write(&out);
        }
        settle(&mut manager, &mut clients);
        let stats = broker.stats();
        assert!(stats.queued <= 3 * (5 + 3) && stats.sessions <= 4, "{stats:?}");
    }
    // It is alive.
    let mut last = connect(&mut manager, &broker, 9, 1);
    for _ in 0..4 {
        manager.poll(Some(Duration::ZERO)).unwrap();
    }
    take(&mut last);
    assert_eq!(last.got.first(), Some(&0x20));
});

fn connect(manager: &mut Manager<()>, broker: &Broker, who: usize, argument: u8) -> Client {
    let (ours, stream) = UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    let serving = broker.clone();
    let conn = manager
        .net()
        .adopt(Scheme::Unix, ours, move |cx: &mut Ctx<'_, ()>, event: Event<'_>| serving.handle(cx, event))
        .unwrap();
    broker.serve(&mut manager.net(), conn);
    let version = VERSIONS[usize::from(argument) % 3];
    let mut client = Client { stream, version, got: Vec::new() };
    let will = (argument & 64 != 0).then(|| Will::new("a/b", b"gone"));
    let id = format!("c{who}");
    let clean_start = argument & 128 == 0;
    let mut out = Vec::new();
    let connect = Connect { will, clean_start, keep_alive: 100, ..Connect::new(version, &id) };
    encode(&Packet::Connect(connect), version, &mut out).unwrap();
    let _ = client.stream.write(&out);
    client
}

fn packet(step: u8, argument: u8, version: Version, out: &mut Vec<u8>) {
    let qos = QoS::from_u8(argument % 3).unwrap();
    let id = PacketId::new(u16::from(argument >> 4) + 1).unwrap();
    let subscriptions = [Subscription::new(FILTERS[usize::from(argument) % 6], qos)];
    let packet = match step {
        4 | 5 => {
            Packet::Subscribe(Subscribe { id, subscriptions: (&subscriptions).into(), properties: Default::default() })
        }
        6 => Packet::PubAck(Ack::new(id)),
        7 => Packet::PubRec(Ack::new(id)),
        8 => Packet::PubRel(Ack::new(id)),
        9 => Packet::PubComp(Ack::new(id)),
        _ => Packet::Publish(Publish {
            qos,
            retain: argument & 8 != 0,
            id: (qos != QoS::AtMostOnce).then_some(id),
            ..Publish::new(TOPICS[usize::from(argument >> 2) % 4], "x")
        }),
    };
    encode(&packet, version, out).unwrap();
}

fn take(client: &mut Client) {
    let mut room = [0; 4096];
    loop {
        match client.stream.read(&mut room) {
            Ok(0) => return,
            Ok(n) => client.got.extend_from_slice(&room[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return,
        }
    }
}

fn settle(manager: &mut Manager<()>, clients: &mut [Option<Client>; 3]) {
    for _ in 0..6 {
        manager.poll(Some(Duration::ZERO)).unwrap();
        for client in clients.iter_mut().flatten() {
            take(client);
            while let Some((_, used)) = decode(&client.got, client.version, &DecodeLimits::default()).unwrap() {
                client.got.drain(..used);
            }
        }
    }
}

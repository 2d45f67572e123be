//! What the broker allocates: nothing for a message of QoS 0 or 1 on its way, little for each client, subscription and retained
//! message.
//!
//! Counts what the loop's thread does; the clients are on another one.

mod common;
#[path = "common/heap.rs"]
mod heap;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use common::{addr, client, helper};
use heap::{BYTES, CALLS};
use vansire::Manager;
use vansire::broker::{Broker, Options};
use vansire::mqtt::{
    Ack, Connect, DecodeLimits, Packet, PacketId, Publish, QoS, Subscribe, Subscription, Version, decode, encode,
};

fn bytes() -> i64 {
    BYTES.get()
}

fn join(to: SocketAddr, id: &str, version: Version) -> TcpStream {
    let mut stream = client(to);
    say(&mut stream, &Packet::Connect(Connect { keep_alive: 600, ..Connect::new(version, id) }), version);
    let mut room = [0; 64];
    assert!(stream.read(&mut room).unwrap() >= 4);
    stream
}

fn say(stream: &mut TcpStream, packet: &Packet<'_>, version: Version) {
    let mut out = Vec::new();
    encode(packet, version, &mut out).unwrap();
    stream.write_all(&out).unwrap();
}

fn subscribe(stream: &mut TcpStream, filters: &[String], version: Version) {
    let subscriptions: Vec<_> = filters.iter().map(|filter| Subscription::new(filter, QoS::AtLeastOnce)).collect();
    let (id, properties) = (PacketId::MIN, Default::default());
    let subscribe = Subscribe { id, subscriptions: subscriptions.as_slice().into(), properties };
    say(stream, &Packet::Subscribe(subscribe), version);
    let properties_len = usize::from(version.is_5());
    stream.read_exact(&mut vec![0; 4 + properties_len + filters.len()]).unwrap();
}

fn serve(options: Options) -> (Manager<()>, Broker, SocketAddr) {
    let mut manager = Manager::new(()).unwrap();
    let broker = Broker::new(options);
    let listener = broker.listen(&mut manager.net(), "mqtt://127.0.0.1:0").unwrap();
    let to = addr(&mut manager, listener);
    (manager, broker, to)
}

const CLIENTS: usize = 480;

/// The tables are counted with the room that they have grown by, up to a half of it unused: what is resident is less.
#[test]
fn an_idle_client_takes_little_and_a_subscription_more() {
    for version in [Version::Mqtt311, Version::Mqtt5] {
        let (mut manager, broker, to) = serve(Options::new());
        // One that comes and goes warms up what all share.
        helper(move || drop(join(to, "warm", version))).wait(&mut manager, "the first");
        common::until(&mut manager, "its end", |m| m.net().connection_count() == 1);
        let empty = bytes();
        let come =
            helper(move || (0..CLIENTS).map(|n| join(to, &format!("client-{n:05}"), version)).collect::<Vec<_>>());
        let mut streams = come.wait(&mut manager, "all clients");
        let idle = (bytes() - empty) / CLIENTS as i64;
        let come = helper(move || {
            for (n, stream) in streams.iter_mut().enumerate() {
                subscribe(stream, &[format!("site/{n:05}/cmd")], version);
            }
            streams
        });
        let streams = come.wait(&mut manager, "all subscriptions");
        let subscribed = (bytes() - empty) / CLIENTS as i64;
        println!("{version:?}: {idle} bytes for an idle client, {subscribed} with a subscription");
        assert!(idle <= 430, "{idle} bytes for an idle client");
        assert!(subscribed <= 620, "{subscribed} bytes for a client with a subscription");
        assert_eq!(broker.stats().subscriptions, CLIENTS);
        drop(streams);
    }
}

#[test]
fn a_retained_message_of_64_bytes_takes_250() {
    const N: usize = 50_000;
    let (mut manager, broker, _) = serve(Options::new());
    let before = bytes();
    for n in 0..N {
        let topic = format!("site/{n:06}/temp");
        let publish = Publish { retain: true, ..Publish::new(&topic, &[b'x'; 64]) };
        broker.publish(&mut manager.net(), &publish).unwrap();
    }
    let each = (bytes() - before) / N as i64;
    println!("{each} bytes for a retained message");
    assert!(each <= 250, "{each} bytes for a retained message");
    for n in 0..N {
        assert!(broker.clear_retained(&format!("site/{n:06}/temp")));
    }
    assert!(bytes() - before < 4096, "{} bytes are left", bytes() - before);
}

#[test]
fn a_subscription_takes_250_bytes() {
    const N: usize = 100_000;
    let (mut manager, broker, to) = serve(Options::new().subscriptions_max(N));
    let come = helper(move || join(to, "c", Version::Mqtt311));
    let mut stream = come.wait(&mut manager, "the client");
    let before = bytes();
    let come = helper(move || {
        for hundred in 0..N / 100 {
            let filters: Vec<_> = (0..100).map(|n| format!("site/{:06}/cmd", hundred * 100 + n)).collect();
            subscribe(&mut stream, &filters, Version::Mqtt311);
        }
        stream
    });
    let _stream = come.wait(&mut manager, "all subscriptions");
    assert_eq!(broker.stats().subscriptions, N);
    let each = (bytes() - before) / N as i64;
    println!("{each} bytes for a subscription");
    assert!(each <= 250, "{each} bytes for a subscription");
}

#[test]
fn a_message_of_qos_0_or_1_allocates_nothing() {
    const N: u16 = 2_000;
    const WARM_UP: u16 = 200;
    for (version, qos) in
        [Version::Mqtt311, Version::Mqtt5].into_iter().flat_map(|v| [(v, QoS::AtMostOnce), (v, QoS::AtLeastOnce)])
    {
        let (mut manager, broker, to) = serve(Options::new());
        let come = helper(move || {
            let mut subscriber = join(to, "to", version);
            subscribe(&mut subscriber, &["site/+/temp".to_owned()], version);
            (subscriber, join(to, "from", version))
        });
        let (subscriber, publisher) = come.wait(&mut manager, "both clients");
        let talk = |rounds: u16, subscriber: TcpStream, publisher: TcpStream| {
            helper(move || {
                let (mut subscriber, mut publisher) = (subscriber, publisher);
                for n in 1..=rounds {
                    let id = PacketId::new(n).filter(|_| qos == QoS::AtLeastOnce);
                    let publish = Publish { qos, id, ..Publish::new("site/7/temp", &[b'x'; 64]) };
                    say(&mut publisher, &Packet::Publish(publish), version);
                    let id = hear(&mut subscriber, version);
                    if let Some(id) = id {
                        say(&mut subscriber, &Packet::PubAck(Ack::new(id)), version);
                        publisher.read_exact(&mut [0; 4]).unwrap();
                    }
                    assert_eq!(id.is_some(), qos == QoS::AtLeastOnce);
                }
                (subscriber, publisher)
            })
        };
        let (subscriber, publisher) = talk(WARM_UP, subscriber, publisher).wait(&mut manager, "the warm-up");
        let before = CALLS.get();
        let _both = talk(N, subscriber, publisher).wait(&mut manager, "all messages");
        let calls = CALLS.get() - before;
        assert_eq!(broker.stats().publish_out, u64::from(WARM_UP + N));
        // What the helper and its thread take.
        assert!(calls < 30, "{calls} allocations for {N} messages, {qos:?}, {version:?}");
    }
}

/// Reads one message, and says which number it has.
fn hear(stream: &mut TcpStream, version: Version) -> Option<PacketId> {
    let (mut room, mut len) = ([0; 256], 0);
    loop {
        len += stream.read(&mut room[len..]).unwrap();
        match decode(&room[..len], version, &DecodeLimits::default()).unwrap() {
            Some((Packet::Publish(publish), used)) if used == len => return publish.id,
            Some((other, _)) => panic!("{other:?}, and more"),
            None => {}
        }
    }
}

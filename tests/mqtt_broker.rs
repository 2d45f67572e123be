//! The broker over real sockets: any split of the bytes, timers, a subscriber that does not read, the program's own part. Its
//! rules are tested without sockets, in `src/broker/tests`.

mod common;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use common::{addr, client, helper, until};
use vansire::broker::{AllowAll, Broker, Event, Options, Parting};
use vansire::mqtt::{
    Ack, Connect, DecodeLimits, Disconnect, Packet, PacketId, Publish, QoS, ReasonCode, Subscribe, Subscription,
    Version, Will, decode, encode,
};
use vansire::{Limits, ListenOptions, Manager};

/// A client that speaks when it is told to, on a thread that may wait.
struct Talker {
    stream: TcpStream,
    version: Version,
    input: Vec<u8>,
}

impl Talker {
    fn new(to: std::net::SocketAddr, connect: Connect<'_>) -> Self {
        let mut talker = Self { stream: client(to), version: connect.version, input: Vec::new() };
        talker.say(&Packet::Connect(connect));
        talker.expect(|packet| assert!(matches!(packet, Packet::ConnAck(ack) if ack.reason == ReasonCode::Success)));
        talker
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let mut out = Vec::new();
        encode(packet, self.version, &mut out).unwrap();
        self.stream.write_all(&out).unwrap();
    }

    /// Waits for the next packet.
    fn expect<R>(&mut self, f: impl FnOnce(&Packet<'_>) -> R) -> R {
        let limits = DecodeLimits { packet_max: u32::MAX };
        loop {
            if let Some((packet, used)) = decode(&self.input, self.version, &limits).unwrap() {
                let result = f(&packet);
                self.input.drain(..used);
                return result;
            }
            let mut room = [0; 65536];
            let n = self.stream.read(&mut room).unwrap();
            assert!(n > 0, "the broker has closed");
            self.input.extend_from_slice(&room[..n]);
        }
    }

    fn subscribe(&mut self, filter: &str, qos: QoS) {
        let subscriptions = [Subscription::new(filter, qos)];
        let id = PacketId::MIN;
        let subscriptions = (&subscriptions).into();
        self.say(&Packet::Subscribe(Subscribe { id, subscriptions, properties: Default::default() }));
        self.expect(|packet| assert!(matches!(packet, Packet::SubAck(_)), "{packet:?}"));
    }

    fn publish(&mut self, publish: Publish<'_>) {
        let id = (publish.qos != QoS::AtMostOnce).then_some(PacketId::MIN);
        self.say(&Packet::Publish(Publish { id, ..publish }));
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.expect(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}")),
            QoS::ExactlyOnce => {
                self.expect(|packet| assert!(matches!(packet, Packet::PubRec(_)), "{packet:?}"));
                self.say(&Packet::PubRel(Ack::new(PacketId::MIN)));
                self.expect(|packet| assert!(matches!(packet, Packet::PubComp(_)), "{packet:?}"));
            }
        }
    }

    fn message(&mut self) -> (String, Vec<u8>) {
        let (topic, payload, qos, id) = self.expect(|packet| match packet {
            Packet::Publish(publish) => (publish.topic.to_owned(), publish.payload.to_vec(), publish.qos, publish.id),
            other => panic!("{other:?}"),
        });
        match (qos, id) {
            (QoS::AtLeastOnce, Some(id)) => self.say(&Packet::PubAck(Ack::new(id))),
            (QoS::ExactlyOnce, Some(id)) => {
                self.say(&Packet::PubRec(Ack::new(id)));
                self.expect(|packet| assert!(matches!(packet, Packet::PubRel(_)), "{packet:?}"));
                self.say(&Packet::PubComp(Ack::new(id)));
            }
            _ => {}
        }
        (topic, payload)
    }
}

fn serve(options: Options) -> (Manager<()>, Broker, std::net::SocketAddr) {
    let mut manager = Manager::new(()).unwrap();
    let broker = Broker::new(options);
    let listener = broker.listen(&mut manager.net(), "mqtt://127.0.0.1:0").unwrap();
    let to = addr(&mut manager, listener);
    (manager, broker, to)
}

#[test]
fn h2_h3_messages_of_every_quality_and_size_arrive() {
    let (mut manager, broker, to) = serve(Options::new());
    let talk = helper(move || {
        for version in [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5] {
            let mut subscriber = Talker::new(to, Connect::new(version, "to"));
            subscriber.subscribe("t/#", QoS::ExactlyOnce);
            let mut publisher = Talker::new(to, Connect::new(version, "from"));
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                for len in [0, 1, 1024, 40_000, 300_000, 1_500_000] {
                    let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
                    publisher.publish(Publish { qos, ..Publish::new("t/x", &payload) });
                    assert!(subscriber.message() == ("t/x".to_owned(), payload), "{version:?} {qos:?} {len}");
                }
            }
        }
    });
    talk.wait(&mut manager, "all messages");
    until(&mut manager, "nothing is left", |m| m.net().connection_count() == 1);
    let stats = broker.stats();
    assert_eq!((stats.publish_in, stats.publish_out, stats.dropped.total(), stats.queued), (54, 54, 0, 0));
}

#[test]
fn packets_may_come_in_any_pieces() {
    let (mut manager, _broker, to) = serve(Options::new());
    let talk = helper(move || {
        let mut bytes = Vec::new();
        let subscriptions = [Subscription::new("t", QoS::AtMostOnce)];
        for packet in [
            Packet::Connect(Connect::new(Version::Mqtt5, "c")),
            Packet::Subscribe(Subscribe {
                id: PacketId::MIN,
                subscriptions: (&subscriptions).into(),
                properties: Default::default(),
            }),
            Packet::Publish(Publish::new("t", "payload")),
            Packet::PingReq,
        ] {
            encode(&packet, Version::Mqtt5, &mut bytes).unwrap();
        }
        for step in [1, 2, 3, 7, bytes.len()] {
            let mut talker = Talker { stream: client(to), version: Version::Mqtt5, input: Vec::new() };
            for piece in bytes.chunks(step) {
                talker.stream.write_all(piece).unwrap();
            }
            talker.expect(|packet| assert!(matches!(packet, Packet::ConnAck(_))));
            talker.expect(|packet| assert!(matches!(packet, Packet::SubAck(_))));
            talker.expect(|packet| assert!(matches!(packet, Packet::Publish(_))));
            talker.expect(|packet| assert!(matches!(packet, Packet::PingResp)));
        }
    });
    talk.wait(&mut manager, "five clients");
}

#[test]
fn h16_a_subscriber_that_does_not_read_holds_up_nobody() {
    let (mut manager, broker, to) = serve(Options::new());
    const MESSAGES: usize = 2000;
    let talk = helper(move || {
        let mut stuck = Talker::new(to, Connect { keep_alive: 0, ..Connect::new(Version::Mqtt311, "stuck") });
        stuck.subscribe("t", QoS::AtMostOnce);
        let mut fast = Talker::new(to, Connect::new(Version::Mqtt311, "fast"));
        fast.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = Talker::new(to, Connect::new(Version::Mqtt311, "from"));
        let payload = vec![0; 32 * 1024];
        for _ in 0..MESSAGES {
            publisher.publish(Publish { qos: QoS::AtLeastOnce, ..Publish::new("t", &payload) });
            fast.message();
        }
        stuck
    });
    let _stuck = talk.wait(&mut manager, "the fast one");
    let dropped = broker.client(&manager.net(), "stuck").unwrap().dropped;
    assert!(dropped.total() > 0 && dropped == broker.stats().dropped, "{dropped:?}");
    let most = manager.net().connections().iter().map(|conn| conn.queued).max();
    // The mark of 1 MiB, and the message that passed it.
    assert!(most < Some(1024 * 1024 + 40 * 1024), "{most:?} bytes queued");
}

#[test]
fn a_burst_to_a_client_that_reads_loses_nothing() {
    let (mut manager, broker, to) = serve(Options::new());
    const MESSAGES: usize = 512;
    let talk = helper(move || {
        let mut subscriber = Talker::new(to, Connect::new(Version::Mqtt311, "to"));
        subscriber.subscribe("t", QoS::AtMostOnce);
        let mut publisher = Talker::new(to, Connect::new(Version::Mqtt311, "from"));
        let mut burst = Vec::new();
        for n in 0..MESSAGES {
            let payload = [n as u8; 1024];
            encode(&Packet::Publish(Publish::new("t", &payload)), Version::Mqtt311, &mut burst).unwrap();
        }
        publisher.stream.write_all(&burst).unwrap();
        for n in 0..MESSAGES {
            assert_eq!(subscriber.message().1[0], n as u8);
        }
        publisher
    });
    let _publisher = talk.wait(&mut manager, "all of the burst");
    assert_eq!(broker.stats().dropped.total(), 0);
}

#[test]
fn h6_h9_a_client_that_is_gone_leaves_its_will() {
    let (mut manager, broker, to) = serve(Options::new());
    let talk = helper(move || {
        let mut watcher = Talker::new(to, Connect::new(Version::Mqtt5, "watcher"));
        watcher.subscribe("gone/+", QoS::AtLeastOnce);
        let will = |topic| Some(Will { qos: QoS::AtLeastOnce, ..Will::new(topic, b"bye") });
        let connect = Connect::new(Version::Mqtt311, "cut");
        drop(Talker::new(to, Connect { will: will("gone/cut"), ..connect }));
        assert_eq!(watcher.message().0, "gone/cut");
        // One and a half seconds of silence.
        let connect = Connect { keep_alive: 1, ..Connect::new(Version::Mqtt311, "silent") };
        let _silent = Talker::new(to, Connect { will: will("gone/silent"), ..connect });
        assert_eq!(watcher.message().0, "gone/silent");
    });
    talk.wait(&mut manager, "two wills");
    assert_eq!(broker.stats().wills, 2);
}

#[test]
fn a_client_that_takes_its_leave_is_answered_and_closed_without_waiting_for_its_end() {
    let limits = Limits::new().linger_timeout(Duration::from_secs(3600));
    let mut manager = Manager::builder().limits(limits).build(()).unwrap();
    let broker = Broker::new(Options::new());
    let listener = broker.listen(&mut manager.net(), "mqtt://127.0.0.1:0").unwrap();
    let to = addr(&mut manager, listener);
    let talk = helper(move || {
        let mut talker = Talker::new(to, Connect::new(Version::Mqtt311, "c"));
        let mut out = Vec::new();
        let publish = Publish { id: Some(PacketId::MIN), qos: QoS::AtLeastOnce, ..Publish::new("t", b"last") };
        for packet in [Packet::Publish(publish), Packet::Disconnect(Disconnect::new(ReasonCode::Success))] {
            encode(&packet, Version::Mqtt311, &mut out).unwrap();
        }
        talker.stream.write_all(&out).unwrap();
        talker.expect(|packet| assert!(matches!(packet, Packet::PubAck(_)), "{packet:?}"));
        assert_eq!(talker.stream.read(&mut [0; 16]).unwrap(), 0);
        // It stays open on the client's side.
        talker.stream
    });
    let stream = talk.wait(&mut manager, "the broker's end");
    until(&mut manager, "the broker has no connection left", |m| m.net().connection_count() == 1);
    assert_eq!((broker.stats().clients_connected, manager.net().stats().closed), (0, 1));
    drop(stream);
}

#[test]
fn the_program_takes_part_and_hears_of_clients() {
    let events = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&events);
    let options = Options::new().access(AllowAll).on_event(move |event| kept.borrow_mut().push(event.clone()));
    let (mut manager, broker, to) = serve(options);
    let heard = Rc::new(RefCell::new(Vec::new()));
    let (kept, looks) = (Rc::clone(&heard), broker.clone());
    broker
        .on_message("to/program", QoS::AtLeastOnce, move |received| {
            // A callback may use the broker.
            kept.borrow_mut().push((received.payload().to_vec(), looks.stats().clients_connected));
        })
        .unwrap();
    broker.publish(&mut manager.net(), &Publish { retain: true, ..Publish::new("hello", "world") }).unwrap();
    let talk = helper(move || {
        let mut talker = Talker::new(to, Connect::new(Version::Mqtt5, "c"));
        talker.subscribe("hello", QoS::AtMostOnce);
        assert_eq!(talker.message(), ("hello".to_owned(), b"world".to_vec()));
        talker.publish(Publish { qos: QoS::AtLeastOnce, ..Publish::new("to/program", "hi") });
        talker
    });
    let mut talker = talk.wait(&mut manager, "the client");
    assert_eq!(*heard.borrow(), [(b"hi".to_vec(), 1)]);
    assert!(broker.kick(&mut manager.net(), "c", ReasonCode::AdministrativeAction));
    assert!(!broker.kick(&mut manager.net(), "c", ReasonCode::AdministrativeAction));
    let talk = helper(move || {
        talker.expect(|packet| {
            assert!(matches!(packet, Packet::Disconnect(end) if end.reason == ReasonCode::AdministrativeAction));
        });
    });
    talk.wait(&mut manager, "DISCONNECT");
    let events = events.borrow();
    let Event::Connected { client, remote, session_present: false, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!((&**client, remote.map(|remote| remote.ip())), ("c", Some(to.ip())));
    let why = Parting::Ended(ReasonCode::AdministrativeAction);
    assert!(matches!(&events[1], Event::Disconnected { client, why: told } if &**client == "c" && *told == why));
    assert!(matches!(&events[2], Event::SessionEnded { .. }));
    assert!(broker.publish(&mut manager.net(), &Publish::new("a/#", "x")).is_err());
}

#[test]
fn the_program_is_told_the_figures_with_the_next_turn() {
    let hour = Options::new().sys_interval(Duration::from_secs(3600));
    let (mut manager, broker, _) = serve(hour);
    // Nobody has ever connected, and nothing is due.
    manager.poll(Some(Duration::ZERO)).unwrap();
    let inbox = broker.subscribe("$SYS/broker/clients/connected", QoS::AtMostOnce, 10).unwrap();
    until(&mut manager, "a figure", |_| !inbox.is_empty());
    assert_eq!(inbox.next().unwrap().payload(), b"0");
    let heard = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&heard);
    broker
        .on_message("$SYS/broker/uptime", QoS::AtMostOnce, move |message| {
            kept.borrow_mut().push(message.payload().to_vec())
        })
        .unwrap();
    until(&mut manager, "the callback", |_| !heard.borrow().is_empty());
    // It may have subscribed before there was a loop.
    let (mut manager, broker) = (Manager::new(()).unwrap(), Broker::new(Options::new()));
    let inbox = broker.subscribe("$SYS/#", QoS::AtMostOnce, 100).unwrap();
    broker.listen(&mut manager.net(), "mqtt://127.0.0.1:0").unwrap();
    until(&mut manager, "the figures", |_| inbox.len() > 40);
}

#[test]
fn what_cannot_be_listened_on_is_told() {
    let mut manager = Manager::new(()).unwrap();
    let broker = Broker::new(Options::new());
    for (url, part) in [
        ("mqtts://127.0.0.1:0", "TLS"),
        ("mqtt+ws://127.0.0.1:0", "mqtt+ws"),
        ("http://127.0.0.1:0", "mqtt://"),
        ("mqtt://127.0.0.1:99999", "99999"),
    ] {
        let error = broker.listen(&mut manager.net(), ListenOptions::new(url)).unwrap_err().to_string();
        assert!(error.contains(part), "{url}: {error}");
    }
    assert_eq!(manager.net().connection_count(), 0);
}

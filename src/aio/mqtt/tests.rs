//! What takes too long, or cannot be brought about, from outside.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::AsyncManager;
use crate::aio::{MqttClient, MqttState, Overflow};
use crate::mqtt::{
    ClientOptions, DecodeLimits, Failure, Packet, Property, PropertyBuf, Publish, QoS, Reconnect, Subscription,
    Version, decode,
};
use crate::options::Limits;
use crate::reactor::Command;

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let done = async { tokio::time::timeout(Duration::from_secs(20), test).await };
    runtime.block_on(done).expect("done in time")
}

/// A server of 3.1.1 that has a session, sends this, and returns what it is sent after CONNECT, and the connection.
fn server(say: &'static [u8], answer_len: usize) -> (String, std::thread::JoinHandle<(Vec<u8>, TcpStream)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        stream.read_exact(&mut vec![0; head[1].into()]).unwrap();
        stream.write_all(say).unwrap();
        let mut answer = vec![0; answer_len];
        stream.read_exact(&mut answer).unwrap();
        (answer, stream)
    });
    (url, thread)
}

fn lasting() -> ClientOptions {
    ClientOptions::new().version(crate::mqtt::Version::Mqtt311).client_id("c").clean_start(false)
}

#[test]
fn messages_of_an_earlier_session_that_nobody_wants_are_acknowledged_after_their_time_and_counted() {
    block_on(async {
        let (url, server) = server(b"\x20\x02\x01\x00\x32\x05\x00\x01a\x00\x07\x32\x05\x00\x01b\x00\x08", 8);
        let manager = AsyncManager::builder(|| ()).start().await.unwrap();
        let short = Duration::from_millis(20);
        let client = MqttClient::connect_and_wait(&manager, url.into(), lasting(), short).await.unwrap();
        assert_eq!(server.join().unwrap().0, b"\x40\x02\x00\x07\x40\x02\x00\x08");
        assert_eq!(client.unclaimed(), 2);
    });
}

#[test]
fn when_the_loop_dies_whoever_waits_is_told() {
    block_on(async {
        let (url, server) = server(b"\x20\x02\x01\x00", 8);
        let manager = AsyncManager::builder(|| ()).start().await.unwrap();
        let client = MqttClient::connect(&manager, url, lasting()).await.unwrap();
        client.opened().await.unwrap();
        let subscribing = tokio::spawn({
            let client = client.clone();
            async move { client.subscribe(Subscription::new("a", QoS::AtLeastOnce), 1, Overflow::Pause).await }
        });
        // SUBSCRIBE has come, and stays without an answer.
        let (asked, _open) = tokio::task::spawn_blocking(|| server.join().unwrap()).await.unwrap();
        assert_eq!(asked[0], 0x82);
        manager.waker().push(Command::Run(Box::new(|_| panic!("the loop is broken")))).unwrap();
        let mut states = client.states();
        drop(states.wait_for(|state| matches!(state, MqttState::Closed(_))).await.unwrap());
        let e = subscribing.await.unwrap().unwrap_err();
        assert_eq!(e.cause::<Failure>(), Some(&Failure::Unanswered), "{e}");
        assert!(client.opened().await.unwrap_err().is_stopped());
    });
}

/// With its life in seconds.
fn mortal<'a>(topic: &'a str, properties: &'a mut PropertyBuf, seconds: u32) -> Publish<'a> {
    properties.push(Property::MessageExpiryInterval(seconds)).unwrap();
    Publish { qos: QoS::AtLeastOnce, properties: properties.as_properties(), ..Publish::new(topic, "") }
}

#[test]
fn a_message_ages_while_its_publisher_waits_for_room() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let limits = Limits::new().mqtt_queued_max(1);
        let manager = AsyncManager::builder(|| ()).limits(limits).start().await.unwrap();
        let options = ClientOptions::new().version(Version::Mqtt5).client_id("c").reconnect(Reconnect::default());
        let client = MqttClient::connect(&manager, url, options).await.unwrap();
        let publish = |topic: &'static str, seconds| {
            let client = client.clone();
            async move {
                let mut properties = PropertyBuf::new();
                client.publish(&mortal(topic, &mut properties, seconds)).await
            }
        };
        // The server takes nobody in yet: the first one waits in the queue, the others wait for room.
        let first = tokio::spawn(publish("first", 1000));
        while manager.with(|cx| cx.net.stats().mqtt_messages_out).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        let (short, long) = (tokio::spawn(publish("short", 1)), tokio::spawn(publish("long", 1000)));
        let e = short.await.unwrap().unwrap_err();
        assert!(e.is_timed_out(), "{e}");
        assert_eq!(e.cause::<Failure>(), Some(&Failure::Expired));
        // Then it does: the others have become older.
        let lives = tokio::task::spawn_blocking(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let (mut kept, mut lives, mut buf) = (Vec::new(), Vec::new(), [0; 1024]);
            while lives.len() < 2 {
                let len = stream.read(&mut buf).unwrap();
                assert!(len > 0, "it closes");
                kept.extend_from_slice(&buf[..len]);
                while let Some((packet, used)) = decode(&kept, Version::Mqtt5, &DecodeLimits::default()).unwrap() {
                    match packet {
                        Packet::Connect(_) => stream.write_all(b"\x20\x03\0\0\0").unwrap(),
                        Packet::Publish(publish) => {
                            lives.push((publish.topic.to_owned(), publish.properties.message_expiry_interval()));
                            let [high, low] = publish.id.unwrap().get().to_be_bytes();
                            stream.write_all(&[0x40, 2, high, low]).unwrap();
                        }
                        other => panic!("{other:?}"),
                    }
                    kept.drain(..used);
                }
            }
            lives
        });
        for (topic, left) in lives.await.unwrap() {
            assert!((1..1000).contains(&left.unwrap()), "{topic}: {left:?}");
        }
        assert!(first.await.unwrap().is_ok() && long.await.unwrap().is_ok());
    });
}

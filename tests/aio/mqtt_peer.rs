//! What the tests of `MqttClient` talk to: a broker, and servers that are played packet by packet.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use vansire::aio::{Conn, MqttClient};
use vansire::broker::{Broker, Options};
use vansire::mqtt::{
    Ack, ClientOptions, ConnAck, DecodeLimits, Packet, PacketId, Publish, QoS, ReasonCode, Reconnect, SubAck,
    Subscription, Version, decode, encode,
};
use vansire::{AsyncManager, ConnectOptions};

use crate::common::patient;
use crate::support::{Launch, counter, ms};

/// A broker on a loop of its own.
pub(crate) async fn broker() -> (AsyncManager<u64>, Conn, String) {
    let manager = counter().launch().await.unwrap();
    let listener = manager.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())).await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    (manager, listener, url)
}

/// A client on a loop of its own.
pub(crate) async fn connected(
    to: impl Into<ConnectOptions>,
    options: ClientOptions,
) -> (AsyncManager<u64>, MqttClient<u64>) {
    let manager = counter().launch().await.unwrap();
    let client = MqttClient::connect(&manager, to, options).await.unwrap();
    (manager, client)
}

/// The client says DISCONNECT, and the server has played its part to the end.
pub(crate) async fn leave(client: &MqttClient<u64>, server: JoinHandle<()>) {
    client.disconnect().await.unwrap();
    server.join().unwrap();
}

/// The server's side of a connection, on a thread that may wait.
pub(crate) struct Server {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Server {
    /// Accepts, and answers CONNECT.
    pub(crate) fn accept(listener: &TcpListener, session_present: bool) -> Self {
        let stream = listener.accept().unwrap().0;
        patient(&stream);
        let mut server = Self { stream, input: Vec::new() };
        server.expect("CONNECT", |packet| matches!(packet, Packet::Connect(_)));
        server.say(&Packet::ConnAck(ConnAck { session_present, ..ConnAck::new(ReasonCode::Success) }));
        server
    }

    pub(crate) fn say(&mut self, packet: &Packet<'_>) {
        let mut out = Vec::new();
        encode(packet, Version::Mqtt5, &mut out).unwrap();
        self.stream.write_all(&out).unwrap();
    }

    /// The next packet is this. PINGREQ is none.
    pub(crate) fn expect<R: std::fmt::Debug + Outcome>(&mut self, what: &str, f: impl FnOnce(&Packet<'_>) -> R) -> R {
        let limits = DecodeLimits { packet_max: u32::MAX };
        loop {
            if let Some((packet, used)) = decode(&self.input, Version::Mqtt5, &limits).unwrap() {
                let result = f(&packet);
                assert!(result.is_it(), "waited for {what}, and there came {packet:?}");
                self.input.drain(..used);
                return result;
            }
            let mut room = [0; 4096];
            let n = self.stream.read(&mut room).unwrap();
            assert!(n > 0, "closed before {what}");
            self.input.extend_from_slice(&room[..n]);
        }
    }

    /// Grants a subscription to this filter.
    pub(crate) fn grant(&mut self, filter: &str) {
        let id = self.asked(filter);
        self.granted(id);
    }

    /// Takes a SUBSCRIBE to this filter, and does not answer it.
    pub(crate) fn asked(&mut self, filter: &str) -> PacketId {
        let id = self.expect("SUBSCRIBE", |packet| match packet {
            Packet::Subscribe(subscribe) => {
                let first = subscribe.subscriptions.iter().next().unwrap();
                (first.filter == filter).then_some(subscribe.id)
            }
            _ => None,
        });
        id.unwrap()
    }

    pub(crate) fn granted(&mut self, id: PacketId) {
        self.say(&Packet::SubAck(SubAck {
            id,
            reasons: (&[ReasonCode::GrantedQoS2][..]).into(),
            properties: Default::default(),
        }));
    }

    pub(crate) fn message(&mut self, topic: &str, payload: &str, id: Option<u16>) {
        let id = id.and_then(PacketId::new);
        let qos = if id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        self.say(&Packet::Publish(Publish { id, qos, ..Publish::new(topic, payload) }));
    }

    /// Takes a message of QoS 1, and does not acknowledge it; or the client leaves.
    pub(crate) fn take_or_left(&mut self, topic: &str) -> Option<PacketId> {
        let taken = self.expect("PUBLISH or DISCONNECT", |packet| match packet {
            Packet::Publish(publish) if publish.topic == topic => Some(publish.id),
            Packet::Disconnect(_) => Some(None),
            _ => None,
        });
        taken.unwrap()
    }

    /// Takes a message of QoS 1, and does not acknowledge it.
    pub(crate) fn take(&mut self, topic: &str) -> PacketId {
        let id = self.expect("PUBLISH", |packet| match packet {
            Packet::Publish(publish) if publish.topic == topic => publish.id,
            _ => None,
        });
        id.unwrap()
    }

    pub(crate) fn ack(&mut self, id: PacketId) {
        self.say(&Packet::PubAck(Ack::new(id)));
    }

    pub(crate) fn acked(&mut self, id: u16) {
        self.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(ack) if ack.id.get() == id));
    }

    pub(crate) fn left(&mut self) {
        self.expect("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)));
        assert_eq!(self.stream.read(&mut [0]).unwrap_or(0), 0, "nothing follows");
    }
}

/// What may be waited for.
pub(crate) trait Outcome {
    fn is_it(&self) -> bool;
}

impl Outcome for bool {
    fn is_it(&self) -> bool {
        *self
    }
}

impl<T> Outcome for Option<T> {
    fn is_it(&self) -> bool {
        self.is_some()
    }
}

pub(crate) fn play(script: impl FnOnce(TcpListener) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    (url, std::thread::spawn(move || script(listener)))
}

pub(crate) fn soon() -> Reconnect {
    Reconnect { min: ms(5), max: ms(5) }
}

pub(crate) fn q1<'a>(topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish { qos: QoS::AtLeastOnce, ..Publish::new(topic, payload) }
}

pub(crate) fn sub(filter: &str) -> Subscription<'_> {
    Subscription::new(filter, QoS::ExactlyOnce)
}

//! A client and a server that is played packet by packet.

mod hostile;
mod split;

use std::time::{Duration, Instant};

use super::*;
use crate::proto::mqtt::decode::{DecodeLimits, decode};
use crate::proto::mqtt::list::List;
use crate::proto::mqtt::packet::{Ack, PacketType, Subscription, Will};
use crate::proto::mqtt::property::{Property, PropertyBuf};

/// A client, what it says, and what it tells.
struct Talk {
    client: Client,
    version: Version,
    now: Instant,
    out: Vec<u8>,
    told: Vec<String>,
    acks: Vec<AckId>,
    fault: Option<Fault>,
}

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn properties(all: &[Property<'_>]) -> PropertyBuf {
    let mut properties = PropertyBuf::new();
    for property in all {
        properties.push(*property).unwrap();
    }
    properties
}

impl Talk {
    fn new(options: ClientOptions) -> Self {
        Self::with(options, ClientLimits::default())
    }

    fn with(options: ClientOptions, limits: ClientLimits) -> Self {
        let version = options.version;
        let client = Client::new(options, limits).unwrap();
        let (out, told, acks) = (Vec::new(), Vec::new(), Vec::new());
        Self { client, version, now: Instant::now(), out, told, acks, fault: None }
    }

    /// An open connection, of which nothing is to be told any more.
    fn open(options: ClientOptions) -> Self {
        let mut talk = Self::new(options);
        talk.connect(false, &[]);
        talk.told.clear();
        talk
    }

    fn connect(&mut self, session_present: bool, all: &[Property<'_>]) -> String {
        self.client.handle_connected(self.now, &mut self.out);
        let connect = self.said();
        let properties = properties(all);
        let properties = properties.as_properties();
        self.hear(&Packet::ConnAck(ConnAck { session_present, properties, ..ConnAck::new(ReasonCode::Success) }));
        connect
    }

    fn lose(&mut self) {
        self.client.handle_lost();
        self.out.clear();
    }

    fn hear(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, self.version, &mut bytes).unwrap();
        self.hear_bytes(&bytes);
    }

    /// Every message is acknowledged at once, unless acknowledging is the application's.
    fn hear_bytes(&mut self, mut bytes: &[u8]) -> usize {
        let len = bytes.len();
        while !bytes.is_empty() {
            match self.client.handle_packet(bytes, self.now, &mut self.out) {
                Ok(Some((input, used))) => {
                    bytes = &bytes[used..];
                    self.take(&input);
                }
                Ok(None) => break,
                Err(fault) => {
                    self.fault = Some(fault);
                    return len;
                }
            }
        }
        while let Some((Token(token), why)) = self.client.poll_event() {
            self.told.push(format!("failed {token} {why:?}"));
        }
        self.client.pump(usize::MAX, self.now, &mut self.out);
        len - bytes.len()
    }

    fn take(&mut self, input: &Input<'_>) {
        self.told.push(match input {
            Input::Nothing => return,
            Input::Opened(ack) => format!("opened {}", ack.session_present),
            Input::Refused(ack) => format!("refused {:?}", ack.reason),
            Input::Message(arrived) => {
                let topic = arrived.topic.as_deref().unwrap_or(arrived.publish.topic);
                if let Some(ack) = arrived.ack {
                    match self.client.acks() {
                        Acks::Auto => self.client.ack(ack, self.now, &mut self.out).unwrap(),
                        Acks::Manual => self.acks.push(ack),
                    }
                }
                format!("message {topic} {}", String::from_utf8_lossy(arrived.publish.payload))
            }
            Input::Delivered(Token(token), reason) => format!("delivered {token} {reason:?}"),
            Input::Failed(Token(token), why) => format!("failed {token} {why:?}"),
            Input::Subscribed(Token(token), ack) => format!("subscribed {token} {:?}", ack.reasons),
            Input::Unsubscribed(Token(token), ack) => format!("unsubscribed {token} {:?}", ack.reasons),
            Input::Auth(auth) => format!("auth {:?}", auth.reason),
            Input::Disconnected(disconnect) => format!("disconnected {:?}", disconnect.reason),
        });
    }

    fn publish(&mut self, qos: QoS, topic: &str, payload: &str) -> Result<Option<Token>, SendError> {
        self.publish_all(&Publish { qos, ..Publish::new(topic, payload) })
    }

    fn publish_all(&mut self, publish: &Publish<'_>) -> Result<Option<Token>, SendError> {
        self.client.publish(publish, Room::Free, self.now, &mut self.out)
    }

    /// What has been said since the last time, a packet for each word.
    fn said(&mut self) -> String {
        let out = std::mem::take(&mut self.out);
        let mut rest = &out[..];
        let mut words = Vec::new();
        while let Some((packet, used)) = decode(rest, self.version, &DecodeLimits { packet_max: u32::MAX }).unwrap() {
            rest = &rest[used..];
            words.push(word(&packet));
        }
        assert!(rest.is_empty(), "half a packet");
        words.join(" ")
    }

    fn told(&mut self) -> String {
        std::mem::take(&mut self.told).join(", ")
    }
}

fn word(packet: &Packet<'_>) -> String {
    let reason = |name: &str, ack: &Ack<'_>| match ack.reason {
        ReasonCode::Success => format!("{name}:{}", ack.id),
        reason => format!("{name}:{}:{:#x}", ack.id, reason.to_u8()),
    };
    match packet {
        Packet::Connect(connect) => format!("CONNECT:{}:{}", connect.client_id, connect.clean_start),
        Packet::Publish(publish) => {
            let dup = if publish.dup { "+dup" } else { "" };
            let alias = publish.properties.topic_alias().map_or(String::new(), |alias| format!("@{alias}"));
            let number = publish.id.map_or(0, PacketId::get);
            let payload = String::from_utf8_lossy(publish.payload);
            let expiry = publish.properties.message_expiry_interval().map_or(String::new(), |left| format!("~{left}"));
            format!("PUBLISH:{number}{dup}:{}{alias}:{payload}{expiry}", publish.topic)
        }
        Packet::PubAck(ack) => reason("PUBACK", ack),
        Packet::PubRec(ack) => reason("PUBREC", ack),
        Packet::PubRel(ack) => reason("PUBREL", ack),
        Packet::PubComp(ack) => reason("PUBCOMP", ack),
        Packet::Subscribe(subscribe) => format!("SUBSCRIBE:{}", subscribe.id),
        Packet::Unsubscribe(unsubscribe) => format!("UNSUBSCRIBE:{}", unsubscribe.id),
        Packet::Disconnect(disconnect) => format!("DISCONNECT:{:#x}", disconnect.reason.to_u8()),
        Packet::Auth(auth) => format!("AUTH:{:#x}", auth.reason.to_u8()),
        other => format!("{:?}", other.packet_type()).to_uppercase(),
    }
}

fn v4() -> ClientOptions {
    ClientOptions::new().version(Version::Mqtt311).client_id("c")
}

fn lasting() -> ClientOptions {
    ClientOptions::new().client_id("c").clean_start(false).session_expiry(secs(100))
}

#[test]
fn h2_h3_messages_go_through_their_steps() {
    let ack = |n| Ack::new(id(n));
    for version in [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5] {
        let mut talk = Talk::open(ClientOptions::new().version(version).client_id("c"));
        assert_eq!(talk.publish(QoS::AtMostOnce, "a", "0"), Ok(None));
        assert_eq!(talk.publish(QoS::AtLeastOnce, "a", "1"), Ok(Some(Token(1))));
        assert_eq!(talk.publish(QoS::ExactlyOnce, "a", "2"), Ok(Some(Token(2))));
        assert_eq!(talk.said(), "PUBLISH:0:a:0 PUBLISH:1:a:1 PUBLISH:2:a:2", "{version:?}");
        talk.hear(&Packet::PubAck(ack(1)));
        talk.hear(&Packet::PubRec(ack(2)));
        assert_eq!((talk.said(), talk.told()), ("PUBREL:2".into(), "delivered 1 Success".into()));
        // MQTT-4.3.3-4: PUBREC again has PUBREL again, and no other end.
        talk.hear(&Packet::PubRec(ack(2)));
        talk.hear(&Packet::PubComp(ack(2)));
        assert_eq!((talk.said(), talk.told()), ("PUBREL:2".into(), "delivered 2 Success".into()));
        assert!(talk.client.is_at_rest() && talk.fault.is_none());
        // Strays are ignored; an unknown PUBREC is released.
        talk.hear(&Packet::PubAck(ack(9)));
        talk.hear(&Packet::PubComp(ack(9)));
        talk.hear(&Packet::PubRec(ack(9)));
        let release = if version.is_5() { "PUBREL:9:0x92" } else { "PUBREL:9" };
        assert_eq!((talk.said(), talk.told(), talk.client.strays()), (release.into(), String::new(), 3));
    }
}

#[test]
fn refusals_end_messages_of_5_0() {
    let mut talk = Talk::open(ClientOptions::new());
    talk.publish(QoS::AtLeastOnce, "a", "").unwrap();
    talk.publish(QoS::ExactlyOnce, "a", "").unwrap();
    talk.said();
    let refused = |n| Ack { reason: ReasonCode::NotAuthorized, ..Ack::new(id(n)) };
    talk.hear(&Packet::PubAck(refused(1)));
    talk.hear(&Packet::PubRec(refused(2)));
    assert_eq!(talk.said(), "", "MQTT-4.3.3-4: no PUBREL");
    assert_eq!(talk.told(), "failed 1 Refused(NotAuthorized), failed 2 Refused(NotAuthorized)");
}

#[test]
fn h3_messages_arrive_once_at_qos_2_and_are_acknowledged_in_order() {
    for version in [Version::Mqtt311, Version::Mqtt5] {
        let mut talk = Talk::open(ClientOptions::new().version(version).client_id("c"));
        let message = |qos, n, dup| {
            let id = (qos != QoS::AtMostOnce).then(|| id(n));
            Packet::Publish(Publish { qos, id, dup, ..Publish::new("t", "x") })
        };
        talk.hear(&message(QoS::AtMostOnce, 0, false));
        talk.hear(&message(QoS::AtLeastOnce, 5, false));
        talk.hear(&message(QoS::AtLeastOnce, 5, true));
        assert_eq!((talk.said(), talk.told.len()), ("PUBACK:5 PUBACK:5".into(), 3));
        talk.told.clear();
        talk.hear(&message(QoS::ExactlyOnce, 7, false));
        talk.hear(&message(QoS::ExactlyOnce, 7, true));
        talk.lose();
        talk.client.options.clean_start = false;
        talk.connect(true, &[]);
        talk.hear(&message(QoS::ExactlyOnce, 7, true));
        assert_eq!((talk.said(), talk.told()), ("PUBREC:7".into(), "message t x, opened true".into()), "MQTT-4.3.3-10");
        talk.hear(&Packet::PubRel(Ack::new(id(7))));
        talk.hear(&Packet::PubRel(Ack::new(id(7))));
        let again = if version.is_5() { "PUBCOMP:7:0x92" } else { "PUBCOMP:7" };
        assert_eq!(talk.said(), format!("PUBCOMP:7 {again}"));
        // MQTT-4.3.3-12: the number means another message now.
        talk.hear(&message(QoS::ExactlyOnce, 7, false));
        assert_eq!(talk.told(), "message t x");
        assert_eq!(talk.fault, None);
    }
}

#[test]
fn mqtt_4_3_3_10_a_message_that_is_done_with_is_not_told_again_though_its_connection_was_lost_before_its_turn() {
    let message = |n| Packet::Publish(Publish { qos: QoS::ExactlyOnce, id: Some(id(n)), ..Publish::new("t", "x") });
    let mut talk = Talk::open(lasting().acks(Acks::Manual));
    (1..=3).for_each(|n| talk.hear(&message(n)));
    assert_eq!(talk.client.ack(talk.acks[2], talk.now, &mut talk.out), Ok(()));
    assert_eq!(talk.said(), "", "not before the first");
    for _ in 0..2 {
        talk.lose();
        talk.connect(true, &[]);
        talk.told.clear();
        talk.acks.clear();
        (1..=3).for_each(|n| talk.hear(&message(n)));
        assert_eq!((talk.told(), talk.said()), ("message t x, message t x".into(), String::new()), "not the third");
    }
    // MQTT-4.6.0-3: in the order of the messages, that of the third included.
    for (at, said) in [(1, ""), (0, "PUBREC:1 PUBREC:2 PUBREC:3")] {
        assert_eq!(talk.client.ack(talk.acks[at], talk.now, &mut talk.out), Ok(()));
        assert_eq!(talk.said(), said);
    }
    (1..=3).for_each(|n| talk.hear(&Packet::PubRel(Ack::new(id(n)))));
    assert_eq!(talk.said(), "PUBCOMP:1 PUBCOMP:2 PUBCOMP:3");
    // The number means another message now.
    talk.told.clear();
    talk.hear(&message(3));
    assert_eq!(talk.told(), "message t x");
}

#[test]
fn acknowledgements_by_hand_keep_the_order_of_the_messages() {
    let mut talk = Talk::open(lasting().acks(Acks::Manual));
    for (n, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce), (3, QoS::AtLeastOnce)] {
        talk.hear(&Packet::Publish(Publish { qos, id: Some(id(n)), ..Publish::new("t", "x") }));
    }
    assert_eq!((talk.told.len(), talk.said()), (3, String::new()));
    let (acks, now) = (talk.acks.clone(), talk.now);
    let ack = |talk: &mut Talk, n: usize| talk.client.ack(acks[n], now, &mut talk.out);
    assert_eq!(ack(&mut talk, 2), Ok(()));
    assert_eq!(talk.said(), "", "MQTT-4.6.0-2: those before it come first");
    assert_eq!(ack(&mut talk, 0), Ok(()));
    assert_eq!(talk.said(), "PUBACK:1");
    assert_eq!(ack(&mut talk, 0), Err(SendError::Stale), "twice");
    // What is told and not acknowledged is not told again on this connection, and comes again on the next.
    talk.hear(&Packet::Publish(Publish {
        qos: QoS::ExactlyOnce,
        id: Some(id(2)),
        dup: true,
        ..Publish::new("t", "x")
    }));
    assert_eq!((talk.told.len(), talk.said()), (3, String::new()));
    talk.lose();
    talk.connect(true, &[]);
    assert_eq!(ack(&mut talk, 1), Err(SendError::Stale), "of the old connection");
    talk.told.clear();
    talk.hear(&Packet::Publish(Publish {
        qos: QoS::ExactlyOnce,
        id: Some(id(2)),
        dup: true,
        ..Publish::new("t", "x")
    }));
    assert_eq!(talk.told(), "message t x");
    let last = *talk.acks.last().unwrap();
    assert_eq!(talk.client.ack(last, talk.now, &mut talk.out), Ok(()));
    assert_eq!(talk.said(), "PUBREC:2");
}

#[test]
fn mqtt_4_4_0_1_what_was_under_way_is_sent_again_in_its_order() {
    let mut talk = Talk::open(lasting());
    for n in 1..=6 {
        talk.publish(QOS[1 + n % 2], "a", &n.to_string()).unwrap();
    }
    // Odd ones are of QoS 2. PUBRECs come the other way round: 5, then 1.
    talk.hear(&Packet::PubRec(Ack::new(id(5))));
    talk.hear(&Packet::PubRec(Ack::new(id(1))));
    talk.hear(&Packet::PubAck(Ack::new(id(4))));
    talk.said();
    talk.lose();
    talk.publish(QoS::AtLeastOnce, "a", "7").unwrap();
    assert_eq!(talk.connect(true, &[]), "CONNECT:c:false");
    assert_eq!(
        talk.said(),
        "PUBREL:5 PUBREL:1 PUBLISH:2+dup:a:2 PUBLISH:3+dup:a:3 PUBLISH:6+dup:a:6 PUBLISH:7:a:7",
        "MQTT-4.6.0-1, MQTT-4.6.0-4"
    );
    // And nothing is ever sent again on the same connection.
    for n in [2, 6, 7] {
        talk.hear(&Packet::PubAck(Ack::new(id(n))));
    }
    talk.hear(&Packet::PubRec(Ack::new(id(3))));
    for n in [1, 3, 5] {
        talk.hear(&Packet::PubComp(Ack::new(id(n))));
    }
    assert_eq!(talk.said(), "PUBREL:3");
    assert_eq!(talk.told.iter().filter(|told| told.starts_with("delivered")).count(), 7);
    assert!(talk.client.is_at_rest());
}

#[test]
fn a_smaller_receive_maximum_holds_back_what_is_sent_again() {
    let mut talk = Talk::open(lasting());
    for n in 1..=4 {
        talk.publish(QoS::AtLeastOnce, "a", &n.to_string()).unwrap();
    }
    talk.lose();
    talk.connect(true, &[Property::ReceiveMaximum(NonZeroU16::new(2).unwrap())]);
    assert_eq!(talk.said(), "PUBLISH:1+dup:a:1 PUBLISH:2+dup:a:2", "MQTT-3.3.4-9");
    talk.publish(QoS::AtLeastOnce, "a", "5").unwrap();
    talk.hear(&Packet::PubAck(Ack::new(id(2))));
    assert_eq!(talk.said(), "PUBLISH:3+dup:a:3");
    talk.hear(&Packet::PubAck(Ack::new(id(1))));
    talk.hear(&Packet::PubAck(Ack::new(id(3))));
    assert_eq!(talk.said(), "PUBLISH:4+dup:a:4 PUBLISH:5:a:5");
}

#[test]
fn a_lost_session_sends_qos_1_anew_and_fails_qos_2() {
    let mut talk = Talk::open(lasting());
    for (qos, text) in [(QoS::AtLeastOnce, "1"), (QoS::ExactlyOnce, "2"), (QoS::AtLeastOnce, "3")] {
        talk.publish(qos, "a", text).unwrap();
    }
    talk.lose();
    talk.publish(QoS::ExactlyOnce, "a", "4").unwrap();
    talk.connect(false, &[]);
    assert_eq!(talk.said(), "PUBLISH:4:a:1 PUBLISH:5:a:3 PUBLISH:6:a:4", "MQTT-3.2.2-5: no DUP, in order");
    assert_eq!(talk.told(), "opened false, failed 2 SessionLost");
    talk.client.handle_end();
    let ends: Vec<_> = std::iter::from_fn(|| talk.client.poll_event()).collect();
    assert_eq!(ends, [1, 3, 4].map(|token| (Token(token), Failure::Unanswered)));
}

#[test]
fn h4_packet_ids_wrap_past_0_and_are_free_before_they_come_again() {
    let mut talk = Talk::open(v4());
    talk.publish(QoS::AtLeastOnce, "held", "").unwrap();
    talk.said();
    let mut seen = std::collections::HashSet::new();
    for n in 0..70_000u32 {
        talk.publish(QoS::AtLeastOnce, "a", "").unwrap();
        let said = talk.said();
        let number: u16 = said.split(':').nth(1).unwrap().parse().unwrap();
        assert!(number > 1, "{n}: {number} is in use, or none");
        seen.insert(number);
        talk.hear(&Packet::PubAck(Ack::new(id(number))));
        talk.told.clear();
    }
    assert_eq!(seen.len(), 65_534, "MQTT-2.2.1-3: all but 0 and the one that is held");
}

#[test]
fn h5_answers_find_who_asked() {
    for version in [Version::Mqtt311, Version::Mqtt5] {
        let mut talk = Talk::new(ClientOptions::new().version(version).client_id("c"));
        let (now, none) = (talk.now, crate::proto::mqtt::Properties::default());
        let two = [Subscription::new("a/#", QoS::ExactlyOnce), Subscription::new("b", QoS::AtLeastOnce)];
        let first = talk.client.subscribe(List::from(&two), none, now, &mut talk.out).unwrap();
        assert_eq!(talk.said(), "", "not before there is a connection");
        talk.connect(false, &[]);
        let second = talk.client.unsubscribe(List::from(&["a/#"]), none, now, &mut talk.out).unwrap();
        assert_eq!((talk.said().as_str(), first, second), ("SUBSCRIBE:1 UNSUBSCRIBE:2", Token(1), Token(2)));
        // Unanswered, it is asked again, with the same number.
        talk.lose();
        talk.connect(false, &[]);
        assert_eq!(talk.said(), "SUBSCRIBE:1 UNSUBSCRIBE:2");
        talk.told.clear();
        let reasons = [ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError];
        let sub_ack = SubAck { id: id(1), reasons: List::from(&reasons), properties: none };
        let one = [ReasonCode::Success];
        let unsub_ack = UnsubAck { id: id(2), reasons: List::from(&one), properties: none };
        talk.hear(&Packet::UnsubAck(unsub_ack));
        talk.hear(&Packet::SubAck(sub_ack));
        let success = if version.is_5() { "Success" } else { "" };
        assert_eq!(
            talk.told(),
            format!("unsubscribed 2 [{success}], subscribed 1 [GrantedQoS1, UnspecifiedError]"),
            "{version:?}"
        );
        assert!(talk.client.is_at_rest());
    }
}

/// MQTT-3.1.2-20, and MQTT-3.1.2-22 from the server's side: it is heard from, whatever it is not listened to.
#[test]
fn a_client_that_does_not_listen_goes_on_pinging() {
    let mut talk = Talk::open(ClientOptions::new().keep_alive(secs(10)).ping_timeout(secs(3)));
    let (begin, mut pings, mut last) = (talk.now, 0, talk.now);
    while talk.now < begin + secs(200) {
        talk.now = talk.client.poll_timeout().unwrap();
        let mut out = Vec::new();
        talk.client.handle_deaf(talk.now);
        talk.client.handle_timeout(talk.now, &mut out).unwrap();
        if !out.is_empty() {
            assert_eq!(out, [0xc0, 0]);
            assert!(talk.now - last <= secs(15), "silent for {:?}", talk.now - last);
            (pings, last) = (pings + 1, talk.now);
        }
    }
    assert!(pings >= 14, "{pings} pings in 200 s");
}

#[test]
fn h6_a_client_pings_when_it_is_silent_and_knows_a_dead_server() {
    let mut talk = Talk::open(ClientOptions::new().keep_alive(secs(10)).ping_timeout(secs(3)));
    let begin = talk.now;
    let at = |talk: &mut Talk, time: u64| {
        talk.now = begin + secs(time);
        talk.client.handle_timeout(talk.now, &mut talk.out)
    };
    assert_eq!(talk.client.poll_timeout(), Some(begin + secs(10)));
    assert_eq!((at(&mut talk, 9), talk.said()), (Ok(()), String::new()));
    // Who only speaks has to listen, too.
    talk.publish(QoS::AtMostOnce, "a", "").unwrap();
    talk.said();
    assert_eq!((at(&mut talk, 10), talk.said()), (Ok(()), "PINGREQ".into()), "MQTT-3.1.2-20");
    assert_eq!((at(&mut talk, 12), talk.said()), (Ok(()), String::new()));
    talk.hear(&Packet::PingResp);
    assert_eq!(talk.client.poll_timeout(), Some(begin + secs(20)));
    assert_eq!((at(&mut talk, 20), talk.said()), (Ok(()), "PINGREQ".into()));
    // Half a packet is a sign of life, but not a packet.
    talk.now = begin + secs(22);
    talk.client.handle_heard(talk.now);
    assert_eq!(at(&mut talk, 24), Ok(()));
    assert_eq!(at(&mut talk, 25), Err(Overdue::Ping));

    let mut talk = Talk::new(ClientOptions::new().keep_alive(secs(10)));
    talk.connect(false, &[Property::ServerKeepAlive(4)]);
    assert_eq!(talk.client.poll_timeout(), Some(talk.now + secs(4)), "MQTT-3.1.2-21");
    talk.lose();
    talk.connect(false, &[Property::ServerKeepAlive(0)]);
    assert_eq!(talk.client.poll_timeout(), None);
    talk.client.handle_connected(talk.now, &mut talk.out);
    talk.now += secs(10);
    assert_eq!(talk.client.handle_timeout(talk.now, &mut talk.out), Err(Overdue::ConnAck));
}

#[test]
fn a_session_is_only_present_where_one_was_asked_for() {
    // (name, options, connections: (whether it is present, whether that is a fault, the CONNECT))
    type Rows<'a> = &'a [(bool, bool, &'a str)];
    let table: [(&str, ClientOptions, Rows<'_>); 6] = [
        ("MQTT-3.2.2-2", ClientOptions::new(), &[(true, true, "CONNECT::true")]),
        ("3.1.1 MQTT-3.2.2-1", v4(), &[(false, false, "CONNECT:c:true"), (true, true, "CONNECT:c:true")]),
        ("3.1.1 kept", v4().clean_start(false), &[(true, false, "CONNECT:c:false"), (false, false, "CONNECT:c:false")]),
        ("5.0 kept", lasting(), &[(true, false, "CONNECT:c:false"), (true, false, "CONNECT:c:false")]),
        (
            "5.0, begun anew and kept",
            lasting().clean_start(true),
            &[(false, false, "CONNECT:c:true"), (true, false, "CONNECT:c:false")],
        ),
        ("5.0, begun anew", lasting().clean_start(true), &[(true, true, "CONNECT:c:true")]),
    ];
    for (name, options, rows) in table {
        let mut talk = Talk::new(options);
        for (present, is_fault, connect) in rows {
            assert_eq!(talk.connect(*present, &[]), *connect, "{name}");
            assert_eq!(talk.fault.is_some(), *is_fault, "{name}");
            talk.lose();
        }
    }
}

#[test]
fn mqtt_3_2_2_16_an_assigned_name_is_used_again() {
    let mut talk = Talk::new(lasting().client_id(""));
    assert_eq!(talk.connect(false, &[Property::AssignedClientIdentifier("auto-7")]), "CONNECT::false");
    assert_eq!(talk.client.client_id(), "auto-7");
    talk.lose();
    assert_eq!(talk.connect(true, &[]), "CONNECT:auto-7:false");
}

#[test]
fn aliases_go_both_ways() {
    let max = |max| Property::TopicAliasMaximum(max);
    let mut talk = Talk::new(lasting());
    talk.connect(false, &[max(2)]);
    for topic in ["long/one", "long/one", "long/two", "long/three", "abc", "long/two"] {
        talk.publish(QoS::AtMostOnce, topic, "").unwrap();
    }
    assert_eq!(
        talk.said(),
        "PUBLISH:0:long/one@1: PUBLISH:0:@1: PUBLISH:0:long/two@2: PUBLISH:0:long/three: PUBLISH:0:abc: PUBLISH:0:@2:",
        "MQTT-3.3.2-9"
    );
    // MQTT-3.3.2-7: another connection knows nothing of them, and what is sent again says its topic.
    talk.publish(QoS::AtLeastOnce, "long/one", "x").unwrap();
    assert_eq!(talk.said(), "PUBLISH:1:@1:x");
    talk.lose();
    talk.connect(true, &[max(0)]);
    assert_eq!(talk.said(), "PUBLISH:1+dup:long/one:x");
    talk.told.clear();

    let alias = |alias: u16| properties(&[Property::TopicAlias(NonZeroU16::new(alias).unwrap())]);
    let mut hear = |topic: &str, number: u16| {
        let properties = alias(number);
        let properties = properties.as_properties();
        talk.hear(&Packet::Publish(Publish { properties, ..Publish::new(topic, "") }));
        (talk.told(), talk.fault.map(Fault::reason_code))
    };
    assert_eq!(hear("a", 10), ("message a ".into(), None));
    assert_eq!(hear("", 10), ("message a ".into(), None));
    assert_eq!(hear("b", 10), ("message b ".into(), None));
    assert_eq!(hear("", 10), ("message b ".into(), None));
    assert_eq!(hear("", 11), (String::new(), Some(ReasonCode::TopicAliasInvalid)), "MQTT-3.3.2-8");
    assert_eq!(talk.said(), "DISCONNECT:0x94");
    let mut talk = Talk::open(lasting());
    let properties = alias(3);
    talk.hear(&Packet::Publish(Publish { properties: properties.as_properties(), ..Publish::new("", "") }));
    assert_eq!(talk.fault.map(Fault::reason_code), Some(ReasonCode::ProtocolError));
}

#[test]
fn what_a_server_does_not_take_is_not_sent() {
    let all = [
        Property::MaximumQoS(QoS::AtLeastOnce),
        Property::RetainAvailable(false),
        Property::MaximumPacketSize(NonZeroU32::new(40).unwrap()),
        Property::WildcardSubscriptionAvailable(false),
        Property::SharedSubscriptionAvailable(false),
        Property::SubscriptionIdentifierAvailable(false),
    ];
    let big = "x".repeat(40);
    let retained = Publish { retain: true, ..Publish::new("a", "") };
    let mut talk = Talk::new(lasting());
    // It is not known yet.
    talk.publish(QoS::ExactlyOnce, "a", "").unwrap();
    talk.publish(QoS::AtLeastOnce, "a", &big).unwrap();
    talk.publish_all(&Publish { qos: QoS::AtLeastOnce, ..retained }).unwrap();
    talk.connect(false, &all);
    assert_eq!(
        (talk.said(), talk.told()),
        (
            String::new(),
            "opened false, failed 1 Unsendable(QoSNotSupported), failed 2 Unsendable(PacketTooLarge), \
             failed 3 Unsendable(RetainNotSupported)"
                .into()
        )
    );
    let refused = |reason| Err(SendError::NotSupported(reason));
    assert_eq!(talk.publish(QoS::ExactlyOnce, "a", ""), refused(ReasonCode::QoSNotSupported), "MQTT-3.2.2-11");
    assert_eq!(talk.publish(QoS::AtMostOnce, "a", &big), Err(SendError::TooLong), "MQTT-3.2.2-15");
    assert_eq!(talk.publish_all(&retained), refused(ReasonCode::RetainNotSupported), "MQTT-3.2.2-14");
    let none = crate::proto::mqtt::Properties::default();
    let numbered = properties(&[Property::SubscriptionIdentifier(crate::proto::mqtt::SubscriptionId::new(1).unwrap())]);
    let table = [
        ("a/#", none, ReasonCode::WildcardSubscriptionsNotSupported),
        ("$share/g/a", none, ReasonCode::SharedSubscriptionsNotSupported),
        ("a", numbered.as_properties(), ReasonCode::SubscriptionIdentifiersNotSupported),
    ];
    for (filter, properties, reason) in table {
        let list = [Subscription::new(filter, QoS::AtMostOnce)];
        let asked = talk.client.subscribe(List::from(&list), properties, talk.now, &mut talk.out);
        assert_eq!(asked, Err(SendError::NotSupported(reason)), "{filter}");
    }
    assert_eq!(talk.said(), "");
}

#[test]
fn what_waits_has_a_bound_and_a_policy() {
    let limits = ClientLimits { queued_max: 2, ..ClientLimits::default() };
    // (policy, what the third one gets, what becomes of all)
    let table = [
        (QueueFull::Reject, Err(SendError::QueueFull), "PUBLISH:1:a:1 PUBLISH:2:a:2", "opened false"),
        (QueueFull::DropOldest, Ok(Some(Token(3))), "PUBLISH:1:a:2 PUBLISH:2:a:3", "opened false, failed 1 Dropped"),
        (QueueFull::DropNewest, Ok(Some(Token(3))), "PUBLISH:1:a:1 PUBLISH:2:a:2", "opened false, failed 3 Dropped"),
    ];
    for (policy, third, said, told) in table {
        let mut talk = Talk::with(lasting().queue_full(policy), limits);
        talk.publish(QoS::AtLeastOnce, "a", "1").unwrap();
        talk.publish(QoS::AtLeastOnce, "a", "2").unwrap();
        assert_eq!(talk.publish(QoS::AtLeastOnce, "a", "3"), third, "{policy:?}");
        talk.connect(false, &[]);
        assert_eq!((talk.said().as_str(), talk.told().as_str()), (said, told), "{policy:?}");
        assert_eq!(talk.client.dropped(), u64::from(policy != QueueFull::Reject));
    }
    // Bytes count as well, and one that has no room at all costs nobody theirs.
    let limits = ClientLimits { queued_bytes_max: 30, ..ClientLimits::default() };
    let mut talk = Talk::with(lasting().queue_full(QueueFull::DropOldest), limits);
    talk.publish(QoS::AtMostOnce, "a", "1").unwrap();
    talk.publish(QoS::AtMostOnce, "a", &"x".repeat(40)).unwrap();
    assert_eq!((talk.client.queued(), talk.client.dropped()), (1, 1));
}

#[test]
fn whoever_was_rejected_learns_once_that_there_is_room() {
    let limits = ClientLimits {
        inflight_max: NonZeroU16::MIN,
        queued_max: 4,
        queued_bytes_max: 1000,
        ..ClientLimits::default()
    };
    let mut talk = Talk::with(lasting(), limits);
    assert!(!talk.client.takes_more());
    let fill = |talk: &mut Talk| while talk.publish(QoS::AtLeastOnce, "a", "").is_ok() {};
    let end_one = |talk: &mut Talk, id| {
        talk.hear(&Packet::PubAck(Ack::new(PacketId::new(id).unwrap())));
        talk.client.pump(usize::MAX, talk.now, &mut talk.out);
    };
    fill(&mut talk);
    talk.connect(false, &[]);
    // One is under way, three wait; then two.
    assert!(!talk.client.takes_more());
    end_one(&mut talk, 1);
    assert!(talk.client.takes_more() && !talk.client.takes_more());
    end_one(&mut talk, 2);
    assert!(!talk.client.takes_more(), "nobody was rejected since");
    // A long one needs more room than half; one that never has any is not told, unless others wait before it.
    fill(&mut talk);
    assert_eq!(talk.publish(QoS::AtLeastOnce, "a", &"x".repeat(2000)), Err(SendError::QueueFull));
    for id in 3..=6 {
        assert!(!talk.client.takes_more(), "{} wait", talk.client.queued());
        end_one(&mut talk, id);
    }
    assert!(talk.client.queued() == 0 && talk.client.takes_more());
    assert_eq!(talk.publish(QoS::AtLeastOnce, "a", &"x".repeat(2000)), Err(SendError::QueueFull));
    assert!(!talk.client.takes_more());
}

#[test]
fn a_message_does_not_overtake_one_of_its_quality() {
    let limits = ClientLimits { inflight_max: NonZeroU16::MIN, ..ClientLimits::default() };
    let mut talk = Talk::with(lasting(), limits);
    talk.publish(QoS::AtMostOnce, "a", "1").unwrap();
    talk.publish(QoS::AtLeastOnce, "a", "2").unwrap();
    talk.publish(QoS::AtLeastOnce, "a", "3").unwrap();
    talk.publish(QoS::AtMostOnce, "a", "4").unwrap();
    talk.connect(false, &[]);
    talk.publish(QoS::AtMostOnce, "a", "5").unwrap();
    assert_eq!(talk.said(), "PUBLISH:0:a:1 PUBLISH:1:a:2");
    talk.hear(&Packet::PubAck(Ack::new(id(1))));
    assert_eq!(talk.said(), "PUBLISH:2:a:3 PUBLISH:0:a:4 PUBLISH:0:a:5");
    // Without room for output everything waits.
    let held = Publish::new("a", "6");
    talk.client.publish(&held, Room::Full, talk.now, &mut talk.out).unwrap();
    assert_eq!((talk.said(), talk.client.queued()), (String::new(), 1));
    talk.client.pump(usize::MAX, talk.now, &mut talk.out);
    assert_eq!(talk.said(), "PUBLISH:0:a:6");
}

#[test]
fn mqtt_3_3_2_6_a_message_ages_while_it_waits() {
    let mut talk = Talk::new(lasting());
    let live = |seconds| properties(&[Property::MessageExpiryInterval(seconds)]);
    for (seconds, text) in [(10, "x"), (100, "y")] {
        let properties = live(seconds);
        let properties = properties.as_properties();
        talk.publish_all(&Publish { qos: QoS::AtLeastOnce, properties, ..Publish::new("a", text) }).unwrap();
    }
    talk.now += Duration::from_millis(30_500);
    talk.connect(false, &[]);
    assert_eq!((talk.said().as_str(), talk.told().as_str()), ("PUBLISH:1:a:y~70", "opened false, failed 1 Expired"));
    // What the server may have is sent again, however old it is.
    talk.now += secs(1000);
    talk.lose();
    talk.connect(true, &[]);
    assert_eq!(talk.said(), "PUBLISH:1+dup:a:y~1");
}

#[test]
fn what_is_the_clients_own_affair_is_not_taken() {
    let mut talk = Talk::open(ClientOptions::new());
    let alias = properties(&[Property::TopicAlias(NonZeroU16::MIN)]);
    let number = properties(&[Property::SubscriptionIdentifier(crate::proto::mqtt::SubscriptionId::new(1).unwrap())]);
    let plain = Publish::new("a", "");
    let table = [
        ("a number", Publish { qos: QoS::AtLeastOnce, id: Some(id(1)), ..plain }, SendError::NotYours),
        ("DUP", Publish { dup: true, ..plain }, SendError::NotYours),
        ("an alias", Publish { properties: alias.as_properties(), ..plain }, SendError::NotYours),
        ("MQTT-3.3.4-6", Publish { properties: number.as_properties(), ..plain }, SendError::NotYours),
        (
            "no topic",
            Publish { topic: "", ..plain },
            EncodeError::BadTopic(crate::proto::mqtt::TopicError::Empty).into(),
        ),
    ];
    for (name, publish, expected) in table {
        assert_eq!(talk.publish_all(&publish), Err(expected), "{name}");
    }
    let bad = ClientOptions::new().property(Property::TopicAliasMaximum(1)).unwrap();
    assert!(Client::new(bad, ClientLimits::default()).is_err(), "said twice");
    let bad = v4().client_id("").clean_start(false);
    assert_eq!(Client::new(bad, ClientLimits::default()).err(), Some(EncodeError::ClientIdMissing));
    let bad = ClientOptions::new().will(&Will::new("a/#", b"")).unwrap();
    assert!(Client::new(bad, ClientLimits::default()).is_err(), "a will with a wildcard");
}

#[test]
fn an_authentication_takes_its_steps() {
    let options = ClientOptions::new().auth("SCRAM", Some(b"one")).unwrap();
    let mut talk = Talk::new(options.clone());
    talk.client.handle_connected(talk.now, &mut talk.out);
    talk.said();
    let auth = |reason, method| {
        let properties = properties(&[Property::AuthenticationMethod(method)]);
        let mut bytes = Vec::new();
        encode(&Packet::Auth(Auth { reason, properties: properties.as_properties() }), Version::Mqtt5, &mut bytes)
            .unwrap();
        bytes
    };
    let go_on = ReasonCode::ContinueAuthentication;
    talk.hear_bytes(&auth(go_on, "SCRAM"));
    assert_eq!(talk.client.auth(go_on, Some(b"two"), talk.now, &mut talk.out), Ok(()));
    assert_eq!((talk.told(), talk.said()), ("auth ContinueAuthentication".into(), "AUTH:0x18".into()));
    let again = ReasonCode::ReAuthenticate;
    assert_eq!(talk.client.auth(again, None, talk.now, &mut talk.out), Err(SendError::NotConnected));
    let properties = properties(&[Property::AuthenticationMethod("SCRAM")]);
    let properties = properties.as_properties();
    talk.hear(&Packet::ConnAck(ConnAck { properties, ..ConnAck::new(ReasonCode::Success) }));
    assert_eq!(talk.client.auth(again, None, talk.now, &mut talk.out), Ok(()), "MQTT-4.12.1-1");
    talk.hear_bytes(&auth(ReasonCode::Success, "SCRAM"));
    assert_eq!((talk.told(), talk.said()), ("opened false, auth Success".into(), "AUTH:0x19".into()));
    talk.hear_bytes(&auth(go_on, "OTHER"));
    assert!(talk.fault.is_some(), "MQTT-4.12.0-5");
}

#[test]
fn mqtt_3_14_a_disconnect_is_the_last_word() {
    let mut talk = Talk::open(ClientOptions::new());
    let longer = properties(&[Property::SessionExpiryInterval(5)]);
    let wrong = Disconnect { properties: longer.as_properties(), ..Disconnect::new(ReasonCode::Success) };
    let now = talk.now;
    assert!(talk.client.disconnect(&wrong, now, &mut talk.out).is_err(), "MQTT-3.14.2-2");
    let will = Disconnect::new(ReasonCode::DisconnectWithWill);
    assert_eq!(talk.client.disconnect(&will, now, &mut talk.out), Ok(()));
    assert_eq!(talk.client.disconnect(&will, now, &mut talk.out), Err(SendError::NotConnected));
    assert_eq!(talk.publish(QoS::AtMostOnce, "a", ""), Err(SendError::NotConnected));
    assert_eq!((talk.said().as_str(), talk.client.poll_timeout()), ("DISCONNECT:0x4", None));
    assert_eq!(word(&Packet::PingReq), format!("{:?}", PacketType::PingReq).to_uppercase());
}

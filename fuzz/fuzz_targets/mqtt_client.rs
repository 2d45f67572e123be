//! Any cut of what a server sends leads a client to the same events and the same answers, and nothing that it sends makes one
//! panic, tell two ends of one thing, or keep more than its limits.
#![no_main]

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use vansire::mqtt::{
    Acks, Client, ClientLimits, ClientOptions, Input, List, Properties, Publish, QoS, Room, Subscription, Token,
    Version,
};

#[derive(Debug, PartialEq)]
struct Talk {
    told: Vec<String>,
    said: Vec<u8>,
    fault: Option<String>,
}

// The first byte chooses the version and the ways of the client, the second one counts the cuts that follow it; the rest is what
// the server sends, twice: on a first connection, and on a second one of the same session.
fuzz_target!(|input: &[u8]| {
    let [ways, count, rest @ ..] = input else { return };
    let (cuts, bytes) = rest.split_at(rest.len().min(usize::from(count % 16)));
    let whole = run(*ways, &[], bytes);
    assert_eq!(run(*ways, cuts, bytes), whole);
});

fn run(ways: u8, cuts: &[u8], bytes: &[u8]) -> Talk {
    let now = Instant::now();
    let version = [Version::Mqtt31, Version::Mqtt311, Version::Mqtt5, Version::Mqtt5][usize::from(ways % 4)];
    let acks = if ways & 4 == 0 { Acks::Auto } else { Acks::Manual };
    let options = ClientOptions::new().version(version).client_id("c").clean_start(ways & 8 == 0).acks(acks);
    let options = if ways & 16 == 0 { options } else { options.auth("m", None).unwrap() };
    let limits = ClientLimits {
        packet_max: NonZeroU32::new(256).unwrap(),
        inflight_max: NonZeroU16::new(3).unwrap(),
        aliases_max: 4,
        queued_max: 8,
        queued_bytes_max: 512,
    };
    let mut client = Client::new(options, limits).unwrap();
    let mut talk = Talk { told: Vec::new(), said: Vec::new(), fault: None };
    let mut open: BTreeSet<Token> = BTreeSet::new();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let publish = Publish { qos, ..Publish::new("topic", "payload") };
        open.extend(client.publish(&publish, Room::Free, now, &mut talk.said).unwrap());
    }
    let list = [Subscription::new("a/#", QoS::ExactlyOnce)];
    open.insert(client.subscribe(List::from(&list), Properties::default(), now, &mut talk.said).unwrap());
    for _ in 0..2 {
        client.handle_connected(now, &mut talk.said);
        hear(&mut client, &mut talk, &mut open, cuts, bytes, now);
        client.handle_lost();
    }
    client.handle_end();
    while let Some((token, why)) = client.poll_event() {
        assert!(open.remove(&token), "a second end of {token:?}: {why}");
    }
    assert!(open.is_empty() && client.is_at_rest(), "no end of {open:?}");
    talk
}

fn hear(client: &mut Client, talk: &mut Talk, open: &mut BTreeSet<Token>, cuts: &[u8], bytes: &[u8], now: Instant) {
    let (mut used, mut len) = (0, 0);
    for cut in cuts.iter().map(|&cut| usize::from(cut)).chain([bytes.len()]) {
        len = bytes.len().min(len + cut);
        while used < len {
            match client.handle_packet(&bytes[used..len], now, &mut talk.said) {
                Ok(None) => break,
                Err(fault) => {
                    talk.fault = Some(fault.to_string());
                    return;
                }
                Ok(Some((input, n))) => {
                    assert!(n > 0 && n <= len - used);
                    // What comes behind the end counts as used, however much it is.
                    used += n;
                    tell(client, talk, open, &input, now);
                    client.pump(usize::MAX, now, &mut talk.said);
                    assert!(client.queued() <= 8 && client.inflight() <= 3);
                }
            }
        }
    }
}

fn tell(client: &mut Client, talk: &mut Talk, open: &mut BTreeSet<Token>, input: &Input<'_>, now: Instant) {
    if let Input::Nothing = input {
        return;
    }
    talk.told.push(format!("{input:?}"));
    match input {
        Input::Message(arrived) => {
            let topic = arrived.topic.as_deref().unwrap_or(arrived.publish.topic);
            assert!(vansire::mqtt::topic::check_topic(topic).is_ok());
            if let (Some(ack), Acks::Auto) = (arrived.ack, client.acks()) {
                client.ack(ack, now, &mut talk.said).unwrap();
            }
        }
        Input::Delivered(token, _) | Input::Failed(token, _) | Input::Subscribed(token, _) => {
            assert!(open.remove(token), "a second end of {token:?}");
        }
        _ => {}
    }
    while let Some((token, why)) = client.poll_event() {
        assert!(open.remove(&token), "a second end of {token:?}: {why}");
    }
}

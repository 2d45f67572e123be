//! Clients that break the rules, each in a way of its own. Nobody else is to suffer from them.

use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use crate::mqtt::{
    Ack, Connect, Packet, PacketId, Property, PropertyBuf, Publish, QoS, ReasonCode, SubAck, Subscribe, Subscription,
    Version, encode,
};
use crate::sim::{Rng, Sim, SimSocket};

use super::{HERE, Stage};
use crate::world::up_to;

/// Plans what one of them does. All are gone before `until`.
pub(crate) fn plan(sim: &Sim, stage: &Rc<Stage>, at: usize, rng: &mut Rng, until: Duration) {
    let (begin, stage, rng) = (rng.time(&(Duration::ZERO..until / 2)), stage.clone(), rng.fork());
    sim.after(begin, move |sim| act(sim, &stage, at, rng.clone(), until));
}

/// One comes, and leaves before `until`.
pub(crate) fn act(sim: &Sim, stage: &Stage, at: usize, mut rng: Rng, until: Duration) {
    let name = format!("h{}", rng.below(3));
    let from = (Ipv4Addr::new(10, 0, 3, at as u8), 0);
    let socket = Rc::new(sim.connect_from(from, (HERE, 1883)));
    socket.send(&say(stage, &name, &mut rng));
    match rng.below(4) {
        // Half-closed, and still there.
        0 => socket.shutdown(),
        // It reads a little.
        1 => _ = socket.take_at_most(10),
        // A second helping, somewhat later.
        2 => {
            let (later, more) = (socket.clone(), say(stage, &name, &mut rng));
            sim.after(up_to(&mut rng, 5000), move |_| later.send(&more));
        }
        _ => {}
    }
    leave(sim, socket, &mut rng, until);
}

fn leave(sim: &Sim, socket: Rc<SimSocket>, rng: &mut Rng, until: Duration) {
    let rest = until.saturating_sub(sim.elapsed());
    let (wait, resets) = (rng.time(&(Duration::ZERO..rest)), rng.chance(0.5));
    sim.after(wait, move |_| {
        if resets {
            socket.reset();
        }
    });
}

fn say(stage: &Stage, name: &str, rng: &mut Rng) -> Vec<u8> {
    let version = *rng.pick(&[Version::Mqtt311, Version::Mqtt5]);
    let mut out = Vec::new();
    let mut properties = PropertyBuf::new();
    if version.is_5() {
        _ = properties.push(Property::ReceiveMaximum(std::num::NonZeroU16::MIN));
    }
    let connect = Connect { properties: properties.as_properties(), keep_alive: 20, ..Connect::new(version, name) };
    put(&mut out, version, &Packet::Connect(connect));
    let kind = rng.below(7);
    let all = [Subscription::new("t/#", QoS::ExactlyOnce), Subscription::new("w/#", QoS::AtLeastOnce)];
    let subscribe = |id: u16| {
        let properties = Default::default();
        Packet::Subscribe(Subscribe { id: number(id), subscriptions: (&all).into(), properties })
    };
    match kind {
        // It never gets to the end of its CONNECT.
        0 => out.truncate(1 + rng.below(out.len() - 1)),
        // No MQTT at all: packet type 0 does not exist.
        1 => {
            if rng.chance(0.5) {
                out.clear();
            }
            out.push(rng.below(16) as u8);
            let len = rng.below(60);
            out.extend(rng.bytes(len));
        }
        // It wants everything, again and again, and acknowledges nothing.
        2 | 3 => (0..1 + rng.below(6) as u16).for_each(|n| put(&mut out, version, &subscribe(n + 1))),
        // More than it may have under way.
        4 => {
            for n in 0..stage.window + 2 {
                let payload = stage.number().to_string();
                let publish =
                    Publish { qos: QoS::ExactlyOnce, id: Some(number(n + 1)), ..Publish::new("t/0", &payload) };
                put(&mut out, version, &Packet::Publish(publish));
            }
        }
        // Acknowledgements of what nobody has sent.
        5 => {
            put(&mut out, version, &subscribe(1));
            for n in 1..5 {
                let ack = Ack::new(number(n));
                let all = [Packet::PubAck(ack), Packet::PubRec(ack), Packet::PubRel(ack), Packet::PubComp(ack)];
                put(&mut out, version, rng.pick(&all));
            }
        }
        // What only a broker says, or what is said once.
        _ => match rng.below(2) {
            0 => put(&mut out, version, &Packet::Connect(Connect::new(version, name))),
            _ => {
                let reasons = [ReasonCode::GrantedQoS1];
                let (id, properties) = (number(1), Default::default());
                put(&mut out, version, &Packet::SubAck(SubAck { id, reasons: (&reasons).into(), properties }));
            }
        },
    }
    out
}

fn put(out: &mut Vec<u8>, version: Version, packet: &Packet<'_>) {
    encode(packet, version, out).expect("a packet that can be said");
}

fn number(id: u16) -> PacketId {
    PacketId::new(id).unwrap_or(PacketId::MIN)
}

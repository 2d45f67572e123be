//! Clients that connect, subscribe or not, and stay: what each of them takes of the broker's memory.

use std::io;

use serde_json::{Value, json};
use vansire::mqtt::{Packet, QoS};
use vansire_peers::procfs;

use crate::client::{Broker, Player, WAVE, accepted, manager, put, subscribe, wait};
use crate::flags::Flags;
use crate::usage::round;

pub(crate) fn run(flags: &Flags) -> io::Result<Value> {
    let broker = Broker::of(flags);
    let mut manager = manager(Idle { broker, subscribe: flags.subscribe, ready: 0, answered: 0 })?;
    // What the first client makes the broker allocate is not the clients' memory.
    let mut ids = vec![broker.open(&mut manager.net(), 0)?];
    wait(&mut manager, "the first client", |idle| idle.ready == 1)?;
    let before = procfs::resident(&flags.pids)?;
    let all = flags.clients + 1;
    while ids.len() < all {
        for client in ids.len()..all.min(ids.len() + WAVE) {
            ids.push(broker.open(&mut manager.net(), client)?);
        }
        wait(&mut manager, "the clients", |idle| idle.ready == ids.len())?;
    }
    let bytes = procfs::resident(&flags.pids)?.saturating_sub(before) as f64 / flags.clients as f64;
    for id in ids {
        let mut ping = Vec::new();
        put(&Packet::PingReq, flags.version, &mut ping);
        manager.net().send(id, &ping);
    }
    wait(&mut manager, "answers to PINGREQ", |idle| idle.answered == all)?;
    std::mem::forget(manager);
    Ok(json!({ "clients": flags.clients, "bytes_each": round(bytes, 1.0) }))
}

struct Idle {
    broker: Broker,
    subscribe: bool,
    ready: usize,
    answered: usize,
}

impl Player for Idle {
    fn packet(&mut self, client: usize, packet: &Packet<'_>, out: &mut Vec<u8>) {
        match packet {
            Packet::ConnAck(connack) => {
                accepted(connack);
                if self.subscribe {
                    let filter = format!("site/{}/dev/{}/cmd", client / 1000, client % 1000);
                    subscribe(1, &[filter], QoS::AtMostOnce, self.broker.version, out);
                } else {
                    self.ready += 1;
                }
            }
            Packet::SubAck(_) => self.ready += 1,
            Packet::PingResp => self.answered += 1,
            _ => {}
        }
    }
}

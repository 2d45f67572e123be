//! Clients that connect, are accepted and take their leave, so many at a time: counted when the broker has closed.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vansire::mqtt::{Disconnect, Packet, ReasonCode, Version};
use vansire::{CloseReason, Net};
use vansire_peers::histogram::Histogram;

use crate::client::{Broker, Player, TICK, accepted, manager, put};
use crate::flags::Flags;
use crate::usage::{Mark, latencies};
use crate::{fail, other};

const WARM_UP: Duration = Duration::from_millis(200);

pub(crate) fn run(flags: &Flags) -> io::Result<Value> {
    let broker = Broker::of(flags);
    let opened = vec![Instant::now(); flags.clients];
    let mut manager = manager(Connects { broker, opened, latency: Histogram::new(), done: 0 })?;
    for client in 0..flags.clients {
        manager.state_mut().opened[client] = Instant::now();
        broker.open(&mut manager.net(), client)?;
    }
    let end = Instant::now() + WARM_UP;
    while Instant::now() < end {
        manager.poll(Some(TICK)).map_err(other)?;
    }
    manager.state_mut().latency.clear();
    manager.state_mut().done = 0;
    let mark = Mark::now(&flags.pids)?;
    let end = Instant::now() + flags.seconds;
    while Instant::now() < end {
        manager.poll(Some(TICK)).map_err(other)?;
    }
    let connects = manager.state();
    let mut figures = mark.until_now(&flags.pids)?.figures(connects.done);
    latencies(&mut figures, &connects.latency);
    figures.insert("connects".into(), json!(connects.done));
    std::mem::forget(manager);
    Ok(figures.into())
}

struct Connects {
    broker: Broker,
    /// When each client's connection was opened.
    opened: Vec<Instant>,
    /// From then until CONNACK.
    latency: Histogram,
    done: u64,
}

impl Player for Connects {
    fn packet(&mut self, client: usize, packet: &Packet<'_>, out: &mut Vec<u8>) {
        if let Packet::ConnAck(connack) = packet {
            accepted(connack);
            self.latency.add(self.opened[client].elapsed().as_nanos() as u64, 1);
            put(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)), self.version(), out);
        }
    }

    fn closed(&mut self, net: &mut Net<'_, Self>, client: usize, reason: &CloseReason) {
        if !matches!(reason, CloseReason::Peer | CloseReason::Reset(_)) {
            fail(&format!("client {client}: {reason}"));
        }
        self.done += 1;
        self.opened[client] = Instant::now();
        if let Err(e) = self.broker.open(net, client) {
            fail(&e);
        }
    }
}

impl Connects {
    fn version(&self) -> Version {
        self.broker.version
    }
}

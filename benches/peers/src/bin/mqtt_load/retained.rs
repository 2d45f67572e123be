//! Messages that are retained, on a topic each: what one takes of the broker's memory, and how fast a subscriber gets all.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vansire::mqtt::{Packet, PacketId, Publish, QoS};
use vansire::{ConnId, Net};
use vansire_peers::procfs;

use crate::client::{Broker, Player, TICK, accepted, manager, put, subscribe, wait};
use crate::flags::Flags;
use crate::other;
use crate::usage::{Mark, round};

/// Messages that wait for their PUBACK.
const WINDOW: usize = 100;

/// No more will come.
const OVER: Duration = Duration::from_secs(1);

pub(crate) fn run(flags: &Flags) -> io::Result<Value> {
    let broker = Broker::of(flags);
    let mut manager = manager(Retained {
        broker,
        payload: vec![b'x'; flags.payload_len],
        messages: flags.messages,
        publisher: None,
        connected: 0,
        sent: 0,
        acked: 0,
        replayed: 0,
        last: Instant::now(),
    })?;
    let publisher = broker.open(&mut manager.net(), 0)?;
    let subscriber = broker.open(&mut manager.net(), 1)?;
    wait(&mut manager, "the clients", |retained| retained.connected == 2)?;
    let before = procfs::resident(&flags.pids)?;
    manager.state_mut().publisher = Some(publisher);
    let first = manager.state_mut().publish();
    manager.net().send(publisher, &first);
    wait(&mut manager, "the messages", |retained| retained.acked == flags.messages)?;
    let bytes = procfs::resident(&flags.pids)?.saturating_sub(before) as f64 / flags.messages as f64;

    let mut out = Vec::new();
    subscribe(1, &["site/#".into()], QoS::AtMostOnce, flags.version, &mut out);
    let mark = Mark::now(&flags.pids)?;
    let start = Instant::now();
    manager.state_mut().last = start;
    manager.net().send(subscriber, &out);
    while manager.state().replayed < flags.messages && manager.state().last.elapsed() < OVER {
        manager.poll(Some(TICK)).map_err(other)?;
    }
    let spent = mark.until_now(&flags.pids)?;
    let retained = manager.state();
    let mut figures = spent.figures(retained.replayed as u64);
    let seconds = (retained.last - start).as_secs_f64();
    figures.insert("per_s".into(), json!((retained.replayed as f64 / seconds).round()));
    figures.insert("bytes_each".into(), json!(round(bytes, 1.0)));
    figures.insert("lost".into(), json!(flags.messages.saturating_sub(retained.replayed)));
    std::mem::forget(manager);
    Ok(figures.into())
}

struct Retained {
    broker: Broker,
    payload: Vec<u8>,
    messages: usize,
    /// Once it may publish.
    publisher: Option<ConnId>,
    connected: usize,
    sent: usize,
    acked: usize,
    replayed: usize,
    last: Instant,
}

impl Retained {
    /// What the window has room for.
    fn publish(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.sent < self.messages && self.sent - self.acked < WINDOW {
            let topic = format!("site/{}/dev/{}/temp", self.sent / 1000, self.sent % 1000);
            let id = PacketId::new((self.sent % WINDOW) as u16 + 1);
            let publish = Publish { qos: QoS::AtLeastOnce, retain: true, id, ..Publish::new(&topic, &self.payload) };
            put(&Packet::Publish(publish), self.broker.version, &mut out);
            self.sent += 1;
        }
        out
    }
}

impl Player for Retained {
    fn packet(&mut self, _client: usize, packet: &Packet<'_>, _out: &mut Vec<u8>) {
        match packet {
            Packet::ConnAck(connack) => {
                accepted(connack);
                self.connected += 1;
            }
            Packet::PubAck(_) => self.acked += 1,
            Packet::Publish(_) => {
                self.replayed += 1;
                self.last = Instant::now();
            }
            _ => {}
        }
    }

    fn settle(&mut self, net: &mut Net<'_, Self>) {
        let Some(publisher) = self.publisher else { return };
        let out = self.publish();
        if !out.is_empty() {
            net.send(publisher, &out);
        }
    }
}

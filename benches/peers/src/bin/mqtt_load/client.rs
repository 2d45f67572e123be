//! One connection to the broker: CONNECT, then packets in and out.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use vansire::mqtt::{
    ConnAck, Connect, DecodeLimits, Packet, PacketId, QoS, ReasonCode, Subscribe, Subscription, Version, decode, encode,
};
use vansire::{CloseReason, ConnId, ConnectOptions, Ctx, Event, Limits, Manager, Net};

use crate::flags::Flags;
use crate::{fail, other};

/// Who drives the clients: the state of the manager.
pub(crate) trait Player: Sized + 'static {
    /// A client's packet; what it answers is appended to `out`.
    fn packet(&mut self, client: usize, packet: &Packet<'_>, out: &mut Vec<u8>);

    /// The packets that came together have been told.
    fn settle(&mut self, _net: &mut Net<'_, Self>) {}

    /// A client's connection is over.
    fn closed(&mut self, _net: &mut Net<'_, Self>, client: usize, reason: &CloseReason) {
        fail(&format!("client {client}: {reason}"));
    }
}

/// Where to, and in which version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broker {
    pub(crate) addr: SocketAddr,
    pub(crate) version: Version,
}

impl Broker {
    pub(crate) fn of(flags: &Flags) -> Self {
        Self { addr: flags.addr, version: flags.version }
    }

    /// Opens a connection, which sends CONNECT once it stands.
    pub(crate) fn open<P: Player>(self, net: &mut Net<'_, P>, client: usize) -> io::Result<ConnId> {
        self.open_from(net, client, None)
    }

    /// ... from this address.
    pub(crate) fn open_from<P: Player>(
        self,
        net: &mut Net<'_, P>,
        client: usize,
        from: Option<SocketAddr>,
    ) -> io::Result<ConnId> {
        let version = self.version;
        let limits = DecodeLimits::default();
        let handler = move |cx: &mut Ctx<'_, P>, ev: Event<'_>| match ev {
            Event::Connected => {
                let mut out = Vec::new();
                let id = format!("load{client}");
                let connect = Connect { keep_alive: KEEP_ALIVE, ..Connect::new(version, &id) };
                put(&Packet::Connect(connect), version, &mut out);
                cx.send(&out);
            }
            Event::Data(data) => {
                let (bytes, mut at, mut out) = (data.bytes(), 0, Vec::new());
                loop {
                    match decode(&bytes[at..], version, &limits) {
                        Ok(Some((packet, used))) => {
                            at += used;
                            cx.state.packet(client, &packet, &mut out);
                        }
                        Ok(None) => break,
                        Err(e) => fail(&format!("client {client}: {e}")),
                    }
                }
                data.consume(at);
                if !out.is_empty() {
                    cx.send(&out);
                }
                cx.state.settle(&mut cx.net);
            }
            Event::Closed(reason) => cx.state.closed(&mut cx.net, client, &reason),
            _ => {}
        };
        let mut options = ConnectOptions::new(format!("tcp://{}", self.addr));
        if let Some(from) = from {
            options = options.local_addr(from);
        }
        net.connect(options, handler).map_err(other)
    }
}

/// No broker closes an idle client during a measurement.
const KEEP_ALIVE: u16 = 600;

/// A manager for many clients and much output.
pub(crate) fn manager<P: Player>(player: P) -> io::Result<Manager<P>> {
    Manager::builder().limits(Limits::new().connections_max(200_000).write_max(256 << 20)).build(player).map_err(other)
}

/// Polls until `done`; an error that says `what` after too long.
pub(crate) fn wait<P: Player>(manager: &mut Manager<P>, what: &str, done: impl Fn(&P) -> bool) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !done(manager.state()) {
        if Instant::now() > end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what}: not within {PATIENCE:?}")));
        }
        manager.poll(Some(TICK)).map_err(other)?;
    }
    Ok(())
}

/// Long enough for the slowest broker to take 100,000 subscriptions.
const PATIENCE: Duration = Duration::from_secs(60);

/// Connections on their way at the same time.
pub(crate) const WAVE: usize = 64;

/// How late an end is noticed when nothing arrives.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// Encodes what cannot fail but by a mistake of this program.
pub(crate) fn put(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    if let Err(e) = encode(packet, version, out) {
        fail(&e);
    }
}

/// Appends a SUBSCRIBE for these filters.
pub(crate) fn subscribe(id: u16, filters: &[String], qos: QoS, version: Version, out: &mut Vec<u8>) {
    let subscriptions: Vec<_> = filters.iter().map(|filter| Subscription::new(filter, qos)).collect();
    let id = PacketId::new(id).unwrap_or(PacketId::MIN);
    let subscribe = Subscribe { id, subscriptions: subscriptions.as_slice().into(), properties: Default::default() };
    put(&Packet::Subscribe(subscribe), version, out);
}

/// Ends the program unless the client was accepted.
pub(crate) fn accepted(connack: &ConnAck<'_>) {
    if connack.reason != ReasonCode::Success {
        fail(&format!("CONNECT was answered with {:?}", connack.reason));
    }
}

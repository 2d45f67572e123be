//! UDP sockets: one connection each, datagrams with their sender.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use crate::event::{CloseReason, Event, Sent};
use crate::id::Key;
use crate::reactor::{Token, Watch};

use super::conn::{Flags, Io, Proto};
use super::core::{Core, Notice};
use super::dispatch;

/// Datagrams that wait to be sent, each with its receiver; none where the socket is connected to it.
#[derive(Default)]
pub(crate) struct Outgoing {
    queue: VecDeque<(Option<SocketAddr>, Box<[u8]>)>,
    bytes: usize,
}

impl Outgoing {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, to: Option<SocketAddr>, data: &[u8]) {
        self.bytes += data.len();
        self.queue.push_back((to, data.into()));
    }

    fn pop(&mut self) {
        if let Some((_, data)) = self.queue.pop_front() {
            self.bytes -= data.len();
        }
    }
}

impl<S> Core<S> {
    /// Delivers what has arrived, within the turn's bounds.
    pub(crate) fn serve_datagrams(&mut self, state: &mut S, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let mut left = conn.limits.turn_messages;
        let mut budget = conn.limits.turn_bytes;
        if conn.flags.has(Flags::WRITABLE) && conn.queued() > 0 {
            self.mark_dirty(key);
        }
        // What made the socket ready was there before the turn took the time.
        #[cfg(feature = "sntp")]
        let mut arrived = self.now;
        #[cfg(feature = "sntp")]
        let mut to = None;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return };
            if !conn.takes_input() || !conn.flags.has(Flags::READABLE) {
                return;
            }
            if left == 0 || budget == 0 {
                return self.make_ready(key);
            }
            left -= 1;
            let Io::Udp(datagrams) = &mut conn.io else { return };
            let mut scratch = std::mem::take(&mut self.scratch);
            #[cfg(feature = "sntp")]
            let received = match conn.proto {
                Proto::Sntp(_) => datagrams.socket.recv_noted(&mut scratch).map(|(n, from, noted)| {
                    to = noted.to;
                    // A clock that is moved by hand knows nothing of the system's. What the system has no note of is timed as it
                    // is read: later than we know.
                    if let Some(age) = noted.age.filter(|_| !self.clock.is_manual()) {
                        arrived = arrived.min(self.clock.now().before(age));
                    }
                    (n, from)
                }),
                _ => datagrams.socket.recv_from(&mut scratch),
            };
            #[cfg(not(feature = "sntp"))]
            let received = datagrams.socket.recv_from(&mut scratch);
            match received {
                Ok((n, from)) => {
                    conn.bytes_in += n as u64;
                    self.stats.bytes_in += n as u64;
                    budget = budget.saturating_sub(n);
                    if n > conn.limits.datagram_max {
                        self.stats.datagrams_dropped += 1;
                        self.scratch = scratch;
                        continue;
                    }
                    self.stats.datagrams_in += 1;
                    match conn.proto {
                        #[cfg(feature = "sntp")]
                        Proto::Sntp(_) => {
                            self.sntp_datagram(state, key, (from, to), &scratch[..n], arrived);
                            arrived = self.clock.now();
                        }
                        #[cfg(feature = "http")]
                        Proto::Http(_) | Proto::Client(_) => {}
                        #[cfg(feature = "mqtt")]
                        Proto::MqttClient(_) => {}
                        Proto::Raw => dispatch::call(state, self, key, Event::Datagram { from, data: &scratch[..n] }),
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => conn.flags.clear(Flags::READABLE),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Whoever can forge an ICMP answer could end it. Its deadline tells.
                #[cfg(feature = "sntp")]
                Err(_) if matches!(conn.proto, Proto::Sntp(_)) => {}
                // An ICMP answer to something sent before: on a connected socket it says that nobody is there; on a
                // bound one it concerns one peer of many.
                Err(e) if conn.remote.is_known() => self.close(key, CloseReason::Reset(e.kind())),
                Err(_) => {}
            }
            self.scratch = scratch;
        }
    }

    /// Queues one datagram, to the connected peer (`None`) or to an address.
    pub(crate) fn send_datagram(&mut self, key: Key, to: Option<SocketAddr>, data: &[u8]) -> Sent {
        let Some(conn) = self.conns.get_mut(key) else { return Sent::Gone };
        if conn.is_ending() {
            return Sent::Gone;
        }
        let outgoing = match &mut conn.io {
            Io::Udp(_) if to.is_none() && !conn.remote.is_known() => return Sent::Invalid,
            Io::Udp(datagrams) => &mut datagrams.outgoing,
            Io::Connecting(connecting) => &mut connecting.outgoing,
            Io::Stream(_) | Io::Listener(_) | Io::None => return Sent::Invalid,
        };
        if data.len() > conn.limits.datagram_max {
            return Sent::Invalid;
        }
        let room = conn.limits.datagrams_max.saturating_sub(outgoing.queue.len());
        if room <= 1 {
            conn.flags.set(Flags::FULL);
        }
        if room == 0 {
            self.stats.datagrams_dropped += 1;
            return Sent::Full;
        }
        outgoing.push(to, data);
        self.mark_dirty(key);
        if room == 1 { Sent::High } else { Sent::Queued }
    }

    pub(crate) fn flush_datagrams(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Io::Udp(datagrams) = &mut conn.io else { return };
        while let Some((to, data)) = datagrams.outgoing.queue.front() {
            let sent = match to {
                Some(to) => datagrams.socket.send_to(data, *to),
                None => datagrams.socket.send(data),
            };
            match sent {
                Ok(n) => {
                    conn.bytes_out += n as u64;
                    self.stats.bytes_out += n as u64;
                    self.stats.datagrams_out += 1;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    conn.flags.clear(Flags::WRITABLE);
                    break;
                }
                // The answer to an earlier one, which is told only once: here or where we receive.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused && conn.remote.is_known() => {
                    return self.close(key, CloseReason::Reset(e.kind()));
                }
                // Too large for the network, or no way there: this datagram is lost, as datagrams may be.
                Err(_) => self.stats.datagrams_dropped += 1,
            }
            datagrams.outgoing.pop();
        }
        if !datagrams.outgoing.queue.is_empty() {
            if conn.flags.raise(Flags::WATCH_BOTH) {
                let token = Token::Conn(key.index());
                if let Err(e) = self.reactor.reregister(datagrams.socket.source(), token, Watch::Both) {
                    self.close(key, CloseReason::Reset(e.kind()));
                }
            }
        } else if conn.flags.has(Flags::FULL) {
            conn.flags.clear(Flags::FULL);
            if conn.flags.raise(Flags::DRAINED) {
                self.notify(key, Notice::Drained);
            }
        }
    }
}

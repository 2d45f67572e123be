//! The two ends of a stream, and the segments on their way to each.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::net::Address;

use super::{BUFFER, Happening, Kind, Mask, SockId, World};

/// One end. What is on its way to it belongs to it as well.
pub(super) struct End {
    /// The other end. None before there is one, and when it is gone.
    pub(super) peer: Option<SockId>,
    pub(super) local: Address,
    pub(super) remote: Address,
    pub(super) phase: Phase,
    /// On its way here, in order, each with the time it arrives.
    pub(super) wire: VecDeque<(Duration, Seg)>,
    /// Arrived and unread.
    arrived: VecDeque<u8>,
    /// The peer's end of the stream has arrived.
    fin: bool,
    /// The reactor has told of it: from now on what is there is there, and no edge will follow.
    pub(super) told_of_end: bool,
    /// What this direction holds on its way and unread.
    buffer: usize,
    /// Sent and not read by the peer.
    outstanding: usize,
    /// Read by the peer, but a cut holds up the news.
    unheard: usize,
    /// Told to wait for space.
    wants_space: bool,
    /// Our end of the stream has been sent.
    shut: bool,
    error: Option<io::ErrorKind>,
    /// Written by a raw peer, who never waits, and not sent for want of space.
    backlog: VecDeque<u8>,
    /// To be shut when the backlog is sent.
    shut_later: bool,
    /// Its owner is gone; it only sends the backlog.
    orphan: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    Connecting,
    Up,
    /// Cut off, refused, or given up.
    Dead,
}

pub(super) enum Seg {
    /// The connection stands.
    Up,
    Refused(io::ErrorKind),
    Data(Vec<u8>),
    Fin,
    /// The end of both directions: a Unix socket that is closed tells it at once, where TCP answers what comes afterwards.
    Hangup,
    Reset,
}

impl End {
    fn new(local: Address, remote: Address, phase: Phase, buffer: usize) -> Self {
        Self {
            peer: None,
            local,
            remote,
            phase,
            wire: VecDeque::new(),
            arrived: VecDeque::new(),
            fin: false,
            told_of_end: false,
            buffer,
            outstanding: 0,
            unheard: 0,
            wants_space: false,
            shut: false,
            error: None,
            backlog: VecDeque::new(),
            shut_later: false,
            orphan: false,
        }
    }

    /// As Linux computes it for TCP.
    pub(super) fn mask(&self) -> Mask {
        let dead = self.phase == Phase::Dead;
        if self.phase == Phase::Connecting {
            return Mask::default();
        }
        Mask::default()
            .with(Mask::IN, !self.arrived.is_empty() || self.fin || dead)
            .with(Mask::OUT, self.shut || dead || self.has_much_space())
            .with(Mask::RDHUP, self.fin || dead)
            .with(Mask::HUP, dead || (self.fin && self.shut))
            .with(Mask::ERR, self.error.is_some())
    }

    /// A third of the buffer, which is when Linux says so.
    fn has_much_space(&self) -> bool {
        3 * self.space() >= self.buffer
    }

    fn space(&self) -> usize {
        self.buffer.saturating_sub(self.outstanding)
    }

    fn ips(&self) -> (Option<IpAddr>, Option<IpAddr>) {
        (self.local.ip(), self.remote.ip())
    }

    /// Somebody looks for readiness. As on Linux that is enough to be told of space later, where there is none now.
    pub(super) fn look(&mut self) {
        self.wants_space |= self.phase == Phase::Up && !self.has_much_space();
    }

    pub(super) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    pub(super) fn has_ended(&self) -> bool {
        self.fin
    }

    pub(super) fn error(&self) -> Option<io::ErrorKind> {
        self.error
    }

    pub(super) fn take_error(&mut self) -> Option<io::ErrorKind> {
        self.error.take()
    }

    pub(super) fn arrived_len(&self) -> usize {
        self.arrived.len()
    }

    /// Everything that was written has been read by the peer.
    pub(super) fn is_read(&self) -> bool {
        self.outstanding == 0 && self.backlog.is_empty()
    }
}

impl World {
    pub(super) fn add_end(&mut self, local: Address, remote: Address, phase: Phase) -> SockId {
        let buffer = if self.faults.buffer.is_empty() { BUFFER } else { self.rng.within(self.faults.buffer.clone()) };
        self.add(Kind::Stream(Box::new(End::new(local, remote, phase, buffer.max(1)))))
    }

    /// Puts a segment on its way to an end, behind those that are.
    pub(super) fn send_seg(&mut self, to: SockId, seg: Seg) {
        let mut at = self.later();
        if matches!(seg, Seg::Fin) {
            at += self.rng.time(&self.faults.fin_delay);
        }
        let Some(end) = self.end(to) else { return };
        at = end.wire.back().map_or(at, |(last, _)| at.max(*last));
        end.wire.push_back((at, seg));
        self.plan(at, Happening::Wire(to));
    }

    /// Takes in what has arrived.
    pub(super) fn arrive(&mut self, id: SockId) {
        loop {
            let now = self.now();
            let Some(end) = self.end(id) else { return };
            let Some((at, _)) = end.wire.front() else { return };
            let at = *at;
            let (a, b) = end.ips();
            if at > now {
                return self.plan(at, Happening::Wire(id));
            }
            if let Some(until) = self.cut_until(a, b) {
                if until < Duration::MAX {
                    self.plan(until, Happening::Wire(id));
                }
                return;
            }
            let Some((_, seg)) = self.end(id).and_then(|end| end.wire.pop_front()) else { return };
            self.take_in(id, seg);
        }
    }

    fn take_in(&mut self, id: SockId, seg: Seg) {
        let Some(end) = self.end(id) else { return };
        match seg {
            Seg::Up => {
                end.phase = Phase::Up;
                self.log(id, || "connected".into());
                self.edge(id, Mask::ALL);
                self.send_backlog(id);
            }
            Seg::Refused(kind) => {
                end.phase = Phase::Dead;
                end.error = Some(kind);
                self.log(id, || format!("refused: {kind}"));
                self.edge(id, Mask::ALL);
            }
            Seg::Data(data) => {
                end.arrived.extend(&data);
                let orphan = end.orphan;
                self.log(id, || format!("got {} bytes", data.len()));
                self.edge(id, Mask::IN);
                if orphan {
                    // Nobody is left to read it.
                    self.reset_peer(id);
                    self.remove_end(id);
                }
            }
            Seg::Fin => {
                end.fin = true;
                self.log(id, || "got the end".into());
                self.edge(id, Mask::ALL);
            }
            Seg::Hangup => {
                (end.fin, end.shut) = (true, true);
                self.log(id, || "is hung up".into());
                self.edge(id, Mask::ALL);
            }
            Seg::Reset => self.die(id),
        }
    }

    pub(super) fn refuse(&mut self, id: SockId, kind: io::ErrorKind) {
        self.take_in(id, Seg::Refused(kind));
    }

    /// The peer, or the network, has cut the connection off.
    fn die(&mut self, id: SockId) {
        let keeps = self.rng.chance(self.faults.reset_keeps);
        let Some(end) = self.end(id) else { return };
        end.error = Some(if end.fin { io::ErrorKind::BrokenPipe } else { io::ErrorKind::ConnectionReset });
        end.phase = Phase::Dead;
        end.peer = None;
        end.wire.clear();
        end.backlog.clear();
        if !keeps {
            end.arrived.clear();
        }
        let orphan = end.orphan;
        self.log(id, || "is cut off".into());
        self.edge(id, Mask::ALL);
        if orphan {
            self.remove_end(id);
        }
    }

    /// Cuts the connection off at this end; the peer learns of it.
    pub(super) fn reset_peer(&mut self, id: SockId) {
        let Some(end) = self.end(id) else { return };
        end.phase = Phase::Dead;
        // What is still on its way finds nobody; above all not the news that the connection stands.
        end.wire.clear();
        end.backlog.clear();
        if let Some(peer) = end.peer.take() {
            if let Some(other) = self.end(peer) {
                other.peer = None;
            }
            self.send_seg(peer, Seg::Reset);
        }
    }

    /// The network cuts a connection off, each end by a segment of its own.
    fn cut_off(&mut self, id: SockId) {
        let Some(peer) = self.end(id).and_then(|end| end.peer) else { return };
        for end in [id, peer] {
            if let Some(end) = self.end(end) {
                end.peer = None;
            }
            self.send_seg(end, Seg::Reset);
        }
    }

    /// The peer has read: there is space.
    pub(super) fn give_space(&mut self, id: SockId, bytes: usize) {
        let Some(end) = self.end(id) else { return };
        end.unheard += bytes;
        let (a, b) = end.ips();
        if let Some(until) = self.cut_until(a, b) {
            if until < Duration::MAX {
                self.plan(until, Happening::Space(id, 0));
            }
            return;
        }
        let Some(end) = self.end(id) else { return };
        end.outstanding -= std::mem::take(&mut end.unheard).min(end.outstanding);
        if end.wants_space && end.has_much_space() {
            end.wants_space = false;
            self.edge(id, Mask::OUT);
        }
        self.send_backlog(id);
    }

    /// A read by whoever owns the end.
    pub(super) fn read(&mut self, id: SockId, buf: &mut [u8]) -> io::Result<usize> {
        self.enter_call();
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some(end) = self.end(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        let there = end.arrived.len().min(buf.len());
        // Once the end was told no edge will follow, so that nothing may come later.
        let may_delay = !end.told_of_end && end.phase == Phase::Up;
        if there == 0 || buf.is_empty() {
            return self.read_nothing(id, buf.is_empty());
        }
        if may_delay && self.rng.chance(self.faults.would_block) {
            self.delay_rest(id);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut n = there;
        if self.rng.chance(self.faults.short_read) {
            n = self.some_of(there);
        }
        let Some(end) = self.end(id) else { return Ok(0) };
        for (slot, byte) in buf.iter_mut().zip(end.arrived.drain(..n)) {
            *slot = byte;
        }
        if n < there && may_delay {
            // To the reader a short read says that there is no more. So there is not: it comes later.
            self.delay_rest(id);
        }
        self.was_read(id, n);
        self.log(id, || format!("reads {n}"));
        Ok(n)
    }

    fn read_nothing(&mut self, id: SockId, asked_for_nothing: bool) -> io::Result<usize> {
        let Some(end) = self.end(id) else { return Ok(0) };
        match end.take_error() {
            _ if asked_for_nothing => Ok(0),
            Some(kind) => Err(kind.into()),
            None if end.fin || end.phase == Phase::Dead => Ok(0),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// One byte or more of these.
    fn some_of(&mut self, n: usize) -> usize {
        if self.rng.chance(0.5) { 1 } else { 1 + self.rng.below(n) }
    }

    /// What has arrived and was not read has not arrived yet after all.
    fn delay_rest(&mut self, id: SockId) {
        let at = self.later();
        let Some(end) = self.end(id) else { return };
        if std::mem::take(&mut end.fin) {
            end.wire.push_front((at, Seg::Fin));
        }
        if !end.arrived.is_empty() {
            let rest = end.arrived.drain(..).collect();
            end.wire.push_front((at, Seg::Data(rest)));
        }
        self.plan(at, Happening::Wire(id));
    }

    /// Tells the sender that there is space again.
    fn was_read(&mut self, id: SockId, n: usize) {
        if let Some(peer) = self.end(id).and_then(|end| end.peer) {
            let at = self.later();
            self.plan(at, Happening::Space(peer, n));
        }
    }

    /// What a raw peer takes: all that has arrived, at most `max`.
    pub(super) fn take(&mut self, id: SockId, max: usize) -> Vec<u8> {
        let Some(end) = self.end(id) else { return Vec::new() };
        let n = end.arrived.len().min(max);
        let taken = end.arrived.drain(..n).collect();
        if n > 0 {
            self.was_read(id, n);
        }
        taken
    }

    /// A write by whoever owns the end.
    pub(super) fn write(&mut self, id: SockId, bytes: &[u8]) -> io::Result<usize> {
        self.enter_call();
        if self.rng.chance(self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some(end) = self.end(id) else { return Err(io::ErrorKind::NotConnected.into()) };
        if let Some(kind) = end.take_error() {
            return Err(kind.into());
        }
        if end.shut || end.phase == Phase::Dead {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let space = if end.phase == Phase::Up { end.space() } else { 0 };
        if space == 0 {
            end.wants_space = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.rng.chance(self.faults.would_block) {
            let at = self.later();
            self.plan(at, Happening::Ready(id));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut n = bytes.len().min(space);
        if n > 1 && self.rng.chance(self.faults.short_write) {
            n = self.some_of(n);
        }
        self.transmit(id, &bytes[..n]);
        self.log(id, || format!("writes {n}"));
        Ok(n)
    }

    /// Puts bytes on their way, in segments.
    fn transmit(&mut self, id: SockId, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = if self.faults.segment.is_empty() {
                rest.len()
            } else {
                self.rng.within(self.faults.segment.clone()).clamp(1, rest.len())
            };
            let (segment, behind) = rest.split_at(len);
            rest = behind;
            if self.rng.chance(self.faults.reset) {
                self.cut_off(id);
            }
            let Some(end) = self.end(id) else { return };
            end.outstanding += len;
            match end.peer {
                Some(peer) => self.send_seg(peer, Seg::Data(segment.to_vec())),
                // The peer is gone, and says so to whatever comes. Once is enough.
                None if !end.wire.iter().any(|(_, seg)| matches!(seg, Seg::Reset)) => self.send_seg(id, Seg::Reset),
                None => {}
            }
        }
    }

    /// What a raw peer sends: it need not wait.
    pub(super) fn send(&mut self, id: SockId, bytes: &[u8]) {
        if let Some(end) = self.end(id).filter(|end| end.phase != Phase::Dead && !end.shut && !end.shut_later) {
            end.backlog.extend(bytes);
            self.send_backlog(id);
        }
    }

    fn send_backlog(&mut self, id: SockId) {
        let Some(end) = self.end(id).filter(|end| end.phase == Phase::Up) else { return };
        let n = end.space().min(end.backlog.len());
        if n > 0 {
            let bytes: Vec<u8> = end.backlog.drain(..n).collect();
            self.transmit(id, &bytes);
        }
        let Some(end) = self.end(id).filter(|end| end.backlog.is_empty()) else { return };
        let orphan = end.orphan;
        if std::mem::take(&mut end.shut_later) {
            self.shut(id);
        }
        if orphan {
            self.close_end(id);
        }
    }

    /// Sends the end of our direction, behind what waits.
    pub(super) fn shut(&mut self, id: SockId) {
        let Some(end) = self.end(id) else { return };
        if end.shut || end.phase == Phase::Dead {
            return;
        }
        if !end.backlog.is_empty() || end.phase == Phase::Connecting {
            end.shut_later = true;
            return;
        }
        end.shut = true;
        let peer = end.peer;
        // With both directions over the socket hangs up, which is a change.
        self.edge(id, Mask::HUP);
        if let Some(peer) = peer {
            self.send_seg(peer, Seg::Fin);
        }
    }

    /// The owner closes the socket.
    pub(super) fn close_end(&mut self, id: SockId) {
        let Some(end) = self.end(id) else { return };
        // Linux: closing a socket with unread input resets the connection, and what was not sent is lost.
        let unread = !end.arrived.is_empty();
        if end.phase == Phase::Up && !unread && !end.backlog.is_empty() {
            end.orphan = true;
            return self.unwatch(id);
        }
        let unix = matches!((&end.local, &end.remote), (Address::Unix(_), _) | (_, Address::Unix(_)));
        let coming = end.wire.iter().any(|(_, seg)| matches!(seg, Seg::Data(_)));
        let shut = end.shut;
        let peer = if end.phase == Phase::Dead { None } else { end.peer };
        if let Some(peer) = peer {
            if unread {
                if let Some(other) = self.end(peer) {
                    other.wire.retain(|(_, seg)| matches!(seg, Seg::Up));
                }
                self.send_seg(peer, Seg::Reset);
            } else if unix {
                self.send_seg(peer, Seg::Hangup);
            } else {
                if !shut {
                    self.send_seg(peer, Seg::Fin);
                }
                if coming {
                    self.send_seg(peer, Seg::Reset);
                }
            }
        }
        self.remove_end(id);
    }

    fn remove_end(&mut self, id: SockId) {
        self.log(id, || "is closed".into());
        if let Some(peer) = self.end(id).and_then(|end| end.peer) {
            if let Some(other) = self.end(peer) {
                other.peer = None;
                // What it sent will never be read; it can go on sending, and will be told.
                other.outstanding = 0;
            }
            self.plan(self.now(), Happening::Space(peer, 0));
        }
        self.unwatch(id);
        self.socks.remove(id);
    }

    pub(super) fn unwatch(&mut self, id: SockId) {
        let Some(sock) = self.socks.get_mut(id) else { return };
        sock.queued = false;
        if let Some(watched) = sock.watched.take() {
            self.reactors[watched.reactor].ready.retain(|other| *other != id);
        }
    }
}

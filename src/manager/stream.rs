//! Streams: reading what is ready, handing it to the protocol, and flushing what was queued.

use std::cell::Cell;
use std::io;

use crate::buf::{FileStep, WriteBuf};
use crate::event::{CloseReason, Data, Event};
use crate::id::Key;
use crate::reactor::{Token, Watch};
use crate::trace::trace_event;

use super::conn::{Conn, Due, Flags, Io, Proto};
use super::core::{Core, Notice};
use super::dispatch;
#[cfg(feature = "http")]
use super::outbound::Outbound;

/// Room for one read. Sockets rarely have more, and what they have is read in the next round.
pub(crate) const SCRATCH_LEN: usize = 64 * 1024;
/// Writes for one connection in one turn.
const WRITES_PER_TURN: usize = 16;
/// Bytes after which no other write follows in the same turn: the others' replies must not wait for a large file.
const WRITTEN_PER_TURN: usize = 512 * 1024;

/// What one read of a socket said.
enum Read {
    Bytes(usize),
    Empty,
    End,
    Failed(io::ErrorKind),
}

impl<S> Core<S> {
    /// As [`serve_stream`](Self::serve_stream), out of line: one copy of it in the loop is enough.
    #[inline(never)]
    pub(crate) fn serve_new_stream(&mut self, state: &mut S, key: Key) {
        self.serve_stream(state, key);
    }

    /// Looks at a stream that is ready, or has input left over: reads, parses, dispatches, within the turn's bounds.
    #[inline(always)]
    pub(crate) fn serve_stream(&mut self, state: &mut S, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.flags.has(Flags::LINGERING) {
            return self.discard_input(key);
        }
        let mut budget = conn.limits.turn_bytes;
        if conn.output.is_some() && conn.flags.has(Flags::WRITABLE) && conn.flags.raise(Flags::DIRTY) {
            self.dirty.push(key);
        }
        // What was left for want of a turn or a reply comes before anything new.
        if conn.flags.has(Flags::BACKLOG) && conn.takes_input() {
            self.parse_kept(state, key);
        }
        while let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.reads()) {
            if budget == 0 {
                // The others' turn. The bit stays: the edge will not come again.
                self.make_ready(key);
                break;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            let room = budget.min(scratch.len());
            let read = conn.read(&mut scratch[..room]);
            if let Read::Bytes(n) = read {
                self.stats.bytes_in += n as u64;
                budget = budget.saturating_sub(n);
                let kept = conn.input.as_mut().filter(|input| !input.is_empty());
                match kept {
                    None => self.parse_new(state, key, &scratch[..n]),
                    Some(input) => {
                        input.push(&scratch[..n]);
                        self.parse_kept(state, key);
                    }
                }
            }
            self.scratch = scratch;
            match read {
                Read::Bytes(_) | Read::Empty => {}
                Read::End => self.end_of_input(state, key),
                Read::Failed(kind) => self.close(key, CloseReason::Reset(kind)),
            }
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        let is_hung_up = conn.flags.has(Flags::HUNG_UP);
        #[cfg(feature = "http")]
        let is_settled = conn.waits_for_flush(self.now);
        #[cfg(not(feature = "http"))]
        let is_settled = false;
        if !is_settled {
            self.settle(key);
        }
        if is_hung_up {
            self.check_hang_up(key);
        }
    }

    /// A peer that is gone is noticed also while nothing is read from it.
    #[cold]
    fn check_hang_up(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.reads() {
            return;
        }
        // What a peer sent before it closed in order is still there to read.
        let is_read = match &conn.proto {
            Proto::Raw => true,
            #[cfg(feature = "http")]
            Proto::Client(_) => true,
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => true,
            #[cfg(feature = "http")]
            Proto::Http(_) => false,
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => false,
        };
        let unread = is_read && conn.flags.has(Flags::PAUSED) && !conn.is_ending();
        let Io::Stream(stream) = &mut conn.io else { return };
        let reason = match stream.take_error() {
            Ok(Some(e)) | Err(e) => CloseReason::Reset(e.kind()),
            Ok(None) if unread => return,
            Ok(None) => CloseReason::Peer,
        };
        self.close(key, reason);
    }

    /// Hands new bytes to the protocol, and keeps what it leaves.
    fn parse_new(&mut self, state: &mut S, key: Key, bytes: &[u8]) {
        let used = self.parse(state, key, bytes);
        if used < bytes.len() {
            self.keep(key, &bytes[used..]);
        }
    }

    /// Keeps input that the protocol has left.
    fn keep(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.flags.has(Flags::CLOSING) {
            return;
        }
        let pool = &mut self.pool;
        conn.input.get_or_insert_with(|| pool.take_read()).push(bytes);
        self.check_kept(key);
    }

    /// Offers the kept input to the protocol again. There may be none: then it has something to tell that needs none.
    fn parse_kept(&mut self, state: &mut S, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let mut input = conn.input.take().unwrap_or_else(|| self.pool.take_read());
        let used = self.parse(state, key, input.as_slice());
        input.consume(used);
        match self.conns.get_mut(key) {
            Some(conn) if !input.is_empty() && !conn.flags.has(Flags::CLOSING) => {
                conn.input = Some(input);
                self.check_kept(key);
            }
            _ => self.pool.give_read(input),
        }
    }

    /// Bounds what a handler may leave unused, and remembers to offer it again where the handler takes no input for now.
    /// What a protocol keeps has bounds of its own.
    fn check_kept(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let kept = conn.input.as_ref().map_or(0, |input| input.len());
        if !matches!(conn.proto, Proto::Raw) {
            return;
        }
        if kept > conn.limits.read_max {
            self.close(key, CloseReason::ReadFull);
        } else if !conn.takes_input() {
            conn.flags.set(Flags::BACKLOG);
        }
    }

    /// Has the protocol use what it can of `bytes`; returns how much that was.
    fn parse(&mut self, state: &mut S, key: Key, bytes: &[u8]) -> usize {
        let Some(conn) = self.conns.get_mut(key) else { return bytes.len() };
        match conn.proto {
            Proto::Raw => {
                conn.flags.clear(Flags::BACKLOG);
                let used = Cell::new(bytes.len());
                dispatch::call(state, self, key, Event::Data(Data::new(bytes, &used)));
                used.get()
            }
            #[cfg(feature = "http")]
            Proto::Http(_) => self.serve_http(state, key, bytes),
            #[cfg(feature = "http")]
            Proto::Client(_) => match &self.outbound {
                Some(Outbound { client, .. }) => (client.serve)(self, state, key, bytes),
                None => bytes.len(),
            },
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => self.serve_mqtt(state, key, bytes),
            // It speaks in datagrams only.
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => bytes.len(),
        }
    }

    /// The peer has sent all that it will.
    #[cfg_attr(not(feature = "http"), allow(unused_variables, reason = "only a protocol has something to tell"))]
    fn end_of_input(&mut self, state: &mut S, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.flags.set(Flags::EOF);
        match conn.proto {
            Proto::Raw => self.close_after_output(key, CloseReason::Peer),
            // It depends on what is still to be answered: see `settle`.
            #[cfg(feature = "http")]
            Proto::Http(_) => {}
            #[cfg(feature = "http")]
            Proto::Client(_) => {
                if let Some(Outbound { client, .. }) = &self.outbound {
                    (client.end)(self, state, key);
                }
            }
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => self.close(key, CloseReason::Peer),
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => {}
        }
    }

    /// Nothing more comes from the peer, which has said so by its protocol.
    #[cfg(feature = "broker")]
    pub(crate) fn peer_is_done(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.flags.set(Flags::EOF);
        self.close_after_output(key, CloseReason::Peer);
    }

    /// Closes for a reason that is not ours, but lets queued output leave first: a peer that shut only its own side
    /// still reads.
    pub(crate) fn close_after_output(&mut self, key: Key, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.queued() == 0 {
            return self.close(key, reason);
        }
        if conn.reason.is_none() {
            conn.reason = Some(Box::new(reason));
        }
        self.drain(key);
    }

    /// Begins to drain: what is queued leaves, nothing more comes in.
    pub(crate) fn drain(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let at = self.now.after(conn.limits.drain_timeout);
        match conn.io {
            Io::Stream(_) if conn.flags.has(Flags::ESTABLISHED) => {
                if conn.flags.has(Flags::CLOSING) || !conn.flags.raise(Flags::DRAINING) {
                    return;
                }
                self.mark_dirty(key);
                self.set_due(key, Due::Drain, at);
            }
            // What is queued leaves once the connection stands; its deadline holds until then.
            Io::Connecting(_) if conn.queued() > 0 => conn.flags.set(Flags::DRAINING),
            // Datagrams are flushed at the end of the turn, before the close.
            Io::Udp(_) | Io::Stream(_) | Io::Listener(_) | Io::Connecting(_) | Io::None => {
                self.close(key, CloseReason::Local);
            }
        }
    }

    /// Flushes every connection that has output, once.
    pub(crate) fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.flags.clear(Flags::DIRTY);
                match conn.io {
                    Io::Stream(_) => self.flush(key),
                    Io::Udp(_) => self.flush_datagrams(key),
                    Io::Connecting(_) | Io::Listener(_) | Io::None => {}
                }
            }
        }
        // Nothing dispatches in here; what is in the list again had more to write than one turn's share.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    #[inline(always)]
    fn flush(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let Some(mut output) = conn.output.take() {
            let (written, failed) = conn.write(&mut output);
            self.stats.bytes_out += written as u64;
            if failed.is_some() || output.is_empty() {
                self.pool.give_write(output);
            } else {
                conn.output = Some(output);
            }
            if let Some(reason) = failed {
                return self.write_failed(key, reason);
            }
        }
        if conn.output.is_some() || conn.flags.has(Flags::DRAINING | Flags::HIGH) {
            return self.flushed(key);
        }
        self.settle(key);
    }

    #[cold]
    fn write_failed(&mut self, key: Key, reason: CloseReason) {
        #[cfg(feature = "http")]
        if self.client_goes_on(key) {
            return;
        }
        #[cfg(feature = "mqtt")]
        if self.mqtt_write_failed(key) {
            return;
        }
        self.close(key, reason);
    }

    /// Draws the consequences of a flush that left something, or ends a wait.
    fn flushed(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let queued = conn.queued();
        if queued > 0 {
            if conn.flags.has(Flags::WRITABLE) {
                // More writes than one turn's share: go on in the next.
                self.mark_dirty(key);
            } else if conn.flags.raise(Flags::WATCH_BOTH) {
                // Once for a connection: it stays.
                self.watch_stream(key, Watch::Both);
            }
        } else if conn.flags.has(Flags::DRAINING) && !conn.flags.has(Flags::CLOSING | Flags::LINGERING) {
            return self.finish_drain(key);
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        if queued <= conn.limits.write_low && conn.flags.has(Flags::HIGH) {
            conn.flags.clear(Flags::HIGH);
            if conn.flags.raise(Flags::DRAINED) {
                self.notify(key, Notice::Drained);
            }
        }
        self.settle(key);
    }

    /// Has the reactor watch a stream, from now on or for more than before. What is ready already is told as well.
    pub(crate) fn watch_stream(&mut self, key: Key, watch: Watch) {
        let token = Token::Conn(key.index());
        let Some(conn) = self.conns.get_mut(key) else { return };
        let is_new = conn.flags.has(Flags::UNWATCHED);
        conn.flags.clear(Flags::UNWATCHED);
        let Io::Stream(stream) = &mut conn.io else { return };
        let source = stream.source();
        let watched = match is_new {
            true => self.reactor.register(source, token, watch),
            false => self.reactor.reregister(source, token, watch),
        };
        if let Err(e) = watched {
            trace_event!(warn, "connection {key} cannot be watched: {e}");
            self.close(key, CloseReason::Reset(e.kind()));
        }
    }

    /// Everything is sent. Closing a socket with unread input would reset the connection, and the peer might lose what
    /// we sent last: so shut our side and wait for the peer's, unless nothing can be on its way.
    fn finish_drain(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.flags.has(Flags::EOF) || conn.is_at_rest() {
            return self.close(key, CloseReason::Local);
        }
        let Io::Stream(stream) = &mut conn.io else { return };
        if stream.shutdown_write().is_err() {
            return self.close(key, CloseReason::Local);
        }
        conn.flags.set(Flags::LINGERING);
        let is_unwatched = conn.flags.has(Flags::UNWATCHED);
        let at = self.now.after(conn.limits.linger_timeout);
        if let Some(input) = conn.input.take() {
            self.pool.give_read(input);
        }
        if is_unwatched {
            self.watch_stream(key, Watch::Read);
        }
        self.set_due(key, Due::Linger, at);
        self.make_ready(key);
    }

    /// Reads and throws away, until the peer is done too.
    fn discard_input(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let mut budget = conn.limits.turn_bytes;
        while conn.flags.has(Flags::READABLE) {
            if budget == 0 {
                return self.make_ready(key);
            }
            match conn.read(&mut self.scratch) {
                Read::Bytes(n) => {
                    self.stats.bytes_in += n as u64;
                    budget = budget.saturating_sub(n);
                }
                Read::Empty => return,
                Read::End | Read::Failed(_) => return self.close(key, CloseReason::Local),
            }
        }
    }

    /// Gives an empty input buffer back, and sets the deadline that fits what the connection now waits for.
    pub(crate) fn settle(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let Some(input) = conn.input.take_if(|input| input.is_empty()) {
            self.pool.give_read(input);
        }
        match conn.proto {
            Proto::Raw => {}
            #[cfg(feature = "http")]
            Proto::Http(_) => {
                if !conn.rests_again(self.now) {
                    self.settle_http(key);
                }
            }
            #[cfg(feature = "http")]
            Proto::Client(_) => {
                if let Some(Outbound { client, .. }) = &self.outbound {
                    (client.settle)(self, key);
                }
            }
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => self.settle_mqtt(key),
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => {}
        }
    }
}

impl Conn {
    /// Reads once into `room` and keeps the readiness bits.
    #[inline(always)]
    fn read(&mut self, room: &mut [u8]) -> Read {
        let Io::Stream(stream) = &mut self.io else { return Read::Empty };
        loop {
            match stream.read(room) {
                Ok(0) => {
                    self.flags.clear(Flags::READABLE);
                    return Read::End;
                }
                Ok(n) => {
                    self.bytes_in += n as u64;
                    self.moved = self.moved.saturating_add(n as u32);
                    // A short read has emptied the socket, which saves the read that would say so; unless the peer has
                    // closed its side: no edge will tell of that again.
                    if n < room.len() && stream.short_read_drains() && !self.flags.has(Flags::READ_CLOSED) {
                        self.flags.clear(Flags::READABLE);
                    }
                    return Read::Bytes(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.flags.clear(Flags::READABLE);
                    return Read::Empty;
                }
                Err(e) => return Read::Failed(e.kind()),
            }
        }
    }

    /// Writes one turn's share of the output and keeps the readiness bits. Returns how much was written, and why no more
    /// ever will be.
    #[inline(always)]
    fn write(&mut self, output: &mut WriteBuf) -> (usize, Option<CloseReason>) {
        let mut written = 0;
        for _ in 0..WRITES_PER_TURN {
            if output.is_empty() || written >= WRITTEN_PER_TURN || !self.flags.has(Flags::WRITABLE) {
                break;
            }
            let Io::Stream(stream) = &mut self.io else { break };
            match output.write_to(stream) {
                Ok(n) => {
                    written += n;
                    self.bytes_out += n as u64;
                    self.moved = self.moved.saturating_add(n as u32);
                    // Another call would squeeze a little more into a full socket, and wake the peer for it: wait until there
                    // is room worth filling. Watching anew tells also of room that there is already.
                    match output.take_file_step() {
                        Some(FileStep::CutShort) => self.flags.clear(Flags::WRITABLE | Flags::WATCH_BOTH),
                        Some(FileStep::Whole) => break,
                        None => {}
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.flags.clear(Flags::WRITABLE),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // What was announced can never be sent.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return (written, Some(CloseReason::Failed("a file became shorter while it was sent".into())));
                }
                Err(e) => return (written, Some(CloseReason::Reset(e.kind()))),
            }
        }
        (written, None)
    }

    /// The socket has input, and somebody wants it now.
    fn reads(&self) -> bool {
        let wanted = match &self.proto {
            Proto::Raw => true,
            #[cfg(feature = "http")]
            Proto::Http(http) => http.wants_input(),
            // Also while nothing is asked: to see the end.
            #[cfg(feature = "http")]
            Proto::Client(_) => true,
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => true,
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => false,
        };
        wanted && self.takes_input() && self.flags.has(Flags::READABLE) && !self.flags.has(Flags::BACKLOG)
    }

    /// Nothing has come that was not used, so closing resets nothing.
    fn is_at_rest(&self) -> bool {
        match &self.proto {
            // A raw peer may send at any time.
            Proto::Raw => false,
            #[cfg(feature = "mqtt")]
            Proto::MqttClient(_) => false,
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => false,
            #[cfg(feature = "http")]
            Proto::Http(http) => {
                let quiet = !self.has_input() && !self.flags.has(Flags::READABLE | Flags::READ_CLOSED);
                quiet && http.is_at_rest()
            }
            #[cfg(feature = "http")]
            Proto::Client(client) => client.is_at_rest(),
        }
    }
}

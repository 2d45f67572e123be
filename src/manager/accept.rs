//! Accepting: until the queue is empty, the turn's bound is reached, or the system has no descriptor left.

use std::rc::Rc;
use std::time::Duration;

use crate::event::Event;
use crate::id::{ConnId, Key};
use crate::net::{AcceptError, Address, Remote, Stream};
use crate::reactor::Watch;
use crate::trace::trace_event;

use super::conn::{Conn, Due, Flags, Io, Maker};
use super::core::{Core, Stop};
use super::dispatch;

/// How long a listener waits when there is no descriptor, or no place in the table.
const RETRY: Duration = Duration::from_millis(100);

impl<S> Core<S> {
    /// Takes what waits at a listener.
    pub(crate) fn accept(&mut self, state: &mut S, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let mut left = conn.limits.accepts_per_turn;
        loop {
            if self.stop != Stop::Running {
                return;
            }
            let full = self.conns.len() >= self.limits.connections_max;
            let Some(conn) = self.conns.get_mut(key) else { return };
            let stop = Flags::CLOSING | Flags::PAUSED;
            // While it waits to try again, new edges change nothing.
            if conn.flags.has(stop) || !conn.flags.has(Flags::READABLE) || conn.due == Due::Retry {
                return;
            }
            if full {
                return self.stall(key);
            }
            if left == 0 {
                return self.make_ready(key);
            }
            let Io::Listener(listening) = &mut conn.io else { return };
            // Failures count as well: a system that fails each time must not hold the turn.
            left -= 1;
            match listening.socket.accept() {
                Ok((stream, peer)) => {
                    listening.accepted += 1;
                    self.add_accepted(state, key, stream, peer);
                }
                Err(e) => match AcceptError::of(&e) {
                    AcceptError::Empty => return conn.flags.clear(Flags::READABLE),
                    AcceptError::Skip => {}
                    // The edge is spent and clients wait: only a timer can bring us back.
                    AcceptError::Later => {
                        trace_event!(warn, "listener {key} cannot accept: {e}");
                        return self.stall(key);
                    }
                },
            }
        }
    }

    fn stall(&mut self, key: Key) {
        self.stats.accept_stalls += 1;
        let at = self.now.after(RETRY);
        self.set_due(key, Due::Retry, at);
    }

    fn add_accepted(&mut self, state: &mut S, listener: Key, stream: Stream, peer: Address) {
        let Some(conn) = self.conns.get(listener) else { return };
        let Io::Listener(listening) = &conn.io else { return };
        if stream.tune_accepted(&listening.options).is_err() {
            // It is gone already.
            return;
        }
        let limits = Rc::clone(&conn.limits);
        let proto = listening.speaks.start();
        let handler = match listening.handlers {
            Maker::Shared => self.handlers.share(conn.handler),
            Maker::Factory(factory) => match dispatch::make(state, self, listener, factory) {
                Some(handler) => self.handlers.add(handler),
                None => return,
            },
        };
        let mut conn = Conn::new(Io::Stream(stream), proto, handler, limits, self.now);
        // Both are tried before anything watches them.
        conn.flags.set(Flags::ESTABLISHED | Flags::UNWATCHED | Flags::READABLE | Flags::WRITABLE);
        conn.listener = Some(ConnId(listener));
        conn.remote = match peer {
            Address::Inet(addr) => addr.into(),
            Address::Unix(_) => Remote::None,
        };
        let key = self.insert(conn);
        self.stats.accepted += 1;
        dispatch::call(state, self, key, Event::Accepted { listener: ConnId(listener) });
        // Most clients have spoken by now. One that wanted a single answer, and is about to be done with, is never watched:
        // that saves two system calls of its seven.
        self.serve_new_stream(state, key);
        if self.conns.get(key).is_some_and(|conn| !conn.flags.has(Flags::CLOSING | Flags::DRAINING)) {
            self.watch_stream(key, Watch::Read);
        }
    }
}

//! How long an HTTP connection may take for what it does, and how it ends.

use crate::event::{CloseReason, Deadline};
use crate::id::{ConnId, Key};
use crate::manager::conn::{Conn, Due, Flags, Proto};
use crate::manager::core::Core;
use crate::proto::http::head::{self, HeaderSpace, Scan};
use crate::proto::http::{ParseError, encode};
use crate::time::Moment;

use super::{Bits, Phase, ReplyId, head_limits};

/// The system's buffers let go of output in steps of up to some megabytes, so that a slow reader seems to take nothing for
/// long: it has this many times `Limits::rate_grace`.
pub(super) const OUTPUT_WINDOWS: u32 = 6;

impl Conn {
    /// Nothing is under way: it waits for its next request. The usual case of `settle_http`, which draws all other
    /// consequences where this is false.
    #[inline]
    pub(crate) fn rests_again(&mut self, now: Moment) -> bool {
        let Proto::Http(http) = &self.proto else { return false };
        let rests = http.phase == Phase::Head && http.seq != 0 && self.input.is_none() && self.output.is_none();
        if !rests || self.is_ending() || self.flags.has(Flags::EOF | Flags::PAUSED) {
            return false;
        }
        // Nothing has come meanwhile, or it would have waited for something else: readiness alone is no sign of life.
        if self.due == Due::Idle {
            return true;
        }
        let at = now.after(self.limits.idle_timeout);
        // Sooner than the heap will wake us.
        if at < self.armed {
            return false;
        }
        (self.due, self.deadline) = (Due::Idle, at);
        true
    }

    /// Its output leaves at the end of the turn, which settles it again: until then it waits for that and for nothing else. The
    /// usual case of `settle_http` after a read, which does more where this is false.
    #[inline]
    pub(crate) fn waits_for_flush(&mut self, now: Moment) -> bool {
        let Proto::Http(http) = &self.proto else { return false };
        if http.bits.has(Bits::EXPECTS) || self.flags.has(Flags::EOF) || self.is_ending() {
            return false;
        }
        if !self.flags.has(Flags::DIRTY) || self.output.as_ref().is_none_or(|output| output.is_empty()) {
            return false;
        }
        if self.due != Due::Output {
            let at = now.after(self.limits.rate_grace.saturating_mul(OUTPUT_WINDOWS));
            // Sooner than the heap will wake us.
            if at < self.armed {
                return false;
            }
            (self.due, self.deadline, self.moved) = (Due::Output, at, 0);
        }
        true
    }
}

impl<S> Core<S> {
    /// Ends the connection once its output has left. A peer that goes on reading gets all of it, however long it takes.
    pub(super) fn end_http(&mut self, key: Key) {
        self.drain(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.due == Due::Drain {
            conn.moved = 0;
            let at = self.now.after(conn.limits.rate_grace.saturating_mul(OUTPUT_WINDOWS));
            self.set_due(key, Due::Output, at);
        }
    }

    /// Sets the deadline that fits what the connection waits for now.
    pub(crate) fn settle_http(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.takes_output() {
            return;
        }
        let queued = conn.queued();
        let kept = conn.has_input();
        let paused = conn.flags.has(Flags::PAUSED);
        let ended = conn.flags.has(Flags::EOF) && !conn.flags.has(Flags::BACKLOG);
        let limits = &conn.limits;
        let (head, idle, reply, rate) =
            (limits.head_timeout, limits.idle_timeout, limits.reply_timeout, limits.rate_grace);
        let was = conn.due;
        let Some(http) = conn.http() else { return };
        if ended && http.phase != Phase::Answer {
            if let Some(e) = self.verdict(key) {
                return self.refuse(key, e.status(), &e);
            }
            let Some(conn) = self.conns.get_mut(key) else { return };
            // RFC 9112 §8: a body cut short is never whole, and nothing more will come.
            conn.reason.get_or_insert_with(|| Box::new(CloseReason::Peer));
            return self.end_http(key);
        }
        if http.bits.has(Bits::EXPECTS) && http.bits.has(Bits::BODY_PENDING) && !paused && !kept && http.is_asked() {
            http.bits.clear(Bits::EXPECTS);
            self.send(key, encode::CONTINUE);
            return self.settle_http(key);
        }
        let due = match http.phase {
            _ if queued > 0 => Due::Output,
            // The peer is not to blame for what the handler does not take.
            Phase::Head | Phase::Body if paused => Due::Reply,
            Phase::Head if kept || http.seq == 0 => Due::Head,
            Phase::Head => Due::Idle,
            Phase::Body => Due::Rate,
            Phase::Answer if http.bits.has(Bits::ENDLESS) => Due::Nothing,
            Phase::Answer => Due::Reply,
        };
        let wait = match due {
            // These run on from where they began.
            Due::Idle | Due::Head | Due::Rate | Due::Output | Due::Reply if due == was => return,
            Due::Idle => idle,
            Due::Reply => reply,
            Due::Head => head,
            Due::Rate => {
                conn.moved = 0;
                rate
            }
            Due::Output => {
                conn.moved = 0;
                rate.saturating_mul(OUTPUT_WINDOWS)
            }
            #[cfg(feature = "sntp")]
            Due::Sntp => return,
            Due::Nothing | Due::Connect | Due::Retry | Due::Drain | Due::Linger | Due::Response | Due::Continue => {
                return self.set_due(key, Due::Nothing, Moment::NEVER);
            }
            #[cfg(feature = "mqtt")]
            Due::Mqtt | Due::Redial => return self.set_due(key, Due::Nothing, Moment::NEVER),
        };
        self.set_due(key, due, now.after(wait));
    }

    /// A deadline of HTTP has passed.
    pub(crate) fn http_overdue(&mut self, key: Key, due: Due) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match due {
            Due::Rate | Due::Output => {
                if self.keeps_pace(key, due) {
                    return;
                }
                if due == Due::Output {
                    return self.close(key, CloseReason::TimedOut(Deadline::Rate));
                }
                let Some(conn) = self.conns.get_mut(key) else { return };
                conn.reason = Some(Box::new(CloseReason::TimedOut(Deadline::Rate)));
                self.refuse(key, 408, &"");
            }
            // RFC 9110 §15.5.9: told only where there is a request to tell it of.
            Due::Head if conn.has_input() => {
                if let Some(e) = self.verdict(key) {
                    return self.refuse(key, e.status(), &e);
                }
                let Some(conn) = self.conns.get_mut(key) else { return };
                conn.reason = Some(Box::new(CloseReason::TimedOut(Deadline::Head)));
                self.refuse(key, 408, &"");
            }
            other => {
                if let Some(deadline) = other.deadline() {
                    self.close(key, CloseReason::TimedOut(deadline));
                }
            }
        }
    }

    /// At the end of a window: whether enough has moved in it. Then the next one begins.
    pub(super) fn keeps_pace(&mut self, key: Key, due: Due) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return true };
        let windows = if due == Due::Output { OUTPUT_WINDOWS } else { 1 };
        let window = conn.limits.rate_grace.saturating_mul(windows);
        let floor = u128::from(conn.limits.rate_floor) * window.as_millis();
        if u128::from(conn.moved) * 1000 < floor {
            return false;
        }
        conn.moved = 0;
        let at = self.now.after(window);
        self.set_due(key, due, at);
        true
    }

    /// What is wrong with a head that will never be whole, if anything is. While it came it was judged only now and then, so
    /// that many small pieces do not cost more than one.
    #[cold]
    fn verdict(&mut self, key: Key) -> Option<ParseError> {
        let conn = self.conns.get_mut(key)?;
        if conn.http()?.phase != Phase::Head {
            return None;
        }
        let input = conn.input.as_ref()?.as_slice();
        head::parse(input, &mut Scan::default(), &head_limits(&conn.limits), &mut HeaderSpace::new()).err()
    }

    /// Ends the connections that only wait for a next request, and event streams, which would never end; the others end
    /// with their reply.
    pub(crate) fn stop_http(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let kept = conn.has_input();
        let Some(http) = conn.http() else { return };
        http.bits.clear(Bits::KEEP_ALIVE);
        if !http.is_in_request() && !kept {
            return self.drain(key);
        }
        if http.bits.has(Bits::WANTS_MORE) {
            http.bits.set(Bits::UNREAD);
        }
        if http.bits.has(Bits::ENDLESS) {
            let to = ReplyId { conn: ConnId(key), seq: http.seq };
            self.finish(to, &[]);
        }
    }
}

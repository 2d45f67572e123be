//! SNTP between the protocol and the loop: questions that leave when they are due, answers that count, answers given.
//!
//! A packet of SNTP does not queue: one that the socket does not take at once would tell a time that is past.

mod options;
mod sync;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use crate::error::{Error, Kind, Result};
use crate::event::{CloseReason, Deadline, Event};
use crate::id::{ConnId, Key};
use crate::net::{Scheme, Udp, Url};
use crate::options::Limits;
use crate::proto::sntp::packet::{PACKET_LEN, wall_nanos, wall_time};
use crate::proto::sntp::{Client, Limiter, Policy, Server, Source, Step, Synchronised, Verdict};
use crate::time::Moment;
use crate::trace::trace_event;

use super::conn::{Due, Io, Proto};
use super::core::Core;
use super::dispatch;
use super::handlers::Handler;
use super::net::Net;

pub use self::options::{ClientOptions, ServerOptions, SyncOptions};
pub use self::sync::{ServerStatus, Sync, SyncStatus};

/// The two sides of a socket that speaks SNTP.
pub(crate) enum SntpConn {
    Client(Client),
    Server(Serving),
}

/// A server, and what it says of a clock that nobody keeps right.
pub(crate) struct Serving {
    server: Server,
    local: Option<Source>,
    stratum: u8,
}

/// What the wall clock follows.
#[derive(Default)]
pub(crate) enum TimeSource {
    /// Whatever the system's clock follows.
    #[default]
    System,
    /// Servers that have not told the time yet.
    Awaited,
    /// A server: its stratum and distances, and where it is.
    Following(Synchronised, Option<IpAddr>),
}

impl SntpConn {
    pub(crate) fn client(policy: Policy) -> Self {
        Self::Client(Client::new(policy))
    }
}

impl<S> Net<'_, S> {
    /// Asks a server for the time, by a URL such as `sntp://ntp.example.org` (port 123 where it names none). The handler is told
    /// `SntpTime` with a [`Sample`](crate::sntp::Sample).
    ///
    /// By default it asks once and closes with the answer; a server that stays silent for 3 s closes it with
    /// `TimedOut(Deadline::Answer)`. [`ClientOptions::every`] goes on asking. Answers that do not count are ignored and counted
    /// ([`Stats::sntp_refused`](crate::Stats::sntp_refused)); a server that does not want to be asked closes it with
    /// `CloseReason::Failed`. An answer allocates nothing.
    ///
    /// ```no_run
    /// use vansire::{Ctx, Event, Manager};
    ///
    /// # fn main() -> vansire::Result<()> {
    /// let mut manager = Manager::new(())?;
    /// manager.net().sntp_connect("sntp://pool.ntp.org", |_: &mut Ctx<'_, ()>, ev: Event<'_>| match ev {
    ///     Event::SntpTime(sample) => println!("the clock is off by {}", sample.offset),
    ///     Event::Closed(reason) => println!("{reason}"),
    ///     _ => {}
    /// })?;
    /// while manager.net().connection_count() > 0 {
    ///     manager.poll(None)?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn sntp_connect(
        &mut self,
        options: impl Into<ClientOptions>,
        handler: impl Handler<S> + 'static,
    ) -> Result<ConnId> {
        let ClientOptions { connect, policy } = options.into();
        speaks_sntp(connect.url.as_str(), "ask for the time")?;
        let id = self.core.connect(connect.raw(false), Box::new(handler))?;
        if let Some(conn) = self.core.conns.get_mut(id.0) {
            conn.proto = Proto::Sntp(Box::new(SntpConn::client(policy)));
        }
        Ok(id)
    }

    /// Tells the time to those who ask, on a URL such as `sntp://0.0.0.0:123`.
    ///
    /// What it tells is [`wall_clock`](Self::wall_clock), with the stratum and the distances of the server that
    /// [`sync_time`](Self::sync_time) follows; before that has an answer it says that its clock is not set. Without it the
    /// system's clock counts, at the stratum of [`ServerOptions::stratum`]. Each address may ask so often
    /// ([`Limits::sntp_rate`](crate::Limits::sntp_rate)); an answer is never longer than its question, and allocates nothing. The handler is told `Opened` and
    /// `Closed`.
    pub fn sntp_listen(
        &mut self,
        options: impl Into<ServerOptions>,
        handler: impl Handler<S> + 'static,
    ) -> Result<ConnId> {
        let ServerOptions { listen, stratum } = options.into();
        speaks_sntp(listen.url.as_str(), "tell the time")?;
        let id = self.listen(listen.raw(false), handler)?;
        if let Some(conn) = self.core.conns.get_mut(id.0)
            && let Proto::Sntp(sntp) = &mut conn.proto
            && let SntpConn::Server(serving) = &mut **sntp
        {
            serving.stratum = stratum;
        }
        Ok(id)
    }

    /// The wall clock: the system's, or one of our own once [`sync_time`](Self::sync_time) or [`set_wall_clock`](Self::set_wall_clock) has set it. That
    /// one runs with the monotonic clock and is corrected by one second in 2000 at most, so that it never runs backwards but for
    /// large corrections. HTTP's `Date` follows it. The system's clock is never set.
    pub fn wall_clock(&self) -> SystemTime {
        let core = &*self.core;
        wall_time(core.clock.wall_at(core.clock.reading_now()))
    }

    /// Sets the wall clock of this manager, at once: for a board that has the time from elsewhere.
    pub fn set_wall_clock(&mut self, time: SystemTime) {
        let now = self.core.clock.now();
        let wall = self.core.clock.wall_mut();
        let offset = wall_nanos(time).saturating_sub(wall.read(now));
        wall.step(now, offset);
    }
}

impl<S> Core<S> {
    /// A server's state for a socket that has just been bound.
    pub(crate) fn serve_sntp(&mut self, limits: &Limits) -> Result<Proto> {
        let key = self.sockets.random().map_err(|e| Error::io("cannot tell the time", e))?;
        let now = self.clock.now();
        let now = self.clock.instant(now);
        let limiter = Limiter::new(limits.sntp_addresses_max, limits.sntp_rate, limits.sntp_burst, now, key);
        let serving = Serving { server: Server::new(limiter), local: None, stratum: options::STRATUM };
        Ok(Proto::Sntp(Box::new(SntpConn::Server(serving))))
    }

    /// A client's socket stands, or its deadline has passed: asks, waits, or gives up.
    pub(crate) fn sntp_due(&mut self, key: Key) {
        if !self.conns.get(key).is_some_and(|conn| matches!(conn.proto, Proto::Sntp(_)) && !conn.is_ending()) {
            return;
        }
        let random = match self.sockets.random() {
            Ok(random) => random,
            Err(e) => return self.close(key, CloseReason::Failed(e.to_string().into())),
        };
        // The question leaves now: handlers may have run for long since the turn began.
        let at = self.clock.now();
        let now = self.clock.instant(at);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let (Proto::Sntp(sntp), Io::Udp(datagrams)) = (&mut conn.proto, &conn.io) else { return };
        let SntpConn::Client(client) = &mut **sntp else { return };
        match client.handle_timeout(now, random) {
            Step::Send(packet) => {
                // What cannot be sent is a question without an answer.
                if send_now(&datagrams.socket, &packet, None).is_ok() {
                    conn.bytes_out += PACKET_LEN as u64;
                    self.stats.bytes_out += PACKET_LEN as u64;
                    self.stats.datagrams_out += 1;
                }
            }
            Step::Wait => {}
            Step::GiveUp(_) => return self.close(key, CloseReason::TimedOut(Deadline::Answer)),
        }
        let next = client.poll_timeout();
        self.set_sntp_due(key, at, now, next);
    }

    /// A datagram has come, at the latest at `arrived`; from where, and to which of several addresses.
    pub(crate) fn sntp_datagram(
        &mut self,
        state: &mut S,
        key: Key,
        (from, to): (SocketAddr, Option<IpAddr>),
        bytes: &[u8],
        arrived: Moment,
    ) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Proto::Sntp(sntp) = &mut conn.proto else { return };
        match &mut **sntp {
            SntpConn::Client(_) => self.sntp_answer(state, key, bytes, arrived),
            SntpConn::Server(_) => self.sntp_question(key, from, to, bytes, arrived),
        }
    }

    fn sntp_answer(&mut self, state: &mut S, key: Key, bytes: &[u8], arrived: Moment) {
        let now = self.clock.instant(arrived);
        let wall = wall_time(self.clock.wall_at(arrived));
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Proto::Sntp(sntp) = &mut conn.proto else { return };
        let SntpConn::Client(client) = &mut **sntp else { return };
        let verdict = client.handle_reply(bytes, now, wall);
        let (next, is_over) = (client.poll_timeout(), client.is_over());
        match verdict {
            Ok(Verdict::Sample(sample)) => {
                self.stats.sntp_samples += 1;
                self.set_sntp_due(key, arrived, now, next);
                dispatch::call(state, self, key, Event::SntpTime(sample));
                if is_over {
                    self.close(key, CloseReason::Local);
                }
            }
            Ok(Verdict::Slower(_)) => self.set_sntp_due(key, arrived, now, next),
            Ok(Verdict::GiveUp(why)) => self.close(key, CloseReason::Failed(why.to_string().into())),
            Err(refusal) => {
                trace_event!(debug, "connection {key}: an SNTP answer does not count: {refusal:?}");
                self.stats.sntp_refused += 1;
            }
        }
    }

    fn sntp_question(&mut self, key: Key, from: SocketAddr, to: Option<IpAddr>, bytes: &[u8], arrived: Moment) {
        let now = self.clock.instant(arrived);
        let received = wall_time(self.clock.wall_at(arrived));
        let followed = self.time_source.source(now);
        let sent = self.clock.now();
        let sent = wall_time(self.clock.wall_at(sent));
        let Some(conn) = self.conns.get_mut(key) else { return };
        let (Proto::Sntp(sntp), Io::Udp(datagrams)) = (&mut conn.proto, &conn.io) else { return };
        let SntpConn::Server(serving) = &mut **sntp else { return };
        let source = followed.unwrap_or_else(|| serving.local(sent));
        let forgotten = serving.server.forgotten();
        let answer = serving.server.handle(bytes, from.ip(), now, &source, (received, sent));
        self.stats.sntp_forgotten += serving.server.forgotten() - forgotten;
        match answer {
            Ok((packet, is_kiss)) => match send_now(&datagrams.socket, &packet, Some((from, to))) {
                Ok(()) => {
                    conn.bytes_out += PACKET_LEN as u64;
                    self.stats.bytes_out += PACKET_LEN as u64;
                    self.stats.datagrams_out += 1;
                    *(if is_kiss { &mut self.stats.sntp_limited } else { &mut self.stats.sntp_served }) += 1;
                }
                // As lost as if the network had lost it: the client asks again.
                Err(_) => self.stats.datagrams_dropped += 1,
            },
            Err(crate::proto::sntp::Unanswered::NotARequest) => self.stats.sntp_refused += 1,
            Err(crate::proto::sntp::Unanswered::TooOften) => self.stats.sntp_limited += 1,
        }
    }

    /// Has a client called again when it wants to be.
    fn set_sntp_due(&mut self, key: Key, at: Moment, now: Instant, next: Option<Instant>) {
        match next {
            Some(next) => self.set_due(key, Due::Sntp, at.after(next.saturating_duration_since(now))),
            None => self.set_due(key, Due::Nothing, Moment::NEVER),
        }
    }
}

impl Serving {
    /// The system's clock, which was set nobody knows when: taken to be right as it is first asked for.
    fn local(&mut self, wall: SystemTime) -> Source {
        match self.local {
            Some(local) => local,
            None => {
                let local = Source::local(self.stratum, wall);
                // One that is plainly wrong may be right later.
                if local.stratum > 0 {
                    self.local = Some(local);
                }
                local
            }
        }
    }
}

impl TimeSource {
    /// What a server says of the clock; none where the system's clock is followed.
    fn source(&self, now: Instant) -> Option<Source> {
        match self {
            Self::System => None,
            Self::Awaited => Some(Source::unsynchronised()),
            Self::Following(synchronised, server) => Some(synchronised.source(now, *server)),
        }
    }
}

/// Sends at once or not at all: to the peer, or to somebody, from the address that he knows.
fn send_now(socket: &Udp, packet: &[u8], to: Option<(SocketAddr, Option<IpAddr>)>) -> io::Result<()> {
    // A second time: the answer to an earlier packet (ICMP) is told instead of sending the next.
    for _ in 0..2 {
        let sent = match to {
            Some((to, from)) => socket.send_from(packet, to, from),
            None => socket.send(packet),
        };
        match sent {
            Err(e) if matches!(e.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused) => {}
            sent => return sent.map(drop),
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

fn speaks_sntp(url: &str, what: &str) -> Result<()> {
    let url = Url::parse(url)?;
    match url.scheme() {
        Scheme::Sntp => Ok(()),
        other => Err(Error::new(Kind::BadUrl, format!("cannot {what} at {url}: write sntp:// instead of {other}://"))),
    }
}

/// How long what a server said is good: some rounds may fail.
fn fresh_for(every: Duration) -> Duration {
    every.saturating_mul(9).max(Duration::from_secs(600))
}

//! A client of one server: when it asks, and which answers count.

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use super::OLDEST;
use super::packet::{
    Leap, MODE_CLIENT, MODE_SERVER, PACKET_LEN, Packet, Timestamp, VERSION, short_to_duration, wall_nanos, wall_time,
};
use super::sample::{Offset, Sample};

/// How often a client asks, and how long it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Policy {
    /// Once, or again and again. Default: once.
    pub poll: Poll,
    /// No interval is shorter; at least a second. Default: 64 s, which public servers ask for (RFC 5905 §7.2). Less is for servers
    /// of one's own.
    pub floor: Duration,
    /// How long the first answer is waited for; for each further one twice as long. Default: 1 s.
    pub timeout: Duration,
    /// Questions until a server counts as silent. Default: 2, so that it is silent after 3 s.
    pub tries: u32,
    /// How wrong a server may be by its own account. Default: 1 s (RFC 4330 §5).
    pub root_distance_max: Duration,
}

/// How often to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Poll {
    /// Until there is one answer.
    Once,
    /// Again this long after each answer, and up to an eighth longer, so that clients that were started together do not ask
    /// together.
    Every(Duration),
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            poll: Poll::Once,
            floor: Duration::from_secs(64),
            timeout: Duration::from_secs(1),
            tries: 2,
            root_distance_max: Duration::from_secs(1),
        }
    }
}

/// Asks one server for the time.
///
/// Give it the time ([`handle_timeout`](Self::handle_timeout)) once it is made and whenever [`poll_timeout`](Self::poll_timeout) has
/// passed: it says what to send. Give it every datagram that the server's address sent ([`handle_reply`](Self::handle_reply)).
#[derive(Debug)]
pub struct Client {
    policy: Policy,
    state: State,
    /// The interval that the server has been found to bear.
    interval: Duration,
    /// Questions of this round that went unanswered.
    unanswered: u32,
    /// Rounds in a row without an answer.
    silent_rounds: u32,
}

#[derive(Debug)]
enum State {
    /// Nothing has been asked yet.
    New,
    Waiting {
        /// What the answer has to bring back.
        cookie: u64,
        sent: Instant,
        until: Instant,
    },
    Resting {
        until: Instant,
    },
    Over,
}

/// What to do now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send this, now.
    Send([u8; PACKET_LEN]),
    /// Nothing, until [`Client::poll_timeout`].
    Wait,
    /// It is over.
    GiveUp(GivenUp),
}

/// An answer that counts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    /// The time. With [`Poll::Once`] the client's work is done.
    Sample(Sample),
    /// The server wants to be asked less often, and will be: the new interval (RFC 5905 §7.4, RATE).
    Slower(Duration),
    /// The server does not want to be asked. It is over.
    GiveUp(GivenUp),
}

/// Why a client asks no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GivenUp {
    /// No answer that counts has come.
    Silent,
    /// The server said DENY: access is denied (RFC 5905 §7.4).
    Denied,
    /// The server said RSTR: access is denied by its policy (RFC 5905 §7.4).
    Restricted,
    /// The server said RATE to the only question there was.
    TooOften,
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "no answer that counts has come",
            Self::Denied => "the server denies us its time (kiss of death DENY)",
            Self::Restricted => "the server denies us its time (kiss of death RSTR)",
            Self::TooOften => "the server is asked too often (kiss of death RATE)",
        })
    }
}

impl std::error::Error for GivenUp {}

/// Why an answer does not count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing was asked that is still to be answered: a second copy, or too late.
    Unasked,
    /// It has not the 48 bytes of an answer to a question without extensions.
    Length,
    /// It does not bring back what was sent: it answers another question, or is forged.
    Originate,
    /// Its mode is not "server".
    Mode,
    /// There is no such version, or it is newer than the question.
    Version,
    /// Stratum 0, and a message that asks nothing of a client.
    Kiss,
    /// The server's clock has never been set.
    Unsynchronised,
    /// A stratum of 16 or more.
    Stratum,
    /// A timestamp that must be there is zero.
    NoTime,
    /// Timestamps that contradict each other, or how long the answer took.
    Order,
    /// The server may be too wrong by its own account.
    RootDistance,
    /// A time before this program was written.
    TooOld,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unasked => "nothing was asked that is still to be answered",
            Self::Length => "it has not the 48 bytes of an answer",
            Self::Originate => "it does not bring back what was sent",
            Self::Mode => "its mode is not \"server\"",
            Self::Version => "its version is none, or newer than the question's",
            Self::Kiss => "its stratum is 0, and its message asks nothing of a client",
            Self::Unsynchronised => "the server's clock has never been set",
            Self::Stratum => "its stratum is 16 or more",
            Self::NoTime => "a timestamp that must be there is zero",
            Self::Order => "its timestamps contradict each other, or how long it took",
            Self::RootDistance => "the server may be too wrong by its own account",
            Self::TooOld => "its time is before this program was written",
        })
    }
}

impl std::error::Error for Refusal {}

impl Client {
    /// A client that has not asked yet.
    pub fn new(policy: Policy) -> Self {
        let interval = match policy.poll {
            Poll::Once => Duration::ZERO,
            Poll::Every(interval) => interval.max(policy.floor).clamp(INTERVAL_MIN, INTERVAL_MAX),
        };
        Self { policy, state: State::New, interval, unanswered: 0, silent_rounds: 0 }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::New | State::Over => None,
            State::Waiting { until, .. } | State::Resting { until } => Some(until),
        }
    }

    /// It will ask no more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Time has passed. `random` are 64 bits that nobody can guess, new ones for each call.
    pub fn handle_timeout(&mut self, now: Instant, random: u64) -> Step {
        match self.state {
            State::New => self.ask(now, random),
            State::Waiting { until, .. } | State::Resting { until } if now < until => Step::Wait,
            State::Resting { .. } => self.ask(now, random),
            State::Waiting { cookie, .. } => {
                self.unanswered += 1;
                if self.unanswered < self.policy.tries { self.ask(now, random) } else { self.end_round(now, cookie) }
            }
            State::Over => Step::Wait,
        }
    }

    /// A datagram has come from the server's address. `now` and `wall` are the times at which it arrived, the same moment on the
    /// monotonic and on the wall clock. What is refused changes nothing.
    pub fn handle_reply(&mut self, bytes: &[u8], now: Instant, wall: SystemTime) -> Result<Verdict, Refusal> {
        let State::Waiting { cookie, sent, .. } = self.state else { return Err(Refusal::Unasked) };
        if bytes.len() != PACKET_LEN {
            return Err(Refusal::Length);
        }
        let packet = Packet::decode(bytes).ok_or(Refusal::Length)?;
        // First of all: what fails here was not sent by one who saw the question (RFC 4330 §5, item 3).
        if packet.originate.0 != cookie {
            return Err(Refusal::Originate);
        }
        if packet.mode != MODE_SERVER {
            return Err(Refusal::Mode);
        }
        if packet.version == 0 || packet.version > VERSION {
            return Err(Refusal::Version);
        }
        if packet.stratum == 0 {
            return self.kissed(packet.reference, now, cookie);
        }
        let sample = judge(&packet, self.policy.root_distance_max, sent, now, wall)?;
        self.unanswered = 0;
        self.silent_rounds = 0;
        self.rest(now, cookie);
        Ok(Verdict::Sample(sample))
    }

    fn ask(&mut self, now: Instant, random: u64) -> Step {
        // All of the transmit time is random, not only its fraction: the server sends it back as it came, it tells nobody
        // what this machine takes the time to be, and a forger has to guess 64 bits. Zero would mean "not known".
        let cookie = random.max(1);
        let wait = self.policy.timeout.saturating_mul(1 << self.unanswered.min(16));
        self.state = State::Waiting { cookie, sent: now, until: later(now, wait) };
        let packet = Packet { version: VERSION, mode: MODE_CLIENT, transmit: Timestamp(cookie), ..Packet::default() };
        Step::Send(packet.encode())
    }

    /// The server has not answered, however often it was asked.
    fn end_round(&mut self, now: Instant, spent: u64) -> Step {
        self.unanswered = 0;
        self.silent_rounds += 1;
        if matches!(self.policy.poll, Poll::Once) || self.silent_rounds >= SILENT_ROUNDS_MAX {
            self.state = State::Over;
            return Step::GiveUp(GivenUp::Silent);
        }
        self.rest(now, spent);
        Step::Wait
    }

    /// Waits for the next round; twice as long for each in a row that failed (RFC 4330 §10, item 5).
    fn rest(&mut self, now: Instant, spent: u64) {
        if matches!(self.policy.poll, Poll::Once) {
            self.state = State::Over;
            return;
        }
        let interval = self.interval.saturating_mul(1 << self.silent_rounds.min(16)).min(INTERVAL_MAX);
        // The last question's random bits have served, and are as good as any for this.
        let more = (interval / 8).mul_f64((spent >> 40) as f64 / (1u64 << 24) as f64);
        self.state = State::Resting { until: later(now, interval + more) };
    }

    /// The kiss of death (RFC 5905 §7.4).
    fn kissed(&mut self, code: [u8; 4], now: Instant, spent: u64) -> Result<Verdict, Refusal> {
        let given_up = match &code {
            b"DENY" => GivenUp::Denied,
            b"RSTR" => GivenUp::Restricted,
            b"RATE" if matches!(self.policy.poll, Poll::Once) => GivenUp::TooOften,
            b"RATE" => {
                self.interval = self.interval.saturating_mul(2).min(INTERVAL_MAX);
                self.unanswered = 0;
                self.rest(now, spent);
                return Ok(Verdict::Slower(self.interval));
            }
            _ => return Err(Refusal::Kiss),
        };
        self.state = State::Over;
        Ok(Verdict::GiveUp(given_up))
    }
}

/// What is asked of a packet that answers the question (RFC 4330 §5, RFC 5905 §A.5.1.1), and what it says then.
fn judge(
    packet: &Packet,
    distance_max: Duration,
    sent: Instant,
    now: Instant,
    wall: SystemTime,
) -> Result<Sample, Refusal> {
    if packet.leap == Leap::Unknown {
        return Err(Refusal::Unsynchronised);
    }
    if packet.stratum > STRATUM_MAX {
        return Err(Refusal::Stratum);
    }
    if packet.transmit.is_zero() || packet.receive.is_zero() {
        return Err(Refusal::NoTime);
    }
    let root_distance = short_to_duration(packet.root_delay) / 2 + short_to_duration(packet.root_dispersion);
    if root_distance >= distance_max {
        return Err(Refusal::RootDistance);
    }
    let (received, transmitted) = (packet.receive.to_nanos(), packet.transmit.to_nanos());
    if received.min(transmitted) < OLDEST * 1_000_000_000 {
        return Err(Refusal::TooOld);
    }
    let answered_in = i128::from(transmitted - received);
    let took = now.saturating_duration_since(sent).as_nanos() as i128;
    // An answer cannot have taken the server longer than it took us; a clock of coarse ticks may say so by a little.
    if answered_in < 0 || answered_in > took + TICK.as_nanos() as i128 {
        return Err(Refusal::Order);
    }
    // The server's clock was not set after it answered.
    if !packet.reference_time.is_zero() && packet.reference_time.since(packet.transmit) > 0 {
        return Err(Refusal::Order);
    }
    // RFC 4330 §5: offset = ((T2 - T1) + (T3 - T4)) / 2, delay = (T4 - T1) - (T3 - T2). T1 is counted back from T4: a step of
    // the wall clock in between does no harm.
    let t4 = i128::from(wall_nanos(wall));
    let t1 = t4 - took;
    let offset = ((i128::from(received) - t1) + (i128::from(transmitted) - t4)).div_euclid(2);
    let offset = offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    let delay = (took - answered_in).max(0) as u64;
    Ok(Sample {
        offset: Offset::from_nanos(offset),
        delay: Duration::from_nanos(delay),
        root_distance,
        stratum: packet.stratum,
        leap: packet.leap,
        reference: packet.reference,
        at: now,
        time: wall_time(wall_nanos(wall).saturating_add(offset)),
    })
}

fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).unwrap_or(now)
}

/// RFC 5905 §7.3, figure 11: 16 is "unsynchronised".
const STRATUM_MAX: u8 = 15;
/// The coarsest tick of a clock that is taken seriously.
const TICK: Duration = Duration::from_millis(100);
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// RFC 5905 §7.2, MAXPOLL: 36 h.
const INTERVAL_MAX: Duration = Duration::from_secs(1 << 17);
/// Failed rounds until a server is given up: its name may have another address by then (RFC 4330 §10, item 8).
const SILENT_ROUNDS_MAX: u32 = 8;

#[cfg(test)]
mod tests;

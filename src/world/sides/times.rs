//! Time servers: ours, which tells what the wall clock shows, and another, which is always right, whom ours asks.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::event::Event;
use crate::id::ConnId;
use crate::manager::Net;
use crate::sim::{Rng, SimUdp};
use crate::sntp::{ClientOptions, Packet, Sample, ServerOptions, Timestamp};

use crate::world::Outcome;
use crate::world::play::{HERE, Scene, Side};
use crate::world::story::Promise;

/// Those who tell the time, and those who ask.
pub(crate) struct Times {
    scene: Rc<Scene>,
    rng: RefCell<Rng>,
    /// The server that is right, one who answers in its place, and one who asks ours.
    right: SimUdp,
    stranger: SimUdp,
    asker: SimUdp,
    /// What ours was asked.
    asked: RefCell<Vec<Asked>>,
    /// What the wall clock showed at zero, from some time on.
    walls: RefCell<Vec<(Duration, i64)>>,
    /// The connection that goes on asking, and when it has learnt the time last.
    every: Cell<Option<ConnId>>,
    learnt_at: Cell<Duration>,
    under_way: Cell<usize>,
}

/// A question.
struct Asked {
    /// What stood in it.
    transmit: Timestamp,
    at: Duration,
    must_answer: bool,
    is_answered: bool,
}

/// Bytes of a packet without extensions, RFC 5905 §7.3.
const PACKET_LEN: usize = 48;
const SECOND: i64 = 1_000_000_000;
/// 2026-07-01T00:00:00Z: the right time when the world begins.
const JULY: i64 = 1_782_864_000 * SECOND;
/// What two readings of a clock in one answer may differ by: whatever a turn's system calls may take.
const SLACK: i64 = SECOND / 5;

fn nanos(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
}

impl Times {
    pub(crate) fn listen(scene: &Rc<Scene>, net: &mut Net<'_, ()>, rng: &mut Rng) -> Result<Rc<Self>> {
        let socket = |addr: ([u8; 4], u16)| scene.sim.udp(addr).map_err(|e| Error::io("a time server", e));
        let times = Rc::new(Self {
            scene: scene.clone(),
            rng: RefCell::new(rng.fork()),
            right: socket(([10, 0, 0, 123], 123))?,
            stranger: socket(([10, 0, 0, 66], 123))?,
            asker: socket(([10, 0, 8, 1], 123))?,
            asked: RefCell::default(),
            walls: RefCell::new(vec![(Duration::ZERO, nanos(scene.sim.wall_clock()))]),
            every: Cell::new(None),
            learnt_at: Cell::new(Duration::ZERO),
            under_way: Cell::new(0),
        });
        let handler = scene.handler(Side::Server, |_, _| {});
        net.sntp_listen(ServerOptions::new(format!("sntp://{HERE}:123")).stratum(1), handler)?;
        times.every.set(Some(times.connect(net, Some(Duration::from_secs(8)))?));
        Ok(times)
    }

    pub(crate) fn sockets(&self) -> usize {
        3
    }

    /// Connections of the server to the one that is right, which go on.
    pub(crate) fn asking(&self) -> usize {
        1
    }

    pub(crate) fn are_over(&self) -> bool {
        self.under_way.get() == 0
    }

    /// Who goes on asking has learnt the time since then, unless he has given up.
    pub(crate) fn is_learnt_since(&self, then: Duration) -> bool {
        self.every.get().is_none() || self.learnt_at.get() >= then
    }

    /// What must have been answered when all is over.
    pub(crate) fn check(&self) -> Outcome {
        match self.asked.borrow().iter().find(|asked| asked.must_answer && !asked.is_answered) {
            Some(Asked { at, .. }) => Err(format!("what was asked at {at:?} is not answered")),
            None => Ok(()),
        }
    }

    pub(crate) fn stop(&self, net: &mut Net<'_, ()>) {
        self.every.take().into_iter().for_each(|conn| net.close(conn));
    }

    pub(crate) fn set_wall_clock(&self, by: i64) {
        let sim = &self.scene.sim;
        let shows = sim.wall_clock();
        let time = match u64::try_from(by) {
            Ok(by) => shows + Duration::from_secs(by),
            Err(_) => shows - Duration::from_secs(by.unsigned_abs()),
        };
        sim.set_wall_clock(time);
        let elapsed = sim.elapsed();
        self.walls.borrow_mut().push((elapsed, nanos(sim.wall_clock()) - elapsed.as_nanos() as i64));
    }

    /// Ours is asked, and asks the other.
    pub(crate) fn ask(self: &Rc<Self>, net: &mut Net<'_, ()>) {
        let transmit = Timestamp(self.scene.sim.rng().next_u64() | 1);
        let question = Packet { mode: 3, version: 4, transmit, ..Packet::default() };
        let (at, must_answer) = (self.scene.sim.elapsed(), self.scene.is_well());
        self.asked.borrow_mut().push(Asked { transmit, at, must_answer, is_answered: false });
        self.asker.send_to(&question.encode(), (HERE, 123));
        match self.connect(net, None) {
            Ok(_) => self.under_way.set(self.under_way.get() + 1),
            Err(e) if self.scene.is_well() => self.complain(format!("it cannot ask: {e}")),
            Err(e) => self.scene.tell(|| format!("it cannot ask: {e}")),
        }
    }

    fn connect(self: &Rc<Self>, net: &mut Net<'_, ()>, every: Option<Duration>) -> Result<ConnId> {
        let (me, begun, must_learn) = (self.clone(), self.scene.sim.elapsed(), self.scene.is_well());
        let handler = self.scene.handler(Side::Server, move |cx, event| match event {
            Event::SntpTime(sample) => me.learnt(&sample, nanos(cx.net.wall_clock())),
            Event::Closed(_) if every.is_some() => me.every.set(None),
            Event::Closed(reason) => {
                me.under_way.set(me.under_way.get() - 1);
                if must_learn && me.learnt_at.get() < begun {
                    me.complain(format!("it has not learnt the time: {reason}"));
                }
            }
            _ => {}
        });
        let mut options = ClientOptions::new("sntp://10.0.0.123:123");
        if let Some(every) = every {
            options = options.every(every).floor(every);
        }
        net.sntp_connect(options, handler)
    }

    /// RFC 5905 §8: the offset is wrong by half of the delay at most.
    fn learnt(&self, sample: &Sample, shows: i64) {
        let (right, said) = (JULY + self.scene.sim.elapsed().as_nanos() as i64, nanos(sample.time));
        let wrong = (said - right).abs();
        self.learnt_at.set(self.scene.sim.elapsed());
        self.scene.tell(|| format!("the time is learnt, wrong by {wrong} ns; the wall clock shows {shows}"));
        if wrong > sample.delay.as_nanos() as i64 / 2 + SLACK {
            self.complain(format!("the time learnt is wrong by {wrong} ns: {sample:?}"));
        }
    }

    /// The other sides' part.
    pub(crate) fn serve(&self) {
        while let Some((from, bytes)) = self.right.take() {
            match Packet::decode(&bytes) {
                Some(question) if bytes.len() == PACKET_LEN && question.mode == 3 => self.tell_right(from, &question),
                other => self.complain(format!("a question that is none: {other:?}")),
            }
        }
        while let Some((_, bytes)) = self.asker.take() {
            match Packet::decode(&bytes) {
                Some(answer) if bytes.len() == PACKET_LEN && answer.mode == 4 => self.told(&answer),
                other => self.complain(format!("an answer that is none: {other:?}")),
            }
        }
    }

    fn tell_right(&self, to: SocketAddr, question: &Packet) {
        let now = Timestamp::from_nanos(JULY + self.scene.sim.elapsed().as_nanos() as i64);
        let (originate, receive, transmit) = (question.transmit, now, now);
        let answer =
            Packet { mode: 4, version: 4, stratum: 1, reference: *b"SIM\0", originate, receive, transmit, ..*question };
        if self.scene.has_forgers() {
            // From the right address by one who has not seen the question, and from another by one who has.
            let wrong = Timestamp::from_nanos(now.to_nanos() + 3600 * SECOND);
            let forged = Packet { receive: wrong, transmit: wrong, ..answer };
            self.stranger.send_to(&forged.encode(), to);
            let guessed = Timestamp(originate.0 ^ 1 << self.rng.borrow_mut().below(64));
            self.right.send_to(&Packet { originate: guessed, ..forged }.encode(), to);
        }
        self.right.send_to(&answer.encode(), to);
    }

    /// Ours tells what the wall clock showed, of one of those that it has been meanwhile.
    fn told(&self, answer: &Packet) {
        let mut all = self.asked.borrow_mut();
        let Some(asked) = all.iter_mut().find(|asked| asked.transmit == answer.originate) else {
            return self.complain(format!("an answer to what was not asked: {answer:?}"));
        };
        asked.is_answered = true;
        let asked = asked.at;
        let now = self.scene.sim.elapsed().as_nanos() as i64;
        let walls = self.walls.borrow();
        let may_show = |time: Timestamp| {
            walls.iter().enumerate().any(|(at, (_, zero))| {
                // It was in use until the next took its place.
                let was_used = walls.get(at + 1).is_none_or(|(until, _)| *until + Duration::from_secs(1) > asked);
                let since = time.to_nanos() - zero;
                was_used && since >= asked.as_nanos() as i64 - SLACK && since <= now + SLACK
            })
        };
        if !may_show(answer.receive) || !may_show(answer.transmit) {
            self.complain(format!("asked at {asked:?}, told at {now}: {answer:?}, by {walls:?}"));
        }
    }

    fn complain(&self, what: String) {
        self.scene.complain(Promise::Time, what);
    }
}

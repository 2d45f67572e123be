//! Peers that are slow on purpose, and handlers that are: each connection ends at the time that the limits say, to the
//! nanosecond, and no other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use vansire::http::Response;
use vansire::sim::{Faults, Rng, Sim, SimSocket};
use vansire::{CloseReason, ConnId, Ctx, Deadline, Event, Limits, Manager};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};
use vansire::world::Lives;

#[test]
fn deadlines_pass_when_they_are_due() {
    for_each_seed("deadlines", |sim, rng| scenario(sim, rng, Duration::ZERO));
}

/// The proof that the scenario can fail: it expects the end a nanosecond later.
#[test]
fn deadline_scenario_notices_an_early_end() {
    assert!(some_seed_fails(|sim, rng| scenario(sim, rng, Duration::from_nanos(1))));
}

/// What happens to a connection in the end.
#[derive(Debug, PartialEq, Eq, Clone)]
struct End {
    /// The connection is told.
    at: Duration,
    reason: String,
    /// The last status that the client was answered with.
    status: Option<u16>,
}

/// A time that a peer lets pass, and what it sends then.
type Script = Vec<(Duration, Vec<u8>)>;

struct Stage {
    lives: Lives,
    sim: Sim,
    limits: Limits,
    conn: Cell<Option<ConnId>>,
    end: RefCell<Option<(Duration, CloseReason)>>,
    /// When the handler writes to a reply that it began.
    writes: RefCell<Script>,
}

fn scenario(sim: &Sim, rng: &mut Rng, shift: Duration) -> Outcome {
    let limits = limits(rng);
    let stage = Rc::new(Stage {
        lives: Lives::default(),
        sim: sim.clone(),
        limits,
        conn: Cell::new(None),
        end: RefCell::default(),
        writes: RefCell::default(),
    });
    let mut manager = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let at = stage.clone();
    let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| at.serve(cx, &event);
    manager.net().listen("http://10.0.0.1:80", handler.clone()).map_err(|e| e.to_string())?;
    manager.net().listen("tcp://10.0.0.1:7", handler).map_err(|e| e.to_string())?;

    let (name, script, polite, expected) = plan(rng, &stage);
    let raw = name.starts_with("raw");
    let client = Rc::new(RefCell::new(Some(sim.connect(([10, 0, 0, 1], if raw { 7 } else { 80 })))));
    let mut at = Duration::ZERO;
    for (wait, bytes) in script {
        at += wait;
        let client = client.clone();
        sim.after(at, move |_| {
            if let Some(client) = &*client.borrow() {
                client.send(&bytes);
            }
        });
    }
    let mut got = Vec::new();
    let takes = name != "a client that does not read" && !raw;
    let mut is_over = || {
        let mut client = client.borrow_mut();
        if let Some(socket) = client.as_ref().filter(|_| takes) {
            got.extend(socket.take());
        }
        client.take_if(|socket: &mut SimSocket| polite && socket.is_over());
        stage.end.borrow().is_some()
    };
    let ended = sim.run(&mut [&mut manager], &mut is_over, FOREVER);
    stage.lives.check()?;
    if let Err(e) = ended {
        // Without a floor the connection may stay for ever.
        return if expected.is_none() && e.is_too_long() {
            Ok(())
        } else {
            Err(format!("{name}: {e}, not {expected:?}"))
        };
    }
    let (at, reason) = stage.end.borrow().clone().ok_or("no end")?;
    let end = End { at, reason: format!("{reason:?}"), status: last_status(&got) };
    let expected = expected.map(|mut end| {
        end.at += shift;
        end
    });
    let fits = expected.as_ref().is_some_and(|expected| {
        let same_reason =
            end.reason == expected.reason || (expected.reason == REFUSED && end.reason.starts_with(REFUSED));
        (end.at, end.status, same_reason) == (expected.at, expected.status, true)
    });
    if fits { Ok(()) } else { Err(format!("{name}: {end:?}, not {expected:?}\n{limits:?}")) }
}

/// The begin of a reason; what stands behind it is for people.
const REFUSED: &str = "Refused { status: 505, ";

fn limits(rng: &mut Rng) -> Limits {
    let mut time = |most: u64| Duration::from_millis(100) + up_to(rng, most);
    let limits = Limits::new()
        .head_timeout(time(20_000))
        .idle_timeout(time(20_000))
        .reply_timeout(time(20_000))
        .linger_timeout(time(5000))
        .drain_timeout(time(5000))
        .rate_grace(time(5000));
    limits.rate_floor(*rng.pick(&[0, 1, 10, 100, 1000]))
}

fn timed_out(at: Duration, deadline: Deadline, status: Option<u16>) -> Option<End> {
    Some(End { at, reason: format!("TimedOut({deadline:?})"), status })
}

const GET: &[u8] = b"GET /now HTTP/1.1\r\nHost: x\r\n\r\n";

/// A peer's script, whether it closes when the server does, and how its connection must end.
fn plan(rng: &mut Rng, stage: &Stage) -> (&'static str, Script, bool, Option<End>) {
    let limits = &stage.limits;
    // An impolite peer keeps its side open; the server waits for it no longer than this.
    let polite = rng.chance(0.5);
    let linger = if polite { Duration::ZERO } else { limits.linger_timeout };
    let first = up_to(rng, 20_000).min(limits.head_timeout / 2).min(limits.idle_timeout / 2);
    // Some connections have a request behind them.
    let before: Script = if rng.chance(0.5) { vec![(first, GET.to_vec())] } else { Vec::new() };
    let begun: Duration = before.iter().map(|(wait, _)| *wait).sum();
    let status = (!before.is_empty()).then_some(200);
    match rng.below(9) {
        0 if before.is_empty() => ("silence", before, polite, timed_out(limits.head_timeout, Deadline::Head, None)),
        0 => ("idle", before, polite, timed_out(begun + limits.idle_timeout, Deadline::Idle, status)),
        1 | 2 => {
            // The head in pieces, from its first byte on; the first one counts from the beginning of the connection.
            let wait = up_to(rng, 20_000).min(limits.idle_timeout / 2);
            let head: &[u8] = b"GET /now HTTP/1.1\r\nHost: x\r\nX-Filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n";
            let (pieces, last) = cut(rng, head, 10_000);
            let starts = if before.is_empty() { Duration::ZERO } else { begun + wait };
            let comes = begun + wait + last;
            let due = starts + limits.head_timeout;
            let mut script = before;
            script.extend(later(pieces, wait));
            let first_byte = begun + wait;
            let end = if comes <= due {
                timed_out(comes + limits.idle_timeout, Deadline::Idle, Some(200))
            } else if first_byte < due {
                timed_out(due + linger, Deadline::Head, Some(408))
            } else {
                timed_out(due, Deadline::Head, status)
            };
            ("a head in pieces", script, polite, end)
        }
        3 | 4 => {
            let len = 1 + rng.below(3000);
            let head = format!("POST /now HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n");
            let body = rng.bytes(len);
            let (pieces, _) = cut(rng, &body, 6000);
            let mut script = before;
            script.push((first, head.into_bytes()));
            let begun = begun + first;
            let end = match body_ends(&pieces, limits) {
                Ok(after) => timed_out(begun + after + limits.idle_timeout, Deadline::Idle, Some(200)),
                Err(after) => timed_out(begun + after + linger, Deadline::Rate, Some(408)),
            };
            script.extend(pieces);
            ("a body in pieces", script, polite, end)
        }
        5 => {
            let mut script = before;
            script.push((first, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()));
            ("no reply", script, polite, timed_out(begun + first + limits.reply_timeout, Deadline::Reply, status))
        }
        6 => {
            // Each piece of a reply gives it as much time again.
            let mut script = before;
            script.push((first, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()));
            let mut at = begun + first;
            let mut writes = Script::new();
            for _ in 0..rng.below(5) {
                let wait = up_to(rng, 20_000).min(limits.reply_timeout * 9 / 10);
                at += wait;
                writes.push((wait, b"piece".to_vec()));
            }
            *stage.writes.borrow_mut() = writes;
            ("a reply in pieces", script, polite, timed_out(at + limits.reply_timeout, Deadline::Reply, Some(200)))
        }
        7 => {
            let mut script = before;
            script.push((first, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()));
            // The windows are six times those of a body. What the system takes at once fills the first one.
            let due = begun + first + limits.rate_grace * 12;
            let end = if limits.rate_floor == 0 { None } else { timed_out(due, Deadline::Rate, None) };
            ("a client that does not read", script, false, end)
        }
        _ if rng.chance(0.5) => {
            let script = vec![(first, b"fill".to_vec())];
            ("raw, and does not read", script, false, timed_out(first + limits.drain_timeout, Deadline::Drain, None))
        }
        _ => {
            let mut script = before;
            script.push((first, b"GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_vec()));
            let end = End { at: begun + first + linger, reason: REFUSED.into(), status: Some(505) };
            ("refused", script, polite, Some(end))
        }
    }
}

/// When the body is whole, or the time at which it was too slow: in each window of `rate_grace` so many bytes must come.
fn body_ends(pieces: &Script, limits: &Limits) -> Result<Duration, Duration> {
    let window = limits.rate_grace;
    let floor = u128::from(limits.rate_floor) * window.as_millis();
    let (mut at, mut due, mut moved) = (Duration::ZERO, window, 0);
    for (wait, bytes) in pieces {
        at += *wait;
        while due < at {
            if moved * 1000 < floor {
                return Err(due);
            }
            (due, moved) = (due + window, 0);
        }
        // What comes together with the head came before the first window.
        if !at.is_zero() {
            moved += bytes.len() as u128;
        }
    }
    Ok(at)
}

/// Bytes in random pieces at random times; and when the last one comes. The first one comes at once.
fn cut(rng: &mut Rng, bytes: &[u8], most: u64) -> (Script, Duration) {
    let most = 1 + rng.below(most as usize) as u64;
    let mut script = Script::new();
    let mut rest = bytes;
    let mut last = Duration::ZERO;
    while !rest.is_empty() {
        let len = if rng.chance(0.2) { rest.len() } else { 1 + rng.below(rest.len()) };
        let wait = if script.is_empty() { Duration::ZERO } else { up_to(rng, most) };
        last += wait;
        script.push((wait, rest[..len].to_vec()));
        rest = &rest[len..];
    }
    (script, last)
}

fn later(mut script: Script, by: Duration) -> Script {
    if let Some((wait, _)) = script.first_mut() {
        *wait += by;
    }
    script
}

/// The status of the last reply; nothing in the bodies here looks like one.
fn last_status(got: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(got);
    let (_, line) = text.rsplit_once("HTTP/1.1 ")?;
    line.get(..3)?.parse().ok()
}

impl Stage {
    fn serve(self: &Rc<Self>, cx: &mut Ctx<'_, ()>, event: &Event<'_>) {
        self.lives.see(cx, event);
        match event {
            Event::Accepted { .. } => self.conn.set(Some(cx.conn)),
            Event::Data(_) => {
                cx.send(&vec![0; 1 << 20]);
                cx.drain();
            }
            Event::HttpRequest(request) => match request.target() {
                "/never" => drop(cx.defer()),
                "/large" => drop(cx.reply(Response::new(200).body(&vec![b'x'; 1 << 20]))),
                "/stream" => {
                    cx.net.start(cx.conn, Response::new(200));
                    self.write_later(cx);
                }
                _ => drop(cx.reply(Response::text(200, "now"))),
            },
            Event::Closed(reason) if self.conn.get() == Some(cx.conn) => {
                *self.end.borrow_mut() = Some((self.sim.elapsed(), reason.clone()));
            }
            _ => {}
        }
    }

    fn write_later(&self, cx: &mut Ctx<'_, ()>) {
        let mut at = Duration::ZERO;
        let conn = cx.conn;
        for (wait, bytes) in self.writes.take() {
            at += wait;
            cx.timer_after(at, move |cx| {
                cx.net.write(conn, &bytes);
            });
        }
    }
}

/// A25: without a descriptor a listener waits, and asks ten times in a second and not more; what waits is served as soon as
/// there is one.
#[test]
fn a_listener_without_descriptors_waits_and_does_not_spin() {
    for_each_seed("a_listener", |sim, rng| {
        sim.set_faults(Faults::none().accept_fails(1.0));
        let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
        let accepted = Rc::new(RefCell::new(Vec::new()));
        let (log, world) = (accepted.clone(), sim.clone());
        let handler = move |_: &mut Ctx<'_, ()>, event: Event<'_>| {
            if let Event::Accepted { .. } = event {
                log.borrow_mut().push(world.elapsed());
            }
        };
        manager.net().listen("tcp://10.0.0.1:7", handler).map_err(|e| e.to_string())?;
        let peers: Vec<SimSocket> = (0..1 + rng.below(5)).map(|_| sim.connect(([10, 0, 0, 1], 7))).collect();
        let shortage = up_to(rng, 10_000);
        sim.after(shortage, |sim| sim.set_faults(Faults::none()));
        sim.run(&mut [&mut manager], || accepted.borrow().len() == peers.len(), FOREVER).map_err(|e| e.to_string())?;
        let tenth = Duration::from_millis(100);
        let next = tenth * (shortage.as_nanos().div_ceil(tenth.as_nanos()) as u32);
        if accepted.borrow().iter().any(|at| *at != next) {
            return Err(format!("accepted at {:?}, not at {next:?}", accepted.borrow()));
        }
        let tries = next.as_nanos() / tenth.as_nanos();
        if u128::from(manager.stats().accept_stalls) != tries || u128::from(manager.stats().turns) > 3 * tries + 10 {
            return Err(format!("{tries} tries, and {:?}", manager.stats()));
        }
        Ok(())
    });
}

//! Time servers that are right, wrong, silent or forged, on a network that loses and delays: what counts, and what becomes of the
//! wall clock. Cases D11, D13 and D14 of the reference.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use vansire::sim::{Faults, Rng, Sim, SimUdp};
use vansire::sntp::{ClientOptions, Leap, Packet, Sample, ServerOptions, SyncOptions, Timestamp};
use vansire::{CloseReason, Ctx, Event, Manager};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails};
use vansire::world::Lives;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 123);
const SECOND: i64 = 1_000_000_000;
/// 2026-07-01T00:00:00Z.
const JULY: i64 = 1_782_864_000 * SECOND;
/// What a simulated clock shows at zero: 2000-01-01.
const Y2K: i64 = 946_684_800 * SECOND;

/// The true time: of a world that began an hour before July.
fn truth(sim: &Sim) -> i64 {
    JULY - 3600 * SECOND + sim.elapsed().as_nanos() as i64
}

fn nanos(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i64,
        Err(before) => -(before.duration().as_nanos() as i64),
    }
}

fn system_time(nanos: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos as u64)
}

/// A good answer, of a clock that shows `now`.
fn answer(question: &Packet, now: i64) -> Packet {
    let now = Timestamp::from_nanos(now);
    Packet {
        mode: 4,
        version: 4,
        stratum: 1,
        reference: *b"SIM\0",
        originate: question.transmit,
        receive: now,
        transmit: now,
        ..Packet::default()
    }
}

/// What an attacker sends instead, or as well. Every kind but the last from the server's own address.
fn forged(question: &Packet, now: i64, rng: &mut Rng) -> Vec<u8> {
    let lie = Timestamp::from_nanos(now + 86_400 * SECOND);
    let good = Packet { receive: lie, transmit: lie, ..answer(question, now) };
    let random = Timestamp(rng.next_u64() | 1);
    let packet = match rng.below(10) {
        0 => Packet { originate: random, ..good },
        1 => Packet { originate: Timestamp(question.transmit.0 ^ (1 << rng.below(64))), ..good },
        2 => Packet { mode: *rng.pick(&[0, 1, 2, 3, 5, 6, 7]), ..good },
        3 => Packet { version: *rng.pick(&[0, 5, 6, 7]), ..good },
        4 => Packet { leap: Leap::Unknown, ..good },
        5 => Packet { stratum: *rng.pick(&[16, 17, 255]), ..good },
        6 => Packet { transmit: Timestamp(0), ..good },
        7 => Packet { root_dispersion: 0x0010_0000, ..good },
        8 => Packet { stratum: 0, reference: *b"DENY", originate: random, ..good },
        _ => {
            // Truncated, or with something behind it, up to all that a datagram holds.
            let len = *rng.pick(&[0, 1, 24, 47, 49, 52, 68, 1400, 65_507]);
            let mut bytes = good.encode().to_vec();
            bytes.resize(len, 0xa5);
            return bytes;
        }
    };
    packet.encode().to_vec()
}

#[test]
fn d14_forged_and_broken_answers_change_nothing_but_a_counter() {
    for_each_seed("d14_forged", |sim, rng| attack(sim, rng, false));
}

/// The proof that the scenario can fail: an attacker who sees the questions, and whose lies count.
#[test]
fn sntp_scenario_notices_a_lie() {
    assert!(some_seed_fails(|sim, rng| attack(sim, rng, true)));
}

fn attack(sim: &Sim, rng: &mut Rng, on_path: bool) -> Outcome {
    let mut faults = Faults::benign(rng);
    // A datagram on its way for longer than the client waits is a lost one.
    faults.latency = Duration::ZERO..Duration::from_millis(1 + rng.below(300) as u64);
    faults.datagram_twice = if rng.chance(0.5) { 0.3 } else { 0.0 };
    sim.set_faults(faults.clone());
    let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
    let server = sim.udp(SERVER).map_err(|e| e.to_string())?;
    let stranger = sim.udp(([10, 9, 9, 9], 123)).map_err(|e| e.to_string())?;
    let other_port = sim.udp((SERVER.ip(), 124)).map_err(|e| e.to_string())?;
    let (lives, samples) = (Lives::default(), Rc::new(RefCell::new(Vec::<Sample>::new())));
    let (at, told) = (lives.clone(), samples.clone());
    let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
        at.see(cx, &event);
        match event {
            Event::SntpTime(sample) => told.borrow_mut().push(sample),
            Event::Datagram { .. } => at.complain("a datagram is told".into()),
            Event::Closed(CloseReason::Stopped) => {}
            Event::Closed(reason) => at.complain(format!("closed with {reason:?}")),
            _ => {}
        }
    };
    let options = ClientOptions::new(format!("sntp://{SERVER}")).every(Duration::from_secs(64));
    manager.net().sntp_connect(options, handler).map_err(|e| e.to_string())?;
    // Answered are all questions but the first of some rounds: the second counts then.
    let mut questions = 0;
    let (mut junk, mut late) = (0u64, None::<Packet>);
    let wanted = 1 + rng.below(6);
    let mut answered = None;
    let mut pump = || {
        while let Some((from, bytes)) = server.take() {
            let question = Packet::decode(&bytes).expect("a question");
            assert_eq!((bytes.len(), question.mode, question.version), (48, 3, 4));
            // The network doubles questions as well.
            if answered == Some(question.transmit) {
                continue;
            }
            answered = Some(question.transmit);
            questions += 1;
            for _ in 0..rng.below(5) {
                server.send_to(&forged(&question, truth(sim), rng), from);
                junk += 1;
            }
            for (socket, lie) in [(&stranger, 1), (&other_port, 2)] {
                // They know the very question, and are not heard.
                socket.send_to(&answer(&question, truth(sim) + lie * SECOND).encode(), from);
            }
            if let Some(late) = late.take() {
                server.send_to(&answer(&late, truth(sim) + 9 * SECOND).encode(), from);
                junk += 1;
            }
            if rng.chance(0.2) && questions % 2 == 1 {
                late = Some(question);
                continue;
            }
            let lie = if on_path { 5 * SECOND } else { 0 };
            server.send_to(&answer(&question, truth(sim) + lie).encode(), from);
        }
        samples.borrow().len() >= wanted
    };
    sim.run(&mut [&mut manager], &mut pump, FOREVER).map_err(|e| e.to_string())?;
    sim.run_for(&mut [&mut manager], Duration::from_secs(2)).map_err(|e| e.to_string())?;
    lives.check()?;
    for sample in samples.borrow().iter() {
        let error = sample.offset.as_nanos() - (JULY - 3600 * SECOND - Y2K);
        if error.unsigned_abs() as u128 > sample.delay.as_nanos() / 2 + 1000 {
            return Err(format!("wrong by {error} ns with a delay of {:?}", sample.delay));
        }
    }
    let stats = manager.stats();
    if stats.sntp_samples != samples.borrow().len() as u64 {
        return Err(format!("{} told: {stats:?}", samples.borrow().len()));
    }
    // Good ones count once, however often they come. What is still under way is not counted yet.
    let doubled = stats.datagrams_in - stats.sntp_samples - stats.sntp_refused;
    if doubled != 0 || stats.sntp_refused > 2 * (junk + questions) || stats.datagrams_out < questions {
        return Err(format!("{questions} questions, {junk} forged: {stats:?}"));
    }
    drop(manager);
    lives.check_all_over()
}

#[test]
fn d14_a_silent_server_is_given_up_after_3_s_sharp() {
    for_each_seed("d14_a_silent", |sim, rng| {
        sim.set_faults(Faults::none());
        let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
        // Nobody is there, or somebody who listens only.
        let _server = rng.chance(0.5).then(|| sim.udp(SERVER));
        let end = Rc::new(Cell::new(None));
        let (at, world) = (end.clone(), sim.clone());
        let handler = move |_: &mut Ctx<'_, ()>, event: Event<'_>| {
            if let Event::Closed(reason) = event {
                at.set(Some((world.elapsed(), reason.to_string())));
            }
        };
        manager.net().sntp_connect(format!("sntp://{SERVER}"), handler).map_err(|e| e.to_string())?;
        sim.run(&mut [&mut manager], || manager_is_over(&end), FOREVER).map_err(|e| e.to_string())?;
        match end.take() {
            Some((at, why)) if at == Duration::from_secs(3) && why == "timed out: waiting for an answer" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn manager_is_over<T>(end: &Rc<Cell<Option<T>>>) -> bool {
    let value = end.take();
    let is_over = value.is_some();
    end.set(value);
    is_over
}

/// Servers that are managers; one that is to be kept right by them, and one more that asks it.
#[test]
fn the_wall_clock_follows_the_majority_and_never_runs_backwards() {
    for_each_seed("the_wall_clock", |sim, rng| {
        let mut faults = Faults::benign(rng);
        let latency = 1 + rng.below(20) as i64;
        faults.latency = Duration::ZERO..Duration::from_millis(latency as u64);
        // Servers that seem silent are asked less and less: with more losses than these it would take longer.
        faults.datagram_lost = if rng.chance(0.5) { 0.05 } else { 0.0 };
        faults.would_block = 0.0;
        // Time that passes while a call lasts is passed on to nobody's clock in the middle of a turn.
        faults.call_time = Duration::ZERO..Duration::ZERO;
        sim.set_faults(faults);
        let count = *rng.pick(&[1usize, 3, 4, 5]);
        let liars = rng.below(count.div_ceil(2));
        let mut servers = Vec::new();
        let mut urls = Vec::new();
        for n in 0..count {
            let mut server = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
            let wrong = if n < liars { (1 + rng.below(100_000) as i64) * SECOND } else { rng.below(1_000_000) as i64 };
            server.net().set_wall_clock(system_time(truth(sim) + wrong));
            let url = format!("sntp://10.0.1.{n}");
            let options = ServerOptions::new(&url).stratum(1);
            server.net().sntp_listen(options, |_: &mut Ctx<'_, ()>, _: Event<'_>| {}).map_err(|e| e.to_string())?;
            urls.push(url);
            servers.push(server);
        }
        // One may be gone for ever, as long as those that are right stay more than those that are wrong.
        if count - 1 > 2 * liars && count > 1 && rng.chance(0.5) {
            servers.pop();
        }
        rng.shuffle(&mut urls);
        let mut kept = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
        kept.net().sntp_listen("sntp://10.0.2.1", |_: &mut Ctx<'_, ()>, _: Event<'_>| {}).map_err(|e| e.to_string())?;
        let options = SyncOptions::new(urls).every(Duration::from_secs(16)).floor(Duration::from_secs(16));
        let sync = kept.net().sync_time(options).map_err(|e| e.to_string())?;
        let run = |servers: &mut [Manager<()>], kept: &mut Manager<()>, seconds| {
            let mut all: Vec<&mut dyn vansire::sim::Pollable> = Vec::new();
            for server in servers {
                all.push(server);
            }
            all.push(kept);
            sim.run_for(&mut all, Duration::from_secs(seconds)).map_err(|e| e.to_string())
        };
        run(&mut servers, &mut kept, 120)?;
        let status = sync.status(&kept.net());
        let Some(synchronised) = status.synchronised else { return Err(format!("not synchronised: {status:?}")) };
        if (synchronised.agreeing.count_ones() as usize) < servers.len() - liars || status.steps != 1 {
            return Err(format!("{liars} liars of {count}: {status:?}"));
        }
        let is_right = |kept: &mut Manager<()>, truth: i64| {
            let error = nanos(kept.net().wall_clock()) - truth;
            if error.abs() <= (latency + 2) * 1_000_000 {
                Ok(())
            } else {
                Err(format!("wrong by {error} ns: {:?}", sync.status(&kept.net())))
            }
        };
        is_right(&mut kept, truth(sim))?;
        // The right servers agree on another time: it is made good little by little.
        let jump = rng.within(20..300) as i64 * 1_000_000 * if rng.chance(0.5) { 1 } else { -1 };
        for server in &mut servers {
            let time = server.net().wall_clock();
            server.net().set_wall_clock(system_time(nanos(time) + jump));
        }
        let mut last = nanos(kept.net().wall_clock());
        for _ in 0..100 {
            run(&mut servers, &mut kept, 12)?;
            let shows = nanos(kept.net().wall_clock());
            if (shows - last - 12 * SECOND).abs() > 12 * SECOND / 2000 + 1 {
                return Err(format!("12 s took {} ns", shows - last));
            }
            last = shows;
        }
        is_right(&mut kept, truth(sim) + jump)?;
        ask(sim, &mut kept, jump)
    });
}

/// Asks the manager that is kept right for the time, which it passes on with a stratum one higher.
fn ask(sim: &Sim, kept: &mut Manager<()>, jump: i64) -> Outcome {
    let mut asking = Manager::builder().sim(sim).build(None::<(Sample, i64)>).map_err(|e| e.to_string())?;
    let options = ClientOptions::new("sntp://10.0.2.1").tries(20).timeout(Duration::from_millis(100));
    let world = sim.clone();
    let handler = move |cx: &mut Ctx<'_, Option<(Sample, i64)>>, event: Event<'_>| {
        if let Event::SntpTime(sample) = event {
            *cx.state = Some((sample, truth(&world)));
        }
    };
    asking.net().sntp_connect(options, handler).map_err(|e| e.to_string())?;
    sim.run_for(&mut [&mut asking, kept], Duration::from_secs(60)).map_err(|e| e.to_string())?;
    let Some((sample, truth)) = *asking.state() else { return Err("the kept clock is not told".into()) };
    let error = nanos(sample.time) - truth - jump;
    if sample.stratum != 2 || error.abs() > 30_000_000 {
        return Err(format!("wrong by {error} ns: {sample:?}"));
    }
    Ok(())
}

/// A raw server that announces a leap second and repeats the second before midnight, as most do.
#[test]
fn a_leap_second_is_observed_without_running_backwards() {
    for_each_seed("a_leap_second", |sim, rng| {
        sim.set_faults(Faults::none().latency(Duration::ZERO..Duration::from_millis(1 + rng.below(5) as u64)));
        let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
        let server = sim.udp(SERVER).map_err(|e| e.to_string())?;
        let every = Duration::from_secs(1 + rng.below(30) as u64);
        let options = SyncOptions::new([format!("sntp://{SERVER}").as_str()]).every(every).floor(every);
        let sync = manager.net().sync_time(options).map_err(|e| e.to_string())?;
        let added = rng.chance(0.7);
        // What clocks show that follow UTC: at 23:59:60 they show 23:59:59 again, or skip it.
        let utc = move |truth: i64| match added {
            true if truth >= JULY => truth - SECOND,
            false if truth >= JULY - SECOND => truth + SECOND,
            _ => truth,
        };
        // It forgets its announcement some time after it is over.
        let forgets = JULY + rng.below(120) as i64 * SECOND;
        let mut last = 0;
        let mut worst = 0;
        // From ten minutes before midnight on, until ten minutes after.
        sim.advance(Duration::from_secs(3000));
        let end = truth(sim) + 1200 * SECOND;
        while truth(sim) < end {
            let mut is_over = false;
            let stop = Rc::new(Cell::new(false));
            let stopped = stop.clone();
            let is_near = (truth(sim) - JULY).abs() < 10 * SECOND;
            sim.after(Duration::from_millis(if is_near { 100 } else { 7000 }), move |_| stopped.set(true));
            let mut pump = || {
                answer_all(&server, |question| {
                    let now = truth(sim);
                    let announced = if added { Leap::Add } else { Leap::Remove };
                    let leap = if now < forgets { announced } else { Leap::None };
                    Packet { leap, ..answer(question, utc(now)) }
                });
                is_over = stop.get();
                is_over
            };
            sim.run(&mut [&mut manager], &mut pump, FOREVER).map_err(|e| e.to_string())?;
            if sync.status(&manager.net()).synchronised.is_none() {
                continue;
            }
            let (shows, now) = (nanos(manager.net().wall_clock()), truth(sim));
            if shows < last {
                return Err(format!("{} ns backwards, {} ns after midnight", last - shows, now - JULY));
            }
            last = shows;
            // While the second lasts it stands still, and servers show what they like.
            if !(-SECOND..SECOND).contains(&(now - JULY)) {
                worst = worst.max((shows - utc(now)).abs());
            }
        }
        let status = sync.status(&manager.net());
        if worst > 10_000_000 || status.steps != 1 {
            return Err(format!("wrong by up to {worst} ns: {status:?}"));
        }
        Ok(())
    });
}

fn answer_all(server: &SimUdp, mut answer: impl FnMut(&Packet) -> Packet) {
    while let Some((from, bytes)) = server.take() {
        if let Some(question) = Packet::decode(&bytes) {
            server.send_to(&answer(&question).encode(), from);
        }
    }
}

/// A server is gone, comes back elsewhere, and is found again by its name; one that says DENY is never asked again.
#[test]
fn servers_that_went_away_are_looked_up_again_unless_they_deny() {
    for_each_seed("servers_that_went", |sim, _| {
        sim.set_faults(Faults::none());
        let ip = |n| IpAddr::from([10, 0, 3, n]);
        let denies = sim.udp((ip(9), 123)).map_err(|e| e.to_string())?;
        let returned = sim.udp((ip(2), 123)).map_err(|e| e.to_string())?;
        sim.host("denies.example", &[ip(9)]);
        sim.host("moves.example", &[ip(1)]);
        let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
        let urls = ["sntp://denies.example", "sntp://moves.example"];
        let options = SyncOptions::new(urls).every(Duration::from_secs(1)).floor(Duration::from_secs(1));
        let sync = manager.net().sync_time(options).map_err(|e| e.to_string())?;
        let denied = Cell::new(0);
        let answered = Cell::new(0);
        let mut pump = || {
            answer_all(&denies, |question| {
                denied.set(denied.get() + 1);
                Packet { leap: Leap::Unknown, stratum: 0, reference: *b"DENY", ..answer(question, truth(sim)) }
            });
            answer_all(&returned, |question| {
                answered.set(answered.get() + 1);
                answer(question, truth(sim))
            });
            answered.get() > 3
        };
        sim.after(Duration::from_secs(60), |sim| sim.host("moves.example", &[IpAddr::from([10, 0, 3, 2])]));
        sim.run(&mut [&mut manager], &mut pump, Duration::from_secs(3600)).map_err(|e| e.to_string())?;
        let status = sync.status(&manager.net());
        if denied.get() != 1 || !status.servers[0].is_dropped || status.servers[1].sample.is_none() {
            return Err(format!("denied {} times: {status:?}", denied.get()));
        }
        if status.synchronised.is_none() {
            return Err(format!("one of two is no majority of those that answer: {status:?}"));
        }
        Ok(())
    });
}

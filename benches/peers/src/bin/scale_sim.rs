//! As many connections as no process here may open: `scale_sim CONNECTIONS`, in the simulator. Prints a line of JSON.
//!
//! They carry a request each and stay. Then one of them asks again and again, and after that each in its turn: what an event costs, in
//! time of this thread, the peer's side and the simulated network included. The memory of the network is measured without a manager and
//! taken away.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use vansire::sim::{Sim, SimSocket};
use vansire::{Ctx, Event, Limits, Manager, http};
use vansire_peers::{BODY, procfs};

const PORT: ([u8; 4], u16) = ([10, 0, 0, 1], 80);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: scale\r\n\r\n";
/// Requests that count.
const EVENTS: usize = 100_000;
/// As many connect at once.
const WAVE: usize = 64;
const LIMIT: Duration = Duration::from_secs(3600);

fn main() -> io::Result<()> {
    let count: usize = std::env::args()
        .nth(1)
        .and_then(|arg| arg.parse().ok())
        .filter(|&count| count > 0)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: scale_sim CONNECTIONS"))?;
    let (network, _world) = network_alone(count)?;

    let sim = Sim::new(1);
    let mut manager = manager(&sim)?;
    let mut peers = connect(&sim, &mut manager, 1)?;
    let before = procfs::resident(&[std::process::id()])?;
    peers.append(&mut connect(&sim, &mut manager, count)?);
    let grown = (procfs::resident(&[std::process::id()])? as f64 - before as f64) / count as f64;

    let middle = peers.len() / 2;
    ask(&sim, &mut manager, EVENTS / 10, |_| &peers[middle])?;
    let turns = manager.stats().turns;
    let one = ask(&sim, &mut manager, EVENTS, |_| &peers[middle])?;
    let turns = manager.stats().turns - turns;
    // A prime, so that neighbours in time are none in the tables.
    let each = ask(&sim, &mut manager, EVENTS, |n| &peers[n * 7919 % peers.len()])?;
    println!(
        "{}",
        json!({
            "conns": count,
            "bytes_each": (grown - network).round(),
            "network_bytes_each": network.round(),
            "cpu_us": one.as_nanos() as f64 / EVENTS as f64 / 1e3,
            "each_cpu_us": each.as_nanos() as f64 / EVENTS as f64 / 1e3,
            "turns_each": turns as f64 / EVENTS as f64,
        })
    );
    // Not dropped: that would close them one by one.
    std::mem::forget((manager, peers));
    Ok(())
}

fn manager(sim: &Sim) -> io::Result<Manager> {
    let limits = Limits::new().connections_max(200_000);
    let mut manager = Manager::builder().limits(limits).sim(sim).build(()).map_err(io::Error::other)?;
    let answer = |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            cx.reply(http::Response::text(200, BODY));
        }
    };
    manager.net().listen("http://10.0.0.1:80", answer).map_err(io::Error::other)?;
    Ok(manager)
}

/// Connections, each of which has carried a request.
fn connect(sim: &Sim, manager: &mut Manager, count: usize) -> io::Result<Vec<SimSocket>> {
    let mut peers = Vec::with_capacity(count);
    while peers.len() < count {
        let from = peers.len();
        for _ in from..count.min(from + WAVE) {
            let peer = sim.connect(PORT);
            peer.send(REQUEST);
            peers.push(peer);
        }
        let new = &peers[from..];
        sim.run(&mut [manager], || new.iter().all(|peer| peer.arrived() > 0), LIMIT).map_err(io::Error::other)?;
        new.iter().for_each(|peer| drop(peer.take()));
    }
    Ok(peers)
}

/// Has requests answered one after the other: the CPU time of it.
fn ask<'a>(
    sim: &Sim,
    manager: &mut Manager,
    events: usize,
    who: impl Fn(usize) -> &'a SimSocket,
) -> io::Result<Duration> {
    let start = cpu();
    for n in 0..events {
        let peer = who(n);
        peer.send(REQUEST);
        sim.run(&mut [manager], || peer.arrived() > 0, LIMIT).map_err(io::Error::other)?;
        if !peer.take().ends_with(BODY.as_bytes()) {
            return Err(io::Error::other("a wrong answer"));
        }
    }
    Ok(cpu() - start)
}

/// What a connection of the simulated network takes of memory, with nobody but the test at both ends; and the network, so that its
/// memory is not used again.
fn network_alone(count: usize) -> io::Result<(f64, (Sim, Vec<SimSocket>))> {
    let sim = Sim::new(2);
    let listener = sim.listen(PORT)?;
    let mut ends = Vec::with_capacity(2 * count);
    let before = procfs::resident(&[std::process::id()])?;
    while ends.len() < 2 * count {
        let peer = sim.connect(PORT);
        peer.send(REQUEST);
        sim.run_for(&mut [], Duration::from_millis(1)).map_err(io::Error::other)?;
        let accepted = listener.accept().ok_or_else(|| io::Error::other("not connected"))?;
        accepted.take();
        accepted.send(BODY.as_bytes());
        sim.run_for(&mut [], Duration::from_millis(1)).map_err(io::Error::other)?;
        peer.take();
        ends.push(peer);
        ends.push(accepted);
    }
    let grown = procfs::resident(&[std::process::id()])? as f64 - before as f64;
    Ok((grown / count as f64, (sim, ends)))
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

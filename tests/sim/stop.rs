//! The end, at any moment: asked to shut down, closed or dropped, with connections, connects and datagrams under way.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use vansire::sim::{Rng, Route, Sim, SimSocket};
use vansire::{CloseReason, ConnId, Ctx, Event, Limits, Manager};

use crate::harness::{FOREVER, Outcome, PLANNED, for_each_seed, random_faults, some_seed_fails, up_to};
use vansire::world::Lives;

#[test]
fn stopping_closes_everything_and_frees_it() {
    for_each_seed("stopping", |sim, rng| scenario(sim, rng, false));
}

/// The proof that the scenario can fail: it stops nothing.
#[test]
fn stop_scenario_notices_what_is_left() {
    assert!(some_seed_fails(|sim, rng| scenario(sim, rng, true)));
}

const TCP: ([u8; 4], u16) = ([10, 0, 0, 1], 7);
const UDP: ([u8; 4], u16) = ([10, 0, 0, 1], 8);
const SILENT: [u8; 4] = [10, 3, 0, 1];

struct Stage {
    lives: Lives,
    rng: RefCell<Rng>,
    listener: Cell<Option<ConnId>>,
    over: Cell<bool>,
    /// It drops the manager, or has it close at once.
    at_once: Cell<bool>,
}

fn scenario(sim: &Sim, rng: &mut Rng, wrong: bool) -> Outcome {
    let faults = random_faults(sim, rng);
    sim.set_route(SILENT, Route::Blackhole);
    sim.host("silent.sim", &[SILENT.into()]);
    let within = up_to(rng, 3000);
    let limits = Limits::new().drain_timeout(within).write_high(1 + rng.below(5000));
    let mut manager = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let stage = Rc::new(Stage {
        lives: Lives::default(),
        rng: RefCell::new(rng.fork()),
        listener: Cell::new(None),
        over: Cell::new(false),
        at_once: Cell::new(false),
    });
    let handler = || {
        let at = stage.clone();
        move |cx: &mut Ctx<'_, ()>, event: Event<'_>| at.told(cx, event)
    };
    let failed = |e: vansire::Error| e.to_string();
    let tcp = format!("tcp://{}", SocketAddr::from(TCP));
    stage.listener.set(Some(manager.net().listen(tcp.as_str(), handler()).map_err(failed)?));
    manager.net().listen(format!("udp://{}", SocketAddr::from(UDP)).as_str(), handler()).map_err(failed)?;
    manager.net().listen("unix:/run/stop.sock", handler()).map_err(failed)?;
    for url in [tcp.as_str(), "tcp://10.3.0.1:7", "tcp://silent.sim:7", "tcp://nobody.sim:7", "udp://10.0.0.1:8"] {
        if rng.chance(0.4) {
            let id = manager.net().connect(url, handler()).map_err(failed)?;
            manager.net().send(id, b"hello");
        }
    }
    let fired = Rc::new(Cell::new(0u32));
    let count = fired.clone();
    manager.net().timer_every(Duration::from_millis(20), move |_| count.set(count.get() + 1));
    let peers: Vec<Rc<SimSocket>> = (0..rng.below(5)).map(|_| Rc::new(sim.connect(TCP))).collect();
    for peer in &peers {
        let eager = *rng.pick(&[0.0, 0.2, 1.0]);
        peer_acts(sim, rng.fork(), Rc::downgrade(peer), eager);
    }
    let asker = sim.udp(([10, 1, 0, 1], 7)).map_err(|e| e.to_string())?;
    for _ in 0..rng.below(20) {
        asker.send_to(b"datagram", UDP);
    }
    drop(sim.run_for(&mut [&mut manager], up_to(rng, 200)));

    let begun = sim.elapsed();
    // How long it may take, beside what the calls of the last turns take.
    let mut patience = within;
    match rng.below(5) {
        _ if wrong => {}
        0 => manager.shutdown(within).map_err(failed)?,
        1 => {
            let (waker, wait) = (manager.waker(), up_to(rng, 300));
            patience += wait;
            sim.after(wait, move |_| drop(waker.stop()));
            manager.run().map_err(failed)?;
        }
        2 => {
            let (waker, wait) = (manager.waker(), up_to(rng, 100));
            patience = wait;
            sim.after(wait, move |_| drop(waker.stop()));
            // Asked once more, it closes at once; if it is not done already.
            manager.shutdown(FOREVER).map_err(failed)?;
        }
        3 => manager.close(),
        _ => {
            stage.at_once.set(true);
            drop(manager);
            manager = Manager::builder().sim(sim).build(()).map_err(failed)?;
        }
    }
    let took = sim.elapsed() - begun;
    let step = 1000 * faults.call_time.end;
    if took > patience + step {
        return Err(format!("it took {took:?}, and may take {patience:?}"));
    }
    stage.lives.check_all_over()?;
    stage.over.set(true);
    if manager.net().connection_count() != 0 || manager.next_deadline().is_some() {
        return Err(format!("{} connections are left", manager.net().connection_count()));
    }
    if !stage.at_once.get() && !manager.poll(None).is_err_and(|e| e.is_stopped()) {
        return Err("it can be polled after its end".into());
    }
    // Whatever happens from now on, it is told to nobody.
    let ticks = fired.get();
    let all_over = || peers.iter().all(|peer| peer.is_over());
    sim.run(&mut [], all_over, FOREVER).map_err(|e| e.to_string())?;
    if fired.get() != ticks {
        return Err("a timer fired after the end".into());
    }
    // The addresses are free, so their sockets are gone.
    sim.listen(TCP).map_err(|e| format!("the listener is left: {e}"))?;
    sim.udp(UDP).map_err(|e| format!("the UDP socket is left: {e}"))?;
    if sim.connect_unix("/run/stop.sock").is_ok() {
        return Err("the Unix listener is left".into());
    }
    drop(peers);
    match sim.run(&mut [], || false, FOREVER) {
        Err(failure) if failure.is_stuck() => stage.lives.check_all_over(),
        other => Err(format!("something is left to happen: {other:?}")),
    }
}

/// A peer sends, and takes what it likes, as long as the connection lasts.
fn peer_acts(sim: &Sim, mut rng: Rng, peer: Weak<SimSocket>, eager: f64) {
    sim.after(up_to(&mut rng, 30), move |sim| {
        let Some(socket) = peer.upgrade().filter(|socket| !socket.is_over()) else { return };
        let len = rng.below(500);
        socket.send(&rng.bytes(len));
        if rng.chance(eager) {
            socket.take();
        }
        if socket.is_connected() && rng.chance(0.01) {
            return socket.reset();
        }
        peer_acts(sim, rng, peer, eager);
    });
}

impl Stage {
    fn told(&self, cx: &mut Ctx<'_, ()>, event: Event<'_>) {
        self.lives.see(cx, &event);
        if self.over.get() {
            self.lives.complain(format!("{} is told of {} after the end", cx.conn, event.name()));
        }
        match event {
            Event::Data(data) => drop(cx.send(&data)),
            Event::Datagram { from, data } if data == b"datagram" => drop(cx.send_to(from, data)),
            Event::Closed(reason) => {
                let at_once = self.at_once.get();
                let drops = matches!(reason, CloseReason::Peer | CloseReason::Reset(_) | CloseReason::TimedOut(_));
                if at_once && drops {
                    self.lives.complain(format!("{} is closed with {reason:?} by a drop", cx.conn));
                }
                // Nothing new can begin while everything ends.
                let opened = cx.net.connect("tcp://10.0.0.1:7", |_: &mut Ctx<'_, ()>, _: Event<'_>| {});
                match opened {
                    Ok(id) => cx.net.close(id),
                    Err(e) if e.is_stopped() => {}
                    Err(e) => self.lives.complain(e.to_string()),
                }
            }
            _ => {}
        }
        let dice = self.rng.borrow_mut().below(200);
        match dice {
            0 if self.listener.get() != Some(cx.conn) => panic!("{PLANNED}"),
            1 => cx.close(),
            2 => cx.drain(),
            _ => {}
        }
    }
}

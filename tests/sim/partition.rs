//! A network in two parts for a while.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use vansire::sim::{Faults, Rng, Sim};
use vansire::{ConnectOptions, Ctx, Event, Manager};

use crate::harness::{FOREVER, Outcome, for_each_seed, up_to};

#[test]
fn a_partition_delays_and_loses_nothing() {
    for_each_seed("a_partition", scenario);
}

const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn scenario(sim: &Sim, rng: &mut Rng) -> Outcome {
    sim.set_faults(Faults::benign(rng));
    let server = sim.listen((THERE, 7)).map_err(|e| e.to_string())?;
    let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
    let answer = Rc::new(RefCell::new(Vec::new()));
    let log = answer.clone();
    let handler = move |_: &mut Ctx<'_, ()>, event: Event<'_>| {
        if let Event::Data(data) = event {
            log.borrow_mut().extend_from_slice(&data);
        }
    };
    let options = ConnectOptions::new(format!("tcp://{THERE}:7")).local_addr((HERE, 0));
    let id = manager.net().connect(options, handler).map_err(|e| e.to_string())?;
    let mut peer = None;
    let mut is_accepted = || {
        peer = peer.take().or_else(|| server.accept());
        peer.is_some()
    };
    sim.run(&mut [&mut manager], &mut is_accepted, FOREVER).map_err(|e| e.to_string())?;
    let peer = peer.ok_or("not accepted")?;

    sim.partition(HERE, THERE, Duration::from_secs(1) + up_to(rng, 5000));
    peer.send(b"one ");
    manager.net().send(id, b"question");
    sim.run_for(&mut [&mut manager], up_to(rng, 800)).map_err(|e| e.to_string())?;
    if !answer.borrow().is_empty() || peer.arrived() > 0 {
        return Err("something came through the partition".into());
    }
    if rng.chance(0.5) {
        sim.heal(HERE, THERE);
    }
    peer.send(b"two");
    let mut question = Vec::new();
    let mut is_through = || {
        question.extend(peer.take());
        answer.borrow().len() == 7 && question.len() == 8
    };
    sim.run(&mut [&mut manager], &mut is_through, FOREVER).map_err(|e| e.to_string())?;
    if *answer.borrow() == b"one two" && question == b"question" { Ok(()) } else { Err("other bytes".into()) }
}

/// What a sender may send is held up with the rest, and goes on with the rest.
#[test]
fn a_partition_that_is_healed_leaves_nothing_behind() {
    let sim = Sim::new(1);
    sim.set_faults(Faults::none().buffer(4..5));
    let server = sim.listen((THERE, 7)).expect("an address");
    let client = sim.connect_from((HERE, 0), (THERE, 7));
    let second = Duration::from_secs(1);
    sim.run_for(&mut [], second).expect("time passes");
    let peer = server.accept().expect("a connection");
    client.send(b"more than four bytes");
    sim.run_for(&mut [], second).expect("time passes");
    sim.partition(HERE, THERE, FOREVER);
    let mut all = peer.take();
    assert_eq!(all, b"more");
    sim.run_for(&mut [], second).expect("time passes");
    assert_eq!(peer.arrived(), 0);
    sim.heal(HERE, THERE);
    let mut is_through = || {
        all.extend(peer.take());
        all == b"more than four bytes"
    };
    sim.run(&mut [], &mut is_through, second).expect("all of it");
}

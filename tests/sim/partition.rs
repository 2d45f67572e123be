//! A network in two parts for a while.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use vansire::{ConnectOptions, Ctx, Event, Manager};

use crate::harness::{FOREVER, for_each_seed, up_to};
use vansire::sim::Faults;

const PORT: u16 = 7;

/// A server behind a partition is reached when the partition is over, and what was on its way goes on.
#[test]
fn a_partition_delays_and_loses_nothing() {
    for_each_seed("a_partition", |sim, rng| {
        sim.set_faults(Faults::benign(rng));
        let here = Ipv4Addr::new(10, 0, 0, 1);
        let there = Ipv4Addr::new(10, 0, 0, 2);
        let server = sim.listen((there, PORT)).unwrap();
        let mut manager = Manager::builder().sim(sim).build(()).map_err(|e| e.to_string())?;
        let got = Rc::new(RefCell::new(Vec::new()));
        let log = got.clone();
        let options = ConnectOptions::new(format!("tcp://{there}:{PORT}")).local_addr((here, 0));
        let id = manager
            .net()
            .connect(options, move |_: &mut Ctx<'_, ()>, event: Event<'_>| {
                if let Event::Data(data) = event {
                    log.borrow_mut().extend_from_slice(&data);
                }
            })
            .map_err(|e| e.to_string())?;
        let mut peer = None;
        sim.run(
            &mut [&mut manager],
            || {
                peer = peer.take().or_else(|| server.accept());
                peer.is_some()
            },
            FOREVER,
        )
        .map_err(|e| e.to_string())?;
        let peer = peer.ok_or("not accepted")?;
        sim.partition(here, there, Duration::from_secs(1) + up_to(rng, 5000));
        peer.send(b"one ");
        manager.net().send(id, b"question");
        let until = up_to(rng, 800);
        sim.run_for(&mut [&mut manager], until).map_err(|e| e.to_string())?;
        if !got.borrow().is_empty() || peer.arrived() > 0 {
            return Err("something came through the partition".into());
        }
        if rng.chance(0.5) {
            sim.heal(here, there);
        }
        peer.send(b"two");
        sim.run(&mut [&mut manager], || got.borrow().len() == 7 && peer.arrived() == 8, FOREVER)
            .map_err(|e| e.to_string())?;
        if *got.borrow() != b"one two" { Err("another order".into()) } else { Ok(()) }
    });
}

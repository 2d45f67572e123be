//! A manager in a simulation.

use std::io;
use std::time::Instant;

use crate::error::Result;
use crate::net::Sockets;
use crate::net::mem::Host;
use crate::reactor::Reactor;
use crate::reactor::sim::SimReactor;
use crate::sim::{Pollable, Sim};
use crate::time::Clock;

use super::{Builder, Manager};

impl Builder {
    /// The manager lives in a simulation: its sockets are in memory, its time is the simulation's. A `poll` that may wait
    /// moves that time on. See [`sim`](crate::sim).
    pub fn sim(mut self, sim: &Sim) -> Self {
        self.sim = Some(sim.clone());
        self
    }
}

/// What a simulated manager stands on.
pub(super) fn grounds(sim: &Sim) -> io::Result<(Reactor, Sockets, Clock)> {
    let clock = Clock::simulated(sim.clock().clone(), sim.wall().clone(), sim.epoch());
    Ok((Reactor::Sim(SimReactor::new(sim)?), Sockets { host: Some(Host::new(sim)) }, clock))
}

impl<S> Pollable for Manager<S> {
    fn turn(&mut self) -> Result<()> {
        self.poll(Some(std::time::Duration::ZERO)).map(drop)
    }

    fn has_work(&self) -> bool {
        let is_ready = match &self.core.reactor {
            Reactor::Sim(reactor) => reactor.is_ready(),
            Reactor::Mio(_) => false,
        };
        is_ready || self.core.has_work()
    }

    fn next_deadline(&self) -> Option<Instant> {
        Manager::next_deadline(self)
    }
}

//! Names, looked up in simulated time.

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::net::resolve::Deliver;

use super::{Happening, Sim, World};

/// A name that is being looked up.
pub(super) struct Lookup {
    ticket: u64,
    result: io::Result<Vec<SocketAddr>>,
    deliver: Deliver,
}

/// Looks names up for one manager: the simulated counterpart of the resolver's threads.
pub(crate) struct MemNames {
    sim: Sim,
    deliver: Deliver,
    /// Those that run, each under its number in the world.
    running: Vec<(u64, u64)>,
}

impl MemNames {
    pub(crate) fn new(sim: Sim, deliver: Deliver) -> Self {
        Self { sim, deliver, running: Vec::new() }
    }

    pub(crate) fn resolve(&mut self, ticket: u64, host: &str, port: u16) {
        let mut world = self.sim.world();
        let number = world.start_lookup(ticket, host, port, &self.deliver);
        self.running.retain(|(number, _)| world.lookups.contains_key(number));
        self.running.push((number, ticket));
    }

    pub(crate) fn cancel(&mut self, ticket: u64) {
        let mut world = self.sim.world();
        for (number, _) in self.running.extract_if(.., |(_, running)| *running == ticket) {
            world.lookups.remove(&number);
        }
    }
}

impl Drop for MemNames {
    fn drop(&mut self) {
        let mut world = self.sim.world();
        for (number, _) in &self.running {
            world.lookups.remove(number);
        }
    }
}

impl World {
    pub(crate) fn set_host(&mut self, name: &str, addrs: &[IpAddr]) {
        self.hosts.insert(name.to_ascii_lowercase(), addrs.to_vec());
    }

    fn start_lookup(&mut self, ticket: u64, host: &str, port: u16, deliver: &Deliver) -> u64 {
        let fails = self.rng.chance(self.faults.lookup_fails);
        let result = match self.hosts.get(host) {
            Some(addrs) if !fails => Ok(addrs.iter().map(|ip| SocketAddr::new(*ip, port)).collect()),
            _ if host == "localhost" => Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "nobody in the simulation has this name")),
        };
        let at = self.now() + self.rng.time(&self.faults.lookup);
        self.plan(at, Happening::Lookup(self.order + 1));
        self.lookups.insert(self.order, Lookup { ticket, result, deliver: deliver.clone() });
        self.order
    }

    pub(super) fn lookup_ends(&mut self, number: u64) {
        if let Some(Lookup { ticket, result, deliver }) = self.lookups.remove(&number) {
            deliver(ticket, result);
        }
    }
}

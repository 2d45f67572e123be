//! Deterministic simulation: managers on a network in memory, in a time of its own, with faults that a seed decides.
//!
//! Whatever a handler does over the network it can be tested with here: a [`Sim`] is a world, and
//! [`Builder::sim`](crate::Builder::sim) puts a manager into it. Nothing of the program changes but that line. URLs, options,
//! timers and deadlines work as they do outside, but the sockets are in memory, and time stands still while anything is to be
//! done and then jumps to the next thing that happens: an idle timeout of a minute costs nothing. Every run of a seed is the
//! same run, to the byte and to the nanosecond.
//!
//! - [`Sim::connect`], [`Sim::listen`] and [`Sim::udp`] give raw peers to the test: sockets that no manager serves. The test
//!   plays the other side with them, in order or against it.
//! - [`Sim::run`] drives one or several managers until something is so, and fails when that will never be.
//! - [`Faults`] say what goes wrong, and how often; [`Sim::partition`], [`Sim::set_route`] and [`Sim::host`] say what the
//!   network looks like.
//! - [`Sim::after`] has something happen at a time, whatever the managers do.
//!
//! # Testing a handler
//!
//! Play the other side, under faults, and check what must hold whatever happens. Then do so for many seeds. A failure names
//! its seed; running that one seed shows the same failure again, as often as it takes.
//!
//! ```
//! use std::time::Duration;
//! use vansire::sim::{Faults, Sim};
//! use vansire::{Ctx, Event, Manager};
//!
//! /// The handler to test: answers each line with its length.
//! fn lengths(cx: &mut Ctx<'_, ()>, ev: Event<'_>) {
//!     if let Event::Data(data) = ev {
//!         let mut used = 0;
//!         while let Some(len) = data[used..].iter().position(|b| *b == b'\n') {
//!             cx.send(format!("{len}\n").as_bytes());
//!             used += len + 1;
//!         }
//!         data.consume(used);
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! for seed in 0..50 {
//!     let sim = Sim::new(seed);
//!     sim.set_faults(Faults::benign(&mut sim.rng()));
//!     let mut manager = Manager::builder().sim(&sim).build(())?;
//!     manager.net().listen("tcp://10.0.0.1:7", lengths)?;
//!
//!     let client = sim.connect(([10, 0, 0, 1], 7));
//!     client.send(b"one\nthree\n\n");
//!     let mut answer = Vec::new();
//!     let mut is_whole = || {
//!         // A client that takes nothing gives no room for more, as in real life.
//!         answer.extend(client.take());
//!         answer.len() == 6
//!     };
//!     sim.run(&mut [&mut manager], &mut is_whole, Duration::from_secs(60))?;
//!     assert_eq!(answer, b"3\n5\n0\n", "SIM_SEED={seed}");
//! }
//! # Ok(()) }
//! ```
//!
//! # What it finds, and what it does not
//!
//! The simulated network keeps the promises of a real one and no more: bytes arrive in order or not at all, readiness is
//! told when it changes and not again, a short read means that there was no more, and closing with unread input cuts the
//! peer off. It gives every schedule a chance that such a network allows. It is not a model of congestion or of throughput,
//! and it runs in one thread: bugs between threads are not found here.

mod run;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

pub use self::run::{Failure, Pollable};
pub use crate::net::mem::{Faults, Rng, Route, Sim, SimListener, SimSocket, SimUdp};

impl Sim {
    /// A world in which nothing has happened. The same seed gives the same world, as long as the test does the same.
    pub fn new(seed: u64) -> Self {
        Self::with_seed(seed)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed_number()
    }

    /// The time since the world was made.
    pub fn elapsed(&self) -> Duration {
        self.clock().elapsed()
    }

    /// Random numbers for the test itself, which the seed decides as well. Each call gives others.
    pub fn rng(&self) -> Rng {
        self.world().rng().fork()
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *self.world().faults_mut() = faults;
    }

    /// What goes wrong now.
    pub fn faults(&self) -> Faults {
        self.world().faults_mut().clone()
    }

    /// Prints what happens on the network to the standard error, from now on.
    pub fn trace(&self, on: bool) {
        self.world().set_trace(on);
    }

    /// Gives a name its addresses. A name that has none is not found.
    pub fn host(&self, name: &str, addrs: &[IpAddr]) {
        self.world().set_host(name, addrs);
    }

    /// What becomes of connections to an address from now on.
    pub fn set_route(&self, ip: impl Into<IpAddr>, route: Route) {
        self.world().set_route(ip.into(), route);
    }

    /// Cuts two addresses off from each other, for this long. Segments between them arrive afterwards, datagrams never.
    pub fn partition(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>, during: Duration) {
        let mut world = self.world();
        let until = world.now().saturating_add(during);
        world.cut(a.into(), b.into(), until);
    }

    /// Ends every partition between two addresses.
    pub fn heal(&self, a: impl Into<IpAddr>, b: impl Into<IpAddr>) {
        self.world().mend(a.into(), b.into());
    }

    /// Has time pass at once, as it does for a machine that was busy or asleep: nothing is done meanwhile, and all that was
    /// due is late.
    pub fn advance(&self, by: Duration) {
        self.clock().advance(by);
    }

    /// What the wall clocks of all machines show that were not set by their programs. They begin at 2000-01-01.
    pub fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.wall().get().saturating_add(self.elapsed())
    }

    /// Has somebody set the wall clocks, forwards or backwards. No timer and no deadline goes by them.
    pub fn set_wall_clock(&self, time: SystemTime) {
        let shows = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.wall().set(shows.saturating_sub(self.elapsed()));
    }

    /// Sockets that are open in this world, those of managers and those of the test. What is left of them when it should be
    /// none is a leak.
    pub fn open_sockets(&self) -> usize {
        self.world().open_sockets()
    }

    /// Does something after this time, in between the turns of the managers.
    pub fn after(&self, wait: Duration, act: impl FnOnce(&Sim) + 'static) {
        let mut world = self.world();
        let at = world.now().saturating_add(wait);
        world.plan_call(at, Box::new(act));
    }
}

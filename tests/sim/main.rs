//! The loop's invariants (ARCHITECTURE.md) under simulated networks and faults, each scenario for many seeds.
//!
//! `SIM_SEEDS=10000 cargo test --release --features sim --test sim` runs more seeds than by default; `SIM_SEED=7 cargo test
//! --features sim --test sim raw` runs one again, and `SIM_TRACE=1` prints what happens on its network.

mod client;
mod connect;
mod deadlines;
mod dns;
mod faults;
mod found;
mod harness;
mod http;
#[cfg(feature = "mdns")]
mod mdns;
mod mqtt_broker;
mod mqtt_client;
mod partition;
mod raw;
mod sntp;
mod stop;
mod timers;
mod udp;
mod wakeup;
mod world;

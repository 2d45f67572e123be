//! The loop's invariants (ARCHITECTURE.md) under simulated networks and faults, each scenario for many seeds.
//!
//! `SIM_SEEDS=10000 cargo test --release --features sim --test sim` runs more seeds than by default; `SIM_SEED=7 cargo test
//! --features sim --test sim raw` runs one again, and `SIM_TRACE=1` prints what happens on its network.

#![cfg(feature = "sim")]

mod client;
mod connect;
mod deadlines;
#[cfg(feature = "dns")]
mod dns;
mod found;
mod harness;
mod http;
mod life;
#[cfg(feature = "mqtt")]
mod mqtt_client;
mod partition;
mod raw;
#[cfg(feature = "sntp")]
mod sntp;
mod stop;
mod timers;
mod udp;
mod wakeup;
mod wire;

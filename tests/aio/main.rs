//! `AsyncManager`: cases J1-J17 of the reference, and its promises beside them.
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;

mod cancel;
mod clients;
mod crowd;
mod events;
mod growth;
#[cfg(feature = "tokio-fd")]
mod inline;
mod mqtt;
mod mqtt_peer;
mod order;
mod panics;
mod shutdown;
mod stall;
mod support;
mod sweep;
#[cfg(feature = "tracing")]
mod traces;
mod usage;

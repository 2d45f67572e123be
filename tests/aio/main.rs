//! `AsyncManager`: cases J1-J17 of the reference, and its promises beside them.
#![cfg(unix)]

#[path = "../common/mod.rs"]
mod common;

mod cancel;
mod clients;
mod events;
mod growth;
mod order;
mod shutdown;
mod support;
mod usage;

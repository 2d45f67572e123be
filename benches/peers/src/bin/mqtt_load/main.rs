//! Measures what an MQTT broker costs: publishers and subscribers on the library's codec and event loop.
//!
//! One mode for each kind of figure; each prints one line of JSON. The latency is from the moment that a message is handed to
//! the socket (or was due, at a given rate) until its subscriber has read it.

use std::io;
use std::process::ExitCode;

mod client;
mod connects;
mod flags;
mod idle;
mod retained;
mod steady;
mod usage;

use flags::{Flags, Mode, USAGE};

fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args().skip(1)) {
        Ok(flags) => flags,
        Err(what) => {
            eprintln!("mqtt_load: {what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match flags.mode {
        Mode::Steady => steady::run(&flags),
        Mode::Connects => connects::run(&flags),
        Mode::Idle => idle::run(&flags),
        Mode::Retained => retained::run(&flags),
    };
    match result {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => fail(&e),
    }
}

/// Ends the program with a message: a broker that does something else than asked has no figure.
fn fail(what: &dyn std::fmt::Display) -> ! {
    eprintln!("mqtt_load: {what}");
    std::process::exit(1)
}

fn other(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(e)
}

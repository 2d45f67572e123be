//! What the examples share: their flags, and the line that says where they listen.

// Each example is a program of its own, and uses a part of this.
#![allow(dead_code)]

use std::str::FromStr;

use vansire::{ConnId, Manager};

/// The value of `--listen`, a URL such as `tcp://127.0.0.1:0`; port 0 takes a free one.
pub(crate) fn listen_url(default: &str) -> String {
    flag("--listen", default.to_owned())
}

/// The value behind a flag of the command line. One that is missing or makes no sense ends the program.
pub(crate) fn flag<T: FromStr>(name: &str, default: T) -> T {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    if args.next().is_none() {
        return default;
    }
    args.next().and_then(|value| value.parse().ok()).unwrap_or_else(|| {
        eprintln!("{name}: a value is missing, or is none that it takes");
        std::process::exit(2);
    })
}

/// Prints the URL that is listened on: the one that was asked for, with the port that it got.
pub(crate) fn announce<S>(manager: &mut Manager<S>, url: &str, listener: ConnId) {
    let scheme = url.split("://").next().unwrap_or_default();
    if let Some(address) = manager.net().local_addr(listener) {
        println!("listening on {scheme}://{address}");
    }
}

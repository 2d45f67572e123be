//! What the two clients of the comparison share: their arguments and what they report.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::json;

use crate::procfs::cpu_time;

/// Where to, and how many requests.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// The server.
    pub addr: SocketAddr,
    /// Requests that count.
    pub requests: u64,
}

/// Requests before those that count.
pub const WARM_UP: u64 = 2_000;

impl Job {
    /// The only two arguments: `IP:PORT REQUESTS`.
    pub fn from_arguments() -> io::Result<Self> {
        let mut args = std::env::args().skip(1);
        match (args.next().map(|a| a.parse()), args.next().map(|a| a.parse()), args.next()) {
            (Some(Ok(addr)), Some(Ok(requests)), None) => Ok(Self { addr, requests }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "usage: CLIENT IP:PORT REQUESTS")),
        }
    }
}

/// The moment after the warm-up.
#[derive(Debug)]
pub struct Begun {
    at: Instant,
    cpu_nanos: u128,
}

impl Begun {
    /// Now.
    pub fn now() -> io::Result<Self> {
        Ok(Self { at: Instant::now(), cpu_nanos: cpu_time(&[std::process::id()])?.as_nanos() })
    }

    /// Prints a line of JSON: microseconds of CPU time, user and system, and of the day for each request.
    pub fn report(&self, requests: u64) -> io::Result<()> {
        let cpu = cpu_time(&[std::process::id()])?.as_nanos() - self.cpu_nanos;
        let wall = self.at.elapsed().as_nanos();
        let each = |nanos: u128| (nanos / u128::from(requests)) as f64 / 1e3;
        println!("{}", json!({ "client_cpu_us_per_req": each(cpu), "wall_us_per_req": each(wall) }));
        Ok(())
    }
}

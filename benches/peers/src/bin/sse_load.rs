//! Many clients of one stream of server-sent events: `sse_load --addr IP:PORT [--clients N] [--seconds S] [--pid PID,...]`.
//!
//! Opens the clients, waits until each has had an event, then counts what arrives, and prints one line of JSON: the
//! server's CPU time for each event that reached a client.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde_json::{Value, json};
use vansire_peers::procfs;

const REQUEST: &[u8] = b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n";
/// Connections that are opened before the server gets a turn.
const WAVE: usize = 64;
/// Long enough for any server to let all clients in.
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    match Flags::parse(std::env::args().skip(1)).map_err(io::Error::other).and_then(|flags| run(&flags)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("sse_load: {e}");
            ExitCode::FAILURE
        }
    }
}

struct Flags {
    addr: SocketAddr,
    clients: usize,
    seconds: f64,
    pids: Vec<u32>,
}

impl Flags {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut addr, mut clients, mut seconds, mut pids) = (None, 1000, 3.0, Vec::new());
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| format!("{flag}: a value is missing"))?;
            let bad = |e: &dyn std::fmt::Display| format!("{flag} {value}: {e}");
            match flag.as_str() {
                "--addr" => addr = Some(value.parse().map_err(|e| bad(&e))?),
                "--clients" => clients = value.parse().map_err(|e| bad(&e))?,
                "--seconds" => seconds = value.parse().map_err(|e| bad(&e))?,
                "--pid" => {
                    pids = value.split(',').map(|pid| pid.parse().map_err(|e| bad(&e))).collect::<Result<_, _>>()?
                }
                _ => return Err(format!("{flag}: unknown")),
            }
        }
        Ok(Self { addr: addr.ok_or("--addr is missing")?, clients, seconds, pids })
    }
}

struct Client {
    socket: OwnedFd,
    events: u64,
    /// The last byte that came was a line end: an event ends with two.
    in_end: bool,
}

struct Clients {
    epoll: OwnedFd,
    all: Vec<Client>,
    buffer: Vec<u8>,
    ready: Vec<Event>,
    ended: usize,
}

fn run(flags: &Flags) -> io::Result<Value> {
    let mut clients = Clients {
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        all: Vec::with_capacity(flags.clients),
        buffer: vec![0; 64 << 10],
        ready: Vec::with_capacity(1024),
        ended: 0,
    };
    let end = Instant::now() + PATIENCE;
    while clients.all.len() < flags.clients {
        for _ in 0..WAVE.min(flags.clients - clients.all.len()) {
            clients.open(flags.addr)?;
        }
        clients.turn()?;
    }
    while clients.all.iter().any(|client| client.events == 0) {
        if Instant::now() > end || clients.ended > 0 {
            return Err(io::Error::other("not every client gets events"));
        }
        clients.turn()?;
    }
    let before: Vec<u64> = clients.all.iter().map(|client| client.events).collect();
    let (start, server, own) =
        (Instant::now(), procfs::cpu_time(&flags.pids)?, procfs::cpu_time(&[std::process::id()])?);
    while start.elapsed().as_secs_f64() < flags.seconds {
        clients.turn()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let server = (procfs::cpu_time(&flags.pids)? - server).as_secs_f64();
    let own = (procfs::cpu_time(&[std::process::id()])? - own).as_secs_f64();
    let each: Vec<u64> = clients.all.iter().zip(before).map(|(client, before)| client.events - before).collect();
    let events: u64 = each.iter().sum();
    for client in &clients.all {
        // An orderly close would leave each port in TIME-WAIT.
        rustix::net::sockopt::set_socket_linger(&client.socket, Some(Duration::ZERO))?;
    }
    Ok(json!({
        "clients": flags.clients,
        "events": events,
        "events_per_s": (events as f64 / seconds).round(),
        "fewest": each.iter().min(),
        "most": each.iter().max(),
        "server_cpu_us_per_event": (server * 1e9 / events as f64).round() / 1e3,
        "server_cpu_share": (server / seconds * 1e3).round() / 1e3,
        "client_cpu_share": (own / seconds * 1e3).round() / 1e3,
        "ended": clients.ended,
    }))
}

impl Clients {
    fn open(&mut self, addr: SocketAddr) -> io::Result<()> {
        let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &addr)?;
        rustix::net::send(&socket, REQUEST, SendFlags::NOSIGNAL)?;
        let index = self.all.len() as u64;
        epoll::add(&self.epoll, &socket, EventData::new_u64(index), EventFlags::IN | EventFlags::RDHUP)?;
        self.all.push(Client { socket, events: 0, in_end: false });
        Ok(())
    }

    /// Reads what has come.
    fn turn(&mut self) -> io::Result<()> {
        let timeout = Timespec::try_from(TICK).map_err(io::Error::other)?;
        self.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.ready), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &self.ready {
            let client = &mut self.all[event.data.u64() as usize];
            match rustix::net::recv(&client.socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    epoll::delete(&self.epoll, &client.socket)?;
                    self.ended += 1;
                }
                Ok((len, _)) => client.count(&self.buffer[..len]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

impl Client {
    /// Counts the blank lines: heads and chunk sizes end in CRLF, so that only events have any.
    fn count(&mut self, bytes: &[u8]) {
        let mut at = 0;
        if self.in_end && bytes[0] == b'\n' {
            self.events += 1;
            at = 1;
        }
        while let Some(found) = memchr::memmem::find(&bytes[at..], b"\n\n") {
            self.events += 1;
            at += found + 2;
        }
        self.in_end = at < bytes.len() && bytes.ends_with(b"\n");
    }
}

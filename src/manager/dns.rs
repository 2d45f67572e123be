//! The manager's own resolver: sockets to name servers, and the files that say which.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::id::{Key, Table};
use crate::net::{Stream, Udp, interface_number};
use crate::options::ConnectOptions;
use crate::proto::dns::stub::{Output, Stub, Want, Ways};
use crate::proto::dns::{Conf, Data, Hosts, LookupError, Name, Over, Type, here};
use crate::reactor::{Token, Watch};
use crate::time::Moment;

use super::core::Core;
use super::names::NotAsked;
use super::resolver::{DnsOptions, Resolver};

pub(crate) struct Dns {
    stub: Stub,
    options: DnsOptions,
    resolv_conf: Watched,
    hosts: Watched,
    /// When the files were looked at last.
    looked_at: Moment,
    channels: Table<Channel>,
    by_number: BTreeMap<u64, Key>,
    /// Slots of channels to look at.
    ready: VecDeque<usize>,
}

/// A socket to one server, for one query.
struct Channel {
    number: u64,
    server: SocketAddr,
    io: Io,
    /// What is left to be sent.
    unsent: Vec<u8>,
    queued: bool,
}

enum Io {
    Udp(Udp),
    Tcp {
        stream: Stream,
        /// The length of a message, and as much of it as has come.
        input: Vec<u8>,
    },
}

/// A file that is read again when it has changed.
struct Watched {
    path: Option<PathBuf>,
    /// What told the last version from others; none before the first look.
    stamp: Option<Option<Stamp>>,
}

/// What tells a version of a file from others: one that takes its place may be as long and as old.
#[derive(PartialEq)]
struct Stamp {
    modified: SystemTime,
    len: u64,
    /// Device, inode, and when that was changed.
    #[cfg(unix)]
    inode: (u64, u64, i64, i64),
}

/// The files are looked at this often, at the most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No more of a file is read.
const FILE_MAX: u64 = 4 << 20;
/// Datagrams taken from one socket in a turn.
const DATAGRAMS_PER_TURN: usize = 32;
/// A port that is taken is tried again with another, so many times.
const PORT_TRIES: u32 = 4;

impl Dns {
    fn new(options: DnsOptions, is_simulated: bool) -> Self {
        let path =
            |own: &Option<PathBuf>, default: &str| own.clone().or_else(|| (!is_simulated).then(|| default.into()));
        let ways = Ways {
            random_case: options.random_case,
            lookups_max: options.lookups_max.max(1),
            cache_max: options.cache_max,
        };
        Self {
            stub: Stub::new(Conf::default(), Hosts::default(), ways),
            resolv_conf: Watched { path: path(&options.resolv_conf, "/etc/resolv.conf"), stamp: None },
            hosts: Watched { path: path(&options.hosts, "/etc/hosts"), stamp: None },
            options,
            looked_at: Moment::START,
            channels: Table::new(),
            by_number: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty() || self.stub.has_output()
    }

    /// Takes over what has changed in the files.
    fn refresh(&mut self, now: Moment) {
        let is_first = self.hosts.stamp.is_none();
        if !is_first && now < self.looked_at.after(LOOK_EVERY) {
            return;
        }
        self.looked_at = now;
        if let Some(text) = self.hosts.changed() {
            self.stub.set_hosts(Hosts::parse(&text));
        }
        if let Some(text) = self.resolv_conf.changed() {
            let mut conf = Conf::parse(&text, interface_number);
            let DnsOptions { servers, search, timeout, attempts, .. } = &self.options;
            if let Some(servers) = servers {
                conf.servers = servers.iter().copied().map(here).collect();
            }
            if let Some(search) = search {
                conf.search = search.iter().filter_map(|domain| domain.parse::<Name>().ok()).collect();
            }
            conf.timeout = timeout.or(conf.timeout);
            conf.attempts = attempts.map_or(conf.attempts, |attempts| attempts.clamp(1, 5));
            self.stub.set_conf(conf);
        }
    }

    /// The system has told of a socket.
    fn note(&mut self, slot: usize) {
        if let Some(key) = self.channels.key_at(slot)
            && let Some(channel) = self.channels.get_mut(key)
            && !std::mem::replace(&mut channel.queued, true)
        {
            self.ready.push_back(slot);
        }
    }

    fn remove(&mut self, number: u64) {
        if let Some(key) = self.by_number.remove(&number) {
            self.channels.remove(key);
        }
    }
}

impl Watched {
    /// The text, if it is another one than at the last look. A file that cannot be read is empty.
    fn changed(&mut self) -> Option<String> {
        let Some(path) = &self.path else {
            return self.stamp.replace(None).is_none().then(String::new);
        };
        let stamp = Stamp::of(path);
        if let (Some(before), Ok(now)) = (&self.stamp, &stamp)
            && before.as_ref() == Some(now)
        {
            return None;
        }
        let mut bytes = Vec::new();
        let read = stamp.and_then(|stamp| {
            File::open(path)?.take(FILE_MAX).read_to_end(&mut bytes)?;
            Ok(stamp)
        });
        match read {
            Ok(stamp) => self.stamp = Some(Some(stamp)),
            // It is told once, and looked for again.
            Err(_) if matches!(self.stamp, Some(None)) => return None,
            Err(e) => {
                crate::trace::trace_event!(warn, "cannot read {}: {e}", path.display());
                (self.stamp, bytes) = (Some(None), Vec::new());
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        // Others may keep their reader waiting, and the loop with it.
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        Ok(Self {
            modified: metadata.modified()?,
            len: metadata.len(),
            #[cfg(unix)]
            inode: {
                use std::os::unix::fs::MetadataExt;
                (metadata.dev(), metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
            },
        })
    }
}

impl Channel {
    /// Reads and writes as far as it goes. Messages are given to `hear`, with their sender.
    fn serve(&mut self, scratch: &mut [u8], mut hear: impl FnMut(SocketAddr, &[u8])) -> io::Result<Served> {
        match &mut self.io {
            Io::Udp(socket) => {
                if !self.unsent.is_empty() {
                    match retry(|| socket.send(&self.unsent)) {
                        Ok(_) => self.unsent.clear(),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Served::WaitsToWrite),
                        Err(e) => return Err(e),
                    }
                }
                for _ in 0..DATAGRAMS_PER_TURN {
                    match retry(|| socket.recv_from(scratch)) {
                        Ok((n, from)) => hear(from, &scratch[..n]),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Served::Waits),
                        Err(e) => return Err(e),
                    }
                }
                Ok(Served::HasMore)
            }
            Io::Tcp { stream, input } => {
                if !stream.is_connected()? {
                    return Ok(Served::Waits);
                }
                while !self.unsent.is_empty() {
                    match retry(|| stream.write(&self.unsent)) {
                        Ok(n) => drop(self.unsent.drain(..n)),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Served::Waits),
                        Err(e) => return Err(e),
                    }
                }
                loop {
                    if let Some((len, message)) = input.split_first_chunk::<2>()
                        && let Some(message) = message.get(..u16::from_be_bytes(*len).into())
                    {
                        hear(self.server, message);
                        return Ok(Served::Waits);
                    }
                    match retry(|| stream.read(scratch)) {
                        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                        Ok(n) => input.extend_from_slice(&scratch[..n]),
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Served::Waits),
                        Err(e) => return Err(e),
                    }
                }
            }
        }
    }
}

enum Served {
    Waits,
    WaitsToWrite,
    HasMore,
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl<S> super::names::Names<S> {
    /// The system has told of a socket to a server.
    pub(super) fn note(&mut self, slot: usize) {
        if let Some(dns) = &mut self.dns {
            dns.note(slot);
        }
    }
}

impl<S> Core<S> {
    pub(super) fn ask_dns(&mut self, ticket: u64, host: &str, is_service: bool) -> Result<(), NotAsked> {
        let now = self.clock.now();
        let instant = self.clock.instant(now);
        let (chosen, is_simulated) = (&self.names.chosen, self.sockets.is_simulated());
        let dns = self.names.dns.get_or_insert_with(|| {
            let options = match chosen {
                Some(Resolver::Stub(options)) => options.clone(),
                Some(Resolver::System) | None => DnsOptions::new(),
            };
            Box::new(Dns::new(options, is_simulated))
        });
        dns.refresh(now);
        let want = if is_service { Want::Records(Type::SRV) } else { Want::Addrs };
        dns.stub.resolve(ticket, host, want, instant).map_err(NotAsked::Dns)
    }

    pub(super) fn cancel_dns(&mut self, ticket: u64) {
        let now = self.instant();
        if let Some(dns) = &mut self.names.dns {
            dns.stub.cancel(ticket, now);
        }
    }

    /// When the resolver wants to be asked again.
    pub(super) fn dns_due(&self) -> Moment {
        let due = self.names.dns.as_ref().and_then(|dns| dns.stub.poll_timeout());
        due.map_or(Moment::NEVER, |at| self.now.after(at.saturating_duration_since(self.instant())))
    }

    /// Reads what servers have sent, and does what the resolver wants.
    pub(super) fn serve_dns(&mut self, state: &mut S) {
        self.serve_channels();
        let now = self.instant();
        let Some(dns) = &mut self.names.dns else { return };
        dns.stub.handle_timeout(now);
        // What callbacks ask for now waits for the next turn, or two could keep each other going.
        for _ in 0..dns.stub.output_len() {
            let sockets = &self.sockets;
            let Some(dns) = &mut self.names.dns else { return };
            let Some(output) = dns.stub.poll_output(&mut || sockets.bits()) else { break };
            self.do_output(state, output);
        }
        // Queries leave in the turn in which they are asked.
        self.serve_channels();
        if let Some(dns) = &self.names.dns {
            let counters = dns.stub.counters();
            self.stats.dns_queries = counters.queries;
            self.stats.dns_answers = counters.answers;
            self.stats.dns_strays = counters.strays;
            self.stats.dns_cached = counters.cached;
        }
    }

    /// Reads from and writes to the sockets that may be ready.
    fn serve_channels(&mut self) {
        let now = self.instant();
        let Some(dns) = &mut self.names.dns else { return };
        for _ in 0..dns.ready.len() {
            let Some(slot) = dns.ready.pop_front() else { break };
            let Some(key) = dns.channels.key_at(slot) else { continue };
            let Some(channel) = dns.channels.get_mut(key) else { continue };
            channel.queued = false;
            let (number, stub) = (channel.number, &mut dns.stub);
            match channel.serve(&mut self.scratch, |from, bytes| stub.handle_message(number, from, bytes, now)) {
                Ok(Served::Waits) => {}
                Ok(Served::WaitsToWrite) => {
                    if let Io::Udp(socket) = &mut channel.io
                        && self.reactor.reregister(socket.source(), Token::Name(slot), Watch::Both).is_err()
                    {
                        dns.stub.handle_failed(number, now);
                    }
                }
                Ok(Served::HasMore) => dns.note(slot),
                Err(_) => dns.stub.handle_failed(number, now),
            }
        }
    }

    fn do_output(&mut self, state: &mut S, output: Output) {
        match output {
            Output::Open { channel, server, over, query } => self.open_channel(channel, server, over, query),
            Output::Close(number) => {
                if let Some(dns) = &mut self.names.dns {
                    dns.remove(number);
                }
            }
            Output::Addrs { ticket, addrs, last } => {
                let addrs = addrs.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
                self.lookup_done(state, ticket, Ok(addrs), last);
            }
            Output::Records { ticket, data } => {
                let services = data.into_iter().filter_map(|data| match data {
                    Data::Srv(srv) => Some(srv),
                    _ => None,
                });
                self.services_done(state, ticket, services.collect());
            }
            Output::Failed { ticket, error } => {
                let kind = match error {
                    LookupError::TimedOut => io::ErrorKind::TimedOut,
                    LookupError::NoName | LookupError::NoData => io::ErrorKind::NotFound,
                    _ => io::ErrorKind::Other,
                };
                self.lookup_done(state, ticket, Err(io::Error::new(kind, error)), true);
            }
        }
    }

    /// Opens a socket to a server and sends the query.
    fn open_channel(&mut self, number: u64, server: SocketAddr, over: Over, query: Vec<u8>) {
        let socket = match over {
            Over::Udp => self.udp_channel(server).map(Io::Udp),
            Over::Tcp => self
                .sockets
                .connect(server, &ConnectOptions::new(String::new()))
                .map(|stream| Io::Tcp { stream, input: Vec::new() }),
        };
        let now = self.instant();
        let Some(dns) = &mut self.names.dns else { return };
        let opened = socket.and_then(|io| {
            let key = dns.channels.insert(Channel { number, server, io, unsent: query, queued: false });
            dns.by_number.insert(number, key);
            let token = Token::Name(key.index());
            match dns.channels.get_mut(key).map(|channel| &mut channel.io) {
                Some(Io::Udp(socket)) => self.reactor.register(socket.source(), token, Watch::Read)?,
                Some(Io::Tcp { stream, .. }) => self.reactor.register(stream.source(), token, Watch::Both)?,
                None => {}
            }
            Ok(key)
        });
        match opened {
            // It is written to as one that is ready, in the next turn at the latest.
            Ok(key) => dns.note(key.index()),
            Err(_) => dns.stub.handle_failed(number, now),
        }
    }

    /// A socket for one query. Its port is as random as its id: an answer has to guess both (RFC 5452 §9.2).
    fn udp_channel(&self, server: SocketAddr) -> io::Result<Udp> {
        let options = ConnectOptions::new(String::new());
        for _ in 0..PORT_TRIES {
            let port = PORT_FIRST + self.sockets.bits() as u16 % PORT_FIRST;
            let local = match server {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            };
            match self.sockets.connect_udp(server, &options.clone().local_addr(local)) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                done => return done,
            }
        }
        self.sockets.connect_udp(server, &options)
    }
}

/// Half of all ports, above those that services have.
const PORT_FIRST: u16 = 1 << 15;

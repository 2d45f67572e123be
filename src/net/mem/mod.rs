//! Sockets in memory: the world that simulated managers and raw peers live in.
//!
//! Start with [`World`]: a table of sockets and an agenda of what will happen when. Nothing happens by itself: whoever
//! waits ([`Sim::wait_until`]) moves the time on and has the agenda done.

mod faults;
mod handle;
mod listener;
mod names;
mod peer;
mod rng;
mod route;
mod stream;
mod udp;

use std::cell::{Cell, RefCell, RefMut};
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::id::{Key, Table};
use crate::reactor::{Ready, Token, Watch};
use crate::time::{ManualClock, Y2K};

pub use self::faults::Faults;
pub(crate) use self::handle::{Host, MemListener, MemSocket, MemStream, MemUdp};
use self::listener::Listen;
use self::names::Lookup;
pub(crate) use self::names::MemNames;
pub use self::peer::{SimListener, SimSocket, SimUdp};
pub use self::rng::Rng;
use self::route::Cut;
pub use self::route::Route;
use self::stream::End;
use self::udp::UdpSock;

/// A simulated world: a clock, a network in memory, and the seed that decides all that is random in it.
///
/// Clones are the same world. See the [module](crate::sim) for how to use it.
#[derive(Clone)]
pub struct Sim {
    world: Rc<RefCell<World>>,
    clock: ManualClock,
    /// What the machines' wall clocks show, less the time that has passed: since 1970.
    wall: Rc<Cell<Duration>>,
    epoch: Instant,
    seed: u64,
}

pub(crate) type SockId = Key;

/// Everything in a simulation but the managers.
pub(crate) struct World {
    clock: ManualClock,
    rng: Rng,
    faults: Faults,
    socks: Table<Sock>,
    agenda: BinaryHeap<Reverse<Planned>>,
    order: u64,
    /// Calls that are due, to be made when nothing of the world is borrowed.
    calls: VecDeque<Call>,
    reactors: Vec<Waiting>,
    tcp: BTreeMap<SocketAddr, SockId>,
    unix: BTreeMap<PathBuf, SockId>,
    udp: BTreeMap<SocketAddr, SockId>,
    /// Who hears what is sent to a multicast address.
    groups: BTreeMap<SocketAddr, BTreeSet<SocketAddr>>,
    last_port: u16,
    last_ip: u32,
    routes: BTreeMap<IpAddr, Route>,
    cuts: Vec<Cut>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
    lookups: BTreeMap<u64, Lookup>,
    trace: bool,
}

pub(crate) type Call = Box<dyn FnOnce(&Sim)>;

/// One socket, with what a reactor wants to know of it.
struct Sock {
    kind: Kind,
    watched: Option<Watched>,
    /// In its reactor's list.
    queued: bool,
}

enum Kind {
    Stream(Box<End>),
    Listener(Listen),
    Udp(UdpSock),
}

#[derive(Clone, Copy)]
struct Watched {
    reactor: usize,
    token: Token,
    watch: Watch,
}

/// The sockets whose readiness has changed since their reactor was last asked: epoll's ready list.
#[derive(Default)]
struct Waiting {
    ready: VecDeque<SockId>,
}

/// The bits of readiness, as epoll has them.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Mask(u8);

impl Mask {
    const IN: Self = Self(1);
    const OUT: Self = Self(2);
    const RDHUP: Self = Self(4);
    const HUP: Self = Self(8);
    const ERR: Self = Self(16);
    const ALL: Self = Self(31);

    fn has(self, bits: Self) -> bool {
        self.0 & bits.0 != 0
    }

    fn and(self, bits: Self) -> Self {
        Self(self.0 & bits.0)
    }

    fn with(self, bits: Self, on: bool) -> Self {
        if on { Self(self.0 | bits.0) } else { self }
    }

    /// What a watcher of this kind is told about.
    fn of(watch: Watch) -> Self {
        match watch {
            Watch::Read => Self(Self::ALL.0 & !Self::OUT.0),
            Watch::Both => Self::ALL,
        }
    }
}

/// Something that will happen.
struct Planned {
    at: Duration,
    order: u64,
    what: Happening,
}

enum Happening {
    /// The next segments of a stream arrive.
    Wire(SockId),
    /// A peer has read this much, so that a stream may send as much more.
    Space(SockId, usize),
    /// A connection request arrives; after so many in vain.
    Request {
        from: SockId,
        to: SocketAddr,
        tries: u32,
    },
    /// A datagram arrives.
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        sender: SockId,
        data: Vec<u8>,
    },
    /// Nobody listens where a datagram was sent.
    Unreachable(SockId),
    /// A socket that was said not to be ready is.
    Ready(SockId),
    /// A name has been looked up.
    Lookup(u64),
    Call(Call),
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Whoever gets an address of its own gets one above this.
const FIRST_IP: Ipv4Addr = Ipv4Addr::new(10, 90, 0, 0);

/// Bytes that a direction of a connection holds where the faults do not say.
const BUFFER: usize = 256 * 1024;

impl Sim {
    pub(crate) fn with_seed(seed: u64) -> Self {
        let clock = ManualClock::new();
        let world = World {
            clock: clock.clone(),
            rng: Rng::new(seed ^ 0x5eed_0fa3_0730),
            faults: Faults::none(),
            socks: Table::new(),
            agenda: BinaryHeap::new(),
            order: 0,
            calls: VecDeque::new(),
            reactors: Vec::new(),
            tcp: BTreeMap::new(),
            unix: BTreeMap::new(),
            udp: BTreeMap::new(),
            groups: BTreeMap::new(),
            last_port: 49_151,
            last_ip: 0,
            routes: BTreeMap::new(),
            cuts: Vec::new(),
            hosts: BTreeMap::new(),
            lookups: BTreeMap::new(),
            trace: false,
        };
        let wall = Rc::new(Cell::new(Y2K));
        Self { world: Rc::new(RefCell::new(world)), clock, wall, epoch: Instant::now(), seed }
    }

    pub(crate) fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }

    pub(crate) fn clock(&self) -> &ManualClock {
        &self.clock
    }

    pub(crate) fn wall(&self) -> &Rc<Cell<Duration>> {
        &self.wall
    }

    /// What the managers of this world call zero.
    pub(crate) fn epoch(&self) -> Instant {
        self.epoch
    }

    pub(crate) fn seed_number(&self) -> u64 {
        self.seed
    }

    /// Nothing that is planned will happen any more.
    #[cfg_attr(not(all(feature = "http", feature = "broker", feature = "dns", feature = "sntp")), allow(dead_code))]
    pub(crate) fn forget_plans(&self) {
        let (agenda, calls) = {
            let mut world = self.world();
            (std::mem::take(&mut world.agenda), std::mem::take(&mut world.calls))
        };
        // What they hold may be sockets of this world.
        drop((agenda, calls));
    }

    /// Has everything happen that is due by now.
    pub(crate) fn do_due(&self) {
        loop {
            let mut world = self.world();
            world.do_due();
            let Some(call) = world.calls.pop_front() else { return };
            // A call may do anything to the world.
            drop(world);
            call(self);
        }
    }

    /// Moves the time on to the next thing that happens, at the most to `until`, and has it happen. False when nothing
    /// more will, and `until` is not said.
    pub(crate) fn wait_until(&self, until: Option<Duration>) -> bool {
        let next = self.world().next_at();
        let Some(at) = [next, until].into_iter().flatten().min() else { return false };
        self.clock.set(at.max(self.clock.elapsed()));
        self.do_due();
        true
    }
}

impl World {
    pub(crate) fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    pub(crate) fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    pub(crate) fn set_trace(&mut self, on: bool) {
        self.trace = on;
    }

    /// When something happens next.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        if self.calls.is_empty() { self.agenda.peek().map(|next| next.0.at) } else { Some(self.now()) }
    }

    pub(crate) fn open_sockets(&self) -> usize {
        self.socks.len()
    }

    /// A reactor has something to tell.
    pub(crate) fn is_ready(&self, reactor: usize) -> bool {
        self.reactors.get(reactor).is_some_and(|waiting| !waiting.ready.is_empty())
    }

    pub(crate) fn add_reactor(&mut self) -> usize {
        self.reactors.push(Waiting::default());
        self.reactors.len() - 1
    }

    /// An address of its own for whoever comes to live here.
    pub(crate) fn new_ip(&mut self) -> IpAddr {
        self.last_ip += 1;
        // There is room for ten million.
        Ipv4Addr::from_bits(FIRST_IP.to_bits() + self.last_ip).into()
    }

    fn plan(&mut self, at: Duration, what: Happening) {
        self.order += 1;
        self.agenda.push(Reverse(Planned { at, order: self.order, what }));
    }

    pub(crate) fn plan_call(&mut self, at: Duration, call: Call) {
        self.plan(at, Happening::Call(call));
    }

    /// A moment from now, as long as the network takes.
    fn later(&mut self) -> Duration {
        self.clock.elapsed() + self.rng.time(&self.faults.latency)
    }

    /// A system call takes its time, and the network goes on meanwhile.
    fn enter_call(&mut self) {
        if !self.faults.call_time.is_empty() {
            let time = self.rng.time(&self.faults.call_time);
            self.clock.advance(time);
            self.do_due();
        }
    }

    fn do_due(&mut self) {
        while self.agenda.peek().is_some_and(|next| next.0.at <= self.now()) {
            let Some(Reverse(next)) = self.agenda.pop() else { break };
            match next.what {
                Happening::Wire(id) => self.arrive(id),
                Happening::Space(id, bytes) => self.give_space(id, bytes),
                Happening::Request { from, to, tries } => self.request_arrives(from, to, tries),
                Happening::Datagram { from, to, sender, data } => self.datagram_arrives(from, to, sender, data),
                Happening::Unreachable(id) => self.tell_unreachable(id),
                Happening::Ready(id) => self.edge(id, Mask::ALL),
                Happening::Lookup(id) => self.lookup_ends(id),
                Happening::Call(call) => self.calls.push_back(call),
            }
        }
    }

    fn add(&mut self, kind: Kind) -> SockId {
        self.socks.insert(Sock { kind, watched: None, queued: false })
    }

    fn end(&mut self, id: SockId) -> Option<&mut End> {
        match &mut self.socks.get_mut(id)?.kind {
            Kind::Stream(end) => Some(end),
            Kind::Listener(_) | Kind::Udp(_) => None,
        }
    }

    fn listen(&mut self, id: SockId) -> Option<&mut Listen> {
        match &mut self.socks.get_mut(id)?.kind {
            Kind::Listener(listen) => Some(listen),
            Kind::Stream(_) | Kind::Udp(_) => None,
        }
    }

    fn udp_sock(&mut self, id: SockId) -> Option<&mut UdpSock> {
        match &mut self.socks.get_mut(id)?.kind {
            Kind::Udp(sock) => Some(sock),
            Kind::Stream(_) | Kind::Listener(_) => None,
        }
    }

    /// Watches a socket, or watches it otherwise. What it is ready for now counts as a change, as with epoll.
    pub(crate) fn watch(&mut self, id: SockId, reactor: usize, token: Token, watch: Watch) {
        if let Some(sock) = self.socks.get_mut(id) {
            sock.watched = Some(Watched { reactor, token, watch });
            sock.kind.look();
            if !sock.kind.mask().and(Mask::of(watch)).is_empty() {
                self.edge(id, Mask::ALL);
            }
        }
    }

    /// A socket's readiness has changed in these bits: who watches them will be told.
    fn edge(&mut self, id: SockId, bits: Mask) {
        let Some(sock) = self.socks.get_mut(id) else { return };
        let Some(watched) = sock.watched else { return };
        if sock.queued || bits.and(Mask::of(watched.watch)).is_empty() || self.rng.chance(self.faults.lose_edge) {
            return;
        }
        sock.queued = true;
        self.reactors[watched.reactor].ready.push_back(id);
    }

    /// Tells what has changed. A change that is over by now is none.
    pub(crate) fn collect(&mut self, reactor: usize, into: &mut Vec<Ready>) {
        let mut list = std::mem::take(&mut self.reactors[reactor].ready);
        if self.rng.chance(self.faults.shuffle) {
            self.rng.shuffle(list.make_contiguous());
            let keep = self.rng.below(list.len());
            self.reactors[reactor].ready = list.split_off(list.len() - keep);
        }
        for id in list {
            if let Some(ready) = self.tell(id) {
                into.push(ready);
            }
        }
        if self.rng.chance(self.faults.spurious) {
            self.tell_a_lie(reactor, into);
        }
    }

    fn tell(&mut self, id: SockId) -> Option<Ready> {
        let sock = self.socks.get_mut(id)?;
        sock.queued = false;
        let watched = sock.watched?;
        sock.kind.look();
        let mask = sock.kind.mask().and(Mask::of(watched.watch));
        if mask.is_empty() {
            return None;
        }
        // The bits of mio's events on epoll.
        let read_closed = mask.has(Mask::HUP) || (mask.has(Mask::IN) && mask.has(Mask::RDHUP));
        if let Kind::Stream(end) = &mut sock.kind {
            end.told_of_end |= read_closed;
        }
        let hung_up = mask.has(Mask::HUP) || mask.has(Mask::ERR);
        let (readable, writable) = (mask.has(Mask::IN), mask.has(Mask::OUT));
        if self.trace {
            let at = self.now();
            eprintln!("{at:>12?} {id} tells in={readable} out={writable} end={read_closed} over={hung_up}");
        }
        Some(Ready { token: watched.token, readable, writable, read_closed, hung_up })
    }

    /// Says of some socket that it is ready for what it is watched for.
    fn tell_a_lie(&mut self, reactor: usize, into: &mut Vec<Ready>) {
        let watched: Vec<Watched> = self
            .socks
            .iter()
            .filter_map(|(_, sock)| sock.watched.filter(|watched| watched.reactor == reactor))
            .collect();
        if !watched.is_empty() {
            let Watched { token, watch, .. } = *self.rng.pick(&watched);
            into.push(Ready {
                token,
                readable: true,
                writable: watch == Watch::Both,
                read_closed: false,
                hung_up: false,
            });
        }
    }

    /// An address that nothing is bound to.
    fn free_port(&mut self, ip: IpAddr) -> SocketAddr {
        loop {
            self.last_port = if self.last_port == u16::MAX { 49_152 } else { self.last_port + 1 };
            let addr = SocketAddr::new(ip, self.last_port);
            if !self.tcp.contains_key(&addr) && !self.udp.contains_key(&addr) {
                return addr;
            }
        }
    }

    fn log(&self, id: SockId, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>12?} {id} {}", self.now(), what());
        }
    }
}

impl Mask {
    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Kind {
    fn look(&mut self) {
        match self {
            Kind::Stream(end) => end.look(),
            Kind::Listener(_) | Kind::Udp(_) => {}
        }
    }

    fn mask(&self) -> Mask {
        match self {
            Kind::Stream(end) => end.mask(),
            Kind::Listener(listen) => listen.mask(),
            Kind::Udp(sock) => sock.mask(),
        }
    }
}

/// Who is bound to the address, or to all addresses with its port.
fn bound<T: Copy>(map: &BTreeMap<SocketAddr, T>, addr: SocketAddr) -> Option<T> {
    let any4 = SocketAddr::from(([0, 0, 0, 0], addr.port()));
    let any6 = SocketAddr::from(([0u16; 8], addr.port()));
    let any = if addr.is_ipv4() { [any4, any6] } else { [any6, any6] };
    map.get(&addr).or_else(|| any.iter().find_map(|any| map.get(any))).copied()
}

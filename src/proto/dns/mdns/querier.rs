//! The side that asks: for the addresses of a host, once, and for services, for as long as somebody wants to know.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::super::message::{Data, Message, Question, Record, Type};
use super::super::name::Name;
use super::link::{Output, To};
use super::packet;
use super::service::Found;
use super::{NSEC, TOP_BIT, is_in_class, is_local, nsec_has};

#[derive(Debug)]
pub(super) struct Querier {
    /// The number of the interface.
    interface: u32,
    lookups: BTreeMap<u64, Lookup>,
    browses: BTreeMap<u64, Browse>,
    asks: BTreeMap<Key, Ask>,
    cache: BTreeMap<Key, Vec<Entry>>,
    cached: usize,
    cache_max: usize,
    pub(super) told: VecDeque<Told>,
    /// Records that there was no room for.
    pub(super) forgotten: u64,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The addresses of a host. The lookup is over.
    Addrs { ticket: u64, addrs: Vec<IpAddr> },
    /// Nobody has answered. The lookup is over.
    Silence { ticket: u64 },
    /// A service is there, or says something else of itself.
    Found { ticket: u64, found: Found },
    /// A service is gone: its name.
    Lost { ticket: u64, name: String },
}

type Key = (Name, Type);

#[derive(Debug)]
struct Lookup {
    name: Name,
    /// The other half of the addresses is not waited for any longer.
    half_until: Option<Instant>,
    until: Instant,
}

#[derive(Debug)]
struct Browse {
    kind: Name,
    /// What was told, by the name of the service.
    told: BTreeMap<Name, Found>,
}

/// A question that is asked until it is answered.
#[derive(Debug)]
struct Ask {
    next_at: Instant,
    wait: Duration,
}

#[derive(Debug)]
struct Entry {
    /// None: there is no such record.
    data: Option<Data>,
    ttl: u32,
    since: Instant,
    until: Instant,
    /// When it is asked for again, for as long as somebody wants it.
    refresh_at: Option<Instant>,
    /// It was taken back, or replaced.
    is_leaving: bool,
}

/// Nobody answers to a host's name after that.
const LOOKUP_TIME: Duration = Duration::from_secs(3);
/// With addresses of one kind there, those of the other are waited for so long.
const HALF_TIME: Duration = Duration::from_millis(200);
/// RFC 6762 §5.2: each question waits twice as long as the one before.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// RFC 6762 §10.1, §10.2: what is taken back is forgotten a second later.
const LINGER: Duration = Duration::from_secs(1);
/// No record is kept longer, whatever it says of itself.
const TTL_MAX: u32 = 86_400;
/// Records of one name and type: services of a kind, addresses of a host.
const SET_MAX: usize = 64;
/// Questions in one message.
const QUESTIONS_MAX: usize = 16;
/// Kinds of services that are looked for at a time.
const BROWSES_MAX: usize = 16;

impl Querier {
    pub(super) fn new(interface: u32, cache_max: usize) -> Self {
        Self {
            interface,
            lookups: BTreeMap::new(),
            browses: BTreeMap::new(),
            asks: BTreeMap::new(),
            cache: BTreeMap::new(),
            cached: 0,
            cache_max,
            told: VecDeque::new(),
            forgotten: 0,
        }
    }

    /// Asks for the addresses of a host.
    pub(super) fn resolve(&mut self, ticket: u64, name: Name, now: Instant) {
        self.lookups.insert(ticket, Lookup { name, half_until: None, until: now + LOOKUP_TIME });
        self.go_on(now);
    }

    /// Looks for services of a kind. False where too many kinds are looked for.
    pub(super) fn browse(&mut self, ticket: u64, kind: Name, now: Instant) -> bool {
        if self.browses.len() >= BROWSES_MAX {
            return false;
        }
        self.browses.insert(ticket, Browse { kind, told: BTreeMap::new() });
        self.go_on(now);
        true
    }

    /// Nobody wants to know any more.
    pub(super) fn cancel(&mut self, ticket: u64, now: Instant) {
        self.lookups.remove(&ticket);
        self.browses.remove(&ticket);
        self.go_on(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let lookups = self.lookups.values().map(|lookup| lookup.half_until.unwrap_or(lookup.until).min(lookup.until));
        let asks = self.asks.values().map(|ask| ask.next_at);
        // What nobody wants is forgotten when there is something else to do.
        let wanted = self.asks.keys().filter_map(|key| self.cache.get(key)).flatten();
        let refresh = wanted.filter_map(|entry| entry.refresh_at);
        let ends = self.browses.values().filter_map(|browse| {
            let entries = self.cache.get(&(browse.kind.clone(), Type::PTR))?;
            entries.iter().map(|entry| entry.until).min()
        });
        let leaving = self.cache.values().flatten().filter(|entry| entry.is_leaving).map(|entry| entry.until);
        let ends = ends.chain(leaving);
        lookups.chain(asks).chain(refresh).chain(ends).min()
    }

    /// Asks what is due, and draws the consequences of what is over.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.go_on(now);
        for (key, entries) in &mut self.cache {
            let Some(ask) = self.asks.get_mut(key) else { continue };
            for entry in entries.iter_mut().filter(|entry| entry.refresh_at.is_some_and(|at| at <= now)) {
                // RFC 6762 §5.2: at 80 % of its time and once more at 90 %.
                let again = entry.since + Duration::from_secs(u64::from(entry.ttl)).mul_f64(0.9);
                entry.refresh_at = Some(again).filter(|again| *again > now);
                ask.next_at = now;
            }
        }
        let due: Vec<Key> =
            self.asks.iter().filter(|(_, ask)| ask.next_at <= now).map(|(key, _)| key.clone()).collect();
        for keys in due.chunks(QUESTIONS_MAX) {
            let mut known = Vec::new();
            for key in keys {
                if let Some(ask) = self.asks.get_mut(key) {
                    ask.next_at = now + ask.wait;
                    ask.wait = (ask.wait * 2).min(WAIT_MAX);
                }
                known.extend(self.known(key, now));
            }
            let questions = keys.iter().map(|(name, rtype)| Question::new(name.clone(), *rtype)).collect();
            out.extend(packet::query(questions, known).into_iter().map(|bytes| Output { to: To::Group, bytes }));
        }
    }

    /// What is known well enough for it not to be told again (RFC 6762 §7.1).
    fn known<'a>(&'a self, key: &'a Key, now: Instant) -> impl Iterator<Item = Record> + 'a {
        let fresh = self.cache.get(key).into_iter().flatten().filter_map(move |entry| {
            let left = entry.until.saturating_duration_since(now).as_secs() as u32;
            let data = entry.data.clone().filter(|_| left > 0 && left >= entry.ttl / 2)?;
            Some(Record::new(key.0.clone(), left, data))
        });
        // Of unique records there is one answer.
        fresh.filter(|_| key.1 == Type::PTR)
    }

    /// Others have answered, or told something.
    pub(super) fn handle_response(&mut self, message: &Message, now: Instant) {
        let records = || message.answers.iter().chain(&message.additional);
        let usable = |record: &&Record| is_in_class(record) && is_local(&record.name);
        let is_asked = |record: &Record| {
            let key = |rtype| self.asks.contains_key(&(record.name.clone(), rtype));
            match record.data.rtype() {
                NSEC => key(Type::A) || key(Type::AAAA) || key(Type::SRV) || key(Type::TXT),
                rtype => key(rtype),
            }
        };
        // What nobody asked for is kept only along with what somebody did.
        let is_answer = !self.asks.is_empty() && records().filter(usable).any(is_asked);
        let mut is_news = false;
        for record in records().filter(usable) {
            is_news |= self.hear(record, is_answer, message, now);
        }
        if is_news {
            self.go_on(now);
        }
    }

    fn hear(&mut self, record: &Record, is_answer: bool, message: &Message, now: Instant) -> bool {
        match record.data.rtype() {
            Type::A | Type::AAAA | Type::PTR | Type::SRV | Type::TXT => {}
            NSEC if is_answer => {
                let mut is_news = false;
                for rtype in [Type::A, Type::AAAA] {
                    let key = (record.name.clone(), rtype);
                    if nsec_has(&record.data, rtype) == Some(false) && self.asks.contains_key(&key) {
                        self.forget(&key);
                        is_news |= self.keep(key, None, record.ttl, now);
                    }
                }
                return is_news;
            }
            _ => return false,
        }
        let key = (record.name.clone(), record.data.rtype());
        if !is_answer && !self.cache.contains_key(&key) {
            return false;
        }
        let mut is_news = false;
        if record.class & TOP_BIT != 0
            && let Some(entries) = self.cache.get_mut(&key)
        {
            // Those of the same message stay (RFC 6762 §10.2).
            let stays = |entry: &Entry| {
                let said = |other: &Record| other.name == key.0 && Some(&other.data) == entry.data.as_ref();
                message.answers.iter().chain(&message.additional).any(said)
            };
            for entry in entries.iter_mut().filter(|entry| entry.since + LINGER <= now && !stays(entry)) {
                entry.leave(now);
                is_news = true;
            }
        }
        if record.ttl == 0 {
            let known = self.cache.get_mut(&key).into_iter().flatten();
            for entry in known.filter(|entry| entry.data.as_ref() == Some(&record.data)) {
                entry.leave(now);
                is_news = true;
            }
            return is_news;
        }
        self.keep(key, Some(record.data.clone()), record.ttl, now) || is_news
    }

    fn keep(&mut self, key: Key, data: Option<Data>, ttl: u32, now: Instant) -> bool {
        let ttl = ttl.min(TTL_MAX);
        let time = Duration::from_secs(u64::from(ttl));
        let refresh_at = Some(now + time.mul_f64(0.8));
        let entry = Entry { data, ttl, since: now, until: now + time, refresh_at, is_leaving: false };
        let set = self.cache.get_mut(&key);
        if let Some(set) = set {
            if let Some(known) = set.iter_mut().find(|known| known.data == entry.data) {
                *known = entry;
                return true;
            }
            if set.len() >= SET_MAX {
                self.forgotten += 1;
                return false;
            }
        }
        if self.cached >= self.cache_max && !self.make_room() {
            return false;
        }
        // That there is none is refuted by one.
        let set = self.cache.entry(key).or_default();
        let before = set.len();
        set.retain(|known| known.data.is_some() == entry.data.is_some());
        self.cached = self.cached + set.len() + 1 - before;
        set.push(entry);
        true
    }

    /// Forgets the record that is over first, of those that nobody waits for.
    fn make_room(&mut self) -> bool {
        self.forgotten += 1;
        let asks = &self.asks;
        let idle = self.cache.iter().filter(|(key, _)| !asks.contains_key(*key));
        let first = idle.filter_map(|(key, set)| Some((set.iter().map(|entry| entry.until).min()?, key.clone()))).min();
        first.is_some_and(|(_, key)| {
            self.forget(&key);
            true
        })
    }

    fn forget(&mut self, key: &Key) {
        if let Some(set) = self.cache.remove(key) {
            self.cached -= set.len();
        }
    }

    /// Tells what is known, and asks for what is not.
    fn go_on(&mut self, now: Instant) {
        let mut left = 0;
        self.cache.retain(|_, set| {
            set.retain(|entry| entry.until > now);
            left += set.len();
            !set.is_empty()
        });
        self.cached = left;
        let mut wanted = BTreeSet::new();
        self.go_on_looking_up(now, &mut wanted);
        self.go_on_browsing(&mut wanted);
        self.asks.retain(|key, _| wanted.contains(key));
        for key in wanted {
            self.asks.entry(key).or_insert(Ask { next_at: now, wait: WAIT });
        }
    }

    fn go_on_looking_up(&mut self, now: Instant, wanted: &mut BTreeSet<Key>) {
        let cache = &self.cache;
        let told = &mut self.told;
        self.lookups.retain(|&ticket, lookup| {
            let sets = [Type::AAAA, Type::A].map(|rtype| cache.get(&(lookup.name.clone(), rtype)));
            let addrs = addrs_of(sets);
            let is_whole = sets.iter().all(Option::is_some);
            if !addrs.is_empty() && !is_whole {
                let half = *lookup.half_until.get_or_insert(now + HALF_TIME);
                if half > now && lookup.until > now {
                    wanted.extend([Type::AAAA, Type::A].map(|rtype| (lookup.name.clone(), rtype)));
                    return true;
                }
            }
            match (addrs.is_empty(), is_whole || lookup.until <= now) {
                (false, _) => told.push_back(Told::Addrs { ticket, addrs }),
                (true, true) => told.push_back(Told::Silence { ticket }),
                (true, false) => {
                    wanted.extend([Type::AAAA, Type::A].map(|rtype| (lookup.name.clone(), rtype)));
                    return true;
                }
            }
            false
        });
    }

    fn go_on_browsing(&mut self, wanted: &mut BTreeSet<Key>) {
        let cache = &self.cache;
        for (&ticket, browse) in &mut self.browses {
            let kinds = (browse.kind.clone(), Type::PTR);
            let names: Vec<&Name> = data(cache.get(&kinds))
                .filter_map(|data| match data {
                    // Others may tell what they like: a service is one label below its kind.
                    Data::Ptr(name) if name.is_within(&browse.kind) => Some(name),
                    _ => None,
                })
                .filter(|name| name.labels().count() == browse.kind.labels().count() + 1)
                .collect();
            browse.told.retain(|name, found| {
                let stays = names.contains(&name);
                if !stays {
                    self.told.push_back(Told::Lost { ticket, name: found.name.clone() });
                }
                stays
            });
            for name in names {
                match find(cache, name, self.interface) {
                    Ok(found) if browse.told.get(name) == Some(&found) => {}
                    Ok(found) => {
                        browse.told.insert(name.clone(), found.clone());
                        self.told.push_back(Told::Found { ticket, found });
                    }
                    // What was told once is good until it is taken back.
                    Err(_) if browse.told.contains_key(name) => {}
                    Err(missing) => wanted.extend(missing),
                }
            }
            wanted.insert(kinds);
        }
    }
}

impl Entry {
    fn leave(&mut self, now: Instant) {
        (self.until, self.refresh_at, self.is_leaving) = (self.until.min(now + LINGER), None, true);
    }
}

fn data(set: Option<&Vec<Entry>>) -> impl Iterator<Item = &Data> {
    set.into_iter().flatten().filter_map(|entry| entry.data.as_ref())
}

fn addrs_of<const N: usize>(sets: [Option<&Vec<Entry>>; N]) -> Vec<IpAddr> {
    let ips = sets.into_iter().flat_map(data).filter_map(|data| match data {
        Data::A(ip) => Some(IpAddr::V4(*ip)),
        Data::Aaaa(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    });
    ips.collect()
}

/// All that is said of a service, or what has to be asked for.
fn find(cache: &BTreeMap<Key, Vec<Entry>>, name: &Name, interface: u32) -> Result<Found, Vec<Key>> {
    let get = |name: &Name, rtype| cache.get(&(name.clone(), rtype));
    let srv = data(get(name, Type::SRV)).find_map(|data| match data {
        Data::Srv(srv) => Some(srv),
        _ => None,
    });
    let txt = data(get(name, Type::TXT)).find_map(|data| match data {
        Data::Txt(texts) => Some(texts),
        _ => None,
    });
    let addrs = srv.map(|srv| addrs_of([Type::AAAA, Type::A].map(|rtype| get(&srv.target, rtype))));
    if let (Some(srv), Some(txt), Some(addrs)) = (srv, txt, &addrs)
        && !addrs.is_empty()
    {
        let label = name.labels().next().unwrap_or_default();
        let host = srv.target.to_string();
        let txt = txt.iter().filter(|text| !text.is_empty()).cloned().collect();
        let name = String::from_utf8_lossy(label).into_owned();
        return Ok(Found { name, host, port: srv.port, txt, addrs: addrs.clone(), interface });
    }
    let mut missing = Vec::new();
    if srv.is_none() {
        missing.push((name.clone(), Type::SRV));
    }
    if txt.is_none() {
        missing.push((name.clone(), Type::TXT));
    }
    if let Some(srv) = srv.filter(|srv| addrs.is_some_and(|addrs| addrs.is_empty()) && is_local(&srv.target)) {
        missing.extend([Type::AAAA, Type::A].map(|rtype| (srv.target.clone(), rtype)));
    }
    Err(missing)
}

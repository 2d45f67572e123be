//! The resolver: names to look up, datagrams and times in; queries to send, answers and deadlines out.
//!
//! A *lookup* is what somebody wants to know, under a ticket of the caller's. A *query* is one question to the servers, for
//! all lookups that need it. A *channel* is a socket that one try of a query is made through; its number is never used twice.
//!
//! The caller gives each input ([`resolve`](Stub::resolve), `handle_*`), then takes [`poll_output`](Stub::poll_output) until
//! there is nothing, and calls [`handle_timeout`](Stub::handle_timeout) at the time that [`poll_timeout`](Stub::poll_timeout)
//! tells.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use super::LookupError;
use super::answer::{Answer, CHAIN_MAX, Verdict, judge};
use super::cache::Cache;
use super::conf::Conf;
use super::hosts::Hosts;
use super::lookup::{Lookup, Part, Step};
use super::message::{Data, Flags, Message, Question, Type};
use super::name::Name;
use super::query::{Bits, Channel, Over, Query};

/// What to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// The addresses of a host.
    Addrs,
    /// Records of this type.
    Records(Type),
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Open a socket to this server only, from a port that nobody can know, and send this.
    Open { channel: u64, server: SocketAddr, over: Over, query: Vec<u8> },
    /// The socket is of no use any more.
    Close(u64),
    /// Addresses of a name; others may follow, unless these are the last. None at all only where others came before.
    Addrs { ticket: u64, addrs: Vec<IpAddr>, last: bool },
    /// The data of a name's records.
    Records { ticket: u64, data: Vec<Data> },
    /// The lookup is over.
    Failed { ticket: u64, error: LookupError },
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Queries sent.
    pub(crate) queries: u64,
    /// Answers to them.
    pub(crate) answers: u64,
    /// Bytes that answered nothing, or were no message.
    pub(crate) strays: u64,
    /// Questions that were answered from memory.
    pub(crate) cached: u64,
}

/// How it behaves, besides what the system's settings say.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    /// Give the letters of a question a case at random.
    pub(crate) random_case: bool,
    /// Lookups at a time; more are refused.
    pub(crate) lookups_max: usize,
    /// Answers that are kept.
    pub(crate) cache_max: usize,
}

/// The state of everything that is being looked up.
#[derive(Debug)]
pub(crate) struct Stub {
    conf: Conf,
    hosts: Hosts,
    ways: Ways,
    cache: Cache,
    lookups: BTreeMap<u64, Lookup>,
    queries: BTreeMap<Question, Query>,
    channels: BTreeMap<u64, Question>,
    /// Questions that wait until others are answered.
    waiting: VecDeque<Question>,
    planned: VecDeque<Planned>,
    last_channel: u64,
    begun: usize,
    counters: Counters,
}

/// An output; queries are written when they leave, so that all that is random comes in there.
#[derive(Debug)]
enum Planned {
    Open(u64),
    Ready(Output),
}

/// Questions that are asked at a time, each through a socket or two; more wait.
const QUERIES_MAX: usize = 64;

impl Stub {
    pub(crate) fn new(conf: Conf, hosts: Hosts, ways: Ways) -> Self {
        Self {
            conf,
            hosts,
            cache: Cache::new(ways.cache_max),
            ways,
            lookups: BTreeMap::new(),
            queries: BTreeMap::new(),
            channels: BTreeMap::new(),
            waiting: VecDeque::new(),
            planned: VecDeque::new(),
            last_channel: 0,
            begun: 0,
            counters: Counters::default(),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// The settings have changed. What is under way goes on.
    pub(crate) fn set_conf(&mut self, conf: Conf) {
        if conf.servers != self.conf.servers {
            self.cache.clear();
        }
        self.conf = conf;
    }

    pub(crate) fn set_hosts(&mut self, hosts: Hosts) {
        self.hosts = hosts;
    }

    /// Begins to look a name up. What comes of it comes as an output with the ticket, unless it is refused at once.
    pub(crate) fn resolve(&mut self, ticket: u64, text: &str, want: Want, now: Instant) -> Result<(), LookupError> {
        if self.lookups.len() >= self.ways.lookups_max {
            return Err(LookupError::Full);
        }
        if want == Want::Addrs
            && let Some(addrs) = self.known(text)
        {
            self.give(Output::Addrs { ticket, addrs, last: true });
            return Ok(());
        }
        let name: Name = text.parse().map_err(LookupError::BadName)?;
        if is_special(&name) {
            self.give(Output::Failed { ticket, error: LookupError::NoName });
            return Ok(());
        }
        let candidates = match want {
            Want::Addrs => self.conf.candidates(text, &name),
            // Services are named in full.
            Want::Records(_) => vec![name],
        };
        let deadline = now + self.conf.total_time();
        self.lookups.insert(ticket, Lookup::new(want, candidates, self.conf.no_aaaa, deadline));
        self.go_on(ticket, now);
        Ok(())
    }

    /// Addresses for which nobody is asked.
    fn known(&self, text: &str) -> Option<Vec<IpAddr>> {
        if let Ok(ip) = text.parse() {
            return Some(vec![ip]);
        }
        // RFC 6761 §6.3: whatever a table or a server says. IPv4 first: it is where `localhost` is listened on.
        let name = text.strip_suffix('.').unwrap_or(text);
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.eq_ignore_ascii_case("localhost") && text.parse::<Name>().is_ok() {
            return Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        self.hosts.get(text).map(<[IpAddr]>::to_vec)
    }

    /// Forgets a lookup: nothing more comes of it. A question that nobody else asks is dropped.
    pub(crate) fn cancel(&mut self, ticket: u64, now: Instant) {
        self.lookups.remove(&ticket);
        self.planned.retain(|planned| match planned {
            Planned::Open(_) | Planned::Ready(Output::Open { .. } | Output::Close(_)) => true,
            Planned::Ready(
                Output::Addrs { ticket: of, .. }
                | Output::Records { ticket: of, .. }
                | Output::Failed { ticket: of, .. },
            ) => *of != ticket,
        });
        self.leave(ticket, now);
    }

    /// Takes a ticket off every query.
    fn leave(&mut self, ticket: u64, now: Instant) {
        let mut unwanted = Vec::new();
        for (question, query) in &mut self.queries {
            query.tickets.retain(|of| *of != ticket);
            if query.tickets.is_empty() {
                unwanted.push(question.clone());
            }
        }
        for question in unwanted {
            self.end_query(&question);
        }
        self.start_waiting(now);
    }

    /// There is something to be done, or to be taken.
    pub(crate) fn has_output(&self) -> bool {
        !self.planned.is_empty()
    }

    /// How many outputs wait, at the most.
    pub(crate) fn output_len(&self) -> usize {
        self.planned.len()
    }

    /// What to do next.
    pub(crate) fn poll_output(&mut self, bits: Bits<'_>) -> Option<Output> {
        loop {
            match self.planned.pop_front()? {
                Planned::Ready(output) => return Some(output),
                Planned::Open(number) => {
                    // It may be over by now.
                    let Some(query) = self.channels.get(&number).and_then(|question| self.queries.get_mut(question))
                    else {
                        continue;
                    };
                    let Query { asked, channels, .. } = query;
                    let Some(channel) = channels.iter_mut().find(|channel| channel.number == number) else { continue };
                    let query = channel.encode(asked, self.ways.random_case, bits);
                    self.counters.queries += 1;
                    return Some(Output::Open { channel: number, server: channel.server, over: channel.over, query });
                }
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let queries = self.queries.values().filter_map(|query| query.next_at);
        let lookups = self.lookups.values().map(Lookup::next_at);
        queries.chain(lookups).min()
    }

    /// Draws the consequences of what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let late = |query: &&Query| query.next_at.is_some_and(|at| at <= now);
        let late: Vec<Question> =
            self.queries.iter().filter(|(_, query)| late(query)).map(|(question, _)| question.clone()).collect();
        for question in late {
            self.try_next(&question, now);
        }
        let due = self.lookups.iter().filter(|(_, lookup)| lookup.next_at() <= now);
        for ticket in due.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.go_on(ticket, now);
        }
    }

    /// A message has come through a channel, without the length that a stream has before it.
    pub(crate) fn handle_message(&mut self, channel: u64, from: SocketAddr, bytes: &[u8], now: Instant) {
        let question = self.channels.get(&channel).cloned();
        let known = question.and_then(|question| {
            let channel = self.queries.get(&question)?.channel(channel)?;
            let flags = channel.is_answered_by(from, bytes)?;
            // What was cut short need not be whole records.
            let is_cut = flags.has(Flags::TRUNCATED);
            let message = if is_cut { None } else { Some(Message::decode(bytes).ok()?) };
            Some((question, channel.server, channel.over, channel.edns, message))
        });
        let Some((question, server, over, edns, message)) = known else {
            self.counters.strays += 1;
            // A stream that talks nonsense will not find its way back; a datagram's sender may be anybody.
            return self.nonsense(channel, now);
        };
        self.counters.answers += 1;
        let Some(message) = message else {
            return match over {
                // RFC 7766 §5.
                Over::Udp => self.replace(&question, channel, server, Over::Tcp, edns, now),
                Over::Tcp => self.channel_over(channel, LookupError::Server { server, code: 0 }, now),
            };
        };
        let Some(query) = self.queries.get_mut(&question) else { return };
        match judge(&message, &query.asked) {
            Verdict::Answer(answer, seconds) => {
                let seconds = seconds.min(query.ttl);
                self.cache.put(question.clone(), answer.clone(), seconds, now);
                self.finish(&question, Ok(answer), now);
            }
            Verdict::Goes(..) if query.hops >= CHAIN_MAX => self.finish(&question, Err(LookupError::Endless), now),
            Verdict::Goes(name, seconds) => {
                query.hops += 1;
                query.ttl = query.ttl.min(seconds);
                query.asked.name = name;
                query.tries = 0;
                self.close_channels(&question, 0);
                self.try_next(&question, now);
            }
            Verdict::Endless => self.finish(&question, Err(LookupError::Endless), now),
            Verdict::NoEdns if edns => {
                self.replace(&question, channel, server, over, false, now);
            }
            Verdict::NoEdns => {
                let code = message.rcode();
                self.channel_over(channel, LookupError::Server { server, code }, now);
            }
            Verdict::Failed(code) => self.channel_over(channel, LookupError::Server { server, code }, now),
        }
    }

    /// A channel could not be opened, or was cut off: the next try is due.
    pub(crate) fn handle_failed(&mut self, channel: u64, now: Instant) {
        let server = self.channels.get(&channel).and_then(|question| self.queries.get(question)?.channel(channel));
        if let Some(server) = server.map(|channel| channel.server) {
            self.channel_over(channel, LookupError::Unreachable(server), now);
        }
    }

    fn nonsense(&mut self, number: u64, now: Instant) {
        let channel = self.channels.get(&number).and_then(|question| self.queries.get(question)?.channel(number));
        if channel.is_some_and(|channel| channel.over == Over::Tcp) {
            self.handle_failed(number, now);
        }
    }

    fn give(&mut self, output: Output) {
        self.planned.push_back(Planned::Ready(output));
    }

    /// Takes a lookup as far as it goes without the servers.
    fn go_on(&mut self, ticket: u64, now: Instant) {
        loop {
            let Some(lookup) = self.lookups.get_mut(&ticket) else { return };
            let step = lookup.step(now);
            match step {
                Step::Ask(questions) => {
                    for question in questions {
                        self.ask(question, ticket, now);
                    }
                }
                Step::Wait => return,
                Step::Give { addrs, last } => {
                    self.give(Output::Addrs { ticket, addrs, last });
                    if last {
                        return self.end_lookup(ticket, now);
                    }
                }
                Step::Records(data) => {
                    self.give(Output::Records { ticket, data });
                    return self.end_lookup(ticket, now);
                }
                Step::Failed(error) => {
                    self.give(Output::Failed { ticket, error });
                    return self.end_lookup(ticket, now);
                }
            }
        }
    }

    fn end_lookup(&mut self, ticket: u64, now: Instant) {
        self.lookups.remove(&ticket);
        self.leave(ticket, now);
    }

    /// Asks for a ticket, together with all who ask the same.
    fn ask(&mut self, question: Question, ticket: u64, now: Instant) {
        if let Some(answer) = self.cache.get(&question, now) {
            self.counters.cached += 1;
            if let Some(lookup) = self.lookups.get_mut(&ticket) {
                lookup.answered(&question, answer.clone().into());
            }
            return;
        }
        if let Some(query) = self.queries.get_mut(&question) {
            return query.tickets.push(ticket);
        }
        let first = if self.conf.rotate { self.begun } else { 0 };
        self.begun = self.begun.wrapping_add(1);
        self.queries.insert(question.clone(), Query::new(question.clone(), ticket, first));
        self.waiting.push_back(question);
        self.start_waiting(now);
    }

    /// Starts the questions for which there is room.
    fn start_waiting(&mut self, now: Instant) {
        self.waiting.retain(|question| self.queries.contains_key(question));
        while self.queries.len() - self.waiting.len() < QUERIES_MAX {
            let Some(question) = self.waiting.pop_front() else { return };
            self.try_next(&question, now);
        }
    }

    /// Asks the next server, or gives up.
    fn try_next(&mut self, question: &Question, now: Instant) {
        let Some(query) = self.queries.get_mut(question) else { return };
        let count = self.conf.servers.len();
        let server = match query.tries {
            tries if tries >= self.conf.tries() => Err(query.error.clone()),
            tries => {
                let at = query.first.wrapping_add(tries as usize) % count.max(1);
                self.conf.servers.get(at).copied().ok_or(LookupError::NoServer)
            }
        };
        match server {
            Ok(server) => {
                // Some drop what they do not know (RFC 6891 §6.2.2): who did not answer the first time is asked without EDNS.
                let edns = query.tries < count as u32;
                query.tries += 1;
                let over = if self.conf.use_tcp { Over::Tcp } else { Over::Udp };
                self.open(question, server, over, edns, now);
            }
            Err(error) => self.finish(question, Err(error), now),
        }
    }

    fn open(&mut self, question: &Question, server: SocketAddr, over: Over, edns: bool, now: Instant) {
        let Some(query) = self.queries.get_mut(question) else { return };
        self.last_channel += 1;
        query.channels.push(Channel::new(self.last_channel, server, over, edns));
        query.next_at = Some(now + self.conf.try_time());
        self.channels.insert(self.last_channel, question.clone());
        self.planned.push_back(Planned::Open(self.last_channel));
        // The answer to the try before may only be slow.
        self.close_channels(question, 2);
    }

    /// Asks the same server in another way.
    fn replace(&mut self, question: &Question, number: u64, server: SocketAddr, over: Over, edns: bool, now: Instant) {
        self.close(question, number);
        self.open(question, server, over, edns, now);
    }

    /// A channel has brought nothing of use. The next server is asked, unless one is being asked already.
    fn channel_over(&mut self, number: u64, error: LookupError, now: Instant) {
        let Some(question) = self.channels.get(&number).cloned() else { return };
        let Some(query) = self.queries.get_mut(&question) else { return };
        query.error = error;
        let is_latest = query.channels.last().is_some_and(|channel| channel.number == number);
        self.close(&question, number);
        if is_latest {
            self.try_next(&question, now);
        }
    }

    fn close(&mut self, question: &Question, number: u64) {
        if let Some(query) = self.queries.get_mut(question) {
            query.channels.retain(|channel| channel.number != number);
        }
        if self.channels.remove(&number).is_some() {
            self.give(Output::Close(number));
        }
    }

    /// Closes a query's channels but the latest few.
    fn close_channels(&mut self, question: &Question, keep: usize) {
        let Some(query) = self.queries.get(question) else { return };
        let old = query.channels.len().saturating_sub(keep);
        for number in query.channels[..old].iter().map(|channel| channel.number).collect::<Vec<_>>() {
            self.close(question, number);
        }
    }

    fn end_query(&mut self, question: &Question) -> Option<Query> {
        self.close_channels(question, 0);
        self.queries.remove(question)
    }

    /// A question is answered, or will not be: all who asked are told.
    fn finish(&mut self, question: &Question, result: Result<Answer, LookupError>, now: Instant) {
        let Some(query) = self.end_query(question) else { return };
        for ticket in query.tickets {
            if let Some(lookup) = self.lookups.get_mut(&ticket) {
                let part = match &result {
                    Ok(answer) => Part::from(answer.clone()),
                    Err(error) => Part::Failed(error.clone()),
                };
                lookup.answered(question, part);
                self.go_on(ticket, now);
            }
        }
        self.start_waiting(now);
    }
}

/// Names that no server is to be asked for: RFC 6761 §6.4 (`invalid`), RFC 7686 §2 (`onion`), and hosts of this machine.
fn is_special(name: &Name) -> bool {
    let last = name.labels().last().unwrap_or_default();
    ["invalid", "onion", "localhost"].iter().any(|special| last.eq_ignore_ascii_case(special.as_bytes()))
}

#[cfg(test)]
mod tests;

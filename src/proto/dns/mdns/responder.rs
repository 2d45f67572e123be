//! The side that answers: names are made sure of, told, and defended.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::message::{CLASS_IN, Data, Flags, Message, Question, Record};
use super::super::name::Name;
use super::super::query::Bits;
use super::link::{Output, To};
use super::own::{Claim, Of, Own, State};
use super::packet;
use super::service::Service;
use super::{ANY, CLASS_ANY, NSEC, TOP_BIT, is_in_class, is_same};

#[derive(Debug)]
pub(super) struct Responder {
    /// What the host is to be called.
    host: String,
    addrs: Vec<IpAddr>,
    /// The host first, once anything is announced.
    claims: Vec<Claim>,
    /// When names were found to be taken, of late.
    conflicts: VecDeque<Instant>,
    /// Names that had to be changed: whose, and the number that they have now.
    pub(super) renamed: VecDeque<(Option<u64>, u32)>,
    /// Answers to one asker that may still be sent, and when it was counted.
    allowance: (u32, Instant),
    pub(super) counters: Counters,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) conflicts: u64,
    pub(super) limited: u64,
}

/// RFC 6762 §8.1.
const PROBES: u32 = 3;
const PROBE_SPACING: Duration = Duration::from_millis(250);
/// RFC 6762 §8.2: the loser of a tie asks again then.
const TIE_WAIT: Duration = Duration::from_secs(1);
/// RFC 6762 §8.1: that many conflicts in that time, and each further probe waits.
const CONFLICTS_MAX: usize = 15;
const CONFLICTS_TIME: Duration = Duration::from_secs(10);
const CONFLICTS_WAIT: Duration = Duration::from_secs(5);
/// RFC 6762 §8.3: twice, a second apart.
const ANNOUNCEMENTS: u32 = 2;
const ANNOUNCEMENT_SPACING: Duration = Duration::from_secs(1);
/// RFC 6762 §6.7: what is told to those who do not know of multicast is good for so many seconds at most.
const LEGACY_TTL: u32 = 10;
/// Questions of one message that are looked at.
const QUESTIONS_MAX: usize = 64;
/// Answers to single askers in a second. Who asks in the name of another gets him no more than that.
const UNICASTS_PER_SECOND: u32 = 50;

impl Responder {
    pub(super) fn new(host: &str, addrs: Vec<IpAddr>, now: Instant) -> Self {
        Self {
            host: host.into(),
            addrs,
            claims: Vec::new(),
            conflicts: VecDeque::new(),
            renamed: VecDeque::new(),
            allowance: (UNICASTS_PER_SECOND, now),
            counters: Counters::default(),
        }
    }

    /// Claims the host's name, if that is not done yet.
    pub(super) fn claim_host(&mut self, now: Instant, bits: Bits<'_>) {
        if self.claims.is_empty() {
            let mut claim = Claim::new(Of::Host, &self.host, probe_soon(now, bits));
            claim.rebuild(&Name::root(), &self.addrs);
            self.claims.push(claim);
        }
    }

    /// Claims the name of a service, and the host's.
    pub(super) fn add(&mut self, id: u64, service: Service, now: Instant, bits: Bits<'_>) {
        self.claim_host(now, bits);
        let name = service.name.clone();
        // Together with the host's, where that is being made sure of.
        let state = self.claims.first().map(|host| host.state).filter(|_| self.host_is_fresh());
        let state = state.unwrap_or_else(|| probe_soon(now, bits));
        let mut claim = Claim::new(Of::Service(id, service), &name, state);
        // Two of our own with one name would never find out.
        while {
            claim.rebuild(&self.host_name(), &self.addrs);
            self.claims.iter().any(|other| other.name == claim.name)
        } {
            claim.number += 1;
        }
        self.claims.push(claim);
    }

    fn host_is_fresh(&self) -> bool {
        self.claims.first().is_some_and(|host| matches!(host.state, State::Probing { sent: 0, .. }))
    }

    fn host_name(&self) -> Name {
        self.claims.first().map_or_else(Name::root, |host| host.name.clone())
    }

    /// Takes a service back (RFC 6762 §10.1).
    pub(super) fn remove(&mut self, id: u64, out: &mut VecDeque<Output>) {
        let is_it = |claim: &Claim| matches!(claim.of, Of::Service(other, _) if other == id);
        let Some(at) = self.claims.iter().position(is_it) else { return };
        let claim = self.claims.remove(at);
        if claim.is_probing() {
            return;
        }
        // Others may be of the same kind.
        let others: Vec<&Own> = self.claims.iter().flat_map(|claim| &claim.records).collect();
        let gone = claim.records.iter().filter(|own| own.is_announced());
        let gone = gone.filter(|own| !others.iter().any(|other| is_same(&other.record, &own.record)));
        tell(gone.map(Own::goodbye).collect(), Vec::new(), out);
    }

    /// Takes everything back.
    pub(super) fn stop(&mut self, out: &mut VecDeque<Output>) {
        let held = self.claims.iter().filter(|claim| !claim.is_probing()).flat_map(|claim| &claim.records);
        let mut gone: Vec<Record> = Vec::new();
        for own in held.filter(|own| own.is_announced()) {
            if !gone.iter().any(|other| is_same(other, &own.record)) {
                gone.push(own.goodbye());
            }
        }
        if !gone.is_empty() {
            tell(gone, Vec::new(), out);
        }
        self.claims.clear();
    }

    /// The host has other addresses now.
    pub(super) fn set_addrs(&mut self, addrs: Vec<IpAddr>, now: Instant) {
        self.addrs = addrs;
        if let Some(host) = self.claims.first_mut() {
            host.rebuild(&Name::root(), &self.addrs);
            if !host.is_probing() {
                host.state = State::Announcing { sent: 0, at: now };
            }
        }
    }

    /// A name was taken on another link: it is to be the same here.
    pub(super) fn renumber(&mut self, id: Option<u64>, number: u32, now: Instant, out: &mut VecDeque<Output>) {
        if let Some(at) = self.place(id)
            && self.claims[at].number < number
        {
            self.rename(at, number, now, now, out);
        }
    }

    /// The labels in use, and whether they are made sure of.
    pub(super) fn labels(&self) -> impl Iterator<Item = (Option<u64>, String, bool)> {
        self.claims.iter().map(|claim| {
            let id = match &claim.of {
                Of::Host => None,
                Of::Service(id, _) => Some(*id),
            };
            (id, claim.label(), !claim.is_probing())
        })
    }

    fn place(&self, id: Option<u64>) -> Option<usize> {
        self.claims.iter().position(|claim| match &claim.of {
            Of::Host => id.is_none(),
            Of::Service(other, _) => id == Some(*other),
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.claims.iter().filter_map(Claim::next_at).min()
    }

    /// Probes, announces and answers what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.probe(now, out);
        self.announce(now, out);
        self.answer(now, out);
    }

    fn probe(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let mut probes: Vec<Message> = Vec::new();
        for claim in &mut self.claims {
            let State::Probing { sent, at } = claim.state else { continue };
            if at > now {
                continue;
            }
            if sent == PROBES {
                claim.state = State::Announcing { sent: 0, at: now };
                continue;
            }
            claim.state = State::Probing { sent: sent + 1, at: now + PROBE_SPACING };
            // To everybody, though one would do (RFC 6762 §8.1): others on this machine may have the port, too, and an answer to
            // it reaches one of us only.
            let question = Question { name: claim.name.clone(), rtype: ANY, class: CLASS_IN };
            let authority = proposed(claim).map(|own| own.record.clone()).collect();
            probes.push(Message { questions: vec![question], authority, ..Message::default() });
        }
        for message in probes {
            out.extend(message.encode_compressed().map(|bytes| Output { to: To::Group, bytes }));
        }
    }

    fn announce(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let mut told: Vec<Record> = Vec::new();
        for claim in &mut self.claims {
            let State::Announcing { sent, at } = claim.state else { continue };
            if at > now {
                continue;
            }
            claim.state = match sent + 1 {
                ANNOUNCEMENTS => State::Held,
                sent => State::Announcing { sent, at: now + ANNOUNCEMENT_SPACING },
            };
            // What was just told as an answer need not be told again.
            for own in claim.records.iter_mut().filter(|own| own.is_announced() && own.may_be_sent(now)) {
                own.sent(now);
                if !told.iter().any(|other| is_same(other, &own.record)) {
                    told.push(own.flushing());
                }
            }
        }
        if !told.is_empty() {
            tell(told, Vec::new(), out);
        }
    }

    /// Sends the answers that are due.
    fn answer(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let mut answers: Vec<Record> = Vec::new();
        for own in self.claims.iter_mut().flat_map(|claim| &mut claim.records) {
            if own.due.is_some_and(|due| due <= now) {
                own.sent(now);
                if !answers.iter().any(|other| is_same(other, &own.record)) {
                    answers.push(own.flushing());
                }
            }
        }
        if answers.is_empty() {
            return;
        }
        let additional = self.additional(&answers, now);
        for own in self.claims.iter_mut().flat_map(|claim| &mut claim.records) {
            if additional.iter().any(|other| is_same(other, &own.record)) {
                own.sent(now);
            }
        }
        tell(answers, additional, out);
    }

    /// What an asker will ask for next (RFC 6763 §12), unless everybody was told just now.
    fn additional(&self, answers: &[Record], now: Instant) -> Vec<Record> {
        let mut names: Vec<&Name> = Vec::new();
        for record in answers {
            match &record.data {
                Data::Ptr(name) => names.push(name),
                Data::Srv(srv) => names.push(&srv.target),
                Data::A(_) | Data::Aaaa(_) => names.push(&record.name),
                _ => {}
            }
        }
        let held = || self.claims.iter().filter(|claim| !claim.is_probing());
        let services = held().filter(|claim| names.contains(&&claim.name) && matches!(claim.of, Of::Service(..)));
        let has_service = services.clone().next().is_some();
        let hosts =
            held().filter(|claim| matches!(claim.of, Of::Host) && (has_service || names.contains(&&claim.name)));
        let own = services.chain(hosts).flat_map(|claim| &claim.records);
        let own = own.filter(|own| own.is_unique && own.is_announced() && own.may_be_sent(now));
        own.filter(|own| !answers.iter().any(|other| is_same(other, &own.record))).map(Own::flushing).collect()
    }

    /// Somebody asks. `is_legacy`: one who does not speak multicast, and takes an answer of his own (RFC 6762 §6.7).
    pub(super) fn handle_query(
        &mut self,
        message: &Message,
        from: SocketAddr,
        is_legacy: bool,
        now: Instant,
        bits: Bits<'_>,
        out: &mut VecDeque<Output>,
    ) {
        if message.questions.is_empty() {
            return self.hear_known(&message.answers, from);
        }
        self.break_ties(message, now);
        let is_probe = !message.authority.is_empty();
        let is_cut = message.flags.has(Flags::TRUNCATED);
        let mut alone: Vec<Record> = Vec::new();
        let mut planned: Vec<&mut Own> = Vec::new();
        let mut is_shared = false;
        let questions = message.questions.iter().take(QUESTIONS_MAX);
        let questions: Vec<&Question> =
            questions.filter(|question| matches!(question.class & !TOP_BIT, CLASS_IN | CLASS_ANY)).collect();
        for claim in self.claims.iter_mut().filter(|claim| !claim.is_probing()) {
            // RFC 6762 §6.1: asked for what the name has not, we say so.
            let lacks = |question: &Question| {
                let has = claim.records.iter().any(|own| own.answers(&question.name, question.rtype));
                question.name == claim.name && question.rtype != ANY && !has
            };
            let lacking: Vec<&Name> = questions.iter().filter(|q| lacks(q)).map(|q| &q.name).collect();
            for own in &mut claim.records {
                let mut asked = questions.iter().filter(|question| {
                    own.answers(&question.name, question.rtype)
                        || own.rtype() == NSEC && lacking.contains(&&own.record.name)
                });
                let Some(first) = asked.next() else { continue };
                if own.is_among(&message.answers) {
                    continue;
                }
                let wants_alone = first.class & TOP_BIT != 0 && asked.all(|question| question.class & TOP_BIT != 0);
                let quarter = Duration::from_secs(u64::from(own.record.ttl / 4));
                if is_legacy || wants_alone && !is_probe && own.was_sent_within(quarter, now) {
                    let record = if is_legacy { own.record.clone() } else { own.flushing() };
                    if !alone.iter().any(|other| is_same(other, &record)) {
                        alone.push(record);
                    }
                } else {
                    is_shared |= !own.is_unique;
                    planned.push(own);
                }
            }
        }
        // RFC 6762 §6, §7.2: those who share a record do not speak at once, and one who has more to say is heard out.
        let (wait, asker) = match (is_cut, is_shared && !is_probe) {
            (true, _) => (Duration::from_millis(400 + bits() % 101), Some(from)),
            (false, true) => (Duration::from_millis(20 + bits() % 101), None),
            (false, false) => (Duration::ZERO, None),
        };
        planned.into_iter().for_each(|own| own.plan(now + wait, asker, is_probe));
        if !alone.is_empty() {
            self.answer_alone(message, alone, from, is_legacy, now, out);
        }
    }

    /// The rest of what an asker knows has come (RFC 6762 §7.2).
    fn hear_known(&mut self, known: &[Record], from: SocketAddr) {
        for own in self.claims.iter_mut().flat_map(|claim| &mut claim.records) {
            if own.asker == Some(from) && own.is_among(known) {
                (own.due, own.asker) = (None, None);
            }
        }
    }

    fn answer_alone(
        &mut self,
        query: &Message,
        mut answers: Vec<Record>,
        from: SocketAddr,
        is_legacy: bool,
        now: Instant,
        out: &mut VecDeque<Output>,
    ) {
        let (left, since) = &mut self.allowance;
        if now.saturating_duration_since(*since) >= Duration::from_secs(1) {
            (*left, *since) = (UNICASTS_PER_SECOND, now);
        }
        if *left == 0 {
            self.counters.limited += 1;
            return;
        }
        *left -= 1;
        let to = To::One(from);
        if is_legacy {
            answers.iter_mut().for_each(|record| record.ttl = record.ttl.min(LEGACY_TTL));
            out.extend(packet::legacy(query, answers).map(|bytes| Output { to, bytes }));
        } else {
            let additional = self.additional(&answers, now);
            out.extend(packet::responses(answers, additional).into_iter().map(|bytes| Output { to, bytes }));
        }
    }

    /// Two who probe for one name at a time: the later set of records wins (RFC 6762 §8.2).
    fn break_ties(&mut self, message: &Message, now: Instant) {
        if message.authority.is_empty() {
            return;
        }
        for claim in self.claims.iter_mut().filter(|claim| claim.is_probing()) {
            let theirs = message.authority.iter().filter(|record| record.name == claim.name && is_in_class(record));
            let theirs = in_order(theirs);
            let is_asked = message.questions.iter().any(|question| question.name == claim.name);
            if is_asked && !theirs.is_empty() && in_order(proposed(claim).map(|own| &own.record)) < theirs {
                claim.state = State::Probing { sent: 0, at: now + TIE_WAIT };
            }
        }
    }

    /// Others have answered, or told something: perhaps under a name of ours.
    pub(super) fn handle_response(
        &mut self,
        message: &Message,
        now: Instant,
        is_ours: impl Fn(IpAddr) -> bool,
        out: &mut VecDeque<Output>,
    ) {
        let records = || message.answers.iter().chain(&message.additional).filter(|record| is_in_class(record));
        for at in 0..self.claims.len() {
            let claim = &mut self.claims[at];
            for own in claim.records.iter_mut().filter(|own| own.due.is_some() && !own.is_unique) {
                // RFC 6762 §7.4: somebody else has said it for us.
                if records().any(|record| record.ttl >= own.record.ttl && is_same(record, &own.record)) {
                    (own.due, own.asker) = (None, None);
                }
            }
            let claim = &self.claims[at];
            let is_against = |record: &&Record| {
                let ours = || claim.records.iter().filter(|own| own.record.name == record.name);
                let same = ours().any(|own| is_same(record, &own.record));
                let here = match &record.data {
                    Data::A(ip) => is_ours((*ip).into()),
                    Data::Aaaa(ip) => is_ours((*ip).into()),
                    _ => false,
                };
                let same_type = || ours().any(|own| own.is_announced() && own.rtype() == record.data.rtype());
                record.name == claim.name && record.ttl > 0 && !same && !here && (claim.is_probing() || same_type())
            };
            let (state, number) = (claim.state, claim.number.saturating_add(1));
            let is_taken = records().any(|record| is_against(&record));
            match state {
                // RFC 6762 §8.1: what was said before the first probe is no answer to it.
                State::Probing { sent: 0, .. } => {}
                State::Probing { .. } if is_taken => {
                    self.counters.conflicts += 1;
                    let wait = self.conflict_wait(now);
                    self.rename(at, number, now, now + wait, out);
                    self.renamed.push_back((self.id(at), number));
                }
                State::Probing { .. } => {}
                // RFC 6762 §9: asked anew whose it is.
                State::Announcing { .. } | State::Held if is_taken => {
                    self.counters.conflicts += 1;
                    let wait = self.conflict_wait(now);
                    self.claims[at].state = State::Probing { sent: 0, at: now + wait };
                }
                State::Announcing { .. } | State::Held => {}
            }
        }
    }

    fn id(&self, at: usize) -> Option<u64> {
        match self.claims[at].of {
            Of::Host => None,
            Of::Service(id, _) => Some(id),
        }
    }

    fn conflict_wait(&mut self, now: Instant) -> Duration {
        self.conflicts.retain(|at| now.saturating_duration_since(*at) < CONFLICTS_TIME);
        if self.conflicts.len() >= CONFLICTS_MAX {
            return CONFLICTS_WAIT;
        }
        self.conflicts.push_back(now);
        Duration::ZERO
    }

    /// Gives a name another number. What is said of a host under its old name is taken back.
    fn rename(&mut self, at: usize, number: u32, now: Instant, from: Instant, out: &mut VecDeque<Output>) {
        let host = self.host_name();
        let claim = &mut self.claims[at];
        if !claim.is_probing() {
            // The kind may be that of others.
            let leads_here = |own: &&Own| own.record.data == Data::Ptr(claim.name.clone());
            let gone = claim.records.iter().filter(|own| own.is_announced() && (own.is_unique || leads_here(own)));
            tell(gone.map(Own::goodbye).collect(), Vec::new(), out);
        }
        claim.renumber(number, &host, &self.addrs);
        claim.state = State::Probing { sent: 0, at: from };
        if at > 0 {
            return;
        }
        // Services are where the host is.
        let host = self.host_name();
        for claim in self.claims.iter_mut().skip(1) {
            claim.rebuild(&host, &self.addrs);
            if !claim.is_probing() {
                claim.state = State::Announcing { sent: 0, at: now + ANNOUNCEMENT_SPACING };
            }
        }
    }
}

/// Probing begins a moment later, or all of a network would at once after a failure of its power (RFC 6762 §8.1).
fn probe_soon(now: Instant, bits: Bits<'_>) -> State {
    State::Probing { sent: 0, at: now + Duration::from_millis(bits() % 251) }
}

/// What a claim proposes when it probes.
fn proposed(claim: &Claim) -> impl Iterator<Item = &Own> {
    claim.records.iter().filter(|own| own.is_unique && own.is_announced())
}

/// A set of records as two of them are compared: by class, type and data (RFC 6762 §8.2).
fn in_order<'a>(records: impl Iterator<Item = &'a Record>) -> Vec<(u16, u16, Vec<u8>)> {
    let key = |record: &Record| (record.class & !TOP_BIT, record.data.rtype().0, record.data.to_wire());
    let mut keys: Vec<_> = records.map(key).collect();
    keys.sort_unstable();
    keys
}

/// Tells everybody.
fn tell(answers: Vec<Record>, additional: Vec<Record>, out: &mut VecDeque<Output>) {
    let packets = packet::responses(answers, additional).into_iter();
    out.extend(packets.map(|bytes| Output { to: To::Group, bytes }));
}

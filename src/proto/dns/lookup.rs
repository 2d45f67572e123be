//! What somebody wants to know of a name: which questions that takes, and when there is enough to tell.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::LookupError;
use super::answer::Answer;
use super::message::{Data, Question, Type};
use super::name::Name;
use super::stub::Want;

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Lookup {
    want: Want,
    /// The name that is asked for now.
    name: Name,
    /// Those that come after it.
    left: VecDeque<Name>,
    /// What is known of it: IPv6 and IPv4, or the records and nothing.
    parts: [Part; 2],
    no_aaaa: bool,
    /// IPv4 addresses wait until then for those of IPv6.
    delay_until: Option<Instant>,
    deadline: Instant,
    /// Addresses have been given.
    given: bool,
}

/// What is known of one question.
#[derive(Debug)]
pub(super) enum Part {
    /// It is still to be asked.
    Unasked,
    /// Nobody wants to know.
    Unwanted,
    Asked,
    Found(Vec<Data>),
    /// It was found, and given.
    Given,
    NoData,
    NoName,
    Failed(LookupError),
}

/// What to do with a lookup.
#[derive(Debug)]
pub(super) enum Step {
    Ask(Vec<Question>),
    Wait,
    Give { addrs: Vec<IpAddr>, last: bool },
    Records(Vec<Data>),
    Failed(LookupError),
}

/// RFC 8305 §3: the "Resolution Delay".
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

impl From<Answer> for Part {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Found(data) => Self::Found(data),
            Answer::NoData => Self::NoData,
            Answer::NoName => Self::NoName,
        }
    }
}

impl Lookup {
    pub(super) fn new(want: Want, names: Vec<Name>, no_aaaa: bool, deadline: Instant) -> Self {
        let mut left: VecDeque<Name> = names.into();
        let name = left.pop_front().unwrap_or_else(Name::root);
        let parts = Self::unasked(want, no_aaaa);
        Self { want, name, left, parts, no_aaaa, delay_until: None, deadline, given: false }
    }

    fn unasked(want: Want, no_aaaa: bool) -> [Part; 2] {
        match want {
            Want::Addrs if no_aaaa => [Part::Unwanted, Part::Unasked],
            Want::Addrs => [Part::Unasked, Part::Unasked],
            Want::Records(_) => [Part::Unasked, Part::Unwanted],
        }
    }

    fn rtype(&self, part: usize) -> Type {
        match (self.want, part) {
            (Want::Records(rtype), _) => rtype,
            (Want::Addrs, 0) => Type::AAAA,
            (Want::Addrs, _) => Type::A,
        }
    }

    /// When there is something to be done at the latest.
    pub(super) fn next_at(&self) -> Instant {
        self.delay_until.map_or(self.deadline, |delay| delay.min(self.deadline))
    }

    /// One of its questions is answered.
    pub(super) fn answered(&mut self, question: &Question, known: Part) {
        let part = usize::from(question.rtype != self.rtype(0));
        if matches!(self.parts[part], Part::Asked) && question.name == self.name {
            self.parts[part] = known;
        }
    }

    /// What to do now. To be asked again after each step but `Wait`, unless it was the last.
    pub(super) fn step(&mut self, now: Instant) -> Step {
        let unasked: Vec<usize> = (0..2).filter(|part| matches!(self.parts[*part], Part::Unasked)).collect();
        if !unasked.is_empty() {
            unasked.iter().for_each(|part| self.parts[*part] = Part::Asked);
            let questions = unasked.into_iter().map(|part| Question::new(self.name.clone(), self.rtype(part)));
            return Step::Ask(questions.collect());
        }
        if now >= self.deadline {
            for part in &mut self.parts {
                if let Part::Asked = part {
                    *part = Part::Failed(LookupError::TimedOut);
                }
            }
        }
        match self.want {
            Want::Addrs => self.addrs(now),
            Want::Records(_) => match std::mem::replace(&mut self.parts[0], Part::Given) {
                Part::Found(data) => Step::Records(data),
                Part::Asked => {
                    self.parts[0] = Part::Asked;
                    Step::Wait
                }
                other => {
                    self.parts[0] = other;
                    self.none(now)
                }
            },
        }
    }

    fn addrs(&mut self, now: Instant) -> Step {
        let [v6, v4] = &self.parts;
        let waits = matches!(v6, Part::Asked) || matches!(v4, Part::Asked);
        // RFC 8305 §3: IPv6 at once, IPv4 a little later, if IPv6 may still come.
        let found4 = matches!(v4, Part::Found(_));
        let ready = match v6 {
            Part::Found(_) => true,
            Part::Asked if found4 => now >= *self.delay_until.get_or_insert(now + RESOLUTION_DELAY),
            _ => found4,
        };
        if ready {
            self.delay_until = None;
            self.given = true;
            let addrs = self.parts.iter_mut().flat_map(take_addrs).collect();
            return Step::Give { addrs, last: !waits };
        }
        match (waits, self.given) {
            (true, _) => Step::Wait,
            (false, true) => Step::Give { addrs: Vec::new(), last: true },
            (false, false) => self.none(now),
        }
    }

    /// Nothing was found: the next name, unless a server failed to tell. Then the next name may be another host's.
    fn none(&mut self, now: Instant) -> Step {
        if let Some(error) = self.parts.iter().find_map(|part| match part {
            Part::Failed(error) => Some(error.clone()),
            _ => None,
        }) {
            return Step::Failed(error);
        }
        if let Some(name) = self.left.pop_front() {
            self.name = name;
            self.parts = Self::unasked(self.want, self.no_aaaa);
            return self.step(now);
        }
        let exists = self.parts.iter().any(|part| matches!(part, Part::NoData));
        Step::Failed(if exists { LookupError::NoData } else { LookupError::NoName })
    }
}

fn take_addrs(part: &mut Part) -> Vec<IpAddr> {
    match std::mem::replace(part, Part::Given) {
        Part::Found(data) => data
            .iter()
            .filter_map(|data| match data {
                Data::A(ip) => Some(IpAddr::V4(*ip)),
                Data::Aaaa(ip) => Some(IpAddr::V6(*ip)),
                _ => None,
            })
            .collect(),
        other => {
            *part = other;
            Vec::new()
        }
    }
}

//! What this host says of itself: names that are its own, and the records below them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::message::{Data, Record, Srv, Type};
use super::super::name::Name;
use super::service::{Service, kind_name, numbered};
use super::{ANY, NSEC, TOP_BIT, nsec};

/// A name that nobody else on the link may have, with all that is said under it.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) of: Of,
    /// What was asked for; the number makes it unique.
    pub(super) base: String,
    pub(super) number: u32,
    pub(super) name: Name,
    pub(super) records: Vec<Own>,
    pub(super) state: State,
}

/// Whose name it is.
#[derive(Debug)]
pub(super) enum Of {
    Host,
    Service(u64, Service),
}

/// How far a name is the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Others are asked whether it is theirs (RFC 6762 §8.1).
    Probing {
        sent: u32,
        at: Instant,
    },
    /// It is being told (RFC 6762 §8.3).
    Announcing {
        sent: u32,
        at: Instant,
    },
    Held,
}

/// A record, and when it was sent.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) record: Record,
    /// Nobody else has one of this name and type.
    pub(super) is_unique: bool,
    /// To everybody, the last time.
    pub(super) sent_at: Option<Instant>,
    /// When it is to be sent to everybody.
    pub(super) due: Option<Instant>,
    /// Who alone asked for it, and may still tell that it is known there.
    pub(super) asker: Option<SocketAddr>,
}

/// Seconds that a host's addresses and a service's place are good for (RFC 6762 §10).
const HOST_TTL: u32 = 120;
/// The same for everything else.
const OTHER_TTL: u32 = 4500;
/// A record is not sent to everybody more often (RFC 6762 §6).
const SPACING: Duration = Duration::from_secs(1);
/// Unless somebody is about to take the name.
const DEFENCE_SPACING: Duration = Duration::from_millis(250);

impl Claim {
    pub(super) fn new(of: Of, base: &str, state: State) -> Self {
        Self { of, base: base.into(), number: 1, name: Name::root(), records: Vec::new(), state }
    }

    /// Its label, with its number.
    pub(super) fn label(&self) -> String {
        numbered(&self.base, self.number, matches!(self.of, Of::Host))
    }

    pub(super) fn is_probing(&self) -> bool {
        matches!(self.state, State::Probing { .. })
    }

    /// When its state goes on.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let state = match self.state {
            State::Probing { at, .. } | State::Announcing { at, .. } => Some(at),
            State::Held => None,
        };
        state.into_iter().chain(self.records.iter().filter_map(|own| own.due)).min()
    }

    /// Writes its records anew, for the name that it has now.
    pub(super) fn rebuild(&mut self, host: &Name, addrs: &[IpAddr]) {
        let label = self.label();
        let data = match &self.of {
            Of::Host => {
                let Ok(name) = Name::from_labels([label.as_bytes(), b"local"]) else { return };
                self.name = name;
                let addrs = addrs.iter().map(|ip| match ip {
                    IpAddr::V4(ip) => (HOST_TTL, Data::A(*ip)),
                    IpAddr::V6(ip) => (HOST_TTL, Data::Aaaa(*ip)),
                });
                addrs.collect::<Vec<_>>()
            }
            Of::Service(_, service) => {
                let Ok(name) = kind_name(&service.kind).and_then(|kind| {
                    let single = Name::from_labels([label.as_bytes()]);
                    single.and_then(|name| name.below(&kind)).map_err(|_| super::ServiceError::NoPort)
                }) else {
                    return;
                };
                self.name = name;
                let srv = Srv { priority: 0, weight: 0, port: service.port, target: host.clone() };
                vec![(HOST_TTL, Data::Srv(srv)), (OTHER_TTL, Data::Txt(service.texts()))]
            }
        };
        // RFC 6762 §6.1: what the name has not, we can tell as well.
        let types: Vec<Type> = data.iter().map(|(_, data)| data.rtype()).collect();
        let none = (data.first().map_or(HOST_TTL, |(ttl, _)| *ttl), nsec(&self.name, types));
        let own = |name: &Name, is_unique, (ttl, data)| Own {
            record: Record::new(name.clone(), ttl, data),
            is_unique,
            sent_at: None,
            due: None,
            asker: None,
        };
        self.records = data.into_iter().chain([none]).map(|data| own(&self.name, true, data)).collect();
        if let Of::Service(_, service) = &self.of
            && let (Ok(kind), Some(all)) = (kind_name(&service.kind), all_kinds())
        {
            self.records.push(own(&kind, false, (OTHER_TTL, Data::Ptr(self.name.clone()))));
            self.records.push(own(&all, false, (OTHER_TTL, Data::Ptr(kind.clone()))));
        }
    }

    /// Takes a name with this number.
    pub(super) fn renumber(&mut self, number: u32, host: &Name, addrs: &[IpAddr]) {
        self.number = number;
        self.rebuild(host, addrs);
    }
}

impl Own {
    pub(super) fn rtype(&self) -> Type {
        self.record.data.rtype()
    }

    /// It is told to all without being asked for.
    pub(super) fn is_announced(&self) -> bool {
        self.rtype() != NSEC
    }

    pub(super) fn answers(&self, name: &Name, rtype: Type) -> bool {
        let same_type = if rtype == ANY { self.is_announced() } else { self.rtype() == rtype };
        same_type && self.record.name == *name
    }

    /// As it is sent to those who keep it (RFC 6762 §10.2).
    pub(super) fn flushing(&self) -> Record {
        let bit = if self.is_unique { TOP_BIT } else { 0 };
        Record { class: self.record.class | bit, ..self.record.clone() }
    }

    /// As it is taken back (RFC 6762 §10.1).
    pub(super) fn goodbye(&self) -> Record {
        Record { ttl: 0, ..self.flushing() }
    }

    /// The asker knows it well enough (RFC 6762 §7.1).
    pub(super) fn is_among(&self, known: &[Record]) -> bool {
        known.iter().any(|known| known.ttl >= self.record.ttl / 2 && super::is_same(known, &self.record))
    }

    /// It was sent to everybody less than this ago.
    pub(super) fn was_sent_within(&self, span: Duration, now: Instant) -> bool {
        self.sent_at.is_some_and(|at| now.saturating_duration_since(at) < span)
    }

    /// Has it sent to everybody, though not too often.
    pub(super) fn plan(&mut self, at: Instant, asker: Option<SocketAddr>, is_defence: bool) {
        let spacing = if is_defence { DEFENCE_SPACING } else { SPACING };
        let at = self.sent_at.map_or(at, |sent| at.max(sent + spacing));
        self.asker = if self.due.is_none() || self.asker == asker { asker } else { None };
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    pub(super) fn sent(&mut self, now: Instant) {
        (self.sent_at, self.due, self.asker) = (Some(now), None, None);
    }

    /// A second has passed since it was sent to everybody.
    pub(super) fn may_be_sent(&self, now: Instant) -> bool {
        !self.was_sent_within(SPACING, now)
    }
}

/// Where all kinds of services are told (RFC 6763 §9).
fn all_kinds() -> Option<Name> {
    Name::from_labels([&b"_services"[..], b"_dns-sd", b"_udp", b"local"]).ok()
}

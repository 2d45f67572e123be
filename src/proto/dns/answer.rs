//! What a response says to a question: the records, or that there are none, or that the server cannot tell.

use super::message::{CLASS_IN, Data, Flags, Message, Question, Record, Type};
use super::name::Name;

/// What is known of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The data of the records.
    Found(Vec<Data>),
    /// The name exists, but has no such record.
    NoData,
    /// There is no such name.
    NoName,
}

/// What came of one response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The answer, and the seconds that it is good for.
    Answer(Answer, u32),
    /// The name is another name for this one, of which the response says nothing: ask for it. Good for so many seconds.
    Goes(Name, u32),
    /// The server cannot tell.
    Failed(u16),
    /// The server does not know EDNS.
    NoEdns,
    /// The name leads from name to name without an end.
    Endless,
}

/// Names that one answer may lead through.
pub(super) const CHAIN_MAX: usize = 8;
/// No answer is kept longer, whatever it says of itself (RFC 8767 §4: "on the order of days").
const TTL_MAX: u32 = 86_400;
/// The same for what does not exist (RFC 2308 §5: one to three hours).
const NEGATIVE_TTL_MAX: u32 = 3 * 3600;

/// Response codes (RFC 1035 §4.1.1, RFC 6891 §9).
mod rcode {
    pub(super) const NO_ERROR: u16 = 0;
    pub(super) const FORMAT_ERROR: u16 = 1;
    pub(super) const SERVER_FAILURE: u16 = 2;
    pub(super) const NAME_ERROR: u16 = 3;
    pub(super) const NOT_IMPLEMENTED: u16 = 4;
    pub(super) const BAD_VERSION: u16 = 16;
}

/// Reads a response to `question`.
pub(super) fn judge(message: &Message, question: &Question) -> Verdict {
    let code = message.rcode();
    match code {
        rcode::NO_ERROR | rcode::NAME_ERROR => {}
        // RFC 6891 §7: what a server answers that knows no EDNS.
        rcode::FORMAT_ERROR | rcode::NOT_IMPLEMENTED | rcode::BAD_VERSION => return Verdict::NoEdns,
        code => return Verdict::Failed(code),
    }
    let in_class = |record: &&Record| record.class == CLASS_IN;
    let mut name = &question.name;
    let mut ttl = TTL_MAX;
    for _ in 0..=CHAIN_MAX {
        let mine = || message.answers.iter().filter(in_class).filter(|record| record.name == *name);
        let found: Vec<&Record> = mine().filter(|record| record.data.rtype() == question.rtype).collect();
        if !found.is_empty() && code == rcode::NO_ERROR {
            // RFC 2181 §5.2: of different TTLs in a set, the lowest counts.
            ttl = found.iter().fold(ttl, |ttl, record| ttl.min(record.seconds()));
            return Verdict::Answer(Answer::Found(found.into_iter().map(|record| record.data.clone()).collect()), ttl);
        }
        // RFC 1034 §3.6.2, §5.2.2.
        let alias = mine().find_map(|record| match &record.data {
            Data::Cname(target) => Some((target, record.seconds())),
            _ => None,
        });
        let Some((target, seconds)) = alias else {
            return without_record(message, code, question, name, ttl);
        };
        (name, ttl) = (target, ttl.min(seconds));
    }
    Verdict::Endless
}

/// The answer has no record of `name`, to which it has led.
fn without_record(message: &Message, code: u16, question: &Question, name: &Name, ttl: u32) -> Verdict {
    let soa = message.authority.iter().find_map(|record| match &record.data {
        // RFC 2308 §5: the lower one of both.
        Data::Soa(soa) if record.class == CLASS_IN && name.is_within(&record.name) => {
            Some(soa.minimum.min(record.seconds()))
        }
        _ => None,
    });
    // RFC 2308 §5: without an SOA it is not kept.
    let seconds = soa.map_or(0, |soa| soa.min(NEGATIVE_TTL_MAX).min(ttl));
    if code == rcode::NAME_ERROR {
        // RFC 2308 §2.1: said of the last name of a chain.
        return Verdict::Answer(Answer::NoName, seconds);
    }
    if *name != question.name && soa.is_none() {
        return Verdict::Goes(name.clone(), ttl);
    }
    let refers = message.authority.iter().any(|record| record.data.rtype() == Type::NS);
    let trusted = message.flags.has(Flags::AUTHORITATIVE | Flags::RECURSION_AVAILABLE);
    if soa.is_none() && refers && !trusted {
        // RFC 2308 §2.2: a referral to other servers is no answer, from a server that does not ask them for us.
        return Verdict::Failed(rcode::SERVER_FAILURE);
    }
    Verdict::Answer(Answer::NoData, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::dns::message::Soa;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn a(owner: &str, ttl: u32, last: u8) -> Record {
        Record::new(name(owner), ttl, Data::A([10, 0, 0, last].into()))
    }

    fn cname(owner: &str, ttl: u32, target: &str) -> Record {
        Record::new(name(owner), ttl, Data::Cname(name(target)))
    }

    fn soa(owner: &str, ttl: u32, minimum: u32) -> Record {
        let soa = Soa { server: name("ns"), mailbox: name("root"), numbers: [1; 4], minimum };
        Record::new(name(owner), ttl, Data::Soa(Box::new(soa)))
    }

    fn ns(owner: &str) -> Record {
        Record::new(name(owner), 60, Data::Ns(name("ns")))
    }

    fn found(last: &[u8]) -> Answer {
        Answer::Found(last.iter().map(|last| Data::A([10, 0, 0, *last].into())).collect())
    }

    #[test]
    fn responses_are_judged_clause_by_clause() {
        use Verdict::*;
        let chaos = Record { class: 3, ..a("h.lan", 60, 9) };
        let aaaa = Record::new(name("h.lan"), 60, Data::Aaaa([0; 16].into()));
        let long =
            (0..9).map(|n| cname(&format!("{}.lan", (b'a' + n) as char), 60, &format!("{}.lan", (b'b' + n) as char)));
        let mut long: Vec<Record> = long.collect();
        long[0].name = name("h.lan");
        let opt = |high: u32| Record {
            name: Name::root(),
            class: 1232,
            ttl: high << 24,
            data: Data::Other(Type::OPT, [].into()),
        };
        type Row = (&'static str, u16, Vec<Record>, Vec<Record>, Vec<Record>, Verdict);
        let table: Vec<Row> = vec![
            ("an address", 0, vec![a("h.lan", 60, 1)], vec![], vec![], Answer(found(&[1]), 60)),
            (
                "RFC 2181 §5.2 lowest TTL",
                0,
                vec![a("h.lan", 60, 1), a("H.LAN", 5, 2)],
                vec![],
                vec![],
                Answer(found(&[1, 2]), 5),
            ),
            (
                "RFC 2181 §8 a TTL with its highest bit",
                0,
                vec![a("h.lan", u32::MAX, 1)],
                vec![],
                vec![],
                Answer(found(&[1]), 0),
            ),
            (
                "RFC 8767 §4 a TTL of years",
                0,
                vec![a("h.lan", 1 << 30, 1)],
                vec![],
                vec![],
                Answer(found(&[1]), 86_400),
            ),
            ("another name's address", 0, vec![a("x.lan", 60, 1)], vec![], vec![], Answer(super::Answer::NoData, 0)),
            ("another class", 0, vec![chaos], vec![], vec![], Answer(super::Answer::NoData, 0)),
            ("another type", 0, vec![aaaa], vec![], vec![], Answer(super::Answer::NoData, 0)),
            (
                "D12 a chain, in any order",
                0,
                vec![a("c.lan", 60, 1), cname("b.lan", 7, "C.lan"), cname("h.lan", 90, "b.lan")],
                vec![],
                vec![],
                Answer(found(&[1]), 7),
            ),
            ("a chain that goes on", 0, vec![cname("h.lan", 90, "b.org")], vec![], vec![], Goes(name("b.org"), 90)),
            ("D12 a name for itself", 0, vec![cname("h.lan", 60, "h.lan")], vec![], vec![], Endless),
            (
                "two for each other",
                0,
                vec![cname("h.lan", 60, "b.lan"), cname("b.lan", 60, "h.lan")],
                vec![],
                vec![],
                Endless,
            ),
            ("a chain too long", 0, long, vec![], vec![], Endless),
            ("RFC 2308 §2.1 no name", 3, vec![], vec![soa("lan", 300, 60)], vec![], Answer(super::Answer::NoName, 60)),
            (
                "RFC 2308 §2.1 behind a chain",
                3,
                vec![cname("h.lan", 20, "b.lan")],
                vec![soa("lan", 300, 60)],
                vec![],
                Answer(super::Answer::NoName, 20),
            ),
            (
                "RFC 2308 §5 SOA of a lower TTL",
                3,
                vec![],
                vec![soa("lan", 30, 60)],
                vec![],
                Answer(super::Answer::NoName, 30),
            ),
            (
                "RFC 2308 §5 at most hours",
                3,
                vec![],
                vec![soa("lan", 1 << 30, 1 << 30)],
                vec![],
                Answer(super::Answer::NoName, 10_800),
            ),
            ("RFC 2308 §5 without SOA", 3, vec![], vec![], vec![], Answer(super::Answer::NoName, 0)),
            ("an SOA of elsewhere", 3, vec![], vec![soa("org", 300, 60)], vec![], Answer(super::Answer::NoName, 0)),
            ("RFC 2308 §2.2 no data", 0, vec![], vec![soa("lan", 300, 60)], vec![], Answer(super::Answer::NoData, 60)),
            (
                "RFC 2308 §2.2 no data behind a chain",
                0,
                vec![cname("h.lan", 90, "b.lan")],
                vec![soa("lan", 300, 60)],
                vec![],
                Answer(super::Answer::NoData, 60),
            ),
            ("RFC 2308 §2.2 a referral", 0, vec![], vec![ns("lan")], vec![], Failed(2)),
            ("an address with an error", 3, vec![a("h.lan", 60, 1)], vec![], vec![], Answer(super::Answer::NoName, 0)),
            ("server failure", 2, vec![], vec![], vec![], Failed(2)),
            ("refused", 5, vec![], vec![], vec![], Failed(5)),
            ("RFC 6891 §7 format error", 1, vec![], vec![], vec![], NoEdns),
            ("RFC 6891 §9 bad version", 0, vec![], vec![], vec![opt(1)], NoEdns),
            ("RFC 6891 §6.1.3 a code with high bits", 7, vec![], vec![], vec![opt(1)], Failed(23)),
        ];
        for (row, code, answers, authority, additional, expected) in table {
            let flags = Flags(Flags::RESPONSE | code);
            let message = Message { flags, answers, authority, additional, ..Message::default() };
            assert_eq!(judge(&message, &Question::new(name("h.lan"), Type::A)), expected, "{row}");
        }
    }
}

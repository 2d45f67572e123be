//! One question under way: the tries that were made, and which of the bytes that come answer them.

use std::net::SocketAddr;
use std::time::Instant;

use super::LookupError;
use super::message::{Flags, HEADER_LEN, Question, encode_query};

/// One question, for all who want to know.
#[derive(Debug)]
pub(super) struct Query {
    /// What is asked now: aliases lead from one name to the next.
    pub(super) asked: Question,
    /// Aliases so far.
    pub(super) hops: usize,
    /// The seconds that all of them are good for.
    pub(super) ttl: u32,
    /// Who wants to know.
    pub(super) tickets: Vec<u64>,
    /// The server that the first try went to.
    pub(super) first: usize,
    pub(super) tries: u32,
    /// When the next try is due; none while the question waits for its turn.
    pub(super) next_at: Option<Instant>,
    /// Where answers may come from, the latest last.
    pub(super) channels: Vec<Channel>,
    /// What went wrong last.
    pub(super) error: LookupError,
}

/// A socket that a try is made through: no other comes that way.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) number: u64,
    pub(super) server: SocketAddr,
    pub(super) over: Over,
    pub(super) edns: bool,
    /// What was sent, once it was.
    sent: Option<Sent>,
}

#[derive(Debug)]
struct Sent {
    id: u16,
    question: Box<[u8]>,
    exact: bool,
}

/// What carries a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// A datagram.
    Udp,
    /// A stream, in which each message has its length before it (RFC 1035 §4.2.2).
    Tcp,
}

/// Random bits, as many as are asked for.
pub(crate) type Bits<'a> = &'a mut dyn FnMut() -> u64;

/// The longest answer that a datagram may bring: what fits into any path without fragments (RFC 9715 §3.1 and the flag day
/// of 2020; fragments can be forged).
pub(super) const UDP_MAX: u16 = 1232;
/// The same without EDNS (RFC 1035 §4.2.1).
const UDP_PLAIN_MAX: usize = 512;

impl Query {
    pub(super) fn new(asked: Question, ticket: u64, first: usize) -> Self {
        Self {
            asked,
            hops: 0,
            ttl: u32::MAX,
            tickets: vec![ticket],
            first,
            tries: 0,
            next_at: None,
            channels: Vec::new(),
            error: LookupError::TimedOut,
        }
    }

    pub(super) fn channel(&self, number: u64) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.number == number)
    }
}

impl Channel {
    pub(super) fn new(number: u64, server: SocketAddr, over: Over, edns: bool) -> Self {
        Self { number, server, over, edns, sent: None }
    }

    /// The query, with an id that nobody can know.
    pub(super) fn encode(&mut self, asked: &Question, random_case: bool, bits: Bits<'_>) -> Vec<u8> {
        let mut question = asked.to_wire();
        if random_case {
            let name_len = asked.name.as_wire().len();
            randomize_case(&mut question[..name_len], bits);
        }
        let id = bits() as u16;
        let query = encode_query(id, &question, self.edns.then_some(UDP_MAX));
        self.sent = Some(Sent { id, question: question.into(), exact: random_case });
        match self.over {
            Over::Udp => query,
            Over::Tcp => [&(query.len() as u16).to_be_bytes()[..], &query].concat(),
        }
    }

    /// Whether bytes answer what was sent (RFC 5452 §9.1): the server, the id, the question, letter by letter where its case is
    /// random. Nothing else of them is looked at before. Answers the header's bits, if so.
    pub(super) fn is_answered_by(&self, from: SocketAddr, bytes: &[u8]) -> Option<Flags> {
        let sent = self.sent.as_ref()?;
        let (header, rest) = bytes.split_at_checked(HEADER_LEN)?;
        let flags = Flags(u16::from_be_bytes([header[2], header[3]]));
        let len_max = match self.over {
            // A server that was told how much fits sends no more (RFC 6891 §6.2.3).
            Over::Udp if self.edns => UDP_MAX.into(),
            Over::Udp => UDP_PLAIN_MAX,
            Over::Tcp => usize::MAX,
        };
        let question = rest.get(..sent.question.len())?;
        // The name alone may differ in case; behind it are the type and the class.
        let (name, kind) = question.split_at(question.len() - 4);
        let (sent_name, sent_kind) = sent.question.split_at(question.len() - 4);
        let same_name = if sent.exact { name == sent_name } else { name.eq_ignore_ascii_case(sent_name) };
        let answers = from == self.server
            && header[..2] == sent.id.to_be_bytes()
            && flags.has(Flags::RESPONSE)
            && flags.opcode() == 0
            && header[4..6] == [0, 1]
            && same_name
            && kind == sent_kind
            && bytes.len() <= len_max;
        answers.then_some(flags)
    }
}

/// Gives each letter a case at random: an answer repeats it, and a forger has to guess it (draft-vixie-dnsext-dns0x20).
fn randomize_case(name: &mut [u8], bits: Bits<'_>) {
    let (mut word, mut left) = (0, 0);
    for byte in name.iter_mut().filter(|byte| byte.is_ascii_alphabetic()) {
        if left == 0 {
            (word, left) = (bits(), u64::BITS);
        }
        *byte = *byte & !0x20 | (word as u8 & 1) << 5;
        (word, left) = (word >> 1, left - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::dns::message::{Message, Type};

    const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 53)), 53);

    fn asked() -> Question {
        Question::new("www.example.org".parse().unwrap(), Type::A)
    }

    fn sent(over: Over, edns: bool, random_case: bool) -> (Channel, Vec<u8>) {
        let mut channel = Channel::new(1, SERVER, over, edns);
        let bytes = channel.encode(&asked(), random_case, &mut || 0x5555_5555_1234_abcd);
        (channel, bytes)
    }

    #[test]
    fn a_query_is_what_rfc_1035_section_4_1_says() {
        let (_, bytes) = sent(Over::Udp, false, false);
        assert_eq!(bytes, b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01");
        let (_, bytes) = sent(Over::Udp, true, false);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!((message.additional.len(), message.additional[0].class), (1, 1232), "RFC 6891 §6.1.2");
        let (_, tcp) = sent(Over::Tcp, true, false);
        assert_eq!((&tcp[..2], &tcp[2..]), (&(bytes.len() as u16).to_be_bytes()[..], &bytes[..]), "RFC 1035 §4.2.2");
    }

    #[test]
    fn rfc_5452_section_9_1_only_the_answer_to_the_question_counts() {
        let answer = |edit: fn(&mut Vec<u8>)| {
            let (_, mut bytes) = sent(Over::Udp, false, true);
            bytes[2] |= 0x80;
            edit(&mut bytes);
            bytes
        };
        let stranger = SocketAddr::from(([10, 0, 0, 66], 53));
        let port = SocketAddr::from(([10, 0, 0, 53], 54));
        let table: [(&str, SocketAddr, Vec<u8>, bool, bool); 14] = [
            ("the answer", SERVER, answer(|_| {}), true, true),
            ("D11 wrong source", stranger, answer(|_| {}), false, false),
            ("D11 wrong port", port, answer(|_| {}), false, false),
            ("D11 wrong id", SERVER, answer(|b| b[1] ^= 1), false, false),
            ("D11 wrong question", SERVER, answer(|b| b[14] = b'x'), false, false),
            ("wrong type", SERVER, answer(|b| *b.iter_mut().nth_back(2).unwrap() = 28), false, false),
            ("wrong class", SERVER, answer(|b| *b.last_mut().unwrap() = 3), false, false),
            ("a query", SERVER, answer(|b| b[2] &= 0x7f), false, false),
            ("another opcode", SERVER, answer(|b| b[2] |= 0x08), false, false),
            ("no question", SERVER, answer(|b| b[5] = 0), false, false),
            ("two questions", SERVER, answer(|b| b[5] = 2), false, false),
            ("cut in the question", SERVER, answer(|b| b.truncate(20)), false, false),
            ("a stray byte", SERVER, vec![0], false, false),
            ("0x20, another case", SERVER, answer(|b| b[13] ^= 0x20), false, true),
        ];
        for (name, from, bytes, exact, any_case) in table {
            assert_eq!(sent(Over::Udp, false, true).0.is_answered_by(from, &bytes).is_some(), exact, "{name}");
            assert_eq!(
                sent(Over::Udp, false, false).0.is_answered_by(from, &bytes).is_some(),
                any_case,
                "{name}, in any case"
            );
        }
        assert!(
            Channel::new(1, SERVER, Over::Udp, false).is_answered_by(SERVER, &answer(|_| {})).is_none(),
            "before it is sent"
        );
    }

    #[test]
    fn d12_rfc_6891_section_6_2_3_an_answer_is_no_longer_than_what_was_offered() {
        for (over, edns, max) in [(Over::Udp, false, 512), (Over::Udp, true, 1232), (Over::Tcp, true, 65_535)] {
            let (channel, query) = sent(over, edns, false);
            let mut bytes = if over == Over::Tcp { query[2..].to_vec() } else { query };
            bytes[2] |= 0x80;
            bytes.resize(max, 0);
            assert!(channel.is_answered_by(SERVER, &bytes).is_some(), "{over:?} {edns}");
            bytes.push(0);
            assert_eq!(channel.is_answered_by(SERVER, &bytes).is_some(), over == Over::Tcp, "{over:?} {edns}");
        }
    }

    #[test]
    fn draft_dns0x20_the_case_of_every_letter_is_random() {
        let mut rng = 1u64;
        // xorshift64.
        let mut bits = || {
            rng ^= rng << 13;
            rng ^= rng >> 7;
            rng ^= rng << 17;
            rng
        };
        let name: crate::proto::dns::Name = format!("{0}.{0}.x-1", "abcdefghij".repeat(6)).parse().unwrap();
        let mut seen = [std::collections::HashSet::new(), std::collections::HashSet::new()];
        for _ in 0..64 {
            let mut wire = name.as_wire().to_vec();
            randomize_case(&mut wire, &mut bits);
            assert!(wire.eq_ignore_ascii_case(name.as_wire()));
            for (n, byte) in wire.iter().enumerate().filter(|(_, byte)| byte.is_ascii_alphabetic()) {
                seen[usize::from(byte.is_ascii_lowercase())].insert(n);
            }
        }
        let letters = name.as_wire().iter().filter(|byte| byte.is_ascii_alphabetic()).count();
        assert_eq!((seen[0].len(), seen[1].len()), (letters, letters));
    }
}

//! Messages (RFC 1035 §4): a header, questions and records.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::name::Name;
use super::wire::{DecodeError, Reader, Writer};

/// A record's type, as IANA numbers them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Type(pub u16);

impl Type {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// A server of the zone.
    pub const NS: Self = Self(2);
    /// Another name for this one.
    pub const CNAME: Self = Self(5);
    /// The zone's start of authority.
    pub const SOA: Self = Self(6);
    /// A name that this one stands for.
    pub const PTR: Self = Self(12);
    /// Texts.
    pub const TXT: Self = Self(16);
    /// An IPv6 address (RFC 3596).
    pub const AAAA: Self = Self(28);
    /// Where a service is (RFC 2782).
    pub const SRV: Self = Self(33);
    /// What EDNS adds to a message (RFC 6891).
    pub const OPT: Self = Self(41);
}

/// The Internet's class.
pub const CLASS_IN: u16 = 1;

/// A question: which records of a name are asked for, in the Internet's class.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The type of the records.
    pub rtype: Type,
    /// The class; `CLASS_IN` nearly always.
    pub class: u16,
}

/// The header's bits: QR, Opcode, AA, TC, RD, RA, Z, AD, CD and RCODE, as on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// It is a response.
    pub const RESPONSE: u16 = 1 << 15;
    /// The answer comes from an authority.
    pub const AUTHORITATIVE: u16 = 1 << 10;
    /// It was cut short: ask again over TCP.
    pub const TRUNCATED: u16 = 1 << 9;
    /// The server is asked to find the answer elsewhere.
    pub const RECURSION_DESIRED: u16 = 1 << 8;
    /// The server would.
    pub const RECURSION_AVAILABLE: u16 = 1 << 7;

    /// One of the bits is set.
    pub fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// The kind of question; 0 is a plain one.
    pub fn opcode(self) -> u8 {
        (self.0 >> 11) as u8 & 0xf
    }

    /// What came of it; 0 is success. EDNS adds higher bits: [`Message::rcode`].
    pub fn rcode(self) -> u8 {
        self.0 as u8 & 0xf
    }
}

/// A record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Whose it is.
    pub name: Name,
    /// Its class, or what EDNS and multicast DNS put there.
    pub class: u16,
    /// Seconds that it is good for, as on the wire.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(Name),
    /// A server of the zone.
    Ns(Name),
    /// A name that this one stands for.
    Ptr(Name),
    /// Where a service is.
    Srv(Srv),
    /// Texts.
    Txt(Vec<Box<[u8]>>),
    /// The zone's start of authority.
    Soa(Box<Soa>),
    /// Anything else, as it came.
    Other(Type, Box<[u8]>),
}

/// Where a service is (RFC 2782).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Srv {
    /// Lower ones are tried first.
    pub priority: u16,
    /// How often it is to be chosen among those of its priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host, to be looked up.
    pub target: Name,
}

/// A zone's start of authority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Soa {
    /// The zone's first server.
    pub server: Name,
    /// Who is responsible.
    pub mailbox: Name,
    /// Serial, refresh, retry, expire.
    pub numbers: [u32; 4],
    /// Seconds that a negative answer is good for (RFC 2308 §4).
    pub minimum: u32,
}

/// A whole message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// Which question it belongs to.
    pub id: u16,
    /// The header's bits.
    pub flags: Flags,
    /// What is asked.
    pub questions: Vec<Question>,
    /// The answer.
    pub answers: Vec<Record>,
    /// Who may know more; for a negative answer the zone's SOA.
    pub authority: Vec<Record>,
    /// What may be useful, and EDNS.
    pub additional: Vec<Record>,
}

/// Records of one message. 64 KiB could hold five thousand, each with a name of 255 bytes to unpack.
const RECORDS_MAX: usize = 1024;
/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 12;

/// The bytes of a query with one question, EDNS where `udp_max` says how long an answer may be (RFC 6891 §6.2.3).
pub(crate) fn encode_query(id: u16, question: &[u8], udp_max: Option<u16>) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + question.len() + 11);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&Flags::RECURSION_DESIRED.to_be_bytes());
    for count in [1, 0, 0, u16::from(udp_max.is_some())] {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out.extend_from_slice(question);
    if let Some(len) = udp_max {
        // The root, OPT, the length, no flags, no options.
        out.push(0);
        out.extend_from_slice(&Type::OPT.0.to_be_bytes());
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
    }
    out
}

impl Message {
    /// Reads a message. Bytes behind it are left alone.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let id = reader.u16()?;
        let flags = Flags(reader.u16()?);
        let mut counts = [0usize; 4];
        for count in &mut counts {
            *count = reader.u16()?.into();
        }
        if counts.iter().sum::<usize>() > RECORDS_MAX {
            return Err(DecodeError::TooManyRecords);
        }
        let questions = (0..counts[0]).map(|_| Question::read(&mut reader)).collect::<Result<_, _>>()?;
        let mut section = |count| (0..count).map(|_| Record::read(&mut reader)).collect::<Result<Vec<_>, _>>();
        let (answers, authority, additional) = (section(counts[1])?, section(counts[2])?, section(counts[3])?);
        Ok(Self { id, flags, questions, answers, authority, additional })
    }

    /// Its bytes, without compression. `None` where it has more questions or records than a message can count, or a record
    /// longer than 65,535 bytes.
    pub fn encode(&self) -> Option<Vec<u8>> {
        self.write(Writer::new(false))
    }

    /// Its bytes, with every name compressed that others can read so: those of SRV records too (RFC 6762 §18.14). `None` as
    /// [`encode`](Self::encode).
    pub fn encode_compressed(&self) -> Option<Vec<u8>> {
        self.write(Writer::new(true))
    }

    fn write(&self, mut to: Writer) -> Option<Vec<u8>> {
        to.u16(self.id);
        to.u16(self.flags.0);
        for count in [self.questions.len(), self.answers.len(), self.authority.len(), self.additional.len()] {
            to.u16(u16::try_from(count).ok()?);
        }
        for question in &self.questions {
            question.write(&mut to);
        }
        for record in self.answers.iter().chain(&self.authority).chain(&self.additional) {
            record.write(&mut to)?;
        }
        Some(to.out)
    }

    /// What came of the question, with the bits that EDNS adds (RFC 6891 §6.1.3).
    pub fn rcode(&self) -> u16 {
        let opt = self.additional.iter().find(|record| record.data.rtype() == Type::OPT);
        let high = opt.map_or(0, |opt| (opt.ttl >> 24) as u16);
        high << 4 | u16::from(self.flags.rcode())
    }
}

impl Question {
    /// A question in the Internet's class.
    pub fn new(name: Name, rtype: Type) -> Self {
        Self { name, rtype, class: CLASS_IN }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { name: reader.name()?, rtype: Type(reader.u16()?), class: reader.u16()? })
    }

    /// Its bytes, without compression.
    pub(super) fn to_wire(&self) -> Vec<u8> {
        let mut to = Writer::default();
        self.write(&mut to);
        to.out
    }

    fn write(&self, to: &mut Writer) {
        to.name(&self.name);
        to.u16(self.rtype.0);
        to.u16(self.class);
    }
}

impl Record {
    /// A record in the Internet's class.
    pub fn new(name: Name, ttl: u32, data: Data) -> Self {
        Self { name, class: CLASS_IN, ttl, data }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let name = reader.name()?;
        let rtype = Type(reader.u16()?);
        let (class, ttl) = (reader.u16()?, reader.u32()?);
        let len = usize::from(reader.u16()?);
        let data = Data::read(rtype, reader, len)?;
        Ok(Self { name, class, ttl, data })
    }

    fn write(&self, to: &mut Writer) -> Option<()> {
        to.name(&self.name);
        to.u16(self.data.rtype().0);
        to.u16(self.class);
        to.u32(self.ttl);
        let len_at = to.out.len();
        to.u16(0);
        self.data.write(to)?;
        let len = u16::try_from(to.out.len() - len_at - 2).ok()?;
        to.out[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
        Some(())
    }

    /// How long it is good for. One with the highest bit set is good for no time at all (RFC 2181 §8).
    pub fn seconds(&self) -> u32 {
        if self.ttl > i32::MAX as u32 { 0 } else { self.ttl }
    }
}

impl Data {
    /// The type of the record.
    pub fn rtype(&self) -> Type {
        match self {
            Self::A(_) => Type::A,
            Self::Aaaa(_) => Type::AAAA,
            Self::Cname(_) => Type::CNAME,
            Self::Ns(_) => Type::NS,
            Self::Ptr(_) => Type::PTR,
            Self::Srv(_) => Type::SRV,
            Self::Txt(_) => Type::TXT,
            Self::Soa(_) => Type::SOA,
            Self::Other(rtype, _) => *rtype,
        }
    }

    /// Reads the data, which fills its length exactly.
    fn read(rtype: Type, reader: &mut Reader<'_>, len: usize) -> Result<Self, DecodeError> {
        let end = reader.at() + len;
        // All of it has to be there, whatever the type.
        let mut ahead = *reader;
        let whole = ahead.take(len)?;
        let data = match rtype {
            Type::A => Self::A(<[u8; 4]>::try_from(reader.take(4)?).map_err(|_| DecodeError::BadData)?.into()),
            Type::AAAA => Self::Aaaa(<[u8; 16]>::try_from(reader.take(16)?).map_err(|_| DecodeError::BadData)?.into()),
            Type::CNAME => Self::Cname(reader.name()?),
            Type::NS => Self::Ns(reader.name()?),
            Type::PTR => Self::Ptr(reader.name()?),
            Type::SRV => Self::Srv(Srv {
                priority: reader.u16()?,
                weight: reader.u16()?,
                port: reader.u16()?,
                target: reader.name()?,
            }),
            Type::TXT => {
                let mut texts = Vec::new();
                while reader.at() < end {
                    let len = usize::from(reader.u8()?);
                    texts.push(reader.take(len)?.into());
                }
                Self::Txt(texts)
            }
            Type::SOA => {
                let (server, mailbox) = (reader.name()?, reader.name()?);
                let mut numbers = [0; 4];
                for number in &mut numbers {
                    *number = reader.u32()?;
                }
                Self::Soa(Box::new(Soa { server, mailbox, numbers, minimum: reader.u32()? }))
            }
            _ => {
                reader.take(len)?;
                Self::Other(rtype, whole.into())
            }
        };
        if reader.at() == end { Ok(data) } else { Err(DecodeError::BadData) }
    }

    /// The data without compression, as sets of records are compared (RFC 6762 §8.2).
    #[cfg(feature = "mdns")]
    pub(super) fn to_wire(&self) -> Vec<u8> {
        let mut to = Writer::default();
        // A text that is too long is cut short; ours are not.
        let _ = self.write(&mut to);
        to.out
    }

    /// `None` for a text longer than 255 bytes.
    fn write(&self, to: &mut Writer) -> Option<()> {
        match self {
            Self::A(ip) => to.bytes(&ip.octets()),
            Self::Aaaa(ip) => to.bytes(&ip.octets()),
            Self::Cname(name) | Self::Ns(name) | Self::Ptr(name) => to.name(name),
            Self::Srv(srv) => {
                for number in [srv.priority, srv.weight, srv.port] {
                    to.u16(number);
                }
                to.name(&srv.target);
            }
            Self::Txt(texts) => {
                for text in texts {
                    to.bytes(&[u8::try_from(text.len()).ok()?]);
                    to.bytes(text);
                }
            }
            Self::Soa(soa) => {
                to.name(&soa.server);
                to.name(&soa.mailbox);
                for number in soa.numbers.iter().chain([&soa.minimum]) {
                    to.u32(*number);
                }
            }
            Self::Other(_, bytes) => to.bytes(bytes),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests;

//! Multicast DNS (RFC 6762) and the services that are found by it (RFC 6763), for one link of the network.
//!
//! [`Link`] is all of it: datagrams, addresses and times in; datagrams, results and deadlines out. What a host says of itself is
//! `responder`, what it asks of others is `querier`; both are none the wiser of sockets.

mod link;
mod own;
mod packet;
mod querier;
mod responder;
mod service;

use std::net::{Ipv4Addr, Ipv6Addr};

pub(crate) use link::{Counters, Link, Net, Output, To};
pub(crate) use querier::Told;
pub use service::{Found, Service, ServiceError};
pub(crate) use service::{host_label, kind_name};

use super::message::{CLASS_IN, Data, Record, Type};
use super::name::Name;

/// The port of everybody who speaks it (RFC 6762 §3).
pub(crate) const PORT: u16 = 5353;
/// Where everybody listens (RFC 6762 §3).
pub(crate) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// The same for IPv6.
pub(crate) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// The longest message, on any link (RFC 6762 §17).
pub(crate) const MESSAGE_MAX: usize = 9000;

/// In a record's class: those known before are no longer good (RFC 6762 §10.2). In a question's: answer to the asker alone
/// (RFC 6762 §5.4).
const TOP_BIT: u16 = 1 << 15;
/// Any type of record (RFC 1035 §3.2.3).
const ANY: Type = Type(255);
/// Any class.
const CLASS_ANY: u16 = 255;
/// Which types a name has (RFC 4034 §4).
const NSEC: Type = Type(47);

/// The name below which everything is asked by multicast.
pub(crate) fn is_local(name: &Name) -> bool {
    name.labels().last().is_some_and(|label| label.eq_ignore_ascii_case(b"local"))
}

/// Two records say the same.
fn is_same(a: &Record, b: &Record) -> bool {
    a.name == b.name && a.class & !TOP_BIT == b.class & !TOP_BIT && a.data == b.data
}

/// The record is of a class that is spoken here.
fn is_in_class(record: &Record) -> bool {
    record.class & !TOP_BIT == CLASS_IN
}

/// What an NSEC record says of a type: that the name has it, or has it not; nothing, where it cannot be read.
fn nsec_has(data: &Data, rtype: Type) -> Option<bool> {
    let Data::Other(NSEC, bytes) = data else { return None };
    // Past the next name, whose end may be a pointer.
    let mut rest = &bytes[..];
    loop {
        let (&len, tail) = rest.split_first()?;
        match len {
            0 => {
                rest = tail;
                break;
            }
            0xc0.. => {
                rest = tail.get(1..)?;
                break;
            }
            len => rest = tail.get(usize::from(len)..)?,
        }
    }
    // RFC 6762 §6.1: one window, of the types below 256.
    let [0, len, bits @ ..] = rest else { return None };
    let bits = bits.get(..usize::from(*len))?;
    let number = usize::from(rtype.0);
    (number < 256).then(|| bits.get(number / 8).is_some_and(|byte| byte & (0x80 >> (number % 8)) != 0))
}

/// The data of an NSEC record: the name has these types below 256 and no others (RFC 6762 §6.1).
fn nsec(name: &Name, types: impl IntoIterator<Item = Type>) -> Data {
    let mut bits = [0u8; 32];
    let mut len = 0;
    for rtype in types {
        let number = usize::from(rtype.0 & 0xff);
        bits[number / 8] |= 0x80 >> (number % 8);
        len = len.max(number / 8 + 1);
    }
    Data::Other(NSEC, [name.as_wire(), &[0, len as u8], &bits[..len]].concat().into())
}

#[cfg(test)]
mod tests;

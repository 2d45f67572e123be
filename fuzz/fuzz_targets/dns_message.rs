//! Any bytes are a message or an error, at little cost; what is a message is written, compressed or not, and read as the same, and
//! what hickory-proto reads of it has the same questions and records.
#![no_main]

use hickory_proto::op::Message as Oracle;
use hickory_proto::rr;
use hickory_proto::serialize::binary::BinDecodable;
use libfuzzer_sys::fuzz_target;
use vansire::dns::{Conf, Data, Hosts, Message, Record, Type};

fuzz_target!(|input: &[u8]| {
    if let Ok(message) = Message::decode(input) {
        for record in message.answers.iter().chain(&message.authority).chain(&message.additional) {
            assert!(record.name.as_wire().len() <= 255);
            let _ = record.name.to_string();
        }
        let bytes = message.encode().expect("what was read can be written");
        // Without compression it may be longer than a message is: then it is none any more.
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(&message));
        let compressed = message.encode_compressed().expect("what was read can be written");
        assert!(compressed.len() <= bytes.len());
        assert_eq!(Message::decode(&compressed).as_ref(), Ok(&message));
        if let Ok(theirs) = Oracle::from_bytes(input) {
            let questions =
                message.questions.iter().map(|ours| (ours.name.as_wire().to_vec(), ours.rtype.0, ours.class));
            assert!(questions.eq(theirs.queries.iter().map(|theirs| {
                let class = u16::from(theirs.query_class());
                (wire(theirs.name()), u16::from(theirs.query_type()), class)
            })));
            is_same(message.answers.iter(), &theirs.answers);
            is_same(message.authority.iter(), &theirs.authorities);
            // They keep OPT elsewhere.
            let is_kept = |record: &&Record| record.data.rtype() != Type::OPT;
            is_same(message.additional.iter().filter(is_kept), &theirs.additionals);
        }
    }
    // The texts that a machine's files hold.
    let text = String::from_utf8_lossy(input);
    let conf = Conf::parse(&text, |_| Some(1));
    assert!((1..=3).contains(&conf.servers.len()) && conf.search.len() <= 6 && (1..=5).contains(&conf.attempts));
    let _ = Hosts::parse(&text);
});

fn is_same<'a>(ours: impl Iterator<Item = &'a Record>, theirs: &[rr::Record]) {
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        assert_eq!(ours.name.as_wire(), wire(&theirs.name));
        assert_eq!((ours.data.rtype().0, ours.ttl), (u16::from(theirs.record_type()), theirs.ttl));
        let is_same = match (&ours.data, &theirs.data) {
            (Data::A(ours), rr::RData::A(theirs)) => *ours == theirs.0,
            (Data::Aaaa(ours), rr::RData::AAAA(theirs)) => *ours == theirs.0,
            (Data::Cname(ours), rr::RData::CNAME(theirs)) => ours.as_wire() == wire(&theirs.0),
            (Data::Ns(ours), rr::RData::NS(theirs)) => ours.as_wire() == wire(&theirs.0),
            (Data::Ptr(ours), rr::RData::PTR(theirs)) => ours.as_wire() == wire(&theirs.0),
            (Data::Srv(ours), rr::RData::SRV(theirs)) => {
                (ours.priority, ours.weight, ours.port) == (theirs.priority, theirs.weight, theirs.port)
                    && ours.target.as_wire() == wire(&theirs.target)
            }
            (Data::Txt(ours), rr::RData::TXT(theirs)) => ours[..] == theirs.txt_data[..],
            (Data::Soa(ours), rr::RData::SOA(theirs)) => {
                let numbers = [theirs.serial, theirs.refresh as u32, theirs.retry as u32, theirs.expire as u32];
                (ours.numbers, ours.minimum) == (numbers, theirs.minimum)
                    && [&ours.server, &ours.mailbox].map(|name| name.as_wire())
                        == [wire(&theirs.mname), wire(&theirs.rname)]
            }
            (_, rr::RData::Update0(_)) => true,
            (Data::Other(..), _) => true,
            _ => false,
        };
        assert!(is_same, "{ours:?}, but {theirs:?}");
    }
}

fn wire(name: &rr::Name) -> Vec<u8> {
    let labels = name.iter().flat_map(|label| [&[label.len() as u8], label].concat());
    labels.chain([0]).collect()
}

use hickory_proto::op::Message as Oracle;
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A response with this header count and body.
fn message(counts: [u16; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 7, 0x81, 0x80];
    bytes.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    bytes.extend_from_slice(body);
    bytes
}

/// A record of the root.
fn record(rtype: u16, data: &[u8]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(rtype.to_be_bytes());
    body.extend([0, 1, 0, 0, 0, 60]);
    body.extend((data.len() as u16).to_be_bytes());
    body.extend_from_slice(data);
    message([0, 1, 0, 0], &body)
}

#[test]
fn records_are_read_type_by_type() {
    use DecodeError::*;
    let srv = Data::Srv(Srv { priority: 1, weight: 2, port: 3, target: name("a") });
    let soa = Soa { server: name("a"), mailbox: Name::root(), numbers: [1, 2, 3, 4], minimum: 5 };
    let numbers = b"\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04\0\0\0\x05";
    let soa_bytes = [&b"\x01a\0\0"[..], numbers].concat();
    type Row<'a> = (&'a str, u16, &'a [u8], Result<Data, DecodeError>);
    let table: Vec<Row<'_>> = vec![
        ("RFC 1035 §3.4.1 A", 1, &[1, 2, 3, 4], Ok(Data::A([1, 2, 3, 4].into()))),
        ("A, too short", 1, &[1, 2, 3], Err(Truncated)),
        ("A, too long", 1, &[1, 2, 3, 4, 5], Err(BadData)),
        ("RFC 3596 §2.2 AAAA", 28, &[1; 16], Ok(Data::Aaaa([1; 16].into()))),
        ("AAAA of four bytes", 28, &[1; 4], Err(Truncated)),
        ("RFC 1035 §3.3.1 CNAME", 5, b"\x01a\0", Ok(Data::Cname(name("a")))),
        ("a name that ends early", 5, b"\x01a\0\0", Err(BadData)),
        ("a name past its data", 5, b"\x01", Err(Truncated)),
        ("RFC 1035 §3.3.11 NS", 2, b"\x01a\0", Ok(Data::Ns(name("a")))),
        ("RFC 1035 §3.3.12 PTR", 12, b"\x01a\0", Ok(Data::Ptr(name("a")))),
        ("RFC 2782 SRV", 33, b"\0\x01\0\x02\0\x03\x01a\0", Ok(srv)),
        ("SRV without a target", 33, b"\0\x01\0\x02\0\x03", Err(Truncated)),
        (
            "RFC 1035 §3.3.14 TXT",
            16,
            b"\x01a\0\x02bc",
            Ok(Data::Txt(vec![b"a"[..].into(), b""[..].into(), b"bc"[..].into()])),
        ),
        ("TXT past its data", 16, b"\x05a", Err(Truncated)),
        ("RFC 1035 §3.3.13 SOA", 6, &soa_bytes, Ok(Data::Soa(Box::new(soa)))),
        ("SOA cut short", 6, &soa_bytes[..20], Err(Truncated)),
        ("RFC 3597 §3 an unknown type", 999, b"xyz", Ok(Data::Other(Type(999), b"xyz"[..].into()))),
        ("no data at all", 999, b"", Ok(Data::Other(Type(999), [].into()))),
    ];
    for (row, rtype, data, expected) in table {
        let read = Message::decode(&record(rtype, data)).map(|message| message.answers[0].data.clone());
        assert_eq!(read, expected, "{row}");
    }
}

#[test]
fn d12_hostile_messages_are_refused_at_little_cost() {
    use DecodeError::*;
    // The data of one record is a chain of pointers; the names of all others begin at its end.
    let mut bomb = b"\0\x03\xe7\0\x01\0\0\0\x3c\0\xfd\0".to_vec();
    let chain = 12 + 11;
    for n in 0..126u16 {
        let to = if n == 0 { chain } else { chain + 2 * n - 1 };
        bomb.extend((0xc000 | to).to_be_bytes());
    }
    let last = (0xc000 | (chain + 2 * 125 + 1)).to_be_bytes();
    for _ in 0..4000 {
        bomb.extend(last);
        bomb.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4]);
    }
    let zeros = vec![0; 65_523];
    let table: Vec<(&str, Vec<u8>, DecodeError)> = vec![
        ("nothing", vec![], Truncated),
        ("half a header", vec![0; 11], Truncated),
        ("a question that is not there", message([1, 0, 0, 0], b""), Truncated),
        ("records that are not there", message([0, 1, 0, 0], b""), Truncated),
        ("as many records as can be counted", message([0, 65_535, 65_535, 65_535], &zeros), TooManyRecords),
        ("a compression bomb", message([0, 5000, 0, 0], &bomb), TooManyRecords),
        ("64 KiB of questions", message([1025, 0, 0, 0], &zeros), TooManyRecords),
        ("a name in itself", message([1, 0, 0, 0], b"\xc0\x0c\0\x01\0\x01"), BadPointer),
        (
            "data that ends past the message",
            message([0, 1, 0, 0], b"\0\0\x01\0\x01\0\0\0\x3c\xff\xff\x01\x02\x03\x04"),
            Truncated,
        ),
    ];
    for (row, bytes, expected) in table {
        assert_eq!(Message::decode(&bytes).unwrap_err(), expected, "{row}");
    }
    // The largest that is read: a thousand names, each of which follows 127 pointers.
    let heavy = message([0, 1000, 0, 0], &bomb);
    assert_eq!(Message::decode(&heavy).unwrap().answers.len(), 1000);
}

#[test]
fn rfc_1035_section_4_1_1_the_bits_of_the_header_are_told() {
    let flags = Flags(0xa783);
    assert!(flags.has(Flags::RESPONSE) && flags.has(Flags::TRUNCATED) && flags.has(Flags::AUTHORITATIVE));
    assert!(flags.has(Flags::RECURSION_DESIRED) && flags.has(Flags::RECURSION_AVAILABLE));
    assert_eq!((flags.opcode(), flags.rcode()), (4, 3));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let of = |data| Message { answers: vec![Record::new(name("a"), 1, data)], ..Message::default() };
    let text = |len| Data::Txt(vec![vec![0; len].into()]);
    assert!(of(text(255)).encode().is_some() && of(text(256)).encode().is_none());
    let other = |len| Data::Other(Type(999), vec![0; len].into());
    assert!(of(other(65_535)).encode().is_some() && of(other(65_536)).encode().is_none());
}

fn any_name() -> impl Strategy<Value = Name> {
    let label = vec(any::<u8>(), 1..12);
    vec(label, 0..6).prop_map(|labels| Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap())
}

fn host_name() -> impl Strategy<Value = Name> {
    "[a-zA-Z0-9_-]{1,12}(\\.[a-z0-9]{1,8}){0,4}".prop_map(|text| text.parse().unwrap())
}

fn any_data(name: BoxedStrategy<Name>) -> impl Strategy<Value = Data> {
    let srv = (any::<[u16; 3]>(), name.clone())
        .prop_map(|([priority, weight, port], target)| Data::Srv(Srv { priority, weight, port, target }));
    let soa = (name.clone(), name.clone(), any::<[u32; 4]>(), any::<u32>())
        .prop_map(|(server, mailbox, numbers, minimum)| Data::Soa(Box::new(Soa { server, mailbox, numbers, minimum })));
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| Data::A(ip.into())),
        any::<[u8; 16]>().prop_map(|ip| Data::Aaaa(ip.into())),
        name.clone().prop_map(Data::Cname),
        name.clone().prop_map(Data::Ns),
        name.prop_map(Data::Ptr),
        srv,
        soa,
        vec(vec(any::<u8>(), 0..20).prop_map(Into::into), 1..4).prop_map(Data::Txt),
    ]
}

fn any_message(name: BoxedStrategy<Name>) -> impl Strategy<Value = Message> {
    let question = (name.clone(), 1u16..40).prop_map(|(name, rtype)| Question::new(name, Type(rtype)));
    let record = (name.clone(), 0..i32::MAX as u32, any_data(name))
        .prop_map(|(name, ttl, data)| Record::new(name, ttl, data))
        .boxed();
    let section = || vec(record.clone(), 0..5);
    // Opcode, Z and the code stay zero: not all of their values have a name in the oracle.
    (any::<u16>(), any::<u16>(), vec(question, 0..3), section(), section(), section()).prop_map(
        |(id, flags, questions, answers, authority, additional)| {
            let flags = Flags(flags & 0b1000_0111_1011_0000);
            Message { id, flags, questions, answers, authority, additional }
        },
    )
}

/// Every compressed form that the oracle writes is read, and what is written is read by the oracle as the same.
fn agrees(message: &Message) -> Result<(), TestCaseError> {
    let bytes = message.encode().unwrap();
    let oracle = Oracle::from_bytes(&bytes).map_err(|e| TestCaseError::fail(format!("{e}: {message:?}")))?;
    let compressed = oracle.to_bytes().map_err(|e| TestCaseError::fail(format!("{e}: {message:?}")))?;
    prop_assert!(compressed.len() <= bytes.len());
    prop_assert_eq!(&Message::decode(&compressed).unwrap(), message);
    let ours = message.encode_compressed().unwrap();
    prop_assert!(ours.len() <= compressed.len(), "{} {}", ours.len(), compressed.len());
    prop_assert_eq!(&Oracle::from_bytes(&ours).unwrap(), &oracle);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(message in any_message(any_name().boxed())) {
        let bytes = message.encode().unwrap();
        prop_assert_eq!(&Message::decode(&bytes).unwrap(), &message);
        prop_assert_eq!(Message::decode(&message.encode_compressed().unwrap()).unwrap(), message);
    }

    #[test]
    fn hickory_proto_reads_what_we_write_and_we_read_what_it_writes(message in any_message(host_name().boxed())) {
        agrees(&message)?;
    }

    #[test]
    fn no_bytes_do_harm(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::decode(&bytes) {
            // What was read can be written, and is the same then.
            let again = message.encode().unwrap();
            prop_assert_eq!(Message::decode(&again).unwrap(), message);
        }
    }

    /// Hostile bytes that begin like a message, and pointers all over them.
    #[test]
    fn no_pointers_do_harm(counts in any::<[u8; 4]>(), body in vec(prop_oneof![Just(0xc0), 0u8..64, any::<u8>()], 0..600)) {
        let _ = Message::decode(&message(counts.map(|count| u16::from(count % 8)), &body));
    }

    /// A byte of a good message is another one.
    #[test]
    fn no_damage_does_harm(good in any_message(any_name().boxed()), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = good.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = Message::decode(&bytes);
    }
}

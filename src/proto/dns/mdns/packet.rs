//! Messages as they leave: records put into as few packets as hold them, names compressed.

use super::super::message::{Flags, Message, Question, Record};

/// A message fits into a packet of any link that speaks IPv6 (1,280 bytes), its headers left out (RFC 6762 §17).
const PACKET_MAX: usize = 1232;

/// A response with these records. What does not fit goes into further ones, what may be left out is left out there.
pub(super) fn responses(answers: Vec<Record>, additional: Vec<Record>) -> Vec<Vec<u8>> {
    let flags = Flags(Flags::RESPONSE | Flags::AUTHORITATIVE);
    let mut packets = pack(Message { flags, ..Message::default() }, answers);
    if let Some(last) = packets.last_mut() {
        for record in additional {
            last.additional.push(record);
            if len(last) > PACKET_MAX {
                last.additional.pop();
            }
        }
    }
    packets.iter().filter_map(Message::encode_compressed).collect()
}

/// The answer for one who asks as of an ordinary server, cut short where it is too long (RFC 6762 §6.7).
pub(super) fn legacy(query: &Message, answers: Vec<Record>) -> Option<Vec<u8>> {
    let flags = Flags(Flags::RESPONSE | Flags::AUTHORITATIVE);
    let mut message = Message { id: query.id, flags, questions: query.questions.clone(), ..Message::default() };
    for record in answers {
        message.answers.push(record);
        if len(&message) > PACKET_MAX {
            message.answers.pop();
            message.flags.0 |= Flags::TRUNCATED;
        }
    }
    // Questions alone are no answer.
    if message.answers.is_empty() { None } else { message.encode_compressed() }
}

/// A query, with the answers that are known already. Where those do not fit, more follow: each packet but the last says so
/// (RFC 6762 §7.2).
pub(super) fn query(questions: Vec<Question>, known: Vec<Record>) -> Vec<Vec<u8>> {
    let mut packets = pack(Message { questions, ..Message::default() }, known);
    let last = packets.len().saturating_sub(1);
    for packet in &mut packets[..last] {
        packet.flags.0 |= Flags::TRUNCATED;
    }
    packets.iter().filter_map(Message::encode_compressed).collect()
}

/// Fills the answers of `first`, then of others like it without its questions.
fn pack(first: Message, records: Vec<Record>) -> Vec<Message> {
    let next = Message { questions: Vec::new(), ..first.clone() };
    let mut packets = vec![first];
    for record in records {
        let Some(packet) = packets.last_mut() else { break };
        packet.answers.push(record);
        // One that fits nowhere has a packet of its own (RFC 6762 §17).
        let alone = packet.answers.len() == 1 && packet.questions.is_empty();
        if len(packet) > PACKET_MAX && !alone {
            let mut more = next.clone();
            more.answers.extend(packet.answers.pop());
            packets.push(more);
        }
    }
    packets
}

fn len(message: &Message) -> usize {
    message.encode_compressed().map_or(usize::MAX, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::dns::message::{Data, Type};
    use crate::proto::dns::name::Name;

    fn record(n: usize) -> Record {
        let name: Name = format!("host-{n}.some.where.local").parse().unwrap();
        Record::new(name, 120, Data::Txt(vec![vec![b'x'; 100].into()]))
    }

    #[test]
    fn rfc_6762_section_7_2_what_does_not_fit_follows_and_is_announced() {
        let question = Question::new("_http._tcp.local".parse().unwrap(), Type::PTR);
        let packets = query(vec![question.clone()], (0..30).map(record).collect());
        assert!(packets.len() > 2 && packets.iter().all(|packet| packet.len() <= PACKET_MAX));
        let messages: Vec<Message> = packets.iter().map(|packet| Message::decode(packet).unwrap()).collect();
        let (last, others) = messages.split_last().unwrap();
        assert!(others.iter().all(|message| message.flags.has(Flags::TRUNCATED)) && !last.flags.has(Flags::TRUNCATED));
        assert_eq!(messages.iter().map(|message| message.questions.len()).sum::<usize>(), 1);
        let known: Vec<Record> = messages.into_iter().flat_map(|message| message.answers).collect();
        assert_eq!(known, (0..30).map(record).collect::<Vec<_>>());
    }

    #[test]
    fn answers_are_all_sent_and_the_rest_where_it_fits() {
        let packets = responses((0..20).map(record).collect(), (20..60).map(record).collect());
        assert!(packets.iter().all(|packet| packet.len() <= PACKET_MAX));
        let messages: Vec<Message> = packets.iter().map(|packet| Message::decode(packet).unwrap()).collect();
        assert_eq!(messages.iter().map(|message| message.answers.len()).sum::<usize>(), 20);
        let huge = Record::new(record(0).name, 1, Data::Txt(vec![vec![0; 255].into(); 10]));
        assert_eq!(responses(vec![huge], Vec::new()).len(), 1, "RFC 6762 §17: one that fits nowhere goes alone");
    }
}

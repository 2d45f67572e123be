//! Compares what the applications got with what the model says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::Net;
use crate::broker::{DropReason, Drops};
use crate::mqtt::QoS;

use super::books::{Book, Shared};
use super::model::{LetIn, Model, is_hostile};
use super::users::may_read;
use super::{Seen, Stage};
use crate::world::{Outcome, Promise};

/// Messages by their numbers.
type ByNumber<'a> = BTreeMap<u32, Vec<&'a Seen>>;

/// A promise that is not kept, and how.
pub(crate) type Broken = (Promise, String);

pub(super) fn all(stage: &Stage, net: &Net<'_, ()>) -> Result<(), Broken> {
    let model = stage.model.borrow();
    let all_seen = stage.seen.borrow();
    let mut by_book: Vec<Vec<&Seen>> = model.books.iter().map(|_| Vec::new()).collect();
    for seen in all_seen.iter() {
        let LetIn { book, user, .. } = model
            .by_addr
            .get(&seen.at)
            .ok_or_else(|| (Promise::MqttNothingElse, format!("{} was never let in", seen.at)))?;
        if !may_read(*user, &seen.topic) {
            return Err((
                Promise::MqttNothingElse,
                format!("{} was given {} on {}, as {user:?}", seen.at, seen.number, seen.topic),
            ));
        }
        by_book[*book].push(seen);
    }
    if let Some(number) = model.twice.first() {
        let what = format!("{} publishes {number} twice, at QoS 0 or 2", model.published[number]);
        return Err((Promise::MqttNothingElse, what));
    }
    for (at, (book, seen)) in model.books.iter().zip(&by_book).enumerate() {
        if is_hostile(&book.client) {
            continue;
        }
        let in_book = |promise| move |what: String| (promise, format!("{} (session {at}): {what}", book.client));
        nothing_else(&model, book, seen).map_err(in_book(Promise::MqttNothingElse))?;
        in_order(&model, book, seen).map_err(in_book(Promise::MqttOrder))?;
        if !book.has_ended {
            let info = stage
                .broker
                .client(net, &book.client)
                .ok_or_else(|| (Promise::MqttRules, format!("{} is gone", book.client)))?;
            nothing_lost(&model, book, seen, &info.dropped).map_err(in_book(Promise::MqttNothingLost))?;
            retained_was_told(&model, book, seen).map_err(in_book(Promise::MqttRetained))?;
        }
    }
    let dropped = stage.broker.stats().dropped;
    // Who may not have it has no turn, and whose session ends hands it on: neither is a reason why a group does not get a message.
    let others = dropped.get(DropReason::Denied) + dropped.get(DropReason::SessionEnded);
    shared(&model, &by_book, dropped.total() - others).map_err(|what| (Promise::MqttShared, what))?;
    for number in stage.acked.borrow().iter().filter(|number| **number != 0) {
        if !model.published.contains_key(number) && !model.refused_unsaid.contains(number) {
            return Err((Promise::MqttNothingLost, format!("{number} was acknowledged and never accepted")));
        }
    }
    if let Some(number) = stage.refused.borrow().iter().find(|number| !model.refused.contains(number)) {
        return Err((Promise::MqttRules, format!("{number} was refused, and is allowed")));
    }
    let retained: BTreeMap<_, _> = stage
        .broker
        .retained("#", None, usize::MAX)
        .map_err(|e| (Promise::MqttRules, e.to_string()))?
        .iter()
        .map(|message| (message.topic().to_owned(), super::number_of(message.payload()).unwrap_or(0)))
        .collect();
    if retained != model.retained_now() {
        return Err((Promise::MqttRetained, format!("retained is {retained:?}, not {:?}", model.retained_now())));
    }
    // Nothing is queued any more: what was for somebody was sent, or is counted. A member that subscribed with QoS 0 gets nothing while
    // it is away.
    let stats = stage.broker.stats();
    let entries = model.books.iter().flat_map(|book| &book.entries).filter(|entry| !entry.may_be_late).count();
    let waits = |message: &&Shared| message.members.iter().all(|(_, qos)| *qos > QoS::AtMostOnce);
    let all = (entries + model.shared.iter().filter(waits).count()) as u64;
    if stats.publish_out + dropped.total() < all {
        let what = format!("{all} were for somebody, {} were sent, and {} dropped", stats.publish_out, dropped.total());
        return Err((Promise::MqttNothingLost, what));
    }
    Ok(())
}

/// A member's share is judged with the whole group.
fn is_shared(topic: &str) -> bool {
    topic.starts_with("s/")
}

/// Everything is what the session was to get, as it was to get it, and as often.
fn nothing_else(model: &Model, book: &Book, seen: &[&Seen]) -> Outcome {
    let mut by_number = ByNumber::new();
    for one in seen.iter().filter(|one| !is_shared(&one.topic)) {
        by_number.entry(one.number).or_default().push(one);
    }
    for (number, seen) in by_number {
        let entries: Vec<_> = book.entries.iter().filter(|entry| entry.number == number).collect();
        for one in &seen {
            let is_entry = entries.iter().any(|entry| {
                (entry.qos, entry.retain, entry.topic.as_str()) == (one.qos, one.retain, one.topic.as_str())
            });
            let is_replay = one.retain && replays(model, book, one) > 0;
            if !is_entry && !is_replay {
                return Err(format!(
                    "{number} on {} at {:?}, retain {}, is not for it",
                    one.topic, one.qos, one.retain
                ));
            }
        }
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let of_qos: Vec<_> = seen.iter().copied().filter(|one| one.qos == qos).collect();
            let Some(first) = of_qos.first() else { continue };
            let most = entries.iter().filter(|entry| entry.qos == qos).count() + replays(model, book, first);
            match qos {
                QoS::AtLeastOnce => again(&of_qos, most)?,
                _ if of_qos.len() > most => {
                    return Err(format!("{number} came {} times at {qos:?}, not {most}", of_qos.len()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What has QoS 1 comes again on another connection only (MQTT-4.4.0-1), and says so (MQTT-3.3.1-1).
fn again(seen: &[&Seen], most: usize) -> Outcome {
    let mut by_connection: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for one in seen {
        *by_connection.entry(one.at).or_default() += 1;
    }
    let number = seen.first().map_or(0, |one| one.number);
    if let Some((at, times)) = by_connection.iter().find(|(_, times)| **times > most) {
        return Err(format!("{number} came {times} times on the connection from {at}, not {most}"));
    }
    match seen.iter().skip(1).find(|one| most == 1 && !one.dup) {
        Some(one) => Err(format!("{number} came again, to {}, and does not say so", one.at)),
        None => Ok(()),
    }
}

/// How many subscriptions it may have been sent for as a retained message.
fn replays(model: &Model, book: &Book, seen: &Seen) -> usize {
    let fits = |replay: &&super::books::Replay| {
        replay.covers(&seen.topic) && seen.qos <= replay.qos && model.was_retained(&seen.topic, seen.number, replay.at)
    };
    book.replays.iter().filter(fits).count()
}

/// MQTT-4.6.0-6: in the order of the broker, for each publisher, topic and quality. What comes again does not count.
fn in_order(model: &Model, book: &Book, seen: &[&Seen]) -> Outcome {
    let mut all_places: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, entry) in book.entries.iter().enumerate() {
        all_places.entry((entry.number, entry.retain)).or_default().push(place);
    }
    let mut last: BTreeMap<(&str, &str, u8), usize> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for one in seen.iter().filter(|one| one.number != 0 && (!one.retain || book.replays.is_empty())) {
        let (Some(places), Some(publisher)) =
            (all_places.get(&(one.number, one.retain)), model.published.get(&one.number))
        else {
            continue;
        };
        if !known.insert(one.number) {
            continue;
        }
        let last = last.entry((publisher, &one.topic, one.qos.to_u8())).or_default();
        // What was published twice at QoS 1 has two places, and the first may be the one that a full queue has dropped.
        let Some(place) = places.iter().find(|place| **place >= *last) else {
            return Err(format!("{} of {publisher} on {} comes too late", one.number, one.topic));
        };
        *last = *place;
    }
    Ok(())
}

/// What is missing is counted as dropped: at QoS 1 and 2 all of it, at QoS 0 what was for a connection that still stands.
fn nothing_lost(model: &Model, book: &Book, seen: &[&Seen], dropped: &Drops) -> Outcome {
    // What has QoS 0 comes on the connection that it was for.
    let mut count: BTreeMap<(u32, &str, bool, Option<SocketAddr>), usize> = BTreeMap::new();
    for one in seen {
        let at = (one.qos == QoS::AtMostOnce).then_some(one.at);
        *count.entry((one.number, &one.topic, one.retain, at)).or_default() += 1;
    }
    let at_last = model.address(&book.client);
    let (mut missing, mut missing_0, mut twice) = (Vec::new(), Vec::new(), false);
    let mut required = BTreeMap::new();
    let is_withdrawn = book.entries.iter().any(|entry| entry.is_withdrawn);
    for entry in book.entries.iter().filter(|entry| !entry.is_withdrawn) {
        let is_0 = entry.qos == QoS::AtMostOnce;
        let key = (entry.number, entry.topic.as_str(), entry.retain, entry.at.filter(|_| is_0));
        let required = required.entry(key).or_insert(0);
        twice |= *required > 0 || entry.number == 0 || entry.retain && !book.replays.is_empty();
        // Nobody can tell one empty message from another.
        *required = if entry.number == 0 { *required + 1 } else { 1 };
        if count.get(&key).is_some_and(|count| count >= required) {
            continue;
        }
        match is_0 {
            false => missing.push(entry.number),
            true if entry.at == at_last => missing_0.push(entry.number),
            true => {}
        }
    }
    let full = dropped.get(DropReason::QueueFull) + dropped.get(DropReason::TotalFull);
    let is_exact = !twice && !book.is_member && !is_withdrawn;
    if missing.len() as u64 > full || is_exact && (missing.len() as u64) < full {
        return Err(format!("{missing:?} are missing, and {full} are counted"));
    }
    let slow = dropped.get(DropReason::Slow);
    if missing_0.len() as u64 > slow {
        return Err(format!("{missing_0:?} of QoS 0 are missing, and {slow} are counted"));
    }
    Ok(())
}

/// MQTT-3.3.1-9: what was retained when it subscribed, and still is.
fn retained_was_told(model: &Model, book: &Book, seen: &[&Seen]) -> Outcome {
    for replay in book.replays.iter().filter(|replay| replay.qos != QoS::AtMostOnce && replay.until.is_none()) {
        for (topic, values) in model.retained.iter().filter(|(topic, _)| replay.covers(topic)) {
            let Some(last) = values.last() else { continue };
            let is_due = last.number != 0
                && last.qos != QoS::AtMostOnce
                && last.at < replay.at
                && replay.users.iter().all(|user| may_read(*user, topic));
            if is_due && !seen.iter().any(|one| one.retain && one.number == last.number) {
                return Err(format!("{} is retained on {topic}, and it has not heard of it", last.number));
            }
        }
    }
    Ok(())
}

/// Section 4.8.2: each message to one member of each group.
fn shared(model: &Model, by_book: &[Vec<&Seen>], dropped: u64) -> Outcome {
    let mut by_number: BTreeMap<u32, Vec<(usize, &Seen)>> = BTreeMap::new();
    for (book, seen) in by_book.iter().enumerate() {
        for one in seen.iter().filter(|one| is_shared(&one.topic) && one.number != 0) {
            by_number.entry(one.number).or_default().push((book, one));
        }
    }
    let mut for_number: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for shared in model.shared.iter().filter(|shared| shared.number != 0) {
        for_number.entry(shared.number).or_default().push(shared);
    }
    let mut missing = 0;
    for (number, groups) in &for_number {
        let seen = by_number.remove(number).unwrap_or_default();
        let members = || groups.iter().flat_map(|group| &group.members);
        if let Some((book, _)) = seen.iter().find(|(book, _)| !members().any(|(b, _)| b == book)) {
            return Err(format!("{number} was given to {}, who is no member", model.books[*book].client));
        }
        for qos in [QoS::AtMostOnce, QoS::ExactlyOnce] {
            let times = seen.iter().filter(|(_, one)| one.qos == qos).count();
            if times > groups.len() {
                return Err(format!("{number} came {times} times at {qos:?} to members of {} groups", groups.len()));
            }
        }
        let receivers: BTreeSet<_> = seen.iter().map(|(book, _)| *book).collect();
        if receivers.len() > groups.iter().map(|group| 1 + group.handed_on).sum() {
            return Err(format!("{number} was given to {} members of {} groups", receivers.len(), groups.len()));
        }
        let is_kept = |group: &&&super::books::Shared| {
            let is_for_all = group.members.iter().all(|(_, qos)| *qos != QoS::AtMostOnce);
            group.qos != QoS::AtMostOnce && is_for_all && !group.members.is_empty() && !group.may_be_lost
        };
        let kept = groups.iter().filter(is_kept).count();
        missing += kept.saturating_sub(seen.len()) as u64;
    }
    if let Some((number, _)) = by_number.first_key_value() {
        return Err(format!("{number} was for no group"));
    }
    if missing > dropped {
        return Err(format!("{missing} messages for groups are missing, and {dropped} are counted"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_4_4_0_1_and_3_3_1_1_what_comes_again_does_so_on_another_connection_and_says_so() {
        let seen = |port: u16, dup| {
            let (at, topic) = (SocketAddr::from(([10, 0, 1, 1], port)), "t/0".to_owned());
            Seen { at, number: 7, topic, qos: QoS::AtLeastOnce, retain: false, dup }
        };
        // (name, port and DUP of each, how often it was for the session, whether it is right)
        type Came<'a> = &'a [(u16, bool)];
        let table: [(&str, Came<'_>, usize, bool); 7] = [
            ("once", &[(1, false)], 1, true),
            ("the first was lost", &[(2, true)], 1, true),
            ("again", &[(1, false), (2, true), (3, true)], 1, true),
            ("twice on one connection", &[(1, false), (1, true)], 1, false),
            ("again without DUP", &[(1, false), (2, false)], 1, false),
            ("published twice", &[(1, false), (1, false)], 2, true),
            ("three of two", &[(1, false), (1, false), (1, true)], 2, false),
        ];
        for (name, came, most, is_right) in table {
            let came: Vec<_> = came.iter().map(|(port, dup)| seen(*port, *dup)).collect();
            assert_eq!(again(&came.iter().collect::<Vec<_>>(), most).is_ok(), is_right, "{name}");
        }
    }
}

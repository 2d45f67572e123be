//! Retained messages: which topics match this filter?
//!
//! One ordered set of messages by topic, 8 bytes for each beside the message. A filter is answered by walking the set in
//! order; where a topic does not match, the least topic that can is computed and sought, so that what lies between costs
//! nothing. The walk can stop and go on later at a topic.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};
use std::rc::Rc;

use crate::time::Moment;

use super::connect::is_sys;
use super::message::Message;

/// The retained messages of a broker.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeSet<ByTopic>,
    /// How many of them are below `$SYS`: figures take nobody's room.
    figures: usize,
    /// Of the topics, properties and payloads of the others.
    bytes: usize,
    /// How many of them end some time.
    mortal: usize,
    /// Where looking for those that have ended goes on.
    swept: String,
}

#[derive(Debug)]
struct ByTopic(Rc<Message>);

impl Borrow<str> for ByTopic {
    fn borrow(&self) -> &str {
        self.0.topic()
    }
}

impl Ord for ByTopic {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.topic().cmp(other.0.topic())
    }
}

impl PartialOrd for ByTopic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByTopic {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByTopic {}

impl Retained {
    /// How many there are, but for those below `$SYS`.
    pub(super) fn len(&self) -> usize {
        self.messages.len() - self.figures
    }

    /// There are none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether some of them end some time.
    pub(super) fn has_mortal(&self) -> bool {
        self.mortal > 0
    }

    pub(super) fn get(&self, topic: &str) -> Option<&Rc<Message>> {
        self.messages.get(topic).map(|found| &found.0)
    }

    /// Keeps a message, in the place of the one that its topic had.
    pub(super) fn set(&mut self, message: Rc<Message>) {
        let is_figure = is_sys(message.topic());
        self.figures += usize::from(is_figure);
        self.bytes += if is_figure { 0 } else { message.size() };
        self.mortal += usize::from(message.expires() != Moment::NEVER);
        if let Some(old) = self.messages.replace(ByTopic(message)) {
            self.forget(&old.0);
        }
    }

    /// Drops the message of a topic; whether there was one.
    pub(super) fn remove(&mut self, topic: &str) -> bool {
        let Some(old) = self.messages.take(topic) else { return false };
        self.forget(&old.0);
        true
    }

    fn forget(&mut self, old: &Message) {
        let is_figure = is_sys(old.topic());
        self.figures -= usize::from(is_figure);
        self.bytes -= if is_figure { 0 } else { old.size() };
        self.mortal -= usize::from(old.expires() != Moment::NEVER);
    }

    /// Shows those that match a filter, in the order of their topics, until `found` breaks. Of a walk that goes on, `after` is the
    /// last topic that was shown.
    pub(super) fn matching(
        &self,
        filter: &str,
        after: Option<&str>,
        found: impl FnMut(&Rc<Message>) -> ControlFlow<()>,
    ) {
        let mut steps = usize::MAX;
        self.walk(filter, after, &mut steps, found);
    }

    /// As `matching`, in so many steps at most, of which it leaves what it does not need. Some: there are no more, and the walk goes on
    /// after this topic.
    ///
    /// A filter may match nothing and have all topics looked at: what a walk costs is up to the client that has thought of the filter.
    pub(super) fn walk(
        &self,
        filter: &str,
        after: Option<&str>,
        steps: &mut usize,
        mut found: impl FnMut(&Rc<Message>) -> ControlFlow<()>,
    ) -> Option<&str> {
        *steps = steps.saturating_sub(SEEK_STEPS);
        let literal = filter.split('/').take_while(|level| !matches!(*level, "+" | "#")).map(|level| level.len() + 1);
        let literal_len = literal.sum::<usize>().saturating_sub(1).min(filter.len());
        let mut from = String::from(filter.get(..literal_len).unwrap_or_default());
        let mut exclusive = false;
        if let Some(after) = after.filter(|after| *after >= from.as_str()) {
            after.clone_into(&mut from);
            exclusive = true;
        }
        'seek: loop {
            let start = if exclusive { Bound::Excluded(from.as_str()) } else { Bound::Included(from.as_str()) };
            let mut next = None;
            for ByTopic(message) in self.messages.range::<str, _>((start, Bound::Unbounded)) {
                match judge(filter, message.topic()) {
                    Judged::Matches => {
                        if found(message).is_break() {
                            return None;
                        }
                        *steps = steps.saturating_sub(1);
                    }
                    Judged::SeekTo(at) => {
                        *steps = steps.saturating_sub(SEEK_STEPS);
                        next = Some(at);
                    }
                    Judged::Over => return None,
                }
                if *steps == 0 {
                    return Some(message.topic());
                }
                if next.is_some() {
                    break;
                }
            }
            let at = next?;
            from = at;
            exclusive = false;
            continue 'seek;
        }
    }

    /// Drops those that have ended, of the next `max`; says whether it has come round.
    pub(super) fn sweep(&mut self, now: Moment, max: usize) -> bool {
        let range = (Bound::Excluded(self.swept.as_str()), Bound::Unbounded);
        let looked_at: Vec<_> =
            self.messages.range::<str, _>(range).take(max).map(|found| Rc::clone(&found.0)).collect();
        for message in looked_at.iter().filter(|message| message.expires() <= now) {
            self.remove(message.topic());
        }
        self.swept.clear();
        let is_round = looked_at.len() < max;
        if let Some(last) = looked_at.last().filter(|_| !is_round) {
            self.swept.push_str(last.topic());
        }
        is_round
    }
}

/// Seeking a topic takes as long as so many steps from one to the next.
const SEEK_STEPS: usize = 8;

enum Judged {
    Matches,
    /// It does not, and no topic does that is less than this one, which is greater.
    SeekTo(String),
    /// Nor does any greater one.
    Over,
}

/// Whether a topic matches; and if not, the least topic that may.
fn judge(filter: &str, topic: &str) -> Judged {
    // MQTT-4.7.2-1
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return Judged::SeekTo("%".into());
    }
    // What follows the last `+` so far can be tried again below the next name in its place.
    let mut plus_end = None;
    let mut at = 0;
    let mut wanted = filter.split('/').peekable();
    loop {
        let Some(level) = wanted.next() else {
            // The topic goes on where the filter ends.
            return next_name(topic, plus_end);
        };
        if level == "#" {
            return Judged::Matches;
        }
        let rest = topic.get(at..).unwrap_or_default();
        let end = at + rest.find('/').unwrap_or(rest.len());
        let name = topic.get(at..end).unwrap_or_default();
        if level == "+" {
            plus_end = Some(end);
        } else if name != level {
            let before = topic.get(..at).unwrap_or_default();
            let mut candidate = format!("{before}{level}");
            if candidate.as_str() > topic {
                return Judged::SeekTo(candidate);
            }
            // `a!` lies between `a` and `a/b`.
            candidate.push('/');
            if wanted.peek().is_some() && candidate.as_str() > topic {
                return Judged::SeekTo(candidate);
            }
            return next_name(topic, plus_end);
        }
        if end == topic.len() {
            return match wanted.peek() {
                None | Some(&"#") => Judged::Matches,
                // `a!` lies between `a` and `a/b`, and is another name for `+`.
                Some(_) if level == "+" => Judged::SeekTo(format!("{topic}\0")),
                Some(_) => Judged::SeekTo(format!("{topic}/")),
            };
        }
        if wanted.peek().is_none() {
            return match level {
                // Deeper than the filter: past all that is below this name.
                "+" => next_name(topic, Some(end)),
                _ => next_name(topic, plus_end),
            };
        }
        at = end + 1;
    }
}

/// Past all that lies below the name that ends there: `0` follows the slash.
fn next_name(topic: &str, end: Option<usize>) -> Judged {
    match end.and_then(|end| topic.get(..end)) {
        Some(name) => Judged::SeekTo(format!("{name}0")),
        None => Judged::Over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::message::Publication;
    use crate::proto::mqtt::{Properties, QoS, topic};
    use proptest::prelude::*;

    fn message(topic: &str, expires: Moment) -> Rc<Message> {
        let (qos, retain, payload) = (QoS::AtMostOnce, true, &b"x"[..]);
        Publication { topic, payload, properties: Properties::default(), qos, retain, expires }.keep()
    }

    fn of(topics: &[&str]) -> Retained {
        let mut retained = Retained::default();
        topics.iter().for_each(|topic| retained.set(message(topic, Moment::NEVER)));
        retained
    }

    fn found(retained: &Retained, filter: &str, after: Option<&str>) -> Vec<String> {
        let mut out = Vec::new();
        retained.matching(filter, after, |message| {
            out.push(message.topic().to_owned());
            ControlFlow::Continue(())
        });
        out
    }

    #[test]
    fn h7_filters_find_what_they_match() {
        let retained = of(&["a", "a!", "a!/b", "a/b", "a/b/c", "a0", "b/b", "$SYS/x", "/", "a?", "a*b"]);
        let table: &[(&str, &[&str])] = &[
            ("a", &["a"]),
            ("a/#", &["a", "a/b", "a/b/c"]),
            ("#", &["/", "a", "a!", "a!/b", "a*b", "a/b", "a/b/c", "a0", "a?", "b/b"]),
            ("+", &["a", "a!", "a*b", "a0", "a?"]),
            ("+/b", &["a!/b", "a/b", "b/b"]),
            ("+/b/#", &["a!/b", "a/b", "a/b/c", "b/b"]),
            ("+/+/c", &["a/b/c"]),
            ("$SYS/#", &["$SYS/x"]),
            ("$SYS/+", &["$SYS/x"]),
            ("a?", &["a?"]),
            ("a*b", &["a*b"]),
            ("+/+", &["/", "a!/b", "a/b", "b/b"]),
        ];
        for (filter, expected) in table {
            assert_eq!(found(&retained, filter, None), *expected, "{filter}");
        }
    }

    #[test]
    fn what_has_ended_is_swept_in_pieces() {
        let mut retained = Retained::default();
        let soon = Moment::START.after(std::time::Duration::from_secs(1));
        for n in 0..10 {
            retained.set(message(&format!("t/{n}"), if n % 2 == 0 { soon } else { Moment::NEVER }));
        }
        assert!(retained.has_mortal());
        while !retained.sweep(soon, 3) {}
        assert_eq!(retained.len(), 5);
        assert!(!retained.has_mortal());
        let removed = (0..10).filter(|n| retained.remove(&format!("t/{n}"))).count();
        assert_eq!(removed, 5);
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
    }

    fn name() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("a!"), Just("b"), Just(""), Just("$x"), Just("a0"), Just("é")]
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_naive_matcher(
            topics in proptest::collection::btree_set(proptest::collection::vec(name(), 1..5), 0..30),
            levels in proptest::collection::vec(prop_oneof![2 => name(), 1 => Just("+")], 1..5),
            hash in any::<bool>(),
            stop in 0_usize..10,
        ) {
            let topics: Vec<String> = topics.iter().map(|levels| levels.join("/")).filter(|t| !t.is_empty()).collect();
            let refs: Vec<&str> = topics.iter().map(String::as_str).collect();
            let retained = of(&refs);
            let mut filter = levels.join("/");
            if hash {
                filter.push_str("/#");
            }
            prop_assume!(!filter.is_empty());
            let mut expected: Vec<_> = topics.iter().filter(|topic| topic::matches(&filter, topic)).cloned().collect();
            expected.sort();
            expected.dedup();
            let all = found(&retained, &filter, None);
            prop_assert_eq!(&all, &expected);
            // In pieces it finds the same.
            let (mut pieces, mut after) = (Vec::new(), None);
            for _ in 0..100 {
                let left = retained.walk(&filter, after.as_deref(), &mut (SEEK_STEPS + 1 + stop), |message| {
                    pieces.push(message.topic().to_owned());
                    ControlFlow::Continue(())
                });
                after = left.map(str::to_owned);
                if after.is_none() {
                    break;
                }
            }
            prop_assert_eq!((&pieces, after), (&expected, None));
            // A walk that stopped goes on where it was.
            if let Some(after) = expected.get(stop) {
                prop_assert_eq!(&found(&retained, &filter, Some(after))[..], &expected[stop + 1..]);
            }
        }
    }
}

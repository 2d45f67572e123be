//! Answers that are still good.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::message::Question;

/// Answers, each until its time is over; no more than so many.
#[derive(Debug)]
pub(super) struct Cache {
    entries: BTreeMap<Question, Entry>,
    max: usize,
}

#[derive(Debug)]
struct Entry {
    answer: Answer,
    until: Instant,
}

impl Cache {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: BTreeMap::new(), max }
    }

    /// The answer, if it is good at this time.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<&Answer> {
        self.entries.get(question).filter(|entry| now < entry.until).map(|entry| &entry.answer)
    }

    /// Keeps an answer for so many seconds; for none of them, it is not kept.
    pub(super) fn put(&mut self, question: Question, answer: Answer, seconds: u32, now: Instant) {
        let until = now.checked_add(Duration::from_secs(seconds.into()));
        let Some(until) = until.filter(|until| *until > now && self.max > 0) else { return };
        if self.entries.len() >= self.max && !self.entries.contains_key(&question) {
            self.make_room(now);
        }
        self.entries.insert(question, Entry { answer, until });
    }

    /// Those that are over go, or else the one that will be first.
    fn make_room(&mut self, now: Instant) {
        self.entries.retain(|_, entry| now < entry.until);
        if self.entries.len() >= self.max
            && let Some(first) = self.entries.iter().min_by_key(|(_, entry)| entry.until)
        {
            let first = first.0.clone();
            self.entries.remove(&first);
        }
    }

    /// Forgets everything: other servers may answer otherwise.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::dns::message::{Data, Type};

    fn question(n: usize) -> Question {
        Question::new(format!("h{n}.lan").parse().unwrap(), Type::A)
    }

    #[test]
    fn rfc_1035_section_3_2_1_no_answer_outlives_its_ttl() {
        let zero = Instant::now();
        let at = |ms: u64| zero + Duration::from_millis(ms);
        let found = Answer::Found(vec![Data::A([1, 2, 3, 4].into())]);
        let mut cache = Cache::new(8);
        cache.put(question(1), found.clone(), 2, at(0));
        cache.put(question(2), Answer::NoName, 1, at(500));
        cache.put(question(3), found.clone(), 0, at(0));
        let mut loud = question(1);
        loud.name = "H1.LAN".parse().unwrap();
        for (ms, first, second) in
            [(0, true, true), (1499, true, true), (1500, true, false), (1999, true, false), (2000, false, false)]
        {
            assert_eq!(cache.get(&loud, at(ms)), first.then_some(&found), "at {ms}");
            assert_eq!(cache.get(&question(2), at(ms)), second.then_some(&Answer::NoName), "at {ms}");
            assert_eq!(cache.get(&question(3), at(ms)), None, "a TTL of zero, at {ms}");
        }
    }

    #[test]
    fn the_cache_is_bounded_and_the_first_to_end_goes() {
        let now = Instant::now();
        let mut cache = Cache::new(4);
        for n in 0..100 {
            cache.put(question(n), Answer::NoData, 1000 - n as u32, now);
            assert!(cache.len() <= 4);
        }
        // Each that came was to end before the others, and so was the next to go.
        let kept: Vec<usize> = (0..100).filter(|n| cache.get(&question(*n), now).is_some()).collect();
        assert_eq!(kept, [0, 1, 2, 99]);
        let mut none = Cache::new(0);
        none.put(question(1), Answer::NoData, 60, now);
        assert_eq!(none.len(), 0);
        cache.clear();
        assert_eq!(cache.len(), 0);
    }
}

//! The subscriptions of clients and program that are not shared, and which of them the topics of late have matched: a topic that
//! is published to again and again is walked through the trie once.

use crate::proto::mqtt::{HashKeys, TopicError, Trie};

use super::session::Wanted;

/// All subscriptions but the shared ones.
pub(super) struct Subscriptions {
    trie: Trie<u32, Wanted>,
    /// By the hash of the topic. Empty until something is published that somebody wants.
    known: Vec<Known>,
    keys: HashKeys,
    /// Counts the changes: what was found before the last one counts no more.
    version: u64,
    /// For what is not worth keeping.
    spare: Vec<Target>,
}

/// Who wants a message, and how.
pub(super) type Target = (u32, Wanted);

/// What a topic matched.
#[derive(Default)]
struct Known {
    topic: String,
    targets: Vec<Target>,
    /// That of the subscriptions when it was found; 0 is none.
    version: u64,
}

/// The subscriptions that a topic matches, by their sessions. To be [given back](Subscriptions::give_back).
pub(super) struct Matches {
    pub(super) targets: Vec<Target>,
    /// Whose they are; none for spare ones.
    known: Option<usize>,
}

/// Topics that are remembered, how long they may be, and for how many subscriptions: 150 KB at the most.
const KNOWN: usize = 256;
const TOPIC_MAX: usize = 128;
const TARGETS_MAX: usize = 32;

impl Subscriptions {
    pub(super) fn new() -> Self {
        Self { trie: Trie::new(), known: Vec::new(), keys: HashKeys::new(), version: 1, spare: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.trie.len()
    }

    pub(super) fn get(&self, filter: &str, who: u32) -> Option<&Wanted> {
        self.trie.get(filter, &who)
    }

    pub(super) fn insert(&mut self, filter: &str, who: u32, wanted: Wanted) -> Result<Option<Wanted>, TopicError> {
        self.version += 1;
        self.trie.insert(filter, who, wanted)
    }

    pub(super) fn remove(&mut self, filter: &str, who: u32) -> Option<Wanted> {
        self.version += 1;
        self.trie.remove(filter, &who)
    }

    /// What a topic matches, in the order of the subscribers: several may be of the same.
    #[inline]
    pub(super) fn take_matches(&mut self, topic: &str) -> Matches {
        let at = self.keys.hash(0, topic.as_bytes()) as usize % KNOWN;
        if let Some(known) = self.known.get_mut(at)
            && known.version == self.version
            && known.topic == topic
        {
            return Matches { targets: std::mem::take(&mut known.targets), known: Some(at) };
        }
        self.find_matches(topic, at)
    }

    fn find_matches(&mut self, topic: &str, at: usize) -> Matches {
        let mut targets = std::mem::take(&mut self.spare);
        targets.clear();
        self.trie.matches(topic, |&who, &wanted| targets.push((who, wanted)));
        if !targets.is_sorted_by(|one, next| one.0 < next.0) {
            targets.sort_unstable_by_key(|(who, _)| *who);
        }
        // What nobody wants is found out soon.
        if topic.len() <= TOPIC_MAX && (1..=TARGETS_MAX).contains(&targets.len()) {
            if self.known.is_empty() {
                self.known.resize_with(KNOWN, Known::default);
            }
            if let Some(known) = self.known.get_mut(at) {
                known.topic.clear();
                known.topic.push_str(topic);
                known.targets.clear();
                known.targets.extend_from_slice(&targets);
                known.version = self.version;
            }
        }
        Matches { targets, known: None }
    }

    #[inline]
    pub(super) fn give_back(&mut self, matches: Matches) {
        match matches.known.and_then(|at| self.known.get_mut(at)) {
            Some(known) => known.targets = matches.targets,
            None => self.spare = matches.targets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt::QoS;

    fn found(subscriptions: &mut Subscriptions, topic: &str) -> Vec<u32> {
        let matches = subscriptions.take_matches(topic);
        let found = matches.targets.iter().map(|(who, _)| *who).collect();
        subscriptions.give_back(matches);
        found
    }

    #[test]
    fn what_is_remembered_of_a_topic_ends_with_the_next_change() {
        let mut all = Subscriptions::new();
        let wanted = Wanted::new(QoS::AtMostOnce);
        for _ in 0..2 {
            assert!(found(&mut all, "a/b").is_empty());
        }
        all.insert("a/+", 7, wanted).unwrap();
        for _ in 0..2 {
            assert_eq!(found(&mut all, "a/b"), [7]);
        }
        all.insert("#", 3, wanted).unwrap();
        for _ in 0..2 {
            assert_eq!(found(&mut all, "a/b"), [3, 7]);
            assert_eq!(found(&mut all, "a/c"), [3, 7]);
            assert_eq!(found(&mut all, "b"), [3]);
        }
        // One that is replaced may want it differently.
        all.insert("a/+", 7, Wanted::new(QoS::ExactlyOnce)).unwrap();
        let matches = all.take_matches("a/b");
        assert_eq!(matches.targets[1].1.qos(), QoS::ExactlyOnce);
        all.give_back(matches);
        all.remove("a/+", 7);
        assert_eq!(found(&mut all, "a/b"), [3]);
        all.remove("#", 3);
        assert!(found(&mut all, "a/b").is_empty());
    }

    #[test]
    fn long_topics_and_many_subscribers_are_found_and_not_kept() {
        let mut all = Subscriptions::new();
        let long = "x".repeat(TOPIC_MAX + 1);
        for who in 0..=TARGETS_MAX as u32 {
            all.insert("many", who, Wanted::new(QoS::AtMostOnce)).unwrap();
        }
        all.insert(&long, 5, Wanted::new(QoS::AtMostOnce)).unwrap();
        for _ in 0..2 {
            assert_eq!(found(&mut all, "many").len(), TARGETS_MAX + 1);
            assert_eq!(found(&mut all, &long), [5]);
        }
        assert!(all.known.iter().all(|known| known.version == 0));
        // Nor what was kept before.
        all.remove("many", 0);
        assert_eq!(found(&mut all, "many").len(), TARGETS_MAX);
        all.insert("many", 0, Wanted::new(QoS::AtMostOnce)).unwrap();
        assert_eq!(found(&mut all, "many").len(), TARGETS_MAX + 1);
    }

    proptest::proptest! {
        #[test]
        fn they_are_what_the_trie_says(steps in proptest::collection::vec((0..6u8, "[ab+]/[ab#]", 0..3u32), 1..200)) {
            let mut all = Subscriptions::new();
            for (what, text, who) in steps {
                match what {
                    0 => drop(all.insert(&text, who, Wanted::new(QoS::AtMostOnce)).unwrap()),
                    1 => drop(all.remove(&text, who)),
                    _ => {
                        let topic = text.replace(['+', '#'], "a");
                        let mut naive = Vec::new();
                        all.trie.matches(&topic, |&who, _| naive.push(who));
                        naive.sort_unstable();
                        proptest::prop_assert_eq!(found(&mut all, &topic), naive);
                    }
                }
            }
        }
    }
}

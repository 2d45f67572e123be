//! The trie finds what the naive matcher finds, whatever is subscribed and unsubscribed, and gives its memory back.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use vansire::mqtt::topic::{check_filter, check_topic, matches};
use vansire::mqtt::{Filter, Trie};

// Steps of (filter, key, whether it is added), and topics to be matched.
fuzz_target!(|input: (Vec<(String, u8, bool)>, Vec<String>)| {
    let (steps, topics) = input;
    let mut trie = Trie::new();
    let mut naive = BTreeMap::new();
    for (at, (filter, key, add)) in steps.into_iter().enumerate() {
        if !Filter::parse(&filter).is_ok_and(|filter| filter.group.is_none()) {
            assert!(trie.insert(&filter, key, at).is_err());
        } else if add {
            assert_eq!(trie.insert(&filter, key, at), Ok(naive.insert((filter, key), at)));
        } else {
            assert_eq!(trie.remove(&filter, &key), naive.remove(&(filter, key)));
        }
    }
    assert_eq!(trie.len(), naive.len());
    for topic in &topics {
        let _ = check_filter(topic);
        if check_topic(topic).is_err() {
            continue;
        }
        let mut ours = Vec::new();
        trie.matches(topic, |key, at| ours.push((*key, *at)));
        let mut theirs: Vec<_> = naive
            .iter()
            .filter(|((filter, _), _)| matches(filter, topic))
            .map(|((_, key), at)| (*key, *at))
            .collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
    for ((filter, key), at) in naive {
        assert_eq!(trie.remove(&filter, &key), Some(at));
    }
    assert_eq!(trie.memory(), 0);
});

//! The trie finds what a plain matcher finds, whatever is subscribed and unsubscribed, and gives its memory back; and what is a
//! filter and what is a topic is as section 4.7 says.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use vansire::mqtt::topic::{check_topic, matches};
use vansire::mqtt::{Filter, Trie};

/// What texts are made of, so that filters and topics often meet.
const PARTS: [&str; 16] = [
    "a",
    "b",
    "/",
    "/",
    "/",
    "+",
    "#",
    "$",
    "$share/",
    "a/+/",
    "/#",
    "é",
    "\0",
    "x",
    "a level that is too long to stand in a node",
    "//////////////",
];
/// A text has no more parts. With more subscriptions than these, none are added many at a time.
const PARTS_MAX: usize = 64;
const MANY: usize = 100;

/// Parts of a filter, a key, and what is done with them.
type Change<'a> = (&'a [u8], u8, u8);

// Changes, and parts of topics to be matched.
fuzz_target!(|input: (Vec<Change<'_>>, Vec<&[u8]>)| {
    let (steps, topics) = input;
    let mut trie = Trie::new();
    let mut naive = BTreeMap::new();
    for (at, (parts, key, what)) in steps.into_iter().enumerate() {
        let filter = text(parts);
        let ours = Filter::parse(&filter).ok();
        assert_eq!(ours.map(|filter| (filter.group, filter.levels)), by_hand(&filter), "{filter:?}");
        let is_room = naive.len() < MANY;
        let mut change = |filter: String, key: u8, adds: bool| {
            if by_hand(&filter).is_none_or(|(group, _)| group.is_some()) {
                assert!(trie.insert(&filter, key, at).is_err());
            } else if adds {
                assert_eq!(trie.insert(&filter, key, at), Ok(naive.insert((filter, key), at)));
            } else {
                assert_eq!(trie.remove(&filter, &key), naive.remove(&(filter, key)));
            }
        };
        match what % 8 {
            0 if is_room => (0..key).for_each(|n| change(format!("{filter}/{n}"), 0, true)),
            0 | 1 => (0..key).for_each(|n| change(format!("{filter}/{n}"), 0, false)),
            what => change(filter, key % 4, what > 3),
        }
    }
    assert_eq!((trie.len(), trie.is_empty()), (naive.len(), naive.is_empty()));
    for parts in topics.into_iter().take(4) {
        let topic = text(parts);
        assert_eq!(check_topic(&topic).is_ok(), is_sized(&topic) && !topic.contains(['+', '#']), "{topic:?}");
        if check_topic(&topic).is_err() {
            continue;
        }
        let mut ours = Vec::new();
        trie.matches(&topic, |key, at| ours.push((*key, *at)));
        let mut theirs = Vec::new();
        for ((filter, key), at) in &naive {
            // Section 4.7.2: what begins with $ is nobody's who does not name it.
            let is_hidden = topic.starts_with('$') && filter.starts_with(['+', '#']);
            let is_found = !is_hidden && is_match(&levels(filter), &levels(&topic));
            assert_eq!(matches(filter, &topic), is_found, "{filter:?}, {topic:?}");
            if is_found {
                theirs.push((*key, *at));
            }
        }
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
    for ((filter, key), at) in naive {
        assert_eq!(trie.get(&filter, &key), Some(&at));
        assert_eq!(trie.remove(&filter, &key), Some(at));
    }
    assert_eq!(trie.memory(), 0);
});

fn text(parts: &[u8]) -> String {
    parts.iter().take(PARTS_MAX).map(|part| PARTS[usize::from(part % 16)]).collect()
}

fn levels(text: &str) -> Vec<&str> {
    text.split('/').collect()
}

fn is_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        ([level, filter @ ..], [name, topic @ ..]) => (*level == "+" || level == name) && is_match(filter, topic),
        _ => false,
    }
}

fn is_sized(text: &str) -> bool {
    (1..=65_535).contains(&text.len()) && !text.contains('\0') && levels(text).len() <= 201
}

/// Group and levels of a filter. None: it is none.
fn by_hand(filter: &str) -> Option<(Option<&str>, &str)> {
    let (group, rest) = match filter.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map(|(group, rest)| (Some(group), rest))?,
        None => (None, filter),
    };
    let is_named = group.is_none_or(|group| !group.is_empty() && !group.contains(['+', '#']));
    let levels = levels(rest);
    let is_fine = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at + 1 == levels.len(),
        level => !level.contains(['+', '#']),
    };
    let is_filter = is_sized(filter) && is_named && !rest.is_empty() && levels.iter().enumerate().all(is_fine);
    is_filter.then_some((group, rest))
}

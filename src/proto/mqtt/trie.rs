//! The subscriptions that a topic matches.
//!
//! A node for each level of each filter, all in one vector; one hash table finds the child of a node by its name, whatever the
//! number of children, and `+` and `#` are reached by index. So matching costs a lookup for each level and each `+` on the way,
//! a node takes 64 bytes and some 10 of the table, and there is nothing to balance. Levels that come up again and again
//! are not interned: what fits into a node is cheaper than a table of names.

use std::collections::BTreeMap;
use std::fmt;

use super::index::Index;
use super::topic::{Filter, TopicError};

/// Subscriptions: a value for each filter and key, found by the topics that the filters match.
///
/// Keys are who subscribes: small and cheap to copy, like a number. Subscribing, unsubscribing and matching cost time in
/// proportion to the levels, not to the number of subscriptions; the memory of what is removed is given back.
///
/// ```
/// use vansire::mqtt::Trie;
///
/// let mut trie = Trie::new();
/// trie.insert("plant/+/temp", 1, "one")?;
/// trie.insert("plant/#", 2, "two")?;
/// let mut found = Vec::new();
/// trie.matches("plant/7/temp", |key, value| found.push((*key, *value)));
/// found.sort();
/// assert_eq!(found, [(1, "one"), (2, "two")]);
/// # Ok::<(), vansire::mqtt::TopicError>(())
/// ```
#[derive(Clone)]
pub struct Trie<K, V> {
    nodes: Vec<Node<K, V>>,
    /// The first of the nodes that are not in use; they are linked by `parent`.
    free: u32,
    free_len: usize,
    table: Index,
    len: usize,
}

/// One level of a filter.
#[derive(Clone)]
struct Node<K, V> {
    name: Name,
    subscribers: Subscribers<K, V>,
    parent: u32,
    /// The child `+`.
    plus: u32,
    /// The child `#`.
    hash: u32,
    children: u32,
}

/// The text of a level, in place if it is short.
#[derive(Clone)]
enum Name {
    Short { len: u8, bytes: [u8; SHORT_MAX] },
    Long(Box<[u8]>),
}

const SHORT_MAX: usize = 22;

/// Most filters have one subscriber.
#[derive(Clone)]
enum Subscribers<K, V> {
    None,
    One(K, V),
    /// Boxed, so that the many others stay small.
    #[allow(clippy::box_collection)]
    Many(Box<BTreeMap<K, V>>),
}

/// No node.
const NONE: u32 = u32::MAX;

/// The first node, whose children are first levels. There as soon as anything is.
const ROOT: u32 = 0;

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for Trie<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trie").field("len", &self.len).field("nodes", &self.live()).finish()
    }
}

impl<K, V> Trie<K, V> {
    /// An empty one, which has not allocated.
    pub fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE, free_len: 0, table: Index::new(), len: 0 }
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes it holds, apart from what keys and values own, and from filters with several subscribers.
    pub fn memory(&self) -> usize {
        let long = |node: &Node<K, V>| if let Name::Long(name) = &node.name { name.len() } else { 0 };
        self.nodes.capacity() * size_of::<Node<K, V>>()
            + self.table.memory()
            + self.nodes.iter().map(long).sum::<usize>()
    }

    /// Nodes in use.
    fn live(&self) -> usize {
        self.nodes.len() - self.free_len
    }

    fn node(&self, at: u32) -> Option<&Node<K, V>> {
        self.nodes.get(at as usize)
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node<K, V>> {
        self.nodes.get_mut(at as usize)
    }

    /// The child of this name.
    fn named(&self, parent: u32, name: &[u8]) -> Option<u32> {
        let hash = self.table.hash(parent, name);
        self.table
            .find(hash, |at| self.node(at).is_some_and(|node| node.parent == parent && node.name.as_bytes() == name))
    }

    /// The child for one level of a filter.
    fn child(&self, parent: u32, level: &str) -> Option<u32> {
        match level {
            "+" => self.node(parent).map(|node| node.plus).filter(|&at| at != NONE),
            "#" => self.node(parent).map(|node| node.hash).filter(|&at| at != NONE),
            _ => self.named(parent, level.as_bytes()),
        }
    }

    fn find(&self, filter: &str) -> Option<u32> {
        filter.split('/').try_fold(ROOT, |at, level| self.child(at, level))
    }
}

impl<K: Ord, V> Trie<K, V> {
    /// Subscribes, and returns the value that this filter and key had before.
    ///
    /// The filter is checked, and is one without `$share/group/` (see [`Filter`]); an error changes nothing.
    pub fn insert(&mut self, filter: &str, key: K, value: V) -> Result<Option<V>, TopicError> {
        if Filter::parse(filter)?.group.is_some() {
            return Err(TopicError::Share);
        }
        if self.nodes.is_empty() {
            self.add(Node::new(NONE, ""));
        }
        let mut at = ROOT;
        for level in filter.split('/') {
            at = match self.child(at, level) {
                Some(child) => child,
                None => self.add_child(at, level),
            };
        }
        let old = self.node_mut(at).and_then(|node| node.subscribers.insert(key, value));
        self.len += usize::from(old.is_none());
        Ok(old)
    }

    /// Unsubscribes, and returns the value that this filter and key had.
    pub fn remove(&mut self, filter: &str, key: &K) -> Option<V> {
        let at = self.find(filter)?;
        let value = self.node_mut(at)?.subscribers.remove(key)?;
        self.len -= 1;
        self.prune(at);
        Some(value)
    }

    /// The value of this filter and key.
    pub fn get(&self, filter: &str, key: &K) -> Option<&V> {
        self.node(self.find(filter)?)?.subscribers.get(key)
    }

    /// The value of this filter and key, to be changed.
    pub fn get_mut(&mut self, filter: &str, key: &K) -> Option<&mut V> {
        let at = self.find(filter)?;
        self.node_mut(at)?.subscribers.get_mut(key)
    }

    /// Shows each subscription whose filter matches the topic; a key that several of its filters match comes several times.
    ///
    /// The order depends on nothing but the filters and keys. Allocates nothing.
    pub fn matches<'t>(&'t self, topic: &str, mut found: impl FnMut(&'t K, &'t V)) {
        let Some(root) = self.node(ROOT) else { return };
        // MQTT-4.7.2-1: a wildcard at the front does not match what begins with $.
        self.descend(ROOT, root, Some(topic.as_bytes()), !topic.starts_with('$'), &mut found);
    }

    /// Visits what matches below a node. The depth is that of the filters, which have at most [`SLASHES_MAX`] slashes.
    ///
    /// [`SLASHES_MAX`]: super::topic::SLASHES_MAX
    fn descend<'t>(
        &'t self,
        at: u32,
        node: &'t Node<K, V>,
        rest: Option<&[u8]>,
        wildcards: bool,
        found: &mut impl FnMut(&'t K, &'t V),
    ) {
        // The parent level too: `a/#` matches `a` (section 4.7.1.2).
        if wildcards && let Some(hash) = self.node(node.hash) {
            hash.subscribers.for_each(found);
        }
        let Some(rest) = rest else { return node.subscribers.for_each(found) };
        let (level, rest) = split_level(rest);
        if wildcards && let Some(plus) = self.node(node.plus) {
            self.descend(node.plus, plus, rest, true, found);
        }
        if node.children > 0
            && let Some(child) = self.named(at, level)
            && let Some(named) = self.node(child)
        {
            self.descend(child, named, rest, true, found);
        }
    }

    fn add_child(&mut self, parent: u32, level: &str) -> u32 {
        let at = self.add(Node::new(parent, level));
        match (level, self.node_mut(parent)) {
            ("+", Some(node)) => node.plus = at,
            ("#", Some(node)) => node.hash = at,
            (_, Some(node)) => {
                node.children += 1;
                let hash = self.table.hash(parent, level.as_bytes());
                self.table.insert(hash, at);
            }
            (_, None) => {}
        }
        at
    }

    fn add(&mut self, node: Node<K, V>) -> u32 {
        let at = self.free;
        if let Some(place) = self.nodes.get_mut(at as usize) {
            self.free = place.parent;
            self.free_len -= 1;
            *place = node;
            return at;
        }
        if self.nodes.len() == self.nodes.capacity() {
            // A quarter more instead of twice as much: the vector is most of the memory.
            self.nodes.reserve_exact((self.nodes.len() / 4).max(4));
        }
        self.nodes.push(node);
        // A filter level costs 64 bytes: memory ends long before the numbers do.
        (self.nodes.len() - 1) as u32
    }

    /// Removes a node that nothing needs, and those above that nothing needs any more.
    fn prune(&mut self, mut at: u32) {
        while let Some(node) = self.node(at)
            && node.is_idle()
        {
            let parent = node.parent;
            let hash = self.table.hash(parent, node.name.as_bytes());
            match self.node_mut(parent) {
                Some(above) if above.plus == at => above.plus = NONE,
                Some(above) if above.hash == at => above.hash = NONE,
                Some(above) => {
                    above.children -= 1;
                    self.table.remove(hash, at);
                }
                // Nothing is left.
                None => return *self = Self::new(),
            }
            let free = self.free;
            if let Some(node) = self.node_mut(at) {
                *node = Node::new(free, "");
            }
            self.free = at;
            self.free_len += 1;
            at = parent;
        }
        if self.live() < self.nodes.len() / 2 && self.nodes.len() > 64 {
            self.compact();
        }
    }

    /// Moves the nodes together. Costs their number, at most once in as many removals.
    fn compact(&mut self) {
        let mut is_free = vec![false; self.nodes.len()];
        while let Some(node) = self.node(self.free) {
            is_free[self.free as usize] = true;
            self.free = node.parent;
        }
        self.free_len = 0;
        let mut live = 0;
        let moved: Vec<u32> = is_free
            .iter()
            .map(|&free| {
                live += u32::from(!free);
                if free { NONE } else { live - 1 }
            })
            .collect();
        let place = |at: u32| moved.get(at as usize).copied().unwrap_or(NONE);
        let mut free = is_free.iter();
        self.nodes.retain(|_| free.next() == Some(&false));
        self.nodes.shrink_to_fit();
        self.table.clear(self.nodes.len());
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            (node.parent, node.plus, node.hash) = (place(node.parent), place(node.plus), place(node.hash));
        }
        for (at, node) in self.nodes.iter().enumerate() {
            if !matches!(node.name.as_bytes(), b"+" | b"#") && at != ROOT as usize {
                let hash = self.table.hash(node.parent, node.name.as_bytes());
                self.table.insert(hash, at as u32);
            }
        }
    }
}

/// The first level, and what follows its slash.
#[inline]
fn split_level(topic: &[u8]) -> (&[u8], Option<&[u8]>) {
    // Levels are too short for anything cleverer.
    match topic.iter().position(|&byte| byte == b'/').and_then(|at| topic.split_at_checked(at)) {
        Some((level, rest)) => (level, rest.get(1..)),
        None => (topic, None),
    }
}

impl<K, V> Node<K, V> {
    fn new(parent: u32, name: &str) -> Self {
        let subscribers = Subscribers::None;
        Self { name: Name::new(name.as_bytes()), subscribers, parent, plus: NONE, hash: NONE, children: 0 }
    }

    fn is_idle(&self) -> bool {
        matches!(self.subscribers, Subscribers::None) && self.plus == NONE && self.hash == NONE && self.children == 0
    }
}

impl Name {
    fn new(name: &[u8]) -> Self {
        let mut bytes = [0; SHORT_MAX];
        match bytes.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name);
                Self::Short { len: name.len() as u8, bytes }
            }
            None => Self::Long(name.into()),
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

impl<K: Ord, V> Subscribers<K, V> {
    fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Self::One(old, place) if *old == key => return Some(std::mem::replace(place, value)),
            Self::Many(map) => return map.insert(key, value),
            Self::None | Self::One(..) => {}
        }
        *self = match std::mem::replace(self, Self::None) {
            Self::One(other, its) => Self::Many(Box::new(BTreeMap::from([(other, its), (key, value)]))),
            _ => Self::One(key, value),
        };
        None
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::None => None,
            Self::One(only, _) if only != key => None,
            Self::One(..) => match std::mem::replace(self, Self::None) {
                Self::One(_, value) => Some(value),
                _ => None,
            },
            Self::Many(map) => {
                let value = map.remove(key)?;
                if map.len() == 1
                    && let Some((last, its)) = map.pop_first()
                {
                    *self = Self::One(last, its);
                }
                Some(value)
            }
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        match self {
            Self::None => None,
            Self::One(only, value) => (only == key).then_some(value),
            Self::Many(map) => map.get(key),
        }
    }

    fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match self {
            Self::None => None,
            Self::One(only, value) => (only == key).then_some(value),
            Self::Many(map) => map.get_mut(key),
        }
    }

    #[inline]
    fn for_each<'t>(&'t self, found: &mut impl FnMut(&'t K, &'t V)) {
        match self {
            Self::None => {}
            Self::One(key, value) => found(key, value),
            Self::Many(map) => map.iter().for_each(|(key, value)| found(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::topic;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn found<V: Copy>(trie: &Trie<u32, V>, topic: &str) -> Vec<(u32, V)> {
        let mut found = Vec::new();
        trie.matches(topic, |key, value| found.push((*key, *value)));
        found
    }

    #[test]
    fn a_subscription_is_found_replaced_and_removed() {
        let mut trie = Trie::new();
        assert_eq!(trie.insert("a/b", 1, 'x'), Ok(None));
        assert_eq!(trie.insert("a/b", 1, 'y'), Ok(Some('x')));
        assert_eq!(trie.insert("a/b", 2, 'z'), Ok(None));
        assert_eq!(trie.insert("a/+", 2, 'w'), Ok(None));
        assert_eq!(trie.len(), 3);
        assert_eq!(found(&trie, "a/b"), [(2, 'w'), (1, 'y'), (2, 'z')]);
        assert_eq!(trie.get("a/b", &2), Some(&'z'));
        assert_eq!(trie.get("a/c", &2), None);
        *trie.get_mut("a/b", &2).unwrap() = 'q';
        assert_eq!(trie.remove("a/b", &1), Some('y'));
        assert_eq!(trie.remove("a/b", &1), None);
        assert_eq!(trie.remove("a", &2), None);
        assert_eq!(found(&trie, "a/b"), [(2, 'w'), (2, 'q')]);
        assert_eq!((trie.remove("a/b", &2), trie.remove("a/+", &2)), (Some('q'), Some('w')));
        assert!(trie.is_empty());
        assert_eq!(trie.memory(), 0);
    }

    #[test]
    fn what_is_not_a_filter_is_refused() {
        for (filter, error) in [
            ("", TopicError::Empty),
            ("a/#/b", TopicError::Wildcard),
            ("a\0", TopicError::Nul),
            ("$share/g/a", TopicError::Share),
        ] {
            let mut trie = Trie::new();
            assert_eq!(trie.insert(filter, 1, ()), Err(error), "{filter:?}");
            assert!(trie.is_empty() && trie.memory() == 0, "{filter:?}");
        }
    }

    #[test]
    fn a_node_is_small() {
        assert_eq!(size_of::<Node<u32, u32>>(), 56);
    }

    #[test]
    fn memory_shrinks_with_what_is_removed() {
        let filter = |n: u32| format!("site/{n}/temp");
        let mut trie = Trie::new();
        for n in 0..10_000 {
            trie.insert(&filter(n), n, ()).unwrap();
        }
        let full = trie.memory();
        for n in 0..9_900 {
            assert_eq!(trie.remove(&filter(n), &n), Some(()), "{n}");
        }
        assert!(trie.memory() * 25 < full, "{} of {full}", trie.memory());
        for n in 9_900..10_000 {
            assert_eq!(found(&trie, &filter(n)), [(n, ())], "{n}");
            assert_eq!(trie.remove(&filter(n), &n), Some(()), "{n}");
        }
        assert_eq!(trie.memory(), 0);
    }

    /// A topic that goes down both ways at each level still visits each node once.
    #[test]
    fn wildcards_at_every_level_visit_each_node_once() {
        let mut trie = Trie::new();
        for bits in 0..1024_u32 {
            let filter: Vec<_> = (0..10).map(|bit| if bits & 1 << bit == 0 { "a" } else { "+" }).collect();
            trie.insert(&filter.join("/"), bits, ()).unwrap();
        }
        let topic = ["a"; 10].join("/");
        let keys: BTreeSet<u32> = found(&trie, &topic).into_iter().map(|(key, ())| key).collect();
        assert_eq!((found(&trie, &topic).len(), keys.len()), (1024, 1024));
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            Just("a"),
            Just("b"),
            Just(""),
            Just("$x"),
            Just("é"),
            Just("a name of more than 22 bytes"),
            Just("another name of more than 22 bytes")
        ]
    }

    fn filter() -> impl Strategy<Value = String> {
        let levels = proptest::collection::vec(prop_oneof![3 => level(), 1 => Just("+")], 1..5);
        (levels, any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#");
            }
            levels.join("/")
        })
    }

    fn name() -> impl Strategy<Value = String> {
        proptest::collection::vec(level(), 1..6).prop_map(|levels| levels.join("/"))
    }

    proptest! {
        /// Any history of subscriptions finds what the naive matcher finds.
        #[test]
        fn it_agrees_with_the_naive_matcher(
            steps in proptest::collection::vec((filter(), 0u32..4, any::<bool>()), 0..300),
            topics in proptest::collection::vec(name(), 1..20),
        ) {
            let mut trie = Trie::new();
            let mut naive: BTreeMap<(String, u32), usize> = BTreeMap::new();
            for (at, (filter, key, add)) in steps.into_iter().enumerate() {
                if topic::check_filter(&filter).is_err() {
                    prop_assert!(trie.insert(&filter, key, at).is_err());
                } else if add {
                    prop_assert_eq!(trie.insert(&filter, key, at), Ok(naive.insert((filter, key), at)));
                } else {
                    prop_assert_eq!(trie.remove(&filter, &key), naive.remove(&(filter, key)));
                }
            }
            prop_assert_eq!(trie.len(), naive.len());
            for topic in topics {
                let mut ours = found(&trie, &topic);
                let mut theirs: Vec<_> = naive
                    .iter()
                    .filter(|((filter, _), _)| topic::matches(filter, &topic))
                    .map(|((_, key), at)| (*key, *at))
                    .collect();
                ours.sort_unstable();
                theirs.sort_unstable();
                prop_assert_eq!(ours, theirs, "{}", topic);
            }
            let all: Vec<_> = naive.into_iter().collect();
            for ((filter, key), at) in all {
                prop_assert_eq!(trie.remove(&filter, &key), Some(at));
            }
            prop_assert_eq!(trie.memory(), 0);
        }
    }
}

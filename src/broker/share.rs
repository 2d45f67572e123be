//! Shared subscriptions (section 4.8.2): each message to one member of a group.

use std::collections::HashMap;

use crate::id::{Key, Table};
use crate::proto::mqtt::{TopicError, Trie};

use super::session::Wanted;

/// The groups that share a filter.
#[derive(Debug)]
pub(super) struct Shares {
    /// Which groups' filters match a topic.
    filters: Trie<Key, ()>,
    /// By `group/filter`, as it stands after `$share/`.
    names: HashMap<Box<str>, Key>,
    /// A message that waits knows its group by a key: no later group is taken for it.
    groups: Table<Group>,
    members: usize,
}

#[derive(Debug, Default)]
struct Group {
    members: Vec<(u32, Wanted)>,
    /// Whose turn it is.
    next: usize,
}

impl Default for Shares {
    fn default() -> Self {
        Self { filters: Trie::new(), names: HashMap::new(), groups: Table::new(), members: 0 }
    }
}

impl Shares {
    /// How many subscriptions there are.
    pub(super) fn len(&self) -> usize {
        self.members
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// Adds a member, or changes what it wants; true when it is new.
    pub(super) fn insert(&mut self, group: &str, levels: &str, who: u32, wanted: Wanted) -> Result<bool, TopicError> {
        let name = format!("{group}/{levels}");
        let at = match self.names.get(name.as_str()) {
            Some(&at) => at,
            None => {
                let at = self.groups.insert(Group::default());
                if let Err(e) = self.filters.insert(levels, at, ()) {
                    self.groups.remove(at);
                    return Err(e);
                }
                self.names.insert(name.into(), at);
                at
            }
        };
        let Some(group) = self.groups.get_mut(at) else { return Ok(false) };
        if let Some(member) = group.members.iter_mut().find(|(member, _)| *member == who) {
            member.1 = wanted;
            return Ok(false);
        }
        group.members.push((who, wanted));
        self.members += 1;
        Ok(true)
    }

    /// What a member wants.
    pub(super) fn wanted(&self, group: &str, levels: &str, who: u32) -> Option<Wanted> {
        let at = *self.names.get(format!("{group}/{levels}").as_str())?;
        let members = &self.groups.get(at)?.members;
        members.iter().find(|(member, _)| *member == who).map(|(_, wanted)| *wanted)
    }

    /// Removes a member; whether it was one.
    pub(super) fn remove(&mut self, group: &str, levels: &str, who: u32) -> bool {
        let name = format!("{group}/{levels}");
        let Some(&at) = self.names.get(name.as_str()) else { return false };
        let Some(group) = self.groups.get_mut(at) else { return false };
        let Some(place) = group.members.iter().position(|(member, _)| *member == who) else { return false };
        group.members.remove(place);
        if group.next > place {
            group.next -= 1;
        }
        self.members -= 1;
        if group.members.is_empty() {
            self.groups.remove(at);
            self.filters.remove(levels, &at);
            self.names.remove(name.as_str());
        }
        true
    }

    /// The groups whose filter matches the topic.
    pub(super) fn matching(&self, topic: &str, mut found: impl FnMut(Key)) {
        self.filters.matches(topic, |&group, ()| found(group));
    }

    /// The next member in turn that is fittest; `None`: nobody is fit at all, which is 0.
    ///
    /// Costs the number of members only while none is as fit as can be ([`FITTEST`]).
    pub(super) fn choose(&mut self, group: Key, mut fitness: impl FnMut(u32, &Wanted) -> u8) -> Option<(u32, Wanted)> {
        let group = self.groups.get_mut(group)?;
        let len = group.members.len();
        let mut best = (0, 0);
        for step in 0..len {
            let at = (group.next + step) % len;
            let (who, wanted) = group.members.get(at)?;
            let fit = fitness(*who, wanted);
            if fit > best.0 {
                best = (fit, at);
            }
            if fit >= FITTEST {
                break;
            }
        }
        let (fit, at) = best;
        if fit == 0 {
            return None;
        }
        group.next = (at + 1) % len;
        group.members.get(at).copied()
    }

    /// Whether this is a member already.
    pub(super) fn has(&self, group: &str, levels: &str, who: u32) -> bool {
        let group = self.find(group, levels).and_then(|at| self.groups.get(at));
        group.is_some_and(|group| group.members.iter().any(|(member, _)| *member == who))
    }

    /// The group that shares this filter.
    fn find(&self, group: &str, levels: &str) -> Option<Key> {
        self.names.get(format!("{group}/{levels}").as_str()).copied()
    }
}

/// A member that a message can be sent to at once.
pub(super) const FITTEST: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::mqtt::QoS;

    #[test]
    fn members_take_turns_and_nothing_is_left_behind() {
        let wanted = Wanted::new(QoS::AtLeastOnce);
        let mut shares = Shares::default();
        for who in 0..3 {
            assert_eq!(shares.insert("g", "a/+", who, wanted), Ok(true));
        }
        assert_eq!(shares.insert("g", "a/+", 0, wanted), Ok(false));
        assert_eq!(shares.insert("h", "a/+", 9, wanted), Ok(true));
        let mut groups = Vec::new();
        shares.matching("a/b", |group| groups.push(group));
        assert_eq!(groups.len(), 2);
        let group = shares.find("g", "a/+").unwrap();
        let mut turn = |fitness: fn(u32) -> u8| shares.choose(group, |who, _| fitness(who)).map(|(who, _)| who);
        assert_eq!(
            [turn(|_| FITTEST), turn(|_| FITTEST), turn(|_| FITTEST), turn(|_| FITTEST)],
            [Some(0), Some(1), Some(2), Some(0)]
        );
        // MQTT-4.8.2: those who are offline are passed over while another one is there.
        assert_eq!([turn(|who| u8::from(who != 1)), turn(|who| FITTEST * u8::from(who == 2))], [Some(2), Some(2)]);
        assert_eq!(turn(|_| 0), None);
        assert!((0..3).all(|who| shares.remove("g", "a/+", who)) && shares.remove("h", "a/+", 9));
        assert!(shares.is_empty() && shares.filters.is_empty() && shares.names.is_empty());
    }
}

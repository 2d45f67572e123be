//! The filters that one client has subscribed to: most have one.

use std::collections::BTreeSet;
use std::slice;

/// In no order. One alone needs no list, and of many each is found without looking at the others.
#[derive(Debug)]
pub(super) enum Filters {
    One(Box<str>),
    /// In a box, so that none take as little room as one.
    Several(Option<Box<Several>>),
}

#[derive(Debug)]
pub(super) enum Several {
    Few(Vec<Box<str>>),
    Many(BTreeSet<Box<str>>),
}

/// Among more of them searching takes longer than a tree does.
const FEW: usize = 64;

impl Default for Filters {
    fn default() -> Self {
        Self::Several(None)
    }
}

impl Filters {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let (few, many) = match self {
            Self::One(filter) => (slice::from_ref(filter), None),
            Self::Several(several) => match several.as_deref() {
                None => (&[][..], None),
                Some(Several::Few(filters)) => (filters.as_slice(), None),
                Some(Several::Many(filters)) => (&[][..], Some(filters)),
            },
        };
        few.iter().chain(many.into_iter().flatten()).map(|filter| &**filter)
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Several(several) => several.as_ref().map_or(0, |several| several.len()),
        }
    }

    /// Adds one that is not there.
    pub(super) fn push(&mut self, filter: Box<str>) {
        *self = match std::mem::take(self) {
            Self::Several(None) => Self::One(filter),
            Self::One(first) => Self::Several(Some(Box::new(Several::Few(vec![first, filter])))),
            Self::Several(Some(mut several)) => {
                several.push(filter);
                Self::Several(Some(several))
            }
        };
    }

    pub(super) fn remove(&mut self, filter: &str) {
        let is_last = match self {
            Self::One(known) => **known == *filter,
            Self::Several(None) => false,
            Self::Several(Some(several)) => {
                several.remove(filter);
                several.len() == 0
            }
        };
        if is_last {
            *self = Self::default();
        }
    }
}

impl Several {
    fn len(&self) -> usize {
        match self {
            Self::Few(filters) => filters.len(),
            Self::Many(filters) => filters.len(),
        }
    }

    fn push(&mut self, filter: Box<str>) {
        match self {
            Self::Few(filters) if filters.len() < FEW => {
                if filters.len() == filters.capacity() {
                    // Most that have several have few.
                    filters.reserve_exact((filters.len() / 4).max(1));
                }
                filters.push(filter);
            }
            Self::Few(filters) => {
                let mut many: BTreeSet<_> = std::mem::take(filters).into_iter().collect();
                many.insert(filter);
                *self = Self::Many(many);
            }
            Self::Many(filters) => _ = filters.insert(filter),
        }
    }

    fn remove(&mut self, filter: &str) {
        match self {
            Self::Few(filters) => {
                if let Some(at) = filters.iter().rposition(|known| **known == *filter) {
                    filters.swap_remove(at);
                }
            }
            Self::Many(filters) => _ = filters.remove(filter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn none_and_one_take_little_room() {
        assert_eq!(size_of::<Filters>(), 16);
    }

    proptest! {
        #[test]
        fn filters_are_those_that_came_and_were_not_removed(
            steps in proptest::collection::vec((proptest::bool::weighted(0.85), 0..100_u8), 0..400),
        ) {
            let mut filters = Filters::default();
            let mut expected = BTreeSet::new();
            for (adds, number) in steps {
                let filter = format!("a/{number}");
                if !adds {
                    filters.remove(&filter);
                    expected.remove(&filter);
                } else if expected.insert(filter.clone()) {
                    filters.push(filter.into());
                }
                let mut now: Vec<_> = filters.iter().collect();
                now.sort_unstable();
                prop_assert_eq!(&now, &expected.iter().map(String::as_str).collect::<Vec<_>>());
                prop_assert_eq!(filters.len(), now.len());
            }
        }
    }
}

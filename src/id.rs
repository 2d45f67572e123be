//! Generation-checked keys: a key outlives the thing it names, and then names nothing.

use std::fmt;
use std::num::NonZeroU32;

/// A slot index with the generation that the slot had when the key was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    index: u32,
    generation: NonZeroU32,
}

impl Key {
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation.get()
    }

    /// The key in one word, which is never zero.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation.get())
    }

    /// The key of [`to_bits`](Self::to_bits). None for zero.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        Some(Self { index: (bits >> 32) as u32, generation: NonZeroU32::new(bits as u32)? })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub(crate) Key);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id! {
    /// Names one connection or listener for as long as it lives, and nothing afterwards.
    ///
    /// A copy can be kept anywhere, also in other threads. Every call that takes one answers "gone" once the
    /// connection has closed, even when its slot serves another: the generation differs.
    ConnId
}

id! {
    /// Names one timer until it has fired for the last time or was cancelled.
    TimerId
}

impl ConnId {
    /// One that names nothing.
    #[cfg(any(feature = "broker", all(feature = "async", feature = "mqtt")))]
    pub(crate) const fn dangling() -> Self {
        Self(Key { index: u32::MAX, generation: NonZeroU32::MAX })
    }

    /// The id that is shown as this text.
    #[cfg(feature = "app")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (index, generation) = text.split_once('.')?;
        Some(Self(Key { index: index.parse().ok()?, generation: generation.parse().ok()? }))
    }
}

/// A vector of slots with a free list; keys of freed slots stop matching.
///
/// A slot's generation is odd while it is in use and even while it is free, so that the entry needs no discriminant.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Stores the value under a new key. Panics at 2^32 slots, which no bound of ours admits.
    pub(crate) fn insert(&mut self, value: T) -> Key {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.slots.len()).expect("a table holds fewer than 2^32 slots");
                self.slots.push(Slot { generation: 0, value: None });
                index
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1) | 1;
        slot.value = Some(value);
        Key { index, generation: NonZeroU32::MIN.saturating_add(slot.generation - 1) }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index())?;
        if slot.generation == key.generation() { slot.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation == key.generation() { slot.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation() {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        slot.value.take()
    }

    /// What lives in the slot now, whatever its generation, with its key.
    pub(crate) fn at(&self, index: usize) -> Option<(Key, &T)> {
        let slot = self.slots.get(index)?;
        Some((slot.key(index)?, slot.value.as_ref()?))
    }

    /// The key of what lives in the slot now.
    pub(crate) fn key_at(&self, index: usize) -> Option<Key> {
        self.at(index).map(|(key, _)| key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.iter_from(0)
    }

    /// What lives in that slot and those behind it.
    pub(crate) fn iter_from(&self, first: usize) -> impl Iterator<Item = (Key, &T)> {
        let slots = self.slots.iter().enumerate().skip(first);
        slots.filter_map(|(index, slot)| Some((slot.key(index)?, slot.value.as_ref()?)))
    }
}

impl<T> Slot<T> {
    fn key(&self, index: usize) -> Option<Key> {
        Some(Key { index: index as u32, generation: NonZeroU32::new(self.generation)? })
    }
}

/// Your own data for each connection, checked by generation: data of a closed connection is never seen by the next
/// one in its slot.
///
/// Lives in your state. An entry of a connection that closed without [`remove`](Self::remove) is dropped when its
/// slot is written again.
///
/// ```
/// use vansire::{ConnMap, Ctx, Event};
///
/// struct App { names: ConnMap<String> }
///
/// fn handler(cx: &mut Ctx<'_, App>, ev: Event<'_>) {
///     match ev {
///         Event::Accepted { .. } => { cx.state.names.insert(cx.conn, "anonymous".into()); }
///         Event::Closed(_) => { cx.state.names.remove(cx.conn); }
///         _ => {}
///     }
/// }
/// ```
#[derive(Debug)]
pub struct ConnMap<T> {
    slots: Vec<Option<(ConnId, T)>>,
}

impl<T> Default for ConnMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ConnMap<T> {
    /// An empty map.
    pub const fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// Sets the connection's value and returns the one it had.
    pub fn insert(&mut self, id: ConnId, value: T) -> Option<T> {
        let index = id.0.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        match self.slots[index].replace((id, value)) {
            Some((old, value)) if old == id => Some(value),
            _ => None,
        }
    }

    /// The connection's value.
    pub fn get(&self, id: ConnId) -> Option<&T> {
        match self.slots.get(id.0.index())? {
            Some((key, value)) if *key == id => Some(value),
            _ => None,
        }
    }

    /// The connection's value, to change.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        match self.slots.get_mut(id.0.index())? {
            Some((key, value)) if *key == id => Some(value),
            _ => None,
        }
    }

    /// Takes the connection's value out.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        let slot = self.slots.get_mut(id.0.index())?;
        match slot {
            Some((key, _)) if *key == id => slot.take().map(|(_, value)| value),
            _ => None,
        }
    }

    /// Every connection with a value, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.slots.iter().flatten().map(|(id, value)| (*id, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_freed_slot_names_nothing() {
        let mut table = Table::new();
        let a = table.insert("a");
        assert_eq!(table.remove(a), Some("a"));
        let b = table.insert("b");
        assert_eq!(a.index(), b.index());
        assert_eq!(table.get(a), None);
        assert_eq!(table.remove(a), None);
        assert_eq!(table.get(b), Some(&"b"));
        assert_eq!(table.len(), 1);
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn data_of_a_closed_connection_is_not_seen_by_the_next_in_its_slot() {
        let mut table = Table::new();
        let first = ConnId(table.insert(()));
        let mut map = ConnMap::new();
        assert_eq!(map.insert(first, 1), None);
        assert_eq!(map.insert(first, 2), Some(1));
        table.remove(first.0);
        let second = ConnId(table.insert(()));
        assert_eq!(map.get(second), None);
        assert_eq!(map.insert(second, 3), None);
        assert_eq!(map.get(first), None);
        assert_eq!(map.remove(first), None);
        assert_eq!(map.remove(second), Some(3));
    }
}

//! What SUBSCRIBE, UNSUBSCRIBE and their acknowledgements enumerate.

use std::fmt;

use super::packet::Subscription;
use super::reason::ReasonCode;
use super::wire::Reader;

/// The filters or reason codes of a packet: those of a decoded one, still in its bytes, or a slice of yours.
///
/// Walking it neither allocates nor fails: decoding has checked the bytes.
#[derive(Clone, Copy)]
pub struct List<'a, T>(Repr<'a, T>);

#[derive(Clone, Copy)]
enum Repr<'a, T> {
    Wire(&'a [u8]),
    Slice(&'a [T]),
}

/// How one element stands in the bytes that decoding has checked.
pub(super) trait Element<'a>: Copy {
    fn read(reader: &mut Reader<'a>) -> Option<Self>;
}

impl<'a> Element<'a> for Subscription<'a> {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let filter = reader.text_with_nul().ok()?;
        Self::from_options(filter, reader.u8().ok()?).ok()
    }
}

impl<'a> Element<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        reader.text_with_nul().ok()
    }
}

impl Element<'_> for ReasonCode {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        ReasonCode::from_u8(reader.u8().ok()?)
    }
}

#[allow(private_bounds)] // What stands on the wire is ours to decide.
impl<'a, T: Element<'a>> List<'a, T> {
    /// Bytes that decoding has checked.
    pub(super) fn of_wire(bytes: &'a [u8]) -> Self {
        Self(Repr::Wire(bytes))
    }

    /// The elements, in their order.
    pub fn iter(&self) -> ListIter<'a, T> {
        ListIter(match self.0 {
            Repr::Wire(bytes) => Iter::Wire(Reader::new(bytes)),
            Repr::Slice(slice) => Iter::Slice(slice.iter()),
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        match self.0 {
            Repr::Wire(bytes) => bytes.is_empty(),
            Repr::Slice(slice) => slice.is_empty(),
        }
    }
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self(Repr::Slice(&[]))
    }
}

impl<'a, T> From<&'a [T]> for List<'a, T> {
    fn from(slice: &'a [T]) -> Self {
        Self(Repr::Slice(slice))
    }
}

impl<'a, T, const N: usize> From<&'a [T; N]> for List<'a, T> {
    fn from(slice: &'a [T; N]) -> Self {
        Self(Repr::Slice(slice))
    }
}

impl<'a, T: Element<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Element<'a> + Eq> Eq for List<'a, T> {}

impl<'a, T: Element<'a> + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Element<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = ListIter<'a, T>;

    fn into_iter(self) -> ListIter<'a, T> {
        self.iter()
    }
}

/// Walks a [`List`].
#[derive(Debug, Clone)]
pub struct ListIter<'a, T>(Iter<'a, T>);

#[derive(Debug, Clone)]
enum Iter<'a, T> {
    Wire(Reader<'a>),
    Slice(std::slice::Iter<'a, T>),
}

#[allow(private_bounds)]
impl<'a, T: Element<'a>> Iterator for ListIter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match &mut self.0 {
            Iter::Wire(reader) => T::read(reader),
            Iter::Slice(slice) => slice.next().copied(),
        }
    }
}

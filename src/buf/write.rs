//! Output that waits for the end of the turn, or for the peer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

/// Queued output: shared chunks first, then a flat tail that small writes are copied to.
#[derive(Debug, Default)]
pub(crate) struct WriteBuf {
    chunks: VecDeque<Bytes>,
    /// Bytes in `chunks`.
    chunked: usize,
    tail: Vec<u8>,
    /// How much of the tail is sent. Only moves while there are no chunks.
    sent: usize,
}

/// Shared bytes up to this length are copied to the tail: cheaper than a slice of their own.
const COPY_MAX: usize = 1024;
/// Sent bytes that the tail may keep for the sake of not copying.
const COMPACT_MIN: usize = 16 * 1024;
/// Slices in one vectored write.
const SLICES_MAX: usize = 64;

impl WriteBuf {
    pub(crate) fn len(&self) -> usize {
        self.chunked + self.tail.len() - self.sent
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the buffer holds on to, queued or not.
    pub(crate) fn capacity(&self) -> usize {
        self.tail.capacity()
    }

    /// The flat tail, for encoders to append to.
    #[cfg(any(feature = "http", feature = "mqtt"))]
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }

    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_MAX {
            self.push(&bytes);
            return;
        }
        if self.tail.len() > self.sent {
            let mut flat = Bytes::from(std::mem::take(&mut self.tail));
            flat.advance(std::mem::take(&mut self.sent));
            self.chunked += flat.len();
            self.chunks.push_back(flat);
        }
        self.chunked += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// Takes over what another has queued.
    #[cfg(feature = "http")]
    pub(crate) fn append(&mut self, other: &mut Self) {
        other.chunks.drain(..).for_each(|chunk| self.push_shared(chunk));
        self.push(&other.tail[other.sent..]);
        other.clear();
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.chunked = 0;
        self.tail.clear();
        self.sent = 0;
    }

    /// Gives the queue to one write call and drops what it took.
    pub(crate) fn write_to(&mut self, to: &mut impl io::Write) -> io::Result<usize> {
        let tail = &self.tail[self.sent..];
        let n = match (self.chunks.front(), self.chunks.len() + usize::from(!tail.is_empty())) {
            (_, 0) => return Ok(0),
            (None, _) => to.write(tail)?,
            (Some(only), 1) => to.write(only)?,
            (Some(_), _) => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut count = 0;
                let parts = self.chunks.iter().map(|chunk| &chunk[..]).chain((!tail.is_empty()).then_some(tail));
                for (slot, part) in slices.iter_mut().zip(parts) {
                    *slot = IoSlice::new(part);
                    count += 1;
                }
                to.write_vectored(&slices[..count])?
            }
        };
        self.advance(n);
        Ok(n)
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.chunks.front_mut() {
            if n < first.len() {
                first.advance(n);
                self.chunked -= n;
                return;
            }
            n -= first.len();
            self.chunked -= first.len();
            self.chunks.pop_front();
        }
        self.sent = (self.sent + n).min(self.tail.len());
        if self.sent == self.tail.len() {
            self.tail.clear();
            self.sent = 0;
        }
        // A peer that never quite catches up would have the sent part grow for ever. What is copied down is less than what
        // has left since the last time.
        if self.sent >= COMPACT_MIN && self.sent >= self.tail.len() / 2 {
            self.tail.drain(..self.sent);
            self.sent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_were_queued_whatever_each_write_takes() {
        for step in [1, 2, 7, 1000, 5000, usize::MAX] {
            let mut buf = WriteBuf::default();
            let mut expected = Vec::new();
            let big = Bytes::from((0..3000u32).map(|i| i as u8).collect::<Vec<_>>());
            for part in 0..4u8 {
                buf.push(&[part; 10]);
                expected.extend_from_slice(&[part; 10]);
                buf.push_shared(big.clone());
                expected.extend_from_slice(&big);
                buf.push_shared(Bytes::from_static(b"small"));
                expected.extend_from_slice(b"small");
            }
            assert_eq!(buf.len(), expected.len());
            let mut peer = Peer { got: Vec::new(), step };
            while !buf.is_empty() {
                let before = buf.len();
                let n = buf.write_to(&mut peer).unwrap();
                assert_eq!(buf.len(), before - n);
            }
            assert_eq!(peer.got, expected, "step {step}");
        }
    }

    #[test]
    fn a_peer_that_never_catches_up_costs_what_is_queued_not_what_was_sent() {
        let mut buf = WriteBuf::default();
        let mut peer = Peer { got: Vec::new(), step: 3000 };
        let mut expected = Vec::new();
        for round in 0..2000u32 {
            let piece = [round as u8; 3000];
            // The first leaves one piece more in the queue than the peer takes.
            for _ in 0..if round == 0 { 2 } else { 1 } {
                buf.push(&piece);
                expected.extend_from_slice(&piece);
            }
            buf.write_to(&mut peer).unwrap();
            assert_eq!(buf.len(), 3000);
        }
        assert!(buf.capacity() < 128 * 1024, "6 KB queued at most, {} bytes held", buf.capacity());
        while !buf.is_empty() {
            buf.write_to(&mut peer).unwrap();
        }
        assert_eq!(peer.got, expected);
    }

    /// Takes at most `step` bytes of each write.
    struct Peer {
        got: Vec<u8>,
        step: usize,
    }

    impl io::Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.step);
            self.got.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
            let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
            self.write(&all)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

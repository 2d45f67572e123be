//! Output that waits for the end of the turn, or for the peer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

#[cfg(feature = "static")]
use super::file::{FILE_COST, FILE_STEP, FileSlice};

/// Where output goes: a socket. What it cannot do in one call is done in several.
pub(crate) trait Sink: io::Write {
    /// As `write`, where more follows at once: the system may wait for it to fill a packet.
    #[cfg(feature = "static")]
    fn write_more(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    /// Has the system send from a file without a copy, `max` bytes at most. None: it cannot, so the file has to be read.
    #[cfg(feature = "static")]
    fn send_file(&mut self, _file: &std::fs::File, _offset: u64, _max: usize) -> Option<io::Result<usize>> {
        None
    }
}

/// Queued output: shared chunks and files first, then a flat tail that small writes are copied to.
#[derive(Debug, Default)]
pub(crate) struct WriteBuf {
    chunks: VecDeque<Chunk>,
    /// What `chunks` count for: bytes, and of a file `FILE_COST`.
    chunked: usize,
    tail: Vec<u8>,
    /// How much of the tail is sent. Only moves while there are no chunks.
    sent: usize,
    /// How the last step through a file ended.
    #[cfg(feature = "static")]
    file_step: Option<FileStep>,
}

/// How a step through a file has ended that has not sent it all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "static"), allow(dead_code))]
pub(crate) enum FileStep {
    /// The socket is full, or the file at its end.
    CutShort,
    /// As long as it may be in a turn.
    Whole,
}

#[derive(Debug)]
enum Chunk {
    Bytes(Bytes),
    #[cfg(feature = "static")]
    File(FileSlice),
}

/// What became of a file's next bytes.
#[cfg(feature = "static")]
enum Step {
    Sent(usize),
    Read(Bytes),
}

/// Shared bytes up to this length are copied to the tail: cheaper than a slice of their own.
const COPY_MAX: usize = 1024;
/// Sent bytes that the tail may keep for the sake of not copying.
const COMPACT_MIN: usize = 16 * 1024;
/// Slices in one vectored write.
const SLICES_MAX: usize = 64; // fewer than the system takes in one call (1,024)

impl Chunk {
    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            #[cfg(feature = "static")]
            Self::File(_) => None,
        }
    }
}

impl WriteBuf {
    /// What is queued, as the water marks count it. A part of a file counts the same whatever its length: it takes no
    /// memory, but a descriptor and a place.
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

    /// Both, one after the other.
    #[cfg(feature = "broker")]
    pub(crate) fn push_parts(&mut self, head: &[u8], rest: &[u8]) {
        self.tail.reserve(head.len() + rest.len());
        self.tail.extend_from_slice(head);
        self.tail.extend_from_slice(rest);
    }

    pub(crate) fn push_shared(&mut self, bytes: Bytes) {
        if bytes.len() <= COPY_MAX {
            self.push(&bytes);
            return;
        }
        self.seal_tail();
        self.chunked += bytes.len();
        self.chunks.push_back(Chunk::Bytes(bytes));
    }

    #[cfg(feature = "static")]
    pub(crate) fn push_file(&mut self, slice: FileSlice) {
        if !slice.is_empty() {
            self.seal_tail();
            self.chunked += FILE_COST;
            self.chunks.push_back(Chunk::File(slice));
        }
    }

    /// Makes a chunk of the tail, so that another can follow it.
    fn seal_tail(&mut self) {
        if self.tail.len() > self.sent {
            let mut flat = Bytes::from(std::mem::take(&mut self.tail));
            flat.advance(std::mem::take(&mut self.sent));
            self.chunked += flat.len();
            self.chunks.push_back(Chunk::Bytes(flat));
        }
    }

    /// Takes over what another has queued.
    #[cfg(feature = "http")]
    pub(crate) fn append(&mut self, other: &mut Self) {
        for chunk in other.chunks.drain(..) {
            match chunk {
                Chunk::Bytes(bytes) => self.push_shared(bytes),
                #[cfg(feature = "static")]
                Chunk::File(slice) => self.push_file(slice),
            }
        }
        self.push(&other.tail[other.sent..]);
        other.clear();
    }

    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        self.chunked = 0;
        self.tail.clear();
        self.sent = 0;
    }

    /// Gives the queue to one write call and drops what it took. `UnexpectedEof`: a file has become shorter than it was when
    /// it was queued, so that what was promised can never be sent.
    #[inline(always)]
    pub(crate) fn write_to(&mut self, to: &mut impl Sink) -> io::Result<usize> {
        let tail = &self.tail[self.sent..];
        let n = match (self.chunks.front(), self.chunks.len() + usize::from(!tail.is_empty())) {
            (_, 0) => return Ok(0),
            (None, _) => to.write(tail)?,
            (Some(Chunk::Bytes(only)), 1) => to.write(only)?,
            #[cfg(feature = "static")]
            (Some(Chunk::File(_)), _) => return self.write_file(to),
            #[cfg(feature = "static")]
            (Some(Chunk::Bytes(first)), _) if matches!(self.chunks.get(1), Some(Chunk::File(_))) => {
                to.write_more(first)?
            }
            (Some(Chunk::Bytes(_)), _) => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut count = 0;
                for (slot, part) in slices.iter_mut().zip(self.chunks.iter().map_while(Chunk::bytes)) {
                    *slot = IoSlice::new(part);
                    count += 1;
                }
                if count == self.chunks.len() && count < SLICES_MAX && !tail.is_empty() {
                    slices[count] = IoSlice::new(tail);
                    count += 1;
                }
                to.write_vectored(&slices[..count])?
            }
        };
        self.advance(n);
        Ok(n)
    }

    /// How the last write has ended, if it was from a file of which there is more.
    #[cfg(feature = "static")]
    pub(crate) fn take_file_step(&mut self) -> Option<FileStep> {
        self.file_step.take()
    }

    #[cfg(not(feature = "static"))]
    pub(crate) fn take_file_step(&mut self) -> Option<FileStep> {
        None
    }

    /// Sends from the file at the front.
    #[cfg(feature = "static")]
    fn write_file(&mut self, to: &mut impl Sink) -> io::Result<usize> {
        let Some(Chunk::File(slice)) = self.chunks.front_mut() else { return Ok(0) };
        let asked = slice.len().min(FILE_STEP) as usize;
        let step = match to.send_file(slice.file(), slice.offset(), asked) {
            Some(sent) => {
                let sent = slice.advance(sent?)?;
                self.file_step = match sent < asked {
                    true => Some(FileStep::CutShort),
                    false if slice.is_empty() => None,
                    false => Some(FileStep::Whole),
                };
                Step::Sent(sent)
            }
            None => Step::Read(slice.read()?),
        };
        if slice.is_empty() {
            self.chunked -= FILE_COST;
            self.chunks.pop_front();
        }
        match step {
            Step::Sent(n) => Ok(n),
            Step::Read(piece) => {
                self.chunked += piece.len();
                self.chunks.push_front(Chunk::Bytes(piece));
                self.write_to(to)
            }
        }
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(first) = self.chunks.front_mut() {
            let first = match first {
                Chunk::Bytes(first) => first,
                #[cfg(feature = "static")]
                Chunk::File(_) => return,
            };
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
    #[cfg(feature = "static")]
    use std::sync::Arc;

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
            let mut peer = Peer::new(step);
            while !buf.is_empty() {
                let before = buf.len();
                let n = buf.write_to(&mut peer).unwrap();
                assert_eq!(buf.len(), before - n);
            }
            assert_eq!(peer.got, expected, "step {step}");
        }
    }

    #[cfg(feature = "static")]
    #[test]
    fn files_leave_in_their_place_whether_the_system_sends_them_or_not() {
        let content: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let file = temporary(&content);
        for by_system in [true, false] {
            for step in [1000, 70_000, usize::MAX] {
                let mut buf = WriteBuf::default();
                buf.push(b"head");
                buf.push_file(FileSlice::new(Arc::clone(&file), 10, 100_000));
                buf.push_file(FileSlice::new(Arc::clone(&file), 0, 0));
                buf.push(b"between");
                buf.push_file(FileSlice::new(Arc::clone(&file), 250_000, 50_000));
                buf.push_shared(Bytes::from(vec![7; 5000]));
                buf.push_file(FileSlice::new(Arc::clone(&file), 299_999, 1));
                buf.push(b"tail");
                assert_eq!(buf.len(), 4 + 7 + 5000 + 4 + 3 * FILE_COST);
                let mut peer = Peer { by_system, ..Peer::new(step) };
                while !buf.is_empty() {
                    buf.write_to(&mut peer).unwrap();
                    assert!(buf.len() < 70_000 + 3 * FILE_COST, "no more than a piece of a file is in memory");
                }
                let parts = [
                    b"head",
                    &content[10..100_010],
                    b"between",
                    &content[250_000..],
                    &[7; 5000],
                    &[content[299_999]],
                    b"tail",
                ];
                assert!(peer.got == parts.concat(), "step {step}");
                assert_eq!(buf.len(), 0);
            }
        }
    }

    #[cfg(feature = "static")]
    #[test]
    fn a_file_leaves_in_short_steps_and_tells_whether_the_turn_is_over_or_the_socket_full() {
        let step = FILE_STEP as usize;
        let file = temporary(&vec![1; 2 * step + 5]);
        let mut buf = WriteBuf::default();
        buf.push(b"head");
        buf.push_file(FileSlice::new(file, 0, 2 * FILE_STEP + 5));
        let mut peer = Peer { by_system: true, ..Peer::new(usize::MAX) };
        let mut write = |buf: &mut WriteBuf, room| {
            peer.step = room;
            (buf.write_to(&mut peer).unwrap(), buf.take_file_step())
        };
        assert_eq!(write(&mut buf, usize::MAX), (4, None));
        assert_eq!(write(&mut buf, usize::MAX), (step, Some(FileStep::Whole)));
        assert_eq!(write(&mut buf, 7), (7, Some(FileStep::CutShort)));
        assert_eq!(write(&mut buf, usize::MAX), (step - 2, None));
        assert!(buf.is_empty());
    }

    #[cfg(feature = "static")]
    #[test]
    fn a_file_that_ends_before_its_slice_is_an_error() {
        let file = temporary(&[1; 1000]);
        for by_system in [true, false] {
            let mut buf = WriteBuf::default();
            buf.push_file(FileSlice::new(Arc::clone(&file), 0, 1001));
            let mut peer = Peer { by_system, ..Peer::new(usize::MAX) };
            assert_eq!(buf.write_to(&mut peer).unwrap(), 1000);
            assert_eq!(buf.write_to(&mut peer).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(peer.got.len(), 1000);
        }
    }

    /// A file that has no name any more.
    #[cfg(feature = "static")]
    fn temporary(content: &[u8]) -> Arc<std::fs::File> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("vansire-write-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        Arc::new(file)
    }

    #[test]
    fn a_peer_that_never_catches_up_costs_what_is_queued_not_what_was_sent() {
        let mut buf = WriteBuf::default();
        let mut peer = Peer::new(3000);
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
        /// The system sends files.
        #[cfg(feature = "static")]
        by_system: bool,
    }

    impl Peer {
        fn new(step: usize) -> Self {
            Self {
                got: Vec::new(),
                step,
                #[cfg(feature = "static")]
                by_system: false,
            }
        }
    }

    impl Sink for Peer {
        #[cfg(feature = "static")]
        fn send_file(&mut self, file: &std::fs::File, offset: u64, max: usize) -> Option<io::Result<usize>> {
            let mut slice = FileSlice::new(Arc::new(file.try_clone().unwrap()), offset, max.min(self.step) as u64);
            self.by_system.then(|| match slice.read() {
                Ok(bytes) => io::Write::write(self, &bytes),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                Err(e) => Err(e),
            })
        }
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

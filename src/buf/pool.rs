//! Buffers that nobody uses now.

use super::{ReadBuf, WriteBuf};

/// Keeps the buffers of connections that went idle, so that traffic allocates nothing and idle connections own nothing.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    // Boxed, because a connection holds a pointer: its slot stays small while it is idle.
    #[allow(clippy::vec_box)]
    reads: Vec<Box<ReadBuf>>,
    #[allow(clippy::vec_box)]
    writes: Vec<Box<WriteBuf>>,
}

/// A buffer that grew beyond this is freed, not kept.
const KEEP_BYTES: usize = 16 * 1024;
/// Buffers of each kind kept at most: with the bound above, 2 x 8 MiB in the worst case.
const KEEP: usize = 512;

impl Pool {
    pub(crate) fn take_read(&mut self) -> Box<ReadBuf> {
        self.reads.pop().unwrap_or_default()
    }

    pub(crate) fn take_write(&mut self) -> Box<WriteBuf> {
        self.writes.pop().unwrap_or_default()
    }

    pub(crate) fn give_read(&mut self, mut buf: Box<ReadBuf>) {
        if self.reads.len() < KEEP && buf.capacity() <= KEEP_BYTES {
            buf.clear();
            self.reads.push(buf);
        }
    }

    pub(crate) fn give_write(&mut self, mut buf: Box<WriteBuf>) {
        if self.writes.len() < KEEP && buf.capacity() <= KEEP_BYTES {
            buf.clear();
            self.writes.push(buf);
        }
    }
}

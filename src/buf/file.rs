//! A part of a file, queued as output.

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// Bytes of a file that is open. They are not in memory: the system sends them, or they are read piece by piece.
#[derive(Debug, Clone)]
pub(crate) struct FileSlice {
    file: Arc<File>,
    offset: u64,
    len: u64,
}

/// What a part of a file counts for in a queue, so that files queued by the hundred meet the water marks.
pub(crate) const FILE_COST: usize = 8 * 1024;
/// Bytes asked of the system in one call, and in one turn. Measured over loopback: with steps of 512 KiB, which let the socket's buffer
/// fill, a large file costs two to four times as much. What fits is that few bytes are then still in the processor's cache when
/// the peer reads them.
pub(crate) const FILE_STEP: u64 = 32 * 1024;
/// Bytes read in one call, where the system cannot send from a file.
const READ_STEP: u64 = 64 * 1024;

impl FileSlice {
    pub(crate) fn new(file: Arc<File>, offset: u64, len: u64) -> Self {
        Self { file, offset, len }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Counts bytes as sent. None at all: the file ends before the slice does.
    pub(crate) fn advance(&mut self, n: usize) -> io::Result<usize> {
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += n as u64;
        self.len = self.len.saturating_sub(n as u64);
        Ok(n)
    }

    /// Takes the next bytes out of the slice.
    pub(crate) fn read(&mut self) -> io::Result<Bytes> {
        let mut piece = vec![0; self.len.min(READ_STEP) as usize];
        let n = read_at(&self.file, &mut piece, self.offset)?;
        piece.truncate(self.advance(n)?);
        Ok(piece.into())
    }
}

#[cfg(unix)]
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

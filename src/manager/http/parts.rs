//! Replies whose bodies are put together from bytes and files.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use crate::buf::FileSlice;
use crate::event::Sent;
use crate::manager::net::Net;
use crate::proto::http::Response;
use crate::proto::http::encode::{self, Framing};

use super::{Reply, ReplyId};

/// A piece of the body of [`Net::reply_parts`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Part {
    /// These bytes.
    Bytes(Bytes),
    /// Bytes of a regular file, read when the peer takes them.
    File {
        /// The file, open for reading. Its position is neither used nor moved.
        file: Arc<File>,
        /// Where the part begins in it.
        offset: u64,
        /// How many bytes there are in the part.
        len: u64,
    },
}

impl Part {
    /// Bytes of the part.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<S> Net<'_, S> {
    /// Answers a request, as [`reply`](Self::reply) does, with a body made of these parts; the response's own is not used.
    ///
    /// Files are not read into memory. On Linux the system sends them from its cache (`sendfile`), elsewhere they are read
    /// in pieces; either waits for the disk where the cache has not the bytes, and the loop waits with it. No more than
    /// a megabyte of one connection leaves in one turn. A file that becomes shorter meanwhile ends the connection, so
    /// that the peer is never told that it has all; of one that grows only the announced length is sent. In the water
    /// marks each part of a file counts as 8 KiB.
    pub fn reply_parts(&mut self, to: impl Into<ReplyId>, response: Response<'_>, parts: &[Part]) -> Sent {
        let to = to.into();
        let (key, len) = (to.conn.0, parts.iter().map(Part::len).sum());
        self.core.begin_reply(key, to.seq, |output, ask, _| {
            let encoded = encode::encode_head(output.tail(), &response, ask, Framing::Length(len)).ok()?;
            for part in parts.iter().filter(|_| encoded.framing.is_some()) {
                match part {
                    Part::Bytes(bytes) => output.push_shared(bytes.clone()),
                    Part::File { file, offset, len } => {
                        output.push_file(FileSlice::new(Arc::clone(file), *offset, *len));
                    }
                }
            }
            Some((encoded.keep_alive, Reply::Done))
        })
    }
}

//! Buffers: input not yet consumed, output not yet sent, and the pool that idle connections give theirs back to.

mod pool;
mod read;
mod write;

pub(crate) use pool::Pool;
pub(crate) use read::ReadBuf;
pub(crate) use write::WriteBuf;

//! Buffers: input not yet consumed, output not yet sent, and the pool that idle connections give theirs back to.

#[cfg(feature = "static")]
mod file;
mod pool;
mod read;
mod write;

#[cfg(feature = "static")]
pub(crate) use file::FileSlice;
pub(crate) use pool::Pool;
pub(crate) use read::ReadBuf;
pub(crate) use write::{FileStep, Sink, WriteBuf};

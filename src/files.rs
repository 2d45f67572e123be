//! Files over HTTP: a folder ([`Dir`]), a single file ([`serve_file`]), or a set in the program itself ([`Embedded`]).
//!
//! ```no_run
//! use vansire::{Ctx, Event, Manager, files};
//!
//! # fn main() -> vansire::Result<()> {
//! let mut manager = Manager::new(())?;
//! let www = files::Dir::new("www")?;
//! manager.net().listen("http://127.0.0.1:8080", move |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
//!     if let Event::HttpRequest(request) = ev {
//!         www.serve(cx, request);
//!     }
//! })?;
//! # Ok(()) }
//! ```
//!
//! GET and HEAD are answered, other methods with 405. Conditions (`If-None-Match`, `If-Modified-Since` and their opposites),
//! ranges (`Range`, `If-Range`, also several of them) and `Accept-Encoding` (siblings `.br`, `.zst`, `.gz`) are obeyed as
//! RFC 9110 has them.
//!
//! **Safety.** A name is looked up below the folder's handle, so that neither `..`, in whatever encoding, nor a symbolic link
//! leads out of it. Names that begin with a dot are not served, but for `.well-known`; nor is anything but regular files.
//!
//! **Entity tags** are made of the time of modification, in nanoseconds, and the length; those of embedded files, of their
//! content. They are strong, but for files that were modified less than two seconds ago: a second change within one tick of
//! the file system's clock could not be told from the first, so until then the tag is weak (RFC 9110 §8.8.1).
//!
//! **Cost.** Small files are kept in memory, for a second without asking the system anything (see [`Options::cache`]). Larger
//! ones are opened for each request and sent by the system. Both happen on the loop's thread: where the system has to wait
//! for a disk, the loop waits with it. Put large files that are rarely read, and folders on a network, behind a loop of
//! their own.

mod cache;
mod dir;
mod embedded;
mod listing;
mod name;
mod open;
mod options;
mod resource;
mod respond;

pub use dir::{Dir, serve_file};
pub use embedded::Embedded;
pub use options::{Links, Options};
pub use respond::Served;

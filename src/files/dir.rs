//! A folder that is served.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::error::{Error, Kind, Result};
use crate::manager::Ctx;
use crate::proto::http::{Request, Response};

use super::cache::{Cache, Kept};
use super::listing;
use super::name::{self, BadName, is_served};
use super::open::{self, Root, Stamp, join};
use super::options::Options;
use super::resource::{CODINGS, Coding, Resource, Variant};
use super::respond::{self, Served, text};

/// A folder whose files are served. Cheap to clone: clones share the folder and what is in memory.
///
/// The folder is the one that was there when it was opened: it may be renamed, and what is put in its place is not seen.
#[derive(Clone)]
pub struct Dir {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    root: Root,
    options: Options,
    cache: Mutex<Cache>,
}

/// What a path leads to.
enum Found {
    File(Arc<Resource>),
    /// A folder, asked for without its slash.
    Folder(String),
    Listing(String),
}

/// Why there is nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// 400
    BadPath,
    /// 403
    Forbidden,
    /// 404
    Missing,
    /// 500
    Failed,
    /// 503: the system is out of descriptors or memory, or the file changes all the time.
    Busy,
}

impl Dir {
    /// Serves this folder with the default options. Fails if it is not a folder that can be read.
    pub fn new(folder: impl AsRef<Path>) -> Result<Self> {
        Self::with(folder, Options::new())
    }

    /// Serves this folder. Fails if it is not a folder that can be read, and for options that no reply could be made with:
    /// a bad header or type, a prefix that is no path, an index that is no name, a
    /// page for what is missing that is missing.
    pub fn with(folder: impl AsRef<Path>, options: Options) -> Result<Self> {
        options.check()?;
        let path = folder.as_ref().to_path_buf();
        let failed = |e| Error::io(format!("cannot serve the folder {}", path.display()), e);
        let root = Root::open(&path, options.links).map_err(failed)?;
        if let Some(page) = &options.not_found
            && !root.file(page).and_then(|file| file.metadata()).is_ok_and(|found| found.is_file())
        {
            let what = format!("the page {page} cannot be read in {}", path.display());
            return Err(Error::new(Kind::BadValue, what));
        }
        Ok(Self { inner: Arc::new(Inner { path, root, options, cache: Mutex::default() }) })
    }

    /// The path that it was opened by.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether the request's path is below the prefix.
    pub fn covers(&self, request: &Request<'_>) -> bool {
        name::below(&self.inner.options.prefix, request.raw_path()).is_some()
    }

    /// Answers a request for a file: call it in `Event::HttpRequest`, or in a route of a [`Router`](crate::http::Router).
    ///
    /// Every request is answered: 200, 206, 304 with the file; 301 to the URL of a folder that lacks its slash; 400 for a
    /// path that cannot be decoded, 403 for what may not be served, 404, 405 (with `Allow`), 412 and 416; 500 and 503 where
    /// the system fails. A small file is copied or shared from memory; a larger one costs an `open`, and leaves by
    /// [`reply_parts`](crate::Net::reply_parts).
    pub fn serve<S>(&self, cx: &mut Ctx<'_, S>, request: &Request<'_>) -> Served {
        if !matches!(request.method(), "GET" | "HEAD") {
            return text(cx, request, 405, "Files are only read.\n");
        }
        let inner = &*self.inner;
        let Some(path) = name::below(&inner.options.prefix, request.raw_path()) else {
            return inner.refuse(cx, request, Refusal::Missing);
        };
        match inner.find(path, cx.now) {
            Ok(Found::File(resource)) => respond::file(cx, request, &resource, &inner.options, 200),
            Ok(Found::Folder(relative)) => respond::folder(cx, request, &inner.options, &relative),
            Ok(Found::Listing(page)) => {
                let policy = "default-src 'none'; base-uri 'none'; form-action 'none'";
                let mut response = Response::html(200, &page).header("Content-Security-Policy", policy);
                for (name, value) in inner.options.extra_headers() {
                    response = response.header(name, value);
                }
                respond::reply(cx, request, response)
            }
            Err(refusal) => inner.refuse(cx, request, refusal),
        }
    }
}

impl Inner {
    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        // Nothing in there can be half done.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a path below the prefix leads to, from memory or from the folder.
    fn find(&self, path: &str, now: Instant) -> std::result::Result<Found, Refusal> {
        let kept = self.cache().get(path, now, &self.options.cache);
        let known = match kept {
            Kept::Good(resource) => return Ok(Found::File(resource)),
            Kept::Old(resource) => Some(resource),
            Kept::Nothing => None,
        };
        let found = self.look_up(path, known.as_deref());
        match &found {
            Ok(Found::File(resource)) => self.cache().put(path, resource, now, &self.options.cache),
            _ if known.is_some() => self.cache().remove(path),
            _ => {}
        }
        found
    }

    fn look_up(&self, path: &str, known: Option<&Resource>) -> std::result::Result<Found, Refusal> {
        if path.is_empty() {
            return Ok(Found::Folder(String::new()));
        }
        let name = name::read(path, self.options.hidden).map_err(|bad| match bad {
            BadName::Encoding => Refusal::BadPath,
            BadName::Component => Refusal::Missing,
        })?;
        let relative = &*name.relative;
        let file = self.root.file(relative)?;
        if !file.metadata()?.is_dir() {
            // A file is no folder: `/a.txt/` names nothing.
            return if name.slash { Err(Refusal::Missing) } else { self.resource(file, relative, known) };
        }
        if !name.slash {
            // Links in a folder's page are relative to the folder, so its URL has to end in a slash.
            return Ok(Found::Folder(relative.to_owned()));
        }
        for index in &self.options.index {
            let index = join(relative, index);
            match self.root.file(&index) {
                Ok(file) => return self.resource(file, &index, known),
                Err(e) if Refusal::from(e.kind()) == Refusal::Missing => {}
                Err(e) => return Err(e.into()),
            }
        }
        if !self.options.listing {
            return Err(Refusal::Forbidden);
        }
        let mut names = self.root.names(&file, relative, listing::ENTRIES_MAX + 1)?;
        names.retain(|found| is_served(&found.name, self.options.hidden));
        Ok(Found::Listing(listing::page(&self.options.prefix, relative, names)))
    }

    fn resource(&self, file: File, relative: &str, known: Option<&Resource>) -> std::result::Result<Found, Refusal> {
        let plain = self.variant(file, relative, None, known)?;
        let mut coded = Vec::new();
        for coding in CODINGS.into_iter().filter(|_| self.options.precompressed) {
            let sibling = format!("{relative}{}", coding.suffix);
            // A sibling that cannot be read is as good as none.
            let variant =
                self.root.file(&sibling).ok().and_then(|file| self.variant(file, &sibling, Some(coding), known).ok());
            coded.extend(variant.map(|variant| (coding, variant)));
        }
        let content_type = self.options.content_type(relative);
        Ok(Found::File(Arc::new(Resource { content_type, plain, coded })))
    }

    /// A file in one coding. Tried again where it changes in the midst of being read.
    fn variant(
        &self,
        mut file: File,
        relative: &str,
        coding: Option<Coding>,
        known: Option<&Resource>,
    ) -> std::result::Result<Variant, Refusal> {
        let cache = &self.options.cache;
        let memory_max = if cache.bytes == 0 { 0 } else { cache.file_max.min(cache.bytes as u64) };
        let known = known.and_then(|known| known.variant(coding));
        for _ in 0..READS {
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(Refusal::Forbidden);
            }
            match Variant::of_file(file, Stamp::of(&metadata), coding, memory_max, known) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => file = self.root.file(relative)?,
                read => return Ok(read?),
            }
        }
        Err(Refusal::Busy)
    }

    fn refuse<S>(&self, cx: &mut Ctx<'_, S>, request: &Request<'_>, refusal: Refusal) -> Served {
        if let (Refusal::Missing, Some(page)) = (refusal, &self.options.not_found)
            && let Ok(Found::File(resource)) =
                self.root.file(page).map_err(Refusal::from).and_then(|file| self.resource(file, page, None))
        {
            return respond::file(cx, request, &resource, &self.options, 404);
        }
        refuse(cx, request, refusal)
    }
}

/// How often a file is read that changes meanwhile.
const READS: u32 = 3;

/// Answers a request with one file, whatever the request's path is: conditions, ranges and methods are as for [`Dir`], the
/// type is by its extension, and the path is the program's own: nothing about it is checked. 404 where there is none.
///
/// Opens the file for each request; a file that is asked for often is better served from a [`Dir`].
pub fn serve_file<S>(cx: &mut Ctx<'_, S>, request: &Request<'_>, path: impl AsRef<Path>) -> Served {
    if !matches!(request.method(), "GET" | "HEAD") {
        return text(cx, request, 405, "It is only read.\n");
    }
    let options = Options::new();
    match one_file(path.as_ref(), &options) {
        Ok(resource) => respond::file(cx, request, &resource, &options, 200),
        Err(refusal) => refuse(cx, request, refusal),
    }
}

fn one_file(path: &Path, options: &Options) -> std::result::Result<Resource, Refusal> {
    let file = open::any(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Refusal::Forbidden);
    }
    let content_type = options.content_type(&path.file_name().unwrap_or_default().to_string_lossy());
    let plain = Variant::of_file(file, Stamp::of(&metadata), None, 0, None)?;
    Ok(Resource { content_type, plain, coded: Vec::new() })
}

fn refuse<S>(cx: &mut Ctx<'_, S>, request: &Request<'_>, refusal: Refusal) -> Served {
    let (status, what) = match refusal {
        Refusal::BadPath => (400, "Bad path.\n"),
        Refusal::Forbidden => (403, "Forbidden.\n"),
        Refusal::Missing => (404, "Not found.\n"),
        Refusal::Failed => (500, "It cannot be read.\n"),
        Refusal::Busy => (503, "Try again.\n"),
    };
    text(cx, request, status, what)
}

impl From<io::ErrorKind> for Refusal {
    fn from(kind: io::ErrorKind) -> Self {
        use io::ErrorKind;
        match kind {
            // ENAMETOOLONG is InvalidFilename.
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename | ErrorKind::InvalidInput => {
                Self::Missing
            }
            ErrorKind::PermissionDenied => Self::Forbidden,
            ErrorKind::OutOfMemory | ErrorKind::WouldBlock | ErrorKind::ResourceBusy => Self::Busy,
            _ => Self::Failed,
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::from(error.kind())
    }
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dir")
            .field("path", &self.inner.path)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

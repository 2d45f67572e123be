//! What a name stands for: a file, and its encoded siblings.

use std::borrow::Cow;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::http::Part;

use super::open::Stamp;

/// A file that can be sent, in every coding that there is.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) content_type: Cow<'static, str>,
    pub(super) plain: Variant,
    /// Encoded siblings, in the order of preference.
    pub(super) coded: Vec<(Coding, Variant)>,
}

/// One representation.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) etag: String,
    /// The time of modification, and how a header says it.
    pub(super) modified: Option<(SystemTime, String)>,
    pub(super) content: Content,
    pub(super) state: State,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(super) enum Content {
    Memory(Bytes),
    File { file: Arc<File>, len: u64 },
}

/// What is known of the file that a variant was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As long as the stamp is this, so is the content.
    Settled(Stamp),
    /// It was modified so recently that another change might leave the same stamp.
    Fresh,
}

/// A content coding, and how its files are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coding {
    pub(super) name: &'static str,
    pub(super) suffix: &'static str,
}

/// In the order of preference: what is smaller first.
pub(super) const CODINGS: [Coding; 3] = [
    Coding { name: "br", suffix: ".br" },
    Coding { name: "zstd", suffix: ".zst" },
    Coding { name: "gzip", suffix: ".gz" },
];

/// Until then a second change may be within the same tick of the file system's clock. FAT has the longest: two seconds.
const SETTLES: Duration = Duration::from_secs(2);

impl Resource {
    /// Every representation is in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        self.variants().all(|variant| matches!(variant.content, Content::Memory(_)))
    }

    pub(super) fn bytes(&self) -> usize {
        let own = |variant: &Variant| match &variant.content {
            Content::Memory(bytes) => bytes.len(),
            Content::File { .. } => 0,
        };
        self.variants().map(own).sum()
    }

    pub(super) fn variant(&self, coding: Option<Coding>) -> Option<&Variant> {
        match coding {
            None => Some(&self.plain),
            Some(coding) => self.coded.iter().find(|(its, _)| *its == coding).map(|(_, variant)| variant),
        }
    }

    fn variants(&self) -> impl Iterator<Item = &Variant> {
        std::iter::once(&self.plain).chain(self.coded.iter().map(|(_, variant)| variant))
    }
}

impl Variant {
    /// Of a regular file that is open. What is known already is kept while the file is the same.
    pub(super) fn of_file(
        mut file: File,
        stamp: Stamp,
        coding: Option<Coding>,
        memory_max: u64,
        known: Option<&Variant>,
    ) -> io::Result<Self> {
        let state = if is_settled(stamp.modified, SystemTime::now()) { State::Settled(stamp) } else { State::Fresh };
        let same = known.filter(|known| state != State::Fresh && known.state == state);
        let content = match same.map(|same| &same.content) {
            Some(Content::Memory(bytes)) => Content::Memory(bytes.clone()),
            _ if stamp.len <= memory_max => Content::Memory(read(&mut file, stamp.len)?),
            _ => Content::File { file: Arc::new(file), len: stamp.len },
        };
        let age = stamp.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let weak = if state == State::Fresh { "W/" } else { "" };
        let suffix = coding.map_or("", |coding| coding.suffix).replace('.', "-");
        Ok(Self {
            etag: format!("{weak}\"{:x}-{:x}{suffix}\"", age.as_nanos(), stamp.len),
            modified: stamp.modified.map(|time| (time, date(time))),
            content,
            state,
        })
    }

    /// Of bytes that never change.
    pub(super) fn of_bytes(bytes: &'static [u8], coding: Option<Coding>) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(bytes);
        let suffix = coding.map_or("", |coding| coding.suffix).replace('.', "-");
        Self {
            etag: format!("\"{:x}-{:x}{suffix}\"", hasher.finish(), bytes.len()),
            modified: None,
            content: Content::Memory(Bytes::from_static(bytes)),
            state: State::Fresh,
        }
    }
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// A range that lies inside.
    pub(super) fn part(&self, range: Range<u64>) -> Part {
        match self {
            Self::Memory(bytes) => Part::Bytes(bytes.slice(range.start as usize..range.end as usize)),
            Self::File { file, .. } => {
                Part::File { file: Arc::clone(file), offset: range.start, len: range.end - range.start }
            }
        }
    }
}

fn is_settled(modified: Option<SystemTime>, now: SystemTime) -> bool {
    modified.is_some_and(|modified| now.duration_since(modified).is_ok_and(|age| age >= SETTLES))
}

/// Reads a file whole. It may have become shorter since its length was asked for: then what was promised is not there.
fn read(file: &mut File, len: u64) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(len).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == len { Ok(bytes.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// As a header says it (RFC 9110 §5.6.7). A clock that is wrong must not stop a server.
fn date(time: SystemTime) -> String {
    let age = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    httpdate::fmt_http_date(UNIX_EPOCH + age.min(YEAR_9999))
}

/// The last second that the four-digit year can say.
const YEAR_9999: Duration = Duration::from_secs(253_402_300_799);

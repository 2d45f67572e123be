//! How files are served.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::proto::http::Response;

use super::name::Hidden;

/// How a folder, or a set of embedded files, is served. `Options::new()` is good for most.
///
/// ```
/// use vansire::files::Options;
///
/// let options = Options::new().prefix("/static").index(["index.html", "index.htm"]).header("Cache-Control", "max-age=60");
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    pub(super) prefix: String,
    pub(super) index: Vec<String>,
    pub(super) listing: bool,
    pub(super) hidden: Hidden,
    pub(super) links: Links,
    pub(super) precompressed: bool,
    pub(super) not_found: Option<String>,
    pub(super) cache: Cache,
    headers: Vec<(String, String)>,
    types: Vec<(String, String)>,
}

/// Which symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Links {
    /// Those that are relative and never leave the folder on their way. Linux only (from 5.6 on): elsewhere on Unix none
    /// is followed, and on Windows those are whose end is in the folder.
    #[default]
    Inside,
    /// None.
    Never,
}

/// What of a folder is kept in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cache {
    pub(super) bytes: usize,
    pub(super) file_max: u64,
    pub(super) lifetime: Duration,
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            prefix: String::new(),
            index: vec!["index.html".into()],
            listing: false,
            hidden: Hidden::Refused,
            links: Links::Inside,
            precompressed: true,
            not_found: None,
            cache: Cache { bytes: 8 << 20, file_max: 256 << 10, lifetime: Duration::from_secs(1) },
            headers: Vec::new(),
            types: Vec::new(),
        }
    }

    /// The path below which the folder stands, such as `/static`, not encoded: it is taken off the path of a request, and what is not
    /// below it is not found. Default: none.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self.prefix.truncate(self.prefix.trim_end_matches('/').len());
        self
    }

    /// The files that answer for a folder: the first that there is. Default: `index.html`.
    pub fn index<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.index = names.into_iter().map(Into::into).collect();
        self
    }

    /// Lists a folder that has no index, instead of answering 403. Default: off.
    pub fn listing(mut self, listing: bool) -> Self {
        self.listing = listing;
        self
    }

    /// Serves also what begins with a dot. Default: off.
    pub fn hidden(mut self, hidden: bool) -> Self {
        self.hidden = if hidden { Hidden::Served } else { Hidden::Refused };
        self
    }

    /// Which symbolic links are followed. Default: those that stay inside.
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// Serves `a.js.br`, `a.js.zst` or `a.js.gz` for `a.js` to clients that accept that. Costs three look-ups for a file
    /// that is not in memory. Default: on.
    pub fn precompressed(mut self, precompressed: bool) -> Self {
        self.precompressed = precompressed;
        self
    }

    /// A file of the folder that is sent, with status 404, where nothing was found.
    pub fn not_found(mut self, name: impl Into<String>) -> Self {
        self.not_found = Some(name.into());
        self
    }

    /// The type of files whose names end in this extension (`js`, `tar.gz`), in any letter case; the longest that fits counts.
    /// `*` is for all that have none of their own here.
    /// Default: by the extension, `text/...` with `charset=utf-8`, and `application/octet-stream` for unknown ones.
    pub fn mime(mut self, extension: impl Into<String>, content_type: impl Into<String>) -> Self {
        self.types.push((extension.into().trim_start_matches('.').to_ascii_lowercase(), content_type.into()));
        self
    }

    /// Adds a header to every reply for a file, 304 included. The same name may come several times.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Keeps files of up to `file_max` bytes in memory, `bytes` in all, and looks at the folder again for each after
    /// `lifetime`: for that long a change may not show. Zero bytes keep nothing. Default: 8 MiB, 256 KiB, 1 s.
    ///
    /// The times are those of the loop's turns. Only files that are asked for are looked at.
    pub fn cache(mut self, bytes: usize, file_max: usize, lifetime: Duration) -> Self {
        self.cache = Cache { bytes, file_max: file_max as u64, lifetime };
        self
    }

    pub(super) fn extra_headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Says what could never be sent, or never be found.
    pub(super) fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Error::new(Kind::BadValue, what));
        let mut response = Response::new(200);
        for (name, value) in self.extra_headers() {
            if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
                return bad(format!("the header {name} is set for each file"));
            }
            response = response.header(name, value);
        }
        for (_, content_type) in &self.types {
            response = response.header("Content-Type", &**content_type);
        }
        response.validate()?;
        if !self.prefix.is_empty() && (!self.prefix.starts_with('/') || self.prefix.contains("//")) {
            return bad(format!("the prefix {:?} is not the path of a URL", self.prefix));
        }
        match self.index.iter().find(|name| name.is_empty() || name.contains(['/', '\\', '\0'])) {
            Some(name) => bad(format!("the index {name:?} is not the name of a file")),
            None => Ok(()),
        }
    }

    pub(super) fn content_type(&self, name: &str) -> Cow<'static, str> {
        let file = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let fits = |end: &str| file.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
        let given = self.types.iter().filter(|(end, _)| fits(end)).max_by_key(|(end, _)| end.len());
        if let Some((_, given)) = given.or_else(|| self.types.iter().rev().find(|(end, _)| end == "*")) {
            return given.clone().into();
        }
        let extension = file.rsplit_once('.').map(|(_, extension)| extension);
        let guess = extension.and_then(|extension| mime_guess::from_ext(extension).first_raw());
        match guess {
            Some(text) if text.starts_with("text/") => format!("{text}; charset=utf-8").into(),
            Some(guess) => guess.into(),
            None => "application/octet-stream".into(),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// Headers that depend on the file.
const OURS: &[&str] = &[
    "Accept-Ranges",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Date",
    "ETag",
    "Last-Modified",
    "Vary",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_types_are_guessed_overridden_or_all_the_same() {
        let plain = Options::new();
        let own = Options::new().mime(".TXT", "text/x").mime("md", "text/markdown").mime("md", "text/y");
        let own = own.mime("gz", "x/gz").mime("tar.gz", "x/tar");
        let all = own.clone().mime("*", "a/b");
        let table = [
            ("a.txt", "text/plain; charset=utf-8", "text/x", "text/x"),
            ("x/A.TxT", "text/plain; charset=utf-8", "text/x", "text/x"),
            ("a.html", "text/html; charset=utf-8", "text/html; charset=utf-8", "a/b"),
            ("a.PNG", "image/png", "image/png", "a/b"),
            ("a.json", "application/json", "application/json", "a/b"),
            ("a.md", "text/markdown; charset=utf-8", "text/y", "text/y"),
            ("a.tar.gz", "application/gzip", "x/tar", "x/tar"),
            ("tar.gz", "application/gzip", "x/gz", "x/gz"),
            ("noext", "application/octet-stream", "application/octet-stream", "a/b"),
            ("x.d/noext", "application/octet-stream", "application/octet-stream", "a/b"),
            ("a.", "application/octet-stream", "application/octet-stream", "a/b"),
            ("a.unheard", "application/octet-stream", "application/octet-stream", "a/b"),
        ];
        for (name, guessed, overridden, same) in table {
            assert_eq!(plain.content_type(name), guessed, "{name}");
            assert_eq!(own.content_type(name), overridden, "{name}");
            assert_eq!(all.content_type(name), same, "{name}");
        }
    }

    #[test]
    fn what_could_never_be_sent_is_an_error() {
        let new = Options::new;
        assert!(new().check().is_ok());
        assert!(new().prefix("/static/").header("X-A", "b").mime("x", "a/b").check().is_ok());
        let table = [
            ("CR in a header", new().header("X-A", "a\r\nb")),
            ("bad name", new().header("X A", "a")),
            ("framing", new().header("Content-Length", "1")),
            ("another's", new().header("etag", "\"1\"")),
            ("LF in a type", new().mime("x", "a\nb")),
            ("prefix without a slash", new().prefix("static")),
            ("prefix without a name", new().prefix("/a//b")),
            ("index in another folder", new().index(["../x"])),
            ("index without a name", new().index([""])),
        ];
        for (name, options) in table {
            assert!(options.check().is_err_and(|e| e.is_bad_value()), "{name}");
        }
    }
}

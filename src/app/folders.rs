//! The folders of the configuration, as servers of files.
//!
//! The only place between the configuration and how files are read: [`Folder::open`] makes the one of the other.

use std::borrow::Cow;
use std::rc::Rc;

use super::config::FolderConfig;
use super::files::{Answer, Root};

/// The folders of a server, the longest prefix first.
#[derive(Debug, Default)]
pub(super) struct Folders {
    all: Vec<Rc<Folder>>,
}

/// A folder that is served below a prefix.
#[derive(Debug)]
pub(super) struct Folder {
    prefix: String,
    root: Root,
    not_found: Option<String>,
    headers: Vec<(String, String)>,
    types: Vec<(String, String)>,
}

/// Which folder has a path.
pub(super) enum Found {
    Folder(Rc<Folder>),
    /// The path is a prefix without its slash: it is this path with one.
    Slash(String),
    Nothing,
}

impl Folders {
    /// Opens them all; the error is a sentence.
    pub(super) fn open(configs: &[FolderConfig]) -> Result<Self, String> {
        let mut all = configs.iter().map(|config| Folder::open(config).map(Rc::new)).collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(|folder| std::cmp::Reverse(folder.prefix.len()));
        Ok(Self { all })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The folder that serves this decoded path.
    pub(super) fn find(&self, path: &str) -> Found {
        for folder in &self.all {
            if path.starts_with(&folder.prefix) {
                return Found::Folder(Rc::clone(folder));
            }
            if folder.prefix.strip_suffix('/') == Some(path) {
                return Found::Slash(super::files::encode(path.as_bytes()));
            }
        }
        Found::Nothing
    }
}

impl Folder {
    /// Opens a folder as the configuration describes it; the error is a sentence.
    pub(super) fn open(config: &FolderConfig) -> Result<Self, String> {
        let shown = config.root.display();
        if std::fs::metadata(&config.root).is_ok_and(|found| !found.is_dir()) {
            return Err(format!("{shown} is not a folder"));
        }
        let root = Root::open(&config.root, &config.index).map_err(|e| format!("{shown} cannot be served: {e}"))?;
        for (wanted, what) in [(config.listing, "listing"), (config.precompressed, "precompressed")] {
            if wanted {
                return Err(format!("{what} = true is more than this version can"));
            }
        }
        let not_found = (!config.not_found.is_empty()).then(|| format!("/{}", config.not_found));
        if let Some(page) = &not_found
            && !matches!(root.get("GET", page.as_bytes()), Answer::File { .. })
        {
            return Err(format!("the page {} cannot be read in {shown}", config.not_found));
        }
        let (prefix, headers) = (config.prefix.clone(), config.headers.clone());
        Ok(Self { prefix, root, not_found, headers, types: config.types.clone() })
    }

    /// Answers a request for a path of this folder, with its prefix. The second: the page for what is not there.
    pub(super) fn get(&self, method: &str, path: &str) -> (Answer, Option<Answer>) {
        // The prefix ends in a slash, with which the path below begins.
        let below = &path[self.prefix.len().saturating_sub(1)..];
        match self.root.get(method, below.as_bytes()) {
            Answer::File { bytes, content_type, modified } => {
                let content_type = self.content_type(path).map_or(content_type, Cow::Owned);
                (Answer::File { bytes, content_type, modified }, None)
            }
            Answer::Redirect(place) => {
                let prefix = super::files::encode(self.prefix.trim_end_matches('/').as_bytes());
                (Answer::Redirect(format!("{}{place}", prefix.trim_end_matches('/'))), None)
            }
            answer @ Answer::Status { status: 404, .. } => {
                (answer, self.not_found.as_ref().map(|page| self.root.get("GET", page.as_bytes())))
            }
            answer @ Answer::Status { .. } => (answer, None),
        }
    }

    /// Header fields of what is served.
    pub(super) fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The type that the configuration gives files with this end of the name; the longest end wins.
    fn content_type(&self, path: &str) -> Option<String> {
        let fits = |end: &str| path.strip_suffix(end).is_some_and(|name| name.ends_with('.'));
        let best = self.types.iter().filter(|(end, _)| fits(end)).max_by_key(|(end, _)| end.len());
        best.map(|(_, media_type)| media_type.clone())
    }
}

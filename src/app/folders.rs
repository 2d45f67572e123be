//! The folders of the configuration, as servers of files.
//!
//! The only place between the configuration and how files are served: [`open`] makes the one of the other.

use super::config::FolderConfig;
use crate::files::{Dir, Options};
use crate::proto::http::Request;

/// The folders of a server, the longest prefix first.
#[derive(Debug, Default)]
pub(super) struct Folders {
    all: Vec<Dir>,
}

impl Folders {
    /// Opens them all; the error is a sentence.
    pub(super) fn open(configs: &[FolderConfig]) -> Result<Self, String> {
        let mut configs: Vec<_> = configs.iter().collect();
        configs.sort_by_key(|config| std::cmp::Reverse(config.prefix.len()));
        Ok(Self { all: configs.into_iter().map(open).collect::<Result<_, _>>()? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The folder that serves what is asked for.
    pub(super) fn find(&self, request: &Request<'_>) -> Option<Dir> {
        self.all.iter().find(|folder| folder.covers(request)).cloned()
    }
}

/// Opens a folder as the configuration describes it; the error is a sentence.
pub(in crate::app) fn open(config: &FolderConfig) -> Result<Dir, String> {
    let shown = config.root.display();
    if std::fs::metadata(&config.root).is_ok_and(|found| !found.is_dir()) {
        return Err(format!("{shown} is not a folder"));
    }
    std::fs::read_dir(&config.root).map_err(|e| format!("{shown} cannot be served: {e}"))?;
    let mut options = Options::new()
        .prefix(&config.prefix)
        .index(config.index.iter().cloned())
        .listing(config.listing)
        .precompressed(config.precompressed)
        // Nothing in the folder is what it is not said to be.
        .header("X-Content-Type-Options", "nosniff");
    if !config.not_found.is_empty() {
        options = options.not_found(&config.not_found);
    }
    for (name, value) in &config.headers {
        options = options.header(name, value);
    }
    for (end, media_type) in &config.types {
        options = options.mime(end, media_type);
    }
    Dir::with(&config.root, options).map_err(|e| e.to_string())
}

//! The folder of files: what `--root` serves.

use std::path::Path;

use crate::error::Result;
use crate::files::{Dir, Options};

/// Opens a folder as the program serves it; `index` names the file that answers for a folder. Fails if it is not a folder
/// that can be read.
pub(super) fn open(folder: &Path, index: &str) -> Result<Dir> {
    Dir::with(folder, options(index))
}

fn options(index: &str) -> Options {
    // Nothing in the folder is what it is not said to be.
    Options::new().index([index]).header("X-Content-Type-Options", "nosniff")
}

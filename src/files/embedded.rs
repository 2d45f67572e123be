//! Files that are a part of the program.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::manager::Ctx;
use crate::proto::http::Request;

use super::name::{self, BadName, Name, is_served};
use super::open::join;
use super::options::Options;
use super::resource::{CODINGS, Resource, Variant};
use super::respond::{self, Served, text};

/// A set of files in the program itself, served as [`Dir`](super::Dir) serves a folder: index, encoded siblings, entity tags (of
/// the content), ranges, prefix, headers, 404 page. There are no folders to list, and no dates.
///
/// ```
/// use vansire::files::{Embedded, Options};
///
/// # macro_rules! include_bytes { ($name:expr) => { b"" } }
/// let site = Embedded::new(
///     &[
///         ("index.html", include_bytes!("../site/index.html")),
///         ("app.js", include_bytes!("../site/app.js")),
///         ("app.js.gz", include_bytes!("../site/app.js.gz")),
///     ],
///     Options::new(),
/// )?;
/// # Ok::<(), vansire::Error>(())
/// ```
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    files: HashMap<String, Resource>,
    options: Options,
}

impl Embedded {
    /// Serves these files, by their names below the prefix. Fails for a name that no request could have, for one that comes
    /// twice, and for options that no reply could be made with. Reads every byte once, for the entity tags.
    pub fn new(files: &[(&str, &'static [u8])], options: Options) -> Result<Self> {
        options.check()?;
        let mut set = HashMap::with_capacity(files.len());
        for (name, bytes) in files {
            let bad = |why: &str| Err(Error::new(Kind::BadValue, format!("cannot serve {name:?}: {why}")));
            if !name.split('/').all(|component| is_served(component, options.hidden)) {
                return bad("it is no name that is served");
            }
            let coded = CODINGS.into_iter().filter(|_| options.precompressed).filter_map(|coding| {
                let bytes = files.iter().find(|(other, _)| other.strip_suffix(coding.suffix) == Some(name))?.1;
                Some((coding, Variant::of_bytes(bytes, Some(coding))))
            });
            let resource = Resource {
                content_type: options.content_type(name),
                plain: Variant::of_bytes(bytes, None),
                coded: coded.collect(),
            };
            if set.insert((*name).to_owned(), resource).is_some() {
                return bad("it comes twice");
            }
        }
        Ok(Self { inner: Arc::new(Inner { files: set, options }) })
    }

    /// Answers a request, as [`Dir::serve`](super::Dir::serve) does.
    pub fn serve<S>(&self, cx: &mut Ctx<'_, S>, request: &Request<'_>) -> Served {
        if !matches!(request.method(), "GET" | "HEAD") {
            return text(cx, request, 405, "Files are only read.\n");
        }
        let Inner { files, options } = &*self.inner;
        let Some(path) = name::below(&options.prefix, request.raw_path()) else { return self.missing(cx, request) };
        let name = match name::read(path, options.hidden) {
            Ok(name) => name,
            // The prefix itself, without its slash.
            Err(_) if path.is_empty() => Name { relative: "".into(), slash: false },
            Err(BadName::Encoding) => return text(cx, request, 400, "Bad path.\n"),
            Err(BadName::Component) => return self.missing(cx, request),
        };
        let index = || options.index.iter().find_map(|index| files.get(&join(&name.relative, index)));
        let found = if name.slash { index() } else { files.get(&*name.relative) };
        match found {
            Some(resource) => respond::file(cx, request, resource, options, 200),
            None if !name.slash && index().is_some() => respond::folder(cx, request, options, &name.relative),
            None => self.missing(cx, request),
        }
    }

    fn missing<S>(&self, cx: &mut Ctx<'_, S>, request: &Request<'_>) -> Served {
        let Inner { files, options } = &*self.inner;
        match options.not_found.as_ref().and_then(|page| files.get(page)) {
            Some(page) => respond::file(cx, request, page, options, 404),
            None => text(cx, request, 404, "Not found.\n"),
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.inner.files.keys().collect();
        names.sort();
        f.debug_struct("Embedded").field("files", &names).finish_non_exhaustive()
    }
}

//! Plain files of one folder, read whole: what `--root` serves.
//!
//! Nothing outside the folder is served, whatever the path says and wherever a link points. A path is checked
//! component by component before the system sees it, then resolved and compared with the folder. Who may write into
//! the folder can swap a link between that check and the reading: serve a folder that only trusted users write.

use std::borrow::Cow;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// A folder that is served.
#[derive(Debug, Clone)]
pub struct Root {
    folder: PathBuf,
    index: Vec<String>,
}

/// What a request for a path comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200 with this body (for HEAD: with its length).
    File {
        /// The whole file.
        bytes: Vec<u8>,
        /// For `Content-Type`.
        content_type: Cow<'static, str>,
        /// For `Last-Modified`, where the file system knows.
        modified: Option<SystemTime>,
    },
    /// 301 to this path, percent-encoded; the caller adds the query of the request.
    Redirect(String),
    /// Nothing to serve.
    Status {
        /// 403, 404, 405 (with `Allow: GET, HEAD`), 500 or 503.
        status: u16,
        /// Why, for the log; not for the client.
        why: &'static str,
    },
}

/// The largest file that is served: files are read whole, and one request must not take the memory of the rest.
pub const FILE_MAX: u64 = 8 << 20;

impl Root {
    /// Serves that folder; `index` names the files that answer for a folder. Fails if it is not a folder that can be read.
    pub fn open(folder: &Path, index: &[String]) -> io::Result<Self> {
        let folder = fs::canonicalize(folder)?;
        fs::read_dir(&folder)?;
        Ok(Self { folder, index: index.to_vec() })
    }

    /// Answers a request for `path`: decoded once, absolute, without its query.
    ///
    /// Reads the file at once, up to [`FILE_MAX`] bytes, so a slow disk stalls the caller.
    pub fn get(&self, method: &str, path: &[u8]) -> Answer {
        if !matches!(method, "GET" | "HEAD") {
            return refuse(405, "files are only read");
        }
        let found = relative(path).ok_or(NO_SUCH_FILE).and_then(|relative| self.find(path, &relative));
        found.unwrap_or_else(|answer| answer)
    }

    fn find(&self, path: &[u8], relative: &Path) -> Result<Answer, Answer> {
        let place = self.resolve(relative)?;
        let found = fs::metadata(&place).map_err(|e| failed(&e))?;
        let slash = path.ends_with(b"/");
        if !found.is_dir() {
            // A file is not a folder: `/a.txt/` names nothing.
            return if slash { Err(NO_SUCH_FILE) } else { read(&place, &found) };
        }
        if !slash {
            // Links of the index are relative to the folder, so its URL has to end in a slash.
            return Ok(Answer::Redirect(encode(path)));
        }
        for name in &self.index {
            match self.resolve(&relative.join(name)) {
                Err(NO_SUCH_FILE) => {}
                index => {
                    let index = index?;
                    let found = fs::metadata(&index).map_err(|e| failed(&e))?;
                    return read(&index, &found);
                }
            }
        }
        Err(refuse(403, "a folder without an index"))
    }

    /// The real place of a checked path; refuses one that a link leads out of the folder.
    fn resolve(&self, relative: &Path) -> Result<PathBuf, Answer> {
        let place = fs::canonicalize(self.folder.join(relative)).map_err(|e| failed(&e))?;
        if place.starts_with(&self.folder) { Ok(place) } else { Err(refuse(403, "a link out of the folder")) }
    }
}

/// The path as components below the folder, or none if it may not name a file.
fn relative(path: &[u8]) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    if path == b"/" {
        return Some(out);
    }
    let path = std::str::from_utf8(path).ok()?.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    for component in path.split('/') {
        if !is_a_name(component) {
            return None;
        }
        out.push(component);
    }
    Some(out)
}

fn is_a_name(component: &str) -> bool {
    // The system's own reading: on Windows this also refuses drives and streams.
    let mut parsed = Path::new(component).components();
    let is_normal =
        matches!(parsed.next(), Some(Component::Normal(name)) if name == component) && parsed.next().is_none();
    let hidden = component.starts_with('.') && component != WELL_KNOWN;
    // A dot that was encoded twice: no file of good faith is called so, and another decoder may stand behind.
    let twice = component.as_bytes().windows(3).any(|w| w.eq_ignore_ascii_case(b"%2e"));
    is_normal && !hidden && !twice && !component.chars().any(|c| c == '\\' || c.is_control())
}

fn read(place: &Path, found: &Metadata) -> Result<Answer, Answer> {
    // Asked before it is opened: opening a pipe waits for its writer.
    if !found.is_file() {
        return Err(refuse(403, "not a regular file"));
    }
    let too_large = || refuse(503, "larger than 8 MiB");
    if found.len() > FILE_MAX {
        return Err(too_large());
    }
    let file = File::open(place).map_err(|e| failed(&e))?;
    let mut bytes = Vec::with_capacity(found.len() as usize);
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    // It may have grown since.
    if bytes.len() as u64 > FILE_MAX {
        return Err(too_large());
    }
    Ok(Answer::File { bytes, content_type: content_type(place), modified: found.modified().ok() })
}

fn content_type(place: &Path) -> Cow<'static, str> {
    let guess = mime_guess::from_path(place).first_raw().unwrap_or("application/octet-stream");
    if guess.starts_with("text/") { format!("{guess}; charset=utf-8").into() } else { guess.into() }
}

fn failed(error: &io::Error) -> Answer {
    match error.kind() {
        // ENAMETOOLONG is InvalidFilename. A loop of links is as good as nothing.
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => NO_SUCH_FILE,
        io::ErrorKind::PermissionDenied => refuse(403, "the system does not allow it"),
        _ => refuse(500, "the system failed to read it"),
    }
}

/// The path with a slash at its end, as `Location` wants it: everything that is not unreserved is encoded
/// (RFC 3986 §2.3). Components are not empty, so that it never starts with `//`, which would name another host.
pub(super) fn encode(path: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(path.len() + 1);
    for &byte in path {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(char::from(byte)),
            _ => out.extend(['%', char::from(HEX[usize::from(byte >> 4)]), char::from(HEX[usize::from(byte & 15)])]),
        }
    }
    out.push('/');
    out
}

const fn refuse(status: u16, why: &'static str) -> Answer {
    Answer::Status { status, why }
}

const NO_SUCH_FILE: Answer = refuse(404, "no such file");

/// RFC 8615: the one name with a dot that is meant for the public.
const WELL_KNOWN: &str = ".well-known";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use proptest::prelude::*;

    use super::*;

    const SECRET: &[u8] = b"secret";

    /// `base/site` is served, `base/secret.txt` is not; removed when dropped.
    struct Tree {
        base: PathBuf,
        root: Root,
    }

    impl Tree {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("vansire-files-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let base = std::env::temp_dir().join(name);
            let site = base.join("site");
            for folder in ["docs", "bare", "a b", ".git", ".well-known"] {
                fs::create_dir_all(site.join(folder)).expect("a folder");
            }
            fs::write(base.join("secret.txt"), SECRET).expect("a file");
            fs::create_dir(base.join("site-of-another")).expect("a folder");
            fs::write(base.join("site-of-another/secret.txt"), SECRET).expect("a file");
            for (name, content) in [
                ("index.html", "root"),
                ("a.txt", "text"),
                ("b.PNG", "png"),
                ("noext", "?"),
                ("docs/index.html", "docs"),
                ("a b/é.json", "{}"),
                (".env", "hidden"),
                (".git/config", "hidden"),
                (".well-known/x.txt", "public"),
                ("%2e%2e", "odd"),
            ] {
                fs::write(site.join(name), content).expect("a file");
            }
            let root = Root::open(&site, &["index.html".into()]).expect("the folder");
            Self { base, root }
        }

        fn status(&self, method: &str, path: &str) -> u16 {
            match self.root.get(method, path.as_bytes()) {
                Answer::File { .. } => 200,
                Answer::Redirect(_) => 301,
                Answer::Status { status, .. } => status,
            }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.base);
        }
    }

    #[test]
    fn a_path_comes_to_a_status() {
        let tree = Tree::new();
        let long = format!("/{}", "x".repeat(10_000));
        let table: &[(&str, &str, u16)] = &[
            ("GET", "/", 200),
            ("HEAD", "/a.txt", 200),
            ("GET", "/index.html", 200),
            ("GET", "/docs/", 200),
            ("GET", "/docs", 301),
            ("GET", "/a b/é.json", 200),
            ("GET", "/.well-known/x.txt", 200),
            ("GET", "/bare/", 403),
            ("GET", "/nope", 404),
            ("GET", "/a.txt/", 404),
            ("GET", "/a.txt/b", 404),
            ("POST", "/a.txt", 405),
            ("get", "/a.txt", 405),
            ("GET", "", 404),
            ("GET", "a.txt", 404),
            ("GET", "*", 404),
            ("GET", "/../secret.txt", 404),
            ("GET", "/docs/../../secret.txt", 404),
            ("GET", "/docs/..", 404),
            ("GET", "/./a.txt", 404),
            ("GET", "//a.txt", 404),
            ("GET", "//", 404),
            ("GET", "/docs//", 404),
            ("GET", "/..\\secret.txt", 404),
            ("GET", "/docs\\index.html", 404),
            ("GET", "/a.txt\0", 404),
            ("GET", "/a.txt\n", 404),
            ("GET", "/%2e%2e", 404),
            ("GET", "/%2E%2e/secret.txt", 404),
            ("GET", "/.%2e/secret.txt", 404),
            ("GET", "/.env", 404),
            ("GET", "/.git/config", 404),
            ("GET", "/.git/", 404),
            ("GET", "/...", 404),
            ("GET", &long, 404),
        ];
        for (method, path, expected) in table {
            assert_eq!(tree.status(method, path), *expected, "{method} {path:.40}");
        }
        let absolute = format!("/{}", tree.base.join("secret.txt").display());
        assert_eq!(tree.status("GET", &absolute), 404);
        assert_eq!(tree.root.get("GET", b"/\xff"), NO_SUCH_FILE);
    }

    #[test]
    fn a_file_comes_whole_with_its_type() {
        let tree = Tree::new();
        for (path, content, expected) in [
            ("/", "root", "text/html; charset=utf-8"),
            ("/a.txt", "text", "text/plain; charset=utf-8"),
            ("/b.PNG", "png", "image/png"),
            ("/noext", "?", "application/octet-stream"),
            ("/a b/é.json", "{}", "application/json"),
        ] {
            let Answer::File { bytes, content_type, modified } = tree.root.get("GET", path.as_bytes()) else {
                panic!("{path} is not served");
            };
            assert_eq!((bytes.as_slice(), content_type.as_ref()), (content.as_bytes(), expected), "{path}");
            assert!(modified.is_some(), "{path}");
        }
    }

    #[test]
    fn a_folder_without_a_slash_is_sent_to_its_own_url() {
        let tree = Tree::new();
        assert_eq!(tree.root.get("GET", b"/docs"), Answer::Redirect("/docs/".into()));
        assert_eq!(tree.root.get("GET", b"/a b"), Answer::Redirect("/a%20b/".into()));
        // Nothing of the path can end the header or name another host.
        assert_eq!(encode(b"/a\r\nSet-Cookie: x?#\xc3\xa9"), "/a%0D%0ASet-Cookie%3A%20x%3F%23%C3%A9/");
        assert_eq!(tree.status("GET", "//docs"), 404);
    }

    #[test]
    fn a_file_too_large_to_read_whole_is_refused() {
        let tree = Tree::new();
        let big = File::create(tree.base.join("site/big.bin")).expect("a file");
        big.set_len(FILE_MAX).expect("a sparse file");
        assert_eq!(tree.status("GET", "/big.bin"), 200);
        big.set_len(FILE_MAX + 1).expect("a sparse file");
        assert_eq!(tree.status("GET", "/big.bin"), 503);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_may_not_lead_out_of_the_folder() {
        use std::os::unix::fs::symlink;
        let tree = Tree::new();
        let site = tree.base.join("site");
        for (target, link) in [
            ("../secret.txt", "relative.txt"),
            ("..", "up"),
            ("../site-of-another", "neighbour"),
            ("a.txt", "inside.txt"),
            ("loop", "loop"),
            ("nowhere", "dangling"),
        ] {
            symlink(target, site.join(link)).expect("a link");
        }
        symlink(tree.base.join("secret.txt"), site.join("absolute.txt")).expect("a link");
        symlink(tree.base.join("secret.txt"), site.join("bare/index.html")).expect("a link");
        for (path, expected) in [
            ("/inside.txt", 200),
            ("/relative.txt", 403),
            ("/absolute.txt", 403),
            ("/up/secret.txt", 403),
            ("/up", 403),
            ("/up/", 403),
            // The folder's name is a prefix of its neighbour's.
            ("/neighbour/secret.txt", 403),
            ("/up/site/a.txt", 200),
            ("/bare/", 403),
            ("/dangling", 404),
        ] {
            assert_eq!(tree.status("GET", path), expected, "{path}");
        }
        assert_ne!(tree.status("GET", "/loop"), 200);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let tree = Tree::new();
        let socket = tree.base.join("site/socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        assert_eq!(tree.status("GET", "/socket"), 403);
    }

    #[test]
    fn a_root_has_to_be_a_folder() {
        let tree = Tree::new();
        assert!(Root::open(&tree.base.join("secret.txt"), &[]).is_err());
        assert!(Root::open(&tree.base.join("nope"), &[]).is_err());
    }

    proptest! {
        #[test]
        fn no_path_reaches_a_file_outside(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("..".to_string()), Just("/".into()), Just("//".into()), Just("\\".into()), Just(".".into()),
                    Just("docs".into()), Just("secret.txt".into()), Just("site-of-another".into()), Just("up".into()),
                    Just("%2e%2e".into()), Just("\0".into()), "[ -~]{1,3}", "\\PC",
                ],
                0..8,
            ),
        ) {
            let tree = Tree::new();
            #[cfg(unix)]
            std::os::unix::fs::symlink("..", tree.base.join("site/up")).expect("a link");
            let path = format!("/{}", parts.concat());
            match tree.root.get("GET", path.as_bytes()) {
                Answer::File { bytes, .. } => prop_assert!(bytes != SECRET && bytes != b"hidden", "{}", path),
                Answer::Redirect(to) => {
                    prop_assert!(!to.starts_with("//") && to.starts_with('/') && to.ends_with('/'), "{}", to);
                }
                Answer::Status { status, .. } => prop_assert!((403..=404).contains(&status), "{} {}", status, path),
            }
        }
    }
}

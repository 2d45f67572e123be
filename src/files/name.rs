//! From the path of a URL to a name below the folder, and back.

use std::borrow::Cow;

use crate::proto::http::{percent_decode, percent_encode};

/// Where a path leads below the folder: components joined by slashes, none of them empty, `.`, `..` or hidden.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// Empty for the folder itself.
    pub(super) relative: Cow<'a, str>,
    /// The path ends in a slash: it means a folder.
    pub(super) slash: bool,
}

/// Why a path names nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadName {
    /// It cannot be decoded: 400.
    Encoding,
    /// It has a component that no file of good faith has: 404.
    Component,
}

/// Reads the path of a URL, still encoded, from its first slash.
pub(super) fn read(path: &str, hidden: Hidden) -> Result<Name<'_>, BadName> {
    let path = path.strip_prefix('/').ok_or(BadName::Component)?;
    if path.is_empty() {
        return Ok(Name { relative: Cow::Borrowed(""), slash: true });
    }
    let (path, slash) = match path.strip_suffix('/') {
        Some(path) => (path, true),
        None => (path, false),
    };
    // Split before it is decoded: `%2F` is no separator, and no name has one (RFC 3986 §2.2).
    let mut encoded = false;
    for segment in path.split('/') {
        let component = percent_decode(segment).map_err(|_| BadName::Encoding)?;
        if !is_served(&component, hidden) {
            return Err(BadName::Component);
        }
        encoded |= matches!(component, Cow::Owned(_));
    }
    let relative = match encoded {
        true => percent_decode(path).map_err(|_| BadName::Encoding)?,
        false => Cow::Borrowed(path),
    };
    Ok(Name { relative, slash })
}

/// What becomes of names that begin with a dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    Refused,
    Served,
}

/// Whether a file of this name may be served.
pub(super) fn is_served(component: &str, hidden: Hidden) -> bool {
    // RFC 8615: the one name with a dot that is meant for the public.
    let is_hidden = component.starts_with('.') && component != ".well-known";
    let is_special = matches!(component, "" | "." | "..") || is_hidden && hidden == Hidden::Refused;
    // A dot that was encoded twice: no file of good faith is called so, and another decoder may stand behind.
    let twice = component.as_bytes().windows(3).any(|w| w.eq_ignore_ascii_case(b"%2e"));
    !is_special && !twice && !component.chars().any(|c| matches!(c, '/' | '\\') || c.is_control()) && is_own(component)
}

/// Drives, streams and the names of devices.
#[cfg(windows)]
fn is_own(component: &str) -> bool {
    use std::path::{Component, Path};
    let mut parsed = Path::new(component).components();
    let stem = component.split('.').next().unwrap_or_default().trim_end();
    let is_device = ["con", "prn", "aux", "nul"].iter().any(|device| stem.eq_ignore_ascii_case(device))
        || stem.len() == 4 && stem.is_ascii() && ["com", "lpt"].iter().any(|d| stem[..3].eq_ignore_ascii_case(d));
    let is_normal = matches!(parsed.next(), Some(Component::Normal(name)) if name == component);
    is_normal && parsed.next().is_none() && !is_device && !component.contains(':') && !component.ends_with(['.', ' '])
}

#[cfg(not(windows))]
fn is_own(_component: &str) -> bool {
    true
}

/// The rest of a path behind a prefix (not encoded, without a slash at its end): empty, or from a slash on.
pub(super) fn below<'p>(prefix: &str, path: &'p str) -> Option<&'p str> {
    let mut rest = path;
    for component in prefix.split('/').skip(1) {
        let after = rest.strip_prefix('/')?;
        let len = after.find('/').unwrap_or(after.len());
        if percent_decode(&after[..len]).ok()? != component {
            return None;
        }
        rest = &after[len..];
    }
    Some(rest)
}

/// The URL of a folder below the prefix, with its slash, encoded. It never begins with `//`, which would name another host:
/// components are not empty.
pub(super) fn folder_url(prefix: &str, relative: &str) -> String {
    let mut url = String::with_capacity(prefix.len() + relative.len() + 8);
    let components = prefix.split('/').skip(1).chain(relative.split('/').filter(|_| !relative.is_empty()));
    for component in components {
        url.push('/');
        url.push_str(&percent_encode(component));
    }
    url.push('/');
    url
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn f3_a_path_names_a_file_below_the_folder_or_nothing() {
        let file = |relative: &'static str| Ok((relative, false));
        let folder = |relative: &'static str| Ok((relative, true));
        let (bad, none) = (Err(BadName::Encoding), Err(BadName::Component));
        let table = [
            ("/", folder("")),
            ("/a.txt", file("a.txt")),
            ("/a/b/c", file("a/b/c")),
            ("/a/", folder("a")),
            ("/a%20b/%C3%A9", file("a b/é")),
            ("/a+b", file("a+b")),
            ("/a:b", file("a:b")),
            ("/%61.txt", file("a.txt")),
            ("/.well-known/x", file(".well-known/x")),
            ("", none),
            ("a", none),
            ("*", none),
            ("//", none),
            ("//a", none),
            ("/a//b", none),
            ("/a//", none),
            ("/.", none),
            ("/..", none),
            ("/../x", none),
            ("/a/../b", none),
            ("/a/..", none),
            ("/./a", none),
            ("/.%2e/x", none),
            ("/%2e%2e/x", none),
            ("/%2E%2E/x", none),
            ("/..%2fx", none),
            ("/..%2Fx", none),
            ("/a%2fb", none),
            ("/..%5cx", none),
            ("/..%5Cx", none),
            ("/a\\b", none),
            ("/%252e%252e/x", none),
            ("/%252E./x", none),
            ("/a%00", none),
            ("/a%00.txt", none),
            ("/a%0a", none),
            ("/a%7f", none),
            ("/%C2%85", none),
            ("/.env", none),
            ("/.git/config", none),
            ("/a/.hidden", none),
            ("/...", none),
            ("/%2ehidden", none),
            ("/%c0%ae%c0%ae/x", bad),
            ("/%ff", bad),
            ("/%", bad),
            ("/%2", bad),
            ("/%zz", bad),
            ("/%u002e", bad),
        ];
        for (path, expected) in table {
            let found = read(path, Hidden::Refused);
            let found = found.as_ref().map(|name| (&*name.relative, name.slash)).map_err(|e| *e);
            assert_eq!(found, expected, "{path}");
        }
        assert!(read("/.env", Hidden::Served).is_ok() && read("/..", Hidden::Served).is_err());
        assert!(read("/.", Hidden::Served).is_err() && read("/%2e%2E", Hidden::Served).is_err());
    }

    #[test]
    fn f4_the_url_of_a_folder_ends_in_a_slash_and_ends_no_header() {
        assert_eq!(folder_url("", "a b/é"), "/a%20b/%C3%A9/");
        assert_eq!((folder_url("", "").as_str(), folder_url("/a b", "").as_str()), ("/", "/a%20b/"));
        assert_eq!(folder_url("/static", "x\r\nSet-Cookie: y?#"), "/static/x%0D%0ASet-Cookie%3A%20y%3F%23/");
    }

    #[test]
    fn a_prefix_is_compared_component_by_component() {
        let table = [
            ("", "/a", Some("/a")),
            ("/s", "/s/a", Some("/a")),
            ("/s", "/s", Some("")),
            ("/s", "/s/", Some("/")),
            ("/s", "/%73/a", Some("/a")),
            ("/s t/u", "/s%20t/u/a", Some("/a")),
            ("/s", "/sa", None),
            ("/s", "/", None),
            ("/s/t", "/s%2Ft/a", None),
            ("/s", "/%/a", None),
            ("/s", "*", None),
        ];
        for (prefix, path, expected) in table {
            assert_eq!(below(prefix, path), expected, "{prefix} {path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_names_anything_above(path in "/?([./%\\\\a-b]|%2[eEfF]|%5[cC]|%25|%00){0,12}") {
            if let Ok(name) = read(&path, Hidden::Served) {
                let components: Vec<_> = name.relative.split('/').collect();
                prop_assert!(name.relative.is_empty() || components.iter().all(|c| !matches!(*c, "" | "." | "..")));
                prop_assert!(!name.relative.contains(['\\', '\0']) && !name.relative.starts_with('/'));
            }
        }

        #[test]
        fn the_url_of_a_name_names_it(parts in proptest::collection::vec("[a-z é?#%&+]{1,5}", 1..4)) {
            let relative = parts.join("/");
            let url = folder_url("", &relative);
            let twice = parts.iter().any(|part| part.contains("%2e"));
            let named = read(&url, Hidden::Refused).map(|name| name.relative.into_owned());
            prop_assert!(twice || named == Ok(relative));
        }
    }
}

//! Where a redirect leads, and with what (RFC 9110 §15.4).

use std::net::IpAddr;

use crate::error::{Error, Kind, Result};
use crate::net::{Host, Scheme, Url};

use super::origin::host_of;

/// A redirect that can be followed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) url: Url,
    /// The method becomes GET, and the body stays behind.
    pub(super) to_get: bool,
    /// Another origin: credentials stay behind.
    pub(super) leaves: bool,
}

/// What follows from a response to a request of this method and URL. None: it is no redirect, or cannot be followed by
/// itself. An error: it must not be.
pub(super) fn next(from: &Url, method: &str, status: u16, location: Option<&str>) -> Result<Option<Next>> {
    let to_get = match status {
        // RFC 9110 §15.4.2, §15.4.3: every client does so.
        301 | 302 => method == "POST",
        303 => method != "HEAD",
        307 | 308 => false,
        _ => return Ok(None),
    };
    let Some(location) = location else { return Ok(None) };
    let Some(text) = resolve(from, location) else { return Ok(None) };
    let url = Url::parse(&text)?;
    if from.scheme().is_tls() && !url.scheme().is_tls() {
        return Err(Error::new(Kind::BadUrl, format!("a redirect from {from} to {url} would give up TLS")));
    }
    if !matches!(url.scheme(), Scheme::Http | Scheme::Https) || url.unix_path().is_some() {
        return Err(Error::new(Kind::BadUrl, format!("a redirect from {from} to {url} leaves HTTP")));
    }
    let origin = |url: &Url| (url.scheme(), host_of(url), url.port());
    let leaves = origin(from) != origin(&url);
    Ok(Some(Next { leaves, to_get: to_get && method != "GET", url }))
}

/// The absolute form of a reference (RFC 3986 §5.2). None for the base that is a Unix socket, which has no URLs of its own.
fn resolve(base: &Url, reference: &str) -> Option<String> {
    if base.unix_path().is_some() {
        return None;
    }
    let scheme = base.scheme();
    let reference = reference.split_once('#').map_or(reference, |(reference, _)| reference);
    if reference.split_once("://").is_some_and(|(scheme, _)| is_scheme(scheme)) {
        return Some(reference.to_owned());
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if reference.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme)) {
        // `mailto:x`: a URL, but no place to go on to. `Url` says what is wrong with it.
        return Some(reference.to_owned());
    }
    let here = base.path().split_once('?').map_or(base.path(), |(path, _)| path);
    let (path, query) = match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    };
    let path = match path.as_bytes().first() {
        None => here.to_owned(),
        Some(b'/') => without_dots(path),
        Some(_) => without_dots(&format!("{}/{path}", here.rsplit_once('/').map_or("", |(dir, _)| dir))),
    };
    // RFC 3986 §5.2.2: an empty reference keeps the query.
    let query = query.or(base.path().split_once('?').map(|(_, query)| query).filter(|_| reference.is_empty()));
    let mark = if query.is_some() { "?" } else { "" };
    Some(format!("{scheme}://{}:{}{path}{mark}{}", host_with_zone(base), base.port(), query.unwrap_or_default()))
}

fn host_with_zone(url: &Url) -> String {
    match url.host() {
        Host::Ip { ip: IpAddr::V6(ip), scope } if *scope != 0 => format!("[{ip}%{scope}]"),
        _ => host_of(url),
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | ".." => {
                if part == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn rfc_3986_5_a_location_is_resolved_against_where_it_came_from() {
        let base = url("http://u:p@h:81/b/c/d?q");
        let table = [
            ("http://x/y", "http://x:80/y"),
            ("HTTP://x", "http://x:80/"),
            ("//x:82/y", "http://x:82/y"),
            ("/", "http://h:81/"),
            ("/y?z", "http://h:81/y?z"),
            ("/y/../z/./w", "http://h:81/z/w"),
            ("/../../x", "http://h:81/x"),
            ("g", "http://h:81/b/c/g"),
            ("./g/", "http://h:81/b/c/g/"),
            ("../g", "http://h:81/b/g"),
            ("../../../g", "http://h:81/g"),
            ("..", "http://h:81/b/"),
            (".", "http://h:81/b/c/"),
            ("?y", "http://h:81/b/c/d?y"),
            ("", "http://h:81/b/c/d?q"),
            ("#frag", "http://h:81/b/c/d?q"),
            ("g?a://b", "http://h:81/b/c/g?a://b"),
            ("http://[::1]:1/x#y", "http://[::1]:1/x"),
        ];
        for (location, expected) in table {
            let next = next(&base, "GET", 302, Some(location)).unwrap().unwrap();
            assert_eq!(next.url.to_string(), expected, "{location:?}");
            assert_eq!(next.leaves, !expected.starts_with("http://h:81/"), "{location:?}");
        }
    }

    #[test]
    fn rfc_9110_15_4_the_method_changes_where_every_client_changes_it() {
        let base = url("http://h/a");
        let table = [
            (301, "GET", Some(false)),
            (301, "POST", Some(true)),
            (301, "PUT", Some(false)),
            (302, "POST", Some(true)),
            (303, "PUT", Some(true)),
            (303, "GET", Some(false)),
            (303, "HEAD", Some(false)),
            (307, "POST", Some(false)),
            (308, "POST", Some(false)),
            (300, "GET", None),
            (304, "GET", None),
            (305, "GET", None),
            (200, "GET", None),
        ];
        for (status, method, expected) in table {
            let next = next(&base, method, status, Some("/b")).unwrap();
            assert_eq!(next.map(|next| next.to_get), expected, "{status} {method}");
        }
        assert_eq!(next(&base, "GET", 302, None).unwrap(), None, "without Location");
        assert_eq!(next(&url("http+unix:/x"), "GET", 302, Some("/y")).unwrap(), None);
    }

    #[test]
    fn a_redirect_that_gives_up_tls_or_leaves_http_is_refused() {
        let table = [
            ("https://h/", "http://h/", "TLS"),
            ("http://h/", "ftp://h/", "unknown scheme"),
            ("http://h/", "tcp://h:1", "leaves HTTP"),
            ("http://h/", "mailto:a@b", "ailto"),
            ("http://h/", "http+unix:/x", "leaves HTTP"),
            ("http://h/", "http://a b/", "space"),
            ("http://h/", "/\u{fc}", "ASCII"),
        ];
        for (from, to, word) in table {
            let refused = next(&url(from), "GET", 302, Some(to)).unwrap_err().to_string();
            assert!(refused.contains(word), "{from} to {to}: {refused}");
        }
        let upgrade = next(&url("http://h/"), "GET", 302, Some("https://h/")).unwrap().unwrap();
        assert!(upgrade.leaves, "another scheme is another origin");
    }
}

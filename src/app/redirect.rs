//! Redirects: which path is elsewhere now, and where.
//!
//! None is open: where a client is sent is what the configuration says, and the part of the path that is kept never becomes a
//! host.

use crate::app::config::RedirectConfig;
use crate::net::Url;

/// The redirects of a server.
#[derive(Debug, Clone, Default)]
pub struct Redirects {
    /// Exact paths first, then prefixes, the longest first.
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    /// Canonical, without its star.
    from: String,
    is_prefix: bool,
    /// Canonical where it is a path, without its star.
    to: String,
    keeps_rest: bool,
    status: u16,
}

impl Redirects {
    /// Those of a checked configuration.
    pub fn new(configs: &[RedirectConfig]) -> Self {
        let mut rules: Vec<Rule> = configs
            .iter()
            .map(|config| {
                let (from, is_prefix) = starred(&config.from);
                let (to, keeps_rest) = starred(&config.to);
                Rule { from: canonical(from), is_prefix, to: to.into(), keeps_rest, status: config.status }
            })
            .collect();
        rules.sort_by_key(|rule| (rule.is_prefix, std::cmp::Reverse(rule.from.len())));
        Self { rules }
    }

    /// Where a request for this path, as it came, is sent: the status and the `Location`. Costs O(redirects), and
    /// allocates only where there are any.
    pub fn find(&self, raw_path: &str, query: Option<&str>) -> Option<(u16, String)> {
        if self.rules.is_empty() {
            return None;
        }
        let path = canonical(raw_path);
        let (rule, rest) = self.rules.iter().find_map(|rule| {
            let rest = path.strip_prefix(&rule.from)?;
            (rule.is_prefix || rest.is_empty()).then_some((rule, rest))
        })?;
        let mut place = rule.to.clone();
        if rule.keeps_rest {
            // `//host` would be another host: RFC 3986 §4.2.
            place.push_str(rest.trim_start_matches('/'));
        }
        if let Some(query) = query {
            let fragment = place.find('#').map(|at| place.split_off(at));
            place.push(if place.contains('?') { '&' } else { '?' });
            encode(query, &mut place);
            place.extend(fragment);
        }
        Some((rule.status, place))
    }
}

/// Says what is wrong with the path of a redirect.
pub(super) fn check_from(text: &str) -> Result<(), String> {
    let (path, is_prefix) = starred(text);
    if !path.starts_with('/') || path.contains(['?', '#', '*']) || path.chars().any(char::is_control) {
        return Err("expected a path that begins with a slash, such as /old or /old/*".into());
    }
    if is_prefix && !path.ends_with('/') {
        return Err("a star stands behind a slash, as in /old/*".into());
    }
    Ok(())
}

/// Says what is wrong with the target of a redirect.
pub(super) fn check_to(text: &str) -> Result<(), String> {
    let (place, keeps_rest) = starred(text);
    if !place.bytes().all(|b| b.is_ascii_graphic() && !b"\\\"<>^`{|}*".contains(&b)) {
        return Err("it holds what a URL may not hold: encode it as %XX".into());
    }
    let local = place.starts_with('/') && !place.starts_with("//");
    let authority = ["http://", "https://"].iter().find_map(|scheme| place.strip_prefix(scheme));
    if let Some(authority) = authority {
        let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
        if end == 0 || authority[..end].contains('@') {
            return Err("the URL needs a host, and no user".into());
        }
        Url::parse(place.split('#').next().unwrap_or_default()).map_err(|e| e.to_string())?;
    }
    if !local && authority.is_none() {
        return Err("expected a path that begins with one slash, or a URL that begins with http:// or https://".into());
    }
    let has_path = local || authority.is_some_and(|rest| rest.contains('/'));
    if keeps_rest && !(has_path && place.ends_with('/') && !place.contains(['?', '#'])) {
        // Without it, what a client asks for could become a part of the host.
        return Err("a star stands behind the slash of a path, as in /new/* or https://example.org/*".into());
    }
    Ok(())
}

/// Says what is wrong between the two.
pub(super) fn check(from: &str, to: &str) -> Result<(), String> {
    let (start, is_prefix) = starred(from);
    let (place, keeps_rest) = starred(to);
    if keeps_rest && !is_prefix {
        return Err("it ends in a star, and `from` does not".into());
    }
    let path = place.split(['?', '#']).next().unwrap_or_default();
    let (start, path) = (canonical(start), canonical(path));
    let again = place.starts_with('/') && if is_prefix { path.starts_with(&start) } else { path == start };
    if again { Err("it leads back to `from`, for ever".into()) } else { Ok(()) }
}

/// Without the star at its end, and whether there was one.
fn starred(text: &str) -> (&str, bool) {
    match text.strip_suffix('*') {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// A path in the one form that its equals have: RFC 3986 §6.2.2. What may not stand in a path is encoded.
pub(super) fn canonical(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    encode(path, &mut out);
    out
}

fn encode(text: &str, out: &mut String) {
    let hex = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16)).map(|digit| digit as u8);
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => Some(high << 4 | low),
            _ => None,
        };
        at += if escape.is_some() { 3 } else { 1 };
        let is_plain = match escape {
            Some(byte) => is_unreserved(byte),
            None => is_unreserved(byte) || b"!$&'()*+,;=:@/?".contains(&byte),
        };
        let byte = escape.unwrap_or(byte);
        if is_plain {
            out.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redirects(rules: &[(&str, &str, u16)]) -> Redirects {
        let config = |(from, to, status): &(&str, &str, u16)| {
            check_from(from).and_then(|()| check_to(to)).and_then(|()| check(from, to)).expect(from);
            RedirectConfig { from: (*from).into(), to: (*to).into(), status: *status }
        };
        Redirects::new(&rules.iter().map(config).collect::<Vec<_>>())
    }

    #[test]
    fn a_path_is_sent_where_the_configuration_says() {
        let all = redirects(&[
            ("/old", "/new", 302),
            ("/docs/*", "https://docs.example.org/v1/*", 308),
            ("/docs/api/*", "/api/*", 307),
            ("/docs/api/x", "/exact?y=1#z", 301),
            ("/gone/*", "/", 302),
            ("/root/*", "/*", 302),
            ("/ü", "/u", 302),
        ]);
        // (name, path, query, status and place)
        type Row<'a> = (&'a str, &'a str, Option<&'a str>, Option<(u16, &'a str)>);
        let table: &[Row<'_>] = &[
            ("exact", "/old", None, Some((302, "/new"))),
            ("the query is kept", "/old", Some("a=b&c"), Some((302, "/new?a=b&c"))),
            ("an empty query too", "/old", Some(""), Some((302, "/new?"))),
            ("exact is not a prefix", "/old/", None, None),
            ("nor a start", "/older", None, None),
            ("case counts", "/OLD", None, None),
            ("an escape that need not be", "/%6fld", None, Some((302, "/new"))),
            ("prefix", "/docs/a/b", None, Some((308, "https://docs.example.org/v1/a/b"))),
            ("nothing behind it", "/docs/", Some("q"), Some((308, "https://docs.example.org/v1/?q"))),
            ("without its slash", "/docs", None, None),
            ("the longer prefix", "/docs/api/y", None, Some((307, "/api/y"))),
            ("exact before prefix", "/docs/api/x", Some("q"), Some((301, "/exact?y=1&q#z"))),
            ("the rest is dropped", "/gone/a/b", None, Some((302, "/"))),
            ("no other host", "/root//evil.example/x", None, Some((302, "/evil.example/x"))),
            ("nor by a backslash", "/root/\\evil.example", None, Some((302, "/%5Cevil.example"))),
            ("nor by an escape", "/root/%2F%2fevil.example", None, Some((302, "/%2F%2Fevil.example"))),
            ("no line break", "/root/%0d%0aX:y", None, Some((302, "/%0D%0AX:y"))),
            ("a bad escape", "/root/%zz", None, Some((302, "/%25zz"))),
            ("not ASCII", "/%c3%bc", None, Some((302, "/u"))),
            ("none", "/", None, None),
        ];
        for (name, path, query, expected) in table {
            let found = all.find(path, *query);
            assert_eq!(found.as_ref().map(|(status, place)| (*status, place.as_str())), *expected, "{name}");
        }
    }

    #[test]
    fn a_redirect_that_is_open_or_endless_is_refused() {
        for (from, to, part) in [
            ("old", "/new", "begins with a slash"),
            ("/a?b", "/new", "begins with a slash"),
            ("/a*b*", "/new", "begins with a slash"),
            ("/old*", "/new", "behind a slash"),
            ("/old", "new", "begins with one slash"),
            ("/old", "//evil.example", "begins with one slash"),
            ("/old", "javascript:alert(1)", "begins with one slash"),
            ("/old", "ftp://example.org/", "begins with one slash"),
            ("/old", "https://", "needs a host"),
            ("/old", "https://user:secret@example.org/", "no user"),
            ("/old", "https://example.org:99999/", "port"),
            ("/old", "https://[::1", "["),
            ("/old", "/a b", "may not hold"),
            ("/old", "/a\r\nX: y", "may not hold"),
            ("/old", "/ü", "may not hold"),
            ("/old", "/\\evil.example", "may not hold"),
            ("/old/*", "https://example.org*", "behind the slash of a path"),
            ("/old/*", "https://*", "needs a host"),
            ("/old/*", "/new?a=/*", "behind the slash of a path"),
            ("/old", "/new/*", "`from` does not"),
            ("/old", "/old", "leads back"),
            ("/old", "/%6Fld?x", "leads back"),
            ("/*", "/new/*", "leads back"),
            ("/a/*", "/a/b", "leads back"),
        ] {
            let told = check_from(from).and_then(|()| check_to(to)).and_then(|()| check(from, to)).unwrap_err();
            assert!(told.contains(part) && !told.contains("secret"), "{from} -> {to}: {told}");
        }
        for (from, to) in
            [("/*", "https://example.org/*"), ("/a", "/b#c"), ("/a/*", "/"), ("/x", "/x/"), ("/", "/home")]
        {
            redirects(&[(from, to, 302)]);
        }
    }

    proptest! {
        #[test]
        fn no_request_chooses_the_host(rest in "[ -~]{0,30}", query in proptest::option::of("[ -~]{0,20}")) {
            let all = redirects(&[("/a/*", "/*", 302), ("/b/*", "https://example.org/*", 302)]);
            let (_, place) = all.find(&format!("/a/{rest}"), query.as_deref()).expect("the prefix fits");
            prop_assert!(place.starts_with('/') && !place.starts_with("//") && !place.contains('\\'), "{}", place);
            let (_, place) = all.find(&format!("/b/{rest}"), query.as_deref()).expect("the prefix fits");
            prop_assert!(place.starts_with("https://example.org/"), "{}", place);
            prop_assert!(place.bytes().all(|b| b.is_ascii_graphic()), "{}", place);
        }
    }
}

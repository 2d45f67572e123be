//! Targets and forms: paths, query strings, percent-encoding (RFC 3986) and `application/x-www-form-urlencoded`.

use std::borrow::Cow;
use std::fmt;

use super::head::Head;
use super::syntax::hex_digit;

/// A percent-encoded text that has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BadEscape {
    /// `%` without two hexadecimal digits.
    NotHex,
    /// The decoded bytes are not UTF-8.
    NotUtf8,
    /// A path with a decoded NUL, which no file and no route has.
    Nul,
}

impl fmt::Display for BadEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHex => "percent sign without two hexadecimal digits",
            Self::NotUtf8 => "percent-encoded text is not UTF-8",
            Self::Nul => "NUL in a path",
        })
    }
}

impl std::error::Error for BadEscape {}

impl<'a> Head<'a> {
    /// The path of the target as it came, still percent-encoded. An absolute-form without path has `/`; the targets of
    /// CONNECT and `OPTIONS *` stand for themselves.
    ///
    /// Split at `/` before you decode: `%2F` is not a separator (RFC 3986 §2.2).
    pub fn raw_path(&self) -> &'a str {
        split(self.target()).0
    }

    /// The decoded path. Dot segments are left as they are: a path of `/a/../b` is not `/b`. Borrows where nothing was
    /// encoded.
    pub fn path(&self) -> Result<Cow<'a, str>, BadEscape> {
        let path = percent_decode(self.raw_path())?;
        if path.contains('\0') { Err(BadEscape::Nul) } else { Ok(path) }
    }

    /// What follows the first `?` of the target, still encoded. None without `?`.
    pub fn query_string(&self) -> Option<&'a str> {
        split(self.target()).1
    }

    /// The first query variable of this name, decoded. `a` and `a=` are present and empty; a missing one is None. Names
    /// are case-sensitive. Fails where the value cannot be decoded.
    pub fn query(&self, name: &str) -> Result<Option<Cow<'a, str>>, BadEscape> {
        self.query_pairs().find(name)
    }

    /// The query variables in their order.
    pub fn query_pairs(&self) -> Pairs<'a> {
        Pairs::new(self.query_string().unwrap_or_default())
    }
}

/// Path and query of a target in any of its forms.
fn split(target: &str) -> (&str, Option<&str>) {
    let local = match target.as_bytes().first() {
        Some(b'/') | None => target,
        // Absolute-form: what stands behind the authority. Other forms have no `://` (RFC 9112 §3.2).
        Some(_) => match target.split_once("://") {
            Some((_, rest)) => &rest[rest.find(['/', '?']).unwrap_or(rest.len())..],
            None => target,
        },
    };
    let (path, query) = match local.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (local, None),
    };
    (if path.is_empty() { "/" } else { path }, query)
}

/// The variables of a query string or a form, `a=b&c=d`: names and values decoded, `+` as a space.
///
/// ```
/// use vansire::http::Pairs;
///
/// let pairs: Result<Vec<_>, _> = Pairs::new("a=1+2&b=%C3%BC&c").collect();
/// assert_eq!(pairs?, [("a".into(), "1 2".into()), ("b".into(), "ü".into()), ("c".into(), "".into())]);
/// # Ok::<(), vansire::http::BadEscape>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a str,
}

impl<'a> Pairs<'a> {
    /// The variables of an encoded text.
    pub fn new(encoded: &'a str) -> Self {
        Self { rest: encoded }
    }

    /// The value of the first variable of this name. A variable whose name cannot be decoded has no name.
    pub fn find(self, name: &str) -> Result<Option<Cow<'a, str>>, BadEscape> {
        self.raw()
            .find(|(raw, _)| form_decode(raw).is_ok_and(|n| n == name))
            .map(|(_, value)| form_decode(value))
            .transpose()
    }

    /// Names and values as they came. Empty pairs are no pairs.
    fn raw(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.rest.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(Cow<'a, str>, Cow<'a, str>), BadEscape>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (pair, rest) = self.rest.split_once('&').unwrap_or((self.rest, ""));
            self.rest = rest;
            if let Some((name, value)) = Pairs::new(pair).raw().next() {
                return Some(form_decode(name).and_then(|name| Ok((name, form_decode(value)?))));
            }
        }
        None
    }
}

/// Decodes `%XX`. Borrows where there is none.
pub fn percent_decode(text: &str) -> Result<Cow<'_, str>, BadEscape> {
    decode(text, false)
}

/// Decodes `%XX`, and `+` as a space.
fn form_decode(text: &str) -> Result<Cow<'_, str>, BadEscape> {
    decode(text, true)
}

fn decode(text: &str, plus_is_space: bool) -> Result<Cow<'_, str>, BadEscape> {
    let bytes = text.as_bytes();
    let is_encoded = |&b: &u8| b == b'%' || plus_is_space && b == b'+';
    let Some(first) = bytes.iter().position(is_encoded) else { return Ok(Cow::Borrowed(text)) };
    let mut decoded = Vec::with_capacity(bytes.len());
    decoded.extend_from_slice(&bytes[..first]);
    let mut rest = &bytes[first..];
    while let [byte, after @ ..] = rest {
        rest = after;
        decoded.push(match byte {
            b'%' => {
                let [high, low, after @ ..] = rest else { return Err(BadEscape::NotHex) };
                rest = after;
                match (hex_digit(*high), hex_digit(*low)) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(BadEscape::NotHex),
                }
            }
            b'+' if plus_is_space => b' ',
            byte => *byte,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| BadEscape::NotUtf8)
}

/// Encodes every byte but the unreserved characters (RFC 3986 §2.3) as `%XX`: for a path segment, or a name or value of
/// a query. Borrows where there is nothing to encode.
pub fn percent_encode(text: &str) -> Cow<'_, str> {
    let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if text.bytes().all(is_unreserved) {
        return Cow::Borrowed(text);
    }
    let mut encoded = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_unreserved(byte) {
            encoded.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    Cow::Owned(encoded)
}

/// Encodes names and values as a form, or as a query string: what [`Pairs`] reads. A space becomes `%20`, which every
/// reader of forms takes for one.
///
/// ```
/// use vansire::http::form_encode;
///
/// assert_eq!(form_encode([("q", "a b&c"), ("n", "")]), "q=a%20b%26c&n=");
/// ```
pub fn form_encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut encoded = String::new();
    for (name, value) in pairs {
        if !encoded.is_empty() {
            encoded.push('&');
        }
        encoded.push_str(&percent_encode(name));
        encoded.push('=');
        encoded.push_str(&percent_encode(value));
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found<'a> = Result<Option<&'a str>, BadEscape>;

    #[test]
    fn e4_a_query_variable_is_decoded_empty_or_missing_and_never_cut() {
        let long = "x".repeat(100_000);
        let long_query = format!("a=1&b={long}");
        let table: &[(&str, &str, Found<'_>)] = &[
            ("plain", "a=1&b=2", Ok(Some("2"))),
            ("space", "b=a%20b", Ok(Some("a b"))),
            ("plus", "b=a+b%2B", Ok(Some("a b+"))),
            ("empty", "b=", Ok(Some(""))),
            ("without equals sign", "a&b", Ok(Some(""))),
            ("missing", "a=1", Ok(None)),
            ("no query", "", Ok(None)),
            ("first of two", "b=1&b=2", Ok(Some("1"))),
            ("case-sensitive", "B=1", Ok(None)),
            ("encoded name", "%62=1", Ok(Some("1"))),
            ("equals sign in the value", "b=a=b", Ok(Some("a=b"))),
            ("empty pairs", "&&b=1&", Ok(Some("1"))),
            ("UTF-8", "b=%C3%bc", Ok(Some("ü"))),
            ("NUL", "b=%00", Ok(Some("\0"))),
            ("E4 %2", "b=%2", Err(BadEscape::NotHex)),
            ("E4 %2x", "b=%2x", Err(BadEscape::NotHex)),
            ("E4 %", "b=%", Err(BadEscape::NotHex)),
            ("not UTF-8", "b=%ff", Err(BadEscape::NotUtf8)),
            ("another's bad escape", "a=%2&b=1", Ok(Some("1"))),
            ("a bad name", "%2=1&b=1", Ok(Some("1"))),
            ("E4 100 KB", &long_query, Ok(Some(&long))),
        ];
        for (name, query, expected) in table {
            let found = Pairs::new(query).find("b");
            assert_eq!(found.as_ref().map(Option::as_deref), expected.as_ref().copied(), "{name}");
        }
        let pairs: Vec<_> = Pairs::new("&a=1&&b=%2&c").collect();
        assert_eq!(pairs, [Ok(("a".into(), "1".into())), Err(BadEscape::NotHex), Ok(("c".into(), "".into()))]);
    }

    #[test]
    fn a_target_has_a_path_and_a_query_in_every_form() {
        let table = [
            ("/", "/", None),
            ("/a/b?c=d?e", "/a/b", Some("c=d?e")),
            ("/?", "/", Some("")),
            ("http://h:80/a?b", "/a", Some("b")),
            ("http://h", "/", None),
            ("http://h?b", "/", Some("b")),
            ("/a?u=http://h/x", "/a", Some("u=http://h/x")),
            ("*", "*", None),
            ("h:443", "h:443", None),
        ];
        for (target, path, query) in table {
            assert_eq!(split(target), (path, query), "{target}");
        }
    }

    #[test]
    fn k3_percent_encoding_keeps_the_unreserved_only() {
        // Each ASCII character by itself, as the definition has it.
        for byte in 0..128u8 {
            let text = char::from(byte).to_string();
            let is_kept = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let expected = if is_kept { text.clone() } else { format!("%{byte:02X}") };
            assert_eq!(percent_encode(&text), expected);
        }
        for (text, expected) in [("%1", Err(BadEscape::NotHex)), ("%", Err(BadEscape::NotHex)), ("%c3%bc", Ok("ü"))] {
            assert_eq!(percent_decode(text).as_deref(), expected.as_deref(), "{text}");
        }
        for (text, encoded) in [("", ""), ("aZ0-._~", "aZ0-._~"), ("a b/ü%+&=?#", "a%20b%2F%C3%BC%25%2B%26%3D%3F%23")]
        {
            assert_eq!(percent_encode(text), encoded);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_back(text in any::<String>()) {
            let encoded = percent_encode(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(percent_decode(&encoded), Ok(Cow::Borrowed(&*text)));
            prop_assert_eq!(form_decode(&encoded), Ok(Cow::Borrowed(&*text)));
        }

        #[test]
        fn k3_a_form_is_read_as_it_was_written(pairs in prop::collection::vec(any::<(String, String)>(), 0..5)) {
            let encoded = form_encode(pairs.iter().map(|(name, value)| (&**name, &**value)));
            let read: Result<Vec<_>, _> = Pairs::new(&encoded).collect();
            let read = read.unwrap().into_iter().map(|(name, value)| (name.into_owned(), value.into_owned()));
            prop_assert_eq!(read.collect::<Vec<_>>(), pairs);
        }

        #[test]
        fn any_text_decodes_or_fails(text in "[a%2+&=\u{fc}]{0,30}") {
            let bad = percent_decode(&text).is_err();
            prop_assert!(!bad || text.contains('%'));
            for pair in Pairs::new(&text) {
                prop_assert!(pair.is_ok() || text.contains('%'));
            }
        }
    }
}

//! Conditional requests (RFC 9110 §13): does the client have what it asks for already?

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::head::Head;
use super::syntax::trim_ows;

/// What identifies a representation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Validators<'a> {
    /// The value of the ETag header, quotes and `W/` included.
    pub etag: Option<&'a str>,
    /// The value of the Last-Modified header. Parts of a second are not looked at.
    pub modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// They hold, or there are none.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412: the client has something else.
    Failed,
}

impl Head<'_> {
    /// Judges the conditions of a GET or HEAD request against what would be sent, in the order of RFC 9110 §13.2.2.
    ///
    /// An If-None-Match silences If-Modified-Since, and an If-Match silences If-Unmodified-Since, whatever they say. Dates
    /// that cannot be read are no conditions.
    pub fn conditions(&self, has: &Validators<'_>) -> Verdict {
        let mut tags = self.header_all("if-match").peekable();
        if tags.peek().is_some() {
            // RFC 9110 §13.1.1: strong comparison.
            if !tags.any(|list| is_listed(list, has.etag, is_same_strongly)) {
                return Verdict::Failed;
            }
        } else if let (Some(since), Some(modified)) = (self.date_of("if-unmodified-since"), has.modified)
            && seconds(modified) > seconds(since)
        {
            return Verdict::Failed;
        }
        let mut tags = self.header_all("if-none-match").peekable();
        if tags.peek().is_some() {
            // RFC 9110 §13.1.2: weak comparison.
            if tags.any(|list| is_listed(list, has.etag, is_same_weakly)) {
                return Verdict::NotModified;
            }
        } else if let (Some(since), Some(modified)) = (self.date_of("if-modified-since"), has.modified)
            && seconds(modified) <= seconds(since)
        {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// Whether a Range header counts: there is no If-Range, or it names exactly what would be sent (RFC 9110 §13.1.5). A
    /// weak tag never does, nor a date that is not yet a second old.
    pub fn range_applies(&self, has: &Validators<'_>, now: SystemTime) -> bool {
        let mut values = self.header_all("if-range");
        let Some(value) = values.next() else { return true };
        if values.next().is_some() {
            return false;
        }
        if value.ends_with(b"\"") {
            return has.etag.is_some_and(|etag| is_same_strongly(value, etag.as_bytes()));
        }
        // RFC 9110 §8.8.2.2: by then a second change within the same second cannot be.
        let is_old = |modified: SystemTime| now.duration_since(modified).is_ok_and(|age| age >= Duration::from_secs(1));
        match (date(value), has.modified) {
            (Some(date), Some(modified)) => seconds(date) == seconds(modified) && is_old(modified),
            _ => false,
        }
    }

    fn date_of(&self, name: &str) -> Option<SystemTime> {
        let mut values = self.header_all(name);
        let value = values.next()?;
        if values.next().is_some() { None } else { date(value) }
    }
}

/// A date in any of the three forms of RFC 9110 §5.6.7.
fn date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(str::from_utf8(value).ok()?).ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn is_same_weakly(a: &[u8], b: &[u8]) -> bool {
    opaque(a) == opaque(b)
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn is_same_strongly(a: &[u8], b: &[u8]) -> bool {
    a == b && !a.starts_with(b"W/")
}

/// Whether a list of entity tags, or `*`, names the tag. What follows a malformed member is not looked at.
fn is_listed(list: &[u8], etag: Option<&str>, is_same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    let mut rest = trim_ows(list);
    if rest == b"*" {
        return true;
    }
    let Some(etag) = etag else { return false };
    loop {
        while let [b',' | b' ' | b'\t', after @ ..] = rest {
            rest = after;
        }
        let Some(len) = tag_len(rest) else { return false };
        if is_same(&rest[..len], etag.as_bytes()) {
            return true;
        }
        rest = trim_ows(&rest[len..]);
        if !rest.is_empty() && rest[0] != b',' {
            return false;
        }
    }
}

/// The length of the entity tag at the start (RFC 9110 §8.8.3). Its quotes may hold commas, and no escapes.
fn tag_len(bytes: &[u8]) -> Option<usize> {
    let start = if bytes.starts_with(b"W/") { 2 } else { 0 };
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let body = &bytes[start + 1..];
    let len = body.iter().position(|&b| !matches!(b, 0x21 | 0x23..=0x7e | 0x80..))?;
    (body[len] == b'"').then_some(start + len + 2)
}

#[cfg(test)]
mod tests {
    use super::super::head::{HeadLimits, HeaderSpace, Scan, parse};
    use super::*;

    const NOON: u64 = 784_111_777;
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn with<R>(headers: &str, f: impl FnOnce(&Head<'_>) -> R) -> R {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
        let mut space = HeaderSpace::new();
        let parsed = parse(bytes.as_bytes(), &mut Scan::default(), &HeadLimits::default(), &mut space);
        f(&parsed.unwrap().unwrap().0)
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn f5_rfc_9110_13_2_2_conditions_are_judged_in_their_order() {
        use Verdict::{Failed, NotModified, Proceed};
        let (strong, weak) = (Some("\"a,b\""), Some("W/\"a,b\""));
        let since = |what: &str, date: &str| format!("{what}: {date}\r\n");
        let later = "Sun, 06 Nov 1994 08:49:38 GMT";
        let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
        let table: &[(&str, String, Option<&str>, Verdict)] = &[
            ("none", String::new(), strong, Proceed),
            ("equal", "If-None-Match: \"a,b\"\r\n".into(), strong, NotModified),
            ("different", "If-None-Match: \"a\"\r\n".into(), strong, Proceed),
            ("weak against strong", "If-None-Match: W/\"a,b\"\r\n".into(), strong, NotModified),
            ("strong against weak", "If-None-Match: \"a,b\"\r\n".into(), weak, NotModified),
            ("list", "If-None-Match: \"x\", W/\"y\" ,,\t\"a,b\"\r\n".into(), strong, NotModified),
            ("two lines", "If-None-Match: \"x\"\r\nIf-None-Match: \"a,b\"\r\n".into(), strong, NotModified),
            ("star", "If-None-Match: *\r\n".into(), strong, NotModified),
            ("star without a tag", "If-None-Match: *\r\n".into(), None, NotModified),
            ("tag without quotes", "If-None-Match: a,b\r\n".into(), strong, Proceed),
            ("star in a list", "If-None-Match: \"x\", *\r\n".into(), strong, Proceed),
            ("open quote", "If-None-Match: \"a,b\r\n".into(), strong, Proceed),
            ("lower-case w", "If-None-Match: w/\"a,b\"\r\n".into(), strong, Proceed),
            ("empty", "If-None-Match:\r\n".into(), strong, Proceed),
            ("a tag inside a tag", "If-None-Match: \"x\"\"a,b\"\r\n".into(), strong, Proceed),
            ("not modified since", since("If-Modified-Since", DATE), strong, NotModified),
            ("not since later", since("If-Modified-Since", later), strong, NotModified),
            ("modified since", since("If-Modified-Since", earlier), strong, Proceed),
            ("bad date", since("If-Modified-Since", "yesterday"), strong, Proceed),
            ("RFC 850 date", since("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT"), strong, NotModified),
            ("asctime date", since("If-Modified-Since", "Sun Nov  6 08:49:37 1994"), strong, NotModified),
            ("two dates", since("If-Modified-Since", DATE).repeat(2), strong, Proceed),
            ("the tag wins", since("If-Modified-Since", DATE) + "If-None-Match: \"x\"\r\n", strong, Proceed),
            ("a bad tag wins, too", since("If-Modified-Since", DATE) + "If-None-Match: x\r\n", strong, Proceed),
            ("match", "If-Match: \"x\", \"a,b\"\r\n".into(), strong, Proceed),
            ("match star", "If-Match: *\r\n".into(), strong, Proceed),
            ("no match", "If-Match: \"x\"\r\n".into(), strong, Failed),
            ("a weak match is none", "If-Match: W/\"a,b\"\r\n".into(), weak, Failed),
            ("unmodified", since("If-Unmodified-Since", DATE), strong, Proceed),
            ("modified meanwhile", since("If-Unmodified-Since", earlier), strong, Failed),
            ("the match wins", since("If-Unmodified-Since", earlier) + "If-Match: *\r\n", strong, Proceed),
            ("both hold", "If-Match: *\r\nIf-None-Match: \"a,b\"\r\n".into(), strong, NotModified),
        ];
        for (name, headers, etag, expected) in table {
            let has = Validators { etag: *etag, modified: Some(at(NOON) + Duration::from_millis(900)) };
            assert_eq!(with(headers, |head| head.conditions(&has)), *expected, "{name}");
        }
        let nothing = Validators::default();
        assert_eq!(with(&since("If-Modified-Since", DATE), |head| head.conditions(&nothing)), Proceed);
    }

    #[test]
    fn rfc_9110_13_1_5_a_range_needs_an_exact_validator() {
        let (strong, weak) = (Some("\"a\""), Some("W/\"a\""));
        let table = [
            ("none", "", strong, 60, true),
            ("the tag", "If-Range: \"a\"\r\n", strong, 60, true),
            ("another tag", "If-Range: \"b\"\r\n", strong, 60, false),
            ("a weak tag", "If-Range: W/\"a\"\r\n", weak, 60, false),
            ("weak against strong", "If-Range: W/\"a\"\r\n", strong, 60, false),
            ("the date", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", strong, 60, true),
            ("a later date", "If-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n", strong, 60, false),
            ("a date too young", "If-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n", strong, 0, false),
            ("rubbish", "If-Range: x\r\n", strong, 60, false),
            ("twice", "If-Range: \"a\"\r\nIf-Range: \"a\"\r\n", strong, 60, false),
        ];
        for (name, headers, etag, age, expected) in table {
            let has = Validators { etag, modified: Some(at(NOON)) };
            assert_eq!(with(headers, |head| head.range_applies(&has, at(NOON + age))), expected, "{name}");
        }
    }
}

//! The access log: a line for each request, which nothing a client sends can forge.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::utc::{MONTHS, Utc};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// No line.
    Off,
    /// The NCSA common log format, and the duration in seconds at its end.
    Common,
    /// The same with the referrer and the user agent before the duration.
    Combined,
    /// A JSON object.
    Json,
}

impl Format {
    /// Every format with its name.
    pub const ALL: [(&'static str, Format); 4] =
        [("off", Format::Off), ("common", Format::Common), ("combined", Format::Combined), ("json", Format::Json)];
}

/// What is known of a request when its reply is ready.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The peer; `None` on a Unix socket, where it has no address.
    pub remote: Option<SocketAddr>,
    /// The method as it came; empty where the head was refused before it was read.
    pub method: &'a [u8],
    /// The target as it came, not decoded; empty as the method.
    pub target: &'a [u8],
    /// The minor version: HTTP/1.0 or 1.1.
    pub version: u8,
    /// The `Referer`, for the formats that have it; empty where there is none.
    pub referer: &'a [u8],
    /// The `User-Agent`, as the referrer.
    pub user_agent: &'a [u8],
    /// The status of the reply.
    pub status: u16,
    /// Bytes of the reply's body, whether or not the client stays to take them.
    pub bytes: u64,
    /// From the head of the request until its reply was ready to leave.
    pub duration: Duration,
    /// When that was, in seconds since 1970 UTC.
    pub unix_time: u64,
}

/// Appends the line, with its newline, to `out`; nothing if the format is off.
///
/// The line is printable ASCII, whatever the client sent: quotes, backslashes, control characters and everything outside
/// ASCII are escaped, so that a line cannot be forged and a terminal cannot be driven. Allocates only what `out` lacks.
pub fn write_line(format: Format, entry: &Entry<'_>, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match format {
        Format::Off => Ok(()),
        Format::Common => common(entry, out, false),
        Format::Combined => common(entry, out, true),
        Format::Json => json(entry, out),
    };
}

fn common(entry: &Entry<'_>, out: &mut String, combined: bool) -> std::fmt::Result {
    match entry.remote {
        Some(remote) => write!(out, "{}", remote.ip().to_canonical())?,
        None => out.push_str("unix:"),
    }
    let Utc { year, month, day, hour, minute, second } = Utc::at(entry.unix_time);
    let month = MONTHS[usize::from(month - 1)];
    write!(out, " - - [{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000] \"")?;
    if entry.method.is_empty() {
        out.push('-');
    } else {
        escape_hex(entry.method, out)?;
        out.push(' ');
        escape_hex(entry.target, out)?;
        write!(out, " HTTP/1.{}", entry.version)?;
    }
    write!(out, "\" {} ", entry.status)?;
    // As web servers write it: no body is a dash.
    if entry.bytes == 0 {
        out.push('-')
    } else {
        write!(out, "{}", entry.bytes)?
    }
    if combined {
        for text in [entry.referer, entry.user_agent] {
            out.push_str(" \"");
            if text.is_empty() {
                out.push('-')
            } else {
                escape_hex(text, out)?
            }
            out.push('"');
        }
    }
    writeln!(out, " {}.{:06}", entry.duration.as_secs(), entry.duration.subsec_micros())
}

fn json(entry: &Entry<'_>, out: &mut String) -> std::fmt::Result {
    let Utc { year, month, day, hour, minute, second } = Utc::at(entry.unix_time);
    // RFC 3339.
    write!(out, "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z\",\"remote\":")?;
    match entry.remote {
        Some(remote) => write!(out, "\"{}\"", SocketAddr::new(remote.ip().to_canonical(), remote.port()))?,
        None => out.push_str("\"unix:\""),
    }
    if entry.method.is_empty() {
        out.push_str(",\"method\":null,\"target\":null,\"version\":null");
    } else {
        out.push_str(",\"method\":\"");
        escape_json(entry.method, out)?;
        out.push_str("\",\"target\":\"");
        escape_json(entry.target, out)?;
        write!(out, "\",\"version\":\"1.{}\"", entry.version)?;
    }
    let (seconds, micros) = (entry.duration.as_secs(), entry.duration.subsec_micros());
    write!(out, ",\"status\":{},\"bytes\":{},\"duration_seconds\":{seconds}.{micros:06}", entry.status, entry.bytes)?;
    for (name, text) in [("referer", entry.referer), ("user_agent", entry.user_agent)] {
        if !text.is_empty() {
            write!(out, ",\"{name}\":\"")?;
            escape_json(text, out)?;
            out.push('"');
        }
    }
    out.push_str("}\n");
    Ok(())
}

/// Bytes as Apache escapes them: `\"`, `\\`, `\xHH`.
fn escape_hex(bytes: &[u8], out: &mut String) -> std::fmt::Result {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => write!(out, "\\x{byte:02X}")?,
        }
    }
    Ok(())
}

/// Bytes as the inside of a JSON string; what is not UTF-8 becomes U+FFFD.
fn escape_json(bytes: &[u8], out: &mut String) -> std::fmt::Result {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                ' '..='~' => out.push(c),
                _ => c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(out, "\\u{unit:04x}"))?,
            }
        }
        if !chunk.invalid().is_empty() {
            out.push_str("\\ufffd");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry<'a>(method: &'a [u8], target: &'a [u8]) -> Entry<'a> {
        Entry {
            remote: Some(SocketAddr::from(([192, 0, 2, 7], 40_000))),
            method,
            target,
            version: 1,
            referer: b"",
            user_agent: b"",
            status: 200,
            bytes: 2326,
            duration: Duration::from_micros(1_000_123),
            unix_time: 971_211_336,
        }
    }

    fn line(format: Format, entry: &Entry<'_>) -> String {
        let mut out = String::new();
        write_line(format, entry, &mut out);
        out
    }

    #[test]
    fn the_common_log_format() {
        let get = entry(b"GET", b"/a?b=%20c");
        let table: &[(&str, Entry<'_>, &str)] = &[
            ("plain", get, "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"GET /a?b=%20c HTTP/1.1\" 200 2326 1.000123\n"),
            (
                "no body, 1.0, Unix socket",
                Entry { bytes: 0, version: 0, remote: None, status: 304, ..get },
                "unix: - - [10/Oct/2000:20:55:36 +0000] \"GET /a?b=%20c HTTP/1.0\" 304 - 1.000123\n",
            ),
            (
                "a refused head",
                Entry { status: 400, ..entry(b"", b"") },
                "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"-\" 400 2326 1.000123\n",
            ),
            (
                "IPv4 through an IPv6 socket",
                Entry { remote: "[::ffff:192.0.2.9]:1".parse().ok(), ..get },
                "192.0.2.9 - - [10/Oct/2000:20:55:36 +0000] \"GET /a?b=%20c HTTP/1.1\" 200 2326 1.000123\n",
            ),
            (
                "a forged line",
                entry(b"GET", b"/\" 200 1\r\n1.2.3.4 - - \\\x1b[2J\x7f\xc3\xa9\0"),
                "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"GET /\\\" 200 1\\x0D\\x0A1.2.3.4 - - \\\\\\x1B[2J\\x7F\\xC3\\xA9\\x00 HTTP/1.1\" 200 2326 1.000123\n",
            ),
        ];
        for (name, entry, expected) in table {
            assert_eq!(line(Format::Common, entry), *expected, "{name}");
        }
    }

    #[test]
    fn the_combined_log_format() {
        let entry = Entry { referer: b"http://a/\"\n", user_agent: b"curl/8", ..entry(b"GET", b"/") };
        let start = "192.0.2.7 - - [10/Oct/2000:20:55:36 +0000] \"GET / HTTP/1.1\" 200 2326";
        let expected = format!("{start} \"http://a/\\\"\\x0A\" \"curl/8\" 1.000123\n");
        assert_eq!(line(Format::Combined, &entry), expected);
        let entry = Entry { referer: b"", user_agent: b"", ..entry };
        assert_eq!(line(Format::Combined, &entry), format!("{start} \"-\" \"-\" 1.000123\n"));
    }

    #[test]
    fn the_json_format() {
        let got = line(Format::Json, &entry(b"GET", b"/\"\\\r\n\xc3\xa9\xf0\x9f\x8d\x8b\xff"));
        assert_eq!(
            got,
            "{\"time\":\"2000-10-10T20:55:36Z\",\"remote\":\"192.0.2.7:40000\",\"method\":\"GET\",\
             \"target\":\"/\\\"\\\\\\u000d\\u000a\\u00e9\\ud83c\\udf4b\\ufffd\",\"version\":\"1.1\",\"status\":200,\
             \"bytes\":2326,\"duration_seconds\":1.000123}\n"
        );
        let got = line(Format::Json, &Entry { referer: b"http://a/", user_agent: b"c\"url", ..entry(b"GET", b"/") });
        assert!(got.ends_with(",\"referer\":\"http://a/\",\"user_agent\":\"c\\\"url\"}\n"), "{got}");
        let got = line(Format::Json, &Entry { remote: None, ..entry(b"", b"") });
        let value: serde_json::Value = serde_json::from_str(&got).expect(&got);
        assert_eq!(value["target"], serde_json::Value::Null);
        assert_eq!(value["remote"], "unix:");
    }

    #[test]
    fn off_writes_nothing() {
        assert_eq!(line(Format::Off, &entry(b"GET", b"/")), "");
    }

    #[test]
    fn a_line_needs_no_memory_but_the_callers() {
        let mut out = String::with_capacity(512);
        let (place, room) = (out.as_ptr(), out.capacity());
        for format in [Format::Common, Format::Combined, Format::Json] {
            out.clear();
            write_line(format, &entry(b"GET", b"/\x01\xff"), &mut out);
            assert_eq!((out.as_ptr(), out.capacity()), (place, room));
        }
    }

    proptest! {
        #[test]
        fn no_request_can_forge_a_line(
            method in proptest::collection::vec(any::<u8>(), 1..20),
            target in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let entry = Entry { referer: &target, user_agent: &method, ..entry(&method, &target) };
            for format in [Format::Common, Format::Combined, Format::Json] {
                let line = line(format, &entry);
                let body = line.strip_suffix('\n').expect("a newline at the end");
                prop_assert!(body.bytes().all(|b| (b' '..=b'~').contains(&b)), "{}", body);
            }
            let common = line(Format::Common, &entry);
            let bare = common.replace("\\\\", "").replace("\\\"", "");
            prop_assert_eq!(bare.matches('"').count(), 2);
            let value: serde_json::Value = serde_json::from_str(&line(Format::Json, &entry)).expect("JSON");
            prop_assert_eq!(&value["target"], &String::from_utf8_lossy(&target).into_owned());
            prop_assert_eq!(value.as_object().map(|o| o.len()), Some(9 + usize::from(!target.is_empty())));
        }
    }
}

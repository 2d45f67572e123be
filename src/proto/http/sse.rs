//! Server-sent events (HTML Standard §9.2): what a `text/event-stream` body is made of.

use std::fmt;
use std::time::Duration;

/// One event of a stream.
///
/// ```
/// use vansire::http::sse::Event;
///
/// let mut out = Vec::new();
/// Event::new("21.5\n22.0").event("reading").id("7").encode(&mut out)?;
/// assert_eq!(out, b"event: reading\nid: 7\ndata: 21.5\ndata: 22.0\n\n");
/// # Ok::<(), vansire::http::sse::BadField>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Event<'a> {
    data: &'a str,
    event: Option<&'a str>,
    id: Option<&'a str>,
    retry: Option<Duration>,
}

/// A field of an event that would not reach the client as it is: a line end in a name or id, or NUL in an id. Holds the
/// name of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadField(&'static str);

impl<'a> Event<'a> {
    /// An event with this data, of any number of lines. CRLF, CR and LF all reach the client as LF.
    pub fn new(data: &'a str) -> Self {
        Self { data, event: None, id: None, retry: None }
    }

    /// Sets the event's name: the client's listeners choose by it. `message` without.
    pub fn event(self, name: &'a str) -> Self {
        Self { event: Some(name), ..self }
    }

    /// Sets the id that a client sends as `Last-Event-ID` when it comes back.
    pub fn id(self, id: &'a str) -> Self {
        Self { id: Some(id), ..self }
    }

    /// Sets how long the client waits before it comes back. Milliseconds are sent.
    pub fn retry(self, after: Duration) -> Self {
        Self { retry: Some(after), ..self }
    }

    /// Appends the event. On error nothing is written.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadField> {
        if self.event.is_some_and(|name| name.contains(['\r', '\n'])) {
            return Err(BadField("event"));
        }
        if self.id.is_some_and(|id| id.contains(['\r', '\n', '\0'])) {
            return Err(BadField("id"));
        }
        if let Some(name) = self.event {
            put_line(out, "event: ", name);
        }
        if let Some(id) = self.id {
            put_line(out, "id: ", id);
        }
        if let Some(after) = self.retry {
            let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            put_line(out, "retry: ", itoa::Buffer::new().format(ms));
        }
        lines(self.data).for_each(|line| put_line(out, "data: ", line));
        out.push(b'\n');
        Ok(())
    }
}

/// Appends a comment, which clients ignore: keeps a quiet connection alive.
pub fn encode_comment(out: &mut Vec<u8>, text: &str) {
    lines(text).for_each(|line| put_line(out, ": ", line));
    out.push(b'\n');
}

/// The lines between CRLF, CR and LF, all of which end a line for the client.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.find(['\r', '\n']) else {
            rest = None;
            return Some(text);
        };
        let after = &text[at..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..at])
    })
}

fn put_line(out: &mut Vec<u8>, field: &str, value: &str) {
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line end or NUL in the field {} of an event", self.0)
    }
}

impl std::error::Error for BadField {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_data_is_prefixed() {
        let table = [
            ("one line", "a", "data: a\n\n"),
            ("empty", "", "data: \n\n"),
            ("leading space", " a", "data:  a\n\n"),
            ("LF", "a\nb", "data: a\ndata: b\n\n"),
            ("CR", "a\rb", "data: a\ndata: b\n\n"),
            ("CRLF", "a\r\nb", "data: a\ndata: b\n\n"),
            ("LF CR", "a\n\rb", "data: a\ndata: \ndata: b\n\n"),
            ("at the end", "a\n", "data: a\ndata: \n\n"),
            ("an injected event", "a\n\nevent: x", "data: a\ndata: \ndata: event: x\n\n"),
        ];
        for (name, data, expected) in table {
            let mut out = Vec::new();
            Event::new(data).encode(&mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn all_fields_are_written_and_none_can_be_injected() {
        let mut out = Vec::new();
        Event::new("d").event("e").id("").retry(Duration::from_millis(1500)).encode(&mut out).unwrap();
        assert_eq!(out, b"event: e\nid: \nretry: 1500\ndata: d\n\n");
        out.clear();
        for (event, expected) in [
            (Event::new("d").event("a\nb"), "event"),
            (Event::new("d").event("a\r"), "event"),
            (Event::new("d").id("a\nb"), "id"),
            (Event::new("d").id("\0"), "id"),
        ] {
            assert_eq!(event.encode(&mut out), Err(BadField(expected)));
            assert!(out.is_empty());
        }
        encode_comment(&mut out, "a\ndata: x");
        assert_eq!(out, b": a\n: data: x\n\n");
    }
}

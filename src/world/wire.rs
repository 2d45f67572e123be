//! A reader of HTTP replies that shares no code with the server's: it knows what a client must know, and is strict.

/// One reply, as a client understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
    /// The server said that it closes.
    pub(super) closes: bool,
}

/// Reads the first reply. None: it is not whole yet. `to_head`: it answers a HEAD. `ended`: nothing more will come.
pub(super) fn read_reply(bytes: &[u8], to_head: bool, ended: bool) -> Result<Option<(Reply, usize)>, String> {
    let Some(head_len) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head_len]).map_err(|e| e.to_string())?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let status = status.strip_prefix("HTTP/1.1 ").ok_or_else(|| format!("not a status line: {status:?}"))?;
    let (code, _) = status.split_once(' ').ok_or_else(|| format!("no reason: {status:?}"))?;
    let code: u16 = code.parse().map_err(|_| format!("not a status: {code:?}"))?;
    let headers = fields(lines)?;
    let value = |name: &str| {
        let mut values = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        (values.next().cloned(), values.next().is_some())
    };
    let (length, lengths) = value("content-length");
    let (coding, codings) = value("transfer-encoding");
    if lengths || codings || (length.is_some() && coding.is_some()) {
        return Err(format!("two framings: {text}"));
    }
    let says_close = value("connection").0.is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let rest = &bytes[head_len + 4..];
    let mut reply =
        Reply { status: code, headers: Vec::new(), body: Vec::new(), trailers: Vec::new(), closes: says_close };
    let used = match (coding, length) {
        _ if to_head || code < 200 || code == 204 || code == 304 => 0,
        (Some(coding), _) if coding == "chunked" => match chunked(rest)? {
            Some((body, trailers, used)) => {
                (reply.body, reply.trailers) = (body, trailers);
                used
            }
            None => return Ok(None),
        },
        (Some(coding), _) => return Err(format!("an unknown coding: {coding}")),
        (None, Some(length)) => {
            let length: usize = length.parse().map_err(|_| format!("not a length: {length:?}"))?;
            let Some(body) = rest.get(..length) else { return Ok(None) };
            reply.body = body.to_vec();
            length
        }
        (None, None) if !says_close => return Err(format!("a body without an end: {text}")),
        (None, None) if !ended => return Ok(None),
        (None, None) => {
            reply.body = rest.to_vec();
            rest.len()
        }
    };
    if code >= 200 && value("date").0.is_none() {
        return Err(format!("no Date: {text}"));
    }
    reply.headers = headers;
    Ok(Some((reply, head_len + 4 + used)))
}

type Fields = Vec<(String, String)>;

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Fields, String> {
    lines
        .map(|line| {
            let (name, value) = line.split_once(": ").ok_or_else(|| format!("not a field: {line:?}"))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// A chunked body, its trailers and its length on the wire.
fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, Fields, usize)>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes[at..at + line]);
        let size = usize::from_str_radix(&text, 16).map_err(|_| format!("not a chunk size: {text:?}"))?;
        at += line + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk that does not end".into());
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some((body, Vec::new(), at + 2)));
    }
    let Some(len) = find(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes[at..at + len]).into_owned();
    Ok(Some((body, fields(text.split("\r\n"))?, at + len + 4)))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_as_a_client_reads_them() {
        let date = "Date: now\r\n";
        // (name, bytes, to a HEAD, ended, status and body, or None for "more", or a part of the complaint)
        type Told = Result<Option<(u16, &'static str)>, &'static str>;
        let table: [(&str, String, bool, bool, Told); 10] = [
            (
                "length",
                format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 2\r\n\r\nhiHTTP"),
                false,
                false,
                Ok(Some((200, "hi"))),
            ),
            ("cut", format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 3\r\n\r\nhi"), false, true, Ok(None)),
            ("cut head", "HTTP/1.1 200 OK\r\nDate".into(), false, false, Ok(None)),
            (
                "HEAD",
                format!("HTTP/1.1 200 OK\r\n{date}Content-Length: 2\r\n\r\nHTTP"),
                true,
                false,
                Ok(Some((200, ""))),
            ),
            (
                "chunks",
                format!(
                    "HTTP/1.1 200 OK\r\n{date}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nA\r\n0123456789\r\n0\r\nA: b\r\n\r\n"
                ),
                false,
                false,
                Ok(Some((200, "hi0123456789"))),
            ),
            (
                "cut chunk",
                format!("HTTP/1.1 200 OK\r\n{date}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"),
                false,
                false,
                Ok(None),
            ),
            (
                "until the end",
                format!("HTTP/1.1 200 OK\r\n{date}Connection: close\r\n\r\nhi"),
                false,
                true,
                Ok(Some((200, "hi"))),
            ),
            ("no end", format!("HTTP/1.1 200 OK\r\n{date}\r\nhi"), false, true, Err("without an end")),
            ("interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP".into(), false, false, Ok(Some((100, "")))),
            ("no date", "HTTP/1.1 204 No Content\r\n\r\n".into(), false, false, Err("no Date")),
        ];
        for (name, bytes, to_head, ended, expected) in table {
            let got = read_reply(bytes.as_bytes(), to_head, ended);
            match (got, expected) {
                (Ok(got), Ok(expected)) => {
                    let got = got.map(|(reply, _)| (reply.status, String::from_utf8(reply.body).unwrap()));
                    assert_eq!(got, expected.map(|(status, body)| (status, body.to_owned())), "{name}");
                }
                (Err(got), Err(expected)) => assert!(got.contains(expected), "{name}: {got}"),
                (got, expected) => panic!("{name}: {got:?}, not {expected:?}"),
            }
        }
    }
}

//! The first request of a run: is the answer right, and how long is it?

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vansire_peers::BODY;

use crate::flags::Flags;

/// A request and the length of its answer, which must not change during the run.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) request: Vec<u8>,
    pub(crate) response_len: usize,
    /// It is a file, which takes many reads.
    pub(crate) is_long: bool,
}

/// Whether a connection outlives its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    KeepAlive,
    Close,
}

/// Sends one request on a connection of its own and checks the answer: status 200, the right length and body, and,
/// when that was asked for, the end of the stream after it.
pub(crate) fn probe(flags: &Flags, persistence: Persistence) -> io::Result<Exchange> {
    let close = if persistence == Persistence::Close { "Connection: close\r\n" } else { "" };
    let request = format!("GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n{close}\r\n", flags.path).into_bytes();
    let mut stream = TcpStream::connect_timeout(&flags.addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request)?;
    let mut read = Vec::new();
    let mut chunk = [0; 65536];
    let response_len = loop {
        if let Some(len) = response_len(&read, flags.body_len)? {
            break len;
        }
        match stream.read(&mut chunk)? {
            0 => return Err(wrong(format!("the connection ended in the middle of the answer {}", shown(&read)))),
            len => read.extend_from_slice(&chunk[..len]),
        }
    };
    let surplus = |read: &[u8]| wrong(format!("more than one answer to one request: {}", shown(read)));
    if read.len() > response_len {
        return Err(surplus(&read));
    }
    if persistence == Persistence::Close {
        match stream.read(&mut chunk) {
            Ok(0) => {}
            Ok(_) => return Err(surplus(&read)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(wrong("ignores `Connection: close`".into()));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(Exchange { request, response_len, is_long: flags.body_len.is_some() })
}

const PATIENCE: Duration = Duration::from_secs(2);

/// The length of the whole response, once all of it is there; an error when it is not the one that is expected: [`BODY`], or
/// any body of the length that was asked for.
fn response_len(read: &[u8], expected: Option<usize>) -> io::Result<Option<usize>> {
    let Some(head_len) = memchr::memmem::find(read, b"\r\n\r\n").map(|at| at + 4) else { return Ok(None) };
    let head = std::str::from_utf8(&read[..head_len]).map_err(|e| wrong(format!("{e}: {}", shown(read))))?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(wrong(format!("not a 200: {}", shown(read))));
    }
    let body_len = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    let wanted = expected.unwrap_or(BODY.len());
    if body_len != Some(wanted) {
        return Err(wrong(format!("the length is not {wanted}: {}", shown(read))));
    }
    let len = head_len + wanted;
    match read.get(head_len..len) {
        None => Ok(None),
        Some(_) if expected.is_some() => Ok(Some(len)),
        Some(body) if body == BODY.as_bytes() => Ok(Some(len)),
        Some(_) => Err(wrong(format!("not the body: {}", shown(read)))),
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(300)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_answer_is_taken() {
        let whole = "HTTP/1.1 200 Ok\r\ncontent-length:13\r\n\r\nHello, World!";
        let rows = [
            ("whole", whole, Ok(Some(whole.len()))),
            ("two", &whole.repeat(2), Ok(Some(whole.len()))),
            ("no blank line yet", &whole[..30], Ok(None)),
            ("half a body", &whole[..whole.len() - 1], Ok(None)),
            ("another status", "HTTP/1.1 404 Not Found\r\nContent-Length: 13\r\n\r\n", Err("not a 200")),
            ("another length", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Err("the length is not 13")),
            ("no length", "HTTP/1.1 200 OK\r\n\r\n", Err("the length is not 13")),
            ("another body", "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, Wor!d!", Err("not the body")),
        ];
        for (name, bytes, expected) in rows {
            match (response_len(bytes.as_bytes(), None), expected) {
                (Ok(len), Ok(expected)) => assert_eq!(len, expected, "{name}"),
                (Err(e), Err(part)) => assert!(e.to_string().contains(part), "{name}: {e}"),
                (other, _) => panic!("{name}: {other:?}"),
            }
        }
    }
}

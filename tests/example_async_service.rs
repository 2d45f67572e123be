//! The example `async_service` as a program: it answers while tasks work, and Ctrl-C drains.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use common::{client, get};

#[test]
fn requests_in_progress_are_answered_after_ctrl_c() {
    let path = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/async_service");
    let mut command = Command::new(&path);
    let child = command.args(["--listen", "http://127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{}: {e}; `cargo build --examples` makes it", path.display()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let addr: SocketAddr = line.strip_prefix("listening on http://").unwrap().parse().unwrap();
    assert_eq!(get(addr, "/jobs/first"), Some((200, "first is done\n".to_owned())));
    assert!(get(addr, "/ticks").is_some_and(|(status, text)| status == 200 && text.ends_with("ticks\n")));
    assert_eq!(get(addr, "/").map(|(status, _)| status), Some(404));
    // One in progress, known to be: what was pipelined before it is answered.
    let mut stream = client(addr);
    stream.write_all(b"GET /ticks HTTP/1.1\r\nHost: a\r\n\r\nGET /jobs/last HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(get(addr, "/ticks").map(|(status, _)| status), Some(200));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("last is done\n"), "{rest}");
    let report = lines.next().unwrap().unwrap();
    assert!(report.starts_with("stopped in") && report.ends_with("1 connections finished, 0 cut off"), "{report}");
    assert!(child.wait().unwrap().success());
}

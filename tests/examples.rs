//! Each example as a program, with a client. `cargo test` builds the examples first; `cargo test --test examples` alone runs
//! those of the last build.
#![cfg(unix)]

mod common;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use common::{DEADLINE, client, patient, read_all};

/// A running example.
struct Example {
    child: Child,
    lines: Receiver<String>,
}

impl Example {
    fn start(name: &str, flags: &[&str]) -> Self {
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        path.set_file_name("examples");
        path.push(name);
        let mut command = Command::new(&path);
        let mut child = match command.args(flags).stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(e) => panic!("{}: {e}; `cargo build --examples` makes it", path.display()),
        };
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines }
    }

    /// Starts an example that listens on a free port, and answers its address.
    fn listening(name: &str, scheme: &str, flags: &[&str]) -> (Self, SocketAddr) {
        let url = format!("{scheme}://127.0.0.1:0");
        let example = Self::start(name, &[&["--listen", &url], flags].concat());
        let line = example.line();
        let addr = line.strip_prefix(&format!("listening on {scheme}://")).and_then(|addr| addr.parse().ok());
        (example, addr.unwrap_or_else(|| panic!("{name} says {line:?}")))
    }

    /// The next line that it prints.
    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("a line of the example")
    }

    /// Asks it to end, as an init system does, and waits until it has ended in order. Answers what else it printed.
    fn stop(self) -> Vec<String> {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
        // Without the feature the signal does what it does to any program.
        self.end(if cfg!(feature = "signals") { |status| status.code() == Some(0) } else { |status| !status.success() })
    }

    /// Waits until it ends like this.
    fn end(mut self, expected: fn(ExitStatus) -> bool) -> Vec<String> {
        let end = Instant::now() + DEADLINE;
        let mut printed = Vec::new();
        let status = loop {
            // Its output ends with it, mostly: then there is no more to wait for than the exit itself.
            match self.lines.recv_timeout(Duration::from_millis(10)) {
                Ok(line) => printed.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    if let Some(status) = self.child.try_wait().unwrap() {
                        break status;
                    }
                    std::thread::yield_now();
                }
            }
            assert!(Instant::now() < end, "waited for the example to end");
        };
        assert!(expected(status), "{status}; it printed {printed:?}");
        printed
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Nothing is left running when a test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request on a connection of its own; answers the head and the body.
fn ask(addr: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
    let mut stream = client(addr);
    let len = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let reply = String::from_utf8(read_all(&mut stream)).unwrap();
    let end = reply.find("\r\n\r\n").expect("a head") + 2;
    (reply[..end].to_owned(), reply[end + 2..].to_owned())
}

fn get(addr: SocketAddr, path: &str) -> (String, String) {
    ask(addr, "GET", path, "", "")
}

/// What has come by now.
fn read_some(stream: &mut TcpStream) -> Option<String> {
    let mut room = [0; 1000];
    let len = stream.read(&mut room).ok()?;
    Some(String::from_utf8_lossy(&room[..len]).into_owned())
}

fn assert_busy(reply: &str) {
    assert!(reply.starts_with("HTTP/1.1 503 ") && reply.contains("\r\nRetry-After: 1\r\n"), "{reply}");
}

/// Tries until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

/// Reads lines until one begins like this; answers what follows.
fn line_with(stream: &mut BufReader<TcpStream>, start: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream ends before {start:?}");
        if let Some(rest) = line.strip_prefix(start) {
            return rest.trim_end().to_owned();
        }
    }
}

#[test]
fn http_hello() {
    let (example, addr) = Example::listening("http_hello", "http", &[]);
    let (head, body) = get(addr, "/");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "Hello, World!");
    assert_eq!(example.stop(), [""; 0]);
}

#[test]
fn tcp_echo() {
    let (example, addr) = Example::listening("tcp_echo", "tcp", &[]);
    // More than all buffers hold: it must not be sent before some of it is read.
    let mut stream = client(addr);
    let mut writer = stream.try_clone().unwrap();
    let bytes = common::pattern(20 << 20);
    let sent = bytes.clone();
    let sender = std::thread::spawn(move || writer.write_all(&sent));
    let mut echoed = vec![0; bytes.len()];
    stream.read_exact(&mut echoed).unwrap();
    sender.join().unwrap().unwrap();
    assert!(echoed == bytes, "it comes back as it went");
    drop(stream);
    assert!(example.line().ends_with(": closed by the peer"));
    let printed = example.stop();
    if cfg!(feature = "signals") {
        assert_eq!(printed.last().unwrap(), &format!("{} bytes", bytes.len()));
    }
}

#[test]
fn udp_echo() {
    let (example, addr) = Example::listening("udp_echo", "udp", &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for payload in [&b"hello"[..], b"", &[0xff; 1400]] {
        socket.send_to(payload, addr).unwrap();
        let mut room = [0; 2000];
        let (len, from) = socket.recv_from(&mut room).unwrap();
        assert_eq!((&room[..len], from), (payload, addr));
    }
    example.stop();
}

#[test]
fn timers() {
    let example = Example::start("timers", &["--period", "20"]);
    let printed = example.end(|status| status.success());
    let ticks: Vec<&str> = printed.iter().map(String::as_str).filter(|line| line.starts_with("tick")).collect();
    assert_eq!(ticks, ["tick 1", "tick 2", "tick 3", "tick 4", "tick 5"]);
    assert_eq!(printed[0], "once");
    assert!(printed.iter().any(|line| line == "cancelled") && !printed.iter().any(|line| line == "never"));
}

#[test]
fn multi_threaded() {
    let (example, addr) = Example::listening("multi_threaded", "http", &["--workers", "1", "--queue", "1"]);
    assert_eq!(get(addr, "/primes/100").1, "25 primes\n");
    assert!(get(addr, "/primes/x").0.starts_with("HTTP/1.1 400 "));
    assert!(get(addr, "/primes/").0.starts_with("HTTP/1.1 404 "));

    // Four jobs that take longer than this test: one is worked on at most, and one waits.
    let request = format!("GET /primes/{} HTTP/1.1\r\nHost: a\r\n\r\n", 1_u64 << 60);
    let mut busy: Vec<TcpStream> = (0..4).map(|_| client(addr)).collect();
    for stream in &mut busy {
        stream.write_all(request.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
    }
    let mut refused = 0;
    until("at least two of the four are refused", || {
        refused += busy.iter_mut().filter_map(read_some).inspect(|reply| assert_busy(reply)).count();
        refused >= 2
    });
    // Meanwhile the loop serves others.
    assert!(get(addr, "/").0.starts_with("HTTP/1.1 200 "));
    // F15: clients that are cut off free the worker.
    for stream in busy {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    until("the worker is free again", || get(addr, "/primes/10").1 == "4 primes\n");
    example.stop();
}

#[test]
fn http_api() {
    let (example, addr) = Example::listening("http_api", "http", &[]);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();

    let mut events = client(addr);
    patient(&events);
    events.write_all(b"GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut events = BufReader::new(events);
    assert_eq!(line_with(&mut events, "Content-Type: "), "text/event-stream");

    // K1: JSON comes and goes by its crate, all of Unicode included.
    let (head, body) = ask(addr, "POST", "/api/readings", "", r#"{"sensor": "\u4e16\/\"\n", "value": 21.5}"#);
    assert!(head.starts_with("HTTP/1.1 201 ") && head.contains("\r\nLocation: /api/readings/1\r\n"), "{head}");
    let stored = json(&body);
    assert_eq!(stored.pointer("/sensor").unwrap(), "\u{4e16}/\"\n");
    assert_eq!((stored["id"].as_u64(), stored["value"].as_f64()), (Some(1), Some(21.5)));
    assert_eq!(line_with(&mut events, "event: "), "reading");
    let seen = line_with(&mut events, "id: ");
    assert_eq!(json(&line_with(&mut events, "data: ")), stored);
    let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
    for (name, body) in [
        ("cut", r#"{"sensor": "a""#),
        ("trailing text", r#"{"sensor": "a", "value": 1} x"#),
        ("leading zero", r#"{"sensor": "a", "value": 01}"#),
        ("wrong type", r#"{"sensor": 1, "value": 1}"#),
        ("missing", r#"{"sensor": "a"}"#),
        ("unknown", r#"{"sensor": "a", "value": 1, "x": 1}"#),
        ("half a surrogate", r#"{"sensor": "\ud800", "value": 1}"#),
        ("too deep", &deep),
        ("empty", ""),
    ] {
        let (head, body) = ask(addr, "POST", "/api/readings", "", body);
        assert!(head.starts_with("HTTP/1.1 400 ") && json(&body)["error"].is_string(), "{name}: {head}\n{body}");
    }
    let (head, _) = ask(addr, "POST", "/api/readings", "", &" ".repeat(5000));
    assert!(head.starts_with("HTTP/1.1 413 "), "{head}");

    assert_eq!(json(&get(addr, "/api/readings").1), serde_json::json!([stored]));
    assert_eq!(json(&get(addr, "/api/readings/1").1), stored);
    for path in ["/api/readings/2", "/api/readings/x", "/nothing"] {
        assert!(get(addr, path).0.starts_with("HTTP/1.1 404 "), "{path}");
    }
    let (head, _) = ask(addr, "PUT", "/api/readings", "", "");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("\r\nAllow: GET, HEAD, OPTIONS, POST\r\n"), "{head}");

    // K4, K5, K6: tokens are random, and only their hashes are known to the server.
    let password = |user: &str, password: &str| {
        format!("Authorization: {}\r\n", vansire::http::basic_auth(user, password).unwrap())
    };
    assert!(ask(addr, "POST", "/api/tokens", &password("admin", "guess"), "").0.starts_with("HTTP/1.1 401 "));
    let tokens: HashSet<String> = (0..20)
        .map(|_| {
            let (_, body) = ask(addr, "POST", "/api/tokens", &password("admin", "secret"), "");
            let token = json(&body)["token"].as_str().unwrap().to_owned();
            assert!(token.len() == 43 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
            token
        })
        .collect();
    assert_eq!(tokens.len(), 20, "no two are the same");
    let token = tokens.into_iter().next().unwrap();
    let delete = |token: &str| {
        let (head, _) = ask(addr, "DELETE", "/api/readings/1", &format!("Authorization: Bearer {token}\r\n"), "");
        head[9..12].to_owned()
    };
    assert_eq!(delete("guess"), "401");
    assert_eq!(delete(&token), "204");
    assert_eq!(delete(&token), "404");

    // A client that comes back gets what it missed.
    ask(addr, "POST", "/api/readings", "", r#"{"sensor": "b", "value": 1}"#);
    let mut again = client(addr);
    patient(&again);
    write!(again, "GET /api/events HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {seen}\r\n\r\n").unwrap();
    let mut again = BufReader::new(again);
    assert_eq!(json(&line_with(&mut again, "data: "))["sensor"], "b");
    // The streams end with the program: it does not wait for them.
    example.stop();
    if cfg!(feature = "signals") {
        let mut rest = Vec::new();
        again.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&rest));
    }
}

#[cfg(feature = "sntp")]
#[test]
fn sntp_server_tells_the_time_and_has_it_from_another_one() {
    let (first, addr) = Example::listening("sntp_server", "sntp", &[]);
    let (second, follows) = Example::listening("sntp_server", "sntp", &["--from", &addr.to_string()]);
    let line = second.line();
    assert!(line.starts_with("corrected by ") && line.ends_with(&format!("as sntp://{addr} says")), "{line}");
    let client = Example::start("sntp_client", &[&addr.to_string(), &follows.to_string()]);
    let lines = client.end(|status| status.success());
    // A system's clock of which nobody knows more has stratum 10; who follows it, one more.
    for (server, stratum) in [(addr, 10), (follows, 11)] {
        let line = lines.iter().find(|line| line.starts_with(&format!("{server}: offset "))).expect("an answer");
        assert!(line.ends_with(&format!("stratum {stratum}")), "{line}");
    }
    first.stop();
    second.stop();

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = Example::start("sntp_client", &[&silent.local_addr().unwrap().to_string()]);
    assert_eq!(client.end(|status| status.code() == Some(1)), [""; 0]);
}

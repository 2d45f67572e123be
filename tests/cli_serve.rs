//! The program as a client sees it: what a configuration makes it serve, and what it writes down.
#![cfg(all(feature = "app", unix))]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No wait of a test that passes comes near it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program with a configuration and a folder of its own. Killed when dropped.
struct Program {
    child: Child,
    folder: PathBuf,
    /// What it listens on, in the order of the configuration.
    urls: Vec<String>,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Program {
    /// Writes the files, starts it, and waits until it listens `listeners` times.
    fn start(name: &str, listeners: usize, config: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("vansire-serve-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        for (path, text) in files.iter().chain(&[("own.toml", config)]) {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_vansire"))
            .args(["-c", "own.toml"])
            .env_clear()
            .current_dir(&folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut program = Self { child, folder, urls: Vec::new(), stderr };
        while program.urls.len() < listeners {
            let line = program.line();
            let url = line.strip_prefix("vansire: listening on ").and_then(|rest| rest.split(' ').next());
            program.urls.extend(url.map(str::to_string));
        }
        program
    }

    /// The next line on stderr.
    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stderr.read_line(&mut line).expect("stderr") > 0, "the program ended");
        line
    }

    fn tcp(&self, listener: usize) -> TcpStream {
        let stream = TcpStream::connect(self.urls[listener].trim_start_matches("http://")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    }

    /// The whole answer to a GET.
    fn get(&self, listener: usize, target: &str) -> String {
        self.send(listener, &format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    }

    /// Everything that comes back until the end of the connection.
    fn send(&self, listener: usize, bytes: &str) -> String {
        talk(self.tcp(listener), bytes)
    }

    /// The text of a file of its folder, once it holds that many lines.
    fn read(&self, name: &str, lines: usize) -> String {
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
            if text.lines().count() >= lines {
                return text;
            }
            assert!(start.elapsed() < PATIENCE, "{name} has not {lines} lines:\n{text}");
            std::thread::yield_now();
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends it in order; what it had written to stdout.
    fn stop(mut self) -> String {
        self.signal("TERM");
        let mut out = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("stdout");
        assert_eq!(self.child.wait().expect("its end").code(), Some(0));
        out
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn talk(mut stream: impl Read + Write, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

#[test]
fn folders_redirects_and_pages() {
    let config = "\
[http]
api = 'off'
listen = 'http://127.0.0.1:0'
[[http.static]]
root = 'www'
index = ['home.html', 'index.html']
not_found = 'errors/404.html'
[[http.static]]
prefix = '/docs/api/'
root = 'api'
headers = { Cache-Control = 'max-age=60' }
types = { dat = 'application/x-dat' }
[[http.redirect]]
from = '/old/*'
to = '/docs/api/*'
status = 308
[[http.redirect]]
from = '/www'
to = 'https://example.org/?a=b'
";
    let files = [
        ("www/index.html", "the index"),
        ("www/sub/home.html", "the home"),
        ("www/errors/404.html", "not here"),
        ("www/docs/a.txt", "a"),
        ("api/b.txt", "b"),
        ("api/c.dat", "c"),
        ("api/sub/index.html", "sub"),
    ];
    let program = Program::start("pages", 1, config, &files);
    // (target, status, a part of the answer)
    let table: &[(&str, u16, &str)] = &[
        ("/", 200, "the index"),
        ("/sub/", 200, "the home"),
        ("/sub?x=1", 301, "Location: /sub/?x=1\r\n"),
        ("/docs/a.txt", 200, "a"),
        ("/nothing", 404, "not here"),
        ("/docs/api/b.txt", 200, "Cache-Control: max-age=60\r\n"),
        ("/docs/api/c.dat", 200, "Content-Type: application/x-dat\r\n"),
        ("/docs/api/sub", 301, "Location: /docs/api/sub/\r\n"),
        ("/docs/api", 301, "Location: /docs/api/\r\n"),
        ("/docs/api/nothing", 404, "Not found."),
        ("/docs/api/../../own.toml", 404, ""),
        ("/docs/api/%2e%2e/%2e%2e/own.toml", 404, ""),
        ("/old/b.txt?q", 308, "Location: /docs/api/b.txt?q\r\n"),
        ("/old//evil.example/", 308, "Location: /docs/api/evil.example/\r\n"),
        ("/www?c", 302, "Location: https://example.org/?a=b&c\r\n"),
        ("/healthz", 200, "{\"status\":\"ok\"}"),
        ("/api/v1/status", 404, "Nothing is here."),
        ("/api/v1/connections", 404, "Nothing is here."),
    ];
    for (target, expected, part) in table {
        let answer = program.get(0, target);
        assert_eq!(status(&answer), *expected, "{target}: {answer}");
        assert!(answer.contains(part), "{target}: {answer}");
    }
    program.stop();
}

#[test]
fn every_request_is_logged_the_refused_ones_too() {
    let config = "\
http.listen = [{ url = 'http://127.0.0.1:0' }, { url = 'http://127.0.0.1:0', access = 'off' }]
http.limits = { body_max = 4, head_max = '1 KiB', head_timeout = '50ms' }
log = { access = 'combined', access_to = 'access.log' }
";
    let program = Program::start("log", 2, config, &[]);
    let post = |length| format!("POST /x HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nContent-Length: {length}\r\n\r\n");
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2000));
    // (name, request, status, the part of the line behind the time)
    let table: &[(&str, &str, u16, &str)] = &[
        (
            "served",
            "GET /healthz HTTP/1.0\r\nReferer: http://r/\r\n\r\n",
            200,
            "\"GET /healthz HTTP/1.0\" 200 15 \"http://r/\" \"-\" ",
        ),
        ("no request", "nonsense\r\n\r\n", 400, "\"-\" 400 - \"-\" \"-\" "),
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400, "\"-\" 400 - \"-\" \"-\" "),
        ("a long head", &long, 431, "\"-\" 431 - \"-\" \"-\" "),
        ("a large body", &post(5), 413, "\"POST /x HTTP/1.1\" 413 - \"-\" \"me\" "),
        ("a slow head", "GET / HTTP/1.1\r\nHost:", 408, "\"-\" 408 - \"-\" \"-\" "),
    ];
    for (index, (name, request, expected, part)) in table.iter().enumerate() {
        assert_eq!(status(&program.send(1, request)), *expected, "{name}, unlogged");
        assert_eq!(status(&program.send(0, request)), *expected, "{name}");
        let text = program.read("access.log", index + 1);
        let line = text.lines().nth(index).unwrap_or_default();
        assert!(line.starts_with("127.0.0.1 - - [") && line.contains(&format!("] {part}0.")), "{name}: {line}");
    }
    program.stop();
}

#[test]
fn the_access_log_moves_on_after_sighup() {
    let config = "http.listen = 'http://127.0.0.1:0'\nlog = { access = 'json', access_to = 'access.log' }\n";
    let program = Program::start("hup", 1, config, &[]);
    program.get(0, "/healthz?1");
    program.read("access.log", 1);
    let mode = fs::metadata(program.folder.join("access.log")).expect("the log").permissions().mode();
    assert_eq!(mode & 0o007, 0, "anybody may read who asked for what: {mode:o}");
    fs::rename(program.folder.join("access.log"), program.folder.join("access.log.1")).expect("it moves");
    program.signal("HUP");
    // The signal is on its way: requests before it arrives are still in the old file.
    let start = Instant::now();
    while !program.folder.join("access.log").exists() {
        assert_eq!(status(&program.get(0, "/healthz?2")), 200);
        assert!(start.elapsed() < PATIENCE, "the log is not opened anew");
    }
    let text = program.read("access.log", 1);
    assert!(text.contains("\"target\":\"/healthz?2\""), "{text}");
    assert!(program.read("access.log.1", 1).contains("\"target\":\"/healthz?1\""));
    program.stop();
}

#[test]
fn a_unix_socket_has_its_mode_and_the_default_log_goes_to_stdout() {
    let path = std::env::temp_dir().join(format!("vansire-serve-{}.sock", std::process::id()));
    let shown = path.display();
    let config = format!("[[http.listen]]\nurl = 'http+unix:{shown}'\nmode = '0600'\n");
    let program = Program::start("unix", 1, &config, &[]);
    assert_eq!(program.urls, [format!("http+unix:{shown}")]);
    assert_eq!(fs::metadata(&path).expect("the socket").permissions().mode() & 0o777, 0o600);
    let request = "GET /api/v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = talk(UnixStream::connect(&path).expect("it listens"), request);
    assert!(status(&answer) == 200 && answer.contains("\"connections\":1,"), "{answer}");
    let out = program.stop();
    assert!(out.starts_with("unix: - - [") && out.contains("] \"GET /api/v1/status HTTP/1.1\" 200 "), "{out}");
    assert!(!path.exists());
}

#[test]
fn a_busy_port_is_a_failure_and_no_mistake_of_the_configuration() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", taken.local_addr().expect("its address"));
    for (arguments, expected) in [(vec!["check", "--http", &url], 0), (vec!["--http", &url], 1)] {
        let output = Command::new(env!("CARGO_BIN_EXE_vansire"))
            .args(&arguments)
            .env_clear()
            .env("VANSIRE_CONFIG", "/dev/null")
            .output()
            .expect("the program runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{stderr}");
        assert!(expected == 0 || stderr.contains(&url), "{stderr}");
    }
}

//! The program `vansire` as a server, in a process and a folder of its own.

// Each test file is a program of its own, and uses a part of this.
#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// No wait of a test that passes comes near it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program with a configuration and a folder of its own. Killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) folder: PathBuf,
    /// What it listens on, in the order of the configuration.
    pub(crate) urls: Vec<String>,
    pub(crate) stderr: BufReader<std::process::ChildStderr>,
}

impl Program {
    /// Writes the files, starts it, and waits until it listens `listeners` times.
    pub(crate) fn start(name: &str, listeners: usize, config: &str, files: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir().join(format!("vansire-serve-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        for (path, text) in files.iter().chain(&[("own.toml", config)]) {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        // The usual port is for one program of this machine.
        let quiet: &[&str] = if config.contains("mqtt") { &[] } else { &["--mqtt", "off"] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_vansire"))
            .args(["-c", "own.toml"])
            .args(quiet)
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
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stderr.read_line(&mut line).expect("stderr") > 0, "the program ended");
        line
    }

    pub(crate) fn tcp(&self, listener: usize) -> TcpStream {
        let (_, address) = self.urls[listener].split_once("://").expect("a URL");
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        stream
    }

    /// The whole answer to a GET.
    pub(crate) fn get(&self, listener: usize, target: &str) -> String {
        self.send(listener, &format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    }

    /// Everything that comes back until the end of the connection.
    pub(crate) fn send(&self, listener: usize, bytes: &str) -> String {
        talk(self.tcp(listener), bytes)
    }

    /// The text of a file of its folder, once it holds that many lines.
    pub(crate) fn read(&self, name: &str, lines: usize) -> String {
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

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends it in order; what it had written to stdout.
    pub(crate) fn stop(self) -> String {
        self.stop_and_tell().0
    }

    /// Ends it in order; what it had written to stdout, and the lines on stderr that were not read yet.
    pub(crate) fn stop_and_tell(mut self) -> (String, Vec<String>) {
        self.signal("TERM");
        let mut out = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("stdout");
        assert_eq!(self.child.wait().expect("its end").code(), Some(0));
        let told = self.stderr.by_ref().lines().map(|line| line.expect("stderr")).collect();
        (out, told)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn talk(mut stream: impl Read + Write, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

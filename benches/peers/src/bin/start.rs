//! From the start of a server's process to its first reply, and what it takes while idle afterwards:
//! `start http|mqtt IP:PORT COMMAND [ARGUMENT...]`.
//!
//! Starts the server, connects until somebody listens, asks one question (`GET /`, or CONNECT of MQTT 3.1.1), and prints one line
//! of JSON: milliseconds until the answer was there, and the memory of the server and its children a while later.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use vansire_peers::procfs;

/// Long enough for any server.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to connect: what the result may be wrong by.
const PAUSE: Duration = Duration::from_micros(50);
/// After which a server that has nothing to do is as it stays.
const SETTLED: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match run(&args) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("start: {e}");
            ExitCode::FAILURE
        }
    }
}

/// What is asked, and how the answer begins.
fn question(protocol: &str) -> Option<(&'static [u8], &'static [u8])> {
    match protocol {
        "http" => Some((b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 ")),
        "mqtt" => Some((b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01s", b"\x20\x02\x00\x00")),
        _ => None,
    }
}

fn run(args: &[String]) -> io::Result<Value> {
    let usage = || io::Error::new(io::ErrorKind::InvalidInput, "usage: start http|mqtt IP:PORT COMMAND [ARGUMENT...]");
    let [protocol, addr, program, rest @ ..] = args else { return Err(usage()) };
    let (request, reply) = question(protocol).ok_or_else(usage)?;
    let addr: SocketAddr = addr.parse().map_err(io::Error::other)?;

    let began = Instant::now();
    let child = Command::new(program).args(rest).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let mut server = Server(child);
    let stream = server.connect(addr, began)?;
    ask(stream, request, reply)?;
    let took = began.elapsed();

    sleep(SETTLED);
    let pids = server.pids()?;
    Ok(json!({
        "ms": took.as_secs_f64() * 1e3,
        "pss": procfs::proportional(&pids)?,
        "rss": procfs::resident(&pids)?,
    }))
}

fn ask(mut stream: TcpStream, request: &[u8], reply: &[u8]) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut got = vec![0; reply.len()];
    stream.read_exact(&mut got)?;
    if got != reply {
        return Err(io::Error::other(format!("not the answer that was expected: {}", got.escape_ascii())));
    }
    Ok(())
}

/// Ends with the value.
struct Server(Child);

impl Server {
    fn connect(&mut self, addr: SocketAddr, began: Instant) -> io::Result<TcpStream> {
        loop {
            match TcpStream::connect(addr) {
                Ok(stream) => return Ok(stream),
                Err(e) if began.elapsed() > PATIENCE => return Err(e),
                Err(_) => {}
            }
            if let Some(status) = self.0.try_wait()? {
                return Err(io::Error::other(format!("the server has ended: {status}")));
            }
            sleep(PAUSE);
        }
    }

    /// The process and its children: a master may have started workers.
    fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids = vec![self.0.id()];
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            // "PID (NAME) STATE PARENT ...", where the name may contain anything. It may have ended meanwhile.
            let Ok(stat) = fs::read_to_string(path.join("stat")) else { continue };
            let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
            if parent == Some(self.0.id()) {
                pids.push(pid);
            }
        }
        Ok(pids)
    }
}

impl Drop for Server {
    /// Asks it to end, since a master that is killed leaves its workers behind.
    fn drop(&mut self) {
        let asked = Pid::from_raw(self.0.id() as i32).map(|pid| kill_process(pid, Signal::TERM));
        let end = Instant::now() + PATIENCE;
        while asked == Some(Ok(())) && Instant::now() < end {
            match self.0.try_wait() {
                Ok(None) => sleep(Duration::from_millis(1)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        // It has ended, or does not listen to reason.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! Tests in a process of their own, and what the system tells of a process.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// Says to a copy of the test program which part it plays.
const ROLE: &str = "VANSIRE_TEST_ROLE";

/// Which part this process plays in a test, if it is a copy started by [`copy`].
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// A copy of this test program that runs one test, in a part. `before` is shell code run first, such as `ulimit -n 64`.
pub(crate) fn copy(test: &str, role: &str, before: &str) -> Copy {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{before}\nexec \"$0\" \"$@\"")).arg(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (tell, said) = channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            // The harness writes to the same stream, and does not always end its line.
            if let Some((_, said)) = line.split_once("child: ")
                && tell.send(said.to_owned()).is_err()
            {
                return;
            }
        }
    });
    Copy { child, stdin, said }
}

/// Runs a test in a process of its own: true in there, where it shall do its work. For tests that count what belongs to
/// the process, such as descriptors, while others run beside them.
pub(crate) fn alone(test: &str) -> bool {
    if role().is_some() {
        return true;
    }
    let status = copy(test, "alone", "").wait();
    assert!(status.success(), "{test}, in a process of its own: {status}");
    false
}

/// What a copy tells its parent.
pub(crate) fn say(text: impl std::fmt::Display) {
    println!("child: {text}");
}

/// Another process.
pub(crate) struct Copy {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<String>,
}

impl Copy {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    pub(crate) fn hears(&self, what: &str) -> String {
        match self.said.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(e) => panic!("waited for the child to say {what}: {e}"),
        }
    }

    /// It says nothing for this long.
    pub(crate) fn is_silent(&self, time: Duration) -> bool {
        self.said.recv_timeout(time).is_err()
    }

    /// Closes its input, which a copy may take for the end.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().unwrap();
        assert!(sent.success(), "kill -{name}: {sent}");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let end = Instant::now() + DEADLINE + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "waited for the child to end");
            // It ends its output when it ends, mostly: then there is no more to wait for than the exit itself.
            match self.said.recv_timeout(Duration::from_millis(10)) {
                Ok(_) | Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Nothing is left running when a test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many descriptors this process has.
pub(crate) fn descriptors() -> usize {
    // One of them is the directory's own, while it is read.
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// The name of this thread under /proc.
pub(crate) fn this_thread() -> String {
    format!("/proc/{}", std::fs::read_link("/proc/thread-self").unwrap().display())
}

/// How often a thread gave the processor away because it had nothing to do.
pub(crate) fn voluntary_switches(thread: &str) -> u64 {
    let status = std::fs::read_to_string(format!("{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}

/// The processor time that a thread has used. Needs no further descriptor to be read.
pub(crate) struct CpuTime(File);

impl CpuTime {
    pub(crate) fn of(thread: &str) -> Self {
        Self(File::open(format!("{thread}/schedstat")).unwrap())
    }

    pub(crate) fn get(&self) -> Duration {
        let mut text = [0; 100];
        let len = self.0.read_at(&mut text, 0).unwrap();
        let text = std::str::from_utf8(&text[..len]).unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }
}

//! Lines that are written by a thread of their own: a reader that stalls, or a disk, must not stall the loop.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use super::config::{Level, Output};
use crate::error::{Error, Kind, Result};

/// The access log, and what the program says on stderr. Lines that find the queue full are dropped and counted.
pub(super) struct Log {
    lines: Option<SyncSender<Line>>,
    /// Says that the thread has ended.
    ended: Receiver<()>,
    dropped: Cell<u64>,
    /// The access log is a file, which is opened anew once the flag is up.
    reopen: Option<Arc<AtomicBool>>,
}

enum Line {
    /// Of the access log, as it is.
    Access(String),
    Note(String),
    /// Nothing: somebody has raised the flag.
    Reopen,
}

/// Lines that may wait.
const LINES_MAX: usize = 4096;

impl Log {
    /// Starts the thread. Fails where the file cannot be opened.
    pub(super) fn start(to: &Output, level: Level) -> Result<Self> {
        Self::with(AccessLog::open(to, level)?)
    }

    fn with(mut access: AccessLog) -> Result<Self> {
        let (lines, queue) = sync_channel(LINES_MAX);
        let (end, ended) = sync_channel(1);
        let reopen = access.file.as_ref().map(|(_, flag)| Arc::clone(flag));
        let write = move || {
            let mut next = queue.recv().ok();
            while let Some(line) = next {
                access.reopen_if_asked();
                match line {
                    Line::Access(line) => access.write(&line),
                    Line::Note(line) => super::note(&line),
                    Line::Reopen => {}
                }
                next = queue.try_recv().ok().or_else(|| {
                    // Nothing waits: what was written must be seen now.
                    access.flush();
                    queue.recv().ok()
                });
            }
            access.flush();
            let _ = end.send(());
        };
        let thread = thread::Builder::new().name("vansire-log".into()).spawn(write);
        thread.map_err(|e| Error::with_source(Kind::Io, "cannot start the log's thread", e))?;
        Ok(Self { lines: Some(lines), ended, dropped: Cell::new(0), reopen })
    }

    pub(super) fn access(&self, line: &str) {
        self.write(Line::Access(line.to_owned()));
    }

    pub(super) fn note(&self, line: String) {
        self.write(Line::Note(line));
    }

    /// Has the access log opened anew, behind what was written before. False: it is no file.
    pub(super) fn reopen(&self) -> bool {
        let Some(flag) = &self.reopen else { return false };
        flag.store(true, Ordering::Release);
        if let Some(lines) = &self.lines {
            // Where there is no room for it, what waits there will do.
            let _ = lines.try_send(Line::Reopen);
        }
        true
    }

    /// Lines that nobody took in time.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    fn write(&self, line: Line) {
        let Some(lines) = &self.lines else { return };
        match lines.try_send(line) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => self.dropped.set(self.dropped.get() + 1),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let dropped = self.dropped.get();
        if dropped > 0 {
            self.note(format!("{dropped} lines of the log were dropped: nobody took them in time"));
        }
        // The thread ends with the queue, once what waits is written. A reader that stalls does not keep us here.
        self.lines = None;
        let _ = self.ended.recv_timeout(Duration::from_secs(1));
    }
}

/// Where the lines of the access log go.
struct AccessLog {
    out: BufWriter<Box<dyn Write + Send>>,
    /// The file, which is opened anew once the flag is up.
    file: Option<(PathBuf, Arc<AtomicBool>)>,
    is_failing: bool,
    level: Level,
}

impl AccessLog {
    fn open(to: &Output, level: Level) -> Result<Self> {
        let (out, file): (Box<dyn Write + Send>, _) = match to {
            Output::Stdout => (Box::new(io::stdout()), None),
            Output::Stderr => (Box::new(io::stderr()), None),
            Output::File(path) => {
                let failed = |e| Error::io(format!("cannot open the access log {}", path.display()), e);
                (Box::new(append(path).map_err(failed)?), Some((path.clone(), Arc::default())))
            }
        };
        Ok(Self { out: BufWriter::new(out), file, is_failing: false, level })
    }

    fn write(&mut self, line: &str) {
        let written = self.out.write_all(line.as_bytes());
        self.tell(written);
    }

    fn reopen_if_asked(&mut self) {
        if !self.file.as_ref().is_some_and(|(_, flag)| flag.swap(false, Ordering::Acquire)) {
            return;
        }
        self.flush();
        let Some((path, _)) = &self.file else { return };
        match append(path) {
            Ok(file) => {
                self.out = BufWriter::new(Box::new(file));
                if self.level >= Level::Info {
                    super::note(&format!("the access log {} is opened anew", path.display()));
                }
            }
            // The old file is better than none.
            Err(e) => super::note(&format!("cannot open the access log {} anew: {e}", path.display())),
        }
    }

    fn flush(&mut self) {
        let flushed = self.out.flush();
        self.tell(flushed);
    }

    /// A failure is told once, until it is over. What a pipe's reader does not want is nobody's loss.
    fn tell(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) => self.is_failing = false,
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe && !self.is_failing => {
                self.is_failing = true;
                super::note(&format!("lines of the access log are lost: {e}"));
            }
            Err(_) => {}
        }
    }
}

/// The group may read it: it names who asked for what.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o640);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// Waits to be let go on before it takes anything, then tells how much it took.
    struct Stalled {
        go: Receiver<()>,
        taken: Sender<usize>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Gone: let go for good.
            let _ = self.go.recv();
            let _ = self.taken.send(bytes.iter().filter(|b| **b == b'\n').count());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let (go, going) = sync_channel::<()>(0);
        let (taken, lines) = std::sync::mpsc::channel();
        let out = BufWriter::new(Box::new(Stalled { go: going, taken }) as Box<dyn Write + Send>);
        let log = Log::with(AccessLog { out, file: None, is_failing: false, level: Level::Info }).expect("a thread");
        // More than the buffer holds: the thread stalls with the first.
        log.access(&format!("{}\n", "x".repeat(100_000)));
        for _ in 0..LINES_MAX + 10 {
            log.access("line\n");
        }
        let dropped = log.dropped();
        // One more where the thread had not taken the first yet.
        assert!((10..=11).contains(&dropped), "{dropped}");
        drop(go);
        drop(log);
        assert_eq!(lines.iter().sum::<usize>(), LINES_MAX + 11 - dropped as usize);
    }
}

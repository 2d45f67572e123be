//! Lines that are written by a thread of their own: a reader that stalls, or a disk, must not stall the loop.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use super::config::{Level, Output};
use super::counted;
use crate::error::{Error, Kind, Result};

/// The access log, and what the program says on stderr. Lines that find the queue full, and those that cannot be written, are lost
/// and counted.
pub(super) struct Log {
    lines: Option<SyncSender<Line>>,
    /// Says that the thread has ended.
    ended: Receiver<()>,
    dropped: Cell<u64>,
    /// Lines of the access log that could not be written.
    lost: Arc<AtomicU64>,
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
/// Bytes that are written at once.
const WAITING_MAX: usize = 8192;

impl Log {
    /// Starts the thread. Fails where the file cannot be opened.
    pub(super) fn start(to: &Output, level: Level) -> Result<Self> {
        Self::with(AccessLog::open(to, level)?)
    }

    fn with(mut access: AccessLog) -> Result<Self> {
        let (lines, queue) = sync_channel(LINES_MAX);
        let (end, ended) = sync_channel(1);
        let reopen = access.file.as_ref().map(|(_, flag)| Arc::clone(flag));
        let lost = Arc::clone(&access.lost);
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
            access.end();
            let _ = end.send(());
        };
        let thread = thread::Builder::new().name("vansire-log".into()).spawn(write);
        thread.map_err(|e| Error::with_source(Kind::Io, "cannot start the log's thread", e))?;
        Ok(Self { lines: Some(lines), ended, dropped: Cell::new(0), lost, reopen })
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

    /// Lines that nobody took in time, or that could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.get() + self.lost.load(Ordering::Relaxed)
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
            let lines = counted(dropped, "line");
            self.note(format!("lost, as nobody took it in time: {lines} of the log"));
        }
        // The thread ends with the queue, once what waits is written. A reader that stalls does not keep us here.
        self.lines = None;
        let _ = self.ended.recv_timeout(Duration::from_secs(1));
    }
}

/// Where the lines of the access log go.
struct AccessLog {
    out: Box<dyn Write + Send>,
    /// Whole lines that are not written yet.
    waiting: Vec<u8>,
    /// The file, which is opened anew once the flag is up.
    file: Option<(PathBuf, Arc<AtomicBool>)>,
    /// Lines that could not be written, of all times.
    lost: Arc<AtomicU64>,
    failure: Option<Failure>,
    level: Level,
}

/// From the first line that cannot be written to the next that can.
struct Failure {
    /// Lines that were lost in its time.
    lines: u64,
    /// The last line was written in part.
    is_torn: bool,
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
        Ok(Self::of(out, file, level))
    }

    fn of(out: Box<dyn Write + Send>, file: Option<(PathBuf, Arc<AtomicBool>)>, level: Level) -> Self {
        Self { out, waiting: Vec::with_capacity(WAITING_MAX), file, lost: Arc::default(), failure: None, level }
    }

    fn write(&mut self, line: &str) {
        self.waiting.extend_from_slice(line.as_bytes());
        if self.waiting.len() >= WAITING_MAX {
            self.flush();
        }
    }

    fn reopen_if_asked(&mut self) {
        if !self.file.as_ref().is_some_and(|(_, flag)| flag.swap(false, Ordering::Acquire)) {
            return;
        }
        self.flush();
        let Some((path, _)) = &self.file else { return };
        match append(path) {
            Ok(file) => {
                self.out = Box::new(file);
                if let Some(failure) = &mut self.failure {
                    // It was of the other file.
                    failure.is_torn = false;
                }
                self.tell(Level::Info, format_args!("the access log {} is opened anew", path.display()));
            }
            // The old file is better than none.
            Err(e) => super::note(&format!("cannot open the access log {} anew: {e}", path.display())),
        }
    }

    /// Writes what waits. What cannot be written is lost and counted: told when it begins and when it is over.
    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let is_torn = self.failure.as_ref().is_some_and(|failure| failure.is_torn);
        let (written, result) = match is_torn.then(|| self.out.write_all(b"\n")) {
            Some(Err(e)) => (0, Err(e)),
            Some(Ok(())) | None => write_some(&mut self.out, &self.waiting),
        };
        let left = self.waiting.get(written..).unwrap_or_default();
        let lines = left.iter().filter(|byte| **byte == b'\n').count() as u64;
        let last = written.checked_sub(1).and_then(|last| self.waiting.get(last));
        let is_torn = last.map_or(is_torn, |byte| *byte != b'\n');
        self.waiting.clear();
        match result.and_then(|()| self.out.flush()) {
            Ok(()) => {
                if let Some(Failure { lines, .. }) = self.failure.take() {
                    let lines = counted(lines, "line");
                    self.tell(Level::Warn, format_args!("the access log is written again; lost meanwhile: {lines}"));
                }
            }
            // What a pipe's reader does not want is nobody's loss.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            Err(e) => {
                self.lost.fetch_add(lines, Ordering::Relaxed);
                if self.failure.is_none() {
                    self.tell(Level::Warn, format_args!("lines of the access log are lost: {e}"));
                }
                let failure = self.failure.get_or_insert(Failure { lines: 0, is_torn });
                (failure.lines, failure.is_torn) = (failure.lines + lines, is_torn);
            }
        }
    }

    /// It ends: what is lost until then was not told yet.
    fn end(&mut self) {
        self.flush();
        if let Some(Failure { lines, .. }) = self.failure.take() {
            let lines = counted(lines, "line");
            self.tell(Level::Warn, format_args!("the access log could not be written until the end; lost: {lines}"));
        }
    }

    fn tell(&self, level: Level, what: std::fmt::Arguments<'_>) {
        if self.level >= level {
            super::note(&what.to_string());
        }
    }
}

/// Writes all or fails; how much was written.
fn write_some(out: &mut dyn Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return (written, Err(e)),
        }
    }
    (written, Ok(()))
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
        let out = Box::new(Stalled { go: going, taken });
        let log = Log::with(AccessLog::of(out, None, Level::Info)).expect("a thread");
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

    /// A disk with so much room.
    #[derive(Clone, Default)]
    struct Disk(Arc<std::sync::Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (held, room) = &mut *self.0.lock().expect("no panic");
            let n = bytes.len().min(*room);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            held.extend_from_slice(&bytes[..n]);
            *room -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_costs_is_counted_and_no_line_is_glued_to_a_torn_one() {
        let disk = Disk::default();
        disk.0.lock().expect("no panic").1 = 7;
        let mut log = AccessLog::of(Box::new(disk.clone()), None, Level::Error);
        let mut write = |lines: &str| {
            lines.split_inclusive('\n').for_each(|line| log.write(line));
            log.flush();
            (log.lost.load(Ordering::Relaxed), log.failure.as_ref().map(|failure| failure.lines))
        };
        assert_eq!(write("one\n"), (0, None));
        // Of the first there is room for a part.
        assert_eq!(write("second\nthird\n"), (2, Some(2)));
        assert_eq!(write("fourth\n"), (3, Some(3)));
        disk.0.lock().expect("no panic").1 = 100;
        assert_eq!(write("fifth\n"), (3, None));
        assert_eq!(write("sixth\n"), (3, None));
        assert_eq!(disk.0.lock().expect("no panic").0, b"one\nsec\nfifth\nsixth\n");
    }
}

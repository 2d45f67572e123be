//! What the kernel says about the server under test: CPU time, resident memory, how often it went to sleep.
//!
//! All of it needs no privilege for a process of the same user. Every function adds up the processes given, so that a
//! master and its worker count as one server.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// CPU time, user and system, of all threads that are alive.
///
/// Read from `schedstat`, which counts nanoseconds, where `stat` counts ticks of 10 ms. The kernel brings the figure of
/// a running thread up to date once a tick (1 to 10 ms), which is the error of this measure. A thread that ends takes
/// its time along: none of the servers here ends threads under load.
pub fn cpu_time(pids: &[u32]) -> io::Result<Duration> {
    let nanos = sum_over_tasks(pids, "schedstat", |text| text.split_whitespace().next()?.parse().ok())?;
    Ok(Duration::from_nanos(nanos))
}

/// CPU time, user and system, that all programs and the kernel have spent on all cores, in steps of 10 ms.
pub fn machine_time() -> io::Result<Duration> {
    let path = "/proc/stat";
    busy_ticks(&read(path)?).map(|ticks| ticks * TICK).ok_or_else(|| unreadable(path))
}

/// The sum of user, nice, system, irq, softirq and steal: all but idle and iowait (proc_stat(5)).
fn busy_ticks(stat: &str) -> Option<u32> {
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u32> = ticks.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(ticks.iter().sum::<u32>() - ticks.get(3)? - ticks.get(4)?)
}

/// What `/proc` counts in, on every architecture that Rust runs on: `USER_HZ` is 100.
const TICK: Duration = Duration::from_millis(10);

/// How often threads gave up the CPU of their own accord: an event loop does so once for each time it is woken up.
pub fn voluntary_switches(pids: &[u32]) -> io::Result<u64> {
    sum_over_tasks(pids, "status", |text| field(text, "voluntary_ctxt_switches:"))
}

/// Resident memory in bytes.
///
/// Counted from the page tables (`smaps_rollup`): `VmRSS` lags by up to 32 pages per CPU since Linux 6.2, as much as
/// 26 bytes per connection over 10,000. Where the kernel has no `smaps_rollup`, `VmRSS` it is.
pub fn resident(pids: &[u32]) -> io::Result<u64> {
    let mut kib = 0;
    for pid in pids {
        let exact = read(format!("/proc/{pid}/smaps_rollup")).ok().and_then(|text| field(&text, "Rss:"));
        kib += match exact {
            Some(kib) => kib,
            None => {
                let path = format!("/proc/{pid}/status");
                field(&read(&path)?, "VmRSS:").ok_or_else(|| unreadable(&path))?
            }
        };
    }
    Ok(kib * 1024)
}

/// Resident memory in bytes, of which pages that others use as well count in proportion.
pub fn proportional(pids: &[u32]) -> io::Result<u64> {
    let of = |pid: &u32| {
        let path = format!("/proc/{pid}/smaps_rollup");
        field(&read(&path)?, "Pss:").ok_or_else(|| unreadable(&path))
    };
    let kib: u64 = pids.iter().map(of).sum::<io::Result<u64>>()?;
    Ok(kib * 1024)
}

/// Descriptors that are open.
pub fn descriptors(pids: &[u32]) -> io::Result<usize> {
    let mut open = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/fd");
        open += fs::read_dir(&path).map_err(|e| named(&path, e))?.count();
    }
    Ok(open)
}

fn sum_over_tasks(pids: &[u32], file: &str, parse: impl Fn(&str) -> Option<u64>) -> io::Result<u64> {
    let mut sum = 0;
    for pid in pids {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).map_err(|e| named(&tasks, e))? {
            let path = task?.path().join(file);
            match read(&path) {
                Ok(text) => sum += parse(&text).ok_or_else(|| unreadable(&path))?,
                // The thread ended since the directory was read: either name of that fact.
                Err(e) if e.kind() == io::ErrorKind::NotFound || e.raw_os_error() == Some(ESRCH) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(sum)
}

const ESRCH: i32 = 3;

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).map_err(|e| named(path, e))
}

/// Keeps the system's own error where its number matters, and names the file otherwise.
fn named(path: impl AsRef<Path>, e: io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(ESRCH) => e,
        _ => io::Error::new(e.kind(), format!("{}: {e}", path.as_ref().display())),
    }
}

fn unreadable(path: impl AsRef<Path>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: not in the expected form", path.as_ref().display()))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::{process, thread};

    use super::*;

    #[test]
    fn a_field_is_found_at_the_start_of_its_line_only() {
        let status = "nonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t12\nVmRSS:\t  340 kB\n";
        for (name, expected) in
            [("voluntary_ctxt_switches:", Some(12)), ("VmRSS:", Some(340)), ("RSS:", None), ("Threads:", None)]
        {
            assert_eq!(field(status, name), expected, "{name}");
        }
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_that_names_it() {
        let error = cpu_time(&[u32::MAX]).expect_err("no such process");
        assert!(error.to_string().contains(&u32::MAX.to_string()), "{error}");
    }

    #[test]
    fn memory_that_is_written_to_is_counted() {
        let own = [process::id()];
        let before = resident(&own).expect("the figure before");
        let pages = vec![1u8; 8 << 20];
        let after = resident(&own).expect("the figure after");
        assert!(after >= before + (7 << 20), "{before} -> {after} with {} bytes more", pages.len());
    }

    #[test]
    fn time_in_which_a_core_had_nothing_to_do_is_not_busy() {
        let rows = [
            ("cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 9\n", Some(63)),
            ("cpu0 1 2 4 1000 2000 8 16 32 64 128\n", None),
            ("", None),
        ];
        for (stat, expected) in rows {
            assert_eq!(busy_ticks(stat), expected, "{stat:?}");
        }
    }

    #[test]
    fn time_spent_is_counted() {
        let own = [process::id()];
        let before = cpu_time(&own).expect("CPU time");
        while cpu_time(&own).expect("CPU time") == before {}
    }

    #[test]
    fn waiting_for_another_thread_is_counted() {
        let own = [process::id()];
        let before = voluntary_switches(&own).expect("switches");
        let (ask, asked) = mpsc::channel::<()>();
        let (answer, answered) = mpsc::channel::<()>();
        let echo = thread::spawn(move || asked.into_iter().try_for_each(|()| answer.send(())));
        // Whether one exchange puts a thread to sleep is for the scheduler to say: one of many does.
        while voluntary_switches(&own).expect("switches") == before {
            ask.send(()).expect("a question");
            answered.recv().expect("an answer");
        }
        drop(ask);
        echo.join().expect("the thread").expect("its last answer");
    }
}

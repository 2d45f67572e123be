//! Starting and stopping again and again leaves nothing behind.

use crate::support::{addr, counter, hello, on_each_runtime, until};

/// This process's own, not to be disturbed by other tests: run in a process of its own.
fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_thousand_starts_leave_no_descriptor_no_thread_and_no_memory() {
    if !crate::common::process::alone("growth::a_thousand_starts_leave_no_descriptor_no_thread_and_no_memory") {
        return;
    }
    on_each_runtime(|| async {
        let cycle = async || {
            let manager = counter().start().await.unwrap();
            let server = manager.listen("http://127.0.0.1:0", hello).await.unwrap();
            assert_ne!(addr(&server).port(), 0);
            let report = manager.shutdown().await;
            assert!(!report.abandoned);
        };
        // A thread that has told of its end is still there for a moment, and holds what it was given.
        let threads = count("task");
        let quiet = || until("the threads' end", || count("task") <= threads);
        for _ in 0..50 {
            cycle().await;
        }
        quiet();
        let (fds, memory) = (count("fd"), resident());
        for _ in 0..1000 {
            cycle().await;
        }
        quiet();
        assert_eq!(count("fd"), fds, "descriptors");
        let grown = resident().saturating_sub(memory);
        assert!(grown < 2048, "{grown} KiB more after 1000 starts");
    });
}

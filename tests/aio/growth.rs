//! Starting and stopping again and again leaves nothing behind.

use vansire::aio::{HttpClient, MqttClient, Overflow};
use vansire::broker::{Broker, Options};
use vansire::http::Request;
use vansire::mqtt::{ClientOptions, Publish, QoS, Subscription};

use crate::support::{Launch, addr, counter, hello, in_each_way, until};

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
    in_each_way(|| async {
        let cycle = async || {
            let manager = counter().launch().await.unwrap();
            let server = manager.listen("http://127.0.0.1:0", hello).await.unwrap();
            let broker = manager.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())).await.unwrap();
            let client = MqttClient::connect(&manager, format!("mqtt://{}", addr(&broker)), ClientOptions::new());
            let client = client.await.unwrap();
            let all = Subscription::new("#", QoS::AtLeastOnce);
            let mut messages = client.subscribe(all, 10, Overflow::Pause).await.unwrap();
            client.publish(&Publish { qos: QoS::AtLeastOnce, ..Publish::new("a", "b") }).await.unwrap();
            assert_eq!(messages.next().await.unwrap().topic(), "a");
            let url = format!("http://{}/", addr(&server));
            assert_eq!(HttpClient::new(&manager).request(Request::get(url)).await.unwrap().status, 200);
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

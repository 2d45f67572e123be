//! The example `async_service` as a program: it answers while tasks work, over HTTP and MQTT, and Ctrl-C drains.
#![cfg(unix)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use common::{DEADLINE, client, get};
use vansire::AsyncManager;
use vansire::aio::{MqttClient, Overflow};
use vansire::mqtt::{ClientOptions, Publish, QoS, Subscription};

#[test]
fn jobs_are_done_over_http_and_mqtt_and_those_in_progress_are_answered_after_ctrl_c() {
    let path = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/async_service");
    let mut command = Command::new(&path);
    command.args(["--listen", "http://127.0.0.1:0", "--mqtt", "mqtt://127.0.0.1:0"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("{}: {e}; `cargo build --examples` makes it", path.display()));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    let addr: SocketAddr = line.strip_prefix("listening on http://").unwrap().parse().unwrap();
    let line = lines.next().unwrap().unwrap();
    let mqtt = line.strip_prefix("listening on ").unwrap().to_owned();
    assert_eq!(get(addr, "/jobs/first"), Some((200, "first is done\n".to_owned())));
    assert!(get(addr, "/ticks").is_some_and(|(status, text)| status == 200 && text.ends_with("ticks\n")));
    assert_eq!(get(addr, "/").map(|(status, _)| status), Some(404));
    let (runtime, own, mut done) = over_mqtt(mqtt);
    // One in progress, known to be: what was pipelined before it is answered.
    let mut stream = client(addr);
    stream.write_all(b"GET /ticks HTTP/1.1\r\nHost: a\r\n\r\nGET /jobs/last HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(get(addr, "/ticks").map(|(status, _)| status), Some(200));
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("last is done\n"), "{rest}");
    let report = lines.next().unwrap().unwrap();
    assert!(report.starts_with("stopped in") && report.ends_with(" connections finished, 0 cut off"), "{report}");
    assert!(child.wait().unwrap().success());
    // The broker said why it went.
    runtime.block_on(async {
        let end = tokio::time::timeout(DEADLINE, done.next()).await.expect("the end of the stream");
        assert!(end.is_none(), "{end:?}");
        assert!(done.error().is_some_and(|e| e.to_string().contains("Server shutting down")), "{:?}", done.error());
        own.shutdown().await;
    });
}

type Done = (tokio::runtime::Runtime, AsyncManager, vansire::aio::MqttMessages);

/// Has a job done, and keeps the stream of answers.
fn over_mqtt(url: String) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (own, done) = runtime.block_on(async {
        let work = async {
            let own = AsyncManager::builder(|| ()).start().await.unwrap();
            let client = MqttClient::connect(&own, url, ClientOptions::new()).await.unwrap();
            let ticks = Subscription::new("service/ticks", QoS::AtMostOnce);
            let mut ticks = client.subscribe(ticks, 1, Overflow::DropNewest).await.unwrap();
            assert!(ticks.next().await.unwrap().text().unwrap().parse::<u64>().unwrap() > 0);
            let done = Subscription::new("done/+", QoS::AtLeastOnce);
            let mut done = client.subscribe(done, 10, Overflow::Pause).await.unwrap();
            client.publish(&Publish { qos: QoS::AtLeastOnce, ..Publish::new("jobs/second", "") }).await.unwrap();
            let answer = done.next().await.unwrap();
            assert_eq!((answer.topic(), answer.text()), ("done/second", Some("second is done\n")));
            (own, done)
        };
        tokio::time::timeout(DEADLINE, work).await.expect("in time")
    });
    (runtime, own, done)
}

//! Cases J9 to J11, J14, J16, J17: the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::oneshot;
use vansire::aio::{AsyncBuilder, Conn, HttpClient, Incident, MqttClient, Shutdown};
use vansire::broker::{Broker, Options};
use vansire::mqtt::{ClientOptions, Publish, QoS, ReasonCode};
use vansire::{AsyncManager, Ctx, Event, http};

use crate::common::client;
use crate::support::{
    Blocker, Hand, Incidents, Launch, addr, block_on, counter, eventually, hello, in_each_way, ms, nothing,
    on_each_runtime, runtimes, until,
};

/// Small times, in the proportions of the default ones.
fn small() -> Shutdown {
    Shutdown::new().limit(ms(120)).retry(ms(50)).grace(ms(30))
}

/// A manager with a listener whose handler is blocked by a request.
async fn blocked(builder: AsyncBuilder<u64>) -> (AsyncManager<u64>, Conn, Blocker, TcpStream) {
    let (blocker, block) = Blocker::new();
    let manager = builder.launch().await.unwrap();
    let server = manager
        .listen("http://127.0.0.1:0", move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::HttpRequest(_) = ev {
                block();
                cx.reply(http::Response::text(200, "late"));
            }
        })
        .await
        .unwrap();
    let mut stream = client(addr(&server));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    blocker.wait_until_inside();
    (manager, server, blocker, stream)
}

#[test]
fn j9_and_j11_a_blocked_handler_is_named_then_abandoned_and_frees_everything_when_it_returns() {
    on_each_runtime(|| async {
        let incidents = Incidents::default();
        let (manager, server, blocker, _stream) =
            blocked(counter().shutdown(small()).on_incident(incidents.hook())).await;
        let to = addr(&server);
        let waiting = tokio::spawn({
            let handle = manager.handle();
            async move { handle.with(|cx| *cx.state).await }
        });
        // It has a place in the queue before the end begins.
        tokio::task::yield_now().await;
        let report = manager.shutdown().await;
        assert!(report.abandoned && report.elapsed >= ms(150), "{report:?}");
        assert_eq!((report.attempts, report.drained, report.aborted), (4, 0, 0));
        assert!(!manager.running());
        let all = incidents.all();
        let [Incident::StopDelayed { .. }, Incident::StopDelayed { running, .. }, Incident::Abandoned { .. }] =
            &all[..]
        else {
            panic!("{all:?}");
        };
        // Connection, listener, event, and for how long: in the warnings, the report, and what they are printed as.
        for (running, least) in [(running, ms(90)), (&report.running, ms(140))] {
            let running = running.as_ref().expect("a handler runs");
            assert_eq!(running.event, "HttpRequest");
            assert!(running.conn.is_some() && running.elapsed >= least, "{running:?}");
            assert_eq!(running.listener.as_deref(), Some("http://127.0.0.1:0"));
        }
        let conn = report.running.as_ref().and_then(|running| running.conn).unwrap();
        let who = format!("the handler of connection {conn} (listener http://127.0.0.1:0) in HttpRequest for ");
        for text in incidents.texts().into_iter().chain([report.to_string()]) {
            assert!(text.contains(&who), "{text}");
        }
        // Nothing is freed below a running handler.
        assert!(TcpStream::connect(to).is_ok());
        // J11: it returns, and its thread ends everything itself; whoever still waits is told.
        blocker.release();
        assert!(waiting.await.unwrap().is_ok_and(|n| n == 0) || !manager.running());
        until("the end of the listener", || TcpStream::connect(to).is_err());
        assert_eq!(manager.shutdown().await, report, "the report stays");
    });
}

#[test]
fn j10_a_handler_that_returns_in_time_ends_clean_and_without_a_warning() {
    on_each_runtime(|| async {
        let incidents = Incidents::default();
        let patient = Shutdown::new().retry(crate::common::DEADLINE);
        let (manager, _server, blocker, mut stream) =
            blocked(counter().shutdown(patient).on_incident(incidents.hook())).await;
        let mut shutdown = Hand::new(manager.shutdown());
        assert!(shutdown.poll().is_pending());
        blocker.release();
        let report = manager.shutdown().await;
        assert_eq!((report.attempts, report.abandoned, report.aborted), (1, false, 0), "{report:?}");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.ends_with("late"), "{reply}");
        assert!(incidents.all().is_empty(), "{:?}", incidents.texts());
    });
}

#[test]
fn j14_a_shutdown_nobody_waits_for_goes_on() {
    on_each_runtime(|| async {
        let (manager, server, blocker, _stream) = blocked(counter()).await;
        let to = addr(&server);
        let mut shutdown = Hand::new(manager.shutdown());
        assert!(shutdown.poll().is_pending());
        drop(shutdown);
        assert!(!manager.running());
        blocker.release();
        until("the end of the listener", || TcpStream::connect(to).is_err());
        assert!(!manager.handle().ended().await.abandoned);
    });
}

#[test]
fn j14_no_time_at_all_is_enough_for_a_healthy_thread() {
    in_each_way(|| async {
        let manager = counter().shutdown(Shutdown::new().limit(ms(0))).launch().await.unwrap();
        let server = manager.listen("http://127.0.0.1:0", hello).await.unwrap();
        let report = manager.shutdown().await;
        assert!(!report.abandoned && report.died.is_none(), "{report:?}");
        assert!(TcpStream::connect(addr(&server)).is_err());
    });
}

/// A listener whose handler defers its replies, the connection that asked, and who will answer.
async fn asked(manager: &AsyncManager<u64>) -> (Conn, TcpStream, http::ReplyId) {
    let (tell, told) = oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let server = manager
        .listen("http://127.0.0.1:0", move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::HttpRequest(_) = ev {
                let reply = cx.defer().unwrap();
                tell.lock().unwrap().take().unwrap().send(reply).unwrap();
            }
        })
        .await
        .unwrap();
    let mut stream = client(addr(&server));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    (server, stream, told.await.unwrap())
}

#[test]
fn j16_requests_in_progress_are_answered_while_nothing_new_is_accepted() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let (server, mut stream, reply) = asked(&manager).await;
        let to = addr(&server);
        let handle = manager.handle();
        let mut shutdown = Hand::new(manager.shutdown());
        assert!(shutdown.poll().is_pending());
        // Behind the shutdown in the queue: whoever connects from now on is not accepted, and not counted.
        handle.with(|_| ()).await.unwrap();
        eventually("the end of the listener", || TcpStream::connect(to).is_err()).await;
        let e = handle.listen("tcp://127.0.0.1:0", nothing).await.unwrap_err();
        assert!(e.is_stopped(), "{e}");
        // Closures still run while it drains: this is how the answer comes.
        handle.with(move |cx| cx.net.reply(reply, http::Response::text(200, "done"))).await.unwrap();
        let report = manager.shutdown().await;
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("done"), "{text}");
        assert_eq!((report.drained, report.aborted, report.abandoned), (1, 0, false));
    });
}

/// An HTTP client's request, a server's deferred reply, and a published message, all under way when the end begins.
#[test]
fn j16_http_and_mqtt_under_way_both_finish_and_clients_say_disconnect() {
    in_each_way(|| async {
        let far = counter().launch().await.unwrap();
        let (deferred, asked) = far_server(&far).await;
        let broker = far.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())).await.unwrap();
        let manager = counter().launch().await.unwrap();
        let (_server, mut stream, reply) = crate::shutdown::asked(&manager).await;
        let http = HttpClient::new(&manager);
        let request = http.request(http::Request::get(format!("http://{}/", addr(&deferred))));
        let mut request = Hand::new(request);
        assert!(request.poll().is_pending());
        let mqtt = MqttClient::connect(&manager, format!("mqtt://{}", addr(&broker)), ClientOptions::new());
        let mqtt = mqtt.await.unwrap();
        mqtt.opened().await.unwrap();
        // Both requests have been sent.
        let _ = request.poll();
        let far_reply = asked.await.unwrap();
        let hello = Publish { qos: QoS::ExactlyOnce, ..Publish::new("a", "b") };
        let mut publish = Hand::new(mqtt.publish(&hello));
        let mut early = publish.poll();
        manager.with(|_| ()).await.unwrap();
        // It has been sent by now, and may have been answered as well.
        if early.is_pending() {
            early = publish.poll();
        }
        let mut shutdown = Hand::new(manager.shutdown());
        assert!(shutdown.poll().is_pending());
        manager.handle().with(move |cx| cx.net.reply(reply, http::Response::text(200, "near"))).await.unwrap();
        far.with(move |cx| cx.net.reply(far_reply, http::Response::text(200, "far"))).await.unwrap();
        let report = manager.shutdown().await;
        assert_eq!((report.aborted, report.abandoned), (0, false), "{report:?}");
        assert!(report.drained >= 2, "{report:?}");
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.ends_with("near"), "{text}");
        let std::task::Poll::Ready(Ok(response)) = request.poll() else { panic!("no response") };
        assert_eq!(response.text(), Some("far"));
        let told = if early.is_ready() { early } else { publish.poll() };
        if let std::task::Poll::Ready(result) = told {
            assert_eq!(result.unwrap(), ReasonCode::Success);
        }
        // It has left in order.
        while far.with(|cx| cx.net.connection_count()).await.unwrap() > 2 {}
    });
}

/// A server whose reply is deferred, and what it will be asked.
async fn far_server(manager: &AsyncManager<u64>) -> (Conn, oneshot::Receiver<http::ReplyId>) {
    let (tell, told) = oneshot::channel();
    let tell = Mutex::new(Some(tell));
    let handler = move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
        if let Event::HttpRequest(_) = ev {
            let reply = cx.defer().unwrap();
            tell.lock().unwrap().take().unwrap().send(reply).unwrap();
        }
    };
    (manager.listen("http://127.0.0.1:0", handler).await.unwrap(), told)
}

#[test]
fn j16_what_does_not_finish_is_cut_off_at_the_limit_with_a_warning_that_blames_no_handler() {
    in_each_way(|| async {
        let incidents = Incidents::default();
        let patient = small().grace(crate::common::DEADLINE);
        let manager = counter().shutdown(patient).on_incident(incidents.hook()).launch().await.unwrap();
        let (_server, _stream, _) = asked(&manager).await;
        let report = manager.shutdown().await;
        assert_eq!((report.drained, report.aborted, report.abandoned), (0, 1, false), "{report:?}");
        let all = incidents.all();
        assert!(matches!(all[0], Incident::StopDelayed { running: None, .. }), "{all:?}");
    });
}

#[test]
fn j17_a_hundred_tasks_that_send_commands_at_the_end_all_get_an_answer() {
    in_each_way(|| async {
        // Few places, so that many wait for one.
        let manager = Arc::new(counter().commands(8).launch().await.unwrap());
        let server = manager.listen("http://127.0.0.1:0", hello).await.unwrap();
        let url = format!("http://{}/", addr(&server));
        let broker = manager.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())).await.unwrap();
        let mqtt = format!("mqtt://{}", addr(&broker));
        let mqtt = MqttClient::connect(&manager, mqtt, ClientOptions::new()).await.unwrap();
        let http = HttpClient::new(&manager);
        let tasks: Vec<_> = (0..100)
            .map(|i| {
                let (mqtt, http, url) = (mqtt.clone(), http.clone(), url.clone());
                let handle = manager.handle();
                tokio::spawn(async move {
                    let mut answers = 0u32;
                    loop {
                        let e = match i % 6 {
                            0 => handle.with(|cx| *cx.state += 1).await.err(),
                            1 => handle.timer_after(ms(1000), |_| {}).await.err(),
                            2 => handle.listen("tcp://127.0.0.1:0", nothing).await.err(),
                            3 => handle.submit(|cx| *cx.state += 1).await.err(),
                            4 => {
                                let hello = Publish { qos: QoS::AtLeastOnce, ..Publish::new("a", "b") };
                                mqtt.publish(&hello).await.err()
                            }
                            _ => http.request(http::Request::get(&url)).await.err(),
                        };
                        answers += 1;
                        match e {
                            None => tokio::task::yield_now().await,
                            Some(e) => {
                                // What had been sent may be lost in the end itself.
                                let is_client = i % 6 > 3;
                                assert!(e.is_stopped() || is_client && (e.is_gone() || e.is_connect()), "{i}: {e}");
                                return answers;
                            }
                        }
                    }
                })
            })
            .collect();
        while manager.with(|cx| *cx.state).await.unwrap() < 200 {}
        let report = manager.shutdown().await;
        assert!(!report.abandoned);
        for task in tasks {
            assert!(task.await.unwrap() > 0);
        }
    });
}

#[test]
fn run_ends_with_its_future_or_with_the_loop() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let (tell, told) = oneshot::channel::<()>();
        let mut run = Hand::new(manager.run(told));
        assert!(run.poll().is_pending() && manager.running());
        tell.send(()).unwrap();
        assert_eq!(run.wakes(), 1);
        assert!(manager.run(async {}).await.died.is_none());
        // A handler asks.
        let manager = counter().launch().await.unwrap();
        manager.submit(|cx| cx.net.stop()).await.unwrap();
        let report = manager.run(std::future::pending::<()>()).await;
        assert!(!report.abandoned && !manager.running());
    });
}

#[test]
fn the_runtime_may_go_first_and_the_manager_may_be_dropped_outside() {
    for (name, runtime) in runtimes() {
        let incidents = Incidents::default();
        let manager = runtime.block_on(counter().on_incident(incidents.hook()).start()).unwrap();
        let server = runtime.block_on(manager.listen("http://127.0.0.1:0", hello)).unwrap();
        let to = addr(&server);
        let handle = manager.handle();
        drop(runtime);
        // Handlers are served, threads get answers; only tasks have nowhere to run.
        assert_eq!(crate::common::get(to, "/"), Some((200, "hello".to_owned())), "{name}");
        assert_eq!(block_on(handle.with(|cx| *cx.state)).unwrap(), 1, "{name}");
        handle.schedule(async {});
        until("the report of the task", || !incidents.all().is_empty());
        assert!(incidents.texts()[0].contains("its runtime dropped it"), "{name}: {:?}", incidents.texts());
        drop(manager);
        until("the end of the listener", || TcpStream::connect(to).is_err());
        assert!(!block_on(handle.ended()).abandoned, "{name}");
    }
}

#[test]
fn dropping_it_inside_a_runtime_blocks_nothing() {
    on_each_runtime(|| async {
        let (manager, server, blocker, _stream) = blocked(counter()).await;
        let (to, start) = (addr(&server), Instant::now());
        let handle = manager.handle();
        drop(manager);
        assert!(start.elapsed() < ms(1000), "{:?}", start.elapsed());
        assert!(!handle.running());
        blocker.release();
        until("the end of the listener", || TcpStream::connect(to).is_err());
        assert!(!handle.ended().await.abandoned);
    });
}

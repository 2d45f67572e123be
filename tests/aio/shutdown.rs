//! Cases J9 to J11, J14, J16, J17: the end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::oneshot;
use vansire::aio::{AsyncBuilder, Conn, Incident, Shutdown};
use vansire::{AsyncManager, Ctx, Event, http};

use crate::common::client;
use crate::support::{
    Blocker, Hand, Incidents, addr, block_on, counter, hello, ms, nothing, on_each_runtime, runtimes, until,
};

/// Small times, in the proportions of the default ones.
fn small() -> Shutdown {
    Shutdown::new().limit(ms(120)).retry(ms(50)).grace(ms(30))
}

/// A manager with a listener whose handler is blocked by a request.
async fn blocked(builder: AsyncBuilder<u64>) -> (AsyncManager<u64>, Conn, Blocker, TcpStream) {
    let (blocker, block) = Blocker::new();
    let manager = builder.start().await.unwrap();
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
        let running = running.as_ref().expect("a handler runs");
        assert_eq!(running.event, "HttpRequest");
        assert!(running.conn.is_some() && running.elapsed >= ms(90), "{running:?}");
        assert_eq!(running.listener.as_deref(), Some("http://127.0.0.1:0"));
        assert!(
            incidents.texts()[2].contains("(listener http://127.0.0.1:0) in HttpRequest for 0."),
            "{:?}",
            incidents.texts()
        );
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
    on_each_runtime(|| async {
        let manager = counter().shutdown(Shutdown::new().limit(ms(0))).start().await.unwrap();
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
    on_each_runtime(|| async {
        let manager = counter().start().await.unwrap();
        let (server, mut stream, reply) = asked(&manager).await;
        let to = addr(&server);
        let handle = manager.handle();
        let mut shutdown = Hand::new(manager.shutdown());
        assert!(shutdown.poll().is_pending());
        until("the end of the listener", || TcpStream::connect(to).is_err());
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

#[test]
fn j16_what_does_not_finish_is_cut_off_at_the_limit_with_a_warning_that_blames_no_handler() {
    on_each_runtime(|| async {
        let incidents = Incidents::default();
        let patient = small().grace(crate::common::DEADLINE);
        let manager = counter().shutdown(patient).on_incident(incidents.hook()).start().await.unwrap();
        let (_server, _stream, _) = asked(&manager).await;
        let report = manager.shutdown().await;
        assert_eq!((report.drained, report.aborted, report.abandoned), (0, 1, false), "{report:?}");
        let all = incidents.all();
        assert!(matches!(all[0], Incident::StopDelayed { running: None, .. }), "{all:?}");
    });
}

#[test]
fn j17_a_hundred_tasks_that_send_commands_at_the_end_all_get_an_answer() {
    on_each_runtime(|| async {
        // Few places, so that many wait for one.
        let manager = Arc::new(counter().commands(8).start().await.unwrap());
        let tasks: Vec<_> = (0..100)
            .map(|i| {
                let handle = manager.handle();
                tokio::spawn(async move {
                    let mut answers = 0u32;
                    loop {
                        let e = match i % 4 {
                            0 => handle.with(|cx| *cx.state += 1).await.err(),
                            1 => handle.timer_after(ms(1000), |_| {}).await.err(),
                            2 => handle.listen("tcp://127.0.0.1:0", nothing).await.err(),
                            _ => handle.submit(|cx| *cx.state += 1).await.err(),
                        };
                        answers += 1;
                        match e {
                            None => tokio::task::yield_now().await,
                            Some(e) => {
                                assert!(e.is_stopped(), "{e}");
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
    on_each_runtime(|| async {
        let manager = counter().start().await.unwrap();
        let (tell, told) = oneshot::channel::<()>();
        let mut run = Hand::new(manager.run(told));
        assert!(run.poll().is_pending() && manager.running());
        tell.send(()).unwrap();
        assert_eq!(run.wakes(), 1);
        assert!(manager.run(async {}).await.died.is_none());
        // A handler asks.
        let manager = counter().start().await.unwrap();
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

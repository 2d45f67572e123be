//! Cases J1 to J8, J12, J13: everyday use.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use vansire::aio::{Handle, HttpClient, Incident, MqttClient, Overflow, SntpClient};
use vansire::broker::{Broker, Options};
use vansire::http::Request;
use vansire::mqtt::ClientOptions;
use vansire::{AsyncManager, Ctx, Event, Limits};

use crate::common::{DEADLINE, get};
use crate::support::{Incidents, Launch, addr, block_on, counter, eventually, hello, in_each_way, ms, nothing};

#[test]
fn j1_it_runs_between_start_and_shutdown_three_times() {
    in_each_way(|| async {
        for _ in 0..3 {
            let manager = counter().launch().await.unwrap();
            assert!(manager.running());
            assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 0);
            let report = manager.shutdown().await;
            assert!(!manager.running());
            assert_eq!((report.attempts, report.aborted, report.abandoned, report.died), (1, 0, false, None));
        }
    });
}

#[test]
fn j2_http_is_served_while_the_async_side_awaits() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let server = manager.listen("http://127.0.0.1:0", hello).await.unwrap();
        let to = addr(&server);
        let (tell, told) = oneshot::channel();
        let client = std::thread::spawn(move || tell.send(get(to, "/")).unwrap());
        // The runtime goes on meanwhile.
        let ticking = tokio::spawn(async {
            tokio::task::yield_now().await;
            true
        });
        assert_eq!(told.await.unwrap(), Some((200, "hello".to_owned())));
        assert!(ticking.await.unwrap());
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 1);
        client.join().unwrap();
    });
}

#[test]
fn j3_a_handler_schedules_tasks_and_closures_each_once_and_failures_are_told() {
    in_each_way(|| async {
        let incidents = Incidents::default();
        let manager = counter().on_incident(incidents.hook()).launch().await.unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let handle = manager.handle();
        let listener = manager
            .listen("tcp://127.0.0.1:0", move |_: &mut Ctx<'_, u64>, ev: Event<'_>| {
                if let Event::Wakeup(_) = ev {
                    let (a, b) = (tell.clone(), tell.clone());
                    handle.schedule(async move { a.send("task").map_err(|_| "nobody listens") });
                    handle.schedule_fn(move || b.send("closure").map_err(|_| "nobody listens"));
                    handle.schedule(async { Err::<(), _>("it could not") });
                    handle.schedule_fn(|| -> () { panic!("it fell") });
                }
            })
            .await
            .unwrap();
        listener.wakeup(b"").unwrap();
        let mut got = [told.recv().await.unwrap(), told.recv().await.unwrap()];
        got.sort_unstable();
        assert_eq!(got, ["closure", "task"]);
        while incidents.all().len() < 2 {
            tokio::task::yield_now().await;
        }
        let mut failures = incidents.texts();
        failures.sort();
        let expected = ["a scheduled task failed: it could not", "a scheduled task failed: it panicked: it fell"];
        assert_eq!(failures, expected);
        assert!(told.try_recv().is_err(), "each ran once");
    });
}

#[test]
fn j4_a_wakeup_reaches_a_listener_which_answers_by_a_task() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let handle = manager.handle();
        let listener = manager
            .listen("tcp://127.0.0.1:0", move |_: &mut Ctx<'_, u64>, ev: Event<'_>| {
                if let Event::Wakeup(bytes) = ev {
                    let (tell, bytes) = (tell.clone(), bytes.to_vec());
                    handle.schedule(async move { tell.send(bytes).map_err(|_| "nobody listens") });
                }
            })
            .await
            .unwrap();
        manager.wakeup(listener.id(), b"ping").unwrap();
        assert_eq!(told.recv().await.unwrap(), b"ping");
        let large = crate::common::pattern(1_000_000);
        manager.wakeup(listener.id(), &large).unwrap();
        assert!(told.recv().await.unwrap() == large);
        let id = listener.id();
        drop(listener);
        // The close has its turn before this.
        manager.with(|_| ()).await.unwrap();
        while manager.with(move |cx| cx.net.is_open(id)).await.unwrap() {}
        assert!(manager.with(|cx| cx.net.connection_count()).await.unwrap() <= 1);
    });
}

#[test]
fn j5_after_the_end_every_call_says_so() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let listener = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap();
        let handle = manager.handle();
        manager.shutdown().await;
        for handle in [&handle, &*manager] {
            assert!(!handle.running());
            let (to, options) = ("mqtt://127.0.0.1:9", ClientOptions::new());
            let results = [
                ("with", handle.with(|_| ()).await.err()),
                ("submit", handle.submit(|_| ()).await.err()),
                ("post", handle.post(|_| ()).err()),
                ("listen", handle.listen("tcp://127.0.0.1:0", nothing).await.err()),
                ("connect", handle.connect("tcp://127.0.0.1:9", nothing).await.err()),
                ("http_connect", handle.http_connect("http://127.0.0.1:9", nothing).await.err()),
                ("mqtt_connect", handle.mqtt_connect(to, options.clone(), nothing).await.err()),
                ("mqtt_listen", handle.mqtt_listen("mqtt://127.0.0.1:0", |_| unreachable!()).await.err()),
                ("sntp_connect", handle.sntp_connect("sntp://127.0.0.1:9", nothing).await.err()),
                ("events", handle.events(listener.id(), 1, Overflow::Pause).await.err()),
                ("HttpClient", HttpClient::new(handle).request(Request::get("http://127.0.0.1:9/")).await.err()),
                ("MqttClient", MqttClient::connect(handle, to, options.clone()).await.err()),
                ("SntpClient", SntpClient::new(handle, "sntp://127.0.0.1:9").query().await.err()),
                ("timer_after", handle.timer_after(ms(1), |_| {}).await.err()),
                ("timer_every", handle.timer_every(ms(1), |_| {}).await.err()),
                ("wakeup", handle.wakeup(listener.id(), b"").err()),
                ("close", handle.close(listener.id()).err()),
                ("stats", handle.stats().await.err()),
            ];
            for (name, e) in results {
                assert!(e.as_ref().is_some_and(vansire::Error::is_stopped), "{name}: {e:?}");
            }
            // Tasks belong to the runtime, which is still there.
            handle.schedule(async {});
        }
        assert_eq!(manager.shutdown().await, handle.ended().await, "a second call tells the same");
    });
}

#[test]
fn j6_a_handler_sets_timers_listens_and_connects() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let handle = manager.handle();
        let listener = manager
            .listen("tcp://127.0.0.1:0", move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
                let tell = tell.clone();
                match ev {
                    Event::Wakeup(_) => {
                        let id = cx.net.listen("tcp://127.0.0.1:0", nothing).unwrap();
                        let to = cx.net.local_addr(id).unwrap();
                        cx.net.connect(format!("tcp://{to}"), nothing).unwrap();
                        cx.timer_after(ms(1), move |_| tell.send("timer").unwrap());
                        // Also by the handle, which queues it.
                        handle.post(|cx| *cx.state += 1).unwrap();
                    }
                    Event::Closed(_) => tell.send("closed").unwrap_or(()),
                    _ => {}
                }
            })
            .await
            .unwrap();
        listener.wakeup(b"").unwrap();
        assert_eq!(told.recv().await, Some("timer"));
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 1);
    });
}

#[test]
fn j7_a_long_poll_interval_delays_nothing_and_an_idle_loop_has_no_turns() {
    for listeners in [0, 1] {
        block_on(async {
            let turns = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&turns);
            let hook = move |_: &mut u64, _: &mut vansire::Net<'_, u64>| _ = counted.fetch_add(1, Ordering::Relaxed);
            let manager = counter().on_turn(ms(5000), hook).launch().await.unwrap();
            let mut guards = Vec::new();
            for _ in 0..listeners {
                guards.push(manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap());
            }
            let start = Instant::now();
            manager.with(|_| ()).await.unwrap();
            manager.shutdown().await;
            assert!(start.elapsed() < ms(1000), "{listeners} listeners: {:?}", start.elapsed());
            assert!(turns.load(Ordering::Relaxed) > 0);
        });
    }
    // Without a hook nothing wakes it. Its turns are those of the two questions themselves.
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let before = manager.stats().await.unwrap().turns;
        tokio::time::sleep(ms(300)).await;
        let after = manager.stats().await.unwrap().turns;
        assert!(after - before <= 2, "{} turns in 0.3 s of idleness", after - before);
    });
}

#[test]
fn j8_calls_are_answered_soon_under_load() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let server = manager.listen("http://127.0.0.1:0", hello).await.unwrap();
        let (to, over) = (addr(&server), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&over);
        let load = std::thread::spawn(move || {
            let mut requests = 0u32;
            while !seen.load(Ordering::Relaxed) {
                requests += u32::from(get(to, "/").is_some());
            }
            requests
        });
        let mut times = Vec::new();
        for _ in 0..100 {
            let start = Instant::now();
            let _listener = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap();
            let _timer = manager.timer_after(DEADLINE, |_| {}).await.unwrap();
            times.push(start.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        // The last request may need the loop still.
        let requests = tokio::task::spawn_blocking(|| load.join().unwrap()).await.unwrap();
        times.sort();
        assert!(times[50] < ms(10), "half of the calls took {:?} or more, beside {requests} requests", times[50]);
    });
}

#[test]
fn j12_connecting_gives_an_id_without_a_server_and_the_handler_is_told_the_end() {
    in_each_way(|| async {
        let manager = counter().launch().await.unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        // A port that was free a moment ago.
        let free = addr(&manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap());
        eventually("the end of the listener", || std::net::TcpStream::connect(free).is_err()).await;
        for scheme in ["tcp", "http", "mqtt"] {
            let tell = tell.clone();
            let handler = move |_: &mut Ctx<'_, u64>, ev: Event<'_>| {
                if let Event::Closed(reason) = ev {
                    tell.send(reason.to_string()).unwrap();
                }
            };
            let url = format!("{scheme}://{free}");
            let conn = match scheme {
                "tcp" => manager.connect(url, handler).await.unwrap(),
                "mqtt" => manager.mqtt_connect(url, ClientOptions::new(), handler).await.unwrap(),
                _ => manager.http_connect(url, handler).await.unwrap(),
            };
            assert!(told.recv().await.unwrap().contains("connect"), "{scheme}: {conn:?}");
        }
        // Silence is not to be told from absence, over UDP.
        let time = manager.sntp_connect(format!("sntp://{free}"), nothing).await.unwrap();
        let broker = manager.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())).await.unwrap();
        assert!(time.id() != broker.id() && addr(&broker).port() > 0);
        let e = manager.mqtt_listen("http://127.0.0.1:0", |_| Broker::new(Options::new())).await.unwrap_err();
        assert!(e.is_bad_url(), "{e}");
        let e = manager.connect("no such thing", nothing).await.unwrap_err();
        assert!(e.is_bad_url(), "{e}");
    });
}

/// J13: a builder starts once, which the compiler sees to; two managers beside each other share nothing.
#[test]
fn j13_two_managers_in_one_process() {
    in_each_way(|| async {
        let (a, b) = (counter().launch().await.unwrap(), counter().launch().await.unwrap());
        a.with(|cx| *cx.state = 5).await.unwrap();
        assert_eq!(b.with(|cx| *cx.state).await.unwrap(), 0);
        a.shutdown().await;
        assert!(!a.running() && b.running());
        assert_eq!(b.with(|cx| *cx.state).await.unwrap(), 0);
    });
}

#[test]
fn the_state_is_made_on_the_loop_s_thread_and_need_not_be_send() {
    block_on(async {
        let manager = AsyncManager::builder(|| Rc::new(Cell::new(1)))
            .setup(|cx, handle: &Handle<Rc<Cell<i32>>>| {
                // Nor need what the setup makes.
                let shared = Rc::clone(cx.state);
                cx.net.timer_after(ms(0), move |_| shared.set(shared.get() + 1));
                assert!(handle.running());
                Ok(())
            })
            .start()
            .await
            .unwrap();
        while manager.with(|cx| cx.state.get()).await.unwrap() != 2 {}
        let name = manager.with(|_| std::thread::current().name().map(str::to_owned)).await.unwrap();
        assert_eq!(name.as_deref(), Some("vansire"));
    });
}

#[test]
fn what_fails_at_the_start_is_told_and_leaves_nothing() {
    let e = block_on(counter().setup(|cx, _| cx.net.listen("tcp://127.0.0.1:x", nothing).map(drop)).start());
    assert!(e.unwrap_err().is_bad_url());
    let e = block_on(counter().setup(|_, _| panic!("no")).start()).unwrap_err();
    assert!(e.is_panicked() && e.to_string().contains("no"), "{e}");
    let e = block_on(AsyncManager::<u64>::builder(|| panic!("never")).start()).unwrap_err();
    assert!(e.is_panicked() && e.to_string().contains("never"), "{e}");
    // Without a runtime there is nothing to schedule on.
    let mut start = crate::support::Hand::new(counter().start());
    let std::task::Poll::Ready(Err(e)) = start.poll() else { panic!("it started") };
    assert!(e.is_unsupported(), "{e}");
}

#[test]
fn a_closure_that_panics_is_an_error_and_the_loop_goes_on() {
    in_each_way(|| async {
        let incidents = Incidents::default();
        let manager = counter().on_incident(incidents.hook()).launch().await.unwrap();
        let e = manager.with(|_| -> u8 { panic!("oh") }).await.unwrap_err();
        assert!(e.is_panicked() && e.to_string().contains("oh"), "{e}");
        manager.submit(|_| panic!("again")).await.unwrap();
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 0);
        assert_eq!(manager.stats().await.unwrap().handler_panics, 2);
        let all = incidents.all();
        assert!(matches!(&all[..], [Incident::HandlerPanicked { .. }, Incident::HandlerPanicked { .. }]), "{all:?}");
    });
}

#[test]
fn guards_close_and_cancel_unless_detached() {
    in_each_way(|| async {
        let manager = counter().limits(Limits::new()).launch().await.unwrap();
        let kept = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap().detach();
        let dropped = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap().id();
        let (tell, mut told) = mpsc::unbounded_channel();
        let also = tell.clone();
        manager.timer_after(ms(20), move |_| also.send("detached").unwrap()).await.unwrap().detach();
        let cancelled = manager.timer_after(ms(0), move |cx| {
            // Due in the turn after the one that made it, which may be before the guard is dropped.
            let _ = (&tell, &cx);
        });
        let cancelled = cancelled.await.unwrap().id();
        let open = manager.with(move |cx| (cx.net.is_open(kept), cx.net.is_open(dropped), cx.net.is_active(cancelled)));
        assert_eq!(open.await.unwrap(), (true, false, false));
        assert_eq!(told.recv().await, Some("detached"));
    });
}

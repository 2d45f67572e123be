//! Many at once, and the world going down around them: what a program on tokio does to its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::Poll;

use tokio::task::JoinSet;
use vansire::Limits;
use vansire::aio::{HttpClient, MqttClient, Overflow};
use vansire::broker::{Broker, Options};
use vansire::http::Request;
use vansire::mqtt::{ClientOptions, Failure, Publish, QoS, ReasonCode};

use crate::mqtt_peer::{Server, broker, play, q1, soon, sub};
use crate::support::{Hand, addr, block_on, counter, hello, on_each_runtime, runtimes, until};

/// Ten times as many as may be queued.
#[test]
fn ten_thousand_publish_at_once_and_each_gets_its_acknowledgement() {
    on_each_runtime(|| async {
        let (manager, _listener, url) = broker().await;
        let own = counter().start().await.unwrap();
        let client = MqttClient::connect(&own, url, ClientOptions::new()).await.unwrap();
        let mut tasks = JoinSet::new();
        for n in 0..10_000u32 {
            let client = client.clone();
            tasks.spawn(async move {
                let text = n.to_string();
                client.publish(&q1("crowd", &text)).await.unwrap()
            });
        }
        while let Some(result) = tasks.join_next().await {
            assert_eq!(result.unwrap(), ReasonCode::NoMatchingSubscribers);
        }
        let stats = own.stats().await.unwrap();
        assert!(stats.mqtt_queues_full > 0, "nobody had to wait");
        assert_eq!((stats.mqtt_messages_out, stats.mqtt_failures), (10_000, 0));
        drop(manager);
    });
}

/// The server lets nobody in for the time being. What has no room then has been published by nobody when its future is gone.
#[test]
fn who_waits_for_room_is_served_in_order_and_who_gives_up_leaves_nothing() {
    block_on(async {
        let (open, opened) = channel();
        let (url, server) = play(move |listener| {
            opened.recv().unwrap();
            let mut server = Server::accept(&listener, false);
            for topic in ["1", "2", "3", "4"] {
                let id = server.take(topic);
                server.ack(id);
            }
            server.left();
        });
        let own = counter().limits(Limits::new().mqtt_queued_max(2)).start().await.unwrap();
        let client = MqttClient::connect(&own, url, ClientOptions::new()).await.unwrap();
        let messages = ["1", "2", "3", "4", "never"].map(|topic| q1(topic, ""));
        let mut hands = Vec::new();
        for message in &messages {
            let mut hand = Hand::new(client.publish(message));
            assert!(hand.poll().is_pending());
            // Its turn comes before that of the next one.
            own.with(|_| ()).await.unwrap();
            assert!(hand.poll().is_pending());
            hands.push(hand);
        }
        drop(hands.pop());
        for _ in 0..1000 {
            let mut hand = Hand::new(client.publish(&messages[4]));
            assert!(hand.poll().is_pending());
            own.with(|_| ()).await.unwrap();
            assert!(hand.poll().is_pending());
        }
        let id = client.id();
        assert_eq!(own.with(move |cx| cx.net.mqtt_backlog(id)).await.unwrap(), Some((2, 0)));
        open.send(()).unwrap();
        for (n, hand) in hands.into_iter().enumerate() {
            assert_eq!(hand.await.unwrap(), ReasonCode::Success, "{n}");
        }
        client.disconnect().await.unwrap();
        server.join().unwrap();
    });
}

#[test]
fn a_message_that_never_has_room_is_an_error_at_once_or_when_the_others_have_gone() {
    block_on(async {
        let (_manager, _listener, url) = broker().await;
        let limits = Limits::new().mqtt_queued_bytes_max(100).mqtt_inflight_max(1);
        let own = counter().limits(limits).start().await.unwrap();
        let client = MqttClient::connect(&own, url, ClientOptions::new()).await.unwrap();
        let long = "x".repeat(200);
        let (short, long) = (q1("a", ""), q1("a", &long));
        // Before there is a connection, everything waits.
        let mut first = Hand::new(client.publish(&short));
        let looked = first.poll();
        let e = client.publish(&long).await.unwrap_err();
        assert!(e.is_limit_reached(), "{e}");
        // A loop that had the processor meanwhile may have been answered already.
        let answer = match looked {
            Poll::Ready(answer) => answer,
            Poll::Pending => first.await,
        };
        assert_eq!(answer.unwrap(), ReasonCode::NoMatchingSubscribers);
    });
}

#[test]
fn when_the_server_dies_in_the_midst_each_of_many_is_told_what_became_of_its_message() {
    on_each_runtime(|| async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            let id = server.take("crowd");
            server.ack(id);
            server.take("crowd");
        });
        let own = counter().limits(Limits::new().mqtt_queued_max(10)).start().await.unwrap();
        let client = MqttClient::connect(&own, url, ClientOptions::new()).await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..500 {
            let client = client.clone();
            tasks.spawn(async move { client.publish(&q1("crowd", "")).await });
        }
        let (mut unanswered, mut others) = (0, 0);
        while let Some(result) = tasks.join_next().await {
            match result.unwrap() {
                Ok(reason) => assert_eq!(reason, ReasonCode::Success),
                Err(e) if e.cause::<Failure>() == Some(&Failure::Unanswered) => unanswered += 1,
                Err(e) => {
                    assert!(e.is_gone(), "{e}");
                    others += 1;
                }
            }
        }
        assert!((1..=20).contains(&unanswered), "{unanswered} were under way");
        assert!(others >= 400, "{others} had not been sent");
        server.join().unwrap();
        assert!(client.publish(&q1("crowd", "")).await.unwrap_err().is_gone());
        while own.with(|cx| cx.net.connection_count()).await.unwrap() > 0 {}
    });
}

#[test]
fn when_the_server_comes_back_each_of_many_gets_its_acknowledgement() {
    on_each_runtime(|| async {
        let (url, server) = play(|listener| {
            // It dies again and again, each time with some of them acknowledged. An acknowledgement may die with it, so that nobody can
            // say how many are left.
            for _ in 0..6 {
                let mut server = Server::accept(&listener, true);
                for _ in 0..30 {
                    let id = server.take("crowd");
                    server.ack(id);
                }
                server.take("crowd");
            }
            let mut server = Server::accept(&listener, true);
            while let Some(id) = server.take_or_left("crowd") {
                server.ack(id);
            }
        });
        let own = counter().limits(Limits::new().mqtt_queued_max(10)).start().await.unwrap();
        let options = ClientOptions::new().client_id("c").session_expiry(crate::support::ms(60_000)).reconnect(soon());
        let client = MqttClient::connect(&own, url, options.clean_start(false)).await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..200 {
            let client = client.clone();
            tasks.spawn(async move { client.publish(&q1("crowd", "")).await.unwrap() });
        }
        while let Some(result) = tasks.join_next().await {
            assert_eq!(result.unwrap(), ReasonCode::Success);
        }
        client.disconnect().await.unwrap();
        server.join().unwrap();
    });
}

#[test]
fn a_select_loop_loses_no_message_and_no_event() {
    on_each_runtime(|| async {
        // No more than the broker keeps for a client that is slow.
        const N: u32 = 900;
        let (_manager, _listener, url) = broker().await;
        let own = counter().start().await.unwrap();
        let client = MqttClient::connect(&own, &url, ClientOptions::new()).await.unwrap();
        let mut stream = client.subscribe(sub("n"), 7, Overflow::Pause).await.unwrap();
        let publisher = MqttClient::connect(&own, &url, ClientOptions::new()).await.unwrap();
        let publishing = tokio::spawn(async move {
            for n in 0..N {
                let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][n as usize % 2];
                let text = n.to_string();
                publisher.publish(&Publish { qos, ..Publish::new("n", &text) }).await.unwrap();
            }
        });
        let (mut next, mut others) = (0, 0u64);
        while next < N {
            tokio::select! {
                biased;
                () = tokio::task::yield_now(), if others % 2 == 0 => others += 1,
                message = stream.next() => {
                    assert_eq!(message.unwrap().text(), Some(&*next.to_string()));
                    next += 1;
                }
                () = tokio::task::yield_now() => others += 1,
            }
        }
        publishing.await.unwrap();
        assert!(others > 0);
    });
}

/// Its stream is full the whole time, and holds up no acknowledgement.
#[test]
fn a_task_that_answers_each_message_before_it_takes_the_next_does_not_wait_for_itself() {
    on_each_runtime(|| async {
        let (_manager, _listener, url) = broker().await;
        let own = counter().start().await.unwrap();
        let client = MqttClient::connect(&own, &url, ClientOptions::new()).await.unwrap();
        let mut asked = client.subscribe(sub("asked/+"), 1, Overflow::Pause).await.unwrap();
        let other = MqttClient::connect(&own, &url, ClientOptions::new()).await.unwrap();
        for n in 0..100 {
            let topic = format!("asked/{n}");
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][n % 2];
            other.publish(&Publish { qos, ..Publish::new(&topic, "") }).await.unwrap();
        }
        for n in 0..100 {
            let message = asked.next().await.unwrap();
            assert_eq!(message.topic(), format!("asked/{n}"));
            client.publish(&q1("answered", "")).await.unwrap();
        }
    });
}

/// Its tasks are dropped wherever they are; the loop is still there, and holds nothing of theirs.
#[test]
fn a_runtime_that_goes_in_the_midst_leaves_no_connection() {
    for (name, runtime) in runtimes() {
        let far = runtime.block_on(counter().start()).unwrap();
        let (manager, base) = runtime.block_on(async {
            let manager = counter().commands(20).start().await.unwrap();
            let http = manager.listen("http://127.0.0.1:0", hello).await.unwrap();
            let mqtt = manager.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())).await.unwrap();
            let (http_url, mqtt_url) = (format!("http://{}/", addr(&http)), format!("mqtt://{}", addr(&mqtt)));
            let done = Arc::new(AtomicUsize::new(0));
            for _ in 0..50 {
                let (handle, url, count) = (manager.handle(), http_url.clone(), Arc::clone(&done));
                tokio::spawn(async move {
                    let client = HttpClient::new(&handle);
                    loop {
                        client.request(Request::get(&url)).await.unwrap();
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let (handle, url, count) = (manager.handle(), mqtt_url.clone(), Arc::clone(&done));
                tokio::spawn(async move {
                    loop {
                        let client = MqttClient::connect(&handle, &url, ClientOptions::new()).await.unwrap();
                        let mut stream = client.subscribe(sub("a"), 1000, Overflow::DropNewest).await.unwrap();
                        for _ in 0..3 {
                            client.publish(&Publish::new("a", "")).await.unwrap();
                            stream.next().await.unwrap();
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while done.load(Ordering::Relaxed) < 300 {
                tokio::task::yield_now().await;
            }
            (manager, [http.detach(), mqtt.detach()].len())
        });
        drop(runtime);
        let handle = manager.handle();
        let left = || block_on(handle.with(|cx| cx.net.connection_count())).unwrap();
        until("the end of the connections", || left() == base);
        assert_eq!(block_on(handle.stats()).unwrap().handler_panics, 0, "{name}");
        drop((manager, far));
        assert!(!block_on(handle.ended()).abandoned, "{name}");
    }
}

//! `MqttClient`: with a broker in another manager, and with servers that are played packet by packet.

use std::io::{Read, Write};
use std::net::TcpStream;

use vansire::CloseReason;
use vansire::aio::{MqttClient, MqttState, Overflow};
use vansire::mqtt::{
    Ack, Acks, ClientOptions, Failure, Packet, PacketId, Property, PropertyBuf, Publish, QoS, ReasonCode, SubAck,
    UnsubAck, Version,
};

use crate::common::patient;
use crate::mqtt_peer::{Server, broker, connected, leave, play, q1, soon, sub};
use crate::support::{Blocker, Hand, Launch, block_on, counter, in_each_way, ms, nothing, on_each_runtime, until};

#[test]
fn publishing_ends_with_the_reason_of_the_acknowledgement() {
    in_each_way(|| async {
        let (_manager, _listener, url) = broker().await;
        let (_own, client) = connected(url, ClientOptions::new()).await;
        for (qos, expected) in [
            (QoS::AtMostOnce, ReasonCode::Success),
            (QoS::AtLeastOnce, ReasonCode::NoMatchingSubscribers),
            // PUBCOMP has no words for it.
            (QoS::ExactlyOnce, ReasonCode::Success),
        ] {
            let reason = client.publish(&Publish { qos, ..Publish::new("a/b", "x") }).await.unwrap();
            assert_eq!(reason, expected, "{qos:?}");
        }
        let _all = client.subscribe(sub("#"), 10, Overflow::Pause).await.unwrap();
        assert_eq!(client.publish(&q1("a/b", "x")).await.unwrap(), ReasonCode::Success);
        let e = client.publish(&q1("a/#", "x")).await.unwrap_err();
        assert!(e.is_bad_value(), "{e}");
        let e = client.publish(&Publish { dup: true, ..q1("a", "x") }).await.unwrap_err();
        assert!(e.is_bad_value(), "{e}");
    });
}

#[test]
fn messages_come_to_every_stream_that_they_match_whole_and_in_order() {
    in_each_way(|| async {
        let (_manager, _listener, url) = broker().await;
        let (_own, client) = connected(&url, ClientOptions::new()).await;
        client.publish(&Publish { retain: true, ..q1("plant/1/temp", "kept") }).await.unwrap();
        let mut temps = client.subscribe(sub("plant/+/temp"), 100, Overflow::Pause).await.unwrap();
        let mut shared = client.subscribe(sub("$share/g/plant/2/#"), 100, Overflow::Pause).await.unwrap();
        assert_eq!((temps.qos(), temps.filter()), (QoS::ExactlyOnce, "plant/+/temp"));
        let kept = temps.next().await.unwrap();
        assert!(kept.is_retained() && kept.text() == Some("kept") && kept.qos() == QoS::AtLeastOnce, "{kept:?}");
        let mut properties = PropertyBuf::new();
        properties.push(Property::UserProperty(("unit", "K"))).unwrap();
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for n in 0..50 {
                let text = n.to_string();
                let publish = Publish { properties: properties.as_properties(), ..Publish::new("plant/2/temp", &text) };
                client.publish(&Publish { qos, ..publish }).await.unwrap();
            }
            // Each once to each stream, although the server sends them once for each of the two subscriptions.
            for n in 0..50 {
                for stream in [&mut temps, &mut shared] {
                    let message = stream.next().await.unwrap();
                    assert_eq!((message.text(), message.qos()), (Some(&*n.to_string()), qos));
                    assert_eq!(message.properties().user_properties().next(), Some(("unit", "K")));
                }
            }
        }
        assert_eq!((temps.dropped(), client.unclaimed()), (0, 0));
    });
}

/// An acknowledgement means what it says: the message is somebody's.
#[test]
fn a_message_is_acknowledged_when_it_is_taken_or_when_the_application_says_so() {
    for acks in [Acks::Auto, Acks::Manual] {
        block_on(async {
            let (url, server) = play(|listener| {
                let mut server = Server::accept(&listener, false);
                server.grant("a");
                server.grant("sync");
                server.message("a", "1", Some(7));
                server.message("sync", "", None);
                // Not acknowledged yet: what follows comes first.
                let id = server.take("untaken");
                server.ack(id);
                server.acked(7);
                server.left();
            });
            let (_own, client) = connected(url, ClientOptions::new().acks(acks)).await;
            let mut a = client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap();
            let mut sync = client.subscribe(sub("sync"), 10, Overflow::Pause).await.unwrap();
            sync.next().await.unwrap();
            match acks {
                Acks::Auto => {
                    client.publish(&q1("untaken", "")).await.unwrap();
                    a.next().await.unwrap();
                }
                Acks::Manual => {
                    let message = a.next().await.unwrap();
                    // A clone owes nothing.
                    message.clone().ack();
                    client.publish(&q1("untaken", "")).await.unwrap();
                    message.ack();
                }
            }
            leave(&client, server).await;
        });
    }
}

#[test]
fn one_message_for_two_streams_is_acknowledged_once_when_both_have_it() {
    block_on(async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            server.grant("a/#");
            server.grant("a/b");
            server.message("a/b", "1", Some(9));
            let id = server.take("between");
            server.ack(id);
            server.acked(9);
            server.left();
        });
        let (_own, client) = connected(url, ClientOptions::new()).await;
        let mut wide = client.subscribe(sub("a/#"), 10, Overflow::Pause).await.unwrap();
        let mut narrow = client.subscribe(sub("a/b"), 10, Overflow::Pause).await.unwrap();
        assert_eq!(wide.next().await.unwrap().text(), Some("1"));
        client.publish(&q1("between", "")).await.unwrap();
        assert_eq!(narrow.next().await.unwrap().text(), Some("1"));
        leave(&client, server).await;
    });
}

#[test]
fn a_stream_that_is_dropped_unsubscribes_and_gives_up_what_it_has() {
    block_on(async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            server.grant("a");
            server.grant("a");
            server.grant("b");
            server.message("a", "1", Some(3));
            server.message("b", "", None);
            let id = server.take("one stream is left");
            server.ack(id);
            // The second stream to the same filter still wanted it.
            let id = server.expect("UNSUBSCRIBE", |packet| match packet {
                Packet::Unsubscribe(unsubscribe) => Some(unsubscribe.id),
                _ => None,
            });
            server.acked(3);
            let reasons = (&[ReasonCode::Success][..]).into();
            server.say(&Packet::UnsubAck(UnsubAck { id: id.unwrap(), reasons, properties: Default::default() }));
            // For nobody: acknowledged, and counted.
            server.message("a", "2", Some(4));
            server.acked(4);
            server.message("b", "", None);
            server.expect("UNSUBSCRIBE", |packet| matches!(packet, Packet::Unsubscribe(_)));
            server.left();
        });
        let (own, client) = connected(url, ClientOptions::new()).await;
        let first = client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap();
        let second = client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap();
        let mut b = client.subscribe(sub("b"), 10, Overflow::Pause).await.unwrap();
        b.next().await.unwrap();
        drop(first);
        client.publish(&q1("one stream is left", "")).await.unwrap();
        drop(second);
        b.next().await.unwrap();
        assert_eq!(client.unclaimed(), 1);
        // The last stream keeps the connection, and ends it.
        drop(client);
        assert_eq!(own.with(|cx| cx.net.connection_count()).await.unwrap(), 1);
        drop(b);
        server.join().unwrap();
        while own.with(|cx| cx.net.connection_count()).await.unwrap() > 0 {}
    });
}

#[test]
fn a_lost_connection_is_made_again_and_subscriptions_are_renewed_where_the_session_is_gone() {
    block_on(async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            server.grant("a");
            server.message("a", "first", Some(1));
            server.take("unanswered");
            drop(server);
            // The session is gone: subscribed again. What was published is published again.
            let mut server = Server::accept(&listener, false);
            let again = server.take("unanswered");
            server.ack(again);
            server.grant("a");
            server.message("a", "second", Some(1));
            server.acked(1);
            drop(server);
            // The session is there: nothing is subscribed.
            let mut server = Server::accept(&listener, true);
            server.message("a", "third", Some(1));
            server.acked(1);
            server.left();
        });
        let options = ClientOptions::new().session_expiry(ms(60_000)).reconnect(soon());
        let (_own, client) = connected(url, options).await;
        let mut states = client.states();
        let mut a = client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap();
        assert!(matches!(client.state(), MqttState::Open { session_present: false }));
        assert_eq!(client.publish(&q1("unanswered", "")).await.unwrap(), ReasonCode::Success);
        // The server has forgotten that it sent this; it is here.
        assert_eq!(a.next().await.unwrap().text(), Some("first"));
        assert_eq!(a.next().await.unwrap().text(), Some("second"));
        assert_eq!(a.next().await.unwrap().text(), Some("third"));
        let state = states.wait_for(|state| matches!(state, MqttState::Open { session_present: true })).await;
        drop(state.unwrap());
        client.disconnect().await.unwrap();
        assert!(matches!(client.state(), MqttState::Closed(CloseReason::Local)));
        assert!(a.next().await.is_none() && a.error().is_none());
        server.join().unwrap();
    });
}

#[test]
fn what_was_not_taken_before_a_loss_is_handed_out_once_when_the_session_brings_it_again() {
    block_on(async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            server.grant("a");
            server.grant("sync");
            server.message("a", "1", Some(1));
            server.message("a", "2", Some(2));
            server.message("a", "0", None);
            server.message("sync", "", None);
            let id = server.take("arrived");
            server.ack(id);
            drop(server);
            let mut server = Server::accept(&listener, true);
            server.message("a", "1", Some(1));
            server.message("a", "2", Some(2));
            server.acked(1);
            server.acked(2);
            server.left();
        });
        let options = ClientOptions::new().session_expiry(ms(60_000)).reconnect(soon());
        let (_own, client) = connected(url, options).await;
        let mut states = client.states();
        let mut a = client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap();
        let mut sync = client.subscribe(sub("sync"), 10, Overflow::Pause).await.unwrap();
        sync.next().await.unwrap();
        client.publish(&q1("arrived", "")).await.unwrap();
        drop(states.wait_for(|state| matches!(state, MqttState::Open { session_present: true })).await.unwrap());
        // That of QoS 0 does not come again.
        let mut texts = Vec::new();
        for _ in 0..3 {
            texts.push(a.next().await.unwrap().text().unwrap().to_owned());
        }
        assert_eq!(texts, ["0", "1", "2"]);
        client.disconnect().await.unwrap();
        assert!(a.next().await.is_none());
        server.join().unwrap();
    });
}

#[test]
fn refusals_are_errors_that_know_the_reason() {
    block_on(async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            let id = server.expect("SUBSCRIBE", |packet| match packet {
                Packet::Subscribe(subscribe) => Some(subscribe.id),
                _ => None,
            });
            let reasons = (&[ReasonCode::NotAuthorized][..]).into();
            server.say(&Packet::SubAck(SubAck { id: id.unwrap(), reasons, properties: Default::default() }));
            // The stream that never was has gone, with a word.
            server.expect("UNSUBSCRIBE", |packet| matches!(packet, Packet::Publish(_)));
            let reason = ReasonCode::QuotaExceeded;
            let id = PacketId::new(2).unwrap();
            server.say(&Packet::PubAck(Ack { reason, ..Ack::new(id) }));
            server.left();
        });
        let (own, client) = connected(url, ClientOptions::new()).await;
        client.opened().await.unwrap();
        let e = client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap_err();
        assert!(e.is_refused() && e.to_string().contains("Not authorized"), "{e}");
        assert_eq!(e.cause::<Failure>(), Some(&Failure::Refused(ReasonCode::NotAuthorized)));
        let e = client.publish(&q1("a", "")).await.unwrap_err();
        assert_eq!(e.cause::<Failure>(), Some(&Failure::Refused(ReasonCode::QuotaExceeded)), "{e}");
        let e = client.subscribe(sub("a/#/b"), 10, Overflow::Pause).await.unwrap_err();
        assert!(e.is_bad_value(), "{e}");
        client.disconnect().await.unwrap();
        leave(&client, server).await;
        let e = client.publish(&q1("a", "")).await.unwrap_err();
        assert!(e.is_gone(), "{e}");
        assert!(client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap_err().is_gone());
        // A server that does not let the client in.
        let (url, server) = play(|listener| {
            let mut stream = listener.accept().unwrap().0;
            patient(&stream);
            let _ = stream.read(&mut [0; 200]).unwrap();
            stream.write_all(&[0x20, 3, 0, 0x86, 0]).unwrap();
        });
        let client = MqttClient::connect(&own, url, ClientOptions::new().reconnect(soon())).await.unwrap();
        let e = client.opened().await.unwrap_err();
        assert!(e.is_refused() && e.to_string().contains("Bad User Name"), "{e}");
        server.join().unwrap();
        // None at all.
        let free = crate::support::addr(&own.listen("tcp://127.0.0.1:0", nothing).await.unwrap());
        until("the end of the listener", || TcpStream::connect(free).is_err());
        let client = MqttClient::connect(&own, format!("mqtt://{free}"), ClientOptions::new()).await.unwrap();
        assert!(client.opened().await.unwrap_err().is_connect());
        assert!(MqttClient::connect(&own, "http://127.0.0.1", ClientOptions::new()).await.unwrap_err().is_bad_url());
        let stepwise = ClientOptions::new().auth("SCRAM", None).unwrap();
        assert!(MqttClient::connect(&own, "mqtt://127.0.0.1", stepwise).await.unwrap_err().is_unsupported());
    });
}

#[test]
fn messages_of_an_earlier_session_wait_for_their_stream() {
    block_on(async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, true);
            server.message("early", "1", Some(1));
            server.message("other", "2", Some(2));
            server.message("early", "3", Some(3));
            let id = server.take("came");
            server.ack(id);
            server.grant("early");
            server.grant("other");
            server.acked(1);
            server.acked(2);
            server.acked(3);
            server.left();
        });
        let options = ClientOptions::new().clean_start(false).session_expiry(ms(60_000)).client_id("c");
        let (own, client) = connected(url, options).await;
        client.opened().await.unwrap();
        client.publish(&q1("came", "")).await.unwrap();
        let mut early = client.subscribe(sub("early"), 10, Overflow::Pause).await.unwrap();
        let mut other = client.subscribe(sub("other"), 10, Overflow::Pause).await.unwrap();
        assert_eq!(early.next().await.unwrap().text(), Some("1"));
        assert_eq!(early.next().await.unwrap().text(), Some("3"));
        assert_eq!(other.next().await.unwrap().text(), Some("2"));
        assert_eq!(client.unclaimed(), 0);
        leave(&client, server).await;
        // The time for that is over with the connection.
        assert_eq!(own.with(|cx| cx.net.timer_count()).await.unwrap(), 0);
    });
}

#[test]
fn messages_that_come_before_the_answer_to_a_subscription_do_not_hold_it_up() {
    for overflow in [Overflow::Pause, Overflow::Close] {
        block_on(async {
            let (url, server) = play(|listener| {
                let mut server = Server::accept(&listener, true);
                let id = server.asked("early");
                // Nobody can take them yet: more than the stream has room for.
                (0..5).for_each(|n| server.message("early", &n.to_string(), None));
                server.granted(id);
                server.left();
            });
            let own = counter().launch().await.unwrap();
            let options = ClientOptions::new().clean_start(false).session_expiry(ms(60_000)).client_id("c");
            let client = MqttClient::connect(&own, url, options).await.unwrap();
            let mut early = client.subscribe(sub("early"), 2, overflow).await.unwrap();
            for n in 0..5 {
                assert_eq!(early.next().await.unwrap().text(), Some(&*n.to_string()), "{overflow:?}");
            }
            client.disconnect().await.unwrap();
            server.join().unwrap();
        });
    }
}

#[test]
fn a_stream_that_is_full_does_what_its_policy_says() {
    const N: u32 = 1000;
    for overflow in [Overflow::Pause, Overflow::DropNewest, Overflow::Close] {
        block_on(async {
            let (url, server) = play(move |listener| {
                let mut server = Server::accept(&listener, false);
                server.grant("a");
                for n in 0..N {
                    server.message("a", &n.to_string(), None);
                }
                match overflow {
                    Overflow::Close => {}
                    Overflow::Pause | Overflow::DropNewest => {
                        let id = server.take("done");
                        server.ack(id);
                        server.left();
                    }
                }
            });
            let (_own, client) = connected(url, ClientOptions::new()).await;
            let mut a = client.subscribe(sub("a"), 4, overflow).await.unwrap();
            match overflow {
                Overflow::Pause => {
                    for n in 0..N {
                        assert_eq!(a.next().await.unwrap().text(), Some(&*n.to_string()));
                    }
                    client.publish(&q1("done", "")).await.unwrap();
                }
                Overflow::DropNewest => {
                    // The acknowledgement comes behind all of them.
                    client.publish(&q1("done", "")).await.unwrap();
                    for n in 0..4 {
                        assert_eq!(a.next().await.unwrap().text(), Some(&*n.to_string()));
                    }
                    assert_eq!(a.dropped(), u64::from(N) - 4);
                }
                Overflow::Close => {
                    let mut states = client.states();
                    let state = states.wait_for(|state| matches!(state, MqttState::Closed(_))).await.unwrap();
                    assert!(matches!(&*state, MqttState::Closed(CloseReason::SlowConsumer)), "{state:?}");
                    drop(state);
                    for _ in 0..4 {
                        assert!(a.next().await.is_some());
                    }
                    assert!(a.next().await.is_none() && a.error().is_some_and(|e| e.is_gone()));
                }
            }
            client.disconnect().await.unwrap();
            let played = server.join();
            assert!(played.is_ok() || overflow == Overflow::Close);
        });
    }
}

#[test]
fn with_drop_newest_a_message_of_qos_1_is_not_dropped() {
    block_on(async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            server.grant("a");
            for n in 1..=10 {
                server.message("a", &n.to_string(), Some(n));
            }
            for n in 1..=10 {
                server.acked(n);
            }
            server.left();
        });
        let (_own, client) = connected(url, ClientOptions::new()).await;
        let mut a = client.subscribe(sub("a"), 2, Overflow::DropNewest).await.unwrap();
        for n in 1..=10 {
            assert_eq!(a.next().await.unwrap().text(), Some(&*n.to_string()));
        }
        assert_eq!(a.dropped(), 0);
        leave(&client, server).await;
    });
}

// ---- the end

#[test]
fn a_shutdown_waits_for_acknowledgements_and_says_disconnect() {
    in_each_way(|| async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            server.grant("a");
            let id = server.take("late");
            // Only then does the end begin.
            let second = server.take("last");
            server.ack(second);
            server.ack(id);
            server.left();
        });
        let (own, client) = connected(url, ClientOptions::new()).await;
        let mut a = client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap();
        let (late, last) = (q1("late", ""), q1("last", ""));
        let mut late = Hand::new(client.publish(&late));
        assert!(late.poll().is_pending());
        own.with(|_| ()).await.unwrap();
        let _ = late.poll();
        let mut end = Hand::new(own.shutdown());
        assert!(end.poll().is_pending());
        // It still speaks while it drains.
        assert_eq!(client.publish(&last).await.unwrap(), ReasonCode::Success);
        let report = own.shutdown().await;
        assert_eq!((report.drained, report.aborted, report.abandoned), (1, 0, false), "{report:?}");
        let std::task::Poll::Ready(result) = late.poll() else { panic!("no answer") };
        assert_eq!(result.unwrap(), ReasonCode::Success);
        assert!(a.next().await.is_none());
        server.join().unwrap();
    });
}

#[test]
fn a_shutdown_that_cannot_wait_says_disconnect_and_tells_what_has_failed() {
    block_on(async {
        let (url, server) = play(|listener| {
            let mut server = Server::accept(&listener, false);
            server.take("never");
            server.left();
        });
        let short = vansire::aio::Shutdown::new().limit(ms(50));
        let own = counter().shutdown(short).launch().await.unwrap();
        let client = MqttClient::connect(&own, url, ClientOptions::new()).await.unwrap();
        client.opened().await.unwrap();
        let never = q1("never", "");
        let mut publish = Hand::new(client.publish(&never));
        assert!(publish.poll().is_pending());
        own.with(|_| ()).await.unwrap();
        let _ = publish.poll();
        let report = own.shutdown().await;
        assert_eq!((report.aborted, report.abandoned), (1, false), "{report:?}");
        let std::task::Poll::Ready(Err(e)) = publish.poll() else { panic!("no error") };
        assert_eq!(e.cause::<Failure>(), Some(&Failure::Unanswered), "{e}");
        assert!(client.opened().await.unwrap_err().is_stopped());
        assert!(client.publish(&never).await.unwrap_err().is_stopped());
        assert!(client.disconnect().await.unwrap_err().is_stopped());
        server.join().unwrap();
    });
}

/// MQTT 5.0, section 4.13: a server that ends the connection says why.
#[test]
fn a_broker_that_shuts_down_tells_its_clients_why() {
    in_each_way(|| async {
        let (manager, _listener, url) = broker().await;
        let (own, client) = connected(&url, ClientOptions::new()).await;
        let old = ClientOptions::new().version(Version::Mqtt311).client_id("old");
        let old = MqttClient::connect(&own, &url, old).await.unwrap();
        let mut stream = client.subscribe(sub("a"), 10, Overflow::Pause).await.unwrap();
        old.opened().await.unwrap();
        let report = manager.shutdown().await;
        assert_eq!((report.drained, report.aborted, report.abandoned), (2, 0, false), "{report:?}");
        assert!(stream.next().await.is_none());
        let e = stream.error().unwrap();
        assert!(e.is_refused() && e.to_string().contains("Server shutting down"), "{e}");
        let mut states = old.states();
        let state = states.wait_for(|state| matches!(state, MqttState::Closed(_))).await.unwrap();
        assert!(matches!(&*state, MqttState::Closed(CloseReason::Peer)), "3.1.1 has no words for it: {state:?}");
    });
}

// ---- dropped where they wait

#[test]
fn every_call_may_be_dropped_wherever_it_waits() {
    on_each_runtime(|| async {
        let (manager, _listener, url) = broker().await;
        let own = counter().launch().await.unwrap();
        let open = async || own.with(|cx| cx.net.connection_count()).await.unwrap();
        // Held up, so that there is no answer yet.
        macro_rules! begin {
            ($call:expr) => {{
                let (blocker, block) = Blocker::new();
                own.submit(move |_| block()).await.unwrap();
                blocker.wait_until_inside();
                let mut call = Hand::new($call);
                assert!(call.poll().is_pending());
                (blocker, call)
            }};
        }
        // Connecting: before its turn, after it, and with the client taken.
        for stage in 0..3 {
            let (blocker, mut call) = begin!(MqttClient::connect(&own, &url, ClientOptions::new()));
            if stage > 0 {
                blocker.release();
                call.wait_for_wakes(1);
            }
            if stage > 1 {
                let std::task::Poll::Ready(client) = call.poll() else { panic!("woken without an answer") };
                drop(client.unwrap());
            }
            drop(call);
            blocker.release();
            while open().await > 0 {}
        }
        let client = MqttClient::connect(&own, &url, ClientOptions::new()).await.unwrap();
        client.opened().await.unwrap();
        let mut all = client.subscribe(sub("#"), 100, Overflow::Pause).await.unwrap();
        // Publishing: before its turn nothing is; afterwards the message goes on its way.
        let (before, after) = (q1("before", ""), q1("after", ""));
        let (blocker, call) = begin!(client.publish(&before));
        drop(call);
        blocker.release();
        let (blocker, mut call) = begin!(client.publish(&after));
        blocker.release();
        call.wait_for_wakes(1);
        let _ = call.poll();
        drop(call);
        assert_eq!(all.next().await.unwrap().topic(), "after");
        // Subscribing: before its turn, after it, and while the answer is awaited.
        let subscriptions = async || {
            let stats = manager.with(|cx| cx.net.connection_count()).await.unwrap();
            assert_eq!(stats, 2, "the listener and the client");
        };
        for stage in 0..3 {
            let (blocker, mut call) = begin!(client.subscribe(sub("x"), 1, Overflow::Pause));
            if stage > 0 {
                blocker.release();
                call.wait_for_wakes(1);
            }
            if stage > 1 {
                let _ = call.poll();
            }
            drop(call);
            blocker.release();
            subscriptions().await;
            // Nobody is subscribed to it: only the stream to everything.
            client.publish(&q1("x", "")).await.unwrap();
            assert_eq!(all.next().await.unwrap().topic(), "x", "stage {stage}");
            assert_eq!(client.unclaimed(), 0);
        }
        // A message: none is lost by a call that is dropped.
        let mut next = Hand::new(all.next());
        assert!(next.poll().is_pending());
        drop(next);
        client.publish(&q1("kept", "")).await.unwrap();
        let mut next = Hand::new(all.next());
        if let std::task::Poll::Ready(message) = next.poll() {
            assert_eq!(message.unwrap().topic(), "kept");
        }
        drop(next);
        // Waiting for a state changes nothing.
        let stranger = MqttClient::connect(&own, "mqtt://127.0.0.1:9", ClientOptions::new().reconnect(soon()));
        let stranger = stranger.await.unwrap();
        let mut opened = Hand::new(stranger.opened());
        assert!(opened.poll().is_pending());
        drop(opened);
        stranger.disconnect().await.unwrap();
        // Disconnecting: before its turn nothing has happened; afterwards it goes on.
        let (blocker, call) = begin!(client.disconnect());
        drop(call);
        blocker.release();
        assert_eq!(client.publish(&q1("still here", "")).await.unwrap(), ReasonCode::Success);
        let (blocker, call) = begin!(client.disconnect());
        blocker.release();
        call.wait_for_wakes(1);
        drop(call);
        let mut states = client.states();
        drop(states.wait_for(|state| matches!(state, MqttState::Closed(CloseReason::Local))).await.unwrap());
        while open().await > 0 {}
    });
}

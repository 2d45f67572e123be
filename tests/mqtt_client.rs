//! MQTT clients on real sockets, with servers that are played byte by byte.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use common::{Log, ms, until};
use vansire::mqtt::{ClientOptions, Failure, Publish, QoS, ReasonCode, Reconnect, Subscription, Version};
use vansire::{CloseReason, ConnId, Ctx, Event, Limits, Manager};

/// What a handler was told.
#[derive(Default)]
struct App {
    log: Log,
    ends: Vec<(vansire::mqtt::Token, Result<ReasonCode, Failure>)>,
    reason: Option<CloseReason>,
}

fn told(cx: &mut Ctx<'_, App>, ev: Event<'_>) {
    let line = match &ev {
        Event::MqttMessage(message, _) => format!("{} {}", message.topic, String::from_utf8_lossy(message.payload)),
        Event::MqttOpened(ack) => format!("MqttOpened {}", ack.session_present),
        Event::MqttRefused(ack) => format!("MqttRefused {}", ack.reason),
        Event::MqttDisconnected(disconnect) => format!("MqttDisconnected {}", disconnect.reason),
        Event::Resolved(_) | Event::Connected => return,
        other => other.name().to_owned(),
    };
    cx.state.log.lines.push((cx.conn, line));
    match ev {
        Event::MqttDelivered { token, reason } => cx.state.ends.push((token, Ok(reason))),
        Event::MqttFailed { token, why } => cx.state.ends.push((token, Err(why))),
        Event::Closed(reason) => cx.state.reason = Some(reason),
        _ => {}
    }
}

/// A server that does this with each of its connections, in order.
fn server(steps: Vec<Box<dyn FnOnce(TcpStream) + Send>>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        for step in steps {
            let (stream, _) = listener.accept().unwrap();
            common::patient(&stream);
            step(stream);
        }
    });
    (url, thread)
}

/// Reads one packet of less than 128 bytes.
fn packet(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut body = vec![0; head[1].into()];
    stream.read_exact(&mut body).unwrap();
    [&head[..], &body].concat()
}

fn v4() -> ClientOptions {
    ClientOptions::new().version(Version::Mqtt311).client_id("c")
}

const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const QUICK: Reconnect =
    Reconnect { min: std::time::Duration::from_millis(10), max: std::time::Duration::from_millis(10) };

fn closed(manager: &mut Manager<App>) {
    until(manager, "the end", |manager| manager.state().reason.is_some());
}

fn at_least_once(net: &mut vansire::Net<'_, App>, id: ConnId) -> vansire::mqtt::Token {
    net.publish(id, &Publish { qos: QoS::AtLeastOnce, ..Publish::new("a", "x") }).unwrap().unwrap()
}

#[test]
fn h1_the_server_says_yes_or_no_once() {
    // (name, version, what the server answers, what the handler is told, how it ends)
    type Row<'a> = (&'a str, Version, &'static [u8], &'a [&'a str], &'a str);
    let table: [Row<'_>; 5] = [
        ("3.1.1 yes", Version::Mqtt311, CONNACK, &["MqttOpened false"], "closed by the peer"),
        (
            "3.1.1 no",
            Version::Mqtt311,
            &[0x20, 2, 0, 5],
            &["MqttRefused Not authorized (0x87)"],
            "ended by the server: Not authorized (0x87)",
        ),
        (
            "5.0 no",
            Version::Mqtt5,
            &[0x20, 3, 0, 0x86, 0],
            &["MqttRefused Bad User Name or Password (0x86)"],
            "ended by the server: Bad User Name or Password (0x86)",
        ),
        (
            "5.0 yes, then no",
            Version::Mqtt5,
            &[0x20, 3, 0, 0, 0, 0xe0, 1, 0x8b],
            &["MqttOpened false", "MqttDisconnected Server shutting down (0x8b)"],
            "ended by the server: Server shutting down (0x8b)",
        ),
        (
            "nonsense",
            Version::Mqtt5,
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            &[],
            "protocol error: MQTT: a packet before CONNACK",
        ),
    ];
    for (name, version, answer, expected, end) in table {
        let (url, thread) = server(vec![Box::new(move |mut stream: TcpStream| {
            packet(&mut stream);
            stream.write_all(answer).unwrap();
        })]);
        let mut manager = Manager::new(App::default()).unwrap();
        let id = manager.net().mqtt_connect(url, ClientOptions::new().version(version).client_id("c"), told).unwrap();
        closed(&mut manager);
        let lines = manager.state().log.of(id);
        assert_eq!(lines[1..lines.len() - 1], *expected, "{name}");
        let reason = manager.state().reason.as_ref().unwrap().to_string();
        assert!(
            reason.starts_with(end) || name == "nonsense" && reason.starts_with("protocol error: MQTT"),
            "{name}: {reason}"
        );
        manager.state().log.check_lives();
        thread.join().unwrap();
    }
}

#[test]
fn credentials_come_from_the_url_and_never_in_clear_from_an_error() {
    let (url, thread) = server(vec![Box::new(|mut stream: TcpStream| {
        let connect = packet(&mut stream);
        assert!(connect.ends_with(b"\x00\x01c\x00\x02us\x00\x06secret"), "{connect:?}");
    })]);
    let url = url.replace("mqtt://", "mqtt://us:secret@");
    let mut manager = Manager::new(App::default()).unwrap();
    manager.net().mqtt_connect(url, v4(), told).unwrap();
    closed(&mut manager);
    thread.join().unwrap();
    // (URL, a part of what is said, a query)
    type Row<'a> = (&'a str, &'a str, fn(&vansire::Error) -> bool);
    let table: [Row<'_>; 4] = [
        ("mqtts://u:secret@h", "TLS", vansire::Error::is_unsupported),
        ("http://u:secret@h", "needs mqtt://", vansire::Error::is_bad_url),
        ("mqtt+ws://h", "does not speak", vansire::Error::is_unsupported),
        ("mqtt:u:secret@h", "mqtt", vansire::Error::is_bad_url),
    ];
    for (url, part, is) in table {
        let error = manager.net().mqtt_connect(url, v4(), told).unwrap_err();
        assert!(
            is(&error) && error.to_string().contains(part) && !error.to_string().contains("secret"),
            "{url}: {error}"
        );
    }
    let wrong = v4().client_id("").clean_start(false);
    assert!(manager.net().mqtt_connect("mqtt://127.0.0.1:1", wrong, told).unwrap_err().is_bad_value());
    let plain = manager.net().connect("mqtt://127.0.0.1:1", told).unwrap_err();
    assert!(plain.is_unsupported() && plain.to_string().contains("mqtt_connect"), "{plain}");
}

/// Everything an MQTT client can be asked, asked of a connection that is none.
fn is_no_client(net: &mut vansire::Net<'_, App>, id: ConnId, ack: vansire::mqtt::AckId, name: &str) {
    let answers = [
        net.publish(id, &Publish::new("a", "")).map(drop),
        net.publish(id, &Publish { qos: QoS::ExactlyOnce, ..Publish::new("a", "") }).map(drop),
        net.subscribe(id, &[Subscription::new("a", QoS::AtMostOnce)]).map(drop),
        net.unsubscribe(id, &["a"]).map(drop),
        net.mqtt_ack(id, ack),
        net.mqtt_auth(id, ReasonCode::ReAuthenticate, None),
        net.mqtt_disconnect(id, ReasonCode::Success),
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        assert!(answer.unwrap_err().is_gone(), "{name}: {at}");
    }
    assert_eq!(net.mqtt_backlog(id), None, "{name}");
}

#[test]
fn h15_what_is_no_mqtt_client_cannot_publish() {
    let (url, thread) = server(vec![Box::new(|mut stream: TcpStream| {
        packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        // A message of QoS 1, for its acknowledgement.
        stream.write_all(&[0x32, 5, 0, 1, b'a', 0, 9]).unwrap();
        let _ = stream.read(&mut [0; 64]);
    })]);
    let mut manager = Manager::new(App::default()).unwrap();
    let ack = std::rc::Rc::new(std::cell::Cell::new(None));
    let kept = ack.clone();
    let keep = move |_: &mut Ctx<'_, App>, ev: Event<'_>| {
        if let Event::MqttMessage(_, Some(id)) = ev {
            kept.set(Some(id));
        }
    };
    let options = v4().acks(vansire::mqtt::Acks::Manual);
    let mqtt = manager.net().mqtt_connect(url, options, keep).unwrap();
    until(&mut manager, "a message", |_| ack.get().is_some());
    let ack = ack.get().unwrap();

    let mut others = Vec::new();
    let mut net = manager.net();
    let listener = net.listen("tcp://127.0.0.1:0", told).unwrap();
    others.push(("a listener", listener));
    others.push(("a UDP socket", net.listen("udp://127.0.0.1:0", told).unwrap()));
    let to = format!("tcp://{}", net.local_addr(listener).unwrap());
    others.push(("a stream", net.connect(to, told).unwrap()));
    #[cfg(feature = "http")]
    {
        let web = net.listen("http://127.0.0.1:0", told).unwrap();
        let to = format!("http://{}", net.local_addr(web).unwrap());
        others.push(("an HTTP listener", web));
        others.push(("an HTTP client", net.connect(to, told).unwrap()));
    }
    #[cfg(feature = "sntp")]
    others.push(("an SNTP server", net.sntp_listen("sntp://127.0.0.1:0", told).unwrap()));
    #[cfg(feature = "broker")]
    {
        let broker = vansire::broker::Broker::new(vansire::broker::Options::new());
        let listener = broker.listen(&mut net, "mqtt://127.0.0.1:0").unwrap();
        let to = format!("mqtt://{}", net.local_addr(listener).unwrap());
        others.push(("a broker's listener", listener));
        net.mqtt_connect(to, v4().client_id("other"), told).unwrap();
    }
    let before = manager.net().connection_count();
    // The connections are taken in: those are no clients either.
    let taken_in = 1 + usize::from(cfg!(feature = "http")) + usize::from(cfg!(feature = "broker"));
    until(&mut manager, "the other sides", |manager| manager.net().connection_count() == before + taken_in);
    let known: Vec<ConnId> = others.iter().map(|(_, id)| *id).collect();
    for conn in manager.net().connections() {
        let is_client = conn.protocol == "mqtt" && conn.listener.is_none() && !known.contains(&conn.id);
        if !known.contains(&conn.id) && !is_client {
            others.push(("a connection taken in", conn.id));
        }
    }
    assert!(others.len() >= known.len() + taken_in, "{others:?}");
    let mut net = manager.net();
    for (name, id) in &others {
        is_no_client(&mut net, *id, ack, name);
        assert!(net.is_open(*id), "{name}");
    }
    // Nor is one that is gone.
    net.close(listener);
    until(&mut manager, "its end", |manager| !manager.net().is_open(listener));
    is_no_client(&mut manager.net(), listener, ack, "a closed one");
    // And bytes are not for an MQTT client's connection, which lives.
    let mut net = manager.net();
    assert_eq!(net.send(mqtt, b"x"), vansire::Sent::Invalid);
    assert_eq!(net.info(mqtt).unwrap().protocol, "mqtt");
    assert!(net.publish(mqtt, &Publish::new("a/#", "")).unwrap_err().is_bad_value());
    net.mqtt_ack(mqtt, ack).unwrap();
    assert!(net.mqtt_ack(mqtt, ack).unwrap_err().is_gone());
    manager.close();
    thread.join().unwrap();
}

#[test]
fn every_token_has_an_end_whatever_ends_the_connection() {
    type Act = fn(&mut Manager<App>, ConnId);
    // (name, what ends it, how)
    let table: [(&str, Act, &str); 5] = [
        ("close", |manager, id| manager.net().close(id), "closed by this side"),
        ("drain", |manager, id| manager.net().drain(id), "closed by this side"),
        (
            "disconnect",
            |manager, id| manager.net().mqtt_disconnect(id, ReasonCode::Success).unwrap(),
            "closed by this side",
        ),
        // It waits for acknowledgements, and in the end not any longer.
        ("stop", |manager, _| manager.shutdown(ms(100)).unwrap(), "the manager stopped"),
        ("the manager closes", |manager, _| manager.close(), "the manager stopped"),
    ];
    for (name, act, end) in table {
        let (url, thread) = server(vec![Box::new(|mut stream: TcpStream| {
            packet(&mut stream);
            stream.write_all(CONNACK).unwrap();
            // Silent to its end.
            _ = stream.read_to_end(&mut Vec::new());
        })]);
        let limits = Limits::new().mqtt_inflight_max(1);
        let mut manager = Manager::builder().limits(limits).build(App::default()).unwrap();
        let id = manager.net().mqtt_connect(url, v4().reconnect(QUICK), told).unwrap();
        until(&mut manager, "it opens", |manager| manager.state().log.count("MqttOpened") == 1);
        let sent = at_least_once(&mut manager.net(), id);
        let waits = at_least_once(&mut manager.net(), id);
        let asked = manager.net().subscribe(id, &[Subscription::new("a", QoS::AtMostOnce)]).unwrap();
        manager.poll(Some(ms(0))).unwrap();
        act(&mut manager, id);
        if manager.state().reason.is_none() {
            closed(&mut manager);
        }
        let expected =
            [(sent, Err(Failure::Unanswered)), (waits, Err(Failure::Unsent)), (asked, Err(Failure::Unanswered))];
        assert_eq!(manager.state().ends, expected, "{name}");
        assert_eq!(manager.state().reason.as_ref().unwrap().to_string(), end, "{name}");
        assert_eq!(manager.state().log.count("MqttLost"), 0, "{name}: what this side ends is not made again");
        manager.state().log.check_lives();
        thread.join().unwrap();
    }
}

#[test]
fn a_lost_connection_is_made_again_with_what_was_under_way() {
    let again = |mut stream: TcpStream| {
        packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        packet(&mut stream);
    };
    let (url, thread) = server(vec![
        Box::new(again),
        // Refused for now.
        Box::new(|mut stream: TcpStream| {
            packet(&mut stream);
            stream.write_all(&[0x20, 2, 0, 3]).unwrap();
        }),
        Box::new(|mut stream: TcpStream| {
            packet(&mut stream);
            stream.write_all(&[0x20, 2, 1, 0]).unwrap();
            assert_eq!(packet(&mut stream), [0x3a, 6, 0, 1, b'a', 0, 1, b'x'], "the same again, with DUP");
            stream.write_all(&[0x40, 2, 0, 1]).unwrap();
            assert_eq!(packet(&mut stream), [0xe0, 0]);
        }),
    ]);
    let mut manager = Manager::new(App::default()).unwrap();
    let handler = |cx: &mut Ctx<'_, App>, ev: Event<'_>| {
        let is_done = matches!(ev, Event::MqttDelivered { .. });
        told(cx, ev);
        if is_done {
            cx.mqtt_disconnect(ReasonCode::Success).unwrap();
        }
    };
    let id = manager.net().mqtt_connect(url, v4().clean_start(false).reconnect(QUICK), handler).unwrap();
    let token = at_least_once(&mut manager.net(), id);
    closed(&mut manager);
    let expected = [
        "Opened",
        "MqttOpened false",
        "MqttLost",
        "MqttRefused Server unavailable (0x88)",
        "MqttLost",
        "MqttOpened true",
        "MqttDelivered",
        "Closed",
    ];
    assert_eq!(manager.state().log.of(id), expected);
    assert_eq!(manager.state().ends, [(token, Ok(ReasonCode::Success))]);
    assert_eq!(manager.stats().mqtt_reconnects, 2);
    thread.join().unwrap();
}

#[test]
fn a_session_taken_over_is_taken_back_once_for_each_connect_that_nobody_answered() {
    // The second connection is told that the first, which was given up while its CONNECT was under way, has the session now; the
    // third is told the same, and that cannot be the first again.
    let taken_over = |mut stream: TcpStream| {
        packet(&mut stream);
        stream.write_all(&[0x20, 3, 0, 0, 0, 0xe0, 1, 0x8e]).unwrap();
    };
    let (url, thread) = server(vec![
        Box::new(|mut stream: TcpStream| _ = packet(&mut stream)),
        Box::new(taken_over),
        Box::new(taken_over),
    ]);
    let mut manager = Manager::new(App::default()).unwrap();
    let options = ClientOptions::new().client_id("c").reconnect(QUICK);
    let id = manager.net().mqtt_connect(url, options, told).unwrap();
    closed(&mut manager);
    thread.join().unwrap();
    let taken = "MqttDisconnected Session taken over (0x8e)";
    let expected = ["Opened", "MqttLost", "MqttOpened false", taken, "MqttLost", "MqttOpened false", taken, "Closed"];
    assert_eq!(manager.state().log.of(id), expected);
    assert_eq!(manager.state().reason.as_ref().unwrap().to_string(), "ended by the server: Session taken over (0x8e)");
}

#[test]
fn a_connection_that_waits_to_be_made_again_can_be_used_and_closed() {
    let mut manager = Manager::new(App::default()).unwrap();
    let slow = Reconnect { min: ms(60_000), max: ms(60_000) };
    // Nobody listens there.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let id = manager.net().mqtt_connect(format!("mqtt://{free}"), v4().reconnect(slow), told).unwrap();
    until(&mut manager, "it is lost", |manager| manager.state().log.count("MqttLost") == 1);
    let token = at_least_once(&mut manager.net(), id);
    assert_eq!(manager.net().mqtt_backlog(id), Some((1, 0)));
    assert!(manager.net().is_open(id));
    manager.net().mqtt_disconnect(id, ReasonCode::Success).unwrap();
    assert!(manager.net().publish(id, &Publish::new("a", "")).unwrap_err().is_gone());
    closed(&mut manager);
    assert_eq!(manager.state().ends, [(token, Err(Failure::Unsent))]);
    assert_eq!(manager.state().log.of(id), ["Opened", "MqttLost", "MqttFailed", "Closed"]);
}

#[test]
fn a_handler_that_panics_or_closes_has_not_got_its_message() {
    for panics in [true, false] {
        let (url, thread) = server(vec![Box::new(|mut stream: TcpStream| {
            packet(&mut stream);
            stream.write_all(CONNACK).unwrap();
            stream.write_all(&[0x32, 6, 0, 1, b'a', 0, 7, b'x']).unwrap();
            let mut rest = Vec::new();
            _ = stream.read_to_end(&mut rest);
            assert!(!rest.windows(4).any(|bytes| bytes == [0x40, 2, 0, 7]), "PUBACK");
        })]);
        let mut manager = Manager::new(App::default()).unwrap();
        let handler = move |cx: &mut Ctx<'_, App>, ev: Event<'_>| {
            if matches!(ev, Event::MqttMessage(..)) {
                if panics {
                    // Not a panic of the test's own thread.
                    std::panic::resume_unwind(Box::new("planned"));
                }
                cx.close();
            }
            told(cx, ev);
        };
        manager.net().mqtt_connect(url, v4().reconnect(QUICK), handler).unwrap();
        closed(&mut manager);
        thread.join().unwrap();
    }
}

#[test]
fn h6_a_dead_server_is_noticed() {
    let (url, thread) = server(vec![Box::new(|mut stream: TcpStream| {
        packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        assert_eq!(packet(&mut stream), [0xc0, 0], "PINGREQ");
        _ = stream.read_to_end(&mut Vec::new());
    })]);
    let options = v4().keep_alive(ms(1000)).ping_timeout(ms(50));
    let mut manager = Manager::new(App::default()).unwrap();
    manager.net().mqtt_connect(url, options, told).unwrap();
    closed(&mut manager);
    assert_eq!(manager.state().reason.as_ref().unwrap().to_string(), "timed out: waiting for PINGRESP");
    thread.join().unwrap();

    let (url, thread) = server(vec![Box::new(|mut stream: TcpStream| {
        packet(&mut stream);
        _ = stream.read_to_end(&mut Vec::new());
    })]);
    let mut manager = Manager::new(App::default()).unwrap();
    manager.net().mqtt_connect(url, v4().connack_timeout(ms(50)), told).unwrap();
    closed(&mut manager);
    assert_eq!(manager.state().reason.as_ref().unwrap().to_string(), "timed out: waiting for CONNACK");
    thread.join().unwrap();
}

#[test]
fn output_that_the_server_does_not_take_waits_within_its_bounds() {
    let (go_on, wait) = std::sync::mpsc::channel();
    let (url, thread) = server(vec![Box::new(move |mut stream: TcpStream| {
        packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        // Takes nothing until it is told to go on.
        let mut all = Vec::new();
        wait.recv().unwrap();
        _ = stream.read_to_end(&mut all);
        assert!(all.ends_with(&[0xe0, 0]), "all of it, and DISCONNECT");
    })]);
    let limits = Limits::new().write_high(20_000).mqtt_queued_max(5);
    let mut manager = Manager::builder().limits(limits).build(App::default()).unwrap();
    let id = manager.net().mqtt_connect(url, v4(), told).unwrap();
    until(&mut manager, "it opens", |manager| manager.state().log.count("MqttOpened") == 1);
    let big = vec![b'x'; 50_000];
    let mut published = 0;
    let refused = loop {
        match manager.net().publish(id, &Publish::new("a", &big)) {
            Ok(_) => published += 1,
            Err(e) => break e,
        }
        manager.poll(Some(ms(0))).unwrap();
        assert!(published < 10_000, "nothing ever stops it");
    };
    assert!(refused.is_limit_reached(), "{refused}");
    assert_eq!((manager.net().mqtt_backlog(id), manager.stats().mqtt_queues_full), (Some((5, 0)), 1));
    go_on.send(()).unwrap();
    until(&mut manager, "all has left", |manager| manager.net().mqtt_backlog(id) == Some((0, 0)));
    manager.net().mqtt_disconnect(id, ReasonCode::Success).unwrap();
    closed(&mut manager);
    thread.join().unwrap();
}

#[test]
fn h6_a_server_is_not_dead_because_its_client_does_not_listen() {
    let (url, thread) = server(vec![Box::new(|mut stream: TcpStream| {
        packet(&mut stream);
        stream.write_all(CONNACK).unwrap();
        while packet(&mut stream) == [0xc0, 0] {
            stream.write_all(&[0xd0, 0]).unwrap();
        }
    })]);
    let clock = vansire::ManualClock::new();
    let mut manager = Manager::builder().clock(clock.clone()).build(App::default()).unwrap();
    let id = manager.net().mqtt_connect(url, v4().keep_alive(ms(1000)).ping_timeout(ms(3000)), told).unwrap();
    until(&mut manager, "it opens", |manager| manager.state().log.count("MqttOpened") == 1);
    manager.net().pause_read(id);
    let before = manager.stats().bytes_out;
    for _ in 0..20 {
        clock.advance(ms(4000));
        manager.poll(Some(ms(0))).unwrap();
    }
    assert!(manager.net().is_open(id) && manager.stats().bytes_out > before, "it pings, and does not know the answer");
    manager.net().resume_read(id);
    manager.net().mqtt_disconnect(id, ReasonCode::Success).unwrap();
    closed(&mut manager);
    thread.join().unwrap();
}

//! SNTP over real sockets: what handlers are told, which datagrams count, what a server answers. Cases D13 and D14 of the
//! reference.

mod common;

use std::cell::Cell;
use std::net::UdpSocket;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use common::{Log, addr, helper, manager, ms, note, record, until};
use vansire::sntp::{ClientOptions, Leap, Packet, SyncOptions, Timestamp};
use vansire::{ConnectOptions, Ctx, Event, Limits, ListenOptions, Manager, ManualClock, Sent};

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(common::DEADLINE)).unwrap();
    socket
}

fn url(socket: &UdpSocket) -> String {
    format!("sntp://{}", socket.local_addr().unwrap())
}

fn unix_nanos() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as i64
}

/// A good answer to a question, of a clock that is ahead.
fn answer(question: &[u8], ahead: i64) -> Packet {
    let question = Packet::decode(question).unwrap();
    assert_eq!((question.mode, question.version), (3, 4));
    let now = Timestamp::from_nanos(unix_nanos() + ahead);
    Packet {
        mode: 4,
        version: 4,
        stratum: 2,
        reference: [192, 0, 2, 1],
        originate: question.transmit,
        receive: now,
        transmit: now,
        ..Packet::default()
    }
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, std::net::SocketAddr) {
    let mut buf = [0; 2048];
    let (n, from) = socket.recv_from(&mut buf).unwrap();
    (buf[..n].to_vec(), from)
}

#[test]
fn d13_a_good_answer_is_told_and_the_connection_closes() {
    for ahead in [0, 3_600_000_000_000, -7_000_000_000] {
        let server = socket();
        let mut manager = manager();
        let id = manager
            .net()
            .sntp_connect(url(&server), move |cx: &mut Ctx<'_, Log>, ev: Event<'_>| {
                if let Event::SntpTime(sample) = ev {
                    assert!((sample.offset.as_nanos() - ahead).unsigned_abs() < 1_000_000_000, "{sample:?}");
                    assert!((sample.unix_ms() - (unix_nanos() + ahead) / 1_000_000).abs() < 1000);
                    assert_eq!((sample.stratum, sample.leap, sample.reference), (2, Leap::None, [192, 0, 2, 1]));
                }
                note(cx, &ev);
            })
            .unwrap();
        assert_eq!(manager.net().info(id).unwrap().protocol, "sntp");
        assert_eq!(manager.net().send(id, b"x"), Sent::Invalid, "it speaks for itself");
        let helper = helper(move || {
            let (question, from) = receive(&server);
            assert_eq!(question.len(), 48);
            server.send_to(&answer(&question, ahead).encode(), from).unwrap();
        });
        helper.wait(&mut manager, "a question");
        until(&mut manager, "the end", |m| m.state().end_of(id).is_some());
        let told = manager.state().of(id);
        let events = ["Opened", "Resolved 127.0.0.1", "Connected", "SntpTime", "Closed: closed by this side"];
        assert_eq!(told.len(), events.len(), "{told:?}");
        assert!(told.iter().zip(events).all(|(told, event)| told.starts_with(event)), "{told:?}");
        assert_eq!((manager.stats().sntp_samples, manager.stats().sntp_refused), (1, 0));
    }
}

/// By a clock that is moved by hand, so that it is 3 s to the millisecond.
#[test]
fn d14_silence_closes_after_3_s_and_a_dead_port_is_silence() {
    for dead in [false, true] {
        let server = socket();
        let url = url(&server);
        let server = (!dead).then_some(server);
        let clock = ManualClock::new();
        let mut manager = Manager::builder().clock(clock.clone()).build(Log::default()).unwrap();
        let id = manager.net().sntp_connect(&url, record).unwrap();
        until(&mut manager, "a question", |m| m.stats().datagrams_out == 1);
        let mut at = 0;
        for (ms, questions) in [(999, 1), (1000, 2), (2999, 2)] {
            clock.advance(Duration::from_millis(ms - at));
            at = ms;
            common::poll_for(&mut manager, common::ms(5));
            assert_eq!(manager.stats().datagrams_out, questions, "after {ms} ms, dead: {dead}");
            assert_eq!(manager.state().end_of(id), None, "after {ms} ms, dead: {dead}");
        }
        clock.advance(ms(1));
        until(&mut manager, "the end", |m| m.state().end_of(id).is_some());
        assert_eq!(manager.state().end_of(id), Some("Closed: timed out: waiting for an answer"), "dead: {dead}");
        assert_eq!(manager.stats().timeouts, 1);
        drop(server);
    }
}

#[test]
fn d14_what_does_not_count_changes_a_counter_only() {
    let server = socket();
    let stranger = socket();
    let mut manager = manager();
    let id = manager.net().sntp_connect(url(&server), record).unwrap();
    let helper = helper(move || {
        let (question, from) = receive(&server);
        let good = answer(&question, 0);
        let damaged = [
            Packet { mode: 3, ..good },
            Packet { mode: 5, ..good },
            Packet { stratum: 0, ..good },
            Packet { stratum: 16, ..good },
            Packet { leap: Leap::Unknown, ..good },
            Packet { originate: Timestamp(good.originate.0 ^ 1), ..good },
            Packet { transmit: Timestamp(0), ..good },
            Packet { root_delay: 0x0020_0000, ..good },
        ];
        for packet in &damaged {
            server.send_to(&packet.encode(), from).unwrap();
        }
        let bytes = good.encode();
        let lengths = [0, 1, 47, 49, 65_507];
        for len in lengths {
            let mut bytes = bytes.to_vec();
            bytes.resize(len, 0);
            server.send_to(&bytes, from).unwrap();
        }
        // From another port: the socket does not even hear it (case D11).
        stranger.send_to(&bytes, from).unwrap();
        server.send_to(&bytes, from).unwrap();
        server.send_to(&bytes, from).unwrap();
        damaged.len() + lengths.len()
    });
    let refused = helper.wait(&mut manager, "a question");
    until(&mut manager, "the end", |m| m.state().end_of(id).is_some());
    assert_eq!(manager.state().end_of(id), Some("Closed: closed by this side"));
    let stats = manager.stats();
    // The second good one may have been in time to be refused.
    assert_eq!((stats.sntp_samples, stats.datagrams_out), (1, 1));
    assert!((refused..=refused + 1).contains(&(stats.sntp_refused as usize)), "{stats:?}");
}

/// RFC 4330 §5, T4. Where the system notes when datagrams come.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn t4_is_when_the_answer_came_however_long_a_handler_holds_the_loop() {
    let late = ms(100);
    // The system begins to note a moment after it is first asked to.
    let is_right = (0..50).any(|_| {
        let server = socket();
        let mut manager = manager();
        let sample = Rc::new(Cell::new(None));
        let tell = sample.clone();
        let handler = move |_: &mut Ctx<'_, Log>, ev: Event<'_>| {
            if let Event::SntpTime(sample) = ev {
                tell.set(Some(sample));
            }
        };
        manager.net().sntp_connect(url(&server), handler).unwrap();
        until(&mut manager, "a question", |m| m.stats().datagrams_out == 1);
        let (question, from) = receive(&server);
        server.send_to(&answer(&question, 0).encode(), from).unwrap();
        let sent = Instant::now();
        // Something holds the loop up.
        while sent.elapsed() < late {}
        until(&mut manager, "an answer", |_| sample.get().is_some());
        let at = sample.get().unwrap().at;
        at < sent + late / 2 && at > sent - late / 2
    });
    assert!(is_right, "the loop's own delay is in T4");
}

#[test]
fn kiss_of_death_closes_with_the_reason() {
    for (code, why) in [(b"DENY", "DENY"), (b"RSTR", "RSTR"), (b"RATE", "RATE")] {
        let server = socket();
        let mut manager = manager();
        let id = manager.net().sntp_connect(url(&server), record).unwrap();
        let helper = helper(move || {
            let (question, from) = receive(&server);
            let kiss = Packet { leap: Leap::Unknown, stratum: 0, reference: *code, ..answer(&question, 0) };
            server.send_to(&kiss.encode(), from).unwrap();
        });
        helper.wait(&mut manager, "a question");
        until(&mut manager, "the end", |m| m.state().end_of(id).is_some());
        let end = manager.state().end_of(id).unwrap();
        assert!(end.starts_with("Closed: given up") && end.contains(why), "{end}");
    }
}

#[test]
fn urls_choose_the_protocol_and_errors_name_them() {
    let mut manager = manager();
    let server = manager.net().listen("sntp://127.0.0.1:0", record).unwrap();
    let to = addr(&mut manager, server);
    let client = manager.net().connect(format!("sntp://{to}"), record).unwrap();
    until(&mut manager, "an answer", |m| m.stats().sntp_samples == 1);
    assert_eq!(manager.stats().sntp_served, 1);
    until(&mut manager, "the end", |m| m.state().end_of(client).is_some());

    for bad in ["udp://127.0.0.1:123", "http://127.0.0.1", "127.0.0.1", "sntp://127.0.0.1:99999", ""] {
        for error in [
            manager.net().sntp_connect(bad, record).unwrap_err(),
            manager.net().sntp_listen(bad, record).unwrap_err(),
            manager.net().sync_time(SyncOptions::new([bad])).map(drop).unwrap_err(),
        ] {
            assert!(error.is_bad_url() && error.to_string().contains(bad), "{bad}: {error}");
        }
    }
    assert!(manager.net().sync_time(SyncOptions::new(Vec::<String>::new())).is_err());
    assert!(manager.net().sync_time(SyncOptions::new(vec!["sntp://127.0.0.1"; 17])).is_err());
    let busy = manager.net().sntp_listen(format!("sntp://{to}"), record).unwrap_err();
    assert!(busy.to_string().contains(&to.to_string()), "{busy}");
    // The bare bytes are there for those who ask for them.
    let raw = manager.net().connect(ConnectOptions::new(format!("sntp://{to}")).raw(true), record).unwrap();
    until(&mut manager, "a socket", |m| m.net().info(raw).unwrap().protocol == "udp");
    let socket = socket();
    let taken = manager.net().adopt(vansire::net::Scheme::Sntp, socket, record).unwrap();
    assert_eq!(manager.net().info(taken).unwrap().protocol, "sntp");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(manager.net().adopt(vansire::net::Scheme::Sntp, listener, record).is_err());
}

#[test]
fn a_server_answers_so_often_and_nobody_else_suffers() {
    let limits = Limits::new().sntp_rate(1).sntp_burst(3);
    let mut manager = manager();
    let options = ListenOptions::new("sntp://127.0.0.1:0").limits(limits);
    let id = manager.net().sntp_listen(options, record).unwrap();
    let to = addr(&mut manager, id);
    let helper = helper(move || {
        let ask = |socket: &UdpSocket| {
            let question = Packet { mode: 3, version: 4, transmit: Timestamp(7), ..Packet::default() };
            socket.send_to(&question.encode(), to).unwrap();
            let (bytes, from) = receive(socket);
            assert_eq!((bytes.len(), from), (48, to));
            let packet = Packet::decode(&bytes).unwrap();
            assert_eq!(packet.originate, Timestamp(7));
            (packet.stratum, packet.reference)
        };
        let socket = socket();
        let answers: Vec<_> = (0..4).map(|_| ask(&socket)).collect();
        let other = UdpSocket::bind("127.0.0.2:0").unwrap();
        other.set_read_timeout(Some(common::DEADLINE)).unwrap();
        (answers, ask(&other))
    });
    let (answers, other) = helper.wait(&mut manager, "answers");
    let local = (10, [127, 127, 1, 0]);
    assert_eq!(answers, [local, local, local, (0, *b"RATE")]);
    assert_eq!(other, local);
    assert_eq!((manager.stats().sntp_served, manager.stats().sntp_limited), (4, 1));
}

/// A machine with many addresses: who asks one of them hears no other.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    for (bound, asked) in [
        ("0.0.0.0", ["127.0.0.1", "127.0.0.2", "127.99.1.7"]),
        ("[::]", ["[::1]", "127.0.0.2", "127.99.1.7"]),
        ("127.0.0.2", ["127.0.0.2"; 3]),
    ] {
        let mut manager = manager();
        let server = manager.net().sntp_listen(format!("sntp://{bound}:0"), record).unwrap();
        let port = addr(&mut manager, server).port();
        for (n, asked) in asked.into_iter().enumerate() {
            let id = manager.net().sntp_connect(format!("sntp://{asked}:{port}"), record).unwrap();
            until(&mut manager, "the end", |m| m.state().end_of(id).is_some());
            assert_eq!(manager.state().end_of(id), Some("Closed: closed by this side"), "{bound} asked at {asked}");
            assert_eq!(manager.stats().sntp_served, n as u64 + 1, "{bound} asked at {asked}");
        }
    }
}

#[test]
fn the_wall_clock_is_the_systems_until_it_is_set() {
    let mut manager = manager();
    let apart = |manager: &mut Manager<Log>| {
        let (ours, system) = (manager.net().wall_clock(), SystemTime::now());
        ours.duration_since(system).unwrap_or_else(|e| e.duration())
    };
    assert!(apart(&mut manager) < ms(500));
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    manager.net().set_wall_clock(time);
    let shown = manager.net().wall_clock();
    assert!(shown >= time && shown < time + ms(5000));
}

#[test]
fn a_clock_is_kept_right_by_a_server_that_is_another_manager() {
    let mut server = manager();
    let ahead = SystemTime::now() + Duration::from_secs(1000);
    server.net().set_wall_clock(ahead);
    let id = server.net().sntp_listen(vansire::sntp::ServerOptions::new("sntp://127.0.0.1:0").stratum(1), record);
    let to = addr(&mut server, id.unwrap());
    let mut client = manager();
    let options = ClientOptions::new(format!("sntp://{to}")).floor(Duration::from_secs(1));
    let sync = client.net().sync_time(SyncOptions::new([options]).every(Duration::from_secs(1))).unwrap();
    let own = client.net().sntp_listen("sntp://127.0.0.1:0", record).unwrap();
    assert!(addr(&mut client, own).port() > 0);
    until(&mut client, "the first correction", |m| {
        server.poll(Some(Duration::ZERO)).unwrap();
        sync.status(&m.net()).synchronised.is_some()
    });
    let status = sync.status(&client.net());
    assert_eq!((status.steps, status.servers.len()), (1, 1));
    assert!(status.servers[0].agrees && status.servers[0].sample.is_some(), "{status:?}");
    let (ours, theirs) = (client.net().wall_clock(), server.net().wall_clock());
    let apart = theirs.duration_since(ours).unwrap_or_else(|e| e.duration());
    assert!(apart < ms(50), "{apart:?}");
    assert!(client.net().time_sync().is_some());
    sync.stop(&mut client.net());
    assert!(client.net().time_sync().is_none());
    until(&mut client, "the end", |m| m.net().connection_count() == 1);
}

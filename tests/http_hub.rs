//! One stream of events for many clients, over real sockets.

mod http_support;

use std::time::Duration;

use http_support::{Client, describe};
use vansire::http::{EventHub, Response, Subscribed, sse};
use vansire::{Ctx, Event, Limits, ListenOptions, Manager, ManualClock, Sent};

type Cx<'a> = Ctx<'a, State>;

struct State {
    hub: EventHub,
    subscribed: Vec<Subscribed>,
    closed: Vec<String>,
}

struct Server {
    manager: Manager<State>,
    clock: ManualClock,
    addr: std::net::SocketAddr,
}

fn serve(hub: EventHub, limits: Limits) -> Server {
    let clock = ManualClock::new();
    let state = State { hub, subscribed: Vec::new(), closed: Vec::new() };
    let mut manager = Manager::builder().limits(limits).clock(clock.clone()).build(state).unwrap();
    let listener = manager
        .net()
        .listen(ListenOptions::new("http://127.0.0.1:0"), |cx: &mut Cx<'_>, ev: Event<'_>| match ev {
            Event::HttpRequest(request) if request.target() == "/plain" => {
                cx.reply(Response::text(200, "plain"));
            }
            Event::HttpRequest(request) => {
                if request.target() == "/own" {
                    cx.net.start(cx.conn, Response::new(200).content_type("text/event-stream").header("X-Own", "1"));
                }
                if request.target() == "/twice" {
                    cx.state.hub.subscribe(&mut cx.net, cx.conn, None);
                }
                let last = request.header("last-event-id");
                let subscribed = cx.state.hub.subscribe(&mut cx.net, cx.conn, last);
                cx.state.subscribed.push(subscribed);
            }
            Event::Closed(_) => cx.state.closed.push(describe(&ev)),
            _ => {}
        })
        .unwrap();
    let addr = manager.net().local_addr(listener).unwrap().to_string().parse().unwrap();
    Server { manager, clock, addr }
}

impl Server {
    /// Does this with the hub.
    fn with<R>(&mut self, f: impl FnOnce(&mut EventHub, &mut vansire::Net<'_, State>) -> R) -> R {
        let mut hub = std::mem::take(&mut self.manager.state_mut().hub);
        let result = f(&mut hub, &mut self.manager.net());
        self.manager.state_mut().hub = hub;
        result
    }

    fn publish(&mut self, data: &str) -> u64 {
        self.with(|hub, net| hub.publish(net, sse::Event::new(data)).unwrap())
    }

    /// A client that has subscribed.
    fn subscribe(&mut self, headers: &str) -> (Client, Subscribed) {
        self.subscribe_by(&format!("GET /events HTTP/1.1\r\nHost: a\r\n{headers}\r\n"))
    }

    fn subscribe_by(&mut self, request: &str) -> (Client, Subscribed) {
        let mut client = Client::new(std::net::TcpStream::connect(self.addr).unwrap());
        let before = self.manager.state().subscribed.len();
        assert_eq!(client.try_send(request.as_bytes()), request.len());
        self.until("it subscribes", |server| server.manager.state().subscribed.len() > before);
        (client, self.manager.state().subscribed[before])
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !is_so(self) {
            assert!(std::time::Instant::now() < end, "waited in vain until {what}");
            self.manager.poll(Some(Duration::from_millis(1))).unwrap();
        }
    }

    /// Waits until the body of the client's stream, its chunks joined, ends like this; answers the body.
    fn body(&mut self, client: &mut Client, end: &str) -> String {
        let mut body = String::new();
        self.until(end, |_| {
            client.receive();
            body = joined(&client.shown());
            body.ends_with(end)
        });
        body
    }
}

/// The body so far: chunks joined, where it is chunked.
fn joined(reply: &str) -> String {
    let Some((head, body)) = reply.split_once("\r\n\r\n") else { return String::new() };
    if !head.contains("Transfer-Encoding: chunked") {
        return body.to_owned();
    }
    let (mut rest, mut out) = (body, String::new());
    while let Some((len, after)) = rest.split_once("\r\n") {
        let len = usize::from_str_radix(len, 16).expect("a chunk size");
        let Some(data) = after.get(..len) else { break };
        out.push_str(data);
        rest = after.get(len + 2..).unwrap_or("");
    }
    out
}

#[test]
fn f13_an_event_reaches_every_client_under_one_number() {
    let mut server = serve(EventHub::new(), Limits::new());
    let (mut old, _) = server.subscribe_by("GET / HTTP/1.0\r\n\r\n");
    let (mut own, _) = server.subscribe_by("GET /own HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut clients: Vec<Client> = (0..20).map(|_| server.subscribe("").0).collect();
    clients.extend([old, own]);
    assert!(server.manager.state().subscribed.iter().all(|subscribed| *subscribed == Subscribed::New));

    let event = sse::Event::new("a\nb").event("tick").id("mine");
    let first = server.with(|hub, net| hub.publish(net, event).unwrap());
    // A manual clock begins in the year 2000, in milliseconds.
    assert_eq!(first, 946_684_800_000);
    assert_eq!(server.publish(""), first + 1, "within one millisecond the numbers go on");
    server.clock.advance(Duration::from_secs(1));
    server.manager.poll(Some(Duration::ZERO)).unwrap();
    let long = "x".repeat(100_000);
    assert_eq!(server.publish(&long), first + 1000);
    let expected = format!(
        "event: tick\nid: {first}\ndata: a\ndata: b\n\nid: {}\ndata: \n\nid: {}\ndata: {long}\n\n",
        first + 1,
        first + 1000
    );
    for client in &mut clients {
        assert_eq!(server.body(client, "x\n\n"), expected);
        assert!(client.shown().contains("Content-Type: text/event-stream\r\n"));
    }
    own = clients.pop().unwrap();
    assert!(own.shown().contains("X-Own: 1\r\n"));
    old = clients.pop().unwrap();
    assert!(!old.shown().contains("chunked"));

    let bad = server.with(|hub, net| hub.publish(net, sse::Event::new("").event("a\nb")));
    assert!(bad.is_err());
    assert_eq!(server.publish("on"), first + 1001, "an event that is refused takes no number");
    server.body(&mut clients[0], "data: on\n\n");
}

#[test]
fn a_client_that_comes_back_is_told_what_it_missed() {
    let mut server = serve(EventHub::new().replay(3, 1000), Limits::new());
    let (_, early) = server.subscribe("Last-Event-ID: 7\r\n");
    assert_eq!(early, Subscribed::Behind(0), "of an earlier run");
    let ids: Vec<u64> = (0..3).map(|i| server.publish(&format!("event {i}"))).collect();
    let id = |at: usize| ids[at];
    let table = [
        ("the last", id(2).to_string(), Subscribed::Resumed(0)),
        ("one missed", id(1).to_string(), Subscribed::Resumed(1)),
        ("the first", id(0).to_string(), Subscribed::Resumed(2)),
        ("of an earlier run", (id(0) - 1).to_string(), Subscribed::Behind(3)),
        ("of the future", (id(2) + 1).to_string(), Subscribed::Behind(3)),
        ("no number", "x1".to_owned(), Subscribed::Behind(3)),
        ("empty", String::new(), Subscribed::Behind(3)),
        ("larger than any", "9".repeat(40), Subscribed::Behind(3)),
    ];
    for (name, last, expected) in table {
        let (mut client, subscribed) = server.subscribe(&format!("Last-Event-ID: {last}\r\n"));
        assert_eq!(subscribed, expected, "{name}");
        let (Subscribed::Resumed(n) | Subscribed::Behind(n)) = subscribed else { panic!("{name}") };
        let all: String = (3 - n..3).map(|i| format!("id: {}\ndata: event {i}\n\n", ids[i])).collect();
        if n > 0 {
            assert_eq!(server.body(&mut client, "event 2\n\n"), all, "{name}");
        }
    }
    // The fourth pushes the first out; who saw the first has missed nothing yet.
    let fourth = server.publish("event 3");
    assert_eq!(server.subscribe(&format!("Last-Event-ID: {}\r\n", id(0))).1, Subscribed::Resumed(3));
    server.publish("event 4");
    assert_eq!(server.subscribe(&format!("Last-Event-ID: {}\r\n", id(0))).1, Subscribed::Behind(3));
    // The bound of bytes: one of 990 leaves room for nothing else, one above it is not kept either.
    server.publish(&"x".repeat(950));
    assert_eq!(server.subscribe(&format!("Last-Event-ID: {fourth}\r\n")).1, Subscribed::Behind(1));
    let last = server.publish(&"x".repeat(1000));
    assert_eq!(server.subscribe(&format!("Last-Event-ID: {fourth}\r\n")).1, Subscribed::Behind(0));
    assert_eq!(server.subscribe(&format!("Last-Event-ID: {last}\r\n")).1, Subscribed::Resumed(0));
}

#[test]
fn f15_clients_that_left_are_forgotten() {
    let mut server = serve(EventHub::new(), Limits::new());
    let (mut stays, _) = server.subscribe("");
    for _ in 0..3 {
        let clients: Vec<Client> = (0..10).map(|_| server.subscribe("").0).collect();
        assert_eq!(server.manager.state().hub.len(), 11);
        let closed = server.manager.state().closed.len();
        drop(clients);
        // A comment finds out who is not there: the system answers it with a reset.
        server.until("all are gone", |server| {
            server.with(|hub, net| hub.keep_alive(net));
            server.manager.state().hub.len() == 1
        });
        server.until("their ends are told", |server| server.manager.state().closed.len() == closed + 10);
    }
    let comments = server.body(&mut stays, ":\n\n");
    assert!(comments.split(":\n\n").all(str::is_empty), "{comments:?}");
    // Without events and comments those that left are found when more come.
    let conns: Vec<_> = (0..500)
        .map(|_| {
            let (client, _) = server.subscribe("");
            let conn = server.manager.net().connections().last().unwrap().id;
            server.manager.net().close(conn);
            server.manager.poll(Some(Duration::ZERO)).unwrap();
            drop(client);
            server.manager.state().hub.len()
        })
        .collect();
    assert!(conns.iter().all(|len| *len <= 64), "{conns:?}");
}

#[test]
fn a_client_that_does_not_read_is_closed_and_the_others_go_on() {
    let hub = EventHub::new().queue_max(100_000).replay(1000, 200_000);
    let mut server = serve(hub, Limits::new());
    let (mut reads, _) = server.subscribe("");
    let (_sleeps, _) = server.subscribe("");
    let long = "x".repeat(10_000);
    let mut sent = 0;
    server.until("the slow one is closed", |server| {
        for _ in 0..10 {
            server.publish(&format!("{sent} {long}"));
            sent += 1;
        }
        server.manager.poll(Some(Duration::ZERO)).unwrap();
        let conns = server.manager.net().connections();
        assert!(conns.iter().all(|conn| server.manager.net().queued(conn.id) <= 310_100));
        reads.receive();
        !server.manager.state().closed.is_empty()
    });
    assert_eq!(server.manager.state().closed, ["Closed: the peer reads too slowly"]);
    assert_eq!((server.manager.stats().slow_consumers, server.manager.state().hub.len()), (1, 1));
    server.publish("last");
    let all = server.body(&mut reads, "last\n\n");
    assert_eq!(all.matches("data: ").count(), sent + 1, "the one that reads gets all of it");
}

#[test]
fn a_replay_larger_than_the_queue_closes_nobody() {
    let hub = EventHub::new().queue_max(1000).replay(1000, 8 << 20);
    let mut server = serve(hub, Limits::new());
    let first = server.publish("first");
    for _ in 0..70 {
        server.publish(&"x".repeat(100_000));
    }
    let (mut client, subscribed) = server.subscribe(&format!("Last-Event-ID: {first}\r\n"));
    assert_eq!(subscribed, Subscribed::Resumed(70));
    server.publish("last");
    assert_eq!(server.body(&mut client, "last\n\n").len(), 70 * 100_025 + 29);
    assert_eq!(server.manager.stats().slow_consumers, 0);
}

#[test]
fn rfc_9110_9_3_2_head_is_answered_and_does_not_subscribe() {
    let mut server = serve(EventHub::new(), Limits::new());
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut client, subscribed) = server.subscribe_by(head);
    assert_eq!((subscribed, server.manager.state().hub.len()), (Subscribed::Not(Sent::Queued), 0));
    // The connection goes on.
    client.try_send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n");
    server.until("the next is answered", |_| {
        client.receive();
        client.shown().ends_with("plain")
    });
}

#[test]
fn a_stream_that_was_finished_gets_no_more_and_its_connection_serves_others() {
    let mut server = serve(EventHub::new(), Limits::new());
    let (mut client, _) = server.subscribe("");
    let conn = server.manager.net().connections().last().unwrap().id;
    server.publish("one");
    server.manager.net().finish(conn, &[]);
    client.try_send(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n");
    server.until("the next is answered", |_| {
        client.receive();
        client.shown().ends_with("plain")
    });
    server.publish("two");
    assert_eq!(server.manager.state().hub.len(), 0);
    // The same connection again: the stream of before is not this one.
    client.try_send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    server.until("it subscribes", |server| server.manager.state().subscribed.len() == 2);
    server.publish("three");
    server.until("three", |_| {
        client.receive();
        client.shown().contains("three")
    });
    assert!(!client.shown().contains("two"));
    assert_eq!(server.manager.state().hub.len(), 1);
}

#[test]
fn streams_end_in_order_when_the_manager_stops() {
    let mut server = serve(EventHub::new(), Limits::new());
    let (mut client, _) = server.subscribe("");
    server.publish("one");
    server.manager.poll(Some(Duration::ZERO)).unwrap();
    server.manager.net().stop();
    // The clock stands still: nothing but the end of the stream can end this.
    server.manager.run().unwrap();
    client.receive();
    assert!(client.shown().ends_with("data: one\n\n\r\n0\r\n\r\n"), "{}", client.shown());
}

#[test]
fn who_subscribes_twice_gets_each_event_once() {
    let mut server = serve(EventHub::new(), Limits::new());
    let (mut client, subscribed) = server.subscribe_by("GET /twice HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((subscribed, server.with(|hub, _| hub.len())), (Subscribed::New, 1));
    server.publish("one");
    server.publish("two");
    assert_eq!(server.body(&mut client, "data: two\n\n").matches("data: one").count(), 1);
}

#[test]
fn a_silent_stream_lives_longer_than_any_reply() {
    let mut server = serve(EventHub::new(), Limits::new().reply_timeout(Duration::from_secs(1)));
    let (mut own, _) = server.subscribe_by("GET /own HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut client, _) = server.subscribe("");
    for _ in 0..5 {
        server.clock.advance(Duration::from_secs(3600));
        server.manager.poll(Some(Duration::ZERO)).unwrap();
    }
    server.publish("late");
    server.body(&mut client, "late\n\n");
    server.body(&mut own, "late\n\n");
}

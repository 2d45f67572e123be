//! Names through the resolver of the loop, against name servers on loopback: cases B3 and D9 to D12 of the reference. The
//! servers speak through hickory-proto, so that both sides do not share a mistake.

mod common;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{Log, TempDir, addr, echo, ms, record, until};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use socket2::{Domain, Socket, Type};
use vansire::{DnsOptions, Manager, ManualClock, Resolver, Result};

/// A name server in the test's hands: nothing is answered unless the test does so.
struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    addr: SocketAddr,
    asked: RefCell<Vec<(SocketAddr, Message)>>,
}

impl Server {
    fn new() -> Self {
        loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let addr = udp.local_addr().unwrap();
            // Another test may have the port already.
            let Ok(tcp) = TcpListener::bind(addr) else { continue };
            udp.set_nonblocking(true).unwrap();
            tcp.set_nonblocking(true).unwrap();
            return Self { udp, tcp, addr, asked: RefCell::default() };
        }
    }

    /// Takes what has come.
    fn take(&self) -> Option<(SocketAddr, Message)> {
        let mut buf = [0; 2048];
        let (n, from) = self.udp.recv_from(&mut buf).ok()?;
        let message = Message::from_bytes(&buf[..n]).unwrap();
        self.asked.borrow_mut().push((from, message.clone()));
        Some((from, message))
    }

    fn reply(&self, to: SocketAddr, message: &Message) {
        self.udp.send_to(&message.to_bytes().unwrap(), to).unwrap();
    }

    /// Answers all that has come, from a table of (name, address).
    fn serve(&self, table: &[(&str, &str)]) {
        while let Some((from, query)) = self.take() {
            self.reply(from, &answer(&query, table));
        }
    }

    fn count(&self) -> usize {
        self.asked.borrow().len()
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn response(query: &Message) -> Message {
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    message.metadata.recursion_available = true;
    message.add_queries(query.queries.clone());
    message
}

fn answer(query: &Message, table: &[(&str, &str)]) -> Message {
    let mut message = response(query);
    let asked = &query.queries[0];
    let mut known = false;
    for (owner, ip) in table.iter().filter(|(owner, _)| name(owner) == *asked.name()) {
        known = true;
        let data = match ip.parse().unwrap() {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        };
        if data.record_type() == asked.query_type() {
            message.add_answer(Record::from_rdata(name(owner), 60, data));
        }
    }
    if !known {
        message.metadata.response_code = ResponseCode::NXDomain;
    }
    message
}

fn options(server: &Server, dir: &TempDir) -> DnsOptions {
    // The machine's own table has no say.
    DnsOptions::new().servers([server.addr]).hosts(dir.path("hosts"))
}

fn manager_of(options: impl Into<Resolver>) -> Manager<Log> {
    Manager::builder().resolver(options).build(Log::default()).unwrap()
}

type Results<T> = Rc<RefCell<Vec<Result<T>>>>;

/// Looks a name up, and answers what comes of it.
fn resolve(manager: &mut Manager<Log>, name: &str, server: &Server, table: &[(&str, &str)]) -> Result<Vec<IpAddr>> {
    let results: Results<Vec<IpAddr>> = Rc::default();
    let tell = results.clone();
    manager.net().resolve(name, move |_, result| tell.borrow_mut().push(result))?;
    until(manager, name, |_| {
        server.serve(table);
        !results.borrow().is_empty()
    });
    results.borrow_mut().pop().unwrap()
}

fn ips(text: &[&str]) -> Vec<IpAddr> {
    text.iter().map(|ip| ip.parse().unwrap()).collect()
}

#[test]
fn a_name_is_looked_up_without_a_thread_and_kept() {
    let (server, dir) = (Server::new(), TempDir::new());
    let mut manager = manager_of(options(&server, &dir));
    let table = [("h.lan", "10.0.0.1"), ("h.lan", "fd00::1"), ("h.lan", "10.0.0.2")];
    assert_eq!(resolve(&mut manager, "H.Lan", &server, &table).unwrap(), ips(&["fd00::1", "10.0.0.1", "10.0.0.2"]));
    assert_eq!(server.count(), 2);
    assert_eq!(resolve(&mut manager, "h.lan", &server, &[]).unwrap().len(), 3);
    assert_eq!(server.count(), 2, "answered from memory");
    let error = resolve(&mut manager, "none.lan", &server, &[]).unwrap_err();
    assert!(error.is_resolve());
    assert_eq!(error.to_string(), "cannot look up none.lan: there is no such name");
    let stats = manager.stats();
    assert_eq!((stats.dns_queries, stats.dns_answers, stats.dns_strays, stats.dns_cached), (4, 4, 0, 2));
}

#[test]
fn some_names_need_no_server_and_some_are_refused() {
    let (server, dir) = (Server::new(), TempDir::new());
    std::fs::write(dir.path("hosts"), "10.9.9.9 printer\n").unwrap();
    let mut manager = manager_of(options(&server, &dir));
    for (name, expected) in
        [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("printer", "10.9.9.9"), ("a.localhost", "127.0.0.1 ::1")]
    {
        let expected: Vec<&str> = expected.split(' ').collect();
        assert_eq!(resolve(&mut manager, name, &server, &[]).unwrap(), ips(&expected), "{name}");
    }
    for (name, expected) in [
        ("bücher.example", "write it in its A-label form (xn--...)"),
        ("a b", "no host name has the character ' '"),
        ("a..b", "a label of the name is empty"),
    ] {
        let error = resolve(&mut manager, name, &server, &[]).unwrap_err();
        assert!(error.is_resolve() && error.to_string().contains(expected), "{error}");
    }
    assert_eq!(server.count(), 0);
    assert_eq!(manager.stats().lookups_refused, 3);
}

#[test]
fn d9_a_silent_server_times_out_when_it_is_told_to() {
    let (server, dir) = (Server::new(), TempDir::new());
    let limits = vansire::Limits::new().resolve_timeout(ms(10));
    let mut manager = Manager::builder().limits(limits).resolver(options(&server, &dir)).build(Log::default()).unwrap();
    let start = Instant::now();
    let id = manager.net().connect("tcp://h.lan:80", record).unwrap();
    until(&mut manager, "the end", |m| m.state().end_of(id).is_some());
    assert!((ms(10)..ms(1000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    let end = "Closed: cannot connect to tcp://h.lan:80: its name could not be looked up: no answer in time";
    assert_eq!(manager.state().of(id), ["Opened", end]);
    let results: Results<Vec<IpAddr>> = Rc::default();
    let tell = results.clone();
    manager.net().resolve("h.lan", move |_, result| tell.borrow_mut().push(result)).unwrap();
    until(&mut manager, "the end", |_| !results.borrow().is_empty());
    assert!(results.borrow()[0].as_ref().unwrap_err().is_resolve());

    // By its own time: two tries of 20 ms.
    let mut manager = manager_of(options(&server, &dir).timeout(ms(20)));
    let start = Instant::now();
    let error = {
        let results: Results<Vec<IpAddr>> = Rc::default();
        let tell = results.clone();
        manager.net().resolve("h.lan", move |_, result| tell.borrow_mut().push(result)).unwrap();
        until(&mut manager, "the end", |_| !results.borrow().is_empty());
        results.borrow_mut().pop().unwrap().unwrap_err()
    };
    assert!((ms(40)..ms(1000)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(error.to_string(), "cannot look up h.lan: no name server answered in time");
    assert_eq!(manager.stats().dns_queries, 4);
}

#[test]
fn d10_a_cancelled_lookup_is_not_told() {
    let (server, dir) = (Server::new(), TempDir::new());
    let mut manager = manager_of(options(&server, &dir));
    let held = Rc::new(());
    for polls in 0..3 {
        let captured = held.clone();
        let id = manager.net().resolve("h.lan", move |_, _| drop(captured)).unwrap();
        (0..polls).for_each(|_| _ = manager.poll(Some(Duration::ZERO)).unwrap());
        server.serve(&[("h.lan", "10.0.0.1")]);
        assert!(manager.net().cancel_resolve(id));
        assert!(!manager.net().cancel_resolve(id));
        common::poll_for(&mut manager, ms(20));
        assert_eq!(Rc::strong_count(&held), 1, "the callback is dropped, after {polls} polls");
    }
    // Those that wait when the manager goes are dropped.
    let captured = held.clone();
    manager.net().resolve("other.lan", move |_, _| drop(captured)).unwrap();
    drop(manager);
    assert_eq!(Rc::strong_count(&held), 1);
}

#[test]
fn d11_what_answers_nothing_changes_nothing_but_a_counter() {
    let (server, dir) = (Server::new(), TempDir::new());
    let mut manager = manager_of(options(&server, &dir).random_case(true));
    let results: Results<Vec<IpAddr>> = Rc::default();
    let tell = results.clone();
    manager.net().resolve("www.example.org", move |_, result| tell.borrow_mut().push(result)).unwrap();
    let mut queries = Vec::new();
    until(&mut manager, "the queries", |_| {
        queries.extend(server.take());
        queries.len() == 2
    });
    assert_ne!(queries[0].0.port(), queries[1].0.port(), "a socket for each");
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = |query: &Message| answer(query, &[("www.example.org", "6.6.6.6"), ("www.example.org", "fd66::1")]);
    for (from, query) in &queries {
        let bytes = good(query).to_bytes().unwrap();
        // The socket is connected: a stranger is not even heard.
        stranger.send_to(&bytes, from).unwrap();
        let mut wrong_id = bytes.clone();
        wrong_id[0] ^= 1;
        let mut folded = bytes.to_ascii_lowercase();
        folded[..12].copy_from_slice(&bytes[..12]);
        let mut big = bytes.clone();
        big.resize(60_000, 0);
        let mut wrong_question = bytes.clone();
        wrong_question[14] ^= 1;
        for bad in [&wrong_id[..], &folded, &big, &wrong_question, b"stray", b"", &bytes[..40]] {
            server.udp.send_to(bad, from).unwrap();
        }
    }
    until(&mut manager, "the strays", |m| m.stats().dns_strays == 14);
    assert!(results.borrow().is_empty());
    for (from, query) in &queries {
        server.reply(*from, &answer(query, &[("www.example.org", "10.0.0.1")]));
    }
    until(&mut manager, "the answer", |_| !results.borrow().is_empty());
    assert_eq!(*results.borrow()[0].as_ref().unwrap(), ips(&["10.0.0.1"]));
    assert_eq!((manager.stats().dns_answers, manager.stats().dns_strays), (2, 14));
    // Later queries still go to the configured server.
    assert_eq!(
        resolve(&mut manager, "other.example.org", &server, &[("other.example.org", "10.0.0.2")]).unwrap(),
        ips(&["10.0.0.2"])
    );
}

#[test]
fn d12_aliases_are_followed_and_long_answers_are_fetched_over_tcp() {
    let (server, dir) = (Server::new(), TempDir::new());
    let mut manager = manager_of(options(&server, &dir));
    let results: Results<Vec<IpAddr>> = Rc::default();
    let tell = results.clone();
    manager.net().resolve("www.lan", move |_, result| tell.borrow_mut().push(result)).unwrap();
    let mut streams: Vec<(TcpStream, Vec<u8>)> = Vec::new();
    until(&mut manager, "the answer", |_| {
        while let Some((from, query)) = server.take() {
            let mut message = response(&query);
            if *query.queries[0].name() == name("www.lan") {
                message.add_answer(Record::from_rdata(name("www.lan"), 60, RData::CNAME(CNAME(name("h.lan")))));
            } else if query.queries[0].query_type() == RecordType::A {
                message.metadata.truncation = true;
            }
            server.reply(from, &message);
        }
        if let Ok((stream, _)) = server.tcp.accept() {
            stream.set_nonblocking(true).unwrap();
            streams.push((stream, Vec::new()));
        }
        for (stream, got) in &mut streams {
            let mut buf = [0; 512];
            if let Ok(n @ 1..) = stream.read(&mut buf) {
                got.extend_from_slice(&buf[..n]);
                let len = usize::from(u16::from_be_bytes([got[0], got[1]]));
                assert_eq!(got.len(), len + 2);
                let query = Message::from_bytes(&got[2..]).unwrap();
                let mut message = response(&query);
                for n in 0..200 {
                    message.add_answer(Record::from_rdata(name("h.lan"), 60, RData::A(A([10, 1, 0, n].into()))));
                }
                let bytes = message.to_bytes().unwrap();
                stream.write_all(&(bytes.len() as u16).to_be_bytes()).unwrap();
                stream.write_all(&bytes).unwrap();
            }
        }
        !results.borrow().is_empty()
    });
    let found = results.borrow_mut().pop().unwrap().unwrap();
    assert_eq!((found.len(), found[0]), (200, "10.1.0.0".parse().unwrap()));
    assert_eq!(streams.len(), 1);
}

#[test]
fn the_files_are_read_again_when_they_change() {
    let (old, new, dir) = (Server::new(), Server::new(), TempDir::new());
    let write = |server: &Server, search: &str| {
        let port = server.addr.port();
        std::fs::write(dir.path("resolv.conf"), format!("nameserver [127.0.0.1]:{port}\nsearch {search}\n")).unwrap();
    };
    write(&old, "old.lan");
    let files = DnsOptions::new().resolv_conf(dir.path("resolv.conf")).hosts(dir.path("hosts")).cache_max(0);
    let clock = ManualClock::new();
    let mut manager = Manager::builder().clock(clock.clone()).resolver(files).build(Log::default()).unwrap();
    let table = [("h.old.lan", "10.0.0.1"), ("h.changed.lan", "10.0.0.2")];
    assert_eq!(resolve(&mut manager, "h", &old, &table).unwrap(), ips(&["10.0.0.1"]));
    write(&new, "changed.lan");
    std::fs::write(dir.path("hosts"), "10.0.0.3 table\n").unwrap();
    // Once a second is often enough: until then the old ones hold.
    clock.advance(ms(999));
    assert_eq!(resolve(&mut manager, "h", &old, &table).unwrap(), ips(&["10.0.0.1"]));
    clock.advance(ms(1));
    assert_eq!(resolve(&mut manager, "h", &new, &table).unwrap(), ips(&["10.0.0.2"]));
    assert_eq!(resolve(&mut manager, "table", &new, &[]).unwrap(), ips(&["10.0.0.3"]));
}

/// A file system image in which all files have one age; a link that leads elsewhere.
#[test]
fn a_file_is_another_one_though_it_is_as_long_and_as_old() {
    let (server, dir) = (Server::new(), TempDir::new());
    let write = |ip: &str| {
        let file = std::fs::File::create(dir.path("new")).unwrap();
        (&file).write_all(format!("{ip} table\n").as_bytes()).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        std::fs::rename(dir.path("new"), dir.path("hosts")).unwrap();
    };
    write("10.0.0.1");
    let clock = ManualClock::new();
    let builder = Manager::builder().clock(clock.clone()).resolver(options(&server, &dir));
    let mut manager = builder.build(Log::default()).unwrap();
    assert_eq!(resolve(&mut manager, "table", &server, &[]).unwrap(), ips(&["10.0.0.1"]));
    write("10.0.0.2");
    clock.advance(ms(1000));
    assert_eq!(resolve(&mut manager, "table", &server, &[]).unwrap(), ips(&["10.0.0.2"]));
    std::fs::remove_file(dir.path("hosts")).unwrap();
    clock.advance(ms(1000));
    let table = [("table", "10.0.0.3")];
    assert_eq!(resolve(&mut manager, "table", &server, &table).unwrap(), ips(&["10.0.0.3"]), "it is gone");
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_in_the_place_of_a_file_stalls_nothing() {
    let (server, dir) = (Server::new(), TempDir::new());
    for name in ["hosts", "resolv.conf"] {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, dir.path(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let mut manager = manager_of(options(&server, &dir).resolv_conf(dir.path("resolv.conf")));
    let table = [("h.lan", "10.0.0.1")];
    assert_eq!(resolve(&mut manager, "h.lan", &server, &table).unwrap(), ips(&["10.0.0.1"]));
}

#[test]
fn a_server_at_no_address_is_this_machine() {
    let (server, dir) = (Server::new(), TempDir::new());
    let port = server.addr.port();
    let mut manager = manager_of(DnsOptions::new().servers([([0, 0, 0, 0], port)]).hosts(dir.path("hosts")));
    let table = [("h.lan", "10.0.0.1")];
    assert_eq!(resolve(&mut manager, "h.lan", &server, &table).unwrap(), ips(&["10.0.0.1"]));
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let dir = TempDir::new();
    let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut manager = manager_of(DnsOptions::new().servers([gone]).hosts(dir.path("hosts")));
    let start = Instant::now();
    let id = manager.net().connect("tcp://h.lan:80", record).unwrap();
    until(&mut manager, "the end", |m| m.state().end_of(id).is_some());
    assert!(start.elapsed() < ms(1000));
    let end = manager.state().end_of(id).unwrap();
    assert!(end.contains(&format!("the name server {gone} cannot be reached")), "{end}");
    assert_eq!(manager.stats().connect_failures, 1);
}

#[test]
fn services_are_found_on_demand() {
    let (server, dir) = (Server::new(), TempDir::new());
    let mut manager = manager_of(options(&server, &dir));
    let results: Results<Vec<vansire::dns::Srv>> = Rc::default();
    let tell = results.clone();
    manager.net().resolve_service("_mqtt._tcp.lan", move |_, result| tell.borrow_mut().push(result)).unwrap();
    until(&mut manager, "the answer", |_| {
        while let Some((from, query)) = server.take() {
            let mut message = response(&query);
            for (priority, port) in [(20, 1), (10, 2)] {
                let srv = SRV::new(priority, 0, port, name("broker.lan"));
                message.add_answer(Record::from_rdata(query.queries[0].name().clone(), 60, RData::SRV(srv)));
            }
            server.reply(from, &message);
        }
        !results.borrow().is_empty()
    });
    let found = results.borrow_mut().pop().unwrap().unwrap();
    let found: Vec<String> = found.iter().map(|srv| format!("{}:{}", srv.target, srv.port)).collect();
    assert_eq!(found, ["broker.lan:2", "broker.lan:1"]);
    let mut manager = manager_of(Resolver::System);
    let refused = manager.net().resolve_service("_mqtt._tcp.lan", |_, _| {}).unwrap_err();
    assert!(refused.is_unsupported() && refused.to_string().contains("Resolver::Stub"), "{refused}");
}

#[test]
fn the_systems_resolver_is_there_for_those_who_want_it() {
    let mut manager = manager_of(Resolver::System);
    let server = Server::new();
    assert!(resolve(&mut manager, "localhost", &server, &[]).unwrap().iter().all(IpAddr::is_loopback));
    assert_eq!(server.count(), 0);
    assert_eq!(manager.stats().dns_queries, 0);
}

#[test]
fn a_callback_that_panics_is_caught_and_one_may_ask_again() {
    let (server, dir) = (Server::new(), TempDir::new());
    let mut manager = manager_of(options(&server, &dir));
    let panics = Rc::new(RefCell::new(Vec::new()));
    let seen = panics.clone();
    manager.on_panic(move |_, panic| seen.borrow_mut().push(panic.event));
    manager.net().resolve("localhost", |_, _| std::panic::panic_any("planned")).unwrap();
    // Each asks for the next: no turn goes on for ever.
    fn again(cx: &mut vansire::LookupCtx<'_, Log>, _: Result<Vec<IpAddr>>) {
        cx.state.lines.push((cx.net.connections()[0].id, "asked".into()));
        cx.net.resolve("localhost", again).unwrap();
    }
    manager.net().listen("tcp://127.0.0.1:0", record).unwrap();
    manager.net().resolve("localhost", again).unwrap();
    until(&mut manager, "ten rounds", |m| m.state().count("asked") >= 10);
    assert!(manager.stats().turns >= 9, "{} turns", manager.stats().turns);
    assert_eq!(*panics.borrow(), ["lookup"]);
}

/// An address that takes no connection and refuses none: its queue is full.
fn blackhole(addr: SocketAddr) -> (Socket, Vec<Socket>) {
    let listener = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
    listener.bind(&addr.into()).unwrap();
    listener.listen(0).unwrap();
    let mut queue = Vec::new();
    for _ in 0..20 {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        let taken = socket.connect_timeout(&addr.into(), ms(40)).is_ok();
        queue.push(socket);
        if !taken {
            return (listener, queue);
        }
    }
    panic!("the queue of {addr} does not fill up");
}

/// RFC 8305 §5, on real sockets.
#[test]
fn b3_a_black_hole_costs_a_quarter_of_a_second() {
    let (server, dir) = (Server::new(), TempDir::new());
    let mut manager = manager_of(options(&server, &dir));
    let listener = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let port = addr(&mut manager, listener).port();
    let _hole = blackhole(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
    let id = manager.net().connect(format!("tcp://h.lan:{port}"), record).unwrap();
    manager.net().send(id, b"hello");
    let start = Instant::now();
    until(&mut manager, "Connected", |m| {
        server.serve(&[("h.lan", "::1"), ("h.lan", "127.0.0.1")]);
        m.state().of(id).contains(&"Connected")
    });
    let took = start.elapsed();
    assert!((ms(250)..ms(300)).contains(&took), "{took:?}");
    until(&mut manager, "the echo", |m| m.state().of(id).contains(&"Data hello"));
    assert_eq!(manager.state().of(id)[..3], ["Opened", "Resolved ::1", "Connected"]);
}

#[test]
fn rfc_8305_section_3_ipv4_does_not_wait_for_an_answer_that_does_not_come() {
    let (server, dir) = (Server::new(), TempDir::new());
    let mut manager = manager_of(options(&server, &dir));
    let listener = manager.net().listen("tcp://127.0.0.1:0", echo).unwrap();
    let port = addr(&mut manager, listener).port();
    let udp = manager.net().listen("udp://127.0.0.1:0", echo).unwrap();
    let udp_port = addr(&mut manager, udp).port();
    for (url, host) in [(format!("tcp://a.lan:{port}"), "a.lan"), (format!("udp://b.lan:{udp_port}"), "b.lan")] {
        let id = manager.net().connect(url, record).unwrap();
        manager.net().send(id, b"hello");
        let start = Instant::now();
        until(&mut manager, "Connected", |m| {
            while let Some((from, query)) = server.take() {
                if query.queries[0].query_type() == RecordType::A {
                    server.reply(from, &answer(&query, &[(host, "127.0.0.1")]));
                }
            }
            m.state().of(id).contains(&"Connected")
        });
        let took = start.elapsed();
        assert!((ms(50)..ms(200)).contains(&took), "{host}: {took:?}");
        until(&mut manager, "the echo", |m| m.state().of(id).iter().any(|line| line.ends_with("hello")));
        manager.net().close(id);
        until(&mut manager, "the end", |m| m.state().end_of(id).is_some());
    }
}

//! Multicast DNS with sockets of the system, on the loopback interface: two managers find and reach each other, and so does a
//! program that speaks through hickory-proto. No datagram leaves this machine.

mod common;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::{DEADLINE, Log, ms, record, until};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable};
use vansire::mdns::{Browsed, Found, Options, Service};
use vansire::{DnsOptions, Manager};

const HOST: &str = "vansire-test-host";
const KIND: &str = "_vansire-test._tcp";

/// The name of the loopback interface is found by its address, whatever the system calls it.
fn options(port: u16) -> Options {
    Options::new().interface("127.0.0.1").ipv6(false).port(port)
}

/// Not the port of everybody, where this machine's own responder may be.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn manager(host: &str, port: u16) -> Manager<Log> {
    let dns = DnsOptions::new().servers([] as [SocketAddr; 0]).multicast(true);
    Manager::builder().mdns(options(port).host(host)).resolver(dns).build(Log::default()).unwrap()
}

/// Announces, and waits until the names are made sure of: some 750 ms (RFC 6762 §8.1). Where the system grants no multicast on
/// loopback this fails, since nothing would be proved.
fn announced(port: u16, service: Service) -> Manager<Log> {
    let mut manager = manager(HOST, port);
    manager.net().mdns_announce(service).expect("a multicast socket on loopback");
    until(&mut manager, "names of its own", |manager| {
        manager.net().mdns_status().is_some_and(|status| status.is_settled)
    });
    assert!(manager.stats().mdns_heard > 0, "its own datagrams come back: there is multicast on loopback");
    manager
}

#[test]
fn services_on_loopback_are_found_and_reached_by_name() {
    let port = free_port();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_port = listener.local_addr().unwrap().port();
    let mut host = announced(port, Service::new("Prüfling 1", KIND, tcp_port).txt("path", "/"));
    let mut guest = manager("vansire-test-guest", port);
    let told: Rc<RefCell<Vec<Browsed>>> = Rc::default();
    let log = told.clone();
    guest.net().mdns_browse(KIND, move |_, browsed| log.borrow_mut().push(browsed)).unwrap();
    let is_found = || matches!(told.borrow().last(), Some(Browsed::Found(_)));
    both(&mut host, &mut guest, "a service is found", |_| is_found());
    let Some(Browsed::Found(Found { name, port, txt, addrs, .. })) = told.borrow().last().cloned() else { panic!() };
    assert_eq!((name.as_str(), port, &txt[..]), ("Prüfling 1", tcp_port, &[b"path=/"[..].into()][..]));
    assert!(addrs.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)), "{addrs:?}");
    let id = guest.net().connect(format!("tcp://{HOST}.local:{tcp_port}"), record).unwrap();
    both(&mut host, &mut guest, "reached by its name", |guest| guest.state().of(id).contains(&"Connected"));
    drop(host);
    until(&mut guest, "RFC 6762 §10.1, a goodbye", |_| {
        *told.borrow().last().unwrap() == Browsed::Lost("Prüfling 1".into())
    });
}

/// Polls both until the condition holds.
fn both(a: &mut Manager<Log>, b: &mut Manager<Log>, what: &str, mut done: impl FnMut(&mut Manager<Log>) -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done(b) {
        assert!(Instant::now() < end, "waited {DEADLINE:?} for: {what}");
        a.poll(Some(ms(2))).unwrap();
        b.poll(Some(ms(2))).unwrap();
    }
}

/// RFC 6762 §6.7: one who asks as of an ordinary server, from any port, and reads with other code than ours.
#[test]
fn rfc_6762_section_6_7_other_software_is_answered_and_understands() {
    let port = free_port();
    let mut host = announced(port, Service::new("one", KIND, 1234).txt("a", "b"));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let mut ask = |name: Name, rtype: RecordType| {
        let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
        let mut query = Query::query(name, rtype);
        query.set_query_class(DNSClass::IN);
        message.add_query(query);
        // To the one: where the group is not routed, that is what such software does (RFC 6762 §5.5).
        socket.send_to(&message.to_bytes().unwrap(), (Ipv4Addr::LOCALHOST, port)).unwrap();
        let mut answer = None;
        until(&mut host, "an answer", |_| {
            let mut buf = [0; 9000];
            answer = socket.recv_from(&mut buf).ok().map(|(n, _)| Message::from_bytes(&buf[..n]).unwrap());
            answer.is_some()
        });
        let answer = answer.unwrap();
        assert_eq!(answer.metadata.id, 4711);
        answer.answers.iter().map(|record| (record.ttl, record.data.clone())).collect::<Vec<_>>()
    };
    let below = name(&format!("one.{KIND}.local."));
    let kind = name(&format!("{KIND}.local."));
    let host_name = name(&format!("{HOST}.local."));
    let ptr = ask(kind.clone(), RecordType::PTR);
    assert!(matches!(&ptr[..], [(1..=10, RData::PTR(ptr))] if ptr.0 == below), "{ptr:?}");
    let srv = ask(below.clone(), RecordType::SRV);
    assert!(matches!(&srv[..], [(1..=10, RData::SRV(srv))] if srv.port == 1234 && srv.target == host_name), "{srv:?}");
    let txt = ask(below, RecordType::TXT);
    assert!(matches!(&txt[..], [(_, RData::TXT(txt))] if txt.txt_data[0][..] == *b"a=b"), "{txt:?}");
    let a = ask(host_name, RecordType::A);
    assert!(matches!(&a[..], [(_, RData::A(a))] if a.0 == Ipv4Addr::LOCALHOST), "{a:?}");
    // RFC 6763 §9.
    let kinds = ask(name("_services._dns-sd._udp.local."), RecordType::PTR);
    assert!(matches!(&kinds[..], [(_, RData::PTR(ptr))] if ptr.0 == kind), "{kinds:?}");
}

#[test]
fn what_cannot_be_announced_or_asked_is_an_error_that_says_why() {
    let mut manager = manager(HOST, free_port());
    let error = manager.net().mdns_announce(Service::new("x", "http", 80)).unwrap_err();
    assert!(error.is_bad_value());
    assert_eq!(error.to_string(), "cannot announce \"x\": \"http\" is no kind of services: they are like _http._tcp");
    let error = manager.net().mdns_resolve("example.org", |_, _| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot look up example.org: only names below .local are asked for on the local network"
    );
    let nowhere = Options::new().interface("no-such-interface");
    let mut nowhere = Manager::builder().mdns(nowhere).build(()).unwrap();
    let error = nowhere.net().mdns_resolve("a.local", |_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "cannot look up a.local: there is no network interface to ask on");
    let long = Options::new().host("x".repeat(64));
    let error = Manager::builder().mdns(long).build(()).unwrap().net().mdns_announce_host().unwrap_err();
    assert!(error.is_bad_value(), "{error}");
    let waiting = Duration::from_secs(2);
    assert!(manager.next_deadline().is_none_or(|at| at > Instant::now() + waiting), "nothing is left to be done");
}

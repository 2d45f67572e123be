//! A manager that announces, browses and resolves on a simulated network hears any datagrams: it panics at none, and says little,
//! whatever it is asked.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use vansire::Manager;
use vansire::mdns::{Options, Service};
use vansire::sim::Sim;

const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353);

fuzz_target!(|input: &[u8]| {
    let sim = Sim::new(1);
    let options = Options::new().host("kitchen").cache_max(16);
    let mut manager = Manager::builder().sim(&sim).mdns(options).build(()).expect("a manager");
    let peers = [5353, 4000].map(|port| sim.udp(([10, 0, 0, 9], port)).expect("a socket"));
    peers[0].join(GROUP);
    manager.net().mdns_announce(Service::new("light", "_http._tcp", 80).txt("path", "/")).expect("announced");
    manager.net().mdns_browse("_http._tcp", |_, _| {}).expect("browsing");
    manager.net().mdns_resolve("bath.local", |_, _| {}).expect("asked");
    // Each datagram: who sends it, how long after the last, how long it is, and what it is.
    let mut rest = input;
    let mut time = Duration::ZERO;
    while let [who, wait, len, tail @ ..] = rest {
        let wait = Duration::from_millis(u64::from(*wait) * 10);
        let (datagram, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        peers[usize::from(who & 1)].send_to(datagram, GROUP);
        sim.run_for(&mut [&mut manager], wait).expect("it comes to rest");
        time += wait;
        rest = tail;
    }
    sim.run_for(&mut [&mut manager], Duration::from_secs(10)).expect("it comes to rest");
    let sent = manager.stats().mdns_sent;
    // To everybody: each of seven records once in a quarter of a second, and questions; to one: 50 in a second.
    let seconds = time.as_secs() + 12;
    assert!(sent <= seconds * (7 * 4 + 50 + 20), "{sent} in {seconds} s");
    for peer in &peers {
        while let Some((_, bytes)) = peer.take() {
            assert!(bytes.len() <= 1500, "{}", bytes.len());
        }
    }
});

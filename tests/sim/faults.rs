//! The simulation's own faults: each does what it says.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use vansire::http::Response;
use vansire::sim::{Faults, Sim};
use vansire::{Ctx, Event, Manager};

const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SECOND: Duration = Duration::from_secs(1);

fn ignore(_: &mut Ctx<'_, ()>, _: Event<'_>) {}

/// The listener is one of them. Who waits is accepted as soon as somebody has left.
#[test]
fn a_manager_has_no_more_sockets_than_descriptors() {
    let sim = Sim::new(1);
    sim.set_faults(Faults::none().descriptors(3));
    let mut manager = Manager::builder().sim(&sim).build(()).unwrap();
    manager.net().listen("tcp://10.0.0.1:7", ignore).unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| sim.connect((HERE, 7))).collect();
    sim.run_for(&mut [&mut manager], SECOND).unwrap();
    assert_eq!(manager.net().connection_count(), 3);
    assert!(manager.stats().accept_stalls > 0);
    let refused = manager.net().connect("tcp://10.0.0.2:7", ignore);
    let is_told = Rc::new(RefCell::new(None));
    let told = is_told.clone();
    let id = refused.unwrap();
    manager.net().set_handler(id, move |_: &mut Ctx<'_, ()>, event: Event<'_>| {
        if let Event::Closed(reason) = event {
            *told.borrow_mut() = Some(reason.to_string());
        }
    });
    assert!(manager.net().listen("udp://10.0.0.1:7", ignore).is_err());
    sim.run_for(&mut [&mut manager], SECOND).unwrap();
    assert!(is_told.borrow().as_deref().is_some_and(|why| why.contains("10.0.0.2")), "{is_told:?}");
    drop(clients.remove(0));
    sim.run_for(&mut [&mut manager], SECOND).unwrap();
    assert_eq!((manager.net().connection_count(), manager.stats().accepted), (3, 3));
    sim.set_faults(Faults::none());
    sim.run_for(&mut [&mut manager], SECOND).unwrap();
    assert_eq!((manager.net().connection_count(), manager.stats().accepted), (4, 4));
}

#[test]
fn the_wall_clock_jumps_and_no_timer_does() {
    let sim = Sim::new(1);
    let mut manager = Manager::builder().sim(&sim).build(0).unwrap();
    let page = |cx: &mut Ctx<'_, u32>, event: Event<'_>| {
        if let Event::HttpRequest(_) = event {
            cx.reply(Response::text(200, "x"));
        }
    };
    manager.net().listen("http://10.0.0.1:80", page).unwrap();
    manager.net().timer_every(SECOND, |cx| *cx.state += 1);
    let client = sim.connect((HERE, 80));
    for (shows, date) in [
        (1_000_000_000, "Sun, 09 Sep 2001 01:46:42 GMT"),
        (2_000_000_000, "Wed, 18 May 2033 03:33:22 GMT"),
        (900_000_000, "Thu, 09 Jul 1998 16:00:02 GMT"),
    ] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(shows);
        sim.set_wall_clock(time);
        assert_eq!((sim.wall_clock(), manager.net().wall_clock()), (time, time));
        sim.run_for(&mut [&mut manager], 2 * SECOND).unwrap();
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        sim.run_for(&mut [&mut manager], SECOND).unwrap();
        let reply = String::from_utf8(client.take()).unwrap();
        assert!(reply.contains(date), "{date}: {reply}");
    }
    // The ninth tick is due just now.
    sim.run_for(&mut [&mut manager], Duration::from_millis(1)).unwrap();
    assert_eq!((*manager.state(), sim.elapsed()), (9, 9 * SECOND + Duration::from_millis(1)));
}

#[test]
fn datagrams_that_are_late_are_overtaken() {
    let sim = Sim::new(1);
    sim.set_faults(Faults::none().datagram_late(0.5));
    let (from, to) = (sim.udp(([10, 0, 0, 2], 7)).unwrap(), sim.udp((HERE, 7)).unwrap());
    (0..100).for_each(|n| from.send_to(&[n], (HERE, 7)));
    sim.run_for(&mut [], SECOND).unwrap();
    let mut came: Vec<u8> = std::iter::from_fn(|| to.take()).map(|(_, data)| data[0]).collect();
    assert!(!came.is_sorted(), "{came:?}");
    came.sort();
    assert_eq!(came, (0..100).collect::<Vec<u8>>());
}

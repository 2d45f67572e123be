//! What the scenarios have found, each as a test of its own: seeds change their meaning when the simulation does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use vansire::sim::{Faults, Sim};
use vansire::{Ctx, Event, Limits, Manager, Sent};

use crate::harness::FOREVER;

type Log = Rc<RefCell<Vec<String>>>;

/// A handler that was told `High` gets no input before `Drained`, also when both come to be in one turn.
#[test]
fn drained_comes_before_the_input_that_waited_for_it() {
    let sim = Sim::new(1);
    let limits = Limits::new().write_high(10).write_low(5);
    let mut server = Manager::builder().limits(limits).sim(&sim).build(()).unwrap();
    let log = Log::default();
    let told = log.clone();
    let peer = Rc::new(sim.connect(([10, 0, 0, 1], 7)));
    let sender = peer.clone();
    let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| match event {
        Event::Accepted { .. } => {
            let (conn, told, sender) = (cx.conn, told.clone(), sender.clone());
            cx.timer_after(Duration::from_millis(10), move |cx| {
                assert_eq!(cx.net.send(conn, &[0; 100]), Sent::High);
                told.borrow_mut().push("High".into());
                // It arrives when this turn is over.
                sender.send(b"x");
            });
        }
        Event::Data(_) | Event::Drained => told.borrow_mut().push(event.name().into()),
        _ => {}
    };
    server.net().listen("tcp://10.0.0.1:7", handler).unwrap();
    sim.run(&mut [&mut server], || log.borrow().len() == 3, FOREVER).unwrap();
    assert_eq!(*log.borrow(), ["High", "Drained", "Data"]);
}

/// RFC 9112 §9.6: where the server ends a connection that the client would have kept, a request may be on its way. Closing at
/// once answers that with a reset, which can destroy the reply before it.
#[cfg(feature = "http")]
#[test]
fn a_close_that_the_client_did_not_ask_for_destroys_no_reply() {
    use vansire::http::Response;

    for (name, by_handler) in [("the handler ends it", true), ("the number of requests ends it", false)] {
        let sim = Sim::new(1);
        let limits = if by_handler { Limits::new() } else { Limits::new().requests_max(Some(1)) };
        let mut server = Manager::builder().limits(limits).sim(&sim).build(()).unwrap();
        let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
            if let Event::HttpRequest(_) = event {
                let response = Response::text(200, "whole");
                cx.reply(if by_handler { response.close() } else { response });
            }
        };
        server.net().listen("http://10.0.0.1:80", handler).unwrap();
        // The request and the one behind it are on their way for a while, and so is the reply.
        let ms = Duration::from_millis;
        sim.set_faults(Faults::none().latency(ms(10)..ms(10) + Duration::from_nanos(1)));
        let client = Rc::new(sim.connect(([10, 0, 0, 1], 80)));
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        let sender = client.clone();
        sim.after(ms(25), move |_| sender.send(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"));
        // A client that is slow to read.
        sim.run_for(&mut [&mut server], ms(200)).unwrap();
        assert_eq!(client.error(), None, "{name}");
        assert!(client.take().ends_with(b"whole") && client.has_ended(), "{name}");
    }
}

/// A world of a hundred thousand peers: none has another's address.
#[test]
fn more_peers_than_sixteen_bits_can_number_have_an_address_each() {
    let sim = Sim::new(1);
    let peers: Vec<_> = (0..70_000).map(|_| sim.connect(([10, 0, 0, 1], 7))).collect();
    let addrs: std::collections::HashSet<_> = peers.iter().map(|peer| peer.local_addr().ip()).collect();
    assert_eq!(addrs.len(), peers.len());
}

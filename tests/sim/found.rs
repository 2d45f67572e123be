//! What the scenarios have found, each as a test of its own: seeds change their meaning when the simulation does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use vansire::sim::Sim;
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

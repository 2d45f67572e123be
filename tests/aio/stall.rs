//! The stall watch over a loop on another thread.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use vansire::aio::Incident;
use vansire::{Ctx, Event, StallWatch};

use crate::common::DEADLINE;
use crate::support::{counter, ms, on_each_runtime};

#[test]
fn a_handler_that_blocks_the_thread_is_an_incident_while_it_blocks() {
    on_each_runtime(|| async {
        let (tell, told) = channel();
        let (tell, told) = (Mutex::new(tell), Mutex::new(told));
        let hook = move |incident: &Incident| {
            if let Incident::Stalled(stall) = incident {
                let _ = tell.lock().unwrap().send((stall.clone(), incident.to_string()));
            }
        };
        let manager =
            counter().watch_stalls(StallWatch::new().threshold(ms(10))).on_incident(hook).start().await.unwrap();
        let listener = manager
            .listen("tcp://127.0.0.1:0", move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
                if let Event::Wakeup(_) = ev {
                    let (stall, text) = told.lock().unwrap().recv_timeout(DEADLINE).expect("somebody says so");
                    let running = stall.running.expect("a handler ran");
                    assert_eq!((running.conn, running.event), (Some(cx.conn), "Wakeup"));
                    assert!(text.contains("(listener tcp://127.0.0.1:0) in Wakeup for "), "{text}");
                    *cx.state += 1;
                }
            })
            .await
            .unwrap();
        listener.wakeup(b"").unwrap();
        let times = |cx: &mut vansire::LoopCtx<'_, u64>| {
            let latency = cx.net.latencies().iter().find(|latency| latency.event == "Wakeup");
            (*cx.state, latency.map(|latency| latency.times.max()))
        };
        let (told, longest) = manager.with(times).await.unwrap();
        assert!(told == 1 && longest >= Some(ms(10)), "{told} told, {longest:?}");
        while manager.stats().await.unwrap().stalls == 0 {}
    });
}

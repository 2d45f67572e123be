//! vansire, with an event for every client each 20 ms: `sse_ours ADDR`.

use vansire::http::{EventHub, sse};
use vansire::{Ctx, Event, Manager};
use vansire_peers::{EVENT, EVENT_EVERY};

fn main() -> vansire::Result<()> {
    let address = std::env::args().nth(1).expect("usage: sse_ours ADDR");
    let mut manager = Manager::new(EventHub::new())?;
    manager.net().listen(format!("http://{address}"), |cx: &mut Ctx<'_, EventHub>, ev: Event<'_>| {
        if let Event::HttpRequest(request) = ev {
            cx.state.subscribe(&mut cx.net, cx.conn, request.header("last-event-id"));
        }
    })?;
    manager.net().timer_every(EVENT_EVERY, |cx| {
        cx.state.publish(&mut cx.net, sse::Event::new(EVENT)).expect("one line");
    });
    loop {
        manager.poll(None)?;
    }
}

//! What is logged through `tracing`.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event as Line, Level, Metadata, Subscriber};
use vansire::aio::Shutdown;
use vansire::{Ctx, Event};

use crate::support::{Blocker, block_on, counter, ms};

/// Keeps lines, each behind its level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        write!(self.0, "{value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, line: &Line<'_>) {
        let mut message = Message(format!("{} ", line.metadata().level()));
        line.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Without a hook, too, somebody learns who holds up the end. No other test blocks there.
#[test]
fn a_handler_that_holds_up_the_end_is_named_in_the_log() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).expect("the only one");
    block_on(async {
        let (blocker, block) = Blocker::new();
        let short = Shutdown::new().retry(ms(20)).limit(ms(30)).grace(ms(10));
        let manager = counter().shutdown(short).start().await.unwrap();
        let listener = manager.listen("tcp://127.0.0.1:0", move |_: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::Wakeup(_) = ev {
                block();
            }
        });
        let listener = listener.await.unwrap();
        listener.wakeup(b"").unwrap();
        blocker.wait_until_inside();
        assert!(manager.shutdown().await.abandoned);
        let lines = log.0.lock().unwrap().clone();
        let who = format!("the handler of connection {} (listener tcp://127.0.0.1:0) in Wakeup for ", listener.id());
        for begin in
            ["WARN the loop's thread has not stopped after 0.", "ERROR the loop's thread did not stop within 0."]
        {
            assert!(lines.iter().any(|line| line.starts_with(begin) && line.contains(&who)), "{begin}: {lines:#?}");
        }
    });
}

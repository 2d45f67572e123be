//! Cancel safety: every future is dropped at every point where it waits, by an executor that is driven by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use vansire::aio::Overflow;
use vansire::broker::{Broker, Options};
use vansire::mqtt::ClientOptions;

use crate::support::{Blocker, Hand, block_on, counter, ms, nothing, on_each_runtime, until};

/// Counts itself.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn a_call_dropped_while_it_waits_for_a_place_takes_none_and_does_nothing() {
    block_on(async {
        let manager = counter().commands(1).start().await.unwrap();
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        blocker.wait_until_inside();
        let alive = Arc::new(AtomicUsize::new(0));
        let captured = Alive::new(&alive);
        let mut waiting = Hand::new(manager.with(move |cx| {
            *cx.state = 7;
            drop(captured);
        }));
        assert!(waiting.poll().is_pending());
        assert!(manager.post(|_| ()).unwrap_err().is_limit_reached());
        drop(waiting);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        blocker.release();
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 0);
    });
}

#[test]
fn a_call_dropped_before_its_turn_does_not_run_and_frees_its_place() {
    block_on(async {
        let manager = counter().commands(2).start().await.unwrap();
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        blocker.wait_until_inside();
        let alive = Arc::new(AtomicUsize::new(0));
        let captured = Alive::new(&alive);
        let mut sent = Hand::new(manager.with(move |cx| {
            *cx.state = 7;
            drop(captured);
        }));
        assert!(sent.poll().is_pending());
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        drop(sent);
        blocker.release();
        for _ in 0..3 {
            assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 0);
        }
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_result_that_nobody_takes_is_dropped() {
    block_on(async {
        let manager = counter().start().await.unwrap();
        let alive = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&alive);
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        let mut call = Hand::new(manager.with(move |_| Alive::new(&count)));
        assert!(call.poll().is_pending());
        blocker.release();
        // The result is there: the call would be ready if it were polled.
        call.wait_for_wakes(1);
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        drop(call);
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    });
}

/// Each method that opens something, dropped before its command has its turn, after it, and after the answer was taken.
#[test]
fn what_was_opened_for_a_caller_that_is_gone_is_closed() {
    on_each_runtime(|| async {
        let manager = counter().start().await.unwrap();
        let open = || async { manager.with(|cx| cx.net.connection_count()).await.unwrap() };
        let server = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap();
        let to = crate::support::addr(&server);
        // Polls the call once, with the loop held up meanwhile, so that there is no answer yet.
        macro_rules! begin {
            ($call:expr) => {{
                let (blocker, block) = Blocker::new();
                manager.submit(move |_| block()).await.unwrap();
                blocker.wait_until_inside();
                let mut call = Hand::new($call);
                assert!(call.poll().is_pending());
                (blocker, call)
            }};
        }
        macro_rules! check {
            ($name:literal, $call:expr) => {
                // Before its turn.
                let (blocker, call) = begin!($call);
                drop(call);
                blocker.release();
                assert_eq!(open().await, 1, "{}, dropped before its turn", $name);
                // After it.
                let (blocker, call) = begin!($call);
                blocker.release();
                call.wait_for_wakes(1);
                drop(call);
                while open().await != 1 {}
                // With the answer taken, the guard answers for it.
                let (blocker, mut call) = begin!($call);
                blocker.release();
                call.wait_for_wakes(1);
                let Poll::Ready(guard) = call.poll() else { panic!("{}: woken without an answer", $name) };
                drop(guard.unwrap());
                while open().await != 1 {}
            };
        }
        check!("listen", manager.listen("tcp://127.0.0.1:0", nothing));
        check!("connect", manager.connect("tcp://127.0.0.1:9", nothing));
        check!("connect to a server", manager.connect(format!("tcp://{to}"), nothing));
        check!("http_connect", manager.http_connect("http://127.0.0.1:9", nothing));
        check!("mqtt_connect", manager.mqtt_connect(format!("mqtt://{to}"), ClientOptions::new(), nothing));
        check!("mqtt_listen", manager.mqtt_listen("mqtt://127.0.0.1:0", |_| Broker::new(Options::new())));
        check!("sntp_connect", manager.sntp_connect("sntp://127.0.0.1:9", nothing));
        check!("timer_after", manager.timer_after(ms(100_000), |_| {}));
        check!("timer_every", manager.timer_every(ms(100_000), |_| {}));
        // What accepted the connections above has seen them go, too.
        assert!(manager.with(move |cx| cx.net.is_open(server.detach())).await.unwrap());
    });
}

#[test]
fn a_submission_that_is_dropped_without_a_place_is_not_sent() {
    block_on(async {
        let manager = counter().commands(1).start().await.unwrap();
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        blocker.wait_until_inside();
        let mut waiting = Hand::new(manager.submit(|cx| *cx.state = 7));
        assert!(waiting.poll().is_pending());
        drop(waiting);
        blocker.release();
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 0);
    });
}

/// Nothing is closed that should stay: the connection is served by the default handler afterwards, as if the stream had been there.
#[test]
fn a_stream_of_events_for_a_caller_that_is_gone_is_dropped_and_its_connection_stays() {
    on_each_runtime(|| async {
        let manager = counter().on_event(|cx, _| *cx.state += 1).start().await.unwrap();
        let listener = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap();
        for stage in 0..3 {
            let (blocker, block) = Blocker::new();
            manager.submit(move |_| block()).await.unwrap();
            blocker.wait_until_inside();
            let mut call = Hand::new(manager.events(listener.id(), 4, Overflow::Pause));
            assert!(call.poll().is_pending());
            if stage == 0 {
                drop(call);
                blocker.release();
                // The handler that it had is still there.
                listener.wakeup(b"").unwrap();
                assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 0);
                continue;
            }
            blocker.release();
            call.wait_for_wakes(1);
            if stage == 2 {
                let Poll::Ready(stream) = call.poll() else { panic!("woken without an answer") };
                let mut stream = stream.unwrap();
                // An event is not lost with the call that waited for it.
                let mut next = Hand::new(stream.next());
                let _ = next.poll();
                drop(next);
                listener.wakeup(b"kept").unwrap();
                while !matches!(stream.next().await.unwrap().1, vansire::aio::OwnedEvent::Wakeup(bytes) if &bytes[..] == b"kept")
                {
                }
                continue;
            }
            drop(call);
            // The first event finds out that the stream is gone, the second one goes to the default handler.
            while manager.with(|cx| *cx.state).await.unwrap() == 0 {
                listener.wakeup(b"").unwrap();
            }
        }
        let id = listener.id();
        assert!(manager.with(move |cx| cx.net.is_open(id)).await.unwrap());
    });
}

#[test]
fn waiting_for_counters_or_for_the_end_may_be_dropped_and_changes_nothing() {
    on_each_runtime(|| async {
        let manager = counter().start().await.unwrap();
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        blocker.wait_until_inside();
        let mut stats = Hand::new(manager.stats());
        let mut ended = Hand::new(manager.ended());
        let mut run = Hand::new(manager.run(std::future::pending::<()>()));
        assert!(stats.poll().is_pending() && ended.poll().is_pending() && run.poll().is_pending());
        drop((stats, ended, run));
        blocker.release();
        assert!(manager.running());
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 0);
        // With its time over, `run` is as `shutdown`: it goes on without whoever waits.
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        blocker.wait_until_inside();
        let mut run = Hand::new(manager.run(async {}));
        assert!(run.poll().is_pending());
        drop(run);
        assert!(!manager.running());
        blocker.release();
        assert!(!manager.ended().await.abandoned);
    });
}

#[test]
fn a_timer_for_a_caller_that_is_gone_never_fires() {
    block_on(async {
        let manager = counter().start().await.unwrap();
        let alive = Arc::new(AtomicUsize::new(0));
        let captured = Alive::new(&alive);
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        let mut call = Hand::new(manager.timer_after(ms(100_000), move |_| _ = &captured));
        assert!(call.poll().is_pending());
        blocker.release();
        call.wait_for_wakes(1);
        drop(call);
        until("the end of the callback", || alive.load(Ordering::SeqCst) == 0);
    });
}

#[test]
fn a_start_that_is_dropped_leaves_no_thread() {
    block_on(async {
        for dropped_when_ready in [false, true] {
            let alive = Arc::new(AtomicUsize::new(0));
            let state = Alive::new(&alive);
            let (blocker, block) = Blocker::new();
            let make = move || {
                block();
                state
            };
            let mut start = Hand::new(vansire::AsyncManager::builder(make).start());
            assert!(start.poll().is_pending());
            blocker.release();
            if dropped_when_ready {
                start.wait_for_wakes(1);
            }
            drop(start);
            until("the end of the state", || alive.load(Ordering::SeqCst) == 0);
        }
    });
}

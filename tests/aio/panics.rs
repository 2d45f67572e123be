//! Panics whose payload panics in turn when it is dropped: nothing of the user's gets through to the loop's thread.

use std::panic::panic_any;

use vansire::aio::Handle;
use vansire::{AsyncManager, Ctx, Event, Waker};

use crate::support::{Blocker, Hand, Incidents, Launch, block_on, counter, in_each_way, ms, on_each_runtime, until};

/// Falls when it is dropped, so many times one out of the other.
struct Bomb(u8);

impl Drop for Bomb {
    fn drop(&mut self) {
        match self.0 {
            0 => {}
            n => panic_any(Bomb(n - 1)),
        }
    }
}

fn fall() {
    panic_any(Bomb(3));
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_ends_no_loop() {
    on_each_runtime(|| async {
        let incidents = Incidents::default();
        let manager = counter().on_incident(incidents.hook()).launch().await.unwrap();
        let e = manager.with(|_| fall()).await.unwrap_err();
        assert!(e.is_panicked() && e.to_string().contains("no message"), "{e}");
        manager.submit(|_| fall()).await.unwrap();
        manager.post(|_| fall()).unwrap();
        let listener = manager.listen("tcp://127.0.0.1:0", |_: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::Wakeup(_) = ev {
                fall();
            }
        });
        let listener = listener.await.unwrap();
        listener.wakeup(b"").unwrap();
        manager.timer_after(ms(0), |_| fall()).await.unwrap().detach();
        // What a closure holds, whether it runs or not.
        let bomb = Bomb(3);
        manager.submit(move |_| drop(bomb)).await.unwrap();
        let (blocker, block) = Blocker::new();
        manager.submit(move |_| block()).await.unwrap();
        let bomb = Bomb(3);
        let mut unrun = Hand::new(manager.with(move |_| drop(bomb)));
        assert!(unrun.poll().is_pending());
        drop(unrun);
        blocker.release();
        while manager.stats().await.unwrap().handler_panics < 7 {
            tokio::task::yield_now().await;
        }
        assert!(manager.running());
        until("the incidents", || incidents.all().len() >= 7);
        let report = manager.shutdown().await;
        assert_eq!(report.died, None);
    });
}

#[test]
fn a_hook_that_panics_with_such_a_payload_ends_nothing_either() {
    block_on(async {
        let manager = counter().on_incident(|_| fall()).launch().await.unwrap();
        assert!(manager.with(|_| fall()).await.unwrap_err().is_panicked());
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 0);
        assert_eq!(manager.shutdown().await.died, None);
    });
}

#[test]
fn a_scheduled_task_that_falls_in_whatever_way_is_told_once_with_its_reason() {
    /// A task that is done at once and falls when it is dropped.
    struct Falls;
    impl std::future::Future for Falls {
        type Output = ();

        fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
            std::task::Poll::Ready(())
        }
    }
    impl Drop for Falls {
        fn drop(&mut self) {
            panic!("the task fell");
        }
    }
    struct NoWords;
    impl std::fmt::Display for NoWords {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("no words");
        }
    }
    in_each_way(|| async {
        let incidents = Incidents::default();
        let manager = counter().on_incident(incidents.hook()).launch().await.unwrap();
        manager.schedule_fn(fall);
        manager.schedule(async { fall() });
        manager.schedule(Falls);
        manager.schedule(async { Err::<(), _>(NoWords) });
        while incidents.all().len() < 4 {
            tokio::task::yield_now().await;
        }
        let mut told = incidents.texts();
        told.sort();
        let expected = ["(no message)", "(no message)", "no words", "the task fell"];
        let expected = expected.map(|why| format!("a scheduled task failed: it panicked: {why}"));
        assert_eq!(told, expected);
    });
}

#[test]
fn a_state_or_a_setup_that_falls_so_is_told_and_nobody_waits_for_ever() {
    block_on(async {
        let manager = AsyncManager::builder(|| Bomb(4)).launch().await.unwrap();
        let report = manager.shutdown().await;
        assert!(report.died.is_some_and(|why| why.contains("panicked")));
        let e = AsyncManager::<u64>::builder(|| panic_any(Bomb(3))).launch().await.unwrap_err();
        assert!(e.is_panicked(), "{e}");
        let e = counter().setup(|_, _| panic_any(Bomb(3))).launch().await.unwrap_err();
        assert!(e.is_panicked(), "{e}");
    });
}

/// Between the end of the loop and the end of its thread a command comes back. What it holds may be a guard, which sends a command
/// when it is dropped.
#[test]
fn a_command_that_comes_too_late_may_hold_a_guard() {
    struct Slow(Box<dyn Fn() + Send>);
    impl Drop for Slow {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    block_on(async {
        let (blocker, block) = Blocker::new();
        let manager = AsyncManager::builder(move || Slow(Box::new(block))).launch().await.unwrap();
        let listener = manager.listen("tcp://127.0.0.1:0", |_: &mut Ctx<'_, Slow>, _: Event<'_>| {}).await.unwrap();
        let handle: Handle<Slow> = manager.handle();
        drop(manager);
        // The queue is closed, the state is being dropped.
        blocker.wait_until_inside();
        let e = handle.post(move |_| drop(listener)).unwrap_err();
        assert!(e.is_stopped(), "{e}");
        let waker: &Waker = handle.waker();
        assert!(waker.stop().unwrap_err().is_stopped());
        blocker.release();
        assert_eq!(handle.ended().await.died, None);
    });
}

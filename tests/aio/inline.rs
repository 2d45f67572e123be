//! The loop as a task of the test's own runtime. Most of its tests are those of a loop with a thread: `in_each_way`.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::mpsc;
use vansire::{AsyncManager, Ctx, Event};

use crate::support::{Launch, addr, counter, inline, ms, nothing};

#[test]
fn timers_fire_in_their_order_and_never_early() {
    inline(async {
        let manager = counter().launch().await.unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        let start = Instant::now();
        for wait in [30, 10, 20] {
            let tell = tell.clone();
            let tick = move |_: &mut vansire::TimerCtx<'_, u64>| tell.send((ms(wait), start.elapsed())).unwrap();
            manager.timer_after(ms(wait), tick).await.unwrap().detach();
        }
        for expected in [10, 20, 30].map(ms) {
            let (wait, elapsed) = told.recv().await.unwrap();
            assert!(wait == expected && elapsed >= wait, "{wait:?} after {elapsed:?}");
        }
        let periods = manager.timer_every(ms(2), move |cx| *cx.state += 1).await.unwrap();
        while manager.with(|cx| *cx.state).await.unwrap() < 5 {
            tokio::time::sleep(ms(1)).await;
        }
        drop(periods);
    });
}

#[test]
fn a_hook_for_turns_has_them_at_its_interval() {
    inline(async {
        let (tell, mut told) = mpsc::unbounded_channel();
        let hook = move |_: &mut u64, _: &mut vansire::Net<'_, u64>| tell.send(()).unwrap();
        let _manager = counter().on_turn(ms(3), hook).launch().await.unwrap();
        for _ in 0..5 {
            told.recv().await.unwrap();
        }
    });
}

/// The thread sleeps until somebody comes: no wakeups, which a voluntary context switch would end with.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_loop_wakes_its_thread_for_nothing() {
    let switches = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    inline(async {
        let manager = counter().launch().await.unwrap();
        let server = manager.listen("http://127.0.0.1:0", nothing).await.unwrap();
        let _idle = TcpStream::connect(addr(&server)).unwrap();
        let _far = manager.timer_after(Duration::from_secs(3600), |_| {}).await.unwrap();
        while manager.stats().await.unwrap().accepted == 0 {}
        let (turns, before) = (manager.stats().await.unwrap().turns, switches());
        tokio::time::sleep(ms(500)).await;
        let (slept, turned) = (switches() - before, manager.stats().await.unwrap().turns - turns);
        assert!(slept <= 3 && turned <= 2, "{slept} sleeps and {turned} turns in half a second");
    });
}

#[test]
fn a_loop_that_always_has_work_leaves_the_runtime_s_other_tasks_theirs() {
    inline(async {
        let manager = counter().launch().await.unwrap();
        let waker = manager.waker().clone();
        let listener = manager.listen("tcp://127.0.0.1:0", move |cx: &mut Ctx<'_, u64>, ev: Event<'_>| {
            if let Event::Wakeup(_) = ev {
                *cx.state += 1;
                // For ever.
                let _ = waker.wakeup(cx.conn, b"");
            }
        });
        let listener = listener.await.unwrap();
        listener.wakeup(b"").unwrap();
        for _ in 0..100 {
            tokio::time::sleep(Duration::ZERO).await;
            tokio::task::yield_now().await;
        }
        assert!(manager.with(|cx| *cx.state).await.unwrap() > 0);
        let report = manager.shutdown().await;
        assert!(!report.abandoned && report.died.is_none(), "{report:?}");
    });
}

#[test]
fn turns_that_are_dropped_close_everything_and_tell_whoever_waits() {
    inline(async {
        let (manager, turns) = counter().inline().unwrap();
        let turns = tokio::task::spawn_local(turns);
        let server = manager.listen("tcp://127.0.0.1:0", nothing).await.unwrap();
        let to = addr(&server);
        let _client = TcpStream::connect(to).unwrap();
        while manager.stats().await.unwrap().accepted == 0 {}
        let waiting = tokio::spawn({
            let handle = manager.handle();
            async move { handle.with(|_| ()).await }
        });
        turns.abort();
        let report = manager.ended().await;
        assert!(report.attempts == 0 && report.died.is_none() && !report.abandoned, "{report:?}");
        assert!(!manager.running());
        assert!(waiting.await.unwrap().map_or_else(|e| e.is_stopped(), |()| true));
        assert!(manager.with(|_| ()).await.unwrap_err().is_stopped());
        assert!(TcpStream::connect(to).is_err());
    });
    // A loop that never had a turn.
    inline(async {
        let (manager, turns) = counter().inline().unwrap();
        let mut call = crate::support::Hand::new(manager.with(|_| ()));
        assert!(call.poll().is_pending());
        drop(turns);
        let std::task::Poll::Ready(Err(e)) = call.poll() else { panic!("no answer") };
        assert!(e.is_stopped(), "{e}");
    });
}

#[test]
fn what_fails_at_the_start_is_told_and_leaves_nothing() {
    let refused = |builder: vansire::aio::AsyncBuilder<u64>| builder.inline().map(drop).unwrap_err();
    let e = refused(counter());
    assert!(e.is_unsupported() && e.to_string().contains("here is none"), "{e}");
    for (builder, missing) in [
        (Builder::new_current_thread().enable_io(), "time enabled"),
        (Builder::new_current_thread().enable_time(), "I/O enabled"),
    ] {
        let e = builder.build().unwrap().block_on(async { refused(counter()) });
        assert!(e.is_unsupported() && e.to_string().contains(missing), "{e}");
    }
    inline(async {
        let e = refused(counter().setup(|cx, _| cx.net.listen("tcp://127.0.0.1:x", nothing).map(drop)));
        assert!(e.is_bad_url(), "{e}");
        let e = refused(counter().setup(|_, _| panic!("no")));
        assert!(e.is_panicked() && e.to_string().contains("no"), "{e}");
        let e = refused(AsyncManager::<u64>::builder(|| panic!("never")));
        assert!(e.is_panicked() && e.to_string().contains("never"), "{e}");
    });
}

/// The way without `spawn_local`.
#[test]
fn the_turns_may_be_awaited_beside_the_work() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (manager, turns) = counter().inline().unwrap();
        let work = async {
            for _ in 0..100 {
                manager.submit(|cx| *cx.state += 1).await.unwrap();
            }
            let sum = manager.with(|cx| *cx.state).await.unwrap();
            manager.shutdown().await;
            sum
        };
        assert_eq!(tokio::join!(work, turns), (100, ()));
    });
}

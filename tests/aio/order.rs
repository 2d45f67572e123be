//! Commands: none is lost, each producer's keep their order, a burst costs few wakes, and no more wait than may.

use crate::support::{Blocker, Hand, Launch, block_on, counter, in_each_way};

/// Ten million in a release build, where it takes seconds: .ci/run stress.
fn commands() -> u64 {
    let wanted = std::env::var("STRESS_COMMANDS").ok().and_then(|n| n.parse().ok());
    wanted.unwrap_or(if cfg!(debug_assertions) { 100_000 } else { 1_000_000 })
}

#[test]
fn eight_producers_lose_nothing_and_keep_their_order() {
    const PRODUCERS: u64 = 8;
    let each = commands() / PRODUCERS;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    runtime.block_on(async {
        let manager = vansire::AsyncManager::builder(|| [0u64; PRODUCERS as usize]).launch().await.unwrap();
        let tasks: Vec<_> = (0..PRODUCERS as usize)
            .map(|producer| {
                let handle = manager.handle();
                tokio::spawn(async move {
                    for n in 0..each {
                        let check = move |cx: &mut vansire::LoopCtx<'_, [u64; PRODUCERS as usize]>| {
                            assert_eq!(cx.state[producer], n, "producer {producer}");
                            cx.state[producer] += 1;
                        };
                        handle.submit(check).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), [each; PRODUCERS as usize]);
        assert_eq!(manager.stats().await.unwrap().handler_panics, 0);
    });
}

/// The loop rests, and cannot come in between: it has no thread.
#[cfg(feature = "tokio-fd")]
#[test]
fn a_burst_of_ten_thousand_wakes_a_loop_that_rests_once() {
    crate::support::inline(async {
        let manager = counter().commands(10_001).launch().await.unwrap();
        for round in 1..=3 {
            let before = manager.stats().await.unwrap().wakes;
            for _ in 0..10_000 {
                manager.post(|cx| *cx.state += 1).unwrap();
            }
            assert_eq!(manager.stats().await.unwrap().wakes - before, 1);
            assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), round * 10_000);
        }
    });
}

/// How often it comes to rest meanwhile is the scheduler's, so that there is no number. It is woken only then.
#[test]
fn a_burst_wakes_the_loop_no_more_often_than_it_rests() {
    block_on(async {
        let manager = counter().commands(20_000).launch().await.unwrap();
        let before = manager.stats().await.unwrap();
        for _ in 0..10_000 {
            manager.post(|cx| *cx.state += 1).unwrap();
        }
        assert_eq!(manager.with(|cx| *cx.state).await.unwrap(), 10_000);
        let after = manager.stats().await.unwrap();
        let (wakes, turns) = (after.wakes - before.wakes, after.turns - before.turns);
        assert!(wakes <= turns + 1, "{wakes} wakes, {turns} turns for a burst of 10,000");
    });
}

#[test]
fn a_burst_that_comes_while_the_loop_is_busy_costs_no_wake() {
    block_on(async {
        let manager = counter().commands(20_000).launch().await.unwrap();
        let (blocker, block) = Blocker::new();
        let (told, wakes_before) = std::sync::mpsc::channel();
        manager
            .post(move |cx| {
                told.send(cx.net.stats().wakes).unwrap();
                block();
            })
            .unwrap();
        blocker.wait_until_inside();
        for _ in 0..10_000 {
            manager.post(|cx| *cx.state += 1).unwrap();
        }
        let after = manager.handle();
        manager.post(move |cx| *cx.state += cx.net.stats().wakes * 1_000_000).unwrap();
        blocker.release();
        let seen = after.with(|cx| *cx.state).await.unwrap();
        assert_eq!(seen % 1_000_000, 10_000);
        assert_eq!(seen / 1_000_000, wakes_before.recv().unwrap());
    });
}

#[test]
fn as_many_closures_may_wait_as_was_said_whatever_became_of_those_before() {
    block_on(async {
        for max in [1, 2, 15, 16, 100, 2000] {
            let manager = counter().commands(max).start().await.unwrap();
            for round in 0..3 {
                let (blocker, block) = Blocker::new();
                manager.submit(move |_| block()).await.unwrap();
                blocker.wait_until_inside();
                for n in 1..max {
                    let name = format!("place {n} of {max} in round {round}");
                    match n % 50 {
                        1 => manager.post(|_| panic!("it takes a place as well")).expect(&name),
                        2 => {
                            let mut given_up = Hand::new(manager.with(|_| ()));
                            assert!(given_up.poll().is_pending(), "{name}");
                        }
                        _ => manager.post(|_| ()).expect(&name),
                    }
                }
                assert!(manager.post(|_| ()).unwrap_err().is_limit_reached(), "{max} in round {round}");
                blocker.release();
                // With the answer all places are free.
                manager.with(|_| ()).await.unwrap();
            }
        }
    });
}

/// The places of those that have run go back several at a time, or with an answer.
#[test]
fn closures_that_have_run_leave_their_places_although_the_next_one_blocks() {
    block_on(async {
        for is_awaited in [false, true] {
            let manager = counter().commands(1600).start().await.unwrap();
            let (first, hold) = Blocker::new();
            manager.submit(move |_| hold()).await.unwrap();
            first.wait_until_inside();
            for _ in 0..1000 {
                manager.post(|cx| *cx.state += 1).unwrap();
            }
            let mut answer = Hand::new(manager.with(|cx| *cx.state));
            assert!(!is_awaited || answer.poll().is_pending());
            let (blocker, block) = Blocker::new();
            manager.post(move |_| block()).unwrap();
            first.release();
            blocker.wait_until_inside();
            let places = (0..).take_while(|_| manager.post(|_| ()).is_ok()).count();
            let least = if is_awaited { 1599 } else { 1500 };
            assert!((least..1600).contains(&places), "awaited: {is_awaited}: {places} of 1600 places are free");
            blocker.release();
            assert_eq!(answer.await.unwrap(), 1000);
        }
    });
}

#[test]
fn closures_wakeups_and_timers_of_one_caller_keep_their_order() {
    in_each_way(|| async {
        let manager = vansire::AsyncManager::builder(Vec::new).launch().await.unwrap();
        let listener = manager
            .listen("tcp://127.0.0.1:0", |cx: &mut vansire::Ctx<'_, Vec<u8>>, ev: vansire::Event<'_>| {
                if let vansire::Event::Wakeup(bytes) = ev {
                    cx.state.extend(bytes);
                }
            })
            .await
            .unwrap();
        for n in (0..100u8).step_by(2) {
            manager.post(move |cx| cx.state.push(n)).unwrap();
            listener.wakeup(&[n + 1]).unwrap();
        }
        let seen = manager.with(|cx| cx.state.clone()).await.unwrap();
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    });
}

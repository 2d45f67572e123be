//! Commands in one direction, from one producer, until the last has run.

use std::io;
use std::time::Instant;

use serde_json::{Value, json};
use vansire::AsyncManager;
use vansire_peers::procfs;

use crate::flags::Flags;
use crate::{not_for, runtime, stay_on};

/// Commands that may wait at once.
const QUEUE: usize = 65_536;

pub(crate) fn measure(flags: &Flags) -> io::Result<Value> {
    stay_on(flags.cpus.0);
    let (cpu, count) = (flags.cpus.1, flags.rounds);
    let builder = AsyncManager::builder(|| 0u64).commands(QUEUE);
    match flags.way.as_str() {
        "ours" => runtime()?.block_on(async {
            let setup = move |_: &mut vansire::LoopCtx<'_, u64>, _: &vansire::aio::Handle<u64>| {
                stay_on(cpu);
                Ok(())
            };
            send(&builder.setup(setup).start().await.expect("a manager"), count).await
        }),
        "inline" => runtime()?.block_on(async {
            let (manager, turns) = builder.inline().expect("a manager");
            let work = async {
                let result = send(&manager, count).await;
                manager.shutdown().await;
                result
            };
            tokio::join!(work, turns).0
        }),
        _ => Err(not_for(flags)),
    }
}

async fn send(manager: &AsyncManager<u64>, count: u64) -> io::Result<Value> {
    let own = [std::process::id()];
    manager.with(|_| ()).await.expect("an answer");
    let (start, before) = (Instant::now(), procfs::cpu_time(&own)?);
    for _ in 0..count {
        manager.submit(|cx| *cx.state += 1).await.expect("a place");
    }
    assert_eq!(manager.with(|cx| *cx.state).await.expect("an answer"), count, "each ran");
    let (time, cpu) = (start.elapsed(), procfs::cpu_time(&own)? - before);
    let wakes = manager.stats().await.expect("an answer").wakes;
    Ok(json!({
        "commands_per_s": count as f64 / time.as_secs_f64(),
        "cpu_ns": cpu.as_nanos() as f64 / count as f64,
        "wakes": wakes,
    }))
}

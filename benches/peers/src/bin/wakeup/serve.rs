//! The same HTTP server by the loop alone, by the loop's thread beside tokio, and by the loop as a task; and what they do when
//! there is nothing to do.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use vansire::{AsyncManager, Ctx, Event, Manager, http};
use vansire_peers::{BODY, procfs};

use crate::flags::{Flags, wrong};
use crate::{not_for, runtime};

fn hello(cx: &mut Ctx<'_, ()>, ev: Event<'_>) {
    if let Event::HttpRequest(_) = ev {
        cx.reply(http::Response::text(200, BODY));
    }
}

/// Serves for ever.
pub(crate) fn http(flags: &Flags) -> io::Result<()> {
    let addr = flags.addr.ok_or_else(|| wrong("--addr is missing".into()))?;
    let url = format!("http://{addr}");
    match flags.way.as_str() {
        "sync" => {
            let mut manager = Manager::new(()).map_err(io::Error::other)?;
            manager.net().listen(url, hello).map_err(io::Error::other)?;
            loop {
                manager.poll(None).map_err(io::Error::other)?;
            }
        }
        "ours" => runtime()?.block_on(async {
            let manager = AsyncManager::builder(|| ()).start().await.map_err(io::Error::other)?;
            let _server = manager.listen(url, hello).await.map_err(io::Error::other)?;
            manager.ended().await;
            Ok(())
        }),
        "inline" => runtime()?.block_on(async {
            let (manager, turns) = AsyncManager::builder(|| ()).inline().map_err(io::Error::other)?;
            let serve = async {
                let server = manager.listen(url, hello).await?;
                manager.ended().await;
                drop(server);
                vansire::Result::Ok(())
            };
            tokio::join!(serve, turns).0.map_err(io::Error::other)
        }),
        _ => Err(not_for(flags)),
    }
}

/// How often any thread of this process wakes up while a server with one idle connection waits.
pub(crate) fn idle(flags: &Flags) -> io::Result<Value> {
    if flags.way == "sync" {
        return sync_idle(flags);
    }
    runtime()?.block_on(async {
        let builder = AsyncManager::builder(|| ());
        match flags.way.as_str() {
            "ours" => {
                let manager = builder.start().await.map_err(io::Error::other)?;
                quiet(&manager, flags.seconds).await
            }
            "inline" => {
                let (manager, turns) = builder.inline().map_err(io::Error::other)?;
                let work = async {
                    let result = quiet(&manager, flags.seconds).await;
                    manager.shutdown().await;
                    result
                };
                tokio::join!(work, turns).0
            }
            _ => Err(not_for(flags)),
        }
    })
}

async fn quiet(manager: &AsyncManager<()>, seconds: f64) -> io::Result<Value> {
    let server = manager.listen("http://127.0.0.1:0", hello).await.map_err(io::Error::other)?;
    let Some(vansire::Address::Inet(addr)) = server.local_addr() else { return Err(io::Error::other("no address")) };
    let _client = TcpStream::connect(addr)?;
    while manager.stats().await.map_err(io::Error::other)?.accepted == 0 {}
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || tell.send(wakeups(seconds)));
    told.await.map_err(io::Error::other)?
}

fn sync_idle(flags: &Flags) -> io::Result<Value> {
    let mut manager = Manager::new(()).map_err(io::Error::other)?;
    let server = manager.net().listen("http://127.0.0.1:0", hello).map_err(io::Error::other)?;
    let Some(vansire::Address::Inet(addr)) = manager.net().local_addr(server) else {
        return Err(io::Error::other("no address"));
    };
    let _client = TcpStream::connect(addr)?;
    while manager.stats().accepted == 0 {
        manager.poll(None).map_err(io::Error::other)?;
    }
    let (waker, seconds) = (manager.waker(), flags.seconds);
    let watching = std::thread::spawn(move || {
        let result = wakeups(seconds);
        drop(waker.stop());
        result
    });
    while !manager.poll(None).map_err(io::Error::other)?.stop {}
    watching.join().map_err(|_| io::Error::other("the thread that counts panicked"))?
}

/// Counted by a thread of its own, whose one sleep is left out, once all others have gone to sleep.
fn wakeups(seconds: f64) -> io::Result<Value> {
    let own = [std::process::id()];
    std::thread::sleep(Duration::from_millis(200));
    let before = procfs::voluntary_switches(&own)?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let switches = procfs::voluntary_switches(&own)? - before;
    Ok(json!({ "wakeups_per_s": switches.saturating_sub(1) as f64 / seconds }))
}

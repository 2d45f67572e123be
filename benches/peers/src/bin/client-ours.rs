//! vansire's client: one kept-alive connection, GET after GET, each as soon as the one before it is answered.

use std::io;

use vansire::http::Request;
use vansire::{Ctx, Event, Manager};
use vansire_peers::BODY;
use vansire_peers::client::{Begun, Job, WARM_UP};

fn main() -> io::Result<()> {
    let job = Job::from_arguments()?;
    let mut manager = Manager::new(0u64).map_err(io::Error::other)?;
    let handler = |cx: &mut Ctx<'_, u64>, ev: Event<'_>| match ev {
        Event::HttpResponse(response) => {
            assert!(response.status() == 200 && response.body() == BODY.as_bytes());
            *cx.state += 1;
            ask(cx);
        }
        Event::Connected => ask(cx),
        Event::Closed(reason) => panic!("{reason}"),
        _ => {}
    };
    manager.net().http_connect(format!("http://{}", job.addr), handler).map_err(io::Error::other)?;
    run(&mut manager, WARM_UP)?;
    let begun = Begun::now()?;
    run(&mut manager, WARM_UP + job.requests)?;
    begun.report(job.requests)?;
    std::process::exit(0);
}

fn ask(cx: &mut Ctx<'_, u64>) {
    if let Err(e) = cx.request(Request::get("/")) {
        panic!("{e}");
    }
}

fn run(manager: &mut Manager<u64>, until: u64) -> io::Result<()> {
    while *manager.state() < until {
        manager.poll(None).map_err(io::Error::other)?;
    }
    Ok(())
}

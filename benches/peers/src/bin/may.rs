//! may_minihttp with one worker thread.

use std::io;

use may_minihttp::{HttpServer, HttpService, Request, Response};
use vansire_peers::{BODY, addr_argument};

#[derive(Clone)]
struct Hello;

impl HttpService for Hello {
    fn call(&mut self, _: Request<'_, '_, '_>, response: &mut Response<'_>) -> io::Result<()> {
        response.header("Content-Type: text/plain; charset=utf-8").body(BODY);
        Ok(())
    }
}

fn main() -> io::Result<()> {
    may::config().set_workers(1);
    let server = HttpServer(Hello).start(addr_argument()?)?;
    server.join().map_err(|_| io::Error::other("the accepting coroutine panicked"))
}

//! actix-web with one worker and `TCP_NODELAY`, which it leaves off by default.

use std::io;
use std::time::Duration;

use actix_web::http::KeepAlive;
use actix_web::{App, HttpResponse, HttpServer, web};
use vansire_peers::{BODY, addr_argument};

#[actix_web::main]
async fn main() -> io::Result<()> {
    HttpServer::new(|| App::new().route("/", web::get().to(hello)))
        .workers(1)
        .backlog(4096)
        .tcp_nodelay(true)
        // Its default of 5 s would close the idle connections while they are being counted.
        .keep_alive(KeepAlive::Timeout(Duration::from_secs(75)))
        .bind(addr_argument()?)?
        .run()
        .await
}

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(BODY)
}

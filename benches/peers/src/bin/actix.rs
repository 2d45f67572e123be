//! actix-web with one worker and `TCP_NODELAY`, which it leaves off by default; with a folder, actix-files.

use std::io;
use std::time::Duration;

use actix_files::Files;
use actix_web::http::KeepAlive;
use actix_web::{App, HttpResponse, HttpServer, web};
use vansire_peers::{BODY, arguments};

#[actix_web::main]
async fn main() -> io::Result<()> {
    let (addr, folder) = arguments()?;
    let app = move || match &folder {
        Some(folder) => App::new().service(Files::new("/", folder).index_file("index.html")),
        None => App::new().route("/", web::get().to(hello)),
    };
    HttpServer::new(app)
        .workers(1)
        .backlog(4096)
        .tcp_nodelay(true)
        // Its default of 5 s would close the idle connections while they are being counted.
        .keep_alive(KeepAlive::Timeout(Duration::from_secs(75)))
        .bind(addr)?
        .run()
        .await
}

async fn hello() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(BODY)
}

//! hyper's client on tokio's current-thread runtime: one kept-alive connection, GET after GET.

use std::io;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use vansire_peers::BODY;
use vansire_peers::client::{Begun, Job, WARM_UP};

fn main() -> io::Result<()> {
    let job = Job::from_arguments()?;
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let stream = TcpStream::connect(job.addr).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        let host = job.addr.to_string();
        run(&mut sender, &host, WARM_UP).await.map_err(io::Error::other)?;
        let begun = Begun::now()?;
        run(&mut sender, &host, job.requests).await.map_err(io::Error::other)?;
        begun.report(job.requests)
    })
}

async fn run(sender: &mut SendRequest<Empty<Bytes>>, host: &str, requests: u64) -> hyper::Result<()> {
    for _ in 0..requests {
        let request = Request::get("/").header("Host", host).body(Empty::new()).unwrap_or_default();
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await?.to_bytes();
        assert_eq!(body, BODY);
    }
    Ok(())
}

//! HTTP and SNTP clients.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vansire::aio::{HttpClient, SntpClient};
use vansire::http::{Request, RequestBuilder};
use vansire_peers::BODY;

use crate::ledger::add;
use crate::load::{Dice, World, every};

/// One request after the other on a connection that stays, until another client takes over.
pub(crate) async fn kept(world: Rc<World>, mut dice: Dice) {
    let mut tick = every(Duration::from_millis(6));
    let url = format!("{}/", world.urls.http);
    while world.goes_on() {
        let client = HttpClient::new(&world.handle);
        let requests = 300 + dice.roll(1000);
        for _ in 0..requests {
            tick.tick().await;
            expect(&world, &client, Request::get(&url), BODY.as_bytes()).await;
            if !world.goes_on() {
                return;
            }
        }
    }
}

/// A connection for each request, half of them with a body.
pub(crate) async fn once(world: Rc<World>) {
    let mut tick = every(Duration::from_millis(12));
    let client = HttpClient::new(&world.handle);
    let (url, echo) = (format!("{}/", world.urls.http), format!("{}/echo", world.urls.http));
    let body = vec![b'b'; 20_000];
    while world.goes_on() {
        tick.tick().await;
        expect(&world, &client, Request::get(&url).close(), BODY.as_bytes()).await;
        tick.tick().await;
        expect(&world, &client, Request::post(&echo).body(&body).close(), &body).await;
    }
}

/// Answers that a task of the server's runtime gives.
pub(crate) async fn later(world: Rc<World>) {
    let mut tick = every(Duration::from_millis(20));
    let client = HttpClient::new(&world.handle);
    let url = format!("{}/later", world.urls.http);
    while world.goes_on() {
        tick.tick().await;
        expect(&world, &client, Request::get(&url), BODY.as_bytes()).await;
    }
}

async fn expect(world: &World, client: &HttpClient<()>, request: RequestBuilder<'_>, body: &[u8]) {
    match client.request(request).await {
        Ok(response) if response.status == 200 && response.body == body => add(&world.ledger.answered, 1),
        Ok(response) => world.ledger.broken(format!("a wrong answer: {} {:?}", response.status, response.body)),
        Err(e) => world.ledger.broken(format!("a request without an answer: {e}")),
    }
}

/// Requests in one write.
const DEPTH: usize = 16;

/// Pipelines, on connections that last a while.
pub(crate) async fn pipelined(world: Rc<World>, mut dice: Dice) {
    let mut tick = every(Duration::from_millis(20));
    while world.goes_on() {
        let batches = 20 + dice.roll(100);
        let result = async {
            let mut stream = connect(&world).await?;
            let mut answer = Vec::new();
            for _ in 0..batches {
                tick.tick().await;
                pipeline(&mut stream, &mut answer).await?;
                add(&world.ledger.answered, DEPTH as u64);
                if !world.goes_on() {
                    break;
                }
            }
            Ok::<_, io::Error>(())
        };
        if let Err(e) = result.await {
            world.ledger.broken(format!("a pipeline: {e}"));
        }
    }
}

/// Sends a batch and reads the answers: each has to end in the body, and there must be no more than these.
async fn pipeline(stream: &mut TcpStream, answer: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(GET.repeat(DEPTH).as_bytes()).await?;
    answer.clear();
    while memchr::memmem::find_iter(answer, BODY).count() < DEPTH {
        if stream.read_buf(answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let answers = memchr::memmem::find_iter(answer, "HTTP/1.1 200 OK\r\n").count();
    match answers == DEPTH && answer.ends_with(BODY.as_bytes()) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, String::from_utf8_lossy(answer))),
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: soak\r\n\r\n";

/// Clients that go in the midst of a request, by a reset.
pub(crate) async fn torn(world: Rc<World>) {
    let mut tick = every(Duration::from_millis(250));
    while world.goes_on() {
        tick.tick().await;
        let result = async {
            let mut stream = connect(&world).await?;
            stream.write_all(&GET.as_bytes()[..20]).await?;
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
        };
        if let Err(e) = result.await {
            world.ledger.broken(format!("half a request: {e}"));
        }
    }
}

async fn connect(world: &World) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(world.urls.http.trim_start_matches("http://")).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// What time it is.
pub(crate) async fn time(world: Rc<World>) {
    let mut tick = every(Duration::from_millis(20));
    let client = SntpClient::new(&world.handle, world.urls.sntp.as_str());
    while world.goes_on() {
        tick.tick().await;
        match client.query().await {
            Ok(_) => add(&world.ledger.told, 1),
            Err(e) => world.ledger.broken(format!("the time: {e}")),
        }
    }
}

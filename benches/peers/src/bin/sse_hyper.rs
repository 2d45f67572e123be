//! hyper, with an event for every client each 20 ms: one encoding, and a channel for each client, as its users do it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::LocalSet;
use vansire_peers::{EVENT, EVENT_EVERY, addr_argument, listen};

type Clients = Rc<RefCell<Vec<Sender<Bytes>>>>;

/// Events that may wait for one client.
const QUEUE: usize = 1000;

fn main() -> io::Result<()> {
    let listener = listen(addr_argument()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(listener))
}

async fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let clients = Clients::default();
    tokio::task::spawn_local(publish(Rc::clone(&clients)));
    loop {
        let (stream, _) = listener.accept().await?;
        let clients = Rc::clone(&clients);
        tokio::task::spawn_local(async move {
            let serve = service_fn(|_: Request<Incoming>| {
                let (sender, events) = channel(QUEUE);
                clients.borrow_mut().push(sender);
                let mut response = Response::new(Events(events));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
                async move { Ok::<_, Infallible>(response) }
            });
            // A client that goes away ends its connection with an error, which is nobody's business here.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
        });
    }
}

async fn publish(clients: Clients) {
    let mut ticks = tokio::time::interval(EVENT_EVERY);
    for id in 0_u64.. {
        ticks.tick().await;
        let event = Bytes::from(format!("id: {}\ndata: {EVENT}\n\n", 1_700_000_000_000 + id));
        clients.borrow_mut().retain(|client| client.try_send(event.clone()).is_ok());
    }
}

struct Events(Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

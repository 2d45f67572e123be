//! A server that says what it is told to, whatever a client makes of it.

use std::io::ErrorKind;
use std::net::TcpListener;

use vansire::http::RequestBuilder;
use vansire::{ConnId, Event, Limits};

use super::{Client, Cx, Log, Server, describe, serve_within};

/// A loop with clients of ours, and the listener that they connect to.
pub(crate) struct Script {
    pub(crate) loop_: Server,
    listener: TcpListener,
}

/// A handler that only writes down what it is told, but for the events of every connection.
pub(crate) fn record(cx: &mut Cx<'_>, ev: Event<'_>) {
    if !matches!(ev, Event::Opened | Event::Resolved(_) | Event::Connected | Event::HttpResponseHead(_)) {
        cx.state.push(describe(&ev));
    }
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::within(Limits::new())
    }

    pub(crate) fn within(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { loop_: serve_within(limits, |_: &mut Cx<'_>, _: Event<'_>| ()), listener }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// A client of ours that writes down what it is told.
    pub(crate) fn connect(&mut self) -> ConnId {
        let url = self.url();
        self.loop_.net().http_connect(url, record).unwrap()
    }

    /// Asks on a new connection; answers its id and the server's end of it.
    pub(crate) fn ask(&mut self, request: RequestBuilder<'_>) -> (ConnId, Client) {
        let id = self.connect();
        self.loop_.net().request(id, request).unwrap();
        (id, self.accept())
    }

    /// The server's end of the next connection.
    pub(crate) fn accept(&mut self) -> Client {
        let mut found = None;
        let listener = &self.listener;
        self.loop_.until("a client connects", |_| {
            match listener.accept() {
                Ok((stream, _)) => found = Some(Client::new(stream)),
                Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}"),
            }
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until the client has sent something that ends like this; answers all that it has sent since the last time.
    pub(crate) fn expect(&mut self, peer: &mut Client, end: &str) -> String {
        self.loop_.until(&format!("the client sends {end:?}"), |_| {
            peer.receive();
            peer.got.ends_with(end.as_bytes())
        });
        String::from_utf8(std::mem::take(&mut peer.got)).unwrap()
    }

    pub(crate) fn say(&mut self, peer: &mut Client, bytes: &[u8]) {
        self.loop_.send(peer, bytes);
    }

    /// What the client's handlers have written down since the last time.
    pub(crate) fn told(&mut self) -> Log {
        std::mem::take(self.loop_.manager.state_mut())
    }

    /// Waits until a connection has closed; answers what was written down.
    pub(crate) fn until_closed(&mut self) -> Log {
        self.loop_.until_logged("Closed");
        self.told()
    }
}

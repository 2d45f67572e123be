//! A server and clients on one thread, over real sockets. Time stands still unless a test moves it; every wait has a
//! deadline in real time.

#![allow(dead_code, reason = "each test file uses its part of it")]

pub(crate) mod script;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use vansire::{ConnId, Ctx, Event, Handler, Limits, ListenOptions, Manager, ManualClock, Net};

/// What handlers write down.
pub(crate) type Log = Vec<String>;
pub(crate) type Cx<'a> = Ctx<'a, Log>;

/// No wait of a test that passes comes near it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A manager with one HTTP listener, and the clock that it goes by.
pub(crate) struct Server {
    pub(crate) manager: Manager<Log>,
    pub(crate) listener: ConnId,
    pub(crate) addr: SocketAddr,
    pub(crate) clock: ManualClock,
}

/// Serves HTTP with this handler.
pub(crate) fn serve(handler: impl Handler<Log> + 'static) -> Server {
    serve_within(Limits::new(), handler)
}

/// Serves HTTP with this handler, within these limits.
pub(crate) fn serve_within(limits: Limits, handler: impl Handler<Log> + 'static) -> Server {
    let clock = ManualClock::new();
    let mut manager = Manager::builder().limits(limits).clock(clock.clone()).build(Log::new()).unwrap();
    let listener = manager.net().listen(ListenOptions::new("http://127.0.0.1:0"), handler).unwrap();
    let addr = manager.net().local_addr(listener).unwrap().to_string().parse().unwrap();
    Server { manager, listener, addr, clock }
}

/// A handler that answers every request with its method, target and body.
pub(crate) fn echo(cx: &mut Cx<'_>, ev: Event<'_>) {
    if let Event::HttpRequest(request) = ev {
        let text = format!("{} {} {}", request.method(), request.target(), String::from_utf8_lossy(request.body()));
        cx.state.push(text.clone());
        cx.reply(vansire::http::Response::text(200, &text));
    }
}

/// The name of the event, with what is in it of HTTP.
pub(crate) fn describe(ev: &Event<'_>) -> String {
    match ev {
        Event::HttpHead(request) => format!("HttpHead {} {}", request.method(), request.target()),
        Event::HttpBody(bytes) => format!("HttpBody {}", String::from_utf8_lossy(bytes)),
        Event::HttpRequest(request) => {
            format!("HttpRequest {} {}", request.target(), String::from_utf8_lossy(request.body()))
        }
        Event::HttpResponseHead(response) => format!("HttpResponseHead {}", response.status()),
        Event::HttpResponse(response) => {
            format!("HttpResponse {} {}", response.status(), String::from_utf8_lossy(response.body()))
        }
        Event::Wakeup(bytes) => format!("Wakeup {}", String::from_utf8_lossy(bytes)),
        Event::Closed(reason) => format!("Closed: {reason}"),
        other => other.name().to_owned(),
    }
}

impl Server {
    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.addr).unwrap())
    }

    pub(crate) fn net(&mut self) -> Net<'_, Log> {
        self.manager.net()
    }

    pub(crate) fn log(&self) -> &[String] {
        self.manager.state()
    }

    /// How many lines of the log begin like this.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        self.log().iter().filter(|line| line.starts_with(prefix)).count()
    }

    /// Turns the loop until it has nothing more to do.
    pub(crate) fn settle(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let turn = self.manager.poll(Some(Duration::ZERO)).unwrap();
            if turn.events == 0 && !turn.more {
                return;
            }
            assert!(Instant::now() < deadline, "the loop never settles");
        }
    }

    /// Does everything that is to do now, moves the clock, and does what is due then.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.settle();
        self.clock.advance(by);
        self.settle();
    }

    /// Turns the loop until this is so.
    pub(crate) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}; log: {:?}", self.log());
            self.manager.poll(Some(Duration::from_millis(1))).unwrap();
        }
    }

    /// Turns the loop until the log has a line that begins like this.
    pub(crate) fn until_logged(&mut self, prefix: &str) {
        self.until(prefix, |server| server.count(prefix) > 0);
    }

    /// Sends all of it, turning the loop where the socket is full.
    pub(crate) fn send(&mut self, client: &mut Client, bytes: &[u8]) {
        let mut rest = bytes;
        self.until("all is sent", |_| {
            rest = &rest[client.try_send(rest)..];
            rest.is_empty()
        });
    }

    /// Waits for a whole reply to a request that was not HEAD.
    pub(crate) fn reply(&mut self, client: &mut Client) -> Reply {
        self.reply_to(client, "GET")
    }

    /// Waits for a whole reply to a request of this method.
    pub(crate) fn reply_to(&mut self, client: &mut Client, method: &str) -> Reply {
        let mut found = None;
        self.until("a reply comes", |_| {
            client.receive();
            found = Reply::take(&mut client.got, method == "HEAD", client.ended);
            assert!(found.is_some() || !client.ended, "no whole reply: {}", client.shown());
            found.is_some()
        });
        found.unwrap()
    }

    /// Sends a request and waits for its reply.
    pub(crate) fn ask(&mut self, client: &mut Client, request: &[u8]) -> Reply {
        self.send(client, request);
        let method = String::from_utf8_lossy(request).split(' ').next().unwrap_or_default().to_owned();
        self.reply_to(client, &method)
    }

    /// Waits until the server has closed the connection in order; answers what came before that.
    pub(crate) fn end(&mut self, client: &mut Client) -> String {
        self.until("the connection ends", |_| {
            client.receive();
            client.ended
        });
        assert!(!client.was_reset, "reset instead of closed; got {}", client.shown());
        client.shown()
    }
}

/// A client that never waits.
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) got: Vec<u8>,
    /// Nothing more will come.
    pub(crate) ended: bool,
    pub(crate) was_reset: bool,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, got: Vec::new(), ended: false, was_reset: false }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    /// Sends what the socket takes now.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> usize {
        match self.stream.write(bytes) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => 0,
            Err(e) => panic!("cannot send: {e}; got {}", self.shown()),
        }
    }

    /// Sends a byte that overtakes the stream: the server sees readiness, and nothing to read.
    pub(crate) fn send_urgent(&self) {
        let sent = socket2::SockRef::from(&self.stream).send_out_of_band(b"!").unwrap();
        assert_eq!(sent, 1);
    }

    /// Sends no more.
    pub(crate) fn shut(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Resets the connection.
    pub(crate) fn cut_off(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Takes what has come.
    pub(crate) fn receive(&mut self) {
        let mut room = [0; 65536];
        while !self.ended {
            match self.stream.read(&mut room) {
                Ok(0) => self.ended = true,
                Ok(n) => self.got.extend_from_slice(&room[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => (self.ended, self.was_reset) = (true, true),
            }
        }
    }

    /// Takes at most this much of what has come.
    pub(crate) fn receive_some(&mut self, most: usize) {
        let mut room = vec![0; most];
        match self.stream.read(&mut room) {
            Ok(n) => self.got.extend_from_slice(&room[..n]),
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock, "{e}"),
        }
    }

    /// What has come and was not taken, for failure messages and exact comparisons.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8_lossy(&self.got).into_owned()
    }
}

/// A reply as a client understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The status line and the header lines.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The header lines behind the last chunk.
    pub(crate) trailers: String,
}

impl Reply {
    /// Takes the first whole reply off the front.
    fn take(got: &mut Vec<u8>, to_head: bool, ended: bool) -> Option<Self> {
        let head_len = find(got, b"\r\n\r\n")? + 4;
        let head = String::from_utf8(got[..head_len].to_vec()).expect("a head is ASCII");
        let mut reply = Self { status: head[9..12].parse().unwrap(), head, body: Vec::new(), trailers: String::new() };
        let bodiless = to_head || matches!(reply.status, 100..=199 | 204 | 304);
        let rest = &got[head_len..];
        let used = match (reply.header("content-length"), reply.header("transfer-encoding")) {
            _ if bodiless => 0,
            (Some(_), Some(_)) => panic!("two lengths: {}", reply.head),
            (Some(len), None) => {
                let len = len.parse().unwrap();
                reply.body = rest.get(..len)?.to_vec();
                len
            }
            (None, Some(coding)) => {
                assert_eq!(coding, "chunked");
                reply.take_chunks(rest)?
            }
            (None, None) if ended => {
                reply.body = rest.to_vec();
                rest.len()
            }
            (None, None) => return None,
        };
        got.drain(..head_len + used);
        Some(reply)
    }

    fn take_chunks(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let line = find(&bytes[at..], b"\r\n")?;
            let len = usize::from_str_radix(str::from_utf8(&bytes[at..at + line]).unwrap(), 16).unwrap();
            at += line + 2;
            if len == 0 {
                let end = if bytes[at..].starts_with(b"\r\n") { 0 } else { find(&bytes[at..], b"\r\n\r\n")? + 2 };
                self.trailers = String::from_utf8(bytes[at..at + end].to_vec()).unwrap();
                return (bytes.len() >= at + end + 2).then_some(at + end + 2);
            }
            let data = bytes.get(at..at + len + 2)?;
            assert!(data.ends_with(b"\r\n"), "a chunk is longer than it says");
            self.body.extend_from_slice(&data[..len]);
            at += len + 2;
        }
    }

    /// The only header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.header_all(name);
        assert!(all.len() < 2, "{name} comes {} times: {}", all.len(), self.head);
        all.first().copied()
    }

    pub(crate) fn header_all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

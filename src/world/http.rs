//! HTTP: raw clients send pipelines cut at random places, and read the replies with a reader of their own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::event::{Event, Sent};
use crate::http::{Body, ReplyId, Request, Response};
use crate::manager::{Ctx, Manager, Net};
use crate::net::Address;
use crate::options::Limits;
use crate::sim::{Faults, Rng, Sim, SimSocket};

use super::lives::Lives;
use super::pace::Pace;
use super::play::Scene;
use super::story::Promise;
use super::wire::{Reply, read_reply};
use super::{FOREVER, Outcome, PLANNED, up_to};

/// One request of a pipeline, and what it must lead to.
#[derive(Clone)]
struct Ask {
    wire: Vec<u8>,
    /// Where the head ends.
    head_len: usize,
    expects: bool,
    is_head: bool,
    body: Vec<u8>,
    action: Action,
    status: u16,
    answer: Vec<u8>,
    closes: bool,
    /// The answer comes in chunks, with trailers behind them.
    is_chunked: bool,
    /// The client says that it sends no more.
    says_last: bool,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = String::from_utf8_lossy(&self.wire[..self.head_len.min(60)]);
        let lens = (self.body.len(), self.answer.len());
        write!(f, "{head:?}... {:?} {} body, answer {lens:?} closes {}", self.action, self.status, self.closes)
    }
}

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Now,
    /// Replies from a timer, after so many milliseconds.
    Later(u64),
    /// Streams the reply in pieces, from timers so many milliseconds apart; at once for 0.
    Stream(usize, u64),
    /// Takes the body in pieces.
    TakeStream,
    /// Takes the body in pieces, and pauses after each for so many milliseconds.
    TakeSlowly(u64),
    /// Replies when it has seen the head.
    AtHead,
    /// Does not reply.
    Silent,
    /// Replies without a body.
    Empty(u16),
    Panic,
}

/// How a pipeline ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The client sends its end once all is sent.
    Shutdown,
    /// The client waits for the last reply first.
    Wait,
    /// Something that is no request: one refusal and the end.
    Malformed,
    /// The last request is cut short by the end.
    CutShort,
    /// The last request is cut short by a reset.
    CutOff,
}

#[derive(Default)]
pub(super) struct Stage {
    clients: RefCell<BTreeMap<SocketAddr, Rc<Client>>>,
    panics: Cell<u64>,
    wrong: RefCell<Option<String>>,
    /// The world that this is a part of.
    scene: Option<Rc<Scene>>,
}

impl Stage {
    pub(super) fn new(scene: Option<&Rc<Scene>>) -> Rc<Self> {
        Rc::new(Self { scene: scene.cloned(), ..Self::default() })
    }

    fn complain(&self, what: String) {
        if let Some(scene) = &self.scene {
            scene.complain(Promise::RepliesWholeAndInOrder, what.clone());
        }
        self.wrong.borrow_mut().get_or_insert(what);
    }

    fn check(&self) -> Outcome {
        self.wrong.borrow().clone().map_or(Ok(()), Err)
    }

    /// Forgets the clients, who know it.
    pub(super) fn forget(&self) {
        self.clients.borrow_mut().clear();
    }

    /// Handlers that have panicked because they were to.
    pub(super) fn panics(&self) -> u64 {
        self.panics.get()
    }
}

/// A client, its pipeline, and what the server did of it.
pub(super) struct Client {
    stage: Rc<Stage>,
    addr: SocketAddr,
    rng: RefCell<Rng>,
    socket: RefCell<Option<SimSocket>>,
    asks: Vec<Ask>,
    ending: Ending,
    /// What follows the requests that are whole.
    tail: Vec<u8>,
    /// The status that answers it, if it is no request.
    refusal: Option<u16>,
    sent: Cell<usize>,
    got: RefCell<Vec<u8>>,
    read: Cell<usize>,
    replies: RefCell<Vec<Reply>>,
    continues: Cell<usize>,
    error: Cell<Option<std::io::ErrorKind>>,
    pace: Pace,
    /// What the server was told: heads, and requests that were whole.
    heads: Cell<usize>,
    wholes: Cell<usize>,
    streamed: RefCell<Vec<u8>>,
    answering: Cell<bool>,
    /// Replies that the handler has given, to the last byte.
    answered: Cell<usize>,
}

/// Some clients of a server that may stop in the midst of it.
pub fn play(sim: &Sim, rng: &mut Rng, faults: &Faults) -> Outcome {
    let (stage, lives) = (Stage::new(None), Lives::default());
    let mut server = Manager::builder().limits(limits(rng)).sim(sim).build(()).map_err(|e| e.to_string())?;
    let (mut serve, watching) = (serve(stage.clone()), lives.clone());
    let handler = move |cx: &mut Ctx<'_, ()>, event: Event<'_>| {
        watching.see(cx, &event);
        serve(cx, event);
    };
    server.net().listen("http://10.0.0.1:80", handler).map_err(|e| e.to_string())?;
    let clients: Vec<Rc<Client>> = (0..1 + rng.below(3)).map(|_| Client::start(sim, rng, &stage, faults)).collect();
    let all_done = || clients.iter().all(|client| client.is_over());
    let end = *rng.pick(&[Finish::None, Finish::None, Finish::None, Finish::None, Finish::Drop, Finish::Shutdown]);
    if end != Finish::None {
        let _ = sim.run_for(&mut [&mut server], up_to(rng, 300));
    }
    // Whether the server had the time to end in order.
    let mut is_graceful = false;
    if end == Finish::Shutdown {
        let within = if rng.chance(0.5) { FOREVER } else { up_to(rng, 3000) };
        let begun = sim.elapsed();
        server.shutdown(within).map_err(|e| e.to_string())?;
        let took = sim.elapsed() - begun;
        is_graceful = took < within;
        if took > within + 1000 * faults.call_time.end {
            return Err(format!("the shutdown took {took:?} of {within:?}"));
        }
    } else if end == Finish::None {
        sim.run(&mut [&mut server], || all_done() && lives.open() <= 1, FOREVER).map_err(|e| {
            let states: Vec<String> = clients.iter().map(|client| client.state()).collect();
            format!("{e}\n{}", states.join("\n"))
        })?;
    }
    let panics = server.stats().handler_panics;
    drop(server);
    sim.run(&mut [], all_done, FOREVER).map_err(|e| e.to_string())?;
    lives.check_all_over()?;
    stage.check()?;
    if panics != stage.panics.get() {
        return Err(format!("{panics} panics counted of {}", stage.panics.get()));
    }
    let is_reliable = faults.reset == 0.0 && faults.accept_aborted == 0.0;
    let cut = match end {
        Finish::None if is_reliable => Cut::Nothing,
        Finish::None => Cut::Network,
        Finish::Drop => Cut::Drop,
        Finish::Shutdown => Cut::Shutdown,
    };
    clients.iter().try_for_each(|client| {
        let checked = client.check(cut);
        let checked = checked.and_then(|()| if is_reliable && is_graceful { client.check_graceful() } else { Ok(()) });
        checked.map_err(|what| format!("{what}\n{end:?} {}", client.state()))
    })
}

/// What becomes of the server at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Finish {
    None,
    Drop,
    Shutdown,
}

/// What may end a connection before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cut {
    Nothing,
    /// The network, and its clients are told.
    Network,
    /// The server, which is gone.
    Drop,
    /// The server, which has stopped in order.
    Shutdown,
}

/// Patient ones: what ends a connection is the client or the network.
pub(super) fn limits(rng: &mut Rng) -> Limits {
    let day = Duration::from_secs(86_400);
    let limits = Limits::new()
        .head_timeout(day)
        .idle_timeout(day)
        .reply_timeout(day)
        .drain_timeout(day)
        .linger_timeout(day)
        .rate_floor(0);
    if rng.chance(0.5) {
        let high = 1 + rng.below(3000);
        let limits = limits.write_high(high).write_low(rng.below(high)).accepts_per_turn(1 + rng.below(3));
        limits.turn_bytes(1 + rng.below(2000)).turn_messages(1 + rng.below(4))
    } else {
        limits
    }
}

/// The server.
pub(super) fn serve(stage: Rc<Stage>) -> impl FnMut(&mut Ctx<'_, ()>, Event<'_>) + 'static {
    move |cx, event| {
        let client = cx.remote_addr().and_then(|addr| stage.clients.borrow().get(&addr).cloned());
        let Some(client) = client else { return };
        match event {
            Event::HttpHead(request) => client.served_head(cx, request),
            Event::HttpBody(piece) => client.served_piece(cx, piece),
            Event::HttpRequest(request) => client.served(cx, request),
            Event::Data(_) => client.complain("Data on HTTP"),
            _ => {}
        }
    }
}

impl Client {
    fn complain(&self, what: &str) {
        self.stage.complain(format!("{}: {what}\n{}", self.addr, self.state()));
    }

    /// The request that a target names. It must be the next one.
    fn ask(&self, request: &Request<'_>, next: usize) -> Option<&Ask> {
        let index = request.target().trim_start_matches('/').parse::<usize>().ok();
        let ask = index.filter(|index| *index == next).and_then(|index| self.asks.get(index));
        if ask.is_none() {
            self.complain(&format!("told of {} instead of {next}", request.target()));
        }
        ask
    }

    fn served_head(&self, cx: &mut Ctx<'_, ()>, request: &Request<'_>) {
        let Some(ask) = self.ask(request, self.heads.get()) else { return };
        self.heads.set(self.heads.get() + 1);
        if self.answering.replace(true) {
            self.complain("a request before the reply to the one before");
        }
        match ask.action {
            Action::AtHead => {
                self.finished(cx.reply(Response::text(ask.status, &String::from_utf8_lossy(&ask.answer))));
                // The request is not told of again.
                self.wholes.set(self.wholes.get() + 1);
            }
            Action::TakeStream | Action::TakeSlowly(_) => cx.body(Body::Stream),
            _ if self.rng.borrow_mut().chance(0.2) => cx.body(Body::CollectUpTo(1_000_000)),
            _ => {}
        }
    }

    fn served_piece(&self, cx: &mut Ctx<'_, ()>, piece: &[u8]) {
        self.streamed.borrow_mut().extend_from_slice(piece);
        let Some(ask) = self.heads.get().checked_sub(1).and_then(|index| self.asks.get(index)) else { return };
        match ask.action {
            Action::TakeStream => {}
            Action::TakeSlowly(ms) => {
                let conn = cx.conn;
                cx.net.pause_read(conn);
                cx.timer_after(Duration::from_millis(ms), move |cx| cx.net.resume_read(conn));
            }
            _ => self.complain("HttpBody that was not asked for"),
        }
    }

    fn served(self: &Rc<Self>, cx: &mut Ctx<'_, ()>, request: &Request<'_>) {
        let Some(ask) = self.ask(request, self.wholes.get()) else { return };
        self.wholes.set(self.wholes.get() + 1);
        let streamed = std::mem::take(&mut *self.streamed.borrow_mut());
        let body =
            if matches!(ask.action, Action::TakeStream | Action::TakeSlowly(_)) { &streamed } else { request.body() };
        if body != ask.body {
            self.complain(&format!("a body of {} bytes that was not sent so", body.len()));
        }
        match ask.action {
            Action::Now | Action::TakeStream | Action::TakeSlowly(_) => {
                self.finished(cx.reply(Response::new(ask.status).body(&ask.answer)));
            }
            Action::Later(ms) => {
                let (client, answer) = (self.clone(), ask.answer.clone());
                let Some(id) = cx.defer() else { return self.complain("no promise is taken") };
                cx.timer_after(Duration::from_millis(ms), move |cx| {
                    client.finished_late(cx.net.reply(id, Response::text(200, &String::from_utf8_lossy(&answer))));
                });
            }
            Action::Stream(pieces, ms) => {
                let size = ask.answer.len().div_ceil(pieces).max(1);
                let pieces: Vec<Vec<u8>> = ask.answer.chunks(size).map(<[u8]>::to_vec).collect();
                let id = ReplyId::from(cx.conn);
                self.answered(cx.net.start(id, Response::new(200)));
                self.answering.set(true);
                if ms == 0 {
                    for piece in pieces {
                        self.answered(cx.net.write(id, &piece));
                    }
                    self.finished(cx.net.finish(id, &[("X-Sum", "1")]));
                } else {
                    self.stream_later(&mut cx.net, id, pieces.into(), ms);
                }
            }
            // The server answers in its place.
            Action::Silent => self.finished(Sent::Queued),
            Action::Empty(status) => self.finished(cx.reply(Response::new(status))),
            Action::AtHead => self.complain("HttpRequest after a reply to the head"),
            Action::Panic => {
                self.stage.panics.set(self.stage.panics.get() + 1);
                // As a panic, without a word on the standard error.
                std::panic::resume_unwind(Box::new(PLANNED));
            }
        }
    }

    fn stream_later(
        self: &Rc<Self>,
        net: &mut Net<'_, ()>,
        id: ReplyId,
        mut pieces: std::collections::VecDeque<Vec<u8>>,
        ms: u64,
    ) {
        let client = self.clone();
        net.timer_after(Duration::from_millis(ms), move |cx| match pieces.pop_front() {
            Some(piece) => {
                client.answered_late(cx.net.write(id, &piece));
                client.answering.set(true);
                client.stream_later(&mut cx.net, id, std::mem::take(&mut pieces), ms);
            }
            None => client.finished_late(cx.net.finish(id, &[("X-Sum", "1")])),
        });
    }

    fn answered(&self, sent: Sent) {
        if !sent.is_queued() {
            self.complain(&format!("a reply answered {sent:?}"));
        }
        self.answering.set(false);
    }

    fn finished(&self, sent: Sent) {
        self.answered(sent);
        self.finished_late(sent);
    }

    fn finished_late(&self, sent: Sent) {
        self.answered_late(sent);
        self.answered.set(self.answered.get() + usize::from(sent.is_queued()));
    }

    /// The client, or the network, may have ended the connection by then.
    fn answered_late(&self, sent: Sent) {
        if sent == Sent::Invalid {
            self.complain("a late reply answered Invalid");
        }
        self.answering.set(false);
    }

    /// Begins a pipeline.
    pub(super) fn start(sim: &Sim, rng: &mut Rng, stage: &Rc<Stage>, faults: &Faults) -> Rc<Self> {
        // A network that carries a byte at a time need not carry many.
        let most = if faults.buffer.is_empty() || faults.buffer.start > 100 { 100_000 } else { 500 };
        let socket = sim.connect(([10, 0, 0, 1], 80));
        let Address::Inet(addr) = socket.local_addr() else { unreachable!("a TCP socket has an address") };
        let mut asks: Vec<Ask> = Vec::new();
        for index in 0..rng.below(8) {
            asks.push(random_ask(rng, index, most));
            if asks[index].closes {
                break;
            }
        }
        let mut ending =
            *rng.pick(&[Ending::Shutdown, Ending::Wait, Ending::Malformed, Ending::CutShort, Ending::CutOff]);
        let (mut tail, mut refusal) = (Vec::new(), None);
        if asks.last().is_some_and(|ask| ask.closes) {
            // What comes behind is nothing to anybody.
            ending = *rng.pick(&[Ending::Shutdown, Ending::Wait]);
            if rng.chance(0.3) {
                tail = b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
            }
        }
        match ending {
            Ending::Shutdown | Ending::Wait => {}
            Ending::Malformed => {
                let (bytes, status) = malformed(rng);
                (tail, refusal) = (bytes.to_vec(), Some(status));
            }
            Ending::CutShort | Ending::CutOff => {
                let mut last = random_ask(rng, asks.len(), most);
                while last.action == Action::AtHead || last.expects {
                    last = random_ask(rng, asks.len(), most);
                }
                tail = last.wire[..rng.below(last.wire.len())].to_vec();
                asks.push(last);
            }
        }
        let client = Rc::new(Self {
            stage: stage.clone(),
            addr,
            rng: RefCell::new(rng.fork()),
            socket: RefCell::new(Some(socket)),
            asks,
            ending,
            tail,
            refusal,
            sent: Cell::new(0),
            got: RefCell::default(),
            read: Cell::new(0),
            replies: RefCell::default(),
            continues: Cell::new(0),
            error: Cell::new(None),
            pace: Pace::pick(rng, &[0.1, 0.5, 1.0], &[0, 1, 30]),
            heads: Cell::new(0),
            wholes: Cell::new(0),
            streamed: RefCell::default(),
            answering: Cell::new(false),
            answered: Cell::new(0),
        });
        stage.clients.borrow_mut().insert(addr, client.clone());
        client.clone().act_later(sim);
        client
    }

    fn act_later(self: Rc<Self>, sim: &Sim) {
        let wait = self.pace.wait(&mut self.rng.borrow_mut());
        sim.after(wait, move |sim| {
            if self.act() {
                self.act_later(sim);
            }
        });
    }

    /// The requests that are sent whole.
    fn whole(&self) -> &[Ask] {
        match self.ending {
            Ending::CutShort | Ending::CutOff => &self.asks[..self.asks.len() - 1],
            Ending::Shutdown | Ending::Wait | Ending::Malformed => &self.asks,
        }
    }

    /// All that is to be sent, and how far it may be sent now: a client that expects 100 waits for it.
    fn may_send(&self) -> (Vec<u8>, usize) {
        let mut all = Vec::new();
        let mut may = None;
        for (index, ask) in self.whole().iter().enumerate() {
            let answered = self.continues.get() > 0 || self.replies.borrow().len() > index;
            if ask.expects && may.is_none() && !answered {
                may = Some(all.len() + ask.head_len);
            }
            all.extend_from_slice(&ask.wire);
        }
        all.extend_from_slice(&self.tail);
        let len = all.len();
        (all, may.unwrap_or(len))
    }

    fn act(&self) -> bool {
        let mut guard = self.socket.borrow_mut();
        let Some(socket) = guard.as_ref() else { return false };
        let rng = &mut *self.rng.borrow_mut();
        let (all, may) = self.may_send();
        let sent = self.sent.get();
        self.pace.acts(socket.arrived() > 0);
        if sent < may && rng.chance(0.7) {
            self.pace.is_busy();
            let n = if rng.chance(0.2) { may - sent } else { 1 + rng.below(may - sent) };
            socket.send(&all[sent..sent + n]);
            self.sent.set(sent + n);
        } else if sent == all.len() && rng.chance(0.3) {
            match self.ending {
                Ending::Shutdown | Ending::CutShort => socket.shutdown(),
                Ending::CutOff => socket.reset(),
                Ending::Wait if self.replies.borrow().len() == self.asks.len() => socket.shutdown(),
                Ending::Wait | Ending::Malformed => {}
            }
        }
        if let Some(max) = self.pace.takes(rng) {
            self.take(&socket.take_at_most(max), false);
        }
        if socket.is_over() || !socket.is_connected() && self.ending == Ending::CutOff && sent == all.len() {
            let ended = socket.has_ended();
            self.take(&socket.take(), ended);
            self.error.set(socket.error());
            *guard = None;
        }
        guard.is_some()
    }

    fn take(&self, bytes: &[u8], ended: bool) {
        let mut got = self.got.borrow_mut();
        got.extend_from_slice(bytes);
        let mut replies = self.replies.borrow_mut();
        loop {
            let to_head = self.asks.get(replies.len()).is_some_and(|ask| ask.is_head);
            match read_reply(&got[self.read.get()..], to_head, ended) {
                Ok(None) => return,
                Ok(Some((reply, used))) => {
                    self.read.set(self.read.get() + used);
                    if reply.status == 100 {
                        self.continues.set(self.continues.get() + 1);
                    } else {
                        replies.push(reply);
                    }
                }
                Err(what) => {
                    drop((got, replies));
                    return self.complain(&what);
                }
            }
        }
    }

    /// Its connection is over.
    pub(super) fn is_over(&self) -> bool {
        self.socket.borrow().is_none()
    }

    /// What must have come, when all is over.
    pub(super) fn check(&self, cut: Cut) -> Outcome {
        let cut_off = match cut {
            Cut::Nothing => false,
            // Whom the server has let go in order has got everything, in bad weather too.
            Cut::Network => self.error.get().is_some(),
            Cut::Drop | Cut::Shutdown => true,
        };
        self.check_replies(cut, cut_off)?;
        let panics = self.whole().iter().any(|ask| ask.action == Action::Panic);
        // A connection whose handler panics closes on the spot, with whatever waits to be sent.
        if cut_off || panics || self.ending == Ending::CutOff { Ok(()) } else { self.check_end() }
    }

    /// What has come must be right.
    fn check_replies(&self, cut: Cut, cut_off: bool) -> Outcome {
        let replies = self.replies.borrow();
        for (reply, ask) in replies.iter().zip(self.whole()) {
            // Nothing but the end of the connection ends such a body: cut short, it looks whole.
            let may_lack = cut_off && reply.closes && matches!(ask.action, Action::Stream(..));
            let is_whole = reply.body == ask.answer || (may_lack && ask.answer.starts_with(&reply.body));
            if reply.status != ask.status || (!is_whole && ask.status == 200) {
                return Err(format!("an answer of {} with {} bytes to {ask:?}", reply.status, reply.body.len()));
            }
            let trailers: &[_] = if ask.is_chunked { &[("X-Sum".to_owned(), "1".to_owned())] } else { &[] };
            if reply.trailers != trailers {
                return Err(format!("trailers {:?} to {ask:?}", reply.trailers));
            }
            // A server that is asked to stop says so in the last reply.
            if reply.closes != ask.closes && !(cut == Cut::Shutdown && reply.closes) {
                return Err(format!("a reply that says close: {} to {ask:?}", reply.closes));
            }
        }
        if let Some(at) = replies.iter().position(|reply| reply.closes).filter(|at| at + 1 < replies.len()) {
            return Err(format!("{} replies behind the last one", replies.len() - at - 1));
        }
        if self.wholes.get() > self.whole().len() {
            return Err("a request that was cut short was told as whole".into());
        }
        let expecting = self.whole().iter().filter(|ask| ask.expects).count();
        if self.continues.get() > expecting {
            return Err(format!("{} times 100 for {expecting} that expect it", self.continues.get()));
        }
        Ok(())
    }

    /// Nobody has cut it off: nothing may be missing, and there is nothing more.
    fn check_end(&self) -> Outcome {
        if let Some(error) = self.error.get() {
            // A client that breaks its word to send no more may be cut off for it.
            let breaks_its_word = self.whole().last().is_some_and(|ask| ask.says_last) && !self.tail.is_empty();
            if breaks_its_word {
                return Ok(());
            }
            return Err(format!("cut off: {error}"));
        }
        let (expected, replies) = (self.whole().len(), self.replies.borrow());
        if self.wholes.get() != expected {
            return Err("not all requests were told".into());
        }
        let refused = &replies[expected.min(replies.len())..];
        match (self.ending, refused) {
            _ if replies.len() < expected => Err("replies are missing".into()),
            (Ending::Malformed, [refusal]) if Some(refusal.status) == self.refusal && refusal.closes => Ok(()),
            (Ending::Malformed, _) => Err(format!("refused with {refused:?}")),
            (_, []) if self.read.get() == self.got.borrow().len() => Ok(()),
            _ => Err(format!("more than was asked for: {refused:?}")),
        }
    }

    /// A server that stops in order finishes what it has begun, and what it has given arrives.
    fn check_graceful(&self) -> Outcome {
        let panics = self.asks.iter().any(|ask| ask.action == Action::Panic);
        if panics || self.ending == Ending::CutOff {
            return Ok(());
        }
        if self.answered.get() != self.wholes.get() {
            return Err(format!("{} requests answered of {}", self.answered.get(), self.wholes.get()));
        }
        if self.replies.borrow().len() < self.answered.get() {
            return Err(format!("{} replies of {} came", self.replies.borrow().len(), self.answered.get()));
        }
        Ok(())
    }

    /// Where it is.
    pub(super) fn state(&self) -> String {
        let got = self.got.borrow();
        format!(
            "{}: {:?}, {} asked, {} heads, {} whole, {} replies, {} sent, {} got, {:?}\nasked: {:?}\nunread: {:?}",
            self.addr,
            self.ending,
            self.asks.len(),
            self.heads.get(),
            self.wholes.get(),
            self.replies.borrow().len(),
            self.sent.get(),
            got.len(),
            self.error.get(),
            self.asks.iter().map(|ask| (ask.action, ask.body.len(), ask.expects, ask.closes)).collect::<Vec<_>>(),
            String::from_utf8_lossy(&got[self.read.get()..got.len().min(self.read.get() + 300)]),
        )
    }
}

fn random_ask(rng: &mut Rng, index: usize, most: usize) -> Ask {
    let action = match rng.below(12) {
        0..=3 => Action::Now,
        4 => Action::Later(rng.below(100) as u64),
        5 => Action::Stream(1 + rng.below(5), 0),
        6 => Action::Stream(1 + rng.below(5), 1 + rng.below(20) as u64),
        7 => Action::TakeStream,
        8 => Action::TakeSlowly(rng.below(20) as u64),
        9 => Action::AtHead,
        10 => *rng.pick(&[Action::Silent, Action::Empty(204), Action::Empty(304)]),
        _ if rng.chance(0.1) => Action::Panic,
        _ => Action::Now,
    };
    let old = rng.chance(0.1);
    let takes_body = action != Action::AtHead && rng.chance(0.5);
    let is_head = !takes_body && rng.chance(0.15);
    let method = match (takes_body, is_head) {
        (true, _) => *rng.pick(&["POST", "PUT", "PATCH"]),
        (false, true) => "HEAD",
        (false, false) => *rng.pick(&["GET", "DELETE", "OPTIONS"]),
    };
    let version = if old { "1.0" } else { "1.1" };
    let mut head = format!("{method} /{index} HTTP/{version}\r\nHost: x\r\n");
    let asks_close = rng.chance(0.08);
    let keeps = !asks_close && (!old || rng.chance(0.5));
    if asks_close {
        head += "Connection: close\r\n";
    } else if old && keeps {
        head += "Connection: keep-alive\r\n";
    }
    for n in 0..rng.below(4) {
        head += &format!("X-Filler-{n}: {}\r\n", "y".repeat(rng.below(200)));
    }
    let mut body = Vec::new();
    let mut coded = Vec::new();
    let expects = takes_body && !old && rng.chance(0.15);
    if takes_body {
        let len = *rng.pick(&[10, 300, 20_000]);
        let len = 1 + rng.below(len.min(most));
        body = rng.bytes(len);
        if !old && rng.chance(0.5) {
            head += "Transfer-Encoding: chunked\r\n";
            coded = chunk(rng, &body);
        } else {
            head += &format!("Content-Length: {len}\r\n");
            coded.clone_from(&body);
        }
        if expects {
            head += "Expect: 100-continue\r\n";
        }
    }
    head += "\r\n";
    let pad = *rng.pick(&[5, 100, 10_000, 100_000]);
    let pad = rng.below(pad.min(most));
    let mut answer = format!("reply to {index} ({} bytes) {}", body.len(), "z".repeat(pad)).into_bytes();
    let status = match action {
        Action::Silent => 500,
        Action::Empty(status) => status,
        _ => 200,
    };
    if is_head || matches!(action, Action::Empty(_)) {
        answer.clear();
    }
    // Without chunks only the end of the connection ends a reply of unknown length.
    let until_close = old && matches!(action, Action::Stream(..)) && !is_head;
    let closes = !keeps || until_close || action == Action::Panic;
    let is_chunked = matches!(action, Action::Stream(..)) && !old && !is_head;
    let head_len = head.len();
    let wire = [head.into_bytes(), coded].concat();
    Ask { wire, head_len, expects, is_head, body, action, status, answer, closes, is_chunked, says_last: !keeps }
}

fn chunk(rng: &mut Rng, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let len = 1 + rng.below(rest.len());
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        let extension = if rng.chance(0.2) { ";a=\"b\"" } else { "" };
        out.extend(format!("{len:x}{extension}\r\n").bytes());
        out.extend_from_slice(piece);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n");
    if rng.chance(0.3) {
        out.extend(b"X-Trailer: t\r\n");
    }
    out.extend(b"\r\n");
    out
}

/// What is no request, and the status that says so.
fn malformed(rng: &mut Rng) -> (&'static [u8], u16) {
    let table: [(&[u8], u16); 10] = [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 400),
        // RFC 9110 §15.6.6
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        // RFC 9112 §6.3, item 4: no chunked at the end of it.
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc", 400),
        (b"\x00\x01\x02\x03 / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ];
    *rng.pick(&table)
}

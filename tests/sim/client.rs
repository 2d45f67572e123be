//! HTTP clients and a server, both ours: whatever the network does, a response is whole and right, or an error.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use vansire::http::{Body, Request, Response};
use vansire::sim::{Faults, Rng, Sim};
use vansire::{CloseReason, ConnId, Ctx, Event, Limits, Manager, Net, Sent};

use crate::harness::{FOREVER, Outcome, for_each_seed, some_seed_fails, up_to};
use vansire::world::Lives;

#[test]
fn client_responses_are_whole_or_errors() {
    for_each_seed("client_responses", |sim, rng| scenario(sim, rng, false));
}

/// The proof that the scenario can fail: a byte more is expected than the server has.
#[test]
fn client_scenario_notices_a_wrong_byte() {
    assert!(some_seed_fails(|sim, rng| scenario(sim, rng, true)));
}

const URL: &str = "http://10.0.0.1:80";
const DAY: Duration = Duration::from_secs(86_400);

/// How a request is made and answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Whole, at once.
    Whole,
    /// Whole, later.
    Late,
    /// In chunks, as fast as the client takes them.
    Chunks,
    /// The body of the request comes back.
    Echo,
    /// The same, and it is streamed.
    EchoPieces,
}

const WAYS: [Way; 5] = [Way::Whole, Way::Late, Way::Chunks, Way::Echo, Way::EchoPieces];

#[derive(Clone, Copy, Debug)]
struct Ask {
    way: Way,
    len: usize,
    /// Tells its bytes from those of others.
    tag: usize,
    expects: bool,
    takes_pieces: bool,
}

impl Ask {
    fn bytes(&self) -> Vec<u8> {
        (0..self.len).map(|at| (at * 7 + self.tag) as u8).collect()
    }
}

/// One connection of a client.
#[derive(Default)]
struct Plan {
    asks: Vec<Ask>,
    told: usize,
    /// Pieces of the response so far, and bytes of the request sent.
    got: Vec<u8>,
    sent: usize,
    closed: Option<CloseReason>,
}

fn scenario(sim: &Sim, rng: &mut Rng, wrong: bool) -> Outcome {
    let is_harsh = rng.chance(0.3);
    sim.set_faults(if is_harsh { Faults::harsh(rng) } else { Faults::benign(rng) });
    let limits = Limits::new().rate_floor(0).response_timeout(DAY).reply_timeout(DAY).connect_timeout(DAY);
    let limits = limits.idle_timeout(DAY).head_timeout(DAY).continue_timeout(up_to(rng, 2000)).write_high(10_000);
    let mut server = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let mut client = Manager::builder().limits(limits).sim(sim).build(()).map_err(|e| e.to_string())?;
    let lives = [Lives::default(), Lives::default()];
    let shared = Rc::new(RefCell::new(rng.fork()));
    let (seen, random) = (lives[0].clone(), shared.clone());
    let serve = move || {
        let (seen, random) = (seen.clone(), random.clone());
        let mut left: Vec<u8> = Vec::new();
        move |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
            seen.see(cx, &ev);
            answer(cx, &ev, &mut left, &mut random.borrow_mut());
        }
    };
    server.net().listen_with(URL, serve).map_err(|e| e.to_string())?;

    let mut plans = Vec::new();
    for conn in 0..1 + rng.below(3) {
        let asks = (0..1 + rng.below(6)).map(|n| Ask {
            way: *rng.pick(&WAYS),
            len: *rng.pick(&[0, 1, 100, 3_000, 20_000]),
            tag: conn * 10 + n,
            expects: rng.chance(0.3),
            takes_pieces: rng.chance(0.5),
        });
        let plan = Rc::new(RefCell::new(Plan { asks: asks.collect(), ..Plan::default() }));
        let (seen, random, mine) = (lives[1].clone(), shared.clone(), plan.clone());
        let handler = move |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
            seen.see(cx, &ev);
            if let Err(what) = take(cx, &ev, &mut mine.borrow_mut(), &mut random.borrow_mut(), wrong) {
                seen.complain(what);
                cx.close();
            }
        };
        let id = client.net().http_connect(URL, handler).map_err(|e| e.to_string())?;
        ask_next(&mut client.net(), id, &mut plan.borrow_mut()).map_err(|e| format!("the first request: {e}"))?;
        plans.push(plan);
    }
    let is_over = || plans.iter().all(|plan| plan.borrow().closed.is_some());
    sim.run(&mut [&mut client, &mut server], is_over, FOREVER).map_err(|e| e.to_string())?;
    lives[1].check_all_over()?;
    for plan in &plans {
        let plan = plan.borrow();
        let (told, all, closed) = (plan.told, plan.asks.len(), plan.closed.clone());
        let is_ours = matches!(closed, Some(CloseReason::Local));
        if is_ours != (told == all) || told < all && !is_harsh {
            return Err(format!("{told} of {all} responses came, then: {closed:?}"));
        }
    }
    drop(server);
    lives[0].check_all_over()
}

fn answer(cx: &mut Ctx<'_, ()>, ev: &Event<'_>, left: &mut Vec<u8>, rng: &mut Rng) {
    match ev {
        Event::HttpRequest(request) if request.method() == "POST" => {
            cx.net.reply(cx.conn, Response::new(200).body(request.body()));
        }
        Event::HttpRequest(request) => {
            let numbers: Vec<usize> = request.target().split('/').filter_map(|part| part.parse().ok()).collect();
            let way = WAYS[numbers[0]];
            let body = Ask { way, len: numbers[1], tag: numbers[2], expects: false, takes_pieces: false }.bytes();
            match way {
                Way::Late => {
                    if let Some(promise) = cx.defer() {
                        cx.timer_after(up_to(rng, 3000), move |cx| {
                            cx.net.reply(promise, Response::new(200).body(&body));
                        });
                    }
                }
                Way::Chunks => {
                    *left = body;
                    cx.net.start(cx.conn, Response::new(200));
                    chunks(cx, left, rng);
                }
                Way::Whole | Way::Echo | Way::EchoPieces => {
                    cx.reply(Response::new(200).body(&body));
                }
            }
        }
        Event::Drained => chunks(cx, left, rng),
        _ => {}
    }
}

fn chunks(cx: &mut Ctx<'_, ()>, left: &mut Vec<u8>, rng: &mut Rng) {
    while !left.is_empty() {
        let piece: Vec<u8> = left.drain(..left.len().min(1 + rng.below(9000))).collect();
        if cx.net.write(cx.conn, &piece) != Sent::Queued {
            return;
        }
    }
    cx.net.finish(cx.conn, &[]);
}

/// What the client does. An error: what it was told is wrong.
fn take(cx: &mut Ctx<'_, ()>, ev: &Event<'_>, plan: &mut Plan, rng: &mut Rng, wrong: bool) -> Outcome {
    let ask = plan.asks.get(plan.told).copied();
    match ev {
        Event::Connected | Event::Drained => upload(&mut cx.net, cx.conn, plan),
        Event::HttpResponseHead(response) => {
            if response.status() != 200 {
                return Err(format!("the status is {}", response.status()));
            }
            plan.got.clear();
            if ask.is_some_and(|ask| ask.takes_pieces) {
                cx.body(Body::Stream);
            }
        }
        Event::HttpBody(piece) => {
            plan.got.extend_from_slice(piece);
            if rng.chance(0.1) {
                let id = cx.conn;
                cx.net.pause_read(id);
                cx.timer_after(up_to(rng, 500), move |cx| cx.net.resume_read(id));
            }
        }
        Event::HttpResponse(response) => {
            plan.got.extend_from_slice(response.body());
            let ask = ask.ok_or("a response to nothing")?;
            let extra = if wrong { &[0][..] } else { &[] };
            if plan.got != [&ask.bytes()[..], extra].concat() {
                return Err(format!("response {} to {ask:?} has {} other bytes", plan.told, plan.got.len()));
            }
            plan.told += 1;
            if plan.told == plan.asks.len() {
                cx.close();
            } else if let Err(e) = ask_next(&mut cx.net, cx.conn, plan) {
                return Err(format!("request {} is refused: {e}", plan.told));
            }
        }
        Event::Closed(reason) => plan.closed = Some(reason.clone()),
        _ => {}
    }
    Ok(())
}

fn ask_next(net: &mut Net<'_, ()>, id: ConnId, plan: &mut Plan) -> vansire::Result<()> {
    let Some(ask) = plan.asks.get(plan.told).copied() else { return Ok(()) };
    plan.sent = 0;
    let way = WAYS.iter().position(|way| *way == ask.way).unwrap_or_default();
    let path = format!("/{way}/{}/{}", ask.len, ask.tag);
    let bytes = ask.bytes();
    let request = match ask.way {
        Way::Whole | Way::Late | Way::Chunks => Request::get(path),
        Way::Echo => Request::post(path).body(&bytes),
        Way::EchoPieces => Request::post(path).streamed((ask.tag % 2 == 0).then_some(ask.len as u64)),
    };
    net.request(id, if ask.expects { request.expect_continue() } else { request })?;
    upload(net, id, plan);
    Ok(())
}

fn upload(net: &mut Net<'_, ()>, id: ConnId, plan: &mut Plan) {
    let Some(ask) = plan.asks.get(plan.told).copied().filter(|ask| ask.way == Way::EchoPieces) else { return };
    let bytes = ask.bytes();
    if plan.sent > bytes.len() {
        return;
    }
    for piece in bytes[plan.sent..].chunks(3_000) {
        let sent = net.write(id, piece);
        plan.sent += if sent.is_queued() { piece.len() } else { 0 };
        if sent != Sent::Queued {
            return;
        }
    }
    net.finish(id, &[]);
    plan.sent = usize::MAX;
}

//! A JSON API with a live stream: `cargo run --example http_api -- --listen http://127.0.0.1:8080`.
//!
//! ```sh
//! curl -N http://127.0.0.1:8080/api/events &          # every new reading, as a server-sent event
//! curl -d '{"sensor": "attic", "value": 21.5}' http://127.0.0.1:8080/api/readings
//! curl http://127.0.0.1:8080/api/readings
//! token=$(curl -u admin:secret -X POST http://127.0.0.1:8080/api/tokens | cut -d '"' -f 4)
//! curl -H "Authorization: Bearer $token" -X DELETE http://127.0.0.1:8080/api/readings/1
//! ```
//!
//! What has nothing to do with the loop comes from crates that do it well: JSON from `serde_json`, base64 from `base64`,
//! hashes from `sha2`, random bytes from `getrandom`.

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vansire::http::{Body, Credentials, EventHub, Params, Request, Response, Router, sse};
use vansire::{Ctx, Manager};

/// Whatever a client can make more of has a bound.
const READINGS_MAX: usize = 1000;
const READING_LEN_MAX: usize = 4096;
const TOKENS_MAX: usize = 100;

/// The state: handlers get it lent, one at a time, so it needs no lock.
#[derive(Default)]
struct App {
    readings: BTreeMap<u64, Reading>,
    last_id: u64,
    /// Whoever listens to `/api/events`.
    listeners: EventHub,
    /// Hashes of the tokens that were given out: who reads this memory cannot use them.
    tokens: VecDeque<[u8; 32]>,
}

type Cx<'a> = Ctx<'a, App>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reading {
    sensor: String,
    value: f64,
}

#[derive(Serialize)]
struct Stored<'a> {
    id: u64,
    #[serde(flatten)]
    reading: &'a Reading,
}

fn main() -> vansire::Result<()> {
    let url = common::listen_url("http://127.0.0.1:8080");
    let mut manager = Manager::new(App::default())?;
    // A path without a route is answered 404, a method without one 405 with `Allow`; HEAD and OPTIONS work by themselves.
    let router = Router::new()
        .get("/api/readings", list)
        .post("/api/readings", add)
        .body(Body::CollectUpTo(READING_LEN_MAX))
        .get("/api/readings/:id", show)
        .delete("/api/readings/:id", remove)
        .get("/api/events", |cx: &mut Cx<'_>, request, _| {
            // A browser that comes back says what it saw last, and gets what it missed.
            cx.state.listeners.subscribe(&mut cx.net, cx.conn, request.header("last-event-id"));
        })
        .post("/api/tokens", give_token);
    let listener = manager.net().listen(&url, router.into_handler()?)?;
    // Comments keep quiet streams alive and find out which clients left.
    manager.net().timer_every(Duration::from_secs(15), |cx| cx.state.listeners.keep_alive(&mut cx.net));
    common::announce(&mut manager, &url, listener);
    manager.run()
}

fn list(cx: &mut Cx<'_>, _: &Request<'_>, _: &Params<'_>) {
    let all: Vec<_> = cx.state.readings.iter().map(|(id, reading)| Stored { id: *id, reading }).collect();
    let text = json(&all);
    cx.reply(Response::json(200, &text));
}

fn add(cx: &mut Cx<'_>, request: &Request<'_>, _: &Params<'_>) {
    let reading: Reading = match serde_json::from_slice(request.body()) {
        Ok(reading) => reading,
        // It says what is wrong, and where.
        Err(e) => return problem(cx, 400, &e.to_string()),
    };
    let app = &mut *cx.state;
    app.last_id += 1;
    let id = app.last_id;
    let text = json(&Stored { id, reading: &reading });
    app.readings.insert(id, reading);
    if app.readings.len() > READINGS_MAX {
        app.readings.pop_first();
    }
    // Fails only for a name of more than one line.
    let _ = app.listeners.publish(&mut cx.net, sse::Event::new(&text).event("reading"));
    cx.reply(Response::json(201, &text).header("Location", format!("/api/readings/{id}")));
}

fn show(cx: &mut Cx<'_>, _: &Request<'_>, params: &Params<'_>) {
    let found = id_of(params).and_then(|id| Some(Stored { id, reading: cx.state.readings.get(&id)? }));
    match found.map(|stored| json(&stored)) {
        Some(text) => drop(cx.reply(Response::json(200, &text))),
        None => problem(cx, 404, "no such reading"),
    }
}

fn remove(cx: &mut Cx<'_>, request: &Request<'_>, params: &Params<'_>) {
    let may = match request.credentials() {
        Some(Credentials::Bearer(token)) => cx.state.tokens.contains(&hash(token)),
        _ => false,
    };
    if !may {
        cx.reply(Response::json(401, r#"{"error":"a token, please"}"#).header("WWW-Authenticate", "Bearer"));
        return;
    }
    match id_of(params).and_then(|id| cx.state.readings.remove(&id)) {
        Some(_) => drop(cx.reply(Response::new(204))),
        None => problem(cx, 404, "no such reading"),
    }
}

/// Gives a token to who knows the password.
fn give_token(cx: &mut Cx<'_>, request: &Request<'_>, _: &Params<'_>) {
    let is_admin = match request.credentials() {
        // An example's password. Yours comes from a file, and only its hash is kept there.
        Some(Credentials::Basic { user, password }) => user == "admin" && hash(&password) == hash("secret"),
        _ => false,
    };
    if !is_admin {
        let asks = r#"Basic realm="readings", charset="UTF-8""#;
        cx.reply(Response::json(401, r#"{"error":"who are you?"}"#).header("WWW-Authenticate", asks));
        return;
    }
    let mut random = [0; 32];
    if let Err(e) = getrandom::fill(&mut random) {
        return problem(cx, 500, &e.to_string());
    }
    let token = URL_SAFE_NO_PAD.encode(random);
    cx.state.tokens.push_back(hash(&token));
    if cx.state.tokens.len() > TOKENS_MAX {
        cx.state.tokens.pop_front();
    }
    let text = json(&serde_json::json!({ "token": token }));
    cx.reply(Response::json(201, &text).header("Cache-Control", "no-store"));
}

fn id_of(params: &Params<'_>) -> Option<u64> {
    params.raw("id")?.parse().ok()
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn problem(cx: &mut Cx<'_>, status: u16, what: &str) {
    let text = json(&serde_json::json!({ "error": what }));
    cx.reply(Response::json(status, &text));
}

/// Numbers, texts and lists always have a form in JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| format!("{{\"error\":\"{e}\"}}"))
}

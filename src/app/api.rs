//! What is answered below `/api/v1/`, and to whom.
//!
//! Reading is for those whom `http.api` names, changing for this machine, and everything for who has the token. A browser on this
//! machine runs the pages of others: what they send bears their name in `Origin`, or a name that leads here by their DNS in
//! `Host`, and is refused.

mod guard;
mod list;
mod mdns;
mod mqtt;
mod time;

use serde::Serialize;

use self::list::Page;
use super::pages::{self, Connection};
use super::serve::{self, Site};
use crate::id::ConnId;
use crate::manager::{ConnInfo, Ctx};
use crate::proto::http::Request;

pub use mqtt::Mqtt;

pub(super) use guard::{Token, read_token};

/// What a call is answered.
pub(super) enum Reply {
    /// The value asked for; none where it cannot be written.
    Json(Option<Vec<u8>>),
    /// It is done, and there is nothing to tell.
    Done,
    /// It is not done, and why.
    Refused(Refusal),
}

/// Why a call is not answered.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) why: String,
    /// For 405: the methods that are.
    pub(super) allow: &'static str,
}

impl Refusal {
    fn new(status: u16, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), allow: "" }
    }

    fn nothing() -> Self {
        Self::new(404, "Nothing is here.")
    }

    fn method(allow: &'static str) -> Self {
        Self { allow, ..Self::new(405, format!("Only {allow}.")) }
    }

    /// What is answered instead.
    pub(super) fn body(&self) -> Option<Vec<u8>> {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
        }
        pages::to_json(&Body { error: &self.why })
    }
}

/// Answers a call of that path, which begins with `/api/v1/`.
pub(super) fn answer(cx: &mut Ctx<'_, Site>, request: &Request<'_>, path: &str) -> Reply {
    match call(cx, request, path) {
        Ok(reply) => reply,
        Err(refusal) => Reply::Refused(refusal),
    }
}

fn call(cx: &mut Ctx<'_, Site>, request: &Request<'_>, path: &str) -> Result<Reply, Refusal> {
    guard::admit(cx, request)?;
    let name = path.strip_prefix("/api/v1/").unwrap_or_default();
    let allow = match name {
        "status" | "connections" | "subscriptions" | "time" | "mdns" => "GET, HEAD",
        "clients" | "retained" => "GET, HEAD, DELETE",
        "publish" => "POST",
        _ => return Err(Refusal::nothing()),
    };
    if !allow.split(", ").any(|method| method == request.method()) {
        return Err(Refusal::method(allow));
    }
    check_query(request, query_names(name, request.method()))?;
    let body = match (name, request.method()) {
        ("publish", _) => mqtt::publish(cx, request)?,
        ("clients", "DELETE") => return mqtt::kick(cx, request).map(|()| Reply::Done),
        ("retained", "DELETE") => return mqtt::clear(cx, request).map(|()| Reply::Done),
        ("clients", _) => mqtt::clients(cx, request)?,
        ("subscriptions", _) => mqtt::subscriptions(cx, request)?,
        ("retained", _) => mqtt::retained(cx, request)?,
        ("mdns", _) => pages::to_json(&mdns::of(&cx.net)),
        ("time", _) => pages::to_json(&time::of(&cx.net)),
        ("connections", _) => connections(cx, request)?,
        _ => pages::to_json(&serve::status(cx)),
    };
    Ok(Reply::Json(body))
}

fn connections(cx: &Ctx<'_, Site>, request: &Request<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let max = list::limit(request)?;
    let after = match list::query(request, "after")? {
        Some(text) => Some(ConnId::parse(&text).ok_or_else(|| Refusal::new(400, "after is the id of a connection."))?),
        None => None,
    };
    let shown = |info: &ConnInfo| Connection { protocol: cx.state.protocol(info), ..Connection::from(info) };
    let items: Vec<_> = cx.net.connections_page(after, max).iter().map(shown).collect();
    let next = items.last().filter(|_| items.len() == max);
    let next = next.map(|last| list::next_page("connections", &[("limit", &max.to_string()), ("after", &last.id)]));
    Ok(pages::to_json(&Page { items, next }))
}

/// What the query of a call may have.
fn query_names(call: &str, method: &str) -> &'static [&'static str] {
    match (call, method) {
        ("connections", _) => &["limit", "after"],
        ("clients", "DELETE") => &["id"],
        ("clients", _) => &["id", "limit", "after"],
        ("subscriptions", _) => &["client", "limit", "after", "after_filter"],
        ("retained", "DELETE") => &["topic"],
        ("retained", _) => &["topic", "filter", "limit", "after"],
        _ => &[],
    }
}

/// Whether the query has nothing else: a slip would have another answer than the one that was asked for.
fn check_query(request: &Request<'_>, names: &[&str]) -> Result<(), Refusal> {
    for pair in request.query_pairs() {
        let (name, _) = pair.map_err(|e| Refusal::new(400, format!("The query cannot be decoded: {e}.")))?;
        if !names.contains(&&*name) {
            let known = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
            return Err(Refusal::new(400, format!("The query has `{name}`, which is unknown here: it takes {known}.")));
        }
    }
    Ok(())
}

//! An embedded networking event loop: HTTP, MQTT, SNTP, DNS, TCP, UDP and Unix sockets on one reactor, with a handler for each
//! connection and timers.
//!
//! A [`Manager`] owns the loop and your state. [`Net::listen`] and [`Net::connect`] give it connections, each with a
//! handler: a closure that is lent a [`Ctx`] and told of an [`Event`]. [`Manager::poll`] runs one turn.
//!
#![cfg_attr(feature = "http", doc = "```no_run")]
#![cfg_attr(not(feature = "http"), doc = "```ignore")]
//! use vansire::{Ctx, Event, Manager, http};
//!
//! fn main() -> vansire::Result<()> {
//!     let mut manager = Manager::new(())?;
//!     manager.net().listen("http://127.0.0.1:8080", |cx: &mut Ctx<'_, ()>, ev: Event<'_>| {
//!         if let Event::HttpRequest(request) = ev {
//!             let text = format!("You asked for {}.\n", request.target());
//!             cx.reply(http::Response::text(200, &text));
//!         }
//!     })?;
//!     loop {
//!         manager.poll(None)?;
//!     }
//! }
//! ```
//!
//! # Where to look
//!
//! | for | start with |
//! |---|---|
//! | connections, datagrams, timers | [`Net`], [`Event`], [`ListenOptions`], [`ConnectOptions`]; bounds are in [`Limits`] |
//! | HTTP (`http`) | `http::Router`, `http::Response`; [`Net`]`::fetch` as a client; `files::Dir` serves a folder (`static`) |
//! | MQTT (`mqtt`, `broker`) | `broker::Broker`; [`Net`]`::mqtt_connect` as a client |
//! | time (`sntp`), names (`dns`, `mdns`) | [`Net`]`::sync_time`, [`Net`]`::resolve`, [`Net`]`::mdns_browse` |
//! | other threads | [`Waker`], [`Observer`], [`StallWatch`] |
//! | tokio (`async`) | `AsyncManager`: the loop on a thread of its own, or as a task (`tokio-fd`) |
//! | tests (`sim`) | `sim::Sim`: sockets in memory, time that jumps, faults by seed |
//! | another event loop | [`Manager`] is `AsFd` |
//!
//! The words in brackets are features of the crate; `http`, `mqtt`, `broker`, `dns` and `sntp` are on by default. `signals` has
//! [`Manager::run`] end on SIGINT and SIGTERM, `tracing` writes log lines, `passwords` reads the broker's password files, `mqttbytes` converts
//! to and from that crate, `app` is the program `vansire`. Guides stand in `docs/`, a program for each purpose in `examples/`.
//!
//! # Threads
//!
//! A [`Manager`] and what it lends ([`Net`], [`Ctx`]) stay on one thread: they are neither `Send` nor `Sync`, and handlers need not be. [`Waker`] and
//! [`Observer`] are both, and so is all that async code holds, whatever the state is. Options, events of async code and errors can be sent.
//!
//! # Errors
//!
//! A call that cannot be done at all is an [`Error`], which can be asked what it is (`is_address_in_use()`) and has its source. What happens to a
//! connection later is told to its handler, at last as [`CloseReason`]. Nothing that a peer or a configuration sends makes the library panic; a handler
//! that panics loses its connection.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "async")]
pub mod aio;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod app;
#[cfg(all(doctest, feature = "http", feature = "broker", feature = "sntp", feature = "sim"))]
mod book;
#[cfg(feature = "broker")]
pub mod broker;
mod buf;
mod error;
mod event;
#[cfg(feature = "static")]
pub mod files;
mod id;
mod manager;
pub mod net;
mod options;
mod proto;
mod reactor;
#[cfg(feature = "sim")]
pub mod sim;
mod time;
mod trace;
#[cfg(doctest)]
mod wont_compile;
#[cfg(all(feature = "sim", feature = "http", feature = "broker", feature = "dns", feature = "sntp"))]
#[doc(hidden)]
pub mod world;

#[cfg(feature = "dns")]
pub mod dns {
    //! DNS: what [`Net::resolve_service`](crate::Net::resolve_service) finds, why lookups fail, and messages for programs
    //! that speak it themselves.
    pub use crate::proto::dns::*;
}

#[cfg(feature = "http")]
pub mod http {
    //! HTTP/1.1: requests, responses, routing.
    #[cfg(feature = "static")]
    pub use crate::manager::http::Part;
    pub use crate::manager::http::{Body, EventHub, ReplyId, Subscribed};
    pub use crate::manager::router::{Params, Router};
    pub use crate::proto::http::*;
}

#[cfg(feature = "mdns")]
pub mod mdns {
    //! Multicast DNS: services of this program announced on the local network, hosts and services of others found there.
    //!
    //! Nothing is sent or heard until [`Net::mdns_announce`](crate::Net::mdns_announce), `mdns_resolve` or `mdns_browse` is called.
    pub use crate::manager::mdns::{Browsed, Options, ServiceId, Status};
    pub use crate::proto::dns::mdns::{Found, Service, ServiceError};
}

#[cfg(feature = "sntp")]
pub mod sntp {
    //! SNTP: the time of others, and one's own for others.
    pub use crate::manager::sntp::{ClientOptions, ServerOptions, ServerStatus, Sync, SyncOptions, SyncStatus};
    pub use crate::proto::sntp::*;
}

#[cfg(feature = "mqtt")]
pub mod mqtt {
    //! MQTT 3.1, 3.1.1 and 5.0: packets, topics, subscriptions.
    pub use crate::proto::mqtt::*;
}

#[cfg(feature = "async")]
pub use aio::AsyncManager;
pub use error::{Error, Result};
pub use event::{CloseReason, Data, Deadline, Event, Sent};
pub use id::{ConnId, ConnMap, TimerId};
#[cfg(feature = "dns")]
pub use manager::DnsOptions;
#[cfg(feature = "async")]
pub use manager::LoopCtx;
pub use manager::{
    Builder, ConnInfo, ConnKind, ConnState, Ctx, Handler, HandlerPanic, Histogram, Latency, LookupCtx, LookupId,
    Manager, Net, Observer, Resolver, Running, Stall, StallWatch, Stats, TimerCtx, Turn,
};
pub use net::{Address, Url};
pub use options::{ConnectOptions, Limits, ListenOptions};
pub use reactor::Waker;
pub use time::ManualClock;

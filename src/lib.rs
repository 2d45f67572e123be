//! An embedded networking event loop: HTTP, TCP, UDP and Unix sockets on one reactor, with per-connection handlers and
//! timers.
//!
//! A [`Manager`] owns the loop and your state. [`Net::listen`] and [`Net::connect`] give it connections, each with a
//! handler: a closure that is lent a [`Ctx`] and told of an [`Event`]. [`Manager::poll`] runs one turn.
//!
//! ```no_run
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

#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "async")]
pub mod aio;
#[cfg(feature = "app")]
#[doc(hidden)]
pub mod app;
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
pub mod proto;
mod reactor;
#[cfg(feature = "sim")]
pub mod sim;
mod time;
mod trace;
#[cfg(doctest)]
mod wont_compile;

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
    Builder, ConnInfo, ConnKind, ConnState, Ctx, Handler, HandlerPanic, LookupCtx, LookupId, Manager, Net, Observer,
    Resolver, Running, Stats, TimerCtx, Turn,
};
pub use net::{Address, Url};
pub use options::{ConnectOptions, Limits, ListenOptions};
pub use reactor::Waker;
pub use time::ManualClock;

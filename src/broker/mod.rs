//! An MQTT broker: 3.1, 3.1.1 and 5.0 on one port, told apart by connection.
//!
//! [`Broker::new`] makes one from [`Options`], [`Broker::listen`] has it serve a URL of a manager. Everything in the standards is there:
//! the three qualities both ways, sessions and their expiry, retained messages, wills with delay, shared subscriptions, flow control,
//! aliases. Where they leave a choice it does what mosquitto 2.0 does. The program that it lives in publishes and subscribes without a
//! connection, decides who may do what ([`Access`]), and hears of clients that come and go ([`Event`]).
//!
//! ```no_run
//! use vansire::Manager;
//! use vansire::broker::{Broker, Options};
//!
//! fn main() -> vansire::Result<()> {
//!     let mut manager = Manager::new(())?;
//!     let broker = Broker::new(Options::new());
//!     broker.listen(&mut manager.net(), "mqtt://127.0.0.1:1883")?;
//!     manager.run()
//! }
//! ```
//!
//! Nothing that a client does is without a bound, and what a bound costs is counted: by reason in [`Stats`], and for each client. A
//! subscriber that does not read slows down nobody: at QoS 0 it misses messages, at QoS 1 and 2 they wait in its queue, up to
//! [`Options::queue_messages_max`], where [`Overflow`] says what happens.
//!
//! Everything is in memory. A [`Store`] is told of what should outlive the process, and acknowledgements wait for it.

pub mod access;
mod admin;
mod connect;
mod core;
mod events;
mod expiry;
mod filters;
mod flow;
mod inbound;
mod inspect;
mod local;
mod matches;
mod message;
mod options;
mod queue;
mod retained;
mod router;
mod serve;
mod session;
mod share;
mod store;
mod subscribe;
mod sys;
#[cfg(test)]
mod tests;
mod will;

pub use access::{
    Access, AccessToken, AllowAll, AnonymousOnLoopback, Answer, Client, Denied, Login, PublishQuestion,
    SubscribeQuestion,
};
pub use admin::ClientInfo;
pub use events::{Action, DropReason, Drops, Event, Parting, Stats};
pub use inspect::{RetainedPage, SubscriptionInfo};
pub use local::{Inbox, Received};
pub use message::Message;
pub use options::{Options, Overflow};
pub use serve::Broker;
pub use store::{Change, Memory, Saved, Store, Ticket};

//! What a broker is told when it is made.

use std::time::Duration;

use super::access::{Access, AnonymousOnLoopback};
use super::events::Event;
use super::store::{Memory, Store};

/// How a broker behaves: bounds, and what mosquitto calls its configuration. The defaults are mosquitto's, where it has any.
///
/// ```
/// use std::time::Duration;
/// use vansire::broker::{Options, Overflow};
///
/// let options = Options::new().queue_messages_max(200).overflow(Overflow::DropOldest).keep_alive_max(Duration::from_secs(300));
/// # let _ = options;
/// ```
#[must_use]
pub struct Options {
    pub(super) bounds: Bounds,
    pub(super) access: Box<dyn Access>,
    pub(super) store: Box<dyn Store>,
    pub(super) on_event: Option<OnEvent>,
    pub(super) response_information: Option<Box<str>>,
}

/// What is told of clients that come and go.
pub(super) type OnEvent = Box<dyn FnMut(&Event)>;

/// What happens to a message of QoS 1 or 2 that a client's queue has no room for. Each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// It is dropped; the publisher is not told.
    #[default]
    DropNewest,
    /// The oldest ones in the queue make room.
    DropOldest,
    /// It is dropped. If nobody else has it either (no other client, not the program, and it is not retained), its 5.0 publisher is
    /// told 0x97, Quota exceeded, and can publish it again without anybody's getting it twice. A message that somebody has is
    /// acknowledged: one client that does not keep up is no reason for its publisher to stop.
    Reject,
}

macro_rules! bounds {
    ($($(#[$doc:meta])* $field:ident: $ty:ty = $default:expr;)+) => {
        /// The plain values among the options.
        #[derive(Debug, Clone, Copy)]
        pub(super) struct Bounds {
            $(pub(super) $field: $ty,)+
        }

        impl Default for Bounds {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Options {
            $(
                $(#[$doc])*
                pub fn $field(mut self, value: $ty) -> Self {
                    self.bounds.$field = value;
                    self
                }
            )+
        }
    };
}

bounds! {
    /// The most bytes of a packet, both ways; announced to 5.0 clients. A longer one ends its connection as soon as its
    /// header shows it. 2,000,000.
    packet_max: u32 = 2_000_000;
    /// The time that a connection has until its CONNECT is complete. 10 s.
    connect_timeout: Duration = Duration::from_secs(10);
    /// The longest keep-alive, in whole seconds; a 5.0 client that asks for more, or for none, is told this one.
    /// `Duration::MAX`: any, and none.
    keep_alive_max: Duration = Duration::MAX;
    /// Messages of QoS 1 and 2 under way to a client at once, at most; its receive maximum may be less. And how many a 5.0
    /// client may have under way to the broker, which it is told. 20.
    inflight_max: u16 = 20;
    /// Acknowledgements to one client that wait for the [`Store`], at most: until there are fewer, it is not read, also where its receive
    /// maximum is more. Before 5.0 nothing else bounds them. At least one. 1,024.
    unsafe_acks_max: u32 = 1_024;
    /// The highest topic alias that 5.0 clients may use, and the most aliases that the broker uses with one that takes them. 10.
    topic_alias_max: u16 = 10;
    /// Sessions, connected or not. Above it new clients are refused. 100,000.
    sessions_max: usize = 100_000;
    /// How long a session may outlive its connection, in whole seconds; one that asks for more, as each without clean session
    /// before 5.0 does, gets this. `Duration::MAX`: for ever.
    session_expiry_max: Duration = Duration::MAX;
    /// Subscriptions of one client. Above it they are refused with 0x97. 50,000.
    subscriptions_max: usize = 50_000;
    /// Messages that wait for one client, besides those in flight. 1,000.
    queue_messages_max: usize = 1_000;
    /// Bytes of topics, properties and payloads that wait for one client. 64 MiB.
    queue_bytes_max: usize = 64 * 1024 * 1024;
    /// The same for all clients together. 256 MiB.
    queue_total_max: usize = 256 * 1024 * 1024;
    /// What happens above these three. [`Overflow::DropNewest`].
    overflow: Overflow = Overflow::DropNewest;
    /// Retained messages. Above it a new topic is not retained, and that is counted. 1,000,000.
    retained_max: usize = 1_000_000;
    /// Bytes of retained messages. 256 MiB.
    retained_bytes_max: usize = 256 * 1024 * 1024;
    /// How often values below `$SYS` are published, while anybody subscribes to them. Zero: never. 10 s.
    sys_interval: Duration = Duration::from_secs(10);
}

impl Bounds {
    /// [`Options::keep_alive_max`] in seconds; `u16::MAX` where it is none.
    pub(super) fn keep_alive_secs(&self) -> u16 {
        u16::try_from(self.keep_alive_max.as_secs()).unwrap_or(u16::MAX)
    }

    /// [`Options::unsafe_acks_max`].
    pub(super) fn unsafe_acks(&self) -> u32 {
        self.unsafe_acks_max.max(1)
    }

    /// [`Options::session_expiry_max`] in seconds; `u32::MAX` is for ever (MQTT-3.1.2.11.2).
    pub(super) fn session_expiry_secs(&self) -> u32 {
        u32::try_from(self.session_expiry_max.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Options {
    /// The defaults: anonymous clients from this machine only, everything in memory.
    pub fn new() -> Self {
        Self {
            bounds: Bounds::default(),
            access: Box::new(AnonymousOnLoopback),
            store: Box::new(Memory),
            on_event: None,
            response_information: None,
        }
    }

    /// Who may do what. [`AnonymousOnLoopback`].
    pub fn access(mut self, access: impl Access + 'static) -> Self {
        self.access = Box::new(access);
        self
    }

    /// Where sessions and retained messages live beside memory. [`Memory`]: nowhere.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Box::new(store);
        self
    }

    /// Tells of clients that come and go. Called after what was going on is done, so that it may use the broker.
    pub fn on_event(mut self, f: impl FnMut(&Event) + 'static) -> Self {
        self.on_event = Some(Box::new(f));
        self
    }

    /// The beginning of topics for responses, told to 5.0 clients that ask for it.
    pub fn response_information(mut self, prefix: impl Into<Box<str>>) -> Self {
        self.response_information = Some(prefix.into());
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bounds.fmt(f)
    }
}

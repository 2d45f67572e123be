//! What the loop counts.

use std::time::Duration;

use crate::event::{CloseReason, Deadline};

/// Counters since the manager was made. Every bound of `Limits` that bites, and everything that is dropped, has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Connections, listeners and sockets opened.
    pub opened: u64,
    /// Those closed again.
    pub closed: u64,
    /// Connections accepted by listeners.
    pub accepted: u64,
    /// Times that a listener had to wait for descriptors, or for a place in the table.
    pub accept_stalls: u64,
    /// Outbound connections established.
    pub connected: u64,
    /// Outbound connections that failed.
    pub connect_failures: u64,
    /// Bytes received, of all connections.
    pub bytes_in: u64,
    /// Bytes sent, of all connections.
    pub bytes_out: u64,
    /// HTTP requests whose handler was called.
    pub http_requests: u64,
    /// HTTP requests refused by the protocol's rules or a limit, before a handler saw them whole.
    pub http_refused: u64,
    /// HTTP requests that a handler left without an answer or a promise of one: answered 500.
    pub http_unanswered: u64,
    /// HTTP responses that came whole to this client.
    pub http_responses: u64,
    /// HTTP responses that broke the protocol's rules or a limit, or were cut short.
    pub http_bad_responses: u64,
    /// HTTP requests of this client refused because too many waited on their connection.
    pub http_queues_full: u64,
    /// MQTT messages that came to clients.
    pub mqtt_messages_in: u64,
    /// MQTT messages that clients published, whether they have left or wait.
    pub mqtt_messages_out: u64,
    /// Messages, subscriptions and unsubscriptions of MQTT clients that failed without an answer.
    pub mqtt_failures: u64,
    /// MQTT messages that were refused because too many waited already.
    pub mqtt_queues_full: u64,
    /// MQTT messages that were dropped because too many waited already.
    pub mqtt_dropped: u64,
    /// Connections to MQTT servers that were lost, or failed, and are made again.
    pub mqtt_reconnects: u64,
    /// MQTT servers that broke the protocol's rules or a limit.
    pub mqtt_faults: u64,
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Datagrams dropped because the queue was full, or the system refused them.
    pub datagrams_dropped: u64,
    /// SNTP answers that counted.
    pub sntp_samples: u64,
    /// SNTP datagrams that did not count: answers that fail a check, and what is no question.
    pub sntp_refused: u64,
    /// SNTP questions answered.
    pub sntp_served: u64,
    /// SNTP questions of addresses that ask too often (`Limits::sntp_rate`): told so, or not answered.
    pub sntp_limited: u64,
    /// Addresses that an SNTP server forgot for want of room (`Limits::sntp_addresses_max`) before they were even.
    pub sntp_forgotten: u64,
    /// Times that output went above the high-water mark.
    pub high_waters: u64,
    /// Connections closed because the peer did not read.
    pub slow_consumers: u64,
    /// Connections closed by a deadline.
    pub timeouts: u64,
    /// Connections closed because too much input was kept unread.
    pub reads_full: u64,
    /// Connections cut off by the peer or the network.
    pub resets: u64,
    /// Wakeups delivered.
    pub wakeups: u64,
    /// Wakeups whose connection, or whose manager, was closed before their turn came.
    pub wakeups_missed: u64,
    /// System calls that other threads made to wake the loop, as of this turn's mail.
    pub wakes: u64,
    /// Names that were not looked up because too many were already, or because they are none.
    pub lookups_refused: u64,
    /// Queries sent to name servers.
    pub dns_queries: u64,
    /// Answers to them.
    pub dns_answers: u64,
    /// Messages that came from name servers, or in their name, and answered nothing that was asked.
    pub dns_strays: u64,
    /// Questions for name servers that were answered from memory.
    pub dns_cached: u64,
    /// Multicast DNS messages sent, to everybody on a network or to one who asked.
    pub mdns_sent: u64,
    /// Multicast DNS messages that were read.
    pub mdns_heard: u64,
    /// What came to the port of multicast DNS from elsewhere than its network, is no message, or breaks a rule of it.
    pub mdns_strays: u64,
    /// Answers to single askers that were not sent, because there were too many in that second.
    pub mdns_limited: u64,
    /// Names that somebody else had, or wanted, too.
    pub mdns_conflicts: u64,
    /// Records of others that were forgotten early, or not kept, for want of room.
    pub mdns_forgotten: u64,
    /// Timer callbacks run.
    pub timers_fired: u64,
    /// Handlers, timers and hooks that panicked.
    pub handler_panics: u64,
    /// Times that a handler, or much work, held up the loop for longer than the threshold of
    /// [`watch_stalls`](crate::Manager::watch_stalls); counted when the turn is over.
    pub stalls: u64,
    /// The longest turn among those.
    pub stall_longest: Duration,
}

impl Stats {
    pub(crate) fn count_close(&mut self, reason: &CloseReason) {
        match reason {
            CloseReason::TimedOut(Deadline::Connect) | CloseReason::Connect(_) => self.connect_failures += 1,
            CloseReason::TimedOut(_) => self.timeouts += 1,
            CloseReason::Reset(_) => self.resets += 1,
            CloseReason::ReadFull => self.reads_full += 1,
            // Counted where it is decided, or no fault of anybody's.
            #[cfg(feature = "mqtt")]
            CloseReason::Mqtt(_) => {}
            CloseReason::SlowConsumer
            | CloseReason::Local
            | CloseReason::Failed(_)
            | CloseReason::Peer
            | CloseReason::Refused { .. }
            | CloseReason::Protocol(_)
            | CloseReason::HandlerPanicked
            | CloseReason::Stopped => {}
        }
    }
}

//! The table of everything that can be set: one row a key.

use std::time::Duration;

use super::Config;
use super::items::{host_name, interface, service_name, sntp_listen_url, time_server};
use super::slot::{Key, Slot};

/// The key of that path.
pub(super) fn key(path: &str) -> Option<&'static Key<Config>> {
    KEYS.iter().find(|key| key.path == path)
}

/// Every key: those of one table together, lists of tables behind the values of theirs, the ones without a table first
/// (TOML wants it so).
pub(super) static KEYS: [Key<Config>; 54] = [
    Key {
        path: "shutdown_timeout",
        help: "How long open connections may take to finish after SIGTERM; then they are closed.",
        slot: |c| Slot::Time(&mut c.limits.drain_timeout, Duration::ZERO..=DAY),
    },
    Key {
        path: "http.api",
        help: "Who is answered at /api/v1/, where the pages name every peer: peers on this machine (local), everybody (all), who sends \
               the token of http.api_token_file (token), nobody (off). This machine: its loopback addresses (no others of it) and \
               Unix sockets. Behind a proxy on this machine everybody seems to be on it: there, ask for the token, switch this off, or do not have the proxy pass /api/.",
        slot: |c| Slot::Word(&mut c.http.api),
    },
    Key {
        path: "http.api_token_file",
        help: "A file with a token of 16 characters or more. Who sends it (Authorization: Bearer TOKEN) may use the whole API from \
               anywhere, unless http.api is off. Without it, calls that change something are for this machine alone; if http.api is token, \
               nothing is answered without it.",
        slot: |c| Slot::Path(&mut c.http.api_token_file),
    },
    Key { path: "http.listen", help: "Where HTTP clients connect.", slot: |c| Slot::List(&mut c.http.listen) },
    Key {
        path: "http.static",
        help: "Folders whose files are served; the longest prefix that fits a path has it. Without any: the built-in welcome page.",
        slot: |c| Slot::List(&mut c.http.folders),
    },
    Key {
        path: "http.redirect",
        help: "Paths that are elsewhere now. They go before files; an exact path goes before a prefix, a longer prefix before a \
               shorter one. The query of the request is kept.",
        slot: |c| Slot::List(&mut c.http.redirects),
    },
    Key {
        path: "http.limits.head_max",
        help: "Bytes of a request line and its header fields; more are answered 431.",
        slot: |c| Slot::Size(&mut c.limits.head_max, 256..=64 << 10),
    },
    Key {
        path: "http.limits.headers_max",
        help: "Header fields of a request; more are answered 431.",
        slot: |c| Slot::Count(&mut c.limits.headers_max, 1..=256),
    },
    Key {
        path: "http.limits.target_max",
        help: "Bytes of a request target (path and query); more are answered 414.",
        slot: |c| Slot::Size(&mut c.limits.target_max, 16..=64 << 10),
    },
    Key {
        path: "http.limits.body_max",
        help: "Bytes of a request body; more are answered 413.",
        slot: |c| Slot::Size(&mut c.limits.body_max, 0..=1 << 30),
    },
    Key {
        path: "http.limits.requests_max",
        help: "Requests on one connection, the last of which closes it.",
        slot: |c| Slot::Count(&mut c.limits.requests_max, 1..=MAX),
    },
    Key {
        path: "http.limits.head_timeout",
        help: "From the first byte of a request's head to its last; then it is answered 408.",
        slot: |c| Slot::Time(&mut c.limits.head_timeout, TICK..=DAY),
    },
    Key {
        path: "http.limits.idle_timeout",
        help: "Silence between two requests, after which a connection is closed.",
        slot: |c| Slot::Time(&mut c.limits.idle_timeout, TICK..=DAY),
    },
    Key {
        path: "http.limits.reply_timeout",
        help: "How long the program may take for a reply; then the connection is closed.",
        slot: |c| Slot::Time(&mut c.limits.reply_timeout, TICK..=DAY),
    },
    Key {
        path: "http.limits.rate_floor",
        help: "Bytes a second that a client sends or takes while a message is under way; slower ones are cut off. 0: no floor.",
        slot: |c| Slot::Size(&mut c.limits.rate_floor, 0..=MAX),
    },
    Key {
        path: "http.limits.rate_grace",
        help: "The time over which rate_floor is asked for; for what a client takes it is six times as long.",
        slot: |c| Slot::Time(&mut c.limits.rate_grace, Duration::from_millis(100)..=DAY),
    },
    Key {
        path: "mqtt.anonymous",
        help: "Which clients may connect without a user name: none (off), those on this machine (local), all (all). Not set: off with a \
               password_file, local without.",
        slot: |c| Slot::Word(&mut c.mqtt.anonymous),
    },
    Key {
        path: "mqtt.password_file",
        help: "Users and the hashes of their passwords, as `vansire passwd` and mosquitto_passwd write them; SIGHUP reads them \
               again. Without it no user name is checked.",
        slot: |c| Slot::Path(&mut c.mqtt.password_file),
    },
    Key {
        path: "mqtt.acl_file",
        help: "Who may publish and subscribe to what, in mosquitto's format; SIGHUP reads it again. Without it, who may connect may do \
               anything.",
        slot: |c| Slot::Path(&mut c.mqtt.acl_file),
    },
    Key {
        path: "mqtt.listen",
        help: "Where MQTT clients connect, in all versions.",
        slot: |c| Slot::List(&mut c.mqtt.listen),
    },
    Key {
        path: "mqtt.limits.packet_max",
        help: "Bytes of a packet, both ways; who sends a longer one is cut off.",
        slot: |c| Slot::Size(&mut c.mqtt.packet_max, 128..=256 << 20),
    },
    Key {
        path: "mqtt.limits.connect_timeout",
        help: "From the start of a connection until the client has introduced itself.",
        slot: |c| Slot::Time(&mut c.mqtt.connect_timeout, TICK..=DAY),
    },
    Key {
        path: "mqtt.limits.keep_alive_max",
        help: "The longest keep-alive; an MQTT 5 client that asks for more, or for none, is told this one.",
        slot: |c| Slot::MaybeTime(&mut c.mqtt.keep_alive_max, Duration::from_secs(1)..=Duration::from_secs(65_534)),
    },
    Key {
        path: "mqtt.limits.inflight_max",
        help: "Messages of QoS 1 and 2 under way to a client at once, and from one (receive maximum).",
        slot: |c| Slot::Count(&mut c.mqtt.inflight_max, 1..=65_535),
    },
    Key {
        path: "mqtt.limits.topic_alias_max",
        help: "Topic aliases of a connection, each way.",
        slot: |c| Slot::Count(&mut c.mqtt.topic_alias_max, 0..=65_535),
    },
    Key {
        path: "mqtt.limits.sessions_max",
        help: "Sessions, connected or not; above it new clients are refused.",
        slot: |c| Slot::Count(&mut c.mqtt.sessions_max, 1..=10_000_000),
    },
    Key {
        path: "mqtt.limits.session_expiry_max",
        help: "How long a session may outlive its connection, whatever its client asks for. Not set: for ever. A restart forgets it all the same.",
        slot: |c| {
            Slot::MaybeTime(&mut c.mqtt.session_expiry_max, Duration::ZERO..=Duration::from_secs(u32::MAX as u64 - 1))
        },
    },
    Key {
        path: "mqtt.limits.subscriptions_max",
        help: "Subscriptions of a client; more are refused.",
        slot: |c| Slot::Count(&mut c.mqtt.subscriptions_max, 1..=MAX),
    },
    Key {
        path: "mqtt.limits.queue_messages_max",
        help: "Messages of QoS 1 and 2 that wait for a client, besides those under way. A restart forgets them.",
        slot: |c| Slot::Count(&mut c.mqtt.queue_messages_max, 0..=MAX),
    },
    Key {
        path: "mqtt.limits.queue_bytes_max",
        help: "Bytes of those.",
        slot: |c| Slot::Size(&mut c.mqtt.queue_bytes_max, 0..=MAX),
    },
    Key {
        path: "mqtt.limits.queue_total_max",
        help: "Bytes of those for all clients together.",
        slot: |c| Slot::Size(&mut c.mqtt.queue_total_max, 0..=64 << 30),
    },
    Key {
        path: "mqtt.limits.queue_overflow",
        help: "What happens to a message above these three: it is dropped (drop_newest), the oldest ones are dropped for it (drop_oldest), \
               or it is dropped and its MQTT 5 publisher is told so, if nobody else has it either (reject).",
        slot: |c| Slot::Word(&mut c.mqtt.queue_overflow),
    },
    Key {
        path: "mqtt.limits.retained_max",
        help: "Retained messages; above it a message of a new topic is not kept. A restart forgets them.",
        slot: |c| Slot::Count(&mut c.mqtt.retained_max, 0..=MAX),
    },
    Key {
        path: "mqtt.limits.retained_bytes_max",
        help: "Bytes of retained messages.",
        slot: |c| Slot::Size(&mut c.mqtt.retained_bytes_max, 0..=64 << 30),
    },
    Key {
        path: "mqtt.limits.sys_interval",
        help: "How often the values below $SYS are published, while somebody subscribes to them. 0: never.",
        slot: |c| Slot::Time(&mut c.mqtt.sys_interval, Duration::ZERO..=DAY),
    },
    Key {
        path: "time.servers",
        help: "Time servers, as HOST or HOST:PORT: one, or three and more. They keep the program's clock right; the system's only with set_system_clock.",
        slot: |c| Slot::Texts(&mut c.time.servers, time_server),
    },
    Key {
        path: "time.interval",
        help: "How often each is asked. Less than 64 s is for servers of your own.",
        slot: |c| Slot::Time(&mut c.time.interval, Duration::from_secs(1)..=DAY),
    },
    Key {
        path: "time.serve",
        help: "Where to tell the time to others, as sntp://ADDRESS:PORT.",
        slot: |c| Slot::Texts(&mut c.time.serve, sntp_listen_url),
    },
    Key {
        path: "time.set_system_clock",
        help: "Sets the system's clock as well, when it is off by 128 ms or more. It takes the capability CAP_SYS_TIME, and no other \
               program that does the same.",
        slot: |c| Slot::Switch(&mut c.time.set_system_clock),
    },
    Key {
        path: "mdns.announce",
        help: "Tells the local network (multicast DNS) what other machines can use here: _http._tcp, and _mqtt._tcp where it is not for \
               this machine only. Nothing is sent there unless this or resolve is on.",
        slot: |c| Slot::Switch(&mut c.mdns.announce),
    },
    Key {
        path: "mdns.name",
        help: "What the program is called there. Where the name is taken, a number is added.",
        slot: |c| Slot::Text(&mut c.mdns.name, service_name),
    },
    Key {
        path: "mdns.host",
        help: "What this machine is called there, as NAME.local. Not set: as it is called anyway.",
        slot: |c| Slot::Text(&mut c.mdns.host, host_name),
    },
    Key {
        path: "mdns.interfaces",
        help: "Network interfaces, by name (eth0) or by one of their addresses. Not set: all that other machines may be on.",
        slot: |c| Slot::Texts(&mut c.mdns.interfaces, interface),
    },
    Key {
        path: "mdns.resolve",
        help: "Asks the local network for names that end in .local, such as those of time servers. Anybody there can answer.",
        slot: |c| Slot::Switch(&mut c.mdns.resolve),
    },
    Key { path: "log.level", help: "How much the program says.", slot: |c| Slot::Word(&mut c.log.level) },
    Key {
        path: "log.access",
        help: "A line for each request: common and combined as web servers write them with the seconds it took at the end, or json.",
        slot: |c| Slot::Word(&mut c.log.access),
    },
    Key {
        path: "log.access_to",
        help: "Where these lines go. A file is appended to, and opened anew after SIGHUP. Lines that the reader or the disk does not take, \
               or not in time, are lost, counted and told; the server never waits for them.",
        slot: |c| Slot::Output(&mut c.log.access_to),
    },
    Key {
        path: "log.stall_after",
        help: "How long a single piece of work (a slow disk, a long listing) may hold up all others before a warning names it and \
               /api/v1/status counts it. 0: nobody watches.",
        slot: |c| Slot::Time(&mut c.log.stall_after, Duration::ZERO..=DAY),
    },
    Key {
        path: "limits.connections_max",
        help: "Connections open at once, listeners included; more wait with the system.",
        slot: |c| Slot::Count(&mut c.limits.connections_max, 1..=10_000_000),
    },
    Key {
        path: "limits.accepts_per_turn",
        help: "Connections accepted from one listener before others get a turn.",
        slot: |c| Slot::Count(&mut c.limits.accepts_per_turn, 1..=100_000),
    },
    Key {
        path: "limits.write_low",
        help: "Bytes waiting for a client at which one that was above write_high is served again.",
        slot: |c| Slot::Size(&mut c.limits.write_low, 0..=1 << 30),
    },
    Key {
        path: "limits.write_high",
        help: "Bytes waiting for a client at which its further requests wait.",
        slot: |c| Slot::Size(&mut c.limits.write_high, 1..=1 << 30),
    },
    Key {
        path: "limits.write_max",
        help: "Bytes waiting for a client at which it is cut off.",
        slot: |c| Slot::Size(&mut c.limits.write_max, 64 << 10..=1 << 30),
    },
    Key {
        path: "limits.linger_timeout",
        help: "How long a client that was refused may take to read the reason.",
        slot: |c| Slot::Time(&mut c.limits.linger_timeout, Duration::ZERO..=DAY),
    },
];

/// TOML's integers are signed 64 bits; these counts are unsigned 32.
const MAX: u64 = u32::MAX as u64;
const TICK: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_table_stand_together_and_lists_behind_them() {
        let mut config = Config::default();
        let mut runs: Vec<(&str, bool)> = KEYS
            .iter()
            .map(|key| {
                let table = key.path.rsplit_once('.').map_or("", |(table, _)| table);
                (table, matches!((key.slot)(&mut config), Slot::List(_)))
            })
            .collect();
        runs.dedup();
        let mut once = runs.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(runs.len(), once.len(), "a table is opened twice: {runs:?}");
        assert_eq!(runs[0], ("", false));
        let list = runs.iter().position(|run| *run == ("http", true));
        assert!(list > runs.iter().position(|run| *run == ("http", false)), "{runs:?}");
        for key in &KEYS {
            assert!(key.help.ends_with('.'), "{}", key.path);
        }
    }
}

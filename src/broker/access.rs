//! Who may connect, publish, subscribe and leave a will.
//!
//! A broker asks its [`Access`] before it does anything for a client. An answer may come at once or later: then the client's
//! packets wait, and nobody else's.

mod acl;
#[cfg(feature = "passwords")]
mod files;
#[cfg(feature = "passwords")]
mod logins;
#[cfg(feature = "passwords")]
mod passwords;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use crate::id::ConnId;
use crate::mqtt::{QoS, ReasonCode, Version};

pub use acl::Acl;
#[cfg(feature = "passwords")]
pub use files::{AccessFiles, Anonymous, FileAccess};
#[cfg(feature = "passwords")]
pub use logins::Answers;
#[cfg(feature = "passwords")]
pub use passwords::{Passwords, Scheme, hash_password, hash_passwords, set_password};

/// Decides what clients may do.
///
/// Each question is answered by [`Answer::Allow`], [`Answer::Deny`], or [`Answer::Later`] and then `Broker::answer` with the
/// question's token. A method must not block: the loop, and every client with it, waits for it to return. What is not
/// overridden is allowed to whoever may connect.
///
/// A refusal is counted and logged in one line, with the client, its user name, the topic and the rule.
///
/// ```
/// use vansire::broker::{Access, Answer, Client, Denied, Login, PublishQuestion};
///
/// struct Sensors;
///
/// impl Access for Sensors {
///     fn connect(&mut self, login: &Login<'_>) -> Answer {
///         match (login.username, login.password) {
///             (Some("sensor"), Some(b"secret")) => Answer::Allow,
///             _ => Denied::bad_credentials("the only user is `sensor`").into(),
///         }
///     }
///
///     fn publish(&mut self, client: &Client<'_>, publish: &PublishQuestion<'_>) -> Answer {
///         let own = publish.topic.strip_prefix("sensor/").is_some_and(|rest| rest == client.id);
///         if own { Answer::Allow } else { Denied::not_authorized("sensors publish to their own topic").into() }
///     }
/// }
/// ```
pub trait Access {
    /// Whether a client may connect. Asked once for each CONNECT, before [`will`](Self::will).
    fn connect(&mut self, login: &Login<'_>) -> Answer;

    /// Whether a client may publish to a topic. Asked for each message, of every quality, before it is routed.
    ///
    /// A refused message goes nowhere; its 5.0 publisher is told 0x87 (where the quality has an acknowledgement), and an earlier
    /// one is acknowledged as if nothing were wrong, as the standard has it.
    fn publish(&mut self, client: &Client<'_>, publish: &PublishQuestion<'_>) -> Answer {
        let _ = (client, publish);
        Answer::Allow
    }

    /// Whether a client may subscribe to a filter. Asked for each filter; a refused one is answered with the reason (0x80 before
    /// 5.0), the others are not affected.
    fn subscribe(&mut self, client: &Client<'_>, subscribe: &SubscribeQuestion<'_>) -> Answer {
        let _ = (client, subscribe);
        Answer::Allow
    }

    /// Whether a client may leave this will. Asked with CONNECT, after [`connect`](Self::connect) allowed it; a refusal refuses the
    /// connection.
    fn will(&mut self, client: &Client<'_>, will: &PublishQuestion<'_>) -> Answer {
        self.publish(client, will)
    }

    /// Whether a client may be sent messages of a topic, whatever filter it has subscribed. Answered at once: this is asked for
    /// each message and receiver, if [`checks_deliveries`](Self::checks_deliveries).
    fn deliver(&mut self, client: &Client<'_>, topic: &str) -> bool {
        let _ = (client, topic);
        true
    }

    /// Whether [`deliver`](Self::deliver) is to be asked at all. Asked once, when the broker is made or its access is replaced.
    fn checks_deliveries(&self) -> bool {
        false
    }
}

/// What a client shows when it connects.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Login<'a> {
    /// Names this question, for an answer that comes later.
    pub token: AccessToken,
    /// Its client identifier: its own, or the one that it gets. Never empty.
    pub client_id: &'a str,
    /// The user name, if it gave one.
    pub username: Option<&'a str>,
    /// The password, if it gave one.
    pub password: Option<&'a [u8]>,
    /// Where it comes from. `None`: from a Unix socket, so from this machine.
    pub remote: Option<SocketAddr>,
    /// The listener that accepted it.
    pub listener: Option<ConnId>,
    /// The version of the protocol that it speaks.
    pub version: Version,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Client<'a> {
    /// Names this question, for an answer that comes later.
    pub token: AccessToken,
    /// The client identifier.
    pub id: &'a str,
    /// The user name that it connected with.
    pub username: Option<&'a str>,
}

/// A message that a client wants to publish, now or as its will.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PublishQuestion<'a> {
    /// Where to. Topic aliases are resolved.
    pub topic: &'a str,
    /// How often it arrives.
    pub qos: QoS,
    /// Whether it is kept for later subscribers.
    pub retain: bool,
}

/// What a client wants to be sent.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SubscribeQuestion<'a> {
    /// The filter without `$share/group/`.
    pub filter: &'a str,
    /// The group of a shared subscription.
    pub group: Option<&'a str>,
    /// The best quality that is wanted.
    pub qos: QoS,
}

/// Whether it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It may.
    Allow,
    /// It may not.
    Deny(Denied),
    /// That is not known yet: `Broker::answer` will tell. Nothing else of this client is looked at before.
    Later,
}

/// Why a client may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What a 5.0 client is told; an earlier one as far as its version has a code.
    pub reason: ReasonCode,
    /// Which rule says so, for the log: a file and a line, or words.
    pub rule: Cow<'static, str>,
}

impl Denied {
    /// 0x87: the client is known, and may not do this.
    pub fn not_authorized(rule: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: ReasonCode::NotAuthorized, rule: rule.into() }
    }

    /// 0x86: the user name or the password is wrong.
    pub fn bad_credentials(rule: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: ReasonCode::BadUserNameOrPassword, rule: rule.into() }
    }
}

impl From<Denied> for Answer {
    fn from(denied: Denied) -> Self {
        Self::Deny(denied)
    }
}

/// Names a question that is answered later. An answer to one whose client has gone does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccessToken {
    pub(super) conn: ConnId,
    pub(super) serial: u32,
}

impl<'a> Login<'a> {
    /// A login over 3.1.1 with nothing but a client identifier, from this machine.
    pub fn new(token: AccessToken, client_id: &'a str) -> Self {
        let (username, password, remote, listener) = (None, None, None, None);
        Self { token, client_id, username, password, remote, listener, version: Version::Mqtt311 }
    }
}

impl<'a> Client<'a> {
    /// A client with this identifier and user name.
    pub fn new(token: AccessToken, id: &'a str, username: Option<&'a str>) -> Self {
        Self { token, id, username }
    }
}

impl<'a> PublishQuestion<'a> {
    /// A message to this topic.
    pub fn new(topic: &'a str, qos: QoS, retain: bool) -> Self {
        Self { topic, qos, retain }
    }
}

impl<'a> SubscribeQuestion<'a> {
    /// A subscription to this filter; `group` where it is shared.
    pub fn new(filter: &'a str, group: Option<&'a str>, qos: QoS) -> Self {
        Self { filter, group, qos }
    }
}

impl AccessToken {
    /// A token that names no question, for tests of an [`Access`] by itself.
    pub fn dangling() -> Self {
        Self { conn: ConnId::dangling(), serial: 0 }
    }
}

/// Says whether there is a password, and not which.
impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("password", &self.password.map(|_| format_args!("..")))
            .field("remote", &self.remote)
            .field("listener", &self.listener)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Anybody on this machine may do anything, without a password; nobody else may connect. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnonymousOnLoopback;

impl Access for AnonymousOnLoopback {
    fn connect(&mut self, login: &Login<'_>) -> Answer {
        let is_here = login.remote.is_none_or(|addr| addr.ip().to_canonical().is_loopback());
        if is_here { Answer::Allow } else { Denied::not_authorized("anonymous clients on this machine only").into() }
    }
}

/// Anybody who reaches the broker may do anything. For networks where that is decided elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Access for AllowAll {
    fn connect(&mut self, _: &Login<'_>) -> Answer {
        Answer::Allow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_clients_come_from_this_machine() {
        let table = [
            ("IPv4 loopback", Some("127.0.0.1:1"), true),
            ("all of 127/8", Some("127.9.9.9:1"), true),
            ("IPv6 loopback", Some("[::1]:1"), true),
            ("IPv4 in IPv6", Some("[::ffff:127.0.0.1]:1"), true),
            ("a Unix socket", None, true),
            ("the network", Some("192.0.2.7:1"), false),
            ("the network in IPv6", Some("[::ffff:192.0.2.7]:1"), false),
        ];
        for (name, remote, allowed) in table {
            let remote = remote.map(|addr| addr.parse().unwrap());
            let login = Login { remote, ..Login::new(AccessToken::dangling(), "c") };
            assert_eq!(AnonymousOnLoopback.connect(&login) == Answer::Allow, allowed, "{name}");
        }
    }
}

//! Who may do what: as the broker is told in a file of rules, and as the model knows it.

use crate::broker::access::Acl;
use crate::broker::{Access, Answer, Client, Denied, Login, PublishQuestion, SubscribeQuestion};
use crate::mqtt::Filter;
use crate::sim::Rng;

use super::TOPICS;

/// Nobody: who has no name may do everything, as in worlds without rules.
pub(super) type User = Option<&'static str>;

/// They come with wills as well, where that is allowed.
pub(super) const WILL_TOPICS: [&str; 4] = ["w/a", "w/b", "t/0", "s/a"];

/// Those that a client may be. The last is not let in.
const USERS: [&str; 4] = ["free", "half", "mute", "nobody"];

const RULES: &str = "\
topic #

user free
topic readwrite #

user half
topic read t/#
topic write t/0
topic write t/2
topic s/a
topic w/a
topic deny t/1

user mute
topic read t/0/#
topic read s/#
";

/// The same in the model's words: where somebody may publish.
pub(super) fn may_write(user: User, topic: &str) -> bool {
    match user {
        Some("half") => matches!(topic, "t/0" | "t/2" | "s/a" | "w/a"),
        Some("mute") => false,
        _ => true,
    }
}

/// Of which topics somebody is sent messages.
pub(super) fn may_read(user: User, topic: &str) -> bool {
    match user {
        Some("half") => matches!(topic, "t/0" | "t/2" | "t/0/deep" | "s/a" | "w/a"),
        Some("mute") => matches!(topic, "t/0" | "t/0/deep" | "s/a" | "s/b"),
        _ => true,
    }
}

/// What somebody may subscribe to: whatever could be sent.
pub(super) fn may_subscribe(user: User, filter: &str) -> bool {
    let matches = |topic: &str| Filter::parse(filter).is_ok_and(|filter| filter.matches(topic));
    TOPICS.iter().chain(&WILL_TOPICS).any(|topic| matches(topic) && may_read(user, topic))
}

pub(super) fn may_connect(user: User) -> bool {
    user != Some("nobody")
}

/// The user of that name.
pub(super) fn user(name: Option<&str>) -> User {
    USERS.into_iter().find(|user| Some(*user) == name)
}

/// Mostly one of those who are let in.
pub(super) fn random_user(rng: &mut Rng) -> User {
    let count = if rng.chance(0.1) { USERS.len() } else { USERS.len() - 1 };
    rng.chance(0.8).then(|| USERS[rng.below(count)])
}

/// One that may have a will on `w/a`.
pub(super) fn random_friend(rng: &mut Rng) -> User {
    *rng.pick(&[None, Some("free"), Some("half")])
}

/// What the broker asks.
pub(super) struct Rules(Acl);

impl Rules {
    pub(super) fn new() -> Self {
        Self(Acl::parse(RULES, "rules").expect("rules"))
    }
}

impl Access for Rules {
    fn connect(&mut self, login: &Login<'_>) -> Answer {
        match login.username {
            Some("nobody") => Denied::bad_credentials("").into(),
            _ => Answer::Allow,
        }
    }

    fn publish(&mut self, client: &Client<'_>, publish: &PublishQuestion<'_>) -> Answer {
        self.0.publish(client, publish)
    }

    fn subscribe(&mut self, client: &Client<'_>, subscribe: &SubscribeQuestion<'_>) -> Answer {
        self.0.subscribe(client, subscribe)
    }

    fn deliver(&mut self, client: &Client<'_>, topic: &str) -> bool {
        self.0.deliver(client, topic)
    }

    fn checks_deliveries(&self) -> bool {
        true
    }
}

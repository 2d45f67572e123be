//! ACL files as mosquitto 2.0 reads them: who may publish where, and be sent what.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::proto::mqtt::topic::{check_filter, matches};

use super::{Access, Answer, Client, Denied, Login, PublishQuestion, SubscribeQuestion};

/// The rules of an ACL file, in mosquitto's format and with its meaning.
///
/// ```text
/// # Until the first "user", rules are for clients without a user name.
/// topic read news/#
///
/// user alice
/// topic readwrite plant/#
/// topic deny plant/secret/#
///
/// # For everybody, wherever it stands: %c is the client identifier, %u the user name.
/// pattern write device/%c/#
/// ```
///
/// `topic` and `pattern` take `read`, `write`, `readwrite` or `deny` in front of a filter; without one of them it is `readwrite`. What no
/// rule grants is denied, so an empty file denies everything. The rules of the user come first, then the patterns; in both `deny`
/// comes before the rest. A pattern with `%u` is not for clients without a user name, and none is for clients with a `+` or `#` in
/// their identifier or user name.
///
/// `read` is asked about each message on its way to a client ([`Access::deliver`]), since a filter may be granted in parts. So a
/// subscription is granted where anything that it matches could be sent. It is refused where nothing could be; mosquitto grants that
/// too, and sends nothing.
///
/// As an [`Access`] of its own it lets everybody connect.
#[derive(Debug, Clone)]
pub struct Acl {
    /// For messages.
    file: Arc<str>,
    anonymous: Vec<Rule>,
    users: HashMap<Box<str>, Vec<Rule>>,
    patterns: Vec<Rule>,
    /// A pattern with its names filled in.
    filled: String,
}

#[derive(Debug, Clone)]
struct Rule {
    line: usize,
    kind: RuleKind,
    grant: Grant,
    filter: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RuleKind {
    Topic,
    Pattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grant {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish<'a> {
    /// Publish to a topic.
    Write(&'a str),
    /// Be sent a message of a topic.
    Read(&'a str),
    /// Be sent whatever a filter matches.
    Subscribe(&'a str),
}

/// Why it may not.
enum Refusal<'a> {
    Rule(&'a Rule),
    NoRule,
    /// A name that would be a wildcard in a pattern.
    Wildcard,
}

impl Acl {
    /// Reads the rules in `text`; `file` is what messages call it.
    ///
    /// The first line that is not understood is an error ([`Error::is_bad_file`]) that says what should stand there.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let mut acl = Self {
            file: file.into(),
            anonymous: Vec::new(),
            users: HashMap::new(),
            patterns: Vec::new(),
            filled: String::new(),
        };
        let mut user: Option<&str> = None;
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let bad = |what: String| Error::new(Kind::BadFile, format!("{file}:{number}: {what}"));
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim_end().trim_start_matches(' ');
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.trim();
            match word {
                "" => {}
                "user" if rest.is_empty() => return Err(bad("a name is missing after \"user\"".into())),
                "user" => user = Some(rest),
                "topic" | "pattern" => {
                    let kind = if word == "topic" { RuleKind::Topic } else { RuleKind::Pattern };
                    let rule = Rule::parse(kind, rest, number).map_err(bad)?;
                    match (kind, user) {
                        (RuleKind::Pattern, _) => acl.patterns.push(rule),
                        (RuleKind::Topic, None) => acl.anonymous.push(rule),
                        (RuleKind::Topic, Some(user)) => acl.users.entry(user.into()).or_default().push(rule),
                    }
                }
                _ if word.starts_with('#') => return Err(bad("a comment begins at the start of its line".into())),
                // It is not shown: a file of passwords or tokens may have been named by mistake.
                _ => return Err(bad("a line begins with \"user \", \"topic \", \"pattern \" or \"#\"".into())),
            }
        }
        for rules in acl.users.values_mut().chain([&mut acl.anonymous, &mut acl.patterns]) {
            rules.sort_by_key(|rule| rule.grant != Grant::Deny);
        }
        Ok(acl)
    }

    fn check(&mut self, client: &Client<'_>, wish: Wish<'_>) -> std::result::Result<(), Refusal<'_>> {
        let rules = match client.username {
            Some(user) => self.users.get(user).map_or(&[][..], Vec::as_slice),
            None => &self.anonymous,
        };
        for rule in rules {
            match rule.judge(&rule.filter, wish) {
                Some(true) => return Ok(()),
                Some(false) => return Err(Refusal::Rule(rule)),
                None => {}
            }
        }
        let has_wildcard = |name: &str| name.contains(['+', '#']);
        if !self.patterns.is_empty() && (has_wildcard(client.id) || client.username.is_some_and(has_wildcard)) {
            return Err(Refusal::Wildcard);
        }
        for rule in &self.patterns {
            if !fill(&rule.filter, client, &mut self.filled) {
                continue;
            }
            match rule.judge(&self.filled, wish) {
                Some(true) => return Ok(()),
                Some(false) => return Err(Refusal::Rule(rule)),
                None => {}
            }
        }
        Err(Refusal::NoRule)
    }

    fn answer(&mut self, client: &Client<'_>, wish: Wish<'_>) -> Answer {
        let file = self.file.clone();
        let refusal = match self.check(client, wish) {
            Ok(()) => return Answer::Allow,
            Err(refusal) => refusal,
        };
        let rule = match refusal {
            Refusal::Rule(rule) => format!("{file}:{}: {rule}", rule.line),
            Refusal::Wildcard => format!("{file}: patterns are not for names with + or #"),
            Refusal::NoRule => match wish {
                Wish::Write(_) => format!("{file}: no rule grants it to write there"),
                Wish::Read(_) | Wish::Subscribe(_) => format!("{file}: no rule grants it to read there"),
            },
        };
        Denied::not_authorized(rule).into()
    }
}

impl Access for Acl {
    fn connect(&mut self, _: &Login<'_>) -> Answer {
        Answer::Allow
    }

    fn publish(&mut self, client: &Client<'_>, publish: &PublishQuestion<'_>) -> Answer {
        self.answer(client, Wish::Write(publish.topic))
    }

    fn subscribe(&mut self, client: &Client<'_>, subscribe: &SubscribeQuestion<'_>) -> Answer {
        self.answer(client, Wish::Subscribe(subscribe.filter))
    }

    fn deliver(&mut self, client: &Client<'_>, topic: &str) -> bool {
        self.check(client, Wish::Read(topic)).is_ok()
    }

    fn checks_deliveries(&self) -> bool {
        true
    }
}

impl Rule {
    /// What stands after `topic` or `pattern`; the error is a sentence.
    fn parse(kind: RuleKind, text: &str, line: usize) -> std::result::Result<Self, String> {
        // A word alone is a filter, whatever it says.
        let (grant, filter) = match text.split_once(' ') {
            None => (Grant::ReadWrite, text),
            Some(("read", filter)) => (Grant::Read, filter),
            Some(("write", filter)) => (Grant::Write, filter),
            Some(("readwrite", filter)) => (Grant::ReadWrite, filter),
            Some(("deny", filter)) => (Grant::Deny, filter),
            Some((word, _)) => {
                return Err(format!(
                    "{word:?}: before the topic stands \"read\", \"write\", \"readwrite\" or \"deny\", which a topic with a space \
                     in it cannot do without"
                ));
            }
        };
        let filter = filter.trim_start_matches(' ');
        check_filter(filter).map_err(|e| format!("{filter:?} is no topic and no filter: {e}"))?;
        Ok(Self { line, kind, grant, filter: filter.into() })
    }

    /// Whether the rule allows or denies it; `None`: it has nothing to say. `filter` is the rule's own, with its names filled in.
    fn judge(&self, filter: &str, wish: Wish<'_>) -> Option<bool> {
        let grants = match self.grant {
            Grant::Deny => {
                let denies = match wish {
                    Wish::Write(topic) | Wish::Read(topic) => matches(filter, topic),
                    Wish::Subscribe(wanted) => covers(filter, wanted),
                };
                return denies.then_some(false);
            }
            Grant::Read => !matches!(wish, Wish::Write(_)),
            Grant::Write => matches!(wish, Wish::Write(_)),
            Grant::ReadWrite => true,
        };
        let applies = grants
            && match wish {
                Wish::Write(topic) | Wish::Read(topic) => matches(filter, topic),
                Wish::Subscribe(wanted) => overlap(filter, wanted),
            };
        applies.then_some(true)
    }
}

/// As it stands in the file.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RuleKind::Topic => "topic",
            RuleKind::Pattern => "pattern",
        };
        let grant = match self.grant {
            Grant::Read => "read",
            Grant::Write => "write",
            Grant::ReadWrite => "readwrite",
            Grant::Deny => "deny",
        };
        write!(f, "{kind} {grant} {}", self.filter)
    }
}

/// Puts the client's names in their places; false where it has no user name for `%u`.
fn fill(pattern: &str, client: &Client<'_>, filled: &mut String) -> bool {
    filled.clear();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        let name = match from.as_bytes().get(1) {
            Some(b'c') => client.id,
            Some(b'u') => match client.username {
                Some(user) => user,
                None => return false,
            },
            _ => {
                filled.push('%');
                rest = &from[1..];
                continue;
            }
        };
        filled.push_str(name);
        rest = &from[2..];
    }
    filled.push_str(rest);
    true
}

/// Whether a filter matches all that another one does.
fn covers(filter: &str, wanted: &str) -> bool {
    if front_differs(filter, wanted) {
        return false;
    }
    let (mut levels, mut names) = (filter.split('/'), wanted.split('/'));
    loop {
        match (levels.next(), names.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(name)) if name != "#" => {}
            (Some(level), Some(name)) if level == name => {}
            _ => return false,
        }
    }
}

/// Whether there is a topic that both filters match.
fn overlap(a: &str, b: &str) -> bool {
    if front_differs(a, b) {
        return false;
    }
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// MQTT-4.7.2-1: a wildcard at the front does not match what begins with `$`.
fn front_differs(a: &str, b: &str) -> bool {
    let is_wild = |filter: &str| filter.starts_with(['+', '#']);
    (is_wild(a) && b.starts_with('$')) || (is_wild(b) && a.starts_with('$'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::broker::access::AccessToken;
    use crate::mqtt::QoS;

    /// What mosquitto 2.0.11 was asked too, with the same answers.
    const RULES: &str = "\
# general
topic read news/#
topic anon/both
user alice
topic deny secret/x
topic secret/#
topic read $SYS/broker/version
topic write up/+
user bob
topic readwrite #
topic deny quiet/#
pattern readwrite dev/%c/#
pattern deny dev/%c/no
pattern write usr/%u/v
pattern read 100%/%x
";

    fn client<'a>(id: &'a str, user: &'a str) -> Client<'a> {
        Client::new(AccessToken::dangling(), id, Some(user).filter(|user| !user.is_empty()))
    }

    fn rule(answer: Answer) -> String {
        match answer {
            Answer::Allow => "allowed".into(),
            Answer::Later => "later".into(),
            Answer::Deny(denied) => denied.rule.into_owned(),
        }
    }

    #[test]
    fn rules_mean_what_they_mean_to_mosquitto() {
        const NONE_W: &str = "acl: no rule grants it to write there";
        const NONE_R: &str = "acl: no rule grants it to read there";
        const WILD: &str = "acl: patterns are not for names with + or #";
        let write = |topic| Wish::Write(topic);
        let read = |topic| Wish::Read(topic);
        let subscribe = |filter| Wish::Subscribe(filter);
        let table = [
            ("read is not write", "", "c", write("news/a"), NONE_W),
            ("read", "", "c", read("news/a"), "allowed"),
            ("the parent of #", "", "c", read("news"), "allowed"),
            ("no word is both", "", "c", write("anon/both"), "allowed"),
            ("deny comes first", "alice", "c", write("secret/x"), "acl:5: topic deny secret/x"),
            ("deny also denies reading", "alice", "c", read("secret/x"), "acl:5: topic deny secret/x"),
            ("beside a deny", "alice", "c", write("secret/y"), "allowed"),
            ("wildcard", "alice", "c", write("up/1"), "allowed"),
            ("wildcard is one level", "alice", "c", write("up/1/2"), NONE_W),
            ("write is not read", "alice", "c", read("up/1"), NONE_R),
            ("the general part is for no names", "alice", "c", write("anon/both"), NONE_W),
            ("$ where it is named", "alice", "c", read("$SYS/broker/version"), "allowed"),
            ("$ is not in #", "bob", "c", write("$SYS/x"), NONE_W),
            ("deny after a grant", "bob", "c", write("quiet/x"), "acl:11: topic deny quiet/#"),
            ("%c", "alice", "c1", write("dev/c1/a"), "allowed"),
            ("%c of another", "alice", "c1", write("dev/c2/a"), NONE_W),
            ("%c without a name", "", "c1", write("dev/c1/a"), "allowed"),
            ("a pattern's deny", "alice", "c1", write("dev/c1/no"), "acl:13: pattern deny dev/%c/no"),
            ("the user's rules come before", "bob", "c1", write("dev/c1/no"), "allowed"),
            ("/ in an identifier", "alice", "a/b", write("dev/a/b/x"), "allowed"),
            ("+ in an identifier", "alice", "+", write("dev/x/y"), WILD),
            ("# in a user name", "a#", "c", write("dev/c/y"), WILD),
            ("+ and a rule of the user", "alice", "+", write("up/1"), "allowed"),
            ("%u", "alice", "c", write("usr/alice/v"), "allowed"),
            ("%u without a name", "", "c", write("usr//v"), NONE_W),
            ("a user without rules", "carol", "c", write("usr/carol/v"), "allowed"),
            ("other percent signs", "carol", "c", read("100%/%x"), "allowed"),
            ("subscribe to some of it", "", "c", subscribe("#"), "allowed"),
            ("subscribe to nothing", "", "c", subscribe("other/#"), NONE_R),
            ("subscribe where only written", "alice", "c", subscribe("up/+"), NONE_R),
            ("subscribe to what is denied", "bob", "c", subscribe("quiet/+/x"), "acl:11: topic deny quiet/#"),
            ("subscribe around what is denied", "bob", "c", subscribe("+/x"), "allowed"),
            ("subscribe to $ with rules for #", "bob", "c", subscribe("$SYS/#"), NONE_R),
        ];
        let mut acl = Acl::parse(RULES, "acl").unwrap();
        for (name, user, id, wish, expected) in table {
            assert_eq!(rule(acl.answer(&client(id, user), wish)), expected, "{name}");
        }
    }

    #[test]
    fn each_question_is_asked_of_its_rules() {
        let mut acl = Acl::parse("topic read r\ntopic write w\n", "acl").unwrap();
        let client = client("c", "");
        let question = |topic| PublishQuestion::new(topic, QoS::AtMostOnce, false);
        assert_eq!(acl.publish(&client, &question("w")), Answer::Allow);
        assert_eq!(acl.will(&client, &question("w")), Answer::Allow);
        assert_ne!(acl.will(&client, &question("r")), Answer::Allow);
        let question = SubscribeQuestion::new("r", Some("group"), QoS::AtMostOnce);
        assert_eq!(acl.subscribe(&client, &question), Answer::Allow);
        assert!(acl.checks_deliveries() && acl.deliver(&client, "r") && !acl.deliver(&client, "w"));
    }

    #[test]
    fn files_are_read_as_mosquitto_reads_them() {
        // (text, what a client without a user name gets for publishing to a/b; or a part of the error)
        let table: [(&str, std::result::Result<bool, &str>); 23] = [
            ("", Ok(false)),
            ("# only a comment\n", Ok(false)),
            (" topic a/b\n", Ok(true)),
            ("topic a/b\r\n", Ok(true)),
            ("  \n\ntopic a/b", Ok(true)),
            ("topic a/b  \t\n", Ok(true)),
            ("topic  write   a/b\n", Ok(true)),
            ("topic read\n", Ok(false)),
            ("topic readwrite read\n", Ok(false)),
            ("topic deny a/b  \n", Ok(false)),
            ("topic a/b\ntopic deny a/b\n", Ok(false)),
            ("pattern a/b\n", Ok(true)),
            ("user x\ntopic a/b\nuser y\npattern a/b\n", Ok(true)),
            ("user x y\ntopic a/b\n", Ok(false)),
            ("topic\ta\n", Err("f:1: a line begins with")),
            ("foo\n", Err("f:1: a line begins with")),
            ("alice:$7$secret\n", Err("f:1: a line begins with \"user \", \"topic \", \"pattern \" or \"#\"")),
            ("topic a\ntopic rd a\n", Err("f:2: \"rd\": before the topic stands \"read\"")),
            ("topic a b\n", Err("f:1: \"a\": before the topic stands")),
            ("topic #/a\n", Err("f:1: \"#/a\" is no topic and no filter: ")),
            ("topic\n", Err("f:1: \"\" is no topic and no filter: ")),
            ("user \n", Err("f:1: a name is missing after \"user\"")),
            (" # x\n", Err("f:1: a comment begins at the start of its line")),
        ];
        for (text, expected) in table {
            match (Acl::parse(text, "f"), expected) {
                (Ok(mut acl), Ok(allowed)) => {
                    let answer = acl.answer(&client("c", ""), Wish::Write("a/b"));
                    assert_eq!(answer == Answer::Allow, allowed, "{text:?}");
                }
                (Err(e), Err(part)) => {
                    assert!(e.is_bad_file() && e.to_string().starts_with(part), "{text:?}: {e}");
                }
                (other, _) => panic!("{text:?}: {other:?}"),
            }
        }
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just("$s"), Just("+"), Just("")];
        (proptest::collection::vec(level, 1..4), any::<bool>())
            .prop_map(|(levels, rest)| levels.join("/") + if rest { "/#" } else { "" })
            .prop_filter("not empty", |filter| !filter.is_empty())
    }

    fn topics() -> Vec<String> {
        let names = ["a", "b", "$s", "", "z"];
        let mut topics: Vec<String> = names.map(String::from).to_vec();
        let mut last = topics.clone();
        for _ in 0..3 {
            last = last.iter().flat_map(|topic| names.map(|name| format!("{topic}/{name}"))).collect();
            topics.extend(last.iter().cloned());
        }
        // The empty one too, which no message has: to leave it out would make the rule for `#` longer and grant nothing less.
        topics
    }

    proptest! {
        #[test]
        fn covering_and_overlapping_agree_with_matching(a in filter(), b in filter()) {
            let topics = topics();
            let both = topics.iter().any(|topic| matches(&a, topic) && matches(&b, topic));
            prop_assert_eq!(overlap(&a, &b), both);
            let all = topics.iter().all(|topic| !matches(&b, topic) || matches(&a, topic));
            prop_assert!(!covers(&a, &b) || all, "{} does not cover {}", a, b);
        }
    }
}

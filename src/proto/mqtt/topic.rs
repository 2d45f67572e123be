//! Topic names and filters (section 4.7), shared subscriptions (section 4.8.2).

use std::fmt;

use super::error::DecodeError;
use super::wire::has_byte;

/// The most slashes of a topic or filter: mosquitto's bound. Each level of a filter costs the server memory.
pub const SLASHES_MAX: usize = 200;

/// Why text is not a topic name or a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopicError {
    /// It has no character (MQTT-4.7.3-1).
    Empty,
    /// It has U+0000 (MQTT-4.7.3-2).
    Nul,
    /// It is longer than 65,535 bytes (MQTT-4.7.3-3).
    TooLong,
    /// It has more than [`SLASHES_MAX`] slashes.
    TooDeep,
    /// `+` or `#` in a name (MQTT-4.7.0-1, MQTT-3.3.2-2), or in a filter where they do not stand for a whole level, or for the
    /// last one (MQTT-4.7.1-1, MQTT-4.7.1-2).
    Wildcard,
    /// `$share/` without a group and a filter after it (MQTT-4.8.2-1, MQTT-4.8.2-2).
    Share,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::Nul => "it has U+0000",
            Self::TooLong => "it is longer than 65,535 bytes",
            Self::TooDeep => "it has more than 200 slashes",
            Self::Wildcard => "a wildcard where none may stand",
            Self::Share => "$share without a group and a filter",
        })
    }
}

impl std::error::Error for TopicError {}

/// Whether messages can be published to this name.
///
/// A few nanoseconds for a short one. Names that begin with `$` are fine here: who may use them is up to the server.
#[inline]
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    let bytes = topic.as_bytes();
    // So short a name cannot be too deep either.
    if matches!(bytes.len(), 1..=SLASHES_MAX) && !has_byte(bytes, [0, b'+', b'#']) {
        return Ok(());
    }
    check_odd_topic(topic)
}

#[cold]
fn check_odd_topic(topic: &str) -> Result<(), TopicError> {
    check_size(topic)?;
    if has_byte(topic.as_bytes(), [b'+', b'#']) { Err(TopicError::Wildcard) } else { Ok(()) }
}

/// Whether this filter can be subscribed, `$share/group/` included.
pub fn check_filter(filter: &str) -> Result<(), TopicError> {
    Filter::parse(filter).map(|_| ())
}

fn check_size(text: &str) -> Result<(), TopicError> {
    let bytes = text.as_bytes();
    match bytes.len() {
        0 => Err(TopicError::Empty),
        65_536.. => Err(TopicError::TooLong),
        _ if has_byte(bytes, [0]) => Err(TopicError::Nul),
        len if len > SLASHES_MAX && bytes.iter().filter(|&&byte| byte == b'/').count() > SLASHES_MAX => {
            Err(TopicError::TooDeep)
        }
        _ => Ok(()),
    }
}

/// A filter taken apart: what it matches, and the group that shares it.
///
/// ```
/// use vansire::mqtt::Filter;
///
/// let filter = Filter::parse("$share/workers/jobs/+")?;
/// assert_eq!((filter.group, filter.levels), (Some("workers"), "jobs/+"));
/// assert!(filter.matches("jobs/7"));
/// # Ok::<(), vansire::mqtt::TopicError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Filter<'a> {
    /// The share name: members of a group get each message once between them.
    pub group: Option<&'a str>,
    /// What is matched with topics.
    pub levels: &'a str,
}

impl<'a> Filter<'a> {
    /// Checks a filter as it stands in SUBSCRIBE, and takes it apart.
    pub fn parse(filter: &'a str) -> Result<Self, TopicError> {
        check_size(filter)?;
        let Some(shared) = filter.strip_prefix("$share/") else {
            check_wildcards(filter)?;
            return Ok(Self { group: None, levels: filter });
        };
        // MQTT-4.8.2-2: the share name ends with a slash, and a filter follows.
        let (group, levels) = shared.split_once('/').ok_or(TopicError::Share)?;
        // MQTT-4.8.2-1: it has a character, and no wildcard.
        if group.is_empty() || levels.is_empty() || has_byte(group.as_bytes(), [b'+', b'#']) {
            return Err(TopicError::Share);
        }
        check_wildcards(levels)?;
        Ok(Self { group: Some(group), levels })
    }

    /// Whether messages to this topic are for the subscription.
    pub fn matches(&self, topic: &str) -> bool {
        matches(self.levels, topic)
    }
}

/// MQTT-4.7.1-1: `#` is the whole last level. MQTT-4.7.1-2: `+` is a whole level.
fn check_wildcards(levels: &str) -> Result<(), TopicError> {
    if !has_byte(levels.as_bytes(), [b'+', b'#']) {
        return Ok(());
    }
    let mut rest = levels.split('/').peekable();
    while let Some(level) = rest.next() {
        let fine = match level {
            "+" => true,
            "#" => rest.peek().is_none(),
            _ => !has_byte(level.as_bytes(), [b'+', b'#']),
        };
        if !fine {
            return Err(TopicError::Wildcard);
        }
    }
    Ok(())
}

/// Whether a filter, without `$share/group/`, matches a topic name. Both have to be well-formed.
///
/// Walks both once. To find those of many filters that match, use a [`Trie`](super::Trie).
pub fn matches(filter: &str, topic: &str) -> bool {
    // MQTT-4.7.2-1: a wildcard at the front does not match what begins with $.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut names = topic.split('/');
    let mut levels = filter.split('/');
    loop {
        match (levels.next(), names.next()) {
            // Also the parent level: `a/#` matches `a` (section 4.7.1.2).
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(name)) if level == name => {}
            _ => return false,
        }
    }
}

impl TopicError {
    /// What is wrong with a packet that has such a topic name.
    pub(super) fn in_name(self) -> DecodeError {
        if self == Self::Nul { DecodeError::NulInText } else { DecodeError::BadTopic(self) }
    }

    /// What is wrong with a packet that has such a filter.
    pub(super) fn in_filter(self) -> DecodeError {
        if self == Self::Nul { DecodeError::NulInText } else { DecodeError::BadFilter(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_obey_section_4_7() {
        let deep = "/".repeat(200);
        let deeper = "/".repeat(201);
        let long = "x".repeat(65_535);
        let longer = "x".repeat(65_536);
        let table: &[(&str, &str, Result<(), TopicError>)] = &[
            ("plain", "a/b/c", Ok(())),
            ("one character", "a", Ok(())),
            ("a slash alone", "/", Ok(())),
            ("empty levels", "a//b/", Ok(())),
            ("spaces", "a b/ c", Ok(())),
            ("letters that are not ASCII", "é/ü", Ok(())),
            ("dollar", "$SYS/x", Ok(())),
            ("? and * are letters", "a/?/*", Ok(())),
            ("MQTT-4.7.3-1, H12", "", Err(TopicError::Empty)),
            ("MQTT-4.7.3-2, H12", "a\0", Err(TopicError::Nul)),
            ("MQTT-4.7.0-1: +, H12", "a/+", Err(TopicError::Wildcard)),
            ("MQTT-4.7.0-1: # inside, H12", "sport/ten#nis", Err(TopicError::Wildcard)),
            ("MQTT-4.7.3-3: the longest", &long, Ok(())),
            ("MQTT-4.7.3-3: too long", &longer, Err(TopicError::TooLong)),
            ("200 slashes", &deep, Ok(())),
            ("201 slashes", &deeper, Err(TopicError::TooDeep)),
        ];
        for (name, topic, expected) in table {
            assert_eq!(check_topic(topic), *expected, "{name}");
        }
    }

    #[test]
    fn filters_obey_section_4_7_and_4_8_2() {
        let plain = |levels| Ok(Filter { group: None, levels });
        let shared = |group, levels| Ok(Filter { group: Some(group), levels });
        let deeper = "+/".repeat(201);
        let table: &[(&str, &str, Result<Filter<'_>, TopicError>)] = &[
            ("plain", "a/b", plain("a/b")),
            ("# alone", "#", plain("#")),
            ("# at the end", "a/#", plain("a/#")),
            ("+ alone", "+", plain("+")),
            ("+ everywhere", "+/+/#", plain("+/+/#")),
            ("+ in the middle", "a/+/c", plain("a/+/c")),
            ("an empty level and +", "/+", plain("/+")),
            ("MQTT-4.7.3-1", "", Err(TopicError::Empty)),
            ("MQTT-4.7.3-2", "a\0", Err(TopicError::Nul)),
            ("MQTT-4.7.1-1: # is not last", "a/#/b", Err(TopicError::Wildcard)),
            ("MQTT-4.7.1-1: # is not alone", "a/b#", Err(TopicError::Wildcard)),
            ("MQTT-4.7.1-1: ##", "a/##", Err(TopicError::Wildcard)),
            ("MQTT-4.7.1-2: + is not alone", "a/b+", Err(TopicError::Wildcard)),
            ("MQTT-4.7.1-2: +b", "a/+b/c", Err(TopicError::Wildcard)),
            ("201 slashes", &deeper, Err(TopicError::TooDeep)),
            ("shared", "$share/g/a/+", shared("g", "a/+")),
            ("shared: everything", "$share/g/#", shared("g", "#")),
            ("shared: empty levels", "$share/g//", shared("g", "/")),
            ("not shared: no slash", "$share", plain("$share")),
            ("not shared: another name", "$shared/g/a", plain("$shared/g/a")),
            ("MQTT-4.8.2-1: no name", "$share//a", Err(TopicError::Share)),
            ("MQTT-4.8.2-1: + in the name", "$share/g+/a", Err(TopicError::Share)),
            ("MQTT-4.8.2-1: # as the name", "$share/#/a", Err(TopicError::Share)),
            ("MQTT-4.8.2-2: no filter", "$share/g", Err(TopicError::Share)),
            ("MQTT-4.8.2-2: an empty filter", "$share/g/", Err(TopicError::Share)),
            ("shared: bad wildcard", "$share/g/a#", Err(TopicError::Wildcard)),
        ];
        for (name, filter, expected) in table {
            assert_eq!(Filter::parse(filter), *expected, "{name}");
            assert_eq!(check_filter(filter).is_ok(), expected.is_ok(), "{name}");
        }
    }

    /// H7, and the examples of section 4.7.
    pub(in crate::proto::mqtt) const MATCHES: &[(&str, &str, bool)] = &[
        ("a/b", "a/b", true),
        ("a/b", "a/B", false),
        ("a/b", "a/b/c", false),
        ("a/b/c", "a/b", false),
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/tennis/player1/#", "sport/tennis/player2", false),
        ("sport/#", "sport", true),
        ("sport/#", "sports", false),
        ("#", "a", true),
        ("#", "a/b/c", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+", "finance", true),
        ("+/#", "a", true),
        ("+/#", "a/b/c", true),
        ("a/+/#", "a/b", true),
        ("a/+/#", "a", false),
        ("a/+/b", "a//b", true),
        // MQTT-4.7.2-1
        ("#", "$SYS/uptime", false),
        ("+/uptime", "$SYS/uptime", false),
        ("+/#", "$SYS/uptime", false),
        ("$SYS/#", "$SYS/uptime", true),
        ("$SYS/#", "$SYS", true),
        ("$SYS/+", "$SYS/uptime", true),
        ("a/+", "a/$x", true),
        ("a/#", "a/$x", true),
        // ? and * are letters, H7
        ("a/?", "a/b", false),
        ("a/*", "a/b", false),
        ("a/?", "a/?", true),
        // mqttbytes: a remote panic
        ("#", "é/a", true),
        ("+/a", "é/a", true),
        ("é/#", "é", true),
    ];

    #[test]
    fn filters_match_as_section_4_7_says() {
        for (filter, topic, expected) in MATCHES {
            assert_eq!(matches(filter, topic), *expected, "{filter} and {topic}");
        }
    }
}

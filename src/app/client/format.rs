//! How `vansire sub` prints a message: mosquitto_sub's `-F`, `-v` and `-N`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::flags::bad;
use crate::app::utc::{MONTHS, Utc};
use crate::error::Result;
use crate::mqtt::{Properties, Publish};

/// How messages are printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// The payload; of an empty message nothing.
    Payload,
    /// The topic and the payload.
    Verbose,
    /// As the user has said.
    Custom(Vec<Piece>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Vec<u8>),
    Field(Field, Width),
    /// A letter of strftime.
    Time(char),
    /// Seconds and nanoseconds since 1970.
    Unix,
    Iso,
    /// With the payload as a string, or as the JSON that it is.
    Json {
        raw: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    TopicAlias,
    ContentType,
    CorrelationData,
    Expiry,
    PayloadFormat,
    Length,
    Id,
    UserProperties,
    Payload,
    Qos,
    ResponseTopic,
    Retain,
    SubscriptionIds,
    Topic,
    Hex,
    UpperHex,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Width {
    min: usize,
    max: Option<usize>,
    left: bool,
    zeros: bool,
}

/// A message that cannot be printed as it was asked.
pub(super) struct NotJson;

impl Format {
    /// Reads what stands behind `-F`. Fails with what is not understood in it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |what: String| bad(format!("-F {text:?}: {what}"));
        let mut pieces = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            let piece = match c {
                '%' => {
                    let mut width = Width::default();
                    while let Some(flag) = rest.next_if(|c| matches!(c, '0' | '-')) {
                        width.left |= flag == '-';
                        width.zeros |= flag == '0';
                    }
                    width.min = number(&mut rest).unwrap_or(0);
                    if rest.next_if_eq(&'.').is_some() {
                        width.max = Some(number(&mut rest).unwrap_or(0));
                    }
                    if width.min.max(width.max.unwrap_or(0)) > WIDTH_MAX {
                        return Err(wrong(format!("a width is {WIDTH_MAX} at most")));
                    }
                    match rest.next() {
                        Some('%') => None,
                        Some('I') => Some(Piece::Iso),
                        Some('U') => Some(Piece::Unix),
                        Some('j') => Some(Piece::Json { raw: false }),
                        Some('J') => Some(Piece::Json { raw: true }),
                        Some(letter) => match Field::of(letter) {
                            Some(field) => Some(Piece::Field(field, width)),
                            None => return Err(wrong(format!("%{letter} is not known; {FIELDS}"))),
                        },
                        None => return Err(wrong("a letter is missing after the last %; %% prints one".into())),
                    }
                }
                '@' => match rest.next() {
                    Some('@') => None,
                    Some(letter) if TIMES.contains(letter) => Some(Piece::Time(letter)),
                    Some(letter) => return Err(wrong(format!("@{letter} is not known; of time there are {TIMES}"))),
                    None => return Err(wrong("a letter is missing after the last @; @@ prints one".into())),
                },
                '\\' => {
                    let byte = match rest.next() {
                        Some('\\') => b'\\',
                        Some('0') => 0,
                        Some('a') => 7,
                        Some('e') => 0x1b,
                        Some('n') => b'\n',
                        Some('r') => b'\r',
                        Some('t') => b'\t',
                        Some('v') => 0x0b,
                        Some(letter) => {
                            return Err(wrong(format!(
                                "\\{letter} is not known; there are \\\\ \\0 \\a \\e \\n \\r \\t \\v"
                            )));
                        }
                        None => return Err(wrong("a letter is missing after the last \\; \\\\ prints one".into())),
                    };
                    plain.push(byte);
                    continue;
                }
                _ => {
                    plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            match piece {
                None => plain.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                Some(piece) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(piece);
                }
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self::Custom(pieces))
    }

    /// Appends a message that has come at `now`, since 1970. What is not JSON and was to be is left out, and told.
    pub(super) fn write(
        &self,
        message: &Publish<'_>,
        now: Duration,
        line: &Line,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), NotJson> {
        let before = out.len();
        match self {
            Self::Payload if message.payload.is_empty() => return Ok(()),
            Self::Payload => out.extend_from_slice(message.payload),
            Self::Verbose => {
                if message.payload.is_empty() && !line.ends {
                    return Ok(());
                }
                out.extend_from_slice(message.topic.as_bytes());
                out.push(b' ');
                out.extend_from_slice(if message.payload.is_empty() { b"(null)" } else { message.payload });
            }
            Self::Custom(pieces) => {
                for piece in pieces {
                    if let Err(NotJson) = piece.write(message, now, line, out) {
                        out.truncate(before);
                        return Err(NotJson);
                    }
                }
            }
        }
        if line.ends {
            out.push(b'\n');
        }
        Ok(())
    }
}

/// What holds for every line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// It ends with a line feed.
    pub(super) ends: bool,
    /// JSON takes several lines.
    pub(super) pretty: bool,
}

fn number(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = rest.peek().and_then(|c| c.to_digit(10)) {
        rest.next();
        number = Some(number.unwrap_or(0usize).saturating_mul(10).saturating_add(digit as usize));
    }
    number
}

impl Field {
    fn of(letter: char) -> Option<Self> {
        Some(match letter {
            'A' => Self::TopicAlias,
            'C' => Self::ContentType,
            'D' => Self::CorrelationData,
            'E' => Self::Expiry,
            'F' => Self::PayloadFormat,
            'l' => Self::Length,
            'm' => Self::Id,
            'P' => Self::UserProperties,
            'p' => Self::Payload,
            'q' => Self::Qos,
            'R' => Self::ResponseTopic,
            'r' => Self::Retain,
            'S' => Self::SubscriptionIds,
            't' => Self::Topic,
            'x' => Self::Hex,
            'X' => Self::UpperHex,
            _ => return None,
        })
    }

    /// Whether a field width holds for it, and zeros may fill it.
    fn takes(self) -> (bool, bool) {
        match self {
            Self::TopicAlias | Self::Expiry | Self::PayloadFormat | Self::Length | Self::Id => (true, true),
            Self::SubscriptionIds | Self::Hex | Self::UpperHex => (true, true),
            Self::ContentType | Self::ResponseTopic | Self::Topic | Self::Payload => (true, false),
            Self::CorrelationData | Self::UserProperties | Self::Qos | Self::Retain => (false, false),
        }
    }

    fn write(self, message: &Publish<'_>, out: &mut Vec<u8>) {
        let properties = &message.properties;
        let mut decimal = |number: Option<u64>| {
            // Writing to memory does not fail.
            let _ = number.map(|number| write!(out, "{number}"));
        };
        match self {
            Self::TopicAlias => decimal(properties.topic_alias().map(|alias| alias.get().into())),
            Self::Expiry => decimal(properties.message_expiry_interval().map(Into::into)),
            Self::PayloadFormat => decimal(properties.payload_format_indicator().map(Into::into)),
            Self::Length => decimal(Some(message.payload.len() as u64)),
            Self::Id => decimal(Some(message.id.map_or(0, |id| id.get().into()))),
            Self::Qos => decimal(Some(message.qos.to_u8().into())),
            Self::Retain => decimal(Some(message.retain.into())),
            Self::SubscriptionIds => {
                for (at, id) in properties.subscription_ids().enumerate() {
                    let _ = write!(out, "{}{}", if at > 0 { " " } else { "" }, id.get());
                }
            }
            Self::UserProperties => {
                for (at, (name, value)) in properties.user_properties().enumerate() {
                    let _ = write!(out, "{}{name}:{value}", if at > 0 { " " } else { "" });
                }
            }
            Self::ContentType => out.extend_from_slice(properties.content_type().unwrap_or_default().as_bytes()),
            Self::ResponseTopic => out.extend_from_slice(properties.response_topic().unwrap_or_default().as_bytes()),
            Self::CorrelationData => out.extend_from_slice(properties.correlation_data().unwrap_or_default()),
            Self::Topic => out.extend_from_slice(message.topic.as_bytes()),
            Self::Payload => out.extend_from_slice(message.payload),
            Self::Hex => message.payload.iter().for_each(|byte| _ = write!(out, "{byte:02x}")),
            Self::UpperHex => message.payload.iter().for_each(|byte| _ = write!(out, "{byte:02X}")),
        }
    }
}

impl Piece {
    fn write(
        &self,
        message: &Publish<'_>,
        now: Duration,
        line: &Line,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), NotJson> {
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Field(field, width) => {
                let start = out.len();
                field.write(message, out);
                width.apply(*field, start, out);
            }
            Self::Time(letter) => out.extend_from_slice(time(*letter, now).as_bytes()),
            Self::Unix => _ = write!(out, "{}.{:09}", now.as_secs(), now.subsec_nanos()),
            Self::Iso => out.extend_from_slice(iso(now).as_bytes()),
            Self::Json { raw } => json(message, now, *raw, line.pretty, out)?,
        }
        Ok(())
    }
}

impl Width {
    /// Cuts and fills what has been written from `start` on.
    fn apply(&self, field: Field, start: usize, out: &mut Vec<u8>) {
        let (has_width, has_zeros) = field.takes();
        if !has_width {
            return;
        }
        let is_text = matches!(field, Field::ContentType | Field::ResponseTopic | Field::Topic);
        if let (Some(max), true) = (self.max, is_text) {
            // Characters are not cut in two.
            let text = std::str::from_utf8(&out[start..]).unwrap_or_default();
            let end = text.char_indices().nth(max).map_or(text.len(), |(at, _)| at);
            out.truncate(start + end);
        }
        let len = if is_text {
            std::str::from_utf8(&out[start..]).map_or(0, |text| text.chars().count())
        } else {
            out.len() - start
        };
        let missing = self.min.saturating_sub(len);
        if missing == 0 {
            return;
        }
        if self.left {
            out.resize(out.len() + missing, b' ');
        } else {
            let fill = if self.zeros && has_zeros { b'0' } else { b' ' };
            out.splice(start..start, std::iter::repeat_n(fill, missing));
        }
    }
}

fn iso(now: Duration) -> String {
    let Utc { year, month, day, hour, minute, second } = Utc::at(now.as_secs());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+0000")
}

/// What strftime makes of a letter, in English and UTC.
fn time(letter: char, now: Duration) -> String {
    const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    const LONG_MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let at = Utc::at(now.as_secs());
    let weekday = Utc::weekday(now.as_secs());
    let Utc { year, month, day, hour, minute, second } = at;
    let hour12 = if hour % 12 == 0 { 12 } else { hour % 12 };
    let month_at = usize::from(month - 1);
    match letter {
        'Y' => format!("{year}"),
        'y' => format!("{:02}", year % 100),
        'C' => format!("{:02}", year / 100),
        'm' => format!("{month:02}"),
        'd' => format!("{day:02}"),
        'e' => format!("{day:2}"),
        'H' => format!("{hour:02}"),
        'I' => format!("{hour12:02}"),
        'M' => format!("{minute:02}"),
        'S' => format!("{second:02}"),
        'p' => if hour < 12 { "AM" } else { "PM" }.into(),
        'N' => format!("{:09}", now.subsec_nanos()),
        's' => format!("{}", now.as_secs()),
        'z' => "+0000".into(),
        'Z' => "UTC".into(),
        'j' => format!("{:03}", at.day_of_year()),
        'u' => format!("{}", if weekday == 0 { 7 } else { weekday }),
        'w' => format!("{weekday}"),
        'a' => DAYS[weekday][..3].into(),
        'A' => DAYS[weekday].into(),
        'b' | 'h' => MONTHS[month_at].into(),
        'B' => LONG_MONTHS[month_at].into(),
        'F' => format!("{year:04}-{month:02}-{day:02}"),
        'D' | 'x' => format!("{month:02}/{day:02}/{:02}", year % 100),
        'T' | 'X' => format!("{hour:02}:{minute:02}:{second:02}"),
        'R' => format!("{hour:02}:{minute:02}"),
        'c' => format!("{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}", &DAYS[weekday][..3], MONTHS[month_at]),
        'n' => "\n".into(),
        't' => "\t".into(),
        // `parse` lets no other in.
        _ => String::new(),
    }
}

/// The letters of [`time`].
const TIMES: &str = "YyCmdeHIMSpNszZjuwaAbhBFDxTXRcnt";

const FIELDS: &str = "of a message there are %t %p %x %X %q %r %l %m %C %R %D %E %F %P %S %A %j %J, of time %I %U";

const WIDTH_MAX: usize = 10_000;

/// A message as mosquitto_sub's `%j` and `%J` have it.
#[derive(Serialize)]
struct Json<'a, P> {
    tst: String,
    topic: &'a str,
    qos: u8,
    retain: u8,
    payloadlen: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    mid: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<JsonProperties<'a>>,
    payload: P,
}

struct JsonProperties<'a>(Properties<'a>);

impl Serialize for JsonProperties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let properties = &self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Some(alias) = properties.topic_alias() {
            map.serialize_entry("topic-alias", &alias)?;
        }
        if let Some(text) = properties.content_type() {
            map.serialize_entry("content-type", text)?;
        }
        if properties.user_properties().next().is_some() {
            map.serialize_entry("user-properties", &Pairs(*properties))?;
        }
        if let Some(topic) = properties.response_topic() {
            map.serialize_entry("response-topic", topic)?;
        }
        if let Some(data) = properties.correlation_data() {
            map.serialize_entry("correlation-data", &String::from_utf8_lossy(data))?;
        }
        if let Some(is_text) = properties.payload_format_indicator() {
            map.serialize_entry("payload-format-indicator", &u8::from(is_text))?;
        }
        if let Some(seconds) = properties.message_expiry_interval() {
            map.serialize_entry("message-expiry-interval", &seconds)?;
        }
        for id in properties.subscription_ids() {
            map.serialize_entry("subscription-identifier", &id.get())?;
        }
        map.end()
    }
}

/// User properties, which may have a name twice.
struct Pairs<'a>(Properties<'a>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.user_properties())
    }
}

fn json(
    message: &Publish<'_>,
    now: Duration,
    raw: bool,
    pretty: bool,
    out: &mut Vec<u8>,
) -> std::result::Result<(), NotJson> {
    if raw && !message.payload.is_empty() {
        let payload: &RawValue = serde_json::from_slice(message.payload).map_err(|_| NotJson)?;
        let payload = RawValue::from_string(without_space(payload.get())).map_err(|_| NotJson)?;
        return object(message, now, payload, pretty, out);
    }
    let payload = (!message.payload.is_empty()).then(|| String::from_utf8_lossy(message.payload));
    object(message, now, payload, pretty, out)
}

/// JSON in one line, as it was in everything else.
fn without_space(json: &str) -> String {
    let (mut in_string, mut is_escaped) = (false, false);
    let is_kept = |c: &char| {
        let is_kept = in_string || !c.is_ascii_whitespace();
        in_string ^= *c == '"' && !is_escaped;
        is_escaped = in_string && *c == '\\' && !is_escaped;
        is_kept
    };
    json.chars().filter(is_kept).collect()
}

fn object(
    message: &Publish<'_>,
    now: Duration,
    payload: impl Serialize,
    pretty: bool,
    out: &mut Vec<u8>,
) -> std::result::Result<(), NotJson> {
    let mut tst = String::new();
    let at = iso(now);
    let (date, zone) = at.split_at(at.len() - 5);
    let _ = write!(tst, "{date}.{:06}{zone}", now.subsec_micros());
    let value = Json {
        tst,
        topic: message.topic,
        qos: message.qos.to_u8(),
        retain: message.retain.into(),
        payloadlen: message.payload.len(),
        mid: message.id.map(Into::into),
        properties: (!message.properties.is_empty()).then_some(JsonProperties(message.properties)),
        payload,
    };
    let written = if pretty {
        let style = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        value.serialize(&mut serde_json::Serializer::with_formatter(out, style))
    } else {
        serde_json::to_writer(out, &value)
    };
    written.map_err(|_| NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Property, PropertyBuf, QoS, SubscriptionId};

    /// 2026-11-29 01:14:59 UTC, a Sunday.
    const NOW: Duration = Duration::new(1_795_914_899, 685_184_216);

    fn printed(format: &str, message: &Publish<'_>) -> String {
        let mut out = Vec::new();
        let line = Line { ends: false, pretty: false };
        match Format::parse(format).unwrap().write(message, NOW, &line, &mut out) {
            Ok(()) => String::from_utf8(out).unwrap(),
            Err(NotJson) => "not JSON".into(),
        }
    }

    fn properties() -> PropertyBuf {
        let mut properties = PropertyBuf::new();
        for property in [
            Property::ContentType("text/plain"),
            Property::UserProperty(("k", "v")),
            Property::UserProperty(("k", "v2")),
            Property::ResponseTopic("re/x"),
            Property::CorrelationData(b"cd"),
            Property::MessageExpiryInterval(997),
            Property::PayloadFormatIndicator(true),
            Property::SubscriptionIdentifier(SubscriptionId::new(5).unwrap()),
        ] {
            properties.push(property).unwrap();
        }
        properties
    }

    /// What mosquitto_sub 2.0.11 printed for these, but for the zone in `tst`, where it has `Z+0000`.
    #[test]
    fn formats_print_what_mosquitto_sub_prints() {
        let properties = properties();
        let bare = Publish { retain: true, ..Publish::new("r/1", b"one") };
        let full = Publish {
            qos: QoS::ExactlyOnce,
            id: std::num::NonZeroU16::new(2),
            retain: true,
            properties: properties.as_properties(),
            ..Publish::new("r/3", "thr\u{e9}e")
        };
        let all = "%t|%p|%q|%r|%l|%m|%x|%X|%C|%R|%D|%E|%F|%P|%S|%A|%%|@@|\\t|";
        for (format, message, expected) in [
            (all, &bare, "r/1|one|0|1|3|0|6f6e65|6F6E65|||||||||%|@|\t|"),
            (
                all,
                &full,
                "r/3|thr\u{e9}e|2|1|6|2|746872c3a965|746872C3A965|text/plain|re/x|cd|997|1|k:v k:v2|5||%|@|\t|",
            ),
            (
                "[%10t][%-10t][%1.2t][%05l][%5q][%05t][%-05l]",
                &bare,
                "[       r/1][r/1       ][r/][00003][0][  r/1][3    ]",
            ),
            ("%I %U", &bare, "2026-11-29T01:14:59+0000 1795914899.685184216"),
            ("@Y-@m-@d @H:@M:@S.@N @z @s", &bare, "2026-11-29 01:14:59.685184216 +0000 1795914899"),
            (
                "@a @A @b @B @e @j @y @C @I @p @u @w @F @T @R @D",
                &bare,
                "Sun Sunday Nov November 29 333 26 20 01 AM 7 0 2026-11-29 01:14:59 01:14 11/29/26",
            ),
            ("@c", &bare, "Sun Nov 29 01:14:59 2026"),
            ("\\\\\\0\\a\\e\\n\\r\\v", &bare, "\\\0\u{7}\u{1b}\n\r\u{b}"),
            (
                "%j",
                &bare,
                r#"{"tst":"2026-11-29T01:14:59.685184+0000","topic":"r/1","qos":0,"retain":1,"payloadlen":3,"payload":"one"}"#,
            ),
            (
                "%j",
                &full,
                "{\"tst\":\"2026-11-29T01:14:59.685184+0000\",\"topic\":\"r/3\",\"qos\":2,\"retain\":1,\"payloadlen\":6,\
                 \"mid\":2,\"properties\":{\"content-type\":\"text/plain\",\"user-properties\":{\"k\":\"v\",\"k\":\"v2\"},\
                 \"response-topic\":\"re/x\",\"correlation-data\":\"cd\",\"payload-format-indicator\":1,\
                 \"message-expiry-interval\":997,\"subscription-identifier\":5},\"payload\":\"thr\u{e9}e\"}",
            ),
            ("%J", &bare, "not JSON"),
            (
                "a%Jb",
                &Publish::new("t", "{\n \"b\": \"x y\\\" \", \"a\": [1, 2.50] }\n"),
                "a{\"tst\":\"2026-11-29T01:14:59.685184+0000\",\"topic\":\"t\",\"qos\":0,\"retain\":0,\"payloadlen\":35,\
                 \"payload\":{\"b\":\"x y\\\" \",\"a\":[1,2.50]}}b",
            ),
            (
                "%j",
                &Publish::new("t", ""),
                "{\"tst\":\"2026-11-29T01:14:59.685184+0000\",\"topic\":\"t\",\"qos\":0,\"retain\":0,\"payloadlen\":0,\
                 \"payload\":null}",
            ),
        ] {
            assert_eq!(printed(format, message), expected, "{format}");
        }
    }

    #[test]
    fn a_format_that_is_not_understood_says_where() {
        for (format, part) in [
            ("%", "a letter is missing after the last %"),
            ("%k", "%k is not known; of a message there are %t"),
            ("\\q", "\\q is not known"),
            ("x@", "a letter is missing after the last @"),
            ("@Q", "@Q is not known"),
            ("x\\", "a letter is missing after the last \\"),
            ("%99999999999999999999t", "a width is 10000 at most"),
        ] {
            let told = Format::parse(format).expect_err(format).to_string();
            assert!(told.contains(part), "{format}: {told}");
        }
    }

    #[test]
    fn lines_end_and_empty_messages_are_told_as_mosquitto_sub_does() {
        let (empty, full) = (Publish::new("t", ""), Publish::new("t", "x"));
        for (format, message, ends, expected) in [
            (Format::Payload, &full, true, "x\n"),
            (Format::Payload, &full, false, "x"),
            (Format::Payload, &empty, true, ""),
            (Format::Verbose, &full, true, "t x\n"),
            (Format::Verbose, &empty, true, "t (null)\n"),
            (Format::Verbose, &empty, false, ""),
            (Format::parse("%p").unwrap(), &empty, true, "\n"),
        ] {
            let mut out = Vec::new();
            assert!(format.write(message, NOW, &Line { ends, pretty: false }, &mut out).is_ok());
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{format:?} {ends}");
        }
    }

    #[test]
    fn pretty_json_takes_several_lines() {
        let mut out = Vec::new();
        let line = Line { ends: true, pretty: true };
        let message = Publish::new("t", "x");
        assert!(Format::parse("%j").unwrap().write(&message, NOW, &line, &mut out).is_ok());
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("{\n\t\"tst\": ") && text.ends_with("\t\"payload\": \"x\"\n}\n"), "{text}");
    }
}

//! `-D COMMAND PROPERTY VALUE`: properties of MQTT 5 from the command line.

use std::num::{NonZeroU16, NonZeroU32};

use super::flags::{Job, bad};
use crate::error::Result;
use crate::mqtt::{Property, PropertyBuf, SubscriptionId};

/// The properties of each packet. Those that the client says itself are numbers for it.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub(super) connect: PropertyBuf,
    pub(super) publish: PropertyBuf,
    pub(super) subscribe: PropertyBuf,
    pub(super) unsubscribe: PropertyBuf,
    pub(super) disconnect: PropertyBuf,
    pub(super) will: PropertyBuf,
    pub(super) session_expiry: Option<u32>,
    pub(super) receive_max: Option<u16>,
    pub(super) packet_max: Option<u32>,
    pub(super) aliases_max: Option<u16>,
}

/// Reads the words of all `-D`, one behind the other: three each, four for a user property.
pub(super) fn parse(words: &[String], job: Job) -> Result<Extra> {
    let mut extra = Extra::default();
    let mut words = words.iter().map(String::as_str);
    while let Some(command) = words.next() {
        let (Some(name), Some(value)) = (words.next(), words.next()) else {
            return Err(bad(format!("-D {command}: it takes a command, a property and a value")));
        };
        let second = match name {
            "user-property" => Some(
                words
                    .next()
                    .ok_or_else(|| bad(format!("-D {command} user-property {value}: it takes a name and a value")))?,
            ),
            _ => None,
        };
        extra.add(command, name, value, second, job)?;
    }
    Ok(extra)
}

impl Extra {
    fn add(&mut self, command: &str, name: &str, value: &str, second: Option<&str>, job: Job) -> Result<()> {
        let command = command.to_ascii_lowercase();
        let (allowed, there) = match (command.as_str(), job) {
            ("connect", _) => (CONNECT, &mut self.connect),
            ("publish", Job::Publish) => (PUBLISH, &mut self.publish),
            ("subscribe", Job::Subscribe) => (SUBSCRIBE, &mut self.subscribe),
            ("unsubscribe", Job::Subscribe) => (&["user-property"] as &[&str], &mut self.unsubscribe),
            ("disconnect", _) => (DISCONNECT, &mut self.disconnect),
            ("will", _) => (WILL, &mut self.will),
            _ => {
                let known = match job {
                    Job::Publish => "connect, publish, disconnect and will",
                    Job::Subscribe => "connect, subscribe, unsubscribe, disconnect and will",
                };
                return Err(bad(format!("-D {command}: this program says {known}")));
            }
        };
        if !allowed.contains(&name) {
            return Err(bad(format!("-D {command} {name}: the properties there are {}", allowed.join(", "))));
        }
        let wrong = |what: &str| bad(format!("-D {command} {name} {value}: {what}"));
        let number = |max: u32| match value.parse::<u32>() {
            Ok(number) if number <= max => Ok(number),
            _ => Err(wrong(&format!("it is a number from 0 to {max}"))),
        };
        let small = || number(u16::MAX.into()).map(|number| number as u16);
        let flag = || number(1).map(|number| number == 1);
        const NOT_0: &str = "0 is not allowed";
        let property = match name {
            "user-property" => Property::UserProperty((value, second.unwrap_or_default())),
            "payload-format-indicator" => Property::PayloadFormatIndicator(flag()?),
            "message-expiry-interval" => Property::MessageExpiryInterval(number(u32::MAX)?),
            "content-type" => Property::ContentType(value),
            "response-topic" => Property::ResponseTopic(value),
            "correlation-data" => Property::CorrelationData(value.as_bytes()),
            "will-delay-interval" => Property::WillDelayInterval(number(u32::MAX)?),
            "authentication-method" => Property::AuthenticationMethod(value),
            "authentication-data" => Property::AuthenticationData(value.as_bytes()),
            "request-problem-information" => Property::RequestProblemInformation(flag()?),
            "request-response-information" => Property::RequestResponseInformation(flag()?),
            "subscription-identifier" => {
                let id = number(u32::MAX).ok().and_then(SubscriptionId::new);
                Property::SubscriptionIdentifier(id.ok_or_else(|| wrong("it is a number from 1 to 268435455"))?)
            }
            // Of CONNECT they are said by the client itself, and hold for it.
            "session-expiry-interval" if command == "connect" => {
                self.session_expiry = Some(number(u32::MAX)?);
                return Ok(());
            }
            "session-expiry-interval" => Property::SessionExpiryInterval(number(u32::MAX)?),
            "receive-maximum" => {
                self.receive_max = Some(NonZeroU16::new(small()?).ok_or_else(|| wrong(NOT_0))?.get());
                return Ok(());
            }
            "maximum-packet-size" => {
                self.packet_max = Some(NonZeroU32::new(number(u32::MAX)?).ok_or_else(|| wrong(NOT_0))?.get());
                return Ok(());
            }
            "topic-alias-maximum" => {
                self.aliases_max = Some(small()?);
                return Ok(());
            }
            // The client gives topics their aliases, where the server takes any.
            "topic-alias" => {
                NonZeroU16::new(small()?).ok_or_else(|| wrong(NOT_0))?;
                return Ok(());
            }
            _ => return Err(wrong("it is not known")),
        };
        there.push(property).map_err(|e| wrong(&e.to_string())).map(drop)
    }
}

const CONNECT: &[&str] = &[
    "authentication-data",
    "authentication-method",
    "maximum-packet-size",
    "receive-maximum",
    "request-problem-information",
    "request-response-information",
    "session-expiry-interval",
    "topic-alias-maximum",
    "user-property",
];

const PUBLISH: &[&str] = &[
    "content-type",
    "correlation-data",
    "message-expiry-interval",
    "payload-format-indicator",
    "response-topic",
    "topic-alias",
    "user-property",
];

const SUBSCRIBE: &[&str] = &["subscription-identifier", "user-property"];

const DISCONNECT: &[&str] = &["session-expiry-interval", "user-property"];

const WILL: &[&str] = &[
    "content-type",
    "correlation-data",
    "message-expiry-interval",
    "payload-format-indicator",
    "response-topic",
    "user-property",
    "will-delay-interval",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str, job: Job) -> std::result::Result<Extra, String> {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        parse(&words, job).map_err(|e| e.to_string())
    }

    #[test]
    fn every_property_goes_to_its_packet() {
        let extra = parsed(
            "connect user-property a b publish content-type t PUBLISH correlation-data c publish response-topic r/x \
             publish message-expiry-interval 7 publish payload-format-indicator 1 publish topic-alias 3 \
             publish user-property k v Publish user-property k w will will-delay-interval 9 \
             disconnect session-expiry-interval 5 connect session-expiry-interval 6 connect receive-maximum 2 \
             connect maximum-packet-size 1000 connect topic-alias-maximum 0 connect request-problem-information 0",
            Job::Publish,
        )
        .unwrap();
        let publish = extra.publish.as_properties();
        assert_eq!(publish.content_type(), Some("t"));
        assert_eq!(publish.correlation_data(), Some(&b"c"[..]));
        assert_eq!(publish.response_topic(), Some("r/x"));
        assert_eq!(publish.message_expiry_interval(), Some(7));
        assert_eq!(publish.payload_format_indicator(), Some(true));
        assert_eq!(publish.topic_alias(), None, "the client's own affair");
        assert_eq!(publish.user_properties().collect::<Vec<_>>(), [("k", "v"), ("k", "w")]);
        assert_eq!(extra.will.as_properties().will_delay_interval(), Some(9));
        assert_eq!(extra.disconnect.as_properties().session_expiry_interval(), Some(5));
        assert_eq!(extra.connect.as_properties().request_problem_information(), Some(false));
        assert_eq!(extra.connect.as_properties().session_expiry_interval(), None);
        let numbers = (extra.session_expiry, extra.receive_max, extra.packet_max, extra.aliases_max);
        assert_eq!(numbers, (Some(6), Some(2), Some(1000), Some(0)));
        let extra =
            parsed("subscribe subscription-identifier 8 unsubscribe user-property a b", Job::Subscribe).unwrap();
        assert_eq!(extra.subscribe.as_properties().subscription_ids().next().map(SubscriptionId::get), Some(8));
        assert_eq!(extra.unsubscribe.as_properties().user_properties().next(), Some(("a", "b")));
    }

    #[test]
    fn what_cannot_be_said_names_what_can() {
        // (what is asked, by whom, a part of the answer)
        let table = [
            ("publish", Job::Publish, "it takes a command, a property and a value"),
            ("publish content-type", Job::Publish, "it takes a command, a property and a value"),
            ("publish user-property a", Job::Publish, "it takes a name and a value"),
            ("publish nope 3", Job::Publish, "-D publish nope: the properties there are content-type, "),
            ("puback user-property a b", Job::Publish, "-D puback: this program says connect, publish"),
            ("publish content-type x", Job::Subscribe, "-D publish: this program says connect, subscribe"),
            ("connect will-delay-interval 3", Job::Publish, "-D connect will-delay-interval: the properties there"),
            ("connect receive-maximum 0", Job::Publish, "-D connect receive-maximum 0: 0 is not allowed"),
            ("connect receive-maximum 65536", Job::Publish, "from 0 to 65535"),
            ("publish message-expiry-interval -1", Job::Publish, "from 0 to 4294967295"),
            ("publish payload-format-indicator 2", Job::Publish, "from 0 to 1"),
            ("publish response-topic a/#", Job::Publish, "-D publish response-topic a/#: "),
            ("publish content-type a publish content-type b", Job::Publish, "-D publish content-type b: "),
            ("subscribe subscription-identifier 0", Job::Subscribe, "from 1 to 268435455"),
        ];
        for (line, job, part) in table {
            let told = parsed(line, job).expect_err(line);
            assert!(told.contains(part), "{line}: {told}");
        }
    }
}

//! Any bytes are a message or an error, at little cost; and what is a message is written and read as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vansire::dns::{Conf, Hosts, Message};

fuzz_target!(|input: &[u8]| {
    if let Ok(message) = Message::parse(input) {
        for record in message.answers.iter().chain(&message.authority).chain(&message.additional) {
            assert!(record.name.as_wire().len() <= 255);
            let _ = record.name.to_string();
        }
        let bytes = message.encode().expect("what was read can be written");
        // Without compression it may be longer than a message is: then it is none any more.
        assert_eq!(Message::parse(&bytes), Ok(message));
    }
    // The texts that a machine's files hold.
    let text = String::from_utf8_lossy(input);
    let conf = Conf::parse(&text, |_| Some(1));
    assert!((1..=3).contains(&conf.servers.len()) && conf.search.len() <= 6 && (1..=5).contains(&conf.attempts));
    let _ = Hosts::parse(&text);
});

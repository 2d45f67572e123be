//! An MQTT client: publishes, subscribes, or both, and comes back when the connection is lost.
//!
//! `cargo run --example mqtt_client -- --url mqtt://127.0.0.1 --sub 'plant/#' --count 3` prints three messages and ends;
//! `... --pub plant/7 --message 21.5 --qos 1` publishes one and ends when the server has it. Flags: `--version 3|4|5`, `--id NAME`,
//! `--keep-session SECONDS`, `--repeat N` (publishes N messages; `%n` in the text is their number), `--retain`, `--alive SECONDS`,
//! `--will TOPIC`, `--vanish` (ends without DISCONNECT), `--verbose` (prints what happens). Ends with 1 where something failed.

#[path = "common/mod.rs"]
mod common;

use std::time::Duration;

use common::flag;
use vansire::mqtt::{ClientOptions, Property, PropertyBuf, Publish, QoS, Reconnect, Subscription, Version, Will};
use vansire::{Ctx, Event, Manager};

struct Job {
    subscribe: String,
    publish: String,
    message: String,
    qos: QoS,
    retain: bool,
    is_5: bool,
    vanish: bool,
    verbose: bool,
    has_begun: bool,
    /// What is still to come: messages, and acknowledgements of ours.
    messages: u64,
    acks: u64,
    is_over: bool,
    failed: bool,
}

fn has(name: &str) -> bool {
    std::env::args().any(|arg| arg == name)
}

fn main() -> vansire::Result<()> {
    let version = match flag("--version", 5u8) {
        3 => Version::Mqtt31,
        4 => Version::Mqtt311,
        _ => Version::Mqtt5,
    };
    let keep = flag("--keep-session", 0u64);
    let job = Job {
        subscribe: flag("--sub", String::new()),
        publish: flag("--pub", String::new()),
        message: flag("--message", "hello".to_owned()),
        qos: QoS::from_u8(flag("--qos", 0)).unwrap_or_default(),
        retain: has("--retain"),
        is_5: version.is_5(),
        vanish: has("--vanish"),
        verbose: has("--verbose"),
        has_begun: false,
        messages: flag("--count", 0),
        acks: flag("--repeat", 1),
        is_over: false,
        failed: false,
    };
    let mut options = ClientOptions::new()
        .version(version)
        .client_id(flag("--id", "vansire-example".to_owned()))
        .clean_start(keep == 0)
        .session_expiry(Duration::from_secs(keep))
        .keep_alive(Duration::from_secs(flag("--alive", 60)))
        .reconnect(Reconnect { min: Duration::from_millis(200), max: Duration::from_secs(5) });
    let will = flag("--will", String::new());
    if !will.is_empty() {
        let will = Will { qos: job.qos, ..Will::new(&will, b"gone") };
        options = options.will(&will).unwrap_or_else(|e| stop(&e));
    }
    let mut manager = Manager::new(job)?;
    manager.net().mqtt_connect(flag("--url", "mqtt://127.0.0.1:1883".to_owned()), options, told)?;
    while !manager.state().is_over {
        manager.poll(None)?;
    }
    std::process::exit(i32::from(manager.state().failed));
}

fn stop(why: &dyn std::fmt::Display) -> ! {
    eprintln!("{why}");
    std::process::exit(2)
}

fn told(cx: &mut Ctx<'_, Job>, ev: Event<'_>) {
    if cx.state.verbose && !matches!(ev, Event::MqttMessage(..)) {
        eprintln!("{ev:?}");
    }
    match ev {
        Event::MqttOpened(conn_ack) => {
            println!("open, session {}", if conn_ack.session_present { "present" } else { "new" });
            let filter = cx.state.subscribe.clone();
            if !filter.is_empty() && !conn_ack.session_present {
                let qos = cx.state.qos;
                check(cx, |cx| cx.subscribe(&[Subscription::new(&filter, qos)]).map(drop));
            } else {
                publish(cx);
            }
        }
        Event::MqttSubscribed { ack, .. } => {
            let reasons: Vec<String> = ack.reasons.iter().map(|reason| reason.to_u8().to_string()).collect();
            println!("subscribed: {}", reasons.join(" "));
            cx.state.failed |= ack.reasons.iter().any(|reason| reason.is_error());
            publish(cx);
        }
        Event::MqttMessage(message, _) => {
            let text = String::from_utf8_lossy(message.payload);
            let flags = if message.retain { " retained" } else { "" };
            print!("{} {} q{}{flags}", message.topic, text, message.qos.to_u8());
            for (name, value) in message.properties.user_properties() {
                print!(" {name}={value}");
            }
            println!();
            cx.state.messages = cx.state.messages.saturating_sub(1);
            finish(cx);
        }
        Event::MqttDelivered { .. } => {
            cx.state.acks -= 1;
            finish(cx);
        }
        Event::MqttFailed { why, .. } => {
            eprintln!("failed: {why}");
            cx.state.failed = true;
            cx.state.acks = cx.state.acks.saturating_sub(1);
            finish(cx);
        }
        Event::MqttLost { reason, retry_in } => println!("lost: {reason}; again in {retry_in:.1?}"),
        Event::Closed(reason) => {
            cx.state.failed |= !matches!(reason, vansire::CloseReason::Local);
            cx.state.is_over = true;
            if cx.state.failed {
                eprintln!("{reason}");
            }
        }
        _ => {}
    }
}

/// Publishes everything, once: what the connection cannot take yet waits.
fn publish(cx: &mut Ctx<'_, Job>) {
    if std::mem::replace(&mut cx.state.has_begun, true) || cx.state.publish.is_empty() {
        cx.state.acks = if cx.state.publish.is_empty() { 0 } else { cx.state.acks };
        return finish(cx);
    }
    let (topic, message) = (cx.state.publish.clone(), cx.state.message.clone());
    let mut properties = PropertyBuf::new();
    if let Err(e) = properties.push(Property::UserProperty(("sent-by", "vansire"))) {
        stop(&e);
    }
    for number in 1..=cx.state.acks {
        let text = message.replace("%n", &number.to_string());
        let mut publish = Publish { qos: cx.state.qos, retain: cx.state.retain, ..Publish::new(&topic, &text) };
        if cx.state.is_5 {
            publish.properties = properties.as_properties();
        }
        check(cx, |cx| cx.publish(&publish).map(drop));
    }
    if cx.state.qos == QoS::AtMostOnce {
        cx.state.acks = 0;
    }
    finish(cx);
}

fn check(cx: &mut Ctx<'_, Job>, ask: impl FnOnce(&mut Ctx<'_, Job>) -> vansire::Result<()>) {
    if let Err(e) = ask(cx) {
        eprintln!("{e}");
        cx.state.failed = true;
        cx.close();
    }
}

/// Ends when everything is done that was asked for.
fn finish(cx: &mut Ctx<'_, Job>) {
    if cx.state.messages > 0 || cx.state.acks > 0 {
        return;
    }
    if cx.state.vanish {
        // Without a word: the server publishes the will.
        cx.drain();
    } else {
        check(cx, |cx| cx.mqtt_disconnect(vansire::mqtt::ReasonCode::Success));
    }
}

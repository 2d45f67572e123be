//! MQTT as a client: between the connection, the client of `proto::mqtt`, and the handler.
//!
//! Here is what comes in, and what becomes of a connection that is lost; `ask` has what users call.

mod ask;

use crate::event::{CloseReason, Deadline, Event};
use crate::id::Key;
use crate::net::{Remote, Url};
use crate::options::{ConnectOptions, Limits};
use crate::proto::mqtt::{
    Acks, Arrived, Client, ClientLimits, Fault, Input, Overdue, Publish, ReasonCode, Reconnect, is_final,
};
use crate::time::Moment;

use super::conn::{Conn, Due, Flags, Io, Proto};
use super::core::{Core, Notice, Stop};
use super::dispatch;

/// The MQTT state of a connection that we made.
pub(crate) struct MqttConn {
    client: Client,
    /// Where to connect to again.
    url: Url,
    options: ConnectOptions,
    /// Connections that failed in a row, and when the last one was taken in.
    failures: u32,
    opened_at: Option<Moment>,
    pause: std::time::Duration,
    /// CONNECTs that nobody has answered yet. Of a connection that was given up it may still reach the server, which then gives the
    /// session to that one (MQTT-3.1.4-3).
    unanswered: u32,
    /// A notice is on its way that there are ends to be told.
    is_noticed: bool,
    /// It ends as soon as nothing is under way.
    is_leaving: bool,
}

impl MqttConn {
    pub(crate) fn new(client: Client, url: Url, options: ConnectOptions) -> Self {
        let pause = std::time::Duration::ZERO;
        Self {
            client,
            url,
            options,
            failures: 0,
            opened_at: None,
            pause,
            unanswered: 0,
            is_noticed: false,
            is_leaving: false,
        }
    }
}

/// The bounds of a client that a connection's limits ask for.
pub(crate) fn client_limits(limits: &Limits) -> ClientLimits {
    let standard = ClientLimits::default();
    let packet_max = u32::try_from(limits.mqtt_packet_max).unwrap_or(u32::MAX);
    ClientLimits {
        packet_max: packet_max.try_into().unwrap_or(standard.packet_max),
        inflight_max: limits.mqtt_inflight_max.try_into().unwrap_or(standard.inflight_max),
        aliases_max: limits.mqtt_aliases_max,
        queued_max: limits.mqtt_queued_max,
        queued_bytes_max: limits.mqtt_queued_bytes_max,
    }
}

impl MqttConn {
    /// No message waits, and none is unacknowledged.
    fn has_delivered(&self) -> bool {
        self.client.queued() == 0 && self.client.inflight() == 0
    }
}

impl Conn {
    fn mqtt(&mut self) -> Option<&mut MqttConn> {
        match &mut self.proto {
            Proto::MqttClient(mqtt) => Some(mqtt),
            #[cfg(feature = "http")]
            Proto::Http(_) | Proto::Client(_) => None,
            #[cfg(feature = "sntp")]
            Proto::Sntp(_) => None,
            Proto::Raw => None,
        }
    }

    /// How to go on after an end for this reason, unless it is for good.
    fn reconnect(&mut self, reason: &CloseReason) -> Option<Reconnect> {
        // Only a broken protocol drains by itself; otherwise this side has asked for the end.
        let is_asked = self.flags.has(Flags::DRAINING) && !matches!(reason, CloseReason::Protocol(_));
        let mqtt = self.mqtt()?;
        let is_ours = is_asked || mqtt.client.has_left();
        let comes_back = comes_back(reason) || (is_taken_over(reason) && mqtt.unanswered > 0);
        mqtt.client.reconnect().filter(|_| !is_ours && comes_back)
    }

    /// Packets go both ways.
    fn is_mqtt_up(&self) -> bool {
        self.takes_output() && matches!(self.io, Io::Stream(_))
    }
}

impl<S> Core<S> {
    fn mqtt_mut(&mut self, key: Key) -> Option<&mut MqttConn> {
        self.conns.get_mut(key).and_then(Conn::mqtt)
    }

    /// Lets the client speak; what it says leaves at the end of the turn.
    #[inline]
    fn speak<T>(&mut self, key: Key, f: impl FnOnce(&mut Client, &mut Vec<u8>) -> T) -> Option<T> {
        let pool = &mut self.pool;
        let conn = self.conns.get_mut(key)?;
        let Proto::MqttClient(mqtt) = &mut conn.proto else { return None };
        let output = conn.output.get_or_insert_with(|| pool.take_write());
        let before = output.len();
        let result = f(&mut mqtt.client, output.tail());
        let len = output.len();
        if mqtt.client.has_events() && !mqtt.is_noticed {
            mqtt.is_noticed = true;
            self.notices.push_back((key, Notice::MqttEnds));
        }
        if len == 0 {
            conn.output.take().into_iter().for_each(|output| pool.give_write(output));
        } else if len > before {
            if len > conn.limits.write_high && conn.flags.raise(Flags::HIGH) {
                self.stats.high_waters += 1;
            }
            self.mark_dirty(key);
        }
        Some(result)
    }

    /// The stream stands: introduces the client.
    pub(crate) fn greet_mqtt(&mut self, key: Key) {
        let now = self.instant();
        if let Some(mqtt) = self.mqtt_mut(key) {
            mqtt.unanswered = mqtt.unanswered.saturating_add(1);
        }
        self.speak(key, |client, out| client.handle_connected(now, out));
    }

    /// Uses what it can of the connection's input; returns how much that was.
    pub(crate) fn serve_mqtt(&mut self, state: &mut S, key: Key, bytes: &[u8]) -> usize {
        let now = self.instant();
        let mut used = 0;
        let mut served = 0;
        if let Some(mqtt) = self.mqtt_mut(key) {
            mqtt.client.handle_heard(now);
        }
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return bytes.len() };
            conn.flags.clear(Flags::BACKLOG);
            if !conn.is_mqtt_up() {
                return bytes.len();
            }
            if used == bytes.len() {
                return used;
            }
            let is_over = served >= conn.limits.turn_messages;
            if is_over || !conn.takes_input() {
                conn.flags.set(Flags::BACKLOG);
                if is_over {
                    self.make_ready(key);
                }
                return used;
            }
            if conn.queued() >= conn.limits.write_max {
                // It sends, and does not read what we answer.
                self.stats.slow_consumers += 1;
                self.close(key, CloseReason::SlowConsumer);
                return bytes.len();
            }
            match self.speak(key, |client, out| client.handle_packet(&bytes[used..], now, out)) {
                Some(Ok(Some((input, len)))) => {
                    used += len;
                    served += 1;
                    self.tell_input(state, key, input);
                }
                Some(Ok(None)) => return used,
                Some(Err(fault)) => {
                    self.bad_server(key, fault);
                    return bytes.len();
                }
                None => return bytes.len(),
            }
        }
    }

    #[inline]
    fn tell_input(&mut self, state: &mut S, key: Key, input: Input<'_>) {
        match input {
            Input::Nothing => {}
            Input::Message(arrived) => self.tell_message(state, key, &arrived),
            Input::Delivered(token, reason) => dispatch::call(state, self, key, Event::MqttDelivered { token, reason }),
            Input::Failed(token, why) => dispatch::call(state, self, key, Event::MqttFailed { token, why }),
            Input::Subscribed(token, ack) => {
                dispatch::call(state, self, key, Event::MqttSubscribed { token, ack: &ack });
            }
            Input::Unsubscribed(token, ack) => {
                dispatch::call(state, self, key, Event::MqttUnsubscribed { token, ack: &ack });
            }
            Input::Auth(auth) => dispatch::call(state, self, key, Event::MqttAuth(&auth)),
            Input::Opened(conn_ack) => {
                let now = self.now;
                if let Some(mqtt) = self.mqtt_mut(key) {
                    mqtt.opened_at = Some(now);
                    mqtt.unanswered = mqtt.unanswered.saturating_sub(1);
                }
                dispatch::call(state, self, key, Event::MqttOpened(&conn_ack));
            }
            Input::Refused(conn_ack) => {
                if let Some(mqtt) = self.mqtt_mut(key) {
                    mqtt.unanswered = mqtt.unanswered.saturating_sub(1);
                }
                dispatch::call(state, self, key, Event::MqttRefused(&conn_ack));
                self.close(key, CloseReason::Mqtt(conn_ack.reason));
            }
            Input::Disconnected(disconnect) => {
                dispatch::call(state, self, key, Event::MqttDisconnected(&disconnect));
                self.close(key, CloseReason::Mqtt(disconnect.reason));
            }
        }
    }

    #[inline]
    fn tell_message(&mut self, state: &mut S, key: Key, arrived: &Arrived<'_>) {
        let topic = arrived.topic.as_deref().unwrap_or(arrived.publish.topic);
        let publish = Publish { topic, ..arrived.publish };
        self.stats.mqtt_messages_in += 1;
        dispatch::call(state, self, key, Event::MqttMessage(&publish, arrived.ack));

        let Some(ack) = arrived.ack else { return };
        // A handler that has failed, or has ended it all, has not got it.
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.is_mqtt_up()) else { return };
        if conn.mqtt().is_some_and(|mqtt| mqtt.client.acks() == Acks::Auto) {
            let now = self.instant();
            self.speak(key, |client, out| client.ack(ack, now, out));
        }
    }

    /// Tells of what has come to its end without a packet.
    pub(crate) fn tell_ends(&mut self, state: &mut S, key: Key) {
        if let Some(mqtt) = self.mqtt_mut(key) {
            mqtt.is_noticed = false;
        }
        while let Some((token, why)) = self.mqtt_mut(key).and_then(|mqtt| mqtt.client.poll_event()) {
            self.stats.mqtt_failures += 1;
            dispatch::call(state, self, key, Event::MqttFailed { token, why });
        }
    }

    #[cold]
    fn bad_server(&mut self, key: Key, fault: Fault) {
        self.stats.mqtt_faults += 1;
        self.close_after_output(key, CloseReason::Protocol(format!("MQTT: {fault}").into()));
    }

    /// Has what waits follow, and sets the deadline that fits what the connection waits for now.
    pub(crate) fn settle_mqtt(&mut self, key: Key) {
        let now = self.instant();
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.is_mqtt_up()) else { return };
        let room = conn.limits.write_high.saturating_sub(conn.queued());
        let is_high = conn.flags.has(Flags::HIGH);
        let Some(mqtt) = conn.mqtt() else { return };
        if !is_high && room > 0 && mqtt.client.has_work() {
            self.speak(key, |client, out| client.pump(room, now, out));
        }
        if let Some(conn) = self.conns.get_mut(key)
            && conn.mqtt().is_some_and(|mqtt| mqtt.client.takes_more())
            && conn.flags.raise(Flags::DRAINED)
        {
            self.notify(key, Notice::Drained);
        }
        if let Some(mqtt) = self.mqtt_mut(key)
            && mqtt.is_leaving
            && mqtt.has_delivered()
        {
            mqtt.is_leaving = false;
            return self.end_mqtt(key, ReasonCode::Success);
        }
        let due = self.mqtt_mut(key).and_then(|mqtt| mqtt.client.poll_timeout());
        match due {
            Some(at) => {
                let at = self.now.after(at.saturating_duration_since(now));
                self.set_due(key, Due::Mqtt, at);
            }
            None => self.set_due(key, Due::Nothing, Moment::NEVER),
        }
    }

    /// A deadline of the client has passed.
    pub(crate) fn mqtt_overdue(&mut self, key: Key) {
        let now = self.instant();
        let Some(conn) = self.conns.get_mut(key) else { return };
        let is_paused = !conn.takes_input();
        let Some(mqtt) = conn.mqtt() else { return };
        if is_paused && mqtt.client.is_open() {
            mqtt.client.handle_deaf(now);
        }
        match self.speak(key, |client, out| client.handle_timeout(now, out)) {
            Some(Err(Overdue::ConnAck)) => self.close(key, CloseReason::TimedOut(Deadline::ConnAck)),
            Some(Err(Overdue::Ping)) => self.close(key, CloseReason::TimedOut(Deadline::Ping)),
            Some(Ok(())) | None => self.settle_mqtt(key),
        }
    }

    /// A write has failed. The server may have said why before it stopped reading.
    #[cold]
    pub(crate) fn mqtt_write_failed(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| !conn.is_ending() && !conn.flags.has(Flags::EOF)) else {
            return false;
        };
        if conn.mqtt().is_none() {
            return false;
        }
        conn.flags.clear(Flags::WRITABLE | Flags::HIGH);
        conn.flags.set(Flags::READABLE | Flags::READ_CLOSED);
        self.make_ready(key);
        true
    }

    /// Its connection is about to end, and there will be another one: what is asked for now is for that.
    fn waits_for_next(&mut self, key: Key) -> bool {
        let is_running = self.stop == Stop::Running;
        let Some(conn) = self.conns.get_mut(key).filter(|_| is_running) else { return false };
        let Some(reason) = conn.reason.take() else { return false };
        let returns = conn.reconnect(&reason).is_some();
        conn.reason = Some(reason);
        match conn.mqtt().filter(|_| returns) {
            Some(mqtt) => {
                mqtt.client.handle_lost();
                true
            }
            None => false,
        }
    }

    /// A connection is over. True: there will be another one, in the same place.
    pub(crate) fn mqtt_lost(&mut self, state: &mut S, key: Key, reason: &CloseReason) -> bool {
        let (now, is_running) = (self.now, self.stop == Stop::Running);
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let reconnect = conn.reconnect(reason).filter(|_| is_running);
        let Some(mqtt) = conn.mqtt() else { return false };
        let lasted = mqtt.opened_at.take().map(|at| now.since(at));
        match reconnect {
            Some(reconnect) => {
                mqtt.client.handle_lost();
                if is_taken_over(reason) {
                    mqtt.unanswered = mqtt.unanswered.saturating_sub(1);
                }
                self.wait_to_redial(state, key, reason, reconnect, lasted);
                true
            }
            None => {
                mqtt.client.handle_end();
                self.tell_ends(state, key);
                false
            }
        }
    }

    fn wait_to_redial(
        &mut self,
        state: &mut S,
        key: Key,
        reason: &CloseReason,
        reconnect: Reconnect,
        lasted: Option<std::time::Duration>,
    ) {
        let random = self.sockets.random().unwrap_or_default();
        let Some(conn) = self.conns.get_mut(key) else { return };
        // What the old server sent or was to be sent means nothing to the next.
        conn.flags = conn.flags.kept(Flags::OPENED | Flags::OUTBOUND | Flags::PAUSED | Flags::QUEUED | Flags::DIRTY);
        conn.remote = Remote::None;
        let (input, output) = (conn.input.take(), conn.output.take());
        let Some(mqtt) = conn.mqtt() else { return };
        if lasted.is_some_and(|lasted| lasted > mqtt.pause) {
            mqtt.failures = 0;
        }
        mqtt.pause = reconnect.pause(mqtt.failures, random);
        mqtt.failures = mqtt.failures.saturating_add(1);
        let pause = mqtt.pause;
        input.into_iter().for_each(|input| self.pool.give_read(input));
        output.into_iter().for_each(|output| self.pool.give_write(output));
        self.stats.mqtt_reconnects += 1;
        let at = self.now.after(pause);
        self.set_due(key, Due::Redial, at);
        dispatch::call(state, self, key, Event::MqttLost { reason, retry_in: pause });
    }

    /// The pause is over.
    pub(crate) fn mqtt_redial(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key).filter(|conn| matches!(conn.io, Io::None)) else { return };
        let Some(mqtt) = conn.mqtt() else { return };
        let (url, options) = (mqtt.url.clone(), mqtt.options.clone());
        self.redial(key, url, options);
    }

    /// Ends in order: once what was published has been acknowledged, if that can be heard.
    pub(crate) fn stop_mqtt(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let hears = conn.takes_input();
        match conn.mqtt() {
            Some(mqtt) if hears && mqtt.client.is_open() && !mqtt.has_delivered() => mqtt.is_leaving = true,
            _ => self.end_mqtt(key, ReasonCode::Success),
        }
    }

    /// The time for that is over: says so before the connection closes.
    pub(crate) fn part_mqtt(&mut self, key: Key) {
        let now = self.instant();
        if self.mqtt_mut(key).is_some_and(|mqtt| mqtt.is_leaving) {
            // It fails where there is nobody to tell.
            self.speak(key, |client, out| client.disconnect(&ReasonCode::Success.into(), now, out));
        }
    }
}

fn is_taken_over(reason: &CloseReason) -> bool {
    matches!(reason, CloseReason::Mqtt(ReasonCode::SessionTakenOver))
}

/// Whether a lost connection is worth another try.
fn comes_back(reason: &CloseReason) -> bool {
    match reason {
        CloseReason::Mqtt(reason) => !is_final(*reason),
        CloseReason::Peer
        | CloseReason::Reset(_)
        | CloseReason::Connect(_)
        | CloseReason::TimedOut(_)
        | CloseReason::SlowConsumer
        | CloseReason::Protocol(_) => true,
        // These are this side's own.
        CloseReason::Local
        | CloseReason::Failed(_)
        | CloseReason::ReadFull
        | CloseReason::Refused { .. }
        | CloseReason::HandlerPanicked
        | CloseReason::Stopped => false,
    }
}

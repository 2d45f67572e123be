//! What users ask of an MQTT client.

use crate::error::{Error, Kind, Result};
use crate::id::{ConnId, Key};
use crate::manager::conn::{Conn, Flags, Proto};
use crate::manager::core::Core;
use crate::manager::handlers::{BoxHandler, Handler};
use crate::manager::net::{Net, speaks};
use crate::net::{Scheme, Url};
use crate::options::ConnectOptions;
use crate::proto::mqtt::{
    AckId, Client, ClientOptions, Disconnect, EncodeError, List, Properties, Publish, ReasonCode, Room, SendError,
    Subscription, Token,
};

use super::{MqttConn, client_limits};

impl<S> Net<'_, S> {
    /// Connects as an MQTT client. The URL is `mqtt://host:1883`; a user and password in it are used where the options have none.
    ///
    /// The handler is told `MqttOpened` when the server has taken the client in. Publish and subscribe at once: what comes before
    /// that waits, within `Limits::mqtt_queued_max`. Everything that has a token ends in exactly one of `MqttDelivered`,
    /// `MqttSubscribed`, `MqttUnsubscribed` and `MqttFailed`, before `Closed`.
    ///
    /// With [`ClientOptions::reconnect`] a lost connection is told as `MqttLost` and made again, with the same id, handler and
    /// session; `Closed` then comes only when this side ends it, or the server says that there is no point in coming back.
    ///
    /// Fails, besides where [`connect`](Self::connect) fails, when the CONNECT that the options ask for cannot be said.
    ///
    /// ```no_run
    /// use vansire::mqtt::{ClientOptions, Publish, QoS, Reconnect, Subscription};
    /// use vansire::{Ctx, Event, Manager};
    ///
    /// # fn main() -> vansire::Result<()> {
    /// let mut manager = Manager::new(())?;
    /// let options = ClientOptions::new().client_id("plant-7").reconnect(Reconnect::default());
    /// let id = manager.net().mqtt_connect("mqtt://broker.lan", options, |cx: &mut Ctx<'_, ()>, ev: Event<'_>| match ev {
    ///     Event::MqttOpened(conn_ack) if !conn_ack.session_present => {
    ///         let all = Subscription::new("plant/7/#", QoS::AtLeastOnce);
    ///         if let Err(e) = cx.subscribe(&[all]) {
    ///             eprintln!("{e}");
    ///         }
    ///     }
    ///     Event::MqttMessage(message, _) => println!("{}: {:?}", message.topic, message.payload),
    ///     Event::Closed(reason) => println!("{reason}"),
    ///     _ => {}
    /// })?;
    /// let hello = Publish { qos: QoS::AtLeastOnce, ..Publish::new("plant/7/state", "here") };
    /// let token = manager.net().publish(id, &hello)?;
    /// # Ok(()) }
    /// ```
    pub fn mqtt_connect(
        &mut self,
        to: impl Into<ConnectOptions>,
        options: ClientOptions,
        handler: impl Handler<S> + 'static,
    ) -> Result<ConnId> {
        self.core.mqtt_connect(to.into(), options, Box::new(handler))
    }

    /// Publishes a message on a connection made with [`mqtt_connect`](Self::mqtt_connect): at once, or as soon as there is a
    /// connection and room.
    ///
    /// Returns a token at QoS 1 and 2, and nothing at QoS 0. Leave the packet identifier, DUP and topic aliases alone: they are the
    /// client's affair. Fails, and publishes nothing, when the connection is closed or no MQTT client's
    /// ([`is_gone`](Error::is_gone)), when the message cannot be said ([`is_bad_value`](Error::is_bad_value)) or the server does not
    /// take it ([`is_unsupported`](Error::is_unsupported)), and when too many wait and the policy is to reject it
    /// ([`is_limit_reached`](Error::is_limit_reached)): `Drained` tells when half of the room is free again.
    ///
    /// At QoS 0 on an open connection it allocates nothing.
    pub fn publish(&mut self, conn: ConnId, publish: &Publish<'_>) -> Result<Option<Token>> {
        self.core.publish(conn.0, publish)
    }

    /// Subscribes to filters: at once, or as soon as there is a connection. The answer comes as `MqttSubscribed`.
    ///
    /// Fails where [`publish`](Self::publish) does.
    pub fn subscribe(&mut self, conn: ConnId, subscriptions: &[Subscription<'_>]) -> Result<Token> {
        self.subscribe_with(conn, subscriptions, Properties::default())
    }

    /// ... with a subscription identifier or user properties. 5.0.
    pub fn subscribe_with(
        &mut self,
        conn: ConnId,
        subscriptions: &[Subscription<'_>],
        properties: Properties<'_>,
    ) -> Result<Token> {
        let now = self.core.instant();
        let list = List::from(subscriptions);
        self.core.ask_mqtt(conn.0, "subscribe", |client, out| client.subscribe(list, properties, now, out))
    }

    /// Unsubscribes from filters, as they were subscribed. The answer comes as `MqttUnsubscribed`.
    ///
    /// Fails where [`publish`](Self::publish) does.
    pub fn unsubscribe(&mut self, conn: ConnId, filters: &[&str]) -> Result<Token> {
        self.unsubscribe_with(conn, filters, Properties::default())
    }

    /// ... with user properties. 5.0.
    pub fn unsubscribe_with(&mut self, conn: ConnId, filters: &[&str], properties: Properties<'_>) -> Result<Token> {
        let now = self.core.instant();
        let list = List::from(filters);
        self.core.ask_mqtt(conn.0, "unsubscribe", |client, out| client.unsubscribe(list, properties, now, out))
    }

    /// Acknowledges a message that `MqttMessage` brought, where the options say that the application does
    /// ([`Acks::Manual`](crate::mqtt::Acks)). Acknowledgements leave in the order of the messages: one waits for those before it.
    ///
    /// Fails when it is acknowledged already, or its connection is gone: then the message comes again.
    pub fn mqtt_ack(&mut self, conn: ConnId, ack: AckId) -> Result<()> {
        let now = self.core.instant();
        self.core.ask_mqtt(conn.0, "acknowledge", |client, out| client.ack(ack, now, out))
    }

    /// Sends a step of the authentication (`ContinueAuthentication`), or begins another one (`ReAuthenticate`), by the method of
    /// [`ClientOptions::auth`].
    ///
    /// Fails where there is no method, or no connection.
    pub fn mqtt_auth(&mut self, conn: ConnId, reason: ReasonCode, data: Option<&[u8]>) -> Result<()> {
        let now = self.core.instant();
        self.core.ask_mqtt(conn.0, "authenticate", |client, out| client.auth(reason, data, now, out))
    }

    /// Ends a connection in order: sends DISCONNECT behind what was sent, and closes. The server forgets the will, unless the
    /// reason is `DisconnectWithWill`. What is not acknowledged by then has failed.
    ///
    /// [`close`](Self::close) ends it without a word, so that the server publishes the will. Fails, and closes nothing, when the
    /// packet cannot be said, or the connection is gone. Without a connection to the server it just closes.
    pub fn mqtt_disconnect<'d>(&mut self, conn: ConnId, disconnect: impl Into<Disconnect<'d>>) -> Result<()> {
        self.core.mqtt_disconnect(conn.0, &disconnect.into())
    }

    /// What a client waits for: messages queued, and messages sent and not acknowledged. `None`: it is no MQTT client's.
    pub fn mqtt_backlog(&self, conn: ConnId) -> Option<(usize, usize)> {
        match &self.core.conns.get(conn.0)?.proto {
            Proto::MqttClient(mqtt) => Some((mqtt.client.queued(), mqtt.client.inflight())),
            _ => None,
        }
    }
}

impl<S> Core<S> {
    fn mqtt_connect(&mut self, to: ConnectOptions, options: ClientOptions, handler: BoxHandler<S>) -> Result<ConnId> {
        let url = Url::parse(to.url.as_str())?;
        match url.scheme() {
            Scheme::Mqtt => {}
            Scheme::Mqtts | Scheme::MqttWs | Scheme::MqttWss => {
                // It says what is missing.
                speaks(url.scheme())
                    .map_err(|e| Error::with_source(e.kind(), format!("cannot connect to {url}"), e.to_string()))?;
            }
            _ => {
                return Err(Error::new(Kind::BadUrl, format!("cannot connect to {url}: an MQTT client needs mqtt://")));
            }
        }
        let options = options.or_credentials(url.user(), url.password());
        let limits = to.limits.map_or(*self.limits, |limits| limits.in_order());
        let failed = |e| Error::with_source(Kind::BadValue, format!("cannot connect to {url}"), e);
        let client = Client::new(options, client_limits(&limits)).map_err(failed)?;
        let mqtt = MqttConn::new(client, url.clone(), to.clone());
        self.connect_as(Proto::MqttClient(Box::new(mqtt)), url, to, handler)
    }

    fn publish(&mut self, key: Key, publish: &Publish<'_>) -> Result<Option<Token>> {
        let now = self.instant();
        let is_high = self.conns.get(key).is_some_and(|conn| conn.flags.has(Flags::HIGH));
        let room = if is_high { Room::Full } else { Room::Free };
        let before = self.mqtt_mut(key).map_or(0, |mqtt| mqtt.client.dropped());
        let asked = self.ask_mqtt(key, "publish", |client, out| client.publish(publish, room, now, out));
        let after = self.mqtt_mut(key).map_or(0, |mqtt| mqtt.client.dropped());
        match &asked {
            Ok(_) => self.stats.mqtt_messages_out += 1,
            Err(e) => self.stats.mqtt_queues_full += u64::from(e.is_limit_reached()),
        }
        self.stats.mqtt_dropped += after - before;
        asked
    }

    fn ask_mqtt<T>(
        &mut self,
        key: Key,
        what: &str,
        ask: impl FnOnce(&mut Client, &mut Vec<u8>) -> std::result::Result<T, SendError>,
    ) -> Result<T> {
        let gone = || Error::new(Kind::Gone, format!("cannot {what}: the connection is closed, or no MQTT client's"));
        if self.conns.get(key).is_none_or(Conn::is_ending) && !self.waits_for_next(key) {
            return Err(gone());
        }
        match self.speak(key, ask) {
            None => Err(gone()),
            Some(Ok(value)) => {
                // What follows may have to wait for less.
                self.settle_mqtt(key);
                Ok(value)
            }
            Some(Err(e)) => Err(Error::with_source(kind(e), format!("cannot {what}"), e)),
        }
    }

    fn mqtt_disconnect(&mut self, key: Key, disconnect: &Disconnect<'_>) -> Result<()> {
        let now = self.instant();
        match self.ask_mqtt(key, "disconnect", |client, out| {
            match client.disconnect(disconnect, now, out) {
                // There is nobody to tell.
                Err(SendError::NotConnected) => Ok(false),
                said => said.map(|()| true),
            }
        })? {
            true => self.drain(key),
            false => self.close(key, crate::event::CloseReason::Local),
        }
        Ok(())
    }

    /// Ends a connection for a reason that every version has words for.
    pub(super) fn end_mqtt(&mut self, key: Key, reason: ReasonCode) {
        if self.mqtt_disconnect(key, &Disconnect::new(reason)).is_err() {
            self.close(key, crate::event::CloseReason::Local);
        }
    }
}

fn kind(error: SendError) -> Kind {
    match error {
        SendError::QueueFull => Kind::LimitReached,
        SendError::NotSupported(_) | SendError::Encode(EncodeError::NotInVersion) => Kind::Unsupported,
        SendError::NotConnected | SendError::Stale => Kind::Gone,
        SendError::Encode(_) | SendError::NotYours | SendError::TooLong => Kind::BadValue,
    }
}

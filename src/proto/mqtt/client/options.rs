//! What a client asks for: of its server, and of itself.

use std::fmt;
use std::time::Duration;

use crate::proto::mqtt::encode::EncodeError;
use crate::proto::mqtt::packet::{Connect, Packet, Version, Will};
use crate::proto::mqtt::property::{Property, PropertyBuf};

/// How a client introduces itself, and what it does when things go wrong.
///
/// ```
/// use std::time::Duration;
/// use vansire::mqtt::{ClientOptions, Reconnect, Will};
///
/// let options = ClientOptions::new()
///     .client_id("plant-7")
///     .clean_start(false)
///     .session_expiry(Duration::from_secs(3600))
///     .will(&Will::new("plant/7/state", b"gone"))?
///     .reconnect(Reconnect::default());
/// # Ok::<(), vansire::mqtt::EncodeError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientOptions {
    pub(super) version: Version,
    pub(super) client_id: Box<str>,
    pub(super) clean_start: bool,
    pub(super) keep_alive: u16,
    pub(super) ping_timeout: Duration,
    pub(super) connack_timeout: Duration,
    pub(super) session_expiry: u32,
    pub(super) username: Option<Box<str>>,
    pub(super) password: Option<Box<[u8]>>,
    pub(super) will: Option<OwnWill>,
    pub(super) auth_method: Option<Box<str>>,
    pub(super) properties: PropertyBuf,
    pub(super) acks: Acks,
    pub(super) queue_full: QueueFull,
    pub(super) reconnect: Option<Reconnect>,
}

#[derive(Clone, Debug)]
pub(super) struct OwnWill {
    topic: Box<str>,
    payload: Box<[u8]>,
    qos: crate::proto::mqtt::packet::QoS,
    retain: bool,
    properties: PropertyBuf,
}

/// When messages of QoS 1 and 2 are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// When the handler has returned from the message.
    #[default]
    Auto,
    /// When the application says so: [`Net::mqtt_ack`](crate::Net::mqtt_ack).
    Manual,
}

/// What becomes of a message that has to wait where no more may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QueueFull {
    /// Publishing it is an error: nothing is lost unnoticed.
    #[default]
    Reject,
    /// The oldest ones that wait make room, and fail with [`Failure::Dropped`](super::Failure::Dropped).
    DropOldest,
    /// It fails itself, with [`Failure::Dropped`](super::Failure::Dropped).
    DropNewest,
}

/// How a lost connection is made again: after a pause that doubles from one failure to the next, of which a random half is
/// left out, so that many clients do not come back at the same time.
///
/// The pause begins anew once a connection has lasted longer than the pause before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    /// The first pause. 1 s; at least 1 ms.
    pub min: Duration,
    /// The longest pause. 60 s.
    pub max: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { min: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl Reconnect {
    /// The pause after so many failures in a row, the first of which is number 0, and any number.
    pub fn pause(&self, failures: u32, random: u64) -> Duration {
        let min = self.min.max(Duration::from_millis(1));
        let full = min.saturating_mul(1u32.checked_shl(failures).unwrap_or(u32::MAX)).min(self.max.max(min));
        let half = full / 2;
        // 32 bits of chance are plenty, and a product of theirs does not overflow.
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let part = (u128::from(nanos) * u128::from(random >> 32)) >> 32;
        half + Duration::from_nanos(part as u64)
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientOptions {
    /// MQTT 5.0, a clean start, a keep-alive of 60 s, a name that the server chooses, no credentials and no will.
    pub fn new() -> Self {
        Self {
            version: Version::Mqtt5,
            client_id: "".into(),
            clean_start: true,
            keep_alive: 60,
            ping_timeout: Duration::from_secs(10),
            connack_timeout: Duration::from_secs(10),
            session_expiry: 0,
            username: None,
            password: None,
            will: None,
            auth_method: None,
            properties: PropertyBuf::new(),
            acks: Acks::Auto,
            queue_full: QueueFull::Reject,
            reconnect: None,
        }
    }

    /// Speaks this version. Default: 5.0. There is no falling back to another one.
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Who it is. Empty (the default): the server chooses, and what it has chosen holds for reconnecting, too.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into().into();
        self
    }

    /// Forgets what the server knows of an earlier session, when it connects for the first time. Default: yes. Before 5.0 it
    /// holds for every time, for there the session ends with such a connection.
    pub fn clean_start(mut self, clean: bool) -> Self {
        self.clean_start = clean;
        self
    }

    /// Says something to the server at least this often, and listens for it as often. Default: 60 s. Zero: no pings. Counted in
    /// whole seconds, at most 65,535; a server of 5.0 may decide otherwise (MQTT-3.1.2-21).
    pub fn keep_alive(mut self, every: Duration) -> Self {
        let up = u64::from(every.subsec_nanos() > 0);
        self.keep_alive = u16::try_from(every.as_secs().saturating_add(up)).unwrap_or(u16::MAX);
        self
    }

    /// Takes the server for dead when nothing has come for this long after a PINGREQ. Default: 10 s.
    pub fn ping_timeout(mut self, after: Duration) -> Self {
        self.ping_timeout = after;
        self
    }

    /// Gives up when CONNACK has not come this long after CONNECT. Default: 10 s.
    pub fn connack_timeout(mut self, after: Duration) -> Self {
        self.connack_timeout = after;
        self
    }

    /// How long the session outlives its connection. Default: not at all. In whole seconds; more than 136 years is for ever. 5.0;
    /// before that, a session without a clean start has no end.
    pub fn session_expiry(mut self, after: Duration) -> Self {
        self.session_expiry = u32::try_from(after.as_secs()).unwrap_or(u32::MAX);
        self
    }

    /// The user name.
    pub fn username(mut self, name: impl Into<String>) -> Self {
        self.username = Some(name.into().into());
        self
    }

    /// The password. Before 5.0 it needs a user name.
    pub fn password(mut self, password: impl Into<Vec<u8>>) -> Self {
        self.password = Some(password.into().into());
        self
    }

    /// What the server publishes when this client is gone without a word. Its delay is a property of it.
    ///
    /// Fails if its properties cannot be kept.
    pub fn will(mut self, will: &Will<'_>) -> Result<Self, EncodeError> {
        let mut properties = PropertyBuf::new();
        for property in will.properties {
            properties.push(property)?;
        }
        let Will { topic, payload, qos, retain, .. } = *will;
        self.will = Some(OwnWill { topic: topic.into(), payload: payload.into(), qos, retain, properties });
        Ok(self)
    }

    /// Authenticates by this method (section 4.12), with these first data. What the server answers comes as `MqttAuth`.
    ///
    /// Fails if either is too long.
    pub fn auth(mut self, method: &str, data: Option<&[u8]>) -> Result<Self, EncodeError> {
        self.properties.push(Property::AuthenticationMethod(method))?;
        if let Some(data) = data {
            self.properties.push(Property::AuthenticationData(data))?;
        }
        self.auth_method = Some(method.into());
        Ok(self)
    }

    /// Adds a property to CONNECT: a user property, a wish for response information. Those that have to do with flow are said
    /// by the client itself, from its `Limits`: receive maximum, maximum packet size, topic alias maximum.
    ///
    /// Fails if it is there already.
    pub fn property(mut self, property: Property<'_>) -> Result<Self, EncodeError> {
        self.properties.push(property)?;
        Ok(self)
    }

    /// When messages are acknowledged. Default: when their handler has returned.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// What happens to messages for which there is no room. Default: publishing them is an error.
    pub fn queue_full(mut self, policy: QueueFull) -> Self {
        self.queue_full = policy;
        self
    }

    /// Connects again when the connection is lost. Default: it is not, and the loss is the end.
    ///
    /// What the server would only say again is the end all the same: that it does not know the user, for one. That another client
    /// has the session now (0x8E) is too, as two that take it from each other in turn help nobody, unless the other one may be a
    /// connection of this client's own: one that it gave up before its CONNECT was answered.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self {
        self.reconnect = Some(reconnect);
        self
    }

    /// The credentials of a URL, where there are no others.
    pub(crate) fn or_credentials(mut self, user: Option<&str>, password: Option<&str>) -> Self {
        if self.username.is_none() && self.password.is_none() {
            self.username = user.map(Into::into);
            self.password = password.map(|password| password.as_bytes().into());
        }
        self
    }

    /// When messages are to be acknowledged.
    #[cfg(feature = "async")]
    pub(crate) fn wanted_acks(&self) -> Acks {
        self.acks
    }

    /// 5.0.
    #[cfg(feature = "async")]
    pub(crate) fn speaks_5(&self) -> bool {
        self.version.is_5()
    }

    /// It authenticates in steps.
    #[cfg(feature = "async")]
    pub(crate) fn has_auth_method(&self) -> bool {
        self.auth_method.is_some()
    }

    /// Whether the session is there again after a lost connection.
    pub(crate) fn has_lasting_session(&self) -> bool {
        if self.version.is_5() { self.session_expiry > 0 } else { !self.clean_start }
    }

    /// Appends CONNECT.
    pub(super) fn encode_connect(
        &self,
        client_id: &str,
        clean_start: bool,
        limits: &super::ClientLimits,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let mut properties = self.properties.clone();
        if self.version.is_5() {
            if self.session_expiry > 0 {
                properties.push(Property::SessionExpiryInterval(self.session_expiry))?;
            }
            properties.push(Property::ReceiveMaximum(limits.inflight_max))?;
            properties.push(Property::MaximumPacketSize(limits.packet_max))?;
            properties.push(Property::TopicAliasMaximum(limits.aliases_max))?;
        }
        let will = self.will.as_ref().map(|will| Will {
            topic: &will.topic,
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain,
            properties: will.properties.as_properties(),
        });
        let connect = Connect {
            version: self.version,
            clean_start,
            keep_alive: self.keep_alive,
            client_id,
            will,
            username: self.username.as_deref(),
            password: self.password.as_deref(),
            properties: properties.as_properties(),
        };
        crate::proto::mqtt::encode::encode(&Packet::Connect(connect), self.version, out).map(|_| ())
    }
}

/// Says whether there is a password, and not which.
impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("clean_start", &self.clean_start)
            .field("keep_alive", &self.keep_alive)
            .field("session_expiry", &self.session_expiry)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| format_args!("..")))
            .field("will", &self.will)
            .field("auth_method", &self.auth_method)
            .field("acks", &self.acks)
            .field("queue_full", &self.queue_full)
            .field("reconnect", &self.reconnect)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_a_random_half_is_left_out() {
        let reconnect = Reconnect { min: Duration::from_secs(1), max: Duration::from_secs(20) };
        // (failures, the longest pause in ms)
        for (failures, full) in
            [(0, 1000), (1, 2000), (4, 16_000), (5, 20_000), (31, 20_000), (32, 20_000), (u32::MAX, 20_000)]
        {
            let full = Duration::from_millis(full);
            assert_eq!(reconnect.pause(failures, 0), full / 2, "{failures}");
            let longest = reconnect.pause(failures, u64::MAX);
            assert!(longest <= full && longest > full - full / 1000, "{failures}: {longest:?}");
        }
        let odd = Reconnect { min: Duration::ZERO, max: Duration::ZERO };
        assert!(odd.pause(40, 7) >= Duration::from_micros(500), "never no pause at all");
        let huge = Reconnect { min: Duration::MAX, max: Duration::MAX };
        assert!(huge.pause(3, u64::MAX) > Duration::from_secs(86_400));
    }

    #[test]
    fn options_keep_the_password_to_themselves() {
        let options = ClientOptions::new().username("u").password("secret");
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn a_keep_alive_is_whole_seconds() {
        let ms = Duration::from_millis;
        for (given, expected) in [(ms(0), 0), (ms(1), 1), (ms(1500), 2), (Duration::MAX, u16::MAX)] {
            assert_eq!(ClientOptions::new().keep_alive(given).keep_alive, expected, "{given:?}");
        }
    }
}

//! Reason codes (section 2.4), and what earlier versions have of them.

use std::fmt;

use super::packet::{PacketType, QoS};

macro_rules! reasons {
    ($($value:literal $name:ident $text:literal in $($packet:ident)+;)*) => {
        /// How something ended: the reason codes of MQTT 5.0, with the standard's names. From 0x80 on it failed.
        ///
        /// Versions before 5.0 have a few of them in CONNACK and SUBACK; decoding makes these of theirs, encoding theirs of
        /// these.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ReasonCode {
            $(#[doc = $text] $name = $value,)*
        }

        impl ReasonCode {
            /// The code with this number, if there is one.
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The standard's words for it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Whether packets of this type may bear it (table 2-6).
            pub const fn is_allowed_in(self, packet: PacketType) -> bool {
                match self {
                    $(Self::$name => matches!(packet, $(PacketType::$packet)|+),)*
                }
            }

            #[cfg(test)]
            pub(super) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

reasons! {
    0x00 Success "Success, Normal disconnection, Granted QoS 0"
        in ConnAck PubAck PubRec PubRel PubComp SubAck UnsubAck Disconnect Auth;
    0x01 GrantedQoS1 "Granted QoS 1" in SubAck;
    0x02 GrantedQoS2 "Granted QoS 2" in SubAck;
    0x04 DisconnectWithWill "Disconnect with Will Message" in Disconnect;
    0x10 NoMatchingSubscribers "No matching subscribers" in PubAck PubRec;
    0x11 NoSubscriptionExisted "No subscription existed" in UnsubAck;
    0x18 ContinueAuthentication "Continue authentication" in Auth;
    0x19 ReAuthenticate "Re-authenticate" in Auth;
    0x80 UnspecifiedError "Unspecified error" in ConnAck PubAck PubRec SubAck UnsubAck Disconnect;
    0x81 MalformedPacket "Malformed Packet" in ConnAck Disconnect;
    0x82 ProtocolError "Protocol Error" in ConnAck Disconnect;
    0x83 ImplementationSpecificError "Implementation specific error"
        in ConnAck PubAck PubRec SubAck UnsubAck Disconnect;
    0x84 UnsupportedProtocolVersion "Unsupported Protocol Version" in ConnAck;
    0x85 ClientIdentifierNotValid "Client Identifier not valid" in ConnAck;
    0x86 BadUserNameOrPassword "Bad User Name or Password" in ConnAck;
    0x87 NotAuthorized "Not authorized" in ConnAck PubAck PubRec SubAck UnsubAck Disconnect;
    0x88 ServerUnavailable "Server unavailable" in ConnAck;
    0x89 ServerBusy "Server busy" in ConnAck Disconnect;
    0x8a Banned "Banned" in ConnAck;
    0x8b ServerShuttingDown "Server shutting down" in Disconnect;
    0x8c BadAuthenticationMethod "Bad authentication method" in ConnAck Disconnect;
    0x8d KeepAliveTimeout "Keep Alive timeout" in Disconnect;
    0x8e SessionTakenOver "Session taken over" in Disconnect;
    0x8f TopicFilterInvalid "Topic Filter invalid" in SubAck UnsubAck Disconnect;
    0x90 TopicNameInvalid "Topic Name invalid" in ConnAck PubAck PubRec Disconnect;
    0x91 PacketIdentifierInUse "Packet Identifier in use" in PubAck PubRec SubAck UnsubAck;
    0x92 PacketIdentifierNotFound "Packet Identifier not found" in PubRel PubComp;
    0x93 ReceiveMaximumExceeded "Receive Maximum exceeded" in Disconnect;
    0x94 TopicAliasInvalid "Topic Alias invalid" in Disconnect;
    0x95 PacketTooLarge "Packet too large" in ConnAck Disconnect;
    0x96 MessageRateTooHigh "Message rate too high" in Disconnect;
    0x97 QuotaExceeded "Quota exceeded" in ConnAck PubAck PubRec SubAck Disconnect;
    0x98 AdministrativeAction "Administrative action" in Disconnect;
    0x99 PayloadFormatInvalid "Payload format invalid" in ConnAck PubAck PubRec Disconnect;
    0x9a RetainNotSupported "Retain not supported" in ConnAck Disconnect;
    0x9b QoSNotSupported "QoS not supported" in ConnAck Disconnect;
    0x9c UseAnotherServer "Use another server" in ConnAck Disconnect;
    0x9d ServerMoved "Server moved" in ConnAck Disconnect;
    0x9e SharedSubscriptionsNotSupported "Shared Subscriptions not supported" in SubAck Disconnect;
    0x9f ConnectionRateExceeded "Connection rate exceeded" in ConnAck Disconnect;
    0xa0 MaximumConnectTime "Maximum connect time" in Disconnect;
    0xa1 SubscriptionIdentifiersNotSupported "Subscription Identifiers not supported" in SubAck Disconnect;
    0xa2 WildcardSubscriptionsNotSupported "Wildcard Subscriptions not supported" in SubAck Disconnect;
}

impl ReasonCode {
    /// The number on the wire.
    pub const fn to_u8(self) -> u8 {
        self as u8
    }

    /// 0x80 and above: it did not work.
    pub const fn is_error(self) -> bool {
        self.to_u8() >= 0x80
    }

    /// A subscription granted at this QoS.
    pub const fn granted(qos: QoS) -> Self {
        match qos {
            QoS::AtMostOnce => Self::Success,
            QoS::AtLeastOnce => Self::GrantedQoS1,
            QoS::ExactlyOnce => Self::GrantedQoS2,
        }
    }

    /// The return code of a CONNACK before 5.0 that says this. `None`: it has no such code, and a server closes the connection
    /// without CONNACK (3.1.1: MQTT-3.2.2-6).
    pub const fn connack_v3(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable | Self::ServerBusy | Self::UseAnotherServer | Self::ServerMoved => Some(3),
            Self::QuotaExceeded | Self::ConnectionRateExceeded => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned => Some(5),
            _ => None,
        }
    }

    /// What the return code of a CONNACK before 5.0 says.
    pub const fn from_connack_v3(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }

    /// The return code of a SUBACK before 5.0: every failure is 0x80.
    pub const fn suback_v3(self) -> u8 {
        if self.is_error() { 0x80 } else { self.to_u8() }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:#04x})", self.text(), self.to_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways() {
        for value in 0..=u8::MAX {
            let code = ReasonCode::from_u8(value);
            assert!(code.is_none_or(|code| code.to_u8() == value), "{value:#x}");
            assert_eq!(code.is_some(), ReasonCode::ALL.iter().any(|code| code.to_u8() == value), "{value:#x}");
        }
        assert_eq!(ReasonCode::ALL.len(), 43);
    }

    #[test]
    fn return_codes_before_5_go_both_ways() {
        for code in 0..=5 {
            assert_eq!(ReasonCode::from_connack_v3(code).and_then(ReasonCode::connack_v3), Some(code));
        }
        assert_eq!(ReasonCode::from_connack_v3(6), None);
        assert_eq!(ReasonCode::BadAuthenticationMethod.connack_v3(), None);
        assert_eq!(ReasonCode::GrantedQoS2.suback_v3(), 2);
        assert_eq!(ReasonCode::NotAuthorized.suback_v3(), 0x80);
    }
}

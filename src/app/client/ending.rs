//! How a client of the program ends: its exit code and what it says.

use crate::event::CloseReason;
use crate::mqtt::{ConnAck, ReasonCode, Version};

/// What went wrong without a number of its own.
pub(super) const FAILED: u8 = 1;
/// The connection was lost.
pub(super) const LOST: u8 = 7;
/// The time of `-W` is over.
pub(super) const TIMED_OUT: u8 = 27;

/// The exit code of a refusal: the return code of CONNACK, as the version has it.
pub(super) fn of_refusal(reason: ReasonCode, version: Version) -> u8 {
    match version {
        Version::Mqtt5 => reason.to_u8(),
        Version::Mqtt31 | Version::Mqtt311 => reason.connack_v3().unwrap_or(FAILED),
    }
}

/// Why the server does not take the client in, with the server's own words where it has any.
pub(super) fn refusal(conn_ack: &ConnAck<'_>) -> String {
    let words = conn_ack.properties.reason_string().map_or_else(String::new, |words| format!(": {words:?}"));
    format!("the server refused the connection: {}{words}", conn_ack.reason)
}

/// The exit code for a connection that ended by itself.
pub(super) fn of_end(reason: &CloseReason, version: Version) -> u8 {
    match reason {
        CloseReason::Mqtt(reason) => of_refusal(*reason, version),
        CloseReason::Peer | CloseReason::Reset(_) | CloseReason::SlowConsumer => LOST,
        CloseReason::TimedOut(deadline) if *deadline != crate::event::Deadline::Connect => LOST,
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Deadline;

    #[test]
    fn exit_codes_are_those_of_mosquittos_programs() {
        for (reason, version, code) in [
            (CloseReason::Mqtt(ReasonCode::NotAuthorized), Version::Mqtt311, 5),
            (CloseReason::Mqtt(ReasonCode::NotAuthorized), Version::Mqtt5, 135),
            (CloseReason::Mqtt(ReasonCode::UnsupportedProtocolVersion), Version::Mqtt31, 1),
            (CloseReason::Mqtt(ReasonCode::BadUserNameOrPassword), Version::Mqtt311, 4),
            (CloseReason::Peer, Version::Mqtt311, 7),
            (CloseReason::TimedOut(Deadline::Ping), Version::Mqtt5, 7),
            (CloseReason::TimedOut(Deadline::Connect), Version::Mqtt5, 1),
            (CloseReason::Protocol("x".into()), Version::Mqtt5, 1),
        ] {
            assert_eq!(of_end(&reason, version), code, "{reason} {version:?}");
        }
    }
}

//! What `vansire pub` and `vansire sub` have in common: the flags of mosquitto's programs, and how they end.

mod ending;
mod flags;
mod format;
mod properties;
pub mod publish;
pub mod subscribe;

pub use flags::ClientFlags;
pub(super) use flags::PASSWORD_VARIABLE;
pub use publish::PublishFlags;
pub use subscribe::SubscribeFlags;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// For a flag of mosquitto's programs that these do not have: what is missing.
pub(super) fn not_supported(answer: &clap::Error) -> Option<String> {
    let (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) =
        (answer.kind(), answer.get(ContextKind::InvalidArg))
    else {
        return None;
    };
    let (_, why) = MISSING.iter().find(|(flags, _)| flags.contains(&flag.as_str()))?;
    Some(format!("{flag}: {why}"))
}

const MISSING: [(&[&str], &str); 4] = [
    (
        &[
            "--cafile",
            "--capath",
            "--cert",
            "--key",
            "--keyform",
            "--ciphers",
            "--insecure",
            "--psk",
            "--psk-identity",
            "--tls-alpn",
            "--tls-engine",
            "--tls-engine-kpass-sha1",
            "--tls-keylog",
            "--tls-use-os-certs",
            "--tls-version",
        ],
        "this version has no TLS; without the flag, what is sent can be read on the way",
    ),
    (&["--proxy"], "this version has no SOCKS proxy for MQTT; connect to the server itself"),
    (
        &["-S"],
        "this version looks up no SRV records here; `vansire resolve --srv _mqtt._tcp.DOMAIN` does, for -h and -p",
    ),
    (&["-o", "--ws", "--mptcp"], "this version does not have it"),
];

/// Where a problem is told, unless `--quiet` is given.
fn tell(quiet: bool, what: &dyn std::fmt::Display) {
    if !quiet {
        super::complain(what);
    }
}

//! Who may call.

use std::net::IpAddr;
use std::path::Path;

use super::Refusal;
use crate::app::config::{Api, is_here};
use crate::app::serve::Site;
use crate::manager::Ctx;
use crate::net::{Address, Host, Url};
use crate::proto::http::{Credentials, Request};

/// The secret of those who may call from anywhere.
pub(in crate::app) struct Token(Vec<u8>);

/// The token of a file: its first line. The error is a sentence, without the token.
pub(in crate::app) fn read_token(path: &Path) -> Result<Token, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    let token = text.lines().next().unwrap_or_default().trim();
    // RFC 6750 §2.1: what a client can send.
    let is_sendable = token.trim_end_matches('=').bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b));
    if token.len() < TOKEN_MIN || !is_sendable {
        return Err(format!(
            "{shown} does not begin with a token: {TOKEN_MIN} or more letters, digits and any of -._~+/ on the first line"
        ));
    }
    Ok(Token(token.as_bytes().to_vec()))
}

impl Token {
    /// In a time that does not tell how much of it is right.
    fn is(&self, other: &str) -> bool {
        let differs = self.0.iter().zip(other.as_bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
        self.0.len() == other.len() && std::hint::black_box(differs) == 0
    }
}

/// Whether the call may be made at all.
pub(super) fn admit(cx: &Ctx<'_, Site>, request: &Request<'_>) -> Result<(), Refusal> {
    let peer = request.remote_addr().map(|peer| peer.ip());
    if cx.state.api == Api::Off {
        return Err(Refusal::nothing());
    }
    if let (Some(token), Some(Credentials::Bearer(shown))) = (&cx.state.token, request.credentials()) {
        return match token.is(shown) {
            true => Ok(()),
            false => Err(Refusal::new(401, "The token is not the one of http.api_token_file.")),
        };
    }
    if cx.state.api == Api::Token {
        return Err(Refusal::new(401, "Send the token of http.api_token_file: `Authorization: Bearer TOKEN`."));
    }
    let proxied = came_through_a_proxy(request.headers().map(|(name, _)| name));
    let is_here = is_here(peer) && !proxied;
    if !cx.state.api.admits(is_here) {
        return Err(Refusal::nothing());
    }
    let changes = !matches!(request.method(), "GET" | "HEAD");
    if changes && proxied {
        let why =
            "This came through a proxy, and is for this machine, or for who has the token of http.api_token_file.";
        return Err(Refusal::new(403, why));
    }
    if changes && !is_here {
        return Err(Refusal::new(403, "This is for this machine, or for who has the token of http.api_token_file."));
    }
    if !changes && cx.state.api == Api::All {
        return Ok(());
    }
    let host = request.host().unwrap_or_default();
    let local = cx.net.local_addr(cx.conn).as_ref().and_then(Address::ip);
    // A browser cannot be led to a Unix socket.
    if peer.is_some() && !names_this_machine(host, local) {
        return Err(Refusal::new(
            403,
            format!("The Host `{host}` is not this machine: call it localhost, or by its address."),
        ));
    }
    if changes && let Some(origin) = request.header_all("origin").find(|origin| !is_own(origin, host)) {
        let origin = String::from_utf8_lossy(origin);
        return Err(Refusal::new(403, format!("The Origin `{origin}` is another site.")));
    }
    Ok(())
}

/// Whether a proxy says that it asks for somebody else (RFC 7239 §4, RFC 9110 §7.6.3). One that does not say so cannot be told
/// from a client of its machine.
fn came_through_a_proxy<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    let begins = |name: &str| name.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("x-forwarded-"));
    names.any(|name| begins(name) || PROXY_FIELDS.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

/// Whether it is a name that no DNS of others can lead here by: an address of this machine, or `localhost` (RFC 6761 §6.3).
fn names_this_machine(host: &str, local: Option<IpAddr>) -> bool {
    let Ok(url) = Url::parse(&format!("http://{host}")) else { return false };
    if url.user().is_some() || url.path() != "/" {
        return false;
    }
    match url.host() {
        Host::Ip { ip, .. } => {
            let ip = ip.to_canonical();
            ip.is_loopback() || local.is_some_and(|local| local.to_canonical() == ip)
        }
        Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        _ => false,
    }
}

/// Whether a page of this server asks (RFC 6454 §7). `null` is a page of nobody.
fn is_own(origin: &[u8], host: &str) -> bool {
    origin.strip_prefix(b"http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_bytes()))
}

const TOKEN_MIN: usize = 16;
/// Besides all that begin with `X-Forwarded-`.
const PROXY_FIELDS: [&str; 3] = ["Forwarded", "X-Real-IP", "Via"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_can_give_are_not_this_machines() {
        let local = Some("192.0.2.7".parse().expect("an address"));
        let table = [
            ("localhost", true),
            ("LocalHost:8080", true),
            ("127.0.0.1:8080", true),
            ("127.9.9.9", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.0.2.7:80", true),
            ("192.0.2.8:80", false),
            ("example.org", false),
            ("localhost.example.org", false),
            ("127.0.0.1.example.org", false),
            ("a@127.0.0.1", false),
            ("0.0.0.0:8080", false),
            ("", false),
            (":8080", false),
            ("[::1", false),
        ];
        for (host, expected) in table {
            assert_eq!(names_this_machine(host, local), expected, "{host:?}");
        }
    }

    #[test]
    fn fields_of_proxies_are_known_in_any_case() {
        let table = [
            ("Forwarded", true),
            ("via", true),
            ("X-REAL-IP", true),
            ("X-Forwarded-For", true),
            ("x-forwarded-client-cert", true),
            ("X-Forwarded", false),
            ("X-Forwarder-For", false),
            ("Via-Not", false),
            ("Host", false),
        ];
        for (name, expected) in table {
            assert_eq!(came_through_a_proxy(["Accept", name].into_iter()), expected, "{name}");
        }
    }

    #[test]
    fn an_origin_is_the_host_or_foreign() {
        let table = [
            ("http://localhost:8080", true),
            ("http://LOCALHOST:8080", true),
            ("http://localhost", false),
            ("http://localhost:80801", false),
            ("https://localhost:8080", false),
            ("http://example.org", false),
            ("null", false),
            ("", false),
        ];
        for (origin, expected) in table {
            assert_eq!(is_own(origin.as_bytes(), "localhost:8080"), expected, "{origin:?}");
        }
    }

    #[test]
    fn a_token_is_long_and_compared_whole() {
        let folder = std::env::temp_dir().join(format!("vansire-token-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("token");
        for (text, good) in [
            ("0123456789abcdef\n", true),
            ("  0123456789abcdef==  \r\nsecond line", true),
            ("0123456789abcde\n", false),
            ("0123456789 abcdef\n", false),
            ("", false),
            ("\n0123456789abcdef", false),
        ] {
            std::fs::write(&path, text).expect("a file");
            let read = read_token(&path);
            assert_eq!(read.is_ok(), good, "{text:?}");
            if let Err(why) = read {
                assert!(!why.contains("0123"), "{why}");
            }
        }
        std::fs::remove_dir_all(&folder).expect("it goes");
        let token = Token(b"0123456789abcdef".to_vec());
        for (shown, same) in [
            ("0123456789abcdef", true),
            ("0123456789abcdeF", false),
            ("0123456789abcde", false),
            ("0123456789abcdef0", false),
            ("", false),
        ] {
            assert_eq!(token.is(shown), same, "{shown}");
        }
    }
}

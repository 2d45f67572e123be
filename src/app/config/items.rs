//! What the lists hold: listeners, folders, redirects; and the URLs that other keys take.

use std::net::Ipv6Addr;
use std::path::{Component, Path, PathBuf};

use super::slot::{Item, Key, Slot};
use super::value::quoted;
use crate::app::{access, redirect};
use crate::net::{Scheme, Url};
use crate::proto::dns::mdns::{Service, host_label};
use crate::proto::http::Response;

/// One place to listen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListenConfig {
    /// The address, or the path of a Unix socket.
    pub url: String,
    /// Permission bits of a Unix socket; `None`: as the umask leaves them.
    pub mode: Option<u32>,
    /// The access log of what comes in here; `None`: as everywhere.
    pub access: Option<access::Format>,
}

/// One place where MQTT clients connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MqttListenConfig {
    /// The address, or the path of a Unix socket.
    pub url: String,
    /// Permission bits of a Unix socket; `None`: as the umask leaves them.
    pub mode: Option<u32>,
}

/// A folder that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderConfig {
    /// The start of the paths that it serves: begins and ends with a slash.
    pub prefix: String,
    /// Where it is.
    pub root: PathBuf,
    /// The files of a folder that answer for the folder: the first there is.
    pub index: Vec<String>,
    /// A folder without an index is listed.
    pub listing: bool,
    /// Compressed siblings (`.br`, `.zst`, `.gz`) are served to those who take them.
    pub precompressed: bool,
    /// The page for what is not there, below the root; empty: a line of text.
    pub not_found: String,
    /// Header fields of what is served.
    pub headers: Vec<(String, String)>,
    /// Media types by the ends of file names, before the usual ones.
    pub types: Vec<(String, String)>,
}

/// A path that is elsewhere now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectConfig {
    /// The path; with `*` at its end, whatever begins with the rest.
    pub from: String,
    /// Where to; `*` at its end stands for what the other `*` stood for.
    pub to: String,
    /// The status.
    pub status: u16,
}

impl Item for ListenConfig {
    const FIELDS: &'static [Key<Self>] = &[
        Key {
            path: "url",
            help: "http://ADDRESS:PORT, or http+unix:/PATH for a Unix socket. 127.0.0.1 is this machine only, 0.0.0.0 and [::] every network \
                   it is on; port 0 is any free one.",
            slot: |listen| Slot::Text(&mut listen.url, listen_url),
        },
        Key {
            path: "mode",
            help: "Who may open the Unix socket; otherwise as the umask leaves it.",
            slot: |listen| Slot::Mode(&mut listen.mode),
        },
        Key {
            path: "access",
            help: "The access log of what comes in here; otherwise that of log.access.",
            slot: |listen| Slot::Word(&mut listen.access),
        },
    ];
    const REQUIRED: &'static [&'static str] = &["url"];
    const SHORT: Option<&'static str> = Some("url");
    const OFF: Option<&'static str> = Some("off");

    fn check(&self) -> Result<(), (&'static str, String)> {
        check_mode(&self.url, self.mode)
    }
}

impl Item for MqttListenConfig {
    const FIELDS: &'static [Key<Self>] = &[
        Key {
            path: "url",
            help: "mqtt://ADDRESS:PORT, or mqtt+unix:/PATH for a Unix socket. 127.0.0.1 is this machine only, 0.0.0.0 and [::] every network \
                   it is on; port 0 is any free one.",
            slot: |listen| Slot::Text(&mut listen.url, mqtt_listen_url),
        },
        Key {
            path: "mode",
            help: "Who may open the Unix socket; otherwise as the umask leaves it.",
            slot: |listen| Slot::Mode(&mut listen.mode),
        },
    ];
    const REQUIRED: &'static [&'static str] = &["url"];
    const SHORT: Option<&'static str> = Some("url");
    const OFF: Option<&'static str> = Some("off");

    fn check(&self) -> Result<(), (&'static str, String)> {
        check_mode(&self.url, self.mode)
    }
}

fn check_mode(url: &str, mode: Option<u32>) -> Result<(), (&'static str, String)> {
    let is_unix = Url::parse(url).is_ok_and(|url| url.unix_path().is_some());
    match mode {
        Some(_) if !is_unix => Err(("mode", "only the path of a Unix socket has permission bits".into())),
        Some(_) | None => Ok(()),
    }
}

impl Item for FolderConfig {
    const FIELDS: &'static [Key<Self>] = &[
        Key {
            path: "prefix",
            help: "The start of the paths that are looked up below root: /docs/a.txt is ROOT/a.txt where it is /docs/.",
            slot: |folder| Slot::Text(&mut folder.prefix, prefix),
        },
        Key {
            path: "root",
            help: "The folder. A relative path starts at the folder of this file. Nothing outside it is served, wherever a link points.",
            slot: |folder| Slot::Path(&mut folder.root),
        },
        Key {
            path: "index",
            help: "The files of a folder that answer for the folder: the first there is.",
            slot: |folder| Slot::Texts(&mut folder.index, file_name),
        },
        Key {
            path: "listing",
            help: "A folder without an index is listed.",
            slot: |folder| Slot::Switch(&mut folder.listing),
        },
        Key {
            path: "precompressed",
            help: "FILE.br, FILE.zst or FILE.gz beside FILE is served instead of it to those who take it.",
            slot: |folder| Slot::Switch(&mut folder.precompressed),
        },
        Key {
            path: "not_found",
            help: "The page for what is not there, a path below root; it is answered with status 404.",
            slot: |folder| Slot::Text(&mut folder.not_found, below_root),
        },
        Key {
            path: "headers",
            help: "Header fields of what is served, such as { Cache-Control = \"max-age=3600\" }.",
            slot: |folder| Slot::Pairs(&mut folder.headers, header),
        },
        Key {
            path: "types",
            help: "Media types by the ends of file names, before the usual ones, such as { log = \"text/plain\" }.",
            slot: |folder| Slot::Pairs(&mut folder.types, media_type),
        },
    ];
    const REQUIRED: &'static [&'static str] = &["root"];
    const SHORT: Option<&'static str> = Some("root");
}

impl Item for RedirectConfig {
    const FIELDS: &'static [Key<Self>] = &[
        Key {
            path: "from",
            help: "The path. /old is this path alone, /old/* whatever begins with /old/.",
            slot: |redirect| Slot::Text(&mut redirect.from, redirect::check_from),
        },
        Key {
            path: "to",
            help: "The new path, or a URL. Where from ends in *, a * at the end of to stands for the same part.",
            slot: |redirect| Slot::Text(&mut redirect.to, redirect::check_to),
        },
        Key {
            path: "status",
            help: "301 and 308 are for good: browsers remember them. 302 and 307 are for now. 307 and 308 keep the method.",
            slot: |redirect| Slot::OneOf(&mut redirect.status, &[301, 302, 307, 308]),
        },
    ];
    const REQUIRED: &'static [&'static str] = &["from", "to"];

    fn check(&self) -> Result<(), (&'static str, String)> {
        redirect::check(&self.from, &self.to).map_err(|what| ("to", what))
    }
}

impl Default for FolderConfig {
    fn default() -> Self {
        Self {
            prefix: "/".into(),
            root: PathBuf::new(),
            index: vec!["index.html".into()],
            listing: false,
            precompressed: false,
            not_found: String::new(),
            headers: Vec::new(),
            types: Vec::new(),
        }
    }
}

impl Default for RedirectConfig {
    fn default() -> Self {
        // One for good would outlive its own correction in the memory of browsers.
        Self { from: String::new(), to: String::new(), status: 302 }
    }
}

/// Refuses what cannot be listened on; whether the address is free shows when it is bound.
fn listen_url(text: &str) -> Result<(), String> {
    listens_on(text, Scheme::Http)
}

fn mqtt_listen_url(text: &str) -> Result<(), String> {
    listens_on(text, Scheme::Mqtt)
}

/// The same for where the time is told.
pub(super) fn sntp_listen_url(text: &str) -> Result<(), String> {
    listens_on(text, Scheme::Sntp)
}

fn listens_on(text: &str, scheme: Scheme) -> Result<(), String> {
    let url = Url::parse(text).map_err(|e| e.to_string())?;
    url.listen_target().map_err(|e| e.to_string())?;
    let name = scheme.as_str();
    if url.scheme().is_tls() {
        let seems = match scheme {
            Scheme::Http => " (who comes through one seems to be on this machine: see http.api)",
            Scheme::Mqtt => " (who comes through one seems to be on this machine: see mqtt.anonymous)",
            _ => "",
        };
        return Err(format!(
            "bad URL `{url}`: this version has no TLS; listen on {name}, behind a proxy that speaks it{seems}"
        ));
    }
    if url.scheme() != scheme {
        return Err(format!("bad URL `{url}`: this version listens on {name} only"));
    }
    if url.user().is_some() || (url.unix_path().is_none() && url.path() != "/") {
        return Err(format!("bad URL `{url}`: to listen takes a host and a port only"));
    }
    Ok(())
}

/// A time server: a name or an address with a port where it is not 123, or the URL of one.
pub(in crate::app) fn time_server(text: &str) -> Result<(), String> {
    let url = Url::parse(&time_server_url(text)).map_err(|e| e.to_string())?;
    if url.scheme() == Scheme::Sntp && url.user().is_none() && url.path() == "/" {
        Ok(())
    } else {
        Err(format!("bad URL `{url}`: a time server is HOST, HOST:PORT or sntp://HOST:PORT"))
    }
}

/// What people call a service.
pub(super) fn service_name(text: &str) -> Result<(), String> {
    Service::new(text, "_http._tcp", 1).check().map_err(|e| e.to_string())
}

/// What a machine is called below `.local`.
pub(super) fn host_name(text: &str) -> Result<(), String> {
    let bare = text.strip_suffix(".local").unwrap_or(text);
    match host_label(bare) {
        Ok(label) if label == bare => Ok(()),
        Ok(_) => Err(format!("{} is not the name of a machine below .local: write it without a dot", quoted(text))),
        Err(e) => Err(format!("{} cannot be the name of a machine: {e}", quoted(text))),
    }
}

/// A network interface.
pub(super) fn interface(text: &str) -> Result<(), String> {
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return Err(format!("{} is not the name of a network interface, such as eth0", quoted(text)));
    }
    Ok(())
}

/// The URL of a time server.
pub(in crate::app) fn time_server_url(text: &str) -> String {
    let is_ipv6 = text.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    match () {
        () if is_ipv6 => format!("sntp://[{text}]"),
        () if text.contains("://") => text.into(),
        () => format!("sntp://{text}"),
    }
}

fn prefix(text: &str) -> Result<(), String> {
    let is_plain = text.starts_with('/')
        && text.ends_with('/')
        && !text.contains("//")
        && !text.contains(['?', '#', '%', '\\', '*'])
        && !text.chars().any(char::is_control)
        && !text.split('/').any(|part| matches!(part, "." | ".."));
    if is_plain {
        Ok(())
    } else {
        Err(format!("{} is not a prefix: write a path that begins and ends with a slash, such as /docs/", quoted(text)))
    }
}

fn file_name(text: &str) -> Result<(), String> {
    if matches!(text, "." | "..") || text.contains(['/', '\\', '\0']) {
        return Err(format!("{} is not the name of a file", quoted(text)));
    }
    Ok(())
}

fn below_root(text: &str) -> Result<(), String> {
    let is_plain = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
    if is_plain && !text.contains(['\\', '\0']) && !text.ends_with('/') {
        Ok(())
    } else {
        Err(format!("{} is not the path of a file below the root, such as 404.html", quoted(text)))
    }
}

fn header(name: &str, value: &str) -> Result<(), String> {
    let framing = ["content-type", "content-length", "content-range", "date", "etag", "last-modified"];
    if framing.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Err(format!("{} is set by the server", quoted(name)));
    }
    Response::new(200).header(name, value).validate().map_err(|e| format!("{} = {}: {e}", quoted(name), quoted(value)))
}

fn media_type(end: &str, value: &str) -> Result<(), String> {
    if end.is_empty() || end.starts_with('.') || end.contains(['/', '\\']) {
        return Err(format!("{} is not the end of a file name: write it without its dot, such as wasm", quoted(end)));
    }
    let token =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b));
    let essence = value.split(';').next().unwrap_or_default().trim();
    let is_type = essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    if is_type && Response::new(200).header("Content-Type", value).validate().is_ok() {
        Ok(())
    } else {
        Err(format!("{} is not a media type, such as application/wasm", quoted(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row<'a> = (&'a str, Result<(), &'a str>);

    fn holds(table: &[Row<'_>], check: impl Fn(&str) -> Result<(), String>) {
        for (text, expected) in table {
            match (check(text), expected) {
                (Ok(()), Ok(())) => {}
                (Err(why), Err(part)) => assert!(why.contains(part) && !why.contains("secret"), "{text:?}: {why}"),
                (got, _) => panic!("{text:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn an_address_to_listen_on_is_a_host_and_a_port() {
        let table: &[Row<'_>] = &[
            ("http://127.0.0.1:8080", Ok(())),
            ("HTTP://localhost:0/", Ok(())),
            ("http://0.0.0.0", Ok(())),
            ("http://:8080", Ok(())),
            ("http://[::1]:8080", Ok(())),
            ("http+unix:/run/v.sock", Ok(())),
            ("127.0.0.1:8080", Err("no scheme")),
            ("8080", Err("no scheme")),
            ("htp://localhost", Err("unknown scheme `htp`")),
            ("https://localhost:8443", Err("no TLS")),
            ("tcp://localhost:8443", Err("http only")),
            ("mqtt://localhost:1883", Err("http only")),
            ("http://", Err("no host")),
            ("http://example.org:80", Err("listening needs an address")),
            ("http://127.0.0.1:80/app", Err("a host and a port only")),
            ("http://user:secret@127.0.0.1:80", Err("a host and a port only")),
            ("http://127.0.0.1:65536", Err("65535")),
        ];
        holds(table, listen_url);
        let table: &[Row<'_>] = &[
            ("mqtt://127.0.0.1", Ok(())),
            ("mqtt+unix:/run/v.sock", Ok(())),
            ("http://127.0.0.1", Err("mqtt only")),
            ("mqtts://127.0.0.1", Err("no TLS")),
            ("mqtt+ws://127.0.0.1", Err("mqtt only")),
            ("mqtt://user:secret@127.0.0.1", Err("a host and a port only")),
            ("off", Err("no scheme")),
        ];
        holds(table, mqtt_listen_url);
    }

    #[test]
    fn names_on_the_local_network_are_checked() {
        holds(
            &[
                ("vansire", Ok(())),
                ("Küche: Licht (2)", Ok(())),
                ("a\nb", Err("cannot be the name of a service")),
                (&"x".repeat(64), Err("1 to 63 bytes")),
            ],
            service_name,
        );
        holds(
            &[
                ("kitchen", Ok(())),
                ("kitchen.local", Ok(())),
                ("kitchen.example.org", Err("without a dot")),
                ("küche", Err("cannot be the name of a machine")),
                (".local", Err("cannot be the name of a machine")),
                (&"x".repeat(64), Err("cannot be the name of a machine")),
            ],
            host_name,
        );
        holds(
            &[("eth0", Ok(())), ("fe80::1", Ok(())), ("10.0.0.0/8", Err("such as eth0")), ("a b", Err("eth0"))],
            interface,
        );
    }

    #[test]
    fn a_time_server_is_a_host() {
        let bad = Err("a time server is HOST");
        let table: &[Row<'_>] = &[
            ("pool.ntp.org", Ok(())),
            ("192.0.2.1:1123", Ok(())),
            ("[2001:db8::1]", Ok(())),
            ("2001:db8::1", Ok(())),
            ("fe80::1%2", Ok(())),
            ("::1:123", Ok(())),
            ("sntp://192.0.2.1", Ok(())),
            ("http://192.0.2.1", bad),
            ("sntp://u:secret@192.0.2.1", bad),
            ("a/b", bad),
            ("a b", Err("bad URL")),
        ];
        holds(table, time_server);
        assert_eq!(time_server_url("::1:123"), "sntp://[::1:123]", "all of it is the address");
    }

    #[test]
    fn a_folder_is_described_in_plain_words() {
        let bad = Err("is not a prefix");
        holds(
            &[
                ("/", Ok(())),
                ("/docs/", Ok(())),
                ("/a b/ü/", Ok(())),
                ("/docs", bad),
                ("docs/", bad),
                ("//", bad),
                ("/a//b/", bad),
                ("/a/../", bad),
                ("/%61/", bad),
                ("/a?/", bad),
                ("/a\n/", bad),
            ],
            prefix,
        );
        let bad = Err("not the path of a file below the root");
        holds(
            &[
                ("404.html", Ok(())),
                ("errors/404.html", Ok(())),
                ("/404.html", bad),
                ("../404.html", bad),
                ("a/../../b", bad),
                ("errors/", bad),
                ("a\\b", bad),
            ],
            below_root,
        );
        holds(&[("index.html", Ok(())), ("..", Err("not the name")), ("a/b", Err("not the name"))], file_name);
    }

    #[test]
    fn headers_and_types_are_checked_before_they_are_sent() {
        let table: &[(&str, &str, Result<(), &str>)] = &[
            ("Cache-Control", "max-age=3600", Ok(())),
            ("X-A", "", Ok(())),
            ("X A", "b", Err("X A")),
            ("X-A", "a\r\nSet-Cookie: b", Err("X-A")),
            ("Transfer-Encoding", "chunked", Err("Transfer-Encoding")),
            ("Content-length", "5", Err("set by the server")),
            ("content-type", "text/plain", Err("set by the server")),
        ];
        for (name, value, expected) in table {
            match (header(name, value), expected) {
                (Ok(()), Ok(())) => {}
                (Err(why), Err(part)) => assert!(why.contains(part), "{name}: {why}"),
                (got, _) => panic!("{name}: {got:?}"),
            }
        }
        for (end, value, good) in [
            ("wasm", "application/wasm", true),
            ("log", "text/plain; charset=utf-8", true),
            ("tar.gz", "application/gzip", true),
            (".wasm", "application/wasm", false),
            ("", "text/plain", false),
            ("x", "text", false),
            ("x", "text/", false),
            ("x", "text/plain\r\nX: y", false),
        ] {
            assert_eq!(media_type(end, value).is_ok(), good, "{end} {value}");
        }
    }
}

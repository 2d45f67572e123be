//! What shows only when values are looked at together, and on this machine.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::loader::{Loaded, Origin, Problems, one_line};
use super::{Api, Config, Output};
use crate::app::api;
use crate::app::folders;
use crate::app::redirect::{self, Redirects};
use crate::app::{mdns, mqtt};
use crate::net::{Scheme, Target, Url};
use crate::proto::sntp::SERVERS_MAX;

impl Loaded {
    /// Looks at how the values go together, and at what they name on this machine; answers everything that is wrong. Binds
    /// no address and writes nothing.
    pub fn verify(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        let mut tell = |path: &str, item: usize, what: String| {
            let list = LISTS.into_iter().find(|list| path.starts_with(list)).unwrap_or(path);
            problems.push(format!("{}: {path}: {}", self.shown_origin(list, item), one_line(&what)));
        };
        self.verify_listeners(&mut tell);
        self.verify_paths(&mut tell);
        self.verify_circles(&mut tell);
        self.verify_limits(&mut tell);
        self.verify_api(&mut tell);
        if let Output::File(path) = &self.config.log.access_to {
            if path.is_dir() {
                tell("log.access_to", 0, format!("{} is a folder", path.display()));
            } else if let Err(why) = has_folder(path) {
                tell("log.access_to", 0, why);
            }
        }
        if problems.count() == 0 { Ok(()) } else { Err(problems) }
    }

    fn verify_listeners(&self, tell: &mut impl FnMut(&str, usize, String)) {
        let Config { http, mqtt, time, .. } = &self.config;
        if self.config.listen_urls().next().is_none() {
            tell("http.listen", 0, "nothing listens: mqtt.listen is off as well, and time.serve names no place".into());
        }
        let http = http.listen.iter().enumerate().map(|(index, listen)| ("http.listen", index, &*listen.url));
        let mqtt = mqtt.listen.iter().enumerate().map(|(index, listen)| ("mqtt.listen", index, &*listen.url));
        let time = time.serve.iter().enumerate().map(|(index, url)| ("time.serve", index, &**url));
        let mut taken: Vec<(&str, usize, &str, Place)> = Vec::new();
        for (path, index, url) in http.chain(mqtt).chain(time) {
            let Some(place) = Place::of(url) else { continue };
            if let Place::Unix(file) = &place
                && let Err(why) = has_folder(file)
            {
                tell(path, index, why);
            }
            match taken.iter().find(|(.., other)| other.collides(&place)) {
                Some((other_path, other_index, other, _)) => {
                    let origin = self.shown_origin(other_path, *other_index);
                    tell(path, index, format!("{url} and {other} ({origin}) are one address"));
                }
                None => taken.push((path, index, url, place)),
            }
        }
    }

    fn verify_api(&self, tell: &mut impl FnMut(&str, usize, String)) {
        let path = &self.config.http.api_token_file;
        if !path.as_os_str().is_empty()
            && let Err(why) = api::read_token(path)
        {
            tell("http.api_token_file", 0, why);
        }
        if path.as_os_str().is_empty() && self.config.http.api == Api::Token {
            let why = "token needs http.api_token_file: a file with a token of 16 characters or more";
            tell("http.api", 0, why.into());
        }
        for (key, why) in mqtt::check(&self.config.mqtt) {
            tell(key, 0, why);
        }
        if let Err(why) = mdns::check(&self.config) {
            tell("mdns.announce", 0, why);
        }
        let servers = self.config.time.servers.len();
        if servers == 0 && self.config.time.set_system_clock {
            tell("time.set_system_clock", 0, "there is nobody to set it by: name time.servers".into());
        }
        if servers == 2 {
            let why = "two that disagree cannot be judged: name one, or three and more";
            tell("time.servers", 0, why.into());
        }
        if servers > SERVERS_MAX {
            tell("time.servers", 0, format!("{servers} servers, {SERVERS_MAX} at most"));
        }
    }

    fn verify_paths(&self, tell: &mut impl FnMut(&str, usize, String)) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, folder) in self.config.http.folders.iter().enumerate() {
            if let Err(why) = folders::open(folder) {
                tell("http.static.root", index, why);
            }
            if let Some(own) = is_own(&folder.prefix) {
                tell("http.static.prefix", index, format!("{own} is answered by the program itself"));
            }
            if let Some(first) = seen.insert(folder.prefix.clone(), index) {
                let origin = self.shown_origin("http.static", first);
                tell("http.static.prefix", index, format!("{} is served already ({origin})", folder.prefix));
            }
        }
        let mut seen: HashMap<String, usize> = HashMap::new();
        for (index, redirect) in self.config.http.redirects.iter().enumerate() {
            if let Some(own) = is_own(&redirect.from) {
                tell("http.redirect.from", index, format!("{own} is answered by the program itself"));
            }
            if let Some(first) = seen.insert(redirect::canonical(&redirect.from), index) {
                let origin = self.shown_origin("http.redirect", first);
                tell("http.redirect.from", index, format!("{} is redirected already ({origin})", redirect.from));
            }
        }
    }

    /// Redirects that send a client round in a circle, each circle once.
    fn verify_circles(&self, tell: &mut impl FnMut(&str, usize, String)) {
        let all = &self.config.http.redirects;
        let redirects = Redirects::new(all);
        let mut told: HashSet<String> = HashSet::new();
        for (index, redirect) in all.iter().enumerate() {
            let mut path = redirect::canonical(&redirect.from.replace('*', ""));
            let mut way: HashSet<String> = HashSet::new();
            while path.starts_with('/') && is_own(&path).is_none() && !told.contains(&path) {
                if way.contains(&path) || way.len() > all.len() + LONGEST_WAY {
                    tell(
                        "http.redirect.to",
                        index,
                        format!("{} ends nowhere: redirects lead in a circle", redirect.from),
                    );
                    told.insert(path.clone());
                    break;
                }
                let Some((_, place)) = redirects.find(&path, None) else { break };
                way.insert(path);
                path = redirect::canonical(place.split(['?', '#']).next().unwrap_or_default());
            }
            if told.contains(&path) {
                told.extend(way);
            }
        }
    }

    fn verify_limits(&self, tell: &mut impl FnMut(&str, usize, String)) {
        let limits = &self.config.limits;
        let order = [
            ("limits.write_low", "limits.write_high", limits.write_low > limits.write_high),
            ("limits.write_high", "limits.write_max", limits.write_high > limits.write_max),
        ];
        for (low, high, is_wrong) in order {
            // The one that somebody has set is the one to look at.
            match self.origin(high) {
                _ if !is_wrong => {}
                None | Some(Origin::Default) => tell(low, 0, format!("it is more than {high}")),
                Some(_) => tell(high, 0, format!("it is less than {low}")),
            }
        }
    }
}

/// The origin of a field is that of its list's item.
const LISTS: [&str; 4] = ["http.listen", "http.static", "http.redirect", "mqtt.listen"];

/// Redirects in a row, besides one for each that there is, before they count as endless.
const LONGEST_WAY: usize = 100;

/// What a listener takes.
enum Place {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    fn of(url: &str) -> Option<Self> {
        let url = Url::parse(url).ok()?;
        match url.listen_target().ok()? {
            Target::Inet(addr) if url.scheme() == Scheme::Sntp => Some(Self::Udp(addr)),
            Target::Inet(addr) => Some(Self::Tcp(addr)),
            Target::Unix(path) => Some(Self::Unix(path.into())),
            Target::Name { .. } => None,
        }
    }

    /// The system would give the address to one of them only. What depends on its settings (whether an IPv6 listener takes
    /// IPv4) is left to it.
    fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(a), Self::Tcp(b)) | (Self::Udp(a), Self::Udp(b)) => {
                let wild = |ip: IpAddr| ip.is_unspecified() && a.is_ipv4() == b.is_ipv4();
                a.port() == b.port() && a.port() != 0 && (a == b || wild(a.ip()) || wild(b.ip()))
            }
            (Self::Unix(a), Self::Unix(b)) => a == b,
            (Self::Tcp(_) | Self::Udp(_) | Self::Unix(_), _) => false,
        }
    }
}

/// The page of the program's own that stands in the way of a path.
fn is_own(path: &str) -> Option<&'static str> {
    if path == "/healthz" || path.starts_with("/healthz/") {
        return Some("/healthz");
    }
    path.starts_with("/api/v1/").then_some("/api/v1/")
}

/// Whether there is a folder that a new file of this path could be made in.
fn has_folder(path: &Path) -> Result<(), String> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(format!("{} is not a folder", folder.display())),
        Err(e) => Err(format!("the folder {}: {e}", folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Loader;

    fn told(text: &str) -> Vec<String> {
        let mut loader = Loader::new();
        loader.file(std::path::Path::new("v.toml"), text.as_bytes());
        let loaded = loader.finish().unwrap_or_else(|problems| panic!("{text}: {problems}"));
        match loaded.verify() {
            Ok(()) => Vec::new(),
            Err(problems) => problems.to_string().lines().map(str::to_string).collect(),
        }
    }

    #[test]
    fn what_does_not_go_together_is_told() {
        let table: &[(&str, &str, &[&str])] = &[
            ("nothing", "", &[]),
            (
                "one address twice",
                "[[http.listen]]\nurl = 'http://127.0.0.1:80'\n[[http.listen]]\nurl = 'http://localhost'\n",
                &["v.toml:3: http.listen: http://localhost and http://127.0.0.1:80 (v.toml:1) are one address"],
            ),
            (
                "every network and one",
                "http.listen = ['http://0.0.0.0:80',\n 'http://127.0.0.1:80']",
                &["v.toml:2: http.listen: http://127.0.0.1:80 and http://0.0.0.0:80 (v.toml:1) are one address"],
            ),
            (
                "one address for two protocols",
                "http.listen = 'http://127.0.0.1:90'\nmqtt.listen = ['mqtt://127.0.0.1', 'mqtt://127.0.0.1:90']\n\
                 time.serve = 'sntp://127.0.0.1:90'",
                &["v.toml:2: mqtt.listen: mqtt://127.0.0.1:90 and http://127.0.0.1:90 (v.toml:1) are one address"],
            ),
            ("no MQTT", "mqtt.listen = 'off'\nhttp.listen = 'http://:1883'", &[]),
            ("no HTTP", "http.listen = 'off'\nmqtt.listen = 'mqtt://:8080'", &[]),
            ("neither, but the time", "http.listen = []\nmqtt.listen = []\ntime.serve = 'sntp://127.0.0.1:90'", &[]),
            (
                "nothing at all",
                "http.listen = 'off'\nmqtt.listen = 'off'",
                &["v.toml:1: http.listen: nothing listens: mqtt.listen is off as well, and time.serve names no place"],
            ),
            (
                "a token that nobody has",
                "http.api = 'token'",
                &["v.toml:1: http.api: token needs http.api_token_file: a file with a token of 16 characters or more"],
            ),
            (
                "a token nowhere",
                "http.api_token_file = '/nowhere/x'",
                &["v.toml:1: http.api_token_file: /nowhere/x cannot be read: No such file or directory (os error 2)"],
            ),
            (
                "rules nowhere",
                "mqtt.acl_file = '/nowhere/x'",
                &["v.toml:1: mqtt.acl_file: cannot read /nowhere/x: No such file or directory (os error 2)"],
            ),
            (
                "users that are fine and rules nowhere",
                "mqtt.password_file = '/dev/null'\nmqtt.acl_file = '/nowhere/x'",
                &["v.toml:2: mqtt.acl_file: cannot read /nowhere/x: No such file or directory (os error 2)"],
            ),
            (
                "both nowhere",
                "mqtt.password_file = '/nowhere/x'\nmqtt.acl_file = '/nowhere/y'",
                &[
                    "v.toml:1: mqtt.password_file: cannot read /nowhere/x: No such file or directory (os error 2)",
                    "v.toml:2: mqtt.acl_file: cannot read /nowhere/y: No such file or directory (os error 2)",
                ],
            ),
            (
                "one socket twice",
                "http.listen = ['http+unix:/tmp/x', 'http+unix:///tmp/x']",
                &["v.toml:1: http.listen: http+unix:///tmp/x and http+unix:/tmp/x (v.toml:1) are one address"],
            ),
            (
                "any port twice, two families",
                "http.listen = ['http://:0', 'http://:0', 'http://[::1]:80', 'http://127.0.0.1:80']",
                &[],
            ),
            (
                "a socket nowhere",
                "http.listen = 'http+unix:/nowhere/x'",
                &["v.toml:1: http.listen: the folder /nowhere: No such file or directory (os error 2)"],
            ),
            (
                "folders",
                "http.static = ['/nowhere',\n { root = '/', prefix = '/api/v1/x/' },\n { root = '/' }]",
                &[
                    "v.toml:1: http.static.root: /nowhere cannot be served: No such file or directory (os error 2)",
                    "v.toml:2: http.static.prefix: /api/v1/ is answered by the program itself",
                    "v.toml:3: http.static.prefix: / is served already (v.toml:1)",
                ],
            ),
            (
                "a file for a root",
                "http.static = '/dev/null'",
                &["v.toml:1: http.static.root: /dev/null is not a folder"],
            ),
            (
                "a page that is not there",
                "http.static = [{ root = '/', not_found = 'nowhere.html' }]",
                &["v.toml:1: http.static.root: the page nowhere.html cannot be read in /"],
            ),
            (
                "redirects",
                "[[http.redirect]]\nfrom = '/a'\nto = '/b'\n[[http.redirect]]\nfrom = '/%61'\nto = '/c'\n\
                 [[http.redirect]]\nfrom = '/healthz'\nto = '/c'\n",
                &[
                    "v.toml:4: http.redirect.from: /%61 is redirected already (v.toml:1)",
                    "v.toml:7: http.redirect.from: /healthz is answered by the program itself",
                ],
            ),
            (
                "redirects in a circle",
                "[[http.redirect]]\nfrom = '/a'\nto = '/b?x'\n[[http.redirect]]\nfrom = '/b'\nto = '/a'\n\
                 [[http.redirect]]\nfrom = '/in'\nto = '/b'\n[[http.redirect]]\nfrom = '/c/*'\nto = '/d/*'\n\
                 [[http.redirect]]\nfrom = '/d/*'\nto = '/c/x/*'\n",
                &[
                    "v.toml:1: http.redirect.to: /a ends nowhere: redirects lead in a circle",
                    "v.toml:10: http.redirect.to: /c/* ends nowhere: redirects lead in a circle",
                ],
            ),
            (
                "redirects in a row",
                "[[http.redirect]]\nfrom = '/a'\nto = '/b/b/b/c'\n[[http.redirect]]\nfrom = '/b/*'\nto = '/*'\n\
                 [[http.redirect]]\nfrom = '/c'\nto = 'https://example.org/a'\n",
                &[],
            ),
            (
                "two clocks",
                "time.servers = ['192.0.2.1', '192.0.2.2']",
                &["v.toml:1: time.servers: two that disagree cannot be judged: name one, or three and more"],
            ),
            (
                "marks",
                "limits.write_high = 1\nlimits.write_max = '64 KiB'",
                &["v.toml:1: limits.write_high: it is less than limits.write_low"],
            ),
            (
                "a mark above one that nobody set",
                "limits.write_low = '128 KiB'",
                &["v.toml:1: limits.write_low: it is more than limits.write_high"],
            ),
            ("a log that is a folder", "log.access_to = '/'", &["v.toml:1: log.access_to: / is a folder"]),
            (
                "a log nowhere",
                "log.access_to = '/nowhere/log'",
                &["v.toml:1: log.access_to: the folder /nowhere: No such file or directory (os error 2)"],
            ),
        ];
        for (name, text, expected) in table {
            assert_eq!(told(text), *expected, "{name}");
        }
    }
}

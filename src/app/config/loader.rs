//! Reads the sources over each other, weakest first, and remembers who set what.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, key};
use super::slot::{Key, Slot};
use super::suggest::nearest;
use super::value::{Problem, Raw, Value, quoted, show_text, type_of};
use super::{Config, Level};
use crate::app::client;

/// Takes the sources, from the weakest to the strongest: the file, the environment, the flags.
///
/// Never fails on the way; [`Loader::finish`] answers with every problem of every source.
#[derive(Debug)]
pub struct Loader {
    config: Config,
    origins: [Origin; KEYS.len()],
    file: Option<PathBuf>,
    problems: Problems,
    warnings: Vec<String>,
}

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file, there.
    File {
        /// The line, from 1.
        line: usize,
        /// Of a list: the line of each item.
        items: Vec<usize>,
    },
    /// That environment variable.
    Variable(String),
    /// That flag.
    Flag(&'static str),
}

/// What is wrong with a configuration: a line for each problem, with its place.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Problems {
    lines: Vec<String>,
    left_out: usize,
}

/// A configuration without a problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    file: Option<PathBuf>,
    origins: [Origin; KEYS.len()],
    warnings: Vec<String>,
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader {
    /// Everything at its default.
    pub fn new() -> Self {
        Self {
            config: Config::default(),
            origins: [const { Origin::Default }; KEYS.len()],
            file: None,
            problems: Problems::default(),
            warnings: Vec::new(),
        }
    }

    /// A TOML file of that name with these bytes; a relative path in it starts at its folder.
    pub fn file(&mut self, name: &Path, bytes: &[u8]) {
        self.file = Some(name.to_path_buf());
        let shown = one_line(&name.to_string_lossy());
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(e) => {
                let (good, _) = bytes.split_at(e.valid_up_to());
                let place = Place::at(&String::from_utf8_lossy(good), good.len());
                self.problems.push(format!("{shown}:{place}: not UTF-8 text"));
                return;
            }
        };
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut found: Vec<(usize, String)> = Vec::new();
        if errors.is_empty() {
            let base = name.parent().unwrap_or(Path::new(""));
            let mut reader = FileReader { loader: self, text, base, found: &mut found };
            reader.table("", document.get_ref());
        } else {
            // What the parser could save of a broken file would only make more noise.
            for error in errors {
                let at = error.span().map_or(text.len(), |span| span.start);
                found.push((at, format!("not TOML: {}", one_line(error.message()))));
            }
        }
        found.sort();
        // A place costs a walk through the text: only for what is shown.
        let room = SHOWN.saturating_sub(self.problems.lines.len());
        self.problems.left_out += found.len().saturating_sub(room);
        for (at, what) in found.into_iter().take(room) {
            self.problems.push(format!("{shown}:{}: {what}", Place::at(text, at)));
        }
    }

    /// The environment: `VANSIRE__HTTP__LISTEN` sets `http.listen`, and so on. One that begins with `VANSIRE_` only is a mistake
    /// where it is a key but for its underscores, and otherwise worth a warning: systems set such variables as well.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let mut ours: Vec<(String, OsString)> = variables
            .into_iter()
            .filter_map(|(name, value)| name.into_string().ok().map(|name| (name, value)))
            .filter(|(name, _)| name.starts_with("VANSIRE_") && !OTHERS.contains(&name.as_str()))
            .collect();
        ours.sort();
        for (name, value) in ours {
            if !name.starts_with(PREFIX) {
                let bare = name.replace("__", "_");
                match KEYS.iter().map(|key| variable_of(key.path)).find(|known| known.replace("__", "_") == bare) {
                    Some(known) => self.problems.push(format!("{name}: it sets nothing; did you mean {known}?")),
                    None => self
                        .warnings
                        .push(format!("{}: it sets nothing: variables that do begin with {PREFIX}", one_line(&name))),
                }
                continue;
            }
            if let Err(what) = self.variable(&name, &value) {
                self.problems.push(format!("{}: {what}", one_line(&name)));
            }
        }
    }

    /// The values of a flag that stands for a key.
    pub fn flag(&mut self, flag: &'static str, path: &'static str, values: &[String]) {
        let result = match key(path) {
            Some(key) => self.set(key, Value::Texts(values), Path::new(""), Origin::Flag(flag)),
            None => Err(vec![format!("there is no key {path}").into()]),
        };
        for problem in result.err().into_iter().flatten() {
            self.problems.push(format!("{flag}: {}", problem.what));
        }
    }

    /// `-v` and `-q`: so many levels more (or, negative, fewer) than the sources before them ask for.
    pub fn louder(&mut self, by: i32) {
        if by == 0 {
            return;
        }
        self.config.log.level = Level::step(self.config.log.level, by);
        self.set_origin("log.level", Origin::Flag(if by > 0 { "-v" } else { "-q" }));
    }

    /// The configuration, or everything that is wrong with it.
    pub fn finish(self) -> Result<Loaded, Problems> {
        if !self.problems.lines.is_empty() {
            return Err(self.problems);
        }
        let Self { config, file, origins, warnings, .. } = self;
        Ok(Loaded { config, file, origins, warnings })
    }

    fn variable(&mut self, name: &str, value: &OsStr) -> Result<(), String> {
        let path = path_of(name);
        let Some(key) = key(&path) else {
            let below = format!("{path}.");
            if let Some(inside) = KEYS.iter().find(|key| key.path.starts_with(&below)) {
                return Err(format!("names a table; {} sets a value in it", variable_of(inside.path)));
            }
            return Err(match nearest(&path, KEYS.iter().map(|key| key.path)) {
                Some(near) => format!("unknown key; did you mean {}?", variable_of(near)),
                None => "unknown key; `vansire check --effective` lists all".into(),
            });
        };
        let value = value.to_str().ok_or("the value is not UTF-8 text")?;
        let result = self.set(key, Value::Text(value), Path::new(""), Origin::Variable(name.into()));
        // A variable is one line: its first problem is enough.
        result.map_err(|problems| problems.into_iter().next().map_or_else(String::new, |problem| problem.what))
    }

    fn set(&mut self, key: &Key<Config>, value: Value<'_>, base: &Path, origin: Origin) -> Result<(), Vec<Problem>> {
        (key.slot)(&mut self.config).set(&Raw { value, base })?;
        self.set_origin(key.path, origin);
        Ok(())
    }

    fn set_origin(&mut self, path: &str, origin: Origin) {
        if let Some(index) = KEYS.iter().position(|key| key.path == path) {
            self.origins[index] = origin;
        }
    }
}

impl Loaded {
    /// Who set the value of that key.
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        KEYS.iter().position(|key| key.path == path).map(|index| &self.origins[index])
    }

    /// What is no mistake, and yet nobody's wish.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The file that was read, if one was.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Who set the value of that key; of a list, who set that item of it.
    pub(super) fn shown_origin(&self, path: &str, item: usize) -> String {
        match self.origin(path).unwrap_or(&Origin::Default) {
            Origin::Default => "default".into(),
            Origin::File { line, items } => {
                let line = items.get(item).unwrap_or(line);
                match &self.file {
                    Some(file) => format!("{}:{line}", one_line(&file.to_string_lossy())),
                    None => format!("line {line}"),
                }
            }
            Origin::Variable(name) => name.clone(),
            Origin::Flag(flag) => (*flag).into(),
        }
    }
}

impl Problems {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.lines.len() + self.left_out
    }

    /// One that was found elsewhere.
    pub fn one(line: impl Into<String>) -> Self {
        Self { lines: vec![line.into()], left_out: 0 }
    }

    pub(super) fn push(&mut self, line: String) {
        if self.lines.len() < SHOWN { self.lines.push(line) } else { self.left_out += 1 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines.iter().enumerate() {
            let gap = if index == 0 { "" } else { "\n" };
            write!(f, "{gap}{line}")?;
        }
        if self.left_out > 0 { write!(f, "\nand {} more", self.left_out) } else { Ok(()) }
    }
}

impl std::error::Error for Problems {}

/// Walks a parsed file.
struct FileReader<'a> {
    loader: &'a mut Loader,
    text: &'a str,
    base: &'a Path,
    found: &'a mut Vec<(usize, String)>,
}

impl FileReader<'_> {
    /// Only tables of [`KEYS`] are entered, so the depth is theirs, not the file's.
    fn table(&mut self, parent: &str, entries: &DeTable<'_>) {
        for (name, value) in entries.iter() {
            let path = join(parent, name.get_ref());
            if let Some(key) = key(&path) {
                self.value(key, value);
            } else if is_table(&path) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.table(&path, inner),
                    other => {
                        let what = format!("{path}: expected a table ([{path}]), got {}", type_of(other));
                        self.found.push((value.span().start, what));
                    }
                }
            } else {
                self.found.push((name.span().start, unknown(parent, name.get_ref())));
            }
        }
    }

    fn value(&mut self, key: &Key<Config>, value: &Spanned<DeValue<'_>>) {
        let line = |span: Range<usize>| Place::at(self.text, span.start).line;
        let is_list = matches!((key.slot)(&mut self.loader.config), Slot::List(_));
        let items = match value.get_ref() {
            DeValue::Array(items) if is_list => items.iter().map(|item| line(item.span())).collect(),
            _ => Vec::new(),
        };
        let origin = Origin::File { line: line(value.span()), items };
        let result = self.loader.set(key, Value::Toml(value.get_ref()), self.base, origin);
        for Problem { at, below, what } in result.err().into_iter().flatten() {
            let Range { start, .. } = at.unwrap_or_else(|| value.span());
            let dot = if below.is_empty() { "" } else { "." };
            self.found.push((start, format!("{}{dot}{below}: {what}", key.path)));
        }
    }
}

/// A place in a text, both from 1; a column is a character.
struct Place {
    line: usize,
    column: usize,
}

impl Place {
    fn at(text: &str, offset: usize) -> Self {
        let before = match text.get(..offset) {
            Some(before) => before,
            // Not on a character: nobody points there, but a file must not be able to break the program.
            None => text,
        };
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        // The mark at the start of a file is no character of its first line.
        let column = before[start..].chars().filter(|c| *c != '\u{feff}').count() + 1;
        Self { line, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

fn unknown(parent: &str, name: &str) -> String {
    let shown = quoted(&join(parent, name));
    let mut siblings: Vec<&str> = KEYS.iter().filter_map(|key| child(parent, key.path)).collect();
    siblings.dedup();
    if let Some(near) = nearest(name, siblings.iter().copied()) {
        return format!("unknown key {shown}; did you mean `{}`?", join(parent, near));
    }
    if let Some(elsewhere) = KEYS.iter().find(|key| split(key.path).1 == name) {
        return format!("unknown key {shown}; did you mean `{}`?", elsewhere.path);
    }
    let mut config = Config::default();
    for list in &KEYS {
        if let Slot::List(items) = (list.slot)(&mut config)
            && items.fields().iter().any(|field| field.name == name)
        {
            return format!("unknown key {shown}; did you mean `{name}` in [[{}]]?", list.path);
        }
    }
    if let Some((_, why)) = NOT_YET.iter().find(|(words, _)| words.contains(&name)) {
        return format!("unknown key {shown}: {why}");
    }
    let place = if parent.is_empty() { "here".into() } else { format!("in [{parent}]") };
    format!("unknown key {shown}; known {place}: {}", siblings.join(", "))
}

/// The part of a key's path below that table, up to the next dot.
fn child(parent: &str, path: &'static str) -> Option<&'static str> {
    let below = if parent.is_empty() { path } else { path.strip_prefix(parent)?.strip_prefix('.')? };
    below.split('.').next()
}

fn is_table(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|below| below.starts_with('.')))
}

pub(super) fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// A name with a dot in it (a quoted key) must not pass for a table and a key.
fn join(parent: &str, name: &str) -> String {
    let name = if name.contains('.') { show_text(name) } else { name.into() };
    if parent.is_empty() { name } else { format!("{parent}.{name}") }
}

fn path_of(variable: &str) -> String {
    variable[PREFIX.len()..].to_ascii_lowercase().replace("__", ".")
}

fn variable_of(path: &str) -> String {
    format!("{PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"))
}

pub(super) fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

const PREFIX: &str = "VANSIRE__";

/// Variables that are no keys of the configuration.
const OTHERS: [&str; 2] = [super::find::VARIABLE, client::PASSWORD_VARIABLE];

/// Keys that people will look for and that are none yet: an answer is better than a list.
const NOT_YET: &[(&[&str], &str)] = &[
    (
        &["tls", "cert", "certificate", "cert_file", "certfile", "key", "key_file", "keyfile", "ca", "cafile"],
        "this version has no TLS; listen on http, behind a proxy that speaks it \
         (who comes through one seems to be on this machine: see http.api)",
    ),
    (&["bonjour", "zeroconf", "avahi"], "the local network is a matter of [mdns]"),
    (&["sntp", "ntp", "clock"], "the clock is a matter of [time]"),
    (&["websocket", "ws"], "this version serves HTTP, MQTT and the time only"),
];

/// Problems that are shown; the rest is counted.
const SHOWN: usize = 25;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::{
        Anonymous, Api, FolderConfig, HttpConfig, ListenConfig, LogConfig, MdnsConfig, MqttConfig, MqttListenConfig,
        Output, RedirectConfig, TimeConfig,
    };
    use super::*;
    use crate::app::access::Format;
    use crate::broker::Overflow;
    use crate::options::Limits;

    fn load(text: &str) -> Result<Loaded, Problems> {
        let mut loader = Loader::new();
        loader.file(Path::new("/etc/vansire.toml"), text.as_bytes());
        loader.finish()
    }

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    const FULL: &str = "\
shutdown_timeout = 3
[http]
api = 'all'
api_token_file = 'token'
[[http.listen]]
url = \"http://127.0.0.1:1\"
access = 'off'
[[http.listen]]
url = 'http+unix:/run/v.sock'
mode = 0o660
[[http.static]]
root = \"www\"
index = [\"home.html\", 'index.html']
listing = true
precompressed = true
not_found = '404.html'
headers = { Cache-Control = 'no-cache', X-A = \"\\\"b\\\"\" }
types.wasm = 'application/wasm'
[[http.static]]
prefix = '/docs/'
root = '/usr/share/doc'
[[http.redirect]]
from = '/old/*'
to = '/new/*'
status = 308
[http.limits]
head_max = \"8 KiB\"
headers_max = 32
target_max = 4096
body_max = 1_000
requests_max = 100
head_timeout = \"500ms\"
idle_timeout = \"1m 15s\"
reply_timeout = 30
rate_floor = 0
rate_grace = '1s'
[mqtt]
anonymous = 'all'
password_file = 'users'
acl_file = 'acl'
listen = ['mqtt://:0']
[mqtt.limits]
packet_max = '1 MiB'
connect_timeout = 1
keep_alive_max = '1m'
inflight_max = 2
topic_alias_max = 0
sessions_max = 4
session_expiry_max = '24h'
subscriptions_max = 5
queue_messages_max = 6
queue_bytes_max = '7 KiB'
queue_total_max = '8 GiB'
queue_overflow = 'drop_oldest'
retained_max = 9
retained_bytes_max = 10
sys_interval = 0
[time]
servers = ['192.0.2.1', 'clock.lan:1123']
interval = '1m'
serve = 'sntp://:123'
set_system_clock = true
[mdns]
announce = true
name = 'Kitchen: light'
host = 'kitchen'
interfaces = ['eth0', '192.0.2.7']
resolve = true
[log]
level = \"DEBUG\"
access = \"json\"
access_to = 'access.log'
stall_after = '40ms'
[limits]
connections_max = 16
accepts_per_turn = 8
write_low = 1
write_high = 2
write_max = '1 MiB'
linger_timeout = 0
";

    #[test]
    fn every_key_is_read() {
        let loaded = load(FULL).expect("no problem");
        let expected = Config {
            http: HttpConfig {
                api: Api::All,
                api_token_file: "/etc/token".into(),
                listen: vec![
                    ListenConfig { url: "http://127.0.0.1:1".into(), mode: None, access: Some(Format::Off) },
                    ListenConfig { url: "http+unix:/run/v.sock".into(), mode: Some(0o660), access: None },
                ],
                folders: vec![
                    FolderConfig {
                        prefix: "/".into(),
                        // A relative path starts at the folder of the file, wherever the program is started.
                        root: "/etc/www".into(),
                        index: vec!["home.html".into(), "index.html".into()],
                        listing: true,
                        precompressed: true,
                        not_found: "404.html".into(),
                        headers: vec![("Cache-Control".into(), "no-cache".into()), ("X-A".into(), "\"b\"".into())],
                        types: vec![("wasm".into(), "application/wasm".into())],
                    },
                    FolderConfig { prefix: "/docs/".into(), root: "/usr/share/doc".into(), ..FolderConfig::default() },
                ],
                redirects: vec![RedirectConfig { from: "/old/*".into(), to: "/new/*".into(), status: 308 }],
            },
            mqtt: MqttConfig {
                listen: vec![MqttListenConfig { url: "mqtt://:0".into(), mode: None }],
                anonymous: Some(Anonymous::Always),
                password_file: "/etc/users".into(),
                acl_file: "/etc/acl".into(),
                packet_max: 1 << 20,
                connect_timeout: Duration::from_secs(1),
                keep_alive_max: Some(Duration::from_secs(60)),
                inflight_max: 2,
                topic_alias_max: 0,
                sessions_max: 4,
                session_expiry_max: Some(Duration::from_secs(86_400)),
                subscriptions_max: 5,
                queue_messages_max: 6,
                queue_bytes_max: 7 << 10,
                queue_total_max: 8 << 30,
                queue_overflow: Overflow::DropOldest,
                retained_max: 9,
                retained_bytes_max: 10,
                sys_interval: Duration::ZERO,
            },
            time: TimeConfig {
                servers: vec!["192.0.2.1".into(), "clock.lan:1123".into()],
                interval: Duration::from_secs(60),
                serve: vec!["sntp://:123".into()],
                set_system_clock: true,
            },
            mdns: MdnsConfig {
                announce: true,
                name: "Kitchen: light".into(),
                host: "kitchen".into(),
                interfaces: vec!["eth0".into(), "192.0.2.7".into()],
                resolve: true,
            },
            log: LogConfig {
                level: Level::Debug,
                access: Format::Json,
                access_to: Output::File("/etc/access.log".into()),
                stall_after: Duration::from_millis(40),
            },
            limits: Limits::new()
                .drain_timeout(Duration::from_secs(3))
                .head_max(8192)
                .headers_max(32)
                .target_max(4096)
                .body_max(1000)
                .requests_max(Some(100))
                .head_timeout(Duration::from_millis(500))
                .idle_timeout(Duration::from_secs(75))
                .reply_timeout(Duration::from_secs(30))
                .rate_floor(0)
                .rate_grace(Duration::from_secs(1))
                .connections_max(16)
                .accepts_per_turn(8)
                .write_low(1)
                .write_high(2)
                .write_max(1 << 20)
                .linger_timeout(Duration::ZERO),
        };
        assert_eq!(loaded.config, expected);
        for key in &KEYS {
            assert!(matches!(loaded.origin(key.path), Some(Origin::File { .. })), "{} is not in FULL", key.path);
        }
        let lines = |path| match loaded.origin(path) {
            Some(Origin::File { items, .. }) => items.clone(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!((lines("http.listen"), lines("http.static")), (vec![5, 8], vec![11, 19]));
    }

    #[test]
    fn a_text_stands_for_the_item_that_needs_no_more() {
        for text in [
            "http.listen = 'http://127.0.0.1:1'\nhttp.static = 'www'",
            "http.listen = ['http://127.0.0.1:1']\nhttp.static = ['www']",
            "http.listen = [{ url = 'http://127.0.0.1:1' }]\n[[http.static]]\nroot = 'www'",
            "\u{feff}[[http.listen]]\r\nurl = 'http://127.0.0.1:1'\r\n[http]\r\nstatic = 'www'\r\n",
        ] {
            let Ok(loaded) = load(text) else {
                // TOML opens no table twice; the way to write it is the first.
                assert!(text.contains("[http]"), "{text}");
                continue;
            };
            assert_eq!(
                loaded.config.http.listen,
                [ListenConfig { url: "http://127.0.0.1:1".into(), ..ListenConfig::default() }]
            );
            assert_eq!(
                loaded.config.http.folders,
                [FolderConfig { root: "/etc/www".into(), ..FolderConfig::default() }]
            );
        }
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(load("").expect("no problem").config, Config::default());
        assert_eq!(load("\u{feff}# nothing\r\n").expect("no problem").config, Config::default());
    }

    #[test]
    fn what_is_printed_is_a_file_that_says_the_same() {
        for text in ["", FULL] {
            let loaded = load(text).expect("no problem");
            let again = load(&loaded.to_string()).expect("no problem");
            assert_eq!(again.config, loaded.config);
        }
    }

    #[test]
    fn every_problem_has_its_place_and_the_way_out() {
        let table: &[(&str, &str, &[&str])] = &[
            ("near", "[htp]\nlisten = 1\n", &["1:2: unknown key `htp`; did you mean `http`?"]),
            ("dotted", "http.lisen = 1", &["1:6: unknown key `http.lisen`; did you mean `http.listen`?"]),
            (
                "other order",
                "[http.limits]\nmax_head = 1",
                &["2:1: unknown key `http.limits.max_head`; did you mean `http.limits.head_max`?"],
            ),
            ("wrong table", "listen = []", &["1:1: unknown key `listen`; did you mean `http.listen`?"]),
            (
                "far",
                "zebra = 1",
                &["1:1: unknown key `zebra`; known here: shutdown_timeout, http, mqtt, time, mdns, log, limits"],
            ),
            ("not yet", "ws = 1", &["1:1: unknown key `ws`: this version serves HTTP, MQTT and the time only"]),
            (
                "far in a table",
                "[log]\nfile = 'x'",
                &["2:1: unknown key `log.file`; known in [log]: level, access, access_to, stall_after"],
            ),
            (
                "a field outside its list",
                "[http]\nroot = 'www'",
                &["2:1: unknown key `http.root`; did you mean `root` in [[http.static]]?"],
            ),
            (
                "TLS",
                "[http.tls]\ncert = 'x'",
                &[
                    "1:7: unknown key `http.tls`: this version has no TLS; listen on http, behind a proxy that speaks it \
                     (who comes through one seems to be on this machine: see http.api)",
                ],
            ),
            (
                "TLS, without its key",
                "http.listen = 'https://:443'",
                &[
                    "1:15: http.listen: bad URL `https://:443/`: this version has no TLS; listen on http, behind a proxy that speaks it \
                     (who comes through one seems to be on this machine: see http.api)",
                ],
            ),
            (
                "every field of an item",
                "[[http.static]]\nrot = 'x'\nlisting = 'yes'\n[[http.static]]\nroot = ''\nprefix = 'docs'\nheaders = { a = 1 }",
                &[
                    "1:1: http.static: `root` is missing",
                    "2:1: http.static: unknown key `rot`; did you mean `root`?",
                    "3:11: http.static.listing: expected true or false, got a string",
                    "5:8: http.static.root: the text is empty",
                    "6:10: http.static.prefix: `docs` is not a prefix: write a path that begins and ends with a slash, such as /docs/",
                    "7:17: http.static.headers: expected a string, got an integer",
                ],
            ),
            (
                "fields that do not go together",
                "[[http.redirect]]\nfrom = '/a'\nto = '/b'\nstatus = 303\n[[http.redirect]]\nto = '//evil'\nfrom = '/x'\n\
                 [[http.listen]]\nurl = 'http://:1'\nmode = '0660'",
                &[
                    "4:10: http.redirect.status: 303 is none of 301, 302, 307, 308",
                    "6:6: http.redirect.to: expected a path that begins with one slash, or a URL that begins with http:// or https://",
                    "10:8: http.listen.mode: only the path of a Unix socket has permission bits",
                ],
            ),
            (
                "all that is wrong in one item",
                "[[http.redirect]]\nfrom = '/a'\nto = 'evil'\nstatus = 305\n\
                 [[http.static]]\nroot = '/'\nheaders = { Date = 'x', Etag = 'y', ok = 'z', 'a b' = '' }",
                &[
                    "3:6: http.redirect.to: expected a path that begins with one slash, or a URL that begins with http:// or https://",
                    "4:10: http.redirect.status: 305 is none of 301, 302, 307, 308",
                    "7:20: http.static.headers: `Date` is set by the server",
                    "7:32: http.static.headers: `Etag` is set by the server",
                    "7:55: http.static.headers: `a b` = ``: the header name \"a b\" is not a token",
                ],
            ),
            (
                "a decimal mode",
                "http.listen = [{ url = 'http+unix:/x', mode = 660 }]",
                &["1:47: http.listen.mode: expected permission bits (\"0660\", or 0o660), got an integer"],
            ),
            (
                "one table for a list",
                "[http.redirect]\nfrom = '/a'",
                &["1:1: http.redirect: expected a list of tables, each begun by its name in [[ ]], got a table"],
            ),
            (
                "a quoted dot",
                "'http.listen' = 1",
                &[
                    "1:1: unknown key `\"http.listen\"`; known here: shutdown_timeout, http, mqtt, time, mdns, log, limits",
                ],
            ),
            ("a table expected", "http = 5", &["1:8: http: expected a table ([http]), got an integer"]),
            ("tables in a list", "[[http]]\nlisten = 1", &["1:1: http: expected a table ([http]), got a list"]),
            (
                "a value expected",
                "[http.listen]\na = 1",
                &["1:1: http.listen: expected a list of tables, each begun by its name in [[ ]], got a table"],
            ),
            (
                "an item of a list",
                "[http]\nlisten = [\n 'http://127.0.0.1:1',\n 7]",
                &["4:2: http.listen: expected a string or a table, got an integer"],
            ),
            (
                "a bad URL",
                "http.listen = 'localhost:80'",
                &[
                    "1:15: http.listen: bad URL `localhost:80`: it has no scheme; write for example tcp://127.0.0.1:9000 or http://127.0.0.1:8080",
                ],
            ),
            ("an empty text", "http.listen = ''", &["1:15: http.listen: the text is empty"]),
            ("negative", "limits.connections_max = -1", &["1:26: limits.connections_max: `-1` is negative"]),
            (
                "out of range",
                "[http.limits]\nhead_max = '1 GiB'",
                &["2:12: http.limits.head_max: 1 GiB is not from 256 B to 64 KiB"],
            ),
            (
                "huge",
                "[http.limits]\nbody_max = 99999999999999999999",
                &["2:12: http.limits.body_max: `99999999999999999999` is too large"],
            ),
            (
                "float",
                "shutdown_timeout = 1.5",
                &["1:20: shutdown_timeout: expected a time (\"10s\", or a number of seconds), got a float"],
            ),
            ("a word", "log.access = 'apache'", &["1:14: log.access: `apache` is none of off, common, combined, json"]),
            (
                "a bool",
                "log.access = false",
                &["1:14: log.access: expected one of the strings off, common, combined, json, got a boolean"],
            ),
            (
                "not a file name",
                "http.static = [{ root = '/', index = '../x' }]",
                &["1:38: http.static.index: `../x` is not the name of a file"],
            ),
            (
                "columns are characters",
                "log = { 'é' = 1 }",
                &["1:9: unknown key `log.é`; known in [log]: level, access, access_to, stall_after"],
            ),
            (
                "all are told, in the order of the file",
                "zz = 1\n[http]\napi = 3\nlisten = 4\n[log]\nlevel = 'loud'\n",
                &[
                    "1:1: unknown key `zz`; known here: shutdown_timeout, http, mqtt, time, mdns, log, limits",
                    "3:7: http.api: expected one of the strings off, local, all, token, got an integer",
                    "4:10: http.listen: expected a list of tables, each begun by its name in [[ ]], got an integer",
                    "6:9: log.level: `loud` is none of error, warn, info, debug, trace",
                ],
            ),
        ];
        for (name, text, expected) in table {
            let problems = load(text).expect_err(name);
            let expected: Vec<String> = expected.iter().map(|line| format!("/etc/vansire.toml:{line}")).collect();
            assert_eq!(problems.to_string().lines().collect::<Vec<_>>(), expected, "{name}");
        }
    }

    #[test]
    fn broken_toml_is_told_with_its_place() {
        for (name, text, place) in [
            ("no value", "a = 1\nb =\n", "2:4"),
            ("open string", "http.api = \"x\n", "1:1"),
            ("twice", "[log]\nlevel = 'info'\nlevel = 'warn'\n", "3:1"),
        ] {
            let told = load(text).expect_err(name).to_string();
            let start = format!("/etc/vansire.toml:{place}");
            assert!(told.lines().all(|line| line.contains(": not TOML: ")), "{name}: {told}");
            assert!(told.starts_with(&start), "{name}: {told}");
        }
        let mut loader = Loader::new();
        loader.file(Path::new("x.toml"), b"# \xc3\xa9\nindex = \"\xff\"");
        assert_eq!(loader.finish().unwrap_err().to_string(), "x.toml:2:10: not UTF-8 text");
    }

    #[test]
    fn many_problems_are_cut_and_counted() {
        let text: String = (0..100).map(|n| format!("unknown{n} = 1\n")).collect();
        let problems = load(&text).unwrap_err();
        assert_eq!(problems.count(), 100);
        assert!(problems.to_string().ends_with("\nand 75 more"), "{problems}");
    }

    #[test]
    fn the_environment_goes_over_the_file_and_a_flag_over_both() {
        let mut loader = Loader::new();
        loader.file(Path::new("v.toml"), b"http.listen = 'http://127.0.0.1:1'\nlog.level = 'warn'\nhttp.api = 'off'");
        loader.environment(variables(&[
            ("VANSIRE__HTTP__LISTEN", "http://127.0.0.2:1, http://127.0.0.2:2"),
            ("VANSIRE__HTTP__STATIC", "www"),
            ("VANSIRE__HTTP__LIMITS__HEAD_MAX", "4 KiB"),
            ("VANSIRE_CONFIG", "elsewhere"),
            ("VANSIRE_MQTT_PASSWORD", "secret"),
            ("VANSIRE_PORT", "tcp://10.0.0.1:80"),
            ("PATH", "/bin"),
        ]));
        loader.flag("--root", "http.static", &["site".into()]);
        loader.louder(2);
        let loaded = loader.finish().expect("no problem");
        assert_eq!(loaded.warnings(), ["VANSIRE_PORT: it sets nothing: variables that do begin with VANSIRE__"]);
        let urls: Vec<&str> = loaded.config.http.listen.iter().map(|listen| listen.url.as_str()).collect();
        assert_eq!(urls, ["http://127.0.0.2:1", "http://127.0.0.2:2"]);
        let site = std::path::absolute("site").expect("a path");
        assert_eq!(loaded.config.http.folders, [FolderConfig { root: site.clone(), ..FolderConfig::default() }]);
        assert_eq!(loaded.config.limits.head_max, 4096);
        assert_eq!(loaded.config.log.level, Level::Debug);
        let printed = loaded.to_string();
        for line in [
            "[[http.listen]]  # VANSIRE__HTTP__LISTEN",
            "url = \"http://127.0.0.2:2\"",
            "[[http.static]]  # --root",
            &format!("root = {}", show_text(&site.to_string_lossy())),
            "api = \"off\"  # v.toml:3",
            "level = \"debug\"  # -v",
            "shutdown_timeout = \"10s\"  # default",
            "# requests_max is not set",
        ] {
            assert!(printed.lines().any(|l| l == line), "{line} is missing in:\n{printed}");
        }
    }

    #[test]
    fn a_problem_of_the_environment_or_a_flag_names_it() {
        let mut loader = Loader::new();
        loader.environment(variables(&[
            ("VANSIRE__HTTP__LISTEN", "mqtt://127.0.0.1"),
            ("VANSIRE__HTP__LISTEN", "http://x"),
            ("VANSIRE__HTTP", "x"),
            ("VANSIRE__HTTP__STATIC", ""),
            ("VANSIRE__HTTP__REDIRECT", "/a"),
            ("VANSIRE__SOMETHING", "x"),
            ("VANSIRE__", "x"),
        ]));
        loader.flag("--http", "http.listen", &["8080".into()]);
        let told = loader.finish().unwrap_err().to_string();
        assert_eq!(
            told.lines().collect::<Vec<_>>(),
            [
                "VANSIRE__: unknown key; `vansire check --effective` lists all",
                "VANSIRE__HTP__LISTEN: unknown key; did you mean VANSIRE__HTTP__LISTEN?",
                "VANSIRE__HTTP: names a table; VANSIRE__HTTP__API sets a value in it",
                "VANSIRE__HTTP__LISTEN: bad URL `mqtt://127.0.0.1:1883/`: this version listens on http only",
                "VANSIRE__HTTP__REDIRECT: it takes tables: write it in a file",
                "VANSIRE__HTTP__STATIC: the text is empty",
                "VANSIRE__SOMETHING: unknown key; `vansire check --effective` lists all",
                "--http: bad URL `8080`: it has no scheme; write for example tcp://127.0.0.1:9000 or http://127.0.0.1:8080",
            ]
        );
    }

    #[test]
    fn every_key_has_a_variable() {
        for key in &KEYS {
            assert_eq!(path_of(&variable_of(key.path)), key.path);
        }
    }

    fn told_or_loaded(bytes: &[u8]) -> Result<(), TestCaseError> {
        let mut loader = Loader::new();
        loader.file(Path::new("f"), bytes);
        match loader.finish() {
            Ok(loaded) => {
                let printed = loaded.to_string();
                let mut again = Loader::new();
                again.file(Path::new(""), printed.as_bytes());
                let again = again.finish().map_err(|e| TestCaseError::fail(format!("{e} in\n{printed}")))?;
                prop_assert_eq!(again.config, loaded.config);
            }
            Err(problems) => {
                prop_assert!(problems.count() > 0);
                for line in problems.to_string().lines().filter(|line| !line.starts_with("and ")) {
                    let mut parts = line.splitn(4, ':');
                    prop_assert_eq!(parts.next(), Some("f"));
                    let place: Vec<usize> = parts.by_ref().take(2).filter_map(|n| n.parse().ok()).collect();
                    prop_assert!(place.len() == 2 && place.iter().all(|n| *n > 0), "no place in {:?}", line);
                }
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            told_or_loaded(&bytes)?;
        }

        #[test]
        fn no_text_panics(text in "[a-z_\\[\\]{}.=\"'#\\\\\n \u{e9}\u{feff}0-9-]{0,200}") {
            told_or_loaded(text.as_bytes())?;
        }

        #[test]
        fn no_mutation_of_a_good_file_panics(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0..4u8, any::<u8>()), 1..12),
        ) {
            let mut bytes = FULL.as_bytes().to_vec();
            for (index, what, byte) in edits {
                let at = index.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
                match what {
                    0 => bytes.insert(at, byte),
                    1 if !bytes.is_empty() => drop(bytes.remove(at)),
                    2 if !bytes.is_empty() => bytes[at] = byte,
                    _ => bytes.truncate(bytes.len().min(at + 200)),
                }
            }
            told_or_loaded(&bytes)?;
        }

        #[test]
        fn no_variable_panics(name in "VANSIRE__[A-Z_.\u{e9}]{0,40}", value in "\\PC{0,60}") {
            let mut loader = Loader::new();
            loader.environment([(name.into(), value.into())]);
            let _ = loader.finish();
        }
    }
}

//! Reads the sources over each other, weakest first, and remembers who set what.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, key};
use super::suggest::nearest;
use super::value::{Problem, Raw, Value, quoted, show_text, type_of};
use super::{Config, Level};

/// Takes the sources, from the weakest to the strongest: the file, the environment, the flags.
///
/// Never fails on the way; [`Loader::finish`] answers with every problem of every source.
pub struct Loader {
    config: Config,
    origins: [Origin; KEYS.len()],
    file: Option<PathBuf>,
    problems: Problems,
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

    /// The environment: `VANSIRE__HTTP__LISTEN` sets `http.listen`, and so on; other variables are not looked at.
    pub fn environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let mut ours: Vec<(String, OsString)> = variables
            .into_iter()
            .filter_map(|(name, value)| name.into_string().ok().map(|name| (name, value)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        ours.sort();
        for (name, value) in ours {
            if let Err(what) = self.variable(&name, &value) {
                self.problems.push(format!("{}: {what}", one_line(&name)));
            }
        }
    }

    /// The values of a flag that stands for a key.
    pub fn flag(&mut self, flag: &'static str, path: &'static str, values: &[String]) {
        let result = match key(path) {
            Some(key) => self.set(key, Value::Texts(values), Path::new(""), Origin::Flag(flag)),
            None => Err(format!("there is no key {path}").into()),
        };
        if let Err(problem) = result {
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
        Ok(Loaded { config: self.config, file: self.file, origins: self.origins })
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
                None => "unknown key; `vansire check` lists all".into(),
            });
        };
        let value = value.to_str().ok_or("the value is not UTF-8 text")?;
        self.set(key, Value::Text(value), Path::new(""), Origin::Variable(name.into())).map_err(|problem| problem.what)
    }

    fn set(&mut self, key: &'static Key, value: Value<'_>, base: &Path, origin: Origin) -> Result<(), Problem> {
        (key.set)(&mut self.config, &Raw { value, base })?;
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

    /// The file that was read, if one was.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Looks at what the values name on this machine; answers what is missing.
    pub fn verify(&self) -> Result<(), Problems> {
        let mut problems = Problems::default();
        if let Some(root) = &self.config.http.root {
            let why = match std::fs::metadata(root) {
                Ok(found) if found.is_dir() => None,
                Ok(_) => Some("is not a folder".to_string()),
                Err(e) => Some(format!("cannot be served: {e}")),
            };
            if let Some(why) = why {
                let origin = self.shown_origin(self.origin("http.root").unwrap_or(&Origin::Default));
                problems.push(format!("{origin}: http.root: {} {why}", one_line(&root.to_string_lossy())));
            }
        }
        if problems.lines.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn shown_origin(&self, origin: &Origin) -> String {
        match origin {
            Origin::Default => "default".into(),
            Origin::File { line } => match &self.file {
                Some(file) => format!("{}:{line}", one_line(&file.to_string_lossy())),
                None => format!("line {line}"),
            },
            Origin::Variable(name) => name.clone(),
            Origin::Flag(flag) => (*flag).into(),
        }
    }
}

/// The whole configuration as a TOML file: every key with what it does, its value and who set it.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = "";
        for (key, origin) in KEYS.iter().zip(&self.origins) {
            let (parent, leaf) = split(key.path);
            if parent != table {
                writeln!(f, "\n[{parent}]")?;
                table = parent;
            }
            writeln!(f, "# {}", key.help)?;
            match (key.show)(&self.config) {
                Some(value) => writeln!(f, "{leaf} = {value}  # {}", self.shown_origin(origin))?,
                None => writeln!(f, "# {leaf} is not set")?,
            }
        }
        Ok(())
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

    fn push(&mut self, line: String) {
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

    fn value(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) {
        let line = Place::at(self.text, value.span().start).line;
        let result = self.loader.set(key, Value::Toml(value.get_ref()), self.base, Origin::File { line });
        if let Err(Problem { at, what }) = result {
            let Range { start, .. } = at.unwrap_or_else(|| value.span());
            self.found.push((start, format!("{}: {what}", key.path)));
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

fn split(path: &str) -> (&str, &str) {
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

fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

const PREFIX: &str = "VANSIRE__";

/// Problems that are shown; the rest is counted.
const SHOWN: usize = 25;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::app::access::Format;

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
listen = [\"http://127.0.0.1:1\", 'http://[::1]:2']
root = \"www\"
index = \"home.html\"
[http.limits]
head_max = \"8 KiB\"
headers_max = 32
target_max = 4096
body_max = 1_000
requests_max = 100
rate_floor = 0
head_timeout = \"500ms\"
idle_timeout = \"1m 15s\"
[log]
level = \"Debug\"
access = \"json\"
[limits]
connections_max = 0x10
";

    #[test]
    fn every_key_can_be_set_in_a_file() {
        let loaded = load(FULL).expect("no problem");
        let config = &loaded.config;
        assert_eq!(config.shutdown_timeout, Duration::from_secs(3));
        assert_eq!(config.http.listen, ["http://127.0.0.1:1", "http://[::1]:2"]);
        // A relative path starts at the folder of the file, wherever the program is started.
        assert_eq!(config.http.root.as_deref(), Some(Path::new("/etc/www")));
        assert_eq!(config.http.index, "home.html");
        assert_eq!(config.http.limits.head_max, 8192);
        assert_eq!(config.http.limits.headers_max, 32);
        assert_eq!(config.http.limits.target_max, 4096);
        assert_eq!(config.http.limits.body_max, 1000);
        assert_eq!(config.http.limits.requests_max, Some(100));
        assert_eq!(config.http.limits.rate_floor, 0);
        assert_eq!(config.http.limits.head_timeout, Duration::from_millis(500));
        assert_eq!(config.http.limits.idle_timeout, Duration::from_secs(75));
        assert_eq!(config.log.level, Level::Debug);
        assert_eq!(config.log.access, Format::Json);
        assert_eq!(config.limits.connections_max, 16);
        for key in &KEYS {
            assert!(matches!(loaded.origin(key.path), Some(Origin::File { .. })), "{} is not in FULL", key.path);
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
            ("far", "mqtt = 1", &["1:1: unknown key `mqtt`; known here: shutdown_timeout, http, log, limits"]),
            ("far in a table", "[log]\nfile = 'x'", &["2:1: unknown key `log.file`; known in [log]: level, access"]),
            (
                "a quoted dot",
                "'http.listen' = 1",
                &["1:1: unknown key `\"http.listen\"`; known here: shutdown_timeout, http, log, limits"],
            ),
            ("a table expected", "http = 5", &["1:8: http: expected a table ([http]), got an integer"]),
            ("tables in a list", "[[http]]\nlisten = 1", &["1:1: http: expected a table ([http]), got a list"]),
            (
                "a value expected",
                "[http.listen]\na = 1",
                &["1:1: http.listen: expected a string or a list of strings, got a table"],
            ),
            (
                "an item of a list",
                "[http]\nlisten = [\n 'http://127.0.0.1:1',\n 7]",
                &["4:2: http.listen: expected a string, got an integer"],
            ),
            (
                "a bad URL",
                "http.listen = 'localhost:80'",
                &[
                    "1:15: http.listen: bad URL `localhost:80`: it has no scheme; write for example tcp://127.0.0.1:9000 or http://127.0.0.1:8080",
                ],
            ),
            ("an empty list", "http.listen = []", &["1:15: http.listen: the list is empty"]),
            ("negative", "limits.connections_max = -1", &["1:26: limits.connections_max: `-1` is negative"]),
            (
                "out of range",
                "[http.limits]\nhead_max = '1 GiB'",
                &["2:12: http.limits.head_max: 1 GiB is not from 256 B to 1 MiB"],
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
            ("a word", "log.access = 'combined'", &["1:14: log.access: `combined` is none of off, common, json"]),
            (
                "a bool",
                "log.access = false",
                &["1:14: log.access: expected one of the strings off, common, json, got a boolean"],
            ),
            ("not a file name", "http.index = '../x'", &["1:14: http.index: `../x` is not the name of a file"]),
            (
                "columns are characters",
                "log = { 'é' = 1 }",
                &["1:9: unknown key `log.é`; known in [log]: level, access"],
            ),
            (
                "all are told, in the order of the file",
                "zz = 1\n[http]\nroot = 3\nlisten = 4\n[log]\nlevel = 'loud'\n",
                &[
                    "1:1: unknown key `zz`; known here: shutdown_timeout, http, log, limits",
                    "3:8: http.root: expected a string, got an integer",
                    "4:10: http.listen: expected a string or a list of strings, got an integer",
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
            ("open string", "http.index = \"x\n", "1:1"),
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
        loader.file(Path::new("v.toml"), b"http.listen = 'http://127.0.0.1:1'\nlog.level = 'warn'\nhttp.index = 'i'");
        loader.environment(variables(&[
            ("VANSIRE__HTTP__LISTEN", "http://127.0.0.2:1, http://127.0.0.2:2"),
            ("VANSIRE__HTTP__ROOT", "www"),
            ("VANSIRE__HTTP__LIMITS__HEAD_MAX", "4 KiB"),
            ("VANSIRE_CONFIG", "elsewhere"),
            ("PATH", "/bin"),
        ]));
        loader.flag("--root", "http.root", &["site".into()]);
        loader.louder(2);
        let loaded = loader.finish().expect("no problem");
        assert_eq!(loaded.config.http.listen, ["http://127.0.0.2:1", "http://127.0.0.2:2"]);
        assert_eq!(loaded.config.http.root.as_deref(), Some(Path::new("site")));
        assert_eq!(loaded.config.http.limits.head_max, 4096);
        assert_eq!(loaded.config.log.level, Level::Debug);
        let printed = loaded.to_string();
        for line in [
            "listen = [\"http://127.0.0.2:1\", \"http://127.0.0.2:2\"]  # VANSIRE__HTTP__LISTEN",
            "root = \"site\"  # --root",
            "index = \"i\"  # v.toml:3",
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
            ("VANSIRE__HTTP__ROOT", ""),
            ("VANSIRE__SOMETHING", "x"),
            ("VANSIRE__", "x"),
        ]));
        loader.flag("--http", "http.listen", &["8080".into()]);
        let told = loader.finish().unwrap_err().to_string();
        assert_eq!(
            told.lines().collect::<Vec<_>>(),
            [
                "VANSIRE__: unknown key; `vansire check` lists all",
                "VANSIRE__HTP__LISTEN: unknown key; did you mean VANSIRE__HTTP__LISTEN?",
                "VANSIRE__HTTP: names a table; VANSIRE__HTTP__LISTEN sets a value in it",
                "VANSIRE__HTTP__LISTEN: bad URL `mqtt://127.0.0.1:1883/`: this version listens on http only",
                "VANSIRE__HTTP__ROOT: the text is empty",
                "VANSIRE__SOMETHING: unknown key; `vansire check` lists all",
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

    #[test]
    fn a_root_that_is_no_folder_is_told_with_its_origin() {
        let loaded = load("[http]\nroot = '/nowhere/at/all'").expect("no problem of the text");
        let told = loaded.verify().unwrap_err().to_string();
        assert!(told.starts_with("/etc/vansire.toml:2: http.root: /nowhere/at/all cannot be served: "), "{told}");
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

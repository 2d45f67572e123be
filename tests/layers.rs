//! The layers of the architecture: imports point downwards only, and protocols do no I/O.
//!
//! Reads `src/**/*.rs` as text: every path that starts at `crate`, `self` or `super`, in a `use` or in an expression, test code
//! left out. A name that `lib.rs` re-exports counts as the module it comes from. The rules are the tables at the end of this
//! file; a new top-level module needs its row there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn imports_point_downwards_and_protocols_do_no_io() {
    let sources = sources();
    assert!(sources.len() > 10, "only {} files found", sources.len());
    let roots = re_exports(&sources[Path::new("lib.rs")]);
    let findings: Vec<String> =
        sources.iter().flat_map(|(path, source)| check(&path.to_string_lossy(), source, &roots)).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_top_level_module_has_a_layer() {
    for path in sources().keys() {
        let module = top_module(&path.to_string_lossy());
        assert!(module == "lib" || layer(&module).is_some(), "src/{} has no row in LAYERS", path.display());
    }
}

#[test]
fn a_file_holds_one_concept() {
    for (path, source) in sources() {
        let lines = Code::of(&source).lines_that_are_not_tests();
        assert!(lines <= LINES_MAX, "src/{}: {lines} lines that are not tests, {LINES_MAX} at most", path.display());
    }
}

/// The checker checked: each bad source is told, each good one is not.
#[test]
fn a_breach_is_told() {
    let roots = re_exports(
        "mod error; pub mod manager;\npub use error::{Error, Result};\npub use manager::{ctx::Ctx, Manager as Loop};\n\
         pub mod http { pub use crate::proto::http::*; pub use crate::manager::http::Body; pub use crate::id::X; }",
    );
    // (name, file, source, a part of what has to be told; none: nothing)
    let table: &[(&str, &str, &str, Option<&str>)] = &[
        ("down", "manager/ctx.rs", "use crate::net::Stream; use crate::error::Error;", None),
        ("up", "net/stream.rs", "use crate::manager::Ctx;", Some("net (L2) imports manager (L3)")),
        ("the line", "net/stream.rs", "\n\nuse crate::manager::Ctx;", Some("src/net/stream.rs:3:")),
        ("up in a group", "proto/a.rs", "use crate::{error::Error, net::{self, addr}};", Some("imports net")),
        (
            "up in a nested group",
            "net/a.rs",
            "use crate::{error::{Error}, manager::{table::{Row}}};",
            Some("imports manager"),
        ),
        ("up in an expression", "net/a.rs", "fn f() { crate::manager::run::<u8>() }", Some("imports manager")),
        ("up in a macro", "net/a.rs", "macro_rules! m { () => { $crate::manager::run() } }", Some("imports manager")),
        ("up by super", "net/a.rs", "use super::super::manager::X;", Some("imports manager")),
        ("up by super from the top", "error.rs", "use super::manager::X;", Some("imports manager")),
        ("super inside the module", "net/tls/a.rs", "use super::super::addr::X; pub(super) fn f() {}", None),
        (
            "super of an inline module",
            "error.rs",
            "mod imp { use super::Kind; fn f() { self::g(); super::h() } }",
            None,
        ),
        ("after an inline module", "error.rs", "mod imp { fn f() {} } use super::manager::X;", Some("imports manager")),
        ("up by a re-export", "proto/a.rs", "use crate::Ctx;", Some("imports manager")),
        ("up by a renamed re-export", "proto/a.rs", "fn f(l: &crate::Loop) {}", Some("imports manager")),
        ("down by a re-export", "proto/a.rs", "use crate::{Error, Result};", None),
        ("up by a module of lib.rs", "proto/a.rs", "use crate::http::Request;", Some("imports manager")),
        ("down by a module of lib.rs", "observe/a.rs", "use crate::http::Request;", None),
        ("a name without a layer", "proto/a.rs", "use crate::unheard::X;", Some("`unheard` has no layer")),
        ("everything", "manager/a.rs", "use crate::*;", Some("imports everything")),
        ("own layer", "net/a.rs", "use crate::reactor::Waker; use crate::net::addr::Url;", None),
        ("a macro of the crate", "net/a.rs", "fn f() { crate::debug!(1) }", None),
        ("events name protocols", "event.rs", "use crate::proto::http::Request;", None),
        ("others of L0 do not", "options.rs", "use crate::proto::http::Request;", Some("imports proto")),
        ("events name nothing else", "event.rs", "use crate::net::X;", Some("imports net")),
        ("sideways through the front", "broker/mod.rs", "use crate::store::Log; use crate::store::open;", None),
        ("sideways into the inside", "broker/mod.rs", "use crate::store::log::Segment;", Some("reaches into store")),
        ("mio in a protocol", "proto/a.rs", "use mio::Token;", Some("names `mio`")),
        ("a socket in a protocol", "proto/a.rs", "use std::net::{IpAddr, TcpStream};", Some("names `TcpStream`")),
        ("addresses in a protocol", "proto/a.rs", "use std::net::{IpAddr, SocketAddr};", None),
        (
            "the clock in a protocol",
            "proto/a.rs",
            "fn f() { let t = std::time::Instant :: now(); }",
            Some("`Instant::now`"),
        ),
        ("the wall clock", "proto/a.rs", "fn f() { SystemTime::now() }", Some("`SystemTime::now`")),
        ("the clock by the back door", "proto/a.rs", "fn f(t: Instant) { t.elapsed() }", Some("`.elapsed`")),
        ("time as an argument", "proto/a.rs", "fn f(now: Instant) { self.now(now) }", None),
        ("the clock elsewhere", "manager/a.rs", "fn f() { Instant::now() }", None),
        ("a context in the broker", "broker/session.rs", "fn f(cx: &Ctx) {}", Some("names `Ctx`")),
        ("where it may be", "broker/serve.rs", "use crate::manager::Ctx;", None),
        ("a comment", "proto/a.rs", "// use crate::net::X;\n/* /* */ crate::net::X */ /// [`X`](crate::net::X)", None),
        (
            "a string",
            "proto/a.rs",
            r###"fn f() { g("crate::net", r#"" crate::net "#, b"\" mio", '"', 'x', '\'') }"###,
            None,
        ),
        ("after a string", "proto/a.rs", r##"const A: &str = "\\"; use crate::net::X;"##, Some("imports net")),
        (
            "after a lifetime",
            "proto/a.rs",
            "fn f<'a>(x: &'a u8) {} use crate::net::X; fn g<'b>() {}",
            Some("imports net"),
        ),
        ("a test", "proto/a.rs", "#[cfg(test)]\nmod tests { use crate::net::X; fn f() { Instant::now() } }", None),
        ("a test import", "proto/a.rs", "#[cfg(test)] use crate::{net::X, manager::Y};", None),
        (
            "after a test",
            "proto/a.rs",
            "#[cfg(test)] #[allow(x)] mod tests { fn f() {} } use crate::net::X;",
            Some("imports net"),
        ),
        (
            "a test of a feature",
            "proto/a.rs",
            "#[cfg(all(test, feature = \"sim\"))] mod tests { use crate::net::X; }",
            None,
        ),
        ("not a test", "proto/a.rs", "#[cfg(not(test))] use crate::net::X;", Some("imports net")),
        ("a raw name", "proto/a.rs", "use crate::r#net::X;", Some("imports net")),
    ];
    for (name, file, source, expected) in table {
        let told = check(file, source, &roots).join("\n");
        match expected {
            Some(part) => assert!(told.contains(part), "{name}: told {told:?}, not {part:?}"),
            None => assert_eq!(told, "", "{name}"),
        }
    }
}

#[test]
fn lines_of_tests_do_not_count() {
    let source = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    fn g() {}\n}\nfn h() {}\n";
    assert_eq!(Code::of(source).lines_that_are_not_tests(), 3);
}

/// What breaks a rule in one file, as `src/file:line: what`.
fn check(file: &str, source: &str, roots: &BTreeMap<String, String>) -> Vec<String> {
    let is_test = file.ends_with("/tests.rs") || file.contains("/tests/");
    let here = top_module(file);
    if is_test || here == "lib" || here == "bin" {
        return Vec::new();
    }
    let code = Code::of(source);
    let tokens = tokens(&code.text);
    let mut findings: BTreeSet<(usize, String)> = BTreeSet::new();
    for Found { path, line, is_macro } in paths(&tokens, &module_of(file)) {
        let Some(first) = path.first() else { continue };
        if first == "*" {
            findings.insert((line, "imports everything; name what it needs".into()));
            continue;
        }
        let module = if layer(first).is_some() { first } else { roots.get(first).unwrap_or(first) };
        if is_macro && path.len() == 1 {
            continue;
        }
        if let Some(what) = breach(&here, module, &path) {
            findings.insert((line, what));
        }
    }
    for (files, except, names, why) in FORBIDDEN {
        if file.starts_with(files) && !except.contains(&file) {
            for (index, token) in tokens.iter().enumerate() {
                if let Some(name) = names.iter().find(|name| starts_with(&tokens[index..], name)) {
                    findings.insert((token.line, format!("names `{}`: {why}", name.concat())));
                }
            }
        }
    }
    findings.into_iter().map(|(line, what)| format!("src/{file}:{line}: {what}")).collect()
}

/// Why a file of module `here` may not import `path`, which is of `module`.
fn breach(here: &str, module: &str, path: &[String]) -> Option<String> {
    let (Some(from), Some(to)) = (layer(here), layer(module)) else {
        let unknown = if layer(here).is_none() { here } else { module };
        return Some(format!("`{unknown}` has no layer: give it a row in tests/layers.rs"));
    };
    if to > from && !EXCEPTIONS.contains(&(here, module)) {
        return Some(format!("{here} (L{from}) imports {module} (L{to}): {}", path.join("::")));
    }
    let inside = path.len() > 2 && path[1].starts_with(char::is_lowercase);
    if from == SIDEWAYS && to == from && here != module && inside {
        return Some(format!("{here} reaches into {module} past its front: {}", path.join("::")));
    }
    None
}

/// A source without what is no code, in the same lines.
struct Code {
    /// Comments, strings and tests are blank.
    text: String,
    lines: usize,
    lines_of_tests: usize,
}

impl Code {
    fn of(source: &str) -> Self {
        let mut text = blank(source).into_bytes();
        let mut lines_of_tests = 0;
        let mut from = 0;
        while let Some((start, end)) = next_test(&text, from) {
            lines_of_tests += text[start..end].iter().filter(|b| **b == b'\n').count() + 1;
            text[start..end].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
            from = end;
        }
        let text = String::from_utf8(text).expect("blanks on whole items");
        Self { text, lines: source.lines().count(), lines_of_tests }
    }

    fn lines_that_are_not_tests(&self) -> usize {
        self.lines - self.lines_of_tests
    }
}

/// Comments, strings and characters become spaces.
fn blank(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = chars.clone();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = 0;
    while i < chars.len() {
        let after_name = i > 0 && (at(i - 1).is_alphanumeric() || at(i - 1) == '_');
        let end = match at(i) {
            '/' if at(i + 1) == '/' => (i..chars.len()).find(|j| at(*j) == '\n').unwrap_or(chars.len()),
            '/' if at(i + 1) == '*' => end_of_comment(&chars, i),
            '"' => end_of_text(&chars, i + 1, '"'),
            'r' if !after_name || matches!(at(i - 1), 'b' | 'c') => match end_of_raw_text(&chars, i + 1) {
                Some(end) => end,
                None => i,
            },
            // A character, not a lifetime: 'x' or '\...'.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => end_of_text(&chars, i + 1, '\''),
            _ => i,
        };
        out[i..end].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
        i = end.max(i + 1);
    }
    out.into_iter().collect()
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut i = start;
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i.min(chars.len())
}

fn end_of_text(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// After the `r`: `#`s and a quote, to the quote and as many `#`s. None: not a raw text (a raw name, say).
fn end_of_raw_text(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start..].iter().take_while(|c| **c == '#').count();
    let open = start + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |i: &usize| chars[*i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    Some((open + 1..chars.len()).find(closes).map_or(chars.len(), |i| i + 1 + hashes))
}

/// The next item that is built for tests only: from its attribute to its end.
fn next_test(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut search = from;
    loop {
        let start = search + find(&text[search..], b"#[cfg(")?;
        let end_of_attribute = start + 1 + matching(&text[start + 1..]);
        let words: String = String::from_utf8_lossy(&text[start..end_of_attribute]).split_whitespace().collect();
        if words.starts_with("#[cfg(test)") || words.starts_with("#[cfg(all(test,") {
            return Some((start, end_of_item(text, end_of_attribute)));
        }
        search = end_of_attribute;
    }
}

/// Where the item that starts there ends: at its `;`, or at the brace that closes it.
fn end_of_item(text: &[u8], start: usize) -> usize {
    let mut i = start;
    let mut is_use = false;
    while i < text.len() {
        match text[i] {
            b'u' if text[i..].starts_with(b"use ") => is_use = true,
            b';' => return i + 1,
            b'(' | b'[' => i += matching(&text[i..]) - 1,
            b'{' => {
                let end = i + matching(&text[i..]);
                if !is_use {
                    return end;
                }
                i = end - 1;
            }
            _ => {}
        }
        i += 1;
    }
    text.len()
}

/// Bytes from the bracket at the start to the one that closes it, both counted.
fn matching(text: &[u8]) -> usize {
    let mut depth = 0;
    for (i, byte) in text.iter().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    text.len()
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

struct Token {
    text: String,
    line: usize,
}

/// Names, `::`, and every other character by itself.
fn tokens(code: &str) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.replace("r#", "");
        while let Some(first) = rest.chars().next() {
            let is_name = |c: char| c.is_alphanumeric() || c == '_';
            let length = match first {
                c if is_name(c) => rest.find(|c| !is_name(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            let tail = rest.split_off(length);
            if !first.is_whitespace() {
                out.push(Token { text: rest, line: index + 1 });
            }
            rest = tail;
        }
    }
    out
}

fn starts_with(tokens: &[Token], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// A path of the crate, from its root.
struct Found {
    path: Vec<String>,
    line: usize,
    is_macro: bool,
}

/// Every path that starts at `crate`, `self` or `super`, in a file of that module.
fn paths(tokens: &[Token], module: &[String]) -> Vec<Found> {
    let mut out = Vec::new();
    // Inline modules that are open, each with the depth of braces around it.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    let mut i = 0;
    while i < tokens.len() {
        let after_colons = i > 0 && tokens[i - 1].text == "::";
        match tokens[i].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                inline.retain(|(_, outside)| *outside < depth);
            }
            "mod" if starts_with(&tokens[(i + 2).min(tokens.len())..], &["{"]) => {
                inline.push((tokens[i + 1].text.clone(), depth));
            }
            "crate" | "self" | "super" if !after_colons && starts_with(&tokens[i + 1..], &["::"]) => {
                let here: Vec<String> =
                    module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
                i = tree(tokens, i, Vec::new(), &mut |path, line, is_macro| {
                    out.push(Found { path: absolute(&path, &here), line, is_macro });
                });
                continue;
            }
            _ => {}
        }
        i += 1;
    }
    out
}

/// Follows a path, and each branch where it forks; answers the token after it.
fn tree(
    tokens: &[Token],
    start: usize,
    mut path: Vec<String>,
    found: &mut impl FnMut(Vec<String>, usize, bool),
) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let mut i = start;
    loop {
        match text(i) {
            "{" => {
                i += 1;
                while !matches!(text(i), "}" | "") {
                    let next = tree(tokens, i, path.clone(), found);
                    // At least a step, whatever stands there.
                    i = next.max(i + 1);
                    while !matches!(text(i), "," | "}" | "") {
                        i += 1;
                    }
                    if text(i) == "," {
                        i += 1;
                    }
                }
                return i + 1;
            }
            name if name == "*" || name.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push(name.into());
                if text(i + 1) == "::" && !matches!(text(i + 2), "<" | "") {
                    i += 2;
                    continue;
                }
                found(path, tokens[i].line, text(i + 1) == "!");
                return i + 1;
            }
            _ => return i,
        }
    }
}

/// A path from the root of the crate, out of one that starts at `crate`, `self` or `super` in module `here`.
fn absolute(path: &[String], here: &[String]) -> Vec<String> {
    let mut base: Vec<String> = here.to_vec();
    let mut names = path.iter().peekable();
    while let Some(head) = names.next_if(|name| matches!(name.as_str(), "crate" | "self" | "super")) {
        match head.as_str() {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            // `use super::{self}` and `use a::{self}` name the module itself.
            _ => {}
        }
    }
    base.extend(names.filter(|name| *name != "self").cloned());
    base
}

/// What `lib.rs` re-exports: each name with the module it comes from.
fn re_exports(lib: &str) -> BTreeMap<String, String> {
    let code = Code::of(lib);
    let tokens = tokens(&code.text);
    let mut out = BTreeMap::new();
    for i in 0..tokens.len() {
        if tokens[i].text != "use" {
            continue;
        }
        tree(&tokens, i + 1, Vec::new(), &mut |path, line, _| {
            if let (Some(module), Some(name)) = (path.iter().find(|name| *name != "crate"), path.last()) {
                // `a::B as C` is known as C.
                let at = tokens[i..].iter().position(|token| token.line == line && token.text == *name);
                let renamed =
                    at.filter(|at| starts_with(&tokens[i + at + 1..], &["as"])).map(|at| &tokens[i + at + 2].text);
                out.insert(renamed.unwrap_or(name).clone(), module.clone());
            }
        });
    }
    // A module written in lib.rs gathers others: it counts as the highest of them.
    for i in 0..tokens.len() {
        if tokens[i].text != "mod" || !starts_with(&tokens[(i + 2).min(tokens.len())..], &["{"]) {
            continue;
        }
        let name = &tokens[i + 1].text;
        let body = &tokens[i + 2..];
        let mut depth = 0;
        let closed = |token: &Token| {
            depth += i32::from(token.text == "{") - i32::from(token.text == "}");
            depth == 0
        };
        let end = body.iter().position(closed).unwrap_or(body.len());
        let gathered = paths(&body[..end], std::slice::from_ref(name));
        let highest = gathered.iter().filter_map(|found| found.path.first()).max_by_key(|module| layer(module));
        if let Some(highest) = highest {
            out.insert(name.clone(), highest.clone());
        }
    }
    out
}

/// `proto/http/mod.rs` -> proto, http; `error.rs` -> error.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs");
    path.split('/').filter(|part| *part != "mod").map(String::from).collect()
}

fn top_module(file: &str) -> String {
    module_of(file).into_iter().next().unwrap_or_default()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// Every file below `src`, with its path from there.
fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of src") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).expect("a source file");
                out.insert(path.strip_prefix(&root).expect("below src").to_path_buf(), source);
            }
        }
    }
    out
}

/// L0 to L5: a module imports its own layer and those before it.
const LAYERS: [&[&str]; 6] = [
    &["error", "id", "event", "buf", "time", "trace", "options"],
    &["proto"],
    &["net", "reactor", "sim"],
    &["manager"],
    &["aio", "broker", "store", "outbox", "link", "observe", "files"],
    &["wont_compile", "book", "app", "bin", "world"],
];

/// The layer whose modules import each other through their fronts only.
const SIDEWAYS: usize = 4;

/// Who may import upwards: the events carry the protocols' own types.
const EXCEPTIONS: &[(&str, &str)] = &[("event", "proto")];

/// Names that the code of a folder may not use: (files, except, names, why).
type Forbidden = (&'static str, &'static [&'static str], &'static [&'static [&'static str]], &'static str);
const FORBIDDEN: &[Forbidden] = &[
    ("proto/", &[], IO, "a protocol does no I/O and is told the time"),
    ("broker/", &["broker/serve.rs"], IO, "the broker does no I/O and is told the time"),
    ("broker/", &["broker/serve.rs"], &[&["Ctx"]], "only serve.rs sees the loop"),
];

const IO: &[&[&str]] = &[
    &["mio"],
    &["socket2"],
    &["TcpStream"],
    &["TcpListener"],
    &["UdpSocket"],
    &["UnixStream"],
    &["UnixListener"],
    &["UnixDatagram"],
    &["Instant", "::", "now"],
    &["SystemTime", "::", "now"],
    &[".", "elapsed"],
];

const LINES_MAX: usize = 800;

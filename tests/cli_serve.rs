//! The program as a client sees it: what a configuration makes it serve, and what it writes down.
#![cfg(all(feature = "app", unix))]

#[path = "common/program.rs"]
mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use program::{PATIENCE, Program, talk};

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

#[test]
fn folders_redirects_and_pages() {
    let config = "\
[http]
api = 'off'
listen = 'http://127.0.0.1:0'
[[http.static]]
root = 'www'
index = ['home.html', 'index.html']
not_found = 'errors/404.html'
[[http.static]]
prefix = '/docs/api/'
root = 'api'
headers = { Cache-Control = 'max-age=60' }
types = { dat = 'application/x-dat' }
[[http.redirect]]
from = '/old/*'
to = '/docs/api/*'
status = 308
[[http.redirect]]
from = '/www'
to = 'https://example.org/?a=b'
";
    let files = [
        ("www/index.html", "the index"),
        ("www/sub/home.html", "the home"),
        ("www/errors/404.html", "not here"),
        ("www/docs/a.txt", "a"),
        ("api/b.txt", "b"),
        ("api/c.dat", "c"),
        ("api/sub/index.html", "sub"),
    ];
    let program = Program::start("pages", 1, config, &files);
    // (target, status, a part of the answer)
    let table: &[(&str, u16, &str)] = &[
        ("/", 200, "the index"),
        ("/sub/", 200, "the home"),
        ("/sub?x=1", 301, "Location: /sub/?x=1\r\n"),
        ("/docs/a.txt", 200, "a"),
        ("/nothing", 404, "not here"),
        ("/docs/api/b.txt", 200, "Cache-Control: max-age=60\r\n"),
        ("/docs/api/c.dat", 200, "Content-Type: application/x-dat\r\n"),
        ("/docs/api/sub", 301, "Location: /docs/api/sub/\r\n"),
        ("/docs/api", 301, "Location: /docs/api/\r\n"),
        ("/docs/api/nothing", 404, "Not found."),
        ("/docs/api/../../own.toml", 404, ""),
        ("/docs/api/%2e%2e/%2e%2e/own.toml", 404, ""),
        ("/old/b.txt?q", 308, "Location: /docs/api/b.txt?q\r\n"),
        ("/old//evil.example/", 308, "Location: /docs/api/evil.example/\r\n"),
        ("/www?c", 302, "Location: https://example.org/?a=b&c\r\n"),
        ("/healthz", 200, "{\"status\":\"ok\"}"),
        ("/api/v1/status", 404, r#"{"error":"Nothing is here."}"#),
        ("/api/v1/connections", 404, r#"{"error":"Nothing is here."}"#),
    ];
    for (target, expected, part) in table {
        let answer = program.get(0, target);
        assert_eq!(status(&answer), *expected, "{target}: {answer}");
        assert!(answer.contains(part), "{target}: {answer}");
    }
    program.stop();
}

#[test]
fn every_request_is_logged_the_refused_ones_too() {
    let config = "\
http.listen = [{ url = 'http://127.0.0.1:0' }, { url = 'http://127.0.0.1:0', access = 'off' }]
http.limits = { body_max = 4, head_max = '1 KiB', head_timeout = '50ms' }
log = { access = 'combined', access_to = 'access.log' }
";
    let program = Program::start("log", 2, config, &[]);
    let post = |length| format!("POST /x HTTP/1.1\r\nHost: a\r\nUser-Agent: me\r\nContent-Length: {length}\r\n\r\n");
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(2000));
    // (name, request, status, the part of the line behind the time)
    let table: &[(&str, &str, u16, &str)] = &[
        (
            "served",
            "GET /healthz HTTP/1.0\r\nReferer: http://r/\r\n\r\n",
            200,
            "\"GET /healthz HTTP/1.0\" 200 15 \"http://r/\" \"-\" ",
        ),
        ("no request", "nonsense\r\n\r\n", 400, "\"-\" 400 - \"-\" \"-\" "),
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400, "\"-\" 400 - \"-\" \"-\" "),
        ("a long head", &long, 431, "\"-\" 431 - \"-\" \"-\" "),
        ("a large body", &post(5), 413, "\"POST /x HTTP/1.1\" 413 - \"-\" \"me\" "),
        ("a slow head", "GET / HTTP/1.1\r\nHost:", 408, "\"-\" 408 - \"-\" \"-\" "),
    ];
    for (index, (name, request, expected, part)) in table.iter().enumerate() {
        assert_eq!(status(&program.send(1, request)), *expected, "{name}, unlogged");
        assert_eq!(status(&program.send(0, request)), *expected, "{name}");
        let text = program.read("access.log", index + 1);
        let line = text.lines().nth(index).unwrap_or_default();
        assert!(line.starts_with("127.0.0.1 - - [") && line.contains(&format!("] {part}0.")), "{name}: {line}");
    }
    program.stop();
}

#[test]
fn work_that_holds_up_all_others_is_named_and_counted() {
    let listing = "[[http.static]]\nroot = 'files'\nlisting = true\n";
    let config = format!("http.listen = 'http://127.0.0.1:0'\nlog.access = 'off'\nlog.stall_after = '1ms'\n{listing}");
    let mut program = Program::start("stall", 1, &config, &[("files/0", "")]);
    // Listing so many takes far longer.
    for n in 1..3000 {
        fs::write(program.folder.join(format!("files/{n}")), "").expect("a file");
    }
    let end = Instant::now() + PATIENCE;
    let stalls = |status: &str| {
        let (_, rest) = status.split_once("\"stalls_total\":").expect("a counter");
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse::<u64>().expect("a number")
    };
    let ask = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (mut read, mut line) = (0, String::new());
    // A busy machine may run its thread too late to see a stall, and others may seem slow as well: each that is counted is told.
    while !line.contains("(listener http://127.0.0.1:0) in Http") {
        if read < stalls(&program.send(0, ask)) {
            line = program.line();
            assert!(line.starts_with("vansire: the loop is held up "), "{line}");
            read += 1;
        } else {
            assert!(Instant::now() < end, "nobody saw it");
            assert_eq!(status(&program.get(0, "/")), 200);
        }
    }
    assert!(line.contains("by the handler of connection "), "{line}");
}

#[test]
fn the_access_log_moves_on_after_sighup() {
    let config = "http.listen = 'http://127.0.0.1:0'\nlog = { access = 'json', access_to = 'access.log' }\n";
    let mut program = Program::start("hup", 1, config, &[]);
    program.get(0, "/healthz?1");
    program.read("access.log", 1);
    let mode = fs::metadata(program.folder.join("access.log")).expect("the log").permissions().mode();
    assert_eq!(mode & 0o007, 0, "anybody may read who asked for what: {mode:o}");
    fs::rename(program.folder.join("access.log"), program.folder.join("access.log.1")).expect("it moves");
    program.signal("HUP");
    assert!(program.line().ends_with("/access.log is opened anew\n"));
    program.get(0, "/healthz?2");
    let text = program.read("access.log", 1);
    assert!(text.contains("\"target\":\"/healthz?2\""), "{text}");
    assert!(program.read("access.log.1", 1).contains("\"target\":\"/healthz?1\""));
    program.stop();
}

#[test]
fn sighup_ends_nothing_and_says_what_it_did() {
    let quiet = "http.listen = 'http://127.0.0.1:0'\nmqtt.listen = 'off'\nlog.access = 'off'\n";
    // (name, listeners, configuration, what is said)
    let table: &[(&str, usize, &str, &[&str])] = &[
        ("hup-none", 1, quiet, &["SIGHUP: there is nothing to read again: "]),
        ("hup-sntp", 1, "http.listen = 'off'\nmqtt.listen = 'off'\ntime.serve = 'sntp://127.0.0.1:0'\n", &["SIGHUP: "]),
        ("hup-users", 2, &format!("{MQTT}mqtt.password_file = 'users'\n"), &["mqtt: users and rules are read again"]),
        (
            "hup-both",
            2,
            &format!("{MQTT}mqtt.password_file = 'users'\nlog.access_to = 'a.log'\n"),
            &["the access log ", "mqtt: users and rules are read again"],
        ),
    ];
    for (name, listeners, config, expected) in table {
        let mut program = Program::start(name, *listeners, config, &[("users", "")]);
        // Not once only.
        for _ in 0..2 {
            program.signal("HUP");
            for part in *expected {
                let line = program.line();
                assert!(line.starts_with(&format!("vansire: {part}")), "{name}: {line}");
            }
        }
        program.stop();
    }
}

/// Linux has a disk that is always full.
#[cfg(target_os = "linux")]
#[test]
fn lines_that_a_full_disk_does_not_take_are_counted_and_told_twice() {
    let config = "http.listen = 'http://127.0.0.1:0'\nlog.access_to = 'access.log'\n";
    let mut program = Program::start("full", 1, config, &[]);
    let log = program.folder.join("access.log");
    fs::remove_file(&log).expect("it goes");
    std::os::unix::fs::symlink("/dev/full", &log).expect("a link");
    program.signal("HUP");
    assert!(program.line().ends_with("/access.log is opened anew\n"));
    let start = Instant::now();
    let ask = "GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut asked = 0;
    // The log's thread may be a line behind.
    while program.send(0, ask).contains("\"log_lines_dropped_total\":0,") || asked < 3 {
        asked += 1;
        assert!(start.elapsed() < PATIENCE, "nothing is counted");
    }
    let line = program.line();
    assert!(line.starts_with("vansire: lines of the access log are lost: No space left on device"), "{line}");
    fs::remove_file(&log).expect("it goes");
    program.signal("HUP");
    // Once it was told, however many were lost.
    assert!(program.line().ends_with("/access.log is opened anew\n"));
    program.get(0, "/healthz");
    let line = program.line();
    let lost = asked + 1;
    assert_eq!(line, format!("vansire: the access log is written again; lost meanwhile: {lost} lines\n"));
    program.stop();
}

#[test]
fn a_unix_socket_has_its_mode_and_the_default_log_goes_to_stdout() {
    let path = std::env::temp_dir().join(format!("vansire-serve-{}.sock", std::process::id()));
    let shown = path.display();
    let config = format!("[[http.listen]]\nurl = 'http+unix:{shown}'\nmode = '0600'\n");
    let program = Program::start("unix", 1, &config, &[]);
    assert_eq!(program.urls, [format!("http+unix:{shown}")]);
    assert_eq!(fs::metadata(&path).expect("the socket").permissions().mode() & 0o777, 0o600);
    let request = "GET /api/v1/status HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = talk(UnixStream::connect(&path).expect("it listens"), request);
    assert!(status(&answer) == 200 && answer.contains("\"connections\":1,"), "{answer}");
    let out = program.stop();
    assert!(out.starts_with("unix: - - [") && out.contains("] \"GET /api/v1/status HTTP/1.1\" 200 "), "{out}");
    assert!(!path.exists());
}

#[test]
fn a_busy_port_is_a_failure_and_no_mistake_of_the_configuration() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", taken.local_addr().expect("its address"));
    let mqtt = url.replace("http", "mqtt");
    for (arguments, expected) in [
        (vec!["check", "--http", &url], 0),
        (vec!["--mqtt", "off", "--http", &url], 1),
        (vec!["--http", "http://127.0.0.1:0", "--mqtt", &mqtt], 1),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_vansire"))
            .args(&arguments)
            .env_clear()
            .env("VANSIRE_CONFIG", "/dev/null")
            .output()
            .expect("the program runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{stderr}");
        let way_out = stderr.contains("another program listens there; stop it or choose another port");
        assert!(expected == 0 || stderr.contains(arguments[3]) && way_out, "{stderr}");
    }
}

const MQTT: &str = "http.listen = 'http://127.0.0.1:0'\nmqtt.listen = 'mqtt://127.0.0.1:0'\n";

/// A packet of MQTT from its first byte and the rest behind its length.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let rest = parts.concat();
    [&[first, u8::try_from(rest.len()).expect("a short packet")][..], &rest].concat()
}

/// The next packet, which is a short one; none at the end.
fn next_packet(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    let mut rest = vec![0; head[1].into()];
    stream.read_exact(&mut rest).ok()?;
    Some([&head[..], &rest].concat())
}

/// A client of 3.1.1 that has been let in; its identifier has two letters.
fn client(program: &Program, id: &[u8; 2]) -> TcpStream {
    let mut stream = program.tcp(1);
    stream.write_all(&packet(0x10, &[b"\0\x04MQTT\x04\0\0\x3c\0\x02", id])).expect("CONNECT");
    assert_eq!(next_packet(&mut stream).expect("CONNACK"), b"\x20\x02\0\0");
    stream
}

impl Program {
    /// A call from this machine; its status and its body.
    fn call(&self, method: &str, target: &str, fields: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let answer = self.send(
            0,
            &format!(
                "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\
                 Content-Length: {length}\r\n\r\n{body}"
            ),
        );
        (status(&answer), answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default())
    }
}

#[test]
fn mqtt_clients_are_served_shown_and_sent_away() {
    let program = Program::start("mqtt", 2, MQTT, &[]);
    let mut subscriber = client(&program, b"s1");
    subscriber.write_all(b"\x82\x08\0\x01\0\x03a/#\x01").expect("SUBSCRIBE");
    assert_eq!(next_packet(&mut subscriber).expect("SUBACK"), b"\x90\x03\0\x01\x01");
    let _other = client(&program, b"s2");

    // (name, method, target, body, status, a part of the answer)
    let table: &[(&str, &str, &str, &str, u16, &str)] = &[
        ("text", "POST", "publish", r#"{"topic":"a/b","payload":"hi","qos":1}"#, 200, r#"{"receivers":1}"#),
        ("bytes", "POST", "publish", r#"{"topic":"a/c","payload_base64":"/w==","retain":true}"#, 200, ":1}"),
        ("nobody", "POST", "publish", r#"{"topic":"x"}"#, 200, r#"{"receivers":0}"#),
        ("no topic", "POST", "publish", r#"{"payload":"hi"}"#, 400, "missing field `topic`"),
        ("a filter", "POST", "publish", r#"{"topic":"a/#"}"#, 400, "cannot be read"),
        ("QoS 3", "POST", "publish", r#"{"topic":"a","qos":3}"#, 400, "none of 0, 1, 2"),
        ("both", "POST", "publish", r#"{"topic":"a","payload":"","payload_base64":""}"#, 400, "one too many"),
        ("no base64", "POST", "publish", r#"{"topic":"a","payload_base64":"/w"}"#, 400, "not base64"),
        ("a slip", "POST", "publish", r#"{"topic":"a","qso":1}"#, 400, "unknown field `qso`"),
        ("no JSON", "POST", "publish", "topic=a", 400, "cannot be read"),
        ("a read of a write", "GET", "publish", "", 405, "Only POST."),
        ("a write of a read", "POST", "clients", "", 405, "Only GET, HEAD, DELETE."),
        ("a page", "GET", "clients?limit=1", "", 200, r#""next":"/api/v1/clients?limit=1&after=s1"}"#),
        ("the next", "GET", "clients?limit=2&after=s1", "", 200, r#"{"items":[{"id":"s2","#),
        ("one", "GET", "clients?id=s1", "", 200, r#""connected":true,"remote":"127.0.0.1:"#),
        ("none", "GET", "clients?id=s3", "", 404, ""),
        ("no limit", "GET", "clients?limit=0", "", 400, "from 1 to 1000"),
        (
            "subscriptions",
            "GET",
            "subscriptions",
            "",
            200,
            r#"{"items":[{"client":"s1","filter":"a/#","qos":1}],"next":null}"#,
        ),
        ("behind", "GET", "subscriptions?after=s1&after_filter=a/%23", "", 200, r#"{"items":[],"next":null}"#),
        (
            "retained",
            "GET",
            "retained?filter=a/%2B",
            "",
            200,
            r#"{"items":[{"topic":"a/c","qos":0,"payload_bytes":1,"payload_base64":"/w=="}],"next":null}"#,
        ),
        ("one topic", "GET", "retained?topic=a/c", "", 200, r#"{"topic":"a/c","qos":0,"#),
        ("no topic", "GET", "retained?topic=%23", "", 404, ""),
        ("no filter", "GET", "retained?filter=a%23", "", 400, "The filter cannot be used: a wildcard"),
        ("cleared", "DELETE", "retained?topic=a/c", "", 204, ""),
        ("again", "DELETE", "retained?topic=a/c", "", 404, "no retained message"),
        ("which", "DELETE", "retained", "", 400, "?topic="),
        ("kicked", "DELETE", "clients?id=s1", "", 204, ""),
        ("a stranger", "DELETE", "clients?id=s3", "", 404, "No client"),
        ("status", "GET", "status", "", 200, r#""mqtt":{"clients":1,"clients_max":2,"#),
        ("the clock", "GET", "time", "", 200, r#""synchronised":false,"#),
        ("nothing", "GET", "other", "", 404, "Nothing is here."),
    ];
    for (name, method, target, body, expected, part) in table {
        let (status, answer) = program.call(method, &format!("/api/v1/{target}"), "", body);
        assert_eq!(status, *expected, "{name}: {answer}");
        assert!(answer.contains(part), "{name}: {answer}");
    }
    assert_eq!(next_packet(&mut subscriber).expect("PUBLISH"), b"\x32\x09\0\x03a/b\0\x01hi");
    assert_eq!(next_packet(&mut subscriber).expect("PUBLISH"), b"\x30\x06\0\x03a/c\xff");
    assert_eq!(next_packet(&mut subscriber), None);
    program.stop();
}

#[test]
fn a_session_whose_client_is_away_can_be_ended() {
    let program = Program::start("session", 2, MQTT, &[]);
    let mut watcher = client(&program, b"w1");
    watcher.write_all(b"\x82\x06\0\x01\0\x01w\x01").expect("SUBSCRIBE");
    assert_eq!(next_packet(&mut watcher).expect("SUBACK"), b"\x90\x03\0\x01\x01");
    // MQTT 5, a session of an hour, a will that waits as long; then a subscription, and it is gone without a word.
    let url = program.urls[1].strip_prefix("mqtt://").expect("a URL");
    let mut stream = TcpStream::connect(url).expect("a connection");
    let connect = b"\x10\x26\0\x04MQTT\x05\x06\0\0\x05\x11\0\0\x0e\x10\0\x04away\x05\x18\0\0\x0e\x10\0\x01w\0\x05gone!";
    stream.write_all(connect).expect("CONNECT");
    assert_eq!(next_packet(&mut stream).expect("CONNACK")[0], 0x20);
    stream.write_all(b"\x82\x07\0\x01\0\0\x01t\x01").expect("SUBSCRIBE");
    assert_eq!(next_packet(&mut stream).expect("SUBACK")[0], 0x90);
    drop(stream);
    let call = |method, target: &str| program.call(method, &format!("/api/v1/{target}"), "", "");
    assert!(
        (0..1000).any(|_| call("GET", "clients?id=away").1.contains(r#""connected":false"#)),
        "it is seen to be gone"
    );
    assert_eq!(call("DELETE", "clients?id=away").0, 204);
    // Which is its end: the will comes at once, and nothing is left.
    assert_eq!(next_packet(&mut watcher).expect("PUBLISH"), b"\x30\x08\0\x01wgone!");
    assert_eq!(call("GET", "clients?id=away").0, 404);
    assert_eq!(call("GET", "subscriptions?client=away").1, r#"{"items":[],"next":null}"#);
    let (status, answer) = call("DELETE", "clients?id=away");
    assert_eq!((status, answer.as_str()), (404, r#"{"error":"No client of this id has a session."}"#));
    program.stop();
}

#[test]
fn a_message_is_an_object_and_its_mistakes_are_told_without_types() {
    let program = Program::start("object", 2, MQTT, &[]);
    let table = [
        ("[]", "it is not a JSON object"),
        (r#"["a","b",null,0,false]"#, "it is not a JSON object"),
        (" \n[]", "it is not a JSON object"),
        ("", "it is not a JSON object"),
        ("7", "it is not a JSON object"),
        (r#"{"topic":"a","qos":"1"}"#, "expected a JSON number"),
        (r#"{"topic":"a","qos":1.5}"#, "qos is none of 0, 1, 2"),
        (r#"{"topic":"a","qos":256}"#, "qos is none of 0, 1, 2"),
        (r#"{"topic":"a","qos":-1}"#, "qos is none of 0, 1, 2"),
        (r#"{"topic":["a"]}"#, "expected a string"),
        (r#"{"topic":"a"} x"#, "trailing characters"),
    ];
    for (body, expected) in table {
        let (status, answer) = program.call("POST", "/api/v1/publish", "", body);
        assert_eq!(status, 400, "{body}: {answer}");
        assert!(answer.contains("The message cannot be read: ") && answer.contains(expected), "{body}: {answer}");
        assert!(!answer.contains("struct") && !answer.contains("u8"), "{body}: {answer}");
    }
    let (status, answer) = program.call("POST", "/api/v1/publish", "", " \r\n{\"topic\":\"a\",\"qos\":2}\n");
    assert_eq!((status, answer.as_str()), (200, r#"{"receivers":0}"#));
    program.stop();
}

#[test]
fn what_came_through_a_proxy_is_not_from_this_machine() {
    let token = [("token", "a-token-of-many-letters\n")];
    let local = Program::start("proxy", 2, &format!("{MQTT}http.api_token_file = 'token'\n"), &token);
    let config = format!("{MQTT}http.api_token_file = 'token'\nhttp.api = 'all'\n");
    let all = Program::start("proxy-all", 2, &config, &token);
    let fields = [
        "Forwarded: for=192.0.2.1",
        "X-Forwarded-For: 127.0.0.1",
        "x-forwarded-host: localhost",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 127.0.0.1",
        "VIA: 1.1 a",
        "Via: ",
    ];
    // However a proxy passes it on, and on this machine as well.
    let asks_all = Program::start("proxy-token", 2, &config.replace("'all'", "'token'"), &token);
    for field in ["Via: 1.1 a\r\n", ""] {
        for (method, target) in [("GET", "status"), ("POST", "publish"), ("DELETE", "clients?id=x")] {
            let target = format!("/api/v1/{target}");
            for more in ["", "Authorization: Basic YTpi\r\n", "Authorization: Bearer a-token-of-many-lettert\r\n"] {
                let (status, why) = asks_all.call(method, &target, &format!("{field}{more}"), r#"{"topic":"a"}"#);
                assert!(status == 401 && why.contains("http.api_token_file"), "{field}{more}{method}: {status} {why}");
            }
            let more = format!("{field}Authorization: Bearer a-token-of-many-letters\r\n");
            let (status, _) = asks_all.call(method, &target, &more, r#"{"topic":"a"}"#);
            // There is no client `x`.
            assert_eq!(status, if method == "DELETE" { 404 } else { 200 }, "{more}{method}");
        }
    }
    asks_all.stop();
    for field in fields {
        let call = |program: &Program, method, target: &str, more: &str| {
            program.call(method, &format!("/api/v1/{target}"), &format!("{field}\r\n{more}"), r#"{"topic":"a"}"#)
        };
        for (method, target) in [("GET", "status"), ("POST", "publish"), ("DELETE", "clients?id=x")] {
            assert_eq!(call(&local, method, target, "").0, 404, "{field}: {method}");
        }
        assert_eq!(call(&all, "GET", "status", "").0, 200, "{field}");
        let (status, why) = call(&all, "POST", "publish", "");
        assert!(status == 403 && why.contains("came through a proxy"), "{field}: {why}");
        for program in [&local, &all] {
            let token = "Authorization: Bearer a-token-of-many-letters\r\n";
            assert_eq!(call(program, "POST", "publish", token).0, 200, "{field}");
        }
    }
    let (status, _) = local.call("POST", "/api/v1/publish", "X-Forwarder: a\r\nVia-Not: b\r\n", r#"{"topic":"a"}"#);
    assert_eq!(status, 200);
    local.stop();
    all.stop();
}

#[test]
fn errors_of_the_api_are_json() {
    let program = Program::start(
        "errors",
        2,
        &format!("{MQTT}http.api_token_file = 'token'\n"),
        &[("token", "a-token-of-many-letters\n")],
    );
    // (method, target, field, status, the error)
    let table: &[(&str, &str, &str, u16, &str)] = &[
        ("GET", "clients?limit=0", "", 400, "The limit is a number from 1 to 1000."),
        ("GET", "status", "Authorization: Bearer x", 401, "The token is not the one of http.api_token_file."),
        ("DELETE", "retained?topic=a", "Origin: null", 403, "The Origin `null` is another site."),
        ("GET", "retained?topic=a", "", 404, "This topic has no retained message."),
        ("PUT", "publish", "", 405, "Only POST."),
    ];
    for (method, target, field, expected, error) in table {
        let field = if field.is_empty() { String::new() } else { format!("{field}\r\n") };
        let head = format!("{method} /api/v1/{target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{field}\r\n");
        let answer = program.send(0, &head);
        assert_eq!(status(&answer), *expected, "{answer}");
        assert!(answer.contains("\r\nContent-Type: application/json"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{{\"error\":\"{error}\"}}")), "{answer}");
    }
    program.stop();
}

#[test]
fn a_query_with_a_name_that_is_unknown_is_refused() {
    let program = Program::start("query", 2, MQTT, &[]);
    // (method, target, what is told)
    let table = [
        ("GET", "clients?lmit=1", "The query has `lmit`, which is unknown here: it takes id, limit, after."),
        ("GET", "clients?limit=1&ID=s1", "The query has `ID`, which is unknown here: it takes id, limit, after."),
        ("GET", "clients?%6cmit=1", "The query has `lmit`, which is unknown here: it takes id, limit, after."),
        ("DELETE", "clients?name=s1", "The query has `name`, which is unknown here: it takes id."),
        ("GET", "connections?x", "The query has `x`, which is unknown here: it takes limit, after."),
        ("GET", "subscriptions?id=a", "which is unknown here: it takes client, limit, after, after_filter."),
        ("GET", "retained?topics=a", "which is unknown here: it takes topic, filter, limit, after."),
        ("DELETE", "retained?filter=a", "The query has `filter`, which is unknown here: it takes topic."),
        ("POST", "publish?retain=1", "The query has `retain`, which is unknown here: it takes nothing."),
        ("GET", "status?x=1", "The query has `x`, which is unknown here: it takes nothing."),
        ("GET", "time?x", "it takes nothing."),
        ("GET", "mdns?x", "it takes nothing."),
        ("GET", "clients?limit=1&%zz=1", "The query cannot be decoded"),
    ];
    for (method, target, expected) in table {
        let (status, answer) = program.call(method, &format!("/api/v1/{target}"), "", r#"{"topic":"a"}"#);
        assert_eq!(status, 400, "{target}: {answer}");
        assert!(answer.contains(expected), "{target}: {answer}");
    }
    assert_eq!(program.call("GET", "/api/v1/status?", "", "").0, 200);
    assert_eq!(program.call("GET", "/api/v1/status?&", "", "").0, 200);
    program.stop();
}

#[test]
fn connections_come_in_pages() {
    let program = Program::start("connections", 2, MQTT, &[]);
    let clients = [client(&program, b"c1"), client(&program, b"c2"), client(&program, b"c3")];
    let (mut target, mut pages, mut ids) = ("/api/v1/connections?limit=2".to_string(), 0, Vec::new());
    loop {
        let (status, page) = program.call("GET", &target, "", "");
        assert_eq!(status, 200, "{page}");
        let found: Vec<_> =
            page.split("{\"id\":\"").skip(1).map(|item| item.split('"').next().unwrap().to_string()).collect();
        assert!(page.starts_with("{\"items\":[") && found.len() <= 2, "{page}");
        ids.extend(found);
        pages += 1;
        let (_, next) = page.rsplit_once("\"next\":").expect("the next call");
        match next.trim_end_matches('}') {
            "null" => break,
            next => target = next.trim_matches('"').to_string(),
        }
        assert!(pages < 9, "{target}");
    }
    // Two listeners, three clients, and the caller; one that has left may still be there.
    assert!(pages >= 3, "{ids:?}");
    let (_, whole) = program.call("GET", "/api/v1/connections", "", "");
    assert!(whole.ends_with(",\"next\":null}"), "{whole}");
    let all = whole.matches("{\"id\":\"").count();
    assert!(all >= 6, "{whole}");
    let lasting = ids.iter().filter(|id| whole.contains(&format!("{{\"id\":\"{id}\""))).count();
    assert!(lasting >= 5, "{ids:?}, {whole}");
    for bad in ["after=x", "after=1", "after=1.0", "after=1.1.1", "after=", "limit=0", "limit=1001"] {
        let (status, answer) = program.call("GET", &format!("/api/v1/connections?{bad}"), "", "");
        assert_eq!(status, 400, "{bad}: {answer}");
    }
    drop(clients);
    program.stop();
}

#[test]
fn what_ends_with_the_program_is_told_at_its_end() {
    let program = Program::start("memory", 2, MQTT, &[]);
    program.get(0, "/healthz");
    assert_eq!(program.stop_and_tell().1, ["vansire: stopped: 1 HTTP request, 1 connection"]);

    let program = Program::start("memory", 2, MQTT, &[]);
    // A session that stays, of 3.1.1.
    let mut stream = program.tcp(1);
    stream.write_all(&packet(0x10, &[b"\0\x04MQTT\x04\0\0\x3c\0\x02s1"])).expect("CONNECT");
    assert_eq!(next_packet(&mut stream).expect("CONNACK"), b"\x20\x02\0\0");
    stream.write_all(b"\x82\x06\0\x01\0\x01a\x01").expect("SUBSCRIBE");
    assert_eq!(next_packet(&mut stream).expect("SUBACK"), b"\x90\x03\0\x01\x01");
    // What is not acknowledged is held as well.
    for retain in [true, false] {
        let body = format!(r#"{{"topic":"a","payload":"x","qos":1,"retain":{retain}}}"#);
        assert_eq!(program.call("POST", "/api/v1/publish", "", &body).0, 200);
    }
    let told = program.stop_and_tell().1;
    let expected = [
        "vansire: in memory, and gone with it: 1 session with 2 queued messages, 1 retained message",
        "vansire: stopped: 2 HTTP requests, 3 connections",
    ];
    // Before them, the client that was sent away.
    assert_eq!(told[told.len() - 2..], expected);
}

#[test]
fn who_reads_that_it_listens_may_stop_it_at_once() {
    for _ in 0..10 {
        let program = Program::start("at-once", 2, MQTT, &[]);
        assert_eq!(program.stop_and_tell().1, ["vansire: stopped: 0 HTTP requests, 0 connections"]);
    }
}

#[test]
fn who_is_cut_off_at_the_end_is_counted() {
    let config = "shutdown_timeout = '200ms'\nhttp.listen = 'http://127.0.0.1:0'\n\
                  mqtt.listen = 'off'\nhttp.static = 'files'\n";
    // More than the system takes for a client that does not read.
    let program = Program::start("slow", 1, config, &[("files/large", &"x".repeat(32 << 20))]);
    let mut slow = program.tcp(0);
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
    slow.read_exact(&mut [0; 9]).expect("the answer begins");
    let told = program.stop_and_tell().1;
    assert_eq!(told, ["vansire: stopped: 1 HTTP request, 1 connection; 1 connection cut off before the end"]);
}

#[test]
fn changes_are_for_this_machine_and_no_page_of_another_site() {
    let config = format!("{MQTT}http.api_token_file = 'token'\n");
    let program = Program::start("guard", 2, &config, &[("token", "a-token-of-many-letters\n")]);
    let port = program.urls[0].rsplit_once(':').expect("a port").1.to_string();
    let own = format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n");
    let site = "The Origin `http://example.org` is another site.";
    let name = "The Host `example.org` is not this machine: ";
    // (name, fields, status of a change, status of a read, why the change is refused)
    let table: &[(&str, &str, u16, u16, &str)] = &[
        ("curl", "Host: 127.0.0.1\r\n", 200, 200, ""),
        ("a page of our own", &own, 200, 200, ""),
        ("another site", "Host: localhost\r\nOrigin: http://example.org\r\n", 403, 200, site),
        (
            "another port",
            "Host: localhost\r\nOrigin: http://localhost:3000\r\n",
            403,
            200,
            "The Origin `http://localhost:3000` is another site.",
        ),
        ("a page of nobody", "Host: localhost\r\nOrigin: null\r\n", 403, 200, "The Origin `null` is"),
        ("DNS rebinding", "Host: example.org\r\nOrigin: http://example.org\r\n", 403, 403, name),
        ("a token", "Host: example.org\r\nAuthorization: Bearer a-token-of-many-letters\r\n", 200, 200, ""),
        ("another token", "Host: localhost\r\nAuthorization: Bearer a-token-of-many-lettert\r\n", 401, 401, ""),
        ("a password", "Host: localhost\r\nAuthorization: Basic YTpi\r\n", 200, 200, ""),
    ];
    let body = r#"{"topic":"a"}"#;
    for (name, fields, change, read, why) in table {
        let length = body.len();
        let post = format!(
            "POST /api/v1/publish HTTP/1.1\r\n{fields}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = program.send(0, &post);
        assert_eq!(status(&answer), *change, "{name}: {answer}");
        assert!(answer.contains(why), "{name}: {answer}");
        let get = format!("GET /api/v1/retained HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        let answer = program.send(0, &get);
        assert_eq!(status(&answer), *read, "{name}: {answer}");
    }
    // What the broker says of itself is its own.
    let body = r#"{"topic":"$SYS/broker/version","payload":"9","retain":true}"#;
    let length = body.len();
    let post = format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    assert_eq!(status(&program.send(0, &post)), 403);
    program.stop();
}

#[test]
fn a_socket_has_its_mode_and_who_is_refused_is_told() {
    let path = std::env::temp_dir().join(format!("vansire-mqtt-{}.sock", std::process::id()));
    let config = format!(
        "http.listen = 'http://127.0.0.1:0'\nmqtt.listen = [{{ url = 'mqtt+unix:{}', mode = '0600' }}, \
         {{ url = 'mqtt://127.0.0.1:0' }}]\nmqtt.anonymous = 'all'\nlog.level = 'debug'\nmqtt.limits.packet_max = 128\n",
        path.display()
    );
    let mut program = Program::start("socket", 3, &config, &[]);
    assert!(program.urls[2].starts_with("mqtt://127.0.0.1:"), "{:?}", program.urls);
    assert_eq!(program.urls[1], format!("mqtt+unix:{}", path.display()));
    assert_eq!(fs::metadata(&path).expect("the socket").permissions().mode() & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.write_all(&packet(0x10, &[b"\0\x04MQTT\x04\x02\0\x3c\0\x02u\n"])).expect("CONNECT");
    let mut answer = Vec::new();
    stream.write_all(b"\x30\x81\x01").expect("a packet that is too long");
    stream.read_to_end(&mut answer).expect("the end");
    assert_eq!(answer, b"\x20\x02\0\0");
    let said: Vec<String> =
        std::iter::repeat_with(|| program.line()).filter(|line| line.contains("mqtt: ")).take(2).collect();
    assert_eq!(said[0], "vansire: mqtt: \"u\\n\" connected from a Unix socket, MQTT 3.1.1\n");
    assert!(said[1].contains("was disconnected: "), "{}", said[1]);
    program.stop();
}

#[test]
fn the_clock_is_kept_right_and_told() {
    use vansire::{Ctx, Event, Manager};
    let mut server = Manager::new(()).unwrap();
    let id = server.net().sntp_listen("sntp://127.0.0.1:0", |_: &mut Ctx<'_, ()>, _: Event<'_>| {}).unwrap();
    let addr = server.net().local_addr(id).unwrap();
    let waker = server.waker();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let config = format!(
                "http.listen = 'http://127.0.0.1:0'\nmqtt.listen = 'off'\n\
                 [time]\nservers = '{addr}'\ninterval = '1s'\nserve = 'sntp://127.0.0.1:0'\n"
            );
            let mut program = Program::start("clock", 2, &config, &[]);
            let line = program.line();
            assert!(line.starts_with(&format!("vansire: time: right by sntp://{addr}, offset ")), "{line}");
            let start = Instant::now();
            let told = loop {
                let (_, told) = program.call("GET", "/api/v1/time", "", "");
                if told.contains("\"synchronised\":true") || start.elapsed() > PATIENCE {
                    break told;
                }
                std::thread::yield_now();
            };
            let url = format!("\"servers\":[{{\"url\":\"sntp://{addr}\",\"agrees\":true,\"dropped\":false,");
            assert!(told.contains("\"stratum\":10,") && told.contains(&url), "{told}");
            let served = program.urls[1].trim_start_matches("sntp://");
            let asked = Command::new(env!("CARGO_BIN_EXE_vansire")).args(["time", served]).env_clear().output();
            let asked = asked.expect("the program runs");
            let line = String::from_utf8_lossy(&asked.stdout);
            // One more than the server that it follows.
            assert!(line.contains("stratum 11"), "{asked:?}");
            program.stop();
            waker.stop().unwrap();
        });
        while !server.poll(None).unwrap().stop {}
    });
}

#[test]
fn time_servers_that_do_not_serve_are_told_once() {
    use std::net::UdpSocket;
    let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let [denies, silent, other] = sockets.each_ref().map(|socket| socket.local_addr().expect("its address"));
    let config = format!(
        "http.listen = 'http://127.0.0.1:0'\nmqtt.listen = 'off'\ntime.servers = ['{denies}', '{silent}', '{other}']\n"
    );
    let mut program = Program::start("untimely", 1, &config, &[]);
    let mut question = [0; 48];
    sockets[0].set_read_timeout(Some(PATIENCE)).expect("a time");
    let (_, from) = sockets[0].recv_from(&mut question).expect("a question");
    // The kiss of death: RFC 4330 §8.
    let mut answer = [0; 48];
    answer[0] = 0xe4;
    answer[12..16].copy_from_slice(b"DENY");
    answer[24..32].copy_from_slice(&question[40..48]);
    sockets[0].send_to(&answer, from).expect("an answer");
    let line = program.line();
    assert!(line.starts_with(&format!("vansire: time: sntp://{denies} cannot be asked: ")), "{line}");
    assert!(line.ends_with("; it is not asked any more\n"), "{line}");
    for addr in [silent, other] {
        let line = program.line();
        assert!(line.starts_with(&format!("vansire: time: sntp://{addr} has not answered; ")), "{line}");
    }
    assert_eq!(program.stop_and_tell().1.len(), 1, "more was told");
}

#[test]
fn a_limit_that_bites_is_told_once_by_its_key() {
    let config = format!("{MQTT}mqtt.limits = {{ sessions_max = 1, retained_max = 1 }}\n");
    let mut program = Program::start("limits", 2, &config, &[]);
    let _first = client(&program, b"c1");
    for id in [b"c2", b"c3"] {
        let mut stream = program.tcp(1);
        stream.write_all(&packet(0x10, &[b"\0\x04MQTT\x04\0\0\x3c\0\x02", id])).expect("CONNECT");
        assert_eq!(next_packet(&mut stream).expect("CONNACK"), b"\x20\x02\0\x03");
    }
    for topic in ["a", "b", "c"] {
        let body = format!(r#"{{"topic":"{topic}","payload":"x","retain":true}}"#);
        assert_eq!(program.call("POST", "/api/v1/publish", "", &body).0, 200);
    }
    let line = program.line();
    assert!(line.starts_with("vansire: mqtt: \"c2\" was refused: there are mqtt.limits.sessions_max (1) "), "{line}");
    let line = program.line();
    assert!(
        line.starts_with("vansire: mqtt: the retained message of \"b\" is not kept: mqtt.limits.retained_max (1) "),
        "{line}"
    );
    let rest = program.stop_and_tell().1;
    assert!(!rest.iter().any(|line| line.contains("_max")), "{rest:?}");
}

#[test]
fn users_have_passwords_and_rules() {
    use vansire::broker::access::{Scheme, hash_password};
    // This one takes long to check: it comes from another thread.
    let users = format!("ann:{}\n", hash_password(b"secret", Scheme::Argon2id).expect("a hash"));
    let config = format!("{MQTT}mqtt.password_file = 'users'\nmqtt.acl_file = 'acl'\n");
    let mut program = Program::start("users", 2, &config, &[("users", &users), ("acl", "user ann\ntopic read a/#\n")]);
    let connect = |password: &[u8]| {
        let mut stream = program.tcp(1);
        let parts: [&[u8]; 2] = [b"\0\x04MQTT\x04\xc2\0\x3c\0\x02c1\0\x03ann\0\x06", password];
        stream.write_all(&packet(0x10, &parts)).expect("CONNECT");
        (next_packet(&mut stream).expect("CONNACK"), stream)
    };
    assert_eq!(connect(b"secreT").0[..3], *b"\x20\x02\0");
    assert_ne!(connect(b"secreT").0[3], 0);
    let (answer, mut stream) = connect(b"secret");
    assert_eq!(answer, b"\x20\x02\0\0");
    stream.write_all(b"\x32\x06\0\x01a\0\x01x").expect("PUBLISH");
    assert_eq!(next_packet(&mut stream).expect("PUBACK"), b"\x40\x02\0\x01");
    let denied = loop {
        let line = program.line();
        if line.contains("publish") {
            break line;
        }
    };
    assert!(denied.starts_with("vansire: mqtt: \"c1\" (user \"ann\") may not publish \"a\": "), "{denied}");
    program.stop();
}

/// On the loopback interface, so that no datagram leaves this machine.
#[test]
fn the_local_network_is_told_what_it_can_use() {
    use vansire::Manager;
    use vansire::mdns::{Browsed, Options};
    let own = format!("vansire test {}", std::process::id());
    let host = format!("vansire-test-{}", std::process::id());
    let config = format!(
        "http.listen = ['http://0.0.0.0:0', 'http://127.0.0.1:0']\nmqtt.listen = 'mqtt://0.0.0.0:0'\n\
         [mdns]\nannounce = true\nname = '{own}'\nhost = '{host}'\ninterfaces = '127.0.0.1'\n"
    );
    let mut program = Program::start("mdns", 3, &config, &[]);
    let port = program.urls[0].rsplit(':').next().unwrap().to_string();
    let line = program.line();
    assert_eq!(line, format!("vansire: announcing {own:?} (_http._tcp, port {port}) on the local network\n"));
    let options = Options::new().interface("127.0.0.1").ipv6(false);
    let mut manager = Manager::builder().mdns(options).build(Vec::new()).unwrap();
    for kind in ["_http._tcp", "_mqtt._tcp"] {
        manager.net().mdns_browse(kind, |cx, browsed| cx.state.push(browsed)).unwrap();
    }
    // Other programs of this machine may be there as well.
    let is_ours = |browsed: &Browsed| match browsed {
        Browsed::Found(found) => found.name == own,
        Browsed::Lost(name) => *name == own,
        _ => false,
    };
    let start = Instant::now();
    while !manager.state().iter().any(is_ours) {
        assert!(start.elapsed() < PATIENCE, "not found: {:?}", manager.state());
        manager.poll(Some(Duration::from_millis(50))).unwrap();
    }
    let found: Vec<Browsed> = std::mem::take(manager.state_mut()).into_iter().filter(is_ours).collect();
    let [Browsed::Found(found)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((found.port.to_string(), &found.host), (port, &format!("{host}.local")));
    assert_eq!(found.txt, [b"path=/"[..].into()]);
    let (_, told) = program.call("GET", "/api/v1/mdns", "", "");
    assert!(told.contains(&format!("\"host\":{host:?},\"services\":[{own:?}],\"settled\":true")), "{told}");
    let asked = Command::new(env!("CARGO_BIN_EXE_vansire")).args(["resolve", "--mdns", "example.org"]).output();
    let refused = String::from_utf8(asked.expect("the program runs").stderr).expect("UTF-8");
    assert!(refused.contains("only names below .local"), "{refused}");
    program.stop();
    // MQTT is not for others, and whoever ends says goodbye.
    while !manager.state().iter().any(is_ours) {
        assert!(start.elapsed() < PATIENCE, "not lost: {:?}", manager.state());
        manager.poll(Some(Duration::from_millis(50))).unwrap();
    }
    assert!(manager.state().iter().filter(|browsed| is_ours(browsed)).eq([&Browsed::Lost(own.clone())]));
}

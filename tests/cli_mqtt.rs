//! `vansire pub`, `sub` and `passwd` as a shell sees them, with `vansire` as their server.
#![cfg(all(feature = "app", unix))]

#[path = "common/program.rs"]
mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use program::{PATIENCE, Program};

/// The web is on any free port, and of no interest.
const CONFIG: &str = "http.listen = 'http://127.0.0.1:0'\n[mqtt]\nlisten = 'mqtt://127.0.0.1:0'\n";

fn server(name: &str) -> Program {
    Program::start(name, 2, CONFIG, &[])
}

fn port(program: &Program) -> String {
    program.urls.iter().find(|url| url.starts_with("mqtt:")).unwrap().rsplit(':').next().unwrap().to_owned()
}

/// The words of a command line; `'...'` is one, quotes and all spaces within left as they are.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    quoted
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(Into::into).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vansire"));
    command.args(words(line)).env_clear().current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn feed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().expect("the program runs");
    // Who does not read its input has closed it.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("its end")
}

fn run(folder: &Path, line: &str, input: &str) -> Output {
    feed(command(folder, line), input.as_bytes())
}

/// What it printed; it ended with this code.
fn printed(output: &Output, code: i32, line: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "vansire {line}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs it to its end; what it printed.
fn ended(folder: &Path, line: &str, code: i32) -> String {
    printed(&run(folder, line, ""), code, line)
}

/// A `vansire sub` that has its subscriptions. Killed when dropped.
struct Subscriber {
    child: Child,
    said: Receiver<String>,
    line: String,
}

impl Subscriber {
    fn start(folder: &Path, line: &str) -> Self {
        let line = format!("{line} -d");
        let mut child = command(folder, &line).spawn().expect("the program runs");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (tell, said) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let subscriber = Self { child, said, line };
        subscriber.hears("subscribed to");
        subscriber
    }

    /// Waits for a line on stderr with this in it.
    fn hears(&self, part: &str) {
        loop {
            let line = self.said.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("{}: {part}: {e}", self.line));
            if line.contains(part) {
                return;
            }
        }
    }

    /// Waits for its end; what it printed.
    fn end(mut self, code: i32) -> String {
        let mut out = Vec::new();
        self.child.stdout.take().expect("a pipe").read_to_end(&mut out).expect("stdout");
        let status = self.child.wait().expect("its end");
        assert_eq!(status.code(), Some(code), "{}", self.line);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vansire-cli-mqtt-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_wrong_with_a_command_line_is_told_and_ends_with_1() {
    let here = Folder::new("usage");
    // (command line, a part of what is said)
    for (line, part) in [
        ("pub", "-t: the topic is missing"),
        ("pub -t a", "the message is missing: -m TEXT, -f FILE, -l, -s or -n"),
        ("pub -t a/# -m x", "-t \"a/#\": "),
        ("pub -t a -m x -n", "cannot be used with"),
        ("pub -t a -m x -q 3", "it is 0, 1 or 2"),
        ("pub -t a -m x -p 99999", "--port <PORT>"),
        ("pub -t a -m x -V 6", "--protocol-version"),
        ("pub -t a -m x --nope", "--nope"),
        ("pub -t a -f missing", "-f: cannot read missing: "),
        ("pub -t a -s", "-s: stdin is empty; -n publishes an empty message"),
        ("pub -t a -l --repeat 3", "--repeat"),
        ("pub -t a -m x --repeat-delay 1e400", "it is a number of seconds"),
        ("pub -t a -m x -c", "-c: a session is kept under a name; give one with -i"),
        ("pub -t a -m x -V 5 -x -1", "-x: a session is kept for ever under a name only"),
        ("pub -t a -m x -i b -I c", "cannot be used with"),
        ("pub -t a -m x --will-payload y", "--will-topic"),
        ("pub -t a -m x --will-topic w/#", "--will-topic \"w/#\": "),
        ("pub -t a -m x -D will content-type y", "there is no will without --will-topic"),
        ("pub -t a -m x -D publish nope 3", "-D publish nope: the properties there are "),
        ("pub -t a -m x -D publish content-type", "3 values required by '--property"),
        ("pub -L mqtt://127.0.0.1:1 -m x", "-L: the topic is missing"),
        ("pub -L http://127.0.0.1:1/a -m x", "an MQTT client needs mqtt://"),
        ("pub -L mqtts://u:secret@127.0.0.1/a -m x", "TLS"),
        ("pub -L mqtt:u:secret@127.0.0.1/a -m x", "-L: "),
        ("pub -L mqtt://h/a -h b -m x", "cannot be used with"),
        ("pub -h mqtt://u:secret@b -t a -m x", "a URL is for -L"),
        ("pub -h a:b:c -t a -m x", "IPv6"),
        ("pub -t a -m x -P secret", "cannot connect"),
        ("pub -t a -m x -u b --pw-file missing", "--pw-file: cannot read missing: "),
        ("pub -t a -m x -u b --pw-file . -P secret", "cannot be used with"),
        ("pub -t a -m x --cafile ca.pem", "--cafile: this version has no TLS"),
        ("sub -t a --insecure", "--insecure: this version has no TLS"),
        ("sub -t a --psk 00", "--psk: this version has no TLS"),
        ("sub -t a --proxy socks5h://b", "--proxy: this version has no SOCKS proxy"),
        ("sub -t a -S", "-S: this version looks up no SRV records here"),
        ("sub", "-t: the filter to subscribe to is missing"),
        ("sub -t a#", "-t \"a#\": "),
        ("sub -t a -T b#", "-T \"b#\": "),
        ("sub -t a -U b#", "-U \"b#\": "),
        ("sub -t a -C 0", "-C"),
        ("sub -t a -C -1", "-C"),
        ("sub -t a -W 0", "-W"),
        ("sub -t a -R --retained-only", "cannot be used with"),
        ("sub -t a -F %", "a letter is missing after the last %"),
        ("sub -t a -F %k", "%k is not known"),
        ("sub -t a -D publish content-type x", "-D publish: this program says connect, subscribe"),
        ("-v sub -t a", "the flags of `pub`, `sub`, `passwd` and `sim` stand behind the command"),
        ("passwd", "<FILE>"),
        ("passwd f", "<USER>"),
        ("passwd -b f u", "<PASSWORD>"),
        ("passwd f u secret", "--batch"),
        ("passwd -c -D f u", "cannot be used with"),
        ("passwd -H nope f u", "argon2id, sha512-pbkdf2, sha512"),
        ("passwd f u", "cannot read f; -c makes a new file"),
    ] {
        let output = run(&here.0, line, "");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = if line.starts_with('-') { 2 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "vansire {line}: {stderr}");
        assert!(stderr.contains(part), "vansire {line}: {part:?} is not in {stderr}");
        assert!(output.stdout.is_empty() && !stderr.contains("secret"), "vansire {line}: {stderr}");
    }
    assert_eq!(fs::read_dir(&here.0).unwrap().count(), 0, "nothing is left behind");
    for line in ["pub --help", "sub --help", "passwd --help", "help sub"] {
        let out = ended(&here.0, line, 0);
        assert!(out.contains("Exit codes: 0 "), "vansire {line}: {out}");
    }
}

#[test]
fn every_way_to_give_a_message_gives_it() {
    let program = server("cli-ways");
    let (here, port) = (&program.folder, port(&program));
    fs::write(here.join("file"), b"\0bytes\n\xff").unwrap();
    // (what is published, stdin, what is printed)
    let long = "x".repeat(300_000);
    for (line, input, expected) in [
        ("-m hello", "", "t hello\n"),
        ("-m -n", "", "t -n\n"),
        ("-n", "", "t (null)\n"),
        ("-m ''", "", "t (null)\n"),
        ("-f file", "", "t \0bytes\n\u{fffd}\n"),
        ("-s", "a\nb", "t a\nb\n"),
        ("-l", "a\nb\r\n\nlast", "t a\nt b\r\nt (null)\nt last\n"),
        ("-l", &format!("{long}\n"), &format!("t {long}\n")),
        ("-m x --repeat 3", "", "t x\nt x\nt x\n"),
        ("-m x --repeat 2 --repeat-delay 0.05", "", "t x\nt x\n"),
    ] {
        for qos in 0..3 {
            let count = expected.matches("t ").count();
            let subscriber = Subscriber::start(here, &format!("sub -p {port} -t t -q {qos} -v -C {count}"));
            let line = format!("pub -p {port} -t t -q {qos} {line}");
            assert_eq!(printed(&run(here, &line, input), 0, &line), "");
            assert!(subscriber.end(0) == expected, "vansire {line}");
        }
    }
    // A line is published when it is there, and the end of the lines is seen when it comes.
    let subscriber = Subscriber::start(here, &format!("sub -p {port} -t t -C 2"));
    let line = format!("pub -p {port} -t t -q 1 -l -d");
    let mut child = command(here, &line).spawn().expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    for text in ["one", "two"] {
        writeln!(stdin, "{text}").expect("it reads");
        assert!(said.any(|line| line.ends_with("acknowledged")), "{text}");
    }
    drop(stdin);
    assert_eq!(child.wait().expect("its end").code(), Some(0));
    assert_eq!(subscriber.end(0), "one\ntwo\n");
    // Nothing to say is nothing wrong.
    assert_eq!(ended(here, &format!("pub -p {port} -t t -l"), 0), "");
}

#[test]
fn many_lines_arrive_in_their_order() {
    // On a busy machine all of them may wait for the subscriber, and none is to be dropped.
    let program = Program::start("cli-lines", 2, &format!("{CONFIG}limits.queue_messages_max = 5000\n"), &[]);
    let (here, port) = (&program.folder, port(&program));
    let lines: String = (0..5000).map(|n| format!("line {n}\n")).collect();
    for qos in 1..3 {
        let subscriber = Subscriber::start(here, &format!("sub -p {port} -t t -q {qos} -C 5000"));
        let line = format!("pub -p {port} -t t -q {qos} -l");
        printed(&run(here, &line, &lines), 0, &line);
        assert!(subscriber.end(0) == lines, "QoS {qos}");
    }
}

#[test]
fn every_version_speaks_with_every_other() {
    let program = server("cli-versions");
    let (here, port) = (&program.folder, port(&program));
    for theirs in ["mqttv31", "311", "MQTTV5"] {
        let subscriber = Subscriber::start(here, &format!("sub -p {port} -V {theirs} -t t -q 2 -C 3 -F '%p %q'"));
        for ours in ["31", "mqttv311", "5"] {
            ended(here, &format!("pub -p {port} -V {ours} -t t -q 2 -m {ours}"), 0);
        }
        assert_eq!(subscriber.end(0), "31 2\nmqttv311 2\n5 2\n", "{theirs}");
    }
}

#[test]
fn retained_messages_are_printed_left_out_and_removed() {
    let program = server("cli-retained");
    let (here, port) = (&program.folder, port(&program));
    for (topic, text) in [("r/1", "one"), ("r/2", "two"), ("r/x/3", "three")] {
        ended(here, &format!("pub -p {port} -t {topic} -m {text} -r -q 1"), 0);
    }
    let sub = |flags: &str, code| ended(here, &format!("sub -p {port} -t 'r/#' -v {flags}"), code);
    assert_eq!(sub("-C 2", 0), "r/1 one\nr/2 two\n");
    assert_eq!(sub("-C 2 -N", 0), "r/1 oner/2 two");
    assert_eq!(sub("-T r/1 -T r/x/# -C 1", 0), "r/2 two\n");
    assert_eq!(sub("-R -W 1", 27), "");
    assert_eq!(sub("-E", 0), "", "the subscription is all that is asked for");
    assert_eq!(ended(here, &format!("sub -p {port} -t r/2 -t r/1 -C 2"), 0), "two\none\n");
    assert_eq!(ended(here, &format!("sub -L mqtt://127.0.0.1:{port}/r/1 -t r/2 -v -C 2"), 0), "r/1 one\nr/2 two\n");
    // The first message that is not retained ends it, and is not printed.
    let subscriber = Subscriber::start(here, &format!("sub -p {port} -t 'r/#' -v --retained-only"));
    ended(here, &format!("pub -p {port} -t r/9 -m new"), 0);
    assert_eq!(subscriber.end(0), "r/1 one\nr/2 two\nr/x/3 three\n");
    let removed = sub("--remove-retained -T r/2 -C 2", 0);
    assert_eq!(removed, "r/1 one\nr/x/3 three\n");
    assert_eq!(sub("-W 1", 27), "r/2 two\n");
    // As it was published: 5.0 only.
    let line = format!("sub -p {port} -V 5 -t live --retain-as-published -F '%r %p' -C 1");
    let subscriber = Subscriber::start(here, &line);
    ended(here, &format!("pub -p {port} -t live -m x -r"), 0);
    assert_eq!(subscriber.end(0), "1 x\n");
}

#[test]
fn a_session_waits_and_what_is_printed_does_not_come_again() {
    let program = server("cli-sessions");
    let (here, port) = (&program.folder, port(&program));
    for version in ["311", "5"] {
        let sub = format!("sub -p {port} -V {version} -c -i keeper{version} -t s/{version} -q 2");
        assert_eq!(ended(here, &format!("{sub} -E"), 0), "");
        for (text, qos) in [("one", 1), ("two", 2), ("three", 1), ("four", 2)] {
            ended(here, &format!("pub -p {port} -t s/{version} -q {qos} -m {text}"), 0);
        }
        assert_eq!(ended(here, &format!("{sub} -C 1"), 0), "one\n");
        assert_eq!(ended(here, &format!("{sub} -C 2"), 0), "two\nthree\n");
        assert_eq!(ended(here, &format!("{sub} -C 1"), 0), "four\n");
        assert_eq!(ended(here, &format!("{sub} -W 1"), 27), "", "MQTT {version}");
    }
    // A session of five minutes, and then the end of it.
    let sub = format!("sub -p {port} -V 5 -i five -t f -q 1");
    ended(here, &format!("{sub} -c -x 300 -E"), 0);
    ended(here, &format!("pub -p {port} -t f -q 1 -m kept"), 0);
    assert_eq!(ended(here, &format!("{sub} -c -x 300 -C 1"), 0), "kept\n");
    ended(here, &format!("{sub} -E"), 0);
    ended(here, &format!("pub -p {port} -t f -q 1 -m gone"), 0);
    assert_eq!(ended(here, &format!("{sub} -c -W 1"), 27), "");
}

#[test]
fn an_unsubscription_is_asked_for() {
    let program = server("cli-unsubscribe");
    let (here, port) = (&program.folder, port(&program));
    let subscriber = Subscriber::start(here, &format!("sub -p {port} -t a -t b -U a -v -C 1"));
    subscriber.hears("unsubscribed");
    for topic in ["a", "b"] {
        ended(here, &format!("pub -p {port} -t {topic} -m x -q 1"), 0);
    }
    assert_eq!(subscriber.end(0), "b x\n");
}

#[test]
fn properties_go_there_and_are_printed() {
    let program = server("cli-properties");
    let (here, port) = (&program.folder, port(&program));
    let format = "%t|%p|%C|%R|%D|%E|%F|%P|%S";
    let line = format!(
        "sub -p {port} -t p -F '{format}' -C 1 -D subscribe subscription-identifier 7 -D connect user-property a b"
    );
    let subscriber = Subscriber::start(here, &line);
    ended(
        here,
        &format!(
            "pub -p {port} -t p -m x -D publish content-type text/plain -D publish response-topic re/x -D PUBLISH \
             correlation-data c -D publish message-expiry-interval 1000 -D publish payload-format-indicator 1 -D publish \
             user-property k v -D publish user-property k -2 -D publish topic-alias 3 -D disconnect user-property c d"
        ),
        0,
    );
    assert_eq!(subscriber.end(0), "p|x|text/plain|re/x|c|1000|1|k:v k:-2|7\n");
    let subscriber = Subscriber::start(here, &format!("sub -p {port} -V 5 -t j -F %j -C 1"));
    ended(here, &format!("pub -p {port} -t j -m '\"x\"' -q 1 -D publish user-property k v"), 0);
    let out = subscriber.end(0);
    let value: serde_json::Value = serde_json::from_str(&out).expect(&out);
    assert_eq!((&value["topic"], &value["payload"]), (&"j".into(), &"\"x\"".into()));
    assert_eq!(value["properties"]["user-properties"]["k"], "v");
}

#[test]
fn a_will_is_published_when_a_client_is_killed_and_not_when_it_leaves() {
    let program = server("cli-will");
    let (here, port) = (&program.folder, port(&program));
    let watch = Subscriber::start(here, &format!("sub -p {port} -t 'w/#' -q 1 -F '%t %p %q %r' -C 2"));
    let will = "--will-payload bye --will-qos 1 --will-retain";
    let leaver = Subscriber::start(here, &format!("sub -p {port} -t a --will-topic w/left {will}"));
    leaver.signal("TERM");
    assert_eq!(leaver.end(0), "");
    for (signal, topic) in [("KILL", "w/1"), ("KILL", "w/2")] {
        let victim = Subscriber::start(here, &format!("sub -p {port} -t a --will-topic {topic} {will}"));
        victim.signal(signal);
        drop(victim);
    }
    let mut wills: Vec<String> = watch.end(0).lines().map(Into::into).collect();
    wills.sort();
    assert_eq!(wills, ["w/1 bye 1 0", "w/2 bye 1 0"]);
    assert_eq!(ended(here, &format!("sub -p {port} -t w/1 -F '%p %r' -C 1"), 0), "bye 1\n", "it is retained");
}

#[test]
fn passwords_come_from_four_places_and_are_seen_in_none() {
    let here = Folder::new("users");
    for (line, input) in [
        ("passwd -c users alice", "secret word\n"),
        ("passwd -H sha512-pbkdf2 users bob", "secret word\nsecret word\n"),
    ] {
        printed(&run(&here.0, line, input), 0, line);
    }
    let users = fs::read_to_string(here.0.join("users")).unwrap();
    let config = format!("{CONFIG}password_file = 'users'\n[log]\nlevel = 'trace'\n");
    let mut program = Program::start("cli-users", 2, &config, &[("users", &users), ("pw", "secret word\r\nmore")]);
    let (folder, port) = (program.folder.clone(), port(&program));
    let mut said = String::new();
    // (flags, the variable, exit code)
    for (flags, variable, code) in [
        ("", "", 5),
        ("-V 5", "", 135),
        ("-u alice -P 'secret word'", "", 0),
        ("-u bob -P 'secret word' -V 31", "", 0),
        ("-u alice -P 'secret words'", "", 5),
        ("-u alice -P 'secret words' -V 5", "", 135),
        ("-u alice --pw-file pw", "", 0),
        ("-u bob --pw-file pw -V 5", "", 0),
        ("-u alice", "secret word", 0),
        ("-u alice -P 'secret word'", "another secret", 0),
        ("-u alice", "another secret", 5),
        // It is for a user: nobody is known by a variable left over.
        ("", "secret word", 5),
        ("-u carol", "secret word", 5),
    ] {
        for word in ["pub -t t -m x", "sub -t t -E"] {
            let line = format!("{word} -p {port} -d {flags}");
            let mut command = command(&folder, &line);
            if !variable.is_empty() {
                command.env("VANSIRE_MQTT_PASSWORD", variable);
            }
            let output = feed(command, b"");
            printed(&output, code, &line);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                code > 0,
                stderr.contains("the server refused the connection: Not authorized"),
                "{line}: {stderr}"
            );
            said.push_str(&stderr);
        }
    }
    let url = format!("pub -d -m x -L mqtt://alice:secret%20word@127.0.0.1:{port}/t");
    let output = run(&folder, &url, "");
    printed(&output, 0, &url);
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    program.signal("TERM");
    program.stderr.read_to_string(&mut said).unwrap();
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_server_reads_its_users_again_when_it_is_told_to() {
    let files = [("users", ""), ("acl", "topic #\n")];
    let config = format!("{CONFIG}password_file = 'users'\nacl_file = 'acl'\n");
    let mut program = Program::start("cli-again", 2, &config, &files);
    let (here, port) = (program.folder.clone(), port(&program));
    let line = format!("pub -p {port} -u alice -P secret -t t -m x");
    ended(&here, &line, 5);
    ended(&here, "passwd -b -H sha512 users alice secret", 0);
    ended(&here, &line, 5);
    let mut again = |expected: &str| {
        program.signal("HUP");
        let line = std::iter::repeat_with(|| program.line()).find(|line| line.contains("users and rules")).unwrap();
        assert!(line.contains(expected), "{line}");
    };
    again("are read again");
    ended(&here, &line, 0);
    fs::write(here.join("users"), "alice:clear\n").unwrap();
    again("users:1: user \"alice\": the password is not hashed");
    ended(&here, &line, 0);
    fs::write(here.join("users"), "").unwrap();
    again("are read again");
    ended(&here, &line, 5);
}

#[test]
fn what_the_server_refuses_is_no_success() {
    let config = format!("{CONFIG}acl_file = 'acl'\nanonymous = 'local'\n");
    let program = Program::start("cli-acl", 2, &config, &[("acl", "topic ok/#\n")]);
    let (here, port) = (&program.folder, port(&program));
    for (line, code, part) in [
        ("pub -t ok/1 -m x -q 1 -V 5", 0, ""),
        ("pub -t no -m x -q 1 -V 5", 135, "a message was not delivered: the server refused it: Not authorized"),
        ("pub -t no -m x -q 2 -V 5", 135, "a message was not delivered: the server refused it: Not authorized"),
        ("pub -t no -m x -q 2 -V 5 --quiet", 135, ""),
        // Before 5.0 a server has no words for it.
        ("pub -t no -m x -q 1", 0, ""),
        ("sub -t no", 128, "the server refused the subscription to \"no\""),
        ("sub -t no -V 5", 135, "the server refused the subscription to \"no\": Not authorized"),
        ("sub -t no -t ok/1 -W 1", 27, "the server refused the subscription to \"no\""),
        ("sub -t no -t ok/1 -W 1 --quiet", 27, ""),
    ] {
        let output = run(here, &format!("{line} -p {port}"), "");
        printed(&output, code, line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(part) && (!part.is_empty() || stderr.is_empty()), "{line}: {stderr}");
    }
}

#[test]
fn a_server_that_is_not_there_or_goes_is_told() {
    let here = Folder::new("gone");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let deaf = std::thread::spawn(move || {
        for _ in 0..2 {
            drop(listener.accept().unwrap());
        }
    });
    for word in ["pub -t t -m x", "sub -t t"] {
        let output = run(&here.0, &format!("{word} -p {port}"), "");
        printed(&output, 7, word);
        assert!(!output.stderr.is_empty(), "{word}");
    }
    deaf.join().unwrap();
    for word in ["pub -t t -m x", "pub -t t -l", "sub -t t"] {
        let output = run(&here.0, &format!("{word} -p {port}"), "");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        printed(&output, 1, word);
        assert!(stderr.contains(&format!("127.0.0.1:{port}")), "{word}: {stderr}");
        assert!(run(&here.0, &format!("{word} -p {port} --quiet"), "").stderr.is_empty(), "{word}");
    }
}

#[test]
fn a_subscriber_comes_back_when_its_server_does() {
    let first = server("cli-back");
    let port = port(&first);
    let folder = Folder::new("back");
    let subscriber = Subscriber::start(&folder.0, &format!("sub -p {port} -t t -C 1"));
    first.stop();
    subscriber.hears("; again in ");
    let config = CONFIG.replace("mqtt://127.0.0.1:0", &format!("mqtt://127.0.0.1:{port}"));
    let second = Program::start("cli-back-again", 2, &config, &[]);
    subscriber.hears("subscribed to");
    ended(&second.folder, &format!("pub -p {port} -t t -m back -q 1"), 0);
    assert_eq!(subscriber.end(0), "back\n");
}

#[test]
fn a_reader_that_has_enough_ends_it() {
    let program = server("cli-pipe");
    let (here, port) = (&program.folder, port(&program));
    let mut subscriber = Subscriber::start(here, &format!("sub -p {port} -t t"));
    drop(subscriber.child.stdout.take());
    let start = Instant::now();
    let status = loop {
        // A child of another test may hold the pipe for a moment: then the first message is no end yet.
        ended(here, &format!("pub -p {port} -t t -m x -q 1"), 0);
        match subscriber.child.try_wait().expect("its end") {
            Some(status) => break status,
            None => assert!(start.elapsed() < PATIENCE, "it goes on"),
        }
    };
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_password_file_is_changed_as_a_whole() {
    let here = Folder::new("passwd");
    let path = here.0.join("users");
    let read = || fs::read_to_string(&path).unwrap();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    let good = |line: &str, input: &str| drop(printed(&run(&here.0, line, input), 0, line));
    let bad = |line: &str, input: &str, part: &str| {
        let before = fs::read(&path).ok();
        let output = run(&here.0, line, input);
        printed(&output, 1, line);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(part), "{line}: {part:?} is not in {stderr}");
        assert_eq!(fs::read(&path).ok(), before, "{line}");
        assert!(!stderr.contains("secret"), "{line}: {stderr}");
    };
    bad("passwd users alice", "secret\n", "cannot read users; -c makes a new file");
    assert!(!path.exists());
    good("passwd -c users alice", "secret\n");
    assert!(read().starts_with("alice:$argon2id$v=19$"), "{}", read());
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    good("passwd -b -H sha512-pbkdf2 users bob secret", "");
    good("passwd -b -H sha512 users carol -secret", "");
    good("passwd -b -H sha512-pbkdf2 -I 7 users dan secret", "");
    assert_eq!(mode(), 0o640, "an old file keeps its mode");
    let text = read();
    let starts: Vec<&str> = text.lines().map(|line| &line[..line.len().min(9)]).collect();
    assert_eq!(starts, ["alice:$ar", "bob:$7$10", "carol:$6$", "dan:$7$7$"]);
    // A new password takes the old one's place.
    good("passwd -H sha512 users bob", "secret\nsecret\n");
    assert!(read().lines().nth(1).unwrap().starts_with("bob:$6$"));
    good("passwd -D users bob", "");
    assert_eq!(read().lines().count(), 3);
    bad("passwd -D users bob", "", "there is no user \"bob\"");
    bad("passwd users bob", "secret\nsecrets\n", "the two passwords are not the same");
    bad("passwd users bob", "", "an empty password is none");
    bad("passwd -b users bob ''", "", "an empty password is none");
    bad("passwd -b users a:b secret", "", "cannot be a user");
    // A link leads to the file, which stays where it is.
    std::os::unix::fs::symlink("users", here.0.join("link")).unwrap();
    good("passwd -b -H sha512 link eve secret", "");
    assert!(read().contains("\neve:$6$") && fs::symlink_metadata(here.0.join("link")).unwrap().is_symlink());
    // One at a time.
    fs::write(here.0.join("users.new"), "").unwrap();
    bad("passwd -b users bob secret", "", "another `vansire passwd` is at work, or was cut off");
    fs::remove_file(here.0.join("users.new")).unwrap();
    // What the server would refuse is not written.
    fs::write(&path, "alice:secret\n").unwrap();
    bad("passwd -b users bob secret", "", "users:1: user \"alice\": the password is not hashed");
    fs::write(&path, "# all\nalice:secret\nbob:sec:ret\n").unwrap();
    good("passwd -U -H sha512 users", "");
    assert!(read().starts_with("# all\nalice:$6$") && read().contains("\nbob:$6$"), "{}", read());
    let before = read();
    good("passwd -U users", "");
    assert_eq!(read(), before, "hashes stay");
    good("passwd -b -c users zoe secret", "");
    assert_eq!((read().lines().count(), mode()), (1, 0o640), "made anew, with the old one's mode");
    let left: Vec<_> = fs::read_dir(&here.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

//! The program as a shell sees it: what it prints, and its exit codes.
#![cfg(feature = "app")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder of its own, empty: the program finds no configuration there. Removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vansire-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file");
    }

    /// Runs the program there, with these arguments and variables and no others.
    fn run(&self, arguments: &str, variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_vansire"))
            .args(arguments.split_whitespace())
            .env_clear()
            // The system's own configuration must not have a say; a named file goes over it.
            .env("VANSIRE_CONFIG", self.0.join("own.toml"))
            .envs(variables.iter().copied())
            .current_dir(&self.0)
            .output()
            .expect("the program runs")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn exit_codes_and_messages() {
    /// Arguments, a variable, exit code, a part of stdout, a part of stderr.
    type Row = (&'static str, (&'static str, &'static str), i32, &'static str, &'static str);

    let folder = Folder::new("codes");
    folder.write("own.toml", "");
    folder.write("bad.toml", "[htp]\nlisten = 1\n[http]\nstatic = 3\n");
    folder.write("mark.toml", "\u{feff}[log]\r\nlevel = 'warn'\r\n[http]\r\napi = 'of'\r\n");
    folder.write("twice.toml", "http.listen = ['http://:80', 'http://127.0.0.1:80']");
    folder.write("a-file", "");
    folder.write("broken.toml", "[http\n");
    folder.write("rooted.toml", "http.static = 'nowhere'\n");
    let none = ("UNUSED", "");
    let table: &[Row] = &[
        ("--version", none, 0, concat!("vansire ", env!("CARGO_PKG_VERSION")), ""),
        ("--help", none, 0, "Examples:", ""),
        ("help check", none, 0, "Usage: vansire check", ""),
        ("check", none, 0, "", "vansire: ok"),
        ("check", none, 0, "", "own.toml"),
        ("check --effective", none, 0, "[[http.listen]]  # default", "vansire: ok"),
        ("check --effective --http http://[::1]:0", none, 0, "url = \"http://[::1]:0\"\n", "vansire: ok"),
        ("check --effective", ("VANSIRE__LOG__ACCESS", "off"), 0, "access = \"off\"  # VANSIRE__LOG__ACCESS", "ok"),
        ("check --effective", none, 0, "[[mqtt.listen]]  # default", "vansire: ok"),
        ("check --effective --mqtt off", none, 0, "\nlisten = \"off\"  # --mqtt\n", "vansire: ok"),
        ("check --effective --http off", none, 0, "\nlisten = \"off\"  # --http\n", "vansire: ok"),
        (
            "check --http off --mqtt off",
            none,
            2,
            "",
            "vansire: --http: http.listen: nothing listens: mqtt.listen is off",
        ),
        ("--mqtt off", ("VANSIRE__HTTP__LISTEN", "off"), 2, "", "http.listen: nothing listens: mqtt.listen is off"),
        ("check --effective", ("VANSIRE__MQTT__LISTEN", "off"), 0, "\"off\"  # VANSIRE__MQTT__LISTEN\n", "ok"),
        (
            "check --mqtt mqtt://:0",
            none,
            0,
            "",
            "mqtt://:0 would be reachable from: every network this machine is on\n",
        ),
        ("--mqtt http://:0", none, 2, "", "vansire: --mqtt: bad URL `http://:0/`: this version listens on mqtt only"),
        ("resolve 127.0.0.1", none, 0, "127.0.0.1\n", ""),
        ("resolve LOCALHOST -c broken.toml", none, 0, "127.0.0.1\n", ""),
        ("resolve 127.0.0.1 --srv", none, 1, "", "vansire: "),
        ("resolve a..b", none, 1, "", "a..b"),
        ("check --effective -q", none, 0, "level = \"warn\"  # -q", "vansire: ok"),
        (
            "check --http http://:0",
            none,
            0,
            "",
            "http://:0 would be reachable from: every network this machine is on\n",
        ),
        ("--no-such-flag", none, 2, "", "--no-such-flag"),
        ("serve", none, 2, "", "serve"),
        ("-c missing.toml", none, 2, "", "cannot read the configuration missing.toml (named by -c)"),
        ("", ("VANSIRE_CONFIG", "missing.toml"), 2, "", "missing.toml (named by $VANSIRE_CONFIG)"),
        ("-c bad.toml", none, 2, "", "vansire: bad.toml:1:2: unknown key `htp`; did you mean `http`?\n"),
        ("check -c bad.toml", none, 2, "", "vansire: bad.toml:4:10: http.static: expected a list of tables"),
        (
            "check -c mark.toml",
            none,
            2,
            "",
            "vansire: mark.toml:4:7: http.api: `of` is none of off, local, all, token\n",
        ),
        (
            "check -c twice.toml",
            none,
            2,
            "",
            "twice.toml:1: http.listen: http://127.0.0.1:80 and http://:80 (twice.toml:1)",
        ),
        ("check --root a-file", none, 2, "", "/a-file is not a folder\n"),
        ("--http https://:0", none, 2, "", "this version has no TLS"),
        ("--http http://u:secret@:0", none, 2, "", "vansire: --http: bad URL `http://u:***@"),
        ("check -c broken.toml", none, 2, "", "vansire: broken.toml:1:6: not TOML: "),
        ("check -c rooted.toml", none, 2, "", "vansire: rooted.toml:1: http.static.root: /"),
        ("run --http 8080", none, 2, "", "vansire: --http: bad URL `8080`"),
        (
            "check",
            ("VANSIRE__MDNS__ANNOUNCE", "true"),
            2,
            "",
            "mdns.announce: there is nothing to announce: no listener",
        ),
        (
            "check",
            ("VANSIRE__MDNS__HOST", "a.b"),
            2,
            "",
            "VANSIRE__MDNS__HOST: `a.b` is not the name of a machine below",
        ),
        ("resolve --mdns --srv a.local", none, 2, "", "cannot be used with"),
        ("resolve --mdns a.example", none, 1, "", "only names below .local are asked for on the local network"),
        (
            "check",
            ("VANSIRE__TIME__SET_SYSTEM_CLOCK", "true"),
            2,
            "",
            "there is nobody to set it by: name time.servers",
        ),
        ("run", ("VANSIRE__HTP__LISTEN", "x"), 2, "", "did you mean VANSIRE__HTTP__LISTEN?"),
        (
            "check",
            ("VANSIRE_HTTP__LISTEN", "x"),
            2,
            "",
            "VANSIRE_HTTP__LISTEN: it sets nothing; did you mean VANSIRE__HTTP__LISTEN?",
        ),
        // As Kubernetes sets them of its own accord.
        ("check", ("VANSIRE_SERVICE_HOST", "10.0.0.1"), 0, "", "vansire: VANSIRE_SERVICE_HOST: it sets nothing: "),
        (
            "check",
            ("VANSIRE__TIME__SERVERS", "192.0.2.1,192.0.2.2"),
            2,
            "",
            "VANSIRE__TIME__SERVERS: time.servers: two that disagree cannot be judged: name one, or three and more",
        ),
    ];
    for (arguments, variable, code, out, err) in table {
        let output = folder.run(arguments, &[*variable]);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(*code), "vansire {arguments}: {stderr}");
        assert!(stdout.contains(out), "vansire {arguments}: {out:?} is not in stdout:\n{stdout}");
        assert!(stderr.contains(err), "vansire {arguments}: {err:?} is not in stderr:\n{stderr}");
        assert!(!stderr.contains("secret"), "vansire {arguments}: {stderr}");
        if *code != 0 || arguments == &"check" && out.is_empty() && variable == &none {
            assert_eq!(stdout, "", "vansire {arguments} printed");
        }
    }
}

#[test]
fn what_check_prints_is_a_configuration() {
    let folder = Folder::new("again");
    fs::create_dir_all(folder.0.join("www")).expect("a folder");
    folder.write("www/404.html", "none");
    folder.write(
        "own.toml",
        "shutdown_timeout = '3s'\n[[http.listen]]\nurl = 'http+unix:/tmp/x.sock'\nmode = '0600'\naccess = 'json'\n\
         [[http.static]]\nroot = 'www'\nprefix = '/docs/'\nindex = ['a', 'b']\nnot_found = '404.html'\n\
         headers = { X-A = 'b\"' }\ntypes = { wasm = 'application/wasm' }\n[[http.static]]\nroot = '.'\n\
         [[http.redirect]]\nfrom = '/a/*'\nto = '/b/*'\nstatus = 307\n[http.limits]\nrequests_max = 5\n\
         [mqtt]\nanonymous = 'all'\n[mqtt.limits]\nkeep_alive_max = 60\nqueue_overflow = 'reject'\n\
         [time]\nservers = ['192.0.2.1', 'clock.lan:1123', '192.0.2.2']\n[log]\naccess_to = 'access.log'\n",
    );
    folder.write("off.toml", "mqtt.listen = 'off'\n");
    let values = |output: &Output| -> Vec<String> {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| line.split("  # ").next().unwrap_or("").to_string()).collect()
    };
    for file in ["own.toml", "empty.toml", "off.toml"] {
        folder.write("empty.toml", "");
        let first = folder.run(&format!("check --effective -c {file}"), &[]);
        // Paths mean the same wherever it is put.
        fs::create_dir_all(folder.0.join("elsewhere")).expect("a folder");
        folder.write("elsewhere/again.toml", &String::from_utf8_lossy(&first.stdout));
        let again = folder.run("check --effective -c elsewhere/again.toml", &[]);
        assert_eq!(values(&first), values(&again));
    }
    assert!(!folder.0.join("access.log").exists(), "check made a file");
}

#[test]
fn the_file_here_is_found() {
    let folder = Folder::new("here");
    folder.write("vansire.toml", "http.api = 'off'\n");
    let output = folder.run("check --effective", &[("VANSIRE_CONFIG", "")]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("api = \"off\"  # vansire.toml:1"), "{stdout}");
}

#[test]
fn time_is_asked_of_servers_whatever_the_configuration_is_like() {
    use vansire::{Ctx, Event, Manager};
    let here = Folder::new("time");
    here.write("own.toml", "nonsense");
    let mut server = Manager::new(()).unwrap();
    let id = server.net().sntp_listen("sntp://127.0.0.1:0", |_: &mut Ctx<'_, ()>, _: Event<'_>| {}).unwrap();
    let addr = server.net().local_addr(id).unwrap();
    let waker = server.waker();
    let output = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let output = here.run(&format!("time {addr}"), &[]);
            waker.stop().unwrap();
            output
        });
        while !server.poll(None).unwrap().stop {}
        asked.join().unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.starts_with(&format!("{addr}: offset ")) && text.ends_with(" s, stratum 10\n"), "{text}");

    let output = here.run("time 127.0.0.1:1/x", &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("a time server is HOST"), "{output:?}");
    // As the configuration takes them, nobody there.
    for silent in ["sntp://127.0.0.1:9", "::ffff:127.0.0.1"] {
        let output = here.run(&format!("time {silent}"), &[]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with(&format!("vansire: {silent}: ")), "{output:?}");
    }

    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let output = here.run(&format!("time {}", silent.local_addr().unwrap()), &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
    assert!(text.contains("waiting for an answer"), "{text}");
}

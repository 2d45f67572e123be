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
    folder.write("bad.toml", "[htp]\nlisten = 1\n[http]\nroot = 3\n");
    folder.write("broken.toml", "[http\n");
    folder.write("rooted.toml", "http.root = 'nowhere'\n");
    let none = ("UNUSED", "");
    let table: &[Row] = &[
        ("--version", none, 0, concat!("vansire ", env!("CARGO_PKG_VERSION")), ""),
        ("--help", none, 0, "Examples:", ""),
        ("help check", none, 0, "Usage: vansire check", ""),
        ("check", none, 0, "listen = [\"http://127.0.0.1:8080\"]  # default", "vansire: ok"),
        ("check --http http://[::1]:0", none, 0, "listen = [\"http://[::1]:0\"]  # --http", "vansire: ok"),
        ("check", ("VANSIRE__LOG__ACCESS", "off"), 0, "access = \"off\"  # VANSIRE__LOG__ACCESS", "vansire: ok"),
        ("check -q", none, 0, "level = \"warn\"  # -q", "vansire: ok"),
        ("check", none, 0, "", "own.toml"),
        ("--no-such-flag", none, 2, "", "--no-such-flag"),
        ("serve", none, 2, "", "serve"),
        ("-c missing.toml", none, 2, "", "cannot read the configuration missing.toml (named by -c)"),
        ("", ("VANSIRE_CONFIG", "missing.toml"), 2, "", "missing.toml (named by $VANSIRE_CONFIG)"),
        ("-c bad.toml", none, 2, "", "vansire: bad.toml:1:2: unknown key `htp`; did you mean `http`?\n"),
        ("check -c bad.toml", none, 2, "", "vansire: bad.toml:4:8: http.root: expected a string, got an integer\n"),
        ("check -c broken.toml", none, 2, "", "vansire: broken.toml:1:6: not TOML: "),
        ("check -c rooted.toml", none, 2, "", "vansire: rooted.toml:1: http.root: nowhere cannot be served"),
        ("run --http 8080", none, 2, "", "vansire: --http: bad URL `8080`"),
        ("run", ("VANSIRE__HTP__LISTEN", "x"), 2, "", "did you mean VANSIRE__HTTP__LISTEN?"),
    ];
    for (arguments, variable, code, out, err) in table {
        let output = folder.run(arguments, &[*variable]);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(*code), "vansire {arguments}: {stderr}");
        assert!(stdout.contains(out), "vansire {arguments}: {out:?} is not in stdout:\n{stdout}");
        assert!(stderr.contains(err), "vansire {arguments}: {err:?} is not in stderr:\n{stderr}");
        if *code != 0 {
            assert_eq!(stdout, "", "vansire {arguments} failed and printed");
        }
    }
}

#[test]
fn what_check_prints_is_a_configuration() {
    let folder = Folder::new("again");
    folder.write("own.toml", "shutdown_timeout = '3s'\n[http]\nroot = '.'\nindex = 'home.html'\n");
    let first = folder.run("check", &[]);
    assert!(first.status.success());
    folder.write("again.toml", &String::from_utf8_lossy(&first.stdout));
    let again = folder.run("check -c again.toml", &[]);
    let values = |output: &Output| -> Vec<String> {
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| line.split("  # ").next().unwrap_or("").to_string()).collect()
    };
    assert_eq!(values(&first), values(&again));
}

#[test]
fn the_file_here_is_found() {
    let folder = Folder::new("here");
    folder.write("vansire.toml", "http.index = 'here.html'\n");
    let output = folder.run("check", &[("VANSIRE_CONFIG", "")]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("index = \"here.html\"  # vansire.toml:1"), "{stdout}");
}

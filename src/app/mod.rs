//! The program `vansire`: command line, configuration, pages.
//!
//! Not a part of the library's promise: it may change in any release. [`main`] is where it starts.

pub mod access;
pub mod api;
pub mod cli;
pub mod client;
mod clock;
pub mod config;
mod folders;
mod hangup;
mod log;
mod mdns;
mod mqtt;
pub mod pages;
pub mod passwd;
pub mod reach;
pub mod redirect;
mod resolve;
mod serve;
pub mod sim;
mod time;
mod time_notes;
mod utc;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::error::{Error, Result};
use crate::net::Url;
use cli::{Cli, Command, Flags};
use config::{Chosen, Level, Loaded, Loader, Problems, Surroundings};
use reach::Reach;

/// The program, from its command line to its exit code: 0 ended as asked, 1 failed while running, 2 the command line or the
/// configuration is wrong. `pub`, `sub` and `passwd` end as mosquitto's programs do.
pub fn main() -> ExitCode {
    let (command, flags) = match Cli::try_parse().and_then(Cli::into_command) {
        Ok(parsed) => parsed,
        Err(answer) => return refuse(&answer),
    };
    match &command {
        // Whatever the configuration is like.
        Command::Pub(flags) => return client::publish::main(flags),
        Command::Sub(flags) => return client::subscribe::main(flags),
        Command::Passwd(flags) => return ended(passwd::main(flags)),
        Command::Sim(flags) => return sim::main(flags),
        Command::Time { servers, .. } => return ended(time::ask(servers)),
        Command::Resolve { name, srv, mdns, .. } => return ended(resolve::ask(name, *srv, *mdns)),
        Command::Run { .. } | Command::Check { .. } => {}
    }
    let loaded = load(&flags, &Surroundings::of_process(), env::vars_os()).and_then(|loaded| {
        loaded.verify()?;
        Ok(loaded)
    });
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            complain(&problems);
            return ExitCode::from(USAGE);
        }
    };
    let effective = match command {
        Command::Check { effective, .. } => Some(effective),
        _ => None,
    };
    if effective.is_some() || loaded.config.log.level >= Level::Warn {
        loaded.warnings().iter().for_each(|warning| note(warning));
    }
    if effective.is_some() || loaded.config.log.level >= Level::Info {
        note(&format!("configuration: {}", source(&loaded)));
    }
    ended(match effective {
        Some(effective) => check(&loaded, effective),
        None => serve::serve(&loaded.config),
    })
}

/// Prints why the command line is refused, or the help that it asks for.
fn refuse(answer: &clap::Error) -> ExitCode {
    // mosquitto's programs end with 1 where ours end with 2.
    let like_mosquitto = env::args_os().nth(1).is_some_and(|word| word == "pub" || word == "sub" || word == "passwd");
    if let Some(why) = client::not_supported(answer).filter(|_| like_mosquitto) {
        complain(&why);
        return ExitCode::from(FAILED);
    }
    // A closed pipe behind --help is no failure.
    let _ = answer.print();
    match answer.use_stderr() {
        true if like_mosquitto => ExitCode::from(FAILED),
        true => ExitCode::from(USAGE),
        false => ExitCode::SUCCESS,
    }
}

/// What the exit code tells of the end.
fn ended(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(FAILED)
        }
    }
}

/// Says that the configuration is good and who could reach the server; with `effective`, prints it as a file that could be
/// used.
fn check(loaded: &Loaded, effective: bool) -> Result<()> {
    if effective {
        let printed = io::stdout().lock().write_all(loaded.to_string().as_bytes());
        match printed {
            Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Error::io("cannot print the configuration", e));
            }
            Ok(()) | Err(_) => {}
        }
    }
    for url in loaded.config.listen_urls() {
        let reach = Url::parse(url).ok().and_then(|url| Reach::of_url(&url));
        if let Some(reach) = reach.filter(Reach::is_from_outside) {
            note(&format!("{url} would be reachable from: {reach}"));
        }
    }
    note("ok");
    Ok(())
}

/// The configuration of all sources over each other: file, environment, flags.
fn load(
    flags: &Flags,
    around: &Surroundings,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> std::result::Result<Loaded, Problems> {
    let mut loader = Loader::new();
    // Err of try_exists: something is there that may not be looked at, which is told rather than passed over.
    let chosen = config::choose(flags.config.as_deref(), around, |path| path.try_exists().unwrap_or(true));
    if let Chosen::File { path, by } = chosen {
        let bytes = config::read(&path, by).map_err(Problems::one)?;
        loader.file(&path, &bytes);
    }
    loader.environment(variables);
    if !flags.http.is_empty() {
        loader.flag("--http", "http.listen", &flags.http);
    }
    if !flags.mqtt.is_empty() {
        loader.flag("--mqtt", "mqtt.listen", &flags.mqtt);
    }
    if let Some(root) = &flags.root {
        loader.flag("--root", "http.static", std::slice::from_ref(root));
    }
    loader.louder(flags.louder());
    loader.finish()
}

fn source(loaded: &Loaded) -> String {
    match loaded.file() {
        Some(file) => file.display().to_string(),
        None => "built-in defaults (no file was found)".into(),
    }
}

/// How many there are, in words: `1 line`, `2 lines`.
fn counted(number: u64, one: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {one}{s}")
}

/// To stderr, where a failure to write must not end a server.
fn note(what: &str) {
    let _ = writeln!(io::stderr(), "vansire: {what}");
}

fn complain(problem: &dyn std::fmt::Display) {
    for line in problem.to_string().lines() {
        let _ = writeln!(io::stderr(), "vansire: {line}");
    }
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn without_anything_only_this_machine_is_served() {
        let loaded = load(&Flags::default(), &Surroundings::default(), []).expect("no problem");
        // Nothing of the tests' folder or machine may have been read.
        assert_eq!(loaded.file(), None);
        assert_eq!(loaded.config, config::Config::default());
        let urls: Vec<_> = loaded.config.listen_urls().collect();
        assert_eq!(urls, ["http://127.0.0.1:8080", "mqtt://127.0.0.1:1883"]);
    }

    #[test]
    fn a_flag_goes_over_a_variable() {
        let flags = Flags { http: vec!["http://[::1]:0".into()], ..Flags::default() };
        let variables = [("VANSIRE__HTTP__LISTEN".into(), "http://127.0.0.1:1".into())];
        let loaded = load(&flags, &Surroundings::default(), variables).expect("no problem");
        assert_eq!(loaded.config.http.listen.len(), 1);
        assert_eq!(loaded.config.http.listen[0].url, "http://[::1]:0");
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let flags = Flags { config: Some(Path::new("/nowhere/v.toml").into()), ..Flags::default() };
        let told = load(&flags, &Surroundings::default(), []).unwrap_err().to_string();
        assert!(told.contains("/nowhere/v.toml") && told.contains("-c"), "{told}");
    }
}

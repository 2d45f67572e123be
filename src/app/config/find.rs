//! Which configuration file is read.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What the search looks at besides the file system.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `$VANSIRE_CONFIG`.
    pub named: Option<OsString>,
    /// `$XDG_CONFIG_HOME`.
    pub config_home: Option<OsString>,
    /// `$HOME`.
    pub home: Option<OsString>,
    /// Whether the user's own folder counts: not for the superuser, whom another user's environment may follow.
    pub ordinary_user: bool,
}

/// The answer of the search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// This file.
    File {
        /// Where it is.
        path: PathBuf,
        /// What named it, where it was not found in one of the usual places.
        by: Option<&'static str>,
    },
    /// No file: the built-in defaults.
    Default,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        Self {
            named: env::var_os(VARIABLE),
            config_home: env::var_os("XDG_CONFIG_HOME"),
            home: env::var_os("HOME"),
            ordinary_user: ordinary_user(),
        }
    }
}

/// The file that `-c` names; else `$VANSIRE_CONFIG`; else the first there is of `./vansire.toml`,
/// `$XDG_CONFIG_HOME/vansire/vansire.toml` (by default in `~/.config`; not for the superuser) and
/// `/etc/vansire/vansire.toml`.
///
/// A file that was named is chosen whether it is there or not, so that a slip is told and not passed over.
pub fn choose(flag: Option<&Path>, around: &Surroundings, is_there: impl Fn(&Path) -> bool) -> Chosen {
    if let Some(path) = flag {
        return Chosen::File { path: path.into(), by: Some("-c") };
    }
    if let Some(named) = around.named.as_ref().filter(|named| !named.is_empty()) {
        return Chosen::File { path: named.into(), by: Some("$VANSIRE_CONFIG") };
    }
    let usual = [Some(PathBuf::from(NAME)), users_own(around), Some(Path::new("/etc/vansire").join(NAME))];
    match usual.into_iter().flatten().find(|path| is_there(path)) {
        Some(path) => Chosen::File { path, by: None },
        None => Chosen::Default,
    }
}

/// Reads it, up to 1 MiB. A failure names the file, and what named it.
pub fn read(path: &Path, by: Option<&'static str>) -> Result<Vec<u8>, String> {
    let failed = |why: &dyn std::fmt::Display| {
        let by = by.map_or(String::new(), |by| format!(" (named by {by})"));
        format!("cannot read the configuration {}{by}: {why}", path.display())
    };
    let file = File::open(path).map_err(|e| failed(&e))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    if bytes.len() as u64 > LARGEST { Err(failed(&"it is larger than 1 MiB")) } else { Ok(bytes) }
}

fn users_own(around: &Surroundings) -> Option<PathBuf> {
    if !around.ordinary_user {
        return None;
    }
    // XDG Base Directory: a path that is not absolute is to be ignored.
    let absolute = |value: &Option<OsString>| value.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute(&around.config_home).or_else(|| absolute(&around.home).map(|home| home.join(".config")))?;
    Some(home.join("vansire").join(NAME))
}

/// Where the system does not say whose the process is, the careful answer is no.
#[cfg(target_os = "linux")]
fn ordinary_user() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() != 0)
}

#[cfg(not(target_os = "linux"))]
fn ordinary_user() -> bool {
    false
}

pub(super) const VARIABLE: &str = "VANSIRE_CONFIG";
const NAME: &str = "vansire.toml";
const LARGEST: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_there_is_in_the_order_of_the_manual() {
        let user = Surroundings {
            named: None,
            config_home: Some("/home/ann/cfg".into()),
            home: Some("/home/ann".into()),
            ordinary_user: true,
        };
        let no_xdg = Surroundings { config_home: Some("relative".into()), ..user.clone() };
        let root = Surroundings { ordinary_user: false, ..user.clone() };
        let named = Surroundings { named: Some("/n.toml".into()), ..user.clone() };
        let empty = Surroundings { named: Some("".into()), ..user.clone() };
        let here = "vansire.toml";
        let xdg = "/home/ann/cfg/vansire/vansire.toml";
        let dot = "/home/ann/.config/vansire/vansire.toml";
        let etc = "/etc/vansire/vansire.toml";
        // (name, surroundings, flag, files that are there, the answer)
        type Row<'a> = (&'a str, &'a Surroundings, Option<&'a str>, &'a [&'a str], Option<(&'a str, Option<&'a str>)>);
        let table: &[Row<'_>] = &[
            ("-c, there or not", &named, Some("/c.toml"), &[], Some(("/c.toml", Some("-c")))),
            ("$VANSIRE_CONFIG", &named, None, &[here, xdg, etc], Some(("/n.toml", Some("$VANSIRE_CONFIG")))),
            ("an empty $VANSIRE_CONFIG is none", &empty, None, &[etc], Some((etc, None))),
            ("here", &user, None, &[here, xdg, etc], Some((here, None))),
            ("the user's", &user, None, &[xdg, dot, etc], Some((xdg, None))),
            ("the user's without XDG", &no_xdg, None, &[xdg, dot, etc], Some((dot, None))),
            ("the system's", &user, None, &[etc], Some((etc, None))),
            ("the superuser has no own", &root, None, &[xdg, dot, etc], Some((etc, None))),
            ("none", &user, None, &[], None),
        ];
        for (name, around, flag, there, expected) in table {
            let is_there = |path: &Path| there.iter().any(|known| path == Path::new(known));
            let expected = match expected {
                Some((path, by)) => Chosen::File { path: path.into(), by: by.and_then(fixed) },
                None => Chosen::Default,
            };
            assert_eq!(choose(flag.map(Path::new), around, is_there), expected, "{name}");
        }
    }

    fn fixed(by: &str) -> Option<&'static str> {
        ["-c", "$VANSIRE_CONFIG"].into_iter().find(|known| *known == by)
    }

    #[test]
    fn a_missing_file_is_told_with_what_named_it() {
        let told = read(Path::new("/nowhere/v.toml"), Some("-c")).unwrap_err();
        assert!(told.starts_with("cannot read the configuration /nowhere/v.toml (named by -c): "), "{told}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_endless_file_is_not_read_to_its_end() {
        let told = read(Path::new("/dev/zero"), None).unwrap_err();
        assert!(told.ends_with("it is larger than 1 MiB"), "{told}");
    }
}

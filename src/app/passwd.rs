//! `vansire passwd`: password files for the broker, as mosquitto_passwd makes them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::broker::access::{Passwords, Scheme, hash_password, hash_passwords, set_password};
use crate::error::{Error, Kind, Result};

/// The flags of `passwd`.
#[derive(Clone, PartialEq, Eq, Args)]
pub struct PasswdFlags {
    /// Make a new file; one that is there already is replaced
    #[arg(short, long, conflicts_with_all = ["delete", "upgrade"])]
    create: bool,

    /// Take the password from the command line, where others on this machine can see it
    #[arg(short, long, requires = "password", conflicts_with_all = ["delete", "upgrade"])]
    batch: bool,

    /// Delete the user
    #[arg(short = 'D', long, conflicts_with = "upgrade")]
    delete: bool,

    /// Hash the passwords that stand in the file in clear; hashes stay
    #[arg(short = 'U', long, conflicts_with_all = ["user", "password"])]
    upgrade: bool,

    /// How passwords are hashed. mosquitto reads sha512-pbkdf2, and from 2.1 on argon2id
    #[arg(short = 'H', long, value_name = "HASH", value_enum, default_value_t = HashName::Argon2id)]
    hash: HashName,

    /// How often sha512-pbkdf2 is repeated
    #[arg(short = 'I', long, value_name = "TIMES", default_value_t = ITERATIONS)]
    iterations: NonZeroU32,

    /// The password file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The user
    #[arg(value_name = "USER", required_unless_present = "upgrade")]
    user: Option<String>,

    /// The password, with -b
    #[arg(value_name = "PASSWORD", requires = "batch", allow_hyphen_values = true)]
    password: Option<OsString>,
}

/// Says whether there is a password, and not which.
impl std::fmt::Debug for PasswdFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswdFlags").field("file", &self.file).field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HashName {
    Argon2id,
    Sha512Pbkdf2,
    Sha512,
}

/// What `vansire passwd --help` says below the flags.
pub(in crate::app) const HELP: &str = "\
Examples:
  vansire passwd -c passwords alice              a new file with one user, whose password is asked for
  vansire passwd passwords bob                   one more, or a new password
  printf '%s\\n' \"$PASSWORD\" | vansire passwd passwords carol
  vansire passwd -D passwords bob                one less
  vansire passwd -H sha512-pbkdf2 passwords dan  for a file that mosquitto 2.0 reads as well

The password is asked for twice on a terminal; otherwise it is the first line of stdin, and a second line has to be the same.
A new file can be read by its owner only; an old one keeps its owner and its mode. It is replaced as a whole or not at all.
A server that runs reads it again on SIGHUP.

Exit codes: 0 done; 1 not done, and the file is as it was.";

/// Does it. On an error the file is as it was.
pub(in crate::app) fn main(flags: &PasswdFlags) -> Result<()> {
    let name = flags.file.display().to_string();
    // Who thinks about a password keeps nobody out, and leaves nothing behind when he gives up.
    let hash = match &flags.user {
        Some(user) if !flags.delete => {
            // What cannot be a name, or has no file, is told before a password is asked for.
            set_password(&flags.old_text(&name)?, user, None)?;
            Some(flags.hash()?)
        }
        Some(_) | None => None,
    };
    let change = Change::begin(&flags.file)?;
    let old = flags.old_text(&name)?;
    let text = match &flags.user {
        Some(user) => {
            let text = set_password(&old, user, hash.as_deref())?;
            if flags.delete && text.lines().count() == old.lines().count() {
                return Err(Error::new(Kind::BadValue, format!("{name}: there is no user {user:?}")));
            }
            text
        }
        None => {
            let (text, hashed) = hash_passwords(&old, &name, flags.scheme())?;
            let word = if hashed == 1 { "password" } else { "passwords" };
            super::note(&format!("{name}: {hashed} {word} hashed"));
            text
        }
    };
    // The server would refuse the file: then it is better refused here. A file in clear is for -U.
    Passwords::parse(&text, &name)?;
    change.finish(&text)
}

impl PasswdFlags {
    /// What is to be changed: nothing, where a new file is to be made.
    fn old_text(&self, name: &str) -> Result<String> {
        if self.create {
            return Ok(String::new());
        }
        fs::read_to_string(&self.file).map_err(|e| {
            let way_out = if e.kind() == io::ErrorKind::NotFound { "; -c makes a new file" } else { "" };
            Error::io(format!("cannot read {name}{way_out}"), e)
        })
    }

    fn hash(&self) -> Result<String> {
        let password = match &self.password {
            Some(password) => password.clone().into_encoded_bytes(),
            None => ask()?,
        };
        if password.is_empty() {
            return Err(Error::new(Kind::BadValue, "an empty password is none"));
        }
        hash_password(&password, self.scheme())
    }

    fn scheme(&self) -> Scheme {
        match self.hash {
            HashName::Argon2id => Scheme::Argon2id,
            HashName::Sha512Pbkdf2 => Scheme::Pbkdf2 { iterations: self.iterations },
            HashName::Sha512 => Scheme::Sha512,
        }
    }
}

/// The password, from the terminal or from stdin.
fn ask() -> Result<Vec<u8>> {
    let failed = |e| Error::io("cannot read the password", e);
    let (first, again) = if io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ").map_err(failed)?;
        if first.is_empty() {
            return Ok(Vec::new());
        }
        let again = rpassword::prompt_password("Again: ").map_err(failed)?;
        (first.into_bytes(), Some(again.into_bytes()))
    } else {
        let mut lines = io::stdin().lock().split(b'\n').map(|line| {
            line.map(|mut line| {
                line.pop_if(|byte| *byte == b'\r');
                line
            })
        });
        (lines.next().transpose().map_err(failed)?.unwrap_or_default(), lines.next().transpose().map_err(failed)?)
    };
    if again.is_some_and(|again| again != first) {
        return Err(Error::new(Kind::BadValue, "the two passwords are not the same"));
    }
    Ok(first)
}

/// A file that is about to be replaced. The new one lies beside it, and keeps a second program out.
struct Change {
    /// The file itself, where it was named by a link.
    target: PathBuf,
    beside: PathBuf,
    file: Option<File>,
}

impl Change {
    fn begin(path: &Path) -> Result<Self> {
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(e) => return Err(Error::io(format!("cannot read {}", path.display()), e)),
        };
        let mut name = target
            .file_name()
            .map(ToOwned::to_owned)
            .ok_or_else(|| Error::new(Kind::BadValue, format!("{} is not the name of a file", path.display())))?;
        name.push(".new");
        let beside = target.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&beside).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => Error::io(
                format!(
                    "{} is there: another `vansire passwd` is at work, or was cut off; in that case delete it",
                    beside.display()
                ),
                e,
            ),
            _ => Error::io(format!("cannot write {}", beside.display()), e),
        })?;
        Ok(Self { target, beside, file: Some(file) })
    }

    fn finish(mut self, text: &str) -> Result<()> {
        let failed = |e| Error::io(format!("cannot write {}", self.target.display()), e);
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let replaced = file
            .write_all(text.as_bytes())
            .and_then(|()| keep_owner_and_mode(&self.target, &file))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&self.beside, &self.target));
        if replaced.is_err() {
            let _ = fs::remove_file(&self.beside);
        }
        replaced.map_err(failed)?;
        // The name is on disk, too. Some file systems cannot be asked for that.
        if let Some(folder) = self.target.parent() {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.beside);
        }
    }
}

/// A server that runs as another user goes on to read it.
fn keep_owner_and_mode(old: &Path, new: &File) -> io::Result<()> {
    let old = match fs::metadata(old) {
        Ok(old) => old,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let own = new.metadata()?;
        if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
            fchown(new, Some(old.uid()), Some(old.gid()))?;
        }
    }
    new.set_permissions(old.permissions())
}

/// A guess costs ten times as much as with mosquitto 2.0's own 101, a login about a millisecond.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);

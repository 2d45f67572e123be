//! Password files: mosquitto's, and argon2id.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, Params, PasswordHasher, PasswordVerifier};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use crate::error::{Error, Kind, Result};

/// The users of a password file and the hashes of their passwords: `mosquitto_passwd` makes such files, and `vansire passwd`.
///
/// A line is `USER:HASH`, where a hash is `$7$` (PBKDF2 with SHA-512, mosquitto's default), `$6$` (SHA-512 with a salt, mosquitto's before
/// 2.0) or `$argon2id$`. Lines that begin with `#` are comments.
#[derive(Debug, Clone)]
pub struct Passwords {
    users: HashMap<Box<str>, Entry>,
}

/// One user's.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) hash: Arc<Hash>,
}

/// A hashed password.
#[derive(Debug)]
pub(super) enum Hash {
    Sha512 { salt: Vec<u8>, digest: [u8; DIGEST_LEN] },
    Pbkdf2 { iterations: NonZeroU32, salt: Vec<u8>, digest: [u8; DIGEST_LEN] },
    Argon2id(Box<PasswordHash>),
}

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Scheme {
    /// argon2id with 19 MiB and two passes, as OWASP advises: a guess costs some 20 ms and that memory. mosquitto 2.0 cannot read it.
    #[default]
    Argon2id,
    /// PBKDF2 with SHA-512. mosquitto 2.0 takes 101 iterations if not told otherwise.
    Pbkdf2 {
        /// How often the hash is repeated: what a guess costs, and a login.
        iterations: NonZeroU32,
    },
    /// SHA-512 with a salt, for files that mosquitto 1.6 reads: guesses are cheap.
    Sha512,
}

impl Passwords {
    /// Reads the lines in `text`; `file` is what messages call it.
    ///
    /// The first line that is not understood is an error ([`Error::is_bad_file`]) that says what to do about it, where mosquitto would
    /// leave that user out.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let mut users: HashMap<Box<str>, Entry> = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let bad = |what: String| Error::new(Kind::BadFile, format!("{file}:{number}: {what}"));
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            // What follows a second colon is a comment.
            let mut fields = line.split(':').map(str::trim);
            let (Some(user), Some(hash)) = (fields.next(), fields.next()) else {
                return Err(bad("a line is USER:HASH; `vansire passwd` makes them".into()));
            };
            if user.is_empty() {
                return Err(bad("the user's name is missing before the colon".into()));
            }
            let hash = Hash::parse(hash).map_err(|what| {
                bad(format!("user {user:?}: {what}; `vansire passwd {file} {user}` makes a new one"))
            })?;
            if let Some(first) = users.get(user) {
                return Err(bad(format!("user {user:?} is on line {} already: delete one of the two", first.line)));
            }
            users.insert(user.into(), Entry { line: number, hash: Arc::new(hash) });
        }
        Ok(Self { users })
    }

    /// Whether the file has this user with this password. Takes as long as the hash is meant to: 20 ms and more with argon2id.
    ///
    /// Hashes are compared in a time that does not depend on where they differ. That there is no such user is known at once.
    pub fn verify(&self, user: &str, password: &[u8]) -> bool {
        self.get(user).is_some_and(|entry| entry.hash.verify(password))
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    pub(super) fn get(&self, user: &str) -> Option<&Entry> {
        self.users.get(user)
    }
}

impl Hash {
    /// The error is the beginning of a sentence.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        if text.starts_with("$argon2") {
            return argon2id(text);
        }
        let parts: Vec<&str> = text.split('$').collect();
        match parts.as_slice() {
            ["", "6", salt, digest] => {
                let (salt, digest) = salt_and_digest(salt, digest)?;
                Ok(Self::Sha512 { salt, digest })
            }
            ["", "7", iterations, salt, digest] => {
                let (salt, digest) = salt_and_digest(salt, digest)?;
                let iterations = iterations.parse().map_err(|_| "the number of iterations is not one".to_string())?;
                Ok(Self::Pbkdf2 { iterations, salt, digest })
            }
            ["", "6" | "7", ..] => Err("the hash has a part too few or too many".into()),
            ["", kind, ..] => {
                Err(format!("hashes of the kind ${kind}$ are not known, but $6$, $7$ and $argon2id$ are"))
            }
            _ => Err("the password is not hashed".into()),
        }
    }

    pub(super) fn verify(&self, password: &[u8]) -> bool {
        match self {
            Self::Sha512 { salt, digest } => sha512(password, salt).ct_eq(digest).into(),
            Self::Pbkdf2 { iterations, salt, digest } => pbkdf2(password, salt, *iterations).ct_eq(digest).into(),
            Self::Argon2id(hash) => Argon2::default().verify_password(password, &**hash).is_ok(),
        }
    }

    /// Whether checking it takes so little that a loop can do it between two packets: less than a quarter of a millisecond.
    pub(super) fn is_cheap(&self) -> bool {
        match self {
            Self::Sha512 { .. } => true,
            Self::Pbkdf2 { iterations, .. } => iterations.get() <= CHEAP_ITERATIONS,
            Self::Argon2id(_) => false,
        }
    }
}

/// Hashes a password with a fresh salt, as it stands after the colon in a password file.
///
/// Takes as long as [`Scheme`] says. Fails if the system has no random numbers or, with argon2id, no memory.
pub fn hash_password(password: &[u8], scheme: Scheme) -> Result<String> {
    let mut salt = [0; SALT_LEN];
    getrandom::fill(&mut salt)
        .map_err(|e| Error::with_source(Kind::Unsupported, "the system gives no random numbers for a salt", e))?;
    let salt = match scheme {
        Scheme::Argon2id => &salt[..],
        Scheme::Pbkdf2 { .. } | Scheme::Sha512 => &salt[..MOSQUITTO_SALT_LEN],
    };
    Ok(match scheme {
        Scheme::Argon2id => {
            let hash: PasswordHash = Argon2::default()
                .hash_password_with_salt(password, salt)
                .map_err(|e| Error::new(Kind::BadValue, format!("cannot hash this password: {e}")))?;
            hash.to_string()
        }
        Scheme::Pbkdf2 { iterations } => {
            let digest = pbkdf2(password, salt, iterations);
            format!("$7${iterations}${}${}", STANDARD.encode(salt), STANDARD.encode(digest))
        }
        Scheme::Sha512 => format!("$6${}${}", STANDARD.encode(salt), STANDARD.encode(sha512(password, salt))),
    })
}

/// The text of a password file with this user's hash replaced, or added at the end; `None` removes the user. Everything else stays.
///
/// Fails if a file cannot hold the name: it is empty, begins with `#` or a blank, ends with a blank, or has a colon or a control
/// character in it.
pub fn set_password(text: &str, user: &str, hash: Option<&str>) -> Result<String> {
    if user.is_empty()
        || user.trim() != user
        || user.starts_with('#')
        || user.contains(|c: char| c == ':' || c.is_control())
    {
        let what = format!("{user:?} cannot be a user: no colon, no control character, no # and no blank at its ends");
        return Err(Error::new(Kind::BadValue, what));
    }
    let is_of_user =
        |line: &str| !line.starts_with('#') && line.split_once(':').is_some_and(|(name, _)| name.trim() == user);
    let entry = hash.map(|hash| format!("{user}:{hash}"));
    let mut pending = entry.as_deref();
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        if is_of_user(line) {
            lines.extend(pending.take());
        } else {
            lines.push(line);
        }
    }
    lines.extend(pending);
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}

/// The text of a password file with the passwords that stand there in clear hashed, and how many those were. The password is all that
/// follows the first colon; what is hashed already stays as it is, and so do comments.
///
/// Takes as long as [`hash_password`] for each. Fails where a line is neither: `file` is what the message calls it.
pub fn hash_passwords(text: &str, file: &str, scheme: Scheme) -> Result<(String, usize)> {
    let mut out = String::with_capacity(text.len());
    let mut hashed = 0;
    for (index, line) in text.lines().enumerate() {
        let is_entry = !line.starts_with('#') && !line.trim().is_empty();
        match line.split_once(':').filter(|_| is_entry) {
            Some((user, password)) if !is_hash(password) => {
                let bad = |what: &str| Error::new(Kind::BadFile, format!("{file}:{}: {what}", index + 1));
                if user.trim().is_empty() {
                    return Err(bad("the user's name is missing before the colon"));
                }
                if password.is_empty() {
                    return Err(bad("the password is missing behind the colon"));
                }
                if let Err(what) = Hash::parse(password)
                    && HASHES.iter().any(|start| password.starts_with(start))
                {
                    return Err(bad(&format!("this is neither a hash nor a password: {what}")));
                }
                out.push_str(user);
                out.push(':');
                out.push_str(&hash_password(password.as_bytes(), scheme)?);
                hashed += 1;
            }
            None if is_entry => {
                return Err(Error::new(Kind::BadFile, format!("{file}:{}: a line is USER:PASSWORD", index + 1)));
            }
            Some(_) | None => out.push_str(line),
        }
        out.push('\n');
    }
    Ok((out, hashed))
}

/// Whether this stands behind the colon of a hashed entry, with a comment behind it or without.
fn is_hash(text: &str) -> bool {
    text.split(':').next().is_some_and(|hash| Hash::parse(hash.trim()).is_ok())
}

/// How hashes begin.
const HASHES: [&str; 3] = ["$6$", "$7$", "$argon2"];

fn salt_and_digest(salt: &str, digest: &str) -> std::result::Result<(Vec<u8>, [u8; DIGEST_LEN]), String> {
    let salt = STANDARD.decode(salt).map_err(|e| format!("the salt is not base64 ({e})"))?;
    let digest = STANDARD.decode(digest).map_err(|e| format!("the hash is not base64 ({e})"))?;
    let digest = digest.try_into().map_err(|_| format!("the hash is not {DIGEST_LEN} bytes long"))?;
    if salt.is_empty() { Err("the salt is empty".into()) } else { Ok((salt, digest)) }
}

fn argon2id(text: &str) -> std::result::Result<Hash, String> {
    let hash = PasswordHash::new(text).map_err(|e| format!("the hash cannot be read ({e})"))?;
    if hash.algorithm.as_str() != "argon2id" {
        return Err(format!("hashes of the kind {} are not known, but argon2id is", hash.algorithm));
    }
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err("the hash has a part too few".into());
    }
    let params = Params::try_from(&hash).map_err(|e| format!("the hash has parameters that cannot be ({e})"))?;
    if params.m_cost() > MEMORY_KIB_MAX {
        return Err(format!("a hash that takes {} KiB is not checked, but up to {MEMORY_KIB_MAX}", params.m_cost()));
    }
    Ok(Hash::Argon2id(Box::new(hash)))
}

fn sha512(password: &[u8], salt: &[u8]) -> [u8; DIGEST_LEN] {
    Sha512::new().chain_update(password).chain_update(salt).finalize().into()
}

fn pbkdf2(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> [u8; DIGEST_LEN] {
    pbkdf2::pbkdf2_hmac_array::<Sha512, DIGEST_LEN>(password, salt, iterations.get())
}

const DIGEST_LEN: usize = 64;

/// As many bytes as argon2 advises.
const SALT_LEN: usize = 16;

/// mosquitto 2.0 has room for no more, and cuts what is longer: no password would ever be right.
const MOSQUITTO_SALT_LEN: usize = 12;

/// 101, mosquitto's own, take 0.1 ms.
const CHEAP_ITERATIONS: u32 = 200;

/// A login must not take the memory of a small machine.
const MEMORY_KIB_MAX: u32 = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const FIXTURES: [(&str, &str); 2] = [
        ("sha512", include_str!("../../../tests/fixtures/mqtt/passwords-sha512")),
        ("sha512-pbkdf2", include_str!("../../../tests/fixtures/mqtt/passwords-pbkdf2")),
    ];

    /// 64 KiB and one pass, which take no time.
    fn small_argon2(password: &str) -> String {
        let params = Params::new(64, 1, 1, None).unwrap();
        let hash: PasswordHash =
            Argon2::from(params).hash_password_with_salt(password.as_bytes(), b"0123456789abcdef").unwrap();
        hash.to_string()
    }

    #[test]
    fn what_mosquitto_passwd_has_written_is_read() {
        for (name, text) in FIXTURES {
            let passwords = Passwords::parse(text, name).unwrap();
            assert_eq!(passwords.len(), 3, "{name}");
            for (user, password, expected) in [
                ("alice", "wonderland", true),
                ("alice", "wonderlan", false),
                ("alice", "wonderland ", false),
                ("alice", "", false),
                ("bob", "pässword: with spaces", true),
                ("user with spaces", "x", true),
                ("bob", "wonderland", false),
                ("carol", "wonderland", false),
                ("", "", false),
            ] {
                assert_eq!(passwords.verify(user, password.as_bytes()), expected, "{name}: {user}, {password}");
            }
        }
    }

    /// RFC 9106 §5.3 fixes the algorithm, the crate's own tests prove it; this is the form in which it stands in a file.
    #[test]
    fn argon2id_is_read_in_its_usual_form() {
        let text = format!("alice:{}\n", small_argon2("wonderland"));
        assert!(text.starts_with("alice:$argon2id$v=19$m=64,t=1,p=1$"), "{text}");
        let passwords = Passwords::parse(&text, "f").unwrap();
        assert!(passwords.verify("alice", b"wonderland") && !passwords.verify("alice", b"other"));
        assert!(!passwords.get("alice").unwrap().hash.is_cheap());
    }

    #[test]
    fn a_hash_of_ours_is_read_again_and_its_salt_is_fresh() {
        let iterations = NonZeroU32::new(3).unwrap();
        for scheme in [Scheme::Pbkdf2 { iterations }, Scheme::Sha512] {
            let (first, second) = (hash_password(b"x", scheme).unwrap(), hash_password(b"x", scheme).unwrap());
            assert_ne!(first, second, "{scheme:?}");
            let passwords = Passwords::parse(&format!("a:{first}\nb:{second}\n"), "f").unwrap();
            assert!(passwords.verify("a", b"x") && passwords.verify("b", b"x"), "{scheme:?}");
            let salt = first.split('$').rev().nth(1).unwrap();
            assert_eq!(STANDARD.decode(salt).unwrap().len(), 12, "{scheme:?}: mosquitto reads no longer one");
            assert!(!passwords.verify("a", b"y"), "{scheme:?}");
        }
    }

    #[test]
    fn wrong_files_say_what_to_do() {
        let good = "$6$x5XHrR1u2LbenhyO$EaTFOGtkxmW9Q4qWEK88daCmdgbq5R6GIOz5Z8GZtsb8+n728PVyJDX+nCQlQK5txArJJKMqltT+C6BfGstX0g==";
        let argon = small_argon2("x");
        let rows: [(String, std::result::Result<usize, &str>); 17] = [
            (String::new(), Ok(0)),
            (format!("# a comment: x\n\n  \r\nalice:{good}\r\n"), Ok(1)),
            (format!(" alice : {good} \n"), Ok(1)),
            (format!("alice:{good}:more\n"), Ok(1)),
            (format!("alice:{argon}\n"), Ok(1)),
            ("nocolon\n".into(), Err("f:1: a line is USER:HASH")),
            (":x\n".into(), Err("f:1: the user's name is missing")),
            (
                "\nalice:plain\n".into(),
                Err("f:2: user \"alice\": the password is not hashed; `vansire passwd f alice` makes a new one"),
            ),
            ("alice:\n".into(), Err("f:1: user \"alice\": the password is not hashed")),
            ("alice:$5$abc$def\n".into(), Err("f:1: user \"alice\": hashes of the kind $5$ are not known")),
            ("alice:$6$abc\n".into(), Err("f:1: user \"alice\": the hash has a part too few")),
            ("alice:$6$ab*c$abcd\n".into(), Err("f:1: user \"alice\": the salt is not base64")),
            ("alice:$6$abcd$abcd\n".into(), Err("f:1: user \"alice\": the hash is not 64 bytes long")),
            (format!("alice:$7$0{}\n", &good[2..]), Err("f:1: user \"alice\": the number of iterations is not one")),
            (
                format!("alice:{}\n", argon.replace("argon2id", "argon2i")),
                Err("f:1: user \"alice\": hashes of the kind argon2i"),
            ),
            (
                format!("alice:{}\n", argon.replace("m=64", "m=4000000")),
                Err("f:1: user \"alice\": a hash that takes 4000000 KiB"),
            ),
            (format!("alice:{good}\nalice:{good}\n"), Err("f:2: user \"alice\" is on line 1 already")),
        ];
        for (text, expected) in rows {
            match (Passwords::parse(&text, "f"), expected) {
                (Ok(passwords), Ok(len)) => assert_eq!(passwords.len(), len, "{text:?}"),
                (Err(e), Err(part)) => {
                    assert!(e.is_bad_file() && e.to_string().starts_with(part), "{text:?}: {e}");
                }
                (other, _) => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn passwords_in_clear_are_hashed_and_nothing_else_is_touched() {
        let good = hash_password(b"old", Scheme::Sha512).unwrap();
        let text = format!("# clear:text\nalice:wonder:land\n\nbob:{good}\ncarol:$100\n");
        let (hashed, count) = hash_passwords(&text, "f", Scheme::Sha512).unwrap();
        assert_eq!((count, hashed.lines().count()), (2, 5));
        assert!(
            hashed.starts_with("# clear:text\nalice:$6$") && hashed.contains(&format!("\n\nbob:{good}\n")),
            "{hashed}"
        );
        let passwords = Passwords::parse(&hashed, "f").unwrap();
        assert!(passwords.verify("alice", b"wonder:land") && passwords.verify("bob", b"old"));
        assert!(passwords.verify("carol", b"$100"));
        assert_eq!(hash_passwords(&hashed, "f", Scheme::Sha512).unwrap(), (hashed, 0));
        for (text, part) in [
            ("alice\n", "f:1: a line is USER:PASSWORD"),
            ("\n:x\n", "f:2: the user's name is missing"),
            ("alice:\n", "f:1: the password is missing"),
            ("alice:$6$broken\n", "f:1: this is neither a hash nor a password"),
            ("alice:$argon2id$v=19$m=9\n", "f:1: this is neither a hash nor a password"),
        ] {
            let told = hash_passwords(text, "f", Scheme::Sha512).unwrap_err().to_string();
            assert!(told.starts_with(part), "{text:?}: {told}");
        }
    }

    #[test]
    fn a_file_is_edited_line_by_line() {
        let text = "# users\nalice:1\nbob:2\n\nalice:3\n";
        let table = [
            ("replace, and only once", "alice", Some("9"), Some("# users\nalice:9\nbob:2\n\n")),
            ("add", "carol", Some("9"), Some("# users\nalice:1\nbob:2\n\nalice:3\ncarol:9\n")),
            ("remove", "bob", None, Some("# users\nalice:1\n\nalice:3\n")),
            ("remove nobody", "dave", None, Some(text)),
            ("colon", "a:b", Some("9"), None),
            ("comment", "#a", Some("9"), None),
            ("blank", " a", Some("9"), None),
            ("empty", "", Some("9"), None),
            ("line end", "a\nb", Some("9"), None),
        ];
        for (name, user, hash, expected) in table {
            assert_eq!(set_password(text, user, hash).ok().as_deref(), expected, "{name}");
        }
    }
}

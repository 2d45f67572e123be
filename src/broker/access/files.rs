//! Access control by a password file and an ACL file.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::{Error, Kind, Result};

use super::acl::Acl;
use super::logins::{Answers, Job, Logins};
use super::passwords::Passwords;
use super::{Access, AnonymousOnLoopback, Answer, Client, Denied, Login, PublishQuestion, SubscribeQuestion};

/// Which files, and what of clients without a user name.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct AccessFiles {
    passwords: Option<PathBuf>,
    acl: Option<PathBuf>,
    anonymous: Option<Anonymous>,
}

/// Clients without a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anonymous {
    /// May not connect. The default with a password file.
    Never,
    /// May connect from this machine. The default without one.
    OnLoopback,
    /// May connect.
    Always,
}

impl AccessFiles {
    /// No files: whoever is on this machine may do anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Users and their passwords ([`Passwords`]). Without it nobody's name is checked: a client with one is as anonymous as one without.
    pub fn passwords(mut self, path: impl Into<PathBuf>) -> Self {
        self.passwords = Some(path.into());
        self
    }

    /// Who may publish and subscribe to what ([`Acl`]). Without it, whoever may connect may do anything.
    pub fn acl(mut self, path: impl Into<PathBuf>) -> Self {
        self.acl = Some(path.into());
        self
    }

    /// Whether clients without a user name may connect.
    pub fn anonymous(mut self, anonymous: Anonymous) -> Self {
        self.anonymous = Some(anonymous);
        self
    }

    /// Reads the files.
    ///
    /// Fails if one cannot be read, or understood ([`Error::is_bad_file`]): the message names it, the line and what should stand there.
    pub fn load(self) -> Result<FileAccess> {
        let rules = Rules::read(&self)?;
        Ok(FileAccess { inner: Rc::new(RefCell::new(Inner { files: self, rules, logins: Logins::default() })) })
    }
}

/// [`Access`] by a password file and an ACL file, in mosquitto's formats and with its meaning.
///
/// A handle: clones are the same. Keep one to [`reload`](Self::reload) the files while the broker has another.
///
/// A password whose hash takes less than a quarter of a millisecond, as mosquitto's take, is checked at once. Others (argon2id,
/// PBKDF2 with more than 200 iterations) are checked on one thread, one after the other, while the client waits and the loop goes on: those
/// answers come from [`answers`](Self::answers). Of 64 that wait, the next is told that the server is busy.
///
/// ```no_run
/// use vansire::broker::access::AccessFiles;
/// use vansire::broker::{Broker, Options};
/// # fn main() -> vansire::Result<()> {
/// # let mut manager = vansire::Manager::new(())?;
/// let access = AccessFiles::new().passwords("passwords").acl("acl").load()?;
/// let answers = access.answers();
/// let broker = Broker::new(Options::new().access(access.clone()));
/// let listener = broker.listen(&mut manager.net(), "mqtt://0.0.0.0:1883")?;
///
/// let waker = manager.waker();
/// answers.on_ready(move || drop(waker.wakeup(listener, b"")));
/// manager.on_turn(move |_, net| {
///     while let Some((token, answer)) = answers.next() {
///         broker.answer(net, token, answer);
///     }
/// });
/// manager.run()
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FileAccess {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Debug)]
struct Inner {
    files: AccessFiles,
    rules: Rules,
    logins: Logins,
}

/// What the files say.
#[derive(Debug)]
struct Rules {
    passwords: Option<Passwords>,
    acl: Option<Acl>,
}

impl FileAccess {
    /// Reads the files again. If one of them is wrong, both stay as they were.
    ///
    /// Clients that are connected stay so; what they publish and are sent from now on is judged by the new rules.
    pub fn reload(&self) -> Result<()> {
        let inner = &mut *self.inner.borrow_mut();
        inner.rules = Rules::read(&inner.files)?;
        Ok(())
    }

    /// The answers to logins whose passwords take long to check.
    pub fn answers(&self) -> Answers {
        self.inner.borrow().logins.answers.clone()
    }
}

impl Rules {
    fn read(files: &AccessFiles) -> Result<Self> {
        let passwords = files.passwords.as_deref().map(|path| Passwords::parse(&read(path)?, &name(path)));
        let acl = files.acl.as_deref().map(|path| Acl::parse(&read(path)?, &name(path)));
        Ok(Self { passwords: passwords.transpose()?, acl: acl.transpose()? })
    }
}

impl Inner {
    fn connect(&mut self, login: &Login<'_>) -> Answer {
        let (Some(passwords), Some(user)) = (&self.rules.passwords, login.username) else {
            return self.connect_anonymously(login);
        };
        let file = self.files.passwords.as_deref().map(name).unwrap_or_default();
        // As mosquitto answers, 0x87 rather than 0x86: it says no more than it must.
        let Some(entry) = passwords.get(user) else {
            return Denied::not_authorized(format!("{file}: no such user")).into();
        };
        let line = entry.line;
        let Some(password) = login.password else {
            return Denied::not_authorized(format!("{file}:{line}: no password was given")).into();
        };
        let denied = Denied::not_authorized(format!("{file}:{line}: another password"));
        if entry.hash.is_cheap() {
            return if entry.hash.verify(password) { Answer::Allow } else { denied.into() };
        }
        self.logins.check(Job { token: login.token, hash: entry.hash.clone(), password: password.into(), denied })
    }

    fn connect_anonymously(&self, login: &Login<'_>) -> Answer {
        let usual = if self.rules.passwords.is_some() { Anonymous::Never } else { Anonymous::OnLoopback };
        match self.files.anonymous.unwrap_or(usual) {
            Anonymous::Always => Answer::Allow,
            Anonymous::OnLoopback => AnonymousOnLoopback.connect(login),
            Anonymous::Never => Denied::not_authorized("clients without a user name may not connect").into(),
        }
    }
}

impl Access for FileAccess {
    fn connect(&mut self, login: &Login<'_>) -> Answer {
        self.inner.borrow_mut().connect(login)
    }

    fn publish(&mut self, client: &Client<'_>, publish: &PublishQuestion<'_>) -> Answer {
        match &mut self.inner.borrow_mut().rules.acl {
            Some(acl) => acl.publish(client, publish),
            None => Answer::Allow,
        }
    }

    fn subscribe(&mut self, client: &Client<'_>, subscribe: &SubscribeQuestion<'_>) -> Answer {
        match &mut self.inner.borrow_mut().rules.acl {
            Some(acl) => acl.subscribe(client, subscribe),
            None => Answer::Allow,
        }
    }

    fn deliver(&mut self, client: &Client<'_>, topic: &str) -> bool {
        self.inner.borrow_mut().rules.acl.as_mut().is_none_or(|acl| acl.deliver(client, topic))
    }

    fn checks_deliveries(&self) -> bool {
        self.inner.borrow().rules.acl.is_some()
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(|e| Error::io(format!("cannot read {}", path.display()), e))?;
    String::from_utf8(bytes).map_err(|e| {
        let line = 1 + e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
        Error::new(Kind::BadFile, format!("{}:{line}: not UTF-8: save the file in that encoding", path.display()))
    })
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::AccessToken;
    use super::super::passwords::{Scheme, hash_password};
    use super::*;
    use crate::mqtt::{QoS, ReasonCode};

    /// A folder that is gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("vansire-access-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn login<'a>(username: Option<&'a str>, password: Option<&'a [u8]>, remote: &str) -> Login<'a> {
        let remote = Some(remote.parse().unwrap());
        Login { username, password, remote, ..Login::new(AccessToken::dangling(), "c") }
    }

    const HERE: &str = "127.0.0.1:1";
    const ELSEWHERE: &str = "192.0.2.7:1";

    #[test]
    fn who_may_connect() {
        let folder = Folder::new("connect");
        let hash = hash_password(b"wonderland", Scheme::Sha512).unwrap();
        let path = folder.write("passwords", format!("alice:{hash}\n"));
        let none = AccessFiles::new();
        let some = AccessFiles::new().passwords(path);
        let alice = (Some("alice"), Some(&b"wonderland"[..]));
        let table = [
            ("the right password", some.clone(), alice, ELSEWHERE, true),
            ("the wrong one", some.clone(), (Some("alice"), Some(&b"x"[..])), HERE, false),
            ("none", some.clone(), (Some("alice"), None), HERE, false),
            ("an unknown user", some.clone(), (Some("bob"), Some(&b"wonderland"[..])), HERE, false),
            ("an empty name", some.clone(), (Some(""), Some(&b""[..])), HERE, false),
            ("no name", some.clone(), (None, None), HERE, false),
            ("no name, allowed", some.clone().anonymous(Anonymous::Always), (None, None), ELSEWHERE, true),
            ("no name, allowed here", some.clone().anonymous(Anonymous::OnLoopback), (None, None), HERE, true),
            ("no name, allowed here only", some.anonymous(Anonymous::OnLoopback), (None, None), ELSEWHERE, false),
            ("no file", none.clone(), (None, None), HERE, true),
            ("no file, from elsewhere", none.clone(), (None, None), ELSEWHERE, false),
            ("no file, a name is not checked", none, alice, HERE, true),
        ];
        for (name, files, (username, password), remote, expected) in table {
            match files.load().unwrap().connect(&login(username, password, remote)) {
                Answer::Allow => assert!(expected, "{name}"),
                Answer::Deny(denied) => {
                    assert!(!expected && denied.reason == ReasonCode::NotAuthorized, "{name}: {denied:?}");
                }
                Answer::Later => panic!("{name}: later"),
            }
        }
    }

    #[test]
    fn a_slow_password_is_answered_later_and_the_loop_is_told() {
        let folder = Folder::new("later");
        let iterations = 500.try_into().unwrap();
        let hash = hash_password(b"wonderland", Scheme::Pbkdf2 { iterations }).unwrap();
        let path = folder.write("passwords", format!("alice:{hash}\n"));
        let mut access = AccessFiles::new().passwords(path).load().unwrap();
        let answers = access.answers();
        let (ready, told) = mpsc::channel();
        answers.on_ready(move || ready.send(()).unwrap());
        for (password, expected) in [(&b"wonderland"[..], true), (b"x", false)] {
            assert_eq!(access.connect(&login(Some("alice"), Some(password), HERE)), Answer::Later);
            told.recv_timeout(Duration::from_secs(30)).expect("an answer within 30 s");
            let (_, answer) = answers.next().expect("the answer that was told");
            assert_eq!(answer == Answer::Allow, expected, "{answer:?}");
        }
        assert!(answers.next().is_none());
    }

    #[test]
    fn too_many_slow_passwords_are_refused_as_busy() {
        let folder = Folder::new("busy");
        let iterations = 1_000.try_into().unwrap();
        let hash = hash_password(b"wonderland", Scheme::Pbkdf2 { iterations }).unwrap();
        let path = folder.write("passwords", format!("alice:{hash}\n"));
        let mut access = AccessFiles::new().passwords(path).load().unwrap();
        let answers = access.answers();
        // The thread is held up by its first answer, so that all others wait.
        let (go, wait) = mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        answers.on_ready(move || wait.lock().unwrap().recv().unwrap_or_default());
        let all: Vec<Answer> = (0..100).map(|_| access.connect(&login(Some("alice"), Some(b"x"), HERE))).collect();
        drop(go);
        let later = all.iter().filter(|answer| **answer == Answer::Later).count();
        // One in the thread's hands, those that wait, and one that it took meanwhile.
        assert!((64..=66).contains(&later), "{later}");
        let Some(Answer::Deny(denied)) = all.last() else { panic!("{:?}", all.last()) };
        assert_eq!((denied.reason, &*denied.rule), (ReasonCode::ServerBusy, "64 passwords wait to be checked"));
    }

    #[test]
    fn files_are_read_again_on_demand_and_a_wrong_one_changes_nothing() {
        let folder = Folder::new("reload");
        let acl = folder.write("acl", "topic a\n");
        let mut access = AccessFiles::new().acl(&acl).load().unwrap();
        let kept = access.clone();
        let client = Client::new(AccessToken::dangling(), "c", None);
        let mut may =
            |topic| access.publish(&client, &PublishQuestion::new(topic, QoS::AtMostOnce, false)) == Answer::Allow;
        assert!(may("a") && !may("b"));
        folder.write("acl", "topic b\n");
        assert!(may("a"));
        kept.reload().unwrap();
        assert!(!may("a") && may("b"));
        folder.write("acl", "topic c\nsubject d\n");
        let error = kept.reload().expect_err("a wrong file");
        assert!(error.to_string().starts_with(&format!("{}:2: ", acl.display())), "{error}");
        assert!(may("b") && !may("c"));
        assert!(kept.checks_deliveries());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let folder = Folder::new("unreadable");
        let missing = folder.0.join("missing");
        let error = AccessFiles::new().passwords(&missing).load().expect_err("no file");
        assert!(error.to_string().contains("missing") && !error.is_bad_file(), "{error}");
        let latin = folder.write("acl", b"# ok\ntopic caf\xe9\n");
        let error = AccessFiles::new().acl(&latin).load().expect_err("not UTF-8");
        assert!(error.is_bad_file() && error.to_string().contains("acl:2: not UTF-8"), "{error}");
    }

    #[test]
    fn without_an_acl_whoever_is_connected_may_do_anything() {
        let mut access = AccessFiles::new().load().unwrap();
        let client = Client::new(AccessToken::dangling(), "c", None);
        let subscribe = SubscribeQuestion::new("#", None, QoS::AtMostOnce);
        assert_eq!(access.subscribe(&client, &subscribe), Answer::Allow);
        assert_eq!(access.publish(&client, &PublishQuestion::new("a", QoS::AtMostOnce, true)), Answer::Allow);
        assert!(!access.checks_deliveries() && access.deliver(&client, "a"));
    }
}

//! Opening what a name means, below a folder and nowhere else.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::options::Links;

/// A folder by its handle: what it was when it was opened, whatever has its path by now.
#[derive(Debug)]
pub(super) struct Root {
    folder: imp::Folder,
    links: Links,
}

impl Root {
    /// Fails if it is not a folder that can be read.
    pub(super) fn open(path: &Path, links: Links) -> io::Result<Self> {
        Ok(Self { folder: imp::Folder::open(path)?, links })
    }

    /// Opens a name: components joined by slashes, each of them checked. It may turn out to be a folder. Never waits for a
    /// pipe's writer. `PermissionDenied` for a link that leads out, or that may not be followed.
    pub(super) fn file(&self, relative: &str) -> io::Result<File> {
        self.folder.file(relative, self.links)
    }

    /// The names in a folder that `file` has opened under that name, each with what it is; at most `max`.
    pub(super) fn names(&self, folder: &File, relative: &str, max: usize) -> io::Result<Vec<Found>> {
        self.folder.names(folder, relative, self.links, max)
    }
}

/// An entry of a folder.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) is_file: bool,
    pub(super) name: String,
    pub(super) len: u64,
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) len: u64,
    pub(super) modified: Option<SystemTime>,
    identity: [i128; 2],
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self { len: metadata.len(), modified: metadata.modified().ok(), identity: imp::identity(metadata) }
    }
}

/// Opens a file whose path the program itself chose.
pub(super) fn any(path: &Path) -> io::Result<File> {
    imp::any(path)
}

/// A name in a folder.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(unix)]
mod imp {
    use std::fs::{File, Metadata};
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use rustix::fs::{AtFlags, FileType, Mode, OFlags};
    use rustix::io::Errno;

    use super::{Found, Links, join};

    #[derive(Debug)]
    pub(super) struct Folder {
        handle: OwnedFd,
        /// The kernel resolves whole paths below a handle.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        beneath: bool,
    }

    /// A pipe without a writer is opened at once, and no terminal becomes ours.
    const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

    impl Folder {
        pub(super) fn open(path: &Path) -> io::Result<Self> {
            let handle: OwnedFd = File::open(path)?.into();
            rustix::fs::Dir::read_from(&handle)?;
            let mut folder = Self {
                handle,
                #[cfg(any(target_os = "linux", target_os = "android"))]
                beneath: true,
            };
            #[cfg(any(target_os = "linux", target_os = "android"))]
            {
                // Kernels before 5.6 have no openat2, and some sandboxes forbid it.
                folder.beneath = folder.beneath(".", Links::Inside).is_ok();
            }
            folder.file("", Links::Inside)?;
            Ok(folder)
        }

        pub(super) fn file(&self, relative: &str, links: Links) -> io::Result<File> {
            let relative = if relative.is_empty() { "." } else { relative };
            #[cfg(any(target_os = "linux", target_os = "android"))]
            if self.beneath {
                return self.beneath(relative, links).map(Into::into).map_err(told);
            }
            // Without the kernel's help no link is followed.
            let _ = links;
            self.walk(relative).map(Into::into).map_err(told)
        }

        #[cfg(any(target_os = "linux", target_os = "android"))]
        fn beneath(&self, relative: &str, links: Links) -> Result<OwnedFd, Errno> {
            use rustix::fs::ResolveFlags;
            let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
            if links == Links::Never {
                resolve |= ResolveFlags::NO_SYMLINKS;
            }
            let mut tries = 0;
            loop {
                match rustix::fs::openat2(&self.handle, relative, READ, Mode::empty(), resolve) {
                    // Something was renamed meanwhile, so that the kernel cannot be sure.
                    Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
                    opened => return opened,
                }
            }
        }

        /// Opens component by component, none of which may be a link.
        fn walk(&self, relative: &str) -> Result<OwnedFd, Errno> {
            let mut at = None;
            let mut components = relative.split('/').peekable();
            while let Some(component) = components.next() {
                let last = components.peek().is_none();
                let flags = READ | OFlags::NOFOLLOW | if last { OFlags::empty() } else { OFlags::DIRECTORY };
                let folder = at.as_ref().unwrap_or(&self.handle);
                at = Some(rustix::fs::openat(folder, component, flags, Mode::empty())?);
            }
            at.ok_or(Errno::NOENT)
        }

        pub(super) fn names(&self, folder: &File, relative: &str, links: Links, max: usize) -> io::Result<Vec<Found>> {
            let mut names = Vec::new();
            for entry in rustix::fs::Dir::read_from(folder)?.take(max) {
                let entry = entry?;
                let Ok(name) = entry.file_name().to_str() else { continue };
                let stat = rustix::fs::statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                let Ok(stat) = stat else { continue };
                let (is_file, len) = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => (true, u64::try_from(stat.st_size).unwrap_or(0)),
                    FileType::Directory => (false, 0),
                    // Told as what it leads to, if it may lead there.
                    FileType::Symlink => match self.file(&join(relative, name), links).and_then(|f| f.metadata()) {
                        Ok(led) if led.is_file() || led.is_dir() => (led.is_file(), led.len()),
                        Ok(_) | Err(_) => continue,
                    },
                    _ => continue,
                };
                names.push(Found { is_file, name: name.to_owned(), len });
            }
            Ok(names)
        }
    }

    const TRIES: u32 = 8;

    /// What leads out of the folder is forbidden, like a link that is not followed.
    fn told(error: Errno) -> io::Error {
        match error {
            Errno::XDEV | Errno::LOOP | Errno::MLINK => io::ErrorKind::PermissionDenied.into(),
            // A socket.
            Errno::NXIO => io::ErrorKind::PermissionDenied.into(),
            Errno::MFILE | Errno::NFILE => io::ErrorKind::ResourceBusy.into(),
            error => error.into(),
        }
    }

    pub(super) fn identity(metadata: &Metadata) -> [i128; 2] {
        let id = i128::from(metadata.dev()) << 64 | i128::from(metadata.ino());
        [id, i128::from(metadata.ctime()) << 32 | i128::from(metadata.ctime_nsec())]
    }

    pub(super) fn any(path: &Path) -> io::Result<File> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        File::options().read(true).custom_flags(flags.bits() as i32).open(path)
    }
}

#[cfg(not(unix))]
mod imp {
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{Found, Links};

    /// Resolved and compared with the folder before it is opened. Who may write into the folder can swap a link in between:
    /// serve a folder that only trusted users write.
    #[derive(Debug)]
    pub(super) struct Folder(PathBuf);

    impl Folder {
        pub(super) fn open(path: &Path) -> io::Result<Self> {
            let folder = fs::canonicalize(path)?;
            fs::read_dir(&folder)?;
            Ok(Self(folder))
        }

        fn place(&self, relative: &str, links: Links) -> io::Result<PathBuf> {
            let asked = relative.split('/').fold(self.0.clone(), |path, part| path.join(part));
            let place = fs::canonicalize(&asked)?;
            let is_allowed = place.starts_with(&self.0) && (links == Links::Inside || place == asked);
            if is_allowed { Ok(place) } else { Err(io::ErrorKind::PermissionDenied.into()) }
        }

        pub(super) fn file(&self, relative: &str, links: Links) -> io::Result<File> {
            any(&self.place(relative, links)?)
        }

        pub(super) fn names(&self, _folder: &File, relative: &str, links: Links, max: usize) -> io::Result<Vec<Found>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(self.place(relative, links)?)?.take(max) {
                let entry = entry?;
                let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), fs::metadata(entry.path())) else {
                    continue;
                };
                if metadata.is_file() || metadata.is_dir() {
                    names.push(Found { is_file: metadata.is_file(), name, len: metadata.len() });
                }
            }
            Ok(names)
        }
    }

    pub(super) fn identity(metadata: &Metadata) -> [i128; 2] {
        let created = metadata.created().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
        [created.map_or(0, |t| t.as_nanos() as i128), 0]
    }

    pub(super) fn any(path: &Path) -> io::Result<File> {
        let mut options = File::options();
        options.read(true);
        #[cfg(windows)]
        {
            use std::os::windows::fs::OpenOptionsExt;
            // FILE_FLAG_BACKUP_SEMANTICS: folders can be opened, too.
            options.custom_flags(0x0200_0000);
        }
        options.open(path)
    }
}

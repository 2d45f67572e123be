//! The listener on a path: what stood there before, who may connect, and what is left behind.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::net::addr::Address;
use crate::net::stream::Stream;

/// A Unix stream listener that removes its path when dropped, while the path is still its own.
#[derive(Debug)]
pub(crate) struct UnixListener {
    // Dropped first: as long as the socket is open, no other file can have its inode number.
    _path: Option<BoundPath>,
    inner: mio::net::UnixListener,
}

impl UnixListener {
    /// Listens on the path.
    ///
    /// A socket on which nobody answers is replaced; one on which somebody does is in use, and anything else on the
    /// path is left alone and an error. Two processes that start at the same moment on the same dead path may both
    /// replace it: the later one gets the path.
    pub(crate) fn bind(path: &Path, mode: Option<u32>, backlog: i32) -> io::Result<Self> {
        let addr = SockAddr::unix(path)?;
        let socket = stream_socket()?;
        match socket.bind(&addr) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path, &addr, e)?;
                socket.bind(&addr)?;
            }
            bound => bound?,
        }
        let bound = BoundPath::new(path)?;
        if let Some(mode) = mode {
            // Before listen(2) nobody can connect, so nobody does with the permissions that umask left.
            fs::set_permissions(&bound.path, fs::Permissions::from_mode(mode & 0o777))?;
        }
        socket.listen(backlog)?;
        Ok(Self { _path: Some(bound), inner: mio::net::UnixListener::from_std(socket.into()) })
    }

    pub(crate) fn from_std(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { _path: None, inner: mio::net::UnixListener::from_std(listener) })
    }

    pub(crate) fn accept(&self) -> io::Result<(Stream, Address)> {
        self.inner.accept().map(|(stream, peer): (_, SocketAddr)| (Stream::Unix(stream), peer.into()))
    }

    pub(crate) fn local_addr(&self) -> io::Result<Address> {
        self.inner.local_addr().map(Into::into)
    }
}

impl Source for UnixListener {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.inner.register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.inner.reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.inner.deregister(registry)
    }
}

fn stream_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Removes a socket that nobody listens on; otherwise says why not.
fn remove_stale(path: &Path, addr: &SockAddr, in_use: io::Error) -> io::Result<()> {
    let Some(found) = Inode::of(path)? else { return Ok(()) };
    if !found.is_socket {
        let text = "the path exists and is not a socket; it is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    match stream_socket()?.connect(addr) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        // Also when its queue is full, or it is of another type, or it is not ours to ask.
        Ok(()) | Err(_) => return Err(in_use),
    }
    if Inode::of(path)? == Some(found) { remove(path) } else { Err(in_use) }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// A path with the file that was there when it was bound.
#[derive(Debug)]
struct BoundPath {
    path: PathBuf,
    inode: Inode,
}

impl BoundPath {
    fn new(path: &Path) -> io::Result<Self> {
        // The process may change its directory.
        let path = std::path::absolute(path)?;
        match Inode::of(&path)? {
            Some(inode) => Ok(Self { path, inode }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure; the next start replaces a path that stays.
        if let Ok(Some(inode)) = Inode::of(&self.path)
            && inode == self.inode
        {
            let _ = remove(&self.path);
        }
    }
}

/// Which file a path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
    is_socket: bool,
}

impl Inode {
    fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::symlink_metadata(path) {
            Ok(file) => {
                Ok(Some(Self { device: file.dev(), number: file.ino(), is_socket: file.file_type().is_socket() }))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};

    use super::*;
    use crate::net::testing::{TempDir, accept};
    use crate::net::{Url, listener::Listener, sockopt::listen_error};
    use crate::options::ListenOptions;

    fn listen(path: &Path) -> io::Result<Listener> {
        Listener::bind_unix(path, &ListenOptions::new("unix:x"))
    }

    #[test]
    fn a_path_appears_and_goes_with_its_listener() {
        let dir = TempDir::new();
        let path = dir.path("a.sock");
        let mut listener = listen(&path).unwrap();
        assert_eq!(listener.local_addr().unwrap(), Address::Unix(Some(path.clone())));
        let _client = StdStream::connect(&path).unwrap();
        let (_, peer) = accept(&mut listener);
        assert_eq!(peer, Address::Unix(None));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_socket_is_replaced() {
        let dir = TempDir::new();
        let path = dir.path("dead.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists());
        let mut listener = listen(&path).unwrap();
        let _client = StdStream::connect(&path).unwrap();
        accept(&mut listener);
    }

    #[test]
    fn d4_a_living_socket_is_in_use() {
        let dir = TempDir::new();
        let path = dir.path("alive.sock");
        let mut first = listen(&path).unwrap();
        let error = listen(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let url = Url::parse(&format!("unix:{}", path.display())).unwrap();
        let error = listen_error(&url, error);
        assert!(error.is_address_in_use() && error.to_string().contains(path.to_str().unwrap()), "{error}");
        accept(&mut first);
        let _client = StdStream::connect(&path).unwrap();
        accept(&mut first);
    }

    #[test]
    fn a_full_socket_is_in_use() {
        let dir = TempDir::new();
        let path = dir.path("full.sock");
        let first = Listener::bind_unix(&path, &ListenOptions::new("unix:x").backlog(0)).unwrap();
        let mut clients = Vec::new();
        let refused = loop {
            match Stream::connect_unix(&path) {
                Ok(client) => clients.push(client),
                Err(error) => break error,
            }
            assert!(clients.len() < 100, "a backlog of 0 took {} connections", clients.len());
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
    }

    #[test]
    fn what_is_not_a_socket_is_left_alone() {
        let dir = TempDir::new();
        let (file, link, target) = (dir.path("file"), dir.path("link"), dir.path("target.sock"));
        fs::write(&file, "precious").unwrap();
        drop(StdListener::bind(&target).unwrap());
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for path in [&file, &link] {
            let error = listen(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{}", path.display());
            assert!(error.to_string().contains("left alone"), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && target.exists());
    }

    #[test]
    fn a_path_that_became_another_is_left_alone() {
        let dir = TempDir::new();
        let path = dir.path("moved.sock");
        let first = listen(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let mut second = listen(&path).unwrap();
        drop(first);
        let _client = StdStream::connect(&path).unwrap();
        accept(&mut second);
    }

    #[test]
    fn the_mode_is_the_one_asked_for() {
        let dir = TempDir::new();
        for mode in [0o600, 0o660, 0o666] {
            let path = dir.path(&format!("{mode:o}.sock"));
            let _listener = Listener::bind_unix(&path, &ListenOptions::new("unix:x").unix_mode(mode)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode, "{mode:o}");
        }
    }

    #[test]
    fn the_path_of_an_adopted_listener_stays() {
        let dir = TempDir::new();
        let path = dir.path("adopted.sock");
        let mut listener = Listener::from_unix(StdListener::bind(&path).unwrap()).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = StdStream::connect(&path).unwrap();
        accept(&mut listener);
        drop(listener);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_cannot_be_is_an_error() {
        let dir = TempDir::new();
        let table = [
            ("too long", dir.path(&"x".repeat(200)), io::ErrorKind::InvalidInput),
            ("no directory", dir.path("no/x.sock"), io::ErrorKind::NotFound),
        ];
        for (name, path, expected) in table {
            assert_eq!(listen(&path).unwrap_err().kind(), expected, "{name}");
        }
    }
}

//! Errors: what went wrong, with what, and the way out.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// The result of a vansire call.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: a kind to match on through the `is_*` queries, a sentence that names the thing, and the cause.
///
/// Cheap to clone, so that a [`CloseReason`](crate::CloseReason) can carry it.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

struct Inner {
    kind: Kind,
    what: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of failure. Private: users ask with `is_*`, so that a kind can be split without breaking them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A URL that cannot be understood.
    BadUrl,
    /// A name without an address.
    Resolve,
    /// The system refused the address: in use.
    AddressInUse,
    /// The system refused: not allowed.
    PermissionDenied,
    /// A connection attempt failed at every address.
    Connect,
    /// A deadline passed.
    TimedOut,
    /// A bound of `Limits` was reached.
    LimitReached,
    /// The connection is gone, or never was.
    Gone,
    /// The manager has stopped.
    Stopped,
    /// A value that would break the protocol on the wire.
    BadValue,
    /// The peer was asked, and said no.
    #[cfg(all(feature = "async", feature = "mqtt"))]
    Refused,
    /// A closure of the user's panicked.
    #[cfg(feature = "async")]
    Panicked,
    /// A file that cannot be understood.
    BadFile,
    /// The build or the system cannot do it.
    Unsupported,
    /// Any other failure of the system.
    Io,
}

impl Error {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { inner: Arc::new(Inner { kind, what: what.into(), source: None }) }
    }

    pub(crate) fn with_source(
        kind: Kind,
        what: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { inner: Arc::new(Inner { kind, what: what.into(), source: Some(source.into()) }) }
    }

    /// An I/O error with the thing it happened to; the kind follows the system's.
    pub(crate) fn io(what: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::AddrInUse => Kind::AddressInUse,
            io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
            io::ErrorKind::TimedOut => Kind::TimedOut,
            io::ErrorKind::Unsupported => Kind::Unsupported,
            _ => Kind::Io,
        };
        Self::with_source(kind, what, source)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// A URL could not be understood.
    pub fn is_bad_url(&self) -> bool {
        self.kind() == Kind::BadUrl
    }

    /// A name has no address, or could not be looked up.
    pub fn is_resolve(&self) -> bool {
        self.kind() == Kind::Resolve
    }

    /// The address to listen on is taken.
    pub fn is_address_in_use(&self) -> bool {
        self.kind() == Kind::AddressInUse
    }

    /// The system does not allow it to this user.
    pub fn is_permission_denied(&self) -> bool {
        self.kind() == Kind::PermissionDenied
    }

    /// No address of the peer could be connected to.
    pub fn is_connect(&self) -> bool {
        self.kind() == Kind::Connect
    }

    /// A deadline passed.
    pub fn is_timed_out(&self) -> bool {
        self.kind() == Kind::TimedOut
    }

    /// A bound of [`Limits`](crate::Limits) was reached.
    pub fn is_limit_reached(&self) -> bool {
        self.kind() == Kind::LimitReached
    }

    /// The connection or timer is gone.
    pub fn is_gone(&self) -> bool {
        self.kind() == Kind::Gone
    }

    /// The manager has stopped.
    pub fn is_stopped(&self) -> bool {
        self.kind() == Kind::Stopped
    }

    /// A value would break the protocol on the wire (CR, LF or NUL in a header), so nothing was sent.
    pub fn is_bad_value(&self) -> bool {
        self.kind() == Kind::BadValue
    }

    /// A closure that was sent to the loop panicked there; the loop goes on.
    #[cfg(feature = "async")]
    pub fn is_panicked(&self) -> bool {
        self.kind() == Kind::Panicked
    }

    /// The peer was asked, and said no: [`cause`](Self::cause) has its reason.
    #[cfg(all(feature = "async", feature = "mqtt"))]
    pub fn is_refused(&self) -> bool {
        self.kind() == Kind::Refused
    }

    /// A file cannot be understood: the message begins with its name and the line.
    pub fn is_bad_file(&self) -> bool {
        self.kind() == Kind::BadFile
    }

    /// This build, or this system, cannot do it.
    pub fn is_unsupported(&self) -> bool {
        self.kind() == Kind::Unsupported
    }

    /// What it came from, if that is of this type: of an MQTT message that failed, for example, the `mqtt::Failure`.
    pub fn cause<T: StdError + 'static>(&self) -> Option<&T> {
        self.inner.source.as_ref()?.downcast_ref()
    }

    /// The system's own error, where there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.cause().map(io::Error::kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.what)?;
        match &self.inner.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.inner.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // Display already ends with the cause, so a chain printer must not repeat it: the chain goes on below it.
        self.inner.source.as_ref().and_then(|source| source.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_thing_and_the_cause() {
        let e = Error::io("cannot listen on tcp://127.0.0.1:80", io::ErrorKind::PermissionDenied.into());
        assert!(e.is_permission_denied());
        assert_eq!(e.to_string(), "cannot listen on tcp://127.0.0.1:80: permission denied");
        assert_eq!(e.io_kind(), Some(io::ErrorKind::PermissionDenied));
    }
}
